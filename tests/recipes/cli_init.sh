#!/usr/bin/env bash
# train.init_from: weights go on with the tokenizer they were trained with. Another one, one that cannot be read, and none at all.
. "$2/tests/support/support_cli.sh"

# a GPT on BPE, as the Hub's older folders are: tokenizer.json without a type, merges as "a b"
"$halfstep" tokenizer train --type bpe --vocab-size 300 text.txt -o tok >/dev/null || fail 'tokenizer train'
"$halfstep" tokenizer train --type bpe --vocab-size 310 text.txt -o tok310 >/dev/null || fail 'tokenizer train'
expect 0 '' "$halfstep" pretrain tiny.yaml --data.tokenizer=tok --out base --train.steps=30 --quiet
cp -r "base/checkpoints/$(cat base/checkpoints/LATEST)" model && rm -rf model/train
sed -E '/^ *"(type": "BPE|byte_fallback|ignore_merges)/d' tok/tokenizer.json | tr '\n' ' ' |
  sed -E 's/\[ +"((\\.|[^"\\])*)", +"((\\.|[^"\\])*)" +\]/"\1 \3"/g' >model/tokenizer.json
grep -q '"merges": \[ *"[^"]* [^"]*", *"' model/tokenizer.json && ! grep -q '"BPE"' model/tokenizer.json || fail 'no older tokenizer.json was made'
"$halfstep" tokenize --tokenizer tok --ids text.txt >want.ids
"$halfstep" tokenize --tokenizer model --ids text.txt | cmp -s - want.ids || fail 'without model.type: other ids'
cat >ft.yaml <<'YAML'
data: { train: text.txt }
train: { batch: 4, steps: 2, log_every: 1, eval_every: 0 }
optim: { lr: 1e-6 }
exec: { threads: 2 }
amp: { policy: fp32 }
YAML
first() { field loss "$1/metrics.jsonl" | head -1; }
run() { # OUT ARGUMENTS...: trains; the first loss is in $loss
  local out=$1
  shift
  expect 0 '' "$halfstep" pretrain ft.yaml --out "$out" --train.init_from=model --quiet "$@"
  loss=$(first "$out")
}
no() { # REGEX ARGUMENTS...: refused, and nothing written
  local regex=$1
  shift
  expect 2 "$regex" "$halfstep" pretrain ft.yaml --out no --train.init_from=model "$@"
  [ ! -e no ] || fail "a folder was made: $*"
}

# its own tokenizer, and the same one from elsewhere
run own
own=$loss
awk -v l="$own" 'BEGIN { exit !(l < 4.5) }' || fail "the weights do not know their tokens: first loss $own, ln 300 = 5.70"
[ ! -s stderr.txt ] || fail "a word on stderr: $(cat stderr.txt)"
for same in tok model base; do
  run "same-$same" "--data.tokenizer=$same"
  [ "$loss" = "$own" ] || fail "data.tokenizer $same: $loss, not $own"
done
mkdir older && cp tok/vocab.json tok/merges.txt older
run older --data.tokenizer=older
[ "$loss" = "$own" ] || fail "vocab.json with merges.txt: $loss, not $own"
expect 0 '' "$halfstep" pretrain own/config.yaml --out again --quiet
[ "$(first again)" = "$own" ] || fail "the resolved configuration: $(first again), not $own"
run own --train.steps=3 # goes on
grep -q '"step":3' own/metrics.jsonl || fail 'a run that took its tokenizer over does not go on'
expect 0 '' "$halfstep" pretrain ft.yaml --out own --train.steps=4 --quiet --model.{layers,heads}=2 --model.width=64 --model.context=32
grep -q '"step":4' own/metrics.jsonl || fail 'going on without train.init_from: the tokenizer of the run is there'

mkfifo pipe
expect 2 'pipe: is a pipe; a checkpoint is a folder' "$halfstep" pretrain ft.yaml --out no --train.init_from=pipe
expect 2 'pipe: is a pipe; a checkpoint is a folder' "$halfstep" generate pipe --prompt to

