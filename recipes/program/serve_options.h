// serve_options: what `halfstep serve` is told, on the command line and by --config.
#ifndef HS_RECIPES_SERVE_OPTIONS_H
#define HS_RECIPES_SERVE_OPTIONS_H
#include "infer/server/ensemble.h"
#include "infer/server/server.h"
#include "recipes/program/cli_session.h"

typedef struct hs_serve_step {
    hs_string name, model, input_map, output_map;
} hs_serve_step;

typedef struct hs_serve_options {
    hs_common common;
    hs_string config, serve, host, cert, key, token_file, models, trace_file, trace_level;
    int64_t instances, port, http_threads, connections, connections_per_client, body, answer, held, head, least_rate, batch_tokens, queue,
        queue_tokens, texts, rows, values, slots, step_tokens, beside_tokens, cache_tokens, cache_bytes, sequences, trace_rate, trace_count,
        trace_log_frequency, trace_bytes;
    double idle, body_timeout, drain, linger, sequence_idle;
    bool pin, warm_up, access_log, control, open_metrics;
    int kv; // HS_KV_VALUES or HS_KV_INT8
    int n_steps;
    hs_serve_step step[HS_ENSEMBLE_STEPS];
} hs_serve_options;

extern const hs_schema hs_serve_schema;

#endif
