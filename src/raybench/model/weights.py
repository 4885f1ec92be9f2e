"""Where weights come from: a prepared preset, a checkpoint of one's own, or a shape filled on the device.

torch, transformers and peft are imported where they are used: a plan can be read and checked without them.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from raybench.machine import Device, torch_dtype
from raybench.model.adapters import WEIGHTS, drop_dropout, load_adapter
from raybench.model.checkpoint_files import check_weights
from raybench.model.families import family
from raybench.model.files import FromFile, read_json
from raybench.model.heads import check_layers, check_sizes, draw_missing
from raybench.model.quantization import check_quantized, loading_options, quantization_problems
from raybench.model.seeded import add_seeded_adapter
from raybench.model.shipped_shapes import preset_shape, presets
from raybench.plan import Adapter, Configuration
from raybench.records import InputError, TaskType

if TYPE_CHECKING:
    import torch

PREPARED_MARK = "raybench.json"
_NO_ADAPTER = {"subfolder": "raybench-loads-no-adapter"}
"""Where transformers is told to look for an adapter: left to itself it switches on what lies beside the weights."""


class _Mark(FromFile):
    """What is needed of the mark of a prepared folder. Older ones do not say for which task type they are."""

    task_type: TaskType = "SEQ_CLS"


@dataclasses.dataclass(frozen=True, slots=True)
class ModelSpec:
    """Which model a run measures.

    ``preset``: a shipped shape; with ``store`` "files" it is prepared as Hugging Face files in ``location`` (or in
    the worker's cache), with "device" it is filled with seeded random weights on the device. ``prepared``: a
    folder that `raybench prepare` wrote. ``checkpoint``: a path or hub id of one's own base model. ``served``: what a
    server has that runs already, of which no files are known; ``name`` is then what the server calls it.
    ``task_type``: what it is loaded as.
    """

    name: str
    kind: Literal["preset_files", "preset_device", "prepared", "checkpoint", "served"]
    location: str | None = None
    task_type: TaskType = "SEQ_CLS"

    @property
    def is_preset(self) -> bool:
        """Whether it is a shipped shape, known without any file."""
        return self.kind in ("preset_files", "preset_device")

    @property
    def base_location(self) -> str:
        """The folder or hub id of the base's own files; only of a model that has a location."""
        assert self.location is not None
        return str(Path(self.location, "base")) if self.kind == "prepared" else self.location


def resolve_model(model: str, task_type: TaskType | None = "SEQ_CLS") -> ModelSpec:
    """What a person means by ``--model``: a preset, then an existing folder, then a hub id (``owner/name``).

    ``task_type``: None where it is not known, and any will do. Raises InputError where it is none of these, or made for
    another task type.
    """
    if model in presets():
        shape = preset_shape(model)
        task_type = task_type or shape["task_types"][0]
        check_preset(model, task_type)
        return ModelSpec(model, "preset_files" if shape["store"] == "files" else "preset_device", task_type=task_type)
    path = Path(model)
    if model and path.is_dir():  # an empty name would be the current folder
        if (path / PREPARED_MARK).is_file():
            prepared_for = read_json(path / PREPARED_MARK, _Mark).task_type
            if task_type is not None and prepared_for != task_type:
                raise InputError(f"--model {model}: {_other_kind(prepared_for, task_type)}")
            return ModelSpec(path.resolve().name, "prepared", str(path.resolve()), prepared_for)
        if not (path / "config.json").is_file():
            raise InputError(f"--model {model}: the folder has no config.json; give a Hugging Face checkpoint's folder")
        return ModelSpec(path.resolve().name, "checkpoint", str(path.resolve()), task_type or "SEQ_CLS")
    if model.count("/") == 1 and not model.startswith((".", "/")):
        return ModelSpec(model, "checkpoint", model, task_type or "SEQ_CLS")
    raise InputError(f"--model {model!r}: no such preset ({', '.join(presets())}), folder, or hub id (owner/name)")


def check_preset(preset: str, task_type: TaskType) -> None:
    """Raises InputError where the preset has no form for ``task_type``."""
    if task_type not in (made_for := preset_shape(preset)["task_types"]):
        raise InputError(f"--model {preset}: {_other_kind(made_for[0], task_type)}")


def _other_kind(found: TaskType, wanted: TaskType) -> str:
    suited = " or ".join(preset for preset in presets() if wanted in preset_shape(preset)["task_types"])
    return (
        f"it is made as a {family(found).noun}, the plan measures a {family(wanted).noun} (task_type {wanted}); take "
        f"{suited}, or a model of your own"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Noticed:
    """What a reader should know of a model's files.

    ``random_weights``: whose files do not hold which parameters, so that they were drawn: ``base: score.weight, ...``.
    ``unused_adapter``: where an adapter lies beside the weights, which was left alone. None: nothing of the kind.
    """

    random_weights: str | None
    unused_adapter: str | None


class Weights:
    """Loads what configurations deploy onto one device. Every call reads or builds anew: nothing is shared."""

    def __init__(self, spec: ModelSpec, device: Device) -> None:
        self.spec, self.device = spec, device
        self._drawn: set[str] = set()
        self._locations: set[str] = set()

    def base(self, configuration: Configuration) -> torch.nn.Module:
        """The base model, in evaluation mode on the device."""
        dtype = torch_dtype(configuration.dtype, self.device.kind)
        if self.spec.kind == "preset_device":
            return self._build(dtype, 0, configuration)
        location = self.spec.base_location
        return self._read(location, dtype, "base", configuration.num_labels, configuration.quantization)

    def fine_tuned(self, configuration: Configuration) -> torch.nn.Module:
        """The fully fine-tuned sibling: its own files, or weights of the same shape, which take the same time."""
        dtype = torch_dtype(configuration.dtype, self.device.kind)
        if configuration.checkpoint is not None:
            return self._read(configuration.checkpoint, dtype, quantization=configuration.quantization)
        if self.spec.kind == "prepared":
            folder = Path(self.spec.location or "", "full_ft", configuration.name)
            if not folder.is_dir():
                raise InputError(f"{folder}: no such model; run `raybench prepare` for this plan")
            return self._read(str(folder), dtype, quantization=configuration.quantization)
        if self.spec.kind == "preset_device":
            return self._build(dtype, _seed(configuration.name), configuration)
        return self.base(configuration)

    def attach(self, model: Any, adapter: Adapter, configuration: Configuration, *, keep_base: bool = False) -> Any:
        """Put ``adapter`` on ``model``, which becomes a PeftModel if it is not yet one.

        ``keep_base``: also one that takes its first weights out of the base (PiSSA) leaves the base as it is, and then
        computes something else: what it changes can be told by that.
        """
        return self._ready(self.put_beside(model, adapter, configuration, keep_base))

    def attach_all(self, model: Any, adapters: Sequence[Adapter], configuration: Configuration) -> Any:
        """Put all of ``adapters`` on ``model``, one after the other; the first one is then the active one.

        What walks through all modules is done once: with each adapter they are more.
        """
        for adapter in adapters:
            model = self.put_beside(model, adapter, configuration, keep_base=False)
        return self._ready(model)

    def _ready(self, adapted: Any) -> Any:
        drop_dropout(adapted)
        return adapted.to(self.device.kind).eval()

    def put_beside(self, model: Any, adapter: Adapter, configuration: Configuration, keep_base: bool = False) -> Any:
        """Put ``adapter`` on ``model`` as PEFT leaves it: with dropout, and with its weights where PEFT puts them."""
        autocast = configuration.adapter_dtype == "float32"
        path = self.adapter_path(adapter)
        if path is None:
            model = add_seeded_adapter(model, adapter, self.spec.task_type, autocast_adapter_dtype=autocast)
        else:
            model = load_adapter(
                model,
                adapter,
                path,
                self.spec.task_type,
                autocast_adapter_dtype=autocast,
                alone=len(configuration.adapters) == 1,
                keep_base=keep_base,
            )
        return model

    def adapter_path(self, adapter: Adapter) -> str | None:
        """The folder or hub id of an adapter's files; None for one that is drawn.

        Raises InputError where a folder has no weights, or none that a prepared model should have is there.
        """
        path = adapter.path
        if path is None and self.spec.kind == "prepared":
            path = str(Path(self.spec.location or "", "adapters", adapter.name))
            if not Path(path).is_dir():
                raise InputError(f"{path}: no such adapter; run `raybench prepare` for this plan")
        if path is not None and Path(path).is_dir() and not Path(path, WEIGHTS).is_file():
            raise InputError(f"{path}: no {WEIGHTS}; only safetensors adapters are loaded")
        return path

    def skeleton(self, configuration: Configuration) -> torch.nn.Module:
        """The base without its weights, on torch's device "meta"."""
        import torch
        from transformers import AutoConfig

        dtype, task_type = torch_dtype(configuration.dtype, self.device.kind), self.spec.task_type
        if self.spec.kind == "preset_device":
            return build(self.spec.name, dtype, "meta", 0, configuration.num_labels, task_type=task_type)
        labels = {} if configuration.num_labels is None else {"num_labels": configuration.num_labels}
        taken = labels if task_type == "SEQ_CLS" else {}
        config = AutoConfig.from_pretrained(self.spec.base_location, trust_remote_code=False, **taken)
        with torch.device("meta"):
            model: torch.nn.Module = family(task_type).auto.from_config(config, dtype=dtype)
        return model.eval()

    def noticed(self) -> Noticed:
        """What was found in the files read since this was last asked."""
        from transformers.utils import find_adapter_config_file

        drawn, locations = sorted(self._drawn), sorted(self._locations)
        self._drawn, self._locations = set(), set()
        beside = [location for location in locations if find_adapter_config_file(location) is not None]
        return Noticed("; ".join(drawn) or None, ", ".join(beside) or None)

    def _build(self, dtype: torch.dtype, seed: int, configuration: Configuration) -> torch.nn.Module:
        for problem in quantization_problems(configuration, self.spec.kind):
            raise InputError(problem)
        return build(
            self.spec.name, dtype, self.device.kind, seed, configuration.num_labels, task_type=self.spec.task_type
        )

    def _read(
        self,
        location: str,
        dtype: torch.dtype,
        whose: str | None = None,
        num_labels: int | None = None,
        quantization: str | None = None,
    ) -> torch.nn.Module:
        from transformers.utils import logging

        logging.disable_progress_bar()
        _check_folder(Path(location))
        # A classifier of another number of labels than the base's is drawn: the adapter brings its own.
        classifies = self.spec.task_type == "SEQ_CLS"
        labels = {"num_labels": num_labels} if classifies and num_labels is not None else {}
        model, report = family(self.spec.task_type).auto.from_pretrained(
            location,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            adapter_kwargs=_NO_ADAPTER,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # said below, in a line that has the sizes
            **labels,
            **loading_options(quantization, dtype, self.device.kind, self.spec.task_type),
        )
        if getattr(model, "peft_config", None):
            raise InputError(
                f"{location}: transformers switched an adapter on; remove {_NO_ADAPTER['subfolder']} there"
            )
        check_sizes(model, report["mismatched_keys"], location, other_head=bool(labels))
        check_layers(model, report["unexpected_keys"], location)
        missing = report["missing_keys"] | {name for name, *_ in report["mismatched_keys"]}
        self._locations.add(location)
        if quantization is not None:
            check_quantized(model, missing, location, quantization)
        if drawn := draw_missing(model, missing, location, self.spec.task_type):
            self._drawn.add(f"{whose or location}: {', '.join(drawn)}")
        return model.to(self.device.kind).eval()


def build(
    preset: str,
    dtype: torch.dtype,
    device_kind: str,
    seed: int,
    num_labels: int | None = None,
    *,
    task_type: TaskType = "SEQ_CLS",
) -> torch.nn.Module:
    """A preset's model with seeded random weights, made directly on the device."""
    import torch
    from transformers import AutoConfig

    values = dict(preset_shape(preset)["config"])
    if num_labels is not None:
        values["num_labels"] = num_labels
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    torch.manual_seed(seed)
    with torch.device(device_kind):
        model: torch.nn.Module = family(task_type).auto.from_config(config, dtype=dtype)
    return model.eval()


def _check_folder(location: Path) -> None:
    """What transformers would read something else instead of, or read by running it."""
    if not location.is_dir():
        return  # a hub id
    if not (location / "config.json").is_file():
        raise InputError(f"{location}: no config.json; give the folder of a whole model, not an adapter's")
    check_weights(location)


def _seed(name: str) -> int:
    return zlib.crc32(name.encode())
