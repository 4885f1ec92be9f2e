"""What tests ask of a visit's process. Apart from them: a process that runs one of these imports this module whole."""

from __future__ import annotations

import gc
import os
import signal
import sys

from raybench.visit.process import PRELOAD


def modules() -> tuple[bool, bool, int]:
    """Whether Ray and PEFT are imported, and the threads that torch uses."""
    import torch

    return "ray" in sys.modules, "peft.tuners.lora" in sys.modules, torch.get_num_threads()


def preloaded() -> tuple[list[str], int]:
    """What of `PRELOAD` is missing, and how many objects are spared by the garbage collector."""
    return [name for name in PRELOAD if name not in sys.modules], gc.get_freeze_count()


def kill_me() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
