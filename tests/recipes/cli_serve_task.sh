#!/usr/bin/env bash
# serve: fine-tuned models say over HTTP what predict says of the same texts; their rows are as long as those that they were trained on.
. "$2/tests/support/support_cli.sh"
. "$2/tests/support/support_serve.sh"
"$halfstep" env | grep -q '^libmicrohttpd  *[0-9]' || { echo 'no server in this build'; finish; }
. "$2/tests/support/support_labelled.sh"

expect 0 '' finetune sequence sent.tsv sent --train.steps=5 --train.tensorboard=false
expect 0 '' finetune tokens ner.conll ner --train.steps=60 --train.tensorboard=false
text=$(cut -f2 val/sent.tsv | sed -n 2p)
words=$(awk 'NF { printf "%s ", $1 } !NF { exit }' val/ner.conll)
echo "$text" >text.txt
echo "$words" >words.txt
"$halfstep" predict sent text.txt --format text --json >sent.json 2>/dev/null
"$halfstep" predict ner words.txt --format text --json >ner.json 2>/dev/null

start sent ner
says POST /predict "{\"inputs\": \"$text\"}" 200 '^\[\{"score":'
scores=$(grep -oE '"scores": \{[^}]*\}' sent.json | grep -oE '"[^"]*": [0-9.e-]+' | sed -E 's/("[^"]*"): (.*)/{"score":\2,"label":\1}/' | paste -sd,)
[ "$answer" = "[$scores]" ] || fail "predict says $scores, serve $answer"
says POST /models/ner/ner "{\"inputs\": \"${words% }\"}" 200 '^\[.*\]$'
# predict has the same entities, but for the name of a key and the places in bytes
entities=$(grep -oE '"entities": \[.*\]' ner.json | sed 's/"entities": //')
[ "$entities" != '[]' ] || fail 'nothing was found to compare'
[ "$(sed -E 's/"label"/"type"/g; s/, "(start|end)_byte": [0-9]+//g' <<<"$answer")" = "$entities" ] || fail "predict says $entities, serve $answer"
long=$(printf 'the %.0s' {1..40})
says POST /predict "{\"inputs\": \"$long\"}" 413 'longer than the 32 tokens'
says POST /predict "{\"inputs\": \"$long\", \"truncate\": true}" 200 'score'
says POST /rerank '{"query": "a", "texts": ["b", "c"], "model": "ner"}' 424 "'ner' is not a model"
stop 0
finish
