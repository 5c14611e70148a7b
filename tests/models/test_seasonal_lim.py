"""The seasonal LIM: months, delays and levels by hand, its fit, its members, what it ignores."""

import dataclasses
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import xearthformer as xef
from xearthformer import models
from xearthformer.inference import engine
from xearthformer.models.baselines import seasonal_lim as module
from xearthformer.models.baselines.seasonal_lim import (
    GROWTH,
    MEMORY,
    NOISE,
    PRESETS,
    START,
    SeasonalLIM,
    SeasonalLIMConfig,
)

# Two cells on the equator, of which one principal component, their difference, and a level remain.
PAIR = SeasonalLIMConfig(1, 3, 1, 2, n_eofs=(1,), delays=(0,), ridge=0)
APART = np.array([1.0, -1.0])
SMALL = SeasonalLIMConfig(5, 4, 3, 4, 2, n_eofs=(3, 2), delays=(0, 2), ridge=0.01)
LATITUDE = [-30.0, 0.0, 10.0]


def with_month(x_BTHWC, last: int) -> torch.Tensor:
    """Frames with the channels of the month, which is `last` (1..12) in the last frame."""
    x = torch.as_tensor(x_BTHWC, dtype=torch.float32)
    angle = (2 * np.pi / 12) * (last + torch.arange(x.shape[1]) + 1 - x.shape[1])
    month_T = torch.stack([angle.sin(), angle.cos()], dim=-1)
    return torch.cat([x, month_T[:, None, None].expand(*x.shape[:-1], 2)], dim=-1)


def frames(*differences: float, level: float = 0.0, last: int = 1) -> torch.Tensor:
    x = np.multiply.outer(differences, APART) + level
    return with_month(x.reshape(1, -1, 1, 2, 1), last)


def by_hand(config=PAIR, noise: float = 0.0) -> SeasonalLIM:
    """z is half the difference of the cells; out of month m it is multiplied by m / 10."""
    lim = SeasonalLIM(config)
    pair = torch.tensor([[0.5, -0.5], [0.5, 0.5]]), torch.tensor([[1.0, -1.0], [1.0, 1.0]])
    lim.projection, lim.patterns = (maps.reshape(2, 1, 2, 1) for maps in pair)
    lim.propagator[:, 0, 0, 0] = torch.arange(1, 13) / 10
    lim.noise[:] = noise * torch.eye(2)
    return lim.eval()


