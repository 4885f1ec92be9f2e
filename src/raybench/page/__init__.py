"""One page that tells all of a run, or of two compared: for a browser, for a pull request, or its numbers."""

from typing import TYPE_CHECKING

from raybench.handed_out import names_of

if TYPE_CHECKING:
    from raybench.page.command import run
    from raybench.page.kept import keep_page
    from raybench.page.options import ReportOptions
else:
    __getattr__ = names_of(__name__)

__all__ = [
    "ReportOptions",
    "keep_page",
    "run",
]
