"""Two runs of a language model compared: by the whole request, the prefill and the decoding step."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from command_lines import bound
from generated_runs import Cost, Took, even_cost, generated, load_generated
from raybench.analysis.significance import holm
from raybench.analysis.tables import Tables
from raybench.compare import command as module
from raybench.compare.command import compare
from raybench.compare.report import show
from raybench.plan.plan import Configuration
from raybench.report import Screen

MEASURES = ["end_to_end", "ttft", "tpot"]
Make = Callable[..., Path]


def slower_steps(c: Configuration, task: str, request: int, round_index: int) -> Took:
    """The separate adapters' decoding steps take 10 % longer, and shorter prefills make up for it."""
    took = even_cost(c, task, request, round_index)
    if c.strategy != "lora_separate":
        return dataclasses.replace(took, prefill=took.prefill + round_index * len(c.strategy))
    steps = [step + 260_000 for step in took.steps]
    return dataclasses.replace(took, prefill=took.prefill - 780_000 + 13 * round_index, steps=steps)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(name: str, cost: Cost = even_cost) -> Path:
        run: Path = generated(load_generated(tmp_path), tmp_path, cost, name)
        return run

    return made


def test_each_measure_is_compared(make: Make) -> None:
    found = compare(Tables(make("a")), Tables(make("b", slower_steps)))
    assert [(r.name, r.measure) for r in found.deployments] == [
        (name, measure)
        for name in ("Full FT", "LoRA Separate", "LoRA Merged", "Multi-adapter (2)")
        for measure in MEASURES
    ]
    separate = {r.measure: r for r in found.deployments if r.name == "LoRA Separate"}
    assert [(r.a_ms, r.b_ms) for r in separate.values()] == [
        pytest.approx((19.8, 19.8), rel=1e-3),
        pytest.approx((12.0, 11.22), rel=1e-3),
        pytest.approx((2.6, 2.86), rel=1e-3),
    ]
    for by in ("absolute", "relative"):
        changes = {m: r.judged(by) for m, r in separate.items()}  # type: ignore[arg-type]
        assert [c and c.verdict for c in changes.values()] == ["equivalent", "faster", "slower"]
        assert changes["tpot"] is not None
        assert changes["tpot"].estimate.ratio == pytest.approx(1.1, rel=1e-3)
        assert changes["tpot"].b / changes["tpot"].a == pytest.approx(changes["tpot"].estimate.ratio, rel=1e-9)
    assert {r.absolute.method for r in found.deployments + found.configurations} == {"paired"}
    for rows in (found.deployments, found.configurations):
        adjusted = holm([r.absolute.estimate.p_value() for r in rows])
        assert [r.absolute.p_holm for r in rows] == pytest.approx(adjusted, rel=1e-9)


def test_a_run_compared_with_itself_is_equivalent_by_each_measure(make: Make) -> None:
    a = make("a")
    found = compare(Tables(a), Tables(a))
    assert {r.absolute.verdict for r in found.deployments} == {"equivalent"}
    assert {r.relative.verdict for r in found.deployments if r.relative is not None} == {"equivalent"}
    assert len([r for r in found.configurations if r.relative is None]) == 6


def command(*argv: object) -> int:
    _, found = bound(["compare", *map(str, argv)])
    return module.run(found["before"], found["after"], found["options"])


def test_the_gate_fails_on_any_measure(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = make("a"), make("b", slower_steps)
    assert command(a, b, "--fail-on", "slower") == 1
    out = capsys.readouterr().out
    assert "Failed on slower: LoRA Separate (TPOT)" in out.splitlines()
    assert "LoRA Separate (TPOT) is slower in B, relative to Full FT: +10.0 %" in out
    assert "LoRA Separate (TTFT) is faster in B, relative to Full FT: -6.5 %" in out
    same = "LoRA Separate, LoRA Merged (end to end, TTFT, TPOT), Multi-adapter (2) (end to end, TTFT, TPOT)."
    assert f"Equivalent within ±2 %, relative to Full FT: {same}" in out
    assert command(a, b, "--fail-on", "inconclusive") == 0
    capsys.readouterr()
    assert command(a, b, "--fail-on", "slower", "--each", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["failed"] == ["lora_mrpc", "lora_sst2"]
    assert found["failed_because"] == ["slower: lora_mrpc (TPOT), lora_sst2 (TPOT)"]
    assert [row["measure"] for row in found["configurations"][:3]] == MEASURES


def test_each_measure_has_a_table(make: Make) -> None:
    out = io.StringIO()
    show(compare(Tables(make("a")), Tables(make("b", slower_steps))), Screen(file=out, width=200))
    titles = [line.strip() for line in out.getvalue().splitlines() if line.startswith("B against A")]
    assert titles == [
        f"B against A, {rows} ({measure}, wall time; 95 % intervals)"
        for rows in ("deployments", "configurations")
        for measure in ("TTFT", "TPOT", "end to end")
    ]


def test_other_numbers_of_output_tokens_are_other_requests(make: Make) -> None:
    def longer(c: Configuration, task: str, request: int, round_index: int) -> Took:
        took = even_cost(c, task, request, round_index)
        return dataclasses.replace(took, steps=[*took.steps, took.steps[0]])

    found = compare(Tables(make("a")), Tables(make("b", longer)))
    assert found.notes == ("Requests of one number differ in length: all requests of each run are compared.",)
    separate = {r.measure: r for r in found.deployments if r.name == "LoRA Separate"}
    assert (separate["tpot"].absolute.method, separate["tpot"].absolute.verdict) == ("welch", "equivalent")
    assert separate["end_to_end"].absolute.verdict == "slower"


def test_a_measure_that_one_run_lacks_is_not_compared(make: Make) -> None:
    def of_one_token(c: Configuration, task: str, request: int, round_index: int) -> Took:
        return dataclasses.replace(even_cost(c, task, request, round_index), steps=[])

    found = compare(Tables(make("a")), Tables(make("b", of_one_token)))
    assert {r.measure for r in found.deployments} == {"end_to_end", "ttft"}
