"""What does the client of servers cost by itself: a token of one stream, and how many requests can it send on time?

The server is tests/serve/fake_server.py, a process of its own on loopback. One stream: each event says when the server
wrote it, by the clock that both processes have, so the delay of a token is known from writing to the client's time of
it. `serve/one_stream.py`, `serve/connection.py` in its event loop, and a bare blocking socket, which does nothing but
read and note the time, read such streams in turn; told are what a token is later by each than by the bare one and what
CPU time it costs, as ratios and differences with 95 % intervals over rounds. Paced: a token each millisecond. At once:
as fast as the server writes.

64 streams: requests of an open loop (Poisson) at several rates, and by how much they were sent late: answered at once,
and each token after a pause, so that 64 are under way in the mean; and a closed loop, which says how many a second the
two processes manage at all. The server is of Python, too, and has its share in that. "Waited for a core": the share of
the time in which the client could have run and other processes did (/proc/self/schedstat).

    python benchmarks/serve_client.py [--pairs 30] [--tokens 200] [--rates 250 500 750 1000] [--seconds 5]
                                      [--real-time] [--raw FILE]

``--real-time``: client and server are of the scheduler's class SCHED_FIFO, so that other work takes no core from them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from raw import write_raw
from scipy import stats

from raybench.machine import take_priority
from raybench.serve import (
    Asked,
    Endpoint,
    Load,
    OneStream,
    Received,
    closed_loop,
    connect,
    endpoint_of,
    open_loop,
    poisson_arrivals,
    run_on_time,
)
from raybench.serve.connection import Connection

SERVER = Path(__file__).parents[1] / "tests" / "serve" / "fake_server.py"
STREAMS = 64
LATE_NS = 1_000_000
"""Where a request counts as late."""
_STAMP = re.compile(rb'"text": "(\d+)"')
_WAYS = ("bare", "one stream", "loop")

Stream = dict[str, float]
"""What reading one stream took: ``delay_ns`` of its tokens (median), ``cpu_ns`` and ``wall_ns`` of a token."""


def behave(endpoint: Endpoint, **behaviour: Any) -> None:
    url = f"http://{endpoint.authority}/control"
    urllib.request.urlopen(url, json.dumps(behaviour).encode()).close()


def measured(reads: Sequence[tuple[int, bytes]], cpu_ns: int, wall_ns: int, tokens: int) -> Stream:
    delays = [ns - int(stamp) for ns, part in reads for stamp in _STAMP.findall(part)]
    if len(delays) < tokens * 0.95:  # a read may end within an event
        raise SystemExit(f"{len(delays)} of {tokens} tokens were found whole in a read")
    return {"delay_ns": float(np.median(delays)), "cpu_ns": cpu_ns / tokens, "wall_ns": wall_ns / tokens}


def read_bare(connection: socket.socket, request: bytes, tokens: int) -> Stream:
    """Reads the stream with a blocking socket."""
    reads: list[tuple[int, bytes]] = []
    clock, receive = time.perf_counter_ns, connection.recv
    began_cpu, began = time.thread_time_ns(), clock()
    connection.sendall(request)
    while True:
        data = receive(1 << 18)
        ns = clock()
        reads.append((ns, data))
        if data.endswith(b"0\r\n\r\n") or not data:
            break
    return measured(reads, time.thread_time_ns() - began_cpu, clock() - began, tokens)


def read_one(connection: OneStream, request: bytes, tokens: int) -> Stream:
    """Reads it as a turn of a visit does."""
    began_cpu, began = time.thread_time_ns(), time.perf_counter_ns()
    return received(connection.exchange(request), began_cpu, began, tokens)


async def read_loop(connection: Connection, request: bytes, tokens: int) -> Stream:
    """Reads it as a load does."""
    began_cpu, began = time.thread_time_ns(), time.perf_counter_ns()
    return received(await connection.start(request), began_cpu, began, tokens)


def received(one: Received, began_cpu: int, began: int, tokens: int) -> Stream:
    cpu_ns, wall_ns = time.thread_time_ns() - began_cpu, time.perf_counter_ns() - began
    if one.error:
        raise SystemExit(one.error)
    return measured(one.reads, cpu_ns, wall_ns, tokens)


async def pairs_of(endpoint: Endpoint, pairs: int, tokens: int) -> dict[str, list[Stream]]:
    """Streams of all ways, in turn; which is first changes from round to round. The first round is not kept."""
    asked = Asked("base", tokens, token_ids=tuple(range(32)))
    request = endpoint.request("POST", endpoint.api(asked.path), asked.body())
    found: dict[str, list[Stream]] = {way: [] for way in _WAYS}
    orders = list(itertools.permutations(_WAYS))
    loop, one = await connect(endpoint), OneStream(endpoint)
    with socket.create_connection((endpoint.host, endpoint.port)) as bare:
        bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for pair in range(pairs + 1):
            for way in orders[pair % len(orders)]:
                if way == "loop":
                    read = await read_loop(loop, request, tokens)
                elif way == "one stream":
                    read = read_one(one, request, tokens)
                else:
                    read = read_bare(bare, request, tokens)
                if pair:
                    found[way].append(read)
    loop.close()
    one.close()
    return found


def tell_pairs(name: str, found: dict[str, list[Stream]]) -> None:
    print(f"one stream, {name}: {len(found['bare'])} rounds")
    told = [("cpu_ns", "CPU time"), ("wall_ns", "wall time")]
    if name == "paced":  # at once, tokens wait for the reader, and that says nothing of when they came
        told.insert(0, ("delay_ns", "delay"))
    for what, label in told:
        bare, *others = (np.array([one[what] for one in found[way]]) for way in _WAYS)
        print(f"  {label:9} of a token: bare {np.median(bare) / 1e3:.1f} us")
        for way, ours in zip(_WAYS[1:], others, strict=True):
            more, ratio = _interval((ours - bare) / 1e3), np.exp(_interval(np.log(ours / bare)))
            print(
                f"    {way:10} {np.median(ours) / 1e3:.1f} us; more by {more[0]:+.1f} us [{more[1]:+.1f}, "
                f"{more[2]:+.1f}], ratio {ratio[0]:.3f} [{ratio[1]:.3f}, {ratio[2]:.3f}]"
            )


def _interval(values: NDArray[np.float64]) -> NDArray[np.float64]:
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return np.array([values.mean(), values.mean() - half, values.mean() + half])


def waited_ns() -> int:
    """How long this process was ready to run and did not, so far."""
    return int(Path("/proc/self/schedstat").read_text().split()[1])


def tell_load(name: str, work: Coroutine[Any, Any, Load]) -> dict[str, Any]:
    """What was late, and how many answers a second there were."""
    began, waited = time.perf_counter_ns(), waited_ns()
    load = run_on_time(work)
    waited_share = (waited_ns() - waited) / (time.perf_counter_ns() - began)
    late = np.array([outcome.late_ns for outcome in load.outcomes if outcome.late_ns is not None], np.int64)
    faults = [outcome.answer.error for outcome in load.outcomes if outcome.answer.error]
    last_ns = max(outcome.answer.ended_ns for outcome in load.outcomes)
    rate = len(load.outcomes) / ((last_ns - load.began_ns) / 1e9)
    p50, p99, most = (float(one) / 1e3 for one in (*np.percentile(late, [50, 99]), late.max()))
    print(
        f"  {name:28} {rate:6.0f} answers/s; late by p50 {p50:.0f} us, p99 {p99:.0f} us ({p99 * 1e3 / LATE_NS:.2f} of "
        f"{LATE_NS / 1e6:g} ms), at most {most:.0f} us; waited for a core {waited_share:.1%}; {load.opened_later} "
        f"connections more; {len(faults)} faults{f', as {faults[0]}' if faults else ''}"
    )
    quantiles = np.percentile(late, np.arange(0, 100.5, 0.5)).round().tolist()  # 0, 0.5, ... 100 %
    told = {"name": name, "answers_per_s": rate, "late_ns": quantiles, "waited_for_a_core": waited_share}
    return told | {"opened_later": load.opened_later}


def loads(endpoint: Endpoint, rates: Sequence[float], seconds: float, tokens: int) -> list[dict[str, Any]]:
    print(f"open loops, requests of {tokens} tokens")
    told = []
    for place, rate in enumerate(rates):
        requests = [Asked("base", tokens, token_ids=tuple(range(32))) for _ in range(round(rate * seconds))]
        arrivals = poisson_arrivals(rate, len(requests), place)
        behave(endpoint)
        told.append(tell_load(f"{rate:g}/s", open_loop(endpoint, requests, arrivals, STREAMS)))
        pause_ms = 1e3 * STREAMS / rate / tokens
        behave(endpoint, ttft_ms=pause_ms, token_ms=pause_ms)
        name = f"{rate:g}/s, {STREAMS} under way"  # by chance sometimes more
        told.append(tell_load(name, open_loop(endpoint, requests, arrivals, 2 * STREAMS)))
    behave(endpoint)
    requests = [Asked("base", tokens, token_ids=tuple(range(32))) for _ in range(round(max(rates) * seconds))]
    told.append(tell_load(f"closed loop of {STREAMS}", closed_loop(endpoint, requests, STREAMS)))
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--tokens", type=int, default=200, help="of a stream")
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[250.0, 500.0, 750.0, 1000.0], help="requests a second"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="of each rate")
    parser.add_argument("--request-tokens", type=int, default=8, help="of a request in loads")
    parser.add_argument("--real-time", action="store_true")
    parser.add_argument("--raw", type=Path)
    asked = parser.parse_args()
    figures: dict[str, Any] = {"niceness": take_priority(), "real_time": asked.real_time}
    if asked.real_time:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    with subprocess.Popen([sys.executable, str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            endpoint = endpoint_of(f"http://127.0.0.1:{int(server.stdout.readline())}")
            for name, token_ms in (("paced", 1.0), ("at once", 0.0)):
                behave(endpoint, stamp=True, token_ms=token_ms)
                figures[name] = run_on_time(pairs_of(endpoint, asked.pairs, asked.tokens))
                tell_pairs(name, figures[name])
            figures["loads"] = loads(endpoint, asked.rates, asked.seconds, asked.request_tokens)
        finally:
            server.kill()
    write_raw(asked.raw, figures)


if __name__ == "__main__":
    main()
