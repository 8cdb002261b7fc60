// ops: the op registry as a markdown table.
#include "ops/ops.h"
#include "recipes/program/commands.h"
#include <jansson.h>

typedef struct ops_options {
    hs_common common;
} ops_options;

static const char *const amp_names[] = { [HS_AMP_UNSET] = "unset", [HS_AMP_LOW] = "low",       [HS_AMP_F32] = "f32",
                                         [HS_AMP_KEEP] = "keep",   [HS_AMP_WIDEST] = "widest", [HS_AMP_NONE] = "none" };
static const char *const part_names[] = {
    [HS_PART_FREE] = "free", [HS_PART_ROWS] = "rows", [HS_PART_SOLO] = "solo", [HS_PART_HOST] = "host"
};

// Where an op's gradients come from.
static const char *backward_kind(const hs_op *op)
{
    bool identity = false, floats = false;
    for (int i = 0; i < hs_op_n_in(op); i++) {
        identity |= (op->in[i].flags & HS_GRAD_IS_DY) != 0;
        floats |= op->in[i].amp != HS_AMP_NONE && !(op->in[i].flags & HS_NO_GRAD);
    }
    if (op->flags & HS_OP_LOSS)
        return op->cpu.bwd ? "kernel, with the loss" : "made by forward";
    if (op->flags & HS_OP_SPLIT_BWD)
        return "kernel, twice";
    if (op->cpu.bwd)
        return identity ? "kernel, identity" : "kernel";
    return identity ? "identity" : floats ? "none" : "no float input";
}

static void operands(const hs_operand *o, int n, char *buf, size_t size)
{
    size_t at = 0;
    buf[0] = 0;
    for (int i = 0; i < n && at < size; i++)
        at += (size_t)snprintf(buf + at, size - at, "%s%s%s:%s", i ? " " : "", o[i].name, o[i].flags & HS_OPTIONAL ? "?" : "",
                               amp_names[o[i].amp]);
}

static void attributes(const hs_op *op, char *buf, size_t size)
{
    size_t at = 0;
    buf[0] = 0;
    for (int i = 0; i < op->n_attrs && at < size; i++)
        at += (size_t)snprintf(buf + at, size - at, "%s%s:%s", i ? " " : "", op->attrs[i].name, hs_attr_type_name(&op->attrs[i]));
}

// '|' ends a markdown cell.
static void cell(const char *text)
{
    for (const char *p = text ? text : ""; *p; p++) {
        if (*p == '|')
            putchar('\\');
        putchar(*p == '\n' ? ' ' : *p);
    }
}

static void print_row(const hs_op *op)
{
    char in[256], out[256], attrs[256];
    operands(op->in, hs_op_n_in(op), in, sizeof in);
    operands(op->out, hs_op_n_out(op), out, sizeof out);
    attributes(op, attrs, sizeof attrs);
    printf("| %s | `", op->name);
    cell(op->formula);
    printf("` | %s | %s | ", in, out);
    cell(attrs);
    printf(" | %s | %s | ", backward_kind(op), part_names[op->cpu.fwd_part]);
    cell(op->paper);
    puts(" |");
}

static void json_row(const hs_op *op)
{
    char in[256], out[256], attrs[256];
    operands(op->in, hs_op_n_in(op), in, sizeof in);
    operands(op->out, hs_op_n_out(op), out, sizeof out);
    attributes(op, attrs, sizeof attrs);
    hs_line_print(json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "op", op->name, "formula", op->formula ? op->formula : "", "in", in,
                            "out", out, "attributes", attrs, "backward", backward_kind(op), "part", part_names[op->cpu.fwd_part], "paper",
                            op->paper ? op->paper : ""));
}

static hs_status run_ops(const hs_cli *cli)
{
    const bool json = hs_cli_common(cli)->json;
    if (!json)
        puts("| op | formula | inputs | outputs | attributes | backward | divided by | paper |\n|---|---|---|---|---|---|---|---|");
    for (int i = 0; i < HS_N_OPS; i++)
        json ? json_row(hs_ops[i]) : print_row(hs_ops[i]);
    return HS_OK;
}

static const hs_key keys[] = { HS_COMMON_KEYS(ops_options) };
static const hs_schema schema = HS_SCHEMA(keys, ops_options);

const hs_command hs_cmd_ops = {
    .name = "ops",
    .arguments = "",
    .summary = "print the table of operations, from the registry",
    .examples = "halfstep ops\nhalfstep ops --json",
    .notes = "Each operand is shown as name:class, a ? marking optional ones. The class says what mixed precision does with it:\n"
             "low (cast to bf16 or fp16), f32 (cast up), keep (taken as it comes, computed in f32), widest (mixed types read), none (not a "
             "float).",
    .options = &schema,
    .run = run_ops,
};
