#!/usr/bin/env bash
# Delayed scales of fp8 over ranks: a history that one process began goes on under any layout, is that of the global batch there, and any
# layout goes on from what another has saved.
. "$2/tests/support/support_cli.sh"
. "$2/tests/support/support_mpi.sh"
sed -i 's/heads: 2/heads: 4/; s/batch: 4/batch: 8/; /^exec:/d' tiny.yaml
options=(tiny.yaml --amp.policy=fp8 --amp.fp8.scaling=delayed --amp.fp8.history=3 --exec.threads=1 --model.dropout=0.1 --train.eval_every=0 --quiet)
states() { echo "$1/checkpoints/step-$(printf %08d "$2")/train/states.safetensors"; }
# go_on RANKS FOLDER OPTION...: from what one process has left, its values standing still: a history may then depend on nothing but the batch
go_on() {
  cp -r begun "$2"
  ranks "$1" "$halfstep" pretrain "${options[@]}" --out "$2" --train.steps=16 --checkpoint.every=16 --optim.lr=0 "${@:3}" >stdout.txt 2>stderr.txt </dev/null ||
    fail "$2: $(cat stderr.txt)"
  grep -q 'has nothing for' stderr.txt && fail "$2: a history began anew: $(cat stderr.txt)"
}
"$halfstep" pretrain "${options[@]}" --out begun --train.steps=10 --checkpoint.every=10 || fail "one process"
go_on 1 one
cmp -s "$(states begun 10)" "$(states one 16)" && fail "six steps leave the history as it was"
go_on 2 dp2
go_on 4 dp4 --parallel.shard_optimizer=gradients
for dp in dp2 dp4; do cmp "$(states one 16)" "$(states $dp 16)" || fail "$dp: another history than one process has of the same batches"; done
go_on 2 tp2 --parallel.tp=2 --parallel.sequence=true
go_on 4 dp2tp2 --parallel.tp=2
n() { grep -ao 'fp8\.[0-9]*\.[a-z0-9_.]*\.amax' "$1" | sort -u; }
for to in dp2 tp2 dp2tp2; do cmp -s <(n "$(states one 16)") <(n "$(states $to 16)") || fail "$to: histories of other layers: $(n "$(states $to 16)")"; done
# and from there one process goes on
for from in dp4 tp2 dp2tp2; do
  "$halfstep" pretrain "${options[@]}" --out $from --train.steps=18 --optim.lr=0 >stdout.txt 2>stderr.txt || fail "one process behind $from: $(cat stderr.txt)"
  grep -q 'has nothing for' stderr.txt && fail "one process behind $from: $(cat stderr.txt)"
done

# verify RANKS WHAT OPTION...: what ranks train is what one process does; what goes on is what would not have stopped
verify() {
  ranks "$1" "$halfstep" verify "$2" "${options[@]:0:6}" --steps 8 "${@:3}" >stdout.txt 2>stderr.txt </dev/null ||
    fail "verify $*: $(grep -v '^ok$' stderr.txt | head -3) $(grep -E 'FAILS|DIFFER|another' stdout.txt | head -6)"
}
verify 2 dp --train.accumulate=2
verify 4 dp --parallel.tp=2
verify 2 tp --parallel.tp=2
verify 4 shard --parallel.shard_optimizer=states --train.accumulate=2
verify 2 resume
verify 4 resume --parallel.tp=2
verify 2 resume --parallel.tp=2 --then 2x1

# what an update moves for it: of eight layers [2, 17] floats, 64 bytes by 64 bytes
"$halfstep" plan tiny.yaml --amp.policy=fp8 --amp.fp8.scaling=delayed --parallel.dp=2 --parallel.tp=2 --cluster dgx-h100 --json >plan.json 2>stderr.txt ||
  fail "plan: $(cat stderr.txt)"
for axis in dp tp; do
  grep -q "\"axis\":\"$axis\",\"kind\":\"all-reduce max\",\"calls\":1[.0]*,\"longest_bytes\":1536[.0]*," plan.json || fail "plan, $axis: $(grep -o '"collectives":\[[^]]*' plan.json)"
done
"$halfstep" plan tiny.yaml --amp.policy=fp8 --parallel.dp=2 --cluster dgx-h100 --json 2>/dev/null | grep 'all-reduce max' && fail "plan: current scales are no ranks' business"
finish
