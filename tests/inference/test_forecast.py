"""The palindrome end to end on a tiny pack: labels, forms of input, laziness, and bad input."""

import cloudpickle
import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from small_hindcast import anomalies

import xearthformer as xef
from xearthformer.errors import PackError


@pytest.fixture
def ssta(tiny_pack):
    return anomalies(tiny_pack)


def test_the_answer_is_labelled(ssta, tiny_pack):
    fc = ssta.earthformer.forecast(tiny_pack)
    assert fc.dims == ("init", "lead", "lat", "lon")
    assert fc.name == "ssta" and fc.dtype == "f4"
    assert fc.init.values[0] == np.datetime64("2000-12-15")
    assert fc.valid_time.values[0].astype("M8[D]").astype(str).tolist() == [
        "2001-01-15",
        "2001-02-15",
    ]
    xr.testing.assert_identical(fc.lat, ssta.lat)
    xr.testing.assert_identical(fc.lon, ssta.lon)
    assert {**fc.attrs, **ssta.attrs} == fc.attrs
    assert fc.attrs["pack"] == "tiny"
    assert fc.attrs["pack_weights_sha256"] == tiny_pack.card.weights_sha256
    assert "forecast by pack tiny 1" in fc.attrs["history"]
    assert bool((fc.isnull() == ssta[0].isnull()).all())


def test_the_answer_is_the_networks(ssta, tiny_pack):
    import torch

    x = torch.from_numpy(ssta.fillna(0).values[-3:])[None, ..., None] / 2
    expected = tiny_pack.model().predict(x)[0, ..., 0].numpy() * 2
    fc = ssta.earthformer.forecast(tiny_pack, batch_size=1)[0]
    sea = ssta[0].notnull().values
    # the engine runs the fused network, which is equal but for rounding
    np.testing.assert_allclose(fc.values[:, sea], expected[:, sea], rtol=1e-5, atol=1e-5)


def test_dataset_in_dataset_out(ssta, tiny_pack):
    about = {"title": "mine", "Conventions": "CF-1.6", "processing_level": "4", "license": "free"}
    ds = xr.Dataset({"ssta": ssta, "depth": ("z", [1.0])}, attrs={**about, "history": "observed"})
    fc = ds.earthformer.forecast(tiny_pack)
    assert isinstance(fc, xr.Dataset) and list(fc.data_vars) == ["ssta"]
    history = fc.attrs.pop("history").splitlines()
    assert history[0] == "observed" and "forecast by pack tiny 1" in history[1]
    assert fc.attrs == {
        "title": "Forecast of ssta by pack tiny 1",
        "source": "xearthformer, pack tiny 1, from mine",
        "Conventions": "CF-1.11",
        "license": "free",
    }
    xr.testing.assert_identical(fc["ssta"], ssta.earthformer.forecast(tiny_pack))


FORMS = {
    "transposed": lambda da: da.transpose("lon", "time", "lat"),
    "descending latitude": lambda da: da.isel(lat=slice(None, None, -1)),
    "-180..180": lambda da: da.assign_coords(
        lon=("lon", (da.lon.values + 180) % 360 - 180, da.lon.attrs)
    ).sortby("lon"),
    "other names": lambda da: da.rename(time="t", lat="latitude", lon="longitude"),
    "noleap": lambda da: da.convert_calendar("noleap"),
    "360_day": lambda da: da.convert_calendar("360_day", align_on="date"),
    "float64": lambda da: da.astype("f8"),
    "a level": lambda da: da.expand_dims(lev=[0.0], axis=1),
}


@pytest.mark.parametrize("form", FORMS)
def test_any_form_of_the_same_data_gets_the_same_answer_in_its_own_form(ssta, tiny_pack, form):
    inits = slice("2000-06", "2000-09")
    straight = ssta.earthformer.forecast(tiny_pack, init=inits)
    mine = FORMS[form](ssta)
    fc = mine.earthformer.forecast(tiny_pack, init=inits)
    assert fc.dtype == mine.dtype
    spatial = [dim for dim in mine.dims if dim not in ("time", "t", "lev")]
    assert fc.dims == ("init", "lead", *spatial)
    for dim in spatial:
        xr.testing.assert_identical(fc[dim].variable, mine[dim].variable)
    lat, lon = (next(d for d in spatial if d.startswith(name)) for name in ("lat", "lon"))
    back = fc.transpose("init", "lead", lat, lon).sortby(lat)
    back = back.isel({lon: np.argsort(back[lon].values % 360)})
    np.testing.assert_array_equal(back.values.astype("f4"), straight.values)


def test_kelvin_anomalies_are_not_shifted_by_273(ssta, tiny_pack):
    kelvin = ssta.assign_attrs(units="K")
    fc = kelvin.earthformer.forecast(tiny_pack)
    assert fc.attrs["units"] == "K"
    np.testing.assert_array_equal(fc.values, ssta.earthformer.forecast(tiny_pack).values)


