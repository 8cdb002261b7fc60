// laws: how large a model and how much text a budget of compute is best spent on, by those who fitted curves to that. Losses are nats a
// token, each of its own text and tokenizer.
#ifndef HS_RECIPES_LAWS_H
#define HS_RECIPES_LAWS_H

#define HS_PF_DAY 8.64e19 // FLOPs

typedef struct hs_law {
    const char *name, *formula, *source;
    const char *counts; // which parameters N has
    // Parameters that the law gives so many FLOPs. Tokens follow from C = 6 N D.
    double (*best)(double flops);
    double (*loss)(double parameters, double tokens); // NULL: it says nothing about losses
    double (*best_loss)(double flops);                // (optional) of the best model; defaults to loss of it
} hs_law;
extern const hs_law hs_laws[];
extern const int hs_n_laws;

static inline double hs_law_tokens(double flops, double parameters) { return flops / (6 * parameters); }
double hs_law_best_loss(const hs_law *l, double flops); // NaN: the law says nothing

#endif
