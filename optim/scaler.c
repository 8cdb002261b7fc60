// scaler: the dynamic loss scale. It moves by powers of two only, so that dividing by it is exact.

#include "optim/update.h"
#include <math.h>

#define DYNAMIC_MAX 0x1p24f   // where apex and MXNet stop too: gradients that still underflow there are lost in the sum anyway
#define LEAST       0x1p-126f // of the normal numbers: who asks for no bound gets these
#define MOST        0x1p126f

hs_scaler_config hs_scaler_preset(hs_scaler_kind kind, hs_dtype low)
{
    // clang-format off
    static const hs_scaler_config presets[HS_N_SCALERS] = {
        [HS_SCALER_NONE]     = { false, .init = 1,       .growth = 2, .backoff = .5f, .min = 1, .max = 1,            .interval = 2000, .hysteresis = 1 },
        [HS_SCALER_DYNAMIC]  = { true,  .init = 0x1p16f, .growth = 2, .backoff = .5f, .min = 1, .max = DYNAMIC_MAX,  .interval = 2000, .hysteresis = 1 },
        [HS_SCALER_MEGATRON] = { true,  .init = 0x1p32f, .growth = 2, .backoff = .5f, .min = 1, .max = MOST,         .interval = 1000, .hysteresis = 2 },
        [HS_SCALER_TORCH]    = { true,  .init = 0x1p16f, .growth = 2, .backoff = .5f, .min = LEAST, .max = MOST,     .interval = 2000, .hysteresis = 1 },
        [HS_SCALER_APEX]     = { true,  .init = 0x1p16f, .growth = 2, .backoff = .5f, .min = LEAST, .max = 0x1p24f,  .interval = 2000, .hysteresis = 1 },
    };
    // clang-format on
    return presets[kind != HS_SCALER_AUTO ? kind : low == HS_F16 ? HS_SCALER_DYNAMIC : HS_SCALER_NONE];
}

static bool power_of_two(float x)
{
    int exponent;
    return isfinite(x) && frexpf(x, &exponent) == 0.5f;
}

hs_status hs_scaler_check(const hs_scaler_config *c)
{
    const struct {
        const char *name;
        float value;
    } powers[] = { { "init", c->init }, { "growth", c->growth }, { "backoff", c->backoff }, { "min", c->min }, { "max", c->max } };
    for (int i = 0; i < HS_COUNT(powers); i++)
        if (!power_of_two(powers[i].value))
            return HS_FAIL(USAGE, "loss scaler: %s is %g, must be a power of two, so that unscaling is exact", powers[i].name,
                           (double)powers[i].value);
    if (c->growth < 1 || c->backoff > 1)
        return HS_FAIL(USAGE, "loss scaler: growth is %g and backoff %g, must be at least 1 and at most 1", (double)c->growth,
                       (double)c->backoff);
    if (c->init < c->min || c->init > c->max)
        return HS_FAIL(USAGE, "loss scaler: init is %g, allowed %g to %g", (double)c->init, (double)c->min, (double)c->max);
    if (c->interval < 1 || c->hysteresis < 1)
        return HS_FAIL(USAGE, "loss scaler: interval is %d and hysteresis %d, both must be at least 1", c->interval, c->hysteresis);
    return HS_OK;
}