def test_finer_grid_is_regridded_and_comes_back(ssta, tiny_pack):
    lat, lon = np.arange(-24.0, 25, 2), np.arange(150.0, 206, 2)
    fine = ssta.fillna(0).interp(lat=lat, lon=lon, kwargs={"fill_value": "extrapolate"})
    fine = fine.assign_coords(lat=("lat", lat, ssta.lat.attrs), lon=("lon", lon, ssta.lon.attrs))
    fine = fine.assign_attrs(ssta.attrs).where(fine.lon > 152)
    fc = fine.earthformer.forecast(tiny_pack)
    xr.testing.assert_identical(fc.lat, fine.lat)
    assert "conservative" in fc.attrs["history"]
    inside = fc.sel(lat=slice(-19, 19), lon=slice(160, 195))
    outside = fc.sel(lat=slice(21, 24))
    assert bool(inside.notnull().all()) and bool(outside.isnull().all())


def test_lead_beyond_the_reach_rolls_out(ssta, tiny_pack):
    short = ssta.earthformer.forecast(tiny_pack)
    long = ssta.earthformer.forecast(tiny_pack, lead=5)
    assert long.sizes["lead"] == 5
    assert long.attrs["rollout"] == "leads 3 to 5 from the model's own output"
    np.testing.assert_array_equal(long[:, :2].values, short.values)
    # leads 3 and 4 are the forecast that starts from lead 2 with leads 1, 2 as its last two months
    follow = long[0, :2].swap_dims(lead="valid_time").rename(valid_time="time")
    longer = xr.concat([ssta, follow.drop_vars(("lead", "init"))], "time")
    again = longer.earthformer.forecast(tiny_pack)
    np.testing.assert_allclose(again.values[0], long.values[0, 2:4], rtol=1e-5, atol=1e-6)


def test_lead_shorter_than_the_reach(ssta, tiny_pack):
    fc = ssta.earthformer.forecast(tiny_pack, lead=1)
    assert fc.lead.values.tolist() == [1] and "rollout" not in fc.attrs


def test_lazy_equals_eager_under_any_chunking(ssta, tiny_pack):
    inits = slice("2000-01", None)
    eager = ssta.earthformer.forecast(tiny_pack, init=inits, batch_size=4)
    assert eager.sizes["init"] == 10
    for chunks in ({"time": 1}, {"time": 5, "lat": 3}, {}):
        lazy = ssta.chunk(chunks).earthformer.forecast(tiny_pack, init=inits, batch_size=4)
        assert lazy.chunks is not None
        xr.testing.assert_identical(lazy.compute(scheduler="synchronous"), eager)
    some = ssta.earthformer.forecast(tiny_pack, init=["2000-11", "2000-05"], batch_size=4)
    xr.testing.assert_identical(
        some, eager.sel(init=[some.init.values[0], some.init.values[1]]).assign_attrs(some.attrs)
    )


def test_lazy_computes_nothing(ssta, tiny_pack):
    def refuse(dsk, keys, **kwargs):
        raise AssertionError("something was computed")

    with dask.config.set(scheduler=refuse):
        fc = ssta.chunk({"time": 4}).earthformer.forecast(tiny_pack, init=slice("2000-04", None))
        assert fc.sizes["init"] == 9
        with pytest.raises(AssertionError, match="was computed"):
            fc.compute()


def test_chunks_are_tasks_and_change_no_number(ssta, tiny_pack):
    inits = slice("2000-01", None)
    eager = ssta.earthformer.forecast(tiny_pack, init=inits)
    lazy = ssta.chunk(time=5).earthformer.forecast(tiny_pack, init=inits, chunks=3)
    assert lazy.chunks[0] == (3, 3, 3, 1)
    xr.testing.assert_identical(lazy.compute(), eager)
    xr.testing.assert_identical(ssta.earthformer.forecast(tiny_pack, init=inits, chunks=1), eager)
    for chunks in (0, True, "3"):
        with pytest.raises(ValueError, match="chunks as a whole number"):
            ssta.earthformer.forecast(tiny_pack, chunks=chunks)


def test_graph_is_small_and_holds_neither_weights_nor_data(ssta, tiny_pack):
    long = ssta.fillna(0).isel(time=np.arange(600) % 12)
    long = long.assign_coords(time=pd.date_range("1950-01", periods=600, freq="MS"))
    data = long.chunk(time=12)
    fc = data.earthformer.forecast(tiny_pack, init=slice(None), chunks=50)
    assert len(fc.chunks[0]) == 12
    own = len(cloudpickle.dumps(fc.__dask_graph__())) - len(cloudpickle.dumps(data.data.dask))
    assert own < 12 * 8_000  # bytes; the weights are 500 kB, a block's windows 150 kB


def test_batch_size_is_felt_by_rounding_alone(ssta, tiny_pack):
    inits = slice("2000-01", None)
    one = ssta.earthformer.forecast(tiny_pack, init=inits, batch_size=1)
    four = ssta.earthformer.forecast(tiny_pack, init=inits, batch_size=4)
    np.testing.assert_allclose(one.values, four.values, rtol=1e-4, atol=1e-5)


