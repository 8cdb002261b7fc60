#!/usr/bin/env bash
# Ranks that train on emulated GPUs tell the losses that ranks on the CPU do: dp and tp by a double of NCCL, a grid whose tp goes that way
# and whose dp, where two ranks have the same GPU, goes through the host's memory.
. "$2/tests/support/support_cli.sh"
[ -e "$(dirname "$1")/recipes/libhalfstep_cuda-emu.so" ] || exit 77 # sanitized builds, or no C++ compiler
. "$2/tests/support/support_mpi.sh"
cat >small.yaml <<'YAML'
model: { layers: 1, heads: 2, width: 32, context: 16, vocab: 64, dropout: 0.1 }
data: { train: text.txt, val: 0.02 }
train: { batch: 8, steps: 6, log_every: 1, eval_every: 0, seed: 3 }
optim: { lr: 3e-3, warmup: 2, betas: [0.9, 0.99] }
YAML
train() { ranks "$1" "$halfstep" pretrain small.yaml --exec.threads=1 --quiet "${@:2}" >stdout.txt 2>stderr.txt </dev/null || fail "$*: $(cat stderr.txt)"; }
# near_cpu WHAT RANKS OPTION...: six steps on both devices, whose losses are as near as other orders of sums leave them (`near`, as a share), and not still
near_cpu() {
  rm -rf cpu emu
  train "$2" --out cpu "${@:3}"
  train "$2" --out emu --device cuda-emu "${@:3}"
  paste <(field loss cpu/metrics.jsonl) <(field loss emu/metrics.jsonl) >losses.txt
  awk -v near="${near:-2e-5}" '{ d = $1 - $2; if (d < 0) d = -d; if (NF != 2 || !(d <= near * $1)) bad = 1; if (NR == 1) first = $1; last = $1 }
    END { exit bad || NR != 6 || last >= first }' losses.txt || fail "$1: $(tr '\t\n' ' ;' <losses.txt)"
}
near_cpu "dp by NCCL" 2 --dtype fp32
grep 'goes through' stderr.txt && fail "dp: each rank has a GPU, and bytes go through the host's memory"
near_cpu "tp by NCCL, in graphs" 2 --dtype fp32 --parallel.tp=2
grep 'goes through' stderr.txt && fail "tp: each rank has a GPU, and bytes go through the host's memory"
delayed=(--amp.policy=fp8 --amp.fp8.scaling=delayed --amp.fp8.history=2)
near=5e-3 near_cpu "delayed scales of fp8 over dp by NCCL, in graphs" 2 "${delayed[@]}" --train.accumulate=2
near=5e-3 near_cpu "delayed scales of fp8 over tp by NCCL, in graphs" 2 "${delayed[@]}" --parallel.tp=2
# of values that stand still the history of two ranks is that of one, to the bit
for n in 1 2; do rm -rf of$n && train $n --out of$n --device cuda-emu "${delayed[@]}" --optim.lr=0; done
cmp of1/checkpoints/step-00000006/train/states.safetensors of2/checkpoints/step-00000006/train/states.safetensors || fail "delayed scales over dp by NCCL: another history than one process has"
export CUDA_VISIBLE_DEVICES=0,1
near_cpu "tp by NCCL, dp through the host" 4 --dtype fp32 --parallel.tp=2 --parallel.shard_optimizer=states
grep -q 'what moves over dp goes through the host.s memory: ranks 0 and 1 of dp have the same GPU' stderr.txt || fail "2x2: dp: $(cat stderr.txt)"
grep 'what moves over tp goes' stderr.txt && fail "2x2: tp has GPUs of its own"
# Each rank's own run of one process, on the GPU that the rank has, is what they are held to.
expect 0 '' ranks 2 "$halfstep" verify dp small.yaml --device cuda-emu --steps 1 --exec.threads=1
grep -q '^passed' stdout.txt || fail "verify dp: $(tail -3 stdout.txt)"
[ "$(grep -c 'emulated GPU (0000:10:00.0)' stderr.txt)" -eq 3 ] || fail "verify dp: not three runs on the first rank's GPU: $(grep 'emulated GPU' stderr.txt)"
finish
