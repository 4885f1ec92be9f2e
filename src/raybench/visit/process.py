"""A visit, in a process of its own.

`ProcessHost` lives on the machine of the device: a fork server that has imported torch, transformers and peft, and
has touched no GPU, forks a process for each visit. `run_visit` is what that process does. What it finds comes back
as messages; when it dies, its host says what it was doing.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import os
import signal
import socket
import sys
import time
import types
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, Final, Literal

from raybench.machine import (
    describe_machine,
    examine_steady,
    gpu_settings,
    kept,
    open_device,
    package_versions,
    take_priority,
)
from raybench.model import ModelSpec, Recipe, check_checkpoint, prepared
from raybench.records import FailureKind, RaybenchError
from raybench.serve import how_it_ended
from raybench.visit import fork_server
from raybench.visit.messages import Died, Finished, Message
from raybench.visit.spec import VisitSpec
from raybench.visit.visit import run_visit

PRELOAD = (
    "torch",
    "transformers.models.auto",
    "transformers.models.llama.modeling_llama",
    "peft.tuners.lora",
    "raybench.machine.calibration",
    "raybench.visit.process",
    "raybench.visit.preload",
)
"""Imported once by the fork server. A visit's process then starts in hundredths of a second instead of seconds."""

_GRACE_S = 5.0

_LOST: Final = 255
"""What multiprocessing takes for a process's exit code where its fork server, which alone would know, has died."""

_CHECK_S = 60.0
"""How long a device may take to answer after a process on it had to be killed."""


_PARCEL_S = 0.25


def in_parcels(messages: Iterator[Message], clock: Callable[[], float] = time.monotonic) -> Iterator[list[Message]]:
    """Messages a quarter of a second's worth at a time, and at once where the visit is over.

    To a driver of many workers a message costs as much as what is in it. What waits here comes with the next message.
    """
    waiting: list[Message] = []
    since = clock()
    for message in messages:
        waiting.append(message)
        if isinstance(message, Finished | Died) or clock() - since >= _PARCEL_S:
            yield waiting
            waiting, since = [], clock()


class ProcessHost:
    """Forks visits. One visit at a time: a device is measured by one process only."""

    def __init__(self, device_kind: Literal["cpu", "cuda"]) -> None:
        # Without this, asking at import whether there is a GPU starts the CUDA driver, and no fork could use it.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
        if device_kind == "cpu":
            os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self.device_kind = device_kind
        self._described: dict[str, Any] = {}
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOAD))

    def describe(self) -> dict[str, Any]:
        """The machine, its versions and its device, found out in a process that then ends."""
        self._described = self._ask(_describe, self.device_kind)
        return self._described

    def prepare(self, model: ModelSpec, recipe: Recipe) -> None:
        """Write the preset's files to this machine's cache, if the model is one and they are not there."""
        self._ask(_prepare, model, recipe)

    def check_device(self, limit_s: float = _CHECK_S) -> None:
        """Raises RaybenchError where a new process cannot use the device within ``limit_s``."""
        self._ask(_use_device, self.device_kind, limit_s=limit_s)

    def _ask(self, target: Callable[..., Any], *arguments: Any, limit_s: float | None = None) -> Any:
        receiver, process = self._start(_answer, self.device_kind, target, *arguments)
        try:
            if not receiver.poll(limit_s):
                process.kill()
                raise RaybenchError(f"{_words(target)}: no answer in {limit_s:g} s")
            answer = receiver.recv()
        except EOFError:
            process.join()
            raise RaybenchError(f"a process of the worker died: {_exit(process.exitcode)[1]}") from None
        process.join()
        if isinstance(answer, RaybenchError):
            raise answer
        return answer

    def visit(self, spec: VisitSpec) -> Iterator[Message]:
        """Run a visit and pass its messages on; its last is Finished or Died.

        Raises RaybenchError after the last message where a visit hung and the device no longer answers either.
        """
        deadline = time.monotonic() + spec.timeout_s
        with fork_server.temporary_folder():
            current = self._context.RawValue("i", -1)
        environment = {key: self._described.get(key) for key in ("machine", "versions", "gpu", "doctor")}
        receiver, process = self._start(_visit_main, spec, current, time.perf_counter_ns(), json.dumps(environment))
        over = False
        try:
            while not over:
                if not receiver.poll(max(0.0, deadline - time.monotonic())):
                    _kill(process)
                    yield self._died(spec, current, "timeout", f"not done in {spec.timeout_s:g} s")
                    self.check_device()
                    return
                try:
                    message: Message = receiver.recv()
                except EOFError:
                    process.join()
                    message = self._died(spec, current, *_exit(process.exitcode))
                over = isinstance(message, Finished | Died)
                yield message
        finally:
            receiver.close()
            process.join(_GRACE_S if over else 0.0)
            _kill(process)

    def _died(self, spec: VisitSpec, current: Any, kind: FailureKind, message: str) -> Died:
        busy = current.value
        configuration = spec.configurations[busy].name if busy >= 0 else None
        return Died(configuration, kind, message, socket.gethostname(), self._described.get("device", ""))

    def _start(self, target: Callable[..., None], *arguments: Any) -> tuple[Connection, Any]:
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=target, args=(sender, *arguments), daemon=True)
        # multiprocessing would import this process's main module (Ray's worker) again in the fork.
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            fork_server.start(process)
        finally:
            sys.modules["__main__"] = main
        sender.close()
        return receiver, process


def _exit(exitcode: int | None) -> tuple[FailureKind, str]:
    """Whose fault the end of a process was, and how it ended."""
    if exitcode == _LOST:
        return "killed", f"exit code {_LOST}, as where its fork server was killed"
    return how_it_ended(exitcode)


def _kill(process: Any) -> None:
    if process.is_alive():
        process.kill()
        process.join(_GRACE_S)  # a driver that hangs can keep even a killed process


def _words(target: Callable[..., Any]) -> str:
    return target.__name__.strip("_").replace("_", " ")


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
    take_priority()
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
        sender.send(RaybenchError(f"{_words(target)} failed: {type(error).__name__}: {error}"))


def _describe(device_kind: str) -> dict[str, Any]:
    device = open_device(device_kind)
    return {
        "machine": {**describe_machine(), "niceness": take_priority()},
        "versions": package_versions(),
        "gpu": gpu_settings() if device_kind == "cuda" else {},
        "device": device.identity,
        "device_name": device.name,
        "doctor": kept(examine_steady(device.identity)),
    }


def _use_device(device_kind: str) -> None:
    import torch

    device = open_device(device_kind)
    torch.ones(64, 64, device=device.kind).sum().item()
    device.synchronize()


def _prepare(model: ModelSpec, recipe: Recipe) -> None:
    """Everything that can be found wrong with a model is, once, before any visit."""
    prepared(model, recipe)
    check_checkpoint(model)


def _visit_main(sender: Connection, spec: VisitSpec, current: Any, asked_ns: int, environment: str) -> None:
    fork_ns = time.perf_counter_ns() - asked_ns  # CLOCK_MONOTONIC: the same clock in every process of a machine
    _settle(spec.device_kind)

    def busy_with(index: int) -> None:
        current.value = index

    with contextlib.suppress(BrokenPipeError):  # the host is gone: nobody is left to measure for
        try:
            for message in run_visit(spec, open_device(spec.device_kind), busy_with, fork_ns, environment):
                sender.send(message)
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001  no configuration's own: the visit as a whole went wrong
            sender.send(Died(None, "error", " ".join(f"{type(error).__name__}: {error}".split())[:2000]))
