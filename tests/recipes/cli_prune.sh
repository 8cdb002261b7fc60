#!/usr/bin/env bash
# A model pruned 2:4 is a directory like any other, and stays so: what is zero is zero behind every fine-tuning, whatever trains it, and
# behind a resume; what cannot be is one line, and nothing is written.
# shellcheck disable=SC1091,SC2154
. "$2/tests/support/support_cli.sh"
. "$2/tests/support/support_labelled.sh"

last() { echo "$1/checkpoints/$(cat "$1/checkpoints/LATEST")"; }
# zeros DIR NAME: how many values of a tensor are zero, and how many there are.
zeros() {
  local file=$1/model.safetensors n at
  [ -f "$file" ] || { echo 0 1 && return; }
  n=$(od -An -tu8 -N8 "$file")
  at=$(head -c $((8 + n)) "$file" | grep -aoE "\"$2\":\{[^}]*" | grep -oE '\[[0-9]+,[0-9]+\]$' | tr -d '[]')
  [ -n "$at" ] || fail "no tensor $2 in $file"
  tail -c +$((9 + n + ${at%,*})) "$file" | head -c $((${at#*,} - ${at%,*})) | od -An -v -tx4 -w4 | awk '$1 == "00000000" { z++ } END { print z + 0, NR }'
}
layer=bert.encoder.layer.1
half() { # DIR: every pruned tensor has as many zeros as it had
  local name
  for name in attention.self.query attention.self.key attention.self.value attention.output.dense intermediate.dense output.dense; do
    set -- "$1" $(zeros "$1" "$layer.$name.weight")
    [ $((2 * $2)) -eq "$3" ] || fail "$1: $2 of $3 values of $name are zero"
  done
}

# ---- the directory
expect 0 '' "$halfstep" prune base --pattern 2:4 -o sparse
grep -qE '^sparse: BERT of [0-9]+ parameters, 2:4 in 8 weights: 49152 of their 98304 values are zero, [78][0-9.]+ % of their magnitude stays$' stdout.txt || fail "$(cat stdout.txt)"
half sparse
[ "$(zeros sparse bert.embeddings.word_embeddings.weight | cut -d' ' -f1)" -lt 100 ] || fail "embeddings are pruned"
tr -d '\n ' <sparse/config.json | grep -qF '"sparsity":{"pattern":"2:4","weights":["l*.attn.qkv.weight","l*.attn.out.weight","l*.ff.up.weight","l*.ff.down.weight"]}' || fail "config.json: $(cat sparse/config.json)"
expect 0 '' "$halfstep" prune base --pattern 2:4 -o sparse --overwrite --json
json_lines stdout.txt
[ "$(field zeros stdout.txt)" = 49152 ] || fail "--json: $(cat stdout.txt)"
echo 'a word' >one.txt
expect 0 '' "$halfstep" embed sparse --input one.txt

# ---- trained: the zeros stay, and somebody says so
expect 0 '' finetune sequence sent.tsv tuned --init_from sparse --train.epochs=1
grep -q 'sparsity     2:4 in 8 weights: what is zero stays zero' stdout.txt || fail "nobody says it: $(cat stdout.txt)"
half "$(last tuned)"
grep -q '"pattern": "2:4"' "$(last tuned)/config.json" || fail "what was trained does not say it: $(cat "$(last tuned)/config.json")"
weights() { cat "$(last "$1")/model.safetensors"; }
same() { cmp -s <(weights "$1") <(weights "$2") || fail "$1 and $2 have other weights"; }
expect 0 '' finetune sequence sent.tsv one --init_from sparse --train.epochs=1 --threads 1 && same tuned one
expect 0 '' finetune sequence sent.tsv plain --init_from sparse --train.epochs=1 --train.keep_zeros=none
! grep -q 'sparsity' stdout.txt && ! grep -q sparsity "$(last plain)/config.json" || fail "none is not none"
[ "$(zeros "$(last plain)" $layer.output.dense.weight | cut -d' ' -f1)" -lt 100 ] || fail "without keep_zeros they are all still zero"
for how in --optim.name=lamb --optim.name=sgd "--dtype bf16 --optim.masters=split" "--dtype bf16 --optim.masters=none --optim.moments=bf16"; do
  # shellcheck disable=SC2086
  expect 0 '' finetune sequence sent.tsv other --init_from sparse --train.epochs=1 $how --resume none --overwrite
done

expect 0 '' finetune sequence sent.tsv codes --init_from sparse --train.epochs=1 --quant.bits=w8a8 && half "$(last codes)"
expect 0 '' "$halfstep" quantize codes --bits w8a8 -o sparse-codes

# ---- a resume, bit for bit
expect 0 '' finetune sequence sent.tsv part --init_from sparse --train.epochs=1 --checkpoint.every=10 --checkpoint.keep=99 && same tuned part
for step in part/checkpoints/step-*; do [[ ${step##*-} > 00000020 ]] && rm -rf "$step"; done
echo step-00000020 >part/checkpoints/LATEST
expect 0 '' finetune sequence sent.tsv part --init_from sparse --train.epochs=1 --checkpoint.every=10 && same tuned part
half "$(last part)"

# ---- on from what was trained, for another task; pretraining
expect 0 '' finetune pair pair.tsv again --init_from tuned --train.epochs=1 --task.head=new
half "$(last again)"
sed "s/tokenizer: [^,]*/tokenizer: auto/" bert.yaml >more.yaml
expect 0 "" "$halfstep" pretrain more.yaml --train.init_from=sparse --out more
half "$(last more)"

# ---- trained elsewhere without minding: said, and nothing is begun
cp -r "$(last plain)" lost && rm -rf lost/train && cp sparse/config.json lost/config.json
expect 2 'lost says that l0.attn.qkv.weight is pruned 2:4, but [0-9]+ of 12288 values are zero.*--train.keep_zeros=none' finetune sequence sent.tsv gone --init_from lost --train.epochs=1

# ---- the recipe of two steps: what the checkpoint was trained with, once more, from its first step
expect 0 '' finetune sequence sent.tsv dense --train.epochs=1
expect 0 '' "$halfstep" prune dense --pattern 2:4 --permute -o two --recipe same --out two-run --train.log_every=1
grep -q '% where none changed places' stdout.txt && half two && half "$(last two-run)" || fail "the recipe: $(cat stdout.txt)"
[ "$(basename "$(last two-run)")" = "$(basename "$(last dense)")" ] || fail "the schedule was not run through once more: $(ls two-run/checkpoints)"
[ -d two-run/report ] || fail "nobody judged it"
expect 0 '' "$halfstep" prune base --pattern 2:4 -o three --recipe sequence --out three-run --data.train=train/sent.tsv --data.val=val/sent.tsv --train.epochs=1 --dtype fp32 --data.length=32
half "$(last three-run)"

# ---- heads and columns left out: smaller, by what their values or the data say
size() { stat -c %s "$1/model.safetensors"; }
expect 0 '' "$halfstep" prune dense --heads 0.5 --ffn 0.5 -o half
grep -qE 'in each layer 1 of 2 heads and 128 of 256 columns, with [0-9.]+ % of their magnitude' stdout.txt || fail "$(cat stdout.txt)"
grep -q '"pruned_heads"' half/config.json && grep -q '"num_attention_heads": 2' half/config.json && grep -q '"intermediate_size": 128' half/config.json || fail "config.json: $(cat half/config.json)"
[ "$(size half)" -lt "$(size "$(last dense)")" ] || fail "not smaller"
cut -f2 val/sent.tsv >texts.txt
expect 0 '' "$halfstep" predict half texts.txt
expect 0 '' "$halfstep" prune dense --heads 0.5 --ffn 0.25 --method movement --examples 200 --recipe same -o moved --out moved-run
grep -q 'importance   |w dL/dw| of 224 examples' stdout.txt && grep -q 'of their importance' stdout.txt || fail "movement: $(cat stdout.txt)"
grep -q '"intermediate_size": 192' "$(last moved-run)/config.json" && grep -q pruned_heads "$(last moved-run)/config.json" || fail "what was trained is another model"
expect 0 '' finetune sequence sent.tsv on --init_from half --train.epochs=1
expect 0 '' "$halfstep" prune half --pattern 2:4 -o half-sparse
expect 0 '' "$halfstep" prune dense --heads 0.5 --ffn 0.5 -o taught --recipe same --out taught-run --distill.teacher=dense --distill.hidden=1 --distill.hidden_map=1,2
grep -q '"val_soft_loss":.*"val_hidden_loss":' taught-run/metrics.jsonl && grep -q '"intermediate_size": 128' "$(last taught-run)/config.json" || fail "nobody taught it"
expect 0 '' finetune sequence sent.tsv foreseen --init_from taught-run --train.epochs=1 --quant.bits=w4
expect 0 '' "$halfstep" quantize foreseen --bits w4 -o half-codes
expect 0 '' "$halfstep" export half --to onnx -o half-onnx
expect 2 'heads were left out of it' "$halfstep" export half --to gguf -o no

# ---- what cannot be
for wrong in 4:8 2: 2-4; do expect 2 "--pattern is $wrong, allowed 2:4" "$halfstep" prune base --pattern $wrong -o no; done
expect 2 'prune needs --pattern 2:4, or the share of --heads or --ffn' "$halfstep" prune base -o no
expect 2 'prune needs --output DIR' "$halfstep" prune base --pattern 2:4
expect 2 'is pruned already: 2:4 in l\*.attn.qkv' "$halfstep" prune sparse --pattern 2:4 -o no
expect 2 'is pruned already' "$halfstep" prune tuned --pattern 2:4 -o no
expect 2 '--only: "l0.atn" fits none of the model' "$halfstep" prune base --pattern 2:4 --only l0.atn -o no
expect 2 'nothing to prune' "$halfstep" prune base --pattern 2:4 --skip l0,l1 -o no
expect 2 'nothing to prune' "$halfstep" prune base --pattern 2:4 --only 'l*.norm,l*.bias' -o no
expect 2 'base' "$halfstep" prune base --pattern 2:4 -o "$(last base)"
expect 2 '' "$halfstep" prune nowhere --pattern 2:4 -o no
expect 2 '--pattern and --heads are two steps' "$halfstep" prune base --pattern 2:4 --heads 0.5 -o no
expect 2 '--method is of --heads and --ffn' "$halfstep" prune base --pattern 2:4 --method movement -o no
expect 2 '--permute is of --pattern' "$halfstep" prune base --heads 0.5 --permute -o no
expect 2 '--method movement needs --recipe' "$halfstep" prune base --heads 0.5 --method movement -o no
expect 2 '--out needs --recipe' "$halfstep" prune base --pattern 2:4 -o no --out run
expect 2 '--recipe is for --out RUN' "$halfstep" prune base --pattern 2:4 -o no --recipe same
expect 2 '--train.steps is a setting of training: --recipe says which' "$halfstep" prune base --pattern 2:4 -o no --train.steps=3
expect 2 'half has no train/config.yaml' "$halfstep" prune half --ffn 0.5 -o no --recipe same --out run
expect 2 'is no task' "$halfstep" prune base --pattern 2:4 -o no --recipe sequnce --out run
expect 2 'is a run already' "$halfstep" prune base --pattern 2:4 -o no --recipe same --out tuned
expect 2 'nothing is left out by these shares' "$halfstep" prune base --heads 0.01 -o no
expect 2 'is pruned already.*heads and columns first' "$halfstep" prune sparse --heads 0.5 -o no
expect 2 'a GPT of fewer heads' "$halfstep" prune writer --heads 0.5 -o no
expect 2 'heads is 1, allowed 0 to 0.999' "$halfstep" prune base --heads 1 -o no
[ ! -e no ] || fail "something was written"
# ---- a GPT writes on by what stays, and says so; codes are read whole
expect 0 '' "$halfstep" prune writer --pattern 2:4 -o sparse-writer
expect 0 '^2:4 in h\*.attn.qkv.weight.*: (a token reads what is not 0|read in full: tier portable has no loops for halves)$' \
  "$halfstep" generate sparse-writer --prompt a --max-tokens 4
expect 0 '' "$halfstep" quantize sparse-writer --bits w8 -o coded-writer
expect 0 '^2:4 in h\*.attn.qkv.weight.*: read in full: they are codes$' "$halfstep" generate coded-writer --prompt a --max-tokens 4
expect 0 '' "$halfstep" generate writer --prompt a --max-tokens 4 && ! grep -q 2:4 stderr.txt || fail "of a model that is not pruned: $(cat stderr.txt)"

expect 0 '' "$halfstep" prune base --pattern 2:4 --only l0.attn.qkv,embed.word --skip embed -o some
grep -q '2:4 in 1 weight:' stdout.txt || fail "--only, --skip: $(cat stdout.txt)"
finish
