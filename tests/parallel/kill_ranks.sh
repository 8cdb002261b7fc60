#!/usr/bin/env bash
# SIGKILL of one rank at random moments - in steps, in collectives, while a checkpoint is written: the job ends within the deadline and says
# so, and the newest whole checkpoint goes on to the bits of a run that nobody killed. RUNS: 10, or what KILL=N among the arguments says.
. "$2/tests/support/support_cli.sh"
. "$2/tests/support/support_mpi.sh"
runs=10
for argument; do
  case $argument in KILL=*) runs=${argument#KILL=} ;; esac
done
sed -i '/^exec:/d' tiny.yaml
options=(tiny.yaml --dtype fp32 --exec.threads=1 --train.steps=40 --checkpoint.every=5 --train.eval_every=0 --parallel.timeout=20 --train.tensorboard=false)
train() { ranks 2 "$halfstep" pretrain "${options[@]}" --out "$@"; }

train whole --quiet || fail "the run that nobody kills"
losses whole/metrics.jsonl >whole.txt
last=checkpoints/step-00000040
seed=${RANDOM_SEED:-7}
random() { # below $1
  seed=$(((seed * 1103515245 + 12345) % 2147483648))
  random=$((seed / 65536 % $1))
}
killed=0
for ((i = 0; i < runs; i++)); do
  rm -rf cut events.txt
  random 35
  step=$((random + 1))
  random 2
  rank=$random
  random 30
  "$mpirun" --bind-to none -np 2 "$halfstep" pretrain "${options[@]}" --out cut --json >events.txt 2>stderr.txt &
  pid=$!
  until ! kill -0 $pid 2>/dev/null || grep -q "\"step\":$step," events.txt 2>/dev/null; do :; done
  sleep 0.00$random
  victims=($(pgrep -P $pid))
  [ ${#victims[@]} -eq 2 ] && kill -KILL "${victims[rank]}" 2>/dev/null && killed=$((killed + 1))
  SECONDS=0
  wait $pid
  code=$?
  [ $code -ne 0 ] || [ ${#victims[@]} -lt 2 ] || grep -q '"event":"end"' events.txt || fail "rank $rank killed at step $step: exit code 0"
  [ $SECONDS -le 25 ] || fail "rank $rank killed at step $step: the job took $SECONDS s to end"
  [ $code -eq 0 ] || [ -s stderr.txt ] || fail "rank $rank killed at step $step: nothing is said"
  train cut --quiet 2>stderr.txt || fail "rank $rank killed at step $step: does not go on: $(cat stderr.txt)"
  cmp -s whole.txt <(losses cut/metrics.jsonl) || fail "rank $rank killed at step $step: other losses: $(diff whole.txt <(losses cut/metrics.jsonl) | head -2)"
  for file in model.safetensors train/optimizer.safetensors; do
    cmp -s whole/$last/$file cut/$last/$file || fail "rank $rank killed at step $step: other bytes in $file"
  done
done
echo "$killed of $runs runs had a rank killed"
[ $killed -gt $((runs / 2)) ] || fail "too few were killed to say anything"
finish
