#!/usr/bin/env bash
# --profile: tables whose rows add up to the step, and a trace file as chrome://tracing and Perfetto read it.
. "$2/tests/support/support_cli.sh"

# The trace: complete events of named threads that lie inside each other or apart, never across; every thunk of every step.
trace() { "$check_json" trace "$@" 2>error.txt || fail "$1: $(tail -1 error.txt)"; }
# The rows of a JSON report add up to the step, in both tables.
rows() { "$check_json" profile "$@" 2>error.txt || fail "$1: $(tail -1 error.txt)"; }

expect 0 '' "$halfstep" pretrain tiny.yaml --out run --dtype fp32 --profile run.json --train.steps=20
for label in 'by operation' 'by scope' 'linear +backward' 'attention +forward' '^h1 ' '^lm_head ' '^optimizer ' 'waiting in between' '^step ' 'run\.json'; do
  grep -Eq -- "$label" stdout.txt || fail "the tables lack $label"
done
grep -q '^done: 20 steps' stdout.txt || fail "the run did not go on after its profile"
trace run.json 10 2

# The steps that are named, and no others; of a run that goes on, those it has not behind it.
expect 0 '' "$halfstep" pretrain tiny.yaml --out run --dtype fp32 --profile more.json --profile-steps 18-23 --train.steps=25
grep -q '^profile of 3 steps from step 21 on' stdout.txt || fail "not steps 21 to 23: $(grep profile stdout.txt)"
trace more.json 3 2
expect 0 '' "$halfstep" pretrain tiny.yaml --out named --dtype fp32 --profile named.json --profile-steps 2 --train.steps=3 --quiet
trace named.json 1 2
for steps in 0-3 5-4 x 3- 3-4x 1-99999; do
  expect 2 "--profile-steps is '$steps', not steps of the run" "$halfstep" pretrain tiny.yaml --out none --profile none.json --profile-steps $steps
done
expect 2 'but --profile names no file' "$halfstep" pretrain tiny.yaml --out none --profile-steps 2
expect 2 'goes on behind step 25' "$halfstep" pretrain tiny.yaml --out run --profile none.json --profile-steps 20-25 --train.steps=30
[ ! -e none ] && [ ! -e none.json ] || fail "a run that was refused left something behind"

# Steps are counted over all phases; those that reach over a border end there.
cat >phases.yaml <<'YAML'
model: { layers: 2, heads: 2, width: 32, context: 16 }
data: { train: text.txt, val: 0.05 }
train: { batch: 4 }
phases: [ { steps: 4 }, { steps: 5 } ]
YAML
expect 0 '' "$halfstep" pretrain phases.yaml --out phases --dtype fp32 --profile second.json --profile-steps 6-7
grep -q '^profile of 2 steps from step 6 on' stdout.txt || fail "not steps 6 and 7, which are of the second phase: $(grep profile stdout.txt)"
trace second.json 2 2
expect 0 '1 of 3 steps were taken' "$halfstep" pretrain phases.yaml --out border --dtype fp32 --profile border.json --profile-steps 4-6
grep -q '^profile of 1 step from step 4 on' stdout.txt || fail "not step 4, the last of its phase: $(grep profile stdout.txt)"
trace border.json 1 2

# As JSON; fewer steps than wanted; into a folder. The losses are those of a run without.
mkdir folder
expect 0 '' "$halfstep" pretrain tiny.yaml --out again --dtype fp32 --profile folder --train.steps=9 --json
json_lines stdout.txt
cp stdout.txt rows.txt
rows rows.txt 4 64 # characters of the text, stored in units of 64
trace folder/profile.json 4 2
expect 0 '' "$halfstep" pretrain tiny.yaml --out plain --dtype fp32 --train.steps=9 --quiet
[ "$(losses again/metrics.jsonl)" = "$(losses plain/metrics.jsonl)" ] || fail "a profile changed the losses"
# A longer trace over a file that is there, per operation, one thread.
cp run.json over.json
expect 0 '' "$halfstep" bench train --model tiny.yaml --dtype bf16 --steps 3 --threads 1 --exec.mode=step --profile over.json
grep -q 'by scope' stdout.txt || fail "bench prints no tables"
trace over.json 3 1
expect 0 '' "$halfstep" bench train --model tiny.yaml --dtype fp32 --steps 3 --profile bench.json --json
rows stdout.txt 3 128 # 65 characters

# These checks see what is wrong: another number of steps or classes, a torn line, a span that reaches into the next.
! "$check_json" trace over.json 4 1 2>/dev/null || fail "a trace of 3 steps passes for one of 4"
! "$check_json" profile rows.txt 4 65 2>/dev/null || fail "a report passes with FLOPs of another head"
sed 's/"dur":[0-9.]*/"dur":1e9/' over.json >across.json
! "$check_json" trace across.json 3 1 2>/dev/null || fail "spans across each other pass"
{ cat rows.txt && echo '{"a":1'; } >torn.txt
! "$check_json" lines torn.txt 2>/dev/null || fail "a torn line passes"
{ cat rows.txt && echo '[1]'; } >array.txt
! "$check_json" lines array.txt 2>/dev/null || fail "a line that is no object passes"

# Nothing to profile; nowhere to write.
expect 0 'before the first step' "$halfstep" pretrain tiny.yaml --out short --train.steps=4 --profile short.json
[ ! -e short.json ] || fail "an empty trace was left behind"
expect 2 '--profile: cannot write nowhere/x.json' "$halfstep" pretrain tiny.yaml --out none --profile nowhere/x.json
[ ! -e none ] || fail "a run that was refused left a folder"
expect 2 '--profile needs a value' "$halfstep" bench train --model tiny.yaml --profile
finish
