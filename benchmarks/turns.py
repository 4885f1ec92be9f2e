"""How long should a turn be? Spread of the visits' log ratios for several lengths, visits of all lengths in turn.

python benchmarks/turns.py [VISITS]
"""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pyarrow as pa

from raybench.cluster.agenda import Agenda, Job
from raybench.deploy import strategies
from raybench.model.prepare import Recipe
from raybench.model.weights import resolve_model
from raybench.model.workload import GlueLengths, glue_tasks
from raybench.plan import file as plan_file
from raybench.visit.messages import Samples
from raybench.visit.process import ProcessHost

LENGTHS = (1, 2, 5, 10, 25, 50)


def main(visits: int) -> None:
    plan, _ = plan_file.load_plan("rq2", strategies.all_traits(), glue_tasks())
    recipe, model = Recipe.of("micro", plan), resolve_model("micro")
    host = ProcessHost("cpu")
    host.prepare(model, recipe)
    spec = Agenda(Job(plan, GlueLengths(0), model, recipe, "cpu")).next()
    assert spec is not None
    ratios: dict[int, list[tuple[float, float]]] = {length: [] for length in LENGTHS}
    rng = np.random.default_rng(0)
    for visit in range(visits):
        for length in rng.permutation(LENGTHS):
            one = dataclasses.replace(spec, turn_requests=int(length), order_seed=(0, 0, visit))
            batches = [m.batch for m in host.visit(one) if isinstance(m, Samples)]
            table = pa.Table.from_batches(batches)
            means = {}
            for strategy in ("fullft", "lora_merged", "lora"):
                name = f"{strategy}_mrpc_seed42"
                mask = [
                    c == name and p == "timed"
                    for c, p in zip(table["configuration"].to_pylist(), table["phase"].to_pylist(), strict=True)
                ]
                means[strategy] = np.mean(np.asarray(table["wall_ns"])[mask])
            full = means["fullft"]
            ratios[int(length)].append((np.log(means["lora"] / full), np.log(means["lora_merged"] / full)))
    print("turn  separate/full  sd      merged/full  sd")
    for length, values in ratios.items():
        mean, sd = np.mean(values, axis=0), np.std(values, axis=0, ddof=1)
        print(f"{length:4d}  {np.exp(mean[0]):13.4f}  {sd[0]:.4f}  {np.exp(mean[1]):11.4f}  {sd[1]:.4f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 12)
