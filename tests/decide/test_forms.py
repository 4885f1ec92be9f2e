"""What further forms gain: by hand on runs of known times, with the lines that get them."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from scipy import stats
from transformers import LlamaForSequenceClassification

import raybench
from decide.advising import LATENCIES_MS, advise, make_run
from deploy.forms import by_peft, logits
from deploy.shapes import difference
from model.small_checkpoints import llama_config
from raybench.analysis.tables import Tables
from raybench.decide.advice import FormGain, advice_to_dict
from raybench.decide.capacity import STRATEGIES as ADVISED
from raybench.decide.forms import COMPILED, FIXED, ON_CPU, lines_of
from raybench.decide.gains import gain_lines, gain_words
from raybench.deploy import compiling
from raybench.deploy.strategies import STRATEGIES
from runs import judge_anew
from small_plans import SMALL_PLAN

SEPARATE = """
[[matrix]]
name = "{name}"
strategy = "lora_separate"
tasks = ["mrpc", "sst2"]
seeds = [42]
adapters = ["{{task}}_seed{{seed}}"]
form = "{form}"
"""
FUSED, LEAN = (SEPARATE.format(name=f"{form}_{{task}}", form=form) for form in ("fused", "lean"))
STACKED = """
[[configurations]]
name = "stacked"
strategy = "multi_lora"
form = "stacked"
seed = 42
adapters = ["mrpc_seed42", "sst2_seed42"]
"""
USUAL = {"lora_separate": (1.0, 1.0, 1.0)}
ONLY_MERGED = 'references = ["lora_merged"]\n'


def made(folder: Path, plan: str, factors: Mapping[str, tuple[float, ...]], **overrides: Any) -> Tables:
    """A run of ``plan`` whose requests take as long as their strategy's, times the factor of their role and round."""
    tables = Tables(make_run(folder, LATENCIES_MS, plan, **{"rounds": 3, "requests": 4} | overrides))
    values = ", ".join(f"('{role}', {r}, {f!r})" for role, of in factors.items() for r, f in enumerate(of))
    milliseconds = ", ".join(f"('{strategy}', {ms!r})" for strategy, ms in LATENCIES_MS.items())
    tables.connection.execute(
        f"""
        CREATE TABLE factors AS SELECT * FROM (VALUES {values}) AS t(role, round, factor);
        CREATE TABLE means AS SELECT * FROM (VALUES {milliseconds}) AS t(strategy, ms);
        CREATE TABLE timed_as_measured AS FROM timed;
        CREATE OR REPLACE VIEW timed AS
        SELECT t.* REPLACE (round(m.ms * 1e6 * coalesce(f.factor, 1))::BIGINT AS wall_ns) FROM timed_as_measured AS t
        JOIN configurations AS c ON c.name = t.configuration JOIN means AS m USING (strategy)
        LEFT JOIN factors AS f ON f.role = c.role AND f.round = t.round
        """
    )
    judge_anew(tables)
    return tables


def by_role(tables: Tables) -> dict[str, FormGain]:
    return {gain.role: gain for gain in advise(tables).forms}


def interval(ratios: tuple[float, ...]) -> tuple[float, float, float]:
    """Two configurations whose visits have the same ratios: Student's t of the mean of the two."""
    logs = np.log(ratios)
    half = stats.t.ppf(0.975, 2 * (len(logs) - 1)) * logs.std(ddof=1) / math.sqrt(2 * len(logs))
    return math.exp(logs.mean()), math.exp(logs.mean() - half), math.exp(logs.mean() + half)


