#!/usr/bin/env python3
"""Golden predictions: tests/golden/predict, from the tiny models of tests/golden/heads through transformers.

    scripts/gen_golden_predict.py            # writes vocab.txt, files of texts, and what must come out of each

Needs torch and transformers. Rows, windows and the decoding of spans are written down here a second time: texts cut by longest_first
(transformers' own), sentences in windows of whole words, questions as in Google's run_squad.py.
"""
import json, os, random
import torch
from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification, AutoModelForTokenClassification, BertTokenizerFast

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..", "tests", "golden")
OUT = os.path.join(GOLDEN, "predict")
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh", *("##" + c for c in "abcdef"), ",", ".", "\u00e9"]
LENGTH = 12
random.seed(7)


def word():
    return random.choice("abcdefgh") + "".join(random.choice("abcdef") for _ in range(random.choice([0, 0, 0, 1, 2])))


def text(n):
    return " ".join(random.choice([word(), word(), word(), word() + ",", "\u00e9", "zz"]) for _ in range(n))


def write(name, lines):
    with open(os.path.join(OUT, name), "w", encoding="utf-8") as f:
        f.writelines(l + "\n" for l in lines)


def logits(model, ids, types):
    with torch.no_grad():
        out = model(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types]))
    return out


def sequence(tokenizer):
    model = AutoModelForSequenceClassification.from_pretrained(os.path.join(GOLDEN, "heads", "bert-sequence")).eval()
    pairs = [(text(random.randint(0, 14)), text(random.randint(1, 14))) for _ in range(25)]
    singles = [(text(random.randint(0, 20)), None) for _ in range(15)]
    write("pairs.jsonl", [json.dumps({"sentence1": a, "sentence2": b}, ensure_ascii=False) for a, b in pairs])
    write("texts.txt", [a for a, _ in singles])
    want = {}
    for name, rows in (("pairs", pairs), ("texts", singles)):
        want[name] = []
        for a, b in rows:
            t = tokenizer(a, b, truncation="longest_first", max_length=LENGTH)
            p = logits(model, t["input_ids"], t["token_type_ids"]).logits[0].double().softmax(-1)
            want[name].append([round(x, 7) for x in p.tolist()])
    return want


def best_window(windows, k, begin, end):
    """The window in which the poorer side of word k is the longest; the earlier one among equals."""
    best, most = -1, -1
    for i, (first, behind, start, stop) in enumerate(windows):
        if first <= k < behind:
            poorer = min(begin[k] - start, stop - end[k])
            if best < 0 or poorer > most:
                best, most = i, poorer
    return best


def word_windows(begin, end, n, room, stride):
    windows, first = [], 0
    while True:
        last = first
        while last < len(begin) and end[last] - begin[first] <= room:
            last += 1
        if last == first:
            last += 1
        stop = n if last == len(begin) else begin[last]
        windows.append((first, last, begin[first], min(stop, begin[first] + room)))
        if last == len(begin):
            return windows
        back = last
        while back - 1 > first and begin[last] - begin[back - 1] <= stride:
            back -= 1
        first = back


def tokens(tokenizer, stride=3):
    model = AutoModelForTokenClassification.from_pretrained(os.path.join(GOLDEN, "heads", "bert-tokens")).eval()
    lines, want = [], []
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    for _ in range(25):
        words = [word() for _ in range(random.choice([1, 2, 3, 5, 8, 13, 21]))]
        lines += [w + "\tN" for w in words] + [""]
        pieces = [tokenizer.encode(w, add_special_tokens=False) for w in words]
        ids = sum(pieces, [])
        end = [sum(len(p) for p in pieces[: k + 1]) for k in range(len(words))]
        begin = [e - len(p) for e, p in zip(end, pieces)]
        windows = word_windows(begin, end, len(ids), LENGTH - 2, stride)
        out = [logits(model, [cls, *ids[a:b], sep], [0] * (b - a + 2)).logits[0].double().softmax(-1) for _, _, a, b in windows]
        sentence = []
        for k in range(len(words)):
            i = best_window(windows, k, begin, end)
            p = out[i][1 + begin[k] - windows[i][2]]
            sentence.append([int(p.argmax()), round(float(p.max()), 7)])
        want.append(sentence)
    write("tokens.conll", lines)
    return want


def span_windows(n, room, stride):
    windows, start = [], 0
    while True:
        length = min(n - start, room)
        windows.append((start, start + length))
        if start + length == n:
            return windows
        start += min(length, stride)


def is_best(windows, own, t):
    def score(w):
        return min(t - w[0], w[1] - 1 - t) + 0.01 * (w[1] - w[0])
    scores = [score(w) if w[0] <= t < w[1] else -1 for w in windows]
    return scores.index(max(scores)) == own


def span(tokenizer, stride=3, max_query=3, n_best=5, max_answer=4):
    model = AutoModelForQuestionAnswering.from_pretrained(os.path.join(GOLDEN, "heads", "bert-span")).eval()
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    records, want = [], []
    for i in range(20):
        question, context = text(random.randint(1, 5)), text(random.choice([1, 3, 6, 12]))
        records.append(json.dumps({"id": str(i), "question": question, "context": context, "is_impossible": False}, ensure_ascii=False))
        q = tokenizer.encode(question, add_special_tokens=False)[:max_query]
        t = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)
        ids, where = t["input_ids"], t["offset_mapping"]
        windows = span_windows(len(ids), LENGTH - 3 - len(q), stride)
        found, null = [], None
        for own, (a, b) in enumerate(windows):
            row = [cls, *q, sep, *ids[a:b], sep]
            out = logits(model, row, [0] * (len(q) + 2) + [1] * (b - a + 1))
            s, e = out.start_logits[0].tolist(), out.end_logits[0].tolist()
            if null is None or s[0] + e[0] < null:
                null = s[0] + e[0]
            top = lambda v: sorted(range(len(v)), key=lambda k: -v[k])[:n_best]
            first = len(q) + 2
            for x in top(s):
                for y in top(e):
                    inside = first <= x < first + b - a and first <= y < first + b - a
                    if inside and y >= x and y - x + 1 <= max_answer and is_best(windows, own, a + x - first):
                        found.append((s[x] + e[y], where[a + x - first][0], where[a + y - first][1]))
        found.sort(key=lambda f: -f[0])
        best, seen = [], set()
        for f in sorted(found + [(null, None, None)], key=lambda f: -f[0]):
            if len(best) == n_best:
                break
            answer = "" if f[1] is None else context[f[1]:f[2]]
            if answer not in seen:
                seen.add(answer)
                best.append(f)
        if "" not in seen:
            best.append((null, None, None))
        p = torch.tensor([f[0] for f in best], dtype=torch.double).softmax(-1).tolist()
        some = [f for f in best if f[1] is not None]
        want.append({"nbest": [[f[1] if f[1] is not None else -1, f[2] if f[2] is not None else -1, round(x, 7)] for f, x in zip(best, p)],
                     "odds": round(null - some[0][0], 6) if some else 0})
    write("span.jsonl", records)
    return want


def main():
    os.makedirs(OUT, exist_ok=True)
    write("vocab.txt", VOCAB)
    tokenizer = BertTokenizerFast(os.path.join(OUT, "vocab.txt"), do_lower_case=True)
    want = {**sequence(tokenizer), "tokens": tokens(tokenizer), "span": span(tokenizer)}
    with open(os.path.join(OUT, "want.json"), "w") as f:
        json.dump(want, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
