"""Equal things, quiet and under load: how often is a difference found that is not there?

    python benchmarks/equal_things.py                 100 sweeps of each, some 40 minutes; leave the machine alone
    python benchmarks/equal_things.py --judge         only judge again what was measured

One configuration under two names, in 3 blocks. A sweep is ten rounds of them, 20 requests each. All sweeps of a
condition are taken one after the other by one `raybench sweep`, through Ray and processes as any other, and judged
apart by what raybench judges a run with. Beside it stand what else people judge the same samples by: Welch's t test
over all samples, pyperf's rule for a significant difference (its own code, each visit a run), and pytest-benchmark's
rules to fail (5 % by mean or by minimum, its own code, either way). The busy condition is load.py. Raw samples stay in
--results; what each sweep was judged goes to --raw.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from raw import write_raw
from scipy import stats

from raybench.analysis.claims import judged
from raybench.analysis.comparisons import Comparisons
from raybench.analysis.tables import Tables

ROUNDS = 10
PLAN = """
name = "equal-things"
description = "The same configuration under two names, many sweeps of ten rounds one after the other"
rounds = {rounds}
requests = 20
warmups = 5
references = ["A"]

[[adapters]]
name = "{{task}}_seed{{seed}}"
tasks = ["mrpc"]
seeds = [1, 2, 3]
alpha = 8

[[matrix]]
name = "a_{{task}}_seed{{seed}}"
role = "A"
strategy = "lora_separate"
tasks = ["mrpc"]
seeds = [1, 2, 3]
adapters = ["{{task}}_seed{{seed}}"]

[[matrix]]
name = "b_{{task}}_seed{{seed}}"
role = "B"
strategy = "lora_separate"
tasks = ["mrpc"]
seeds = [1, 2, 3]
adapters = ["{{task}}_seed{{seed}}"]
"""


class Judged(NamedTuple):
    """One sweep. ``claim``: the row of B against A; ``pairs``: of its blocks. ``others``: who calls it different."""

    claim: dict[str, dict[str, Any]]
    pairs: list[dict[str, Any]]
    others: dict[str, bool]


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--sweeps", type=int, default=100, help="of each condition")
    p.add_argument("--conditions", nargs="+", default=["quiet", "busy"], choices=("quiet", "busy"))
    p.add_argument("--results", type=Path, default=Path("data/runs/equal-things"))
    p.add_argument("--raw", type=Path)
    p.add_argument("--judge", action="store_true", help="measure nothing")
    options = p.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    judgements: dict[str, list[Judged]] = {}
    for condition in options.conditions:
        run = options.results / condition
        if not options.judge:
            text = PLAN.format(rounds=options.sweeps * ROUNDS)
            measure(run, text, small_model(run.parent / "model"), busy=condition == "busy")
        judgements[condition] = list(sweeps(run))
        tell(condition, judgements[condition])
    write_raw(options.raw, {condition: [kept(one) for one in found] for condition, found in judgements.items()})
    return 0


def kept(one: Judged) -> dict[str, Any]:
    """What of a sweep's judgement the figures are made of."""
    names = ("ratio", "low", "high", "p", "verdict")
    claim = {clock: {name: row[name] for name in names} for clock, row in one.claim.items()}
    return {"claim": claim, "pairs": [{name: row[name] for name in names} for row in one.pairs], "others": one.others}


def measure(run: Path, text: str, model: Path | str, *, busy: bool = False) -> None:
    """One `raybench sweep` of the plan ``text``, all rounds; goes on with one that was interrupted."""
    plan = run.parent / f"{run.name}.toml"
    plan.write_text(text)
    command = [sys.executable, "-m", "raybench.sweep", "--plan", str(plan), "--model", str(model)]
    command += ["--results", str(run.parent), "--run-id", run.name, *(["--resume"] if run.exists() else [])]
    with loaded() if busy else contextlib.nullcontext():
        subprocess.run(command, check=True)


@contextlib.contextmanager
def loaded() -> Iterator[None]:
    """The synthetic load, while this lasts."""
    load = subprocess.Popen([sys.executable, str(Path(__file__).with_name("load.py"))])
    try:
        yield
    finally:
        load.terminate()
        load.wait()


