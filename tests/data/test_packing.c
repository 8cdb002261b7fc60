// packing: first-fit decreasing by definition; a stream of full rows in which each token is predicted at most once an epoch, from anywhere.
#include "tests/support/support_files.h"

#include "core/base/rng.h"
#include "data/batches/loader.h"
#include "data/batches/packing.h"
#include "data/batches/windows.h"
#include <stdlib.h>
#include <string.h>

// ---- the algorithm
static void ffd_slowly(const int32_t *length, int n, int32_t capacity, int64_t max_rows, int32_t *row)
{
    int32_t *room = malloc((size_t)n * sizeof *room);
    for (int i = 0; i < n; i++)
        room[i] = capacity, row[i] = -1;
    for (int32_t want = capacity; want >= 0; want--)
        for (int i = 0; i < n; i++)
            for (int r = 0; length[i] == want && row[i] < 0 && r < max_rows && r < n; r++)
                if (room[r] >= want) {
                    row[i] = r;
                    room[r] -= want;
                }
    free(room);
}

static void first_fit_decreasing(void **state)
{
    (void)state;
    enum { MOST = 90 };
    int32_t length[MOST], row[MOST], want[MOST];
    for (uint32_t c = 0; c < 300; c++) {
        const hs_u32x4 r = hs_random(1, c, 0, 0, 0);
        const int n = (int)(r.v[0] % (MOST + 1));
        const int32_t capacity = 1 + (int32_t)(r.v[1] % 40);
        const int64_t max_rows = 1 + (int64_t)(r.v[2] % 60);
        int64_t rows, most = 0;
        for (int i = 0; i < n; i++)
            length[i] = (int32_t)(hs_random(2, c, (uint32_t)i, 0, 0).v[0] % (uint32_t)(capacity + 1));
        OK(hs_pack_ffd(length, n, capacity, max_rows, row, &rows));
        ffd_slowly(length, n, capacity, max_rows, want);
        assert_memory_equal(row, want, (size_t)n * sizeof *row);
        for (int i = 0; i < n; i++)
            most = row[i] + 1 > most ? row[i] + 1 : most;
        assert_int_equal(rows, most);
    }
    int64_t rows;
    FAILS(USAGE, "piece 1 has 9 tokens, allowed 0 to a row's 8", hs_pack_ffd((int32_t[]){ 8, 9 }, 2, 8, 2, row, &rows));
}

// ---- the stream

// Token i of the text is i; documents of random lengths, some of them empty or of one token.
static hs_token_store *text(const char *name, int64_t n, uint32_t longest, uint64_t seed)
{
    int32_t *ids = malloc((size_t)n * sizeof *ids);
    int64_t *starts = malloc((size_t)(n + 2) * 2 * sizeof *starts), documents = 0, at = 0;
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int32_t)i;
    starts[0] = 0;
    for (uint32_t k = 0; at < n && documents < 2 * n; k++) {
        const hs_u32x4 r = hs_random(seed, k, 0, 0, 0);
        const int64_t length = r.v[0] % 5 ? r.v[1] % (longest + 1) : r.v[1] % 3; // many short ones
        at = at + length < n ? at + length : n;
        starts[++documents] = at;
    }
    starts[documents] = n;
    OK(hs_token_store_write(scratch_path(name), ids, n, starts, documents, n, 0));
    free(ids);
    free(starts);
    hs_token_store *s;
    OK(hs_token_store_open(&s, scratch_path(name)));
    return s;
}

// document_of[token]
static int32_t *documents(const hs_token_store *s)
{
    const hs_token_store_info info = hs_token_store_info_of(s);
    int32_t *of = malloc((size_t)info.n_tokens * sizeof *of);
    for (int64_t d = 0; d < info.n_documents; d++) {
        int64_t first, end;
        hs_token_store_document(s, d, &first, &end);
        for (int64_t i = first; i < end; i++)
            of[i] = (int32_t)d;
    }
    return of;
}

static void check_epoch(hs_packer *p, const hs_token_range *r, int64_t row, uint64_t epoch)
{
    const hs_packer_info info = hs_packer_info_of(p);
    int32_t *of = documents(r->store);
    char *seen = calloc((size_t)r->end, 1);
    for (int64_t i = 0; i < info.per_epoch; i++) {
        const hs_piece *piece;
        int64_t n, sum = 0;
        OK(hs_packer_row(p, epoch * (uint64_t)info.per_epoch + (uint64_t)i, &piece, &n));
        for (int64_t k = 0; k < n; sum += piece[k++].n) {
            assert_true(piece[k].n >= 1 && piece[k].first >= r->first && piece[k].first + piece[k].n + 1 <= r->end);
            assert_int_equal(of[piece[k].first], of[piece[k].first + piece[k].n]); // the last target is of the same document
            for (int64_t t = piece[k].first; t < piece[k].first + piece[k].n; t++)
                assert_int_equal(seen[t]++, 0);
        }
        assert_int_equal(sum, row); // no padding, ever
    }
    free(seen);
    free(of);
}

