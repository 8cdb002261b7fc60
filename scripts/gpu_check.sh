#!/usr/bin/env bash
# The proofs that need a GPU, in stages that end within ten minutes each and leave a record each. What runs is a bundle that was built on
# any machine with the CUDA Toolkit: the target needs a driver, CUDA's libraries (12.8 to 13.x; found where they are installed, or in the
# site-packages of a Python) and nothing else of Halfstep's.
#   scripts/gpu_check.sh bundle [DIR]                       builds it: build-gpu/bundle, or DIR
#   scripts/gpu_check.sh run [--out DIR] [STAGE...]         runs stages of the bundle that it lies in, or of build-gpu/bundle
# Stages: env ops train nccl bits parity sanitizer bench; none named: all of them, in this order. A stage that fails does not stop the others;
# the exit code says whether any did. DIR/STAGE.log is what a stage printed, DIR/summary.md a line for each.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

# ---- building it
tests=(test_ops_device test_ops_runs_device test_cuda_trains nccl_alone test_gpt_bits test_encoder_bits test_generate test_encode test_checkpoint)
bundle() {
  local root=$here/.. to=${1:-$here/../build-gpu/bundle} build=$here/../build-gpu
  cmake -S "$root" -B "$build" -DHS_WITH_MPI=OFF -DHS_WITH_HDF5=OFF -DHS_WITH_PNG=OFF -DHS_WITH_SERVER=OFF -DHS_WITH_ONEDNN=OFF -DHS_WITH_COMPRESSION=OFF >"$build.log" 2>&1 ||
    { cat "$build.log" >&2 && return 1; }
  cmake --build "$build" -j "$(nproc)" --target halfstep_program halfstep_cuda "${tests[@]}"
  rm -rf "$to"
  mkdir -p "$to/bin" "$to/lib" "$to/scripts"
  cp "$build/halfstep" "$to/bin/"
  for t in "${tests[@]}"; do cp "$(find "$build/tests" -name "$t" -type f)" "$to/bin/"; done
  cp -L "$build"/recipes/libhalfstep.so.0 "$build"/recipes/libhalfstep_cuda.so "$to/lib/"
  # what Debian has and the target may not
  ldd "$to/bin/halfstep" "$to/bin/test_ops_device" "$to/lib/libhalfstep.so.0" |
    awk '/lib(yaml|jansson|xxhash|cmocka)[-.]/ { print $3 }' | sort -u | xargs -I{} cp -L {} "$to/lib/"
  cp "$here"/gpu_check.sh "$here"/torch_train.py "$here"/torch_generate.py "$to/scripts/"
  cp -r "$root/recipes" "$to/" && find "$to/recipes" -type f ! -name '*.yaml' -delete
  git -C "$root" rev-parse --short=12 HEAD >"$to/commit"
  du -sh "$to"
}

# ---- running it

