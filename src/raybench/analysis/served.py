"""What to know of a run of servers: where the client held them up, what they do not tell, and what nobody checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from raybench.analysis.diagnostics import Caution
from raybench.analysis.server_versions import never_idle_cautions, version_cautions
from raybench.records import count, in_percent
from raybench.store import redact_uris

LATE_MS: Final = 1.0
"""How late requests may be sent, at the 99th percentile: the project's own target for its client."""
TOGETHER_SHARE: Final = 0.02
"""Of all tokens after the first of an answer: from how many on it is said that they came together with others."""
LATE_SHARE: Final = 0.01
"""And as a share of the median time to the first token: what is later by less than that changes nothing seen."""


def served_cautions(
    visits: Sequence[Mapping[str, Any]],
    prompts: Sequence[Mapping[str, Any]],
    servers: Sequence[Mapping[str, Any]],
    notes: Sequence[Mapping[str, Any]] = (),
    environments: Sequence[object] = (),
) -> list[tuple[str | None, Caution]]:
    """Each with its configuration; None: of the whole run.

    ``visits``: of the view raybench_load_visits. ``prompts``: of raybench_other_prompts. ``servers``: as the run's plan
    describes them. ``notes``: of the view load_notes. ``environments``: of each visit what it kept, as JSON.
    """
    found: list[tuple[str | None, Caution]] = []
    for url in dict.fromkeys(str(one["url"]) for one in servers if one.get("url")):
        message = f"{redact_uris(url)} ran already: no visit started it anew"
        hint = (
            "intervals are over visits to servers that were started once and say nothing of other starts, which differ "
            "more; to speak of those let raybench start servers"
        )
        found.append((None, Caution("running_server", message, hint)))
    found += version_cautions(environments)
    found += never_idle_cautions(environments)
    found += _caching_unknown(visits, servers)
    found += _not_held(notes, {visit["configuration"]: visit["deployment"] for visit in visits})
    if prompts:
        one = prompts[0]
        unlike = len({(row["task"], row["request"]) for row in prompts})
        message = (
            f"{count(unlike, 'request')} {'has' if unlike == 1 else 'have'} prompts of other lengths by server: "
            f"request {one['request']} of {one['task']} has {count(one['least'], 'token')} in {one['least_of']} and "
            f"{one['most']} in {one['most_of']}"
        )
        hint = "what is compared was not given the same prompt: send token ids, or texts to servers of one template"
        found.append((None, Caution("other_prompts", message, hint)))
    by_configuration: dict[str, list[Mapping[str, Any]]] = {}
    for visit in visits:
        if visit["late_ms"]:
            by_configuration.setdefault(visit["configuration"], []).append(visit)
    found += _at_once(visits)
    for name, of in by_configuration.items():
        late = float(np.quantile([ms for v in of for ms in v["late_ms"]], 0.99))
        ttft = float(np.median([ms for v in of for ms in v["ttft_ms"]]))
        if late > LATE_MS and late > LATE_SHARE * ttft:
            whose = of[0]["deployment"]
            load = "" if f"{of[0]['load']}" in whose else f" ({of[0]['load']})"
            message = (
                f"{whose}{load}: 1 % of requests were sent {late:.3g} ms late or later, {late / ttft:.2g} times the "
                "median TTFT"
            )
            hint = (
                f"the client held the server up, above {LATE_MS:g} ms and {in_percent(LATE_SHARE)} of the TTFT: give "
                "it a core of its own, or a smaller load"
            )
            found.append((name, Caution("late_client", message, hint)))
    return found


def _at_once(visits: Sequence[Mapping[str, Any]]) -> list[tuple[str | None, Caution]]:
    """Requests of which no step can be told."""
    of_configuration: dict[str, list[Mapping[str, Any]]] = {}
    for visit in visits:
        of_configuration.setdefault(visit["configuration"], []).append(visit)
    found: list[tuple[str | None, Caution]] = []
    for name, own in of_configuration.items():
        if at_once := sum(visit["at_once"] for visit in own):
            asked = sum(len(v["ttft_ms"]) for v in own)
            message = (
                f"{own[0]['deployment']}: of {at_once:,} of {count(asked, 'request')} all tokens came in one read, so "
                "that their TPOT is not told and their TTFT has all of it"
            )
            # Of an answer of one token there is nothing to tell.
            further = sum(visit["further"] for visit in own)
            hint = (
                "the server does not stream, or not token by token: compare whole requests only, or let it stream"
                if at_once == further
                else "the client came to read too late, or the server does not stream each answer: give the client a "
                "core of its own, or leave other work off the machine"
            )
            found.append((name, Caution("at_once", message, hint)))
        steps, together = (sum(visit[key] for visit in own) for key in ("steps", "together"))
        if together > steps * TOGETHER_SHARE:
            message = (
                f"{own[0]['deployment']}: {in_percent(together / steps, '.1f')} of tokens came together with the one "
                "before, beside those of answers that came whole: a TTFT may have steps of its own answer in it, and a "
                "TPOT lack them"
            )
            hint = (
                "the client came to read late, or the server tells several tokens at once: give the client a core of "
                "its own; end to end times have all of it"
            )
            found.append((name, Caution("together", message, hint)))
    return found


def _caching_unknown(
    visits: Sequence[Mapping[str, Any]], servers: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[None, Caution]]:
    """Servers that raybench knows no options of, and that tell how long prompts are, not what came out of a cache."""
    untold: dict[str, int] = {}
    for visit in visits:
        if visit["cache_untold"]:
            name = str(visit["servers"])
            untold[name] = untold.get(name, 0) + visit["cache_untold"]
    for one in servers:
        # Of version 8, which had one, no configuration names it.
        name = str(one.get("name")) if len(servers) > 1 else next(iter(untold), "")
        if name not in untold or not (one.get("url") or one.get("command")):
            continue
        command = one.get("command")
        word = command[0] if isinstance(command, list) and command else ""
        message = (
            f"{redact_uris(str(one.get('url') or word))} does not say which prompt tokens came out of a cache, of "
            f"{count(untold[name], 'request')}: where it keeps prompts that begin alike, or were asked before, a TTFT "
            "may be that of a cached one"
        )
        hint = (
            "start it so that it says so, or without such a cache: vLLM with --enable-prompt-tokens-details, and with "
            "--no-enable-prefix-caching"
        )
        yield None, Caution("caching_unknown", message, hint)


def _not_held(notes: Sequence[Mapping[str, Any]], deployments: Mapping[str, str]) -> Iterator[tuple[str, Caution]]:
    """Configurations whose answers no weights were known for, or no tokens. ``deployments``: what each is called."""
    for row in notes:
        if row["gate_tolerance"] is None:
            whose = deployments.get(row["configuration"], row["configuration"])
            message = f"{whose}: its answers were held to no weights, and those of another model would pass as its own"
            hint = (
                "to have answers held, give the files of model and adapters, prompts as token ids, and an engine that "
                "tells the ids of its tokens"
            )
            yield row["configuration"], Caution("not_held", message, hint)
