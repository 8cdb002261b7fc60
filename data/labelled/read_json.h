// read_json: what records of JSON and SQuAD's articles share: values of r->tree by node, and where they stand.
#ifndef HS_DATA_READ_JSON_H
#define HS_DATA_READ_JSON_H
#include "data/labelled/label_reader_impl.h"

int64_t hs_record_line(hs_label_reader *r, size_t at); // of the file, of this byte of the record
// Of a node: where it stands in the record.
static inline size_t hs_record_place(const hs_label_reader *r, int node)
{
    return (size_t)(r->tree.text - r->record.p) + r->tree.node[node].begin;
}
static inline int hs_record_kind(const hs_label_reader *r, int node) { return r->tree.node[node].kind; }
static inline bool hs_record_is_null(const hs_label_reader *r, int node) { return node == 0 || hs_record_kind(r, node) == HS_JSON_NULL; }

hs_status hs_record_read_all(hs_label_reader *r);         // what is left of the file; record.p NULL: nothing
hs_status hs_record_parse(hs_label_reader *r, size_t at); // the value there. USAGE with its place: it is none
// USAGE with the node's place: `what` is of another kind; of an object: it has no key `what`, but others.
hs_status hs_record_wrong_kind(hs_label_reader *r, int node, const char *what, const char *wanted);
hs_status hs_record_missing(hs_label_reader *r, int object, const char *what);
hs_status hs_record_get(hs_label_reader *r, int object, const char *key, int *out); // a key that stands once; 0: there is none
hs_status hs_record_string(hs_label_reader *r, int node, const char *what, hs_slice *out);
hs_status hs_record_id(hs_label_reader *r, int node);
hs_status hs_record_span(hs_label_reader *r, int object); // read_squad.c: a question with its context

#endif
