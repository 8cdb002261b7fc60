// Which tokenizer a run takes. Ids mean nothing without the one that the weights were trained with, so weights keep theirs.
#include "core/base/log.h"
#include "data/checkpoint/peft.h"
#include "recipes/train/corpus.h"
#include "recipes/train/weights_from.h"
#include <string.h>

typedef struct job {
    hs_config *c;
    const hs_run_dir *run;
} job;

static bool is(const job *t, const char *word) { return strcmp(t->c->data.tokenizer, word) == 0; }

// What is made of a text where nothing brings a tokenizer: sequences with masked tokens need one that has such tokens.
static const char *of_text(const job *t) { return hs_config_arch(t->c).family->batch == HS_BATCH_MASKED ? "wordpiece" : "char"; }

// "bpe, 50257 tokens"
static const char *in_words(const hs_tokenizer *tok, char *buf, size_t size)
{
    snprintf(buf, size, "%s, %lld tokens", hs_tokenizer_kind(tok), (long long)hs_tokenizer_vocab(tok));
    return buf;
}

// "config.yaml:4: " before a message about a key that a file sets.
static const char *place(const job *t, const char *key, char *buf, size_t size)
{
    const char *where = hs_config_where(t->c, key);
    snprintf(buf, size, "%s%s", strchr(where, ':') ? where : "", strchr(where, ':') ? ": " : "");
    return buf;
}

static hs_status replaced(const job *t)
{
    char at[128];
    place(t, "train.init_tokenizer", at, sizeof at);
    if (!t->c->train.init_from[0])
        return HS_FAIL(USAGE, "%strain.init_tokenizer is replace, but train.init_from is not set: there are no weights to replace it of",
                       at);
    if (is(t, "auto"))
        return HS_FAIL(USAGE, "%strain.init_tokenizer is replace, but data.tokenizer is auto: name the one to take instead", at);
    if (!t->run->from[0])
        hs_warn("train.init_tokenizer replace: the embedding rows of %s mean the tokens of data.tokenizer %s from now on", t->run->init,
                t->c->data.tokenizer);
    return HS_OK;
}

static hs_status without(const job *t, const char *source)
{
    if (is(t, "auto"))
        return HS_FAIL(USAGE,
                       "train.init_from %s has no tokenizer (tokenizer.json, vocab.txt, or vocab.json with merges.txt): name the one its "
                       "weights were trained with, --data.tokenizer=FOLDER, byte or char",
                       source);
    hs_info("train.init_from %s has no tokenizer; data.tokenizer %s is taken for the one its weights were trained with", source,
            t->c->data.tokenizer);
    return HS_OK;
}

static hs_status refuse(const job *t, const char *source, const hs_tokenizer *theirs, const hs_tokenizer *named)
{
    char at[128], ours[64] = "", other[64];
    if (named)
        in_words(named, ours, sizeof ours);
    return HS_FAIL(USAGE,
                   "%sdata.tokenizer is %s%s%s%s, but the weights of %s%s were trained with another (%s): --data.tokenizer=auto takes that "
                   "one, %s yours",
                   place(t, "data.tokenizer", at, sizeof at), t->c->data.tokenizer, named ? " (" : "", ours, named ? ")" : "",
                   t->run->from[0] ? "" : "train.init_from ", source, in_words(theirs, other, sizeof other),
                   t->run->from[0] ? "a run that begins anew with --train.init_tokenizer=replace" : "--train.init_tokenizer=replace");
}

// A tokenizer that was named beside weights that have theirs: the same by what it does, wherever it lies. "char" names a kind, whose
// characters the weights know.
static hs_status compare(const job *t, const char *source, const hs_tokenizer *theirs)
{
    hs_tokenizer *named = NULL;
    int64_t size;
    if (is(t, "char"))
        return strcmp(hs_tokenizer_kind(theirs), "char") == 0 ? HS_OK : refuse(t, source, theirs, NULL);
    if (hs_config_wordpiece(t->c, &size)) // a new one, of another text
        return refuse(t, source, theirs, NULL);
    HS_TRY(hs_corpus_named_tokenizer(&named, t->c));
    const bool same = hs_tokenizer_gives(theirs, hs_tokenizer_hash(named));
    const hs_status st = same ? HS_OK : refuse(t, source, theirs, named);
    hs_tokenizer_free(named);
    return st;
}

static hs_status load(hs_tokenizer **out, const job *t, const char *source)
{
    char dir[HS_PATH], message[512];
    HS_TRY(hs_peft_tokenizer(source, dir));
    const hs_status st = hs_tokenizer_load(out, dir);
    if (st == HS_OK || t->run->from[0])
        return st;
    snprintf(message, sizeof message, "%s", hs_error());
    return HS_FAIL(USAGE, "the tokenizer of train.init_from cannot be read: %s", message);
}

// A student reads what its teacher does.
static hs_status of_teacher(const job *t, const char **dir)
{
    *dir = t->run->from[0] ? t->run->from : t->c->distill.teacher;
    if (!hs_tokenizer_found(*dir))
        return HS_FAIL(USAGE, "distill.teacher %s has no tokenizer: name the one it was trained with, --data.tokenizer=FOLDER", *dir);
    return HS_OK;
}

hs_status hs_weights_tokenizer(hs_config *c, const hs_run_dir *run, const char **dir)
{
    const job *t = &(job){ c, run };
    const bool inits = t->c->train.init_from[0] != 0;
    const char *source = t->run->from[0] ? t->run->from : t->run->init;
    *dir = NULL;
    if (hs_config_learns(c) && !inits && is(t, "auto"))
        return of_teacher(t, dir);
    if (t->c->train.init_tokenizer == HS_INIT_REPLACE)
        return replaced(t);
    if (!source[0])
        return is(t, "auto") ? hs_config_set(t->c, "data.tokenizer", of_text(t), "auto") : HS_OK;
    if (!inits && !is(t, "auto"))
        return HS_OK; // of a run that goes on: compared when the text is there
    if (!t->run->from[0] && !hs_tokenizer_found(source))
        return without(t, source);
    hs_tokenizer *theirs;
    HS_TRY(load(&theirs, t, source));
    hs_status st = HS_OK;
    const bool from_text = !inits && strcmp(hs_tokenizer_kind(theirs), "char") == 0; // characters that are new are told as such
    if (from_text)
        st = hs_config_set(t->c, "data.tokenizer", "char", "auto");
    else if (!inits && hs_config_arch(t->c).family->batch == HS_BATCH_MASKED)
        st = hs_config_set(t->c, "data.tokenizer", of_text(t), "auto"); // auto learned one when the run began
    else if (!is(t, "auto"))
        st = compare(t, source, theirs);
    if (!from_text)
        *dir = source;
    hs_tokenizer_free(theirs);
    return st;
}
