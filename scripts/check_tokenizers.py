#!/usr/bin/env python3
"""Compares Halfstep's tokenizers with Hugging Face's `tokenizers` and with Google's published algorithm, id by id.

  check_tokenizers.py --write-goldens tests/golden/tokenizers --train TEXT
  check_tokenizers.py --library build/recipes/libhalfstep.so --vocabularies DIR [--fuzz N] [--seed S] [TEXT...]
  check_tokenizers.py --program build/halfstep --sizes 1000,8000,32000 TEXT...       merges of BPE trained on all of them

DIR holds bert-base-uncased.vocab.txt, gpt2.encoder.json and gpt2.vocab.bpe. Each TEXT is compared in chunks (ids), and some of them with
offsets, word ids, pairs, truncation, windows and padding. Fuzzed texts use code points assigned in Python's Unicode, which both
sides know. Needs the Python package `tokenizers`. Exit code 1 if anything differs.
"""
import argparse
import ctypes as C
import json
import os
import random
import subprocess
import sys
import tempfile
import unicodedata

os.environ["RUST_BACKTRACE"] = "0"

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers


# ---- Halfstep


class Options(C.Structure):
    _fields_ = [
        ("no_special", C.c_bool), ("max_length", C.c_int64), ("truncate", C.c_int), ("stride", C.c_int64), ("truncate_left", C.c_bool),
        ("pad", C.c_int), ("pad_length", C.c_int64), ("pad_multiple", C.c_int64), ("pad_left", C.c_bool), ("pad_id", C.c_int32),
        ("pad_type", C.c_int32),
    ]  # fmt: skip


class Span(C.Structure):
    _fields_ = [("start", C.c_int64), ("end", C.c_int64)]


class Row(C.Structure):
    _fields_ = [
        ("n", C.c_int64), ("id", C.POINTER(C.c_int32)), ("type", C.POINTER(C.c_int32)), ("word", C.POINTER(C.c_int32)),
        ("sequence", C.POINTER(C.c_int8)), ("special", C.POINTER(C.c_uint8)), ("attend", C.POINTER(C.c_uint8)),
        ("bytes", C.POINTER(Span)), ("chars", C.POINTER(Span)),
    ]  # fmt: skip


class Rows(C.Structure):
    _fields_ = [("row", C.POINTER(Row)), ("n", C.c_int64)]


class Halfstep:
    libc = C.CDLL(None)
    libc.free.argtypes = [C.c_void_p]

    def __init__(self, library, folder):
        self.lib, self.t = library, C.c_void_p()
        library.hs_error.restype = C.c_char_p
        self.must(library.hs_tokenizer_load(C.byref(self.t), folder.encode()))

    def must(self, status):
        if status:
            raise RuntimeError(self.lib.hs_error().decode())

    def ids(self, text):
        data, out, n = text.encode(), C.POINTER(C.c_int32)(), C.c_int64()
        self.must(self.lib.hs_tokenizer_encode(self.t, data, C.c_size_t(len(data)), C.byref(out), C.byref(n)))
        ids = out[: n.value]
        self.libc.free(out)
        return ids

    def rows(self, text, second=None, **options):
        a, b = text.encode(), None if second is None else second.encode()
        rows, o = Rows(), Options(**options)
        self.must(self.lib.hs_tokenizer_rows(self.t, a, C.c_size_t(len(a)), b, C.c_size_t(len(b or b"")), C.byref(o), C.byref(rows)))
        out = []
        for r in rows.row[: rows.n]:
            n = r.n
            spans = [(s.start, s.end) for s in r.chars[:n]]
            out.append((r.id[:n], r.type[:n], spans, r.word[:n], r.sequence[:n], r.special[:n], r.attend[:n]))
        self.lib.hs_rows_free(C.byref(rows))
        return out


# A row: ids, types, offsets, words, sequences, special, attention
def none_as_minus(values):
    return [-1 if v is None else v for v in values]


def hf_rows(encoding):
    return [
        (e.ids, e.type_ids, e.offsets, none_as_minus(e.word_ids), none_as_minus(e.sequence_ids), e.special_tokens_mask, e.attention_mask)
        for e in [encoding, *encoding.overflowing]
    ]


