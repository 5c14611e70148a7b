"""`xearthformer verify` on sea surface temperature: the table of Nino3.4, and hints in shell."""

import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import xearthformer as xef
from xearthformer.cli import main
from xearthformer.cli.score import _already_seen
from xearthformer.datasets.local import open_files
from xearthformer.models import MODELS
from xearthformer.packs.card import Card


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
    assert main(["verify", file, *WORDS, "--anomaly", "1990", "1993", "-o", out]) == 2
    assert "--overwrite" in capsys.readouterr().err
    again = ["-o", out, "--overwrite"]
    assert main(["verify", file, *WORDS, "--anomaly", "1990", "1993", *again]) == 0
    capsys.readouterr()
    with xr.open_dataset(out) as found:
        assert found.attrs["title"] == "Scores of forecasts"
        assert found.attrs["history"] == "xearthformer verify of persistence"
        assert found["init"].attrs["standard_name"] == "forecast_reference_time"
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


@pytest.mark.parametrize(
    ("first", "last", "seen"),
    [("1999-11", "2001-03", True), ("2000-01", "2001-03", False), ("1950-01", "1959-12", False)],
)
def test_years_that_a_pack_was_fitted_to_are_said(first, last, seen):
    inits = xr.date_range(first, last, freq="MS")
    result = xr.Dataset(coords={"init": inits})
    lines = list(_already_seen(["persistence", "xro", "damped-persistence"], result))
    words = "damped-persistence was fitted to 1960-01/1999-12: observations of these years are no"
    assert [line.startswith(words) for line in lines] == [True] * seen


@dataclass(frozen=True)
class SumConfig:
    in_len: int = 1
    out_len: int = 5


class Sum(nn.Module):
    """Forecasts sst + zos of the last frame, plus noise of the same in all cells."""

    samples, draws, sample_by_sample = False, True, True

    def __init__(self, config):
        super().__init__()
        self.config, self.in_len, self.out_len = config, config.in_len, config.out_len

    def predict(self, x_BTHWC, generator=None):
        y = x_BTHWC[:, -1].sum(dim=-1, keepdim=True)
        if generator is not None:
            y = y + torch.randn((), generator=generator)
        return torch.stack([y] * 5, dim=1)


@pytest.fixture
def ocean(sst, tmp_path, monkeypatch):
    """A pack that reads two variables and draws members, and a file of each variable."""
    monkeypatch.setitem(MODELS, "sum", (SumConfig, Sum, {}))
    ssta = sst.earthformer.anomaly(climatology=("1990", "1993"))
    zos = (0.1 * ssta.sel(lat=slice(-8, 8))).rename("zos")
    zos.attrs = {"units": "m", "long_name": "sea surface height anomaly"}
    sst.to_netcdf(tmp_path / "sst.nc")
    zos.to_netcdf(tmp_path / "zos.nc")
    anomaly = {"difference": True, "missing": "allowed"}
    grid = {"latitude": [-6.0, 0.0, 6.0], "longitude": [180.0 + 10 * i for i in range(8)]}
    fields = {
        "name": "sum",
        "version": "1",
        "title": "a sum",
        "model": {"name": "sum", "config": {}},
        "inputs": {
            "sst": {"standard_name": "sea_surface_temperature", "units": "degC", **anomaly},
            "zos": {"standard_name": "sea_surface_height_above_geoid", "units": "m", **anomaly},
        },
        "outputs": ["sst"],
        "grid": {"kind": "latlon", **grid},
        "time_step": "month",
        "context": 1,
        "lead": 5,
        "training": {"data": "none"},
    }
    pack = xef.save_pack(tmp_path / "sum", Sum(SumConfig()), Card.model_validate(fields))
    return pack, [str(tmp_path / "sst.nc"), str(tmp_path / "zos.nc")]


def test_packs_of_several_variables_and_members_in_one_table(ocean, capsys):
    pack, files = ocean
    words = ["--packs", "persistence", str(pack.path), *WORDS[2:], "--anomaly", "1990", "1993"]
    assert main(["verify", *files, *words, "--members", "4", "--seed", "3"]) == 0
    printed = capsys.readouterr().out
    assert re.search(rf"\n{pack.path} mean ", printed)  # the fields, of the ensemble's mean
    tables = printed.partition("Nino3.4 index")[2]
    skill, ensembles = tables.split("spread / error")
    assert "persistence" in skill and str(pack.path) in skill
    assert "persistence" not in ensembles and "CRPS (degC)" in tables
    # the same by Python
    with open_files(files) as ds:
        sst = ds["sst"].earthformer.anomaly(climatology=("1990", "1993")).load()
        data = xr.Dataset({"sst": sst, "zos": ds["zos"].load()})
    inits = slice("1991-01", "1992-06")
    fc = data.earthformer.forecast(pack, init=inits, lead=5, members=4, seed=3)["sst"]
    expected = xef.enso_ensemble_skill(
        fc.earthformer.index("nino3.4"), sst.earthformer.index("nino3.4")
    )
    numbers = re.search(rf"{pack.path} +(.*)\n?$", ensembles)[1].split()
    wanted = [
        f"{value:.{digits}f}"
        for name, digits in {"spread_skill": 2, "crps": 3, "crps_dressed": 3}.items()
        for value in expected[name].sel(lead=[1, 3]).values
    ]
    assert numbers == wanted


@pytest.mark.parametrize("command", ["forecast", "hindcast"])
def test_commands_read_the_variables_of_several_files(ocean, tmp_path, capsys, command):
    pack, files = ocean
    words = ["--pack", str(pack.path), "--init", "1992-06", "--members", "2", "--lead", "3"]
    out = str(tmp_path / "out.zarr")
    assert main([command, *files, *words, "-o", out]) == 2  # SST is absolute, zos is not
    assert "absolute values of sst" in capsys.readouterr().err
    assert main([command, *files, *words, "--anomaly", "1990", "1993", "-o", out]) == 0
    assert "1 x 3 x 2 (init x lead x member) of sst by sum" in capsys.readouterr().out
    with open_files(files) as ds:
        data = xr.Dataset({"sst": ds["sst"].load(), "zos": ds["zos"].load()})
    data["sst"] = data["sst"].earthformer.anomaly(climatology=("1990", "1993"))
    expected = data.earthformer.forecast(pack, init="1992-06", lead=3, members=2)["sst"]
    np.testing.assert_allclose(xr.open_zarr(out)["sst"], expected, atol=1e-5)


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
