#!/usr/bin/env bash
# An encoder from a text: pretraining, evaluation, phases, resuming and what is refused before the first step.
. "$2/tests/support/support_cli.sh"

# A text with documents and sentences, in which words follow from their neighbours.
awk 'BEGIN {
  srand(7); split("cat dog bird fish horse", who); split("eats sees likes hears", does); split("bread milk grass seeds apples", what); split("house garden field river", at)
  for (d = 0; d < 160; d++) {
    for (s = 0; s < 6; s++) {
      i = int(rand() * 5) + 1
      printf "The %s %s the %s in the %s. ", who[i], does[(i + s) % 4 + 1], what[i], at[i % 4 + 1]
    }
    printf "\n\n"
  }
}' >docs.txt
cat >tiny-bert.yaml <<'YAML'
model: { type: bert, layers: 2, heads: 2, width: 64, context: 64, dropout: 0.1, attention_dropout: 0.1 }
data: { train: docs.txt, val: 0.1, tokenizer: "wordpiece:200", length: 48 }
train: { batch: 8, steps: 60, log_every: 1, eval_every: 20, eval_windows: 16, seed: 3 }
optim: { lr: 3e-3, warmup: 5, betas: [0.9, 0.99] }
checkpoint: { every: 20, keep: 9 }
exec: { threads: 2 }
YAML
run() { "$halfstep" pretrain tiny-bert.yaml --dtype fp32 --quiet "$@"; }
all_losses() { grep -oE '"(step|loss|mlm_loss|next_loss|val_loss|val_mlm_accuracy|phase)":[-+0-9.eE]+' "$1"; }
same() { cmp -s <(all_losses "$1/metrics.jsonl") <(all_losses "$2/metrics.jsonl"); }

# ---- from a text to a model
expect 0 '' "$halfstep" pretrain tiny-bert.yaml --dtype fp32 --out run
grep -Eq '^step 60/60  loss [0-9.]+  mlm [0-9.]+  next [0-9.]+  val [0-9.]+  mlm acc [0-9.]+%  next acc [0-9.]+%' stdout.txt || fail "progress: $(grep '^step 60' stdout.txt)"
json_lines run/metrics.jsonl
for name in loss mlm_loss next_loss val_loss val_mlm_loss val_mlm_accuracy val_next_loss val_next_accuracy; do
  [ -n "$(field $name run/metrics.jsonl | tail -1)" ] || fail "metrics.jsonl lacks $name"
done
paste <(field loss run/metrics.jsonl) <(field mlm_loss run/metrics.jsonl) <(field next_loss run/metrics.jsonl) |
  awk '{ d = $1 - $2 - $3; if (d > 1e-5 || d < -1e-5) exit 1 }' || fail "loss is not the sum of its parts"
awk -v a="$(field mlm_loss run/metrics.jsonl | head -1)" -v b="$(field mlm_loss run/metrics.jsonl | tail -1)" 'BEGIN { exit !(b < a - 1) }' || fail "the loss did not fall"
ls run/tokens-*.bin >/dev/null || fail "the prepared text is not beside the run"
[ -s run/tokenizer.json ] || fail "the tokenizer is not beside the run"
expect 0 '' "$halfstep" pretrain run/config.yaml --out again
same run again || fail "the resolved configuration gives another run"

# ---- the same bits with other threads, submission and device
run --out one --threads 1 --exec.mode=step && same run one || fail "threads or step mode changed the losses"
run --out four --threads 4 --exec.bulk_size=7 && same run four || fail "four threads changed the losses"
run --out fenced --device cpu-fenced && same run fenced || fail "the fenced device changed the losses"

# ---- accumulation and layouts: equal within rounding
run --out a1 --train.steps=10 --model.dropout=0 --model.attention_dropout=0
run --out a4 --train.steps=10 --model.dropout=0 --model.attention_dropout=0 --train.batch=2 --train.accumulate=4
close_to() { paste <(field loss "$1/metrics.jsonl") <(field loss "$2/metrics.jsonl") | awk -v e="$3" '{ d = $1 - $2; if (d > e || d < -e) exit 1 }'; }
close_to a1 a4 1e-4 || fail "1 x 8 differs from 2 x 4"
for layout in padded packed; do
  run --out $layout --train.steps=10 --model.dropout=0 --model.attention_dropout=0 --data.layout=$layout
  close_to a1 $layout 1e-4 || fail "layout $layout: other losses"
