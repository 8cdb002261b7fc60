// tracer_file: traces as Triton writes them, by a thread that nobody waits for. A file ends as an array of JSON does after each of them:
// the end is written over by the next. Where the disk is full the file stays as it was before.
#include "core/base/log.h"
#include "data/base/json_util.h"
#include "infer/server/tracer_impl.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- JSON

static const char *const point_names[HS_TRACE_POINTS] = {
#define POINT_NAME(point) #point,
    HS_TRACE_POINT_LIST(POINT_NAME)
#undef POINT_NAME
};

static void add_clean(hs_text *t, const char *said) // whatever a client sent
{
    hs_text clean = { 0 };
    hs_text_utf8(&clean, said, strlen(said));
    t->failed |= clean.failed;
    hs_text_quote(t, clean.p ? clean.p : "", clean.n);
    hs_text_free(&clean);
}

static void add_number(hs_text *t, hs_oip_number x, hs_oip_type type)
{
    switch (hs_oip_type_kinds[type]) {
    case HS_OIP_KIND_REAL:
        hs_text_add(t, "%.*g", type == HS_OIP_FP64 ? 17 : 9, x.f);
        break;
    case HS_OIP_KIND_SIGNED:
        hs_text_add(t, "%" PRId64, x.i);
        break;
    default:
        hs_text_add(t, "%" PRIu64, x.u);
    }
}

// Lists of numbers without what holds them together; true and false as the raw form has them. Of a request that is refused they are
// whatever a client sent.
static void add_flat(hs_text *t, const hs_infer_tensor *x)
{
    hs_text flat = { 0 };
    for (size_t i = 0; i < x->bytes; i++) {
        const char c = x->data[i];
        if (x->type == HS_OIP_BOOL && isalpha((unsigned char)c))
            hs_text_bytes(&flat, c == 't' ? "1" : "0",
                          (size_t)(c == 't' || c == 'f') && (i == 0 || !isalpha((unsigned char)x->data[i - 1])));
        else if (!strchr("[] \t\r\n", c))
            hs_text_bytes(&flat, &c, 1);
    }
    t->failed |= flat.failed;
    hs_text_utf8(t, flat.p ? flat.p : "", flat.n);
    hs_text_free(&flat);
}

static void add_texts(hs_text *t, const hs_infer_tensor *x)
{
    hs_infer_text *text = NULL;
    if (hs_infer_texts(x, &text) != HS_OK)
        return; // no texts: the request was refused for it
    for (int64_t i = 0; i < x->n; i++) {
        hs_text_bytes(t, i ? ",\"" : "\"", i ? 2 : 1);
        hs_text_utf8(t, text[i].p, text[i].n);
        hs_text_bytes(t, "\"", 1);
    }
    free(text);
}

// A string: elements with commas between, texts in quotation marks.
static void add_data(hs_text *t, const hs_infer_tensor *x)
{
    hs_text data = { 0 };
    if (x->type == HS_OIP_BYTES)
        add_texts(&data, x);
    else if (!x->raw)
        add_flat(&data, x);
    for (int64_t i = 0; x->raw && x->type != HS_OIP_BYTES && i < x->n; i++) {
        if (i)
            hs_text_bytes(&data, ",", 1);
        add_number(&data, hs_infer_number(x, i), x->type);
    }
    t->failed |= data.failed;
    hs_text_quote(t, data.p ? data.p : "", data.n);
    hs_text_free(&data);
}

static void add_tensor(hs_text *t, const hs_traced *r, const hs_traced_tensor *k)
{
    hs_text_add(t, ",\n{\"id\":%" PRIu64 ",\"activity\":\"%s\",\"tensor\":{\"name\":", r->id,
                k->side == HS_TRACE_OUTPUT ? "TENSOR_BACKEND_OUTPUT" : "TENSOR_QUEUE_INPUT");
    add_clean(t, k->t.name);
    hs_text_add(t, ",\"data\":");
    add_data(t, &k->t);
    hs_text_add(t, ",\"shape\":\"");
    for (int i = 0; i < k->t.n_dims; i++)
        hs_text_add(t, "%s%" PRId64, i ? "," : "", k->t.dim[i]);
    hs_text_add(t, "\",\"dtype\":\"%s\"}}", hs_oip_type_names[k->t.type]);
}

static void add_points(hs_text *t, const hs_traced *r)
{
    bool any = false;
    for (int p = 0; p < HS_TRACE_POINTS; p++) {
        if (!r->ns[p])
            continue;
        if (!any)
            hs_text_add(t, ",\n{\"id\":%" PRIu64 ",\"timestamps\":[", r->id);
        hs_text_add(t, "%s{\"name\":\"%s\",\"ns\":%" PRId64 "}", any ? "," : "", point_names[p], r->ns[p]);
        any = true;
    }
    if (any)
        hs_text_add(t, "]}");
}

static void add_trace(hs_text *t, const hs_traced *r)
{
    hs_text_add(t, "{\"id\":%" PRIu64 ",\"model_name\":", r->id);
    add_clean(t, r->model);
    hs_text_add(t, ",\"model_version\":%d", r->version);
    if (r->request_id[0]) {
        hs_text_add(t, ",\"request_id\":");
        add_clean(t, r->request_id);
    }
    if (r->parent)
        hs_text_add(t, ",\"parent_id\":%" PRIu64, r->parent);
    hs_text_add(t, "}");
    if (r->level & HS_TRACE_TIMESTAMPS)
        add_points(t, r);
    for (const hs_traced_tensor *k = r->tensor; k; k = k->next)
        add_tensor(t, r, k);
    for (const hs_traced *c = r->child; c; c = c->next) {
        hs_text_add(t, ",\n");
        add_trace(t, c);
    }
}

