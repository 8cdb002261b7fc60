// device: what does not depend on the backend - opening one, kernels by node, submission modes by name.
#include "core/run/device.h"
#include "core/base/log.h"
#include <stdlib.h>
#include <string.h>

hs_status hs_device_open(hs_device **out, hs_backend *backend, const hs_device_opts *o)
{
    *out = NULL;
    hs_device *d = malloc(sizeof *d);
    if (!d)
        return HS_FAIL(MEMORY, "no memory for a device");
    *d = (hs_device){ .ops = o->ops, .n_ops = o->n_ops, .tables = o->tables, .table_names = o->table_names, .bulk_size = o->bulk_size };
    hs_status st;
    HS_TRY_GOTO(st, backend(d, o), failed);
    *out = d;
    return HS_OK;
failed:
    free(d);
    return st;
}

void hs_device_close(hs_device *d)
{
    if (!d)
        return;
    d->close(d);
    free(d);
}

int hs_device_op_index(const hs_device *d, const char *name)
{
    for (int i = 0; i < d->n_ops; i++)
        if (!strcmp(d->ops[i]->name, name))
            return i;
    return -1;
}

const hs_op *hs_device_op(const hs_device *d, const char *name)
{
    const int i = hs_device_op_index(d, name);
    return i < 0 ? NULL : d->ops[i];
}

const hs_kernels *hs_device_kernels(const hs_device *d, const hs_node *n)
{
    const int id = hs_device_op_index(d, n->op->name);
    for (int i = 0; id >= 0 && d->tables[i]; i++) {
        const hs_kernels *k = d->tables[i][id];
        const char *why = k && k->decline ? k->decline(n) : NULL;
        if (k && !why)
            return k;
        if (why)
            hs_debug("%s: %s declined by %s: %s", n->scope, n->op->name, d->table_names ? d->table_names[i] : "a table", why);
    }
    return NULL;
}

hs_status hs_submit_mode_parse(const char *s, const hs_device *d, hs_submit_mode *out)
{
    static const char *const names[] = { "step", "bulk", "graph" };
    for (int i = 0; i < HS_COUNT(names); i++)
        if (!strcmp(s, names[i])) {
            if (i == HS_SUBMIT_GRAPH && !strcmp(d->name, "cpu"))
                return HS_FAIL(UNSUPPORTED, "exec.mode is graph: a captured graph needs CUDA; on the CPU use bulk or step");
            *out = (hs_submit_mode)i;
            return HS_OK;
        }
    return HS_FAIL(USAGE, "exec.mode is \"%s\", allowed step, bulk, graph", s);
}
