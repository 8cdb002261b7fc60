#!/usr/bin/env bash
# Halfstep beside PyTorch on the same cores, in one run: rounds alternate between the programs, a figure is the median of its
# rounds. Prints a markdown table; what is absent is skipped with a message.
#   scripts/bench_vs_torch.sh --env FILE [--rows LIST] [--rounds N] [--steps N] [--threads N] [--halfstep PROGRAM] [--peers DIR]
#                             [--isa TIER] [--variants LIST] [--llama-bench PROGRAM --llama-fp32 GGUF --llama-bf16 GGUF] [--tiny]
#   --env FILE     sourced before Python runs; python must then import torch. One way to make it:
#                    python3 -m venv DIR && DIR/bin/pip install torch numpy && echo ". DIR/bin/activate" >DIR/env.sh
#   --peers DIR    other training peers than torch_train.py here: torch_gpt.py (--size --batch --seq --dtype --compile --steps --threads;
#                  prints "... N tok/s ... peak N GB") and torch_shakespeare.py (TEXT --compile --dtype --steps; prints "...: N s ... val
#                  loss N") of that folder
#   --rows LIST    of gpt2-fp32,gpt2-bf16 (GPT-2 124M, B=4 S=1024, forward + backward + AdamW), bert-fp32,bert-bf16 (BERT-base, B=32 S=128,
#                  dropout 0.1, 20 predictions a row, the same), shakespeare (the whole run of 2,000
#                  steps, ours with its evaluations and checkpoints, theirs the loop alone; and the steps alone of both), generate-fp32,generate-bf16 (GPT-2 124M,
#                  batch 1, 128 tokens behind a prompt of 512), prefill-fp32,prefill-bf16 (the prompt); all but bert-* and generate-fp32 if not given
#   --isa TIER     avx2 or avx512: both programs held to these instructions (llama.cpp is what it was compiled for: GGML_NATIVE=OFF,
#                  GGML_AVX2, GGML_FMA and GGML_F16C make such a one)
#   --variants L   of eager,compiled: how PyTorch runs; both if not given (a figure of one that is known to be slower costs minutes)
#   --rounds N     3; --steps N: measured training steps of a round, 3
#   --llama-*      llama.cpp's llama-bench and GPT-2 124M in its format: one more peer of generation
#   --tiny         models of a hundredth the size and 20 steps: shows that the script works, and nothing else
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
env='' peers='' rows=gpt2-fp32,gpt2-bf16,shakespeare,generate-bf16,prefill-fp32,prefill-bf16 rounds=3 steps=3 threads=0
halfstep=$root/build/halfstep isa='' variants=eager,compiled tiny=0 llama_bench='' llama_fp32='' llama_bf16=''
stop() { echo "bench_vs_torch: $*" >&2 && exit 2; }
note() { echo "bench_vs_torch: $*" >&2; }
while [ $# -gt 0 ]; do
  case $1 in
  -h | --help)
    sed -n '2,25s/^# \?//p' "$0"
    exit 0
    ;;
  --env | --peers | --rows | --rounds | --steps | --threads | --halfstep | --isa | --variants | --llama-bench | --llama-fp32 | --llama-bf16)
    [ $# -gt 1 ] || stop "$1 needs a value"
    name=${1#--}
    printf -v "${name//-/_}" %s "$2"
    shift
    ;;
  --tiny) tiny=1 ;;
  *) stop "unknown option $1; see --help" ;;
  esac
  shift
done
[ -x "$halfstep" ] || stop "no program $halfstep: build it (scripts/quickstart.sh does) or name it with --halfstep"
IFS=, read -ra wanted <<<"$rows"
for row in "${wanted[@]}"; do
  case $row in
  gpt2-fp32 | gpt2-bf16 | bert-fp32 | bert-bf16 | shakespeare | generate-fp32 | generate-bf16 | prefill-fp32 | prefill-bf16) ;;
  *) stop "no row '$row'; see --help" ;;
  esac
