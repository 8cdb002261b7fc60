// support_fuzz_text: what opens token stores and what turns texts into ids, on any bytes. As a libFuzzer target, with clang:
//   clang -fsanitize=fuzzer,address,undefined -std=gnu11 -g -O1 -D_GNU_SOURCE -DHS_FUZZ_TEXT -DHS_TOK_CACHE_LOG2=5 -DHS_HAVE_ZLIB
//   -DHS_HAVE_ZSTD -I.
//     tests/support_fuzz_text.c data/{tok,bpe,wordpiece,text_,prep_}*.c data/{unicode,file,json_util,sentence,near,store_writer,ckpt_io}.c
//     core/{status,log,rng}.c -ljansson -lxxhash -lz -lzstd -lpthread -o fuzz_text
//   ./fuzz_text tests/golden/fuzz/text
// The first byte says what the rest is: S a token store, L JSON lines, B documents between blank lines, P a file as it is, packed or not.
// test_fuzz.c replays the folder.
#include "data/prep_part.h"
#include "data/text_stream.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int hs_fuzz_text(const uint8_t *data, size_t bytes);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static hs_text_inputs one_file(const uint8_t *data, size_t bytes, char path[64], hs_text_input *input, bool json)
{
    const int fd = memfd_create("fuzz", MFD_CLOEXEC);
    must(fd >= 0 && write(fd, data, bytes) == (ssize_t)bytes);
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    *input = (hs_text_input){ .path = path, .bytes = (int64_t)bytes, .json = json };
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

// The bytes of all documents, encoded one by one, are the same ids however they are batched and cut.
static void encode(const hs_text_inputs *in, const hs_prepare_opts *o, size_t want, hs_prep *all)
{
    hs_text_source *s;
    hs_text_batch b = { 0 };
    hs_prep_scratch scratch = { 0 };
    hs_prep p = { 0 };
    must(hs_text_source_open(&s, in, o->documents, NULL) == HS_OK);
    do {
        if (hs_text_source_next(s, &b, want) != HS_OK || hs_prep_encode(o, in, &b, &scratch, &p) != HS_OK)
            break;
        must(hs_prep_append(all, &p, 2, true) == HS_OK);
    } while (!b.last);
    must(b.n == 0 || b.piece[b.n - 1].ends || !b.last);
    hs_text_source_close(s);
    hs_text_batch_free(&b);
    hs_prep_free(&p);
    free(scratch.clean);
    free(scratch.ids);
}

static void read_text(const hs_text_inputs *in, hs_documents documents)
{
    static hs_tokenizer *byte;
    must(byte || hs_tokenizer_byte(&byte) == HS_OK);
    const hs_prepare_opts o = { .tokenizer = byte,
                                .documents = documents,
                                .field = "text",
                                .sentences = HS_SENTENCES_RULE,
                                .bad_utf8 = HS_BAD_UTF8_REPLACE,
                                .dedup = HS_DEDUP_NEAR };
    hs_prep a = { 0 }, b = { 0 };
    encode(in, &o, 1 << 20, &a);
    encode(in, &o, 1, &b);
    must(b.n_pieces >= a.n_pieces && b.n_ids >= a.n_ids); // of a bad text, what stood before the bad place
    must(a.n_ids == 0 || memcmp(a.ids, b.ids, (size_t)a.n_ids * 2) == 0);
    must(a.n_pieces == 0 || memcmp(a.sketch, b.sketch, (size_t)a.n_pieces * sizeof *a.sketch) == 0);
    int64_t ids = 0;
    for (int64_t i = 0; i < a.n_sentences; i++)
        ids += a.sentence[i];
    must(ids == a.n_ids);
    hs_prep_free(&a);
    hs_prep_free(&b);
}

int hs_fuzz_text(const uint8_t *data, size_t bytes)
{
    char path[64];
    hs_text_input input;
    if (bytes < 2 || !strchr("SLBP", data[0]))
        return 0;
    const hs_text_inputs in = one_file(data + 1, bytes - 1, path, &input, data[0] == 'L');
    if (data[0] == 'S')
        read_store(path);
    else
        read_text(&in, data[0] == 'B' ? HS_DOCUMENTS_BLANK_LINE : HS_DOCUMENTS_FILE);
    close_file(path);
    return 0;
}

#ifdef HS_FUZZ_TEXT
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) { return hs_fuzz_text(data, bytes); }
#endif
