"""What the command line says of one's own fine-tunes, from which a plan is written."""

import dataclasses
from typing import Annotated, Final

from cyclopts import Group, Parameter

from raybench.plan import TEXT_FILES, one_of
from raybench.report import FLAT, completed, listed_by, parsed_by, whole_number
from raybench.sweep.engine_options import ENGINES, OPENAI, EngineOptions
from raybench.sweep.model_argument import MODEL

OF_FINE_TUNES: Final = (
    *("full_ft", "texts", "prompt_tokens", "output_tokens", "batch"),
    *("engine", "url", "concurrency", "rate"),
)
"""Options that go with --adapter only."""

_OWN: Final = Parameter(group=Group("Your own fine-tunes", sort_key=1))
_TUNED: Final = Parameter(metavar="NAME=DIR|HUB-ID")
_TEXTS: Final = Parameter(metavar="FILE", completer=completed(tuple, files=TEXT_FILES))
_TOKENS: Final = Parameter(metavar="N", converter=parsed_by(whole_number(1, 10_000_000)))
_batch: Final = whole_number(1, 4096, "numbers from 1 to 4096, such as 8 or 1,8")


@FLAT
@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuneOptions(EngineOptions):
    """What a plan is written from; ``model`` is the base."""

    model: Annotated[str | None, MODEL] = None
    """the base of the adapters; with --engine openai also what the server calls it"""
    adapter: Annotated[list[str] | None, _OWN, _TUNED] = None
    """a LoRA adapter of --model; give it again for others: all that they allow is compared"""
    full_ft: Annotated[list[str] | None, _OWN, _TUNED] = None
    """a full fine-tune of the same task as that adapter"""
    texts: Annotated[str | None, _OWN, _TEXTS] = None
    """your own prompts: .parquet, .jsonl or .csv with a column text, or chats in a column messages"""
    prompt_tokens: Annotated[int | None, _OWN, _TOKENS] = None
    """of each request (default: 256, or as GLUE's)"""
    output_tokens: Annotated[int | None, _OWN, _TOKENS] = None
    """that a language model generates for each (default: 64)"""
    batch: Annotated[tuple[int, ...] | None, _OWN, listed_by(_batch, "N[,N...]")] = None
    """prompts served together (default: 1)"""


def engine_problems(options: FineTuneOptions) -> list[str]:
    """What does not go together of what is said of servers and of what they serve, a line each."""
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
