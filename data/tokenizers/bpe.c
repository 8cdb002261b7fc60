// bpe: the kind "bpe". Parts of up to 15 bytes of ASCII take the fast way: one vector comparison, one look into the cache.
#include "data/tokenizers/bpe.h"
#include "data/base/utf8.h"
#include "data/tokenizers/tok_ascii.h"
#include "data/tokenizers/tok_json.h"
#include <stdlib.h>
#include <xxhash.h>

typedef struct bpe {
    hs_subword sub;
    hs_bpe_merges merges;
    bool prefix_space, ignore_merges;
    bool lacks_bytes; // the vocabulary does not have all 256
} bpe;

typedef struct encoder {
    hs_tok_encoder base;
    hs_bpe_scratch scratch;
} encoder;

static const bpe *of(const hs_tokenizer *t) { return (const bpe *)t; }

// ---- one part

static hs_status ids_of_part(const bpe *t, encoder *e, const char *s, size_t bytes, int32_t *id, size_t *n)
{
    if (bytes > HS_TOK_SHORT && bytes <= HS_TOK_LONG) {
        const int32_t *hit = hs_tok_cache_get_long(&e->base.cache, s, bytes, n);
        if (hit) {
            memcpy(id, hit, *n * sizeof *id);
            return HS_OK;
        }
    }
    const int32_t whole = t->ignore_merges ? hs_tok_vocab_find(&t->sub.vocab, s, bytes) : -1;
    if (whole >= 0 && whole < t->sub.n_model)
        id[0] = whole, *n = 1;
    else
        HS_TRY(hs_bpe_merge(&t->merges, &e->scratch, (const unsigned char *)s, bytes, id, n));
    hs_tok_cache_put(&e->base.cache, s, bytes, id, *n);
    return HS_OK;
}

// The part s[start, end), which may be in the cache.
static hs_status put_part(const bpe *t, encoder *e, const char *s, size_t start, size_t end, hs_tok_out *out)
{
    const size_t bytes = end - start;
    size_t n = 0;
    if (bytes <= HS_TOK_SHORT) {
        char padded[16];
        memcpy(padded, s + start, bytes);
        const hs_tok_entry *hit = hs_tok_cache_get(&e->base.cache, padded, bytes);
        if (hit)
            n = (size_t)hs_tok_entry_copy(&e->base.cache, hit, out->id + out->n);
    }
    if (n == 0)
        HS_TRY(ids_of_part(t, e, s + start, bytes, out->id + out->n, &n));
    if (out->trace) {
        for (size_t k = 0, at = start; k < n; k++) {
            const int64_t i = out->n + (int64_t)k;
            out->trace->start[i] = at;
            at += hs_tok_vocab_text(&t->sub.vocab, out->id[i]).bytes;
            out->trace->end[i] = at;
            out->trace->word[i] = out->trace->n_words;
        }
        out->trace->n_words++;
    }
    out->n += (int64_t)n;
    return HS_OK;
}

// ---- ASCII: where parts of a block begin, in one pass over its bits

// GPT-2's expression on classes. A blank at the end of a run begins a part, which takes the text behind it along if it is a space; the
// blanks before it are another. *stop: what takes more than ASCII to decide.
static uint64_t parts_of_block(const hs_tok_masks *m, const unsigned char *s, uint64_t *stop)
{
    const uint64_t blank = m->space | m->tab_lf_cr | m->vt_ff, other = ~(m->letter | m->digit | blank | m->high);
    const uint64_t joined = m->space << 1; // belongs to the space before it
    const uint64_t other_begins = other & ~(other << 1) & ~joined;
    uint64_t begins = (blank & ~(blank << 1)) | (blank & ~(blank >> 1)) | (m->letter & ~(m->letter << 1) & ~joined) |
                      (m->digit & ~(m->digit << 1) & ~joined) | other_begins | m->high;
    for (uint64_t quotes = other_begins & m->quote; quotes; quotes &= quotes - 1) {
        const unsigned at = (unsigned)__builtin_ctzll(quotes), n = (unsigned)hs_bpe_contraction(s + at, 3);
        if (n == 0 || at >= HS_TOK_STEP)
            continue;
        begins &= ~(2ull << at);
        begins |= m->letter & 1ull << (at + n);
    }
    *stop = m->high | (m->high >> 1 & blank); // a blank before another character may be in the middle of a run
    return begins;
}

