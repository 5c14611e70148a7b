"""`xearthformer verify --packs ... xro`: a row of the table of Nino3.4."""

import re

import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.cli import main
from xearthformer.datasets.local import open_files

YEARS = ["--anomaly", "1990", "2001"]
WORDS = ["--packs", "persistence", "xro", "--lead", "4", "--init", "2001-01/2001-06", *YEARS]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Simulated SST of 12 years on 5 degrees, and a field that stands for sea surface height."""
    pytest.importorskip("XRO")
    sst = xef.synthetic_sst(years=12, start="1990-01")["sst"].isel(lat=slice(18, 72))
    sst = sst.coarsen(lat=3, lon=3).mean()
    height = {"standard_name": "sea_surface_height_above_geoid", "units": "m"}
    zos = (sst.rolling(time=5, min_periods=1).mean() / 50).assign_attrs(height).rename("zos")
    folder = tmp_path_factory.mktemp("files")
    for da in (sst, zos):
        da.to_netcdf(folder / f"{da.name}.nc")
    return [str(folder / "sst.nc"), str(folder / "zos.nc")]


def row(printed, name):
    return re.search(rf"\n{name} +(.*)", printed.partition("Nino3.4 index")[2])[1].split()


def test_it_is_the_row_of_xro(files, capsys):
    assert main(["verify", *files, *WORDS, "--fit", "1990", "2000", "--members", "5"]) == 0
    printed = capsys.readouterr().out
    assert "xro" not in printed.partition("Nino3.4 index")[0]  # no fields
    with open_files(files) as ds:
        anomalies = xr.Dataset(
            {name: xef.anomaly(ds[name], ("1990", "2001")).load() for name in ("sst", "zos")}
        )
    inits = slice("2001-01", "2001-06")
    fc = xef.xro(anomalies, fit=("1990", "2000"), init=inits, lead=4, members=5)
    assert "10 indices" in fc.attrs["history"]
    skill = xef.enso_ensemble_skill(fc, xef.index(anomalies["sst"], "nino3.4"))
    mean = skill["correlation"].mean()
    assert row(printed, "xro")[0] == f"{skill['correlation'][0]:.2f}"
    assert row(printed, "xro")[-1] == f"{mean:.3f}" and len(row(printed, "persistence")) == 4


@pytest.mark.parametrize(
    ("words", "found", "hint"),
    [
        (WORDS, "the years that xro is fitted to", "--fit 1990 1999"),
        (["--packs", "xro", *YEARS], "a pack next to xro", "--packs persistence xro"),
        (
            ["--packs", "persistence", "xro", "--lead", "2", *YEARS],
            "3 leads",
            "--packs persistence",
        ),
        (["--packs", "lim", "--fit", "1990", "2000"], "xro among the packs", "--packs lim xro"),
        (WORDS[:5], "monthly anomalies of SST", "--anomaly 1990 2001"),
    ],
)
def test_hints(files, capsys, words, found, hint):
    assert main(["verify", files[0], *words]) == 2
    said = capsys.readouterr().err
    assert found in said and said.rstrip().endswith(f"try {hint}")
    if words is WORDS:
        assert main(["verify", files[0], *words, *hint.split()]) == 0
        assert len(row(capsys.readouterr().out, "xro")) == 4
