// warm_up: what is asked first, asked by nobody.
#include "infer/session/warm_up.h"

enum { PROMPT = 16, NEW = 3 }; // products of many rows, and those of one

hs_status hs_warm_up_reader(hs_row_reader *r)
{
    int index;
    const int64_t pick = 0; // where a plan has logits, of the first token
    HS_TRY(hs_row_reader_add(r, &(hs_encode_row){ .id = (const int32_t[]){ 0 }, .n = 1, .pick = &pick, .n_picks = !hs_row_reader_width(r) },
                             &index));
    const hs_status st = hs_row_reader_run(r);
    hs_row_reader_clear(r);
    return st;
}

static hs_status run(hs_decoder *d, const hs_sequence *s)
{
    const hs_decoded *out;
    int slot, n;
    HS_TRY(hs_decoder_add(d, s, &slot));
    while (!hs_decoder_idle(d))
        HS_TRY(hs_decoder_step(d, &out, &n));
    return HS_OK;
}

hs_status hs_warm_up_decoder(const hs_decoder_opts *o)
{
    hs_decoder *d;
    int32_t ids[PROMPT];
    for (int i = 0; i < PROMPT; i++)
        ids[i] = (int32_t)(i % o->vocab);
    HS_TRY(hs_decoder_new(&d, o));
    const hs_status st =
        run(d, &(hs_sequence){ .ids = ids, .n = o->context > PROMPT + NEW ? PROMPT : 1, .max_tokens = NEW, .sampling = { .top_p = 1 } });
    hs_decoder_free(d);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}
