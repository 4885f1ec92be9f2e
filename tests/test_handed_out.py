"""What rooms hand out is imported when it is asked for, and is what it was."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import raybench

ROOMS = sorted(path.parent.name for path in Path(raybench.__file__).parent.glob("*/__init__.py"))


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_hands_out_what_it_says(name: str) -> None:
    room = importlib.import_module(f"raybench.{name}")
    modules = {path.stem for path in Path(str(room.__file__)).parent.glob("*.py")}
    assert not modules & set(room.__all__)  # a module of that name, once imported, would be found in its place
    for handed in room.__all__:
        assert getattr(room, handed) is vars(room)[handed]
    with pytest.raises(AttributeError, match=rf"^module 'raybench.{name}' has no attribute 'nonsense'$"):
        room.nonsense  # noqa: B018


def test_a_name_is_imported_when_it_is_asked_for() -> None:
    code = (
        "import sys; from raybench import store; before = 'raybench.store.redaction' in sys.modules;"
        "from raybench.store import redact_uris; print(before, redact_uris.__module__, 'pyarrow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False raybench.store.redaction False\n"
