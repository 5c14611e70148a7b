"""Extrapolation by pysteps, in the form of a forecast."""

import builtins
import dataclasses
import re
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.inference import optical_flow, pysteps_methods


def moving(steps=6, dx=3):
    """Showers that move `dx` pixels a frame along x; y runs from north to south."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :96]
    where = rng.uniform(10, 86, (12, 2))
    frames = [
        sum(8 * np.exp(-((y - a) ** 2 + (x - b - dx * t) ** 2) / 40) for a, b in where)
        for t in range(steps)
    ]
    attrs = {"standard_name": "rainfall_rate", "units": "mm h-1", "history": "made"}
    coords = {
        "time": pd.date_range("2016-07-11", periods=steps, freq="5min"),
        "y": ("y", 1000.0 * np.arange(96)[::-1], {"units": "m"}),
        "x": ("x", 1000.0 * np.arange(96), {"units": "m"}),
    }
    return xr.DataArray(np.array(frames, "f4"), coords, ("time", "y", "x"), "rain", attrs)


@pytest.fixture
def pysteps():
    pytest.importorskip("cv2")
    return pytest.importorskip("pysteps")


def test_showers_move_on(pysteps):
    rain = moving(steps=8)
    fc = xef.extrapolate(rain, init=rain.time[4], lead=3)
    truth = rain[5:8, 16:80, 32:80]
    error = np.abs(fc[0, :, 16:80, 32:80].values - truth.values).mean()
    stay = np.abs(rain[4, 16:80, 32:80].values - truth.values).mean()
    assert error < 0.2 * stay


def test_the_form_is_a_forecasts(pysteps):
    rain = moving()
    mine = rain.transpose("x", "time", "y")
    fc = xef.extrapolate(mine.to_dataset(), init=slice(None, None), lead=2)
    like = xef.forecast(mine, "persistence", init=slice(rain.time.values[3], None), lead=2)
    assert fc.dims == like.dims == ("init", "lead", "x", "y")
    labels = fc.drop_vars("known").coords.to_dataset()
    xr.testing.assert_identical(labels, like.coords.to_dataset())
    assert fc["known"].dims == fc.dims and fc["known"].dtype == "f4"
    assert fc.name == "rain" and fc.dtype == "f4" and fc.attrs["units"] == "mm h-1"
    made, said = fc.attrs["history"].splitlines()
    assert made == "made" and "pysteps" in said and "3 of 6 inits lack 4 frames" in said


def test_units_are_the_users(pysteps):
    rain = moving()
    fc = xef.extrapolate(rain, lead=2)
    rate = (rain / 3.6e6).assign_attrs(standard_name="rainfall_rate", units="m s-1")
    there = xef.extrapolate(rate, lead=2)
    assert there.attrs["units"] == "m s-1"
    np.testing.assert_allclose(there * 3.6e6, fc, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(there["known"], fc["known"])


# --- what was seen


def test_known_is_what_the_motion_brings_from_what_was_seen(pysteps):
    rain = moving()  # three pixels a frame along x
    fc = xef.extrapolate(rain, lead=2)
    known = fc["known"].isel(init=0)
    assert known.attrs["units"] == "1"
    inner = slice(20, 76)
    assert bool((known[:, inner, 12:] == 1).all())
    assert float(known[0, inner, :2].max()) == 0 and float(known[1, inner, :4].max()) == 0
    # There stands the mean of the rain of the last four frames, or nothing.
    mean = rain[-4:].mean().item()
    np.testing.assert_allclose(fc.where(fc["known"] == 0, mean), mean, rtol=1e-5)
    bare = xef.extrapolate(rain, lead=2, beyond="nan")
    assert bool((bare.isnull() == (known < 0.5)).all())
    xr.testing.assert_equal(bare.where(known == 1), fc.where(known == 1))


def test_pixels_that_no_frame_saw_have_no_forecast_and_bring_none(pysteps):
    rain = moving()
    holed = rain.where(rain.x > 20e3)
    fc = xef.extrapolate(holed, lead=2)
    assert bool((fc.isnull() == holed[-1].isnull()).all())
    # Three pixels from the edge of what was seen, what comes was not seen.
    assert float(fc["known"][0, 0, 40, 22]) == 0 and float(fc["known"][0, 0, 40, 30]) == 1
    np.testing.assert_allclose(fc[0, 0, 40, 22], holed[-4:].mean(), rtol=1e-5)


def test_a_hole_of_the_last_frame_is_filled_by_the_one_before(pysteps):
    rain = moving()
    holed = rain.where((rain.x < 40e3) | (rain.x > 60e3) | (rain.time < rain.time[-1]))
    assert bool(holed[-1].isnull().any())
    fc, whole = (xef.extrapolate(each, lead=1)[0, 0, 20:76, 45:62] for each in (holed, rain))
    assert bool((fc["known"] == 1).all())
    assert float(np.abs(fc - whole).mean()) < 0.1 * float(whole.mean())


@pytest.mark.parametrize("missing", [[5], [4], [4, 5], [3]])
@pytest.mark.parametrize("as_gap", [False, True])
def test_missing_frames_are_no_dry_ones(pysteps, missing, as_gap):
    rain = moving()
    late = rain.where(~rain.time.isin(rain.time[missing]))
    if as_gap:
        if 5 in missing:
            return  # a record that ends earlier
        late = rain.isel(time=[k for k in range(6) if k not in missing])
    with pytest.warns(UserWarning, match="motion from [23] of 4 frames"):
        fc = xef.extrapolate(late, lead=3)
    whole = xef.extrapolate(rain, lead=3)
    assert "motion from" in fc.attrs["history"]
    inner = {"init": 0, "y": slice(20, 76), "x": slice(40, None)}
    seen = (fc["known"] == 1).isel(inner).values
    one, other = (each.isel(inner).where(seen) for each in (fc, whole))
    assert float(np.abs(one - other).mean()) < 0.2 * float(other.mean())


def test_as_few_as_two_frames_give_a_forecast_with_a_warning(pysteps):
    rain = moving()
    with pytest.warns(UserWarning, match="2 frames up to the init instead of 4"):
        fc = xef.extrapolate(rain[-2:], lead=1)
    whole = xef.extrapolate(rain, lead=1)
    inner = {"y": slice(20, 76), "x": slice(20, None)}
    assert float(np.abs(fc - whole)[0, 0].isel(inner).mean()) < 0.1 * float(whole.mean())


def test_without_any_frame_there_is_no_forecast(pysteps):
    with pytest.warns(UserWarning, match="no value in the last frames"):
        fc = xef.extrapolate(moving() * np.nan, lead=1)
    assert bool(fc.isnull().all()) and float(fc["known"].max()) == 0


# --- methods


def frames_of(rain):
    """The frames as `extrapolate` hands them on: rows ascend."""
    return rain.isel(y=slice(None, None, -1)).values


def to_db(past):
    from pysteps.utils.transformation import dB_transform

    return dB_transform(past, threshold=0.1, zerovalue=-15.0)[0]


def from_db(decibels):
    from pysteps.utils.transformation import dB_transform

    return dB_transform(decibels, threshold=-10.0, inverse=True)[0]


@pytest.mark.parametrize("method", ["extrapolation", "sprog", "anvil", "steps"])
def test_methods_are_pysteps_as_its_users_run_them(pysteps, method):
    from pysteps import motion, nowcasts

    rain = moving()
    past = frames_of(rain[-4:])
    run, velocity = nowcasts.get_method(method), motion.get_method("LK")(to_db(past))
    if method == "extrapolation":
        theirs = run(past[-1], velocity, 3)
    elif method == "sprog":
        theirs = from_db(run(to_db(past[-3:]), velocity, 3, precip_thr=-10.0))
    elif method == "anvil":
        theirs = run(past, velocity, 3)
    else:
        how = {"precip_thr": -10.0, "kmperpixel": 1.0, "timestep": 5.0}
        how["seed"] = optical_flow._seed(0, rain.time.values[-1])
        theirs = from_db(run(to_db(past[-3:]), velocity, 3, n_ens_members=2, **how))
        theirs = theirs.swapaxes(0, 1)
    members = 2 if method == "steps" else None
    fc = xef.extrapolate(rain, method=method, lead=3, members=members)[0]
    fc = fc.isel(y=slice(None, None, -1))
    known = fc["known"].values if members is None else fc["known"].values[:, None]
    same = np.isfinite(theirs) & (known == 1)
    assert same.mean() > 0.8
    np.testing.assert_allclose(fc.values[same], theirs[same], rtol=1e-4, atol=1e-4)
    assert fc.notnull().all()


def test_linda_is_a_method_too(pysteps):
    pytest.importorskip("skimage")
    rain = moving()[..., 24:72, 24:72]
    fc = xef.extrapolate(rain, method="linda", lead=1)
    assert fc.dims == ("init", "lead", "y", "x") and "LINDA" in fc.attrs["history"]
    ahead = moving(steps=7)[6, 24:72, 24:72]
    inner = {"y": slice(8, 40), "x": slice(12, 40)}
    error, still = (np.abs(each - ahead.values).isel(inner) for each in (fc[0, 0], rain[-1]))
    assert float(error.mean()) < 0.5 * float(still.mean())


DRY = {"the one before": [4], "two before": [3], "both": [3, 4]}


@pytest.mark.parametrize("dry", DRY)
@pytest.mark.parametrize("method", ["extrapolation", "sprog", "steps", "anvil"])
def test_a_dry_frame_before_the_last_makes_no_dry_forecast(pysteps, method, dry):
    """pysteps' STEPS and S-PROG give NaN or nothing but dry pixels, and ANVIL a trend."""
    rain = moving(steps=7)
    rain[[each + 1 for each in DRY[dry]]] = 0
    with pytest.warns(UserWarning, match="dry or missing|one frame alone"):
        fc = xef.extrapolate(rain, method=method, lead=2)
    ahead = xr.DataArray(moving(steps=9)[7:9].values, dims=("lead", "y", "x"))
    if "member" in fc.dims:
        fc = fc.isel(member=0)
    inner = {"y": slice(20, 76), "x": slice(25, None)}
    one, other = fc[0].isel(inner), ahead.isel(inner)
    assert float(np.abs(one - other.values).mean()) < 0.6 * float(other.mean())
    assert 0.7 < float(one.mean() / other.mean()) < 1.3
    assert "dry or missing" in fc.attrs["history"]


