#!/usr/bin/env bash
# Every layout trains what one process trains, within what rounding alone does (halfstep verify): optimizers, types, accumulation, an overflow.
. "$2/tests/support/support_cli.sh"
. "$2/tests/support/support_mpi.sh"

sed -i 's/heads: 2/heads: 4/; s/steps: 60/steps: 40/; s/batch: 4/batch: 8/; /^exec:/d' tiny.yaml
cat >bert.yaml <<'YAML'
model: { type: bert, layers: 2, heads: 4, width: 64, context: 32, dropout: 0.1, attention_dropout: 0.1 }
data: { train: text.txt, tokenizer: "wordpiece:200" }
train: { batch: 8, steps: 40, log_every: 1, eval_every: 0, seed: 3 }
optim: { lr: 3e-3, warmup: 5, betas: [0.9, 0.99] }
YAML
export OMP_NUM_THREADS=1
n=0
# verify WHAT RANKS CONFIG [option...]
verify() {
  n=$((n + 1))
  ranks "$2" "$halfstep" verify "$1" "$3" "${@:4}" ${steps:---steps 10} --exec.threads=1 >stdout.txt 2>stderr.txt </dev/null
  local code=$?
  [ $code -eq 0 ] || fail "verify $*: exit code $code: $(grep -v '^ok$' stderr.txt | head -3)
$(grep -E 'FAILS|DIFFER|bit-identical' stdout.txt | head -6)"
}
drop=--model.dropout=0.1
verify dp 2 tiny.yaml --dtype fp32 $drop
verify dp 4 tiny.yaml --dtype bf16 $drop --train.accumulate=4
verify dp 2 tiny.yaml --dtype fp32 --loss.normalize=micro --train.accumulate=4
verify tp 2 tiny.yaml --dtype fp32 $drop --parallel.tp=2
verify tp 4 tiny.yaml --dtype bf16 $drop --parallel.tp=4
verify tp 4 tiny.yaml --dtype bf16 $drop --parallel.tp=2 --train.accumulate=4
verify dp 4 tiny.yaml --dtype fp32 $drop --parallel.tp=2
# the first loss scale is too large: steps are skipped, by all or by none
steps='--steps 25'
verify dp 2 tiny.yaml --dtype fp16 --amp.scaler=megatron
grep -q 'skipped steps ([1-9]' stdout.txt || fail "fp16: nothing was skipped: $(grep skipped stdout.txt)"
verify tp 4 tiny.yaml --dtype fp16 --amp.scaler=megatron --parallel.tp=2
grep -q 'skipped steps ([1-9]' stdout.txt || fail "fp16 2x2: nothing was skipped: $(grep skipped stdout.txt)"
steps=
verify dp 2 bert.yaml --dtype fp32
verify dp 4 bert.yaml --dtype bf16 --train.accumulate=4 --data.layout=packed
verify tp 2 bert.yaml --dtype fp32 --parallel.tp=2
steps='--steps 35' # the first scales are all too large
verify tp 4 bert.yaml --dtype fp16 --amp.scaler=megatron --parallel.tp=2
steps=
verify dp 4 bert.yaml --dtype fp32 --optim.name=lamb --parallel.tp=2
for lamb in nvlamb apex-nvlamb albert mxnet deepspeed; do # norms of what tp divides; dp asks nothing of them
  verify tp 2 bert.yaml --dtype fp32 --optim.name=$lamb --parallel.tp=2
done
# a divided optimizer: no bit is another
for what in states gradients; do
  verify shard 2 tiny.yaml --dtype bf16 $drop --parallel.shard_optimizer=$what --train.accumulate=4
  verify shard 4 bert.yaml --dtype fp32 --parallel.shard_optimizer=$what --optim.name=lamb --parallel.tp=2
done
steps='--steps 35' verify shard 4 bert.yaml --dtype fp16 --amp.scaler=megatron --parallel.shard_optimizer=gradients
steps='--steps 35' verify shard 2 bert.yaml --dtype fp16 --amp.scaler=megatron --parallel.shard_optimizer=states
# tokens divided too
verify tp 2 tiny.yaml --dtype fp32 $drop --parallel.tp=2 --parallel.sequence=true
verify tp 4 bert.yaml --dtype bf16 --parallel.tp=2 --parallel.sequence=true --parallel.shard_optimizer=states
verify tp 4 tiny.yaml --dtype fp32 $drop --parallel.tp=4 --parallel.sequence=true --optim.name=nvlamb
# a student beside its teacher
"$halfstep" pretrain bert.yaml --out teacher --exec.threads=1 --train.steps=6 --train.seed=5 --quiet || fail "the teacher"
verify dp 2 bert.yaml --dtype fp32 --distill.teacher=teacher --distill.hidden=1 --distill.temperature=2
ranks 2 "$halfstep" distill bert.yaml --teacher teacher --out student --exec.threads=1 --quiet >stdout.txt 2>stderr.txt || fail "distill: $(cat stderr.txt)"
[ -d student/checkpoints/step-00000040 ] || fail "distill on two ranks: $(ls student student/checkpoints)"
# what cannot be told or judged is refused, or fails
ranks 2 "$halfstep" pretrain tiny.yaml --out no --parallel.tp=2 --amp.histogram=5 >stdout.txt 2>stderr.txt && fail "amp.histogram of divided gradients"
grep -q '^halfstep: .*amp.histogram is 5, but parallel.tp divides gradients over ranks' stderr.txt || fail "amp.histogram: $(cat stderr.txt)"
ranks 2 "$halfstep" verify dp tiny.yaml --dtype fp32 --exec.threads=1 --steps 3 --optim.lr=1e30 --optim.warmup=0 >stdout.txt 2>stderr.txt && fail "verify passes of losses that are not finite: $(cat stdout.txt)"
echo "$n layouts"
finish
