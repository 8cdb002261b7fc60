// warm_up: a step or two before anybody waits for one, so that pages of mapped weights are read in, memory that steps work in is there, and
// what is made at first use is made. Nothing that is asked later depends on it, to the bit. Before others use the run.
#ifndef HS_INFER_WARM_UP_H
#define HS_INFER_WARM_UP_H
#include "infer/decode/decoder.h"
#include "infer/encode/row_reader.h"

hs_status hs_warm_up_reader(hs_row_reader *r); // a short row
// A short prompt and a few tokens behind it, by a decoder of its own; logits that are no numbers are for those who ask.
hs_status hs_warm_up_decoder(const hs_decoder_opts *o);

#endif