# plan says what that would run: the shape of the weights, not that of the settings
expect 0 '' "$halfstep" plan ft.yaml --train.init_from=model
grep -q '^model        GPT, layers 2, heads 2, width 64, context 32, vocab 300' stdout.txt || fail "plan: $(head -1 stdout.txt)"
expect 0 '' "$halfstep" plan ft.yaml --train.init_from=model --json
planned=$(grep -o '^{"parameters":[0-9]*' stdout.txt)
expect 0 '' "$halfstep" pretrain ft.yaml --out planned --train.init_from=model --json
grep '"event":"start"' stdout.txt | grep -qF "${planned#?}," || fail "plan: $planned, pretrain: $(grep '"event":"start"' stdout.txt)"
expect 2 'model.layers is 3, but train.init_from .*model has 2' "$halfstep" plan ft.yaml --train.init_from=model --model.layers=3
expect 2 'data.tokenizer is byte .* were trained with another' "$halfstep" plan ft.yaml --train.init_from=model --data.tokenizer=byte
expect 2 'model.vocab is 300, that of train.init_from .*model, but the tokenizer has 310 tokens' "$halfstep" plan ft.yaml --train.init_from=model --data.tokenizer=tok310 --train.init_tokenizer=replace
expect 2 'nowhere' "$halfstep" plan ft.yaml --train.init_from=nowhere

# another one
other='were trained with another \(bpe, 300 tokens\): --data.tokenizer=auto takes that one, --train.init_tokenizer=replace yours'
no "data.tokenizer is byte \(byte, 256 tokens\), but the weights of train.init_from .*model $other" --data.tokenizer=byte
no "data.tokenizer is char, but the weights .* $other" --data.tokenizer=char
no "data.tokenizer is .*tok310 \(bpe, 310 tokens\), but the weights .* $other" --data.tokenizer=tok310
sed 's/train: text.txt/train: text.txt, tokenizer: byte/' ft.yaml >byte.yaml
expect 2 '^halfstep: .*byte.yaml:1: data.tokenizer is byte' "$halfstep" pretrain byte.yaml --out no --train.init_from=model
expect 2 'data.tokenizer is byte .* but the weights of own/checkpoints/step-[0-9]* were trained with another' "$halfstep" pretrain byte.yaml --out own --train.init_from=model --train.steps=5
no 'train.init_tokenizer is .keep_it., allowed: keep\|replace|train.init_tokenizer is' --train.init_tokenizer=keep_it

# asked for
run replaced --data.tokenizer=byte --train.init_tokenizer=replace
grep -q '^warning: train.init_tokenizer replace: the embedding rows of .*model mean the tokens of data.tokenizer byte' stderr.txt || fail "no word: $(cat stderr.txt)"
[ "$("$halfstep" generate replaced --prompt 'to' --max-tokens 1 --json | grep -o '"prompt_ids":\[[^]]*\]')" = '"prompt_ids":[116,111]' ] || fail 'replaced: the run is not on bytes'
run replaced --data.tokenizer=byte --train.init_tokenizer=replace --train.steps=3
grep -q '"step":3' replaced/metrics.jsonl || fail 'a run with a replaced tokenizer does not go on'
no 'model.vocab is 300, that of train.init_from .*model, but the tokenizer has 310 tokens' --data.tokenizer=tok310 --train.init_tokenizer=replace
no 'replace, but data.tokenizer is auto' --train.init_tokenizer=replace
expect 2 'replace, but train.init_from is not set' "$halfstep" pretrain tiny.yaml --out no --data.tokenizer=byte --train.init_tokenizer=replace

