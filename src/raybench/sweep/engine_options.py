"""What the command line says of servers: of which engine, where they run, and how requests come to them."""

from __future__ import annotations

import argparse
from typing import Final

from raybench.plan import one_of

OPENAI: Final = "openai"
"""A server that runs already, whatever engine it is of."""
ENGINES: Final = ("vllm", "llama.cpp", OPENAI)


def add_engine_arguments(p: argparse.ArgumentParser) -> None:
    """Options of `raybench sweep --adapter` and `raybench init`."""
    group = p.add_argument_group("your own fine-tunes, as an engine serves them")
    group.add_argument(
        "--engine",
        choices=ENGINES,
        help="measure as an engine serves them: raybench starts servers of vllm or llama.cpp; openai: one that runs "
        "already, at --url, whose adapters are named as it names them",
    )
    group.add_argument("--url", metavar="URL", help="of --engine openai: http://HOST:8000")
    group.add_argument(
        "--engine-python",
        metavar="PATH",
        help="the Python of the environment that has the engine (default: raybench's)",
    )
    group.add_argument(
        "--concurrency", type=_concurrencies, metavar="N[,N...]", help="requests under way at a server at all times"
    )
    group.add_argument("--rate", type=_rates, metavar="R[,R...]", help="or requests a second to a server")


def engine_problems(options: argparse.Namespace) -> list[str]:
    """What does not go together of these options, a line each."""
    found: list[str] = []
    engine = options.engine
    if engine is None:
        for name in ("url", "concurrency", "rate"):
            if getattr(options, name) is not None:
                expected = "openai" if name == "url" else one_of(ENGINES)
                found.append(f"--{name}: goes with servers; say of which by --engine: expected {expected}")
    elif options.batch is not None:
        found.append(f"--batch and --engine {engine}: a server makes batches itself; give --concurrency N")
    if engine == OPENAI and options.url is None:
        found.append("--engine openai: where does it run? give --url http://HOST:8000")
    if engine == OPENAI and options.full_ft is not None:
        found.append("--full-ft and --engine openai: raybench starts none there; leave it out")
    if engine not in (None, OPENAI) and options.url is not None:
        found.append(
            f"--url and --engine {engine}: raybench starts its servers; one that runs already is --engine openai"
        )
    return found


def _concurrencies(text: str) -> tuple[int, ...]:
    expected = "expected numbers from 1 to 900, such as 8 or 1,8"
    return tuple(sorted({number_in(part, 900, expected) for part in text.split(",")}))


def _rates(text: str) -> tuple[float, ...]:
    found: set[float] = set()
    for part in text.split(","):
        try:
            rate = float(part)
        except ValueError:
            rate = 0.0
        if not 0 < rate <= 1_000_000:
            raise argparse.ArgumentTypeError(f"expected requests a second, such as 2.5 or 0.5,2, got {part[:40]!r}")
        found.add(rate)
    return tuple(sorted(found))


def number_in(text: str, most: int, expected: str) -> int:
    """From 1 to ``most``. Raises ArgumentTypeError."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= most:
        raise argparse.ArgumentTypeError(f"{expected}, got {text[:40]!r}")
    return value
