"""What a call has PyTorch do, against what can be worked out by hand, and against PyTorch's own counter of FLOPs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import FunctionType

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from raybench.machine.operations import Operations, compiled_operations_of, operations_of
from raybench.machine.small_layers import WIDTH, Layers

FLOAT = 4


class Tiny(nn.Module):
    """One product with a bias, a nonlinearity, one of another shape, and an addition."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 4), nn.Linear(4, 6, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = x + self.second(functional.silu(self.first(x)))
        return found


def of(call: Callable[[], object], model: nn.Module | None = None) -> Operations:
    with torch.inference_mode():
        return operations_of(call, () if model is None else model.parameters())


def once(call: Callable[[], object]) -> Callable[[], AbstractContextManager[Callable[[], object]]]:
    """Prepares steps that cannot be taken twice, as a prefill cannot."""

    @contextlib.contextmanager
    def step() -> Iterator[Callable[[], object]]:
        left = iter([call])
        yield lambda: next(left)()

    return step


def test_a_tiny_model_by_hand() -> None:
    model, x = Tiny(), torch.ones(3, 6)
    found = of(lambda: model(x), model)
    assert found == Operations(
        flops=2 * 3 * 6 * 4 + 2 * 3 * 4 * 6,
        weight_bytes=FLOAT * (6 * 4 + 4 + 4 * 6),
        # The first product reads 3 x 6 and writes 3 x 4; silu reads and writes 3 x 4; the second reads that and writes
        # 3 x 6; the addition reads two of 3 x 6 and writes one.
        activation_bytes=FLOAT * (18 + 12 + 12 + 12 + 12 + 18 + 18 + 18 + 18),
        product_bytes=FLOAT * (6 * 4 + 4 + 4 * 6 + 18 + 12 + 12 + 18),
        operations=4,
        products=2,
    )


def test_what_is_written_in_place_is_read_and_written() -> None:
    y, low, up = torch.ones(5, 4), torch.ones(5, 2), torch.ones(2, 4)
    found = of(lambda: y.addmm_(low, up))
    assert (found.flops, found.products, found.operations) == (2 * 5 * 2 * 4, 1, 1)
    assert found.activation_bytes == FLOAT * (20 + 10 + 8 + 20)
    batch, lows, ups = torch.ones(3, 5, 4), torch.ones(3, 5, 2), torch.ones(3, 2, 4)
    assert of(lambda: batch.baddbmm_(lows, ups)).flops == 3 * 2 * 5 * 2 * 4


def test_a_lookup_reads_its_index_and_the_rows_that_it_looks_up() -> None:
    table, chosen, eight = torch.ones(100, 3), torch.tensor([7, 2]), 8
    one = torch.tensor([[5]])
    found = of(lambda: table.index_select(0, chosen))
    assert (found.activation_bytes, found.operations) == (2 * eight + 2 * FLOAT * 2 * 3, 1)
    assert of(lambda: table[chosen]).activation_bytes == 2 * eight + 2 * FLOAT * 2 * 3
    assert of(lambda: table.gather(0, one)).activation_bytes == eight + 2 * FLOAT
    embedding = nn.Embedding(100, 3)
    found = of(lambda: embedding(chosen), embedding)
    assert (found.weight_bytes, found.activation_bytes) == (FLOAT * 2 * 3, 2 * eight + FLOAT * 2 * 3)


def test_rows_that_are_put_are_written_and_no_others() -> None:
    table, chosen, rows, eight = torch.zeros(100, 3), torch.tensor([7, 2]), torch.ones(2, 3), 8
    put = 2 * eight + 2 * FLOAT * 2 * 3

    def bytes_of(call: Callable[[], object]) -> int:
        return of(call).activation_bytes

    assert bytes_of(lambda: table.index_put_((chosen,), rows)) == put
    assert bytes_of(lambda: table.index_copy_(0, chosen, rows)) == put
    one = rows[:1, :1]  # it is broadcast
    assert bytes_of(lambda: table.index_put_((chosen,), one)) == 2 * eight + FLOAT * 1 + FLOAT * 2 * 3
    # What is added to is read, too.
    assert bytes_of(lambda: table.index_put_((chosen,), rows, accumulate=True)) == put + FLOAT * 2 * 3
    assert bytes_of(lambda: table.index_add_(0, chosen, rows)) == put + FLOAT * 2 * 3
    index = torch.tensor([[0, 1, 2]])
    assert bytes_of(lambda: table.scatter_(0, index, rows)) == 3 * eight + FLOAT * 2 * 3 + FLOAT * 3


