#!/usr/bin/env python3
"""Golden calibrations: tests/golden/calibrate.json, what each method makes of fixed histograms, and a histogram counted batch by batch.

    scripts/gen_golden_calibrate.py

Needs numpy, scipy and onnxruntime. The algorithms of TensorRT's pytorch-quantization are written down here a second time, as plainly as numpy
allows, over bins of width 1: an amax is then an edge's number, or half of one more. Beside them what ONNX Runtime's own code finds: its
percentile must be the same, and its entropy, which is another algorithm over two-sided bins, is kept for comparison.
"""
import contextlib, io, json, os
import numpy as np
from scipy.stats import entropy as kl
from onnxruntime.quantization.calibrate import HistogramCollector

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "golden", "calibrate.json")
PERCENTILES = [99.0, 99.9, 99.99, 100.0]
LEVELS = START = 128


def by_percentile(counts, percentile):
    cdf = np.cumsum(counts / counts.sum())
    return max(int(np.searchsorted(cdf, percentile / 100)), 1)  # never edge 0: a scale of 0 is none


def divergence(bins, i):
    inside = bins[:i].astype(np.float64)
    level = np.digitize(np.arange(i), np.linspace(0, i, LEVELS + 1)) - 1
    filled = inside != 0
    mass = np.bincount(level[filled], inside[filled], LEVELS)
    number = np.bincount(level[filled], minlength=LEVELS)
    q = np.where(filled, (mass / np.maximum(number, 1))[level], 0)
    p = inside.copy()
    p[-1] += bins[i:].sum()
    return kl(p, q)


def by_entropy(counts, name):
    bins = counts.copy()
    bins[0] = bins[1]
    if bins.sum() == 0:
        return None
    d = np.nan_to_num([divergence(bins, i) for i in range(START, len(bins) + 1)], nan=np.inf)  # NaN: of nothing inside
    literal = len(d) - 1 - int(np.argmin(d[::-1]))
    equal = int(np.flatnonzero(d <= d.min() + 1e-12)[-1])
    ties = int((d <= d.min() + 1e-12).sum())
    print(f"{name}: entropy at {equal + START} of {len(bins)}, {ties} within 1e-12" + ("" if equal == literal else f", numpy's rounding takes {literal + START}"))
    return equal + START


def by_mse(counts):
    centers = np.arange(len(counts)) + 0.5
    errors = []
    for amax in centers[START:]:
        fake = np.minimum(np.round(centers * (127 / amax)), 127) * (amax / 127)
        errors.append(float((counts * (fake - centers) ** 2).sum()))
    errors = np.array(errors)
    return int(np.flatnonzero(errors <= errors.min() * (1 + 1e-12))[0]) + START


def of_onnxruntime(counts):
    n = len(counts)
    collector = HistogramCollector("percentile", True, n, LEVELS, 0, "same")
    edges, far = np.arange(n + 1).astype(np.float32), np.float32(1e9)
    found = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for p in PERCENTILES:
            collector.percentile = p
            collector.histogram_dict = {"x": (counts, edges, -far, far)}
            try:
                found[p] = int(collector.compute_percentile()["x"][1])
            except IndexError:  # shares that add up to less than 1
                found[p] = n
    two_sided = np.concatenate([counts[::-1], counts])
    edges = np.arange(-n, n + 1).astype(np.float32)
    with np.errstate(all="ignore"):
        threshold = collector.get_entropy_threshold((two_sided, edges, -far, far, far), LEVELS)
    return found, int(threshold[1])


