#!/usr/bin/env bash
# What `halfstep plan` says of ranks on this machine beside what they do: the time of a step, and the memory of a rank, as a markdown table.
#   scripts/plan_vs_run.sh [--halfstep PROGRAM] [--model CONFIG] [--steps N] [--layouts "1x1 2x1 1x2 2x1+states"] [SETTING=VALUE...]
# A layout is DPxTP, +states or +gradients for a sharded optimizer, +sequence for sequence parallelism. Steps are the mean of those behind the
# third. Memory is what the process of each rank had at most (VmHWM), the largest of them, less what a model of nothing has in the same
# launch beside its plan: program, libraries, MPI's buffers. A run saves at the end, so that the plan's snapshot is in both. Needs Open MPI for more than one rank.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
halfstep=$root/build/halfstep model=gpt2-124m steps=8 layouts="1x1 2x1 1x2 2x1+states 2x1+gradients 4x1 2x2"
settings=()
while [ $# -gt 0 ]; do
  case $1 in
  -h | --help)
    sed -n '2,7s/^# \?//p' "$0"
    exit 0
    ;;
  --halfstep | --model | --steps | --layouts)
    [ $# -gt 1 ] || { echo "plan_vs_run: $1 needs a value" >&2 && exit 2; }
    printf -v "${1#--}" %s "$2"
    shift 2
    ;;
  *=*)
    settings+=("--${1#--}")
    shift
    ;;
  *)
    echo "plan_vs_run: unknown option $1; see --help" >&2
    exit 2
    ;;
  esac
done
halfstep=$(realpath "$halfstep")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
for i in $(seq 1 20000); do echo "$((i * i % 97)) bottles stood on wall $i; the quick brown fox jumped over $((i % 7)) of them."; done >"$work/text.txt"

# What a rank runs as: the program, its largest memory so far written down while it runs.
cat >"$work/rank" <<'RANK'
#!/bin/bash
out=$1
shift
"$@" &
pid=$!
while peak=$(grep VmHWM "/proc/$pid/status" 2>/dev/null); do
  echo "$peak" >"$out.${OMPI_COMM_WORLD_RANK:-0}"
  sleep 0.1
done
wait $pid
RANK
chmod +x "$work/rank"
field() { grep -oE "\"$1\":[-+0-9.eE]+" | head -n 1 | cut -d: -f2; }
cat >"$work/nothing.yaml" <<'YAML'
model: { layers: 1, heads: 8, width: 64, context: 16, vocab: 512 }
train: { batch: 8 }
YAML
# peak RUN CONFIG SETTING...: bytes of the largest rank of a run under "${launch[@]}", which leaves its folder as RUN
peak() {
  local run=$work/$1 config=$2
  shift 2
  rm -rf "$run" "$work"/mem.*
  "${launch[@]}" "$work/rank" "$work/mem" "$halfstep" pretrain "$config" --out "$run" --resume none --overwrite --quiet "$@" \
    --train.steps="$steps" --train.log_every=1 --train.eval_every=0 --checkpoint.every=0 >&2
  cat "$work"/mem.* | awk '{ if ($2 > m) m = $2 } END { printf "%.0f", m * 1024 }'
}

echo '| layout | step predicted, s | measured, s | measured / predicted | a rank predicted, MB | measured, MB | measured / predicted |'
echo '|---|---|---|---|---|---|---|'
for layout in $layouts; do
  IFS=+ read -r grid extra more <<<"$layout"
  dp=${grid%x*} tp=${grid#*x}
  flags=(--parallel.dp="$dp" --parallel.tp="$tp")
  for word in $extra $more; do
    case $word in
    sequence) flags+=(--parallel.sequence=true) ;;
    *) flags+=(--parallel.shard_optimizer="$word") ;;
    esac
  done
  common=(--data.train="$work/text.txt" --data.val=0.01 "${flags[@]}" "${settings[@]}")
  "$halfstep" plan "$model" --json --cluster here "${common[@]}" >"$work/plan"
  launch=()
  [ $((dp * tp)) -eq 1 ] || launch=(mpirun -np $((dp * tp)) --oversubscribe)
  small=(--data.train="$work/text.txt" --data.val=0.01 "${flags[@]}")
  "$halfstep" plan "$work/nothing.yaml" --json "${small[@]}" >"$work/nothing.plan"
  base=$(($(peak nothing "$work/nothing.yaml" "${small[@]}") - $(field total <"$work/nothing.plan")))
  used=$(($(peak run "$model" "${common[@]}") - base))
  # tokens_per_second is of all steps so far: what they took is their tokens / it
  tokens=$(awk -v a="$(field batch <"$work/plan")" -v b="$(field accumulate <"$work/plan")" -v c="$(field length <"$work/plan")" 'BEGIN { print a * b * c }')
  measured=$(grep -oE '"tokens_per_second":[0-9.e+]+' "$work/run/metrics.jsonl" | cut -d: -f2 |
    awk -v tokens="$tokens" '{ t[NR] = NR * tokens / $1 } END { print (NR > 3 ? (t[NR] - t[3]) / (NR - 3) : "nan") }')
  awk -v layout="$layout" -v p="$(field step_seconds <"$work/plan")" -v m="$measured" -v total="$(field total <"$work/plan")" -v used="$used" 'BEGIN {
    printf "| %s | %.3f | %.3f | %.2f | %.0f | %.0f | %.3f |\n", layout, p, m, (p > 0 ? m / p : 0), total / 1e6, used / 1e6, used / total }'
done
