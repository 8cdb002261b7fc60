// texts: any number of texts through an encoder, in batches, in order: text -> tokens -> encoder -> whoever wants what came out.
#ifndef HS_INFER_TEXTS_H
#define HS_INFER_TEXTS_H
#include "infer/encode/row_reader.h"
#include "infer/session/session.h"

typedef struct hs_texts hs_texts;
typedef struct hs_text_out { // until the call returns
    int64_t number;          // of the text, from 0
    const char *text;
    size_t bytes;
    const hs_row_reader *reader; // its row, as hs_row_reader_vector and hs_row_reader_guess want it
    int index;
    int64_t n_masks; // hs_texts_opts.masks: picks of the row
} hs_text_out;
typedef hs_status hs_text_done(const hs_text_out *out, void *user);

typedef struct hs_texts_opts {
    const hs_session *session; // loaded with an evaluation plan of hs_texts_shape
    hs_run *run;               // NULL: the session's; or one more of its model
    int64_t max_length;        // tokens of a text, special ones included; 0, or more than the context: the context
    bool masks;                // what stands at mask tokens is wanted, not a vector: texts must have one, and may not be cut
    hs_text_done *done;
    void *user;
} hs_texts_opts;

// Of so many tokens at once: of masks, logits of at most so many.
hs_arch_shape hs_texts_shape(const hs_session *s, bool masks);
// USAGE: the session has no tokenizer, or one without a mask where masks are wanted.
hs_status hs_texts_new(hs_texts **out, const hs_texts_opts *o);
void hs_texts_free(hs_texts *t);
// Takes a text; where there is no room for it those before it are done first. USAGE: what is wrong with it.
hs_status hs_texts_add(hs_texts *t, const char *text, size_t bytes);
hs_status hs_texts_finish(hs_texts *t); // all that were added are done

typedef struct hs_texts_count {
    int64_t texts, tokens;   // special ones included
    int64_t cut, max_length; // texts that were longer than that
} hs_texts_count;
hs_texts_count hs_texts_counted(const hs_texts *t);

#endif
