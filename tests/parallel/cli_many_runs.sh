#!/usr/bin/env bash
# What else is trained on many ranks: labelled tasks, ELECTRA's two networks, phases, layers that stand still or thaw, adapters, a student; a
# layout that another one goes on from; steps that take no memory.
. "$2/tests/support/support_cli.sh"
. "$2/tests/support/support_mpi.sh"
. "$2/tests/support/support_labelled.sh"
alloc=$(dirname "$1")/tests/alloc_program
speed=$3

sed -i 's/heads: 2/heads: 4/; s/batch: 4/batch: 8/; /^exec:/d' tiny.yaml
sed -i '/^exec:/d' bert.yaml
cat >electra.yaml <<'YAML'
model: { type: electra, layers: 2, heads: 4, width: 64, embed_width: 32, context: 48, generator: 32, generator_heads: 2, mlm: false, dropout: 0.1 }
data: { train: text.txt, val: 0.1, tokenizer: "wordpiece:120", length: 32, documents: line }
train: { batch: 8, steps: 40, log_every: 1, eval_every: 0, seed: 3 }
optim: { name: electra, lr: 1e-3, warmup: 4, schedule: electra }
YAML
cat >phases.yaml <<'YAML'
model: { layers: 2, heads: 4, width: 64, context: 32, dropout: 0.1 }
data: { train: text.txt }
train: { batch: 8, log_every: 1, seed: 3 }
optim: { lr: 3e-3, betas: [0.9, 0.99] }
phases:
  - { name: first, steps: 4, warmup: 2, batch: 8 }
  - { name: second, steps: 6, warmup: 1, batch: 4, accumulate: 2, freeze: h0 }
YAML
export OMP_NUM_THREADS=1
n=0
# verify WHAT RANKS CONFIG [option...]
verify() {
  n=$((n + 1))
  ranks "$2" "$halfstep" verify "$1" "$3" --exec.threads=1 --steps 8 "${@:4}" >stdout.txt 2>stderr.txt </dev/null
  local code=$?
  [ $code -eq 0 ] || fail "verify $*: exit code $code: $(grep -v '^ok$' stderr.txt | head -3)
$(grep -E 'FAILS|DIFFER|bit-identical' stdout.txt | head -6)"
  [ -z "$(ls runs 2>/dev/null)" ] || fail "verify $*: left is runs/$(ls runs)"
}
tp2=--parallel.tp=2 shared=--parallel.shard_optimizer=states fp32=(--dtype fp32)
# ---- labelled tasks
task() { echo "finetune-$1" "${fp32[@]}" --train.init_from=base "--data.train=train/$2" "--data.val=val/$2" --data.length=32 --optim.lr=1e-3 --model.dropout=0.1; }
# shellcheck disable=SC2046
{
  verify dp 2 $(task sequence sent.tsv)
  verify tp 2 $(task sequence sent.tsv) $tp2
  verify dp 4 $(task tokens ner.conll) $shared
  verify tp 4 $(task tokens ner.conll) $tp2 $shared --model.crf=true
  # layers thaw; others stand still
  verify tp 4 $(task tokens ner.conll) $tp2 $shared --train.unfreeze=0.08 --optim.layer_decay=0.8
  verify dp 2 $(task sequence sent.tsv) --train.freeze=embed,l0
  # pairs beside weights
  verify dp 2 $(task sequence sent.tsv) --adapter.rank=4 --adapter.dropout=0.1
  verify tp 4 $(task tokens ner.conll) $tp2 $shared --adapter.rank=4 --adapter.targets=q,v,ff.up,ff.down
}
# a whole run, judged behind its epoch: losses and scores of one process
tags=(finetune tokens --init_from base --data.train train/ner.conll --data.val val/ner.conll "${fp32[@]}" --data.length 32 --optim.lr 1e-3
  --train.epochs 1 --train.log_every 1 --exec.threads=1 --quiet)
"$halfstep" "${tags[@]}" --out one || fail "one process"
for layout in "$tp2" "$shared"; do
  ranks 2 "$halfstep" "${tags[@]}" --out two --overwrite --resume none $layout || fail "two ranks, $layout"
  paste <(field loss one/metrics.jsonl) <(field loss two/metrics.jsonl) | awk '{ d = $1 - $2; if (d < 0) d = -d; if (d > 1e-4) exit 1; n++ } END { exit n < 38 }' ||
    fail "two ranks, $layout: other losses"
  for name in val_loss val_f1 val_accuracy; do
    near "$(field $name one/metrics.jsonl)" "$(field $name two/metrics.jsonl)" 1e-3 || fail "two ranks, $layout: $name: $(tail -1 one/metrics.jsonl) $(tail -1 two/metrics.jsonl)"
  done
  [ -s two/report/report.txt ] || fail "two ranks, $layout: no report"