# ---- Google's algorithm (google-research/bert, tokenization.py), from its description


class Google:
    def __init__(self, vocab, lower=True):
        self.vocab, self.lower = vocab, lower

    @staticmethod
    def is_ideograph(c):
        ranges = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF),
                  (0xF900, 0xFAFF), (0x2F800, 0x2FA1F))  # fmt: skip
        return any(a <= c <= b for a, b in ranges)

    @staticmethod
    def is_punctuation(ch):
        c = ord(ch)
        return 33 <= c <= 47 or 58 <= c <= 64 or 91 <= c <= 96 or 123 <= c <= 126 or unicodedata.category(ch).startswith("P")

    def clean(self, text):
        out = []
        for ch in text:
            category = unicodedata.category(ch)
            if ch in " \t\n\r" or category == "Zs":
                out.append(" ")
            elif ord(ch) in (0, 0xFFFD) or category in ("Cc", "Cf"):
                continue
            else:
                out.append(f" {ch} " if self.is_ideograph(ord(ch)) else ch)
        return "".join(out)

    def words(self, text):
        for word in self.clean(text).split():
            if self.lower:
                word = "".join(ch for ch in unicodedata.normalize("NFD", word.lower()) if unicodedata.category(ch) != "Mn")
            part = ""
            for ch in word:
                if self.is_punctuation(ch):
                    yield from [part] if part else []
                    yield ch
                    part = ""
                else:
                    part += ch
            if part:
                yield part

    def ids(self, text):
        out = []
        for word in " ".join(self.words(text)).split():
            pieces, start = [], 0
            while start < len(word) and len(word) <= 200:
                for end in range(len(word), start, -1):
                    piece = ("##" if start else "") + word[start:end]
                    if piece in self.vocab:
                        pieces.append(self.vocab[piece])
                        start = end
                        break
                else:
                    start = None
                    break
            out += [self.vocab["[UNK]"]] if start is None or start < len(word) else pieces
        return out


# ---- the tokenizers under test


def build(folder, vocabularies):
    with open(f"{vocabularies}/bert-base-uncased.vocab.txt", encoding="utf-8", newline="\n") as f:
        vocab = {line.rstrip("\n"): i for i, line in enumerate(f)}

    def bert(lowercase, strip_accents=None, clean_text=True, ideographs=True):
        t = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
        t.normalizer = normalizers.BertNormalizer(clean_text, ideographs, strip_accents, lowercase)
        t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        t.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
        t.decoder = decoders.WordPiece()
        t.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 101), ("[SEP]", 102)])  # fmt: skip
        return t

    def gpt2(prefix, post):
        t = Tokenizer(models.BPE.from_file(f"{vocabularies}/gpt2.encoder.json", f"{vocabularies}/gpt2.vocab.bpe"))
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
        t.decoder = decoders.ByteLevel()
        t.post_processor = post
        t.add_special_tokens([AddedToken("<|endoftext|>", normalized=True)])
        return t

    added = gpt2(False, processors.ByteLevel(trim_offsets=True))
    added.add_tokens([AddedToken("<mask>", lstrip=True, normalized=False), AddedToken("stop", single_word=True), AddedToken("\u00e9", rstrip=True)])
    cls_bert = bert(True)
    cls_bert.post_processor = processors.BertProcessing(("[SEP]", 102), ("[CLS]", 101))
    made = {
        "bert": bert(True),
        "bert-cased": bert(False),
        "bert-accents": bert(True, strip_accents=False),
        "bert-stripped": bert(False, strip_accents=True),
        "bert-raw": bert(True, clean_text=False, ideographs=False),
        "bert-processing": cls_bert,
        "gpt2": gpt2(False, processors.ByteLevel(trim_offsets=False)),
        "gpt2-added": added,
        "roberta": gpt2(True, processors.RobertaProcessing(("a", 64), ("b", 65))),
    }
    for name, t in made.items():
        os.makedirs(f"{folder}/{name}")
        t.save(f"{folder}/{name}/tokenizer.json")
    for name, lower in (("google", True), ("google-cased", False)):
        j = json.loads(bert(lower).to_str())
        j["model"].update(halfstep="wordpiece-google", max_input_chars_per_word=200)
        j["added_tokens"] = []
        os.makedirs(f"{folder}/{name}")
        with open(f"{folder}/{name}/tokenizer.json", "w", encoding="utf-8") as f:
            json.dump(j, f)
        made[name] = Google(vocab, lower)
    return made


