#!/usr/bin/env bash
# Fine-tuning beside transformers on the same cores: SST-2 and WNUT-17 from one encoder, the same settings, so many seeds on each side, which take
# turns. Prints per seed score and seconds, then means, deviations, the ratio of the times and that of predicting the dev set.
#   scripts/bench_finetune.sh --env FILE --peer SCRIPT --encoder DIR --data DIR [--tasks sst2,wnut] [--seeds 1,2,3,4,5] [--dtype fp32|bf16]
#                             [--peer-dtype fp32|bf16] [--epochs N] [--limit N] [--threads N] [--halfstep PROGRAM] [--isa TIER]
#   --env FILE      sourced before Python runs; python must then import torch, transformers and seqeval
#   --peer SCRIPT   takes --task --encoder --data --seeds --epochs --dtype --limit; prints "... seed N: accuracy|entity F1 X %  training S s ..." and
#                   "... predict: R sentences/s ..."
#   --data DIR      sst2/{train,dev}.txt ("label text"), ner/wnut17.{train,dev}.conll
#   --limit N       training sentences; shows that the script works, and nothing else
set -euo pipefail
cd "$(dirname "$0")/.."
env= peer= encoder= data= tasks=sst2,wnut seeds=1,2,3,4,5 dtype=fp32 peer_dtype= epochs=3 limit=0 threads=$(nproc) halfstep=build/halfstep isa=auto
while [ $# -gt 0 ]; do
  case $1 in
    --env) env=$2 ;; --peer) peer=$2 ;; --encoder) encoder=$2 ;; --data) data=$2 ;; --tasks) tasks=$2 ;; --seeds) seeds=$2 ;;
    --dtype) dtype=$2 ;; --peer-dtype) peer_dtype=$2 ;; --epochs) epochs=$2 ;; --limit) limit=$2 ;; --threads) threads=$2 ;;
    --halfstep) halfstep=$2 ;; --isa) isa=$2 ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
  esac
  shift 2
done
for needed in env peer encoder data; do [ -n "${!needed}" ] || { echo "--$needed is missing" >&2; exit 2; }; done
peer_dtype=${peer_dtype:-$dtype}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number() { grep -oE "\"$1\":[-+0-9.eE]+" | tail -1 | cut -d: -f2; }

ours() { # TASK SEED: "score seconds"
  local kind=sequence train=$data/sst2/train.txt dev=$data/sst2/dev.txt out=$work/$1-$2
  [ "$1" = wnut ] && kind=tokens train=$data/ner/wnut17.train.conll dev=$data/ner/wnut17.dev.conll
  if [ "$limit" -gt 0 ]; then
    if [ "$1" = wnut ]; then awk -v n="$limit" '!NF { k++ } k < n' "$train" >"$work/train.conll" && train=$work/train.conll
    else head -n "$limit" "$train" >"$work/train.txt" && train=$work/train.txt; fi
  fi
  "$halfstep" finetune $kind --init_from "$encoder" --data.train "$train" --data.val "$dev" --out "$out" --dtype "$dtype" --threads "$threads" --exec.isa="$isa" \
    --train.seed="$2" --train.epochs="$epochs" --train.eval_every=0 --checkpoint.every=0 --train.tensorboard=false --json >"$work/log" 2>"$work/err" ||
    { cat "$work/err" >&2; exit 1; }
  echo "$(grep '"event":"result"' "$work/log" | number score | awk '{ print 100 * $1 }') $(grep '"event":"end"' "$work/log" | number seconds)"
  for _ in 1 2 3 4 5 6; do
    "$halfstep" predict "$out/checkpoints/BEST" "$dev" --output "$work/predicted" --dtype "$dtype" --threads "$threads" --json 2>/dev/null | number examples_per_second
  done | tail -5 | sort -g | sed -n 3p >"$work/rate-$1-$2"
  rm -rf "$out"
}
theirs() { # TASK SEED: the same
  (. "$env" >/dev/null && OMP_NUM_THREADS=$threads python "$peer" --task "$1" --encoder "$encoder" --data "$data" --seeds "$2" --epochs "$epochs" --dtype "$peer_dtype" --limit "$limit") >"$work/peer"
  grep -oE 'predict: [0-9.]+' "$work/peer" | cut -d' ' -f2 >"$work/peer-rate-$1-$2"
  sed -nE 's/.* seed [0-9]+: .* ([0-9.]+) %  training ([0-9.]+) s.*/\1 \2/p' "$work/peer"
}
for task in ${tasks//,/ }; do
  : >"$work/ours-$task" && : >"$work/theirs-$task"
  for seed in ${seeds//,/ }; do
    ours "$task" "$seed" >>"$work/ours-$task"
    theirs "$task" "$seed" >>"$work/theirs-$task"
    echo "$task seed $seed: halfstep $(tail -1 "$work/ours-$task" | awk '{ printf "%.2f %% in %.1f s", $1, $2 }'), $(cat "$work/rate-$task-$seed") sentences/s predicted;" \
      "transformers $(tail -1 "$work/theirs-$task" | awk '{ printf "%.2f %% in %.1f s", $1, $2 }'), $(cat "$work/peer-rate-$task-$seed") sentences/s"
  done
done
echo
echo "| $epochs epochs, $threads threads | halfstep $dtype | transformers $peer_dtype | halfstep / transformers |"
echo "|---|---|---|---|"
for task in ${tasks//,/ }; do
  paste -d' ' "$work/ours-$task" "$work/theirs-$task" | awk -v task="$task" '
    { a[NR] = $1; b[NR] = $3; s += $1; u += $3; t[NR] = $2; w[NR] = $4 }
    function median(x, n,    i, k, v) { for (i = 2; i <= n; i++) { v = x[i]; for (k = i - 1; k && x[k] > v; k--) x[k + 1] = x[k]; x[k + 1] = v } return n % 2 ? x[(n + 1) / 2] : (x[n / 2] + x[n / 2 + 1]) / 2 }
    END {
      for (i = 1; i <= NR; i++) { p += (a[i] - s / NR) ^ 2; q += (b[i] - u / NR) ^ 2 }
      d = NR > 1 ? NR - 1 : 1; x = median(t, NR); y = median(w, NR)
      printf "| %s score, mean of %d seeds (deviation) | %.2f %% (%.2f) | %.2f %% (%.2f) | %+.2f |\n", task, NR, s / NR, sqrt(p / d), u / NR, sqrt(q / d), s / NR - u / NR
      printf "| %s training, median | %.1f s | %.1f s | %.0f %% of the time |\n", task, x, y, 100 * x / y
    }'
  paste <(cat "$work"/rate-"$task"-*) <(cat "$work"/peer-rate-"$task"-*) | awk -v task="$task" '
    { a += $1 / 1; b += $2 } END { printf "| %s predicting, mean of medians of 5 passes | %.0f sentences/s | %.0f sentences/s | %.2f x |\n", task, a / NR, b / NR, a / b }'
done
