#!/usr/bin/env bash
# quantize: directories of codes that predict, eval, embed and generate take like any other; scales by calibration data; the gate; what is
# refused, and that nothing is left then.
. "$2/tests/support/support_cli.sh"

cp -r "$source_dir/tests/golden/encoders/bert" encoder
cp "$source_dir/tests/golden/predict/vocab.txt" encoder
printf '1 a b c\n0 d e, f\n1 c a d\n0 f e d e\n' >gold.txt
cut -d' ' -f2- gold.txt >texts.txt
for i in 1 2 3 4 5 6 7 8; do cat gold.txt; done >train.txt
"$halfstep" finetune sequence --init_from encoder --data.train train.txt --data.val gold.txt --train.epochs 6 --optim.lr 3e-3 --out run --quiet >/dev/null 2>stderr.txt ||
  fail "finetune: $(head -c 300 stderr.txt)"
cp -r "run/checkpoints/$(cat run/checkpoints/BEST)" model
"$halfstep" predict model texts.txt >want.txt 2>stderr.txt || fail "predict: $(cat stderr.txt)"

quantize() { "$halfstep" quantize model "$@" >stdout.txt 2>stderr.txt || fail "quantize $*: $(head -c 300 stderr.txt)"; }
refused() { # WHAT PART ARGUMENTS: exit code 2, one line with PART, no folder
  local what=$1 part=$2
  shift 2
  rm -rf none
  "$halfstep" quantize "$@" -o none >stdout.txt 2>stderr.txt
  [ $? -eq 2 ] || fail "$what: exit code is not 2"
  [ "$(wc -l <stderr.txt)" -eq 1 ] && grep -qF -- "$part" stderr.txt || fail "$what: $(cat stderr.txt)"
  [ ! -e none ] && [ -z "$(ls -d none.trial* 2>/dev/null)" ] || fail "$what: something is left"
}

# ---- each form: the same labels, scores close by
for bits in w8a8 w8 w4 calibrated; do
  if [ $bits = calibrated ]; then quantize --bits w8a8 --calib texts.txt --method max -o "$bits"; else quantize --bits $bits -o "$bits"; fi
  grep -q '"quant_method": "compressed-tensors"' "$bits/config.json" || fail "$bits: config.json does not say so"
  "$halfstep" predict "$bits" texts.txt >got.txt 2>stderr.txt || fail "predict $bits: $(cat stderr.txt)"
  paste want.txt got.txt | awk -F'\t' -v most=$([ $bits = w4 ] && echo 0.1 || echo 0.02) '
    $1 == $4 && ($2 - $5 > most || $5 - $2 > most) || ($1 != $4 && $2 > 0.4) { bad = 1 } END { exit bad }' || fail "$bits: $(paste want.txt got.txt)"
done
grep -q 'scales of inputs by 4 examples' stdout.txt || fail "calibrated: $(cat stdout.txt)"
quantize --bits w8a8 --layers --skip 'l0,pool*' --overwrite -o w8a8
grep -qE '^l0.attn.qkv.weight +f32 +to be skipped' stdout.txt && grep -qE '^l1.attn.qkv.weight +i8, rows' stdout.txt || fail "--skip: $(cat stdout.txt)"
quantize --bits w8 --json --overwrite -o w8
json_lines stdout.txt
grep -q '"coded":[1-9]' stdout.txt || fail "--json: $(cat stdout.txt)"
"$halfstep" export w8 --to safetensors -o again >/dev/null 2>stderr.txt || fail "export of codes: $(cat stderr.txt)"
cmp -s again/model.safetensors w8/model.safetensors || fail "codes are others after an export"
"$halfstep" embed w8 --input texts.txt --json >embed.txt 2>stderr.txt || fail "embed: $(cat stderr.txt)"
[ "$(wc -l <embed.txt)" -eq 4 ] || fail "embed: $(cat embed.txt)"
"$halfstep" quantize "$source_dir/tests/golden/gpt2-lm" --bits w4 -o writer >/dev/null 2>stderr.txt || fail "gpt2: $(cat stderr.txt)"
"$halfstep" generate writer --prompt-ids 1,2,3 --max-tokens 4 --temperature 0 --json >got.txt 2>stderr.txt || fail "generate: $(cat stderr.txt)"
grep -q '"prompt_ids":\[1,2,3\]' got.txt || fail "generate: $(cat got.txt)"
# codes that lie in the file as they are kept are served from there, on a device that the host may not touch, too
"$halfstep" generate writer --prompt-ids 1,2,3 --max-tokens 4 --temperature 0 --device cpu-fenced --log-level debug >fenced.txt 2>stderr.txt || fail "generate on cpu-fenced: $(tail -1 stderr.txt)"
"$halfstep" generate writer --prompt-ids 1,2,3 --max-tokens 4 --temperature 0 >plain.txt 2>stderr2.txt
cmp -s fenced.txt plain.txt || fail "cpu-fenced writes something else: $(cat fenced.txt), $(cat plain.txt)"
grep -qE 'writer: (2[0-9]|3[0-9]) of 28 parameters are served from the file' stderr.txt || fail "served: $(grep served stderr.txt)"

