"""Hub ids become folders: from the hub's cache, or from a server that speaks the hub's protocol."""

import hashlib
import json
import re
import shutil
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

import pytest

from harness.errors import SourceError
from harness.source.hub import download, find_snapshot, is_hub_id
from harness.source.hub_child import LineBar
from harness.source.obtain import obtain_source
from harness.source.weights import read_shapes
from harness.system.progress import LineProgress
from harness.toolchain.workspace import Workspace

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ENDS = {"acme/secret": (401, "RepoNotFound"), "acme/gated": (403, "GatedRepo")}


class Hub(ThreadingHTTPServer):
    """Serves the files of one folder as the model `acme/widget`, and counts what was fetched."""

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.fetched, self.broken = folder, [], None

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    server: Hub

    def do_HEAD(self):
        self.do_GET(with_body=False)

    def do_GET(self, with_body=True):
        path = urlsplit(self.path).path
        model = "/".join(path.removeprefix("/api/models").strip("/").split("/")[:2])
        if model != "acme/widget":
            status, code = ENDS.get(model, (404, "RepoNotFound"))
            return self.answer(status, b"{}", with_body, {"X-Error-Code": code})
        if path.startswith("/api/") and "/tree/" in path:
            return self.answer(200, json.dumps([self.entry(file) for file in self.files()]).encode(), with_body)
        if path.startswith("/api/"):
            listed = {"id": model, "sha": COMMIT, "siblings": [{"rfilename": file.name} for file in self.files()]}
            return self.answer(200, json.dumps(listed).encode(), with_body)
        return self.serve(self.server.folder / path.rpartition("/")[2], with_body)

    def serve(self, file, with_body):
        content = file.read_bytes()
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        if with_body:
            self.server.fetched.append(file.name)
            if file.name == self.server.broken:
                content = content[: len(content) // 2]
                headers["Content-Length"] = str(file.stat().st_size)
                self.close_connection = True
        self.answer(200, content, with_body, headers)

    def files(self):
        return sorted(self.server.folder.iterdir())

    def entry(self, file):
        oid = hashlib.sha1(file.read_bytes()).hexdigest()
        return {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": oid}

    def answer(self, status, content, with_body, headers=()):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **dict(headers)}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, *given):
        pass


@pytest.fixture
def hub(toy_source, tmp_path, monkeypatch):
    (toy_source / "pytorch_model.bin").write_bytes(b"pickled")
    (toy_source / "README.md").write_text("words")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Hub(toy_source)
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def untouchable():
    raise AssertionError("no toolchain is needed")


def test_a_model_is_downloaded_once_and_without_what_is_not_wanted(hub, tmp_path):
    told = []
    source = obtain_source(
        "acme/widget", Workspace(cache=tmp_path / "cache", toolchain=untouchable, progress=LineProgress(told.append))
    )
    assert source.spec == "acme/widget"
    assert told[0] == "downloading acme/widget"
    assert "model.safetensors" in hub.fetched
    assert not {"pytorch_model.bin", "README.md"} & set(hub.fetched)
    hub.shutdown()
    hub.server_close()
    assert obtain_source("acme/widget", Workspace(cache=tmp_path / "cache", toolchain=untouchable)) == source


def test_the_rest_of_a_copy_that_has_only_settings_is_fetched(hub, tmp_path):
    download("acme/widget", Workspace(cache=tmp_path, toolchain=untouchable))
    snapshot = find_snapshot("acme/widget")
    (snapshot / "model.safetensors").unlink()
    shutil.rmtree(tmp_path / "hub" / "models--acme--widget" / "blobs")
    assert find_snapshot("acme/widget") is None
    download("acme/widget", Workspace(cache=tmp_path, toolchain=untouchable))
    assert find_snapshot("acme/widget") == snapshot


