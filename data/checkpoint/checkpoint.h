// checkpoint: a Hugging Face model directory plus train/, written so that nothing can be lost.
//
//   RUN/checkpoints/step-00000200/          config.json, generation_config.json, model.safetensors (f32 values), tokenizer files
//                          train/           optimizer.safetensors (SLAB.PARAMETER: adam.m.*, adam.v.*), state.json (counters, scaler, seed,
//                          cursor, best), states.safetensors (hs_state.saved, if any), config.yaml, manifest.json (checksums)
//                          FOLDER/          a second network that is trained beside the model (hs_model_files.second), as a model directory
//                          with what both share
//   RUN/checkpoints/LATEST                  "step-00000200", replaced last;  BEST likewise
//
// Of a run that trains an adapter, adapter_config.json and adapter_model.safetensors stand in the place of model.safetensors (peft.h).
//
// A snapshot is copied, then written by a background thread: temporary name, checksums, fsync of every file and folder, rename,
// LATEST by temporary name and rename, then rotation. A failed write (disk full, ...) leaves all earlier checkpoints whole.
// What is restored is verified; a damaged newest checkpoint is passed over for the one before, and the log says so.
#ifndef HS_DATA_CHECKPOINT_H
#define HS_DATA_CHECKPOINT_H
#include "core/graph/comm.h"
#include "core/graph/graph.h"
#include "core/graph/params.h"
#include "core/settings/keys.h"
#include "data/labelled/labels.h"
#include "data/tokenizers/tokenizer.h"

// ---- safetensors
typedef struct hs_st_tensor { // one tensor to write
    const char *name;
    hs_dtype dtype;
    int n_dims;
    int64_t dim[HS_MAX_DIMS];
    const void *data;
} hs_st_tensor;
// Sorted by alignment then name, header padded so that data begin at a multiple of 64 bytes, __metadata__ {"format":"pt"}. Temporary name,
// fsync, rename: the whole file or an error. *hash: XXH3-64 of the file's bytes (may be NULL).
hs_status hs_safetensors_write(const char *path, const hs_st_tensor *t, int n, uint64_t *hash);

typedef struct hs_safetensors hs_safetensors; // memory-mapped; every offset, size and overlap checked on opening
typedef struct hs_st_entry {
    const char *name;
    hs_dtype dtype;
    int n_dims;
    int64_t dim[8];
    const void *data; // may lie at an odd address
    size_t bytes;
} hs_st_entry;
hs_status hs_safetensors_open(hs_safetensors **out, const char *path);
void hs_safetensors_close(hs_safetensors *s);
void hs_safetensors_forget(hs_safetensors *s); // pages read so far go from this process; they come again when somebody reads
int hs_safetensors_count(const hs_safetensors *s);
const hs_st_entry *hs_safetensors_at(const hs_safetensors *s, int i);
const hs_st_entry *hs_safetensors_find(const hs_safetensors *s, const char *name);

// ---- the whole
typedef struct hs_train_state { // everything a resumed run needs beside the slabs
    hs_step_state step_state;
    int64_t step;              // attempted steps done
    int64_t phase, phase_step; // of a run in phases: which one, and steps done of it; else 0 and step
    uint64_t seed, next_sample;
    int64_t tokens_seen;
    double best_val_loss; // < 0: none yet
    int64_t best_step;
    double best_score; // what the best is judged by, where that is not its loss
    int64_t worse;     // evaluations since then
} hs_train_state;

enum { HS_MODEL_ENDS = 32 };
typedef struct hs_model_ends { // tokens that end a text, any of them, inside the model's vocabulary
    int32_t id[HS_MODEL_ENDS];
    int n;
    int32_t begin;                     // written only; -1: none
    const struct hs_tokenizer *tokens; // written only: whose special tokens have a role; NULL: none
} hs_model_ends;

// config.json's "sparsity": {"pattern": "2:4", "weights": ["l*.ff.up.weight", ...]}. Weights that were pruned, by patterns of our names
// (hs_params_keep_zeros); other tools read past it.
enum { HS_SPARSITY_PATTERN = 16, HS_SPARSITY_WEIGHTS = 512 };
typedef struct hs_sparsity {
    char pattern[HS_SPARSITY_PATTERN]; // "2:4": of every 4 values along the input 2 at least are zero; "": nothing is pruned
    char weights[HS_SPARSITY_WEIGHTS]; // separated by commas
} hs_sparsity;

