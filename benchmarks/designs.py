"""How far do answers scatter for the same machine time: raybench's paired design, one launch each, optimum-benchmark?

    python benchmarks/designs.py [--seconds 28] [--repeats 6] [--busy] [--optimum-python PATH]

Asked is how much longer a request takes than by a full fine-tune, in the mean: with the adapter beside its base,
merged, and by a second full fine-tune of the same shape, for which the truth is 1. All ways have ``--seconds`` of the
machine for one answer, start-up and tables included; what they make of it is found out by a first try of each. They
answer ``--repeats`` times, in turn, in orders that are drawn:

``paired``: `raybench sweep`, as many rounds of 50 requests as fit. ``one launch``: `raybench sweep --design
independent`, one process for each configuration, one after the other, as many requests as fit (the study had 500).
``optimum``: one launch of optimum-benchmark's process launcher and PyTorch backend for each, as many iterations as fit.
It puts a new adapter (``peft_type``) on a base, since it loads none from files; merged is a checkpoint that is written
for it. Its processes are forked from one that has everything imported, as a visit's are: by its own choice, ``spawn``,
most of half a minute goes into imports. It waits for a process without a pause, which takes a core. All requests have
``--tokens`` tokens, the model is the preset micro, on one thread of a CPU.

Printed for each way: what its answers scatter by, t times their standard deviation, beside the half-width of 95 % that
it states itself, in the median, and how often what it states holds the truth of the second full fine-tune. raybench
states none of one launch, optimum-benchmark means and deviations: for both that is what their requests give as if each
were an independent draw. Standard deviations are compared with the paired design's, with 95 % intervals by F, which are
wide with few repeats. ``--busy``: under the load of `load.py`.

optimum-benchmark 0.6.0 does not import beside transformers 5, so it has an environment of its own; without
``--optimum-python`` that way is left out:

    python3 -m venv ~/optimum && ~/optimum/bin/pip install torch==2.13.0 "transformers<5" peft optimum-benchmark==0.6.0
    python benchmarks/designs.py --optimum-python ~/optimum/bin/python
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from builds import THIS, environment
from equal_things import loaded
from raw import write_raw
from scipy import stats

from raybench.analysis.tables import Tables
from raybench.deploy.strategies import LoadCosts, all_traits, deploy
from raybench.machine.device import CpuDevice
from raybench.model.prepare import Recipe, prepared
from raybench.model.weights import Weights, resolve_model
from raybench.model.workload import glue_tasks
from raybench.plan.file import load_plan

HERE = Path(__file__).parent
PAIRS = {"again": "full/full", "merged": "merged/full", "separate": "separate/full"}
"""By the configuration that is compared with ``full``."""
PLAN = """
name = "designs"
description = "One task, one seed: full twice, merged, separate"
rounds = 1
requests = 50
turn_requests = {turn_requests}
references = ["full_ft"]
workload = {{prompt_tokens = {tokens}}}
adapters = [{{name = "adapter", tasks = ["mrpc"], seeds = [42], r = 8, alpha = 64}}]
configurations = [
    {{name = "full", strategy = "full_ft", task = "mrpc", seed = 42}},
    {{name = "merged", strategy = "lora_merged", seed = 42, adapters = ["adapter"]}},
    {{name = "separate", strategy = "lora_separate", seed = 42, adapters = ["adapter"]}},
    {{name = "again", strategy = "full_ft", role = "full_again", task = "mrpc", seed = 42}},
]
"""
_MOST_REQUESTS = 1_000_000


class Ratio(NamedTuple):
    """Log of a ratio to ``full``, and the half-width of its 95 % interval as the way states it, of the log too."""

    log: float
    stated: float


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """``growing_s``: of ``wall_s``, what grows with the size that was asked for."""

    wall_s: float
    growing_s: float
    ratios: Mapping[str, Ratio]


Way = Callable[[int], Answer]
"""Asked with a size: rounds, requests or iterations."""


def paired(tokens: int, size: int) -> Answer:
    with swept(["--rounds", str(size)], tokens, turn_requests=1) as (wall_s, tables):
        (growing,) = tables.rows("SELECT sum(total_ns) / 1e9 AS s FROM visits")
        rows = tables.rows("FROM overhead WHERE clock = 'wall' AND measure = 'end_to_end'")
        ratios = {r["configuration"]: Ratio(np.log(r["ratio"]), np.log(r["high"] / r["low"]) / 2) for r in rows}
    return Answer(wall_s, growing["s"], ratios)


def one_launch(tokens: int, size: int) -> Answer:
    options = ["--design", "independent", "--rounds", "1", "--requests", str(size)]
    with swept(options, tokens, turn_requests=_MOST_REQUESTS) as (wall_s, tables):
        (growing,) = tables.rows("SELECT sum(timing_ns) / 1e9 AS s FROM visits")
        rows = tables.rows("SELECT configuration, list(wall_ns) AS ns FROM timed GROUP BY ALL")
    return Answer(wall_s, growing["s"], of_samples({row["configuration"]: row["ns"] for row in rows}))


@contextlib.contextmanager
def swept(options: Sequence[str], tokens: int, turn_requests: int) -> Any:
    """Seconds of one `raybench sweep`, and its tables."""
    with tempfile.TemporaryDirectory(prefix="raybench-designs-") as folder:
        plan = Path(folder, "designs.toml")
        plan.write_text(PLAN.format(tokens=tokens, turn_requests=turn_requests))
        command = [sys.executable, "-m", "raybench.sweep", "--plan", str(plan), "--model", "micro", *options]
        _, wall_s = finished([*command, "--results", folder, "--run-id", "run"], environment(THIS))
        yield wall_s, Tables(Path(folder, "run"))


def optimum(python: Path, deployments: Mapping[str, Any], tokens: int, start_method: str, size: int) -> Answer:
    command = [str(python), str(HERE / "optimum_launches.py"), json.dumps(deployments), "--iterations", str(size)]
    command += ["--tokens", str(tokens), "--start-method", start_method]
    threads = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "LOG_TO_FILE": "0"}
    told, wall_s = finished(command, {**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, **threads})
    seconds = json.loads(told.splitlines()[-1])
    return Answer(wall_s, sum(map(sum, seconds.values())), of_samples(seconds))


def finished(command: Sequence[str], variables: Mapping[str, str]) -> tuple[str, float]:
    """What a command said, and its seconds. Raises `SystemExit` with its last words where it failed."""
    began = time.perf_counter()
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-3000:]}")
    return done.stdout, time.perf_counter() - began


def of_samples(samples: Mapping[str, Sequence[float]]) -> dict[str, Ratio]:
    """Ratios of means; intervals by the delta method, as if all requests were independent."""
    means = {name: np.mean(values) for name, values in samples.items()}
    relative = {name: stats.sem(values) / means[name] for name, values in samples.items()}
    both = {name: np.hypot(relative[name], relative["full"]) for name in PAIRS}
    return {name: Ratio(np.log(means[name] / means["full"]), 1.96 * both[name]) for name in PAIRS}


def for_optimum(folder: Path, tokens: int) -> dict[str, Any]:
    """The same deployments as checkpoints and as its options; merged is written to ``folder``."""
    path = folder / "designs.toml"
    path.write_text(PLAN.format(tokens=tokens, turn_requests=1))
    plan, _ = load_plan(str(path), all_traits(), glue_tasks())
    spec, device = prepared(resolve_model("micro"), Recipe.of("micro", plan)), CpuDevice()
    assert spec.location is not None
    merged = next(c for c in plan.configurations if c.name == "merged")
    deploy(merged, Weights(spec, device), LoadCosts(device)).model.save_pretrained(folder / "merged")
    (adapter,) = merged.adapters
    lora = {"task_type": "SEQ_CLS", "r": adapter.r, "lora_alpha": adapter.alpha}
    lora |= {"target_modules": list(adapter.target_modules or ()), "lora_dropout": 0.0}
    return {
        "full": {"model": f"{spec.location}/full_ft/full"},
        "merged": {"model": str(folder / "merged")},
        "separate": {"model": spec.base_location, "peft_type": "LORA", "peft_config": lora},
        "again": {"model": f"{spec.location}/full_ft/again"},
    }


def fitting(name: str, way: Way, first: int, seconds: float) -> int:
    """The size with which ``way`` takes ``seconds``."""
    tried = way(first)
    fixed = tried.wall_s - tried.growing_s
    size = int(first * (seconds - fixed) / tried.growing_s)
    print(f"{name}: {fixed:.1f} s and {tried.growing_s / first:.4f} s for each, so {size} of them", flush=True)
    if size < 2:
        raise SystemExit(f"{name} cannot answer in {seconds:.0f} seconds; give more --seconds")
    return size


def tell(found: Mapping[str, Sequence[Answer]]) -> None:
    for configuration, pair in PAIRS.items():
        print(f"{pair:16} {'ratio':>7} {'scatter':>9} {'stated':>9}   standard deviation, times that of paired")
        spread = {}
        for name, answers in found.items():
            logs = np.array([answer.ratios[configuration].log for answer in answers])
            stated = [answer.ratios[configuration].stated for answer in answers]
            freedom = len(logs) - 1
            spread[name] = np.std(logs, ddof=1)
            scatter, times = stats.t.ppf(0.975, freedom) * spread[name], spread[name] / spread["paired"]
            sure = np.sqrt(stats.f.ppf(0.975, freedom, freedom))
            figures = f"{np.exp(logs.mean()):7.4f} {scatter:9.2%} {np.median(stated):9.2%}"
            line = f"  {name:14} {figures}   {times:.1f} [{times / sure:.1f}, {times * sure:.1f}]"
            if configuration == "again":
                line += f"; truth in {sum(abs(logs) <= stated)} of {len(logs)} stated intervals"
            print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=28, help="of the machine, for each answer")
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--busy", action="store_true", help="under a synthetic load")
    parser.add_argument("--optimum-python", type=Path, metavar="PATH")
    parser.add_argument("--start-method", default="fork", choices=("spawn", "fork"), help="of optimum's launcher")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--raw", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="raybench-designs-") as folder:
        ways: dict[str, tuple[Way, int]] = {
            "paired": (lambda size: paired(asked.tokens, size), 2),
            "one launch": (lambda size: one_launch(asked.tokens, size), 500),
        }
        deployments = for_optimum(Path(folder), asked.tokens)  # also writes the preset, once for all
        if (python := asked.optimum_python) is None:
            print("optimum-benchmark is left out: no --optimum-python")
        else:
            ways["optimum"] = (lambda n: optimum(python, deployments, asked.tokens, asked.start_method, n), 500)
        found: dict[str, list[Answer]] = {name: [] for name in ways}
        with loaded() if asked.busy else contextlib.nullcontext():
            sizes = {name: fitting(name, way, first, asked.seconds) for name, (way, first) in ways.items()}
            for repeat in range(asked.repeats):
                for name in np.random.default_rng([asked.seed, repeat]).permutation(list(ways)):
                    found[name].append(ways[name][0](sizes[name]))
    for name, answers in found.items():
        took = sorted(answer.wall_s for answer in answers)
        print(f"{name}: {len(took)} answers of {took[0]:.1f} to {took[-1]:.1f} s, {sizes[name]} each")
    tell(found)
    write_raw(asked.raw, {name: [dataclasses.asdict(answer) for answer in answers] for name, answers in found.items()})


if __name__ == "__main__":
    main()
