// tok_rows: texts cut to length, put into templates, padded; each id with where it comes from.
#include "data/base/utf8.h"
#include "data/tokenizers/tok_subword.h"
#include <stdlib.h>
#include <string.h>

typedef struct window {
    int64_t start, end; // of a text's ids
} window;

typedef struct text { // one of a pair
    const char *s;
    size_t bytes;
    hs_tok_out out;
    hs_tok_trace trace;
    hs_span *chars; // [out.n]
    window *window; // [0] the first, then what overflowed
    int64_t n_windows;
} text;

static void release(text *t)
{
    free(t->out.id);
    free(t->trace.start);
    free(t->trace.end);
    free(t->trace.word);
    free(t->chars);
    free(t->window);
}

// ---- ids with their bytes and characters

// Kinds whose ids are the text's bytes one after the other.
static hs_status tile(const hs_tokenizer *t, text *x)
{
    size_t at = 0, bytes;
    HS_TRY(t->kind->encode(t, (const unsigned char *)x->s, x->bytes, x->out.id, &x->out.n));
    for (int64_t i = 0; i < x->out.n; i++) {
        t->kind->piece(t, x->out.id[i], &bytes);
        x->trace.start[i] = at;
        at += bytes;
        x->trace.end[i] = at;
        x->trace.word[i] = (int32_t)i;
    }
    return HS_OK;
}

typedef struct cursor { // a character's first byte and its number
    size_t at;
    int64_t number;
} cursor;

// To the character that byte `target` is part of. Targets rise but for a few, so that it moves about once over the text.
static int64_t character_of(cursor *c, const text *x, size_t target)
{
    const unsigned char *s = (const unsigned char *)x->s;
    while (c->at > target) {
        size_t i = c->at - 1;
        while (i > 0 && c->at - i < 4 && (s[i] & 0xC0) == 0x80)
            i--;
        c->at = (size_t)hs_utf8_length(s + i, c->at - i) == c->at - i ? i : c->at - 1;
        c->number--;
    }
    for (int n; c->at < x->bytes; c->at += (size_t)n, c->number++) {
        hs_utf8_next(s + c->at, x->bytes - c->at, &n);
        if (c->at + (size_t)n > target)
            break;
    }
    return c->number;
}

static hs_status find_characters(text *x)
{
    cursor first = { 0 }, last = { 0 };
    x->chars = malloc(((size_t)x->out.n + 1) * sizeof *x->chars);
    if (!x->chars)
        return HS_FAIL(MEMORY, "no memory for the offsets of %lld ids", (long long)x->out.n);
    for (int64_t i = 0; i < x->out.n; i++) {
        const size_t start = x->trace.start[i], end = x->trace.end[i];
        x->chars[i].start = character_of(&first, x, start);
        x->chars[i].end = end > start ? character_of(&last, x, end - 1) + 1 : x->chars[i].start;
    }
    return HS_OK;
}

static hs_status encode(const hs_tokenizer *t, text *x, int64_t most)
{
    const size_t room = hs_tok_room(t, x->bytes);
    x->out.id = malloc(room * sizeof *x->out.id);
    x->trace.start = malloc(room * sizeof *x->trace.start);
    x->trace.end = malloc(room * sizeof *x->trace.end);
    x->trace.word = malloc(room * sizeof *x->trace.word);
    if (!x->out.id || !x->trace.start || !x->trace.end || !x->trace.word)
        return HS_FAIL(MEMORY, "no memory for the ids of %zu bytes of text", x->bytes);
    x->out.trace = &x->trace, x->out.most = most;
    HS_TRY(t->kind->subword ? hs_subword_run(t, x->s, x->bytes, &x->out) : tile(t, x));
    HS_TRY(find_characters(x));
    return HS_OK;
}

// ---- cutting

