"""``--model`` of the commands that take one."""

from typing import Final

from cyclopts import Parameter

from raybench.model import presets
from raybench.report import completed

MODEL: Final = Parameter(metavar="PRESET|PATH|HUB-ID", completer=completed(presets, files="/"))
"""A preset, a folder or a hub id; presets and folders are completed."""