typedef struct hs_model_info {   // what config.json says
    const hs_model_files *files; // the rows it was read by
    hs_settings settings;        // the family's own struct
    // Read: eos_token_id of generation_config.json, else of config.json. Written: these, or where there are none the tokenizer's.
    hs_model_ends end;
    bool coded;               // quantization_config says that weights are kept as codes (compressed-tensors)
    const char *quantization; // written: the value of quantization_config; NULL: none
    hs_labels labels;         // of a model with a task, in the order of its outputs: id2label. Written: none of them, "LABEL_0", ...
    hs_sparsity sparsity;     // an adapter's folder has none, whatever its base has
} hs_model_info;
void hs_model_info_free(hs_model_info *m); // its labels; takes NULL, and one that was never read where that is all 0

// What a run has beside parameters and goes on with: the states that are saved (hs_state.saved). Of several ranks: those that
// all have alike (hs_state.largest); whatever layout wrote them, any reads them. UNSUPPORTED: one that is not.
typedef struct hs_ckpt_states {
    const hs_states *all;                           // borrowed; NULL: there are none
    hs_status (*read)(void *run, int id, void *to); // the bytes of one, as they are behind all that was submitted
    hs_status (*write)(void *run, int id, const void *from);
    void *run;
} hs_ckpt_states;

// A weight that a directory is to have as indices of centroids (weights_product.c): a part, from 1 on, of a parameter, or with 0 all of it.
typedef struct hs_ckpt_product {
    const hs_param *param;
    int part, block, centroids;
    const float *centroid; // [centroids][block], finite in f16, as which they are written
    const uint8_t *index;  // [rows][columns / block]
} hs_ckpt_product;

typedef struct hs_ckpt_opts {
    const char *dir;             // RUN/checkpoints; created
    int keep;                    // last k kept, plus BEST and what the state has as its best; below 1: all
    const hs_model_files *files; // names and aliases; NULL: tensors have our own names
    const char *base;            // writing, of parameters that wear an adapter's pairs (peft.h): the folder of the model they are beside
    // Loading: heads (files->heads) that the file lacks are drawn, and those that the model lacks are passed over; both are said.
    bool heads_open;
    const char *fresh; // (optional) scopes "class|tags" of parameters that are drawn although the file has them, with heads_open; borrowed
    // Writing, of many ranks: the grid that ps is divided by, all ranks for the calls of this thread, and the same ranks once more for the
    // writer's thread alone. NULL: one process.
    const hs_grid *grid;
    hs_comm *world, *comm;
    hs_ckpt_states states;          // writing
    const hs_ckpt_product *product; // exporting: n_products, of all parts of a parameter or none; the rest are values. Borrowed
    int n_products;
} hs_ckpt_opts;

// Of many ranks each copies and writes its own slices, at their final place in the very files that one process would write: no rank ever
// holds more than it trains, and the folder says nothing of how many there were. hs_ckpt_new, _save and _go_on are called by all of them,
// at the same step; a save that fails on one is published by none, and every rank's hs_ckpt_wait (or next save) says the same of it.
typedef struct hs_ckpt hs_ckpt; // the writer: one thread, one snapshot
// Counts and reserves the snapshot's memory (hs_params_alloc_host).
hs_status hs_ckpt_new(hs_ckpt **out, const hs_ckpt_opts *o, const hs_params *ps);
size_t hs_ckpt_bytes(const hs_params *ps); // of the snapshot, where one process writes all of it: values and slabs that are saved
size_t hs_ckpt_bytes_on(const hs_params *ps, const hs_grid *grid); // of this rank's
// Copies the slabs (the only time the caller waits, besides for an unfinished save before it) and returns; the thread writes.
// is_best: BEST points here afterwards. An error of the *previous* write is returned here once (that checkpoint does not exist; this one
// is being written all the same, and training may go on). tok (may be NULL) and m's labels are borrowed until hs_ckpt_wait; ps until
// hs_ckpt_free.
hs_status hs_ckpt_save(hs_ckpt *c, const hs_params *ps, const hs_train_state *t, const hs_model_info *m, const hs_tokenizer *tok,
                       const char *config_yaml, bool is_best);
// Before a run goes on from `t`: BEST names what `t` has as its best, where that lies in this folder. After going back to an earlier step,
// or a kill between a checkpoint and BEST, it named another or was gone.
hs_status hs_ckpt_go_on(hs_ckpt *c, const hs_train_state *t);
hs_status hs_ckpt_wait(hs_ckpt *c); // until nothing is in flight; its error
void hs_ckpt_free(hs_ckpt *c);      // waits

