"""Checkpoints and LoRA adapters of Llama models as GGUF files, which llama.cpp reads. By the package gguf.

Names, metadata and the order of rows are those of llama.cpp's architecture "llama" (`llama_layout`). The vocabulary is
one of ASCII words (`ascii_vocabulary`), whatever the base's tokenizer is: prompts are sent as token ids, and each token
of an answer is text by itself.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from raybench.model import AdapterFiles, ModelFiles, read_json_object
from raybench.records import InputError
from raybench.serve import ascii_vocabulary
from raybench.serve.checkpoints import weight_files
from raybench.serve.llama_layout import LlamaLayout
from raybench.serve.rope import rope_factors, rope_of
from raybench.serve.served import ServedDtype
from raybench.serve.written_once import file_identity, written_once

_ARCHITECTURE: Final = "llama"
_MODEL: Final = "model.gguf"
_ADAPTER: Final = "adapter.gguf"

_TYPES: Final[Mapping[ServedDtype, tuple[str, str]]] = {
    "float32": ("F32", "ALL_F32"),
    "float16": ("F16", "MOSTLY_F16"),
    "bfloat16": ("BF16", "MOSTLY_BF16"),
}
"""What gguf calls a tensor's type, and that of a file."""

_LORA: Final = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
_NORMAL_TOKEN, _UNKNOWN_TOKEN, _CONTROL_TOKEN = 1, 2, 3


def gguf_model(checkpoint: Path, dtype: ServedDtype) -> Path:
    """The checkpoint in a folder, a Llama model, as one GGUF file in raybench's cache.

    Raises InputError where gguf is not installed, or the model is not one that llama.cpp's "llama" computes the same.
    """
    gguf = _gguf()
    config = read_json_object(checkpoint / "config.json")
    shape = LlamaLayout(config, checkpoint)
    files = weight_files(checkpoint)

    def write(folder: Path) -> None:
        writer = gguf.GGUFWriter(folder / _MODEL, _ARCHITECTURE)
        _describe(writer, gguf, config, shape, dtype)
        _write(writer, gguf, _model_tensors(files, shape, config), dtype)

    made_from = {"what": "gguf", "dtype": dtype, "files": file_identity([checkpoint / "config.json", *files])}
    return written_once("gguf", {**made_from, "gguf": _version()}, write) / _MODEL


def gguf_adapter(adapter: Path, base: Path) -> Path:
    """A LoRA adapter's folder as a GGUF file in raybench's cache, in float32; ``base``: the checkpoint it is for.

    Raises InputError as `gguf_model`, and where llama.cpp cannot compute an adapter of its kind.
    """
    gguf = _gguf()
    shape = LlamaLayout(read_json_object(base / "config.json"), base)
    files = AdapterFiles.read(str(adapter), ModelFiles(), "CAUSAL_LM")
    written = read_json_object(adapter / "adapter_config.json")
    _check_adapter(adapter, files, written)

    def write(folder: Path) -> None:
        writer = gguf.GGUFWriter(folder / _ADAPTER, _ARCHITECTURE)
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", float(files.config.lora_alpha))
        by_root = bool(written.get("use_rslora"))
        _write(writer, gguf, _adapter_tensors(adapter, shape, by_root=by_root), "float32")

    read = [adapter / "adapter_config.json", adapter / "adapter_model.safetensors", base / "config.json"]
    made_from = {"what": "gguf adapter", "files": file_identity(read), "gguf": _version()}
    return written_once("gguf-adapter", made_from, write) / _ADAPTER


