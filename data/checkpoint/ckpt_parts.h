// ckpt_parts: the pieces of a checkpoint folder, shared by those who write it and those who read it.
#ifndef HS_DATA_CKPT_PARTS_H
#define HS_DATA_CKPT_PARTS_H
#include "data/base/json_util.h"
#include "data/checkpoint/ckpt_io.h"

// ---- config.json, generation_config.json (hf_dir.c)
// end: null, a number or a list. dtype: of the weights beside it.
hs_status hs_config_json(hs_text *t, const hs_model_info *m, const hs_model_ends *end, hs_dtype dtype);
bool hs_generation_json(hs_text *t, const hs_model_files *files,
                        const hs_model_ends *end); // false, and nothing: of a model that writes no texts

// ---- train/state.json, train/manifest.json (ckpt_state.c)
void hs_state_json(hs_text *t, const hs_train_state *s);
hs_status hs_state_read(const char *path, hs_train_state *s);

typedef struct hs_manifest { // of all files of a checkpoint but itself
    hs_file_sum *file;
    int n, capacity;
    hs_file_sum *base; // weights of the model that an adapter is beside, in its own folder
    int n_base, cap_base;
    const char *base_path; // written: that folder as seen from the checkpoint's; borrowed
} hs_manifest;
hs_status hs_manifest_add(hs_manifest *m, const char *name, const hs_file_sum *sum);
hs_status hs_manifest_add_base(hs_manifest *m, const char *name, const hs_file_sum *sum);
void hs_manifest_json(hs_text *t, const hs_manifest *m, int64_t step);
hs_status hs_manifest_read(hs_manifest *m, const char *path);
bool hs_manifest_base_path(const char *model_dir, char out[HS_PATH]); // false: its manifest says nothing of the kind
void hs_manifest_free(hs_manifest *m);

// ---- the folder of checkpoints (ckpt_folder.c)
enum { HS_STEP_NAME = 32 };
bool hs_step_name_parse(const char *name, int64_t *step); // "step-00000200"
void hs_step_name(char name[HS_STEP_NAME], int64_t step);
hs_status hs_steps_list(const char *dir, int64_t **steps, int *n);       // ascending; malloc'd
bool hs_pointer_read(const char *dir, const char *which, int64_t *step); // LATEST, BEST; false if missing or not a name of a step
void hs_folder_clean(const hs_io *io, const char *dir);                  // removes *.tmp-* and *.old-* of ours
// Deletes all but the `keep` newest steps up to that of `t` and those that LATEST, BEST and `t` (as its best) name; keep < 1: none.
// Failures are warned about.
void hs_folder_rotate(const hs_io *io, const char *dir, int keep, const hs_train_state *t);
bool hs_folder_has_best(const char *dir,
                        const hs_train_state *t); // the checkpoint that `t` has as its best: not another run's of that step

typedef struct hs_st_stored { // stored elements [first, first + n) of a parameter, where they lie in a snapshot; NULL: none here
    const void *at;
    size_t first, n;
} hs_st_stored;

// ---- what a save copies, and of many ranks each its own share (ckpt_snapshot.c)
typedef struct hs_snapshot { // of a slab
    const hs_slab *slab;
    char *copy; // of hs_params_alloc_host
    size_t bytes;
    bool whole;           // the slab as it lies; else what is written of it
    hs_st_stored *stored; // by parameter: what this rank writes
} hs_snapshot;
typedef struct hs_snapshots { // of the values, then of what an optimizer keeps
    hs_snapshot *s;
    int n;
    double *have; // [tp rank][snapshot][parameter]: elements that the dp ranks of that tp rank have together
} hs_snapshots;
hs_status hs_snapshots_list(hs_snapshots *all, const hs_params *ps); // which there are; hs_snapshots_free in any case
// Collective over o->world: each rank's share follows from what all have. INTERNAL: not all of a tensor is there.
hs_status hs_snapshots_make(hs_snapshots *all, const hs_params *ps, const hs_ckpt_opts *o);
void hs_snapshots_take(const hs_snapshots *all, const hs_params *ps); // copies
void hs_snapshots_free(hs_snapshots *all, const hs_params *ps);
bool hs_slab_keeps(const hs_slab *s, const hs_param *p); // has a slab that is saved p, here or on another rank?

