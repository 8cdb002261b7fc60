#!/usr/bin/env bash
# tokenize, tokenizer train, bench tokenizer: what they print and write, and what they refuse.
. "$2/tests/support/support_cli.sh"

golden=$source_dir/tests/golden/tokenizers
text=$source_dir/recipes/text/shakespeare.txt
same() { # WANT COMMAND...
  local want=$1 got
  shift
  got=$("$@") || true
  [ "$got" = "$want" ] || fail "$* gave: $got"
}

printf 'To be!\n\n[MASK] caf\xc3\xa9' >lines.txt
same '[CLS]@0-0 to@0-2 be@3-5 !@5-6 [SEP]@0-0
[CLS]@0-0 [SEP]@0-0
[CLS]@0-0 [MASK]@0-6 ca@7-9 ##fe@9-11 [SEP]@0-0' "$halfstep" tokenize --tokenizer "$golden/wordpiece" --offsets lines.txt
printf '[MASK]' >mask.txt # no token of its own by Google's rules
same '[MASK]' "$halfstep" tokenize --tokenizer "$golden/wordpiece" --no-special mask.txt
"$halfstep" tokenize --tokenizer "$golden/wordpiece" --google --no-special mask.txt | grep -q ' .* ' || fail "Google's rules on [MASK]"
head -c 200000 "$text" >part.txt
"$halfstep" tokenizer train --type bpe --vocab-size 1000 part.txt -o bpe >train.log
"$halfstep" tokenizer train --type wordpiece --vocab-size 1000 part.txt lines.txt --output wordpiece --json >>train.log
for f in bpe/tokenizer.json bpe/vocab.json bpe/merges.txt wordpiece/vocab.txt wordpiece/tokenizer_config.json; do
  [ -s "$f" ] || fail "no $f"
done
same 1000 bash -c 'wc -l <wordpiece/vocab.txt'
"$halfstep" tokenize --tokenizer bpe --ids --no-special part.txt >ids.txt
mkdir older && cp bpe/vocab.json bpe/merges.txt older
"$halfstep" tokenize --tokenizer older --ids --no-special part.txt | cmp - ids.txt || fail "older files give other ids"
"$halfstep" bench tokenizer --tokenizer bpe --file part.txt --threads 2 --steps 2 --json | grep -q '"megabytes_per_second":' || fail 'bench tokenizer'

mkdir -p texts/sub && head -c 100000 part.txt >texts/a.txt && tail -c +100001 part.txt >texts/sub/b.txt
for from in texts 'texts/a.txt texts/sub/*' part.txt; do
  # shellcheck disable=SC2086
  "$halfstep" tokenizer train --vocab-size 1000 $from -o from --overwrite --quiet >/dev/null || fail "train $from"
  # the cut lies between words of one line: two files are two lines
  [ "$from" != part.txt ] || cmp from/tokenizer.json bpe/tokenizer.json || fail 'trained again: another tokenizer'
done
if command -v gzip >/dev/null && "$halfstep" env | grep -q zlib; then
  gzip -k part.txt
  "$halfstep" tokenizer train --vocab-size 1000 part.txt.gz -o gz >/dev/null && cmp gz/merges.txt bpe/merges.txt || fail 'a packed text'
fi
c() { expect 2 "$1" "$halfstep" "${@:2}"; }
c 'tokenize needs --tokenizer DIR' tokenize lines.txt
c 'nor vocab.txt, nor vocab.json with merges.txt' tokenize --tokenizer absent lines.txt
c "Google's rules are for WordPiece" tokenize --tokenizer bpe --google lines.txt
c 'absent.txt' tokenize --tokenizer bpe absent.txt
c "tokenizer does 'train', not 'learn'" tokenizer learn part.txt -o x
c 'needs at least one TEXT and --output DIR' tokenizer train part.txt
c 'a vocabulary of 100 tokens, allowed 257 to' tokenizer train --vocab-size 100 part.txt -o x
c 'is too small: the texts' tokenizer train --type wordpiece --vocab-size 20 part.txt -o x
c 'bench tokenizer needs --tokenizer DIR and --file FILE' bench tokenizer
: >empty.txt
c 'bpe/tokenizer.json exists; --overwrite replaces the tokenizer' tokenizer train part.txt -o bpe
c 'texts/none: no such file or folder' tokenizer train texts/none -o x
c 'have no words' tokenizer train empty.txt -o x
c 'unknown option --device of tokenize' tokenize --tokenizer bpe --device tpu lines.txt
printf '\357\273\277To be' >mark.txt
printf 'To be' >plain.txt
cmp -s <("$halfstep" tokenize --tokenizer bpe --ids mark.txt) <("$halfstep" tokenize --tokenizer bpe --ids plain.txt) || fail 'a byte order mark'
"$halfstep" tokenizer train --vocab-size 300 part.txt -o deep/er/tok >/dev/null && [ -e deep/er/tok/merges.txt ] || fail 'folders above the output'
gzip -kf plain.txt && c 'plain.txt.gz is packed with gzip' tokenize --tokenizer bpe plain.txt.gz
"$halfstep" prepare --quiet --tokenizer bpe -o ids part.txt >/dev/null
c 'ids.bin is no text but a file of token ids' tokenize --tokenizer bpe ids.bin
c 'ids.bin is no text but a file of token ids' prepare --utf8 keep --tokenizer bpe -o again ids.bin
finish