# ---- comparing


class Check:
    def __init__(self):
        self.compared, self.wrong, self.bytes = 0, 0, 0

    def equal(self, name, text, ours, theirs):
        self.compared += 1
        if ours == theirs:
            return
        self.wrong += 1
        if self.wrong <= 20:
            while ours and theirs and isinstance(ours[0], (list, tuple)) and len(ours) == len(theirs) and isinstance(ours[0][0] if ours[0] else 0, (list, int)):
                k = next(i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b)
                if not isinstance(ours[k], (list, tuple)) or len(ours[k]) == 2 and isinstance(ours[k][0], int):
                    break
                name, ours, theirs = f"{name} [{k}]", ours[k], theirs[k]
            k = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
            print(f"{name}: {ascii(text[:200])}\n  at {k}: ours {ours[k : k + 6]} theirs {theirs[k : k + 6]}")


def random_text(rng, assigned, length):
    spice = "\u03a3\u03c3\u0130\u00e9e\u0301\u0345'' .,::\t\n\r\u00a0\u2028\u3000\u00ad\u200d\ufffd\u0000\u1e9e\u212a\u4e00\uac01\u302e\u302fssdtmrevell"
    out = []
    while len(out) < length:
        kind = rng.random()
        if kind < 0.45:
            out += rng.choice(["the", "a", "Hello", "world", "'s", "'ll", "'re", "123", "x9", "  ", " ", " ", "\n", "[MASK]", "<mask>", "stop"])
        elif kind < 0.65:
            out.append(rng.choice(spice))
        elif kind < 0.85:
            base = rng.choice((0x20, 0xA0, 0x300, 0x370, 0x400, 0x590, 0x900, 0xE00, 0x1100, 0x1E00, 0x2000, 0x3000, 0xFE00, 0x1D100))
            out += [c for c in (chr(base + rng.randrange(0x80)),) if unicodedata.category(c) != "Cn"]
        else:
            out.append(chr(rng.choice(assigned)))
    return "".join(out)


def stays(ch):
    """False for marks that are kept and that canonical order may move: their offsets name the place where they went, ours the mark's own."""
    return all(not unicodedata.combining(x) or unicodedata.category(x) == "Mn" for x in unicodedata.normalize("NFD", ch))


def check_rows(check, name, ours, theirs, texts, rng):
    texts = ["".join(ch for ch in text if stays(ch)) for text in texts]
    for text, second in zip(texts, texts[1:] + texts[:1]):
        for pair in (None, second):
            for _ in range(2):
                length, strategy = rng.choice((0, 0, 9, 16, 40)), rng.randrange(3)
                stride, left, pad = rng.randrange(3), rng.random() < 0.3, rng.randrange(3)
                o = dict(no_special=rng.random() < 0.2, max_length=length, truncate=strategy, stride=stride, truncate_left=left, pad=pad,
                         pad_length=24, pad_multiple=rng.choice((0, 8)), pad_left=rng.random() < 0.3, pad_id=7, pad_type=1)  # fmt: skip
                theirs.no_truncation()
                theirs.no_padding()
                if length:
                    how = ("longest_first", "only_first", "only_second")[strategy]
                    theirs.enable_truncation(max_length=length, stride=stride, strategy=how, direction="left" if left else "right")
                if pad:
                    theirs.enable_padding(direction="left" if o["pad_left"] else "right", pad_id=7, pad_type_id=1, pad_token="!",
                                          length=24 if pad == 2 else None, pad_to_multiple_of=o["pad_multiple"] or None)  # fmt: skip
                try:
                    want = hf_rows(theirs.encode(text, pair, add_special_tokens=not o["no_special"]))
                except BaseException as e:  # their panics are no Exceptions
                    want = str(e)
                try:
                    got = ours.rows(text, pair, **o)
                except RuntimeError as e:
                    got = str(e)
                if isinstance(want, str) or isinstance(got, str):
                    if isinstance(got, str) and len(want) and not isinstance(want, str) and "leaves nothing new" not in got and "no room" not in got:
                        check.equal(f"{name} rows {o}", text, got, "rows")
                    continue
                if name == "roberta":  # their windows behind the first keep types that no template gave them
                    got, want = ([(r[0], *r[2:]) for r in rows] for rows in (got, want))
                check.equal(f"{name} rows {o} pair {pair is not None}", text, got[: len(want)], want)
                check.equal(f"{name} rows {o} count", text, [len(got)], [len(want)])
    theirs.no_truncation()
    theirs.no_padding()


