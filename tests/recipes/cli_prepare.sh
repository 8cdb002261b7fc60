#!/usr/bin/env bash
# prepare: the same store from any sort of input, at any number of threads, after any interruption; and what it refuses.
. "$2/tests/support/support_cli.sh"

golden=$source_dir/tests/golden/tokenizers
shakespeare=$source_dir/recipes/text/shakespeare.txt
prepare() { "$halfstep" prepare --tokenizer "$golden/bpe" "$@" >>prepare.log 2>&1 || fail "prepare $*: $(tail -1 prepare.log)"; }
same() { cmp -s "$1" "$2" || fail "$1 and $2 differ"; }
# number NAME FILE: of a JSON line.
number() { grep -oE "\"$1\":[-+0-9.eE]+" "$2" | head -1 | cut -d: -f2; }

# ---- sources: four documents, told in every way there is
mkdir -p plain/sub
printf 'First document. It has two sentences.\n' >plain/a.txt
printf 'Second\ndocument' >plain/b.txt
printf 'Third: caf\xc3\xa9 \xe4\xbd\xa0\xe5\xa5\xbd\n' >plain/sub/c.txt
printf 'Fourth "quoted" \\ one\tend' >plain/sub/d.txt
prepare -o want plain
prepare -o got.bin 'plain/*' && same want.bin got.bin && rm got.bin
prepare -o got plain/a.txt plain/b.txt plain/sub && same want.bin got.bin && rm got.bin
cat >lines.jsonl <<'JSONL'
{"text": "First document. It has two sentences.\n", "id": 12345678901234567890}
{"id": 2, "text": "Second\ndocument"}
{"text": "Third: caf\u00e9 你好\n"}

{"text": ""}
{"text": "Fourth \"quoted\" \\ one\tend"}
JSONL
prepare -o got lines.jsonl && same want.bin got.bin && rm got.bin
sed 's/"text"/"body"/' lines.jsonl >lines.json
prepare -o got --field body lines.json && same want.bin got.bin && rm got.bin
"$halfstep" prepare --tokenizer "$golden/bpe" -o got --field text --json - <lines.jsonl >stdin.json || fail stdin
same want.bin got.bin && rm got.bin
json_lines stdin.json
[ "$(number documents stdin.json) $(number empty stdin.json) $(number replaced_bytes stdin.json)" = '6 2 0' ] || fail "counts: $(cat stdin.json)"
mkdir marked
for f in plain/a.txt plain/b.txt plain/sub/c.txt plain/sub/d.txt; do { printf '\xef\xbb\xbf' && cat "$f"; } >"marked/$(basename "$f")"; done
prepare -o got marked && same want.bin got.bin && rm got.bin
{ printf '\xef\xbb\xbf' && cat lines.jsonl; } >marked.jsonl
prepare -o got marked.jsonl && same want.bin got.bin && rm got.bin
printf '\n\nFirst\ndocument\n\n\nsecond\n' >blank.txt
prepare -o got --documents blank-line blank.txt
printf '{"text":"First\\ndocument"}\n{"text":"second"}' >two.jsonl
prepare -o two two.jsonl && same got.bin two.bin && rm got.bin two.bin
printf 'First\r\n\nsecond' >crlf.txt
prepare -o got --documents line crlf.txt
printf '{"text":"First"}\n{"text":"second"}' >two.jsonl
prepare -o two two.jsonl && same got.bin two.bin && rm got.bin two.bin
if "$halfstep" env | grep -q . && command -v gzip >/dev/null; then
  gzip -k lines.jsonl
  "$halfstep" prepare --tokenizer "$golden/bpe" -o got lines.jsonl.gz >gz.log 2>&1 && same want.bin got.bin
  [ -f got.bin ] || grep -q 'this build has no zlib' gz.log || fail "gzip: $(cat gz.log)"
  rm -f got.bin
  head -c 60 lines.jsonl.gz >cut.jsonl.gz
  expect 2 'cut.jsonl.gz: its gzip ends in the middle: truncated|no zlib' "$halfstep" prepare --tokenizer "$golden/bpe" -o got cut.jsonl.gz
