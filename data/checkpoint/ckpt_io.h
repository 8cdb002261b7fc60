// ckpt_io: files that are whole or not there. Every call that changes the disk goes through one small table, so that the tests
// can fail, shorten or kill at each of them.
#ifndef HS_DATA_CKPT_IO_H
#define HS_DATA_CKPT_IO_H
#include "core/graph/agree.h"
#include "core/graph/params.h"
#include "data/base/json_util.h"
#include "data/checkpoint/checkpoint.h"
#include <sys/types.h>

enum { HS_PATH = 4096 };

typedef struct hs_io { // each as the system call of that name: -1 and errno
    int (*open)(const char *path, int flags, mode_t mode);
    ssize_t (*write)(int fd, const void *p, size_t bytes);
    int (*fsync)(int fd);
    int (*close)(int fd);
    int (*rename)(const char *from, const char *to, unsigned flags); // renameat2
    int (*mkdir)(const char *path, mode_t mode);
    int (*unlink)(const char *path);
    int (*rmdir)(const char *path);
    ssize_t (*pwrite)(int fd, const void *p, size_t bytes, off_t at); // of files that many ranks write, and the next
    int (*ftruncate)(int fd, off_t bytes);
} hs_io;
extern const hs_io hs_io_system;

typedef struct hs_file_sum { // one line of a manifest
    char name[256];          // relative to the model directory
    uint64_t bytes, hash;    // XXH3-64
} hs_file_sum;

// A new file, written in order. hs_out_close fsyncs; hs_out_abort removes it.
typedef struct hs_out {
    const hs_io *io;
    int fd;
    char path[HS_PATH];
    uint64_t bytes;
    void *hash; // XXH3_state_t
} hs_out;
hs_status hs_out_open(hs_out *o, const hs_io *io, const char *path); // refuses an existing file
hs_status hs_out_write(hs_out *o, const void *p, size_t bytes);
hs_status hs_out_close(hs_out *o, hs_file_sum *sum); // sum may be NULL; its name is not touched. On an error the file is removed
void hs_out_abort(hs_out *o);

hs_status hs_path_join(char out[HS_PATH], const char *fmt, ...) __attribute__((format(printf, 2, 3)));      // USAGE if too long
hs_status hs_put_file(const hs_io *io, const char *path, const char *text, size_t bytes, hs_file_sum *sum); // new file, fsynced
hs_status hs_put_pointer(const hs_io *io, const char *dir, const char *name,
                         const char *text);                  // LATEST: temporary name, rename, fsync of dir
hs_status hs_sync_path(const hs_io *io, const char *path);   // fsync of a file or folder
hs_status hs_sync_parent(const hs_io *io, const char *path); // of the folder path lies in
hs_status hs_make_dirs(const hs_io *io, const char *path);   // mkdir -p; syncs the parents of what it makes
bool hs_remove_tree(const hs_io *io, const char *path);      // best effort; false and errno. Leaves the error record alone
// Reads it through; name is not touched. beat: ticked meanwhile, NULL: nobody waits.
hs_status hs_hash_file(const char *path, hs_file_sum *sum, hs_agreement *beat);
bool hs_is_dir(const char *path);
bool hs_is_file(const char *path);
// Is there a file? CORRUPT: something else has that name; SYSTEM: that cannot be found out.
hs_status hs_find_file(const char *path, bool *found);

// Tensors cut, and turned, out of slabs while they are written: no second copy of a model.
typedef struct hs_st_source {
    // As the file has it; what lies as f32 takes its type. t.data: its bytes, or, if param is set, that parameter's elements as stored in a
    // slab.
    hs_st_tensor t;
    const hs_param *param;   // NULL: t.data is written as it stands
    bool transposed;         // the file has [in, out]; of f32
    int part;                // of the logical tensors stacked in param, from 1 on; 0: all of them
    const hs_params *values; // NULL, or param's values are read out of these while they are written; t.data is NULL then
    bool is_f32;             // param's elements lie as f32, whatever the file's type
} hs_st_source;
static inline hs_dtype hs_st_source_dtype(const hs_st_source *s) { return s->is_f32 || s->values ? HS_F32 : s->t.dtype; } // as it lies
hs_status hs_st_source_write(hs_out *o, const hs_st_source *s);   // the bytes of that tensor, behind what was written
hs_status hs_st_source_values(const hs_st_source *s, float *dst); // its elements in f32, of those that are read out of `values`
hs_status hs_safetensors_write_from(const hs_io *io, const char *path, const hs_st_source *s, int n, hs_file_sum *sum);

typedef struct hs_st_layout { // where everything is in the file of these tensors
    const hs_st_source **order;
    uint64_t *at;   // first byte of order[i]
    hs_text header; // the file's first bytes
    uint64_t bytes; // of the file
} hs_st_layout;
hs_status hs_st_layout_make(hs_st_layout *l, const char *path, const hs_st_source *s, int n); // path: for messages
void hs_st_layout_free(hs_st_layout *l);

// ---- one file by many ranks (safetensors_slices.c): one of them makes it, of its full length, and then each writes what it has
typedef struct hs_st_held { // what there is here of a source's parameter: stored elements [first, first + n), at t.data
    size_t first, n;        // 0: nothing
} hs_st_held;
hs_status hs_safetensors_make(const hs_io *io, const char *path, const hs_st_source *s, int n);
// held[n]. The file is synced now and then, and at the end.
hs_status hs_safetensors_put_slices(const hs_io *io, const char *path, const hs_st_source *s, const hs_st_held *held, int n, int tp_rank,
                                    hs_agreement *beat);

// dst[c * dst_width + r] = src[r * src_width + c] for r < rows, c < cols
void hs_turn_f32(float *dst, int64_t dst_width, const float *src, int64_t src_width, int64_t rows, int64_t cols);

#endif
