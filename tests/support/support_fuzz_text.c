// support_fuzz_text: what opens token stores and what turns texts into ids, on any bytes.
// libFuzzer's target: cmake -DCMAKE_C_COMPILER=clang -DHS_FUZZ=ON, then tests/fuzz_text CORPUS tests/golden/fuzz/text
// The first byte says what the rest is: S a token store, L JSON, B documents between blank lines, P a file as it is, packed or not,
// R what prepare keeps for a restart (under a header's checksum that is right), Y a file of settings.
// test_fuzz.c replays the folder.
#include "core/base/log.h"
#include "data/base/yaml.h"
#include "data/text/prep_part.h"
#include "data/text/text_stream.h"
#include "tests/support/support_fuzz.h"
#include <limits.h>
#include <sys/mman.h>
#include <xxhash.h>

int hs_fuzz_text(const uint8_t *data, size_t bytes);

static hs_text_inputs one_file(const uint8_t *data, size_t bytes, char path[64], hs_text_input *input)
{
    const int fd = memfd_create("fuzz", MFD_CLOEXEC);
    must(fd >= 0 && write(fd, data, bytes) == (ssize_t)bytes);
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    *input = (hs_text_input){ .path = path, .bytes = (int64_t)bytes };
    return (hs_text_inputs){ .input = input, .n = 1 };
}

static void close_file(const char *path) { close(atoi(strrchr(path, '/') + 1)); }

// What opens can be read to its end, and its tables lead nowhere else.
static void read_store(const char *path)
{
    hs_token_store *s;
    int32_t ids[256];
    int64_t first, end, a, b;
    if (hs_token_store_open(&s, path) != HS_OK)
        return;
    must(hs_token_store_is(path));
    const hs_token_store_info info = hs_token_store_info_of(s);
    const bool sound = hs_token_store_verify(s) == HS_OK;
    for (int64_t i = 0; i < info.n_tokens; i += 256)
        hs_token_store_read(s, i, info.n_tokens - i < 256 ? info.n_tokens - i : 256, ids);
    for (int64_t d = 0; d < info.n_documents; d++) {
        hs_token_store_document(s, d, &first, &end);
        must(0 <= first && first <= end && end <= info.n_tokens);
        const hs_status st = hs_token_store_sentences(s, d, &first, &end);
        must(st == HS_OK || !sound);
        for (int64_t i = first; st == HS_OK && i < end; i++)
            if (hs_token_store_sentence(s, i, &a, &b) == HS_OK)
                must(0 <= a && a < b && b <= info.n_tokens);
    }
    hs_token_store_close(s);
}

// False: there is more than `most` batches. A few bytes unpack to a hundred megabytes, which would be most of the time.
static bool encode(const hs_text_inputs *in, const hs_prepare_opts *o, size_t want, int most, hs_prep *all)
{
    hs_text_source *s;
    hs_text_batch b = { 0 };
    hs_prep_scratch scratch = { 0 };
    hs_prep p = { 0 };
    must(hs_text_source_open(&s, in, &o->read, NULL) == HS_OK);
    int n = 0;
    do {
        if (hs_text_source_next(s, &b, want) != HS_OK || hs_prep_encode(o, in, &b, &scratch, &p) != HS_OK)
            break;
        must(hs_prep_append(all, &p, 2, true) == HS_OK);
    } while (!b.last && ++n < most);
    const bool whole = n < most;
    must(b.n == 0 || b.piece[b.n - 1].ends || !b.last);
    hs_text_source_close(s);
    hs_text_batch_free(&b);
    hs_prep_free(&p);
    hs_prep_scratch_free(&scratch);
    return whole;
}

static void read_text(const hs_text_inputs *in, hs_documents documents, hs_text_format format)
{
    static hs_tokenizer *byte;
    must(byte || hs_tokenizer_byte(&byte) == HS_OK);
    const hs_prepare_opts o = { .tokenizer = byte,
                                .read = { .documents = documents, .format = format },
                                .rules = { .bad_utf8 = HS_BAD_UTF8_REPLACE, .bad_records = HS_BAD_RECORDS_REPLACE },
                                .sentences = HS_SENTENCES_RULE,
                                .dedup = HS_DEDUP_NEAR };
    hs_prep a = { 0 }, b = { 0 };
    if (encode(in, &o, 1 << 13, 4, &a)) { // documents one by one are the same ids
        encode(in, &o, 1, INT_MAX, &b);
        must(b.n_pieces >= a.n_pieces && b.n_ids >= a.n_ids); // of a bad text, what stood before the bad place
        must(a.n_ids == 0 || memcmp(a.ids, b.ids, (size_t)a.n_ids * 2) == 0);
        must(a.n_pieces == 0 || memcmp(a.sketch, b.sketch, (size_t)a.n_pieces * sizeof *a.sketch) == 0);
    }
    int64_t ids = 0;
    for (int64_t i = 0; i < a.n_sentences; i++)
        ids += a.sentence[i];
    must(ids == a.n_ids);
    hs_prep_free(&a);
    hs_prep_free(&b);
}

