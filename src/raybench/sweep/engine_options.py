"""What the command line says of servers: of which engine, where they run, and how requests come to them."""

import dataclasses
from typing import Annotated, Final, Literal, get_args

from cyclopts import Group, Parameter

from raybench.report import FLAT, completed, listed_by, whole_number

Engine = Literal["vllm", "llama.cpp", "openai"]
OPENAI: Final = "openai"
"""A server that runs already, whatever engine it is of."""
ENGINES: Final[tuple[Engine, ...]] = get_args(Engine)

_SERVED: Final = Parameter(group=Group("Your own fine-tunes, as an engine serves them", sort_key=2))
_PYTHON: Final = Parameter(metavar="PATH", completer=completed(tuple, files=""))


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1_000_000:
        raise ValueError(f"expected requests a second, such as 2.5 or 0.5,2, got {text[:40]!r}")
    return rate


_concurrency: Final = whole_number(1, 900, "numbers from 1 to 900, such as 8 or 1,8")


@FLAT
@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Of servers."""

    engine: Annotated[
        Engine | None,
        _SERVED,
        Parameter(
            help="measure as an engine serves them: raybench starts servers of vllm or llama.cpp; openai: one that "
            "runs already, at --url, whose adapters are named as it names them"
        ),
    ] = None
    url: Annotated[str | None, _SERVED, Parameter(metavar="URL")] = None
    """of --engine openai: http://HOST:8000"""
    engine_python: Annotated[str | None, _SERVED, _PYTHON] = None
    """the Python of the environment that has the engine (default: raybench's)"""
    concurrency: Annotated[tuple[int, ...] | None, _SERVED, listed_by(_concurrency, "N[,N...]")] = None
    """requests under way at a server at all times"""
    rate: Annotated[tuple[float, ...] | None, _SERVED, listed_by(_rate, "R[,R...]")] = None
    """or requests a second to a server"""
