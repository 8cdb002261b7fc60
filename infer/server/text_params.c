// text_params: a table of names, kinds and ranges.
#include "infer/server/text_params.h"
#include "core/settings/schema.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum kind { INTEGER, REAL, TRUTH, STOP, BIAS, STREAM_OPTIONS, SEQUENCE, IGNORED, REFUSED } kind;
enum { C = HS_TEXT_COMPLETION, H = HS_TEXT_CHAT, G = HS_TEXT_GENERATE, ALL = C | H | G };

#define AT(field) offsetof(hs_text_params, field)
static const struct row {
    const char *name;
    unsigned forms;
    kind kind;
    size_t at;
    double low, high;
} rows[] = {
    { "max_tokens", ALL, INTEGER, AT(max_tokens), 1, 1e9 },
    { "max_completion_tokens", H, INTEGER, AT(max_tokens), 1, 1e9 },
    { "max_new_tokens", G, INTEGER, AT(max_tokens), 1, 1e9 },
    { "temperature", ALL, REAL, AT(temperature), 0, 2 },
    { "top_p", ALL, REAL, AT(top_p), 1e-9, 1 },
    { "top_k", ALL, INTEGER, AT(top_k), -1, 1e9 },
    { "n", C | H, INTEGER, AT(n), 1, HS_TEXT_CHOICES },
    { "best_of", C, INTEGER, AT(best_of), 1, HS_TEXT_CHOICES },
    { "seed", ALL, INTEGER, AT(seed), 0, 9e15 },
    { "presence_penalty", ALL, REAL, AT(presence), -2, 2 },
    { "frequency_penalty", ALL, REAL, AT(frequency), -2, 2 },
    { "logit_bias", C | H, BIAS, 0, -100, 100 },
    { "stop", ALL, STOP, 0, 0, 0 },
    { "stop_words", G, STOP, 0, 0, 0 },
    { "stream", ALL, TRUTH, AT(stream), 0, 0 },
    { "stream_options", C | H, STREAM_OPTIONS, 0, 0, 0 },
    { "logprobs", C, INTEGER, AT(places), 0, HS_TOP_LOGPROBS },
    { "logprobs", H, TRUTH, AT(logprobs), 0, 0 },
    { "top_logprobs", H, INTEGER, AT(places), 0, HS_TOP_LOGPROBS },
    { "echo", C, TRUTH, AT(echo), 0, 0 },
    { "add_generation_prompt", H, TRUTH, AT(generation_prompt), 0, 0 },
    { "exclude_input_in_output", G, TRUTH, AT(exclude_input), 0, 0 },
    { "ignore_eos", ALL, TRUTH, AT(ignore_eos), 0, 0 },
    { "priority", ALL, INTEGER, AT(priority), 0, 1e6 },
    { "timeout", G, INTEGER, AT(timeout), 0, 1e15 },
    { "sequence_id", G, SEQUENCE, 0, 0, 0 },
    { "sequence_start", G, TRUTH, AT(sequence_start), 0, 0 },
    { "sequence_end", G, TRUTH, AT(sequence_end), 0, 0 },
    { "min_tokens", ALL, REFUSED, 0, 0, 0 },
    { "suffix", C, REFUSED, 0, 0, 0 },
    { "tools", H, REFUSED, 0, 0, 0 },
    { "tool_choice", H, REFUSED, 0, 0, 0 },
    { "functions", H, REFUSED, 0, 0, 0 },
    { "function_call", H, REFUSED, 0, 0, 0 },
    { "response_format", C | H, REFUSED, 0, 0, 0 },
    { "modalities", H, REFUSED, 0, 0, 0 },
    { "audio", H, REFUSED, 0, 0, 0 },
    { "prediction", H, REFUSED, 0, 0, 0 },
    { "reasoning_effort", H, REFUSED, 0, 0, 0 },
    { "web_search_options", H, REFUSED, 0, 0, 0 },
    { "repetition_penalty", ALL, REFUSED, 0, 0, 0 },
    { "min_p", ALL, REFUSED, 0, 0, 0 },
    { "user", C | H, IGNORED, 0, 0, 0 },
    { "metadata", C | H, IGNORED, 0, 0, 0 },
    { "store", C | H, IGNORED, 0, 0, 0 },
    { "service_tier", C | H, IGNORED, 0, 0, 0 },
    { "safety_identifier", C | H, IGNORED, 0, 0, 0 },
    { "prompt_cache_key", C | H, IGNORED, 0, 0, 0 },
    { "parallel_tool_calls", H, IGNORED, 0, 0, 0 },
};

