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

from raybench.deploy.buckets import Buckets, buckets_of, no_more_buckets
from raybench.deploy.generation import within_peft

ON_CPU: Final[dict[str, Any]] = {"cpp_wrapper": True}
"""Options of inductor on a CPU: what calls the kernels is C++, too, where Python's calls would take as long as they."""


def compiled(model: Any, fixed: bool = False) -> Callable[..., Any]:
    """The forward of ``model`` as one graph for all lengths, compiled when it is called.

    ``fixed``: nothing of its modules but their tensors' values will change, so that a call need not look whether it
    did, which takes an eighth of a small model's time. Shapes, types and modes are looked at as ever.
    """
    return _compiled(within_peft(model), fixed, dynamic=True)


def compiled_by_length(model: Any, fixed: bool = False) -> Buckets:
    """The forward of a classifier as one graph for each bucket of lengths, compiled when it is first called there.

    ``fixed``: as `compiled` has it. Raises RaybenchError where the model has no token to pad with.
    """
    inner = within_peft(model)
    forward = _compiled(inner, fixed, dynamic=False)

    def make(tensors: Mapping[str, Any]) -> Callable[[], Any]:
        return lambda: forward(**tensors)

    return buckets_of(inner, make)


def _compiled(model: Any, fixed: bool, dynamic: bool) -> Callable[..., Any]:
    import torch

    torch._dynamo.config.fail_on_recompile_limit_hit = True
    options = dict(ON_CPU) if next(model.parameters()).device.type == "cpu" else {}
    if fixed:
        options["guard_filter_fn"] = torch.compiler.skip_guard_on_all_nn_modules_unsafe
    found: Callable[..., Any] = torch.compile(
        model, fullgraph=True, dynamic=dynamic, isolate_recompiles=True, options=options or None
    )
    return found


def try_instruction_sets(folder: Path) -> None:
    """Have inductor try which instruction sets of a CPU it can compile for, once in a process; it keeps what it finds.

    What it compiles for that is kept in a part of ``folder`` that is of no configuration: else each would wait for it
    in which a process tries first, and that is another in each visit.
    """
    from torch._inductor.cpu_vec_isa import pick_vec_isa

    with own_cache(folder, ".instruction-sets"):
        pick_vec_isa()


@contextlib.contextmanager
def own_cache(folder: Path, name: str) -> Iterator[None]:
    """In it what is compiled is looked for, and kept, in a part of ``folder`` that is of ``name`` alone.

    ``name``: of a configuration, or one that begins with a point, as no configuration's does.
    """
    from torch._inductor.runtime.cache_dir_utils import temporary_cache_dir

    with temporary_cache_dir(str(folder / "compiled" / name)):
        yield


@contextlib.contextmanager
def as_it_is() -> Iterator[None]:
    """In it nothing is compiled or captured any more: a request that nothing serves raises an error, and says why."""
    import torch

    with torch.compiler.set_stance("fail_on_recompile"), no_more_buckets():
        yield
