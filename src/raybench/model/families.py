"""What a model may be here, by the kind of task it does: a sequence classifier, or a causal language model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from raybench.model.transformers_source import class_table
from raybench.records import TaskType


@dataclasses.dataclass(frozen=True, slots=True)
class Family:
    """One task type: ``noun`` is what messages call such a model, ``auto_name`` transformers' class that opens it.

    ``mapping_name``: transformers' table of the model types that it knows such a model of; ``class_suffix``: what most
    classes of such models end with.
    """

    task_type: TaskType
    noun: str
    auto_name: str
    mapping_name: str
    class_suffix: str

    @property
    def auto(self) -> Any:
        """The class of transformers that opens one."""
        import transformers

        return getattr(transformers, self.auto_name)

    def class_of(self, model_type: str) -> str | None:
        """What transformers calls its model of a model type; None where it has none of this kind."""
        name = self._known().get(model_type)
        return name if name is None or isinstance(name, str) else name[0]

    def has_class(self, name: str) -> bool:
        """Whether ``name`` is a class of such models, transformers' own or called as they are."""
        return name.endswith(self.class_suffix) or name in self._known().values()

    def _known(self) -> Mapping[str, str | tuple[str, ...]]:
        return class_table(self.mapping_name)


FAMILIES: Mapping[TaskType, Family] = {
    "SEQ_CLS": Family(
        "SEQ_CLS",
        "sequence classifier",
        "AutoModelForSequenceClassification",
        "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
        "ForSequenceClassification",
    ),
    "CAUSAL_LM": Family(
        "CAUSAL_LM",
        "causal language model",
        "AutoModelForCausalLM",
        "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
        "ForCausalLM",
    ),
}


def family(task_type: TaskType) -> Family:
    """The kind of model that does it."""
    return FAMILIES[task_type]
