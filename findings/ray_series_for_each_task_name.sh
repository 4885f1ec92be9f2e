#!/usr/bin/env bash
# Ray 2.60.0: each name given to a task is some time series in the node's metrics, also when the task has long ended.
#
# .options(name=...) is for the dashboard. The metric ray_tasks has it as a label, beside each state that the task went
# through: 300 calls with names of their own are 2,000 series.
#
# Seen, with ray==2.60.0, 15 s after 300 calls of one actor had returned:
#     300 names in 2001 series
# Exits 1 where it behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "ray[default]==2.60.0"
cat > "$folder/names.py" <<'PYTHON'
import logging
import re
import sys
import time
import urllib.request

import ray

ray.init("local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


@ray.remote
class Actor:
    def call(self) -> None:
        pass


actor = Actor.remote()
for i in range(300):
    ray.get(actor.call.options(name=f"call {i}").remote())
time.sleep(15)
node = ray.nodes()[0]
address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
lines = urllib.request.urlopen(address, timeout=10).read().decode().splitlines()
series = [line for line in lines if line.startswith("ray_tasks{") and 'Name="call ' in line]
names = {re.search(r'Name="(call \d+)"', line).group(1) for line in series}
print(f"{len(names)} names in {len(series)} series")
sys.exit(0 if len(names) > 250 and len(series) > 3 * len(names) else 1)
PYTHON
cd "$folder"
RAY_USAGE_STATS_ENABLED=0 RAY_TMPDIR="${RAY_TMPDIR:-/tmp}" venv/bin/python names.py