static void every_row_is_full(void **state)
{
    (void)state;
    static const int64_t size[][3] = { { 20, 9, 8 },        { 64, 30, 8 },      { 3000, 40, 16 }, { 3000, 2, 16 },
                                       { 30000, 5000, 16 }, { 30000, 100, 64 }, { 30000, 30, 1 }, { 70000, 900, 128 } };
    for (int i = 0; i < HS_COUNT(size); i++)
        for (uint64_t seed = 0; seed < 3; seed++) {
            hs_token_store *s = text("text.bin", size[i][0], (uint32_t)size[i][1], seed);
            const hs_token_range r = { s, seed ? size[i][0] / 10 : 0, seed ? size[i][0] - 3 : size[i][0] };
            const int64_t row = size[i][2];
            hs_packer *p;
            OK(hs_packer_new(&p, &r, row, seed));
            const hs_packer_info info = hs_packer_info_of(p);
            assert_true(info.per_epoch >= 1 && info.per_epoch % info.rows == 0);
            assert_true(info.inputs < row * 64 || info.per_epoch * row * 10 >= info.inputs * 7); // what an epoch leaves out
            for (uint64_t epoch = 0; epoch < 3; epoch++)
                check_epoch(p, &r, row, epoch);
            check_epoch(p, &r, row, 1000000007);
            hs_packer_free(p);
            hs_token_store_close(s);
        }
}

// Documents shorter than a row stay whole, but for the ends of chunks and a few that fill gaps.
static void documents_stay_whole(void **state)
{
    (void)state;
    hs_token_store *s = text("text.bin", 400000, 200, 3);
    hs_packer *p;
    OK(hs_packer_new(&p, &(hs_token_range){ s, 0, 400000 }, 256, 1));
    hs_packer_info info = hs_packer_info_of(p);
    assert_in_range(info.rows, 200, 256);
    int64_t pieces = 0, cuts = 0;
    for (int64_t i = 0; i < info.per_epoch; i += info.rows) {
        const hs_piece *piece;
        int64_t n;
        OK(hs_packer_row(p, (uint64_t)i, &piece, &n));
        info = hs_packer_info_of(p);
        pieces += info.pieces, cuts += info.cuts;
    }
    assert_true(cuts * 100 < pieces); // below 1 %
    hs_packer_free(p);
    hs_token_store_close(s);
}

static void bad_ranges(void **state)
{
    (void)state;
    enum { N = 3000 };
    int32_t ids[N] = { 0 };
    int64_t starts[N + 1];
    for (int64_t i = 0; i <= N; i++)
        starts[i] = i; // no document has two tokens
    hs_token_store *s;
    OK(hs_token_store_write(scratch_path("text.bin"), ids, N, starts, N, 1, 0));
    OK(hs_token_store_open(&s, scratch_path("text.bin")));
    hs_packer *p;
    FAILS(USAGE, "documents with 0 tokens to predict are less than a row of 16", hs_packer_new(&p, &(hs_token_range){ s, 0, 3000 }, 16, 0));
    FAILS(USAGE, "less than a row", hs_packer_new(&p, &(hs_token_range){ s, 5, 5 }, 16, 0));
    FAILS(USAGE, "rows of 0", hs_packer_new(&p, &(hs_token_range){ s, 0, 3000 }, 0, 0));
    assert_null(p);
    hs_packer_free(NULL);
    hs_token_store_close(s);
}

// ---- through the loader
enum { S = 32, BATCH = 12 };

static void copy_batch(hs_batch *dst, const hs_batch *src)
{
    OK(hs_windows_batch(dst, src->n[HS_COUNT_SEQS], src->n[HS_COUNT_TOKENS]));
    OK(hs_batch_copy(dst, src));
}

static void same_part(const hs_batch *whole, int64_t seq, int64_t token, const hs_batch *part)
{
    const size_t n = (size_t)part->n[HS_COUNT_TOKENS] * sizeof(int32_t);
    assert_memory_equal(hs_batch_i32(whole, HS_TEXT_IDS) + token, hs_batch_i32(part, HS_TEXT_IDS), n);
    assert_memory_equal(hs_batch_i32(whole, HS_TEXT_TARGETS) + token, hs_batch_i32(part, HS_TEXT_TARGETS), n);
    assert_memory_equal(hs_batch_i32(whole, HS_TEXT_WHERE) + 2 * token, hs_batch_i32(part, HS_TEXT_WHERE), 2 * n);
    for (int64_t q = 0; q <= part->n[HS_COUNT_SEQS]; q++)
        assert_int_equal(hs_batch_i32(whole, HS_TEXT_STARTS)[seq + q], hs_batch_i32(part, HS_TEXT_STARTS)[q] + token);
}

static hs_status open_stream(hs_loader **out, const hs_windows_opts *text, const hs_loader_opts *ring)
{
    hs_source *source;
    OK(hs_windows_new(&source, text));
    return hs_loader_new(out, source, ring);
}

// Two packed sources 3:1 (and one alone): the same stream for 1 or 4 ranks, 1x12 or 3x4 micro-batches, from any index.
static void ranks_and_micro_batches_see_one_stream(void **state)
{
    (void)state;
    hs_token_store *a = text("a.bin", 40000, 90, 1), *b = text("b.bin", 9000, 300, 2);
    const hs_text_part sources[] = { { { a, 100, 40000 }, 0.75 }, { { b, 0, 8000 }, 0.25 } };
    for (int n_sources = 1; n_sources <= 2; n_sources++) {
        const hs_windows_opts mix = { .parts = sources, .n_parts = n_sources, .packing = HS_PACKING_FFD, .window = S, .seed = 9 };
        hs_loader_opts o = { .batch = BATCH, .n_micro = 1, .size = 1, .depth = 4 };
        hs_loader *whole, *l[4];
        hs_batch batch[40];
        OK(open_stream(&whole, &mix, &o));
        for (int k = 0; k < 40; k++) {
            const hs_batch *got;
            OK(hs_loader_next(whole, &got));
            assert_int_equal(got->n[HS_COUNT_TOKENS], S * BATCH);
            assert_int_equal(got->labels[0], S * BATCH);
            const int32_t *starts = hs_batch_i32(got, HS_TEXT_STARTS), *where = hs_batch_i32(got, HS_TEXT_WHERE);
            for (int64_t q = 0; q < got->n[HS_COUNT_SEQS]; q++)
                for (int32_t t = starts[q]; t < starts[q + 1]; t++) { // one document, positions from 0, one slot of its own
                    assert_int_equal(where[2 * t + 1], t - starts[q]);
                    assert_int_equal(where[2 * t], starts[q]);
                    assert_int_equal(hs_batch_i32(got, HS_TEXT_TARGETS)[t], hs_batch_i32(got, HS_TEXT_IDS)[t] + 1);
                }
            copy_batch(&batch[k], got);
            hs_loader_release(whole);
        }
        hs_loader_free(whole);
        o.size = 4;
        for (o.rank = 0; o.rank < 4; o.rank++) {
            o.first_sample = 7 * BATCH;
            OK(open_stream(&l[o.rank], &mix, &o));
        }
        for (int k = 7; k < 40; k++) {
            int64_t seq = 0, token = 0;
            for (int rank = 0; rank < 4; rank++) {
                const hs_batch *got;
                OK(hs_loader_next(l[rank], &got));
                same_part(&batch[k], seq, token, got);
                seq += got->n[HS_COUNT_SEQS], token += got->n[HS_COUNT_TOKENS];
                hs_loader_release(l[rank]);
            }
            assert_true(token == S * BATCH && seq == batch[k].n[HS_COUNT_SEQS]);
        }
        for (int rank = 0; rank < 4; rank++)
            hs_loader_free(l[rank]);
        o.rank = 0, o.size = 1, o.batch = 4, o.n_micro = 3, o.first_sample = 30 * BATCH;
        OK(open_stream(&whole, &mix, &o));
        for (int k = 30; k < 40; k++) {
            int64_t seq = 0, token = 0;
            for (int m = 0; m < 3; m++) {
                const hs_batch *got;
                OK(hs_loader_next(whole, &got));
                same_part(&batch[k], seq, token, got);
                seq += got->n[HS_COUNT_SEQS], token += got->n[HS_COUNT_TOKENS];
                hs_loader_release(whole);
            }
        }
        hs_loader_free(whole);
        for (int k = 0; k < 40; k++)
            hs_batch_free(&batch[k]);
    }
    hs_token_store_close(a);
    hs_token_store_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_fit_decreasing),
        cmocka_unit_test(every_row_is_full),
        cmocka_unit_test(documents_stay_whole),
        cmocka_unit_test(bad_ranges),
        cmocka_unit_test(ranks_and_micro_batches_see_one_stream),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
