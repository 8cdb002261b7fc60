// support_heads: the tiny models of tests/golden/heads in folders of their own, with the vocabulary that predictions are made with.
#ifndef HS_TESTS_SUPPORT_HEADS_H
#define HS_TESTS_SUPPORT_HEADS_H
#include "infer/heads/head.h"

// The folder, in the scratch folder; the name lasts as long as the process. name: "bert-sequence". problem: of config.json
// ("multi_label_classification", "regression"); NULL: as it stands. labels: of its classifier the first so many; 0: all. It is called
// "bert-sequence", "bert-sequence-regression", "bert-sequence-regression1".
const char *heads_folder(const char *name, const char *problem, int labels);
void heads_open(hs_session *s, const char *name, const char *problem, int threads); // loaded with a plan of hs_head_shape, in fp32
void heads_text(char out[400], int i, int k, int most);                             // words, at most so many: always the same of (i, k)

#endif
