"""Real sea surface temperature in the forms that users bring."""

import numpy as np
import pytest
import xarray as xr
from small_tripolar import tripolar

import xearthformer as xef

pytestmark = pytest.mark.shared
PERIOD, PACK = (2000, 2009), "damped-persistence"


@pytest.fixture(scope="module")
def sst(ersst):
    return ersst["sst"].sel(time=slice("2000", "2009"))


def on_tripolar_grid(sst):
    """The nearest values on cells of one degree, whose pole leans by 20 degrees."""
    ds = tripolar(lambda lat, lon: lat, step=1.0, angle=20.0)
    place = {name: ds[name].drop_vars(("lat", "lon")) for name in ("lat", "lon")}
    values = sst.sel(**place, method="nearest").drop_vars(("lat", "lon"))
    return ds.assign(tos=values).transpose("time", ...)


def test_indices_and_forecasts_from_a_tripolar_grid(sst):
    ssta = sst.earthformer.anomaly(PERIOD)
    ds = on_tripolar_grid(sst).earthformer.anomaly(PERIOD)
    for name in ("nino3.4", "nino1+2", "tsa", "iod"):
        expected = ssta.earthformer.index(name)
        assert float(abs(ds.earthformer.index(name)["tos"] - expected).max()) < 0.03
        assert float(abs(ds["tos"].earthformer.index(name) - expected).max()) < 0.03  # no bounds
    init = slice("2005-01", "2005-12", 6)
    fc = ds.earthformer.forecast(PACK, init=init, lead=3, progress=False)["tos"]
    straight = ssta.earthformer.forecast(PACK, init=init, lead=3, progress=False)
    assert fc["lat"].values.tolist() == xef.open_pack(PACK).card.grid.latitude
    nino, expected = (each.earthformer.index("nino3.4") for each in (fc, straight))
    np.testing.assert_allclose(nino, expected, atol=0.1)


def test_an_index_outside_the_packs_grid_is_missing(sst):
    # TSA lies from 20S to 0, 30W to 10E; the grid ends at 30W
    ssta = sst.earthformer.anomaly(PERIOD)
    fc = ssta.earthformer.forecast(PACK, init="2005-06", lead=2, progress=False)
    with pytest.warns(UserWarning, match="of the ocean in 20S-0, 30W-10E, and 90% are needed"):
        assert fc.earthformer.index("tsa").isnull().all()
    for name in ("nino3.4", "nino3", "nino4", "nino1+2", "emi"):
        assert fc.earthformer.index(name).notnull().all()


def test_another_analysis_with_coasts_of_its_own(shared):
    # COBE-SST 2 has none of the Great Lakes, which ERSST has
    with xr.open_dataset(shared / "data" / "cobe2_sst_1950_2009.nc") as ds:
        sst = ds["sst"].sel(time=slice("2000", "2009")).load()
    ice = sst.where((abs(sst["lat"]) < 70) | sst.isnull(), -1000.0)  # as HadISST says it
    with pytest.raises(ValueError, match="found -1000 at") as error:
        ice.earthformer.anomaly(PERIOD)
    line = str(error.value).split("try ")[1].split(", for")[0]
    ssta = eval(line, {"da": ice}).earthformer.anomaly(PERIOD)
    fc = xef.forecast(ssta, PACK, init="2005-06", lead=2, progress=False)
    whole = xef.forecast(sst.earthformer.anomaly(PERIOD), PACK, init="2005-06", lead=2)
    np.testing.assert_allclose(*(xef.index(each, "nino3.4") for each in (fc, whole)), atol=0.05)
