// onnx_export: a trace, walked from its inputs to its outputs.
#include "core/base/grow.h"
#include "data/checkpoint/ckpt_parts.h"
#include "data/checkpoint/new_folder.h"
#include "infer/export/export.h"
#include "infer/export/onnx_emit.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IR_VERSION = 8, OPSET = 17 }; // 17 is the first with LayerNormalization

#define BATCH  "batch_size"
#define LENGTH "sequence_length"
#define PAST   "past_sequence_length"

// ---- what of the trace is there
static void reach(hs_ox *x, const hs_tensor *t)
{
    const hs_node *n = t ? t->from : NULL;
    if (!n || x->reached[n->id])
        return;
    x->reached[n->id] = true;
}

// Losses, and what only they read, are left out. Nodes stand in the order of execution: backwards, each has been asked for by then.
static void look_over(hs_ox *x)
{
    for (int i = 0; i < x->g->n_outputs; i++)
        reach(x, x->g->output[i]);
    for (int i = x->g->n_nodes - 1; i >= 0; i--) {
        const hs_node *n = x->g->node[i];
        if (!x->reached[n->id])
            continue;
        for (int k = 0; k < HS_MAX_IN; k++)
            reach(x, n->in[k]);
        static const char *const tables[] = { "table", "pos_table" };
        for (int k = 0; k < HS_COUNT(tables); k++) {
            const hs_tensor *t = hs_ox_operand(n, tables[k]);
            if (t && t->kind == HS_PARAM)
                x->looked_up[t->param->id] = true;
        }
        x->causal = x->causal || hs_ox_attr(n, "causal");
    }
}

static bool read_by_any(const hs_ox *x, const hs_tensor *t)
{
    for (int i = 0; i < x->g->n_nodes; i++)
        for (int k = 0; k < HS_MAX_IN; k++)
            if (x->reached[i] && x->g->node[i]->in[k] == t)
                return true;
    return false;
}

// ---- inputs. What stands in none of these rows is what our kernels need to find sequences; emitters make of attention_mask what is meant.
static const struct {
    const char *ours, *theirs;
} inputs[] = {
    { "ids", HS_OX_IDS },
    { NULL, HS_OX_MASK },
    { "token_types", "token_type_ids" },
    { "task_types", "task_type_ids" },
};

static const char *input_name(const hs_tensor *t)
{
    for (int i = 0; i < HS_COUNT(inputs); i++)
        if (inputs[i].ours && strcmp(inputs[i].ours, t->name) == 0)
            return inputs[i].theirs;
    return NULL;
}

static void bind_inputs(hs_ox *x)
{
    for (int i = 0; i < x->g->n_inputs; i++) {
        const hs_tensor *t = x->g->input[i];
        const char *name = input_name(t);
        if (!name && t->has_fill && t->fill == 0) // the only type of token there is
            name = read_by_any(x, t) ? hs_ox_range(x, 1) : NULL;
        if (name)
            x->of[t->id] = (hs_ox_value){ .name = { name }, .n = 1 };
    }
}

static void add_value(hs_ox *x, bool out, const char *name, hs_onnx_type type, int n_dims, const hs_onnx_dim *dim)
{
    hs_onnx_value v = { .name = name, .type = type, .n_dims = n_dims };
    memcpy(v.dim, dim, (size_t)n_dims * sizeof *dim);
    if (out)
        hs_onnx_add_output(x->m, &v);
    else
        hs_onnx_add_input(x->m, &v);
}

// Keys and values of each state, in front of attention_mask as the model's own arguments are, or behind the logits.
static void add_caches(hs_ox *x, bool out)
{
    const char *const length = out ? PAST " + " LENGTH : PAST;
    static const char *const which[] = { "key", "value" };
    for (int i = 0; i < x->g->states->n; i++)
        for (int k = 0; k < HS_COUNT(which) && x->cache_shape; k++) {
            const hs_onnx_dim dim[] = { { 0, BATCH }, { x->cache_shape[i].heads, NULL }, { 0, length }, { x->cache_shape[i].each, NULL } };
            const char *name = hs_onnx_text(x->m, "%s.%d.%s", out ? "present" : "past_key_values", i, which[k]);
            if (x->cache_shape[i].heads)
                add_value(x, out, name, x->real, HS_COUNT(dim), dim);
        }
}

