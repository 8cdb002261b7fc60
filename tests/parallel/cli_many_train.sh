#!/usr/bin/env bash
# The product: one run on several ranks - said once, the losses of one process, stopped and gone on with, and what differs between ranks
# named before the first step.
. "$2/tests/support/support_cli.sh"
. "$2/tests/support/support_mpi.sh"
example=$4
sed -i '/^exec:/d' tiny.yaml
options=(tiny.yaml --dtype fp32 --exec.threads=1 --model.dropout=0.1)
train() { ranks "$1" "$halfstep" pretrain "${options[@]}" "${@:2}"; }
background=("$mpirun" --bind-to none -np 2 "$halfstep" pretrain "${options[@]}") # a function would be a shell of its own, with another id
# close A B TOLERANCE: losses of two runs, line by line
close() {
  paste <(losses "$1/metrics.jsonl") <(losses "$2/metrics.jsonl") |
    awk -v e="$3" '{ d = $2 - $(NF/2+2); if (d < 0) d = -d; if ($1 != $(NF/2+1) || d > e * $2) exit 1; n++ } END { exit n < 40 }'
}

"$halfstep" pretrain "${options[@]}" --out one --quiet || fail "one process"
train 2 --out two >stdout.txt 2>stderr.txt || fail "two ranks: $(cat stderr.txt)"
close one two 1e-4 || fail "two ranks: other losses: $(paste <(losses one/metrics.jsonl) <(losses two/metrics.jsonl) | sed -n '1p;20p;60p')"
[ "$(grep -c '^done: 60 steps' stdout.txt)" -eq 1 ] || fail "two ranks do not speak once: $(cat stdout.txt)"
grep -q '^2 ranks  *parallel.dp 2 times parallel.tp 1' stdout.txt || fail "the ranks are not said: $(head -4 stdout.txt)"
json_lines two/metrics.jsonl
[ "$(ls two/checkpoints | grep -c '^step-')" -eq 2 ] || fail "checkpoints: $(ls two/checkpoints)"
# the same bits run after run
train 2 --out again --quiet || fail "again"
cmp -s two/checkpoints/LATEST/model.safetensors again/checkpoints/LATEST/model.safetensors 2>/dev/null ||
  cmp -s two/checkpoints/step-00000060/model.safetensors again/checkpoints/step-00000060/model.safetensors || fail "the same ranks, other bits"
# a finished run says so; a checkpoint of many is one process's too
expect 0 '' ranks 2 "$halfstep" pretrain "${options[@]}" --out two
[ "$(grep -c '^done: 60 steps' stdout.txt)" -eq 1 ] || fail "a finished run does not say so once: $(cat stdout.txt)"
expect 0 '' "$halfstep" generate two --prompt-ids 1 --max-tokens 4

# ---- stopped: by a signal to mpirun, or to one rank alone
for how in mpirun rank; do
  rm -rf stopped events.txt
  "${background[@]}" --out stopped --json --train.steps=2000 --checkpoint.every=0 --train.eval_every=0 >events.txt 2>stderr.txt &
  pid=$!
  until ! kill -0 $pid 2>/dev/null || grep -q '"step":9,' events.txt 2>/dev/null; do sleep 0.02; done
  to=$pid
  [ $how = rank ] && to=$(pgrep -P $pid | tail -1)
  kill -USR1 "$to"
  wait $pid
  code=$?
  [ $code -eq 75 ] || fail "USR1 to $how: exit code $code: $(cat stderr.txt)"
  [ "$(grep -c 'stopped by SIGUSR1 after step' stderr.txt)" -eq 1 ] || fail "USR1 to $how: not said once: $(cat stderr.txt)"
  grep -q '"event":"stopped"' events.txt || fail "USR1 to $how: no event"
  step=$(sed -nE 's/.*"event": ?"stopped", ?"step": ?([0-9]+).*/\1/p' events.txt)
  [ -d stopped/checkpoints/step-$(printf %08d "$step") ] || fail "USR1 to $how: no checkpoint of step $step: $(ls stopped/checkpoints)"
