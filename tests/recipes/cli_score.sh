#!/bin/bash
# `halfstep score`: predictions against gold labels, out of files of every format, by the scorer that is named; bad input is one line.
# shellcheck disable=SC1091,SC2154
source "$2/tests/support/support_cli.sh" "$@"

score() { "$halfstep" score "$@" 2>stderr.txt; }
# is NAME VALUE ARGS...: a score of --json, to 9 digits.
is() {
  local name=$1 value=$2 got
  shift 2
  score "$@" --json >out.json || fail "score $* failed: $(cat stderr.txt)"
  json_lines out.json
  got=$(grep -oE "\"$name\":[-+0-9.eE]+" out.json | head -1 | cut -d: -f2)
  near "$got" "$value" 1e-9 || fail "score $*: $name is $got, not $value"
}

# ---- tokens: seqeval's example, in which the first entity begins a word too early; and a chunk that begins with I-
printf 'a O\nb O\nc O\nd B-MISC\ne I-MISC\nf I-MISC\ng O\n\nh B-PER\ni I-PER\nj O\n' >gold.conll
printf 'a O\nb O\nc B-MISC\nd I-MISC\ne I-MISC\nf I-MISC\ng O\n\nh B-PER\ni I-PER\nj O\n' >pred.conll
is f1 0.5 tokens gold.conll pred.conll
is accuracy 0.8 tokens gold.conll pred.conll
grep -q '"scorer":"seqeval, default mode"' out.json || fail "the scorer is not named: $(cat out.json)"
is f1 0.5 tokens gold.conll pred.conll --mode strict
grep -q '"scorer":"seqeval, strict mode, scheme IOB2"' out.json || fail "the mode is not named: $(cat out.json)"
is f1 0.5 tokens gold.conll pred.conll --mode conlleval
printf 'a B-NP\nb I-NP\nc O\n' >whole.conll
printf 'a I-NP\nb I-NP\nc O\n' >leading.conll
is f1 1 tokens whole.conll leading.conll
is f1 0 tokens whole.conll leading.conll --mode strict --scheme iob2
# one file: the last column is predicted, the one before gold, also where nothing was predicted
paste -d' ' gold.conll <(cut -d' ' -f2 pred.conll) | sed 's/^ *$//' >both.conll
is f1 0.5 tokens both.conll
sed -E 's/[^ ]+$/O/' both.conll >none.conll
is f1 0 tokens none.conll
is f1 0 tokens gold.conll none.conll
is f1 1 tokens both.conll both.conll --gold-label 2 --pred-label 2
# NeMo's pairs and JSON beside columns
echo 'a b c' >text_x.txt && echo 'B-NP I-NP O' >labels_x.txt
echo '{"tokens": ["a", "b", "c"], "tags": ["B-NP", "O", "O"]}' >x.jsonl
is accuracy 0.6666666666666666 tokens text_x.txt x.jsonl
# parts of speech are classes
printf 'a DT\nb NN\nc VB\n' >pos.conll && printf 'a DT\nb NN\nc NN\n' >pos2.conll
is accuracy 0.6666666666666666 tokens pos.conll pos2.conll
grep -q '"scorer":"scikit-learn"' out.json || fail "classes are scikit-learn's: $(cat out.json)"

# ---- sequence: 2 of 6 wrong; precision 2/3, recall 2/3 of class 1
printf 'sentence\tlabel\none a\t0\ntwo b\t1\nthree c\t1\nfour d\t0\nfive e\t1\nsix f f\t0\n' >gold.tsv
printf 'sentence\tlabel\tprediction\none a\t0\t0\ntwo b\t1\t1\nthree c\t1\t0\nfour d\t0\t1\nfive e\t1\t1\nsix f f\t0\t0\n' >pred.tsv
for f in "gold.tsv pred.tsv" "pred.tsv" "pred.tsv --gold-label label --pred-label prediction"; do
  # shellcheck disable=SC2086
  is accuracy 0.6666666666666666 sequence $f
  is f1 0.6666666666666666 sequence $f
  is mcc 0.3333333333333333 sequence $f
