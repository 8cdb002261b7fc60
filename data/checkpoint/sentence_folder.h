// sentence_folder: what a folder of sentence-transformers says of how texts become vectors - modules.json, and what its modules' folders
// hold.
//
//   modules.json                 [{"path": "", "type": "...Transformer"}, {"path": "1_Pooling", ...}, {"path": "2_Normalize", ...}]
//   1_Pooling/config.json        pooling_mode_mean_tokens and its like
//   sentence_bert_config.json    max_seq_length, do_lower_case
//   tokenizer_config.json        model_max_length, where there is no max_seq_length
//   config_sentence_transformers.json    default_prompt_name, prompts
#ifndef HS_DATA_SENTENCE_FOLDER_H
#define HS_DATA_SENTENCE_FOLDER_H
#include "data/checkpoint/checkpoint.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum hs_pooling { HS_POOLING_MEAN, HS_POOLING_CLS, HS_POOLING_MAX, HS_POOLINGS } hs_pooling;
#define HS_POOLING_WORDS "mean|cls|max" // in this order

enum { HS_SENTENCE_PROMPTS = 16 };
typedef struct hs_sentence_prompt {
    char name[64], text[512];
} hs_sentence_prompt;

typedef struct hs_sentence {
    char dir[4096];     // of the transformer: the folder, or one in it
    bool found;         // there is something of the kind; else the rest is what it is where nobody says anything
    hs_pooling pooling; // mean
    bool pooling_known; // false: the folder asks for one that is not here, and pooling_asked says for which
    char pooling_asked[256];
    bool normalize;     // no
    int64_t max_length; // tokens, special ones included; 0: as many as the model takes
    bool lower_case;    // of texts, before the tokenizer
    char prompt[1024];  // put before each text; ""
    bool prompt_pooled; // its tokens count in the mean
    hs_sentence_prompt named[HS_SENTENCE_PROMPTS]; // [n_named] that a text may ask for instead; longer ones, and more, are left out
    int n_named;
} hs_sentence;

// UNSUPPORTED names a module that is not known here (a dense layer behind the pooling). CORRUPT: a file that is not what it should be.
hs_status hs_sentence_read(const char *dir, hs_sentence *out);

// Can what it says be written here: something was found, and its pooling is known?
static inline bool hs_sentence_whole(const hs_sentence *s) { return s->found && s->pooling_known; }
// The same files, behind a transformer that lies in `dir` itself; width: of the vectors. from: the folder it was read of, whose
// config_sentence_transformers.json is taken along as it is. Of one that is not whole nothing is written.
hs_status hs_sentence_write(const hs_sentence *s, const char *from, const char *dir, int64_t width);
// hs_ckpt_export_as, and those files in it: the folder appears with both or not at all.
hs_status hs_sentence_export(const char *dir, const hs_export_opts *e, const hs_ckpt_opts *o, const hs_params *ps, const hs_model_info *m,
                             const hs_tokenizer *tok, const hs_sentence *s, const char *from, int64_t width);

#endif
