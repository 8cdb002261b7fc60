#!/usr/bin/env bash
# halfstep verify fails where ranks are wrong, and names a tensor: sums that are left out, a parameter that is another on one rank.
. "$2/tests/support/support_cli.sh"
. "$2/tests/support/support_mpi.sh"
wrong=$(dirname "$1")/tests/wrong_program
sed -i '/^exec:/d' tiny.yaml

# verify MISTAKE WHAT [option...]: on two ranks
verify() { ranks 2 "$wrong" "$1" verify "$2" tiny.yaml --dtype fp32 --exec.threads=1 "${@:3}" >stdout.txt 2>stderr.txt </dev/null; }
# fails REGEX MISTAKE WHAT [option...]: exit code 70, and that is the one line of ours
fails() {
  local regex=$1
  shift
  verify "$@"
  local code=$?
  [ $code -eq 70 ] || fail "$*: exit code $code, not 70: $(grep ^halfstep stderr.txt) $(tail -3 stdout.txt)"
  [ "$(grep -cE "^halfstep: verify $2: ($regex)" stderr.txt)" -eq 1 ] || fail "$*: not once /$regex/: $(grep -v '^-' stderr.txt | head -3)"
  ! grep -q '^passed' stdout.txt || fail "$*: passed"
}
# row NAME: does it say that the tensor is ok, or that it fails
row() { grep "^$1 " stdout.txt | grep -oE '(ok|noise|FAILS)$'; }

for layout in "dp" "tp --parallel.tp=2"; do
  # shellcheck disable=SC2086
  verify none $layout --steps 3 || fail "nothing is wrong, and verify ${layout%% *} fails: $(cat stderr.txt)"
done
# a parameter of one rank
fails 'wpe\.weight is not the same on the ranks that all have it; ' other-rank tp --parallel.tp=2 --steps 3
[ "$(row wpe.weight)" = FAILS ] || fail "other-rank: $(grep wpe stdout.txt)"
fails 'wpe\.weight is not the same on the ranks that all have it; ' other-rank dp --steps 3
# partial products are not added up: what a layer makes is another on each rank
fails '[a-z0-9_.]+ is not the same on the ranks that all have it; [0-9]+ of [0-9]+ tensors' no-sum tp --parallel.tp=2 --steps 3
grep -q '^tensors that several ranks have: .*, first DIFFERS [a-z]' stdout.txt || fail "no-sum: $(grep several stdout.txt)"
# nor is a gradient: in the first step that shows in front of that layer, and nowhere else
fails 'wpe\.weight is not the same' no-gradient-sum tp --parallel.tp=2 --steps 1 --optim.name=sgd --optim.lr=0.1 --optim.warmup=0 --optim.clip=0
for tensor in h0.ln_2.weight 'h0.attn.qkv.weight\[1/3]' wpe.weight; do
  [ "$(row "$tensor")" = FAILS ] || fail "no-gradient-sum: $(grep "^$tensor" stdout.txt)"
done
for tensor in h0.mlp.up.weight h1.ln_1.weight h1.mlp.down.weight ln_f.weight; do
  [ "$(row $tensor)" = ok ] || fail "no-gradient-sum: $(grep "^$tensor" stdout.txt)"
done
# the end of a bucket of gradients stays what each replica has
fails '[a-z0-9_.]+ is not the same' short-buckets dp --steps 3
grep -q 'FAILS$' stdout.txt || fail "short-buckets: no tensor differs from one process: $(cat stdout.txt)"
# of queries, keys and values in one tensor each is judged by itself: keys' bias is nothing but rounding, and would hide the others
for mistake in no-query-bias/1 no-value-bias/3; do
  part=${mistake#*/}
  fails 'h0\.attn\.qkv\.bias\['"$part"'/3\] differs by more than the bound; ' "${mistake%/*}" dp --steps 3
  [ "$(row "h0.attn.qkv.bias\\[$part/3]")" = FAILS ] || fail "$mistake: $(grep qkv.bias stdout.txt)"
  [ "$(row 'h1.attn.qkv.bias\[2/3]')" = noise ] || fail "$mistake: $(grep qkv.bias stdout.txt)"
  grep -Eq '^tensors that several ranks have: ([0-9]+) of \1 bit-identical$' stdout.txt || fail "$mistake: ranks differ: $(grep several stdout.txt)"
done
finish
