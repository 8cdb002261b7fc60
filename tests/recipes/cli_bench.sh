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
  bench op 1 'forward_gflops dx_gflops dw_gflops ceiling_gflops adds_per_core share forward_gbps' linear --sizes 16x24x40 --dtype bf16 --isa "$isa"
  bench memory 2 'bytes read_gbps copy_gbps triad_gbps' --sizes 4K,20000 --isa "$isa"
done
bench op 2 'forward_gflops dx_gflops dw_gflops ceiling_gflops' linear --sizes 1x8x64,33x64x8 --dtype fp32
grep -q '"dtype":"fp32"' stdout.txt || fail "bench op does not call the type as --dtype does: $(cat stdout.txt)"
bench op 2 'forward_gflops dx_gflops dw_gflops ceiling_gflops' linear --sizes 16x24x40 --dtype bf16 --packed
grep -q '"packed before"' stdout.txt || fail "bench op linear --packed does not say which row is packed: $(cat stdout.txt)"
bench op 2 'forward_gflops backward_gflops forward_us' linear_fp8 --sizes 16x32x48 --dtype bf16
grep -q '"op":"linear_fp8".*"pays":"\(yes\|no\)"' stdout.txt || fail "bench op linear_fp8 does not say whether it pays: $(cat stdout.txt)"
grep -q '"op":"linear".*"pays":"-"' stdout.txt || fail "bench op linear_fp8 does not measure linear beside it: $(cat stdout.txt)"
bench op 2 'forward_gflops backward_gflops forward_us backward_us ceiling_gflops share' attention --sizes 2x32x8x8,1x5x1x16 --dtype fp32
bench op 1 'forward_gflops backward_gflops' attention --sizes 2x32x8x8 --dtype bf16
bench op 2 'forward_gflops backward_gflops forward_us backward_us' attention --sizes 2x16x128,3x8x40 --dtype fp32
bench op 1 'forward_gflops forward_gbps forward_us share' attention --sizes 2x1x16x2x8 --dtype bf16
! grep -q 'backward' stdout.txt || fail "decoding has a backward: $(cat stdout.txt)"
row_wise=layernorm,softmax,gelu,bias_gelu,dropout,add,bias_dropout_residual_layernorm,xent
for dtype in fp32 bf16; do
  bench op 8 'forward_gbps forward_us read_gbps copy_gbps share' $row_wise --sizes 8x64 --dtype $dtype
done

# Every operation of the table, each in the form its entry says; one of which no kernel runs alone is named with the reason, and alone refused.
expect 0 '' "$halfstep" bench op all --sizes 8x64,16x32x48,2x32x8x8,1x1x16x2x8 --dtype bf16 --threads 2 --steps 1 --json
json_lines stdout.txt
grep -oE '"op":"[a-z_]+"' stdout.txt | cut -d'"' -f4 | sort -u >measured.txt
sed -nE 's/^warning: ([a-z_]+): .*/\1/p' stderr.txt >left_out.txt
[ "$(cat left_out.txt)" = cast ] || fail "bench op all leaves out $(cat left_out.txt)"
"$halfstep" ops --json | grep -oE '"op":"[a-z_]+"' | cut -d'"' -f4 | sort >ops.txt
sort measured.txt left_out.txt | diff - ops.txt >diff.txt || fail "bench op all is not every operation: $(cat diff.txt)"
for f in share read_gbps ceiling_gflops adds_per_core; do
  [ "$(field $f stdout.txt | awk '$1 > 0' | wc -l)" -eq "$(wc -l <stdout.txt)" ] || fail "bench op all: a row lacks $f: $(cat stdout.txt)"
done
[ "$(grep -cE '"(forward|backward)_us":[0-9]' stdout.txt)" -eq "$(wc -l <stdout.txt)" ] || fail "bench op all: a row without a time: $(cat stdout.txt)"
expect 2 'cast: no kernel of it runs alone' "$halfstep" bench op cast --sizes 8x64 --steps 1
# A size is what it says: FLOPs by its numbers, whatever the clock.
expect 0 '' "$halfstep" bench op linear --sizes 16x24x40 --dtype fp32 --threads 1 --steps 1 --json
near "$(awk -v g="$(field forward_gflops stdout.txt)" -v t="$(field forward_us stdout.txt)" 'BEGIN { print g * t * 1e3 }')" $((2 * 16 * 24 * 40)) 1 ||
  fail "the FLOPs of 16x24x40: $(cat stdout.txt)"
# A GPU's times are those of its events, of each half of a backward too.
[ ! -e "$(dirname "$1")/recipes/libhalfstep_cuda-emu.so" ] ||
  bench op 1 'forward_us backward_us dx_gflops dw_gflops read_gbps' linear --sizes 8x32x32 --dtype fp32 --device cuda-emu
# The sizes that entries name are of the forms they name: one op of each kind at its own.
expect 0 '' "$halfstep" bench op embedding --dtype fp32 --steps 1 --json
[ "$(grep -c '"form":"ROWSxCOLSxTABLE"' stdout.txt)" -eq 4 ] || fail "bench op embedding at its own sizes: $(cat stdout.txt)"
bench bulk 2 'thunks step_ms bulk_ms step_over_bulk' --sizes 1x16
bench optim 2 'parameters update_ms update_gbps read_gbps share' --sizes 4K --dtype fp32
bench bulk 2 'step_ms bulk_ms busy_step_ms busy_bulk_ms fair_share step_over_share bulk_over_share' --sizes 1x8 --busy --dtype fp32
bench generate 1 'prefill_tokens_per_second prefill_mfu tokens_per_second weight_bytes read_gbps limit_tokens_per_second share_of_limit' \
  --model tiny.yaml --seq 8 --tokens 8
# 2 layers of 64: two rows of 64 values, or of codes with two scales
for kv in values:1024 int8:288; do
  bench generate 1 'tokens_per_second cache_bytes_per_token' --model tiny.yaml --seq 8 --tokens 8 --dtype fp32 --kv ${kv%:*}
  [ "$(field cache_bytes_per_token stdout.txt)" = ${kv#*:} ] || fail "the cache of bench generate: $(cat stdout.txt)"
done
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
# auto is what the kernels that run are fast at.
expect 0 '' "$halfstep" plan tiny.yaml --amp.policy=auto --exec.isa=portable
grep -qE '^step .*, f32$' stdout.txt || fail "auto beside portable kernels: $(grep '^step' stdout.txt)"
expect 0 '' "$halfstep" plan tiny.yaml --json
for f in flops_per_step traffic_bytes trace_plan_seconds; do
  field $f stdout.txt | awk '$1 > 0 { found = 1 } END { exit !found }' || fail "plan lacks $f"
done
# people get a table with a heading and as many columns as values
expect 0 '' "$halfstep" bench memory --sizes 4K --steps 1
[ "$(wc -l <stdout.txt)" -eq 4 ] || fail "the table of bench memory: $(cat stdout.txt)"
finish
