#!/usr/bin/env bash
# How the cost of a training step grows with width, layers, batch and context, and how long tracing and planning take, as
# markdown tables. Beside each time stands what FLOPs and bytes predict:
#   predicted = FLOPs / rate of products + bytes / rate of copying
# with FLOPs and traffic of `halfstep plan --json` (the optimizer's bytes added: 30 per parameter, 32 with a bf16 copy), and both
# rates measured here: products by `halfstep bench gemm` on the reference's MLP, copying by `halfstep bench memory`. Rounds go over
# all rows in turn; a figure is the median of its rounds.
#   scripts/cost_growth.sh [--halfstep PROGRAM] [--rounds N] [--steps N] [--dtype fp32|bf16] [--threads N] [--tiny]
# --tiny: a model of a hundredth the size, to see that the script works.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
halfstep=$root/build/halfstep rounds=3 steps=5 dtype=auto threads=0
layers=4 width=256 heads=4 batch=4 context=256
while [ $# -gt 0 ]; do
  case $1 in
  -h | --help)
    sed -n '2,11s/^# \?//p' "$0"
    exit 0
    ;;
  --halfstep | --rounds | --steps | --dtype | --threads)
    [ $# -gt 1 ] || { echo "cost_growth: $1 needs a value" >&2 && exit 2; }
    printf -v "${1#--}" %s "$2"
    shift 2
    ;;
  --tiny)
    layers=4 width=64 heads=1 batch=4 context=32
    shift
    ;;
  *)
    echo "cost_growth: unknown option $1; see --help" >&2
    exit 2
    ;;
  esac
done
[ -x "$halfstep" ] || { echo "cost_growth: no program $halfstep: build it (scripts/quickstart.sh does) or name it with --halfstep" >&2 && exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

field() { grep -oE "\"$1\":[-+0-9.eE]+" | head -n 1 | cut -d: -f2; }
median() { sort -g | awk '{ v[NR] = $1 } END { print NR ? (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 : "nan" }'; }
common=(--dtype "$dtype" --threads "$threads" --json)

cat >"$work/model.yaml" <<YAML
model: { layers: $layers, heads: $heads, width: $width, context: $context, vocab: 512 }
train: { batch: $batch }
YAML

# "what value settings..." a row; the reference is every what's middle row
rows=()
for f in 1/4 1/2 1 2 4; do
  rows+=("width $((width * $f)) --model.width=$((width * $f)) --model.heads=$((heads * $f > 0 ? heads * $f : 1))")
done
for f in 1/4 1/2 1 2 4; do rows+=("layers $((layers * $f)) --model.layers=$((layers * $f))"); done
for f in 1/4 1/2 1 2 4; do rows+=("batch $((batch * $f)) --train.batch=$((batch * $f))"); done
for f in 1/4 1/2 1 2 4; do rows+=("context $((context * $f)) --model.context=$((context * $f))"); done

rates() { # of products and of copying, in this round
  "$halfstep" bench gemm --sizes "$((batch * context))x${width}x$((4 * width))" --steps 3 "${common[@]}" | tail -n 1 >"$work/gemm"
  local share ceiling
  share=$(field share <"$work/gemm") ceiling=$(field ceiling_gflops <"$work/gemm")
  awk -v s="$share" -v c="$ceiling" 'BEGIN { print s * c * 1e9 }' >>"$work/flops"
  "$halfstep" bench memory --sizes 64M --steps 3 --threads "$threads" --json | field copy_gbps | awk '{ print $1 * 1e9 }' >>"$work/bytes"
}

for ((round = 0; round < rounds; round++)); do
  rates
  for ((i = 0; i < ${#rows[@]}; i++)); do
    read -ra r <<<"${rows[i]}"
    "$halfstep" bench train --model "$work/model.yaml" --steps "$steps" --warmup 1 "${common[@]}" "${r[@]:2}" | field step_seconds >>"$work/row$i"
  done
done

flops=$(median <"$work/flops") bytes=$(median <"$work/bytes")
printf 'Reference: %d layers, width %d, %d windows of %d tokens, vocabulary 512; %s. Products %.0f GFLOP/s, copying %.1f GB/s.\n\n' \
  "$layers" "$width" "$batch" "$context" "$(grep -oE '"dtype":"[a-z0-9]+"' "$work/gemm" | cut -d'"' -f4)" \
  "$(awk -v f="$flops" 'BEGIN { print f / 1e9 }')" "$(awk -v b="$bytes" 'BEGIN { print b / 1e9 }')"
echo '| | | ms/step | GFLOP | MB moved | predicted ms | measured / predicted | growth | predicted growth |'
echo '|---|---|---|---|---|---|---|---|---|'
for ((i = 0; i < ${#rows[@]}; i++)); do
  read -ra r <<<"${rows[i]}"
  "$halfstep" plan "$work/model.yaml" "${common[@]}" "${r[@]:2}" >"$work/plan"
  ref=$((i / 5 * 5 + 2))
  echo "${r[0]} ${r[1]} $(median <"$work/row$i") $(median <"$work/row$ref") $(field flops_per_step <"$work/plan") $(field traffic_bytes <"$work/plan") \
$(field parameters <"$work/plan") $(grep -c '"policy":"f32"' "$work/plan" || true)" >>"$work/table"
done
awk -v F="$flops" -v B="$bytes" '
  { bytes[NR] = $6 + $7 * ($8 ? 30 : 32); predicted[NR] = $5 / F + bytes[NR] / B; line[NR] = $0 }
  END {
    for (i = 1; i <= NR; i++) {
      split(line[i], v, " ")
      ref = int((i - 1) / 5) * 5 + 3
      printf "| %s | %s | %.3f | %.3f | %.1f | %.3f | %.2f | %.2f | %.2f |\n", v[1], v[2], 1e3 * v[3], v[5] / 1e9, bytes[i] / 1e6,
        1e3 * predicted[i], v[3] / predicted[i], v[3] / v[4], predicted[i] / predicted[ref]
    }
  }' "$work/table"

echo
echo '| layers | nodes | thunks | trace and plan, ms |'
echo '|---|---|---|---|'
for n in 12 48 96; do
  for ((round = 0; round < rounds; round++)); do
    "$halfstep" plan "$work/model.yaml" "${common[@]}" --model.layers=$n --memory-mb 1 >"$work/plan"
    field trace_plan_seconds <"$work/plan" >>"$work/plan$n"
  done
  printf '| %d | %d | %d | %.1f |\n' $n "$(field nodes <"$work/plan")" "$(field thunks <"$work/plan")" \
    "$(median <"$work/plan$n" | awk '{ print 1e3 * $1 }')"
done
