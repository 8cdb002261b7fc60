#!/usr/bin/env bash
# Folders of Hugging Face end to end: chat tokens that survive training, ends of a text, vocabularies of different sizes, edited files, paths.
. "$2/tests/support/support_cli.sh"

# ---- a base model, and its folder with two chat tokens behind the vocabulary, which is padded further
"$halfstep" tokenizer train --type bpe --vocab-size 300 text.txt -o tok >/dev/null || fail 'tokenizer train'
expect 0 '' "$halfstep" pretrain tiny.yaml --data.tokenizer=tok --model.vocab=310 --out base --train.steps=30 --quiet
cp -r "base/checkpoints/$(cat base/checkpoints/LATEST)" chat && rm -rf chat/train chat/tokenizer.json chat/tokenizer_config.json chat/special_tokens_map.json
printf '\xef\xbb\xbf{"<|user|>": 300, "<|end|>": 301}' >chat/added_tokens.json
printf '{"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|end|>", "model_max_length": 1000000000000000019884624838656, "chat_template": "{{ m }}"}' >chat/tokenizer_config.json
printf '{"eos_token_id": [301, 0, 50256]}' >chat/generation_config.json
echo 'a<|user|>wall<|end|>' >chat.txt
ids=$("$halfstep" tokenize --tokenizer chat --ids chat.txt)
[[ $ids =~ ^[0-9]+\ 300\ [0-9\ ]+\ 301$ ]] || fail "chat tokens: $ids"

# ---- training goes on with them, and hands them on
for i in $(seq 100); do printf '<|user|>wall %d<|end|>' $((i % 10)); done >talk.txt
expect 0 '' "$halfstep" pretrain tiny.yaml --model.{layers,heads}=2 --data.train=talk.txt --out tuned --train.init_from=chat --train.steps=200 --quiet --model.vocab=310
new=tuned/checkpoints/$(cat tuned/checkpoints/LATEST)
for form in whole older; do
  cp -r "$new" "$form" && rm -rf "$form/train"
  [ $form = whole ] || rm "$form/tokenizer.json"
  [ "$("$halfstep" tokenize --tokenizer $form --ids chat.txt)" = "$ids" ] || fail "$form: $("$halfstep" tokenize --tokenizer $form --ids chat.txt), not $ids"
done
grep -q '"eos_token_id": \[301, 0\]' "$new/generation_config.json" && grep -q '"eos_token_id": \[301, 0\]' "$new/config.json" || fail 'the list of ends is lost'
grep -q '"chat_template": "{{ m }}"' "$new/tokenizer_config.json" || fail 'the chat template is lost'
grep -q '"eos_token": "<|end|>"' "$new/special_tokens_map.json" || fail 'the name of the end is lost'
expect 0 '' "$halfstep" pretrain tiny.yaml --model.{layers,heads}=2 --data.train=talk.txt --out tuned --train.init_from=chat --train.steps=201 --quiet --model.vocab=310
grep -q '"eos_token_id": \[301, 0\]' tuned/checkpoints/step-00000201/config.json || fail 'going on loses the list of ends'

