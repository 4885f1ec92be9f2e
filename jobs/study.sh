#!/usr/bin/env bash
# The study's 29 configurations on L4s: jobs/study.sh RESULTS [further options of the sweep]
exec "$(dirname "$0")/submit.sh" python -m raybench.sweep --plan rq2 --accelerator-type L4 --results "$@"
