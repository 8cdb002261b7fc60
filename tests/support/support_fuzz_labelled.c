// support_fuzz_labelled: the readers of labelled examples and the rows that are made of them, on any bytes.
// libFuzzer's target: cmake -DCMAKE_C_COMPILER=clang -DHS_FUZZ=ON, then tests/fuzz_labelled CORPUS tests/golden/fuzz/labelled
// The first byte is the task, 'a' + hs_about; the second the format, 'a' + hs_label_format; the third a sum of flags above '@': 1 labels
// may lack, 2 U+FFFD for bad bytes, 4 tags become BIOES, 8 labels are given. The rest is the file. test_fuzz.c replays the folder.
#include "core/base/log.h"
#include "data/batches/labelled.h"
#include "data/labelled/label_reader.h"
#include "tests/support/support_fuzz.h"
#include <sys/mman.h>

int hs_fuzz_labelled(const uint8_t *data, size_t bytes);

static void check_spans(const hs_example *x, hs_about about)
{
    for (int32_t k = 0; k < x->n; k++) {
        if (about == HS_ABOUT_TOKENS)
            must(x->word[k].start >= (k ? x->word[k - 1].end : 0) && x->word[k].end >= x->word[k].start &&
                 x->word[k].end <= (int64_t)x->bytes[0] && x->word_line[k] >= 0);
        if (about == HS_ABOUT_SPAN)
            must(x->answer[k].start >= 0 && x->answer[k].start <= x->answer[k].end && x->answer[k].end <= (int64_t)x->bytes[1]);
        if (about == HS_ABOUT_LM)
            must(x->turn[k].start >= (k ? x->turn[k - 1].end : 0) && x->turn[k].end >= x->turn[k].start &&
                 x->turn[k].end <= (int64_t)x->bytes[0]);
    }
}

static void check_examples(const hs_examples *e, const hs_examples_opts *o)
{
    for (int64_t i = 0; i < e->n; i++) {
        const hs_example *x = &e->example[i];
        must(x->text[0] && x->text[0][x->bytes[0]] == 0 && x->line >= 1 && x->file == 0);
        must(!x->text[1] || x->text[1][x->bytes[1]] == 0);
        must(i == 0 || x->document >= e->example[i - 1].document);
        check_spans(x, e->about);
        const bool classes = e->about == HS_ABOUT_TOKENS || e->about == HS_ABOUT_MULTILABEL;
        for (int32_t k = 0; classes && k < x->n; k++)
            must(x->labels[k] >= -1 && x->labels[k] < e->labels.n);
        if (e->about <= HS_ABOUT_PAIR)
            must(x->label >= -1 && x->label < e->labels.n && (x->label >= 0 || o->labels_optional));
    }
}

// Each word at most once; nothing longer than it may be; the targets are the examples'.
static void check_rows(const hs_examples *e, const hs_source *s)
{
    static int seen[1 << 16];
    const hs_labelled_info info = hs_labelled_info_of(s);
    must(info.longest <= 16 && info.rows == s->n_samples);
    int64_t last = -1;
    for (int64_t i = 0; i < s->n_samples; i++) {
        const hs_example_row *r = hs_labelled_row(s, (uint64_t)i);
        const hs_example *x = &e->example[r->example];
        must(r->n > 0 && r->n <= info.longest && r->start < r->n && r->end < r->n);
        if (last != r->example && e->about == HS_ABOUT_TOKENS)
            memset(seen, 0, sizeof *seen * (size_t)(x->n < (1 << 16) ? x->n : 1 << 16));
        last = r->example;
        for (int64_t t = 0; t < r->n; t++) {
            if (r->word && r->word[t] >= 0) {
                must(r->word[t] < x->n && r->target[t] == x->labels[r->word[t]]);
                must(r->word[t] >= 1 << 16 || seen[r->word[t]]++ == 0);
            }
            if (r->bytes)
                must(r->bytes[t].end <= (int64_t)x->bytes[1]);
        }
    }
}

static void read_rows(const hs_examples *e)
{
    static hs_tokenizer *byte;
    hs_source *s;
    hs_batch b;
    must(byte || hs_tokenizer_byte(&byte) == HS_OK);
    const hs_labelled_opts o = { .examples = e,
                                 .rows = { .tokenizer = byte, .max_length = 16, .stride = 3, .max_query = 4, .context = 4 },
                                 .frozen = true };
    if (hs_labelled_new(&s, &o) != HS_OK)
        return;
    check_rows(e, s);
    must(hs_source_batch(s, 4, &b) == HS_OK);
    must(hs_source_fill(s, &b, 0, s->n_samples < 4 ? s->n_samples : 4) == HS_OK);
    hs_batch_free(&b);
    hs_source_free(s);
}

// One by one they are as many, and each lies in the file.
static void read_one_by_one(const char *path, const hs_examples_opts *o, const hs_examples *e)
{
    hs_label_reader *r;
    const hs_label_entry *x;
    int64_t n = 0;
    must(hs_label_reader_open(&r, path, o) == HS_OK);
    while (must(hs_label_reader_next(r, &x) == HS_OK), x) {
        must(n < e->n && x->line == e->example[n].line && x->text[0].bytes == e->example[n].bytes[0]);
        must(x->raw.p && x->raw.bytes > 0);
        n++;
    }
    must(n == e->n);
    hs_label_reader_close(r);
}

int hs_fuzz_labelled(const uint8_t *data, size_t bytes)
{
    char path[64];
    if (bytes < 3 || data[0] < 'a' || data[0] >= 'a' + HS_ABOUTS || data[1] < 'a' || data[1] >= 'a' + HS_LABEL_FORMATS)
        return 0;
    hs_log_set(HS_LOG_QUIET, NULL, NULL);
    const int fd = memfd_create("fuzz", MFD_CLOEXEC);
    must(fd >= 0 && write(fd, data + 3, bytes - 3) == (ssize_t)bytes - 3);
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    const char *paths[] = { path };
    char *names[] = { "O", "B-X", "0", "1" };
    hs_labels given = { 0 };
    for (int i = 0; i < 4; i++)
        must(hs_labels_add(&given, names[i], NULL) == HS_OK);
    const int flags = data[2] - '@';
    const hs_examples_opts o = { .about = (hs_about)(data[0] - 'a'),
                                 .path = paths,
                                 .n_paths = 1,
                                 .format = (hs_label_format)(data[1] - 'a'),
                                 .labels = flags & 8 ? &given : NULL,
                                 .labels_optional = flags & 1,
                                 .bad_utf8 = flags & 2 ? HS_BAD_UTF8_REPLACE : HS_BAD_UTF8_REFUSE,
                                 .scheme_to = flags & 4 ? HS_TAGS_BIOES : HS_TAGS_AUTO };
    hs_examples *e;
    if (hs_examples_open(&e, &o) == HS_OK) {
        check_examples(e, &o);
        read_one_by_one(path, &o, e);
        read_rows(e);
        hs_examples_close(e);
    } else {
        must(!strchr(hs_error(), '\n'));
    }
    hs_labels_free(&given);
    close(fd);
    return 0;
}

HS_FUZZ_TARGET(labelled)
