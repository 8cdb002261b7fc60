#!/usr/bin/env bash
# amp.policy fp8: which layers it takes, that they learn what bf16's do, and that scales of steps before go on bit for bit.
. "$2/tests/support/support_cli.sh"

nodes() { "$halfstep" plan tiny.yaml --nodes "$@" | grep -c 'linear_fp8'; }
[ "$(nodes --amp.policy=bf16)" -eq 0 ] || fail "bf16: fp8 layers"
[ "$(nodes --amp.policy=fp8)" -eq 8 ] || fail "fp8: not all eight linear layers"
[ "$(nodes --amp.policy=fp8 --amp.overrides='h0.*=bf16')" -eq 4 ] || fail "a scope kept in bf16"
[ "$(nodes --amp.policy=fp8 --amp.overrides='h0.*=fp32,h0.mlp.*=fp8')" -eq 6 ] || fail "the last override that matches wins"
[ "$(nodes --amp.policy=bf16 --amp.overrides='h1.attn.qkv=fp8')" -eq 1 ] || fail "one layer of a bf16 policy"
[ "$(nodes --amp.policy=fp8 --model.heads=1 --model.width=24)" -eq 0 ] || fail "a width of 24 has no fp8 products"
"$halfstep" plan tiny.yaml --amp.policy=fp8 | grep -q ', fp8$' || fail "plan does not say fp8"
"$halfstep" plan tiny.yaml --amp.policy=fp8 --json | grep -q '"policy":"fp8"' || fail "plan's JSON does not say fp8"
expect 2 'amp.overrides: h0.\*=fp8 asks for fp8; this policy knows fp32$' "$halfstep" plan tiny.yaml --amp.policy=fp32 --amp.overrides='h0.*=fp8'
expect 2 'amp.fp8.history' "$halfstep" plan tiny.yaml --amp.policy=fp8 --amp.fp8.history=0
expect 2 'amp.fp8.margin' "$halfstep" plan tiny.yaml --amp.policy=fp8 --amp.fp8.margin=9
expect 2 'amp.fp8.scaling' "$halfstep" plan tiny.yaml --amp.policy=fp8 --amp.fp8.scaling=none

run() { "$halfstep" pretrain tiny.yaml --quiet --out "$@"; }
last() { field val_loss "$1/metrics.jsonl" | tail -1; }
delayed=(--amp.policy=fp8 --amp.fp8.scaling=delayed --amp.fp8.history=3 --model.dropout=0.1)
run bf16 --amp.policy=bf16 || fail "bf16"
run current --amp.policy=fp8 || fail "current scales"
near "$(last bf16)" "$(last current)" 0.05 || fail "current scales: $(last current), bf16: $(last bf16)"
cmp -s <(losses bf16/metrics.jsonl) <(losses current/metrics.jsonl) && fail "fp8 has bf16's losses: nothing was rounded"
[ -e current/checkpoints/step-00000060/train/states.safetensors ] && fail "current scales keep a state"

run whole "${delayed[@]}" || fail "delayed scales"
[ -s whole/checkpoints/step-00000060/train/states.safetensors ] || fail "delayed scales: no state is saved"
"$halfstep" pretrain tiny.yaml --out cut "${delayed[@]}" --json >events.txt 2>/dev/null &
pid=$!
while kill -0 $pid 2>/dev/null && ! grep -q '"step":25,' events.txt; do sleep 0.01; done
kill -KILL $pid
wait $pid 2>/dev/null
run cut "${delayed[@]}" || fail "killed: does not go on"
cmp -s <(losses whole/metrics.jsonl) <(losses cut/metrics.jsonl) || fail "killed: $(diff <(losses whole/metrics.jsonl) <(losses cut/metrics.jsonl) | head -2)"
cmp -s whole/checkpoints/step-00000060/train/states.safetensors cut/checkpoints/step-00000060/train/states.safetensors || fail "other histories"

# a history depends on no member of a team, and forward that is made again for backward leaves it as it was
run again "${delayed[@]}" --train.recompute=full --train.accumulate=2 --train.batch=2 --train.steps=20 || fail "recompute"
run kept "${delayed[@]}" --exec.threads=1 --train.accumulate=2 --train.batch=2 --train.steps=20 || fail "kept"
cmp -s <(losses again/metrics.jsonl) <(losses kept/metrics.jsonl) || fail "made again: other losses"

# scales begin anew where a run changes to them
run turned --amp.policy=bf16 --train.steps=20 || fail "a run to turn"
expect 0 'has nothing for 8 of this run' "$halfstep" pretrain tiny.yaml --out turned --train.steps=40 "${delayed[@]}" --model.dropout=0
finish
