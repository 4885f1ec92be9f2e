"""`ray job submit` against a head that asks for a token, as a person does it."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.pages import typed_words
from processes import free_port
from ray_heads import head_folder, ray_head
from raybench.analysis.tables import Tables

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def head() -> Iterator[tuple[str, dict[str, str]]]:
    """A Ray head with a token, its own ports and folder; its dashboard's address and the environment to reach it."""
    dashboard = free_port()
    address = f"http://127.0.0.1:{dashboard}"
    options = ["--num-cpus=2", f"--port={free_port()}", f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.1"]
    with head_folder() as folder:
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        given = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        environment = {**os.environ, **given}
        environment.pop("RAY_ADDRESS", None)
        with ray_head(folder, options, given, lambda: _status(f"{address}/api/version", token.read_text()) == 200):
            yield address, environment


def _status(url: str, token: str | None) -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_the_smoke_plan_runs_to_its_end_as_a_job(head: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    address, environment = head
    assert _status(f"{address}/api/jobs/", None) == 401
    results = tmp_path / "results"
    done = subprocess.run(
        [
            *typed_words("docs/cluster.md", "ray job submit --working-dir . -- python -m raybench.sweep"),
            *("--plan", "smoke", "--results", str(results), "--run-id", "job"),
        ],
        cwd=REPOSITORY,
        env=environment | {"RAY_API_SERVER_ADDRESS": address},
        capture_output=True,
        text=True,
        timeout=350,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 of 7 configurations complete." in done.stdout
    assert "\x1b[" not in "".join(line for line in done.stdout.splitlines() if "samples" in line)
    status = Tables(results / "job").rows("SELECT count(*) AS n, bool_and(complete) AS complete FROM completeness")
    assert status == [{"n": 7, "complete": True}]
