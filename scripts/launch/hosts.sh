#!/usr/bin/env bash
# Ranks on plain hosts that ssh reaches without a password, by Open MPI.
#   scripts/launch/hosts.sh HOSTS halfstep pretrain CONFIG --out RUN --parallel.tp=8 [...]
#   scripts/launch/hosts.sh HOSTS --cores 8 halfstep ...      # each rank has eight cores, and as many threads
# HOSTS: see the file `hosts` beside this script. The program is installed at the same place on every host; data and RUN are in a folder that all
# of them see. Ranks of one tp group are neighbours in the file: let parallel.tp divide the slots of a host.
# To stop early: kill -USR1 or -TERM this process. All ranks save at the next step and the job ends with 75; the same command goes on.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,7s/^# \?//p' "$0" >&2 && exit 2; }
hosts=$1
shift
[ -r "$hosts" ] || { echo "hosts.sh: $hosts: cannot be read" >&2 && exit 2; }
map=()
if [ "$1" = --cores ]; then
  map=(--map-by "slot:PE=$2" --bind-to core)
  shift 2
fi
# mpirun hands USR1 on and waits. At a TERM, and whenever a rank has ended by itself, it gives the others odls_base_sigkill_timeout seconds
# before it kills them, and waits for about twice as long even if they are gone: short, so that a failure shows soon, with USR1 to save by.
mpirun --hostfile "$hosts" "${map[@]}" --mca odls_base_sigkill_timeout 10 "$@" &
job=$!
trap 'kill -USR1 "$job"' USR1 TERM
code=0
wait "$job" || code=$?
while [ "$code" -gt 128 ] && kill -0 "$job" 2>/dev/null; do # a signal ended the wait, not the job
  code=0
  wait "$job" || code=$?
done
exit "$code"
