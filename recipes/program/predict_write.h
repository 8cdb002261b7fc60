// predict_write: what the formats of predict_out share.
#ifndef HS_RECIPES_PREDICT_WRITE_H
#define HS_RECIPES_PREDICT_WRITE_H
#include "data/base/file.h"
#include "data/base/json_tree.h"
#include "data/base/json_util.h"
#include "infer/heads/prediction_json.h"
#include "recipes/program/predict_out.h"

typedef struct hs_predict_file { // stdout, or a file that appears whole
    FILE *f;
    hs_file_out out;
    const char *name; // for messages
} hs_predict_file;

struct hs_predict_out {
    hs_predict_out_opts o;
    const hs_label_reader *reader;
    const hs_label_found *found;
    hs_predict_file main, nbest, odds;
    hs_text text; // of one example
    hs_json_tree tree;
    hs_prediction_json json;
    int64_t written;
    bool begun;
};

// NAME, predicted_NAME, predicted_NAME_2, ...: the first that is not taken, in buf.
const char *hs_predict_name(const hs_predict_out *p, bool (*taken)(const hs_predict_out *p, const char *name), const char *name,
                            char buf[64]);
hs_status hs_predict_write(hs_predict_file *f, const char *p, size_t bytes);

// What came out as members of an object: "label", "scores", ... A key that the record (p->tree) has already is called predicted_KEY.
void hs_predict_members(hs_predict_out *p, const hs_prediction *x);
hs_status hs_predict_json_line(hs_predict_out *p, const hs_prediction *x); // of --json
hs_status hs_predict_json_record(hs_predict_out *p, const hs_prediction *x);
hs_status hs_predict_squad(hs_predict_out *p, const hs_prediction *x);
hs_status hs_predict_json_end(hs_predict_out *p);

#endif
