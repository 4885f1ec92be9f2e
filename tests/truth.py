"""Latencies whose truth is known, and how often the statistics find it.

`pair` simulates what two configurations of a block would measure. `PROPERTIES` lists what must hold of the
analysis, each with its target and the simulation that measures it; ``benchmarks/truth.py`` measures them at full
size, the tests a tenth of it. Effects are standard deviations of log latency.
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from scipy import signal, stats

from raybench.diagnostics import Visit, diagnose
from raybench.percentiles import percentile
from raybench.sequential import FIRST_LOOK, HalfwidthRule
from raybench.stats import (
    Estimate,
    combine,
    from_blocks,
    from_devices,
    from_visits,
    holm,
    permutation_p,
    verdict,
)

Array = NDArray[np.float64]

NOISES = ("iid", "autocorrelated", "visit effect", "GPU effect", "heavy-tailed", "bimodal")
VISITS, REQUESTS, LOOKS, GPUS = 10, 50, 50, 4

LAUNCH_SD = 0.01
"""What one process start adds to one configuration, the same for all its requests."""

REQUEST_SD = 0.05
MARGIN = 0.02
CHUNK = 250


def pair(
    noise: str,
    rng: np.random.Generator,
    *,
    trials: int,
    visits: int = VISITS,
    requests: int = REQUESTS,
    gpus: int = GPUS,
    ratio: float = 1.0,
    spread: float = 1.0,
) -> tuple[Array, Array]:
    """Latencies (ms) of a configuration and its reference, each of shape (trials, visits, requests).

    The reference takes 20 ms, the configuration ``ratio`` times that, with ``spread`` times the request noise.
    Visit v runs on GPU ``v % gpus``. A shared machine's drift (5 % between visits, 8 % between GPUs) is common to
    both; ``visit effect`` and ``GPU effect`` add what is each one's own.
    """
    shape = (trials, visits, requests)
    own, reference = spread * _request_noise(noise, rng, shape), _request_noise(noise, rng, shape)
    if noise == "visit effect":
        common = 0.05 * rng.standard_normal((trials, visits, 1))
        own += common + LAUNCH_SD * rng.standard_normal((trials, visits, 1))
        reference += common + LAUNCH_SD * rng.standard_normal((trials, visits, 1))
    if noise == "GPU effect":
        on = np.arange(visits) % gpus
        common = 0.08 * rng.standard_normal((trials, gpus, 1))[:, on]
        own += common + LAUNCH_SD * rng.standard_normal((trials, gpus, 1))[:, on]
        reference += common + LAUNCH_SD * rng.standard_normal((trials, gpus, 1))[:, on]
    return 20 * ratio * np.exp(own), 20 * np.exp(reference)


def _request_noise(noise: str, rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    if noise == "autocorrelated":
        innovations = rng.standard_normal(shape)
        innovations[..., 1:] *= 0.6  # so that the first is a draw of the stationary process as well
        return REQUEST_SD * signal.lfilter([1], [1, -0.8], innovations, axis=-1)
    if noise == "heavy-tailed":
        return np.log1p(0.05 * rng.pareto(4, shape))
    if noise == "bimodal":
        return 0.02 * rng.standard_normal(shape) + 0.15 * (rng.random(shape) < 0.2)
    return REQUEST_SD * rng.standard_normal(shape)


@functools.cache
def true_value(noise: str, spread: float, percent: float | None) -> float:
    """The reference's mean (percent None) or percentile in ms, with ``spread`` times the noise; by brute force."""
    rng = np.random.default_rng(20)
    a, _ = pair(noise, rng, trials=200_000, visits=1, requests=10, spread=spread)
    return float(a.mean() if percent is None else np.percentile(a, percent))


def naive_p(a: Array, b: Array) -> float:
    """The negative control: Welch's test on pooled samples, as if each were independent."""
    return float(stats.ttest_ind(a, b, axis=None, equal_var=False).pvalue)


