#!/usr/bin/env bash
# What is text: every command refuses the same files in the same words, reads the same texts however they are written, and by no name.
. "$2/tests/support/support_cli.sh"

store() { "$halfstep" prepare --tokenizer byte --overwrite --json "$@" >prepare.json 2>prepare.txt || fail "prepare $*: $(tail -1 prepare.txt)"; }
same() { cmp -s "$1" "$2" || fail "$1 and $2 differ: $3"; }
number() { grep -oE "\"$1\":[-+0-9.eE]+" prepare.json | head -1 | cut -d: -f2; }
expect 0 '' "$halfstep" pretrain tiny.yaml --train.steps=2 --out run --quiet
expect 0 '' "$halfstep" tokenizer train --vocab-size 300 text.txt -o tok

# ---- what is no text: one row a kind
: >kinds
kind() { # FILE WORDS, contents on stdin
  cat >"$1" && printf '%s\t%s\n' "$1" "$2" >>kinds
}
printf 'BZh91AY&SY\x17\xec\x84' | kind 'b, z:2.txt' 'packed with bzip2; unpack it'
printf 'PK\3\4\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\5\0\0\0\5\0\0\0\x10\0\0\0archive/data.pkl' | kind z.txt 'a PyTorch checkpoint'
printf 'PAR1\x15\0\x15\x10\xff' | kind p.txt 'a Parquet file'
printf '\xfd7zXZ\0\0\4' | kind x.txt 'packed with xz'
printf '%%PDF-1.4\n' | kind doc.txt 'a PDF document'
printf '\x89PNG\r\n\x1a\n\0' | kind i.txt 'a PNG image'
printf 'n\0o\0 \0m\0a\0r\0k\0' | kind 'no mark.txt' 'UTF-16 without a byte order mark or in bare token ids'
for ((i = 0; i < 600; i++)); do echo $((i * i * 7919 % 50257)); done | { mapfile -t ids && le 2 "${ids[@]}"; } | kind nano.bin 'binary data'
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 7\n' | kind lfs.txt 'a pointer of git-lfs'
while IFS=$'\t' read -r file words; do
  expect 2 "$file is no text but .*$words" "$halfstep" prepare --tokenizer byte -o no "$file"
  expect 2 "$file is no text but .*$words" "$halfstep" prepare --tokenizer byte --utf8 keep --format text -o no "$file"
  expect 2 "$file is no text but .*$words" "$halfstep" pretrain tiny.yaml "--data.train=$file" --out no
  expect 2 "$file is no text but .*$words" "$halfstep" pretrain tiny.yaml "--data.val=$file" --out no
  expect 2 "$file is no text but .*$words" "$halfstep" eval run --data "$file"
  expect 2 "$file is no text but .*$words" "$halfstep" tokenize --tokenizer tok "$file"
  expect 2 "$file is no text but .*$words" "$halfstep" tokenizer train "$file" -o no
  expect 2 "$file is no text but .*$words" "$halfstep" bench tokenizer --tokenizer tok --file "$file"
  expect 2 "$file is no token store, .* file, but " "$halfstep" data info "$file"
  expect 2 "standard input is no text but .*$words" bash -c '"$0" prepare --tokenizer byte -o no - <"$1"' "$halfstep" "$file"
done <kinds
expect 2 'info.txt is no token store.*; halfstep prepare makes' bash -c 'cp text.txt info.txt; "$0" data info info.txt' "$halfstep"
printf 'caf\xe9\n' >latin.txt
printf 'a\nb\0\n' >zero.txt
for c in "pretrain tiny.yaml --out no --data.train=" "eval run --data=" "tokenize --tokenizer=tok "; do
  # shellcheck disable=SC2086
  expect 2 'latin.txt:1: byte 3 \(0xe9\) is not valid UTF-8; iconv -f ISO-8859-1' "$halfstep" ${c}latin.txt
  # shellcheck disable=SC2086
  expect 2 'zero.txt:2: byte 3 is zero, which no text has' "$halfstep" ${c}zero.txt
done
expect 2 'zero.txt:2: byte 3 is zero, which no text has; --utf8' "$halfstep" prepare --tokenizer byte -o no zero.txt
expect 2 'latin.txt:1: byte 3 \(0xe9\) is not valid UTF-8; .*, --utf8' "$halfstep" tokenizer train latin.txt -o no
expect 0 '' "$halfstep" tokenizer train --vocab-size 300 --utf8 replace latin.txt text.txt -o replaced
store --utf8 keep -o zero zero.txt && [ "$(number tokens)" = 5 ] || fail 'a zero that is kept'
[ ! -e no ] && [ ! -e no.bin ] && [ ! -e no.parts ] || fail 'a refused text left something'
mkdir mixed && cp text.txt mixed/a.txt && cp i.txt mixed/zz.txt # found before hours are spent on the others
expect 2 'mixed/zz.txt is no text but a PNG' "$halfstep" prepare --tokenizer byte -o no mixed

