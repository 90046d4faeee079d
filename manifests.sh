#!/usr/bin/env bash
# Writes what a stack's settings deploy as plain manifests, to be read, compared
# or applied without Pulumi: manifests.sh STACK. No cluster is needed, and the
# stack itself is not touched: the settings are copied, the state is thrown away.
# make manifests calls it.
set -euo pipefail
cd "$(dirname "$0")"
# The Secret is among the files, in plain text.
umask 077

stack=$1
settings=${SETTINGS:-Pulumi.$stack.yaml}
folder=.local/manifests/$stack

fail() {
  echo "manifests: $*" >&2
  exit 1
}

if ! [[ $stack =~ ^[A-Za-z0-9_.-]+$ ]]; then
  fail "STACK: got '$stack', expected the name of a stack, without its organization"
fi
if [ ! -f "$settings" ]; then
  fail "STACK: got '$stack', expected one with a file of settings, $settings; make it with: pulumi stack init $stack"
fi
if ! command -v pulumi >/dev/null; then
  [ -f .local/env ] || fail "pulumi is not on PATH; install it, or run make cluster as root on Debian, which brings its own"
  . .local/env
fi

work=$(mktemp -d "$PWD/.local/manifests.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A project of its own beside the program: `pulumi stack init` writes into the
# project's folder.
mkdir "$work/state" "$work/written"
{
  cat Pulumi.yaml
  printf "main: '%s'\n" "${PWD//\'/\'\'}"
} >"$work/Pulumi.yaml"
if grep -q '^ *\(- \)\?secure:' "$settings"; then
  # Only their own key opens them.
  cp "$settings" "$work/Pulumi.$stack.yaml"
  if [ -z "${PULUMI_CONFIG_PASSPHRASE+set}${PULUMI_CONFIG_PASSPHRASE_FILE+set}" ] && grep -q '^encryptionsalt:' "$settings"; then
    fail "$settings holds secrets; set PULUMI_CONFIG_PASSPHRASE to the stack's passphrase"
  fi
else
  sed '/^\(encryptionsalt\|encryptedkey\|secretsprovider\):/d' "$settings" >"$work/Pulumi.$stack.yaml"
  export PULUMI_CONFIG_PASSPHRASE=thrown-away
fi

export PULUMI_BACKEND_URL="file://$work/state?metadata=skip"
render() {
  pulumi -C "$work" stack init "$stack" &&
    pulumi -C "$work" config set --stack "$stack" kubernetes:renderYamlToDirectory "$work/written" &&
    pulumi -C "$work" up --yes --skip-preview --refresh=false --stack "$stack"
}
if ! render >"$work/log" 2>&1; then
  cat "$work/log" >&2
  fail "nothing was written"
fi

# The order of the objects is that of kustomization.yaml, and of the folders for
# whoever applies the files themselves. The claim has to be there before the
# StatefulSet, which would make another one in its place.
mkdir -p "$work/ordered"/{1-namespace,2-objects,3-server}
for file in "$work"/written/*/*.yaml; do
  case ${file##*/} in
  v1-namespace-*) place=1-namespace ;;
  apps_v1-statefulset-*) place=3-server ;;
  *) place=2-objects ;;
  esac
  mv "$file" "$work/ordered/$place"
done
{
  printf '%s\n' 'apiVersion: kustomize.config.k8s.io/v1beta1' 'kind: Kustomization' 'resources:'
  (cd "$work/ordered" && printf -- '- %s\n' */*.yaml)
} >"$work/ordered/kustomization.yaml"
mkdir -p .local/manifests
rm -rf "$folder"
mv "$work/ordered" "$folder"

find "$folder" -type f | sort
cat <<END

For your eyes only: they hold the password, a new one unless the stack sets it.
Compare with a cluster:  kubectl diff -k $folder
Apply without Pulumi:    kubectl apply -k $folder
END
