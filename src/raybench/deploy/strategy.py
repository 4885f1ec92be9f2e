"""What a strategy is: a class that brings a configuration up, and says what bringing it up cost."""

from __future__ import annotations

import contextlib
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from raybench.machine import Device
from raybench.model import Weights
from raybench.plan import Configuration
from raybench.records import StrategyTraits


@dataclasses.dataclass(slots=True)
class Deployment:
    """A configuration brought up: what is called for each request.

    ``switch`` makes an adapter the active one before a request; None for a strategy that never switches.
    ``handle`` gives what ``switch`` is called with for an adapter's name, as long as that adapter is there: whoever
    serves looks it up when a request comes in. None: the name itself.
    ``opener`` is called for the opener of a turn instead of ``forward``; None where it is a request like any other.
    ``mixed(names)`` is entered around all forwards of a request whose rows are of several adapters, ``names`` one for
    each row: in it ``forward`` computes each row by its own, in the prefill as in every decoding step. To enter it
    costs something, which grows with the adapters that are resident; the forwards in it do not. None where a batch is
    of one adapter. A forward that raises in it leaves it as if it had not been entered.
    ``add()`` brings one more adapter beside those that are resident, from where theirs come from, and ``remove()``
    takes that away again: what either takes can be timed. None where that is not done.
    """

    forward: Callable[..., Any]
    model: Any
    switch: Callable[[Any], None] | None = None
    opener: Callable[..., Any] | None = None
    mixed: Callable[[Sequence[str]], AbstractContextManager[None]] | None = None
    add: Callable[[], None] | None = None
    remove: Callable[[], None] | None = None
    handle: Callable[[str], Any] | None = None

    def switch_to(self, name: str) -> None:
        """Make adapter ``name`` the active one, where there is anything to choose."""
        if self.switch is not None:
            self.switch(name if self.handle is None else self.handle(name))


class LoadCosts:
    """How long each step of bringing a configuration up took, in nanoseconds of the device's clock.

    ``untied_bytes``: of the copies that a merge made of weights which several layers shared; None where none was.
    ``adapter_bytes``: of the adapters' parameters, where a form has put them among others; None: the model tells.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self.load_ns = 0
        self.adapter_load_ns: int | None = None
        self.merge_ns: int | None = None
        self.form_ns: int | None = None
        self.untied_bytes: int | None = None
        self.adapter_bytes: int | None = None

    @contextlib.contextmanager
    def time(self, step: str) -> Iterator[None]:
        """Time a step (``load``, ``adapter_load``, ``merge`` or ``form``) until the device has finished it.

        One that comes in parts takes what they add up to.
        """
        started, before = self._device.clock(), getattr(self, f"{step}_ns") or 0
        yield
        self._device.synchronize()
        setattr(self, f"{step}_ns", before + self._device.clock() - started)


class Strategy(ABC):
    """A way to deploy fine-tuned weights."""

    traits: ClassVar[StrategyTraits]
    reproduces_adapters: ClassVar[bool] = False
    """Whether its logits must be those of each of its adapters alone, which the correctness gate then checks."""
    adapter_alone: ClassVar[bool] = False
    """Whether it computes one adapter beside its base, by which the others are checked."""

    @classmethod
    def is_exact(cls, configuration: Configuration) -> bool:
        """Whether its logits must be its adapters' own, but for rounding; where not, by how much is told only."""
        return True

    @abstractmethod
    def load(self, configuration: Configuration, weights: Weights, costs: LoadCosts) -> Deployment:
        """Bring ``configuration`` up on the device that ``weights`` loads onto."""
