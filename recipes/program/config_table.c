// The settings that every run has; model.type adds those of its family.
#include "data/batches/windows.h"
#include "data/text/text_store.h"
#include "infer/quant/calibrate.h"
#include "recipes/program/config.h"
#include <string.h>

#define AT(field) .offset = offsetof(hs_config, field)
#define INT(key, field, def, lo, hi, ...)                                                                                                  \
    {                                                                                                                                      \
        .name = key, .type = HS_KEY_INT, AT(field), .value = def, .min = lo, .max = hi, __VA_ARGS__                                        \
    }
#define REAL(key, field, def, lo, hi, ...)                                                                                                 \
    {                                                                                                                                      \
        .name = key, .type = HS_KEY_REAL, AT(field), .value = def, .min = lo, .max = hi, __VA_ARGS__                                       \
    }
#define BOOL(key, field, def, ...)                                                                                                         \
    {                                                                                                                                      \
        .name = key, .type = HS_KEY_BOOL, AT(field), .value = def, __VA_ARGS__                                                             \
    }
#define TEXT(key, field, def, ...)                                                                                                         \
    {                                                                                                                                      \
        .name = key, .type = HS_KEY_STRING, AT(field), .value = def, __VA_ARGS__                                                           \
    }
#define TEXTS(key, field, def, ...)                                                                                                        \
    {                                                                                                                                      \
        .name = key, .type = HS_KEY_TEXTS, AT(field), .value = def, __VA_ARGS__                                                            \
    }
#define CHOICE(key, field, def, list, ...)                                                                                                 \
    {                                                                                                                                      \
        .name = key, .type = HS_KEY_CHOICE, AT(field), .value = def, .choices = list, __VA_ARGS__                                          \
    }

static const hs_key source_keys[] = {
    { .name = "path",
      .type = HS_KEY_STRING,
      .offset = offsetof(hs_data_part, path),
      .value = "",
      .help = "as data.train; a relative path starts at the configuration's folder" },
    { .name = "weight",
      .type = HS_KEY_REAL,
      .offset = offsetof(hs_data_part, weight),
      .value = "1",
      .min = HS_LEAST_WEIGHT,
      .max = HS_MOST_WEIGHT,
      .help = "share of the samples, of all elements or of none: equal parts" },
};
_Static_assert(HS_COUNT(source_keys) == HS_CONFIG_SOURCES, "origins of data.sources");
static const hs_schema source_schema = HS_SCHEMA(source_keys, hs_data_part);
#define EACH(key, type_, field, def, ...)                                                                                                  \
    {                                                                                                                                      \
        .name = key, .type = type_, .offset = offsetof(hs_objective, field), .value = def, __VA_ARGS__                                     \
    }
static const hs_key objective_keys[] = {
    EACH("kind", HS_KEY_CHOICE, segments, "sentences", .choices = "next|order|sentences",
         .help = "next: is B what follows A; order: are A and B swapped; sentences: full sentences, no second question"),
    EACH("masking", HS_KEY_CHOICE, unit, "token", .choices = "token|word|ngram|span", .help = "what is chosen to be predicted as one"),
    EACH("probability", HS_KEY_REAL, probability, "0.15", .min = 1e-3, .max = 0.9, .help = "share of the tokens that are predicted"),
    EACH("masked", HS_KEY_REAL, masked, "0.8", .min = 0, .max = 1, .help = "share of these that become the mask token"),
    EACH("random", HS_KEY_REAL, random, "0.1", .min = 0, .max = 1, .help = "share of these that become any token; the rest stay"),
    EACH("ngram", HS_KEY_INT, ngram, "3", .min = 1, .max = 16, .unit = "words", .help = "of ngram: the longest"),
    EACH("weight", HS_KEY_REAL, weight, "1", .min = HS_LEAST_WEIGHT, .max = HS_MOST_WEIGHT, .help = "share of the samples"),
    EACH("rare", HS_KEY_REAL, rare, "0", .min = 0, .max = 4,
         .help = "prefers rare tokens: one is chosen with a probability like its count in the training text to the power of -rare, "
                 "a word as its rarest token; DistilBERT: 0.7; 0: all alike"),
};
_Static_assert(HS_COUNT(objective_keys) == HS_OBJECTIVE_KEYS, "origins of data.objectives");
_Static_assert(sizeof(hs_segments) == sizeof(int) && sizeof(hs_mask_unit) == sizeof(int), "choices are stored as ints");
static const hs_schema objective_schema = HS_SCHEMA(objective_keys, hs_objective);

