"""Writing a preset as ordinary Hugging Face files: base, tokenizer, adapters and fully fine-tuned siblings."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import raybench
from raybench.model.adapters import WEIGHTS
from raybench.model.architecture import check_architecture
from raybench.model.config_reader import ConfigReader
from raybench.model.seeded import add_seeded_adapter, reseed
from raybench.model.shipped_shapes import preset_shape
from raybench.model.weights import PREPARED_MARK, ModelSpec, build, check_preset
from raybench.plan import Adapter, Plan
from raybench.records import InputError, TaskType

_CORPUS = (
    "the committee said that the report was clear and that the figures it gave were right",
    "a film that never finds its voice is still a film that someone wanted to make",
    "the company bought the smaller firm for two hundred million dollars in the spring",
    "rain is expected in the north while the south stays dry until the end of the week",
    "did the speaker say that every measured value must come with its error",
)

_SLOT = "slot"


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """What a prepared folder holds: enough to write it, and to tell whether one is the right one."""

    preset: str
    adapters: tuple[Adapter, ...]
    full_ft: tuple[str, ...]
    task_type: TaskType = "SEQ_CLS"

    @classmethod
    def of(cls, preset: str, plan: Plan) -> Recipe:
        """All that ``plan`` deploys without bringing its own files. Raises InputError: no preset for its task type."""
        check_preset(preset, plan.task_type)
        adapters = {a.name: a for c in plan.configurations for a in c.adapters if a.path is None}
        full_ft = [c.name for c in plan.configurations if not c.adapters and c.checkpoint is None]
        return cls(preset, tuple(adapters.values()), tuple(full_ft), plan.task_type)

    def content(self) -> dict[str, Any]:
        return {
            "preset": self.preset,
            "shape": preset_shape(self.preset),
            "adapters": [dataclasses.asdict(a) for a in self.adapters],
            "full_ft": list(self.full_ft),
            "task_type": self.task_type,
            "raybench_version": raybench.__version__,
        }

    def digest(self) -> str:
        text = json.dumps(self.content(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def cache_folder() -> Path:
    """Where prepared presets are kept: ``$RAYBENCH_CACHE``, else ``$XDG_CACHE_HOME/raybench``."""
    if chosen := os.environ.get("RAYBENCH_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "raybench"


def prepared(spec: ModelSpec, recipe: Recipe) -> ModelSpec:
    """The spec to load from: a preset of files is written to this machine's cache once, others are as they are."""
    if spec.kind != "preset_files":
        return spec
    folder = cache_folder() / f"{recipe.preset}-{recipe.digest()}"
    write_preset(recipe, folder)
    return ModelSpec(spec.name, "prepared", str(folder), recipe.task_type)


def write_preset(recipe: Recipe, folder: Path) -> bool:
    """Write ``folder`` whole or not at all; False if it was there already.

    Safe against another process doing the same: the first rename wins. Raises InputError where ``folder`` holds
    something else.
    """
    mark = folder / PREPARED_MARK
    if folder.exists():
        with contextlib.suppress(OSError, ValueError):  # absent, or not ours
            if json.loads(mark.read_text("utf-8")) == json.loads(json.dumps(recipe.content())):
                return False
        raise InputError(f"{folder}: exists and is not this preset for this plan; remove it or choose another folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error}; choose another folder") from None
    try:
        _write_models(recipe, scratch)
        (scratch / PREPARED_MARK).write_text(json.dumps(recipe.content(), sort_keys=True, indent=1) + "\n", "utf-8")
        scratch.chmod(0o755)
        try:
            scratch.rename(folder)
        except OSError:
            if not mark.is_file():
                raise
            return False
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return True


def _write_models(recipe: Recipe, folder: Path) -> None:
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()

    def new(seed: int) -> Any:
        return build(recipe.preset, torch.float32, "cpu", seed, task_type=recipe.task_type)

    tokenizer = make_tokenizer(recipe.preset)
    new(0).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    _write_adapters(recipe, folder / "adapters", new(0))
    for name in recipe.full_ft:
        sibling = new(0)
        noise = torch.Generator().manual_seed(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
        with torch.no_grad():
            for parameter in sibling.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=noise) * 0.1 * parameter.std())
        sibling.save_pretrained(folder / "full_ft" / name)


def _write_adapters(recipe: Recipe, folder: Path, model: Any) -> None:
    """Each in a folder as PEFT writes it, on the base ``model``. Those of one shape take turns in one slot of it."""
    import peft
    from safetensors.torch import save_file

    by_shape: dict[tuple[object, ...], list[Adapter]] = {}
    for adapter in recipe.adapters:
        by_shape.setdefault((adapter.r, adapter.alpha, adapter.target_modules), []).append(adapter)
    for adapters in by_shape.values():
        model = add_seeded_adapter(model, adapters[0], recipe.task_type, autocast_adapter_dtype=True, key=_SLOT)
        config = model.peft_config[_SLOT]
        # Not the base's embeddings too, which PEFT saves with an adapter on them. The slot's own tensors, no copies.
        tensors = peft.get_peft_model_state_dict(model, adapter_name=_SLOT, save_embedding_layers=False)
        for adapter in adapters:
            reseed(model, _SLOT, adapter)
            own = folder / adapter.name
            own.mkdir(parents=True)
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, own / WEIGHTS, {"format": "pt"})
            config.save_pretrained(own)
        model = model.unload()


def make_tokenizer(preset: str) -> Any:
    """A small byte-level BPE tokenizer for a preset: any text has ids, and all are below its vocabulary size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=min(1024, int(preset_shape(preset)["config"]["vocab_size"])),
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    start = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", start)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<pad>"
    )


def check_checkpoint(spec: ModelSpec) -> None:
    """Raises InputError where one's own checkpoint has no configuration of a model for the spec's task type."""
    if spec.kind == "checkpoint":
        assert spec.location is not None
        with ConfigReader() as configs:
            check_architecture(spec.location, spec.task_type, configs)
