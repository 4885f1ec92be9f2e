"""Folders in raybench's cache: each written once, whole or not at all, and named by what it was made from."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from raybench.model import cache_folder
from raybench.records import InputError

_MARK: Final = "raybench-served.json"
_FOLDER: Final = "served"


def written_once(label: str, made_from: Mapping[str, Any], write: Callable[[Path], None]) -> Path:
    """The folder of what ``made_from`` says, which JSON can hold; ``write`` fills it where it is not there yet.

    Another process that wants the same waits for the one that writes; if that dies, it writes itself. Raises InputError
    where the cache cannot be written.
    """
    from filelock import FileLock  # looking at a plan imports this module, and not that

    content = json.dumps(made_from, sort_keys=True, indent=1)
    parent = cache_folder() / _FOLDER
    folder = parent / f"{label}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    if _is(folder, content):
        return folder
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with FileLock(parent / f".{folder.name}.lock"):  # given back by the kernel if this process dies
            if not _is(folder, content):
                _write(folder, content, write)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error}; set RAYBENCH_CACHE to a folder with room") from None
    return folder


def file_identity(paths: Iterable[Path]) -> list[list[Any]]:
    """What tells whether a file is still the same one without reading it: place, size and times of change.

    Files behind links, as those of a hub's cache are.
    """
    found = []
    for path in sorted(paths):
        real = path.resolve()
        stat = real.stat()
        found.append([path.name, str(real), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns])
    return found


def _is(folder: Path, content: str) -> bool:
    try:
        return (folder / _MARK).read_text("utf-8") == content
    except (FileNotFoundError, NotADirectoryError):
        return False


def _write(folder: Path, content: str, write: Callable[[Path], None]) -> None:
    if folder.exists():
        raise InputError(f"{folder}: exists and is not what raybench wrote there; remove it")
    prefix = f".{folder.name}-"
    for left in folder.parent.glob(f"{prefix}*"):  # by a process that was killed: the lock is ours
        shutil.rmtree(left)
    scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        write(scratch)
        (scratch / _MARK).write_text(content, "utf-8")
        scratch.chmod(0o755)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
