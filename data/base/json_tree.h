// json_tree: a JSON value as a flat list of its parts, each with the bytes it stands in: so that a message can say the line, and a record
// can be written back as it was.
#ifndef HS_DATA_JSON_TREE_H
#define HS_DATA_JSON_TREE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum hs_json_kind {
    HS_JSON_NULL,
    HS_JSON_FALSE,
    HS_JSON_TRUE,
    HS_JSON_NUMBER, // NaN, Infinity, -Infinity too, as Python writes them
    HS_JSON_STRING,
    HS_JSON_LIST,
    HS_JSON_OBJECT // its children are key, value, key, value
} hs_json_kind;
extern const char *const hs_json_kind_names[]; // "a number"

typedef struct hs_json_node { // in the order of the text: what is within comes right behind
    size_t begin, end;        // bytes of the text; of a string without its quotes
    int32_t behind;           // index of the node behind all that is within
    int32_t n;                // values within
    uint8_t kind;
    bool escaped; // a string
} hs_json_node;

typedef struct hs_json_tree { // {0} is an empty one; may be used again
    const char *text;         // borrowed
    hs_json_node *node;       // [n]; [0] is the value
    int n, room;
    const char *wrong; // what ended it
    size_t wrong_at;
    size_t end; // behind the value
} hs_json_tree;

// The value at the front of text, whatever follows it (tree.end). False: `wrong`, or NULL where memory is short.
bool hs_json_tree_parse(hs_json_tree *t, const char *text, size_t bytes);
void hs_json_tree_free(hs_json_tree *t);
// The value of an object's key, or 0: none; *twice (may be NULL): the key stands there more than once.
int hs_json_tree_get(const hs_json_tree *t, int object, const char *key, bool *twice);
bool hs_json_tree_is(const hs_json_tree *t, int string, const char *text);
// The characters of a string to `out`, with room for 1.5 times its bytes and 4, and a NUL behind them. NULL in *wrong, or what is.
size_t hs_json_tree_string(const hs_json_tree *t, int string, char *out, const char **wrong);
double hs_json_tree_number(const hs_json_tree *t, int number);

// for (int i = hs_json_first(t, list); i < t->node[list].behind; i = t->node[i].behind)
static inline int hs_json_first(int list) { return list + 1; }

#endif
