#!/usr/bin/env bash
# export and import: what they write and print, that what comes back is what went out, and every way to ask for what cannot be.
. "$2/tests/support/support_cli.sh"
golden=$source_dir/tests/golden

# An encoder with a tokenizer (61 tokens, a context of 20), and a GPT that was trained here with a byte-level BPE.
cp -r "$golden/encoders/bert" .
{ printf '[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n'; printf 'w%d\n' $(seq 5 60); } >bert/vocab.txt
"$halfstep" tokenizer train --vocab-size 300 text.txt -o bpe --quiet >tok.log
"$halfstep" pretrain tiny.yaml --data.tokenizer=bpe --train.steps=20 --out run --quiet >run.log 2>&1 || fail "no run: $(tail -1 run.log)"
texts() { "$halfstep" generate "$1" --prompt 'the quick' --max-tokens 20 --temperature 0 --dtype fp32 --quiet; }
texts run >want.txt
[ -s want.txt ] || fail "generate gives nothing"
nothing_left() { [ -z "$(find . -name '*.tmp-*')" ] && [ ! -e none ] || fail "something is left: $(find . -name '*.tmp-*') $(ls none 2>/dev/null)"; }

# ---- onnx
expect 0 '' "$halfstep" export bert --to onnx -o onnx --json
json_lines stdout.txt
grep -q '"to":"onnx","model":"bert","dtype":"f32","parameters":20031' stdout.txt || fail "export --json: $(cat stdout.txt)"
for f in model.onnx config.json tokenizer.json vocab.txt tokenizer_config.json; do [ -s "onnx/$f" ] || fail "onnx has no $f"; done
for name in input_ids attention_mask token_type_ids prediction_logits seq_relationship_logits bert.encoder.layer.1.output.dense.weight sequence_length; do
  grep -aq "$name" onnx/model.onnx || fail "model.onnx does not say $name"
done
expect 0 '' "$halfstep" export bert --to onnx --hidden --external-data --dtype f16 -o a/b/half
grep -q 'a/b/half: BERT of 20031 parameters (.*), f16 as onnx' stdout.txt || fail "export to onnx in f16: $(cat stdout.txt)"
[ -s a/b/half/model.onnx_data ] && grep -aq last_hidden_state a/b/half/model.onnx && ! grep -aq 'bert.encoder' a/b/half/model.onnx || fail "hidden states in f16"
expect 0 '' "$halfstep" export run --to onnx -o past
grep -aq past_key_values.1.value past/model.onnx || fail "a GPT has no earlier values"
expect 0 '' "$halfstep" export run --to onnx --no-past -o plain
! grep -aq past_key_values plain/model.onnx || fail "--no-past has earlier values"
expect 0 '' "$halfstep" import past -o from-onnx
texts from-onnx | cmp - want.txt || fail "ONNX that came back writes another text"
expect 0 '' "$halfstep" import onnx/model.onnx -o bert-back --json
json_lines stdout.txt
grep -q '"from":"ONNX","model":"BERT","parameters":20031,"tokenizer":true' stdout.txt || fail "import --json: $(cat stdout.txt)"
for d in bert bert-back; do "$halfstep" fill-mask $d 'w5 w6 [MASK] w8' --json >$d.txt; done
cmp bert.txt bert-back.txt || fail "ONNX that came back fills another word"

# ---- gguf
for type in f32 f16 bf16 q8_0; do
  expect 0 '' "$halfstep" export run --to gguf --dtype $type -o gguf-$type
  [ "$(head -c 4 gguf-$type/model.gguf)" = GGUF ] || fail "gguf-$type is none"
  expect 0 '' "$halfstep" import gguf-$type -o from-$type
  texts from-$type >got.txt
  [ -s got.txt ] || fail "GGUF of $type that came back writes nothing"
  case $type in f32 | f16) cmp got.txt want.txt || fail "GGUF of $type that came back writes another text" ;; esac
done
[ "$(stat -c %s gguf-q8_0/model.gguf)" -lt "$(stat -c %s gguf-f16/model.gguf)" ] || fail "q8_0 is not smaller than f16"
expect 0 '^warning: bert: 11 parameters of its heads are left out|^warning: bert: [0-9]+ parameters of its heads' "$halfstep" export bert --to gguf -o gguf-bert
expect 0 '' "$halfstep" import gguf-bert/model.gguf -o from-bert
printf 'w5 w6 w7\nW8 w9 unknown\n' >lines.txt
for d in bert from-bert; do "$halfstep" embed $d --input lines.txt --json >$d.json 2>stderr.txt; done
cmp bert.json from-bert.json || fail "a BERT that came back from GGUF gives other vectors"
"$halfstep" pretrain tiny.yaml --train.steps=2 --out chars --quiet >run.log 2>&1
expect 0 'model.gguf has no tokenizer: the tokenizer \(char\) is a kind that llama.cpp does not have' "$halfstep" export chars --to gguf -o gguf-chars
expect 0 'has no tokenizer: .*; --tokenizer DIR takes one along' "$halfstep" import gguf-chars -o from-chars
expect 2 'the model has [0-9]+ rows for tokens, the tokenizer ids up to' "$halfstep" import gguf-chars --tokenizer bpe -o none

