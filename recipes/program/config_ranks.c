// config_ranks: what parallel.* has to do with the ranks there are, and train.batch with both.
#include "core/base/log.h"
#include "recipes/program/config.h"

static hs_status check_batch(const hs_config *c, const char *key, int64_t batch, int dp)
{
    char at[128];
    if (batch % dp == 0)
        return HS_OK;
    const int64_t less = batch / dp * dp;
    return HS_FAIL(USAGE, "%s%s is %lld, which does not divide over %d replicas (parallel.dp): %lld or %lld would",
                   hs_config_prefix(c, key, at, sizeof at), key, (long long)batch, dp, (long long)(less ? less : dp),
                   (long long)(less ? less + dp : 2 * dp));
}

static hs_status check_grid(const hs_config *c, int ranks, int *dp)
{
    char at[128];
    const int64_t tp = c->parallel.tp;
    if (ranks == 1 && tp > 1)
        return HS_FAIL(USAGE, "%sparallel.tp is %lld, and this is one process: mpirun -np %lld halfstep ... starts as many",
                       hs_config_prefix(c, "parallel.tp", at, sizeof at), (long long)tp,
                       (long long)(tp * (c->parallel.dp ? c->parallel.dp : 1)));
    if (ranks % tp)
        return HS_FAIL(USAGE, "%sparallel.tp is %lld, which does not divide the %d ranks that were started",
                       hs_config_prefix(c, "parallel.tp", at, sizeof at), (long long)tp, ranks);
    *dp = (int)(ranks / tp);
    if (c->parallel.dp && c->parallel.dp != *dp)
        return HS_FAIL(USAGE, "%sparallel.dp %lld times parallel.tp %lld %s %lld rank%s, but %d %s started",
                       hs_config_prefix(c, "parallel.dp", at, sizeof at), (long long)c->parallel.dp, (long long)tp,
                       c->parallel.dp * tp == 1 ? "is" : "are", (long long)(c->parallel.dp * tp), hs_plural(c->parallel.dp * tp), ranks,
                       ranks == 1 ? "was" : "were");
    return HS_OK;
}

// Gradients that no rank has all of are not drawn.
static hs_status check_histogram(const hs_config *c, int dp)
{
    char at[128];
    const bool divided = dp > 1 && hs_config_divide(c) != HS_DIVIDE_NONE;
    if (!c->amp.histogram || (c->parallel.tp == 1 && !divided))
        return HS_OK;
    return HS_FAIL(USAGE, "%samp.histogram is %lld, but %s divides gradients over ranks: it is of whole ones; 0 leaves it out",
                   hs_config_prefix(c, "amp.histogram", at, sizeof at), (long long)c->amp.histogram,
                   divided ? "parallel.shard_optimizer" : "parallel.tp");
}

hs_status hs_config_check_ranks(const hs_config *c, int ranks, int *dp)
{
    HS_TRY(check_grid(c, ranks, dp));
    HS_TRY(check_histogram(c, *dp));
    if (!c->n_phases)
        return check_batch(c, "train.batch", c->train.batch, *dp);
    for (int p = 0; p < c->n_phases; p++) {
        char key[HS_KEY_NAME];
        snprintf(key, sizeof key, "phases.%d.batch", p);
        const int64_t *own = hs_config_field((hs_config *)c, key);
        HS_TRY(check_batch(c, key, *own, *dp));
    }
    return HS_OK;
}

void hs_config_tell_idle(const hs_config *c, int dp)
{
    char at[128], word[32];
    if (c->parallel.sequence && c->parallel.tp == 1)
        hs_warn("%sparallel.sequence divides tokens over the ranks of parallel.tp, which is 1: it changes nothing",
                hs_config_prefix(c, "parallel.sequence", at, sizeof at));
    hs_config_text(c, "parallel.shard_optimizer", word, sizeof word);
    if (hs_config_divide(c) != HS_DIVIDE_NONE && dp == 1)
        hs_warn("%sparallel.shard_optimizer is %s, and parallel.dp is 1: there is nobody to share with, it changes nothing",
                hs_config_prefix(c, "parallel.shard_optimizer", at, sizeof at), word);
}

hs_divide hs_config_divide(const hs_config *c)
{
    static const hs_divide words[] = { HS_DIVIDE_NONE, HS_DIVIDE_STATES, HS_DIVIDE_GRADIENTS, HS_DIVIDE_NONE, HS_DIVIDE_STATES };
    return words[c->parallel.shard_optimizer]; // none, states, gradients, false, true
}
