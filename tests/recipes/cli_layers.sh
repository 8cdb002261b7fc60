#!/usr/bin/env bash
# The table of rooms holds in this tree, and the check finds what breaks it.
set -euo pipefail
root=$2
"$root/scripts/check_layers" "$root"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{core/graph,ops,optim,models,tests/core,recipes}
# refuses LINE FILE WORDS: a file with that one line is complained about in those words
refuses() {
  printf '%s\n' "$1" >"$work/$2"
  if found=$("$root/scripts/check_layers" "$work"); then
    echo "not found: $1 in $2" && exit 1
  fi
  [[ $found == "$2:1: "*"$3"* ]] || { echo "wrong message for $1 in $2: $found" && exit 1; }
  rm "$work/$2"
}
accepts() {
  printf '%s\n' "$1" >"$work/$2"
  "$root/scripts/check_layers" "$work"
  rm "$work/$2"
}
refuses '#include "ops/ops.h"' core/a.c 'core may not include ops'
refuses '#include "optim/optim.h"' ops/a.c 'ops may not include optim'
refuses '#  include   "ops/ops.h"' optim/a.h 'optim may not include ops'
refuses '#include "recipes/train/engine.h"' models/a.c 'models may not include recipes'
refuses '#include "core/plan/plan_impl.h"' ops/a.c 'belongs to core alone'
refuses '#include "a.h"' core/a.c 'room/file'
refuses '#include "../ops/ops.h"' core/a.c 'room/file'
refuses '#include <mpi.h>' ops/a.c 'parallel only'
refuses '#include <cuda_runtime.h>' ops/a.c 'neither'
accepts '#include <cuda_runtime.h>' ops/a.cu
accepts '#include "recipes/train/engine.h"' tests/a.c
refuses '#include "ops/ops.h"' core/graph/a.c 'core may not include ops'
refuses '#include "core/graph/deeper/op.h"' core/a.c 'room/folder/file'
refuses '' tests/core/support_a.h 'stands in tests/support'
accepts '#include "core/graph/op.h"' ops/a.c
accepts '#include <stdio.h>' core/a.c
