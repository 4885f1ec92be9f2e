"""jobs/aws_setup.py and jobs/gcp_setup.py: what an account needs once, and what is said where it cannot be had."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.pages import typed_words
from jobs.fake_compute import PROJECT, FakeCompute

REPOSITORY = Path(__file__).parents[2]
HERE = "203.0.113.7"
IMAGES = [
    {"name": name, "creationTimestamp": created, "status": "READY", **more}
    for name, created, more in (
        (
            "common-cu128-ubuntu-2404-nvidia-570-v20260110",
            "2026-01-10T00:00:00Z",
            {"deprecated": {"state": "OBSOLETE"}},
        ),
        ("common-cu129-ubuntu-2404-nvidia-580-v20260819", "2026-08-19T00:00:00Z", {"architecture": "X86_64"}),
        ("common-cu129-ubuntu-2404-nvidia-580-v20261019", "2026-10-19T00:00:00Z", {"architecture": "X86_64"}),
        ("common-cu129-ubuntu-2404-nvidia-580-arm64-v20261020", "2026-10-20T00:00:00Z", {"architecture": "ARM64"}),
        ("common-cu130-ubuntu-2404-nvidia-590-v20261101", "2026-11-01T00:00:00Z", {"deprecated": {"state": "DELETED"}}),
        ("common-cu129-ubuntu-2204-nvidia-580-v20261102", "2026-11-02T00:00:00Z", {}),
        ("pytorch-2-9-cu129-ubuntu-2404-nvidia-580-v20261103", "2026-11-03T00:00:00Z", {}),
    )
]
SUBNETWORK = f"projects/{PROJECT}/regions/us-west1/subnetworks/raybench"
Setup = Callable[..., int]


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> Setup:
    """``main`` of jobs/gcp_setup.py."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "jobs"))
    import gcp_setup

    return gcp_setup.main


def gcp_words(**filled: str) -> list[str]:
    """As docs/cluster.md has them, with what a person fills in."""
    python, script, *words = typed_words("docs/cluster.md", "python jobs/gcp_setup.py")
    assert (python, script) == ("python", "jobs/gcp_setup.py")
    fill = {"YOUR-PROJECT": PROJECT, "YOUR-ADDRESS": HERE} | filled
    return [fill.get(word, word) for word in words]


def sources(google: FakeCompute) -> dict[str, tuple[list[str], list[dict[str, Any]]]]:
    return {name: (r["sourceRanges"], r["allowed"]) for (kind, name), r in google.made.items() if kind == "firewalls"}


def test_google_makes_what_the_file_needs_and_it_fits_in(setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    google = FakeCompute(*IMAGES)
    assert setup(gcp_words(), google.connect) == 0
    assert {key for key in google.made if key[0] != "firewalls"} == {
        ("networks", "raybench"),
        ("subnetworks", "raybench"),
    }
    assert google.made["networks", "raybench"]["autoCreateSubnetworks"] is False
    assert google.made["subnetworks", "raybench"]["ipCidrRange"] == "10.10.0.0/20"
    assert sources(google) == {
        "raybench-ssh": ([f"{HERE}/32"], [{"IPProtocol": "tcp", "ports": ["22"]}]),
        "raybench-inside": (["10.10.0.0/20"], [{"IPProtocol": "all"}]),
    }

    text = (REPOSITORY / "jobs" / "gcp.yaml").read_text()
    for line in capsys.readouterr().out.splitlines():  # each in the place of the one that there is
        start = line[: line.index(":") + 1]
        (there,) = [old for old in text.splitlines() if old.startswith(start)]
        text = text.replace(there, line)
    config = yaml.safe_load(text)
    assert config["provider"]["project_id"] == PROJECT
    for kind in config["available_node_types"].values():
        (disk,) = kind["node_config"]["disks"]
        assert disk["initializeParams"]["sourceImage"] == (
            "projects/deeplearning-platform-release/global/images/common-cu129-ubuntu-2404-nvidia-580-v20261019"
        )
        assert [n["subnetwork"] for n in kind["node_config"]["networkInterfaces"]] == [SUBNETWORK]


def test_who_has_moved_is_let_in_from_where_he_is_now_alone(setup: Setup) -> None:
    google = FakeCompute(*IMAGES)
    assert setup(gcp_words(), google.connect) == 0
    assert setup(gcp_words(**{"YOUR-ADDRESS": "198.51.100.0/24"}), google.connect) == 0
    assert sources(google)["raybench-ssh"][0] == ["198.51.100.0/24"]
    assert sources(google)["raybench-inside"][0] == ["10.10.0.0/20"]
    assert len(google.made) == 4


@pytest.mark.parametrize(
    ("filled", "images", "refuses", "said"),
    [
        ({"YOUR-PROJECT": "another"}, IMAGES, {}, "project another: not there, or not yours: gcloud projects list"),
        ({}, IMAGES[3:], {}, "deeplearning-platform-release has no image common-cu"),
        ({}, IMAGES, {"networks": "Quota 'NETWORKS' exceeded."}, "networks raybench: Quota 'NETWORKS' exceeded."),
    ],
)
def test_what_google_does_not_give_is_one_line(
    setup: Setup,
    filled: dict[str, str],
    images: list[dict[str, Any]],
    refuses: dict[str, str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    google = FakeCompute(*images)
    google.refuses = refuses
    assert setup(gcp_words(**filled), google.connect) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1


def run(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """In a home without credentials; what asks machines for some has none to ask."""
    away = {"GCE_METADATA_HOST": "127.0.0.1:9", "NO_GCE_CHECK": "true", "AWS_EC2_METADATA_DISABLED": "true"}
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "GOOGLE_", "CLOUDSDK"))}
    return subprocess.run(
        [sys.executable, script, *words],
        cwd=REPOSITORY,
        env=kept | away | {"HOME": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )


AWS = ("jobs/aws_setup.py", "--region", "us-west-2")
GOOGLE = ("jobs/gcp_setup.py", "--project", PROJECT, "--region", "us-west1")


@pytest.mark.parametrize("source", ["0.0.0.0/0", "10.0.0.0/8", "here"])
@pytest.mark.parametrize("command", [AWS, GOOGLE], ids=["aws", "google"])
def test_ssh_is_opened_to_no_large_part_of_the_world(command: tuple[str, ...], source: str) -> None:
    done = run(*command, "--ssh-from", source)
    assert done.returncode == 2
    assert "argument --ssh-from" in done.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (AWS, "aws_setup.py: Unable to locate credentials"),
        (GOOGLE, "gcp_setup.py: no credentials: gcloud auth application-default login leaves some"),
    ],
    ids=["aws", "google"],
)
def test_without_credentials_it_says_so_in_a_line(command: tuple[str, ...], said: str) -> None:
    done = run(*command, "--ssh-from", HERE)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith(said)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("project", ["My Project", "a/b", "", "-x"])
def test_a_name_that_google_has_none_of_is_refused(project: str) -> None:
    done = run("jobs/gcp_setup.py", f"--project={project}", "--region", "us-west1", "--ssh-from", HERE)
    assert done.returncode == 2
    assert "argument --project: expected lower-case letters, digits and hyphens" in done.stderr
