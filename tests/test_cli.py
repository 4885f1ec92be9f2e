"""The ``raybench`` command: what it prints, and how it ends."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from raybench import cli
from raybench.analysis.tables import Tables, write_views
from raybench.cluster.agenda import Agenda, Job
from raybench.deploy.strategies import all_traits
from raybench.machine.device import CpuDevice
from raybench.model.prepare import Recipe, prepared
from raybench.model.weights import ModelSpec, resolve_model
from raybench.model.workload import GlueLengths, glue_tasks
from raybench.plan import file as plan_file
from raybench.plan.builder import Overrides
from raybench.plan.plan import Plan
from raybench.store.store import RunStore
from raybench.sweep.describe import describe
from raybench.sweep.recorder import Recorder
from raybench.visit.visit import run_visit

Capture = pytest.CaptureFixture[str]


def refusal(arguments: list[str], capsys: Capture, code: int = 2) -> str:
    """The one line on standard error that ``raybench`` ends with."""
    assert cli.main(arguments) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("raybench: ")
    assert len(said.err.splitlines()) == 1
    return said.err.removeprefix("raybench: ").rstrip("\n")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the smoke plan's configurations in rounds of two requests. Read only."""
    plan, _ = plan_file.load_plan("smoke", all_traits(), glue_tasks(), Overrides(rounds=2, requests=2))
    job = Job(plan, GlueLengths(0), ModelSpec("micro", "preset_device"), Recipe("", (), ()), "cpu")
    description = describe("run", plan, job.workload, job.model, [], all_traits())
    with RunStore.create(tmp_path_factory.mktemp("runs"), "run", description) as store:
        write_views(store.root)
        agenda, recorder = Agenda(job), Recorder(store)
        while spec := agenda.next():
            for message in run_visit(spec, CpuDevice(), lambda index: None):
                recorder.add(spec, message)
        recorder.commit()
    return store.root


# raybench plan


