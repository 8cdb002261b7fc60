// wordpiece: the scanner and the model. English text goes through words of up to 15 ASCII letters and digits: one vector load, one look
// into the cache. All else takes the way of one code point after the other, which is also what that way is checked against.
#include "data/tokenizers/wordpiece.h"
#include "data/base/unicode.h"
#include "data/base/utf8.h"
#include "data/tokenizers/tok_ascii.h"
#include "data/tokenizers/tok_json.h"
#include <stdlib.h>
#include <xxhash.h>

enum { PAGE = 256, N_PAGES = 0x110000 / PAGE, MAX_CHARS = 4096 };

typedef struct wordpiece {
    hs_subword sub;
    hs_wordpiece_rules rules;
    hs_tok_trie head, tail; // tail: pieces that continue a word, without their prefix
    bool cleanup;           // in decoding
    char prefix[32];        // of pieces that continue a word, in the vocabulary
    size_t prefix_bytes;
    int32_t unk;
} wordpiece;

typedef struct mark { // a character of the word that may have to change places: since the last that may not
    size_t at;
    int ccc;
} mark;
typedef struct origin { // of a byte of the word
    size_t start, end;
} origin;

typedef struct encoder {
    hs_tok_encoder base;
    hs_wordpiece_char *page[N_PAGES]; // filled when first met
    char *word;                       // [room]
    origin *origin;                   // [room]; only while tracing
    size_t room, n, n_chars;
    size_t start, end; // of the word in the text
    mark mark[64];
    int n_marks;
    bool no_memory;
    hs_status (*on_word)(void *with, const char *text, size_t bytes); // instead of the model, in training
    void *with;
    hs_status st;
} encoder;

static const wordpiece *of(const hs_tokenizer *t) { return (const wordpiece *)t; }

// ---- the model: longest pieces first, all or nothing

// Writes at most one id per byte; returns how many.
static size_t pieces_of(const wordpiece *t, const char *word, size_t bytes, int32_t *id)
{
    size_t n = 0, length;
    for (size_t at = 0; at < bytes; at += length) {
        id[n] = hs_tok_trie_longest(at ? &t->tail : &t->head, word + at, bytes - at, &length);
        if (id[n++] < 0) {
            id[0] = t->unk;
            return 1;
        }
    }
    return n;
}

// word: room for 16 bytes behind its start.
static size_t ids_of_word(const wordpiece *t, encoder *e, const char *word, size_t bytes, int32_t *id)
{
    size_t n;
    if (bytes <= HS_TOK_SHORT) {
        const hs_tok_entry *hit = hs_tok_cache_get(&e->base.cache, word, bytes);
        if (hit)
            return (size_t)hs_tok_entry_copy(&e->base.cache, hit, id);
    } else if (bytes <= HS_TOK_LONG) {
        const int32_t *hit = hs_tok_cache_get_long(&e->base.cache, word, bytes, &n);
        if (hit) {
            memcpy(id, hit, n * sizeof *id);
            return n;
        }
    }
    n = pieces_of(t, word, bytes, id);
    hs_tok_cache_put(&e->base.cache, word, bytes, id, n);
    return n;
}

static void trace_word(const wordpiece *t, const encoder *e, const origin *from, size_t n_ids, hs_tok_out *out)
{
    hs_tok_trace *trace = out->trace;
    size_t at = 0;
    for (size_t k = 0; k < n_ids; k++) {
        const int64_t i = out->n + (int64_t)k;
        const int32_t id = out->id[i];
        trace->word[i] = trace->n_words;
        if (id == t->unk || !from) {
            trace->start[i] = e->start, trace->end[i] = e->end;
            continue;
        }
        const size_t bytes = hs_tok_vocab_text(&t->sub.vocab, id).bytes - (k ? t->prefix_bytes : 0);
        trace->start[i] = from[at].start, trace->end[i] = from[at + bytes - 1].end;
        at += bytes;
    }
    trace->n_words++;
}

// ---- one code point after the other

static const hs_wordpiece_char *char_of(const wordpiece *t, encoder *e, uint32_t c)
{
    static const hs_wordpiece_char none = { .what = HS_WP_DROP };
    hs_wordpiece_char *page = e->page[c / PAGE];
    if (__builtin_expect(!page, 0)) {
        page = malloc(PAGE * sizeof *page);
        if (!page) {
            e->no_memory = true;
            return &none;
        }
        for (uint32_t i = 0; i < PAGE; i++)
            page[i] = hs_wordpiece_char_of(&t->rules, c / PAGE * PAGE + i);
        e->page[c / PAGE] = page;
    }
    return &page[c % PAGE];
}

