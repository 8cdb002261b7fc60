// bench: what the subcommands of `halfstep bench` share - options, sizes, samples, rows of a table, and one op in a small
// training graph.
#ifndef HS_RECIPES_BENCH_H
#define HS_RECIPES_BENCH_H
#include "infer/session/session.h"
#include "models/nn/nn.h"
#include "recipes/program/cli.h"
#include "recipes/program/peak.h"
#include "recipes/train/engine.h"
#include "recipes/train/evaluate.h"
#include "recipes/train/train_feed.h"

typedef struct hs_bench_options {
    hs_common common;
    hs_string model, isa, sizes, profile, tokenizer, file;
    int64_t batch, seq, tokens, steps, warmup;
    bool busy, google, onednn, packed;
    bool static_scales; // of w8a8
    int bits;           // hs_quant_bits
    int kv;             // HS_KV_VALUES or HS_KV_INT8
} hs_bench_options;

struct hs_bench_run;
typedef struct hs_bench {
    const char *name, *summary;
    const char *takes; // options besides those of every bench: "model batch"; with a model also settings of the configuration
    const char *sizes; // (optional) "BATCHxWIDTH": what --sizes lists; of ops: theirs
    const char *default_sizes;
    const char *argument; // (optional) what stands behind its name: "NAME[,NAME...]|all"
    hs_status (*run)(struct hs_bench_run *r);
} hs_bench;
extern const hs_bench hs_bench_train, hs_bench_infer, hs_bench_op, hs_bench_memory, hs_bench_bulk, hs_bench_generate, hs_bench_tokenizer,
    hs_bench_data, hs_bench_comm, hs_bench_optim;

// ---- sizes: lists like "768x128x512,1024x768x3072"; each number may end in K, M or G (1024, ...)
enum { HS_BENCH_SIZES = 64, HS_BENCH_DIMS = 6 };
typedef struct hs_bench_size {
    int n; // numbers
    int64_t dim[HS_BENCH_DIMS];
} hs_bench_size;
typedef struct hs_bench_sizes {
    int n;
    hs_bench_size at[HS_BENCH_SIZES];
} hs_bench_sizes;

typedef struct hs_bench_run { // one invocation
    const hs_bench *bench;
    const hs_cli *cli;
    const hs_bench_options *o;
    hs_device *device;
    hs_device *onednn;    // with --onednn: products by it, whatever the shape
    hs_submit_mode mode;  // of a bench with a model
    hs_bench_sizes sizes; // of a bench with sizes
    hs_config config;     // of a bench with a model, checked
    hs_session *session;  // of a bench that takes a checkpoint, where --model is one: open, without weights; config is empty then
    int rows;             // printed so far
} hs_bench_run;
// form: "ROWSxINxOUT", as all of them must be; NULL: any numbers. example: a list that is right.
hs_status hs_bench_sizes_parse(hs_bench_sizes *out, const char *list, const char *form, const char *example);
int hs_bench_form_dims(const char *form);                                    // how many numbers a size of that form has
const char *hs_bench_size_text(const hs_bench_size *s, char *buf, size_t n); // "1024x768x3072"
// Types to measure: that of --dtype; auto: f32 and, where this CPU multiplies it natively, bf16. Returns how many.
int hs_bench_dtypes(const hs_bench_run *r, hs_dtype out[2]);
// --bits: which parameters of a recipe's model are codes; of a zero one none are. Their codes are drawn by hs_bench_draw_codes.
hs_coder hs_bench_coder(const hs_bench_run *r);
hs_status hs_bench_draw_codes(hs_params *ps);
const char *hs_bench_dtype_name(hs_dtype d); // as --dtype calls it

// ---- samples of interleaved runs. A cell is measured again until there are --steps samples and HS_BENCH_SECONDS have passed
enum { HS_BENCH_SAMPLES = 512 };
#define HS_BENCH_SECONDS 0.05
typedef struct hs_samples {
    int n;
    double v[HS_BENCH_SAMPLES]; // the newest overwrite the oldest
} hs_samples;
void hs_samples_add(hs_samples *s, double v);
double hs_median(hs_samples *s);                                       // sorts; NaN if there is none
double hs_percentile(hs_samples *s, double p);                         // the smallest that p of 1 are not above; sorts; NaN likewise
bool hs_bench_enough(const hs_bench_run *r, int rounds, double start); // rounds done, of a cell begun at `start` (hs_now)

// ---- output: a table for people; with --json each row is an object, with bench, isa and threads
typedef struct hs_cell {
    const char *key;  // heading and JSON key: "forward_gflops"
    const char *text; // or
    double value;     // NaN: not there
    int digits;       // behind the point, in the table
    int width;        // (optional) least one of the column; defaults to that of its heading, or 7
    bool json_only;   // not for people; the same in every row
} hs_cell;
void hs_bench_row(hs_bench_run *r, const hs_cell *cells, int n);
#define HS_BENCH_ROW(r, cells) hs_bench_row(r, cells, HS_COUNT(cells))

// ---- a probe: one op as a case says, in a small training graph. Embeddings give it inputs with gradients, a cross-entropy gives it dy
enum { HS_PROBE_FORWARD, HS_PROBE_BACKWARD, HS_PROBE_PARAMS, HS_PROBE_TIMES }; // params: of an op whose backward is split
typedef struct hs_probe {
    hs_model *model;
    hs_run *run;
    const hs_node *node;            // the op measured
    int64_t classes;                // of the cross-entropy behind it
    double seconds[HS_PROBE_TIMES]; // of the last run, of a GPU by its own events; 0: there is none
    void *ahead;                    // of a GPU: what it copies in front of a run; NULL: of others
    int64_t records;                // of a trace of a run there
} hs_probe;
typedef struct hs_probe_spec {
    const hs_op *op;
    hs_case c; // its note and tolerance are not heeded, of fill only HS_FILL_2OF4 is: of parameters
    const void *attr;
    bool forward_only; // in a decoding graph instead
    hs_dtype low;
    bool packed; // its weights are packed once, not in every product (where the kernels want that)
} hs_probe_spec;
// UNSUPPORTED: the plan has no kernel of that op. USAGE: what its shape rule refuses.
hs_status hs_probe_new(hs_probe **out, hs_device *d, const hs_probe_spec *spec);
hs_status hs_probe_run(hs_probe *p); // one training step without an update; fills seconds
void hs_probe_free(hs_probe *p);

#endif
