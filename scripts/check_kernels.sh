#!/usr/bin/env bash
# What nvcc made of each kernel, against what is committed (tests/golden/gpu/kernels_sm*.txt): registers, stack and local memory, where spills
# are, and the instructions that a kernel is written for. One line for each kernel that got worse; exit code 1 if there is any.
#   scripts/check_kernels.sh KERNEL_TABLE VERSION [--update] OBJECT...
# KERNEL_TABLE: the program tests/kernel_table of a build; VERSION: of nvcc; OBJECT: of .cu files. --update writes the tables of the
# architectures that the objects have, for a commit that says what changed; what stands behind a # there stays. Exit code 77: none of them.
# Of another nvcc than the table's nothing is said of registers.
set -euo pipefail
reader=$1 version=${2%.*} update=
shift 2
[ "${1:-}" != --update ] || { update=1 && shift; }
golden=$(cd "$(dirname "$0")/.." && pwd)/tests/golden/gpu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# "file:kernel<arguments>" and the numbers of each, in order.
rows() {
  c++filt | awk '{
    name = $0
    for (i = 1; i <= 11; i++) sub(/^[^ ]* /, "", name)
    sub(/^void /, "", name)
    for (i = 1; i <= length(name); i++) { # to the parameters
      c = substr(name, i, 1)
      depth += (c == "<") - (c == ">")
      if (c == "(" && !depth) break
    }
    name = substr(name, 1, i - 1)
    depth = 0
    gsub(/ /, "", name)
    printf "%s:%s %d %d %d %d %d %d %d %d %d %d\n", $11, name, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
  }' | LC_ALL=C sort
}

# What must be there, and what must not, whatever a table says.
rules='
function need(is, what) { if (!is) { print arch ": " $1 ": " what; wrong = 1 } }
{
  name = $1; stack = $3; loc = $4; atomics = $5; floats = $6; tensor = $7; ldsm = $8; async = $9; wide = $10; loads = $11
  need(!floats, floats " atomics on floats: what they add depends on the order")
  # integers alone: a count that many threads raise, the last of some
  need(!atomics || name ~ /^(decide:settle_step|replace:last_picks)$/, atomics " atomics, of a kernel whose bits repeat")
  if (name ~ /^gemm_(bf16|f16):gemm_tile</ || name ~ /^attention_(bf16|f16):attention_(many|few|dq|dkv)</)
    need(tensor && ldsm && async, "no products of tensor cores, or not from operands that LDSM and cp.async bring: " tensor ", " ldsm ", " async)
  if (name ~ /^gemm_(bf16|f16):gemm_few</)
    need(tensor && async, "no products of tensor cores, or of what cp.async brings: " tensor ", " async)
  if (name ~ /^(adamw|sgd|novograd|lamb|update):/ || name ~ /^gemm_f32:gemm_(plain|few)</ ||
      name ~ /:(norm_fwd|norm_bwd|each_row|append|copy|lookup_rows|sum_windows|match_losses|take_columns|tp_take|tp_collect|tp_lay_out|move_lines|pool_fwd|pool_bwd)<8[,>]/ ||
      name ~ /:(argmax_fwd|mean_fwd|mean_bwd|softmax_fwd|softmax_bwd|xent_losses|soft_losses|tp_xent_read|tp_xent_write)<[0-9]+,8[,>]/) # of 8 cells each
    need(wide || async || !loads, "reads global memory, but never 16 bytes at once")
}
END { exit wrong }
'

# Worse than the table, or not in it: of so many registers more nothing is said.
compare='
function worse(what, was, is) { print arch ": " $1 ": " what " " is ", was " was; wrong = 1 }
FILENAME == ARGV[1] { if ($1 !~ /^#/) { for (i = 2; i <= 11; i++) was[$1, i] = $i; known[$1] = 1 } next }
{
  seen[$1] = 1
  if (!known[$1]) { print arch ": " $1 " is not in the table (--update)"; wrong = 1; next }
  if (same && $2 > was[$1, 2] + 8) worse("registers", was[$1, 2], $2)
  if ($3 > was[$1, 3]) worse("bytes of stack", was[$1, 3], $3)
  if ($4 > was[$1, 4] + 4) worse("instructions on local memory", was[$1, 4], $4)
  if ($5 > was[$1, 5]) worse("atomics", was[$1, 5], $5)
  if (!$7 && was[$1, 7]) worse("products of tensor cores", was[$1, 7], 0)
  if (!$8 && was[$1, 8]) worse("LDSM", was[$1, 8], 0)
  if (!$9 && was[$1, 9]) worse("cp.async", was[$1, 9], 0)
  if (!$10 && was[$1, 10]) worse("loads of 16 bytes", was[$1, 10], 0)
}
END {
  for (name in known) if (!seen[name]) { print arch ": " name " is in the table, and nowhere else (--update)"; wrong = 1 }
  exit wrong
}
'

# The table anew: what was said of a kernel is kept, and must be said of one that has a stack.
write() { # TABLE ARCH
  touch "$1"
  {
    echo "# $2, nvcc $version: written by scripts/check_kernels.sh --update. Of instructions: local: on local memory; atomics: on global memory, floats:"
    echo "# of those on floats; tensor: HMMA; ldsm: LDSM; async: LDGSTS; wide: of the loads from global memory, those of 16 bytes."
    echo "# kernel registers stack local atomics floats tensor ldsm async wide loads"
    awk 'FILENAME == ARGV[1] { if ($1 !~ /^#/ && match($0, / #.*/)) said[$1] = substr($0, RSTART); next }
      { print $0 ($1 in said ? said[$1] : $3 ? " # why?" : "") }' "$1" "$work/rows"
  } >"$work/new"
  mv "$work/new" "$1"
}

status=0 seen=
for arch in sm80 sm90; do
  table=$golden/kernels_$arch.txt code=0
  "$reader" "${arch#sm}" "$@" >"$work/raw" || code=$?
  [ $code -ne 77 ] || continue
  [ $code -eq 0 ] || exit 1
  seen+=" $arch"
  rows <"$work/raw" >"$work/rows"
  [ -z "$update" ] || write "$table" "$arch"
  same=0
  ! grep -q "^# $arch, nvcc $version:" "$table" || same=1
  [ $same = 1 ] || echo "$arch: the table is of another nvcc than $version, so that registers are not compared"
  awk -v arch="$arch" "$rules" "$work/rows" || status=1
  awk -v arch="$arch" -v same=$same "$compare" "$table" "$work/rows" || status=1
  if grep -n '# why?' "$table"; then
    echo "$arch: a kernel has a stack, and the table does not say why"
    status=1
  fi
  echo "$arch: $(wc -l <"$work/rows") kernels, $(awk '$3' "$work/rows" | wc -l) with a stack"
done
[ -n "$seen" ] || exit 77
exit $status
