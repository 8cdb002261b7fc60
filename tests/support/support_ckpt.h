// support_ckpt: a small GPT-2's parameters filled with bits that tell step and place, and folders to put them in.
#ifndef HS_TESTS_SUPPORT_CKPT_H
#define HS_TESTS_SUPPORT_CKPT_H
#include "core/run/device.h"
#include "data/checkpoint/checkpoint.h"

enum { CKPT_PATH = 512 };

hs_params *ckpt_params(bool moments); // of AdamW or none; 2 layers, width 16, context 12, vocabulary 50 stored as 64
hs_params *ckpt_params_with(const char *optim, const char *freeze); // the same; NULL: none
hs_params *ckpt_params_frozen(const char *freeze);                  // the same, of AdamW
hs_params *ckpt_params_of(int64_t width, int64_t context, int64_t vocab, int layers);
hs_params *ckpt_params_listed(void); // without moments, and not laid out yet
typedef struct ckpt_layout {         // where a rank is
    int dp_rank, dp, tp_rank, tp;
    bool divided; // values and moments, over dp
    hs_masters masters;
} ckpt_layout;
// One rank's of a model with vocabulary 200.
hs_params *ckpt_params_rank(const ckpt_layout *l, const char *optim, hs_device *device);
hs_device *ckpt_device(void); // that they are laid out on: test_device; NULL: the host's memory
hs_model_info ckpt_info(void);
hs_status ckpt_read_info(const char *model_dir, hs_model_info *info); // hs_ckpt_read_info, where GPT-2 is known
void ckpt_fill(hs_params *ps, uint64_t key);                          // values and moments; every bit pattern, NaNs among them
bool ckpt_filled(const hs_params *ps, uint64_t key, bool moments);    // the same bits, and zero in the padding
bool ckpt_low_filled(const hs_params *ps, uint64_t key);              // the low copy, of all that is stored
hs_train_state ckpt_state(int64_t step);
bool ckpt_state_equal(const hs_train_state *a, const hs_train_state *b);
hs_ckpt_opts ckpt_opts(const char *dir, int keep);

void ckpt_temp_dir(char path[CKPT_PATH]);       // a new folder
void ckpt_remove(const char *path);             // with all that is in it
void ckpt_damage(const char *path, long where); // flips a bit of the byte there; from the end if negative
bool ckpt_exists(const char *dir, const char *name);
int ckpt_count_leftovers(const char *dir);                          // *.tmp-*, *.old-*
void ckpt_put(const char *dir, const char *name, const char *text); // a file

extern char ckpt_logged[8192]; // the lines of the log since then
int ckpt_listen(void **state); // set-up of a test: informations and up are kept, none yet

#endif