done
run --out bucketed --train.steps=10 --data.layout=bucketed || fail "layout bucketed"

# ---- masks drawn in the plan instead of by the loader: the same bits, in any layout and of several objectives
run --out drawn --data.masking=device && same run drawn || fail "masks drawn in the plan are others"
cmp -s run/checkpoints/step-00000060/model.safetensors drawn/checkpoints/step-00000060/model.safetensors || fail "masks drawn in the plan gave other weights"
run --out drawn-fenced --data.masking=device --device cpu-fenced && same run drawn-fenced || fail "masks drawn on the fenced device are others"
run --out drawn-bucketed --train.steps=10 --data.layout=bucketed --data.masking=device && same bucketed drawn-bucketed || fail "masks drawn in the plan are others in buckets"
two=(--train.steps=10 --train.batch=4 --train.accumulate=2 --data.objectives.0.kind=next --data.objectives.1.kind=sentences --data.objectives.1.probability=0.3 --data.objectives.1.masked=0.5)
run --out two "${two[@]}" && run --out drawn-two "${two[@]}" --data.masking=device && same two drawn-two || fail "masks drawn in the plan are others of two objectives"

# ---- evaluation repeats the trainer's last
total=$(grep -c . docs.txt)
expect 0 '' "$halfstep" prepare --tokenizer run --documents blank-line --sentences rule -o store docs.txt
expect 0 '' "$halfstep" pretrain tiny-bert.yaml --dtype fp32 --out stored --data.train=store.bin --data.tokenizer=run --quiet
same run stored || fail "a store of the text gives other losses than the text"
mkdir texts && head -n 100 docs.txt >texts/a.txt && tail -n +101 docs.txt | gzip >texts/b.txt.gz # an even line is a blank one
run --out folder --data.train=texts --data.tokenizer=run && same run folder || fail "a folder of the text gives other losses than the text"
grep . docs.txt | sed 's/.*/{"text": "&"}/' >docs.jsonl
run --out records --data.train=docs.jsonl --data.tokenizer=run && same run records || fail "records of the text give other losses than the text"
head -n 288 docs.txt >train.txt && tail -n +289 docs.txt >val.txt
run --out split --data.train=train.txt --data.val=val.txt --data.tokenizer=run || fail "data.val is a file"
expect 0 '' "$halfstep" eval split --data val.txt --json
json_lines stdout.txt
for name in loss mlm_loss mlm_accuracy next_loss next_accuracy; do
  near "$(field $name stdout.txt)" "$(field val_$name split/metrics.jsonl | tail -1)" 1e-6 || fail "eval: $name is not the trainer's: $(cat stdout.txt)"
done
expect 0 '' "$halfstep" eval split --data val.txt --pseudo-perplexity --max-windows 200 --json
awk -v p="$(field pseudo_perplexity stdout.txt)" -v l="$(field mlm_loss stdout.txt)" 'BEGIN { d = p - exp(l); exit !(p > 1 && d < 1e-6 && d > -1e-6) }' || fail "pseudo-perplexity: $(cat stdout.txt)"
[ "$(field predictions stdout.txt)" = 200 ] || fail "pseudo-perplexity: not a prediction a token"

# ---- objectives
run --out many --train.steps=5 --data.objectives.0.kind=next --data.objectives.0.masking=word --data.objectives.1.kind=sentences --data.objectives.1.masking=span || fail "several objectives"
run --out plain --train.steps=5 --model.next=false || fail "a model without the second head"
! grep -q next_loss plain/metrics.jsonl || fail "a model without the head has its loss"
run --out plainer --train.steps=5 --data.objectives.0.kind=sentences || fail "a head without labels"
! grep -q next_loss plainer/metrics.jsonl || fail "a head without labels has a loss: $(tail -1 plainer/metrics.jsonl)"
run --out pairs --train.steps=5 --model.mlm=false || fail "a model with the second head alone"
[ -n "$(field val_next_accuracy pairs/metrics.jsonl)" ] && ! grep -q mlm_loss pairs/metrics.jsonl || fail "the second head alone: $(tail -1 pairs/metrics.jsonl)"
expect 0 '' "$halfstep" eval pairs --data docs.txt --max-windows 16 --json
[ -n "$(field next_accuracy stdout.txt)" ] && [ "$(field pairs stdout.txt)" = 16 ] && [ "$(field tokens stdout.txt)" -gt 100 ] &&
  ! grep -q 'mlm_loss\|predictions' stdout.txt || fail "eval of the second head alone: $(cat stdout.txt)"