def overhead(noise: str, a: Array, b: Array, of: Callable[..., Array] = np.mean, gpus: int = GPUS) -> Estimate:
    """What the analysis does with one trial: a log ratio for each visit, over GPUs where they are the noise."""
    d = np.log(of(a, axis=-1) / of(b, axis=-1))
    if noise != "GPU effect":
        return from_visits(d)
    return from_devices({str(gpu): d[gpu::gpus] for gpu in range(gpus)})


def _trials(noise: str, trials: int, rng: np.random.Generator, **how: float) -> Iterator[tuple[Array, Array]]:
    for start in range(0, trials, CHUNK):
        a, b = pair(noise, rng, trials=min(CHUNK, trials - start), **how)  # type: ignore[arg-type]
        yield from zip(a, b, strict=True)


def _share(found: Iterator[bool]) -> float:
    return float(np.mean(list(found)))


def false_positives(noise: str, trials: int, rng: np.random.Generator) -> float:
    return _share(overhead(noise, a, b).p_value() < 0.05 for a, b in _trials(noise, trials, rng))


def permutation_false_positives(trials: int, rng: np.random.Generator) -> float:
    return _share(permutation_p(row, seed=1) < 0.05 for row in rng.standard_t(3, (trials, VISITS)))


def naive_false_positives(trials: int, rng: np.random.Generator) -> float:
    launches = _trials("visit effect", trials, rng, visits=1, requests=VISITS * REQUESTS)
    return _share(naive_p(a, b) < 0.05 for a, b in launches)


def family_wise(shared_reference: bool, trials: int, rng: np.random.Generator) -> float:
    """Any of 28 identical configurations found different after Holm."""
    comparisons = 28

    def found() -> Iterator[bool]:
        for _ in range(trials):
            own, reference = LAUNCH_SD * rng.standard_normal((2, comparisons, VISITS))
            d = own - (reference[:1] if shared_reference else reference)
            yield min(holm([from_visits(row).p_value() for row in d])) < 0.05

    with mock.patch("gc.collect"):  # multipletests collects garbage at every call, which is most of its time
        return _share(found())


def blocks_false_positives(trials: int, rng: np.random.Generator) -> float:
    """A strategy's average over 7 blocks of 3 visits on one GPU, whose blocks differ in spread."""
    spreads = LAUNCH_SD * np.linspace(0.5, 2, 7)[:, None]

    def found() -> Iterator[bool]:
        for _ in range(trials):
            d = spreads * rng.standard_normal((7, 3))
            yield combine([from_visits(row) for row in d], [1 / 7] * 7).p_value() < 0.05

    return _share(found())


def crossed_false_positives(trials: int, rng: np.random.Generator) -> float:
    """A strategy's average over 5 blocks of 10 visits, each on whichever of 4 GPUs was free."""

    def found() -> Iterator[bool]:
        for _ in range(trials):
            gpu_effect = LAUNCH_SD * rng.standard_normal(GPUS)
            d: dict[str, dict[str, list[float]]] = {}
            for block in range(5):
                of_block = d.setdefault(str(block), {})
                for gpu in rng.integers(GPUS, size=VISITS):
                    value = gpu_effect[gpu] + LAUNCH_SD * rng.standard_normal()
                    of_block.setdefault(str(gpu), []).append(value)
            yield from_blocks(d).p_value() < 0.05

    return _share(found())


def overhead_coverage(noise: str, of: Callable[..., Array], trials: int, rng: np.random.Generator) -> float:
    """The configuration takes 1.35 times as long and is 1.5 times as noisy."""
    percent = 50.0 if of is np.median else None
    truth = 1.35 * true_value(noise, 1.5, percent) / true_value(noise, 1.0, percent)

    def held() -> Iterator[bool]:
        for a, b in _trials(noise, trials, rng, ratio=1.35, spread=1.5):
            low, high = overhead(noise, a, b, of).interval()
            yield low <= truth <= high

    return _share(held())


