// text_kind: a table of what files begin with, a look at bytes that no text has, and a look at what may be JSON.
#include "data/text/text_kind.h"
#include "data/base/utf8.h"
#include "data/formats/megatron.h"
#include "data/text/json_record.h"
#include <stdio.h>
#include <string.h>

// ---- what a file begins with

#define UNPACK(with) "unpack it: " with
#define TEXT_OF      "export its text columns as JSON lines"
#define TOKENS       "halfstep data convert makes a token store of it"
#define WEIGHTS      "these are weights, not a text"
#define AS_TEXT      "save its text as plain text"
#define NO_USE       "leave it out"

static const struct magic {
    int at, bytes;
    const char *begin, *what, *advice;
} magics[] = {
    { 0, 8, "HSTOKEN1", "a file of token ids (store)", "data.train and eval --data take it by its name" },
    { 0, 8, "\x89HDF\r\n\x1a\n", "a file of token ids (hdf5) or other HDF5 data", TOKENS },
    { 0, 8, "MMIDIDX\0", "a file of token ids (megatron), its index", TOKENS },
    { 0, 4, "\x88\xD8\x34\x01", "a file of token ids (llmc)", TOKENS }, // 20240520
    { 0, 4, "\xA1\xD9\x34\x01", "a file of token ids (llmc)", TOKENS }, // 20240801
    { 0, 8, "HSPART01", "a part that halfstep prepare keeps for a restart", "run the same halfstep prepare again" },

    { 0, 3, "BZh", "packed with bzip2", UNPACK("bzip2 -dc FILE | halfstep prepare ... -") },
    { 0, 6, "\xFD" "7zXZ\0", "packed with xz", UNPACK("xz -dc FILE | halfstep prepare ... -") },
    { 0, 5, "\x5D\0\0\x80\0", "packed with lzma", UNPACK("xz -dc FILE | halfstep prepare ... -") },
    { 0, 4, "\x04\x22\x4D\x18", "packed with lz4", UNPACK("lz4 -dc FILE | halfstep prepare ... -") },
    { 0, 4, "LZIP", "packed with lzip", UNPACK("lzip -dc FILE | halfstep prepare ... -") },
    { 0, 9, "\x89LZO\0\r\n\x1a\n", "packed with lzop", UNPACK("lzop -dc FILE | halfstep prepare ... -") },
    { 0, 2, "\x1F\x9D", "packed with compress", UNPACK("uncompress -c FILE | halfstep prepare ... -") },
    { 0, 10, "\xFF\x06\0\0sNaPpY", "packed with Snappy", UNPACK("snzip -dc FILE | halfstep prepare ... -") },
    { 0, 2, "\x1F\x8B", "packed with gzip twice", UNPACK("gunzip -c FILE | halfstep prepare ... -") },
    { 0, 4, "\x28\xB5\x2F\xFD", "packed with Zstandard twice", UNPACK("zstd -dc FILE | halfstep prepare ... -") },
    { 0, 6, "7z\xBC\xAF\x27\x1C", "a 7-Zip archive", UNPACK("7z x FILE") },
    { 0, 6, "Rar!\x1A\x07", "a rar archive", UNPACK("unrar x FILE") },
    { 257, 5, "ustar", "a tar archive", UNPACK("tar -xf FILE, then name the folder") },
    { 0, 8, "!<arch>\n", "an ar archive", UNPACK("ar x FILE") },
    { 0, 6, "070701", "a cpio archive", UNPACK("cpio -i <FILE") },

    { 0, 4, "PAR1", "a Parquet file", TEXT_OF " (pandas.read_parquet(FILE).to_json(OUT, orient='records', lines=True))" },
    { 0, 6, "ARROW1", "an Arrow (Feather) file", TEXT_OF },
    { 0, 4, "FEA1", "a Feather file", TEXT_OF },
    { 0, 4, "\xFF\xFF\xFF\xFF", "a stream of Arrow, as Hugging Face datasets keep it", TEXT_OF " (Dataset.to_json)" },
    { 0, 3, "ORC", "an ORC file", TEXT_OF },
    { 0, 4, "Obj\x01", "an Avro file", TEXT_OF },
    { 0, 16, "SQLite format 3\0", "a database of SQLite", TEXT_OF },
    { 0, 6, "\x93NUMPY", "an array of NumPy", "halfstep trains on texts and token stores" },
    { 0, 4, "GGUF", "a model in GGUF", WEIGHTS },
    { 0, 4, "ggml", "a model in GGML", WEIGHTS },

    { 0, 8, "\x89PNG\r\n\x1a\n", "a PNG image", NO_USE },
    { 0, 3, "\xFF\xD8\xFF", "a JPEG image", NO_USE },
    { 0, 4, "GIF8", "a GIF image", NO_USE },
    { 0, 4, "II*\0", "a TIFF image", NO_USE },
    { 0, 4, "MM\0*", "a TIFF image", NO_USE },
    { 8, 4, "WEBP", "a WebP image", NO_USE },
    { 4, 8, "ftypheic", "a HEIF image", NO_USE },
    { 4, 4, "ftyp", "a video or sound file (MP4)", NO_USE },
    { 8, 4, "WAVE", "a sound file (WAV)", NO_USE },
    { 8, 4, "AVI ", "a video file (AVI)", NO_USE },
    { 0, 4, "OggS", "a sound or video file (Ogg)", NO_USE },
    { 0, 4, "fLaC", "a sound file (FLAC)", NO_USE },
    { 0, 4, "ID3\x03", "a sound file (MP3)", NO_USE },
    { 0, 4, "ID3\x04", "a sound file (MP3)", NO_USE },
    { 0, 4, "\x1A\x45\xDF\xA3", "a video file (Matroska)", NO_USE },
    { 0, 4, "\x7F" "ELF", "a program (ELF)", NO_USE },
    { 0, 4, "\xCF\xFA\xED\xFE", "a program (Mach-O)", NO_USE },
    { 0, 4, "\xCA\xFE\xBA\xBE", "a program (Java or Mach-O)", NO_USE },
    { 0, 4, "\0asm", "a program (WebAssembly)", NO_USE },
    { 0, 8, "\0\0\0\1Bud1", "what macOS keeps beside files (.DS_Store)", NO_USE },

    { 0, 5, "%PDF-", "a PDF document", "take its text out: pdftotext FILE" },
    { 0, 5, "{\\rtf", "an RTF document", AS_TEXT },
    { 0, 8, "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", "a document of Microsoft Office", AS_TEXT },
    { 0, 8, "AT&TFORM", "a DjVu document", AS_TEXT },
    { 0, 42, "version https://git-lfs.github.com/spec/v1", "a pointer of git-lfs, not the file itself", "git lfs pull brings that" },
};

