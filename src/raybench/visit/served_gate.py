"""Whether a server answers by what it is asked to: checked on a few prompts before anything is timed.

A server tells tokens and not logits. So the tokens that it chose are held against transformers and PEFT with the same
weights, in one forward: each must be the most likely one there, or nearly, and as likely as the server says. And what
an adapter answered first it must answer again, twice, after other adapters, other prompts and the base: engines have
kept one adapter's keys and values for another's prompt. Under a load all of them are asked at once, too: engines have
given all prompts of a batch the first one's adapter.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from raybench.deploy import Deployment, GateError, Generator, checked_adapters, logits_after
from raybench.model import Weights
from raybench.plan import Adapter, Configuration
from raybench.serve import Answer, closed_loop, run_on_time
from raybench.visit.engine_server import EngineServer, first_failure
from raybench.visit.served_prompt import ServedPrompt

TOLERANCE: Final[Mapping[str, float]] = {"float32": 0.02, "float16": 0.1, "bfloat16": 0.3}
"""By data type, in nats: by how much less likely a chosen token may be than the most likely one, which rounding alone
can turn about where two are nearly alike."""
_PROBES: Final = 2
_TOKENS: Final = 16
_AGAIN: Final = 2
_MORE: Final = 20
"""Further prompts that are asked where an adapter answers the probes as the base does: a small one may."""
_ROUNDING_SHARE: Final = 0.01
"""Of the tolerance: by how much the same weights may give other log probabilities to the same tokens, asked twice."""
_AT_ONCE: Final = 8
_LOOKS: Final = 8
"""How often more it is looked whether a server streams."""

_Asked = tuple[Adapter | None, int]
"""By whom (None: the base, or the only model), and the place of the probe."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Seen:
    """What a server chose, against what it should: the largest gap in nats, the share that is most likely there.

    ``chosen``: the log probability there of each chosen token, shape (tokens,).
    """

    gap: float
    agreement: float
    chosen: Any


class ServedGate:
    """Checks the servers of one visit. ``weights``: None where none are known; ``draw``: which of many adapters.

    What has been checked of a server for one load is not checked again for another, but that all at once.
    """

    def __init__(self, weights: Weights | None, draw: int) -> None:
        self._weights, self._draw = weights, draw
        self._found: dict[object, tuple[dict[str, Any], dict[_Asked, Answer]]] = {}

    def check(
        self,
        configuration: Configuration,
        server: EngineServer,
        prompts: Sequence[ServedPrompt],
        deployed: Configuration,
        tolerance: float,
    ) -> dict[str, Any]:
        """Columns of the loads table. ``configuration``: with the data type that is served; ``deployed``: whose model
        the server loaded, where that is a fine-tune; ``tolerance``: in nats, of what is held to weights.

        Raises GateError for a wrong answer, naming it, and what asking raises.
        """
        one = _OneGate(self._weights, configuration, server, prompts, self._draw, deployed, tolerance)
        key = id(server.line), configuration.strategy, configuration.adapters, configuration.checkpoint
        if key not in self._found:
            self._found[key] = one.check()
        columns, first = self._found[key]
        if configuration.load is not None:
            one.check_at_once(first)
        return dict(columns)


