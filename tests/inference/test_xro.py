"""The extended recharge oscillator of the package xro, in the form of a forecast."""

import builtins
import sys
import warnings

import numpy as np
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.inference import xro as module

ANOMALY = {"climatology_period": "1980-01/1991-12", "long_name": "anomaly"}
FIT = ("1980", "1991")


def record(name, standard_name, units, seed, years=14):
    """Anomalies on a grid of 10 degrees that remember .9 of the month before, in every cell."""
    rng = np.random.default_rng(seed)
    time = xr.date_range("1980-01", periods=12 * years, freq="MS")
    lat, lon = np.arange(-50.0, 31, 10), np.arange(5.0, 360, 10)
    values = rng.normal(size=(time.size, lat.size, lon.size))
    for k in range(1, time.size):
        values[k] += 0.9 * values[k - 1]
    coords = {"time": time, "lat": lat, "lon": lon}
    attrs = {"standard_name": standard_name, "units": units, **ANOMALY}
    return xr.DataArray(values.astype("f4"), coords, ("time", "lat", "lon"), name, attrs)


@pytest.fixture(scope="module")
def ocean():
    sst = record("sst", "sea_surface_temperature", "degC", seed=0)
    return xr.Dataset({"sst": sst, "zos": record("zos", "sea_surface_height", "m", seed=1)})


@pytest.fixture(scope="module")
def package():
    return pytest.importorskip("XRO", exc_type=ImportError)


@pytest.fixture(scope="module")
def years(package, ocean):
    """Forecasts from every month of two years after the fit."""
    return xef.xro(ocean, fit=FIT, init=slice("1992", "1993"), lead=3)


def test_the_form_is_a_forecasts(ocean, years):
    like = xef.forecast(ocean["sst"], "persistence", init=slice("1992", "1993"), lead=3)
    like = xef.index(like, "nino3.4")
    assert years.dims == ("init", "lead") and years.name == "nino3.4" and years.dtype == "f4"
    xr.testing.assert_identical(years.coords.to_dataset(), like.coords.to_dataset())
    for key in ("units", "region", "climatology_period"):
        assert years.attrs[key] == like.attrs[key]
    said = years.attrs["history"].splitlines()[-1]
    assert "fitted to 1980-1991, 10 indices, zos as warm water volume; without noise" in said
    assert "years of the fit" not in said


