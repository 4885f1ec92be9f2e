"""PyArrow is kept from importing pandas, and from nothing else."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import pyarrow as pa
from raybench.store.no_pandas import look_for_no_pandas

look_for_no_pandas()
table = pa.table({"a": [1, None]})
print("pandas" in sys.modules, table.to_pandas()["a"].isna().tolist(), "pandas" in sys.modules)
import pandas

print(pa.array(pandas.Series(["x", None])).to_pylist())
"""


def test_pandas_is_imported_when_it_is_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == "False [False, True] True\n['x', None]\n"
