"""The text of a plan: of one that is shipped, by its name, or of any, by its path."""

from __future__ import annotations

import dataclasses
from importlib import resources
from pathlib import Path

from raybench.plan.choices import did_you_mean, one_of
from raybench.records import InputError

_MAX_FILE_BYTES = 1_000_000


def shipped_plans() -> tuple[str, ...]:
    """Names of the plans that come with the package."""
    files = resources.files("raybench").joinpath("plan", "shipped").iterdir()
    return tuple(sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")))


@dataclasses.dataclass(frozen=True, slots=True)
class PlanSource:
    """A plan that has not been parsed. ``where``: what its errors begin with.

    ``base``: the folder that its paths are relative to; None where they are none of a file's.
    """

    where: str
    text: str
    base: Path | None = None


def read_plan(source: str) -> PlanSource:
    """The text of a shipped plan by name, or of any plan by path. Raises InputError where there is none."""
    if source in shipped_plans():
        shipped = resources.files("raybench").joinpath("plan", "shipped", f"{source}.toml")
        return PlanSource(source, shipped.read_text("utf-8"))
    path = Path(source)
    if not source.endswith(".toml"):
        raise InputError(
            f"plan {source!r}: no such shipped plan; expected {one_of(shipped_plans())} or a path that ends in .toml"
            + did_you_mean(source, shipped_plans())
        )
    try:
        if path.exists() and not path.is_file():  # to open a pipe may wait for ever
            raise InputError(f"{path}: the plan cannot be read: not a regular file")
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
        if len(data) > _MAX_FILE_BYTES:
            raise InputError(f"{path}: larger than {_MAX_FILE_BYTES} bytes; use [[matrix]] tables instead of listing")
        return PlanSource(str(path), data.decode("utf-8"), path.resolve().parent)
    except FileNotFoundError:
        raise InputError(f"{path}: no such plan file; shipped plans: {', '.join(shipped_plans())}") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path}: the plan cannot be read: {error}") from None
