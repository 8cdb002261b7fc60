// predict_out: tables, columns and lines; JSON is predict_json.c's.
#include "recipes/program/predict_write.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

// ---- files

static hs_status open_file(hs_predict_file *f, const char *path, const char *name)
{
    f->name = path && path[0] ? path : name;
    if (!path || !path[0]) {
        f->f = stdout;
        return HS_OK;
    }
    HS_TRY(hs_file_create(&f->out, path));
    f->f = f->out.f;
    return HS_OK;
}

hs_status hs_predict_write(hs_predict_file *f, const char *p, size_t bytes)
{
    if (fwrite(p, 1, bytes, f->f) != bytes)
        return HS_FAIL(SYSTEM, "cannot write to %s: %s", f->name, strerror(errno));
    return HS_OK;
}

static hs_status commit_file(hs_predict_file *f)
{
    if (!f->f)
        return HS_OK;
    if (f->f == stdout)
        return fflush(stdout) == 0 ? HS_OK : HS_FAIL(SYSTEM, "cannot write to %s: %s", f->name, strerror(errno));
    f->f = NULL;
    return hs_file_commit(&f->out);
}

static void close_file(hs_predict_file *f)
{
    if (f->f && f->f != stdout)
        hs_file_discard(&f->out);
    f->f = NULL;
}

// ---- labels

static void add_text(hs_text *t, const char *s) { hs_text_bytes(t, s, strlen(s)); }

// A label as a column of lines: what would end the column, or the line, becomes _.
static void add_column(hs_text *t, const char *label, char delimiter)
{
    for (; *label; label++) {
        const bool ends = *label == delimiter || *label == '\t' || *label == '\n' || *label == '\r';
        hs_text_bytes(t, ends ? "_" : label, 1);
    }
}

// "a,b" and "0.9,0.8": a label and its score as cells of a table.
static void label_cell(hs_predict_out *p, const hs_prediction *x, hs_text *label, hs_text *score)
{
    label->n = score->n = 0;
    add_text(label, "");
    add_text(score, "");
    switch (p->o.about) {
    case HS_ABOUT_REGRESSION:
        for (int i = 0; i < x->n_labels; i++) {
            add_text(score, i ? "," : "");
            hs_text_f32(score, x->score[i]);
        }
        break;
    case HS_ABOUT_MULTILABEL:
        for (int i = 0; i < x->n_labels; i++) {
            if ((double)x->score[i] < p->o.threshold)
                continue;
            add_text(label, label->n ? "," : "");
            add_text(label, hs_labels_name(p->o.labels, i));
            add_text(score, score->n ? "," : "");
            hs_text_f32(score, x->score[i]);
        }
        break;
    default:
        add_text(label, hs_labels_name(p->o.labels, x->label));
        hs_text_f32(score, x->score[x->label]);
    }
}

// ---- tables

const char *hs_predict_name(const hs_predict_out *p, bool (*taken)(const hs_predict_out *p, const char *name), const char *name,
                            char buf[64])
{
    snprintf(buf, 64, "%s", name);
    for (int i = 1; taken(p, buf); i++)
        snprintf(buf, 64, i > 1 ? "predicted_%s_%d" : "predicted_%s", name, i);
    return buf;
}

static bool has_column(const hs_predict_out *p, const char *name) { return hs_label_reader_has(p->reader, name); }

static const char *column_name(const hs_predict_out *p, const char *name, char buf[64])
{
    return hs_predict_name(p, has_column, name, buf);
}

static void add_cell(hs_predict_out *p, const char *s)
{
    const bool csv = p->found->format == HS_LABEL_CSV;
    char special[] = { p->found->delimiter, '"', '\r', '\n', 0 };
    hs_text_bytes(&p->text, &p->found->delimiter, 1);
    if (!csv || !strpbrk(s, special)) {
        for (; *s; s++) {
            const char c = !csv && (*s == p->found->delimiter || *s == '\n' || *s == '\r') ? ' ' : *s;
            hs_text_bytes(&p->text, &c, 1);
        }
        return;
    }
    add_text(&p->text, "\"");
    for (; *s; s++) {
        hs_text_bytes(&p->text, s, 1);
        if (*s == '"')
            add_text(&p->text, "\"");
    }
    add_text(&p->text, "\"");
}

