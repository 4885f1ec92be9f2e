"""Weights, prepared presets and requests."""

from typing import TYPE_CHECKING

from raybench.handed_out import names_of

if TYPE_CHECKING:
    from raybench.model.adapter_files import AdapterFiles
    from raybench.model.adapter_kinds import changes_base, of_its_own_base
    from raybench.model.adapter_slot import AdapterSlot, adapter_shape
    from raybench.model.adapters import is_zero, peft_name, without_low_rank
    from raybench.model.chat_template import chat_tokenizer
    from raybench.model.deployable import sharing
    from raybench.model.english import words
    from raybench.model.files import read_json_object
    from raybench.model.fine_tunes import FineTune, FineTunes, find_fine_tunes
    from raybench.model.hub import ModelFiles
    from raybench.model.lengths import Lengths
    from raybench.model.own_memory import take_own_memory
    from raybench.model.positions import positions_of
    from raybench.model.prepare import Recipe, cache_folder, check_checkpoint, prepared, write_preset
    from raybench.model.problems import FileCheck, check_files
    from raybench.model.prompts import Prompts, as_tensors
    from raybench.model.quantization import is_packed, stored_bytes
    from raybench.model.shape import ModelShape, read_shape
    from raybench.model.shipped_shapes import preset_shape, presets
    from raybench.model.sizes import AdapterSize, adapter_size, model_shape
    from raybench.model.text_files import Column, column_names, is_unicode
    from raybench.model.texts import read_texts
    from raybench.model.tokenizer import open_tokenizer, text_tokenizer
    from raybench.model.weights import ModelSpec, Weights, resolve_model
    from raybench.model.whole_texts import read_whole_texts
    from raybench.model.workload import (
        GlueLengths,
        Messages,
        Request,
        Workload,
        draw_token_ids,
        glue_tasks,
        request_of,
    )
else:
    __getattr__ = names_of(__name__)

__all__ = [
    "AdapterFiles",
    "AdapterSize",
    "AdapterSlot",
    "Column",
    "FileCheck",
    "FineTune",
    "FineTunes",
    "GlueLengths",
    "Lengths",
    "Messages",
    "ModelFiles",
    "ModelShape",
    "ModelSpec",
    "Prompts",
    "Recipe",
    "Request",
    "Weights",
    "Workload",
    "adapter_shape",
    "adapter_size",
    "as_tensors",
    "cache_folder",
    "changes_base",
    "chat_tokenizer",
    "check_checkpoint",
    "check_files",
    "column_names",
    "draw_token_ids",
    "find_fine_tunes",
    "glue_tasks",
    "is_packed",
    "is_unicode",
    "is_zero",
    "model_shape",
    "of_its_own_base",
    "open_tokenizer",
    "peft_name",
    "positions_of",
    "prepared",
    "preset_shape",
    "presets",
    "read_json_object",
    "read_shape",
    "read_texts",
    "read_whole_texts",
    "request_of",
    "resolve_model",
    "sharing",
    "stored_bytes",
    "take_own_memory",
    "text_tokenizer",
    "without_low_rank",
    "words",
    "write_preset",
]