done
tail -n +2 gold.tsv >gold_bare.tsv && tail -n +2 pred.tsv | sed 's/$/\t0.75/' >pred_bare.tsv # as predict writes it: label and score behind the rest
is accuracy 0.6666666666666666 sequence gold_bare.tsv pred_bare.tsv
printf 'index\tprediction\n0\t0\n1\t1\n2\t0\n3\t1\n4\t1\n5\t0\n' >glue.tsv # labels alone, as GLUE's server takes them
is accuracy 0.6666666666666666 sequence gold.tsv glue.tsv
cut -f2 gold.tsv | tail -n +2 >bare_gold.txt && cut -f3 pred.tsv | tail -n +2 >bare_pred.txt # a label a line
is accuracy 0.6666666666666666 sequence bare_gold.txt bare_pred.txt
cut -f2 gold.tsv >bare_gold.txt && cut -f3 pred.tsv >bare_pred.txt # and what it is above them
is accuracy 0.6666666666666666 sequence bare_gold.txt bare_pred.txt
printf '0 one a\n1 two b\n1 three c\n0 four d\n1 five e\n0 six f f\n' >gold.txt
is accuracy 0.6666666666666666 sequence gold.txt pred.tsv
i=0
while read -r y p; do
  echo "{\"id\": $((i++)), \"text\": \"some words\", \"label\": \"$y\"}" >&3
  echo "{\"id\": $((i - 1)), \"text\": \"some words\", \"label\": \"$([ "$p" -gt 5 ] && echo yes || echo no)\", \"scores\": {\"no\": 0.$((10 - p)), \"yes\": 0.$p}}" >&4
done 3>gold.jsonl 4>pred.jsonl <<'ROWS'
yes 9
no 1
yes 6
no 7
yes 4
no 2
ROWS
is roc_auc 0.7777777777777778 sequence gold.jsonl pred.jsonl
is accuracy 0.6666666666666666 sequence gold.jsonl pred.jsonl
is f1 0.6666666666666666 sequence gold.jsonl pred.jsonl --positive no
"$halfstep" score sequence - pred.tsv --json <gold.tsv >out.json || fail "gold labels of a pipe"

# ---- regression and multilabel
printf 'score\tsentence1\tsentence2\n1\ta\tb\n2\ta\tb\n3\ta\tb\n4\ta\tb\n' >gold.sts
printf 'prediction\n1\n3\n2\n4\n' >pred.sts
is pearson 0.8 regression gold.sts pred.sts
is spearman 0.8 regression gold.sts pred.sts
is mse 0.5 regression gold.sts pred.sts
printf '{"text": "x", "labels": ["a", "b"]}\n{"text": "y", "labels": []}\n{"text": "z", "labels": ["c"]}\n' >gold.ml
printf '{"text": "x", "labels": ["a"]}\n{"text": "y", "labels": ["c"]}\n{"text": "z", "labels": ["c"]}\n' >pred.ml
is f1_micro 0.6666666666666666 multilabel gold.ml pred.ml
is f1_samples 0.5555555555555556 multilabel gold.ml pred.ml

# ---- span: SQuAD's files
cat >v2.json <<'JSON'
{"version": "v2.0", "data": [{"title": "t", "paragraphs": [{"context": "The cat sat on a mat.", "qas": [
 {"id": "q1", "question": "?", "answers": [{"text": "The cat", "answer_start": 0}, {"text": "cat", "answer_start": 4}]},
 {"id": "q2", "question": "?", "answers": [{"text": "a mat", "answer_start": 15}]},
 {"id": "q3", "question": "?", "is_impossible": true, "answers": []}]}]}]}
