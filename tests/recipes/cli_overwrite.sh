#!/usr/bin/env bash
# --overwrite of export and import: it takes the place of an export, never of what somebody else put there, nor of what is read.
. "$2/tests/support/support_cli.sh"
golden=$source_dir/tests/golden

cp -r "$golden/encoders/bert" .
{ printf '[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n'; printf 'w%d\n' $(seq 5 60); } >bert/vocab.txt
expect 0 '' "$halfstep" export bert --to onnx -o onnx
sums() { find "$@" -type f -exec sha256sum {} + | sort; }

# ---- another one's files
for name in dev.json notes.onnx adapter_model.safetensors model-1-of-2.safetensors other.gguf .config.json; do
  mkdir theirs
  echo '{"mine": 1}' >"theirs/$name"
  cp theirs/"$name" want
  expect 2 "theirs: holds \"$name\", which no export writes: a folder like that is not replaced" "$halfstep" export bert --to onnx --overwrite -o theirs
  expect 2 "theirs: holds \"$name\"" "$halfstep" import onnx --overwrite -o theirs
  cmp want "theirs/$name" && [ "$(ls -A theirs | wc -l)" = 1 ] || fail "$name is lost"
  rm -r theirs
done
mkdir theirs && for name in model.gguf config.json model-00001-of-00002.safetensors generation_config.json added_tokens.json; do echo old >theirs/$name; done
expect 0 '' "$halfstep" export bert --to onnx --overwrite -o theirs
[ -s theirs/model.onnx ] && [ ! -e theirs/model.gguf ] || fail "an export is not replaced: $(ls theirs)"

# ---- what is read
ln -s bert link
ln -s onnx olink
sums bert onnx >want
for to in bert ./bert/ "$PWD/bert" bert/../bert link; do
  expect 2 'bert is read from there: what is written goes into another folder' "$halfstep" export bert --to onnx --overwrite -o "$to"
done
expect 2 'bert: link is read from there' "$halfstep" export link --to safetensors --overwrite -o bert
for from in onnx onnx/model.onnx olink/model.onnx; do
  expect 2 'is read from there: what is written goes into another folder' "$halfstep" import $from --overwrite -o onnx
done
expect 2 'onnx is read from there' "$halfstep" import theirs --tokenizer onnx --overwrite -o onnx
expect 2 'onnx/config.json is read from there' "$halfstep" import theirs --config onnx/config.json --overwrite -o onnx
sums bert onnx | cmp - want || fail "what was read is changed"
[ -z "$(find . -name '*.tmp-*')" ] || fail "something is left"
finish
