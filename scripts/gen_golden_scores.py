#!/usr/bin/env python3
"""Makes tests/golden/scores/: small random and hand-made cases, and what the field's scorers make of them.

    python3 scripts/gen_golden_scores.py [DIR]     needs numpy, scipy, scikit-learn, seqeval; the tests read only what it wrote

One JSON file a task, a list of cases: what is scored, and "want", the scores by name (null: not defined). Scorers: scikit-learn and scipy
for sequence, multilabel and regression; seqeval's two modes for tokens. conlleval.pl and the two scripts of SQuAD are no packages: what they
do is written down here once more, in Python as they are, so that lower(), \\w and split() are Python's. intervals.json: bootstrap intervals from
a Philox of its own, calibration.json: expected calibration error (Guo et al. 2017).
"""
import collections
import json
import math
import pathlib
import re
import string
import sys
import warnings

import numpy as np
from scipy import stats
from seqeval import scheme as schemes
from seqeval.metrics import sequence_labeling as seqeval
from seqeval.metrics import v1 as seqeval_strict
from sklearn import metrics as sk

warnings.filterwarnings("ignore")
rng = np.random.default_rng(14)


def number(v):
    v = float(v)
    return None if math.isnan(v) else v


def f32(a):
    return np.asarray(a, np.float32).astype(np.float64)


# ---- sequence

def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def area(gold, scores, classes):
    try:
        if classes == 2:
            return sk.roc_auc_score(gold, scores[:, 1])
        return sk.roc_auc_score(gold, scores, multi_class="ovr", average="macro", labels=range(classes))
    except ValueError:
        return math.nan


def sequence_case(gold, pred, classes, scores=None):
    gold, pred = np.array(gold), np.array(pred)
    at = gold >= 0
    g, p = gold[at], pred[at]
    want = {"accuracy": sk.accuracy_score(g, p), "f1_macro": sk.f1_score(g, p, average="macro"), "f1_micro": sk.f1_score(g, p, average="micro"),
            "f1_weighted": sk.f1_score(g, p, average="weighted"), "precision_macro": sk.precision_score(g, p, average="macro"),
            "recall_macro": sk.recall_score(g, p, average="macro"), "mcc": sk.matthews_corrcoef(g, p)}
    if classes == 2:
        want |= {"f1": sk.f1_score(g, p, labels=[0, 1], zero_division=0), "precision": sk.precision_score(g, p, zero_division=0),
                 "recall": sk.recall_score(g, p, zero_division=0)}
    case = {"classes": classes, "gold": gold.tolist(), "pred": pred.tolist()}
    if scores is not None:
        case["scores"] = scores.tolist()
        # rows of f32 do not sum to 1 as closely as scikit-learn asks of f64; it reads their order alone
        s = scores[at] if classes == 2 else scores[at] / scores[at].sum(1, keepdims=True)
        want["roc_auc" if classes == 2 else "roc_auc_ovr"] = area(g, scores[at], classes) if classes == 2 else area_by_class(g, scores[at], s, classes)
    case["want"] = {k: number(v) for k, v in want.items()}
    return case


def area_by_class(gold, scores, normed, classes):
    theirs = area(gold, normed, classes)
    areas = [sk.roc_auc_score(gold == k, scores[:, k]) if 0 < (gold == k).sum() < len(gold) else math.nan for k in range(classes)]
    ours = float(np.mean(areas))
    assert math.isnan(theirs) == math.isnan(ours) and (math.isnan(ours) or abs(theirs - ours) < 2e-3)  # normalising may make or break ties
    return ours


def sequences():
    for classes, n in [(2, 41), (2, 200), (3, 60), (5, 150), (9, 90), (5, 12)]:
        gold = rng.integers(0, classes, n)
        logits = rng.normal(size=(n, classes)) + 1.2 * np.eye(classes)[gold]
        scores = f32(np.round(softmax(logits), 2 if n % 2 else 6))  # two digits: many ties
        yield sequence_case(gold, scores.argmax(1), classes, scores)
        gold[rng.random(n) < 0.2] = -1
        yield sequence_case(gold, scores.argmax(1), classes)
    yield sequence_case([1, 1, 1], [1, 1, 1], 2)
    yield sequence_case([0, 0, 0, 0], [0, 0, 0, 0], 2)
    yield sequence_case([0, 0, 1, 1], [1, 1, 0, 0], 2)
    yield sequence_case([0, 1, 2, 2, 4], [3, 3, 3, 3, 3], 6)