static void finish_word(const wordpiece *t, encoder *e, hs_tok_out *out)
{
    size_t n = 1;
    if (e->on_word) {
        if (e->st == HS_OK && e->n_chars <= (size_t)t->rules.max_chars)
            e->st = e->on_word(e->with, e->word, e->n);
        n = 0;
    } else if (e->n_chars > (size_t)t->rules.max_chars)
        out->id[out->n] = t->unk;
    else
        n = ids_of_word(t, e, e->word, e->n, out->id + out->n);
    if (out->trace)
        trace_word(t, e, e->origin, n, out);
    out->n += (int64_t)n;
    e->n = e->n_chars = 0;
    e->n_marks = 0;
}

// Code points of a text of several: a decomposed syllable is three of a word's hundred.
static size_t count_chars(const char *text, int n)
{
    size_t k = 0;
    for (int i = 0; i < n; i++)
        k += ((unsigned char)text[i] & 0xC0) != 0x80;
    return k;
}

static void append(const wordpiece *t, encoder *e, const char *text, int n, size_t start, size_t end, bool trace)
{
    if (e->n_chars == 0)
        e->start = start;
    e->end = end;
    e->n_chars += n == 1 ? 1 : count_chars(text, n);
    if (e->n_chars > (size_t)t->rules.max_chars)
        return; // unknown, whatever it is: neither memory nor time grows with it
    memcpy(e->word + e->n, text, 14);
    if (trace)
        for (int i = 0; i < n; i++)
            e->origin[e->n + (size_t)i] = (origin){ start, end };
    e->n += (size_t)n;
}

// Canonical order: the new character goes before those of a higher class.
static void append_reordered(const wordpiece *t, encoder *e, const hs_wordpiece_char *ch, size_t start, size_t end, bool trace)
{
    int length;
    for (int at = 0; at < ch->n; at += length) {
        const size_t old = e->n;
        const uint32_t c = hs_utf8_next((const unsigned char *)ch->text + at, (size_t)(ch->n - at), &length);
        const int ccc = hs_uni_combining_class(c);
        char padded[16] = { 0 };
        memcpy(padded, ch->text + at, (size_t)length);
        append(t, e, padded, length, start, end, trace);
        if (ccc == 0)
            e->n_marks = 0;
        if (ccc == 0 || e->n == old || e->n_marks == HS_COUNT(e->mark))
            continue;
        int k = e->n_marks;
        while (k > 0 && e->mark[k - 1].ccc > ccc)
            k--;
        const size_t to = k < e->n_marks ? e->mark[k].at : old;
        memmove(e->word + to + length, e->word + to, old - to);
        memcpy(e->word + to, padded, (size_t)length);
        if (trace) {
            memmove(e->origin + to + length, e->origin + to, (old - to) * sizeof *e->origin);
            for (int i = 0; i < length; i++)
                e->origin[to + (size_t)i] = (origin){ start, end };
        }
        for (int j = e->n_marks++; j > k; j--)
            e->mark[j] = (mark){ e->mark[j - 1].at + (size_t)length, e->mark[j - 1].ccc };
        e->mark[k] = (mark){ to, ccc };
    }
}

// Of the characters from `at` away, the first that decides on a sigma: whether it is cased. Blanks and ideographs, where Google ends the
// word, are not.
static bool cased_beyond(const wordpiece *t, const char *s, size_t from, size_t to, size_t at, bool forwards)
{
    while (forwards ? at < to : at > from) {
        int n;
        size_t i = at;
        if (!forwards)
            for (i = at - 1; i > from && at - i < 4 && ((unsigned char)s[i] & 0xC0) == 0x80;)
                i--;
        uint32_t c = hs_utf8_next((const unsigned char *)s + i, (forwards ? to : at) - i, &n);
        if (!forwards && (size_t)n != at - i)
            c = HS_UTF8_RAW, n = 1; // a stray byte
        at = forwards ? at + (size_t)n : at - (size_t)n;
        if (c >= HS_UTF8_RAW || hs_wordpiece_drops(&t->rules, c))
            continue;
        const uint32_t p = hs_uni_props(c);
        if (!(p & HS_UNI_CASE_IGNORABLE))
            return (p & HS_UNI_CASED) != 0;
    }
    return false;
}

