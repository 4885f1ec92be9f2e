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
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from scipy import signal, stats

from raybench.analysis.blocks import device_ratios, from_blocks, from_devices
from raybench.analysis.diagnostics import Visit, diagnose
from raybench.analysis.percentiles import over_devices
from raybench.analysis.ratios import CLOCKS, WALL, Ratios
from raybench.analysis.run_order import diagnose_run, visit_levels
from raybench.analysis.sequential import FIRST_LOOK, LEAST_DF, HalfwidthRule
from raybench.analysis.significance import holm, permutation_p
from raybench.analysis.stats import Estimate, combine, from_visits, verdict

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


def percentile_intervals(
    noise: str, percent: float, trials: int, rng: np.random.Generator, gpus: int = 10
) -> Iterator[tuple[float, float]]:
    """p50 and p95 with 10 visits of 50 requests, p99 with 14; with a GPU effect two visits on each of ``gpus``."""
    visits = 2 * gpus if noise == "GPU effect" else 14 if percent > 95 else VISITS
    for _, b in _trials(noise, trials, rng, visits=visits, gpus=gpus):
        devices = [str(v % gpus) if noise == "GPU effect" else "gpu" for v in range(visits)]
        yield over_devices(list(zip(devices, b, strict=True)), [percent])[0].interval


def percentile_coverage(noise: str, percent: float, trials: int, rng: np.random.Generator, gpus: int = 10) -> float:
    truth = true_value(noise, 1.0, percent)
    return _share(low <= truth <= high for low, high in percentile_intervals(noise, percent, trials, rng, gpus))


def uneven_visits_coverage(
    visit_sd: float, request_sd: float, visits: int, requests: int, trials: int, rng: np.random.Generator
) -> float:
    """Of a p99, where visits differ by more than their requests do, or as much with many requests in each."""
    truth = math.exp(float(stats.norm.ppf(0.99)) * math.hypot(visit_sd, request_sd))

    def held() -> Iterator[bool]:
        for _ in range(trials):
            levels = visit_sd * rng.standard_normal((visits, 1))
            samples = np.exp(levels + request_sd * rng.standard_normal((visits, requests)))
            low, high = over_devices([("gpu", of_visit) for of_visit in samples], [99.0])[0].interval
            yield low <= truth <= high

    return _share(held())


def percentile_open(noise: str, percent: float, trials: int, rng: np.random.Generator) -> float:
    """The share of intervals whose upper end is open."""
    return _share(math.isinf(high) for _, high in percentile_intervals(noise, percent, trials, rng))


def chained_false_positives(multis: int, gpus: int, trials: int, rng: np.random.Generator) -> float:
    """``multis`` configurations of several adapters against full fine-tuning, by way of the same three counterparts.

    Each ratio has an effect of its own on each GPU, and a visit runs on whichever GPU was free.
    """
    rounds = 12

    def rows(ratio: str, names: list[str], per_gpu: Array) -> list[dict[str, Any]]:
        return [
            {
                "configuration": name,
                "reference_strategy": ratio,
                "round": r,
                "measure": "end_to_end",
                "device": str(gpu),
            }
            | dict.fromkeys(CLOCKS, None)
            | {"wall": per_gpu[gpu] + LAUNCH_SD * rng.standard_normal(), "compared_ms": 1.0, "reference_ms": 1.0}
            for name in names
            for r, gpu in enumerate(rng.integers(gpus, size=rounds))
        ]

    made, links = [f"multi{i}" for i in range(multis)], ["link0", "link1", "link2"]
    chains = [
        {"configuration": name, "reference_strategy": "full", "via": "separate", "reference": link}
        for name in made
        for link in links
    ]

    def found() -> Iterator[bool]:
        for _ in range(trials):
            effects = (LAUNCH_SD if gpus > 1 else 0.0) * rng.standard_normal((2, gpus))
            visits = rows("separate", made, effects[0]) + rows("full", links, effects[1])
            estimate = Ratios(visits, chains).estimate(made, "full", WALL)
            yield estimate is not None and estimate.p_value() < 0.05

    return _share(found())


