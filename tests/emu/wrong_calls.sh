#!/usr/bin/env bash
# Puts one mistake at a time into what a library is told of a product, and looks whether the test against that library's double sees it. By
# hand: seconds per mistake.
#   tests/emu/wrong_calls.sh BUILD [TEST...]     of these tests only: test_i8_lt
# Prints a line for each; exit code 1 if one is not seen, or is no mistake any more because the line that it changes reads otherwise.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "$1" && pwd)
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$build"

# test | file | what is wrong | what sed does
mistakes() {
  cat <<'END'
test_i8_lt|core/cuda/cublaslt.c|factors of sums are floats|s/CUBLAS_COMPUTE_32I, CUDA_R_32I/CUBLAS_COMPUTE_32I, CUDA_R_32F/
test_i8_lt|core/cuda/cublaslt.c|the factor of sums is given as a float|s/const bool whole = .*/const bool whole = false;/
test_i8_lt|core/cuda/cublaslt.c|rows and columns of A change places|s/k->ta ? k->k : k->m, k->ta ? k->m : k->k/k->ta ? k->m : k->k, k->ta ? k->k : k->m/
test_i8_lt|core/cuda/cublaslt.c|sums are described as bytes|s/\[HS_I32\] = CUDA_R_32I/[HS_I32] = CUDA_R_8I/
test_i8_lt|ops/quant/linear_i8.cu|A is not transposed|s/lt.ta = true, lt.scale/lt.scale/
test_i8_lt|ops/quant/linear_i8.cu|rows of sums lie as far apart as rows of codes|s/lt.ldd = p.n;/lt.ldd = p.k > p.n ? p.k : p.n;/
test_i8_lt|ops/quant/linear_i8.cu|weights and rows change places|s/o.a = p.codes, o.b = p.q + r \* p.k/o.b = p.codes, o.a = p.q + r * p.k/
test_i8_lt|ops/quant/linear_i8.cu|the first rows are multiplied again|s/o.b = p.q + r \* p.k/o.b = p.q/
test_i8_lt|ops/quant/linear_i8.cu|all rows are taken as many at a time as the last|s/const hs_lt_product &lt = .*/const hs_lt_product \&lt = last;/
test_i8_lt|ops/quant/linear_i8.cu|rows have the scales of others|s/const int64_t row = first + blockIdx.x, col/const int64_t row = blockIdx.x, col/
test_i8_lt|ops/quant/linear_i8.cu|every row has the scale of the first|s/p.row_scale\[row\]/p.row_scale[0]/
test_i8_lt|ops/quant/linear_i8.cu|half of the room for sums|s/rows_at_once(rows, n) \* n \* (int64_t)sizeof(int32_t)/rows_at_once(rows, n) * n * 2/
test_i8_lt|ops/quant/linear_i8.cu|dead rows are written|s/row >= live_rows(p.x, step) || col >= p.n/col >= p.n/
END
}

# object TEST FILE: which of the test's objects is that file's
object() { ninja -t inputs "tests/emu/$1" | grep -F "/__/__/$2.o" | head -1; }

# compile TEST FILE OUTPUT: the file of $work as the test's own is compiled
compile() {
  local command
  command=$(ninja -t commands "$(object "$1" "$2")" | tail -1)
  command=${command%% -MD *}
  eval "${command/ -I/ -I$work -I} -o $3 -c $work/$2" 2>"$work/compiler" || { cat "$work/compiler"; return 1; }
}

link() {
  local command
  command=$(ninja -t commands "tests/emu/$1" | tail -1)
  eval "$(sed -E "s#$(object "$1" "$2")#$work/mutant.o#; s# -o [^ ]+# -o $work/$1#" <<<"$command")"
}

bad=0
while IFS='|' read -r test file what edit; do
  if [ $# -gt 0 ] && [[ " $* " != *" $test "* ]]; then continue; fi
  ninja "$test" >/dev/null
  mkdir -p "$work/$(dirname "$file")"
  sed "$edit" "$root/$file" >"$work/$file"
  seen="NO MISTAKE: the line reads otherwise"
  if ! cmp -s "$root/$file" "$work/$file"; then
    compile "$test" "$file" "$work/mutant.o"
    link "$test" "$file"
    seen="NOT SEEN"
    if ! LD_LIBRARY_PATH=$build/tests/emu/double timeout 300 "$work/$test" >"$work/said" 2>&1; then
      seen=$(grep -aE -m 1 "double: |is not|apart|should be|other bits| by |!= " "$work/said" | sed -E 's/.*\]: //' || echo "$test fails")
    fi
  fi
  rm "$work/$file"
  case $seen in NO*) bad=$((bad + 1)) ;; esac
  echo "$file, $what: $seen"
done < <(sed 's/ *$//' < <(mistakes))
if [ $bad -gt 0 ]; then
  echo "$bad not seen"
  exit 1
fi
