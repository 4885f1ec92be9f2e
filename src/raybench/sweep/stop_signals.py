"""SIGTERM and Ctrl-C, remembered until it suits."""

from __future__ import annotations

import os
import signal
from types import FrameType


class Stopped(Exception):  # noqa: N818  not an error: a person or a scheduler asked
    """A signal asked the driver to stop."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class StopSignals:
    """SIGTERM and Ctrl-C, remembered until it suits: raised at once, they could surface inside Ray's own code.

    A second signal ends the process there and then; what was committed is safe.
    """

    def __init__(self) -> None:
        self._signum: int | None = None
        self._before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}

    def install(self) -> None:
        for signum in self._before:
            signal.signal(signum, self._remember)

    def restore(self) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def check(self) -> None:
        """Raises Stopped once a signal came."""
        if self._signum is not None:
            raise Stopped(self._signum)

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        if self._signum is not None:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        self._signum = signum
