// plain_tokenizer: `tokenizer train` with the settings that masked training wants, without a command.
#include "data/text/plain_tokenizer.h"
#include "data/text/text_record.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 4 << 20 };

bool hs_plain_tokenizer_named(const char *name, int64_t *vocab)
{
    static const char word[] = "wordpiece";
    const size_t n = sizeof word - 1;
    if (strncmp(name, word, n) != 0 || (name[n] && name[n] != ':'))
        return false;
    *vocab = HS_PLAIN_VOCAB;
    if (name[n]) {
        char *end;
        errno = 0;
        *vocab = strtoll(name + n + 1, &end, 10);
        if (end == name + n + 1 || *end || errno || *vocab < 1)
            *vocab = -1;
    }
    return true;
}

// ---- a tokenizer

static hs_status feed_batch(hs_tok_trainer *t, const hs_text_inputs *inputs, const hs_text_batch *b, hs_text_scratch *scratch)
{
    for (int64_t i = 0; i < b->n; i++) {
        hs_text_taken taken;
        HS_TRY(hs_text_take(&(hs_text_rules){ 0 }, inputs, b, &b->piece[i], scratch, &taken));
        if (taken.text)
            HS_TRY(hs_tok_trainer_feed(t, taken.text, taken.bytes));
    }
    return HS_OK;
}

// A piece is cut before white space, where no word is.
static hs_status feed(hs_tok_trainer *t, const hs_text_inputs *inputs)
{
    hs_text_source *source;
    hs_text_batch b = { 0 };
    hs_text_scratch scratch = { 0 };
    HS_TRY(hs_text_source_open(&source, inputs, &(hs_text_read){ .documents = HS_DOCUMENTS_FILE }, NULL));
    hs_status st = HS_OK;
    while (st == HS_OK && !b.last) {
        st = hs_text_source_next(source, &b, AT_ONCE);
        if (st == HS_OK)
            st = feed_batch(t, inputs, &b, &scratch);
    }
    hs_text_scratch_free(&scratch);
    hs_text_batch_free(&b);
    hs_text_source_close(source);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

// Files that can be read twice.
static hs_status list(hs_text_inputs *out, const char *const *input, int n)
{
    HS_TRY(hs_text_inputs_expand(out, input, n));
    for (int i = 0; i < out->n; i++)
        if (out->input[i].bytes < 0) {
            const hs_status st = HS_FAIL(USAGE, "%s is read more than once, so it must be a file",
                                         strcmp(out->input[i].path, "-") == 0 ? "standard input" : out->input[i].path);
            hs_text_inputs_free(out);
            return st;
        }
    return HS_OK;
}

hs_status hs_plain_tokenizer_train(hs_tokenizer **out, const char *const *input, int n, int64_t vocab)
{
    hs_text_inputs inputs;
    hs_tok_trainer *t = NULL;
    *out = NULL;
    HS_TRY(list(&inputs, input, n));
    hs_status st;
    HS_TRY_GOTO(st, hs_text_inputs_check(&inputs), done);
    HS_TRY_GOTO(st, hs_tok_trainer_new(&t, &(hs_tok_train_opts){ .kind = HS_TOK_TRAIN_WORDPIECE, .vocab = vocab, .min_count = 2 }), done);
    HS_TRY_GOTO(st, feed(t, &inputs), done);
    HS_TRY_GOTO(st, hs_tok_trainer_finish(t, out), done);
done:
    hs_tok_trainer_free(t);
    hs_text_inputs_free(&inputs);
    return st;
}