def test_it_is_the_package_on_the_ten_indices(package, ocean, years):
    boxes = {
        "Nino34": (-5, 5, 190, 240),
        "WWV": (-5, 5, 120, 280),
        "NPMM": (10, 25, 200, 240),
        "SPMM": (-25, -15, 250, 270),
        "IOB": (-20, 20, 40, 100),
        "IOD": (-10, 10, 50, 70),
        "SIOD": (-30, -5, 90, 120),
        "TNA": (5, 25, 305, 345),
        "ATL3": (-3, 3, 340, 360),
        "SASD": (-45, -35, 300, 360),
    }
    less = {"IOD": (-10, 0, 90, 110), "SIOD": (-25, -10, 65, 85), "SASD": (-30, -20, 320, 380)}

    def mean(name, box):
        return xef.region_mean(ocean["zos" if name == "WWV" else "sst"], xef.Region(*box))

    table = xr.Dataset({name: mean(name, box) for name, box in boxes.items()}).astype(float)
    for name, box in less.items():
        table[name] = table[name] - mean(name, box)
    model = package.XRO(ncycle=12, ac_order=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = model.fit_matrix(table.sel(time=slice(*FIT)), maskb=["IOD"], maskNT=["T2", "TH"])
        expected = model.reforecast(
            fitted, table.sel(time=slice("1992", "1993")), n_month=3, noise_type="zero"
        )["Nino34"]
    np.testing.assert_allclose(years, expected.transpose("init", "lead")[:, 1:], rtol=1e-4)


def test_an_init_alone_has_its_own_season(ocean, years):
    """The package would take the second of these for a February."""
    apart = xef.xro(ocean, fit=FIT, init=["1992-01-01", "1992-07-01"], lead=3)
    np.testing.assert_array_equal(apart, years.isel(init=[0, 6]))


@pytest.fixture(scope="module")
def noisy(package, ocean):
    return xef.xro(ocean, fit=FIT, init=slice("1992-12", "1993-01"), lead=3, members=60)


def test_an_ensemble_is_labelled_and_widens(noisy):
    assert noisy.dims == ("init", "lead", "member")
    assert noisy["member"].attrs["standard_name"] == "realization"
    assert noisy["member"].values.tolist() == list(range(60))
    assert "60 members, seed 0" in noisy.attrs["history"]
    deviation = noisy.std("member")
    assert (deviation[:, 2] > 1.2 * deviation[:, 0]).all() and (deviation[:, 0] > 0.1).all()
    # noise of other inits is other noise: with the package's own seeds it would be the same
    departure = noisy - noisy.mean("member")
    assert abs(xr.corr(departure[0, 0], departure[1, 0])) < 0.4


def test_a_members_noise_is_its_own(ocean, noisy, monkeypatch):
    for name in ("seed", "normal", "set_state"):
        monkeypatch.delattr(np.random, name)  # the global generator is left alone
    fewer = xef.xro(ocean, fit=FIT, init="1993-01-01", lead=2, members=3)
    np.testing.assert_array_equal(fewer[0], noisy[1, :2, :3])
    other = xef.xro(ocean, fit=FIT, init="1993-01-01", lead=2, members=3, seed=1)
    assert not np.array_equal(other, fewer)


def test_each_copy_of_the_package_draws_its_numbers_from_its_own_generator(package):
    """By turns, as two threads would: neither draws what is the other's. Bits are the package's."""
    noise = {"stddev": np.ones((2, 12)), "nyear": 1, "ncopy": 3}
    state = np.random.get_state()
    expected = package.gen_noise(**noise, seed=5)
    np.random.set_state(state)
    one, two = module._with_own_generator(), module._with_own_generator()
    one.np.random.seed(5), two.gen_noise(**noise, seed=6)
    np.testing.assert_array_equal(one.gen_noise(**noise), expected)
    for before, after in zip(state, np.random.get_state(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_units_of_the_second_variable_do_not_matter(ocean, noisy):
    """The package's noise of January is another in centimetres."""
    there = ocean.assign(zos=(100 * ocean["zos"]).assign_attrs(ocean["zos"].attrs, units="cm"))
    fc = xef.xro(there, fit=FIT, init=slice("1992-12", "1993-01"), lead=3, members=60)
    np.testing.assert_allclose(fc, noisy, rtol=1e-3, atol=1e-3)


def test_temperature_alone_and_another_grid_for_the_second(package, ocean, years):
    alone = xef.xro(ocean["sst"], fit=FIT, init=slice("1992", "1993"), lead=3)
    assert "9 indices, without warm water volume" in alone.attrs["history"]
    assert not np.allclose(alone, years)
    # another name, time stamps and grid for the heat: the same months
    renamed = ocean["zos"].rename(time="t", lat="y", lon="x").isel(x=slice(None, None, -1))
    middle = renamed["t"] + np.timedelta64(14, "D")
    heat = renamed.assign_coords(t=("t", middle.values, {"axis": "T"}))
    heat["y"].attrs, heat["x"].attrs = {"units": "degrees_north"}, {"units": "degrees_east"}
    apart = xr.Dataset({"sst": ocean["sst"], "zos": heat})
    fc = xef.xro(apart.chunk(), fit=FIT, init=slice("1992", "1993"), lead=3)
    np.testing.assert_allclose(fc, years, rtol=1e-5)


def hint(error):
    return str(error.value).splitlines()[-1].partition("try ")[2]


def test_years_without_an_index(package, ocean):
    late = ocean.assign(zos=ocean["zos"].where(ocean["time"].dt.year > 1981))
    with pytest.raises(ValueError, match="have all indices, 1982-01 to 1993-12\n.*of WWV") as error:
        xef.xro(late, fit=("1980", "1991"))
    assert hint(error) == 'fit=("1982", "1993")'
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fc = eval(f"xef.xro(late, {hint(error)}, lead=1)")
    assert "fitted to 1982-1993" in fc.attrs["history"]
    assert fc.attrs["history"].endswith("1 of 1 inits lie in the years of the fit")
    with pytest.raises(ValueError, match="an init among the data's own times, 1982-01-01"):
        xef.xro(late, fit=("1982", "1991"), init="1981-12-01")


@pytest.mark.parametrize(
    ("fit", "words"),
    [
        (("1980", "1985"), "10 years or more to fit to\n +found 1980 to 1985"),
        ("1980", "two years to fit to.*\n +found '1980'"),
        (("1980-07", "1991-06"), "two years to fit to"),
        ((1970, 1985), "months that have all indices, 1980-01 to 1993-12\n +found 1970 to 1985"),
    ],
)
def test_other_years_than_there_are(package, ocean, fit, words):
    with pytest.raises(ValueError, match=words) as error:
        xef.xro(ocean, fit=fit)
    assert hint(error) == 'fit=("1980", "1993")'


def test_absolute_values_are_refused(package, ocean):
    data = (ocean + 20.0).assign(zos=ocean["zos"])
    data["sst"].attrs = {"standard_name": "sea_surface_temperature", "units": "degC"}
    with pytest.raises(ValueError, match="anomalies\n +found absolute values of sst") as error:
        xef.xro(data, fit=FIT)
    xearthformer = xef  # noqa: F841
    for key in ANOMALY:
        data["zos"].attrs.pop(key)
    fc = xef.xro(eval(hint(error)), fit=FIT, lead=1)
    assert fc.attrs["climatology_period"] == "1980-01/1993-12"


def test_what_is_no_single_monthly_record(package, ocean):
    with pytest.raises(ValueError, match="one record\n +found 2 along model"):
        xef.xro(ocean["sst"].expand_dims(model=2), fit=FIT)
    daily = ocean["sst"].assign_coords(time=xr.date_range("1980-01", periods=168, freq="D"))
    with pytest.raises(ValueError, match="monthly data"):
        xef.xro(daily, fit=FIT)
    with pytest.raises(ValueError, match="data that covers 45S-35S"):
        xef.xro(ocean["sst"].sel(lat=slice(-30, 30)), fit=FIT)
    for wrong in ({"members": 0}, {"seed": -1}, {"lead": 0}):
        with pytest.raises(ValueError, match="as a whole number (of months, )?from"):
            xef.xro(ocean, fit=FIT, **wrong)


def test_without_the_package_it_says_what_to_install(ocean, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "XRO"]:
        monkeypatch.delitem(sys.modules, name)
    plain = builtins.__import__

    def without(name, *rest, **more):
        if name.split(".")[0] == "XRO":
            raise ImportError(name)
        return plain(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'pip install "xearthformer\[xro\]"'):
        xef.xro(ocean, fit=FIT)


@pytest.mark.shared
def test_the_skill_of_the_paper(package, shared):
    """Fitted to ORAS5's indices of 1979-1999: C-Nino3.4-M of 2000-2009 as measured before."""
    path = shared / "data" / "tables" / "xro_indices_oras5_1979_2009.nc"
    if not path.is_file():
        pytest.skip(f"no {path.name}")
    with xr.open_dataset(path) as ds:
        table = ds.drop_vars("month").load().astype(float)
    inits = table.sel(time=slice("2000", "2008-10"))
    with module.ignored():
        model = module._fit(package, table.sel(time=slice("1979", "1999")), noise=False)
        ahead = [model.ahead(inits.isel(time=[i]), 14, None, 0) for i in range(inits.sizes["time"])]
    at = table.indexes["time"].get_indexer(inits.time.values)[:, None] + np.arange(1, 15)
    coords = {
        "init": inits["time"].values,
        "lead": range(1, 15),
        "valid_time": (("init", "lead"), table["time"].values[at]),
    }
    skill = xef.enso_skill(xr.DataArray(ahead, coords, ("init", "lead")), table["Nino34"])
    assert abs(float(skill["correlation_mean"]) - 0.549) < 0.005
