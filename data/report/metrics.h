// metrics: metrics.jsonl (one JSON object a line) and the loss curve as PNG.
#ifndef HS_DATA_METRICS_H
#define HS_DATA_METRICS_H
#include "core/base/status.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct hs_metrics hs_metrics;
typedef struct hs_metric {
    const char *name;
    double value;
} hs_metric; // non-finite values are written as null; names: plain words
// Opens for appending. resume_step >= 0: lines of later steps are cut (a resumed run repeats them).
hs_status hs_metrics_open(hs_metrics **out, const char *path, int64_t resume_step);
hs_status hs_metrics_write(hs_metrics *m, int64_t step, const hs_metric *v, int n); // {"step":12,"loss":...}; flushed
hs_status hs_metrics_sync(hs_metrics *m);                                           // fsync, with each checkpoint
void hs_metrics_close(hs_metrics *m);

// One curve of points (x, y), non-finite points skipped.
typedef struct hs_curve {
    const char *label;
    const double *x, *y;
    int64_t n;
} hs_curve;
bool hs_plot_available(void); // built with libpng; without it the two below are UNSUPPORTED
// 1000 x 600. The first curve is drawn thin, further ones thick with a dot for each point. USAGE where no curve has a finite point.
hs_status hs_plot_png(const char *path, const char *title, const char *x_label, const char *y_label, const hs_curve *c, int n_curves);
// Named values as horizontal bars, one below the other. Those marked are drawn in another colour.
typedef struct hs_bar {
    const char *label;
    double value;
    bool marked;
} hs_bar;
hs_status hs_bars_png(const char *path, const char *title, const char *unit, const hs_bar *bar, int n);
hs_status hs_plot_metrics(const char *png_path, const char *jsonl_path, const char *title); // loss and val_loss by step

#endif
