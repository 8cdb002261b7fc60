// What machine code nvcc made: a line for each kernel of an architecture, read out of object files. Needs no tool of the toolkit, which may
// have neither cuobjdump nor nvdisasm. scripts/check_kernels.sh judges it.
//   kernel_table ARCH FILE...      ARCH: 80, 90. A line: registers stack local atomics floats tensor ldsm async wide loads FILE MANGLED
// stack: bytes, with those of what it calls. Of instructions: local: those that read or write it, for spills or for arrays; atomics: on
// global memory; floats: of those, the ones that add floats; tensor: products of tensor cores; ldsm: loads of their operands; async: copies
// to shared memory past the registers; wide: of the loads from global memory, those of 16 bytes. FILE: its name without .cu.o. Exit code 1:
// not read, with the reason; 77: nothing of that architecture, or compressed in a way that this was built without.
#include <elf.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef HS_HAVE_ZSTD
#include <zstd.h>
#endif

static void die(int code, const char *what)
{
    fprintf(stderr, "kernel_table: %s\n", what);
    exit(code);
}

// ---- instructions of compute capability 8.x and 9.0: 16 bytes, the operation in bits 0 to 11, of an access its type in bits 73 to 75. As
// nvdisasm 13.5 reads what nvcc 13.0 made.

typedef struct counts {
    int local, atomics, floats, tensor, ldsm, async, wide, loads;
} counts;

enum { F32 = 3, F16X2 = 4, F64 = 6, BYTES_16 = 6 }; // of atomics three, of loads the last

static void count(counts *c, uint64_t low, uint64_t high)
{
    const unsigned type = high >> 9 & 7;
    switch (low & 0xfff) {
    case 0x983: // LDL
    case 0x387: // STL
        c->local++;
        break;
    case 0x981: // LDG
        c->loads++;
        c->wide += type == BYTES_16;
        break;
    case 0x98e: // RED, of 8.0 floats too
    case 0x9a8: // ATOMG, likewise
        c->floats += type == F32 || type == F16X2 || type == F64;
        c->atomics++;
        break;
    case 0x38a: // ATOM
    case 0x98a:
    case 0x3a9: // ATOMG.CAS
    case 0x38b: // ATOM.CAS
        c->atomics++;
        break;
    case 0x9a2: // of 9.0 ATOM, ATOMG and REDG on floats
    case 0x9a3:
    case 0x9a6:
        c->atomics++, c->floats++;
        break;
    case 0x23c: // HMMA
        c->tensor++;
        break;
    case 0x83b: // LDSM
        c->ldsm++;
        break;
    case 0xfae: // LDGSTS
        c->async++;
        break;
    default:
        break;
    }
}

// ---- a cubin: an ELF file whose .nv.info has attributes of its functions (names as nvdisasm and readers of it have them)

enum { FRAME_SIZE = 0x11, MIN_STACK = 0x12, REGCOUNT = 0x2f, SIZED = 4 };

typedef struct cubin {
    const uint8_t *at;
    const Elf64_Ehdr *head;
    const Elf64_Shdr *section;
    const char *names;
} cubin;

static const char *name_of(const cubin *c, const Elf64_Shdr *s) { return c->names + s->sh_name; }

// Attribute `what` of function `symbol`, -1: there is none.
static int attribute(const cubin *c, const Elf64_Shdr *info, int what, uint32_t symbol)
{
    const uint8_t *p = c->at + info->sh_offset, *end = p + info->sh_size;
    while (p + 4 <= end) {
        uint16_t size;
        uint32_t value[2];
        memcpy(&size, p + 2, sizeof size);
        if (p[0] == SIZED && p[1] == what && size >= sizeof value) {
            memcpy(value, p + 4, sizeof value);
            if (value[0] == symbol)
                return (int)value[1];
        }
        p += 4 + (p[0] == SIZED ? size : 0);
    }
    return -1;
}

static uint32_t symbol_of(const cubin *c, const char *name)
{
    for (int i = 0; i < c->head->e_shnum; i++) {
        const Elf64_Shdr *s = &c->section[i];
        if (s->sh_type != SHT_SYMTAB)
            continue;
        const Elf64_Sym *sym = (const Elf64_Sym *)(const void *)(c->at + s->sh_offset);
        const char *text = (const char *)c->at + c->section[s->sh_link].sh_offset;
        for (uint32_t k = 0; k < s->sh_size / sizeof *sym; k++)
            if (ELF64_ST_TYPE(sym[k].st_info) == STT_FUNC && !strcmp(text + sym[k].st_name, name))
                return k;
    }
    die(1, "a kernel without a symbol");
    return 0;
}

static void print_kernel(const cubin *c, const Elf64_Shdr *text, const Elf64_Shdr *info, const char *file)
{
    const char *name = name_of(c, text) + strlen(".text.");
    const uint32_t symbol = symbol_of(c, name);
    counts n = { 0 };
    const uint8_t *p = c->at + text->sh_offset;
    for (uint64_t i = 0; i + 16 <= text->sh_size; i += 16) {
        uint64_t word[2];
        memcpy(word, p + i, sizeof word);
        count(&n, word[0], word[1]);
    }
    printf("%d %d %d %d %d %d %d %d %d %d %.*s %s\n", attribute(c, info, REGCOUNT, symbol), attribute(c, info, MIN_STACK, symbol), n.local,
           n.atomics, n.floats, n.tensor, n.ldsm, n.async, n.wide, n.loads, (int)strcspn(file, "."), file, name);
}