done
case $variants in
eager | compiled | eager,compiled | compiled,eager) ;;
*) stop "--variants is '$variants', allowed eager,compiled or one of them" ;;
esac
bench_isa=() run_isa=()
case $isa in
'') ;;
avx2 | avx512)
  bench_isa=(--isa "$isa") run_isa=("--exec.isa=$isa")
  export ATEN_CPU_CAPABILITY=$isa MKL_ENABLE_INSTRUCTIONS=${isa^^} ONEDNN_MAX_CPU_ISA=${isa^^}
  [ "$isa" != avx512 ] || ONEDNN_MAX_CPU_ISA=AVX512_CORE
  ;;
*) stop "--isa is '$isa', allowed avx2, avx512" ;;
esac
uses() { [[ ,$variants, == *,$1,* ]]; }
[ "$threads" -gt 0 ] || threads=$("$halfstep" env | awk '$1 == "cores" { print $2 }') # ours, and PyTorch's
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# ---- who is there
if [ -n "$env" ]; then
  [ -r "$env" ] || stop "cannot read $env"
  set +u
  # shellcheck disable=SC1090
  . "$env"
  set -u
fi
export OMP_NUM_THREADS=$threads
torch=$(python3 -c 'import torch; print(torch.__version__)' 2>/dev/null || true)
[ -n "$torch" ] || note "python3 cannot import torch: PyTorch is skipped (--env names the environment; --help says how to make one)"
step_peer=("$root/scripts/torch_train.py" step) text_peer=("$root/scripts/torch_train.py" text)
if [ -n "$peers" ]; then
  step_peer=("$peers/torch_gpt.py") text_peer=("$peers/torch_shakespeare.py")
  for file in "${step_peer[0]}" "${text_peer[0]}"; do
    [ -r "$file" ] || stop "no $file (--peers names the folder)"
  done
fi

size=124M batch=4 seq=1024 prompt=512 tokens=128 run_steps=2000 encoder=base
model=(--model gpt2-124m)
if [ $tiny = 1 ]; then
  size=0.8M batch=2 seq=64 prompt=32 tokens=8 run_steps=20 encoder=tiny
  printf 'model: { layers: 4, heads: 4, width: 128, context: 64, vocab: 50257 }\n' >"$work/tiny.yaml"
  model=(--model "$work/tiny.yaml")
fi

# ---- one measurement each: sample ROW QUANTITY WHO VALUE
sample() {
  if [ -n "$4" ]; then
    echo "$4" >>"$work/$1.$2.$3"
    grep -qxF "$3" "$work/$1.who" 2>/dev/null || echo "$3" >>"$work/$1.who"
  else
    note "$1: $3 gave no figure; its last words: $(tail -n 3 "$work/err" | tr '\n' ' ')"
  fi
}
json() { grep -oE "\"$1\":[-+0-9.eE]+" "$work/out" | tail -n 1 | cut -d: -f2; }
giga() { awk -v b="${1:-}" 'BEGIN { if (b != "") print b / 1e9 }'; }
before() { grep -oE "[0-9.]+ $1" "$work/out" | tail -n 1 | cut -d' ' -f1; } # the number in front of a word
behind() { grep -oE "$1 [0-9.]+" "$work/out" | tail -n 1 | grep -oE '[0-9.]+$'; }
attempt() { "$@" >"$work/out" 2>"$work/err" || true; }

train() { # ROW DTYPE
  local how flag
  attempt "$halfstep" bench train "${model[@]}" --batch $batch --seq $seq --dtype "$2" --steps "$steps" --warmup 1 --threads "$threads" \
    "${bench_isa[@]}" --json
  sample "$1" rate Halfstep "$(json tokens_per_second || true)"
  sample "$1" memory Halfstep "$(giga "$(json peak_bytes || true)")"
  sample "$1" limit Halfstep "$(json mfu || true)"
  [ -n "$torch" ] || return 0
  for how in eager compiled; do
    uses $how || continue
    flag=()
    [ $how = eager ] || flag=(--compile)
    attempt python3 "${step_peer[@]}" --size $size --batch $batch --seq $seq --dtype "$2" --steps "$steps" --threads "$threads" "${flag[@]}"
    sample "$1" rate "$how" "$(before tok/s || true)"
    sample "$1" memory "$how" "$(behind peak || true)"
  done
}

