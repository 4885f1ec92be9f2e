"""jobs/: what each script has Ray run. That they do run is tried on clusters, in test_on_premises.py."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from command_lines import told_sweep
from raybench.deploy import strategies
from raybench.model.workload import glue_tasks
from raybench.plan import file as plan_file
from raybench.plan.builder import Overrides

JOBS = Path(__file__).parents[2] / "jobs"
L4 = ["--accelerator-type", "L4"]


def submitted(folder: Path, script: str, *options: str, **environment: str) -> list[str]:
    """The words that ``ray`` is called with by one of the scripts."""
    ray = folder / "ray"
    ray.write_text('#!/bin/sh\npwd\necho "$RAY_AUTH_MODE"\nprintf "%s\\n" "$@"\n')
    ray.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", **environment}
    command = [str(JOBS / f"{script}.sh"), *options]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=True)
    where, mode, *words = done.stdout.splitlines()
    assert (Path(where), mode) == (JOBS.parent, "token")
    return words


@pytest.mark.parametrize(
    ("script", "options", "runs"),
    [
        ("study", ["s3://bucket/runs"], ["raybench.sweep", "--plan", "rq2", *L4, "--results", "s3://bucket/runs"]),
        (
            "smoke",
            ["/r", "--rounds", "1"],
            ["raybench.sweep", "--plan", "smoke", *L4, "--results", "/r", "--rounds", "1"],
        ),
        ("aa", ["/a b"], ["raybench.sweep", "--plan", "aa", *L4, "--results", "/a b"]),
        (
            "mine",
            ["/r", "--model", "owner/base", "--adapter", "support=owner/adapter"],
            [
                *("raybench.sweep", *L4, "--results", "/r"),
                "--model",
                "owner/base",
                "--adapter",
                "support=owner/adapter",
            ],
        ),
        ("resume", ["study", "/r"], ["raybench.sweep", "--plan", "rq2", *L4, "--results", "/r", "--resume"]),
        ("tables", ["/r/run"], ["raybench.cli", "tables", "/r/run"]),
    ],
)
def test_what_is_submitted(script: str, options: list[str], runs: list[str], tmp_path: Path) -> None:
    words = submitted(tmp_path, script, *options)
    assert words[: words.index("--")] == [
        *("job", "submit", "--address", "http://127.0.0.1:8265"),
        *("--working-dir", ".", "--runtime-env", "jobs/runtime_env.yaml"),
    ]
    assert words[words.index("--") + 1 :] == ["python", "-m", *runs]
    if "raybench.sweep" in runs:
        asked = told_sweep(runs[1:])
        overrides = Overrides(accelerator_type=asked.accelerator_type)
        if asked.adapter is None:
            plan_file.load_plan(asked.plan, strategies.all_traits(), glue_tasks(), overrides)


@pytest.mark.parametrize("options", [[], ["tables", "/r"], ["../study", "/r"]])
def test_only_what_is_a_sweep_is_gone_on_with(options: list[str]) -> None:
    done = subprocess.run([str(JOBS / "resume.sh"), *options], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("usage: jobs/resume.sh study|smoke|aa RESULTS")


def test_another_tunnel_is_used_where_it_is_named(tmp_path: Path) -> None:
    words = submitted(tmp_path, "smoke", "/r", RAY_API_SERVER_ADDRESS="http://127.0.0.1:9000")
    assert words[2:4] == ["--address", "http://127.0.0.1:9000"]


def test_a_job_brings_its_code_and_time_to_commit() -> None:
    environment = yaml.safe_load((JOBS / "runtime_env.yaml").read_text())
    (package,) = environment["py_modules"]
    assert (JOBS.parent / package / "sweep" / "__main__.py").is_file()
    assert int(environment["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) > 3
    assert "pip" not in environment, "installed once, by the cluster file, not for each job"
