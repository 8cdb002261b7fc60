// token store: what is written is read, in 2 and in 4 bytes an id; every damaged file is refused with a line.
#include "tests/support/support_files.h"

#include "core/base/rng.h"
#include "data/base/file.h"
#include "data/text/store_writer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { N = 10007 };

static int32_t *some_ids(int64_t n, int64_t vocab)
{
    int32_t *ids = malloc((size_t)n * sizeof *ids);
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int32_t)(hs_mix((uint64_t)i) % (uint64_t)vocab);
    ids[0] = (int32_t)(vocab - 1);
    return ids;
}

static void written_and_read(void **state)
{
    (void)state;
    static const int64_t vocabs[] = { 1, 65, 50257, 65536, 65537, 2000000 };
    const int64_t starts[] = { 0, 100, 100, 5000, N };
    for (int v = 0; v < HS_COUNT(vocabs); v++) {
        int32_t *ids = some_ids(N, vocabs[v]), back[N];
        OK(hs_token_store_write(scratch_path("t.bin"), ids, N, starts, 4, vocabs[v], 42));
        struct stat st;
        assert_int_equal(stat(scratch_path("t.bin"), &st), 0);
        const long id_bytes = vocabs[v] <= 65536 ? 2 : 4;
        assert_int_equal(st.st_size, 64 + (N * id_bytes + 7) / 8 * 8 + 5 * 8);

        hs_token_store *s, *memory;
        OK(hs_token_store_open(&s, scratch_path("t.bin")));
        OK(hs_token_store_verify(s));
        const hs_token_store_info info = hs_token_store_info_of(s);
        assert_int_equal(info.n_tokens, N);
        assert_int_equal(info.n_documents, 4);
        assert_int_equal(info.vocab, vocabs[v]);
        assert_int_equal(info.tokenizer_hash, 42);
        hs_token_store_read(s, 0, N, back);
        assert_memory_equal(back, ids, sizeof back);
        hs_token_store_read(s, 77, 5, back);
        assert_memory_equal(back, ids + 77, 5 * sizeof *ids);
        int64_t first, end;
        hs_token_store_document(s, 2, &first, &end);
        assert_int_equal(first, 100);
        assert_int_equal(end, 5000);
        hs_token_store_close(s);

        // One document in memory has the checksum of the same one in a file.
        OK(hs_token_store_write(scratch_path("t.bin"), ids, N, NULL, 0, vocabs[v], 42));
        OK(hs_token_store_open(&s, scratch_path("t.bin")));
        OK(hs_token_store_from_ids(&memory, ids, N, vocabs[v], 42));
        OK(hs_token_store_verify(memory));
        assert_true(hs_token_store_info_of(memory).content_hash == hs_token_store_info_of(s).content_hash);
        hs_token_store_document(memory, 0, &first, &end);
        assert_int_equal(end - first, N);
        hs_token_store_close(s);
        hs_token_store_close(memory);
    }
    assert_int_equal(scratch_count(), 1); // no temporary file is left
}

static void put_document(hs_store_writer *w, const int32_t *ids, const int *sentence, int n)
{
    for (int i = 0; i < n; ids += sentence[i++]) {
        OK(hs_store_writer_ids(w, ids, sentence[i]));
        OK(hs_store_writer_sentence(w));
    }
    OK(hs_store_writer_document(w));
}

