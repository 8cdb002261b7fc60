#include "tests/support/support_kernel.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

typedef struct call {
    hs_kernel *fn;
    const hs_args *args;
} call;

static void member(hs_lane *lane, void *arg)
{
    const call *c = arg;
    c->fn(c->args, lane);
}

void kernel_on(hs_team *team, hs_kernel *fn, const hs_args *a) { hs_team_run(team, member, &(call){ fn, a }); }

void kernel_on_lanes(int lanes, hs_kernel *fn, const hs_args *a)
{
    hs_team *team;
    assert_int_equal(hs_team_new(&team, lanes), HS_OK);
    kernel_on(team, fn, a);
    hs_team_free(team);
}
