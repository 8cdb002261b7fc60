#!/usr/bin/env bash
# quant.*: a run that foresees codes is evaluated as the directory that quantize makes of its checkpoint; its nodes; noise; what is refused.
. "$2/tests/support/support_cli.sh"

cp -r "$source_dir/tests/golden/encoders/bert" encoder
cp "$source_dir/tests/golden/predict/vocab.txt" encoder
printf '1 a b c\n0 d e, f\n1 c a d\n0 f e d e\n' >gold.txt
for i in 1 2 3 4 5 6 7 8; do cat gold.txt; done >train.txt
data="--data.train train.txt --data.val gold.txt --train.epochs 3 --optim.lr 3e-3 --amp.policy fp32 --quiet"

train() { # OUT ARGUMENTS
  local out=$1
  shift
  "$halfstep" finetune sequence --init_from encoder $data --out "$out" "$@" >/dev/null 2>stderr.txt || fail "finetune $*: $(head -c 300 stderr.txt)"
}
last_loss() { grep -o '"val_loss":[0-9.e-]*' "$1/metrics.jsonl" | tail -1 | cut -d: -f2; }
checkpoint() { ls -d "$1"/checkpoints/step-* | tail -1; }
eval_loss() { "$halfstep" eval "$1" --data gold.txt --dtype fp32 --json 2>stderr.txt | grep -o '"loss":[0-9.e-]*' | tail -1 | cut -d: -f2; }
close() { awk -v a="$1" -v b="$2" -v most="$3" 'BEGIN { d = a - b; exit !(a != "" && b != "" && d <= most && d >= -most) }'; }

train plain
for bits in w8a8 w8 w4; do
  train "$bits" --quant.bits "$bits"
  "$halfstep" quantize "$(checkpoint $bits)" --bits "$bits" -o "$bits.codes" >/dev/null 2>stderr.txt || fail "quantize $bits: $(cat stderr.txt)"
  close "$(last_loss $bits)" "$(eval_loss $bits.codes)" 1e-4 || fail "$bits: the run says $(last_loss $bits), its codes $(eval_loss $bits.codes)"
  cmp -s "$(checkpoint plain)/model.safetensors" "$(checkpoint $bits)/model.safetensors" && fail "$bits trains as nothing does"
done

