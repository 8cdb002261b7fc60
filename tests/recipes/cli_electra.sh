#!/usr/bin/env bash
# ELECTRA's pretraining: both losses fall, with the same bits from two runs, any threads and submission, and behind kill -9; a checkpoint is the
# discriminator with the generator beside it, each a model that opens; the discriminator is fine-tuned.
. "$2/tests/support/support_cli.sh"

cat >electra.yaml <<'YAML'
model: { type: electra, layers: 2, heads: 2, width: 64, embed_width: 32, context: 48, generator: 32, mlm: false, dropout: 0.1 }
data: { train: text.txt, val: 0.1, tokenizer: "wordpiece:120", length: 32, documents: line }
train: { batch: 8, accumulate: 2, steps: 40, log_every: 1, eval_every: 20, eval_windows: 16, seed: 3, tensorboard: false }
optim: { name: electra, lr: 3e-3, warmup: 4, schedule: electra }
checkpoint: { every: 10, keep: 9 }
exec: { threads: 2 }
amp: { policy: fp32 }
YAML
electra() { $instead "$halfstep" pretrain electra.yaml --out "$1" --quiet "${@:2}"; }
latest() { echo "$1/checkpoints/$(cat "$1/checkpoints/LATEST")"; }
weights() { cat "$(latest "$1")"/{,generator/}model.safetensors; }
same() { cmp -s <(weights "$1") <(weights "$2") && cmp -s <(losses "$1/metrics.jsonl") <(losses "$2/metrics.jsonl") || fail "$1 and $2 differ"; }

# ---- it learns, and says what
expect 0 '' electra one
json_lines one/metrics.jsonl
for name in loss mlm_loss replaced_loss val_loss val_mlm_loss val_replaced_loss val_mlm_accuracy val_replaced_accuracy val_replaced_recall; do
  [ -n "$(field $name one/metrics.jsonl | tail -1)" ] || fail "metrics.jsonl lacks $name"
done
paste <(field loss one/metrics.jsonl) <(field mlm_loss one/metrics.jsonl) <(field replaced_loss one/metrics.jsonl) |
  awk '{ d = $1 - $2 - 50 * $3; if (d > 1e-3 || d < -1e-3) exit 1 }' || fail "loss is not mlm + 50 x replaced"
for part in mlm_loss replaced_loss; do
  awk -v a="$(field $part one/metrics.jsonl | head -1)" -v b="$(field $part one/metrics.jsonl | tail -1)" 'BEGIN { exit !(b < 0.85 * a) }' ||
    fail "$part does not fall: $(field $part one/metrics.jsonl | tr '\n' ' ')"
done
# of 32 tokens some 5 are drawn anew: to say of none that it is another is right of most
awk -v a="$(field val_replaced_accuracy one/metrics.jsonl | tail -1)" -v r="$(field val_replaced_recall one/metrics.jsonl | tail -1)" \
  'BEGIN { exit !(a > 0.8 && a <= 1 && r >= 0 && r <= 1) }' || fail "the judge: $(tail -1 one/metrics.jsonl)"
expect 0 '' "$halfstep" plan electra.yaml --json && field parameters stdout.txt | head -1 >planned
expect 0 '' "$halfstep" plan electra-small --json --memory-mb 1 --dtype fp32

# ---- a discriminator, and its generator beside it
grep -q '"ElectraForPreTraining"' "$(latest one)/config.json" || fail "the checkpoint's class: $(grep -A1 architectures "$(latest one)/config.json")"
grep -q '"ElectraForMaskedLM"' "$(latest one)/generator/config.json" || fail "the generator's class"
grep -q '"hidden_size": 32' "$(latest one)/generator/config.json" || fail "the generator's width"
grep -q 'generator/model.safetensors' "$(latest one)/train/manifest.json" || fail "the manifest lacks the generator"
expect 0 '' "$halfstep" embed one --input text.txt --output vectors.txt
expect 0 '' "$halfstep" eval "$(latest one)/generator" --data text.txt --max-windows 16 --json
awk -v a="$(field mlm_loss stdout.txt)" 'BEGIN { exit !(a > 0 && a < 5) }' || fail "the generator by itself: $(cat stdout.txt)"

# ---- both are measured, as training does
tail -60 text.txt >val.txt
expect 0 '' electra judged --data.val=val.txt --train.steps=5 --train.eval_windows=0
expect 0 '' "$halfstep" eval judged --data val.txt --dtype fp32 --json
json_lines stdout.txt
for name in loss mlm_loss replaced_loss mlm_accuracy replaced_accuracy replaced_recall; do
  near "$(field $name stdout.txt)" "$(field val_$name judged/metrics.jsonl)" 1e-6 || fail "eval's $name: $(cat stdout.txt) $(tail -1 judged/metrics.jsonl)"
done
expect 0 '' "$halfstep" eval judged --data val.txt
grep -Eq 'replaced [0-9.]+, [0-9.]+% right, [0-9.]+% of [1-9][0-9]* found  over all of val.txt, [0-9]+ predictions, [0-9]+ tokens' stdout.txt || fail "eval says: $(cat stdout.txt)"

# ---- the same bits
expect 0 '' electra two && same one two
expect 0 '' electra threads --threads 1 --exec.mode=step && same one threads
expect 0 '' electra fenced --device cpu-fenced && same one fenced
expect 0 '' "$halfstep" pretrain one/config.yaml --out config --quiet && same one config
for lines in 6 17 33; do # killed when metrics.jsonl has so many
  instead=exec electra hit >/dev/null 2>&1 &
  pid=$!
  for _ in $(seq 600); do
    [ -e hit/metrics.jsonl ] && [ "$(wc -l <hit/metrics.jsonl)" -ge $lines ] && break
    kill -0 $pid 2>/dev/null || break
    sleep 0.02
  done
  kill -9 $pid 2>/dev/null
  wait $pid 2>/dev/null
done
expect 0 '' electra hit && same one hit
expect 0 '' electra apart --model.untied=true --train.steps=5
[ "$(stat -c %s "$(latest apart)/train/optimizer.safetensors")" -gt "$(stat -c %s "$(latest one)/train/optimizer.safetensors")" ] ||
  fail "tables of its own are not there"

# ---- the discriminator learns a task, and begins another pretraining
for i in $(seq 1 120); do
  echo -e "$((i % 2))\t$((i * i % 97)) bottles stood on $([ $((i % 2)) = 1 ] && echo wall || echo them) $i"
done >task.tsv
expect 0 '' "$halfstep" finetune sequence --init_from one --data.train task.tsv --data.val task.tsv --out task --quiet --train.epochs=6 --optim.lr=2e-3
[ -d task/report ] || fail "no report"
expect 0 '' electra again --train.init_from="$(latest one)" --data.tokenizer=auto --train.steps=3
mkdir bare && cp "$(latest one)"/{config.json,model.safetensors,tokenizer*.json} bare 2>/dev/null
expect 2 'bare is an encoder without a head, and without the generator/ and train/ of its pretraining: it has no loss' "$halfstep" eval bare --data val.txt
expect 0 '[0-9]+ tensors of heads begin anew' electra alone --train.init_from=bare --data.tokenizer=auto --train.steps=3 --no-quiet

# ---- refused
expect 2 'model.generator is 30, not a multiple of 8' electra no --model.generator=30
expect 2 'model.generator_heads is 3' electra no --model.generator_heads=3
expect 2 'model.generator is 32 beside model.mlm' electra no --model.mlm=true
rm -r "$(latest two)/generator"
expect 0 'damaged, passed over' electra two
[ ! -d no ] || fail "something is half-written"
finish