def test_what_a_record_leads_to_is_rain(pysteps):
    """Hail of 255 mm/h in the frames that are read, after frames of up to 254: no full byte."""
    rain = moving(steps=6)
    rain[:2] = np.linspace(150, 254, rain[:2].size).reshape(rain[:2].shape)
    rain[2:, :, :3] = 255
    assert xef.extrapolate(rain, lead=1).max() == 255
    with pytest.raises(ValueError, match="a full byte or two\n +found 255"):
        xef.extrapolate(rain[2:], lead=1)


@pytest.mark.parametrize("answer", [0.0, np.nan])
def test_a_method_that_gives_nothing_is_replaced_and_said_so(pysteps, monkeypatch, answer):
    way = dataclasses.replace(
        pysteps_methods.METHODS["sprog"],
        run=lambda past, lead, *_: (np.full((lead, 96, 96), answer), []),
    )
    monkeypatch.setitem(pysteps_methods.METHODS, "sprog", way)
    with pytest.warns(UserWarning, match="S-PROG can't be run .nothing but dry pixels"):
        fc = xef.extrapolate(moving(), method="sprog", lead=2)
    xr.testing.assert_equal(fc, xef.extrapolate(moving(), lead=2))


@pytest.mark.parametrize("method", ["sprog", "steps", "anvil"])
def test_frames_that_are_all_alike_stay(pysteps, method):
    """pysteps raises a bare LinAlgError, for its autoregression is singular, or gives NaN."""
    rain = moving()
    rain[:] = rain[-1].values
    with pytest.warns(UserWarning, match="can't be run .*extrapolated instead"):
        fc = xef.extrapolate(rain, method=method, lead=2)
    inner = {"y": slice(8, 88), "x": slice(8, 88)}
    for one in fc.transpose(..., "y", "x").values.reshape(-1, 96, 96):
        error = np.abs(rain[-1].copy(data=one) - rain[-1]).isel(inner)
        assert float(error.mean()) < 0.02 * float(rain[-1].mean())


