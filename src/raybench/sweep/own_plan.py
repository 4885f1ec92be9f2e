"""From an adapter folder to a checked plan: what ``raybench init`` prints and ``raybench sweep --adapter`` runs."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from raybench.model import FineTunes, column_names, find_fine_tunes, is_unicode
from raybench.plan import TEXT_FILES, Overrides, PlanSource, first_of
from raybench.records import InputError, Problems
from raybench.sweep.checked_plan import CheckedPlan, check_plan
from raybench.sweep.pace import USUAL, Pace, suited_pace
from raybench.sweep.written_plan import Asked, LeftOut, found_lines, may_be_left_out, written_plan

WRITTEN: Final = "the plan of --adapter"
"""What its errors begin with, as those of a file begin with its name."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
OF_FINE_TUNES: Final = ("full_ft", "texts", "prompt_tokens", "output_tokens", "batch")
"""Options that go with --adapter only."""


@dataclasses.dataclass(frozen=True, slots=True)
class OwnPlan:
    """``text``: TOML. ``found``: a line for each thing that was read. ``left_out``: what cannot be, and why.

    ``options``: words of the command line, besides the model, that give the same plan from any folder.
    """

    text: str
    checked: CheckedPlan
    found: tuple[str, ...]
    left_out: tuple[str, ...]
    options: tuple[str, ...]


def add_fine_tune_arguments(p: argparse.ArgumentParser) -> None:
    """What a plan is written from."""
    group = p.add_argument_group("your own fine-tunes")
    group.add_argument(
        "--adapter",
        action="append",
        metavar="NAME=DIR|HUB-ID",
        help="a LoRA adapter of --model; give it again for others: all that they allow is compared",
    )
    group.add_argument(
        "--full-ft",
        action="append",
        metavar="NAME=DIR|HUB-ID",
        help="a full fine-tune of the same task as that adapter",
    )
    group.add_argument(
        "--texts",
        metavar="FILE",
        help="your own prompts: .parquet, .jsonl or .csv with a column text, or chats in a column messages",
    )
    group.add_argument(
        "--prompt-tokens", type=_tokens, metavar="N", help="of each request (default: 256, or as GLUE's)"
    )
    group.add_argument(
        "--output-tokens", type=_tokens, metavar="N", help="that a language model generates for each (default: 64)"
    )
    group.add_argument("--batch", type=_batches, metavar="N[,N...]", help="prompts served together (default: 1)")


def check_own_plan(options: argparse.Namespace, overrides: Overrides, problems: Problems) -> OwnPlan | None:
    """Write the plan of ``--adapter`` and check it as any other; None where ``problems`` has what is wrong.

    What two or more adapters, or a merged one, cannot do is left out of the plan, with the reason; all else is refused.
    """
    found, asked = _read_options(options, problems)
    if found is None:
        return None
    left_out: list[LeftOut] = []
    pace: Pace | None = None
    while True:
        written = written_plan(found, asked, left_out, pace)
        told = Problems()
        checked = check_plan(PlanSource(WRITTEN, written.text), overrides, None, told)
        if further := _cannot_be(told.found, found, asked):
            left_out += further
            continue
        if checked is None or pace is not None:
            break
        if (pace := suited_pace(checked)) == USUAL[found.task_type]:
            break
    problems.found += told.found
    if problems.found or checked is None:
        return None
    return OwnPlan(written.text, checked, tuple(found_lines(found)), written.left_out, _options(found, asked))


def _options(found: FineTunes, asked: Asked) -> tuple[str, ...]:
    words: list[str] = []
    for adapter in found.adapters:
        words += ["--adapter", f"{adapter.name}={adapter.location}"]
        words += [] if adapter.full_ft is None else ["--full-ft", f"{adapter.name}={adapter.full_ft}"]
    for name, value in [
        ("texts", asked.texts),
        ("prompt-tokens", asked.prompt_tokens),
        ("output-tokens", asked.output_tokens),
    ]:
        words += [] if value is None else [f"--{name}", str(value)]
    return (*words, *(() if asked.batch == (1,) else ("--batch", ",".join(map(str, asked.batch)))))