static void add_inputs(hs_ox *x)
{
    const hs_onnx_dim here[] = { { 0, BATCH }, { 0, LENGTH } }, all[] = { { 0, BATCH }, { 0, PAST " + " LENGTH } };
    for (int i = 0; i < HS_COUNT(inputs); i++) {
        if (!inputs[i].ours) {
            add_caches(x, false);
            add_value(x, false, inputs[i].theirs, HS_ONNX_I64, 2, x->cached ? all : here);
            continue;
        }
        for (int k = 0; k < x->g->n_inputs; k++)
            if (strcmp(x->g->input[k]->name, inputs[i].ours) == 0 && read_by_any(x, x->g->input[k]))
                add_value(x, false, inputs[i].theirs, HS_ONNX_I64, 2, here);
    }
}

// ---- outputs
static const char *output_name(const hs_ox *x, int index, bool hidden)
{
    static const char *const states[] = { "last_hidden_state", "pooler_output" };
    static const char *const heads[HS_LOSSES] = { "prediction_logits", "seq_relationship_logits", "sop_logits" };
    if (hidden)
        return states[index < HS_COUNT(states) ? index : HS_COUNT(states) - 1];
    for (int i = 0; i < HS_LOSSES && x->g->n_outputs > 1; i++)
        if (hs_arch_wears(x->model->arch, (hs_loss)i) && index-- == 0)
            return heads[i];
    return "logits";
}

static void rename_value(hs_onnx *m, const char *from, const char *to)
{
    for (int i = 0; i < m->n_nodes; i++) {
        hs_onnx_node *n = &m->node[i];
        for (int k = 0; k < n->n_in; k++)
            n->in[k] = strcmp(n->in[k], from) == 0 ? to : n->in[k];
        for (int k = 0; k < n->n_out; k++)
            n->out[k] = strcmp(n->out[k], from) == 0 ? to : n->out[k];
    }
}

// Where an answer begins and where it ends, as transformers' classes give them: each a number per token.
static void add_spans(hs_ox *x, const char *logits)
{
    static const char *const names[] = { "start_logits", "end_logits" };
    const hs_onnx_dim dim[] = { { 0, BATCH }, { 0, LENGTH } };
    const char *part[] = { "/Split_output_0", "/Split_output_1" };
    hs_onnx_set_int(x->m, hs_onnx_add_node(x->m, "Split", "/Split", &logits, 1, part, HS_COUNT(part)), "axis", -1);
    strcpy(x->path, "");
    for (int i = 0; i < HS_COUNT(names); i++) {
        rename_value(x->m, HS_OX(x, "Squeeze", part[i], HS_OX_LIST(x, -1)), names[i]);
        add_value(x, true, names[i], x->real, HS_COUNT(dim), dim);
    }
}

static hs_status add_outputs(hs_ox *x, bool hidden)
{
    const bool span = !hidden && hs_arch_task(x->model->arch) == HS_TASK_SPAN;
    for (int i = 0; i < x->g->n_outputs; i++) {
        const hs_tensor *t = x->g->output[i];
        const hs_ox_value *v = &x->of[t->id];
        const hs_onnx_dim rows[] = { { 0, BATCH }, { 0, LENGTH }, { v->width, NULL } }, seqs[] = { { 0, BATCH }, { v->width, NULL } };
        const bool of_seqs = hs_ext_counter(t->ext) == HS_COUNT_SEQS;
        const char *name = output_name(x, i, hidden);
        if (v->n != 1)
            return HS_FAIL(UNSUPPORTED, "%s: output %d of the model has no form in ONNX", t->scope, i);
        if (span) {
            add_spans(x, v->name[0]);
            continue;
        }
        rename_value(x->m, v->name[0], name);
        add_value(x, true, name, x->real, of_seqs ? 2 : 3, of_seqs ? seqs : rows);
    }
    add_caches(x, true);
    return HS_OK;
}

// ---- the walk
static void path_of_scope(hs_ox *x, const char *scope)
{
    size_t n = 0;
    if (*scope)
        x->path[n++] = '/';
    for (; *scope && n + 1 < sizeof x->path; scope++)
        x->path[n++] = *scope == '.' ? '/' : *scope;
    x->path[n] = 0;
}

static hs_status walk(hs_ox *x, bool hidden)
{
    look_over(x);
    bind_inputs(x);
    for (int i = 0; i < x->g->n_nodes; i++) {
        const hs_node *n = x->g->node[i];
        if (!x->reached[n->id])
            continue;
        hs_ox_emitter *emit = hs_ox_emitter_of(n->op);
        if (!emit)
            return HS_FAIL(UNSUPPORTED, "%s: operation %s has no form in ONNX", n->scope, n->op->name);
        path_of_scope(x, n->scope);
        HS_TRY(emit(x, n));
    }
    HS_TRY(add_outputs(x, hidden));
    add_inputs(x);
    return HS_OK;
}