static void streamed_with_sentences(void **state)
{
    (void)state;
    int32_t *ids = some_ids(20, 65), back[20];
    hs_store_writer *w;
    OK(hs_store_writer_open(&w, scratch_path("s.bin"), 65, 42, true));
    put_document(w, ids, (int[]){ 3, 0, 4 }, 3); // an empty sentence is none
    put_document(w, ids + 7, NULL, 0);
    OK(hs_store_writer_ids(w, ids + 7, 5)); // a sentence that only its document ends
    OK(hs_store_writer_document(w));
    OK(hs_store_writer_ids(w, ids + 12, 8)); // a document that only the store ends
    assert_int_equal(hs_store_writer_tokens(w), 20);
    assert_int_equal(hs_store_writer_documents(w), 3);
    OK(hs_store_writer_commit(w));

    hs_token_store *s;
    OK(hs_token_store_open(&s, scratch_path("s.bin")));
    OK(hs_token_store_verify(s));
    const hs_token_store_info info = hs_token_store_info_of(s);
    assert_int_equal(info.n_documents, 4);
    assert_int_equal(info.n_sentences, 4);
    hs_token_store_read(s, 0, 20, back);
    assert_memory_equal(back, ids, sizeof back);
    static const int64_t want[4][2] = { { 0, 2 }, { 0, 0 }, { 2, 3 }, { 3, 4 } },
                         tokens[4][2] = { { 0, 3 }, { 3, 7 }, { 7, 12 }, { 12, 20 } };
    int64_t range[2];
    for (int d = 0; d < 4; d++) {
        OK(hs_token_store_sentences(s, d, &range[0], &range[1]));
        assert_memory_equal(range, want[d], sizeof range);
        OK(hs_token_store_sentence(s, d, &range[0], &range[1]));
        assert_memory_equal(range, tokens[d], sizeof range);
    }
    hs_token_store_close(s);

    // A table that does not ascend is found when it is used.
    size_t n;
    char *bytes = scratch_read("s.bin", &n);
    bytes[n - 8 * 4] = 9; // the second sentence's start
    scratch_write("s.bin", bytes, n);
    OK(hs_token_store_open(&s, scratch_path("s.bin")));
    FAILS(CORRUPT, "sentence 1 spans tokens 9 to 7", hs_token_store_sentence(s, 1, &range[0], &range[1]));
    FAILS(CORRUPT, "checksum", hs_token_store_verify(s));
    hs_token_store_close(s);
    bytes[n - 8 * 4] = 3, bytes[n - 8 * 3] = 8; // no sentence begins where the third document does
    scratch_write("s.bin", bytes, n);
    OK(hs_token_store_open(&s, scratch_path("s.bin")));
    FAILS(CORRUPT, "document 2 spans tokens 7 to 12, its sentences 3 to 12", hs_token_store_sentences(s, 2, &range[0], &range[1]));
    hs_token_store_close(s);
    bytes[n - 8] = 21;
    scratch_write("s.bin", bytes, n);
    FAILS(CORRUPT, "sentences span", hs_token_store_open(&s, scratch_path("s.bin")));
    free(bytes);
    free(ids);

    const int count = scratch_count();
    OK(hs_store_writer_open(&w, scratch_path("none.bin"), 65, 42, true));
    FAILS(USAGE, "id 65 at token 0", hs_store_writer_ids(w, (int32_t[]){ 65 }, 1));
    hs_store_writer_discard(w);
    OK(hs_store_writer_open(&w, scratch_path("none.bin"), 65, 42, false));
    OK(hs_store_writer_document(w));
    FAILS(USAGE, "0 tokens", hs_store_writer_commit(w));
    assert_int_equal(scratch_count(), count);
}

static void refused_to_write(void **state)
{
    (void)state;
    int32_t ids[4] = { 0, 1, 2, 65 };
    hs_token_store *s;
    FAILS(USAGE, "id 65 at token 3 is outside the vocabulary of 65", hs_token_store_write(scratch_path("x"), ids, 4, NULL, 0, 65, 0));
    FAILS(USAGE, "0 tokens", hs_token_store_write(scratch_path("x"), ids, 0, NULL, 0, 65, 0));
    FAILS(USAGE, "documents span", hs_token_store_write(scratch_path("x"), ids, 3, (int64_t[]){ 0, 2 }, 1, 65, 0));
    FAILS(USAGE, "document 1 starts at 3", hs_token_store_write(scratch_path("x"), ids, 3, (int64_t[]){ 0, 3, 2, 3 }, 3, 65, 0));
    FAILS(SYSTEM, "cannot write", hs_token_store_write(scratch_path("absent/x"), ids, 3, NULL, 0, 65, 0));
    int32_t *bad = malloc(sizeof *bad);
    *bad = -1;
    FAILS(USAGE, "id -1", hs_token_store_from_ids(&s, bad, 1, 65, 0));
    assert_null(s);
    FAILS(USAGE, "0 tokens", hs_token_store_from_ids(&s, malloc(4), 0, 65, 0));
    assert_int_equal(access(scratch_path("x"), F_OK), -1);
}

