#!/usr/bin/env bash
# Lets every kind of fault that the local cluster can do strike servers as often as
# wished, and interrupts updates: soak.sh FAULT TIMES GROUPS. FAULT is a regular
# expression; with an empty one every kind strikes, updates are interrupted 50 times,
# and every transition between 0 and 3 servers is gone through, too. Each of GROUPS
# groups has three nodes, a stack with one server and one with three, which are struck
# side by side. Begun again, it goes on where it was. make soak calls it.
set -euo pipefail
cd "$(dirname "$0")"
export CGO_ENABLED=0

fault=$1 times=$2 groups=$3
if ! [[ $times =~ ^[1-9][0-9]*$ ]]; then
  echo "soak: TIMES: got '$times', expected a number from 1 on; set it with: make soak TIMES=20" >&2
  exit 1
fi
if ! [[ $groups =~ ^[1-9][0-9]?$ ]]; then
  echo "soak: GROUPS: got '$groups', expected a number from 1 on; set it with: make soak GROUPS=2" >&2
  exit 1
fi
# Three for everything else.
.local/bin/localkube up --nodes $((3 + 3 * groups))
. .local/env
go run ./soak -fault "$fault" -times "$times" -groups "$groups"
if [ -z "$fault" ]; then
  E2E=1 go test -count=1 -v -timeout 0 ./e2e -run 'UpInterruptedAtAnyMoment|GrowAndShrinkUnderLoad' -interrupts 50 -every-transition
fi
