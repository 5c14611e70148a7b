"""ODIM composites: files in the layout of each service, read back by hand; and written."""

import pickle
import re

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from small_radar import LAEA, radar_files, small_rain

import xearthformer as xef
from xearthformer.datasets.radar.frames import Frame
from xearthformer.datasets.radar.odim import OdimCompositeBackendEntrypoint, is_odim
from xearthformer.datasets.radar.odim_write import write_odim
from xearthformer.datasets.radar.projection import crs_of, crs_variable

ENGINE = "odim_composite"
NAN = np.nan
# Two frames of two rows and three columns: no rain, rain, and a pixel that wasn't seen.
RAIN = [[[0, 1, 2.5], [NAN, 10, 0]], [[0, 0, 40], [NAN, 0.5, 1]]]


def open_odim(path, **options):
    return xr.open_dataset(path, engine=ENGINE, **options)


def make(path, codes, what, time="2021-07-04T15:50", where=None, **groups):
    """An ODIM file of one dataset, with codes as they stand and further groups of attributes."""
    rain = small_rain(np.zeros((1, *np.shape(codes))))
    place = radar_files.place(rain) | (where or {})
    with radar_files.composite(path, time, "ORG:1", place) as file:
        radar_files.put(file, {"dataset1/data1/what": what, **groups})
        file["dataset1/data1/data"] = np.asarray(codes)
    return path


def typed(error):
    """The line that an error says to type, evaluated."""
    hint = re.search(r"try (.*)", str(error)).group(1)
    names = {"xr": xr, "xef": xef, "np": np, "h5py": h5py, "write_odim": write_odim}
    return lambda **more: eval(hint, names | more)


# --- the layouts of services


@pytest.mark.parametrize(
    ("service", "name", "to_rain"),
    [
        ("opera", "dbz", lambda dbz: (10 ** (dbz / 10) / 200) ** (1 / 1.6)),
        ("fmi", "dbz", lambda dbz: (10 ** (dbz / 10) / 223) ** (1 / 1.53)),
        ("rmi", "rain_rate", lambda rate: rate),
        ("dpc", "rain_rate", lambda rate: rate),
        ("meteoswiss", "rain_amount", lambda amount: amount * 12),
    ],
)
def test_files_of_services(tmp_path, service, name, to_rain):
    rain = small_rain(RAIN, left=1_000_000, top=-2_000_000)
    paths = getattr(radar_files, f"write_{service}")(tmp_path, rain)
    ds = xr.concat([open_odim(path) for path in paths], "time", data_vars="minimal")
    # half a decibel of code is 4 % of rain; no rain is exactly none, and not seen is NaN
    tolerance = 0.04 if service == "fmi" else 1e-6
    np.testing.assert_allclose(to_rain(ds[name].values), RAIN, rtol=tolerance)
    assert (to_rain(ds[name].values)[np.array(RAIN) == 0] == 0).all()
    assert ds[name].dims == ("time", "y", "x") and ds[name].dtype == "f4"
    for coord in ("time", "y", "x"):
        np.testing.assert_array_equal(ds[coord], rain[coord])
    assert ds.y.attrs["units"] == ds.x.attrs["units"] == "m"
    assert ds[name].attrs["grid_mapping"] == "crs" and crs_of(ds).equals(crs_of(rain))


def test_a_service_s_own_law_and_quality(tmp_path):
    rain = small_rain(RAIN)
    fmi = open_odim(radar_files.write_fmi(tmp_path, rain)[0])
    assert (fmi["dbz"].attrs["zr_a"], fmi["dbz"].attrs["zr_b"]) == (223, 1.53)
    opera = open_odim(radar_files.write_opera(tmp_path, rain)[0])
    np.testing.assert_array_equal(opera["quality"][0], [[0.5, 0.5, 0.5], [NAN, 0.5, 0.5]])
    assert list(opera.data_vars) == ["dbz", "quality"] and "zr_a" not in opera["dbz"].attrs


