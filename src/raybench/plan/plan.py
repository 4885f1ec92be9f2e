"""A plan: what is compared with what, and how often.

plan (TOML, `file`) -> configurations -> blocks -> visits. This module works out the blocks, the requests that
each configuration serves in a round, and the comparisons that the tables draw.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Literal

from raybench.plan.load import Goodput, Load
from raybench.plan.routing import Routing, places
from raybench.records import TaskType

if TYPE_CHECKING:
    from raybench.plan.servers import Servers

Design = Literal["paired", "independent"]
TEXT_FILES: Final = (".parquet", ".jsonl", ".csv")
"""How files of a workload's texts end."""
Quantization = Literal["bnb-nf4", "bnb-int8", "torchao-int8"]
"""How a base is quantized as it is loaded: 4-bit NF4 or LLM.int8() by bitsandbytes, 8-bit weights only by torchao."""
Form = Literal["plain", "peft", "lean", "fused", "stacked", "remerge"]
"""How a deployment is computed: as transformers or PEFT does it, or by less work for the same answer."""
Execution = Literal["eager", "compile", "compile_static", "cudagraph"]
"""How the model runs: operation by operation, compiled by torch.compile for all lengths or for a few that requests are
padded to, or captured as CUDA graphs for such a few."""
BY_BUCKET: Final[frozenset[Execution]] = frozenset({"compile_static", "cudagraph"})
"""Those that serve requests padded to a few lengths."""
COMPILED: Final[frozenset[Execution]] = frozenset({"compile", "compile_static"})
"""Those that torch.compile makes."""
KvCache = Literal["dynamic", "static"]
"""What keeps keys and values while a language model generates: transformers' DynamicCache or StaticCache."""


_CALIBRATED_ROUNDS: Final = 4
"""Of a run, or a few more."""


