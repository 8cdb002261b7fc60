#!/usr/bin/env bash
# What a fine-tuned model is worth after it was made smaller: score, size and speed of prediction by method, over checkpoints of several seeds.
#   scripts/bench_quantize.sh --task NAME --train FILE --dev FILE [--metric accuracy|f1] [--examples 512] [--threads N] [--halfstep PROGRAM]
#                             [--methods "NAME:OPTIONS;..."] CHECKPOINT...
# Each checkpoint is quantized by every method, evaluated on FILE of --dev, and predicts it (median of three passes). Prints a table of means
# over the checkpoints, deviations in brackets; differences are of each checkpoint from itself in f32.
set -euo pipefail
cd "$(dirname "$0")/.."
task= train= dev= metric=accuracy examples=512 threads=$(nproc) halfstep=build/halfstep
methods='f32;w8a8, token:--bits w8a8;w8a8, percentile:--bits w8a8 --calib TRAIN;w8a8, max:--bits w8a8 --calib TRAIN --method max;'
methods+='w8a8, entropy:--bits w8a8 --calib TRAIN --method entropy;w8a8, mse:--bits w8a8 --calib TRAIN --method mse;w8:--bits w8;w4:--bits w4'
while [ $# -gt 0 ]; do
  case $1 in
    --task) task=$2 ;; --train) train=$2 ;; --dev) dev=$2 ;; --metric) metric=$2 ;; --examples) examples=$2 ;; --threads) threads=$2 ;;
    --halfstep) halfstep=$2 ;; --methods) methods=$2 ;;
    --*) echo "unknown option $1" >&2; exit 2 ;;
    *) break ;;
  esac
  shift 2
done
[ $# -gt 0 ] && [ -n "$train" ] && [ -n "$dev" ] || { sed -n 's/^# \{0,1\}//p' "$0" | sed -n 2,7p >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number() { grep -oE "\"$1\":[-+0-9.eE]+" | tail -1 | cut -d: -f2; }

score() { "$halfstep" eval "$1" --data "$dev" --dtype fp32 --threads "$threads" --json 2>"$work/err" | number "$metric" || { cat "$work/err" >&2; exit 1; }; }
rate() {
  for _ in 1 2 3; do
    "$halfstep" predict "$1" "$dev" --output "$work/predicted" --dtype fp32 --threads "$threads" --json 2>/dev/null | number examples_per_second
  done | sort -g | sed -n 2p
}
echo "| $task, $# seeds | $metric, % | points from f32 | MB | sentences/s |"
echo "|---|---|---|---|---|"
while IFS= read -r -d ';' method; do
  name=${method%%:*}
  : >"$work/rows"
  i=0
  for checkpoint; do
    i=$((i + 1))
    made=$checkpoint
    if [ "$name" != f32 ]; then
      options=${method#*:}
      case $options in *TRAIN*) options="${options//TRAIN/$train} --examples $examples" ;; esac
      made=$work/made
      # shellcheck disable=SC2086 # options are words
      "$halfstep" quantize "$checkpoint" $options --threads "$threads" --overwrite -o "$made" >/dev/null
    fi
    s=$(score "$made")
    [ "$name" = f32 ] && echo "$s" >"$work/f32-$i"
    echo "$s $(cat "$work/f32-$i") $(stat -Lc %s "$made/model.safetensors") $(rate "$made")" >>"$work/rows"
  done
  awk -v name="$name" '
    { s[NR] = 100 * $1; d[NR] = 100 * ($1 - $2); bytes += $3; r += $4; a += s[NR]; b += d[NR] }
    END {
      for (i = 1; i <= NR; i++) { p += (s[i] - a / NR) ^ 2; q += (d[i] - b / NR) ^ 2 }
      n = NR > 1 ? NR - 1 : 1
      printf "| %s | %.2f (%.2f) | %+.2f (%.2f) | %.1f | %.0f |\n", name, a / NR, sqrt(p / n), b / NR, sqrt(q / n), bytes / NR / 1e6, r / NR
    }' "$work/rows"
done <<<"$methods;"
