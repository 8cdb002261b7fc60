// encoder: BERT (Devlin et al. 2018) and what came of it, as one description: RoBERTa, DistilBERT, ALBERT, ELECTRA, ERNIE 2.0, MiniLM are
// settings of it, and a few facts that transformers has in code (hs_encoder_kind). Trains on batches of HS_BATCH_MASKED, evaluates, embeds.
#ifndef HS_MODELS_ENCODER_H
#define HS_MODELS_ENCODER_H
#include "models/family.h"

typedef enum hs_encoder_act { HS_ENCODER_GELU, HS_ENCODER_GELU_TANH, HS_ENCODER_RELU } hs_encoder_act;

typedef struct hs_encoder_config {
    int64_t layers, heads, width;
    int64_t embed_width; // of the tables; 0: width. Where it differs a product brings embeddings to the width
    int64_t ff;          // width of the feed-forward's inside; 0: 4 x width
    int64_t head_width;  // channels of a head, where heads were left out: then all of them are not width; 0: width / heads
    int64_t context;     // longest sequence
    int64_t vocab;       // logical; stored rows are padded to a multiple of 64
    int64_t types;       // segments; 0: no table
    int64_t tasks;       // ERNIE's tasks; 0: no table
    int64_t groups;      // layers share their parameters in so many groups; 0: each has its own
    int64_t pad;         // id of the padding token: of kinds whose positions are counted from behind it
    int act;             // hs_encoder_act
    double dropout, attention_dropout, eps;
    // What it wears: the head that predicts tokens, those that judge a pair (next: is B what followed; order: are A and B swapped), which
    // read the pooled first token; pooler: that one without a head, of models that only encode.
    bool mlm, next, order, pooler;
    hs_task_head head; // a task of its own; then none of those
    // ELECTRA's pretraining: width of the generator beside it, 0: there is none; its heads, 0: one for 64 channels; does each have tables
    // of its own. Then the generator predicts tokens, and the model judges them.
    int64_t generator, generator_heads;
    bool untied;
} hs_encoder_config;

typedef enum hs_encoder_class { // what a class of a sequence is made of
    HS_CLASS_POOLER,            // the pooled first token
    HS_CLASS_TANH,              // the first token through a product of the head's own
    HS_CLASS_GELU,              // the same
    HS_CLASS_RELU,              // the same, without dropout in front of it
} hs_encoder_class;

typedef struct hs_encoder_kind {                      // what transformers' classes do and no setting says
    const char *name;                                 // of the family, for messages
    bool pre_norm;                                    // norms stand before attention and feed-forward, and one behind the last layer
    bool positions_behind_pad;                        // the first token is at row pad + 1 of the table of positions (RoBERTa)
    bool no_attention_out_dropout, no_ff_out_dropout; // DistilBERT; ALBERT
    bool head_gelu;                                   // the head of predictions has the exact gelu whatever `act` says
    hs_encoder_class class_head;
    double task_dropout[HS_TASKS]; // what -1 means; 0: model.dropout, of a span: none
} hs_encoder_kind;

hs_encoder_config hs_encoder_generator(const hs_encoder_config *c); // as a model of its own, that predicts tokens

// As a family's trace.
hs_tensor *hs_encoder(hs_graph *g, const hs_encoder_kind *kind, const hs_encoder_config *c, const hs_arch_shape *s);

int64_t hs_encoder_embed_width(const hs_encoder_config *c);
int64_t hs_encoder_ff(const hs_encoder_config *c);
int64_t hs_encoder_attended(const hs_encoder_config *c);                               // channels of all heads
int64_t hs_encoder_positions(const hs_encoder_kind *kind, const hs_encoder_config *c); // rows of the table
bool hs_encoder_pooled(const hs_encoder_kind *kind, const hs_encoder_config *c);       // has it a pooler

// What families share as functions of a row (encoder_keys.c); settings are a hs_encoder_config.
hs_status hs_encoder_check(const void *settings);
int64_t hs_encoder_count(const hs_encoder_kind *kind, const hs_encoder_config *c); // parameters
int hs_encoder_depth(const void *settings, const char *param);
double hs_encoder_flops_per_token(const void *settings, double seq); // without the head of predictions
double hs_encoder_head_flops(const void *settings);                  // forward, of one prediction
bool hs_encoder_wears(const void *settings, hs_loss which);
// Which of the classes that .files.architecture lists: predictions and next sentence, either alone, none | predictions, none.
int hs_encoder_wearing_pair(const void *settings);
int hs_encoder_wearing_mlm(const void *settings);
int hs_encoder_wearing_replaced(const void *settings); // predictions, none, a judge of tokens

extern const hs_family hs_bert_family, hs_roberta_family, hs_distilbert_family, hs_albert_family, hs_electra_family, hs_ernie_family,
    hs_roberta_prelayer_family;

#endif
