// plan: what a run would take, without training anything and without allocating what it describes.
#include "core/base/log.h"
#include "data/text/plain_tokenizer.h"
#include "ops/ops.h"
#include "recipes/program/budget.h"
#include "recipes/program/commands.h"
#include "recipes/program/plan_parts.h"
#include "recipes/train/corpus.h"
#include "recipes/train/epochs.h"
#include "recipes/train/progress.h"
#include "recipes/train/train_feed.h"
#include "recipes/train/weights_from.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct plan_options {
    hs_common common;
    int64_t memory_mb, gpus;
    hs_string cluster, budget;
    bool nodes;
} plan_options;

typedef struct planned { // what the command line asks for besides
    hs_cluster cluster;
    bool has_cluster, measures; // of its file; this machine, whatever is asked
    hs_spend spend;
    bool spends;
} planned;

typedef struct byte_class {
    const char *name;
    size_t offset;
    const char *what;
} byte_class;
static const byte_class classes[] = {
    { "masters", offsetof(hs_budget, masters), "values in f32, or what optim.masters has of them beside the low copies" },
    { "weights", offsetof(hs_budget, weights), "low copies that products read" },
    { "packed", offsetof(hs_budget, packed), "weights as products walk them, where micro-batches share them" },
    { "gradients", offsetof(hs_budget, gradients), "f32; activations lie there first, where a step has one micro-batch" },
    { "moments", offsetof(hs_budget, moments), "what the optimizer keeps of each trained parameter" },
    { "activations", offsetof(hs_budget, activations), "values and their gradients, placed by liveness: what finds no room there" },
    { "workspace", offsetof(hs_budget, workspace), "scratch of kernels" },
    { "teacher", offsetof(hs_budget, teacher), "its weights, workspace and inputs; it has no gradients and no moments" },
    { "inputs", offsetof(hs_budget, inputs), "static inputs, in two slots: one is fed while the other is read" },
    { "evaluation", offsetof(hs_budget, evaluation), "beyond what training leaves it" },
    { "snapshot", offsetof(hs_budget, snapshot), "of values and moments, while a checkpoint is written" },
    { "loader", offsetof(hs_budget, loader), "micro-batches kept ready" },
    { "total", offsetof(hs_budget, total), "" },
};

static size_t bytes_at(const hs_budget *b, int i) { return *(const size_t *)((const char *)b + classes[i].offset); }

// Of a text where it can be had, else of bytes.
static hs_status characters(const hs_config *c, int64_t *n)
{
    hs_data_part part[HS_MIX_SOURCES];
    hs_corpus corpus;
    int n_parts;
    *n = 256;
    HS_TRY(hs_config_sources(c, part, &n_parts));
    if (!part[0].path[0] || access(part[0].path, R_OK) != 0)
        return HS_OK;
    HS_TRY(hs_corpus_open(&corpus, &(hs_corpus_from){ .config = c }));
    *n = hs_tokenizer_vocab(corpus.tokenizer);
    hs_corpus_close(&corpus);
    return HS_OK;
}

