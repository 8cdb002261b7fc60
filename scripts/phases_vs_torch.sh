#!/usr/bin/env bash
# The two-phase LAMB recipe shrunk, step by step beside PyTorch: BERT of 4 layers and 256 channels, ten steps of 16 sequences of 128 tokens
# (20 predictions), ten of 4 of 512 (80), moments carried, schedule and step begun anew, as NVIDIA's recipe has it. Both programs begin with
# our initial weights and see the same sequences, masks and pairs; dropout is 0. PyTorch's model is transformers' BertForPreTraining, its
# LAMB stands in phases_vs_torch.py. Prints both losses of each step and fails where they are further apart than --within.
#   scripts/phases_vs_torch.sh --env FILE [--halfstep PROGRAM] [--build DIR] [--threads N] [--dtype D] [--within X] [--keep DIR] TEXT
#   --env FILE    sourced before Python runs, which must then import torch, transformers and safetensors (see bench_vs_torch.sh)
#   --build DIR   where libhalfstep.so is: build if not given
#   --dtype D     fp32; bf16 shows how far rounding takes it
#   --within X    1e-3
#   --keep DIR    the run and its files go there; else nowhere
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
env='' build=$root/build halfstep='' threads=0 dtype=fp32 within=1e-3 keep='' text=''
stop() { echo "phases_vs_torch: $*" >&2 && exit 2; }
while [ $# -gt 0 ]; do
  case $1 in
  -h | --help)
    sed -n '2,12s/^# \?//p' "$0"
    exit 0
    ;;
  --env | --build | --halfstep | --threads | --dtype | --within | --keep)
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
[ -n "$text" ] && [ -r "$text" ] || stop "needs a TEXT of documents with blank lines between them; see --help"
halfstep=${halfstep:-$build/halfstep}
[ -x "$halfstep" ] || stop "no program $halfstep: build it, or name it with --halfstep"
if [ -n "$env" ]; then
  [ -r "$env" ] || stop "cannot read $env"
  set +u
  # shellcheck disable=SC1090
  . "$env"
  set -u
fi
python3 -c 'import torch, transformers, safetensors' 2>/dev/null || stop "python3 cannot import torch, transformers and safetensors (--env names the environment)"
library=$(find "$build" -name libhalfstep.so | head -n 1)
[ -n "$library" ] || stop "no libhalfstep.so under $build (--build names the folder)"
work=${keep:-$(mktemp -d)}
[ -n "$keep" ] || trap 'rm -rf "$work"' EXIT
mkdir -p "$work" && cd "$work"

seed=42 vocab=4000
"$halfstep" tokenizer train --type wordpiece --vocab-size $vocab "$text" -o tok --overwrite --quiet >/dev/null
"$halfstep" prepare --tokenizer tok --documents blank-line --sentences rule -o store "$text" --overwrite --quiet >/dev/null
cat >phases.yaml <<YAML
model: { type: bert, layers: 4, heads: 4, width: 256, context: 512, dropout: 0, attention_dropout: 0 }
data: { train: store.bin, val: 0, tokenizer: tok }
train: { seed: $seed, log_every: 1 }
optim: { name: lamb, schedule: poly-warmup, power: 0.5 }
amp: { policy: $dtype }
checkpoint: { keep: 9 }
exec: { threads: $threads }
phases:
  - { name: phase1, length: 128, predictions: 20, batch: 8, accumulate: 2, steps: 10, lr: 6e-3, warmup_fraction: 0.2843 }
  - { name: phase2, length: 512, predictions: 80, batch: 2, accumulate: 2, steps: 10, lr: 4e-3, warmup_fraction: 0.128 }
YAML
# Initial weights: a step at rate 0 leaves them as they were.
"$halfstep" pretrain phases.yaml --out begin --resume none --overwrite --quiet --phases.0.lr=0 --phases.1.lr=0 --phases.0.steps=1 --phases.1.steps=1
"$halfstep" pretrain phases.yaml --out run --resume none --overwrite --quiet
cc -std=gnu11 -D_GNU_SOURCE -I "$root" "$root/scripts/dump_sequences.c" -o dump_sequences -L "$(dirname "$library")" -lhalfstep "-Wl,-rpath,$(dirname "$library")"
./dump_sequences store.bin tok $seed 128 20 16 10 phase1.safetensors
./dump_sequences store.bin tok $seed 512 80 4 10 phase2.safetensors
[ "$threads" -eq 0 ] || export OMP_NUM_THREADS=$threads
python3 "$root/scripts/phases_vs_torch.py" begin/checkpoints/step-00000002 run/metrics.jsonl phase1.safetensors phase2.safetensors --within "$within"
