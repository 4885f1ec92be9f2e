"""A language model of some hundred kilobytes with two adapters, and how a real server is asked for tokens."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from raybench.model.weights import ModelSpec
from raybench.plan.plan import Adapter
from raybench.serve.checkpoints import Checkpoints
from raybench.serve.family import MARK
from raybench.serve.presets import RunningServer

REPOSITORY = Path(__file__).parents[2]
ADAPTERS = tuple(
    Adapter(name, name, seed, 8, 16.0, ("q_proj", "k_proj", "v_proj", "o_proj", "down_proj"))
    for name, seed in (("support", 1), ("sales", 2))
)
TOKENS = 12

CONFIG = LlamaConfig(
    vocab_size=256,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=32,  # the smallest that vLLM computes attention of
    max_position_embeddings=512,
    initializer_range=0.3,  # logits so far apart that no rounding decides between tokens
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)


def python_of(engine: str) -> str:
    """The Python that has ``engine``; skips the test where there is none."""
    folder = Path(os.environ.get("RAYBENCH_ENGINES", REPOSITORY / ".venv-engines"))
    if not (folder / f".installed-{engine}").exists():
        pytest.skip(f"{engine} is not installed in {folder.name}: make test-engines says why")
    return str(folder / "bin" / "python")


@dataclasses.dataclass(frozen=True)
class Tiny:
    """The model's checkpoints, and prompts with what greedy decoding makes of each: by raybench's own merging."""

    checkpoints: Checkpoints
    prompts: tuple[tuple[int, ...], ...]

    @functools.cached_property
    def expected(self) -> dict[str | None, list[list[int]]]:
        """By adapter, None for the base, the tokens for each prompt, as transformers generates them."""
        folders = {None: self.checkpoints.base()} | {a.name: self.checkpoints.merged(a) for a in ADAPTERS}
        return {name: [greedy(folder, prompt) for prompt in self.prompts] for name, folder in folders.items()}


def tiny(folder: Path) -> Tiny:
    """Write the model to ``folder``; prompts of 40 tokens, which prefix caches keep."""
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(CONFIG).save_pretrained(folder / "tiny")
    draws = torch.Generator().manual_seed(7)
    prompts = torch.randint(3, CONFIG.vocab_size, (3, 40), generator=draws).tolist()
    spec = ModelSpec("tiny", "checkpoint", str(folder / "tiny"), "CAUSAL_LM")
    return Tiny(Checkpoints(spec, "float32"), tuple(map(tuple, prompts)))


def greedy(folder: Path, prompt: tuple[int, ...]) -> list[int]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    given = torch.tensor([prompt])
    made = model.generate(
        given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=TOKENS, min_new_tokens=TOKENS
    )
    return made[0, given.shape[1] :].tolist()


def post(server: RunningServer, path: str, body: dict[str, Any], key: str | None = None) -> dict[str, Any]:
    """What a POST of JSON is answered; ``key``: instead of the server's own."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key or server.key}"}
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120) as answer:
        return json.loads(answer.read())


@contextlib.contextmanager
def clean_machine(beside: tuple[str, ...] = ()) -> Iterator[Path]:
    """A temporary folder for what runs inside; checks that nothing is left afterwards: no process, no file in it.

    ``beside``: folders in it that others leave there, as Ray does.
    """
    kept = shared_memory()
    with tempfile.TemporaryDirectory(prefix="rb") as name:  # a short name: vLLM's sockets are in it
        before, tempfile.tempdir = tempfile.tempdir, name
        try:
            yield Path(name)
        finally:
            tempfile.tempdir = before
        assert servers_in(name) == []
        assert [path.name for path in Path(name).iterdir() if path.name not in beside] == []
        assert shared_memory() <= kept


def shared_memory() -> set[str]:
    """Blocks of shared memory of Python's multiprocessing, as vLLM makes them, that no process uses any more."""
    used = ""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            used += maps.read_text()
    return {path.name for path in Path("/dev/shm").glob("psm_*") if path.name not in used}


def servers_in(folder: str) -> list[str]:
    """Processes of servers whose temporary files are in ``folder``, whoever their parent is."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if MARK in process.environ() and process.environ().get("TMPDIR", "").startswith(folder):
                found.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
    return found
