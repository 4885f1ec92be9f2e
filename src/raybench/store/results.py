"""Where runs are kept: which storage a place has, which runs it holds, and whether it can be written."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from raybench.records import InputError
from raybench.store.local_storage import LocalStorage, try_to_write
from raybench.store.location import Location, ObjectUri, is_run_id
from raybench.store.storage import DESCRIPTION, Storage


def validate_run_id(run_id: str) -> str:
    """``run_id`` if it can name a run anywhere; raises `InputError` otherwise."""
    if not is_run_id(run_id):
        raise InputError(
            f"--run-id {run_id[:120]!r}: use 1 to 100 letters, digits, '.', '_', '-', the first a letter or a digit"
        )
    return run_id


def open_storage(root: Location) -> Storage:
    """The storage of the run at ``root``, whether or not there is one."""
    if isinstance(root, ObjectUri):
        from raybench.store.object_storage import ObjectStorage  # a run in a folder needs no client

        return ObjectStorage(root)
    return LocalStorage(root)


def is_run(root: Location) -> bool:
    """Whether there is a run at ``root``, sound or damaged. Raises `StoreError`."""
    return open_storage(root).exists(DESCRIPTION)


def run_ids(results: Location) -> Iterator[str]:
    """The names of what seem to be runs, sorted. Raises `StoreError`."""
    if isinstance(results, ObjectUri):
        from raybench.store.object_client import ObjectClient

        return iter([name for name in ObjectClient(results).folders() if is_run_id(name)])
    names = sorted(path.parent.name for path in results.glob(f"*/{DESCRIPTION}"))
    return iter([name for name in names if is_run_id(name)])


def check_writable(results: Location) -> None:
    """Refuse a place that cannot be written before anything is started. Raises `InputError`."""
    if isinstance(results, ObjectUri):
        from raybench.store import object_client

        object_client.check_writable(results)
        return
    # Not made yet: a command that is refused for another reason leaves nothing behind.
    try:
        folder = next(path for path in (results, *results.absolute().parents) if path.exists())
        with tempfile.TemporaryDirectory(dir=folder, prefix=".raybench-") as probe:
            try_to_write(Path(probe))
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"--results {results}: cannot be written: {reason}; choose another folder, with free space, on a file "
            "system with hard links and locks"
        ) from None