class _OneGate:
    def __init__(
        self,
        weights: Weights | None,
        configuration: Configuration,
        server: EngineServer,
        prompts: Sequence[ServedPrompt],
        draw: int,
        deployed: Configuration,
        tolerance: float,
    ) -> None:
        self._deployed = dataclasses.replace(deployed, dtype=configuration.dtype)
        self._weights, self._configuration, self._server = weights, configuration, server
        self._probes = _probes(prompts)
        self._more = [prompt for prompt in prompts if all(prompt is not probe for probe in self._probes)][:_MORE]
        self._by_base = not (server.adapters or server.by_request)
        self._beside = checked_adapters(configuration, draw)
        self._whom: Sequence[Adapter | None] = [None] if self._by_base else self._beside
        self._tolerance = tolerance

    def check(self) -> tuple[dict[str, Any], dict[_Asked, Answer]]:
        first = {at: self._ask(*at) for at in self._all(self._whom)}
        # A client that came to read late finds all tokens once, and not each time.
        if _came_at_once(first.values()) and all(_came_at_once([self._ask(*next(iter(first)))]) for _ in range(_LOOKS)):
            raise GateError(
                f"{self._name}: all tokens of each answer came at once, so that no step can be told apart: the server "
                "does not stream, or the client comes to read too late (leave it a core: servers.cores)"
            )
        seen, effects = [], []
        for adapter in self._whom:
            answers = [first[adapter, place] for place in range(len(self._probes))]
            own = self._own(adapter)
            if not self._can_be_held(own, answers):
                continue
            found = self._against(own, [answers])
            seen.append(found)
            if own is not None:
                effects.append(self._effect(found, answers))
        if not self._by_base:
            self._check_mix(first)
        columns = {
            "gate_error": max((one.gap for one in seen), default=None),
            "gate_tolerance": self._tolerance if seen else None,
            "adapter_effect": min(effects, default=None),
            "argmax_agreement": sum(one.agreement for one in seen) / len(seen) if seen else None,
        }
        return columns, first

    def check_at_once(self, first: Mapping[_Asked, Answer]) -> None:
        """All probes of all adapters under way together; of a base beside adapters those of the base among them.

        In a batch rounding is another, so that what is known by its weights is held to these, and else to the text that
        it gave alone.
        """
        load = self._configuration.load
        assert load is not None
        beside = self._configuration.strategy == "base_beside_lora"
        whom = [*self._beside, None] if beside else self._whom
        asked = self._all(whom) * _AGAIN
        line = self._server.line
        requests = [
            line.asked(self._probes[place], self._tokens_of(place), _name(adapter), logprobs=True)
            for adapter, place in asked
        ]
        work = closed_loop(line.server.endpoint, requests, min(load.concurrency or _AT_ONCE, len(asked)), line.limits)
        answers = [outcome.answer for outcome in run_on_time(work).outcomes]
        if (failure := first_failure(line, answers)) is not None:
            raise failure
        for (_, place), answer in zip(asked, answers, strict=True):
            self._server.check_whole(answer, self._tokens_of(place))
        count = len(self._probes)
        for adapter in whom:
            starts = [i for i in range(0, len(asked), count) if asked[i][0] == adapter]
            runs = [answers[i : i + count] for i in starts]
            if all(self._can_be_held(self._own(adapter), run) for run in runs):
                self._against(self._own(adapter), runs)
                continue
            for run in runs:
                for place, answer in enumerate(run):
                    alone = first.get((adapter, place))
                    if alone is not None and not self._agree(alone, answer, (adapter, place), first):
                        raise GateError(
                            f"{self._name}: asked together with others, {self._called(adapter)} answers the same "
                            f"prompt otherwise: {_words(answer)} instead of {_words(alone)}"
                        )

    def _own(self, adapter: Adapter | None) -> Adapter | None:
        """The adapter whose weights answer: of a merged model the one that was merged."""
        return self._configuration.adapters[0] if self._configuration.strategy == "lora_merged" else adapter

    @property
    def _name(self) -> str:
        return self._configuration.name

    def _all(self, whom: Sequence[Adapter | None]) -> list[_Asked]:
        return [(adapter, place) for adapter in whom for place in range(len(self._probes))]

    def _can_be_held(self, adapter: Adapter | None, answers: Sequence[Answer]) -> bool:
        """Whether weights are known that the answers can be held to, and the answers' tokens."""
        if self._weights is None or any(probe.tensors is None for probe in self._probes):
            return False
        if self._server.line.server.process is None and adapter is not None and adapter.path is None:
            return False  # what a server that runs already loaded is not what a seed draws
        return all(answer.token_ids is not None for answer in answers)

    def _against(self, adapter: Adapter | None, runs: Sequence[Sequence[Answer]]) -> _Seen:
        """Each of ``runs`` has an answer for each probe."""
        answers = [answer for run in runs for answer in run]
        model, tokens = self._model(adapter), _tokens(answers)[:, None]
        likely = self._likely(model, answers)
        chosen = likely.gather(-1, tokens)[:, 0]
        likely = _without_ends(likely, tokens, _ends(model))
        free = likely.gather(-1, tokens)[:, 0]
        gaps = likely.max(-1).values - free
        gap = float(gaps.max())
        if not gap <= self._tolerance:
            at = int(gaps.argmax())
            raise GateError(
                f"{self._name}: the server chose token {int(_tokens(answers)[at])} as number {at}, which is {gap:.3g} "
                f"nats less likely by {self._called(adapter)} alone than {int(likely[at].argmax())} (tolerance "
                f"{self._tolerance:g}); it does not compute by those weights"
            )
        self._check_logprobs(adapter, chosen, free, answers)
        return _Seen(gap, float((gaps == 0).float().mean()), chosen)

    def _effect(self, found: _Seen, answers: Sequence[Answer]) -> float:
        """By how many nats the adapter changes the log probability of a chosen token, at most."""
        base = self._likely(self._base(), answers).gather(-1, _tokens(answers)[:, None])[:, 0]
        return float((found.chosen - base).abs().max())

    def _check_logprobs(self, adapter: Adapter | None, chosen: Any, free: Any, answers: Sequence[Answer]) -> None:
        """Where the server says how likely its tokens are, they must be that, with or without tokens that end."""
        told = [logprob for answer in answers for logprob in answer.logprobs or ()]
        if len(told) != len(chosen) or any(logprob is None for logprob in told):
            return
        said = chosen.new_tensor(told)
        off = (chosen - said).abs().minimum((free - said).abs())
        if not float(off.max()) <= self._tolerance:
            at = int(off.argmax())
            raise GateError(
                f"{self._name}: the server says that token number {at} has log probability {told[at]:.4g}, by "
                f"{self._called(adapter)} alone it is {float(chosen[at]):.4g} (tolerance {self._tolerance:g} nats); it "
                "does not compute by those weights"
            )

    def _check_mix(self, first: Mapping[_Asked, Answer]) -> None:
        places = range(len(self._probes))
        base = {place: self._ask(None, place) for place in places}
        known: dict[_Asked, Answer] = dict(first)
        known |= {(None, place): answer for place, answer in base.items()}
        for adapter in self._whom:
            if not any(self._differ(first[adapter, place], base[place]) for place in places):
                self._check_changes(adapter)
        self._check_apart(first)
        for _ in range(_AGAIN):
            for adapter in (*self._whom, None):
                for place in places:
                    expected = base[place] if adapter is None else first[adapter, place]
                    again = self._ask(adapter, place)
                    if not self._agree(expected, again, (adapter, place), known):
                        raise GateError(
                            f"{self._name}: asked again, after others, {self._called(adapter)} answers the same prompt "
                            f"otherwise: {_words(again)} instead of {_words(expected)}; the server mixes adapters up"
                        )

    def _check_apart(self, first: Mapping[_Asked, Answer]) -> None:
        """Where no weights are known, adapters must be told apart by what they answer."""
        places = range(len(self._probes))
        for one, other in itertools.combinations(self._whom, 2):
            held = all(self._can_be_held(a, [first[a, place] for place in places]) for a in (one, other))
            if not held and not any(self._differ(first[one, place], first[other, place]) for place in places):
                raise GateError(
                    f"{self._name}: {self._called(one)} and {self._called(other)} answer all probes alike: the server "
                    "answers both by one of them, or they are the same; leave one out"
                )

    def _agree(self, expected: Answer, got: Answer, at: _Asked, known: Mapping[_Asked, Answer]) -> bool:
        """Whether an answer is what was answered before, but for a tie that rounding decides.

        Where the server says how likely tokens are, the first ones that differ must be as likely within the tolerance.
        A server that others ask too, or that computes in batches, may otherwise differ by rounding; it may not give
        what another adapter, or the base, answers.
        """
        if _said(expected) == _said(got):
            return True
        if expected.token_ids is not None and got.token_ids is not None and expected.logprobs and got.logprobs:
            pairs = zip(expected.token_ids, got.token_ids, expected.logprobs, got.logprobs, strict=True)
            a, b = next((a, b) for one, other, a, b in pairs if one != other)
            return a is not None and b is not None and abs(a - b) <= self._tolerance
        alone = self._server.line.server.process is not None and self._configuration.load is None
        others = (answer for (adapter, place), answer in known.items() if place == at[1] and adapter != at[0])
        return not alone and all(_said(got) != _said(other) for other in others)

    def _check_changes(self, adapter: Adapter | None) -> None:
        """Of an adapter that answers all probes as the base does, the other prompts are asked until one differs."""
        for prompt in self._more:
            tokens = min(prompt.output_tokens, _TOKENS)
            by = [self._server.line.ask(prompt, tokens, name, logprobs=True) for name in (_name(adapter), None)]
            if self._differ(*by):
                return
        raise GateError(
            f"{self._name}: {self._called(adapter)} answers {len(self._probes) + len(self._more)} prompts as the base "
            "does: the server does not use it, or it changes nothing"
        )

    def _differ(self, one: Answer, other: Answer) -> bool:
        """Whether two answers to one prompt are by different weights: other tokens, or as likely in another measure."""
        if _said(one) != _said(other):
            return True
        if one.logprobs is None or other.logprobs is None:
            return False
        pairs = zip(one.logprobs, other.logprobs, strict=True)
        most = max((abs(a - b) for a, b in pairs if a is not None and b is not None), default=0.0)
        return most > self._tolerance * _ROUNDING_SHARE

    def _called(self, adapter: Adapter | None) -> str:
        if adapter is not None:
            return f"adapter {adapter.name}"
        return "its fine-tune" if self._configuration.strategy == "full_ft" else "the base"

    def _ask(self, adapter: Adapter | None, place: int) -> Answer:
        tokens = self._tokens_of(place)
        answer = self._server.line.ask(self._probes[place], tokens, _name(adapter), logprobs=True)
        self._server.check_whole(answer, tokens)
        return answer

    def _tokens_of(self, place: int) -> int:
        return min(self._probes[place].output_tokens, _TOKENS)

    def _base(self) -> Any:
        assert self._weights is not None
        return self._weights.base(self._configuration)

    def _model(self, adapter: Adapter | None) -> Any:
        assert self._weights is not None
        if self._configuration.strategy == "full_ft":
            return self._weights.fine_tuned(self._deployed)
        base = self._base()
        if adapter is None:
            return base
        alone = dataclasses.replace(self._configuration, strategy="lora_separate", adapters=(adapter,))
        return self._weights.attach(base, adapter, alone)

    def _likely(self, model: Any, answers: Sequence[Answer]) -> Any:
        """Log probabilities from which each token of all answers was chosen, in float32, shape (tokens, vocabulary).

        The answers are to the probes in their order, and again.
        """
        import torch

        generator = Generator(Deployment(model, model))
        found = []
        for i, answer in enumerate(answers):
            probe = self._probes[i % len(self._probes)].tensors
            assert probe is not None
            ids = torch.tensor([answer.token_ids], device=probe.values["input_ids"].device)
            kept = dataclasses.replace(probe, output_tokens=len(answer.token_ids or ()))
            found.append(logits_after(generator, kept, ids)[0].float())
        return torch.cat(found).log_softmax(-1)


