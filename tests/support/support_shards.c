// support_shards: see the header.
#include "tests/support/support_shards.h"
#include "core/base/rng.h"
#include "tests/support/support_files.h"
#include <string.h>

static uint64_t draw(int64_t row, uint64_t k) { return hs_mix2((uint64_t)row, k); }

static void one_row(hs_pair_rows *r, int64_t i, int64_t row, int64_t vocab)
{
    int32_t *ids = r->ids + i * r->length, *position = r->positions + i * r->predictions, *label = r->labels + i * r->predictions;
    const int64_t parts = 1 + (int64_t)(draw(row, 1) % (uint64_t)r->parts), share = r->length / r->parts, most = r->predictions / r->parts;
    int64_t at = 0, k = 0;
    for (int64_t p = 0; p < parts; p++) {
        const int64_t n = 4 + (int64_t)(draw(row, 10 + (uint64_t)p) % (uint64_t)(share - 3));
        int64_t labels = 0;
        for (int64_t t = 0; t < n; t++) {
            ids[at + t] = (int32_t)(draw(row, 100 + (uint64_t)(at + t)) % (uint64_t)vocab);
            r->mask[i * r->length + at + t] = 1;
            r->segments[i * r->length + at + t] = t > n / 2;
            if (t > 0 && t % 3 == 0 && labels < most) {
                position[k] = (int32_t)(at + t), label[k++] = (int32_t)(draw(row, 500 + (uint64_t)t) % (uint64_t)vocab);
                labels++;
            }
        }
        r->part_tokens[i * r->parts + p] = (int32_t)n, r->part_labels[i * r->parts + p] = (int32_t)labels;
        r->next[i * r->parts + p] = draw(row, 20 + (uint64_t)p) & 1;
        at += n;
    }
    ids[0] = (int32_t)(5 + row % (vocab - 5));
}

void some_rows(hs_pair_rows *r, int64_t first, int64_t n, int64_t length, int64_t predictions, int64_t parts, int64_t vocab)
{
    OK(hs_pair_rows_alloc(r, n, length, predictions, parts));
    for (int64_t i = 0; i < n; i++)
        one_row(r, i, first + i, vocab);
}

void same_row(const hs_pair_rows *a, int64_t i, const hs_pair_rows *b, int64_t k)
{
    const size_t tokens = (size_t)hs_pair_row_tokens(a, i), labels = (size_t)hs_pair_row_labels(a, i),
                 parts = (size_t)hs_pair_row_parts(a, i);
    assert_int_equal(hs_pair_row_tokens(b, k), tokens);
    assert_int_equal(hs_pair_row_labels(b, k), labels);
    assert_int_equal(hs_pair_row_parts(b, k), parts);
    assert_memory_equal(a->ids + i * a->length, b->ids + k * b->length, 4 * tokens);
    assert_memory_equal(a->mask + i * a->length, b->mask + k * b->length, tokens);
    assert_memory_equal(a->segments + i * a->length, b->segments + k * b->length, tokens);
    if (labels) {
        assert_memory_equal(a->positions + i * a->predictions, b->positions + k * b->predictions, 4 * labels);
        assert_memory_equal(a->labels + i * a->predictions, b->labels + k * b->predictions, 4 * labels);
    }
    assert_memory_equal(a->part_tokens + i * a->parts, b->part_tokens + k * b->parts, 4 * parts);
    assert_memory_equal(a->part_labels + i * a->parts, b->part_labels + k * b->parts, 4 * parts);
    assert_memory_equal(a->next + i * a->parts, b->next + k * b->parts, parts);
}

void write_shard(const char *path, hs_h5_layout layout, int64_t first, int64_t n, int64_t length, int64_t predictions, int64_t vocab)
{
    hs_pair_rows r;
    hs_h5_out *w;
    OK(hs_h5_create(
        &w, path,
        &(hs_h5_out_opts){ .layout = layout, .rows = n, .length = length, .predictions = predictions, .vocab = vocab, .gzip = 4 }));
    for (int64_t at = 0; at < n; at += 1000) {
        some_rows(&r, first + at, n - at < 1000 ? n - at : 1000, length, predictions, layout == HS_H5_PACKED ? 3 : 1, vocab);
        OK(hs_h5_append(w, &r));
        hs_pair_rows_free(&r);
    }
    OK(hs_h5_commit(w));
}
