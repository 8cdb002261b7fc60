// perf_make: the requests of a load, made before it begins: texts drawn by a seed, in the form that a route takes.
#ifndef HS_RECIPES_PERF_MAKE_H
#define HS_RECIPES_PERF_MAKE_H
#include "recipes/perf/perf_load.h"

typedef enum hs_perf_route {
    HS_ROUTE_EMBED,       // POST /embed, of text-embeddings-inference
    HS_ROUTE_PREDICT,     // POST /predict, likewise
    HS_ROUTE_NER,         // POST /ner
    HS_ROUTE_EMBEDDINGS,  // POST /v1/embeddings, of OpenAI
    HS_ROUTE_COMPLETIONS, // POST /v1/completions, streamed
    HS_ROUTE_INFER,       // POST /v2/models/NAME/infer, tensors as bytes
    HS_ROUTE_PATH,        // any path with any body
} hs_perf_route;
#define HS_PERF_ROUTES "embed|predict|ner|embeddings|completions|infer"
extern const char *const hs_perf_route_paths[HS_ROUTE_PATH]; // "/embed"

typedef struct hs_perf_want {
    hs_perf_route route;
    const char *model;        // ""; of infer and of OpenAI's: the first that the server names
    const char *path, *body;  // of HS_ROUTE_PATH: a file, "" for a GET
    const char *content_type; // of it
    const char *header;       // "" or "Name: value"
    const char *texts;        // "" or a file, a text a line
    int64_t least, most;      // words of a text, without a file
    int64_t items;            // texts in a request
    int64_t tokens;           // new ones, of completions
    bool base64;              // of OpenAI's embeddings
    uint64_t seed;
} hs_perf_want;
enum { HS_PERF_DISTINCT = 1024 }; // requests that differ; fewer where they are large
// USAGE: a file, a model that is not there; SYSTEM: the server does not say what its model takes.
hs_status hs_perf_requests_make(const hs_perf_server *s, const hs_perf_want *w, hs_perf_requests *out);
void hs_perf_requests_free(hs_perf_requests *r);

#endif
