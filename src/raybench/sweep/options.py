"""What a sweep can be told on the command line, what that means, and the command line that goes on with it."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Final

from raybench.machine import in_ray_job
from raybench.plan import Overrides, shipped_plans
from raybench.report import completed
from raybench.store import Location, location_argument
from raybench.sweep.model_argument import add_model_argument
from raybench.sweep.own_plan import add_fine_tune_arguments

_TO_GO_ON = (
    "plan",
    "model",
    "adapter",
    "full_ft",
    "texts",
    "prompt_tokens",
    "output_tokens",
    "batch",
    "engine",
    "url",
    "concurrency",
    "rate",
    "rounds",
    "requests",
    "design",
    "order_seed",
    "until_halfwidth",
    "max_rounds",
    "address",
    "accelerator_type",
    "engine_python",
    "workers",
    "workers_per_node",
    "wait",
)
"""Options that must be given again to go on with a run."""

_AS_A_JOB: Final = (*("ray", "job", "submit", "--working-dir", "."), *("--", "python", "-m", "raybench.sweep"))
"""What was a job goes on as one; there the package need not be installed, and has no program."""

DEFAULT_PLAN: Final = "rq2"
_DEFAULTS = {"plan": DEFAULT_PLAN, "design": "paired", "workers_per_node": 1}


@dataclasses.dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Where visits run: a Ray cluster to join (None: one is started here), how many workers, how long to wait."""

    address: str | None
    workers: int | None
    workers_per_node: int
    wait_s: float | None


def add_arguments(p: argparse.ArgumentParser) -> None:
    """What a sweep can be told; also that of ``raybench sweep``."""
    plan = p.add_argument(
        "--plan", metavar="NAME|FILE.toml", help=f"a shipped plan or a file (default: {DEFAULT_PLAN})"
    )
    completed(plan, lambda _: shipped_plans(), (".toml",))
    p.add_argument(
        "--results",
        type=location_argument,
        metavar="DIR|URI",
        help="where runs are kept: a folder, s3://BUCKET/PREFIX or gs://... (default: data/runs)",
    )
    p.add_argument("--run-id", metavar="ID", help="the run's name (default: plan and time)")
    add_model_argument(p, "default: micro on a CPU, tinyllama-1.1b on a GPU")
    p.add_argument("--rounds", type=count, metavar="N", help="visits of each block")
    p.add_argument("--requests", type=count, metavar="N", help="requests of a configuration in a round")
    p.add_argument("--design", choices=("paired", "independent"), default="paired", help="default: paired")
    p.add_argument("--order-seed", type=seed, metavar="N", help="draws the order of turns")
    p.add_argument(
        "--until-halfwidth",
        type=share,
        metavar="P%",
        help="add rounds until the claims' 95%% intervals are this narrow (1%%), and surely so; on one GPU, or 4 or "
        "more",
    )
    p.add_argument("--max-rounds", type=count, metavar="N", help="rounds at most with --until-halfwidth (default: 50)")
    p.add_argument("--resume", action="store_true", help="go on with a run (--run-id, or the newest of the plan)")
    p.add_argument(
        "--new-run",
        action="store_true",
        help="with --resume: begin a new run where there is none to go on with, or it was begun otherwise",
    )
    p.add_argument("--address", metavar="ADDR", help="a Ray cluster to join (default: Ray is started here)")
    p.add_argument("--accelerator-type", metavar="TYPE", help="use only GPUs of this type, as Ray names it (L4)")
    p.add_argument("--workers", type=count, metavar="N", help="workers at most, and to ask the cluster for")
    p.add_argument("--workers-per-node", type=count, default=1, metavar="N", help="without GPUs (default: 1)")
    p.add_argument(
        "--wait",
        type=seconds,
        metavar="TIME",
        help="how long to be without any worker (default: 15min on a cluster that is joined, 2min here)",
    )
    p.add_argument("--no-report", action="store_true", help="do not write the run's page, report.html, at its end")
    add_fine_tune_arguments(p)


def plan_overrides(options: argparse.Namespace) -> Overrides:
    """What the command line changes of a plan."""
    return Overrides(
        design=options.design,
        rounds=options.rounds,
        requests=options.requests,
        order_seed=options.order_seed,
        until_halfwidth=options.until_halfwidth,
        max_rounds=options.max_rounds,
        accelerator_type=options.accelerator_type,
        engine_python=options.engine_python,
    )


def cluster_options(options: argparse.Namespace) -> ClusterOptions:
    """What the command line says of the cluster."""
    return ClusterOptions(options.address, options.workers, options.workers_per_node, options.wait)


def command_words(options: argparse.Namespace, results: Location, run_id: str) -> tuple[str, ...]:
    """The command line that goes on with the run."""
    words = [*(_AS_A_JOB if in_ray_job() else ("raybench", "sweep"))]
    words += ["--results", str(results), "--run-id", run_id, "--resume"]
    for name in _TO_GO_ON:
        value = getattr(options, name)
        if value is None or value == _DEFAULTS.get(name):
            continue
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, list):  # given several times
            words += [word for one in value for word in (option, one)]
        else:
            words += [option, ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    return tuple(words)


def count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1_000_000:
        raise argparse.ArgumentTypeError("expected a number from 1 to 1000000")
    return value


def seed(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 2**62:
        raise argparse.ArgumentTypeError("expected a number from 0 to 2^62")
    return value


def share(text: str) -> float:
    """``1%`` or ``0.01``."""
    value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError("expected a share between 0 and 1, such as 1% or 0.01")
    return value


def seconds(text: str) -> float:
    """``90``, ``90s``, ``15min`` or ``1h`` in seconds."""
    for unit, factor in {"min": 60.0, "h": 3600.0, "s": 1.0, "": 1.0}.items():
        if text.endswith(unit):
            value = float(text.removesuffix(unit) if unit else text) * factor
            break
    if not 0 <= value <= 604_800:
        raise argparse.ArgumentTypeError("expected a time of at most a week, such as 90s or 15min")
    return value