// Writes to /dev/full fail as a full disk does: only when the buffer goes out, or at the sync.
static void full_disk(void **state)
{
    (void)state;
    hs_file_out o = { .path = strdup("full"), .temporary = strdup(scratch_path("none")), .f = fopen("/dev/full", "w") };
    if (!o.f) {
        hs_file_discard(&o);
        skip();
    }
    OK(hs_file_write(&o, "abc", 3));
    FAILS(SYSTEM, "No space left", hs_file_commit(&o));
}

static void opens(const char *bytes, size_t n, hs_status st, const char *part)
{
    hs_token_store *s;
    scratch_write("d.bin", bytes, n);
    expect_error(hs_token_store_open(&s, scratch_path("d.bin")), st, part, __FILE__, __LINE__);
    assert_null(s);
}

static void damaged_files(void **state)
{
    (void)state;
    int32_t *ids = some_ids(1001, 65);
    OK(hs_token_store_write(scratch_path("g.bin"), ids, 1001, (int64_t[]){ 0, 500, 1001 }, 2, 65, 7));
    free(ids);
    size_t n;
    char *good = scratch_read("g.bin", &n), *bad = malloc(n + 8);
    hs_token_store *s;

    for (size_t cut = 1; cut < n; cut += cut < 80 ? 1 : 97)
        opens(good, cut, HS_CORRUPT, cut < 64 ? "too short" : "");
    opens(good, 0, HS_USAGE, "is empty");
    memcpy(bad, good, n);
    opens(bad, n + 8, HS_CORRUPT, "its header promises");
    memcpy(bad, good, n), bad[3] = 'x';
    opens(bad, n, HS_CORRUPT, "HSTOKEN1");
    memcpy(bad, good, n), bad[8] = 3;
    opens(bad, n, HS_CORRUPT, "3 bytes per id");
    memcpy(bad, good, n), bad[12] = 2;
    opens(bad, n, HS_UNSUPPORTED, "later version");
    memcpy(bad, good, n), bad[12] = 1;
    opens(bad, n, HS_CORRUPT, "0 sentences in 1001 tokens");
    memcpy(bad, good, n), bad[56] = 1; // sentences without the flag
    opens(bad, n, HS_UNSUPPORTED, "later version");
    memcpy(bad, good, n), bad[12] = bad[56] = 1;
    opens(bad, n, HS_CORRUPT, "truncated");
    memcpy(bad, good, n), memset(bad + 32, 0xFF, 8);
    opens(bad, n, HS_CORRUPT, "do not fit");
    memcpy(bad, good, n), memset(bad + 40, 0x10, 8);
    opens(bad, n, HS_CORRUPT, "do not fit");
    memcpy(bad, good, n), bad[16] = 0;
    opens(bad, n, HS_CORRUPT, "vocabulary of 0");
    memcpy(bad, good, n), bad[n - 16 + 3] = 1; // the second document's start
    opens(bad, n, HS_CORRUPT, "document 1 starts at token");
    memcpy(bad, good, n), bad[n - 1] = 1; // the last document's end
    opens(bad, n, HS_CORRUPT, "documents span");

    // Contents are looked at only when asked: opening stays instant.
    memcpy(bad, good, n), bad[100] ^= 1;
    scratch_write("d.bin", bad, n);
    OK(hs_token_store_open(&s, scratch_path("d.bin")));
    FAILS(CORRUPT, "checksum", hs_token_store_verify(s));
    hs_token_store_close(s);
    FAILS(USAGE, "no such file", hs_token_store_open(&s, scratch_path("absent")));
    FAILS(USAGE, "is a folder", hs_token_store_open(&s, scratch_path("")));
    free(bad);
    free(good);
}

// A store whose checksum is right but whose ids are not, as another program could write it.
static void ids_beyond_the_vocabulary(void **state)
{
    (void)state;
    int32_t *ids = some_ids(100, 65);
    OK(hs_token_store_write(scratch_path("v.bin"), ids, 100, NULL, 0, 65, 7));
    free(ids);
    size_t n;
    char *bytes = scratch_read("v.bin", &n);
    bytes[16] = 64; // vocabulary; ids[0] is 64
    scratch_write("v.bin", bytes, n);
    free(bytes);
    hs_token_store *s;
    OK(hs_token_store_open(&s, scratch_path("v.bin")));
    FAILS(CORRUPT, "id 64 at token 0 is outside its vocabulary of 64", hs_token_store_verify(s));
    hs_token_store_close(s);
}

