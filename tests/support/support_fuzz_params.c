// support_fuzz_params: what a request for text may ask for beside its prompt, of any JSON.
// libFuzzer's target: cmake -DCMAKE_C_COMPILER=clang -DHS_FUZZ=ON, then tests/fuzz_params CORPUS tests/golden/fuzz/params
// C, H or G: a completion's, a chat's, generate's; then the body. test_fuzz.c replays the folder.
#include "infer/server/text_params.h"
#include "tests/support/support_fuzz.h"

int hs_fuzz_params(const uint8_t *data, size_t bytes);

static bool within(double x, double low, double high) { return x >= low && x <= high; }

// What was taken is what rooms behind it rely on.
static void look_at(const hs_text_params *p)
{
    must(p->max_tokens == -1 || within((double)p->max_tokens, 1, 1e9));
    must(within((double)p->n, 1, HS_TEXT_CHOICES) && (p->best_of == -1 || p->best_of == p->n));
    must(p->top_k >= 0 && p->seed >= -1 && p->priority >= 0 && p->timeout >= 0 && within((double)p->places, -1, HS_TOP_LOGPROBS));
    must(within(p->temperature, 0, 2) && p->top_p > 0 && p->top_p <= 1 && within(p->presence, -2, 2) && within(p->frequency, -2, 2));
    must(p->n_stops >= 0 && p->n_stops <= HS_TEXT_STOPS && strlen(p->sequence) < HS_SEQUENCE_ID && !p->wrong[0]);
    for (int i = 0; i < p->n_stops; i++)
        must(p->stop[i][0] != 0);
    for (int i = 0; i < p->n_bias; i++)
        must(p->bias[i].id >= 0 && within((double)p->bias[i].bias, -100, 100));
}

int hs_fuzz_params(const uint8_t *data, size_t bytes)
{
    static const char *const skip[] = { "id", "text_input", "parameters", "prompt", "messages", "model", NULL }, *const none[] = { NULL };
    static const struct {
        char letter;
        hs_protocol_of form;
    } forms[] = { { 'C', HS_TEXT_COMPLETION }, { 'H', HS_TEXT_CHAT }, { 'G', HS_TEXT_GENERATE } };
    int k = 0;
    while (k < HS_COUNT(forms) && (bytes < 1 || data[0] != forms[k].letter))
        k++;
    json_t *body = k < HS_COUNT(forms) ? json_loadb((const char *)data + 1, bytes - 1, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (json_is_object(body)) {
        const json_t *more = json_object_get(body, "parameters");
        hs_text_params p;
        hs_text_params_default(&p, forms[k].form);
        hs_status st = hs_text_params_read(&p, body, forms[k].form, skip);
        if (st == HS_OK && more && forms[k].form == HS_TEXT_GENERATE)
            st = hs_text_params_read(&p, more, forms[k].form, none);
        if (st == HS_OK)
            look_at(&p);
        else
            must(st == HS_USAGE && hs_error()[0]);
        hs_text_params_free(&p);
    }
    json_decref(body);
    return 0;
}

HS_FUZZ_TARGET(params)
