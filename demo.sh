#!/usr/bin/env bash
# The whole story, as one would type it: PostgreSQL comes up, rows are written,
# it is scaled to zero and proven to be down, scaled back, and the rows are
# proven to be there. make demo calls it with everything installed.
#
# With a context's name as its argument it plays on that cluster, with the
# pulumi and the kubeconfig of whoever calls it; without one on the local
# cluster.
set -euo pipefail
cd "$(dirname "$0")"

context=${1:-}
stack=dev
if [ -n "$context" ]; then
  # One stack a cluster: the state of one says nothing about another.
  stack=demo-$(printf %s "$context" | tr -c 'A-Za-z0-9_.-' -)
fi

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
else
  bold='' dim='' plain=''
fi

# Where the time goes, for the summary: one line a command.
times=$(mktemp)
# An end before its time leaves the setting as it was found, so that neither
# the next demo nor git sees a difference.
finish() {
  code=$?
  rm -f "$times"
  if [ "$code" -ne 0 ]; then
    pulumi config set replicas 1 --stack "$stack" >/dev/null 2>&1 || true
    echo "The demo ended before its end (exit code $code). It can be run again: make demo${context:+ CONTEXT=$context}" >&2
  fi
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n%s%s%s\n' "$dim" "$*" "$plain"; }

# run WHAT COMMAND...: shows the command, runs it and notes how long it took.
run() {
  local what=$1 start end
  shift
  printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"
  start=$(date +%s%N)
  "$@"
  end=$(date +%s%N)
  printf '%6d.%d s  %-32s %s\n' $(((end - start) / 1000000000)) $(((end - start) / 100000000 % 10)) "$*" "$what" >>"$times"
}

for program in pulumi go; do
  if ! command -v "$program" >/dev/null; then
    echo "demo: $program is not on PATH; install it, or run make demo without CONTEXT as root on Debian, which brings its own" >&2
    exit 1
  fi
done

# The first time this compiles Pulumi's Kubernetes SDK, which takes minutes.
mkdir -p .local/bin
go build -v -o .local/bin/ . ./verify ./internal/updatelog 2>&1 | {
  compiled=0
  while IFS= read -r line; do
    # The name of a package that is compiled; anything else is worth reading.
    if [[ $line != *[[:space:]:]* ]]; then
      if ((++compiled % 20 == 0)); then echo "Building: compiled $compiled packages, now $line"; fi
    else
      printf '%s\n' "$line"
    fi
  done
}

# Of an update a line for each thing that was done, the same in a terminal and in
# a file. Pulumi itself writes a line for every event into a file, the same one up
# to five times, and cuts off what it waits for in a terminal of 80 columns.
pulumi() {
  if [ "$1" = up ]; then
    PULUMI_ENABLE_STREAMING_JSON_PREVIEW=true command pulumi "$@" --json | .local/bin/updatelog
  else
    command pulumi "$@"
  fi
}

pulumi stack select "$stack" --create >/dev/null
if [ -n "$context" ]; then
  pulumi config set kubernetes:context "$context"
fi
if [ "$(pulumi config get replicas 2>/dev/null)" != 1 ]; then
  pulumi config set replicas 1
fi

say "Namespace, ConfigMap, Secret, Services, claim and StatefulSet, with one replica."
run "the database comes up" pulumi up --yes
say "Is it there, and is everything that was ever acknowledged still in it? Some rows more, too."
run "rows checked and written" go run ./verify

say "Scale to zero."
run "one number changed" pulumi config set replicas 0
run "the database goes down" pulumi up --yes
say "It has to be down, and its volume has to be the same."
run "down, proven" go run ./verify

say "And back."
run "one number changed" pulumi config set replicas 1
run "the database is back" pulumi up --yes
say "Every row has to be there again."
run "all rows there, proven" go run ./verify

printf '\n%sIt kept your data.%s\n' "$bold" "$plain"
cat "$times"

if [ -n "$context" ]; then
  cat <<END

Go on by hand, in this folder (stack $stack, context $context):
    pulumi config set replicas 0 && pulumi up
    go run ./verify
To remove everything, rows included:
    pulumi config set deleteData true && pulumi destroy --run-program
END
else
  cat <<'END'

The cluster stays up. Go on by hand, in this folder:
    . .local/env
    pulumi config set replicas 0 && pulumi up
    go run ./verify
    kubectl --namespace codewizard get all
To stop the cluster and keep its data: make cluster-down
To remove everything: make clean
END
fi