// Two thousand damaged files: a line or success, never a crash; what opens can be read to its end.
static void mutated_files(void **state)
{
    (void)state;
    int32_t *ids = some_ids(60, 65), back[256];
    OK(hs_token_store_write(scratch_path("g.bin"), ids, 60, (int64_t[]){ 0, 20, 60 }, 2, 65, 7));
    free(ids);
    size_t n;
    char *good = scratch_read("g.bin", &n), bad[512];
    assert_in_range(n, 1, sizeof bad);
    for (uint64_t seed = 0; seed < 2000; seed++) {
        memcpy(bad, good, n);
        for (uint64_t k = 0; k <= hs_mix(seed) % 3; k++) { // mostly in the header, where it hurts
            const uint64_t r = hs_mix2(seed, k);
            bad[r % 4 ? (r >> 8) % 64 : (r >> 8) % n] = (char)(r >> 40 & 1 ? r >> 48 : 0);
        }
        const uint64_t r = hs_mix2(seed, 1000);
        scratch_write("m.bin", bad, r % 8 ? n : (r >> 8) % n);
        hs_token_store *s;
        const hs_status st = hs_token_store_open(&s, scratch_path("m.bin"));
        if (st != HS_OK) {
            assert_true(hs_error()[0] && !s);
            continue;
        }
        hs_token_store_verify(s);
        const int64_t n_tokens = hs_token_store_info_of(s).n_tokens;
        assert_in_range(n_tokens, 1, HS_COUNT(back));
        hs_token_store_read(s, 0, n_tokens, back);
        hs_token_store_close(s);
    }
    free(good);
}

static void files(void **state)
{
    (void)state;
    hs_file f;
    scratch_write("f", "some text", 9);
    OK(hs_file_map(&f, scratch_path("f")));
    assert_int_equal(f.bytes, 9);
    assert_memory_equal(f.data, "some text", 9);
    hs_file_unmap(&f);
    hs_file_unmap(&f);
    scratch_write("e", "", 0);
    FAILS(USAGE, "is empty", hs_file_map(&f, scratch_path("e")));
    FAILS(USAGE, "no such file", hs_file_map(&f, scratch_path("absent")));
    FAILS(USAGE, "is a folder", hs_file_map(&f, scratch_path("")));
    FAILS(USAGE, "is empty", hs_file_map(&f, "/dev/null"));
    FAILS(USAGE, "is a device", hs_file_map(&f, "/dev/zero"));

    // A pipe of more than a megabyte: a stream grows as it comes.
    enum { BYTES = 3 << 20 };
    char command[1100], path[64];
    snprintf(command, sizeof command, "yes 123456789 | head -c %d", BYTES);
    FILE *p = popen(command, "r");
    snprintf(path, sizeof path, "/dev/fd/%d", fileno(p));
    OK(hs_file_map(&f, path));
    pclose(p);
    assert_int_equal(f.bytes, BYTES);
    for (int i = 0; i < BYTES; i++)
        assert_int_equal(f.data[i], "123456789\n"[i % 10]);
    hs_file_unmap(&f);

    OK(hs_file_save(scratch_path("f"), "new", 3)); // over an old file, and nothing else beside it
    size_t n;
    char *text;
    OK(hs_file_read(scratch_path("f"), &text, &n));
    assert_string_equal(text, "new");
    free(text);
    hs_file_out o;
    OK(hs_file_create(&o, scratch_path("f")));
    OK(hs_file_write(&o, "half", 4));
    hs_file_discard(&o);
    OK(hs_file_read(scratch_path("f"), &text, &n));
    assert_string_equal(text, "new");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_and_read), cmocka_unit_test(streamed_with_sentences),
        cmocka_unit_test(refused_to_write), cmocka_unit_test(full_disk),
        cmocka_unit_test(damaged_files),    cmocka_unit_test(ids_beyond_the_vocabulary),
        cmocka_unit_test(mutated_files),    cmocka_unit_test(files),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
