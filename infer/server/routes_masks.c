// routes_masks: /fill-mask - of each mask of a text its likeliest tokens, as halfstep fill-mask tells them:
// [[{"id": 3000, "token": "capital", "score": 0.9}, ...], ...], a list for each mask; of a list of texts a list of those.
#include "data/base/json_util.h"
#include "data/base/utf8.h"
#include "infer/server/request_body.h"
#include "infer/server/routes.h"
#include "infer/server/text_work.h"
#include <stdlib.h>
#include <string.h>

enum { USUAL = 5, MOST = 1000 };

typedef struct fill { // hs_text_work.own
    hs_text out;
    hs_guess *guess; // [top]
    int64_t *pick;   // of all texts
    int64_t top;
    bool list;
} fill;

static void forget(hs_text_work *w)
{
    fill *f = w->own;
    hs_text_free(&f->out);
    free(f->guess), free(f->pick);
}

// A token may be a part of a character.
static void add_token(hs_text *t, const char *piece, size_t bytes)
{
    hs_text clean = { 0 };
    hs_text_utf8(&clean, piece, bytes);
    t->failed |= clean.failed;
    hs_text_quote(t, clean.p, clean.n);
    hs_text_free(&clean);
}

static hs_status take(hs_text_work *w, const hs_wanted_row *r, int row)
{
    fill *f = w->own;
    hs_text *t = &f->out;
    hs_text_add(t, row ? ",[" : "[");
    for (int64_t m = 0; m < r->row->n_picks; m++) {
        int64_t n = 0;
        HS_TRY(hs_wanted_guesses(r, 0, m, f->guess, &n));
        hs_text_add(t, m ? ",[" : "[");
        for (int64_t i = 0; i < n; i++) {
            size_t bytes = 0;
            const char *piece = hs_tokenizer_piece(w->model->session.tokenizer, f->guess[i].id, &bytes);
            hs_text_add(t, "%s{\"id\":%d,\"token\":", i ? "," : "", f->guess[i].id);
            add_token(t, piece ? piece : "", bytes);
            hs_text_add(t, ",\"score\":");
            hs_text_f64(t, f->guess[i].score);
            hs_text_add(t, "}");
        }
        hs_text_add(t, "]");
    }
    hs_text_add(t, "]");
    return hs_check_answer(&w->call, t);
}

static void answer(hs_text_work *w)
{
    fill *f = w->own;
    if (f->list)
        hs_text_add(&f->out, "]");
    hs_call_send(&w->call, "application/json", &f->out);
}

// Where the masks of each text stand. False: it is answered, and w is gone.
static bool find_masks(hs_text_work *w)
{
    const hs_tokenizer *tokenizer = w->model->session.tokenizer;
    const int32_t mask = hs_tokenizer_role(tokenizer, HS_TOKEN_MASK);
    fill *f = w->own;
    int64_t *pick = f->pick = malloc((size_t)w->tokens * sizeof *pick);
    if (!pick) {
        hs_text_work_fail(w, 503, "no memory for %lld tokens", (long long)w->tokens);
        return false;
    }
    for (int k = 0; k < w->n; k++) {
        hs_encode_row *row = &w->row[k];
        row->pick = pick;
        for (int64_t i = 0; i < row->n; i++)
            if (row->id[i] == mask)
                pick[row->n_picks++] = i;
        pick += row->n_picks;
        if (row->n_picks == 0) {
            char name[256];
            const int n = (int)hs_tokenizer_name(tokenizer, mask, name, sizeof name);
            hs_text_work_fail(w, 400, "text %d has nothing to fill: write %.*s where a word is wanted", k + 1, n, name);
            return false;
        }
    }
    return true;
}

static hs_text_work *begin(hs_call *c, json_t *body, int64_t top)
{
    hs_served *m = hs_body_model(c, body, HS_DOES_MASKS);
    const json_t *inputs = json_object_get(body, "inputs");
    const int n = m ? hs_texts_count_of(c, inputs, "inputs", m->o->most_texts) : -1;
    if (n < 0) {
        hs_served_let_go(m);
        json_decref(body);
        return NULL;
    }
    hs_text_work *w = hs_text_work_new(c, m, body, n);
    fill *f = w ? calloc(1, sizeof *f) : NULL;
    if (w && !(f && (f->guess = malloc((size_t)top * sizeof *f->guess)))) {
        free(f);
        hs_text_work_fail(w, 503, "no memory for %lld guesses", (long long)top);
        return NULL;
    }
    if (!w)
        return NULL;
    hs_text_work_trace(w, inputs);
    f->top = top, f->list = json_is_array(inputs);
    w->own = f, w->forget = forget;
    w->want[w->n_wants++] = (hs_want){ .what = HS_WANT_GUESSES, .best = top };
    for (int i = 0; i < n; i++) {
        size_t bytes;
        const char *text = hs_texts_at(inputs, i, &bytes);
        if (!hs_text_work_add(w, text, bytes, NULL, 0, &(hs_text_cut){ .refuse = true })) // half of it would fill it otherwise
            return NULL;
    }
    return w;
}

static void fill_mask(hs_call *c)
{
    json_t *body = hs_body_object(c);
    int64_t top = USUAL;
    if (!body)
        return;
    static const char *const keys[] = { "inputs", "top_k", "model", NULL };
    if (!hs_body_known(c, body, keys) || !hs_body_int(c, body, "top_k", 1, MOST, &top)) {
        json_decref(body);
        return;
    }
    hs_text_work *w = begin(c, body, top);
    if (!w || !find_masks(w))
        return;
    fill *f = w->own;
    if (f->list)
        hs_text_add(&f->out, "[");
    hs_text_work_go(w, w->model->masks, take, answer);
}

const hs_route hs_routes_masks[] = {
    HS_HERE_AND_BY_NAME("/fill-mask", fill_mask),
    { 0 },
};
