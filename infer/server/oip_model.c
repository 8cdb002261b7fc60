// oip_model: tensors by what a model does.
#include "infer/server/oip_model.h"
#include "infer/server/ensemble.h"
#include <string.h>

static void put(hs_oip_tensor *list, int *n, const hs_oip_tensor *t) { list[(*n)++] = *t; }

static void add_outputs_of_task(hs_oip_model *o, const hs_served *m)
{
    const int64_t labels = m->session.info.labels.n;
    switch (hs_arch_task(m->session.arch)) {
    case HS_TASK_TOKENS:
        put(o->out, &o->n_out, &(hs_oip_tensor){ "logits", HS_OIP_LOGITS, HS_OIP_FP32, 3, { -1, -1, labels } });
        break;
    case HS_TASK_SPAN:
        put(o->out, &o->n_out, &(hs_oip_tensor){ "start_logits", HS_OIP_START, HS_OIP_FP32, 2, { -1, -1 } });
        put(o->out, &o->n_out, &(hs_oip_tensor){ "end_logits", HS_OIP_END, HS_OIP_FP32, 2, { -1, -1 } });
        break;
    default:
        put(o->out, &o->n_out, &(hs_oip_tensor){ "logits", HS_OIP_LOGITS, HS_OIP_FP32, 2, { -1, labels } });
    }
}

void hs_oip_model_of(hs_oip_model *o, const hs_served *m)
{
    *o = (hs_oip_model){ 0 };
    if (m->ensemble) {
        hs_ensemble_oip(m->ensemble, o);
        return;
    }
    if (m->does & HS_DOES_TEXT) {
        put(o->in, &o->n_in, &(hs_oip_tensor){ "text_input", HS_OIP_PROMPT, HS_OIP_BYTES, 1, { 1 } });
        put(o->out, &o->n_out, &(hs_oip_tensor){ "text_output", HS_OIP_CONTINUED, HS_OIP_BYTES, 1, { 1 } });
        return;
    }
    o->most_batch = m->o->most_texts;
    put(o->in, &o->n_in, &(hs_oip_tensor){ "input_ids", HS_OIP_IDS, HS_OIP_INT64, 2, { -1, -1 } });
    put(o->in, &o->n_in, &(hs_oip_tensor){ "attention_mask", HS_OIP_MASK, HS_OIP_INT64, 2, { -1, -1 } });
    put(o->in, &o->n_in, &(hs_oip_tensor){ "token_type_ids", HS_OIP_SEGMENTS, HS_OIP_INT64, 2, { -1, -1 } });
    put(o->in, &o->n_in, &(hs_oip_tensor){ "text", HS_OIP_TEXT, HS_OIP_BYTES, 2, { -1, 1 } });
    if (m->does & HS_DOES_TASK) {
        put(o->in, &o->n_in, &(hs_oip_tensor){ "text_pair", HS_OIP_SECOND, HS_OIP_BYTES, 2, { -1, 1 } });
        add_outputs_of_task(o, m);
        return;
    }
    const int64_t width = hs_arch_int(m->session.arch, "model.width");
    put(o->out, &o->n_out, &(hs_oip_tensor){ "last_hidden_state", HS_OIP_HIDDEN, HS_OIP_FP32, 3, { -1, -1, width } });
    put(o->out, &o->n_out, &(hs_oip_tensor){ "sentence_embedding", HS_OIP_VECTOR, HS_OIP_FP32, 2, { -1, width } });
}

const hs_oip_tensor *hs_oip_find(const hs_oip_tensor *t, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(t[i].name, name) == 0)
            return &t[i];
    return NULL;
}

int64_t hs_oip_shape(const hs_oip_tensor *t, int64_t rows, int64_t seq, int64_t *dim)
{
    int64_t n = 1;
    for (int i = 0; i < t->n_dims; i++)
        n *= dim[i] = i == 0 ? rows : t->dim[i] < 0 ? seq : t->dim[i];
    return n;
}

void hs_oip_place(const hs_oip_tensor *t, float *output, int64_t row, int64_t token, const float *from, int64_t n, int64_t columns)
{
    if (t->what == HS_OIP_START || t->what == HS_OIP_END) {
        for (int64_t i = 0; i < n; i++)
            output[token + i] = from[i * columns + (t->what == HS_OIP_END)];
        return;
    }
    const int64_t width = t->dim[t->n_dims - 1];
    float *to = output + (t->n_dims == 2 ? row : token) * width;
    for (int64_t i = 0; i < n; i++)
        memcpy(to + i * width, from + i * columns, (size_t)width * sizeof *to);
}