def percentile_coverage(noise: str, percent: float, trials: int, rng: np.random.Generator) -> float:
    """p50 and p95 with 10 visits of 50 requests, p99 with 14; with a GPU effect two visits on each of 10 GPUs."""
    truth = true_value(noise, 1.0, percent)
    gpus = 10
    visits = 2 * gpus if noise == "GPU effect" else 14 if percent > 95 else VISITS

    def held() -> Iterator[bool]:
        for _, b in _trials(noise, trials, rng, visits=visits, gpus=gpus):
            groups = [b[gpu::gpus].ravel() for gpu in range(gpus)] if noise == "GPU effect" else list(b)
            low, high = percentile(groups, percent).interval
            yield low <= truth <= high

    return _share(held())


def declared_equivalent(ratio: float, trials: int, rng: np.random.Generator) -> float:
    """10 visits of 50 requests, launch sd 1 %."""
    found = _trials("visit effect", trials, rng, ratio=ratio)
    return _share(verdict(overhead("visit effect", a, b), margin=MARGIN) == "equivalent" for a, b in found)


def prefix_halfwidths(d: Array) -> Array:
    """`Estimate.halfwidth` after each visit, for all rows of log ratios at once."""
    n = np.arange(1, d.shape[1] + 1)
    mean = np.cumsum(d, axis=1) / n
    squares = np.maximum(np.cumsum(d**2, axis=1) - n * mean**2, 0)
    widths = np.full(d.shape, math.inf)
    widths[:, 1:] = np.expm1(stats.t.ppf(0.975, n[1:] - 1) * np.sqrt(squares / (n * np.maximum(n - 1, 1)))[:, 1:])
    return widths


def stopped(d: Array, target: float) -> list[Array]:
    """The log ratios that each row's run ends with, when `HalfwidthRule` is asked after every round."""
    rule = HalfwidthRule(target, max_rounds=d.shape[1])
    runs = []
    for row, widths in zip(d, prefix_halfwidths(d).tolist(), strict=True):
        rounds = FIRST_LOOK
        while rule.decide(widths[:rounds]) == "continue":
            rounds += 1
        runs.append(row[:rounds])
    return runs


SPREADS = (3.0, 2.5, 2.25, 1.75)
"""Spread of a visit's log ratio over the target; the worst are those that are narrow after 15 to 40 visits."""


def _log_ratios(kind: str, size: tuple[int, int], rng: np.random.Generator) -> Array:
    if kind == "two states":
        return rng.choice([-1.0, 1.0], size=size) + 0.2 * rng.standard_normal(size)
    return rng.standard_normal(size)


def sequential_errors(kind: str, ratio: float, trials: int, rng: np.random.Generator) -> float:
    """The worst, over `SPREADS`, share of runs that end with a wrong verdict: slower, faster, or equivalent.

    At ratio 1 wrong is a difference at 5 %, at 1 + margin wrong is ``equivalent``.
    """
    target, worst = 0.01, 0.0
    for spread in SPREADS:
        d = math.log(ratio) + target * spread * _log_ratios(kind, (trials, LOOKS), rng)
        ends = [from_visits(run) for run in stopped(d, target)]
        p = [end.p_value() if ratio == 1 else end.equivalence_p(MARGIN) for end in ends]
        worst = max(worst, float(np.mean(np.array(p) < 0.05)))
    return worst


def peeking_false_positives(trials: int, rng: np.random.Generator) -> float:
    """The negative control: stop at the first of 50 looks that finds a difference."""
    d = rng.standard_normal((trials, LOOKS))
    n = np.arange(1, LOOKS + 1)
    reach = np.log1p(prefix_halfwidths(d * LAUNCH_SD)) / LAUNCH_SD
    return float((np.abs(np.cumsum(d, axis=1) / n) > reach).any(axis=1).mean())


def false_cautions(noise: str, trials: int, rng: np.random.Generator) -> float:
    """Runs without any order in which the first visit, a step or a drift is cautioned of."""
    codes = {"first_visit", "change_point", "drift"}
    return _share(
        any(caution.code in codes for caution in diagnose([Visit("gpu", visit) for visit in b], seed=1))
        for _, b in _trials(noise, trials, rng)
    )


