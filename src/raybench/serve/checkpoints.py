"""What a server loads, as Hugging Face files: the base in the dtype that is served, fine-tunes, merged ones, adapters.

A checkpoint is written once to raybench's cache, with all that it was made from in its name's digest. Merging is
raybench's own, as the strategy ``lora_merged`` does it, so that both measure the same weights.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import raybench
from raybench.deploy import merge
from raybench.machine import open_device
from raybench.model import ModelFiles, ModelSpec, Weights, peft_name, preset_shape, read_json_object
from raybench.plan import Adapter, Configuration
from raybench.records import InputError
from raybench.serve import ascii_vocabulary
from raybench.serve.served import ServedDtype
from raybench.serve.written_once import file_identity, written_once

_STORED: Final[Mapping[ServedDtype, str]] = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_TOKENIZER: Final = re.compile(
    r"tokenizer[\w.]*\.(json|model)|tokenizer\.model\.v\d+|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)"
    r"|merges\.txt|spiece\.model|sentencepiece[\w.]*\.model|tekken\.json|[\w.]+\.tiktoken|chat_template\.(json|jinja)"
)
_ENOUGH: Final = re.compile(r"tokenizer\.(json|model)|vocab\.(json|txt)|spiece\.model|tekken\.json|[\w.]+\.tiktoken")
"""One of these, and there is a tokenizer."""

_OF_HUB: Final = (
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "chat_template.jinja"),
)
_ADAPTER_FILES: Final = ("adapter_config.json", "adapter_model.safetensors")


class Checkpoints:
    """The checkpoints of one language model, served in one dtype. Each method gives a folder, written where it must be.

    ``spec``: a preset of files must have been prepared (`prepared`). Raises InputError where it is no language model.
    """

    def __init__(self, spec: ModelSpec, dtype: ServedDtype) -> None:
        if spec.task_type != "CAUSAL_LM":
            raise InputError(f"--model {spec.name}: an engine serves language models; this one is a {spec.task_type}")
        if spec.kind == "preset_files":
            raise InputError(f"--model {spec.name}: it has no files yet; prepare it first")
        self.spec, self.dtype = spec, dtype
        self._weights = Weights(spec, open_device("cpu"))

    def base(self) -> Path:
        """The base. Its own folder, where that has all that is needed and is of that dtype."""
        if self.spec.location is not None:
            folder = _folder_of(self.spec.base_location)
            if self._is_as_served(folder):
                return folder
        return self._written("base", {}, lambda: self._weights.base(self._configuration("full_ft")))

    def fine_tuned(self, configuration: Configuration) -> Path:
        """A full fine-tune: its own checkpoint, or what stands for one."""
        if configuration.checkpoint is not None:
            folder = _folder_of(configuration.checkpoint)
            if self._is_as_served(folder):
                return folder
            made_from: dict[str, Any] = {"checkpoint": _identity(folder)}
        elif self.spec.kind == "prepared":
            made_from = {"checkpoint": _identity(Path(str(self.spec.location), "full_ft", configuration.name))}
        else:
            made_from = {"named": configuration.name}
        served = dataclasses.replace(configuration, dtype=self.dtype)
        own = [configuration.checkpoint] if configuration.checkpoint is not None else []
        return self._written("full_ft", made_from, lambda: self._weights.fine_tuned(served), own)

    def merged(self, adapter: Adapter) -> Path:
        """The base with ``adapter`` folded into it."""
        configuration = self._configuration("lora_merged", adapter)

        def load() -> Any:
            return merge(self._weights.attach(self._weights.base(configuration), adapter, configuration)).model

        return self._written("merged", {"adapter": self._adapter_identity(adapter)}, load)

    def adapter(self, adapter: Adapter) -> Path:
        """``adapter`` as PEFT saves one: its own folder, or a drawn one written out."""
        path = self._weights.adapter_path(adapter)
        if path is not None:
            return _folder_of(path, _ADAPTER_FILES)
        made_from = {**self._made_from("adapter"), "adapter": self._adapter_identity(adapter)}
        return written_once("adapter", made_from, lambda folder: self._write_adapter(adapter, folder))

    def _configuration(self, strategy: str, *adapters: Adapter) -> Configuration:
        tasks = tuple(adapter.task for adapter in adapters) or ("served",)
        return Configuration("served", strategy, 0, tasks, adapters, dtype=self.dtype)

    def _written(
        self, what: str, made_from: Mapping[str, Any], load: Callable[[], Any], tokenizers: Sequence[str] = ()
    ) -> Path:
        """The folder of what ``load`` loads, with the first tokenizer that is in ``tokenizers``, else the base's."""

        def write(folder: Path) -> None:
            from transformers.utils import logging

            logging.disable_progress_bar()
            model = load()
            model.save_pretrained(folder)
            base = [self.spec.base_location] if self.spec.location is not None else []
            _bring_tokenizer(folder, [*tokenizers, *base])

        return written_once(what, {**self._made_from(what), **made_from}, write)

    def _made_from(self, what: str) -> dict[str, Any]:
        spec = self.spec
        base: Any = preset_shape(spec.name) if spec.location is None else _identity(_folder_of(spec.base_location))
        return {
            "what": what,
            "dtype": self.dtype,
            "base": base,
            "raybench": raybench.__version__,
            "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
        }

    def _adapter_identity(self, adapter: Adapter) -> Any:
        path = self._weights.adapter_path(adapter)
        if path is None:
            return dataclasses.asdict(adapter)
        folder = _folder_of(path, _ADAPTER_FILES)
        return file_identity(folder / name for name in _ADAPTER_FILES)

    def _is_as_served(self, folder: Path) -> bool:
        """Whether an engine can load the folder itself: its dtype, a tokenizer, and no adapter beside the weights."""
        names = {path.name for path in folder.iterdir()}
        if _ADAPTER_FILES[0] in names or not any(map(_ENOUGH.fullmatch, names)):
            return False
        files = weight_files(folder)
        # A hub's cache has what was fetched so far.
        return all(map(Path.is_file, files)) and all(stored_kinds(file) <= {_STORED[self.dtype]} for file in files)

    def _write_adapter(self, adapter: Adapter, folder: Path) -> None:
        import peft
        from safetensors.torch import save_file

        configuration, key = self._configuration("lora_separate", adapter), peft_name(adapter.name)
        adapted: Any = self._weights.attach(self._weights.base(configuration), adapter, configuration)
        tensors = peft.get_peft_model_state_dict(adapted, adapter_name=key, save_embedding_layers=False)
        own = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(own, folder / _ADAPTER_FILES[1], {"format": "pt"})
        adapted.peft_config[key].save_pretrained(folder)