def test_plan_shows_what_would_run(capsys: Capture) -> None:
    assert cli.main(["plan", "rq2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("rq2: Latency of LoRA")
    assert lines[1] == "29 configurations in 11 blocks (paired design)"
    assert lines[2] == "  mrpc_seed42: fullft_mrpc_seed42, lora_mrpc_seed42, lora_merged_mrpc_seed42"
    assert lines[11] == (
        "  multi_lora_2_adapters: multi_lora_2_adapters  (compared with lora_mrpc_seed42, lora_sst2_seed42)"
    )
    assert [i for i, line in enumerate(lines) if line.startswith("  ")] == [*range(2, 13), 16, 17]
    assert lines[14].startswith("A block: configurations that are compared")
    assert lines[15].startswith("Estimate, worked out and not measured")
    assert lines[13] == (
        "10 rounds of 50 requests: 110 visits, 500 samples a configuration, 15,500 samples (1,000 of guests) in all "
        "(and 3 warm-ups a configuration and visit)"
    )
    assert lines[18] == "Run it: raybench sweep --plan rq2"


def test_plan_shows_the_independent_design_and_how_to_run_it(capsys: Capture) -> None:
    assert cli.main(["plan", "rq2", "--design", "independent"]) == 0
    out = capsys.readouterr().out
    assert "29 configurations in 29 blocks (independent design)" in out
    assert "1 round of 500 requests: 29 visits, 500 samples a configuration, 14,500 samples in all" in out
    assert out.splitlines()[-1] == "Run it: raybench sweep --plan rq2 --design independent"


def test_plan_as_json_is_what_a_run_keeps_of_it_and_how_long_it_would_take(
    small_plan_path: Path, capsys: Capture
) -> None:
    words = ["plan", str(small_plan_path), "--model", "micro", "--json"]
    assert cli.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    plan, _ = plan_file.load_plan(str(small_plan_path), all_traits(), glue_tasks())
    described = describe("run", plan, GlueLengths(0), ModelSpec("micro", "preset_device"), [], all_traits())
    assert {key: found[key] for key in ("plan", "configurations")} == {
        key: described[key] for key in ("plan", "configurations")
    }
    assert found["blocks"][-1] == {
        "name": "multi_lora_2_adapters",
        "configurations": ["multi_lora_2_adapters"],
        "compared_with": ["lora_mrpc_seed42", "lora_sst2_seed42"],
    }
    assert (found["visits"], found["samples_of_a_configuration"], found["samples"]) == (6, 8, plan.expected_samples())
    assert [one["machine"] for one in found["estimates"]] == ["this core", "L4", "A10G", "A100", "H100"]
    assert all(one["time_s"] > 0 and one["memory_bytes"] > 0 for one in found["estimates"])
    assert found["command"] == ["raybench", "sweep", "--plan", str(small_plan_path), "--model", "micro"]
    assert [adapter["name"] for adapter in found["adapters"]] == ["mrpc_seed42", "sst2_seed42"]


def test_plan_shows_a_file_and_its_command_can_be_pasted(
    small_plan_path: Path, tmp_path: Path, capsys: Capture
) -> None:
    mine = tmp_path / "my plans; $HOME.toml"
    small_plan_path.rename(mine)
    assert cli.main(["plan", str(mine)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "7 configurations in 3 blocks (paired design)"
    assert shlex.split(lines[-1].removeprefix("Run it: "))[-2:] == ["--plan", str(mine)]


def test_a_plan_that_is_none_ends_with_2_and_one_line(tmp_path: Path, capsys: Capture) -> None:
    assert "did you mean 'rq2'" in refusal(["plan", "rq22"], capsys)
    assert "no such plan file" in refusal(["plan", str(tmp_path / "none.toml")], capsys)
    bad = tmp_path / "bad.toml"
    bad.write_text('name = "bad"\nrounds = 0\n')
    assert refusal(["plan", str(bad)], capsys).startswith(f"{bad}: rounds: ")
    assert refusal(["prepare", "micro", "--plan", str(bad)], capsys).startswith(f"{bad}: rounds: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["plans"],
        ["plan"],
        ["plan", "rq2", "--design", "both"],
        ["plan", "rq2", "--json", "--toml"],
        ["prepare", "macro"],
        ["sql"],
        ["sql", "run", "SELECT 1", "--format", "xml"],
        ["sweep", "--rounds", "0"],
        ["sweep", "--requests", "-1"],
        ["sweep", "--order-seed", "-1"],
    ],
)
def test_a_command_line_that_is_none_ends_with_2_and_says_where_help_is(arguments: list[str], capsys: Capture) -> None:
    said = refusal(arguments, capsys)
    known = arguments[0] in cli.app
    assert said.endswith(f" raybench{f' {arguments[0]}' if known else ''} --help says what it takes")


def test_a_command_is_what_is_missing_where_nothing_is_typed(capsys: Capture) -> None:
    assert cli.main([]) == 0
    assert capsys.readouterr().out.startswith("Usage: raybench COMMAND")


def test_what_was_probably_meant_is_told(capsys: Capture) -> None:
    assert refusal(["reprot"], capsys).startswith(
        "reprot is no command; did you mean 'report'? There are sweep, init, "
    )
    assert refusal(["tables", "RUN", "--fromat", "csv"], capsys) == (
        "--fromat is no option here; did you mean --format? raybench tables --help says what it takes"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan"], "NAME|FILE.toml: missing;"),
        (["compare", "A"], "RUN_B: missing;"),
        (["status", "A", "B", "C"], "B, C: more than it takes;"),
        (["status", ""], "RUN: '': names no place; give a folder, or s3://BUCKET/PREFIX;"),
        (["plan", "rq2", "--json", "--toml"], "--toml, --json: give one of them;"),
        (["plan", "--", "rq2", "--json"], "--json stands after --, where there are no options;"),
        (["sweep", "--until-halfwidth", "-1%"], "--until-halfwidth: give a value; one that begins with a hyphen as "),
        (["sweep", "--" + "x" * 100], f"--{'x' * 58}... is no option here;"),
        (["xyzzy"], "xyzzy is no command; there are sweep, init, plan, doctor, "),
    ],
)
def test_what_is_wrong_is_told_of_its_name(arguments: list[str], said: str, capsys: Capture) -> None:
    assert refusal(arguments, capsys).startswith(said)


def test_needs_that_are_missing_are_told_before_a_run_is_looked_for(capsys: Capture) -> None:
    assert refusal(["decide", "nowhere", "--tasks", "3"], capsys) == (
        "--gpu-memory, --requests-per-second: missing; advice needs all of --tasks, --gpu-memory and "
        "--requests-per-second"
    )


# raybench --version


def test_the_version_is_that_of_the_package(capsys: Capture) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"raybench {metadata.version('raybench')}\n"


# raybench prepare


def test_prepare_writes_a_folder_once_and_says_how_to_use_it(
    small_plan_path: Path, tmp_path: Path, capsys: Capture
) -> None:
    folder = tmp_path / "my models"
    arguments = ["prepare", "micro", "--plan", str(small_plan_path), "--out", str(folder)]
    assert cli.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{folder}: written; 2 adapters, 2 fully fine-tuned models"
    words = shlex.split(lines[1].removeprefix("Use it: "))
    assert words == ["raybench", "sweep", "--plan", str(small_plan_path), "--model", str(folder)]
    assert resolve_model(str(folder)).kind == "prepared"
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.startswith(f"{folder}: there already; ")


def test_prepare_without_a_folder_writes_where_the_sweep_looks(
    small_plan_path: Path,
    load_plan: Callable[..., Plan],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    monkeypatch.setenv("RAYBENCH_CACHE", str(tmp_path / "cache"))
    assert cli.main(["prepare", "micro", "--plan", str(small_plan_path)]) == 0
    folder = Path(capsys.readouterr().out.partition(":")[0])
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert len(before) > 10
    found = prepared(resolve_model("micro"), Recipe.of("micro", load_plan()))
    assert found.location == str(folder)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def test_prepare_refuses_a_folder_of_something_else(small_plan_path: Path, tmp_path: Path, capsys: Capture) -> None:
    arguments = ["prepare", "micro", "--plan", str(small_plan_path), "--out", str(tmp_path)]
    assert "exists and is not this preset for this plan" in refusal(arguments, capsys)
    assert [p.name for p in tmp_path.iterdir()] == [small_plan_path.name]


def test_prepare_refuses_modules_that_the_model_has_not(small_plan_path: Path, tmp_path: Path, capsys: Capture) -> None:
    text = small_plan_path.read_text().replace("alpha = 8", 'alpha = 8\ntarget_modules = ["q_projj"]')
    small_plan_path.write_text(text)
    arguments = ["prepare", "micro", "--plan", str(small_plan_path), "--out", str(tmp_path / "models")]
    assert cli.main(arguments) == 2
    assert "q_projj" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "models").exists()


# raybench tables and sql


def test_tables_prints_every_table_of_the_run(run: Path, capsys: Capture) -> None:
    assert cli.main(["tables", str(run)]) == 0
    out = capsys.readouterr().out
    for name in ("fullft_mrpc_seed42", "lora_merged_sst2_seed42", "multi_lora_2_adapters"):
        assert name in out
    assert "7 of 7 configurations complete." in out
    assert "\x1b" not in out


@pytest.mark.parametrize("command", [["tables"], ["sql"]])
def test_a_run_that_is_none_ends_with_2(tmp_path: Path, capsys: Capture, command: list[str]) -> None:
    query = ["SELECT 1"] if command == ["sql"] else []
    for folder in (tmp_path, tmp_path / "none", tmp_path / "file"):
        (tmp_path / "file").write_text("x")
        assert str(folder) in refusal([*command, str(folder), *query], capsys)


def test_sql_answers_any_query(run: Path, capsys: Capture) -> None:
    query = "SELECT configuration, count(*) AS n, min(wall_ns) > 0 AS positive FROM samples WHERE phase = 'timed' "
    query += "GROUP BY configuration ORDER BY configuration"
    assert cli.main(["sql", str(run), query, "--format", "csv"]) == 0
    # A multi's counterparts serve half of its requests each, beside their own.
    assert capsys.readouterr().out.splitlines() == [
        "configuration,n,positive",
        "fullft_mrpc_seed42,4,true",
        "fullft_sst2_seed42,4,true",
        "lora_merged_mrpc_seed42,4,true",
        "lora_merged_sst2_seed42,4,true",
        "lora_mrpc_seed42,6,true",
        "lora_sst2_seed42,6,true",
        "multi_lora_2_adapters,4,true",
    ]


def test_csv_holds_every_column_and_quotes_what_must_be(run: Path, capsys: Capture) -> None:
    query = "SELECT 1 AS a, 2 AS a, NULL AS x, 'a,b' AS y, 1.5::DOUBLE AS z"
    assert cli.main(["sql", str(run), query, "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines() == ["a,a,x,y,z", '1,2,,"a,b",1.5']


@pytest.mark.parametrize("order", [0, 1])
def test_a_query_may_begin_with_a_comment(order: int, run: Path, capsys: Capture) -> None:
    words = ["-- how many = x\nSELECT 1 AS a", "--format=csv"]
    assert cli.main(["sql", str(run), *(words if order else reversed(words))]) == 0
    assert capsys.readouterr().out == "a\n1\n"


def test_sql_that_is_none_is_explained_in_a_line(run: Path, capsys: Capture) -> None:
    message = refusal(["sql", str(run), "SELECT nothing FROM samples", "--format", "csv"], capsys, code=1)
    assert message.startswith("SQL: ")
    assert "nothing" in message


def test_sql_leaves_the_run_as_it_was(run: Path, capsys: Capture) -> None:
    before = {p: p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file()}
    assert cli.main(["sql", str(run), "CREATE OR REPLACE VIEW samples AS SELECT 1 AS wrong"]) == 0
    assert capsys.readouterr().err == ""
    assert {p: p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file()} == before
    assert Tables(run).rows("SELECT count(*) AS n FROM samples WHERE phase = 'timed'") == [{"n": 32}]


# The installed command, in a process of its own


def test_the_installed_command_runs_anywhere(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "raybench"), "plan", "smoke"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert "7 configurations in 3 blocks (paired design)" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_an_error_ends_the_process_with_its_code_and_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "raybench.cli", "tables", "none"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("raybench: none: no run here")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "command",
    [
        ["tables"],
        ["compare", "none"],
        ["decide", "--tasks=3", "--gpu-memory=2GB", "--slo-p95=40ms", "--requests-per-second=10"],
    ],
)
def test_a_reader_of_no_run_is_told_what_to_name_and_nothing_of_a_sweep_s_options(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main([*command, "none"]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == (
        "",
        "raybench: none: no run here, nor one of that name in data/runs; raybench runs says which there are\n",
    )
    assert cli.main([word.replace("none", "./none") for word in [*command, "none"]]) == 2
    assert capsys.readouterr().err == (
        "raybench: none: no run here (no run.json); name a run's own folder or URI, as data/runs/ID\n"
    )


WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("ray", "torch", "transformers", "peft", "safetensors", "tokenizers"):
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Missing())
from raybench.__main__ import main

run = sys.argv[1]
needs = ["--tasks=3", "--gpu-memory=2GB", "--slo-p95=40ms", "--requests-per-second=10"]
ended = []
for words in (["plan", "smoke"], ["runs", "--results", run], ["status", run], ["tables", run],
              ["sql", run, "FROM run"], ["compare", run, run], ["report", run, "--markdown"], ["decide", run, *needs]):
    sys.argv[1:] = words
    ended.append((words[0], main()))
print(ended)
"""


def test_what_only_reads_needs_no_measuring_library(run: Path) -> None:
    """A laptop without ray, torch, transformers and peft: importing them fails in this process."""
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT, str(run)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    names = ("plan", "runs", "status", "tables", "sql", "compare", "report")
    expected = [*((name, 0) for name in names), ("decide", 1)]  # no p95 there
    assert done.stdout.splitlines()[-1] == str(expected)


IMPORTED = """
import sys
from raybench.__main__ import main

main()
sys.stderr.write(" ".join(sorted(name for name in HEAVY if name in sys.modules)))
"""
HEAVY = (
    "duckdb",
    "jinja2",
    "matplotlib",
    "numpy",
    "pandas",
    "psutil",
    "pyarrow",
    "pydantic",
    "rich",
    "scipy",
    "scipy.stats",
    "torch",
)


@pytest.mark.parametrize(
    ("words", "imported"),
    [
        (["--help"], "rich"),
        (["--version"], "rich"),
        (["plan", "--help"], "rich"),
        (["status", "RUN"], "numpy pyarrow pydantic"),
        (["plan", "smoke"], "numpy psutil pydantic"),
        (["runs", "--results", "RUN"], "numpy pyarrow pydantic rich"),
        (["tables", "RUN"], "duckdb numpy pyarrow pydantic rich scipy"),
        (["report", "--help"], "rich"),
        (["completion", "bash"], ""),
        (["__complete", "status", ""], ""),
        (["report", "RUN", "--json"], "duckdb numpy pyarrow pydantic rich scipy"),
    ],
)
def test_a_command_imports_what_it_needs(words: list[str], imported: str, run: Path) -> None:
    """Each of them takes longer to import than Python to start."""
    words = [str(run) if word == "RUN" else word for word in words]
    code = f"HEAVY = {HEAVY}\n{IMPORTED}"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, imported)


@pytest.mark.parametrize("name", ["raybench.cli", "duckdb"])
def test_ctrl_c_while_it_is_imported_is_a_line(name: str) -> None:
    """Be it the command line itself, or what the command that is asked for needs."""
    code = (
        "import sys; sys.meta_path.insert(0, type('', (), {'find_spec': lambda self, name, *_: "
        f"exec('raise KeyboardInterrupt') if name == {name!r} else None}})()); "
        "from raybench.__main__ import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code, "tables", "x"], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "raybench: interrupted\n")


def test_sql_takes_its_query_after_options_too(run: Path, capsys: Capture) -> None:
    for words in (["--format", "csv", "SELECT 1 AS a"], ["SELECT 1 AS a", "--format", "csv"]):
        assert cli.main(["sql", str(run), *words]) == 0
        assert capsys.readouterr().out == "a\n1\n"


def test_a_reader_that_has_gone_is_no_error(tmp_path: Path) -> None:
    many = "".join(
        f'[[configurations]]\nname = "c{i}"\nstrategy = "full_ft"\ntask = "mrpc"\nseed = {i}\n' for i in range(1000)
    )
    (tmp_path / "many.toml").write_text('name = "many"\n' + many)
    command = [sys.executable, "-m", "raybench.cli", "plan", "many.toml"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith("many: ")
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(120) == 0
    process.stderr.close()
