"""From an adapter folder to a checked plan: what ``raybench init`` prints and ``raybench sweep --adapter`` runs."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from raybench.model import FineTunes, column_names, find_fine_tunes, is_unicode, read_json_object
from raybench.plan import TEXT_FILES, Overrides, PlanSource, first_of
from raybench.records import InputError, Problems
from raybench.report import shell_command
from raybench.sweep.checked_plan import CheckedPlan, check_plan
from raybench.sweep.engine_options import OPENAI
from raybench.sweep.fine_tune_options import FineTuneOptions, engine_problems
from raybench.sweep.pace import USUAL, Pace, suited_pace
from raybench.sweep.served_text import ServedWriter, running_plan, whole_path
from raybench.sweep.written_plan import Asked, LeftOut, PlanWriter, found_lines

WRITTEN: Final = "the plan of --adapter"
"""What its errors begin with, as those of a file begin with its name."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_LONGEST: Final = 300
"""Letters of a base's name that are repeated at most."""


@dataclasses.dataclass(frozen=True, slots=True)
class OwnPlan:
    """``text``: TOML. ``found``: a line for each thing that was read. ``left_out``: what cannot be, and why.

    ``options``: words of the command line, besides a model whose files are known, that give the same plan from any
    folder.
    """

    text: str
    checked: CheckedPlan
    found: tuple[str, ...]
    left_out: tuple[str, ...]
    options: tuple[str, ...]


def check_own_plan(options: FineTuneOptions, overrides: Overrides, problems: Problems) -> OwnPlan | None:
    """Write the plan of ``--adapter`` and check it as any other; None where ``problems`` has what is wrong.

    What two or more adapters, or a merged one, cannot do is left out of the plan, with the reason; all else is refused.
    """
    asked = _asked(options, problems)
    if asked.engine == OPENAI:
        return _check_running(options, overrides, asked, problems)
    found = _fine_tunes(options, asked, problems)
    if found is None:
        return None
    if found.task_type == "SEQ_CLS" and asked.output_tokens is not None:
        problems.found.append("--output-tokens: the adapters are of sequence classifiers, which generate none")
        asked = dataclasses.replace(asked, output_tokens=None)
    if found.task_type == "SEQ_CLS" and asked.engine is not None:
        problems.found.append(
            f"--engine {asked.engine}: the adapters are of sequence classifiers, and servers are of language models"
        )
        return None
    left_out: list[LeftOut] = []
    pace: Pace | None = None
    while True:
        writer = (PlanWriter if asked.engine is None else ServedWriter)(found, asked, left_out, pace)
        written = writer.written()
        told = Problems()
        checked = check_plan(PlanSource(WRITTEN, written.text), overrides, None, told)
        if further := _cannot_be(told.found, writer.may_be_left_out()):
            left_out += further
            continue
        if checked is None or pace is not None or asked.engine is not None:
            break
        if (pace := suited_pace(checked)) == USUAL[found.task_type]:
            break
    problems.found += told.found
    if problems.found or checked is None:
        return None
    return OwnPlan(written.text, checked, tuple(found_lines(found)), written.left_out, _options(found, asked))


def _check_running(options: FineTuneOptions, overrides: Overrides, asked: Asked, problems: Problems) -> OwnPlan | None:
    """Of a server that runs already: files are read only where all adapters have theirs, and their base too."""
    found: FineTunes | None = None
    if all("=" in argument for argument in options.adapter or ()):
        found = _fine_tunes(options, asked, problems)
        names = [] if found is None else [adapter.name for adapter in found.adapters]
    else:
        names = _names(options.adapter or (), problems)
    if problems.found:
        return None
    written = running_plan(names, asked, None if found is not None else options.model, found)
    checked = check_plan(PlanSource(WRITTEN, written.text), overrides, None, problems)
    if checked is None:
        return None
    lines = [f"adapters {', '.join(names)} of the server at {asked.url}"] if found is None else found_lines(found)
    words = () if found is not None or options.model is None else ("--model", options.model)
    return OwnPlan(written.text, checked, tuple(lines), (), (*words, *_options(found, asked, names)))


