"""Whether adapters can be deployed as a configuration says: merged, resident together, or mixed within a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from raybench.model.adapter_files import AdapterFiles
from raybench.model.adapter_kinds import why_alone
from raybench.model.checkpoint_files import CheckpointFiles
from raybench.model.fit import without_biases
from raybench.model.mixed_batches import unmixable
from raybench.plan import Configuration, first_of

_APART = "PEFT cannot hold them on one base: measure them apart"
_STARTS = 8
"""With how many adapters it is tried which others can join them."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sharing:
    """Adapters that can be resident on one base, by name in the order in which PEFT loads them, and why not others.

    ``without``: of each adapter that cannot join them, its name and why, in one line.
    """

    names: tuple[str, ...]
    without: tuple[tuple[str, str], ...]


def sharing(adapters: Mapping[str, AdapterFiles], base: CheckpointFiles | None, *, mixed: bool = False) -> Sharing:
    """The most of ``adapters`` that PEFT can hold on one base and, if ``mixed``, compute in one batch."""

    def problems(names: Sequence[str]) -> list[str]:
        chosen = {name: adapters[name] for name in names}
        return [*_together(chosen, base), *(unmixable(chosen) if mixed else ())]

    def joined(order: Sequence[str]) -> list[str]:
        chosen: list[str] = []
        for name in order:
            if not problems([*chosen, name]):
                chosen.append(name)
        return chosen

    # Single tokens that were trained come last: PEFT loads no others after them.
    order = sorted(adapters, key=lambda name: adapters[name].trains_tokens)
    tries = [joined([name, *(other for other in order if other != name)]) for name in order[:_STARTS]]
    best = set(max(tries, key=lambda names: len(names), default=()))
    names = [name for name in order if name in best]
    without = [(name, problems([*names, name])[0]) for name in adapters if name not in best]
    return Sharing(tuple(names), tuple(without))


def deployment_problems(
    configuration: Configuration, adapters: Mapping[str, AdapterFiles], base: CheckpointFiles | None
) -> Iterator[str]:
    """One line for each thing that PEFT cannot do with ``adapters``, those of the configuration that have files."""
    found: list[str] = []
    if configuration.strategy == "lora_merged":
        found += _merged(adapters, base)
    if len(configuration.adapters) > 1:
        found += _together(adapters, base)
    if configuration.routing == "mixed":
        found += (
            f'{why}: PEFT computes no batch of several adapters with it (adapter_names); take routing = "round_robin"'
            for why in unmixable(adapters)
        )
    return (f"configuration {configuration.name}: {line}" for line in found)


def _merged(adapters: Mapping[str, AdapterFiles], base: CheckpointFiles | None) -> Iterator[str]:
    for name, files in adapters.items():
        if base is not None and (bare := without_biases(files, base)):
            yield (
                f"adapter {name} has biases (lora_bias) for {first_of(bare, 1)}, where the base has none that they "
                "could be merged into: measure it separate"
            )


def _together(adapters: Mapping[str, AdapterFiles], base: CheckpointFiles | None) -> Iterator[str]:
    """What keeps adapters from being resident on one base."""
    classifies = any(files.task_type == "SEQ_CLS" for files in adapters.values())
    labels = {
        name: files.labels if files.labels is not None or base is None else base.labels
        for name, files in adapters.items()
    }
    if classifies and len({n for n in labels.values() if n is not None}) > 1:
        said = ", ".join(f"{name} {n}" for name, n in labels.items() if n is not None)
        yield f"its adapters have other numbers of labels ({said}); {_APART}"
    for name, files in adapters.items():
        if files.config.bias != "none":
            yield (
                f"adapter {name} ({files.config.bias}) has trained biases; PEFT holds such an adapter on a base alone: "
                "measure it apart"
            )
            break
    for name, files in adapters.items():
        if (why := why_alone(f"adapter {name} in {files.location}", files.config)) is not None:
            yield why
    names = list(adapters)
    first = next((place for place, name in enumerate(names) if adapters[name].trains_tokens), len(names))
    after = next((name for name in names[first:] if not adapters[name].trains_tokens), None)
    if after is not None:
        yield (
            f"PEFT cannot load adapter {after} after {names[first]}, which has single tokens trained "
            f"(trainable_token_indices): name {after} before it"
        )
    parameters = {name: files.config.parameters for name, files in adapters.items() if files.config.parameters}
    if len(set(parameters.values())) > 1:
        said = ", ".join(f"{name} {'+'.join(found)}" for name, found in parameters.items())
        yield f"its adapters have other target_parameters ({said}); {_APART}"
