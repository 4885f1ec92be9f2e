"""A plan of any size, written out: the structure of rq2 with more fine-tunes.

python benchmarks/large_plan.py > large.toml                  10,000 configurations
python benchmarks/large_plan.py --seeds 110 --multi 10        1,000
"""

from __future__ import annotations

import argparse


def plan_text(seeds: int, multi: int, rounds: int) -> str:
    """As TOML: nine configurations for each of ``seeds``, and ``multi`` of several adapters."""
    numbers = ", ".join(map(str, range(seeds)))
    cells = f'tasks = ["sst2", "mrpc", "rte"]\nseeds = [{numbers}]\n'
    parts = [f'name = "large"\nrounds = {rounds}\nrequests = 50\n']
    parts.append(f'[[adapters]]\nname = "{{task}}_{{seed}}"\nalpha = 8\n{cells}')
    for strategy in ("full_ft", "lora_separate", "lora_merged"):
        adapters = "" if strategy == "full_ft" else 'adapters = ["{task}_{seed}"]\n'
        parts.append(f'[[matrix]]\nname = "{strategy}_{{task}}_{{seed}}"\nstrategy = "{strategy}"\n{cells}{adapters}')
    for i in range(multi):
        tasks = ["sst2", "mrpc", "rte"][: 2 + i % 2]
        named = ", ".join(f'"{task}_{i}"' for task in tasks)
        parts.append(f'[[configurations]]\nname = "multi_{i}"\nstrategy = "multi_lora"\nseed = {i}\n')
        parts.append(f"adapters = [{named}]\n")
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1106)
    parser.add_argument("--multi", type=int, default=46)
    parser.add_argument("--rounds", type=int, default=10)
    asked = parser.parse_args()
    print(plan_text(asked.seeds, asked.multi, asked.rounds))


if __name__ == "__main__":
    main()
