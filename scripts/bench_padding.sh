#!/usr/bin/env bash
# What unpadded batches gain where texts are served: `halfstep embed` of a file's texts, beside the same engine at batches of one fixed shape, which
# every text is padded to - the best of many batch sizes. Rounds take turns, figures are medians. The padded side is products alone; ours reads,
# tokenizes, pools and writes besides.
#   scripts/bench_padding.sh --encoder DIR --texts FILE [--length 128] [--batches 1,4,8,16,32] [--rounds 3] [--dtype fp32] [--threads N] [--halfstep PROGRAM]
#   --texts   a text a line (a label "0 " or "1 " before it is dropped)     --length  longest text in tokens; longer ones are cut by both
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
encoder="" texts="" length=128 batches=1,4,8,16,32 rounds=3 dtype=fp32 threads=$(nproc) halfstep=$root/build/halfstep
while [ $# -gt 0 ]; do
  case $1 in
    --encoder | --texts | --length | --batches | --rounds | --dtype | --threads | --halfstep) printf -v "${1#--}" %s "${2:?$1 needs a value}" ;;
    *) echo "bench_padding: unknown option $1" >&2 && exit 2 ;;
  esac
  shift 2
done
[ -n "$encoder" ] && [ -r "$texts" ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2 && exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number() { grep -oE "\"$1\":[-+0-9.eE]+" | tail -1 | cut -d: -f2; }
median() { sort -g "$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
sed -E 's/^[01] //' "$texts" >"$work/texts"
"$halfstep" tokenize --tokenizer "$encoder" --ids "$work/texts" | awk -v most="$length" '{ print NF < most ? NF : most }' | sort -n >"$work/lengths"
awk '{ v[NR] = $1; n += $1 } END { printf "%d texts, %d tokens: mean %.1f, median %d, 95 %% within %d, longest %d\n", NR, n, n / NR, v[int((NR + 1) / 2)], v[int(NR * 0.95)], v[NR] }' "$work/lengths"
shape=$(tail -1 "$work/lengths")
for ((r = 0; r < rounds; r++)); do
  "$halfstep" embed "$encoder" --input "$work/texts" --max-length "$length" --output "$work/vectors" --dtype "$dtype" --threads "$threads" --json 2>/dev/null |
    number texts_per_second >>"$work/ours"
  for b in ${batches//,/ }; do
    "$halfstep" bench infer --model "$encoder" --batch "$b" --seq "$shape" --steps 8 --dtype "$dtype" --threads "$threads" --json 2>/dev/null |
      number sequences_per_second >>"$work/padded-$b"
  done
done
ours=$(median "$work/ours") best=0
printf '| %s, %s threads | texts/s |\n|---|---|\n' "$dtype" "$threads"
for b in ${batches//,/ }; do
  rate=$(median "$work/padded-$b")
  printf '| padded to %d x %d | %.1f |\n' "$b" "$shape" "$rate"
  best=$(awk -v a="$best" -v b="$rate" 'BEGIN { print (a > b ? a : b) }')
done
awk -v a="$ours" -v b="$best" 'BEGIN { printf "| unpadded, text to vector | %.1f, %.2f times the best |\n", a, a / b }'
