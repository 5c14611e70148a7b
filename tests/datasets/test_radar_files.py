"""Files of each service opened as they lie in a folder: values, labels, and what is wrong there."""

import gzip
import os
import re
import shutil
import warnings

import numpy as np
import pytest
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from small_radar import radar_files, small_rain

import xearthformer as xef

NAN = np.nan
# 3 mm/h is .25 mm in five minutes.
VALUES = [
    [[0, 3, NAN], [12, 0, 6]],
    [[3, 0, NAN], [0, 1.2, 6]],
    [[0, 0, NAN], [6, 6, 24]],
]


@pytest.fixture
def rain():
    """Three frames of two rows and three columns, the last of the first row never seen."""
    return small_rain(VALUES, projection=radar_files.KNMI, left=100_000, top=-3_900_000)


# Service: how far its packing may move a rate. Of half a decibel: 10**(.25/10/1.6) - 1.
SERVICES = {
    "opera": 1e-6,
    "fmi": 0.04,
    "rmi": 1e-6,
    "dpc": 1e-6,
    "meteoswiss": 1e-6,
    "knmi": 1e-6,
    "knmi_reflectivity": 0.04,
    "mrms": 1e-6,
    "bom": 1e-6,
    "mlcast": 1e-6,
}
NEAR_ENOUGH = {"bom": 0.3}  # codes of .05 mm in five minutes are .6 mm/h apart


@pytest.mark.parametrize("service", [*SERVICES])
def test_a_folder_of_each_service_is_one_record(service, rain, tmp_path):
    radar_files.WRITERS[service](tmp_path, rain)
    opened = xef.open_radar(tmp_path)
    assert opened.chunks is not None and opened.chunks[0] == (1, 1, 1)
    np.testing.assert_allclose(
        opened, rain, rtol=SERVICES[service], atol=NEAR_ENOUGH.get(service, 1e-6)
    )
    assert np.array_equal(opened.values == 0, rain.values == 0)  # exactly none where none was
    assert opened.dtype == "f4" and opened.attrs["units"] == "mm h-1"
    assert opened.attrs["standard_name"] == "rainfall_rate"
    assert np.array_equal(opened.time, rain.time)
    assert "bounds" not in opened.time.attrs and "bounds" not in opened.time.encoding
    y, x = opened.dims[1:]
    assert (np.diff(opened[y]) < 0).all() and (np.diff(opened[x]) > 0).all()
    assert opened.rio.crs is not None and opened.attrs["grid_mapping"] == "crs" or service == "bom"


@pytest.mark.parametrize("service", [s for s in SERVICES if s not in ("mrms", "bom")])
def test_pixels_lie_where_they_were_written(service, rain, tmp_path):
    radar_files.WRITERS[service](tmp_path, rain)
    opened = xef.open_radar(tmp_path)
    np.testing.assert_allclose(opened.y, rain.y, atol=1)
    np.testing.assert_allclose(opened.x, rain.x, atol=1)
    assert opened.y.attrs["units"] == opened.x.attrs["units"] == "m"
    assert opened.rio.crs.to_dict()["proj"] == "stere"


def test_one_file_and_a_pattern_and_a_list(rain, tmp_path):
    paths = radar_files.write_rmi(tmp_path, rain)
    whole = xef.open_radar(tmp_path).load()
    assert xef.open_radar(paths[1]).load().equals(whole[1:2])
    assert xef.open_radar(str(paths[1])).load().equals(whole[1:2])
    assert xef.open_radar(f"{tmp_path}/*1555*.hdf").load().equals(whole[1:2])
    assert xef.open_radar(paths[::-1]).load().equals(whole)  # in the order of their times


# --- MRMS


