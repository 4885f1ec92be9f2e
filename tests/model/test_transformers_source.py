"""What is read in transformers' source is what transformers says once it is imported."""

from __future__ import annotations

import subprocess
import sys

from transformers.conversion_mapping import get_checkpoint_conversion_mapping
from transformers.models.auto import modeling_auto

from raybench.model.families import FAMILIES
from raybench.model.transformers_source import class_table, may_rename


def test_the_tables_are_those_of_the_imported_module() -> None:
    for family in FAMILIES.values():
        assert class_table(family.mapping_name) == dict(getattr(modeling_auto, family.mapping_name))


def test_a_model_type_is_renamed_where_transformers_has_a_mapping_for_it() -> None:
    types = set(class_table("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"))
    renamed = {name for name in types if may_rename(name)}
    assert renamed == {name for name in types if get_checkpoint_conversion_mapping(name) is not None}
    assert "mixtral" in renamed
    assert not may_rename("llama")


def test_neither_imports_torch() -> None:
    code = """
import sys
from raybench.model.transformers_source import class_table, may_rename
print(class_table("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES")["llama"], may_rename("llama"), "transformers" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "LlamaForCausalLM False False\n"