# Where CUDA's libraries are: the loader's own places first, then those of Python's packages.
cuda_paths() {
  local p=/usr/local/cuda/lib64
  local site
  for site in $(python3 -c 'import site, sys; print("\n".join(site.getsitepackages()))' 2>/dev/null); do
    for d in "$site"/nvidia/*/lib; do [ -d "$d" ] && p=$p:$d; done
  done
  echo "$p"
}

stage_env() {
  nvidia-smi || echo "no nvidia-smi"
  halfstep env
  ! halfstep env | grep -q '^cuda .*not available'
}
stage_ops() { test_ops_device && test_ops_runs_device; }
stage_train() { test_cuda_trains cuda; }
stage_nccl() { nccl_alone cuda; } # between ranks it needs a GPU for each
stage_bits() {
  local t
  for t in test_gpt_bits test_encoder_bits test_generate test_encode test_checkpoint; do "$t" cuda; done
}

# 20 steps of the same GPT on the same text: the CPU's losses, the GPU's in three types and three ways, side by side.
stage_parity() {
  local dtype mode failed=0
  for i in $(seq 1 4000); do echo "$((i * i % 97)) bottles stood on wall $i; the quick brown fox jumped over $((i % 7)) of them."; done >"$work/text"
  losses() { # NAME SETTING...
    local name=$1
    shift
    halfstep pretrain shakespeare-char --data.train="$work/text" --data.val=0.01 --out "$work/$name" --train.steps=20 --train.log_every=1 --train.eval_every=0 \
      --checkpoint.every=0 --train.seed=1 --overwrite --quiet "$@" >&2
    grep -oE '"loss":[0-9.]+' "$work/$name/metrics.jsonl" | cut -d: -f2 >"$work/$name.loss"
  }
  for dtype in fp32 bf16 fp16; do
    losses "cpu-$dtype" --dtype $dtype
    for mode in step bulk graph; do
      losses "$dtype-$mode" --dtype $dtype --device cuda --exec.mode=$mode
      cmp "$work/$dtype-$mode.loss" "$work/$dtype-step.loss" || failed=1
    done
    paste "$work/cpu-$dtype.loss" "$work/$dtype-graph.loss" | awk -v t=$dtype -v bound="$([ $dtype = fp32 ] && echo 1e-4 || echo 2e-2)" '
      { d = $1 > $2 ? $1 - $2 : $2 - $1; if (d / $1 > worst) worst = d / $1 } END { printf "%s: worst relative difference of 20 losses %.2e (bound %s)\n", t, worst, bound; exit !(NR == 20 && worst <= bound) }' || failed=1
  done
  return $failed
}
stage_sanitizer() {
  command -v compute-sanitizer >/dev/null || { echo "compute-sanitizer is not here" && return 1; }
  compute-sanitizer --tool memcheck --error-exitcode 9 test_cuda_trains cuda && compute-sanitizer --tool racecheck --error-exitcode 9 test_ops_device
}
stage_bench() {
  local model rows
  for model in gpt2-124m gpt2-1558m bert-base bert-large; do
    halfstep bench train --model $model --device cuda --dtype bf16 --exec.mode=graph --json || return 1
  done
  halfstep bench op layernorm --device cuda --dtype bf16
  halfstep bench op linear --device cuda --dtype bf16
  halfstep bench op attention --device cuda --dtype bf16
}

run() {
  local root=$here/.. out= failed=0 started
  [ -d "$root/bin" ] || root=$here/../build-gpu/bundle
  [ -x "$root/bin/halfstep" ] || { echo "gpu_check: no bundle at $root: scripts/gpu_check.sh bundle makes one" >&2 && exit 2; }
  root=$(cd "$root" && pwd)
  if [ "${1:-}" = --out ]; then out=$2 && shift 2; fi
  out=${out:-$root/record}
  mkdir -p "$out"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  export PATH=$root/bin:$PATH LD_LIBRARY_PATH=$root/lib:$(cuda_paths)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} HOME=${HOME:-$work}
  [ $# -gt 0 ] || set -- env ops train nccl bits parity sanitizer bench
  for stage in "$@"; do
    declare -F "stage_$stage" >/dev/null || { echo "gpu_check: no stage $stage; there are env ops train nccl bits parity sanitizer bench" >&2 && exit 2; }
    started=$SECONDS
    if (set -e; "stage_$stage") >"$out/$stage.log" 2>&1; then result=passed; else result=FAILED failed=1; fi
    echo "| $(date -u +%F) | $(cat "$root/commit") | $stage | $result | $((SECONDS - started)) s | $(tail -n 1 "$out/$stage.log" | cut -c1-120) |" | tee -a "$out/summary.md"
  done
  return $failed
}

case ${1:-} in
bundle | run) "$@" ;;
*)
  sed -n '2,10s/^# \?//p' "$0"
  [ "${1:-}" = --help ] || exit 2
  ;;
esac
