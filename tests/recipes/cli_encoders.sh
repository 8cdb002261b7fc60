#!/usr/bin/env bash
# Every family of encoders from a text to a checkpoint, evaluated, resumed and planned; weights to start from under other heads.
. "$2/tests/support/support_cli.sh"

awk 'BEGIN {
  srand(7); split("cat dog bird fish horse", who); split("eats sees likes hears", does); split("bread milk grass seeds apples", what); split("house garden field river", at)
  for (d = 0; d < 120; d++) {
    for (s = 0; s < 6; s++) {
      i = int(rand() * 5) + 1
      printf "The %s %s the %s in the %s. ", who[i], does[(i + s) % 4 + 1], what[i], at[i % 4 + 1]
    }
    printf "\n\n"
  }
}' >docs.txt
settings() { # family, objective
  cat <<YAML
model: { type: $1, layers: 2, heads: 2, width: 64, context: 64 }
data: { train: docs.txt, val: 0.1, tokenizer: "wordpiece:200", length: 48, objectives: [ { kind: $2, masking: token } ] }
train: { batch: 4, steps: 8, log_every: 1, eval_every: 8, eval_windows: 8, seed: 3 }
optim: { lr: 3e-3, warmup: 2, betas: [0.9, 0.99] }
checkpoint: { every: 4, keep: 9 }
exec: { threads: 2 }
amp: { policy: fp32 }
YAML
}
while read -r family objective class; do
  settings $family $objective >$family.yaml
  expect 0 '' "$halfstep" pretrain $family.yaml --out $family --json
  model=$family/checkpoints/step-00000008
  grep -q "\"$class\"" $model/config.json && grep -q "\"model_type\": \"$family\"" $model/config.json || fail "$family: $(cat $model/config.json)"
  parameters=$(field parameters stdout.txt)
  # before it is trained the vocabulary may be larger than the text gives, and nothing else is
  vocab=$(grep -o '"vocab_size": [0-9]*' $model/config.json | grep -o '[0-9]*')
  expect 0 '' "$halfstep" plan $family.yaml --json --model.vocab=$vocab
  [ "$(field parameters stdout.txt)" = "$parameters" ] || fail "$family: plan and training count other parameters"
  expect 0 '' "$halfstep" plan $family/config.yaml --json
  [ "$(field parameters stdout.txt)" = "$parameters" ] || fail "$family: plan and training count other parameters"
  expect 0 '' "$halfstep" eval $family --data docs.txt --json
  [ -n "$(field loss stdout.txt)" ] || fail "$family: no loss"
  rm -rf half && cp -r $family half && rm -rf half/checkpoints/step-00000008 && echo step-00000004 >half/checkpoints/LATEST
  expect 0 '' "$halfstep" pretrain $family.yaml --out half
  cmp -s $model/model.safetensors half/checkpoints/step-00000008/model.safetensors || fail "$family: a resumed run has other weights"
  expect 2 'encoder|writes no texts' "$halfstep" generate $model --prompt 'The cat' --max-tokens 4
done <<'TABLE'
bert next BertForPreTraining
roberta sentences RobertaForMaskedLM
roberta-prelayernorm sentences RobertaPreLayerNormForMaskedLM
distilbert sentences DistilBertForMaskedLM
albert order AlbertForPreTraining
electra sentences ElectraForMaskedLM
ernie next ErnieForPreTraining
TABLE

# ---- positions are counted from behind the padding token, which is the tokenizer's
grep -q '"pad_token_id": 0' roberta/checkpoints/step-00000008/config.json && grep -q '"max_position_embeddings": 65' roberta/checkpoints/step-00000008/config.json ||
  fail "roberta: pad and positions: $(cat roberta/checkpoints/step-00000008/config.json)"
expect 2 "model.pad is 1, but the tokenizer's padding token is 0" "$halfstep" pretrain roberta.yaml --out other --model.pad=1

# ---- weights to start from bring their heads; settings that speak of heads have the last word
start() { "$halfstep" pretrain "$1" --out "$2" --train.init_from="$3" --train.steps=4 "${@:4}"; }
sed 's/type: bert, layers: 2, heads: 2, width: 64, context: 64/type: bert/; s/tokenizer: [^,]*, //' bert.yaml >from.yaml
bert=bert/checkpoints/step-00000008
expect 0 '' start from.yaml more $bert
grep -q 'BertForPreTraining' more/checkpoints/step-00000004/config.json || fail "the heads of the weights are gone"
sed 's/kind: next/kind: sentences/' from.yaml >alone.yaml
expect 0 'bert/.* has 2 tensors of heads that the model has not|init/.* has 4 tensors|left out' start alone.yaml fewer $bert --model.next=false --model.mlm=true
grep -q 'BertForMaskedLM' fewer/checkpoints/step-00000004/config.json || fail "a head that was left out is there"
expect 0 'begin anew' start from.yaml again fewer/checkpoints/step-00000004 --model.next=true --model.mlm=true
grep -q 'BertForPreTraining' again/checkpoints/step-00000004/config.json || fail "a head that began anew is not there"

# ---- an encoder without heads, as sentence encoders are published: what the refusal says can be done
cp -r $bert bare && sed -i 's/"BertForPreTraining"/"BertModel"/' bare/config.json && rm -r bare/train
n=$(od -An -tu8 -N8 $bert/model.safetensors | tr -d ' ') # its heads under names of buffers that are left out
tail -c +9 $bert/model.safetensors | head -c "$n" | sed -E 's/"cls\.([^"]*)"/"cls.\1.embeddings.position_ids"/g' >header
{ le 8 "$(wc -c <header)" && cat header && tail -c +$((n + 9)) $bert/model.safetensors; } >bare/model.safetensors
expect 2 'bare is an encoder without a head: it has no loss to measure. halfstep embed .*--train.init_from=bare --model.mlm=true' "$halfstep" eval bare --data docs.txt
expect 0 '' "$halfstep" embed bare --input docs.txt --json
expect 2 'train.init_from .*bare is an encoder without a head, which has no loss: --model.mlm=true gives it one' start alone.yaml headed bare
expect 2 'without a head, which has no loss: --model.mlm=true' "$halfstep" plan alone.yaml --train.init_from=bare
expect 0 '' start alone.yaml headed bare --model.mlm=true
[ -n "$(field mlm_loss headed/metrics.jsonl | head -1)" ] || fail "an encoder without heads that was given one has no loss of it"
finish