def histograms():
    r = np.random.default_rng(5)
    def count(x, n=2048):
        return np.histogram(np.abs(x), bins=n, range=(0, np.abs(x).max()))[0]
    yield "normal", count(r.normal(size=50000))
    yield "laplace", count(r.laplace(size=50000))
    x = r.normal(size=60000) * 2
    yield "gelu", count(x / (1 + np.exp(-1.702 * x)))
    yield "uniform", count(r.uniform(size=20000))
    yield "outliers", count(np.concatenate([r.normal(size=50000), [40, 41, 44.5, -60, 61, 61]]))
    yield "heavy tail", count(r.standard_t(2, size=30000))
    sparse = np.zeros(2048, np.int64)
    sparse[::7] = count(r.normal(size=30000), 293)
    sparse[-1] = 1
    yield "empty bins", sparse
    spike = count(r.normal(size=30000))
    spike[0] = 2000000  # padding
    yield "spike at zero", spike
    spike = count(r.normal(size=30000))
    spike[700] += 20000
    yield "spike inside", spike
    yield "extended", np.concatenate([count(r.normal(size=30000)), [0] * 900, [3], [0] * 50, [1]])
    tie = np.zeros(300, np.int64)
    tie[[10, 20, 30, 90]] = [7, 1, 100, 3]
    yield "ties: far apart, then nothing", tie
    tie = np.zeros(512, np.int64)
    tie[0::4], tie[2::4] = 6, 6
    yield "ties: even", tie
    alone = np.zeros(2048, np.int64)
    alone[0] = 12345
    yield "only bin 0", alone
    two = np.zeros(2048, np.int64)
    two[[0, 2047]] = [100000, 1]
    yield "zeros and one value", two
    yield "129 bins", count(r.normal(size=3000), 129)
    yield "128 bins", count(r.normal(size=3000), 128)
    yield "100 bins", count(r.normal(size=3000), 100)


def runs(counts):
    """12 0*30 5"""
    out, i = [], 0
    while i < len(counts):
        k = 1
        while i + k < len(counts) and counts[i + k] == counts[i]:
            k += 1
        out.append(str(int(counts[i])) + (f"*{k}" if k > 1 else ""))
        i += k
    return " ".join(out)


def streamed():
    """Batches by a rule that the test repeats: value k of batch b from bits of a linear congruence, over a range that is the batch's."""
    batches = [(3000, 1.0), (500, 0.25), (2000, 2.75), (1000, 0.0), (2000, 1.5)]
    state, edges, counts = 1, None, None
    for n, most in batches:
        x = np.empty(n, np.float32)
        for k in range(n):
            state = (state * 1664525 + 1013904223) % 2**32
            u = np.float32(state >> 8) * np.float32(2.0**-24)
            x[k] = u * u * u * np.float32(most) * np.float32(1 if state & 128 else -1)
        a = np.abs(x).astype(np.float64)
        if edges is None:
            width = a.max() / 2048
            edges, counts = np.arange(2049) * width, np.zeros(2048, np.int64)
        if a.max() > edges[-1]:
            edges = np.arange(int(np.ceil(a.max() / width)) + 1) * width
            counts = np.concatenate([counts, np.zeros(len(edges) - 1 - len(counts), np.int64)])
        counts += np.histogram(a, bins=edges)[0]
    return {"batches": batches, "width": width, "bins": runs(counts)}


def main():
    out = []
    for name, counts in histograms():
        counts = np.asarray(counts, np.int64)
        few = len(counts) < START
        ort_percentile, ort_entropy = of_onnxruntime(counts) if not few else ({}, None)
        percentile = {p: by_percentile(counts, p) for p in PERCENTILES}
        for p, found in ort_percentile.items():
            assert max(found, 1) == percentile[p], (name, p, found, percentile[p])
        entropy = len(counts) if few else by_entropy(counts, name)
        mse = by_mse(counts) if len(counts) > START else None
        print(f"{name}: percentile {percentile}, mse {mse}, ONNX Runtime's entropy {ort_entropy}")
        out.append({"name": name, "percentile": {str(p): i for p, i in percentile.items()}, "entropy": entropy, "mse": mse,
                    "onnxruntime_entropy": ort_entropy, "bins": runs(counts)})
    with open(OUT, "w", encoding="utf-8") as f:
        f.write(json.dumps({"histograms": out, "streamed": streamed()}, indent=0) + "\n")


main()
