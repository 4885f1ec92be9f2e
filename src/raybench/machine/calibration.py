"""How fast the device at hand is at what forwards are made of: a few constants, found out in some tenths of a second.

A pass of each kind (Python alone, views, small and larger elementwise operations, products and attentions) is timed
in turn with the others many times over, and the medians are solved for what one of a kind takes. A pass that does one
thing finds its code in the nearest caches, a forward does not: so a few layers like a model's are timed in the same
turns, each time after more memory was gone through than caches near a core hold, and all that is dispatch is scaled
until these come out right. None of it is of the models that are measured.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import torch
from torch.nn import functional

from raybench.machine.device import Device, Times
from raybench.machine.instructions import instructions_of
from raybench.machine.operations import Operations, compiled_operations_of, operations_of
from raybench.machine.small_layers import WIDTH, Layers, Nested

_ROUNDS: Final = 40
_FAR_ROUNDS: Final = 3
_FAR_BYTES: Final = {"cpu": 2**26, "cuda": 2**28}
"""More than most caches hold."""
_SIDE: Final = {"cpu": 128, "cuda": 4096}
"""Of the matrices by which FLOPs a second are found."""
_ROWS: Final = {"cpu": 512, "cuda": 4096}
"""Of a matrix by which bytes a second are found."""
_TOKENS: Final = 16
_SPOILED: Final = frozenset({"layers", "compiled layers"})
"""Passes that find neither their code nor their data in a cache, as a forward does not after others' turns."""
_SPOILING_BYTES: Final = 2**25
"""What is gone through before each of them."""
_LEAST: Final = 1e-9
"""Of a constant, where noise leaves less than nothing of one: no division by zero follows."""


@dataclasses.dataclass(frozen=True, slots=True)
class Calibration:
    """What one of each takes the host, in nanoseconds, and what the device does in a second.

    ``instruction_ns``: a bytecode instruction of Python; ``view_ns``, ``elementwise_ns``, ``product_ns``,
    ``attention_ns``: an operation of the kind until its call returns, less what it computes on a CPU. ``kernel_ns``:
    the least that one takes a GPU; None on a CPU. ``generated_ns``: of a compiled model what each kernel that was
    written for it takes its caller, with its share of the checks that come before them; None where that was not asked
    for. ``flops_s`` of products, ``attention_flops_s`` of attention,
    ``bytes_s`` through elementwise operations, ``memory_bytes_s`` of weights that no cache holds through a product;
    None where that was not asked for.
    """

    instruction_ns: float
    view_ns: float
    elementwise_ns: float
    product_ns: float
    attention_ns: float
    kernel_ns: float | None
    generated_ns: float | None
    flops_s: float
    attention_flops_s: float
    bytes_s: float
    memory_bytes_s: float | None

    def host_ns(self, operations: Operations, instructions: int) -> float:
        """What Python and dispatch take of a call with these counts."""
        others = operations.operations - operations.products - operations.attention - operations.generated
        return (
            instructions * self.instruction_ns
            + operations.views * self.view_ns
            + others * self.elementwise_ns
            + operations.products * self.product_ns
            + operations.attention * self.attention_ns
            + operations.generated * (self.generated_ns or 0.0)
        )

    def device_ns(self, operations: Operations) -> float:
        """The floor of what it computes: FLOPs over their rates, bytes over bandwidth."""
        moved = operations.weight_bytes + operations.activation_bytes - operations.product_bytes
        products_s = (operations.flops - operations.attention_flops) / self.flops_s
        if self.memory_bytes_s is not None:
            products_s = max(products_s, operations.product_bytes / self.memory_bytes_s)
        return 1e9 * (products_s + operations.attention_flops / self.attention_flops_s + moved / self.bytes_s)


@dataclasses.dataclass(frozen=True, slots=True)
class Pass:
    """A pass: what it does, and its medians."""

    did: Operations
    instructions: int
    host_ns: float
    device_ns: float | None


