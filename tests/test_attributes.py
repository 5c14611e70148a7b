"""What labelled data says of itself after each public function, whatever xarray is set to keep."""

import numpy as np
import pytest
import xarray as xr
import zarr

import xearthformer as xef
from tests.small_radar import small_rain

PACKED = {
    "valid_range": np.array([1, 4000], "i2"),
    "valid_min": 1,
    "valid_max": 4000,
    "actual_range": np.array([1, 4000], "i2"),
    "missing_value": -1,
    "flag_values": np.array([0], "i2"),
}
PACKING = {"scale_factor": 0.05, "add_offset": -0.05, "dtype": np.dtype("i2"), "_FillValue": -1}
MARK = {"comment": "of the axis"}


def ocean():
    """Forty years of sea surface temperature on 10 degrees, as read from packed bytes."""
    rng = np.random.default_rng(0)
    lat, lon = np.arange(-85.0, 86, 10), np.arange(5.0, 360, 10)
    time = xr.date_range("1951-01", periods=480, freq="MS")
    values = 20 + rng.standard_normal((480, 18, 36))
    coords = {
        "time": ("time", time, {"axis": "T", **MARK}),
        "lat": ("lat", lat, {"units": "degrees_north", **MARK}),
        "lon": ("lon", lon, {"units": "degrees_east", **MARK}),
    }
    attrs = {
        "standard_name": "sea_surface_temperature",
        "long_name": "SST",
        "units": "degC",
        "history": "observed",
        **PACKED,
    }
    sst = xr.DataArray(values.astype("f4"), coords, ("time", "lat", "lon"), "sst", attrs)
    sst.encoding = dict(PACKING)
    return sst


def rain():
    """Two hours of rain on a map, as read from packed bytes."""
    y, x = np.mgrid[:64, :64]
    fields = [5 * np.exp(-((x - 8 - k) ** 2 + (y - 16) ** 2) / 20) for k in range(24)]
    da = small_rain(fields)
    da.attrs |= {"history": "observed", **PACKED}
    da.encoding = dict(PACKING)
    for name in ("time", "y", "x"):
        da[name].attrs |= MARK
    return da


def ensemble(fc):
    """Three members around a forecast."""
    apart = xr.DataArray([-1.0, 0.0, 1.0], {"member": range(3)}, "member")
    out = (fc + apart.astype(fc.dtype)).transpose("init", "lead", "member", ...)
    out.attrs, out.encoding, out.name = {**fc.attrs, **PACKED}, dict(PACKING), fc.name
    return out.assign_coords({name: coord.variable for name, coord in fc.coords.items()})


class Data:
    """Inputs, each with attributes and encoding of packed data."""

    def __init__(self):
        self.sst = ocean()
        self.ssta = xef.anomaly(self.sst, ("1951", "1980"))
        self.ssta.attrs |= PACKED
        self.ssta.encoding = dict(PACKING)
        inits = slice("1970", "1989", 3)
        self.fc = xef.forecast(self.ssta, "persistence", init=inits, lead=4)
        self.members = ensemble(self.fc)
        self.rain = rain()
        self.nowcast = xef.forecast(
            self.rain, "persistence", init=slice("2021-07-04T16:10", None, 3), lead=4
        ).isel(init=slice(4))
        self.rains = ensemble(self.nowcast) + 1.0
        self.rains.attrs = {**self.nowcast.attrs, **PACKED}
        self.vil = xr.DataArray(
            np.full((1, 25, 24, 24), 100.0, "f4"),
            dims=("event", "time", "y", "x"),
            name="vil",
            attrs={"units": "1", "history": "observed", **PACKED},
        )
        self.as_metres = {**self.rain.attrs, "units": "m s-1", "valid_range": [0, 1]}
        self.as_metres |= {"valid_min": 0, "valid_max": 1}
        for one in (self.fc, self.members, self.nowcast, self.rains, self.vil):
            one.attrs |= PACKED
            one.encoding |= PACKING

    def nino(self, fc):
        """An index of a forecast, and that of the observations."""
        return xef.index(fc, "nino3.4"), xef.index(self.ssta, "nino3.4")