// What a zip archive holds, by its first members.
static const struct member {
    const char *name, *what, *advice;
} members[] = {
    { "data.pkl", "a PyTorch checkpoint", WEIGHTS },
    { "/version", "a PyTorch checkpoint", WEIGHTS },
    { ".npy", "arrays of NumPy", "halfstep trains on texts and token stores" },
    { "[Content_Types].xml", "a document of Microsoft Office", AS_TEXT },
    { "_rels/.rels", "a document of Microsoft Office", AS_TEXT },
    { "docProps/", "a document of Microsoft Office", AS_TEXT },
    { "word/document.xml", "a document of Microsoft Office", AS_TEXT },
    { "xl/workbook.xml", "a document of Microsoft Office", AS_TEXT },
    { "ppt/presentation.xml", "a document of Microsoft Office", AS_TEXT },
    { "mimetypeapplication/epub", "a book in EPUB", AS_TEXT },
    { "mimetypeapplication/vnd.oasis", "a document of OpenOffice", AS_TEXT },
    { "META-INF/", "a Java archive", NO_USE },
};

typedef struct seen {
    const char *what, *advice;
} seen;

static bool has(const unsigned char *p, size_t bytes, int at, const char *what, size_t n)
{
    return (size_t)at + n <= bytes && memcmp(p + at, what, n) == 0;
}

static seen zip_of(const unsigned char *p, size_t bytes)
{
    enum { HEADER = 30, NAME = 26 };
    const size_t n = bytes > HEADER ? (size_t)(p[NAME] | p[NAME + 1] << 8) : 0, shown = bytes > HEADER ? bytes - HEADER : 0;
    const size_t look = shown < 256 ? shown : 256; // the first name, and what is stored behind it
    for (int i = 0; i < HS_COUNT(members); i++) {
        const size_t m = strlen(members[i].name), room = members[i].name[0] == 'm' ? look : n < look ? n : look;
        for (size_t k = 0; k + m <= room; k++)
            if (memcmp(p + HEADER + k, members[i].name, m) == 0)
                return (seen){ members[i].what, members[i].advice };
    }
    return (seen){ "a zip archive", UNPACK("unzip -p FILE | halfstep prepare ... -") };
}

