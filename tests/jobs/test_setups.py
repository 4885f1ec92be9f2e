"""jobs/aws_setup.py and jobs/gcp_setup.py: what an account needs once, and what is said where it cannot be had."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httplib2
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
    """``main`` of jobs/gcp_setup.py, which does not pause."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "jobs"))
    import gcp_setup

    return functools.partial(gcp_setup.main, pause_s=0.0)


def gcp_words(**filled: str) -> list[str]:
    """As docs/cluster.md has them, with what a person fills in."""
    python, script, *words = typed_words("docs/cluster.md", "python jobs/gcp_setup.py")
    assert (python, script) == ("python", "jobs/gcp_setup.py")
    fill = {"YOUR-PROJECT": PROJECT, "YOUR-ADDRESS": HERE} | filled
    return [fill.get(word, word) for word in words]


NETWORK, PART = "global/networks/raybench", "regions/us-west1/subnetworks/raybench"


def sources(google: FakeCompute) -> dict[str, tuple[list[str], list[dict[str, Any]]]]:
    """Of each rule who is let in, and to what."""
    below = "global/firewalls/"
    rules = {key.removeprefix(below): rule for key, rule in google.made.items() if key.startswith(below)}
    return {name: (rule["sourceRanges"], rule["allowed"]) for name, rule in rules.items()}


