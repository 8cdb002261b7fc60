// import_model: what came out of a file - tensors by name, settings, a tokenizer - on its way into a directory of transformers.
#ifndef HS_INFER_IMPORT_MODEL_H
#define HS_INFER_IMPORT_MODEL_H
#include "data/checkpoint/checkpoint.h"
#include "data/checkpoint/weights.h"
#include "infer/import/import.h"

typedef struct hs_import_model {
    const char *path; // of the file, for messages
    const hs_family *const *families;
    const hs_model_files *known[HS_FAMILIES]; // theirs
    int n_known;
    const hs_import_opts *opts;
    // tensors, each as [out, in]
    hs_st_entry *entry;
    int n, capacity;
    struct hs_map *index; // by hash of a name: index + 1
    void **own;           // memory of names and of values that had to be made
    int n_own, cap_own;
    // how they are named; of the model's own files where there are none
    const hs_name_rule *rule;
    int n_rules;
    const hs_alias *alias;
    int n_aliases;
    // what model it is
    const hs_family *family;
    hs_model_info info;
    hs_tokenizer *tokenizer; // NULL: none
    bool deduced;            // settings are the graph's, as there is no config.json
} hs_import_model;

hs_status hs_import_begin(hs_import_model *m, const char *path, const hs_family *const *families, const hs_import_opts *o);
void hs_import_end(hs_import_model *m);
void *hs_import_keep(hs_import_model *m, size_t bytes); // goes with m; NULL: no memory
// A tensor; name is copied, data is borrowed. One that is there already stays, if it is the same: CORRUPT if not.
hs_status hs_import_add(hs_import_model *m, const char *name, hs_dtype dtype, int n_dims, const int64_t *dim, const void *data);
const hs_st_entry *hs_import_find(const hs_import_model *m, const char *name); // NULL: none of that name
hs_status hs_import_family(hs_import_model *m, int index);                     // with its default settings, and no heads
// The tokenizer of the folder that the options name, else of the first of these (NULL behind the last) that has one.
hs_status hs_import_tokenizer(hs_import_model *m, const char *const *dirs);
// Memory is asked for by settings, so that they must not promise what a file of so many numbers cannot hold.
hs_status hs_import_check_size(const hs_import_model *m, int64_t have);
hs_status hs_import_params(const hs_import_model *m, hs_params **ps); // of m->info, without memory for values; the caller frees them
// Holds the tensors against the model of m->info, and writes the directory.
hs_status hs_import_write(hs_import_model *m, const char *dir, hs_import_said *said);

// ---- the formats: tensors, settings and tokenizer out of the file at m->path. keep: what must stay open until all is written.
typedef struct hs_import_file {
    void *file;
    void (*close)(void *file);
} hs_import_file;
hs_status hs_import_gguf(hs_import_model *m, hs_import_file *keep);
hs_status hs_import_onnx(hs_import_model *m, hs_import_file *keep);
hs_status hs_import_llmc(hs_import_model *m, hs_import_file *keep);

#endif
