#!/usr/bin/env bash
# A run on packed rows goes on bit for bit from wherever it was killed, at any split into micro-batches; lists of sources and their errors.
. "$2/tests/support/support_cli.sh"

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

"$halfstep" plan "${options[@]}" | grep -qE 'as short as packing admits; up to [0-9.]+[kMG] per step' || fail 'plan does not say what packing leaves open'

# ---- stores of many documents, packed and mixed: killed, and it goes on; another mixture is told
"$halfstep" tokenizer train --vocab-size 300 text.txt -o tok >/dev/null
"$halfstep" prepare --tokenizer tok --documents line -o lines text.txt >/dev/null || fail 'prepare'
tail -c 3000 text.txt >end.txt
"$halfstep" prepare --tokenizer tok --documents line -o end end.txt >/dev/null || fail 'prepare end.txt'
stores=(tiny.yaml --data.tokenizer=tok --data.packing=ffd --train.steps=40 --data.val=end.bin)
for train in lines.bin lines.bin:0.7,end.bin:0.3; do
  rm -rf whole killed
  "$halfstep" pretrain "${stores[@]}" --data.train=$train --out whole --quiet || fail "$train"
  : >events.txt
  "$halfstep" pretrain "${stores[@]}" --data.train=$train --out killed --json >events.txt 2>/dev/null &
  pid=$!
  while kill -0 $pid 2>/dev/null && ! grep -q '"step":23,' events.txt; do :; done
  kill -KILL $pid
  wait $pid 2>/dev/null
  "$halfstep" pretrain "${stores[@]}" --data.train=$train --out killed >again.txt 2>&1 || fail "$train: does not go on"
  ! grep -q 'losses will not repeat' again.txt || fail "$train: $(cat again.txt)"
  cmp -s <(losses whole/metrics.jsonl) <(losses killed/metrics.jsonl) || fail "$train: other losses"
done
grep -qE '[0-9.k]+ tokens of training text in 2 stores' again.txt || fail "the mixture is not told: $(cat again.txt)"
for other in --data.packing=none --data.train=lines.bin:0.6,end.bin:0.4; do
  "$halfstep" pretrain "${stores[@]}" --data.train=$train $other --train.steps=41 --out killed 2>&1 | grep -q 'losses will not repeat' || fail "$other is not told"
done
# a run that begins anew leaves no ids of other texts behind
"$halfstep" pretrain tiny.yaml --train.steps=2 --resume none --overwrite --out killed --quiet || fail 'anew'
ls killed/tokens-*.txt >/dev/null 2>&1 && fail "left behind: $(ls killed)"
[ "$(ls killed/tokens-*.bin | wc -l)" = 1 ] || fail "caches: $(ls killed)"
expect 2 'lines.bin has a weight, end.bin has none' "$halfstep" pretrain "${stores[@]}" --data.train=lines.bin:0.5,end.bin

expect 2 'text.txt is no token store; only those can be mixed' "$halfstep" pretrain tiny.yaml --data.train=text.txt:0.5,text.txt:0.5
expect 2 "data.train: 'x' is no weight" "$halfstep" pretrain tiny.yaml --data.train=text.txt:x,text.txt:0.5
expect 2 'a path is missing' "$halfstep" pretrain tiny.yaml --data.train=,text.txt
expect 2 'data.packing' "$halfstep" pretrain tiny.yaml --data.packing=best
finish
