"""What is known of a model from its files alone: config.json and the headers of its safetensors files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from raybench.model.files import FromFile, check_regular, read_json, tensor_shapes
from raybench.model.hub import ModelFiles
from raybench.model.positions import positions_left
from raybench.model.transformers_source import may_rename
from raybench.records import InputError, TaskType

_CLASSIFIERS = (
    "score",
    "classifier",
    "classifier.out_proj",
    "classifier.linear_out",
    "classification_head.out_proj",
    "score.out_proj",
    "logits_proj",
    "sequence_summary.summary",
)
"""Ends of the names of the layers whose outputs are the labels, in the sequence classifiers of transformers."""

_POSITION_TABLES = (
    "embeddings.position_embeddings.weight",
    "transformer.position_embeddings.weight",
    "embed_positions.weight",
    "wpe.weight",
    "positions_embed.weight",
)
_VOCABULARIES = frozenset({"embed_tokens", "wte", "word_embeddings", "embed_in", "lm_head", "embed_out"})
"""What models of transformers call the embedding of tokens, and the head that gives their logits."""

_Size = Annotated[int, Field(ge=0, le=2**40)]


class _TextConfig(FromFile):
    """Of a model of several parts, the one that takes text."""

    vocab_size: _Size | None = None
    max_position_embeddings: int | None = None


class CheckpointConfig(FromFile):
    """What is needed of a config.json."""

    model_type: Annotated[str, Field(min_length=1, max_length=100)]
    vocab_size: _Size | None = None
    max_position_embeddings: int | None = None
    n_positions: int | None = None
    pad_token_id: Any = None
    num_labels: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    id2label: Annotated[dict[str, Any], Field(min_length=1, max_length=1_000_000)] | None = None
    name_or_path: Any = Field(None, alias="_name_or_path")
    quantization_config: dict[str, Any] | None = None
    text_config: _TextConfig | None = None

    @property
    def labels(self) -> int:
        """Labels of its classifier: two where the file says nothing, as transformers has it."""
        if self.id2label is not None:
            return len(self.id2label)
        return self.num_labels or 2

    @property
    def vocabulary(self) -> int | None:
        """Tokens that it knows; None where the file does not say."""
        return self.vocab_size if self.text_config is None else self.text_config.vocab_size


class _Index(FromFile):
    weight_map: Annotated[dict[str, str], Field(min_length=1)]


@dataclasses.dataclass(frozen=True)
class CheckpointFiles:
    """A model's configuration, and its tensors' shapes by name; None where its weights are not on this machine."""

    location: str
    config: CheckpointConfig
    shapes: Mapping[str, tuple[int, ...]] | None

    @classmethod
    def of_config(
        cls, name: str, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]] | None
    ) -> CheckpointFiles:
        """A model that has a configuration and no files: a preset. ``shapes``: None where they are not known."""
        return cls(name, CheckpointConfig.model_validate(config), shapes)

    @classmethod
    def read(cls, location: str, files: ModelFiles) -> CheckpointFiles:
        """A folder's or hub repository's. Raises InputError with what is absent or damaged, and where."""
        config = read_json(files.path(location, "config.json"), CheckpointConfig)
        single = files.at_hand(location, "model.safetensors")
        index = files.at_hand(location, "model.safetensors.index.json")
        if single is not None:
            return cls(location, config, tensor_shapes(single))
        if index is not None:
            return cls(location, config, _sharded(index))
        if Path(location).is_dir():
            check_weights(Path(location))
        return cls(location, config, None)

    @property
    def labels(self) -> int:
        """Labels of its classifier."""
        return self.config.labels

    @property
    def states_labels(self) -> bool:
        """Whether its configuration says how many: where it does not, transformers takes two."""
        return self.config.id2label is not None or self.config.num_labels is not None

    @cached_property
    def positions(self) -> int | None:
        """Tokens that it takes, by its configuration; None where that gives no number."""
        config = self.config
        sources = (
            config.max_position_embeddings,
            config.n_positions,
            getattr(config.text_config, "max_position_embeddings", None),
        )
        count = next((number for number in sources if number is not None), None)
        return positions_left(config.model_type, count, config.pad_token_id)

    @property
    def positions_are_a_table(self) -> bool:
        """Whether it learned an embedding for each position, so that it can take no more."""
        return any(name.endswith(_POSITION_TABLES) for name in self.shapes or ())

    @property
    def renamed(self) -> bool:
        """Whether transformers may load its tensors under other names than they have in the files."""
        return may_rename(self.config.model_type)

    def problems(self, task_type: TaskType, *, is_tied: bool) -> list[str]:
        """What its files say that cannot be of a model for ``task_type``, one line each.

        ``is_tied``: whether a language model's head is its embedding.
        """
        shapes, said = self.shapes or {}, f"{self.location}: its"
        found: list[str] = []
        if self.config.quantization_config is not None:
            method = str(self.config.quantization_config.get("quant_method", "some way"))[:40]
            found.append(
                f"{said} weights are quantized in its files ({method}), into which nothing is merged and beside which "
                'nothing is compared: give the unquantized model, and quantization = "bnb-nf4" or the like in the plan'
            )
            return found
        labels = labels_in(shapes) if task_type == "SEQ_CLS" else None
        if labels is not None and labels != self.labels:
            found.append(f"{said} classifier has {labels} labels, its config.json says {self.labels}: make them agree")
        size = self.config.vocab_size
        for name, shape in shapes.items():
            # Of a model of several parts the embedding may hold more than its text.
            if self.config.text_config is None and size is not None and len(shape) == 2 and shape[0] != size:
                module = name.removesuffix(".weight")
                if name != module and is_vocabulary(module):
                    found.append(f"{said} {name} has {shape[0]} tokens, its config.json says {size}: make them agree")
        vocabularies = [name for name, shape in shapes.items() if len(shape) == 2 and shape[0] == size]
        if task_type == "CAUSAL_LM" and not is_tied and len(vocabularies) == 1 and self.config.text_config is None:
            found.append(
                f"{self.location}: its weights have no head for a language model, only {vocabularies[0]}, and its "
                "config.json does not tie the two; give one saved from AutoModelForCausalLM"
            )
        return found


def is_classifier(name: str) -> bool:
    """Whether a tensor is of the layer whose outputs are the labels."""
    layer = f".{name}".rpartition(".")[0]
    return any(layer.endswith(f".{end}") for end in _CLASSIFIERS)


def is_vocabulary(module: str) -> bool:
    """Whether a module, by its name, has a weight for each token: an embedding, or a language model's head."""
    return module.rpartition(".")[2] in _VOCABULARIES


def labels_in(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Labels of the classifier among these tensors; None where there is none."""
    return next((shape[0] for name, shape in shapes.items() if len(shape) == 2 and is_classifier(name)), None)


def _sharded(index: Path) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for shard in sorted(set(read_json(index, _Index).weight_map.values())):
        if Path(shard).name != shard:
            raise InputError(f"{index}: names a file outside its own folder: {shard[:60]!r}")
        path = index.with_name(shard)
        if path.exists() or index.parent.parent.name != "snapshots":  # a cache may hold some shards only
            shapes |= tensor_shapes(path)
    return shapes


def check_weights(folder: Path) -> None:
    """Raises InputError where a folder has no safetensors files, or one that is no regular file."""
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        raise InputError(f"{folder}: no .safetensors weights; pickled checkpoints are not loaded, convert them")
    for path in found:
        check_regular(path)
