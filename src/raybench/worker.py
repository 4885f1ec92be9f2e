"""A visit, in a process of its own.

`ProcessHost` lives on the machine of the device: a fork server that has imported torch, transformers and peft, and
has touched no GPU, forks a process for each visit. `run_visit` is what that process does. What it finds comes back
as messages; when it dies, its host says what it was doing.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, Literal

from raybench import environment
from raybench.device import open_device
from raybench.models import ModelSpec
from raybench.prepare import Recipe, check_checkpoint, prepared
from raybench.records import FailureKind, RaybenchError
from raybench.visit import Died, Finished, Message, VisitSpec, run_visit

PRELOAD = (
    "torch",
    "transformers.models.auto",
    "transformers.models.llama.modeling_llama",
    "peft.tuners.lora",
    "raybench.worker",
    "raybench.preload",
)
"""Imported once by the fork server. A visit's process then starts in hundredths of a second instead of seconds."""

_GRACE_S = 5.0


class ProcessHost:
    """Forks visits. One visit at a time: a device is measured by one process only."""

    def __init__(self, device_kind: Literal["cpu", "cuda"]) -> None:
        # Without this, asking at import whether there is a GPU starts the CUDA driver, and no fork could use it.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
        if device_kind == "cpu":
            os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self.device_kind = device_kind
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOAD))

    def describe(self) -> dict[str, Any]:
        """The machine, its versions and its device, found out in a process that then ends."""
        found: dict[str, Any] = self._ask(_describe, self.device_kind)
        return found

    def prepare(self, model: ModelSpec, recipe: Recipe) -> None:
        """Write the preset's files to this machine's cache, if the model is one and they are not there."""
        self._ask(_prepare, model, recipe)

    def _ask(self, target: Callable[..., Any], *arguments: Any) -> Any:
        receiver, process = self._start(_answer, self.device_kind, target, *arguments)
        try:
            answer = receiver.recv()
        except EOFError:
            process.join()
            raise RaybenchError(f"a process of the worker died: {_exit_reason(process.exitcode)}") from None
        process.join()
        if isinstance(answer, RaybenchError):
            raise answer
        return answer

    def visit(self, spec: VisitSpec) -> Iterator[Message]:
        """Run a visit and pass its messages on; its last is Finished or Died."""
        deadline = time.monotonic() + spec.timeout_s
        current = self._context.RawValue("i", -1)
        receiver, process = self._start(_visit_main, spec, current, time.perf_counter_ns())
        over = False
        try:
            while not over:
                if not receiver.poll(max(0.0, deadline - time.monotonic())):
                    yield self._died(spec, current, "timeout", f"not done in {spec.timeout_s:g} s")
                    return
                try:
                    message: Message = receiver.recv()
                except EOFError:
                    process.join()
                    message = self._died(spec, current, "killed", _exit_reason(process.exitcode))
                over = isinstance(message, Finished | Died)
                yield message
        finally:
            receiver.close()
            process.join(_GRACE_S if over else 0.0)
            if process.is_alive():
                process.kill()
                process.join()

    def _died(self, spec: VisitSpec, current: Any, kind: FailureKind, message: str) -> Died:
        busy = current.value
        return Died(spec.configurations[busy].name if busy >= 0 else None, kind, message)

    def _start(self, target: Callable[..., None], *arguments: Any) -> tuple[Connection, Any]:
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=target, args=(sender, *arguments), daemon=True)
        # multiprocessing would import this process's main module (Ray's worker) again in the fork.
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            process.start()
        finally:
            sys.modules["__main__"] = main
        sender.close()
        return receiver, process


def _exit_reason(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-exitcode).name}"
    return f"exit code {exitcode}"


def _die_with_parent() -> None:
    """A visit must not outlive its host, or it would hold the device's memory and disturb the next."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _quiet() -> None:
    import warnings

    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    warnings.simplefilter("ignore")


def _settle(device_kind: str) -> None:
    """What every forked process does first."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver decides
    _quiet()
    if device_kind == "cpu":
        import torch

        torch.set_num_threads(1)


def _answer(sender: Connection, device_kind: str, target: Callable[..., Any], *arguments: Any) -> None:
    _settle(device_kind)
    try:
        sender.send(target(*arguments))
    except RaybenchError as error:
        sender.send(error)
    except Exception as error:  # noqa: BLE001  told to the person, not swallowed
        sender.send(RaybenchError(f"{target.__name__.strip('_')} failed: {type(error).__name__}: {error}"))


def _describe(device_kind: str) -> dict[str, Any]:
    device = open_device(device_kind)
    return {
        "machine": environment.machine(),
        "versions": environment.versions(),
        "gpu": environment.gpu() if device_kind == "cuda" else {},
        "device": device.identity,
        "device_name": device.name,
    }


def _prepare(model: ModelSpec, recipe: Recipe) -> None:
    """Everything that can be found wrong with a model is, once, before any visit."""
    prepared(model, recipe)
    check_checkpoint(model)


def _visit_main(sender: Connection, spec: VisitSpec, current: Any, asked_ns: int) -> None:
    fork_ns = time.perf_counter_ns() - asked_ns  # CLOCK_MONOTONIC: the same clock in every process of a machine
    _settle(spec.device_kind)

    def busy_with(index: int) -> None:
        current.value = index

    with contextlib.suppress(BrokenPipeError):  # the host is gone: nobody is left to measure for
        try:
            for message in run_visit(spec, open_device(spec.device_kind), busy_with, fork_ns):
                sender.send(message)
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001  no configuration's own: the visit as a whole went wrong
            sender.send(Died(None, "error", " ".join(f"{type(error).__name__}: {error}".split())[:2000]))
