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
build "$root/build" -DHS_BUILD_TESTS=OFF

halfstep=$root/build/halfstep
out=$root/runs/quickstart
"$halfstep" pretrain "$root/recipes/quickstart.yaml" --data.train="$text" --out "$out" --resume none --overwrite "$@"
echo
"$halfstep" eval "$out" --data "$text"
echo
prompt=$(first_words "$text")
prompt=${prompt:+--prompt=$prompt}
"$halfstep" generate "$out" "${prompt:---prompt-ids=0}" --max-tokens 400 --temperature 0.8 --seed 1
echo
echo "checkpoint   $out/checkpoints/$(cat "$out/checkpoints/LATEST")   (a Hugging Face model directory)"
echo "loss curve   $out/loss.png"
echo "next         build/halfstep generate runs/quickstart --prompt TEXT     build/halfstep --help"
