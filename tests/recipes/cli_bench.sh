#!/usr/bin/env bash
# Every bench runs at tiny sizes, on every tier this machine has, and gives JSON lines whose figures are positive.
. "$2/tests/support/support_cli.sh"

# bench NAME ROWS FIELDS ARGUMENTS...: as many lines, each with these fields above zero
bench() {
  local name=$1 rows=$2 fields=$3 f n
  shift 3
  expect 0 '' "$halfstep" bench "$name" --threads 2 --steps 1 --json "$@"
  json_lines stdout.txt
  [ "$(wc -l <stdout.txt)" -eq "$rows" ] || fail "bench $name $*: $(wc -l <stdout.txt) rows, not $rows"
  for f in $fields; do
    n=$(field "$f" stdout.txt | awk '$1 > 0' | wc -l)
    [ "$n" -eq "$rows" ] || fail "bench $name $*: $n of $rows rows have a positive $f: $(head -c 500 stdout.txt)"
  done
}

for isa in $("$halfstep" env | awk '$1 == "isa_built" { $1 = ""; print }'); do
  "$halfstep" env | grep '^isa_supported ' | grep -qw "$isa" || continue
  bench gemm 1 'forward_gflops dx_gflops dw_gflops ceiling_gflops share forward_weights_gbps' --sizes 16x24x40 --dtype bf16 --isa "$isa"
  bench memory 2 'bytes read_gbps copy_gbps triad_gbps' --sizes 4K,20000 --isa "$isa"
done
bench gemm 2 'forward_gflops dx_gflops dw_gflops ceiling_gflops' --sizes 1x8x64,33x64x8 --dtype fp32
bench gemm 2 'forward_gflops dx_gflops dw_gflops ceiling_gflops' --sizes 16x24x40 --dtype bf16 --packed
grep -q '"packed before"' stdout.txt || fail "bench gemm --packed does not say which row is packed: $(cat stdout.txt)"
bench attention 2 'forward_gflops backward_gflops forward_ms backward_ms ceiling_gflops share' --sizes 2x16x2x8,1x5x1x16 --dtype fp32
bench attention 1 'forward_gflops backward_gflops' --sizes 2x16x2x8 --dtype bf16
bench pointwise 9 'forward_gbps forward_us memcpy_gbps forward_share' --sizes 8x64 --dtype fp32
bench pointwise 9 'forward_gbps forward_us memcpy_gbps' --sizes 8x64 --dtype bf16
bench bulk 2 'thunks step_ms bulk_ms step_over_bulk' --sizes 1x16
bench bulk 2 'step_ms bulk_ms busy_step_ms busy_bulk_ms fair_share step_over_share bulk_over_share' --sizes 1x8 --busy --dtype fp32
bench generate 1 'prefill_tokens_per_second prefill_mfu tokens_per_second weight_bytes read_gbps limit_tokens_per_second share_of_limit' \
  --model tiny.yaml --seq 8 --tokens 8
bench train 1 'tokens_per_second mfu peak_flops peak_bytes' --model tiny.yaml
grep -Eq '"peak":"(bf16 dot|fp32 fma)"' stdout.txt || fail "bench train does not say what its peak is"

bench data 3 'alone_tokens_per_second step_ms replay_ms step_tokens_per_second' --model tiny.yaml

# threads are the cores of this process, not of the machine
core=$(awk '/^Cpus_allowed_list/ { print $2 }' /proc/self/status | grep -oE '^[0-9]+')
expect 0 '' taskset -c "$core" "$halfstep" env
grep -Eq '^cores +1 usable' stdout.txt || fail "env on one core: $(grep '^cores' stdout.txt)"
expect 0 '' taskset -c "$core" "$halfstep" bench memory --sizes 4K --steps 1 --json
grep -q '"threads":1' stdout.txt || fail "bench memory on one core: $(cat stdout.txt)"

# what the plan says of the same model: the figures a prediction needs
expect 0 '' "$halfstep" plan tiny.yaml --json
for f in flops_per_step traffic_bytes trace_plan_seconds; do
  field $f stdout.txt | awk '$1 > 0 { found = 1 } END { exit !found }' || fail "plan lacks $f"
done
# people get a table with a heading and as many columns as values
expect 0 '' "$halfstep" bench memory --sizes 4K --steps 1
[ "$(wc -l <stdout.txt)" -eq 4 ] || fail "the table of bench memory: $(cat stdout.txt)"
finish
