#!/usr/bin/env python3
"""Makes tests/golden/encoders/: a tiny encoder of each family as transformers writes it, and what PyTorch computes with it.

    python3 scripts/gen_golden_encoders.py [DIR]       needs torch, transformers, safetensors; the tests read only what it wrote

FAMILY/        config.json and model.safetensors, of the class that predicts tokens (and judges pairs, where there is one)
FAMILY/golden.safetensors, computed in f64 from the f32 values of the checkpoint, each sequence by itself, without padding:
    ids, types, tasks  i32 [BATCHES, N]    tokens of all sequences of a batch, one behind the other; segments and tasks
    starts             i32 [B + 1]         where they begin; the same for every batch
    picks              i32 [BATCHES, P]    rows of the tokens that are predicted; targets the same shape, -1: ignored
    pair               i32 [BATCHES, B]    labels of the pair's head, -1: ignored
    hidden f32 [N, C], pooled f32 [B, C], logits f32 [P, V], pair_logits f32 [B, 2]     of batch 0; only what the model has
    grad.*             f32                 gradients of batch 0's loss (both means added), under transformers' names, the tied table once
    losses             f64 [STEPS]         that loss before each LAMB step; batches take turns
"""
import pathlib
import sys

import torch
import transformers as hf
from safetensors.torch import save_file

LENGTHS = (15, 9, 2)
PICKS = 8
BATCHES, STEPS = 3, 20
VOCAB, CONTEXT, WIDTH, HEADS, FF, LAYERS = 61, 20, 32, 2, 48, 2  # a vocabulary that has to be padded, a width that is not 4 x
LR, BETAS, EPS, DECAY, CLIP = 4e-3, (0.9, 0.999), 1e-6, 0.01, 1.0

COMMON = dict(vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=FF,
              max_position_embeddings=CONTEXT, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.15)


class Family:
    def __init__(self, model, body, mlm, pair=None, pooled=False, types=0, tasks=0):
        self.model, self.body, self.mlm, self.pair, self.pooled, self.types, self.tasks = model, body, mlm, pair, pooled, types, tasks


def roberta(config, **more):
    return config(**{**COMMON, "max_position_embeddings": CONTEXT + 2}, type_vocab_size=1, layer_norm_eps=1e-5, **more)


def distilbert():
    return hf.DistilBertForMaskedLM(hf.DistilBertConfig(vocab_size=VOCAB, dim=WIDTH, n_layers=LAYERS, n_heads=HEADS, hidden_dim=FF,
                                                        max_position_embeddings=CONTEXT, dropout=0.0, attention_dropout=0.0,
                                                        initializer_range=0.15))


NEXT, ORDER = ("prediction_logits", "seq_relationship_logits", True), ("prediction_logits", "sop_logits", True)
FAMILIES = {
    "bert": lambda: Family(hf.BertForPreTraining(hf.BertConfig(**COMMON)), "bert", *NEXT, types=2),
    "roberta": lambda: Family(hf.RobertaForMaskedLM(roberta(hf.RobertaConfig, hidden_act="relu")), "roberta", "logits", types=1),
    "distilbert": lambda: Family(distilbert(), "distilbert", "logits"),
    "albert": lambda: Family(hf.AlbertForPreTraining(hf.AlbertConfig(**{**COMMON, "num_hidden_layers": 4}, embedding_size=16,
                                                                     num_hidden_groups=2, hidden_act="gelu_new",
                                                                     classifier_dropout_prob=0.0)), "albert", *ORDER, types=2),
    "electra": lambda: Family(hf.ElectraForMaskedLM(hf.ElectraConfig(**COMMON, embedding_size=16, hidden_act="gelu_new")), "electra",
                              "logits", types=2),
    "ernie": lambda: Family(hf.ErnieForPreTraining(hf.ErnieConfig(**COMMON, hidden_act="relu", type_vocab_size=4, use_task_id=True,
                                                                  task_type_vocab_size=5)), "ernie", *NEXT, types=4, tasks=5),
    "roberta-prelayernorm": lambda: Family(hf.RobertaPreLayerNormForMaskedLM(roberta(hf.RobertaPreLayerNormConfig)),
                                           "roberta_prelayernorm", "logits", types=1),
}


def shake(model):
    with torch.no_grad():  # biases and gains that differ from 0 and 1 show mistakes
        for p in model.parameters():
            if p.dim() == 1:
                p.add_(torch.randn_like(p) * 0.2)


