"""Forecasts to and from climpred, WeatherBench-X, earth2studio, cfgrib, xskillscore and scores."""

import importlib

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

import xearthformer as xef

SST = {"standard_name": "sea_surface_temperature", "units": "K"}
DEGREES = {"lat": {"units": "degrees_north"}, "lon": {"units": "degrees_east"}}


def record(freq="6h", size=16):
    """Temperature (time, lat, lon) on 3 x 4 cells."""
    rng = np.random.default_rng(0)
    coords = {
        "time": pd.date_range("2000-01-01", periods=size, freq=freq),
        "lat": ("lat", [-10.0, 0.0, 10.0], DEGREES["lat"]),
        "lon": ("lon", [180.0, 190.0, 200.0, 210.0], DEGREES["lon"]),
    }
    values = 300 + rng.standard_normal((size, 3, 4)).astype("f4")
    return xr.DataArray(values, coords, ("time", "lat", "lon"), "sst", SST)


def ensemble(obs, lead=3, members=4):
    """Forecasts (init, lead, member, lat, lon): persistence, and noise."""
    fc = obs.earthformer.forecast("persistence", init=slice(None), lead=lead)
    noise = np.random.default_rng(1).standard_normal((members, *fc.shape)).astype("f4")
    out = fc + xr.DataArray(noise, dims=("member", *fc.dims))
    out = out.assign_coords(member=np.arange(members)).assign_attrs(fc.attrs)
    return out.transpose("init", "lead", "member", "lat", "lon").rename("sst")


REFERENCE = "forecast_reference_time"

# --- climpred


@pytest.fixture
def climpred(monkeypatch, tmp_path):
    """climpred, whose constructor would download a table of standard names: a table of none."""
    pooch = pytest.importorskip("pooch")
    table = tmp_path / "table.xml"
    table.write_text("<table><version_number>0</version_number></table>")
    monkeypatch.setattr(pooch, "retrieve", lambda *args, **kwargs: str(table))
    return pytest.importorskip("climpred")


def climpred_hindcast(climpred, fc, obs):
    hindcast = climpred.HindcastEnsemble(fc.earthformer.to_climpred())
    return hindcast.add_observations(obs.earthformer.to_climpred())


