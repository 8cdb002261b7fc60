#!/usr/bin/env bash
# How the cost of a training step grows with width, layers, batch and context, and how long tracing and planning take, as
# markdown tables. Beside each time stands what its FLOPs and bytes predict, at rates that operations reach alone, at the shapes of
# the row, in the same run:
#   products    FLOPs / rate of the four products of a block (`halfstep bench op linear`)
#   attention   FLOPs / rate of attention (`halfstep bench op attention`), forward and backward apart
#   row-wise    bytes / rate of that operation (`halfstep bench op layernorm,...`)
#   the rest    (the optimizer) bytes / rate of copying that many (`halfstep bench memory`)
# FLOPs and bytes of each operation are the plan's (`halfstep bench train --profile`). Rounds go over all rows in turn; a step is the least
# of their medians and a rate the best of theirs, as neighbours only take. A row that is not within 20 % of its prediction names the
# operations that differ most from theirs in the fastest profile, in percent of the step; "waiting" is for other members, between them.
# --steps is the least number of steps of a round; small ones are taken more often.
#   scripts/cost_growth.sh [--halfstep PROGRAM] [--rounds N] [--steps N] [--dtype fp32|bf16] [--threads N] [--only TABLE] [--tiny]
# --only: width, layers, batch, context or plan. --tiny: a model of a hundredth the size, to see that the script works.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
halfstep=$root/build/halfstep rounds=3 steps=5 dtype=auto threads=0 only=
layers=4 width=256 head=64 batch=4 context=256 vocab=512 flops=1.5e11
row_wise=layernorm,softmax,gelu,bias_gelu,dropout,add,bias_dropout_residual_layernorm
while [ $# -gt 0 ]; do
  case $1 in
  -h | --help)
    sed -n '2,15s/^# \?//p' "$0"
    exit 0
    ;;
  --halfstep | --rounds | --steps | --dtype | --threads | --only)
    [ $# -gt 1 ] || { echo "cost_growth: $1 needs a value" >&2 && exit 2; }
    printf -v "${1#--}" %s "$2"
    shift 2
    ;;
  --tiny)
    layers=4 width=64 head=16 batch=4 context=32 flops=1.5e9
    shift
    ;;
  *)
    echo "cost_growth: unknown option $1; see --help" >&2
    exit 2
    ;;
  esac
