"""Catalogues: what is made opens anywhere, what is published opens where it lies, or says where.

No published address is contacted: stand-ins lie in folders and on servers of this machine.
"""

import functools
import http.server
import re
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.cli import main
from xearthformer.datasets.catalog import FILES, FOLDER, PACKS, CatalogReader
from xearthformer.packs.pack import SHIPPED

intake = pytest.importorskip("intake")

MADE = {"synthetic_sst", "synthetic_storms", "nbody"}
ARCHIVES = {"sevir_lr", "icar_enso", "icar_enso_soda"}
SEVIR = [name for name in xef.open_catalog("sevir") if name not in MADE]


# --- stand-ins


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, parts of them on demand."""

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not (asked and path.is_file()):
            return super().do_GET()
        data = path.read_bytes()
        first, last = int(asked[1]), min(int(asked[2]), len(data) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        self.wfile.write(data[first : last + 1])

    def log_message(self, *words):
        pass


@pytest.fixture
def served(tmp_path) -> Iterator[str]:
    """The address of tmp_path on a server."""
    handler = functools.partial(Ranges, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def closed() -> str:
    """An address where nobody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def bucket(monkeypatch) -> Iterator[str]:
    """The address of an S3 server of this machine, which stands for Amazon's."""
    s3fs = pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    s3fs.S3FileSystem.clear_instance_cache()
    yield address
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def mute() -> Iterator[str]:
    """An address that takes calls and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def psl(name: str, start: str) -> xr.Dataset:
    """A file of NOAA's PSL in small: latitude from the north."""
    ds = xr.Dataset(
        {"sst": (("time", "lat", "lon"), np.arange(24, dtype="f4").reshape(4, 2, 3))},
        {
            "time": pd.date_range(start, periods=4, freq="MS"),
            "lat": ("lat", np.array([10.0, -10.0], "f4"), {"units": "degrees_north"}),
            "lon": ("lon", np.array([0.0, 120.0, 240.0], "f4"), {"units": "degrees_east"}),
        },
    )
    ds["sst"].attrs = {"units": "degC", "long_name": f"Monthly Means of {name}"}
    return ds


@pytest.fixture
def sst_files(tmp_path) -> dict[str, xr.Dataset]:
    """ERSST, OISST and a CMIP6 store, each at its place under tmp_path."""
    tos = psl("tos", "1850-01").rename(sst="tos", lat="j", lon="i").drop_vars(["j", "i"])
    made = {
        "ersst_v5": psl("Sea Surface Temperature", "1854-01"),
        "oisst": psl("OISST", "1981-09"),
        "cmip6_tos": tos,
    }
    catalog = xef.open_catalog("enso")
    for name, ds in made.items():
        path = tmp_path / catalog.entries[name].kwargs["file"]
        if name == "cmip6_tos":
            ds.to_zarr(path, zarr_format=2, consolidated=True)
        else:
            ds.to_netcdf(path)
    return made


SENSORS = {
    "vil": ("u1", 384),
    "ir069": ("i2", 192),
    "ir107": ("i2", 192),
    "vis": ("i2", 768),
    "lght": ("f4", 48),
}


def write_sevir(root: Path, low: bool = False) -> None:
    """SEVIR's tree with an event a file: every sensor and year that there is, or SEVIR-LR's vil."""
    h5py = pytest.importorskip("h5py")

    rows = []
    for sensor, (dtype, size) in SENSORS.items():
        for year in (2017, 2018, 2019):
            if sensor != "vil" and (year == 2017 or low):
                continue
            kind = "ALL" if sensor == "lght" else "STORM"
            name = f"{sensor}/{year}/SEVIR_{sensor.upper()}_{kind}EVENTS_{year}_0101_0630.h5"
            path = root / "data" / name
            path.parent.mkdir(parents=True)
            event = f"S{year}00"
            with h5py.File(path, "w") as file:  # pixels that nobody writes take no space
                if sensor == "lght":
                    file[event] = np.array([[0, 38.0, -98.0, 24, 24]], dtype)
                elif low:
                    file.create_dataset("vil", (1, 128, 128, 25), dtype)
                else:
                    file.create_dataset(sensor, (1, size, size, 49), dtype)
                    file["id"] = np.array([event], "S")
            rows.append(
                {
                    "id": event,
                    "file_name": name,
                    "file_index": 0,
                    "img_type": sensor,
                    "time_utc": f"{year}-03-01 18:00:00",
                    "minute_offsets": ":".join(map(str, range(-120, 121, 5))),
                    "event_type": "Hail",
                    "llcrnrlat": 36.2,
                    "llcrnrlon": -100.1,
                    "proj": "+proj=laea +lat_0=38 +lon_0=-98 +units=m +a=6370997.0 +ellps=sphere ",
                    "size_x": size,
                    "size_y": size,
                    "height_m": 384000.0,
                    "width_m": 384000.0,
                    "pct_missing": 0.0,
                }
            )
    pd.DataFrame(rows).to_csv(root / "CATALOG.csv", index=False)


