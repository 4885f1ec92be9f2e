"""Do known times come out of a sweep of servers? Two of tests/serve/fake_server.py that wait as long as they are told.

One waits 20 ms before the first token and 5 ms before each further one, the other 24 and 6: known ratios of 1.2. A real
sweep asks them, as servers that run already, one request at a time and four at once. Told are the means and the ratios
with their 95 % intervals beside what they should be. The servers' own timers are late by some tenths of a millisecond,
which each wait then has.

    python benchmarks/known_delays.py [--rounds 6] [--requests 20] [--raw FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from raw import write_raw

from raybench.analysis import Tables

SERVER = Path(__file__).parents[1] / "tests" / "serve" / "fake_server.py"
TTFT_MS, TPOT_MS, LONGER = 20.0, 5.0, 1.2
PLAN = """
name = "known-delays"
task_type = "CAUSAL_LM"
rounds = {rounds}
requests = {requests}
turn_requests = 2
warmups = 2
references = ["full_ft"]
[workload]
prompt_tokens = 32
output_tokens = 16
[[servers]]
name = "quick"
url = "{quick}"
[[servers]]
name = "slow"
url = "{slow}"
[[adapters]]
name = "support"
tasks = ["t"]
seeds = [0]
[[claims]]
strategy = "lora_merged"
reference = "full_ft"
[[configurations]]
name = "quick_{{load}}"
strategy = "full_ft"
servers = "quick"
task = "t"
seed = 0
concurrency = [1, 4]
[[configurations]]
name = "slow_{{load}}"
strategy = "lora_merged"
servers = "slow"
adapters = ["support"]
seed = 0
concurrency = [1, 4]
"""


@contextlib.contextmanager
def server(longer: float) -> Iterator[str]:
    """The URL of one whose waits are ``longer`` times those known."""
    behaviour = json.dumps({"ttft_ms": TTFT_MS * longer, "token_ms": TPOT_MS * longer})
    words = [sys.executable, str(SERVER), "--models", "base,support", "--behaviour", behaviour]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def measured(rounds: int, requests: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder, server(1.0) as quick, server(LONGER) as slow:
        plan = Path(folder, "plan.toml")
        plan.write_text(PLAN.format(rounds=rounds, requests=requests, quick=quick, slow=slow))
        words = ["--plan", str(plan), "--results", folder, "--run-id", "known"]
        subprocess.run([sys.executable, "-m", "raybench.sweep", *words], check=True, stdout=subprocess.DEVNULL)
        return Tables(Path(folder, "known")).rows(
            "SELECT deployment, measure, ratio, low, high, compared_ms, reference_ms FROM by_strategy "
            "WHERE clock = 'wall' AND reference_strategy = 'full_ft' AND ratio IS NOT NULL "
            "AND measure IN ('ttft', 'tpot')"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("--raw", type=Path)
    options = parser.parse_args()
    rows = measured(options.rounds, options.requests)
    known = {"ttft": TTFT_MS, "tpot": TPOT_MS}
    print(f"known: TTFT {TTFT_MS:g} and {TTFT_MS * LONGER:g} ms, TPOT {TPOT_MS:g} and {TPOT_MS * LONGER:g} ms")
    for row in rows:
        ms = known[row["measure"]]
        print(
            f"  {row['deployment']:28} {row['measure']}: {row['reference_ms']:.3f} and {row['compared_ms']:.3f} ms "
            f"({row['reference_ms'] - ms:+.3f}, {row['compared_ms'] - ms * LONGER:+.3f}); ratio {row['ratio']:.4f} "
            f"[{row['low']:.4f}, {row['high']:.4f}], known {LONGER:g}"
        )
    write_raw(options.raw, rows)


if __name__ == "__main__":
    main()
