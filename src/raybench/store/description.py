"""What ``run.json`` may say: the run's plan, model, requests, configurations and environment.

Checked once, when a run is described: everything that reads runs takes the values from here. Keys that are not named
here are kept with the run and read by nobody.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, model_validator

from raybench.records import TaskType

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Label = Annotated[str, Field(min_length=1, max_length=1000)]
Word = Annotated[str, Field(min_length=1, max_length=10_000)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class ClaimOfPlan(_Part):
    """A comparison that the plan declares; ``strategy`` is a role."""

    strategy: Label
    reference: Label


class GoodputOfPlan(_Part):
    """What a request to a server must keep to count; null: no such limit."""

    ttft_ms: Annotated[float, Field(gt=0)] | None
    tpot_ms: Annotated[float, Field(gt=0)] | None


class LoadOfRun(_Part):
    """How requests came to a server: so many at all times, so many a second, or as a trace has them; one of these.

    ``digest``: of a trace's moments; null in an older run.
    """

    concurrency: Count | None = None
    rate_per_s: Annotated[float, Field(gt=0)] | None = None
    burstiness: Annotated[float, Field(gt=0)] | None = None
    trace: Label | None = None
    requests: Count | None = None
    digest: Label | None = None

    @model_validator(mode="after")
    def _is_one(self) -> LoadOfRun:
        if sum(one is not None for one in (self.concurrency, self.rate_per_s, self.trace)) != 1:
            raise ValueError("a load has one of concurrency, rate_per_s and trace")
        return self


class PlanOfRun(_Part):
    """The plan with what the command line changed of it. ``requests``: of a configuration in a round.

    ``margin`` and ``until_halfwidth``: 0.02 is 2 %. With ``until_halfwidth``, ``rounds`` is the most there may be.
    ``servers``: what the plan says of those that served; none where the visit's own process did. A run of version 8,
    which calls it ``engine``, has one entry.
    ``goodput``: what a request must keep to count, by its key in milliseconds.
    """

    name: Name
    description: str
    design: Literal["paired", "independent"]
    rounds: Count
    requests: Count
    warmups: Annotated[int, Field(ge=0, le=1_000_000)]
    turn_requests: Count
    workload_seed: int
    order_seed: int
    margin: Annotated[float, Field(gt=0, lt=1)]
    references: Annotated[tuple[Label, ...], Field(min_length=1)]
    claims: tuple[ClaimOfPlan, ...]
    until_halfwidth: Annotated[float, Field(gt=0, lt=1)] | None
    accelerator_type: Label | None
    engine: dict[str, JsonValue] | None = None
    servers: tuple[dict[str, JsonValue], ...] = ()
    goodput: GoodputOfPlan | None = None

    @model_validator(mode="after")
    def _has_servers(self) -> PlanOfRun:
        if self.engine is None:
            return self
        return self.model_copy(update={"engine": None, "servers": (self.engine,)})


class ModelOfRun(_Part):
    """What ``--model`` named. ``location``: a folder or a hub id, null for a preset.

    ``kind`` is ``served`` where it is what servers have that run already, of which no files are known.
    """

    name: Label
    kind: Literal["preset_files", "preset_device", "prepared", "checkpoint", "served"]
    location: Label | None
    task_type: TaskType = "SEQ_CLS"

    @model_validator(mode="after")
    def _is_somewhere(self) -> ModelOfRun:
        if self.location is None and self.kind in ("prepared", "checkpoint"):
            raise ValueError(f"a model of kind {self.kind} has a location")
        return self


class ConfigurationOfRun(_Part):
    """One thing measured. ``block``: where its own samples are; ``deployment``: its row in the study's table.

    ``strategy_source``: distribution and version of a strategy from outside of raybench, null for its own.
    ``delay_share``: the known delay put in after each request, 0.1 is a tenth of it. ``form``: null in an older run.
    ``servers``: the plan's table of servers that it is of; ``load``: null where requests came one at a time.
    """

    name: Name
    strategy: Label
    strategy_source: Label | None = None
    role: Label
    deployment: Label
    delay_share: Annotated[float, Field(ge=0, le=100)]
    seed: int
    tasks: Annotated[tuple[Label, ...], Field(min_length=1)]
    adapters: tuple[Label, ...]
    block: Label
    dtype: Label = "auto"
    adapter_dtype: Label = "float32"
    routing: Label = "round_robin"
    batch: Count = 1
    kv_cache: Label = "dynamic"
    quantization: Label | None = None
    execution: Label = "eager"
    form: Label | None = None
    servers: Label | None = None
    load: LoadOfRun | None = None


class ReferenceOfRun(_Part):
    """A configuration that another is compared with, and the block whose samples of it count."""

    configuration: Name
    block: Label


class ComparisonOfRun(_Part):
    """One configuration against its references. ``via``: the role by which they are chained, if never together."""

    configuration: Name
    block: Label
    reference_strategy: Label
    references: Annotated[tuple[ReferenceOfRun, ...], Field(min_length=1)]
    via: Label | None


class DriverOfRun(_Part):
    """The machine that drove the run, and the versions that measured."""

    machine: dict[str, JsonValue]
    versions: dict[str, str]


class EnvironmentOfRun(_Part):
    """What the run ran on: the driver, and what each worker said of itself when it began.

    ``engine_python``: of the command line, instead of the plan's; null where it named none, or in an older run.
    """

    driver: DriverOfRun
    workers: tuple[dict[str, JsonValue], ...]
    engine_python: Word | None = None


class Description(_Part):
    """A whole ``run.json``; ``workload`` is what the requests' source says of itself.

    ``written_from``: the command line's options, besides the model, that the plan was written from (``--adapter``);
    none where it was named.
    """

    schema_version: int
    run_id: Name
    created_at: AwareDatetime
    plan: PlanOfRun
    model: ModelOfRun
    workload: dict[str, JsonValue]
    configurations: Annotated[tuple[ConfigurationOfRun, ...], Field(min_length=1)]
    comparisons: tuple[ComparisonOfRun, ...]
    environment: EnvironmentOfRun
    written_from: tuple[Word, ...] = ()

    @model_validator(mode="after")
    def _holds_together(self) -> Description:
        names = [c.name for c in self.configurations]
        known, blocks = set(names), {c.block for c in self.configurations}
        if len(known) < len(names):
            twice = next(name for name, times in Counter(names).items() if times > 1)
            raise ValueError(f"configuration {twice!r} is there twice")
        used = [(c.configuration, c.block) for c in self.comparisons]
        used += [(r.configuration, r.block) for c in self.comparisons for r in c.references]
        for name, block in used:
            if name not in known:
                raise ValueError(f"comparisons name {name!r}, which is no configuration")
            if block not in blocks:
                raise ValueError(f"comparisons name {block!r}, which is no block")
        return self