// Windows of `length` ids, each but the first beginning with `stride` ids of the one before.
static hs_status cut(text *x, int64_t length, const hs_row_opts *o)
{
    const int64_t n = x->out.n;
    const bool whole = length >= n;
    if (!whole && length > 0 && o->stride >= length)
        return HS_FAIL(USAGE, "stride %lld leaves nothing new in windows of %lld ids", (long long)o->stride, (long long)length);
    const int64_t step = length - o->stride, most = whole ? 1 : length == 0 ? 2 : (n - o->stride + step - 1) / step;
    x->window = malloc((size_t)most * sizeof *x->window);
    if (!x->window)
        return HS_FAIL(MEMORY, "no memory for %lld windows", (long long)most);
    if (whole) {
        x->window[x->n_windows++] = (window){ 0, n };
        return HS_OK;
    }
    if (o->overflow == HS_OVERFLOW_DROP) {
        x->window[x->n_windows++] = o->truncate_left ? (window){ n - length, n } : (window){ 0, length };
        return HS_OK;
    }
    if (length == 0) { // an empty one, and all of it
        x->window[x->n_windows++] = (window){ 0, 0 };
        x->window[x->n_windows++] = (window){ 0, n };
        return HS_OK;
    }
    for (int64_t k = 0; k < most; k++) {
        const int64_t start = k * step, end = start + length < n ? start + length : n;
        x->window[x->n_windows++] = o->truncate_left ? (window){ n - end, n - start } : (window){ start, end };
    }
    return HS_OK;
}

// The shorter keeps what it has as long as it is not longer than half.
static void share(int64_t max, int64_t n[2])
{
    const bool swap = n[0] > n[1];
    int64_t few = n[swap], many = n[!swap];
    many = few > max ? few : few > max - few ? few : max - few;
    if (few + many > max) {
        few = max / 2;
        many = few + max % 2;
    }
    n[swap] = few, n[!swap] = many;
}

static hs_status cut_texts(text x[2], int n_texts, int64_t n_special, const hs_row_opts *o)
{
    int64_t n[2] = { x[0].out.n, n_texts > 1 ? x[1].out.n : 0 };
    const int64_t max = o->max_length - n_special, excess = n[0] + n[1] - max;
    const int only = o->truncate == HS_TRUNCATE_ONLY_SECOND;
    if (o->max_length > 0 && max <= 0)
        return HS_FAIL(USAGE, "max_length %lld leaves no room beside %lld special tokens", (long long)o->max_length, (long long)n_special);
    if (o->max_length > 0 && excess > 0) {
        if (o->truncate == HS_TRUNCATE_LONGEST_FIRST) {
            if (n_texts > 1)
                share(max, n);
            else
                n[0] = max;
        } else if (only >= n_texts) {
            return HS_FAIL(USAGE, "only_second cuts the second text, and there is none");
        } else if (n[only] <= excess) {
            return HS_FAIL(USAGE, "text of %lld ids cannot be cut by %lld to fit max_length %lld", (long long)n[only], (long long)excess,
                           (long long)o->max_length);
        } else {
            n[only] -= excess;
        }
    }
    for (int i = 0; i < n_texts; i++)
        HS_TRY(cut(&x[i], n[i], o));
    return HS_OK;
}

// ---- rows

static hs_status make_row(hs_row *r, int64_t n)
{
    const size_t each = 2 * sizeof(hs_span) + 3 * sizeof(int32_t) + 3;
    char *p = calloc((size_t)n + 1, each);
    if (!p)
        return HS_FAIL(MEMORY, "no memory for a row of %lld ids", (long long)n);
    *r = (hs_row){ .n = n, .bytes = (hs_span *)p };
    r->chars = r->bytes + n;
    r->id = (int32_t *)(r->chars + n);
    r->type = r->id + n;
    r->word = r->type + n;
    r->sequence = (int8_t *)(r->word + n);
    r->special = (uint8_t *)(r->sequence + n);
    r->attend = r->special + n;
    return HS_OK;
}

static void put_alone(hs_row *r, int64_t at, int32_t id, int32_t type, bool attend)
{
    r->id[at] = id, r->type[at] = type;
    r->word[at] = r->sequence[at] = -1;
    r->special[at] = 1, r->attend[at] = attend;
}

typedef struct blanks {              // at the ends of a token
    int64_t leading[2], trailing[2]; // bytes, characters
} blanks;

// Spaces; around an added token, which took them along from the text, any white space.
static blanks blanks_of(const hs_subword *s, const hs_row *r, int64_t at, const text *x)
{
    blanks b = { { 0 }, { 0 } };
    const hs_tok_text token = hs_tok_vocab_text(&s->vocab, r->id[at]);
    if (hs_tok_added_has(&s->added, r->id[at])) {
        const hs_span p = r->bytes[at];
        hs_tok_added_blanks(x->s, (size_t)p.start, (size_t)p.end, b.leading, b.trailing);
        return b;
    }
    while ((size_t)b.leading[0] < token.bytes && token.text[b.leading[0]] == ' ')
        b.leading[1] = ++b.leading[0];
    while ((size_t)b.trailing[0] < token.bytes && token.text[token.bytes - 1 - (size_t)b.trailing[0]] == ' ')
        b.trailing[1] = ++b.trailing[0];
    return b;
}

