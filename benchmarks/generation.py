"""Is the time of a prefill and of a decoding step that of the model, or is some of it ours?

The same requests are generated in turns by what a visit runs (`raybench.visit`) and by a bare loop that calls the model
and takes the most likely token, and nothing else. Prints by how much they differ, for prefill and decoding, with 95 %
intervals over pairs of requests: of the mean, which stalls of the machine move, and of the median. The bare loop
against itself stands beside it: what the benchmark cannot tell from nothing. One thread, on a CPU.

    python benchmarks/generation.py [--pairs 300] [--prompt 64] [--output 16] [--seed 0]
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import stats

from raybench.deploy.generation import Generator
from raybench.deploy.strategies import Deployment
from raybench.machine.device import CpuDevice
from raybench.model.prompts import Prompts, as_tensors
from raybench.model.weights import build
from raybench.model.workload import Request
from raybench.visit.serving import Server


def bare(model: Any, prompts: Prompts) -> tuple[float, float]:
    """Nanoseconds of the prefill, and of a decoding step."""
    ids, mask = prompts.values["input_ids"], prompts.values["attention_mask"]
    positions = prompts.values["position_ids"]
    length = ids.shape[1]
    masks = [mask[:, : length + i] for i in range(prompts.output_tokens)]
    places = [positions[:, length + i - 1 : length + i] for i in range(prompts.output_tokens)]
    clock = time.perf_counter_ns
    began = clock()
    out = model(
        input_ids=ids, attention_mask=masks[0], position_ids=positions[:, :length], use_cache=True, logits_to_keep=1
    )
    token = out.logits[:, -1:].argmax(-1)
    prefilled = clock()
    for i in range(1, prompts.output_tokens):
        out = model(
            input_ids=token,
            attention_mask=masks[i],
            position_ids=places[i],
            past_key_values=out.past_key_values,
            use_cache=True,
            logits_to_keep=1,
        )
        token = out.logits[:, -1:].argmax(-1)
    return prefilled - began, (clock() - prefilled) / (prompts.output_tokens - 1)


def ours(server: Server, device: CpuDevice, prompts: Prompts) -> tuple[float, float]:
    served = server.serve(prompts, device)
    assert served.prefill is not None
    return served.prefill.wall_ns, sum(step.wall_ns for step in served.decode) / len(served.decode)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--output", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model = build("micro-lm", torch.float32, "cpu", 0, task_type="CAUSAL_LM")
    device, server = CpuDevice(), Server.of(Deployment(model, model), {}, Generator(Deployment(model, model)))
    rng = np.random.default_rng(asked.seed)
    ways: dict[str, Callable[[Prompts], tuple[float, float]]] = {
        "bare": lambda prompts: bare(model, prompts),
        "bare again": lambda prompts: bare(model, prompts),
        "ours": lambda prompts: ours(server, device, prompts),
    }
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    gc.disable()
    with torch.inference_mode():
        for i in range(-10, asked.pairs):
            request = Request("a", abs(i), asked.prompt, None, asked.output)
            prompts = as_tensors(request, "CAUSAL_LM", "cpu", vocabulary_size=1024, pad_token_id=0)
            for way in rng.permutation(list(ways)):
                ways[way](prompts)  # what ran before is its own
                times = ways[way](prompts)
                if i >= 0:
                    found[way].append(times)
    for column, name in enumerate(("prefill", "decoding step")):
        median_ms = np.median([times[column] for times in found["bare"]]) / 1e6
        print(f"{name}, {median_ms:.3f} ms, of {asked.pairs} pairs:")
        for way in ("ours", "bare again"):
            logs = np.log(np.array(found[way])[:, column] / np.array(found["bare"])[:, column])
            mean, error = logs.mean(), stats.sem(logs)
            low, high = stats.quantile_test(logs, p=0.5).confidence_interval()
            whole = _percents(mean, mean - 1.96 * error, mean + 1.96 * error)
            print(f"  {way}: mean {whole}, median {_percents(np.median(logs), low, high)}")


def _percents(*logs: float) -> str:
    value, low, high = 100 * np.expm1(logs)
    return f"{value:+.2f} % [{low:+.2f}, {high:+.2f}]"


if __name__ == "__main__":
    main()
