#!/usr/bin/env bash
# A run that goes on with other settings: every difference is a line, a jump of the learning rate a warning, the loss scale follows its scaler.
. "$2/tests/support/support_cli.sh"
lr() { sed -n "$1p" "$2/metrics.jsonl" | grep -o '"lr":[^,}]*' | cut -d: -f2; }
scale() { tail -1 "$1/metrics.jsonl" | grep -o '"scale":[^,}]*' | cut -d: -f2; }
go() { out=$1 && shift && expect 0 '' "$halfstep" pretrain tiny.yaml --out "$out" --train.log_every=1 --dtype fp32 --optim.warmup=0 --optim.lr=1e-3 --optim.min_lr=1e-4 "$@"; }

go run --train.steps=10
near() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a > 0 && b > 0 && a / b < 1.000001 && b / a < 1.000001) }'; }
near "$(lr 1 run)" 1e-3 || fail "the first step's rate is $(lr 1 run)"
near "$(lr 10 run)" 1e-4 || fail "the last step's rate is $(lr 10 run), not optim.min_lr"
! grep -q 'goes on with' stderr.txt || fail "a run that begins tells differences"
go run --train.steps=20
grep -q 'goes on with train.steps 20, was 10$' stderr.txt || fail "train.steps is not told: $(cat stderr.txt)"
grep -q 'warning: the learning rate jumps: 0.0001 at the last step, 0.000513 at the next' stderr.txt || fail "the jump is not told: $(cat stderr.txt)"
[ "$(grep -c 'goes on with' stderr.txt)" = 1 ] || fail "more is told than is another: $(cat stderr.txt)"
go run --train.steps=20
! grep -q 'goes on with\|jumps' stderr.txt || fail "the same settings are told: $(cat stderr.txt)"

go other --train.steps=4 --optim.schedule=constant
go other --train.steps=6 --optim.schedule=constant --optim.name=lamb --train.batch=3 --exec.mode=step
grep -q 'goes on with optim.name lamb, was adamw: moments that both keep are carried over' stderr.txt || fail "the optimizer is not told: $(cat stderr.txt)"
grep -q 'goes on with train.batch 3, was ' stderr.txt || fail "the batch is not told"
grep -q 'goes on with exec.mode step, was auto' stderr.txt || fail "exec.mode is not told"
! grep -q jumps stderr.txt || fail "a constant rate jumps"
rm other/checkpoints/step-00000006/train/config.yaml
expect 0 '' "$halfstep" pretrain other/config.yaml --out again --resume other/checkpoints/step-00000004
! grep -q 'does not say its settings' stderr.txt || fail "settings that are there are not found"
# (a file that is gone is a damaged checkpoint, and said so; one that cannot be read is not taken for one that is gone)
step=other/checkpoints/step-00000004
cp "$step/train/config.yaml" kept.yaml
rm "$step/train/config.yaml" && mkdir "$step/train/config.yaml"
expect 2 'step-00000004/train/config.yaml: is a folder, a file is wanted' "$halfstep" pretrain other/config.yaml --out more --resume "$step" --accept-edited
sed -zi 's/,\n *{"name": "train\/config.yaml"[^}]*}//' "$step/train/manifest.json"
expect 2 'step-00000004/train/config.yaml is a folder, a file is wanted' "$halfstep" pretrain other/config.yaml --out more --resume "$step"
expect 2 'step-00000004/train/config.yaml is a folder' "$halfstep" generate "$step" --prompt bottles
rmdir "$step/train/config.yaml" && ln -s config.yaml "$step/train/config.yaml"
expect 2 'cannot open .*step-00000004/train/config.yaml: Too many levels' "$halfstep" generate "$step" --prompt bottles
rm "$step/train/config.yaml" && sed '1i song: la' kept.yaml >"$step/train/config.yaml"
expect 0 'warning: the settings that .*step-00000004 was saved with are not known: .*config.yaml:1: unknown key song' "$halfstep" generate "$step" --prompt bottles --max-tokens 1

half() { out=$1 steps=$2 && shift 2 && expect 0 '' "$halfstep" pretrain tiny.yaml --out "$out" --train.log_every=1 --optim.warmup=0 --train.steps="$steps" "$@"; }
half scaled 3 --dtype fp16
near "$(scale scaled)" 65536 || fail "fp16 begins with scale $(scale scaled)"
half scaled 5 --dtype fp32
near "$(scale scaled)" 1 || fail "fp32 goes on with the scale of fp16: $(scale scaled)"
grep -q 'goes on with amp.policy fp32, was fp16: the loss scale begins anew' stderr.txt || fail "amp.policy is not told: $(cat stderr.txt)"
half scaled 7 --dtype fp16
near "$(scale scaled)" 65536 || fail "fp16 goes on with the scale of fp32: $(scale scaled)"
half scaled 9 --dtype fp16
near "$(scale scaled)" 65536 || fail "the same scaler begins anew"

for name in ../../esc a/b .. . $'line\nbreak'; do
  expect 2 'train.name is ' "$halfstep" pretrain tiny.yaml --train.name="$name"
  [ ! -e runs ] && [ ! -e ../esc ] && [ ! -e ../../esc ] || fail "train.name '$name' leaves runs/"
done
expect 0 '' "$halfstep" pretrain tiny.yaml --train.name='a name, with: signs' --train.steps=1
[ -d 'runs/a name, with: signs/checkpoints' ] || fail "a name with spaces"
finish