def make_batches(f):
    n, b = sum(LENGTHS), len(LENGTHS)
    batch = {"ids": torch.randint(5, VOCAB, (BATCHES, n)), "types": torch.randint(max(f.types, 1), (BATCHES, n)),
             "tasks": torch.randint(max(f.tasks, 1), (BATCHES, n))}
    batch["picks"] = torch.stack([torch.randperm(n)[:PICKS].sort().values for _ in range(BATCHES)])
    batch["targets"] = torch.randint(VOCAB, (BATCHES, PICKS))
    batch["targets"][:, 3] = -1
    batch["pair"] = torch.randint(2, (BATCHES, b))
    batch["pair"][1, 0] = -1
    return batch


def run(f, batch, i):
    """Every sequence by itself: outputs in the order of the rows."""
    out = {"hidden": [], "pooled": [], "tokens": [], "pair_logits": []}
    parts = [batch[k][i].split(LENGTHS) for k in ("ids", "types", "tasks")]
    for ids, types, tasks in zip(*parts):
        more = {"token_type_ids": types[None]} if f.types else {}
        if f.tasks:
            more["task_type_ids"] = tasks[None]
        y = f.model(input_ids=ids[None], output_hidden_states=True, **more)
        out["hidden"].append(y.hidden_states[-1][0])
        out["tokens"].append(getattr(y, f.mlm)[0])
        if f.pair:
            out["pair_logits"].append(getattr(y, f.pair))
            out["pooled"].append(getattr(f.model, f.body)(input_ids=ids[None], **more).pooler_output)
    got = {k: torch.cat(v) for k, v in out.items() if v}
    got["logits"] = got.pop("tokens")[batch["picks"][i]]
    loss = torch.nn.functional.cross_entropy(got["logits"], batch["targets"][i], ignore_index=-1)
    if f.pair:
        loss = loss + torch.nn.functional.cross_entropy(got["pair_logits"], batch["pair"][i], ignore_index=-1)
    return got, loss


class Lamb:
    """As apex's FusedLAMB does it by default: clipped by the norm of all gradients, trust ratios where there is decay."""

    def __init__(self, model):
        self.state = [(p, torch.zeros_like(p), torch.zeros_like(p)) for p in model.parameters()]
        self.t = 0

    @torch.no_grad()
    def step(self):
        self.t += 1
        norm = torch.sqrt(sum((p.grad ** 2).sum() for p, _, _ in self.state if p.grad is not None))
        for p, m, v in self.state:
            if p.grad is None:  # a pooler that no loss reads
                continue
            g = p.grad / max(1.0, norm.item() / CLIP)
            m.mul_(BETAS[0]).add_(g, alpha=1 - BETAS[0])
            v.mul_(BETAS[1]).addcmul_(g, g, value=1 - BETAS[1])
            u = (m / (1 - BETAS[0] ** self.t)) / ((v / (1 - BETAS[1] ** self.t)).sqrt() + EPS)
            ratio = 1.0
            if p.dim() == 2:  # products and tables; neither biases nor norms
                u = u + DECAY * p
                w, r = p.norm().item(), u.norm().item()
                ratio = w / r if w > 0 and r > 0 else 1.0
            p.sub_(u, alpha=LR * ratio)


def train(f, batch):
    optimizer, losses = Lamb(f.model), []
    for step in range(STEPS):
        f.model.zero_grad()
        _, loss = run(f, batch, step % BATCHES)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent / "tests" / "golden" / "encoders")
    for number, (name, make) in enumerate(FAMILIES.items()):
        torch.manual_seed(20240611 + number)
        f = make()
        shake(f.model)
        f.model.eval()
        f.model.save_pretrained(folder / name)
        f.model.double()
        batch = make_batches(f)
        got, loss = run(f, batch, 0)
        loss.backward()
        golden = {"grad." + n: p.grad.float().clone() for n, p in f.model.named_parameters() if p.grad is not None}
        golden.update({k: v.detach().float().clone() for k, v in got.items()})
        golden.update({k: v.int() for k, v in batch.items()})
        golden["starts"] = torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0)]).int()
        golden["losses"] = torch.tensor(train(f, batch), dtype=torch.float64)
        save_file(golden, folder / name / "golden.safetensors")
        print(f"{name}: loss {golden['losses'][0]:.6f} to {golden['losses'][-1]:.6f}, {len(golden)} tensors, "
              f"{sum(p.numel() for p in f.model.parameters())} parameters")


if __name__ == "__main__":
    main()