def _probes(prompts: Sequence[ServedPrompt]) -> list[ServedPrompt]:
    """The longest, which caches of prefixes keep, and the shortest."""
    by_length = sorted(prompts, key=lambda prompt: prompt.length)
    return [*by_length[-1:], *by_length[: _PROBES - 1]] if len(by_length) > 1 else by_length


def _came_at_once(answers: Iterable[Answer]) -> bool:
    """Whether all tokens of each answer came in one read, where there are so many that this tells something."""
    return all(len(set(answer.token_ns)) == 1 and answer.generated_tokens() >= _TOKENS for answer in answers)


def _ends(model: Any) -> list[int]:
    """The tokens by which the model ends an answer."""
    configs = (model.config, model.config.get_text_config(), getattr(model, "generation_config", None))
    found = [getattr(config, "eos_token_id", None) for config in configs]
    return sorted({token for ids in found if ids is not None for token in (ids if isinstance(ids, list) else [ids])})


def _without_ends(likely: Any, tokens: Any, ends: Sequence[int]) -> Any:
    """Log probabilities where no answer may end, of the steps at which none did.

    All tokens are generated that are asked for (``ignore_eos``): llama.cpp leaves out the tokens that would end an
    answer, vLLM generates them and goes on. ``likely``: shape (tokens, vocabulary); ``tokens``: chosen, (tokens, 1).
    """
    import torch

    if not ends:
        return likely
    end = torch.tensor(ends)
    free = likely.index_fill(-1, end, float("-inf")).log_softmax(-1)
    return torch.where(torch.isin(tokens, end), likely, free)


def _name(adapter: Adapter | None) -> str | None:
    return None if adapter is None else adapter.name


def _tokens(answers: Sequence[Answer]) -> Any:
    import torch

    return torch.tensor([token for answer in answers for token in answer.token_ids or ()])


def _said(answer: Answer) -> object:
    return answer.text if answer.token_ids is None else answer.token_ids


def _words(answer: Answer) -> str:
    said = answer.text if answer.token_ids is None else " ".join(map(str, answer.token_ids))
    return repr(said[:60])
