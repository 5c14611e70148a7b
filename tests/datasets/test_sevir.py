"""`engine="sevir"`: every sensor's files, local and remote; what is read, and what is refused."""

import io
import json
import logging
import pickle
import subprocess
import sys
import warnings

import fsspec
import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from small_sevir import EVENTS, MINUTES, PROJ, flashes, frames, make

from xearthformer.datasets.sevir.files import count_flashes

EVENT = 384 * 384 * 49  # bytes of an event of vil
NAME = "SEVIR_VIL_STORMEVENTS_2018_0101_0630.h5"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make(tmp_path_factory.mktemp("sevir"), EVENTS[:3], ("vil", "ir069", "lght"))


@pytest.fixture(scope="module")
def path(root):
    """The radar file of two events, the second with the frames 3 and 4 missing."""
    return root / "data" / "vil" / "2018" / NAME


def open_file(path, **options):
    return xr.open_dataset(path, engine="sevir", **options)


# --- what a file becomes


def test_a_radar_file(path):
    ds = open_file(path)
    assert ds["vil"].dims == ("event", "time", "y", "x") and ds["vil"].shape == (2, 49, 384, 384)
    assert ds["vil"].dtype == np.float32
    assert ds["event"].values.tolist() == ["S728503", "S728504"]
    np.testing.assert_array_equal(ds["vil"][0], frames("vil", 0))
    missing = ds["vil"][1].isnull()
    assert missing.any(["y", "x"]).values.nonzero()[0].tolist() == [3, 4]
    assert missing.sum() == 2 * 384 * 384
    assert ds["vil"].attrs["units"] == "1" and ds["vil"].attrs["grid_mapping"] == "crs"
    assert ds["event_type"].values.tolist() == ["Hail", "Hail"]
    assert ds["pct_missing"].values.tolist() == [0, 2 / 49]
    assert ds.attrs["catalog"].endswith("CATALOG.csv")


def test_bytes_as_they_are(path):
    raw = open_file(path, mask_and_scale=False)["vil"]
    assert raw.dtype == np.uint8 and raw.attrs["_FillValue"] == 255
    assert (raw[1, 3] == 255).all()
    assert open_file(path, decode_cf=False)["vil"].dtype == np.uint8


def test_an_event_has_times_metres_and_degrees_of_its_own(path):
    """Row 0 and column 0 are half a kilometre from the lower left corner, (-274, -890) km."""
    event = open_file(path).sel(event="S728503")
    assert event["time"].dims == ("time",)
    assert event["time"].values[[0, -1]].tolist() == [
        pd.Timestamp("2018-05-12 16:30").value,
        pd.Timestamp("2018-05-12 20:30").value,
    ]
    assert event["x"].values[[0, 1, -1]].tolist() == [-273_500, -272_500, 109_500]
    assert event["y"].values[[0, 1, -1]].tolist() == [-889_500, -888_500, -506_500]
    assert event["x"].attrs["standard_name"] == "projection_x_coordinate"
    assert event["lat"].dims == ("y", "x") and (event["lat"].diff("y") > 0).all()
    assert (event["lon"].diff("x") > 0).all()
    assert event["crs"].attrs["earth_radius"] == 6370997
    import pyproj

    x, y = pyproj.Proj(PROJ.strip())(event["lon"].values, event["lat"].values)
    np.testing.assert_allclose(x, np.broadcast_to(event["x"], x.shape), atol=1e-3)
    np.testing.assert_allclose(y, np.broadcast_to(event["y"].values[:, None], y.shape), atol=1e-3)


@pytest.mark.parametrize(
    ("sensor", "scale", "units"), [("ir069", 1e-2, "degC"), ("vis", 1e-4, "1")]
)
def test_a_satellite_file(root, sensor, scale, units, tmp_path):
    """Infrared of three events, the last one first; of the visible, one event will do."""
    folder = root if sensor == "ir069" else make(tmp_path, EVENTS[2:3], ("vis",))
    path = folder / f"data/{sensor}/2018/SEVIR_{sensor.upper()}_ALLEVENTS_2018_0101_1231.h5"
    ds = open_file(path).isel(event=0)
    assert ds["event"].item() == EVENTS[2].id and ds["event_type"].item() == ""
    raw = frames(sensor, 2 if sensor == "ir069" else 0)
    assert ds[sensor].shape == raw.shape and ds[sensor].dtype == np.float32
    np.testing.assert_allclose(ds[sensor], raw * np.float32(scale), rtol=1e-6)
    assert ds[sensor].attrs["units"] == units
    spacing = 384_000 / raw.shape[-1]
    assert (np.diff(ds["x"]) == spacing).all() and (np.diff(ds["y"]) == spacing).all()
    assert ds["x"][0] == 20_000 + spacing / 2