@dataclass(frozen=True)
class Property:
    """Something that must be measured to lie between ``low`` and ``high``."""

    name: str
    low: float
    high: float
    measure: Callable[[int, np.random.Generator], float]
    trials: int = 4_000

    def holds(self, measured: float, slack: float = 0.0) -> bool:
        return self.low - slack <= measured <= self.high + slack

    def slack(self, trials: int) -> float:
        """Three standard errors at the end of the target that is nearer to one half."""
        nearest = min((self.low, self.high), key=lambda end: abs(end - 0.5))
        return 3 * math.sqrt(nearest * (1 - nearest) / trials)


def _each(
    noises: Sequence[str], name: str, low: float, high: float, function: Callable[..., float], *how: object
) -> list[Property]:
    return [Property(f"{name}, {noise}", low, high, functools.partial(function, noise, *how)) for noise in noises]


VERDICTS = (
    *_each(NOISES, "A/A false positives at 5 %", 0.03, 0.07, false_positives),
    Property("A/A false positives, permutation test", 0.03, 0.07, permutation_false_positives, 2_000),
    Property("A/A false positives, 7 blocks of 3 visits", 0.0, 0.07, blocks_false_positives),
    Property("A/A false positives, 5 blocks over 4 GPUs", 0.03, 0.07, crossed_false_positives),
    Property("negative control: pooled Welch on one launch", 0.07, 1.0, naive_false_positives, 2_000),
    Property("family-wise, 28 A/A after Holm", 0.0, 0.06, functools.partial(family_wise, False)),
    Property("family-wise, 28 A/A sharing a reference", 0.0, 0.06, functools.partial(family_wise, True)),
    *_each(NOISES, "coverage, overhead of the mean", 0.93, 0.97, overhead_coverage, np.mean),
    *_each(NOISES, "coverage, overhead of the median", 0.93, 0.97, overhead_coverage, np.median),
    Property("equivalence: size at + margin", 0.0, 0.06, functools.partial(declared_equivalent, 1.02), 20_000),
    Property("equivalence: size at - margin", 0.0, 0.06, functools.partial(declared_equivalent, 1 / 1.02), 20_000),
    Property("equivalence: power at no difference", 0.9, 1.0, functools.partial(declared_equivalent, 1.0), 20_000),
)
PERCENTILES = (
    *_each(NOISES, "coverage, p50", 0.93, 0.97, percentile_coverage, 50.0),
    *_each(NOISES, "coverage, p95", 0.93, 0.97, percentile_coverage, 95.0),
    *_each(NOISES, "coverage, p99", 0.90, 1.00, percentile_coverage, 99.0),
)
SEQUENTIAL = (
    *(
        Property(f"sequential, 50 looks: {name}", 0.0, 0.06, functools.partial(sequential_errors, *how), 20_000)
        for name, how in {
            "false positives": ("normal", 1.0),
            "false positives, visits in two states": ("two states", 1.0),
            "equivalence, size at the margin": ("normal", 1.0 + MARGIN),
        }.items()
    ),
    Property("negative control: stopping at the first p < 5 %", 0.07, 1.0, peeking_false_positives),
)
CAUTIONS = tuple(
    Property(f"sound runs cautioned of order, {noise}", 0.0, 0.04, functools.partial(false_cautions, noise), 2_000)
    for noise in ("iid", "visit effect")
)
PROPERTIES: tuple[Property, ...] = (*VERDICTS, *PERCENTILES, *SEQUENTIAL, *CAUTIONS)


def measure(wanted: Property, share: float = 1.0) -> tuple[int, float]:
    """The number of trials, ``share`` of the full one, and what they gave; the seed is the property's name."""
    trials = max(1, round(wanted.trials * share))
    return trials, wanted.measure(trials, np.random.default_rng(zlib.crc32(wanted.name.encode())))


def holds_roughly(wanted: Property, share: float = 0.1) -> bool:
    """What the tests ask: a tenth of the trials, and as much more room as their number leaves to chance."""
    trials, measured = measure(wanted, share)
    return wanted.holds(measured, wanted.slack(trials))