static const hs_list lists[] = {
    { .name = "data.sources",
      .schema = &source_schema,
      .offset = offsetof(hs_config, data.source),
      .count_offset = offsetof(hs_config, data.n_sources),
      .max = HS_MIX_SOURCES,
      .help = "in place of data.train, a text file or token store; several are token stores, mixed" },
    { .name = "data.objectives",
      .schema = &objective_schema,
      .offset = offsetof(hs_config, data.objective),
      .count_offset = offsetof(hs_config, data.n_objectives),
      .max = HS_OBJECTIVES,
      .help = "of encoders: what is predicted; several are drawn by weight. None: tokens, and what the model's heads are for" },
};

static const hs_key keys[] = {
    CHOICE("model.type", model.type, "", NULL, .help = "architecture; it decides which further model.* settings there are"),

    TEXTS("data.train", data.train, "",
          .help = "text file or token store to train on; a relative path starts at the configuration's folder. Several token stores, with "
                  "weights or in equal parts: a.bin:0.7,b.bin:0.3, or data.sources"),
    TEXT("data.val", data.val, "0.1",
         .help = "validation text: a file (a token store where data.train is one), or the fraction of data.train (of several: of the "
                 "first) that is cut off its end "
                 "(0: no validation)"),
    TEXT("data.tokenizer", data.tokenizer, "auto",
         .help =
             "auto (that of train.init_from, else char, of encoders wordpiece), char (one token per distinct character of the text), byte "
             "(256 tokens), wordpiece or wordpiece:SIZE (learned from the text), or a folder with tokenizer.json, vocab.txt, or "
             "vocab.json and merges.txt"),
    CHOICE("data.packing", data.packing, "none", "none|ffd",
           .help = "none: windows over document ends; ffd: whole documents side by side in a window, each attending to itself alone"),

    INT("data.length", data.length, "0", 0, 1048576, .unit = "tokens",
        .help = "of encoders: tokens of a sequence at most, special ones included; 0: model.context"),
    INT("data.predictions", data.predictions, "0", 0, 65536, .unit = "tokens",
        .help = "of encoders: predictions of a sequence at most; 0: as many as the largest probability of data.objectives gives"),
    CHOICE("data.layout", data.layout, "unpadded", "unpadded|padded|bucketed|packed",
           .help = "of encoders: sequences behind one another; or in rows of data.length tokens, of the longest of a batch, several a row"),
    CHOICE("data.masking", data.masking, "loader", "loader|device",
           .help = "of encoders: who draws masks in training: the loader's thread, or the device in each step, with the same bits; device: "
                   "of single tokens, from a text or a token store"),
    CHOICE("data.documents", data.documents, "auto", "file|blank-line|line|auto",
           .help = "of encoders: where documents of a text file end; auto: at blank lines where it has any, else each line is one; token "
                   "stores know"),

    CHOICE("task.kind", task.kind, "none", HS_TASK_KIND_WORDS,
           .help = "what labelled data ask of the model (halfstep finetune): a class of a text or of two, numbers, any of several labels, "
                   "a tag of "
                   "each word, an answer in its context, responses to prompts; none: data.train is a text without labels"),
    CHOICE("task.format", task.format, "auto", HS_LABEL_FORMAT_WORDS,
           .help =
               "of the labelled files; auto: by what they hold. lines: a label, a space, the text; nemo: text_X with labels_X beside it"),
    TEXT("task.text", task.text, "",
         .help = "column of the text: a name of the header, a key of a record, or a number from 1; default: found"),
    TEXT("task.text2", task.text2, "", .help = "column of the second text of a pair"),
    TEXT("task.label", task.label, "", .help = "column of the label; of multilabel and regression several: toxic,insult"),
    TEXT("task.id", task.id, "", .help = "column that names an example", .advanced = true),
    TEXTS("task.labels", task.labels, "",
          .help = "the classes there are, in the order of the model's outputs; default: those of train.init_from with task.head keep, else "
                  "those in "
                  "the files"),
    CHOICE("task.head", task.head, "keep", "keep|new",
           .help = "of a train.init_from that has a head for this very task: go on with it and its classes, or draw a new one"),
    CHOICE("task.scheme", task.scheme, "auto", HS_TAG_SCHEME_WORDS,
           .help = "that tags of tokens follow; auto: found; plain: no spans, each tag is a class"),
    CHOICE("task.scheme_to", task.scheme_to, "auto", HS_TAG_SCHEME_WORDS, .help = "that tags are converted to; auto: as they are"),
    CHOICE("task.class_weights", task.class_weights, "none", HS_CLASS_WEIGHTS_WORDS,
           .help = "weights of the classes in the loss; balanced: rare ones weigh more, each class the same in all; list: task.weights"),
    { .name = "task.weights",
      .type = HS_KEY_REALS,
      AT(task.weights),
      .value = "",
      .min = 0,
      .max = 1e9,
      .help = "of task.class_weights list, in the order of the classes" },
    REAL("task.label_smoothing", task.label_smoothing, "0", 0, 0.999,
         .help = "share of the target that goes to all classes alike; of tasks whose targets are classes"),
    TEXT("task.metric", task.metric, "",
         .help = "what an evaluation is judged by: loss, or a score of the task (accuracy, f1, mcc, pearson, exact, ...); default: the "
                 "task's usual one"),
    INT("task.stride", task.stride, "0", 0, 65536, .unit = "tokens",
        .help = "of texts that are too long: of tokens the part that two windows share; of span from one window to the next (0: 128)"),
    INT("task.max_query", task.max_query, "0", 0, 65536, .unit = "tokens", .help = "of span: tokens of a question at most; 0: 64"),
    INT("task.context", task.context, "0", 0, 65536, .unit = "tokens",
        .help = "of tokens: of the document's sentences before and behind, as far as there is room, on each side; they have no targets"),
    INT("task.n_best", task.n_best, "20", 1, 1000, .unit = "tokens",
        .help = "of span: starts and ends of a window that answers are made of", .advanced = true),
    INT("task.max_answer", task.max_answer, "30", 1, 65536, .unit = "tokens", .help = "of span: longest answer", .advanced = true),
    REAL("task.null_threshold", task.null_threshold, "0", -1e6, 1e6,
         .help = "of span with questions that have no answer: by how much that must be likelier than the best answer", .advanced = true),
    BOOL("task.all_subtokens", task.all_subtokens, "false",
         .help = "of tokens: every token of a word has the word's label, not only the first", .advanced = true),
    BOOL("task.drop", task.drop, "false",
         .help = "of span: windows without the answer of a question that has one are left out of training, not taught to point at their "
                 "first token",
         .advanced = true),
    CHOICE("task.prefix_space", task.prefix_space, "auto", HS_PREFIX_SPACE_WORDS,
           .help = "a space before each word of tokens; auto: of byte-level BPE", .advanced = true),

    TEXT("train.name", train.name, "", .help = "name of the run; default: the configuration's file name", .advanced = true),
    INT("train.batch", train.batch, "12", 1, HS_MOST_BATCH, .unit = "windows",
        .help = "windows of model.context tokens, of encoders sequences, in one micro-batch: all of it, which the parallel.dp ranks "
                "divide evenly"),
    INT("train.accumulate", train.accumulate, "1", 1, HS_MOST_ACCUMULATE, .unit = "micro-batches",
        .help = "micro-batches per optimizer step"),
    INT("train.steps", train.steps, "2000", 1, 1e12, .unit = "steps", .help = "optimizer steps in all"),
    REAL("train.epochs", train.epochs, "0", 0, 1e6,
         .help = "passes over the training data, in place of train.steps, which follows from them; 0: train.steps counts"),
    INT("train.seed", train.seed, "1", 0, 9e15, .help = "of initial weights, order of the data and dropout"),
    INT("train.log_every", train.log_every, "10", 1, 1e9, .unit = "steps", .help = "between lines of metrics.jsonl"),
    INT("train.show_every", train.show_every, "0", 0, 1e9, .unit = "steps",
        .help = "between progress lines where the output is no terminal; 0: as many as log_every"),
    BOOL("train.tensorboard", train.tensorboard, "true", .help = "write the numbers of metrics.jsonl as TensorBoard event files too"),
    INT("train.eval_every", train.eval_every, "250", -1, 1e9, .unit = "steps",
        .help = "between evaluations; 0: only at the end; -1: at the end of each epoch"),
    INT("train.eval_windows", train.eval_windows, "256", 0, 1e9, .unit = "windows",
        .help = "per evaluation while training, from all over the validation text; 0: all of it; the last evaluation always takes all",
        .advanced = true),
    TEXT("train.init_from", train.init_from, "",
         .help = "start from these weights: a folder of transformers or a checkpoint; its shape and tokenizer are taken over"),
    CHOICE("train.init_tokenizer", train.init_tokenizer, "keep", "keep|replace",
           .help =
               "of train.init_from. keep: its weights go on with its tokenizer, another data.tokenizer is refused; replace: data.tokenizer "
               "gives the rows of the embedding another meaning",
           .advanced = true),
    TEXTS("train.freeze", train.freeze, "",
          .help = "parameters that keep their values: names or scopes, separated by commas, with * and ?: wte,h0,h?.ln_1. No gradient, no "
                  "moments"),
    TEXTS("train.keep_zeros", train.keep_zeros, "",
          .help = "weights in which what is zero stays zero: names or scopes, as in train.freeze; empty: those that train.init_from was "
                  "pruned in (halfstep prune); none: whatever it says",
          .advanced = true),
    REAL("train.unfreeze", train.unfreeze, "0", 0, 1e6,
         .help =
             "gradual unfreezing: at first only what stands behind the layers is trained, then one layer more, from the top, every so many "
             "epochs, at last the embeddings; 0: everything from the first step on"),
    INT("train.patience", train.patience, "0", 0, 1e6, .unit = "evaluations",
        .help = "early stopping: the run ends when so many evaluations in a row were no better than the best; 0: never"),
    CHOICE("train.recompute", train.recompute, "none", "none|selective|full",
           .help = "what backward makes again in a layer instead of keeping it: selective all but what products and attention make, full "
                   "everything but what goes into the layer. Less memory, more time, the same bits (halfstep plan has the figures)"),
    INT("train.prefetch", train.prefetch, "2", 1, 64, .unit = "micro-batches", .help = "kept ready beyond the current step",
        .advanced = true),

    INT("adapter.rank", adapter.rank, "0", 0, 4096,
        .help =
            "LoRA: pairs of matrices that thin are trained beside the weights of train.init_from, which stay as they are, and the task's "
            "head; checkpoints hold these alone, as a folder of PEFT. 0: all weights are trained"),
    REAL("adapter.alpha", adapter.alpha, "16", 1e-6, 1e6, .help = "what a pair adds is multiplied by alpha / rank"),
    TEXTS("adapter.targets", adapter.targets, "",
          .help =
              "weights that wear a pair: q, k, v, attn.out, ff.up, ff.down, l3.*, names of PEFT (query, c_attn), or all-linear; without it "
              "query and value"),
    REAL("adapter.dropout", adapter.dropout, "0", 0, 0.95, .help = "of what goes into the pairs, while training"),
    BOOL("adapter.rslora", adapter.rslora, "false", .help = "alpha / sqrt(rank) in place of alpha / rank", .advanced = true),

    CHOICE("quant.bits", quant.bits, "none", HS_QUANT_BITS_WORDS,
           .help =
               "training that foresees codes: weights, and what they multiply, are rounded to what codes of `halfstep quantize` with the "
               "same --bits stand for, in training and in evaluations; checkpoints hold the weights unrounded. none: nothing is rounded"),
    CHOICE("quant.activations", quant.activations, "token", "token|tensor",
           .help = "w8a8: a scale for each token, found as it comes, or one for a tensor, calibrated before the first step and then held; "
                   "`halfstep quantize` takes it from the checkpoint"),
    INT("quant.examples", quant.examples, "256", 1, 1e9, .help = "quant.activations tensor: samples of data.train to calibrate on"),
    CHOICE("quant.method", quant.method, "percentile", HS_CALIB_WORDS,
           .help = "quant.activations tensor: as --method of `halfstep quantize`"),
    CHOICE("quant.embeddings", quant.embeddings, "auto", "auto|yes|no", .help = "tables of tokens, too; auto: with w8 and w4"),
    TEXTS("quant.skip", quant.skip, "",
          .help = "parameters that are not rounded: names, scopes, with * and ?, separated by commas, as --skip of `halfstep quantize`"),
    REAL("quant.noise", quant.noise, "1", 1e-4, 1,
         .help = "Quant-Noise: the share of a weight's blocks of 8 that a step rounds, drawn anew each step; the others have exact "
                 "gradients. 1: all of them. Evaluations round all"),

    INT("ipq.every", ipq.every, "0", 0, 1e9, .unit = "steps",
        .help =
            "iPQ: weights become centroids while they are trained, feed-forwards at the beginning, tables so many steps later, attention "
            "as many behind; `halfstep quantize --bits pq` of the last checkpoint keeps just these. 0: none do"),
    INT("ipq.block", ipq.block, "8", 1, 64, .help = "values that an index stands for, as --block of `halfstep quantize`", .advanced = true),
    INT("ipq.centroids", ipq.centroids, "256", 2, 256, .help = "of a matrix", .advanced = true),
    BOOL("ipq.embeddings", ipq.embeddings, "true", .help = "tables of tokens, too", .advanced = true),
    TEXTS("ipq.skip", ipq.skip, "", .help = "parameters that stay values, as --skip of `halfstep quantize`"),

    CHOICE("optim.name", optim.name, "adamw", HS_PRESET_WORDS,
           .help = "optimizer, with the switches of the implementation it is named after (halfstep plan prints them): adamw; electra: Adam "
                   "without bias correction; six LAMBs; sgd, lars, novograd. What nobody sets it decides itself"),
    REAL("optim.lr", optim.lr, "1e-3", 0, 1e3, .help = "highest learning rate"),
    REAL("optim.min_lr", optim.min_lr, "0", 0, 1e3, .help = "learning rate at the last step"),
    INT("optim.warmup", optim.warmup, "0", 0, 1e12, .unit = "steps", .help = "steps of linear warm-up"),
    REAL("optim.warmup_fraction", optim.warmup_fraction, "0", 0, 1,
         .help = "warm-up as a fraction of train.steps, in place of optim.warmup"),
    CHOICE("optim.schedule", optim.schedule, "cosine", "constant|linear|cosine|poly|poly-warmup|electra|inverse-sqrt",
           .help =
               "how the learning rate falls after warm-up; poly-warmup: NVIDIA's BERT recipe (with power 0.5); electra: warm-up multiplies "
               "the rate that falls from the first step on"),
    REAL("optim.power", optim.power, "1", 0, 10, .help = "exponent of the schedules poly, poly-warmup and electra", .advanced = true),
    REAL(
        "optim.layer_decay", optim.layer_decay, "1", 1e-3, 1,
        .help =
            "ELECTRA's rule for fine-tuning: a layer's learning rate is that of the heads times this to the power of 1 + its distance from "
            "them; 1: the same for all"),
    { .name = "optim.betas",
      .type = HS_KEY_REALS,
      AT(optim.betas),
      .value = "0.9,0.95",
      .min = 0,
      .max = 0.999999,
      .help = "decay of the first and second moment; not of sgd and lars; default of others than adamw: their own" },
    REAL("optim.momentum", optim.momentum, "0.9", 0, 0.999999, .help = "of sgd and lars"),
    REAL("optim.eps", optim.eps, "0", 0, 1, .help = "added to the denominator; 0: the optimizer's own (adamw 1e-8, lamb 1e-6)"),
    REAL("optim.weight_decay", optim.weight_decay, "0.1", 0, 10,
         .help = "of weights and embeddings, not of biases and norms; default of others than adamw: their own"),
    REAL("optim.clip", optim.clip, "1", 0, 1e9,
         .help = "largest global norm of the gradient; 0: no clipping; default of others than adamw: their own"),
    REAL("optim.clip_eps", optim.clip_eps, "0", 0, 1, .help = "added to the norm that clipping divides by; default: the optimizer's own",
         .advanced = true),
    REAL("optim.clip_value", optim.clip_value, "0", 0, 1e30, .help = "largest magnitude of an element of the gradient; 0: unbounded",
         .advanced = true),
    CHOICE("optim.decay_mode", optim.decay_mode, "decoupled", "decoupled|gradient",
           .help = "weight decay beside the direction, or as part of the gradient; default: the optimizer's own", .advanced = true),
    CHOICE("optim.bias_correction", optim.bias_correction, "moments", "moments|step|none",
           .help = "of both moments; of the step alone, as DeepSpeed's LAMB has it; or none; default: the optimizer's own",
           .advanced = true),
    BOOL("optim.eps_inside", optim.eps_inside, "false", .help = "sqrt(v + eps) in place of sqrt(v) + eps; default: the optimizer's own",
         .advanced = true),
    BOOL("optim.grad_averaging", optim.grad_averaging, "true",
         .help = "the first moment takes 1 - beta1 of the gradient; false: all of it; default: the optimizer's own", .advanced = true),
    CHOICE("optim.trust", optim.trust, "decayed", "decayed|all|none",
           .help = "tensors whose step is scaled by their norm, of lamb and lars; default: the optimizer's own", .advanced = true),
    REAL("optim.trust_coefficient", optim.trust_coefficient, "0", 0, 1e3, .help = "of lars; default: its own", .advanced = true),
    CHOICE("optim.bounds", optim.bounds, "ratio", "ratio|weight",
           .help =
               "what ratio_min and ratio_max of lamb hold in: the trust ratio, or the norm of the weights; default: the optimizer's own",
           .advanced = true),
    REAL("optim.ratio_min", optim.ratio_min, "0", 0, 1e30, .help = "least trust ratio of lamb; default: the optimizer's own",
         .advanced = true),
    REAL("optim.ratio_max", optim.ratio_max, "0", 0, 1e30,
         .help = "largest trust ratio of lamb; 0: unbounded; default: the optimizer's own", .advanced = true),
    CHOICE("optim.qkv", optim.qkv, "three", "three|one",
           .help = "packed query, key and value have norms of their own in lamb, lars and novograd, or one together", .advanced = true),
    CHOICE("optim.moments", optim.moments, "f32", "f32|bf16",
           .help = "type of what the optimizer keeps; bf16 is rounded stochastically and takes half the memory", .advanced = true),
    CHOICE("optim.masters", optim.masters, "f32", HS_MASTERS_WORDS,
           .help = "how values are kept beside the bf16 copies that products read: in f32; as the 16 bits that the copies lack, which "
                   "trains the same bits in 4 bytes a weight instead of 6; or not at all, the copies rounded stochastically, in 2 bytes",
           .advanced = true),

    TEXT("distill.teacher", distill.teacher, "",
         .help = "a folder of transformers or a checkpoint whose model teaches this run's (halfstep distill --teacher); it brings its "
                 "tokenizer, and is only read"),
    REAL("distill.soft", distill.soft, "0.5", 0, 1e6,
         .help =
             "weight of soft targets: temperature^2 x KL(teacher || student) of logits, the mean over the rows that count: of classes, of "
             "each of several labels by itself, of where a span starts and ends, of tags what each token says without its neighbours, "
             "also where model.crf makes them a chain, which distill.hard alone trains; of regression the mean square"),
    REAL("distill.hard", distill.hard, "0.5", 0, 1e6, .help = "weight of the model's own loss, of labels and masked tokens"),
    REAL("distill.temperature", distill.temperature, "2", 0.01, 1000, .help = "that both logits of soft targets are divided by"),
    CHOICE("distill.rows", distill.rows, "predicted", "predicted|all",
           .help = "of encoders: soft targets of the tokens that are predicted, or of every token, as DistilBERT has it"),
    REAL("distill.cosine", distill.cosine, "0", 0, 1e6, .help = "weight of 1 - cosine of the last hidden states, the mean over tokens"),
    REAL("distill.hidden", distill.hidden, "0", 0, 1e6, .help = "weight of the mean square by which the last hidden states differ"),
    { .name = "distill.hidden_map",
      .type = HS_KEY_INTS,
      AT(distill.hidden_map),
      .value = "",
      .min = -1,
      .max = 999,
      .help =
          "hidden states of the teacher (0: its embeddings, 1: behind its first layer) that those behind the student's layers are held to "
          "by distill.cosine and distill.hidden, the mean over them: 4,8,12, or 0,4,8,12 with the embeddings in front; -1: none. "
          "Default: the last to the last" },
    REAL("distill.relation", distill.relation, "0", 0, 1e6,
         .help = "weight of MiniLM's relations: KL(teacher || student) of what the tokens of a sequence are to one another"),
    CHOICE("distill.relations", distill.relations, "v2", "v2|v1|attention",
           .help = "of query-query, key-key and value-value (MiniLM v2); of attention and value-value (v1); of attention alone"),
    INT("distill.relation_heads", distill.relation_heads, "12", 1, 4096, .unit = "heads",
        .help = "that query, key and value of both are cut into for relations; divides both widths"),
    INT("distill.teacher_layer", distill.teacher_layer, "0", 0, 1000, .help = "whose relations are taken, from 1; 0: the last"),
    INT("distill.student_layer", distill.student_layer, "0", 0, 1000, .help = "that is held to them, from 1; 0: the last"),
    { .name = "distill.layers",
      .type = HS_KEY_INTS,
      AT(distill.layers),
      .value = "",
      .min = 0,
      .max = 999,
      .help = "layers of the teacher, from 0, that the student's begin as: 0,2,4,7,9,11; with them embeddings and head. Default: drawn" },

    CHOICE(
        "amp.policy", amp.policy, "auto", "auto|fp32|bf16|fp16|fp8",
        .help =
            "arithmetic; auto: bf16 where the device is fast at it, else fp32; fp8: linear layers train in 8 bits, the rest as with bf16"),
    CHOICE("amp.residual", amp.residual, "f32", "f32|low", .help = "type of the residual stream"),
    TEXTS("amp.overrides", amp.overrides, "", .help = "exceptions by operation or scope: gelu=fp32,h0.*=bf16,h1.*=fp8"),
    CHOICE("amp.fp8.scaling", amp.fp8.scaling, "current", "current|delayed",
           .help = "what scales inputs and gradients of fp8 layers: their own largest values, or those of the steps before, over all ranks"),
    INT("amp.fp8.history", amp.fp8.history, "16", 1, 1024, .unit = "steps", .help = "that delayed scales look back"),
    INT("amp.fp8.margin", amp.fp8.margin, "0", 0, 8, .help = "powers of two that scales leave free for larger values"),
    CHOICE("amp.scaler", amp.scaler, "auto", "auto|none|dynamic|megatron|torch|apex",
           .help = "loss scaling; auto: dynamic with fp16 only; megatron, torch, apex: as those have it"),
    INT("amp.histogram", amp.histogram, "0", 0, 1e12, .unit = "steps",
        .help = "between pictures of the gradients' exponents by scope, in the run's folder gradients/, and one at the end; 0: none"),

    INT("checkpoint.every", checkpoint.every, "250", -1, 1e12, .unit = "steps",
        .help = "between checkpoints; 0: only at the end; -1: at the end of each epoch"),
    INT("checkpoint.keep", checkpoint.keep, "3", 1, 1000, .unit = "checkpoints", .help = "newest ones kept, besides the best"),

    CHOICE("exec.mode", exec.mode, "auto", "step|bulk|graph|auto",
           .help =
               "how a step is submitted; auto: graph (captured once, replayed) on cuda, else bulk; step checks every result for non-finite "
               "values and names the first"),
    INT("exec.bulk_size", exec.bulk_size, "0", 0, 1e6, .unit = "thunks", .help = "submitted as one unit in bulk mode; 0: all of a step",
        .advanced = true),
    INT("exec.threads", exec.threads, "0", 0, 1024, .unit = "threads", .help = "0: the cores this process may use"),
    TEXT("exec.isa", exec.isa, "auto", .help = "instruction set of the kernels: auto, portable, avx2, ... (see halfstep env)"),
    TEXT("exec.device", exec.device, "cpu", .help = "cpu or cuda; cpu-fenced finds code that touches memory which is a device's alone"),
    CHOICE("exec.attention_masks", exec.attention_masks, "exact", "exact|library",
           .help = "what dropout drops in attention on a GPU; exact: the same at every layout and device, by kernels of Halfstep's own; "
                   "library: by masks of cuDNN's own, so that cuDNN attends"),
    BOOL("exec.deterministic", exec.deterministic, "true",
         .help = "the same bits each time; false lets cuDNN add up attention's gradients in any order, in less memory"),
    BOOL("exec.onednn", exec.onednn, "false", .help = "let oneDNN do the fp32 products at which it was measured to be faster",
         .advanced = true),

    INT("parallel.dp", parallel.dp, "0", 0, 65536, .unit = "ranks",
        .help = "replicas of the model under mpirun, each of which takes its part of every micro-batch; 0: the ranks that were started, "
                "divided by parallel.tp"),
    INT("parallel.tp", parallel.tp, "1", 1, 1024, .unit = "ranks",
        .help = "ranks that share each layer's weights and products (tensor parallelism); neighbours, of one host where there are several"),
    BOOL("parallel.sequence", parallel.sequence, "false",
         .help = "of parallel.tp: norms, dropout and the residual stream divided by tokens too, which saves memory"),
    CHOICE("parallel.shard_optimizer", parallel.shard_optimizer, "none", "none|states|gradients|false|true",
           .help = "what the parallel.dp ranks keep once instead of each: moments and f32 values (states, also called true), or gradients "
                   "too; the same bits, but for gradients of several micro-batches, which are added in another order"),
    INT("parallel.bucket_mb", parallel.bucket_mb, "25", 1, 4096, .unit = "MB",
        .help = "of gradients that are added over parallel.dp in one call, while backward goes on", .advanced = true),
    REAL("parallel.timeout", parallel.timeout, "300", 0, 1e6, .unit = "seconds",
         .help = "that a rank waits for others before it says who is missing and ends the job; 0: for ever"),

    CHOICE("loss.normalize", loss.normalize, "global", "global|micro",
           .help = "mean over all labels of a step, or mean of the micro-batches' means"),
    REAL("loss.replaced", loss.replaced, "50", 0, 1e6,
         .help = "of a model with model.generator: weight of the judge's loss, the mean over all tokens, beside the generator's"),
};
_Static_assert(sizeof keys / sizeof keys[0] <= HS_CONFIG_COMMON, "a table must hold every key");
// Choices are values of the enums of other rooms, in their order.
_Static_assert(HS_SCHEDULE_CONSTANT == 0 && HS_SCHEDULE_LINEAR == 1 && HS_SCHEDULE_COSINE == 2 && HS_SCHEDULE_POLY == 3 &&
                   HS_SCHEDULE_POLY_WARMUP == 4 && HS_SCHEDULE_ELECTRA == 5 && HS_SCHEDULE_INVERSE_SQRT == 6,
               "optim.schedule");
