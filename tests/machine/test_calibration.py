"""The constants of a device: solved exactly of passes that took what known constants say; positive on a real one."""

from __future__ import annotations

import dataclasses
import gc

import pytest
import torch

from machine.known_device import KNOWN
from raybench.machine.calibration import Calibration, Pass, calibrate, solved
from raybench.machine.device import CpuDevice
from raybench.machine.operations import Operations

DID = {
    "python": (Operations(), 1000),
    "views": (Operations(views=10), 80),
    "elementwise": (Operations(operations=10, activation_bytes=40_000), 60),
    "large elementwise": (Operations(operations=10, activation_bytes=4_000_000), 60),
    "products": (Operations(operations=3, products=3, flops=300_000), 20),
    "large product": (Operations(operations=1, products=1, flops=4_000_000), 7),
    "attention": (Operations(operations=1, attention=1, flops=60_000, attention_flops=60_000), 10),
    "large attention": (Operations(operations=1, attention=1, flops=4_000_000, attention_flops=4_000_000), 10),
    "far product": (
        Operations(operations=1, products=1, flops=8, activation_bytes=64_000_000, product_bytes=64_000_000),
        0,
    ),
    "layers": (
        Operations(2_000_000, 200_000, 4000, 500_000, 300_000, operations=80, views=40, products=20, attention=4),
        6000,
    ),
    "compiled layers": (
        Operations(2_000_000, 200_000, 4000, 500_000, 300_000, operations=50, products=20, attention=4, generated=26),
        900,
    ),
}


def took(known: Calibration, name: str, times: float = 1.0) -> Pass:
    did, instructions = DID[name]
    if name == "far product":
        return Pass(did, instructions, did.product_bytes / (known.memory_bytes_s or 1) * 1e9, None)
    return Pass(did, instructions, times * known.host_ns(did, instructions) + known.device_ns(did), None)


def values(of: Calibration) -> dict[str, float]:
    return {name: value for name, value in dataclasses.asdict(of).items() if value is not None}


def test_the_constants_are_those_by_which_the_passes_took_what_they_took() -> None:
    found = values(solved({name: took(KNOWN, name) for name in DID}))
    assert found == pytest.approx(values(KNOWN), rel=1e-9)


def test_dispatch_is_scaled_until_layers_take_what_they_took_and_rates_are_not() -> None:
    found = values(solved({name: took(KNOWN, name, 1.25 if name == "layers" else 1.0) for name in DID}))
    expected = {name: value * (1.25 if "flops" not in name else 1) for name, value in values(KNOWN).items()}
    expected |= {"bytes_s": KNOWN.bytes_s, "memory_bytes_s": 8e9}
    # What is compiled took no longer, and of that dispatch takes more now: the rest is what generated kernels take.
    did, instructions = DID["compiled layers"]
    without = dataclasses.replace(KNOWN, generated_ns=None).host_ns(did, instructions)
    expected["generated_ns"] = KNOWN.generated_ns - 0.25 * without / 26
    assert found == pytest.approx(expected, rel=1e-9)


def test_of_a_gpu_host_and_device_are_told_apart_by_their_clocks() -> None:
    known = dataclasses.replace(KNOWN, kernel_ns=1800.0, generated_ns=None)
    passes = {}
    for name, (did, instructions) in DID.items():
        if name == "compiled layers":
            continue
        device_ns = known.device_ns(did)
        if name == "large product":
            device_ns = did.flops / known.flops_s * 1e9
        passes[name] = Pass(did, instructions, known.host_ns(did, instructions), device_ns)
    behind = passes["large product"]
    assert behind.device_ns is not None
    passes["behind a product"] = Pass(Operations(operations=11), 0, 1.0, behind.device_ns + 10 * 1800.0)
    assert values(solved(passes)) == pytest.approx(values(known), rel=1e-9)


def test_where_memory_was_not_asked_for_nothing_is_bound_by_it() -> None:
    found = solved({name: took(KNOWN, name) for name in DID if name != "far product"})
    assert found.memory_bytes_s is None
    did = Operations(flops=4_000_000, product_bytes=10**12, activation_bytes=10**12)
    assert found.device_ns(did) == pytest.approx(4e6 / 4e10 * 1e9)


def test_noise_that_leaves_less_than_nothing_gives_no_constant_below_zero() -> None:
    passes = {name: took(KNOWN, name) for name in DID}
    passes["products"] = dataclasses.replace(passes["products"], host_ns=1.0)
    passes["large elementwise"] = dataclasses.replace(passes["large elementwise"], host_ns=1.0)
    assert all(value > 0 for value in values(solved(passes)).values())


def test_a_real_device_has_positive_constants_and_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    found = calibrate(CpuDevice(), torch.float32)
    assert found.kernel_ns is None
    assert found.generated_ns is None
    assert found.memory_bytes_s is not None
    assert calibrate(CpuDevice(), torch.float32, memory=False).memory_bytes_s is None
    assert all(value > 0 for value in values(found).values())
    assert torch.equal(torch.get_rng_state(), state)
    assert gc.isenabled()
    assert not torch.is_inference_mode_enabled()


def test_no_tensor_of_the_passes_is_kept() -> None:
    calibrate(CpuDevice(), torch.float64)
    kept = [o for o in gc.get_objects() if type(o) is torch.Tensor and o.dtype == torch.float64]
    assert [o.shape for o in kept if o.numel() >= 128 * 128] == []


def test_what_is_predicted_is_what_counts_and_constants_add_up_to() -> None:
    did = Operations(
        flops=4_000_000, attention_flops=2_000_000, weight_bytes=700, activation_bytes=2300, product_bytes=1000,
        operations=10, views=4, products=3, attention=1, generated=2,
    )  # fmt: skip
    assert KNOWN.host_ns(did, 100) == 100 * 20 + 4 * 500 + 4 * 1500 + 3 * 2500 + 9000 + 2 * 3000
    assert KNOWN.device_ns(did) == pytest.approx(2e6 / 4e10 * 1e9 + 2e6 / 2e10 * 1e9 + 2000 / 1e10 * 1e9)
    bound_by_memory = dataclasses.replace(did, product_bytes=1_000_000, activation_bytes=1_001_300)
    assert KNOWN.device_ns(bound_by_memory) == pytest.approx(1e6 / 8e9 * 1e9 + 1e5 + 2000 / 1e10 * 1e9)
