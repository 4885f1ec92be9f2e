"""Forms and execution in plans: what a configuration is compared as, and what cannot be asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from plan.plan_texts import ADAPTERS, HEAD, MATRIX, MULTI, read, refusal
from raybench.deploy.strategies import all_traits
from raybench.plan.plan import Configuration
from raybench.sweep.describe import deployment

FUSED = MATRIX.replace("x_{task}", "fused_{task}") + 'form = "fused"\n'
MERGED = MATRIX.replace("x_{task}", "merged_{task}").replace("lora_separate", "lora_merged")
MERGED_FUSED = MERGED.replace("merged_{task}", "merged_fused_{task}") + 'form = "fused"\n'
LANGUAGE_MODEL = 'task_type = "CAUSAL_LM"\n[workload]\nprompt_tokens = [4]\noutput_tokens = 2\n'
REFERENCES = 'references = ["lora_merged", "lora_merged_fused"]\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plan.toml"


def made(path: Path, *more: str, table: str = MATRIX) -> Configuration:
    plan, _ = read(path, HEAD + ADAPTERS + table + "".join(f"{line}\n" for line in more))
    return plan.configurations[0]


@pytest.mark.parametrize(
    ("more", "form", "execution", "role", "label"),
    [
        ((), None, "eager", "lora_separate", "LoRA Separate"),
        (('form = "peft"',), None, "eager", "lora_separate", "LoRA Separate"),
        (('form = "lean"',), "lean", "eager", "lora_separate_lean", "LoRA Separate (lean)"),
        (('execution = "compile"',), None, "compile", "lora_separate_compile", "LoRA Separate (compiled)"),
        (
            ('execution = "compile_static"',),
            None,
            "compile_static",
            "lora_separate_compile_static",
            "LoRA Separate (compiled by length)",
        ),
        (
            ('form = "lean"', 'execution = "cudagraph"'),
            "lean",
            "cudagraph",
            "lora_separate_lean_cudagraph",
            "LoRA Separate (lean, CUDA graph)",
        ),
        (
            ('form = "fused"', 'execution = "compile"'),
            "fused",
            "compile",
            "lora_separate_fused_compile",
            "LoRA Separate (fused, compiled)",
        ),
        (('form = "lean"', 'role = "mine"'), "lean", "eager", "mine", "mine"),
    ],
)
def test_a_configuration_is_compared_as_what_it_does_beside_the_usual(
    path: Path, more: tuple[str, ...], form: str | None, execution: str, role: str, label: str
) -> None:
    found = made(path, *more)
    assert (found.form, found.execution, found.role) == (form, execution, role)
    assert found.is_usual == (form is None and execution == "eager")
    assert deployment(found, all_traits()) == label


def test_like_is_compared_with_like_in_one_block(path: Path) -> None:
    claim = '[[claims]]\nstrategy = "lora_separate_fused"\nreference = "lora_merged_fused"\n'
    plan, _ = read(path, HEAD + REFERENCES + claim + ADAPTERS + MATRIX + FUSED + MERGED + MERGED_FUSED)
    compared = {
        (c.configuration, c.reference_strategy): [r.configuration for r in c.references] for c in plan.comparisons
    }
    assert compared["fused_mrpc_1", "lora_merged_fused"] == ["merged_fused_mrpc_1"]
    assert compared["fused_mrpc_1", "lora_merged"] == ["merged_mrpc_1"]
    assert compared["x_mrpc_1", "lora_merged"] == ["merged_mrpc_1"]
    (block,) = (block for block in plan.blocks if block.name == "mrpc_seed1")
    assert [c.name for c in block.configurations] == [
        "x_mrpc_1",
        "fused_mrpc_1",
        "merged_mrpc_1",
        "merged_fused_mrpc_1",
    ]


@pytest.mark.parametrize("tables", [MATRIX + FUSED, FUSED + MATRIX])
def test_the_counterparts_of_several_adapters_are_the_usual_ones(path: Path, tables: str) -> None:
    plan, _ = read(path, HEAD + ADAPTERS + tables + MULTI + 'form = "stacked"\n')
    (block,) = (block for block in plan.blocks if block.name == "both")
    assert [c.name for c in block.guests] == ["x_mrpc_1", "x_sst2_1"]
    assert [c.role for c in block.members] == ["multi_lora_stacked"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            ADAPTERS + MATRIX + 'form = "remerge"\n',
            "matrix[0].form: unknown form of lora_separate 'remerge'; expected one of fused, lean, peft",
        ),
        (
            ADAPTERS + MATRIX.replace("lora_separate", "lora_merged") + 'form = "lean"\n',
            "matrix[0].form: unknown form of lora_merged 'lean'; expected one of fused, plain; did you mean 'plain'?",
        ),
        (
            ADAPTERS + MULTI + 'form = "remerge"\nrouting = "mixed"\nbatch = 2\n',
            "configurations[0].form: remerge has one adapter in its weights at a time; stacked mixes several",
        ),
        (
            ADAPTERS + MULTI + 'execution = "compile"\nrouting = "mixed"\nbatch = 2\n',
            "configurations[0].execution: compile mixes adapters in form stacked only",
        ),
        (
            ADAPTERS + MULTI + 'execution = "cudagraph"\n',
            "configurations[0].execution: a captured graph keeps one of PEFT's adapters; give form stacked or remerge",
        ),
        *(
            (
                LANGUAGE_MODEL + ADAPTERS + MULTI + f'form = "stacked"\nexecution = "{execution}"\n',
                f"configurations[0].execution: {execution} serves classifiers; a language model takes eager or compile",
            )
            for execution in ("compile_static", "cudagraph")
        ),
        (
            f"{REFERENCES}{ADAPTERS}{MATRIX}{MERGED}",
            "references[1]: unknown strategy 'lora_merged_fused'; expected one of base_beside_lora, delay, "
            "full_ft, lora_merged, lora_separate, multi_lora; did you mean 'lora_merged'?",
        ),
    ],
)
def test_what_cannot_be_is_refused(path: Path, text: str, message: str) -> None:
    assert refusal(path, HEAD + text) == message