@pytest.mark.parametrize(
    ("call", "numbers"),
    [
        (lambda x: torch.empty(5, 4), 0),
        (lambda x: torch.empty_like(x), 0),
        (lambda x: x.new_empty(7), 0),
        (lambda x: torch.zeros_like(x), 24),
        (lambda x: x.zero_(), 24),
        (lambda x: x.copy_(torch.empty(4, 6)), 24 + 24),
        (lambda x: x[:1].expand(4, 6) + x, 6 + 24 + 24),  # six numbers are in memory
    ],
)
def test_what_is_not_read_or_not_written_is_not_counted(call: Callable[[torch.Tensor], object], numbers: int) -> None:
    x = torch.ones(4, 6)
    assert of(lambda: call(x)).activation_bytes == FLOAT * numbers


def test_attention_is_two_products_of_its_own_kind() -> None:
    q, k, v = torch.ones(1, 2, 5, 8), torch.ones(1, 2, 7, 8), torch.ones(1, 2, 7, 8)
    found = of(lambda: functional.scaled_dot_product_attention(q, k, v))
    assert (found.attention, found.products, found.operations) == (1, 0, 1)
    assert found.flops == found.attention_flops == 2 * (2 * 5 * 7 * 8) * 2


@pytest.mark.parametrize(
    ("call", "views", "operations"),
    [
        (lambda x: x.view(2, 12), 1, 0),
        (lambda x: x.transpose(0, 1), 1, 0),
        (lambda x: x.split([1, 3], 0), 1, 0),  # two tensors by one call
        (lambda x: x.reshape(2, 12), 1, 0),
        (lambda x: x.t().reshape(2, 12), 1, 1),  # it has to be copied
        (lambda x: x.to(torch.float64), 0, 1),
        (lambda x: functional.linear(x, torch.ones(5, 6)), 0, 2),  # its views are a part of it; and the ones
        (lambda x: torch.dropout(x, 0.5, train=False), 1, 0),
    ],
)
def test_views_are_apart_from_operations(call: Callable[[torch.Tensor], object], views: int, operations: int) -> None:
    x = torch.ones(4, 6)
    found = of(lambda: call(x))
    assert (found.views, found.operations) == (views, operations)


def test_flops_are_those_of_pytorchs_own_counter_where_it_knows_the_operations() -> None:
    layers, x = Layers(2, 9).to_device("cpu", torch.float32), torch.ones(1, 9, WIDTH)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        layers(x)
    found = of(lambda: layers(x), layers)
    assert found.flops - found.attention_flops == counter.get_total_flops() > 0
    assert found.attention_flops == 2 * 2 * (2 * 4 * 9 * 9 * 16)


def test_an_operation_of_a_namespace_that_nobody_knows_is_named() -> None:
    with torch.library._scoped_library("raybench_test", "DEF") as library:
        library.define("secret(Tensor x) -> Tensor")
        library.impl("secret", lambda x: x * 2, "CPU")
        found = of(lambda: torch.ops.raybench_test.secret(torch.ones(3)))
    assert found.unknown == ["raybench_test::secret"]


def test_of_a_compiled_model_operations_are_those_that_its_c_plus_plus_calls() -> None:
    model, x = Tiny().requires_grad_(False), torch.ones(3, 6)
    plain = of(lambda: model(x), model)
    compiled = torch.compile(model, fullgraph=True, options={"cpp_wrapper": True})
    with torch.inference_mode():
        compiled(x)
        first, again = (compiled_operations_of(once(lambda: compiled(x)), model.parameters()) for _ in range(2))
        torch.testing.assert_close(compiled(x), model(x))
    # The nonlinearity is a kernel; the addition is the second product's.
    assert first == again == dataclasses.replace(plain, generated=1, operations=3)


def test_a_step_that_is_ready_once_is_prepared_for_each_of_the_two_counts() -> None:
    log, x = list[str](), torch.ones(3)

    def g() -> object:
        log.append("taken")
        return x + 1

    names = {"cpp_wrapper_src": "    cpp_fused_add_0(x);\n    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_mm_out(x));\n"}
    # Generated code has its C++ beside the function g.
    found = compiled_operations_of(once(FunctionType(g.__code__, names, "g", None, g.__closure__)))
    assert (found.operations, found.generated, found.views, found.activation_bytes) == (2, 1, 0, 2 * FLOAT * 3)
    assert log == ["taken"] * 2


def test_where_nothing_generated_is_called_that_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"no code that torch.compile generated was called"):
        compiled_operations_of(once(lambda: torch.ones(3) + 1))
