"""What a Ray cluster has, from what its nodes say of themselves (rows of ``ray.nodes()``), and whether it answers."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final

from raybench.records import InputError, count

_CONNECT_S: Final = 10.0

Node = Mapping[str, Any]


def check_reachable(address: str) -> None:
    """Ray would try a dead address for minutes. Raises InputError for one that is none, or where nothing answers."""
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal()) or "/" in host:
        raise InputError(
            f"--address {address!r}: expected HOST:PORT of a cluster's GCS (6379 by default), local or auto"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"Ray cluster at {address} cannot be reached: {error}; is it up?") from None


def gpu_count(nodes: Sequence[Node], accelerator_type: str | None) -> int:
    """The GPUs that the nodes have, of one type or of any (None)."""
    wanted = f"accelerator_type:{accelerator_type}"
    kept = [n["Resources"] for n in nodes if accelerator_type is None or wanted in n["Resources"]]
    return int(sum(resources.get("GPU", 0) for resources in kept))


def describe_nodes(nodes: Sequence[Node]) -> str:
    """What the cluster has, in words."""
    named = "accelerator_type:"
    types = sorted({r.removeprefix(named) for n in nodes for r in n["Resources"] if r.startswith(named)})
    cores = sum(n["Resources"].get("CPU", 0) for n in nodes)
    gpus = count(gpu_count(nodes, None), "GPU") + (f" of type {', '.join(types)}" if types else "")
    return f"the cluster has {count(len(nodes), 'node')} with {cores:g} CPU{'' if cores == 1 else 's'} and {gpus}"
