"""A bucket's prefix against a real S3 server: conditional writes, failures, and what a person is told of them."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import http.server
import json
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from obstore.store import GCSStore

from raybench.records import InputError
from raybench.store.location import ObjectUri, parse_location
from raybench.store.object_client import ChangedError, ObjectClient, check_writable
from raybench.store.storage import StoreError
from store.object_server import HASTY, LATE_S, QUICK, ObjectServer, race


@pytest.fixture
def client(bucket: ObjectUri) -> ObjectClient:
    return ObjectClient(bucket, QUICK)


def outcome(write: Callable[[], object]) -> str:
    try:
        write()
    except ChangedError:
        return "changed"
    return "written"


def test_of_several_that_create_or_update_one_object_one_succeeds(client: ObjectClient) -> None:
    def writers(write: Callable[[bytes], object], what: bytes) -> list[Callable[[], str]]:
        return [functools.partial(outcome, functools.partial(write, b"%b by %d" % (what, i))) for i in range(4)]

    for number in range(10):
        name = f"x{number}"
        create = functools.partial(client.create, name)
        assert sorted(race(writers(create, b"created"))) == ["changed"] * 3 + ["written"]
        found = client.find(name)
        assert found is not None
        update = functools.partial(client.update, name, version=found.version)
        assert sorted(race(writers(update, b"updated"))) == ["changed"] * 3 + ["written"]
        assert client.read(name).startswith(b"updated by ")


def test_an_object_that_is_longer_than_it_can_be_is_not_fetched(client: ObjectClient) -> None:
    client.create("x", b"12345")
    assert client.read("x", 5) == b"12345"
    for read in (client.read, client.find):
        with pytest.raises(StoreError, match=rf"^{re.escape(str(client.root))}/x: 5 bytes, 4 are the most"):
            read("x", 4)


def test_an_object_is_found_with_its_version_and_the_store_tells_the_time(client: ObjectClient) -> None:
    assert client.find("x") is None
    assert not client.exists("x")
    version = client.create("x", b"1")
    found = client.find("x")
    assert found is not None
    assert (found.data, found.version) == (b"1", version)
    assert datetime.timedelta(0) <= client.now() - found.modified_at < datetime.timedelta(seconds=10)
    client.replace("below/y", b"2")
    assert (client.exists("x"), client.names(""), client.folders()) == (True, ["driver.clock", "x"], ["below"])
    assert (client.names("below"), client.names("nowhere")) == (["y"], [])
    client.delete("x")
    client.delete("x")
    assert client.find("x") is None


@pytest.mark.parametrize(
    "fault",
    [
        {"refuse": "500 Internal Server Error"},
        {"refuse": "503 Slow Down:SlowDown", "times": 2},
        {"refuse": "429 Too Many Requests"},
        {"drop": "before"},
        {"drop": "within"},
        {"delay_s": LATE_S},
    ],
    ids=["500", "503 twice", "429", "dropped", "broken off", "slow"],
)
@pytest.mark.parametrize("action", ["create", "update", "read", "replace", "names"])
def test_a_failure_that_passes_is_not_noticed(action: str, fault: dict, client: ObjectClient, s3: ObjectServer) -> None:
    version = client.create("there", b"1")
    if "delay_s" in fault:
        client = ObjectClient(client.root, HASTY)
    injected = s3.inject(**fault)
    actions: dict[str, Callable[[], object]] = {
        "create": lambda: client.create("new", b"2"),
        "update": lambda: client.update("there", b"2", version),
        "read": lambda: client.read("there"),
        "replace": lambda: client.replace("there", b"2"),
        "names": lambda: client.names(""),
    }
    if "delay_s" in fault and action in ("create", "update"):  # served late, after it was sent again, or before
        assert outcome(actions[action]) in ("written", "changed")
    else:
        assert actions[action]() is not outcome
    assert injected.met == injected.times
    if action in ("create", "update", "replace"):
        assert client.read("new" if action == "create" else "there") == b"2"


def test_a_write_whose_answer_was_lost_is_told_from_none(client: ObjectClient, s3: ObjectServer) -> None:
    version = client.create("there", b"1")
    for write, name in (
        (lambda: client.create("new", b"2"), "new"),
        (lambda: client.update("there", b"2", version), "there"),
    ):
        s3.inject(drop="after", method="PUT")
        assert outcome(write) == "changed"  # it is there; who wrote it, the caller can see
        assert client.read(name) == b"2"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            {"refuse": "503 Service Unavailable:SlowDown"},
            "503 Service Unavailable, SlowDown, after 2 retries; try again",
        ),
        ({"refuse": "500 Internal Server Error"}, "500 Internal Server Error, after 2 retries; try again"),
        ({"refuse": "403 Forbidden:AccessDenied"}, "403 Forbidden, AccessDenied; let this user read, write and list"),
        ({"refuse": "401 Unauthorized"}, "401 Unauthorized; let this user read, write and list"),
        ({"refuse": "400 Bad Request:AuthorizationHeaderMalformed"}, "400 .*; set AWS_REGION to the bucket's region"),
        (
            {"refuse": "301 Moved Permanently:PermanentRedirect"},
            "Received redirect.*; set AWS_REGION to the bucket's region",
        ),
        ({"drop": "before"}, "HTTP error: error sending request, after 2 retries; try again"),
        ({"delay_s": LATE_S}, "HTTP error: error sending request.*; try again"),
    ],
    ids=["throttled", "500", "denied", "unknown user", "other region", "redirected", "dropped", "too slow"],
)
def test_a_failure_that_stays_is_one_line_with_a_remedy(
    fault: dict, message: str, client: ObjectClient, s3: ObjectServer
) -> None:
    s3.inject(**fault, times=10**6)
    if "delay_s" in fault:
        client = ObjectClient(client.root, dataclasses.replace(HASTY, retries=1))
    actions: tuple[Callable[[], object], ...] = (lambda: client.create("x", b"1"), lambda: client.names(""))
    for act in actions:
        with pytest.raises(StoreError, match=rf"^{client.root}(/x)?: cannot be (written|listed): {message}") as caught:
            act()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400


def test_without_credentials_an_instance_s_role_is_asked_for(
    bucket: ObjectUri, s3: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreError, match=r"no credentials were found; set AWS_ACCESS_KEY_ID and .* a role"):
        ObjectClient(bucket, QUICK).create("x", b"1")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", s3.endpoint)  # moto answers as an instance's metadata service too
    ObjectClient(bucket, QUICK).create("x", b"1")
    asked = [path for _, path in s3.requests if path.startswith("/latest/")]
    assert asked[0] == "/latest/api/token?"
    assert any("iam/security-credentials/" in path for path in asked)


# ---- whether a place can be written


def refusal(results: ObjectUri) -> str:
    with pytest.raises(InputError) as caught:
        check_writable(results, QUICK)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_missing_bucket_is_named(s3: ObjectServer) -> None:
    results = parse_location("s3://no-such-bucket/x")
    assert isinstance(results, ObjectUri)
    assert refusal(results) == (
        "--results s3://no-such-bucket/x: cannot be written: there is no such bucket; create it, or name another"
    )


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_a_place_that_is_denied_is_refused(method: str, bucket: ObjectUri, s3: ObjectServer) -> None:
    s3.inject(refuse="403 Forbidden:AccessDenied", method=method, times=10**6)
    assert f"--results {bucket}: cannot be " in refusal(bucket)
    assert "403 Forbidden, AccessDenied; let this user read, write and list there" in refusal(bucket)


def test_who_may_not_delete_may_write(bucket: ObjectUri, s3: ObjectServer) -> None:
    s3.inject(refuse="403 Forbidden:AccessDenied", method="POST", times=10**6)
    check_writable(bucket, QUICK)


@pytest.mark.parametrize("header", ["HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH"])
def test_a_store_that_knows_no_conditions_is_refused(header: str, bucket: ObjectUri, s3: ObjectServer) -> None:
    s3.ignored_header = header
    assert "this store writes over what is there although told not to" in refusal(bucket)


# ---- Google Cloud Storage, of which only the requests can be looked at here


class _Google(http.server.BaseHTTPRequestHandler):
    """As much of GCS's XML API as one conditional write needs. It is no proof of how GCS itself behaves."""

    seen: list[tuple[str, str, str | None]]
    generation = 0

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        condition = self.headers["x-goog-if-generation-match"]
        self.seen.append((self.command, self.path, condition))
        if condition is not None and int(condition) != self.server.generation:  # type: ignore[attr-defined]
            self.send_response(412)
            self.send_header("Content-Length", "0")
        else:
            self.server.generation += 7  # type: ignore[attr-defined]
            self.send_response(200)
            self.send_header("ETag", '"e"')
            self.send_header("x-goog-generation", str(self.server.generation))  # type: ignore[attr-defined]
            self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str, str | None]]]:
    seen: list[tuple[str, str, str | None]] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Google", (_Google,), {"seen": seen}))
    server.generation = 0  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    account = tmp_path / "account.json"
    account.write_text(
        json.dumps(
            {"gcs_base_url": f"http://127.0.0.1:{server.server_port}", "disable_oauth": True}
            | {"client_email": "", "private_key": "", "private_key_id": ""}
        )
    )
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(account))

    def over_plain_http(*args: Any, client_options: dict[str, Any], **options: Any) -> GCSStore:
        return GCSStore(*args, client_options={**client_options, "allow_http": True}, **options)

    monkeypatch.setattr("raybench.store.object_client.GCSStore", over_plain_http)
    yield seen
    server.shutdown()
    thread.join()
    server.server_close()


def test_conditions_on_google_s_store_are_generations(google: list[tuple[str, str, str | None]]) -> None:
    client = ObjectClient(ObjectUri("gs", "my-bucket", "runs"), QUICK)
    version = client.create("x", b"1")
    assert outcome(lambda: client.create("x", b"2")) == "changed"
    version = client.update("x", b"3", version)
    assert outcome(lambda: client.update("x", b"4", {"e_tag": '"e"', "version": "7"})) == "changed"
    assert [condition for _, _, condition in google] == ["0", "0", "7", "7"]
    assert {urllib.parse.unquote(path) for _, path, _ in google} == {"/my-bucket/runs/x"}
