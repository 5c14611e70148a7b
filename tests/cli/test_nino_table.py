"""`xearthformer verify` on sea surface temperature: the table of Nino3.4, and hints in shell."""

import re

import numpy as np
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.cli import main
from xearthformer.comparison import compare as comparison


@pytest.fixture(scope="module")
def sst():
    """Simulated SST of the tropical Pacific, 1990 to 1993."""
    sst = xef.synthetic_sst(years=4, start="1990-01")["sst"]
    return sst.sel(lat=slice(-10, 10), lon=slice(170, 260))


@pytest.fixture
def file(sst, tmp_path):
    path = tmp_path / "sst.nc"
    sst.to_netcdf(path)
    return str(path)


WORDS = ["--packs", "persistence", "--lead", "5", "--init", "1991-01/1992-06"]


def test_the_table_is_that_of_enso_skill(sst, file, tmp_path, capsys):
    out = str(tmp_path / "scores.nc")
    assert main(["verify", file, *WORDS, "--anomaly", "1990", "1993", "-o", out]) == 0
    printed = capsys.readouterr().out
    ssta = sst.earthformer.anomaly(climatology=("1990", "1993"))
    fc = ssta.earthformer.forecast("persistence", init=slice("1991-01", "1992-06"), lead=5)
    observed = ssta.earthformer.index("nino3.4")
    skill = xef.enso_skill(fc.earthformer.index("nino3.4"), observed)
    assert "RMSE (degC) slope C-Nino3.4-M" in printed
    (row,) = re.findall(r"\npersistence +(-?\d\.\d\d) .* (-?\d\.\d\d) +(-?\d\.\d{3})\n", printed)
    expected = (
        f"{skill['correlation'][0]:.2f}",
        f"{skill['slope'][0]:.2f}",
        f"{skill['correlation_mean']:.3f}",
    )
    assert row == expected
    assert re.search(r"\npairs +18 +18\n", printed)  # leads 1 and 3
    with xr.open_dataset(out) as found:
        np.testing.assert_allclose(
            found["nino34_rmse"].sel(forecast="persistence", lead=[1, 2, 3]), skill["rmse"], 1e-5
        )
        assert found["nino34_rmse"].sel(lead=4).isnull().all() and "mse" in found


def test_members_have_spread_and_crps(sst, file, capsys, monkeypatch):
    """A pack that can draw members is stood in for by noise on persistence."""
    original = comparison.forecaster

    def noisy(name, device="auto", *, variable=None, members=None, seed=0):
        row = original("persistence", device, variable=variable)

        def run(data, inits, lead):
            fc = row.run(data, inits, lead)
            noise = np.random.default_rng(seed).standard_normal((members, *fc.shape[:2]))
            noise = xr.DataArray(noise, dims=("member", "init", "lead"))
            return (fc + noise).assign_attrs(fc.attrs)

        return comparison.Forecaster(name, row.context, row.lead, run, members)

    monkeypatch.setattr(comparison, "forecaster", noisy)
    members = ["--members", "4", "--seed", "3", "--anomaly", "1990", "1993"]
    assert main(["verify", file, *WORDS, *members]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"\npersistence mean ", printed)  # the fields, of the ensemble's mean
    assert re.search(r"spread / error +CRPS \(degC\) +CRPS dressed\n", printed)


def test_members_of_deterministic_packs_alone_are_refused(file, capsys):
    words = [*WORDS, "--anomaly", "1990", "1993", "--members", "4"]
    assert main(["verify", file, *words]) == 2
    assert "a pack that draws members" in capsys.readouterr().err


def test_other_data_has_no_nino_table(sst, file, tmp_path, capsys):
    anomaly = ["--anomaly", "1990", "1993"]
    assert main(["verify", file, *WORDS[:2], "--lead", "2", *WORDS[4:], *anomaly]) == 0
    assert "Nino" not in capsys.readouterr().out  # no season in two months
    sst.sel(lon=slice(170, 200)).to_netcdf(tmp_path / "west.nc")
    assert main(["verify", str(tmp_path / "west.nc"), *WORDS, *anomaly]) == 0
    assert "Nino" not in capsys.readouterr().out
    assert main(["verify", file, *WORDS]) == 0  # absolute values
    assert "Nino" not in capsys.readouterr().out


@pytest.mark.parametrize("command", ["forecast", "verify"])
def test_the_hint_typed_as_printed_works(command, tmp_path, capsys):
    xef.synthetic_sst(years=4, start="1990-01")["sst"].to_netcdf(tmp_path / "sst.nc")
    flag = "--packs" if command == "verify" else "--pack"
    words = [command, str(tmp_path / "sst.nc"), flag, "damped-persistence", "--init", "1991-06"]
    words += ["--lead", "1", "-o", str(tmp_path / "out.nc")]
    assert main(words) == 2
    hint = capsys.readouterr().err.partition("; try ")[2].split()
    assert hint == ["--anomaly", "1990", "1993"]
    assert main([*words, *hint]) == 0