@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize("freq", ["MS", "D", "5min"])
@pytest.mark.parametrize("lazy", [False, True])
def test_climpred_has_the_same_error(climpred, freq, lazy):
    obs = record(freq).isel(lat=[0, 2])  # of the same weight: climpred weighs none
    fc = ensemble(obs.chunk(time=1) if lazy else obs)
    theirs = climpred_hindcast(climpred, fc, obs).verify(
        metric="rmse", comparison="e2o", dim=["init", "lat", "lon"], alignment="maximize"
    )
    ours = xef.verify(fc.mean("member", keep_attrs=True), obs, ["rmse"])["rmse"]
    np.testing.assert_allclose(theirs["sst"].values, ours.values, rtol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_climpred_bootstraps_a_hindcast_from_its_store(climpred):
    obs = (record("MS", 30) - 300).assign_attrs(**SST, units_metadata="temperature: difference")
    store = zarr.storage.MemoryStore()
    xef.hindcast(obs, "persistence", store, init=slice("2000-03", "2001-12"), lead=2)
    hindcast = climpred_hindcast(climpred, xr.open_zarr(store)["sst"], obs)
    options = {"metric": "rmse", "comparison": "e2o", "dim": "init", "alignment": "same_inits"}
    skill = hindcast.verify(reference="persistence", **options)["sst"]
    ours, theirs = skill.sel(skill="initialized"), skill.sel(skill="persistence")
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)  # persistence is persistence
    bounds = hindcast.bootstrap(iterations=2, resample_dim="init", **options)["sst"]
    verified = bounds.sel(results="verify skill")
    np.testing.assert_allclose(verified, ours, rtol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_climpred_bootstraps_members(climpred):
    obs = record("MS", 20)
    hindcast = climpred_hindcast(climpred, ensemble(obs), obs)
    options = {"comparison": "m2o", "dim": ["init", "member"], "alignment": "same_inits"}
    bounds = hindcast.bootstrap(metric="crps", iterations=2, **options)["sst"]
    assert dict(bounds.sizes) == {"results": 3, "lead": 3, "lat": 3, "lon": 4}
    assert np.isfinite(bounds.sel(results="verify skill")).all()


# --- other names


def layouts(fc):
    """The same forecast with the names of each project."""
    plain = fc.drop_vars("valid_time").drop_attrs(deep=True).assign_attrs(fc.attrs)
    grid = {"lat": "latitude", "lon": "longitude"}
    steps = plain.rename(init="time", lead="step", member="number", **grid)
    cf = {"lead": "forecast_period", "init": "forecast_reference_time", "member": "realization"}
    marked = plain.rename(lead="a", init="b", member="c", **grid)
    for name, other in zip(cf, "abc", strict=True):
        marked[other].attrs["standard_name"] = cf[name]
    hours = (plain["lead"] / np.timedelta64(1, "h")).astype(int)
    return {
        "WeatherBench-X": plain.rename(init="init_time", lead="lead_time", member="number", **grid),
        "WeatherBench 2": plain.rename(
            init="time", lead="prediction_timedelta", member="realization", **grid
        ).transpose("realization", "time", "prediction_timedelta", "longitude", "latitude"),
        "cfgrib": steps.assign_coords(
            valid_time=steps["time"] + steps["step"], surface=0.0, step=steps["step"]
        ),
        "earth2studio": plain.rename(init="time", lead="lead_time", member="ensemble")
        .expand_dims(variable=["sst"], axis=3)
        .rename(None),
        "CF's standard names": marked,
        "climpred": plain.assign_coords(lead=("lead", hours.values, {"units": "hours"})),
    }


@pytest.mark.parametrize("project", layouts(ensemble(record())))
def test_forecasts_with_other_names_have_the_same_scores(project):
    obs = record()
    fc = ensemble(obs)
    names = ["rmse", "crps", "correlation"]
    other = layouts(fc)[project]
    result = xef.verify(other, obs, names, reference=other)
    expected = xef.verify(fc, obs, names, reference=fc)
    result = result.drop_vars("surface", errors="ignore")
    xr.testing.assert_allclose(result.drop_attrs(), expected.drop_attrs())
    read = xef.as_forecast(other)
    assert read.dims[:3] == ("init", "lead", "member")
    assert read["valid_time"].dims == ("init", "lead")
    np.testing.assert_array_equal(read["valid_time"], fc["valid_time"])


def test_one_forecast_of_cfgrib_is_no_record():
    obs = record()
    fc = ensemble(obs)
    one = layouts(fc)["cfgrib"].isel(time=5, number=0)  # valid_time lies along step
    result = xef.verify(one, obs, ["rmse"])["rmse"]
    expected = xef.verify(fc.isel(init=[5], member=0), obs, ["rmse"])["rmse"]
    np.testing.assert_array_equal(result, expected)
    of_file = one.assign_attrs(fc.attrs).to_dataset(name="sst").swap_dims(step="valid_time")
    of_file["valid_time"].attrs["standard_name"] = "time"  # as iris writes one forecast
    np.testing.assert_array_equal(xef.verify(of_file, obs, ["rmse"])["rmse"], expected)


def test_monthly_leads_of_climpred_have_valid_times():
    obs = record("MS")
    fc = ensemble(obs)
    read = xef.as_forecast(fc.earthformer.to_climpred())
    np.testing.assert_array_equal(read["valid_time"], fc["valid_time"])


@pytest.mark.parametrize(
    ("units", "lead", "days"),
    [
        *[(units, 24.0, 1.0) for units in ("hours", "hour", "h", "hr", "hrs", "Hours")],
        *[(units, 1, 1.0) for units in ("d", "day", "days")],
        *[(units, 2, 14.0) for units in ("week", "weeks")],
        ("minutes", 90, 0.0625),
        ("season", 1, 91.0),  # January to April
        ("years", 1, 366.0),
        ("month", 1, 31.0),
        ("1", 1, 31.0),
    ],
)
def test_leads_are_in_the_units_that_they_say(units, lead, days):
    time = np.array(["2000-01-01"], "M8[ns]")
    fc = xr.DataArray([[1.0]], {"time": time, "step": ("step", [lead], {"units": units})})
    read = xef.as_forecast(fc)
    assert (read["valid_time"] - time).item() / 1e9 / 86400 == days


@pytest.mark.parametrize("units", ["D", "m", "yr", "unknown"])
def test_leads_in_units_that_are_no_time_are_told(units):
    fc = ensemble(record()).drop_vars("valid_time")
    with pytest.raises(ValueError, match=f"units of time\n.*{units}"):
        xef.as_forecast(fc.assign_coords(lead=("lead", range(fc.sizes["lead"]), {"units": units})))


@pytest.mark.parametrize("form", ["%Y%m%d", "period", "UTC"])
def test_inits_in_other_forms_are_dates(form):
    fc = ensemble(record("D"))
    index = fc.indexes["init"]
    stamps = {"period": index.to_period("D"), "UTC": index.tz_localize("UTC")}.get(form)
    stamps = index.strftime("%Y%m%d").astype(int) if stamps is None else stamps
    read = xef.as_forecast(fc.drop_vars("valid_time").assign_coords(init=stamps))
    np.testing.assert_array_equal(read["valid_time"], fc["valid_time"])
    with pytest.raises(ValueError, match="datetimes along 'S'"):
        xef.as_forecast(
            fc.drop_vars("valid_time")
            .assign_coords(init=("init", range(len(index)), {"units": "days since 2000-01-01"}))
            .rename(init="S")
            .pipe(lambda da: da.assign_coords(S=da["S"].assign_attrs(standard_name=REFERENCE)))
        )


def test_what_is_no_forecast_is_told():
    obs = record()
    with pytest.raises(ValueError, match="a forecast, with the coordinates init, lead"):
        xef.as_forecast(obs)
    two = xr.concat([ensemble(obs)] * 2, pd.Index(["t2m", "sst"], name="variable"))
    two = two.drop_vars("valid_time")
    with pytest.raises(ValueError, match="one variable\n.*t2m, sst") as error:
        xef.as_forecast(two)
    mended = eval(str(error.value).split("try ")[1], {"fc": two})
    assert xef.as_forecast(mended).name == "t2m"


# --- WeatherBench-X and earth2studio


def test_to_weatherbench_has_its_names_and_its_valid_times():
    obs = record()
    fc = ensemble(obs.chunk(time=4))
    ds, targets = fc.earthformer.to_weatherbench(), obs.earthformer.to_weatherbench()
    assert ds["sst"].dims == ("init_time", "lead_time", "number", "latitude", "longitude")
    assert ds["lead_time"].dtype == "m8[ns]" and ds["init_time"].dtype == "M8[ns]"
    assert ds["sst"].chunks is not None and ds["sst"].attrs == fc.attrs
    assert targets["sst"].dims == ("valid_time", "latitude", "longitude")
    # as its loaders select what to compare, by exact labels
    pairs = ds.sel(init_time=ds["init_time"][:4].values, lead_time=ds["lead_time"].values)
    truth = targets.sel(valid_time=pairs["init_time"] + pairs["lead_time"])
    error = ((pairs["sst"] - truth["sst"]) ** 2).mean(["init_time", "latitude", "longitude"]) ** 0.5
    equator = obs.assign_coords(lat=obs["lat"] * 1e-6), fc.assign_coords(lat=fc["lat"] * 1e-6)
    ours = xef.verify(equator[1].isel(init=slice(4)), equator[0], ["rmse"])["rmse"]
    np.testing.assert_allclose(error, ours, rtol=1e-5)  # cells of one size
    xr.testing.assert_allclose(
        xef.as_forecast(ds["sst"]).drop_vars("valid_time").drop_attrs(),
        fc.drop_vars("valid_time").rename(lat="latitude", lon="longitude").drop_attrs(),
    )


def test_to_weatherbench_of_months_is_told_and_of_indices_and_maps_is_not():
    obs = record("MS")
    fc = ensemble(obs)
    with pytest.raises(ValueError, match="leads as durations\n.*months") as error:
        fc.earthformer.to_weatherbench()
    mended = str(error.value).split("try ")[1].split(",")[0]
    assert eval(mended, {"fc": fc})["lead"].attrs["units"] == "months"
    rain = record("5min").rename(lat="y", lon="x").assign_attrs(standard_name="rainfall_rate")
    for name in ("y", "x"):
        rain[name].attrs = {"units": "m"}
    rain = rain.assign_attrs(units="mm h-1")
    one = rain.earthformer.forecast("persistence", lead=2).isel(init=0)
    assert one.earthformer.to_weatherbench()["sst"].dims == ("init_time", "lead_time", "y", "x")
    assert rain.mean(["y", "x"]).earthformer.to_weatherbench()["sst"].dims == ("valid_time",)


def test_earth2studio_holds_and_gives_forecasts():
    io = pytest.importorskip("earth2studio.io")
    torch = importlib.import_module("torch")
    obs = record()
    fc = ensemble(obs)
    theirs = fc.earthformer.to_weatherbench().rename(
        init_time="time", number="ensemble", latitude="lat", longitude="lon"
    )["sst"]
    coords = {str(dim): theirs[dim].values for dim in theirs.dims}
    backend = io.XarrayBackend(coords)
    backend.add_array(coords, "sst", torch.as_tensor(theirs.values))
    found = backend.root["sst"].assign_attrs(units="K")
    result, expected = (xef.verify(one, obs, ["crps", "rmse"]) for one in (found, fc))
    xr.testing.assert_allclose(result.drop_attrs(), expected.drop_attrs())


# --- xskillscore and scores


def test_scores_and_xskillscore_take_our_dims_and_have_our_numbers():
    xs = pytest.importorskip("xskillscore")
    continuous = pytest.importorskip("scores.continuous")
    probability = pytest.importorskip("scores.probability")
    obs = record().isel(lat=[0, 2])  # of the same weight
    fc = ensemble(obs).isel(init=slice(-3))  # whose valid times are all observed
    truth = obs.sel(time=fc["valid_time"])
    mean, dims = fc.mean("member", keep_attrs=True), ["init", "lat", "lon"]
    ours = {**xef.verify(mean, obs, ["rmse", "mae", "me", "correlation"])}
    theirs = {
        "rmse": (continuous.rmse(mean, truth, reduce_dims=dims), xs.rmse(mean, truth, dims)),
        "mae": (continuous.mae(mean, truth, reduce_dims=dims), xs.mae(mean, truth, dims)),
        "me": (continuous.additive_bias(mean, truth, reduce_dims=dims), xs.me(mean, truth, dims)),
        "correlation": (
            continuous.correlation.pearsonr(mean, truth, reduce_dims=dims),
            xs.pearson_r(mean, truth, dims),
        ),
    }
    at = 300.5
    names = ["crps", "crps_ensemble", "brier", "brier_ensemble"]
    ours |= {**xef.verify(fc, obs, names, thresholds=[at])}
    event, share = (da >= at for da in (truth, fc))
    for fair, name in ((True, ""), (False, "_ensemble")):
        method = {True: "fair", False: "ecdf"}[fair]
        crps = probability.crps_for_ensemble(fc, truth, "member", method=method, reduce_dims=dims)
        brier = probability.brier_score_for_ensemble(
            fc, truth, "member", at, reduce_dims=dims, fair_correction=fair
        )
        theirs |= {f"crps{name}": (crps,), f"brier{name}": (brier,)}
    theirs["crps_ensemble"] += (xs.crps_ensemble(truth, fc, dim=dims),)
    theirs["brier_ensemble"] += (xs.brier_score(event, share.mean("member"), dim=dims),)
    for name, values in theirs.items():
        for one in values:
            np.testing.assert_allclose(
                np.ravel(one), np.ravel(ours[name]), rtol=2e-5, atol=1e-6, err_msg=name
            )
