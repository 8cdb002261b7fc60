// keys: what the files of other tools say about a model, as rows. The families of models/ have the rows, data/ reads and writes by them and
// knows no family.
#ifndef HS_CORE_KEYS_H
#define HS_CORE_KEYS_H
#include "core/graph/names.h"
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// The settings struct of any family, as bytes: what a container that knows no family holds.
enum { HS_SETTINGS_BYTES = 2048 };
typedef union hs_settings {
    max_align_t aligned;
    unsigned char bytes[HS_SETTINGS_BYTES];
} hs_settings;

typedef enum hs_file_key_type {
    HS_FILE_INT,     // int64_t field
    HS_FILE_REAL,    // double field
    HS_FILE_BOOL,    // bool field
    HS_FILE_CHOICE,  // int field: index into `accepts`
    HS_FILE_FIXED,   // no field: `value` is written, `accepts` is what may be read
    HS_FILE_NONZERO, // is the int64_t field used: false, or absent where `value` is "false", makes it 0 whatever its own key says
    HS_FILE_TIMES,   // no value of its own: null, or `times` the int64_t field
    HS_FILE_END,     // the token, or the list of tokens, that ends a text; null: none
    HS_FILE_BEGIN,   // the token that begins one; only written
    HS_FILE_TOKEN,   // the tokenizer's special token of that role, `value` ("pad", "cls", "sep", "mask"); only written, null: none
    // bool field, not in config.json: do the weights hold a tensor of that name, `key` or `also`, and none of `accepts`? Whatever stands in
    // front of a name, up to a dot, does not count.
    HS_FILE_HOLDS,
    // Models with a task (core/settings/task.h), and only they: `architectures` says it, of a class of sequences problem_type which.
    HS_FILE_TASK,      // int field, hs_task: problem_type
    HS_FILE_LABELS,    // int64_t field, how many: id2label, else num_labels, else 2; of a span 0, it has none
    HS_FILE_LABEL_IDS, // label2id, only written
    // int64_t field, heads: pruned_heads, {"0": [2, 3], ...} by layer, of a file whose key `also` says how many layers there are. As many
    // in each are left out of those that the file's number of heads is; then `share` is what `shared` was divided by. Written where it is
    // set.
    HS_FILE_PRUNED,
} hs_file_key_type;

// One key of config.json. Reading goes through the rows in their order, writing in that of the alphabet.
typedef struct hs_file_key {
    const char *key, *also; // "n_positions"; (optional) another name to read it by where that one is absent: "n_ctx"
    hs_file_key_type type;
    size_t offset;       // of the field in the family's settings
    const char *value;   // FIXED: JSON text to write; else, as text, what an absent key means. NULL: it must be there
    const char *accepts; // CHOICE: the file's words for the choices, "gelu|relu"; FIXED: texts or words that mean this model, NULL: any
    const char *asks;    // (optional) what another value would ask for: "a head of its own", for the message
    double min, max;     // of numbers, both included
    int64_t times;
    size_t of;    // INT with times: offset of an int64_t field, of a row before; 0 in ours stands for `times` it, which the file spells out
    size_t above; // INT: (optional) offset of an int64_t field; the file's number is ours + that + 1 (rows before a table's first position)
    size_t share,
        shared; // INT: (optional) offsets of int64_t fields: where `share` is not 0, the file has `shared` / `share`. PRUNED: both
    bool read_only, write_only;
    bool unset;     // REAL: below 0 in ours stands for `value`, which the file spells out; then that may be "null"
    unsigned tasks; // (optional) bits 1 << hs_task: of models with such a task alone; in others nothing is read, and written what `unset`
                    // has, or nothing
} hs_file_key;

// A size that the tensors of a model say.
typedef struct hs_size_row {
    const char *tensor; // its name; of one with %d the first
    int dim;            // 0 or 1; -1: how many there are of a name with %d
    size_t offset;      // of the int64_t field
    size_t above;       // (optional) offset of an int64_t field: as hs_file_key has it
} hs_size_row;

// How a family's models lie in a file of llama.cpp (GGUF).
typedef struct hs_gguf_files {
    const char *architecture; // general.architecture; keys stand behind it and a dot
    const hs_file_key *key;   // INT, REAL, TIMES, FIXED of "true" or "false"
    int n_keys;
    const hs_size_row *size; // of what no key says; by GGUF's names
    int n_sizes;
    const hs_name_rule *name; // a parameter without a rule is not in the file (heads)
    int n_names;
    const hs_alias *alias;
    int n_aliases;
    const char *(*cannot)(const void *settings); // (optional) why there is no such file of these settings; NULL: there is
} hs_gguf_files;

// How they lie in a checkpoint of llm.c: the numbers of its header, then parameters in a fixed order.
enum { HS_LLMC_SIZES = 5 }; // longest sequence, vocabulary, layers, heads, channels
typedef struct hs_llmc_files {
    size_t size[HS_LLMC_SIZES]; // offsets of int64_t fields
    const char *const *param;   // our names; of one with %d those of all layers. NULL behind the last
} hs_llmc_files;

// A second network that is trained with the model: one of the same rows, in a folder of its own beside it.
typedef struct hs_second_files {
    const char *scope;                             // of its parameters, which have the model's own names behind it; NULL: there is none
    const char *folder;                            // that it lies in
    const char *shared;                            // scopes, "embed.word|embed.norm", that are its own too where it has none of that name
    bool (*settings)(const void *ours, void *its); // false: a model of these settings is trained alone
} hs_second_files;

typedef struct hs_model_files {         // how a family's models lie in a directory
    const char *model_type;             // of config.json
    const char *architecture;           // classes of transformers that it is, "BertForPreTraining|BertForMaskedLM|BertModel"
    int (*wears)(const void *settings); // (optional) which of them is written; defaults to the first
    // (optional) its classes with a head for sequences, tokens and spans: "BertForSequenceClassification|...". Goes with a row
    // HS_FILE_TASK.
    const char *task_classes;
    const hs_file_key *key;
    int n_keys;
    const hs_name_rule *name;
    int n_names;
    const hs_alias *alias;
    int n_aliases;
    const char *heads;         // (optional) scopes of ours that a model may wear or not: "mlm|next"
    const char *prefix;        // (optional) "transformer.": of names that files of the bare model lack it in
    const hs_gguf_files *gguf; // (optional) llama.cpp has such models
    const hs_llmc_files *llmc; // (optional) llm.c has
    const hs_size_row *size;   // (optional) settings of a model without config.json; by our own names
    int n_sizes;
    hs_second_files second; // (optional)
} hs_model_files;

#ifdef __cplusplus
}
#endif
#endif