def test_a_folder_is_opened_as_rain(tmp_path):
    rain = small_rain(RAIN)
    radar_files.write_fmi(tmp_path, rain)
    opened = xef.open_radar(tmp_path)
    np.testing.assert_allclose(opened, RAIN, rtol=0.04)
    assert opened.values[0, 0, 0] == 0 and opened.attrs["zr_a"] == 223


# --- codes


def test_codes_of_bytes(tmp_path):
    what = {"quantity": "DBZH", "gain": 0.5, "offset": -32.0, "nodata": 255.0, "undetect": 0.0}
    ds = open_odim(make(tmp_path / "a.h5", np.array([[0, 255, 2], [64, 1, 254]], "u1"), what))
    assert ds["dbz"][0].values.tolist()[0][0] == -np.inf  # nothing detected
    np.testing.assert_array_equal(ds["dbz"][0], [[-np.inf, NAN, -31], [0, -31.5, 95]])


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_a_large_composite_is_decoded_as_a_small_one(dtype):
    frame = Frame("", 0.1, -3.0, missing=(255,), undetected=0)
    codes = (np.arange(300 * 300) % 256).reshape(300, 300).astype(dtype)
    np.testing.assert_array_equal(frame.decode(codes), [frame.decode(row) for row in codes])


def test_gain_and_offset_may_be_left_out(tmp_path):
    what = {"quantity": "RATE", "nodata": -9999.99, "undetect": -8888.0}
    codes = np.array([[0.25, -9999.99], [-8888.0, 3]], "f4")  # not -9999.99 of 64 bits
    ds = open_odim(make(tmp_path / "a.h5", codes, what))
    np.testing.assert_array_equal(ds["rain_rate"][0], [[0.25, NAN], [0, 3]])


def test_one_code_for_both_is_not_seen(tmp_path):
    what = {"quantity": "RATE", "nodata": -1.0, "undetect": -1.0}
    ds = open_odim(make(tmp_path / "a.h5", [[-1.0, 2.0], [0.0, 1.0]], what))
    np.testing.assert_array_equal(ds["rain_rate"][0], [[NAN, 2], [0, 1]])


def test_what_is_said_of_the_dataset_holds_for_its_data(tmp_path):
    outer = {"quantity": "RATE", "gain": 0.1, "nodata": 65535.0, "undetect": 0.0}
    path = make(
        tmp_path / "a.h5", np.array([[1, 65535], [0, 20]], "u2"), {}, **{"dataset1/what": outer}
    )
    ds = open_odim(path)
    np.testing.assert_allclose(ds["rain_rate"][0], [[0.1, NAN], [0, 2]], rtol=1e-6)


@pytest.mark.parametrize("level", ["how", "dataset1/how", "dataset1/data1/how"])
@pytest.mark.parametrize(
    "form", [float, lambda value: np.bytes_(str(value)), lambda value: np.array([value])]
)
def test_z_r_at_any_level_and_in_any_form(tmp_path, level, form):
    law = {"zr_a": form(316), "zr_b": form(1.5)}
    path = make(tmp_path / "a.h5", [[1.0, 2.0], [0.0, 1.0]], {"quantity": "TH"}, **{level: law})
    th = open_odim(path)["th"]
    assert (th.attrs["zr_a"], th.attrs["zr_b"]) == (316, 1.5)
    assert th.attrs["standard_name"] == "equivalent_reflectivity_factor"


def test_an_unknown_quantity_keeps_its_name(tmp_path):
    what = {"quantity": "VIL", "undetect": 0.0}
    ds = open_odim(make(tmp_path / "a.h5", [[0.0, 2.0], [1.0, 1.0]], what))
    np.testing.assert_array_equal(ds["vil"][0], [[NAN, 2], [1, 1]])
    with pytest.raises(ValueError, match="vil"):
        xef.open_radar(ds)


# --- times


