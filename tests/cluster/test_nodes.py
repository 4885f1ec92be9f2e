"""What a cluster has, in numbers and in words; what cannot be its address."""

from __future__ import annotations

import socket

import pytest

from raybench.cluster.nodes import check_reachable, describe_nodes, gpu_count
from raybench.records import InputError

HEAD = {"Resources": {"CPU": 2.0}}
L4 = {"Resources": {"CPU": 4.0, "GPU": 1.0, "accelerator_type:L4": 1.0}}
T4 = {"Resources": {"CPU": 8.0, "GPU": 4.0, "accelerator_type:T4": 1.0}}


def test_gpus_are_counted_by_type() -> None:
    nodes = [HEAD, L4, L4, T4]
    assert [gpu_count(nodes, kind) for kind in (None, "L4", "T4", "A100")] == [6, 2, 4, 0]


def test_what_a_cluster_has_in_words() -> None:
    assert describe_nodes([HEAD, L4, T4]) == "the cluster has 3 nodes with 14 CPUs and 5 GPUs of type L4, T4"
    assert describe_nodes([HEAD]) == "the cluster has 1 node with 2 CPUs and 0 GPUs"


@pytest.mark.parametrize("address", ["nonsense", "ray://x:10001", ":6379", "host:port", "http://a:1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="HOST:PORT"):
        check_reachable(address)


def test_where_nothing_answers_it_is_said() -> None:
    with socket.socket() as bound:  # a port that is taken and does not listen
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(InputError, match="is it up"):
            check_reachable(address)
        bound.listen()
        check_reachable(address)
