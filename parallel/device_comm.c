// device_comm: axes of the grid over memory that the host may not touch - which way their bytes go, and where their calls are, for the
// watchdog.
#include "core/base/log.h"
#include "parallel/parallel_impl.h"
#include <stdlib.h>

// ---- where calls are

hs_peers hs_place_peers(const hs_parallel *p, int place)
{
    const hs_link *l = place < HS_N_CHANNELS ? p->link[place] : NULL;
    if (l)
        return (hs_peers){ l->axis, l->rank, l->size, l->peer };
    const hs_afar *a = place < HS_N_CHANNELS ? NULL : &p->afar[place - HS_N_CHANNELS];
    return a && a->c ? (hs_peers){ a->c->axis, a->c->rank, a->c->size, a->peer } : (hs_peers){ .axis = "?" };
}

hs_place_in_time hs_place_of_call(const hs_comm_call *c)
{
    hs_place_in_time at = { .call = { .kind = c->kind, .dtype = c->dtype, .op = c->op, .number = c->number, .n = c->n },
                            .begun = c->begun,
                            .ended = c->ended };
    memcpy(at.call.about, c->about, sizeof at.call.about);
    return at;
}

bool hs_place_now(const hs_parallel *p, int place, hs_place_in_time *out)
{
    if (place >= HS_N_CHANNELS) {
        hs_comm *c = p->afar[place - HS_N_CHANNELS].c;
        hs_comm_call call;
        if (!c || c->calls(c, &call, 1) != 1)
            return false;
        *out = hs_place_of_call(&call);
        return true;
    }
    hs_link *l = p->link[place];
    if (!l)
        return false;
    pthread_mutex_lock(&l->lock);
    *out = l->now;
    pthread_mutex_unlock(&l->lock);
    return out->call.number > 0;
}

static void keep_newest(hs_past *out, int *n, int most, const hs_past *one)
{
    int at = *n;
    while (at > 0 && out[at - 1].at.ended < one->at.ended)
        at--;
    if (at == most)
        return;
    *n += *n < most;
    memmove(&out[at + 1], &out[at], (size_t)(*n - 1 - at) * sizeof *out);
    out[at] = *one;
}

int hs_place_past(const hs_parallel *p, hs_past *out, int most)
{
    int n = 0;
    for (int64_t i = 1; i <= most && i <= p->n_past; i++)
        keep_newest(out, &n, most, &p->ring[(p->n_past - i) % HS_RING]);
    for (int k = 0; k < HS_MOST_AFAR; k++) {
        hs_comm *c = p->afar[k].c;
        hs_comm_call call[1 + HS_LAST];
        for (int i = 0, calls = c ? c->calls(c, call, HS_COUNT(call)) : 0; i < calls; i++)
            if (call[i].ended)
                keep_newest(out, &n, most, &(hs_past){ HS_N_CHANNELS + k, hs_place_of_call(&call[i]) });
    }
    return n;
}

hs_status hs_afar_poll(hs_parallel *p)
{
    for (int k = 0; k < HS_MOST_AFAR; k++) {
        hs_comm *c = p->afar[k].c;
        const hs_status st = c ? c->poll(c) : HS_OK;
        if (st != HS_OK)
            return hs_frame_at(st, __FILE__, __LINE__);
    }
    return HS_OK;
}

// ---- which way

static hs_status watch(hs_parallel *p, hs_comm *host, hs_comm *c)
{
    const hs_link *l = ((const hs_ranks_comm *)host->impl)->direct;
    int k = 0;
    while (k < HS_MOST_AFAR && p->afar[k].c)
        k++;
    int *peer = k < HS_MOST_AFAR ? malloc((size_t)l->size * sizeof *peer) : NULL;
    if (!peer)
        return HS_FAIL(MEMORY, "no room to watch one more comm over %s", host->axis);
    memcpy(peer, l->peer, (size_t)l->size * sizeof *peer);
    pthread_mutex_lock(&p->lock);
    p->afar[k] = (hs_afar){ c, peer };
    pthread_mutex_unlock(&p->lock);
    return HS_OK;
}

static void unwatch(hs_parallel *p, const hs_comm *c)
{
    pthread_mutex_lock(&p->lock);
    for (int k = 0; k < HS_MOST_AFAR; k++)
        if (p->afar[k].c == c) {
            free(p->afar[k].peer);
            p->afar[k] = (hs_afar){ NULL };
        }
    pthread_mutex_unlock(&p->lock);
}

hs_status hs_parallel_on_device(hs_comm **out, hs_parallel *p, hs_comm *host, hs_device *d)
{
    hs_comm *c = host;
    if (d->is_cpu || host->size == 1) {
        *out = host;
        return HS_OK;
    }
    host->about = "how devices reach each other";
    hs_status st = d->comm_open ? d->comm_open(&c, d, host, p->timeout) : HS_FAIL(UNSUPPORTED, "it has no other way");
    if (st == HS_OK) {
        st = watch(p, host, c);
        if (st != HS_OK)
            hs_comm_close(c);
    } else if (st == HS_UNSUPPORTED) { // on all ranks
        if (p->rank == 0)
            hs_warn("device %s: what moves over %s goes through the host's memory: %s", d->name, host->axis, hs_error());
        st = hs_parallel_staged(&c, host, d);
    }
    if (st != HS_OK)
        return hs_frame_at(st, __FILE__, __LINE__);
    *out = c;
    return HS_OK;
}

void hs_parallel_off_device(hs_parallel *p, hs_comm *host, hs_comm *c)
{
    if (c == host)
        return;
    unwatch(p, c);
    if (c->calls) { // they part at once: who is still busy elsewhere is waited for here, where the watchdog sees it
        host->about = "the end of what devices tell each other";
        host->all_reduce(host, NULL, NULL, 0, HS_F32, HS_REDUCE_SUM);
    }
    hs_comm_close(c);
}