# ---- regression and multilabel

def regression_case(gold, pred):
    gold, pred = f32(gold), f32(pred)
    columns = []
    for g, p in zip(gold.T, pred.T):
        flat = len(g) < 2 or (g == g[0]).all() or (p == p[0]).all()
        columns.append((math.nan if flat else stats.pearsonr(g, p)[0], math.nan if flat else stats.spearmanr(g, p)[0]))
    pearson, spearman = np.mean(columns, 0)
    want = {"pearson": pearson, "spearman": spearman, "mse": sk.mean_squared_error(gold, pred), "rmse": sk.root_mean_squared_error(gold, pred),
            "mae": sk.mean_absolute_error(gold, pred), "r2": sk.r2_score(gold, pred) if len(gold) > 1 else math.nan}
    return {"width": gold.shape[1], "gold": gold.tolist(), "pred": pred.tolist(), "want": {k: number(v) for k, v in want.items()}}


def regressions():
    for n, width in [(30, 1), (200, 1), (50, 3), (2, 1)]:
        gold = np.round(rng.uniform(0, 5, (n, width)), 1)
        yield regression_case(gold, gold + rng.normal(size=gold.shape))
    yield regression_case(gold := np.round(rng.uniform(0, 5, (40, 1))), np.round(gold + rng.normal(size=gold.shape)))
    yield regression_case(1e4 + rng.normal(size=(60, 1)), 1e4 + rng.normal(size=(60, 1)))
    yield regression_case(np.full((5, 1), 0.1), rng.normal(size=(5, 1)))
    yield regression_case(rng.normal(size=(5, 1)), np.full((5, 1), 0.7))
    yield regression_case([[1.0]], [[2.0]])


def multilabel_case(gold, scores):
    scores = f32(scores)
    pred = (scores > 0.5).astype(int)
    f1 = {f"f1_{a}": sk.f1_score(gold, pred, average=a, zero_division=0) for a in ("micro", "macro", "weighted", "samples")}
    areas = [sk.roc_auc_score(g, s) if 0 < g.sum() < len(g) else math.nan for g, s in zip(gold.T, scores.T)]
    want = {**f1, "precision_micro": sk.precision_score(gold, pred, average="micro", zero_division=0),
            "recall_micro": sk.recall_score(gold, pred, average="micro", zero_division=0), "accuracy": sk.accuracy_score(gold, pred),
            "hamming_loss": sk.hamming_loss(gold, pred), "roc_auc_macro": np.mean(areas)}
    return {"labels": gold.shape[1], "gold": gold.tolist(), "scores": scores.tolist(), "want": {k: number(v) for k, v in want.items()}}


def multilabels():
    for n, labels, often in [(50, 4, 0.3), (80, 7, 0.1), (6, 3, 0.5)]:
        gold = (rng.random((n, labels)) < often).astype(int)
        yield multilabel_case(gold, np.clip(np.round(0.35 * gold + rng.uniform(0, 0.7, gold.shape), 2), 0, 1))
    yield multilabel_case(np.zeros((4, 2), int), np.full((4, 2), 0.2))
    gold = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]])
    yield multilabel_case(gold, np.array([[0.9, 0.1, 0.0], [0.2, 0.4, 0.7], [0.6, 0.5, 0.0]]))


# ---- tokens

def conll_tag(tag):
    prefix, hyphen, kind = tag.partition("-")
    return (prefix, kind) if hyphen else (tag, "")


def conll_end(last, now):
    (p, kind), (t, now_kind) = last, now
    return (p, t) in {("B", "B"), ("B", "O"), ("I", "B"), ("I", "O"), ("E", "E"), ("E", "I"), ("E", "O")} or \
        (p not in ("O", ".") and kind != now_kind) or p in ("]", "[")


def conll_start(last, now):
    (p, kind), (t, now_kind) = last, now
    return (p, t) in {("B", "B"), ("I", "B"), ("O", "B"), ("O", "I"), ("E", "E"), ("E", "I"), ("O", "E")} or \
        (t not in ("O", ".") and kind != now_kind) or t in ("]", "[")


