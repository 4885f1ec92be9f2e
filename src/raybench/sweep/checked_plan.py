"""A plan with the model and the texts it is measured on, checked: what ``raybench plan`` shows and a sweep runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Literal

from raybench.analysis import LEAST_ROUNDS
from raybench.deploy import all_traits
from raybench.model import (
    Column,
    GlueLengths,
    Lengths,
    ModelSpec,
    Workload,
    chat_tokenizer,
    check_files,
    glue_tasks,
    read_texts,
    read_whole_texts,
    resolve_model,
    text_tokenizer,
)
from raybench.plan import (
    Configuration,
    Overrides,
    Plan,
    PlanSource,
    WorkloadTable,
    first_of,
    parse_plan,
    read_plan,
)
from raybench.records import InputError, Problems, TaskType
from raybench.sweep.served_plan import (
    check_servers,
    problems_of_files,
    problems_of_moments,
    runs_already,
    served_model,
    with_traces,
)

CLASSIFIER_MAX_TOKENS = 384
"""Of a classifier whose plan does not say max_tokens: the most that an example of GLUE has.

Texts of a language model are left whole.
"""

_DEFAULT_MODELS: Mapping[tuple[str, TaskType], str] = {
    ("cpu", "SEQ_CLS"): "micro",
    ("cpu", "CAUSAL_LM"): "micro-lm",
    ("cuda", "SEQ_CLS"): "tinyllama-1.1b",
    ("cuda", "CAUSAL_LM"): "tinyllama-1.1b",
}


@dataclasses.dataclass(frozen=True, slots=True)
class CheckedPlan:
    """A plan with the model and the texts it is measured on. ``model``: None where the device decides.

    What the adapters' own files say of them is in ``plan``; ``notes`` are what a reader should know of the files,
    texts among them. ``texts``: what the plan says of its requests, which may be texts.
    """

    plan: Plan
    texts: WorkloadTable | None
    model: ModelSpec | None
    notes: tuple[str, ...] = ()
    requests: Workload | None = None
    """Those of ``model``, where they have been read."""

    def model_on(self, device_kind: Literal["cpu", "cuda"]) -> ModelSpec:
        """The model that was asked for, or the preset that suits the device."""
        return self.model or default_model(device_kind, self.plan.task_type)

    def check_device(self, device_kind: Literal["cpu", "cuda"]) -> None:
        """Raises InputError where the plan asks for what this kind of device cannot do."""
        captured = [c.name for c in self.plan.configurations if c.execution == "cudagraph"]
        if captured and device_kind == "cpu":
            raise InputError(
                f"{self.plan.name}: {first_of(captured, 3)} of execution cudagraph, which is for CUDA GPUs, and there "
                "is none: run it where there is one, or have them eager or compiled"
            )

    def workload(self, model: ModelSpec) -> Workload:
        """The requests, with token ids by ``model``'s tokenizer where they are texts. Raises InputError."""
        if self.requests is not None and model == self.model:
            return self.requests
        table, seed = self.texts or WorkloadTable(), self.plan.workload_seed
        if table.texts is not None:
            return self._own_texts(table, table.texts, model)
        if table.prompt_tokens is not None:
            return Lengths(table.prompt_tokens, table.output_tokens, seed)
        return GlueLengths(seed, table.output_tokens)

    def _own_texts(self, table: WorkloadTable, path: str, model: ModelSpec) -> Workload:
        generates = self.plan.task_type == "CAUSAL_LM"
        most = table.max_tokens or (None if generates else CLASSIFIER_MAX_TOKENS)
        if table.chat_column is not None:
            column = Column(table.chat_column, "chat")
            tokenizer = partial(chat_tokenizer, generates=generates)
        else:
            column = Column(table.text_column or "text")
            tokenizer = partial(text_tokenizer, keep_end=generates)
        if model.kind == "served":
            return read_whole_texts(
                path,
                self.plan.tasks(),
                column=column,
                task_column=table.task_column,
                seed=self.plan.workload_seed,
                output_tokens=table.output_tokens,
            )
        return read_texts(
            path,
            self.plan.tasks(),
            lambda: tokenizer(table.tokenizer, model, most),
            column=column,
            task_column=table.task_column,
            seed=self.plan.workload_seed,
            output_tokens=table.output_tokens,
            keep_text=any(servers.prompts_as != "token_ids" for servers in self.plan.servers),
        )


