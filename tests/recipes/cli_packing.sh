#!/usr/bin/env bash
# A run on packed rows goes on bit for bit from wherever it was killed, at any split into micro-batches; lists of sources, in both forms, and their errors.
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
  while kill -0 $pid 2>/dev/null && ! grep -q "\"step\":$step," events.txt; do sleep 0.01; done
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
  while kill -0 $pid 2>/dev/null && ! grep -q '"step":23,' events.txt; do sleep 0.01; done
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

# ---- the same as a list of sections: the same run, element by element in the file and on the command line
cat >sources.yaml <<'YAML'
model: { layers: 2, heads: 2, width: 64, context: 32 }
data:
  tokenizer: tok
  packing: ffd
  val: end.bin
  sources:
    - { path: lines.bin, weight: 0.7 }
    - path: end.bin
      weight: 0.3
train: { batch: 4, steps: 40, log_every: 1, eval_every: 20, eval_windows: 8, seed: 3 }
optim: { lr: 3e-3, warmup: 5, betas: [0.9, 0.99] }
checkpoint: { every: 20, keep: 2 }
exec: { threads: 2 }
YAML
"$halfstep" pretrain sources.yaml --out listed --train.steps=20 --optim.schedule=constant --quiet || fail 'data.sources'
"$halfstep" pretrain "${stores[@]}" --data.train=lines.bin:0.7,end.bin:0.3 --out short --train.steps=20 --optim.schedule=constant --quiet
cmp -s <(losses short/metrics.jsonl) <(losses listed/metrics.jsonl) || fail 'data.sources: other losses than data.train'
grep -qx "    - path: \"$work/lines.bin\"" listed/config.yaml && grep -qx '      weight: 0.3' listed/config.yaml || fail "the resolved list: $(grep -A5 sources listed/config.yaml)"
"$halfstep" pretrain listed/config.yaml --out again --quiet || fail 'the resolved configuration'
cmp -s <(losses listed/metrics.jsonl) <(losses again/metrics.jsonl) || fail 'the resolved configuration: other losses'
"$halfstep" pretrain tiny.yaml --data.train= --data.tokenizer=tok --data.packing=ffd --data.val=end.bin --data.sources.0.path=lines.bin --data.sources.0.weight=0.7 \
  --data.sources.1.path=end.bin --data.sources.1.weight=0.3 --out options --train.steps=20 --optim.schedule=constant --quiet || fail 'data.sources as options'
cmp -s <(losses listed/metrics.jsonl) <(losses options/metrics.jsonl) || fail 'data.sources as options: other losses'
# going on looks at the list: another weight is told, an equal one is not
"$halfstep" pretrain sources.yaml --out listed --train.steps=21 >again.txt 2>&1 && ! grep -q 'losses will not repeat' again.txt || fail "an equal list: $(cat again.txt)"
"$halfstep" pretrain sources.yaml --out listed --train.steps=22 --data.sources.1.weight=0.5 2>&1 | grep -q 'losses will not repeat' || fail 'another weight in the list is not told'
"$halfstep" pretrain sources.yaml --out listed --train.steps=23 --data.sources.2.path=end.bin --data.sources.2.weight=1 2>&1 | grep -q 'losses will not repeat' || fail 'an element more is not told'
# every element that came, changed or went is told by its name
"$halfstep" pretrain sources.yaml --out listed --train.steps=24 >again.txt 2>&1
grep -q 'goes on without data.sources.2.path, was .*/end.bin$' again.txt && grep -q 'goes on without data.sources.2.weight, was 1$' again.txt || fail "an element less is not told: $(cat again.txt)"
"$halfstep" pretrain sources.yaml --out listed --train.steps=25 --data.sources.1.weight=0.5 2>&1 | grep -q 'goes on with data.sources.1.weight 0.5, was 0.3$' || fail 'another weight is not told by its name'
# a list of one text
sed '/packing\|tokenizer\|lines.bin\|weight\|val:/d; s/end.bin/text.txt/' sources.yaml >one.yaml
"$halfstep" pretrain one.yaml --out one_text --train.steps=3 --quiet || fail 'a list of one text'
"$halfstep" pretrain tiny.yaml --out one_short --train.steps=3 --quiet
cmp -s <(losses one_short/metrics.jsonl) <(losses one_text/metrics.jsonl) || fail 'a list of one text: other losses'

