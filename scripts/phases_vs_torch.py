#!/usr/bin/env python3
"""The PyTorch half of phases_vs_torch.sh: the same twenty steps with transformers' BertForPreTraining and a LAMB of its own.

phases_vs_torch.py CHECKPOINT METRICS.jsonl PHASE1.safetensors PHASE2.safetensors [--within 1e-3]

LAMB as apex's FusedLAMB has it by default: gradients clipped by their global norm at 1, bias-corrected moments (0.9, 0.999), eps 1e-6
outside the root, decay 0.01 and a trust ratio for matrices and tables alone. The rate is NVIDIA's PolyWarmUp of the step within the phase; its
count begins anew in the second phase, the moments do not.
"""
import argparse
import json
import math
import sys

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file

PHASES = (dict(lr=6e-3, warmup=0.2843, steps=10), dict(lr=4e-3, warmup=0.128, steps=10))
BETAS, EPS, DECAY, CLIP = (0.9, 0.999), 1e-6, 0.01, 1.0


class Lamb:
    def __init__(self, model):
        self.state = [(p, torch.zeros_like(p), torch.zeros_like(p)) for p in model.parameters()]

    @torch.no_grad()
    def step(self, lr, t):
        norm = math.sqrt(sum(p.grad.double().square().sum().item() for p, _, _ in self.state))
        for p, m, v in self.state:
            g = p.grad / max(1.0, norm / CLIP)
            m.mul_(BETAS[0]).add_(g, alpha=1 - BETAS[0])
            v.mul_(BETAS[1]).addcmul_(g, g, value=1 - BETAS[1])
            u = (m / (1 - BETAS[0] ** t)) / ((v / (1 - BETAS[1] ** t)).sqrt() + EPS)
            ratio = 1.0
            if p.dim() == 2:
                u = u + DECAY * p
                w, r = p.norm().item(), u.norm().item()
                ratio = w / r if w > 0 and r > 0 else 1.0
            p.sub_(u, alpha=lr * ratio)
        return norm


def rate(phase, step):
    p = (step + 1) / phase["steps"]
    return phase["lr"] * (p / phase["warmup"] if p < phase["warmup"] else math.sqrt(1 - p))


def loss_of(model, batch, step):
    """Mean over all predictions plus mean over all pairs, sequences side by side in rows as long as the longest."""
    ids, types, starts, picks, targets, pairs = (
        batch[f"{step}.{name}"].long() for name in ("ids", "token_types", "starts", "picks", "pick_targets", "pair_targets"))
    lengths = (starts[1:] - starts[:-1]).tolist()
    longest = max(lengths)
    row = lambda x: torch.stack([F.pad(part, (0, longest - len(part))) for part in x.split(lengths)])
    mask = row(torch.ones_like(ids))
    y = model(input_ids=row(ids), token_type_ids=row(types), attention_mask=mask)
    tokens = y.prediction_logits[mask.bool()]  # one sequence behind the other, as picks count
    return F.cross_entropy(tokens[picks], targets) + F.cross_entropy(y.seq_relationship_logits, pairs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("metrics")
    parser.add_argument("phases", nargs=2)
    parser.add_argument("--within", type=float, default=1e-3)
    a = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    model, info = transformers.BertForPreTraining.from_pretrained(a.checkpoint, output_loading_info=True, dtype=torch.float32)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    model.train()  # every dropout is 0
    assert model.config.hidden_dropout_prob == 0 and model.config.attention_probs_dropout_prob == 0
    ours = [json.loads(line) for line in open(a.metrics)]
    optimizer, worst, n = Lamb(model), 0.0, 0
    print("| step | phase | rate | Halfstep | PyTorch | apart |\n|---|---|---|---|---|---|")
    for number, (phase, path) in enumerate(zip(PHASES, a.phases)):
        batch = load_file(path)
        for step in range(phase["steps"]):
            model.zero_grad()
            loss = loss_of(model, batch, step)
            loss.backward()
            lr = rate(phase, step)
            optimizer.step(lr, step + 1)
            m = ours[n]
            n += 1
            assert m["phase"] == number and math.isclose(m["lr"], lr, rel_tol=1e-6), (m["phase"], m["lr"], lr)
            apart = abs(m["loss"] - loss.item())
            worst = max(worst, apart)
            print(f"| {n} | {number + 1} | {lr:.3e} | {m['loss']:.6f} | {loss.item():.6f} | {apart:.1e} |")
    assert n == len(ours), (n, len(ours))
    print(f"\nlargest difference {worst:.1e}, allowed {a.within:g}")
    return worst > a.within


if __name__ == "__main__":
    sys.exit(main())
