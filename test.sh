#!/usr/bin/env bash
# Every test there is, the fast ones first. make test calls it with everything
# installed. The local cluster is started if it is not up, and then stopped at
# the end; one that was up stays up.
set -euo pipefail
cd "$(dirname "$0")"

# As in .local/env and the Makefile: with another setting all packages would be
# compiled again, under another key of Go's build cache.
export CGO_ENABLED=0

section() { printf '\n== %s\n' "$*"; }

# go vet takes the tests' dependencies apart, too: all of Kubernetes, on a fresh
# machine for more than ten minutes. make lint runs it.
gotest() { go test -vet=off "$@"; }

section "Fast tests"
# Without a PostgreSQL server, or a browser, the tests that need one fail instead
# of being left out: both were installed.
STATEFUL_POSTGRES_REQUIRE_POSTGRES=1 STATEFUL_POSTGRES_REQUIRE_CHROMIUM=1 gotest ./...
(cd provider && gotest ./...)

section "Tests of the local cluster's own code"
# So do those that mount a disk: root can.
(cd local && STATEFUL_POSTGRES_REQUIRE_MOUNTS=1 gotest ./...)

section "The local cluster"
if ! .local/bin/localkube status >/dev/null 2>&1; then
  trap '.local/bin/localkube down' EXIT
fi
(cd local && LOCALKUBE_TEST=1 gotest -count=1 -v -timeout 20m ./clustertest)

section "End to end"
.local/bin/localkube up
. .local/env
# A test waits for pods and kubelets; four of them keep two cores busy.
E2E=1 gotest -count=1 -v -parallel 4 -timeout 60m ./e2e

section "End to end, on three nodes"
.local/bin/localkube up --nodes 3
E2E=1 gotest -count=1 -v -parallel 2 -timeout 60m ./e2e -run '^(TestForcedDeletionOnAnotherNode|TestMembers.*)$'
.local/bin/localkube up --nodes 1
