// plain_text: mapped files, refused by what they begin with, because token ids or packed bytes train without a complaint.
#include "recipes/program/plain_text.h"
#include "data/base/file.h"
#include "data/text/text_stream.h"
#include "data/text/token_file.h"

hs_status hs_plain_text_check(const char *path)
{
    hs_token_format format;
    if (!hs_token_file_is(path, &format))
        return HS_OK;
    return HS_FAIL(USAGE, "%s is no text but a file of token ids (%s); halfstep data convert makes a token store of it", path,
                   hs_token_format_names[format]);
}

hs_status hs_plain_text_open(hs_plain_text *t, const char *path)
{
    *t = (hs_plain_text){ 0 };
    HS_TRY(hs_plain_text_check(path));
    HS_TRY(hs_file_map(&t->file, path));
    const char *packed = hs_text_packed(t->file.data, t->file.bytes);
    if (packed) {
        hs_plain_text_close(t);
        return HS_FAIL(USAGE, "%s is packed with %s; unpack it, or let halfstep prepare make a token store of it", path, packed);
    }
    const size_t skip = hs_text_mark(t->file.data, t->file.bytes);
    t->data = t->file.data + skip, t->bytes = t->file.bytes - skip;
    return HS_OK;
}

void hs_plain_text_close(hs_plain_text *t)
{
    hs_file_unmap(&t->file);
    *t = (hs_plain_text){ 0 };
}
