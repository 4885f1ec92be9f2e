#!/usr/bin/env bash
# Ray 2.60.0: workers run at niceness 15, so whatever else runs on the machine goes before them.
#
# ray.init() and `ray start` lower the priority of every worker process; what is measured in one waits for any other work
# on its cores. The driver and Ray's own processes keep the normal priority. RAY_worker_niceness, read by the node's
# raylet, changes it.
#
# Seen, with ray==2.60.0:
#     as it is: driver 0, worker 15; with RAY_worker_niceness=0: driver 0, worker 0
# Exits 1 where it behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "ray==2.60.0"
cat > "$folder/niceness.py" <<'PYTHON'
import logging
import os

import ray

ray.init("local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


@ray.remote
def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


print(f"driver {niceness._function()}, worker {ray.get(niceness.remote())}")
PYTHON
cd "$folder"
export RAY_USAGE_STATS_ENABLED=0 RAY_TMPDIR="${RAY_TMPDIR:-/tmp}"
as_it_is=$(venv/bin/python niceness.py)
asked=$(RAY_worker_niceness=0 venv/bin/python niceness.py)
echo "as it is: $as_it_is; with RAY_worker_niceness=0: $asked"
[ "$as_it_is" = "driver 0, worker 15" ] && [ "$asked" = "driver 0, worker 0" ]
