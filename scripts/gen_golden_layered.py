#!/usr/bin/env python3
"""Adds layered.safetensors to tests/golden/encoders/bert and albert: steps of PyTorch with a learning rate of their own for every layer and parts
that stand still.

    python3 scripts/gen_golden_layered.py [DIR]        needs torch, transformers, safetensors; behind gen_golden_encoders.py, whose models it takes

The rate of what has depth k (0: embeddings, 1..L: layers, behind them: heads) is lr * DECAY_BY_LAYER^(L + 2 - k), that of heads lr (ELECTRA's rule);
layers that share parameters have the depth of the last. FROZEN keeps its values. Computed in f64:
    adamw.losses, lamb.losses   f64 [STEPS]   the loss before each step; batches take turns
    adamw.NAME, lamb.NAME       f64 [1]       2-norm of how far the parameter moved, under transformers' names
"""
import pathlib
import re
import sys

import torch
from safetensors.torch import load_file, save_file

import gen_golden_encoders as gold

DECAY_BY_LAYER = 0.6
FROZEN = "position_embeddings|layer.1.attention.output.LayerNorm|full_layer_layer_norm"
LAYER = re.compile(r"encoder\.layer\.(\d+)|albert_layer_groups\.(\d+)")


def rate_of(name, layers, group):
    at = LAYER.search(name)
    depth = 0 if ".embeddings." in name or "embedding_hidden_mapping" in name else group * int(at.group(1) or at.group(2)) + group if at else layers + 2
    return DECAY_BY_LAYER ** (layers + 2 - depth)


class AdamW:
    """torch.optim.AdamW, a group for each parameter, behind clip_grad_norm_."""

    def __init__(self, named, rates):
        self.params = list(named.values())
        self.optimizer = torch.optim.AdamW([dict(params=[p], lr=gold.LR / 4 * rates[n], weight_decay=gold.DECAY if p.dim() == 2 else 0.0)
                                            for n, p in named.items()], betas=gold.BETAS, eps=gold.EPS)

    def step(self):
        torch.nn.utils.clip_grad_norm_([p for p in self.params if p.grad is not None], gold.CLIP)
        self.optimizer.step()


class Lamb(gold.Lamb):
    """Its step, then as much of it as the rate of each parameter leaves."""

    def __init__(self, named, rates):
        self.state = [(p, torch.zeros_like(p), torch.zeros_like(p)) for p in named.values()]
        self.rates, self.t = [rates[n] for n in named], 0

    @torch.no_grad()
    def step(self):
        before = [p.clone() for p, _, _ in self.state]
        super().step()
        for (p, _, _), b, rate in zip(self.state, before, self.rates):
            p.copy_(b + rate * (p - b))


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent / "tests" / "golden" / "encoders")
    for family in ("bert", "albert"):
        stored, out = load_file(folder / family / "golden.safetensors"), {}
        batch = {k: stored[k].long() for k in ("ids", "types", "tasks", "picks", "targets", "pair")}
        for name, kind in (("adamw", AdamW), ("lamb", Lamb)):
            f = gold.FAMILIES[family]()
            f.model = type(f.model).from_pretrained(folder / family, dtype=torch.float64).eval()
            c = f.model.config
            layers, group = c.num_hidden_layers, c.num_hidden_layers // getattr(c, "num_hidden_groups", c.num_hidden_layers)
            for n, p in f.model.named_parameters():
                p.requires_grad_(not re.search(FROZEN, n))
            named = {n: p for n, p in f.model.named_parameters() if p.requires_grad}
            start = {n: p.detach().clone() for n, p in f.model.named_parameters()}
            optimizer, losses = kind(named, {n: rate_of(n, layers, group) for n in named}), []
            for step in range(gold.STEPS):
                f.model.zero_grad()
                _, loss = gold.run(f, batch, step % gold.BATCHES)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            out[f"{name}.losses"] = torch.tensor(losses, dtype=torch.float64)
            out.update({f"{name}.{n}": (p.detach() - start[n]).norm().reshape(1) for n, p in f.model.named_parameters()})
            print(f"{family} {name}: loss {losses[0]:.6f} to {losses[-1]:.6f}, {len(named)} of {len(start)} parameters trained")
        save_file(out, folder / family / "layered.safetensors")


if __name__ == "__main__":
    main()
