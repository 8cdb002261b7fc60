#!/usr/bin/env bash
# Do fp16 with loss scaling and bf16 end where fp32 does? A small BERT (2 layers of 128 channels) on a text, from several seeds in each
# precision: held-out loss and accuracy of masked tokens over the same sequences, means and standard deviations over seeds, and how far a
# precision ends from fp32 beside the spread that seeds make. Fails where a mean is further away than fp32's standard deviation.
#   scripts/precision_seeds.sh [--halfstep PROGRAM] [--seeds N] [--steps N] [--dtypes LIST] [--threads N] [--keep DIR] TEXT
#   --seeds N     5: seeds 1 to N; --steps N: 800 of 32 sequences of 64 tokens (15 runs take about ten minutes on two cores)
#   --dtypes L    fp32,bf16,fp16
#   --keep DIR    the runs go there; else nowhere
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
halfstep=$root/build/halfstep seeds=5 steps=800 dtypes=fp32,bf16,fp16 threads=0 keep='' text=''
stop() { echo "precision_seeds: $*" >&2 && exit 2; }
while [ $# -gt 0 ]; do
  case $1 in
  -h | --help)
    sed -n '2,8s/^# \?//p' "$0"
    exit 0
    ;;
  --halfstep | --seeds | --steps | --dtypes | --threads | --keep)
    [ $# -gt 1 ] || stop "$1 needs a value"
    printf -v "${1#--}" %s "$2"
    shift
    ;;
  -*) stop "unknown option $1; see --help" ;;
  *)
    [ -z "$text" ] || stop "one TEXT, not '$1' as well"
    text=$(realpath "$1")
    ;;
  esac
  shift
done
[ -n "$text" ] && [ -r "$text" ] || stop "needs a TEXT of documents with blank lines between them; see --help"
[ -x "$halfstep" ] || stop "no program $halfstep: build it, or name it with --halfstep"
[ "$seeds" -ge 2 ] || stop "--seeds is $seeds: a spread takes 2"
halfstep=$(realpath "$halfstep")
work=${keep:-$(mktemp -d)}
[ -n "$keep" ] || trap 'rm -rf "$work"' EXIT
mkdir -p "$work" && cd "$work"

"$halfstep" tokenizer train --type wordpiece --vocab-size 4000 "$text" -o tok --overwrite --quiet >/dev/null
"$halfstep" prepare --tokenizer tok --documents blank-line --sentences rule --split 0.9,0.1 -o store "$text" --overwrite --quiet >/dev/null
cat >small.yaml <<YAML
model: { type: bert, layers: 2, heads: 2, width: 128, context: 64, dropout: 0.1, attention_dropout: 0.1 }
data: { train: store-train.bin, val: store-val.bin, tokenizer: tok }
train: { batch: 32, steps: $steps, log_every: 50, eval_every: 0 }
optim: { name: adamw, lr: 2e-3, warmup: 50, schedule: linear, betas: [0.9, 0.999], weight_decay: 0.01, clip: 1 }
checkpoint: { every: 0, keep: 1 }
exec: { threads: $threads }
YAML
last() { tail -n 1 "$1/metrics.jsonl" | grep -oE "\"$2\":[-+0-9.eE]+" | cut -d: -f2; }
IFS=, read -ra each <<<"$dtypes"
: >ends
for ((seed = 1; seed <= seeds; seed++)); do
  for dtype in "${each[@]}"; do
    echo "precision_seeds: seed $seed of $seeds, $dtype" >&2
    "$halfstep" pretrain small.yaml --out "$dtype-$seed" --resume none --overwrite --dtype "$dtype" --train.seed=$seed --quiet
    echo "$dtype $seed $(last "$dtype-$seed" val_mlm_loss) $(last "$dtype-$seed" val_mlm_accuracy) $(last "$dtype-$seed" val_next_accuracy) $(last "$dtype-$seed" skipped)" >>ends
  done
done
echo "$("$halfstep" env | sed -n 's/^cpu *//p'); $("$halfstep" --version); $steps steps, seeds 1 to $seeds, standard deviations over seeds"
echo
echo '| precision | held-out mlm loss | mlm accuracy | next accuracy | skipped steps | mean loss, of fp32 | largest difference of one seed |'
echo '|---|---|---|---|---|---|---|'
awk '
  { if (!($1 in n)) order[++k] = $1
    i = ++n[$1]; loss[$1, i] = $3; hit[$1, i] = $4; next_hit[$1, i] = $5; skipped[$1] += $6 }
  function mean(a, d,   i, s) { for (i = 1; i <= n[d]; i++) s += a[d, i]; return s / n[d] }
  function sd(a, d,   i, m, s) { m = mean(a, d); for (i = 1; i <= n[d]; i++) s += (a[d, i] - m) ^ 2; return sqrt(s / (n[d] - 1)) }
  END {
    base = "fp32" in n
    for (r = 1; r <= k; r++) {
      d = order[r]; worst = 0
      for (i = 1; base && i <= n[d]; i++) { x = loss[d, i] - loss["fp32", i]; x = x < 0 ? -x : x; worst = x > worst ? x : worst }
      away = base ? mean(loss, d) - mean(loss, "fp32") : 0
      printf "| %s | %.4f (%.4f) | %.2f %% (%.2f) | %.2f %% (%.2f) | %d | %s | %s |\n", d, mean(loss, d), sd(loss, d), 100 * mean(hit, d), 100 * sd(hit, d),
             100 * mean(next_hit, d), 100 * sd(next_hit, d), skipped[d], base ? sprintf("%+.5f", away) : "-", base ? sprintf("%.5f", worst) : "-"
      if (base && (away > sd(loss, "fp32") || away < -sd(loss, "fp32"))) bad = bad " " d
    }
    if (bad) { print "\nfurther from fp32 than its seeds are from one another:" bad; exit 1 }
  }' ends
