#!/usr/bin/env bash
# The proofs that need a GPU, in stages that end within ten minutes each and leave a record each. What runs is a bundle that was built on
# any machine with the CUDA Toolkit: the target needs a driver, CUDA's libraries (12.8 to 13.x; found where they are installed, or in the
# site-packages of a Python), and nothing else of Halfstep's. The toolkit must be no newer than the CUDA that the target's driver has
# (nvidia-smi: "CUDA Version"): `bundle` says which it is, and stage env compares them.
#   scripts/gpu_check.sh bundle [--built DIR --device NAME] [DIR]     makes it: build-gpu/bundle, or DIR
#     --built DIR      nothing is compiled: out of this build folder; --device NAME: with that plug-in (cuda-emu) in place of cuda
#   scripts/gpu_check.sh run [--out DIR] [--tiny] [STAGE...]          runs stages of the bundle that it lies in, or of build-gpu/bundle
#     --tiny           the smallest sizes: shows that the stages work, and nothing else
# Stages; none named: all, in this order. NAME:K/N is the K-th part of N.
#   env ops sizes:1/4 to 4/4 train serves nccl bits golden parity torch   is it right?
#   memcheck racecheck:1/4 to 4/4                                the same of compute-sanitizer, op by op
#   bench_train bench_layouts bench_infer bench_ops              how fast?
#   torch_bench:1/3 to 3/3                                       PyTorch's side of bench_train and bench_infer
# A stage that fails does not stop the others; the exit code says whether any did. One that lacks a program of others (compute-sanitizer,
# PyTorch) is skipped. DIR/STAGE.log is what a stage printed, DIR/summary.md a row for each and one for each figure, as tests/gpu_record.md
# has them.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
all=(env ops sizes:{1..4}/4 train serves nccl bits golden parity torch memcheck racecheck:{1..4}/4 bench_train bench_layouts bench_infer bench_ops torch_bench:{1..3}/3)
stop() { echo "gpu_check: $*" >&2 && exit 2; }

# ---- building it
tests=(test_cuda_trains test_cuda_serves nccl_alone test_gpt_bits test_encoder_bits test_gpt_golden test_encoder_golden test_generate test_encode test_checkpoint)
op_tests=(test_ops test_ops_runs test_row_bits test_sizes) # of a device: test_ops_device is that of cuda
newest() { sort -uV | tail -n 1; }
bundle() {
  local root=$here/.. build=$here/../build-gpu built='' device=cuda suffix=device to='' t lacks
  while [ $# -gt 0 ]; do
    case $1 in
    --built) built=$2 && shift ;;
    --device) device=$2 && shift ;;
    -*) stop "bundle takes no $1; see --help" ;;
    *) to=$1 ;;
    esac
    shift
  done
  [ "$device" = cuda ] || suffix=device_emu
  if [ -n "$built" ]; then
    build=$built
  else
    [ "$device" = cuda ] || stop "--device $device is of a build folder: --built names it"
    cmake -S "$root" -B "$build" -DHS_WITH_MPI=OFF -DHS_WITH_HDF5=OFF -DHS_WITH_PNG=OFF -DHS_WITH_SERVER=OFF -DHS_WITH_ONEDNN=OFF -DHS_WITH_COMPRESSION=OFF >"$build.log" 2>&1 ||
      { cat "$build.log" >&2 && return 1; }
    cmake --build "$build" -j "$(nproc)" --target halfstep_program halfstep_cuda "${tests[@]}" "${op_tests[@]/%/_device}"
  fi
  to=${to:-$here/../build-gpu/bundle}
  rm -rf "$to"
  mkdir -p "$to/bin" "$to/lib" "$to/scripts" "$to/share/halfstep/golden"
  cp "$build/halfstep" "$to/bin/"
  for t in "${tests[@]}"; do cp "$(find "$build/tests" -name "$t" -type f)" "$to/bin/"; done
  for t in "${op_tests[@]}"; do cp "$(find "$build/tests" -name "${t}_$suffix" -type f)" "$to/bin/${t}_device"; done
  cp -L "$build"/recipes/libhalfstep.so.0 "$build/recipes/libhalfstep_$device.so" "$to/lib/"
  # what Debian has and the target may not
  ldd "$to/bin/halfstep" "$to/bin/test_ops_device" "$to/lib/libhalfstep.so.0" |
    awk '/lib(yaml|jansson|xxhash|cmocka)[-.]/ { print $3 }' | sort -u | xargs -I{} cp -L {} "$to/lib/"
  lacks=$(LD_LIBRARY_PATH=$to/lib ldd -r "$to/lib/libhalfstep_$device.so" 2>&1 | grep -E 'undefined|not found' || true)
  [ -z "$lacks" ] || { echo "the plug-in cannot be loaded: $lacks" >&2 && return 1; }
  cp "$here"/gpu_check.sh "$here"/bench_unpadded.sh "$here"/torch_train.py "$here"/torch_generate.py "$to/scripts/"
  # where the program and the tests look first
  cp -r "$root/recipes" "$to/share/halfstep/" && find "$to/share/halfstep/recipes" -type f ! -name '*.yaml' -delete
  cp -r "$root"/tests/golden/{golden.safetensors,gpt2-base,gpt2-lm,encoders} "$to/share/halfstep/golden/"
  git -C "$root" rev-parse --short=12 HEAD >"$to/commit"
  echo "$device" >"$to/device"
  if [ "$device" = cuda ]; then
    "$(sed -n 's/^HS_NVCC:[A-Z]*=//p' "$build/CMakeCache.txt")" --version | sed -nE 's/.*release ([0-9.]+).*/\1/p' >"$to/toolkit"
    echo "needs a driver with CUDA $(cat "$to/toolkit") or later, for nvidia-smi to call so"
  fi
  echo "needs glibc $(objdump -T "$to"/bin/* "$to"/lib/* | grep -oE 'GLIBC_[0-9]+[0-9.]*' | cut -d_ -f2 | newest) or later; $(du -sh "$to" | cut -f1) in $to"
}