def default_model(device_kind: Literal["cpu", "cuda"], task_type: TaskType) -> ModelSpec:
    """The preset that suits the device, where neither the plan nor the command line names a model."""
    return resolve_model(_DEFAULT_MODELS[device_kind, task_type], task_type)


def check_plan(
    source: str | PlanSource, overrides: Overrides, model: str | None, problems: Problems
) -> CheckedPlan | None:
    """The plan ``source`` on ``model`` (None: that of the plan, else the device decides).

    ``source``: a shipped plan's name, a file's, or a text. None where ``problems`` has what is wrong.
    Reads all that the plan names, texts whole and models and adapters by their headers, and loads nothing.
    """
    plan, texts, spec, requests = None, None, None, None
    with problems.gathered():
        source = read_plan(source) if isinstance(source, str) else source
        plan, texts = parse_plan(source, all_traits(), glue_tasks(), overrides)
        if plan.until_halfwidth is not None and plan.rounds < LEAST_ROUNDS:
            raise InputError(f"--until-halfwidth cannot be met in {plan.rounds} rounds: allow {LEAST_ROUNDS} or more")
    if plan is not None and isinstance(source, PlanSource):
        for table in plan.servers:
            with problems.gathered():
                check_servers(table, plan, source.where)
        plan = with_traces(plan, source.where, problems)
        problems.found += (f"{source.where}: {line}" for line in problems_of_moments(plan))
    chosen = model if model is not None or plan is None else plan.model
    with problems.gathered():
        spec = None if chosen is None else _resolve(chosen, plan, source if model is None else None)
    if plan is None:
        return None
    if runs_already(plan):
        where = source.where if isinstance(source, PlanSource) else source
        problems.found += (f"{where}: {line}" for line in problems_of_files(plan, texts, chosen))
        spec = served_model(plan) if chosen is None else spec
    if chosen is None or spec is not None:
        with problems.gathered():
            # Where the device decides, any of its presets shows whether the texts can be read.
            requests = CheckedPlan(plan, texts, spec).workload(spec or default_model("cpu", plan.task_type))
    files = check_files(plan, None if spec is not None and spec.kind == "served" else spec, requests)
    problems.found += files.problems
    if problems.found:
        return None
    of_requests = () if requests is None else requests.notes
    notes = (*files.notes, *_shapes_only(files.plan, spec), *of_requests)
    return CheckedPlan(files.plan, texts, spec, notes, requests)


def _resolve(model: str, plan: Plan | None, source: str | PlanSource | None) -> ModelSpec:
    """``source``: the plan that names the model; None where the command line does."""
    try:
        return resolve_model(model, None if plan is None else plan.task_type)
    except InputError as error:
        if not isinstance(source, PlanSource):
            raise
        raise InputError(f"{source.where}: model: {str(error).removeprefix('--model ')}") from None


def _shapes_only(plan: Plan, model: ModelSpec | None) -> list[str]:
    """What there is to say of full fine-tunes that are not there."""
    if not (without := [c.name for c in plan.configurations if is_shape_only(c, model)]):
        return []
    return [
        f"{first_of(without, 4)}: no checkpoint of a full fine-tune is given, so the base's shape stands for it, which "
        "takes the same time and memory and gives other answers"
    ]


def is_shape_only(configuration: Configuration, model: ModelSpec | None) -> bool:
    """Whether it is a full fine-tune without weights of its own, measured by those of a person's base."""
    return (
        configuration.strategy == "full_ft"
        and configuration.checkpoint is None
        and model is not None
        and model.kind == "checkpoint"
    )
