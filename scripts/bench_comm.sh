#!/usr/bin/env bash
# Collectives of ranks on this machine beside MPI's own and torch.distributed's gloo, in turn: medians over rounds.
#   scripts/bench_comm.sh --env ENV [--halfstep PROGRAM] [--ranks 2] [--rounds 3] [--dir SCRATCH]
# ENV: a script that makes a Python with torch the first in PATH (activate of a virtual environment).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
env='' halfstep=$here/../build/halfstep ranks=2 rounds=3 dir=${TMPDIR:-/tmp}/halfstep-comm
while [ $# -gt 0 ]; do
  case $1 in
  --env | --halfstep | --ranks | --rounds | --dir) printf -v "${1#--}" '%s' "${2:?$1 needs a value}"; shift 2 ;;
  *) sed -n '2,4p' "$0" >&2; exit 2 ;;
  esac
done
[ -n "$env" ] || { sed -n '2,4p' "$0" >&2; exit 2; }
. "$env"
mkdir -p "$dir"
rm -f "$dir"/*.json
run=(mpirun --allow-run-as-root --oversubscribe -np "$ranks")
for ((i = 1; i <= rounds; i++)); do
  "${run[@]}" "$halfstep" bench comm --json >>"$dir/ours.json"
  "${run[@]}" python "$here/torch_gloo.py" >>"$dir/gloo.json"
  echo "round $i of $rounds" >&2
done
python - "$dir" <<'PY'
import collections, json, statistics, sys
rows = collections.defaultdict(lambda: collections.defaultdict(list))
for name in "ours", "gloo":
    for line in open(f"{sys.argv[1]}/{name}.json"):
        r = json.loads(line)
        call = r["call"].removesuffix(", copied")
        if r["call"] != call:
            name_of = "gloo with copies"
        else:
            name_of = name
        size = 0 if call.startswith("gradients") else r["bytes"]
        rows[call, size, r["bytes"]][name_of].append(r["us"])
        if "mpi_us" in r:
            rows[call, size, r["bytes"]]["mpi"].append(r["mpi_us"])
print("| call | bytes | Halfstep, us | MPI, us | ours / MPI | gloo, us | ours / gloo |\n|---|---|---|---|---|---|---|")
for (call, size, nbytes), by in rows.items():
    m = {k: statistics.median(v) for k, v in by.items()}
    if "ours" not in m:
        continue
    cell = lambda k: f"{m[k]:.1f} | {m['ours'] / m[k]:.2f}" if k in m else "- | -"
    print(f"| {call} | {nbytes} | {m['ours']:.1f} | {cell('mpi')} | {cell('gloo')} |")
    if "gloo with copies" in m:
        print(f"| {call}, gloo with DDP's copies | {nbytes} | {m['ours']:.1f} | - | - | {cell('gloo with copies')} |")
PY
