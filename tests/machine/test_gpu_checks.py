"""Checks of GPUs, against a library of known answers; no GPU is there."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from machine.fake_nvml import UUID, FakeNvml, process
from machine.machine_trees import machine_tree
from raybench.machine import doctor, gpu_checks, version_checks
from raybench.machine.findings import CannotRead, Finding, Tree, findings_of
from raybench.machine.gpu_checks import gpus_of, opened_nvml

Error = FakeNvml.NVMLError
PAGES_AWAY = {"DeviceGetRemappedRows": Error("Not Supported")}

FAULTS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "processes": (
        {"DeviceGetComputeRunningProcesses": [process(41, 4_300_000_000), process(42, None)]},
        "processes",
        "2 on it: trainer (41, 4,300 MB), ? (42, 0 MB)",
        "end them, or measure on another GPU",
    ),
    "unseen memory": (
        {"DeviceGetMemoryInfo": SimpleNamespace(used=5_000_000_000)},
        "processes",
        "none seen, 5,000 MB in use, 0 % busy",
        "somebody whom this user or container does not see uses it: look by nvidia-smi on its host",
    ),
    "clocks that follow the load": (
        {"DeviceGetClockInfo": 345},
        "clocks",
        "345 of 1,980 MHz with nothing to do: it follows the load",
        "nvidia-smi -i 0 --lock-gpu-clocks=MHZ (a clock that it can hold, below 1980), as root",
    ),
    "a low cap": (
        {"DeviceGetEnforcedPowerLimit": 350_000},
        "power cap",
        "350 W, by default 700 W",
        "nvidia-smi -i 0 --power-limit=700, as root",
    ),
    "throttled": (
        {"DeviceGetCurrentClocksEventReasons": 0x1 | 0x4 | 0x40},
        "throttled",
        "clock held down by power cap, hardware, for heat",
        "cool it, raise its power cap, or lock a clock that it can hold (nvidia-smi --lock-gpu-clocks)",
    ),
    "MIG": (
        {"DeviceGetMigMode": [1, 1]},
        "MIG",
        "on: its instances share power and clock",
        "nvidia-smi -i 0 --multi-instance-gpu=0, as root, or leave its other instances idle",
    ),
    "MIG to come": (
        {"DeviceGetMigMode": [0, 1]},
        "MIG",
        "on from the next reset",
        "nvidia-smi -i 0 --multi-instance-gpu=0, as root, or leave its other instances idle",
    ),
    "errors": (
        {"DeviceGetTotalEccErrors": 3, **PAGES_AWAY},
        "memory errors",
        "3 corrected, 3 uncorrected since the driver was loaded",
        "measure on another GPU; reset this one, or have it exchanged",
    ),
    "a row that waits": (
        {"DeviceGetRemappedRows": (1, 1, 1, 0)},
        "memory errors",
        "0 corrected, 0 uncorrected since the driver was loaded; 2 rows remapped, more at the next reset",
        "measure on another GPU; reset this one, or have it exchanged",
    ),
    "a virtual GPU": (
        {"DeviceGetVirtualizationMode": 2},
        "shared",
        "a virtual GPU, which a hypervisor gives to several in turn",
        "a machine with a whole GPU",
    ),
}


def findings(nvml: FakeNvml, tree: Tree, claimed: int | None = None) -> list[Finding]:
    return findings_of(gpu_checks.gpu_checks(gpus_of(nvml), tree, at_rest=True, claimed=claimed))


def wrong(found: list[Finding]) -> list[Finding]:
    return [one for one in found if one.state != "ok"]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return machine_tree(tmp_path, {"proc/41/comm": "trainer\n", "dev/nvidiactl": ""})


def test_a_sound_gpu_has_no_faults(tree: Tree) -> None:
    found = findings(FakeNvml(), tree, claimed=1)
    assert wrong(found) == []
    assert {one.name: one.found for one in found} == {
        "GPU 0 processes": "none seen, 629 MB in use, 0 % busy",
        "GPU 0 clocks": "1,980 of 1,980 MHz with nothing to do",
        "GPU 0 power cap": "700 W, by default 700 W",
        "GPU 0 throttled": "by nothing",
        "GPU 0 MIG": "off",
        "GPU 0 memory errors": "0 corrected, 0 uncorrected since the driver was loaded; 0 rows remapped",
        "GPU 0 shared": "not by MPS, a hypervisor or Ray, as far as is seen",
    }


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_with_its_number_and_a_remedy(fault: str, tree: Tree) -> None:
    said, name, found, remedy = FAULTS[fault]
    assert wrong(findings(FakeNvml(**said), tree)) == [Finding(f"GPU 0 {name}", "caution", found, remedy)]


def test_a_gpu_that_is_given_out_several_times_is_shared(tree: Tree) -> None:
    (one,) = wrong(findings(FakeNvml(), tree, claimed=4))
    assert one.found == "Ray gives out 4 GPUs here, and there are 1"


def test_mps_is_seen_by_its_server(tmp_path: Path) -> None:
    tree = machine_tree(tmp_path, {"proc/9/comm": "nvidia-cuda-mps\n", "proc/10/comm": "bash\n"})
    (one,) = wrong(findings(FakeNvml(), tree))
    assert (one.name, one.found) == (
        "GPU 0 shared",
        "MPS runs (nvidia-cuda-mps, 9): several processes compute at once",
    )


def test_a_clock_that_was_set_is_as_good_as_a_locked_one(tree: Tree) -> None:
    said = {"DeviceGetClockInfo": 1200, "DeviceGetApplicationsClock": 1200}
    found = {one.name: one for one in findings(FakeNvml(**said), tree)}
    assert found["GPU 0 clocks"] == Finding(
        "GPU 0 clocks", "ok", "1,200 of 1,980 MHz with nothing to do, as it was set"
    )


def test_an_older_driver_calls_reasons_by_another_name(tree: Tree) -> None:
    said = {"DeviceGetCurrentClocksEventReasons": Error("Function Not Found")}
    (one,) = wrong(findings(FakeNvml(**said, DeviceGetCurrentClocksThrottleReasons=0x20), tree))
    assert one.found == "clock held down by heat"


@pytest.mark.parametrize(
    "function",
    [
        "DeviceGetComputeRunningProcesses",
        "DeviceGetMaxClockInfo",
        "DeviceGetEnforcedPowerLimit",
        "DeviceGetCurrentClocksEventReasons",
        "DeviceGetMigMode",
        "DeviceGetTotalEccErrors",
    ],
)
def test_what_nvml_does_not_say_is_unknown(function: str, tree: Tree) -> None:
    (one,) = wrong(findings(FakeNvml(**{function: Error("Unknown Error")}), tree))
    assert one.state == "unknown"
    assert "Unknown Error" in one.found or "no such function" in one.found


def test_a_gpu_that_computes_does_not_tell_whether_its_clock_is_locked(tree: Tree) -> None:
    found = {one.name: one for one in findings(FakeNvml(DeviceGetUtilizationRates=SimpleNamespace(gpu=90)), tree)}
    assert found["GPU 0 clocks"].state == "unknown"


def test_a_consumer_gpu_that_cannot_be_divided_is_whole(tree: Tree) -> None:
    found = {one.name: one for one in findings(FakeNvml(DeviceGetMigMode=Error("Not Supported")), tree)}
    assert found["GPU 0 MIG"] == Finding("GPU 0 MIG", "ok", "it cannot be divided")


def test_gpus_are_found_by_their_uuid() -> None:
    nvml = FakeNvml(DeviceGetCount=2)
    assert [gpu.index for gpu in gpus_of(nvml)] == [0, 1]
    assert gpus_of(nvml, "GPU-another") == []
    assert len(gpus_of(FakeNvml(DeviceGetUUID=UUID.encode()), UUID)) == 1


def test_nvml_is_opened_where_there_is_a_driver_and_closed_again(
    tmp_path: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    with opened_nvml(Tree(tmp_path / "nowhere")) as found:
        assert found is None
    with opened_nvml(tree) as found:
        assert found is nvml
    assert nvml.calls == ["nvmlInit", "nvmlShutdown"]
    (gpu,) = [one for one in doctor.examine_steady(UUID, tree=tree) if one.name == "GPU 0 power cap"]
    assert gpu.found == "700 W, by default 700 W"


def test_a_driver_that_fails_is_said(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(Init=Error("Driver/library version mismatch")))
    with pytest.raises(CannotRead, match="nvmlInit: Driver/library version mismatch"), opened_nvml(tree):
        pass
    found = [one for one in doctor.examine(tree=tree, sleep=lambda _: None) if one.name == "GPU"]
    assert found == [Finding("GPU", "unknown", "nvmlInit: Driver/library version mismatch")]
    monkeypatch.setitem(sys.modules, "pynvml", None)  # importing it fails
    (one,) = [one for one in doctor.examine_steady(UUID, tree=tree) if one.name == "GPU"]
    assert one.found.endswith("pip install nvidia-ml-py")


def test_the_real_library_has_every_name_that_is_asked_for() -> None:
    pynvml = pytest.importorskip("pynvml")
    asked = {
        name
        for module in (gpu_checks, version_checks)
        for name in re.findall(r"\b(?:nvml[A-Z]\w+|NVML_[A-Z_]+\w)\b", Path(str(module.__file__)).read_text())
    }
    assert len(asked) > 20
    assert {name for name in asked if not hasattr(pynvml, name)} == {"NVML_MEMORY_ERROR_TYPE_"}
