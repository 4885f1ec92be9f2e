#!/usr/bin/env bash
# Your own adapters, by hub id: jobs/mine.sh RESULTS --model BASE --adapter NAME=HUB-ID [further options of the sweep]
exec "$(dirname "$0")/submit.sh" python -m raybench.sweep --accelerator-type L4 --results "$@"
