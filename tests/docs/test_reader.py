"""What a reader types that takes a minute or a machine of its own: installed anew, swept, removed, looked at."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.pages import FOR_USERS, REPOSITORY, Line, as_typed, lines
from docs.reader import Reader, is_swept, shorter, written_before
from generated_runs import PLAN, even_cost, generated, load_generated
from raybench.serve.command_preset import CommandPreset
from raybench.serve.presets import running
from raybench.serve.served import EngineSettings, Served
from sweep.own_plans import save_fine_tunes
from terminals import at_terminal
from visit.test_served_visit import ENGINE

pytestmark = [pytest.mark.pages, pytest.mark.timeout(900)]

README = [line.text for line in lines("README.md")]
SMOKE = as_typed("docs/first-run.md", "raybench sweep --plan smoke")
SWEPT = {
    line.text: line
    for page in FOR_USERS
    for line in lines(page)
    if is_swept(line) and line.text not in [*README, SMOKE]
}
"""Each once; what has a test of its own besides is left out."""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Bases and adapters of them, each in a folder."""
    save_fine_tunes(tmp_path / "models")
    return tmp_path / "models"


def typed_for(models: Path, base: str, support: str, sales: str) -> dict[str, str]:
    """What is typed for the words of the pages, of one base and two adapters among ``models``."""
    return {
        "BASE": str(models / base),
        "support=DIR": f"support={models / support}",
        "sales=DIR": f"sales={models / sales}",
    }


@pytest.fixture
def own(models: Path) -> dict[str, str]:
    """A language model with two adapters."""
    return typed_for(models, "lm", "chat", "code")


@pytest.fixture
def reader(tmp_path: Path, own: dict[str, str]) -> Reader:
    folder = tmp_path / "here"
    folder.mkdir()
    return Reader(folder, own)


def test_the_readme_from_its_first_line_to_its_last(tmp_path: Path, models: Path) -> None:
    """Installed into an environment of its own, from a checkout, measured at full length, and looked at.

    Its fine-tunes are of a classifier, which takes a minute at that length.
    """
    own = typed_for(models, "classifier", "support", "sales")
    checkout = tmp_path / "checkout"
    shutil.copytree(REPOSITORY / "src", checkout / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, checkout)
    reader = Reader(checkout, own, {"PYTHONPATH": "", "PATH": f"{_python_alone(tmp_path)}:/usr/bin:/bin"})
    install, activate, measure, look, *then = README
    reader.types(install)
    assert "3 of 3 configurations complete." in reader.types(activate, measure)
    reader.types(activate, look)
    (page,) = checkout.glob("*.html")
    assert page.read_text().startswith("<!DOCTYPE html>")

    assert "7 of 7 configurations complete." in reader.types(activate, then[0])
    runs = sorted((checkout / "data" / "runs").iterdir(), key=lambda run: run.stat().st_mtime)
    for name in ("A", "B"):
        shutil.copytree(runs[-1], runs[-1].with_name(name))
    for line in then[1:]:
        assert reader.types(activate, line) or ">" in line


def _python_alone(folder: Path) -> Path:
    """A folder for the path with this Python as ``python3``, and nothing that is installed beside it."""
    programs = folder / "programs"
    programs.mkdir()
    (programs / "python3").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    return programs


@pytest.mark.parametrize("line", SWEPT.values(), ids=str)
def test_sweeps_run(line: Line, reader: Reader) -> None:
    before = [shorter(SMOKE)] if "--resume" in line.text else written_before(line)
    shown = reader.types(*before, shorter(line.text))
    assert shown.count(" configurations complete.\n") == 1 + ("--resume" in line.text)
    assert "Results: data/runs/" in shown


def test_runs_on_an_object_store(reader: Reader, s3: object, own: dict[str, str]) -> None:
    """The server is named by the environment; its bucket is called otherwise."""
    own |= {"my-bucket": "bench-runs", "BUCKET/runs/RUN": "bench-runs/lora/first"}
    sweep = as_typed("docs/runs.md", "raybench sweep --results s3://my-bucket/lora")
    assert "29 of 29 configurations complete." in reader.types(shorter(sweep))
    at = reader.types(as_typed("docs/runs.md", "raybench tables s3://my-bucket/lora/first"))
    assert reader.types(as_typed("docs/runs.md", "raybench tables first --results s3://my-bucket/lora")) == at
    assert "29 of 29" in reader.types(as_typed("docs/cluster.md", "raybench status s3://BUCKET/runs/RUN"))