# ---- generation ends at any of the ends, and begins where texts begin
expect 0 '' "$halfstep" generate tuned --prompt '<|user|>wall' --temperature 0 --max-tokens 40 --json
grep -qE '"text":" [0-9]","tokens_per_second".*"stopped_by":"the stop token"' stdout.txt || fail "does not end at <|end|>: $(cat stdout.txt)"
printf '{"eos_token_id": 299}' >"$new/generation_config.json"
expect 2 'generation_config.json: was edited since it was saved, or is damaged: .*--accept-edited takes it as it is' "$halfstep" generate "$new" --prompt '<|user|>wall'
expect 0 'warning: .*generation_config.json: not as it was saved, accepted' "$halfstep" generate "$new" --accept-edited --prompt '<|user|>wall' --temperature 0 --max-tokens 40 --json
grep -q '"stopped_by":"as many' stdout.txt || fail "ends at what generation_config.json does not name: $(cat stdout.txt)"
expect 0 '' "$halfstep" pretrain tiny.yaml --model.{layers,heads}=2 --data.train=talk.txt --out more --train.init_from="$new" --train.steps=1 --quiet --model.vocab=310 --accept-edited
expect 2 'generation_config.json: was edited' "$halfstep" plan tiny.yaml --train.init_from="$new"
expect 0 'warning: .*accepted' "$halfstep" plan tiny.yaml --model.{layers,heads}=2 --data.train=talk.txt --train.init_from="$new" --accept-edited
expect 0 'warning: .*accepted' "$halfstep" pretrain tiny.yaml --model.{layers,heads}=2 --data.train=talk.txt --out tuned --resume "$new" --train.init_from=chat --train.steps=202 --quiet --model.vocab=310 --accept-edited --overwrite
new=tuned/checkpoints/step-00000202
printf x | dd of="$new/model.safetensors" bs=1 seek=5000 conv=notrunc 2>/dev/null
expect 2 'model.safetensors: checksum .*edited weights are never accepted' "$halfstep" eval "$new" --accept-edited --data talk.txt
expect 2 'model.safetensors: checksum is [0-9a-f]{16}, the manifest says [0-9a-f]{16}$' "$halfstep" eval "$new" --data talk.txt

# ---- three vocabularies: rows of the model without a token are never drawn, tokens without a row are told
for how in '--temperature 0' '--temperature 100 --seed 1' '--temperature 100 --top-k 309 --seed 2' '--temperature 100 --top-p 0.999 --seed 3'; do
  expect 0 '' "$halfstep" generate chat --prompt 'wall' --max-tokens 300 --ignore-end --json $how
  grep -qE '"ids":\[[0-9,]+\],"text":"' stdout.txt || fail "$how: no ids or no text: $(head -c 300 stdout.txt)"
  ! grep -qE '"ids":\[([0-9]+,)*30[2-9][],]' stdout.txt || fail "$how: a row without a token was drawn"
done
expect 0 '' "$halfstep" generate chat --prompt-ids 305,306 --max-tokens 3 --temperature 0 --json
expect 2 "token id 310 of the prompt is outside the model's vocabulary of 310" "$halfstep" generate chat --prompt-ids 310
mkdir larger && cp chat/* larger && printf '{"<|user|>": 300, "<|end|>": 301%s}' "$(for i in $(seq 302 311); do printf ', "<%d>": %d' "$i" "$i"; done)" >larger/added_tokens.json
expect 2 'model.vocab is 310, that of train.init_from .*larger, but the tokenizer has 312 tokens' "$halfstep" pretrain tiny.yaml --model.{layers,heads}=2 --out no --train.init_from=larger --data.train=talk.txt
expect 2 "token id 311 of the prompt is outside the model's vocabulary of 310: the tokenizer's is larger" "$halfstep" generate larger --prompt '<311>'

# ---- in the words of config.json
words() { # REGEX SED: config.json changed
  mkdir -p worded && cp chat/* worded && sed -E "$2" chat/config.json >worded/config.json
  expect 2 "worded/config.json: $1" "$halfstep" eval worded --data text.txt
  expect 2 "worded/config.json: $1" "$halfstep" pretrain tiny.yaml --out no --train.init_from=worded
}
words 'n_embd is 2, allowed 8 to' 's/"n_embd": 64/"n_embd": 2/'
words 'n_embd is 60, not a multiple of 8' 's/"n_embd": 64/"n_embd": 60/'
words 'n_head is 3, which does not divide n_embd 64' 's/"n_head": 2/"n_head": 3/'

# ---- any path, and documents that end with the tokenizer's end
mkdir 'my models; $(x) %s "1"' && cp chat/* 'my models; $(x) %s "1"'
expect 0 '' "$halfstep" eval 'my models; $(x) %s "1"' --data text.txt
expect 0 '' "$halfstep" prepare --tokenizer chat -o ended chat.txt --quiet
"$halfstep" data sample ended.bin --tokenizer chat --json >sample.json
grep -q '301' sample.json || fail "documents do not end with eos_token: $(cat sample.json)"
finish
