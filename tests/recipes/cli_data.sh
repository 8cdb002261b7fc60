#!/usr/bin/env bash
# data info, check, sample, convert: what they print, that conversions come back, what they refuse.
. "$2/tests/support/support_cli.sh"

golden=$source_dir/tests/golden
bert=$golden/tokenizers/wordpiece
d() { "$halfstep" data "$@" || fail "data $*"; }
c() { expect 2 "$1" "$halfstep" data "${@:2}"; }
c 'data info does not take --to, which is of data convert' info --to hdf5 absent
c 'data convert takes --shards only with --to hdf5' convert --to store --shards 4 -o x absent

# llm.c's file, by hand: 6000 ids from 5 to 504, a document token 1 at every 50th
{
  llmc_header 6000
  for ((i = 0; i < 6000; i++)); do echo $((i % 50 ? 5 + i * i % 500 : 1)); done | { mapfile -t ids && le 2 "${ids[@]}"; }
} >l.bin
d convert l.bin --to store --tokenizer "$bert" --document-token 1 -o s.tokens | grep -q '5880 tokens in 120 documents' || fail 'convert'
d info s.tokens >info.txt
grep -q 'store, uint16' info.txt && grep -q '5880 tokens in 120 documents' info.txt && grep -q '49  *120  ####' info.txt || fail "info: $(cat info.txt)"
d check s.tokens --json | grep -q '"ok":true' || fail 'check'
d convert s.tokens --to megatron -o m --quiet
d convert m.idx --to llmc --vocab 600 --document-token 1 -o back.bin --quiet
cmp l.bin back.bin || fail 'llm.c, store, Megatron, llm.c'
d sample s.tokens --first 2 --count 1 --tokens 3 | grep -q '^5 6 9\|tokens more' || fail 'sample'
# a document alone, of each format, is the one that stands there among all of them
all() { "$halfstep" data sample "$@" --count 200 --json | grep -v '"document":[0-9]*,"tokens":0' >all.json; }
for f in 's.tokens' 'm.idx' 'l.bin --document-token 1'; do
  # shellcheck disable=SC2086
  all $f && [ "$(wc -l <all.json)" = 120 ] || fail "$f: $(wc -l <all.json) documents"
  for n in 0 57 119; do
    # shellcheck disable=SC2086
    d sample $f --first $n --count 1 --json | cmp -s - <(sed -n $((n + 1))p all.json) || fail "document $n of $f: $(d sample $f --first $n --count 1 --json)"
  done
  # shellcheck disable=SC2086
  c '120 documents, none from 120 on' sample $f --first 120
done
d sample l.bin --tokens 3 --json | grep -q '"tokens":6000,"ids":\[1,6,9\]' || fail 'llm.c without a document token is one document'
# gigabytes are not read for five tokens: files with holes
{ llmc_header 2100000000; le 2 1 5 6 7 8 9 10; } >huge.bin && truncate -s 4200001024 huge.bin
timeout 20 "$halfstep" data sample huge.bin --tokens 5 >huge.txt || fail "sample of 4.2 GB: $?"
grep -q '^1 5 6 7 8$' huge.txt && grep -q '2099999995 tokens more' huge.txt || fail "sample of 4.2 GB: $(cat huge.txt)"
timeout 20 "$halfstep" data sample huge.bin --tokens 5 --document-token 1 >huge.txt || fail "sample of 4.2 GB: $?"
grep -q 'more than 5 tokens' huge.txt && grep -q '^5 6 7 8 9$' huge.txt || fail "sample of 4.2 GB: $(cat huge.txt)"
{
  printf 'MMIDIDX\0\0' && le 8 1 && le 1 8 && le 8 3 4 && le 4 1000000000 2000000000 5 && le 8 0 2000000000 6000000000 && le 8 0 1 2 3
} >huge.idx
le 2 4 5 6 >huge.bin && truncate -s 6000000010 huge.bin
timeout 20 "$halfstep" data sample huge.idx --tokens 3 --count 9 >huge.txt || fail "sample of 6 GB: $?"
grep -q '^4 5 6$' huge.txt && grep -q 'document 1: 2000000000 tokens' huge.txt && grep -q '^document 2: 5 tokens$' huge.txt || fail "sample of 6 GB: $(cat huge.txt)"
rm huge.*
d sample s.tokens --tokenizer "$bert" --json >sample.json
json_lines sample.json
if "$halfstep" env | grep -q '^libpng  *[0-9]'; then
  d info s.tokens --png lengths.png >/dev/null
  head -c 4 lengths.png | grep -q PNG || fail 'the picture'
fi

# several files: one after the other, or one behind the other in one output
d convert s.tokens m.idx --to store --vocab 600 -o two.tokens >out.txt
grep -q '11760 tokens in 240 documents' out.txt || fail "two files into one: $(cat out.txt)"
[ "$(d check s.tokens two.tokens --json | grep -c '"ok":true')" = 2 ] || fail 'check of two files'
c 'm.idx stands behind s.tokens' convert s.tokens m.idx --to hdf5 --tokenizer "$bert" -o x.hdf5
c '.--png draws one file, and 2 are given' info s.tokens two.tokens --png x.png

