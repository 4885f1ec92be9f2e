"""What a run ran on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys

import pytest
import torch

import raybench
from raybench.machine import environment


def test_versions_are_those_that_are_imported() -> None:
    found = environment.package_versions()
    assert found["torch"] == torch.__version__
    assert found["python"] == platform.python_version()
    assert found["raybench"] == raybench.__version__ == importlib.metadata.version("raybench")
    assert set(found) == {"raybench", "python", *environment.PACKAGES}
    assert "absent" not in found.values()


def test_a_package_that_is_not_installed_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PACKAGES", ("no-such-package",))
    assert environment.package_versions()["no-such-package"] == "absent"


def test_the_machine_is_told_by_name_cores_and_memory() -> None:
    found = environment.describe_machine()
    assert (found["host"], found["cores"]) == (platform.node(), os.cpu_count())
    assert found["memory_bytes"] == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert found["cpu"]


def test_the_driver_is_described_without_importing_what_measures() -> None:
    code = (
        "import sys; from raybench.machine import environment as e; e.package_versions(); e.describe_machine(); "
        "print(sorted({'torch', 'ray', 'transformers', 'peft', 'duckdb'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_said_of_one() -> None:
    assert environment.gpu_settings() == {}
