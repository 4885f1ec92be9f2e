"""A model server as a child process: started by words, awaited, watched, and ended with all that it started.

Between raybench and the server is a process of its own, the `keeper`, which ends the server's whole family by pid,
whether raybench asks for it, is killed, or the server dies by itself. All of it is in a session of its own, so that a
Ctrl-C at the terminal reaches raybench alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import select
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from raybench.records import InputError, RaybenchError
from raybench.serve import family, keeper
from raybench.serve.server_errors import Log, ServerError, how_it_ended, without_secrets

_LOG: Final = "server.log"
_LOOK_S: Final = 0.02
"""How long is waited between two looks whether a server is ready; an exit is noticed at once."""

_ENDING_S: Final = 15.0
"""What the keeper may take beyond the server's own grace."""

_RAYBENCHS_OWN: Final = frozenset(
    {
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "VIRTUAL_ENV",
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "PYTORCH_NVML_BASED_CUDA_CHECK",
        family.MARK,
    }
)
"""Of raybench's environment what is about its own Python, or is set for its own measurements: no server gets it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """How a server is started: the words of its command, which no shell reads.

    ``environment``: what it gets besides raybench's own environment, or in place of it. ``cores``: those it may run on;
    none: all. ``files``: by name what its working folder holds, for it and this user only. ``hidden``: secrets that no
    message shows.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    cores: tuple[int, ...] = ()
    files: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    hidden: tuple[str, ...] = dataclasses.field(default=(), repr=False)

    def __post_init__(self) -> None:
        texts = (*self.words, *self.environment, *self.environment.values())
        if not self.words or not self.words[0] or any("\0" in text for text in texts):
            raise InputError("a server's command must be words, the first of them a program, without null bytes")
        if wrong := sorted(name for name in self.environment if not name or "=" in name):
            raise InputError(f"a server's environment has a name {wrong[0]!r}: it may be neither empty nor have a '='")

    def told(self) -> str:
        """Its words for people, without secrets."""
        return without_secrets(shlex.join(self.words), self.hidden)