// They are no part of a token's span - but one in front of the first, which may have been put there, stays.
static void trim(const hs_subword *s, hs_row *r, int64_t at, const text *x, bool is_first)
{
    const blanks b = blanks_of(s, r, at, x);
    hs_span *const spans[] = { &r->bytes[at], &r->chars[at] };
    const bool keep = s->trim_keeps_first && b.leading[1] == 1 && (is_first || spans[1]->start == 0);
    for (int i = 0; i < HS_COUNT(spans); i++) {
        hs_span *p = spans[i];
        if (!keep)
            p->start = p->start + b.leading[i] < p->end ? p->start + b.leading[i] : p->end;
        if (p->end >= b.trailing[i])
            p->end = p->end - b.trailing[i] > p->start ? p->end - b.trailing[i] : p->start;
    }
}

static void put_window(const hs_subword *s, hs_row *r, int64_t at, const text *x, window w, int8_t sequence, int32_t type)
{
    for (int64_t i = w.start; i < w.end; i++, at++) {
        r->id[at] = x->out.id[i], r->type[at] = type;
        r->word[at] = x->trace.word[i], r->sequence[at] = sequence;
        r->attend[at] = 1;
        r->bytes[at] = (hs_span){ (int64_t)x->trace.start[i], (int64_t)x->trace.end[i] };
        r->chars[at] = x->chars[i];
        if (s && s->trim_offsets)
            trim(s, r, at, x, i == w.start);
    }
}

static int64_t padded_length(const hs_row_opts *o, int64_t n, int64_t longest)
{
    int64_t length = o->pad == HS_PAD_NONE ? n : o->pad == HS_PAD_FIXED ? o->pad_length : longest;
    if (o->pad != HS_PAD_NONE && o->pad_multiple > 1)
        length = (length + o->pad_multiple - 1) / o->pad_multiple * o->pad_multiple;
    return length > n ? length : n;
}

static hs_status fill_row(const hs_subword *s, const hs_tok_template *t, const text x[2], const window w[2], const hs_row_opts *o,
                          int64_t n, int64_t longest, hs_row *r)
{
    const int64_t length = padded_length(o, n, longest), pad = length - n;
    HS_TRY(make_row(r, length));
    int64_t at = o->pad_left ? pad : 0;
    for (int64_t i = 0; i < pad; i++)
        put_alone(r, o->pad_left ? i : n + i, o->pad_id, o->pad_type, false);
    for (int k = 0; k < t->n; k++) {
        const hs_tok_slot slot = t->slot[k];
        if (slot.id >= 0) {
            if (!o->no_special)
                put_alone(r, at++, slot.id, slot.type, true);
            continue;
        }
        const int which = slot.id == HS_TOK_B;
        put_window(s, r, at, &x[which], w[which], (int8_t)which, slot.type);
        at += w[which].end - w[which].start;
    }
    return HS_OK;
}

static int64_t specials(const hs_tok_template *t, const hs_row_opts *o)
{
    int64_t n = 0;
    for (int k = 0; k < t->n; k++)
        n += t->slot[k].id >= 0 && !o->no_special;
    return n;
}

// Windows of the first text, each with every one of the second; then the first window of the first with the others of the second.
static hs_status combine(const hs_subword *s, const hs_tok_template *t, const text x[2], int n_texts, const hs_row_opts *o, hs_rows *out)
{
    static const window none = { 0, 0 };
    const int64_t n_a = x[0].n_windows, n_b = n_texts > 1 ? x[1].n_windows : 1, n_special = specials(t, o);
    out->row = calloc((size_t)(n_a * n_b), sizeof *out->row);
    if (!out->row)
        return HS_FAIL(MEMORY, "no memory for %lld rows", (long long)(n_a * n_b));
    int64_t longest = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t k = 0; k < n_a * n_b; k++) {
            // [0] is (0, 0), then (a, b) for a from 1, then (0, b) for b from 1
            const int64_t rest = k - 1, a = k == 0 || rest >= (n_a - 1) * n_b ? 0 : 1 + rest / n_b;
            const int64_t b = k == 0 ? 0 : a > 0 ? rest % n_b : rest - (n_a - 1) * n_b + 1;
            const window w[2] = { x[0].window[a], n_texts > 1 ? x[1].window[b] : none };
            const int64_t n = n_special + w[0].end - w[0].start + w[1].end - w[1].start;
            if (pass == 0)
                longest = n > longest ? n : longest;
            else
                HS_TRY(fill_row(s, t, x, w, o, n, longest, &out->row[out->n++]));
        }
    return HS_OK;
}

