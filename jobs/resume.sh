#!/usr/bin/env bash
# Go on with what was stopped or lost, by the command it was begun with:
# jobs/resume.sh study|smoke|aa RESULTS [the same further options]. Without --run-id it is the newest run of that plan.
case "${1-}" in
  study | smoke | aa) exec "$(dirname "$0")/$1.sh" "${@:2}" --resume ;;
  *) echo "usage: jobs/resume.sh study|smoke|aa RESULTS [the same further options]" >&2; exit 2 ;;
esac