# ---- stages: each in a shell of its own, which ends at the first command that fails. root, work, device, tiny and part are set.

figure() { echo "figure: $1 | $2"; } # MEASURE VALUE: a row of the record
# Lines that are this part's, of a stage that has several.
parted() { awk -v k="${part%/*}" -v n="${part#*/}" '(NR - 1) % n == k - 1'; }
skip() { echo "$*" && exit 77; }
op_names() { if [ -n "$tiny" ]; then printf 'relu\ntanh\n'; else halfstep ops | awk -F'|' 'NR > 2 { gsub(/ /, "", $2); print $2 }'; fi; }
each_op() { # WORD...: once for each operation of this part, whose name stands behind
  local op bad=0 n=0
  for op in $(op_names | parted); do
    "$@" "$op" || { echo "FAILED: $* $op" && bad=1; }
    n=$((n + 1))
  done
  [ $n -gt 0 ] || { echo "no operation is of part $part" && return 1; }
  figure "$*, part $part" "$n ops"
  return $bad
}
recipe() { [ -n "$tiny" ] && echo "$work/$2.yaml" || echo "$1"; } # RECIPE TINY: which one is measured

stage_env() {
  if [ "$device" = cuda ]; then
    halfstep env >"$work/env"
    cat "$work/env"
    awk '$1 == "cuda" && /not available/ { exit 1 }' "$work/env"
    nvidia-smi >"$work/smi" || skip_compare=1
    cat "$work/smi"
    local has
    has=$(sed -nE 's/.*CUDA Version: *([0-9.]+).*/\1/p' "$work/smi")
    if [ -n "${skip_compare:-}" ] || [ -z "$has" ]; then
      echo "nvidia-smi does not say which CUDA the driver has: not compared with the toolkit's $(cat "$root/toolkit")"
    elif [ "$(printf '%s\n' "$has" "$(cat "$root/toolkit")" | newest)" != "$has" ]; then
      echo "the driver has CUDA $has, and the bundle was built with $(cat "$root/toolkit"): build it with a toolkit no newer than that"
      return 1
    fi
  fi
  halfstep bench op layernorm --sizes 8x64 --device "$device" --steps 1
}
stage_ops() {
  if [ -n "$tiny" ]; then
    each_op test_ops_device
    each_op test_ops_runs_device
  else
    test_ops_device
    test_ops_runs_device
    test_row_bits_device
  fi
}
stage_sizes() { each_op test_sizes_device; } # as large as they are measured
stage_train() { test_cuda_trains "$device"; }
stage_serves() { test_cuda_serves "$device"; }
stage_nccl() { nccl_alone "$device"; } # between ranks it needs a GPU for each
stage_bits() {
  local t bad=0
  for t in test_gpt_bits test_encoder_bits test_generate test_encode test_checkpoint; do "$t" "$device" || bad=1; done
  return $bad
}
stage_golden() {
  test_gpt_golden "$device"
  if [ -n "$tiny" ]; then test_encode cpu; else test_encoder_golden "$device"; fi # of the same files
}