// ---- files

static const char array_end[] = "\n]\n";

void hs_trace_file_close(hs_trace_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    *f = (hs_trace_file){ .fd = -1 };
}

void hs_trace_sink_let_go(hs_trace_sink *s)
{
    if (!s || atomic_fetch_sub(&s->holders, 1) != 1)
        return;
    hs_trace_file_close(&s->file);
    free(s);
}

static bool write_at(int fd, const char *p, size_t n, off_t at)
{
    while (n > 0) {
        const ssize_t k = pwrite(fd, p, n, at);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        p += k, n -= (size_t)k, at += k;
    }
    return true;
}

// What it was before the trace that it has no room for.
static void restore(const hs_trace_file *f)
{
    const int error = errno;
    const off_t whole = f->end + (f->n ? (off_t)strlen(array_end) : 0);
    if (ftruncate(f->fd, whole) == 0 && f->n)
        (void)write_at(f->fd, array_end, strlen(array_end), f->end);
    errno = error;
}

// NULL, or why it cannot be. Nothing there is waited for, and of the numbered names, which are not the operator's own, none leads
// elsewhere.
static const char *open_file(hs_trace_file *f, const char *name, bool numbered)
{
    struct stat s;
    const int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC | O_NONBLOCK | (numbered ? O_NOFOLLOW : 0), 0600);
    if (fd < 0)
        return errno == ELOOP && numbered ? "it is a symbolic link" : errno == ENXIO ? "it is no file" : strerror(errno);
    if (fstat(fd, &s) == 0 && (S_ISREG(s.st_mode) || (!numbered && S_ISCHR(s.st_mode)))) {
        f->fd = fd;
        return NULL;
    }
    close(fd);
    return "it is no file";
}

// NULL, or why the trace is lost.
static const char *add_to(hs_trace_file *f, const char *name, bool numbered, const hs_text *t)
{
    const char *why = f->fd < 0 ? open_file(f, name, numbered) : NULL;
    if (why)
        return why;
    if (!write_at(f->fd, t->p, t->n, f->end)) {
        restore(f);
        return strerror(errno);
    }
    f->end += (off_t)(t->n - strlen(array_end));
    f->n++;
    return NULL;
}

// Files have what they may.
static void end_tracing(hs_tracer *t)
{
    pthread_mutex_lock(&t->lock);
    t->spent = true;
    atomic_store(&t->on, false);
    pthread_mutex_unlock(&t->lock);
    hs_warn("%s: files of traces have as much as they may (--trace-bytes, %" PRId64 " MiB): nothing is traced from here on", t->file,
            t->most >> 20);
}

static void save(hs_tracer *t, hs_trace_sink *s, const hs_text *text)
{
    hs_trace_file *f = s->numbered ? &s->file : &t->whole;
    char *name = NULL;
    const int64_t more = (int64_t)text->n + (f->n ? -(int64_t)strlen(array_end) : HS_TRACER_FILE);
    if (t->written + more > t->most) {
        end_tracing(t);
        return;
    }
    if (s->numbered && f->fd < 0)
        name = asprintf(&name, "%s.%" PRIu64, t->file, t->number++) < 0 ? NULL : name;
    const bool named = name || !s->numbered || f->fd >= 0;
    const char *why = named ? add_to(f, name ? name : t->file, s->numbered, text) : "no memory";
    t->written += why ? 0 : more;
    if (why && !atomic_exchange(&t->said_unwritten, true))
        hs_warn("%s: a trace is lost: %s", name ? name : t->file, why);
    free(name);
    if (s->each && f->n >= s->each)
        hs_trace_file_close(f);
}

static void free_trace(hs_traced *r)
{
    for (hs_traced *c = r->child, *next; c; c = next) {
        next = c->next;
        free_trace(c);
    }
    for (hs_traced_tensor *k = r->tensor, *next; k; k = next) {
        next = k->next;
        free(k);
    }
    atomic_fetch_sub(&r->tracer->bytes, r->bytes);
    hs_trace_sink_let_go(r->sink);
    free(r);
}

static void write_trace(hs_tracer *t, hs_traced *r)
{
    hs_trace_sink *s = r->sink;
    hs_text text = { 0 };
    if (t->spent) {
        free_trace(r);
        return;
    }
    hs_text_add(&text, (s->numbered ? &s->file : &t->whole)->n ? ",\n" : "[\n");
    add_trace(&text, r);
    hs_text_add(&text, "%s", array_end);
    if (!text.failed)
        save(t, s, &text);
    else if (!atomic_exchange(&t->said_unwritten, true))
        hs_warn("%s: a trace is lost: no memory", t->file);
    hs_text_free(&text);
    free_trace(r);
}

void *hs_tracer_write(void *tracer)
{
    hs_tracer *t = tracer;
    bool goes_on = true;
    while (goes_on) {
        pthread_mutex_lock(&t->lock);
        while (!t->first && !t->stops)
            pthread_cond_wait(&t->wake, &t->lock);
        hs_traced *r = t->first;
        goes_on = r || !t->stops;
        t->first = NULL, t->last = &t->first;
        pthread_mutex_unlock(&t->lock);
        for (hs_traced *next; r; r = next) {
            next = r->next;
            write_trace(t, r);
        }
    }
    return NULL;
}