done
more=(--train.steps=$((step + 20)) --optim.schedule=constant --optim.warmup=0 --checkpoint.every=0 --train.eval_every=0 --quiet)
rm -rf cut whole
train 2 --out whole "${more[@]}" || fail "the uninterrupted run"
train 2 --out cut "${more[@]}" --train.steps=7 || fail "the first part"
train 2 --out cut "${more[@]}" || fail "the second part"
cmp -s <(losses whole/metrics.jsonl | tail -20) <(losses cut/metrics.jsonl | tail -20) || fail "gone on with: other losses"
cmp -s whole/checkpoints/step-*/model.safetensors cut/checkpoints/step-$(printf %08d $((step + 20)))/model.safetensors || fail "gone on with: other bits"

# ---- what does not go together is refused with its numbers, once
# refuse REGEX N COMMAND...: exit code 2, one line of ours
refuse() {
  ranks "$2" "${@:3}" >stdout.txt 2>stderr.txt </dev/null
  local code=$?
  [ $code -eq 2 ] || fail "exit code $code, not 2: ${*:3}: $(cat stderr.txt)"
  [ "$(grep -cE "^halfstep: .*($1)" stderr.txt)" -eq 1 ] || fail "not once /$1/: $(grep -v '^-' stderr.txt | head -5)"
}
refuse 'train.batch is 4, which does not divide over 3' 3 "$halfstep" pretrain "${options[@]}" --out no
refuse 'parallel.tp is 3, which does not divide the 2 ranks' 2 "$halfstep" pretrain "${options[@]}" --out no --parallel.tp=3
refuse 'parallel.dp 4 times parallel.tp 1 are 4 ranks, but 2 were started' 2 "$halfstep" pretrain "${options[@]}" --out no --parallel.dp=4
refuse 'parallel.dp 1 times parallel.tp 1 is 1 rank, but 2 were started' 2 "$halfstep" pretrain "${options[@]}" --out no --parallel.dp=1
divides='which does not divide this model'
refuse "parallel.tp is 4, $divides .model.heads 2, model.width 64.: h0: model.heads is 2, must .*; 1 or 2 would\$" 4 "$halfstep" pretrain "${options[@]}" --out no --parallel.tp=4
refuse "parallel.tp is 4, $divides .model.heads 6, model.width 48.: h0.attn.qkv: a width of 48 .* 32 .*; 1, 2, 3 or 6 would\$" 4 \
  "$halfstep" pretrain "${options[@]}" --out no --parallel.tp=4 --model.heads=6 --model.width=48
expect 2 "parallel.tp is 3, $divides .*; 1 or 2 would\$" "$halfstep" plan tiny.yaml --parallel.tp=3
refuse 'halfstep ops runs in one process, and 2 ranks' 2 "$halfstep" ops
expect 2 'parallel.tp is 2, and this is one process: mpirun -np 2' "$halfstep" pretrain "${options[@]}" --out no --parallel.tp=2
[ ! -e no ] || fail "a folder was made of a run that was refused"
# what such ranks have no use for is said, once
train 2 --out idle --train.steps=1 --parallel.sequence --quiet 2>stderr.txt || fail "parallel.sequence without parallel.tp: $(cat stderr.txt)"
[ "$(grep -c '^warning: parallel.sequence divides tokens over the ranks of parallel.tp, which is 1: it changes nothing$' stderr.txt)" -eq 1 ] || fail "parallel.sequence without parallel.tp: $(cat stderr.txt)"
train 2 --out idle --train.steps=1 --parallel.tp=2 --parallel.shard_optimizer=states --overwrite --resume=none --quiet 2>stderr.txt
grep -q '^warning: parallel.shard_optimizer is states, and parallel.dp is 1' stderr.txt || fail "parallel.shard_optimizer without parallel.dp: $(cat stderr.txt)"
# ranks that share a core have one core's FLOP/s together
peak() { taskset -c "$(taskset -cp $$ | sed 's/.*: //; s/[-,].*//')" "$@" "$halfstep" pretrain "${options[@]}" --out peak --train.steps=1 --overwrite --resume=none --json 2>/dev/null; }
one=$(field peak_flops <(peak env)) two=$(field peak_flops <(peak "$mpirun" --bind-to none -np 2))
awk -v a="$one" -v b="$two" 'BEGIN { exit !(b > 0.5 * a && b < 1.5 * a) }' || fail "the peak of two ranks on one core is $two FLOP/s, that of one process $one"
ranks 2 "$halfstep" pretrain --help >stdout.txt 2>stderr.txt
[ "$(grep -c '^Examples' stdout.txt)" -eq 1 ] || fail "help is not printed once: $(head -3 stdout.txt stderr.txt)"

