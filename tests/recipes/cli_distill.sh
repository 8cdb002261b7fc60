#!/usr/bin/env bash
# A student beside its teacher: it learns, with the same bits from two runs, any threads and submission, and behind kill -9; its loss is the
# sum of its parts; it begins as layers of the teacher; what does not go together is one line.
. "$2/tests/support/support_cli.sh"

cat >teacher.yaml <<'YAML'
model: { type: bert, layers: 4, heads: 2, width: 64, context: 48, next: false, dropout: 0, attention_dropout: 0 }
data: { train: text.txt, val: 0, tokenizer: "wordpiece:120", length: 32, documents: line, objectives: [ { kind: sentences } ] }
train: { batch: 16, steps: 60, seed: 3, tensorboard: false }
optim: { lr: 3e-3, warmup: 5 }
exec: { threads: 2 }
amp: { policy: fp32 }
YAML
cat >student.yaml <<'YAML'
model: { type: distilbert, layers: 2, heads: 2, width: 64, context: 48, dropout: 0.1 }
data: { train: text.txt, val: 0.1, length: 32, documents: line, objectives: [ { kind: sentences } ] }
distill: { soft: 5, hard: 2, cosine: 1, temperature: 2 }
train: { batch: 8, accumulate: 2, steps: 30, log_every: 1, eval_every: 15, eval_windows: 16, seed: 4, tensorboard: false }
optim: { lr: 2e-3, warmup: 3 }
checkpoint: { every: 10, keep: 9 }
exec: { threads: 2 }
amp: { policy: fp32 }
YAML
"$halfstep" pretrain teacher.yaml --out big --quiet || fail "no teacher"
distill() { $instead "$halfstep" distill student.yaml --teacher big --out "$1" --quiet "${@:2}"; }
weights() { cat "$1/checkpoints/$(cat "$1/checkpoints/LATEST")/model.safetensors"; }
same() { cmp -s <(weights "$1") <(weights "$2") && cmp -s <(losses "$1/metrics.jsonl") <(losses "$2/metrics.jsonl") || fail "$1 and $2 differ"; }

# ---- it learns, and says what
before=$(weights big | md5sum)
expect 0 '' distill one
json_lines one/metrics.jsonl
for name in loss mlm_loss soft_loss cosine_loss val_loss val_mlm_loss val_soft_loss val_cosine_loss val_mlm_accuracy; do
  [ -n "$(field $name one/metrics.jsonl | tail -1)" ] || fail "metrics.jsonl lacks $name"
done
paste <(field loss one/metrics.jsonl) <(field mlm_loss one/metrics.jsonl) <(field soft_loss one/metrics.jsonl) <(field cosine_loss one/metrics.jsonl) |
  awk '{ d = $1 - 2 * $2 - 5 * $3 - $4; if (d > 1e-4 || d < -1e-4) exit 1 }' || fail "loss is not the weighted sum of its parts"
awk -v a="$(field soft_loss one/metrics.jsonl | head -1)" -v b="$(field soft_loss one/metrics.jsonl | tail -1)" 'BEGIN { exit !(b < 0.6 * a) }' ||
  fail "soft targets are not learned: $(field soft_loss one/metrics.jsonl | tr '\n' ' ')"
[ "$(weights big | md5sum)" = "$before" ] || fail "the teacher is another one now"
cmp -s one/tokenizer.json big/tokenizer.json || fail "the tokenizer is not the teacher's"
expect 0 '' "$halfstep" eval one --data text.txt --max-windows 16
expect 0 '' "$halfstep" plan student.yaml --distill.teacher=big --json
[ "$(field teacher stdout.txt)" -gt 100000 ] || fail "plan does not count the teacher: $(cat stdout.txt)"

# ---- the same bits
expect 0 '' distill two && same one two
expect 0 '' distill threads --threads 1 --exec.mode=step && same one threads
expect 0 '' "$halfstep" pretrain one/config.yaml --out config --quiet && same one config
expect 0 '' "$halfstep" distill student.yaml --teacher big --out fenced --quiet --device cpu-fenced && same one fenced
for lines in 4 13 24; do # killed when metrics.jsonl has so many
  instead=exec distill hit >/dev/null 2>&1 &
  pid=$!
  for _ in $(seq 600); do
    [ -e hit/metrics.jsonl ] && [ "$(wc -l <hit/metrics.jsonl)" -ge $lines ] && break
    kill -0 $pid 2>/dev/null || break
    sleep 0.02
  done
  kill -9 $pid 2>/dev/null
  wait $pid 2>/dev/null
done
expect 0 '' distill hit && same one hit

# ---- layers of the teacher; every token; relations, of another width
expect 0 '' distill layers --distill.layers=1,3 --train.steps=10
awk -v a="$(field soft_loss layers/metrics.jsonl | head -1)" -v b="$(field soft_loss one/metrics.jsonl | head -1)" 'BEGIN { exit !(a < 0.8 * b) }' ||
  fail "a student of its teacher's layers begins no better: $(field soft_loss layers/metrics.jsonl | head -1)"