# ---- what quantize made: codes stay codes, and stand for the same values in every file
for bits in w8 w4 w8a8; do
  "$halfstep" quantize run --bits $bits --embeddings yes -o q-$bits >/dev/null 2>stderr.txt || fail "quantize: $(cat stderr.txt)"
  expect 0 '' "$halfstep" export q-$bits --to gguf --dtype f32 -o q-$bits-f32
  expect 0 '' "$halfstep" import q-$bits-f32 -o q-$bits-values
  case $bits in w8a8) warns='products of 8-bit integers have a scale for each token, which ONNX has no form for' ;; *) warns='' ;; esac
  expect 0 "$warns" "$halfstep" export q-$bits --to onnx --no-past -o q-$bits-onnx
  grep -q ', codes as onnx' stdout.txt || fail "export of codes: $(cat stdout.txt)"
  expect 0 '' "$halfstep" import q-$bits-onnx -o q-$bits-from-onnx
  cmp q-$bits-from-onnx/model.safetensors q-$bits-values/model.safetensors || fail "ONNX of $bits stands for other values"
  [ $bits = w8a8 ] && continue
  expect 0 '' "$halfstep" export q-$bits --to gguf -o q-$bits-gguf
  expect 0 '' "$halfstep" import q-$bits-gguf -o q-$bits-back
  cmp q-$bits-back/model.safetensors q-$bits-values/model.safetensors || fail "GGUF of $bits stands for other values"
done
[ "$(stat -c %s q-w4-gguf/model.gguf)" -lt "$(stat -c %s q-w8-gguf/model.gguf)" ] || fail "w4 is not smaller than w8 in GGUF"
expect 2 'q-w4 has weights as codes, beside which everything is f32 in ONNX; f16 is asked for' "$halfstep" export q-w4 --to onnx --dtype f16 -o none
for type in q4_0 q4_k; do
  expect 0 "$([ $type = q4_k ] && echo 'rows that are no multiple of 256, a block of q4_k: they are q4_0')" "$halfstep" export run --to gguf --dtype $type -o gguf-$type
  expect 0 '' "$halfstep" import gguf-$type -o from-$type
done
expect 2 '--dtype q4_k is of --to gguf' "$halfstep" export run --to onnx --dtype q4_k -o none

# ---- safetensors
expect 0 '' "$halfstep" export run --to safetensors --dtype bf16 -o bf16
grep -q '"dtype": "bfloat16"' bf16/config.json && [ "$(stat -c %s bf16/model.safetensors)" -lt 250000 ] || fail "safetensors in bf16"
texts bf16 >got.txt && [ -s got.txt ] || fail "safetensors in bf16 do not open"
expect 0 '' "$halfstep" export "$golden/gpt2-lm" --to safetensors -o whole
expect 0 '' "$halfstep" export whole --to safetensors -o again
cmp whole/model.safetensors again/model.safetensors || fail "the same model, other bytes"

