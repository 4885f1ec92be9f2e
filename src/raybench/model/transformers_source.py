"""What transformers' own source says, read and not imported: to import any of it takes torch, and seconds."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path


@cache
def class_table(name: str) -> Mapping[str, str | tuple[str, ...]]:
    """One of transformers' tables of classes by model type, ``MODEL_FOR_..._MAPPING_NAMES``."""
    for node in ast.parse(_text("models/auto/modeling_auto.py")).body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call) or not node.value.args:
            continue
        if any(isinstance(target, ast.Name) and target.id == name for target in node.targets):
            with contextlib.suppress(ValueError, TypeError):  # no plain list of pairs
                return dict(ast.literal_eval(node.value.args[0]))
    from transformers.models.auto import modeling_auto

    known: Mapping[str, str | tuple[str, ...]] = getattr(modeling_auto, name)
    return known


def may_rename(model_type: str) -> bool:
    """Whether transformers may load tensors of this model type under other names than they have in the files."""
    text = _text("conversion_mapping.py")
    if text and f'"{model_type}"' not in text and f"'{model_type}'" not in text:
        return False
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    return get_checkpoint_conversion_mapping(model_type) is not None


@cache
def _text(file: str) -> str:
    """Empty where there is no such file."""
    found = importlib.util.find_spec("transformers")
    path = Path(found.origin).parent / file if found is not None and found.origin else None
    return path.read_text("utf-8") if path is not None and path.is_file() else ""
