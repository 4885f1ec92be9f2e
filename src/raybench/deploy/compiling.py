"""A model's forward compiled by torch.compile: whole, with lengths left open or by buckets, and never by falling back.

What torch would do in silence is an error here: a part that it leaves to Python (``fullgraph``), a version too many
(``fail_on_recompile_limit_hit``), a compilation while requests are timed (`as_it_is`). Configurations share nothing:
each has versions of its own (``isolate_recompiles``) and a cache of its own on the machine, where it finds what an
earlier visit has compiled. Equal models would find each other's otherwise, and the order would decide which takes long.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from raybench.deploy.buckets import Buckets, no_more_buckets
from raybench.deploy.capturing import pad_token_of
from raybench.deploy.generation import within_peft
from raybench.model import positions_of
from raybench.plan import Configuration

ON_CPU: Final[dict[str, Any]] = {"cpp_wrapper": True}
"""Options of inductor on a CPU: what calls the kernels is C++, too, where Python's calls would take as long as they."""


def compiled(model: Any) -> Callable[..., Any]:
    """The forward of ``model`` as one graph for all lengths, compiled when it is called."""
    return _compiled(within_peft(model), dynamic=True)


def compiled_by_length(model: Any) -> Buckets:
    """The forward of a classifier as one graph for each bucket of lengths, compiled when it is first called there.

    Raises RaybenchError where the model has no token to pad with.
    """
    inner = within_peft(model)
    forward = _compiled(inner, dynamic=False)

    def make(tensors: Mapping[str, Any]) -> Callable[[], Any]:
        return lambda: forward(**tensors)

    return Buckets(pad_token_of(inner), make, positions_of(inner))


def _compiled(model: Any, dynamic: bool) -> Callable[..., Any]:
    import torch

    torch._dynamo.config.fail_on_recompile_limit_hit = True
    on_cpu = next(model.parameters()).device.type == "cpu"
    found: Callable[..., Any] = torch.compile(
        model, fullgraph=True, dynamic=dynamic, isolate_recompiles=True, options=ON_CPU if on_cpu else None
    )
    return found


@contextlib.contextmanager
def own_cache(folder: Path, configuration: Configuration) -> Iterator[None]:
    """In it what is compiled is looked for, and kept, in a part of ``folder`` that is of ``configuration`` alone."""
    from torch._inductor.runtime.cache_dir_utils import temporary_cache_dir

    with temporary_cache_dir(str(folder / "compiled" / configuration.name)):
        yield


@contextlib.contextmanager
def as_it_is() -> Iterator[None]:
    """In it nothing is compiled or captured any more: a request that nothing serves raises an error, and says why."""
    import torch

    with torch.compiler.set_stance("fail_on_recompile"), no_more_buckets():
        yield