# ---- calibrated scales: found before the first step, held, and those of the directory; a run that goes on, or begins from such weights, has
# the same ones
tensor="--quant.bits w8a8 --quant.activations tensor --checkpoint.every 1 --checkpoint.keep 9"
train tensor $tensor --quant.examples 8
same_scales() { cmp -s "$1/train/states.safetensors" "$2/train/states.safetensors"; }
set -- tensor/checkpoints/step-*
[ $# -ge 2 ] && same_scales "$1" "$(checkpoint tensor)" || fail "scales did not stay"
"$halfstep" quantize "$(checkpoint tensor)" --bits w8a8 -o tensor.codes >stdout.txt 2>stderr.txt || fail "quantize by its scales: $(cat stderr.txt)"
grep -q 'scales of inputs are those that it was trained by' stdout.txt || fail "whose scales: $(cat stdout.txt)"
close "$(last_loss tensor)" "$(eval_loss tensor.codes)" 1e-4 || fail "tensor: the run says $(last_loss tensor), its codes $(eval_loss tensor.codes)"
cmp -s "$(checkpoint w8a8)/model.safetensors" "$(checkpoint tensor)/model.safetensors" && fail "calibrated scales make no difference"
"$halfstep" quantize "$(checkpoint tensor)" --bits w8a8 --activations token --overwrite -o tensor.codes >stdout.txt 2>stderr.txt
grep -q 'trained by' stdout.txt && fail "--activations token takes scales: $(cat stdout.txt)"
train other $tensor --quant.examples 1
same_scales "$(checkpoint tensor)" "$(checkpoint other)" && fail "one sample gives the scales of eight"
train most $tensor --quant.examples 8 --quant.method max
same_scales "$(checkpoint tensor)" "$(checkpoint most)" && fail "quant.method makes no difference"
cp -r "$(checkpoint tensor)" begun
"$halfstep" finetune sequence --init_from begun $data --out further $tensor --quant.examples 1 >stdout.txt 2>stderr.txt || fail "from there: $(head -c 300 stderr.txt)"
same_scales begun "$(checkpoint further)" || fail "weights that were trained by scales have others now"
for i in $(ls -d tensor/checkpoints/step-* | tail -n +2); do rm -r "$i"; done
rm -f tensor/checkpoints/BEST tensor/checkpoints/LATEST
train tensor $tensor --quant.examples 8
same_scales begun "$(checkpoint tensor)" && cmp -s begun/model.safetensors "$(checkpoint tensor)/model.safetensors" || fail "a run that goes on is another one"

# ---- noise: another# ---- noise: another run than without, the same one again; other weights keep what they are
train noise --quant.bits w4 --quant.noise 0.5
train again --quant.bits w4 --quant.noise 0.5
cmp -s "$(checkpoint noise)/model.safetensors" "$(checkpoint again)/model.safetensors" || fail "noise does not repeat itself"
cmp -s "$(checkpoint noise)/model.safetensors" "$(checkpoint w4)/model.safetensors" && fail "noise makes no difference"

# ---- what a plan has: two nodes for each product; the table, which is also the output, and what it multiplies
nodes() { "$halfstep" plan tiny.yaml --nodes --amp.policy fp32 "$@" 2>stderr.txt | grep -c 'fake_quant'; }
[ "$(nodes)" -eq 0 ] || fail "nodes without quant.bits"
[ "$(nodes --quant.bits w8a8)" -eq 16 ] || fail "w8a8: $(nodes --quant.bits w8a8) nodes, not two for each of 8 products: $(head -c 300 stderr.txt)"
[ "$(nodes --quant.bits w8a8 --quant.skip h0)" -eq 8 ] || fail "h0 skipped: $(nodes --quant.bits w8a8 --quant.skip h0) nodes"
[ "$(nodes --quant.bits w4)" -eq 18 ] || fail "w4: $(nodes --quant.bits w4) nodes, tables are among them"
[ "$(nodes --quant.bits w4 --quant.embeddings no)" -eq 16 ] || fail "no tables"
expect 2 'quant.bits: parallel.tp is 2' "$halfstep" plan tiny.yaml --quant.bits w8 --parallel.tp=2
expect 2 'calibrated in one process, and parallel.dp is 2' "$halfstep" plan tiny.yaml --quant.bits w8a8 --quant.activations tensor --parallel.dp=2
[ "$(nodes --quant.bits w8a8 --quant.activations tensor)" -eq 16 ] || fail "tensor: $(nodes --quant.bits w8a8 --quant.activations tensor) nodes"

# ---- what is refused: one line, exit code 2, nothing left
refused() { # PART ARGUMENTS
  local part=$1
  shift
  rm -rf none
  "$halfstep" finetune sequence --init_from encoder $data --out none "$@" >stdout.txt 2>stderr.txt
  [ $? -eq 2 ] && [ "$(wc -l <stderr.txt)" -eq 1 ] && grep -qF -- "$part" stderr.txt || fail "$*: $(cat stderr.txt)"
  [ ! -e none/checkpoints ] || fail "$*: something is left"
}
refused "none|w8a8|w8|w4" --quant.bits w3
refused "quant.noise" --quant.bits w4 --quant.noise 0
refused "quant.noise" --quant.bits w4 --quant.noise 2
refused "quant.bits is none" --quant.noise 0.5
refused "quant.bits is none" --quant.activations tensor
refused "quant.activations tensor is of quant.bits w8a8" --quant.bits w4 --quant.activations tensor
refused "--quant.examples is of quant.activations tensor" --quant.bits w8a8 --quant.examples 4
refused 'quant.skip: "nosuch" fits none' --quant.bits w4 --quant.skip nosuch
refused "none would be kept as codes" --quant.bits w4 --quant.skip '*'
refused "one of the two" --quant.bits w4 --adapter.rank 4
refused "one of the two" --quant.bits w4 --amp.policy fp8
finish
