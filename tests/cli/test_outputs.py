"""What forecasts are written as: GeoTIFF, ODIM, and the map projection in every kind of file."""

import warnings

import numpy as np
import pytest
import xarray as xr
from small_radar import small_rain
from small_still import still_pack

import xearthformer as xef
from xearthformer.cli import main
from xearthformer.datasets.radar.geotiff import write_geotiff
from xearthformer.datasets.radar.projection import crs_variable
from xearthformer.fields.cf import with_grid_mapping

rioxarray = pytest.importorskip("rioxarray")
rasterio = pytest.importorskip("rasterio")


@pytest.fixture
def pack(tmp_path):
    return still_pack(tmp_path, context=1, lead=2)


@pytest.fixture
def rain():
    """Three frames of 4 x 6 pixels of a kilometre, north first; one pixel is never seen."""
    rain = small_rain(np.arange(72.0).reshape(3, 4, 6) / 10)
    return rain.where((rain.y < 0) & ((rain.x > 1000) | (rain.y < -1000)))


@pytest.fixture
def run(rain, pack, tmp_path):
    """The command on the record in a file, with a grid mapping as CF has it."""
    rain.to_dataset().to_netcdf(tmp_path / "in.nc")

    def run(command, *words, file="in.nc"):
        words = [command, str(tmp_path / file), "--pack", str(pack.path), *map(str, words)]
        return main(words)

    return run