@pytest.mark.parametrize(
    ("quantity", "start", "end", "time"),
    [
        ("RATE", "15:50:00", "15:55:00", "15:55"),  # a rate of five minutes is labelled at its end
        ("RATE", "15:50:00", "15:54:59", "15:55"),
        ("RATE", "15:46:12", "15:49:47", "15:50"),  # when radars scanned: the nominal time
        ("RATE", "15:50:00", "15:50:00", "15:50"),
        ("DBZH", "15:50:00", "15:55:00", "15:50"),
        ("ACRR", "14:50:00", "15:50:00", "15:50"),
        ("ACRR", "15:35:00", "15:50:00", "15:50"),
    ],
)
def test_time_is_the_end_of_an_interval(tmp_path, quantity, start, end, time):
    date = "2021-07-04T"
    said = radar_files.span(date + start, date + end)
    path = make(
        tmp_path / "a.h5",
        [[1.0, 2.0], [0.0, 1.0]],
        {"quantity": quantity},
        **{"dataset1/what": said},
    )
    ds = open_odim(path)
    assert ds.time.values == [np.datetime64(date + time, "ns")]
    assert ("time_bnds" in ds.coords) is (quantity == "ACRR")
    if quantity == "ACRR":
        low, high = ds["time_bnds"].values[0]
        assert (low, high) == (np.datetime64(date + start), np.datetime64(date + time))
        assert ds.time.attrs["bounds"] == "time_bnds"


def test_amounts_of_an_hour_become_rates_of_an_hour(tmp_path):
    said = radar_files.span("2021-07-04T14:50", "2021-07-04T15:50")
    path = make(
        tmp_path / "a.h5", [[6.0, 0.0], [1.0, 1.0]], {"quantity": "ACRR"}, **{"dataset1/what": said}
    )
    np.testing.assert_array_equal(xef.open_radar(path)[0], [[6, 0], [1, 1]])


def test_datasets_of_several_times_are_a_time_axis(tmp_path):
    path = make(tmp_path / "a.h5", [[1.0, 2.0], [0.0, 1.0]], {"quantity": "DBZH"})
    with h5py.File(path, "a") as file:
        for i in (10, 2, 1):  # dataset10 comes after dataset2
            time = np.datetime64("2021-07-04T15:50") + np.timedelta64(5 * i, "m")
            what = {f"dataset{i}/what": radar_files.span(time, time)}
            radar_files.put(file, what | {f"dataset{i}/data1/what": {"quantity": "DBZH"}})
            if i > 1:
                file[f"dataset{i}/data1/data"] = np.full((2, 2), float(i))
    ds = open_odim(path)
    assert ds.time.dt.minute.values.tolist() == [55, 0, 40]
    assert ds["dbz"][:, 0, 0].values.tolist() == [1, 2, 10]
    assert open_odim(path, dataset="dataset2")["dbz"].shape == (1, 2, 2)


def test_a_rate_next_to_an_amount(tmp_path):
    """Two quantities of one time are two variables; th gives its name to the corrected one."""
    path = make(tmp_path / "a.h5", [[1.0, 2.0], [0.0, 1.0]], {"quantity": "RATE"})
    with h5py.File(path, "a") as file:
        for i, quantity in ((2, "TH"), (3, "DBZH")):
            radar_files.put(file, {f"dataset1/data{i}/what": {"quantity": quantity}})
            file[f"dataset1/data{i}/data"] = np.full((2, 2), float(i))
    ds = open_odim(path)
    assert list(ds.data_vars) == ["rain_rate", "th", "dbz"]
    assert "standard_name" not in ds["th"].attrs
    np.testing.assert_array_equal(xef.open_radar(path)[0], [[1, 2], [0, 1]])


def test_a_quality_of_other_seconds_leaves_the_nominal_time(tmp_path):
    path = make(tmp_path / "a.h5", [[1.0, 2.0], [0.0, 1.0]], {"quantity": "DBZH"})
    with h5py.File(path, "a") as file:
        for i, end in ((1, "15:52:11"), (2, "15:52:13")):
            span = radar_files.span("2021-07-04T15:50", f"2021-07-04T{end}")
            radar_files.put(file, {f"dataset{i}/what": span})
        radar_files.put(file, {"dataset2/data1/what": {"quantity": "QIND"}})
        file["dataset2/data1/data"] = np.ones((2, 2))
    ds = open_odim(path)
    assert ds.time.values == [np.datetime64("2021-07-04T15:50", "ns")]
    assert ds["quality"].values.tolist() == [[[1, 1], [1, 1]]]