NEW = {
    "climatology": lambda d: xef.climatology(d.sst, ("1951", "1980")),
    "anomaly": lambda d: xef.anomaly(d.sst, ("1951", "1980")),
    "rebase": lambda d: xef.rebase(d.ssta, ("1961", "1990")),
    "running_mean": lambda d: xef.running_mean(d.ssta, 3),
    "region_mean": lambda d: xef.region_mean(d.sst, "nino3.4"),
    "nino3.4": lambda d: xef.index(d.ssta, "nino3.4"),
    "nino3.4 of a forecast": lambda d: xef.index(d.fc, "nino3.4"),
    "iod": lambda d: xef.index(d.ssta, "iod"),
    "oni": lambda d: xef.index(d.ssta, "oni"),
    "relative": lambda d: xef.index(d.ssta, "relative_nino3.4"),
    "pdo": lambda d: xef.index(d.ssta, "pdo"),
    "forecast": lambda d: xef.forecast(d.ssta, "persistence", lead=2),
    "lazy forecast": lambda d: xef.forecast(d.ssta.chunk(), "persistence", lead=2),
    "forecast of a Dataset": lambda d: xef.forecast(d.ssta.to_dataset(), "persistence", lead=2),
    "nowcast": lambda d: xef.forecast(d.rain, "nowcast-radar", lead=2),
    "hindcast": lambda d: xef.hindcast(
        d.ssta, "persistence", zarr.storage.MemoryStore(), init=slice("1990-06", None), lead=2
    ),
    "extrapolate": lambda d: xef.extrapolate(d.rain, lead=2),
    "steps": lambda d: xef.extrapolate(d.rain, lead=2, members=2),
    "to_step": lambda d: xef.to_step(d.rain, "10min"),
    "to_spacing": lambda d: xef.to_spacing(d.rain, "2 km"),
    "open_radar": lambda d: xef.open_radar((d.rain / 3.6e6).assign_attrs(d.as_metres)),
    "correct_bias": lambda d: xef.correct_bias(d.fc, d.fc, d.ssta),
    "seasonal_mean": lambda d: xef.seasonal_mean(d.fc),
    "seasonal_mean of a record": lambda d: xef.seasonal_mean(d.ssta),
    "categories": lambda d: xef.categories(d.members),
    "terciles": lambda d: xef.terciles(d.members, d.ssta),
    "exceedance": lambda d: xef.exceedance(d.rains, [1, 5]),
    "exceedance around": lambda d: xef.exceedance(d.rains, 1, window=3),
    "accumulate": lambda d: xef.accumulate(d.rains, "10min"),
    "to_climpred": lambda d: xef.to_climpred(xef.index(d.fc, "nino3.4")),
    "wet_area": lambda d: xef.wet_area(d.rain),
    "rain_regime": lambda d: xef.rain_regime(d.rain),
    "vil_to_kg_m2": lambda d: xef.vil_to_kg_m2(d.vil),
    "kg_m2_to_vil": lambda d: xef.kg_m2_to_vil(xef.vil_to_kg_m2(d.vil)),
    "rain_of_vil": lambda d: xef.rain_of_vil(d.vil),
    "vil_of_rain": lambda d: xef.vil_of_rain(xef.rain_of_vil(d.vil)),
    "to_sevir_lr": lambda d: xef.to_sevir_lr(d.vil),
}
SCORES = {
    "quantiles": lambda d: xef.quantiles(d.rains, [0.1, 0.9]),
    "verify": lambda d: xef.verify(d.members, d.ssta, ["rmse", "crps", "correlation"]),
    "verify rain": lambda d: xef.verify(d.nowcast, d.rain),
    "verify with a reference": lambda d: xef.verify(
        d.nowcast, d.rain, ["csi"], reference=d.nowcast
    ),
    "statistics": lambda d: xef.statistics(d.nowcast, d.rain, ["csi"]),
    "score_confidence": lambda d: xef.score_confidence(
        xef.statistics(d.nowcast, d.rain, ["csi"]), resamples=10
    ),
    "enso_skill": lambda d: xef.enso_skill(*d.nino(d.fc)),
    "enso_seasons": lambda d: xef.enso_seasons(*d.nino(d.fc)),
    "enso_ensemble_skill": lambda d: xef.enso_ensemble_skill(*d.nino(d.members)),
    "skill_map": lambda d: xef.skill_map(d.fc, d.ssta),
    "skill_confidence": lambda d: xef.skill_confidence(*d.nino(d.fc), resamples=10),
    "rpss": lambda d: xef.rpss(d.members, d.ssta),
    "compare": lambda d: xef.compare(d.ssta, ["persistence"], init=slice("1989", None), lead=2),
}


@pytest.fixture(scope="module")
def data():
    return Data()


def described(answer):
    """Names, attributes and encodings of an answer and of all its labels."""
    parts = {"": answer} | {str(n): c for n, c in answer.coords.items()}
    if isinstance(answer, xr.Dataset):
        parts |= {str(n): da for n, da in answer.data_vars.items()}
    found = {}
    for name, part in parts.items():
        attrs = {key: repr(value) for key, value in sorted(part.attrs.items())}
        found[name] = str(getattr(part, "name", "")), attrs
    return found


@pytest.mark.parametrize("name", {**NEW, **SCORES})
def test_attributes_do_not_depend_on_what_xarray_keeps(data, name):
    if name in ("extrapolate", "steps"):
        pytest.importorskip("pysteps")
    found = []
    for keep in ("default", True, False):
        with xr.set_options(keep_attrs=keep):
            answer = {**NEW, **SCORES}[name](data)
        found.append(described(answer))
    assert found[0] == found[1] and found[0] == found[2]
    # nor are ranges and packing of the old values those of the new
    arrays = answer.data_vars.values() if isinstance(answer, xr.Dataset) else [answer]
    for one in arrays:
        assert not {*PACKED} & {*one.attrs}
        assert not {"scale_factor", "add_offset"} & {*one.encoding}
        assert one.encoding.get("dtype", one.dtype) == one.dtype