// The next word, or what stands alone, from i on; returns where it ends.
static size_t next_word(const wordpiece *t, encoder *e, const char *s, size_t from, size_t i, size_t to, hs_tok_out *out)
{
    const bool trace = out->trace != NULL;
    while (i < to) {
        int n;
        const uint32_t c = hs_utf8_next((const unsigned char *)s + i, to - i, &n);
        const hs_wordpiece_char *ch = c < HS_UTF8_RAW ? char_of(t, e, c) : NULL;
        const size_t next = i + (size_t)n;
        switch (ch ? ch->what : HS_WP_DROP) {
        case HS_WP_PLAIN:
            e->n_marks = 0;
            append(t, e, ch->text, ch->n, i, next, trace);
            break;
        case HS_WP_REORDERS:
            append_reordered(t, e, ch, i, next, trace);
            break;
        case HS_WP_SIGMA: {
            const bool final = cased_beyond(t, s, from, to, i, false) && !cased_beyond(t, s, from, to, next, true);
            append(t, e, final ? "\xCF\x82\0\0\0\0\0\0\0\0\0\0\0" : "\xCF\x83\0\0\0\0\0\0\0\0\0\0\0", 2, i, next, trace);
            break;
        }
        case HS_WP_ALONE:
            if (e->n_chars == 0) {
                append(t, e, ch->text, ch->n, i, next, trace);
                i = next;
            }
            finish_word(t, e, out);
            return i;
        case HS_WP_SPACE:
            if (e->n_chars)
                finish_word(t, e, out);
            return next;
        default:
            break;
        }
        i = next;
    }
    if (e->n_chars)
        finish_word(t, e, out);
    return i;
}

// ---- ASCII: a block's words and marks in one pass over its bits, without a branch for what each of them is

// A short word that the cache does not have.
static size_t new_word(const wordpiece *t, encoder *e, hs_tok_key key, size_t bytes, int32_t *id)
{
    hs_tok_key_text(key, e->word);
    const size_t n = pieces_of(t, e->word, bytes, id);
    hs_tok_cache_put(&e->base.cache, e->word, bytes, id, n);
    return n;
}

// Adds a block's words; returns where the next block begins, or what is not for this way.
static unsigned collect(const wordpiece *t, const hs_tok_cache *cache, const char *s, hs_tok_batch *b)
{
    hs_tok_masks m;
    hs_tok_classify((const unsigned char *)s, &m);
    const uint64_t word = m.letter | m.digit, other = ~(word | m.visible | m.space | m.tab_lf_cr);
    const bool lower = t->rules.lowercase;
    unsigned end = HS_TOK_STEP;
    for (uint64_t begins = (word & ~(word << 1)) | (m.visible & ~word) | other; begins; begins &= begins - 1) {
        const unsigned at = (unsigned)__builtin_ctzll(begins), run = hs_tok_run(word >> at), n = run + (run == 0);
        b->stopped = at < HS_TOK_STEP && (n > HS_TOK_SHORT || (other >> at | other >> (at + n)) & 1);
        if (at >= HS_TOK_STEP || b->stopped) {
            end = at;
            break;
        }
        hs_tok_batch_add(b, cache, s + at, n, lower && run);
        end = at + n > HS_TOK_STEP ? at + n : HS_TOK_STEP;
    }
    return end;
}

// From i on; returns where it met what it cannot do: other characters, long words, the last bytes of the text.
static size_t ascii_words(const wordpiece *t, encoder *e, const char *s, size_t i, size_t to, hs_tok_out *out)
{
    int32_t *id = out->id + out->n;
    hs_tok_batch b;
    b.stopped = false;
    while (to - i >= HS_TOK_ROOM && !b.stopped && !(out->most && id - out->id > out->most)) {
        b.n = 0;
        while (to - i >= HS_TOK_ROOM && !b.stopped && b.n < HS_TOK_BATCH)
            i += collect(t, &e->base.cache, s + i, &b);
        for (unsigned k = 0; k < b.n; k++) {
            const hs_tok_entry *hit = hs_tok_cache_among(b.pair[k], b.key[k]);
            id += hit ? (size_t)hs_tok_entry_copy(&e->base.cache, hit, id) : new_word(t, e, b.key[k], b.bytes[k], id);
        }
    }
    out->n = id - out->id;
    return i;
}

