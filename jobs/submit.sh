#!/usr/bin/env bash
# Submit a command as a job of the cluster whose dashboard `ray dashboard` has brought to this machine, and show what it
# prints. Ctrl-C ends the showing, not the job: `ray job logs -f ID`, `ray job stop ID`.
set -euo pipefail
cd "$(dirname "$0")/.."
export RAY_AUTH_MODE=token
exec ray job submit --address "${RAY_API_SERVER_ADDRESS:-http://127.0.0.1:8265}" \
  --working-dir . --runtime-env jobs/runtime_env.yaml -- "$@"
