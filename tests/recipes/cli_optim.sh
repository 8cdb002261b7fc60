#!/usr/bin/env bash
# Optimizers by name: what the plan says of their switches, what is refused, that each learns and resumes; pictures of the gradients.
. "$2/tests/support/support_cli.sh"
plan() { "$halfstep" plan tiny.yaml --json "$@" >plan.json 2>stderr.txt || fail "plan $*: $(cat stderr.txt)"; }
says() { grep -qE -- "\"optimizer\":\{.*$1" plan.json || fail "plan does not say $1: $(grep -o '"optimizer".*' plan.json)"; }

# ---- switches: the preset's own where nobody sets them
plan
says '"name":"adamw"' && says '"betas":\[0.9,0.99\]' && says '"weight_decay":0.1' && says '"eps":1e-8' && says '"clip":1.0'
plan --optim.name=lamb
says '"betas":\[0.9,0.99\]' && says '"weight_decay":0.01' && says '"trust":"decayed"' && says '"eps_inside":false'
plan --optim.name=nvlamb
says '"trust":"all"' && says '"eps_inside":true'
plan --optim.name=deepspeed --optim.ratio_max=0.3
says '"bias_correction":"step"' && says '"ratio_min":0.01' && says '"ratio_max":0.3' && says '"eps":1e-8' && says '"clip":0.0'
plan --optim.name=electra --optim.betas=0.9,0.999
says '"bias_correction":"none"' && says '"betas":\[0.9,0.999\]'
plan --optim.name=mxnet --optim.trust=decayed --optim.qkv=one --amp.scaler=apex --dtype fp16
says '"bounds":"weight"' && says '"trust":"decayed"' && says '"qkv":"one"' && says '"scaler":\{"dynamic":true,"init":65536.0.*"max":16777216.0'
plan --optim.name=lars
says '"momentum":0.9' && says '"trust_coefficient":0.001' && says '"decay_mode":"gradient"'
"$halfstep" plan tiny.yaml --optim.name=albert >plan.txt
grep -q '^optimizer    albert' plan.txt && grep -Eq '^  bias_correction +none' plan.txt || fail "the plan as text does not say the switches"
[ "$("$halfstep" plan tiny.yaml --json --optim.moments=bf16 | grep -oE '"moments":[0-9]+')" != "$("$halfstep" plan tiny.yaml --json | grep -oE '"moments":[0-9]+')" ] ||
  fail "moments in bf16 take as much as in f32"

# ---- refused
c() { expect 2 "$1" "$halfstep" plan tiny.yaml "${@:2}"; }
c 'optim.trust is all: optimizer adamw has no such switch' --optim.trust=all
c 'optim.trust_coefficient is 0.1: optimizer lamb has no such switch' --optim.name=lamb --optim.trust_coefficient=0.1
c "optim.name.*'lam'.*lamb" --optim.name=lam
c 'optim.warmup is 5 and optim.warmup_fraction 0.1: warm-up is given by one' --optim.warmup_fraction=0.1
c 'optim.ratio_min is 5, above optim.ratio_max 2' --optim.name=lamb --optim.ratio_min=5 --optim.ratio_max=2
c 'optim.betas is 0.9,0.999: optimizer sgd has no such switch' --optim.name=sgd --optim.betas=0.9,0.999
c 'optim.momentum is 0.5: optimizer lamb has no such switch' --optim.name=lamb --optim.momentum=0.5
c 'optim.eps is 0.1: optimizer sgd has no such switch' --optim.name=sgd --optim.eps=0.1
c 'optim.masters is split, which needs amp.policy bf16: it is fp32' --optim.masters=split --dtype fp32
c 'optim.masters is none, which needs amp.policy bf16: it is fp16' --optim.masters=none --dtype fp16
expect 0 'warning: tiny.yaml:4: optim.betas is 0.9,0.99, which optimizer sgd does not have: it is not used' "$halfstep" plan tiny.yaml --optim.name=sgd
[ "$(grep -c warning stderr.txt)" = 1 ] || fail "a switch of another optimizer is told more than once: $(cat stderr.txt)"
expect 0 '' "$halfstep" plan tiny.yaml
! grep -q warning stderr.txt || fail "a switch that the optimizer has is told: $(cat stderr.txt)"
expect 0 '' "$halfstep" plan tiny.yaml --optim.trust=decayed # as it is anyway

# ---- each learns
learns() { awk -v a="$(field loss "$1/metrics.jsonl" | head -1)" -v b="$(field loss "$1/metrics.jsonl" | tail -1)" 'BEGIN { exit !(b < a - 0.3) }' || fail "$1 does not learn"; }
run() { expect 0 '' "$halfstep" pretrain tiny.yaml --out "$1" --dtype fp32 --quiet --train.steps=40 --train.eval_every=0 "${@:2}"; }
for name in adamw electra lamb nvlamb apex-nvlamb albert mxnet deepspeed; do
  run $name --optim.name=$name --optim.lr=1e-2
  learns $name
done
run sgd --optim.name=sgd --optim.lr=0.3 && learns sgd
run lars --optim.name=lars --optim.lr=1 --optim.trust_coefficient=0.02 && learns lars
run novograd --optim.name=novograd --optim.lr=0.02 && learns novograd
grep -q 'weight_decay: 0.01' lamb/checkpoints/step-00000040/train/config.yaml || fail "the resolved configuration does not say what lamb decided"