def test_a_lightning_file(root):
    path = root / "data/lght/2018/SEVIR_LGHT_ALLEVENTS_2018_0601_0628.h5"
    ds = open_file(path)
    assert ds["lght"].shape == (1, 49, 48, 48) and ds["lght"].dtype == np.int16
    assert ds["event"].item() == EVENTS[1].id
    found = ds["lght"][0]
    assert found.values.nonzero()[0].tolist() == [0, 1, 25]
    assert found[:2, 2, 3].values.tolist() == [1, 1] and found[25, 0, 47] == 1
    assert ds["offset"][0].values.astype("m8[m]").astype(int).tolist() == MINUTES.tolist()
    assert ds["x"].values[0, :2].tolist() == [4000, 12_000]


def test_flashes_count_in_the_five_minutes_up_to_a_frame():
    """Frame 2 is -110 minutes: from -115 minutes on, and before -110."""
    at = np.array([-7201, -7200, -6900, -6600.001, -6600, 7199, 7200])
    table = np.zeros((at.size, 5))
    table[:, 0] = at
    counts = count_flashes(table)[:, 0, 0]
    assert counts[[0, 1, 2, 3, 48]].tolist() == [1, 1, 2, 1, 1] and counts.sum() == 6
    outside = np.array([[0, 0, 0, -0.1, 0], [0, 0, 0, 48, 0], [0, 0, 0, 0, 48.0]])
    assert count_flashes(outside).sum() == 0 and count_flashes(np.empty((0, 5))).sum() == 0


def test_real_offsets(tmp_path):
    ds = open_file(
        make(tmp_path, EVENTS[3:4]) / "data/vil/2019/SEVIR_VIL_STORMEVENTS_2019_0101_0630.h5"
    )
    assert ds["offset"][0].values.astype("m8[m]").astype(int).tolist() == (MINUTES - 2).tolist()
    assert (ds["time"] - ds["time_utc"] == ds["offset"]).all()
    assert ds["time"][0, 0] == np.datetime64("2019-05-25T22:53")


def test_a_frame_that_is_there_twice_has_the_same_time(path):
    """So satellites have it, where a scan is missing: 16 frames of 5 minutes from -120 is -40."""
    rows = pd.read_csv(path.parents[3] / "CATALOG.csv")
    rows["minute_offsets"] = rows["minute_offsets"].str.replace(":-35:", ":-40:")
    event = open_file(path, catalog=rows)["vil"].isel(event=0)
    assert event["time"][16] == event["time"][17]
    with pytest.raises(ValueError, match="(?s)every time once.*duplicate 2018-05-12 17:50"):
        event.earthformer.forecast("persistence")


def test_sevir_lr_has_its_ids_from_the_catalogue(path, tmp_path):
    """128 x 128 pixels of 3 km, 25 frames of 10 minutes, no id: as the data set is written."""
    folder = tmp_path / "data" / "vil" / "2018"
    folder.mkdir(parents=True)
    with h5py.File(folder / NAME, "w") as file:
        file["vil"] = np.arange(2, dtype="u1")[:, None, None, None] + np.zeros((128, 128, 25), "u1")
    with pytest.warns(UserWarning, match="no catalogue to read at .*CATALOG.csv"):
        assert "event" not in open_file(folder / NAME).coords
    ds = open_file(folder / NAME, catalog=path.parents[3] / "CATALOG.csv")
    assert ds["event"].values.tolist() == ["S728503", "S728504"]
    assert (
        ds["vil"].shape == (2, 25, 128, 128) and (ds["vil"].max(["time", "y", "x"]) == [0, 1]).all()
    )
    assert ds["offset"][0].values.astype("m8[m]").astype(int).tolist() == MINUTES[::2].tolist()
    assert ds["x"].values[0, :2].tolist() == [-272_500, -269_500]