// A record with cells behind it, its own line end behind those.
static void put_record(hs_predict_out *p, hs_slice raw, const char *label, const char *score)
{
    size_t n = raw.bytes;
    n -= n && raw.p[n - 1] == '\n';
    n -= n && raw.p[n - 1] == '\r';
    hs_text_bytes(&p->text, raw.p, n);
    if (p->o.about != HS_ABOUT_REGRESSION)
        add_cell(p, label);
    add_cell(p, score);
    if (n < raw.bytes)
        hs_text_bytes(&p->text, raw.p + n, raw.bytes - n);
    else
        add_text(&p->text, "\n");
}

static void put_header(hs_predict_out *p)
{
    char names[2][64];
    const hs_slice header = hs_label_reader_header(p->reader);
    if (!p->begun && header.p)
        put_record(p, header, column_name(p, "label", names[0]), column_name(p, "score", names[1]));
}

static hs_status put_table(hs_predict_out *p, const hs_prediction *x)
{
    hs_text label = { 0 }, score = { 0 };
    put_header(p);
    label_cell(p, x, &label, &score);
    put_record(p, x->item->raw, label.p ? label.p : "", score.p ? score.p : "");
    p->text.failed |= label.failed || score.failed;
    hs_text_free(&label);
    hs_text_free(&score);
    return HS_OK;
}

// "label text", fastText's labels as they are there.
static hs_status put_line(hs_predict_out *p, const hs_prediction *x)
{
    static const char mark[] = "__label__";
    const hs_slice raw = x->item->raw;
    const bool marked = raw.bytes > sizeof mark && memcmp(raw.p, mark, sizeof mark - 1) == 0;
    hs_text label = { 0 }, score = { 0 };
    label_cell(p, x, &label, &score);
    const hs_text *cell = p->o.about == HS_ABOUT_REGRESSION ? &score : &label;
    if (marked)
        add_text(&p->text, mark);
    for (const char *s = cell->p; s && *s; s++) {
        if (marked && *s == ',' && p->o.about == HS_ABOUT_MULTILABEL)
            add_text(&p->text, " __label__");
        else
            add_column(&p->text, (char[]){ *s, 0 }, '\n');
    }
    add_text(&p->text, " ");
    hs_text_bytes(&p->text, x->example->text[0], x->example->bytes[0]);
    add_text(&p->text, "\n");
    p->text.failed |= label.failed || score.failed;
    hs_text_free(&label);
    hs_text_free(&score);
    return HS_OK;
}

// ---- words

static void put_word(hs_predict_out *p, const hs_prediction *x, int32_t k)
{
    const hs_example *e = x->example;
    hs_text_bytes(&p->text, e->text[0] + e->word[k].start, (size_t)(e->word[k].end - e->word[k].start));
    add_text(&p->text, "\t");
    add_column(&p->text, hs_labels_name(p->o.labels, x->tag[k]), '\t');
    add_text(&p->text, "\n");
}

// A word a line and its tag, an empty line behind each text.
static hs_status put_words(hs_predict_out *p, const hs_prediction *x)
{
    for (int32_t k = 0; k < x->example->n; k++)
        put_word(p, x, k);
    add_text(&p->text, "\n");
    return HS_OK;
}

static hs_status put_text(hs_predict_out *p, const hs_prediction *x)
{
    hs_text label = { 0 }, score = { 0 };
    if (p->o.about == HS_ABOUT_TOKENS)
        return put_words(p, x);
    label_cell(p, x, &label, &score);
    if (p->o.about != HS_ABOUT_REGRESSION) {
        add_column(&p->text, label.p ? label.p : "", '\t');
        add_text(&p->text, "\t");
    }
    add_text(&p->text, score.p ? score.p : "");
    add_text(&p->text, "\t");
    hs_text_bytes(&p->text, x->example->text[0], x->example->bytes[0]);
    add_text(&p->text, "\n");
    p->text.failed |= label.failed || score.failed;
    hs_text_free(&label);
    hs_text_free(&score);
    return HS_OK;
}

static void put_column(hs_predict_out *p, const char *line, size_t n, const char *tag)
{
    hs_text_bytes(&p->text, line, n);
    hs_text_bytes(&p->text, &p->found->delimiter, 1);
    add_column(&p->text, tag, p->found->delimiter);
}

