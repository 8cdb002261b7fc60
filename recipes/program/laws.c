// laws: constants as published, each beside its source.
#include "recipes/program/laws.h"
#include <math.h>
#include <stddef.h>

// ---- Kaplan et al. 2020
static double kaplan_best(double flops) { return 1.3e9 * pow(flops / HS_PF_DAY, 0.73); }
static double kaplan_best_loss(double flops) { return pow(3.1e8 / (flops / HS_PF_DAY), 0.050); }
static double kaplan_loss(double n, double d) { return pow(pow(6.4e13 / n, 0.076 / 0.103) + 1.8e13 / d, 0.103); }

// ---- L = E + A / N^a + B / D^b, least for a given N D
typedef struct sum_law {
    double e, a, b, alpha, beta;
} sum_law;
static const sum_law hoffmann = { 1.6934, 406.4, 410.7, 0.3392, 0.2849 }; // of its TeX; 1.69, 0.34 and 0.28 in print give no 40 B
static const sum_law besiroglu = { 1.8172, 482.01, 2085.43, 0.3478, 0.3658 };

static double sum_best(const sum_law *l, double flops)
{
    const double both = l->alpha + l->beta, g = pow(l->alpha * l->a / (l->beta * l->b), 1 / both);
    return g * pow(flops / 6, l->beta / both);
}
static double sum_loss(const sum_law *l, double n, double d) { return l->e + l->a / pow(n, l->alpha) + l->b / pow(d, l->beta); }

static double hoffmann_best(double flops) { return sum_best(&hoffmann, flops); }
static double hoffmann_loss(double n, double d) { return sum_loss(&hoffmann, n, d); }
static double besiroglu_best(double flops) { return sum_best(&besiroglu, flops); }
static double besiroglu_loss(double n, double d) { return sum_loss(&besiroglu, n, d); }

// ---- a fixed number of tokens a parameter
static double twenty_best(double flops) { return sqrt(flops / (6 * 20)); }

const hs_law hs_laws[] = {
    { .name = "kaplan",
      .formula = "N = 1.3e9 C^0.73, L = (3.1e8 / C)^0.050, C in PF-days; of a model given: L = ((6.4e13/N)^(0.076/0.103) + 1.8e13/D)^0.103",
      .source = "Kaplan et al. 2020, arXiv:2001.08361: WebText2, batches well below the critical one",
      .counts = "without embeddings",
      .best = kaplan_best,
      .loss = kaplan_loss,
      .best_loss = kaplan_best_loss },
    { .name = "chinchilla",
      .formula = "L = 1.6934 + 406.4 / N^0.3392 + 410.7 / D^0.2849, least under C = 6 N D",
      .source = "Hoffmann et al. 2022, arXiv:2203.15556, approach 3: MassiveText",
      .counts = "all",
      .best = hoffmann_best,
      .loss = hoffmann_loss },
    { .name = "chinchilla-refit",
      .formula = "L = 1.8172 + 482.01 / N^0.3478 + 2085.43 / D^0.3658, least under C = 6 N D",
      .source = "Besiroglu et al. 2024, arXiv:2404.10102: the same data fitted again",
      .counts = "all",
      .best = besiroglu_best,
      .loss = besiroglu_loss },
    { .name = "20-tokens",
      .formula = "D = 20 N under C = 6 N D",
      .source = "Hoffmann et al. 2022, approaches 1 and 2",
      .counts = "all",
      .best = twenty_best },
};
const int hs_n_laws = (int)(sizeof hs_laws / sizeof *hs_laws);

double hs_law_best_loss(const hs_law *l, double flops)
{
    if (l->best_loss)
        return l->best_loss(flops);
    const double n = l->best(flops);
    return l->loss ? l->loss(n, hs_law_tokens(flops, n)) : NAN;
}
