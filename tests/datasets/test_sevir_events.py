"""`open_sevir`: events across files and sensors, the papers' split and windows, real rows."""

import warnings
from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pyproj
import pytest
import xarray as xr
from small_sevir import EVENTS, MINUTES, TWICE, frames, make, twice

import xearthformer as xef
from xearthformer.datasets.sevir.events import coordinates, read_catalog, select

IDS = [event.id for event in EVENTS]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Radar of six events, one of them there twice."""
    return make(tmp_path_factory.mktemp("sevir"), twice())


@pytest.fixture(scope="module")
def all_sensors(tmp_path_factory):
    """Two events in every sensor; satellite files hold them in the opposite order."""
    sensors = ("vil", "ir069", "ir107", "vis", "lght")
    return make(tmp_path_factory.mktemp("sensors"), EVENTS[1:3], sensors)


# --- one sensor, many files


def test_events_of_every_file(root):
    ds = xef.open_sevir(root)
    assert ds["event"].values.tolist() == IDS and ds.attrs["dropped_repeated_id"] == 1
    assert ds["vil"].chunks == ((1,) * 5, (49,), (384,), (384,)) and ds["lat"].chunks[0] == (1,) * 5
    for i in (0, 2, 4):
        np.testing.assert_array_equal(ds["vil"][i], frames("vil", i))
    assert ds["vil"].sel(event=IDS[1])[3].isnull().all()
    assert ds["x"].values[:, 0].tolist() == [e.left * 1000 + 500 for e in EVENTS]
    assert ds["y"].values[:, 0].tolist() == [e.bottom * 1000 + 500 for e in EVENTS]
    first = ((ds["time"] - ds["time_utc"])[:, 0].values / np.timedelta64(1, "m")).tolist()
    assert first == [e.first for e in EVENTS]
    assert ds["event_type"].values.tolist() == [e.event_type or "" for e in EVENTS]


@pytest.mark.parametrize(
    ("split", "ids", "incomplete"),
    [("train", [IDS[0], IDS[2]], 1), ("val", [IDS[3]], 0), ("test", [IDS[4]], 0)],
)
def test_the_papers_split(root, split, ids, incomplete):
    ds = xef.open_sevir(root, split=split)
    assert ds["event"].values.tolist() == ids and ds.attrs["split"] == split
    assert ds.attrs["dropped_incomplete"] == incomplete
    assert ds.attrs["dropped_repeated_id"] == (split == "val")


def test_the_ends_of_the_split_belong_to_the_part_before(root):
    table = read_catalog(root / "CATALOG.csv").iloc[[0, 0, 0]]
    times = ["2019-01-01 00:00:00", "2019-01-01 00:00:01", "2019-06-01 00:00:00"]
    table = table.assign(id=["a", "b", "c"], time_utc=pd.to_datetime(times))
    found = {split: select(table, ("vil",), split, None)[0]["vil"] for split in ("train", "val")}
    assert found["train"]["id"].tolist() == ["a"] and found["val"]["id"].tolist() == ["b", "c"]


def test_events_in_the_order_asked_for(root):
    assert xef.open_sevir(root, events=IDS[3])["event"].values.tolist() == [IDS[3]]
    ds = xef.open_sevir(root, events=[IDS[4], IDS[0]])
    assert ds["event"].values.tolist() == [IDS[4], IDS[0]]
    np.testing.assert_array_equal(ds["vil"][0], frames("vil", 4))


def test_rows_of_a_catalogue_where_some_files_are_missing(root):
    rows = pd.read_csv(root / "CATALOG.csv")
    ds = xef.open_sevir(root, catalog=rows[rows.file_name.str.contains("2019_0101_0630")])
    assert ds["event"].values.tolist() == IDS[3:] and ds.attrs["catalog"] == "a DataFrame"
    assert ds.attrs["dropped_repeated_id"] == 0


def test_sevir_lr(root, tmp_path):
    """Its catalogue is SEVIR's own; its files hold vil alone, 128 x 128 pixels, 25 frames."""
    rows = pd.read_csv(root / "CATALOG.csv")[:2]
    rows.to_csv(tmp_path / "CATALOG.csv", index=False)
    low = xef.to_sevir_lr(xef.open_sevir(root, catalog=rows)["vil"])
    path = tmp_path / "data" / rows.file_name[0]
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        file["vil"] = low.fillna(255).transpose("event", "y", "x", "time").values.astype("u1")
    found = xef.open_sevir(tmp_path)["vil"]
    xr.testing.assert_allclose(found, low.drop_attrs().assign_attrs(found.attrs))


def test_threads_and_processes_read_the_same(root):
    vil = xef.open_sevir(root)["vil"][:, ::24]
    one = vil.compute(scheduler="synchronous")
    for scheduler in ("threads", "processes"):
        xr.testing.assert_identical(vil.compute(scheduler=scheduler, num_workers=2), one)


# --- sensors side by side


