"""Latencies of deployments by optimum-benchmark's process launcher, as JSON on the last line. `designs.py` runs it.

    PYTHON benchmarks/optimum_launches.py DEPLOYMENTS [--iterations 500] [--tokens 64] [--start-method spawn]

PYTHON: of the environment that `designs.py` says how to make. DEPLOYMENTS: JSON, by name what `PyTorchConfig` takes
(``model``, and for an adapter ``peft_type`` and ``peft_config``). Each is launched once, in order, in a process of its
own: 10 warm-ups, then ``--iterations`` forwards of one drawn input, as its inference scenario does. One thread, a CPU.
"""

from __future__ import annotations

import argparse
import json

from optimum_benchmark import Benchmark, BenchmarkConfig, InferenceConfig, ProcessConfig, PyTorchConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("deployments", type=json.loads)
    parser.add_argument("--iterations", type=int, default=500)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--start-method", default="spawn", choices=("spawn", "fork"))
    asked = parser.parse_args()
    seconds = {}
    for name, deployment in asked.deployments.items():
        config = BenchmarkConfig(
            name=name,
            launcher=ProcessConfig(start_method=asked.start_method),
            scenario=InferenceConfig(
                iterations=asked.iterations,
                duration=0,
                warmup_runs=10,
                input_shapes={"batch_size": 1, "sequence_length": asked.tokens},
            ),
            backend=PyTorchConfig(
                library="transformers",
                task="text-classification",
                model_type="llama",
                device="cpu",
                torch_dtype="float32",
                inter_op_num_threads=1,
                intra_op_num_threads=1,
                **deployment,
            ),
        )
        seconds[name] = Benchmark.launch(config).forward.latency.values
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