for round in gptq awq; do
  quantize --bits w4 --round $round --calib texts.txt --overwrite -o w4r
  "$halfstep" predict w4r texts.txt >got.txt 2>stderr.txt || fail "predict $round: $(cat stderr.txt)"
done

# ---- the gate
quantize --bits w8 --gate 'accuracy>=0.9,loss drop<=0.5' --gate.data gold.txt -o gated
[ -e gated/model.safetensors ] || fail "the gate let nothing through"
"$halfstep" quantize model --bits w4 --gate 'loss drop<=0' --gate.data gold.txt -o none >stdout.txt 2>stderr.txt
if [ $? -eq 0 ]; then rm -rf none; else grep -q 'nothing is written: loss drop is' stderr.txt && [ ! -e none ] || fail "the gate: $(tail -1 stderr.txt)"; fi
"$halfstep" quantize model --bits w4 --gate 'accuracy>=1.5' --gate.data gold.txt --auto -o none >stdout.txt 2>stderr.txt
[ $? -eq 2 ] && tail -1 stderr.txt | grep -q 'no mix passes the gate; the best: accuracy is' || fail "--auto: $(tail -1 stderr.txt)"
[ ! -e none ] && [ -z "$(ls -d none.trial* 2>/dev/null)" ] || fail "--auto: something is left"
quantize --bits w4 --gate.data gold.txt --sensitivity report -o sensed
grep -q '"loss_rise"' report/sensitivity.json || fail "sensitivity.json"

# ---- an adapter beside codes
tune() { "$halfstep" finetune sequence --init_from w4 --data.train train.txt --data.val gold.txt --adapter.rank 4 --optim.lr 1e-2 --train.epochs 4 --checkpoint.every 2 --quiet "$@"; }
tune --out whole >/dev/null 2>stderr.txt || fail "an adapter beside codes: $(head -c 300 stderr.txt)"
"$halfstep" predict whole/checkpoints/BEST texts.txt >got.txt 2>stderr.txt || fail "predict an adapter beside codes: $(head -c 300 stderr.txt)"
[ "$(wc -l <got.txt)" -eq 4 ] || fail "an adapter beside codes: $(cat got.txt)"
expect 2 'w4 is quantized: its weights are not trained; --adapter.rank 8' "$halfstep" finetune sequence --init_from w4 --data.train train.txt --data.val gold.txt --out none

# ---- what is refused
refused "quantized already" "is quantized already" w8 --bits w4
refused "a method without scales" "--method is for scales of activations" model --bits w4 --method max
refused "smooth without texts" "--smooth needs --calib FILE" model --bits w8 --smooth 0.5
refused "smooth behind a norm" "--smooth has no norm to fold into" model --bits w8 --smooth 0.5 --calib texts.txt
refused "search" "--round search is of --bits w4" model --bits w8 --round search
refused "no data" "--activations tensor needs --calib FILE" model --activations tensor
refused "empty data" "has 0 examples" model --calib /dev/null
refused "too few examples" "texts.txt has 4 examples, 9 are asked for" model --calib texts.txt --examples 9
refused "no such file" "none.txt" model --calib none.txt
refused "a pattern that fits nothing" "--skip: \"l7\" fits none" model --skip l7
refused "all skipped" "some are to be skipped" model --skip '*'
refused "a gate without data" "--gate needs --gate.data FILE" model --gate 'accuracy>=0.5'
refused "a gate that is none" "is not NAME>=X" model --gate 'accuracy=1' --gate.data gold.txt
refused "a gate on nothing" "nearest is accuracy" model --gate 'acuracy>=0.5' --gate.data gold.txt
refused "bits" "allowed: w8a8|w8|w4" model --bits w3
finish
