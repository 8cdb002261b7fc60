#!/usr/bin/env bash
# fill-mask, embed and bench infer: what they print, what a folder of sentence-transformers says, and every way to ask for what cannot be.
. "$2/tests/support/support_cli.sh"

# Checkpoints of transformers with a tokenizer each: 61 tokens, a context of 20.
cp -r "$source_dir"/tests/golden/encoders/{bert,roberta} .
{ printf '[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n'; printf 'w%d\n' $(seq 5 60); } >bert/vocab.txt
vocab='"<s>":0,"<pad>":1,"</s>":2,"<unk>":3,"\u0120":4' id=5
for c in {a..z} {A..Z} 0 1 2; do vocab+=",\"$c\":$((id++))"; done
token='"single_word":false,"rstrip":false,"normalized":false,"special":true'
cat >roberta/tokenizer.json <<JSON
{"version":"1.0","truncation":null,"padding":null,"added_tokens":[{"id":0,"content":"<s>","lstrip":false,$token},{"id":1,"content":"<pad>","lstrip":false,$token},
 {"id":2,"content":"</s>","lstrip":false,$token},{"id":3,"content":"<unk>","lstrip":false,$token},{"id":60,"content":"<mask>","lstrip":true,$token}],
 "normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
 "post_processor":{"type":"RobertaProcessing","sep":["</s>",2],"cls":["<s>",0],"trim_offsets":true,"add_prefix_space":false},
 "decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{$vocab},"merges":[]}}
JSON

# ---- fill-mask
expect 0 '' "$halfstep" fill-mask bert 'w5 w6 [MASK] w8 [MASK].' 'w9 [MASK]' --top-k 3 --json
json_lines stdout.txt
cp stdout.txt filled.txt
[ "$(grep -o '"id"' stdout.txt | wc -l)" -eq 9 ] && [ "$(wc -l <stdout.txt)" -eq 2 ] || fail "fill-mask: 3 tokens for 3 masks in 2 texts: $(cat stdout.txt)"
grep -q '^{"text":"w5 w6 \[MASK\] w8 \[MASK\]\.","masks":\[\[{"id":[0-9]*,"token":"[^"]*","score":0\.' stdout.txt || fail "fill-mask: $(head -1 stdout.txt)"
printf 'w5 w6 [MASK] w8 [MASK].\r\nw9 [MASK]' >texts.txt
expect 0 '' "$halfstep" fill-mask bert --input texts.txt --top-k 3 --json
diff filled.txt stdout.txt >diff.txt || fail "fill-mask --input gives another result: $(cat diff.txt)"
"$halfstep" fill-mask bert - --top-k 3 --json --threads 1 <texts.txt >stdout.txt || fail "fill-mask -"
diff filled.txt stdout.txt >diff.txt || fail "fill-mask - gives another result: $(cat diff.txt)"
expect 0 '' "$halfstep" fill-mask bert 'w5 [MASK] [MASK]' --top-k 100
[ "$(grep -c '^  ' stdout.txt)" -eq 122 ] && grep -q '^ mask 2$' stdout.txt || fail "fill-mask for people: $(head -3 stdout.txt)"
expect 0 '' "$halfstep" fill-mask bert 'w5 [MASK]' --top-k 61 --json
near "$(field score stdout.txt | awk '{ s += $1 } END { print s }')" 1 1e-6 || fail "fill-mask: scores of all tokens are not 1"
field score stdout.txt | sort -c -g -r || fail "fill-mask: the likeliest is not first"
# RoBERTa's mask takes the space before it along.
for text in 'ab<mask>c' 'ab <mask>c'; do
  expect 0 '' "$halfstep" fill-mask roberta "$text" --json
  sed 's/.*"masks"/"masks"/' stdout.txt >>spaces.txt
done
[ "$(sort -u spaces.txt | wc -l)" -eq 1 ] && grep -q '"score":0' spaces.txt || fail "the space before <mask> counts: $(cat spaces.txt)"

expect 2 'text 2: the text has nothing to fill: write \[MASK\] where a word is wanted' "$halfstep" fill-mask bert 'w5 [MASK]' 'w5' --json
[ "$(wc -l <stdout.txt)" -eq 1 ] || fail "the text before the wrong one is not told"
expect 2 'text 1: the text has nothing to fill: write <mask> where' "$halfstep" fill-mask roberta 'a mask'
printf 'w5 [MASK]\n%s [MASK]\n' "$(printf 'w%d ' $(seq 5 24))" >long.txt
expect 2 'long.txt:2: the text is longer than the model.s context of 20 tokens' "$halfstep" fill-mask bert --input long.txt
expect 2 'fill-mask needs a TEXT, or --input FILE' "$halfstep" fill-mask bert
: >nothing.txt
expect 2 'nothing.txt is empty' "$halfstep" fill-mask bert --input nothing.txt
expect 2 'none.txt: no such file' "$halfstep" fill-mask bert --input none.txt
printf 'w5 [MASK]\nw6 \377 [MASK]\n' >latin.txt
expect 2 'latin.txt:2: byte 3 of the line \(0xff\) is not valid UTF-8' "$halfstep" fill-mask bert --input latin.txt
expect 2 'top-k is 0, allowed 1 to' "$halfstep" fill-mask bert 'w5 [MASK]' --top-k 0
expect 2 'gpt2-lm is a GPT, which reads from left to right: fill-mask needs an encoder' "$halfstep" fill-mask "$source_dir/tests/golden/gpt2-lm" '[MASK]'
expect 2 'gpt2-lm is a GPT, .*: embed needs an encoder' "$halfstep" embed "$source_dir/tests/golden/gpt2-lm" --input texts.txt
expect 2 'texts need a tokenizer' "$halfstep" fill-mask "$source_dir/tests/golden/encoders/bert" '[MASK]'
cp -r bert other
printf 'w%d\n' $(seq 61 80) >>other/vocab.txt
expect 2 'text 1: token 2 has id 62, and the model.s vocabulary ends at 60: is the tokenizer another model' "$halfstep" fill-mask other 'w5 w62 [MASK]'
printf '[UNK]\nw1\n' >other/vocab.txt
expect 2 'the tokenizer has no mask token' "$halfstep" fill-mask other 'w1'
cp -r bert bare
sed 's/predictions/predictionz/g' bert/model.safetensors >bare/model.safetensors # the head under names that nobody knows
expect 2 'bare is an encoder without a head that predicts tokens: fill-mask needs one' "$halfstep" fill-mask bare 'w5 [MASK]'

# ---- embed
printf 'w5 w6 w7\n\nw8 w9 unknown w10 w11 w12\nw5 w6 w7\n' >lines.txt
vectors() { sed -E 's/^\{"embedding":\[//; s/\]\}$//; y/,/ /' "$1"; }
expect 0 '' "$halfstep" embed bert --input lines.txt --json
json_lines stdout.txt
cp stdout.txt mean.txt
[ "$(wc -l <mean.txt)" -eq 4 ] && [ "$(vectors mean.txt | awk '{ print NF }' | sort -u)" = 32 ] || fail "embed: 4 lines of 32 numbers: $(head -c 300 mean.txt)"
[ "$(sed -n 1p mean.txt)" = "$(sed -n 4p mean.txt)" ] || fail "embed: the same text, another vector"
expect 0 '' "$halfstep" embed bert --input lines.txt
vectors mean.txt | diff - stdout.txt >diff.txt || fail "embed: text and JSON are not the same numbers: $(cat diff.txt)"
sed -n 3p lines.txt | "$halfstep" embed bert --input - --json --threads 1 --quiet >stdout.txt
[ "$(cat stdout.txt)" = "$(sed -n 3p mean.txt)" ] || fail "embed: a text's vector depends on the others, or on threads"
gzip -c lines.txt >lines.gz
if "$halfstep" embed bert --input lines.gz --json >stdout.txt 2>stderr.txt; then
  diff mean.txt stdout.txt >diff.txt || fail "embed of a packed file: $(cat diff.txt)"
else
  grep -q 'gzip' stderr.txt || fail "embed of a packed file: $(cat stderr.txt)"
fi
for pooling in cls max; do
  expect 0 '' "$halfstep" embed bert --input lines.txt --json --pooling $pooling
  cp stdout.txt $pooling.txt
  ! diff -q mean.txt stdout.txt >diff.txt || fail "embed --pooling $pooling is the mean"
done
paste <(vectors mean.txt | tr ' ' '\n') <(vectors max.txt | tr ' ' '\n') | awk '$1 > $2 + 1e-6 { bad = 1 } END { exit bad }' || fail "a mean is above the largest"
expect 0 '' "$halfstep" embed bert --input lines.txt --json --normalize
vectors stdout.txt | awk '{ s = 0; for (i = 1; i <= NF; i++) s += $i * $i; if (s < 0.999999 || s > 1.000001) exit 1 }' || fail "embed --normalize: not of length 1"
cp stdout.txt unit.txt
expect 0 '' "$halfstep" embed bert --input lines.txt --json --output v.f32
[ "$(wc -c <v.f32)" -eq $((4 * 32 * 4)) ] && [ "$(field texts stdout.txt)" = 4 ] && [ "$(field width stdout.txt)" = 32 ] || fail "embed --output: $(cat stdout.txt)"
paste <(od -An -v -tfF -w4 v.f32) <(vectors mean.txt | tr ' ' '\n') | awk '{ d = $1 - $2; s = $1 < 0 ? -$1 : $1; if (d > 6e-8 * s || d < -6e-8 * s) bad = 1 } END { exit bad }' || fail "embed --output has other numbers"
expect 0 '' "$halfstep" embed bert --input lines.txt --output v.npy --format npy
tail -c +129 v.npy | cmp - v.f32 || fail "embed --format npy has other numbers"
head -c 128 v.npy | grep -aq "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 32), }" || fail "embed --format npy: $(head -c 128 v.npy)"
seq 5 60 | sed 's/^/w/' >many.txt
for i in $(seq 1 40); do cat many.txt; done >more.txt
expect 0 '' "$halfstep" embed bert --input more.txt --json
[ "$(wc -l <stdout.txt)" -eq 2240 ] && [ "$(head -56 stdout.txt | md5sum)" = "$(tail -56 stdout.txt | md5sum)" ] || fail "embed of many texts"

# what a folder of sentence-transformers says
mkdir bert/1_Pooling
pooling() { printf '{"word_embedding_dimension":32,%s}' "$1" >bert/1_Pooling/config.json; }
like() {
  expect 0 "$2" "$halfstep" embed bert --input lines.txt --json "${@:3}"
  diff "$1" stdout.txt >diff.txt || fail "embed ${*:3} is not $1"
}
pooling '"pooling_mode_cls_token":true,"pooling_mode_mean_tokens":false'
like cls.txt ''
like mean.txt '' --pooling mean
pooling '"pooling_mode":"max"'
like max.txt ''
pooling '"pooling_mode_cls_token":false,"pooling_mode_mean_tokens":true'
cat >bert/modules.json <<'JSON'
[{"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Transformer"},{"idx":1,"name":"1","path":"1_Pooling","type":"sentence_transformers.models.Pooling"},
 {"idx":2,"name":"2","path":"2_Normalize","type":"sentence_transformers.models.Normalize"}]
JSON
like unit.txt ''
like mean.txt '' --no-normalize
like mean.txt '' --pooling mean
like unit.txt '' --pooling mean --normalize
echo '{"max_seq_length":5,"do_lower_case":false}' >bert/sentence_bert_config.json
expect 0 '^warning: 1 of 4 texts is longer than 5 tokens' "$halfstep" embed bert --input lines.txt --json
[ "$(sed -n 1p stdout.txt)" = "$(sed -n 1p unit.txt)" ] && [ "$(sed -n 3p stdout.txt)" != "$(sed -n 3p unit.txt)" ] || fail "max_seq_length is not heeded"
like unit.txt '' --max-length 20
expect 2 '--max-length 21 is more than the model.s context of 20 tokens' "$halfstep" embed bert --input lines.txt --max-length 21
echo '{"max_seq_length":100}' >bert/sentence_bert_config.json
like unit.txt '' # what a folder says is its maker's
echo '{"max_seq_length":5,"do_lower_case":false}' >bert/sentence_bert_config.json
mv bert/sentence_bert_config.json limits.json
echo '{"model_max_length":5}' >bert/tokenizer_config.json
expect 0 '^warning: 1 of 4 texts is longer than 5 tokens' "$halfstep" embed bert --input lines.txt --json
echo '{"model_max_length":1000000000000000019884624838656}' >bert/tokenizer_config.json
like unit.txt ''
rm bert/tokenizer_config.json
mv limits.json bert/sentence_bert_config.json
echo '{"prompts":{"q":"w20 "},"default_prompt_name":"q"}' >bert/config_sentence_transformers.json
echo 'w20 w5' >prompted.txt
echo 'w5' >plain.txt
"$halfstep" embed bert --input plain.txt --json >a.txt 2>stderr.txt
rm bert/config_sentence_transformers.json
"$halfstep" embed bert --input prompted.txt --json >b.txt 2>stderr.txt
[ -s a.txt ] && diff a.txt b.txt >diff.txt || fail "the default prompt is not put before texts"
pooling '"pooling_mode_weightedmean_tokens":true'
expect 2 'bert asks for a pooling by pooling_mode_weightedmean_tokens, which is not supported; --pooling mean\|cls\|max' "$halfstep" embed bert --input lines.txt
pooling '"pooling_mode_cls_token":true,"pooling_mode_mean_tokens":true'
expect 2 'a pooling by pooling_mode_cls_token and pooling_mode_mean_tokens' "$halfstep" embed bert --input lines.txt
sed -i 's/models.Normalize/models.Dense/' bert/modules.json
expect 2 'modules.json: a module Dense \(2_Normalize\) is not supported' "$halfstep" embed bert --input lines.txt
rm -r bert/modules.json bert/1_Pooling bert/sentence_bert_config.json
mkdir old
mv bert old/0_Transformer
echo '[{"path":"0_Transformer","type":"sentence_transformers.models.Transformer"}]' >old/modules.json
expect 0 '' "$halfstep" embed old --input lines.txt --json
diff mean.txt stdout.txt >diff.txt || fail "a transformer in a folder of its own is not found"
mv old/0_Transformer bert

expect 2 'embed needs --input FILE' "$halfstep" embed bert
expect 2 'nothing.txt is empty' "$halfstep" embed bert --input nothing.txt
expect 2 'none: no such|no such file' "$halfstep" embed none --input lines.txt
expect 2 '--format is of --output FILE' "$halfstep" embed bert --input lines.txt --format npy
expect 2 '--output is a file' "$halfstep" embed bert --input lines.txt --output -
expect 2 'max_length 2 leaves no room beside 2 special tokens' "$halfstep" embed bert --input lines.txt --max-length 2
mkfifo pipe
expect 2 'cannot write pipe: it is a pipe, a file is wanted' "$halfstep" embed bert --input lines.txt --output pipe
[ -p pipe ] || fail "embed --output replaced what is no file"
printf 'a\0b\n' >zero.txt
expect 2 'zero.txt:1: byte 1 of the line is zero' "$halfstep" embed bert --input zero.txt
expect 2 'no such|cannot|not a folder|Not a directory' "$halfstep" embed bert --input lines.txt --output none/v.f32
expect 2 'lines.txt:1: token 1 has id 63, and the model' env -C . sh -c 'printf "w63\n" >lines.txt; { cat bert/vocab.txt; printf "w61\nw62\nw63\n"; } >v.txt; mv v.txt bert/vocab.txt; exec "$0" embed bert --input lines.txt' "$halfstep"
[ ! -e nothing.f32 ] && [ -z "$(ls ./*.tmp-* 2>/dev/null)" ] || fail "a refused run left something"

# ---- bench infer: of a checkpoint, of a recipe
for model in bert roberta tiny.yaml "$source_dir/tests/golden/gpt2-lm"; do
  expect 0 '' "$halfstep" bench infer --model "$model" --batch 2 --seq 8 --steps 3 --json
  json_lines stdout.txt
  for f in milliseconds p99_milliseconds sequences_per_second tokens_per_second gflops; do
    awk -v x="$(field $f stdout.txt)" 'BEGIN { exit !(x > 0) }' || fail "bench infer $model: no $f: $(cat stdout.txt)"
  done
  [ "$(field batch stdout.txt) $(field seq stdout.txt)" = '2 8' ] || fail "bench infer $model: $(cat stdout.txt)"
done
expect 0 '' "$halfstep" bench infer --model bert --dtype bf16 --steps 1
while read -r given bits; do
  expect 0 '' "$halfstep" bench infer --model tiny.yaml "$given" --seq 8 --steps 1 --json
  grep -q "\"bits\":\"$bits\",\"static\":0" stdout.txt || fail "bench infer $given: $(cat stdout.txt)"
  awk -v x="$(field peak_bytes stdout.txt)" 'BEGIN { exit !(x > 0) }' || fail "bench infer $given: no peak_bytes: $(cat stdout.txt)"
done <<'END'
--dtype=int8 w8a8
--bits=w8a8 w8a8
--dtype=fp32 none
END
expect 0 '' "$halfstep" bench infer --model tiny.yaml --dtype int8 --static --seq 8 --steps 1 --json
grep -q '"bits":"w8a8","static":1' stdout.txt || fail "bench infer --static: $(cat stdout.txt)"
expect 2 'dtype is .int9.*auto.fp32.bf16.fp16.int8.int4' "$halfstep" bench infer --model tiny.yaml --dtype int9
expect 2 'bench train does not take --dtype int8' "$halfstep" bench train --model tiny.yaml --dtype int8
expect 2 '--static is of a recipe with --bits w8a8' "$halfstep" bench infer --model tiny.yaml --static
expect 2 '--static is of a recipe with --bits w8a8' "$halfstep" bench infer --model bert --static --dtype int8
expect 2 '--bits is of a recipe: bert is a checkpoint' "$halfstep" bench infer --model bert --dtype int8
expect 2 '--seq 21 is more than the model.s context of 20 tokens' "$halfstep" bench infer --model bert --seq 21
expect 2 'bert is a checkpoint: it has no configuration to set --model.layers in' "$halfstep" bench infer --model bert --model.layers=3
expect 2 '--isa is of a recipe' "$halfstep" bench infer --model bert --isa avx2
expect 2 'bench infer does not take --tokens' "$halfstep" bench infer --model bert --tokens 3
finish