def _model_tensors(files: list[Path], shape: LlamaLayout, config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and tensors as llama.cpp has them."""
    from safetensors import safe_open

    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in sorted(tensors.keys()):
                if name == "lm_head.weight" and config.get("tie_word_embeddings"):
                    continue  # llama.cpp takes the embedding where there is no output
                new_name, ordered = shape.gguf_name(name)
                yield new_name, ordered(tensors.get_tensor(name))
    if (factors := rope_factors(config, shape.head, shape.where)) is not None:
        yield "rope_freqs.weight", factors


def _adapter_tensors(adapter: Path, shape: LlamaLayout, *, by_root: bool) -> Iterator[tuple[str, Any]]:
    """A and B of each module. llama.cpp scales by alpha / r; of a scale of alpha / sqrt(r) the rest is put into B."""
    from safetensors import safe_open

    with safe_open(adapter / "adapter_model.safetensors", framework="pt") as tensors:
        for name in sorted(tensors.keys()):
            found = _LORA.fullmatch(name)
            if found is None:
                raise InputError(f"adapter {adapter}: llama.cpp computes plain LoRA only; this one has {name}")
            new_name, ordered = shape.gguf_name(f"{found[1]}.weight")
            tensor = tensors.get_tensor(name).float()
            if found[2] == "B":
                tensor = ordered(tensor) * (tensor.shape[1] ** 0.5 if by_root else 1.0)
            yield f"{new_name}.lora_{found[2].lower()}", tensor.contiguous()


def _check_adapter(adapter: Path, files: AdapterFiles, written: Mapping[str, Any]) -> None:
    """Raises InputError where an adapter has more than pairs of A and B for linear layers, all with one alpha."""
    config = files.config
    kinds = {
        "DoRA": config.use_dora,
        "an alpha of its own for some modules": config.alpha_pattern,
        "trained biases": config.bias != "none" or files.biased,
        "whole modules of its own": files.own_modules or files.others,
        "an activated kind (aLoRA)": config.alora_invocation_tokens,
        "replicated layers": config.layer_replication,
        "target_parameters": config.target_parameters,
        "transposed weights (fan_in_fan_out)": written.get("fan_in_fan_out"),
        "embeddings": any("lora_embedding" in name for name in files.shapes),
    }
    if found := [kind for kind, has in kinds.items() if has]:
        raise InputError(f"adapter {adapter}: llama.cpp computes plain LoRA only; this one has {', '.join(found)}")


def _describe(writer: Any, gguf: Any, config: Mapping[str, Any], shape: LlamaLayout, dtype: ServedDtype) -> None:
    writer.add_type("model")
    writer.add_file_type(getattr(gguf.LlamaFileType, _TYPES[dtype][1]))
    writer.add_vocab_size(shape.vocabulary)
    writer.add_context_length(shape.positions)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head)
    writer.add_value_length(shape.head)
    writer.add_layer_norm_rms_eps(float(config.get("rms_norm_eps", 1e-6)))
    writer.add_rope_dimension_count(shape.head)
    rope = rope_of(config, shape.where)
    writer.add_rope_freq_base(rope.base)
    if rope.linear_factor is not None:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope.linear_factor)
    _describe_vocabulary(writer, config, shape.vocabulary)


def _describe_vocabulary(writer: Any, config: Mapping[str, Any], size: int) -> None:
    """As SentencePiece's are: the letter U+2581 is a space."""
    special = ascii_vocabulary.special_tokens(config, size)
    unknown = ascii_vocabulary.unknown_token(special)
    kinds = [_NORMAL_TOKEN] * size
    for token in special.values():
        kinds[token] = _CONTROL_TOKEN
    kinds[unknown] = _UNKNOWN_TOKEN
    words = zip(ascii_vocabulary.words(config, size), kinds, strict=True)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([f"\u2581{word}" if kind == _NORMAL_TOKEN else word for word, kind in words])
    writer.add_token_scores([-float(token) for token in range(size)])
    writer.add_token_types(kinds)
    for role, token in special.items():
        getattr(writer, f"add_{role}_token_id")(token)
    writer.add_unk_token_id(unknown)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)


def _write(writer: Any, gguf: Any, tensors: Iterator[tuple[str, Any]], dtype: ServedDtype) -> None:
    """Matrices in ``dtype``; what has one dimension, as norms and biases, in float32, as llama.cpp wants it."""
    import torch

    for name, tensor in tensors:
        if dtype == "float32" or tensor.dim() < 2:
            writer.add_tensor(name, tensor.float().contiguous().numpy())
        elif dtype == "float16":
            writer.add_tensor(name, tensor.to(torch.float16).contiguous().numpy())
        else:
            raw = tensor.to(torch.bfloat16).contiguous().view(torch.uint8).numpy()
            writer.add_tensor(name, raw, raw_dtype=getattr(gguf.GGMLQuantizationType, _TYPES[dtype][0]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def check_gguf() -> None:
    """Raises InputError where raybench's own environment, that of the engine or not, cannot write such files."""
    if importlib.util.find_spec("gguf") is None:
        raise InputError(
            "llama.cpp: its files are written by the package gguf, which raybench's own environment does not have: pip "
            "install 'raybench[gguf]'"
        )


def _gguf() -> Any:
    check_gguf()
    return importlib.import_module("gguf")


def _version() -> str:
    from importlib.metadata import version

    return version("gguf")
