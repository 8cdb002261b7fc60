#!/usr/bin/env bash
# The best checkpoint is never lost: a run goes back, is killed before BEST was written, keeps one checkpoint, moves to another folder.
. "$2/tests/support/support_cli.sh"

# A text so short that a model learns it by heart: on another text it is best after some dozen steps.
head -c 450 "$2/recipes/text/shakespeare.txt" >few.txt
head -c 40600 "$2/recipes/text/shakespeare.txt" | tail -c 20000 >val.txt
cat >few.yaml <<'YAML'
model: { layers: 1, heads: 2, width: 64, context: 32 }
data: { train: few.txt, val: val.txt, tokenizer: byte }
train: { batch: 8, steps: 120, log_every: 10, eval_every: 20, eval_windows: 32, seed: 5 }
optim: { lr: 3e-3, warmup: 0, schedule: constant, weight_decay: 0 }
checkpoint: { every: 20, keep: 1 }
amp: { policy: fp32 }
exec: { threads: 1 }
YAML
step() { printf 'step-%08d' "$1"; }
# stored FOLDER: the steps in it, then what BEST names
stored() { echo "$(cd "$1/checkpoints" && ls -d step-* | tr '\n' ' ')BEST=$(cat "$1/checkpoints/BEST" 2>/dev/null)"; }
state() { sed -n "s/^ *\"$2\": \(-\?[0-9.e+-]*\),\?$/\1/p" "$1/train/state.json"; }
train() { "$halfstep" pretrain few.yaml --quiet "$@" 2>log.txt || fail "pretrain $*: $(tail -1 log.txt)"; }
is() { [ "$(stored "$1")" = "$2" ] || fail "$3: $(stored "$1"), not $2"; }

train --out run
best=$(state run/checkpoints/$(step 120) best_step)
[ -n "$best" ] && [ "$best" -lt 120 ] || fail "no model is best before the end: $best"
kept="$(step "$best") $(step 120) BEST=$(step "$best")"
is run "$kept" 'the run itself'
cp -r run again

# ---- back to the best step, and on with one kept: BEST is there before the first save and after all of them
after=$((best + 40))
train --resume again/checkpoints/$(step "$best") --out again --overwrite --train.steps $after
is again "$(step "$best") $(step $after) BEST=$(step "$best")" 'back to the best step'
[ "$(state again/checkpoints/$(step $after) best_step)" = "$best" ] || fail "the state has another best: $(state again/checkpoints/$(step $after) best_step)"
expect 0 '' "$halfstep" eval again/checkpoints/BEST --data val.txt

# ---- killed between a checkpoint and BEST: going on mends it, with the best step's checkpoint whole
for pointer in gone dangling older; do
  rm -rf killed && cp -r run killed
  case $pointer in
  gone) rm killed/checkpoints/BEST ;;
  dangling) step 777 >killed/checkpoints/BEST ;;
  older) step 120 >killed/checkpoints/BEST ;;
  esac
  train --out killed --train.steps 160
  is killed "$(step "$best") $(step 160) BEST=$(step "$best")" "BEST was $pointer"
done
rm -f killed/checkpoints/BEST
train --out killed --train.steps 160
is killed "$(step "$best") $(step 160) BEST=$(step "$best")" 'nothing was left to do'

# ---- a future that is given up takes its best along; what was best before it is best again
train --out back --checkpoint.keep 100
early=$((best - 20))
before=$(state back/checkpoints/$(step $early) best_step)
train --resume back/checkpoints/$(step $early) --out back --overwrite --train.steps $early --checkpoint.keep 100
[ "$(cat back/checkpoints/BEST)" = "$(step "$before")" ] || fail "BEST is $(cat back/checkpoints/BEST), the state of step $early says $before"
[ ! -e back/checkpoints/$(step "$best") ] || fail 'the future is still there'
train --out back --train.steps 120
is back "$kept" 'a future given up, made again'

# ---- another folder: the old one keeps its best; the new one says that it has none, and takes no other run's step of that number for it
train --resume run/checkpoints/$(step 120) --out other --train.steps 140
is run "$kept" 'the folder gone on from'
is other "$(step 140) BEST=" 'the folder gone on in'
"$halfstep" pretrain few.yaml --resume run/checkpoints/$(step 120) --out told --train.steps 121 >/dev/null 2>log.txt
[ "$(grep -c "the best checkpoint so far, of step $best, is not in .*told/checkpoints" log.txt)" -eq 1 ] || fail "nothing is said: $(cat log.txt)"
train --out stranger --train.steps "$best" --checkpoint.every "$best" --train.seed 6
rm stranger/checkpoints/BEST
train --resume run/checkpoints/$(step 120) --out stranger --train.steps 140
is stranger "$(step "$best") $(step 140) BEST=" "another run's step of that number"

# ---- refused without --overwrite, and nothing has changed
expect 2 'has a checkpoint of step 120, later than the one to go on from' "$halfstep" pretrain few.yaml --resume run/checkpoints/$(step "$best") --out run
is run "$kept" 'a refusal'
finish