def test_one_event_goes_through_a_forecast(path):
    event = open_file(path)["vil"].isel(event=0)
    fc = event.earthformer.forecast("persistence", init=event["time"].values[12], lead="10min")
    assert fc["valid_time"].values.ravel().tolist() == event["time"].values[13:15].tolist()
    assert fc["x"].values.tolist() == event["x"].values.tolist() and "lat" in fc.coords
    np.testing.assert_array_equal(fc.isel(init=0, lead=1), event[12])
    with pytest.raises(ValueError, match=r"also event \(2\), .*\n     try da.isel\(event=0\)"):
        open_file(path)["vil"].earthformer.forecast("persistence")


def test_a_round_trip_through_netcdf(path, tmp_path):
    ds = open_file(path).isel(y=slice(4), x=slice(5))
    ds.to_netcdf(tmp_path / "out.nc")
    with xr.open_dataset(tmp_path / "out.nc") as back:
        xr.testing.assert_equal(back, ds)
        assert back["vil"].encoding["dtype"] == np.uint8


# --- indexing, and how much is read


class Counting(io.FileIO):
    """A local file that counts the bytes read of it."""

    count = 0

    def readinto(self, buffer):
        n = super().readinto(buffer)
        self.count += n or 0
        return n

    def read(self, size=-1):
        data = super().read(size)
        self.count += len(data)
        return data


@pytest.mark.parametrize(
    "key",
    [
        (1, 5, 7, 9),
        (slice(None), slice(2, 9, 3), slice(100, 90, -2), [3, 1]),
        ([1, 0], -1, slice(3, 4), slice(None, None, -100)),
        (slice(0, 0), 0, 0, 0),
        (slice(1, 2), [0, 48], [383, 5], 383),
    ],
)
def test_any_part_of_an_event(path, key):
    raw = open_file(path, mask_and_scale=False)["vil"]
    whole = np.stack([frames("vil", 0), frames("vil", 1)])
    whole[1, [3, 4]] = 255
    for axis, part in reversed(list(enumerate(key))):
        whole = whole[(slice(None),) * axis + (part,)]
    found = raw[key]
    assert found.shape == whole.shape
    np.testing.assert_array_equal(found, whole)


