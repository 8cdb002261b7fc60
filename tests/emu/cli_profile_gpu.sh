#!/usr/bin/env bash
# --profile on a GPU (an emulated one): times of its streams in the same tables and in the same kind of file as the CPU's, of the steps that
# --profile-steps names; a run that is profiled trains what it would have trained.
. "$2/tests/support/support_cli.sh"
[ -e "$(dirname "$1")/recipes/libhalfstep_cuda-emu.so" ] || exit 77 # sanitized builds, or no C++ compiler
settings=(tiny.yaml --device cuda-emu --dtype fp32 --train.steps=5 --train.batch=2 --train.eval_every=0)

expect 0 '--profile: its steps are submitted in bulk' "$halfstep" pretrain "${settings[@]}" --out run --profile run.json --profile-steps 3-4
for label in 'profile of 2 steps from step 3 on, per step, by the GPU.s events' 'by operation' 'linear +backward' '^h1 ' '^optimizer ' 'waiting in between' '^step '; do
  grep -Eq -- "$label" stdout.txt || fail "the tables lack $label: $(cat stdout.txt)"
done
"$check_json" trace run.json 2 gpu 2>error.txt || fail "run.json: $(tail -1 error.txt)"
expect 0 '' "$halfstep" pretrain "${settings[@]}" --out plain --quiet
[ "$(losses run/metrics.jsonl)" = "$(losses plain/metrics.jsonl)" ] || fail "a profile changed the losses"

# The rows of both tables, what lies between them and what is left outside are the step.
expect 0 '' "$halfstep" bench train --model tiny.yaml --device cuda-emu --dtype fp32 --steps 2 --warmup 1 --profile bench.json --json
"$check_json" profile stdout.txt 2 128 gpu 2>error.txt || fail "the report of bench: $(tail -1 error.txt)"
"$check_json" trace bench.json 2 gpu 2>error.txt || fail "bench.json: $(tail -1 error.txt)"
# step by step
expect 0 '' "$halfstep" pretrain "${settings[@]}" --out steps --exec.mode=step --profile steps.json --profile-steps 2 --quiet
"$check_json" trace steps.json 1 gpu 2>error.txt || fail "steps.json: $(tail -1 error.txt)"

# These checks see what is wrong: a trace of a CPU, streams that do two things at once, a table that does not add up.
! "$check_json" trace run.json 2 1 2>/dev/null || fail "a GPU's trace passes for a CPU's"
sed 's/"dur":[0-9.]*/"dur":1e9/' run.json >across.json
! "$check_json" trace across.json 2 gpu 2>/dev/null || fail "spans across each other pass"
finish
