#!/usr/bin/env bash
# Signals and pipes around mpirun: what it makes of them, what the ranks make of that, and that the checkpoint is there.
. "$2/tests/support/support_cli.sh"
. "$2/tests/support/support_mpi.sh"
sed -i '/^exec:/d' tiny.yaml
options=(tiny.yaml --dtype fp32 --exec.threads=1 --train.tensorboard=false --checkpoint.every=0 --train.eval_every=0)
# started OUT COMMAND...: in the background, past its ninth step; its id is in $pid
started() {
  rm -rf "$1"
  "${@:2}" "$halfstep" pretrain "${options[@]}" --out "$1" --train.steps=100000 --json >events.txt 2>stderr.txt &
  pid=$!
  until ! kill -0 $pid 2>/dev/null || grep -q '"step":9,' "$1/metrics.jsonl" 2>/dev/null; do sleep 0.02; done
}
steps() { tail -1 "$1/metrics.jsonl" | grep -oE '"step":[0-9]+' | cut -d: -f2; }
# saved OUT: the last step is the newest checkpoint, and goes on
saved() {
  local step=$(steps "$1")
  [ -e "$1/checkpoints/$(printf 'step-%08d' "$step")/model.safetensors" ] || fail "$how: no checkpoint of step $step: $(ls "$1/checkpoints")"
  ranks 2 "$halfstep" pretrain "${options[@]}" --out "$1" --train.steps=$((step + 1)) --quiet 2>stderr.txt || fail "$how: does not go on: $(cat stderr.txt)"
  [ "$(steps "$1")" -eq $((step + 1)) ] || fail "$how: went on to step $(steps "$1"), not $((step + 1))"
}
patience=1 # seconds between what mpirun sends
[ "$3" = slow ] && patience=5
job=("$mpirun" --bind-to none --mca odls_base_sigkill_timeout $patience -np 2)

# Open MPI decides on its exit code, 1, when the signal comes, and then hands it on, in its own time: meanwhile it reads nothing.
how='TERM to mpirun'
started term "${job[@]}"
kill -TERM $pid
wait $pid
code=$?
[ $code -eq 1 ] || [ $code -eq 75 ] || fail "$how: exit code $code: $(cat stderr.txt)"
grep -q '^halfstep: stopped by SIGTERM after step' stderr.txt || fail "$how: not said: $(tail -3 stderr.txt)"
saved term

how='TERM to hosts.sh'
echo "localhost slots=2" >two.txt
mkdir bin
printf '#!/bin/bash\nexec %q "${@/#10/%s}"\n' "$mpirun" $patience >bin/mpirun # which it would wait twice for when all is done
chmod +x bin/mpirun
PATH=$work/bin:$PATH started hosts "$source_dir/scripts/launch/hosts.sh" two.txt
kill -TERM $pid
wait $pid
code=$?
[ $code -eq 75 ] || fail "$how: exit code $code: $(cat stderr.txt)"
grep -q '"event":"stopped"' events.txt || fail "$how: no event: $(tail -1 events.txt)"
saved hosts

# mpirun goes on for ten lines without a reader, and ends the job
how='mpirun | head -1'
timeout 60 "${job[@]}" "$halfstep" pretrain "${options[@]}" --out head --train.steps=3000 2>stderr.txt | head -1 >/dev/null
saved head

# a rank that is gone: what mpirun sends the others then is no wish to be saved
how='KILL of rank 1'
started dead "${job[@]}"
ranks=($(pgrep -P $pid))
kill -KILL "${ranks[1]}"
kill -TERM "${ranks[0]}" 2>/dev/null
wait $pid
code=$?
[ $code -eq 4 ] || [ $code -eq 137 ] || fail "$how: exit code $code: $(cat stderr.txt)"
grep -q "^halfstep: rank 1 (.*) is gone: its process ${ranks[1]} has ended" stderr.txt || fail "$how: not said: $(cat stderr.txt)"
! grep -q 'stopped by' stderr.txt || fail "$how: $(grep 'stopped by' stderr.txt)"
[ -z "$(ls dead/checkpoints | grep -x 'step-[0-9]*')" ] || fail "$how: something is saved: $(ls dead/checkpoints)"
finish
