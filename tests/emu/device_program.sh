#!/usr/bin/env bash
# What the program does on a GPU that is emulated: it trains there, in graphs, goes on on the CPU and there again, and both say the same of a
# checkpoint.   device_program.sh HALFSTEP [FOLDER]     the folder of cuDNN's double, where there is a device with it
set -euo pipefail
halfstep=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*" >&2 && exit 1; }
for i in $(seq 1 300); do echo "$((i * i % 97)) bottles stood on wall $i; the quick brown fox"; done >text.txt
cat >tiny.yaml <<'YAML'
model: { layers: 1, heads: 2, width: 32, context: 16, vocab: 64 }
data: { train: text.txt, val: 0.02 }
train: { batch: 4, eval_windows: 4 }
amp: { policy: bf16 }
YAML
loss() { "$halfstep" eval run --data text.txt --json "$@" 2>/dev/null | grep -oE '"loss":[0-9.]+' | head -n 1 | cut -d: -f2; }
start=$EPOCHREALTIME
"$halfstep" pretrain tiny.yaml --out run --train.steps=12 --device cuda-emu --exec.mode=graph >log 2>&1 || { cat log >&2 && fail "training in graphs"; }
# What a step takes is what the device takes, which goes on when it was submitted.
took=$(tail -n 1 run/metrics.jsonl | grep -oE '"seconds":[0-9.e-]+' | cut -d: -f2)
awk -v took="$took" -v all="$EPOCHREALTIME" -v start="$start" 'BEGIN { exit !(took > (all - start) / 10) }' || fail "12 steps took $took s, of a run from $start to $EPOCHREALTIME"
"$halfstep" pretrain tiny.yaml --out run --train.steps=18 >log 2>&1 || { cat log >&2 && fail "going on on the CPU"; }
"$halfstep" pretrain tiny.yaml --out run --train.steps=24 --device cuda-emu >log 2>&1 || { cat log >&2 && fail "going on on the device"; }
grep -q 'device cuda-emu' log || fail "the first line does not say where it trains"
awk -v a="$(loss)" -v b="$(loss --device cuda-emu)" 'BEGIN { d = a > b ? a - b : b - a; exit !(a > 0 && d <= 0.002 * a) }' || fail "evaluations differ: $(loss), $(loss --device cuda-emu)"
cpu=$("$halfstep" generate run --prompt "4 bottles" --temperature 0 --max-tokens 6 2>/dev/null)
emu=$("$halfstep" generate run --prompt "4 bottles" --temperature 0 --max-tokens 6 --device cuda-emu 2>/dev/null)
[ -n "$cpu" ] && [ "$cpu" = "$emu" ] || fail "texts differ: '$cpu', '$emu'"

# Benches whose loops are a CPU's measure the device by its own copies, or say no.
for b in "op layernorm --sizes 8x64" "generate --model tiny.yaml --seq 8 --tokens 4"; do
  # shellcheck disable=SC2086 # words
  "$halfstep" bench $b --device cuda-emu --steps 1 --json >out 2>log && grep -q '"bench"' out || { cat log >&2 && fail "bench $b on the device"; }
done
if "$halfstep" bench memory --device cuda-emu --sizes 64K >log 2>&1; then fail "bench memory runs a CPU's loops on the device"; fi
grep -q 'bench memory runs loops of the CPU' log || { cat log >&2 && fail "bench memory does not say why it is refused"; }

# A run that goes on has the masks of one that never stopped, where they are cuDNN's (a double's).
if [ -n "${2:-}" ]; then
  LD_LIBRARY_PATH=$2 "$halfstep" verify resume tiny.yaml --steps 6 --device cuda-emu-dnn --model.dropout=0.1 --exec.attention_masks=library >out 2>log ||
    { cat out log >&2 && fail "a run that goes on, with a library's masks"; }
  grep -q '^passed' out || { cat out >&2 && fail "verify resume says no word of it"; }
  if grep "backward, is not cuDNN's" log >&2; then fail "attention that drops is not the library's"; fi
fi
