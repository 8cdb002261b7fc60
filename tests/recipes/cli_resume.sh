#!/usr/bin/env bash
# A run that is killed, stopped, or loses its newest checkpoint, and goes on: the losses of an uninterrupted one, bit for bit.
. "$2/tests/support/support_cli.sh"

options=(tiny.yaml --train.steps=200 --train.eval_every=50 --model.dropout=0.1)
run() { "$halfstep" pretrain "${options[@]}" --out "$@"; }
# Sends SIGNAL as soon as the run says it did step N; the exit code is the run's.
interrupt() {
  local signal=$1 step=$2 out=$3 pid status
  : >events.txt # of the run before
  "$halfstep" pretrain "${options[@]}" --out "$out" --json "${@:4}" >events.txt 2>stderr.txt &
  pid=$!
  while kill -0 $pid 2>/dev/null && ! grep -q "\"step\":$step," events.txt; do sleep 0.01; done
  kill "-$signal" $pid
  wait $pid 2>/dev/null
  status=$?
  return $status
}

run whole --quiet || fail "the uninterrupted run"
losses whole/metrics.jsonl >whole.txt
[ "$(wc -l <whole.txt)" -eq 200 ] || fail "200 lines"

steps=(7 33 61 110) signals=(TERM INT USR1) # before the first checkpoint, and behind three others
[ -z "$again" ] || steps=(33) signals=(TERM)
for step in "${steps[@]}"; do
  rm -rf killed
  interrupt KILL $step killed
  [ $? -eq 137 ] || fail "killed at $step: exit code"
  run killed --quiet || fail "killed at $step: does not go on"
  cmp -s whole.txt <(losses killed/metrics.jsonl) || fail "killed at $step: other losses: $(diff whole.txt <(losses killed/metrics.jsonl) | head -2)"
done

for signal in "${signals[@]}"; do
  rm -rf stopped
  interrupt $signal 29 stopped
  [ $? -eq 75 ] || fail "SIG$signal: the exit code is not 75"
  grep -q "^halfstep: stopped by SIG$signal after step [0-9]* of 200; saved in stopped/checkpoints" stderr.txt || fail "SIG$signal: $(tail -1 stderr.txt)"
  grep -q '"event":"stopped"' events.txt || fail "SIG$signal: no event"
  run stopped --quiet || fail "SIG$signal: does not go on"
  cmp -s whole.txt <(losses stopped/metrics.jsonl) || fail "SIG$signal: other losses"
done

# a damaged newest checkpoint is passed over
rm -rf damaged && run damaged --quiet --train.steps=100 --optim.schedule=constant
run flat --quiet --optim.schedule=constant
truncate -s -1 damaged/checkpoints/step-00000100/model.safetensors
expect 0 'step-00000100.*damaged' "$halfstep" pretrain "${options[@]}" --out damaged --optim.schedule=constant
cmp -s <(losses flat/metrics.jsonl) <(losses damaged/metrics.jsonl) || fail "damaged: other losses"

# micro-batches share weights packed once per step, which no checkpoint has: they are made again from what was loaded
shared=(--train.steps=100 --train.accumulate=4)
run micro --quiet "${shared[@]}"
interrupt TERM 29 micro_cut "${shared[@]}"
run micro_cut --quiet "${shared[@]}"
cmp -s <(losses micro/metrics.jsonl) <(losses micro_cut/metrics.jsonl) || fail "accumulation: other losses"
grep -q '"packed":[1-9]' <("$halfstep" plan tiny.yaml --train.accumulate=4 --json) || fail "accumulation: no packed weights"

# one writer per run
: >events.txt
"$halfstep" pretrain "${options[@]}" --out busy --train.steps=100000 --json >events.txt 2>/dev/null &
pid=$!
while kill -0 $pid 2>/dev/null && ! grep -q '"step":3,' events.txt; do sleep 0.01; done
expect 2 'another process is training in busy' "$halfstep" pretrain "${options[@]}" --out busy
kill -KILL $pid
wait $pid 2>/dev/null

# nothing left to do; beginning anew only when told so
expect 0 '' "$halfstep" pretrain whole/config.yaml --out whole
grep -q 'done: 200 steps' stdout.txt || fail "a finished run does not say so"
expect 2 'already has a run up to step 200' "$halfstep" pretrain whole/config.yaml --out whole --resume none
mkdir whole/checkpoints/step-00000020-mine
expect 0 'replacing the run' "$halfstep" pretrain whole/config.yaml --out whole --resume none --overwrite --train.steps=20
[ -d whole/checkpoints/step-00000020-mine ] || fail "--overwrite removed a folder of the user's"
[ "$(cat whole/checkpoints/LATEST)" = step-00000020 ] && [ ! -e whole/checkpoints/step-00000200 ] || fail "--overwrite kept the old run"
[ "$(wc -l <whole/metrics.jsonl)" -eq 20 ] || fail "--overwrite kept the old metrics"
# from a path: an earlier checkpoint of another run
expect 0 '' "$halfstep" pretrain flat/config.yaml --out branch --resume flat/checkpoints/step-00000180
cmp -s <(losses flat/metrics.jsonl | tail -20) <(losses branch/metrics.jsonl) || fail "--resume PATH: other losses"
! grep -q 'will not repeat' stderr.txt || fail "--resume PATH: the same text is taken for another"
expect 0 '' "$halfstep" pretrain flat/config.yaml --out done --resume flat # nothing is left to do: the new folder has what it says
grep -q "^checkpoint   done/checkpoints/step-00000200$" stdout.txt || fail "a run that was done, in a new folder: $(cat stdout.txt)"
cmp -s flat/checkpoints/step-00000200/model.safetensors done/checkpoints/step-00000200/model.safetensors || fail "a run that was done has other weights in a new folder"
expect 0 '' "$halfstep" pretrain flat/config.yaml --out done
expect 2 'later than the one to go on from' "$halfstep" pretrain flat/config.yaml --out flat --resume flat/checkpoints/step-00000180
expect 2 'later than the one to go on from' "$halfstep" pretrain flat/config.yaml --out flat --resume flat/checkpoints/step-00000180/

# disk full: the last checkpoint stays whole, and so does the run once there is room
rm -rf full && run full --quiet --train.steps=100 --optim.schedule=constant
(
  ulimit -f 64
  expect 2 'File too large|No space' "$halfstep" pretrain "${options[@]}" --out full --optim.schedule=constant --train.log_every=100 --quiet
  exit "$failures"
) || fail "disk full"
[ -z "$(find full/checkpoints -name '*tmp*')" ] || fail "disk full: left $(find full/checkpoints -name '*tmp*')"
expect 0 '' "$halfstep" eval full --data text.txt
run full --quiet --optim.schedule=constant || fail "disk full: does not go on"
cmp -s <(losses flat/metrics.jsonl | tail -100) <(losses full/metrics.jsonl | tail -100) || fail "disk full: other losses"
finish
