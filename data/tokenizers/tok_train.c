// tok_train: texts to counted words, an alphabet, and the tokenizer that the learned merges make.
#include "data/base/utf8.h"
#include "data/tokenizers/bpe.h"
#include "data/tokenizers/tok_files.h"
#include "data/tokenizers/tok_learn.h"
#include "data/tokenizers/wordpiece.h"
#include <stdlib.h>
#include <string.h>

struct hs_tok_trainer {
    hs_tok_train_opts o;
    hs_tok_counts words;
};

enum { ALPHABET = 1000, BPE_LEAST = 257, WORDPIECE_LEAST = 6, MAX_CHARS = 100 };
static const char *const bert_special[] = { "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]" };

hs_status hs_tok_trainer_new(hs_tok_trainer **out, const hs_tok_train_opts *o)
{
    const int64_t least = o->kind == HS_TOK_TRAIN_BPE ? BPE_LEAST : WORDPIECE_LEAST;
    *out = NULL;
    if (o->vocab < least || o->vocab >= 1 << HS_BPE_ID_BITS)
        return HS_FAIL(USAGE, "a vocabulary of %lld tokens, allowed %lld to %d", (long long)o->vocab, (long long)least,
                       (1 << HS_BPE_ID_BITS) - 1);
    *out = calloc(1, sizeof **out);
    if (!*out)
        return HS_FAIL(MEMORY, "no memory for a trainer");
    (*out)->o = *o;
    return HS_OK;
}

void hs_tok_trainer_free(hs_tok_trainer *t)
{
    if (!t)
        return;
    hs_tok_counts_free(&t->words);
    free(t);
}

// ---- words

static hs_status add_word(void *with, const char *text, size_t bytes)
{
    int64_t ignored;
    return hs_tok_counts_add(with, text, bytes, 1, &ignored);
}

// Line by line: blanks at a line's end are not joined with those the next begins with.
static hs_status feed_bpe(hs_tok_trainer *t, const unsigned char *s, size_t bytes)
{
    for (size_t i = 0; i < bytes;) {
        const unsigned char *feed = memchr(s + i, '\n', bytes - i);
        const size_t to = feed ? (size_t)(feed - s) + 1 : bytes;
        while (i < to) {
            const size_t end = hs_bpe_part(s, i, to);
            HS_TRY(add_word(&t->words, (const char *)s + i, end - i));
            i = end;
        }
    }
    return HS_OK;
}

hs_status hs_tok_trainer_feed(hs_tok_trainer *t, const char *text, size_t bytes)
{
    const hs_wordpiece_rules rules = {
        .clean_text = true, .ideographs = true, .strip_accents = !t->o.cased, .lowercase = !t->o.cased, .max_chars = MAX_CHARS
    };
    HS_TRY(t->o.kind == HS_TOK_TRAIN_BPE ? feed_bpe(t, (const unsigned char *)text, bytes)
                                         : hs_wordpiece_words(&rules, text, bytes, add_word, &t->words));
    return HS_OK;
}

// ---- alphabets

static hs_status add_token(hs_tok_counts *tokens, const char *text, size_t bytes)
{
    int64_t ignored;
    HS_TRY(hs_tok_counts_add(tokens, text, bytes, 0, &ignored));
    return HS_OK;
}

// Bytes in the order of the characters they are shown as.
static hs_status byte_alphabet(hs_tok_counts *tokens)
{
    HS_TRY(add_token(tokens, "<|endoftext|>", 13));
    for (uint32_t shown = 0; shown < 512; shown++)
        for (int b = 0; b < 256; b++)
            if (hs_tok_byte_level_character(b) == shown)
                HS_TRY(add_token(tokens, &(char){ (char)b }, 1));
    return HS_OK;
}

typedef struct letter {
    uint32_t c;
    int64_t count;
    bool inside; // of a word, not only at its beginning
} letter;

static int by_count(const void *a, const void *b)
{
    const letter *x = a, *y = b;
    return x->count != y->count ? (x->count > y->count ? -1 : 1) : (x->c > y->c) - (x->c < y->c);
}
static int by_code(const void *a, const void *b)
{
    const letter *x = a, *y = b;
    return (x->c > y->c) - (x->c < y->c);
}

