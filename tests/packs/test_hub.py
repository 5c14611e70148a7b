"""Packs on the Hugging Face Hub: the page made from a card, the way there and back.

The Hub is a stand-in on this machine that speaks to the real `huggingface_hub`.
"""

import base64
import hashlib
import http.server
import json
import re
import threading

import pytest
import yaml
from huggingface_hub import ModelCard, constants, file_download

import xearthformer as xef
from xearthformer.errors import PackError
from xearthformer.packs.pack import SHIPPED
from xearthformer.packs.readme import plain, readme


class Hub(http.server.BaseHTTPRequestHandler):
    """Repositories of models in memory: each commit is a dict of files, by its hash."""

    commits: dict[str, dict[str, bytes]]
    asked: list[str]

    def log_message(self, *words):
        pass

    def answer(self, body=b"", status=200, **headers):
        if not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self):
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        host = f"http://{self.headers['Host']}/owner/tiny"
        self.asked.append(self.path)
        if self.headers["Authorization"] != "Bearer hf_write":
            self.answer({"error": "no"}, 401)
        elif self.path == "/api/repos/create":
            self.commits.setdefault("main", {})
            self.answer({"url": host, **json.loads(sent)})
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif self.path == "/api/models/owner/tiny/preupload/main":
            names = [file["path"] for file in json.loads(sent)["files"]]
            modes = [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]
            self.answer({"files": modes})
        else:
            assert self.path == "/api/models/owner/tiny/commit/main"
            lines = [json.loads(line) for line in sent.splitlines()]
            files = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            oid = hashlib.sha1(sent).hexdigest()
            self.commits |= {oid: files, "main": files}
            self.answer({"success": True, "commitUrl": f"{host}/commit/{oid}", "commitOid": oid})

    def do_GET(self):
        self.asked.append(self.path)
        found = re.fullmatch(r"/api/models/owner/tiny/revision/(\w+)(\?.*)?", self.path)
        if found and found[1] in self.commits:
            files = self.commits[found[1]]
            oid = next(key for key, value in self.commits.items() if value is files)
            names = [{"rfilename": name} for name in files]
            return self.answer({"id": "owner/tiny", "sha": oid, "siblings": names})
        found = re.match(r"/api/models/owner/tiny/tree/(\w+)", self.path)
        if found and found[1] in self.commits:
            files = self.commits[found[1]].items()
            tree = [{"type": "file", "path": n, "size": len(b), "oid": "0" * 40} for n, b in files]
            return self.answer(tree)
        found = re.fullmatch(r"/owner/tiny/resolve/(\w+)/(.+)", self.path)
        if not (found and found[1] in self.commits):
            return self.answer(b"", 404, X_Error_Code="RevisionNotFound")
        body = self.commits[found[1]][found[2]]
        etag = hashlib.sha1(body).hexdigest()
        return self.answer(body, ETag=f'"{etag}"', X_Repo_Commit=found[1])

    do_HEAD = do_GET