def calibrate(
    device: Device, dtype: torch.dtype, memory: bool = True, compile_model: _Compile | None = None
) -> Calibration:
    """The constants of ``device`` now, for products in ``dtype``: they drift as the machine's clocks and load do.

    Takes some tenths of a second, the first time as long again. ``memory``: also bytes a second from
    memory, for which it takes some of that. ``compile_model``: by which models are compiled for a CPU, where what is
    generated is to be known too; compiling takes many seconds.
    """
    with torch.inference_mode():
        counted = dict(_counted_passes(device.kind, dtype))
        if compile_model is not None:
            counted["compiled layers"] = _compiled_layers(device.kind, dtype, compile_model)
        passes = _timed(device, counted, _ROUNDS)
        if memory:
            passes |= _timed(device, _counted(_far_passes(device.kind, dtype)), _FAR_ROUNDS)
    # No torch.cuda.empty_cache(): what is timed next would have to wait for memory anew.
    return solved(passes)


def solved(passes: Mapping[str, Pass]) -> Calibration:
    """The constants by which the passes take what they took."""
    python = passes["python"]
    instruction_ns = python.host_ns / python.instructions
    views = passes["views"]
    view_ns = max(_LEAST, (views.host_ns - views.instructions * instruction_ns) / views.did.views)

    def own_ns(of: Pass) -> float:
        return of.host_ns - of.instructions * instruction_ns - of.did.views * view_ns

    def two(small: str, large: str, count: str, unit: Callable[[Operations], int]) -> tuple[float, float]:
        """Nanoseconds to dispatch one, and units a second, by which a small and a large pass take what they took."""
        few, much = passes[small], passes[large]
        n, m = getattr(few.did, count), getattr(much.did, count)
        if much.device_ns is not None:
            return own_ns(few) / n, 1e9 * unit(much.did) / much.device_ns
        unit_ns = (own_ns(much) - own_ns(few) * m / n) / (unit(much.did) - unit(few.did) * m / n)
        unit_ns = max(_LEAST, unit_ns)
        return max(_LEAST, (own_ns(few) - unit(few.did) * unit_ns) / n), 1e9 / unit_ns

    elementwise_ns, bytes_s = two("elementwise", "large elementwise", "operations", _bytes)
    product_ns, flops_s = two("products", "large product", "products", lambda did: did.flops)
    attention_ns, attention_flops_s = two("attention", "large attention", "attention", lambda did: did.flops)
    kernel_ns = memory_bytes_s = None
    if (far := passes.get("far product")) is not None:
        memory_bytes_s = 1e9 * far.did.product_bytes / (far.host_ns if far.device_ns is None else far.device_ns)
    if (behind := passes.get("behind a product")) is not None:
        with_it, alone = behind.device_ns, passes["large product"].device_ns
        assert with_it is not None
        assert alone is not None
        kernel_ns = max(_LEAST, (with_it - alone) / (behind.did.operations - 1))
    found = Calibration(
        instruction_ns,
        view_ns,
        elementwise_ns,
        product_ns,
        attention_ns,
        kernel_ns,
        None,
        flops_s,
        attention_flops_s,
        bytes_s,
        memory_bytes_s,
    )
    mixed = passes["layers"]
    computed = 0.0 if mixed.device_ns is not None else found.device_ns(mixed.did)
    times = max(_LEAST, (mixed.host_ns - computed) / found.host_ns(mixed.did, mixed.instructions))
    found = dataclasses.replace(found, **{name: getattr(found, name) * times for name in _DISPATCH})
    if (compiled := passes.get("compiled layers")) is None:
        return found
    known = found.host_ns(compiled.did, compiled.instructions) + found.device_ns(compiled.did)
    return dataclasses.replace(found, generated_ns=max(_LEAST, (compiled.host_ns - known) / compiled.did.generated))


_DISPATCH: Final = ("instruction_ns", "view_ns", "elementwise_ns", "product_ns", "attention_ns")


def _bytes(did: Operations) -> int:
    return did.weight_bytes + did.activation_bytes


_Call = Callable[[], object]
_Compile = Callable[[Any], Callable[..., object]]
_Counted = Mapping[str, tuple[_Call, Operations, int]]
"""By its name a pass, and what it does."""


