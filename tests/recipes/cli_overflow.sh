#!/usr/bin/env bash
# Overflow and divergence: the step is skipped, the first tensor that was not finite is named, and training that cannot recover ends with 3.
. "$2/tests/support/support_cli.sh"

# a scale of 2^32 overflows fp16 until it has backed off
expect 0 'step 1 skipped: gradient of [a-z0-9_.]+ has [0-9]+ non-finite values? .*; loss scale 4.29497e\+09 -> ' \
  "$halfstep" pretrain tiny.yaml --out fp16 --dtype fp16 --amp.scaler=megatron --train.steps=60 --json
json_lines stdout.txt
grep -q '"event":"skipped","step":1,"parameter":"[a-z0-9_.]*"' stdout.txt || fail "no event of a skipped step"
awk -v a="$(field scale fp16/metrics.jsonl | head -1)" -v b="$(field scale fp16/metrics.jsonl | tail -1)" 'BEGIN { exit !(b < a && b >= 1) }' || fail "the scale did not fall"
[ "$(field skipped fp16/metrics.jsonl | tail -1)" -gt 3 ] || fail "skipped steps are not counted"
awk -v a="$(field loss fp16/metrics.jsonl | head -1)" -v b="$(field loss fp16/metrics.jsonl | tail -1)" 'BEGIN { exit !(b < a - 0.3) }' || fail "fp16 does not learn after backing off"
# step mode names operation and scope
expect 0 'first non-finite values: [0-9]+ in [a-z]+ of [a-z_ ]+ at [a-z0-9_.]+ \((forward|backward)\)' \
  "$halfstep" pretrain tiny.yaml --out step --dtype fp16 --amp.scaler=megatron --train.steps=20 --exec.mode=step
# ordinary scaling learns as fp32 does
expect 0 '' "$halfstep" pretrain tiny.yaml --out ordinary --dtype fp16 --quiet
expect 0 '' "$halfstep" pretrain tiny.yaml --out fp32 --dtype fp32 --quiet
near "$(field val_loss ordinary/metrics.jsonl | tail -1)" "$(field val_loss fp32/metrics.jsonl | tail -1)" 0.02 || fail "fp16 and fp32 differ"

# weights that are not finite: every step is skipped, and after ten training gives up
expect 0 '' "$halfstep" pretrain tiny.yaml --out run --train.steps=20 --dtype fp32 --quiet
cp -r run/checkpoints/step-00000020 poisoned && rm -r poisoned/train
bytes=$(wc -c <poisoned/model.safetensors)
printf '\000\000\300\177' | dd of=poisoned/model.safetensors bs=1 seek=$((bytes - 400)) conv=notrunc status=none # a NaN
expect 3 'training diverged: 10 steps in a row had non-finite gradients, the last at step 10' \
  "$halfstep" pretrain tiny.yaml --out hopeless --train.init_from=poisoned --dtype fp32
grep -c 'skipped: gradient of' stderr.txt | grep -qx 10 || fail "not ten skipped steps were told"
[ -z "$(ls hopeless/checkpoints)" ] || fail "a diverged run saved something"

# The trainer looks at what steps left behind when it tells something, at the latest when their ring is full: each is told once, by its own
# number, and divergence by the step at which it was.
for every in 1 7 1000; do
  expect 0 '' "$halfstep" pretrain tiny.yaml --out "every$every" --dtype fp16 --amp.scaler=megatron --train.steps=90 --train.log_every=$every \
    --train.eval_every=0 --json
  grep '"event":"skipped"' stdout.txt >"skipped$every"
  [ "$(wc -l <"skipped$every")" -gt 3 ] || fail "log_every $every: skipped steps are not told"
  cmp -s skipped1 "skipped$every" || fail "log_every $every tells other skipped steps than 1"
  [ "$(field loss "every$every/metrics.jsonl" | tail -1)" = "$(field loss every1/metrics.jsonl | tail -1)" ] || fail "log_every $every: another last loss"
  expect 3 'training diverged: 10 steps in a row had non-finite gradients, the last at step 10 ' \
    "$halfstep" pretrain tiny.yaml --out "hopeless$every" --train.init_from=poisoned --dtype fp32 --train.log_every=$every --train.eval_every=0 --train.steps=200
  grep -c 'skipped: gradient of' stderr.txt | grep -qx 10 || fail "log_every $every: not ten skipped steps were told"
done
finish
