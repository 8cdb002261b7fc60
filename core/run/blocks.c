// blocks: the two blocks of a step in the device's memory. The host's own step block goes there in the order of the run's lane, by way of
// a ring of host blocks: one that a queued copy has yet to read is not written over.
#include "core/run/blocks.h"
#include <string.h>

#define UP(bytes) (((bytes) + 63) / 64 * 64)
enum {
    STATE_AT = UP(sizeof(hs_step_in)),
    TOTALS_AT = STATE_AT + UP(sizeof(hs_step_state)),
    BYTES = TOTALS_AT + HS_N_LOSS_SETS * HS_N_LOSS * sizeof(double)
};

hs_status hs_blocks_open(hs_blocks *b, hs_device *d, hs_lane *lane)
{
    void *p = NULL, *ring = NULL;
    *b = (hs_blocks){ .device = d, .lane = lane };
    HS_TRY(d->alloc(d, BYTES, &p));
    b->p = p;
    HS_TRY(d->alloc_host(d, HS_BLOCKS_RING * sizeof *b->ring, &ring));
    b->ring = ring;
    for (int i = 0; i < HS_BLOCKS_RING; i++)
        HS_TRY(d->event_open(d, &b->read[i]));
    char *bound = hs_device_bind(d, p);
    b->bound_in = (const hs_step_in *)bound, b->bound_state = (hs_step_state *)(bound + STATE_AT);
    b->bound_totals = bound + TOTALS_AT;
    return HS_OK;
}

void hs_blocks_close(hs_blocks *b)
{
    if (b->p)
        b->device->release(b->device, b->p, BYTES);
    if (b->ring)
        b->device->free_host(b->device, b->ring);
    for (int i = 0; b->device && i < HS_BLOCKS_RING; i++)
        b->device->event_close(b->device, b->read[i]);
    *b = (hs_blocks){ 0 };
}

size_t hs_blocks_bytes(void) { return BYTES; }

hs_status hs_blocks_send(hs_blocks *b)
{
    if (b->n_sent && memcmp(&b->in, &b->sent, sizeof b->in) == 0)
        return HS_OK;
    const int at = (int)(b->n_sent++ % HS_BLOCKS_RING);
    hs_step_in *copy = &b->ring[at];
    HS_TRY(b->device->arrive(b->device, b->read[at])); // of one long ago
    memcpy(copy, &b->in, sizeof *copy);
    memcpy(&b->sent, &b->in, sizeof b->sent);
    b->device->copy_async(b->device, b->lane, b->p, copy, sizeof *copy);
    b->device->record(b->device, b->read[at], b->lane);
    return HS_OK;
}

void hs_blocks_submitted(hs_blocks *b) { b->is_old = true; }

const hs_step_state *hs_blocks_state(hs_blocks *b)
{
    if (b->is_old)
        b->device->copy(b->device, &b->state, b->p + STATE_AT, sizeof b->state);
    b->is_old = false;
    return &b->state;
}

void hs_blocks_set_state(hs_blocks *b, const hs_step_state *state)
{
    memcpy(&b->state, state, sizeof b->state);
    b->device->copy(b->device, b->p + STATE_AT, &b->state, sizeof b->state);
    b->is_old = false;
}
