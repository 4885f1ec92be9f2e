"""``raybench prepare``: a preset as Hugging Face files, which any sweep with its plan then takes."""

from __future__ import annotations

from raybench.deploy import all_traits
from raybench.model import Recipe, cache_folder, glue_tasks, preset_shape, write_preset
from raybench.plan import load_plan
from raybench.records import InputError, count
from raybench.report import say, shell_command
from raybench.sweep.plan_options import PrepareOptions


def run_prepare(preset: str, options: PrepareOptions) -> int:
    """``raybench prepare``: 0. Raises InputError for a preset without files, a bad plan, a folder of something else."""
    if preset_shape(preset)["store"] != "files":
        raise InputError(f"{preset} is built on the device from its shape; there is nothing to prepare")
    parsed, _ = load_plan(options.plan, all_traits(), glue_tasks())
    recipe = Recipe.of(preset, parsed)
    folder = options.out or cache_folder() / f"{recipe.preset}-{recipe.digest()}"
    made = write_preset(recipe, folder)
    say(
        f"{folder}: {'written' if made else 'there already'}; {count(len(recipe.adapters), 'adapter')}, "
        f"{count(len(recipe.full_ft), 'fully fine-tuned model')}"
    )
    say(f"Use it: {shell_command(['raybench', 'sweep', '--plan', options.plan, '--model', str(folder)])}")
    return 0
