#!/usr/bin/env bash
# Parts of a model stand still (train.freeze), another optimizer keeps other slabs (sgd): memory, checkpoints, resuming.
. "$2/tests/support/support_cli.sh"

run() { "$halfstep" pretrain tiny.yaml --quiet --model.dropout=0.1 --train.eval_every=10 --train.eval_windows=0 --out "$@"; }
figure() { grep -o "\"$1\":[0-9]*" | head -1 | cut -d: -f2; }

# what is frozen costs neither gradients nor moments
"$halfstep" plan tiny.yaml --json --train.accumulate=2 >all.json
"$halfstep" plan tiny.yaml --json --train.accumulate=2 --train.freeze=wte,h0 >part.json
"$halfstep" plan tiny.yaml --json --train.accumulate=2 --optim.name=sgd >sgd.json
for name in gradients moments total snapshot; do
  [ "$(figure $name <part.json)" -lt "$(figure $name <all.json)" ] || fail "train.freeze: $name are not fewer"
done
[ "$(figure masters <part.json)" -eq "$(figure masters <all.json)" ] || fail "train.freeze: values"
[ $((2 * $(figure moments <sgd.json))) -eq "$(figure moments <all.json)" ] || fail "sgd keeps one moment"

# a tensor's bytes as a checkpoint has them: tensor FOLDER NAME
tensor() {
  local file=$1/model.safetensors n at
  n=$(od -An -tu8 -N8 "$file")
  at=$(head -c $((8 + n)) "$file" | grep -aoE "\"transformer\.$2\":\{[^}]*" | grep -oE '\[[0-9]+,[0-9]+\]$' | tr -d '[]')
  [ -n "$at" ] || fail "no tensor $2 in $file"
  tail -c +$((9 + n + ${at%,*})) "$file" | head -c $((${at#*,} - ${at%,*}))
}

# what is frozen keeps every bit of what the run began with; what is not moves
run begin --train.steps=10
run kept --train.init_from=begin --train.freeze='wte,h0,h1.*.bias' --train.steps=10 --optim.warmup=2
from=(begin/checkpoints/step-*10) to=(kept/checkpoints/step-*10)
for name in wte.weight h.0.ln_1.weight h.0.attn.c_attn.weight h.0.mlp.c_proj.bias h.1.attn.c_attn.bias; do
  cmp -s <(tensor "${from[0]}" $name) <(tensor "${to[0]}" $name) || fail "train.freeze: $name moved"
done
for name in wpe.weight h.1.ln_1.weight h.1.attn.c_attn.weight ln_f.bias; do
  ! cmp -s <(tensor "${from[0]}" $name) <(tensor "${to[0]}" $name) || fail "train.freeze: $name was to be trained, and did not move"
done

# an empty pattern is a slip
for list in , wte,,h0 ,wte ' '; do
  expect 2 'train.freeze is "[wteh0, ]*": a pattern of it is empty' "$halfstep" pretrain tiny.yaml --out slip "--train.freeze=$list"
done

# stopped and resumed with the same frozen: the losses of an uninterrupted run, no line about moments
run cut --train.freeze=wte,h0 --train.steps=20 --optim.schedule=constant
run flat --train.freeze=wte,h0 --train.steps=40 --optim.schedule=constant
expect 0 '' "$halfstep" pretrain tiny.yaml --model.dropout=0.1 --train.eval_every=10 --train.eval_windows=0 --out cut --train.freeze=wte,h0 --train.steps=40 --optim.schedule=constant
! grep -q 'moments' stdout.txt stderr.txt || fail "the same frozen: $(grep moments stdout.txt stderr.txt)"
cmp -s <(losses flat/metrics.jsonl) <(losses cut/metrics.jsonl) || fail "frozen: other losses after resuming"

# the same folder goes on with others frozen, and says what becomes of the moments
expect 0 'moments of [0-9]* start at zero \(wte.weight, ...\), those of 0 are dropped' "$halfstep" pretrain tiny.yaml --model.dropout=0.1 --train.eval_every=10 --train.eval_windows=0 --out cut --train.steps=60 --optim.schedule=constant
expect 0 'moments of 0 start at zero, those of [1-9][0-9]* are dropped' "$halfstep" pretrain tiny.yaml --model.dropout=0.1 --train.eval_every=10 --train.eval_windows=0 --out cut --train.steps=80 --optim.schedule=constant --train.freeze='h?.ln_1'
expect 0 '' "$halfstep" eval cut --data text.txt

# sgd learns, resumes bit for bit, and does not take over another optimizer's checkpoint
sgd=(--optim.name=sgd --optim.lr=0.1 --optim.weight_decay=0 --optim.schedule=constant)
run sgd "${sgd[@]}" --train.steps=60
run sgd_cut "${sgd[@]}" --train.steps=30
run sgd_cut "${sgd[@]}" --train.steps=60
cmp -s <(losses sgd/metrics.jsonl) <(losses sgd_cut/metrics.jsonl) || fail "sgd: other losses after resuming"
awk -v a="$(field loss sgd/metrics.jsonl | head -1)" -v b="$(field loss sgd/metrics.jsonl | tail -1)" 'BEGIN { exit !(b < a - 0.5) }' || fail "sgd: the loss did not fall"
expect 2 'holds nothing of adam.m, which this run.s optimizer keeps' "$halfstep" pretrain tiny.yaml --model.dropout=0.1 --out sgd_cut --train.steps=70
expect 2 'holds nothing of sgd.m' "$halfstep" pretrain tiny.yaml --model.dropout=0.1 --train.eval_every=10 --train.eval_windows=0 --out cut "${sgd[@]}" --train.steps=90

grep -aq 'adam.m.wte.weight' cut/checkpoints/step-*/train/optimizer.safetensors || fail "names of the slabs"
finish