@pytest.mark.parametrize("method", ["extrapolation", "sprog", "steps", "anvil"])
def test_the_lowest_code_of_a_radar_is_no_rain(pysteps, method):
    rain = moving()
    low = (rain + 0.00024).assign_attrs(rain.attrs)  # -32 dBZ
    one, other = (xef.extrapolate(each, method=method, lead=2) for each in (rain, low))
    np.testing.assert_allclose(one.mean(), other.mean(), rtol=0.02)


def test_one_pixel_of_rain_is_carried(pysteps):
    rain = (0 * moving()).assign_attrs(moving().attrs)
    rain[:, 40, 40] = 5
    with pytest.warns(UserWarning, match="extrapolated instead"):
        fc = xef.extrapolate(rain, method="sprog", lead=1)
    assert fc[0, 0, 40, 40] == 5


# --- members


@pytest.fixture(scope="module")
def steps():
    """Four members by STEPS, three leads from the last two inits."""
    pytest.importorskip("cv2")
    pytest.importorskip("pysteps")
    return xef.extrapolate(moving(), init=slice(moving().time.values[4], None), lead=3, members=4)


def test_an_ensemble_is_labelled(steps):
    assert steps.dims == ("init", "lead", "member", "y", "x") and steps.dtype == "f4"
    assert steps["member"].values.tolist() == [0, 1, 2, 3]
    assert steps["member"].attrs["standard_name"] == "realization"
    assert steps["valid_time"].dims == ("init", "lead")
    assert "STEPS, 4 members, seed 0" in steps.attrs["history"]
    assert float(steps.min()) == 0 and bool(steps.notnull().all())


