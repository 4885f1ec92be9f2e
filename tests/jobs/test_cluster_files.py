"""The three cluster files: what Ray and the clouds say of them without being asked over a network."""

from __future__ import annotations

import copy
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from jobs.discovery import misfits
from jobs.fake_compute import description

REPOSITORY = Path(__file__).parents[2]
FILES = ("cluster.yaml", "jobs/gcp.yaml", "jobs/on_premises.yaml")
CLOUDS = FILES[:2]
JOBS = sorted(path.name for path in (REPOSITORY / "jobs").iterdir() if path.is_file())


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((REPOSITORY / name).read_text())
    return found


def prepared(name: str) -> dict[str, Any]:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config: dict[str, Any] = prepare_config(read(name))
    validate_config(config)
    return config


@pytest.mark.parametrize("name", FILES)
def test_ray_accepts_it_and_adds_nothing_that_opens_a_port(name: str) -> None:
    config = prepared(name)
    for kind in ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands", "file_mounts"):
        assert config[kind] == read(name)[kind], "Ray's defaults must not show through"
    assert config["initialization_commands"] == []
    assert "0.0.0.0" not in str(config)
    assert "::/0" not in str(config)


@pytest.mark.parametrize("name", FILES)
def test_every_node_asks_for_the_token_and_only_loopback_has_the_dashboard(name: str) -> None:
    config = prepared(name)
    (head,) = [c for c in config["head_start_ray_commands"] if "ray start" in c]
    (worker,) = [c for c in config["worker_start_ray_commands"] if "ray start" in c]
    for command in (head, worker):
        assert "RAY_AUTH_MODE=token ray start " in command
        assert "chmod 600 ~/.ray/auth_token" in command
        assert command.count("ray start") == 1
        assert "--disable-usage-stats" in command
    assert "--dashboard-host=127.0.0.1" in head
    assert "--num-cpus=0 --num-gpus=0" in head, "nothing is measured on the head"
    assert "dashboard" not in worker
    assert any("RAY_AUTH_MODE=token" in c and ".bashrc" in c for c in config["setup_commands"])


@pytest.mark.parametrize("name", CLOUDS)
def test_the_head_offers_nothing_and_workers_an_l4_from_none_to_a_bound(name: str) -> None:
    config = prepared(name)
    head = config["available_node_types"][config["head_node_type"]]
    (worker,) = [kind for key, kind in config["available_node_types"].items() if key != config["head_node_type"]]
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert worker["resources"] == {"CPU": 4, "GPU": 1, "accelerator_type:L4": 1}
    assert (worker["min_workers"], worker["max_workers"]) == (0, config["max_workers"])
    assert head["max_workers"] == 0
    assert 0 < config["idle_timeout_minutes"] <= 10


@pytest.mark.parametrize("name", FILES)
def test_what_is_installed_is_pinned(name: str) -> None:
    config = prepared(name)
    installs = [c for kind in ("setup_commands", "head_setup_commands") for c in config[kind] if "pip install" in c]
    assert installs
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE))
    for command in installs:
        assert "-c ~/raybench/constraints.txt" in command
        wanted = command.partition("constraints.txt ")[2].split()
        assert all(package == "~/raybench" or package in pins for package in wanted), command
    assert config["file_mounts"]["~/raybench/constraints.txt"] == "constraints.txt"
    assert "ray" in pins
    for source in config["file_mounts"].values():
        assert source.startswith("~") or (REPOSITORY / source).exists()


@pytest.mark.parametrize("name", [*FILES, *(f"jobs/{job}" for job in JOBS)])
def test_no_file_holds_a_secret(name: str) -> None:
    text = (REPOSITORY / name).read_text()
    stated = re.sub(r"#.*", "", text)
    for secret in (r"AKIA\w{12}", r"-----BEGIN", r"\b[0-9a-f]{40,}\b", r"(?i)(secret|password)\w*\s*[:=]\s*\S"):
        assert not re.search(secret, stated), secret
    config = yaml.safe_load(text) if name.endswith(".yaml") else {}
    assert not {"aws_credentials", "gcp_credentials"} & (config.get("provider") or {}).keys()


def test_aws_accepts_the_machines() -> None:
    session = pytest.importorskip("botocore.session")
    from botocore.validate import ParamValidator

    config = prepared("cluster.yaml")
    shape = session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    for kind in config["available_node_types"].values():
        asked = copy.deepcopy(kind["node_config"]) | {"MinCount": 1, "MaxCount": 1}
        assert not ParamValidator().validate(asked, shape).has_errors()
        (group,) = asked["SecurityGroupIds"]  # without one Ray opens port 22 to the world
        assert group.startswith("sg-")
        assert asked["MetadataOptions"]["HttpTokens"] == "required"
        assert all(disk["Ebs"]["Encrypted"] for disk in asked["BlockDeviceMappings"])
        wrong = asked | {"InstanceMarketOption": {}}
        assert ParamValidator().validate(wrong, shape).has_errors(), "the check must see a misspelt key"
    worker = config["available_node_types"]["worker"]["node_config"]
    assert (worker["InstanceType"], worker["InstanceMarketOptions"]) == ("g6.xlarge", {"MarketType": "spot"})
    assert "IamInstanceProfile" not in worker
    assert "security_group" not in config["provider"], "Ray adds its open rule to a group that is named so"


def test_google_accepts_the_machines() -> None:
    schemas = description()["schemas"]
    config = prepared("jobs/gcp.yaml")
    for kind in config["available_node_types"].values():
        assert misfits(kind["node_config"], {"$ref": "Instance"}, schemas) == []
        (network,) = kind["node_config"]["networkInterfaces"]
        assert network["subnetwork"].endswith("/raybench"), "the default network lets SSH in from everywhere"
    worker = config["available_node_types"]["worker"]["node_config"]
    assert (worker["machineType"], worker["scheduling"]["provisioningModel"]) == ("g2-standard-4", "SPOT")
    wrong = worker | {"schedulin": {}, "scheduling": {"provisioningModel": "CHEAP"}, "disks": {"boot": "yes"}}
    assert len(misfits(wrong, {"$ref": "Instance"}, schemas)) == 3


def test_the_pins_can_be_installed_together() -> None:
    """Whatever is installed here, and pinned, agrees with every pin: pip on a new machine finds no conflict."""
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pins = {canonicalize_name(p.name): p.specifier for p in map(Requirement, filter(_is_pin, lines))}
    versions = {name: next(iter(specifier)).version for name, specifier in pins.items()}
    conflicts = []
    for found in metadata.distributions():
        if canonicalize_name(found.name) not in pins:
            continue
        for wanted in map(Requirement, found.requires or ()):
            pin = versions.get(canonicalize_name(wanted.name))
            applies = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
            if applies and pin is not None and not wanted.specifier.contains(pin, prereleases=True):
                conflicts.append(f"{found.name} wants {wanted}, the pin is {pin}")
    assert conflicts == []


def _is_pin(line: str) -> bool:
    return bool(line) and not line.startswith("#")
