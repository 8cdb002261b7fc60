#!/usr/bin/env bash
# Fine-tuning keeps what training promises: the same bits from two runs, any threads and submission, behind a kill in the middle of an epoch
# and in whatever stage of unfreezing; epochs, early stopping, seeds; what is wrong is one line.
. "$2/tests/support/support_cli.sh"
. "$2/tests/support/support_labelled.sh"

awk 'BEGIN { RS = ""; ORS = "\n\n" } NR <= 600' train/ner.conll >fewer && mv fewer train/ner.conll
run() { finetune tokens ner.conll "$1" --train.epochs=2 --model.dropout=0.1 --train.log_every=1 --train.tensorboard=false "${@:2}"; }
weights() { cat "$1/checkpoints/$(cat "$1/checkpoints/LATEST")/model.safetensors"; }
same() { cmp -s <(weights "$1") <(weights "$2") || fail "$1 and $2 have other weights"; }

# ---- epochs: 600 examples in batches of 32 are 19 steps, the last of 24
expect 0 '' run one
[ "$(ls one/checkpoints | grep -c step)" -ge 1 ] && [ -d one/checkpoints/step-00000038 ] || fail "2 epochs are not 38 steps: $(ls one/checkpoints)"
[ "$(grep -c val_f1 one/metrics.jsonl)" -eq 2 ] || fail "not one evaluation an epoch"
grep '"step":19,' one/metrics.jsonl | grep -q val_f1 || fail "no evaluation at the end of the first epoch"
grep -q '^  steps: 38$' one/config.yaml && grep -q '^  epochs: 2$' one/config.yaml || fail "the resolved configuration lacks steps and epochs"
json_lines one/metrics.jsonl
for file in report/report.txt report/scores.json report/confusion.json loss.png; do [ -s one/$file ] || fail "no $file"; done

# ---- the same bits
expect 0 '' run two && same one two
expect 0 '' run threads --threads 1 && same one threads
expect 0 '' run stepped --exec.mode=step && same one stepped
expect 0 '' run bulk --exec.bulk_size=7 && same one bulk
expect 0 '' "$halfstep" finetune one/config.yaml --out config && same one config
expect 0 '' "$halfstep" pretrain one/config.yaml --out config2 && same one config2
cmp -s <(losses one/metrics.jsonl) <(losses config/metrics.jsonl) || fail "the resolved configuration gives other losses"

# ---- kill -9 in the middle of an epoch, again and again
killed() { # OUT LINES: killed when metrics.jsonl has so many lines
  instead=exec run "$1" --checkpoint.every=5 >/dev/null 2>&1 & # of the shell
  local pid=$!
  for _ in $(seq 600); do
    [ -e "$1/metrics.jsonl" ] && [ "$(wc -l <"$1/metrics.jsonl")" -ge "$2" ] && break
    kill -0 $pid 2>/dev/null || break
    sleep 0.02
  done
  kill -9 $pid 2>/dev/null
  wait $pid 2>/dev/null
}
for lines in 6 15 28; do killed hit $lines; done
[ ! -d hit/checkpoints/step-00000038 ] || echo "the run was over before it was killed" # a slow shell proves less
expect 0 '' run hit --checkpoint.every=5
same one hit
cmp -s <(losses one/metrics.jsonl) <(losses hit/metrics.jsonl) || fail "a killed run has other losses"
cmp -s one/report/scores.json hit/report/scores.json || fail "a killed run has another report"

