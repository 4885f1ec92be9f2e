"""``--model`` of the commands that take one."""

from __future__ import annotations

import argparse

from raybench.report import completed


def add_model_argument(p: argparse.ArgumentParser, help_text: str) -> None:
    """A preset, a folder or a hub id; presets and places are completed."""
    completed(p.add_argument("--model", metavar="PRESET|PATH|HUB-ID", help=help_text), lambda _: _presets())


def _presets() -> list[str]:
    from raybench.model import presets  # only a shell asks, and what is behind it takes longer than a help

    return list(presets())
