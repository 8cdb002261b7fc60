#!/usr/bin/env bash
# Zeros of a pruned model stay under every layout: replicas, a divided optimizer, tensor parallelism, and from one layout to the other.
# shellcheck disable=SC1091,SC2154
. "$2/tests/support/support_cli.sh"
. "$2/tests/support/support_labelled.sh"
. "$2/tests/support/support_mpi.sh"

last() { echo "$1/checkpoints/$(cat "$1/checkpoints/LATEST")"; }
weights() { # of all pruned tensors together: their zeros, and whether two models have them in the same places
  "$halfstep" prune "$(last "$1")" --pattern 2:4 -o never 2>&1 | grep -q 'is pruned already' || fail "$1 does not say that it is pruned"
}
export OMP_NUM_THREADS=1
expect 0 '' "$halfstep" prune base --pattern 2:4 -o sparse
train() { # OUT RANKS option...
  instead="$mpirun --bind-to none -np $2" expect 0 '' finetune sequence sent.tsv "$1" --init_from sparse --train.epochs=1 --checkpoint.every=20 --threads 1 "${@:3}"
  weights "$1"
  # it goes on by itself only where the zeros are there
  expect 0 '' finetune pair pair.tsv "$1-on" --init_from "$1" --train.epochs=1 --task.head=new
}
train dp 2
train zero 2 --parallel.shard_optimizer=states
train tp 2 --parallel.tp=2
train both 4 --parallel.tp=2 --dtype bf16 --optim.masters=split
# on in another layout, from the middle
for step in dp/checkpoints/step-*; do [[ ${step##*-} > 00000020 ]] && rm -rf "$step"; done
echo step-00000020 >dp/checkpoints/LATEST
train dp 2 --parallel.tp=2
finish