# ---- the same text, however it is written
store -o want text.txt
printf '\xff\xfe' >u16.txt && iconv -f UTF-8 -t UTF-16LE text.txt >>u16.txt
printf '\xfe\xff' >u16be && iconv -f UTF-8 -t UTF-16BE text.txt >>u16be
printf '\0\0\xfe\xff' >u32 && iconv -f UTF-8 -t UTF-32BE text.txt >>u32
for f in u16.txt u16be u32; do
  store -o got $f && same want.bin got.bin $f
  [ "$("$halfstep" eval run --data $f --json | grep -o '"loss":[^,]*')" = "$("$halfstep" eval run --data text.txt --json | grep -o '"loss":[^,]*')" ] || fail "eval of $f"
done
cmp -s <("$halfstep" tokenize --tokenizer tok --ids u16.txt) <("$halfstep" tokenize --tokenizer tok --ids text.txt) || fail 'tokenize of UTF-16'
printf '\xff\xfeo\0k\0\x3d\xd8\n\0' >half.txt
expect 2 'half.txt:1: this UTF-16 has half of a surrogate pair; --utf8' "$halfstep" prepare --tokenizer byte -o no half.txt
cp u16.txt cut.txt && printf 'a' >>cut.txt
odd='cut.txt is UTF-16, but its bytes are no multiple of 2: the last character is cut \(an odd number of bytes\); .*--utf8 replace or keep'
expect 2 "$odd" "$halfstep" prepare --tokenizer byte -o no cut.txt
expect 2 "$odd" "$halfstep" pretrain tiny.yaml --out no --data.train=cut.txt
expect 2 "$odd" "$halfstep" eval run --data cut.txt
expect 2 "$odd" "$halfstep" tokenize --tokenizer tok cut.txt
[ "$("$halfstep" eval run --data - --json <text.txt | grep -o '"loss":[^,]*')" = "$("$halfstep" eval run --data text.txt --json | grep -o '"loss":[^,]*')" ] || fail 'eval of standard input'
expect 2 'standard input holds JSON records; halfstep prepare' bash -c 'echo "{\"text\":\"a\"}" | "$0" eval run --data -' "$halfstep"
expect 2 'standard input is no text but a file of token ids' bash -c 'cat want.bin | "$0" eval run --data -' "$halfstep"

# ---- JSON by its first bytes
printf '{"text":"One."}\n{"text":"Two."}\n' >two.txt
store -o want two.txt
[ "$(number documents)" = 2 ] || fail "JSON lines in a .txt: $(cat prepare.json)"
printf '[{"text":"One."},\n{"text":"Two."}]' >list.jsonl
printf '{\n "text":"One."\n}\n{\n "text":"Two."\n}' >pretty.json
printf '\xff\xfe' >u16.json && iconv -f UTF-8 -t UTF-16LE two.txt >>u16.json
printf '{"n":1,"story":"One."}\n{"n":2,"story":"Two."}\n' >story.dat
printf '["One.",\n "Two."]\n' >strings.json
printf '{"text":"One."}{"text":"Two."}\r' >joined
printf '{"text":"One."},\n{"text":"Two."},\n' >commas.jsonl
printf '\x1e{"text":"One."}\n\x1e{"text":"Two."}\n' >rfc7464
for f in list.jsonl pretty.json u16.json strings.json joined commas.jsonl rfc7464 story.dat; do store -o got $f && same want.bin got.bin $f; done
grep -q 'story.dat: its texts are read from the field "story"; --field names another' prepare.txt || fail "a field that was found: $(cat prepare.txt)"
store -o got - <list.jsonl && same want.bin got.bin 'a list on standard input'
if command -v gzip >/dev/null && "$halfstep" env | grep -q zlib; then
  { gzip -c two.txt && head -c 512 /dev/zero; } >'odd name' && store -o got 'odd name' && same want.bin got.bin 'gzip'