FORMS = {
    "an attribute": lambda rain: rain,
    "encoding": lambda rain: xr.decode_cf(rain.to_dataset(), decode_coords="all")["rain_rate"],
    "a coordinate alone": lambda rain: (rain * 1).assign_attrs(units="mm h-1"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_forecast_has_the_projection_of_its_data(rain, pack, tmp_path, form):
    """However the data says it; after arithmetic, which loses what names it, too."""
    crs = rain.rio.crs
    mine = FORMS[form](rain)
    fc = mine.earthformer.forecast(pack)
    hind = xef.hindcast(mine, pack, tmp_path / "h.zarr")
    assert crs is not None and fc.rio.crs == crs and hind["rain_rate"].rio.crs == crs
    assert xr.open_zarr(tmp_path / "h.zarr", decode_coords="all").rio.crs == crs


def test_a_dataset_that_was_opened_without_decoding_coordinates(rain, pack, tmp_path):
    """Its projection is a variable, which a variable of rain does not take along."""
    rain.to_dataset().to_netcdf(tmp_path / "in.nc")
    with xr.open_dataset(tmp_path / "in.nc") as ds:
        ds = ds.reset_coords("crs")
        fc = ds.earthformer.forecast(pack)
        assert fc.rio.crs == rain.rio.crs and list(fc.data_vars) == ["rain_rate"]
        hind = xef.hindcast(ds, pack, tmp_path / "h.zarr")
        assert hind.rio.crs == rain.rio.crs


@pytest.mark.parametrize("out", ["out.nc", "out.zarr"])
def test_files_have_the_projection(rain, run, tmp_path, out):
    assert run("forecast", "-o", tmp_path / out) == 0
    for how in (True, "all"):
        with xr.open_dataset(tmp_path / out, decode_coords=how) as found:
            assert found["rain_rate"].rio.crs == rain.rio.crs
            assert found["crs"].attrs["crs_wkt"] == rain["crs"].attrs["crs_wkt"]


def test_a_projection_without_a_name_gets_one(rain):
    """CF asks for a name of every variable."""
    rain["crs"].attrs.pop("long_name", None)
    ds = with_grid_mapping(rain.to_dataset())
    assert ds["crs"].attrs["long_name"] == "coordinate reference system"
    assert "long_name" not in rain["crs"].attrs


def test_scores_are_on_no_map(rain, run, pack, tmp_path):
    """Of means over maps: no file says a projection without y and x."""
    run("forecast", "-o", tmp_path / "out.nc")  # writes in.nc
    words = ["verify", tmp_path / "in.nc", "--packs", pack.path, "-o", tmp_path / "scores.nc"]
    assert main([*map(str, words), "--thresholds", "1"]) == 0
    with xr.open_dataset(tmp_path / "scores.nc") as found:
        assert "crs" not in found.variables and "csi" in found


def test_a_hindcast_by_the_command_has_the_projection_and_grows(rain, run, tmp_path):
    rain[:2].to_dataset().to_netcdf(tmp_path / "first.nc")
    for file, inits in (("first.nc", 2), ("in.nc", 3)):
        assert run("hindcast", "-o", tmp_path / "h.zarr", file=file) == 0
        with xr.open_zarr(tmp_path / "h.zarr", decode_coords="all") as found:
            assert found.sizes["init"] == inits and found.rio.crs == rain.rio.crs
            assert (
                found["rain_rate"][:, 0, 3, 5].values.tolist() == rain[:inits, 3, 5].values.tolist()
            )


def test_geotiff_by_lead(rain, run, tmp_path, capsys):
    """Row 3, column 5 of the last frame is 7.1; the pixel in the corner was never seen."""
    assert run("forecast", "-o", tmp_path / "out.tif") == 0
    first, second = sorted(tmp_path.glob("out*"))
    assert first.name == "out_20210704T1600_005min.tif"
    assert second.name == "out_20210704T1600_010min.tif"
    assert f"{first} .. (2 files): 1 x 2 (init x lead)" in capsys.readouterr().out
    found = rioxarray.open_rasterio(second, masked=True)
    np.testing.assert_array_equal(found[0], rain[-1])
    np.testing.assert_array_equal(found["y"], rain["y"])
    np.testing.assert_array_equal(found["x"], rain["x"])
    assert found.rio.crs == rain.rio.crs and np.isnan(found.rio.encoded_nodata)
    assert found.attrs["units"] == "mm h-1" and found.attrs["lead"] == "010min"
    assert found.attrs["init"] == "2021-07-04 16:00:00"
    assert found.attrs["valid_time"] == "2021-07-04 16:10:00"
    assert run("forecast", "-o", tmp_path / "out.tif") == 2
    assert "out_20210704T1600_005min.tif is there already" in capsys.readouterr().err
    assert run("forecast", "-o", tmp_path / "out.tif", "--overwrite") == 0


def test_geotiff_of_any_order_units_and_members(rain, tmp_path):
    """South first, in km, east first: the picture is the same; members are bands."""
    fc = rain.rename(time="init")[-1:].expand_dims(lead=np.array([5], "m8[m]"), axis=1)
    members = xr.concat([fc, 2 * fc], "member").assign_coords(member=[0, 1])
    turned = members.isel(y=slice(None, None, -1), x=slice(None, None, -1))
    km = {dim: (dim, turned[dim].values / 1000, {"units": "km"}) for dim in ("y", "x")}
    turned = turned.assign_coords(km).transpose("init", "lead", "member", "x", "y")
    (path,) = write_geotiff(turned, tmp_path / "out.tif")
    found = rioxarray.open_rasterio(path, masked=True)
    np.testing.assert_array_equal(found, [rain[-1], 2 * rain[-1]])
    np.testing.assert_allclose(found["y"], rain["y"])
    np.testing.assert_allclose(found["x"], rain["x"])
    assert found.attrs["long_name"] == ("member 0", "member 1")


def test_a_projection_that_cf_cannot_say_is_no_warning(rain, pack, tmp_path):
    swiss = rain.assign_coords(crs=crs_variable("EPSG:21781"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        (path, _) = write_geotiff(swiss.earthformer.forecast(pack), tmp_path / "out.tif")
    with rasterio.open(path) as file:
        assert file.crs.to_epsg() == 21781


def test_latitude_and_longitude_are_a_projection(rain, pack, tmp_path):
    degrees = rain.drop_vars("crs").assign_coords(
        y=("y", 60 - 0.01 * np.arange(4), {"units": "degrees_north"}),
        x=("x", 25 + 0.02 * np.arange(6), {"units": "degrees_east"}),
    )
    del degrees.attrs["grid_mapping"]
    (path, _) = write_geotiff(degrees.earthformer.forecast(pack), tmp_path / "out.tif")
    found = rioxarray.open_rasterio(path)
    assert found.rio.crs == "EPSG:4326"
    assert found.rio.bounds() == pytest.approx((24.99, 59.965, 25.11, 60.005))


def test_odim_by_init(rain, run, tmp_path):
    """One file for one init, a file each for several; hundredths of mm/h."""
    assert run("forecast", "-o", tmp_path / "out.h5") == 0
    found = xr.open_dataset(tmp_path / "out.h5", engine="odim_composite")
    assert found["time"].dt.minute.values.tolist() == [5, 10]
    np.testing.assert_allclose(found["rain_rate"][0], rain[-1], atol=0.005)
    assert run("forecast", "--init", "2021-07-04T15:50/", "-o", tmp_path / "all.h5") == 0
    names = [f"all_20210704T{end}.h5" for end in (1550, 1555, 1600)]
    assert sorted(p.name for p in tmp_path.glob("all*")) == names


def test_without_a_projection_there_is_no_map(rain, pack, tmp_path, capsys, monkeypatch):
    """An error before anything is forecast; what it says mends it."""
    bare = rain.drop_vars("crs")
    del bare.attrs["grid_mapping"]
    bare.to_netcdf(tmp_path / "bare.nc")
    for out in ("out.tif", "out.h5"):
        words = ["forecast", str(tmp_path / "bare.nc"), "--pack", str(pack.path)]
        assert main([*words, "-o", str(tmp_path / out)]) == 2
        err = capsys.readouterr().err
        assert "expected data with a map projection" in err
        hint = err.strip().rpartition("try ")[2].split()
        assert main([*words, *hint]) == 0 and hint == ["-o", str(tmp_path / "out.nc")]
        (tmp_path / "out.nc").unlink()
    with pytest.raises(ValueError, match=r"map projection.*\n +found none\n.*fc\.rio\.write_crs"):
        write_geotiff(bare.earthformer.forecast(pack), tmp_path / "out.tif")
    da = bare.earthformer.forecast(pack)
    assert len(write_geotiff(da.rio.write_crs("EPSG:3067"), tmp_path / "out.tif")) == 2


def test_pixels_of_several_sizes_are_no_map(rain, pack, tmp_path):
    da = rain.assign_coords(y=("y", [0.0, -1000.0, -2000.0, -5000.0], rain["y"].attrs))
    with pytest.raises(ValueError, match=r"of one size along y\n.*\n +try da\.interp\(y=np.lin"):
        write_geotiff(da, tmp_path / "out.tif")


def test_temperature_is_no_odim(rain, pack, tmp_path, capsys):
    any_pack = ["--pack", "persistence", "--lead", "1", "-o", str(tmp_path / "out.h5")]
    warm = rain.assign_attrs(standard_name="air_temperature", units="K").rename("t")
    warm.to_netcdf(tmp_path / "warm.nc")
    assert main(["forecast", str(tmp_path / "warm.nc"), "--variable", "t", *any_pack]) == 2
    assert "rainfall_rate" in capsys.readouterr().err