def test_a_form_takes_so_many_times_the_usual_s_time_with_its_interval_and_its_line(tmp_path: Path) -> None:
    fused = (0.60, 0.62, 0.64)
    found = by_role(made(tmp_path, SMALL_PLAN + FUSED, {"lora_separate_fused": fused}))
    gain = found.pop("lora_separate_fused")
    assert found == {}
    assert (gain.deployment, gain.usual, gain.form, gain.execution) == (
        "LoRA Separate (fused)",
        "LoRA Separate",
        "fused",
        "eager",
    )
    assert (gain.ratio, gain.low, gain.high) == pytest.approx(interval(fused), rel=1e-6)
    assert (gain.verdict, gain.settled, gain.lacks, gain.through, gain.compile_s) == ("faster", True, None, None, None)
    assert gain.mean_ms == pytest.approx(5 * math.exp(np.log(fused).mean()), rel=1e-6)
    assert gain.usual_ms == pytest.approx(5, rel=1e-6)
    assert gain.lines == ("model = raybench.fused(peft_model)",)
    ratio, low, high = interval(fused)
    assert list(gain_lines([gain])) == [
        "Further forms, by mean wall time of the same requests (by_strategy), and the lines to get them:",
        f"  LoRA Separate (fused): {ratio:.3g} times LoRA Separate [{low:.3g}, {high:.3g}] "
        f"({gain.mean_ms:.4g} ms for 5 ms): faster, settled",
        "      model = raybench.fused(peft_model)",
    ]


def test_the_comparison_counts_whichever_of_the_two_is_the_reference(tmp_path: Path) -> None:
    lean = (0.90, 0.91, 0.93)
    plan = 'references = ["lora_separate_lean"]\n' + SMALL_PLAN + LEAN
    gain = by_role(made(tmp_path, plan, {"lora_separate_lean": lean}))["lora_separate_lean"]
    assert (gain.ratio, gain.low, gain.high) == pytest.approx(interval(lean), rel=1e-6)
    assert (gain.verdict, gain.through) == ("faster", None)
    assert (gain.mean_ms, gain.usual_ms) == pytest.approx((5 * math.exp(np.log(lean).mean()), 5), rel=1e-6)


def test_through_a_third_both_intervals_count_and_the_third_is_named(tmp_path: Path) -> None:
    fused, usual = (0.60, 0.62, 0.64), (1.0, 1.01, 0.99)
    factors = {"lora_separate_fused": fused, "lora_separate": usual}
    gain = by_role(made(tmp_path, ONLY_MERGED + SMALL_PLAN + FUSED, factors))["lora_separate_fused"]
    (ratio, low, high), (of_usual, usual_low, usual_high) = interval(fused), interval(usual)
    assert (gain.ratio, gain.low, gain.high) == pytest.approx(
        (ratio / of_usual, low / usual_high, high / usual_low), rel=1e-6
    )
    assert (gain.through, gain.verdict, gain.settled, gain.mean_ms) == ("LoRA Merged", "faster", True, None)
    assert gain_words(gain).endswith(": faster, settled, both against LoRA Merged")


def test_several_adapters_meet_through_the_separate_ones(tmp_path: Path) -> None:
    factors = {"multi_lora_stacked": (0.8, 0.82, 0.81), "multi_lora": (1.0, 1.01, 1.02)}
    gain = by_role(made(tmp_path, SMALL_PLAN + STACKED, factors))["multi_lora_stacked"]
    assert (gain.usual, gain.through, gain.verdict) == ("Multi-adapter (2)", "LoRA Separate", "faster")
    logs = {role: np.log(of).mean() for role, of in factors.items()}
    assert gain.ratio == pytest.approx(math.exp(logs["multi_lora_stacked"] - logs["multi_lora"]), rel=1e-6)
    assert gain.lines == ("model, switch = raybench.stacked(peft_model, names)",)


def test_what_is_not_settled_says_so_and_what_would(tmp_path: Path) -> None:
    gain = by_role(made(tmp_path, SMALL_PLAN + FUSED, {"lora_separate_fused": (0.80, 1.0, 1.2)}))["lora_separate_fused"]
    assert (gain.verdict, gain.settled) == ("inconclusive", False)
    assert gain.more_rounds is not None
    near = dataclasses.replace(gain, more_rounds=12)
    assert "inconclusive, not settled: about 12 more rounds would" in gain_words(near)
    far = dataclasses.replace(gain, more_rounds=8_546)
    assert ": inconclusive, not to be settled by more rounds on this machine: a wider margin" in gain_words(far)
    one = by_role(made(tmp_path / "one", SMALL_PLAN + FUSED, {"lora_separate_fused": (0.8,)}, rounds=1))
    (gain,) = one.values()
    assert (gain.ratio, gain.settled, gain.no_interval) == (pytest.approx(0.8, rel=1e-6), False, "one visit")
    assert "0.8 times LoRA Separate [no interval] (4 ms for 5 ms): inconclusive, not settled: one visit" in gain_words(
        gain
    )


