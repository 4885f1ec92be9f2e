#!/usr/bin/env bash
# The same configuration under two names: does it find nothing where there is nothing?
# jobs/aa.sh RESULTS [further options of the sweep]
exec "$(dirname "$0")/submit.sh" python -m raybench.sweep --plan aa --accelerator-type L4 --results "$@"
