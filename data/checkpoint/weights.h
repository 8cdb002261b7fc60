// weights: the tensors of a model directory, in one file or in shards, and their way into the slabs.
#ifndef HS_DATA_WEIGHTS_H
#define HS_DATA_WEIGHTS_H
#include "data/checkpoint/ckpt_parts.h"

typedef struct hs_weight {
    const hs_st_entry *entry;
    const char *name; // entry's, without what a tool has put in front of all of them (hs_weights_unwrap)
    int file;
    bool used;
} hs_weight;
typedef struct hs_made hs_made; // a tensor that the file has in another form
typedef struct hs_weights {
    const char *dir;             // borrowed: for messages
    const hs_model_files *files; // (optional) prefix and aliases of its names; set by the caller
    hs_safetensors **file;
    char (*file_name)[256];
    int n_files;
    hs_weight *weight; // sorted by name
    int n;
    hs_text findings; // what does not fit
    int n_findings;
    struct hs_peft *peft; // of an adapter's folder: what it says of itself; its tensors are beside the base's, or in their place
    int adapter;          // number of its file, from 1; 0: none
    hs_made *made;        // of weights_product.c
    int n_made;
    char *second;                                       // names of a second network's tensors, "FOLDER/name"
    bool heads_open;                                    // set by the caller: heads may be missing or left over
    const char *fresh;                                  // set by the caller: hs_ckpt_opts.fresh
    hs_status (*loaded)(const hs_param *p, void *user); // (optional) set by the caller: told of each parameter behind its values or codes
    void *loaded_user;
    int n_fresh, n_passed; // parameters and tensors of such
    int n_pairs;           // of the fresh ones: of an adapter that begins
} hs_weights;

// model.safetensors, or model.safetensors.index.json and its shards; of an adapter's folder those of its base, with the adapter's tensors.
hs_status hs_weights_open(hs_weights *w, const char *model_dir);
hs_status hs_weights_open_file(hs_weights *w, const char *path); // one file
// Tensors that came out of another tool's file, path for messages; all are borrowed. CORRUPT: two of one name.
hs_status hs_weights_of(hs_weights *w, const char *path, const hs_st_entry *entry, int n);
void hs_weights_close(hs_weights *w);
// Beside what is open the tensors of model_dir/folder, as "folder/name"; nothing where there is no such folder. Whether all of them are
// asked for does not matter: what both networks share is there twice.
hs_status hs_weights_add_second(hs_weights *w, const char *model_dir, const char *folder);
hs_weight *hs_weights_find(const hs_weights *w, const char *name); // NULL if there is none
// Has a model directory one of our parameters, of a single part?
hs_status hs_weights_have(const char *model_dir, const hs_model_files *files, const char *ours, bool *have);

// torch.compile, DistributedDataParallel and their like keep a model as a member, and save its names behind a prefix ("_orig_mod."). Where
// no name of `ps` is found and all tensors begin with the same, up to a dot, it is left out from here on, and said. A hs_weight_pieces
// gives the tensors that a file has of a parameter.
typedef hs_status hs_weight_pieces(const hs_param *p, const void *user, hs_name_piece piece[HS_NAME_PIECES], int *n);
hs_status hs_weights_unwrap(hs_weights *w, const hs_params *ps, hs_weight_pieces *pieces, const void *user);

// First everything is looked at, so that one message names all that is wrong and nothing is half-loaded:
// hs_weights_expect (once or more), hs_weights_fit, then hs_weights_copy.
hs_status hs_weights_expect(hs_weights *w, const hs_params *ps, hs_weight_pieces *pieces, const void *user);
hs_status hs_weights_expect_one(hs_weights *w, const hs_param *p, hs_weight_pieces *pieces, const void *user);
// What was missing or misshapen, and what is left over: nothing may be but the family's aliases.
hs_status hs_weights_fit(hs_weights *w);
// Where the file has a parameter just as it is stored here - f32, whole, not padded, aligned; NULL: nowhere - but it may be turned.
hs_status hs_weights_as_stored(const hs_weights *w, const hs_params *ps, const hs_param *p, hs_weight_pieces *pieces, const void *user,
                               const void **out, bool *turned);
