"""A plan's text, written from what was found of a base and its adapters: every strategy that they allow, each key with
a comment.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from raybench.model import FineTune, FineTunes
from raybench.plan import first_of
from raybench.report import harmless

GLUE_MEDIAN, GLUE_SIGMA, GLUE_MAX = 58, 0.65, 331
"""Lognormal token lengths as GLUE's: of the 4,047 examples in glue_token_lengths.csv (mrpc 408, sst2 872, rte 2,767)
the geometric mean is 57.8, the standard deviation of the logarithm 0.646, the longest 331."""
PROMPT_TOKENS, OUTPUT_TOKENS, TEXT_TOKENS = 256, 64, 384
MOST_TOGETHER = 8
"""Adapters in one multi_lora: its block holds a model for each of them besides, to be compared with."""

_TOGETHER = {"round_robin": "together", "mixed": "together_mixed"}
_SEED = 0
_LINE = 34


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says of the requests; None: what suits the model. ``batch``: prompts served together."""

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    texts: str | None = None
    batch: tuple[int, ...] = (1,)


@dataclasses.dataclass(frozen=True, slots=True)
class LeftOut:
    """A configuration that cannot be, and why: ``what`` is an adapter's name, or how requests come to several."""

    strategy: str
    what: str
    why: str


def plan_name(names: Sequence[str]) -> str:
    """After its adapters: ``support-sales``; of many the first and how many more."""
    joined = "-".join(names)
    return joined if len(joined) <= 60 else f"{names[0]}-and-{len(names) - 1}-more" if len(names) > 1 else joined


def may_be_left_out(found: FineTunes, asked: Asked) -> dict[str, tuple[str, str]]:
    """The configurations that a plan can do without, by name: strategy, and which adapter or routing it has."""
    writer = _Writer(found, asked, ())
    names = {f"merged_{name}": ("lora_merged", name) for name in writer.names}
    names |= {_TOGETHER[routing]: ("multi_lora", routing) for routing in writer.routings}
    sizes = [""] if len(asked.batch) == 1 else [f"_b{size}" for size in asked.batch]
    return {f"{name}{size}": which for name, which in names.items() for size in sizes}


def written_plan(found: FineTunes, asked: Asked, left_out: Iterable[LeftOut] = ()) -> str:
    """The text of a plan in TOML."""
    return _Writer(found, asked, tuple(left_out)).text()