_FILES = {"SHARED_CREDENTIALS_FILE": "credentials", "CONFIG_FILE": "config"}


def test_keys_of_amazon_s_own_files_are_given_to_the_environment(tmp_path: Path) -> None:
    """By Amazon's own command line, in an environment of its own."""
    tools, home = tmp_path / "tools", tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    (home / ".aws" / "credentials").write_text("[default]\naws_access_key_id = mine\naws_secret_access_key = of-mine\n")
    subprocess.run([sys.executable, "-m", "venv", str(tools)], check=True)
    subprocess.run([str(tools / "bin" / "pip"), "install", "--quiet", "awscli==1.46.3"], check=True)
    alone = {"PATH": f"{tools}/bin:/usr/bin:/bin", "HOME": str(home), "PYTHONPATH": "", "AWS_PROFILE": "default"}
    own = {f"AWS_{kind}": str(home / ".aws" / name) for kind, name in _FILES.items()}
    reader = Reader(tmp_path, {}, alone | own)
    shown = reader.types(
        as_typed("docs/runs.md", "export AWS_ACCESS_KEY_ID="), 'echo "$AWS_ACCESS_KEY_ID/$AWS_SECRET_ACCESS_KEY"'
    )
    assert shown == "mine/of-mine\n"


def test_google_s_client_is_installed() -> None:
    """Into this environment, which has it: nothing is fetched."""
    Reader(REPOSITORY, {}).types(as_typed("docs/cluster.md", "pip install -c constraints.txt google-api-python-client"))


@pytest.fixture
def url(own: dict[str, str]) -> Iterator[str]:
    """Of a server that runs already, of transformers and PEFT, that asks for no key."""
    adapters = dict(own[name].split("=") for name in ("support=DIR", "sales=DIR"))
    preset = CommandPreset((sys.executable, str(ENGINE), "{model}", "{port}", os.devnull, "{adapters}"))
    with running("its own", preset, Served(own["BASE"], "float32", adapters), EngineSettings()) as server:
        yield server.url


@pytest.mark.parametrize(
    "line",
    [
        as_typed("docs/served.md", "raybench sweep --engine openai --url http://HOST:8000 --adapter"),
        as_typed("docs/served.md", "raybench sweep --engine openai --url http://HOST:8000 --model"),
    ],
)
def test_a_server_that_runs_already(line: str, reader: Reader, own: dict[str, str], url: str) -> None:
    own["http://HOST:8000"] = url
    assert " configurations complete.\n" in reader.types(shorter(line))


@pytest.mark.parametrize(
    "line", [as_typed("docs/doctor.md", "raybench doctor"), as_typed("docs/doctor.md", "raybench doctor --json")]
)
def test_the_doctor(line: str, reader: Reader) -> None:
    assert "swap" in reader.types(line, codes=(0, 1))


def test_a_run_is_removed_once_it_is_said(reader: Reader, tmp_path: Path) -> None:
    generated(
        load_generated(tmp_path, PLAN, rounds=2, requests=4), reader.folder / "data" / "runs", even_cost, run_id="RUN"
    )
    line = as_typed("docs/runs.md", "raybench rm RUN")
    with at_terminal(["bash", "-c", line], reader.folder, reader.environment) as terminal:
        terminal.until("Remove data/runs/RUN: ", "? [y/N]")
        terminal.type("y\n")
        assert terminal.end() == 0
    assert not (reader.folder / "data" / "runs" / "RUN").exists()


@pytest.mark.parametrize(
    ("target", "less"),
    [
        (as_typed("docs/benchmarks.md", "make bench ARGS=--list"), ""),
        (as_typed("docs/benchmarks.md", "make bench"), "ARGS='--only driver --into {into}'"),
        (as_typed("docs/benchmarks.md", "make truth"), "ARGS='--share 0.02'"),
    ],
)
def test_benchmarks(target: str, less: str, tmp_path: Path) -> None:
    """With what is installed here; of those that take long one each."""
    marks = " ".join(f"-o {sys.prefix}/.installed-{kind}" for kind in ("dev", "bench"))
    reader = Reader(REPOSITORY, {"make ": f"make VENV={sys.prefix} {marks} "})
    assert reader.types(f"{target} {less.format(into=tmp_path)}")
