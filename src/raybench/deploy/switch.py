"""The switch of the form stacked: which of the resident adapters computes, and which are resident."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch

from raybench.deploy.lora_layers import LowRank, brought_by
from raybench.plan import first_of
from raybench.records import RaybenchError

_SHOWN = 8


class Chosen:
    """What the layers read: ``index``, an integer tensor of shape (1,), or in a mixed batch of one for each row."""

    def __init__(self, device: Any) -> None:
        self._one = torch.zeros(1, dtype=torch.int64, device=device)
        # On a CPU its memory is written to as NumPy's: an operation of torch's takes ten times as long.
        self._memory = self._one.numpy() if self._one.device.type == "cpu" else None
        self._of_rows: dict[int, torch.Tensor] = {}
        self.of_batch: tuple[int, ...] | None = None
        self.choose(None)

    def write(self, place: int) -> None:
        """From now on the adapter at ``place`` computes."""
        if self._memory is None:
            self._one.fill_(place)
        else:
            self._memory[0] = place

    @property
    def place(self) -> int:
        """Of the adapter that computes where a batch is not mixed."""
        return int(self._one)

    def choose(self, of_batch: Sequence[int] | None) -> None:
        """Let the layers read one integer for each row of a batch; None: the one of all."""
        self.of_batch, self.mixes = None if of_batch is None else tuple(of_batch), of_batch is not None
        if of_batch is None:
            self.index, self.rows = self._one, 1
            return
        self.rows = len(of_batch)
        if self.rows not in self._of_rows:
            with torch.inference_mode(False):  # or it could be written to in that mode alone
                self._of_rows[self.rows] = self._one.new_empty(self.rows)
        self.index = self._of_rows[self.rows]  # one tensor for each number of rows, where a captured graph finds it
        self.index.copy_(torch.tensor(of_batch))

    def check_rows(self, x: torch.Tensor, name: str) -> None:
        """Raises RaybenchError where the first dimension of a layer's input is not that of the mixed batch."""
        if self.mixes and x.shape[0] != self.rows:
            raise RaybenchError(
                f"{name}: its input has {x.shape[0]} rows, adapters are named for {self.rows}; name one for each row "
                "of the batch"
            )


class Holder(Protocol):
    """What has a place for each adapter: the stack of some layers, or of a module that adapters bring whole."""

    paths: Sequence[str]
    """Of the layers or the module, in the plain model."""

    def check(self, name: str, brought: Mapping[str, Any]) -> None:
        """Raises RaybenchError where what the adapter ``name`` brings, by path, has no room."""

    def put(self, place: int, brought: Mapping[str, Any]) -> None:
        """Write what an adapter brings at ``place``; where it brings nothing, the base's own."""


class Switch:
    """Chooses among the resident adapters of a model, for all layers at once, and says which are resident.

    Called with a name, or with the place that `place` gives for it, it writes one integer, however many there are.
    Nothing here takes longer where there are more. ``capacity``: how many there may be.
    """

    def __init__(self, names: Sequence[str], capacity: int, device: Any) -> None:
        self._places = {name: place for place, name in enumerate(names)}
        self._free = list(range(capacity - 1, len(names) - 1, -1))
        self.capacity = capacity
        self.chosen = Chosen(device)
        self.layers: list[Holder] = []
        self.modules: list[Holder] = []

    @property
    def names(self) -> tuple[str, ...]:
        """Of the resident adapters, in the order in which they came."""
        return tuple(self._places)

    @property
    def index(self) -> torch.Tensor:
        """What the layers read, as `Chosen` has it."""
        return self.chosen.index

    def __call__(self, adapter: str | int) -> None:
        """From now on the model computes by an adapter: by its name, or by its place, which is taken as it is.

        Raises RaybenchError where the name is none of theirs.
        """
        self.chosen.write(adapter if type(adapter) is int else self._place(str(adapter)))

    def place(self, name: str) -> int:
        """By which an adapter is switched to as long as it is resident, for who looks it up but once.

        Raises RaybenchError where it is none of them.
        """
        return self._place(name)

    @contextlib.contextmanager
    def mixed(self, names: Sequence[str]) -> Iterator[None]:
        """In it row i of each forward is computed by adapter ``names[i]``; afterwards by the one that was chosen.

        Raises RaybenchError where one is not resident, and, in a forward, where the batch has another number of rows.
        """
        places = [self._place(name) for name in names]
        if not places:
            raise RaybenchError("a mixed batch has no rows; name an adapter for each")
        before = self.chosen.of_batch
        self.chosen.choose(places)
        try:
            yield
        finally:
            self.chosen.choose(before)

    def add(self, name: str, model: Any, adapter: str | None = None) -> None:
        """Make an adapter of the PeftModel ``model`` resident under ``name``; ``adapter``: what it is called there.

        The model, which stays as it is, is of the same layers as that which was stacked. Raises RaybenchError, before
        anything is changed, where the name is taken or no place is free, where the adapter is more than plain LoRA, and
        where it changes a layer, has a rank or brings a module for which the adapters that were stacked have no room.
        """
        if name in self._places:
            raise RaybenchError(f"adapter {name} is stacked already; remove it first, or take another name")
        if not self._free:
            raise RaybenchError(
                f"all {self.capacity} places are taken; remove an adapter, or stack with a larger capacity"
            )
        with torch.inference_mode(False), torch.no_grad():
            pairs, saved = brought_by(model, name if adapter is None else adapter)
            for holders, brought in ((self.layers, pairs), (self.modules, saved)):
                _check(name, holders, brought)
            place = self._free[-1]
            for holder in self.layers:
                holder.put(place, pairs)
            for holder in self.modules:
                holder.put(place, saved)
        self._places[name] = self._free.pop()

    def remove(self, name: str) -> None:
        """Free the place of adapter ``name`` for another.

        Raises RaybenchError where it is none of them, and where the model computes by it.
        """
        place = self._place(name)
        if place in (self.chosen.place, *(self.chosen.of_batch or ())):
            raise RaybenchError(f"the model computes by adapter {name}; switch to another before it is removed")
        del self._places[name]
        self._free.append(place)

    def _place(self, name: str) -> int:
        place = self._places.get(name)
        if place is None:
            raise RaybenchError(f"no adapter {name} is stacked; there are {first_of(self.names, _SHOWN)}")
        return place


def _check(name: str, holders: Sequence[Holder], brought: Mapping[str, LowRank] | Mapping[str, Any]) -> None:
    known = {path for holder in holders for path in holder.paths}
    for path in brought:
        if path not in known:
            raise RaybenchError(
                f"{path}: adapter {name} changes it, which none of those that were stacked did; stack one that does"
            )
    for holder in holders:
        holder.check(name, brought)
