"""Requests padded to a few lengths, in tensors that stay where they are: for what is compiled or captured by shape."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from raybench.model import positions_of
from raybench.records import RaybenchError

if TYPE_CHECKING:
    import torch

SHORTEST: Final = 16
"""Tokens of the first bucket; each further one has twice as many, so that eight of them reach 2,048."""

_CLOSED: ContextVar[bool] = ContextVar("closed", default=False)


def bucket_of(tokens: int, most: int | None = None) -> int:
    """Tokens of the bucket in which a row of ``tokens`` is served: 16, 32, 64, ..., but no more than ``most``.

    ``most``: positions that a model has; a row that is longer is left for the model to refuse.
    """
    size = max(SHORTEST, 1 << (tokens - 1).bit_length())
    return size if most is None else max(tokens, min(size, most))


@contextlib.contextmanager
def no_more_buckets() -> Iterator[None]:
    """In it a request of a shape that no bucket was made for raises RaybenchError: it would take long, once."""
    token = _CLOSED.set(True)
    try:
        yield
    finally:
        _CLOSED.reset(token)


class _Bucket(NamedTuple):
    """``tensors``, what each request is copied into, by argument, and what serves what is in them."""

    tensors: Mapping[str, torch.Tensor]
    serve: Callable[[], Any]


class Buckets:
    """Serves classifiers' requests by their shape, padded on the right; a bucket is made when it is first needed.

    ``pad_token_id``: what stands in ``input_ids`` where no token is, by which a model finds the last one; other
    arguments have 0 there. ``make``: given a bucket's tensors, each of shape (batch, bucket), what serves them.
    ``most``: as `bucket_of` has it. ``state``: what else a bucket stands for, at the time at which it is made.
    """

    def __init__(
        self,
        pad_token_id: int,
        make: Callable[[Mapping[str, torch.Tensor]], Callable[[], Any]],
        most: int | None = None,
        state: Callable[[], Hashable] = tuple,
    ) -> None:
        self._pad, self._make, self._most, self._state = pad_token_id, make, most, state
        self._made: dict[Hashable, _Bucket] = {}

    def __len__(self) -> int:
        return len(self._made)

    def __call__(self, **inputs: torch.Tensor) -> Any:
        """The model's outputs of ``inputs``, each of shape (batch, tokens); they stand until the next request.

        Raises RaybenchError in `no_more_buckets`, where there is none of that shape.
        """
        rows, tokens = inputs["input_ids"].shape
        size = bucket_of(tokens, self._most)
        key = rows, size, frozenset(inputs), self._state()
        bucket = self._made.get(key)
        if bucket is None:
            bucket = self._made[key] = self._new(inputs, rows, size)
        else:
            self._fill(bucket.tensors, inputs, tokens)
        return bucket.serve()

    def _new(self, inputs: Mapping[str, torch.Tensor], rows: int, size: int) -> _Bucket:
        if _CLOSED.get():
            raise RaybenchError(
                f"no bucket of {rows} x {size} tokens was made before requests were timed; give each shape first"
            )
        import torch

        with torch.inference_mode(False):  # or they could be written to in that mode alone
            tensors = {name: given.new_empty(rows, size) for name, given in inputs.items()}
        self._fill(tensors, inputs, inputs["input_ids"].shape[1])
        return _Bucket(tensors, self._make(tensors))

    def _fill(self, tensors: Mapping[str, torch.Tensor], inputs: Mapping[str, torch.Tensor], tokens: int) -> None:
        for name, tensor in tensors.items():
            tensor[:, tokens:].fill_(self._pad if name == "input_ids" else 0)
            tensor[:, :tokens].copy_(inputs[name])


def buckets_of(
    model: Any,
    make: Callable[[Mapping[str, torch.Tensor]], Callable[[], Any]],
    state: Callable[[], Hashable] = tuple,
) -> Buckets:
    """Buckets of a classifier, padded with its own token, no longer than its positions.

    Raises RaybenchError where its configuration names no token to pad with.
    """
    token = model.config.get_text_config().pad_token_id
    if not isinstance(token, int):
        raise RaybenchError(
            "the model's configuration names no pad_token_id, and requests are padded to a bucket's length: name one "
            "in its config.json, or use execution eager or compile"
        )
    return Buckets(token, make, positions_of(model), state)