def test_without_the_usual_or_a_comparison_there_is_no_number_but_the_remedy(tmp_path: Path) -> None:
    alone = SMALL_PLAN.replace('strategy = "lora_separate"', 'strategy = "lora_separate"\nform = "fused"')
    alone = alone.partition("[[configurations]]")[0]
    (gain,) = by_role(made(tmp_path / "alone", alone, USUAL)).values()
    assert (gain.usual, gain.ratio, gain.settled) == (None, None, False)
    assert gain_words(gain) == (
        "this run has no lora_separate as it is by itself, of the same data type, cache and adapters: measure a plan "
        "that has, with lora_separate among its references (such as execution)"
    )
    never = ONLY_MERGED + SMALL_PLAN.replace('strategy = "lora_merged"', 'strategy = "lora_merged"\nrole = "other"')
    never = never.replace('references = ["lora_merged"]', 'references = ["multi_lora"]')
    (gain,) = by_role(made(tmp_path / "never", never + FUSED, USUAL)).values()
    assert gain_words(gain) == (
        "never compared with LoRA Separate, nor with a common reference: put lora_separate among the plan's "
        "references, and measure it in a new run"
    )
    assert list(gain_lines([gain]))[1:] == [f"  LoRA Separate (fused): {gain.lacks}"]


@pytest.mark.parametrize(
    ("incomplete", "lacks"),
    [
        ("fused%", "0 of 2 configurations complete"),
        ("fused_sst2", "1 of 2 configurations complete"),
        ("lora_%", "of LoRA Separate 0 of 2 configurations complete"),
        ("%_sst2%", "1 of 2 configurations complete, of LoRA Separate 1 of 2 configurations complete"),
    ],
)
def test_a_form_that_was_not_measured_to_the_end_says_so(incomplete: str, lacks: str, tmp_path: Path) -> None:
    tables = made(tmp_path, SMALL_PLAN + FUSED, USUAL)
    tables.connection.execute(
        "CREATE OR REPLACE VIEW completeness AS SELECT k.* REPLACE "
        f"(k.complete AND k.configuration NOT LIKE '{incomplete}' AS complete) FROM raybench_kept_completeness AS k"
    )
    (gain,) = advise(tables).forms
    assert gain.lacks == f"{lacks}: `raybench status` says what stands in the way"


def test_what_the_forms_gain_is_told_also_where_there_is_no_advice(tmp_path: Path) -> None:
    plan = SMALL_PLAN.partition("[[configurations]]")[0] + FUSED
    advice = advise(made(tmp_path, plan, {"lora_separate_fused": (0.6, 0.62, 0.64)}))
    assert "multi_lora: not in this run" in advice.missing
    assert [gain.verdict for gain in advice.forms] == ["faster"]
    (told,) = json.loads(json.dumps(advice_to_dict(advice), allow_nan=False))["forms"]
    assert (told["role"], told["lines"]) == ("lora_separate_fused", ["model = raybench.fused(peft_model)"])


def test_a_compiled_one_says_what_compiling_took(tmp_path: Path) -> None:
    plan = SMALL_PLAN + FUSED + 'role = "lora_separate_fused_compile"\n'
    tables = made(tmp_path, plan, {"lora_separate_fused_compile": (0.5, 0.51, 0.52)})
    tables.connection.execute(
        """
        CREATE TABLE configurations_as_planned AS FROM configurations;
        CREATE OR REPLACE VIEW configurations AS SELECT * REPLACE (
            CASE WHEN form = 'fused' THEN 'compile' ELSE execution END AS execution) FROM configurations_as_planned;
        CREATE TABLE loads_as_measured AS FROM loads;
        CREATE OR REPLACE VIEW loads AS SELECT l.* REPLACE (
            CASE WHEN c.form = 'fused' THEN CASE WHEN l.round = 0 THEN 41e9 ELSE 2e9 END::BIGINT END AS compile_ns)
        FROM loads_as_measured AS l JOIN configurations AS c ON c.name = l.configuration
        """
    )
    (gain,) = advise(tables).forms
    assert (gain.execution, gain.compile_s) == ("compile", 41.0)
    assert gain.lines[-1] == f"model = torch.compile(model, {COMPILED}, options={{{FIXED}}})"
    assert gain_words(gain).endswith(": faster, settled; compiled once a machine, in 41 s")
    tables.connection.execute(
        "CREATE TABLE visits_as_made AS FROM visits; "
        "CREATE OR REPLACE VIEW visits AS SELECT * REPLACE ('cpu@node' AS device) FROM visits_as_made"
    )
    (gain,) = advise(tables).forms
    assert gain.lines[-1] == f"model = torch.compile(model, {COMPILED}, options={{{ON_CPU}, {FIXED}}})"