def test_mrms_lies_on_latitude_and_longitude(rain, tmp_path):
    pytest.importorskip("rioxarray")
    (path, *_) = radar_files.write_mrms(tmp_path, rain)
    opened = xef.open_radar(path)
    assert opened.dims == ("time", "lat", "lon")
    # the grid's corner is at 48 N, 93 W
    np.testing.assert_allclose(opened.lat, [47.995, 47.985], atol=1e-9)
    np.testing.assert_allclose(opened.lon, [-92.995, -92.985, -92.975], atol=1e-9)
    assert opened.lat.attrs["units"] == "degrees_north" and opened.rio.crs.to_epsg() == 4326
    assert opened.time.values[0] == np.datetime64("2021-07-04T15:50")
    plain = tmp_path / "MRMS.grib2"
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    assert xef.open_radar(plain).load().equals(opened.load())


def test_mrms_without_echo_is_missing_as_without_coverage(rain, tmp_path):
    # NSSL's table: -1 is missing, -3 no coverage
    (path, *_) = radar_files.write_mrms(tmp_path, rain.fillna(-1))
    assert xef.open_radar(path).isnull().values.tolist() == np.isnan(VALUES[:1]).tolist()


def mrms(path, rain, category, parameter):
    """A file of MRMS of another product, by the numbers of NSSL's table."""
    message = bytearray(gzip.decompress(radar_files.write_mrms(path.parent, rain)[0].read_bytes()))
    section = message.index(b"\x00\x00\x00\x22\x04")  # the fourth, of 34 bytes
    message[section + 9 : section + 11] = category, parameter
    path.write_bytes(message)
    return path


def test_mrms_amounts_and_reflectivity(rain, tmp_path):
    hourly = xef.open_radar(mrms(tmp_path / "RadarOnly_QPE_01H.grib2", rain, 6, 2))
    np.testing.assert_allclose(hourly[0], rain[0])  # mm in an hour
    assert "divided by the 60 minutes" in hourly.attrs["history"]
    echo = rain.copy(data=np.where(np.isnan(rain), -999, np.where(rain == 0, -99, 23)))
    dbz = xef.open_radar(mrms(tmp_path / "SeamlessHSR.grib2", echo, 8, 8))
    assert np.array_equal(dbz[0].isnull(), rain[0].isnull())
    assert np.array_equal(dbz[0].values == 0, rain[0].values == 0)
    assert float(dbz.max()) == pytest.approx((10**2.3 / 200) ** (1 / 1.6), rel=1e-4)


def test_gribs_of_other_products_are_named(rain, tmp_path):
    path = mrms(tmp_path / "flag.grib2", rain, 6, 0)
    with pytest.raises(ValueError, match="found 1 of PrecipFlag in flag: .*flag.grib2"):
        xef.open_radar(path)


def test_longitudes_of_the_americas_are_west(rain, tmp_path, monkeypatch):
    monkeypatch.setattr(radar_files, "MRMS_WEST", 230.0)  # as NOAA's files count them
    (path, *_) = radar_files.write_mrms(tmp_path, rain)
    np.testing.assert_allclose(xef.open_radar(path).lon, [-129.995, -129.985, -129.975])


# --- BoM, MLCast


def test_bom_has_kilometres_of_albers_and_two_times(rain, tmp_path):
    (path, *_) = radar_files.write_bom(tmp_path, rain)
    opened = xef.open_radar(path)
    assert opened.x.values.tolist() == [-1000, 0, 1000] and opened.y.values.tolist() == [500, -500]
    assert opened.x.attrs["units"] == "m" and "valid_min" not in opened.x.attrs
    assert opened.rio.crs.to_dict()["proj"] == "aea" and opened.attrs["grid_mapping"] == "proj"
    assert "valid_time" not in opened.coords
    assert "divided by the 5 minutes" in opened.attrs["history"]


def test_bom_is_what_pysteps_reads(rain, tmp_path):
    importers = pytest.importorskip("pysteps.io.importers")
    (path, *_) = radar_files.write_bom(tmp_path, rain)
    amounts, _, metadata = importers.import_bom_rf3(str(path))
    opened = xef.open_radar(path)
    np.testing.assert_allclose(np.ma.filled(amounts, NAN) * 12, opened[0], rtol=1e-6)
    assert (metadata["unit"], metadata["accutime"]) == ("mm", 5)
    # the edges of the domain, half a pixel beyond the centres
    assert (metadata["x1"], metadata["x2"]) == (-1500, 1500)
    assert opened.x.values.tolist() == [-1000, 0, 1000]


