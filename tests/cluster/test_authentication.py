"""A cluster that wants a token says so in one line to who sends none, by the GCS of a real head."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from processes import free_port
from ray_heads import head_folder, ray_head
from raybench import cli
from raybench.cluster.authentication import check_token
from raybench.records import InputError

TOKEN = secrets.token_hex(16)
REMEDY = (
    "copy the head's ~/.ray/auth_token (mode 600) to this machine, or name it by RAY_AUTH_TOKEN_PATH, and set "
    "RAY_AUTH_MODE=token"
)


@pytest.fixture(scope="module")
def of_tokens() -> Iterator[str]:
    """Where the GCS of a head with a token answers; the rest of it may not be up yet."""
    address = f"127.0.0.1:{free_port()}"
    options = ["--num-cpus=1", f"--port={address.rpartition(':')[2]}", "--include-dashboard=false"]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    with head_folder() as folder, ray_head(folder, options, token, lambda: _refuses(address)):
        yield address


def _refuses(address: str) -> bool:
    try:
        check_token(address, {})
    except InputError:
        return True
    return False


def test_what_is_sent_is_what_ray_would_send(of_tokens: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    wants = f"Ray cluster at {of_tokens} wants a token, and"
    (tmp_path / "other").write_text("x" * 32)
    for environment, why in (
        ({}, "RAY_AUTH_MODE is not set here"),
        ({"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": TOKEN}, "RAY_AUTH_MODE is disabled here"),
        ({"RAY_AUTH_MODE": "token"}, "there is none here"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "other")}, "refuses the one that is here"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "x" * 32}, "refuses the one that is here"),
    ):
        with pytest.raises(InputError) as caught:
            check_token(of_tokens, environment)
        assert str(caught.value) == f"{wants} {why}: {REMEDY}"
    check_token(of_tokens, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN})
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text(f"{TOKEN}\n")
    check_token(of_tokens, {"RAY_AUTH_MODE": "token"})


def test_the_doctor_says_it_in_one_line(
    of_tokens: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    assert cli.main(["doctor", "--address", of_tokens]) == 2
    line = f"raybench: Ray cluster at {of_tokens} wants a token, and RAY_AUTH_MODE is not set here: {REMEDY}\n"
    assert capfd.readouterr() == ("", line)


def test_what_is_no_cluster_is_left_to_ray() -> None:
    check_token(f"127.0.0.1:{free_port()}", {})


def test_what_asks_for_no_token_takes_anyone() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(1))  # it knows no method: its answer is another refusal
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        check_token(f"127.0.0.1:{port}", {})
    finally:
        server.stop(None).wait()
