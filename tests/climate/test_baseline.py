"""The period of anomalies: what their attributes say, and anomalies against another period."""

import numpy as np
import pytest
import xarray as xr

from xearthformer.climate.baseline import baseline, check_baselines, rebase
from xearthformer.climate.climatology import anomaly

ATTRS = {"units": "degC", "standard_name": "sea_surface_temperature"}


@pytest.fixture
def sst():
    """Four years of one cell: month m of year y holds 2 m + y^2, and a month is missing."""
    time = xr.date_range("2000-01", periods=48, freq="MS")
    months = np.arange(48)
    values = 2.0 * (months % 12) + (months // 12) ** 2
    values[5] = np.nan
    return xr.DataArray(values, {"time": time}, ("time",), "sst", ATTRS)


@pytest.mark.parametrize("lazy", [False, True])
def test_rebased_anomalies_are_those_of_the_absolute_values(sst, lazy):
    sst = sst.chunk(time=10) if lazy else sst
    found = rebase(anomaly(sst, (2000, 2001)), (2002, 2003))
    expected = anomaly(sst, (2002, 2003))
    assert (found.chunks is not None) == lazy
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found.values[0] == 0 - (4 + 9) / 2  # the means of 2002 and 2003, less that of 2000
    assert found.attrs["climatology_period"] == "2002-01/2003-12"
    assert {**found.attrs, "history": ""} == {**expected.attrs, "history": ""}
    assert "rebase" in found.attrs["history"].splitlines()[-1]


def test_absolute_values_have_no_baseline_to_change(sst):
    with pytest.raises(ValueError, match=r"expected anomalies\n.*absolute"):
        rebase(sst, (2000, 2001))
    with pytest.raises(ValueError, match="period within the data"):
        rebase(anomaly(sst, (2000, 2001)), (1981, 2010))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1981-01/2010-12", (1981 * 12, 2010 * 12 + 11)),
        ("1981-07/2011-06", (1981 * 12 + 6, 2011 * 12 + 5)),
        ("1981-2010", (1981 * 12, 2010 * 12 + 11)),
        ("1981 to 2010", (1981 * 12, 2010 * 12 + 11)),
        ("a climatology of unstated period", None),
        ("", None),
    ],
)
def test_periods_are_read_in_the_spellings_of_files(text, expected):
    assert baseline(xr.DataArray(0.0, attrs={"climatology_period": text})) == expected


def test_a_side_that_states_no_period_passes(sst):
    one = anomaly(sst, (2000, 2001))
    check_baselines(one, one.drop_attrs())
    check_baselines(one.drop_attrs(), one)
    check_baselines(one, one.assign_attrs(climatology_period="2000/2001"))