done
case $only in
'' | width | layers | batch | context | plan) ;;
*) echo "cost_growth: --only is '$only', allowed: width, layers, batch, context, plan" >&2 && exit 2 ;;
esac
[ -x "$halfstep" ] || { echo "cost_growth: no program $halfstep: build it (scripts/quickstart.sh does) or name it with --halfstep" >&2 && exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf 'model: { vocab: %d }\n' "$vocab" >"$work/model.yaml"

bench() { "$halfstep" bench "$@" --threads "$threads" --json --quiet; }
field() { grep -oE "\"$1\":[-+0-9.eE]+" | head -n 1 | cut -d: -f2; }
median() { sort -g | awk '{ v[NR] = $1 } END { print NR ? (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 : "nan" }'; }

# "table value layers width batch context" a row; the middle one of a table is the reference
rows=()
# shellcheck disable=SC2004 # the fraction is text
for f in 1/4 1/2 1 2 4; do
  rows+=("width $((width * $f)) $layers $((width * $f)) $batch $context")
  rows+=("layers $((layers * $f)) $((layers * $f)) $width $batch $context")
  rows+=("batch $((batch * $f)) $layers $width $((batch * $f)) $context")
  rows+=("context $((context * $f)) $layers $width $batch $((context * $f))")
done
mapfile -t rows < <(printf '%s\n' "${rows[@]}" | awk -v only="$only" 'only == "" || $1 == only' |
  awk '{ n = index("width  layers batch  context", $1); print n, NR, $0 }' | sort -n -k1,1 -k2,2 | cut -d' ' -f3-)

# One JSON object a line: the step and its operations, then every operation alone.
sample() {
  local n=$(($5 * $6)) c=$4 heads=$(($4 / head > 0 ? $4 / head : 1))
  local settings=(--model.layers="$3" --model.width="$c" --model.heads="$heads" --model.context="$6" --train.batch="$5")
  local low parameters enough
  "$halfstep" plan "$work/model.yaml" --dtype "$dtype" --threads "$threads" --json "${settings[@]}" >"$work/plan"
  low=$(grep -q '"policy":"bf16"' "$work/plan" && echo bf16 || echo fp32)
  parameters=$(field parameters <"$work/plan")
  enough=$(field flops_per_step <"$work/plan" | awk -v least="$steps" -v flops="$flops" '{ n = int(flops / $1); print n < least ? least : n < 400 ? n : 400 }')
  cat "$work/plan"
  bench train --model "$work/model.yaml" --steps "$enough" --warmup 2 --dtype "$dtype" --profile "$work/trace.json" "${settings[@]}"
  bench op linear --dtype "$low" --steps 3 --sizes "${n}x${c}x$((3 * c)),${n}x${c}x$c,${n}x${c}x$((4 * c)),${n}x$((4 * c))x$c"
  bench op attention --dtype "$low" --steps 3 --sizes "$5x$6x${heads}x$((c / heads))"
  bench op "$row_wise" --dtype "$low" --steps 3 --sizes "${n}x$c,${n}x$((4 * c))"
  bench memory --steps 3 --sizes $((parameters * 18))
}

# From the samples of a row: "seconds predicted GFLOP MB", then "operation measured predicted" a line.
explain() {
  awk -v c="$1" -v n="$2" '
    function number(key,   at) { at = index($0, "\"" key "\":"); return at ? substr($0, at + length(key) + 3) + 0 : 0 }
    function text(key,   at, rest) { at = index($0, "\"" key "\":\""); rest = substr($0, at + length(key) + 4); return at ? substr(rest, 1, index(rest, "\"") - 1) : "" }
    function rate(key, v) { if (v > best[key]) best[key] = v }
    /"step_seconds"/ { v = number("step_seconds"); if (!step || v < step) step = v }
    /"flops_per_step"/ { gflop = number("flops_per_step") / 1e9; traffic = number("traffic_bytes") / 1e6 }
    /"table":"operation"/ {
      k = text("name") " " text("pass"); names[k] = 1
      now[k] = number("ms"); gf[k] = number("gflops") * number("ms") / 1e3; gb[k] = number("gbps") * number("ms") / 1e3
    }
    /"between_ms"/ && (!profiled || number("ms") < profiled) {
      profiled = number("ms"); for (k in now) took[k] = now[k]
      took["waiting"] = number("between_ms"); took["outside"] = number("outside_ms")
    }
    text("op") == "linear" {
      k = text("size"); split(k, d, "x"); products[k] = 2 * d[1] * d[2] * d[3] / 1e9
      rate(k " forward", number("forward_gflops")); rate(k " dx", number("dx_gflops")); rate(k " dw", number("dw_gflops"))
    }
    text("op") == "attention" { rate("attention forward", number("forward_gflops")); rate("attention backward", number("backward_gflops")) }
    text("form") == "ROWSxCOLS" && text("size") == n "x" (text("op") ~ /gelu/ ? 4 * c : c) {
      rate(text("op") " forward", number("forward_gbps")); rate(text("op") " backward", number("backward_gbps"))
    }
    /"bench":"memory"/ { rate("copy", number("copy_gbps")) }
    END {
      for (k in products) {
        work += products[k]; forward += products[k] / best[k " forward"]; backward += products[k] / best[k " dx"] + products[k] / best[k " dw"]
      }
      gemm["forward"] = work / forward; gemm["backward"] = 2 * work / backward
      for (k in names) {
        split(k, p, " ")
        if (p[1] ~ /^(linear|linear_xent|matmul)$/) ms[k] = 1e3 * gf[k] / gemm[p[2]]
        else if (p[1] == "attention") ms[k] = 1e3 * gf[k] / best[k]
        else ms[k] = 1e3 * gb[k] / (k in best ? best[k] : best["copy"])
        if (p[2] == "update") optimizer += 1e3 * gb[k]
        total += ms[k]
      }
      printf "%.9g %.9g %.9g %.9g %.0f %.0f\n", 1e3 * step, total, gflop, traffic + optimizer, gemm["backward"], best["attention backward"]
      for (k in names) printf "%s: %.9g %.9g\n", k, took[k], ms[k]
      printf "waiting: %.9g 0\noutside: %.9g 0\n", took["waiting"], took["outside"]
    }'
}

if [ "$only" != plan ]; then
  for ((round = 0; round < rounds; round++)); do
    for ((i = 0; i < ${#rows[@]}; i++)); do
      # shellcheck disable=SC2086
      sample ${rows[i]} >>"$work/row$i"
    done
  done
  for ((i = 0; i < ${#rows[@]}; i++)); do
    read -ra r <<<"${rows[i]}"
    explain "${r[3]}" "$((r[4] * r[5]))" <"$work/row$i" >"$work/explained$i"
  done
  printf 'Reference: %d layers, width %d, %d windows of %d tokens, vocabulary %d, %s.\n\n' "$layers" "$width" "$batch" "$context" "$vocab" \
    "$(grep -oE '"policy":"[a-z0-9]+"' "$work/plan" | cut -d'"' -f4)"
  echo '| | | ms/step | predicted | measured / predicted | growth | predicted growth | GFLOP | MB moved | products, GFLOP/s | attention | where it differs, of the step |'
  echo '|---|---|---|---|---|---|---|---|---|---|---|---|'
  for ((i = 0; i < ${#rows[@]}; i++)); do
    read -ra r <<<"${rows[i]}"
    ref=$((i / 5 * 5 + 2))
    awk -v what="${r[0]}" -v value="${r[1]}" -v ref="$(head -n 1 "$work/explained$ref")" '
      NR == 1 { split(ref, q, " "); ms = $1; model = $2; line = sprintf("| %s | %s | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f | %.0f | %.0f | %.0f |", what, value, $1, $2, $1 / $2, $1 / q[1], $2 / q[2], $3, $4, $5, $6); next }
      { split($0, p, ": "); split(p[2], v, " "); more[p[1]] = v[1] - v[2] }
      END {
        sign = ms > model ? 1 : -1
        for (k = 0; k < 3 && (ms > 1.2 * model || ms < model / 1.2); k++) {
          best = ""
          for (n in more) if (best == "" || sign * more[n] > sign * more[best]) best = n
          if (sign * more[best] < 0.02 * ms) break
          why = why sprintf("%s%s %+.0f %%", k ? ", " : " ", best, 100 * more[best] / ms)
          delete more[best]
        }
        print line why " |"
      }' "$work/explained$i"
  done
fi

if [ -z "$only" ] || [ "$only" = plan ]; then
  [ "$only" = plan ] || echo
  echo '| layers | nodes | thunks | trace and plan, ms |'
  echo '|---|---|---|---|'
  for n in 12 48 96; do
    for ((round = 0; round < rounds; round++)); do
      "$halfstep" plan "$work/model.yaml" --dtype "$dtype" --threads "$threads" --json --model.layers=$n --memory-mb 1 >"$work/plan"
      field trace_plan_seconds <"$work/plan" >>"$work/plan$n"
    done
    printf '| %d | %d | %d | %.1f |\n' $n "$(field nodes <"$work/plan")" "$(field thunks <"$work/plan")" \
      "$(median <"$work/plan$n" | awk '{ print 1e3 * $1 }')"
  done
fi