def _cannot_be(problems: Sequence[str], found: FineTunes, asked: Asked) -> list[LeftOut]:
    """Of the configurations that a plan can do without those that are refused by name, each once."""
    known = may_be_left_out(found, asked)
    refused: dict[tuple[str, str], LeftOut] = {}
    for line in problems:
        name, _, why = line.removeprefix("configuration ").partition(": ")
        if line.startswith("configuration ") and name in known:
            refused.setdefault(known[name], LeftOut(*known[name], why))
    return list(refused.values())


def _read_options(options: argparse.Namespace, problems: Problems) -> tuple[FineTunes | None, Asked]:
    adapters = _named(options.adapter or [], "--adapter", problems)
    full_ft = dict(_named(options.full_ft or [], "--full-ft", problems))
    known = {name for name, _ in adapters}
    for name in full_ft:
        if name not in known:
            problems.found.append(
                f"--full-ft {name}=...: there is no --adapter {name}=... to compare it with; there is "
                + (first_of(sorted(known), 4) or "none")
            )
    if options.texts is not None and options.prompt_tokens is not None:
        problems.found.append("--texts and --prompt-tokens: texts are as long as they are; give one of the two")
    texts, chats = _texts(options.texts, problems)
    asked = Asked(options.prompt_tokens, options.output_tokens, texts, chats, options.batch or (1,))
    if options.model is None:
        problems.found.append("--adapter: of which base? name it by --model PRESET|PATH|HUB-ID")
        return None, asked
    found = find_fine_tunes(options.model, adapters, full_ft, problems)
    if found is not None and found.task_type == "SEQ_CLS" and asked.output_tokens is not None:
        problems.found.append("--output-tokens: the adapters are of sequence classifiers, which generate none")
        asked = dataclasses.replace(asked, output_tokens=None)
    return found, asked


def _named(arguments: Sequence[str], option: str, problems: Problems) -> list[tuple[str, str]]:
    """Name and place of each ``NAME=PLACE``, those that are as they must be."""
    found: dict[str, str] = {}
    for argument in arguments:
        name, equals, place = argument.partition("=")
        with problems.gathered():
            if not equals:
                raise InputError(f"{option} {argument}: expected NAME=DIR or NAME=HUB-ID, such as support={argument}")
            if not _NAME.fullmatch(name):
                raise InputError(
                    f"{option} {argument}: {name!r} is not a name; use up to 80 letters, digits, '.', '_' and '-', "
                    "starting with one of the first two"
                )
            if not place:
                raise InputError(f"{option} {argument}: no folder or hub id after the =")
            if filled_in := [word for word in ("{task}", "{seed}", "{batch}") if word in place]:
                raise InputError(f"{option} {argument}: a plan fills in {filled_in[0]} in a path; rename the folder")
            if not is_unicode(place):
                raise InputError(f"{option} {argument}: the path is not UTF-8, which a plan has to be; rename it")
            if name in found:
                raise InputError(f"{option} {argument}: {name} is named twice, before for {found[name]}; rename one")
            found[name] = place
    return list(found.items())


def _texts(place: str | None, problems: Problems) -> tuple[str | None, bool]:
    """The file's whole path, and whether it holds chats: in a column ``messages``, where there is none ``text``."""
    if place is None:
        return None, False
    path = str(Path(place).absolute())
    if not path.endswith(TEXT_FILES):  # told as of any plan
        return path, False
    columns: tuple[str, ...] = ()
    with problems.gathered():
        columns = column_names(path)
    return path, "messages" in columns and "text" not in columns


def _tokens(text: str) -> int:
    expected = "expected a number from 1 to 10000000"
    return _number(text, 10_000_000, expected)


def _batches(text: str) -> tuple[int, ...]:
    expected = "expected numbers from 1 to 4096, such as 8 or 1,8"
    return tuple(sorted({_number(part, 4096, expected) for part in text.split(",")}))


def _number(text: str, most: int, expected: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= most:
        raise argparse.ArgumentTypeError(f"{expected}, got {text[:40]!r}")
    return value