// Lines as they stand, with one column more where there is a word (x: its tags; NULL: there is none), and where a document begins.
static void add_lines(hs_predict_out *p, hs_slice raw, int64_t line, const hs_prediction *x)
{
    static const char docstart[] = "-DOCSTART-";
    const char *s = raw.p, *end = s + raw.bytes;
    const hs_example *e = x ? x->example : NULL;
    int32_t word = 0;
    for (size_t whole; s < end; line++, s += whole) {
        const size_t n = hs_line_bytes(s, (size_t)(end - s), &whole);
        if (e && word < e->n && line == e->line + e->word_line[word])
            put_column(p, s, n, hs_labels_name(p->o.labels, x->tag[word++]));
        else if (n >= sizeof docstart - 1 && memcmp(s, docstart, sizeof docstart - 1) == 0)
            put_column(p, s, n, "O");
        else
            hs_text_bytes(&p->text, s, n);
        hs_text_bytes(&p->text, s + n, whole - n);
        if (whole == n)
            add_text(&p->text, "\n");
    }
}

static hs_status put_conll(hs_predict_out *p, const hs_prediction *x)
{
    add_lines(p, x->item->raw, x->item->raw_line, x);
    return HS_OK;
}

static hs_status put_nemo(hs_predict_out *p, const hs_prediction *x)
{
    for (int32_t k = 0; k < x->example->n; k++) {
        add_text(&p->text, k ? " " : "");
        add_column(&p->text, hs_labels_name(p->o.labels, x->tag[k]), ' ');
    }
    add_text(&p->text, "\n");
    return HS_OK;
}

// ---- all of them

static hs_status (*const puts_of[HS_LABEL_FORMATS])(hs_predict_out *p, const hs_prediction *x) = {
    [HS_LABEL_LINES] = put_line,  [HS_LABEL_TSV] = put_table, [HS_LABEL_CSV] = put_table,          [HS_LABEL_JSON] = hs_predict_json_record,
    [HS_LABEL_CONLL] = put_conll, [HS_LABEL_NEMO] = put_nemo, [HS_LABEL_SQUAD] = hs_predict_squad, [HS_LABEL_TEXT] = put_text,
};

hs_status hs_predict_out_open(hs_predict_out **out, const hs_predict_out_opts *o)
{
    *out = NULL;
    hs_predict_out *p = calloc(1, sizeof *p);
    if (!p)
        return HS_FAIL(MEMORY, "no memory for predictions");
    p->o = *o;
    hs_status st = hs_prediction_json_open(&p->json, o->about, o->labels);
    if (st == HS_OK)
        st = open_file(&p->main, o->output, "standard output");
    if (st == HS_OK && o->nbest && o->nbest[0])
        st = open_file(&p->nbest, o->nbest, NULL);
    if (st == HS_OK && o->odds && o->odds[0])
        st = open_file(&p->odds, o->odds, NULL);
    if (st != HS_OK) {
        hs_predict_out_close(p);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = p;
    return HS_OK;
}

void hs_predict_out_of(hs_predict_out *p, const hs_label_reader *reader)
{
    p->reader = reader;
    p->found = hs_label_reader_found(reader);
}

static hs_status write_text(hs_predict_out *p)
{
    if (p->text.failed)
        return HS_FAIL(MEMORY, "no memory for a prediction");
    const hs_status st = p->text.n ? hs_predict_write(&p->main, p->text.p, p->text.n) : HS_OK;
    p->text.n = 0;
    return st;
}

hs_status hs_predict_out_put(hs_predict_out *p, const hs_prediction *x)
{
    HS_TRY(p->o.json ? hs_predict_json_line(p, x) : puts_of[p->found->format](p, x));
    p->begun = true;
    p->written++;
    return write_text(p);
}

hs_status hs_predict_out_commit(hs_predict_out *p)
{
    const hs_label_format format = p->found->format;
    if (!p->o.json && (format == HS_LABEL_TSV || format == HS_LABEL_CSV)) // a table of a header alone
        put_header(p);
    if (!p->o.json && format == HS_LABEL_CONLL)
        add_lines(p, hs_label_reader_tail(p->reader), 0, NULL);
    if (!p->o.json && (format == HS_LABEL_JSON || format == HS_LABEL_SQUAD))
        HS_TRY(hs_predict_json_end(p));
    HS_TRY(write_text(p));
    HS_TRY(commit_file(&p->nbest));
    HS_TRY(commit_file(&p->odds));
    return commit_file(&p->main);
}

void hs_predict_out_close(hs_predict_out *p)
{
    if (!p)
        return;
    close_file(&p->main);
    close_file(&p->nbest);
    close_file(&p->odds);
    hs_prediction_json_close(&p->json);
    hs_json_tree_free(&p->tree);
    hs_text_free(&p->text);
    free(p);
}
