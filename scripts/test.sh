#!/usr/bin/env bash
# Installs what is missing, builds with warnings as errors, and runs every test.
#   scripts/test.sh                 the suite
#   scripts/test.sh --sanitize S    the suite under a sanitizer: address (with undefined) or thread
#   scripts/test.sh --valgrind      a short training run under valgrind: no leak, no invalid access
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/setup.sh"
packages "${base_packages[@]}" g++ libcmocka-dev libdnnl-dev

run_tests() {
  ctest --test-dir "$1" --output-on-failure -j "$(nproc)" "${@:2}"
}

case ${1:-} in
'')
  build "$root/build/test" -DHS_WERROR=ON
  ln -sf build/test/compile_commands.json "$root/compile_commands.json"
  run_tests "$root/build/test"
  ;;
--sanitize)
  case ${2:-} in
  address) flags='address;undefined' ;;
  thread) flags='thread' ;;
  *)
    echo "test: --sanitize takes address or thread" >&2
    exit 2
    ;;
  esac
  build "$root/build/$2" -DHS_WERROR=ON -DHS_SANITIZE="$flags" -DHS_WITH_ONEDNN=OFF
  export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
  export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
  run_tests "$root/build/$2"
  ;;
--valgrind)
  packages valgrind
  build "$root/build/test" -DHS_WERROR=ON
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
  # valgrind knows no AVX-512: the portable tier runs.
  valgrind --quiet --leak-check=full --errors-for-leak-kinds=definite,indirect,possible --error-exitcode=9 \
    "$root/build/test/halfstep" pretrain "$root/recipes/shakespeare-char.yaml" --out "$out/run" --exec.isa=portable --dtype fp32 --threads 2 \
    --model.layers=1 --model.width=32 --model.heads=2 --model.context=16 --train.batch=2 --train.steps=3 --train.eval_windows=4 --quiet
  echo "valgrind: nothing found"
  ;;
*)
  sed -n '2,5s/^# \?//p' "$0"
  exit 2
  ;;
esac
