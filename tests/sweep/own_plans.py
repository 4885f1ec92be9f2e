"""A classifier and a language model of a few thousand weights, and adapters of each, as a person has them."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoModelForCausalLM, LlamaForCausalLM, LlamaForSequenceClassification

from command_lines import told
from model.small_checkpoints import llama_config, save_adapter, save_model
from raybench.model.prepare import make_tokenizer
from raybench.plan.builder import Overrides
from raybench.records import Problems
from raybench.sweep.fine_tune_options import FineTuneOptions
from raybench.sweep.own_plan import OwnPlan, check_own_plan


def save_fine_tunes(folder: Path) -> None:
    """``classifier`` with ``support`` and ``sales``, ``lm`` with ``chat`` and ``code``; both have a tokenizer."""
    classifier = save_model(
        LlamaForSequenceClassification, llama_config(vocab_size=1024, num_labels=3), folder / "classifier"
    )
    save_adapter(classifier, folder / "support")
    save_adapter(classifier, folder / "sales", seed=1, r=2)
    lm = save_model(LlamaForCausalLM, llama_config(vocab_size=1024), folder / "lm")
    save_adapter(lm, folder / "chat", AutoModelForCausalLM)
    save_adapter(lm, folder / "code", AutoModelForCausalLM, seed=1, use_rslora=True)
    for base in (classifier, lm):
        make_tokenizer("micro").save_pretrained(base)


def init_options(*arguments: str) -> FineTuneOptions:
    """What ``raybench init`` is told by these words."""
    found: FineTuneOptions = told(["init", *arguments])
    return found


def own_plan(*arguments: str) -> tuple[OwnPlan | None, list[str]]:
    """What is made of these words, and what is wrong with them."""
    problems, options = Problems(), init_options(*arguments)
    return check_own_plan(options, Overrides(engine_python=options.engine_python), problems), problems.found
