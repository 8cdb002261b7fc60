// bench: what steps, ops and the machine itself can do here. One table of benches; each is a file of its own.
#include "ops/ops.h"
#include "recipes/bench/bench.h"
#include "recipes/program/commands.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const hs_bench *const benches[] = { &hs_bench_train, &hs_bench_infer,     &hs_bench_generate, &hs_bench_op,  &hs_bench_memory,
                                           &hs_bench_bulk,  &hs_bench_tokenizer, &hs_bench_data,     &hs_bench_comm, &hs_bench_optim };

static hs_status find(const char *name, const hs_bench **out)
{
    const char *names[HS_COUNT(benches)];
    for (int i = 0; i < HS_COUNT(benches); i++) {
        names[i] = (*out = benches[i])->name;
        if (strcmp(names[i], name) == 0)
            return HS_OK;
    }
    const char *near = hs_nearest_word(name, names, HS_COUNT(names));
    return HS_FAIL(USAGE, "bench measures train, infer, generate, op, memory, bulk, optim, tokenizer, data or comm, not '%s'%s%s", name,
                   near ? "; nearest is " : "", near ? near : "");
}

static bool in_words(const char *words, const char *word)
{
    const size_t n = strlen(word);
    for (const char *p = words; (p = strstr(p, word)); p += n)
        if ((p == words || p[-1] == ' ') && (!p[n] || p[n] == ' '))
            return true;
    return false;
}

// An option or a setting that this bench would not heed is refused.
static hs_status check_options(const hs_cli *cli, const hs_bench *b)
{
    static const char *const some[] = { "model", "batch",  "seq",    "tokens", "warmup", "busy", "profile", "tokenizer",
                                        "file",  "google", "onednn", "packed", "sizes",  "bits", "static",  "kv" };
    if (b->argument ? cli->n_args < 2 : cli->n_args > 1)
        return b->argument ? HS_FAIL(USAGE, "bench %s needs %s", b->name, b->argument)
                           : HS_FAIL(USAGE, "bench %s takes no argument '%s'", b->name, cli->arg[1]);
    for (int i = 0; i < HS_COUNT(some); i++)
        if (hs_cli_given(cli, some[i]) && !in_words(b->takes, some[i]))
            return HS_FAIL(USAGE, "bench %s does not take %s", b->name, hs_cli_given_as(cli, some[i]));
    for (int i = 0; i < cli->n_overrides && !in_words(b->takes, "model"); i++)
        if (strchr(cli->override[i].where, '.')) // "--dtype" is an option of every bench, "--model.width" is not
            return HS_FAIL(USAGE, "bench %s has no configuration to set %s in", b->name, cli->override[i].where);
    return HS_OK;
}

static hs_status open_model(hs_bench_run *r)
{
    hs_config *c = &r->config;
    HS_TRY(hs_cli_config(r->cli, r->o->model, c));
    if (r->o->seq > hs_config_model_int(c, "model.context")) // positions beyond the recipe's
        HS_TRY(hs_config_set_int(c, "model.context", r->o->seq, "--seq"));
    if (r->o->batch)
        c->train.batch = r->o->batch;
    if (!hs_config_model_int(c, "model.vocab"))
        HS_TRY(hs_config_set_int(c, "model.vocab", 65, "default")); // the characters of the shipped text
    HS_TRY(hs_config_check(c, false));
    HS_TRY(hs_open_device(&r->device, c->exec.device, (int)c->exec.threads, c->exec.isa, (int)c->exec.bulk_size,
                          c->exec.onednn ? HS_ONEDNN_FASTER : HS_ONEDNN_NO));
    r->mode = hs_config_mode(c, r->device);
    return hs_submit_mode_check(r->mode, r->device);
}

// A folder is a checkpoint, whose model it says itself.
static bool is_checkpoint(const char *model)
{
    struct stat s;
    return stat(model, &s) == 0 && S_ISDIR(s.st_mode);
}

static hs_status open_checkpoint(hs_bench_run *r)
{
    const hs_bench_options *o = r->o;
    if (hs_cli_given(r->cli, "isa"))
        return HS_FAIL(USAGE, "--isa is of a recipe: a checkpoint runs in the tier of this CPU");
    for (int i = 0; i < r->cli->n_overrides; i++)
        if (strchr(r->cli->override[i].where, '.'))
            return HS_FAIL(USAGE, "%s is a checkpoint: it has no configuration to set %s in", o->model, r->cli->override[i].where);
    r->session = calloc(1, sizeof *r->session);
    if (!r->session)
        return HS_FAIL(MEMORY, "no memory for a session");
    HS_TRY(hs_session_open(r->session, o->model, 0, r->cli->table->families, o->common.device, (int)o->common.threads));
    r->device = r->session->device;
    return HS_OK;
}

static void close_checkpoint(hs_bench_run *r)
{
    if (!r->session)
        return;
    r->device = NULL;
    hs_session_close(r->session);
    free(r->session);
}