def test_sensors_of_the_same_events(all_sensors):
    ds = xef.open_sevir(all_sensors, sensors=("vil", "ir069", "ir107", "vis", "lght"))
    assert ds["event"].values.tolist() == IDS[1:3]
    assert ds["vil"].dims == ("event", "time", "y", "x")
    assert ds["ir069"].dims == ds["ir107"].dims == ("event", "time", "y_2km", "x_2km")
    assert ds["vis"].dims[2:] == ("y_500m", "x_500m") and ds["lght"].dims[2:] == ("y_8km", "x_8km")
    for sensor, scale in (("ir069", 1e-2), ("ir107", 1e-2)):
        raw = np.stack([frames(sensor, 0), frames(sensor, 1)])
        np.testing.assert_allclose(ds[sensor], raw * np.float32(scale), rtol=1e-6)
    np.testing.assert_array_equal(ds["vil"][1], frames("vil", 1))
    assert ds["lght"][:, 1, 2, 3].values.tolist() == [0, 1]
    assert {"lat_2km", "lon_500m", "time_ir069", "time_lght", "pct_missing_vis"} <= set(ds.coords)
    assert ds["lat_2km"].dims == ("event", "y_2km", "x_2km")
    assert ds["x_2km"].values[:, 0].tolist() == [1000, 21_000]
    one = ds["ir107"].isel(event=0)
    fc = one.earthformer.forecast("persistence", init=one["time"].values[12], lead=1)
    np.testing.assert_array_equal(fc[0, 0], one[12])


def test_another_sensor_alone_has_y_and_x(all_sensors):
    ds = xef.open_sevir(all_sensors, sensors="ir069")
    assert ds["ir069"].dims == ("event", "time", "y", "x") and ds.sizes["x"] == 192
    assert ds["event"].values.tolist() == [IDS[2], IDS[1]]


def test_an_event_that_a_sensor_lacks(all_sensors):
    rows = pd.read_csv(all_sensors / "CATALOG.csv")
    rows = rows[(rows.img_type != "ir107") | (rows.id != IDS[1])]
    ds = xef.open_sevir(all_sensors, catalog=rows, sensors=("vil", "ir107"))
    assert ds["event"].values.tolist() == [IDS[2]]
    assert ds.attrs["dropped_not_of_every_sensor"] == 1


def test_real_offsets_of_each_sensor(tmp_path):
    late = [replace(EVENTS[0], first=-118)]
    ds = xef.open_sevir(make(tmp_path, late, ("vil", "ir069")), sensors=("vil", "ir069"))
    apart = (ds["time"] - ds["time_ir069"]) / np.timedelta64(1, "m")
    assert (apart == 2).all()


def test_an_event_in_two_places_is_refused(all_sensors):
    rows = pd.read_csv(all_sensors / "CATALOG.csv")
    moved = rows.assign(llcrnrlat=rows["llcrnrlat"] + (rows["img_type"] == "ir069"))
    with pytest.raises(ValueError, match="(?s)event S728504 in one place.*another of ir069"):
        xef.open_sevir(all_sensors, catalog=moved, sensors=("vil", "ir069"), events=IDS[1:3])


# --- windows


def test_three_windows_an_event(root):
    ds = xef.open_sevir(root, events=[IDS[0], IDS[3]])
    windows = xef.sevir_windows(ds)
    assert dict(windows.sizes) == {"event": 6, "time": 25, "y": 384, "x": 384}
    assert windows["vil"].chunks[0] == (1,) * 6
    assert windows["event"].values.tolist() == [IDS[0]] * 3 + [IDS[3]] * 3
    starts = (
        (windows["time"] - windows["time_utc"])[:, 0].values / np.timedelta64(1, "m")
    ).tolist()
    assert starts == [-120, -60, 0, -122, -62, -2]
    np.testing.assert_array_equal(windows["vil"][4], frames("vil", 3)[12:37])
    one = windows["vil"].isel(event=4)
    fc = one.earthformer.forecast("persistence", init=one["time"].values[12], lead=12)
    assert (fc["valid_time"].values[0] == one["time"].values[13:]).all()


def test_windows_of_sevir_lr(root):
    low = xef.to_sevir_lr(xef.open_sevir(root, events=[IDS[0]])[["vil"]])
    windows = xef.sevir_windows(low, frames=13, stride=6)
    assert dict(windows.sizes) == {"event": 3, "time": 13, "y": 128, "x": 128}
    minutes = (windows["offset"][:, 0].values / np.timedelta64(1, "m")).tolist()
    assert minutes == [-120, -60, 0]