@pytest.fixture
def hub(monkeypatch, tmp_path):
    handler = type("OneHub", (Hub,), {"commits": {}, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    for place in (constants, file_download):  # earlier versions have a copy
        monkeypatch.setattr(place, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_write")
    yield handler
    server.shutdown()
    server.server_close()


# --- there and back


@pytest.mark.parametrize("form", ["folder", "file"])
def test_a_pack_is_pushed_and_opened_again(hub, tiny_pack, tmp_path, form):
    pack = tiny_pack
    if form == "file":
        pack = xef.save_pack(tmp_path / "one.safetensors", tiny_pack.model(), tiny_pack.card)
    address = xef.push_pack(pack, "owner/tiny")
    assert re.fullmatch(r"hf://owner/tiny@[0-9a-f]{40}", address)
    files = hub.commits["main"]
    assert set(files) == {"README.md", "card.json", "weights.safetensors"}
    assert files["card.json"] == (tiny_pack.path / "card.json").read_bytes()
    for name in (address, "hf://owner/tiny"):
        again = xef.open_pack(name)
        assert again.card == tiny_pack.card and again.path != tiny_pack.path
    assert 'xef.open_pack("hf://owner/tiny")' in files["README.md"].decode()


def test_a_pinned_revision_stays_what_it_was(hub, tiny_pack, tmp_path):
    first = xef.push_pack(tiny_pack, "owner/tiny")
    other = tiny_pack.card.model_copy(update={"version": "2"})
    second = xef.push_pack(xef.save_pack(tmp_path / "2", tiny_pack.model(), other), "owner/tiny")
    versions = [xef.open_pack(name).card.version for name in (first, second, "hf://owner/tiny")]
    assert first != second and versions == ["1", "2", "2"]


def test_weights_that_were_exchanged_on_the_hub_are_refused(hub, tiny_pack):
    address = xef.push_pack(tiny_pack, "owner/tiny")
    weights = bytearray(hub.commits["main"]["weights.safetensors"])
    weights[-1] ^= 1
    hub.commits["main"]["weights.safetensors"] = bytes(weights)
    with pytest.raises(PackError, match="the card expects weights with hash"):
        xef.open_pack(address)


def test_what_the_hub_refuses(hub, tiny_pack, monkeypatch):
    with pytest.raises(PackError, match="'tiny' can't be pushed to a name: HFValidationError"):
        xef.push_pack(tiny_pack, "a name")
    with pytest.raises(PackError, match="hf://owner/tiny@v9 can't be fetched: RevisionNotFound"):
        xef.open_pack("hf://owner/tiny@v9")
    monkeypatch.setenv("HF_TOKEN", "hf_read")
    with pytest.raises(PackError, match="(?s)can't be pushed to owner/tiny: .*hf auth login"):
        xef.push_pack(tiny_pack, "owner/tiny")


def test_a_damaged_pack_is_not_pushed(hub, tiny_pack):
    (tiny_pack.path / "weights.safetensors").write_bytes(b"")
    with pytest.raises(PackError, match="can't be read"):
        xef.push_pack(tiny_pack, "owner/tiny")
    assert hub.asked == []


# --- the page


def test_a_folder_has_its_page_and_one_of_your_own_stays(hub, tiny_pack):
    page = tiny_pack.path / "README.md"
    assert page.read_text() == readme(tiny_pack.card)
    page.write_text("my own")
    model = tiny_pack.model()
    xef.save_pack(tiny_pack.path, model, tiny_pack.card)
    assert page.read_text() == "my own"
    xef.push_pack(tiny_pack, "owner/tiny")
    assert hub.commits["main"]["README.md"] == b"my own"
    xef.save_pack(tiny_pack.path, model, tiny_pack.card, overwrite=True)
    assert page.read_text() == readme(tiny_pack.card)


def test_what_a_page_says():
    card = xef.open_pack("enso-ocean").card
    page = readme(card)
    front, body = ModelCard(page).data, ModelCard(page).text
    assert (front.license, front.library_name) == ("apache-2.0", "xearthformer")
    assert front.pipeline_tag == "time-series-forecasting"
    assert {"seasonal-lim", "sea_surface_temperature"} <= set(front.tags)
    scores = {result.metric_type: result.metric_value for result in front.eval_results}
    assert scores == card.scores and front.model_name == "enso-ocean"
    for words in (
        'pack = xef.open_pack("hf://owner/name")\nfc = ds.earthformer.forecast(pack)',
        "| zos | sea\\_surface\\_height\\_above\\_geoid, anomaly | m | -3 to 3 | land |",
        "It reads 12 steps and forecasts 14 in one pass.",
        "31 x 180 cells, latitude -30 to 30 by 2, longitude 0 to 358 by 2 degrees",
        "Anomalies against the climatology of 1980 to 2009.",
        "- Period: 1920-01/2009-12",
        "| nino34\\_correlation\\_lead\\_1 | 0.938 |",
        card.weights_sha256,
    ):
        assert words in body


@pytest.mark.parametrize("folder", sorted(SHIPPED.glob("*/")), ids=lambda folder: folder.name)
def test_every_pack_has_a_page_that_the_hub_reads(folder):
    card = xef.open_pack(folder).card
    front = ModelCard(readme(card)).data
    assert front.license == "apache-2.0"
    assert len(front.eval_results or []) == len(card.scores)


def test_a_licence_that_the_hub_has_no_name_for(tiny_pack):
    card = tiny_pack.card.model_copy(update={"licence": "OGL: my own"})
    assert ModelCard(readme(card)).data.license == "other"
    assert "Licence of the weights: OGL: my own." in readme(card)


EVIL = "</td><script>x</script> [a](javascript:x) ![b](http://x) | `c` $d$ # e\\"
BREAK = "\n---\nlicense: evil\n# head\n<img src=x>\n- 1\n```\n"


def test_a_cards_texts_stay_texts(tiny_pack):
    """Neither YAML, nor Markdown, nor HTML: every character that could begin one is escaped."""
    fields = tiny_pack.card.model_dump() | {
        "title": f"- {EVIL}",
        "version": "1. `b`",
        "licence": f"mit: {EVIL}",
        "scores": {EVIL: 1.0, "license: evil": 2.0, "'\"": 3.0},
        "references": ["# no head", "1. no list", "- no list", "+ no list", EVIL],
        "training": {"data": BREAK, "validation": BREAK, "events": [EVIL], "licence": BREAK},
        "inputs": {EVIL: tiny_pack.card.input.model_dump() | {"standard_name": EVIL}},
        "outputs": [EVIL],
    }
    card = xef.packs.card.Card.model_validate(fields)
    page = readme(card)
    front, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", page, re.DOTALL).groups()
    data = yaml.safe_load(front)
    assert data["license"] == "other" and EVIL in data["tags"]
    (result,) = data["model-index"][0]["results"]
    assert {one["type"]: one["value"] for one in result["metrics"]} == fields["scores"]
    code = re.search(r"\n```python\n.*?\n```\n", body, re.DOTALL)[0]
    rest = re.sub(r"\\.", "", body.replace(code, ""))  # without what is escaped
    assert not set("<>[]`$&*_~\\") & set(rest)
    heads = ["## What goes in, and what comes out", "## What it was made from"]
    lines = [line for line in rest.splitlines() if line.startswith("#")]
    assert [line for line in lines if line.startswith("##")] == heads + [
        "## Scores",
        "## References",
    ]
    assert len(lines) == 5 and "evil" not in "".join(lines)
    assert {line.count("|") for line in rest.splitlines()} <= {0, 3, 6}  # tables of 2 and 5 columns
    assert not re.search(r"^- (\d+[.)]|[-+=])", rest, re.MULTILINE)


def test_one_line_that_begins_no_list():
    assert [plain(text) for text in ("a\n b", "1. a", "12) a", "- a", "-3", "1.5", "---")] == [
        "a b",
        "1\\. a",
        "12\\) a",
        "\\- a",
        "-3",
        "1.5",
        "\\---",
    ]
