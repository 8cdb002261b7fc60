#!/usr/bin/env bash
# Bad input: one line that says what is wrong, exit code 2, and nothing written.
. "$2/tests/support/support_cli.sh"

: >empty.txt
printf 'short' >short.txt
printf 'model:\n  layers: [1\n' >malformed.yaml
printf 'model:\n  layer: 3\n' >unknown.yaml
printf 'train:\n  steps: many\n' >type.yaml
printf 'model:\n  heads: 2\n  heads: 4\n' >twice.yaml
printf '\tmodel: 1\n' >tab.yaml
printf 'model:\n  heads: 5\ndata:\n  train: text.txt\n' >heads.yaml
: >file

p() { expect 2 "$1" "$halfstep" pretrain tiny.yaml --out run "${@:2}"; }
c() { expect 2 "$1" "$halfstep" "${@:2}"; }

# commands and options
c "unknown command 'pretrian', nearest is pretrain" pretrian
c 'the command comes first' --json pretrain tiny.yaml
c 'pretrain needs CONFIG.yaml' pretrain
c "one argument more: 'more'" pretrain tiny.yaml more
c 'unknown option --otu of pretrain, nearest is --out' pretrain tiny.yaml --otu x
c 'options begin with two dashes' pretrain tiny.yaml -x
p '--dtype needs a value: auto\|fp32\|bf16\|fp16' --dtype
p "dtype is 'fp8', allowed" --dtype fp8
# keys and values
p 'unknown option --model.layer of pretrain, nearest is --model.layers' --model.layer=3
c 'unknown.yaml:2: unknown key model.layer.*model.layers' pretrain unknown.yaml
c "type.yaml:2: train.steps is 'many'" pretrain type.yaml
c 'malformed.yaml:[23]: ' pretrain malformed.yaml
c 'tab.yaml:1: ' pretrain tab.yaml
c 'twice.yaml:3: .*model.heads' pretrain twice.yaml
c 'heads.yaml:2: model.heads is 5, .*model.width 128' pretrain heads.yaml
c 'nofile.yaml: no such file' pretrain nofile.yaml
p 'optim.lr is nan' --optim.lr=nan
p 'optim.lr is -1, allowed 0 to' --optim.lr=-1
p 'optim.lr is inf' --optim.lr=inf
p 'train.steps is 0, allowed 1 to' --train.steps=0
p 'train.freeze: "h0.atn" fits none of the model' --train.freeze=wte,h0.atn
p 'train.freeze: all [0-9]* parameters are frozen: nothing is left to train' --train.freeze='*'
c 'train.freeze: "lnf.bias" fits none .*nearest is ln_f.bias' plan tiny.yaml --train.freeze=lnf.bias
p 'optim.momentum is 1, allowed 0 to' --optim.momentum=1
p "model.layers is 'two'" --model.layers=two
p 'model.heads is 3, which does not divide model.width 64' --model.heads=3
p 'model.width is 60, not a multiple of 8' --model.width=60
p 'optim.betas has 1 value' --optim.betas=0.9
p 'optim.min_lr is 1, above optim.lr' --optim.min_lr=1
p "amp.scaler is 'hot'" --amp.scaler=hot
p 'amp.overrides: gellu is neither .*nearest is gelu' --amp.overrides=gellu=fp32
p "exec.isa is 'sse'" --exec.isa=sse
p 'graph' --exec.mode=graph
p 'cuda' --device cuda
p 'train.batch is 400000, .* would fit|not even|allowed' --train.batch=400000
p 'train.batch is 1000000: with model.context 1000000 at most 2147 are allowed' --model.context=1000000 --train.batch=1000000
c 'pretrain CONFIG.yaml: the argument is empty' pretrain ''
c '[0-9.]+ GB of memory .* GB are free' bench train --model gpt2-1558m --batch 1000 --steps 1
# texts
p 'data.train is not set' --data.train=
p 'none.txt: no such file' --data.train=none.txt
p 'empty.txt is empty' --data.train=empty.txt
p 'short.txt: the training text has [0-9]+ tokens, fewer than model.context \+ 1 = 33' --data.train=short.txt
p 'data.val is 1.5' --data.val=1.5
p 'empty.txt is empty' --data.val=empty.txt
p 'model.vocab is 5, but the tokenizer has' --model.vocab=5
p 'data.tokenizer is .*bpe' --data.tokenizer=bpe
p 'data.train|folder|directory' --data.train=.
p '/dev/zero is a device' --data.train=/dev/zero
# folders
expect 2 'file/run|not a folder|Not a directory' "$halfstep" pretrain tiny.yaml --out file/run
expect 2 'cannot create the folder /proc/run' "$halfstep" pretrain tiny.yaml --out /proc/run
p 'nowhere' --train.init_from=nowhere
p 'nowhere' --resume nowhere
p '--out is empty' --out ''
[ ! -e run ] || fail "a refused run left something: $(find run)"
[ ! -e runs ] || fail "a refused run left something: $(find runs)"

