#!/usr/bin/env bash
# predict: each format comes back as itself with what the model says, --json says the same of any, and every way to ask for what cannot be.
. "$2/tests/support/support_cli.sh"

for task in sequence tokens span crf; do
  cp -r "$source_dir/tests/golden/heads/bert-$task" "$task"
  rm -f "$task"/golden.safetensors
  cp "$source_dir/tests/golden/predict/vocab.txt" "$task"
done
sed -i 's/"B-LOC"/"neg"/; s/"O"/"neutral"/; s/"a \\"quoted\\" name"/"pos, or \\"so\\""/; s/"B-LOC": 0/"neg": 0/; s/"O": 1/"neutral": 1/; s/"a \\"quoted\\" name": 2/"pos, or \\"so\\"": 2/' sequence/config.json
sed -i 's/"a \\"quoted\\" name"/"I-LOC"/' tokens/config.json crf/config.json
predict() { "$halfstep" predict "$@" 2>stderr.txt || fail "predict $*: $(head -c 300 stderr.txt)"; }
# same FILE: stdout.txt is it.
same() { diff "$1" stdout.txt >diff.txt || fail "$2: $(head -20 diff.txt)"; }

# ---- texts
printf 'a b c\n\nd e, f\n' >texts.txt
predict sequence texts.txt >stdout.txt
[ "$(cut -f 3 stdout.txt | tr '\n' '|')" = 'a b c||d e, f|' ] || fail "texts: $(cat stdout.txt)"
cut -f 1 stdout.txt | grep -Evq '^(neg|neutral|pos, or "so")$' && fail "texts: other labels: $(cat stdout.txt)"
labels=$(cut -f 1 stdout.txt)
scores=$(cut -f 2 stdout.txt)
gzip -c texts.txt | "$halfstep" predict sequence - >packed.txt 2>/dev/null || fail "standard input, packed"
same packed.txt "standard input, packed"
predict sequence texts.txt --json >stdout.txt
json_lines stdout.txt
[ "$(sed -E 's/.*"label": ("([^"\\]|\\.)*").*/\1/; s/^"//; s/"$//; s/\\"/"/g' stdout.txt)" = "$labels" ] || fail "--json: labels: $(cat stdout.txt)"
[ "$(sed -E 's/.*"scores": \{"([^"\\]|\\.)*": ([0-9.e-]+).*/\2/' stdout.txt)" = "$scores" ] || fail "--json: the first score is not the label's: $(cat stdout.txt)"
grep -q '^{"line": 1, "text": "a b c", "label"' stdout.txt || fail "--json: $(head -1 stdout.txt)"
predict sequence texts.txt --json --top 1 >stdout.txt
[ "$(sed -E 's/.*"scores": //' stdout.txt | grep -o ': ' | wc -l)" -eq 3 ] || fail "--top 1: $(cat stdout.txt)"

# ---- tables
printf 'text\tlabel\r\na b c\tneg\r\nd e, f\tpos\r\n' >table.tsv
predict sequence table.tsv >stdout.txt
[ "$(head -1 stdout.txt)" = "$(printf 'text\tlabel\tpredicted_label\tscore\r')" ] || fail "TSV: header: $(head -1 stdout.txt)"
[ "$(cut -f 1,2 stdout.txt)" = "$(tr -d '\r' <table.tsv)" ] && [ "$(grep -c $'\r$' stdout.txt)" -eq 3 ] || fail "TSV: $(cat stdout.txt)"
[ "$(sed -n '2p;3p' stdout.txt | cut -f 3)" = "$(printf '%s\n' "$labels" | sed -n '1p;3p')" ] || fail "TSV: labels: $(cat stdout.txt)"
printf 'id,sentence\n1,"a b\nc"\n2,d' >table.csv
predict sequence table.csv >stdout.txt
[ "$(head -1 stdout.txt)" = 'id,sentence,label,score' ] || fail "CSV: header: $(head -1 stdout.txt)"
grep -Eq '^c",("pos, or ""so"""|neg|neutral),0\.[0-9]+$' stdout.txt || fail "CSV: $(cat stdout.txt)"
tail -1 stdout.txt | grep -q '^2,d,' || fail "CSV without a line end: $(cat stdout.txt)"
printf '1 a b c\n0 d e, f\n' >lines.txt
predict sequence lines.txt >stdout.txt
printf '%s a b c\n%s d e, f\n' "$(printf '%s\n' "$labels" | sed -n 1p)" "$(printf '%s\n' "$labels" | sed -n 3p)" >want.txt
same want.txt "lines of a label and a text"

# ---- JSON
printf '{"sentence1": "a", "sentence2": "b c", "label": "neg", "x": [1, {"y": null}]}\n\n{ "sentence2": "d",\t"sentence1": "e", "scores": 0 }\n' >pairs.jsonl
predict sequence pairs.jsonl >stdout.txt
json_lines stdout.txt
grep -q '^{"sentence1": "a", "sentence2": "b c", "label": "neg", "x": \[1, {"y": null}\], "predicted_label": "' stdout.txt || fail "JSON: $(head -1 stdout.txt)"
grep -q '"scores": 0, "label": ".*, "predicted_scores": {' stdout.txt || fail "JSON: $(tail -1 stdout.txt)"
printf '[\n {"text": "a"},\n {"text": "b",\n  "n": 1}\n]\n' >list.json
predict sequence list.json >stdout.txt
[ "$(tr -d '\n' <stdout.txt | grep -o '"label"' | wc -l)" -eq 2 ] && [ "$(head -1 stdout.txt)" = '[' ] && [ "$(tail -1 stdout.txt)" = ']' ] || fail "a list: $(cat stdout.txt)"

# ---- words
printf -- '-DOCSTART- -X- O\n\na NN O\nb NN O\n\n\n# a comment\nc\tNN O\r\n\n-DOCSTART- -X- O\n' >words.conll
predict tokens words.conll >stdout.txt
sed -E 's/ (O|B-LOC|I-LOC)(\r?)$/\2/' stdout.txt >stripped.txt
diff words.conll stripped.txt >diff.txt || fail "CoNLL: something beside the last column is another: $(cat diff.txt)"
[ "$(grep -Ec '^(a|b|c|-DOCSTART-)[ 	].* (O|B-LOC|I-LOC).?$' stdout.txt)" -eq 5 ] || fail "CoNLL: $(cat stdout.txt)"
predict tokens "$source_dir/tests/golden/predict/tokens.conll" >stdout.txt
paste "$source_dir/tests/golden/predict/tokens.conll" stdout.txt | awk -F '\t' 'NF && $1 != $3 { exit 1 }' || fail "CoNLL: words"
cut -f 3 stdout.txt >tags.txt
predict tokens "$source_dir/tests/golden/predict/tokens.conll" --json >stdout.txt
json_lines stdout.txt
sed -E 's/.*"tags": \[([^]]*)\].*/\1/; s/"//g; s/, /\n/g; s/$/\n/' stdout.txt >again.txt
diff tags.txt again.txt >diff.txt || fail "--json: tags: $(head -5 diff.txt)"
printf 'a, b (c)\n' >plain.txt
predict tokens plain.txt >stdout.txt
[ "$(cut -f 1 stdout.txt | tr '\n' ' ')" = 'a , b ( c )  ' ] || fail "words of a text: $(cat stdout.txt)"
predict tokens plain.txt --json >stdout.txt
json_lines stdout.txt
grep -q '"words": \["a", ",", "b", "(", "c", ")"\]' stdout.txt || fail "words of a text, --json: $(cat stdout.txt)"
cp -r tokens tabbed
sed -i 's/"\(O\|B-LOC\|I-LOC\)"/"\1\\tx\\ny"/' tabbed/config.json
predict tabbed words.conll >stdout.txt
[ "$(grep -Ec '^[abc][ 	].* (O|B-LOC|I-LOC)_x_y.?$' stdout.txt)" -eq 3 ] || fail "labels with a tab and a line feed in CoNLL: $(cat stdout.txt)"
predict tabbed plain.txt >stdout.txt
[ "$(awk -F '\t' 'NF && NF != 2' stdout.txt | wc -l)" -eq 0 ] || fail "labels with a tab, words of a text: $(cat stdout.txt)"
mkdir nemo
printf 'a b\nc\n' >nemo/text_dev.txt
predict tokens nemo/text_dev.txt --format nemo >stdout.txt
[ "$(awk '{ print NF }' stdout.txt | tr '\n' ' ')" = '2 1 ' ] || fail "NeMo's labels: $(cat stdout.txt)"
predict crf plain.txt >stdout.txt
[ "$(grep -Ec '	(O|B-LOC|I-LOC)$' stdout.txt)" -eq 6 ] || fail "a chain: $(cat stdout.txt)"

# ---- answers
cat >squad.json <<'JSON'
{"version": "2.0", "data": [{"title": "t", "paragraphs": [{"context": "a b \u00e9 \"d\" e, f a b c d e f g h", "qas": [
 {"id": "q1", "question": "a b", "is_impossible": false, "answers": [{"text": "b", "answer_start": 2}]},
 {"id": "q\"2", "question": "c", "is_impossible": true, "answers": []}]}]}]}
JSON
predict span squad.json --max-length 12 --stride 4 --max-query 3 --output answers.json --nbest nbest.json --odds odds.json
for f in answers nbest odds; do "$check_json" lines <(tr -d '\n' <$f.json) 2>error.txt || fail "$f.json is no JSON: $(cat $f.json)"; done
[ "$(grep -Ec '^    "(q1|q\\"2)": ' answers.json)" -eq 2 ] && [ "$(grep -c '"start_logit"' nbest.json)" -gt 4 ] || fail "SQuAD: $(cat answers.json nbest.json)"
predict span squad.json --max-length 12 --null-threshold -1000 >stdout.txt
[ "$(grep -c '": ""' stdout.txt)" -eq 2 ] || fail "--null-threshold -1000 gives answers: $(cat stdout.txt)"
predict span squad.json --max-length 12 --no-answer no >stdout.txt
[ "$(grep -c '": ""' stdout.txt)" -eq 0 ] || fail "--no-answer no gives none: $(cat stdout.txt)"
printf '{"question": "a", "context": "b c d", "answer": 1}\n' >span.jsonl
predict span span.jsonl --max-length 12 >stdout.txt
json_lines stdout.txt
grep -Eq '"answer": 1, "predicted_answer": "[^"]+", "start": [0-9], "end": [0-9], "score": [0-9.]+, "nbest": \[\{"text"' stdout.txt || fail "answers in records: $(cat stdout.txt)"

expect 2 '--nbest is for SQuAD, and span.jsonl is JSON records' "$halfstep" predict span span.jsonl --nbest no.json --output no.jsonl
expect 2 '--odds is of SQuAD.s predictions.json, --json writes lines' "$halfstep" predict span squad.json --odds no.json --json
expect 2 '--output and --odds are both no.json' "$halfstep" predict span squad.json --output no.json --odds no.json
ls no.* 2>/dev/null && fail "files of a prediction that was refused"
sed 's/"q\\"2"/"q1"/' squad.json >twice.json
expect 2 'twice.json:[0-9]+: a second question with id "q1"' "$halfstep" predict span twice.json

# ---- files
printf 'sentence,label,predicted_label\na,0,1\n' >taken.csv
predict sequence taken.csv >stdout.txt
grep -q '^sentence,label,predicted_label,predicted_label_2,score$' stdout.txt || fail "names that are there: $(cat stdout.txt)"
printf 'sentence,label\n' >header.csv
predict sequence header.csv --format csv >stdout.txt
[ "$(cat stdout.txt)" = sentence,label,predicted_label,score ] || fail "a header alone: $(cat stdout.txt)"
predict sequence texts.txt --output out.txt --json >stdout.txt
json_lines stdout.txt
json_lines out.txt
grep -q '"examples":3' stdout.txt && [ "$(wc -l <out.txt)" -eq 3 ] || fail "--output: $(cat stdout.txt)"
rm out.txt
printf '{"text": "a"}\n{"text": 1}\n' >bad.jsonl
expect 2 'bad.jsonl:2: text is a number, not a string' "$halfstep" predict sequence bad.jsonl --output out.txt
[ ! -e out.txt ] && [ "$(ls | grep -c '^out.txt')" -eq 0 ] || fail "something is left of a file that failed"
expect 2 'bad.jsonl:2: text is a number' "$halfstep" predict sequence bad.jsonl
[ "$(wc -l <stdout.txt)" -eq 1 ] || fail "what stood before the wrong record is not told"
expect 2 'none.txt: no such file' "$halfstep" predict sequence none.txt
expect 2 'texts need a tokenizer' "$halfstep" predict "$source_dir/tests/golden/heads/bert-tokens" texts.txt
expect 2 'has no head for a task, so that there is nothing to predict' "$halfstep" predict "$source_dir/tests/golden/encoders/bert" texts.txt
expect 2 '--stride is not for the task of .*sequence, which is sequence' "$halfstep" predict sequence texts.txt --stride 3
expect 2 '--max-length is 100, and the model.s context is 12' "$halfstep" predict sequence texts.txt --max-length 100
expect 2 'is no JSON: questions and answers come as SQuAD has them' "$halfstep" predict span texts.txt
expect 2 'which of the 2 columns|no column "text3"' "$halfstep" predict sequence table.tsv --text text3
printf 'a \377\n' >latin.txt
expect 2 'latin.txt:1: byte 2 \(0xff\) is not valid UTF-8' "$halfstep" predict sequence latin.txt
predict sequence latin.txt --utf8 replace >stdout.txt
grep -q $'a \xef\xbf\xbd$' stdout.txt || fail "--utf8 replace: $(cat stdout.txt)"
: >empty.txt
expect 0 '' "$halfstep" predict sequence empty.txt
[ ! -s stdout.txt ] || fail "an empty file gives $(cat stdout.txt)"
finish
