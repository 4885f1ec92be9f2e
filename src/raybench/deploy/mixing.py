"""A batch whose rows are of several adapters, by PEFT's ``adapter_names``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any


@contextlib.contextmanager
def rows_of(adapted: Any, names: Sequence[str]) -> Iterator[None]:
    """In it a PeftModel computes row i of each forward by the adapter that PEFT calls ``names[i]``.

    As ``generate(adapter_names=...)`` does: the hooks are put on once, around all steps of a request. Given with each
    forward they would be put on and taken away each time, at a cost that grows with the adapters that are resident.
    """
    raised: BaseException | None = None
    with adapted._enable_peft_forward_hooks(adapter_names=list(names)):
        try:
            yield
        except BaseException as error:  # noqa: BLE001  PEFT takes its hooks away only where nothing was raised
            raised = error
    if raised is not None:
        raise raised
