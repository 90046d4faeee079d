#!/usr/bin/env bash
# Lets every kind of fault that the local cluster can do strike servers as often as
# wished, and interrupts updates: soak.sh FAULT TIMES ONE THREE. FAULT is a regular
# expression; with an empty one every kind strikes, and updates are interrupted 50
# times, too. ONE stacks with one server and THREE with three are struck side by
# side. Begun again, it goes on where it was. make soak calls it.
set -euo pipefail
cd "$(dirname "$0")"
export CGO_ENABLED=0

fault=$1 times=$2 one=$3 three=$4
# Those of the stacks (soak/lane.go), and three for everything else.
.local/bin/localkube up --nodes $((3 + 2 * one + 3 * three))
. .local/env
go run ./soak -fault "$fault" -times "$times" -one "$one" -three "$three"
if [ -z "$fault" ]; then
  E2E=1 go test -count=1 -v -timeout 0 ./e2e -run 'UpInterruptedAtAnyMoment' -interrupts 50
fi