fi
if command -v zstd >/dev/null; then
  zstd -q lines.jsonl
  "$halfstep" prepare --tokenizer "$golden/bpe" -o got lines.jsonl.zst >zst.log 2>&1 && same want.bin got.bin
  [ -f got.bin ] || grep -q 'this build has no libzstd' zst.log || fail "zstd: $(cat zst.log)"
  rm -f got.bin
fi
printf 'ok \xff\n' >bad.txt
prepare -o got --utf8 replace bad.txt
printf 'ok \xef\xbf\xbd\n' >good.txt
prepare -o two good.txt && same got.bin two.bin && rm got.bin two.bin

# ---- threads, parts, restarts: the same bytes
awk '{ printf "%d: %s %d\n", NR, $0, NR * 7919 % 10007; if (NR % 13 == 0) print "" }' "$shakespeare" | head -c 1500000 >long.txt
long=(--documents blank-line --split 0.8,0.1,0.1 --dedup near --sentences rule long.txt plain)
prepare -o one --threads 1 "${long[@]}"
n=2
for more in '--threads 2 --part-size 300000' '--threads 3 --part-size 20000' '--threads 7'; do
  # shellcheck disable=SC2086
  prepare -o t$n $more "${long[@]}"
  for s in train val test; do same one-$s.bin t$n-$s.bin; done
  n=$((n + 1))
done
[ ! -e t2.parts ] || fail 'parts are left'
killed() { # PART: killed when that one is there
  "$halfstep" prepare --tokenizer "$golden/bpe" -o k --threads 2 --part-size 20000 "${long[@]}" >/dev/null 2>&1 &
  local pid=$! i
  for i in $(seq 1 5000); do
    [ ! -e k.parts/part-0000000"$1" ] && kill -0 $pid 2>/dev/null || break
  done
  kill -9 $pid 2>/dev/null
  wait $pid 2>/dev/null
}
killed 1
[ -e k.parts/manifest ] || fail 'nothing was left to go on with'
c() { expect 2 "$1" "$halfstep" prepare --tokenizer "$golden/bpe" "${@:2}"; }
c 'k.parts was begun with other settings .*documents 1.* now .*documents 0.*--overwrite' -o k --dedup near --sentences rule long.txt plain
c 'k.parts was begun with other inputs \([0-9]+ bytes, .*plain/a.txt" where now stands .*b.txt"\)' -o k "${long[@]:0:9}" plain/b.txt
killed 3
parts=(k.parts/part-0*)
if [ -e k.parts/part-00000002 ]; then # a part that the disk did not keep whole, and one that it did not keep
  head -c 1000 k.parts/part-00000001 >torn && cat torn >k.parts/part-00000001
  rm k.parts/part-00000002
