"""Small valid data, each made anew: what the cases break. The names are in scope as they are typed."""

import functools as _functools
import shutil as _shutil
import tempfile as _tempfile
from pathlib import Path as _Path

import numpy as _np
import pandas as _pd
import xarray as _xr
from small_nowcast import small_nowcast as _small_nowcast
from small_ocean import Adds as _Adds
from small_ocean import AddsConfig as _AddsConfig
from small_ocean import ocean as ocean
from small_ocean import save as _save_adds
from small_prediff import rain as _prediff_rain
from small_prediff import save as _save_prediff
from small_radar import STEREO as _STEREO
from small_radar import radar_files as _radar_files
from small_radar import small_rain as _small_rain
from small_sevir import EVENTS as _EVENTS
from small_sevir import make as _make_sevir
from small_still import still_pack as _still_pack

import xearthformer as _xef
from xearthformer import models as _models
from xearthformer.packs.card import Card as _Card
from xearthformer.packs.card import LatLonGrid as _LatLonGrid
from xearthformer.packs.card import ModelSpec as _ModelSpec
from xearthformer.packs.card import Training as _Training

SST = {"standard_name": "sea_surface_temperature", "units": "degC"}
DIFFERENCE = {**SST, "units_metadata": "temperature: difference"}


def absolute(months=36, start="2000-01", step=20, **attrs):
    """Monthly, of the globe: the month of the year, and 3 more each year."""
    time = _xr.date_range(start, periods=months, freq="MS")
    lat, lon = _np.arange(-90 + step / 2, 90, step), _np.arange(step / 2, 360, step)
    values = 3.0 * (_np.arange(months) // 12 % 8) + _np.arange(months) % 12
    coords = {
        "time": time,
        "lat": ("lat", lat, {"units": "degrees_north", "standard_name": "latitude"}),
        "lon": ("lon", lon, {"units": "degrees_east", "standard_name": "longitude"}),
    }
    field = _np.broadcast_to(values[:, None, None], (months, lat.size, lon.size))
    return _xr.DataArray(
        field.astype("f4"), coords, ("time", "lat", "lon"), "sst", {**SST, **attrs}
    )


def anomalies(months=36, **given):
    """Anomalies: the year, and an odd number each month."""
    da = absolute(months, **given)
    wave = _np.sin(_np.arange(months) * 1.7)[:, None, None] + _np.sin(da.lon.values / 57)
    return da.copy(data=_np.broadcast_to(wave, da.shape).astype("f4")).assign_attrs(DIFFERENCE)


def forecasts(da, lead=3, init=slice(None), pack="persistence", **options):
    return da.earthformer.forecast(pack, init=init, lead=lead, **options)


def rainfall(frames=6, step="5min", side=(8, 10), **given):
    """Rain rates: the number of the frame, and of the column."""
    values = _np.arange(frames)[:, None, None] + _np.arange(side[1]) + _np.zeros(side)
    return _small_rain(values, step=step, **given)


def ensemble(fc, size=3):
    """An ensemble around a forecast, member by member 1 higher."""
    each = _xr.DataArray(_np.arange(size), dims="member", coords={"member": _np.arange(size)})
    dims = ["init", "lead", "member", *[d for d in fc.dims if d not in ("init", "lead")]]
    return (fc + each).transpose(*dims).assign_attrs(fc.attrs)


def nino(months=36, start="2000-01"):
    """Nino3.4, an anomaly."""
    time = _xr.date_range(start, periods=months, freq="MS")
    values = _np.sin(_np.arange(months) / 3)
    return _xr.DataArray(
        values, {"time": time}, ("time",), "nino3.4", dict(list(DIFFERENCE.items())[1:])
    )


def days(count=90, start="2000-01-01"):
    return _pd.date_range(start, periods=count, freq="D")


def curvilinear(shift=0):
    """SST with 2-D latitudes and longitudes."""
    da = absolute().rename(lat="y", lon="x")
    lat, lon = _np.broadcast_arrays(da.y.values[:, None], da.x.values)
    attrs = {"units": "degrees_north"}, {"units": "degrees_east"}
    da = da.drop_vars(["y", "x"])
    return da.assign_coords(
        nav_lat=(("y", "x"), lat * 0.9 + lon / 90, attrs[0]),
        nav_lon=(("y", "x"), lon + shift, attrs[1]),
    )


@_functools.cache
def small():
    """A nowcast of 32 x 32 pixels, 4 frames in."""
    return _small_nowcast(_Path(_tempfile.mkdtemp()))


@_functools.cache
def still():
    """Persistence of rain every five minutes."""
    return _still_pack(_Path(_tempfile.mkdtemp()), context=2, lead=2)


@_functools.cache
def tiny(**given):
    """A PreDiff of rain every ten minutes."""
    return _save_prediff(_Path(_tempfile.mkdtemp()) / "pack", **given)


def for_tiny():
    return _prediff_rain()


@_functools.cache
def strict(difference=True):
    """Persistence of anomalies against 2000 to 2002, on 20 degrees, with one cell of land."""
    latitude, longitude = _np.arange(-80.0, 90, 20).tolist(), _np.arange(10.0, 360, 20).tolist()
    land = ["#" + "." * 17, *["." * 18] * 8]
    sst = {
        **SST,
        "difference": difference,
        "valid_min": -15.0,
        "valid_max": 15.0 if difference else 45.0,
        "missing": "land",
    }
    card = _Card(
        name="strict",
        version="1",
        title="persistence",
        model=_ModelSpec(name="persistence", config={}),
        inputs={"sst": sst},
        outputs=["sst"],
        grid=_LatLonGrid(latitude=latitude, longitude=longitude, land=land),
        time_step="month",
        context=1,
        lead=3,
        baseline={"period": ["2000", "2002"]} if difference else None,
        training=_Training(data="none"),
    )
    model = _models.build("persistence", {"in_len": 1, "out_len": 3})
    return _xef.save_pack(_Path(_tempfile.mkdtemp()) / "strict", model, card)


def two(**changes):
    """Adds of two variables: sst + 10 zos, and zos + the sine of the month."""
    _models.MODELS["adds"] = (_AddsConfig, _Adds, {})
    return _save_adds(_Path(_tempfile.mkdtemp()) / "adds", **changes)


def tropics():
    """Anomalies of SST of the tropics, each month .9 of the month before and noise."""
    rng = _np.random.default_rng(0)
    da = anomalies(168, start="1980-01", step=10).sel(lat=slice(-56, 36))
    values = rng.normal(size=da.shape)
    for k in range(1, len(values)):
        values[k] += 0.9 * values[k - 1]
    return da.copy(data=values.astype("f4"))


def written(service, rain, folder=None):
    """A folder of a radar service's files, one for each frame."""
    folder = folder or _tempfile.mkdtemp()
    getattr(_radar_files, f"write_{service}")(_Path(folder), rain)
    return folder


def dutch():
    """Rain on KNMI's projection."""
    return rainfall(2, projection=_STEREO, left=160_000, top=-3_870_000)


@_functools.cache
def sevir():
    """SEVIR of one event, of the test period, in one file of the radar's."""
    return str(_make_sevir(_Path(_tempfile.mkdtemp()), _EVENTS[-1:]))


def alone():
    """A file of SEVIR that has left its folder, and with it its catalogue; and the catalogue."""
    catalog = sevir() + "/CATALOG.csv"
    file = _pd.read_csv(catalog).file_name[0]
    return _shutil.copy(f"{sevir()}/data/{file}", _tempfile.mkdtemp()), catalog


QUANTITY = {"standard_name": "sea_surface_temperature", "units": "degC", "difference": True}
GRID = {
    "kind": "latlon",
    "latitude": [*range(-85, 86, 10)],
    "longitude": [*range(5, 360, 10)],
}
SIZES = {"in_len": 1, "out_len": 2, "height": 18, "width": 36}
RAIN_CARD = {
    "input": {"standard_name": "rainfall_rate", "units": "mm h-1", "valid_min": 0.0},
    "grid": {"kind": "pixels", "height": 16, "width": 16, "spacing": 1000.0},
    "time_step": "10min",
    "missing": "allowed",
    "scale": {"factor": 20.0, "floor": 0.1},
}
UNET = {"in_len": 1, "out_len": 2, "widths": [8, 8]}


def train(model="damped-persistence", data=None, **changes):
    """A short training; what isn't said is usual."""
    usual = {
        "config": SIZES,
        "card": {"input": QUANTITY, "grid": GRID},
        "pack": _tempfile.mkdtemp() + "/small",
        "period": (2000, 2002),
        "device": "cpu",
        "progress": False,
    }
    return _xef.train(
        model, anomalies(60, step=10) if data is None else data, **{**usual, **changes}
    )


def icar_like(months=40):
    """One simulation on the cells of ICAR-ENSO's benchmark, each month and cell another."""
    coords = {
        "model": ["noise"],
        "time": _xr.date_range("2000-01", periods=months, freq="MS"),
        "lat": _np.arange(-55.0, 61, 5),
        "lon": _np.arange(95.0, 331, 5),
    }
    values = _np.random.default_rng(0).normal(size=(1, months, 24, 48)).astype("f4")
    return _xr.DataArray(values, coords, name="sst", attrs=DIFFERENCE)
