"""docs/served.md as a reader types it, from an environment for vLLM to a run's table."""

from __future__ import annotations

import copy
import signal
import subprocess

import pytest
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from committed_visits import wait_until_committed
from docs.pages import as_typed
from docs.reader import PATIENCE_S, Reader, shorter
from engines.engines import CONFIG, python_of
from engines.install import VLLM
from model.small_checkpoints import save_adapter, save_model
from raybench.model.prepare import make_tokenizer

pytestmark = [pytest.mark.engines, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """Who has installed vLLM: the build without CUDA, whose dependencies are those of the other tests."""
    python = python_of("vllm")
    folder = tmp_path_factory.mktemp("here")
    tokenizer = make_tokenizer("micro")
    config = copy.deepcopy(CONFIG)
    config.vocab_size = len(tokenizer)
    base = save_model(LlamaForCausalLM, config, folder / "lm")
    tokenizer.save_pretrained(base)
    for seed, name in enumerate(("support", "sales")):
        save_adapter(base, folder / name, AutoModelForCausalLM, seed)
    own = {"BASE": "lm", "support=DIR": "support=support", "sales=DIR": "sales=sales"}
    reader = Reader(folder, own | {"pip install vllm": f"pip install --quiet --no-deps {VLLM}"})
    reader.types(as_typed("docs/served.md", "python3 -m venv vllm && vllm/bin/pip install vllm"))
    asked = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    found = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    (packages,) = (folder / "vllm" / "lib").glob("python*/site-packages")
    (packages / "beside.pth").write_text(found)
    return reader


def until_a_visit(reader: Reader, text: str, run: str) -> str:
    """Type a sweep and end it by Ctrl-C once one of its visits is over, of three that take minutes; what it said."""
    log = reader.folder / f"{run}.log"
    with log.open("w") as out:
        command = ["bash", "-c", f"exec {reader.filled(shorter(text))} --run-id {run}"]
        sweep = subprocess.Popen(command, cwd=reader.folder, env=reader.environment, stdout=out, stderr=out)
    kept = reader.folder / "data" / "runs" / run
    wait_until_committed(kept, 1, lambda: sweep.poll() is None, log.read_text, PATIENCE_S)
    sweep.send_signal(signal.SIGINT)
    assert sweep.wait(PATIENCE_S) == 128 + signal.SIGINT, log.read_text()
    assert "Go on: raybench sweep " in log.read_text()
    assert "failed" not in log.read_text()
    return log.read_text()


def test_adapters_are_measured_on_vllm(reader: Reader) -> None:
    line = as_typed("docs/served.md", "raybench sweep --engine vllm --engine-python")
    assert "9 configurations, " in until_a_visit(reader, line, "named")


def test_a_plan_that_is_written_is_changed_and_run(reader: Reader) -> None:
    """As a reader without a GPU would change it: nothing compiled, and little kept in memory."""
    reader.types(as_typed("docs/served.md", "raybench init --engine vllm"))
    plan = reader.folder / "served.toml"
    text = plan.read_text()
    for there, wanted in (("eager = false", "eager = true"), ("# kv_cache_gib = 1 ", "kv_cache_gib = 1 ")):
        assert f"\n{there}" in text
        text = text.replace(f"\n{there}", f"\n{wanted}")
    plan.write_text(text)
    assert "base_beside_sales" in reader.types(as_typed("docs/served.md", "raybench plan served.toml"))
    line = as_typed("docs/served.md", "raybench sweep --plan served.toml --engine-python")
    assert "9 configurations, " in until_a_visit(reader, line, "written")
