#!/usr/bin/env bash
# iPQ: groups become centroids in their turn, stay centroids while they are trained, in a run that goes on, too; quantize --bits pq finds
# them; the directory is what the run says it is; what is refused.
. "$2/tests/support/support_cli.sh"

cp -r "$source_dir/tests/golden/encoders/bert" encoder
cp "$source_dir/tests/golden/predict/vocab.txt" encoder
printf '1 a b c\n0 d e, f\n1 c a d\n0 f e d e\n' >gold.txt
for i in 1 2 3 4 5 6 7 8; do cat gold.txt; done >train.txt
data="--data.train train.txt --data.val gold.txt --train.epochs 8 --optim.lr 3e-3 --optim.schedule constant --checkpoint.every 1 --checkpoint.keep 20"
pq="--bits pq --centroids 16 --layers"

train() { # OUT ARGUMENTS
  local out=$1
  shift
  "$halfstep" finetune sequence --init_from encoder $data --amp.policy fp32 --out "$out" "$@" >stdout.txt 2>stderr.txt || fail "finetune $*: $(tail -1 stderr.txt)"
}
quantized() { # CHECKPOINT OUT
  "$halfstep" quantize "$1" $pq --overwrite -o "$2" >layers.txt 2>stderr.txt || fail "quantize $1: $(cat stderr.txt)"
}
error() { grep "^$1 " layers.txt | sed -E 's/.* ([0-9.]+)% .*/\1/'; } # of a weight, in per cent
field_of() { grep -o "\"$1\":[0-9.e-]*" | tail -1 | cut -d: -f2; }
small() { awk -v e="$1" 'BEGIN { exit !(e != "" && e < 0.001) }'; }

train run --ipq.every 2 --ipq.centroids 16
for turn in 0 2 4; do grep -q "^step $turn: .* are centroids from here on" stderr.txt || fail "no turn at step $turn: $(cat stderr.txt)"; done
# weights of the three groups behind steps 2, 4 and 8
quantized run/checkpoints/step-00000002 pq
small "$(error l0.ff.up.weight)" && ! small "$(error embed.word.weight)" && ! small "$(error l1.attn.qkv.weight)" || fail "behind step 2: $(cat layers.txt)"
quantized run/checkpoints/step-00000004 pq
small "$(error l1.ff.down.weight)" && small "$(error embed.word.weight)" && ! small "$(error l1.attn.qkv.weight)" || fail "behind step 4: $(cat layers.txt)"
quantized run/checkpoints/step-00000008 pq
for w in l0.ff.up l1.ff.down embed.word l0.attn.qkv l1.attn.out; do small "$(error $w.weight)" || fail "behind step 8: $w: $(cat layers.txt)"; done
cmp -s run/checkpoints/step-00000006/model.safetensors run/checkpoints/step-00000008/model.safetensors && fail "centroids are not trained"
grep -q '"quant_method": "halfstep-product"' pq/config.json || fail "config.json does not say so"
[ "$(stat -c %s pq/model.safetensors)" -lt "$(stat -c %s run/checkpoints/step-00000008/model.safetensors)" ] || fail "the file is not smaller"
said=$(field_of val_loss <run/metrics.jsonl)
is=$("$halfstep" eval pq --data gold.txt --dtype fp32 --json 2>stderr.txt | field_of loss)
awk -v a="$said" -v b="$is" 'BEGIN { d = a - b; exit !(b != "" && d < 1e-3 && d > -1e-3) }' || fail "the run says $said, its directory $is: $(cat stderr.txt)"
"$halfstep" export pq --to safetensors -o values >/dev/null 2>stderr.txt || fail "export: $(cat stderr.txt)"
"$halfstep" predict pq gold.txt >/dev/null 2>stderr.txt || fail "predict: $(cat stderr.txt)"

# ---- a run that goes on: between two turns, and behind the last
cp -r run whole
for at in 3 6; do
  rm -rf run
  cp -r whole run
  for i in 1 2 3 4 5 6 7 8; do [ $i -le $at ] || rm -r run/checkpoints/step-0000000$i; done
  rm -f run/checkpoints/BEST run/checkpoints/LATEST
  train run --ipq.every 2 --ipq.centroids 16
  cmp -s run/checkpoints/step-00000008/model.safetensors whole/checkpoints/step-00000008/model.safetensors || fail "gone on from step $at it is another run"
done

# ---- what is refused
refused() { # PART ARGUMENTS
  local part=$1
  shift
  rm -rf none
  expect 2 "$part" "$halfstep" finetune sequence --init_from encoder $data --out none --quiet "$@"
  [ ! -e none/checkpoints ] || fail "$*: something is left"
}
refused "attention's turn would be at step 8, and the run has 8" --ipq.every 4
refused "of ipq.every, which is 0" --ipq.block 4
refused "one of the two" --ipq.every 2 --quant.bits w8
refused "one of the two" --ipq.every 2 --adapter.rank 4
refused "needs optim.masters f32" --ipq.every 2 --amp.policy bf16 --optim.masters split
refused 'ipq.skip: "nosuch" fits none' --ipq.every 2 --ipq.skip nosuch
expect 2 "method is not of --bits pq" "$halfstep" quantize encoder $pq --method max -o none
expect 2 "block is of --bits pq" "$halfstep" quantize encoder --bits w8 --block 4 -o none
expect 2 "can be kept as centroids: some are to be skipped" "$halfstep" quantize encoder $pq --skip '*' -o none
[ ! -e none ] || fail "something is left"
finish