def conlleval(gold, pred):
    """Counts by type, as conlleval.pl of 2004-01-26 reads a file with an empty line behind each sentence."""
    counts = collections.defaultdict(lambda: [0, 0, 0])
    last_gold = last_pred = ("O", "")
    inside = False
    for sentence in zip(gold, pred):
        for g, p in list(zip(*sentence)) + [("O", "O")]:
            g, p = conll_tag(g), conll_tag(p)
            gold_end, pred_end = conll_end(last_gold, g), conll_end(last_pred, p)
            if inside:
                if gold_end and pred_end and last_gold[1] == last_pred[1]:
                    inside = False
                    counts[last_gold[1]][0] += 1
                elif gold_end != pred_end or g[1] != p[1]:
                    inside = False
            gold_start, pred_start = conll_start(last_gold, g), conll_start(last_pred, p)
            if gold_start and pred_start and g[1] == p[1]:
                inside = True
            if pred_start:
                counts[p[1]][1] += 1
            if gold_start:
                counts[g[1]][2] += 1
            last_gold, last_pred = g, p
    return dict(counts)


def conll_scores(gold, pred):
    counts = conlleval(gold, pred)
    hits, found, true = np.sum(list(counts.values()), 0) if counts else (0, 0, 0)
    precision, recall = hits / found if found else 0, hits / true if true else 0
    return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / (precision + recall) if precision + recall else 0}, counts


def seqeval_scores(gold, pred, scheme):
    score = seqeval_strict.precision_recall_fscore_support if scheme else seqeval.precision_recall_fscore_support
    more = {"scheme": scheme} if scheme else {}
    want = {}
    want["precision"], want["recall"], want["f1"], _ = score(gold, pred, average="micro", **more)
    _, _, want["f1_macro"], _ = score(gold, pred, average="macro", **more)
    _, _, want["f1_weighted"], _ = score(gold, pred, average="weighted", **more)
    if scheme:
        true, guess = schemes.Entities(gold, scheme), schemes.Entities(pred, scheme)
        kinds = sorted(true.unique_tags | guess.unique_tags)
        return want, {k: [len(true.filter(k) & guess.filter(k)), len(guess.filter(k)), len(true.filter(k))] for k in kinds}
    true, guess = set(seqeval.get_entities(gold)), set(seqeval.get_entities(pred))
    kinds = sorted({e[0] for e in true | guess})
    of = lambda s, k: {e for e in s if e[0] == k}
    return want, {k: [len(of(true, k) & of(guess, k)), len(of(guess, k)), len(of(true, k))] for k in kinds}


def tokens_case(gold, pred, mode, scheme=None):
    if mode == "conlleval":
        want, counts = conll_scores(gold, pred)
    else:
        want, counts = seqeval_scores(gold, pred, scheme if mode == "strict" else None)
    want["accuracy"] = seqeval.accuracy_score(gold, pred)
    return {"mode": mode, "scheme": scheme.__name__.lower() if scheme else "auto", "gold": [" ".join(s) for s in gold],
            "pred": [" ".join(s) for s in pred], "counts": counts, "want": {k: number(v) for k, v in want.items()}}


def random_tags(prefixes, kinds, lengths, legal):
    """Tags at random: most of them go on as the token before, so that chunks of some length come about, legal or not."""
    for n in lengths:
        tags = []
        for _ in range(n):
            kind = rng.choice(kinds)
            if tags and tags[-1] != "O" and rng.random() < legal:
                kind = tags[-1].split("-", 1)[-1]
            tags.append("O" if rng.random() < 0.3 else f"{rng.choice(list(prefixes))}-{kind}")
        yield tags


def blurred(gold, prefixes, kinds):
    others = ["O"] + [f"{p}-{k}" for p in prefixes for k in kinds]
    return [[t if rng.random() < 0.8 else str(rng.choice(others)) for t in s] for s in gold]