JSON
echo '{"q1": "cat!", "q2": "on a mat", "q3": "cat"}' >answers.json
is exact 33.333333333333336 span v2.json answers.json
is f1 55.55555555555556 span v2.json answers.json
is HasAns_f1 83.33333333333333 span v2.json answers.json
is NoAns_exact 0 span v2.json answers.json
echo '{"q1": -2, "q2": -1, "q3": 3}' >odds.json
is best_exact 66.66666666666667 span v2.json answers.json --null-odds odds.json
is best_f1 88.8888888888889 span v2.json answers.json --null-odds odds.json
is exact 66.66666666666667 span v2.json answers.json --null-odds odds.json --threshold 0
printf '{"id": "a", "context": "x y", "answers": {"text": ["x"], "answer_start": [0]}}\n{"id": "b", "answers": ["y"]}\n' >v1.jsonl
printf '{"id": "b", "prediction_text": "z"}\n{"id": "a", "prediction_text": "X."}\n' >answers.jsonl
is exact_match 50 span v1.jsonl answers.jsonl
grep -q '"scorer":"SQuAD 1.1"' out.json || fail "the script is not named: $(cat out.json)"

# ---- intervals, choice, reports
score sequence gold.tsv pred.tsv --bootstrap 200 --seed 5 --metric f1,mcc >a.txt
score sequence gold.tsv pred.tsv --bootstrap 200 --seed 5 --metric f1,mcc >b.txt
cmp -s a.txt b.txt || fail "two bootstraps of a seed differ"
grep -qE '^f1 +0.6667   0\.[0-9]{4} to ' a.txt || fail "no interval: $(cat a.txt)"
[ "$(grep -cE '^(f1|mcc|accuracy)' a.txt)" -eq 2 ] || fail "--metric shows others: $(cat a.txt)"
score sequence gold.jsonl pred.jsonl --report reports/r1 --quiet >/dev/null || fail "no report: $(cat stderr.txt)"
for f in scores confusion calibration length; do
  "$check_json" lines "reports/r1/$f.json" 2>error.txt || fail "reports/r1/$f.json is no JSON: $(cat error.txt)"
done
grep -q '^calibration: expected error' reports/r1/report.txt || fail "no calibration in the report: $(cat reports/r1/report.txt)"
if "$halfstep" env | grep -qiE 'png.*(yes|[0-9])'; then
  for f in confusion calibration length; do
    [ "$(head -c 4 "reports/r1/$f.png" | tail -c 3)" = PNG ] || fail "no picture $f.png"
  done
fi
printf 'text\tlabel\na\tx\nb\ty\nc\tx\n' >sure.gold.tsv
printf 'text\tlabel\tpredicted_label\tscore\na\tx\tx\t0.75\nb\ty\tx\t0.55\nc\tx\tx\t0.95\n' >sure.pred.tsv
score sequence sure.gold.tsv sure.pred.tsv --report reports/sure --quiet >/dev/null || fail "no report of a table: $(cat stderr.txt)"
grep -q '^calibration: expected error 0.2833' reports/sure/report.txt || fail "a table's scores do not count: $(cat reports/sure/report.txt)"
sed 's/0.95/sure/' sure.pred.tsv >unsure.pred.tsv
score sequence sure.gold.tsv unsure.pred.tsv --report reports/unsure --quiet >/dev/null || fail "no report of a table: $(cat stderr.txt)"
grep -q calibration reports/unsure/report.txt && fail "a score that is no number counts"
score tokens gold.conll pred.conll --report reports/r2 --quiet >/dev/null || fail "no report of tokens"
grep -qE '^MISC +0.0000' reports/r2/report.txt || fail "no table of types: $(cat reports/r2/report.txt)"

