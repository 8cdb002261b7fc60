#!/usr/bin/env bash
# Latency of BERT-base beside OpenVINO's, in turn on the same cores: medians over rounds, and their ratio.
#   scripts/bench_vs_openvino.sh --env ENV [--halfstep PROGRAM] [--dir SCRATCH] [--rounds 5] [--calls 50] [--dtypes "fp32 bf16"] [--batch 1] [--seq 128] [--model bert-base]
# ENV: a script that makes a Python with openvino, torch and transformers the first in PATH (activate of a virtual environment).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
env='' halfstep=$here/../build/halfstep dir=${TMPDIR:-/tmp}/halfstep-openvino rounds=5 calls=50 dtypes='fp32 bf16' batch=1 seq=128 model=bert-base
while [ $# -gt 0 ]; do
  case $1 in
  --env | --halfstep | --dir | --rounds | --calls | --dtypes | --batch | --seq | --model) printf -v "${1#--}" '%s' "${2:?$1 needs a value}"; shift 2 ;;
  *) sed -n '2,4p' "$0" >&2; exit 2 ;;
  esac
done
[ -n "$env" ] || { sed -n '2,4p' "$0" >&2; exit 2; }
. "$env"
mkdir -p "$dir"
rm -f "$dir"/*.txt
value() { grep -oE "\"$1\": *[-+0-9.eE]+" | head -1 | sed 's/.*: *//'; }
median() { sort -g "$1" | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }
for ((i = 1; i <= rounds; i++)); do
  for dtype in $dtypes; do
    python "$here/openvino_encode.py" --dir "$dir" --dtype "$dtype" --batch "$batch" --seq "$seq" --calls "$calls" --threads "$(nproc)" | value milliseconds >>"$dir/peer-$dtype.txt"
    "$halfstep" bench infer --model "$model" --batch "$batch" --seq "$seq" --dtype "$dtype" --warmup 5 --steps "$calls" --json | value milliseconds >>"$dir/ours-$dtype.txt"
    echo "round $i $dtype: openvino $(tail -1 "$dir/peer-$dtype.txt") ms, halfstep $(tail -1 "$dir/ours-$dtype.txt") ms" >&2
  done
done
printf '| batch %s, %s tokens | Halfstep, ms | OpenVINO, ms | ours / theirs |\n|---|---|---|---|\n' "$batch" "$seq"
for dtype in $dtypes; do
  ours=$(median "$dir/ours-$dtype.txt") peer=$(median "$dir/peer-$dtype.txt")
  printf '| %s | %.1f | %.1f | %.2f |\n' "$dtype" "$ours" "$peer" "$(awk -v a="$ours" -v b="$peer" 'BEGIN { print a / b }')"
done
