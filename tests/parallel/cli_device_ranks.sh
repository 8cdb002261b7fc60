#!/usr/bin/env bash
# Ranks on emulated GPUs: by a double of NCCL where each has its own, through the host's memory where they share one; the same bits either
# way. Ranks that fail while the others wait for their device: what is said, once, and with which exit code the job ends.
. "$2/tests/support/support_cli.sh"
program=$(dirname "$1")/tests/device_program
[ -e "$(dirname "$1")/recipes/libhalfstep_cuda-emu.so" ] || exit 77 # sanitized builds, or no C++ compiler
. "$2/tests/support/support_mpi.sh"
shares='warning: device cuda-emu: what moves over dp goes through the host.s memory: ranks 0 and 1 of dp have the same GPU \(0000:12:00.0\)'

expect 0 '' ranks 2 "$program" cuda-emu collectives
grep -v 'emulated GPU' stderr.txt && fail "each rank has a GPU, and something is said: $(cat stderr.txt)"
CUDA_VISIBLE_DEVICES=2 expect 0 "$shares" ranks 2 "$program" cuda-emu collectives
[ "$(grep -c 'the same GPU' stderr.txt)" -eq 2 ] || fail "not once for each axis: $(cat stderr.txt)"

expect 0 '' ranks 2 "$program" cuda-emu trains
grep -q '^losses' stdout.txt || fail "trains: $(cat stdout.txt)"
mv stdout.txt nccl.txt
CUDA_VISIBLE_DEVICES=2 expect 0 "$shares" ranks 2 "$program" cuda-emu trains
cmp stdout.txt nccl.txt || fail "through the host: other numbers: $(cat stdout.txt nccl.txt)"

# ends CODE REGEX MODE...: the exit code of mpirun, and the one line that is ours
host=$(hostname)
ends() {
  local code=$1 regex=$2 got began=$SECONDS
  shift 2
  timeout -k 5 60 "$mpirun" --bind-to none -np 2 "$program" cuda-emu "$@" >stdout.txt 2>stderr.txt </dev/null
  got=$?
  [ "$got" -eq "$code" ] || fail "$*: exit code $got, not $code: $(head -c 600 stderr.txt)"
  [ "$(grep -c '^halfstep: ' stderr.txt)" -eq 1 ] || fail "$*: not one line of ours: $(head -c 900 stderr.txt)"
  grep -Eq -- "^halfstep: $regex" stderr.txt || fail "$*: not /$regex/: $(head -c 600 stderr.txt)"
  [ $((SECONDS - began)) -le 15 ] || fail "$*: took $((SECONDS - began)) s"
}
missing="rank 1 \\($host\\) has not joined all-reduce #21 over dp of 100 f32 \\(gradients\\) for [0-9.]+ s: it is in no collective; its last: all-reduce #20 over dp of 400 f32 \\(gradients\\), [0-9.]+ s ago, all-reduce #19 .*parallel.timeout 1 s"
ends 4 "$missing" late
ends 4 "$missing" late graph
ends 4 'rank 1 of dp gave up$' gives-up
ends 137 "rank 1 \\($host\\) is gone: its process [0-9]+ has ended" killed
finish
