"""Imported last by the fork server: what is made and found by then, no visit has to make or find again.

Some of what a visit needs is not imported with its package but at first use: PyArrow looks for pandas, transformers
compiles a thousand regular expressions of the names that weights may have. In each visit that took 0.3 seconds. And
what exists before garbage is frozen no visit looks through for garbage, which took a second before its first request.
"""

import contextlib
import gc

import numpy as np
import pyarrow as pa

pa.array(np.zeros(1, np.int64), mask=np.zeros(1, np.bool_))
with contextlib.suppress(ImportError):  # where these are in other places, the first load of a visit takes longer
    import peft.utils.transformers_weight_conversion  # noqa: F401
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    get_checkpoint_conversion_mapping("llama")

gc.collect()
gc.freeze()
