"""What the command line says of servers: of which engine, where they run, and how requests come to them."""

import dataclasses
from typing import Annotated, Final, Literal, get_args

from cyclopts import Group, Parameter

from raybench.plan import one_of
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


def engine_problems(options: EngineOptions, batch: tuple[int, ...] | None, full_ft: list[str] | None) -> list[str]:
    """What does not go together of these options, nor with ``--batch`` and ``--full-ft``, a line each."""
    found: list[str] = []
    engine = options.engine
    if engine is None:
        for name in ("url", "concurrency", "rate"):
            if getattr(options, name) is not None:
                expected = "openai" if name == "url" else one_of(ENGINES)
                found.append(f"--{name}: goes with servers; say of which by --engine: expected {expected}")
    elif batch is not None:
        found.append(f"--batch and --engine {engine}: a server makes batches itself; give --concurrency N")
    if engine == OPENAI and options.url is None:
        found.append("--engine openai: where does it run? give --url http://HOST:8000")
    if engine == OPENAI and full_ft is not None:
        found.append("--full-ft and --engine openai: raybench starts none there; leave it out")
    if engine not in (None, OPENAI) and options.url is not None:
        found.append(
            f"--url and --engine {engine}: raybench starts its servers; one that runs already is --engine openai"
        )
    return found