# ---- how texts become vectors
cp -r bert sentences
mkdir sentences/1_Pooling
echo '[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
  {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
  {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]' >sentences/modules.json
echo '{"word_embedding_dimension": 32, "pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}' >sentences/1_Pooling/config.json
echo '{"max_seq_length": 7, "do_lower_case": true}' >sentences/sentence_bert_config.json
echo '{"prompts": {"q": "w5 w6"}, "default_prompt_name": "q", "similarity_fn_name": "dot"}' >sentences/config_sentence_transformers.json
for form in safetensors onnx; do
  expect 0 '' "$halfstep" export sentences --to $form -o vectors-$form
  grep -q . stderr.txt && fail "sentences as $form: $(cat stderr.txt)"
  grep -q '"path": "2_Normalize"' vectors-$form/modules.json && grep -q '"pooling_mode_cls_token": true' vectors-$form/1_Pooling/config.json &&
    grep -q '"pooling_mode_mean_tokens": false' vectors-$form/1_Pooling/config.json || fail "$form does not say how texts become vectors"
  cmp sentences/config_sentence_transformers.json vectors-$form/config_sentence_transformers.json || fail "$form has other prompts"
  expect 0 '' "$halfstep" export bert --to $form -o vectors-$form --overwrite
  [ ! -e vectors-$form/modules.json ] && [ ! -e vectors-$form/1_Pooling ] || fail "--overwrite leaves the old files"
done
expect 0 '' "$halfstep" export sentences --to onnx -o sentences-onnx
expect 0 '' "$halfstep" import sentences-onnx -o vectors
cmp vectors/modules.json sentences-onnx/modules.json || fail "an import leaves out how texts become vectors"
rm -r vectors
expect 0 '' "$halfstep" export sentences -o vectors
for d in sentences vectors; do "$halfstep" embed $d --input lines.txt --json --output $d.vec >$d.json 2>stderr.txt; done
cmp sentences.vec vectors.vec || fail "other vectors behind an export"
expect 0 'sentences makes vectors of texts \(pooling cls, normalized, behind a prompt\), of which in-gguf says the pooling alone' "$halfstep" export sentences --to gguf -o in-gguf
cp -r sentences odd && echo '{"pooling_mode_weightedmean_tokens": true}' >odd/1_Pooling/config.json
expect 0 'odd makes vectors of texts by the pooling pooling_mode_weightedmean_tokens, which is not here and which odd-out does not say' "$halfstep" export odd -o odd-out
sed -i 's/2_Normalize/2_Dense/; s/Normalize/Dense/' odd/modules.json
expect 0 'odd: how it makes vectors of texts is left out: .*a module Dense' "$halfstep" export odd -o odd-dense
echo mine >vectors/1_Pooling/notes
expect 2 'vectors: holds "1_Pooling", which no export writes' "$halfstep" export bert -o vectors --overwrite

# ---- a folder that is there
expect 2 'onnx: is not empty; export into a new folder' "$halfstep" export bert --to onnx -o onnx
expect 0 '' "$halfstep" export bert --to safetensors -o onnx --overwrite
[ -s onnx/model.safetensors ] && [ ! -e onnx/model.onnx ] || fail "--overwrite leaves the old files: $(ls onnx)"
expect 2 'bf16: is not empty' "$halfstep" import gguf-f32 -o bf16
echo 'do not lose me' >onnx/notes.md
expect 2 'onnx: holds "notes.md", which no export writes: a folder like that is not replaced' "$halfstep" export bert --to onnx -o onnx --overwrite
[ -s onnx/notes.md ] && [ -s onnx/model.safetensors ] || fail "a folder that was refused is changed"
mkdir -p other/sub
expect 2 'other: holds "sub"' "$halfstep" export bert --to onnx -o other --overwrite

# ---- what has to be imported first is told so, wherever a checkpoint is asked for
mkdir -p alone within/onnx && cp past/model.onnx alone && cp past/model.onnx within/onnx
for path in past/model.onnx alone within gguf-f32 gguf-f32/model.gguf; do
  expect 2 'model.(onnx|gguf) is .*: not supported; .halfstep import FILE -o DIR. makes a folder of it' "$halfstep" predict $path text.txt
done

# ---- what cannot be
expect 2 'export needs --output DIR' "$halfstep" export bert --to onnx
expect 0 '' "$halfstep" export bert -o by-default
[ -s by-default/model.safetensors ] || fail "export without --to writes no safetensors, as its help says"
expect 2 'to is .*keras' "$halfstep" export bert --to keras -o none
expect 2 '--dtype bf16 is not of --to onnx' "$halfstep" export bert --to onnx --dtype bf16 -o none
expect 2 '--dtype q8_0 is of --to gguf' "$halfstep" export bert --to safetensors --dtype q8_0 -o none
expect 2 '--shard-size is of --to safetensors' "$halfstep" export bert --to onnx --shard-size 1 -o none
expect 2 '--past is of --to onnx' "$halfstep" export run --to gguf --no-past -o none
expect 2 'rows of 48, no multiple of the 32 values in a block of Q8_0' "$halfstep" export bert --to gguf --dtype q8_0 -o none
expect 2 'model_type roberta has no form in GGUF' "$halfstep" export "$golden/encoders/roberta" --to gguf -o none
expect 2 'none-such' "$halfstep" export none-such --to onnx -o none
expect 2 'import needs --output DIR' "$halfstep" import gguf-f32
expect 2 'bert is a directory of transformers already; .halfstep export --to safetensors. writes it anew' "$halfstep" import bert -o none
expect 2 'run is a checkpoint already; .halfstep export run --to safetensors. writes it' "$halfstep" import run -o none
expect 2 '--config is of ONNX; a file of GGUF says itself what it is' "$halfstep" import gguf-f32 --config nosuch -o none
expect 2 'none-such: no such file' "$halfstep" import none-such -o none
expect 2 'text.txt is none of the files that are imported: GGUF, ONNX' "$halfstep" import text.txt -o none
mkdir pickled && printf 'PK\3\4' >pickled/pytorch_model.bin && echo '{"architectures":["BertModel"]}' >pickled/config.json
expect 2 'pytorch_model.bin is a pickle, which runs code when it is read: .*from_pretrained' "$halfstep" import pickled -o none
head -c 3000 gguf-f32/model.gguf >cut.gguf
expect 2 'cut.gguf: .*truncated' "$halfstep" import cut.gguf -o none
head -c 30000 past/model.onnx >cut.onnx
expect 2 'cut.onnx: byte [0-9]+: a field of [0-9]+ bytes, [0-9]+ are left: truncated' "$halfstep" import cut.onnx -o none
cp gguf-f32/model.gguf pickled
cp gguf-f16/model.gguf pickled/two.gguf
expect 2 'pickled has several models' "$halfstep" import pickled -o none
sed 's/general.architecture/general.architectura/' gguf-f32/model.gguf >other.gguf
expect 2 '"general.architecture" is missing' "$halfstep" import other.gguf -o none
mkdir closed && chmod 555 closed
if [ ! -w closed ]; then expect 2 'closed/x.tmp-[0-9]+: Permission denied' "$halfstep" export bert --to onnx -o closed/x; fi
nothing_left
finish
