#!/usr/bin/env bash
# A model on subword text, from plain text to text: a tokenizer of its own, training, evaluation, generation.
. "$2/tests/support/support_cli.sh"

for i in $(seq 1 300); do
  printf 'na\xc3\xafve \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80 %d<|endoftext|>' $((i % 10))
done >texts.txt
expect 0 '' "$halfstep" tokenizer train --type bpe --vocab-size 290 text.txt texts.txt -o bpe
expect 0 '' "$halfstep" pretrain tiny.yaml --data.train=texts.txt --data.tokenizer=bpe --train.steps=400 --out run --quiet
model=run/checkpoints/$(cat run/checkpoints/BEST)
for f in tokenizer.json vocab.json merges.txt config.json generation_config.json; do
  [ -s $model/$f ] || fail "no $f in the checkpoint"
done
for f in config generation_config; do
  grep -q '"eos_token_id": 0,' $model/$f.json || fail "$f.json does not know the end of a text"
done
expect 0 '' "$halfstep" eval run --data texts.txt --json
near "$(field loss stdout.txt)" 0.1 0.2 || fail "loss $(cat stdout.txt)"

# text in, text out: until the end of a text, which is not shown
expect 0 '' "$halfstep" generate run --prompt 'naïve' --temperature 0 --max-tokens 60
grep -qE '^naïve 日本 😀 [0-9]$' stdout.txt || fail "generated: $(head -c 200 stdout.txt)"
# The cache in codes, on memory of the host and on fenced: the same text.
for device in cpu cpu-fenced; do
  expect 0 '' "$halfstep" generate run --prompt 'naïve' --temperature 0 --max-tokens 60 --kv int8 --device $device
  grep -qE '^naïve 日本 😀 [0-9]$' stdout.txt || fail "generated over codes on $device: $(head -c 200 stdout.txt)"
done
expect 0 '' "$halfstep" generate run --prompt '' --temperature 0 --max-tokens 60 --json
grep -qE '"text":"naïve 日本 😀 [0-9]".*"stopped_by":"the stop token"' stdout.txt || fail "empty prompt: $(cat stdout.txt)"
grep -qE '"prompt_ids":\[0\]' stdout.txt || fail "an empty prompt begins with the end of the text before"
expect 0 '' "$halfstep" generate run --prompt 'naïve' --temperature 0 --max-tokens 60 --ignore-end --json
grep -qE '"stopped_by":"as many' stdout.txt || fail "--ignore-end: $(cat stdout.txt)"

# whole characters at any length and temperature
for n in 1 2 3 4 5 6 7 8 9; do
  expect 0 '' "$halfstep" generate run --prompt 'naïve 日' --temperature 5 --seed $n --max-tokens $n --ignore-end
  iconv -f UTF-8 -t UTF-8 stdout.txt >/dev/null 2>&1 || fail "$n tokens are not UTF-8: $(od -c stdout.txt | head -5)"
done

# the older files alone make the same model directory
mkdir older && cp $model/{vocab.json,merges.txt,config.json,model.safetensors} older
expect 0 '' "$halfstep" generate older --prompt 'naïve' --temperature 0 --max-tokens 60
grep -qE '^naïve 日本 😀 [0-9]$' stdout.txt || fail "older files: $(head -c 200 stdout.txt)"

expect 2 "model.vocab is 100, but the tokenizer has" "$halfstep" pretrain tiny.yaml --data.train=texts.txt --data.tokenizer=bpe --model.vocab=100 --out small

# WordPiece goes back to words
expect 0 '' "$halfstep" tokenizer train --type wordpiece --vocab-size 80 text.txt -o pieces
expect 0 '' "$halfstep" pretrain tiny.yaml --data.tokenizer=pieces --train.steps=3 --out words --quiet
expect 0 '' "$halfstep" generate words --prompt 'to be to see' --max-tokens 30
grep -q '^to be to see' stdout.txt && ! grep -q '##' stdout.txt || fail "pieces are not joined: $(cat stdout.txt)"

# ---- what is no text
printf 'To be, or not to be' >be.txt
printf '\x1f\x8b\x08 and so on, not to be read as text' >packed.txt
{ llmc_header 6 && le 2 0 0 0 0 0 0; } >llmc.bin
expect 2 'packed.txt is packed with gzip; unpack it, or let halfstep prepare' "$halfstep" eval run --data packed.txt
expect 2 'llmc.bin is no text but a file of token ids \(llmc\)' "$halfstep" eval run --data llmc.bin
expect 2 'llmc.bin is no text but a file of token ids' "$halfstep" pretrain tiny.yaml --data.train=llmc.bin --out no
[ "$("$halfstep" eval run --data be.txt --json | tr , '\n' | grep '"loss"')" = "$("$halfstep" eval run --data <(cat be.txt) --json | tr , '\n' | grep '"loss"')" ] || fail 'a pipe gives another loss'
finish