def test_one_quantity_twice_at_one_time(tmp_path):
    path = make(tmp_path / "a.h5", [[1.0, 2.0], [0.0, 1.0]], {"quantity": "DBZH"})
    with h5py.File(path, "a") as file:
        radar_files.put(file, {"dataset2/data1/what": {"quantity": "DBZH"}})
        file["dataset2/data1/data"] = np.full((2, 2), 9.0)
    with pytest.raises(
        ValueError, match="one DBZH for each time\n   found dataset1/data1"
    ) as error:
        open_odim(path)
    np.testing.assert_array_equal(typed(error.value)()["dbz"][0], [[1, 2], [0, 1]])
    with pytest.raises(ValueError, match="the group 'dataset3'"):
        open_odim(path, dataset="dataset3")


# --- places


def place_of(projection, left, top, width, shape=(2, 3)):
    """ODIM's `where` of pixels in the projection's own units."""
    import pyproj

    proj = pyproj.Proj(projection)
    rows, columns = shape
    right, bottom = left + columns * width, top - rows * width
    ll, ur = (proj(*corner, inverse=True) for corner in ((left, bottom), (right, top)))
    return {
        **{f"{a}_{b}": v for a in ("UL", "LR") for b in ("lon", "lat") for v in [NAN]},
        "projdef": projection,
        "LL_lon": ll[0],
        "LL_lat": ll[1],
        "UR_lon": ur[0],
        "UR_lat": ur[1],
        "xscale": width,
        "yscale": width,
    }


@pytest.mark.parametrize(
    ("projection", "width"),
    [
        (LAEA, 2000.0),
        ("+proj=laea +lat_0=55 +lon_0=10 +x_0=1950000 +y_0=-2100000 +ellps=WGS84 +units=km", 2.0),
        ("+proj=laea +lat_0=55 +lon_0=10 +x_0=1950000 +y_0=-2100000 +to_meter=1000", 2.0),
        ("+proj=laea +lat_0=55 +lon_0=10 +x_0=1950000 +y_0=-2100000", 2000.0),
        ("+proj=laea +lat_0=55 +lon_0=10 +x_0=1950000 +y_0=-2100000 +ellps=WGS84", 2000.0),
    ],
)
def test_metres_whatever_the_projection_s_units(tmp_path, projection, width):
    unit = 2000.0 / width
    where = place_of(projection, 800_000 / unit, -900_000 / unit, width)
    path = make(tmp_path / "a.h5", np.zeros((2, 3)), {"quantity": "RATE"}, where=where)
    ds = open_odim(path)
    np.testing.assert_array_equal(ds.x, [801_000, 803_000, 805_000])
    np.testing.assert_array_equal(ds.y, [-901_000, -903_000])
    assert crs_of(ds).axis_info[0].unit_name == "metre"


def test_kilometres_next_to_a_projection_in_metres(tmp_path):
    where = place_of(LAEA, 0.0, 0.0, 1000.0) | {"xscale": 1.0, "yscale": 1.0}
    path = make(tmp_path / "a.h5", np.zeros((2, 3)), {"quantity": "RATE"}, where=where)
    np.testing.assert_array_equal(open_odim(path).x, [500, 1500, 2500])


def test_degrees(tmp_path):
    where = {"projdef": "+proj=longlat +ellps=WGS84", "xscale": 0.01, "yscale": 0.01}
    corners = {"LL": (5.0, 50.0), "UL": (5.0, 50.02), "UR": (5.03, 50.02), "LR": (5.03, 50.0)}
    for name, (lon, lat) in corners.items():
        where |= {f"{name}_lon": lon, f"{name}_lat": lat}
    ds = open_odim(make(tmp_path / "a.h5", np.zeros((2, 3)), {"quantity": "RATE"}, where=where))
    np.testing.assert_allclose(ds.lat, [50.015, 50.005], rtol=1e-12)
    np.testing.assert_allclose(ds.lon, [5.005, 5.015, 5.025], rtol=1e-12)
    assert ds.lat.attrs["units"] == "degrees_north" and crs_of(ds).is_geographic


