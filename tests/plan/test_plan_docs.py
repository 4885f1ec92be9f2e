"""docs/plan.md is true of plans: every key and no other, its default, an example; and its whole plans can be run."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path
from typing import Annotated, Any

import pydantic
import pytest

from raybench import cli
from raybench.deploy.strategies import all_traits
from raybench.plan.file import PlanSource, parse_plan
from raybench.plan.schema import TABLES, PlanTable
from raybench.sweep.commented_toml import toml
from raybench.sweep.estimate import CHECKS, GPUS, LOAD_BYTES_S, REACHED, START_S, VISIT_S
from sweep.own_plans import save_fine_tunes

DOCS = (Path(__file__).parents[2] / "docs" / "plan.md").read_text("utf-8")
SECTIONS = {"The plan": PlanTable} | {
    f"`[{name}]`" if name in ("workload", "goodput") else f"`[[{name}]]`": table for name, table in TABLES.items()
}
ROW = re.compile(r"\| `(\w+)` \| ([\w ]+) \| (?:`(.+?)`|(none))? ?\| (.+) \| (.+) \|")


def rows(section: str) -> dict[str, tuple[str | None, str]]:
    """Of each key its default, None where it must be given, and its example."""
    (text,) = re.findall(rf"\n### {re.escape(section)}\n(.*?)(?=\n##|\Z)", DOCS, re.DOTALL)
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    matches = [ROW.fullmatch(line) for line in lines]
    assert [line for line, match in zip(lines, matches, strict=True) if match is None] == []
    return {match[1]: (match[3] or match[4], match[6]) for match in matches if match is not None}


def test_there_is_a_section_for_each_table() -> None:
    (keys,) = re.findall(r"\n## Every key\n(.*?)\n## ", DOCS, re.DOTALL)
    assert re.findall(r"^### (.+)$", keys, re.MULTILINE) == [
        "The plan",
        "`[workload]`",
        "`[[servers]]`",
        "`[goodput]`",
        "`[[claims]]`",
        "`[[adapters]]`",
        "`[[matrix]]`",
        "`[[configurations]]`",
    ]
    assert set(SECTIONS) == set(re.findall(r"^### (.+)$", keys, re.MULTILINE))


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_there_and_no_other_with_its_default(section: str) -> None:
    fields = SECTIONS[section].model_fields
    defaults = {
        key: None if field.is_required() else "none" if field.default is None else toml(field.default)
        for key, field in fields.items()
    }
    assert {key: default for key, (default, _) in rows(section).items()} == defaults


@pytest.mark.parametrize("section", SECTIONS)
def test_the_example_of_every_key_is_one(section: str) -> None:
    fields = SECTIONS[section].model_fields
    for key, (_, example) in rows(section).items():
        if example == "see below":
            assert key in TABLES
            continue
        found = tomllib.loads(example.strip("`"))
        assert list(found) == [key]
        field: Any = fields[key]
        adapter: Any = pydantic.TypeAdapter(
            Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        )
        assert adapter.validate_python(found[key], strict=True) is not None


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page's plans name, beside which they lie."""
    made, root = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("beside")
    save_fine_tunes(made)
    for kind, base, names in (("SEQ_CLS", "classifier", ("support", "sales")), ("CAUSAL_LM", "lm", ("chat", "code"))):
        shutil.copytree(made / base, root / kind / "models/base")
        shutil.copytree(made / base, root / kind / "models/support_full")
        for name, adapter in zip(("support", "sales"), names, strict=True):
            shutil.copytree(made / adapter, root / kind / "adapters" / name)
    rows = (f'{{"prompt": "a film", "assistant": "{name}"}}\n' for name in ("support", "sales"))
    (root / "CAUSAL_LM/prompts.jsonl").write_text("".join(rows))
    return root


@pytest.mark.parametrize("task_type", ["SEQ_CLS", "CAUSAL_LM"])
def test_the_whole_plans_are_checked_against_models_and_adapters(
    task_type: str, beside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = {
        "CAUSAL_LM" if "CAUSAL_LM" in text else "SEQ_CLS": text
        for text in re.findall(r"```toml\n(.+?)```", DOCS, re.DOTALL)
    }
    path = beside / task_type / "plan.toml"
    path.write_text(texts[task_type])
    plan, _ = parse_plan(PlanSource("docs", texts[task_type]), all_traits(), ())
    assert plan.task_type == task_type
    assert {c.strategy for c in plan.configurations} == {"full_ft", "lora_separate", "lora_merged", "multi_lora"}
    assert {(c.reference_strategy, c.configuration) for c in plan.comparisons} >= {
        ("lora_separate", c.name) for c in plan.configurations if c.strategy == "multi_lora"
    }
    assert cli.main(["plan", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].rstrip() == f"Run it: raybench sweep --plan {path}"


def test_the_figures_of_estimates_are_those_of_the_code() -> None:
    for gpu in GPUS:
        tflops, gb_s = gpu.flops_s / REACHED / 1e12, gpu.bytes_s / REACHED / 1e9
        memory = (gpu.memory_bytes or 0) // 10**9
        assert re.search(rf"\| {gpu.name}(, SXM)? \| {tflops:g} TFLOPS \| {gb_s:,g} GB/s \| {memory} GB \|", DOCS)
    assert REACHED == 0.5
    assert f"{START_S:g} s to start Ray, {VISIT_S:g} s a visit, {LOAD_BYTES_S / 1e9:g} GB/s to read weights" in DOCS
    assert f"of each configuration {CHECKS} requests that are checked" in DOCS