fi
printf 'Prose, whatever it is called.\n' >prose.jsonl
store -o got prose.jsonl && [ "$(number tokens)" = 30 ] || fail 'prose in a .jsonl'
grep -q 'warning: prose.jsonl is read as plain text: it does not begin as JSON lines do' prepare.txt || fail "no warning: $(cat prepare.txt)"
store -o got --format text two.txt && [ "$(number tokens)" = 32 ] || fail '--format text'
expect 2 'prose.jsonl:1: no JSON object|prose.jsonl:1: .*, not a JSON object' "$halfstep" prepare --tokenizer byte --format json -o no prose.jsonl
expect 2 'no field "text"; it has: title, body; --field names another' bash -c 'echo "{\"title\":\"a\",\"body\":\"b\"}" | "$0" prepare --tokenizer byte -o no -' "$halfstep"
expect 2 '\-\-field text is of JSON records, and --format is text' "$halfstep" prepare --tokenizer byte --field text --format text -o no two.txt
expect 2 'list.json:2: the list of records has no end: truncated' bash -c 'head -c 30 list.jsonl >list.json; "$0" prepare --tokenizer byte -o no list.json' "$halfstep"
expect 2 'ids.json:1: a number or word, not a JSON object; .*--format text takes the file as it is' bash -c 'echo "[1, 2, 3]" >ids.json; "$0" prepare --tokenizer byte -o no ids.json' "$halfstep"
expect 2 'two.txt holds JSON records: halfstep prepare --tokenizer byte -o NAME .*two.txt makes a store .* --data.train=NAME.bin --data.tokenizer=byte$' "$halfstep" pretrain tiny.yaml --data.train=two.txt --out no
for i in $(seq 1 60); do echo "{\"text\":\"Record $i says that bottles stand on walls.\"}"; done >records.txt
expect 2 'records.txt holds JSON records: halfstep prepare --tokenizer CHECKPOINT -o NAME .*records.txt makes a store of their texts, --data NAME.bin$' "$halfstep" eval run --data records.txt
"$halfstep" prepare --tokenizer byte -o stored records.txt >/dev/null 2>&1
expect 0 '' "$halfstep" pretrain tiny.yaml --train.steps=2 --data.train=stored.bin --data.tokenizer=byte --out stored
"$halfstep" tokenizer train --vocab-size 300 two.txt -o from_json >/dev/null && printf 'One.Two.' >plain.txt
"$halfstep" tokenizer train --vocab-size 300 plain.txt -o from_plain >/dev/null && cmp from_json/vocab.json from_plain/vocab.json || fail 'a tokenizer from JSON'

# ---- bad records: counted, and the first places named; the same over restarts and threads
{
  for i in $(seq 1 3000); do
    case $i in 7) echo '{"text":null}' ;; 11) echo '{"text":"cut \ud83d here"}' ;; 1500) echo '{"text":"broken' ;; 2999) echo '[1]' ;; *) echo "{\"score\":NaN,\"text\":\"document $i\"}" ;; esac
  done
} >bad.jsonl
expect 2 'bad.jsonl:7: the field "text" is no string; --bad-records skip' "$halfstep" prepare --tokenizer byte -o no bad.jsonl
store -o skipped --bad-records skip bad.jsonl
[ "$(number documents) $(number bad_records) $(number mended_records)" = '2996 4 0' ] || fail "skip: $(cat prepare.json)"
grep -q 'warning: 4 bad records left out, 0 mended: bad.jsonl:7 (the field is no string), bad.jsonl:11 (a lone surrogate), bad.jsonl:1500 (no JSON object), bad.jsonl:2999' prepare.txt || fail "places: $(cat prepare.txt)"
grep -q '"bad_places":\[{"file":"bad.jsonl","line":7,' prepare.json || fail "places: $(cat prepare.json)"
store -o again --bad-records skip --threads 3 --part-size 5000 bad.jsonl && same skipped.bin again.bin parts
[ "$(number documents) $(number bad_records)" = '2996 4' ] || fail "parts: $(cat prepare.json)"
grep -v 'null}\|broken\|^\[1\]\|ud83d' bad.jsonl >good.jsonl
store -o good good.jsonl && same skipped.bin good.bin 'without the bad ones'
store -o mended --bad-records replace --dedup near bad.jsonl
[ "$(number bad_records) $(number mended_records) $(number replaced_bytes)" = '3 1 1' ] || fail "replace: $(cat prepare.json)"
tail -c +65 mended.bin | tr -d '\0' | grep -aq $'cut \xef\xbf\xbd here' || fail 'a lone surrogate is not mended'
expect 0 '4 bad records left out' "$halfstep" tokenizer train --vocab-size 300 --bad-records skip bad.jsonl -o skipping
expect 2 'would be empty: 0 documents, .*; bad records were left out' bash -c 'echo "{\"text\":3}" | "$0" prepare --tokenizer byte --bad-records skip -o no -' "$halfstep"

# ---- names: any character, and one line of a message all the same
odd=$'a\nb, c:0.5'
mkdir "$odd" && cp two.txt "$odd/$odd" && store -o got "$odd" && same want.bin got.bin 'odd names'
printf 'x\xff' >"$odd/z"
expect 2 'z:1: byte 1 \(0xff\) is not valid UTF-8' "$halfstep" prepare --tokenizer byte -o no "$odd"
finish
