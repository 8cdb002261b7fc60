// tensorboard: the bytes that TensorBoard's own writer makes, read back by a decoder of its own; files sort by session; no torn record.
#include "tests/support/support_files.h"

#include "core/base/rng.h"
#include "data/report/tensorboard.h"
#include <dirent.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// ---- a reader that shares nothing with the writer

static uint32_t slow_masked_crc(const uint8_t *p, size_t n)
{
    uint32_t c = 0xFFFFFFFF;
    for (size_t i = 0; i < 8 * n; i++) {
        const uint32_t bit = (p[i / 8] >> i % 8 & 1) ^ (c & 1);
        c = c >> 1 ^ bit * 0x82F63B78;
    }
    c = ~c;
    return (c >> 15 | c << 17) + 0xA282EAD8;
}

static uint64_t little(const uint8_t *p, int n)
{
    uint64_t v = 0;
    while (n-- > 0)
        v = v << 8 | p[n];
    return v;
}

typedef struct span {
    const uint8_t *p, *end;
} span;
typedef struct field {
    int number, wire;
    uint64_t value;
    span text;
} field;

static uint64_t varint(span *s)
{
    uint64_t v = 0;
    for (int shift = 0;; shift += 7) {
        assert_true(s->p < s->end && shift < 64);
        v |= (uint64_t)(*s->p & 127) << shift;
        if (*s->p++ < 128)
            return v;
    }
}

static bool next_field(span *s, field *f)
{
    if (s->p == s->end)
        return false;
    const uint64_t key = varint(s);
    *f = (field){ .number = (int)(key >> 3), .wire = (int)(key & 7) };
    if (f->wire == 0) {
        f->value = varint(s);
        return true;
    }
    assert_true(f->wire == 1 || f->wire == 2 || f->wire == 5);
    const uint64_t bytes = f->wire == 1 ? 8 : f->wire == 5 ? 4 : varint(s);
    assert_true((uint64_t)(s->end - s->p) >= bytes);
    f->text = (span){ s->p, s->p + bytes };
    if (f->wire != 2)
        f->value = little(s->p, (int)bytes);
    s->p += bytes;
    return true;
}

// The next record's event; both checksums must hold.
static bool next_event(span *s, span *event)
{
    if (s->p == s->end)
        return false;
    assert_true(s->end - s->p >= 16);
    const uint64_t bytes = little(s->p, 8);
    assert_int_equal(little(s->p + 8, 4), slow_masked_crc(s->p, 8));
    assert_true((uint64_t)(s->end - s->p) >= bytes + 16);
    *event = (span){ s->p + 12, s->p + 12 + bytes };
    assert_int_equal(little(event->end, 4), slow_masked_crc(event->p, bytes));
    s->p = event->end + 4;
    return true;
}

typedef struct event {
    double wall_time;
    int64_t step, start; // start: the session_log's status
    span version, summary;
} event;

static bool read_event(span *s, event *e)
{
    span bytes;
    field f, g;
    if (!next_event(s, &bytes))
        return false;
    *e = (event){ 0 };
    while (next_field(&bytes, &f)) {
        if (f.number == 1)
            memcpy(&e->wall_time, &f.value, 8);
        else if (f.number == 2)
            e->step = (int64_t)f.value;
        else if (f.number == 3)
            e->version = f.text;
        else if (f.number == 5)
            e->summary = f.text;
        else {
            assert_int_equal(f.number, 7);
            assert_true(next_field(&f.text, &g) && g.number == 1 && g.wire == 0);
            e->start = (int64_t)g.value;
        }
    }
    return true;
}

static void check_value(span *summary, const char *tag, float value)
{
    field v = { 0 }, name = { 0 }, number = { 0 };
    assert_true(next_field(summary, &v) && v.number == 1);
    assert_true(next_field(&v.text, &name) && name.number == 1 && next_field(&v.text, &number) && number.number == 2 && number.wire == 5);
    assert_int_equal(name.text.end - name.text.p, strlen(tag));
    assert_memory_equal(name.text.p, tag, strlen(tag));
    const uint32_t bits = (uint32_t)number.value;
    assert_memory_equal(&bits, &value, 4);
    assert_true(v.text.p == v.text.end);
}

// ---- folders