// Adds a block's parts; returns where the next block begins, or what is not for this way.
static unsigned collect(const hs_tok_cache *cache, const char *s, hs_tok_batch *b)
{
    hs_tok_masks m;
    uint64_t stop;
    hs_tok_classify((const unsigned char *)s, &m);
    uint64_t begins = parts_of_block(&m, (const unsigned char *)s, &stop);
    while (true) {
        const unsigned at = (unsigned)__builtin_ctzll(begins); // bit 0 is one, and a part that begins before STEP is not the last
        begins &= begins - 1;
        if (at >= HS_TOK_STEP)
            return at;
        const unsigned end = begins ? (unsigned)__builtin_ctzll(begins) : HS_TOK_BLOCK;
        if (end - at > HS_TOK_SHORT || (stop >> at | stop >> end) & 1) {
            b->stopped = true;
            return at;
        }
        hs_tok_batch_add(b, cache, s + at, end - at, false);
    }
}

// From i on; returns where it met what it cannot do: other characters, long parts, the last bytes of the text.
static hs_status ascii_parts(const bpe *t, encoder *e, const char *s, size_t *i, size_t to, hs_tok_out *out)
{
    int32_t *id = out->id + out->n;
    hs_tok_batch b;
    b.stopped = false;
    while (to - *i >= HS_TOK_ROOM && !b.stopped && !(out->most && id - out->id > out->most)) {
        b.n = 0;
        while (to - *i >= HS_TOK_ROOM && !b.stopped && b.n < HS_TOK_BATCH)
            *i += collect(&e->base.cache, s + *i, &b);
        for (unsigned k = 0; k < b.n; k++) {
            const hs_tok_entry *hit = hs_tok_cache_among(b.pair[k], b.key[k]);
            size_t n;
            if (hit) {
                n = (size_t)hs_tok_entry_copy(&e->base.cache, hit, id);
            } else {
                char part[16];
                hs_tok_key_text(b.key[k], part);
                HS_TRY(ids_of_part(t, e, part, b.bytes[k], id, &n));
            }
            id += n;
        }
    }
    out->n = id - out->id;
    return HS_OK;
}

// The last bytes of a text, or all of a short one. What stands behind them stops at the last part, whose end it cannot tell.
static hs_status ascii_tail(const bpe *t, encoder *e, const char *s, size_t *i, size_t to, hs_tok_out *out)
{
    char tail[2 * HS_TOK_ROOM];
    const size_t bytes = to - *i;
    size_t done = 0;
    memcpy(tail, s + *i, bytes);
    memset(tail + bytes, 0xFF, sizeof tail - bytes);
    HS_TRY(ascii_parts(t, e, tail, &done, sizeof tail, out));
    *i += done;
    return HS_OK;
}

// ---- a segment

static hs_status missing_byte(const bpe *t, const char *s, size_t from, size_t to)
{
    for (size_t i = from; t->lacks_bytes && i < to; i++)
        if (t->merges.byte_id[(unsigned char)s[i]] < 0)
            return HS_FAIL(USAGE, "byte 0x%02X at byte offset %zu is not in the tokenizer's vocabulary of %lld tokens", (unsigned char)s[i],
                           i, (long long)t->sub.base.vocab);
    return HS_OK;
}

static hs_status parts(const bpe *t, encoder *e, const char *s, size_t from, size_t to, hs_tok_out *out)
{
    for (size_t i = from; i < to && !hs_tok_out_full(out);) {
        if (!out->trace)
            HS_TRY(ascii_parts(t, e, s, &i, to, out));
        if (!out->trace && i < to && to - i < HS_TOK_ROOM)
            HS_TRY(ascii_tail(t, e, s, &i, to, out));
        const size_t end = hs_bpe_part((const unsigned char *)s, i, to);
        HS_TRY(put_part(t, e, s, i, end, out));
        i = end;
    }
    return HS_OK;
}

