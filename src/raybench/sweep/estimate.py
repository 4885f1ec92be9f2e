"""How long a plan may take and how much memory, worked out and not measured: roughly, and said to be so.

Time is the roofline's (Williams, Waterman, Patterson, CACM 52(4), 2009): of a forward's arithmetic and its bytes what
takes longer; and what the host takes to launch each layer, which is often more than both.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal

from raybench.deploy import CHECKED_ADAPTERS, all_traits
from raybench.machine import CoreSpeed
from raybench.model import AdapterSize, ModelShape, Workload
from raybench.plan import Block, Configuration, Plan
from raybench.visit import OPENER_TOKENS

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
QUANTIZED_BYTES = {"bnb-nf4": 0.516, "bnb-int8": 1.0, "torchao-int8": 1.0}
"""Of a weight of a linear layer: NF4 has 4 bits and 0.127 bits of scales (QLoRA, arXiv 2305.14314)."""
REACHED = 0.5
"""Share of a data sheet's peaks that is taken to be reached."""
GPU_LAYER_S, GPU_MODULE_S = 26.01e-3 / 22, (35.17e-3 - 26.01e-3) / 44
"""To launch one layer, and one module with an adapter beside it: the study's table (data/reference/rq2_reference.csv),
TinyLlama-1.1B on an L4's host in eager PyTorch: 26.01 ms for 22 layers, 35.17 ms with adapters on 44 modules."""
CPU_LAYER_S, CPU_MODULE_S = 0.3e-3, 54e-6
"""The same on a core: micro on an AMD EPYC, 8 layers, 16 modules with adapters (the README's run of rq2)."""
START_S, VISIT_S, LOAD_BYTES_S = 12.0, 1.0, 1e9
"""Starting Ray, a visit's process, and reading weights, as seen on a shared 2-core machine."""
CHECKS = 4
"""Requests of each configuration in a visit before warm-ups: the gate's, and one for the peak of memory."""
CHECKS_OF_ONE = 4
"""Of adapters that share a task the gate checks some, each with so many forwards, beside `CHECKS`."""
CALIBRATION_S, COUNTED_S, COUNTED = 0.7, 0.3, 12
"""To calibrate a device before and after; to count what a configuration does, and how many requests that is besides. As
seen on a shared 2-core machine."""
SLOT_S, BESIDE_S, EACH_BESIDE_S, SWITCH_S = 0.12e-3, 0.9e-3, 0.1e-3, 11e-6
"""For each module that an adapter changes: to load it into a slot; beside others by PEFT, and that for each of the
others besides; PEFT's switch, for each of those that are resident. As seen on a shared 2-core machine, on micro."""
_ASKED_OF = 64
"""Requests of a task that its mean lengths are taken of."""


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """What a worker has. ``layer_s`` and ``module_s``: to launch a layer, and a module with an adapter.

    ``apart``: launching goes on while the device computes, so that the slower of the two counts.
    ``memory_bytes``: None where it is not looked at.
    """

    name: str
    kind: Literal["cpu", "cuda"]
    flops_s: float
    bytes_s: float
    memory_bytes: int | None
    layer_s: float
    module_s: float
    apart: bool


def _gpu(name: str, tflops: float, gb_s: float, memory_gb: int) -> Machine:
    flops_s, bytes_s = REACHED * tflops * 1e12, REACHED * gb_s * 1e9
    return Machine(name, "cuda", flops_s, bytes_s, memory_gb * 10**9, GPU_LAYER_S, GPU_MODULE_S, True)


GPUS: tuple[Machine, ...] = (
    _gpu("L4", 121, 300, 24),
    _gpu("A10G", 70, 600, 24),
    _gpu("A100", 312, 2039, 80),
    _gpu("H100", 989, 3350, 80),
)
"""By NVIDIA's data sheets: bfloat16 on tensor cores without sparsity, bandwidth, memory (A100, H100: SXM, 80 GB)."""


