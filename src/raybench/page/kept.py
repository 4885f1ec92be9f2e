"""The page that a run which has ended keeps with its samples."""

from __future__ import annotations

from typing import Final

from raybench.analysis import Tables
from raybench.page.asked_once import AskedOnce
from raybench.page.build import page_of
from raybench.page.fitting import fitting
from raybench.page.rendering import html_of
from raybench.store import Location, open_storage

NAME: Final = "report.html"


def keep_page(tables: Tables) -> Location:
    """Write the page of a run into its own place, over an older one. Returns where it is.

    Raises what storages raise, and OSError.
    """
    once = AskedOnce(tables)
    text = fitting(lambda limits: page_of(once, None, limits), html_of)
    open_storage(tables.root).replace(NAME, text.encode())
    return tables.root / NAME