def test_windows_that_do_not_fit(root):
    ds = xef.open_sevir(root)
    with pytest.raises(ValueError, match="(?s)windows of 1 to 49 frames.*found 50"):
        xef.sevir_windows(ds, frames=50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        path = next(root.glob("data/vil/2018/*STORM*"))
        (root / "alone.h5").symlink_to(path)
        alone = xr.open_dataset(root / "alone.h5", engine="sevir")
    with pytest.raises(ValueError, match=r"(?s)offset \(time,\): SEVIR opened without its catal"):
        xef.sevir_windows(alone)
    for other in (ds["vil"], ds.isel(event=0)):
        with pytest.raises(
            ValueError, match=r"(?s)a Dataset with dims event and time.*event=\[0\]"
        ):
            xef.sevir_windows(other)


# --- what is refused


def test_what_is_refused(root):
    with pytest.raises(ValueError, match="(?s)sensors of vil, ir069.*found .*'radar'"):
        xef.open_sevir(root, sensors=("radar",))
    with pytest.raises(ValueError, match='(?s)split "train" or "val" or "test".*"?validation'):
        xef.open_sevir(root, split="validation")
    with pytest.raises(ValueError, match="(?s)rows of vis in the catalogue.*found vil"):
        xef.open_sevir(root, sensors=("vil", "vis"))
    with pytest.raises(ValueError, match=f"(?s)found '{TWICE.id}', dropped: repeated id"):
        xef.open_sevir(root, events=[TWICE.id])
    with pytest.raises(ValueError, match=f"(?s)found '{IDS[1]}', dropped: incomplete"):
        xef.open_sevir(root, events=[IDS[1]], split="train")
    with pytest.raises(ValueError, match="(?s)found 'S1'"):
        xef.open_sevir(root, events=["S1"])
    with pytest.raises(FileNotFoundError, match="no catalogue .*nowhere/CATALOG.csv"):
        xef.open_sevir(root / "nowhere")


def test_a_row_without_its_file_or_its_event(root):
    rows = pd.read_csv(root / "CATALOG.csv")
    gone = rows.replace({"file_name": {rows.file_name[0]: "vil/2017/SEVIR_VIL_gone.h5"}})
    with pytest.raises(FileNotFoundError, match="(?s)data/vil/2017/SEVIR_VIL_gone.h5, where the"):
        xef.open_sevir(root, catalog=gone)
    swapped = rows.assign(file_index=rows["file_index"].replace({0: 1, 1: 0}))
    with pytest.raises(ValueError, match="event S728503 at place 1.*STORMEVENTS_2018_0101_0630.h5"):
        xef.open_sevir(root, catalog=swapped)


@pytest.mark.parametrize(
    "leads",
    ["../../secret.h5", "/etc/secret.h5", "vil/../../../secret.h5", "s3://other/x.h5", "~/x.h5"],
)
def test_no_path_leads_out_of_the_root(root, leads):
    rows = pd.read_csv(root / "CATALOG.csv").assign(file_name=leads)
    with pytest.raises(ValueError, match="file names below the folder data"):
        xef.open_sevir(root, catalog=rows)


# --- the rows of a real file


@pytest.fixture(scope="module")
def real(request):
    shared = request.getfixturevalue("shared")
    return read_catalog(shared / "data" / "sevir_catalog_vil_2019h1_storm.csv")


@pytest.mark.shared
def test_real_corners_are_384_km_apart_at_whole_kilometres(real, shared):
    """The grid's outer upper right corner is the catalogue's, to its own rounding of 5 mm."""
    rows = pd.read_csv(shared / "data" / "sevir_catalog_vil_2019h1_storm.csv")
    coords = xr.Dataset(coords=coordinates(real, 384, 49, "real"))
    left, bottom = (coords[c].values[:, 0] - 500 for c in ("x", "y"))
    assert len(left) == 851 and (left % 2000 == 0).all() and (bottom % 2000 == 0).all()
    laea = pyproj.Proj(real["proj"][0].strip())
    right, top = laea(rows["urcrnrlon"].values, rows["urcrnrlat"].values)
    np.testing.assert_allclose(coords["x"].values[:, -1] + 500, right, atol=0.02)
    np.testing.assert_allclose(coords["y"].values[:, -1] + 500, top, atol=0.02)
    lat, lon = (coords[c][7, 0, 0].item() for c in ("lat", "lon"))
    assert 0 < lat - rows["llcrnrlat"][7] < 0.01 and 0 < lon - rows["llcrnrlon"][7] < 0.01


@pytest.mark.shared
def test_real_offsets_are_every_five_minutes(real):
    coords = xr.Dataset(coords=coordinates(real, 384, 49, "real"))
    minutes = coords["offset"].values.astype("m8[m]").astype(int)
    assert set(minutes[:, 0]) == {-122, -121, -120, -119, -118} and (np.diff(minutes) == 5).all()
    assert (minutes[0] == MINUTES).all() and coords["time"].dtype == "datetime64[ns]"


@pytest.mark.shared
def test_the_split_of_real_rows(real):
    """525 of 851 events miss nothing, 101 of the 306 after 2019-06-01."""
    splits = {split: select(real, ("vil",), split, None) for split in ("val", "test")}
    assert [len(rows["vil"]) for rows, _ in splits.values()] == [424, 101]
    assert [dropped["incomplete"] for _, dropped in splits.values()] == [121, 205]
    with pytest.raises(ValueError, match="(?s)events of vil in train.*none that are left"):
        select(real, ("vil",), "train", None)