bert() { # ROW DTYPE
  local how flag
  attempt "$halfstep" bench train --model bert-$encoder --batch 32 --seq 128 --dtype "$2" --steps "$steps" --warmup 1 --threads "$threads" \
    "${bench_isa[@]}" --json
  sample "$1" sequences Halfstep "$(json sequences_per_second || true)"
  sample "$1" memory Halfstep "$(giga "$(json peak_bytes || true)")"
  sample "$1" limit Halfstep "$(json mfu || true)"
  [ -n "$torch" ] || return 0
  for how in eager compiled; do
    uses $how || continue
    flag=()
    [ $how = eager ] || flag=(--compile)
    attempt python3 "$root/scripts/torch_train.py" bert --size $encoder --dtype "$2" --steps "$steps" --threads "$threads" "${flag[@]}"
    sample "$1" sequences "$how" "$(before seq/s || true)"
    sample "$1" memory "$how" "$(behind peak || true)"
  done
}

shakespeare() { # ROW
  local how flags start
  start=$(date +%s.%N)
  attempt "$halfstep" pretrain shakespeare-char --out "$work/run" --resume none --overwrite --train.steps=$run_steps --threads "$threads" \
    "${run_isa[@]}" --json
  sample "$1" seconds Halfstep "$(awk -v a="$start" -v b="$(date +%s.%N)" 'BEGIN { print b - a }')"
  sample "$1" loop Halfstep "$(json seconds || true)" # in steps, as the last line says
  sample "$1" loss Halfstep "$(json val_loss || true)"
  [ -n "$torch" ] || return 0
  for how in eager compiled compiled-bf16; do
    uses ${how%-bf16} || continue
    flags=()
    [[ $how != compiled* ]] || flags+=(--compile)
    [[ $how != *bf16 ]] || flags+=(--dtype bf16)
    attempt python3 "${text_peer[@]}" "$root/recipes/text/shakespeare.txt" --steps $run_steps "${flags[@]}"
    sample "$1" seconds "$how" "$(sed -nE 's/.*: ([0-9.]+) s[ ,].*/\1/p' "$work/out")"
    sample "$1" loop "$how" "$(sed -nE 's/.*: ([0-9.]+) s[ ,].*/\1/p' "$work/out")"
    sample "$1" loss "$how" "$(behind 'val loss' || true)"
  done
}

generate() { # ROW DTYPE
  local how flag new=$tokens mine=tokens_per_second theirs=decode limit=share_of_limit gguf=$llama_fp32 kind
  [[ $1 != prefill* ]] || new=2 mine=prefill_tokens_per_second theirs=prefill limit=prefill_mfu
  [ "$2" = fp32 ] || gguf=$llama_bf16
  attempt "$halfstep" bench generate "${model[@]}" --seq $prompt --tokens $new --dtype "$2" --steps 3 --warmup 1 --threads "$threads" \
    "${bench_isa[@]}" --json
  sample "$1" rate Halfstep "$(json $mine || true)"
  sample "$1" memory Halfstep "$(giga "$(json peak_bytes || true)")"
  sample "$1" limit Halfstep "$(json $limit || true)"
  for how in eager compiled; do
    [ -n "$torch" ] || break
    uses $how || continue
    flag=()
    [ $how = eager ] || flag=(--compile)
    attempt python3 "$root/scripts/torch_generate.py" --size $size --dtype "$2" --prompt $prompt --tokens $new --threads "$threads" "${flag[@]}"
    sample "$1" rate "$how" "$(behind $theirs || true)"
    sample "$1" memory "$how" "$(behind peak || true)"
  done
  [ -n "$llama_bench" ] && [ -n "$gguf" ] || return 0
  kind=(-p "$prompt" -n 0)
  [ $theirs = prefill ] || kind=(-p 0 -n "$new" -d "$prompt")
  attempt "$llama_bench" -m "$gguf" "${kind[@]}" -t "$threads" -r 3 -o jsonl
  sample "$1" rate llama.cpp "$(grep -oE '"avg_ts": *[0-9.]+' "$work/out" | tail -n 1 | grep -oE '[0-9.]+$' || true)"
}

