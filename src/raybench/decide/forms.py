"""What a strategy gains in a further form or execution, told by the run, and the lines of code that get it.

Section 7 of the rule in `docs/decide.md`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Final

from raybench.analysis import Tables, shipped_sql
from raybench.decide.advice import Comparison, FormGain
from raybench.decide.capacity import STRATEGIES
from raybench.decide.telling import surest, through, told_by, within_margin
from raybench.records import count
from raybench.report import round_seconds

_GIVEN: Final = {
    "full_ft": "model",
    "lora_merged": "merged_model",
    "lora_separate": "peft_model",
    "multi_lora": "peft_model",
}
"""What a person has before: what the lines of code begin with."""
_SWITCHING: Final = ("stacked", "remerge")
COMPILED: Final = "fullgraph=True, dynamic=True, isolate_recompiles=True"
"""What `raybench.deploy.compiling` tells torch.compile, besides the model."""
ON_CPU: Final = '"cpp_wrapper": True'
"""Its options where the run was one on CPUs."""
FIXED: Final = '"guard_filter_fn": torch.compiler.skip_guard_on_all_nn_modules_unsafe'
"""Its options where nothing of the model's modules changes but the values of their tensors."""


def lines_of(strategy: str, form: str, execution: str, on_cpu: bool) -> tuple[str, ...]:
    """The lines of a person's own program that make its model what was measured; they say nothing of imports."""
    given = _GIVEN[strategy]
    if form in _SWITCHING:
        lines = [f"model, switch = raybench.{form}({given}, names)"]
    elif form in ("lean", "fused"):
        lines = [f"model = raybench.{form}({given})"]
    else:
        lines = [f"model = {given}.get_base_model()"] if given == "peft_model" and execution != "eager" else []
    model = "model" if lines else given
    if execution in ("compile", "compile_static"):
        lines.append("torch._dynamo.config.fail_on_recompile_limit_hit = True")
        fixed = strategy != "multi_lora" or form in _SWITCHING
        options = ", ".join([*([ON_CPU] if on_cpu else []), *([FIXED] if fixed else [])])
        call = f"model = torch.compile({model}, {COMPILED}" + (f", options={{{options}}})" if options else ")")
        lines.append(call if execution == "compile" else call.replace("dynamic=True", "dynamic=False"))
    if execution == "compile_static":
        lines.append("# with rows padded on the right to 16, 32, 64, ... tokens")
    if execution == "cudagraph":
        lines.append(f"forward = raybench.captured({model})  # pads rows on the right to 16, 32, 64, ... tokens")
    return tuple(lines)


def forms_of(tables: Tables) -> tuple[FormGain, ...]:
    """Every strategy of raybench's own that the run has in a further form or execution, in the run's order."""
    rows = tables.rows(
        "SELECT * FROM by_strategy "
        "WHERE clock = 'wall' AND measure = 'end_to_end' AND verdict IS NOT NULL AND via IS NULL"
    )
    forms = tables.rows(shipped_sql("decide_forms"))
    gains = (_gain(form, rows, tables.margin) for form in forms if form["strategy"] in STRATEGIES)
    round_s = round_seconds(tables)
    return tuple(dataclasses.replace(gain, round_s=round_s) for gain in gains)


def _gain(form: Mapping[str, Any], rows: Iterable[Mapping[str, Any]], margin: float) -> FormGain:
    gain = FormGain(
        deployment=form["deployment"],
        strategy=form["strategy"],
        form=form["form"],
        execution=form["execution"],
        role=form["role"],
        usual=form["usual"],
        compile_s=None if form["compile_ns"] is None else form["compile_ns"] / 1e9,
        lines=lines_of(form["strategy"], form["form"], form["execution"], bool(form["on_cpu"])),
    )
    if form["usual"] is None:
        return dataclasses.replace(gain, lacks=_no_usual(form))
    missing = [
        f"{of}{form[complete]} of {count(form[configurations], 'configuration')} complete"
        for of, complete, configurations in (
            ("", "complete", "configurations"),
            (f"of {form['usual']} ", "usual_complete", "usual_configurations"),
        )
        if form[complete] < form[configurations]
    ]
    if missing:
        return dataclasses.replace(gain, lacks=f"{', '.join(missing)}: `raybench status` says what stands in the way")
    ours = {_against(row): row for row in rows if row["deployment"] == form["deployment"]}
    usual = {_against(row): row for row in rows if row["deployment"] == form["usual"]}
    if row := ours.get((form["usual_role"], form["usual"])):
        return _told(gain, _seen(row, form["usual"]), row, (row["compared_ms"], row["reference_ms"]))
    if row := usual.get((form["role"], form["deployment"])):
        seen = _seen(row, form["deployment"]).seen_from(form["deployment"])
        return _told(gain, seen, row, (row["reference_ms"], row["compared_ms"]))
    common = [
        within_margin(through(_seen(ours[key], key[1]), _seen(usual[key], key[1])), 1 + margin)
        for key in ours
        if key in usual
    ]
    if common:
        return _told(gain, surest(common), None, (None, None))
    return dataclasses.replace(gain, lacks=_never_compared(form))


def _against(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["reference_strategy"], row["reference_deployment"]


def _seen(row: Mapping[str, Any], reference: str) -> Comparison:
    """A row of `by_strategy`, by the names of its two deployments."""
    return told_by(row, row["deployment"], reference)


def _told(
    gain: FormGain,
    seen: Comparison,
    row: Mapping[str, Any] | None,
    means_ms: tuple[float | None, float | None],
) -> FormGain:
    """``row``: that of `by_strategy` in which the two stand against each other; None where a third is between them."""
    return dataclasses.replace(
        gain,
        ratio=seen.ratio,
        low=seen.low,
        high=seen.high,
        verdict=seen.verdict,
        settled=seen.verdict != "inconclusive",
        more_rounds=None if row is None else row["more_rounds"],
        no_interval=None if row is None else row["unknown"],
        disputed=seen.disputed,
        through=seen.through,
        mean_ms=means_ms[0],
        usual_ms=means_ms[1],
    )


def _no_usual(form: Mapping[str, Any]) -> str:
    return (
        f"this run has no {form['strategy']} as it is by itself, of the same data type, cache and adapters: measure a "
        f"plan that has, with {form['strategy']} among its references (such as execution)"
    )


def _never_compared(form: Mapping[str, Any]) -> str:
    return (
        f"never compared with {form['usual']}, nor with a common reference: put {form['usual_role']} among the plan's "
        "references, and measure it in a new run"
    )
