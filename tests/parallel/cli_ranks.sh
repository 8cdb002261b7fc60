#!/usr/bin/env bash
# Ranks that fail: what is said, once, by whom, and with which exit code the job ends.
. "$2/tests/support/support_cli.sh"
ranks=$(dirname "$1")/tests/ranks_program
. "$2/tests/support/support_mpi.sh"

# ends CODE REGEX RANKS MODE...: the exit code of mpirun, and the one line that is ours.
ends() {
  local code=$1 regex=$2 n=$3 got began=$SECONDS
  shift 3
  timeout -k 5 60 "$mpirun" --allow-run-as-root --oversubscribe --bind-to none --mca btl self,vader,tcp -np "$n" "$ranks" "$@" >stdout.txt 2>stderr.txt </dev/null
  got=$?
  [ "$got" -eq "$code" ] || fail "$n ranks, $*: exit code $got, not $code: $(head -c 600 stderr.txt)"
  [ "$(grep -c '^halfstep: ' stderr.txt)" -eq 1 ] || fail "$n ranks, $*: not one line of ours: $(head -c 900 stderr.txt)"
  grep -Eq -- "^halfstep: $regex" stderr.txt || fail "$n ranks, $*: not /$regex/: $(head -c 600 stderr.txt)"
  [ $((SECONDS - began)) -le 15 ] || fail "$n ranks, $*: took $((SECONDS - began)) s"
}
host=$(hostname)

ends 2 "rank 1 \\($host\\): no such file: book.txt\$" 2 one-fails 1
ends 3 "rank 0 \\($host\\): the loss is not finite\$" 3 one-fails 0 nonfinite
ends 2 'model.layers is -1$' 4 all-fail
ends 75 'stopped by SIGTERM after step 12$' 2 all-stop
ends 70 'rank . .*ranks make different calls: all-reduce #1 over dp of 10[01] f32 \(h[01]\) here, on rank . \(.*\) all-reduce #1 over dp of 10[01] f32 \(h[01]\)' 2 one-differs 1
ends 70 'rank . .*ranks make different calls: .* of 0.4 MB of f32 \(h[01]\) here, on rank . ' 3 one-differs 2 large
ends 2 "parallel.timeout is 2 on rank 1 \\($host\\), 1 on rank 0" 2 grid
ends 2 'parallel.dp 3 x parallel.tp 2 are 6 ranks, but this job has 2: mpirun -np 6$' 2 grid 3 2
ends 2 'parallel.tp is 2, which does not divide the 3 ranks of this job$' 3 grid 0 2
# a rank that stops: those that wait say for whom, where and how long
ends 4 "rank 1 \\($host\\) has not joined .* #[0-9]+ over (dp|tp|world) of .* for [0-9.]+ s: its process is stopped \\(parallel.timeout 1 s\\)" 2 signalled 1 19
ends 4 "rank 0 \\($host\\) has not joined .*: its process is stopped" 3 signalled 0 19
ends 4 "rank 1 \\($host\\) has not joined .*: it is in no collective; its last: [a-z-]+ #[0-9]+ over" 2 one-is-late 1
# a job that is stopped as a whole for longer than that, and continued, goes on
expect 0 '' "$mpirun" --allow-run-as-root --oversubscribe --bind-to none --mca btl self,vader,tcp -np 2 "$ranks" all-pause
ends 137 "rank 2 \\($host\\) is gone: its process [0-9]+ has ended" 3 signalled 2

# The program: env says which rank it is; a trace of all ranks has what moved beside compute.
run=("$mpirun" --allow-run-as-root --oversubscribe --bind-to none --mca btl self,vader,tcp -np 2 "$halfstep")
expect 0 '' "${run[@]}" env
grep -Eq '^mpi .*; started as rank 1 of 2$' stdout.txt || fail "env of two ranks: $(grep ^mpi stdout.txt)"
expect 0 '' "${run[@]}" bench comm --sizes 64,70000 --steps 1 --json
json_lines stdout.txt
[ "$(field us stdout.txt | awk '$1 > 0' | wc -l)" -eq 6 ] || fail "bench comm: $(cat stdout.txt)"
# ranks that do not come together: each says so, and help and env are to be had all the same
apart='started by mpirun .PMI: MPICH, Intel MPI. as one of 2 ranks, but .*MPI.*, which this build has, finds 1: it needs its own mpirun'
for rank in 0 1; do
  expect 2 "^halfstep: rank $rank \\($host\\): $apart" env PMI_SIZE=2 PMI_RANK=$rank "$halfstep" pretrain tiny.yaml --out no
  expect 0 '' env PMI_SIZE=2 PMI_RANK=$rank "$halfstep" env
  grep -Eq "^mpi .*; started as rank $rank of 2, and alone: $apart" stdout.txt || fail "env of ranks apart: $(grep ^mpi stdout.txt)"
done
expect 0 '' env PMI_SIZE=2 PMI_RANK=0 "$halfstep" --version
expect 0 '' env PMI_SIZE=2 PMI_RANK=0 "$halfstep" pretrain --help
grep -q '^Examples' stdout.txt || fail "no help of ranks apart"
for launched in 'mpirun .MVAPICH2.:MV2_COMM_WORLD_SIZE=2 MV2_COMM_WORLD_RANK=1' 'srun:SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=1'; do
  # shellcheck disable=SC2086
  expect 2 "^halfstep: rank 1 .*: started by ${launched%%:*} as one of 2 ranks" env ${launched#*:} "$halfstep" pretrain tiny.yaml --out no
done
expect 2 'bench comm measures what ranks do together: mpirun -np 2' "$halfstep" bench comm
expect 0 '' "${run[@]}" pretrain tiny.yaml --out traced --train.steps=6 --exec.threads=1 --profile trace.json --quiet
for rank in 0 1; do
  grep -Eq '"name":"all-reduce","cat":"ranks","ph":"X",.*"pid":'"$rank"',.*"axis":"dp"' trace.json || fail "the trace has no call of rank $rank beside compute"
done
finish