def shift_years(da, by):
    return da.assign_coords(time=da.time.values + np.timedelta64(by, "D"))


BAD = {
    "no time axis": (lambda da: da[0].drop_vars("time"), "time"),
    "time not decoded": (
        lambda da: da.assign_coords(
            time=("time", np.arange(12.0), {"units": "months since 2000-01-15"})
        ),
        "decode",
    ),
    "missing month": (lambda da: da.isel(time=[0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11]), "2000-04"),
    "duplicate month": (lambda da: xr.concat([da[:6], da[5:]], "time"), "[Dd]uplicate"),
    "descending time": (lambda da: da[::-1], "sortby"),
    "short history": (lambda da: da[:2], "at least 3 time steps.*found 2"),
    "wrong units": (lambda da: da.assign_attrs(units="m s-1"), "degC.*m s-1"),
    "no units": (lambda da: da.drop_attrs(), "units|anomal"),
    "no units but an anomaly": (
        lambda da: da.drop_attrs(deep=False).assign_attrs(units_metadata="temperature: difference"),
        "assign_attrs\\(units=",
    ),
    "absolute": (
        lambda da: (
            (da + 290)
            .drop_attrs(deep=False)
            .rename("sst")
            .assign_attrs(standard_name="sea_surface_temperature", units="K")
        ),
        "anomaly\\(",
    ),
    "absolute labelled anomaly": (
        lambda da: (da + 290).assign_attrs(da.attrs),
        "values within .*found 29",
    ),
    "NaN in the sea": (lambda da: da.where(da.lat > -12), "missing"),
    "infinite": (lambda da: da.where(da.lat > -12, np.inf), "missing"),
    "domain too small": (lambda da: da[:, 2:], "contain|domain|latitude"),
    "domain elsewhere": (
        lambda da: da.assign_coords(lon=("lon", da.lon.values - 90, da.lon.attrs)),
        "longitude",
    ),
    "integers": (lambda da: da.fillna(0).astype("i2").assign_attrs(da.attrs), "int16"),
    "daily": (
        lambda da: da.assign_coords(time=xr.date_range("2000-01-01", periods=12)),
        "a time step of month.*found one of 1D",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data_is_refused_before_anything_is_computed(ssta, tiny_pack, case, monkeypatch):
    monkeypatch.setattr("xearthformer.inference.engine.predict", None)
    make, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=f"(?s){message}"):
        make(ssta).earthformer.forecast(tiny_pack)


@pytest.mark.parametrize("lead", [0, -1, 1.5, True, "1 fortnight"])
def test_bad_lead(ssta, tiny_pack, lead):
    with pytest.raises(ValueError, match="expected lead as a whole number"):
        ssta.earthformer.forecast(tiny_pack, lead=lead)


def test_bad_init_pack_device_and_batch(ssta, tiny_pack):
    with pytest.raises(ValueError, match="the data's own times"):
        ssta.earthformer.forecast(tiny_pack, init="2012-01")
    with pytest.raises(PackError, match="no pack 'tinny'"):
        ssta.earthformer.forecast("tinny")
    with pytest.raises(ValueError, match="(?s)expected .*device.*abacus"):
        ssta.earthformer.forecast(tiny_pack, device="abacus")
    with pytest.raises(ValueError, match="(?s)batch_size.*found 0"):
        ssta.earthformer.forecast(tiny_pack, batch_size=0)
    with pytest.raises(TypeError, match="(?s)DataArray or Dataset.*found ndarray"):
        xef.forecast(ssta.values, tiny_pack)


def test_dataset_with_no_matching_variable_or_with_two(ssta, tiny_pack):
    with pytest.raises((KeyError, ValueError), match="sea_surface_temperature"):
        xr.Dataset({"a": ssta.assign_attrs(standard_name="air_temperature")}).earthformer.forecast(
            tiny_pack
        )
    with pytest.raises((KeyError, ValueError), match="(?s)a.*b"):
        xr.Dataset({"a": ssta, "b": ssta}).earthformer.forecast(tiny_pack)


def test_lazy_data_raises_what_depends_on_values_when_computed(ssta, tiny_pack):
    fc = ssta.where(ssta.lat > -12).chunk({"time": 3}).earthformer.forecast(tiny_pack)
    with pytest.raises(ValueError, match="missing"):
        fc.compute(scheduler="synchronous")


@pytest.mark.parametrize("option", [{"members": 2}, {"sampler": "ddim"}, {"steps": 5}])
def test_options_of_ensembles_are_refused_by_a_deterministic_pack(ssta, tiny_pack, option):
    (name,) = option
    expected = f"a pack that .*samples, for {name}(.|\n)*leave {name} out"
    with pytest.raises(ValueError, match=expected):
        ssta.earthformer.forecast(tiny_pack, **option)