def test_members_move_on_and_differ(steps):
    there = steps[-1].isel(x=slice(30, 90))
    still = moving()[-1].isel(x=slice(30, 90))
    ahead = xr.DataArray(moving(steps=9)[6:9].values, dims=("lead", "y", "x"))[..., 30:90]
    wrong = np.abs(there.mean("member").values - ahead.values).mean(axis=(1, 2))
    assert (wrong < np.abs(still.values - ahead.values).mean(axis=(1, 2))).all()
    deviation = there.std("member").mean(["y", "x"])
    assert (np.diff(deviation) > 0).all() and deviation[0] > 0.01


def test_a_members_noise_is_its_own(steps):
    rain = moving()
    np.random.seed(7)
    expected = np.random.random()
    np.random.seed(7)
    fewer = xef.extrapolate(rain, lead=3, members=2)
    assert np.random.random() == expected  # pysteps seeds NumPy; that is undone
    np.testing.assert_array_equal(fewer[0], steps[-1, :, :2])
    other = xef.extrapolate(rain, lead=3, members=2, seed=1)
    assert not np.array_equal(other, fewer)
    turned = xef.extrapolate(rain.transpose("x", "time", "y"), lead=1, members=1)
    assert turned.dims == ("init", "lead", "member", "x", "y")
    np.testing.assert_array_equal(turned[0, 0, 0].T, steps[-1, 0, 0])


def test_an_ensemble_of_little_rain_or_none(pysteps):
    rain = moving()
    assert float(xef.extrapolate(0 * rain, lead=2, members=2).max()) == 0
    holed = rain.where(rain.x > 20e3)
    fc = xef.extrapolate(holed, lead=2, members=2)
    assert bool((fc.isnull() == holed[-1].isnull()).all())
    shower = rain.where(rain > 0.95 * rain.max(), 0)
    assert bool(xef.extrapolate(shower, lead=2, members=2).notnull().all())


def test_members_draw_what_comes_from_beyond(pysteps):
    """No zeros, no mean, no mirror: the rain's own distribution, other in each member."""
    rain = moving()
    fc = xef.extrapolate(rain, lead=8, members=12)
    unknown = (fc["known"] == 0)[0, -1].values  # two dozen columns
    drawn = fc[0, -1].values[:, unknown]
    assert unknown.mean() > 0.2 and np.isfinite(drawn).all()
    assert len({each.tobytes() for each in drawn}) == 12
    seen = rain[-4:].values
    assert 0.5 < drawn.mean() / seen.mean() < 2 and drawn.max() <= seen.max()
    assert abs((drawn > 0.5).mean() - (seen > 0.5).mean()) < 0.15
    bare = xef.extrapolate(rain, lead=8, members=2, beyond="nan")
    assert bool(bare[0, -1].isnull().all("member").values[unknown].all())
    np.testing.assert_array_equal(bare.where(bare.notnull()), fc[:, :, :2].where(bare.notnull()))