static int print_cubin(const uint8_t *at, const char *file)
{
    cubin c = { at, (const Elf64_Ehdr *)(const void *)at, NULL, NULL };
    const Elf64_Shdr *info = NULL;
    int n = 0;
    if (memcmp(c.head->e_ident, ELFMAG, SELFMAG) != 0)
        die(1, "code that is no ELF file");
    c.section = (const Elf64_Shdr *)(const void *)(at + c.head->e_shoff);
    c.names = (const char *)at + c.section[c.head->e_shstrndx].sh_offset;
    for (int i = 0; i < c.head->e_shnum; i++)
        if (!strcmp(name_of(&c, &c.section[i]), ".nv.info"))
            info = &c.section[i];
    for (int i = 0; info && i < c.head->e_shnum; i++)
        if (!strncmp(name_of(&c, &c.section[i]), ".text.", 6)) {
            print_kernel(&c, &c.section[i], info, file);
            n++;
        }
    return n;
}

// ---- fat binaries: headers in front of code for several architectures, compressed or not

typedef struct fat_head {
    uint32_t magic;
    uint16_t version, bytes;
    uint64_t size; // behind the head
} fat_head;
enum { FAT_MAGIC = 0xba55ed50, ELF_CODE = 2, LZ4 = 0x2000, ZSTD = 0x8000 };

typedef struct fat_entry {
    uint16_t kind, version;
    uint32_t bytes; // of this head
    uint64_t size;
    uint32_t compressed, options;
    uint16_t minor, major;
    uint32_t arch, name, name_bytes;
    uint64_t flags, zero, plain; // bytes of it when it is not compressed
} fat_entry;

static size_t length(const uint8_t **in, const uint8_t *end, size_t n)
{
    uint8_t more = 255;
    while (n >= 15 && more == 255 && *in < end)
        n += more = *(*in)++;
    return n;
}

// https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md
static size_t unpack_lz4(uint8_t *out, size_t room, const uint8_t *in, size_t bytes)
{
    const uint8_t *end = in + bytes;
    size_t n = 0;
    while (in < end) {
        const uint8_t token = *in++;
        const size_t literals = length(&in, end, token >> 4);
        if (literals > (size_t)(end - in) || literals > room - n)
            return 0;
        memcpy(out + n, in, literals);
        in += literals, n += literals;
        if (end - in < 2)
            return n;
        const size_t back = in[0] | (size_t)in[1] << 8;
        in += 2;
        const size_t match = length(&in, end, token & 15) + 4;
        if (!back || back > n || match > room - n)
            return 0;
        for (size_t i = 0; i < match; i++, n++)
            out[n] = out[n - back];
    }
    return n;
}

static size_t unpack_zstd(uint8_t *out, size_t room, const uint8_t *in, size_t bytes)
{
#ifdef HS_HAVE_ZSTD
    const size_t n = ZSTD_decompress(out, room, in, bytes);
    return ZSTD_isError(n) ? 0 : n;
#else
    (void)out, (void)room, (void)in, (void)bytes;
    die(77, "code that zstd has compressed, and this was built without libzstd");
    return 0;
#endif
}

static int print_entry(const fat_entry *e, const uint8_t *code, const char *file)
{
    if (!(e->flags & (LZ4 | ZSTD)))
        return print_cubin(code, file);
    uint8_t *plain = aligned_alloc(64, (e->plain / 64 + 1) * 64);
    if (!plain || (e->flags & LZ4 ? unpack_lz4 : unpack_zstd)(plain, e->plain, code, e->compressed) != e->plain)
        die(1, "compressed code that cannot be read");
    const int n = print_cubin(plain, file);
    free(plain);
    return n;
}

static int print_fat(const uint8_t *at, uint64_t size, unsigned arch, const char *file)
{
    int n = 0;
    for (uint64_t i = 0; i + sizeof(fat_head) <= size; i += 8) {
        fat_head h;
        memcpy(&h, at + i, sizeof h);
        if (h.magic != FAT_MAGIC)
            continue; // between two
        for (uint64_t k = i + h.bytes; k + sizeof(fat_entry) <= i + h.bytes + h.size;) {
            fat_entry e;
            memcpy(&e, at + k, sizeof e);
            if (e.kind == ELF_CODE && e.arch == arch)
                n += print_entry(&e, at + k + e.bytes, file);
            k += e.bytes + e.size;
        }
        i += h.bytes + h.size - 8;
    }
    return n;
}

static uint8_t *read_all(const char *path)
{
    FILE *f = fopen(path, "rb");
    long size;
    if (!f || fseek(f, 0, SEEK_END) || (size = ftell(f)) < (long)sizeof(Elf64_Ehdr) || fseek(f, 0, SEEK_SET))
        die(1, strerror(errno));
    uint8_t *p = malloc((size_t)size);
    if (!p || fread(p, 1, (size_t)size, f) != (size_t)size)
        die(1, "not read");
    fclose(f);
    return p;
}

static int print_file(const char *path, unsigned arch)
{
    const char *name = strrchr(path, '/');
    uint8_t *file = read_all(path);
    int n = 0;
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)(const void *)file;
    if (memcmp(head->e_ident, ELFMAG, SELFMAG) != 0)
        die(1, "no ELF file");
    const Elf64_Shdr *s = (const Elf64_Shdr *)(const void *)(file + head->e_shoff);
    for (int i = 0; i < head->e_shnum; i++)
        if (!strcmp((const char *)file + s[head->e_shstrndx].sh_offset + s[i].sh_name, ".nv_fatbin"))
            n += print_fat(file + s[i].sh_offset, s[i].sh_size, arch, name ? name + 1 : path);
    free(file);
    return n;
}

int main(int argc, char **argv)
{
    int n = 0;
    if (argc < 3)
        die(2, "kernel_table ARCH FILE...");
    for (int i = 2; i < argc; i++)
        n += print_file(argv[i], (unsigned)atoi(argv[1]));
    return n ? 0 : 77;
}