// Only what is stored here is read (weights_read.c). Parameters that the slab lacks or has adopted, and tensors that the file lacks, are
// passed over; w->loaded hears of all that are not kept as codes.
hs_status hs_weights_copy(const hs_weights *w, hs_params *ps, hs_weight_pieces *pieces, const void *user, hs_slab *slab);

// ---- parameters that are kept as codes (weights_coded.c says how they lie in a file)
typedef struct hs_weights_coder { // all borrowed
    const hs_weights *w;
    hs_weight_pieces *pieces;
    const void *user;
} hs_weights_coder;
hs_coding hs_weights_coding(const void *coder, const hs_param_spec *spec); // as the file has it: hs_coder.coding, of a hs_weights_coder
void hs_weights_expect_coded(hs_weights *w, const hs_param *p, const hs_name_piece *piece); // marks as used, notes what does not fit
// Where the file has the codes of a parameter just as they are kept here, which are bytes at any address; NULL: nowhere.
hs_status hs_weights_codes_as_stored(const hs_weights *w, const hs_param *p, hs_weight_pieces *pieces, const void *user, const void **out);
hs_status hs_weights_copy_coded(const hs_weights *w, hs_params *ps, hs_weight_pieces *pieces, const void *user); // after hs_weights_fit

// ---- weights that are kept as centroids (weights_product.c): tensors like any other, of f32, whose data are there from make to unmake
// CORRUPT: what a file has of one does not go together.
hs_status hs_weights_find_products(hs_weights *w);
hs_status hs_weights_make(const hs_weights *w, const hs_weight *t); // another tensor, or NULL: nothing
void hs_weights_unmake(const hs_weights *w, const hs_weight *t);

// ---- of the files of this folder
hs_status hs_weights_add_file(hs_weights *w, const char *path);
hs_status hs_weights_sort(hs_weights *w);                            // by name; of two of a name the adapter's stays
hs_weight *hs_weights_lookup(const hs_weights *w, const char *name); // under any of the names a tensor may have. NULL: there is none
void hs_weights_note(hs_weights *w, const char *line);               // something does not fit
// A head that the file lacks (e NULL), one of other labels, or one that is wanted anew.
bool hs_weights_begin_anew(const hs_weights *w, const hs_param *p, const hs_name_piece *piece, const hs_st_entry *e);
static inline bool hs_weight_of_adapter(const hs_weights *w, const hs_weight *t) { return w->adapter > 0 && t->file == w->adapter - 1; }

// ---- an adapter's folder (weights_adapter.c)
hs_status hs_weights_open_adapted(hs_weights *w, const char *dir);
// Pairs beside a tensor of ours: marks them as used, notes what does not fit.
void hs_weights_expect_pair(hs_weights *w, const hs_param *p, const hs_name_piece *piece);
// Is there a pair beside this tensor that p's own parameters do not wear apart?
bool hs_weights_merges(const hs_weights *w, const hs_params *ps, const hs_param *p, const hs_name_piece *piece);
// values += scale B A, of a rectangle of the tensor [out, in], as ours are; its rows lie behind each other. Two rows of room are taken.
typedef struct hs_rect {
    int64_t row, col, rows, cols;
} hs_rect;
hs_status hs_weights_merge(const hs_weights *w, const hs_name_piece *piece, const hs_rect *at, float *values);

// config.json at that path, of a model whose tensors are these (hs_ckpt_read_info, without a directory). m: as there.
hs_status hs_config_read(const char *path, const hs_weights *w, const hs_model_files *const *known, int n_known, hs_model_info *m);
void hs_config_heads(const hs_weights *w, hs_model_info *m); // what no key says: which heads the tensors have

#endif
