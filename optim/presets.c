// presets: what the optimizers of the field choose, one explicit row each. Whoever says "LAMB" means one of six.

#include "optim/optim.h"

// clang-format off
static const hs_optim_config presets[HS_N_PRESETS] = {
    // PyTorch's AdamW
    [HS_PRESET_ADAMW]       = { HS_ADAMW, .beta1 = .9, .beta2 = .999, .eps = 1e-8, .weight_decay = 0.01, .clip = 0, .grad_averaging = true,
                                .correction = HS_CORRECT_MOMENTS },
    // google-research/electra (and Google's BERT): Adam without bias correction
    [HS_PRESET_ELECTRA]     = { HS_ADAMW, .beta1 = .9, .beta2 = .999, .eps = 1e-6, .weight_decay = 0.01, .clip = 1, .grad_averaging = true,
                                .correction = HS_CORRECT_NONE },
    // NVIDIA's BERT recipe: apex FusedLAMB, use_nvlamb=False
    [HS_PRESET_LAMB]        = { HS_LAMB, .beta1 = .9, .beta2 = .999, .eps = 1e-6, .weight_decay = 0.01, .clip = 1, .grad_averaging = true,
                                .correction = HS_CORRECT_MOMENTS, .trust = HS_TRUST_DECAYED },
    // the published figure
    [HS_PRESET_NVLAMB]      = { HS_LAMB, .beta1 = .9, .beta2 = .999, .eps = 1e-6, .weight_decay = 0.01, .clip = 1, .grad_averaging = true,
                                .correction = HS_CORRECT_MOMENTS, .trust = HS_TRUST_ALL, .eps_inside = true },
    // apex FusedLAMB, use_nvlamb=True
    [HS_PRESET_APEX_NVLAMB] = { HS_LAMB, .beta1 = .9, .beta2 = .999, .eps = 1e-6, .weight_decay = 0.01, .clip = 1, .grad_averaging = true,
                                .correction = HS_CORRECT_MOMENTS, .trust = HS_TRUST_ALL },
    // google-research/albert, the authors' release: what is not decayed is not adapted either
    [HS_PRESET_ALBERT]      = { HS_LAMB, .beta1 = .9, .beta2 = .999, .eps = 1e-6, .weight_decay = 0.01, .clip = 0, .grad_averaging = true,
                                .correction = HS_CORRECT_NONE, .trust = HS_TRUST_DECAYED },
    // MXNet: bounds, where given, hold |w|; clip_value is its clip_gradient
    [HS_PRESET_MXNET]       = { HS_LAMB, .beta1 = .9, .beta2 = .999, .eps = 1e-6, .weight_decay = 0.01, .clip = 0, .grad_averaging = true,
                                .correction = HS_CORRECT_MOMENTS, .trust = HS_TRUST_ALL, .bounded = HS_BOUND_WEIGHT },
    // DeepSpeed FusedLamb
    [HS_PRESET_DEEPSPEED]   = { HS_LAMB, .beta1 = .9, .beta2 = .999, .eps = 1e-8, .weight_decay = 0.01, .clip = 0, .grad_averaging = true,
                                .correction = HS_CORRECT_STEP, .trust = HS_TRUST_ALL, .bounded = HS_BOUND_RATIO,
                                .ratio_min = 0.01, .ratio_max = 10 },
    // PyTorch's SGD: no dampening, no Nesterov
    [HS_PRESET_SGD]         = { HS_SGD, .momentum = 0.9, .eps = 1, .weight_decay = 1e-4, .clip = 0, .decay = HS_DECAY_GRADIENT,
                                .grad_averaging = true },
    // You et al., arXiv 1708.03888
    [HS_PRESET_LARS]        = { HS_LARS, .momentum = 0.9, .eps = 1e-9, .weight_decay = 1e-4, .clip = 0, .decay = HS_DECAY_GRADIENT,
                                .grad_averaging = true, .trust = HS_TRUST_DECAYED, .trust_coefficient = 0.001 },
    // Ginsburg et al., arXiv 1905.11286, as NVIDIA's speech recipes have it
    [HS_PRESET_NOVOGRAD]    = { HS_NOVOGRAD, .beta1 = .95, .beta2 = .98, .eps = 1e-8, .weight_decay = 1e-3, .clip = 0,
                                .decay = HS_DECAY_GRADIENT, .grad_averaging = false },
};
// clang-format on

hs_optim_config hs_optim_preset(hs_preset preset)
{
    hs_optim_config c = presets[preset];
    c.moments = HS_F32;
    c.schedule = (hs_schedule){ .kind = HS_SCHEDULE_CONSTANT, .lr = 1e-3, .power = 1 };
    c.decay_factor[HS_WEIGHT] = c.decay_factor[HS_EMBED] = 1;
    for (int r = 0; r < HS_N_ROLES; r++)
        c.lr_factor[r] = 1;
    c.scaler = hs_scaler_preset(HS_SCALER_NONE, HS_F32);
    return c;
}
