// routes_tokens: /tokenize and /decode, as TEI has them: a model's tokenizer, without the model.
#include "infer/decode/token_text.h"
#include "infer/server/request_body.h"
#include "infer/server/routes.h"
#include "infer/server/text_work.h"
#include <stdlib.h>
#include <string.h>

static const unsigned anything = ~(unsigned)HS_DOES_ENSEMBLE;

// USAGE is the request's fault.
static void fail(const hs_call *c, hs_text *t, int number, hs_status st)
{
    hs_text_free(t);
    hs_call_fail(c, st == HS_USAGE ? 422 : 500, "element %d: %s", number, hs_error());
}

// ---- /tokenize: [[{"id": 101, "text": "[CLS]", "special": true, "start": null, "stop": null}, ...], ...]; places are characters

// The characters that a token is a part of.
static void add_slice(hs_text *t, const char *text, size_t bytes, hs_span s)
{
    while (s.start > 0 && ((unsigned char)text[s.start] & 0xC0) == 0x80)
        s.start--;
    while (s.end < (int64_t)bytes && ((unsigned char)text[s.end] & 0xC0) == 0x80)
        s.end++;
    hs_text_quote(t, text + s.start, (size_t)(s.end - s.start));
}

static void add_tokens(hs_text *t, const hs_tokenizer *tokenizer, const hs_row *r, const char *text, size_t bytes)
{
    char name[512];
    hs_text_add(t, "[");
    for (int64_t i = 0; i < r->n; i++) {
        hs_text_add(t, "%s{\"id\":%d,\"text\":", i ? "," : "", r->id[i]);
        if (r->special[i])
            hs_text_quote(t, name, hs_tokenizer_name(tokenizer, r->id[i], name, sizeof name));
        else
            add_slice(t, text, bytes, r->bytes[i]);
        if (r->special[i])
            hs_text_add(t, ",\"special\":true,\"start\":null,\"stop\":null}");
        else
            hs_text_add(t, ",\"special\":false,\"start\":%lld,\"stop\":%lld}", (long long)r->chars[i].start, (long long)r->chars[i].end);
    }
    hs_text_add(t, "]");
}

static void tokenize_texts(const hs_call *c, const hs_served *m, const json_t *inputs, int n, bool special)
{
    enum { TOKEN_BYTES = 64 }; // of an answer, about
    const size_t most = hs_server_most_answer(c->server) / TOKEN_BYTES;
    hs_text t = { 0 };
    for (int i = 0; i < n; i++) {
        size_t bytes;
        hs_rows rows;
        const char *text = hs_texts_at(inputs, i, &bytes);
        const hs_row_opts how = { .no_special = !special, .max_length = (int64_t)most, .overflow = HS_OVERFLOW_REFUSE };
        const hs_status st = hs_tokenizer_rows(m->session.tokenizer, text, bytes, NULL, 0, &how, &rows);
        if (st != HS_OK) {
            fail(c, &t, i, st);
            return;
        }
        if (rows.more || t.n + (size_t)rows.row[0].n * TOKEN_BYTES > hs_server_most_answer(c->server)) {
            hs_rows_free(&rows);
            hs_text_free(&t);
            hs_call_fail(c, 413, "element %d: the answer is longer than this server gives (--answer)", i);
            return;
        }
        hs_text_add(&t, i ? "," : "[");
        add_tokens(&t, m->session.tokenizer, &rows.row[0], text, bytes);
        hs_rows_free(&rows);
    }
    hs_text_add(&t, "]");
    hs_call_send(c, "application/json", &t);
}

static void tokenize(hs_call *c)
{
    json_t *body = hs_body_object(c);
    hs_served *m = body ? hs_body_model(c, body, anything) : NULL;
    int special = 1;
    static const char *const keys[] = { "inputs", "add_special_tokens", "model", NULL };
    if (m && hs_body_known(c, body, keys) && hs_body_flag(c, body, "add_special_tokens", &special)) {
        const json_t *inputs = json_object_get(body, "inputs");
        const int n = hs_texts_count_of(c, inputs, "inputs", m->o->most_texts);
        if (n > 0)
            tokenize_texts(c, m, inputs, n, special);
    }
    hs_served_let_go(m);
    json_decref(body);
}