static const char *new_folder(const char *name)
{
    const char *path = scratch_path(name);
    assert_int_equal(mkdir(path, 0777), 0);
    return path;
}

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

enum { MAX_FILES = 16, NAME_BYTES = 300 };
// Names of all in a folder, sorted, each as "folder/name".
static int list(const char *folder, char name[MAX_FILES][NAME_BYTES])
{
    DIR *d = opendir(scratch_path(folder));
    assert_non_null(d);
    int n = 0;
    for (const struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.') {
            assert_true(n < MAX_FILES && strlen(e->d_name) < 200);
            snprintf(name[n++], NAME_BYTES, "%s/%.200s", folder, e->d_name);
        }
    closedir(d);
    qsort(name, (size_t)n, NAME_BYTES, by_name);
    return n;
}

static char *only_file(const char *folder, size_t *bytes)
{
    char name[MAX_FILES][NAME_BYTES];
    assert_int_equal(list(folder, name), 1);
    return scratch_read(name[0], bytes);
}

// ---- tests

static void known_checksums(void **state)
{
    (void)state;
    uint8_t b[32];
    assert_int_equal(hs_crc32c(0, "", 0), 0);
    assert_int_equal(hs_crc32c(0, "123456789", 9), 0xE3069283);
    assert_int_equal(hs_crc32c(hs_crc32c(0, "1234", 4), "56789", 5), 0xE3069283);
    // RFC 3720, B.4
    assert_int_equal(hs_crc32c(0, memset(b, 0, 32), 32), 0x8A9136AA);
    assert_int_equal(hs_crc32c(0, memset(b, 0xFF, 32), 32), 0x62A8AB43);
    for (int i = 0; i < 32; i++)
        b[i] = (uint8_t)i;
    assert_int_equal(hs_crc32c(0, b, 32), 0x46DD794E);
    for (int i = 0; i < 32; i++)
        b[i] = (uint8_t)(31 - i);
    assert_int_equal(hs_crc32c(0, b, 32), 0x113FDB5C);
}

// Made by scripts/check_tensorboard.py --vectors with TensorBoard 2.21's protobuf classes and RecordWriter, at wall_time 1700000000.25.
static const char *const records[] = {
    "1800000000000000a37f4b220900001040fc54d9411a0d627261696e2e4576656e743a32338d2fe9",
    "0d000000000000003c37b8340900001040fc54d9413a0208018c8e54cd",
    "1800000000000000a37f4b220900001040fc54d9412a0d0a0b0a047a65726f1500000000a4f5e67c",
    "3700000000000000e7e8ca590900001040fc54d941100a2a2a0a0b0a046c6f737315a47085400a090a026c72156f12833a0a100a09677261645f6e6f"
    "726d150000c0bf2c61bcce",
    "f6000000000000004d1b289a0900001040fc54d941108080808080202ae3010ad0010ac8017474747474747474747474747474747474747474747474"
    "747474747474747474747474747474747474747474747474747474747474747474747474747474747474747474747474747474747474747474747474"
    "747474747474747474747474747474747474747474747474747474747474747474747474747474747474747474747474747474747474747474747474"
    "74747474747474747474747474747474747474747474747474747474747474747474747474747474747474747474747474747474747474747415c216"
    "01000a0e0a076772c3b6c39f651500000080eb9a3db9",
    "200000000000000029eda9500900001040fc54d94110ffffffffffffffffff012a0a0a080a017315ffff7f7f606b4e82",
    "1800000000000000a37f4b220900001040fc54d9411a0d627261696e2e4576656e743a32338d2fe9",
    "100000000000000095fbfe180900001040fc54d94110ad023a020801cb79b93b",
};
enum { N_FIRST = 6 }; // of the first file, the others of the second

static size_t from_hex(const char *hex, uint8_t *out)
{
    size_t n = 0;
    for (unsigned byte; hex[2 * n]; n++) {
        assert_int_equal(sscanf(hex + 2 * n, "%2x", &byte), 1);
        out[n] = (uint8_t)byte;
    }
    return n;
}

