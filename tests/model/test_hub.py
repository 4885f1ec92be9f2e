"""Where single files of a model are: folders, the hub's cache, and a hub that does not answer."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from raybench.model.hub import ModelFiles, NoSuchFileError
from raybench.records import InputError

COMMIT = "0" * 40


class Hub(http.server.BaseHTTPRequestHandler):
    """A hub of one repository, ``owner/model``, with one file; it counts what it is asked."""

    asked: list[str]

    def do_HEAD(self) -> None:
        self.asked.append(self.path)
        if self.path == "/owner/model/resolve/main/config.json":
            self.send_response(200)
            for key, value in {"ETag": '"e"', "X-Repo-Commit": COMMIT, "Content-Length": "2"}.items():
                self.send_header(key, value)
        else:
            known = self.path.startswith("/owner/model/")
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(b"{}")

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """What the hub was asked; the cache is empty, and nothing is offline."""
    asked: list[str] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("OneHub", (Hub,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    online(monkeypatch, tmp_path, f"http://127.0.0.1:{server.server_port}")
    try:
        yield asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def online(monkeypatch: pytest.MonkeyPatch, cache: Path, endpoint: str) -> None:
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")


def test_a_file_of_a_folder_is_there_whether_or_not_it_is(tmp_path: Path) -> None:
    assert ModelFiles().path(str(tmp_path), "config.json") == tmp_path / "config.json"
    assert ModelFiles().at_hand(str(tmp_path), "config.json") is None


@pytest.mark.parametrize("location", ["/nowhere", "/a/b/c", "./a/b/c", "nowhere", "a\0b", "x" * 5000])
def test_what_is_no_folder_and_no_hub_id_is_refused_unasked(location: str) -> None:
    with pytest.raises(InputError, match=r": no such folder$"):
        ModelFiles().path(location, "config.json")


def test_a_file_of_the_hub_is_fetched_once_and_then_at_hand(hub: list[str]) -> None:
    files = ModelFiles()
    assert files.at_hand("owner/model", "config.json") is None
    assert hub == []
    path = files.path("owner/model", "config.json")
    assert path.read_bytes() == b"{}"
    asked = len(hub)
    assert files.path("owner/model", "config.json") == path == files.at_hand("owner/model", "config.json")
    assert len(hub) == asked


def test_what_the_hub_has_not_is_told_apart(hub: list[str]) -> None:
    with pytest.raises(NoSuchFileError, match=r"owner/model: the hub's repository has no adapter_config\.json"):
        ModelFiles().path("owner/model", "adapter_config.json")
    with pytest.raises(InputError, match="as a hub id: the hub has no such repository, or not for you"):
        ModelFiles().path("adapters/mine", "adapter_config.json")


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    online(monkeypatch, tmp_path, "http://127.0.0.1:9")
    tried: list[str] = []
    whole = huggingface_hub.get_hf_file_metadata

    def counted(url: str, **options: object) -> object:
        tried.append(url)
        return whole(url, **options)

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", counted)
    files = ModelFiles()
    for location in ("a/b", "c/d", "e/f"):
        with pytest.raises(InputError, match="as a hub id: the hub cannot be reached: "):
            files.path(location, "config.json")
    assert len(tried) == 1