def this_core(speed: CoreSpeed) -> Machine:
    """One core of this machine, on which a worker without a GPU measures."""
    return Machine("this core", "cpu", speed.flops_s, speed.bytes_s, None, CPU_LAYER_S, CPU_MODULE_S, False)


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """``time_s``: of the whole run with one worker. ``memory_bytes``: of ``block``, which needs most.

    ``models``: how many that block holds at once. Activations and what libraries keep for themselves are left out.
    ``visit_s``: of its longest visit, which is one of ``longest``. ``untied_bytes``: of the copy that a merge makes of
    tied embeddings, the largest; part of the memory.
    """

    time_s: float
    visit_s: float
    longest: str
    memory_bytes: int
    block: str
    models: int
    untied_bytes: int = 0


def estimate(
    plan: Plan, requests: Workload, shape: ModelShape, adapters: Mapping[str, AdapterSize], machine: Machine
) -> Estimate | None:
    """None where the model's files do not say how many parameters it has. ``adapters``: by name."""
    if shape.parameters is None:
        return None
    work = _Work(plan, requests, shape, adapters, machine)
    memory = {block.name: work.memory_bytes(block) for block in plan.blocks}
    largest = max(plan.blocks, key=lambda block: memory[block.name])
    visits = {block.name: work.visit_s(block) for block in plan.blocks}
    first = {block.name: visits[block.name] + CALIBRATION_S + work.counting_s(block) for block in plan.blocks}
    longest = max(first, key=lambda name: first[name])
    calibrated = sum(map(plan.calibrates, range(plan.rounds)))
    in_round_0 = sum(map(work.counting_s, plan.blocks))
    return Estimate(
        time_s=START_S + plan.rounds * sum(visits.values()) + calibrated * len(visits) * CALIBRATION_S + in_round_0,
        visit_s=first[longest],
        longest=longest,
        memory_bytes=memory[largest.name],
        block=largest.name,
        models=len(largest.configurations),
        untied_bytes=max(map(work.untied_bytes, plan.configurations), default=0),
    )


def forward_s(
    shape: ModelShape, machine: Machine, *, tokens: float, kept: float, modules: float, value_bytes: int
) -> float:
    """Seconds of one forward of ``tokens`` tokens, all prompts of a batch together.

    ``kept``: tokens whose keys and values are read; ``modules``: with an adapter beside them.
    """
    active = shape.active or 0
    computed = 2 * active * tokens / machine.flops_s
    moved = value_bytes * (active + (shape.kv_values or 0) * kept) / machine.bytes_s
    launched = (shape.layers or 0) * machine.layer_s + modules * machine.module_s
    busy = max(computed, moved)
    return max(busy, launched) if machine.apart else busy + launched


