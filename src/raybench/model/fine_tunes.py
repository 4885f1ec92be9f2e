"""One's own fine-tunes as their files describe them: a base and its adapters; enough to write a plan."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from raybench.model.adapter_files import CONFIG, AdapterFiles
from raybench.model.architecture import not_supported
from raybench.model.checkpoint_files import CheckpointFiles, labels_in
from raybench.model.families import FAMILIES
from raybench.model.files import FromFile, read_json
from raybench.model.hub import ModelFiles
from raybench.model.shape import ModelShape, read_shape
from raybench.model.shipped_shapes import preset_shape
from raybench.model.sizes import preset_files
from raybench.model.weights import ModelSpec, resolve_model
from raybench.plan import first_of
from raybench.records import InputError, Problems, TaskType

_SHOWN = 4


class _ToldOfAdapter(FromFile):
    """What an adapter_config.json tells of its kind."""

    peft_type: str | None = None
    task_type: str | None = None
    auto_mapping: dict[str, Any] | None = None
    use_dora: bool = False
    use_rslora: bool = False


class _ToldOfBase(FromFile):
    architectures: Annotated[list[str], Field(max_length=100)] | None = None
    is_encoder_decoder: bool | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class FineTune:
    """One adapter. ``location``: an absolute path or a hub id; ``full_ft``: that of a full fine-tune of the same task.

    ``about``: what its ``files`` say of it, in a few words.
    """

    name: str
    location: str
    about: str
    files: AdapterFiles
    full_ft: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class FineTunes:
    """What there is to compare. ``base``: a preset, an absolute path or a hub id; ``positions``: tokens that it takes.

    ``about_base``: what its ``base_files`` say of it, in a few words; ``parameters``: None where they do not say.
    """

    base: str
    spec: ModelSpec
    task_type: TaskType
    positions: int | None
    about_base: str
    base_files: CheckpointFiles
    parameters: int | None
    adapters: tuple[FineTune, ...]


def find_fine_tunes(
    model: str, adapters: Sequence[tuple[str, str]], full_ft: Mapping[str, str], problems: Problems
) -> FineTunes | None:
    """Read the files of the base ``model``, of ``adapters`` (name, place) and where those of ``full_ft`` are.

    What is wrong goes to ``problems``, a line for each file; what cannot be used is then left out. None where nothing
    could be compared at all.
    """
    files = ModelFiles()
    base = None
    with problems.gathered():
        base = _read_base(model, files)
    told: dict[str, tuple[str, _ToldOfAdapter]] = {}
    for name, place in adapters:
        location = absolute(place)
        with problems.gathered(), _named(f"adapter {name}"):
            told[name] = location, read_json(files.path(location, CONFIG), _ToldOfAdapter)
    task_type = _task_type(told, base, problems)
    found: list[FineTune] = []
    for name, (location, kind) in told.items():
        stated = _stated(kind)
        if stated in FAMILIES and stated != task_type:
            continue  # told already
        if task_type is None and stated is None:
            continue  # as what to read it is not known
        with problems.gathered(), _named(f"adapter {name}"):
            read = AdapterFiles.read(location, files, task_type or "CAUSAL_LM")
            full = full_ft.get(name)
            found.append(FineTune(name, location, _about(read, kind), read, None if full is None else absolute(full)))
    if base is None or task_type is None or not found:
        return None
    return FineTunes(
        base=base.location,
        spec=base.spec,
        task_type=task_type,
        positions=base.files.positions,
        about_base=base.about(task_type),
        base_files=base.files,
        parameters=base.shape(task_type).parameters,
        adapters=tuple(found),
    )


def absolute(place: str) -> str:
    """A folder's whole path; a hub id, or what is neither, as it is."""
    path = Path(place)
    try:
        return str(path.resolve()) if path.is_dir() else place
    except (OSError, ValueError):  # too long, or with a null byte
        return place


@dataclasses.dataclass(frozen=True, slots=True)
class _Base:
    location: str
    spec: ModelSpec
    files: CheckpointFiles
    config: Path | Mapping[str, Any]
    told: _ToldOfBase

    def shape(self, task_type: TaskType) -> ModelShape:
        return read_shape(self.config, self.files.shapes, task_type)

    def about(self, task_type: TaskType) -> str:
        shape, config = self.shape(task_type), self.files.config
        parts = [config.model_type]
        parts += [f"{shape.layers} layers"] if shape.layers is not None else []
        parts += [f"{_count(shape.parameters)} parameters"] if shape.parameters is not None else []
        parts += [f"saved in {shape.dtype}"] if shape.dtype is not None else []
        parts += [f"{self.files.positions:,} positions"] if self.files.positions is not None else []
        if task_type == "SEQ_CLS" and self.spec.kind == "checkpoint":
            parts.append(_labels(self.files))
        if task_type == "CAUSAL_LM" and shape.tied is not None:
            parts.append("output tied to the embeddings" if shape.tied else "an output layer of its own")
        return ", ".join(parts)


