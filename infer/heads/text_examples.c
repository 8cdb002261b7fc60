// text_examples: an arena of texts, words and rows, which goes with its request.
#include "infer/heads/text_examples.h"
#include "core/base/grow.h"
#include "data/labelled/plain_words.h"
#include <stdlib.h>
#include <string.h>

hs_status hs_text_examples_open(hs_text_examples *e, hs_about about, const hs_rows_opts *rows)
{
    *e = (hs_text_examples){ .about = about };
    return hs_row_maker_new(&e->maker, about, rows);
}

void hs_text_examples_close(hs_text_examples *e)
{
    hs_row_maker_free(e->maker);
    hs_arena_free(&e->arena);
    free(e->at);
    free(e->word);
    *e = (hs_text_examples){ 0 };
}

void hs_text_examples_clear(hs_text_examples *e)
{
    hs_arena_clear(&e->arena);
    e->n = 0, e->rows = e->tokens = 0;
}

static hs_status no_memory(size_t bytes) { return HS_FAIL(MEMORY, "no memory for a text of %zu bytes", bytes); }

static hs_status take_words(hs_text_examples *e, hs_example *x)
{
    HS_TRY(hs_plain_words(x->text[0], x->bytes[0], &e->word, &x->n, &e->word_room));
    int32_t *line = hs_arena_take(&e->arena, (size_t)x->n * sizeof *line);
    x->word = hs_arena_copy(&e->arena, e->word, (size_t)x->n, sizeof *e->word);
    if (!line || !x->word)
        return no_memory(x->bytes[0]);
    memset(line, 0, (size_t)x->n * sizeof *line);
    x->word_line = line;
    return HS_OK;
}

static hs_status check(const hs_text_examples *e, bool second)
{
    if (e->about == HS_ABOUT_SPAN && !second)
        return HS_FAIL(USAGE, "a question without a context");
    if (e->about == HS_ABOUT_TOKENS && second)
        return HS_FAIL(USAGE, "a second text: tags are of the words of one");
    return HS_OK;
}

hs_status hs_text_examples_add(hs_text_examples *e, const char *text, size_t bytes, const char *second, size_t second_bytes)
{
    HS_TRY(check(e, second != NULL));
    if (!hs_grow(&e->at, e->n, &e->room, sizeof *e->at))
        return no_memory(bytes);
    hs_text_example *t = &e->at[e->n];
    *t = (hs_text_example){ .example = { .line = e->n + 1, .number = e->n, .document = e->n + 1, .label = -1 } };
    hs_example *x = &t->example;
    x->text[0] = hs_arena_text(&e->arena, text, bytes), x->bytes[0] = bytes;
    if (second)
        x->text[1] = hs_arena_text(&e->arena, second, second_bytes), x->bytes[1] = second_bytes;
    if (!x->text[0] || (second && !x->text[1]))
        return no_memory(bytes + second_bytes);
    if (e->about == HS_ABOUT_TOKENS)
        HS_TRY(take_words(e, x));
    const hs_example_row *row;
    HS_TRY(hs_row_maker_rows(e->maker, x, 1, 0, &row, &t->n_rows));
    HS_TRY(hs_example_rows_keep(&e->arena, row, t->n_rows, &t->row));
    for (int64_t i = 0; i < t->n_rows; i++) {
        t->cut |= t->row[i].cut;
        e->tokens += t->row[i].n;
    }
    e->rows += t->n_rows;
    e->n++;
    return HS_OK;
}