static hs_status measure(hs_bench_run *r)
{
    const hs_bench_options *o = r->o;
    HS_TRY(find(r->cli->arg[0], &r->bench));
    HS_TRY(check_options(r->cli, r->bench));
    if (r->bench->sizes)
        HS_TRY(hs_bench_sizes_parse(&r->sizes, *o->sizes ? o->sizes : r->bench->default_sizes, r->bench->sizes, r->bench->default_sizes));
    if (in_words(r->bench->takes, "checkpoint") && is_checkpoint(o->model))
        HS_TRY(open_checkpoint(r));
    else if (in_words(r->bench->takes, "model"))
        HS_TRY(open_model(r));
    else
        HS_TRY(hs_open_device(&r->device, o->common.device, (int)o->common.threads, o->isa, 0, HS_ONEDNN_NO));
    if (o->onednn)
        HS_TRY(hs_open_device(&r->onednn, o->common.device, (int)o->common.threads, o->isa, 0, HS_ONEDNN_ALWAYS));
    return r->bench->run(r);
}

static hs_status run_bench(const hs_cli *cli)
{
    hs_bench_run *r = calloc(1, sizeof *r);
    if (!r)
        return HS_FAIL(MEMORY, "no memory for a bench");
    r->cli = cli, r->o = cli->options;
    const hs_status st = measure(r);
    hs_device_close(r->onednn);
    close_checkpoint(r);
    hs_device_close(r->device);
    free(r);
    return st;
}

#define AT(field) .offset = offsetof(hs_bench_options, field)
static const hs_key keys[] = {
    { .name = "model",
      .type = HS_KEY_STRING,
      AT(model),
      .value = "gpt2-124m",
      .help = "of train, infer, generate and data: a shipped recipe (gpt2-124m, shakespeare-char, ...) or a YAML file; of infer also a "
              "checkpoint" },
    { .name = "batch",
      .type = HS_KEY_INT,
      AT(batch),
      .value = "0",
      .min = 0,
      .max = 1e6,
      .unit = "windows",
      .help = "of a training step; 0: train.batch of the model's settings; of infer sequences, 0: one" },
    { .name = "seq",
      .type = HS_KEY_INT,
      AT(seq),
      .value = "0",
      .min = 0,
      .max = 1e6,
      .unit = "tokens",
      .help = "of a window, of infer's sequences, or of generate's prompt; 0: the model's context, 128, or half of it" },
    { .name = "tokens",
      .type = HS_KEY_INT,
      AT(tokens),
      .value = "128",
      .min = 2,
      .max = 1e6,
      .unit = "tokens",
      .help = "that generate adds to the prompt" },
    { .name = "sizes",
      .type = HS_KEY_STRING,
      AT(sizes),
      .value = "",
      .help = "list of sizes for op, memory, bulk, optim and comm, in the form each names below: 768x128x512,1Kx768x768" },
    { .name = "tokenizer", .type = HS_KEY_STRING, AT(tokenizer), .value = "", .help = "of bench tokenizer: a folder with a tokenizer" },
    { .name = "file",
      .type = HS_KEY_STRING,
      AT(file),
      .value = "",
      .help = "of bench tokenizer: a text; of bench data: a token store, whose vocabulary the model takes where its own is smaller" },
    { .name = "google",
      .type = HS_KEY_BOOL,
      AT(google),
      .value = "false",
      .help = "of bench tokenizer: WordPiece as Google's, not Hugging Face's" },
    { .name = "onednn",
      .type = HS_KEY_BOOL,
      AT(onednn),
      .value = "false",
      .help = "of bench op linear: every fp32 size by oneDNN too, also where it would not be chosen" },
    { .name = "packed",
      .type = HS_KEY_BOOL,
      AT(packed),
      .value = "false",
      .help = "of bench op linear: every size with weights packed before too, as where several runs share their values" },
    { .name = "busy", .type = HS_KEY_BOOL, AT(busy), .value = "false", .help = "bulk: also beside a thread that takes a core" },
    { .name = "steps",
      .type = HS_KEY_INT,
      AT(steps),
      .value = "10",
      .min = 1,
      .max = 1e6,
      .unit = "steps",
      .help = "measured, or rounds of interleaved runs; the median counts" },
    { .name = "warmup",
      .type = HS_KEY_INT,
      AT(warmup),
      .value = "2",
      .min = 0,
      .max = 1e6,
      .unit = "steps",
      .help = "of train, infer and generate, before them",
      .advanced = true },
    { .name = "profile",
      .type = HS_KEY_STRING,
      AT(profile),
      .value = "",
      .help = "of train and infer: then as many steps again with a clock: tables by operation and scope, and a trace in this file (or "
              "folder) for "
              "ui.perfetto.dev" },
    { .name = "isa",
      .type = HS_KEY_STRING,
      AT(isa),
      .value = "auto",
      .help = "tier of the kernels: auto, portable, avx2, avx512, avx512bf16, amx" },
    { .name = "bits",
      .type = HS_KEY_CHOICE,
      .offset = offsetof(hs_bench_options, bits),
      .value = "none",
      .choices = HS_QUANT_BITS_WORDS,
      .help = "of infer and generate, a recipe's weights as codes (halfstep quantize)" },
    { .name = "static",
      .type = HS_KEY_BOOL,
      AT(static_scales),
      .value = "false",
      .help = "of infer with w8a8: one scale for all that a weight multiplies, as quantize --calib gives, not one for each token" },
    HS_KV_KEY(hs_bench_options),
    HS_COMPUTE_KEYS_BY(hs_bench_options, HS_ARITHMETIC_WORDS "|int8|int4", HS_DTYPE_HELP "; int8, int4: --bits w8a8, w4"),
    HS_COMMON_KEYS(hs_bench_options),
};
static const hs_spelling spellings[] = { { "dtype", "int8", "bits", "w8a8" }, { "dtype", "int4", "bits", "w4" }, { NULL } };
static const hs_schema schema = HS_SCHEMA(keys, hs_bench_options);