# The lines of code


@pytest.fixture(scope="module")
def peft_model() -> Any:
    """Two adapters, ``one`` and ``other``, on a base of a few thousand weights."""
    torch.manual_seed(0)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False}
    base = LlamaForSequenceClassification(llama_config(initializer_range=0.2))
    made = peft.get_peft_model(base, peft.LoraConfig(**settings), "one")
    made.add_adapter("other", peft.LoraConfig(**settings))
    return made.eval()


@pytest.mark.parametrize("form", ["lean", "fused"])
def test_the_line_of_a_form_makes_a_model_that_computes_what_peft_does(peft_model: Any, form: str) -> None:
    alone = copy.deepcopy(peft_model)
    alone.delete_adapter("other")
    expected = logits(alone)
    given: dict[str, Any] = {"raybench": raybench, "peft_model": alone}
    exec("\n".join(lines_of("lora_separate", form, "eager", True)), given)
    assert difference(logits(given["model"]), expected) < 1e-5


@pytest.mark.parametrize("form", ["stacked", "remerge"])
def test_the_line_of_several_adapters_makes_a_model_and_its_switch(peft_model: Any, form: str) -> None:
    names = ["one", "other"]
    expected = by_peft(peft_model, names)
    given: dict[str, Any] = {"raybench": raybench, "peft_model": copy.deepcopy(peft_model), "names": names}
    exec("\n".join(lines_of("multi_lora", form, "eager", True)), given)
    for name in reversed(names):
        given["switch"](name)
        assert difference(logits(given["model"]), expected[name]) < 1e-5


def test_by_length_and_captured_the_lines_say_what_rows_are_padded_to() -> None:
    by_length = lines_of("lora_separate", "fused", "compile_static", on_cpu=False)
    assert by_length[0] == "model = raybench.fused(peft_model)"
    assert by_length[2:] == (
        "model = torch.compile(model, fullgraph=True, dynamic=False, isolate_recompiles=True, "
        'options={"guard_filter_fn": torch.compiler.skip_guard_on_all_nn_modules_unsafe})',
        "# with rows padded on the right to 16, 32, 64, ... tokens",
    )
    assert lines_of("full_ft", "plain", "cudagraph", on_cpu=False) == (
        "forward = raybench.captured(model)  # pads rows on the right to 16, 32, 64, ... tokens",
    )


@pytest.mark.parametrize(
    ("strategy", "form"),
    [(name, form) for name in ADVISED for form in STRATEGIES[name].traits.forms],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_lines_compile_as_a_configuration_is_compiled(
    strategy: str, form: str, device: str, peft_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another device than a CPU is any other here: nothing is computed on it."""
    if device != "cpu":
        peft_model = copy.deepcopy(peft_model).to(device)
    calls: list[tuple[Any, dict[str, Any]]] = []
    monkeypatch.setattr(torch, "compile", lambda model, **options: calls.append((model, options)) or model)
    model = peft_model if form == "peft" else peft_model.get_base_model()
    compiling.compiled(model, fixed=strategy != "multi_lora" or form in ("stacked", "remerge"))
    monkeypatch.setattr(torch._dynamo.config, "fail_on_recompile_limit_hit", False)
    lines = lines_of(strategy, form, "compile", on_cpu=device == "cpu")
    # What stands before the line that compiles has given `model`, or nothing had to.
    given = {"torch": torch, "model": model, "merged_model": model, "peft_model": peft_model}
    exec("\n".join(line for line in lines if "raybench" not in line), given)
    assert torch._dynamo.config.fail_on_recompile_limit_hit
    (of_raybench, of_person) = calls
    assert of_person[0] is of_raybench[0]
    assert {"options": None} | of_person[1] == of_raybench[1]
