"""vLLM's own benchmark of servers, asked again and again in one process: ``python vllm_bench_worker.py`` of its Python.

Each line of standard input is a JSON object, answered by one of standard output: what `vllm.benchmarks.serve.benchmark`
returns, which is what ``vllm bench serve`` calls once its arguments are parsed and its data set is drawn. Each call has
an HTTP session of its own and a test run before it, as the command has. Started once, it is asked in turn with others:
to import it takes longer than to measure.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import Any

KEPT = ("ttfts", "itls", "output_lens", "input_lens", "start_times", "errors", "completed", "generated_texts")


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what it prints
    from vllm.benchmarks import serve  # type: ignore[import-not-found,unused-ignore]
    from vllm.benchmarks.datasets import SampleRequest  # type: ignore[import-not-found,unused-ignore]

    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        requests = [
            SampleRequest(prompt=prompt, prompt_len=len(prompt), expected_output_len=asked["tokens"], request_id=None)
            for prompt in asked["prompts"]
        ]
        with contextlib.redirect_stdout(sys.stderr):
            result = asyncio.run(
                serve.benchmark(
                    task_type=serve.TaskType.GENERATION,
                    endpoint_type="openai",
                    api_url=f"{asked['url']}/v1/completions",
                    base_url=asked["url"],
                    model_id=asked["model"],
                    model_name=asked["model"],
                    tokenizer=None,
                    input_requests=requests,
                    logprobs=None,
                    request_rate=float("inf"),
                    burstiness=1.0,
                    disable_tqdm=True,
                    num_warmups=0,
                    profile=False,
                    selected_percentile_metrics=["ttft", "tpot"],
                    selected_percentiles=[50.0],
                    ignore_eos=True,
                    goodput_config_dict={},
                    max_concurrency=1,
                    lora_modules=None,
                    extra_headers=None,
                    extra_body=asked["extra_body"],
                )
            )
        print(json.dumps({name: result[name] for name in KEPT}), file=answers, flush=True)


if __name__ == "__main__":
    main()