enum {
    HS_CKPT_TRAIN = 1,  // a run goes on from it; else moments are neither wanted nor verified
    HS_CKPT_EDITED = 2, // side files (config.json, tokenizer, train/config.yaml) may be others than were saved; weights and state may not
};
// path: a run folder, its checkpoints folder, a step folder, a path to LATEST or BEST, or any transformers directory. Resolves LATEST
// (falls back to older ones when damaged, with a warning; a step folder named outright is CORRUPT then). want: of the above. out: the model
// directory to load.
hs_status hs_ckpt_resolve(const char *path, int want, char *out, size_t size);
// Collective: rank 0 looks and verifies, all get its answer. NULL or one rank: hs_ckpt_resolve.
hs_status hs_ckpt_resolve_on(hs_comm *world, const char *path, int want, char *out, size_t size);
hs_status hs_ckpt_verify(const char *model_dir); // checksums of the manifest, if there is one
// known: the families that may stand in config.json. UNSUPPORTED: another one, or a key that asks for what its family does not do.
// m: overwritten; hs_model_info_free, whatever is returned.
hs_status hs_ckpt_read_info(const char *model_dir, const hs_model_files *const *known, int n_known, hs_model_info *m);
hs_status hs_ckpt_count(const char *model_dir, int64_t *n); // elements of all tensors, by the headers of the files
// Every parameter must be there in the right shape, and every tensor of the file be used or an alias: else USAGE naming it. Refreshes low.
// A rank reads its own slices, whatever layout has written them; so does hs_ckpt_load_train.
hs_status hs_ckpt_load_params(const char *model_dir, const hs_ckpt_opts *o, hs_params *ps);
// The same in steps, for a model that only reads its values: what the files have just as it is stored is served from their mapping.
//   hs_ckpt_map_open (all parameters are known), hs_ckpt_map_adopt, hs_params_alloc, hs_ckpt_map_load (the rest); hs_ckpt_map_close behind
//   hs_params_free
// Meanwhile a file that is cut short kills the process (SIGBUS), and one that is written over in its place gives other values.
typedef struct hs_ckpt_map hs_ckpt_map;
// o's rows are borrowed.
hs_status hs_ckpt_map_open(hs_ckpt_map **out, const char *model_dir, const hs_ckpt_opts *o, const hs_params *ps);
// Says at debug level how much that is. turns (optional): by id, which values may be served turned (hs_model_turns).
hs_status hs_ckpt_map_adopt(const hs_ckpt_map *m, hs_params *ps, struct hs_device *device, const bool *turns);
// then (optional): told of each parameter, on this thread, as soon as it and its low copy are there - read, or served from the file.
typedef hs_status hs_ckpt_loaded(const hs_param *p, void *user);
hs_status hs_ckpt_map_load(hs_ckpt_map *m, hs_params *ps, hs_ckpt_loaded *then, void *user);
void hs_ckpt_map_forget(hs_ckpt_map *m); // what was read so far leaves this process, and comes again from the file when somebody reads it
void hs_ckpt_map_close(hs_ckpt_map *m);  // NULL: nothing
// Which parameters the files have as codes (hs_model_info.coded), for hs_params_code: before a model is traced, and until it is.
typedef struct hs_ckpt_codes hs_ckpt_codes;
hs_status hs_ckpt_codes_open(hs_ckpt_codes **out, const char *model_dir, const hs_ckpt_opts *o); // o's rows are borrowed
hs_coder hs_ckpt_codes_coder(const hs_ckpt_codes *c);                                            // NULL: of none
void hs_ckpt_codes_close(hs_ckpt_codes *c);                                                      // NULL: nothing
// The slabs that are saved, and the state. Of parameters that were frozen when it was written an optimizer starts at zero, and says so.
hs_status hs_ckpt_load_train(const char *model_dir, hs_params *ps, hs_train_state *t);
// Those that the checkpoint has in the same shape; of others one line says how many begin anew.
hs_status hs_ckpt_load_states(const char *model_dir, const hs_ckpt_states *to);
bool hs_ckpt_has_train(const char *model_dir);
// Writes only the model directory (no train/), for export: a new folder, or an empty one. One process: UNSUPPORTED on many ranks.
typedef struct hs_export_opts {
    hs_dtype dtype;       // of all tensors: F32, BF16, F16
    uint64_t shard_bytes; // of a file at most, where no tensor is larger; 0: one file
    bool overwrite;       // also a folder that holds files of an export, and nothing else
} hs_export_opts;
hs_status hs_ckpt_export_as(const char *dir, const hs_export_opts *e, const hs_ckpt_opts *o, const hs_params *ps, const hs_model_info *m,
                            const hs_tokenizer *tok);
hs_status hs_ckpt_export(const char *dir, const hs_ckpt_opts *o, const hs_params *ps, const hs_model_info *m, const hs_tokenizer *tok);

#endif
