#!/usr/bin/env python3
"""Golden codes of weights: tests/golden/gptq.json, by rounding, with a searched scale, by GPTQ and by AWQ, of one small weight.

    scripts/gen_golden_gptq.py

Needs numpy. What infer/quant/{round,gptq,awq,smooth}.h say is written down here a second time, in f64, with inverses as the papers have
them. Weights and inputs follow a rule that the test repeats: integers of a linear congruence.
"""
import json, os
import numpy as np

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "golden", "gptq.json")
ROWS, COLS, SEEN, BLOCK, DEAD, LOUD = 6, 96, 200, 32, 37, 5
state = 1


def draw(n):
    global state
    state = (state * 1664525 + 1013904223) % 2**32
    return (state >> 8) % n


def inputs():
    x = np.zeros((SEEN, COLS))
    for r in range(SEEN):
        common = draw(5) - 2
        for j in range(COLS):
            x[r, j] = draw(9) - 4 + 3 * common * (j % 5 - 2)
    x[:, LOUD] *= 8
    x[:, DEAD] = 0
    return x


def weights():
    return np.array([[(draw(2001) - 1000) / 1024 for _ in range(COLS)] for _ in range(ROWS)])


def f16(v):
    return float(np.float16(np.float32(v)))


def code(w, scale, bits):
    least, most = (-8, 7) if bits == 4 else (-127, 127)
    return np.clip(np.rint(w / scale), least, most) if scale else np.zeros_like(w)


def plain_scale(w, bits):
    extreme = w[int(np.argmax(np.abs(w)))]
    return f16(extreme / -8) if bits == 4 else float(np.float32(abs(extreme)) / np.float32(127))


def searched_scale(w, bits):
    extreme, best = w[int(np.argmax(np.abs(w)))], plain_scale(w, bits)
    off = lambda s: ((w - s * code(w, s, 4)) ** 2).sum()
    least = off(best)
    for sign in (-1, 1):
        for k in range(-9, 10):
            q = code(w, extreme / (sign * (8 + 0.1 * k)), 4)
            s = f16((w * q).sum() / (q * q).sum())
            if off(s) < least * (1 - 1e-9):
                least, best = off(s), s
    return best


def rounded(w, bits, scale_of=plain_scale):
    group = BLOCK if bits == 4 else COLS
    codes, scales = np.zeros_like(w), np.zeros((len(w), COLS // group))
    for r in range(len(w)):
        for b in range(COLS // group):
            at = slice(b * group, (b + 1) * group)
            scales[r, b] = scale_of(w[r, at], bits)
            codes[r, at] = code(w[r, at], scales[r, b], bits)
    return codes, scales


def values(codes, scales):
    return codes * np.repeat(scales, COLS // scales.shape[1], axis=1)


def error(g, d):
    return float(np.einsum("ij,jk,ik->", d, g, d) / SEEN)


def gptq(w, g, bits, order):
    group = BLOCK if bits == 4 else COLS
    dead = np.diag(g) == 0
    perm = np.argsort(-np.diag(g), kind="stable") if order else np.arange(COLS)
    h = g + 0.01 * np.mean(np.diag(g)) * np.eye(COLS)
    h[dead, dead] = 1
    u = np.linalg.cholesky(np.linalg.inv(h[perm][:, perm])).T
    codes, scales = rounded(w, bits)
    w = w[:, perm].copy()
    for j in range(COLS):
        at = perm[j]
        if bits == 4 and not order and j % group == 0:
            for r in range(ROWS):
                scales[r, j // group] = plain_scale(w[r, j:j + group], bits)
        for r in range(ROWS):
            s = scales[r, at // group]
            codes[r, at] = code(w[r, j], s, bits)
            if not dead[at]:
                w[r, j + 1:] -= (w[r, j] - codes[r, at] * s) / u[j, j] * u[j, j + 1:]
    return codes, scales


def awq(w, g, mean):
    most = np.repeat(np.abs(w.reshape(ROWS, -1, BLOCK)).max(2), BLOCK, axis=1) + 1e-6
    v = (np.abs(w) / most).mean(0)
    live = mean > 0
    best = (error(g, w - values(*rounded(w, 4))), -1, np.ones(COLS))
    for i in range(20):
        r = i / 20
        s = np.ones(COLS)
        s[live] = np.maximum(mean[live] ** r / (v[live] ** (1 - r) + 1e-4), 1e-4)
        s[live] /= np.sqrt(s[live].min() * s[live].max())
        s = s.astype(np.float32).astype(np.float64)
        e = error(g, w - values(*rounded((w * s).astype(np.float32).astype(np.float64), 4)) / s)
        if e < best[0]:
            best = (e, r, s)
    return {"error": best[0], "ratio": best[1], "s": [float(v) for v in best[2]]}


def kept(codes, scales):
    return {"codes": [int(c) for c in codes.ravel()], "scales": [float(s) for s in scales.ravel()]}


def main():
    x, w = inputs(), weights()
    g = x.T @ x
    out = {"round8": kept(*rounded(w, 8)), "round4": kept(*rounded(w, 4)), "search4": kept(*rounded(w, 4, searched_scale))}
    for bits in (8, 4):
        for order in (False, True):
            codes, scales = gptq(w, g, bits, order)
            e, plain = error(g, w - values(codes, scales)), error(g, w - values(*rounded(w, bits)))
            print(f"GPTQ, {bits} bits{', in order' if order else ''}: error {e:.4f}, rounded {plain:.4f}")
            out[f"gptq{bits}" + ("order" if order else "")] = {**kept(codes, scales), "error": e, "plain": plain}
    out["awq4"] = awq(w, g, np.abs(x).mean(0))
    print("AWQ:", out["awq4"]["error"], out["awq4"]["ratio"])
    x_most, w_most = np.abs(x).max(0), np.maximum(np.abs(w).max(0), 1e-5)
    out["smooth"] = [float(v) for v in np.where(x_most > 0, np.maximum(x_most**0.5 / w_most**0.5, 1e-5), 1)]
    with open(OUT, "w", encoding="utf-8") as f:
        f.write("{" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in out.items()) + "}\n")


main()
