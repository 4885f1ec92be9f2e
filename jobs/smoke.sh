#!/usr/bin/env bash
# Every strategy once: does it work here? jobs/smoke.sh RESULTS [further options of the sweep]
exec "$(dirname "$0")/submit.sh" python -m raybench.sweep --plan smoke --accelerator-type L4 --results "$@"
