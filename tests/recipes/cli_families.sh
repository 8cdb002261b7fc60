#!/usr/bin/env bash
# Families of models are rows of a table: nothing outside models/ knows one, and a program with a row more has it in every command.
. "$2/tests/support/support_cli.sh"
example=$4

# ---- who knows a family: its header, its functions, its name
known='hs_gpt([^q]|$)|hs_encoder|hs_[a-z]*bert|"gpt2?"|"(distil|ro|al)?berta?"|"electra"|"ernie"|models/(gpt|encoder|seq2seq|vision)/'
(cd "$source_dir" && grep -rnE --include=*.[ch] --include=*.cu --include=*.cuh "$known" core ops optim data infer recipes) >knows.txt
# Names of other things: GPTQ's, llama.cpp's kinds of tokenizers, who speaks in a chat.
sed -i -E '/^data\/tokenizers\/tok_gguf[.]/d; /^data\/labelled\/read_json[.]c.*who[.]p/d' knows.txt
[ ! -s knows.txt ] || fail "a family is known outside models/: $(head -3 knows.txt)"
grep -qE "$known" "$source_dir"/models/gpt/gpt_keys.c || fail "the pattern finds nothing where there is something"

# ---- the settings: of the chosen family, and of no other
"$example" pretrain --help --all >all.txt
grep -q '^ with model.type gpt2|gpt:$' all.txt && grep -q '^ with model.type twin:$' all.txt || fail "help does not tell the families apart"
grep -q '^  model.gate gelu|tanh ' all.txt && grep -q '^  model.type gpt2|gpt|.*|twin' all.txt || fail "help lacks the example's settings"
"$example" help --man | grep -q '^\.B model.expand ' || fail "the man page lacks the example's settings"
! "$halfstep" help --man | grep -q 'twin' || fail "a program without the family speaks of it"
cat >twin.yaml <<'YAML'
model: { depth: 2, heads: 2, width: 64, expand: 3, context: 32, gate: tanh, type: twin }
data: { train: text.txt }
train: { batch: 4, steps: 60, log_every: 1, eval_every: 20, eval_windows: 8, seed: 3 }
optim: { lr: 3e-3, warmup: 5, betas: [0.9, 0.99] }
checkpoint: { every: 20, keep: 2 }
exec: { threads: 2 }
YAML
expect 2 "twin.yaml:1: model.type is 'twin', allowed: gpt2\|gpt" "$halfstep" pretrain twin.yaml
expect 2 'twin.yaml:1: model.depth is a setting of model.type twin, not of gpt' "$example" pretrain twin.yaml --model.type=gpt
expect 2 'model.layers is a setting of model.type gpt2\|gpt, not of twin' "$example" pretrain twin.yaml --model.layers=3
expect 2 'unknown option --model.exand of pretrain, nearest is --model.expand' "$example" pretrain twin.yaml --model.exand=3
expect 2 'tiny.yaml:1: model.layers is a setting of model.type gpt2\|gpt, not of twin' "$example" pretrain tiny.yaml --model.type twin
expect 2 'twin.yaml:1: model.width is 64, must be a multiple of 8 and of model.heads 3' "$example" pretrain twin.yaml --model.heads=3

# ---- a choice made twice takes nothing of the file back
expect 0 '' "$example" plan twin.yaml --model.type=gpt2 --model.type=twin
grep -q 'depth 2, heads 2, width 64, expand 3, ' stdout.txt || fail "model.type twice: $(head -1 stdout.txt)"

# ---- plan and bench
expect 0 '' "$example" plan twin.yaml
grep -q '^model        Twin, depth 2, heads 2, width 64, expand 3, context 32, vocab ' stdout.txt || fail "plan: $(head -1 stdout.txt)"
expect 0 '' "$example" plan twin.yaml --json
planned=$(field parameters stdout.txt)
expect 0 '' "$example" bench train --model twin.yaml --batch 2 --steps 2 --warmup 1 --dtype fp32 --json
near "$(field loss stdout.txt)" 4.17 1 || fail "bench: the loss on random tokens is not about ln 65"
expect 0 '' "$example" bench generate --model twin.yaml --tokens 4 --steps 1 --warmup 1 --json
[ -n "$(field tokens_per_second stdout.txt)" ] || fail "bench generate"

