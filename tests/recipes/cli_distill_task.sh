#!/usr/bin/env bash
# A student with a task beside a teacher that was fine-tuned for it: soft targets of classes, of several labels, of numbers, of tags and of a chain
# of them, of where spans begin and end; from no label of its own, with the same bits behind kill -9; what does not go together is one line.
. "$2/tests/support/support_cli.sh"
. "$2/tests/support/support_labelled.sh"

student() { # TASK OUT ...: one layer, of the teacher's last
  $instead "$halfstep" distill student.yaml --task.kind="$1" --teacher "$1" --data.train "train/$file" --data.val "val/$file" --out "$2" "${@:3}"
}
weights() { cat "$1/checkpoints/$(cat "$1/checkpoints/LATEST")/model.safetensors"; }
same() { cmp -s <(weights "$1") <(weights "$2") && cmp -s <(losses "$1/metrics.jsonl") <(losses "$2/metrics.jsonl") || fail "$1 and $2 differ"; }
falls() { # NAME RUN SHARE
  awk -v a="$(field "$1" "$2/metrics.jsonl" | head -1)" -v b="$(field "$1" "$2/metrics.jsonl" | tail -1)" -v s="$3" 'BEGIN { exit !(a != "" && b < s * a) }' ||
    fail "$2: $1 does not fall to $3: $(field "$1" "$2/metrics.jsonl" | tr '\n' ' ')"
}
cat >student.yaml <<'YAML'
model: { type: bert, layers: 1, heads: 2, width: 64, context: 64, mlm: false, next: false, dropout: 0, attention_dropout: 0 }
data: { length: 32 }
distill: { layers: [ 1 ], soft: 1, hard: 0, temperature: 2 }
train: { batch: 32, steps: 40, log_every: 1, eval_every: 40, seed: 4, tensorboard: false }
optim: { lr: 2e-3, warmup: 3 }
checkpoint: { every: 10, keep: 9 }
exec: { threads: 2 }
amp: { policy: fp32 }
YAML
while read -r task file score least share more; do
  finetune $task $file $task --train.steps=70 --train.tensorboard=false $more --quiet || fail "no teacher of $task"
  before=$(cat $task/checkpoints/*/model.safetensors | md5sum)
  expect 0 '' student $task of-$task --quiet $more
  json_lines of-$task/metrics.jsonl
  falls soft_loss of-$task $share
  at_least "$(field val_$score of-$task/metrics.jsonl | tail -1)" $least || fail "$task: $score $(field val_$score of-$task/metrics.jsonl) of what a teacher says alone"
  [ -n "$(field val_soft_loss of-$task/metrics.jsonl)" ] || fail "$task: soft targets are not validated"
  [ "$(cat $task/checkpoints/*/model.safetensors | md5sum)" = "$before" ] || fail "$task: the teacher is another one now"
done <<'TABLE'
sequence sent.tsv accuracy 0.8 0.5
regression value.tsv pearson 0.7 0.6
multilabel multi.jsonl f1_micro 0.9 0.5
tokens ner.conll f1 0.9 0.3
span qa.json f1 20 0.9 --task.max_query=12
TABLE

# ---- the same bits, and behind kill -9
file=ner.conll
expect 0 '' student tokens again --quiet && same of-tokens again
expect 0 '' student tokens threads --quiet --threads 1 --exec.mode=step && same of-tokens threads
instead=exec student tokens hit --quiet >/dev/null 2>&1 &
pid=$!
for _ in $(seq 600); do
  [ -e hit/metrics.jsonl ] && [ "$(wc -l <hit/metrics.jsonl)" -ge 15 ] && break
  kill -0 $pid 2>/dev/null || break
  sleep 0.02
done
kill -9 $pid 2>/dev/null
wait $pid 2>/dev/null
expect 0 '' student tokens hit --quiet && same of-tokens hit

# ---- a chain of tags: soft targets of each token, the steps between them from labels
expect 0 '' student tokens chain --quiet --model.crf=true --distill.hard=1 --train.steps=10
paste <(field loss chain/metrics.jsonl) <(field soft_loss chain/metrics.jsonl) <(field task_loss chain/metrics.jsonl) |
  awk '{ d = $1 - $2 - $3; n++; if (d > 1e-4 || d < -1e-4) exit 1 } END { exit n != 10 }' || fail "a chain's loss is not the sum of its parts: $(tail -1 chain/metrics.jsonl)"
expect 2 'distill.hard is 0, but model.crf is true: how tags follow one another is learned from labels alone' student tokens no --model.crf=true
expect 0 '' "$halfstep" distill student.yaml --task.kind=tokens --teacher chain --data.train train/ner.conll --data.val val/ner.conll --out of-chain --distill.layers=0 --train.steps=3 --quiet

# ---- the short way, and what does not go together
file=sent.tsv
expect 0 '' "$halfstep" distill finetune-sequence --teacher sequence --init_from base --data.train train/sent.tsv --data.val val/sent.tsv --out short --train.steps=3 --dtype fp32 --quiet
[ -n "$(field soft_loss short/metrics.jsonl)" ] || fail "no soft targets in the short way: $(head -1 short/metrics.jsonl)"
expect 2 'distill.soft is 1, but model.task is tokens, and that of distill.teacher .* sequence' "$halfstep" distill student.yaml --task.kind=tokens --teacher sequence --data.train train/ner.conll --out no
awk -F '\t' -v OFS='\t' 'NR % 9 == 0 { $1 = "maybe" } 1' train/sent.tsv >three.tsv
expect 2 'three.tsv:9: label .*maybe' "$halfstep" distill student.yaml --task.kind=sequence --teacher sequence --data.train three.tsv --data.val val/sent.tsv --out no
[ ! -d no ] || fail "something is half-written: $(find no | head)"
finish