@pytest.mark.parametrize(
    "name, units, factor",
    [("rain_rate", "mm h-1", 1), ("rainfall_flux", "kg m-2 s-1", 1 / 3600), ("mm", "mm", 1 / 12)],
)
def test_what_mlcast_may_call_it(name, units, factor, rain, tmp_path):
    da = (rain * factor).rename(name).assign_attrs(units=units, grid_mapping="crs")
    da.attrs.pop("standard_name", None)
    da.to_dataset().to_zarr(tmp_path / "radar.zarr", zarr_format=2, consolidated=True)
    np.testing.assert_allclose(xef.open_radar(tmp_path / "radar.zarr"), rain, rtol=1e-5)


# --- RADOLAN


def test_radolan_has_hundredths_of_mm_from_the_south(rain, tmp_path):
    pytest.importorskip("wradlib")
    radar_files.write_radolan(tmp_path, rain)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = xef.open_radar(tmp_path)
    assert opened.attrs["history"].startswith("wradlib: amounts of 5 min made rates\n")
    assert opened.shape == (3, 900, 900) and opened.chunks[0] == (1, 1, 1)
    # two rows and three columns in the middle, the first one written the northernmost
    part = opened[:, 449:451, 448:451].load()
    assert (np.diff(part.y) > 0).all() and opened.name == "rain_rate"
    np.testing.assert_allclose(part[:, ::-1], rain, rtol=1e-6)
    assert int(opened.notnull().sum()) == 15  # and nothing else was seen
    assert np.array_equal(opened.time, rain.time) and "stere" in str(opened.rio.crs.to_dict())


@pytest.mark.filterwarnings("ignore:.*multiple fill values")
def test_what_engines_give_is_taken_too(rain, tmp_path):
    pytest.importorskip("wradlib")
    (path, *_) = radar_files.write_radolan(tmp_path, rain)
    given = xr.open_dataset(path, engine="radolan")  # its time is not along the variable
    np.testing.assert_array_equal(xef.open_radar(given), xef.open_radar(path))
    (path, *_) = radar_files.write_fmi(tmp_path, rain)
    given = xr.open_dataset(path, engine="odim_composite")
    xr.testing.assert_identical(xef.open_radar(given), xef.open_radar(path).load())


def radolan(path, product, precision, interval, codes):
    """A composite of one code everywhere, but for the first one of the south-west."""
    dtype = "u1" if product == "RX" else "<u2"
    grid = np.full((900, 900), codes[1], dtype)
    grid[0, 0] = codes[0]
    rest = f"VS 3SW   2.21.0PR E{precision}INT{interval}GP 900x 900MS  5<boo>"
    total = len(f"{product}041550100000721BY0000000{rest}") + 1 + grid.nbytes
    header = f"{product}041550100000721BY{total:7d}{rest}"
    path.write_bytes(header.encode() + b"\x03" + grid.tobytes())
    return path


@pytest.mark.parametrize(
    "product, precision, interval, codes, rates",
    [
        ("RY", "-02", "   5", (25, 0), (3, 0)),  # .25 mm in five minutes
        ("RW", "-01", "  60", (25, 2500), (2.5, NAN)),  # of an hour, and no data
        ("SF", "-01", "1440", (48, 0), (0.2, 0)),  # of a day: 4.8 mm
        ("RX", "+00", "   5", (0, 65), (0, 0.0365)),  # -32.5 and 0 dBZ
    ],
)
def test_radolans_products(product, precision, interval, codes, rates, tmp_path):
    pytest.importorskip("wradlib")
    opened = xef.open_radar(radolan(tmp_path / "file", product, precision, interval, codes))
    np.testing.assert_allclose(opened[0, 0, :2], rates, rtol=1e-2)
    packed = tmp_path / "file.gz"
    packed.write_bytes(gzip.compress((tmp_path / "file").read_bytes()))
    assert xef.open_radar(packed)[0, 0, :2].equals(opened[0, 0, :2])


