"""A device whose constants are known."""

from __future__ import annotations

from raybench.machine.calibration import Calibration

KNOWN = Calibration(
    instruction_ns=20.0,
    view_ns=500.0,
    elementwise_ns=1500.0,
    product_ns=2500.0,
    attention_ns=9000.0,
    kernel_ns=None,
    generated_ns=3000.0,
    flops_s=4e10,
    attention_flops_s=2e10,
    bytes_s=1e10,
    memory_bytes_s=8e9,
)