def test_corners_that_do_not_fit(tmp_path):
    where = place_of(LAEA, 0.0, 0.0, 1000.0) | {"xscale": 3000.0, "yscale": 3000.0}
    path = make(tmp_path / "a.h5", np.zeros((2, 3)), {"quantity": "RATE"}, where=where)
    with pytest.raises(ValueError, match="corners that are 3 columns of 3000 apart") as error:
        open_odim(path)
    ds = typed(error.value)()
    assert "crs" not in ds.coords and ds.x.values.tolist() == [1500, 4500, 7500]


@pytest.mark.parametrize("text", ["+proj=nonsense +lat_0=90", "", "+proj=geocent"])
def test_a_projection_that_cannot_be_read(tmp_path, text):
    what = {"quantity": "RATE"}
    path = make(tmp_path / "a.h5", [[1.0, 2.0], [0.0, 1.0]], what, where={"projdef": text})
    with pytest.raises(ValueError, match="a map projection") as error:
        open_odim(path)
    ds = typed(error.value)()
    assert "crs" not in ds.coords and "grid_mapping" not in ds["rain_rate"].attrs
    assert ds.x.values.tolist() == [500, 1500] and ds.y.values.tolist() == [1500, 500]
    np.testing.assert_array_equal(xef.open_radar(ds)[0], [[1, 2], [0, 1]])
    # with another projection instead, the corners are used
    there = open_odim(path, projection=LAEA)
    np.testing.assert_array_equal(there.x, small_rain(np.zeros((1, 2, 2))).x)


def test_rioxarray_finds_the_projection(tmp_path):
    pytest.importorskip("rioxarray")
    rain = small_rain(RAIN)
    ds = open_odim(radar_files.write_rmi(tmp_path, rain)[0])
    assert ds["rain_rate"].rio.crs.to_dict()["proj"] == "laea"
    assert ds["rain_rate"].rio.bounds() == (0, -2000, 3000, 0)


# --- lazy


def test_frames_are_read_when_they_are_used(tmp_path):
    rain = small_rain(np.arange(24).reshape(1, 4, 6))
    (path,) = radar_files.write_rmi(tmp_path, rain)
    ds = open_odim(path, chunks={})
    again = pickle.loads(pickle.dumps(ds))  # as a worker gets it
    for part in ((0, 2, 3), (0, slice(None, None, -1)), (slice(None), [2, 0], [5, 1])):
        np.testing.assert_array_equal(again["rain_rate"][part], rain[part])
    assert ds["rain_rate"].chunks is not None
    for opened in (ds, again):
        opened.close()
    unread = open_odim(path)
    path.write_bytes(b"broken")
    with pytest.raises(OSError, match="a whole HDF5 file"):
        unread["rain_rate"].compute()


# --- what is refused


def test_a_volume(tmp_path):
    path = str(tmp_path / "volume.h5")
    with h5py.File(path, "w") as file:
        radar_files.put(file, {"what": {"object": "PVOL"}, "dataset1/data1": {}})
    assert not is_odim(path)
    with pytest.raises(ValueError, match="COMP or IMAGE\n   found PVOL, a volume") as error:
        open_odim(path)
    assert f"xradar.io.open_odim_datatree({path!r})" in str(error.value)