// The text with a space before it. What lies on that space lies on the first character instead.
static hs_status prefixed(const bpe *t, encoder *e, const char *s, size_t from, size_t to, hs_tok_out *out)
{
    char *copy = malloc(to - from + 1);
    if (!copy)
        return HS_FAIL(MEMORY, "no memory for %zu bytes of text", to - from);
    copy[0] = ' ';
    memcpy(copy + 1, s + from, to - from);
    const int64_t first = out->n;
    const hs_status st = parts(t, e, copy, 0, to - from + 1, out);
    free(copy);
    int n;
    hs_utf8_next((const unsigned char *)s + from, to - from, &n);
    for (int64_t i = first; out->trace && i < out->n; i++) {
        size_t *start = &out->trace->start[i], *end = &out->trace->end[i];
        *start = from + (*start ? *start - 1 : 0);
        *end = from + (*end > 1 ? *end - 1 : (size_t)n);
    }
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status segment(const hs_tokenizer *base, hs_tok_encoder *e, const char *s, size_t from, size_t to, hs_tok_out *out)
{
    const bpe *t = of(base);
    HS_TRY(missing_byte(t, s, from, to));
    if (t->prefix_space && s[from] != ' ')
        return prefixed(t, (encoder *)e, s, from, to, out);
    return parts(t, (encoder *)e, s, from, to, out);
}

static void encoder_free(hs_tok_encoder *base)
{
    hs_bpe_scratch_free(&((encoder *)base)->scratch);
    hs_tok_cache_free(&base->cache);
    free(base);
}

static hs_status encoder_new(const hs_tokenizer *base, hs_tok_encoder **out)
{
    encoder *e = calloc(1, sizeof *e);
    if (!e)
        return HS_FAIL(MEMORY, "no memory for an encoder");
    hs_status st = hs_tok_cache_init(&e->base.cache);
    if (st == HS_OK)
        st = hs_bpe_scratch_init(&e->scratch, &of(base)->merges);
    if (st != HS_OK) {
        encoder_free(&e->base);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = &e->base;
    return HS_OK;
}

static const hs_tok_model model = { encoder_new, encoder_free, segment };

// ---- making one

static void release(hs_tokenizer *base)
{
    bpe *t = (bpe *)base;
    hs_subword_free_parts(&t->sub);
    hs_bpe_merges_free(&t->merges);
    free(t);
}

// "Ġthe" to " the".
static bool to_bytes(const char *text, char *out, size_t *n)
{
    static const struct {
        uint16_t first, last, byte;
    } range[] = { { 33, 126, 33 }, { 161, 172, 161 }, { 174, 255, 174 }, { 256, 288, 0 }, { 289, 322, 127 }, { 323, 323, 173 } };
    const size_t bytes = strlen(text);
    int length;
    *n = 0;
    for (size_t i = 0; i < bytes; i += (size_t)length) {
        const uint32_t c = hs_utf8_next((const unsigned char *)text + i, bytes - i, &length);
        int k = 0;
        while (k < HS_COUNT(range) && (c < range[k].first || c > range[k].last))
            k++;
        if (k == HS_COUNT(range))
            return false;
        out[(*n)++] = (char)(range[k].byte + c - range[k].first);
    }
    return true;
}

static hs_status read_parts(bpe *t, const char *path, const json_t *root)
{
    const json_t *normalizer = json_object_get(root, "normalizer"), *split = json_object_get(root, "pre_tokenizer");
    const json_t *decoder = json_object_get(root, "decoder"), *m = json_object_get(root, "model");
    bool regex;
    if (strcmp(hs_tok_json_type(normalizer), "null") != 0)
        return hs_tok_json_refuse(path, "normalizer", normalizer, "null for BPE");
    if (strcmp(hs_tok_json_type(split), "ByteLevel") != 0)
        return hs_tok_json_refuse(path, "pre_tokenizer", split, "ByteLevel for BPE");
    if (strcmp(hs_tok_json_type(decoder), "null") != 0 && strcmp(hs_tok_json_type(decoder), "ByteLevel") != 0)
        return hs_tok_json_refuse(path, "decoder", decoder, "ByteLevel for BPE");
    HS_TRY(hs_tok_json_bool(path, split, "add_prefix_space", true, &t->prefix_space));
    HS_TRY(hs_tok_json_bool(path, split, "use_regex", true, &regex));
    HS_TRY(hs_tok_json_bool(path, m, "ignore_merges", false, &t->ignore_merges));
    if (!regex)
        return HS_FAIL(UNSUPPORTED, "%s: pre_tokenizer ByteLevel without its expression (use_regex false)", path);
    return HS_OK;
}

// The two tokens of "a b" or ["a", "b"], as bytes in buf; false if it is neither.
static bool merge_sides(const json_t *merge, char *buf, size_t room, size_t n[2])
{
    char text[2][1024];
    if (json_is_string(merge)) {
        const char *line = json_string_value(merge), *blank = strchr(line, ' ');
        if (!blank || strchr(blank + 1, ' ') || (size_t)(blank - line) >= sizeof text[0] || strlen(blank + 1) >= sizeof text[1])
            return false;
        memcpy(text[0], line, (size_t)(blank - line));
        text[0][blank - line] = 0;
        strcpy(text[1], blank + 1);
    } else {
        for (size_t k = 0; k < 2; k++) {
            const char *side = json_string_value(json_array_get(merge, k));
            if (!side || strlen(side) >= sizeof text[k] || json_array_size(merge) != 2)
                return false;
            strcpy(text[k], side);
        }
    }
    if (strlen(text[0]) + strlen(text[1]) > room || !to_bytes(text[0], buf, &n[0]) || !to_bytes(text[1], buf + n[0], &n[1]))
        return false;
    return n[0] > 0 && n[1] > 0;
}

static hs_status read_merges(bpe *t, const char *path, const json_t *root)
{
    const json_t *list = json_object_get(json_object_get(root, "model"), "merges");
    hs_bpe_merges *m = &t->merges;
    if (!json_is_array(list))
        return HS_FAIL(CORRUPT, "%s has no merges", path);
    if (json_array_size(list) >> HS_BPE_RANK_BITS || t->sub.base.vocab >> HS_BPE_ID_BITS)
        return HS_FAIL(UNSUPPORTED, "%s: %zu merges and %lld tokens, at most %d and %d", path, json_array_size(list),
                       (long long)t->sub.base.vocab, (1 << HS_BPE_RANK_BITS) - 1, (1 << HS_BPE_ID_BITS) - 1);
    m->pair = malloc((json_array_size(list) + 1) * sizeof *m->pair);
    m->made = malloc((json_array_size(list) + 1) * sizeof *m->made);
    uint8_t *made = calloc((size_t)t->sub.base.vocab, 1);
    if (!m->pair || !m->made || !made) {
        free(made);
        return HS_FAIL(MEMORY, "%s: no memory for merges", path);
    }
    for (int b = 0; b < 256; b++) {
        m->byte_id[b] = hs_tok_vocab_find(&t->sub.vocab, &(char){ (char)b }, 1);
        if (m->byte_id[b] >= 0)
            made[m->byte_id[b]] = 1;
        else
            t->lacks_bytes = true;
    }
    hs_status st = HS_OK;
    for (size_t r = 0; st == HS_OK && r < json_array_size(list); r++) {
        char buf[2048];
        size_t n[2];
        if (!merge_sides(json_array_get(list, r), buf, sizeof buf, n)) {
            st = HS_FAIL(CORRUPT, "%s: merge %zu is no pair of tokens", path, r);
            break;
        }
        const hs_bpe_pair p = { hs_tok_vocab_find(&t->sub.vocab, buf, n[0]), hs_tok_vocab_find(&t->sub.vocab, buf + n[0], n[1]) };
        const int32_t whole = hs_tok_vocab_find(&t->sub.vocab, buf, n[0] + n[1]);
        if (p.left < 0 || p.right < 0 || whole < 0)
            st = HS_FAIL(CORRUPT, "%s: merge %zu has a token that is not in the vocabulary", path, r);
        else if (!made[p.left] || !made[p.right])
            st = HS_FAIL(CORRUPT, "%s: merge %zu uses a token that no earlier merge makes", path, r);
        else
            made[whole] = 1;
        m->made[m->n] = whole;
        m->pair[m->n++] = p;
    }
    free(made);
    if (st == HS_OK)
        st = hs_bpe_merges_index(m);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

static uint64_t hash_of(const bpe *t)
{
    const int32_t rules[] = { t->prefix_space, t->ignore_merges };
    const uint64_t hash = XXH3_64bits_withSeed(rules, sizeof rules, hs_subword_hash_tokens(&t->sub));
    return XXH3_64bits_withSeed(t->merges.pair, (size_t)t->merges.n * sizeof *t->merges.pair, hash);
}

// Without a normalizer, added tokens that are all looked for in normalized text are found where those are that all are not: GPT-2's
// tokenizer.json has it the one way, its vocab.json with merges.txt the other.
static void same_ids(bpe *t)
{
    hs_tok_added *a = &t->sub.added;
    int n = 0;
    for (int i = 0; i < a->n; i++)
        n += a->token[i].normalized;
    t->sub.same_ids = t->sub.hash;
    if (n != 0 && n != a->n)
        return;
    for (int i = 0; i < a->n; i++)
        a->token[i].normalized = !a->token[i].normalized;
    t->sub.same_ids = hash_of(t);
    for (int i = 0; i < a->n; i++)
        a->token[i].normalized = !a->token[i].normalized;
}

static hs_status fill(bpe *t, const char *path, const json_t *root, const hs_tok_items *items)
{
    t->sub.base.vocab = items->n;
    t->sub.n_model = items->n_model;
    HS_TRY(read_parts(t, path, root));
    HS_TRY(hs_tok_vocab_make(&t->sub.vocab, items->token, items->n));
    HS_TRY(hs_tok_json_common(&t->sub, path, root));
    HS_TRY(hs_tok_added_ready(&t->sub.added));
    t->sub.base.adds_spaces = t->prefix_space && t->sub.added.n > 0;
    HS_TRY(read_merges(t, path, root));
    t->sub.hash = hash_of(t);
    same_ids(t);
    return HS_OK;
}

static hs_status load(hs_tokenizer **out, const char *path, const json_t *root)
{
    hs_tok_items items;
    HS_TRY(hs_tok_json_items(&items, path, root, to_bytes));
    bpe *t = calloc(1, sizeof *t);
    if (!t) {
        hs_tok_items_free(&items);
        return HS_FAIL(MEMORY, "%s: no memory for a tokenizer", path);
    }
    t->sub.base.kind = &hs_tok_bpe, t->sub.model = &model;
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

static json_t *token_json(const bpe *t, int64_t id)
{
    const hs_tok_text text = hs_tok_vocab_text(&t->sub.vocab, id);
    char *name = malloc(2 * text.bytes + 1);
    size_t n = 0;
    for (size_t i = 0; name && i < text.bytes; i++) {
        char c[4];
        const int length = hs_utf8_put(c, hs_tok_byte_level_character((unsigned char)text.text[i]));
        memcpy(name + n, c, (size_t)length);
        n += (size_t)length;
    }
    json_t *j = name ? json_stringn(name, n) : NULL;
    free(name);
    return j;
}

static json_t *tokenizer_json(const hs_tokenizer *base)
{
    const bpe *t = of(base);
    json_t *vocab = json_object(), *merges = json_array();
    for (int64_t id = 0; id < t->sub.n_model; id++) {
        if (!hs_tokenizer_has(base, (int32_t)id))
            continue;
        json_t *name = token_json(t, id);
        json_object_set_new(vocab, name ? json_string_value(name) : "", json_integer(id));
        json_decref(name);
    }
    for (int64_t r = 0; r < t->merges.n; r++)
        json_array_append_new(merges, json_pack("[o, o]", token_json(t, t->merges.pair[r].left), token_json(t, t->merges.pair[r].right)));
    json_t *m = json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
                          "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0, "ignore_merges",
                          t->ignore_merges, "vocab", vocab, "merges", merges);
    return hs_tok_json_root(&t->sub, m);
}

const hs_tok_kind hs_tok_bpe = {
    .name = "bpe",
    .type = "BPE",
    .load = load,
    .json = tokenizer_json,
    .hash = hs_subword_hash,
    .encode = hs_subword_encode,
    .piece = hs_subword_piece,
    .free = release,
    .subword = true,
};