# token stores know theirs
"$halfstep" prepare --tokenizer older -o store text.txt --quiet >/dev/null || fail prepare
"$halfstep" prepare --tokenizer tok310 -o store310 text.txt --quiet >/dev/null || fail prepare
run stored --data.train=store.bin
no 'store310.bin was made with another tokenizer: [0-9a-f]{16} with 310 tokens, and .*model is [0-9a-f]{16} with 300' --data.train=store310.bin
no 'store310.bin was made with another tokenizer' --data.train=store.bin:0.5,store310.bin:0.5
no "tok310 .*but the weights .* $other" --data.train=store310.bin --data.tokenizer=tok310

# one that cannot be read takes no other's place
break_it() { rm -rf bad && cp -r model bad && "$@"; }
refused() { # REGEX: by everything that needs the tokenizer
  expect 2 "the tokenizer of train.init_from cannot be read: .*$1" "$halfstep" pretrain ft.yaml --out no --train.init_from=bad
  expect 2 "the tokenizer of train.init_from cannot be read: .*$1" "$halfstep" pretrain ft.yaml --out no --train.init_from=bad --data.tokenizer=tok
  expect 2 "$1" "$halfstep" generate bad --prompt to
  expect 2 "$1" "$halfstep" eval bad --data text.txt
  expect 2 "$1" "$halfstep" tokenize --tokenizer bad text.txt
  expect 2 "$1" "$halfstep" prepare --tokenizer bad -o none text.txt
}
break_it cp /dev/null bad/tokenizer.json
refused 'bad/tokenizer.json:'
# shellcheck disable=SC2016
break_it sh -c 'printf "{\"model\":{\"unk_id\":0,\"vocab\":[[\"<unk>\",0.0]]}}" >bad/tokenizer.json'
refused 'bad/tokenizer.json of type Unigram: not supported'
break_it rm bad/tokenizer.json bad/vocab.json
refused 'bad/vocab.json: no such file, beside merges.txt'
break_it rm bad/tokenizer.json bad/vocab.json bad/merges.txt
: >bad/tokenizer.model
refused 'bad/tokenizer.model is a tokenizer of SentencePiece'

# none at all: which it was is for the user to say
rm bad/tokenizer.model
expect 2 'train.init_from .*bad has no tokenizer .*name the one its weights were trained with, --data.tokenizer=FOLDER' "$halfstep" pretrain ft.yaml --out no --train.init_from=bad
rm -f bad/tokenizer_config.json
expect 2 'train.init_from .*bad has no tokenizer' "$halfstep" pretrain ft.yaml --out no --train.init_from=bad
expect 2 'nor vocab.txt, nor vocab.json with merges.txt' "$halfstep" eval bad --data text.txt
expect 0 '' "$halfstep" pretrain ft.yaml --out named --train.init_from=bad --data.tokenizer=tok
[ "$(first named)" = "$own" ] || fail "named where there was none: $(first named), not $own"
grep -q 'has no tokenizer; data.tokenizer .*tok is taken for the one its weights were trained with' stdout.txt stderr.txt || fail 'no word on the tokenizer that was named'
cp tok/vocab.json tok/merges.txt bad # only the older form
expect 0 '' "$halfstep" pretrain ft.yaml --out half --train.init_from=bad --quiet
[ "$(first half)" = "$own" ] || fail "vocab.json with merges.txt in the model's folder: $(first half), not $own"

# a tokenizer with more tokens than the model has rows
rm bad/vocab* bad/merges* && cp tok310/tokenizer.json bad
expect 2 'model.vocab is 300, that of train.init_from .*bad, but the tokenizer has 310 tokens' "$halfstep" pretrain ft.yaml --out no --train.init_from=bad
expect 2 "text.txt: token [0-9]+ has id 3[0-9]{2} of the tokenizer's 310, and the model's vocabulary ends at 299" "$halfstep" eval bad --data text.txt
expect 2 'id 3[0-9]{2}.* outside the vocabulary|outside' "$halfstep" generate bad --prompt "$(head -c 400 text.txt)"
[ ! -e no ] || fail 'a refused run made a folder'
finish
