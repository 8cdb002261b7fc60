// plain_text: mapped files, refused by what they begin with, because token ids, packed bytes and images train without a complaint.
#include "recipes/program/plain_text.h"
#include "data/text/text_stream.h"
#include <stdlib.h>
#include <string.h>

static hs_status decode(hs_plain_text *t, hs_text_code code)
{
    hs_text_decoder d = { .code = code };
    const size_t mark = (size_t)code.mark;
    t->decoded = malloc(HS_TEXT_DECODED * (t->file.bytes - mark) + 8);
    if (!t->decoded)
        return HS_FAIL(MEMORY, "no memory for %zu bytes of text", t->file.bytes);
    t->bytes = hs_text_decode(&d, t->file.data + mark, t->file.bytes - mark, true, t->decoded);
    t->data = t->decoded;
    return HS_OK;
}

static hs_status settle(hs_plain_text *t, const char *name)
{
    const char *head = t->file.data;
    const size_t n = t->file.bytes < HS_TEXT_HEAD ? t->file.bytes : HS_TEXT_HEAD;
    const char *packed = hs_text_packed(head, n);
    if (packed)
        return HS_FAIL(USAGE, "%s is packed with %s; unpack it, or let halfstep prepare make a token store of it", name, packed);
    HS_TRY(hs_text_refuse(name, head, n));
    const hs_text_code code = hs_text_code_of(head, n);
    t->data = head + code.mark, t->bytes = t->file.bytes - (size_t)code.mark;
    if (code.unit > 1)
        HS_TRY(decode(t, code));
    t->form = hs_text_kind_of(t->data, t->bytes < HS_TEXT_HEAD ? t->bytes : HS_TEXT_HEAD, HS_FORMAT_AUTO).form;
    HS_TRY(hs_text_check_utf8(name, code.unit, t->data, t->bytes));
    return HS_OK;
}

hs_status hs_plain_text_open(hs_plain_text *t, const char *path)
{
    const bool is_stdin = strcmp(path, "-") == 0;
    *t = (hs_plain_text){ 0 };
    HS_TRY(hs_file_map(&t->file, is_stdin ? "/dev/stdin" : path));
    const hs_status st = settle(t, is_stdin ? "standard input" : path);
    if (st != HS_OK)
        hs_plain_text_close(t);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

void hs_plain_text_close(hs_plain_text *t)
{
    hs_file_unmap(&t->file);
    free(t->decoded);
    *t = (hs_plain_text){ 0 };
}
