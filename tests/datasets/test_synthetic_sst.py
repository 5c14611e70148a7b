"""Simulated SST: the form of ERSST, its statistics, and bits that depend on the seed alone."""

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from dask.base import tokenize

from xearthformer.datasets.simulated import sst as synthetic
from xearthformer.datasets.simulated.sst import Patterns, load_patterns, synthetic_sst

# ERSST v3b 1960-1999 without its monthly climatology: Nino3.4 (170W-120W, 5S-5N; degC), and its
# autocorrelation at lags of 1 .. 12 months. `test_reference_numbers` computes them again.
NINO34_STD = 0.871
NINO34_AUTOCORRELATION = np.array(
    [0.954, 0.869, 0.773, 0.665, 0.544, 0.417, 0.289, 0.166, 0.052, -0.041, -0.116, -0.176]
)


def nino34(sst: xr.DataArray) -> np.ndarray:
    """Monthly anomaly of the box mean, with exact box edges on the 2-degree grid."""
    box = sst.sel(lat=slice(-4, 4), lon=slice(190, 240)).load()  # cells reach 5S .. 5N, 189 .. 241
    weight = np.cos(np.deg2rad(box["lat"])) * (1 - 0.5 * box["lon"].isin([190, 240]))
    index = box.weighted(weight).mean(["lat", "lon"]).values.astype(float)
    return (index.reshape(-1, 12) - index.reshape(-1, 12).mean(axis=0)).ravel()


def autocorrelation(x: np.ndarray) -> np.ndarray:
    return np.array([(x[k:] * x[:-k]).mean() for k in range(1, 13)]) / x.var()


@pytest.fixture(scope="module")
def fifty() -> xr.Dataset:
    return synthetic_sst()


@pytest.fixture(scope="module")
def long() -> np.ndarray:
    """Nino3.4 of 500 years."""
    return nino34(synthetic_sst(years=500, seed=1, chunks={"time": 1200})["sst"])


def test_form(fifty):
    sst = fifty["sst"]
    assert dict(fifty.sizes) == {"time": 600, "lat": 89, "lon": 180}
    assert sst.dims == ("time", "lat", "lon") and sst.dtype == np.float32
    assert sst.chunks is None
    np.testing.assert_array_equal(fifty["lat"], np.arange(-88, 89, 2))
    np.testing.assert_array_equal(fifty["lon"], np.arange(0, 359, 2))
    days = fifty["time"].values.astype("M8[D]")
    assert (days[0], days[-1]) == (np.datetime64("1960-01-15"), np.datetime64("2009-12-15"))
    assert fifty["time"].dtype == "M8[ns]" and (fifty["time"].dt.day == 15).all()
    assert sst.attrs["standard_name"] == "sea_surface_temperature"
    assert [fifty[name].attrs["axis"] for name in ("time", "lat", "lon")] == ["T", "Y", "X"]
    assert fifty.attrs["Conventions"].startswith("CF-")
    missing = sst.isnull().values
    assert (missing == missing[0]).all() and missing[0].mean() == pytest.approx(0.314, abs=1e-3)
    assert sst.min() == np.float32(-1.8) and 30 < sst.max() < 36


def test_writes_and_reads_as_netcdf(tmp_path):
    ds = synthetic_sst(years=1)
    ds.to_netcdf(tmp_path / "sst.nc")
    with xr.open_dataset(tmp_path / "sst.nc") as back:
        xr.testing.assert_identical(back.load(), ds)


def test_the_seed_makes_the_bits(fifty):
    short = synthetic_sst(years=3, seed=0)
    xr.testing.assert_equal(short, fifty.isel(time=slice(36)))
    other = synthetic_sst(years=3, seed=1)
    assert np.abs(other["sst"] - short["sst"]).mean() > 0.1


@pytest.mark.parametrize(
    "chunks", [{}, {"time": 1}, {"time": 7}, {"time": 12, "lat": 10, "lon": 33}]
)
def test_the_chunks_do_not(chunks):
    eager = synthetic_sst(years=2, seed=3)
    lazy = synthetic_sst(years=2, seed=3, chunks=chunks)
    assert lazy["sst"].chunks is not None
    xr.testing.assert_identical(lazy.compute(), eager)
    xr.testing.assert_equal(
        lazy["sst"].isel(time=5, lat=[40, 2], lon=slice(3, 9)).compute(),
        eager["sst"].isel(time=5, lat=[40, 2], lon=slice(3, 9)),
    )


def test_lazy_names_tell_simulations_apart():
    names = {
        synthetic_sst(years=1, chunks={}, **kwargs)["sst"].data.name
        for kwargs in ({}, {"seed": 1}, {"start": "1960-02"}, {"start": "1961-01"})
    }
    assert len(names) == 3  # another year of the same months is the same SST
    again = synthetic_sst(years=1, chunks={})["sst"].data.name
    assert again in names


def test_start_sets_the_season():
    january, july = synthetic_sst(years=1), synthetic_sst(years=1, start="1960-07")
    north = {"lat": 40.0, "lon": 180.0}
    first = [ds["sst"].sel(north).values[0] for ds in (january, july)]
    assert first[1] - first[0] > 5


