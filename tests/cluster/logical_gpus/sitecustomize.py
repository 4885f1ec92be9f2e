"""Makes logical GPUs measurable where there are none: each is the CPU, under a name of its own.

For tests of placement: put this folder on PYTHONPATH of a driver and of Ray's nodes, before Ray is started.
"""

import os
import socket

os.environ["OMP_NUM_THREADS"] = "1"

from raybench.machine import device


class LogicalGpu(device.CpuDevice):
    """The GPU number that Ray assigned, of the node that this process belongs to."""

    def __init__(self) -> None:
        super().__init__()
        node = os.environ.get("RAY_RAYLET_PID", "0")
        self.name = "logical GPU"
        self.identity = f"GPU-{socket.gethostname()}-{node}-{os.environ['CUDA_VISIBLE_DEVICES']}"


device.CudaDevice = LogicalGpu