# ---- train, evaluate, generate
expect 0 '' "$example" pretrain twin.yaml --out run --dtype fp32 --json
[ "$(field parameters stdout.txt)" = "$planned" ] || fail "plan and training count other parameters"
awk -v a="$(field loss run/metrics.jsonl | head -1)" -v b="$(field loss run/metrics.jsonl | tail -1)" 'BEGIN { exit !(b < a - 0.5) }' || fail "the loss did not fall"
grep -q '^  type: twin$' run/config.yaml && grep -q '^  gate: tanh$' run/config.yaml && ! awk '/^[a-z]/ { at = $1 } at == "model:"' run/config.yaml | grep -q 'layers' || fail "config.yaml has other settings"
model=run/checkpoints/step-00000060
for text in '"model_type": "twin"' '"TwinForCausalLM"' '"expansion": 3' '"hidden_act": "tanh"' '"tie_word_embeddings": false' '"norm_eps": 1e-06'; do
  grep -q "$text" $model/config.json || fail "config.json lacks $text: $(cat $model/config.json)"
done
for name in model.embed_tokens.weight lm_head.weight model.layers.1.k_proj.weight model.layers.0.up_proj.weight; do
  grep -aq "\"$name\"" $model/model.safetensors || fail "model.safetensors lacks $name"
done
total=$(wc -c <text.txt)
tail -c +$((total * 9 / 10 + 1)) text.txt >val.txt
expect 0 '' "$example" eval run --data val.txt --json
near "$(field loss stdout.txt)" "$(field val_loss run/metrics.jsonl | tail -1)" 1e-6 || fail "eval differs from the trainer: $(cat stdout.txt)"
expect 0 '' "$example" generate run --prompt 'the quick' --temperature 0 --max-tokens 20 --json
grep -o '"ids":\[[^]]*\]' stdout.txt >ids1
[ "$(tr -cd , <ids1 | wc -c)" -eq 19 ] || fail "not 20 ids"
rm -rf bare && cp -r $model bare && rm -r bare/train
expect 0 '' "$example" generate bare --prompt 'the quick' --temperature 0 --max-tokens 20 --json --dtype fp32
cmp -s ids1 <(grep -o '"ids":\[[^]]*\]' stdout.txt) || fail "the model folder alone generates other ids"
expect 2 '"model_type" is "twin", supported: gpt2' "$halfstep" eval run --data val.txt
sed -i 's/"tie_word_embeddings": false/"tie_word_embeddings": true/' bare/config.json
expect 2 '"tie_word_embeddings" is true: a head that is the embedding, supported: false' "$example" eval bare --data val.txt

# ---- goes on bit for bit
expect 0 '' "$example" pretrain twin.yaml --out half --dtype fp32 --train.steps=60 --checkpoint.keep=9
rm -rf half/checkpoints/step-00000060 half/checkpoints/step-00000040
echo step-00000020 >half/checkpoints/LATEST
expect 0 '' "$example" pretrain twin.yaml --out half --dtype fp32
cmp -s <(losses run/metrics.jsonl) <(losses half/metrics.jsonl) || fail "a resumed run has other losses"
cmp -s $model/model.safetensors half/checkpoints/step-00000060/model.safetensors || fail "a resumed run has other weights"
expect 2 'model.expand is 2, but half/checkpoints/step-00000060 has 3' "$example" pretrain twin.yaml --out half --dtype fp32 --model.expand=2
expect 2 'model.type is gpt2, but half/checkpoints/step-00000060 has twin' "$example" pretrain tiny.yaml --out half --dtype fp32

# ---- weights taken over: family, shape and words come with them
grep -v '^model' tiny.yaml >bare.yaml
expect 0 '' "$example" pretrain bare.yaml --out tuned --dtype fp32 --train.init_from=run --train.steps=5 --optim.lr=1e-5 --optim.warmup=0
near "$(field val_loss tuned/metrics.jsonl | tail -1)" "$(field val_loss run/metrics.jsonl | tail -1)" 0.2 || fail "train.init_from did not take the weights over"
grep -q '^  gate: tanh$' tuned/config.yaml || fail "train.init_from did not take model.gate over"
expect 2 'model.gate is gelu, but train.init_from' "$example" pretrain twin.yaml --out tuned2 --train.init_from=run --model.gate=gelu
expect 2 'model.layers is a setting of model.type gpt2, but train.init_from' "$example" pretrain tiny.yaml --out tuned2 --train.init_from=run
expect 2 'model.type is gpt2, but train.init_from' "$example" pretrain bare.yaml --model.type=gpt2 --out tuned2 --train.init_from=run

# ---- and the family beside it is what it was
expect 0 '' "$halfstep" pretrain tiny.yaml --out one --dtype fp32 --train.steps=10
expect 0 '' "$example" pretrain tiny.yaml --out two --dtype fp32 --train.steps=10
cmp -s <(losses one/metrics.jsonl) <(losses two/metrics.jsonl) || fail "a row more changes the first row"
finish
