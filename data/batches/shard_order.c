// shard_order: which row of which file is sample i (see data/batches/shard_set.h).
#include "core/base/rng.h"
#include "data/batches/sampler.h"
#include "data/batches/shard_set.h"
#include <stdlib.h>
#include <string.h>

enum { KEY_FILES = 1, KEY_BLOCKS, KEY_ROWS }; // apart from each other within an epoch

hs_status hs_shard_order_init(hs_shard_order *o, const int64_t *rows, const int64_t *block, int n, int64_t lanes, uint64_t seed)
{
    *o = (hs_shard_order){ .n = n, .lanes = lanes, .seed = seed, .epoch = UINT64_MAX };
    for (int i = 0; i < n; i++) {
        if (rows[i] < 1 || block[i] < 1 || o->total > INT64_MAX - rows[i])
            return HS_FAIL(USAGE, "shard %d of %d: %lld rows in blocks of %lld; each at least 1", i, n, (long long)rows[i],
                           (long long)block[i]);
        o->total += rows[i];
    }
    if (n < 1 || lanes < 1)
        return HS_FAIL(USAGE, "%d shards in %lld lanes; each at least 1", n, (long long)lanes);
    const size_t bytes = (size_t)n * sizeof *o->rows;
    o->rows = malloc(bytes), o->block = malloc(bytes), o->file = malloc((size_t)n * sizeof *o->file);
    o->before = malloc(bytes + sizeof *o->before);
    if (!o->rows || !o->block || !o->file || !o->before) {
        hs_shard_order_free(o);
        return HS_FAIL(MEMORY, "no memory for the order of %d shards", n);
    }
    memcpy(o->rows, rows, bytes);
    memcpy(o->block, block, bytes);
    return HS_OK;
}

void hs_shard_order_free(hs_shard_order *o)
{
    free(o->rows);
    free(o->block);
    free(o->file);
    free(o->before);
    *o = (hs_shard_order){ 0 };
}

static void begin_epoch(hs_shard_order *o, uint64_t epoch)
{
    const uint64_t key = hs_mix2(hs_mix2(o->seed, epoch), KEY_FILES);
    o->before[0] = 0;
    for (int i = 0; i < o->n; i++) {
        o->file[i] = (int)hs_permute(key, (uint64_t)o->n, (uint64_t)i);
        o->before[i + 1] = o->before[i] + o->rows[o->file[i]];
    }
    o->epoch = epoch;
}

static int file_at(const hs_shard_order *o, int64_t place) // the last one that begins at or before it
{
    int low = 0, high = o->n;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (o->before[middle] <= place)
            low = middle;
        else
            high = middle;
    }
    return low;
}

// Whole blocks in permuted order, then the short one at the file's end; rows permuted inside each.
static int64_t row_at(const hs_shard_order *o, int file, int64_t x)
{
    const uint64_t key = hs_mix2(hs_mix2(o->seed, o->epoch), (uint64_t)file);
    const int64_t size = o->block[file], whole = o->rows[file] / size;
    int64_t block = x / size, n = size;
    if (block < whole)
        block = (int64_t)hs_permute(hs_mix2(key, KEY_BLOCKS), (uint64_t)whole, (uint64_t)block);
    else
        n = o->rows[file] - whole * size;
    const uint64_t rows_key = hs_mix2(hs_mix2(key, KEY_ROWS), (uint64_t)block);
    return block * size + (int64_t)hs_permute(rows_key, (uint64_t)n, (uint64_t)(x % size));
}

void hs_shard_order_at(hs_shard_order *o, uint64_t sample, int *file, int64_t *row)
{
    const uint64_t total = (uint64_t)o->total, epoch = sample / total;
    const int64_t place = (int64_t)(sample % total), lane = place % o->lanes, longer = o->total % o->lanes;
    if (epoch != o->epoch)
        begin_epoch(o, epoch);
    // The first `longer` lanes have one row more.
    const int64_t start = lane * (o->total / o->lanes) + (lane < longer ? lane : longer), at = start + place / o->lanes;
    const int i = file_at(o, at);
    *file = o->file[i];
    *row = row_at(o, *file, at - o->before[i]);
}