# bars by powers of two begin and end where the lengths do
sevens() { le 2 1 && le 2 7 7 7 7 7 7 7 7 7 7 >sevens && for ((i = 0; i < $1; i += 10)); do echo sevens; done | xargs cat; }
sevens 100 >short
{ llmc_header $((200 * 101 + 50001)) && for i in {1..200}; do cat short; done && sevens 50000; } >long.bin
d convert long.bin --to store --vocab 100 --document-token 1 -o long.tokens --quiet
c 'long.tokens has a vocabulary of 100, not of 600' convert s.tokens long.tokens -o x.tokens
c 'back.bin: .*outside the vocabulary' convert long.tokens back.bin -o x.tokens
[ ! -e x.tokens ] || fail 'half of a conversion'
d info long.tokens --json >long.json
grep -Eq '"lengths":\[\[64,127,200\],.*\[32768,65535,1\]\]' long.json || fail "bars: $(cat long.json)"

if d info "$golden/shards/nvidia.hdf5" >info.txt 2>/dev/null; then
  grep -q 'hdf5, fixed' info.txt && grep -q '50 rows' info.txt && grep -q 'rows of 24 tokens with 4 predictions' info.txt || fail "info: $(cat info.txt)"
  d sample "$golden/shards/nvidia.hdf5" --first 4 --count 1 | grep -q '31 44{4} 57' || fail 'sample of a shard'
  c 'nvidia.hdf5: input_ids: row 0, column 6: id 81 is outside the vocabulary of 80' check "$golden/shards/nvidia.hdf5" --vocab 80
  c '50 rows, none from 50 on' sample "$golden/shards/nvidia.hdf5" --first 50
  for layout in fixed varlen; do
    d convert s.tokens --to hdf5 --tokenizer "$bert" --length 32 --predictions 5 --shards 2 --layout $layout -o "$layout" --quiet
    d check "$layout/part_00001_of_00002.hdf5" --tokenizer "$bert" | grep -q "hdf5, $layout" || fail "check $layout"
    d sample "$layout/part_00000_of_00002.hdf5" --count 100000 --json >"$layout.json"
  done
  cmp fixed.json varlen.json || fail 'the layouts hold other rows'
  grep -q '"masked":\[{"position":' fixed.json || fail 'masked'
  json_lines fixed.json
  d convert fixed/part_00000_of_00002.hdf5 --to store --vocab 600 -o rows.tokens --quiet
  d check rows.tokens | grep -q 'sentences' || fail 'sentences of rows'
  c 'rows of HDF5 are made of a token store, and m.idx is megatron' convert m.idx --to hdf5 --tokenizer "$bert" -o x.hdf5
  c 'needs --tokenizer DIR, for \[CLS\]' convert s.tokens --to hdf5 -o x.hdf5
  c 'was made with another tokenizer|has a vocabulary of' convert s.tokens --to hdf5 --tokenizer "$golden/tokenizers/bpe" -o x.hdf5
  # no room: an error, not a crash when the program ends
  expect 2 'cannot write full.hdf5: .*File too large' bash -c 'trap "" XFSZ; ulimit -f 6; exec "$0" data convert s.tokens --to hdf5 --tokenizer "$1" --length 32 --predictions 5 -o full.hdf5' "$halfstep" "$bert"
  head -c 5000 fixed/part_00000_of_00002.hdf5 >cut.hdf5
  c 'cut.hdf5: truncated file' check cut.hdf5
  printf '\x89HDF\r\n\x1a\n' >signature.hdf5
  c 'signature.hdf5: 8 bytes: truncated inside its superblock' info signature.hdf5
  cp "$golden/shards/nvidia.hdf5" names.hdf5 && chmod u+w names.hdf5
  heap=$(od -An -tu8 -j88 -N8 names.hdf5)
  le 8 $((1 << 60)) | dd of=names.hdf5 bs=1 seek=$((heap + 8)) conv=notrunc 2>/dev/null
  c 'names.hdf5: byte [0-9]+: a heap of 1152921504606846976 bytes at' info names.hdf5
fi

c "data does info, check, sample and convert, not 'chek'; nearest is check" chek s.tokens
c 'absent: no such file' info absent
c 'is no token store, HDF5 shard, Megatron index or llm.c file' info info.txt
c 'does not tell its vocabulary; it needs --tokenizer DIR or --vocab N' convert l.bin -o x
c 's.tokens exists; --overwrite replaces it' convert l.bin --to store --vocab 600 -o s.tokens
c 'm.idx exists; --overwrite replaces it' convert s.tokens --to megatron -o m.bin
d convert s.tokens --to megatron -o m.bin --overwrite --quiet
c 'data convert needs --output FILE' convert l.bin --vocab 600
c 'l.bin: token [0-9]+: id 4[0-9]+ is outside the vocabulary of 400' check l.bin --vocab 400
c '120 documents, none from 120 on' sample s.tokens --first 120
c 'was made with another tokenizer|has a vocabulary of' info s.tokens --tokenizer "$golden/tokenizers/bpe"
printf '\377' | dd of=s.tokens bs=1 seek=100 conv=notrunc 2>/dev/null
c 's.tokens: checksum' check s.tokens
finish
