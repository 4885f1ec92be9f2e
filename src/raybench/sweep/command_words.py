"""The command line that goes on with a run."""

from __future__ import annotations

from typing import Final

from raybench.machine import in_ray_job
from raybench.report import option_name
from raybench.store import Location
from raybench.sweep.options import SweepOptions
from raybench.sweep.plan_options import DEFAULT_PLAN

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

_USUAL: Final = SweepOptions(plan=DEFAULT_PLAN)
"""What need not be said again."""


def command_words(options: SweepOptions, results: Location, run_id: str) -> tuple[str, ...]:
    """The command line that goes on with the run."""
    words = [*(_AS_A_JOB if in_ray_job() else ("raybench", "sweep"))]
    words += ["--results", str(results), "--run-id", run_id, "--resume"]
    for name in _TO_GO_ON:
        value = getattr(options, name)
        if value is None or value == getattr(_USUAL, name):
            continue
        option = option_name(name)
        if isinstance(value, list):  # given several times
            words += [word for one in value for word in (option, one)]
        else:
            words += [option, ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    return tuple(words)