# ---- what is refused
expect 2 'no task "token", nearest is tokens' "$halfstep" score token gold.conll pred.conll
expect 2 'needs GOLD and PRED' "$halfstep" score tokens
expect 2 'nothing.conll' "$halfstep" score tokens gold.conll nothing.conll
sed 's/^e /x /' pred.conll >other.conll
expect 2 'other.conll:5: word "x", where the sentence of gold.conll:5 has another' "$halfstep" score tokens gold.conll other.conll
head -7 pred.conll >short.conll
expect 2 'gold.conll:9: the first that short.conll has no partner for, which ends behind 1' "$halfstep" score tokens gold.conll short.conll
printf 'a E-X\nb O\n' >e.conll && printf 'a B-X\nb O\n' >bx.conll
expect 2 'tag "B-X" is none of scheme ioe2, whose tags begin with I, O or E' "$halfstep" score tokens e.conll bx.conll --mode strict
expect 2 'scheme is of --mode strict' "$halfstep" score tokens gold.conll pred.conll --scheme iob2
expect 2 'mode is of entities' "$halfstep" score tokens pos.conll pos2.conll --mode strict
expect 2 'lines of 2 columns' "$halfstep" score tokens gold.conll
sed 's/\t1$/\tpositive/; s/\t0$/\tnegative/' gold.tsv >named.tsv
expect 2 'named.tsv has no label that gold.tsv has: "negative" here, "0" there' "$halfstep" score sequence gold.tsv named.tsv
head -4 glue.tsv >few.tsv
expect 2 'gold.tsv:5: the first that few.tsv has no partner for, which ends behind 3' "$halfstep" score sequence gold.tsv few.tsv
sed 's/"id": 3/"id": 9/' pred.jsonl >ids.jsonl
expect 2 'ids.jsonl:4: id 9, but gold.jsonl:4 has id 3' "$halfstep" score sequence gold.jsonl ids.jsonl
expect 2 'metric f2: there is none of that name, nearest is f1; there are accuracy' "$halfstep" score sequence gold.tsv pred.tsv --metric f2
expect 2 'positive maybe: the labels are 0 and 1' "$halfstep" score sequence gold.tsv pred.tsv --positive maybe
printf 'prediction\n1\nlow\n2\n4\n' >low.sts
expect 2 'low.sts:3: "low" is no number' "$halfstep" score regression gold.sts low.sts
expect 2 'bootstrap 1: an interval needs at least 2' "$halfstep" score sequence gold.tsv pred.tsv --bootstrap 1
echo '{"q1": "cat", "q2": "on a mat"}' >missing.json
expect 2 'missing.json against v2.json: no prediction for question q3' "$halfstep" score span v2.json missing.json
expect 2 'question q3 has no answer, which is a matter of version 2' "$halfstep" score span v2.json answers.json --squad 1.1
printf '{"q1": "cat",\n "q2": 5}' >wrong.json
expect 2 'wrong.json:2: q2 is a number, not a string' "$halfstep" score span v2.json wrong.json
printf '{"q1": "cat",\n "q2": "x"' >broken.json
expect 2 'broken.json:2: not JSON' "$halfstep" score span v2.json broken.json
echo >>broken.json
expect 2 'broken.json:2: not JSON' "$halfstep" score span v2.json broken.json
printf '{"label": "a"}\n{"label": "b"}\n' >bare.jsonl && printf '{"prediction": "a"}\n{"prediction": "a"}\n' >bare_pred.jsonl
expect 0 '' "$halfstep" score sequence bare.jsonl bare_pred.jsonl
grep -Eq '^accuracy +0.5' stdout.txt || fail "labels alone in JSON: $(cat stdout.txt)"
expect 0 '' "$halfstep" score sequence bare.jsonl bare.jsonl
printf '{"what": "a"}\n{"what": "b"}\n' >odd.jsonl
expect 2 'odd.jsonl:1: which column is the text cannot be told; it has: what' "$halfstep" score sequence odd.jsonl odd.jsonl
echo "{\"q1\": 1, \"q2\": 1}" >odds2.json
expect 2 "odds2.json: has no odds of question q3" "$halfstep" score span v2.json answers.json --null-odds odds2.json
finish
