// fill-mask: the likeliest tokens where a text has masks.
#include "infer/encode/texts.h"
#include "recipes/program/cli_session.h"
#include "recipes/program/commands.h"
#include "recipes/program/feed_texts.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef struct fill_mask_options {
    hs_common common;
    hs_string input;
    int64_t top_k;
} fill_mask_options;

typedef struct fill {
    const fill_mask_options *o;
    const hs_session *s;
    hs_guess *guess; // [top_k]
} fill;

static json_t *guess_json(const fill *f, const hs_guess *g)
{
    size_t bytes = 0;
    const char *piece = hs_tokenizer_piece(f->s->tokenizer, g->id, &bytes);
    return json_pack("{s:i, s:o, s:o}", "id", g->id, "token", hs_line_text(piece ? piece : "", bytes), "score", hs_line_real(g->score));
}

static void print_guess(const fill *f, const hs_guess *g)
{
    char name[512];
    const size_t n = hs_tokenizer_name(f->s->tokenizer, g->id, name, sizeof name);
    int shown = 0; // characters: printf's width counts bytes
    for (size_t i = 0; i < n; i++)
        shown += ((unsigned char)name[i] & 0xC0) != 0x80;
    printf("  %8.4f  %.*s%*s %d\n", g->score, (int)n, name, shown < 24 ? 24 - shown : 0, "", g->id);
}

static hs_status on_text(const hs_text_out *out, void *user)
{
    const fill *f = user;
    json_t *masks = json_array();
    hs_status st = HS_OK;
    if (!f->o->common.json)
        printf("%.*s\n", (int)out->bytes, out->text);
    for (int64_t m = 0; st == HS_OK && m < out->n_masks; m++) {
        json_t *list = json_array();
        int64_t n = 0;
        st = hs_row_reader_guess(out->reader, out->index, m, f->o->top_k, f->guess, &n);
        if (!f->o->common.json && out->n_masks > 1)
            printf(" mask %lld\n", (long long)m + 1);
        for (int64_t i = 0; st == HS_OK && i < n; i++)
            if (f->o->common.json)
                json_array_append_new(list, guess_json(f, &f->guess[i]));
            else
                print_guess(f, &f->guess[i]);
        json_array_append_new(masks, list);
    }
    if (st == HS_OK && f->o->common.json)
        hs_line_print(json_pack("{s:o, s:O}", "text", hs_line_text(out->text, out->bytes), "masks", masks));
    json_decref(masks);
    return st;
}

static hs_status fill_all(const hs_cli *cli, hs_session *s, const hs_policy *policy, fill *f, hs_texts **t)
{
    const fill_mask_options *o = cli->options;
    const hs_arch_shape shape = hs_texts_shape(s, true);
    if (!o->input[0] && cli->n_args < 2)
        return HS_FAIL(USAGE, "fill-mask needs a TEXT, or --input FILE");
    f->guess = malloc((size_t)s->vocab * sizeof *f->guess);
    if (!f->guess)
        return HS_FAIL(MEMORY, "no memory for %lld guesses", (long long)s->vocab);
    if (!s->tokenizer) // before weights are read
        return HS_FAIL(USAGE, "texts need a tokenizer: %s", s->tokenizer_error);
    HS_TRY(hs_session_load(s, policy, &(hs_session_plans){ .eval = &shape }));
    HS_TRY(hs_texts_new(t, &(hs_texts_opts){ .session = s, .masks = true, .done = on_text, .user = f }));
    for (int i = 1; i < cli->n_args; i++)
        HS_TRY(strcmp(cli->arg[i], "-") == 0 ? hs_feed_lines(*t, "-", "") : hs_feed_text(*t, cli->arg[i], i));
    if (o->input[0])
        HS_TRY(hs_feed_lines(*t, o->input, ""));
    return hs_texts_finish(*t);
}

static hs_status run_fill_mask(const hs_cli *cli)
{
    hs_session s;
    hs_policy policy;
    hs_texts *t = NULL;
    fill f = { .o = cli->options, .s = &s };
    hs_status st = hs_cli_encoder(cli, cli->arg[0], true, &s, &policy);
    if (st == HS_OK)
        st = fill_all(cli, &s, &policy, &f, &t);
    hs_texts_free(t);
    hs_session_close(&s);
    free(f.guess);
    return st;
}

static const hs_key keys[] = {
    { .name = "top-k",
      .type = HS_KEY_INT,
      .offset = offsetof(fill_mask_options, top_k),
      .value = "5",
      .min = 1,
      .max = 1e9,
      .unit = "tokens",
      .help = "how many to tell, the likeliest first" },
    { .name = "input",
      .type = HS_KEY_STRING,
      .offset = offsetof(fill_mask_options, input),
      .value = "",
      .help = "file of texts, a line each; - is standard input" },
    HS_CHECKPOINT_KEYS(fill_mask_options),
    HS_COMPUTE_KEYS_OF(fill_mask_options, HS_DTYPE_HELP_F32),
    HS_COMMON_KEYS(fill_mask_options),
};
static const hs_schema schema = HS_SCHEMA(keys, fill_mask_options);

const hs_command hs_cmd_fill_mask = {
    .name = "fill-mask",
    .arguments = "CHECKPOINT [TEXT...]",
    .summary = "tell the likeliest tokens where a text has masks",
    .examples = "halfstep fill-mask models/bert-base-uncased \"Paris is the [MASK] of France.\"\n"
                "halfstep fill-mask models/roberta-base \"The <mask> barks at the <mask>.\" --top-k 3 --json\n"
                "halfstep fill-mask runs/bert-mini --input texts.txt",
    .notes =
        "A mask is written as the tokenizer of CHECKPOINT names it ([MASK], <mask>); a text may have several, and each is told as if the\n"
        "others were masks too. A TEXT of - stands for the lines of standard input.\n"
        "With --json, a line for each text: text, and masks, of each a list of id, token, score (its probability).",
    .options = &schema,
    .min_args = 1,
    .max_args = 256,
    .run = run_fill_mask,
};
