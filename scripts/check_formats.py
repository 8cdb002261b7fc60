#!/usr/bin/env python3
"""Other projects' files of token ids against halfstep: what h5py and numpy write in NVIDIA's, Megatron's and llm.c's layouts is read by
`halfstep data`, and what `halfstep data convert` writes is read by h5py and numpy, with equal content, types, chunks and filters.

    scripts/check_formats.py build/halfstep          # needs numpy and h5py
    scripts/check_formats.py --golden tests/golden/shards
"""
import json
import os
import struct
import subprocess
import sys
import tempfile

import h5py
import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TOKENIZER = os.path.join(ROOT, "tests/golden/tokenizers/wordpiece")
VOCAB = 600
done = 0


def check(ok, what):
    global done
    assert ok, what
    done += 1


def halfstep(*args, code=0):
    args += ("--overwrite",) if args[0] == "convert" else ()
    p = subprocess.run([PROGRAM, "data", *map(str, args)], capture_output=True, text=True)
    assert p.returncode == code, f"halfstep data {args}: {p.returncode}: {p.stderr}"
    return p.stderr if code else [json.loads(line) for line in p.stdout.splitlines()] if "--json" in args else p.stdout


# ---- rows in NVIDIA's layouts


def rows(rng, n, S, P):
    """Dictionaries of lists, as create_pretraining_data.py has them before it writes."""
    out = []
    for _ in range(n):
        tokens = int(rng.integers(8, S + 1))
        b = int(rng.integers(2, tokens - 2))
        k = int(rng.integers(1, min(P, tokens - 3) + 1))
        positions = sorted(rng.choice(np.arange(1, tokens), k, replace=False))
        out.append(dict(ids=rng.integers(1, VOCAB, tokens), segments=[0] * b + [1] * (tokens - b), positions=positions,
                        labels=rng.integers(0, VOCAB, k), next=int(rng.integers(0, 2))))
    return out


def pad(lists, width, dtype):
    a = np.zeros((len(lists), width), dtype)
    for i, v in enumerate(lists):
        a[i, :len(v)] = v
    return a


def write_fixed(path, data, S, P, **how):
    how = how or dict(compression="gzip")
    with h5py.File(path, "w") as f:
        f.create_dataset("input_ids", data=pad([r["ids"] for r in data], S, "i4"), dtype="i4", **how)
        f.create_dataset("input_mask", data=pad([[1] * len(r["ids"]) for r in data], S, "i1"), dtype="i1", **how)
        f.create_dataset("segment_ids", data=pad([r["segments"] for r in data], S, "i1"), dtype="i1", **how)
        f.create_dataset("masked_lm_positions", data=pad([r["positions"] for r in data], P, "i4"), dtype="i4", **how)
        f.create_dataset("masked_lm_ids", data=pad([r["labels"] for r in data], P, "i4"), dtype="i4", **how)
        f.create_dataset("next_sentence_labels", data=np.array([r["next"] for r in data], "i1"), dtype="i1", **how)


def write_lists(path, data, packed, userblock=0, **how):
    """convert_fixed2variable.py's layout, and with `packed` that of the packed data: up to three sequences a row."""
    groups = [data[i:i + 3] for i in range(0, len(data), 3)] if packed else [[r] for r in data]
    with h5py.File(path, "w", userblock_size=userblock) as f:
        def column(name, dtype, values):
            d = f.create_dataset(name, (len(groups),), dtype=h5py.vlen_dtype(np.dtype(dtype)), **how)
            for i, v in enumerate(values):
                d[i] = v
        def joined(key):
            return [np.concatenate([np.asarray(r[key]) for r in g]) for g in groups]
        shifted = []
        for g in groups:
            at, positions = 0, []
            for r in g:
                positions += [p + at for p in r["positions"]]
                at += len(r["ids"])
            shifted.append(positions)
        column("input_ids", "int16", joined("ids"))
        column("segment_ids", "int8", joined("segments"))
        column("masked_lm_positions", "int16", shifted)
        column("masked_lm_ids", "int16", joined("labels"))
        if packed:
            column("next_sentence_labels", "int8", [[r["next"] for r in g] for g in groups])
            column("packed_input_len", "int16", [[len(r["ids"]) for r in g] for g in groups])
            column("packed_masked_lm_len", "int16", [[len(r["labels"]) for r in g] for g in groups])
        else:
            f.create_dataset("next_sentence_labels", data=np.array([r["next"] for r in data], "i1"), dtype="i1")
    return groups