# ---- moments in bf16 and numbers per tensor: half a run and the other half end where the whole run does
for how in "small --optim.moments=bf16" "novo --optim.name=novograd --optim.moments=bf16 --optim.lr=0.02"; do
  # shellcheck disable=SC2086
  set -- $how
  run "$1-whole" "${@:2}" --checkpoint.every=20
  cp -r "$1-whole" "$1-half"
  rm -r "$1-half/checkpoints/step-00000040" "$1-half/checkpoints/LATEST" 2>/dev/null
  run "$1-half" "${@:2}" --checkpoint.every=20 --resume "$1-half/checkpoints/step-00000020"
  cmp -s "$1-whole/checkpoints/step-00000040/model.safetensors" "$1-half/checkpoints/step-00000040/model.safetensors" || fail "$1: a resumed run ends elsewhere"
  cmp -s "$1-whole/checkpoints/step-00000040/train/optimizer.safetensors" "$1-half/checkpoints/step-00000040/train/optimizer.safetensors" ||
    fail "$1: a resumed run ends with other moments"
  learns "$1-whole"
done
run small-two --optim.moments=bf16 --exec.threads=1
cmp -s small-two/checkpoints/step-00000040/model.safetensors small-whole/checkpoints/step-00000040/model.safetensors || fail "bf16 moments depend on threads"

# ---- values in two halves are f32 ones, in files too, and either run goes on as the other; in bf16 alone they resume and learn
low() { run "$1" --checkpoint.every=20 --dtype bf16 "${@:2}"; }
same() { # RUN RUN
  for file in model.safetensors train/optimizer.safetensors; do
    cmp -s "$1/checkpoints/step-00000040/$file" "$2/checkpoints/step-00000040/$file" || fail "$1 and $2 end with another $file"
  done
}
goes_on() { # RUN NEW OPTIONS...: NEW from the middle of RUN
  cp -r "$1" "$2"
  rm -r "$2/checkpoints/step-00000040" "$2/checkpoints/LATEST"
  low "$2" --resume "$2/checkpoints/step-00000020" "${@:3}"
}
low whole
low split --optim.masters=split
low none --optim.masters=none
same whole split
goes_on whole whole-split --optim.masters=split && same whole whole-split
goes_on split split-whole && same whole split-whole
goes_on none none-none --optim.masters=none --exec.threads=1 && same none none-none
learns none
cmp -s none/checkpoints/step-00000040/model.safetensors whole/checkpoints/step-00000040/model.safetensors && fail "optim.masters none does what f32 does"
head -c 4000 none/checkpoints/step-00000040/model.safetensors | grep -aq '"transformer.h.0.attn.c_attn.weight":{"dtype":"BF16"' || fail "optim.masters none does not save bf16 weights"
goes_on none none-whole
goes_on whole whole-none --optim.masters=none
sizes() { "$halfstep" plan tiny.yaml --json --dtype bf16 --optim.masters="$1" | grep -oE "\"masters\":[0-9]+" | cut -d: -f2; }
[ "$(sizes none)" -lt "$(sizes split)" ] && [ "$(sizes split)" -lt "$(sizes f32)" ] || fail "values take $(sizes f32), $(sizes split) and $(sizes none) bytes"

# ---- schedules
run nvidia --optim.schedule=poly-warmup --optim.power=0.5 --optim.warmup=0 --optim.warmup_fraction=0.25 --optim.lr=4e-3 --train.log_every=1
near "$(field lr nvidia/metrics.jsonl | sed -n 5p)" 0.002 1e-9 || fail "poly-warmup: the rate of step 5 is $(field lr nvidia/metrics.jsonl | sed -n 5p)"
near "$(field lr nvidia/metrics.jsonl | sed -n 20p)" "$(awk 'BEGIN { printf "%.9f", 4e-3 * sqrt(0.5) }')" 1e-8 || fail "poly-warmup: the rate of step 20"

# ---- exponents of gradients
run pictures --amp.histogram=15 --dtype fp16
[ "$(cd pictures/gradients && echo ./*.json)" = "./00000015.json ./00000030.json ./00000040.json" ] || fail "amp.histogram wrote $(ls pictures/gradients)"
"$check_json" lines pictures/gradients/00000015.json 2>error.txt || fail "the histogram is not JSON"
grep -q '"scale":65536.0' pictures/gradients/00000015.json || fail "the histogram does not say the scale"
for scope in wte h0.attn.qkv h1.mlp.down ln_f; do
  grep -q "\"scope\":\"$scope\"" pictures/gradients/00000015.json || fail "no gradients of $scope"
done
if "$halfstep" env | grep -qi 'png.*no'; then :; else
  [ -s pictures/gradients/00000040.png ] || fail "no picture of the gradients"
fi
run without --dtype fp16
[ ! -e without/gradients ] || fail "pictures that nobody asked for"
cmp -s without/checkpoints/step-00000040/model.safetensors pictures/checkpoints/step-00000040/model.safetensors || fail "looking at gradients changes a run"
finish