_Static_assert(HS_SCALER_AUTO == 0 && HS_SCALER_NONE == 1 && HS_SCALER_DYNAMIC == 2 && HS_SCALER_MEGATRON == 3 && HS_SCALER_TORCH == 4 &&
                   HS_SCALER_APEX == 5,
               "amp.scaler");
_Static_assert(HS_RECOMPUTE_NONE == 0 && HS_RECOMPUTE_SELECTIVE == 1 && HS_RECOMPUTE_FULL == 2, "train.recompute");
_Static_assert(HS_SUBMIT_STEP == 0 && HS_SUBMIT_BULK == 1 && HS_SUBMIT_GRAPH == 2 && HS_MODE_AUTO == 3, "exec.mode");
_Static_assert(HS_PACKING_NONE == 0 && HS_PACKING_FFD == 1, "data.packing");
_Static_assert(HS_SEQ_UNPADDED == 0 && HS_SEQ_PADDED == 1 && HS_SEQ_BUCKETED == 2 && HS_SEQ_PACKED == 3, "data.layout");
_Static_assert(HS_MASKING_LOADER == 0 && HS_MASKING_DEVICE == 1, "data.masking");
_Static_assert(HS_DOCUMENTS_FILE == 0 && HS_DOCUMENTS_BLANK_LINE == 1 && HS_DOCUMENTS_LINE == 2 && HS_TEXT_DOCUMENTS_AUTO == 3,
               "data.documents");
