"""The shapes of models that ship with the package."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any


def presets() -> tuple[str, ...]:
    """Names of the shapes that ship with the package."""
    files = resources.files("raybench").joinpath("model", "shapes").iterdir()
    return tuple(sorted(f.name.removesuffix(".json") for f in files if f.name.endswith(".json")))


@cache
def preset_shape(preset: str) -> dict[str, Any]:
    """A preset: ``about``, ``store`` ("files" or "device"), ``task_types`` and its Hugging Face ``config``."""
    text = resources.files("raybench").joinpath("model", "shapes", f"{preset}.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded
