// Feeding: every input of a plan gets its column or its default, and what does not fit is refused by name.
#include "core/run/feed.h"
#include "data/batches/loader.h"
#include "ops/ops.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
// cmocka needs the three above
#include <cmocka.h>

enum { N = 40, SEQS = 6, UNIT = 12, C = 8 };
#define OK(e)                                                                                                                              \
    do {                                                                                                                                   \
        if ((e) != HS_OK)                                                                                                                  \
            fail_msg("%s", hs_error());                                                                                                    \
    } while (0)

typedef struct rig {
    hs_device *dev;
    hs_params *ps;
    hs_plan *plan;
    hs_exec *exec;
    void *workspace, *inputs;
    size_t input_bytes;
    hs_step_in in;
    hs_step_state state;
} rig;

static void rig_open(rig *r, hs_mode mode)
{
    hs_graph *g;
    *r = (rig){ 0 };
    OK(hs_open_device(&r->dev, "cpu", 1, NULL, 0, false));
    OK(hs_params_new(&r->ps, 5, 0, 1));
    OK(hs_graph_new(&g, r->ps, NULL, mode, NULL));
    hs_tensor *x = hs_input(g, "x", HS_F32, HS_EXT_TOKENS, 2, (int64_t[]){ N, C });
    hs_input(g, "starts", HS_I32, HS_EXT_STARTS, 1, (int64_t[]){ SEQS + 1 });
    hs_input_default(g, hs_input(g, "token_types", HS_I32, HS_EXT_TOKENS, 1, (int64_t[]){ N }), 0);
    hs_input_default(g, hs_input(g, "weight", HS_F32, HS_EXT(HS_COUNT_SEQS, UNIT, 0), 2, (int64_t[]){ SEQS * UNIT, 3 }), 0.5);
    hs_input_default(g, hs_input(g, "always", HS_I32, HS_EXT_FIXED, 1, (int64_t[]){ 4 }), -1);
    hs_output(g, hs_softmax(g, x));
    OK(hs_plan_new(&r->plan, g, r->dev, &(hs_plan_opts){ .policy = { .low = HS_F32 } }));
    hs_graph_free(g);
    OK(hs_params_alloc(r->ps, NULL, false));
    OK(r->dev->alloc(r->dev, hs_plan_bytes(r->plan), &r->workspace));
    r->input_bytes = HS_INPUT_SLOTS * hs_plan_info_of(r->plan)->input_bytes;
    OK(r->dev->alloc(r->dev, r->input_bytes, &r->inputs));
    memset(r->inputs, 0x77, r->input_bytes);
    OK(hs_exec_new(&r->exec, r->plan,
                   &(hs_exec_memory){ .workspace = r->workspace, .inputs = r->inputs, .in = &r->in, .state = &r->state }));
}

static void rig_close(rig *r)
{
    hs_exec_free(r->exec);
    r->dev->release(r->dev, r->workspace, hs_plan_bytes(r->plan));
    r->dev->release(r->dev, r->inputs, r->input_bytes);
    hs_plan_free(r->plan);
    hs_params_free(r->ps);
    hs_device_close(r->dev);
}

enum { X, STARTS, TYPES, WEIGHT, ALWAYS, COLUMNS };
static const hs_column all[COLUMNS] = {
    [X] = { .name = "x", .dtype = HS_F32, .ext = HS_EXT_TOKENS, .row = { C } },
    [STARTS] = { .name = "starts", .dtype = HS_I32, .ext = HS_EXT_STARTS, .tail = HS_TAIL_LAST },
    [TYPES] = { .name = "token_types", .dtype = HS_I32, .ext = HS_EXT_TOKENS },
    [WEIGHT] = { .name = "weight", .dtype = HS_F32, .ext = HS_EXT(HS_COUNT_SEQS, UNIT, 0), .row = { 3 } },
    [ALWAYS] = { .name = "always", .dtype = HS_I32, .ext = HS_EXT_FIXED, .rows = 4 },
};

// A batch with room for 50 tokens and 7 sequences, of which 30 and 4 are live; cell i of a column holds i.
static void batch(hs_batch *b, const hs_column *column, int n_columns)
{
    OK(hs_batch_new(b, column, n_columns, (int64_t[HS_N_COUNTERS]){ [HS_COUNT_TOKENS] = 50, [HS_COUNT_SEQS] = 7 }));
    b->n[HS_COUNT_TOKENS] = 30, b->n[HS_COUNT_SEQS] = 4;
    for (int c = 0; c < n_columns; c++) {
        hs_column *to = &b->column[c];
        for (int64_t i = 0; i < hs_column_live(to, b) * hs_column_cols(to); i++)
            hs_convert((char *)to->p + (size_t)i * hs_dtype_bytes(to->dtype), to->dtype, &(double){ (double)i }, HS_F64, 1);
    }
    hs_batch_pad(b);
}

// What stands behind the live rows, whatever was there before: padding writes only what is not the tail already.
static void tails_hold(void **state)
{
    (void)state;
    enum { TOKENS = 50, SEQUENCES = 7 };
    const hs_column column[] = {
        { .name = "zero", .dtype = HS_I32, .ext = HS_EXT_TOKENS },
        { .name = "ignore", .dtype = HS_I32, .ext = HS_EXT_TOKENS, .tail = HS_TAIL_IGNORE },
        { .name = "last", .dtype = HS_I32, .ext = HS_EXT_STARTS, .tail = HS_TAIL_LAST },
        { .name = "wide", .dtype = HS_I32, .ext = HS_EXT_TOKENS, .row = { 2 }, .tail = HS_TAIL_LAST },
    };
    hs_batch b, copy;
    const int64_t most[HS_N_COUNTERS] = { [HS_COUNT_TOKENS] = TOKENS, [HS_COUNT_SEQS] = SEQUENCES };
    OK(hs_batch_new(&b, column, HS_COUNT(column), most));
    OK(hs_batch_new(&copy, column, HS_COUNT(column), most));
    uint32_t r = 1;
    for (int round = 0; round < 4000; round++) {
        hs_batch *to = round % 5 == 4 ? &copy : &b;
        if (to == &b) {
            hs_batch_clear(&b, 0);
            r = r * 1664525 + 1013904223;
            b.n[HS_COUNT_TOKENS] = r >> 8 & 1 ? TOKENS : (r >> 9) % TOKENS + 1;
            b.n[HS_COUNT_SEQS] = (r >> 16) % (SEQUENCES + 1);
            for (int c = 0; c < HS_COUNT(column); c++)
                for (int64_t i = 0; i < hs_column_live(&b.column[c], &b) * hs_column_cols(&b.column[c]); i++)
                    hs_batch_i32(&b, c)[i] = (int32_t)(100 + (r >> 24) % 3 + i % 2);
            if (r >> 20 & 1)
                continue; // filled again before anybody padded
        } else {
            OK(hs_batch_copy(&copy, &b));
        }
        hs_batch_pad(to);
        for (int c = 0; c < HS_COUNT(column); c++) {
            const int64_t cols = hs_column_cols(&to->column[c]), live = hs_column_live(&to->column[c], to);
            const int32_t *p = hs_batch_i32(to, c);
            for (int64_t i = live * cols; i < to->column[c].rows * cols; i++)
                assert_int_equal(p[i], c == 0 ? 0 : c == 1 ? -1 : p[(live - 1) * cols + i % cols]);
        }
    }
    hs_batch_free(&b);
    hs_batch_free(&copy);
}

static double cell(rig *r, const char *name, int64_t i)
{
    const hs_tensor *t = hs_exec_input_tensor(r->exec, name);
    double v;
    hs_convert(&v, HS_F64, (char *)hs_exec_input(r->exec, name) + (size_t)i * hs_dtype_bytes(t->dtype), t->dtype, 1);
    return v;
}

static void columns_by_name(void **state)
{
    (void)state;
    rig r;
    hs_batch b;
    hs_column turned[COLUMNS + 1];
    for (int i = 0; i < COLUMNS; i++)
        turned[COLUMNS - i] = all[i];
    turned[0] = (hs_column){ .name = "more", .dtype = HS_I64, .ext = HS_EXT_PICKS }; // nobody asks for it
    rig_open(&r, HS_EVAL);
    batch(&b, turned, COLUMNS + 1);
    OK(hs_exec_feed(r.exec, &b, NULL, &r.in));
    assert_int_equal(r.in.n[HS_COUNT_TOKENS], 30);
    assert_int_equal(r.in.n[HS_COUNT_SEQS], 4);
    static const int64_t live[] = { [X] = 30 * C, [STARTS] = 5, [TYPES] = 30, [WEIGHT] = 4 * UNIT * 3, [ALWAYS] = 4 };
    for (int c = 0; c < COLUMNS; c++)
        for (int64_t i = 0; i < live[c]; i++)
            assert_true(cell(&r, all[c].name, i) == (double)i);
    assert_true(cell(&r, "starts", 5) == 0x77777777); // what is not live is left alone
    hs_batch_free(&b);
    rig_close(&r);
}

static void hold_defaults(rig *r)
{
    for (int64_t i = 0; i < N; i++)
        assert_true(cell(r, "token_types", i) == 0);
    for (int64_t i = 0; i < (int64_t)SEQS * UNIT * 3; i++)
        assert_true(cell(r, "weight", i) == 0.5);
    for (int64_t i = 0; i < 4; i++)
        assert_true(cell(r, "always", i) == -1);
}

static void defaults(void **state)
{
    (void)state;
    rig r;
    hs_batch b;
    rig_open(&r, HS_TRAIN);
    batch(&b, all, TYPES);
    OK(hs_exec_feed(r.exec, &b, NULL, &r.in));
    hold_defaults(&r);
    hs_batch_free(&b);
    rig_close(&r);
}

// Copies that a feed asked for; they are made as ever.
static int n_copies;
static void (*real_copy)(hs_device *d, hs_lane *lane, void *dst, const void *src, size_t bytes);
static void count_copy(hs_device *d, hs_lane *lane, void *dst, const void *src, size_t bytes)
{
    n_copies++;
    real_copy(d, lane, dst, src, bytes);
}

static int feed_copies(rig *r, const hs_batch *b)
{
    n_copies = 0;
    OK(hs_exec_feed(r->exec, b, NULL, &r->in));
    return n_copies;
}

// A default is there since the first batch of a slot, until a column or the caller writes there.
static void defaults_once(void **state)
{
    (void)state;
    rig r;
    hs_batch some, whole;
    rig_open(&r, HS_TRAIN);
    batch(&some, all, TYPES);
    batch(&whole, all, COLUMNS);
    real_copy = r.dev->copy_async, r.dev->copy_async = count_copy;
    for (int slot = 0; slot < HS_INPUT_SLOTS; slot++, hs_exec_turn(r.exec)) {
        assert_true(feed_copies(&r, &some) > TYPES);
        assert_int_equal(feed_copies(&r, &some), TYPES);
        assert_int_equal(feed_copies(&r, &whole), COLUMNS);
        assert_true(feed_copies(&r, &some) > TYPES);
        assert_int_equal(feed_copies(&r, &some), TYPES);
        *(int32_t *)hs_exec_input(r.exec, "always") = 5;
        assert_true(feed_copies(&r, &some) > TYPES);
        hold_defaults(&r);
    }
    r.dev->copy_async = real_copy;
    hs_batch_free(&some);
    hs_batch_free(&whole);
    rig_close(&r);
}

static void refused_as(hs_mode mode, const hs_column *column, int n_columns, int64_t seqs, const char *why)
{
    rig r;
    hs_batch b;
    rig_open(&r, mode);
    batch(&b, column, n_columns);
    b.n[HS_COUNT_SEQS] = seqs;
    assert_int_equal(hs_exec_feed(r.exec, &b, NULL, &r.in), HS_USAGE);
    assert_string_equal(hs_error(), why);
    hs_batch_free(&b);
    rig_close(&r);
}

static void refused_by_name(void **state)
{
    (void)state;
    refused_as(HS_TRAIN, all, 1, 4, "input 'starts' of the training plan has no column; the batch has x");
    refused_as(HS_EVAL, all + 1, 2, 4, "input 'x' of the evaluation plan has no column; the batch has starts, token_types");
    refused_as(HS_TRAIN, all, 0, 4, "input 'x' of the training plan has no column; the batch has nothing");
    refused_as(HS_EVAL, all, COLUMNS, 7, "input 'starts' of the evaluation plan has room for 7 rows, the batch has 8");
    hs_column c[COLUMNS];
    memcpy(c, all, sizeof c);
    c[TYPES].dtype = HS_U8;
    refused_as(HS_TRAIN, c, COLUMNS, 4, "input 'token_types' of the training plan is i32, the batch's column is u8");
    memcpy(c, all, sizeof c);
    c[X].row[0] = 4, c[X].row[1] = 2;
    refused_as(HS_TRAIN, c, COLUMNS, 4, "input 'x' of the training plan is [40,8], the batch's column is [50,4,2]");
    memcpy(c, all, sizeof c);
    c[ALWAYS].rows = 3;
    refused_as(HS_TRAIN, c, COLUMNS, 4, "input 'always' of the training plan is [4], the batch's column is [3]");
    memcpy(c, all, sizeof c);
    c[WEIGHT].ext = HS_EXT(HS_COUNT_TOKENS, UNIT, 0);
    refused_as(HS_TRAIN, c, COLUMNS, 4,
               "input 'weight' of the training plan has rows by sequences, 12 each and 0 more, the batch's column by tokens, 12 and 0");
}

// ---- a source of labelled images: what a new one must supply, and what then works by itself

enum { PIXELS, LABELS };
static const hs_column image_columns[] = {
    [PIXELS] = { .name = "pixels", .dtype = HS_U8, .ext = HS_EXT(HS_COUNT_SEQS, UNIT, 0), .row = { 3 } },
    [LABELS] = { .name = "labels", .dtype = HS_I32, .ext = HS_EXT_SEQS, .tail = HS_TAIL_IGNORE },
};
static int n_freed;

static hs_status fill_image(hs_source *s, hs_batch *b, uint64_t sample)
{
    (void)s;
    const int64_t k = b->n[HS_COUNT_SEQS]++;
    memset((char *)b->column[PIXELS].p + k * UNIT * 3, (int)(sample % 251), UNIT * 3);
    hs_batch_i32(b, LABELS)[k] = (int32_t)sample;
    b->labels[0] += sample % 3 != 0;
    return HS_OK;
}
static void free_image(hs_source *s)
{
    n_freed++;
    free(s);
}
static hs_source *image_source(bool interleaved)
{
    hs_source *s = calloc(1, sizeof *s);
    *s = (hs_source){ .unit = "images",
                      .column = image_columns,
                      .n_columns = HS_COUNT(image_columns),
                      .most = { [HS_COUNT_SEQS] = 1 },
                      .n_samples = 1000,
                      .interleaved = interleaved,
                      .fill = fill_image,
                      .free = free_image };
    return s;
}

static void any_source_has_ranks_and_a_ring(void **state)
{
    (void)state;
    n_freed = 0;
    for (int interleaved = 0; interleaved <= 1; interleaved++)
        for (int rank = 0; rank < 2; rank++) {
            hs_loader *l;
            OK(hs_loader_new(&l, image_source(interleaved),
                             &(hs_loader_opts){ .batch = 6, .n_micro = 2, .rank = rank, .size = 2, .first_sample = 100, .depth = 4 }));
            for (uint64_t first = 100; first < 400; first += 6) {
                const hs_batch *b;
                int64_t labels = 0;
                OK(hs_loader_next(l, &b));
                assert_int_equal(b->first_sample, first);
                assert_int_equal(b->n[HS_COUNT_SEQS], 3);
                for (int k = 0; k < 3; k++) {
                    const int sample = (int)first + (interleaved ? rank + 2 * k : 3 * rank + k);
                    assert_int_equal(hs_batch_i32(b, LABELS)[k], sample);
                    assert_int_equal(((uint8_t *)b->column[PIXELS].p)[(k + 1) * UNIT * 3 - 1], sample % 251);
                    labels += sample % 3 != 0;
                }
                assert_int_equal(b->labels[0], labels);
                hs_loader_release(l);
            }
            hs_loader_free(l);
        }
    assert_int_equal(n_freed, 4);
    hs_source *s = image_source(false);
    hs_batch b;
    OK(hs_source_batch(s, 5, &b));
    OK(hs_source_fill(s, &b, 7, 2));
    assert_int_equal(b.n[HS_COUNT_SEQS], 2);
    assert_int_equal(hs_batch_i32(&b, LABELS)[1], 8);
    assert_int_equal(hs_batch_i32(&b, LABELS)[2], -1); // the tail: no label
    assert_int_equal(((uint8_t *)b.column[PIXELS].p)[2 * UNIT * 3], 0);
    hs_batch_free(&b);
    hs_loader *l;
    assert_int_equal(hs_loader_new(&l, s, &(hs_loader_opts){ .batch = 5, .n_micro = 1, .size = 2, .depth = 4 }), HS_USAGE);
    assert_non_null(strstr(hs_error(), "batch of 5 images does not divide over rank 0 of 2"));
    assert_null(l);
    assert_int_equal(n_freed, 5); // taken over, also where it fails
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_by_name), cmocka_unit_test(tails_hold),      cmocka_unit_test(defaults),
        cmocka_unit_test(defaults_once),   cmocka_unit_test(refused_by_name), cmocka_unit_test(any_source_has_ranks_and_a_ring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