// The last bytes of a text, or all of a short one, with blanks behind them.
static size_t ascii_tail(const wordpiece *t, encoder *e, const char *s, size_t i, size_t to, hs_tok_out *out)
{
    char tail[2 * HS_TOK_ROOM];
    const size_t bytes = to - i;
    memcpy(tail, s + i, bytes);
    memset(tail + bytes, ' ', sizeof tail - bytes);
    const size_t done = ascii_words(t, e, tail, 0, sizeof tail, out);
    return i + (done < bytes ? done : bytes);
}

static hs_status segment(const hs_tokenizer *base, hs_tok_encoder *encoder_base, const char *s, size_t from, size_t to, hs_tok_out *out)
{
    const wordpiece *t = of(base);
    encoder *e = (encoder *)encoder_base;
    if (out->trace && !e->origin && !(e->origin = malloc(e->room * sizeof *e->origin)))
        return HS_FAIL(MEMORY, "no memory for an encoder");
    for (size_t i = from; i < to && !hs_tok_out_full(out);) {
        if (!out->trace)
            i = ascii_words(t, e, s, i, to, out);
        if (!out->trace && i < to && to - i < HS_TOK_ROOM)
            i = ascii_tail(t, e, s, i, to, out);
        if (i < to)
            i = next_word(t, e, s, from, i, to, out);
    }
    return e->no_memory ? HS_FAIL(MEMORY, "no memory for an encoder") : HS_OK;
}

// ---- encoders

static void encoder_free(hs_tok_encoder *base)
{
    encoder *e = (encoder *)base;
    for (int i = 0; i < N_PAGES; i++)
        free(e->page[i]);
    free(e->word);
    free(e->origin);
    hs_tok_cache_free(&base->cache);
    free(e);
}

static hs_status encoder_new(const hs_tokenizer *base, hs_tok_encoder **out)
{
    encoder *e = calloc(1, sizeof *e);
    if (!e)
        return HS_FAIL(MEMORY, "no memory for an encoder");
    e->room = (size_t)of(base)->rules.max_chars * 4 + 64;
    e->word = calloc(e->room, 1);
    if (!e->word || hs_tok_cache_init(&e->base.cache) != HS_OK) {
        encoder_free(&e->base);
        return HS_FAIL(MEMORY, "no memory for an encoder");
    }
    *out = &e->base;
    return HS_OK;
}

static const hs_tok_model model = { encoder_new, encoder_free, segment };