def permutation_over_gpus_false_positives(trials: int, rng: np.random.Generator) -> float:
    """The permutation test over 8 GPUs of 3 visits, each GPU with an effect of its own."""

    def found() -> Iterator[bool]:
        for _ in range(trials):
            by_gpu = {str(gpu): list(LAUNCH_SD * (rng.standard_normal() + rng.standard_normal(3))) for gpu in range(8)}
            yield permutation_p(device_ratios({"block": by_gpu}), seed=1) < 0.05

    return _share(found())


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


def gpu_sequential_errors(gpus: int, ratio: float, trials: int, rng: np.random.Generator) -> float:
    """`sequential_errors` where rounds go over several GPUs in turn, each with an effect of its own."""
    target, worst = 0.01, 0.0
    rule = HalfwidthRule(target, LOOKS, gpus)
    for spread in SPREADS:
        effects = target * spread / 4 * rng.standard_normal((trials, gpus))
        d = math.log(ratio) + target * spread * rng.standard_normal((trials, LOOKS))
        d += np.tile(effects, LOOKS // gpus + 1)[:, :LOOKS]
        ends = []
        for row, widths in zip(d, over_gpus_halfwidths(d, gpus).tolist(), strict=True):
            rounds = FIRST_LOOK
            while rule.decide(widths[:rounds]) == "continue":
                rounds += 1
            ends.append(from_devices({str(gpu): row[gpu:rounds:gpus] for gpu in range(gpus)}))
        p = [end.p_value() if ratio == 1 else end.equivalence_p(MARGIN) for end in ends]
        worst = max(worst, float(np.mean(np.array(p) < 0.05)))
    return worst


def over_gpus_halfwidths(d: Array, gpus: int) -> Array:
    """`dependable_halfwidth` of `from_devices` after each visit, for all rows of log ratios at once."""
    widths = np.full(d.shape, math.inf)
    if gpus <= LEAST_DF:
        return widths
    for n in range(gpus, d.shape[1] + 1):
        means = np.stack([d[:, gpu:n:gpus].mean(axis=1) for gpu in range(gpus)], axis=1)
        reach = stats.t.ppf(0.975, gpus - 1) * means.std(axis=1, ddof=1) / math.sqrt(gpus)
        widths[:, n - 1] = np.expm1(reach)
    return widths


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
    return _share(
        bool(diagnose_run(visit_levels([[Visit("gpu", visit, str(i), i) for i, visit in enumerate(b)]]), seed=1))
        for _, b in _trials(noise, trials, rng)
    )


def false_cautions_of_rounds(rounds: int, gpus: int, trials: int, rng: np.random.Generator) -> float:
    """The same in runs of 20 blocks of two configurations and few rounds: a block's levels mirror each other."""
    blocks, requests = 20, 4

    def found() -> Iterator[bool]:
        for _ in range(trials):
            on, of_visit = rng.integers(gpus, size=(rounds, blocks)), 0.02 * rng.standard_normal((rounds, blocks))
            configurations: list[list[Visit]] = [[] for _ in range(2 * blocks)]
            for r, b in np.ndindex(rounds, blocks):
                for visits in configurations[2 * b : 2 * b + 2]:
                    latencies = np.exp(of_visit[r, b] + LAUNCH_SD * rng.standard_normal(requests))
                    visits.append(Visit(str(on[r, b]), latencies, f"{r}-{b}", r * blocks + b))
            yield bool(diagnose_run(visit_levels(configurations), seed=1))

    return _share(found())


def false_outlier_cautions(visits: int, requests: int, trials: int, rng: np.random.Generator) -> float:
    """Short visits of normal log latency that are cautioned of outliers."""
    return _share(
        any(caution.code == "outliers" for caution in diagnose([Visit("gpu", row) for row in b]).cautions())
        for _, b in _trials("visit effect", trials, rng, visits=visits, requests=requests)
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
    *(
        Property(
            f"A/A false positives, chain of {multis} on {gpus} GPU(s)",
            0.03 if multis == 1 else 0.0,
            0.07,
            functools.partial(chained_false_positives, multis, gpus),
            2_000,
        )
        for multis, gpus in ((1, 1), (6, 1), (1, 4), (6, 4))
    ),
    Property(
        "A/A false positives, permutation test over GPUs", 0.03, 0.07, permutation_over_gpus_false_positives, 2_000
    ),
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
    *(
        Property(
            f"coverage, p99, {visits} visits of {requests} that differ by {visit_sd:.0%}, requests by {request_sd:.0%}",
            0.90,
            1.0,
            functools.partial(uneven_visits_coverage, visit_sd, request_sd, visits, requests),
            2_000,
        )
        for visit_sd, request_sd, visits, requests in (
            (0.05, 0.01, 20, 50),
            (0.03, 0.01, 20, 50),
            (0.20, 0.01, 20, 50),
            (0.05, 0.05, 10, 500),
        )
    ),
    Property("coverage, p50, 4 GPUs", 0.93, 1.0, functools.partial(percentile_coverage, "GPU effect", 50.0, gpus=4)),
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
    *(
        Property(
            f"sequential, 50 looks: {name}, {gpus} GPUs",
            0.0,
            0.06,
            functools.partial(gpu_sequential_errors, gpus, ratio),
            10_000,
        )
        for gpus in (2, 4, 6)
        for name, ratio in (("false positives", 1.0), ("equivalence, size at the margin", 1.0 + MARGIN))
    ),
    Property("negative control: stopping at the first p < 5 %", 0.07, 1.0, peeking_false_positives),
)
ORDER_CAUTIONS = (
    *(
        Property(f"sound runs cautioned of order, {noise}", 0.0, 0.04, functools.partial(false_cautions, noise), 2_000)
        for noise in ("iid", "visit effect")
    ),
    *(
        Property(
            f"sound runs cautioned of order, 20 blocks of {rounds} rounds on {gpus} GPU(s)",
            0.0,
            0.04,
            functools.partial(false_cautions_of_rounds, rounds, gpus),
            1_000,
        )
        for rounds, gpus in ((2, 1), (3, 1), (3, 4))
    ),
)
OUTLIER_CAUTIONS = tuple(
    Property(
        f"sound runs cautioned of outliers, {visits} visits of {requests}",
        0.0,
        0.04,
        functools.partial(false_outlier_cautions, visits, requests),
        2_000,
    )
    for visits, requests in ((10, 50), (10, 4), (3, 10), (2, 4))
)
OPEN = {
    f"{name}, {noise}": functools.partial(percentile_open, noise, percent)
    for name, percent in (("p95", 95.0), ("p99", 99.0))
    for noise in NOISES
}
"""How often a percentile's interval has no upper end: no target, but who reads the coverage should know it."""

PROPERTIES: tuple[Property, ...] = (*VERDICTS, *PERCENTILES, *SEQUENTIAL, *ORDER_CAUTIONS, *OUTLIER_CAUTIONS)


def measure(wanted: Property, share: float = 1.0) -> tuple[int, float]:
    """The number of trials, ``share`` of the full one, and what they gave; the seed is the property's name."""
    trials = max(1, round(wanted.trials * share))
    return trials, wanted.measure(trials, np.random.default_rng(zlib.crc32(wanted.name.encode())))


def holds_roughly(wanted: Property, share: float = 0.1) -> bool:
    """What the tests ask: a tenth of the trials, and as much more room as their number leaves to chance."""
    trials, measured = measure(wanted, share)
    return wanted.holds(measured, wanted.slack(trials))
