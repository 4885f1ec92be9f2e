"""All that can be known from files before anything is started: does the plan fit the model, and its adapters both?"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from raybench.model.adapter_files import AdapterFiles
from raybench.model.architecture import check_architecture
from raybench.model.checkpoint_files import CheckpointFiles
from raybench.model.config_reader import ConfigReader
from raybench.model.deployable import deployment_problems
from raybench.model.extent import Extent, Extents
from raybench.model.fit import disagreement, lacks_its_head, misfits, other_vocabulary, unlike
from raybench.model.hub import ModelFiles
from raybench.model.quantization import quantization_problems
from raybench.model.sizes import preset_files
from raybench.model.weights import ModelSpec
from raybench.model.workload import Workload
from raybench.plan import Adapter, Configuration, Plan, first_of
from raybench.records import InputError


@dataclasses.dataclass(frozen=True, slots=True)
class FileCheck:
    """``plan`` with its adapters as their files say; ``problems`` that forbid to run it, ``notes`` that do not."""

    plan: Plan
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def check_files(plan: Plan, model: ModelSpec | None, workload: Workload | None) -> FileCheck:
    """Read the files of ``plan`` and ``model``, headers only, and hold them against each other and ``workload``.

    ``model`` and ``workload`` are None where they are not known: what depends on them is left out. Nothing is loaded
    and nothing raised: each problem is a line with its file and its values.
    """
    with ConfigReader() as configs:
        check = _Check(plan, model, configs)
        check.base()
        check.checkpoints()
    check.adapters()
    for c in check.plan.configurations:
        here = {a.name: files for a in c.adapters if (files := check.adapter_files.get(a.name)) is not None}
        check.problems += deployment_problems(c, here, check.base_files)
        check.problems += quantization_problems(c, None if model is None else model.kind)
    if workload is not None:
        check.requests(workload)
    return FileCheck(check.resolved(), tuple(dict.fromkeys(check.problems)), tuple(dict.fromkeys(check.notes)))


class _Check:
    def __init__(self, plan: Plan, model: ModelSpec | None, configs: ConfigReader) -> None:
        self.plan, self.model, self.configs = plan, model, configs
        self.files = ModelFiles()
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.models: list[CheckpointFiles] = []
        self.read_already: set[str] = set()
        self.base_files: CheckpointFiles | None = None
        self.adapter_files: dict[str, AdapterFiles] = {}
        """By the adapter's name."""

    def base(self) -> None:
        if self.model is None:
            return
        if self.model.is_preset:
            self.base_files = preset_files(self.model)
            self.models.append(self.base_files)
        else:
            self.base_files = self.checkpoint("the base", self.model.base_location)

    def checkpoints(self) -> None:
        for c in self.plan.configurations:
            if c.checkpoint is not None:
                whose = f"configuration {c.name}"
                found = self.checkpoint(whose, c.checkpoint)
                if found is not None and self.base_files is not None:
                    line = unlike(found, self.base_files)
                    self.problems += [] if line is None else [f"{whose}: {line}"]
            elif not c.adapters and self.model is not None and self.model.kind == "prepared":
                self.prepared(Path("full_ft", c.name))

    def checkpoint(self, whose: str, location: str) -> CheckpointFiles | None:
        if location in self.read_already:
            return None
        self.read_already.add(location)
        try:
            found = CheckpointFiles.read(location, self.files)
            architecture = check_architecture(location, self.plan.task_type, self.configs)
        except InputError as error:
            self.problems.append(f"{whose}: {error}")
            return None
        self.models.append(found)
        of_files = found.problems(self.plan.task_type, is_tied=architecture.is_tied)
        self.problems += (f"{whose}: {problem}" for problem in of_files)
        if architecture.needs_padding_id and any(c.batch > 1 for c in self.plan.configurations):
            self.problems.append(
                f"{whose}: {location}: its config.json has no pad_token_id, by which a classifier of its kind finds "
                "the end of each prompt in a batch: set it there, or measure batch = 1"
            )
        return found

    def prepared(self, inner: Path) -> Path | None:
        """A folder of the prepared model that the plan needs."""
        assert self.model is not None
        folder = Path(self.model.location or "", inner)
        if folder.is_dir():
            return folder
        self.problems.append(f"{folder}: not in this prepared model; run `raybench prepare` for this plan")
        return None

    def adapters(self) -> None:
        read: dict[str, AdapterFiles | None] = {}
        for adapter in self.plan.adapters():
            location = adapter.path
            if location is None and self.model is not None and self.model.kind == "prepared":
                folder = self.prepared(Path("adapters", adapter.name))
                location = None if folder is None else str(folder)
            if location is None:
                continue
            if location not in read:
                read[location] = self.adapter(adapter.name, location)
            files = read[location]
            if files is None:
                continue
            self.adapter_files[adapter.name] = files
            if (line := disagreement(adapter, files, self.base_files)) is not None:
                self.problems.append(line)

    def adapter(self, name: str, location: str) -> AdapterFiles | None:
        try:
            found = AdapterFiles.read(location, self.files, self.plan.task_type)
        except InputError as error:
            self.problems.append(f"adapter {name}: {error}")
            return None
        if self.base_files is not None and lacks_its_head(found, self.base_files):
            self.problems.append(
                f"adapter {name}: {location}: no weights of a head in it, which task_type SEQ_CLS says it has; save it "
                "anew by save_pretrained, which keeps the head"
            )
        if found.is_zero:
            self.problems.append(
                f"adapter {name}: {location}: changes nothing, since its LoRA weights are 0, as before any training; "
                "give one that was trained (or, for times alone, one made with init_lora_weights=False)"
            )
        if found.unknown:
            self.notes.append(
                f"adapter {name}: {location}: its adapter_config.json has {first_of(found.unknown, 3)}, which PEFT "
                "leaves out unless it is newer than raybench knows it"
            )
        if self.base_files is not None:
            other = other_vocabulary(found, self.base_files)
            misfit = [other] if other is not None else misfits(found, self.base_files)
            self.problems += (f"adapter {name}: {line}" for line in misfit)
            if (made_for := found.config.base_model_name_or_path) and not _same_base(made_for, self.base_files):
                self.notes.append(
                    f"adapter {name}: {location}: made for the base {made_for[:200]}, as its adapter_config.json says; "
                    f"it is measured on {self.base_files.location}"
                )
        return found

    def labels_of_head(self, adapter: Adapter) -> int | None:
        files = self.adapter_files.get(adapter.name)
        return None if files is None else files.labels

    def requests(self, workload: Workload) -> None:
        extents = Extents(self.plan, workload)
        for model in self.models:
            of_model = [c for c in self.plan.configurations if self.is_model_of(model, c)]
            if of_model:
                longest = max((extents.of(c) for c in of_model), key=lambda extent: extent.tokens)
                self.length(model, longest)
                largest = [id_ for c in of_model if (id_ := extents.of(c).largest_token_id) is not None]
                self.token_ids(model, max(largest, default=None))

    def is_model_of(self, model: CheckpointFiles, c: Configuration) -> bool:
        return c.checkpoint == model.location if c.checkpoint is not None else model is self.base_files

    def length(self, model: CheckpointFiles, longest: Extent) -> None:
        if model.positions is None or longest.tokens <= model.positions:
            return
        said = f"{model.location}: task {longest.task} has a request of {longest.prompt_tokens} tokens"
        said += f" and {longest.output_tokens} to generate" if longest.output_tokens else ""
        if not model.positions_are_a_table:
            self.notes.append(
                f"{said}, the model has {model.positions} in its config.json: it computes what it never learned"
            )
            return
        room = model.positions - longest.output_tokens
        remedy = f"bring texts in [workload] with max_tokens = {room}, or ask for prompt_tokens of {room} at most"
        if room < 1:
            remedy = "ask for fewer output_tokens"
        self.problems.append(f"{said}, the model has positions for {model.positions}: {remedy}, or take another model")

    def token_ids(self, model: CheckpointFiles, largest: int | None) -> None:
        vocabulary = model.config.vocabulary
        if largest is not None and vocabulary is not None and largest >= vocabulary:
            self.problems.append(
                f"{model.location}: a text has token id {largest}, the model's vocabulary has {vocabulary}: the "
                "tokenizer is another model's; set workload.tokenizer"
            )

    def resolved(self) -> Plan:
        """The plan with all that its adapters' files say of them."""
        adapters = {adapter.name: self.resolve(adapter) for adapter in self.plan.adapters()}
        heads: dict[tuple[str, int], int | None] = {}
        for adapter in adapters.values():
            heads.setdefault((adapter.task, adapter.seed), self.labels_of_head(adapter))

        def labels(c: Configuration) -> int | None:
            if c.checkpoint is not None:
                return None
            if not c.adapters:  # the same classifier as that of its peers
                return heads.get((c.tasks[0], c.seed))
            return next((n for a in c.adapters if (n := self.labels_of_head(a)) is not None), None)

        return self.plan.replaced(
            dataclasses.replace(c, adapters=tuple(adapters[a.name] for a in c.adapters), num_labels=labels(c))
            for c in self.plan.configurations
        )

    def resolve(self, adapter: Adapter) -> Adapter:
        files = self.adapter_files.get(adapter.name)
        if adapter.path is None or files is None:
            return adapter
        return dataclasses.replace(
            adapter,
            r=files.config.r,
            alpha=files.config.lora_alpha,
            target_modules=files.config.targets,
            target_parameters=files.config.parameters,
        )


def _same_base(made_for: str, base: CheckpointFiles) -> bool:
    """Whether two names of a base may mean the same: a folder and a hub id of one model end alike."""
    names = [base.location, *([base.config.name_or_path] if isinstance(base.config.name_or_path, str) else [])]
    return any(made_for == name or _last(made_for) == _last(name) for name in names)


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower()
