"""ICAR-ENSO: overlapping rows as continuous months, on sparse files of the archive's exact form."""

import netCDF4
import numpy as np
import pytest
import xarray as xr
from mends.typed import serve

import xearthformer as xef
from xearthformer.cli import main

CMIP6, CMIP5 = 15 * 151, 17 * 140
GRID = np.linspace(-1, 1, 24)[:, None] * np.cos(np.linspace(0, 2 * np.pi, 72))


def series(months, shift=0):
    """A smooth field of months that never repeats."""
    return (np.sin(np.arange(months) / 5 + shift)[:, None, None] * GRID).astype("f4")


def rows(record):
    """A record (months, ...) as rows (years, 36, ...), each a year after the one before."""
    years = (len(record) - 36) // 12 + 1
    return np.stack([record[12 * i : 12 * i + 36] for i in range(years)])


def write(path, years, parts, variables, grid=True):
    """A file of `years` rows, those in `parts` written and the others left empty."""
    with netCDF4.Dataset(path, "w") as file:
        sizes = {"year": years, "month": 36, **({"lat": 24, "lon": 72} if grid else {})}
        for dim, size in sizes.items():
            file.createDimension(dim, size)
        if grid:
            for name, values in (("lat", range(-55, 61, 5)), ("lon", range(0, 360, 5))):
                file.createVariable(name, "f8", (name,))[:] = list(values)
        for name in variables:
            shape = tuple(sizes.values())[1:]
            var = file.createVariable(name, "f4", tuple(sizes), chunksizes=(1, *shape), zlib=True)
            for start, values in parts.items():
                var[start : start + len(values)] = values


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of 32 models the first of CMIP6 and the last of CMIP5; SODA."""
    folder = tmp_path_factory.mktemp("icar")
    first, last, soda = series(1836), series(1704, 1), series(1224, 2)
    held = {0: rows(first), CMIP6 + CMIP5 - 140: rows(last)}
    labels = {start: values[:, :, 0, 0] for start, values in held.items()}
    write(folder / "CMIP_train.nc", CMIP6 + CMIP5, held, ("sst", "t300"))
    write(folder / "CMIP_label.nc", CMIP6 + CMIP5, labels, ("nino",), grid=False)
    write(folder / "SODA_train.nc", 100, {0: rows(soda)}, ("sst",))
    write(folder / "SODA_label.nc", 100, {0: rows(soda)[:, :, 0, 0]}, ("nino",), grid=False)
    return folder


def test_every_model_of_both_generations(folder):
    ds = xef.open_icar_enso(folder)
    assert dict(ds.sizes) == {"model": 32, "time": 1836, "lat": 24, "lon": 72}
    assert ds["sst"].dims == ("model", "time", "lat", "lon") and ds["nino"].dims == (
        "model",
        "time",
    )
    assert ds["sst"].chunks[0] == (1,) * 32 and ds["nino"].chunks is None
    assert ds["model"].values[[0, 14, 15, 31]].tolist() == [
        "cmip6-01",
        "cmip6-15",
        "cmip5-01",
        "cmip5-17",
    ]
    assert ds["months"].values.tolist() == [1836] * 15 + [1704] * 17
    first = ds.isel(model=0)
    np.testing.assert_array_equal(first["sst"], series(1836))
    np.testing.assert_array_equal(first["nino"], series(1836)[:, 0, 0])
    assert ds["sst"].isel(model=31, time=slice(1704, None)).isnull().all()
    assert str(ds["time"].values[[0, -1]].tolist()) == str(
        xr.date_range("0001-01-01", "0153-12-01", 2, calendar="noleap", use_cftime=True).tolist()
    )


def test_the_papers_split(folder):
    test = xef.open_icar_enso(folder, split="test")
    assert test["model"].values.tolist() == ["cmip5-17"] and test.sizes["time"] == 1704
    np.testing.assert_array_equal(test["sst"][0], series(1704, 1))
    assert xef.open_icar_enso(folder, split="val")["model"].values.tolist() == ["cmip5-16"]
    train = xef.open_icar_enso(folder, split="train")["model"].values
    assert len(train) == 30 and not {"cmip5-16", "cmip5-17"} & set(train)


def test_soda(folder):
    ds = xef.open_icar_enso(folder, source="soda")
    assert dict(ds.sizes) == {"model": 1, "time": 1224, "lat": 24, "lon": 72}
    assert ds["model"].item() == "soda"
    np.testing.assert_array_equal(ds["sst"][0], series(1224, 2))


def test_a_model_goes_through_a_forecast(folder):
    ds = xef.open_icar_enso(folder, split="test")
    sst = ds["sst"].isel(model=0, time=slice(240))
    fc = sst.earthformer.forecast("enso-ersst", init="0020-12", lead=2).compute()
    assert fc.sizes == {"init": 1, "lead": 2, "lat": 24, "lon": 72}
    assert fc.sel(lat=0, lon=200).notnull().all() and fc.attrs["units"] == "degC"
    assert [str(t)[:7] for t in fc["valid_time"].values[0]] == ["0021-01", "0021-02"]


def test_the_papers_table_of_a_folder(folder, capsys):
    """Persistence from every month of the test simulation, on the cells of the benchmark."""
    words = ["table", "icar-enso", "--data", str(folder), "--packs", "persistence"]
    assert main(words) == 0
    (row,) = [line.split() for line in capsys.readouterr().out.splitlines() if "here" in line[:4]]
    x = series(1704, 1)[:, :, 19:67].astype(float)  # 95 E to 330 E
    starts = np.arange(11, 1704 - 14)
    errors = [np.mean((x[starts] - x[starts + lead]) ** 2) for lead in range(1, 15)]
    scale = 10.198975563049316 + 16.549121856689453
    assert row[1] == "persistence" and row[-1] == f"{1e4 * np.mean(errors) / scale**2:.3f}"
    sst = xef.open_icar_enso(folder)["sst"]
    for other in (sst[0], sst.isel(lat=slice(3, None))):  # other dims, other cells
        with pytest.raises(ValueError, match="simulations|the 5-degree grid") as error:
            xef.enso_table(other, ["persistence"], progress=False)
        again = serve(error.value, "xef.enso_table(other)", locals(), into="answer")
        assert again.dims == ("model", "time", "lat", "lon") and again.sizes == sst.sizes


def spoiled(folder, tmp_path, name, row, value=9.0):
    """The folder with one number in a row other than in the rows beside it."""
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with netCDF4.Dataset(tmp_path / name, "r+") as file:
        variable = file["nino" if "label" in name else "sst"]
        variable[(row, 20) + (3,) * (variable.ndim - 2)] = value
    return tmp_path


def test_rows_that_do_not_agree(folder, tmp_path):
    ds = xef.open_icar_enso(spoiled(folder, tmp_path, "SODA_train.nc", 7), source="soda")
    with pytest.raises(ValueError, match=r"(?s)sst of .*SODA_train.nc\n.*month 20 of row 7"):
        ds["sst"].compute()
    spoiled(folder, tmp_path, "CMIP_label.nc", CMIP6 + CMIP5 - 140 + 3)
    with pytest.raises(ValueError, match="(?s)nino of .*CMIP_label.nc.*row 2 of cmip5-17"):
        xef.open_icar_enso(tmp_path)


def test_what_is_refused(folder, tmp_path):
    names = {"folder": folder}
    with pytest.raises(ValueError, match="(?s)source cmip or soda.*'godas'") as error:
        xef.open_icar_enso(folder, source="godas")
    ds = serve(error.value, "xef.open_icar_enso(folder, source='godas')", names)
    assert ds.sizes["model"] == 32
    call = "xef.open_icar_enso(folder, split='test', source='soda')"
    with pytest.raises(ValueError, match="(?s)split train, val, test of cmip.*'test' of soda") as e:
        xef.open_icar_enso(folder, split="test", source="soda")
    assert serve(e.value, call, names).sizes["time"] == 1224
    with pytest.raises(FileNotFoundError, match="CMIP_train.nc"):
        xef.open_icar_enso(tmp_path)
    write(tmp_path / "SODA_train.nc", 99, {}, ("sst",))
    with pytest.raises(ValueError, match=r"(?s)rows \(year 100, month 36.*SODA_train.*year 99"):
        xef.open_icar_enso(tmp_path, source="soda")
    with xr.open_dataset(folder / "SODA_train.nc") as ds:
        ds[["sst"]].isel(lat=slice(None, None, -1)).to_netcdf(tmp_path / "turned.nc")
    (tmp_path / "turned.nc").replace(tmp_path / "SODA_train.nc")
    with pytest.raises(ValueError, match="(?s)lat -55 to 60, every 5 degrees: .*SODA_train.nc"):
        xef.open_icar_enso(tmp_path, source="soda")
