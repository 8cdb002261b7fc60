#!/usr/bin/env bash
# tokenize, tokenizer train, bench tokenizer: what they print and write, and what they refuse.
. "$(dirname "$0")/support_cli.sh"

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
c 'have no words' tokenizer train empty.txt -o x
finish