def write_icar(folder: Path) -> None:
    """ICAR-ENSO's four files in full size; fields that nobody writes take no space."""
    for source, years in (("CMIP", 4645), ("SODA", 100)):
        for kind, names in (("train", ("sst", "t300", "ua", "va")), ("label", ("nino",))):
            with netCDF4.Dataset(folder / f"{source}_{kind}.nc", "w") as file:
                sizes = {"year": years, "month": 36, "lat": 24, "lon": 72}
                dims = list(sizes)[: 4 if kind == "train" else 2]
                for dim in dims:
                    file.createDimension(dim, sizes[dim])
                for name in names:
                    file.createVariable(name, "f4", dims, zlib=True)


# --- the catalogues themselves


def test_intake_opens_the_files_itself():
    assert set(FILES) == {"enso", "nbody", "sevir"}
    for name, path in FILES.items():
        catalog = intake.open_catalog(str(path))
        assert list(catalog) == list(xef.open_catalog(name)) == list(catalog.entries)
    assert len(xef.open_catalog()) == sum(len(xef.open_catalog(name)) for name in FILES) == 21


def test_intake_alone_lists_opens_and_pickles_them():
    """What a user of Intake types, who has installed this package and imports none of it."""
    code = f"""
import pickle, sys
import intake
for name in {[*FILES, PACKS]}:
    catalog = intake.open_catalog("{FOLDER}/" + name + ".yaml")
    names = list(catalog)
    again = pickle.loads(pickle.dumps(catalog))
    assert names and list(again) == names and again.entries.keys() == catalog.entries.keys()
    assert name != "enso" or "xearthformer" not in sys.modules  # listing loads nothing
    readers = [pickle.loads(pickle.dumps(catalog[entry])) for entry in names]
    assert [reader.token for reader in readers] == [catalog[entry].token for entry in names]
    made = {{"enso": "synthetic_sst", "sevir": "synthetic_storms", "packs": "lim"}}
    if name in made:
        read = again[made[name]].read()
        print(made[name], type(read).__name__, getattr(read, "sizes", read))
assert "torch" not in sys.modules
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    sst, storms, lim = out.stdout.splitlines()
    assert sst.startswith("synthetic_sst Dataset") and storms.startswith("synthetic_storms Dataset")
    assert lim.startswith("lim Pack <Pack lim ")


def test_the_catalogue_of_packs_is_that_of_the_packs_that_ship():
    catalog = xef.open_catalog("packs")
    folders = [path.parent for path in SHIPPED.glob("*/card.json")]
    cards = {folder.name: xef.open_pack(folder).card for folder in folders}
    assert list(catalog) == list(catalog.entries) == sorted(cards)
    for name, entry in catalog.entries.items():
        card = cards[name]
        assert entry.metadata == {"title": card.title, "licence": card.licence}
        assert entry.kwargs == {"pack": name}
    assert not set(catalog) & set(xef.open_catalog())  # the data


def test_a_catalogue_of_ones_own_packs(tmp_path):
    """Nothing is opened before it is read, and then as `open_pack` does."""
    lim = xef.open_pack("lim")
    xef.save_pack(tmp_path / "mine", lim.model(), lim.card)
    text = (FOLDER / "packs.yaml").read_text()
    (tmp_path / "packs.yaml").write_text(text.replace("pack: lim", f"pack: {tmp_path}/mine"))
    catalog = intake.open_catalog(str(tmp_path / "packs.yaml"))
    assert catalog["lim"].read() == xef.open_pack(tmp_path / "mine")
    (tmp_path / "mine" / "weights.safetensors").write_bytes(b"")
    reader = catalog["lim"]
    with pytest.raises(xef.PackError, match="can't be read"):
        reader.read()


def test_entries_call_what_ships_and_say_what_they_are():
    from xearthformer.datasets.catalog import OPENERS

    for name, entry in xef.open_catalog().entries.items():
        assert entry.reader == "xearthformer.datasets.catalog:CatalogReader"
        assert entry.kwargs["opener"] in OPENERS
        assert entry.metadata["title"]
        assert ("data_root" in entry.user_parameters) == (name not in MADE)
        assert ("holds" in entry.metadata) == (name not in MADE)


def test_every_sensor_and_year_of_sevir():
    kwargs = {name: entry.kwargs for name, entry in xef.open_catalog("sevir").entries.items()}
    for name in SEVIR:
        if name.count("_") == 2:
            _, sensor, year = name.split("_")
            assert (kwargs[name]["sensors"], kwargs[name]["year"]) == ([sensor], int(year))


@pytest.mark.parametrize("name", ["other", "enso.yaml", "/tmp/enso.yaml", ""])
def test_only_what_ships_is_opened(name):
    words = r"a catalogue that ships: enso, nbody, sevir(.|\n)*intake.open_catalog\(path\)"
    with pytest.raises(ValueError, match=words):
        xef.open_catalog(name)


def test_a_saved_catalogue_still_finds_its_reader():
    from xearthformer.catalogs.source import Source

    assert Source is CatalogReader


def test_torch_stays_unloaded():
    code = (
        "import sys, xearthformer as xef; assert 'intake' not in sys.modules\n"
        "xef.open_catalog()['synthetic_storms'].read(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- what is made


@pytest.mark.parametrize("name", sorted(MADE))
def test_what_is_made_opens(name):
    if name == "nbody":
        pytest.importorskip("sklearn")
    ds = xef.open_catalog()[name].read()
    assert all(da.chunks for da in ds.data_vars.values())
    with pytest.raises(ValueError, match="this is simulated, not read"):
        xef.open_catalog()[name].read(data_root="folder")


def test_arguments_go_to_the_maker():
    ds = xef.open_catalog("sevir")["synthetic_storms"].read(seed=4, events=2, size=16, frames=3)
    expected = xef.synthetic_storms(4, 2, size=16, frames=3)
    xr.testing.assert_identical(ds.compute(), expected.compute())


# --- what is published


@pytest.mark.parametrize("name", ["ersst_v5", "oisst", "cmip6_tos"])
@pytest.mark.parametrize("where", ["folder", "server"])
def test_sst_opens(sst_files, tmp_path, served, name, where):
    if where == "server":
        pytest.importorskip("h5netcdf")
    place = tmp_path if where == "folder" else served
    ds = xef.open_catalog("enso")[name].read(data_root=place)
    assert all(da.chunks for da in ds.data_vars.values())
    xr.testing.assert_equal(ds.load(), sst_files[name])


def test_data_root_by_each_of_intakes_doors(sst_files, tmp_path):
    catalog = intake.open_catalog(str(FILES["enso"]))
    for ds in (
        catalog["ersst_v5"].read(data_root=str(tmp_path)),
        catalog["ersst_v5"](data_root=str(tmp_path)).read(),
        catalog(data_root=str(tmp_path))["ersst_v5"].read(),
        catalog(data_root=str(tmp_path)).ersst_v5.read(),
    ):
        xr.testing.assert_equal(ds.load(), sst_files["ersst_v5"])


def test_a_bucket_opens_at_the_address_it_is_published_at(sst_files, tmp_path, bucket):
    import s3fs

    public = {"ACL": "public-read"}
    owner = s3fs.S3FileSystem(
        key="key", secret="secret", endpoint_url=bucket, s3_additional_kwargs=public
    )
    owner.mkdir("cmip6-pds", acl="public-read")
    store = xef.open_catalog("enso").entries["cmip6_tos"].kwargs["file"]
    owner.put(str(tmp_path / store), f"cmip6-pds/CMIP6/CMIP/{store}", recursive=True)
    ds = xef.open_catalog("enso")["cmip6_tos"].read()
    assert ds["tos"].chunks
    xr.testing.assert_equal(ds.load(), sst_files["cmip6_tos"])


def test_another_store_of_cmip6(sst_files, tmp_path):
    sst_files["cmip6_tos"].isel(time=[0]).to_zarr(tmp_path / "other", zarr_format=2)
    ds = xef.open_catalog("enso")["cmip6_tos"].read(data_root=tmp_path, file="other")
    assert ds.sizes["time"] == 1


@pytest.mark.parametrize("name", SEVIR)
def test_sevir_opens(tmp_path, name):
    pytest.importorskip("xearthformer.datasets.sevir.backend")
    write_sevir(tmp_path, low=name == "sevir_lr")
    ds = xef.open_catalog("sevir")[name].read(data_root=tmp_path)
    if name.count("_") == 2:
        _, sensor, year = name.split("_")
        assert list(ds.data_vars) == [sensor]
        assert ds["event"].values.tolist() == [f"S{year}00"]
        assert ds.sizes["x"] == SENSORS[sensor][1]
        assert ds.attrs["catalog"] == f"{tmp_path}/CATALOG.csv"
    else:
        assert ds.sizes["event"] == 3
    assert all(da.chunks for da in ds.data_vars.values())


def test_a_year_that_a_copy_has_nothing_of(tmp_path):
    write_sevir(tmp_path)
    rows = pd.read_csv(tmp_path / "CATALOG.csv")
    rows[rows["file_name"].str.contains("/2018/")].to_csv(tmp_path / "CATALOG.csv", index=False)
    with pytest.raises(ValueError, match="events of 2019: .*CATALOG.csv"):
        xef.open_catalog("sevir")["sevir_vil_2019"].read(data_root=tmp_path)


def test_arguments_go_to_open_sevir(tmp_path):
    pytest.importorskip("xearthformer.datasets.sevir.backend")
    write_sevir(tmp_path)
    ds = xef.open_catalog("sevir")["sevir"].read(
        data_root=tmp_path, sensors=("ir069", "lght"), split="train"
    )
    assert list(ds.data_vars) == ["ir069", "lght"] and ds["event"].values.tolist() == ["S201800"]


@pytest.mark.parametrize(("name", "models"), [("icar_enso", 32), ("icar_enso_soda", 1)])
def test_icar_enso_opens(tmp_path, name, models):
    pytest.importorskip("xearthformer.datasets.icar_enso")
    write_icar(tmp_path)
    ds = xef.open_catalog("enso")[name].read(data_root=tmp_path)
    assert ds["sst"].dims == ("model", "time", "lat", "lon") and ds["sst"].chunks
    assert ds.sizes["model"] == models


# --- what can't be reached


@pytest.mark.parametrize("name", [n for n in xef.open_catalog() if n not in MADE])
def test_what_cannot_be_reached_says_where_and_what_to_do(closed, tmp_path, name):
    if name.startswith("sevir"):
        pytest.importorskip("xearthformer.datasets.sevir.backend")
    if name.startswith("icar"):
        pytest.importorskip("xearthformer.datasets.icar_enso")
    entry = xef.open_catalog()[name]
    for place in (closed, str(tmp_path / "nowhere")):
        with pytest.raises(OSError, match=re.escape(place)) as caught:
            entry.read(data_root=place)
        told = str(caught.value)
        assert f'data_root="FOLDER", the folder that holds {entry.metadata["holds"]}' in told
        assert "During handling" not in "".join(traceback.format_exception(caught.value))
        assert len(told.splitlines()) == 2


def test_a_bucket_that_cannot_be_reached(closed, monkeypatch):
    pytest.importorskip("s3fs").S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", closed)
    began = time.perf_counter()
    with pytest.raises(OSError, match=r"s3://cmip6-pds/CMIP6/CMIP isn't read: EndpointConnection"):
        xef.open_catalog("enso")["cmip6_tos"].read()
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize("name", sorted(ARCHIVES))
def test_archives_are_to_be_unpacked(name):
    with pytest.raises(OSError, match=r"https://deep-earth\S+\.zip isn't read: an archive.*unpack"):
        xef.open_catalog()[name].read()


def test_what_is_wrong_with_a_file_is_not_taken_for_the_network(tmp_path):
    (tmp_path / "sst.mnmean.nc").write_text("no NetCDF")
    with pytest.raises((ValueError, OSError)) as caught:
        xef.open_catalog("enso")["ersst_v5"].read(data_root=tmp_path)
    assert "Connect" not in str(caught.value)


# --- the command


def catalog(*words):
    return main(["catalog", *map(str, words)])


def test_list(capsys):
    assert catalog("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(xef.open_catalog())
    assert catalog("list", "--only", "nbody") == 0
    assert capsys.readouterr().out.startswith("nbody  N-body MNIST")


def test_show(capsys):
    assert catalog("show", "ersst_v5") == 0
    shown = capsys.readouterr().out
    for words in ("sst.mnmean.nc", "https://psl.noaa.gov/thredds/fileServer", "public domain"):
        assert words in shown
    assert catalog("show", "synthetic_sst") == 0
    assert "address" not in capsys.readouterr().out
    assert catalog("show", "erst") == 2
    assert "no entry 'erst': one of ersst_v5, " in capsys.readouterr().err
    assert catalog("list", "--only", "erst") == 2


def test_check_without_a_network(closed, capsys):
    began = time.perf_counter()
    assert catalog("check", "--data_root", closed) == 1
    assert time.perf_counter() - began < 20
    out, err = capsys.readouterr()
    *rows, count, _ = out.splitlines()
    answers = dict(row.split(maxsplit=1) for row in rows)
    assert set(answers) == set(xef.open_catalog())
    assert {name for name, answer in answers.items() if answer == "opens"} == MADE
    assert all(closed in answer for name, answer in answers.items() if name not in MADE)
    assert count == "3 of 21 open" and "Traceback" not in out + err


def test_check_of_own_files(sst_files, tmp_path, capsys):
    assert catalog("check", "--only", "enso", "--data_root", tmp_path) == 1
    rows = capsys.readouterr().out
    for name in ("ersst_v5", "oisst", "cmip6_tos", "synthetic_sst"):
        assert re.search(rf"^{name} +opens$", rows, re.MULTILINE)
    assert catalog("check", "--only", "nbody") == 0
    assert "1 of 1 open" in capsys.readouterr().out


def test_check_of_packs(capsys):
    assert main(["catalog", "check", "--only", "packs"]) == 0
    assert "7 of 7 open" in capsys.readouterr().out


def test_check_waits_no_longer_than_it_should(mute, capsys):
    began = time.perf_counter()
    assert catalog("check", "--only", "enso", "--data_root", mute, "--timeout", "1") == 1
    assert time.perf_counter() - began < 5
    out = capsys.readouterr().out
    assert f"ersst_v5        {mute} doesn't answer within 1 s" in out
    assert "synthetic_sst   opens" in out


def test_check_ends_though_a_server_does_not_answer(mute):
    words = ["catalog", "check", "--only", "enso", "--data_root", mute, "--timeout", "1"]
    code = f"from xearthformer.cli import main; raise SystemExit(main({words}))"
    assert subprocess.run([sys.executable, "-c", code], timeout=30).returncode == 1


def test_check_loads_what_the_openers_share_before_its_threads_start(sst_files, tmp_path):
    words = ["catalog", "check", "--only", "enso", "--data_root", str(tmp_path)]
    code = f"""
import sys, threading
start = threading.Thread.start
def start_late(thread):
    missing = {{"dask.array", "netCDF4", "zarr", "h5py"}} - set(sys.modules)
    sys.stdout.write(f"started before {{missing or 'nothing'}}\\n")  # at once
    start(thread)
threading.Thread.start = start_late
from xearthformer.cli import main
main({words})
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    starts = {line for line in out.splitlines() if line.startswith("started before")}
    assert starts == {"started before nothing"}
    assert re.search("^ersst_v5 +opens$", out, re.MULTILINE)