def _bring_tokenizer(folder: Path, locations: Sequence[str]) -> None:
    """Beside weights that were just written: that of the first location that has one, else one of ASCII words."""
    for location in locations:
        source = _folder_of(location, _OF_HUB, needed=False)
        found = [path for path in source.iterdir() if _TOKENIZER.fullmatch(path.name) and path.is_file()]
        if any(_ENOUGH.fullmatch(path.name) for path in found):
            for path in found:
                shutil.copyfile(path, folder / path.name)
            return
    config = read_json_object(folder / "config.json")
    ascii_vocabulary.write_tokenizer(config, vocabulary_size(config, folder), folder)


def vocabulary_size(config: Mapping[str, Any], where: Path) -> int:
    """How many tokens a model knows, by its configuration. Raises InputError where that does not say."""
    size = config.get("vocab_size")
    if size is None and isinstance(config.get("text_config"), dict):
        size = config["text_config"].get("vocab_size")
    if not isinstance(size, int) or not 0 < size <= 2**24:
        raise InputError(f"{where}: its config.json has no vocab_size, so that no tokenizer can be made for it")
    return size


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that a checkpoint's weights are in, whether or not they are there."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return [folder / "model.safetensors"]
    shards = read_json_object(index).get("weight_map")
    names = set(shards.values()) if isinstance(shards, dict) else set()
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise InputError(f"{index}: it does not say in which files of its folder the weights are")
    return [folder / name for name in sorted(names)]


def stored_kinds(file: Path) -> set[str]:
    """The floating-point types of a safetensors file's tensors, as it calls them: ``F32``, ``BF16``."""
    from safetensors import safe_open

    with safe_open(file, framework="np") as tensors:
        kinds = {str(tensors.get_slice(name).get_dtype()) for name in tensors.keys()}  # noqa: SIM118
    return {kind for kind in kinds if kind.startswith(("F", "BF"))}


def _folder_of(location: str, names: tuple[str, ...] = ("config.json",), *, needed: bool = True) -> Path:
    """The folder that holds the files of a folder or hub id, those called ``names`` among them where ``needed``."""
    if Path(location).is_dir():
        return Path(location)
    files, folder = ModelFiles(), None
    for name in names:
        try:
            folder = files.path(location, name).parent
        except InputError:
            if needed:
                raise
    return folder if folder is not None else files.path(location, "config.json").parent


def _identity(folder: Path) -> list[list[Any]]:
    """Of a checkpoint: its weights, its configuration and its tokenizer. In a hub's cache a commit is all that."""
    if folder.parent.name == "snapshots":
        return [[folder.parent.parent.name, folder.name]]
    kept = (path for path in folder.iterdir() if path.suffix in (".safetensors", ".json", ".jinja", ".model", ".txt"))
    return file_identity(path for path in kept if path.is_file())
