"""What is installed against what is needed, and torch against the driver."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata

import pytest
import torch

from machine.fake_nvml import FakeNvml
from raybench.machine.findings import CannotRead, Finding, finding_of, findings_of
from raybench.machine.version_checks import cuda_of_torch, driver, version_checks, versions


def test_what_is_installed_here_is_what_raybench_needs() -> None:
    (found,) = findings_of(version_checks(None))
    assert (found.name, found.state) == ("versions", "ok")


def test_what_does_not_fit_is_named_with_both_versions() -> None:
    psutil = metadata.version("psutil")
    needs = [
        "psutil<1",
        "no-such-package>=2",
        "numpy>=1",
        'absent-too>=1; extra == "dev"',
        'never; python_version < "3"',
    ]
    found = versions(lambda: needs)
    assert found.found == f"psutil {psutil} is not <1; no-such-package is not installed"
    assert found.remedy == "pip install -U raybench, in the environment that runs it"
    assert versions(lambda: ["numpy>=1"]).found == "1 packages are as raybench needs them"


def test_what_was_never_installed_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    (found,) = findings_of(version_checks(None))
    assert (found.state, found.found[:25]) == ("unknown", "raybench is not installed")


def test_the_cuda_that_torch_was_built_for_is_read_without_importing_it() -> None:
    assert cuda_of_torch() == torch.version.cuda


def _fails() -> str:
    raise CannotRead("torch is not installed")


@pytest.mark.parametrize(
    ("runs", "built", "state", "found"),
    [
        (12040, lambda: "12.8", "ok", "runs CUDA 12.4, torch was built for 12.8"),
        (13000, lambda: "12.8", "ok", "runs CUDA 13.0, torch was built for 12.8"),
        (12040, lambda: "13.0", "caution", "the driver runs CUDA 12.4, torch was built for 13.0"),
        (12040, lambda: None, "caution", "torch was built without CUDA, and there is a GPU"),
        (12040, lambda: "odd", "unknown", "torch was built for CUDA 'odd', which is no version"),
        (12040, _fails, "unknown", "torch is not installed"),
    ],
)
def test_torch_is_held_against_the_driver(runs: int, built: Callable[[], str | None], state: str, found: str) -> None:
    nvml = FakeNvml(SystemGetCudaDriverVersion=runs)
    got = finding_of("driver", lambda: driver(nvml, built))
    assert (got.state, got.found) == (state, found)


def test_a_driver_that_does_not_say_is_unknown() -> None:
    nvml = FakeNvml(SystemGetCudaDriverVersion=FakeNvml.NVMLError("Uninitialized"))
    assert findings_of(version_checks(nvml))[1] == Finding(
        "driver", "unknown", "nvmlSystemGetCudaDriverVersion: Uninitialized"
    )