expect 0 '' distill all --distill.rows=all --train.steps=3
# the last state alone is what there is without a map; the mean over states is that of the means
expect 0 '' distill last --distill.hidden_map=-1,4 --train.steps=5 && expect 0 '' distill first --distill.hidden_map=2,-1 --train.steps=5
expect 0 '' distill both --distill.hidden_map=2,4 --train.steps=5 && expect 0 '' distill three --distill.hidden_map=0,2,4 --train.steps=5
[ "$(field cosine_loss last/metrics.jsonl | head -1)" = "$(field cosine_loss one/metrics.jsonl | head -1)" ] || fail "the last state is another one"
mean=$(paste <(field cosine_loss last/metrics.jsonl | head -1) <(field cosine_loss first/metrics.jsonl | head -1) | awk '{ print ($1 + $2) / 2 }')
near "$(field cosine_loss both/metrics.jsonl | head -1)" "$mean" 1e-4 || fail "two states are not the mean of both: $mean"
[ "$(field cosine_loss three/metrics.jsonl | head -1)" != "$(field cosine_loss both/metrics.jsonl | head -1)" ] || fail "embeddings are not compared"
cat >narrow.yaml <<'YAML'
model: { type: bert, layers: 2, heads: 2, width: 32, context: 48, mlm: false, next: false, dropout: 0 }
data: { train: text.txt, val: 0.1, length: 32, documents: line, objectives: [ { kind: sentences } ] }
distill: { soft: 0, hard: 0, relation: 1, relation_heads: 8 }
train: { batch: 8, steps: 30, log_every: 1, eval_windows: 16, tensorboard: false }
optim: { lr: 3e-3, warmup: 3 }
exec: { threads: 2 }
amp: { policy: fp32 }
YAML
expect 0 '' "$halfstep" distill narrow.yaml --teacher big --out narrow --quiet
awk -v a="$(field relation_loss narrow/metrics.jsonl | head -1)" -v b="$(field relation_loss narrow/metrics.jsonl | tail -1)" 'BEGIN { exit !(b < 0.8 * a) }' ||
  fail "relations are not learned: $(field relation_loss narrow/metrics.jsonl | tr '\n' ' ')"
[ -n "$(field val_relation_loss narrow/metrics.jsonl)" ] || fail "relations are not validated"

# ---- refused
expect 2 'there is no teacher: --teacher FOLDER' "$halfstep" distill tiny.yaml --out no
expect 2 'student.yaml:3: distill\.[a-z]+ is set, but there is no teacher' "$halfstep" pretrain student.yaml --out no
for recipe in distilbert-distill minilm-distill; do
  expect 2 "$recipe.yaml:[0-9]+: distill\.[a-z]+ is set, but there is no teacher" "$halfstep" plan $recipe
done
expect 2 'no such checkpoint' distill no --distill.teacher=nowhere
expect 2 'distill.layers names 4, but distill.teacher .* has layers 0 to 3' distill no --distill.layers=0,4
expect 2 'distill.layers names 3 layers of the teacher, but the model has 2' distill no --distill.layers=0,1,2
expect 2 'distill.layers and train.init_from are both set' distill no --distill.layers=0,1 --train.init_from=one
expect 2 'compares hidden states, but model.width is 32 and that of distill.teacher .* 64' distill no --model.width=32
expect 2 'distill.hidden_map names 9, but distill.teacher .* has hidden states 0 to 4' distill no --distill.hidden_map=0,9
expect 2 'distill.hidden_map has 4 states, but the model has 2 layers: one for each, or one more' distill no --distill.hidden_map=0,1,2,4
expect 2 'distill.hidden_map is -1 for every layer' distill no --distill.hidden_map=-1,-1
expect 2 'distill.hidden_map is set, but distill.cosine and distill.hidden are 0' distill no --distill.hidden_map=2,4 --distill.cosine=0
expect 2 'distill.relation_heads is 12, which does not divide model.width 64' distill no --distill.relation=1
expect 2 'distill.teacher_layer is 5, but distill.teacher .* has 4 layers' distill no --distill.relation=1 --distill.relation_heads=8 --distill.teacher_layer=5
expect 2 'model.vocab is 99, but distill.teacher .* another vocabulary, of 120' distill no --model.vocab=99
expect 2 'the tokenizer of this run .* is not that of distill.teacher' distill no --data.tokenizer=wordpiece:119 --model.vocab=120
expect 2 'model.type is gpt2, but distill.teacher .* has bert' "$halfstep" distill tiny.yaml --teacher big --out no
expect 2 'data.layout has padding' distill no --data.layout=padded
expect 2 'nothing is learned from distill.teacher' distill no --distill.soft=0 --distill.cosine=0
expect 2 'nothing trains the head that predicts tokens' distill no --distill.soft=0 --distill.hard=0
expect 2 'distill.soft is 5, but distill.teacher .* has no head that predicts tokens' distill no --distill.teacher=narrow --distill.cosine=0
[ ! -d no ] || fail "something is half-written: $(find no | head)"
finish