// The length of a header, then its JSON.
static bool is_safetensors(const unsigned char *p, size_t bytes)
{
    return bytes >= 10 && p[3] < 0x10 && memcmp(p + 4, "\0\0\0\0{", 5) == 0 && (p[9] == '"' || p[9] == '}');
}

// 0x80, a protocol, and an opcode that begins one: what torch.save wrote before it wrote zip archives, and pickle.dump.
static bool is_pickle(const unsigned char *p, size_t bytes)
{
    static const char opcodes[] = "\x8a\x95]})(cNKX\x8c"; // a zero, which ends them, is none
    return bytes >= 3 && p[0] == 0x80 && p[1] >= 2 && p[1] <= 5 && memchr(opcodes, p[2], sizeof opcodes - 1);
}

static bool is_clean(const unsigned char *p, size_t bytes)
{
    const size_t bad = hs_utf8_find_bad((const char *)p, bytes, 0);
    return bad == bytes || (bytes >= HS_TEXT_HEAD && bytes - bad < 4); // a character that the head cuts
}

// A text may begin with a word like ORC or PAR1, or have one a little later: then there must be bytes that no text has.
static bool is_sure(const struct magic *m)
{
    bool word = true;
    for (int i = 0; i < m->bytes; i++)
        word = word && ((m->begin[i] >= '0' && m->begin[i] <= '9') || ((m->begin[i] | 0x20) >= 'a' && (m->begin[i] | 0x20) <= 'z'));
    return m->at == 0 && !word;
}

static seen magic_of(const char *path, const unsigned char *p, size_t bytes)
{
    for (int i = 0; i < HS_COUNT(magics); i++)
        if (has(p, bytes, magics[i].at, magics[i].begin, (size_t)magics[i].bytes) && (is_sure(&magics[i]) || !is_clean(p, bytes)))
            return (seen){ magics[i].what, magics[i].advice };
    if (has(p, bytes, 0, "PK\3\4", 4) || has(p, bytes, 0, "PK\5\6", 4))
        return zip_of(p, bytes);
    if (is_safetensors(p, bytes))
        return (seen){ "a safetensors file", WEIGHTS };
    if (is_pickle(p, bytes))
        return (seen){ "a pickle of Python (a PyTorch checkpoint?)", "save what it holds as plain text" };
    if (has(p, bytes, 0, "MZ", 2) && memchr(p, 0, bytes))
        return (seen){ "a program (Windows)", NO_USE };
    if (has(p, bytes, 0, "BM", 2) && has(p, bytes, 6, "\0\0\0\0", 4))
        return (seen){ "a BMP image", NO_USE };
    const size_t n = strlen(path);
    if (n > 4 && strcmp(path + n - 4, ".bin") == 0 && hs_megatron_is(path))
        return (seen){ "a file of token ids (megatron)", TOKENS };
    return (seen){ 0 };
}

// ---- bytes that no text has

typedef struct counts {
    size_t zero[4], bad, control; // zeros by place modulo 4; bytes that are no UTF-8; control characters that no text has
} counts;

static counts count(const unsigned char *p, size_t bytes, bool whole)
{
    counts c = { 0 };
    for (size_t i = 0; i < bytes;) {
        const int n = hs_utf8_length(p + i, bytes - i);
        if (n == 0 && !whole && bytes - i < 4) // a character that the head cuts
            break;
        c.zero[i % 4] += p[i] == 0;
        c.bad += n == 0;
        c.control += p[i] > 0 && (p[i] < '\b' || (p[i] > '\r' && p[i] < 0x1B) || (p[i] > 0x1B && p[i] < ' '));
        i += n ? (size_t)n : 1;
    }
    return c;
}

// Each of these is what a file without a mark may be, so the advice says both.
#define UNITS(name, code)                                                                                                                  \
    {                                                                                                                                      \
        "a file with zeros between its bytes, as in " name " without a byte order mark or in bare token ids",                              \
            "iconv -f " code " -t UTF-8 makes a text of the one; of ids halfstep reads files that say so (halfstep help data)"             \
    }
static const seen units[] = { UNITS("UTF-16", "UTF-16LE"), UNITS("UTF-16", "UTF-16BE"), UNITS("UTF-32", "UTF-32LE"),
                              UNITS("UTF-32", "UTF-32BE") };

