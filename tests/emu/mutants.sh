#!/usr/bin/env bash
# Takes each barrier and each wait out of real kernels, one at a time, and looks whether their tests see it. By hand: seconds per mutant.
#   tests/emu/mutants.sh BUILD FILE.cu...     FILE as from the root of the sources: ops/rows/softmax.cu, optim/lamb.cu, core/cuda/gemm_f32.cu
# Removed in the file and in the .cuh files whose code it uses. Prints a line for each; exit code 1 if one is not seen: then no shape
# drives the loop around it twice, or the barrier is not needed.
set -euo pipefail
export CCACHE_DISABLE=1 # or the original of a header would be taken for its mutant
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "$1" && pwd)
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$build"
objects=tests/emu/CMakeFiles/emu_kernels_check.dir/__/__
meet='__syncthreads\(\)|__syncwarp\([^)]*\)|cp_async_wait<[^>]*>\(\)'
unseen=0

# compile FILE OUTPUT: as the checking build does it, but for sources of $work before those of the tree
compile() {
  local command from=$root
  command=$(ninja -t commands "$objects/$1.o" | tail -1)
  command=${command%% -MD *}
  if [ -f "$work/$1" ]; then from=$work; fi
  eval "${command/ -I/ -I$work -I} -g0 -fmacro-prefix-map=$work/= -fmacro-prefix-map=$root/= -o $2 -c $from/$1 ${3:-}"
}

# link TEST FILE OBJECT: with that object for the file. Ops without kernels are left out, so of ops it is the only one; of attention, whose
# kernels lie in a file for each type, the room's.
link() {
  local command others=$2
  command=$(ninja -t commands "tests/emu/$1" | tail -1)
  case $2 in
    ops/attention/*) others="($2|ops/(dense|loss|rows|tp)/[^ ]*[.]cu)" ;;
    ops/*) others="ops/[^ ]*[.]cu" ;;
  esac
  eval "$(sed -E "s#$objects/$others[.]o##g; s# -o [^ ]+# $3 -o $work/$1#" <<<"$command")"
}

for file; do
  case $file in
    ops/*) tests="test_ops_cuda_check test_ops_runs_cuda_check" ;;
    core/cuda/gemm*) tests=test_gemm_cuda_check ;;
    optim/*) tests="test_update_cuda_check test_moments_cuda_check test_masters_cuda_check test_core_kernels_cuda_check" ;;
    *) tests=test_core_kernels_cuda_check ;;
  esac
  ninja $tests >/dev/null
  rm -rf "${work:?}"/*
  compile "$file" "$work/original.o"
  compile "$file" "$work/includes" -MM
  mapfile -t sources < <(echo "$file" && cd "$root" && grep -rlE "$meet" --include='*.cuh' core ops optim | while read -r header; do
    if grep -qF "/$header" "$work/includes"; then echo "$header"; fi
  done)
  for source in "${sources[@]}"; do
    while IFS=: read -r line _; do
      mkdir -p "$work/$(dirname "$source")"
      sed -E "${line}s/$meet/((void)0)/" "$root/$source" >"$work/$source"
      compile "$file" "$work/mutant.o"
      rm "$work/$source"
      if cmp -s "$work/original.o" "$work/mutant.o"; then continue; fi # the file does not use it
      seen=
      for test in $tests; do
        link "$test" "$file" "$work/mutant.o"
        if ! timeout 300 "$work/$test" >"$work/said" 2>&1; then
          seen=$(grep -aE -m 1 'race on|deadlock|divergence|should be|outside of' "$work/said" | sed -E 's/.*\]: //' || echo "$test fails")
          break
        fi
      done
      if [ -z "$seen" ]; then
        seen="NOT SEEN"
        unseen=$((unseen + 1))
      fi
      echo "$file without $source:$line: $seen"
    done < <(grep -nE "^[^/]*($meet);" "$root/$source" | grep -v 'static.*[{].*[}]$' || true)
  done
done
if [ $unseen -gt 0 ]; then
  echo "$unseen not seen"
  exit 1
fi
