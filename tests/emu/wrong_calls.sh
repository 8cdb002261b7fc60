#!/usr/bin/env bash
# Puts one mistake at a time into what a library is told of a product or of attention, and looks whether the test against that library's
# double sees it. By hand: seconds per mistake.
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
test_gemm_lt|core/cuda/cublaslt.c|sums are of A|s/CUBLASLT_EPILOGUE_BGRADB/CUBLASLT_EPILOGUE_BGRADA/
test_gemm_lt|core/cuda/cublaslt.c|nobody says where sums go|s/CUBLASLT_MATMUL_DESC_BIAS_POINTER, &o->sums, sizeof o->sums/CUBLASLT_MATMUL_DESC_BIAS_POINTER, \&o->bias, sizeof o->bias/
test_gemm_lt|core/cuda/cublaslt.c|what GELU is made of lies as far apart as what comes out of another|s/EPILOGUE_AUX_LD, &k->ld_aux/EPILOGUE_AUX_LD, \&k->lda/
test_gemm_lt|core/cuda/cublaslt.c|nobody says where what GELU is made of goes|s/    if (p->key.ld_aux)/    if (0)/
test_gemm_lt|core/cuda/cublaslt.c|GELU in the place of its gradient|s/{ 0, CUBLASLT_EPILOGUE_DGELU }/{ 0, CUBLASLT_EPILOGUE_GELU_AUX }/
test_gemm_lt|core/cuda/cublaslt.c|GELU without its bias|s/{ CUBLASLT_EPILOGUE_GELU_BIAS, CUBLASLT_EPILOGUE_GELU_AUX_BIAS }/{ CUBLASLT_EPILOGUE_GELU, CUBLASLT_EPILOGUE_GELU_AUX }/
test_gemm_lt|core/cuda/cublaslt.c|bias and what GELU is made of change places|s/p->bias != HS_F64\]\[p->ld_aux != 0/p->ld_aux != 0][p->bias != HS_F64/
test_gemm_lt|core/cuda/cublaslt.c|plans with and without something behind them are one|s/key->behind = p->behind, //
test_gemm_lt|core/cuda/cublaslt.c|sums are of whatever type|s/p->d != HS_F32 || p->bias != HS_F64 || p->ld_aux/p->bias != HS_F64 || p->ld_aux/
test_gemm_lt|core/cuda/cublaslt_behind.c|the slower way is taken|s/together <= apart, /together >= apart, /
test_gemm_lt|core/cuda/cublaslt_behind.c|what was found is not kept|s/hs_kept_write(&f, &v->n);/(void)f;/
test_gemm_lt|core/cuda/cublaslt_behind.c|one that adds is tried|s/if (!key.add)/if (1)/
test_gemm_lt|core/cuda/cublaslt_behind.c|what was timed for another GPU is taken|s/%zu %.128s\\n", version, gpu/%zu %.1s\\n", version, gpu/
test_gemm_lt|core/cuda/gemm_lt.cu|dead rows enter the sums|s/    if (g.live == GEMM_LIVE_K) {/    if (0) {/
test_gemm_lt|core/cuda/gemm_lt.cu|rows that are few go there|s/g->m <= GEMM_FEW_ROWS || //
test_gelu_lt|ops/dense/linear_gelu.cu|what GELU is made of is not kept|s/b.aux = a->alone ? nullptr : pre.p/b.aux = nullptr/
test_gelu_lt|ops/dense/linear_gelu.cu|what nobody reads is written|s/b.aux = a->alone ? nullptr : pre.p/b.aux = pre.p/
test_gelu_lt|ops/dense/linear_gelu.cu|rows of what GELU is made of lie as far apart as those of x|s/b.ld_aux = pre.cols/b.ld_aux = a->in[X].cols/
test_gelu_lt|ops/dense/linear_gelu.cu|what is kept lies where it is not aligned|s/b.aux = pre.p, /b.aux = pre.p + 8, /
test_gelu_lt|ops/dense/linear_gelu.cu|what is kept has the bytes of what comes out|s/b.aux = a->alone ? nullptr : pre.p/b.aux = y.p/
test_gelu_lt|ops/dense/linear_gelu.cu|the gradient is of what comes out|s/b.aux = pre.p, /b.aux = dpre.p, /
test_gelu_lt|ops/dense/linear_gelu.cu|the bias of bias_gelu is forgotten|s/cells<float>(added.p ? added : a->in\[BIAS\])/cells<float>(a->in[BIAS])/
test_gelu_lt|ops/dense/linear_gelu.cu|what is kept has another bias than it should|s/ && !(added.p .*));/;/
test_gelu_lt|ops/dense/linear_gelu.cu|what is kept has another type than it should|s/(a->alone .. pre.dtype == y.dtype)/true/
test_gelu_lt|ops/dense/linear_gelu.cu|the weight is read as in forward|s/gemm_of(w, true)/gemm_of(w, false)/
test_gelu_lt|ops/dense/linear_gelu.cu|GELU by erf goes to the library|s/kind == HS_GELU_TANH/kind >= 0/
test_gelu_lt|core/cuda/cublaslt.c|GELU keeps nothing|s/CUBLASLT_EPILOGUE_GELU_AUX_BIAS/CUBLASLT_EPILOGUE_GELU_BIAS/
sdpa_masks|core/cuda/cudnn_graph.c|masks keep what should be dropped|s/draw(b, 1 - (double)b->p->dropout,/draw(b, (double)b->p->dropout,/
sdpa_masks|core/cuda/cudnn_graph.c|backward draws no mask|s/if (b->p->dropout <= 0)/if (b->p->dropout <= 0 || b->p->pass == HS_SDPA_BACKWARD)/
sdpa_masks|core/cuda/cudnn_graph.c|gradients of weights are not masked|s/dp = pointwise(b, MUL, dp, inner_cells(b), .other = mask)/(void)mask/
sdpa_masks|core/cuda/cudnn_graph.c|gradients of scores are not divided by what is kept|s/ds = pointwise(b, MUL, ds, inner_cells(b), .other = value(b, HS_SDPA_UNKEPT))/(void)mask/
sdpa_masks|core/cuda/cudnn_graph.c|the seed is described as 32 bits|s/bound(b, which, CUDNN_DATA_INT64, list(1)/bound(b, which, CUDNN_DATA_INT32, list(1)/
sdpa_masks|core/cuda/cudnn_sdpa.c|dy y is not multiplied by what is kept|s/\[HS_SDPA_KEPT\] = (float)kept/[HS_SDPA_KEPT] = 1/
sdpa_masks|core/cuda/cudnn_sdpa.c|what is kept is not divided by its share|s/(float)(1 \/ kept)/1/
sdpa_masks|core/cuda/cudnn_sdpa.c|the stream is not set|s/cudnnSetStream(dnn->handle, lane->stream)/cudnnSetStream(dnn->handle, NULL)/
sdpa_masks|core/cuda/cudnn_sdpa.c|the pack is given back before the run|s/st = c->cudnnBackendExecute(/c->cudnnBackendDestroyDescriptor(pack), st = c->cudnnBackendExecute(/
sdpa_masks|core/cuda/cudnn_sdpa.c|an operation is given back when the plan is made|s/^    plan->compiled = true;/    c->cudnnBackendDestroyDescriptor(g->op[0]), plan->compiled = true;/
sdpa_masks|core/cuda/cudnn_sdpa.c|kernel and sums have the same workspace|s/workspace + hs_sdpa_room_of(p).kernel/workspace/
sdpa_masks|ops/attention/attention_cudnn.cu|every step has the same masks|s/hs_drop_key(step->seed, m.site, step->step)/hs_drop_key(step->seed, m.site, 0)/
sdpa_masks|ops/attention/attention_cudnn.cu|every layer has the same masks|s/hs_drop_key(step->seed, m.site, step->step)/hs_drop_key(step->seed, 0, step->step)/
sdpa_masks|ops/attention/attention_cudnn.cu|every micro-batch has the same masks|s/(uint64_t)m.where\[0\] : 0/0 : 0/
sdpa_masks|ops/attention/attention_cudnn.cu|heads of other ranks have the same masks|s/(uint64_t)m.first_head)/0)/
sdpa_masks|ops/attention/attention_cudnn.cu|seed and offset are one number|s/r.offset = reinterpret_cast<int64_t \*>(at + align)/r.offset = r.seed/
sdpa_masks|ops/attention/attention_cudnn.cu|the offset is not aligned as promised|s/(at + align);/(at + 8);/
sdpa_masks|ops/attention/attention_cudnn.cu|no room for seed and offset|s/at += 2 \* align;//
sdpa_masks|ops/attention/attention_cudnn.cu|values are dropped though gradients cannot be|s/why = hs_sdpa_ready(lane, &back.p, back.why) ? nullptr : .*;/(void)back;/
sdpa_masks|ops/attention/attention_cudnn.cu|a gradient by another mask is made|s/const bool is_late = .*/const bool is_late = false;/
sdpa_masks|ops/attention/attention_cudnn.cu|rows of y begin where rows of q do|s/r.at_out\[b\] = (int32_t)(s.first \* p.row_out)/r.at_out[b] = (int32_t)(s.first * p.row_in)/
sdpa_masks|ops/attention/attention_cudnn.cu|pads are keys|s/r.len_kv\[b\] = (int32_t)s.keys/r.len_kv[b] = (int32_t)s.n/
sdpa_sums|core/cuda/cudnn_graph.c|sums whose bits should repeat are added up by atomics|s/    if (p->repeats) {/    if (0) {/
sdpa_sums|core/cuda/cudnn_graph.c|k is not turned around|s/rows_in_as(b, which, turned(rows_of(b->p, b->p->row_in)))/rows_in_as(b, which, rows_of(b->p, b->p->row_in))/
sdpa_sums|core/cuda/cudnn_sdpa.c|a library that plans for no description is taken|s/OLDEST = 90800/OLDEST = 90600/
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
test_gemm_lt|core/cuda/cublaslt.c|nobody says how B lies|/MIN_ALIGNMENT_B_BYTES/d
test_gemm_lt|core/cuda/cublaslt.c|an error of memory is left behind|s/    cudaGetLastError(); \/\/ or the lane.*//
test_gemm_lt|core/cuda/cublaslt.c|memory is asked for again and again|s/ .. lane->no_workspace)/)/
test_lt_kept|core/cuda/cublaslt.c|what adds is tried on what it adds to|s/to.d = room ? room : o->d;/to.d = o->d;/
test_lt_kept|core/cuda/cublaslt.c|what another was first with is not taken|s/    take_known(lt, p, hs_lt_kept_of(lt->kept, written));//
test_lt_kept|core/cuda/cublaslt_kept.c|any workspace of a file is believed|s/line.workspace > k->most_workspace .. keep/keep/
test_lt_kept|core/cuda/cublaslt_kept.c|a file is read once|s/    if (!find(k, key))/    if (0)/
test_sp|core/cuda/cusparselt.c|rows of x are not turned|s/SP_KEEP, SP_TURN, &p->a/SP_KEEP, SP_KEEP, \&p->a/
test_sp|core/cuda/cusparselt.c|the product is described by rows|s/s->type, SP_COLS/s->type, SP_ROWS/
test_sp|core/cuda/cusparselt.c|rows of the weight lie as far apart as it has outputs|s/m, outs, ins, ins, SP_ALIGNED/m, outs, ins, outs, SP_ALIGNED/
test_sp|core/cuda/cusparselt.c|sums are in halves|s/&p->d, SP_SUMS_F32/\&p->d, 1/
test_sp|core/cuda/cusparselt.c|no bias|s/if (st == SP_OK && s->bias)/if (0)/
test_sp|core/cuda/cusparselt.c|nobody asks whether values are 2:4|s/^    if (wrong)/    if (0)/
test_sp|core/cuda/cusparselt.c|the version is not asked for|s/version\[0\] != SP_MAJOR || version\[1\] != SP_MINOR/0/
test_sp|core/cuda/cusparselt.c|a matrix ends before its plan|s/MAKE(6, sp->MatmulPlanInit(.*/MAKE(6, sp->MatmulPlanInit(\&sp->handle, \&p->plan, \&p->matmul, \&p->choice)); sp->MatDescriptorDestroy(\&p->b);/
test_sp|core/cuda/cusparselt.c|all values are pressed anew as others|s/weight_matrix(sp, &m, w->rows, w->cols/weight_matrix(sp, \&m, w->cols, w->rows/
test_sp|ops/dense/linear.cu|the whole weight is given as a pressed one|s/p.pressed = a->derived/p.pressed = w.p/
test_sp|ops/dense/linear.cu|outputs and inputs change places|s/p.outs = w.rows, p.ins = w.cols/p.ins = w.rows, p.outs = w.cols/
test_sp|ops/dense/linear.cu|weights that nobody pruned are pressed|s/ && w->param->keeps_zeros//
test_sp|ops/dense/linear.cu|the bias is not narrowed|s/(bias.p && gemm_bias_for(.*) != p.bias)/false/
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

# Of a test that is run in several ways, until one fails.
run() {
  LD_LIBRARY_PATH=$build/tests/emu/double timeout 300 "$work/$1" || return 1
  case $1 in test_sp | sdpa_sums) LD_LIBRARY_PATH=$build/tests/emu/double_old timeout 300 "$work/$1" old ;; esac
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
    if ! run "$test" >"$work/said" 2>&1; then
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