static seen binary_of(const unsigned char *p, size_t bytes)
{
    const counts c = count(p, bytes, bytes < HS_TEXT_HEAD);
    const size_t even = c.zero[0] + c.zero[2], odd = c.zero[1] + c.zero[3], zeros = even + odd, half = bytes / 2;
    if (bytes >= 8 && zeros >= bytes * 7 / 10 && (c.zero[0] == 0 || c.zero[3] == 0) && c.zero[1] + c.zero[2] >= half * 9 / 10)
        return units[2 + (c.zero[3] == 0)];
    if (bytes >= 4 && odd * 10 >= half * 6 && even * 20 <= half)
        return units[0];
    if (bytes >= 4 && even * 10 >= half * 6 && odd * 20 <= half)
        return units[1];
    if ((zeros * 100 > bytes && (zeros >= 8 || c.bad + c.control > 0)) || (c.control * 50 > bytes && c.bad * 50 > bytes))
        return (seen){ "binary data, not of a kind known here", "bare token ids, UTF-16 without a byte order mark, a packed or an encrypted file? Texts are UTF-8" };
    return (seen){ 0 };
}

static seen look(const char *path, const void *head, size_t bytes)
{
    const unsigned char *p = head;
    const seen known = magic_of(path, p, bytes);
    if (known.what || hs_text_code_of(p, bytes).unit > 1)
        return known;
    return binary_of(p, bytes);
}

const char *hs_text_what(const char *path, const void *head, size_t bytes) { return look(path, head, bytes).what; }

hs_status hs_text_refuse(const char *path, const void *head, size_t bytes)
{
    const seen s = look(path, head, bytes);
    return s.what ? HS_FAIL(USAGE, "%s is no text but %s; %s", path, s.what, s.advice) : HS_OK;
}

// ---- text

hs_text_code hs_text_code_of(const void *head, size_t bytes)
{
    static const struct {
        const char *mark;
        hs_text_code code;
    } marks[] = { { "\xFF\xFE\0\0", { 4, 4, false } },
                  { "\0\0\xFE\xFF", { 4, 4, true } },
                  { "\xFF\xFE", { 2, 2, false } },
                  { "\xFE\xFF", { 2, 2, true } },
                  { "\xEF\xBB\xBF", { 1, 3, false } } };
    for (int i = 0; i < HS_COUNT(marks); i++)
        if (has(head, bytes, 0, marks[i].mark, (size_t)marks[i].code.mark))
            return marks[i].code;
    return (hs_text_code){ .unit = 1 };
}

enum { CUT = 0xFE, NO_CHARACTER = 0xFF, SURROGATE = 0xED }; // what the decoder gives; the last is the first of three bytes

hs_status hs_text_bad_byte(const char *path, int unit, long long line, long long byte, char bad, const char *way)
{
    const unsigned char c = (unsigned char)bad;
    if (unit > 1 && c == CUT)
        return HS_FAIL(USAGE, "%s is UTF-%d, but its bytes are no multiple of %d: the last character is cut%s%s", path, 8 * unit, unit,
                       unit == 2 ? " (an odd number of bytes); " : "; ", way);
    if (unit > 1)
        return HS_FAIL(USAGE, "%s:%lld: this UTF-%d has %s; %s", path, line, 8 * unit,
                       c == 0           ? "a character of zero, which no text has"
                       : c == SURROGATE ? "half of a surrogate pair"
                                        : "a number beyond U+10FFFF",
                       way);
    if (c == 0)
        return HS_FAIL(USAGE, "%s:%lld: byte %lld is zero, which no text has; %s", path, line, byte, way);
    return HS_FAIL(USAGE, "%s:%lld: byte %lld (0x%02x) is not valid UTF-8; iconv -f ISO-8859-1 -t UTF-8 converts Latin-1, %s", path, line,
                   byte, c, way);
}

hs_status hs_text_check_utf8(const char *path, int unit, const char *text, size_t bytes)
{
    const size_t bad = hs_utf8_find_bad(text, bytes, 0);
    long long line = 1;
    if (bad == bytes)
        return HS_OK;
    for (size_t i = 0; i < bad; i++)
        line += text[i] == '\n';
    return hs_text_bad_byte(path, unit, line, (long long)bad, text[bad], "halfstep prepare --utf8 replace or keep takes it as it is");
}