# differ REGEX [mpirun arguments]: rank 1 is another; named before the first step
differ() {
  local regex=$1
  shift
  "$mpirun" --bind-to none "$@" >stdout.txt 2>stderr.txt </dev/null
  local code=$?
  [ $code -eq 2 ] || fail "exit code $code, not 2: $regex: $(cat stderr.txt)"
  [ "$(grep -cE "^halfstep: rank 1( \(.*\))?: .*$regex" stderr.txt)" -eq 1 ] || fail "not once /$regex/: $(grep -v '^-' stderr.txt | head -5)"
  [ ! -e no ] || fail "a folder was made where ranks differ: $regex"
}
run=("$halfstep" pretrain "${options[@]}" --out no)
differ 'train.seed is 4 here, and 3 on rank 0' -np 1 "${run[@]}" : -np 1 "${run[@]}" --train.seed=4
differ 'the build is ' -np 1 "${run[@]}" : -np 1 "$example" "${run[@]:1}"
# one byte of the text, at the same place
cp text.txt text1.txt && printf X | dd of=text1.txt bs=1 seek=500 conv=notrunc 2>/dev/null
cp text.txt text0.txt
cat >rank.sh <<'SH'
#!/bin/sh
exec 9<"text$OMPI_COMM_WORLD_RANK.txt"
exec "$@"
SH
chmod +x rank.sh
differ 'what data.train holds' -np 2 ./rank.sh "${run[@]}" --data.train=/proc/self/fd/9 --data.tokenizer=byte
# folders of the same name, as each rank sees them from where it stands
mkdir host0 host1
both=(-np 1 -wdir "$work/host0")
other=(: -np 1 -wdir "$work/host1")
elsewhere() { differ "$1" "${both[@]}" "${run[@]}" "${@:2}" "${other[@]}" "${run[@]}" "${@:2}"; }
run=("$halfstep" pretrain "$work/tiny.yaml" "${options[@]:1}" --data.train="$work/text.txt" --out "$work/no")
here=/proc/self/cwd
"$halfstep" prepare --tokenizer byte -o host0/s.bin text.txt 2>/dev/null >&2 || fail "prepare"
elsewhere 's.bin: no such file' --data.train=$here/s.bin --data.tokenizer=byte
cp -r two host0/two && cp -r two host1/two
weights=two/checkpoints/step-00000060/model.safetensors
for from in --resume=$here/two --train.init_from=$here/two/checkpoints/step-00000060; do
  key=$(cut -d= -f1 <<<"$from")
  cp two/checkpoints/step-00000060/model.safetensors host1/$weights
  printf X | dd of=host1/$weights bs=1 seek=100000 conv=notrunc 2>/dev/null
  elsewhere "what ${key/--train/train} holds, as a hash, is .* here, and .* on rank 0" "$from"
done
rm host1/$weights
elsewhere 'has no weights here' --train.init_from=$here/two/checkpoints/step-00000060
finish
