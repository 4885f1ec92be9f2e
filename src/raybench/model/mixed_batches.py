"""Which adapters PEFT can compute in one batch, row by row (``adapter_names``), as far as their files tell."""

from __future__ import annotations

from collections.abc import Mapping

from raybench.model.adapter_files import AdapterFiles
from raybench.plan import first_of

_SHOWN = 2


def unmixable(adapters: Mapping[str, AdapterFiles]) -> list[str]:
    """Why the rows of a batch cannot be of these adapters, by name, a line each; PEFT would raise at the first one."""
    found = [f"adapter {name} {why}" for name, files in adapters.items() if (why := _not_by_rows(files)) is not None]
    own = {name: files.own_modules for name, files in adapters.items()}
    everywhere = set.intersection(*map(set, own.values())) if own else set()
    for name, modules in own.items():
        if further := sorted(set(modules) - everywhere):
            without = next(other for other, brought in own.items() if further[0] not in brought)
            found.append(
                f"adapter {name} brings its own {first_of(further, _SHOWN)}, adapter {without} does not, and PEFT "
                "takes none for its rows"
            )
    return found


def _not_by_rows(files: AdapterFiles) -> str | None:
    if files.config.use_dora:
        return "is a DoRA adapter (use_dora)"
    if files.config.target_parameters:
        return "changes parameters of experts (target_parameters)"
    for module, shapes in files.own_modules.items():
        # A linear layer or an embedding has a matrix and perhaps a bias, a convolution more dimensions.
        if not set(shapes) <= {"weight", "bias"} or len(shapes.get("weight", ())) < 2:
            return f"brings its own {module}, which is no single layer with a matrix"
    return None
