#!/usr/bin/env bash
# From a fresh clone to a trained model: installs what is missing, builds, trains a small GPT on TEXT_FILE (or on the plays
# that ship with the project), evaluates it and lets it write.
#   scripts/quickstart.sh [TEXT_FILE] [--key.sub=value ...]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
case ${1:-} in
-h | --help)
  sed -n '2,4s/^# \?//p' "$0"
  exit 0
  ;;
esac
text=$root/recipes/text/shakespeare.txt
if [ $# -gt 0 ] && [ "${1#--}" = "$1" ]; then
  text=$1
  shift
fi
if [ ! -r "$text" ]; then
  echo "quickstart: cannot read $text" >&2
  exit 2
fi
# Up to eight whole characters of the text's first line with something in it: cut by bytes, half of one would be no character it knows.
first_words() {
  local LC_ALL=C.UTF-8 line
  line=$(head -c 4096 "$1" | tr -d '\000' | grep -a -m 1 '[^[:space:]]' || true)
  printf '%s' "${line:0:8}"
}
. "$root/scripts/setup.sh"
packages "${base_packages[@]}"
build "$root/build" --target halfstep_program -DHS_BUILD_TESTS=OFF
! grep -q '^CMAKE_CUDA_COMPILER:' "$root/build/CMakeCache.txt" || echo "setup: what is for NVIDIA GPUs (--device cuda) takes minutes more: cmake --build build"

halfstep=$root/build/halfstep
out=$root/runs/quickstart
# At most two minutes on any CPU: one of three numbers of steps, by what twenty of them take here, unless one is given.
steps=
for option in "$@"; do
  case $option in --train.steps=*) steps=${option#*=} ;; esac
done
if [ -z "$steps" ]; then
  step=$("$halfstep" bench train --model quickstart --steps 20 --json | sed -n 's/.*"step_seconds":\([0-9.e+-]*\).*/\1/p')
  steps=$(awk -v s="${step:-0.05}" 'BEGIN { print s * 2000 < 100 ? 2000 : s * 1000 < 100 ? 1000 : 400 }')
  echo "quickstart: a step takes $(awk -v s="${step:-0}" 'BEGIN { printf "%.0f", 1000 * s }') ms here: $steps steps (of 2000, 1000 or 400, so that it takes two minutes at most)"
  set -- --train.steps="$steps" "$@"
fi
tenth=$(((steps + 9) / 10))
"$halfstep" pretrain "$root/recipes/quickstart.yaml" --data.train="$text" --out "$out" --resume none --overwrite \
  --train.show_every="$tenth" --train.eval_every="$tenth" "$@"
echo
echo "the whole text, nine tenths of which it was trained on:"
"$halfstep" eval "$out" --data "$text"
echo
prompt=$(first_words "$text")
prompt=${prompt:+--prompt=$prompt}
"$halfstep" generate "$out" "${prompt:---prompt-ids=0}" --max-tokens 400 --temperature 0.8 --seed 1
echo
echo "checkpoint   $out/checkpoints/$(cat "$out/checkpoints/LATEST")   (a Hugging Face model directory)"
echo "loss curve   $out/loss.png"
echo "next         build/halfstep generate runs/quickstart --prompt TEXT     build/halfstep --help"
