"""What a plan's models and adapters take, from the headers of their files or a preset's shape: for estimates."""

from __future__ import annotations

import dataclasses
import math

from raybench.model.adapter_files import AdapterFiles
from raybench.model.checkpoint_files import CheckpointFiles, is_vocabulary
from raybench.model.hub import ModelFiles
from raybench.model.shape import ModelShape, llama_shapes, read_shape
from raybench.model.shipped_shapes import preset_shape
from raybench.model.weights import ModelSpec
from raybench.plan import Adapter
from raybench.records import TaskType

_ALL_LINEAR = 7
"""Modules of a layer that a pattern is taken to mean: attention and feed-forward of a Llama."""


@dataclasses.dataclass(frozen=True, slots=True)
class AdapterSize:
    """``modules``: layers of the model that it changes; ``parameters``: weights that it brings.

    ``untied``: values of the copy that a merge makes where it changes one of two layers of a tied weight.
    """

    modules: int
    parameters: int
    untied: int = 0


def preset_files(spec: ModelSpec) -> CheckpointFiles:
    """What a preset's files would say, if it had some."""
    config = preset_shape(spec.name)["config"]
    return CheckpointFiles.of_config(spec.name, config, llama_shapes(config, spec.task_type))


def model_shape(spec: ModelSpec, files: ModelFiles) -> ModelShape:
    """The shape of the base ``spec``. Raises InputError where its files cannot be read."""
    if spec.is_preset:
        return read_shape(preset_shape(spec.name)["config"], preset_files(spec).shapes, spec.task_type)
    shapes = CheckpointFiles.read(spec.base_location, files).shapes
    return read_shape(files.path(spec.base_location, "config.json"), shapes, spec.task_type)


def adapter_size(adapter: Adapter, shape: ModelShape, task_type: TaskType, files: ModelFiles) -> AdapterSize:
    """Of an adapter what its file has; of a seeded one as many weights as its rank gives matrices of the hidden size.

    Raises InputError where its files cannot be read.
    """
    if adapter.path is not None:
        read = AdapterFiles.read(adapter.path, files, task_type)
        unties = task_type == "CAUSAL_LM" and shape.tied and any(map(is_vocabulary, read.ranks))
        untied = (shape.vocabulary or 0) if unties and not read.config.ensure_weight_tying else 0
        return AdapterSize(len(read.ranks), sum(map(math.prod, read.shapes.values())), untied)
    targets = adapter.target_modules or ()
    modules = (_ALL_LINEAR if isinstance(targets, str) else len(targets)) * (shape.layers or 0)
    return AdapterSize(modules, modules * (adapter.r or 0) * 2 * (shape.hidden or 0))
