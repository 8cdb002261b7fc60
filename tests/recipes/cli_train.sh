#!/usr/bin/env bash
# From a text to a model: train, evaluate, generate; what is written, what is printed, and that figures agree with each other.
. "$2/tests/support/support_cli.sh"

expect 0 '' "$halfstep" pretrain tiny.yaml --out run --dtype fp32
tr -d '\n' <stdout.txt | grep -q $'\r' && fail "plain output has carriage returns"
[ "$(grep -c '^step ' stdout.txt)" -eq 60 ] || fail "not one plain line for each logged step"
for f in config.yaml metrics.jsonl tokenizer.json checkpoints/LATEST checkpoints/BEST checkpoints/step-00000060/model.safetensors \
  checkpoints/step-00000060/config.json checkpoints/step-00000060/train/state.json; do
  [ -s "run/$f" ] || fail "run/$f is missing"
done
ls run/events.out.tfevents.* >/dev/null || fail "no event file"
"$halfstep" env | grep -q '^libpng *not built' || [ "$(head -c 4 run/loss.png | tail -c 3)" = PNG ] || fail "loss.png is no PNG"
[ "$(ls -d run/checkpoints/step-* | wc -l)" -le 3 ] || fail "more checkpoints than checkpoint.keep 2 and the best"
! grep -rq 'tmp' <(ls run run/checkpoints) || fail "temporary files were left"
json_lines run/metrics.jsonl
[ "$(field step run/metrics.jsonl | wc -l)" -eq 60 ] || fail "metrics.jsonl has not one line a step"
[ "$(field val_loss run/metrics.jsonl | wc -l)" -eq 3 ] || fail "metrics.jsonl has not 3 evaluations"
for name in loss lr grad_norm scale tokens_per_second tokens data_wait seconds; do
  [ -n "$(field $name run/metrics.jsonl | tail -1)" ] || fail "metrics.jsonl lacks $name"
done
[ "$(field tokens run/metrics.jsonl | tail -1)" = 7680 ] || fail "tokens"
awk -v a="$(field loss run/metrics.jsonl | head -1)" -v b="$(field loss run/metrics.jsonl | tail -1)" 'BEGIN { exit !(b < a - 0.5) }' || fail "the loss did not fall"
# the resolved configuration trains the same run again
expect 0 '' "$halfstep" pretrain run/config.yaml --out again --json
json_lines stdout.txt
grep -q '"event":"start"' stdout.txt && grep -q '"event":"checkpoint"' stdout.txt && grep -q '"event":"end"' stdout.txt || fail "events"
cmp -s <(losses run/metrics.jsonl) <(losses again/metrics.jsonl) || fail "the resolved configuration gives another run"
# one thread, another submission: the same bits
expect 0 '' "$halfstep" pretrain tiny.yaml --out other --dtype fp32 --threads 1 --exec.mode=step --model.dropout=0.1
expect 0 '' "$halfstep" pretrain tiny.yaml --out other2 --dtype fp32 --threads 2 --exec.bulk_size=7 --model.dropout=0.1 --quiet --train.tensorboard=false
! ls other2/events.* >/dev/null 2>&1 || fail "an event file in spite of train.tensorboard=false"
cmp -s <(losses other/metrics.jsonl) <(losses other2/metrics.jsonl) || fail "threads or submission mode changed the losses"
[ ! -s stdout.txt ] || fail "--quiet printed: $(head -3 stdout.txt)"

# evaluation of the validation part gives the last val_loss; positions of the split are those of the trainer
total=$(wc -c <text.txt)
tail -c +$((total * 9 / 10 + 1)) text.txt >val.txt
expect 0 '' "$halfstep" eval run --data val.txt --json
json_lines stdout.txt
near "$(field loss stdout.txt)" "$(field val_loss run/metrics.jsonl | tail -1)" 1e-6 || fail "eval differs from the trainer: $(cat stdout.txt)"
[ "$(field tokens stdout.txt)" = $(($(wc -c <val.txt) - 1)) ] || fail "eval: every token but the first is predicted once"
near "$(field perplexity stdout.txt)" "$(awk -v l="$(field loss stdout.txt)" 'BEGIN { print exp(l) }')" 1e-3 || fail "perplexity"

