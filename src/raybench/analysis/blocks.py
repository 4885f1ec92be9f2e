"""Averages over blocks and chains of ratios, measured on one GPU or on several.

Visits of one GPU are independent; blocks that share several GPUs are not, and an interval is then taken over GPUs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from raybench.analysis.stats import Estimate, combine, finite, from_visits


def from_devices(log_ratios_by_device: Mapping[str, Sequence[float]]) -> Estimate:
    """A block's overhead over several GPUs: one mean log ratio for each GPU, then a t interval over GPUs.

    GPUs count alike, however many visits each took, because it is GPUs that the answer is about. With two of
    them there is one degree of freedom and the 95 % interval reaches 12.7 standard errors: it is right, and wide.
    With one GPU this is `from_visits`. Raises ValueError like it.
    """
    return from_blocks({"": log_ratios_by_device})


def from_blocks(
    log_ratios: Mapping[str, Mapping[str, Sequence[float]]], weights: Mapping[str, float] | None = None
) -> Estimate:
    """A strategy's average over blocks; ``log_ratios[block][gpu]`` holds one a visit. Blocks count alike.

    ``weights``: how much each block counts instead. With one GPU, `combine` of the blocks. With several, a GPU's own
    ratio is in every block it served, so blocks are not independent: block and GPU effects are fitted side by side
    (least squares; not every GPU need have served every block), which leaves one ratio for each GPU, and a t interval
    is taken over those. Where too few visits crossed for the two to be told apart, the average comes without an
    interval (df 0).

    Raises ValueError for no blocks, no visits, or a log ratio that is not finite.
    """
    return from_chain([(log_ratios, weights)])


Link = tuple[Mapping[str, Mapping[str, Sequence[float]]], Mapping[str, float] | None]
"""One ratio of a chain: ``log_ratios[block][gpu]``, and how much each block counts (None: alike, 1 in all)."""


def from_chain(links: Sequence[Link]) -> Estimate:
    """Ratios that multiply, such as multi / separate and separate / full, each averaged over its blocks.

    With one GPU their visits are independent, and `combine` adds them up. With several, the same GPUs are in all of
    them: the links are added GPU by GPU and a t interval is taken over the GPUs that served every link. Where fewer
    than two did, or too few visits crossed, there is no interval (df 0).

    Raises ValueError like `from_blocks`.
    """
    kept = [_weighted(*link) for link in links]
    if not kept:
        raise ValueError("a chain needs at least one link")
    served = [{device for by_device in blocks.values() for device in by_device} for blocks, _ in kept]
    if len(set.union(*served)) < 2:
        parts = [
            (from_visits(next(iter(v.values()))), weights[name])
            for blocks, weights in kept
            for name, v in blocks.items()
        ]
        return combine([part for part, _ in parts], [weight for _, weight in parts])
    n, strata = 0, 0
    per_device: list[dict[str, float]] = []
    of_visits = 0.0
    means = []
    for blocks, weights in kept:
        fitted = _DeviceFit.of(blocks, weights)
        n, strata = n + fitted.n, strata + len(blocks)
        means.append(fitted.mean)
        per_device.append(fitted.per_device)
        of_visits += fitted.variance
    common = sorted(set.intersection(*(set(values) for values in per_device)))
    if len(common) < 2:
        return Estimate(math.fsum(means), math.inf, 0, n, strata, len(set.union(*served)), unknown="devices apart")
    answer = from_visits([math.fsum(values[device] for values in per_device) for device in common])
    floor = 0.0 if answer.unknown else math.sqrt(max(0.0, answer.standard_error**2 - of_visits))
    return dataclasses.replace(answer, n=n, strata=strata, devices=len(common), floor=floor)


def device_ratios(log_ratios: Mapping[str, Mapping[str, Sequence[float]]]) -> list[float]:
    """What a permutation test may flip: a log ratio for each visit, or with several GPUs one for each GPU.

    Empty where too few visits crossed for GPUs to be told from blocks. Raises ValueError like `from_blocks`.
    """
    blocks, weights = _weighted(log_ratios, None)
    if len({device for by_device in blocks.values() for device in by_device}) < 2:
        return [value for by_device in blocks.values() for values in by_device.values() for value in values]
    return list(_DeviceFit.of(blocks, weights).per_device.values())


def _weighted(
    log_ratios: Mapping[str, Mapping[str, Sequence[float]]], weights: Mapping[str, float] | None
) -> tuple[dict[str, Mapping[str, Sequence[float]]], dict[str, float]]:
    blocks = {name: by_device for name, by_device in log_ratios.items() if by_device}
    if not blocks:
        raise ValueError("need at least one block with visits")
    return blocks, dict(weights) if weights is not None else dict.fromkeys(blocks, 1 / len(blocks))


class _DeviceFit(NamedTuple):
    """Block and GPU effects, fitted side by side.

    ``per_device``: the weighted average over blocks on each GPU; empty where the two cannot be told apart.
    ``variance``: the part of the mean's variance that comes from visits. ``mean``: without regard to GPUs.
    """

    per_device: dict[str, float]
    variance: float
    mean: float
    n: int

    @classmethod
    def of(cls, blocks: Mapping[str, Mapping[str, Sequence[float]]], weights: Mapping[str, float]) -> _DeviceFit:
        devices = sorted({device for by_device in blocks.values() for device in by_device})
        share = np.array([weights[name] for name in blocks])
        visits = [
            (index, devices.index(device), value)
            for index, by_device in enumerate(blocks.values())
            for device, values in by_device.items()
            for value in finite(values)
        ]
        block, device, d = (np.array(column) for column in zip(*visits, strict=True))
        mean = float(share @ [d[block == index].mean() for index in range(len(blocks))])
        # One column for each block and, so that the two can be told apart, one for each GPU but the first.
        of_block, of_device = block[:, None] == np.arange(len(blocks)), device[:, None] == np.arange(1, len(devices))
        design = np.hstack([of_block, of_device]).astype(float)
        if np.linalg.matrix_rank(design) < design.shape[1]:
            return cls({}, 0.0, mean, d.size)
        solve = np.linalg.pinv(design)
        # Row g: the weighted block effects and the effect of GPU g, as a weighted sum of visits.
        average = np.tile(share, (len(devices), 1))
        per_device = np.hstack([average, share.sum() * np.eye(len(devices))[:, 1:]]) @ solve
        variance, residual_df = 0.0, d.size - design.shape[1]
        if residual_df:
            residual = d - design @ (solve @ d)
            variance = float(residual @ residual) / residual_df * float((per_device.mean(axis=0) ** 2).sum())
        return cls(dict(zip(devices, (per_device @ d).tolist(), strict=True)), variance, mean, d.size)