for ((round = 1; round <= rounds; round++)); do
  for row in "${wanted[@]}"; do
    note "round $round of $rounds: $row"
    case $row in
    gpt2-*) train "$row" "${row#gpt2-}" ;;
    bert-*) bert "$row" "${row#bert-}" ;;
    shakespeare) shakespeare "$row" ;;
    *) generate "$row" "${row##*-}" ;;
    esac
  done
done

# ---- the table
median() { sort -g "$1" | awk '{ v[NR] = $1 } END { if (NR) print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }
title() {
  case $1 in
  gpt2-*) echo "GPT-2 $size, B=$batch S=$seq, training step, ${1#gpt2-}" ;;
  bert-*) echo "BERT-$encoder, B=32 S=128, training step, ${1#bert-}" ;;
  shakespeare) echo "shakespeare-char, whole run of $run_steps steps" ;;
  generate-*) echo "GPT-2 $size, generation, batch 1, $tokens tokens, ${1##*-}" ;;
  prefill-*) echo "GPT-2 $size, prefill of $prompt tokens, ${1##*-}" ;;
  esac
}
limit_of() { [[ $1 = generate* ]] && echo "of reading the weights" || echo "of peak FLOP/s"; }
line() { # ROW QUANTITY UNIT FORMAT MORE_IS_BETTER
  local who value ours='' others='' best='' name='' ratio=- of=-
  while read -r who; do
    [ -e "$work/$1.$2.$who" ] || continue
    value=$(median "$work/$1.$2.$who")
    if [ "$who" = Halfstep ]; then
      ours=$value
      continue
    fi
    # shellcheck disable=SC2059
    others+="${others:+, }$who $(printf "$4" "$value")"
    if [ -z "$best" ] || awk -v a="$value" -v b="$best" -v m="$5" 'BEGIN { exit !(m ? a > b : a < b) }'; then
      best=$value name=$who
    fi
  done <"$work/$1.who"
  [ -n "$ours" ] || return 0
  [ -z "$best" ] || [ "$2" = loss ] || ratio=$(awk -v a="$ours" -v b="$best" -v n="$name" 'BEGIN { printf "%.2fx %s", a / b, n }')
  [[ $2 != rate && $2 != sequences ]] || [ ! -e "$work/$1.limit.Halfstep" ] || of=$(printf '%.0f %% %s' \
    "$(median "$work/$1.limit.Halfstep" | awk '{ print 100 * $1 }')" "$(limit_of "$1")")
  # shellcheck disable=SC2059
  printf "| %s | %s | $4 | %s | %s | %s |\n" "$(title "$1")" "$3" "$ours" "${others:--}" "$ratio" "$of"
}
echo "$("$halfstep" env | sed -n 's/^cpu *//p'), $threads threads${isa:+, held to $isa}; $("$halfstep" --version); PyTorch ${torch:-absent}; median of $rounds interleaved rounds"
echo
echo '| work | unit | Halfstep | peers | ours / best peer | ours, of the limit |'
echo '|---|---|---|---|---|---|'
for row in "${wanted[@]}"; do
  [ -e "$work/$row.who" ] || continue
  line "$row" rate tok/s %.1f 1
  line "$row" sequences seq/s %.2f 1
  line "$row" seconds s %.1f 0
  line "$row" loop 's, steps alone' %.1f 0
  line "$row" memory 'peak GB' %.2f 0
  line "$row" loss 'val loss' %.4f 0
done