# NAME TEXT SETTING...: trains shakespeare-char on TEXT for $steps steps, at once at the full rate; the losses go to $work/NAME.loss.
trained() {
  local name=$1 text=$2
  shift 2
  halfstep pretrain shakespeare-char --data.train="$text" --data.val=0 --out "$work/$name" --resume none --overwrite --train.steps="$steps" --train.log_every=1 \
    --train.eval_every=0 --checkpoint.every=0 --checkpoint.keep=1 --optim.warmup=0 --quiet "$@" >&2 || return 1
  grep -oE '"loss":[-+0-9.eE]+' "$work/$name/metrics.jsonl" | cut -d: -f2 >"$work/$name.loss"
}
sized() { if [ -n "$tiny" ]; then steps=3 small=(--model.layers=1 --model.heads=2 --model.width=32 --model.context=16 --train.batch=2); else steps=20 small=(); fi; }
weights() { echo "$work/$1"/checkpoints/step-*"$steps"/model.safetensors; }

# The same GPT on the same text: the CPU's losses, the device's in three types and three ways, whose bits are the same.
stage_parity() {
  local dtype mode bad=0 steps small i
  sized
  for i in $(seq 1 4000); do echo "$((i * i % 97)) bottles stood on wall $i; the quick brown fox jumped over $((i % 7)) of them."; done >"$work/text"
  for dtype in fp32 bf16 fp16; do
    trained "cpu-$dtype" "$work/text" --dtype $dtype "${small[@]}"
    for mode in step bulk graph; do
      trained "$dtype-$mode" "$work/text" --dtype $dtype --device "$device" --exec.mode=$mode "${small[@]}"
      cmp "$work/$dtype-$mode.loss" "$work/$dtype-step.loss" || bad=1
      cmp "$(weights $dtype-$mode)" "$(weights $dtype-step)" || bad=1
    done
    paste "$work/cpu-$dtype.loss" "$work/$dtype-graph.loss" | awk -v t=$dtype -v n="$steps" -v bound="$([ $dtype = fp32 ] && echo 1e-4 || echo 1e-2)" '
      NF == 2 { d = $1 > $2 ? $1 - $2 : $2 - $1; if (d / $1 > worst) worst = d / $1; rows++ }
      END { printf "figure: %s, %d losses beside the CPU | worst relative difference %.2e (bound %s)\n", t, rows, worst, bound; exit !(NR == n && rows == n && worst <= bound) }' || bad=1
  done
  return $bad
}

# ---- PyTorch

peer() { [ "$device" = cuda ] && echo cuda || echo cpu; }
python() { LD_LIBRARY_PATH=$given_libraries python3 "$@"; } # which has libraries of its own
needs_torch() {
  python -c 'import torch' 2>/dev/null || skip "python3 has no torch"
  [ "$(peer)" = cpu ] || python -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' || skip "python3's torch sees no GPU"
}

