"""Whether an adapter's files are what the plan says they are, and whether they fit the base's files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from raybench.model.adapter_files import AdapterFiles
from raybench.model.checkpoint_files import CheckpointFiles, is_classifier, is_vocabulary
from raybench.plan import Adapter, first_of

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
_MATCH_WITHIN_S = 1.0
_SHOWN = 4
_OTHER_HEADS = frozenset({"flaubert", "xlm", "xlnet"})
"""Model types whose heads have names that PEFT does not take for one."""
_IN_A_LAYER = re.compile(r"\w+\.\d+\..+")
_FINE_TUNE = "a full fine-tune is measured beside its own base; give one of this base"

Targets = tuple[str, ...] | str


def disagreement(adapter: Adapter, files: AdapterFiles, base: CheckpointFiles | None) -> str | None:
    """In one line what ``adapter`` states of itself and its files say otherwise; None where nothing is.

    ``target_modules`` are compared by the modules that they mean, however they are written.
    """
    config = files.config
    found: list[str] = []
    ranks = {config.r} if config.target_parameters else set(files.ranks.values())
    if adapter.r is not None and ranks != {adapter.r}:
        found.append(f"r is {_listed(ranks)}, the plan says {adapter.r}")
    alphas = {config.lora_alpha, *(config.alpha_pattern or {}).values()}
    if adapter.alpha is not None and alphas != {adapter.alpha}:
        found.append(f"alpha is {_listed(alphas)}, the plan says {adapter.alpha:g}")
    if adapter.target_modules is not None and not _same_targets(adapter.target_modules, files, base):
        found.append(f"target_modules are {_shown(files)}, the plan says {_written(adapter.target_modules)}")
    if not found:
        return None
    return (
        f"adapter {adapter.name}: {files.location}: {'; '.join(found)}: make them agree, or leave out of the plan "
        "what is read from the adapter"
    )


def misfits(files: AdapterFiles, base: CheckpointFiles) -> list[str]:
    """What in the adapter's files cannot be of this base, one line each; what its files do not tell is left out."""
    if base.shapes is None or not files.ranks or files.config.layer_replication:
        return []
    own = _modules(base.shapes, files.ranks)
    named = sorted(module for module in files.ranks if not is_vocabulary(module))  # a head that is tied has no weights
    if named and not any(m in own for m in named) and not base.renamed and not files.config.target_parameters:
        lacking = first_of(named, 1)
        return [f"{files.location}: made for another base than {base.location}, which has no {lacking}"]
    places: dict[str, set[str]] = {}
    for name in own:
        places.setdefault(_NUMBER.sub("*", name), set()).add(name)
    absent = sorted(m for m in files.ranks if m not in own and _NUMBER.sub("*", m) in places)
    where = f"{files.location}: made for another base than {base.location}"
    found: list[str] = []
    if absent:
        found.append(f"{where}: it has weights for {first_of(absent, 1)}, which the base has not")
    config = files.config
    if isinstance(config.targets, tuple) and config.exclude_modules is None and config.layers_to_transform is None:
        alike = {name for m in files.ranks for name in places.get(_NUMBER.sub("*", m), ())}
        bare = sorted(name for name in alike - files.ranks.keys() if matches(config.targets, name))
        if bare:
            found.append(f"{where}: it has no weights for {first_of(bare, 1)}, which its target_modules name")
    for module, (inputs, outputs) in files.sizes.items():
        if module in own and {inputs, outputs} != set(own[module]):
            found.append(
                f"{where}: its {module} has {inputs} inputs and {outputs} outputs, the base's weight is "
                f"{' x '.join(map(str, own[module]))}"
            )
            break
    return found


def other_vocabulary(files: AdapterFiles, base: CheckpointFiles) -> str | None:
    """In one line that the adapter has weights for more or fewer tokens than the base; None where it has not."""
    size = base.config.vocabulary
    module, count = next(((m, n) for m, n in sorted(files.tokens.items()) if n != size), (None, None))
    if module is None or size is None:
        return None
    return (
        f"{files.location}: its {module} has {count} tokens, the base {base.location} has {size}: it was trained on a "
        f"base of another vocabulary; give that one, or save this one after resize_token_embeddings({count})"
    )


def without_biases(files: AdapterFiles, base: CheckpointFiles) -> list[str]:
    """Modules in which the adapter has a bias (``lora_bias``) and the base none that it could be merged into."""
    if base.shapes is None:
        return []
    own = _modules(base.shapes, files.ranks)
    # A base that was saved without a head has names without their first part.
    return [
        m for m in files.biased if m in own and not {f"{m}.bias", f"{m.partition('.')[2]}.bias"} & base.shapes.keys()
    ]


