"""Counting bytecode instructions, against functions whose instructions can be listed."""

from __future__ import annotations

import dis
import sys

import pytest

from raybench.machine.instructions import instructions_of


def straight() -> tuple[int, int]:
    a = 1
    b = a + 2
    return a, b


def outer() -> int:
    first, second = straight()
    return first + second


def looping(times: int) -> int:
    total = 0
    for i in range(times):
        total += i
    return total


def listed(function: object) -> int:
    return len(list(dis.get_instructions(function)))  # type: ignore[arg-type]


def test_every_instruction_of_a_function_is_counted_once() -> None:
    assert instructions_of(straight) == listed(straight)


def test_those_of_the_functions_that_it_calls_are_counted_too() -> None:
    assert instructions_of(outer) == listed(outer) + listed(straight)


def test_a_loop_counts_as_often_as_it_goes_round() -> None:
    ten, twenty, thirty = (instructions_of(lambda n=n: looping(n)) for n in (10, 20, 30))
    assert thirty - twenty == twenty - ten > 0
    assert (twenty - ten) % 10 == 0


def test_it_is_the_same_each_time() -> None:
    assert len({instructions_of(lambda: sorted(range(5), key=lambda i: -i)) for _ in range(5)}) == 1


def test_what_was_traced_before_is_traced_again_also_after_an_error() -> None:
    def nothing(*_: object) -> None:
        return None

    def failing() -> None:
        raise ValueError("so")

    before = sys.gettrace()
    sys.settrace(nothing)
    try:
        with pytest.raises(ValueError, match="so"):
            instructions_of(failing)
        assert sys.gettrace() is nothing
    finally:
        sys.settrace(before)
