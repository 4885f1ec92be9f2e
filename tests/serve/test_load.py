"""Loads on a real server: all requests answered in their order, or told why not, and nothing left open."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from processes import free_port
from raybench.records import InputError
from raybench.serve import sending
from raybench.serve.endpoint import Endpoint, endpoint_of
from raybench.serve.exchange import Limits
from raybench.serve.fine_timers import run_on_time
from raybench.serve.load import Load, closed_loop, open_loop
from raybench.serve.openai_api import Asked
from serve.conftest import Told
from serve.fake_server import expected_text

MODELS = ("base", "support", "sales")


def requests(count: int, tokens: int = 3) -> list[Asked]:
    return [Asked(MODELS[i % 3], tokens, token_ids=(i, i + 1)) for i in range(count)]


def offsets(*ms: float) -> NDArray[np.int64]:
    return np.array([round(one * 1e6) for one in ms], np.int64)


def check_answers(load: Load, asked: list[Asked]) -> None:
    """Each request has its own answer, in its place, and times in their order."""
    assert [outcome.asked for outcome in load.outcomes] == asked
    for outcome in load.outcomes:
        answer, one = outcome.answer, outcome.asked
        assert answer.error is None
        assert answer.text == expected_text(one.model, list(one.token_ids or ()), one.max_tokens)
        assert answer.sent_ns is not None
        times = [load.began_ns, outcome.due_ns, answer.sent_ns, *answer.token_ns, answer.ended_ns]
        assert times == sorted(times)
        assert outcome.late_ns == answer.sent_ns - outcome.due_ns


def most_at_once(load: Load) -> int:
    moments = [(o.answer.sent_ns or 0, 1) for o in load.outcomes] + [(o.answer.ended_ns, -1) for o in load.outcomes]
    return int(np.cumsum([change for _, change in sorted(moments)]).max())


@pytest.mark.parametrize("concurrency", [1, 4, 30])
def test_a_closed_loop_keeps_as_many_under_way(server: Told, concurrency: int) -> None:
    endpoint, asked = server.behave(ttft_ms=5), requests(20)
    load = run_on_time(closed_loop(endpoint, asked, concurrency))
    check_answers(load, asked)
    assert (load.connections, load.opened_later) == (min(concurrency, 20), 0)
    assert server.connections()[0] == min(concurrency, 20)
    assert most_at_once(load) == min(concurrency, 20)
    sent = [outcome.answer.sent_ns for outcome in load.outcomes]
    assert sent == sorted(sent, key=lambda ns: ns or 0)
    # One is due when the place that it takes is free: at the start, or when another had ended.
    ended = {load.began_ns} | {outcome.answer.ended_ns for outcome in load.outcomes}
    assert {outcome.due_ns for outcome in load.outcomes} <= ended
    assert [o.due_ns for o in load.outcomes].count(load.began_ns) == min(concurrency, 20)


def test_an_open_loop_sends_when_it_is_due_whatever_became_of_the_others(server: Told) -> None:
    endpoint, asked = server.behave(ttft_ms=150), requests(5)
    load = run_on_time(open_loop(endpoint, asked, offsets(0, 10, 10, 30, 45), connections=5))
    check_answers(load, asked)
    assert [o.due_ns - load.began_ns for o in load.outcomes] == [0, 10**7, 10**7, 3 * 10**7, 45 * 10**6]
    assert (load.connections, load.opened_later) == (5, 0)


def test_a_closed_loop_goes_on_until_all_that_count_are_answered(server: Told) -> None:
    endpoint, asked = server.behave(ttft_ms=20), requests(40)
    load = run_on_time(closed_loop(endpoint, asked, 4, counted=range(4, 10)))
    places = [outcome.place for outcome in load.outcomes]
    assert places == list(range(len(places)))
    # Beside the last one that counts there are three at most that ended before it, each once.
    assert 10 <= len(places) <= 13
    check_answers(load, asked[: len(places)])
    last_ns = max(outcome.answer.ended_ns for outcome in load.outcomes[4:10])
    assert all(outcome.due_ns < last_ns for outcome in load.outcomes[10:])


def test_an_open_loop_is_under_its_load_before_and_as_long_as_one_counts(server: Told) -> None:
    endpoint, asked = server.behave(ttft_ms=100), requests(90)
    moments = offsets(*range(0, 900, 10))
    load = run_on_time(open_loop(endpoint, asked, moments, 64, counted=range(40, 44), least_before=2))
    by_place = {outcome.place: outcome for outcome in load.outcomes}
    before, after = [p for p in by_place if p < 40], [p for p in by_place if p >= 44]
    assert before == list(range(len(before)))
    assert after == list(range(44, 44 + len(after)))
    assert {40, 41, 42, 43} <= by_place.keys()
    assert (len(before), len(after)) != (40, 46)  # neither was used up
    # Those that are left out leave their moments to the next.
    assert [outcome.due_ns - load.began_ns for outcome in load.outcomes] == moments[: len(by_place)].tolist()
    first_ns = min(by_place[p].answer.ended_ns for p in before)
    assert by_place[40].due_ns > first_ns - 20e6  # it was answered when the first that counts was sent
    last_ns = max(by_place[p].answer.ended_ns for p in range(40, 44))
    assert by_place[after[-1]].due_ns <= last_ns


def test_one_more_connection_is_opened_where_none_is_free(server: Told) -> None:
    endpoint, asked = server.behave(ttft_ms=300), requests(4)
    load = run_on_time(open_loop(endpoint, asked, offsets(0, 0, 1, 2), connections=1))
    check_answers(load, asked)
    assert (load.connections, load.opened_later) == (1, 3)
    assert server.connections()[0] == 4


def test_connections_are_used_again(server: Told) -> None:
    endpoint, asked = server.behave(), requests(5)
    load = run_on_time(open_loop(endpoint, asked, offsets(0, 0, 0, 1500, 1500), connections=3))
    check_answers(load, asked)
    assert (load.connections, load.opened_later) == (3, 0)
    assert server.connections()[0] == 3


def test_where_no_more_may_be_opened_requests_wait_and_are_late(server: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "MOST_CONNECTIONS", 2)
    endpoint, asked = server.behave(ttft_ms=60), requests(6)
    load = run_on_time(open_loop(endpoint, asked, offsets(0, 0, 0, 0, 0, 0), connections=1))
    check_answers(load, asked)
    assert (load.connections, load.opened_later, server.connections()[0]) == (1, 1, 2)
    # Two at a time: the third and fourth wait for one answer, the last two for two.
    late = sorted(outcome.late_ns or 0 for outcome in load.outcomes)
    assert late[2] >= 60e6
    assert late[4] >= 120e6


@pytest.mark.parametrize("behaviour", [{"keep_alive": False}, {"framing": "close"}], ids=str)
def test_what_the_server_closes_is_opened_again(server: Told, behaviour: dict[str, Any]) -> None:
    endpoint, asked = server.behave(**behaviour), requests(6)
    load = run_on_time(closed_loop(endpoint, asked, 2))
    check_answers(load, asked)
    assert (load.connections, load.opened_later) == (2, 4)
    load = run_on_time(open_loop(endpoint, asked, offsets(0, 100, 200, 300, 400, 500), connections=1))
    check_answers(load, asked)
    assert (load.connections, load.opened_later) == (1, 5)


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ({"fault": "close"}, "the server closed the connection before its answer was complete"),
        ({"fault": "reset"}, "the connection broke"),
        ({"fault": "no HTTP"}, "the server's answer is no HTTP"),
        ({"fault": "hang"}, "the server sent nothing for 0.2 s"),
        ({"fault": "status 429"}, "the server refuses: 429"),
        ({"fault": "no UTF-8"}, "the server sent what is no UTF-8"),
        ({"fault": "error event"}, "the server tells an error within its answer"),
    ],
    ids=str,
)
@pytest.mark.parametrize("is_open", [True, False])
def test_faults_are_errors_of_answers_and_all_are_told(
    server: Told, behaviour: dict[str, Any], said: str, is_open: bool
) -> None:
    endpoint, asked, limits = server.behave(**behaviour), requests(6), Limits(between_bytes_s=0.2)
    if is_open:
        load = run_on_time(open_loop(endpoint, asked, offsets(0, 1, 2, 3, 4, 5), 3, limits))
    else:
        load = run_on_time(closed_loop(endpoint, asked, 3, limits))
    assert [outcome.asked for outcome in load.outcomes] == asked
    assert [str(outcome.answer.error)[: len(said)] for outcome in load.outcomes] == [said] * 6


@pytest.mark.parametrize("is_open", [True, False])
def test_one_broken_answer_loses_no_other(server: Told, is_open: bool) -> None:
    endpoint, asked = server.behave(), requests(6)
    asked[2] = Asked("nobody", 3, token_ids=(1,))
    if is_open:
        load = run_on_time(open_loop(endpoint, asked, offsets(0, 1, 2, 3, 4, 5), 2))
    else:
        load = run_on_time(closed_loop(endpoint, asked, 2))
    assert [outcome.answer.error is None for outcome in load.outcomes] == [True, True, False, True, True, True]
    assert str(load.outcomes[2].answer.error).endswith("404: The model `nobody` does not exist.")


@pytest.mark.parametrize("is_open", [True, False])
def test_a_server_that_is_not_there_is_told_of_each_request(is_open: bool) -> None:
    endpoint, asked = endpoint_of(f"http://127.0.0.1:{free_port()}"), requests(5)
    if is_open:
        load = run_on_time(open_loop(endpoint, asked, offsets(0, 1, 2, 3, 4), 2))
    else:
        load = run_on_time(closed_loop(endpoint, asked, 2))
    assert (load.connections, load.opened_later) == (0, 0)
    assert [(o.answer.sent_ns, o.late_ns, o.answer.status) for o in load.outcomes] == [(None, None, None)] * 5
    assert all(str(o.answer.error).startswith("no connection to 127.0.0.1:") for o in load.outcomes)


def _sockets() -> int:
    return len(psutil.Process().net_connections("tcp"))


@pytest.mark.parametrize("is_open", [True, False])
def test_cancelling_closes_all_sockets(server: Told, is_open: bool) -> None:
    endpoint, asked = server.behave(fault="hang"), requests(12)
    before = _sockets()

    async def cancelled() -> tuple[int, int]:
        work = open_loop(endpoint, asked, offsets(*[0] * 12), 2) if is_open else closed_loop(endpoint, asked, 12)
        task = asyncio.create_task(work)
        while len(server.asked()) < 12:
            await asyncio.sleep(0.02)
        during = _sockets()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return during, _sockets()

    assert run_on_time(cancelled()) == (before + 12, before)
    assert gc.isenabled()
    deadline = time.monotonic() + 30
    while server.connections()[1] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.connections()[1] == 0


def test_a_limit_of_time_around_a_load_ends_it(server: Told) -> None:
    endpoint, asked = server.behave(fault="hang before the head"), requests(3)

    async def limited() -> None:
        async with asyncio.timeout(0.2):
            await closed_loop(endpoint, asked, 3)

    with pytest.raises(TimeoutError):
        run_on_time(limited())


def test_nothing_is_left_open_after_a_load(server: Told) -> None:
    before = _sockets()
    endpoint, asked = server.behave(), requests(8)

    async def both() -> int:
        await closed_loop(endpoint, asked, 4)
        await open_loop(endpoint, asked, offsets(*range(8)), 4)
        return _sockets()

    assert run_on_time(both()) == before


def test_answers_that_would_not_fit_are_not_asked_for(server: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "MOST_KEPT_BYTES", 1)
    endpoint, asked = server.behave(), requests(3)
    load = run_on_time(closed_loop(endpoint, asked, 1))
    assert [outcome.answer.error for outcome in load.outcomes] == [
        None,
        *["not sent: the answers before it hold more than 1 bytes; ask for less in one load"] * 2,
    ]
    assert len(server.asked()) == 1
    load = run_on_time(open_loop(endpoint, asked, offsets(0, 300, 300), 1))
    assert [outcome.answer.sent_ns is None for outcome in load.outcomes] == [False, True, True]


def test_no_requests() -> None:
    endpoint = Endpoint("127.0.0.1", 1)
    assert run_on_time(closed_loop(endpoint, [], 4)).outcomes == ()
    assert run_on_time(open_loop(endpoint, [], offsets(), 0)).outcomes == ()


@pytest.mark.parametrize(
    ("concurrency", "said"), [(0, "expected 1 to 900, found 0"), (901, "expected 1 to 900, found 901")]
)
def test_concurrency_has_bounds(concurrency: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        run_on_time(closed_loop(Endpoint("h", 1), requests(1), concurrency))


@pytest.mark.parametrize(
    ("given", "connections", "said"),
    [
        (offsets(0), 1, "2 requests need as many offsets"),
        (offsets(1, 0), 1, "nanoseconds from the start on that do not fall"),
        (offsets(-1, 0), 1, "nanoseconds from the start on that do not fall"),
        (offsets(0, 0), -1, "connections: expected 0 to 900, found -1"),
    ],
)
def test_offsets_are_checked(given: NDArray[np.int64], connections: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        run_on_time(open_loop(Endpoint("h", 1), requests(2), given, connections))
