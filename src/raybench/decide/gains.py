"""What further forms and executions gain, as people read it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from raybench.decide.advice import FormGain
from raybench.report import are_too_many, duration, is_usable, settled_by, why_no_interval


def gain_lines(forms: Sequence[FormGain]) -> Iterator[str]:
    """A line for each form and, where it was compared, the lines of code below it; nothing where there are no forms."""
    if forms:
        yield "Further forms, by mean wall time of the same requests (by_strategy), and the lines to get them:"
    for gain in forms:
        yield f"  {gain.deployment}: {gain_words(gain)}"
        for line in gain.lines if gain.lacks is None else ():
            yield f"      {line}"


def gain_words(gain: FormGain) -> str:
    """``0.62 times LoRA Separate [0.6, 0.64] (3.1 ms for 5 ms): faster, settled``."""
    if gain.lacks is not None or gain.ratio is None:
        return gain.lacks or ""
    interval = f"{_times(gain.low)}, {_times(gain.high)}"
    if gain.no_interval:
        interval = "no interval"
    elif gain.low is not None and gain.high is not None and not is_usable(gain.low, gain.high):
        interval = "no usable interval"
    means = ""
    if gain.mean_ms is not None and gain.usual_ms is not None:
        means = f" ({gain.mean_ms:.4g} ms for {gain.usual_ms:.4g} ms)"
    through = f", both against {gain.through}" if gain.through else ""
    found = f"{_times(gain.ratio)} times {gain.usual} [{interval}]{means}: {gain.verdict}, {_settled(gain)}{through}"
    if gain.compile_s is not None:
        found += f"; compiled once a machine, in {duration(gain.compile_s)}"
    return found


def _settled(gain: FormGain) -> str:
    if gain.settled:
        return "settled"
    if gain.disputed:
        return "not settled: the means show it, request by request it is not borne out"
    if gain.no_interval is not None:
        return f"not settled: {why_no_interval(gain.no_interval)}"
    if gain.more_rounds is not None:
        told = settled_by(gain.more_rounds, gain.round_s)
        return told if are_too_many(gain.more_rounds, gain.round_s) else f"not settled: {told}"
    return "not settled: more rounds may"


def _times(ratio: float | None) -> str:
    return f"{ratio:.3g}" if ratio is not None and math.isfinite(ratio) else "unbounded"