# checkpoints
expect 0 '' "$halfstep" pretrain tiny.yaml --out run --train.steps=40 --quiet
p 'model.layers is 3, but run/checkpoints/step-00000040 has 2' --model.layers=3
p 'train.seed is 9, but' --train.seed=9
p 'already has a run up to step 40' --resume none
p 'vocabulary .256 tokens. is not the one' --data.train=text.txt --data.tokenizer=byte
c 'eval needs --data' eval run
c 'nothing: no such|nothing' eval nothing --data text.txt
c 'none.txt: no such file' eval run --data none.txt
c 'empty.txt is empty' eval run --data empty.txt
c 'generate needs --prompt' generate run
c 'give one of them' generate run --prompt a --prompt-ids 1
c "'x' is not a list" generate run --prompt-ids 1,x
c "'-1" generate run --prompt-ids=-1
c "outside the model's vocabulary of" generate run --prompt-ids 1,999
c 'empty' generate run --prompt ''
c 'temperature is -1' generate run --prompt 1 --temperature -1
c 'top-p is 2' generate run --prompt 1 --top-p 2
c "not in the tokenizer's vocabulary" generate run --prompt '~'
c 'context is 32' generate run --prompt-ids 1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1
c "bench measures train, .* not 'memry'; nearest is memory" bench memry
c 'bench memory does not take --model' bench memory --model x
c 'bench op has no configuration to set --model.width in' bench op linear --model.width=64
c "'3x4' is not ROWSxINxOUT" bench op linear --sizes 64x64x64,3x4
c "'3x4' is not BATCHxSEQxHEADSxDIM or BATCHxSEQxWIDTH or BATCHxNEWxKEYSxHEADSxDIM of attention" bench op attention --sizes 3x4
c "'3x4xq' is not numbers" bench op linear --sizes 3x4xq
c "no operation 'linaer'; nearest is linear" bench op linaer
c 'bench op needs NAME' bench op
c "bench memory takes no argument 'linear'" bench memory linear
c 'bench op softmax does not take --packed' bench op softmax --packed
c 'bench train does not take --sizes' bench train --sizes 3
c "'8xx' is not BATCHxWIDTH" bench bulk --sizes 8xx
c '^halfstep: linear: widths must be multiples of 8' bench op linear --sizes 8x12x8
c '4 bytes are too few' bench memory --sizes 4
c 'bench infer does not take --kv' bench infer --kv int8
c 'width of a head must be a multiple of 8' bench generate --model shakespeare-char --seq 8 --tokens 8 --kv int8 --model.width 48 --model.heads 12
c "kv.*int4" generate run --prompt 1 --kv int4
c 'do not fit model.context 64' bench generate --model shakespeare-char --tokens 64
newest=run/checkpoints/step-00000040
cp -r $newest whole
truncate -s -100 $newest/model.safetensors
c 'step-00000040|model.safetensors' eval $newest --data text.txt
expect 0 'step-00000040.*damaged|damaged.*step-00000040' "$halfstep" eval run --data text.txt
cp whole/model.safetensors $newest/
printf 'X' | dd of=$newest/model.safetensors bs=1 seek=5000 conv=notrunc status=none
c 'step-00000040|model.safetensors' generate $newest --prompt 1
expect 0 'damaged' "$halfstep" generate run --prompt 1 --max-tokens 3
for bad in '' '{' '[]' '{"model_type":"gpt2"}' '{"model_type":"bert"}'; do
  rm -rf model && cp -r whole model && rm -rf model/train && printf '%s' "$bad" >model/config.json
  c 'config.json|model_type' eval model --data text.txt
done
rm -rf model && cp -r whole model && rm -rf model/train
sed 's/"n_positions": [0-9]*/"n_positions": 16777216/' whole/config.json >model/config.json
c 'model: config.json describes [0-9]+ parameters, its weights are [0-9]+' eval model --data text.txt
# weights that are no numbers: not a loss, and nothing on stdout
rm -rf model && cp -r whole model && rm -rf model/train
header=$(od -An -tu8 -N8 model/model.safetensors)
head -c $((8 + header)) whole/model.safetensors >model/model.safetensors
head -c $(($(wc -c <whole/model.safetensors) - 8 - header)) /dev/zero | tr '\0' '\377' >>model/model.safetensors
expect 3 'not a finite number' "$halfstep" eval model --data text.txt --json
[ ! -s stdout.txt ] || fail "a loss that is no number was printed"
expect 3 'not a finite number' "$halfstep" generate model --prompt 1
# more ranks than one
OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=0 expect 2 'mpirun|rank' "$halfstep" pretrain tiny.yaml --out run
finish