# generation: greedy repeats itself, seeds decide, ids and text agree
expect 0 '' "$halfstep" generate run --prompt 'the quick' --temperature 0 --max-tokens 20 --json
json_lines stdout.txt
grep -o '"ids":\[[^]]*\]' stdout.txt >ids1
grep -o '"text":"[^"]*"' stdout.txt >text1
ids=$(grep -o '"prompt_ids":\[[^]]*\]' stdout.txt | grep -o '[0-9,]*' | tail -1)
expect 0 '' "$halfstep" generate run --prompt-ids "$ids" --temperature 0 --max-tokens 20 --json --threads 1
cmp -s ids1 <(grep -o '"ids":\[[^]]*\]' stdout.txt) || fail "--prompt-ids differs from --prompt"
[ "$(grep -o '"ids":\[[^]]*\]' stdout.txt | tr -cd , | wc -c)" -eq 19 ] || fail "not 20 ids"
expect 0 '' "$halfstep" generate run --prompt 'the quick' --temperature 0 --max-tokens 20
[ "$(head -c 9 stdout.txt)" = 'the quick' ] || fail "the prompt is not printed"
[ "\"text\":\"$(tail -c +10 stdout.txt)\"" = "$(cat text1)" ] || fail "streamed text differs from --json: $(cat stdout.txt) $(cat text1)"
expect 0 '' "$halfstep" generate run --prompt 'the quick' --seed 5 --max-tokens 100 --top-k 5 --top-p 0.9
cp stdout.txt seed5
[ "$(wc -c <seed5)" -gt 100 ] || fail "generation stopped at the context of 32 although it slides"
expect 0 '' "$halfstep" generate run --prompt 'the quick' --seed 5 --max-tokens 100 --top-k 5 --top-p 0.9
cmp -s seed5 stdout.txt || fail "the same seed wrote another text"
expect 0 '' "$halfstep" generate run --prompt 'the quick' --seed 6 --max-tokens 100 --top-k 5 --top-p 0.9
! cmp -s seed5 stdout.txt || fail "another seed wrote the same text"
rm -rf bare && cp -r run/checkpoints/step-00000060 bare && rm -r bare/train bare/tokenizer*
expect 0 '' "$halfstep" generate bare --prompt-ids "$ids" --temperature 0 --max-tokens 20 --json --dtype fp32
cmp -s ids1 <(grep -o '"ids":\[[^]]*\]' stdout.txt) || fail "a model without tokenizer generates other ids"
expect 2 'tokenizer' "$halfstep" generate bare --prompt x

# accumulation: 1 x 8 is 4 x 2, dropout on
t() { expect 0 '' "$halfstep" pretrain tiny.yaml --dtype fp32 --train.steps=10 --model.dropout=0.2 "$@"; }
t --out a1 --train.batch=8 --train.accumulate=1
t --out a4 --train.batch=2 --train.accumulate=4
paste <(field loss a1/metrics.jsonl) <(field loss a4/metrics.jsonl) | awk '{ d = $1 - $2; if (d > 1e-5 || d < -1e-5) exit 1 }' || fail "1 x 8 differs from 4 x 2"
t --out am --train.batch=2 --train.accumulate=4 --loss.normalize=micro
t --out lamb --optim.name=nvlamb --optim.schedule=poly --data.tokenizer=byte

# weights taken over; another kind of text: bytes that are no UTF-8, a validation file
head -c 3000 text.txt >val.txt
t --out val --data.val=val.txt
head -c 20000 /dev/urandom | LC_ALL=C tr -d '\0-\37' | head -c 5000 >noise.txt
expect 0 '' "$halfstep" prepare --tokenizer byte --utf8 keep --split 0.5,0.5 --documents line -o noise noise.txt text.txt
t --out noise --data.tokenizer=byte --data.train=noise-train.bin --data.val=noise-val.bin
expect 0 '' "$halfstep" generate noise --prompt 'x' --max-tokens 30 --json
json_lines stdout.txt
expect 0 '' "$halfstep" pretrain tiny.yaml --out tuned --train.init_from=run --train.steps=5 --model.vocab=0 --optim.lr=1e-5 --optim.warmup=0
near "$(field val_loss tuned/metrics.jsonl | tail -1)" "$(field val_loss run/metrics.jsonl | tail -1)" 0.2 || fail "train.init_from did not take the weights over"
expect 0 '' "$halfstep" pretrain tiny.yaml --out tuned --train.init_from=run --train.steps=8 --optim.warmup=0
grep -q 'going on from tuned/checkpoints/step-00000005' stdout.txt || fail "a run that began with train.init_from does not go on"
expect 2 'model.width is 32, but train.init_from' "$halfstep" pretrain tiny.yaml --out tuned2 --train.init_from=run --model.width=32

# plan, bench and the other reports
expect 0 '' "$halfstep" plan tiny.yaml --dtype bf16 --json
json_lines stdout.txt
[ "$(field parameters stdout.txt)" -gt 100000 ] && [ "$(field largest_micro_batch stdout.txt)" -gt 100 ] || fail "plan: $(cat stdout.txt)"
expect 0 '' "$halfstep" plan gpt2-1558m
grep -q '^parameters *1557611200$' stdout.txt || fail "GPT-2 XL has 1557611200 parameters: $(grep param stdout.txt)"
expect 0 '' "$halfstep" bench train --model shakespeare-char --batch 2 --seq 32 --dtype fp32 --steps 3 --json
json_lines stdout.txt
for name in tokens_per_second sequences_per_second peak_bytes mfu loss; do
  [ -n "$(field $name stdout.txt)" ] || fail "bench lacks $name"
done
near "$(field loss stdout.txt)" 4.17 1 || fail "bench: the loss on random tokens is not about ln 65"
for c in env ops; do
  expect 0 '' "$halfstep" $c --json
  json_lines stdout.txt
done
finish