def test_beyond_the_reach_of_nanoseconds():
    ds = synthetic_sst(years=1, start="2300-01")
    assert str(ds["time"].values[0])[:10] == "2300-01-15"


def test_nino34_statistics(long):
    assert long.std() == pytest.approx(NINO34_STD, rel=0.07)
    # In the limit of a long simulation the two differ by 0.00, 0.01 and 0.05 at lags of 1, 6 and 12
    # months; 500 years scatter by 0.00, 0.015 and 0.03 about that.
    difference = np.abs(autocorrelation(long) - NINO34_AUTOCORRELATION)
    assert difference[:3].max() < 0.01
    assert difference[:6].max() < 0.04
    assert difference.max() < 0.09


def test_ersst_could_be_one_of_its_forty_years(long):
    pieces = long[: 12 * 480].reshape(12, 480)
    for value, spread in (
        (NINO34_STD, [piece.std() for piece in pieces]),
        *zip(
            NINO34_AUTOCORRELATION, np.transpose([autocorrelation(p) for p in pieces]), strict=True
        ),
    ):
        mean, std = np.mean(spread), np.std(spread, ddof=1)
        assert abs(value - mean) < 2 * std


def test_a_long_simulation_stays_stable(long):
    halves = long[:3000].std(), long[3000:].std()
    assert halves[0] / halves[1] == pytest.approx(1, abs=0.15)
    assert np.abs(long).max() < 5


def test_components_vary_as_much_as_they_did():
    patterns = load_patterns()
    model = patterns.propagator, patterns.noise_covariance
    z = synthetic.simulate(*model, 12_000, np.random.default_rng(0), patterns.delays.tolist())
    variance = z.var(axis=0)
    assert variance.mean() == pytest.approx(1, abs=0.05)
    assert variance.min() > 0.7 and variance.max() < 1.35


def test_starts_in_its_climate():
    # 300 components that remember as long as any may: all of them vary from the first month on.
    many = np.eye(300)
    z = synthetic.simulate([0.995 * many], 0.00998 * many, 24, np.random.default_rng(0))
    np.testing.assert_allclose((z**2).mean(axis=1), 1, atol=0.25)


def test_simulate_by_hand():
    # z(t + 1) = z(t) / 2 + z(t - 2) / 4 + noise of variance 9
    z = synthetic.simulate([[[0.5]], [[0.25]]], [[9.0]], 2000, np.random.default_rng(0), (0, 2))
    noise = z[3:] - 0.5 * z[2:-1] - 0.25 * z[:-3]
    expected = 3 * np.random.default_rng(0).standard_normal(synthetic.SPIN_UP + 2000)
    np.testing.assert_allclose(np.abs(noise[:, 0]), np.abs(expected[synthetic.SPIN_UP + 3 :]))


def test_a_propagator_of_another_shape():
    with pytest.raises(ValueError, match=r"shape \(2, 1, 1\): .*; found \(1, 1\): pass lim"):
        synthetic.simulate([[0.5]], [[0.75]], 4, np.random.default_rng(0), (0, 2))


@pytest.fixture
def tiny() -> Patterns:
    return Patterns(
        latitude=np.array([-10, 0], np.float32),
        longitude=np.array([0, 90, 180], np.float32),
        ocean=np.array([[True, True, False], [True, False, True]]),
        climatology=np.linspace(15, 30, 48, dtype=np.float32).reshape(12, 4),
        patterns=np.array([[1, -2, 0, 0.5], [0, 0, 0, 0]], np.float32),
        propagator=np.stack([np.eye(2), np.eye(2) / 2]).astype(np.float32) / 2,
        delays=np.array([0, 3]),
        noise_covariance=np.eye(2, dtype=np.float32) * 0.75,
        residual=np.array([0.1, 0.2, 0.3, 0], np.float32),
        memory=0.5,
    )


def test_patterns_round_trip(tiny, tmp_path):
    synthetic.save_patterns(tiny, tmp_path / "p.safetensors", "by hand")
    back = load_patterns(tmp_path / "p.safetensors")
    assert back.memory == tiny.memory
    for name in ("latitude", "longitude", "ocean", "propagator", "delays", "noise_covariance"):
        np.testing.assert_array_equal(getattr(back, name), getattr(tiny, name))
    for name, atol in (("climatology", 6e-4), ("patterns", 8e-3), ("residual", 1e-5)):
        np.testing.assert_allclose(getattr(back, name), getattr(tiny, name), atol=atol)
    assert tokenize(load_patterns(tmp_path / "p.safetensors")) == tokenize(back)


def test_fit_patterns_gives_back_what_was_simulated(tiny):
    ds = synthetic_sst(years=400, patterns=tiny, start="1800-01")
    z = synthetic._Sst.simulate(tiny, ds["time"].values, 0).z_TK
    model = tiny.propagator, tiny.noise_covariance, tiny.delays.tolist()
    fitted = synthetic.fit_patterns(ds["sst"], z, *model)
    np.testing.assert_array_equal(fitted.propagator, tiny.propagator)
    np.testing.assert_array_equal(fitted.delays, tiny.delays)
    np.testing.assert_array_equal(fitted.ocean, tiny.ocean)
    np.testing.assert_allclose(fitted.patterns, tiny.patterns, atol=0.03)
    np.testing.assert_allclose(fitted.residual, tiny.residual, rtol=0.1, atol=0.03)
    assert fitted.memory == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(fitted.climatology, tiny.climatology, atol=0.5)


