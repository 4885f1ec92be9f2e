"""A plan's text, written from what was found of a base and its adapters: every strategy that they allow, each key with
a comment.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from raybench.model import FineTune, FineTunes, sharing
from raybench.plan import first_of, shipped_plans
from raybench.sweep.commented_toml import comment_lines, keys_text, measured_text, table_text
from raybench.sweep.pace import USUAL, Pace

GLUE_MEDIAN, GLUE_SIGMA, GLUE_MAX = 58, 0.65, 331
"""Lognormal token lengths as GLUE's: of the 4,047 examples in glue_token_lengths.csv (mrpc 408, sst2 872, rte 2,767)
the geometric mean is 57.8, the standard deviation of the logarithm 0.646, the longest 331."""
PROMPT_TOKENS, OUTPUT_TOKENS, TEXT_TOKENS = 256, 64, 384
LEAST_TOGETHER, MOST_TOGETHER = 2, 8
_BLOCK_BYTES, _VALUE_BYTES = 20 * 10**9, 2
"""Weights in bfloat16 that leave an L4's 24 GB some room: those of a multi_lora and of a model for each of its adapters
besides, to be compared with, are made no more than that."""

_TOGETHER: Final = {"round_robin": "together", "mixed": "together_mixed"}
_SEED = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says of the requests; None: what suits the model. ``batch``: prompts served together.

    ``chats``: whether the texts are chats, in a column ``messages``. ``engine``: whose servers serve; None: the visit's
    own process. ``url``: of servers that run already. ``python``: of the environment that has the engine.
    ``concurrency``, ``rates``: how requests come to servers; where neither is said one at a time.
    """

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    texts: str | None = None
    chats: bool = False
    batch: tuple[int, ...] = (1,)
    engine: str | None = None
    url: str | None = None
    python: str | None = None
    concurrency: tuple[int, ...] = ()
    rates: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class LeftOut:
    """A configuration that cannot be, and why: ``what`` is an adapter's name, or how requests come to several."""

    strategy: str
    what: str
    why: str


@dataclasses.dataclass(frozen=True, slots=True)
class WrittenPlan:
    """``text``: TOML. ``left_out``: what is not in it though it might be expected, and why, a line each."""

    text: str
    left_out: tuple[str, ...]


def plan_name(names: Sequence[str]) -> str:
    """After its adapters: ``support-sales``; of many the first and how many more. No shipped plan is called so."""
    joined = "-".join(names)
    name = joined if len(joined) <= 60 or len(names) == 1 else f"{names[0]}-and-{len(names) - 1}-more"
    return f"adapter-{name}" if name in shipped_plans() else name


def most_together(parameters: int | None) -> int:
    """Adapters in one multi_lora at most, on a base of so many parameters."""
    if parameters is None:
        return MOST_TOGETHER
    models = _BLOCK_BYTES // (_VALUE_BYTES * parameters)
    return max(LEAST_TOGETHER, min(MOST_TOGETHER, models - 1))