# One window of text, the same in every step: both sides begin with the same weights and know what a batch is. Losses, and the parameters at
# the end: a decay or a rate that is wrong shows there first.
stage_torch() {
  local dtype bad=0 steps small begin text=$work/window
  needs_torch
  sized
  printf "%.$([ -n "$tiny" ] && echo 17 || echo 65)s" 'the quick brown fox jumps over the lazy dog; 1,2,3,4,5,6,7,8,9,0 bottles stood' >"$text"
  steps=1 trained begin "$text" --dtype fp32 "${small[@]}"
  begin=$(dirname "$(steps=1 weights begin)")
  for dtype in fp32 bf16 fp16; do
    trained "torch-$dtype" "$text" --dtype $dtype --device "$device" --train.init_from="$begin" "${small[@]}" &&
      python "$root/scripts/torch_train.py" same "$begin" "$(dirname "$(weights "torch-$dtype")")" "$work/torch-$dtype/metrics.jsonl" "$text" --dtype $dtype --device "$(peer)" || bad=1
  done
  return $bad
}

# ---- compute-sanitizer

sanitized() { # TOOL: the op tests, op by op
  command -v compute-sanitizer >/dev/null || skip "compute-sanitizer is not here"
  each_op compute-sanitizer --tool "$1" --error-exitcode 9 test_ops_device
}
stage_memcheck() { sanitized memcheck; }
stage_racecheck() { sanitized racecheck; }

# ---- benches: a figure of each row that `halfstep bench` prints as JSON

