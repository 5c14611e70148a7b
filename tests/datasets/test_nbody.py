"""N-body digits: energy and momentum that stay, walls that reflect, pictures of the bodies."""

import sys

import dask
import numpy as np
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.datasets.simulated import nbody
from xearthformer.datasets.simulated.nbody import energy_of

DOT = np.full((1, 1, 1), 255, np.uint8)
ROOM = (44.0, 44.0)


def fly(state, frames, room=ROOM):
    """A state (S, B, 4), and those of the frames after it, (S, T, B, 4)."""
    states = [np.asarray(state, float)]
    for _ in range(frames):
        states.append(nbody.advance(states[-1], room))
    return np.stack(states, axis=1)


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    pytest.importorskip("sklearn")
    return xef.nbody(seed=3, sequences=130).compute()


def test_form(ds):
    assert ds["frames"].dims == ("sequence", "time", "y", "x") and ds["frames"].dtype == np.uint8
    assert ds["frames"].shape == (130, 20, 64, 64)
    assert ds["position"].shape == (130, 20, 3, 2) and ds["digit"].shape == (130, 3)
    assert ds["energy"].dims == ("sequence", "time")
    assert (ds["frames"].max(["y", "x"]) > 200).all()
    assert (np.diff(ds["time"].values) == np.timedelta64(1, "s")).all()
    assert ds["digit"].values.max() < 1797 and len(np.unique(ds["digit"])) > 100
    lazy = xef.nbody(seed=3, sequences=130)
    assert lazy["frames"].chunks[0] == (64, 64, 2)
    xr.testing.assert_identical(lazy.compute(), ds)


def test_a_sequence_depends_on_seed_and_number_alone(ds):
    few = xef.nbody(seed=3, sequences=3)
    xr.testing.assert_equal(few.compute(), ds.isel(sequence=slice(3)))
    one = xef.nbody(seed=3, sequences=100)[["frames", "energy"]].isel(sequence=[70])
    xr.testing.assert_equal(one.compute(), ds[["frames", "energy"]].isel(sequence=[70]))
    other = xef.nbody(seed=4, sequences=3)
    assert not (other["position"] == few["position"]).any()
    names = {d["frames"].data.name for d in (few, other, xef.nbody(seed=3, sequences=3))}
    assert len(names) == 2


def test_nothing_is_simulated_before_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(nbody, "advance", lambda *_: pytest.fail("too early"))
    xef.nbody(sequences=200, digits=DOT)["frames"].isel(sequence=0)


def test_energy_stays(ds):
    drift = np.abs(ds["energy"] - ds["energy"].isel(time=0))
    assert drift.max() < 0.05
    assert ds["energy"].isel(time=0).std() > 1  # and isn't the same for all


def test_energy_between_bounces_stays_to_second_order(monkeypatch):
    start = nbody._simulate(np.arange(50), 0, 3, 1, ROOM)[:, 0]
    start[..., :2] += 1000
    far = (2044.0, 2044.0)
    drifts = []
    for substeps in (64, 128):
        monkeypatch.setattr(nbody, "SUBSTEPS", substeps)
        energy = energy_of(fly(start, 19, far))
        drifts.append(np.abs(energy - energy[:, :1]).max())
    assert drifts[1] < 5e-4
    assert drifts[0] / drifts[1] == pytest.approx(4, rel=0.1)


def test_momentum_stays_and_time_can_be_turned_round():
    start = np.array([[[20, 20, 0.5, 0], [25, 30, -0.2, 0.3], [31, 18, 0, 0.1]]])
    states = fly(start, 5, (1e6, 1e6))
    momentum = states[..., 2:].sum(axis=2)
    np.testing.assert_allclose(momentum, np.broadcast_to([0.3, 0.4], momentum.shape), atol=1e-12)
    back = states[:, -1] * [1, 1, -1, -1]
    np.testing.assert_allclose(fly(back, 5, (1e6, 1e6))[:, -1, :, :2], start[..., :2], atol=1e-9)