def small_model(folder: Path) -> Path:
    """A classifier of two layers, whose forward is a millisecond or two: short requests are where stalls tell most."""
    if not (folder / "config.json").exists():
        import torch
        from transformers import LlamaConfig, LlamaForSequenceClassification

        torch.manual_seed(0)
        sizes = {"hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2, "num_attention_heads": 4}
        tokens = {"vocab_size": 1024, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
        LlamaForSequenceClassification(LlamaConfig(**sizes, **tokens, num_labels=2)).save_pretrained(folder)
    return folder


def sweeps(run: Path) -> Iterator[Judged]:
    """Each ten rounds of ``run`` as a run of its own. Visits are those that raybench's own views give."""
    tables = Tables(run)
    samples = tables.rows(
        "SELECT round, configuration[1] AS role, list(wall_ns ORDER BY block, sequence) AS ns "
        "FROM timed GROUP BY ALL ORDER BY ALL"
    )
    by_role: dict[str, dict[int, np.ndarray[Any, Any]]] = {"a": {}, "b": {}}
    for row in samples:
        by_role[row["role"]][row["round"]] = np.array(row["ns"], dtype=float)
    clocks = ["wall", "wall paired", "wall median"]
    for rounds, compared in each_ten_rounds(tables):
        claims = judged(compared.of_deployments(clocks), tables.margin)
        pairs = judged(compared.of_configurations(), tables.margin)
        sides = [[by_role[role][r] for r in rounds] for role in ("a", "b")]
        yield Judged(
            {row["clock"]: row for row in claims if row["strategy"] == "B"},
            [row for row in pairs if row["clock"] == "wall"],
            others(*sides),
        )


def each_ten_rounds(tables: Tables) -> Iterator[tuple[range, Comparisons]]:
    """What is compared of each ten rounds of a run, as of one that has no others."""
    ratios = tables.rows("FROM visit_ratios ORDER BY configuration, reference_strategy, round")
    for first in range(0, 1 + max(row["round"] for row in ratios), ROUNDS):
        rounds = range(first, first + ROUNDS)
        mine = [row for row in ratios if row["round"] in rounds]

        def rows(sql: str, mine: list[dict[str, Any]] = mine) -> list[dict[str, Any]]:
            return mine if "visit_ratios" in sql else tables.rows(sql)

        yield rounds, Comparisons(rows, tables.description.plan)


def others(a: list[np.ndarray[Any, Any]], b: list[np.ndarray[Any, Any]]) -> dict[str, bool]:
    """What other rules say of the same samples, those of each side by round: is there a difference?"""
    import pyperf
    from pyperf._compare import is_significant_benchs  # no public name
    from pytest_benchmark.stats import Stats
    from pytest_benchmark.utils import PercentageRegressionCheck

    def benchmark(side: list[np.ndarray[Any, Any]]) -> pyperf.Benchmark:
        return pyperf.Benchmark(
            [pyperf.Run(tuple(visit / 1e9), metadata={"name": "b"}, collect_metadata=False) for visit in side]
        )

    def table(side: list[np.ndarray[Any, Any]]) -> dict[str, float]:
        found = Stats()
        for ns in np.concatenate(side):
            found.update(ns / 1e9)
        return {"mean": found.mean, "min": found.min}

    both = table(a), table(b)
    welch = stats.ttest_ind(np.concatenate(a), np.concatenate(b), equal_var=False)
    found = {
        "Welch's t test over all samples": bool(welch.pvalue < 0.05),
        "pyperf": bool(is_significant_benchs(benchmark(a), benchmark(b))[0]),
    }
    for field in ("mean", "min"):
        check = PercentageRegressionCheck(field, 5)
        found[f"pytest-benchmark, {field}:5%"] = any(bool(check.fails(*pair)) for pair in (both, both[::-1]))
    return found


def tell(condition: str, found: list[Judged]) -> None:
    print(f"\n{condition}: {len(found)} sweeps")
    for clock in found[0].claim:
        rows = [one.claim[clock] for one in found]
        significant = tally([row["p"] < 0.05 for row in rows])
        print(f"  by {clock}: {significant} with p < .05;", verdicts(rows), halfwidths(rows))
    pairs = [row for one in found for row in one.pairs]
    print(f"  pairs by wall: {tally([row['p'] < 0.05 for row in pairs])} with p < .05;", verdicts(pairs))
    for name in found[0].others:
        print(f"  {name}: {tally([one.others[name] for one in found])} different")


def verdicts(rows: list[dict[str, Any]]) -> str:
    counts = {word: sum(row["verdict"] == word for row in rows) for word in ("slower", "faster", "equivalent")}
    held = sum(row["low"] <= 1 <= row["high"] for row in rows) / len(rows)
    return f"truth inside {held:.1%}; " + ", ".join(f"{count} {word}" for word, count in counts.items())


def halfwidths(rows: list[dict[str, Any]]) -> str:
    half = np.sqrt([row["high"] / row["low"] for row in rows]) - 1
    ratio = np.exp(np.mean(np.log([row["ratio"] for row in rows])))
    return f"; half-width {np.median(half):.2%} (median), ratio {ratio:.4f}"


def tally(hits: list[bool]) -> str:
    sure = stats.binomtest(sum(hits), len(hits)).proportion_ci()
    return f"{sum(hits)} of {len(hits)} ({sum(hits) / len(hits):.1%}, 95 % [{sure.low:.1%}, {sure.high:.1%}])"


if __name__ == "__main__":
    sys.exit(main())
