"""PyArrow imports pandas before its first conversion, where that is installed: a quarter of a second for nothing."""

from __future__ import annotations

import functools
import sys

import pyarrow as pa


class _NotFound:
    """Asked for each import before all others."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


@functools.cache
def look_for_no_pandas() -> None:
    """Have PyArrow look for pandas, which it does once, and find none.

    For processes that only read a run, and are raybench's own: what they convert are no objects of pandas. Who calls
    ``to_pandas`` all the same makes PyArrow look again.
    """
    sys.meta_path.insert(0, _NotFound)
    try:
        pa.scalar(0)
    finally:
        sys.meta_path.remove(_NotFound)
