// tok_subword: added tokens first, what lies between them to the model.
#include "data/tokenizers/tok_subword.h"
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

void hs_subword_free_parts(hs_subword *s)
{
    while (s->idle) {
        hs_tok_encoder *next = s->idle->next;
        s->model->encoder_free(s->idle);
        s->idle = next;
    }
    hs_tok_vocab_free(&s->vocab);
    hs_tok_added_free(&s->added);
    json_decref(s->parts);
    json_decref(s->beside);
    pthread_mutex_destroy(&s->lock);
}

const char *hs_subword_piece(const hs_tokenizer *t, int32_t id, size_t *bytes)
{
    const hs_tok_vocab *v = &hs_subword_of(t)->vocab;
    const hs_tok_text text = hs_tok_vocab_text(v, id);
    *bytes = text.bytes;
    return text.bytes || hs_tok_vocab_find(v, "", 0) == id ? text.text : NULL; // an id without a token
}

uint64_t hs_subword_hash(const hs_tokenizer *t) { return hs_subword_of(t)->hash; }

uint64_t hs_subword_hash_tokens(const hs_subword *s)
{
    uint64_t h = XXH3_64bits(s->base.kind->name, strlen(s->base.kind->name));
    for (int64_t id = 0; id < s->base.vocab; id++) {
        const hs_tok_text t = hs_tok_vocab_text(&s->vocab, id);
        h = XXH3_64bits_withSeed(t.text, t.bytes, h ^ t.bytes << 32);
    }
    for (int i = 0; i < s->added.n; i++) {
        const hs_tok_added_token *a = &s->added.token[i];
        const int32_t facts[] = { a->id, a->special, a->normalized, a->single_word, a->lstrip, a->rstrip };
        h = XXH3_64bits_withSeed(facts, sizeof facts, h);
    }
    return h;
}

// ---- an encoder for the time of a call

static hs_status borrow(hs_subword *s, hs_tok_encoder **e)
{
    pthread_mutex_lock(&s->lock);
    *e = s->idle;
    if (*e)
        s->idle = (*e)->next;
    pthread_mutex_unlock(&s->lock);
    return *e ? HS_OK : s->model->encoder_new(&s->base, e);
}

static void give_back(hs_subword *s, hs_tok_encoder *e)
{
    pthread_mutex_lock(&s->lock);
    e->next = s->idle;
    s->idle = e;
    pthread_mutex_unlock(&s->lock);
}

// ---- around added tokens

static void put_added(const hs_subword *s, const hs_tok_match *m, hs_tok_out *out)
{
    out->id[out->n] = s->added.token[m->index].id;
    if (out->trace) {
        out->trace->start[out->n] = m->start, out->trace->end[out->n] = m->end;
        out->trace->word[out->n] = out->trace->n_words++;
    }
    out->n++;
}

// The parts of s[from, to) between matches of finder[which] go to the next finder, or to the model behind the last.
static hs_status split(const hs_subword *s, hs_tok_encoder *e, int which, const char *text, size_t from, size_t to, hs_tok_out *out)
{
    if (which == HS_COUNT(s->added.finder))
        return s->model->segment(&s->base, e, text, from, to, out);
    hs_tok_match m;
    for (size_t at = from; at < to && !hs_tok_out_full(out);) {
        const bool found = hs_tok_added_next(&s->added, which, text, from, at, to, &m);
        const size_t end = found ? m.start : to;
        if (end > at)
            HS_TRY(split(s, e, which + 1, text, at, end, out));
        if (!found || hs_tok_out_full(out))
            break;
        put_added(s, &m, out);
        at = m.end;
    }
    return HS_OK;
}

hs_status hs_subword_run(const hs_tokenizer *t, const char *text, size_t bytes, hs_tok_out *out)
{
    hs_subword *s = hs_subword_of(t);
    hs_tok_encoder *e;
    HS_TRY(borrow(s, &e));
    const hs_status st = split(s, e, 0, text, 0, bytes, out);
    give_back(s, e);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_subword_encode(const hs_tokenizer *t, const unsigned char *s, size_t bytes, int32_t *ids, int64_t *n)
{
    hs_tok_out out = { .id = ids };
    HS_TRY(hs_subword_run(t, (const char *)s, bytes, &out));
    *n = out.n;
    return HS_OK;
}