// ---- the files of a checkpoint's folder, and of an exported one (ckpt_files.c)
// The tensors of a file that make up a parameter.
hs_status hs_ckpt_pieces(const hs_ckpt_opts *o, const hs_param *p, hs_name_piece piece[HS_NAME_PIECES], int *n);
typedef struct hs_st_sources { // tensors to write: names and shapes, bound to what there is of them here
    hs_st_source *s;
    hs_st_held *held;    // of s: where a process is alone, all of it
    char *names, *coded; // coded: bytes of parameters that are kept as codes, as far as they are used
    size_t coded_used;
    int n;
} hs_st_sources;
void hs_st_sources_free(hs_st_sources *s);
hs_status hs_st_sources_alloc(hs_st_sources *s, int most);
// One for each tensor that the file has of a parameter. stored: what there is of it here; NULL: its values are read while they are written.
hs_status hs_st_sources_add(hs_st_sources *out, const hs_param *p, const hs_st_stored *stored, const hs_name_piece *piece, int n);
// The values under the other tool's names. stored: by parameter; NULL: read out of ps while they are written.
hs_status hs_st_sources_model(hs_st_sources *out, const hs_params *ps, const hs_ckpt_opts *o, const hs_st_stored *stored);
// ---- parameters that are kept as codes (coded_write.c)
size_t hs_coded_bytes(const hs_params *ps); // of all of them
// Up to four tensors for each piece, out of sources with room in `coded` for hs_coded_bytes and 16 for each piece.
hs_status hs_st_sources_coded(hs_st_sources *out, const hs_params *ps, const hs_param *p, const hs_name_piece *piece, int n);
// ---- weights that are kept as centroids (weights_product.c): of a piece, three tensors, out of sources with room in `coded`
size_t hs_product_source_bytes(const hs_ckpt_opts *o);
const hs_ckpt_product *hs_product_of_piece(const hs_ckpt_opts *o, const hs_param *p, int part); // NULL: it is values
hs_status hs_st_sources_product(hs_st_sources *out, const hs_ckpt_product *q, const hs_name_piece *piece);
#define HS_PRODUCT_METHOD "halfstep-product"                        // quantization_config's quant_method
hs_status hs_quantization_check(const char *path, const json_t *q); // as it is read: UNSUPPORTED by name; path: of config.json
hs_status hs_quantization_json(hs_text *t, const hs_params *ps,
                               const hs_ckpt_opts *o); // the value of quantization_config; t: freed by the caller
// A second network's parameters (hs_model_files.second): is it one of them, are there any; those of its own file, with what it shares.
bool hs_ckpt_is_second(const hs_model_files *f, const char *name);
bool hs_ckpt_has_second(const hs_model_files *f, const hs_params *ps);
hs_status hs_st_sources_second(hs_st_sources *out, const hs_params *ps, const hs_ckpt_opts *o, const hs_st_stored *stored);

// ---- states (ckpt_states.c)
typedef struct hs_state_copies {
    hs_ckpt_states from;
    hs_st_sources sources; // of what the file has, with their bytes in copy
    int *id;               // of each source: of its state
    char *copy;
    const char *own; // the first that ranks have each for itself; NULL: none
} hs_state_copies;
hs_status hs_state_copies_new(hs_state_copies *c, const hs_ckpt_states *from); // hs_state_copies_free in any case
hs_status hs_state_copies_take(const hs_state_copies *c);
void hs_state_copies_free(hs_state_copies *c);

typedef struct hs_ckpt_dir { // a folder that is being written, and what is in it so far
    const hs_io *io;
    const char *dir;
    hs_manifest manifest;
    bool written;       // the folders are made and the tensors' files are there, by all ranks: they are only summed
    hs_agreement *beat; // ticked while that is done; NULL: nobody waits
} hs_ckpt_dir;
hs_status hs_ckpt_put_text(hs_ckpt_dir *to, const char *name, hs_text *t); // frees t
hs_status hs_ckpt_put_tensors(hs_ckpt_dir *to, const char *name, const hs_st_sources *s);
// config.json, generation_config.json and the tokenizer's files (tok may be NULL).
hs_status hs_ckpt_put_beside(hs_ckpt_dir *to, const hs_model_info *info, const hs_tokenizer *tok, hs_dtype dtype);
// ---- the writer with another table of calls, for the tests
hs_status hs_ckpt_new_with(hs_ckpt **out, const hs_ckpt_opts *o, const hs_params *ps, const hs_io *io);
void hs_ckpt_set_beat(hs_ckpt *c, double seconds); // between two meetings of the ranks while they write; 1 by default

#endif
