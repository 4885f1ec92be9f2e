"""A page in words of HTML or Markdown, by templates that escape all that they are given."""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import Any, Final

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup, escape

from raybench.page.parts import Page
from raybench.report import harmless, joined

_FILES: Final = ("page.html", "page.md", "page.css")
_MEANING: Final = re.compile(
    r"""[&<>|*`~$\\]           # markup wherever it stands
    | (?<![A-Za-z0-9])_ | _(?![A-Za-z0-9])
    | [@#](?=\w) | :(?=[A-Za-z/+_-])    # who or what is mentioned, :smile:, ://
    | \](?=[(\[])            # where a link would go
    | ^(?:\s|\#|\[|[-+=](?=[-=\s])) | (?<=^\d)[.)](?=\s) | (?<=^\d\d)[.)](?=\s)  # the begin of a line""",
    re.VERBOSE,
)
"""What means something in Markdown, as GitHub reads it."""
_MENTIONS: Final = "@#:"
"""What GitHub looks for in the text that is shown, so that an entity alone would not do."""
_BETWEEN_PARTS: Final = re.compile(r"_(?=[A-Za-z0-9])|(?<=[A-Za-z0-9])[./](?=[A-Za-z])")
_INTERVAL: Final = re.compile(r"\[[+-][\d.,]+\xa0%,\xa0[+-][\d.,]+\xa0%\]")
"""As `_shown` has joined it."""

_OPEN: Final = 12
_FEW: Final = 3
"""So many more are not worth a click."""


def html_of(page: Page) -> str:
    """The page as one file of HTML that needs nothing else."""
    from raybench.page.plots import draw

    files = _templates()
    environment = _environment(files, _shown)
    environment.filters |= {"draw": draw, "code": _code, "data": _data, "cell": _cell}
    style = Markup(files["page.css"])  # noqa: S704  the package's own
    return environment.get_template("page.html").render(page=page, style=style, open=_open)


def markdown_of(page: Page) -> str:
    """The page for a pull request: tables, verdicts, cautions; without plots."""
    environment = _environment(_templates(), _in_markdown)
    environment.filters |= {"code": _code}
    return environment.get_template("page.md").render(page=page)


def _open(number: int) -> int:
    """Of the rows of a table, or of verdicts, how many stand open; the others are one click away, and in print."""
    return number if number <= _OPEN + _FEW else _OPEN


def _environment(files: dict[str, str], finalize: Any) -> Environment:
    return Environment(
        loader=DictLoader(files),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _templates() -> dict[str, str]:
    folder = resources.files("raybench").joinpath("page", "templates")
    return {name: folder.joinpath(name).read_text("utf-8") for name in _FILES}


def _shown(value: Any) -> Any:
    """What an expression of a template becomes: of text, nothing that acts or that nobody sees. Then it is escaped."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return joined(harmless(value), "\N{NO-BREAK SPACE}")


def _in_markdown(value: Any) -> Any:
    """The same for Markdown: each sign that would mean something as an entity, names that mention nobody."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return Markup(_MEANING.sub(_as_entity, harmless(value)))  # noqa: S704  what is done here is escaping


def _as_entity(found: re.Match[str]) -> str:
    return f"&#{ord(found[0])};" + ("&#8203;" if found[0] in _MENTIONS else "")


def _cell(text: str) -> Markup:
    """A cell of words, escaped: where there is little room names are broken between their parts, intervals never."""
    broken = _BETWEEN_PARTS.sub(r"\g<0><wbr>", str(escape(_shown(text))))
    return Markup(_INTERVAL.sub(r'<span class="whole">\g<0></span>', broken))  # noqa: S704  escaped above


def _code(text: str) -> Markup:
    """Lines to copy, escaped, each as it is."""
    return Markup("\n").join(escape(harmless(line)) for line in text.split("\n"))


def _data(value: Any) -> Markup:
    """JSON that can stand in a script element: no sign in it ends one."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\x7f":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704  escaped as JSON is