def test_radolan_that_is_cut_short(rain, tmp_path):
    (path, *_) = radar_files.write_radolan(tmp_path, rain[:1])
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"expected \d+ bytes of RADOLAN\n   found \d+: .*dwd"):
        xef.open_radar(path)


# --- folders that aren't tidy


def folder_of(rain, folder, **more):
    paths = radar_files.write_fmi(folder, rain)
    for name, content in more.items():
        (folder / name.replace("_dot_", ".")).write_bytes(content)
    return paths


def typed(error):
    line = str(error.value).split("try ")[1].split(", which")[0]
    return eval(line, {"xef": xef})


def test_a_folder_where_nothing_can_be_read(tmp_path):
    for name in ("a.h5", "b.h5"):
        (tmp_path / name).write_text("404 Not Found")
    with pytest.raises(ValueError, match="2 of 2 that aren't: a.h5: .*; b.h5: .*\n     try other"):
        xef.open_radar(tmp_path, on_error="skip")


def test_what_is_no_file_of_a_radar_is_passed_over(rain, tmp_path):
    folder_of(rain, tmp_path, _dot_hidden=b"x", new_dot_part=b"x", a_dot_h5_dot_tmp=b"x")
    (tmp_path / "older").mkdir()
    assert xef.open_radar(tmp_path).sizes["time"] == 3


BROKEN = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:900]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("404 Not Found"),
    "no time": lambda path: _without(path, "what", "date"),
    "no data": lambda path: _without(path, "dataset1"),
}


def _without(path, group, key=None):
    import h5py

    with h5py.File(path, "a") as file:
        if key is None:
            del file[group]
        else:
            del file[group].attrs[key]
            for one in [k for k in file["dataset1/what"].attrs if "date" in k]:
                del file["dataset1/what"].attrs[one]


@pytest.mark.parametrize("harm", BROKEN)
def test_a_broken_file_is_named_or_left_out(harm, rain, tmp_path):
    paths = folder_of(rain, tmp_path)
    BROKEN[harm](paths[1])
    with pytest.raises(ValueError, match=rf"(?s)1 of 3 that aren't: {paths[1].name}: ") as error:
        xef.open_radar(tmp_path)
    with pytest.warns(UserWarning, match=f"left out, 1 of 3 .*{paths[1].name}: .") as seen:
        opened = typed(error)
    assert len(seen) == 1 and seen[0].filename == "<string>"  # where open_radar was called
    assert opened.time.values.tolist() == rain.time.values[[0, 2]].astype("M8[ns]").tolist()
    with pytest.raises((ValueError, OSError), match=re.escape(str(paths[1]))):
        xef.open_radar(paths[1])


@pytest.mark.parametrize("packing", ["grib2.gz", "grib2"])
def test_a_grib_that_is_cut_short(packing, rain, tmp_path):
    paths = radar_files.write_mrms(tmp_path, rain)
    content = paths[1].read_bytes()
    if packing == "grib2":
        content = gzip.decompress(content)
        paths[1].unlink()
    name = f"late.{packing}"
    (tmp_path / name).write_bytes(content[:-20])
    if packing == "grib2.gz":
        paths[1].unlink()
    with pytest.raises(ValueError, match=f"1 of 3 that aren't: {name}: ") as error:
        xef.open_radar(tmp_path)
    with pytest.warns(UserWarning, match=name):
        assert typed(error).sizes["time"] == 2