_Static_assert(HS_PREFIX_AUTO == 0 && HS_PREFIX_NO == 1 && HS_PREFIX_YES == 2, "task.prefix_space");
_Static_assert(HS_SEGMENTS_NEXT == 0 && HS_SEGMENTS_ORDER == 1 && HS_SEGMENTS_FULL == 2, "data.objectives kind");
_Static_assert(HS_MASK_TOKEN == 0 && HS_MASK_WORD == 1 && HS_MASK_NGRAM == 2 && HS_MASK_SPAN == 3, "data.objectives masking");

hs_status hs_config_table_init(hs_config_table *t, const hs_family *const *families)
{
    static const char *const needed[] = { "model.context", "model.vocab" };
    int n = 0;
    for (; families[n]; n++) {
        if (n == HS_FAMILIES || families[n]->settings->n > HS_CONFIG_FAMILY)
            return HS_FAIL(INTERNAL, "%s: more than %d families, or than %d settings", families[n]->name, HS_FAMILIES, HS_CONFIG_FAMILY);
        for (int i = 0; i < HS_COUNT(needed); i++)
            if (!hs_schema_find(families[n]->settings, NULL, needed[i]).key)
                return HS_FAIL(INTERNAL, "family %s has no setting %s, which batches of tokens need", families[n]->name, needed[i]);
        t->section[n] = (hs_section){ families[n]->words, families[n]->settings };
    }
    memcpy(t->key, keys, sizeof keys);
    t->n_keys = HS_COUNT(keys);
    hs_schema_words(t->section, n, t->types, sizeof t->types);
    t->key[0].choices = t->types;
    t->key[0].value = families[0]->name;
    t->families = families;
    HS_TRY(hs_config_init_phases(t));
    memcpy(t->list, lists, sizeof lists);
    t->list[HS_COUNT(lists)] = (hs_list){ .name = "phases",
                                          .schema = &t->phase_schema,
                                          .offset = offsetof(hs_config, phase),
                                          .count_offset = offsetof(hs_config, n_phases),
                                          .max = HS_PHASES,
                                          .help = "stretches of the run one behind the other; what one leaves out is the run's own" };
    t->schema = (hs_schema){ .key = t->key,
                             .n = HS_COUNT(keys),
                             .struct_bytes = sizeof(hs_config),
                             .chooser = t->key[0].name,
                             .section = t->section,
                             .n_sections = n,
                             .section_offset = offsetof(hs_config, model.settings),
                             .section_bytes = sizeof(hs_settings),
                             .list = t->list,
                             .n_lists = HS_COUNT(lists) + 1 };
    return HS_OK;
}
