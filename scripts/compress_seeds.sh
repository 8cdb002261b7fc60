#!/usr/bin/env bash
# What each way to make a fine-tuned model smaller costs in score, from several seeds: trains what is compared, then prints the table of
# scripts/bench_quantize.sh. Runs that are there already are kept, so that the same command goes on where it was stopped.
#   scripts/compress_seeds.sh --task sequence|tokens --init DIR --train FILE --dev FILE --out DIR [--seeds "1 2 3 4 5"] [--metric accuracy|f1]
#                             [--epochs 2] [--lr 5e-5] [--batch 32] [--more 0.5] [--table yes|no]
#                             [--runs "f32 more w8a8 w4 sparse half"]
#                             [--examples 512] [--timed 1] [--threads N] [--dtype fp32|bf16] [--halfstep PROGRAM]
# Runs of seed N, in OUT/N:
#   f32     fine-tuned, --epochs at --lr
#   more    --more epochs on from f32, at 2e-5; w8a8, w4: the same, while weights and what they multiply are rounded (quant.bits)
#   sparse  f32 pruned 2:4, then trained once more as f32 was
#   half    f32 without half of the heads and of the feed-forwards' columns (movement), then --epochs at 1e-4 taught by f32: logits at
#           temperature 2, the states behind each layer, and labels
#   w8a8-taught, sparse-taught: twice as long as w8a8, and three times as long as sparse, at 1e-4; both taught as half is
#   --dtype  of products in f32, sparse and half; more, w8a8 and w4 are fp32 always, for bf16 would round codes once more
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
help() { sed -n '2,15s/^# \{0,1\}//p' "$0"; }
task='' init='' train='' dev='' out='' seeds='1 2 3 4 5' metric=accuracy epochs=2 lr=5e-5 batch=32 more=0.5 table=yes
runs='f32 more w8a8 w4 sparse half' examples=512 timed=1 threads=$(nproc) dtype=fp32 halfstep=$root/build/halfstep
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) help && exit 0 ;;
    --task | --init | --train | --dev | --out | --seeds | --metric | --epochs | --lr | --batch | --more | --runs | --table | --examples | \
      --timed | --threads | --dtype | --halfstep)
      [ $# -gt 1 ] || { echo "compress_seeds: $1 needs a value" >&2 && exit 2; }
      printf -v "${1#--}" %s "$2" ;;
    *) echo "compress_seeds: unknown option $1; see --help" >&2 && exit 2 ;;
  esac
  shift 2
done
[ -n "$task" ] && [ -n "$init" ] && [ -n "$train" ] && [ -n "$dev" ] && [ -n "$out" ] || { help >&2 && exit 2; }
machine=(--threads "$threads" --quiet)
layers=$(grep -oE '"num_hidden_layers": *[0-9]+' "$init/config.json" | grep -oE '[0-9]+$')

# run NAME COMMAND...: one run of this seed; it is whole where it has a best checkpoint.
run() {
  local to=$out/$seed/$1 in=$dtype
  case $1 in more | w8a8* | w4) in=fp32 ;; esac
  shift
  [ -e "$to/checkpoints/BEST" ] && return
  mkdir -p "$out/$seed"
  echo "compress_seeds: $to" >&2
  "$halfstep" "$@" "${machine[@]}" --dtype "$in" --out "$to" >"$to.log" 2>&1 || { tail -5 "$to.log" >&2; return 1; }
}
tune() { # tune NAME FROM OPTION...
  local name=$1 from=$2
  shift 2
  run "$name" finetune "$task" --init_from "$from" --data.train "$train" --data.val "$dev" --train.seed="$seed" --train.batch="$batch" \
    --train.eval_every=0 --checkpoint.every=0 --train.tensorboard=false "$@"
}
f32() { tune f32 "$init" --train.epochs="$epochs" --optim.lr="$lr"; }
more() { tune more "$out/$seed/f32" --train.epochs="$more" --optim.lr=2e-5; }
w8a8() { tune w8a8 "$out/$seed/f32" --train.epochs="$more" --optim.lr=2e-5 --quant.bits w8a8; }
w4() { tune w4 "$out/$seed/f32" --train.epochs="$more" --optim.lr=2e-5 --quant.bits w4; }
sparse() { run sparse prune "$out/$seed/f32" --pattern 2:4 --recipe same -o "$out/$seed/sparse-begin" --overwrite; }
lesson() { # of the f32 model
  teach=(--distill.teacher="$out/$seed/f32" --distill.soft=1 --distill.hard=0.5 --distill.hidden=1 --distill.hidden_map="$(seq -s, 1 "$layers")")
}
half() {
  lesson
  run half prune "$out/$seed/f32" --heads 0.5 --ffn 0.5 --method movement --recipe same -o "$out/$seed/half-begin" --overwrite --optim.lr=1e-4 "${teach[@]}"
}
w8a8-taught() {
  lesson
  tune w8a8-taught "$out/$seed/f32" --train.epochs="$(awk "BEGIN { print 2 * $more }")" --optim.lr=2e-5 --quant.bits w8a8 "${teach[@]}"
}
sparse-taught() {
  lesson
  run sparse-taught prune "$out/$seed/f32" --pattern 2:4 --recipe same -o "$out/$seed/sparse-taught-begin" --overwrite --optim.lr=1e-4 \
    --train.epochs="$((3 * epochs))" "${teach[@]}"
}
for each in $runs; do
  for seed in $seeds; do
    "$each"
  done
done
[ "$table" = yes ] || exit 0

methods='f32;w8a8, token:--bits w8a8;w8a8, percentile:--bits w8a8 --calib TRAIN;w8:--bits w8;w4:--bits w4;w4, search:--bits w4 --round search;'
methods+='w4, gptq:--bits w4 --round gptq --calib TRAIN --examples 128;w4, awq:--bits w4 --round awq --calib TRAIN --examples 128;'
for each in $runs; do
  case $each in
    more) methods+='trained on, f32:--from ../more;trained on, w8a8:--from ../more --bits w8a8;trained on, w4:--from ../more --bits w4;' ;;
    w8a8) methods+='trained for w8a8:--from ../w8a8 --bits w8a8;' ;;
    w4) methods+='trained for w4:--from ../w4 --bits w4;' ;;
    w8a8-taught) methods+='taught for w8a8:--from ../w8a8-taught --bits w8a8;' ;;
    sparse-taught) methods+='2:4, taught:--from ../sparse-taught;2:4, taught, w8a8:--from ../sparse-taught --bits w8a8;' ;;
    sparse) methods+='2:4:--from ../sparse;2:4, w8a8:--from ../sparse --bits w8a8;' ;;
    half) methods+='half, not trained:--from ../half-begin;half:--from ../half;half, w8a8:--from ../half --bits w8a8;' ;;
  esac
done
checkpoints=()
for seed in $seeds; do checkpoints+=("$out/$seed/f32"); done
"$root/scripts/bench_quantize.sh" --task "$task" --train "$train" --dev "$dev" --metric "$metric" --examples "$examples" --timed "$timed" \
  --threads "$threads" --halfstep "$halfstep" --methods "${methods%;}" "${checkpoints[@]}"
