#!/usr/bin/env bash
# The progress line: one that updates on a terminal, plain lines elsewhere, no colour where it is not wanted.
. "$2/tests/support/support_cli.sh"
command -v script >/dev/null || { echo "script(1) is not installed: skipped"; exit 0; }

terminal() { TERM=$1 script -qec "stty columns ${2:-150}; ${3:-} $halfstep pretrain tiny.yaml --out run-$RANDOM$RANDOM --train.steps=200 --dtype fp32" /dev/null >out.txt 2>&1 </dev/null; }
terminal xterm || fail "on a terminal: $(tail -3 out.txt)"
[ "$(tr -cd '\r' <out.txt | wc -c)" -gt 3 ] || fail "no updating line on a terminal"
for label in step loss lr norm tok/s MFU mem data left; do
  grep -q "$label" out.txt || fail "the line lacks $label"
done
grep -q $'\033\[2m' out.txt || fail "no colour on a terminal"
terminal xterm 150 'NO_COLOR=1'
! grep -q $'\033\[[0-9;]*m' out.txt || fail "NO_COLOR is not respected"
terminal dumb
! grep -q $'\033' out.txt || fail "escape sequences on a dumb terminal"
terminal xterm 60 'NO_COLOR=1'
tr '\r' '\n' <out.txt | sed 's/\x1b\[K//' | awk '/^step/ && length > 60 { exit 1 }' || fail "the line is wider than the terminal"
# a warning in between stands on a line of its own
TERM=xterm NO_COLOR=1 script -qec "$halfstep pretrain tiny.yaml --out warned --dtype fp16 --amp.scaler=megatron --train.steps=30" /dev/null >out.txt 2>&1 </dev/null
tr '\r' '\n' <out.txt | sed 's/\x1b\[K//g' | grep -q '^warning: step 1 skipped' || fail "a warning is glued to the line"
expect 0 '' "$halfstep" pretrain tiny.yaml --out plain --train.log_every=20 --quiet
[ ! -s stdout.txt ] && [ ! -s stderr.txt ] || fail "--quiet printed: $(cat stdout.txt stderr.txt)"
# lines on the screen may be fewer than lines of figures
expect 0 '' "$halfstep" pretrain tiny.yaml --out fewer --train.steps=12 --train.log_every=1 --train.show_every=5 --train.eval_every=0
[ "$(grep -o '^step [0-9]*' stdout.txt | tr '\n' ' ')" = 'step 5 step 10 step 12 ' ] || fail "show_every: $(cat stdout.txt)"
[ "$(wc -l <fewer/metrics.jsonl)" = 12 ] || fail "metrics.jsonl of a run that shows less has $(wc -l <fewer/metrics.jsonl) lines"
# beside other work the peak is that of the machine all the same: never 0, and no share of it is above 1
peak() { grep -o '"peak_flops":[^,}]*' "$1" | head -1 | cut -d: -f2; }
expect 0 '' "$halfstep" pretrain tiny.yaml --out quiet --train.steps=3 --json
cp stdout.txt quiet.txt
for i in $(seq $(nproc)); do (exec timeout 60 sh -c 'while :; do :; done') & done
expect 0 '' nice -n 5 "$halfstep" pretrain tiny.yaml --out busy --train.steps=3 --json
kill $(jobs -p)
awk -v a="$(peak stdout.txt)" -v b="$(peak quiet.txt)" 'BEGIN { exit !(a > 0.3 * b) }' || fail "the peak beside other work is $(peak stdout.txt), alone $(peak quiet.txt)"
! grep -o '"mfu":[^,}]*' busy/metrics.jsonl quiet/metrics.jsonl | cut -d: -f3 | awk '$1 > 1 { exit 0 } { n++ } END { exit 1 }' || fail "more than the whole peak is used"
finish