def token_cases():
    kinds = ["PER", "LOC", "x-y"]
    for scheme, prefixes in [(schemes.IOB1, "IB"), (schemes.IOB2, "IB"), (schemes.IOE1, "IE"), (schemes.IOE2, "IE"), (schemes.IOBES, "IBES"),
                             (schemes.BILOU, "BILU")]:
        lengths = rng.integers(1, 14, 14)
        gold = list(random_tags(prefixes, kinds, lengths, 0.7))
        pred = blurred(gold, prefixes, kinds)
        yield tokens_case(gold, pred, "strict", scheme)
        yield tokens_case(gold, pred, "default")
        yield tokens_case(gold, pred, "conlleval")
        yield tokens_case(gold, gold, "strict", scheme)
    paper = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]], \
        [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    leading = [["B-NP", "I-NP", "O"]], [["I-NP", "I-NP", "O"]]  # F1 1 in default mode, 0 in strict
    odd = [["B", "I", "O", "B-", "I--X"], ["X-A", "X-A", "N"], ["N", "V", "V"]], [["I", "I", "O", "B-", "I--X"], ["X-A", "X-B", "N"], ["N", "N", "V"]]
    none = [["O", "O"]], [["O", "O"]]
    for pair in (paper, leading, odd, none):
        yield tokens_case(*pair, "default")
        yield tokens_case(*pair, "conlleval")
    for pair in (paper, leading):
        yield tokens_case(*pair, "strict", schemes.IOB2)


# ---- span: evaluate-v1.1.py, evaluate-v2.0.py

def normalize(s):
    s = "".join(ch for ch in s.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", s).split())


def f1(pred, gold, version_2):
    pred, gold = normalize(pred).split(), normalize(gold).split()
    if version_2 and (not pred or not gold):
        return int(pred == gold)
    same = sum((collections.Counter(pred) & collections.Counter(gold)).values())
    if same == 0:
        return 0
    precision, recall = same / len(pred), same / len(gold)
    return 2 * precision * recall / (precision + recall)


def best_thresh(items, scores):
    now = best = sum(1 for i in items if not i["gold"])
    thresh = 0.0
    for i in sorted(items, key=lambda i: i["odds"]):
        now += scores[i["id"]] if i["gold"] else -1 if i["pred"] else 0
        if now > best:
            best, thresh = now, i["odds"]
    return 100 * best / len(scores), thresh


def span_want(items, version_2, odds, na_thresh):
    if not version_2:
        em = [0 if i["pred"] is None else max(int(normalize(i["pred"]) == normalize(g)) for g in i["gold"]) for i in items]
        bag = [0 if i["pred"] is None else max(f1(i["pred"], g, False) for g in i["gold"]) for i in items]
        return {"exact_match": 100 * sum(em) / len(items), "f1": 100 * sum(bag) / len(items), "total": len(items)}
    exact, bags = {}, {}
    for i in items:
        gold = [g for g in i["gold"] if normalize(g)] or [""]
        exact[i["id"]] = max(int(normalize(i["pred"]) == normalize(g)) for g in gold)
        bags[i["id"]] = max(f1(i["pred"], g, True) for g in gold)
    cut = lambda s: {i["id"]: float(not i["gold"]) if odds and i["odds"] > na_thresh else s[i["id"]] for i in items}
    e, b = cut(exact), cut(bags)
    want = {"exact": 100 * sum(e.values()) / len(e), "f1": 100 * sum(b.values()) / len(b), "total": len(e)}
    for name, part in (("HasAns", [i["id"] for i in items if i["gold"]]), ("NoAns", [i["id"] for i in items if not i["gold"]])):
        if part:
            want |= {f"{name}_exact": 100 * sum(e[k] for k in part) / len(part), f"{name}_f1": 100 * sum(b[k] for k in part) / len(part),
                     f"{name}_total": len(part)}
    if odds:
        want["best_exact"], want["best_exact_thresh"] = best_thresh(items, exact)
        want["best_f1"], want["best_f1_thresh"] = best_thresh(items, bags)
    return want


WORDS = "the a an The AN cat cats Paris 1,000 U.S. state-of-the-art don't (sic) 42% naïve Ünal ΟΔΟΣ ΟΔΟΣ! ΣΑΣ İzmir 東京 – « … A.M. a_the theatre".split()
TEXTS = ["the", "", " ", "A", "an apple", "The\u00a0cat", "cat\u2003 sat\x1cmat", "a\u0301 b", "x_the_y", "the_ cat", "ΑΣ ΑΣΑ ΑΣ.", "ΑΣ'Β", "Σ", "İ", "a-the-an b",
         "$1,000.00!", "\u200bthe", "the\u200b cat", "²the", "a²", "co\u00adop", "…a…", "１ａ", "ſ the K"]


def answer():
    return " ".join(rng.choice(WORDS, rng.integers(1, 5)))


def span_items(n, unanswerable, missing=0.0):
    for i in range(n):
        gold = [] if rng.random() < unanswerable else [answer() for _ in range(rng.integers(1, 4))]
        draw = rng.random()
        pred = gold[-1].lower() + "." if gold and draw < 0.4 else "" if draw < 0.6 and unanswerable else answer()
        yield {"id": f"q{i}", "gold": gold, "pred": None if rng.random() < missing else pred, "odds": float(np.round(rng.normal() - (0.8 if gold else -0.8), 1))}


def spans():
    for n, version_2, odds, thresh in [(60, False, False, 1.0), (80, True, False, 1.0), (90, True, True, 1.0), (70, True, True, -0.3), (20, True, True, 1.0)]:
        items = list(span_items(n, 0.35 if version_2 else 0, 0 if version_2 else 0.1))
        if n == 20:
            items = [i for i in items if i["gold"]]
        yield {"version_2": version_2, "odds": odds, "threshold": thresh, "items": items, "want": span_want(items, version_2, odds, thresh)}
    texts = [{"id": f"t{k}", "gold": [a, ".A."], "pred": b, "odds": 0.0} for k, (a, b) in enumerate((a, b) for a in TEXTS for b in (a, "cat", "the"))]
    for version_2 in (False, True):
        yield {"version_2": version_2, "odds": False, "threshold": 1.0, "items": texts, "want": span_want(texts, version_2, False, 1.0)}


def normal_forms():
    return [{"text": t, "want": normalize(t)} for t in TEXTS + WORDS + [answer() for _ in range(20)]]


# ---- bootstrap and calibration

def mix(x):
    mask = (1 << 64) - 1
    x = (x + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & mask
    return x ^ x >> 31


def hash_string(s):
    h = 0xCBF29CE484222325
    for byte in s.encode():
        h = ((h ^ byte) * 0x100000001B3) & ((1 << 64) - 1)
    return mix(h)


def philox(c, key):
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = (p1 >> 32 ^ c[1] ^ k0, p1 & 0xFFFFFFFF, p0 >> 32 ^ c[3] ^ k1, p0 & 0xFFFFFFFF)
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c


def draws(n, resamples, seed):
    key = mix(mix(seed) ^ hash_string("bootstrap"))
    for r in range(resamples):
        yield np.array([(philox((i // 4, r, 0, 0), key)[i % 4] * n) >> 32 for i in range(n)])


def intervals():
    n, resamples, seed, level = 50, 40, 3, 0.9
    gold = rng.integers(0, 2, n)
    pred = np.where(rng.random(n) < 0.75, gold, 1 - gold)
    score = {"accuracy": sk.accuracy_score, "f1": sk.f1_score, "mcc": sk.matthews_corrcoef}
    rows = list(draws(n, resamples, seed))
    want = {k: np.quantile([f(gold[d], pred[d]) for d in rows], [(1 - level) / 2, (1 + level) / 2]).tolist() for k, f in score.items()}
    return [{"seed": seed, "resamples": resamples, "level": level, "gold": gold.tolist(), "pred": pred.tolist(), "want": want}]


def calibrations():
    confidence = f32(np.round(rng.uniform(0.2, 1, 300), 3))
    right = (rng.random(300) < confidence ** 2).astype(int)
    edges = np.linspace(0, 1, 16)
    ece, bins = 0.0, []
    for lo, hi in zip(edges[:-1], edges[1:]):
        at = (confidence > lo) & (confidence <= hi)
        bins.append([int(at.sum()), number(confidence[at].mean()) if at.any() else 0.0, number(right[at].mean()) if at.any() else 0.0])
        ece += at.mean() * abs(bins[-1][1] - bins[-1][2])
    return [{"confidence": confidence.tolist(), "right": right.tolist(), "bins": bins, "ece": ece}]


def main():
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent / "tests/golden/scores")
    out.mkdir(parents=True, exist_ok=True)
    files = {"sequence": sequences, "regression": regressions, "multilabel": multilabels, "tokens": token_cases, "span": spans,
             "normal": normal_forms, "intervals": intervals, "calibration": calibrations}
    for name, cases in files.items():
        (out / f"{name}.json").write_text("[" + ",\n ".join(json.dumps(c, ensure_ascii=False) for c in cases()) + "]\n")


if __name__ == "__main__":
    main()