def same_rows(path, groups):
    got = halfstep("sample", path, "--count", len(groups) + 5, "--json", "--vocab", VOCAB)
    check(len(got) == len(groups), f"{path}: {len(got)} rows, {len(groups)} written")
    for line, g in zip(got, groups):
        at, positions = 0, []
        for r in g:
            positions += [int(p) + at for p in r["positions"]]
            at += len(r["ids"])
        check(line["ids"] == [int(v) for r in g for v in r["ids"]], (path, line["row"], "ids"))
        check(line["segments"] == [int(v) for r in g for v in r["segments"]], (path, line["row"], "segments"))
        check([m["position"] for m in line["masked"]] == positions, (path, line["row"], "positions"))
        check([m["id"] for m in line["masked"]] == [int(v) for r in g for v in r["labels"]], (path, line["row"], "labels"))
        check([(s["tokens"], s["masked"], s["next_sentence_label"]) for s in line["sequences"]] ==
              [(len(r["ids"]), len(r["labels"]), r["next"]) for r in g], (path, line["row"], "sequences"))


def foreign_hdf5(rng):
    fixed = [(dict(compression="gzip"), 3000, 128, 20), (dict(compression="gzip", shuffle=True), 500, 512, 76),
             (dict(compression="gzip", compression_opts=9, chunks=True, fletcher32=True), 300, 64, 10), (dict(chunks=None), 200, 128, 20)]
    for how, n, S, P in fixed:
        data = rows(rng, n, S, P)
        write_fixed("f.hdf5", data, S, P, **how)
        same_rows("f.hdf5", [[r] for r in data])
        halfstep("check", "f.hdf5", "--vocab", VOCAB)
    write_fixed("z.hdf5", data, S, P, compression="lzf")  # h5py's own filter
    check("z.hdf5: input_ids: stored with filter 32000 (lzf)" in halfstep("check", "z.hdf5", code=2), "lzf")
    for libver in ("earliest", ("v108", "v108"), ("v110", "v110")):  # other superblocks and chunk indices; what is newer Debian's 1.10 refuses
        data = rows(rng, 700, 64, 10)
        with h5py.File("f.hdf5", "w", libver=libver) as f:
            for name, a in (("input_ids", pad([r["ids"] for r in data], 64, "i4")),
                            ("input_mask", pad([[1] * len(r["ids"]) for r in data], 64, "i1")),
                            ("segment_ids", pad([r["segments"] for r in data], 64, "i1")),
                            ("masked_lm_positions", pad([r["positions"] for r in data], 10, ">i8")),
                            ("masked_lm_ids", pad([r["labels"] for r in data], 10, "u2")),
                            ("next_sentence_labels", np.array([r["next"] for r in data], "u1"))):
                f.create_dataset(name, data=a, compression="gzip")
        same_rows("f.hdf5", [[r] for r in data])
    lists = (dict(), dict(userblock=1024), dict(chunks=(50,)), dict(chunks=(700,), maxshape=(None,), compression="gzip", shuffle=True))
    for packed in (False, True):
        for how in lists:
            data = rows(rng, 600, 128, 20)
            groups = write_lists("v.hdf5", data, packed, **how)
            same_rows("v.hdf5", groups)
            halfstep("check", "v.hdf5", "--vocab", VOCAB)
    for how in (dict(chunks=(64, 128)), dict()):  # what was never written reads as the fill value, whole datasets and single chunks
        data = rows(rng, 200, 128, 20)
        with h5py.File("f.hdf5", "w", userblock_size=512) as f:
            a = pad([r["ids"] for r in data], 128, "i4")
            a[64:128] = 9
            d = f.create_dataset("input_ids", a.shape, dtype=">i4", fillvalue=9, **how)
            for part in (slice(0, 64), slice(128, 200)) if how else (slice(0, 200),):
                d[part] = a[part]
            f.create_dataset("input_mask", a.shape, dtype="i2", fillvalue=1, **how)
            f.create_dataset("segment_ids", a.shape, dtype="u8", **how)
            f.create_dataset("masked_lm_positions", data=np.tile(np.arange(1, 21), (200, 1)), dtype="i1")
            f.create_dataset("masked_lm_ids", data=np.tile(np.arange(300, 320), (200, 1)), dtype=">u2", chunks=(7, 3), fletcher32=True)
            f.create_dataset("next_sentence_labels", (200,), dtype="i1", fillvalue=1)
        same_rows("f.hdf5", [[dict(ids=v, segments=[0] * 128, positions=range(1, 21), labels=range(300, 320), next=1)] for v in a])


