#!/usr/bin/env python3
"""Writes data/base/unicode_tables.inc from the Unicode character database, as Debian's package unicode-data (15.0.0) installs it.

  scripts/gen_unicode.py [FOLDER] > data/base/unicode_tables.inc       FOLDER: /usr/share/unicode

Hugging Face's BERT normalizer takes its categories from a crate that stands at Unicode 8.0. Its answers are kept as three bits of
their own: those of characters that came later are "none", and CHANGED lists what has moved to another category since.
"""
import sys

FOLDER = sys.argv[1] if len(sys.argv) > 1 else "/usr/share/unicode"
N = 0x110000
BLOCK = 128
CATEGORIES = "Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co".split()
# code point: its category in Unicode 8.0, where 15.0 has another that matters here
CHANGED = {0x166D: "Po", 0x111C9: "Po", 0x1734: "Mn", 0x1885: "Lo", 0x1886: "Lo", 0xA9BD: "Mc"}


def rows(name):
    with open(f"{FOLDER}/{name}", encoding="utf-8") as f:
        for line in f:
            line = line.split("#")[0].strip()
            if line:
                yield [field.strip() for field in line.split(";")]


def span(field):
    ends = field.split("..")
    return range(int(ends[0], 16), int(ends[-1], 16) + 1)


def read_characters():
    category, ccc, lower, decomposition = ["Cn"] * N, [0] * N, {}, {}
    first = None
    for f in rows("UnicodeData.txt"):
        c = int(f[0], 16)
        for x in range(first if f[1].endswith("Last>") else c, c + 1):
            category[x] = f[2]
        first = c
        ccc[c] = int(f[3])
        if f[5] and not f[5].startswith("<"):
            decomposition[c] = [int(x, 16) for x in f[5].split()]
        if f[13]:
            lower[c] = [int(f[13], 16)]
    for f in rows("SpecialCasing.txt"):
        if len(f) == 5 and f[1]:  # no condition
            to = [int(x, 16) for x in f[1].split()]
            if to != [int(f[0], 16)]:
                lower[int(f[0], 16)] = to
    return category, ccc, lower, decomposition


def property_set(name, prop):
    return {c for f in rows(name) if f[1] == prop for c in span(f[0])}


def expand(c, decomposition):
    if c not in decomposition:
        return [c]
    return [x for part in decomposition[c] for x in expand(part, decomposition)]


def table(ctype, name, values, per_line, form):
    print(f"static const {ctype} {name}[{len(values)}] = {{")
    for i in range(0, len(values), per_line):
        print("    " + " ".join(form(v) + "," for v in values[i : i + per_line]))
    print("};")


def main():
    category, ccc, lower, decomposition = read_characters()
    space, cased = property_set("PropList.txt", "White_Space"), property_set("DerivedCoreProperties.txt", "Cased")
    ignorable = property_set("DerivedCoreProperties.txt", "Case_Ignorable")
    age = [99.0] * N
    for f in rows("DerivedAge.txt"):
        for c in span(f[0]):
            age[c] = float(f[1])

    def props(c):
        old = CHANGED.get(c, category[c] if age[c] <= 8.0 else "Cn")
        bits = CATEGORIES.index(category[c]) | (c in space) << 5 | (c in cased) << 6 | (c in ignorable) << 7
        return bits | (old[0] == "P") << 8 | (old == "Mn") << 9 | (old in ("Cc", "Cf", "Co")) << 10 | (ccc[c] != 0) << 11

    flat = [props(c) for c in range(N)]
    blocks, index = {}, []
    for b in range(0, N, BLOCK):
        index.append(blocks.setdefault(tuple(flat[b : b + BLOCK]), len(blocks)))
    pool, decomposed = [], []
    for c in sorted(decomposition):
        to = expand(c, decomposition)
        decomposed.append((c, len(pool), len(to)))
        pool += to
    lowered = sorted((c, to) for c, to in lower.items())
    assert all(len(to) == 1 for c, to in lowered if c != 0x130) and lower[0x130] == [0x69, 0x307]
    runs = []
    for c in range(N):
        if ccc[c]:
            if runs and runs[-1][1] == c - 1 and runs[-1][2] == ccc[c]:
                runs[-1][1] = c
            else:
                runs.append([c, c, ccc[c]])

    print("// Unicode 15.0.0. Written by scripts/gen_unicode.py: do not edit.")
    table("uint16_t", "uni_index", index, 28, str)
    table("uint16_t", "uni_props", [p for block in blocks for p in block], 24, str)
    table("uni_pair", "uni_lower", lowered, 8, lambda v: "{ 0x%X, 0x%X }" % (v[0], v[1][0] if len(v[1]) == 1 else 0))
    table("uni_part", "uni_decomposed", decomposed, 8, lambda v: "{ 0x%X, %d, %d }" % v)
    table("uint32_t", "uni_pool", pool, 18, lambda v: "0x%X" % v)
    table("uni_class", "uni_classes", runs, 7, lambda v: "{ 0x%X, 0x%X, %d }" % tuple(v))


main()
