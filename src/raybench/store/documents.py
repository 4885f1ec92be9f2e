"""JSON that raybench keeps beside its rows: written one way, and read as what anyone may have written."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from raybench.schemas import READABLE_VERSIONS
from raybench.store.location import Location
from raybench.store.storage import RESTORE, StoreError

Model = TypeVar("Model", bound=BaseModel)

_DEEPEST: Final = 20
"""Nesting; raybench itself writes 6 levels."""
_WHOLE: Final = 2**63
_TOLD: Final = 3
"""Problems of one document that are told; the rest is counted."""


def parse_json(data: bytes, where: Location) -> dict[str, Any]:
    """The JSON object that ``data`` is, of finite numbers that 64 bits hold and text that UTF-8 holds.

    Raises `StoreError` if it is damaged or of another schema version.
    """
    try:
        document = _loads(data)
        if not isinstance(document, dict):
            raise ValueError("not an object")
        _check(document, 0)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{where}: damaged JSON ({error}); {RESTORE}") from error
    version = document.get("schema_version")
    if type(version) is not int or version not in READABLE_VERSIONS:
        raise StoreError(f"{where}: {unreadable(version)}")
    return document


def validated(model: type[Model], document: Mapping[str, Any], where: Location, remedy: str = RESTORE) -> Model:
    """``document`` as a ``model``. Raises `StoreError` with what is wrong and ``remedy``, in one line."""
    try:
        return model.model_validate_json(json.dumps(document))  # strict, but arrays and dates are JSON's
    except ValidationError as error:
        found = error.errors(include_url=False)
        said = [f"{'.'.join(map(str, one['loc'])) or 'document'}: {one['msg']}{_seen(one)}" for one in found[:_TOLD]]
        more = [f"and {len(found) - _TOLD} more"] if len(found) > _TOLD else []
        raise StoreError(f"{where}: {'; '.join([*said, *more])}; {remedy}") from None


def parsed_at_once(model: type[Model], data: bytes) -> Model | None:
    """What `parse_json` and `validated` make of ``data`` together, in a third of the time; None where they are to say.

    ``model`` bounds by itself what it can hold: how deep, how large its numbers are, which schema version.
    """
    try:
        _loads(data)
        return model.model_validate_json(data)
    except (ValueError, RecursionError):
        return None


def encode_json(document: Mapping[str, Any]) -> bytes:
    """``document`` as raybench writes JSON. Raises `ValueError` or `TypeError` for what JSON cannot hold."""
    return (json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def unreadable(version: object) -> str:
    """What a person is told of a schema version that this raybench does not read."""
    *others, last = map(str, READABLE_VERSIONS)
    readable = f"{', '.join(others)} and {last}"
    return f"schema version {version!r}, and this raybench reads {readable}; read it with the raybench that wrote it"


def _loads(data: bytes) -> Any:
    return json.loads(data, object_pairs_hook=_once, parse_constant=_finite, parse_float=_finite)


def _seen(error: ErrorDetails) -> str:
    found = error["input"]
    return "" if isinstance(found, dict | list) else f" (found {found!r:.100})"


def _check(value: Any, depth: int) -> None:
    """Raise ValueError for what raybench never writes and what programs behind it stumble over."""
    if depth > _DEEPEST:
        raise ValueError(f"nested deeper than {_DEEPEST} levels")
    inner: Iterable[Any] = ()
    if isinstance(value, dict):
        inner = (*value, *value.values())
    elif isinstance(value, list):
        inner = value
    elif isinstance(value, str):
        value.encode()  # a lone surrogate is no text
    elif isinstance(value, int) and not -_WHOLE <= value < _WHOLE:
        raise ValueError("a whole number of more than 64 bits")
    for one in inner:
        _check(one, depth + 1)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are there once: programs differ in which of two they take."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i]))
        raise ValueError(f"{twice!r:.100} is there twice")
    return found


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is not a finite number")
    return value