// A checksum keeps accidents out, not what was written on purpose: what is bound must lie in the file.
static void read_part(const uint8_t *data, size_t bytes)
{
    enum { HEADER = 128 };
    hs_prep_dir d = { .id_bytes = 2 };
    hs_prep_part part;
    uint8_t *copy = malloc(bytes);
    must(copy != NULL);
    memcpy(copy, data, bytes);
    if (bytes >= HEADER) {
        const uint64_t hash = XXH3_64bits(copy, HEADER - 8);
        memcpy(copy + HEADER - 8, &hash, 8);
        memcpy(&d.settings, copy + 8, 8);
    }
    char path[64];
    fuzz_folder(d.path);
    fuzz_put(path, d.path, "part-00000000", copy, bytes);
    if (hs_prep_part_open(&d, 0, &part, false)) {
        const hs_prep *p = &part.p;
        uint64_t sum = 0;
        for (int64_t i = 0; i < p->n_ids * 2; i++)
            sum += p->ids[i];
        for (int64_t i = 0; i < p->n_pieces; i++)
            sum += p->piece[i].n_ids + (p->sketch ? *(const unsigned char *)&p->sketch[i] : 0);
        for (int64_t i = 0; i < p->n_sentences; i++)
            sum += p->sentence[i];
        must(p->n_ids >= 0 && p->n_pieces >= 0 && p->n_sentences >= 0 && sum + 1 != 0);
        hs_prep_part_close(&part);
    }
    unlink(path);
    rmdir(d.path);
    free(copy);
}

typedef struct settings {
    int64_t steps;
    double rate;
    bool tied;
    int policy;
    hs_reals betas;
    char train[HS_KEY_STRING_BYTES];
    int64_t phase[3];
    int n_phases;
} settings;

static void read_settings(const char *path)
{
#define AT(field) offsetof(settings, field)
    static const hs_key keys[] = {
        { "train.steps", HS_KEY_INT, AT(steps), "4", 1, 1000, NULL, NULL, "steps", false },
        { "optim.lr", HS_KEY_REAL, AT(rate), "0.1", 0, 10, NULL, NULL, "rate", false },
        { "tied", HS_KEY_BOOL, AT(tied), "no", 0, 0, NULL, NULL, "tied", false },
        { "amp.policy", HS_KEY_CHOICE, AT(policy), "fp32", 0, 0, "fp32|bf16|fp16", NULL, "precision", false },
        { "optim.betas", HS_KEY_REALS, AT(betas), "0.9,0.95", 0, 1, NULL, NULL, "decay", false },
        { "data.train", HS_KEY_TEXTS, AT(train), "", 0, 0, NULL, NULL, "text", false },
    };
    static const hs_key phase_keys[] = { { "steps", HS_KEY_INT, 0, "4", 1, 1000, NULL, NULL, "steps", false } };
    static const hs_schema phase_schema = HS_SCHEMA(phase_keys, int64_t);
    static const hs_list phases = { "phases", &phase_schema, AT(phase), AT(n_phases), 3, "phases" };
    static const hs_schema schema = { .key = keys, .n = HS_COUNT(keys), .struct_bytes = sizeof(settings), .list = &phases, .n_lists = 1 };
    static hs_origin origin[HS_COUNT(keys) + 3];
    settings s;
    must(hs_schema_defaults(&schema, &s, origin) == HS_OK);
    if (hs_yaml_load(path, &schema, &s, origin) == HS_OK)
        must(s.steps >= 1 && s.steps <= 1000 && s.rate >= 0 && s.rate <= 10 && s.policy >= 0 && s.policy < 3 && s.n_phases >= 0 &&
             s.n_phases <= 3);
}

int hs_fuzz_text(const uint8_t *data, size_t bytes)
{
    char path[64];
    hs_text_input input;
    if (bytes < 2 || !strchr("SLBPRY", data[0]))
        return 0;
    if (data[0] == 'R') {
        hs_log_set(HS_LOG_QUIET, NULL, NULL); // a warning for each would be most of the time
        read_part(data + 1, bytes - 1);
        return 0;
    }
    const hs_text_inputs in = one_file(data + 1, bytes - 1, path, &input);
    if (data[0] == 'S')
        read_store(path);
    else if (data[0] == 'Y')
        read_settings(path);
    else
        read_text(&in, data[0] == 'B' ? HS_DOCUMENTS_BLANK_LINE : HS_DOCUMENTS_FILE, data[0] == 'L' ? HS_FORMAT_JSON : HS_FORMAT_AUTO);
    close_file(path);
    return 0;
}

HS_FUZZ_TARGET(text)