// ---- /decode: ["text", ...]

// Ids of one text. False: it is answered.
static bool check_ids(const hs_call *c, const hs_tokenizer *t, const json_t *ids)
{
    const json_int_t most = hs_tokenizer_vocab(t) - 1;
    size_t i;
    const json_t *id;
    json_array_foreach(ids, i, id) if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > most)
    {
        hs_call_fail(c, 422, "ids: element %zu must be a whole number from 0 to %lld", i, (long long)most);
        return false;
    }
    return true;
}

static hs_status add_text(hs_text *t, const hs_tokenizer *tokenizer, const json_t *ids, bool skip)
{
    hs_text whole = { 0 };
    hs_token_text *speech;
    const char *piece;
    size_t i, n;
    const json_t *id;
    HS_TRY(hs_token_text_new(&speech, &(hs_token_text_opts){ .tokenizer = tokenizer }));
    hs_status st = HS_OK;
    json_array_foreach(ids, i, id)
    {
        const int32_t k = (int32_t)json_integer_value(id);
        if (st != HS_OK || (skip && hs_tokenizer_special(tokenizer, k)))
            continue;
        if ((st = hs_token_text_put(speech, k, &piece, &n)) == HS_OK)
            hs_text_bytes(&whole, piece, n);
    }
    if (st == HS_OK && (st = hs_token_text_end(speech, &piece, &n)) == HS_OK) {
        hs_text_bytes(&whole, piece, n);
        hs_text_quote(t, whole.p, whole.n);
    }
    t->failed |= whole.failed;
    hs_text_free(&whole);
    hs_token_text_free(speech);
    return st;
}

static void decode_all(const hs_call *c, const hs_served *m, const json_t *ids, bool skip)
{
    const hs_tokenizer *tokenizer = m->session.tokenizer;
    const bool list = json_is_array(json_array_get(ids, 0));
    const size_t n = list ? json_array_size(ids) : 1;
    hs_text t = { 0 };
    if (n > (size_t)m->o->most_texts) {
        hs_call_fail(c, 413, "ids has %zu lists, at most %lld are taken at once", n, (long long)m->o->most_texts);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *one = list ? json_array_get(ids, i) : ids;
        hs_text_add(&t, i ? "," : "[");
        if (!json_is_array(one))
            hs_call_fail(c, 422, "ids: element %zu is not a list", i);
        if (!json_is_array(one) || !check_ids(c, tokenizer, one)) {
            hs_text_free(&t);
            return;
        }
        const hs_status st = add_text(&t, tokenizer, one, skip);
        if (st != HS_OK) {
            fail(c, &t, (int)i, st);
            return;
        }
    }
    hs_text_add(&t, "]");
    hs_call_send(c, "application/json", &t);
}

static void decode(hs_call *c)
{
    json_t *body = hs_body_object(c);
    hs_served *m = body ? hs_body_model(c, body, anything) : NULL;
    const json_t *ids = json_object_get(body, "ids");
    int skip = 1;
    static const char *const keys[] = { "ids", "skip_special_tokens", "model", NULL };
    if (m && hs_body_known(c, body, keys) && hs_body_flag(c, body, "skip_special_tokens", &skip)) {
        if (json_array_size(ids) > 0)
            decode_all(c, m, ids, skip);
        else
            hs_call_fail(c, 422,
                         json_is_array(ids) ? "ids is empty"
                         : ids              ? "ids must be a list of ids, or of lists of them"
                                            : "ids is missing");
    }
    hs_served_let_go(m);
    json_decref(body);
}

const hs_route hs_routes_tokens[] = {
    HS_HERE_AND_BY_NAME("/tokenize", tokenize),
    HS_HERE_AND_BY_NAME("/decode", decode),
    { 0 },
};