fi
"$halfstep" prepare --tokenizer "$golden/bpe" -o k --threads 3 "${long[@]}" >again.log 2>&1 || fail "again: $(cat again.log)"
for s in train val test; do same one-$s.bin k-$s.bin; done
if [ ${#parts[@]} -gt 2 ]; then
  grep -q 'were encoded before' again.log || fail 'it did not go on'
  grep -q 'part-00000001 is damaged' again.log || fail "a torn part was taken: $(cat again.log)"
fi
c 'k-train.bin exists; --overwrite replaces it' -o k "${long[@]}"
prepare -o k --overwrite "${long[@]}" && same one-train.bin k-train.bin
rm k-*.bin
killed 2
echo more >>plain/sub/d.txt
[ ! -e k.parts/manifest ] || c 'plain/sub/d.txt changed since k.parts was begun \(25 bytes' -o k "${long[@]}"
prepare -o k --overwrite "${long[@]}"
[ ! -e k.parts ] || fail 'parts are left'
rm k-*.bin

# ---- splits: documents stay where they were when others are added
for i in $(seq 1 300); do echo "{\"text\": \"document $i says $((i * i))\"}"; done >all.jsonl
head -100 all.jsonl >some.jsonl
"$halfstep" prepare --tokenizer byte -o some --split 0.7,0.3 --json some.jsonl >some.json || fail split
"$halfstep" prepare --tokenizer byte -o all --split 0.7,0.3 --json all.jsonl >all.json || fail split
texts() { tail -c +65 "$1" | tr -d '\0' | grep -aoE 'document [0-9]+ says' | sort; }
[ "$(texts some-val.bin | wc -l)" -gt 15 ] || fail "split: $(cat some.json)"
[ "$(texts some-val.bin | wc -l)" -lt 45 ] || fail "split: $(cat some.json)"
[ -z "$(comm -23 <(texts some-val.bin) <(texts all-val.bin))" ] || fail 'a document left the validation text'
[ -z "$(comm -12 <(texts some-train.bin) <(texts all-val.bin))" ] || fail 'a document left the training text'

# ---- duplicates
head -c 3000 "$shakespeare" | tr '\n' ' ' | sed 's/["\\]//g' >doc
sed 's/Citizen/citizen!/; s/hear me/HEAR ME/; s/proceed/go on/' doc >near
{ echo "{\"text\":\"$(cat doc)\"}"; echo "{\"text\":\"$(cat near)\"}"; echo "{\"text\":\"$(cat doc)\"}"; cat some.jsonl; } >dup.jsonl
for d in none exact near group; do
  "$halfstep" prepare --tokenizer byte -o dup-$d --dedup $d --split 0.5,0.5 --json dup.jsonl >dup.json || fail "dedup $d"
  number duplicates dup.json
done >dup.txt
[ "$(tr '\n' ' ' <dup.txt)" = '0 1 2 0 ' ] || fail "duplicates: $(tr '\n' ' ' <dup.txt)"
both=$(for s in train val; do tail -c +65 dup-group-$s.bin | tr -d '\0' | grep -ao 'First citizen\|First Citizen' | wc -l; done | sort -n | head -1)
[ "$both" = 0 ] || fail 'near-duplicates are in both splits'

# ---- a run on the store
"$halfstep" tokenizer train --type bpe --vocab-size 300 text.txt -o tok >/dev/null
"$halfstep" prepare --tokenizer tok -o store --documents line --split 0.9,0.1 text.txt >/dev/null || fail 'prepare text.txt'
"$halfstep" prepare --tokenizer tok -o no --no-eot --json plain >no.json || fail --no-eot
"$halfstep" prepare --tokenizer tok -o yes --sentences rule --json plain >yes.json || fail --sentences
"$halfstep" prepare --tokenizer tok -o eot plain >/dev/null || fail eot
[ "$(($(number tokens yes.json) - $(number tokens no.json)))" = 4 ] || fail "end-of-text: $(cat no.json yes.json)"
[ "$(number sentences yes.json)" = 5 ] || fail "sentences: $(cat yes.json)"
ids() { head -c $((64 + 2 * $(number tokens yes.json))) "$1" | tail -c +65; }
cmp <(ids yes.bin) <(ids eot.bin) || fail 'sentences change the tokens'
run=(pretrain tiny.yaml --data.tokenizer=tok --train.steps=4)
"$halfstep" "${run[@]}" --data.train=store-train.bin --data.val=store-val.bin --out runs/a --quiet >train.log 2>&1 || fail "pretrain: $(cat train.log)"
ls runs/a/tokens-*.txt >/dev/null 2>&1 || fail 'the stores are not noted'
"$halfstep" "${run[@]}" --data.train=store-train.bin --data.val=store-val.bin --train.steps=6 --out runs/a >train.log 2>&1 || fail "resume: $(cat train.log)"
! grep -q 'the text is not the one' train.log || fail 'the stores are not known'
"$halfstep" eval runs/a --data store-val.bin >/dev/null || fail 'eval on a store'
p() { expect 2 "$1" "$halfstep" "${run[@]}" --out runs/b "${@:2}"; }
p 'store-train.bin was made with another tokenizer: [0-9a-f]{16} with 300 tokens, and .*bpe is [0-9a-f]{16} with' --data.train=store-train.bin --data.tokenizer="$golden/bpe"
p 'data.tokenizer must name the folder it was made with, not char' --data.train=store-train.bin --data.tokenizer=char
p 'data.val must be one too, or a fraction: .*text.txt is not' --data.train=store-train.bin --data.val=text.txt
p 'data.train must be one too: .*text.txt is not' --data.train=text.txt --data.val=store-val.bin
head -c -8 store-train.bin >short.bin
p 'short.bin: [0-9]+ bytes, its header promises [0-9]+: truncated' --data.train=short.bin
{ head -c 100 store-train.bin; printf XX; tail -c +103 store-train.bin; } >spoiled.bin
p 'spoiled.bin: checksum' --data.train=spoiled.bin

# ---- what others keep in OUT.parts stays, and what a run of hours left is not lost to a pipe
mkdir own.parts && echo mine >own.parts/part-of-mine.txt
prepare -o own --overwrite plain
grep -q 'cannot remove own.parts' prepare.log && [ "$(cat own.parts/*)" = mine ] || fail 'a file of the user is gone'
killed 1
[ ! -e k.parts/manifest ] || expect 2 'k.parts was begun with other' "$halfstep" prepare --tokenizer "$golden/bpe" -o k - <long.txt
prepare -o k --overwrite "${long[@]}" && rm k-*.bin

# ---- refusals
c 'bad.txt:1: byte 3 \(0xff\) is not valid UTF-8; .*, --utf8 replace or keep' -o x bad.txt
[ ! -e x.parts ] || fail 'a run that did nothing left its folder'
printf '{"text":"a"}\n{"title":1,"body":"b"}\n' >field.jsonl
c 'field.jsonl:2: no field "text"; it has: title, body' -o x field.jsonl
printf '{"text":"a"}\n\n{"text":3}\n' >type.jsonl
c 'type.jsonl:3: the field "text" is no string' -o x type.jsonl
printf '{"text":"a"}\n{"text":"a\n' >broken.jsonl
for t in 1 3; do c 'broken.jsonl:2: no JSON object: ' -o x --threads $t broken.jsonl; done
printf '[1]\n{"text":"a"}\n' >list.jsonl
c 'list.jsonl:1: a list, not a JSON object' -o x list.jsonl
c 'absent: no such file or folder' -o x absent
c 'absent\*: ?.*matches no file|absent\* matches no file' -o x 'absent*'
c 'prepare needs INPUT' -o x
expect 2 'prepare needs --tokenizer DIR \(or byte\) and --output STORE' "$halfstep" prepare long.txt
expect 2 'the tokenizer .* has no token <\|endoftext\|>' "$halfstep" prepare --tokenizer "$golden/wordpiece" --eot -o x long.txt
c '--split has 2 fractions with a sum of 1.5' -o x --split 0.9,0.6 long.txt
c 'dedup' -o x --dedup fuzzy long.txt
: >empty.txt
c 'x.bin would be empty: 1 document, 1 without text, 0 duplicates' -o x empty.txt
[ ! -e x.parts ] || fail 'parts of nothing are left'
{ head -c 10000000 /dev/zero | tr '\0' a; echo; seq -s ' ' 1300000; } >lines.txt # a word of 10 MB, a line of 9 MB
"$halfstep" prepare --tokenizer "$golden/wordpiece" -o lines lines.txt --json >lines.json || fail 'lines of 10 MB'
[ "$(number documents lines.json)" = 1 ] || fail "lines of 10 MB: $(cat lines.json)"
mkdir nothing && c 'nothing: no files in this folder' -o x nothing
c '--output absent/ is a folder' -o absent/ long.txt
c '/dev/zero is a device' -o x /dev/zero
finish
