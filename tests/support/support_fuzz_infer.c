// support_fuzz_infer: an inference request of any bytes.
// libFuzzer's target: cmake -DCMAKE_C_COMPILER=clang -DHS_FUZZ=ON, then tests/fuzz_infer CORPUS tests/golden/fuzz/infer
// A u16, Inference-Header-Content-Length, 65535: there is none; then the body.
#include "core/base/status.h"
#include "infer/server/infer_request.h"
#include "tests/support/support_fuzz.h"

int hs_fuzz_infer(const uint8_t *data, size_t bytes);

// What a tensor says of itself is so, and all of it can be read, within the body.
static void look_at(const hs_infer_tensor *t, const char *body, size_t bytes)
{
    int64_t n = 1;
    must(t->name && t->name[0] && t->n_dims >= 1 && t->n_dims <= HS_INFER_DIMS && t->type < HS_OIP_TYPES);
    for (int i = 0; i < t->n_dims; i++) {
        must(t->dim[i] >= 1);
        n *= t->dim[i];
    }
    must(n == t->n && t->data >= body && t->data + t->bytes <= body + bytes && (size_t)n <= bytes);
    if (t->type == HS_OIP_BYTES) {
        hs_infer_text *text;
        size_t all = 0;
        if (hs_infer_texts(t, &text) == HS_OK) {
            for (int64_t i = 0; i < n; i++)
                for (size_t k = 0; k < text[i].n; k++)
                    all += text[i].p[k] != 0;
            must(all <= t->bytes);
        } else
            must(!t->raw);
        free(text);
        return;
    }
    int32_t *v = malloc((size_t)n * sizeof *v);
    must(v != NULL);
    if (hs_infer_whole(t, -5, 100000, v) == HS_OK)
        for (int64_t i = 0; i < n; i++)
            must(v[i] >= -5 && v[i] <= 100000);
    else
        must(hs_error()[0] != 0);
    free(v);
}

int hs_fuzz_infer(const uint8_t *data, size_t bytes)
{
    hs_infer_request r;
    if (bytes < 2)
        return 0;
    const int head = data[0] | data[1] << 8;
    const size_t n = bytes - 2;
    char *body = malloc(n + 1); // of its own: what is read beyond it is seen
    must(body != NULL);
    memcpy(body, data + 2, n);
    body = realloc(body, n ? n : 1);
    if (hs_infer_read(&r, body, n, head == 65535 ? -1 : head) == HS_OK) {
        must(r.n_in >= 1 && r.n_in <= HS_INFER_TENSORS && r.n_out <= HS_INFER_TENSORS && r.priority >= 0 && r.timeout >= 0);
        for (int i = 0; i < r.n_in; i++)
            look_at(&r.in[i], body, n);
        for (int i = 0; i < r.n_out; i++)
            must(r.out[i].name && r.out[i].classes >= 0 && r.out[i].binary >= -1 && r.out[i].binary <= 1);
    } else
        must(hs_error()[0] != 0 && !r.head);
    hs_infer_free(&r);
    free(body);
    return 0;
}

HS_FUZZ_TARGET(infer)
