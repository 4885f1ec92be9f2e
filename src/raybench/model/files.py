"""Files that came with a model: opened only where they are regular, read only so far, and nothing in them believed."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

import pydantic

from raybench.plan import first_of
from raybench.records import InputError

MAX_JSON_BYTES = 10_000_000
"""Of a config.json or adapter_config.json: those with every module by its full path have one or two megabytes."""

_AT_ONCE: Final = 1 << 24
"""Bytes of a tensor that are looked at together."""

_Model = TypeVar("_Model", bound=pydantic.BaseModel)


class FromFile(pydantic.BaseModel):
    """Of a JSON file that others wrote the keys that are needed; those that are not known are left alone."""

    model_config = pydantic.ConfigDict(extra="ignore", strict=True, frozen=True, protected_namespaces=())


def read_json(path: Path, model: type[_Model]) -> _Model:
    """The JSON object in ``path`` as a ``model``.

    Raises InputError with the file, and each key that is not as it must be with its value.
    """
    content = read_json_object(path)
    try:
        return model.model_validate(content)
    except pydantic.ValidationError as error:
        said: dict[str, str] = {}
        for problem in error.errors():
            said.setdefault(_key(problem), _said(problem))  # a value of two possible types has two problems
        raise InputError(f"{path}: {'; '.join(list(said.values())[:5])}") from None


def read_json_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file of at most ``MAX_JSON_BYTES`` holds. Raises InputError where it holds none."""
    data = _read(path, MAX_JSON_BYTES)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, got {str(content)[:60]!r}")
    return content


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor in a safetensors file, from its header: no weight is read.

    Raises InputError where it is no such file, or not all of it is there.
    """
    from safetensors import SafetensorError, safe_open

    check_regular(path)
    try:
        with safe_open(path, framework="np") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a whole safetensors file: {error}") from None


def holds_only_zeros(path: Path, names: Iterable[str]) -> bool:
    """Whether all numbers of these tensors of a safetensors file are 0; ends at the first part that is not.

    By their bytes, as the format has them (huggingface.co/docs/safetensors): NumPy has no bfloat16. Raises InputError
    where they cannot be read; ``path`` is a file that `tensor_shapes` has looked at.
    """
    try:
        with path.open("rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(start - 8))
            return not any(map(any, (_parts(file, start, *header[name]["data_offsets"]) for name in names)))
    except (OSError, ValueError, LookupError) as error:
        raise InputError(f"{path}: not a whole safetensors file: {error}") from None


def _parts(file: BinaryIO, start: int, first: int, end: int) -> Iterator[bool]:
    """Of each part of a tensor whether anything in it is not 0."""
    file.seek(start + first)
    for left in range(end - first, 0, -_AT_ONCE):
        yield bool(file.read(min(left, _AT_ONCE)).strip(b"\0"))


def check_regular(path: Path) -> None:
    """Raises InputError where ``path`` is absent, or no regular file: to open a pipe may wait for ever."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
        raise InputError(f"{path}: {reason}") from None
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: not a regular file")


def _read(path: Path, limit: int) -> bytes:
    check_regular(path)
    try:
        # Were it a pipe by now: not to wait for its writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    if len(data) > limit:
        raise InputError(f"{path}: larger than {limit} bytes")
    return data


def _key(problem: Any) -> str:
    return ".".join(str(part) for part in problem["loc"] if not str(part).startswith(("list[", "str", "int")))


def _said(problem: Any) -> str:
    message = f"{_key(problem)}: {problem['msg'][0].lower()}{problem['msg'][1:]}"
    return message if problem["type"] == "missing" else f"{message}, got {str(problem['input'])[:60]!r}"


def no_column(path: str, name: str, names: list[str]) -> str:
    """What a person is told of a file of texts whose columns, ``names``, do not have ``name`` once."""
    return f"{path}: no column {name!r} of its own; it has {first_of(names, 12)}"