// What a tokenizer that is there decides: the vocabulary where it is open, and the padding token.
static hs_status take_tokenizer(hs_config *c, const char *dir)
{
    hs_tokenizer *t;
    HS_TRY(dir ? hs_tokenizer_load(&t, dir) : hs_corpus_named_tokenizer(&t, c));
    hs_status st = hs_weights_vocabulary(c, hs_tokenizer_vocab(t));
    if (st == HS_OK)
        st = hs_weights_pad(c, t);
    hs_tokenizer_free(t);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

// Does data.tokenizer say which it is, though the vocabulary is settled?
static bool names_tokenizer(const hs_config *c)
{
    int64_t n;
    return hs_config_wordpiece(c, &n) || access(c->data.tokenizer, F_OK) == 0;
}

// Of labelled data: how many classes they have, and how many steps the epochs are; where there are none, a head of two is shown.
static hs_status take_labels(hs_config *c, const hs_run_dir *run, const char *dir)
{
    hs_labels head;
    hs_corpus corpus;
    int64_t epoch;
    const hs_task task = hs_arch_task(hs_config_arch(c));
    if (!c->data.train[0] && !c->data.n_sources) {
        hs_warn("data.train is not set: labels and steps are those of the data");
        return task && task != HS_TASK_SPAN && !hs_config_model_int(c, "model.labels") ? hs_config_set_int(c, "model.labels", 2, "plan")
                                                                                       : HS_OK;
    }
    HS_TRY(hs_weights_classes(c, run, &head));
    hs_status st = hs_corpus_open(&corpus, &(hs_corpus_from){ .config = c, .tokenizer_dir = dir, .labels = &head, .labels_of = run->init });
    hs_labels_free(&head);
    HS_TRY(st);
    const hs_examples *e = corpus.labelled.all;
    if (task && task != HS_TASK_SPAN)
        st = hs_weights_labels(c, e->about == HS_ABOUT_REGRESSION ? e->n_values : e->labels.n);
    const hs_feed feed = hs_feed_of(c);
    if (st == HS_OK)
        st = hs_epochs_settle(c, c, &feed, &corpus, &epoch);
    hs_corpus_close(&corpus);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

// What pretrain would take over or find out: shape and tokenizer of train.init_from, else the vocabulary where it is open.
static hs_status settle_model(hs_config *c, int want)
{
    hs_run_dir run = { .lock = -1 };
    const char *dir;
    int64_t n;
    if (!c->train.init_from[0] && !hs_config_learns(c) && hs_config_model_int(c, "model.vocab") && !names_tokenizer(c) &&
        !hs_config_labelled(c))
        return HS_OK;
    if (c->train.init_from[0])
        HS_TRY(hs_ckpt_resolve(c->train.init_from, want, run.init, sizeof run.init));
    HS_TRY(hs_weights_take(c, &run, &dir));
    if (!dir && strcmp(c->data.tokenizer, "char") == 0) {
        HS_TRY(characters(c, &n));
        return hs_weights_vocabulary(c, n);
    }
    if (dir || !hs_config_wordpiece(c, &n)) {
        HS_TRY(take_tokenizer(c, dir));
        return hs_config_labelled(c) ? take_labels(c, &run, dir) : HS_OK;
    }
    if (!hs_config_model_int(c, "model.vocab")) // as many as there may be: what the text gives is known when it is learned
        HS_TRY(hs_weights_vocabulary(c, n));
    return hs_weights_pad_id(c, HS_PLAIN_PAD);
}

typedef struct phase_at { // of a run in phases; else name is NULL
    int phase;
    const char *name;
} phase_at;

static void add_step(json_t *o, const hs_config *c, const phase_at *at)
{
    const hs_feed feed = hs_feed_of(c);
    json_t *step =
        json_pack("{s:I, s:I, s:I, s:I, s:I}", "steps", (json_int_t)c->train.steps, "batch", (json_int_t)c->train.batch, "accumulate",
                  (json_int_t)c->train.accumulate, "length", (json_int_t)feed.length, "predictions", (json_int_t)feed.predictions);
    json_object_update(o, step);
    json_decref(step);
    if (!at->name)
        return;
    json_object_set_new(o, "phase", json_integer(at->phase));
    json_object_set_new(o, "name", json_string(at->name));
}

// "2 micro-batches of 16 sequences of 128 with 20 predictions"
static void describe_step(const hs_config *c, char *buf, size_t size)
{
    const hs_feed feed = hs_feed_of(c);
    const int n =
        snprintf(buf, size, "%lld micro-batch%s of %lld %s%s of %lld", (long long)c->train.accumulate, c->train.accumulate == 1 ? "" : "es",
                 (long long)c->train.batch, hs_feed_unit(&feed), hs_plural(c->train.batch), (long long)feed.length);
    if (feed.predictions && n > 0 && (size_t)n < size)
        snprintf(buf + n, size - (size_t)n, " with %lld predictions", (long long)feed.predictions);
}

static const char *const modes[] = { [HS_SUBMIT_STEP] = "step", [HS_SUBMIT_BULK] = "bulk", [HS_SUBMIT_GRAPH] = "graph" };

static void print_mode(const hs_config *c, const hs_device *dev)
{
    static const char *const does[] = { [HS_SUBMIT_STEP] = "one thunk after the other, looked at after each",
                                        [HS_SUBMIT_BULK] = "all of a micro-step at once",
                                        [HS_SUBMIT_GRAPH] = "each micro-step is captured when it comes the second time, and replayed" };
    const hs_submit_mode mode = hs_config_mode(c, dev);
    printf("submitted    %s%s: %s\n", modes[mode], c->exec.mode == HS_MODE_AUTO ? " (auto)" : "", does[mode]);
}

static void print_text(const hs_config *c, const hs_budget *b, hs_dtype low, int64_t largest, size_t memory, int ranks,
                       const hs_device *dev)
{
    const char *policy = c->amp.policy == HS_DTYPE_FP8 ? "fp8" : hs_dtype_name(low);
    const hs_arch m = hs_config_arch(c);
    char step[160];
    char a[32], d[32], sizes[256];
    hs_arch_describe(m, sizes, sizeof sizes);
    printf("model        %s, %s\n", m.family->title, sizes);
    printf("parameters   %lld\n", (long long)b->parameters);
    describe_step(c, step, sizeof step);
    printf("step         %lld tokens: %s, %s\n", (long long)(c->train.accumulate * c->train.batch * hs_feed_of(c).length), step, policy);
    printf("FLOPs        %s per step%s (forward %s, backward %s), %s in %lld step%s\n",
           hs_human_count(b->flops_forward + b->flops_backward, a, sizeof a), ranks > 1 ? " and rank" : "",
           hs_human_count(b->flops_forward, (char[32]){ 0 }, 32), hs_human_count(b->flops_backward, (char[32]){ 0 }, 32),
           hs_human_count((b->flops_forward + b->flops_backward) * (double)c->train.steps, d, sizeof d), (long long)c->train.steps,
           hs_plural(c->train.steps));
    if (b->flops_longer > 0)
        printf("             of documents as short as packing admits; up to %s per step where they are as long as windows\n",
               hs_human_count(b->flops_forward + b->flops_backward + b->flops_longer, a, sizeof a));
    if (c->train.recompute)
        printf("recompute    %s: %s of backward are forward once more\n", c->train.recompute == HS_RECOMPUTE_FULL ? "full" : "selective",
               hs_human_count(b->info.flops_again * (double)c->train.accumulate, a, sizeof a));
    printf("plan         %d nodes, %d thunks, %d barriers, %.1f ms to make; values would take %s without reuse\n", b->info.n_nodes,
           b->info.n_thunks, b->info.n_barriers, 1e3 * b->info.trace_plan_seconds,
           hs_human_bytes((double)b->info.value_bytes_unshared, a, sizeof a));
    print_mode(c, dev);
    putchar('\n');
    for (int i = 0; i < HS_COUNT(classes); i++)
        printf("%-12s %15zu  %9s  %s\n", classes[i].name, bytes_at(b, i), hs_human_bytes((double)bytes_at(b, i), a, sizeof a),
               classes[i].what);
    printf("\ncasts        %d inserted%s\n", b->info.n_casts, b->info.n_casts ? ":" : ": every one sank into the operation before it");
    for (int i = 0; i < b->info.n_casts; i++)
        printf("  %-24s %s of %s: %s -> %s, %s\n", b->info.cast[i].scope, b->info.cast[i].backward ? "gradient" : "output",
               b->info.cast[i].from_op, hs_dtype_name(b->info.cast[i].from), hs_dtype_name(b->info.cast[i].to),
               hs_human_bytes((double)b->info.cast[i].bytes, a, sizeof a));
    hs_config_print_optim(c, low);
    printf("\nlargest micro-batch that fits into %s: ", hs_human_bytes((double)memory, a, sizeof a));
    if (largest)
        printf("train.batch=%lld\n", (long long)largest);
    else
        puts("none");
}

static json_t *plan_json(const hs_config *c, const phase_at *at, const hs_budget *b, hs_dtype low, int64_t largest, size_t memory,
                         const hs_device *dev)
{
    json_t *bytes = json_object(), *casts = json_array();
    for (int i = 0; i < HS_COUNT(classes); i++)
        json_object_set_new(bytes, classes[i].name, json_integer((json_int_t)bytes_at(b, i)));
    for (int i = 0; i < b->info.n_casts; i++) {
        const hs_cast_info *k = &b->info.cast[i];
        json_array_append_new(casts, json_pack("{s:s, s:s, s:s, s:s, s:I, s:b}", "scope", k->scope ? k->scope : "", "op",
                                               k->from_op ? k->from_op : "", "from", hs_dtype_name(k->from), "to", hs_dtype_name(k->to),
                                               "bytes", (json_int_t)k->bytes, "backward", k->backward));
    }
    json_t *o = json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:s, s:s, s:i, s:i, s:o, s:o, s:o}", "parameters",
                          (json_int_t)b->parameters, "bytes", bytes, "flops_per_step", hs_line_real(b->flops_forward + b->flops_backward),
                          "flops_again", hs_line_real(b->info.flops_again * (double)c->train.accumulate), "flops_per_step_most",
                          hs_line_real(b->flops_forward + b->flops_backward + b->flops_longer), "flops_forward",
                          hs_line_real(b->flops_forward), "flops_backward", hs_line_real(b->flops_backward), "casts", casts,
                          "largest_micro_batch", (json_int_t)largest, "memory_bytes", (json_int_t)memory, "policy",
                          c->amp.policy == HS_DTYPE_FP8 ? "fp8" : hs_dtype_name(low), "mode", modes[hs_config_mode(c, dev)], "nodes",
                          b->info.n_nodes, "thunks", b->info.n_thunks, "traffic_bytes", hs_line_real(b->traffic_bytes),
                          "trace_plan_seconds", hs_line_real(b->info.trace_plan_seconds), "optimizer", hs_config_optim_json(c, low));
    add_step(o, c, at);
    return o;
}

