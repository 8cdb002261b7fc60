#!/usr/bin/env bash
# What a fine-tuned model is worth after it was made smaller: score, size and speed of prediction by method, over checkpoints of several seeds.
#   scripts/bench_quantize.sh --task NAME --train FILE --dev FILE [--metric accuracy|f1] [--examples 512] [--threads N] [--halfstep PROGRAM]
#                             [--timed 1] [--methods "NAME:OPTIONS;..."] CHECKPOINT...
# Each checkpoint is quantized by every method and evaluated on FILE of --dev; the first ones, as many as --timed says, predict it, too (median
# of three passes). Prints a table of means over the checkpoints, deviations in brackets; differences are of each checkpoint from itself in f32.
# OPTIONS are those of `halfstep quantize`, TRAIN in them is FILE of --train (with --examples, where they do not say how many). In front of
# them may stand --from DIR: another checkpoint in place of CHECKPOINT, beside which DIR is looked for (CHECKPOINT/DIR), as something trained
# from it (scripts/compress_seeds.sh); without anything behind it that is judged as it is.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
task='' train='' dev='' metric=accuracy examples=512 threads=$(nproc) timed=1 halfstep=$root/build/halfstep
methods='f32;w8a8, token:--bits w8a8;w8a8, percentile:--bits w8a8 --calib TRAIN;w8a8, max:--bits w8a8 --calib TRAIN --method max;'
methods+='w8a8, entropy:--bits w8a8 --calib TRAIN --method entropy;w8a8, mse:--bits w8a8 --calib TRAIN --method mse;w8:--bits w8;w4:--bits w4'
while [ $# -gt 0 ]; do
  case $1 in
    --task) task=$2 ;; --train) train=$2 ;; --dev) dev=$2 ;; --metric) metric=$2 ;; --examples) examples=$2 ;; --threads) threads=$2 ;;
    --halfstep) halfstep=$2 ;; --timed) timed=$2 ;; --methods) methods=$2 ;;
    --*) echo "unknown option $1" >&2; exit 2 ;;
    *) break ;;
  esac
  shift 2
done
[ $# -gt 0 ] && [ -n "$train" ] && [ -n "$dev" ] || { sed -n 's/^# \{0,1\}//p' "$0" | sed -n 2,9p >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number() { grep -oE "\"$1\":[-+0-9.eE]+" | tail -1 | cut -d: -f2; }

score() { "$halfstep" eval "$1" --data "$dev" --dtype fp32 --threads "$threads" --json 2>"$work/err" | number "$metric" || { cat "$work/err" >&2; exit 1; }; }
rate() {
  for _ in 1 2 3; do
    "$halfstep" predict "$1" "$dev" --output "$work/predicted" --dtype fp32 --threads "$threads" --json 2>/dev/null | number examples_per_second
  done | sort -g | sed -n 2p
}
# Of the weights: a run keeps them in its best checkpoint.
bytes() {
  for at in "$1" "$1/checkpoints/$(cat "$1/checkpoints/BEST" 2>/dev/null)"; do
    [ ! -e "$at/model.safetensors" ] || { stat -Lc %s "$at/model.safetensors"; return; }
  done
  echo "bench_quantize: $1 has no model.safetensors" >&2
  return 1
}
echo "| $task, $# seeds | $metric, % | points from f32 | MB | examples/s |"
echo "|---|---|---|---|---|"
while IFS= read -r -d ';' method; do
  name=${method%%:--*} options=
  [ "$name" = "$method" ] || options=${method#"$name:"}
  : >"$work/rows"
  i=0
  for checkpoint; do
    i=$((i + 1))
    made=$checkpoint left=$options
    case $options in '--from '*)
      left=${options#--from } made=$checkpoint/${left%% *}
      case $left in *' '*) left=${left#* } ;; *) left= ;; esac ;;
    esac
    if [ -n "$left" ]; then
      case $left in *TRAIN*--examples* | *--examples*TRAIN*) ;; *TRAIN*) left+=" --examples $examples" ;; esac
      # shellcheck disable=SC2086 # options are words
      "$halfstep" quantize "$made" ${left//TRAIN/$train} --threads "$threads" --overwrite -o "$work/made" >/dev/null 2>"$work/err" || { cat "$work/err" >&2; exit 1; }
      made=$work/made
    fi
    s=$(score "$made")
    [ "$name" = f32 ] && echo "$s" >"$work/f32-$i"
    r=-
    [ "$i" -gt "$timed" ] || r=$(rate "$made")
    b=$(bytes "$made")
    echo "$s $(cat "$work/f32-$i") $b $r" >>"$work/rows"
  done
  awk -v name="$name" '
    { s[NR] = 100 * $1; d[NR] = 100 * ($1 - $2); bytes += $3; a += s[NR]; b += d[NR] }
    $4 != "-" { r += $4; timed++ }
    END {
      for (i = 1; i <= NR; i++) { p += (s[i] - a / NR) ^ 2; q += (d[i] - b / NR) ^ 2 }
      n = NR > 1 ? NR - 1 : 1
      printf "| %s | %.2f (%.2f) | %+.2f (%.2f) | %.1f | %s |\n", name, a / NR, sqrt(p / n), b / NR, sqrt(q / n), bytes / NR / 1e6,
        timed ? sprintf("%.0f", r / timed) : "-"
    }' "$work/rows"
done <<<"$methods;"