# ---- Megatron and llm.c


def write_megatron(prefix, docs, dtype, code):
    sequences = [s for d in docs for s in d]
    lengths = np.array([len(s) for s in sequences], "<i4")
    pointers = (np.cumsum(lengths, dtype="<i8") - lengths) * np.dtype(dtype).itemsize
    boundaries = np.cumsum([0] + [len(d) for d in docs]).astype("<i8")
    np.concatenate(sequences).astype(dtype).tofile(prefix + ".bin")
    with open(prefix + ".idx", "wb") as f:
        f.write(b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, code, len(lengths), len(boundaries)))
        for a in (lengths, pointers.astype("<i8"), boundaries):
            f.write(a.tobytes())


def read_megatron(prefix):
    raw = open(prefix + ".idx", "rb").read()
    check(raw[:9] == b"MMIDIDX\x00\x00", "magic")
    version, code, n, docs = struct.unpack("<QBQQ", raw[9:34])
    dtype = {4: "<i4", 8: "<u2"}[code]
    lengths = np.frombuffer(raw, "<i4", n, 34)
    pointers = np.frombuffer(raw, "<i8", n, 34 + 4 * n)
    boundaries = np.frombuffer(raw, "<i8", docs, 34 + 12 * n)
    check(version == 1 and len(raw) == 34 + 12 * n + 8 * docs, "index size")
    ids = np.fromfile(prefix + ".bin", dtype)
    sequences = [ids[p // ids.itemsize:p // ids.itemsize + k] for p, k in zip(pointers, lengths)]
    return [sequences[a:b] for a, b in zip(boundaries, boundaries[1:])], dtype


def equal(a, b):
    return len(a) == len(b) and all(len(x) == len(y) and all(np.array_equal(s, t) for s, t in zip(x, y)) for x, y in zip(a, b))


def megatron_and_llmc(rng):
    for dtype, code, vocab in (("<u2", 8, VOCAB), ("<i4", 4, 200000), ("<i8", 5, 200000), ("u1", 1, 256), ("<i2", 3, 30000)):
        docs = [[rng.integers(2, vocab, int(rng.integers(1, 50))) for _ in range(int(rng.integers(1, 9)))] for _ in range(200)]
        write_megatron("m", docs, dtype, code)
        halfstep("check", "m.idx", "--vocab", vocab)
        halfstep("convert", "m.idx", "--to", "store", "--vocab", vocab, "-o", "m.tokens")
        halfstep("convert", "m.tokens", "--to", "megatron", "-o", "back")
        got, kept = read_megatron("back")
        check(equal(got, docs), f"Megatron {dtype}")
        check(kept == ("<u2" if vocab < 65500 else "<i4"), "Megatron's rule for u16")
        if code in (4, 8):
            check(open("m.idx", "rb").read() == open("back.idx", "rb").read(), "the same index, byte for byte")
        halfstep("convert", "m.tokens", "--to", "llmc", "--document-token", 1, "-o", "l.bin")
        head = np.fromfile("l.bin", "<i4", 256)
        ids = np.fromfile("l.bin", "<u2" if vocab <= 65536 else "<u4", offset=1024)
        check(list(head[:3]) == ([20240520, 1] if vocab <= 65536 else [20240801, 7]) + [len(ids)], "llm.c's header")
        check(np.array_equal(ids, np.concatenate([np.concatenate([[1], *d]) for d in docs])), "llm.c's ids")
        halfstep("convert", "l.bin", "--to", "megatron", "--vocab", vocab, "--document-token", 1, "-o", "flat")
        check(equal(read_megatron("flat")[0], [[np.concatenate(d)] for d in docs]), "documents of llm.c")
    header = np.zeros(256, "<i4")
    ids = rng.integers(0, 50257, 100000).astype("<u2")
    header[:3] = 20240520, 1, len(ids)
    with open("g.bin", "wb") as f:  # as data_common.py's write_datafile
        f.write(header.tobytes())
        f.write(ids.tobytes())
    halfstep("convert", "g.bin", "--to", "megatron", "--vocab", 50257, "-o", "g")
    check(np.array_equal(read_megatron("g")[0][0][0], ids), "a file of llm.c")
    halfstep("check", "g.bin", "--vocab", 50000, code=2)


# ---- ours, read by h5py


def ours(rng):
    docs = [[rng.integers(5, VOCAB, int(rng.integers(3, 40))) for _ in range(int(rng.integers(1, 20)))] for _ in range(2000)]
    write_megatron("t", docs, "<u2", 8)
    halfstep("convert", "t", "--to", "store", "--tokenizer", TOKENIZER, "-o", "t.tokens")
    S, P = 128, 20
    make = ["convert", "t.tokens", "--to", "hdf5", "--tokenizer", TOKENIZER, "--length", S, "--predictions", P]
    halfstep(*make, "-o", "fixed.hdf5")
    halfstep(*make, "-o", "varlen.hdf5", "--layout", "varlen")
    with h5py.File("fixed.hdf5") as f, h5py.File("varlen.hdf5") as v:
        n = f["input_ids"].shape[0]
        for name, dtype, shape in (("input_ids", "i4", (n, S)), ("input_mask", "i1", (n, S)), ("segment_ids", "i1", (n, S)),
                                   ("masked_lm_positions", "i4", (n, P)), ("masked_lm_ids", "i4", (n, P)), ("next_sentence_labels", "i1", (n,))):
            d = f[name]
            check(d.dtype == np.dtype(dtype) and d.shape == shape and d.maxshape == shape, (name, d.dtype, d.shape))
            check(d.compression == "gzip" and d.compression_opts == 4, (name, d.compression))
            check(d.chunks == (min(n, 1024),) + shape[1:], (name, d.chunks))
        check(sorted(f) == sorted(["input_ids", "input_mask", "segment_ids", "masked_lm_positions", "masked_lm_ids", "next_sentence_labels"]), "names")
        check(all(h5py.check_vlen_dtype(v[k].dtype) == np.dtype(t) for k, t in
                  (("input_ids", "i2"), ("segment_ids", "i1"), ("masked_lm_positions", "i2"), ("masked_lm_ids", "i2"))), "lists' types")
        a = {k: f[k][:] for k in f}
        for i in range(n):
            tokens, k = int(a["input_mask"][i].sum()), int((a["masked_lm_positions"][i] != 0).sum())
            check(np.array_equal(v["input_ids"][i], a["input_ids"][i, :tokens]), ("varlen ids", i))
            check(np.array_equal(v["masked_lm_positions"][i], a["masked_lm_positions"][i, :k]), ("varlen positions", i))
    # What the rules of create_pretraining_data.py say of such rows.
    tokens = a["input_mask"].sum(1)
    used = (a["masked_lm_positions"] != 0).sum(1)
    check(np.array_equal(used, np.clip([round(0.15 * int(t)) for t in tokens], 1, P)), "number of predictions")
    cls, sep, mask = a["input_ids"][0, 0], a["input_ids"][0, tokens[0] - 1], 4
    check((a["input_ids"][:, 0] == cls).all() and (a["input_ids"][np.arange(n), tokens - 1] == sep).all(), "special tokens")
    fed, label = [], []
    for i in range(n):
        p = a["masked_lm_positions"][i, :used[i]]
        check((np.diff(p) > 0).all() and p[0] > 0, "ascending")
        fed += list(a["input_ids"][i, p])
        label += list(a["masked_lm_ids"][i, :used[i]])
    fed, label = np.array(fed), np.array(label)
    shares = [(fed == mask).mean(), (fed == label).mean()]
    check(abs(shares[0] - 0.8) < 0.01 and abs(shares[1] - 0.1) < 0.01, shares)
    print(f"  rows made: {n}, {tokens.mean():.1f} tokens each, masks {shares[0]:.3f} [MASK], {shares[1]:.3f} kept; next is random in "
          f"{a['next_sentence_labels'].mean():.3f}")
    # Every A, and every B that is not random, stands in the texts as it is.
    texts = [" ".join(map(str, np.concatenate(d))) for d in docs]
    whole = "|".join(f" {t} " for t in texts)
    for i in range(0, n, 37):
        ids = a["input_ids"][i, :tokens[i]].copy()
        ids[a["masked_lm_positions"][i, :used[i]]] = a["masked_lm_ids"][i, :used[i]]
        first = np.nonzero(a["segment_ids"][i])[0][0]
        A, B = " ".join(map(str, ids[1:first - 1])), " ".join(map(str, ids[first:-1]))
        check(f" {A} " in whole and f" {B} " in whole, "text of a row")


def golden(folder):
    """Small, by h5py, with a content that a C test can repeat: id of row i, column j is (7 i + 13 j) % 97 + 3."""
    S, P, data = 24, 4, []
    for i in range(50):
        n = 8 + i % 17
        data.append(dict(ids=[(7 * i + 13 * j) % 97 + 3 for j in range(n)], segments=[int(j >= n // 2) for j in range(n)],
                         positions=[1 + 2 * k for k in range(1 + i % P)], labels=[(i + k) % 100 for k in range(1 + i % P)], next=i % 2))
    write_fixed(os.path.join(folder, "nvidia.hdf5"), data, S, P)
    write_lists(os.path.join(folder, "lists.hdf5"), data, False, chunks=(9,), compression="gzip", shuffle=True)
    with h5py.File(os.path.join(folder, "odd.hdf5"), "w", userblock_size=512) as f:  # types and filters nobody's scripts write
        f.create_dataset("input_ids", data=pad([r["ids"] for r in data], S, ">i4"), chunks=(7, 5), fletcher32=True)
        f.create_dataset("input_mask", data=pad([[1] * len(r["ids"]) for r in data], S, "i1"))
        f.create_dataset("segment_ids", data=pad([r["segments"] for r in data], S, ">u2"))
        f.create_dataset("masked_lm_positions", data=pad([r["positions"] for r in data], P, "i8"), chunks=(50, 3), compression="gzip", shuffle=True, fletcher32=True)
        f.create_dataset("masked_lm_ids", data=pad([r["labels"] for r in data], P, "u1"))
        f.create_dataset("next_sentence_labels", data=np.array([r["next"] for r in data], "i1"))
    with h5py.File(os.path.join(folder, "fill.hdf5"), "w", userblock_size=512) as f:  # what was never written: a chunk, whole datasets
        ids = f.create_dataset("input_ids", (6, 8), dtype=">i2", chunks=(2, 8), fillvalue=9)
        ids[0:2], ids[4:6] = 7, 8
        f.create_dataset("input_mask", (6, 8), dtype="i1", fillvalue=1)
        f.create_dataset("segment_ids", (6, 8), dtype="u8", chunks=(6, 8))
        f.create_dataset("masked_lm_positions", data=np.full((6, 1), 3), dtype="i4")
        f.create_dataset("masked_lm_ids", data=np.full((6, 1), 5), dtype="i4")
        f.create_dataset("next_sentence_labels", (6,), dtype="i1", fillvalue=1)


if __name__ == "__main__":
    if sys.argv[1] == "--golden":
        golden(sys.argv[2])
        sys.exit()
    PROGRAM = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for part in (foreign_hdf5, megatron_and_llmc, ours):
            before = done
            part(np.random.default_rng(7))
            print(f"{part.__name__}: {done - before} comparisons equal")
