#!/usr/bin/env bash
# Are the files of this folder what those who read them take? Each check is left out, with a line, where its tool is not.
#   scripts/packaging/check.sh [--program PATH] [--schemas COMMAND] [--image yes|no]
#   --program   the halfstep whose options are held against those that are written here; default: build/halfstep
#   --schemas   kubernetes-validate (of PyPI): manifests against Kubernetes' schemas, strictly
#   --image     no: it is not built, which takes minutes and fetches packages
set -uo pipefail
cd "$(dirname "$0")" || exit 2
program=../../build/halfstep schemas=kubernetes-validate image=yes wrong=0
while [ $# -gt 0 ]; do
  case $1 in --program) program=$2 ;; --schemas) schemas=$2 ;; --image) image=$2 ;; *) echo "unknown option $1" >&2; exit 2 ;; esac
  shift 2
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
said() { if [ "$1" -eq 0 ]; then echo "ok: $2"; else echo "WRONG: $2" >&2; wrong=1; fi; }
without() { echo "left out: $1 is not installed ($2)"; }

# ---- options: each that stands in the unit, in the deployment or in the image is one of the program's
if [ -x "$program" ]; then
  "$program" serve --help --all >"$work/help"
  for option in $(grep -hE '^ExecStart=|^ +- --|serve --host' halfstep.service kubernetes/deployment.yaml Containerfile | grep -oE -- '--[a-z-]+' | sort -u); do
    [ "$option" = --rm ] || grep -q -- "^  $option" "$work/help" || { echo "no such option of serve: $option" >&2; touch "$work/unknown"; }
  done
  said "$([ -e "$work/unknown" ] && echo 1 || echo 0)" "options of halfstep serve"
else
  without "$program" "options are not compared"
fi

# ---- the unit: with the program's path made one that is there
if command -v systemd-analyze >/dev/null; then
  sed "s|^ExecStart=/usr/bin/halfstep|ExecStart=/bin/true|" halfstep.service >"$work/halfstep.service"
  systemd-analyze verify --man=no --recursive-errors=no "$work/halfstep.service" >"$work/unit" 2>&1 && [ ! -s "$work/unit" ]
  said $? "systemd-analyze verify halfstep.service $(head -3 "$work/unit")"
  exposure=$(systemd-analyze security --offline=true --no-pager "$work/halfstep.service" 2>/dev/null | grep -oE 'exposure level.*: [0-9.]+' | grep -oE '[0-9.]+$' || true)
  awk -v e="${exposure:-10}" 'BEGIN { exit !(e <= 2) }'
  said $? "systemd-analyze security: exposure ${exposure:-unknown}, of 0 to 10, at most 2"
else
  without systemd-analyze "the unit is not checked"
fi

# ---- manifests
if command -v kubectl >/dev/null; then
  kubectl kustomize kubernetes >"$work/all.yaml"
  said $? "kubectl kustomize: $(grep -c '^kind:' "$work/all.yaml") objects"
else
  without kubectl "the base is not put together; its files are checked one by one"
  for f in kubernetes/*.yaml; do [ "$f" = kubernetes/kustomization.yaml ] || { echo ---; cat "$f"; }; done >"$work/all.yaml"
fi
if command -v "$schemas" >/dev/null; then
  "$schemas" --strict "$work/all.yaml" >"$work/schemas" 2>&1
  said $? "kubernetes-validate --strict $(grep -v '^INFO' "$work/schemas" | head -3)"
else
  without kubernetes-validate "manifests are not held against schemas"
fi

# ---- the image, where a container engine runs
for engine in podman docker; do
  [ "$image" = yes ] || break
  if command -v $engine >/dev/null && $engine info >/dev/null 2>&1; then
    $engine build -q -f Containerfile -t halfstep-check ../.. >/dev/null && $engine run --rm halfstep-check version >/dev/null
    said $? "$engine build, and the image's program runs as $($engine run --rm --entrypoint id halfstep-check -u)"
    built=1
    break
  fi
done
[ "$image" = no ] && built=1
[ -n "${built:-}" ] || without "a running podman or docker" "the image is not built"
exit $wrong
