"""A deployment compiled by torch.compile: whole, with lengths left open, and never by falling back.

What torch would do in silence is an error here: a part that it leaves to Python (``fullgraph``), a version too many
(``fail_on_recompile_limit_hit``), a compilation while requests are timed (`as_it_is`). Configurations share nothing:
each has versions of its own (``isolate_recompiles``) and a cache of its own on the machine, where it finds what an
earlier visit has compiled. Equal models would find each other's otherwise, and the order would decide which takes long.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from raybench.deploy.generation import within_peft
from raybench.deploy.strategy import Deployment
from raybench.plan import Configuration
from raybench.records import RaybenchError

ON_CPU: Final[dict[str, Any]] = {"cpp_wrapper": True}
"""Options of inductor on a CPU: what calls the kernels is C++, too, where Python's calls would take as long as they."""


def compiled(deployment: Deployment, configuration: Configuration) -> Deployment:
    """``deployment`` with its model's forward compiled, once it is called.

    Raises RaybenchError where a strategy has a forward of its own, which need not be the model's.
    """
    import torch

    if deployment.forward is not deployment.model or deployment.opener is not None:
        raise RaybenchError(
            f"{configuration.name}: {configuration.strategy} has a forward of its own, which is not compiled; measure "
            "it with execution eager"
        )
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    model = within_peft(deployment.model)
    on_cpu = next(model.parameters()).device.type == "cpu"
    call = torch.compile(
        model, fullgraph=True, dynamic=True, isolate_recompiles=True, options=ON_CPU if on_cpu else None
    )
    return dataclasses.replace(deployment, forward=call)


@contextlib.contextmanager
def own_cache(folder: Path, configuration: Configuration) -> Iterator[None]:
    """In it what is compiled is looked for, and kept, in a part of ``folder`` that is of ``configuration`` alone."""
    from torch._inductor.runtime.cache_dir_utils import temporary_cache_dir

    with temporary_cache_dir(str(folder / "compiled" / configuration.name)):
        yield


@contextlib.contextmanager
def as_it_is() -> Iterator[None]:
    """In it nothing is compiled any more: a request that no version serves raises an error, and says why."""
    import torch

    with torch.compiler.set_stance("fail_on_recompile"):
        yield