def _read_base(model: str, files: ModelFiles) -> _Base:
    spec = resolve_model(model, None)
    if spec.is_preset:
        return _Base(spec.name, spec, preset_files(spec), preset_shape(spec.name)["config"], _ToldOfBase())
    if spec.kind == "prepared":  # the base in it is one as any other
        spec = resolve_model(spec.base_location, spec.task_type)
    location = spec.base_location
    with _named("the base"):
        checkpoint = CheckpointFiles.read(location, files)
        path = files.path(location, "config.json")
        told = read_json(path, _ToldOfBase)
        if told.is_encoder_decoder:  # whatever its adapters are for
            raise InputError(not_supported(location, checkpoint.config.model_type))
        return _Base(location, spec, checkpoint, path, told)


def _task_type(
    told: Mapping[str, tuple[str, _ToldOfAdapter]], base: _Base | None, problems: Problems
) -> TaskType | None:
    """What the adapters were trained for, by what they say, else by what the base was saved as."""
    words = {name: word for name, (_, kind) in told.items() if (word := _stated(kind)) is not None}
    stated = {name: word for name, word in words.items() if word in FAMILIES}
    if stated:
        first = next(iter(stated))
        for name in stated:
            if stated[name] != stated[first]:
                problems.found.append(
                    f"adapter {name}: {told[name][0]}: its task_type is {stated[name]}, that of adapter {first} is "
                    f"{stated[first]}: one run measures one of them; give the others to a run of their own"
                )
        return next(known for known in FAMILIES if known == stated[first])
    if base is None or len(words) == len(told):
        return None
    if base.spec.is_preset:
        return base.spec.task_type
    for known, wanted in FAMILIES.items():
        if any(wanted.has_class(name) for name in base.told.architectures or ()):
            return known
    first = next(name for name in told if name not in words)
    saved_as = first_of([name[:60] for name in base.told.architectures or ()], 1) or "nothing"
    problems.found.append(
        f"adapter {first}: {told[first][0]}: neither its adapter_config.json says its "
        f"task_type, nor the base what it is ({base.location}: architectures: {saved_as}): set task_type in "
        f"{CONFIG} to one of {', '.join(FAMILIES)}"
    )
    return None


def _stated(kind: _ToldOfAdapter) -> str | None:
    """The task type that it says, or that follows from the class it was made on."""
    if kind.task_type is not None:
        return kind.task_type
    made_on = str((kind.auto_mapping or {}).get("base_model_class") or "")
    return next((known for known, wanted in FAMILIES.items() if made_on and wanted.has_class(made_on)), None)


def _about(files: AdapterFiles, kind: _ToldOfAdapter) -> str:
    config = files.config
    ranks = sorted(set(files.ranks.values())) or [config.r]
    words = [word for flag, word in ((kind.use_dora, "DoRA"), (kind.use_rslora, "rsLoRA")) if flag] or ["LoRA"]
    shown = f"{ranks[0]}" if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
    targets = config.targets
    on = repr(targets[:100]) if isinstance(targets, str) else first_of(targets, _SHOWN)
    on = ", ".join(part for part in (on, first_of(config.parameters, _SHOWN)) if part)
    parts = [f"{' and '.join(words)} of rank {shown}, alpha {config.lora_alpha:g}, on {on}"]
    parts += [f"with its own {first_of(sorted(files.own_modules), _SHOWN)}"] if files.own_modules else []
    parts += [f"{files.labels} labels"] if files.labels is not None else []
    return "; ".join(parts)


def _labels(files: CheckpointFiles) -> str:
    """Of a base that classifies, or says that it does: others have no classifier of their own."""
    of_head = labels_in(files.shapes or {})
    if of_head is None and not files.states_labels:
        return "no classifier of its own"
    return f"{of_head or files.labels} labels"


def _count(number: int) -> str:
    """``1.24 billion``, ``494 million``, ``12,345``."""
    for size, word in ((10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{number / size:.3g} {word}"
    return f"{number:,}"


@contextlib.contextmanager
def _named(whose: str) -> Iterator[None]:
    """An InputError raised inside begins with whose file it is."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{whose}: {error}") from None
