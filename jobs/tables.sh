#!/usr/bin/env bash
# All tables of a run, from its raw samples: jobs/tables.sh RESULTS/RUN
exec "$(dirname "$0")/submit.sh" python -m raybench.cli tables "$@"
