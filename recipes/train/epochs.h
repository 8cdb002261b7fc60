// epochs: train.epochs to train.steps.
#ifndef HS_RECIPES_EPOCHS_H
#define HS_RECIPES_EPOCHS_H
#include "recipes/train/train_feed.h"

// Where train.epochs counts: train.steps of the run (whole) and of what is trained (c: the same, or its phase), and *epoch, samples of one
// epoch, the last batch's empty ones too; else 0. Steps that the command line gives go before epochs of a file, which are then what they
// come to. USAGE: both are on the command line.
hs_status hs_epochs_settle(hs_config *whole, hs_config *c, const hs_feed *feed, hs_corpus *corpus, int64_t *epoch);

#endif
