"""What a shell completes of a command line besides commands and options: runs, plans, files.

A shell asks the command itself, each time Tab is pressed (cyclopts' ``__complete``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from raybench.store import DEFAULT_RESULTS

if TYPE_CHECKING:
    from cyclopts import App
    from cyclopts.completion import CompletionContext

Shell = Literal["bash", "zsh", "fish"]

Completer = Callable[["CompletionContext"], list[str]]


_MORE: Final[Mapping[Shell, str]] = {
    "bash": """
# A folder is gone on from: no blank after it.
_raybench_places() {
  _raybench "$@"
  [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]] && compopt -o nospace
}
complete -F _raybench_places raybench
""",
    "zsh": """
# Read by eval it is registered; as a file in fpath this is the first time that it is asked.
if [[ $funcstack[1] == _raybench ]]; then
  _raybench "$@"
else
  compdef _raybench raybench
fi
""",
    "fish": "",
}


def script_of(app: App, shell: Shell) -> str:
    """What ``shell`` is to read, once a session or as it starts."""
    return app.generate_completion(prog_name="raybench", shell=shell) + _MORE[shell]


def completed(words: Callable[[], Iterable[str]], files: str | tuple[str, ...] | None = None) -> Completer:
    """Completes one of ``words``; with ``files`` also files whose names end so, and the folders on the way to them."""

    def found(context: CompletionContext) -> list[str]:
        places = [] if files is None else _places(context.incomplete, files)
        return _shown((*words(), *places))

    return found


def completed_run(context: CompletionContext) -> list[str]:
    """``latest``, and the names of the runs in ``--results``, where that is a folder; folders."""
    return ["latest", *completed_run_but_latest(context)]


def completed_run_but_latest(context: CompletionContext) -> list[str]:
    """As `completed_run`, without the word."""
    return _shown((*_names_of_runs(context), *_places(context.incomplete)))


def _names_of_runs(context: CompletionContext) -> list[str]:
    results = context["results"].value
    results = results if isinstance(results, Path) else DEFAULT_RESULTS
    return sorted(path.parent.name for path in results.glob("*/run.json"))


def _places(begun: str, files: str | tuple[str, ...] | None = None) -> list[str]:
    """Folders that go on from ``begun``, and files that end by ``files``; hidden ones by their dot."""
    name = begun.rpartition("/")[2]
    folder = begun.removesuffix(name)
    found = sorted(Path(folder or ".").iterdir()) if Path(folder or ".").is_dir() else []
    return [
        f"{folder}{path.name}{'/' if path.is_dir() else ''}"
        for path in found
        if path.name.startswith(name)
        and (name or not path.name.startswith("."))
        and (path.is_dir() or (files is not None and path.name.endswith(files)))
    ]


def _shown(words: Iterable[str]) -> list[str]:
    """What a terminal acts on completes nothing: names of folders are foreign. A folder that is a run goes by name."""
    known = dict.fromkeys(word for word in words if word.isprintable())
    return [word for word in known if word.removesuffix("/") == word or word.removesuffix("/") not in known]