void hs_text_params_default(hs_text_params *p, hs_protocol_of form)
{
    *p = (hs_text_params){ .max_tokens = form == HS_TEXT_CHAT ? -1 : 16, // OpenAI's
                           .n = 1,
                           .best_of = -1,
                           .seed = -1,
                           .places = -1,
                           .temperature = 1,
                           .top_p = 1,
                           .generation_prompt = true,
                           .exclude_input = true };
}

void hs_text_params_free(hs_text_params *p) { free(p->bias); }

static hs_status read_number(const struct row *r, const json_t *v, hs_text_params *p)
{
    const bool integer = r->kind == INTEGER;
    if (integer ? !json_is_integer(v) : !json_is_number(v))
        return HS_FAIL(USAGE, "%s must be %s", r->name, integer ? "an integer" : "a number");
    const double x = json_number_value(v);
    if (!(x >= r->low && x <= r->high))
        return HS_FAIL(USAGE, "%s is %g, allowed %g to %g", r->name, x, r->low, r->high);
    if (integer)
        *(int64_t *)((char *)p + r->at) = json_integer_value(v);
    else
        *(double *)((char *)p + r->at) = x;
    return HS_OK;
}

static hs_status read_stop(const struct row *r, const json_t *v, hs_text_params *p)
{
    const size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (n > HS_TEXT_STOPS)
        return HS_FAIL(USAGE, "%s has %zu texts, at most %d are taken", r->name, n, HS_TEXT_STOPS);
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_is_array(v) ? json_array_get(v, i) : v);
        if (!text || !text[0])
            return HS_FAIL(USAGE, "%s must be a text or a list of texts, none of them empty", r->name);
        p->stop[i] = text;
    }
    p->n_stops = (int)n;
    return HS_OK;
}

static hs_status read_bias(const struct row *r, const json_t *v, hs_text_params *p)
{
    const char *id;
    json_t *bias;
    if (!json_is_object(v))
        return HS_FAIL(USAGE, "%s must be an object of token ids and numbers", r->name);
    free(p->bias);
    p->n_bias = 0;
    p->bias = calloc(json_object_size(v) + 1, sizeof *p->bias);
    if (!p->bias)
        return HS_FAIL(MEMORY, "no memory for %s", r->name);
    json_object_foreach((json_t *)(uintptr_t)v, id, bias)
    {
        char *end;
        errno = 0;
        const long long token = strtoll(id, &end, 10);
        const double x = json_number_value(bias);
        if (errno || *end || end == id || token < 0 || token > INT32_MAX || !json_is_number(bias) || !(x >= r->low && x <= r->high))
            return HS_FAIL(USAGE, "%s: '%.20s' must be a token id with a number from %g to %g", r->name, id, r->low, r->high);
        p->bias[p->n_bias++] = (hs_token_bias){ (int32_t)token, (float)x };
    }
    return HS_OK;
}

static hs_status read_stream_options(const struct row *r, const json_t *v, hs_text_params *p)
{
    const json_t *usage = json_object_get(v, "include_usage");
    if (!json_is_object(v) || (usage && !json_is_boolean(usage)))
        return HS_FAIL(USAGE, "%s must be an object with include_usage, true or false", r->name);
    p->include_usage = json_is_true(usage);
    return HS_OK;
}

// As Triton has it, 0 and "" are none.
static hs_status read_sequence(const struct row *r, const json_t *v, hs_text_params *p)
{
    enum { MOST = 128 };
    const char *text = json_string_value(v);
    if (!text && !(json_is_integer(v) && json_integer_value(v) >= 0))
        return HS_FAIL(USAGE, "%s must be a text, or a whole number of at least 0", r->name);
    if (json_string_length(v) > MOST)
        return HS_FAIL(USAGE, "%s has %zu bytes, at most %d are taken", r->name, json_string_length(v), MOST);
    p->sequence[0] = 0;
    if (text && text[0])
        snprintf(p->sequence, sizeof p->sequence, "'%s'", text);
    else if (json_integer_value(v))
        snprintf(p->sequence, sizeof p->sequence, "%lld", (long long)json_integer_value(v));
    return HS_OK;
}

