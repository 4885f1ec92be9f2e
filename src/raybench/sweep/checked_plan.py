"""A plan with the model and the texts it is measured on, checked: what ``raybench plan`` shows and a sweep runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from raybench.analysis import LEAST_ROUNDS
from raybench.deploy import all_traits
from raybench.model import (
    GlueLengths,
    ModelSpec,
    Workload,
    check_files,
    glue_tasks,
    read_texts,
    resolve_model,
    text_tokenizer,
)
from raybench.plan import Overrides, Plan, WorkloadTable, load_plan
from raybench.records import InputError, Problems, TaskType

_DEFAULT_MODELS: Mapping[tuple[str, TaskType], str] = {
    ("cpu", "SEQ_CLS"): "micro",
    ("cpu", "CAUSAL_LM"): "micro-lm",
    ("cuda", "SEQ_CLS"): "tinyllama-1.1b",
    ("cuda", "CAUSAL_LM"): "tinyllama-1.1b",
}


@dataclasses.dataclass(frozen=True, slots=True)
class CheckedPlan:
    """A plan with the model and the texts it is measured on. ``model``: None where the device decides.

    What the adapters' own files say of them is in ``plan``; ``notes`` are what a reader should know of the files.
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

    def workload(self, model: ModelSpec) -> Workload:
        """The requests, with token ids by ``model``'s tokenizer where they are texts. Raises InputError."""
        if self.requests is not None and model == self.model:
            return self.requests
        if self.texts is None:
            return GlueLengths(self.plan.workload_seed)
        assert self.texts.texts is not None
        return read_texts(
            self.texts.texts,
            self.plan.tasks(),
            text_tokenizer(self.texts.tokenizer, model),
            text_column=self.texts.text_column or "text",
            task_column=self.texts.task_column,
            max_tokens=self.texts.max_tokens or 384,
            seed=self.plan.workload_seed,
        )


def default_model(device_kind: Literal["cpu", "cuda"], task_type: TaskType) -> ModelSpec:
    """The preset that suits the device, where neither the plan nor the command line names a model."""
    return resolve_model(_DEFAULT_MODELS[device_kind, task_type], task_type)


def check_plan(source: str, overrides: Overrides, model: str | None, problems: Problems) -> CheckedPlan | None:
    """The plan ``source`` on ``model`` (None: the device decides); None where ``problems`` has what is wrong.

    Reads all that the plan names, texts whole and models and adapters by their headers, and loads nothing.
    """
    plan, texts, spec, requests = None, None, None, None
    with problems.gathered():
        plan, texts = load_plan(source, all_traits(), glue_tasks(), overrides)
        if plan.until_halfwidth is not None and plan.rounds < LEAST_ROUNDS:
            raise InputError(f"--until-halfwidth cannot be met in {plan.rounds} rounds: allow {LEAST_ROUNDS} or more")
    chosen = model if model is not None or plan is None else plan.model
    with problems.gathered():
        spec = None if chosen is None else resolve_model(chosen, None if plan is None else plan.task_type)
    if plan is None:
        return None
    if chosen is None or spec is not None:
        with problems.gathered():
            # Where the device decides, any of its presets shows whether the texts can be read.
            requests = CheckedPlan(plan, texts, spec).workload(spec or default_model("cpu", plan.task_type))
    files = check_files(plan, spec, requests)
    problems.found += files.problems
    if problems.found:
        return None
    return CheckedPlan(files.plan, texts, spec, files.notes, requests)
