"""What transformers makes of a model's configuration, asked of a process in which torch is not there.

To read one transformers imports torch, which takes seconds; a process without it takes less than one. This file is also
what that process runs, by its path: it imports nothing of raybench.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def read_config(location: str) -> dict[str, Any]:
    """``model_type``, ``is_encoder_decoder``, ``is_decoder`` (None: it has no such thing), ``has_padding_id``.

    ``is_tied``: whether its head is its embedding.

    Of a configuration that cannot be read ``error``, what transformers says.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(location, trust_remote_code=False)
    except Exception as error:  # noqa: BLE001  odd values make it raise anything
        return {"error": str(error)}
    try:
        text = config.get_text_config()
    except ValueError:  # it has several, as an encoder and a decoder
        text = config
    return {
        "model_type": config.model_type,
        "is_encoder_decoder": bool(getattr(config, "is_encoder_decoder", False)),
        "is_decoder": getattr(config, "is_decoder", None),
        "is_tied": any(bool(getattr(one, "tie_word_embeddings", False)) for one in (text, config)),
        "has_padding_id": getattr(text, "pad_token_id", None) is not None,
    }


class ConfigReader:
    """Asks for configurations, in this process where it has imported torch already, else in one of its own."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ConfigReader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def read(self, location: str) -> dict[str, Any]:
        """As `read_config`."""
        if "torch" in sys.modules:
            return read_config(location)
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-P", str(Path(__file__))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        child = self._child
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps(location).encode() + b"\n")
            child.stdin.flush()
            found: dict[str, Any] = json.loads(child.stdout.readline())
        except (OSError, ValueError):  # it has ended: what it died of shows here
            self.__exit__()
            return read_config(location)
        return found


def _answer() -> None:
    """Answer each line of standard input, a location in JSON, with a line of JSON."""
    sys.modules["torch"] = None  # type: ignore[assignment]  # as if it were not installed
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # what libraries print is no answer
        for line in sys.stdin:
            answers.write(json.dumps(read_config(json.loads(line))) + "\n")
            answers.flush()


if __name__ == "__main__":
    _answer()