# ---- training


def check_training(check, program, sizes, paths):
    for size in sizes:
        theirs = Tokenizer(models.BPE())
        theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        theirs.train(paths, trainers.BpeTrainer(vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                                special_tokens=["<|endoftext|>"], show_progress=False))  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([program, "tokenizer", "train", "--vocab-size", str(size), *paths, "-o", folder, "--quiet"], check=True, stdout=subprocess.DEVNULL)
            ours = [line.split(" ") for line in open(f"{folder}/merges.txt", encoding="utf-8").read().split("\n") if line and not line.startswith("#version")]
        want = [m.split(" ") if isinstance(m, str) else m for m in json.loads(theirs.to_str())["model"]["merges"]]
        check.equal(f"merges of {size}", f"{len(ours)} and {len(want)}", ours, want)
        print(f"BPE of {size}: {len(want)} merges, {sum(a == b for a, b in zip(ours, want))} equal, in order")


# ---- goldens: small tokenizers and what they give, for ctest


def golden_tokenizers(text):
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    wordpiece = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    wordpiece.normalizer, wordpiece.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    alphabet = list("\u03b1\u03c3\u03c2\u0438\u6c34\u1100\u1161\u302e\u302f")
    wordpiece.train_from_iterator([text], trainers.WordPieceTrainer(vocab_size=600, initial_alphabet=alphabet, special_tokens=specials, show_progress=False))
    ids = {name: wordpiece.token_to_id(name) for name in specials}
    wordpiece.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
                                                             special_tokens=[(n, ids[n]) for n in ("[CLS]", "[SEP]")])  # fmt: skip
    wordpiece.decoder = decoders.WordPiece()
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.train_from_iterator([text], trainers.BpeTrainer(vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                                        special_tokens=["<s>", "</s>"], show_progress=False))  # fmt: skip
    bpe.decoder = decoders.ByteLevel()
    bpe.post_processor = processors.ByteLevel(trim_offsets=False)
    roberta = Tokenizer.from_str(bpe.to_str())
    roberta.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    roberta.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    roberta.add_tokens([AddedToken("<mask>", lstrip=True, normalized=False), AddedToken("stop", single_word=True, normalized=False)])
    cased = Tokenizer.from_str(wordpiece.to_str())
    cased.normalizer = normalizers.BertNormalizer(lowercase=False)
    google = json.loads(wordpiece.to_str())
    google["model"].update(halfstep="wordpiece-google", max_input_chars_per_word=200)
    return {"wordpiece": wordpiece, "wordpiece-cased": cased, "bpe": bpe, "bpe-roberta": roberta}, google


