#!/usr/bin/env bash
# scripts/gpu_check.sh on the emulated GPU: its bundle runs where there is neither a source nor a build folder, and what fails in a stage fails
# the stage.   gpu_check_emulated.sh SOURCE BUILD
set -euo pipefail
source=$1 build=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*" >&2 && exit 1; }

"$source/scripts/gpu_check.sh" bundle --built "$build" --device cuda-emu made >log || { cat log >&2 && fail "no bundle"; }
grep -qE '^needs glibc [0-9.]+ or later' log || fail "it does not say which glibc it needs: $(cat log)"
mv made elsewhere

# In a namespace where both folders are empty, if this kernel lets us have one.
hidden=(unshare -rm bash -c 'mount -t tmpfs none "$1" && { [ ! -d "$2" ] || mount -t tmpfs none "$2"; } && shift 2 && exec "$@"' bash "$source" "$build")
"${hidden[@]}" true 2>/dev/null || { echo "no namespaces here: the source folder stays in sight" && hidden=(); }
run() { "${hidden[@]}" elsewhere/scripts/gpu_check.sh run --tiny "$@"; }

stages=(env ops sizes:2/2 nccl golden parity torch memcheck bench_train bench_infer bench_ops torch_bench:3/3)
run --out record "${stages[@]}" >log 2>&1 || { cat log record/*.log >&2 && fail "a stage"; }
for stage in "${stages[@]}"; do
  case $stage in
  torch* | memcheck) may='passed|skipped: (python3 has no torch|compute-sanitizer is not here)' ;;
  *) may=passed ;;
  esac
  grep -qE "^\| [-0-9]+ \| [0-9a-f]{12} \| cuda-emu \| $stage \|  \| ($may), [0-9]+ s \|$" record/summary.md || { cat record/summary.md >&2 && fail "$stage has no row of its own"; }
done
for figure in 'parity | fp16, 3 losses beside the CPU | worst' 'bench_train | training, bert-large b2 s16 bf16 |' 'bench_infer | a 4-layer GPT, b1, decode bf16 |' 'bench_ops | layernorm 8x64 bf16 |'; do
  grep -qF "| $figure" record/summary.md || { cat record/summary.md >&2 && fail "no figure '$figure'"; }
done

# Of each stage, every program by turns is one that fails, and the others do nothing.
stub() { printf '#!/bin/sh\nexit %s\n' "$2" >"elsewhere/bin/$1" && chmod +x "elsewhere/bin/$1"; }
fails() { # STAGE WHY
  local rc=0
  elsewhere/scripts/gpu_check.sh run --out record "$1" >log 2>&1 || rc=$?
  [ $rc = 1 ] && grep -q '| FAILED' log || { cat log >&2 && fail "$1 passed, and $2"; }
}
for program in elsewhere/bin/*; do stub "$(basename "$program")" 0; done
stub compute-sanitizer 0
for stage in sizes parity memcheck bench_train bench_infer bench_ops bench_layouts; do fails $stage "nothing was printed"; done
printf '#!/bin/sh\n[ $1 != ops ] || printf "|\\n|\\n| linear |\\n"\n' >elsewhere/bin/halfstep
for each in env:halfstep ops:test_ops_device ops:test_ops_runs_device ops:test_row_bits_device sizes:test_sizes_device train:test_cuda_trains serves:test_cuda_serves nccl:nccl_alone \
  bits:test_{gpt_bits,encoder_bits,generate,encode,checkpoint} golden:test_{gpt,encoder}_golden memcheck:compute-sanitizer; do
  cp "elsewhere/bin/${each#*:}" was
  stub "${each#*:}" 1
  fails "${each%:*}" "${each#*:} did not"
  cp was "elsewhere/bin/${each#*:}"
done