def test_xradar_opens_volumes(tmp_path):
    """The line that the error for a volume says is one that xradar has."""
    xradar = pytest.importorskip("xradar")
    path = tmp_path / "volume.h5"
    with h5py.File(path, "w") as file:
        file.attrs["Conventions"] = np.bytes_("ODIM_H5/V2_2")
        said = {"object": "PVOL", "version": "H5rad 2.2", "source": "NOD:xx"}
        site = {"lon": 25.0, "lat": 60.0, "height": 100.0}
        ray = {"elangle": 0.5, "nbins": 3, "nrays": 4, "rscale": 500.0, "rstart": 0.0, "a1gate": 0}
        span = radar_files.span("2021-07-04T15:50", "2021-07-04T15:51")
        data = {"quantity": "DBZH", "gain": 1.0, "offset": 0.0, "nodata": 255.0, "undetect": 0.0}
        stamp = radar_files.stamp("2021-07-04T15:50")
        radar_files.put(file, {"what": said | stamp, "where": site, "how": {}})
        radar_files.put(file, {"dataset1/what": {"product": "SCAN"} | span})
        radar_files.put(file, {"dataset1/where": ray, "dataset1/how": {}})
        radar_files.put(file, {"dataset1/data1/what": data})
        file["dataset1/data1/data"] = np.ones((4, 3), "u1")
    with pytest.raises(ValueError) as error:
        open_odim(path)
    names = {"xradar": xradar}
    tree = eval(re.search(r"try (.*)", str(error.value)).group(1), names)
    assert tree["sweep_0"]["DBZH"].shape == (4, 3)


def test_a_file_that_is_something_else(tmp_path):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["things"] = [1, 2]
    with pytest.raises(ValueError, match="COMP or IMAGE\n   found none") as error:
        open_odim(other)
    hint = re.search(r"try (.*), for", str(error.value)).group(1)
    eval(hint, {"h5py": h5py})
    half = tmp_path / "half.h5"
    half.write_bytes(radar_files.write_rmi(tmp_path, small_rain(RAIN))[0].read_bytes()[:900])
    for path in (half, tmp_path / "none.h5"):
        assert not is_odim(path)
        with pytest.raises(OSError, match=path.name):
            open_odim(path)


def test_it_guesses_composites_alone(tmp_path):
    guess = OdimCompositeBackendEntrypoint().guess_can_open
    (path, _) = radar_files.write_rmi(tmp_path, small_rain(RAIN))
    xr.Dataset({"a": 1}).to_netcdf(tmp_path / "a.nc")
    assert guess(path) and guess(str(path))
    assert not guess(tmp_path / "a.nc") and not guess(tmp_path) and not guess(b"bytes")


# --- written


def test_a_record_is_written_and_read_back(tmp_path):
    rain = small_rain(RAIN, left=1_000_000, top=-2_000_000)
    path = write_odim(rain, tmp_path / "rain.h5")
    ds = open_odim(path)
    # hundredths of mm/h: every value of RAIN is one
    np.testing.assert_allclose(ds["rain_rate"], RAIN, rtol=1e-6)
    for coord in ("time", "y", "x"):
        np.testing.assert_array_equal(ds[coord], rain[coord])
    assert crs_of(ds).equals(crs_of(rain))
    assert [*tmp_path.iterdir()] == [tmp_path / "rain.h5"] and is_odim(path)
    with h5py.File(path) as file:
        assert file["what"].attrs["date"] + file["what"].attrs["time"] == b"20210704155500"
        spans = [dict(file[f"dataset{i}/what"].attrs) for i in (1, 2)]
    assert [(s["starttime"], s["endtime"]) for s in spans] == [
        (b"154500", b"155000"),
        (b"155000", b"155500"),
    ]


def forecast():
    """A forecast of one init and two leads, south first, as `forecast` gives it."""
    rain = small_rain(RAIN).isel(y=slice(None, None, -1))
    leads = pd.to_timedelta([10, 20], "min")
    init = np.datetime64("2021-07-04T15:50", "ns")
    da = rain.rename(time="lead").assign_coords(lead=leads).expand_dims(init=[init])
    return da.assign_coords(valid_time=da["init"] + da["lead"])


def test_a_forecast_is_a_dataset_for_each_lead(tmp_path):
    fc = forecast()
    path = write_odim(fc.isel(init=0), tmp_path / "nowcast.h5")
    ds = open_odim(path)
    np.testing.assert_array_equal(ds.time, fc["valid_time"][0])
    np.testing.assert_array_equal(ds.y, [-500, -1500])  # north first
    np.testing.assert_allclose(ds["rain_rate"], RAIN, rtol=1e-6)
    with h5py.File(path) as file:
        assert file["what"].attrs["time"] == b"155000"  # the init
        assert file["dataset1/what"].attrs["starttime"] == b"155000"
        assert file["dataset2/what"].attrs["starttime"] == b"160000"
    # an init dim of one is dropped by itself
    np.testing.assert_array_equal(open_odim(write_odim(fc, tmp_path / "b.h5")).time, ds.time)


