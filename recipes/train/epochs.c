// epochs: how many steps a pass over the data is.
#include "recipes/train/epochs.h"
#include "core/base/log.h"
#include <math.h>
#include <string.h>

static hs_status epoch_of(const hs_feed *feed, hs_corpus *corpus, int64_t *n)
{
    hs_source *s;
    HS_TRY(hs_feed_train(&s, feed, corpus));
    *n = s->n_samples;
    hs_source_free(s);
    return HS_OK;
}

static bool on_command_line(const hs_config *c, const char *key) { return strncmp(hs_config_where(c, key), "--", 2) == 0; }

static hs_status epochs_of_steps(hs_config *whole, hs_config *c, double epochs)
{
    char text[64], where[sizeof whole->origin[0].text];
    if (on_command_line(whole, "train.epochs"))
        return HS_FAIL(USAGE, "--train.steps and --train.epochs are both given: one follows from the other");
    snprintf(text, sizeof text, "%.17g", epochs);
    snprintf(where, sizeof where, "%s", hs_config_where(whole, "train.steps"));
    c->train.epochs = epochs;
    return hs_config_set(whole, "train.epochs", text, where);
}

hs_status hs_epochs_settle(hs_config *whole, hs_config *c, const hs_feed *feed, hs_corpus *corpus, int64_t *epoch)
{
    const int64_t each = c->train.batch * c->train.accumulate;
    *epoch = 0;
    if (!(c->train.epochs > 0))
        return HS_OK;
    HS_TRY(epoch_of(feed, corpus, epoch));
    if (on_command_line(whole, "train.steps"))
        return epochs_of_steps(whole, c, (double)c->train.steps * (double)each / (double)*epoch);
    const double steps = fmax(1, ceil(c->train.epochs * (double)*epoch / (double)each - 1e-6));
    if (!(steps <= 1e12))
        return HS_FAIL(USAGE, "train.epochs %g of %lld %ss are more than 1e12 steps", c->train.epochs, (long long)*epoch,
                       hs_feed_unit(feed));
    if (!hs_config_is_default(whole, "train.steps") && c->train.steps != (int64_t)steps)
        hs_info("train.steps %lld is not used: train.epochs %g are %lld steps", (long long)c->train.steps, c->train.epochs,
                (long long)steps);
    HS_TRY(hs_config_set_int(whole, "train.steps", (int64_t)steps, "train.epochs"));
    return hs_config_set_int(c, "train.steps", (int64_t)steps, "train.epochs");
}