def test_a_file_of_another_product_or_grid(rain, tmp_path):
    folder_of(rain, tmp_path)
    (other, *_) = radar_files.write_rmi(tmp_path, rain[:1])
    with pytest.raises(ValueError, match=f"{other.name}: rain_rate mm h-1, not dbz dBZ") as error:
        xef.open_radar(tmp_path)
    with pytest.warns(UserWarning, match=other.name):
        np.testing.assert_allclose(typed(error), rain, rtol=0.04, atol=1e-6)
    other.unlink()
    later = rain.time[:1] + np.timedelta64(1, "h")
    wider = rain[:1].pad(x=(0, 1), mode="edge").assign_coords(time=later)
    wider["x"] = rain.x.values[0] + np.arange(4) * 1000.0
    (other,) = radar_files.write_fmi(tmp_path, wider)
    with pytest.raises(ValueError, match=f"{other.name}: 2 x 4 pixels, not 2 x 3"):
        xef.open_radar(tmp_path)
    other.unlink()
    moved = rain[:1].assign_coords(x=rain.x + 1000, time=later)
    (other,) = radar_files.write_fmi(tmp_path, moved)
    with pytest.raises(ValueError, match=f"{other.name}: x from 101500, not 100500") as error:
        xef.open_radar(tmp_path)
    with pytest.warns(UserWarning, match=other.name):
        assert typed(error).sizes["time"] == 3


def test_amounts_over_other_periods_are_another_product(rain, tmp_path):
    radar_files.write_meteoswiss(tmp_path, rain)
    hourly = rain.assign_coords(time=rain.time[0].values + np.arange(3) * np.timedelta64(1, "h"))
    radar_files.write_meteoswiss(tmp_path, hourly[:2])  # the interval is the step: an hour
    with pytest.raises(ValueError, match="over 60 minutes, not .* over 5 minutes") as error:
        xef.open_radar(tmp_path)
    with pytest.warns(UserWarning, match="00060.001.h5"):
        np.testing.assert_allclose(typed(error), rain, rtol=1e-5)


def test_as_many_files_of_one_product_as_of_another(rain, tmp_path):
    folder_of(rain, tmp_path)
    radar_files.write_rmi(tmp_path, rain)
    with pytest.raises(ValueError, match="found 3 like .* and 3 like .*: dbz dBZ, not") as error:
        xef.open_radar(tmp_path, on_error="skip")
    np.testing.assert_allclose(typed(error), rain, rtol=1e-6)  # one of them, by a pattern


def test_a_frame_that_was_sent_again(rain, tmp_path):
    (path, *_) = radar_files.write_rmi(tmp_path, rain)
    again = tmp_path / f"{path.stem}.v2.hdf"
    (tmp_path / "new").mkdir()
    (corrected, *_) = radar_files.write_rmi(tmp_path / "new", rain * 2)
    shutil.move(corrected, again)
    shutil.rmtree(tmp_path / "new")
    with pytest.raises(ValueError, match=f"2021-07-04 15:50:00, which {again.name} has") as error:
        xef.open_radar(tmp_path)
    with pytest.warns(UserWarning, match=path.name):
        np.testing.assert_allclose(typed(error)[0], 2 * rain[0])


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file nix.h5"):
        xef.open_radar("nix.h5")
    with pytest.raises(FileNotFoundError, match="no files of radar data in "):
        xef.open_radar(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no files of radar data in nix/\*"):
        xef.open_radar("nix/*")


def test_hdf5_that_is_packed(rain, tmp_path):
    (path, *_) = folder_of(rain[:1], tmp_path)
    packed = tmp_path / "radar.h5.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(ValueError, match="HDF5 or NetCDF that isn't packed") as error:
        xef.open_radar(packed)
    line = str(error.value).split("try ")[1].split(", in a shell")[0]
    assert os.system(line) == 0
    assert xef.open_radar(tmp_path / "radar.h5").equals(xef.open_radar(path))


def test_a_volume_is_sent_to_xradar(rain, tmp_path):
    import h5py

    (path, *_) = folder_of(rain[:1], tmp_path)
    with h5py.File(path, "a") as file:
        file["what"].attrs["object"] = np.bytes_("PVOL")
    with pytest.raises(ValueError, match="xradar.io.open_odim_datatree"):
        xef.open_radar(path)


def test_each_file_is_read_in_a_task_of_its_own(rain, tmp_path):
    import cloudpickle

    radar_files.write_fmi(tmp_path, rain)
    opened = xef.open_radar(tmp_path)
    assert opened.data.numblocks == (3, 1, 1)
    there = cloudpickle.loads(cloudpickle.dumps(opened))  # to a worker of dask
    xr.testing.assert_identical(there.load(), opened.load())
