// hf_folder: what may lie in a folder of Hugging Face, as two tables - every file, and the keys of the small ones - with a verdict each:
// read, refused by its name, or harmless. Readers walk the tables; what stands in none is somebody else's, and harmless.
#ifndef HS_DATA_HF_FOLDER_H
#define HS_DATA_HF_FOLDER_H
#include "core/base/status.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum hs_hf_verdict {
    HS_HF_READ,     // of keys: by who reads the file
    HS_HF_KEPT,     // means nothing here, and is written into new checkpoints as it stands
    HS_HF_REFUSED,  // of keys: unless it is null, false, 0 or empty, or what `accepts` has
    HS_HF_HARMLESS, // changes neither ids nor numbers
} hs_hf_verdict;

typedef enum hs_hf_part { HS_HF_SETTINGS, HS_HF_VOCABULARY, HS_HF_BESIDE, HS_HF_WEIGHTS, HS_HF_ADAPTER, HS_HF_REST } hs_hf_part;

typedef struct hs_hf_file {
    const char *name; // a name, or a pattern with *
    hs_hf_part part;
    hs_hf_verdict verdict;
    const char *beside; // (optional) the other half of a form, without which it is none
    const char *is;     // of what is refused: what it is,
    const char *way;    // and the way out; %s: the folder, %c: its class of transformers
} hs_hf_file;

bool hs_hf_exists(const char *dir, const char *name, char *path,
                  size_t room); // path: "DIR/NAME". A link to nothing is there: reading it says so
// The next row of a part whose file lies in the folder, behind `after` (NULL: the first). name: [256] of the file. NULL: none.
const hs_hf_file *hs_hf_next(const char *dir, hs_hf_part part, const hs_hf_file *after, char name[256]);
// UNSUPPORTED or USAGE: why there is nothing to read where model.safetensors should lie - other tools' weights, shards without an index,
// none.
hs_status hs_hf_no_weights(const char *dir);
// UNSUPPORTED: the path is a file of another tool's weights, or a folder with such files in it or in its folder "onnx", and what makes a
// model directory of them.
hs_status hs_hf_foreign(const char *path);
// UNSUPPORTED: the folder's weights are not all that counts (an adapter of PEFT).
hs_status hs_hf_check(const char *dir);

// file: as the tables name it ("config.json"). UNSUPPORTED: a key that is refused.
hs_status hs_hf_check_keys(const char *path, const char *file, const json_t *root);
// Copies of the keys of `from` that are kept into `to`, where `to` has none.
void hs_hf_keep(json_t *to, const char *file, const json_t *from);

#endif
