// text_source: files, folders, patterns and standard input as one sequence of documents, cut into pieces that can be worked on apart.
//
// Inputs keep the order they are given in; what a folder (with all below it, hidden names left out) or a pattern stands for is sorted by
// its bytes. Links to folders are followed; a folder that was there already (a ring, a second link) is left out, and so are pipes, sockets and
// devices that lie in a folder: a warning names them. Packed files (data/text/text_stream.h) are unpacked on the way; what is no text is
// refused by what it is.
//
// JSON is told by the first bytes: records a line each, records in a list, or one behind the other over several lines. A record is a document.
//
// A document longer than HS_PIECE bytes comes in pieces, each cut before the first space or line feed behind that many bytes that follows
// no white space of any kind (Unicode's): the tokens of the pieces are those of the whole (no tokenizer here joins across such a place).
// Where a document has no such place it is held whole. What the pieces are depends on the document alone. A byte order mark at the front of
// a file is no text.
#ifndef HS_DATA_TEXT_SOURCE_H
#define HS_DATA_TEXT_SOURCE_H
#include "data/text/text_kind.h"

#ifndef HS_PIECE_BYTES
#define HS_PIECE_BYTES (1 << 20) // fuzzers build with less
#endif
enum { HS_PIECE = HS_PIECE_BYTES, HS_JSON_LINE = 1 << 30 };

typedef enum hs_documents { HS_DOCUMENTS_FILE, HS_DOCUMENTS_BLANK_LINE, HS_DOCUMENTS_LINE } hs_documents;

typedef struct hs_text_input {
    char *path;              // "-": standard input
    int64_t bytes, mtime_ns; // -1: not a regular file
} hs_text_input;
typedef struct hs_text_inputs {
    hs_text_input *input; // [n]
    int n, room;
} hs_text_inputs;

// USAGE: a name that matches nothing, a link that leads nowhere, a folder without files, standard input twice.
hs_status hs_text_inputs_expand(hs_text_inputs *out, const char *const *arg, int n);
// Looks at the first bytes of all that are files, so that a text of hours does not end at the last of them. USAGE: one is no text.
hs_status hs_text_inputs_check(const hs_text_inputs *inputs);
hs_status hs_text_inputs_unchanged(const hs_text_inputs *inputs); // USAGE names the file that is not what it was when it was listed
void hs_text_inputs_free(hs_text_inputs *inputs);

typedef struct hs_text_at {      // where the next piece begins
    int64_t input, offset, line; // offset: in the unpacked text; line: from 1
    bool inside, list;           // of a document; of a list of records
} hs_text_at;

typedef struct hs_text_piece {
    size_t offset, bytes; // in the batch's text
    hs_text_at at;        // for messages: line and offset of its first byte
    bool begins, ends;    // a document; both false: from the middle of one
    const hs_text_kind *kind; // of its input; until the source is closed
} hs_text_piece;
typedef struct hs_text_batch {
    char *text;
    size_t bytes, room;
    hs_text_piece *piece; // [n]
    int64_t n, piece_room;
    hs_text_at after; // where to go on
    bool last;
} hs_text_batch;
void hs_text_batch_free(hs_text_batch *b);

typedef struct hs_text_source hs_text_source;

typedef struct hs_text_read {
    hs_documents documents; // of inputs that are not JSON
    hs_text_format format;
    const char *field; // of JSON records, shorter than HS_TEXT_FIELD; NULL: found
} hs_text_read;
// from: NULL, or the `after` of some batch of the same inputs. Borrows inputs.
hs_status hs_text_source_open(hs_text_source **out, const hs_text_inputs *inputs, const hs_text_read *how, const hs_text_at *from);
// Replaces b by the next pieces, as many as begin in `want` bytes of text; b->last: nothing follows (b may hold nothing then).
hs_status hs_text_source_next(hs_text_source *s, hs_text_batch *b, size_t want);
int64_t hs_text_source_raw(const hs_text_source *s); // bytes of the files taken, packed as they are
void hs_text_source_close(hs_text_source *s);

#endif
