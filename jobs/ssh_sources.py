"""From where machines in a cloud may be reached by SSH: an address, or a network that is not much of the world."""

from __future__ import annotations

import argparse
import ipaddress


def source(text: str) -> str:
    """A network in CIDR notation, for argparse; of 2**16 addresses at most.

    Raises argparse.ArgumentTypeError: it is none, or a larger one.
    """
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected an address or a network, such as 203.0.113.7: {error}") from None
    if network.prefixlen < 16:
        raise argparse.ArgumentTypeError(f"{text} is {network.num_addresses:,} addresses; name those you work from")
    return str(network)
