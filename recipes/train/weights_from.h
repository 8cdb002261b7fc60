// weights_from: what the weights that a run starts or goes on with bring along - family, shape, tokenizer. For `pretrain`, and for `plan`,
// which says what that would run.
#ifndef HS_RECIPES_WEIGHTS_FROM_H
#define HS_RECIPES_WEIGHTS_FROM_H
#include "data/tokenizers/tokenizer.h"
#include "recipes/train/ranks.h"
#include "recipes/train/run_dir.h"

// Of run only `from` and `init` are looked at: where neither is set, data.tokenizer auto is settled and no more. *tokenizer_dir: the folder
// whose tokenizer goes with the weights; NULL: data.tokenizer. Borrowed from run. USAGE: a setting says otherwise, another tokenizer is
// named, or there is none.
hs_status hs_weights_take(hs_config *c, const hs_run_dir *run, const char **tokenizer_dir);
hs_status hs_weights_tokenizer(hs_config *c, const hs_run_dir *run, const char **tokenizer_dir); // its second half
// model.vocab, where it is open, from a tokenizer of so many tokens. USAGE: it is set, and they are more.
hs_status hs_weights_vocabulary(hs_config *c, int64_t have);
// The same of model.pad, where the family has that key. USAGE: it is set, and the tokenizer's is another.
hs_status hs_weights_pad(hs_config *c, const hs_tokenizer *t);
hs_status hs_weights_pad_id(hs_config *c, int32_t pad); // of a tokenizer whose padding token is known; -1: it has none
// Of labelled data: the classes of a head that goes on, those of the checkpoint or, with task.head keep, of a train.init_from for the same
// task that names them; n 0: there are none. The caller frees them.
hs_status hs_weights_classes(const hs_config *c, const hs_run_dir *run, hs_labels *out);
bool hs_labels_nameless(const hs_labels *l); // LABEL_0, LABEL_1, ...
// model.labels, where it is open, from data that have so many. USAGE: it is set to another number.
hs_status hs_weights_labels(hs_config *c, int64_t have);
// Going on from a checkpoint of `family` with these settings: USAGE, where the configuration has another shape.
hs_status hs_weights_check(const hs_config *c, const hs_model_info *info, const hs_family *family, const char *from);
// Collective (weights_same.c): all ranks find the same weights in dir, which `key` names, in the folders of it, and in what an adapter
// stands beside. train: a run goes on from it, with moments and state. Reads them through. USAGE on ranks where they are others.
hs_status hs_weights_same(const hs_ranks *r, const char *key, const char *dir, bool train);

#endif