// The value says that what it is for is not wanted.
static bool is_neutral(const char *name, const json_t *v)
{
    const char *text = json_string_value(v), *type = json_string_value(json_object_get(v, "type"));
    if (strcmp(name, "response_format") == 0 && type)
        return strcmp(type, "text") == 0;
    if (strcmp(name, "repetition_penalty") == 0)
        return json_is_number(v) && json_number_value(v) == 1;
    return json_is_false(v) || (json_is_number(v) && json_number_value(v) == 0) || (json_is_array(v) && json_array_size(v) == 0) ||
           (json_is_object(v) && json_object_size(v) == 0) ||
           (text && (!text[0] || strcmp(text, "none") == 0 || (strcmp(name, "tool_choice") == 0 && strcmp(text, "auto") == 0)));
}

static hs_status read_row(const struct row *r, const json_t *v, hs_text_params *p)
{
    switch (r->kind) {
    case INTEGER:
    case REAL:
        return read_number(r, v, p);
    case TRUTH:
        if (!json_is_boolean(v))
            return HS_FAIL(USAGE, "%s must be true or false", r->name);
        *(bool *)((char *)p + r->at) = json_is_true(v);
        return HS_OK;
    case STOP:
        return read_stop(r, v, p);
    case BIAS:
        return read_bias(r, v, p);
    case SEQUENCE:
        return read_sequence(r, v, p);
    case STREAM_OPTIONS:
        return read_stream_options(r, v, p);
    case REFUSED:
        return is_neutral(r->name, v) ? HS_OK : HS_FAIL(USAGE, "%s is not supported", r->name);
    default:
        return HS_OK;
    }
}

static hs_status agree(hs_text_params *p, hs_protocol_of form)
{
    if (p->best_of >= 0 && p->best_of != p->n) {
        strcpy(p->wrong, "best_of");
        return HS_FAIL(USAGE, "best_of other than n is not supported");
    }
    if (form == HS_TEXT_CHAT && p->places >= 0 && !p->logprobs) {
        strcpy(p->wrong, "top_logprobs");
        return HS_FAIL(USAGE, "top_logprobs needs logprobs: true");
    }
    if (form == HS_TEXT_COMPLETION && p->echo && p->places >= 0) {
        strcpy(p->wrong, "echo");
        return HS_FAIL(USAGE, "echo with logprobs is not supported: a prompt's tokens have none here");
    }
    if (form == HS_TEXT_COMPLETION)
        p->logprobs = p->places >= 0;
    if (p->top_k < 0)
        p->top_k = 0;
    return HS_OK;
}

static hs_status unknown(const char *name, const json_t *v, hs_protocol_of form)
{
    const char *known[HS_COUNT(rows)];
    int n = 0;
    for (int i = 0; i < HS_COUNT(rows); i++)
        if (rows[i].forms & form)
            known[n++] = rows[i].name;
    const bool tritons = strncmp(name, "triton_", 7) == 0;
    const char *near = form == HS_TEXT_GENERATE && tritons ? NULL : hs_nearest_word(name, known, n);
    if (near)
        return HS_FAIL(USAGE, "there is no parameter '%.60s' here; did you mean %s?", name, near);
    if (form != HS_TEXT_GENERATE)
        return HS_FAIL(USAGE, "there is no parameter '%.60s' here", name);
    return json_is_string(v) || json_is_number(v) || json_is_boolean(v)
               ? HS_OK
               : HS_FAIL(USAGE, "parameter '%.60s' must be a text, a number, true or false", name);
}

hs_status hs_text_params_read(hs_text_params *p, const json_t *object, hs_protocol_of form, const char *const *skip)
{
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)object, name, v)
    {
        int k = 0;
        const struct row *r = NULL;
        while (skip[k] && strcmp(skip[k], name) != 0)
            k++;
        if (skip[k] || json_is_null(v))
            continue;
        for (int i = 0; i < HS_COUNT(rows); i++)
            if (rows[i].forms & form && strcmp(rows[i].name, name) == 0)
                r = &rows[i];
        snprintf(p->wrong, sizeof p->wrong, "%s", name);
        HS_TRY(r ? read_row(r, v, p) : unknown(name, v, form));
    }
    HS_TRY(agree(p, form));
    p->wrong[0] = 0;
    return HS_OK;
}
