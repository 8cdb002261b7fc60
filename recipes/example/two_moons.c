// A model of one's own: a small network learns which of two interlocking arcs a point belongs to, in mixed precision.
#include <halfstep.h>
#include <math.h>
#include <stdio.h>

enum { POINTS = 256, FEATURES = 8 };

static void model(hs_graph *g, const void *config)
{
    (void)config;
    hs_tensor *x = hs_input(g, "x", HS_F32, HS_EXT_TOKENS, 2, (int64_t[]){ POINTS, FEATURES });
    hs_tensor *y = hs_input(g, "y", HS_I32, HS_EXT_TOKENS, 1, (int64_t[]){ POINTS });
    hs_tensor *h = hs_gelu(g, hs_nn_linear(g, x, "hidden", FEATURES, 64, .std = 0.5f), HS_GELU_TANH);
    hs_xent(g, hs_nn_linear(g, h, "out", 64, 8), y, (hs_xent_attr){ .classes = 2, .ignore = -1 });
}

int main(void)
{
    hs_optim_config adamw;
    hs_policy bf16;
    hs_engine *e;
    if (hs_optim_preset(&adamw, "adamw") || hs_policy_parse(&bf16, "bf16", "f32", ""))
        return printf("%s\n", hs_error()), 1;
    adamw.schedule = (hs_schedule){ .kind = HS_SCHEDULE_COSINE, .lr = 1e-2, .min_lr = 1e-4, .warmup = 20, .steps = 300 };
    if (hs_engine_new(
            &e, &(hs_engine_opts){ .model = model, .policy = &bf16, .optim = &adamw, .micro_steps = 1, .seed = 1, .mode = HS_SUBMIT_BULK }))
        return printf("%s\n", hs_error()), 1;
    float *x = hs_engine_input(e, HS_TRAIN, "x");
    int32_t *y = hs_engine_input(e, HS_TRAIN, "y");
    for (int i = 0; i < POINTS * FEATURES; i++)
        x[i] = 0;
    for (int step = 0; step < 300; step++) {
        for (int i = 0; i < POINTS; i++) {
            const hs_u32x4 r = hs_random(7, (uint32_t)step, (uint32_t)i, 0, 0);
            const double a = M_PI * hs_u32_unit(r.v[0]), noise = 0.2 * hs_u32_unit(r.v[1]) - 0.1;
            y[i] = i % 2;
            x[i * FEATURES] = (float)((y[i] ? 1 - cos(a) : cos(a)) + noise);
            x[i * FEATURES + 1] = (float)((y[i] ? 0.5 - sin(a) : sin(a)) + noise);
        }
        hs_step_live(e->in, POINTS, 1, 0);
        e->in->n_micro = 1, e->in->inv_count[0] = 1.0f / POINTS;
        if (hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST) || hs_run_update(e->run))
            return printf("%s\n", hs_error()), 1;
        if (step % 50 == 0 || step == 299)
            printf("step %3d  loss %.4f\n", step, hs_engine_loss(e, HS_TRAIN));
    }
    const int learned = hs_engine_loss(e, HS_TRAIN) < 0.1;
    hs_engine_free(e);
    return !learned;
}