of() { sed -nE "s/.*\"$1\":\"?([^\",}]*)\"?[,}].*/\1/p" <<<"$row"; } # KEY of $row
# MEASURE UNIT=KEY... -- ARGUMENTS: runs it. Fails where nothing was measured.
measured() {
  local name=$1 units=() out row unit value label
  shift
  while [ "$1" != -- ]; do units+=("$1") && shift; done
  shift
  out=$(halfstep bench "$@" --device "$device" --json) || return 1
  echo "$out"
  [ -n "$out" ] || return 1
  while IFS= read -r row; do
    value=
    for unit in "${units[@]}"; do [ -z "$(of "${unit#*=}")" ] || value+="${value:+, }$(of "${unit#*=}" | awk '{ printf $1 ~ /^[0-9.eE+-]+$/ ? "%.4g" : "%s", $1 }') ${unit%%=*}"; done
    label=$(of op) # beside an op stands that in whose place it may be
    figure "${label:-$name}$(of size | sed 's/^./ &/')$(of step_of | sed 's/^./, &/')$(of optimizer | sed 's/^./ by &/')$(of dtype | sed 's/^./ &/')" "$value"
  done <<<"$out"
}
few() { [ -n "$tiny" ] && echo 1 || echo "$1"; } # of steps

# RECIPE BATCH SEQ: what a step of training costs, here and in torch_bench.
training() {
  cat <<'ROWS'
gpt2-124m 32 1024
gpt2-1558m 8 1024
bert-base 256 128
bert-base 64 512
bert-large 128 128
bert-large 32 512
ROWS
}
small_models() { # that --tiny measures
  echo 'model: { layers: 1, heads: 2, width: 32, context: 16, vocab: 64 }' >"$work/gpt.yaml"
  echo 'model: { type: bert, layers: 1, heads: 2, width: 32, context: 16, vocab: 64 }' >"$work/bert.yaml"
}
stage_bench_train() {
  local model batch seq bad=0
  small_models
  while read -r model batch seq; do
    [ -z "$tiny" ] || batch=2 seq=16
    measured "training, $model b$batch s$seq" tokens/s=tokens_per_second sequences/s=sequences_per_second MFU=mfu -- \
      train --model "$(recipe "$model" "${model%%[2-]*}")" --batch "$batch" --seq "$seq" --dtype bf16 --exec.mode=graph --steps "$(few 20)" --warmup "$(few 5)" || bad=1
  done < <(training)
  return $bad
}
stage_bench_layouts() { # real lengths: documents of 1 to 60 sentences
  local model length bad=0 i
  [ -z "$tiny" ] || skip "needs sizes that --tiny has not"
  awk 'BEGIN { for (d = 0; d < 3000; d++) { for (s = 0; s < 1 + d * 7919 % 60; s++) printf "The %d bottles of wall %d stood beside %d others while a quick brown fox jumped over them.\n", d % 97, s * s % 89, d * s % 83; print "" } }' >"$work/documents"
  for model in bert-base bert-large; do
    for length in 128 512; do
      "$root/scripts/bench_unpadded.sh" --halfstep "$root/bin/halfstep" --device "$device" --model $model --length $length --batch $((8192 / length)) --steps 20 --rounds 1 --dtype bf16 \
        --layouts padded,unpadded "$work/documents" >"$work/table" || bad=1
      cat "$work/table"
      awk -F' *\\| *' -v m="$model, at most $length tokens" '$2 ~ /^(un)?padded$/ { printf "figure: %s, %s | %s sequences/s\n", m, $2, $3 }' "$work/table"
    done
  done
  return $bad
}
stage_bench_infer() {
  local bad=0 row model batch
  small_models
  for row in "bert-base 1" "bert-base 32" "bert-large 1" "bert-large 32" "gpt2-124m 1"; do
    read -r model batch <<<"$row"
    [ -z "$tiny" ] || batch=1
    measured "inference, $model b$batch s$([ -n "$tiny" ] && echo 16 || echo 128)" ms=milliseconds MFU=mfu -- infer --model "$(recipe "$model" "${model%%[2-]*}")" --batch "$batch" \
      --seq "$([ -n "$tiny" ] && echo 16 || echo 128)" --dtype bf16 --exec.mode=graph --steps "$(few 100)" || bad=1
  done
  for model in gpt2-124m gpt2-1558m; do
    measured "generation, $model" "tokens/s"=tokens_per_second "tokens/s of the prompt"=prefill_tokens_per_second "of reading the weights"=share_of_limit -- \
      generate --model "$(recipe $model gpt)" --seq "$([ -n "$tiny" ] && echo 8 || echo 512)" --tokens "$([ -n "$tiny" ] && echo 4 || echo 128)" --dtype bf16 --steps "$(few 5)" || bad=1
  done
  for row in $([ -n "$tiny" ] && echo 1x32 || echo 8x768 32x768 256x768); do
    measured "a 4-layer GPT, b${row%x*}" "ms step by step"=step_ms "ms in bulk"=bulk_ms "ms as a graph"=graph_ms -- \
      bulk --sizes "$row" --dtype bf16 --steps "$(few 20)" || bad=1
  done
  return $bad
}
stage_bench_ops() {
  local bad=0 op least sizes
  while read -r op least sizes; do
    [ -z "$tiny" ] || sizes=$least
    measured "$op" "us forward"=forward_us "us backward"=backward_us "GFLOP/s forward"=forward_gflops "GFLOP/s backward"=backward_gflops "GB/s forward"=forward_gbps \
      "GB/s backward"=backward_gbps "times as fast as in 16 bits"=times_faster -- op "$op" --sizes "$sizes" --dtype bf16 --steps "$(few 20)" || bad=1
  done <<'ROWS'
layernorm 8x64 32Kx768,32Kx1024,16Kx1600
linear 8x32x32 32Kx768x2304,32Kx768x3072,32Kx3072x768,16Kx1024x4096,8Kx1600x6400,8Kx8Kx8K
linear_fp8 8x32x32 32Kx768x3072,32Kx3072x768,16Kx1024x4096,8Kx1600x6400,8Kx8Kx8K
attention 1x8x2x16 32x1024x12x64,8x1024x25x64,64x128x768,64x512x1024
ROWS
  measured update GB/s=update_gbps "GB/s of copies=copy_gbps" "of copies"=share -- \
    optim --sizes "$([ -n "$tiny" ] && echo 4K || echo 128M)" --dtype bf16 --steps "$(few 20)" || bad=1
  return $bad
}
stage_torch_bench() {
  local model batch seq bad=0 how line small=()
  needs_torch
  [ -n "$tiny" ] || small=(--compile)
  while read -r model batch seq; do
    [ -z "$tiny" ] || batch=2 seq=16
    case $model in
    gpt2-*) how=(step --size "$([ -n "$tiny" ] && echo 0.8M || echo "${model#gpt2-}" | tr m M)") ;;
    *) how=(bert --size "$([ -n "$tiny" ] && echo tiny || echo "${model#bert-}")") ;;
    esac
    line=$(python "$root/scripts/torch_train.py" "${how[@]}" --batch "$batch" --seq "$seq" --dtype bf16 --device "$(peer)" "${small[@]}" --steps "$(few 20)") || { bad=1 && continue; }
    figure "PyTorch: ${line%%: *}" "${line#*: }"
  done < <(training | parted)
  [ "${part%/*}" = "${part#*/}" ] || return $bad # the last part generates, too
  how=(--size 124M)
  [ -z "$tiny" ] || how=(--size 0.8M --prompt 8 --tokens 4)
  line=$(python "$root/scripts/torch_generate.py" "${how[@]}" --device "$(peer)" "${small[@]}") && figure "PyTorch: ${line%%: *}" "${line#*: }" || bad=1
  return $bad
}

# ---- running them

# Where CUDA's libraries are: the loader's own places first, then those of Python's packages.
cuda_paths() {
  local p=/usr/local/cuda/lib64 site d
  for site in $(python3 -c 'import site; print("\n".join([*site.getsitepackages(), site.getusersitepackages()]))' 2>/dev/null); do
    for d in "$site"/nvidia/*/lib; do [ ! -d "$d" ] || p=$p:$d; done
  done
  echo "$p"
}

known() { [[ $1 =~ ^([a-z_]+)(:([0-9]+)/([0-9]+))?$ ]] && declare -F "stage_${BASH_REMATCH[1]}" >/dev/null; }
stage() { # NAME[:PART] ROOT WORK TINY LIBRARIES: what run starts
  root=$2 work=$3 tiny=$4 given_libraries=$5 part=1/1
  [[ $1 != *:* ]] || part=${1#*:}
  device=$(cat "$root/device")
  "stage_${1%:*}"
}

run() {
  local root=$here/.. out='' tiny='' bad=0 started rc result why gpu stage log measure value
  [ -d "$root/bin" ] || root=$here/../build-gpu/bundle
  [ -x "$root/bin/halfstep" ] || stop "no bundle at $root: scripts/gpu_check.sh bundle makes one"
  root=$(cd "$root" && pwd)
  while [[ ${1:-} == -* ]]; do
    case $1 in
    --out) out=$2 && shift ;;
    --tiny) tiny=1 ;;
    *) stop "run takes no $1; see --help" ;;
    esac
    shift
  done
  [ $# -gt 0 ] || set -- "${all[@]}"
  for stage in "$@"; do known "$stage" || stop "no stage $stage; there are ${all[*]}"; done
  out=${out:-$root/record}
  mkdir -p "$out"
  work=$(mktemp -d) pid=
  trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null; rm -rf "$work"' EXIT
  local given=${LD_LIBRARY_PATH:-}
  export PATH=$root/bin:$PATH LD_LIBRARY_PATH=$root/lib:$(cuda_paths)${given:+:$given} HOME=${HOME:-$work}
  gpu=$(cat "$root/device")
  [ "$gpu" != cuda ] || gpu=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader -i 0 2>/dev/null | sed 's/, /, driver /') || gpu='a GPU without nvidia-smi'
  row() { echo "| $(date -u +%F) | $(cat "$root/commit") | $gpu | $stage | $1 | $2 |" | tee -a "$out/summary.md"; } # MEASURE RESULT
  for stage in "$@"; do
    started=$SECONDS rc=0 log=$out/${stage//[:\/]/-}.log
    timeout -k 10 600 "$BASH" "$here/gpu_check.sh" stage "$stage" "$root" "$work" "$tiny" "$given" >"$log" 2>&1 </dev/null &
    pid=$!
    wait "$pid" || rc=$?
    pid=
    why=$(tail -n 1 "$log" | tr '|' '/' | cut -c1-120)
    case $rc in
    0) result=passed ;;
    77) result="skipped: $why" ;;
    124 | 137) result='FAILED: more than 600 s' bad=1 ;;
    *) result="FAILED: $why" bad=1 ;;
    esac
    row "" "$result, $((SECONDS - started)) s"
    while IFS='|' read -r measure value; do row "${measure% }" "${value# }"; done < <(sed -n 's/^figure: //p' "$log")
  done
  return $bad
}

case ${1:-} in
bundle | run | stage) "$@" ;;
*)
  sed -n '2,20s/^# \?//p' "$0"
  [ "${1:-}" = --help ] || exit 2
  ;;
esac
