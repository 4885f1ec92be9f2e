"""Servers beside the one that is asked: awaited until they are idle, and given up where they never are."""

from __future__ import annotations

from raybench.visit.rest import Rest


class Machine:
    """Time that passes only by waiting, and servers that compute until a moment of it, in ticks of 10 ms."""

    def __init__(self, **until_s: float) -> None:
        self.now_s, self.looks = 0.0, 0
        self.servers = {name: Machine.Server(self, until) for name, until in until_s.items()}
        self.rest = Rest(self.servers, lambda: self.now_s, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.looks += 1

    class Server:
        def __init__(self, machine: Machine, until_s: float) -> None:
            self.machine, self.until_s = machine, until_s

        def cpu_ns(self) -> int:
            return int(min(self.machine.now_s, self.until_s) * 100) * 10_000_000


def test_a_turn_begins_once_the_others_are_idle_and_does_not_wait_for_its_own() -> None:
    machine = Machine(asked=100.0, worker=1.0, other=0.5)
    machine.rest.before("asked")
    assert 1.0 <= machine.now_s < 1.1
    assert machine.rest.never_idle == {}


def test_idle_servers_take_one_look_and_a_server_that_goes_on_none() -> None:
    machine = Machine(asked=0.0, other=0.0)
    machine.rest.before("asked")
    machine.rest.before("asked")
    assert machine.looks == 1
    machine.rest.before("other")
    assert machine.looks == 2
    alone = Machine(asked=100.0)
    alone.rest.before("asked")
    assert alone.looks == 0


def test_a_server_that_never_rests_is_awaited_once_and_told() -> None:
    machine = Machine(asked=0.0, second=0.0, spins=1000.0)
    machine.rest.before("asked")
    assert 3.0 <= machine.now_s < 3.1
    assert list(machine.rest.never_idle) == ["spins"]
    before = machine.now_s
    machine.rest.before("second")
    assert machine.now_s - before < 0.1