static void count_letters(const hs_tok_counts *words, letter *all)
{
    for (int64_t i = 0; i < words->n; i++) {
        const hs_tok_text t = hs_tok_counts_text(words, i);
        int n;
        for (size_t at = 0; at < t.bytes; at += (size_t)n) {
            letter *l = &all[hs_utf8_next((const unsigned char *)t.text + at, t.bytes - at, &n)];
            l->count += words->count[i];
            l->inside |= at > 0;
        }
    }
}

// The special tokens, the most frequent characters by code point, then those of them that occur inside words, with "##".
static hs_status letter_alphabet(const hs_tok_trainer *t, hs_tok_counts *tokens)
{
    enum { ALL = HS_UTF8_RAW + 256 };
    for (int i = 0; i < HS_COUNT(bert_special); i++)
        HS_TRY(add_token(tokens, bert_special[i], strlen(bert_special[i])));
    letter *all = calloc(ALL, sizeof *all);
    if (!all)
        return HS_FAIL(MEMORY, "no memory for an alphabet");
    for (uint32_t c = 0; c < ALL; c++)
        all[c].c = c;
    count_letters(&t->words, all);
    qsort(all, ALL, sizeof *all, by_count);
    size_t n = 0, most = t->o.alphabet ? (size_t)t->o.alphabet : ALPHABET;
    while (n < most && n < ALL && all[n].count > 0)
        n++;
    qsort(all, n, sizeof *all, by_code);
    hs_status st = HS_OK;
    for (int inside = 0; inside < 2; inside++)
        for (size_t i = 0; i < n && st == HS_OK; i++) {
            char text[8] = "##";
            const int bytes = hs_utf8_put(text + 2, all[i].c);
            if (!inside)
                st = add_token(tokens, text + 2, (size_t)bytes);
            else if (all[i].inside)
                st = add_token(tokens, text, (size_t)bytes + 2);
        }
    free(all);
    if (st == HS_OK && tokens->n > t->o.vocab)
        st = HS_FAIL(USAGE, "a vocabulary of %lld tokens is too small: the texts' %zu characters make %lld", (long long)t->o.vocab, n,
                     (long long)tokens->n);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

// ---- words as ids of the alphabet; characters that are not in it are left out

static int32_t id_at(const hs_tok_counts *tokens, bool bytes, const hs_tok_text t, size_t at, bool first, int *n)
{
    char text[8] = "##";
    *n = 1;
    if (bytes)
        return (int32_t)hs_tok_counts_find(tokens, t.text + at, 1);
    hs_utf8_next((const unsigned char *)t.text + at, t.bytes - at, n);
    memcpy(text + 2, t.text + at, (size_t)*n);
    return (int32_t)hs_tok_counts_find(tokens, first ? text + 2 : text, (size_t)*n + (first ? 0 : 2));
}

static hs_status spell(const hs_tok_trainer *t, const hs_tok_counts *tokens, hs_tok_words *w)
{
    const hs_tok_counts *c = &t->words;
    *w = (hs_tok_words){ .n = c->n, .count = c->count, .start = malloc(((size_t)c->n + 1) * sizeof *w->start) };
    w->id = malloc((c->pool_bytes + 1) * sizeof *w->id);
    w->length = malloc(((size_t)c->n + 1) * sizeof *w->length);
    if (!w->id || !w->start || !w->length)
        return HS_FAIL(MEMORY, "no memory for %lld different words", (long long)c->n);
    size_t used = 0;
    for (int64_t i = 0; i < c->n; i++) {
        const hs_tok_text text = hs_tok_counts_text(c, i);
        int n;
        if (text.bytes > INT32_MAX)
            return HS_FAIL(UNSUPPORTED, "a word of %zu bytes", text.bytes);
        w->start[i] = used;
        for (size_t at = 0; at < text.bytes; at += (size_t)n) {
            const int32_t id = id_at(tokens, t->o.kind == HS_TOK_TRAIN_BPE, text, at, at == 0, &n);
            if (id >= 0)
                w->id[used++] = id;
        }
        w->length[i] = (int32_t)(used - w->start[i]);
    }
    w->start[c->n] = used;
    return HS_OK;
}

// ---- the result

static json_t *shown(const hs_tok_counts *tokens, int64_t id, bool bytes)
{
    const hs_tok_text t = hs_tok_counts_text(tokens, id);
    if (!bytes || id == 0) // <|endoftext|>
        return json_stringn(t.text, t.bytes);
    char *text = malloc(2 * t.bytes + 1);
    size_t n = 0;
    for (size_t i = 0; text && i < t.bytes; i++)
        n += (size_t)hs_utf8_put(text + n, hs_tok_byte_level_character((unsigned char)t.text[i]));
    json_t *j = text ? json_stringn(text, n) : NULL;
    free(text);
    return j;
}

// A pair that was merged twice (one token can come about in two ways) has the later rank, as in Hugging Face's files.
static json_t *merges_json(const hs_tok_counts *tokens, const hs_tok_merge *merge, int64_t n)
{
    hs_tok_counts seen = { 0 };
    json_t *list = json_array();
    int64_t *last = malloc(((size_t)n + 1) * sizeof *last), number;
    bool enough = last != NULL;
    for (int64_t r = 0; r < n && enough; r++) {
        enough = hs_tok_counts_add(&seen, (const char *)&merge[r], sizeof merge[r], 0, &number) == HS_OK;
        if (enough)
            last[number] = r;
    }
    for (int64_t r = 0; r < n && enough; r++)
        if (last[hs_tok_counts_find(&seen, (const char *)&merge[r], sizeof merge[r])] == r)
            json_array_append_new(list, json_pack("[o, o]", shown(tokens, merge[r].left, true), shown(tokens, merge[r].right, true)));
    free(last);
    hs_tok_counts_free(&seen);
    if (!enough) {
        json_decref(list);
        return NULL;
    }
    return list;
}

static hs_status build(const hs_tok_trainer *t, const hs_tok_counts *tokens, const hs_tok_merge *merge, int64_t n_merges,
                       hs_tokenizer **out)
{
    const bool bpe = t->o.kind == HS_TOK_TRAIN_BPE;
    json_t *vocab = json_object(), *config = json_pack("{s:b}", "do_lower_case", !t->o.cased), *root = NULL;
    for (int64_t id = 0; id < tokens->n; id++) {
        json_t *name = shown(tokens, id, bpe);
        json_object_set_new(vocab, name ? json_string_value(name) : "", json_integer(id));
        json_decref(name);
    }
    if (bpe) {
        json_t *merges = merges_json(tokens, merge, n_merges);
        root = merges ? hs_tok_files_gpt2(vocab, merges, NULL) : NULL;
        json_decref(merges);
    } else {
        root = hs_tok_files_bert(vocab, config);
    }
    const hs_status st =
        root ? (bpe ? hs_tok_bpe : hs_tok_wordpiece).load(out, "the trained tokenizer", root) : HS_FAIL(MEMORY, "no memory");
    json_decref(root);
    json_decref(vocab);
    json_decref(config);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_tok_trainer_finish(hs_tok_trainer *t, hs_tokenizer **out)
{
    const bool bpe = t->o.kind == HS_TOK_TRAIN_BPE;
    hs_tok_counts tokens = { 0 };
    hs_tok_words w = { 0 };
    hs_tok_merge *merge = NULL;
    int64_t n = 0;
    *out = NULL;
    hs_status st = t->words.n ? HS_OK : HS_FAIL(USAGE, "the texts have no words to learn a vocabulary from");
    if (st == HS_OK)
        st = bpe ? byte_alphabet(&tokens) : letter_alphabet(t, &tokens);
    if (st == HS_OK)
        st = spell(t, &tokens, &w);
    if (st == HS_OK)
        st = hs_tok_learn(&tokens, &w, t->o.vocab, t->o.min_count, bpe ? "" : "##", &merge, &n);
    if (st == HS_OK)
        st = build(t, &tokens, merge, n, out);
    free(merge);
    free(w.id);
    free(w.start);
    free(w.length);
    hs_tok_counts_free(&tokens);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}