def write_goldens(folder, train, assigned, rng):
    with open(train, encoding="utf-8") as f:
        made, google = golden_tokenizers(f.read()[:300000])
    texts = ["", " ", "To be, or not to be: that's the question.", "\u039f\u0394\u039f\u03a3 \u03a3\u0391\u03a3'", "x" * 101, "y" * 201, "hello" * 60]
    texts += [random_text(rng, assigned, rng.randrange(1, 30)) for _ in range(80)]
    for name, t in made.items():
        os.makedirs(f"{folder}/{name}", exist_ok=True)
        t.save(f"{folder}/{name}/tokenizer.json", pretty=False)
        cases = []
        for k, (text, second) in enumerate(zip(texts, texts[1:] + texts[:1])):
            pair, cut = second if k % 3 == 2 else None, k % 2 == 1
            t.no_truncation(), t.no_padding()
            o = {"max_length": 16, "stride": 3, "truncate": 0, "truncate_left": k % 8 == 1, "pad": 2 if k % 4 == 1 else 0, "pad_length": 24} if cut else {}
            if cut:
                t.enable_truncation(max_length=16, stride=3, strategy="longest_first", direction="left" if o["truncate_left"] else "right")
            if o.get("pad"):
                t.enable_padding(length=24, pad_id=0, pad_type_id=0, pad_token="!")
            rows = [list(r) for r in hf_rows(t.encode(text, pair))]
            cases.append({"text": text, "pair": pair, "options": o, "n_rows": len(rows), "rows": rows[:4]})
        with open(f"{folder}/{name}/cases.json", "w", encoding="ascii") as f:
            json.dump(cases, f, separators=(",", ":"))
    os.makedirs(f"{folder}/wordpiece-google", exist_ok=True)
    with open(f"{folder}/wordpiece-google/tokenizer.json", "w", encoding="utf-8") as f:
        json.dump(google, f, ensure_ascii=False, separators=(",", ":"))
    g = Google(google["model"]["vocab"])
    with open(f"{folder}/wordpiece-google/cases.json", "w", encoding="ascii") as f:
        json.dump([{"text": text, "ids": g.ids(text)} for text in texts], f, separators=(",", ":"))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--library", default="")
    p.add_argument("--program", default="")
    p.add_argument("--sizes", default="1000,8000,32000")
    p.add_argument("--vocabularies", default="")
    p.add_argument("--write-goldens", default="", metavar="DIR")
    p.add_argument("--train", default="", metavar="TEXT")
    p.add_argument("--fuzz", type=int, default=2000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--chunk", type=int, default=20000, help="characters compared at once")
    p.add_argument("--only", default="", help="names, separated by commas")
    p.add_argument("texts", nargs="*")
    a = p.parse_args()
    check, rng = Check(), random.Random(a.seed)
    if a.write_goldens:
        write_goldens(a.write_goldens, a.train, [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs")], rng)
        return 0
    if a.program:
        check_training(check, os.path.abspath(a.program), [int(n) for n in a.sizes.split(",")], a.texts)
        return 1 if check.wrong else 0
    library = C.CDLL(os.path.abspath(a.library))
    assigned = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
    with tempfile.TemporaryDirectory() as folder:
        made = build(folder, a.vocabularies)
        ours = {name: Halfstep(library, f"{folder}/{name}") for name in made}
        names = a.only.split(",") if a.only else list(made)
        fuzzed = [random_text(rng, assigned, rng.randrange(1, 90)) for _ in range(a.fuzz)]
        every = [f"a{chr(c)}b {chr(c)} {chr(c)}'s x{chr(c)}\u0301\u302e.{chr(c)}1" for c in assigned]
        long_fuzz = ["".join(fuzzed[i : i + 40]) for i in range(0, len(fuzzed), 40)]
        for name in names:
            t = made[name]
            before = check.wrong
            theirs = t.ids if isinstance(t, Google) else lambda text, t=t: t.encode(text, add_special_tokens=False).ids
            for text in fuzzed + long_fuzz + every:
                check.equal(name, text, ours[name].ids(text), theirs(text))
            if not isinstance(t, Google):
                check_rows(check, name, ours[name], t, fuzzed[: max(20, a.fuzz // 20)], rng)
            print(f"{name}: {len(fuzzed)} fuzzed texts, {len(every)} code points: {check.wrong - before} differ", flush=True)
        for path in a.texts:
            with open(path, "rb") as f:
                text = f.read().decode("utf-8", "ignore")
            chunks = [text[i : i + a.chunk] for i in range(0, len(text), a.chunk)]
            for name in names if a.only else ("bert", "gpt2", "google"):
                t, before = made[name], check.wrong
                for i in range(0, len(chunks), 64):
                    part = chunks[i : i + 64]
                    want = [t.ids(c) for c in part] if isinstance(t, Google) else [e.ids for e in t.encode_batch_fast(part, add_special_tokens=False)]
                    for c, ids in zip(part, want):
                        check.equal(name, c, ours[name].ids(c), ids)
                check.bytes += len(text.encode())
                print(f"{name}: {os.path.basename(path)}: {len(text.encode()) / 1e6:.1f} MB: {check.wrong - before} of {len(chunks)} differ", flush=True)
    print(f"{check.compared} comparisons, {check.bytes / 1e6:.1f} MB of files: {check.wrong} differ")
    return 1 if check.wrong else 0


sys.exit(main())