// Ids of a text beyond which it makes no difference how many there are; 0: there is no such number.
static int64_t most_of(const hs_row_opts *o)
{
    const bool all = o->overflow == HS_OVERFLOW_ROWS || (o->overflow == HS_OVERFLOW_DROP && o->truncate_left);
    return all ? 0 : o->max_length;
}

static hs_status encode_texts(const hs_tokenizer *t, text x[2], int n_texts, int64_t n_special, const hs_row_opts *o)
{
    const int64_t most = most_of(o);
    for (int i = 0; i < n_texts; i++)
        HS_TRY(encode(t, &x[i], most));
    // of two that do not fit by themselves the longer one has the odd id
    const bool tie = o->overflow == HS_OVERFLOW_DROP && o->truncate == HS_TRUNCATE_LONGEST_FIRST && (o->max_length - n_special) % 2;
    if (n_texts < 2 || !tie || !hs_tok_out_full(&x[0].out) || !hs_tok_out_full(&x[1].out))
        return HS_OK;
    for (int i = 0; i < n_texts; i++) {
        release(&x[i]);
        x[i] = (text){ .s = x[i].s, .bytes = x[i].bytes };
        HS_TRY(encode(t, &x[i], 0));
    }
    return HS_OK;
}

static bool too_long(const text x[2], int64_t n_special, const hs_row_opts *o)
{
    return o->max_length > 0 && x[0].out.n + x[1].out.n > o->max_length - n_special;
}

hs_row_opts hs_tokenizer_row_opts(const hs_tokenizer *t) { return t->kind->subword ? hs_subword_of(t)->shape : (hs_row_opts){ 0 }; }

hs_status hs_tokenizer_rows(const hs_tokenizer *t, const char *first, size_t bytes, const char *second, size_t second_bytes,
                            const hs_row_opts *o, hs_rows *out)
{
    static const hs_tok_template plain[2] = { { { { HS_TOK_A, 0 } }, 1 }, { { { HS_TOK_A, 0 }, { HS_TOK_B, 1 } }, 2 } };
    const hs_subword *s = t->kind->subword ? hs_subword_of(t) : NULL;
    const int n_texts = second ? 2 : 1;
    const hs_tok_template *of = !s ? &plain[second != NULL] : second ? &s->pair : &s->single;
    text x[2] = { { .s = first, .bytes = bytes }, { .s = second, .bytes = second_bytes } };
    *out = (hs_rows){ 0 };
    const bool surely = o->overflow == HS_OVERFLOW_REFUSE && o->max_length > 0 &&
                        (hs_tokenizer_exceeds(t, bytes, o->max_length) || (second && hs_tokenizer_exceeds(t, second_bytes, o->max_length)));
    hs_status st = o->stride < 0 || o->max_length < 0 || o->pad_length < 0 || o->pad_multiple < 0
                       ? HS_FAIL(USAGE, "a row's lengths and stride cannot be negative")
                   : surely ? HS_OK
                            : encode_texts(t, x, n_texts, specials(of, o), o);
    out->more = surely || (st == HS_OK && o->overflow != HS_OVERFLOW_ROWS && too_long(x, specials(of, o), o));
    const bool none = out->more && o->overflow == HS_OVERFLOW_REFUSE;
    if (st == HS_OK && !none)
        st = cut_texts(x, n_texts, specials(of, o), o);
    if (st == HS_OK && !none)
        st = combine(s, of, x, n_texts, o, out);
    release(&x[0]);
    release(&x[1]);
    if (st == HS_OK)
        return HS_OK;
    hs_rows_free(out);
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_rows_free(hs_rows *rows)
{
    for (int64_t i = 0; rows->row && i < rows->n; i++)
        free(rows->row[i].bytes);
    free(rows->row);
    *rows = (hs_rows){ 0 };
}
