"""Whether a server answers by what it is asked to: checked on a few prompts before anything is timed.

A server tells tokens and not logits. So the tokens that it chose are held against transformers and PEFT with the same
weights, in one forward: each must be the most likely one there, or nearly. And what an adapter answered first it must
answer again, twice, after other adapters, other prompts and the base: engines have kept one adapter's keys and values
for another's prompt.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

from raybench.deploy import CHECKED_ADAPTERS, Deployment, GateError, Generator, logits_after
from raybench.machine import dtype_name
from raybench.model import Prompts, Weights
from raybench.plan import Adapter, Configuration
from raybench.serve import Answer
from raybench.visit.engine_server import EngineServer, check_whole

TOLERANCE: Final[Mapping[str, float]] = {"float32": 0.02, "float16": 0.1, "bfloat16": 0.3}
"""By data type, in nats: by how much less likely a chosen token may be than the most likely one, which rounding alone
can turn about where two are nearly alike."""
_PROBES: Final = 2
_TOKENS: Final = 16
_AGAIN: Final = 2


@dataclasses.dataclass(frozen=True, slots=True)
class _Seen:
    """What a server chose, against what it should: the largest gap in nats, the share that is most likely there."""

    gap: float
    agreement: float
    logits: Any


class ServedGate:
    """Checks the servers of one visit. ``inputs``: its prompts; ``draw``: which of many adapters are checked."""

    def __init__(self, weights: Weights, inputs: Mapping[tuple[str, int], Prompts], draw: int) -> None:
        self._weights, self._draw = weights, draw
        by_length = sorted(inputs.values(), key=lambda prompts: int(prompts.values["input_ids"].shape[1]))
        self._probes = [*by_length[-1:], *by_length[: _PROBES - 1]] if len(by_length) > 1 else by_length
        """The longest, which caches of prefixes keep, and the shortest."""

    def check(self, configuration: Configuration, server: EngineServer) -> dict[str, Any]:
        """Columns of the loads table. Raises GateError for a wrong answer, naming it, and what asking raises."""
        by_base = not (server.adapters or server.by_request)
        adapters: Sequence[Adapter | None] = [None] if by_base else self._checked(configuration)
        first = {(place, i): self._ask(server, a, p) for place, a in enumerate(adapters) for i, p in self._numbered()}
        if all(len(set(answer.token_ns)) == 1 < answer.generated_tokens() for answer in first.values()):
            raise GateError(
                f"{configuration.name}: all tokens of each answer came at once: the server does not stream, and no "
                "step can be told apart"
            )
        tolerance = TOLERANCE[dtype_name(configuration.dtype, "cpu")]
        seen, effects = [], []
        for place, adapter in enumerate(adapters):
            merged = configuration.strategy == "lora_merged"
            own = configuration.adapters[0] if merged else adapter
            answers = [first[place, i] for i, _ in self._numbered()]
            if any(answer.token_ids is None for answer in answers):
                continue  # the engine tells text alone
            found = self._against(configuration, own, answers, tolerance)
            seen.append(found)
            if own is not None:
                base = self._logits(self._base(configuration), answers)
                effects.append(float((found.logits - base).norm() / found.logits.norm()))
        if not by_base:
            self._check_mix(configuration, server, adapters, first)
        return {
            "gate_error": max((one.gap for one in seen), default=None),
            "gate_tolerance": tolerance if seen else None,
            "adapter_effect": min(effects, default=None),
            "argmax_agreement": sum(one.agreement for one in seen) / len(seen) if seen else None,
            "kl_divergence": None,
            "compile_ns": None,
            "compile_bytes": None,
            "compiled_shapes": None,
        }

    def _against(
        self, configuration: Configuration, adapter: Adapter | None, answers: Sequence[Answer], tolerance: float
    ) -> _Seen:
        logits = self._logits(self._model(configuration, adapter), answers)
        likely = logits.log_softmax(-1)
        chosen = likely.gather(-1, self._tokens(answers)[:, None])[:, 0]
        gaps = likely.max(-1).values - chosen
        gap = float(gaps.max())
        if not gap <= tolerance:
            whom = "its base" if adapter is None else f"adapter {adapter.name}"
            if configuration.strategy == "full_ft":
                whom = "its fine-tune"
            at = int(gaps.argmax())
            raise GateError(
                f"{configuration.name}: the server chose token {int(self._tokens(answers)[at])} as number {at}, which "
                f"is {gap:.3g} nats less likely by {whom} alone than {int(likely[at].argmax())} (tolerance "
                f"{tolerance:g}); it does not compute by those weights"
            )
        return _Seen(gap, float((gaps == 0).float().mean()), logits)

    def _check_mix(
        self,
        configuration: Configuration,
        server: EngineServer,
        adapters: Sequence[Adapter | None],
        first: Mapping[tuple[int, int], Answer],
    ) -> None:
        base = {i: self._ask(server, None, probe) for i, probe in self._numbered()}
        for place, adapter in enumerate(adapters):
            if adapter is not None and all(_said(first[place, i]) == _said(base[i]) for i in base):
                raise GateError(
                    f"{configuration.name}: adapter {adapter.name} answers all probes as the base does: the server "
                    "does not use it, or it changes nothing"
                )
        for _ in range(_AGAIN):
            for place, adapter in [*enumerate(adapters), (-1, None)]:
                for i, probe in self._numbered():
                    expected = base[i] if adapter is None else first[place, i]
                    again = self._ask(server, adapter, probe)
                    if _said(again) != _said(expected):
                        whom = "the base" if adapter is None else f"adapter {adapter.name}"
                        raise GateError(
                            f"{configuration.name}: asked again, after others, {whom} answers the same prompt "
                            f"otherwise: {_words(again)} instead of {_words(expected)}; the server mixes adapters up"
                        )

    def _ask(self, server: EngineServer, adapter: Adapter | None, probe: Prompts) -> Answer:
        tokens = min(probe.output_tokens, _TOKENS)
        answer = server.line.ask(probe, tokens, None if adapter is None else adapter.name)
        check_whole(answer, tokens, server.line.server.process.name, server.prefix_caching)
        return answer

    def _numbered(self) -> list[tuple[int, Prompts]]:
        return list(enumerate(self._probes))

    def _checked(self, configuration: Configuration) -> list[Adapter]:
        adapters = list(configuration.adapters)
        if len(adapters) <= CHECKED_ADAPTERS:
            return adapters
        return random.Random(f"{configuration.seed} {self._draw}").sample(adapters, CHECKED_ADAPTERS)

    def _base(self, configuration: Configuration) -> Any:
        return self._weights.base(configuration)

    def _model(self, configuration: Configuration, adapter: Adapter | None) -> Any:
        if configuration.strategy == "full_ft":
            return self._weights.fine_tuned(configuration)
        base = self._base(configuration)
        if adapter is None:
            return base
        alone = dataclasses.replace(configuration, strategy="lora_separate", adapters=(adapter,))
        return self._weights.attach(base, adapter, alone)

    def _logits(self, model: Any, answers: Sequence[Answer]) -> Any:
        """From which each chosen token of all answers was chosen, in float32, shape (tokens, vocabulary)."""
        import torch

        generator = Generator(Deployment(model, model))
        found = []
        for (_, probe), answer in zip(self._numbered(), answers, strict=True):
            ids = torch.tensor([answer.token_ids], device=probe.values["input_ids"].device)
            kept = dataclasses.replace(probe, output_tokens=len(answer.token_ids or ()))
            found.append(logits_after(generator, kept, ids)[0].float())
        return torch.cat(found)

    def _tokens(self, answers: Sequence[Answer]) -> Any:
        import torch

        return torch.tensor([token for answer in answers for token in answer.token_ids or ()])


def _said(answer: Answer) -> object:
    return answer.text if answer.token_ids is None else answer.token_ids


def _words(answer: Answer) -> str:
    said = answer.text if answer.token_ids is None else " ".join(map(str, answer.token_ids))
    return repr(said[:60])
