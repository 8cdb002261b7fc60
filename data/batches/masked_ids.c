// masked_ids: what a tokenizer calls the tokens that masked samples are made with, and which of its tokens begin a word.
#include "data/batches/masked.h"
#include "data/tokenizers/tok_subword.h"
#include <string.h>

// What each is called where a tokenizer's files do not say.
static const struct part {
    const char *what, *names[3];
    int named;
    size_t offset; // in hs_mask_ids
} parts[] = {
    { "that begins a text", { "[CLS]", "<s>", "<cls>" }, HS_TOK_CLS, offsetof(hs_mask_ids, cls) },
    { "between texts", { "[SEP]", "</s>", "<sep>" }, HS_TOK_SEP, offsetof(hs_mask_ids, sep) },
    { "that masks", { "[MASK]", "<mask>", NULL }, HS_TOK_MASK, offsetof(hs_mask_ids, mask) },
    { "that pads", { "[PAD]", "<pad>", NULL }, HS_TOK_PAD, offsetof(hs_mask_ids, pad) },
};

static bool is_piece(const hs_tokenizer *t, int32_t id, const char *text)
{
    size_t bytes;
    const char *piece = hs_tokenizer_piece(t, id, &bytes);
    return piece && bytes == strlen(text) && memcmp(piece, text, bytes) == 0;
}

// Any token of that name, also one that its files do not call special: vocab.txt says so of none.
static int32_t find(const hs_tokenizer *t, const char *text)
{
    for (int32_t id = 0; t->kind->subword && text && id < hs_tokenizer_vocab(t); id++)
        if (is_piece(t, id, text))
            return id;
    return -1;
}

static int32_t id_of(const hs_tokenizer *t, const struct part *p)
{
    const hs_subword *s = t->kind->subword ? hs_subword_of(t) : NULL;
    int32_t id = s && s->beside ? s->named[p->named] : -1;
    for (int k = 0; k < HS_COUNT(p->names) && id < 0; k++)
        id = find(t, p->names[k]);
    return id;
}

hs_status hs_masked_ids_of(const hs_tokenizer *t, hs_mask_ids *out)
{
    *out = (hs_mask_ids){ 0 };
    for (int i = 0; i < HS_COUNT(parts); i++) {
        const struct part *p = &parts[i];
        int32_t id = id_of(t, p);
        if (id < 0 && p->named == HS_TOK_PAD)
            id = out->sep; // nobody looks at a pad: any token of the model will do
        if (id < 0)
            return HS_FAIL(
                USAGE, "the tokenizer (%s, %lld tokens) has no token %s: %s or %s; masked training needs one of BERT's or RoBERTa's kind",
                hs_tokenizer_kind(t), (long long)hs_tokenizer_vocab(t), p->what, p->names[0], p->names[1]);
        memcpy((char *)out + p->offset, &id, sizeof id);
    }
    out->double_sep = is_piece(t, out->cls, "<s>");
    const int32_t unk = find(t, "[UNK]");
    if (unk >= 0)
        out->special[out->n_special++] = unk;
    for (int32_t id = 0; id < hs_tokenizer_vocab(t) && out->n_special < HS_MASK_SPECIAL - HS_COUNT(parts); id++)
        if (hs_tokenizer_special(t, id) && id != unk)
            out->special[out->n_special++] = id;
    return HS_OK;
}

static bool begins_word(const char *piece, size_t bytes)
{
    static const char lower_block[] = "\xE2\x96\x81"; // U+2581, SentencePiece's space
    if (bytes >= 3 && memcmp(piece, lower_block, 3) == 0)
        return true;
    return bytes > 0 && (piece[0] == ' ' || (piece[0] >= '\t' && piece[0] <= '\r'));
}

void hs_masked_continues_of(const hs_tokenizer *t, uint8_t *continues)
{
    const bool wordpiece = strncmp(hs_tokenizer_kind(t), "wordpiece", 9) == 0;
    for (int32_t id = 0; id < hs_tokenizer_vocab(t); id++) {
        size_t bytes;
        const char *piece = hs_tokenizer_piece(t, id, &bytes);
        const bool inside = piece && (wordpiece ? bytes > 2 && memcmp(piece, "##", 2) == 0 : !begins_word(piece, bytes));
        continues[id] = inside && !hs_tokenizer_special(t, id);
    }
    for (int i = 0; i < HS_COUNT(parts); i++) { // those that the files do not call special, too
        const int32_t id = id_of(t, &parts[i]);
        if (id >= 0)
            continues[id] = 0;
    }
}