def test_residual_has_unit_variance_between_the_nodes():
    noise = synthetic._red_noise(0.6, 3000, np.random.default_rng(0))
    latitude, longitude = np.array([-90.0, -44.0, 3.0, 90.0]), np.array([-3.0, 0.0, 5.0, 357.0])
    field = synthetic._interpolate(noise, latitude, longitude)
    np.testing.assert_allclose(field.std(axis=0), 1, atol=0.06)
    np.testing.assert_array_equal(field[:, :, 0], field[:, :, 3])  # 3W is 357E
    np.testing.assert_array_equal(field[:, 0, 1], noise[:, 0, 0])
    np.testing.assert_allclose((field[1:] * field[:-1]).mean(axis=0), 0.6, atol=0.1)


def test_is_small_and_knows_no_torch():
    assert synthetic.SHIPPED.stat().st_size < 1e6
    code = (
        "import sys, xearthformer.datasets.simulated.sst as s; "
        "s.synthetic_sst(1); print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" not in run.stdout.split()


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"years": 0}, r"expected years as a whole number from 1\n +found 0"),
        ({"years": 1.5}, "found 1.5"),
        ({"start": "soon"}, "expected a month such as '1960-01', found 'soon'"),
        ({"chunks": {"x": 3}}, r"expected 'time', 'lat', 'lon', found \['x'\]"),
    ],
)
def test_what_cannot_be_simulated(kwargs, match):
    with pytest.raises(ValueError, match=match):
        synthetic_sst(**kwargs)


def test_fit_patterns_wants_whole_years():
    sst = synthetic_sst(years=1)["sst"].isel(lat=slice(40, 42))
    for months, rows in ((11, 11), (12, 11)):
        with pytest.raises(ValueError, match=f"{months} months and {rows} rows"):
            synthetic.fit_patterns(sst[:months], np.ones((rows, 1)), [[[0.5]]], [[0.75]])


@pytest.mark.shared
def test_reference_numbers(ersst):
    index = nino34(ersst["sst"].sel(time=slice("1960", "1999")))
    assert index.std() == pytest.approx(NINO34_STD, abs=2e-3)
    np.testing.assert_allclose(autocorrelation(index), NINO34_AUTOCORRELATION, atol=2e-3)


@pytest.mark.shared
def test_form_is_that_of_ersst(ersst, fifty):
    assert fifty.sizes == ersst.sizes and set(fifty.variables) == set(ersst.variables)
    assert set(fifty.attrs) <= set(ersst.attrs)
    for name, variable in ersst.variables.items():
        mine = fifty[name]
        assert (mine.dims, mine.dtype) == (variable.dims, variable.dtype)
        attrs = {k: v for k, v in variable.attrs.items() if k != "valid_range_source"}
        assert mine.attrs == attrs
        if name != "sst":
            np.testing.assert_array_equal(mine, variable)
    real, simulated = ersst["sst"], fifty["sst"]
    np.testing.assert_array_equal(real.isnull()[0], simulated.isnull()[0])
    # The climatology agrees as far as the mean of 40 years lets it; so does the variability.
    real, simulated = (da.sel(time=slice("1960", "1999")) for da in (real, simulated))
    months = [da.groupby("time.month").mean() for da in (real, simulated)]
    assert np.abs(months[1] - months[0]).quantile(0.99) < 0.5
    spread = [
        (da.groupby("time.month") - clim).std("time")
        for da, clim in zip((real, simulated), months, strict=True)
    ]
    ratio = (spread[1] / spread[0]).where(spread[0] > 0.1)
    assert 0.93 < ratio.median() < 1.07
    assert (ratio.quantile([0.05, 0.95]) > 0.65).all() and ratio.quantile(0.95) < 1.3


@pytest.mark.shared
def test_what_ships_can_be_fitted_again(ersst):
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "fit_simulator.py"))
    _, fitted = example["fit"](ersst["sst"].sel(time=slice("1960", "1999")))
    shipped = load_patterns()
    np.testing.assert_array_equal(fitted.ocean, shipped.ocean)
    np.testing.assert_array_equal(fitted.delays, shipped.delays)
    assert fitted.memory == pytest.approx(shipped.memory, abs=1e-4)
    step = np.abs(fitted.patterns).max(axis=1, keepdims=True) / 127
    assert (np.abs(fitted.patterns - shipped.patterns) < 0.51 * step + 1e-3).all()
    for name, atol in (
        ("climatology", 6e-4),
        ("propagator", 2e-3),
        ("noise_covariance", 2e-3),
        ("residual", 1e-3),
    ):
        np.testing.assert_allclose(getattr(fitted, name), getattr(shipped, name), atol=atol)
