// whole_epochs: epochs that are a whole number of micro-batches, the last of which may hold less: no batch has samples of two epochs.
#ifndef HS_DATA_WHOLE_EPOCHS_H
#define HS_DATA_WHOLE_EPOCHS_H
#include "data/batches/source.h"

// A source like `of`, whose epoch has n_samples rounded up to a multiple of `batch` (1: as it is); those behind the last of `of` are empty.
// `of` is borrowed, so that several may read it one after the other.
hs_status hs_whole_epochs_new(hs_source **out, hs_source *of, int64_t batch);

#endif
