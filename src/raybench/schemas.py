"""The rows that raybench keeps: one Arrow schema a kind of row.

Raw samples are the product: every table is recomputed from the seven kinds of rows below. A row has one shape from the
measuring process to the Parquet file. Durations are integer nanoseconds, sizes are bytes, wall-clock instants are UTC
microseconds. `records` has the vocabulary.
"""

from __future__ import annotations

import functools
from typing import Final

import pyarrow as pa

SCHEMA_VERSION: Final = 10
"""What is written. `_ADDED` says which version added which columns; 5 added that commits may be compacted."""
READABLE_VERSIONS: Final = (2, 3, 4, 5, 6, 7, 8, 9, 10)

SAMPLES: Final = pa.schema(
    [
        pa.field("visit", pa.string(), nullable=False),
        pa.field("block", pa.string(), nullable=False),
        pa.field("configuration", pa.string(), nullable=False),
        pa.field("round", pa.int32(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("adapter", pa.string()),
        pa.field("request", pa.int32(), nullable=False),
        pa.field("phase", pa.string(), nullable=False),
        pa.field("turn", pa.int32(), nullable=False),
        pa.field("sequence", pa.int32(), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("started_ns", pa.int64(), nullable=False),
        pa.field("host_ns", pa.int64(), nullable=False),
        pa.field("wall_ns", pa.int64(), nullable=False),
        pa.field("device_ns", pa.int64()),
        pa.field("switch_ns", pa.int64()),
        pa.field("batch", pa.int32()),
        pa.field("output_tokens", pa.int32()),
        pa.field("prefill_host_ns", pa.int64()),
        pa.field("prefill_wall_ns", pa.int64()),
        pa.field("prefill_device_ns", pa.int64()),
        pa.field("decode_host_ns", pa.list_(pa.int64())),
        pa.field("decode_wall_ns", pa.list_(pa.int64())),
        pa.field("decode_device_ns", pa.list_(pa.int64())),
        pa.field("late_ns", pa.int64()),
        pa.field("prompt_tokens", pa.int32()),
        pa.field("cached_tokens", pa.int32()),
    ]
)
"""One timed request. ``(block, configuration, round, task, request)`` is unique among ``timed`` rows.

``request`` indexes the task's drawn requests, so (task, request) is the same model input wherever it occurs.
``adapter``: which served it, null without one and where each row of a batch has its own.
``turn`` and ``sequence`` count from 0 within the visit (warm-ups have turn -1); ``started_ns`` counts from
the visit's first request on a monotonic clock. ``host_ns``: until the call returned. ``wall_ns``: until the
device had finished. ``device_ns``: between two device events (null on a CPU). ``switch_ns``: choosing the
adapter before the request (null for a strategy that never switches). ``tokens``: of all its prompts, without padding.

``batch``: how many prompts it has, served together; null before version 4, which knew one only. Of a language model
``output_tokens`` are generated for each prompt, one by the prefill and one by each decoding step: ``prefill_*_ns`` is
the prefill, ``decode_*_ns`` each step in order, by each clock; all null for a classifier. ``host_ns`` and ``device_ns``
are then what those of its steps add up to, ``wall_ns`` is from the first step's start to the last one's end.

Of a request to a server ``late_ns`` is how much later than it was due the client sent it, where requests come under a
load (a turn's openers are then those that bring the load about and keep it until its last timed request has ended);
``prompt_tokens`` are its prompt's as the server counts them, ``cached_tokens`` those of them that the server did not
compute anew, null where it does not say. All three null elsewhere, and before version 9.
"""

_COUNTED: Final = ("processor_ns", "steal_ns", "others_cpu_ns", "throttled_ns", "swapped_bytes")

VISITS: Final = pa.schema(
    [
        pa.field("visit", pa.string(), nullable=False),
        pa.field("block", pa.string(), nullable=False),
        pa.field("round", pa.int32(), nullable=False),
        pa.field("attempt", pa.int32(), nullable=False),
        pa.field("host", pa.string(), nullable=False),
        pa.field("device", pa.string(), nullable=False),
        pa.field("device_name", pa.string(), nullable=False),
        pa.field("pid", pa.int32(), nullable=False),
        pa.field("started_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("fork_ns", pa.int64(), nullable=False),
        pa.field("load_ns", pa.int64(), nullable=False),
        pa.field("warmup_ns", pa.int64(), nullable=False),
        pa.field("timing_ns", pa.int64(), nullable=False),
        pa.field("total_ns", pa.int64(), nullable=False),
        pa.field("process_peak_bytes", pa.int64(), nullable=False),
        pa.field("environment", pa.string(), nullable=False),
        *(pa.field(name, pa.int64()) for name in _COUNTED),
        pa.field("gpu_clock_least_mhz", pa.int32()),
        pa.field("gpu_clock_most_mhz", pa.int32()),
        pa.field("gpu_throttled_by", pa.string()),
        pa.field("gpu_processes", pa.int32()),
        pa.field("findings", pa.string()),
    ]
)
"""One block in one round, in a process of its own. ``device`` is a GPU's UUID, or ``cpu@`` and the host.

``environment`` is JSON: versions, machine and GPU settings of the worker, which may have joined at any time, and what
`machine.examine_steady` found there as it began (``doctor``); ``findings`` is what it finds at the visit's end, JSON.

From before the warm-ups until after the last turn, of the machine (`machine.Watch`): ``processor_ns`` that all cores
had, ``steal_ns`` of them taken by a hypervisor, ``others_cpu_ns`` used by all but this visit (and its servers),
``throttled_ns`` that its control group stood still for want of quota, ``swapped_bytes`` in and out. Of its GPU between
turns: the least and the most of its clock, what held that down, and how many processes were on it (null for a visit of
servers: they are its own). Null where it could not be read, of a CPU where it is of GPUs, and before version 10.
"""

LOADS: Final = pa.schema(
    [
        pa.field("visit", pa.string(), nullable=False),
        pa.field("block", pa.string(), nullable=False),
        pa.field("configuration", pa.string(), nullable=False),
        pa.field("round", pa.int32(), nullable=False),
        pa.field("load_ns", pa.int64(), nullable=False),
        pa.field("adapter_load_ns", pa.int64()),
        pa.field("merge_ns", pa.int64()),
        pa.field("weight_bytes", pa.int64(), nullable=False),
        pa.field("adapter_bytes", pa.int64(), nullable=False),
        pa.field("resident_bytes", pa.int64(), nullable=False),
        pa.field("load_peak_bytes", pa.int64(), nullable=False),
        pa.field("forward_peak_bytes", pa.int64(), nullable=False),
        pa.field("gate_error", pa.float64()),
        pa.field("gate_tolerance", pa.float64()),
        pa.field("adapter_effect", pa.float64()),
        pa.field("random_weights", pa.string()),
        pa.field("unused_adapter", pa.string()),
        pa.field("argmax_agreement", pa.float64()),
        pa.field("kl_divergence", pa.float64()),
        pa.field("untied_bytes", pa.int64()),
        pa.field("form_ns", pa.int64()),
        pa.field("compile_ns", pa.int64()),
        pa.field("compile_bytes", pa.int64()),
        pa.field("compiled_shapes", pa.int32()),
        pa.field("adapter_add_ns", pa.int64()),
        pa.field("adapter_remove_ns", pa.int64()),
    ]
)
"""What bringing one configuration up cost in one visit.

``load_ns``: the base (or fine-tuned) weights; ``adapter_load_ns``: its adapters; ``merge_ns``: folding the
adapter in. The byte counts ``resident``, ``load_peak`` and ``forward_peak`` are differences of the device's
own counters (CUDA's allocator; the process's resident set on a CPU) around the load and around one forward.
``gate_error``: relative error of the correctness gate, null where the strategy has nothing to be checked against; of
a server by how many nats a token that it chose is less likely than the most likely one, at most.
``adapter_effect``: relative change of the logits by an adapter against its base, the smallest over the adapters;
null without one, and in runs of schema version 2; of a server by how many nats it changes the log probability of a
token that the server chose, at most.
``random_weights``: which parameters were drawn at random because the files lack them (``base: score.weight, ...``, or a
checkpoint's location for ``base``). ``unused_adapter``: where an adapter lies beside the model, not loaded. Null: none.
``argmax_agreement``: share of the gate's outputs (labels; greedy tokens) whose most likely one is the adapter's own;
``kl_divergence``: mean Kullback-Leibler divergence of the outputs' distributions from the adapter's own, in nats; both
null where ``gate_error`` is. ``untied_bytes``: of the copy that a merge made of tied embeddings; null without one.
``form_ns``: to bring what was loaded into another form; null where none was asked for. ``compile_ns``: to serve one
request of each shape first, with what compiling takes, or finding what an earlier visit on the machine has compiled;
null where nothing is compiled or captured. Both null before version 6. ``compile_bytes``: what is kept from other use
more than before it, negative where that freed some; ``compiled_shapes``: how many shapes of requests that were, lengths
or buckets of them. Both null where ``compile_ns`` is, and before version 7.
``adapter_add_ns``: to bring one more adapter, from its files, beside those that are resident and share a task;
``adapter_remove_ns``: to take it away again. Medians of a few times; null elsewhere, and before version 7.
"""

FAILURES: Final = pa.schema(
    [
        pa.field("visit", pa.string(), nullable=False),
        pa.field("block", pa.string(), nullable=False),
        pa.field("configuration", pa.string(), nullable=False),
        pa.field("round", pa.int32(), nullable=False),
        pa.field("attempt", pa.int32(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
        pa.field("failed_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)
"""Why a configuration is not complete. ``kind`` is a `FailureKind`."""

ATTEMPTS: Final = pa.schema(
    [
        pa.field("visit", pa.string(), nullable=False),
        pa.field("block", pa.string(), nullable=False),
        pa.field("round", pa.int32(), nullable=False),
        pa.field("attempt", pa.int32(), nullable=False),
        pa.field("host", pa.string(), nullable=False),
        pa.field("device", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("configuration", pa.string()),
        pa.field("message", pa.string(), nullable=False),
        pa.field("ended_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)
"""An attempt at a visit that did not finish: where, why (a `FailureKind`), and the configuration it was busy with.

Those that finished are in ``visits``, each with the number of its attempt.
"""

COUNTS: Final = pa.schema(
    [
        pa.field("visit", pa.string(), nullable=False),
        pa.field("block", pa.string(), nullable=False),
        pa.field("configuration", pa.string(), nullable=False),
        pa.field("round", pa.int32(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("request", pa.int32(), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("step", pa.string(), nullable=False),
        pa.field("dtype", pa.string()),
        pa.field("flops", pa.int64()),
        pa.field("attention_flops", pa.int64()),
        pa.field("weight_bytes", pa.int64()),
        pa.field("activation_bytes", pa.int64()),
        pa.field("product_bytes", pa.int64()),
        pa.field("operations", pa.int64()),
        pa.field("views", pa.int64()),
        pa.field("products", pa.int64()),
        pa.field("attention", pa.int64()),
        pa.field("generated", pa.int64()),
        pa.field("instructions", pa.int64()),
        pa.field("kernels", pa.int64()),
        pa.field("not_counted", pa.string()),
    ]
)
"""What a configuration does in one step of a request, counted after all was timed: the same each time. In round 0, of
its shortest, a middle and its longest request. No rows before version 7.

``step``: ``forward`` of a classifier; of a language model ``prefill``, and ``decode``, one in the middle of those of
the request. ``operations``: dispatched by PyTorch, all but ``views`` (calls that compute nothing); among them
``products`` of matrices, ``attention``, and kernels ``generated`` by a compiler. ``flops`` of both products and
attention, whose share is ``attention_flops``; ``weight_bytes`` and ``activation_bytes``: read and written, of the
model's own tensors and of others; ``product_bytes``: what products do of both. ``instructions``: of Python's bytecode.
``kernels``: that a GPU was given, null on a CPU. ``not_counted``: why another column is null, or what it lacks.
``dtype``: of the weights, as float32; never ``auto``.
"""

CALIBRATIONS: Final = pa.schema(
    [
        pa.field("visit", pa.string(), nullable=False),
        pa.field("block", pa.string(), nullable=False),
        pa.field("round", pa.int32(), nullable=False),
        pa.field("place", pa.string(), nullable=False),
        pa.field("dtype", pa.string()),
        pa.field("instruction_ns", pa.float64()),
        pa.field("view_ns", pa.float64()),
        pa.field("elementwise_ns", pa.float64()),
        pa.field("product_ns", pa.float64()),
        pa.field("attention_ns", pa.float64()),
        pa.field("kernel_ns", pa.float64()),
        pa.field("generated_ns", pa.float64()),
        pa.field("flops_s", pa.float64()),
        pa.field("attention_flops_s", pa.float64()),
        pa.field("bytes_s", pa.float64()),
        pa.field("memory_bytes_s", pa.float64()),
        pa.field("not_calibrated", pa.string()),
    ]
)
"""How fast the device was, in visits of some rounds, at what forwards are made of (how it is found:
`machine/calibration.py`).

``place``: ``before`` the warm-ups, or ``after`` the last turn. Nanoseconds of the host for one bytecode instruction and
to dispatch one operation of each kind; ``kernel_ns``: the least that a kernel takes a GPU, null on a CPU;
``generated_ns``: what a kernel that a compiler wrote takes its caller, found in round 0 where something is compiled for
a CPU, null elsewhere and before version 8; FLOPs of products and of attention a second, bytes a second through
elementwise operations, and of weights from memory.
``dtype``: in which they were found; ``not_calibrated``: why all of them are null. No rows before version 7.
"""

SCHEMAS: Final[dict[str, pa.Schema]] = {
    "samples": SAMPLES,
    "visits": VISITS,
    "loads": LOADS,
    "failures": FAILURES,
    "attempts": ATTEMPTS,
    "counts": COUNTS,
    "calibrations": CALIBRATIONS,
}

_ADDED: Final[dict[int, dict[str, tuple[str, ...]]]] = {
    3: {"loads": ("adapter_effect", "random_weights", "unused_adapter")},
    4: {
        "samples": (
            "batch",
            "output_tokens",
            *(f"{step}_{clock}_ns" for step in ("prefill", "decode") for clock in ("host", "wall", "device")),
        ),
        "loads": ("argmax_agreement", "kl_divergence", "untied_bytes"),
    },
    6: {"loads": ("form_ns", "compile_ns")},
    7: {
        "loads": ("compile_bytes", "compiled_shapes", "adapter_add_ns", "adapter_remove_ns"),
        "counts": tuple(COUNTS.names),
        "calibrations": tuple(name for name in CALIBRATIONS.names if name != "generated_ns"),
    },
    8: {"calibrations": ("generated_ns",)},
    9: {"samples": ("late_ns", "prompt_tokens", "cached_tokens")},
    10: {
        "visits": (
            *_COUNTED,
            *("gpu_clock_least_mhz", "gpu_clock_most_mhz", "gpu_throttled_by", "gpu_processes", "findings"),
        )
    },
}
"""By the version that added them: columns that files of earlier versions lack. All may be null."""


@functools.cache
def schema_of(table: str, version: int) -> pa.Schema:
    """The columns that ``table`` has in the files of ``version``, one of `READABLE_VERSIONS`."""
    later = {name for added, tables in _ADDED.items() if added > version for name in tables.get(table, ())}
    return pa.schema([field for field in SCHEMAS[table] if field.name not in later])