class PlanWriter:
    """Writes a plan whose deployments run in the visit's own process; `ServedWriter` one of servers."""

    def __init__(
        self, found: FineTunes, asked: Asked, left_out: Iterable[LeftOut] = (), pace: Pace | None = None
    ) -> None:
        self.found, self.asked, self.left_out = found, asked, tuple(left_out)
        self.pace = pace or self.usual_pace()
        self.generates = found.task_type == "CAUSAL_LM"
        self.names = [a.name for a in found.adapters]
        self.merged = [name for name in self.names if self.why_not("lora_merged", name) is None]
        files = {a.name: a.files for a in found.adapters}
        self.sharing = {
            routing: sharing(files, found.base_files, mixed=routing == "mixed")
            for routing in self.all_routings
            if len(files) > 1 and self.batches(routing)
        }
        most = most_together(found.parameters)
        self.together = {routing: found.names[:most] for routing, found in self.sharing.items()}
        self.routings = [
            routing
            for routing, names in self.together.items()
            if len(names) > 1 and self.why_not("multi_lora", routing) is None
        ]

    all_routings: Sequence[str] = tuple(_TOGETHER)
    rounds = 10
    turn_requests = 1

    def usual_pace(self) -> Pace:
        """Of a model that is not slow."""
        return USUAL[self.found.task_type]

    def written(self) -> WrittenPlan:
        return WrittenPlan(self.text(), tuple(dict.fromkeys((*self.not_merged(), *self.not_together()))))

    def may_be_left_out(self) -> dict[str, tuple[str, str]]:
        """The configurations that a plan can do without, by name: strategy, and which adapter or routing it has."""
        names = {f"merged_{name}": ("lora_merged", name) for name in self.names}
        names |= {_TOGETHER[routing]: ("multi_lora", routing) for routing in self.routings}
        return {f"{name}{end}": which for name, which in names.items() for end in self.endings()}

    def endings(self) -> list[str]:
        """Of the names of configurations of one thing that is deployed."""
        return [""] if len(self.asked.batch) == 1 else [f"_b{size}" for size in self.asked.batch]

    def why_not(self, strategy: str, what: str) -> str | None:
        return next((one.why for one in self.left_out if (one.strategy, one.what) == (strategy, what)), None)

    def batches(self, routing: str) -> tuple[int, ...]:
        """Those that can come by this routing: a batch of one prompt has nothing to mix."""
        return tuple(b for b in self.asked.batch if routing != "mixed" or b > 1)

    def text(self) -> str:
        parts = [self.head(), self.plan(), self.workload(), *self.servers(), self.claims()]
        parts += map(self.adapter, self.found.adapters)
        parts += self.full_fine_tunes()
        separate = {"name": "separate_{task}", "strategy": "lora_separate"}
        parts.append(self.table("[[matrix]]", separate | self.of_tasks(self.names), adapters=True))
        merged = {"name": "merged_{task}", "strategy": "lora_merged"} | self.of_tasks(self.merged)
        merged_text = self.table("[[matrix]]", merged, adapters=True) if self.merged else ""
        parts.append(comment_lines(self.not_merged()) + merged_text)
        together = [
            self.table("[[configurations]]", self.several(routing), adapters=True, batches=self.batches(routing))
            for routing in self.routings
        ]
        parts.append(comment_lines(self.not_together()) + "\n".join(together))
        return "\n".join(part for part in (*parts, *self.further()) if part)

    def servers(self) -> list[str]:
        return []

    def further(self) -> list[str]:
        """Tables of what is measured besides."""
        return []

    def head(self) -> str:
        lines = [
            "A plan for raybench, written from the files of a model and its adapters; docs/plan.md explains each key.",
            "What it would do: raybench plan FILE. To run it: raybench sweep --plan FILE",
        ]
        return comment_lines(lines) + "#\n" + comment_lines(found_lines(self.found))

    def not_merged(self) -> Iterator[str]:
        """Why there is no merged model of some adapters."""
        for name in self.names:
            if (why := self.why_not("lora_merged", name)) is not None:
                yield f"Left out: lora_merged of {name}: {why}"

    def not_together(self) -> Iterator[str]:
        """Why some adapters, or all, are not in a multi_lora; what is so of several of these is told once."""
        told: dict[tuple[str, str], list[str]] = {}
        for routing, shared in self.sharing.items():
            name, further = _TOGETHER[routing], shared.names[len(self.together[routing]) :]
            if (why := self.why_not("multi_lora", routing)) is not None:
                told.setdefault(("", why), []).append(name)
                continue
            for adapter, why in shared.without:
                told.setdefault((f"{adapter} in ", why), []).append(name)
            if len(shared.names) < LEAST_TOGETHER:
                told.setdefault(("", f"no two of {first_of(self.names, 4)} can be together"), []).append(name)
            elif further:
                why = (
                    "its block holds a model for each of its adapters besides; add them where there is memory for more"
                )
                told.setdefault((f"{first_of(further, 4)} in ", why), []).append(name)
        for (adapter, why), names in told.items():
            yield f"Left out: {adapter}{' and '.join(names)}: {why}"

    def deployed(self) -> list[str]:
        """Strategies that are measured."""
        return ["full_ft", "lora_separate"] + ["lora_merged"] * bool(self.merged) + ["multi_lora"] * bool(self.routings)

    def references(self) -> list[str]:
        return ["full_ft", "lora_separate"]

    def plan(self) -> str:
        base = self.found.base.rstrip("/").rpartition("/")[2]
        keys: dict[str, object] = {
            "name": plan_name(self.names),
            "description": f"{first_of(self.names, 4)} on {base}: {', '.join(self.deployed())}",
            "model": self.found.base,
            "task_type": self.found.task_type,
            "rounds": self.rounds,
            "requests": self.pace.requests,
            "warmups": self.pace.warmups,
            "turn_requests": self.turn_requests,
            "workload_seed": 0,
            "order_seed": 0,
            "margin": 0.02,
            "references": self.references(),
            "visit_timeout_s": self.pace.visit_timeout_s,
        }
        return keys_text(keys) + keys_text({"until_halfwidth": 0.01, "accelerator_type": "L4"}, commented=True)

    def workload(self) -> str:
        asked, keys = self.asked, dict[str, object]()
        prompt, output = self.lengths()
        if asked.texts is not None:
            column = {"chat_column": "messages"} if asked.chats else {"text_column": "text"}
            keys |= {"texts": asked.texts, **column} | ({} if prompt is None else {"max_tokens": prompt})
        elif self.generates or asked.prompt_tokens is not None:
            keys["prompt_tokens"] = prompt
        else:
            most = min(GLUE_MAX, self.found.positions or GLUE_MAX)
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
        return table_text("[workload]", keys) + keys_text(others, commented=True)

    def lengths(self) -> tuple[int | None, int]:
        """Tokens of a prompt, at most where they are texts (None: these are whole), and to generate.

        What was asked for, else what there is room for. Where what was asked for leaves no room the other is as ever,
        and refused or told as in any plan.
        """
        asked, positions = self.asked, self.found.positions
        whole = asked.texts is not None and self.generates
        usual = PROMPT_TOKENS if asked.texts is None else TEXT_TOKENS
        output = 0 if not self.generates else asked.output_tokens or OUTPUT_TOKENS
        if positions is None:
            return asked.prompt_tokens or (None if whole else usual), output
        if self.generates and asked.output_tokens is None:
            taken = asked.prompt_tokens or min(usual, max(1, positions * 3 // 4))
            output = min(output, positions - taken) if positions > taken else output
        room = positions - output
        if room < 1:
            return asked.prompt_tokens or usual, output
        return asked.prompt_tokens or (room if whole else min(usual, room)), output

    def claims(self) -> str:
        return claims_text(self.claimed())

    def claimed(self) -> list[tuple[str, str]]:
        pairs = [("lora_separate", "full_ft")]
        pairs += [("lora_merged", "full_ft"), ("lora_merged", "lora_separate")] if self.merged else []
        return pairs + ([("multi_lora", "lora_separate")] if self.routings else [])

    def adapter(self, adapter: FineTune) -> str:
        keys = {"name": adapter.name, "tasks": [adapter.name], "seeds": [_SEED], "path": adapter.location}
        return comment_lines([adapter.about]) + table_text("[[adapters]]", keys)

    def full_fine_tunes(self) -> list[str]:
        own = {a.name: a.full_ft for a in self.found.adapters}
        parts = []
        if without := [name for name, checkpoint in own.items() if checkpoint is None]:
            keys = {"name": "full_ft_{task}", "strategy": "full_ft"}
            table = self.table("[[matrix]]", keys | self.of_tasks(without, adapters=False))
            parts.append(comment_lines(self.without_full_ft(without)) + table)
        for name, checkpoint in own.items():
            if checkpoint is not None:
                own_keys = {"task": name, "seed": _SEED, "checkpoint": checkpoint}
                keys = {"name": f"full_ft_{name}", "strategy": "full_ft"}
                parts.append(self.table("[[configurations]]", keys | own_keys))
        return parts

    def without_full_ft(self, names: Sequence[str]) -> Iterator[str]:
        if self.found.spec.kind == "checkpoint":
            yield (
                f"No full fine-tune of {first_of(names, 4)} was given (--full-ft NAME=DIR): the base's shape stands "
                "for it, which takes the same time and gives other answers. Of your own: [[configurations]] with task, "
                "seed and checkpoint."
            )

    def several(self, routing: str) -> dict[str, object]:
        return {
            "name": _TOGETHER[routing],
            "strategy": "multi_lora",
            "seed": _SEED,
            "adapters": self.together[routing],
            "routing": routing,
        }

    def table(
        self,
        header: str,
        keys: Mapping[str, object],
        *,
        adapters: bool = False,
        batches: tuple[int, ...] | None = None,
    ) -> str:
        """A table of what is measured, with a name for each batch, where there are several."""
        name = keys["name"] if len(self.asked.batch) == 1 else f"{keys['name']}_b{{batch}}"
        measured = self.measured(adapters=adapters, batches=batches)
        return measured_text(header, {**keys, "name": name, **measured})

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


def claims_text(pairs: Iterable[tuple[str, str]]) -> str:
    """The tables of what is claimed: strategies, each with its reference."""
    return "\n".join(table_text("[[claims]]", {"strategy": one, "reference": other}) for one, other in pairs)


def found_lines(found: FineTunes) -> list[str]:
    """What was read, a line for the base and one for each adapter."""
    lines = [f"base {found.base}: {found.about_base}"]
    for adapter in found.adapters:
        full = "" if adapter.full_ft is None else f"; fully fine-tuned: {adapter.full_ft}"
        lines.append(f"adapter {adapter.name}: {adapter.about}; {adapter.location}{full}")
    return [*lines, f"all for {found.task_type}"]
