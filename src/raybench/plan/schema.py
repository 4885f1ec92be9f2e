"""What a plan's TOML may hold: its tables and keys, their types, bounds and defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Discriminator, Field, Tag, model_validator

from raybench.plan.plan import Execution, Form, KvCache, Quantization
from raybench.plan.routing import Routing
from raybench.plan.servers import PromptsAs
from raybench.records import TaskType

Seed = Annotated[int, Field(ge=0, le=2**62)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
ModuleName = Annotated[str, Field(min_length=1, max_length=1000)]
BatchSize = Annotated[int, Field(ge=1, le=4096)]
AdapterCount = Annotated[int, Field(ge=1, le=4096)]
TokenCount = Annotated[int, Field(ge=1, le=10_000_000)]
DType = Literal["auto", "float32", "bfloat16", "float16"]

AS: dict[type, str] = {int: "<number>", float: "<real>", str: "<text>", list: "<list>", dict: "<table>"}
"""What a value of several possible types is read as: its problems are of that type, with this in their place."""


def _read_as(value: Any) -> str | None:
    return AS.get(type(value))


def _real_or_list(value: Any) -> str | None:
    """As `_read_as`, where a whole number is a real one too."""
    return AS[float] if type(value) is int else _read_as(value)


def _one_of(expected: str, read_as: Callable[[Any], str | None] = _read_as) -> Discriminator:
    return Discriminator(read_as, custom_error_type="type", custom_error_message=f"expected {expected}")


BatchSizes = Annotated[
    Annotated[BatchSize, Tag(AS[int])] | Annotated[list[BatchSize], Field(min_length=1), Tag(AS[list])],
    _one_of("a whole number or a list of them"),
]
AdapterCounts = Annotated[
    Annotated[AdapterCount, Tag(AS[int])] | Annotated[list[AdapterCount], Field(min_length=1), Tag(AS[list])],
    _one_of("a whole number or a list of them"),
]
Concurrency = Annotated[int, Field(ge=1, le=900)]
Concurrencies = Annotated[
    Annotated[Concurrency, Tag(AS[int])] | Annotated[list[Concurrency], Field(min_length=1), Tag(AS[list])],
    _one_of("a whole number or a list of them"),
]
Rate = Annotated[float, Field(gt=0, le=1_000_000)]
Rates = Annotated[
    Annotated[Rate, Tag(AS[float])] | Annotated[list[Rate], Field(min_length=1), Tag(AS[list])],
    _one_of("a number or a list of them", _real_or_list),
]
TargetModules = Annotated[
    Annotated[ModuleName, Tag(AS[str])] | Annotated[list[ModuleName], Field(min_length=1), Tag(AS[list])],
    _one_of("a list of names, or a pattern"),
]


class Table(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)


class AdaptersTable(Table):
    """Adapters drawn from a seed, or those at ``path``, of which r, alpha and target_modules are read if left out.

    ``target_modules``: names, ends of names or whole ones, or for those at ``path`` a pattern. ``count``: so many of
    each, numbered from 1, which share their task.
    """

    name: Name
    tasks: Annotated[list[Name], Field(min_length=1)]
    seeds: Annotated[list[Seed], Field(min_length=1)]
    count: AdapterCount | None = None
    alpha: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] | None = None
    r: Count | None = None
    target_modules: TargetModules | None = None
    path: str | None = None


class DeploymentTable(Table):
    name: Name
    strategy: Name
    checkpoint: str | None = None
    dtype: DType = "auto"
    adapter_dtype: Literal["float32", "same"] = "float32"
    routing: Routing = "round_robin"
    execution: Execution = "eager"
    form: Form | None = None
    role: Name | None = None
    delay_share: Annotated[float, Field(ge=0, le=100)] = 0.0
    kv_cache: KvCache = "dynamic"
    quantization: Quantization | None = None
    batch: BatchSizes = 1
    resident: AdapterCounts | None = None
    servers: Name | None = None
    concurrency: Concurrencies = 1
    rate_per_s: Rates | None = None
    burstiness: Annotated[float, Field(gt=0, le=1000)] = 1.0
    trace: str | None = None


class ConfigurationTable(DeploymentTable):
    task: Name | None = None
    seed: Seed
    adapters: list[Name] = []


class MatrixTable(DeploymentTable):
    tasks: Annotated[list[Name], Field(min_length=1)]
    seeds: Annotated[list[Seed], Field(min_length=1)]
    adapters: list[Name] = []


class ClaimTable(Table):
    strategy: Name
    reference: Name


class Lognormal(Table):
    """Tokens drawn from a lognormal distribution: its median, the spread of the logarithm, the most there may be.

    What is drawn above ``max`` is ``max``, as where a service cuts: the median stays what it is.
    """

    median: TokenCount
    sigma: Annotated[float, Field(gt=0, le=5)]
    max: TokenCount

    @model_validator(mode="after")
    def _median_is_possible(self) -> Lognormal:
        if self.median > self.max:
            raise ValueError(f"median is {self.median}, above max {self.max}")
        return self


Lengths = Annotated[
    Annotated[TokenCount, Tag(AS[int])]
    | Annotated[list[TokenCount], Field(min_length=1, max_length=1_000_000), Tag(AS[list])]
    | Annotated[Lognormal, Tag(AS[dict])],
    _one_of("a whole number, a list of them, or {median, sigma, max}"),
]
"""As many tokens in each request, or drawn from a list or a distribution."""


class WorkloadTable(Table):
    """The requests: of given lengths (``prompt_tokens``), or the texts or chats of a local Parquet, JSONL or CSV file.

    ``output_tokens``: what a language model generates for each prompt; where it stands alone prompts are as long as the
    examples of the GLUE tasks, as those of a plan without this table are. ``text_column`` ("text"): a column of texts,
    or ``chat_column``: one of lists of messages {role, content}, or of the JSON of such lists, of which the tokenizer's
    chat template makes a prompt. ``task_column``: the column that says which task a text belongs to; without it every
    task draws from the whole file. ``tokenizer`` is a path or hub id; without it the model's own is used. Longer texts
    are cut at ``max_tokens``, a classifier's at their end, a language model's and chats at their beginning; left out, a
    classifier's are cut at 384 and a language model's are whole. How many were cut is said in the run.
    """

    prompt_tokens: Lengths | None = None
    output_tokens: Lengths | None = None
    texts: str | None = None
    text_column: Name | None = None
    chat_column: Name | None = None
    task_column: Name | None = None
    tokenizer: str | None = None
    max_tokens: Count | None = None


class ServersTable(Table):
    """How servers are started, by a ``preset`` that raybench knows or a ``command`` of one's own, or where one runs.

    ``python``: of an environment that has the engine. ``cores``: lists of cores, one for each server in turn.
    """

    name: Name = "servers"
    preset: Name | None = None
    command: list[str] | None = None
    url: str | None = None
    model: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    api_key_variable: Name | None = None
    prompts_as: PromptsAs | None = None
    python: str | None = None
    options: list[str] = []
    environment: dict[str, str] = {}
    cores: list[list[Annotated[int, Field(ge=0, le=4095)]]] = []
    kv_cache_gib: Annotated[int, Field(ge=1, le=4096)] | None = None
    prefix_caching: bool = False
    eager: bool = False
    streams: Annotated[int, Field(ge=1, le=4096)] | None = None
    max_loras: Annotated[int, Field(ge=1, le=4096)] | None = None
    memory_share: Annotated[float, Field(gt=0, le=1)] | None = None
    load_adapters: bool = False
    ready: Annotated[str, Field(min_length=1, max_length=1000)] = "/health"
    ready_within_s: Annotated[float, Field(gt=0, le=86_400)] = 600.0
    answer_within_s: Annotated[float, Field(gt=0, le=86_400)] = 120.0


class GoodputTable(Table):
    """What a request must keep to count."""

    ttft_ms: Annotated[float, Field(gt=0, le=86_400_000)] | None = None
    tpot_ms: Annotated[float, Field(gt=0, le=86_400_000)] | None = None


class PlanTable(Table):
    name: Name
    description: str = ""
    model: str | None = None
    task_type: TaskType = "SEQ_CLS"
    rounds: Count = 10
    requests: Count = 50
    warmups: Annotated[int, Field(ge=0, le=10_000)] = 10
    turn_requests: Count = 1
    workload_seed: Seed = 0
    order_seed: Seed = 0
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.02
    references: Annotated[list[Name], Field(min_length=1)] = ["full_ft", "lora_separate"]
    visit_timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 1800.0
    accelerator_type: Name | None = None
    until_halfwidth: Annotated[float, Field(gt=0, lt=1)] | None = None
    workload: WorkloadTable | None = None
    servers: list[ServersTable] = []
    goodput: GoodputTable | None = None
    claims: list[ClaimTable] = []
    adapters: list[AdaptersTable] = []
    matrix: list[MatrixTable] = []
    configurations: list[ConfigurationTable] = []


TABLES: dict[str, type[Table]] = {
    "adapters": AdaptersTable,
    "matrix": MatrixTable,
    "configurations": ConfigurationTable,
    "workload": WorkloadTable,
    "servers": ServersTable,
    "goodput": GoodputTable,
    "claims": ClaimTable,
}
