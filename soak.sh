#!/usr/bin/env bash
# Lets faults strike as often as wished, on the local cluster with three nodes:
# soak.sh FAULT TIMES. FAULT is a regular expression; with an empty one each kind
# strikes, and every other test of several servers runs, too. Faults strike a slow
# client, after each of whose faults all rows are counted by psql and verify has to
# prove everything; and verify durability under load, with one server and with
# three. make soak calls it.
set -euo pipefail
cd "$(dirname "$0")"
. .local/env
export CGO_ENABLED=0

fault=$1 times=$2
if ! [[ $times =~ ^[1-9][0-9]*$ ]]; then
  echo "soak: TIMES: got '$times', expected a number from 1 on; set it with: make soak TIMES=20" >&2
  exit 1
fi
tests='^Test(Members(LoseNoAcknowledgedWrite|SurviveTheirNodes|Durability|RegistersAreLinearizable)|DurabilityOfOneServer)$'
if [ -z "$fault" ]; then
  tests='^Test(Members|DurabilityOfOneServer|UpInterrupted)'
fi
E2E=1 go test -count=1 -v -parallel 1 -timeout 0 ./e2e -run "$tests" -fault "$fault" -times "$times" -interrupts 50 -every-transition
