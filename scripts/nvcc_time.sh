#!/usr/bin/env bash
# How long nvcc takes for every .cu file of the rooms, from nothing and without a compiler cache, for all targets of the build; and which
# files take the longest, as that is what a change of one of them costs. In a folder of its own, which goes again.
#   scripts/nvcc_time.sh [--budget SECONDS] [--jobs N] [--show N] [-DNAME=VALUE...]
# --jobs: compilations at once (2). --show: so many files (10). -D: settings of the build, as for cmake. Exit code 1: it took longer than
# --budget (0, the default: none); 77: there is no nvcc.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
budget=0 jobs=2 show=10
settings=()
while [ $# -gt 0 ]; do
  case $1 in
  -h | --help)
    sed -n '2,6s/^# \?//p' "$0"
    exit 0
    ;;
  --budget | --jobs | --show)
    [ $# -gt 1 ] || { echo "nvcc_time: $1 needs a value" >&2 && exit 2; }
    [[ $2 =~ ^[0-9]+$ ]] || { echo "nvcc_time: $1 is '$2', not a number" >&2 && exit 2; }
    printf -v "${1#--}" %s "$2"
    shift 2
    ;;
  -D?*)
    settings+=("$1")
    shift
    ;;
  *)
    echo "nvcc_time: unknown option $1; see --help" >&2
    exit 2
    ;;
  esac
done
[ "$jobs" -gt 0 ] || { echo "nvcc_time: --jobs is 0, allowed from 1" >&2 && exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# a launcher that the environment names would be a cache
unset CMAKE_CUDA_COMPILER_LAUNCHER CMAKE_C_COMPILER_LAUNCHER
cmake -G Ninja -S "$root" -B "$work/build" -DHS_BUILD_TESTS=OFF "${settings[@]}" >"$work/log" 2>&1 || { tail -20 "$work/log" >&2 && exit 1; }
grep -q 'halfstep_cuda_objects' "$work/build/build.ninja" || { echo "nvcc_time: no nvcc that works: $(sed -n 's/^-- left out: CUDA: //p' "$work/log")" >&2 && exit 77; }

TIMEFORMAT='%R %U %S'
{ time ninja -C "$work/build" -j "$jobs" halfstep_cuda_objects >"$work/log" 2>&1; } 2>"$work/time" || { tail -20 "$work/log" >&2 && exit 1; }
read -r took user system <"$work/time"

# start, end, when, what, hash
awk -F'\t' '$4 ~ /[.]cu[.]o$/ { name = $4; sub(/^.*halfstep_cuda_objects[.]dir\//, "", name); sub(/[.]o$/, "", name); printf "%.1f %s\n", ($2 - $1) / 1000, name }' \
  "$work/build/.ninja_log" | sort -rn >"$work/files"
[ -s "$work/files" ] || { echo "nvcc_time: nothing was compiled" >&2 && exit 1; }
awk -v took="$took" -v cpu="$user $system" -v jobs="$jobs" -v show="$show" '
  NR <= show { line[NR] = sprintf("%7.1f s  %s", $1, $2) }
  END {
    split(cpu, c, " ")
    printf "%7.1f s  all %d files, %d at once: %.1f s of CPU time\n", took, NR, jobs, c[1] + c[2]
    for (i = 1; i in line; i++) print line[i]
  }' "$work/files"
[ "$budget" -eq 0 ] || awk -v took="$took" -v budget="$budget" 'BEGIN { exit !(took <= budget) }' || { echo "nvcc_time: over the budget of $budget s" && exit 1; }