def test_google_makes_what_the_file_needs_and_it_fits_in(setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    google = FakeCompute(*IMAGES)
    assert setup(gcp_words(), google.connect) == 0
    assert {key for key in google.made if "/firewalls/" not in key} == {NETWORK, PART}
    assert google.made[NETWORK]["autoCreateSubnetworks"] is False
    assert google.made[PART]["ipCidrRange"] == "10.10.0.0/20"
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


def test_what_is_there_otherwise_is_refused_or_heeded(setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    path = f"projects/{PROJECT}/global/networks/raybench"
    google = FakeCompute(*IMAGES)
    google.made[NETWORK] = {"name": "raybench", "autoCreateSubnetworks": True}
    assert setup(gcp_words(), google.connect) == 1
    assert "has subnetworks in every region; choose another --name" in capsys.readouterr().err

    google.made[NETWORK] = {"name": "raybench", "autoCreateSubnetworks": False}
    google.made["global/firewalls/open"] = {"name": "open", "network": path, "direction": "INGRESS"}
    assert setup(gcp_words(), google.connect) == 1
    assert "has rules that let others in (open); choose another --name" in capsys.readouterr().err
    google.made["global/firewalls/open"]["direction"] = "EGRESS"

    google.made[PART] = {"name": "raybench", "network": f"{path}-2", "ipCidrRange": "10.20.0.0/16"}
    assert setup(gcp_words(), google.connect) == 1
    assert "of another network; choose another --name" in capsys.readouterr().err

    google.made[PART]["network"] = path
    assert setup(gcp_words(), google.connect) == 0
    del google.made["global/firewalls/open"]
    assert sources(google)["raybench-inside"][0] == ["10.20.0.0/16"]


def refreshed() -> Exception:
    from google.auth.exceptions import RefreshError

    return RefreshError("Reauthentication is needed.\nmore of it")


@pytest.mark.parametrize(
    ("filled", "images", "given", "said"),
    [
        (
            {"YOUR-PROJECT": "another"},
            IMAGES,
            {},
            "firewalls of another: The resource 'projects/another' was",
        ),
        ({"us-west1": "us-east1"}, IMAGES, {}, "subnetworks raybench of my-project: Invalid IPCidrRange: 10.10.0.0/20"),
        ({}, IMAGES[3:], {}, "deeplearning-platform-release has no image common-cu"),
        ({}, IMAGES, {"refuses": {"firewalls": "Quota 'FIREWALLS' exceeded."}}, "Quota 'FIREWALLS' exceeded."),
        ({}, IMAGES, {"fails": TimeoutError("timed out")}, "Google cannot be reached: timed out"),
        ({}, IMAGES, {"fails": httplib2.ServerNotFoundError("no server")}, "Google cannot be reached: no server"),
        ({}, IMAGES, {"fails": refreshed()}, "Reauthentication is needed.; gcloud auth application-default login"),
    ],
)
def test_what_google_does_not_give_is_one_line(
    setup: Setup,
    filled: dict[str, str],
    images: list[dict[str, Any]],
    given: dict[str, Any],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    google = FakeCompute(*images)
    other = {"name": "raybench", "network": f"projects/{PROJECT}/global/networks/raybench"}
    google.made[NETWORK] = {"name": "raybench", "autoCreateSubnetworks": False}
    google.made[PART] = other | {"ipCidrRange": "10.10.0.0/20"}
    for name, value in given.items():
        setattr(google, name, value)
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
        (AWS, "aws_setup.py: Unable to locate credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or"),
        (GOOGLE, "gcp_setup.py: no credentials: gcloud auth application-default login leaves some"),
    ],
    ids=["aws", "google"],
)
def test_without_credentials_it_says_so_in_a_line(command: tuple[str, ...], said: str) -> None:
    done = run(*command, "--ssh-from", HERE)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "text"),
    [
        *(("--project", text) for text in ("My Project", "a/b", "", "-x")),
        *(("--name", text) for text in ("Raybench", "x" * 57, "a.b")),
        *(("--image", text) for text in ("mine", "a: b # c\n    evil: 1", "projects/p/global/images/family/f")),
        ("--region", "us west"),
    ],
)
def test_what_google_has_no_names_like_is_refused(
    option: str, text: str, setup: Setup, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        setup([*gcp_words(), f"{option}={text}"], FakeCompute().connect)
    assert f"argument {option}: expected one such as " in capsys.readouterr().err


def test_a_project_of_a_domain_is_one(setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    assert setup(gcp_words(**{"YOUR-PROJECT": "example.com:mine"}), FakeCompute(*IMAGES).connect) == 1
    assert "firewalls of example.com:mine: " in capsys.readouterr().err


# ---- Amazon


@pytest.fixture
def amazon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """EC2 of moto, and jobs/aws_setup.py."""
    moto = pytest.importorskip("moto")
    monkeypatch.syspath_prepend(str(REPOSITORY / "jobs"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "made-up")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    import boto3

    mocked = moto.mock_aws()
    mocked.start(reset=False)  # what the object server of other tests holds is moto's, too, and stays
    try:
        yield boto3.client("ec2", region_name="us-west-2")
    finally:
        mocked.stop(remove_data=False)


def let_in(ec2: Any, group: str) -> set[str]:
    (found,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    return {source["CidrIp"] for rule in found["IpPermissions"] for source in rule["IpRanges"]}


def test_amazon_s_group_follows_who_moves_and_locks_nobody_out_half_way(
    amazon: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import aws_setup
    import botocore.client
    from botocore.exceptions import ClientError

    group = aws_setup.group("us-west-2", "raybench", "203.0.113.7/32")
    (first,) = amazon.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    assert {pair["GroupId"] for rule in first["IpPermissions"] for pair in rule["UserIdGroupPairs"]} == {group}
    assert aws_setup.group("us-west-2", "raybench", "203.0.113.7/32") == group
    assert let_in(amazon, group) == {"203.0.113.7/32"}

    call = botocore.client.BaseClient._make_api_call

    def refuse(self: Any, operation: str, given: Any) -> Any:
        if operation == "AuthorizeSecurityGroupIngress":
            raise ClientError({"Error": {"Code": "UnauthorizedOperation", "Message": "no"}}, operation)
        return call(self, operation, given)

    with monkeypatch.context() as patch:
        patch.setattr(botocore.client.BaseClient, "_make_api_call", refuse)
        with pytest.raises(ClientError):
            aws_setup.group("us-west-2", "raybench", "198.51.100.9/32")
    assert let_in(amazon, group) == {"203.0.113.7/32"}

    assert aws_setup.group("us-west-2", "raybench", "198.51.100.9/32") == group
    assert let_in(amazon, group) == {"198.51.100.9/32"}