# ---- layers thaw from the top: two layers, embeddings last; then on from the middle of it
thaw() { finetune tokens ner.conll "$1" --train.epochs=3 --train.unfreeze=0.5 --train.tensorboard=false --train.log_every=1 "${@:2}"; }
expect 0 '' thaw slow
grep -c 'parameters are trained from here on' stdout.txt >thawed.txt
[ "$(cat thawed.txt)" -eq 3 ] || fail "thawed $(cat thawed.txt) times, not 3: $(cat stdout.txt)"
expect 0 '' thaw part --checkpoint.every=5 --checkpoint.keep=99
same slow part
for stop in 00000005 00000015; do
  rm -rf again && cp -r part again
  for step in again/checkpoints/step-*; do [[ ${step##*-} > $stop ]] && rm -rf "$step"; done
  echo step-$stop >again/checkpoints/LATEST
  expect 0 '' thaw again --checkpoint.every=5
  same slow again
done
expect 0 '' "$halfstep" plan part/config.yaml --json
expect 2 'train.unfreeze is 1, but task.kind is none' "$halfstep" pretrain bert.yaml --out no --train.unfreeze=1

# ---- rates by layer: with none for all but the head, little is learned; a rate of 1 for all is the run without
expect 0 '' run flat --optim.layer_decay=1 && same one flat
expect 0 '' run steep --optim.layer_decay=0.01
cmp -s <(weights one) <(weights steep) && fail "optim.layer_decay changes nothing"
expect 2 'optim.layer_decay is 1.5' run no --optim.layer_decay=1.5

# ---- weights of classes and smoothed labels are other losses
base=$(field loss one/metrics.jsonl | sed -n 5p)
for more in --task.class_weights=balanced "--task.class_weights=list --task.weights=1,2,2,2,1" --task.label_smoothing=0.1; do
  expect 0 '' finetune tokens ner.conll other $more --train.steps=5 --model.dropout=0.1 --train.log_every=1 --resume none --overwrite
  [ -n "$(field loss other/metrics.jsonl | sed -n 5p)" ] && [ "$(field loss other/metrics.jsonl | sed -n 5p)" != "$base" ] || fail "$more: the same loss"
done
expect 2 'task.class_weights is balanced, but model.crf is true: a chain' run no --task.class_weights=balanced --model.crf=true
expect 2 'task.label_smoothing is 0.1, but model.crf is true' run no --task.label_smoothing=0.1 --model.crf=true
for seeds in 1,1 1..3,2; do expect 2 'seed [12] is there twice' run no --seeds $seeds; done
for seeds in ..5 0.. 1,x; do expect 2 'a list like 1..5 or 1,2,7' run no --seeds $seeds; done
expect 2 '"a" is given as the text and as the second text' "$halfstep" finetune lm --init_from writer --data.train train/chat.jsonl --task.text a --task.text2 a --data.val 0 --out no
expect 2 'task.weights has 2 numbers, but there are 5 classes: O, B-LOC' run no --task.class_weights=list --task.weights=1,2

# ---- enough is enough
expect 0 '' run early --optim.lr=0 --train.epochs=9 --train.patience=2 --json
[ "$(grep -c val_f1 early/metrics.jsonl)" -eq 3 ] || fail "patience 2 ended behind $(grep -c val_f1 early/metrics.jsonl) evaluations, not 3"
expect 0 '' run early --optim.lr=0 --train.epochs=9 --train.patience=2 --json
[ "$(grep -c '"event":"step"' stdout.txt)" -eq 0 ] || fail "a run that had enough went on"

# ---- another score to judge by; a share of the file to validate on
expect 0 '' run judged --task.metric=accuracy --train.epochs=1 --json
grep -q '"metric":"accuracy"' stdout.txt || fail "not judged by accuracy"
expect 0 'goes on with task.metric loss, was accuracy: the best so far counts no longer' run judged --task.metric=loss --train.epochs=2 --json
grep -q '"metric":"loss"' stdout.txt || fail "not judged by loss"
expect 0 '' "$halfstep" finetune sequence --init_from base --data.train train/sent.tsv --out share --dtype fp32 --train.steps 3 --json
grep -q '"event":"result"' stdout.txt || fail "no validation on a tenth of the data"
[ "$(field examples share/report/scores.json | head -1 || true)" ] || grep -q '"examples": 120' share/report/scores.json || fail "not a tenth: $(cat share/report/scores.json)"

# ---- seeds
expect 0 '' run seeds --seeds 1..2,7 --train.epochs=1 --json
[ -d seeds/seed-1 ] && [ -d seeds/seed-2 ] && [ -d seeds/seed-7 ] || fail "not a folder for each seed: $(ls seeds)"
grep '"event":"seeds"' stdout.txt | grep -q '"n":3' || fail "no line of seeds: $(tail -1 stdout.txt)"
"$check_json" lines <(tr -d '\n' <seeds/seeds.json) 2>error.txt || fail "seeds.json: $(cat error.txt)"
cmp -s <(weights seeds/seed-1) <(weights seeds/seed-2) && fail "two seeds have the same weights"
expect 0 '' run seeds --seeds 1..2,7 --train.epochs=1
grep -q '3 seeds *f1 mean' stdout.txt || fail "a finished list of seeds is not told again: $(tail -3 stdout.txt)"

# ---- what is wrong
expect 2 'sequnce is no task .*nearest is sequence' "$halfstep" finetune sequnce --init_from base --data.train train/sent.tsv
expect 2 'train.init_from is not set' "$halfstep" finetune sequence --data.train train/sent.tsv --out no
expect 2 'nowhere' "$halfstep" finetune sequence --init_from nowhere --data.train train/sent.tsv --out no
expect 2 'data.train is not set' "$halfstep" finetune sequence --init_from base --out no
expect 2 'missing.tsv' "$halfstep" finetune sequence --init_from base --data.train missing.tsv --out no
expect 2 'task.kind is none' "$halfstep" finetune bert.yaml --init_from base --out no
expect 2 'task.kind is lm, but model.type bert' "$halfstep" finetune lm --init_from base --data.train train/chat.jsonl --out no
expect 2 "task.metric is 'acuracy'.*nearest is accuracy" run no --task.metric=acuracy
expect 2 'task.max_query is 9, which is not for task.kind tokens' run no --task.max_query=9
expect 2 'task.labels has O twice' run no --task.labels=O,B-PER,O
expect 2 'train/ner.conll:[0-9]+:.*is not among' run no --task.labels=O,B-PER
expect 2 'both given' run no --train.steps=3
expect 2 'there are phases' run no --phases.0.steps=3
expect 2 'train.patience is 2, but data.val is 0' run no --data.val=0 --train.patience=2
expect 2 'train.eval_every is -1, an epoch' "$halfstep" pretrain bert.yaml --out no --train.eval_every=-1
expect 2 "seeds is '3..1'" run no --seeds 3..1
expect 2 'data.length is 100, but the model has positions for model.context 64' run no --data.length=100
expect 2 'data.packing is ffd' run no --data.packing=ffd
expect 2 'model.task is sequence, but task.kind tokens asks for tokens' run no --model.task=sequence
[ ! -e no ] || fail "a run that was refused left a folder: $(find no)"
sed '0,/B-PER/s/B-PER/B-NEW/' val/ner.conll >val/odd.conll
expect 0 'no example in the training data, only in the validation data: B-NEW' finetune tokens ner.conll odd --data.val=val/odd.conll --train.steps=2
finish