done
# ---- two networks; two phases
verify dp 2 electra.yaml "${fp32[@]}" --train.accumulate=2
verify tp 4 electra.yaml "${fp32[@]}" $tp2 $shared
verify tp 2 electra.yaml "${fp32[@]}" $tp2 --parallel.sequence=true
verify dp 2 phases.yaml "${fp32[@]}"
verify tp 4 phases.yaml "${fp32[@]}" $tp2 $shared
# ---- a student, whose teacher is divided as it is
"$halfstep" pretrain bert.yaml --out wide --exec.threads=1 --train.steps=4 --model.width=96 --model.heads=4 --quiet || fail "a wider teacher"
verify tp 2 bert.yaml "${fp32[@]}" $tp2 --distill.teacher=base --distill.hidden=1 --distill.cosine=1 --distill.temperature=2 --distill.layers=1,0
verify tp 4 bert.yaml "${fp32[@]}" $tp2 $shared --distill.teacher=wide --distill.relation=1 --distill.relation_heads=8 --distill.rows=all
verify tp 2 bert.yaml --dtype bf16 $tp2 --parallel.sequence=true --distill.teacher=base --distill.hidden=1 --distill.temperature=2
# refused REGEX RANKS COMMAND...: in one line of ours
refused() {
  ranks "$2" "${@:3}" >stdout.txt 2>stderr.txt </dev/null
  local code=$?
  [ $code -eq 2 ] && [ "$(grep -cE "^halfstep: .*($1)" stderr.txt)" -eq 1 ] || fail "exit code $code, not once /$1/: $(grep ^halfstep stderr.txt)"
}
refused 'distill.relation_heads is 3, must divide over 2 tensor-parallel ranks' 2 "$halfstep" distill bert.yaml --teacher wide --out no $tp2 \
  --model.width=48 --model.heads=2 --distill.soft=0 --distill.relation=1 --distill.relation_heads=3
"$halfstep" pretrain bert.yaml --out odd --exec.threads=1 --train.steps=2 --model.width=48 --model.heads=3 --quiet || fail "a teacher of three heads"
refused 'distill.teacher .*odd/.*: l0: model.heads is 3, must divide over 2 tensor-parallel ranks' 2 "$halfstep" distill bert.yaml --teacher odd --out no $tp2
[ ! -e no ] || fail "a folder was made of a run that was refused"
# ---- another layout goes on: the same samples, the same model
for layout in 1x1 4x1 1x4; do
  verify resume 4 tiny.yaml "${fp32[@]}" --model.dropout=0.1 $tp2 $shared --train.accumulate=2 --steps 6 --then $layout
done
verify resume 4 electra.yaml "${fp32[@]}" $tp2 $shared --steps 6 --then 4x1
refused "--then 2x1 are 2 ranks, and 4 were started" 4 "$halfstep" verify resume tiny.yaml $tp2 --then 2x1
refused "--then is '4', not a layout" 2 "$halfstep" verify resume tiny.yaml --then 4
refused '8 steps are asked for .*, more than the 6 there are' 2 "$halfstep" verify dp tiny.yaml --steps 8 --train.steps=6
# ---- steps take no memory
# takes_none RANKS CONFIG [option...]; sanitizers have an allocator of their own, before which the program's does not come
takes_none() { [ "$speed" = slow ] || ranks "$1" "$alloc" "${@:2}" 2>stderr.txt || fail "memory is taken in steps: $*: $(head -5 stderr.txt)"; }
takes_none 2 tiny.yaml --exec.threads=2
takes_none 2 tiny.yaml --exec.threads=2 $tp2
takes_none 2 tiny.yaml --exec.threads=1 $shared
takes_none 4 tiny.yaml --exec.threads=1 $tp2 --parallel.shard_optimizer=gradients --train.accumulate=2
takes_none 2 electra.yaml --exec.threads=1 $tp2 --parallel.sequence=true
takes_none 2 bert.yaml --exec.threads=1 $tp2 --distill.teacher=base --distill.hidden=1 --train.steps=40
# shellcheck disable=SC2046
takes_none 2 $(task tokens ner.conll) --exec.threads=1 $shared
echo "$n layouts"
finish