// A file must consist of these records, but for the time in them.
static void expect_records(span file, const char *const *hex, int n)
{
    const double when = 1700000000.25;
    uint8_t want[512], got[512];
    span at = file, e;
    for (int i = 0; i < n; i++) {
        const uint8_t *begin = at.p;
        assert_true(next_event(&at, &e));
        const size_t bytes = (size_t)(at.p - begin), event_bytes = (size_t)(e.end - e.p);
        assert_true(bytes <= sizeof got);
        assert_int_equal(from_hex(hex[i], want), bytes);
        memcpy(got, begin, bytes);
        memcpy(got + 13, &when, 8); // behind the header and the key of field 1
        const uint32_t crc = slow_masked_crc(got + 12, event_bytes);
        memcpy(got + 12 + event_bytes, &crc, 4);
        assert_memory_equal(got, want, bytes);
    }
    assert_true(at.p == at.end);
}

static void bytes_of_tensorboard(void **state)
{
    (void)state;
    const char *dir = new_folder("vectors");
    char tag[201] = "", name[MAX_FILES][NAME_BYTES];
    memset(tag, 't', 200);
    hs_tensorboard *w;
    OK(hs_tensorboard_open(&w, dir, -1));
    OK(hs_tensorboard_write(w, 0, &(hs_metric){ "zero", 0 }, 1));
    OK(hs_tensorboard_write(w, 10, (hs_metric[]){ { "loss", 4.17 }, { "lr", 1e-3 }, { "mfu", NAN }, { "grad_norm", -1.5 } }, 4));
    OK(hs_tensorboard_write(w, INT64_C(1) << 40,
                            (hs_metric[]){ { tag, 1e-40 },
                                           { "gr\xC3\xB6\xC3\x9F"
                                             "e",
                                             -0.0 } },
                            2));
    OK(hs_tensorboard_write(w, -1, (hs_metric[]){ { "s", FLT_MAX }, { "t", 1e39 }, { "u", -INFINITY } }, 3));
    OK(hs_tensorboard_write(w, 20, &(hs_metric){ "loss", NAN }, 1)); // nothing to say
    hs_tensorboard_close(w);
    OK(hs_tensorboard_open(&w, dir, 300));
    hs_tensorboard_close(w);
    assert_int_equal(list("vectors", name), 2);
    for (int i = 0; i < 2; i++) {
        size_t n;
        uint8_t *file = (uint8_t *)scratch_read(name[i], &n);
        expect_records((span){ file, file + n }, records + (i ? N_FIRST : 0), i ? HS_COUNT(records) - N_FIRST : N_FIRST);
        free(file);
    }
}

static void reads_back(void **state)
{
    (void)state;
    hs_tensorboard *w;
    const double before = (double)time(NULL);
    OK(hs_tensorboard_open(&w, new_folder("back"), 0));
    enum { STEPS = 500, TAGS = 12 };
    static double value[STEPS][TAGS];
    static char tag[TAGS][160];
    for (int t = 0; t < TAGS; t++)
        snprintf(tag[t], sizeof tag[t], "group/%0*d", 1 + 13 * t, t); // lengths of one and of two bytes
    for (int s = 0; s < STEPS; s++) {
        hs_metric v[TAGS];
        for (int t = 0; t < TAGS; t++) {
            const uint64_t r = hs_mix((uint64_t)(s * TAGS + t));
            value[s][t] = ldexp((double)(r >> 11) - 4503599627370496.0, (int)(r % 200) - 150);
            v[t] = (hs_metric){ tag[t], value[s][t] };
        }
        OK(hs_tensorboard_write(w, 1 + 7 * s, v, 1 + s % TAGS));
    }
    OK(hs_tensorboard_sync(w));

    // The writer is still open: whatever was written can be read.
    size_t n;
    uint8_t *file = (uint8_t *)only_file("back", &n);
    span at = { file, file + n };
    event e;
    assert_true(read_event(&at, &e) && e.version.end - e.version.p == 13 && memcmp(e.version.p, "brain.Event:2", 13) == 0 && e.step == 0);
    assert_true(read_event(&at, &e) && e.start == 1 && e.step == 1);
    for (int s = 0; s < STEPS; s++) {
        assert_true(read_event(&at, &e));
        assert_int_equal(e.step, 1 + 7 * s);
        assert_true(e.wall_time >= before - 600 && e.wall_time <= before + 600);
        for (int t = 0; t <= s % TAGS; t++)
            check_value(&e.summary, tag[t], (float)value[s][t]);
        assert_true(e.summary.p == e.summary.end);
    }
    assert_false(read_event(&at, &e));
    free(file);
    hs_tensorboard_close(w);
}

