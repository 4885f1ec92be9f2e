"""The process between raybench and a server, so that all that the server starts ends with it, and it with raybench.

A server's own processes may leave its process group, its session and their parent. The keeper is their "child
subreaper" (prctl(2)): whatever loses its parent becomes the keeper's child, which it then ends by pid; a child that
is not yet waited for keeps its pid, so that no other process can be met. It ends the server where raybench asks for
that (SIGTERM), and at once where raybench is gone, however it went: a pidfd tells (pidfd_open(2), Linux 5.3).

A script for a bare Python (``python -I -S keeper.py PARENT REPORT GRACE CORES WORD...``) of the standard library only.
What happens is told on the descriptor REPORT in lines: ``started PID``, ``failed REASON``, ``exited CODE``,
``left PIDS``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

FOLDER_PREFIX: Final = "raybench-server-"
"""What the names of servers' working folders begin with."""

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36

_LOOK_MS: Final = 1000
"""How often the size of the log is looked at; all else wakes the keeper by itself."""

_LONGEST_LOG: Final = 16 * 2**20
_KEPT_OF_LOG: Final = 64 * 2**10

_ENDING_S: Final = 10.0
"""How long processes that were killed may take to be gone: one that waits for a device may never be."""

_GENTLE_S: Final = 2.0
"""What those that a server leaves get to end by themselves."""

_TIDYING_S: Final = 2.0
"""What Python's resource trackers get after all others were killed: they remove the shared memory of those."""
_TRACKER: Final = b"multiprocessing.resource_tracker"

_AT_DEFAULT: Final = (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ)


def main(arguments: Sequence[str]) -> int:
    """Start the server that ``arguments`` say, stay until it and all that it started has ended."""
    parent, report, grace_s, cores, *words = arguments
    keeper = _Keeper(int(parent), int(report), float(grace_s))
    return keeper.keep([int(core) for core in cores.split(",") if core], words)


class _Keeper:
    def __init__(self, parent: int, report: int, grace_s: float) -> None:
        self._parent, self._report, self._grace_s = parent, report, grace_s
        os.set_inheritable(report, False)  # or the server would hold it open
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._asked = False
        self._woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for signum in (signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
        self._raybench = os.pidfd_open(parent)

    def _ask(self, *_: object) -> None:
        self._asked = True

    def keep(self, cores: Sequence[int], words: Sequence[str]) -> int:
        try:
            return 1 if self._is_alone() else self._keep(cores, words)
        finally:
            if self._is_alone() and Path.cwd().name.startswith(FOLDER_PREFIX):  # raybench would have removed it
                shutil.rmtree(Path.cwd(), ignore_errors=True)

    def _keep(self, cores: Sequence[int], words: Sequence[str]) -> int:
        server = _start(words, cores)
        if isinstance(server, str):
            self._tell(f"failed {server}")
            return 1
        self._tell(f"started {server}")
        status = self._until_over(server)
        left = self._end_all(server, status, gently_s=0.0 if self._is_alone() else _GENTLE_S)
        if left:
            self._tell(f"left {' '.join(map(str, left))}")
        return 1 if left else 0

    def _is_alone(self) -> bool:
        """Whether raybench is gone: its children have another parent then."""
        return os.getppid() != self._parent

    def _until_over(self, server: int) -> int | None:
        """Wait until the server has ended, raybench is gone, or its time to end by itself is over; its exit status."""
        poller = select.poll()
        poller.register(self._raybench, select.POLLIN)
        poller.register(self._woken, select.POLLIN)
        deadline: float | None = None
        while True:
            if (status := _reap(server)) is not None:
                self._tell(f"exited {os.waitstatus_to_exitcode(status)}")
                return status
            if self._asked and deadline is None:
                deadline = time.monotonic() + self._grace_s
                os.kill(server, signal.SIGTERM)  # not yet waited for: it is still the server
            if deadline is not None and time.monotonic() >= deadline:
                return None
            wait_ms = _LOOK_MS if deadline is None else min(_LOOK_MS, (deadline - time.monotonic()) * 1000 + 1)
            ready = {descriptor for descriptor, _ in poller.poll(max(1, wait_ms))}
            if self._raybench in ready:
                return None
            if self._woken in ready:
                os.read(self._woken, 4096)
            _cut_log()

    def _end_all(self, server: int, status: int | None, gently_s: float) -> list[int]:
        """End the keeper's children until it has none, not even such as come to it; those that did not go.

        The server's time is over; the others get ``gently_s`` to tidy up, as what removes its shared memory does.
        """
        now = time.monotonic()
        kill_from, deadline = now + gently_s, now + _ENDING_S
        kill_all_from = kill_from + _TIDYING_S
        asked: set[int] = set()
        while now < deadline:
            for child in _children():
                if child == server or now >= (kill_all_from if _tidies_up(child) else kill_from):
                    _signal(child, signal.SIGKILL)
                elif child not in asked:
                    _signal(child, signal.SIGTERM)
                    asked.add(child)
            try:
                while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                    if ended[0] == server and status is None:
                        status = ended[1]
                        self._tell(f"exited {os.waitstatus_to_exitcode(status)}")
            except ChildProcessError:
                return []
            time.sleep(0.005)
            now = time.monotonic()
        return _children()

    def _tell(self, line: str) -> None:
        try:
            os.write(self._report, f"{' '.join(line.split())[:400]}\n".encode())
        except OSError:
            return  # nobody is left to be told


def _start(words: Sequence[str], cores: Sequence[int]) -> int | str:
    """The pid of the started server, or why it cannot be."""
    keeper = os.getpid()
    failed, failing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)  # a server that signals its whole group does not meet the keeper
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() == keeper:
                if cores:
                    os.sched_setaffinity(0, cores)
                signal.set_wakeup_fd(-1)
                for signum in _AT_DEFAULT:
                    signal.signal(signum, signal.SIG_DFL)
                os.execvp(words[0], list(words))  # noqa: S606  no shell
        except OSError as error:
            os.write(failing, (error.strerror or str(error)).encode())
        finally:
            os._exit(127)
    os.close(failing)
    with os.fdopen(failed, "rb") as reasons:
        reason = reasons.read().decode()
    if not reason:
        return pid
    os.waitpid(pid, 0)
    return reason


def _tidies_up(child: int) -> bool:
    """Whether it is a resource tracker, which ignores SIGTERM and ends once those that it tracks for have."""
    try:
        return _TRACKER in Path(f"/proc/{child}/cmdline").read_bytes()
    except OSError:
        return False


def _signal(child: int, signum: int) -> None:
    """To a child that was not yet waited for, so that its pid is its own."""
    with contextlib.suppress(PermissionError):  # it has become another user's
        os.kill(child, signum)


def _reap(server: int) -> int | None:
    """Wait for what has ended, among it perhaps the server, whose exit status this gives."""
    status = None
    try:
        while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            if ended[0] == server:
                status = ended[1]
    except ChildProcessError:
        pass
    return status


def _children() -> list[int]:
    """Processes whose parent this one is."""
    own, found = os.getpid(), []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The name, in parentheses, may hold anything: what follows the last one is the state and the parent.
            parent = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1])
        except (OSError, IndexError):
            continue
        if parent == own:
            found.append(int(entry.name))
    return found


def _cut_log() -> None:
    """Keep the log, which is the standard output, from filling the disk; its end stays."""
    size = os.fstat(1).st_size
    if size > _LONGEST_LOG:
        end = os.pread(1, _KEPT_OF_LOG, size - _KEPT_OF_LOG)
        os.ftruncate(1, 0)
        os.write(1, b"[the log was too long: this is its end]\n" + end)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