static hs_status build(hs_ox *x, bool hidden, const char *version)
{
    x->of = hs_onnx_alloc(x->m, ((size_t)x->g->n_tensors + 1) * sizeof *x->of);
    x->reached = hs_onnx_alloc(x->m, (size_t)x->g->n_nodes + 1);
    x->used = hs_onnx_alloc(x->m, (size_t)x->model->params->n_params + 1);
    x->looked_up = hs_onnx_alloc(x->m, (size_t)x->model->params->n_params + 1);
    x->cache_shape = hs_onnx_alloc(x->m, ((size_t)x->g->states->n + 1) * sizeof *x->cache_shape);
    x->m->ir_version = IR_VERSION;
    x->m->producer = "halfstep", x->m->producer_version = version;
    x->m->graph_name = "main_graph";
    hs_onnx_add_opset(x->m, "", OPSET);
    hs_status st = x->m->failed ? HS_FAIL(MEMORY, "no memory for a graph of %d nodes", x->g->n_nodes) : walk(x, hidden);
    hs_map_free(x->names);
    return st;
}

// ---- the folder
static hs_status put_folder(const hs_export_model *m, const char *tmp, const hs_onnx *graph, const hs_export_onnx_opts *o)
{
    char path[HS_PATH];
    hs_ckpt_dir to = { .io = &hs_io_system, .dir = tmp };
    HS_TRY(hs_path_join(path, "%s/model.onnx", tmp));
    const hs_status st = hs_ckpt_put_beside(&to, &m->info, m->tokenizer, o->dtype);
    hs_manifest_free(&to.manifest);
    HS_TRY(st);
    HS_TRY(hs_sentence_write(&m->sentence, m->path, tmp, hs_arch_int(m->arch, "model.width")));
    return hs_onnx_write(&hs_io_system, path, graph, o->beside || hs_onnx_bytes(graph) > 2000000000u ? "model.onnx_data" : NULL);
}

static hs_status write_graph(hs_export_model *m, const char *tmp, const hs_graph *g, bool hidden, const hs_export_onnx_opts *o,
                             hs_export_said *said)
{
    hs_ox x = { .g = g, .model = m, .real = o->dtype == HS_F16 ? HS_ONNX_F16 : HS_ONNX_F32, .bare = hidden };
    HS_TRY(hs_onnx_new(&x.m));
    hs_status st = build(&x, hidden, o->version ? o->version : "");
    for (int i = 0; st == HS_OK && i < m->params->n_params; i++)
        said->left_out += !x.used[i];
    said->rows_rounded = x.rows_rounded;
    if (st == HS_OK)
        st = put_folder(m, tmp, x.m, o);
    hs_onnx_close(x.m);
    return st;
}

static bool has_head(hs_arch a)
{
    for (int i = 0; i < HS_LOSSES; i++)
        if (hs_arch_wears(a, (hs_loss)i))
            return true;
    return false;
}

static hs_status export_into(hs_export_model *m, const char *tmp, const hs_export_onnx_opts *o, hs_export_said *said)
{
    const bool hidden = o->hidden || !has_head(m->arch), past = o->past && !hidden && hs_arch_batch(m->arch) == HS_BATCH_TEXT;
    const hs_arch_shape shape = { .max_tokens = 8, .max_seqs = 2, .max_picks = 4, .cache_rows = 8, .logits = true, .hidden = hidden };
    hs_graph *g;
    HS_TRY(hs_export_model_trace(m, past ? HS_DECODE : HS_EVAL, &shape, &g));
    hs_status st = hs_export_model_load(m);
    if (st == HS_OK)
        st = write_graph(m, tmp, g, hidden, o, said);
    hs_graph_free(g);
    return st;
}

hs_status hs_export_onnx(hs_export_model *m, const char *dir, const hs_export_onnx_opts *o, hs_export_said *said)
{
    hs_new_folder f;
    *said = (hs_export_said){ 0 };
    if (m->codes && o->dtype == HS_F16)
        return HS_FAIL(USAGE, "%s has weights as codes, beside which everything is f32 in ONNX; f16 is asked for", m->dir);
    HS_TRY(hs_new_folder_begin(&f, dir, o->overwrite));
    const hs_status st = export_into(m, f.tmp, o, said);
    if (st == HS_OK)
        return hs_new_folder_commit(&f);
    hs_new_folder_discard(&f);
    return hs_frame_at(st, __FILE__, __LINE__);
}