def test_a_file_of_ten_gigabytes_opens_in_kilobytes(tmp_path):
    """1400 events of zeros that take no room on the disk; `id` lies behind them."""
    path = tmp_path / NAME
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple((1400, 384, 384, 49))
        h5py.h5d.create(file.id, b"vil", h5py.h5t.STD_U8LE, space, plist)
        file["id"] = np.array([f"S{i:06d}" for i in range(1400)], "S")
    assert path.stat().st_size > 10e9
    with Counting(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        ds = open_file(file)
        assert ds["vil"].sizes["event"] == 1400 and file.count < 64e3
        before = file.count
        assert ds["vil"].isel(event=3).sum() == 0
        assert EVENT <= file.count - before < EVENT + 64e3
        before = file.count
        ds["vil"].isel(event=3, y=slice(10, 12)).load()
        assert file.count - before < EVENT / 384 * 2 + 64e3
        ds.close()
    path.unlink()


def test_an_event_a_chunk(path):
    ds = open_file(path, chunks={})
    for name in ("vil", "lat", "lon"):
        assert ds[name].chunks[0] == (1, 1) and ds[name].chunks[1:] == tuple(
            (n,) for n in ds[name].shape[1:]
        )
    np.testing.assert_array_equal(ds["vil"].compute(num_workers=2), open_file(path)["vil"])


def test_pickle(path):
    ds = pickle.loads(pickle.dumps(open_file(path)))
    np.testing.assert_array_equal(ds["vil"][0, 0], frames("vil", 0)[0])


# --- addresses


@pytest.fixture(scope="module")
def bucket(root):
    """The same files in an S3 bucket that anyone may read, of moto's server on loopback."""
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        owner = fsspec.filesystem("s3", key="none", secret="none")
        owner.mkdir("sevir", acl="public-read")
        for file in ("CATALOG.csv", f"data/vil/2018/{NAME}"):
            owner.put_file(str(root / file), f"sevir/{file}", ACL="public-read")
        yield address
    server.stop()


@pytest.fixture
def requested(bucket, monkeypatch):
    """The bytes of each range asked of S3."""
    import s3fs

    fetch, sizes = s3fs.S3File._fetch_range, []

    def counting(self, start, end):
        data = fetch(self, start, end)
        if self.path.endswith(".h5"):
            sizes.append(len(data))
        return data

    monkeypatch.setattr(s3fs.S3File, "_fetch_range", counting)
    return sizes


def test_s3_is_read_anonymously_and_no_more_than_is_asked_for(requested, path):
    ds = open_file(f"s3://sevir/data/vil/2018/{NAME}")
    assert ds.attrs["catalog"] == "s3://sevir/CATALOG.csv"
    assert sum(requested) < 100e3
    requested.clear()
    event = ds.isel(event=0).load()
    assert len(requested) == 1 and EVENT <= requested[0] < EVENT + 100e3
    xr.testing.assert_equal(event, open_file(path).isel(event=0))


@pytest.mark.parametrize("kind", ["http", "memory", "simplecache", "file"])
def test_any_address(kind, bucket, root, path, tmp_path):
    if kind == "memory":
        fsspec.filesystem("memory").put(f"{root}/CATALOG.csv", "/sevir/CATALOG.csv")
        fsspec.filesystem("memory").put(str(path), f"/sevir/data/vil/2018/{NAME}")
    place = {
        "http": f"{bucket}/sevir",
        "memory": "memory://sevir",
        "simplecache": "simplecache::s3://sevir",
        "file": f"file://{root}",
    }[kind]
    options = {"simplecache": {"cache_storage": str(tmp_path)}, "s3": {"anon": True}}
    given = options if kind == "simplecache" else None
    ds = open_file(f"{place}/data/vil/2018/{NAME}", storage_options=given)
    assert ds["event"].values.tolist() == ["S728503", "S728504"] and "lat" in ds.coords
    np.testing.assert_array_equal(ds["vil"][0, :3], frames("vil", 0)[:3])
    assert (ds["vil"][1, 0] == frames("vil", 1)[0]).all()


def test_a_file_read_by_python_is_closed_before_the_end(path):
    """HDF5 closes what is open when Python has ended, and would call it once more."""
    code = (
        "import fsspec, warnings, xarray as xr; warnings.simplefilter('ignore');"
        f"fsspec.filesystem('memory').put({str(path)!r}, '/{NAME}');"
        f"ds = xr.open_dataset('memory://{NAME}', engine='sevir'); print(ds.vil[0, 0, 0, 0].item())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "0.0\n"), done.stderr


# --- the engine, and the catalogue


def test_xarray_guesses_it_by_name_and_loads_nothing_heavy():
    engine = xr.backends.list_engines()["sevir"]
    assert engine.guess_can_open(f"s3://sevir/data/vil/2018/{NAME}")
    assert engine.guess_can_open("SEVIR_LGHT_ALLEVENTS_2019_0601_0701.h5")
    assert not engine.guess_can_open("other.h5") and not engine.guess_can_open(io.BytesIO())
    # ours alone: engines of other packages are loaded next to them
    code = "import json, sys; from importlib.metadata import entry_points; "
    code += (
        "ours = [e for e in entry_points(group='xarray.backends') if 'xearthformer' in e.value]; "
    )
    code += (
        "assert len([e.load() for e in ours]) >= 3; heavy = 'torch', 'h5py', 'pyproj', 'fsspec'; "
    )
    code += "print(json.dumps([m for m in heavy if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert json.loads(done.stdout) == []


def test_without_a_catalogue_there_are_ids_and_nominal_offsets(path, tmp_path):
    alone = tmp_path / NAME
    alone.symlink_to(path)
    with pytest.warns(UserWarning, match="no catalogue to read at .*nominal offsets alone"):
        ds = open_file(alone)
    assert set(ds.coords) == {"event", "offset"}
    assert ds["offset"].values.astype("m8[m]").astype(int).tolist() == MINUTES.tolist()
    assert ds.attrs["catalog"] == "none: ids and nominal offsets alone, no times and no places"
    assert open_file(alone, catalog=path.parents[3] / "CATALOG.csv")["time"].shape == (2, 49)
    rows = pd.read_csv(path.parents[3] / "CATALOG.csv")
    assert open_file(alone, catalog=rows)["time"].shape == (2, 49)
    with pytest.raises(ValueError, match=f"(?s)rows of .*{NAME} in the catalogue.*none"):
        open_file(alone, catalog=rows[rows.img_type == "vis"])
    part = open_file(alone, catalog=rows[rows.id == "S728504"])
    assert part["time"].isnull().all("time").values.tolist() == [True, False]
    assert part["lat"].isnull().all(["y", "x"]).values.tolist() == [True, False]


def test_drop_variables(path):
    assert not {"lat", "lon"} & set(open_file(path, drop_variables=["lat", "lon"]).coords)


# --- what is refused


def damaged(path):
    path.write_bytes(b"not HDF5")


def cut_short(path):
    path.write_bytes(path.read_bytes()[:EVENT])


def change(edit):
    def changed(path):
        with h5py.File(path, "r+") as file:
            edit(file)

    return changed


def replace(name, values):
    def edit(file):
        del file[name]
        if values is not None:
            file[name] = values

    return change(edit)


BAD = {
    "no HDF5": (damaged, OSError, "a whole HDF5 file"),
    "cut short": (cut_short, OSError, "a whole HDF5 file.*truncated"),
    "no vil": (replace("vil", None), ValueError, "a dataset vil.*found the datasets 'id'"),
    "no id": (replace("id", None), ValueError, r"a dataset id \(1,\).*found only vil"),
    "other ids": (replace("id", np.array(["a", "b"], "S")), ValueError, r"id \(1,\).*shape \(2,\)"),
    "shape": (replace("vil", np.zeros((1, 8, 8, 49), "u1")), ValueError, r"found \(1, 8, 8, 49\)"),
    "dtype": (
        lambda path: replace("vil", h5py.Empty("f4"))(path),
        ValueError,
        r"384, 384, 49\), uint8",
    ),
    "another event": (
        replace("id", np.array(["S1"], "S")),
        ValueError,
        "event S728503 at place 0, as its row of the catalogue says.*found S1",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_file_is_named(bad, tmp_path):
    path = make(tmp_path, EVENTS[:1]) / "data/vil/2018" / NAME
    spoil, error, words = BAD[bad]
    spoil(path)
    with pytest.raises(error, match=f"(?s){words}") as told:
        open_file(path)
    assert str(path) in str(told.value)


def test_more_that_is_refused(root, path, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.h5"):
        open_file(tmp_path / "nowhere.h5")
    with pytest.raises(FileNotFoundError, match="no catalogue .*gone.csv"):
        open_file(path, catalog=tmp_path / "gone.csv")
    (tmp_path / "part.csv").write_text("id,file_name\n")
    with pytest.raises(ValueError, match=r"(?s)SEVIR's columns: .*part.csv.*no file_index"):
        open_file(path, catalog=tmp_path / "part.csv")
    rows = pd.read_csv(root / "CATALOG.csv")
    with pytest.raises(ValueError, match=r"(?s)event S728504 at place 7.*found 2 events"):
        open_file(path, catalog=rows.replace({"file_index": {1: 7}}))
    with pytest.raises(ValueError, match="(?s)minute_offsets of 49 minutes.*found '-120:-115'"):
        open_file(path, catalog=rows.assign(minute_offsets="-120:-115"))
    with pytest.raises(ValueError, match=r"(?s)a spherical \+proj=laea.*found '\+proj=merc"):
        open_file(path, catalog=rows.assign(proj="+proj=merc +ellps=sphere"))
    with pytest.raises(ValueError, match="one map projection"):
        open_file(path, catalog=rows.assign(proj=[PROJ, *["+proj=merc"] * (len(rows) - 1)]))


def test_damaged_flashes(root, tmp_path):
    path = tmp_path / "SEVIR_LGHT_ALLEVENTS_2018_0601_0628.h5"
    with h5py.File(path, "w") as file:
        file["S728504"] = flashes(1)[:, :3]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        ds = open_file(path)
    with pytest.raises(ValueError, match=rf"flashes \(n, 5\) of event S728504: {path}"):
        ds["lght"].load()
    rows = pd.read_csv(root / "CATALOG.csv").query("img_type == 'lght'")
    wrong = rows.assign(file_name=f"lght/2018/{path.name}")
    with pytest.raises(ValueError, match="(?s)event R18032505027684, as its row.*no such dataset"):
        open_file(path, catalog=wrong)
