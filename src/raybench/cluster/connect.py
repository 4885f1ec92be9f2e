"""Ray started on this machine, or a cluster joined; what would keep it from starting is said before, in one line."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import ray

from raybench.cluster.authentication import check_token
from raybench.cluster.nodes import check_reachable
from raybench.records import InputError, RaybenchError

_OBJECT_STORE_BYTES: Final = 256 * 1024**2
_SOCKET_PATH_BYTES: Final = 107
"""What a path of a Unix socket may have on Linux: its field has 108 with the zero at the end."""

_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108  where Ray puts its object store
_PROBE_BYTES: Final = 1024**2


def connect(address: str | None) -> bool:
    """Whether a cluster was joined, not started here.

    Raises InputError where none answers or Ray cannot start here, RaybenchError where it did not all the same.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray starts workers at niceness 15: whatever else runs on the machine would go before what is measured.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Without these a node that vanishes in silence, as a preempted one may, is noticed after seven minutes.
    os.environ.setdefault("RAY_grpc_client_keepalive_time_ms", "10000")
    os.environ.setdefault("RAY_grpc_client_keepalive_timeout_ms", "10000")
    address = address or os.environ.get("RAY_ADDRESS")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None or address == "local":
        check_can_start(os.environ, os.getpid())
        try:
            ray.init("local", include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES, **quiet)
        except Exception as error:  # noqa: BLE001  a bare Exception is what Ray raises where a part of it died
            logs = ray_folder(os.environ)[1] / "session_latest" / "logs"
            raise RaybenchError(
                f"Ray did not start here: {_one_line(error)}; what it says itself is in {logs}"
            ) from None
        return False
    if address != "auto":
        check_reachable(address)
        check_token(address, os.environ)
    try:
        ray.init(address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"Ray cluster at {address} cannot be reached: {_one_line(error)}; is it up, and does "
            "RAY_AUTH_MODE=token with its token apply here?"
        ) from None
    return True


def check_can_start(environment: Mapping[str, str], pid: int) -> None:
    """Raises InputError where Ray, started by process ``pid``, would not find a folder that it can use.

    Ray itself would take half a minute to say that a part of it died, or show a traceback.
    """
    name, folder = ray_folder(environment)
    where = f"{name}={folder.parent}" if name else str(folder.parent)
    remedy = "set RAY_TMPDIR to a short, absolute path of a folder that can be written (RAY_TMPDIR=/tmp)"
    if not folder.is_absolute():
        raise InputError(f"{name}={environment[name]!r}: Ray needs an absolute path; {remedy}")
    if (excess := len(os.fsencode(socket_path(folder, pid))) - _SOCKET_PATH_BYTES) > 0:
        raise InputError(
            f"{where}: {excess} bytes too long: the path of Ray's sockets there may have {_SOCKET_PATH_BYTES} bytes "
            f"in all; {remedy}"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_PROBE_BYTES))
    except OSError as error:
        raise InputError(f"{where}: Ray cannot write there: {error.strerror or error}; {remedy}") from None
    free = {place: _free_bytes(place) for place in (_SHARED_MEMORY, str(folder))}
    if max(free.values()) < _OBJECT_STORE_BYTES:
        found = " and ".join(f"{place} has {size / 1e6:,.0f} MB" for place, size in free.items())
        raise InputError(
            f"Ray's object store needs {_OBJECT_STORE_BYTES / 1e6:,.0f} MB: {found}; free some, or set RAY_TMPDIR to a "
            "folder with more"
        )


def ray_folder(environment: Mapping[str, str]) -> tuple[str, Path]:
    """Where Ray keeps its sessions, and the variable that says so (none: ""); in Ray's own order."""
    for name in ("RAY_TMPDIR", "TMPDIR"):
        if name in environment:
            return name, Path(environment[name], "ray")
    return "", Path("/tmp/ray")  # noqa: S108  what Ray takes


def socket_path(folder: Path, pid: int) -> str:
    """A path as long as that of the longest socket of a Ray that process ``pid`` starts with its sessions there."""
    return f"{folder}/session_YYYY-MM-DD_HH-MM-SS_ffffff_{pid}/sockets/plasma_store"


def _free_bytes(place: str) -> int:
    try:
        return shutil.disk_usage(place).free
    except OSError:
        return 0


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
