// A model of one's own: a small network learns which of two interlocking arcs a point belongs to, in mixed precision.
#include <halfstep.h>
#include <math.h>
#include <stdio.h>

enum { POINTS = 256, FEATURES = 8, STEPS = 300 };
#define TRY(call)                                                                                                                          \
    if (call)                                                                                                                              \
    return printf("%s\n", hs_error()), 1

static void network(hs_graph *g, const void *config)
{
    (void)config;
    hs_tensor *x = hs_input(g, "x", HS_F32, HS_EXT_TOKENS, 2, (int64_t[]){ POINTS, FEATURES });
    hs_tensor *y = hs_input(g, "y", HS_I32, HS_EXT_TOKENS, 1, (int64_t[]){ POINTS });
    hs_tensor *h = hs_gelu(g, hs_nn_linear(g, x, "hidden", FEATURES, 64, .std = 0.5f), HS_GELU_TANH);
    hs_xent(g, hs_nn_linear(g, h, "out", 64, 8), y, (hs_xent_attr){ .classes = 2, .ignore = -1 });
}

static void draw(int step, float *x, int32_t *y)
{
    for (int i = 0; i < POINTS; i++) {
        const hs_u32x4 r = hs_random(7, (uint32_t)step, (uint32_t)i, 0, 0);
        const double a = M_PI * hs_u32_unit(r.v[0]), noise = 0.2 * hs_u32_unit(r.v[1]) - 0.1;
        y[i] = i % 2;
        x[i * FEATURES] = (float)((y[i] ? 1 - cos(a) : cos(a)) + noise);
        x[i * FEATURES + 1] = (float)((y[i] ? 0.5 - sin(a) : sin(a)) + noise); // the other features stay 0
    }
}

int main(void)
{
    hs_device *device;
    hs_model *model; // parameters and plans
    hs_run *run;     // a workspace, and the steps in it
    hs_optim *optim;
    hs_optim_config adamw = hs_optim_preset(HS_PRESET_ADAMW);
    hs_step_state first;
    const hs_policy bf16 = { .low = HS_BF16 };
    int train;
    TRY(hs_open_device(&device, "cpu", 0, NULL, 0, HS_ONEDNN_NO));
    TRY(hs_model_new(&model, &(hs_model_opts){ .device = device, .policy = &bf16, .micro_steps = 1, .seed = 1 }));
    TRY(hs_model_plan(model, HS_TRAIN, network, NULL, &train));
    TRY(hs_optim_declare(&adamw, model->params)); // moments
    TRY(hs_model_alloc(model, true));
    TRY(hs_run_new(&run, model, &(hs_run_opts){ .mode = HS_SUBMIT_BULK }));
    adamw.schedule = (hs_schedule){ .kind = HS_SCHEDULE_COSINE, .lr = 1e-2, .min_lr = 1e-4, .warmup = 20, .steps = STEPS };
    TRY(hs_optim_new(&optim, &adamw, model->params, &model->grid, device));
    TRY(hs_run_set_update(run, hs_optim_segment(optim)));
    hs_optim_init_state(&adamw, &first); // the loss scale
    hs_run_set_state(run, &first);

    hs_step_live(hs_run_in(run), POINTS, 1, 0);
    hs_run_in(run)->inv_count[0] = hs_inv_count(POINTS);
    static float x[POINTS * FEATURES];
    static int32_t y[POINTS];
    double loss = 0;
    for (int step = 0; step < STEPS; step++) {
        draw(step, x, y);
        TRY(hs_run_write(run, train, "x", x, sizeof x));
        TRY(hs_run_write(run, train, "y", y, sizeof y));
        TRY(hs_run_micro(run, train, true));
        TRY(hs_run_update(run));
        if (step % 50 == 0 || step == STEPS - 1)
            printf("step %3d  loss %.4f\n", step, loss = hs_run_losses(run, train)[0]);
    }
    hs_run_free(run);
    hs_optim_free(optim);
    hs_model_free(model);
    hs_device_close(device);
    return loss >= 0.1;
}
