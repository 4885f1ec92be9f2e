"""One request, served and timed: a classifier's forward, or a language model's prefill and decoding steps."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from raybench.deploy import Deployment, Generator
from raybench.machine import Device, Times
from raybench.model import Prompts, Request
from raybench.plan import Configuration

if TYPE_CHECKING:  # it comes with torch, and plans are looked at without it
    from raybench.deploy import Prepared

OPENER_TOKENS: Final = 8
"""Tokens that a language model generates in an opener, at most: caches and kernels are warm by then."""


class Told(NamedTuple):
    """What there is to say of a request to a server: columns of samples; None: not told, or asked under no load."""

    late_ns: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None


class Served(NamedTuple):
    """A request's times, whole and, of a language model, of its prefill and of each decoding step.

    ``told``: of one to a server.
    """

    whole: Times
    prefill: Times | None = None
    decode: tuple[Times, ...] = ()
    told: Told | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """What serves the requests of one configuration. ``adapters``: the one for each of its tasks.

    ``by_request``: where adapters share a task, by a request's index the one that serves it, in a mixed batch one for
    each row (`served_by`); empty elsewhere.
    ``opener`` serves the openers of its turns, where it is not ``forward`` that does. ``generator``: of a language
    model, in place of both. ``mixed``: as a deployment has it.
    """

    forward: Callable[..., Any]
    adapters: Mapping[str, str] = dataclasses.field(default_factory=dict)
    opener: Callable[..., Any] | None = None
    generator: Generator | None = None
    mixed: Callable[..., Any] | None = None
    by_request: Mapping[int, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls,
        deployment: Deployment,
        adapters: Mapping[str, str],
        generator: Generator | None,
        by_request: Mapping[int, tuple[str, ...]] | None = None,
    ) -> Server:
        """What serves requests by ``deployment``."""
        return cls(deployment.forward, adapters, deployment.opener, generator, deployment.mixed, by_request or {})

    def adapter(self, request: Request) -> str | None:
        """The adapter that serves a request; None without one, or where each row has its own."""
        if self.mixed is not None:
            return None
        return adapter_for(request, self.adapters, self.by_request)

    def rows(self, request: Request) -> tuple[str, ...] | None:
        """The adapter of each row of a mixed batch; None of another request."""
        if self.mixed is None:
            return None
        return self.by_request.get(request.index) or tuple(self.adapters[prompt.task] for prompt in request.prompts)

    def serve(
        self, prompts: Prompts, device: Device, opener: bool = False, names: tuple[str, ...] | None = None
    ) -> Served:
        """Serve one request and time it. ``names``: the adapter of each row of a mixed batch, as `rows` has them."""
        if self.generator is not None:
            tokens = min(prompts.output_tokens, OPENER_TOKENS) if opener else prompts.output_tokens
            return _generate(self.generator, prompts, names, tokens, device)
        forward = self.opener if opener and self.opener is not None else self.forward
        if names is None:
            return Served(device.time(forward, prompts.values))
        return Served(device.time(self._mixed_forward, {"of_rows": names, "inputs": prompts.values}))

    def steps(self, prompts: Prompts, names: tuple[str, ...] | None = None) -> dict[str, Prepared]:
        """The steps of serving a request as `serve` does, by name; each time one is prepared it is taken once.

        A classifier's is its ``forward``. Of a language model ``prefill`` is one, and ``decode``, in the middle of what
        it generates, stands for all decoding steps; a request without any has none.
        """
        generator = self.generator
        if generator is not None:
            before = {"prefill": 0, "decode": max(1, prompts.output_tokens // 2)}
            kept = before if prompts.output_tokens > 1 else {"prefill": 0}
            return {name: partial(_step_of, generator, prompts, names, steps) for name, steps in kept.items()}
        forward: Callable[[], object] = partial(self.forward, **prompts.values)
        if names is not None:
            forward = partial(self._mixed_forward, of_rows=names, inputs=prompts.values)
        return {"forward": lambda: contextlib.nullcontext(forward)}

    def _mixed_forward(self, of_rows: tuple[str, ...], inputs: Mapping[str, Any]) -> Any:
        assert self.mixed is not None
        with self.mixed(of_rows):
            return self.forward(**inputs)


def adapter_for(request: Request, adapters: Mapping[str, str], by_request: Mapping[int, tuple[str, ...]]) -> str | None:
    """The adapter that serves a request, as `Server` has ``adapters`` and ``by_request``; None where there is none."""
    if by_request:
        return by_request[request.index][0]
    # A configuration of one adapter serves by it whatever it is asked, as a guest is in mixed batches.
    return next(iter(adapters.values())) if len(adapters) == 1 else adapters.get(request.task)


def served_by(
    configuration: Configuration, requests: Sequence[Request], places: Sequence[int]
) -> dict[int, tuple[str, ...]]:
    """By index of each of ``requests`` the names of the adapters that serve its rows, or all of it by one.

    ``places``: of the adapter of its first row, as `Configuration.adapter_places` has them; none where tasks tell.
    """
    names = [adapter.name for adapter in configuration.adapters]
    rows = range(configuration.batch if configuration.routing == "mixed" else 1)
    return {
        request.index: tuple(names[(place + row) % len(names)] for row in rows)
        for request, place in (zip(requests, places, strict=True) if places else ())
    }


@contextlib.contextmanager
def _step_of(
    generator: Generator, prompts: Prompts, names: tuple[str, ...] | None, before: int
) -> Iterator[Callable[[], object]]:
    """The step of a generation that comes after ``before`` others."""
    with contextlib.closing(generator.begin(prompts, names)) as generation:
        for step in range(before):
            generation.decode() if step else generation.prefill()
        yield generation.decode if before else generation.prefill


def _generate(
    generator: Generator, prompts: Prompts, names: tuple[str, ...] | None, tokens: int, device: Device
) -> Served:
    generation = generator.begin(prompts, names)
    time, decode, nothing = device.time, generation.decode, dict[str, Any]()
    steps: list[Times] = []
    try:
        prefill = time(generation.prefill, nothing)
        for _ in range(tokens - 1):
            steps.append(time(decode, nothing))  # noqa: PERF401  one after the other, in full view
    finally:
        generation.close()
    return Served(_whole(prefill, steps), prefill, tuple(steps))


def _whole(prefill: Times, steps: list[Times]) -> Times:
    """From the first step's start to the last one's end; host and device time are what the steps' add up to.

    The host's is taken as all but what was spent waiting for the device, so that on a CPU it is the wall time.
    """
    last = steps[-1] if steps else prefill
    wall_ns = last.started_ns + last.wall_ns - prefill.started_ns
    waited_ns = prefill.wall_ns - prefill.host_ns + sum(step.wall_ns - step.host_ns for step in steps)
    device_ns = None
    if prefill.device_ns is not None:
        device_ns = prefill.device_ns + sum(step.device_ns or 0 for step in steps)
    return Times(prefill.started_ns, wall_ns - waited_ns, wall_ns, device_ns)
