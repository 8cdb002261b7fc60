#!/usr/bin/env bash
# Checkpoints by the processes of a job: the bytes of one process, any layout reads them, a rank that is killed in a save leaves a whole one.
. "$2/tests/support/support_cli.sh"
program=$(dirname "$1")/tests/ckpt_program
. "$2/tests/support/support_mpi.sh"

# job RANKS ARGUMENTS...
job() {
  local n=$1
  shift
  timeout -k 5 60 "$mpirun" --allow-run-as-root --oversubscribe --bind-to none --mca btl self,vader,tcp -np "$n" "$program" "$@" \
    >stdout.txt 2>stderr.txt </dev/null
}
good() { job "$@" || fail "$*: $(head -c 900 stderr.txt)"; }

"$program" save alone 1 1 0 100 || fail "one process"
good 4 save two 2 2 1 100
good 2 save tp 1 2 0 100
for file in model.safetensors train/optimizer.safetensors train/state.json train/manifest.json config.json; do
  for dir in two tp; do
    cmp "alone/step-00000100/$file" "$dir/step-00000100/$file" || fail "$dir: $file is not that of one process"
  done
done
"$program" load two 1 1 0 100 || fail "one process reads what four wrote"
good 4 load two 4 1 1 100
good 4 load two 1 4 0 100
good 4 load alone 2 2 1 100
good 2 load two 1 2 0 100
good 4 save two 4 1 1 150 # others go on
good 4 load two 2 2 1 150
[ "$(ls two | grep -c -e tmp -e old)" -eq 0 ] || fail "left over: $(ls two)"

# killed in the middle: the job ends, says who, and what is there is whole; of one place of each kind, and of all renames, other layouts go on from it
for at in "0 mkdir1" "0 write1" "3 pwrite0" "3 pwrite9" "2 fsync0" "1 fsync1" "0 pwrite20" "0 write2" "0 fsync4" "0 rename0" "0 rename1"; do
  rm -rf killed
  job 4 kill killed 2 2 1 $at && fail "kill $at: ended well"
  grep -q "rank ${at% *} (.*) is gone" stderr.txt || fail "kill $at: $(head -c 600 stderr.txt)"
  "$program" load killed 1 1 0 0 || fail "after a kill at $at"
  case $at in *mkdir1 | *pwrite9 | *write2 | *fsync4 | *rename*) ;; *) continue ;; esac
  good 4 load killed 4 1 1 0
  good 4 save killed 2 2 1 300
  [ "$(ls killed | grep -c -e tmp -e old)" -eq 0 ] || fail "kill $at: left over: $(ls killed)"
  "$program" load killed 1 1 0 300 || fail "after a kill at $at and a save"
done
finish