@dataclasses.dataclass(frozen=True, slots=True)
class Adapter:
    """One LoRA adapter: the shape it has, and where its weights are if they are somewhere.

    With a ``path`` its ``r``, ``alpha`` and ``target_modules`` (names, or one pattern) may be None until its files
    have been read. ``target_parameters``: what it changes besides, read only. Of one that a server has, which runs
    already, no more than the name may be known: `is_known`.
    """

    name: str
    task: str
    seed: int
    r: int | None
    alpha: float | None
    target_modules: tuple[str, ...] | str | None
    path: str | None = None
    target_parameters: tuple[str, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether it has files, or can be drawn from its seed."""
        return self.path is not None or self.alpha is not None


@dataclasses.dataclass(frozen=True, slots=True)
class Configuration:
    """One thing measured. ``adapters`` are those it deploys; a full fine-tune has a checkpoint instead.

    Several adapters serve a task each, or all of them one task.
    ``role``: what it is compared as: its strategy, with what it does beside the usual, unless the plan says otherwise.
    ``form``: how it is computed; None: as its strategy does it by itself.
    ``delay_share``: time that the ``delay`` strategy adds to each request, as a share of it.
    ``num_labels``: of its classifier; None: as many as its checkpoint says.
    ``batch``: prompts that it serves together. ``quantization``: of its base's weights; None: as the files have them.
    A merged adapter is served unquantized: there it says on which base the adapter was trained, and is compared with.
    ``servers``: the table of servers that it is of; none in a plan without. ``load``: how requests come to its server;
    None: one at a time, each after the one before.
    """

    name: str
    strategy: str
    seed: int
    tasks: tuple[str, ...]
    adapters: tuple[Adapter, ...] = ()
    checkpoint: str | None = None
    dtype: str = "auto"
    adapter_dtype: str = "float32"
    routing: Routing = "round_robin"
    execution: Execution = "eager"
    form: Form | None = None
    role: str = ""
    delay_share: float = 0.0
    num_labels: int | None = None
    batch: int = 1
    kv_cache: KvCache = "dynamic"
    quantization: Quantization | None = None
    servers: str = ""
    load: Load | None = None

    def __post_init__(self) -> None:
        if not self.role:
            object.__setattr__(self, "role", own_role(self.strategy, self.form, self.execution))

    @property
    def is_usual(self) -> bool:
        """Whether it runs as its strategy does it by itself, operation by operation."""
        return self.form is None and self.execution == "eager"

    def requests(self, first: int, count: int) -> list[tuple[str, int]]:
        """The (task, request index) that this configuration serves in a round of ``count`` requests.

        Request i of a task is the same model input in every configuration, so a ``multi_lora`` and its
        separate counterparts meet on the same requests, and so do all that serve one task, by however many adapters.
        """
        chosen = places(self.routing, len(self.tasks), first, count, self.seed)
        return [(self.tasks[place], first + i) for i, place in enumerate(chosen)]

    @property
    def shares_task(self) -> bool:
        """Whether several adapters serve one task, so that it does not tell which of them a request is for."""
        return len(self.adapters) > len(self.tasks)

    def adapter_places(self, first: int, count: int) -> tuple[int, ...]:
        """Where adapters share a task, the place of that which serves each request of a round of ``count``; else none.

        In a mixed batch that of its first row; each further row is of the next adapter, as many as there are.
        """
        if not self.shares_task:
            return ()
        if self.routing == "mixed":
            return tuple((first + i) * self.batch % len(self.adapters) for i in range(count))
        return tuple(places(self.routing, len(self.adapters), first, count, self.seed))


def own_role(strategy: str, form: str | None, execution: str) -> str:
    """What a configuration is compared as unless the plan says otherwise: ``lora_separate_fused_compile``."""
    return "_".join([strategy, *([form] if form is not None else []), *([execution] if execution != "eager" else [])])


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """The configurations that are compared within one visit.

    ``guests`` are measured here only to be compared with: a ``multi_lora`` block's separate counterparts, whose
    own samples come from their own block.
    """

    name: str
    members: tuple[Configuration, ...]
    guests: tuple[Configuration, ...] = ()

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        return self.members + self.guests

    def requests(self, configuration: Configuration, first: int, count: int) -> list[tuple[str, int]]:
        """The requests of ``configuration`` in this block: a guest serves only those its host also serves."""
        if configuration in self.members:
            return configuration.requests(first, count)
        served = {request for member in self.members for request in member.requests(first, count)}
        if self.mixed_tasks:  # each of its batches has prompts of all tasks, by whichever it is called
            return sorted(served, key=lambda r: r[1])
        return sorted((request for request in served if request[0] in configuration.tasks), key=lambda r: r[1])

    @property
    def mixed_tasks(self) -> tuple[str, ...]:
        """The tasks that take turns within each of its batches, for its guests as well; none where a batch has one."""
        return next((member.tasks for member in self.members if member.routing == "mixed"), ())


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """A configuration to compare with, and the block whose samples of it count."""

    configuration: str
    block: str


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """A configuration against the reference of one strategy, request by request.

    ``references`` are several only for a configuration of several adapters, whose counterparts serve a task
    each. With ``via`` the two are never measured together: the ratio is that against ``via`` times that of
    ``references`` (of strategy ``via``) against the reference strategy, each from its own visits.
    """

    configuration: str
    block: str
    reference_strategy: str
    references: tuple[Reference, ...]
    via: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """What a plan sets out to show: ``role`` against ``reference``. Claims are adjusted for each other only."""

    role: str
    reference: str


@dataclasses.dataclass(frozen=True, slots=True)
class Visit:
    """One block in one round."""

    block: str
    round: int


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """A checked plan with everything worked out. ``requests`` is per configuration and round.

    With ``until_halfwidth`` (0.01: 1 %) rounds go on until the claims' intervals are that narrow, and ``rounds`` is
    the most there may be. ``model``: what it is for, as ``--model`` names one; None where it says nothing. ``servers``:
    on which its deployments run; none: they run in the visit's own process. ``goodput``: what a request must keep to
    count; None where nothing is said.
    """

    name: str
    description: str
    design: Design
    rounds: int
    requests: int
    warmups: int
    turn_requests: int
    workload_seed: int
    order_seed: int
    margin: float
    references: tuple[str, ...]
    visit_timeout_s: float
    accelerator_type: str | None
    configurations: tuple[Configuration, ...]
    blocks: tuple[Block, ...]
    comparisons: tuple[Comparison, ...]
    claims: tuple[Claim, ...] = ()
    until_halfwidth: float | None = None
    task_type: TaskType = "SEQ_CLS"
    model: str | None = None
    servers: tuple[Servers, ...] = ()
    goodput: Goodput | None = None

    def visits(self) -> Iterator[Visit]:
        """Every visit of the run, round by round: early results cover every block, and drift meets all alike.

        Each round begins with another block, so that blocks do not stay on one of several GPUs in lockstep.
        """
        count = len(self.blocks)
        for round_index in range(self.rounds):
            for position in range(count):
                yield Visit(self.blocks[(position + round_index) % count].name, round_index)

    def calibrates(self, round_index: int) -> bool:
        """Whether visits of that round also find out how fast their device is, which takes as long as a short one.

        Not where servers serve: what they run on is not what this process sees.
        """
        return not self.servers and round_index % max(1, self.rounds // _CALIBRATED_ROUNDS) == 0

    def tasks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(t for c in self.configurations for t in c.tasks))

    def replaced(self, configurations: Iterable[Configuration]) -> Plan:
        """The same plan with other ``configurations`` of the same names."""
        by_name = {c.name: c for c in configurations}

        def new(old: Iterable[Configuration]) -> tuple[Configuration, ...]:
            return tuple(by_name[c.name] for c in old)

        blocks = tuple(Block(b.name, new(b.members), new(b.guests)) for b in self.blocks)
        return dataclasses.replace(self, configurations=new(self.configurations), blocks=blocks)

    def adapters(self) -> tuple[Adapter, ...]:
        """Every adapter that is deployed, once."""
        return tuple({a.name: a for c in self.configurations for a in c.adapters}.values())

    def expected_samples(self) -> int:
        """Timed samples of a complete run, guests' included."""
        return sum(
            len(block.requests(configuration, round_index * self.requests, self.requests))
            for round_index in range(self.rounds)
            for block in self.blocks
            for configuration in block.configurations
        )

    def guest_samples(self) -> int:
        """Those of them that guests take, which no configuration's own number has."""
        return self.expected_samples() - len(self.configurations) * self.rounds * self.requests


def homes(blocks: Iterable[Block]) -> dict[str, Block]:
    """Of each configuration the block whose samples are its own."""
    return {c.name: block for block in blocks for c in block.members}


class Peers:
    """Finds configurations by what they have in common with another, of plans of thousands of them."""

    def __init__(self, configurations: Sequence[Configuration]) -> None:
        self._alike: dict[tuple[object, ...], Configuration] = {}
        self._by_adapter: dict[tuple[object, ...], Configuration] = {}
        self._anywhere: dict[tuple[object, ...], Configuration] = {}
        for c in configurations:
            self._alike.setdefault((c.role, max(1, len(c.adapters)), c.tasks, c.seed, *_measured_as(c)), c)
            if c.strategy == "lora_separate" and len(c.adapters) == 1 and c.is_usual:
                key = c.adapters[0].name, c.adapter_dtype, *_measured_as(c)
                self._by_adapter[c.servers, *key] = c
                self._anywhere.setdefault(key, c)

    def peer(self, c: Configuration, role: str) -> Configuration | None:
        """The first configuration in ``role`` that deploys the same task and seed as ``c``, measured as it is.

        One of as many adapters, else one that has no more than one.
        """
        rest = c.tasks, c.seed, *_measured_as(c)
        return self._alike.get((role, len(c.adapters), *rest)) or self._alike.get((role, 1, *rest))

    def counterparts(self, multi: Configuration) -> tuple[Configuration, ...]:
        """The single-adapter configurations that deploy the same adapters as ``multi``, in its order.

        Those of its own table of servers, where there are any.
        """
        keys = [(a.name, multi.adapter_dtype, *_measured_as(multi)) for a in multi.adapters]
        found = (self._by_adapter.get((multi.servers, *key)) or self._anywhere.get(key) for key in keys)
        return tuple(c for c in found if c is not None)


def _measured_as(c: Configuration) -> tuple[object, ...]:
    """What two configurations have in common that are compared."""
    return c.dtype, c.batch, c.kv_cache, c.quantization, c.load


def make_blocks(configurations: Sequence[Configuration], design: Design) -> tuple[Block, ...]:
    """Group the configurations into what one visit measures side by side.

    ``paired``: those of one (task, seed, batch) together; one of several tasks with its separate counterparts as
    guests. ``independent``: every configuration is a block of its own.
    """
    if design == "independent":
        return tuple(Block(c.name, (c,)) for c in configurations)
    peers = Peers(configurations)
    groups: dict[tuple[str, int, int], list[Configuration]] = {}
    blocks: list[Block] = []
    for configuration in configurations:
        if len(configuration.tasks) > 1:
            blocks.append(Block(configuration.name, (configuration,), peers.counterparts(configuration)))
        else:
            key = configuration.tasks[0], configuration.seed, configuration.batch
            groups.setdefault(key, []).append(configuration)
    single = [
        Block(f"{task}_seed{seed}" + (f"_batch{batch}" if batch > 1 else ""), tuple(members))
        for (task, seed, batch), members in groups.items()
    ]
    return (*single, *blocks)


def make_comparisons(
    configurations: Sequence[Configuration], blocks: Sequence[Block], references: Sequence[str]
) -> tuple[Comparison, ...]:
    """Each configuration against each reference strategy that has a counterpart for it."""
    peers = Peers(configurations)
    home = homes(blocks)
    found: list[Comparison] = []
    for c in configurations:
        block = home[c.name]
        together = peers.counterparts(c) if len(c.tasks) > 1 else ()
        for strategy in references:
            if strategy == c.role:
                continue
            if len(c.tasks) > 1:
                if len(together) != len(c.adapters):
                    continue
                names = tuple(
                    Reference(t.name, block.name if t in block.guests else home[t.name].name) for t in together
                )
                if strategy == "lora_separate":
                    found.append(Comparison(c.name, block.name, strategy, names))
                elif "lora_separate" in references and all(peers.peer(t, strategy) for t in together):
                    found.append(Comparison(c.name, block.name, strategy, names, via="lora_separate"))
            elif other := peers.peer(c, strategy):
                found.append(Comparison(c.name, block.name, strategy, (Reference(other.name, home[other.name].name),)))
    return tuple(found)