class _Writer:
    def __init__(self, found: FineTunes, asked: Asked, left_out: tuple[LeftOut, ...]) -> None:
        self.found, self.asked, self.left_out = found, asked, left_out
        self.generates = found.task_type == "CAUSAL_LM"
        self.names = [a.name for a in found.adapters]
        self.merged = [name for name in self.names if not self.is_left_out("lora_merged", name)]
        self.together = self.names[:MOST_TOGETHER] if len(self.names) > 1 else []
        self.routings = [
            routing
            for routing in _TOGETHER
            if self.together and not self.is_left_out("multi_lora", routing) and self.batches(routing)
        ]

    def is_left_out(self, strategy: str, what: str) -> bool:
        return any((one.strategy, one.what) == (strategy, what) for one in self.left_out)

    def batches(self, routing: str) -> tuple[int, ...]:
        """Those that can come by this routing: a batch of one prompt has nothing to mix."""
        return tuple(b for b in self.asked.batch if routing != "mixed" or b > 1)

    def text(self) -> str:
        parts = [self.head(), self.plan(), self.workload(), self.claims()]
        parts += map(self.adapter, self.found.adapters)
        parts += self.full_fine_tunes()
        separate = {"name": self.template("separate_{task}"), "strategy": "lora_separate"}
        parts.append(_table("[[matrix]]", separate | self.of_tasks(self.names) | self.measured(adapters=True)))
        if self.merged:
            merged = {"name": self.template("merged_{task}"), "strategy": "lora_merged"}
            parts.append(_table("[[matrix]]", merged | self.of_tasks(self.merged) | self.measured(adapters=True)))
        parts += map(self.several, self.routings)
        return "\n".join(parts)

    def head(self) -> str:
        lines = [
            "A plan for raybench, written from the files of a model and its adapters; docs/plan.md explains each key.",
            "What it would do: raybench plan FILE. To run it: raybench sweep --plan FILE",
            "",
            "Found:",
            *(f"  {line}" for line in found_lines(self.found)),
        ]
        if reasons := self.reasons():
            lines += ["", "Worth knowing:", *(f"  {reason}" for reason in reasons)]
        return "".join(f"# {harmless(line)}".rstrip() + "\n" for line in lines)

    def reasons(self) -> list[str]:
        found = [one.why for one in self.left_out]
        if len(self.names) > MOST_TOGETHER:
            found.append(
                f"multi_lora has the first {MOST_TOGETHER} of {len(self.names)} adapters: beside it its block holds a "
                "model for each of them; name more in its adapters if there is memory"
            )
        without = [a.name for a in self.found.adapters if a.full_ft is None]
        if without and self.found.spec.kind == "checkpoint":
            found.append(
                f"full fine-tunes of {first_of(without, 4)}: none was given (--full-ft NAME=DIR), the base's shape "
                "stands for them; it takes the same time and gives other answers"
            )
        return found

    def plan(self) -> str:
        served = (
            ["full_ft", "lora_separate"] + ["lora_merged"] * bool(self.merged) + ["multi_lora"] * bool(self.routings)
        )
        base = self.found.base.rstrip("/").rpartition("/")[2]
        keys: dict[str, object] = {
            "name": plan_name(self.names),
            "description": f"{first_of(self.names, 4)} on {base}: {', '.join(served)}",
            "model": self.found.base,
            "task_type": self.found.task_type,
            "rounds": 10,
            "requests": 10 if self.generates else 50,
            "warmups": 3 if self.generates else 10,
            "turn_requests": 1,
            "workload_seed": 0,
            "order_seed": 0,
            "margin": 0.02,
            "references": ["full_ft", "lora_separate"],
            "visit_timeout_s": 1800.0,
        }
        return _keys(keys) + _keys({"until_halfwidth": 0.01, "accelerator_type": "L4"}, commented=True)

    def workload(self) -> str:
        asked, positions = self.asked, self.found.positions
        output, prompt = asked.output_tokens, asked.prompt_tokens
        if self.generates and output is None:
            output = OUTPUT_TOKENS
            if positions is not None:
                taken = prompt if prompt is not None else min(PROMPT_TOKENS, positions * 3 // 4)
                output = max(1, min(output, positions - taken))
        keys: dict[str, object] = {}
        if asked.texts is not None:
            keys |= {"texts": asked.texts, "text_column": "text"}
            most = None if positions is None else max(1, positions - (output or 0))
            if not self.generates:
                most = TEXT_TOKENS if most is None else min(TEXT_TOKENS, most)
            keys |= {} if most is None else {"max_tokens": most}
        elif prompt is not None:
            keys["prompt_tokens"] = prompt
        elif self.generates:
            keys["prompt_tokens"] = PROMPT_TOKENS if positions is None else max(1, min(256, positions - (output or 0)))
        else:
            most = GLUE_MAX if positions is None else min(GLUE_MAX, positions)
            keys["prompt_tokens"] = {"median": min(GLUE_MEDIAN, most), "sigma": GLUE_SIGMA, "max": most}
        if self.generates:
            keys["output_tokens"] = output
        instead: dict[str, object] = {
            "texts": "prompts.jsonl",
            "text_column": "text",
            "chat_column": "messages",
            "task_column": "task",
            "tokenizer": self.found.base,
            "max_tokens": TEXT_TOKENS,
        }
        others = {key: value for key, value in instead.items() if key not in keys}
        return _table("[workload]", keys) + _keys(others, commented=True)

    def claims(self) -> str:
        pairs = [("lora_separate", "full_ft")]
        pairs += [("lora_merged", "full_ft"), ("lora_merged", "lora_separate")] if self.merged else []
        pairs += [("multi_lora", "lora_separate")] if self.routings else []
        return "\n".join(_table("[[claims]]", {"strategy": one, "reference": other}) for one, other in pairs)

    def adapter(self, adapter: FineTune) -> str:
        keys = {"name": adapter.name, "tasks": [adapter.name], "seeds": [_SEED], "path": adapter.location}
        return f"# {harmless(adapter.about)}\n" + _table("[[adapters]]", keys)

    def full_fine_tunes(self) -> list[str]:
        own = {a.name: a.full_ft for a in self.found.adapters}
        parts = []
        if without := [name for name, checkpoint in own.items() if checkpoint is None]:
            keys = {"name": self.template("full_ft_{task}"), "strategy": "full_ft"}
            parts.append(_table("[[matrix]]", keys | self.of_tasks(without, adapters=False) | self.measured()))
        for name, checkpoint in own.items():
            if checkpoint is not None:
                own_keys = {"task": name, "seed": _SEED, "checkpoint": checkpoint}
                keys = {"name": self.template(f"full_ft_{name}"), "strategy": "full_ft"}
                parts.append(_table("[[configurations]]", keys | own_keys | self.measured()))
        return parts

    def several(self, routing: str) -> str:
        batches = self.batches(routing)
        keys: dict[str, object] = {
            "name": self.template(_TOGETHER[routing]),
            "strategy": "multi_lora",
            "seed": _SEED,
            "adapters": self.together,
            "routing": routing,
        }
        return _table("[[configurations]]", keys | self.measured(adapters=True, batches=batches))

    def template(self, name: str) -> str:
        """A name for each batch, where there are several."""
        return name if len(self.asked.batch) == 1 else f"{name}_b{{batch}}"

    def of_tasks(self, tasks: Sequence[str], *, adapters: bool = True) -> dict[str, object]:
        keys: dict[str, object] = {"tasks": tasks, "seeds": [_SEED]}
        return keys | {"adapters": ["{task}"]} if adapters else keys

    def measured(self, *, adapters: bool = False, batches: tuple[int, ...] | None = None) -> dict[str, object]:
        """Keys of how a configuration is measured, which those that are compared have in common."""
        sizes = batches or self.asked.batch
        keys: dict[str, object] = {"dtype": "auto"}
        keys |= {"adapter_dtype": "float32"} if adapters else {}
        keys["batch"] = sizes[0] if len(sizes) == 1 else sizes
        return keys | ({"kv_cache": "dynamic"} if self.generates else {})


def found_lines(found: FineTunes) -> list[str]:
    """What was read, a line for the base and one for each adapter."""
    lines = [f"base {found.base}: {found.about_base}"]
    for adapter in found.adapters:
        full = "" if adapter.full_ft is None else f"; fully fine-tuned: {adapter.full_ft}"
        lines.append(f"adapter {adapter.name}: {adapter.about}; {adapter.location}{full}")
    return [*lines, f"all for {found.task_type}"]


_NAMED = {
    "": "in its runs' names",
    "[[adapters]]": "as the tables call it",
    "[[matrix]]": "of each configuration, with its task, seed and batch filled in",
    "[[configurations]]": "of the configuration",
}
_COMMENTS: Mapping[str, str] = {
    "description": "above its tables",
    "model": "the base: a preset, a folder or a hub id; --model overrides it",
    "task_type": "SEQ_CLS: sequence classification, CAUSAL_LM: text generation",
    "rounds": "visits of each block, each in a fresh process; more make intervals narrower",
    "requests": "timed requests of a configuration in a round",
    "warmups": "untimed requests of a configuration before those",
    "turn_requests": "requests of a configuration before it is another's turn",
    "workload_seed": "draws the requests",
    "order_seed": "draws the order of turns",
    "margin": "differences within this share count as none: equivalent",
    "references": "what the others are compared with",
    "visit_timeout_s": "seconds after which a visit is given up",
    "until_halfwidth": "go on until the claims' intervals are this narrow; rounds is then the most",
    "accelerator_type": "only on GPUs of this type, as Ray names it",
    "prompt_tokens": "of each request: a number, a list to draw from, or a lognormal distribution",
    "output_tokens": "to generate for each prompt: a number, a list or a distribution",
    "texts": "instead of prompt_tokens: a .parquet, .jsonl or .csv file of your own texts",
    "text_column": "its column of texts",
    "chat_column": "or its column of chats, for the tokenizer's template",
    "task_column": "its column of the adapter that a text is for; without it all are for each",
    "tokenizer": "a folder or hub id, where the model has none of its own",
    "max_tokens": "longer texts are cut",
    "reference": "what it is claimed to differ from",
    "path": "its folder or hub id; rank, alpha and targets are read there",
    "tasks": "whose requests; each adapter serves its own",
    "seeds": "of its training, where several runs are compared",
    "seed": "of its training, where several runs are compared",
    "task": "whose requests it serves",
    "adapters": "what it deploys",
    "checkpoint": "the fully fine-tuned model",
    "dtype": "of the weights: auto is bfloat16 on a GPU, float32 on a CPU",
    "adapter_dtype": "of the adapter: float32, or same as the base",
    "batch": "prompts that are served together: a number, or a list for one configuration each",
    "kv_cache": "of keys and values: dynamic or static",
    "routing": "requests of several adapters come in turn (round_robin), one's after another's (blocked), or mixed",
}
_OF_STRATEGY = {
    "full_ft": "a model of its own, all weights fine-tuned",
    "lora_separate": "the adapter beside the base",
    "lora_merged": "the adapter merged into the base",
    "multi_lora": "several adapters beside one base",
}


def _table(header: str, keys: Mapping[str, object]) -> str:
    return f"{header}\n{_keys(keys, header)}"


def _keys(keys: Mapping[str, object], header: str = "", *, commented: bool = False) -> str:
    special = {"name": _NAMED.get(header), "strategy": _OF_STRATEGY.get(str(keys.get("strategy")))}
    lines = []
    for key, value in keys.items():
        comment = special.get(key) or _COMMENTS[key]
        line = ("# " if commented else "") + f"{key} = {toml(value)}"
        lines.append(f"{line.ljust(_LINE)}  # {comment}\n")
    return "".join(lines)


def toml(value: object) -> str:
    """A value in TOML. Text may hold anything but half a surrogate pair, which TOML has no form for."""
    if isinstance(value, str):
        return '"' + "".join(map(_in_quotes, value)) + '"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return repr(value)


def _in_quotes(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"