class _Work:
    def __init__(
        self,
        plan: Plan,
        requests: Workload,
        shape: ModelShape,
        adapters: Mapping[str, AdapterSize],
        machine: Machine,
    ) -> None:
        self.plan, self.shape, self.adapters, self.machine = plan, shape, adapters, machine
        self.lengths: dict[str, tuple[float, float]] = {}
        count = min(_ASKED_OF, plan.rounds * plan.requests)
        for task in plan.tasks():
            asked = [requests.request(task, index) for index in range(count)]
            self.lengths[task] = (
                sum(r.tokens for r in asked) / count,
                sum(r.output_tokens for r in asked) / count,
            )

    def value_bytes(self, c: Configuration) -> int:
        if c.dtype == "auto":
            return DTYPE_BYTES["bfloat16" if self.machine.kind == "cuda" else "float32"]
        return DTYPE_BYTES[c.dtype]

    def adapter_values(self, c: Configuration) -> int:
        return sum(self.adapters[a.name].parameters for a in c.adapters if a.name in self.adapters)

    def beside(self, c: Configuration) -> int:
        """Modules with an adapter beside them in a forward: of several one is active, unless they are mixed."""
        sizes = [self.adapters[a.name].modules for a in c.adapters if a.name in self.adapters]
        if c.strategy == "lora_merged" or not sizes:
            return 0
        if c.routing == "mixed" and c.form != "stacked":
            return sum(sorted(sizes)[-c.batch :])
        return max(sizes)

    def request_s(self, c: Configuration, task: str, most: float = math.inf) -> float:
        """Of one request, which generates ``most`` tokens at most."""
        prompt, asked = self.lengths[task]
        output = min(asked, most)
        modules, value_bytes = self.beside(c), self.value_bytes(c)

        def forward(tokens: float, kept: float) -> float:
            work = {"tokens": c.batch * tokens, "kept": c.batch * kept}
            return forward_s(self.shape, self.machine, **work, modules=modules, value_bytes=value_bytes)

        return forward(prompt, 0) + max(0.0, output - 1) * forward(1, prompt + output / 2)

    def visit_s(self, block: Block) -> float:
        total = VISIT_S
        for c in block.configurations:
            timed = len(block.requests(c, 0, self.plan.requests))
            openers = math.ceil(timed / self.plan.turn_requests)
            mean_s = self.mean_s(c)
            opener_s = sum(self.request_s(c, task, OPENER_TOKENS) for task in c.tasks) / len(c.tasks)
            total += (CHECKS + self.plan.warmups + timed) * mean_s + openers * opener_s
            total += self.weight_bytes(c) / LOAD_BYTES_S
            if c.shares_task:
                total += min(CHECKED_ADAPTERS, len(c.adapters)) * CHECKS_OF_ONE * mean_s
                total += self.loading_s(c) + self.switch_s(c) * (self.plan.warmups + timed + openers)
        return total

    def counting_s(self, block: Block) -> float:
        """Of all that its configurations do, in the first round."""
        return sum(COUNTED_S + COUNTED * self.mean_s(c) for c in block.configurations)

    def mean_s(self, c: Configuration) -> float:
        """Of a request, over its tasks."""
        return sum(self.request_s(c, task) for task in c.tasks) / len(c.tasks)

    def loading_s(self, c: Configuration) -> float:
        """Of many adapters, one after the other."""
        sizes = [self.adapters[a.name].modules for a in c.adapters if a.name in self.adapters]
        if c.form == "stacked":
            return SLOT_S * sum(sizes)
        return sum(modules * (BESIDE_S + EACH_BESIDE_S * others) for others, modules in enumerate(sizes))

    def switch_s(self, c: Configuration) -> float:
        """Of a request of many adapters: a stack's is nothing beside it."""
        return 0.0 if c.form == "stacked" or c.routing == "mixed" else SWITCH_S * self.beside(c) * len(c.adapters)

    def weight_bytes(self, c: Configuration) -> int:
        """Of its model, and of its adapters beside it: these are in float32 unless the plan says otherwise."""
        size = self.value_bytes(c)
        total = (self.shape.parameters or 0) * size
        if c.quantization is not None and not all_traits()[c.strategy].unquantized:
            total -= round((self.shape.linear or 0) * (size - QUANTIZED_BYTES[c.quantization]))
        total += self.untied_bytes(c)
        if c.strategy != "lora_merged":
            same = c.adapter_dtype == "same" or c.form is not None  # forms have adapters in the base's data type
            total += self.adapter_values(c) * (size if same else DTYPE_BYTES["float32"])
        return total

    def untied_bytes(self, c: Configuration) -> int:
        """Of the copy that merging its adapter makes of tied embeddings."""
        if c.strategy != "lora_merged":
            return 0
        return sum(self.adapters[a.name].untied for a in c.adapters if a.name in self.adapters) * self.value_bytes(c)

    def memory_bytes(self, block: Block) -> int:
        """All of a block's models, the keys and values of its largest request, a matrix that is being merged."""
        kept = max(
            (
                c.batch * sum(self.lengths[task]) * (self.shape.kv_values or 0) * self.value_bytes(c)
                for c in block.configurations
                for task in c.tasks
                if self.lengths[task][1] > 0
            ),
            default=0.0,
        )
        merges = any(c.strategy == "lora_merged" for c in block.configurations)
        merging = (self.shape.matrix or 0) * DTYPE_BYTES["float32"] if merges else 0
        return sum(map(self.weight_bytes, block.configurations)) + round(kept) + merging