# --- arguments

LENGTHS = moving().drop_vars(["y", "x"])
WRONG = {
    "no such method": (
        moving(),
        {"method": "lk"},
        "a method among extrapolation, sprog.*\n +found 'lk'",
    ),
    "members of one that has none": (
        moving(),
        {"method": "sprog", "members": 2},
        "draws members: steps or linda\n +found 'sprog'\n +try method=\"steps\"",
    ),
    "no lengths": (LENGTHS, {"members": 2}, "pixels have a length.*\n +found no lengths"),
    "nothing beyond": (moving(), {"beyond": "zero"}, 'beyond="climatology" or beyond="nan"'),
    "no members": (moving(), {"members": 0}, "as a whole number from"),
    "two frames for STEPS": (moving(), {"members": 2, "frames": 2}, "frames as a whole number"),
    "a seed below 0": (moving(), {"members": 2, "seed": -1}, "as a whole number from"),
    "one frame": (moving(), {"frames": 1}, "frames as a whole number from 2"),
    "a record of two": (moving()[:2], {"method": "sprog"}, "3 frames or more, for S-PROG"),
    "an early init": (moving(), {"init": moving().time[0]}, "2 frames up to each init"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_mistake_is_told_before_anything_is_computed(monkeypatch, wrong):
    rain, how, message = WRONG[wrong]
    monkeypatch.setattr(optical_flow, "nowcast", lambda *_: pytest.fail("computed"))
    monkeypatch.setattr(optical_flow, "load_pysteps", lambda _: None)
    with pytest.raises(ValueError, match=message):
        xef.extrapolate(rain, **how)


def test_mends_are_lines_that_work(pysteps):
    rain = moving()
    for method, data in (("sprog", rain), ("sprog", rain[:2])):
        with pytest.raises(ValueError) as caught:
            xef.extrapolate(data, method=method, members=2 if data is rain else None)
        hint = re.search('try method="(\\w+)"', str(caught.value))
        assert hint is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            xef.extrapolate(data, method=hint[1], lead=1)
    with pytest.raises(ValueError) as caught:
        xef.extrapolate(LENGTHS, members=2)
    assert 'method="sprog", members=None' in str(caught.value)
    xef.extrapolate(LENGTHS, method="sprog", members=None, lead=1)


@pytest.mark.parametrize("units, code", [("mm h-1", -999.0), ("mm h-1", 9999.0), ("m s-1", -1.0)])
def test_codes_that_stand_for_nothing_seen_are_no_rain(pysteps, units, code):
    rain = moving() if units == "mm h-1" else (moving() / 3.6e6).assign_attrs(moving().attrs)
    rain = rain.assign_attrs(units=units)
    da = rain.where(rain.x < 80e3, code)
    with pytest.raises(ValueError, match="expected rain of 0 to 5000 mm h-1") as caught:
        xef.extrapolate(da, lead=1)
    line = re.search(r"try (xef\.open_radar\(da, missing=[-\d.e+]+\))", str(caught.value))
    assert line is not None
    fc = xef.extrapolate(eval(line[1]), lead=1)
    expected = xef.extrapolate(moving().where(rain.x < 80e3), lead=1)
    np.testing.assert_allclose(fc, expected, rtol=1e-5, atol=1e-5)


def test_a_dry_record_stays_dry(pysteps):
    for method in ("extrapolation", "sprog", "steps", "anvil"):
        fc = xef.extrapolate(0 * moving().assign_attrs(), method=method, lead=2)
        assert float(fc.max()) == 0 and fc.notnull().all()


def test_stamps_that_are_seconds_off_are_rounded(pysteps):
    rain = moving()
    jitter = rain.time + np.array([0, 4, -3, 0, 2, 5]) * np.timedelta64(1, "s")
    fc = xef.extrapolate(rain.assign_coords(time=jitter), lead=2)
    xr.testing.assert_equal(fc, xef.extrapolate(rain, lead=2))


def test_without_pysteps_it_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "pysteps"]:
        monkeypatch.delitem(sys.modules, name)
    plain = builtins.__import__

    def without(name, *rest, **more):
        if name.split(".")[0] == "pysteps":
            raise ImportError(name)
        return plain(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'pip install "xearthformer\[pysteps\]"'):
        xef.extrapolate(moving())
