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
ranks 2 "$halfstep" pretrain "${options[@]}" --out term >stdout.txt 2>locked.txt
[ $? -eq 2 ] && grep -q '^halfstep: rank 0.*: another process is training in term$' locked.txt || fail "a folder that others train in: $(head -3 locked.txt)"
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

# ---- while a run is set up there is nothing to save: it is said once, and the job ends. These wait for a text that never comes.
mkfifo silent
# waiting: the processes of the ranks, in their order, are in ${process[@]}
waiting() {
  "${job[@]}" "$halfstep" pretrain "${options[@]}" --out early --data.train=silent 2>stderr.txt &
  pid=$!
  for _ in {1..60}; do # the kernel may not say what they wait in
    process=($(pgrep -P $pid))
    [ "$(cat $(printf '/proc/%s/wchan ' "${process[@]}") 2>/dev/null | grep -o wait_for_partner | wc -l)" -eq 2 ] && break || sleep 0.05
  done
}
# ended CODES REGEX: the job, and the one line of ours
ended() {
  wait $pid
  local code=$?
  [[ " $1 " == *" $code "* ]] || fail "$how: exit code $code, not $1: $(head -c 600 stderr.txt)"
  [ "$(grep -c '^halfstep: ' stderr.txt)" -eq 1 ] || fail "$how: not one line: $(grep '^halfstep: ' stderr.txt)"
  grep -Eq "^halfstep: $2\$" stderr.txt || fail "$how: not /$2/: $(grep '^halfstep: ' stderr.txt)"
  [ ! -e early ] || fail "$how: a folder was made"
}
early='stopped by SIG[A-Z1]* before the first step; the same command begins again'
how='USR1 to mpirun, early'
waiting
kill -USR1 $pid
ended 75 "$early"
how='TERM to rank 1, early'
waiting
kill -TERM "${process[1]}"
ended 75 "rank 1 \(.*\): $early"
how='KILL of rank 1, early'
waiting
kill -KILL "${process[1]}"
ended "4 137" "rank 1 \(.*\) is gone: its process ${process[1]} has ended"

# ---- without mpirun no rank lives on
how='KILL of mpirun'
started orphans "${job[@]}"
process=($(pgrep -P $pid))
kill -KILL $pid
wait $pid 2>/dev/null
alive() { for p in "${process[@]}"; do [ -e "/proc/$p/stat" ] && ! grep -q ') [ZX] ' "/proc/$p/stat" 2>/dev/null && echo "$p"; done; }
for _ in {1..100}; do [ -z "$(alive)" ] && break || sleep 0.1; done
[ -z "$(alive)" ] || { fail "$how: ranks live on: $(alive)"; kill -KILL $(alive); }

# ---- a disk that is full, and then has room
how='a full disk'
cat >full.sh <<'SH'
mkdir disk && mount -t tmpfs -o size=300k none disk || exit 77
"$@" 2>first.txt
echo $? >code.txt
mount -o remount,size=20m disk
"$@" 2>second.txt
SH
unshare -rm bash full.sh "$mpirun" --bind-to none -np 2 "$halfstep" pretrain "${options[@]}" --checkpoint.every=20 --out disk/run --quiet 2>stderr.txt
code=$?
if [ -e code.txt ]; then
  [ "$(cat code.txt)" -eq 2 ] && grep -Eq '^halfstep: .*No space left on device' first.txt || fail "$how: $(cat code.txt): $(head -c 500 first.txt)"
  [ $code -eq 0 ] || fail "$how: does not go on when there is room: $(head -c 500 second.txt)"
fi
ranks 2 "$halfstep" pretrain "${options[@]}" --out unheard --train.steps=300 >/dev/full 2>stderr.txt || fail "standard output that cannot be written: $(tail -2 stderr.txt)"
finish