def _timed(device: Device, passes: _Counted, rounds: int) -> dict[str, Pass]:
    times: dict[str, list[Times]] = {name: [] for name in passes}
    gone_through = torch.zeros(_SPOILING_BYTES // 4 if _SPOILED & set(passes) else 0)
    with _without_garbage_collection():
        for _ in range(rounds):
            for name, (call, _, _) in passes.items():
                if name in _SPOILED:
                    gone_through.add_(1)
                times[name].append(device.time(call, {}))
    found = {}
    for name, (_, did, instructions) in passes.items():
        on_device = [one.device_ns for one in times[name] if one.device_ns is not None]
        host_ns = statistics.median(one.host_ns for one in times[name])
        found[name] = Pass(did, instructions, host_ns, statistics.median(on_device) if on_device else None)
    return found


def _counted(passes: Mapping[str, _Call]) -> _Counted:
    return {name: (call, operations_of(call), instructions_of(call)) for name, call in passes.items()}


def _counted_passes(kind: str, dtype: torch.dtype) -> _Counted:
    """Made anew, so that nothing of them is in memory while models are timed."""
    counts = _counts(kind, dtype)
    return {name: (call, *counts[name]) for name, call in _passes(kind, dtype).items()}


@functools.cache
def _counts(kind: str, dtype: torch.dtype) -> Mapping[str, tuple[Operations, int]]:
    """What the passes do, the same each time: counted once in a process."""
    return {name: (did, instructions) for name, (_, did, instructions) in _counted(_passes(kind, dtype)).items()}


def _compiled_layers(kind: str, dtype: torch.dtype, compile_model: _Compile) -> tuple[_Call, Operations, int]:
    layers, x = Layers(4, _TOKENS).to_device(kind, dtype), torch.ones(1, _TOKENS, WIDTH, device=kind, dtype=dtype)
    forward = compile_model(layers)

    def call() -> object:
        return forward(x)

    call()
    did = compiled_operations_of(lambda: contextlib.nullcontext(call), layers.parameters())
    return call, did, instructions_of(call)


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _passes(kind: str, dtype: torch.dtype) -> dict[str, _Call]:
    def ones(*shape: int) -> torch.Tensor:
        return torch.ones(shape, device=kind, dtype=dtype)

    with torch.random.fork_rng(devices=[]):  # their weights are drawn
        nested, layers = Nested(2), Layers(4, _TOKENS).to_device(kind, dtype)
    x, weight, head, side = ones(1, _TOKENS, WIDTH), ones(WIDTH, WIDTH), ones(1, 4, _TOKENS, 16), _SIDE[kind]
    much, square, heads = ones(1, _ROWS[kind], side), ones(side, side), ones(1, 4, side, 16)

    def products() -> None:
        functional.linear(functional.linear(functional.linear(x, weight), weight), weight)

    passes: dict[str, _Call] = {
        "python": lambda: nested(x, use_cache=False),
        "views": lambda: _views(x),
        "elementwise": lambda: _elementwise(x),
        "products": products,
        "attention": lambda: functional.scaled_dot_product_attention(head, head, head, is_causal=True),
        "large elementwise": lambda: _elementwise(much),
        "large product": lambda: functional.linear(square, square),
        "large attention": lambda: functional.scaled_dot_product_attention(heads, heads, heads, is_causal=True),
        "layers": lambda: layers(x),
    }
    if kind == "cuda":
        # Kernels that wait behind a long one are there when it is over: what they take then is the device's alone.
        def behind() -> None:
            functional.linear(square, square)
            _elementwise(x)

        passes["behind a product"] = behind
    return passes


def _far_passes(kind: str, dtype: torch.dtype) -> dict[str, _Call]:
    weight = torch.ones(_FAR_BYTES[kind] // 4096 // dtype.itemsize, 4096, device=kind, dtype=dtype)
    row = torch.ones(1, 4096, device=kind, dtype=dtype)
    return {"far product": lambda: functional.linear(row, weight)}


def _views(x: torch.Tensor) -> Any:
    heads = x.view(1, -1, 4, WIDTH // 4).transpose(1, 2)
    low, high = heads[..., :8], heads[..., 8:]
    spread = low.unsqueeze(2).expand(1, 4, 2, -1, 8)
    flat = heads.transpose(1, 2).unsqueeze(0).squeeze(0).transpose(1, 2)
    return spread, high.transpose(2, 3), flat, x.view(-1, WIDTH).t()


def _elementwise(x: torch.Tensor) -> Any:
    scaled = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
    return functional.silu(torch.cat((-x, scaled), -1)) + 1, scaled + x