// Sessions of one second, of a clock that was ahead, beside files of others: the newest always sorts last.
static void names_sort_by_session(void **state)
{
    (void)state;
    const char *dir = new_folder("names");
    static const char *const others[] = { "names/events.out.tfevents.notes", "names/events.out.tfevents.99999999999.x",
                                          "names/events.out.tfevents.4000000000.zzz.9.9", "names/metrics.jsonl" };
    char name[MAX_FILES][NAME_BYTES], newest[NAME_BYTES] = "";
    for (int i = 0; i < 6; i++) {
        hs_tensorboard *w;
        if (i == 3)
            for (int k = 0; k < HS_COUNT(others); k++)
                scratch_write(others[k], "", 0);
        OK(hs_tensorboard_open(&w, dir, i));
        hs_tensorboard_close(w);
        const int n = list("names", name);
        assert_int_equal(n, i < 3 ? i + 1 : i + 5);
        const int last = i < 3 ? i : i + 1; // behind it: those without ten digits
        assert_true(strcmp(name[last], newest) > 0);
        strcpy(newest, name[last]);
        if (i >= 3) {
            char start[64];
            snprintf(start, sizeof start, "names/events.out.tfevents.%u.", 4000000001u - 3 + (unsigned)i);
            assert_memory_equal(newest, start, strlen(start));
        }
    }
    long long when, pid;
    int k;
    char host[NAME_BYTES];
    assert_int_equal(sscanf(strrchr(newest, '/'), "/events.out.tfevents.%10lld.%299s", &when, host), 2);
    char *tail = strrchr(host, '.');
    assert_int_equal(sscanf(tail, ".%d", &k), 1);
    *tail = 0, tail = strrchr(host, '.');
    assert_int_equal(sscanf(tail, ".%lld", &pid), 1);
    assert_int_equal(pid, getpid());
    assert_int_equal(k, 0);
}

// A disk that is full within a record: the record goes, the ones before and behind it stay whole.
static void no_torn_record(void **state)
{
    (void)state;
    hs_tensorboard *w;
    OK(hs_tensorboard_open(&w, new_folder("full"), 0));
    size_t before;
    free(only_file("full", &before));
    struct rlimit old, tight;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    for (size_t room = 0; room < 40; room += 13) {
        tight = old, tight.rlim_cur = before + room;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
        const hs_status st = hs_tensorboard_write(w, 1, (hs_metric[]){ { "loss", 1 }, { "lr", 1 } }, 2);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        FAILS(SYSTEM, "File too large", st);
    }
    OK(hs_tensorboard_write(w, 2, &(hs_metric){ "loss", 2 }, 1));
    hs_tensorboard_close(w);
    size_t n;
    uint8_t *file = (uint8_t *)only_file("full", &n);
    span at = { file, file + n };
    event e;
    assert_true(read_event(&at, &e) && read_event(&at, &e) && read_event(&at, &e));
    assert_int_equal(e.step, 2);
    assert_false(read_event(&at, &e));
    free(file);

    // Not even its start fits: no file is left.
    const char *dir = new_folder("none");
    char name[MAX_FILES][NAME_BYTES];
    tight = old, tight.rlim_cur = 50;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    const hs_status st = hs_tensorboard_open(&w, dir, 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    FAILS(SYSTEM, "cannot write", st);
    assert_null(w);
    assert_int_equal(list("none", name), 0);
}

static void refused(void **state)
{
    (void)state;
    hs_tensorboard *w;
    FAILS(SYSTEM, "No such file", hs_tensorboard_open(&w, scratch_path("absent"), 0));
    assert_null(w);
    scratch_write("file", "", 0);
    FAILS(SYSTEM, "Not a directory", hs_tensorboard_open(&w, scratch_path("file"), 0));
    hs_tensorboard_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(known_checksums), cmocka_unit_test(bytes_of_tensorboard),
                                        cmocka_unit_test(reads_back),      cmocka_unit_test(names_sort_by_session),
                                        cmocka_unit_test(no_torn_record),  cmocka_unit_test(refused) };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