def lacks_its_head(files: AdapterFiles, base: CheckpointFiles) -> bool:
    """Whether an adapter of a classifier has not the head that PEFT saves with it, and asks for when it loads it."""
    if files.config.task_type != "SEQ_CLS" or base.config.model_type in _OTHER_HEADS:
        return False
    return not any(is_classifier(name) for name in files.others)


def unlike(tuned: CheckpointFiles, base: CheckpointFiles) -> str | None:
    """In one line why ``tuned`` is no full fine-tune of ``base``; None where its files do not say that it is not.

    The layers are compared: embeddings and heads may have other sizes, as where tokens or labels were added. Of a type
    whose tensors transformers may rename, those of one name are: another version may have saved it under others.
    """
    if tuned.config.model_type != base.config.model_type:
        return (
            f"{tuned.location}: its model_type is {tuned.config.model_type}, that of the base {base.location} is "
            f"{base.config.model_type}: {_FINE_TUNE}"
        )
    own, its = _layer_shapes(tuned), _layer_shapes(base)
    if not own or not its:
        return None
    for name in sorted(own.keys() & its.keys()):
        if own[name] != its[name]:
            said, expected = (" x ".join(map(str, min(shapes))) for shapes in (own[name], its[name]))
            return f"{tuned.location}: its {name} is {said}, that of the base {base.location} {expected}: {_FINE_TUNE}"
    if base.renamed:
        return None
    if more := sorted(own.keys() - its.keys()):
        return f"{tuned.location}: it has {first_of(more, 1)}, the base {base.location} has not: {_FINE_TUNE}"
    if fewer := sorted(its.keys() - own.keys()):
        return f"{tuned.location}: it has no {first_of(fewer, 1)}, as the base {base.location} has: {_FINE_TUNE}"
    return None


def _layer_shapes(files: CheckpointFiles) -> dict[str, set[tuple[int, ...]]]:
    """Of the matrices of numbered layers, named from the layer on: what stands before differs by who saved them."""
    found: dict[str, set[tuple[int, ...]]] = {}
    for name, shape in (files.shapes or {}).items():
        if len(shape) == 2 and (match := _IN_A_LAYER.search(name)):
            found.setdefault(match[0], set()).add(shape)
    return found


def matches(targets: Targets, module: str) -> bool:
    """Whether ``targets`` mean ``module``, by PEFT's rules: a pattern for the whole name, or ends of names.

    A pattern that takes longer than a second to try means nothing: some would take years.
    """
    if isinstance(targets, tuple):
        return any(module == target or module.endswith(f".{target}") for target in targets)
    import regex

    try:
        return regex.fullmatch(targets, module, timeout=_MATCH_WITHIN_S) is not None
    except (regex.error, TimeoutError):
        return False


def _same_targets(stated: Targets, files: AdapterFiles, base: CheckpointFiles | None) -> bool:
    if stated == files.config.targets:
        return True
    modules = files.ranks
    if not modules or files.config.target_parameters:
        return False
    if not all(matches(stated, module) for module in modules):
        return False
    if isinstance(stated, tuple) and not all(any(matches((t,), m) for m in modules) for t in stated):
        return False
    known = _modules(base.shapes, modules) if base is not None and base.shapes is not None else {}
    return not any(matches(stated, name) for name in known if name not in modules)


def _modules(shapes: Mapping[str, tuple[int, ...]], like: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """The base's modules that have a matrix, named as in a sequence classifier.

    A base that was saved without a head has names without its first part (``layers.0``, not ``model.layers.0``).
    """
    found: dict[str, tuple[int, ...]] = {
        n.removesuffix(".weight"): s for n, s in shapes.items() if n.endswith(".weight") and len(s) == 2
    }
    names = list(like)
    first = {name.partition(".")[0] for name in names}
    if len(first) == 1 and not any(name in found for name in names):
        return {f"{min(first)}.{name}": shape for name, shape in found.items()}
    return found


def _shown(files: AdapterFiles) -> str:
    config = files.config
    parts = [_written(config.targets)] if config.targets else []
    parts += [f"(target_parameters) {_written(config.parameters)}"] if config.parameters else []
    return " and ".join(parts)


def _written(targets: Targets) -> str:
    if isinstance(targets, str):
        return repr(targets[:100])
    return ", ".join(targets[:_SHOWN]) + (", ..." if len(targets) > _SHOWN else "")


def _listed(values: Iterable[float]) -> str:
    return " and ".join(f"{value:g}" for value in sorted(values)[:_SHOWN])
