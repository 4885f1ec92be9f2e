"""What would spoil a measurement on the nodes of a cluster: each is asked by a task of its own."""

from __future__ import annotations

from typing import Any, Final

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import raybench
from raybench.cluster.connect import connect
from raybench.machine import Examined, Finding, examine

_ANSWER_S: Final = 120.0
"""How long a node may take, of which a second is for the checks and the rest for Ray to start a process there."""


def _look_there(gpus: int) -> tuple[str, list[dict[str, str]]]:
    """This node's version of raybench, and its findings as JSON values, which another version can read."""
    return raybench.__version__, [one.as_json() for one in examine(gpus=gpus)]


_examine: Any = ray.remote(num_cpus=0, max_retries=0)(_look_there)


def examine_nodes(address: str) -> list[Examined]:
    """Of each node that is up, its findings; one that cannot be asked has one of state ``unknown``, which says why.

    Raises InputError where no cluster answers at ``address``.
    """
    connect(address)
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        asked = [
            _examine.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                int(node["Resources"].get("GPU", 0))
            )
            for node in nodes
        ]
        ray.wait(asked, num_returns=len(asked), timeout=_ANSWER_S)
        return [
            Examined(str(node["NodeManagerHostname"]), tuple(_answer(one)))
            for node, one in zip(nodes, asked, strict=True)
        ]
    finally:
        ray.shutdown()


def _answer(asked: Any) -> list[Finding]:
    try:
        version, found = ray.get(asked, timeout=0)
        if version != raybench.__version__:
            why = f"has raybench {version}, this is {raybench.__version__}; install the same version on every node"
            return [Finding("node", "unknown", why)]
        return [Finding(**one) for one in found]
    except ray.exceptions.GetTimeoutError:
        return [Finding("node", "unknown", f"no answer in {_ANSWER_S:g} s")]
    except (ray.exceptions.RayError, TypeError, ValueError) as error:
        return [Finding("node", "unknown", " ".join(f"{type(error).__name__}: {error}".split())[-300:])]