def _options(found: FineTunes | None, asked: Asked, names: Sequence[str] = ()) -> tuple[str, ...]:
    words: list[str] = []
    for adapter in () if found is None else found.adapters:
        words += ["--adapter", f"{adapter.name}={adapter.location}"]
        words += [] if adapter.full_ft is None else ["--full-ft", f"{adapter.name}={adapter.full_ft}"]
    for name in names if found is None else ():
        words += ["--adapter", name]
    for name, value in [
        ("engine", asked.engine),
        ("url", asked.url),
        ("engine-python", asked.python),
        ("concurrency", ",".join(map(str, asked.concurrency)) or None),
        ("rate", ",".join(map(str, asked.rates)) or None),
        ("texts", asked.texts),
        ("prompt-tokens", asked.prompt_tokens),
        ("output-tokens", asked.output_tokens),
    ]:
        words += [] if value is None else [f"--{name}", str(value)]
    return (*words, *(() if asked.batch == (1,) else ("--batch", ",".join(map(str, asked.batch)))))


def _cannot_be(problems: Sequence[str], known: Mapping[str, tuple[str, str]]) -> list[LeftOut]:
    """Of the configurations that a plan can do without (``known``) those that are refused by name, each once."""
    refused: dict[tuple[str, str], LeftOut] = {}
    for line in problems:
        name, _, why = line.removeprefix("configuration ").partition(": ")
        if line.startswith("configuration ") and name in known:
            refused.setdefault(known[name], LeftOut(*known[name], why))
    return list(refused.values())


def _asked(options: FineTuneOptions, problems: Problems) -> Asked:
    """What is asked of requests and servers, with what does not go together told."""
    if options.texts is not None and options.prompt_tokens is not None:
        problems.found.append("--texts and --prompt-tokens: texts are as long as they are; give one of the two")
    texts = _texts(options.texts, problems)
    problems.found += engine_problems(options)
    engine = options.engine
    return Asked(
        options.prompt_tokens,
        options.output_tokens,
        *texts,
        options.batch or (1,),
        engine=engine,
        url=options.url if engine == OPENAI else None,
        python=whole_path(options.engine_python) if engine is not None else None,
        concurrency=options.concurrency or (),
        rates=options.rate or (),
    )


def _names(arguments: Sequence[str], problems: Problems) -> list[str]:
    """What a server calls its adapters, those that are as they must be."""
    found: list[str] = []
    for argument in arguments:
        if "=" in argument:
            problems.found.append(
                f"--adapter {argument}: others have no folder: give all of them theirs, or none, by the server's names"
            )
        elif not _NAME.fullmatch(argument):
            problems.found.append(f"--adapter {argument}: {_no_name(argument)}")
        elif argument in found:
            problems.found.append(f"--adapter {argument}: it is named twice")
        found.append(argument)
    return found


def _no_name(name: str) -> str:
    return f"{name!r} is not a name; use up to 80 letters, digits, '.', '_' and '-', starting with one of the first two"


def _fine_tunes(options: FineTuneOptions, asked: Asked, problems: Problems) -> FineTunes | None:
    adapters = _named(options.adapter or [], "--adapter", problems)
    full_ft = dict(_named(options.full_ft or [], "--full-ft", problems))
    known = {name for name, _ in adapters}
    for name in full_ft:
        if name not in known:
            problems.found.append(
                f"--full-ft {name}=...: there is no --adapter {name}=... to compare it with; there is "
                + (first_of(sorted(known), 4) or "none")
            )
    if options.model is None:
        or_names = ", or name adapters as the server does, without folders" if asked.engine == OPENAI else ""
        told = _told_base(adapters)
        problems.found.append(f"--adapter: of which base? name it by --model PRESET|PATH|HUB-ID{or_names}{told}")
        return None
    return find_fine_tunes(options.model, adapters, full_ft, problems)


def _told_base(adapters: Sequence[tuple[str, str]]) -> str:
    """What the file of the first adapter that has one says of its base, to be typed; nothing where it says nothing."""
    for name, place in adapters:
        if (file := Path(place) / "adapter_config.json").is_file():
            with contextlib.suppress(InputError):
                base = read_json_object(file).get("base_model_name_or_path")
                if isinstance(base, str) and 0 < len(base) <= _LONGEST:
                    return f"; {name} was made on {shell_command(['--model', base])}"
    return ""


def _named(arguments: Sequence[str], option: str, problems: Problems) -> list[tuple[str, str]]:
    """Name and place of each ``NAME=PLACE``, those that are as they must be."""
    found: dict[str, str] = {}
    for argument in arguments:
        name, equals, place = argument.partition("=")
        with problems.gathered():
            if not equals:
                raise InputError(f"{option} {argument}: expected NAME=DIR or NAME=HUB-ID, such as support={argument}")
            if not _NAME.fullmatch(name):
                raise InputError(f"{option} {argument}: {_no_name(name)}")
            if not place:
                raise InputError(f"{option} {argument}: no folder or hub id after the =")
            if filled_in := [word for word in ("{task}", "{seed}", "{batch}", "{load}") if word in place]:
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