def test_what_is_known_of_a_nowcast_is_its_quality(tmp_path):
    known = [[[1, 0.5, 0], [0, 0.25, 1]], [[0.5, 0, 0], [0, 0, 0.124]]]
    fc = forecast().isel(init=0)
    fc = fc.assign_coords(known=(("lead", "y", "x"), np.array(known)[:, ::-1]))
    ds = open_odim(write_odim(fc, tmp_path / "a.h5"))
    np.testing.assert_allclose(ds["quality"], known, atol=2e-3)  # two thousandths
    np.testing.assert_allclose(xef.open_radar(ds), RAIN, rtol=1e-6)


def test_heavy_rain_and_other_units(tmp_path):
    rain = small_rain([[[0, 1310.68], [0, 0]]])
    ds = open_odim(write_odim(rain, tmp_path / "a.h5"))
    np.testing.assert_allclose(ds["rain_rate"], rain, rtol=1e-6)  # .02 to a code
    metres = (rain / 3.6e6).assign_attrs(rain.attrs, units="m s-1")
    ds = open_odim(write_odim(metres, tmp_path / "b.h5"))
    np.testing.assert_allclose(ds["rain_rate"], rain, rtol=1e-5)
    dry = small_rain([[[0, NAN], [NAN, 0]]])
    np.testing.assert_array_equal(open_odim(write_odim(dry, tmp_path / "c.h5"))["rain_rate"], dry)


def test_degrees_are_written_without_a_grid_mapping(tmp_path):
    rain = small_rain(RAIN).drop_vars("crs").rename(y="lat", x="lon")
    rain = rain.assign_coords(lat=[50.015, 50.005], lon=[5.005, 5.015, 5.025])
    ds = open_odim(write_odim(rain, tmp_path / "a.h5"))
    np.testing.assert_allclose(ds.lon, rain.lon, rtol=1e-9)
    np.testing.assert_allclose(ds["rain_rate"], RAIN, rtol=1e-6)


def test_pysteps_reads_what_is_written(tmp_path):
    pytest.importorskip("pysteps")
    from pysteps.io import import_odim_hdf5

    rain = small_rain(RAIN[1:], left=1_000_000, top=-2_000_000)
    field, _, metadata = import_odim_hdf5(write_odim(rain, tmp_path / "a.h5"), qty="RATE")
    np.testing.assert_allclose(field, RAIN[1], rtol=1e-6)
    found = [metadata[key] for key in ("x1", "x2", "y1", "y2", "xpixelsize")]
    np.testing.assert_allclose(found, [1e6, 1_003_000, -2_002_000, -2e6, 1000], rtol=1e-9)


def test_not_written(tmp_path):
    path = str(tmp_path / "a.h5")
    fc = xr.concat([forecast()] * 2, "member")
    with pytest.raises(ValueError, match="also member") as error:
        write_odim(fc, path)
    assert open_odim(typed(error.value)(rain=fc)).sizes["time"] == 2
    nowhere = small_rain(RAIN).drop_vars("crs")
    with pytest.raises(ValueError, match="with a map projection") as error:
        write_odim(nowhere, path)
    assert 'rain.rio.write_crs("EPSG:...")' in str(error.value)
    mended = nowhere.assign_coords(crs=crs_variable("EPSG:3067"))
    assert crs_of(open_odim(write_odim(mended, path))).utm_zone == "35N"
    uneven = small_rain(RAIN).assign_coords(x=("x", [0.0, 1000, 3000], {"units": "m"}))
    with pytest.raises(ValueError, match="one size along x\n   found 3 of 1000 to 2000") as error:
        write_odim(uneven, path)
    with pytest.raises(ValueError, match="rainfall_rate"):
        write_odim(small_rain(RAIN).assign_attrs(standard_name="air_temperature"), path)