expect 0 '' "$halfstep" eval pairs --data docs.txt --max-windows 16
grep -q 'over a part of docs.txt, 16 pairs  (' stdout.txt || fail "eval of the second head alone counts $(cat stdout.txt)"
expect 0 '' "$halfstep" eval split --data val.txt
grep -Eq 'over all of val.txt, [0-9]+ predictions, [0-9]+ pairs  \(' stdout.txt || fail "eval of both heads counts $(cat stdout.txt)"

expect 0 '' "$halfstep" pretrain tiny-bert.yaml --dtype fp32 --out idle --train.steps=1 --data.objectives.0.kind=sentences
grep -q "head for next sentences is not trained: none of data.objectives" stderr.txt || fail "a head that nothing trains: $(cat stderr.txt)"

# ---- phases: steps of their own, and going on anywhere
cat >phases.yaml <<'YAML'
model: { type: bert, layers: 2, heads: 2, width: 64, context: 64, dropout: 0.1, attention_dropout: 0.1 }
data: { train: docs.txt, val: 0.1, tokenizer: "wordpiece:200" }
train: { log_every: 1, eval_every: 10, eval_windows: 16, seed: 3 }
optim: { name: lamb, lr: 1e-2, warmup: 2, betas: [0.9, 0.99] }
checkpoint: { every: 10, keep: 9 }
exec: { threads: 2 }
phases:
  - { name: short, length: 32, batch: 8, steps: 25 }
  - { name: long, length: 64, batch: 4, accumulate: 2, steps: 20, lr: 5e-3, predictions: 12 }
