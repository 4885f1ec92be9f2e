"""Checks of memory and disks: what is swapped out, how pages are made, how much room is left."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from raybench.machine.findings import CannotRead, Look, Tree, field, number_of

_HUGE_PAGES: Final = "sys/kernel/mm/transparent_hugepage/enabled"
_SWAPPED_BYTES: Final = 64 * 1024**2
"""What machines have swapped out that nobody asks for again."""
LEAST_FREE_BYTES: Final = 2 * 1024**3
"""Of a disk: a run of 10^8 samples takes 1 GB, Ray's logs and what is spilled the rest."""


def memory_checks(
    tree: Tree, places: Mapping[str, Path], least_bytes: int = LEAST_FREE_BYTES
) -> Mapping[str, Callable[[], Look]]:
    """The checks of memory and of the disks that ``places`` are on, by name."""
    return {
        "swap": partial(swap, tree),
        "huge_pages": partial(huge_pages, tree),
        "disk": partial(disk, places, least_bytes),
    }


def swap(tree: Tree) -> Look:
    """What was swapped out comes back when it is asked for, within a request."""
    where = "proc/meminfo"
    fields = tree.fields(where)
    total, free = (
        1024 * number_of(str(field(fields, name, where)).removesuffix("kB").strip(), where)
        for name in ("SwapTotal", "SwapFree")
    )
    used = total - free
    if used <= _SWAPPED_BYTES:
        return Look(f"{used / 1e6:,.0f} MB of {total / 1e6:,.0f} MB in use")
    return Look(
        f"{used / 1e6:,.0f} MB of {total / 1e6:,.0f} MB in use",
        "end what holds the memory, then, as root: swapoff -a; swapon -a",
    )


def huge_pages(tree: Tree) -> Look:
    """Where every process gets huge pages, some are made while requests are served, as memory allows."""
    told = re.search(r"\[(\w+)\]", tree.text(_HUGE_PAGES))
    if told is None:
        raise CannotRead(f"/{_HUGE_PAGES}: no mode is chosen in it")
    mode = told[1]
    if mode != "always":
        return Look(f"{mode}: none but where a program asks")
    return Look(
        "always: pages become huge as memory allows, some while requests are served",
        f"echo madvise > /{_HUGE_PAGES}, as root",
    )


def disk(places: Mapping[str, Path], least_bytes: int) -> Look:
    """Room where results, and where temporary files are kept. ``places``: folders, which need not be there yet."""
    free = {name: _free_bytes(place) for name, place in places.items()}
    if not free:
        return Look("nothing is kept on a disk here")
    name = min(free, key=lambda one: free[one])
    found = f"{free[name] / 1e9:,.1f} GB free for {name} ({places[name]})"
    if free[name] >= least_bytes:
        return Look(found)
    option = {"results": "--results DIR", "temporary files": "TMPDIR and RAY_TMPDIR"}.get(name, "a link")
    return Look(found, f"free {(least_bytes - free[name]) / 1e9:,.1f} GB there, or choose another disk by {option}")


def _free_bytes(place: Path) -> int:
    """What who runs this may still write where ``place`` is, or will be."""
    there = next((one for one in (place.absolute(), *place.absolute().parents) if one.exists()), Path("/"))
    try:
        return shutil.disk_usage(there).free
    except OSError as error:
        raise CannotRead(f"{there}: {error.strerror or error}") from None
