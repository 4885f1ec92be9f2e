"""Reading a file that may be anything: a pipe that never ends, a device, a thousand times as long as it should be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from raybench.store.storage import RESTORE, StoreError, too_long


def read_regular(path: Path | str, most_bytes: int) -> bytes:
    """The bytes of ``path``.

    Raises `StoreError`, with nothing read, for what is no regular file and for one of more than ``most_bytes``;
    `OSError` where it cannot be read.
    """
    # Before it is opened: that alone does something to a device.
    refuse_irregular(path, os.stat(path).st_mode)  # noqa: PTH116  a Path of each of ten thousand takes longer
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe put there meanwhile does not block
    try:
        status = os.fstat(fd)
        refuse_irregular(path, status.st_mode)
        if status.st_size > most_bytes:
            raise too_long(path, status.st_size, most_bytes)
        data = os.read(fd, status.st_size + 1)
        while len(data) <= status.st_size and (more := os.read(fd, status.st_size + 1 - len(data))):
            data += more  # of a file of gigabytes the system gives a part at a time
    finally:
        os.close(fd)
    if len(data) > status.st_size:  # it grows, and nothing of a run does
        raise too_long(path, len(data), status.st_size)
    return data


def refuse_irregular(path: Path | str, mode: int) -> None:
    """Raise `StoreError` unless ``mode`` is a regular file's."""
    if not stat.S_ISREG(mode):
        kind = "Is a directory" if stat.S_ISDIR(mode) else "no regular file"
        raise StoreError(f"{path}: cannot be read: {kind}; {RESTORE}")
