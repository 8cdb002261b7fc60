#!/usr/bin/env bash
# SIGKILL of one rank at random moments, at several layouts: in steps, while a checkpoint is written, in a collective. The job ends within the
# deadline and names the rank, and the newest whole checkpoint goes on to the bits of a run that nobody killed. 10 times, or what KILL=N
# among the arguments says.
. "$2/tests/support/support_cli.sh"
. "$2/tests/support/support_mpi.sh"
runs=10 deadline=15
for argument; do
  case $argument in KILL=*) runs=${argument#KILL=} ;; esac
done
sed -i '/^exec:/d' tiny.yaml
options=(tiny.yaml --dtype fp32 --exec.threads=1 --train.steps=60 --checkpoint.every=5 --train.eval_every=0 --parallel.timeout=20 --train.tensorboard=false)
layouts=("2 --parallel.dp=2" "2 --parallel.shard_optimizer=states" "2 --parallel.tp=2" "2 --parallel.shard_optimizer=gradients" "4 --parallel.tp=2 --parallel.sequence=true --parallel.shard_optimizer=states")
kinds=(step save collective)
last=checkpoints/step-00000060
train() { ranks "${layout[0]}" "$halfstep" pretrain "${options[@]}" "${layout[@]:1}" --out "$@" --quiet; }

seed=${RANDOM_SEED:-7}
random() { # below $1
  seed=$(((seed * 1103515245 + 12345) % 2147483648))
  random=$((seed / 65536 % $1))
}
rank_of() { tr '\0' '\n' 2>/dev/null <"/proc/$1/environ" | sed -n 's/^OMPI_COMM_WORLD_RANK=//p'; }
running() { kill -0 $job 2>/dev/null; }
# The rank that is to go waits for another one, which waits for nothing.
stop_another() {
  random $((${layout[0]} - 1))
  other=${process[(victim + 1 + random) % ${layout[0]}]}
  kill -STOP "$other"
  sleep 0.1
}
# strike KIND STEP: kills rank $victim of $job behind that step
strike() {
  until ! running || grep -q "\"step\":$2," cut/metrics.jsonl 2>/dev/null; do sleep 0.01; done
  random 30
  sleep 0.00$random
  [ "$1" != save ] || until ! running || compgen -G 'cut/checkpoints/*.tmp-*' >/dev/null; do :; done
  process=()
  for p in $(pgrep -P $job); do
    process[$(rank_of "$p")]=$p
  done
  [ ${#process[@]} -eq "${layout[0]}" ] || return 1
  other=
  [ "$1" != collective ] || stop_another
  kill -KILL "${process[victim]}" 2>/dev/null
  local code=$?
  [ -z "$other" ] || kill -CONT "$other"
  return $code
}

killed=0
declare -A count
for ((i = 0; i < runs; i++)); do
  # shellcheck disable=SC2206
  layout=(${layouts[i % ${#layouts[@]}]})
  whole=whole-$((i % ${#layouts[@]}))
  if [ ! -d $whole ]; then
    train $whole || fail "the run that nobody kills: ${layout[*]}"
    losses $whole/metrics.jsonl >$whole.txt
  fi
  rm -rf cut
  random 45
  step=$((random + 1))
  random "${layout[0]}"
  victim=$random
  random 3
  kind=${kinds[random]}
  what="rank $victim of ${layout[*]} killed behind step $step ($kind)"
  "$mpirun" --bind-to none -np "${layout[0]}" "$halfstep" pretrain "${options[@]}" "${layout[@]:1}" --out cut --json >events.txt 2>stderr.txt &
  job=$!
  strike $kind $step
  struck=$?
  SECONDS=0
  wait $job
  code=$?
  [ $SECONDS -le $deadline ] || fail "$what: the job took $SECONDS s to end"
  if [ $struck -eq 0 ] && ! grep -q '"event":"end"' events.txt; then
    killed=$((killed + 1)) count[$kind]=$((count[$kind] + 1))
    [ $code -eq 137 ] || [ $code -eq 4 ] || fail "$what: exit code $code"
    [ "$(grep -c "^halfstep: rank $victim (.*) is gone: its process ${process[victim]} has ended" stderr.txt)" -eq 1 ] ||
      fail "$what: the rank is not named once: $(grep -v '^-' stderr.txt | head -3)"
    [ "$(grep -c '^halfstep: ' stderr.txt)" -eq 1 ] || fail "$what: more than one line: $(grep '^halfstep: ' stderr.txt)"
  fi
  train cut 2>stderr.txt || fail "$what: does not go on: $(cat stderr.txt)"
  cmp -s $whole.txt <(losses cut/metrics.jsonl) || fail "$what: other losses: $(diff $whole.txt <(losses cut/metrics.jsonl) | head -2)"
  for file in model.safetensors train/optimizer.safetensors; do
    cmp -s $whole/$last/$file cut/$last/$file || fail "$what: other bytes in $file"
  done
done
echo "$killed of $runs runs had a rank killed: in steps ${count[step]:-0}, in saves ${count[save]:-0}, in collectives ${count[collective]:-0}"
[ $killed -gt $((runs / 2)) ] || fail "too few were killed to say anything"
finish