class ServerProcess:
    """One server, as a context manager: inside, it is ready; after it, nothing of it is left.

    ``ready`` says whether it answers; it is asked until it does, and may take a second or two. Raises `ServerError`,
    one line with the end of the server's log, where it does not start, is not ready in time, or has died.
    """

    def __init__(
        self,
        name: str,
        command: Command,
        ready: Callable[[], bool],
        *,
        ready_within_s: float = 600.0,
        grace_s: float = 10.0,
    ) -> None:
        self.name, self.command = name, command
        self.startup_ns = 0
        """From before its start until it was seen to be ready, which is looked at every 20 ms."""
        self._ready, self._ready_within_s, self._grace_s = ready, ready_within_s, grace_s
        self._mark = secrets.token_hex(16)
        self._keeper: subprocess.Popen[bytes] | None = None
        self._reports, self._heard = -1, b""
        self._told: dict[str, str] = {}
        self._folder: Path | None = None
        self._computing: list[Any] | None = None  # to find them anew each time would be work beside a measurement

    def __enter__(self) -> Self:
        try:
            started = time.perf_counter_ns()
            self._start()
            self._wait_until_ready()
            self.startup_ns = time.perf_counter_ns() - started
        except BaseException:
            with contextlib.suppress(RaybenchError):  # what went wrong first is what is told
                self.end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self.end()
        else:
            with contextlib.suppress(RaybenchError):
                self.end()

    @property
    def folder(self) -> Path:
        """Its working folder, while it runs."""
        assert self._folder is not None
        return self._folder

    @property
    def pid(self) -> int:
        """Of the server itself."""
        return int(self._told["started"])

    @property
    def exit_code(self) -> int | None:
        """None while it runs; a negative one is the signal that ended it."""
        self._listen(0.0)
        code = self._told.get("exited")
        return int(code) if code is not None else None

    @property
    def log(self) -> Log:
        """What it has printed so far."""
        return Log(self.folder / _LOG, self.command.hidden)

    def check_alive(self) -> None:
        """Raises `ServerError` where it has ended since it was ready."""
        self._check("died")

    def memory(self) -> family.Memory:
        """What it and all that it started hold, while it runs."""
        return family.memory_of(self._members())

    def cpu_ns(self) -> int:
        """Processor time that it and all that it had started when first asked this have used, in ticks of 10 ms."""
        if self._computing is None:
            self._computing = self._members()
        return family.cpu_ns(self._computing)

    def has_to_itself(self, port: int) -> bool:
        """Whether it, or a process that it started, is what answers on ``port``, and nobody else may."""
        return family.has_to_itself(self._members(), port)

    def ask_to_end(self) -> None:
        """Have it begin to end, so that several end side by side; `end` is to follow."""
        if self._keeper is not None and self._keeper.poll() is None:
            self._keeper.terminate()

    def end(self) -> None:
        """End it and all that it started, and remove its folder. Done once; takes seconds at most.

        Raises `ServerError` where something of it cannot be ended.
        """
        keeping, self._keeper = self._keeper, None
        if keeping is None:
            return
        try:
            self._end(keeping)
        finally:
            self._listen(0.0)  # how it ended
            os.close(self._reports)
            self._reports = -1
            shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=keeper.FOLDER_PREFIX))
        try:
            self._launch(self._folder)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def _launch(self, folder: Path) -> None:
        (folder / "tmp").mkdir()
        for name, text in self.command.files.items():
            with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
        # Read by the keeper too, which shortens it; appended to by all, so that it can be.
        log = os.open(folder / _LOG, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self._reports, telling = os.pipe()
        try:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", str(keeper.__file__), *self._kept(telling), *self.command.words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=self._environment(folder),
                pass_fds=(telling,),
                start_new_session=True,
            )
        except BaseException:
            os.close(self._reports)
            raise
        finally:
            os.close(telling)
            os.close(log)

    def _kept(self, telling: int) -> list[str]:
        """What the keeper is told besides the server's words."""
        cores = ",".join(str(core) for core in self.command.cores)
        return [str(os.getpid()), str(telling), str(self._grace_s), cores]

    def _environment(self, folder: Path) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if name not in _RAYBENCHS_OWN}
        return {**own, "TMPDIR": str(folder / "tmp"), **self.command.environment, family.MARK: self._mark}

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self._ready_within_s
        while True:
            self._check("did not start")
            if "started" in self._told and self._ready():
                self._check("did not start")
                return
            if time.monotonic() >= deadline:
                raise ServerError("timeout", f"{self.name}: not ready in {self._ready_within_s:g} s", self.log)
            self._listen(_LOOK_S)

    def _check(self, otherwise: str) -> None:
        if self._keeper is None:
            raise RaybenchError(f"{self.name}: it does not run")
        if (reason := self._told.get("failed")) is not None:
            raise ServerError("error", f"{self.name}: cannot be started: {self.command.words[0]}: {reason}")
        if (code := self.exit_code) is not None:
            kind, words = how_it_ended(code)
            raise ServerError(kind, f"{self.name}: {otherwise}: {words}", self.log)
        if self._keeper.poll() is not None and "failed" not in self._told and "exited" not in self._told:
            self._listen(0.0)  # it may have been told just before
            if not self._told.keys() & {"failed", "exited"}:
                kind, words = how_it_ended(self._keeper.returncode)
                raise ServerError(kind, f"{self.name}: {otherwise}: its keeper ended: {words}", self.log)

    def _listen(self, wait_s: float) -> None:
        """Hear what the keeper tells; where there is nothing, wait for it for ``wait_s``."""
        while self._reports >= 0 and select.select([self._reports], [], [], wait_s)[0]:
            told = os.read(self._reports, 4096)
            if not told:  # the keeper has ended, or is about to
                time.sleep(wait_s)
                return
            *lines, self._heard = (self._heard + told).split(b"\n")
            for line in lines:
                word, _, rest = line.decode("utf-8", "replace").partition(" ")
                self._told[word] = rest
            wait_s = 0.0

    def _members(self) -> list[Any]:
        return family.below(self._keeper.pid) if self._keeper is not None else []

    def _end(self, keeping: subprocess.Popen[bytes]) -> None:
        known = family.below(keeping.pid) if keeping.poll() is None else []
        keeping.terminate()
        try:
            keeping.wait(self._grace_s + _ENDING_S)
        except subprocess.TimeoutExpired:  # it was stopped, or something that it ended does not go
            keeping.kill()
            keeping.wait()
        if keeping.returncode != 0:  # killed, so that it did not end the others: those that can still be found
            family.kill([*known, *family.marked(self._mark, keeping.pid)])
        if left := family.marked(self._mark, keeping.pid):
            pids = ", ".join(str(process.pid) for process in left)
            raise ServerError("error", f"{self.name}: pid {pids} of it cannot be ended; end it before measuring again")