def test_two_bodies_circle_each_other():
    # 20 apart, each on a circle of radius 10: v^2 / 10 = G 20 / 25^3
    speed = np.sqrt(10 * nbody.GRAVITY * 20 / 25**3)
    start = np.array([[[500, 490, speed, 0], [500, 510, -speed, 0]]])
    (states,) = fly(start, 60, (1e3, 1e3))
    angle = speed / 10 * np.arange(61)
    circle = 10 * np.stack([np.sin(angle), -np.cos(angle)], axis=1)
    np.testing.assert_allclose(states[:, 0, :2], 500 + circle, atol=1e-3)
    np.testing.assert_allclose(states[:, 1, :2], 500 - circle, atol=1e-3)


def test_walls_reflect():
    # alone, at 3 a frame: from 2 over the wall at 0 to 1; from 43 over that at 44 to 42
    (states,) = fly([[[2, 43, -3, 3]]], 1)
    np.testing.assert_allclose(states[1, 0], [1, 42, 3, -3], atol=1e-12)


def test_bodies_stay_in_the_box(ds):
    assert float(ds["position"].min()) >= 10 and float(ds["position"].max()) <= 54


def test_a_frame_shows_its_bodies():
    ds = xef.nbody(sequences=4, bodies=2, frames=5, size=16, digits=DOT).compute()
    assert ds["frames"].shape == (4, 5, 16, 16)
    frames = ds["frames"].astype(float)
    # the light of two dots, rounded pixel by pixel; its middle is theirs
    np.testing.assert_allclose(frames.sum(["y", "x"]), 510, atol=4)
    middle = (frames * (frames["y"] + 0.5)).sum(["y", "x"]) / frames.sum(["y", "x"])
    expected = ds["position"].sel(axis="y").mean("body")
    np.testing.assert_allclose(middle, expected, atol=0.05)


def test_light_adds_up_to_255():
    state = np.zeros((1, 1, 2, 4))
    state[0, 0, :, :2] = [[1, 1], [1, 1.5]]
    drawn = nbody._draw(state, np.zeros((1, 2), int), np.full((1, 1, 1), 200, np.uint8), 4)
    np.testing.assert_array_equal(drawn[0, 0, 1], [0, 255, 100, 0])  # 200 + 100, and 100
    assert drawn.sum() == 355


def test_own_digits():
    mnist = np.zeros((5, 28, 28), np.float32)
    mnist[:, 4:24, 4:24] = 0.5
    ds = xef.nbody(sequences=2, digits=mnist).compute()
    assert ds["frames"].max() == 255 and ds["digit"].max() < 5
    assert float(ds["position"].min()) >= 14 and float(ds["position"].max()) <= 50


def test_the_graph_holds_the_digits_once():
    ds = xef.nbody(sequences=640, digits=np.ones((500, 28, 28)))
    (frames,) = dask.optimize(ds["frames"].data)
    arrays = [v for v in dict(frames.__dask_graph__()).values() if isinstance(v, np.ndarray)]
    assert sum(a.nbytes for a in arrays) <= 500 * 28 * 28


def test_writes_and_reads_as_netcdf(tmp_path):
    ds = xef.nbody(sequences=2, digits=DOT)
    ds.to_netcdf(tmp_path / "nbody.nc")
    with xr.open_dataset(tmp_path / "nbody.nc") as back:
        xr.testing.assert_identical(back.load(), ds.compute())


def test_without_scikit_learn(monkeypatch):
    nbody._scikit_learn_digits.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'pip install "xearthformer\[train\]", or pass your own'):
        xef.nbody(sequences=1)


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"sequences": 0}, r"sequences as a whole number from 1\n +found 0"),
        ({"bodies": 1.5}, r"bodies as a whole number from 1\n +found 1.5"),
        ({"seed": -1}, r"seed as a whole number from 0\n +found -1"),
        ({"digits": np.zeros((2, 8))}, r"found float64 of shape \(2, 8\)"),
        ({"digits": np.ones((2, 64, 8))}, r"64 x 64 pixels, a frame's\n +found 64 x 8"),
        ({"digits": np.full((1, 2, 2), np.nan)}, "found less, or NaN, or nothing"),
    ],
)
def test_what_cannot_be_simulated(kwargs, match):
    with pytest.raises(ValueError, match=match):
        xef.nbody(**{"digits": DOT, **kwargs})
