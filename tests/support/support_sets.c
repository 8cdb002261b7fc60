// support_sets: the kernel tables that a generic op test walks, and what of them it leaves out.
#include "core/cpu/cpu.h"
#include "tests/support/support_ops.h"
// cmocka wants these four before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

// ---- what is not run

enum { MAX_OPS = 512, MAX_CASES = 64 };
static struct {
    bool too_much[MAX_CASES], declined[MAX_CASES], runs;
} met[MAX_OPS];

bool left_out(const probe *p)
{
    const double flops = p->op->cost(p->n, false).flops + (p->op->cpu.bwd ? p->op->cost(p->n, true).flops : 0);
    const bool out = hs_tested.most_flops > 0 && flops > hs_tested.most_flops;
    if (p->op_id < MAX_OPS && p->case_id < MAX_CASES)
        met[p->op_id].too_much[p->case_id] = out;
    return out;
}

static void say_cases(const char *what, bool declined)
{
    int n = 0;
    for (int i = 0; i < hs_tested.n && i < MAX_OPS; i++)
        for (int c = 0; c < MAX_CASES; c++)
            if (declined ? met[i].declined[c] : met[i].too_much[c])
                print_message("%s%s case %d", n++ ? ", " : what, hs_tested.ops[i]->name, c);
    if (n)
        print_message(" (%d cases)\n", n);
}

static bool asked_for(int i) { return !hs_tested.only || !strcmp(hs_tested.only, hs_tested.ops[i]->name); }

// False: nothing ran of an op that has kernels.
static bool say_left_out(void)
{
    int missing = 0, idle = 0;
    if (!hs_tested.table)
        return true;
    for (int i = 0; i < hs_tested.n; i++)
        if (!hs_tested.table[i] && asked_for(i))
            print_message("%s%s", missing++ ? ", " : "no kernels: ", hs_tested.ops[i]->name);
    if (missing)
        print_message(" (%d of %d ops)\n", missing, hs_tested.n);
    say_cases("beyond the limit of flops: ", false);
    say_cases("declined, of some types or all: ", true);
    for (int i = 0; i < hs_tested.n && i < MAX_OPS; i++)
        if (hs_tested.table[i] && !met[i].runs && asked_for(i))
            print_error("%s has kernels, but none of its cases was run\n", hs_tested.ops[i]->name), idle++;
    return !idle;
}

// ---- tables

enum { MAX_SETS = 2 * HS_N_ISA };
static kernel_set sets[MAX_SETS + 1];
static hs_device *devices[MAX_SETS];
static int n_sets, n_devices;

static void add_device(hs_isa isa, bool onednn)
{
    hs_device *d = NULL;
    if (hs_open_device(&d, "cpu", 1, hs_isa_name(isa), 0, onednn ? HS_ONEDNN_ALWAYS : HS_ONEDNN_NO) != HS_OK)
        fail_msg("%s", hs_error());
    devices[n_devices++] = d;
    for (int k = 0; d->tables[k]; k++) {
        bool known = false;
        for (int s = 0; s < n_sets; s++)
            known |= sets[s].table == d->tables[k];
        if (!known)
            sets[n_sets++] = (kernel_set){ d->table_names[k], d->tables[k] };
    }
}

int setup_devices(void **state)
{
    (void)state;
    if (hs_tested.open) {
        hs_device *d = NULL;
        if (hs_tested.open(&d) != HS_OK || !runs_open(d)) {
            print_error("%s\n", hs_error());
            return -1;
        }
        devices[n_devices++] = d;
        hs_tested.table = d->tables[0], hs_tested.table_name = d->name, hs_tested.clears_dead = d->clears_dead;
        hs_tested.bits_by_capacity = d->bits_by_capacity;
    }
    if (hs_tested.table)
        sets[n_sets++] = (kernel_set){ hs_tested.table_name, hs_tested.table };
    for (int i = 0; i < HS_N_ISA && !hs_tested.table; i++)
        if (hs_isa_supported((hs_isa)i) && hs_isa_built((hs_isa)i)) {
            add_device((hs_isa)i, false);
            if (hs_onednn_version())
                add_device((hs_isa)i, true);
        }
    return 0;
}

int teardown_devices(void **state)
{
    (void)state;
    const bool all = say_left_out();
    runs_close();
    for (int i = 0; i < n_devices; i++)
        hs_device_close(devices[i]);
    return all ? 0 : -1;
}

const kernel_set *kernel_sets(void) { return sets; }

const hs_kernels *set_kernels(const kernel_set *s, const probe *p)
{
    const hs_kernels *k = s->table[p->op_id];
    for (const kernel_set *earlier = sets; earlier < s; earlier++)
        if (earlier->table[p->op_id] == k)
            return NULL;
    const bool declines = k && k->decline && k->decline(p->n);
    if (p->op_id < MAX_OPS && p->case_id < MAX_CASES)
        met[p->op_id].declined[p->case_id] |= declines, met[p->op_id].runs |= k && !declines;
    if (k && !declines && k->room)
        k->room(p->n);
    return declines ? NULL : k;
}
