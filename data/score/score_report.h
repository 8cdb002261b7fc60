// score_report: scores as one text, as JSON, and as pictures.
//
//   report.txt             everything, for a reader: scores with intervals, a table by class, confusion, calibration, errors by length
//   scores.json            {"task", "scorer", "examples", "scores": {..}, "intervals": {"level", "resamples", "seed", name: [low, high]},
//                           "classes": [{"name", "precision", "recall", "f1", "support", "predicted"}]}
//   confusion.json, .png   {"labels": [..], "counts": [[..]..]}: rows gold, columns predicted
//   calibration.json, .png {"ece", "mce", "bins": [{"from", "to", "n", "confidence", "accuracy"}]}
//   length.json, .png      {"unit", "bins": [{"from", "to", "n", "error"}]}: mean error of examples of that length
//
// Numbers that are not finite are null. Only what is given is written; without libpng no pictures.
#ifndef HS_DATA_SCORE_REPORT_H
#define HS_DATA_SCORE_REPORT_H
#include "data/base/json_util.h"
#include "data/score/bootstrap.h"
#include "data/score/calibration.h"
#include "data/score/confusion.h"

typedef struct hs_score_report {
    const char *task, *title; // "tokens"; what is scored against what
    int64_t examples;
    const char *unit; // "sentences"
    const hs_scores *scores;
    const hs_interval *interval; // (optional) [scores->n], with how it was made
    hs_bootstrap_opts bootstrap;
    const hs_labels *classes; // (optional) of by_class
    const hs_class_counts *by_class;
    const char *class_word;               // "class", "type", "label"
    bool absent;                          // macro over all of them (hs_class_average)
    const hs_confusion *confusion;        // (optional)
    const hs_calibration *calibration;    // (optional)
    const hs_length_errors *length;       // (optional)
    const char *length_unit, *error_name; // "words"; "wrong", "1 - F1", ...
} hs_score_report;

void hs_score_text(const hs_score_report *r, hs_text *out);
hs_status hs_score_json(const hs_score_report *r, json_t **out); // scores.json
// The files, in a folder that is there. SYSTEM, MEMORY.
hs_status hs_score_write(const hs_score_report *r, const char *dir);
// One picture each, 1000 points wide or as wide as its rows ask for. UNSUPPORTED without libpng.
hs_status hs_draw_confusion(const char *path, const char *title, const hs_confusion *c);
hs_status hs_draw_calibration(const char *path, const char *title, const hs_calibration *c);
hs_status hs_draw_length(const char *path, const char *title, const hs_length_errors *e, const char *unit, const char *error_name);

#endif
