"""The example of docs/example_strategy, installed as anyone installs it, in a sweep and in all that reads its run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import raybench
from docs.pages import typed_words
from raybench import cli
from raybench.analysis.tables import Tables

EXAMPLE = Path(__file__).parents[2] / "docs" / "example_strategy"
PLAN = EXAMPLE / "merge_on_switch.toml"
OFFLINE = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has it, to be put on the path. Its page's first line installs it into the environment."""
    copy, folder = tmp_path_factory.mktemp("source") / "example", tmp_path_factory.mktemp("installed")
    shutil.copytree(EXAMPLE, copy)  # it is built where it lies
    words = typed_words("docs/example_strategy/README.md", "pip install")
    words[words.index("docs/example_strategy")] = str(copy)
    subprocess.run([sys.executable, "-m", *words, *OFFLINE, "--target", str(folder)], check=True)
    return folder


def test_its_plan_cannot_run_without_it_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", str(PLAN)]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "configurations[1].strategy: unknown strategy 'merge_on_switch'; expected one of base_beside_lora, " in told


def raybench_there(installed: Path, *words: str) -> str:
    """What raybench prints, in a process of its own with the example installed, from the repository."""
    found = [str(Path(raybench.__file__).parents[1]), str(installed)]
    ended = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=EXAMPLE.parents[1],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(found)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_its_plan_is_one_where_it_is_installed(installed: Path) -> None:
    shown = raybench_there(installed, *typed_words("docs/example_strategy/README.md", "raybench plan"))
    assert "merged_at_each_switch" in shown


def test_it_is_measured_gated_and_shown_as_raybenchs_own_are(
    installed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = typed_words("docs/example_strategy/README.md", "raybench sweep")
    less = ["--results", str(tmp_path), "--run-id", "one", "--rounds", "2", "--requests", "6"]
    shown = raybench_there(installed, *asked, *less)
    assert "Merged on switch" in shown
    root = tmp_path / "one"

    described = json.loads((root / "run.json").read_text())
    sources = {c["name"]: c["strategy_source"] for c in described["configurations"]}
    assert sources == {
        "separate_mrpc": None,
        "separate_sst2": None,
        "beside": None,
        "merged_at_each_switch": "raybench-merge-on-switch 0.1.0",
        "merged_once_a_task": "raybench-merge-on-switch 0.1.0",
    }

    # Whoever reads the run need not have it.
    tables = Tables(root)
    loads = tables.rows(
        "SELECT configuration, count(*) AS visits, max(gate_error) < 1e-5 AS same FROM loads "
        "WHERE configuration LIKE 'merged%' GROUP BY 1 ORDER BY 1"
    )
    assert loads == [
        {"configuration": "merged_at_each_switch", "visits": 2, "same": True},
        {"configuration": "merged_once_a_task", "visits": 2, "same": True},
    ]
    assert tables.rows("FROM failures") == []
    compared = tables.rows("SELECT DISTINCT deployment FROM overhead ORDER BY 1")
    assert [row["deployment"] for row in compared] == [
        "Merged on switch (2)",
        "Merged on switch (2, blocked)",
        "Multi-adapter (2)",
    ]
    needs = ["--tasks", "4", "--gpu-memory", "24GB", "--slo-p95", "1s", "--requests-per-second", "1"]
    # Advice is on raybench's own strategies: what this run lacks of them is said, and the others are passed over.
    assert cli.main(["decide", str(root), *needs]) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "full_ft: not in this run" in told
    assert "merge_on_switch" not in told
