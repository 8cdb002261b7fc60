// tokenizer: trains one on texts.
#include "core/base/log.h"
#include "recipes/program/commands.h"
#include "recipes/program/process.h"
#include "recipes/program/text_keys.h"
#include "recipes/train/evaluate.h"
#include "recipes/train/run_dir.h"
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct tokenizer_options {
    hs_common common;
    hs_text_options text;
    hs_string output;
    int type; // hs_tok_train_kind
    int64_t vocab_size, min_frequency, alphabet;
    bool cased, overwrite;
} tokenizer_options;

typedef struct feeding {
    hs_text_inputs inputs;
    hs_text_read read;
    hs_text_rules rules;
    hs_text_scratch scratch;
    hs_bad_count bad;
    int64_t total; // bytes of text
} feeding;

static hs_status feed_piece(hs_tok_trainer *t, feeding *f, const hs_text_batch *b, const hs_text_piece *piece)
{
    hs_text_taken taken;
    HS_TRY(hs_text_take(&f->rules, &f->inputs, b, piece, &f->scratch, &taken));
    if (taken.fault != HS_RECORD_FINE)
        hs_bad_count_add(&f->bad, taken.text != NULL, piece->at.input, piece->at.line, taken.fault);
    f->total += (int64_t)taken.bytes;
    return taken.text ? hs_tok_trainer_feed(t, taken.text, taken.bytes) : HS_OK;
}