def record(n: int = 480, seed: int = 1) -> np.ndarray:
    """Two variables (n, 3, 4, 2) that vary in many ways and remember; one cell is land."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n, 24))
    for t in range(1, n):
        x[t] = 0.8 * x[t - 1] + rng.standard_normal(24)
    x = (x @ rng.random((24, 24))).reshape(n, 3, 4, 2)
    x[:, 1, 2] = np.nan
    return x


@pytest.fixture(scope="module")
def small() -> SeasonalLIM:
    return SeasonalLIM.fit(record(), 4, LATITUDE, SMALL)


# --- by hand


def test_the_month_that_a_step_leads_out_of():
    # From December: 1.2; from January .1, from February .2.
    y = by_hand().predict(frames(10.0, last=12)).squeeze()
    torch.testing.assert_close(y[:, 0], torch.tensor([12.0, 1.2, 0.24]))
    torch.testing.assert_close(y[:, 1], -y[:, 0])
    y = by_hand().predict(frames(10.0, last=10)).squeeze()  # 1.0, 1.1, 1.2
    torch.testing.assert_close(y[:, 0], torch.tensor([10.0, 11.0, 13.2]))


def test_delays_by_hand():
    lim = by_hand(dataclasses.replace(PAIR, in_len=3, delays=(0, 2)))
    lim.propagator[:, 0, 0, 0], lim.propagator[:, 1, 0, 0] = 0.5, 1.0
    # from 1, 2, 4: 4/2 + 1, then 3/2 + 2, then 3.5/2 + 4
    y = lim.predict(frames(1.0, 2.0, 4.0)).squeeze()[:, 0]
    torch.testing.assert_close(y, torch.tensor([3.0, 3.5, 5.75]))


def test_the_level_is_its_mean_over_the_frames():
    lim = by_hand(dataclasses.replace(PAIR, in_len=2))
    x = torch.cat([frames(0.0, level=1.0), frames(10.0, level=4.0)], dim=1)
    y = lim.predict(x).squeeze()
    torch.testing.assert_close(y.mean(dim=1), torch.full((3,), 2.5))
    torch.testing.assert_close(y[:, 0] - 2.5, torch.tensor([1.0, 0.2, 0.06]))


def test_noise_by_hand():
    # The start is off by half of a month's noise, and noise grows with z: from 2 it is times 1.4.
    lim = by_hand(noise=1.0)
    for z, factor in ((0.0, 1.0), (2.0, 1 + 2 * GROWTH), (-9.0, 0.5), (9.0, 1.8)):
        generator = torch.Generator().manual_seed(3)
        start, white = (torch.randn(2, generator=generator) for _ in range(2))
        begun = z + START**0.5 * factor * start[0]
        factor = (1 + GROWTH * begun).clip(0.5, 1.8)
        expected = torch.stack([0.1 * begun, torch.tensor(0.0)]) + factor * white
        y = lim.predict(frames(z), torch.Generator().manual_seed(3)).squeeze()[0]
        torch.testing.assert_close(torch.stack([y[0] - y[1], y[0] + y[1]]) / 2, expected)
    lim.noise[:, 0] = 0  # of the level alone: z stays 0, and a level remembers
    generator.manual_seed(3)
    _, first, second = (torch.randn(2, generator=generator)[1] for _ in range(3))
    y = lim.predict(frames(0.0), generator.manual_seed(3)).squeeze().mean(dim=1)
    torch.testing.assert_close(y[:2], torch.stack([first, MEMORY * first + second]))


# --- the fit


def stirred(n: int, noise_M: np.ndarray, seed: int = 0) -> np.ndarray:
    """The pair, z(t + 1) = (.5 + .3 cos(month) - .2 sin(month)) z(t) + noise; from January on."""
    rng, z = np.random.default_rng(seed), np.zeros(n)
    angle = 2 * np.pi * np.arange(1, 13) / 12
    a_M = 0.5 + 0.3 * np.cos(angle) - 0.2 * np.sin(angle)
    for t in range(1, n):
        m = (t - 1) % 12
        z[t] = a_M[m] * z[t - 1] + noise_M[m] * rng.standard_normal()
    return np.multiply.outer(z, APART).reshape(n, 1, 2, 1)


def test_the_fit_finds_the_months():
    angle = 2 * np.pi * np.arange(1, 13) / 12
    x = stirred(24_000, np.ones(12))
    for first, rolled in ((1, x), (8, x[7:])):
        lim = SeasonalLIM.fit(rolled, first, [0.0], PAIR)
        expected = 0.5 + 0.3 * np.cos(angle) - 0.2 * np.sin(angle)
        np.testing.assert_allclose(lim.propagator.flatten(), expected, atol=0.03)


def test_noise_of_each_month():
    # Three times as strong out of June to August. A month shares with the two next to it:
    # January (1 + 2 + 1)/4 = 1, July 9, May (1 + 2 + 9)/4 = 3 (variances).
    strong = np.where(np.isin(np.arange(12), (5, 6, 7)), 3.0, 1.0)
    x = stirred(36_000, strong)
    lim = SeasonalLIM.fit(x, 1, [0.0], PAIR)
    z = lim.project(torch.from_numpy(x).float())[:, 0]
    unit = (z.std() / np.std(x[:, 0, 0, 0])).item()
    found = (lim.noise @ lim.noise.mT)[:, 0, 0].numpy() / unit**2 / NOISE
    # Divided by (1 + .2 z)^2, for what is drawn is multiplied by it: the mean of 1 over it is 1.1
    # where z is about 1, and more after months of strong noise.
    np.testing.assert_allclose(found[[0, 6, 4]], [1.1, 10.2, 3.3], rtol=0.1)


def test_a_ridge_draws_to_zero_and_seasons_most():
    x = stirred(24_000, np.ones(12))
    free, drawn = (
        SeasonalLIM.fit(x, 1, [0.0], dataclasses.replace(PAIR, ridge=r)).propagator.flatten()
        for r in (0, 1.0)
    )
    # z has unit variance: the mean over the year is halved, the seasons, of variance 1/2 and ten
    # times the ridge, are about a twentieth.
    assert drawn.mean() == pytest.approx(0.5 * free.mean().item(), rel=0.15)
    assert drawn.std() < 0.1 * free.std()


def test_what_a_field_is_made_of_brings_it_back(small):
    y = torch.randn(6, 7)  # 3 + 1 and 2 + 1
    torch.testing.assert_close(small.project(small.expand(y)), y, atol=1e-4, rtol=0)


def test_components_have_unit_variance():
    x = record()
    lim = SeasonalLIM.fit(x, 1, LATITUDE, SMALL)
    y = lim.project(torch.from_numpy(x).float())
    departures = (y.unflatten(0, (40, 12)) - y.unflatten(0, (40, 12)).mean(0)).flatten(0, 1)
    for variable in ([0, 1, 2], [4, 5]):
        z = departures[:, variable]
        torch.testing.assert_close(z.T @ z / 480, torch.eye(len(variable)), atol=1e-3, rtol=0)


@pytest.mark.parametrize("variable", [0, 1])
def test_a_constant_comes_out_as_it_went_in_and_changes_nothing_else(small, variable):
    x = torch.from_numpy(record(5, seed=7)[None]).float()
    more = x.clone()
    more[..., variable] += 2.0
    changed = small.predict(with_month(more, 6)) - small.predict(with_month(x, 6))
    ocean = small.ocean.clone()
    ocean[..., 1 - variable] = False
    torch.testing.assert_close(changed, 2.0 * ocean.expand(changed.shape), atol=1e-4, rtol=0)


def test_the_fit_does_not_know_the_period_of_anomalies(small):
    # The same record as departures from another climatology.
    other = record() + np.random.default_rng(5).standard_normal((12, 3, 4, 2))[np.arange(480) % 12]
    again = SeasonalLIM.fit(other, 4, LATITUDE, SMALL)
    for name, found in again.state_dict().items():
        torch.testing.assert_close(found, small.state_dict()[name], atol=1e-4, rtol=1e-4)


def test_weights_of_frames_and_cells():
    x = record()
    broken = x.copy()
    broken[:100] += np.random.default_rng(3).standard_normal((100, 3, 4, 2))
    weight = np.where(np.arange(480) < 100, 0.0, 1.0)
    lims = [SeasonalLIM.fit(a, 1, LATITUDE, SMALL, weight_T=weight) for a in (x, broken)]
    for name in ("projection", "patterns", "propagator"):
        assert torch.equal(*(lim.state_dict()[name] for lim in lims))
    torch.testing.assert_close(lims[0].noise, lims[1].noise, atol=0.05, rtol=0)  # of levels
    cells = np.ones((3, 4, 2))
    cells[0] = 0
    lim = SeasonalLIM.fit(x, 1, LATITUDE, SMALL, weight_HWC=cells)
    assert (lim.projection[:, 0] == 0).all()  # and 30S lies outside of the mean
    assert (lim.patterns[:, 0] != 0).any()


def test_a_second_variable_that_comes_first_by_a_month():
    # s(t + 1) = .5 s(t) + .5 h(t), h white noise: s alone tells half of what both tell.
    rng = np.random.default_rng(4)
    h = rng.standard_normal(6000)
    s = np.zeros(6000)
    for t in range(1, 6000):
        s[t] = 0.5 * s[t - 1] + 0.5 * h[t - 1]
    x = np.stack([np.multiply.outer(a, APART) for a in (s, h)], axis=-1)[:, None]
    x[:3000, ..., 1] = np.nan
    config = SeasonalLIMConfig(1, 2, 1, 2, 2, n_eofs=(1, 1), delays=(0,), ridge=1e-6)
    lim = SeasonalLIM.fit(x, 1, [0.0], config)
    given = with_month(np.array([[1.0, 4.0], [-1.0, -4.0]]).reshape(1, 1, 1, 2, 2), 3)
    y = lim.predict(given).squeeze()
    torch.testing.assert_close(y[0, 0], torch.tensor([2.5, 0.0]), atol=0.15, rtol=0)


@pytest.mark.parametrize("kind", ["walk", "growth", "cycle"])
def test_always_stable(kind):
    x = record(240)
    t = np.arange(240)[:, None, None, None]
    x += {"walk": x.cumsum(axis=0), "growth": 1.03**t, "cycle": 9 * np.cos(np.pi * t / 6)}[kind]
    x[:, 0] += x[:, 2] * (t[:, 0] % 7)
    lim = SeasonalLIM.fit(x, 1, LATITUDE, dataclasses.replace(SMALL, out_len=3000))
    y = lim.project(lim.predict(with_month(record(5)[None], 1)))[0, :, lim.eofs]
    assert y[-1].abs().max() < 0.01 * y.abs().max()


# --- contract


@pytest.mark.parametrize("out_len", [5, 8])  # the level wants as many frames as are read
def test_beyond_its_reach_on_its_own_output_it_is_the_same_model(small, out_len):
    longer, shorter = (SeasonalLIM(dataclasses.replace(SMALL, out_len=n)) for n in (20, out_len))
    for model in (longer, shorter):
        model.load_state_dict(small.state_dict(), strict=True)
    x = torch.from_numpy(record(10).reshape(2, 5, 3, 4, 2)).float()
    month = with_month(torch.zeros(2, 25, 1, 1, 1), 25)[..., 1:]
    blank = torch.full((3, 4, 2), torch.nan)
    blank[1, 2] = 0  # the land, as `forecast` fills it
    rolled = engine.predict(shorter, x, 20, engine.Settings("cpu", 2), blank, month)
    torch.testing.assert_close(rolled, longer.predict(with_month(x, 5)), atol=1e-3, rtol=1e-3)


def test_a_sample_is_bit_equal_in_any_batch(small):
    x = with_month(torch.randn(5, 5, 3, 4, 2), 7)
    together = small.predict(x)
    for batch in ([0], [3], [4, 3], [3, 0, 0, 1, 2, 1]):
        assert torch.equal(small.predict(x[batch]), together[batch])


def test_members_are_of_their_generator(small):
    x = with_month(torch.randn(1, 5, 3, 4, 2), 7)
    one, again, other = (small.predict(x, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert small.draws and not small.samples


def test_the_mean_of_members_is_the_forecast():
    lim = by_hand(noise=0.5)
    x = frames(1.0, level=0.3)
    members = torch.stack([lim.predict(x, torch.Generator().manual_seed(s)) for s in range(800)])
    torch.testing.assert_close(members.mean(0), lim.predict(x), atol=0.08, rtol=0)


def test_land_is_ignored_in_and_zero_out(small):
    x = torch.randn(1, 5, 3, 4, 2)
    forecasts = []
    for land in (torch.nan, 7.0):
        x[:, :, 1, 2] = land
        forecasts.append(small.predict(with_month(x, 1)))
    assert torch.equal(*forecasts) and (forecasts[0][:, :, 1, 2] == 0).all()


def test_config_from_json():
    config = json.loads(json.dumps(dataclasses.asdict(PRESETS["enso-ocean"])))
    assert config["n_eofs"] == [15, 5]
    assert models.build("seasonal-lim", config).config == PRESETS["enso-ocean"]


def test_everything_is_in_the_state_dict(small):
    assert {*small.state_dict()} == {"ocean", "projection", "patterns", "propagator", "noise"}
    assert not list(small.parameters())


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"in_len": 6}, "in_len above 6, the longest of the delays, found 6.*in_len=7"),
        ({"delays": ()}, "ascending whole numbers from 0 on"),
        ({"delays": (1, 3)}, "ascending whole numbers from 0 on"),
        ({"delays": (0, 3, 3)}, "ascending"),
        ({"n_eofs": (15, 5)}, r"n_eofs of 1 variables, found \(15, 5\).*channels=2"),
        ({"n_eofs": (0,)}, "n_eofs to be whole numbers from 1"),
        ({"ridge": float("nan")}, "ridge from 0 on, found nan"),
    ],
)
def test_what_is_no_config(changes, match):
    with pytest.raises(ValueError, match=match):
        SeasonalLIMConfig(**changes)


def _gap(x: np.ndarray) -> np.ndarray:
    x[50, 0, 0, 0] = np.nan
    return x


def _ends(x: np.ndarray) -> np.ndarray:
    x[300:, ..., 1] = np.nan
    return x


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda x: x[..., 0], r"expected x \(T, 3, 4, 2\).*found \(480, 3, 4\)"),
        (lambda x: x[:100], "at least 147 months of all variables, found 100"),
        (_gap, "1 cells that are missing at some times"),
        (_ends, "from a variable's first frame on"),
        (lambda x: x * 0, "varies in 0 ways"),
    ],
)
def test_what_cannot_be_fitted(change, match):
    with pytest.raises(ValueError, match=match):
        SeasonalLIM.fit(change(record()), 1, LATITUDE, SMALL)


def test_frames_of_another_shape():
    with pytest.raises(ValueError, match=r"2 of the month\) = \(batch, 1, 1, 2, 3\), found"):
        by_hand().predict(torch.zeros(1, 1, 1, 2, 1))


def test_places():
    assert module._places((2, 1)) == ([2, 4], [0, 1, 3])


# --- what ships


def test_the_shipped_packs_give_the_same_members_in_any_chunks():
    sst = xef.synthetic_sst(years=3, start="1990-01")["sst"]
    ssta = sst.earthformer.anomaly(climatology=("1990", "1992"))
    init = ["1991-06", "1992-01"]
    fc = ssta.earthformer.forecast("lim", init=init, lead=20, members=3, seed=5)
    lazy = ssta.chunk(time=1, lat=20).earthformer.forecast(
        "lim", init=init[1:], lead=20, members=2, seed=5
    )
    xr.testing.assert_equal(fc.isel(init=[1], member=[0, 1]), lazy.compute())
    assert float(fc.std("member").sel(lead=1).max()) > 0.05


@pytest.mark.parametrize("name", ["lim", "enso-ersst", "enso-ocean"])
def test_the_shipped_packs_give_the_same_bits_by_any_number_of_threads(name):
    pack = xef.open_pack(name)
    x_THWC = torch.randn(12, *pack.card.grid.shape, pack.card.channels)
    x_THWC[..., -2:] = torch.tensor([0.0, -1.0])  # June
    found, threads = [], torch.get_num_threads()
    for threads_now in (1, 2):
        torch.set_num_threads(threads_now)
        try:
            generator = torch.Generator().manual_seed(0)
            found.append(pack.model().predict(x_THWC[None], generator))
        finally:
            torch.set_num_threads(threads)
    assert torch.equal(*found)


def test_two_variables_and_a_stand_in():
    sst = xef.synthetic_sst(years=2, start="1990-01")["sst"]
    ssta = sst.earthformer.anomaly(climatology=("1990", "1991"))
    ssta.attrs.pop("climatology_period")
    attrs = {"units": "m", "standard_name": "sea_surface_height_above_geoid"}
    zos = (0.05 * ssta.roll(lon=20)).fillna(0.01).assign_attrs(attrs)
    attrs = {"standard_name": "depth_of_isosurface_of_sea_water_potential_temperature"}
    d20 = (zos / 3.8e-3).assign_attrs(attrs, units="m")
    both, stand_in, without = (
        xr.Dataset({"sst": ssta, name: other}).earthformer.forecast("enso-ocean", init="1991-12")
        for name, other in (("zos", zos), ("d20", d20), ("zos", 0 * zos))
    )
    xr.testing.assert_allclose(stand_in["sst"], both["sst"], atol=1e-4)
    xr.testing.assert_allclose(stand_in["d20"] * 3.8e-3, both["zos"], atol=1e-5)
    assert abs(both["sst"] - without["sst"]).max() > 0.1
    assert both["zos"].attrs["units"] == "m" and both["zos"].notnull().sum() > 1000


@pytest.mark.shared
def test_what_ships_scores_as_its_card_says_on_years_it_has_not_seen(shared):
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "fit_lim.py"))
    paths = sorted((shared / "data").glob("ersst_v5_*.nc"))
    if len(paths) < 3:
        pytest.skip(f"no ERSST v5 in {shared / 'data'}")
    sst = xr.open_mfdataset(paths)["sst"].load()
    model, land = example["fit"]({"sst": sst}, "1999")
    card = example["fitted_card"]("lim", model, land, "1999")
    shipped = xef.open_pack("lim")
    assert shipped.card.inputs["sst"] == card.inputs["sst"]
    np.testing.assert_array_equal(shipped.card.grid.is_land, card.grid.is_land)
    ssta = xef.anomaly(sst.sel(time=slice("1980", None)), climatology=("1980", "2009"))
    init = ssta.sel(time=slice("2000", "2009"))["time"].values[:-14]
    x, month = example["on_model_grid"], init.astype("datetime64[M]").astype(int) % 12 + 1
    field = x(sst.sel(time=slice("1980", None)), card.inputs["sst"], "2009").fillna(0)
    place = np.searchsorted(field["time"].values, init)
    windows = np.stack([field.values[i - 11 : i + 1] for i in place])[..., None]
    y = torch.cat(
        [model.predict(with_month(w[None], int(m))) for w, m in zip(windows, month, strict=True)]
    )
    fc = xef.forecast(ssta, "lim", init=init)  # its labels; fitted to 2000-2009 too
    grid = {"lat": card.grid.latitude, "lon": card.grid.longitude}
    blind = fc.sel(grid).copy(data=y[..., 0].numpy()).where(~card.grid.is_land)
    skill = xef.enso_skill(xef.index(blind, "nino3.4"), xef.index(ssta, "nino3.4"))
    said = shipped.card.scores
    assert skill["correlation_mean"].item() == pytest.approx(
        said["nino34_correlation_mean"], abs=0.01
    )
    assert skill["rmse_mean"].item() == pytest.approx(said["nino34_rmse_mean"], abs=0.01)
    assert said["nino34_correlation_mean"] > 0.68