// What ranks say to each other; everything else is of one process.
static bool many(const hs_cli *cli) { return cli->n_args && strcmp(cli->arg[0], "comm") == 0; }

const hs_command hs_cmd_bench = {
    .name = "bench",
    .arguments = "train|infer|generate|op NAME|memory|bulk|optim|tokenizer|data|comm",
    .summary = "measure training, inference and generation, ops, and this machine",
    .examples = "halfstep bench train --model shakespeare-char --steps 50\n"
                "halfstep bench train --model gpt2-124m --batch 4 --seq 256 --dtype bf16 --steps 5 --json\n"
                "halfstep bench train --model shakespeare-char --profile profile.json   # where the time of a step goes\n"
                "halfstep bench infer --model gpt2-124m --batch 1 --seq 128 --steps 100 --json\n"
                "halfstep bench infer --model bert-base --batch 8 --dtype int8 --json\n"
                "halfstep bench generate --model gpt2-124m --seq 512 --tokens 128\n"
                "halfstep bench op linear --sizes 1Kx768x3072 --dtype bf16\n"
                "halfstep bench op linear --onednn --dtype fp32\n"
                "halfstep bench op layernorm,softmax,add --sizes 4Kx768\n"
                "halfstep bench op all --json\n"
                "halfstep bench bulk --sizes 1x32,12x128 --busy\n"
                "halfstep bench optim --sizes 16M,128M\n"
                "halfstep bench tokenizer --tokenizer models/gpt2 --file book.txt --threads 1\n"
                "halfstep bench data --model shakespeare-char --steps 400\n"
                "mpirun -np 2 --bind-to none halfstep bench comm",
    .notes =
        "train      MFU is the model's FLOPs (6 per parameter and token, and attention) against what the CPU does in registers alone.\n"
        "           With --json: tokens_per_second, sequences_per_second, peak_bytes (of this process), mfu, loss, step_seconds, ...\n"
        "infer      token ids to last hidden states, no head: milliseconds is the median, p90 and p99 stand beside it. Checkpoints: no "
        "--isa\n"
        "           With --json: milliseconds, sequences_per_second, peak_bytes (of this process), dtype, bits, static, ...\n"
        "generate   prompt and continuation; each new token against reading as many bytes as there are weights\n"
        "op         operations by name, or all, as training runs them: GFLOP/s and GB/s of what they must compute and move, beside\n"
        "           multiply-adds in registers and reading and copying as many bytes. share: the least time by these over what it took.\n"
        "           Sizes are ROWSxCOLS; of linear and matmul ROWSxINxOUT; of attention BATCHxSEQxHEADSxDIM (causal: the masked half not\n"
        "           counted; backward makes the scores again), BATCHxSEQxWIDTH (both ways, heads of 64: encoders) or, decoding,\n"
        "           BATCHxNEWxKEYSxHEADSxDIM; others name theirs when refused.\n"
        "           linear: dx and dw apart; --onednn, --packed: in the same rounds also by oneDNN, also with weights packed before\n"
        "memory     BYTES, of all threads together: read, copy and a + 3 b (4, 8 and 12 bytes an element)\n"
        "data       the loader alone (alone_tokens_per_second), and steps with it beside steps on the same batches kept in memory\n"
        "tokenizer  text in memory to ids, --steps times; the first has an empty cache. With --json: megabytes_per_second, ...\n"
        "comm       BYTES of a buffer: collectives between the ranks that mpirun started (us, the slowest rank's) beside MPI's own "
        "(mpi_us);\n"
        "           without --sizes also the gradients of gpt2-124m in buckets of 25 MB, begun together\n"
        "optim      PARAMETERS, of one table: an update by adamw and by lamb, the GB/s of all that they must read and write\n"
        "bulk       BATCHxWIDTH of a 4-layer GPT, context 64: a region per operation over one region, on a GPU also a captured graph; "
        "--busy:\n"
        "           with a core taken",
    .options = &schema,
    .spellings = spellings,
    .min_args = 1,
    .max_args = 2,
    .takes_config = true,
    .many = many,
    .run = run_bench,
};
