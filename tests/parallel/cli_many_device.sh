#!/usr/bin/env bash
# Ranks on a device whose memory the host may not touch train the bits that those on the CPU do, and tell each other the same numbers.
. "$2/tests/support/support_cli.sh"
. "$2/tests/support/support_mpi.sh"
sed -i 's/heads: 2/heads: 4/; s/steps: 60/steps: 20/; s/eval_every: 20/eval_every: 10/; /^exec:/d' tiny.yaml
train() { ranks 2 "$halfstep" pretrain tiny.yaml --exec.threads=1 --model.dropout=0.1 --quiet "$@" >stdout.txt 2>stderr.txt || fail "$*: $(cat stderr.txt)"; }
# same WHAT OPTION...: on both devices
same() {
  rm -rf cpu fenced
  train --out cpu "${@:2}"
  train --out fenced --device cpu-fenced "${@:2}"
  cmp <(losses cpu/metrics.jsonl) <(losses fenced/metrics.jsonl) || fail "$1: other losses"
  cmp cpu/checkpoints/step-00000020/model.safetensors fenced/checkpoints/step-00000020/model.safetensors || fail "$1: other bits"
}
same dp --dtype fp32 --train.accumulate=2
same tp --dtype bf16 --parallel.tp=2
same "tp, tokens divided" --dtype fp32 --parallel.tp=2 --parallel.sequence=true
same "a divided optimizer" --dtype bf16 --parallel.shard_optimizer=gradients --optim.name=lamb
finish
