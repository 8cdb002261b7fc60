#!/usr/bin/env bash
# Every task is learned by a tiny model from examples whose answers follow from their words; its scores and report are there, `eval` says the
# same, and the checkpoint is what transformers calls it. On another device it is trained for an epoch, and nobody asks what was learned.
. "$2/tests/support/support_cli.sh"
. "$2/tests/support/support_labelled.sh"

learned() { [ -n "$again" ] || at_least "$@"; }
while read -r task file metric least epochs class more; do
  expect 0 '' finetune $task $file $task --json --train.epochs=${again:-$epochs} $more
  json_lines stdout.txt
  grep -q "\"metric\":\"$metric\"" stdout.txt || fail "$task: not judged by $metric: $(tail -1 stdout.txt)"
  learned "$(score)" $least || fail "$task: $metric $(score), should be $least"
  best=$(score)
  grep -q "\"$class\"" $task/checkpoints/BEST/config.json 2>/dev/null || grep -q "\"$class\"" $task/checkpoints/$(cat $task/checkpoints/BEST)/config.json ||
    fail "$task: not a $class: $(cat $task/checkpoints/$(cat $task/checkpoints/BEST)/config.json)"
  grep -q "^$metric " $task/report/report.txt || fail "$task: report without $metric: $(cat $task/report/report.txt)"
  grep -q "\"$metric\"" $task/report/scores.json || fail "$task: scores.json without $metric"
  expect 0 '' "$halfstep" eval $task/checkpoints/BEST --data val/$file --json --report again
  near "$(field $metric stdout.txt)" $best 1e-9 || fail "$task: eval says $metric $(field $metric stdout.txt), training said $best"
  cmp -s again/scores.json $task/report/scores.json || fail "$task: eval's report has other scores"
  rm -rf again
done <<'TABLE'
sequence sent.tsv accuracy 0.98 3 BertForSequenceClassification
regression value.tsv pearson 0.95 3 BertForSequenceClassification
multilabel multi.jsonl f1_micro 0.99 3 BertForSequenceClassification
tokens ner.conll f1 0.99 3 BertForTokenClassification
pair pair.tsv accuracy 0.9 35 BertForSequenceClassification
span qa.json f1 98 12 BertForQuestionAnswering --task.max_query=12
TABLE
grep -q '^PER ' tokens/report/report.txt || fail "tokens: no table by type: $(cat tokens/report/report.txt)"
grep -q '"B-LOC"' tokens/checkpoints/$(cat tokens/checkpoints/BEST)/config.json || fail "tokens: labels are not in config.json"

# ---- tags as a chain: its likeliest path is what is judged
expect 0 '' finetune tokens ner.conll chain --model.crf=true --json --train.epochs=${again:-3}
learned "$(score)" 0.99 || fail "a chain: f1 $(score)"
chain=$(score)
expect 0 '' "$halfstep" eval chain/checkpoints/BEST --data val/ner.conll --json
near "$(field f1 stdout.txt)" $chain 1e-9 || fail "a chain: eval says $(field f1 stdout.txt), training $chain"
grep -q '^HasAns_f1 ' span/report/report.txt || fail "span: no scores of those that have an answer: $(cat span/report/report.txt)"

# ---- a model that writes: the loss of the responses falls, that of the prompts is nobody's
expect 0 '' "$halfstep" finetune lm --init_from writer --data.train train/chat.jsonl --data.val val/chat.jsonl --out lm --dtype fp32 --threads 2 --optim.lr 3e-3 --json
first=$(field val_loss lm/metrics.jsonl | head -1) last=$(field val_loss lm/metrics.jsonl | tail -1)
awk -v a="$first" -v b="$last" 'BEGIN { exit !(b < 0.8 * a) }' || fail "lm: loss from $first to $last"
expect 0 '' "$halfstep" eval lm --data val/chat.jsonl --json
near "$(field loss stdout.txt)" "$last" 1e-6 || fail "lm: eval says $(field loss stdout.txt), training $last"
sed 's/plus/minus/' val/chat.jsonl >other.jsonl # other prompts are no other targets
expect 0 '' "$halfstep" eval lm --data other.jsonl --json
[ "$(field tokens stdout.txt)" -gt 0 ] || fail "lm: no tokens"

# ---- other families, the head drawn anew, and a head that goes on with its classes
expect 0 '' finetune sequence sent.tsv more --init_from sequence/checkpoints/BEST --train.epochs=1 --json
grep -q 'begin anew' stderr.txt && fail "a head for the same task began anew"
learned "$(score)" 0.98 || fail "going on from a task's checkpoint: accuracy $(score)"
expect 0 'tensors of heads begin anew' finetune sequence sent.tsv anew --init_from sequence/checkpoints/BEST --task.head=new --train.steps=1 --json
expect 0 'tensors of heads begin anew' finetune tokens ner.conll tags --init_from sequence/checkpoints/BEST --train.steps=1 --json
expect 2 'pair.tsv:1: label .* is not among the 2 .*task.head=new draws another' finetune sequence pair.tsv other --init_from sequence/checkpoints/BEST
expect 0 '' "$halfstep" finetune sequence --init_from writer --data.train train/sent.tsv --data.val val/sent.tsv --out gpt --dtype fp32 --optim.lr 1e-3 --json
learned "$(score)" 0.9 || fail "GPT-2 with a head: accuracy $(score)"
finish