// What the plan made of the trace, types settled and casts in place.
static void print_nodes(const hs_graph *g, bool json)
{
    if (!json) {
        putchar('\n');
        hs_graph_write(g, stdout);
    }
    for (int i = 0; json && i < g->n_nodes; i++) { // a line each, in front of the totals
        const hs_node *n = g->node[i];
        char attrs[256], in[2048], out[2048];
        hs_attrs_text(n->op, n->attr, attrs, sizeof attrs);
        hs_operands_text(g->params, n, false, in, sizeof in);
        hs_operands_text(g->params, n, true, out, sizeof out);
        hs_line_print(json_pack("{s:i, s:s, s:s, s:s, s:s, s:s}", "node", i, "scope", n->scope, "op", n->op->name, "attributes", attrs,
                                "in", in, "out", out));
    }
}

// One rank of a grid, or the only one.
static hs_status plan_rank(const hs_cli *cli, const hs_config *c, const phase_at *at, const hs_policy *policy, const hs_cluster *cluster,
                           hs_device *dev)
{
    const plan_options *o = cli->options;
    hs_sizing s;
    hs_comm absent[2];
    int64_t largest;
    hs_status st = hs_sizing_of(&s, c, policy, cluster, dev);
    if (st != HS_OK)
        return hs_budget_explain(st, c, policy, dev);
    const hs_grid grid = hs_grid_absent(absent, s.dp, s.tp, 0);
    const size_t memory = o->memory_mb ? (size_t)o->memory_mb * 1000000
                          : cluster    ? (size_t)hs_cluster_memory(cluster)
                                       : hs_cpu_free_bytes();
    st = hs_budget_largest(c, policy, memory, hs_cluster_counts(cluster), dev, &grid, &largest);
    largest *= s.dp;
    if (st == HS_OK && !o->common.json && at->name)
        printf("%sphase        %d%s%s: %lld steps, optim.lr %g\n", at->phase ? "\n" : "", at->phase, at->name[0] ? ", " : "", at->name,
               (long long)c->train.steps, c->optim.lr);
    if (st == HS_OK && o->nodes && o->common.json)
        print_nodes(s.budget.graph, true);
    if (st == HS_OK && o->common.json) {
        json_t *line = plan_json(c, at, &s.budget, policy->low, largest, memory, dev),
               *ranks = cluster ? hs_sizing_json(&s, c, cluster) : NULL;
        json_object_update(line, ranks);
        json_decref(ranks);
        hs_line_print(line);
    } else if (st == HS_OK) {
        print_text(c, &s.budget, policy->low, largest, memory, hs_sizing_ranks(&s), dev);
        if (cluster)
            hs_sizing_print(&s, c, cluster);
    }
    if (st == HS_OK && o->nodes && !o->common.json)
        print_nodes(s.budget.graph, false);
    hs_sizing_free(&s);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status plan_phase(const hs_cli *cli, const hs_config *c, const phase_at *at, planned *p, hs_device *dev)
{
    const plan_options *o = cli->options;
    hs_policy policy;
    HS_TRY(hs_config_check_batches(c)); // with what train.init_from brought
    HS_TRY(hs_config_policy(c, &policy));
    const int ranks = (int)((c->parallel.dp ? c->parallel.dp : 1) * c->parallel.tp), all = (int)(p->cluster.nodes * p->cluster.devices);
    const int devices = o->gpus ? (int)o->gpus : p->spends && p->has_cluster ? all : ranks;
    const bool compares = devices > 1 || p->has_cluster || p->measures || p->spend.hours; // needs to know how fast a device is
    if (compares && !p->has_cluster)
        HS_TRY(hs_cluster_here(&p->cluster, c, &policy, dev, devices));
    if (compares && devices > p->cluster.nodes * p->cluster.devices)
        return HS_FAIL(USAGE, "%d ranks are asked for, but %s has %lld: nodes %lld x devices %lld", devices, p->cluster.path,
                       (long long)(p->cluster.nodes * p->cluster.devices), (long long)p->cluster.nodes, (long long)p->cluster.devices);
    if (p->spends)
        return hs_spend_show(cli, c, &policy, &p->spend, &p->cluster, devices, dev);
    if (o->gpus)
        return hs_layouts_show(c, &policy, &p->cluster, devices, dev, o->common.json);
    return plan_rank(cli, c, at, &policy, compares ? &p->cluster : NULL, dev);
}

static hs_status plan(const hs_cli *cli, hs_config *whole, hs_config *c, hs_device **dev)
{
    const plan_options *o = cli->options;
    const bool here = strcmp(o->cluster, "here") == 0;
    planned p = { .has_cluster = o->cluster[0] && !here, .measures = here, .spends = o->budget[0] };
    hs_status st = HS_OK;
    if (p.spends)
        HS_TRY(hs_spend_parse(&p.spend, o->budget));
    if (p.has_cluster)
        HS_TRY(hs_cluster_load(&p.cluster, o->cluster));
    HS_TRY(hs_config_check(whole, false));
    HS_TRY(settle_model(whole, o->common.accept_edited ? HS_CKPT_EDITED : 0));
    HS_TRY(hs_arch_check(hs_config_arch(whole)));
    HS_TRY(hs_open_device(dev, whole->exec.device, (int)whole->exec.threads, whole->exec.isa, (int)whole->exec.bulk_size,
                          whole->exec.onednn ? HS_ONEDNN_FASTER : HS_ONEDNN_NO));
    if (!p.spends && !o->gpus)
        hs_config_tell_idle(whole, whole->parallel.dp ? (int)whole->parallel.dp : 1);
    const int n = p.spends ? 1 : hs_config_n_phases(whole);
    for (int i = 0; i < n && st == HS_OK; i++) {
        HS_TRY(hs_config_phase(c, whole, i));
        const phase_at at = { i, whole->n_phases ? hs_config_phase_name(whole, i) : NULL };
        if ((st = plan_phase(cli, c, &at, &p, *dev)) != HS_OK)
            st = hs_config_in_phase(st, whole, i);
    }
    return st;
}

static hs_status run_plan(const hs_cli *cli)
{
    hs_config *config = calloc(2, sizeof *config); // of the run, and of a phase
    hs_device *dev = NULL;
    hs_status st = config ? hs_cli_config(cli, cli->arg[0], config) : HS_FAIL(MEMORY, "no memory for the configuration");
    if (st == HS_OK)
        st = plan(cli, config, config + 1, &dev);
    hs_device_close(dev);
    free(config);
    return st;
}

static const hs_key keys[] = {
    { .name = "memory-mb",
      .type = HS_KEY_INT,
      .offset = offsetof(plan_options, memory_mb),
      .value = "0",
      .min = 0,
      .max = 1e9,
      .unit = "MB",
      .help = "memory to fit the micro-batch into; 0: what is free here, or what a device of --cluster has" },
    { .name = "cluster",
      .type = HS_KEY_STRING,
      .offset = offsetof(plan_options, cluster),
      .value = "",
      .help = "CLUSTER.yaml, or one that is shipped (dgx-h100, dgx-a100, dgx-2h, laptop): devices and links to predict time for; "
              "here: this machine, measured, which it is without this option where more than one rank is asked for" },
    { .name = "gpus",
      .type = HS_KEY_INT,
      .offset = offsetof(plan_options, gpus),
      .value = "0",
      .min = 0,
      .max = 65536,
      .unit = "devices",
      .help = "search the layouts on so many devices that keep the batch of a step: the fastest that fit, and why others do not" },
    { .name = "budget",
      .type = HS_KEY_STRING,
      .offset = offsetof(plan_options, budget),
      .value = "",
      .help =
          "FLOPs (1e21), or hours or days (24h, 3d) of --gpus devices: parameters and tokens to spend them on, and the loss to expect" },
    { .name = "nodes",
      .type = HS_KEY_BOOL,
      .offset = offsetof(plan_options, nodes),
      .value = "false",
      .help = "list the nodes of a micro-step as well: scope, operation, attributes, operands" },
    HS_CHECKPOINT_KEYS(plan_options),
    HS_COMPUTE_KEYS(plan_options),
    HS_COMMON_KEYS(plan_options),
};
static const hs_schema schema = HS_SCHEMA(keys, plan_options);

const hs_command hs_cmd_plan = {
    .name = "plan",
    .arguments = "CONFIG.yaml",
    .summary = "say what a run would take: memory, FLOPs, casts; trains nothing",
    .examples = "halfstep plan gpt2-124m\n"
                "halfstep plan gpt2-1558m --dtype bf16 --train.batch=1 --json\n"
                "halfstep plan gpt2-124m --dtype bf16 --nodes                       # every operation, with attributes and shapes\n"
                "halfstep plan my.yaml --memory-mb 8000                            # what would fit on another machine\n"
                "halfstep plan my.yaml --train.init_from=path/to/gpt2               # of the shape those weights have\n"
                "halfstep plan gpt2-1558m --parallel.dp=4 --parallel.tp=2 --cluster dgx-h100   # one of eight ranks, and the step's time\n"
                "halfstep plan gpt2-1558m --dtype bf16 --gpus 64 --cluster dgx-h100            # the best layouts\n"
                "halfstep plan gpt2-124m --budget 24h --gpus 8 --cluster dgx-h100              # how large a model, how much text",
    .notes = "Bytes are those of the plan, class by class, before anything is allocated. FLOPs count products, attention and row-wise "
             "operations\n"
             "of forward and backward; the optimizer is not in them. Of several ranks bytes are those of one, the first. Time is predicted "
             "from the\n"
             "cluster's stated rates and links: a ring all-reduce of n bytes over p ranks takes 2 (p-1)/p n / rate + 2 (p-1) latency, "
             "half of it\n"
             "is a reduce-scatter or an all-gather. It knows nothing of stragglers and of other jobs' traffic.",
    .options = &schema,
    .min_args = 1,
    .max_args = 1,
    .takes_config = true,
    .run = run_plan,
};