// Text by text in pieces, so that memory holds words and not texts. A piece is cut before white space, where no word is.
static hs_status feed(hs_tok_trainer *t, feeding *f)
{
    enum { AT_ONCE = 4 << 20 };
    hs_text_source *source;
    hs_text_batch b = { 0 };
    HS_TRY(hs_text_inputs_check(&f->inputs));
    HS_TRY(hs_text_source_open(&source, &f->inputs, &f->read, NULL));
    hs_status st = HS_OK;
    while (st == HS_OK && !b.last) {
        st = hs_text_source_next(source, &b, AT_ONCE);
        for (int64_t i = 0; i < b.n && st == HS_OK; i++)
            st = feed_piece(t, f, &b, &b.piece[i]);
    }
    hs_text_batch_free(&b);
    hs_text_source_close(source);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status feed_all(const hs_cli *cli, hs_tok_trainer *t, int64_t *total)
{
    const tokenizer_options *o = cli->options;
    feeding f = { .read.documents = HS_DOCUMENTS_FILE };
    char bad[1024];
    HS_TRY(hs_text_options_settle(cli, &o->text, &f.read, &f.rules));
    HS_TRY(hs_text_inputs_expand(&f.inputs, cli->arg + 1, cli->n_args - 1));
    const hs_status st = feed(t, &f);
    hs_bad_count_text(&f.bad, &f.inputs, bad, sizeof bad);
    if (st == HS_OK && bad[0])
        hs_warn("%s", bad);
    *total = f.total;
    hs_text_scratch_free(&f.scratch);
    hs_text_inputs_free(&f.inputs);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status train(const hs_cli *cli, hs_tok_trainer *t, hs_tokenizer **made)
{
    const tokenizer_options *o = cli->options;
    const double start = hs_now();
    int64_t bytes = 0;
    HS_TRY(feed_all(cli, t, &bytes));
    HS_TRY(hs_tok_trainer_finish(t, made));
    HS_TRY(hs_make_folders(o->output));
    HS_TRY(hs_tokenizer_save(*made, o->output));
    const double seconds = hs_now() - start;
    if (o->common.json)
        hs_line_print(json_pack("{s:s, s:s, s:I, s:I, s:o}", "tokenizer", o->output, "type", hs_tokenizer_kind(*made), "vocab_size",
                                (json_int_t)hs_tokenizer_vocab(*made), "bytes", (json_int_t)bytes, "seconds", hs_line_real(seconds)));
    else
        printf("%s: %s of %lld tokens from %.1f MB in %.1f s\n", o->output, hs_tokenizer_kind(*made), (long long)hs_tokenizer_vocab(*made),
               (double)bytes / 1e6, seconds);
    return HS_OK;
}

// Stores and models name a tokenizer by what is in it: one that is written over takes their meaning away.
static hs_status check_output(const tokenizer_options *o)
{
    static const char *const files[] = { "tokenizer.json", "vocab.txt", "vocab.json" };
    char path[HS_KEY_STRING_BYTES + 32];
    for (int i = 0; i < HS_COUNT(files) && !o->overwrite; i++) {
        snprintf(path, sizeof path, "%s/%s", o->output, files[i]);
        if (access(path, F_OK) == 0)
            return HS_FAIL(USAGE, "%s exists; --overwrite replaces the tokenizer in this folder", path);
    }
    return HS_OK;
}

static hs_status run_tokenizer(const hs_cli *cli)
{
    const tokenizer_options *o = cli->options;
    hs_tok_trainer *t;
    hs_tokenizer *made = NULL;
    hs_process_outlive_output();
    if (strcmp(cli->arg[0], "train") != 0)
        return HS_FAIL(USAGE, "tokenizer does 'train', not '%s'", cli->arg[0]);
    if (cli->n_args < 2 || !o->output[0])
        return HS_FAIL(USAGE, "tokenizer train needs at least one TEXT and --output DIR");
    HS_TRY(check_output(o));
    HS_TRY(hs_tok_trainer_new(&t, &(hs_tok_train_opts){ .kind = o->type == 0 ? HS_TOK_TRAIN_BPE : HS_TOK_TRAIN_WORDPIECE,
                                                        .vocab = o->vocab_size,
                                                        .min_count = o->min_frequency,
                                                        .alphabet = o->alphabet,
                                                        .cased = o->cased }));
    const hs_status st = train(cli, t, &made);
    hs_tok_trainer_free(t);
    hs_tokenizer_free(made);
    return st;
}

#define AT(field) .offset = offsetof(tokenizer_options, field)
static const hs_key keys[] = {
    { .name = "type", .type = HS_KEY_CHOICE, AT(type), .value = "bpe", .choices = "bpe|wordpiece", .help = "GPT-2's or BERT's" },
    { .name = "vocab-size",
      .type = HS_KEY_INT,
      AT(vocab_size),
      .value = "30000",
      .min = 6,
      .max = 2e6,
      .unit = "tokens",
      .help = "at most, with special tokens and alphabet; bpe: 257 at least" },
    { .name = "output", .type = HS_KEY_STRING, AT(output), .value = "", .help = "folder to write, made if it is missing; also -o" },
    { .name = "min-frequency",
      .type = HS_KEY_INT,
      AT(min_frequency),
      .value = "0",
      .min = 0,
      .max = 1e12,
      .help = "of a pair to become a token" },
    { .name = "alphabet",
      .type = HS_KEY_INT,
      AT(alphabet),
      .value = "1000",
      .min = 1,
      .max = 1114112,
      .unit = "characters",
      .help = "of WordPiece, at most: the most frequent" },
    HS_TEXT_KEYS(tokenizer_options),
    { .name = "cased", .type = HS_KEY_BOOL, AT(cased), .value = "false", .help = "WordPiece with capitals and accents" },
    { .name = "overwrite", .type = HS_KEY_BOOL, AT(overwrite), .value = "false", .help = "replace a tokenizer that is in the folder" },
    HS_COMMON_KEYS(tokenizer_options),
};
static const hs_schema schema = HS_SCHEMA(keys, tokenizer_options);

const hs_command hs_cmd_tokenizer = {
    .name = "tokenizer",
    .arguments = "train TEXT...",
    .summary = "train a tokenizer on texts",
    .examples = "halfstep tokenizer train --type bpe --vocab-size 32000 book.txt news.txt -o tok\n"
                "halfstep tokenizer train --type wordpiece --vocab-size 30000 *.txt -o tok",
    .notes = "TEXT is a file, a folder with all below it, a quoted pattern, or - for standard input; files packed by gzip or zstd are\n"
             "unpacked, of JSON lines and lists the texts are read, as halfstep prepare does.\n"
             "BPE learns the same merges as Hugging Face's trainer; WordPiece is trained by the same rule, as theirs is.\n"
             "With --json: tokenizer, type, vocab_size, bytes, seconds.",
    .options = &schema,
    .min_args = 1,
    .max_args = 256,
    .run = run_tokenizer,
};