static size_t put(hs_text_decoder *d, uint32_t c, char *out)
{
    size_t n = 0;
    if (d->high && c >= 0xDC00 && c < 0xE000) {
        c = 0x10000 + ((d->high - 0xD800) << 10) + (c - 0xDC00);
        d->high = 0;
    } else if (d->high) {
        n = (size_t)hs_utf8_put(out, d->high);
        d->high = 0;
    }
    if (d->code.unit == 2 && c >= 0xD800 && c < 0xDC00)
        d->high = c;
    else if (c >= HS_UTF8_RAW)
        out[n++] = (char)NO_CHARACTER;
    else
        n += (size_t)hs_utf8_put(out + n, c);
    return n;
}

size_t hs_text_decode(hs_text_decoder *d, const void *in, size_t bytes, bool last, char *out)
{
    const unsigned char *p = in;
    const int unit = d->code.unit;
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        d->rest[d->n_rest++] = p[i];
        if (d->n_rest < unit)
            continue;
        uint32_t c = 0;
        for (int k = 0; k < unit; k++)
            c |= (uint32_t)d->rest[k] << 8 * (d->code.big ? unit - 1 - k : k);
        n += put(d, c, out + n);
        d->n_rest = 0;
    }
    if (last && d->high)
        n += (size_t)hs_utf8_put(out + n, d->high);
    if (last && d->n_rest)
        out[n++] = (char)CUT;
    if (last)
        d->high = 0, d->n_rest = 0;
    return n;
}

// ---- JSON

// The record separator of RFC 7464 stands before each record.
static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == 0x1E; }

// The next record of the head that is there as a whole: a line, or a value. False: there is none.
typedef struct cursor {
    const char *p, *end;
    hs_text_form form;
} cursor;
static bool next_record(cursor *c, const char **record, size_t *bytes)
{
    while (c->p < c->end && (is_space(*c->p) || (c->form == HS_TEXT_JSON_VALUES && strchr(",[]", *c->p))))
        c->p++;
    const size_t left = (size_t)(c->end - c->p);
    if (left == 0)
        return false;
    *record = c->p;
    if (c->form == HS_TEXT_JSON_LINES) {
        const char *feed = memchr(c->p, '\n', left);
        *bytes = feed ? (size_t)(feed - c->p) : left;
    } else {
        hs_json_scan scan = { 0 };
        *bytes = hs_json_scan_to_end(&scan, c->p, left);
    }
    c->p += *bytes;
    return true;
}

typedef struct tally { // of the keys whose values are strings
    struct {
        hs_json_string key;
        int n; // records that have it
    } key[16];
    int n_keys, records;
    bool more; // keys than there is room for
} tally;

static bool same_key(const hs_json_string *a, const hs_json_string *b)
{
    return a->bytes == b->bytes && memcmp(a->p, b->p, a->bytes) == 0;
}

static void count_key(tally *t, const hs_json_member *m)
{
    int k = 0;
    if (m->kind != '"' || m->key.escaped || m->key.bytes == 0 || m->key.bytes >= HS_TEXT_FIELD)
        return;
    while (k < t->n_keys && !same_key(&t->key[k].key, &m->key))
        k++;
    if (k == HS_COUNT(t->key)) {
        t->more = true;
        return;
    }
    if (k == t->n_keys)
        t->key[t->n_keys++].key = m->key;
    t->key[k].n++;
}

// False: it has a field "text". A record that the head cuts, or that is no object, tells nothing else.
static bool count_record(tally *t, const char *record, size_t bytes)
{
    hs_json_walk w;
    hs_json_member m;
    bool sound = false;
    hs_json_begin(&w, record, bytes);
    while (*record == '{' && hs_json_next(&w, &m)) {
        if (hs_json_key_is(&m.key, "text"))
            return false;
        sound = true;
    }
    if (!sound || w.wrong)
        return true;
    t->records++;
    hs_json_begin(&w, record, bytes);
    while (hs_json_next(&w, &m))
        count_key(t, &m);
    return true;
}

// "text" where any record has it, "content" where each has that, else the only one that is a string in each.
static void find_field(const char *p, size_t bytes, hs_text_kind *kind)
{
    enum { RECORDS = 64 };
    static const hs_json_string content = { .p = "content", .bytes = 7 };
    tally t = { 0 };
    cursor c = { p, p + bytes, kind->form };
    const char *record;
    size_t n;
    snprintf(kind->field, sizeof kind->field, "text");
    while (t.records < RECORDS && next_record(&c, &record, &n))
        if (!count_record(&t, record, n))
            return;
    int found = -1, common = 0;
    for (int k = 0; k < t.n_keys; k++)
        if (t.key[k].n == t.records) {
            common++;
            if (found < 0 || same_key(&t.key[k].key, &content))
                found = k;
        }
    if (found >= 0 && ((common == 1 && !t.more) || same_key(&t.key[found].key, &content)))
        snprintf(kind->field, sizeof kind->field, "%.*s", (int)t.key[found].key.bytes, t.key[found].key.p);
}

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && is_space(*p))
        p++;
    return p;
}

