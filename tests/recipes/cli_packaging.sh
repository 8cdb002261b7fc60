#!/usr/bin/env bash
# What is packed with the program agrees with it: options, unit, manifests. What has no tool here is left out by its own line.
#   cli_packaging.sh PROGRAM SOURCES
set -euo pipefail
program=$(realpath "$1") sources=$2
out=$(mktemp)
trap 'rm -f "$out"' EXIT
"$sources/scripts/packaging/check.sh" --program "$program" --image no >"$out" || { cat "$out" >&2; exit 1; }
cat "$out"
grep -q '^ok: options of halfstep serve' "$out"

# Each Deployment's selector picks the pods that it makes: kubectl, where it is, adds both, and a plain `kubectl apply -f` does not.
awk '/^ *matchLabels:/ { getline; selector = $0 } /^ *labels:/ { getline; labels = $0 } END { gsub(/ /, "", selector); gsub(/ /, "", labels); exit !(selector != "" && selector == labels) }' \
  "$sources/scripts/packaging/kubernetes/deployment.yaml" || { echo "deployment.yaml: selector and labels of its pods differ" >&2; exit 1; }

# An option that the program has not is seen.
work=$(mktemp -d)
trap 'rm -rf "$out" "$work"' EXIT
cp -r "$sources/scripts/packaging" "$work/"
sed -i 's/- --drain=30/- --drains=30/' "$work/packaging/kubernetes/deployment.yaml"
if "$work/packaging/check.sh" --program "$program" --image no >"$out" 2>&1; then
  echo "an unknown option was not seen" >&2
  exit 1
fi
grep -q 'no such option of serve: --drains' "$out"
