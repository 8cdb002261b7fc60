#!/usr/bin/env bash
# What unpadded execution gains on real lengths: pretraining steps of an encoder on a text's own sequences, in each layout of a batch.
# Rounds alternate between the layouts, figures are medians of rounds. All layouts see the same sequences (bucketed
# in windows of 64 steps, which it sorts). Prints sequences and real tokens (pads left out) a second, and how many times as fast unpadded is.
#   scripts/bench_unpadded.sh [--halfstep PROGRAM] [--model RECIPE] [--length N] [--batch N] [--steps N] [--rounds N] [--dtype D]
#                             [--layouts LIST] [--documents WHERE] [--threads N] [--device D] TEXT
#   --model R       bert-small; bert-base takes --steps 6 --layouts padded,packed,unpadded in a few minutes
#   --length N      512; --batch N: 8; --steps N: 64; --rounds N: 3; --dtype D: auto
#   --layouts L     padded,bucketed,packed,unpadded
#   --documents W   blank-line (as `halfstep prepare` takes it)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
halfstep=$root/build/halfstep model=bert-small length=512 batch=8 steps=64 rounds=3 dtype=auto layouts=padded,bucketed,packed,unpadded
documents=blank-line threads=0 device=cpu text=''
stop() { echo "bench_unpadded: $*" >&2 && exit 2; }
while [ $# -gt 0 ]; do
  case $1 in
  -h | --help)
    sed -n '2,10s/^# \?//p' "$0"
    exit 0
    ;;
  --halfstep | --model | --length | --batch | --steps | --rounds | --dtype | --layouts | --documents | --threads | --device)
    [ $# -gt 1 ] || stop "$1 needs a value"
    printf -v "${1#--}" %s "$2"
    shift
    ;;
  -*) stop "unknown option $1; see --help" ;;
  *)
    [ -z "$text" ] || stop "one TEXT, not '$1' as well"
    text=$(realpath "$1")
    ;;
  esac
  shift
done
[ -n "$text" ] && [ -r "$text" ] || stop "needs a TEXT; see --help"
[ -x "$halfstep" ] || stop "no program $halfstep: build it, or name it with --halfstep"
IFS=, read -ra each <<<"$layouts"
[[ ,$layouts, == *,unpadded,* ]] || stop "--layouts is '$layouts': unpadded is what the others are compared with"
[[ ,$layouts, != *,bucketed,* ]] || [ $((steps % 64)) -eq 0 ] || stop "--steps is $steps: bucketed sorts 64 batches at once, and has the others' sequences in a multiple of that"
halfstep=$(realpath "$halfstep")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"$halfstep" tokenizer train --type wordpiece --vocab-size 8000 "$text" -o tok --quiet >/dev/null
"$halfstep" prepare --tokenizer tok --documents "$documents" --sentences rule -o store "$text" --quiet >/dev/null
# The recipe with one phase in place of its own, dropout and all.
"$halfstep" pretrain "$model" --out resolved --data.train=store.bin --data.tokenizer=tok --data.val=0 --model.vocab=0 --phases.0.steps=1 --phases.0.batch=1 --phases.1.steps=1 \
  --phases.0.accumulate=1 --phases.1.batch=1 --phases.1.accumulate=1 --phases.0.warmup=0 --phases.1.warmup=0 --quiet
awk '/^phases:/ { skip = 1; next } /^[^ ]/ { skip = 0 } !skip' resolved/config.yaml >one.yaml
value() { tail -n 1 "$1/metrics.jsonl" | grep -oE "\"$2\":[-+0-9.eE]+" | cut -d: -f2; }
for ((round = 1; round <= rounds; round++)); do
  for layout in "${each[@]}"; do
    echo "bench_unpadded: round $round of $rounds: $layout" >&2
    "$halfstep" pretrain one.yaml --out "$layout" --resume none --overwrite --quiet --dtype "$dtype" --threads "$threads" --device "$device" --data.layout="$layout" --data.length="$length" \
      --data.predictions=0 --train.batch="$batch" --train.accumulate=1 --train.steps="$steps" --train.eval_every=0 --checkpoint.every=0 --optim.warmup=0 --train.log_every="$steps"
    value "$layout" seconds >>"seconds.$layout"
    value "$layout" tokens >"tokens.$layout"
    value "$layout" memory_bytes >"memory.$layout"
  done
done
median() { sort -g "$1" | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }
real=$(cat tokens.unpadded) sequences=$((steps * batch))
echo "$("$halfstep" env | sed -n 's/^cpu *//p'); $("$halfstep" --version), $model, $dtype on $device, $steps steps of $batch sequences of at most $length tokens, $(awk -v r="$real" -v n=$sequences 'BEGIN { printf "%.0f", r / n }') in the mean; median of $rounds interleaved rounds"
echo
echo '| layout | sequences/s | real tokens/s | rows that are pads | peak GB | unpadded is faster by |'
echo '|---|---|---|---|---|---|'
for layout in "${each[@]}"; do
  awk -v l="$layout" -v s="$(median "seconds.$layout")" -v u="$(median seconds.unpadded)" -v n=$sequences -v real="$real" -v rows="$(cat "tokens.$layout")" -v m="$(cat "memory.$layout")" \
    'BEGIN { printf "| %s | %.2f | %.0f | %.0f %% | %.2f | %.2f |\n", l, n / s, real / s, 100 * (1 - real / rows), m / 1e9, s / u }'
done