// A list that is no prose in brackets: of objects, of strings, of nothing but numbers, or whole and of anything.
static bool is_list(const char *p, const char *end, bool *strings)
{
    hs_json_scan first = { 0 }, all = { 0 };
    const char *inside = skip_space(p + 1, end);
    if (hs_json_object_begins(inside, (size_t)(end - inside)))
        return true;
    const char *behind = inside + hs_json_scan_to_end(&first, inside, (size_t)(end - inside));
    behind = skip_space(behind, end);
    const char *next = behind < end && *behind == ',' ? skip_space(behind + 1, end) : end;
    *strings = inside < end && *inside == '"';
    if (*strings)
        return first.done && behind < end && (*behind == ']' || (next < end && *next == '"'));
    const char *number = p;
    while (number < end && memchr("[]0123456789., \r\n\t-+eE", *number, 22))
        number++;
    if (number == end && next < end)
        return true;
    return skip_space(p + hs_json_scan_to_end(&all, p, (size_t)(end - p)), end) == end && all.done && first.done;
}

// What stands at the front where that is an object with a key.
static hs_text_form object_form(const char *p, const char *end)
{
    const char *feed = memchr(p, '\n', (size_t)(end - p)), *stop = feed ? feed : end;
    hs_json_scan scan = { 0 };
    const char *rest = p + hs_json_scan_to_end(&scan, p, (size_t)(stop - p));
    if (!scan.done)
        return feed && !scan.string ? HS_TEXT_JSON_VALUES : HS_TEXT_JSON_LINES;
    rest = skip_space(rest, stop);
    return rest < stop && (*rest == '{' || *rest == ',') ? HS_TEXT_JSON_VALUES : HS_TEXT_JSON_LINES;
}

// The first line is another value: then one of the next few is an object.
static bool objects_follow(const char *p, const char *end)
{
    enum { LINES = 8 };
    const char *feed = memchr(p, '\n', (size_t)(end - p));
    hs_json_scan scan = { 0 };
    if (!feed || !strchr("[\"0123456789-tfnNI", *p))
        return false;
    const char *rest = p + hs_json_scan_to_end(&scan, p, (size_t)(feed - p));
    if ((!scan.done && !scan.word) || skip_space(rest, feed) < feed)
        return false;
    for (int i = 0; i < LINES && feed; i++) {
        const char *next = feed + 1;
        if (hs_json_object_begins(next, (size_t)(end - next)))
            return true;
        feed = next < end ? memchr(next, '\n', (size_t)(end - next)) : NULL;
    }
    return false;
}

static hs_text_form json_form(const char *p, size_t bytes, bool *strings)
{
    const char *end = p + bytes, *front = p;
    *strings = false;
    p = skip_space(p, end);
    if (p == end)
        return HS_TEXT_PLAIN;
    if (hs_json_object_begins(p, (size_t)(end - p)))
        return p > front && p[-1] == 0x1E ? HS_TEXT_JSON_VALUES : object_form(p, end);
    if (objects_follow(p, end))
        return HS_TEXT_JSON_LINES;
    return *p == '[' && is_list(p, end, strings) ? HS_TEXT_JSON_VALUES : HS_TEXT_PLAIN;
}

hs_text_kind hs_text_kind_of(const char *head, size_t bytes, hs_text_format format)
{
    hs_text_kind kind = { .form = HS_TEXT_PLAIN };
    const int mark = hs_text_code_of(head, bytes).mark;
    head += mark, bytes -= (size_t)mark;
    bool strings = false;
    if (format != HS_FORMAT_TEXT)
        kind.form = json_form(head, bytes, &strings);
    if (format == HS_FORMAT_JSON && kind.form == HS_TEXT_PLAIN)
        kind.form = HS_TEXT_JSON_LINES;
    if (kind.form != HS_TEXT_PLAIN && !strings)
        find_field(head, bytes, &kind);
    return kind;
}
