"""Synthetic storms: SEVIR's form, rain's statistics, and bits that depend on seed and number."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.datasets.simulated import storms
from xearthformer.datasets.simulated.storms import DRY, MINUTES, Storm

KM = 1000 / storms.METRES


@pytest.fixture(scope="module")
def events() -> list[np.ndarray]:
    """Rain of twelve events, large enough for wavelengths of 64 km."""
    return [storms.rain_event(0, k, 13, 256) for k in range(12)]


@pytest.fixture
def calm() -> Storm:
    """A storm in still air, of round shapes."""
    drawn = Storm.draw(np.random.default_rng(0))
    return replace(drawn, stretch=1.0, memory=2.0, speed=0.0, gradient=np.zeros((2, 2)))


def spectral_slope(field: np.ndarray, shortest: float, longest: float) -> float:
    """Of the power per mode, averaged over rings, between two wavelengths in pixels."""
    window = np.hanning(len(field))[:, None] * np.hanning(len(field))
    power = np.abs(np.fft.fft2((field - field.mean()) * window)) ** 2
    frequency = np.fft.fftfreq(len(field))
    ring = np.hypot(frequency[:, None], frequency) * len(field)
    ring = ring.round().astype(int).ravel()
    power = np.bincount(ring, power.ravel()) / np.bincount(ring)
    wave = len(field) / np.arange(1, len(power))
    some = (wave >= shortest) & (wave <= longest)
    return -np.polyfit(np.log(wave[some]), np.log(power[1:][some]), 1)[0]


# --- the form


def test_form():
    ds = xef.synthetic_storms()
    units = {"vil": "1", "vil_kg_m2": "kg m-2", "rain_rate": "mm h-1"}
    assert {name: da.attrs["units"] for name, da in ds.data_vars.items()} == units
    for da in ds.data_vars.values():
        assert da.dims == ("event", "time", "y", "x") and da.dtype == np.float32
        assert da.chunks == ((1,) * 16, (49,), (384,), (384,))
        assert da.attrs["grid_mapping"] in ds.coords
    assert all("long_name" in c.attrs or "standard_name" in c.attrs for c in ds.coords.values())
    assert (np.diff(ds["time"].values) == np.timedelta64(5, "m")).all()
    assert (np.diff(ds["y"]) == 1000).all() and (np.diff(ds["x"]) == 1000).all()
    assert ds["x"].values[[0, -1]].tolist() == [-191500, 191500]
    assert ds.attrs["Conventions"].startswith("CF-")


def test_an_event_can_be_forecast():
    event = xef.synthetic_storms(events=2, size=16, frames=13)["rain_rate"].isel(event=1)
    fc = event.earthformer.forecast("persistence", init=event["time"].values[6], lead=2)
    np.testing.assert_array_equal(fc.isel(init=0, lead=1), event.isel(time=6))


def test_writes_and_reads_as_netcdf(tmp_path):
    ds = xef.synthetic_storms(events=2, size=16, frames=3)
    ds.to_netcdf(tmp_path / "storms.nc")
    with xr.open_dataset(tmp_path / "storms.nc", decode_coords="all") as back:
        xr.testing.assert_equal(back.load(), ds.compute())


def test_vil_is_that_of_the_rain():
    ds = xef.synthetic_storms(seed=2, events=3, size=64, frames=5).compute()
    vil = ds["vil"]
    assert (vil == vil.round()).all() and vil.min() == 0 and 60 < vil.max() <= 254
    assert ((vil > 0) == (ds["rain_rate"] > 0)).all()
    mass = 0.284 * ds["rain_rate"] ** 1.065
    np.testing.assert_allclose(ds["vil_kg_m2"], mass, rtol=0.02, atol=0.04)


# --- the bits


def test_an_event_depends_on_seed_and_number_alone():
    small = {"size": 32, "frames": 3}
    all_of_them = xef.synthetic_storms(seed=5, events=4, **small).compute()
    lazy = xef.synthetic_storms(seed=5, events=9, **small)
    xr.testing.assert_equal(lazy.isel(event=[3, 1]).compute(), all_of_them.isel(event=[3, 1]))
    xr.testing.assert_equal(
        lazy["vil"].sel(event="5-2").isel(time=1, y=slice(4, 9)).compute(),
        all_of_them["vil"].isel(event=2, time=1, y=slice(4, 9)),
    )
    other = xef.synthetic_storms(seed=6, events=4, **small)
    fields = [*all_of_them["rain_rate"].values, *other["rain_rate"].values]
    assert len({field.tobytes() for field in fields}) == 8


def test_lazy_names_tell_simulations_apart():
    cases = ({}, {"seed": 1}, {"events": 2}, {"size": 32}, {"frames": 3}, {})
    names = [xef.synthetic_storms(**case)["rain_rate"].data.name for case in cases]
    assert len(set(names)) == 5 and names[0] == names[-1]


# --- the statistics


def test_wet_share_is_the_storms_own():
    for k in range(8):
        storm = Storm.draw(np.random.default_rng(np.random.SeedSequence(0, spawn_key=(k,))))
        rain = storms.rain_event(0, k, 5, 64)
        assert ((rain == 0) | (rain >= DRY)).all()
        assert storm.wet * 0.93 < (rain > 0).mean() <= storm.wet + 1e-3


def test_wet_share_of_rain(events):
    wet = [(rain >= DRY).mean() for rain in events]
    assert 0.05 < min(wet) < 0.15 and 0.2 < max(wet) < 0.4
    assert any(np.ptp((rain >= DRY).mean(axis=(1, 2))) > 0.03 for rain in events)  # comes and goes


def test_rates_are_lognormal():
    logs = []
    for k in range(6):
        rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(k,)))
        storm, rain = Storm.draw(rng), storms.rain_event(0, k, 13, 128)
        logs.append((np.log(rain[rain > 0]) - np.log(storm.median)) / storm.spread)
    # each event is a small sample of its kind: standard normal when they are taken together
    quantiles = np.quantile(np.concatenate(logs), [0.1, 0.5, 0.9, 0.99])
    np.testing.assert_allclose(quantiles, [-1.28, 0, 1.28, 2.33], atol=0.25)


def test_spectrum_of_log_rain(events):
    slopes = [spectral_slope(np.log(rain[6].clip(min=DRY)), 4 * KM, 64 * KM) for rain in events]
    assert -3.1 < np.mean(slopes) < -2.5
    assert min(slopes) > -3.6 and max(slopes) < -2.2


@pytest.mark.shared
def test_radar_has_such_spectra(shared):
    # about -3.3 in the Netherlands, -3.6 and -3.8 in Switzerland
    for name in ("knmi_20100826", "mch_20150515", "mch_20160711"):
        with xr.open_dataset(shared / "data" / f"radar_{name}.nc") as ds:
            rain = ds["rain_rate"].isel(time=slice(0, 40, 8)).fillna(0).values
        y, x = (n // 2 - 128 for n in rain.shape[1:])
        crops = np.log(rain[:, y : y + 256, x : x + 256].clip(min=DRY))
        assert -3.9 < np.mean([spectral_slope(crop, 4 * KM, 64 * KM) for crop in crops]) < -2.5


def test_persistence_is_as_good_as_it_is_for_radar(events):
    # CSI at 1 mm/h: .22 to .39 after 30 minutes for four radar events, .10 to .31 after 60
    for steps, low, high in ((6, 0.15, 0.4), (12, 0.08, 0.32)):
        first = np.stack([rain[:-steps:3] >= 1 for rain in events])
        then = np.stack([rain[steps::3] >= 1 for rain in events])[:, : first.shape[1]]
        assert low < (first & then).sum() / (first | then).sum() < high


def test_small_scales_forget_sooner(calm):
    frames = 25
    calm = replace(calm, slope=0.0, outer=1e3)  # as much at every scale, so that all are seen
    field = storms._field(calm, np.random.default_rng(1), frames, 256)
    spectrum = np.fft.rfft2(field)
    wavenumber = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)) * KM
    for km in (8, 16, 32):
        ring = np.abs(wavenumber * km - 1) < 0.1
        modes = spectrum[:, ring]
        lags = range(frames - 1)
        power = (np.abs(modes) ** 2).mean()
        correlation = [(modes[: frames - n] * modes[n:].conj()).real.mean() / power for n in lags]
        minutes = np.interp(-np.exp(-1), -np.array(correlation), MINUTES * np.array(lags))
        assert minutes == pytest.approx(2.0 * km**storms.MEMORY_POWER, rel=0.2)


def test_memory_by_hand():
    rng = np.random.default_rng(0)
    kept = np.full(200_000, 0.5)
    states = storms._red_noise(kept, lambda: rng.standard_normal(200_000))
    zs = [z for z, _ in zip(states, range(4), strict=False)]
    np.testing.assert_allclose([z.var() for z in zs], 1, atol=0.02)
    # (1 + n (1 - 1/4) / (1 + 1/4)) / 2^n = 0.8, 0.55, 0.35
    np.testing.assert_allclose([(zs[0] * z).mean() for z in zs[1:]], [0.8, 0.55, 0.35], atol=0.02)


# --- the motion


def test_the_wind_carries_the_rain(calm):
    # 10 m/s along x is 3 km in 5 minutes
    storm = replace(calm, memory=1e9, speed=10.0, heading=0.0)
    field = storms._field(storm, np.random.default_rng(0), 3, 64)
    np.testing.assert_allclose(field[1, :, 3:], field[0, :, :-3], atol=0.02 * field.std())
    north = replace(storm, heading=np.pi / 2)
    field = storms._field(north, np.random.default_rng(0), 3, 64)
    np.testing.assert_allclose(field[2, 6:], field[0, :-6], atol=0.02 * field.std())


def test_the_wind_turns_about_the_middle(calm):
    # a quarter of a turn in 50 minutes: what is at (0, 0) of 9 x 9 pixels was at (8, 0)
    turn = np.pi / 2 / 3000
    storm = replace(calm, gradient=np.array([[0, turn], [-turn, 0]]))
    matrix, offset = storm.way_back(50, 9)
    np.testing.assert_allclose(matrix @ [4, 4] + offset, [4, 4], atol=1e-9)
    np.testing.assert_allclose(matrix @ [0, 0] + offset, [8, 0], atol=1e-9)
    growing = replace(calm, gradient=np.eye(2) * np.log(2) / 3000)
    matrix, offset = growing.way_back(50, 9)
    np.testing.assert_allclose(matrix @ [0, 8] + offset, [2, 6], atol=1e-9)  # twice as large


def test_shapes_are_longer_along_their_bearing(calm):
    round_, long = (
        storms._field(replace(calm, stretch=s, bearing=0.0), np.random.default_rng(0), 1, 256)[0]
        for s in (1.0, 1.5)
    )
    ratios = [
        (np.diff(field, axis=0) ** 2).mean() / (np.diff(field, axis=1) ** 2).mean()
        for field in (round_, long)
    ]
    assert 0.8 < ratios[0] < 1.25
    assert ratios[1] / ratios[0] > 2


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"seed": -1}, r"seed as a whole number from 0\n +found -1"),
        ({"seed": True}, r"seed as a whole number from 0\n +found True"),
        ({"events": 0}, r"events as a whole number from 1\n +found 0"),
        ({"size": 100.0}, r"size as a whole number from 8\n +found 100.0"),
        ({"frames": "7"}, r"frames as a whole number from 1\n +found '7'"),
    ],
)
def test_what_cannot_be_simulated(kwargs, match):
    with pytest.raises(ValueError, match=match):
        xef.synthetic_storms(**kwargs)