hs_status hs_wordpiece_words(const hs_wordpiece_rules *r, const char *s, size_t bytes,
                             hs_status (*word)(void *with, const char *text, size_t bytes), void *with)
{
    wordpiece *t = calloc(1, sizeof *t);
    hs_tok_encoder *base = NULL;
    if (t)
        t->rules = *r;
    if (!t || encoder_new(&t->sub.base, &base) != HS_OK) {
        free(t);
        return HS_FAIL(MEMORY, "no memory for an encoder");
    }
    encoder *e = (encoder *)base;
    hs_tok_out out = { 0 };
    e->on_word = word, e->with = with;
    for (size_t i = 0; i < bytes && e->st == HS_OK;)
        i = next_word(t, e, s, 0, i, bytes, &out);
    const hs_status st = e->no_memory ? HS_FAIL(MEMORY, "no memory for an encoder") : e->st;
    encoder_free(base);
    free(t);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

// ---- back to text, as Hugging Face's decoder: pieces joined, and no space before what English writes without one

static const char *spoken(const hs_tokenizer *base, int32_t id, bool first, size_t *bytes, bool *space)
{
    static const char *const close[] = { ".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re" };
    const wordpiece *t = of(base);
    const hs_tok_text token = hs_tok_vocab_text(&t->sub.vocab, id);
    *bytes = token.bytes, *space = !first;
    if (!first && t->prefix_bytes && token.bytes >= t->prefix_bytes && memcmp(token.text, t->prefix, t->prefix_bytes) == 0) {
        *bytes -= t->prefix_bytes, *space = false;
        return token.text + t->prefix_bytes;
    }
    for (int i = 0; t->cleanup && i < HS_COUNT(close); i++)
        if (token.bytes >= strlen(close[i]) && memcmp(token.text, close[i], strlen(close[i])) == 0)
            *space = false;
    return token.text;
}

// ---- making one

static void release(hs_tokenizer *base)
{
    wordpiece *t = (wordpiece *)base;
    hs_subword_free_parts(&t->sub);
    hs_tok_trie_free(&t->head);
    hs_tok_trie_free(&t->tail);
    free(t);
}

static hs_status read_rules(wordpiece *t, const char *path, const json_t *root)
{
    hs_wordpiece_rules *r = &t->rules;
    const json_t *model_json = json_object_get(root, "model"), *normalizer = json_object_get(root, "normalizer");
    const json_t *split = json_object_get(root, "pre_tokenizer"), *decoder = json_object_get(root, "decoder");
    int64_t max_chars;
    if (strcmp(hs_tok_json_type(normalizer), "null") != 0 && strcmp(hs_tok_json_type(normalizer), "BertNormalizer") != 0)
        return hs_tok_json_refuse(path, "normalizer", normalizer, "BertNormalizer for WordPiece");
    if (strcmp(hs_tok_json_type(split), "BertPreTokenizer") != 0)
        return hs_tok_json_refuse(path, "pre_tokenizer", split, "BertPreTokenizer for WordPiece");
    if (strcmp(hs_tok_json_type(decoder), "null") != 0 && strcmp(hs_tok_json_type(decoder), "WordPiece") != 0)
        return hs_tok_json_refuse(path, "decoder", decoder, "WordPiece for WordPiece");
    const bool some = json_is_object(normalizer);
    HS_TRY(hs_tok_json_bool(path, normalizer, "clean_text", some, &r->clean_text));
    HS_TRY(hs_tok_json_bool(path, normalizer, "handle_chinese_chars", some, &r->ideographs));
    HS_TRY(hs_tok_json_bool(path, normalizer, "lowercase", some, &r->lowercase));
    HS_TRY(hs_tok_json_bool(path, normalizer, "strip_accents", r->lowercase, &r->strip_accents));
    HS_TRY(hs_tok_json_int(path, model_json, "max_input_chars_per_word", 0, MAX_CHARS, r->google ? 200 : 100, &max_chars));
    r->max_chars = (int)max_chars;
    HS_TRY(hs_tok_json_bool(path, decoder, "cleanup", true, &t->cleanup));
    if (r->google && (!r->clean_text || !r->ideographs || r->strip_accents != r->lowercase))
        return HS_FAIL(UNSUPPORTED, "%s: Google's WordPiece always cleans, and strips accents if and only if it lowers case", path);
    return HS_OK;
}

static hs_status read_pieces(wordpiece *t, const char *path, const json_t *root, const hs_tok_items *items)
{
    const json_t *model_json = json_object_get(root, "model");
    const char *prefix = json_string_value(json_object_get(model_json, "continuing_subword_prefix"));
    const char *unk = json_string_value(json_object_get(model_json, "unk_token"));
    prefix = prefix ? prefix : "##", unk = unk ? unk : "[UNK]";
    if (strlen(prefix) >= sizeof t->prefix)
        return HS_FAIL(UNSUPPORTED, "%s: continuing_subword_prefix of %zu bytes, at most %zu", path, strlen(prefix), sizeof t->prefix - 1);
    t->prefix_bytes = strlen(strcpy(t->prefix, prefix));
    const char *joined = json_string_value(json_object_get(json_object_get(root, "decoder"), "prefix"));
    if (joined && strcmp(joined, prefix) != 0)
        return HS_FAIL(UNSUPPORTED, "%s: decoder.prefix is \"%.32s\", but continuing_subword_prefix \"%s\"", path, joined, prefix);
    t->unk = hs_tok_vocab_find(&t->sub.vocab, unk, strlen(unk));
    if (t->unk < 0 || t->unk >= items->n_model)
        return HS_FAIL(CORRUPT, "%s: the unknown token \"%.64s\" is not in the vocabulary", path, unk);
    hs_tok_text *tail = calloc((size_t)items->n, sizeof *tail);
    if (!tail)
        return HS_FAIL(MEMORY, "%s: no memory for %lld tokens", path, (long long)items->n);
    for (int64_t id = 0; id < items->n_model; id++)
        if (items->token[id].bytes >= t->prefix_bytes && memcmp(items->token[id].text, prefix, t->prefix_bytes) == 0)
            tail[id] = (hs_tok_text){ items->token[id].text + t->prefix_bytes, items->token[id].bytes - t->prefix_bytes };
    hs_status st = hs_tok_trie_make(&t->head, items->token, NULL, items->n_model);
    if (st == HS_OK)
        st = hs_tok_trie_make(&t->tail, tail, NULL, items->n);
    free(tail);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

static uint64_t hash_of(const wordpiece *t)
{
    const hs_wordpiece_rules *r = &t->rules;
    const int32_t rules[] = { r->google, r->clean_text, r->ideographs, r->strip_accents, r->lowercase, r->max_chars, t->unk };
    return XXH3_64bits_withSeed(rules, sizeof rules, hs_subword_hash_tokens(&t->sub));
}

static hs_status fill(wordpiece *t, const char *path, const json_t *root, const hs_tok_items *items)
{
    t->sub.base.vocab = items->n;
    t->sub.n_model = items->n_model;
    HS_TRY(read_rules(t, path, root));
    HS_TRY(hs_tok_vocab_make(&t->sub.vocab, items->token, items->n));
    HS_TRY(hs_tok_json_common(&t->sub, path, root));
    t->sub.added.unmatched = t->rules.google;
    for (int i = 0; i < t->sub.added.n; i++)
        if (t->sub.added.token[i].normalized && !t->rules.google && json_is_object(json_object_get(root, "normalizer")))
            return HS_FAIL(UNSUPPORTED, "%s: added token \"%.64s\" is looked for in normalized text: not supported with WordPiece", path,
                           t->sub.added.token[i].text);
    HS_TRY(hs_tok_added_ready(&t->sub.added));
    HS_TRY(read_pieces(t, path, root, items));
    t->sub.hash = t->sub.same_ids = hash_of(t);
    return HS_OK;
}

static hs_status load(hs_tokenizer **out, const hs_tok_kind *kind, bool google, const char *path, const json_t *root)
{
    hs_tok_items items;
    HS_TRY(hs_tok_json_items(&items, path, root, NULL));
    wordpiece *t = calloc(1, sizeof *t);
    if (!t) {
        hs_tok_items_free(&items);
        return HS_FAIL(MEMORY, "%s: no memory for a tokenizer", path);
    }
    t->sub.base.kind = kind, t->sub.model = &model, t->rules.google = google;
    pthread_mutex_init(&t->sub.lock, NULL);
    const hs_status st = fill(t, path, root, &items);
    hs_tok_items_free(&items);
    if (st != HS_OK) {
        release(&t->sub.base);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = &t->sub.base;
    return HS_OK;
}

static hs_status load_hf(hs_tokenizer **out, const char *path, const json_t *root)
{
    HS_TRY(load(out, &hs_tok_wordpiece, false, path, root));
    return HS_OK;
}

static hs_status load_google(hs_tokenizer **out, const char *path, const json_t *root)
{
    HS_TRY(load(out, &hs_tok_wordpiece_google, true, path, root));
    return HS_OK;
}

static json_t *tokenizer_json(const hs_tokenizer *base)
{
    const wordpiece *t = of(base);
    const hs_tok_text unk = hs_tok_vocab_text(&t->sub.vocab, t->unk);
    json_t *vocab = json_object();
    for (int64_t id = 0; vocab && id < t->sub.n_model; id++) {
        if (!hs_tokenizer_has(base, (int32_t)id))
            continue;
        char *name = strndup(hs_tok_vocab_text(&t->sub.vocab, id).text, hs_tok_vocab_text(&t->sub.vocab, id).bytes);
        json_object_set_new(vocab, name ? name : "", json_integer(id));
        free(name);
    }
    json_t *model_json = json_pack("{s:s, s:s%, s:s, s:i, s:o}", "type", "WordPiece", "unk_token", unk.text, unk.bytes,
                                   "continuing_subword_prefix", t->prefix, "max_input_chars_per_word", t->rules.max_chars, "vocab", vocab);
    if (model_json && t->rules.google)
        json_object_set_new(model_json, "halfstep", json_string(base->kind->type));
    return hs_tok_json_root(&t->sub, model_json);
}

#define WORDPIECE(load_function, type_name, kind_name)                                                                                     \
    {                                                                                                                                      \
        .name = kind_name, .type = type_name, .load = load_function, .json = tokenizer_json, .hash = hs_subword_hash,                      \
        .encode = hs_subword_encode, .piece = hs_subword_piece, .spoken = spoken, .free = release, .subword = true                         \
    }
const hs_tok_kind hs_tok_wordpiece = WORDPIECE(load_hf, "WordPiece", "wordpiece");
const hs_tok_kind hs_tok_wordpiece_google = WORDPIECE(load_google, "wordpiece-google", "wordpiece-google");