YAML
expect 0 '' "$halfstep" plan phases.yaml
grep -q '^phase        0, short' stdout.txt && grep -q '8 sequences of 32 with 5 predictions' stdout.txt && grep -q '4 sequences of 64 with 12 predictions' stdout.txt || fail "plan: $(cat stdout.txt)"
expect 0 '' "$halfstep" plan phases.yaml --json
json_lines stdout.txt
[ "$(field phase stdout.txt | tr '\n' ' ')" = '0 1 ' ] || fail "plan --json has no line for each phase"
expect 0 '' "$halfstep" pretrain phases.yaml --dtype fp32 --out idle2 --phases.0.steps=2 --phases.1.steps=2 --data.objectives.0.kind=sentences
[ "$(grep -c 'head for next sentences is not trained' stderr.txt)" = 1 ] || fail "a head that no phase trains: $(cat stderr.txt)"
expect 0 '' "$halfstep" pretrain phases.yaml --dtype fp32 --out ph
[ "$(field step ph/metrics.jsonl | tail -1)" = 45 ] && [ "$(field phase ph/metrics.jsonl | grep -c '^1$')" -eq 20 ] || fail "phases: $(tail -1 ph/metrics.jsonl)"
grep -q '"phase": 1' ph/checkpoints/step-00000045/train/state.json && grep -q '"phase_step": 20' ph/checkpoints/step-00000045/train/state.json || fail "state.json does not say the phase"
near "$(field lr ph/metrics.jsonl | sed -n 26p)" "$(awk 'BEGIN { print 5e-3 / 3 }')" 1e-6 || fail "the schedule of the second phase does not begin anew: $(field lr ph/metrics.jsonl | sed -n 26p)"
for step in 10 25 30; do # in the first, at the border, in the second
  rm -rf cut && cp -r ph cut
  for d in cut/checkpoints/step-*; do
    [ $((10#${d##*-})) -le $step ] || rm -r "$d"
  done
  printf 'step-%08d\n' $step >cut/checkpoints/LATEST
  expect 0 '' "$halfstep" pretrain phases.yaml --dtype fp32 --out cut --quiet
  same ph cut || fail "resumed at $step: other losses: $(diff <(all_losses ph/metrics.jsonl) <(all_losses cut/metrics.jsonl) | head -2)"
  cmp -s ph/checkpoints/step-00000045/model.safetensors cut/checkpoints/step-00000045/model.safetensors || fail "resumed at $step: other weights"
done
for step in 7 24 27; do
  rm -rf killed && : >events.txt
  "$halfstep" pretrain phases.yaml --dtype fp32 --out killed --json >events.txt 2>/dev/null &
  pid=$!
  while kill -0 $pid 2>/dev/null && ! grep -q "\"step\":$step," events.txt; do sleep 0.01; done
  kill -KILL $pid
  wait $pid 2>/dev/null
  expect 0 '' "$halfstep" pretrain phases.yaml --dtype fp32 --out killed --quiet
  same ph killed || fail "killed at $step: other losses"
done

# ---- weights taken over for another text
sed 's/cat/wolf/g' docs.txt >domain.txt
expect 0 '' "$halfstep" pretrain tiny-bert.yaml --dtype fp32 --out domain --train.init_from=run --data.train=domain.txt --data.tokenizer=auto --train.steps=10 --optim.lr=1e-4
awk -v a="$(field mlm_loss domain/metrics.jsonl | head -1)" -v b="$(field mlm_loss run/metrics.jsonl | head -1)" 'BEGIN { exit !(a < b - 1) }' || fail "train.init_from did not take the weights over"
expect 2 'data.tokenizer is wordpiece:200, but the weights of train.init_from' "$halfstep" pretrain tiny-bert.yaml --out domain2 --train.init_from=run --data.train=domain.txt

grep -v '^model' tiny-bert.yaml | sed 's/tokenizer: "wordpiece:200", //' >bare.yaml # shape, heads and tokenizer come with the weights
expect 0 '' "$halfstep" pretrain bare.yaml --model.type=bert --dtype fp32 --out bare --train.init_from=run --data.length=64 --train.steps=5
expect 2 'data.length is 65, but the model has positions for model.context 64' "$halfstep" pretrain bare.yaml --model.type=bert --dtype fp32 --out bare2 --train.init_from=run --data.length=65

# ---- refused before the first step, by name
bad() { expect 2 "$1" "$halfstep" pretrain "${@:2}" --dtype fp32 --out bad && [ ! -e bad/metrics.jsonl ] || fail "not before the first step: $1"; }
bad 'data.length is 65, but the model has positions for model.context 64' tiny-bert.yaml --data.length=65
bad 'the validation text, .*docs.txt: tokens [0-9]* to [0-9]* are of one document: .*a larger data.val' tiny-bert.yaml --data.val=0.001
bad 'data.predictions is 49, more than the 48 tokens' tiny-bert.yaml --data.predictions=49
bad 'data.objectives.0.kind is order, but this bert has no head for the order of sentences' tiny-bert.yaml --data.objectives.0.kind=order
bad 'data.objectives.1.masking is span, which the loader alone does: data.masking: loader, not device' tiny-bert.yaml --data.masking=device --data.objectives.0.kind=next --data.objectives.1.kind=next --data.objectives.1.masking=span
bad 'data.objectives.0.rare is 0.7, which the loader alone does' tiny-bert.yaml --data.masking=device --data.objectives.0.kind=next --data.objectives.0.rare=0.7
bad 'data.masking is device, but model.type gpt2 is trained on running text' tiny.yaml --data.masking=device
bad 'data.packing is ffd, but model.type bert is trained on sequences with masked tokens' tiny-bert.yaml --data.packing=ffd
bad 'data.length is 16, but model.type gpt2 is trained on running text' tiny.yaml --data.length=16
bad 'model.heads is 3, which does not divide' tiny-bert.yaml --model.heads=3
bad 'has no token' tiny-bert.yaml --data.tokenizer=byte
bad 'data.tokenizer is wordpiece:7: wordpiece:SIZE takes' tiny-bert.yaml --data.tokenizer=wordpiece:7
bad 'unknown option --phases.0 of pretrain; phases.0 takes name, steps, batch' phases.yaml --phases.0=3
bad 'unknown option --phases.0.epochs of pretrain; phases.0 takes name, steps, batch' phases.yaml --phases.0.epochs=3
bad 'unknown option --phases.1.stesp of pretrain, nearest is --phases.1.steps' phases.yaml --phases.1.stesp=3
bad '--train.steps: each phase has steps of its own, .* --phases.0.steps, --phases.1' phases.yaml --train.steps=3
bad 'phases.1.train: .*nowhere.txt' phases.yaml --phases.1.train=nowhere.txt
bad 'phases.1: data.length is 65' phases.yaml --phases.1.length=65
sed 's/bread/butter/' docs.txt >other.txt
expect 0 '' "$halfstep" tokenizer train --type wordpiece --vocab-size 150 other.txt -o tok
expect 2 'made with another tokenizer' "$halfstep" pretrain tiny-bert.yaml --out bad --data.train=store.bin --data.tokenizer=tok
expect 0 '' "$halfstep" prepare --tokenizer tok --documents blank-line --sentences rule -o other docs.txt
expect 2 'made with another tokenizer' "$halfstep" eval run --data other.bin
for i in 1 2 3 4 5 6; do printf '[MASK] [MASK] [SEP] [MASK]\n\n'; done >special.txt
expect 2 'special' "$halfstep" pretrain tiny-bert.yaml --out bad --data.train=special.txt --data.val=0 --data.tokenizer=run

# ---- shipped recipes: their sizes are those that are published (with the heads of pretraining)
size_of() { # of the first phase
  expect 0 '' "$halfstep" plan "$1" --json --memory-mb 1 --dtype fp32
  [ "$(field parameters stdout.txt | head -1)" = "$2" ] || fail "$1 has $(field parameters stdout.txt | head -1) parameters, not $2"
}
size_of bert-base 110106428
size_of bert-large 336226108
size_of roberta-base 124697433
size_of distilbert 66985530
size_of albert-base 11813810
size_of ernie-base 110120252
for recipe in "$source_dir"/recipes/*.yaml; do
  [[ $recipe == */finetune-* || $recipe == *-distill.yaml ]] && continue # of any model, of a teacher: cli_finetune, cli_distill
  expect 0 '' "$halfstep" plan "$recipe" --json --memory-mb 1 --data.train=docs.txt
done

# ---- shards with their masks drawn
expect 0 '' "$halfstep" bench train --model bert-tiny --batch 2 --seq 32 --steps 2 --dtype fp32 --json
json_lines stdout.txt
for name in tokens_per_second sequences_per_second peak_bytes mfu loss; do
  [ -n "$(field $name stdout.txt)" ] || fail "bench lacks $name"
done
if ! "$halfstep" env | grep -q '^HDF5 *not built'; then
  if "$halfstep" data convert store.bin --to hdf5 --tokenizer run --length 48 --predictions 8 -o shard.hdf5 >/dev/null 2>convert.txt; then
    expect 0 '' "$halfstep" pretrain tiny-bert.yaml --dtype fp32 --out shards --data.train=shard.hdf5 --data.val=shard.hdf5 --data.tokenizer=run --train.steps=30
    [ -n "$(field val_next_accuracy shards/metrics.jsonl)" ] || fail "shards: no evaluation"
    expect 0 '' "$halfstep" pretrain tiny-bert.yaml --dtype fp32 --out spans --data.train=shard.hdf5 --data.val=0 --data.tokenizer=run --train.steps=1 --data.objectives.0.masking=span
    grep -q 'data.objectives are not used: .*shard.hdf5' stderr.txt || fail "objectives beside shards: $(cat stderr.txt)"
    expect 2 'data.masking is device, but .*shard.hdf5 has its masks drawn: data.masking: loader' "$halfstep" pretrain tiny-bert.yaml --out bad --data.train=shard.hdf5 --data.val=0 --data.tokenizer=run --data.masking=device
    expect 2 'rows of 48 tokens, but sequences have at most 32' "$halfstep" pretrain tiny-bert.yaml --out bad --data.train=shard.hdf5 --data.val=0 --data.tokenizer=run --data.length=32
    "$halfstep" data convert store.bin --to hdf5 --tokenizer run --length 64 --predictions 12 -o longer.hdf5 >/dev/null 2>&1
    expect 0 '' "$halfstep" pretrain phases.yaml --dtype fp32 --out shards2 --data.tokenizer=run --data.val=0 --phases.0.length=48 --phases.0.predictions=8 --phases.0.train=shard.hdf5 --phases.1.train=longer.hdf5
    [ "$(field step shards2/metrics.jsonl | tail -1)" = 45 ] || fail "shards in two phases"
    expect 2 'phases.0: .*longer.hdf5: rows of 64 tokens' "$halfstep" pretrain phases.yaml --dtype fp32 --out bad --data.tokenizer=run --data.val=0 --phases.0.train=longer.hdf5
    "$halfstep" data convert store.bin --to hdf5 --tokenizer run --length 64 --predictions 12 --layout varlen -o lists.hdf5 >/dev/null 2>&1
    bad 'phases.0: .*lists.hdf5: row [0-9]* has 64 tokens, but sequences have at most 32' phases.yaml --data.tokenizer=run --data.val=lists.hdf5 --phases.0.train=lists.hdf5 --phases.1.train=longer.hdf5
    bad 'lists.hdf5: row [0-9]* has [0-9]* predictions, but data.predictions is 3' tiny-bert.yaml --data.tokenizer=run --data.length=64 --data.predictions=3 --data.val=0 --data.train=lists.hdf5
    # going on with less room than the rows need
    expect 2 'shard.hdf5: rows of 48 tokens, but sequences have at most 32' "$halfstep" pretrain tiny-bert.yaml --dtype fp32 --out shards --data.train=shard.hdf5 --data.val=shard.hdf5 --data.tokenizer=run --train.steps=40 --data.length=32
    lists() { "$halfstep" pretrain tiny-bert.yaml --dtype fp32 --out lists --data.train=lists.hdf5 --data.val=0 --data.tokenizer=run --data.predictions=12 "$@"; }
    expect 0 '' lists --data.length=64 --train.steps=4
    expect 2 'lists.hdf5: row [0-9]* has [0-9]* tokens, but sequences have at most 40' lists --data.length=40 --train.steps=6
    expect 2 'lists.hdf5: row [0-9]* has [0-9]* predictions, but data.predictions is 3' lists --data.length=64 --data.predictions=3 --train.steps=6
    expect 0 '' lists --data.length=64 --train.steps=6
    two_lists() { "$halfstep" pretrain phases.yaml --dtype fp32 --out two --data.tokenizer=run --data.val=0 --phases.0.train=shard.hdf5 --phases.0.length=48 --phases.0.predictions=8 --phases.1.train=lists.hdf5 "$@"; }
    expect 0 '' two_lists --phases.1.steps=4
    for d in two/checkpoints/step-*; do [ "$d" = two/checkpoints/step-00000010 ] || rm -r "$d"; done
    echo step-00000010 >two/checkpoints/LATEST
    expect 2 'phases.1: .*lists.hdf5: row [0-9]* has [0-9]* tokens, but sequences have at most 40' two_lists --phases.1.steps=4 --phases.1.length=40
    expect 0 '' two_lists --phases.1.steps=4
    # what is not used is told once, whatever phases there are
    expect 0 '' "$halfstep" pretrain phases.yaml --dtype fp32 --out told --data.tokenizer=run --data.val=0 --phases.0.train=shard.hdf5 --phases.0.length=48 --phases.0.predictions=8 --phases.0.steps=2 --phases.1.train=longer.hdf5 --phases.1.steps=2 --data.objectives.0.masking=span
    [ "$(grep -c 'data.objectives are not used' stderr.txt)" = 1 ] || fail "objectives beside shards of two phases: $(cat stderr.txt)"
    expect 2 'shards are not divided' "$halfstep" pretrain tiny-bert.yaml --out bad --data.train=shard.hdf5 --data.tokenizer=run
  else
    fail "data convert: $(cat convert.txt)"
  fi
fi
finish