# a name with a comma is one text, wherever the command runs
mkdir named && cp text.txt 'named/one, two.txt' && sed 's/\btext\.txt\b/"one, two.txt"/' tiny.yaml >named/comma.yaml
"$halfstep" pretrain named/comma.yaml --out one_comma --train.steps=3 --quiet || fail 'a name with a comma'
cmp -s <(losses one_short/metrics.jsonl) <(losses one_comma/metrics.jsonl) || fail 'a name with a comma: other losses'

sed 's/weight: 0.3/weigth: 0.3/' sources.yaml >slip.yaml
expect 2 'slip.yaml:9: unknown key data.sources.1.weigth; did you mean data.sources.1.weight\?' "$halfstep" pretrain slip.yaml
expect 2 'unknown option --data.sources.1.weigth of pretrain, nearest is --data.sources.1.weight' "$halfstep" pretrain sources.yaml --data.sources.1.weigth=1
expect 2 'unknown option --data.sources of pretrain, nearest is --data.sources.0.path' "$halfstep" pretrain sources.yaml --data.sources=end.bin
sed 's/weight: 0.3/weight: 0/' sources.yaml >slip.yaml
expect 2 'slip.yaml:9: data.sources.1.weight is 0, allowed 1e-06 to 1000000000' "$halfstep" pretrain slip.yaml
expect 2 'data.sources.3.path: data.sources has 2 elements, the next one is data.sources.2' "$halfstep" pretrain sources.yaml --data.sources.3.path=end.bin
expect 2 'data.sources: .*/end.bin has a weight, .*/end.bin has none' "$halfstep" pretrain sources.yaml --data.sources.2.path=end.bin
expect 2 'data.sources: weight 0.3 of .*/end.bin is less than one part in 1048576 of all \(1e\+06' "$halfstep" pretrain sources.yaml --data.sources.0.weight=1e6
expect 2 'data.train: weight 1e-06 of .*end.bin is less than one part in 1048576' "$halfstep" pretrain tiny.yaml --data.train=lines.bin:9,end.bin:1e-6
expect 2 'data.sources.2.path is not set: an element of data.sources needs a path' "$halfstep" pretrain sources.yaml --data.sources.2.weight=1
expect 2 'sources.yaml:7: data.sources and data.train .*text.txt. are both set' "$halfstep" pretrain sources.yaml --data.train=text.txt
expect 2 'data.sources: .*/text.txt is no token store; only those can be mixed' "$halfstep" pretrain sources.yaml --data.sources.1.path=text.txt
expect 2 'data.train: .1e10. is no weight; .* needs numbers from 1e-06 to 1000000000' "$halfstep" pretrain tiny.yaml --data.train=lines.bin:1e10,end.bin:1
expect 2 'data.train= leaves that out' "$halfstep" pretrain sources.yaml --data.train=text.txt
{ printf 'data:\n  sources:\n' && yes '    - { path: end.bin, weight: 1 }' | head -n 100000; } >many.yaml # a second, not minutes
expect 2 'many.yaml:67: data.sources.64.path: data.sources takes at most 64 elements' timeout 20 "$halfstep" pretrain many.yaml
expect 2 'data.sources: .*/none.bin: No such file' "$halfstep" pretrain sources.yaml --data.sources.1.path=none.bin
"$halfstep" pretrain --help --all | grep -q '^ list data.sources, N from 0 to 63: ' && "$halfstep" pretrain --help --all | grep -q '^  data.sources.N.weight X ' || fail 'help does not know the list'
"$halfstep" help --man | grep -qF 'data.sources.N.path' || fail 'the man page does not know the list'

expect 2 'text.txt is no token store; only those can be mixed' "$halfstep" pretrain tiny.yaml --data.train=text.txt:0.5,text.txt:0.5
expect 2 "data.train: 'x' is no weight" "$halfstep" pretrain tiny.yaml --data.train=text.txt:x,text.txt:0.5
expect 2 'a path is missing' "$halfstep" pretrain tiny.yaml --data.train=,text.txt
expect 2 'data.packing' "$halfstep" pretrain tiny.yaml --data.packing=best
finish