def test_a_shard_that_is_missing_is_fetched_and_what_is_not_needed_is_not(hub, toy_source, tmp_path):
    content = (toy_source / "model.safetensors").read_bytes()
    names = read_shapes(toy_source / "model.safetensors")
    (toy_source / "model.safetensors").rename(toy_source / "model-00001-of-00001.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "model-00001-of-00001.safetensors")}
    (toy_source / "model.safetensors.index.json").write_text(json.dumps(index))
    (toy_source / "notes.json").write_text("{}")
    snapshot = download("acme/widget", Workspace(cache=tmp_path, toolchain=untouchable))
    (snapshot / "notes.json").unlink()
    assert find_snapshot("acme/widget") == snapshot
    (snapshot / "model-00001-of-00001.safetensors").unlink()
    assert find_snapshot("acme/widget") is None
    download("acme/widget", Workspace(cache=tmp_path, toolchain=untouchable))
    assert (find_snapshot("acme/widget") / "model-00001-of-00001.safetensors").read_bytes() == content


def left_by_another_program(snapshot):
    """What `from_pretrained` fetches: not every setting, and no list of what there is."""
    shutil.rmtree(snapshot.parent.parent / "trees")
    (snapshot / "chat_template.jinja").unlink()


def test_what_another_program_fetched_is_completed(hub, tmp_path):
    snapshot = download("acme/widget", Workspace(cache=tmp_path, toolchain=untouchable))
    left_by_another_program(snapshot)
    assert find_snapshot("acme/widget") is None
    obtain_source("acme/widget", Workspace(cache=tmp_path / "cache", toolchain=untouchable))
    assert (snapshot / "chat_template.jinja").is_file()


def test_what_another_program_fetched_is_taken_as_it_is_where_there_is_no_hub(hub, tmp_path):
    snapshot = download("acme/widget", Workspace(cache=tmp_path, toolchain=untouchable))
    shutil.rmtree(snapshot.parent.parent / "trees")
    hub.shutdown()
    hub.server_close()
    source = obtain_source("acme/widget", Workspace(cache=tmp_path / "cache", toolchain=untouchable))
    assert source.path == snapshot
    left_by = snapshot / "chat_template.jinja"
    left_by.unlink()
    with pytest.raises(SourceError, match="no chat template"):
        obtain_source("acme/widget", Workspace(cache=tmp_path / "cache", toolchain=untouchable))


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("acme/wigdet", "no model of this name"),
        ("acme/secret", "no model of this name"),
        ("acme/gated", "licence must be accepted"),
    ],
)
def test_what_the_hub_does_not_give_is_told_with_the_way_out(hub, tmp_path, model, told):
    with pytest.raises(SourceError, match=told) as caught:
        obtain_source(model, Workspace(cache=tmp_path / "cache", toolchain=untouchable))
    assert caught.value.where == model
    assert "give the folder" in caught.value.next_step


def test_a_hub_that_cannot_be_reached_is_told(hub, tmp_path):
    hub.shutdown()
    hub.server_close()
    with pytest.raises(SourceError, match="cannot be reached from here"):
        download("acme/widget", Workspace(cache=tmp_path, toolchain=untouchable))


@pytest.mark.process
def test_a_download_that_breaks_off_leaves_no_model(hub, tmp_path):
    hub.broken = "model.safetensors"
    with pytest.raises(SourceError, match="hub id cannot be used"):
        download("acme/widget", Workspace(cache=tmp_path, toolchain=untouchable))
    assert find_snapshot("acme/widget") is None


def test_offline_by_the_users_word_nothing_is_asked(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SourceError, match="cannot be reached from here"):
        download("acme/widget", Workspace(cache=tmp_path, toolchain=untouchable))
    assert not hub.fetched


@pytest.mark.parametrize(
    ("spec", "is_one"),
    [("acme/widget", True), ("acme/widget-0.5B_it", True), ("widget", False), ("a/b/c", False), ("./a", False)],
)
def test_the_shape_of_hub_ids(spec, is_one):
    assert is_hub_id(spec) is is_one


@pytest.mark.parametrize("spec", ["acme/wid--get", "acme/widget.git"])
def test_what_the_hub_does_not_take_as_an_id_is_told(spec):
    with pytest.raises(SourceError, match="this is not a valid hub id"):
        find_snapshot(spec)


def test_a_download_tells_how_far_it_is(capsys):
    bar = LineBar(total=4096, unit="B", desc="weights")
    bar.update(1024)
    bar.display()
    assert re.search(r"@progress downloading: 1\.0 KiB of 4\.0 KiB, about \d+ s left\n", capsys.readouterr().out)
    files = LineBar(total=3, unit="it")
    files.update(1)
    files.display()
    assert capsys.readouterr().out == ""
