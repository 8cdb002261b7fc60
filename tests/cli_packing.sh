#!/usr/bin/env bash
# A run on packed rows goes on bit for bit from wherever it was killed, at any split into micro-batches; lists of sources and their errors.
. "$(dirname "$0")/support_cli.sh"

options=(tiny.yaml --data.packing=ffd --model.dropout=0.1 --train.steps=80)
"$halfstep" pretrain "${options[@]}" --out whole --quiet || fail "the uninterrupted run"
losses whole/metrics.jsonl >whole.txt
[ "$(wc -l <whole.txt)" -eq 80 ] || fail "80 lines"
"$halfstep" pretrain tiny.yaml --model.dropout=0.1 --train.steps=80 --out windows --quiet
! cmp -s whole.txt <(losses windows/metrics.jsonl) || fail "packing changes nothing"

for step in 9 47; do
  rm -rf killed
  : >events.txt
  "$halfstep" pretrain "${options[@]}" --out killed --json >events.txt 2>/dev/null &
  pid=$!
  while kill -0 $pid 2>/dev/null && ! grep -q "\"step\":$step," events.txt; do :; done
  kill -KILL $pid
  wait $pid 2>/dev/null
  "$halfstep" pretrain "${options[@]}" --out killed --quiet || fail "killed at $step: does not go on"
  cmp -s whole.txt <(losses killed/metrics.jsonl) || fail "killed at $step: other losses: $(diff whole.txt <(losses killed/metrics.jsonl) | head -2)"
done
[ "$(tail -1 whole.txt | awk '{ print ($2 < 2.5) }')" -eq 1 ] || fail "it does not learn: $(tail -1 whole.txt)"

# 1 x 4 and 2 x 2 are the same rows in the same slots: the same losses but for the order of sums
"$halfstep" pretrain "${options[@]}" --out parts --quiet --train.batch=2 --train.accumulate=2 --train.steps=5 --optim.schedule=constant --amp.policy=fp32
"$halfstep" pretrain "${options[@]}" --out one --quiet --train.steps=5 --optim.schedule=constant --amp.policy=fp32
near "$(field loss one/metrics.jsonl | tail -1)" "$(field loss parts/metrics.jsonl | tail -1)" 1e-3 || fail "micro-batches see other rows"

expect 2 'text.txt is no token store; only those can be mixed' "$halfstep" pretrain tiny.yaml --data.train=text.txt:0.5,text.txt:0.5
expect 2 "data.train: 'x' is no weight" "$halfstep" pretrain tiny.yaml --data.train=text.txt:x,text.txt:0.5
expect 2 'a path is missing' "$halfstep" pretrain tiny.yaml --data.train=,text.txt
expect 2 'data.packing' "$halfstep" pretrain tiny.yaml --data.packing=best
finish
