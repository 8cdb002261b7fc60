#!/usr/bin/env bash
# An adapter (LoRA) trained beside an encoder: the base is not touched, the checkpoint is a folder of PEFT that opens like any other and goes on
# bit for bit; what cannot be is one line.
# shellcheck disable=SC1091,SC2154
. "$2/tests/support/support_cli.sh"
. "$2/tests/support/support_labelled.sh"

run() { finetune tokens ner.conll "$1" --train.epochs=2 --model.dropout=0.1 --train.log_every=1 --train.tensorboard=false --adapter.rank=4 --adapter.dropout=0.1 --optim.lr=5e-3 "${@:2}"; }
last() { echo "$1/checkpoints/$(cat "$1/checkpoints/LATEST")"; }
same() { cmp -s "$(last "$1")/adapter_model.safetensors" "$(last "$2")/adapter_model.safetensors" || fail "$1 and $2 have other adapters"; }

expect 0 '' run one
grep -q 'are trained: pairs of rank 4 and the task' stdout.txt || fail "nobody says what is trained: $(cat stdout.txt)"
dir=$(last one)
[ -s "$dir/adapter_model.safetensors" ] && [ ! -e "$dir/model.safetensors" ] || fail "not an adapter alone: $(ls "$dir")"
grep -q '"target_modules": \["query", "value"\]' "$dir/adapter_config.json" || fail "targets: $(cat "$dir/adapter_config.json")"
grep -q '"modules_to_save": \["classifier"\]' "$dir/adapter_config.json" || fail "the head is not kept: $(cat "$dir/adapter_config.json")"
[ "$(stat -c %s "$dir/adapter_model.safetensors")" -lt 60000 ] || fail "an adapter of $(stat -c %s "$dir/adapter_model.safetensors") bytes"
first=$(losses one/metrics.jsonl | head -1 | cut -d' ' -f2) final=$(losses one/metrics.jsonl | tail -1 | cut -d' ' -f2)
awk -v a="$first" -v b="$final" 'BEGIN { exit !(b < a) }' || fail "the loss went from $first to $final"

# ---- the same bits: threads, a resume in the middle of an epoch
expect 0 '' run two --threads 1 && same one two
expect 0 '' run part --checkpoint.every=10 --checkpoint.keep=99 && same one part
for step in part/checkpoints/step-*; do [[ ${step##*-} > 00000030 ]] && rm -rf "$step"; done
echo step-00000030 >part/checkpoints/LATEST
expect 0 '' run part --checkpoint.every=10 && same one part

# ---- kill -9 in the middle of an epoch, again and again
for lines in 9 27 50; do # killed when metrics.jsonl has so many
  instead=exec run hit --checkpoint.every=5 >/dev/null 2>&1 &
  pid=$!
  for _ in $(seq 600); do
    [ -e hit/metrics.jsonl ] && [ "$(wc -l <hit/metrics.jsonl)" -ge $lines ] && break
    kill -0 $pid 2>/dev/null || break
    sleep 0.02
  done
  kill -9 $pid 2>/dev/null
  wait $pid 2>/dev/null
  [ ! -d hit/checkpoints/step-00000076 ] || echo "the run was over before it was killed" # a slow shell proves less
done
expect 0 '' run hit --checkpoint.every=5 && same one hit
cmp -s <(losses one/metrics.jsonl) <(losses hit/metrics.jsonl) || fail "a killed adapter has other losses"
cmp -s "$(last one)/train/optimizer.safetensors" "$(last hit)/train/optimizer.safetensors" || fail "a killed adapter has other moments"
cmp -s one/report/scores.json hit/report/scores.json || fail "a killed adapter has another report"

# ---- it opens like any other: evaluated, merged into a whole model
expect 0 '' "$halfstep" eval one --data val/ner.conll --json --dtype fp32
mv stdout.txt apart.json
expect 0 '' "$halfstep" export one --to safetensors -o merged
[ -s merged/model.safetensors ] || fail "nothing merged"
expect 0 '' "$halfstep" eval merged --data val/ner.conll --json --dtype fp32
cmp -s stdout.txt apart.json || near "$(field loss stdout.txt)" "$(field loss apart.json)" 1e-5 || fail "merged: $(cat stdout.txt), apart: $(cat apart.json)"

# ---- other targets, all of them
expect 0 '' run all --adapter.targets=all-linear --train.epochs=1 --adapter.rslora=true
expect 0 '' run named --adapter.targets=query,attention.output.dense,ff.up --train.epochs=1

# ---- what cannot be
expect 2 'adapter.targets: "qurey" fits none of the model.s weights: attn.qkv.q, ' run wrong --adapter.targets=qurey
expect 2 'adapter.rank is 4, but there are no weights that it could stand beside' "$halfstep" pretrain tiny.yaml --adapter.rank=4 --out wrong
expect 2 'adapter.rank is 8, but .* holds pairs of rank 4; --resume none --overwrite starts anew' run one --adapter.rank=8 --train.epochs=3
expect 2 '--adapter.alpha is of pairs, and adapter.rank is 0' "$halfstep" pretrain tiny.yaml --adapter.alpha=4 --out wrong
cp -r "$dir" edited
edited() { sed "$1" "$dir/adapter_config.json" >edited/adapter_config.json; }
edited 's/"r": 4/"r": 5/'
expect 2 'is of rank 4, "r" in adapter_config.json is 5' "$halfstep" eval edited --data val/ner.conll --accept-edited --quiet
edited 's/"use_rslora": [a-z]*/"use_rslora": "yes"/'
expect 2 '"use_rslora" is neither true nor false' "$halfstep" eval edited --data val/ner.conll --accept-edited --quiet
edited 's/"lora_dropout": [0-9.]*/"lora_dropout": "0.1"/'
expect 2 '"lora_dropout" is no number from 0 to below 1' "$halfstep" eval edited --data val/ner.conll --accept-edited --quiet
edited 's/"target_modules": \[[^]]*\]/"target_modules": 7/'
expect 2 '"target_modules" is no list of names' "$halfstep" eval edited --data val/ner.conll --accept-edited --quiet
expect 2 'adapter.rank is 0, but .* holds an adapter' run one --adapter.rank=0 --train.epochs=3
[ ! -d wrong ] || fail "something was written: $(ls wrong)"
mv "$(sed -n 's/.*"base_model_name_or_path": "\([^"]*\)".*/\1/p' "$dir/adapter_config.json")" elsewhere
expect 2 '"base_model_name_or_path" is .*, which is no folder here' "$halfstep" eval one --data val/ner.conll
finish
