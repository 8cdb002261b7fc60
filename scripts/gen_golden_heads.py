#!/usr/bin/env python3
"""Makes tests/golden/heads/: a tiny model of each family with each kind of head, as transformers writes it, and what PyTorch computes.

    python3 scripts/gen_golden_heads.py [DIR]          needs torch, transformers, safetensors; the tests read only what it wrote

FAMILY-sequence, FAMILY-tokens, FAMILY-span    config.json and model.safetensors of FAMILYFor{Sequence,Token}Classification, ...QuestionAnswering
bert-crf                                       the model for tokens with the tensors of a chain, under pytorch-crf's names
.../golden.safetensors, computed in f64 from the f32 values of the checkpoint, each sequence by itself, without padding:
    ids, types, tasks  i32 [1, N]     tokens of all sequences, one behind the other; segments and tasks
    starts             i32 [B + 1]    where they begin
    logits             f32 [B or N, L or 2]
    TASK.targets       i32 or f32     as the batch has them (models/family.h); sequence: also of regression and multilabel
    TASK.loss          f64 [1]        the mean over what has a target
    TASK.grad.*        f32            its gradients, under transformers' names: of regression and multilabel those of the head alone
    sequence.weights, sequence.weighted_loss, sequence.smooth_loss      class weights by row; what they make; smoothing of 0.1
Losses are also asked of transformers' own classes, on a padded batch, and must agree. That of a chain is a sum over all paths, one by one.
"""
import itertools
import json
import pathlib
import sys

import torch
import torch.nn.functional as F
import transformers as hf
from gen_golden_encoders import shake
from safetensors.torch import load_file, save_file

LENGTHS = (9, 6, 2, 1)
VOCAB, CONTEXT, WIDTH, LABELS = 21, 12, 16, 3
COMMON = dict(vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
              max_position_embeddings=CONTEXT, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.25)
ROBERTA = {**COMMON, "max_position_embeddings": CONTEXT + 2, "type_vocab_size": 1}
FAMILIES = {  # class, config, segments, tasks
    "bert": ("Bert", lambda **m: hf.BertConfig(**COMMON, **m), 2, 0),
    "roberta": ("Roberta", lambda **m: hf.RobertaConfig(**ROBERTA, **m), 1, 0),
    "roberta-prelayernorm": ("RobertaPreLayerNorm", lambda **m: hf.RobertaPreLayerNormConfig(**ROBERTA, **m), 1, 0),
    "distilbert": ("DistilBert", lambda **m: hf.DistilBertConfig(
        vocab_size=VOCAB, dim=WIDTH, n_layers=1, n_heads=2, hidden_dim=24, max_position_embeddings=CONTEXT, dropout=0.0,
        attention_dropout=0.0, seq_classif_dropout=0.0, qa_dropout=0.0, initializer_range=0.25, **m), 0, 0),
    "albert": ("Albert", lambda **m: hf.AlbertConfig(**{**COMMON, "num_hidden_layers": 2}, embedding_size=8,
                                                     classifier_dropout_prob=0.0, **m), 2, 0),
    "electra": ("Electra", lambda **m: hf.ElectraConfig(**COMMON, embedding_size=8, **m), 2, 0),
    "ernie": ("Ernie", lambda **m: hf.ErnieConfig(**COMMON, type_vocab_size=4, use_task_id=True, task_type_vocab_size=3, **m), 4, 3),
    "gpt2": ("GPT2", lambda **m: hf.GPT2Config(
        vocab_size=VOCAB, n_embd=WIDTH, n_layer=1, n_head=2, n_positions=CONTEXT, resid_pdrop=0.0, attn_pdrop=0.0, embd_pdrop=0.0,
        classifier_dropout=0.0, initializer_range=0.25, bos_token_id=1, eos_token_id=1, pad_token_id=0, **m), 0, 0),
}
CLASSES = {"sequence": "ForSequenceClassification", "tokens": "ForTokenClassification", "span": "ForQuestionAnswering"}
NAMES = ["B-LOC", "O", 'a "quoted" name']


def inputs(batch, types, tasks, i):
    more = {"token_type_ids": batch["types"][i][None]} if types else {}
    return {"input_ids": batch["ids"][i][None], **more, **({"task_type_ids": batch["tasks"][i][None]} if tasks else {})}


def logits_of(model, kind, batch, types, tasks):
    rows = []
    for i in range(len(LENGTHS)):
        y = model(**inputs(batch, types, tasks, i))
        rows.append(torch.stack([y.start_logits[0], y.end_logits[0]], 1) if kind == "span" else y.logits[0] if kind == "tokens" else y.logits)
    return torch.cat(rows)


def losses(kind, logits, t):
    if kind == "sequence":
        yield "sequence", t["sequence"], F.cross_entropy(logits, t["sequence"], ignore_index=-1)
        yield "regression", t["regression"], F.mse_loss(logits, t["regression"])
        yield "multilabel", t["multilabel"], F.binary_cross_entropy_with_logits(logits, t["multilabel"])
    elif kind == "tokens":
        yield "tokens", t["tokens"], F.cross_entropy(logits, t["tokens"], ignore_index=-1)
    else:
        parts = logits.split(LENGTHS)
        rows = [[F.cross_entropy(p[None, :, k], y[None, k]) for p, y in zip(parts, t["span"]) if y[k] >= 0] for k in (0, 1)]
        yield "span", t["span"], (torch.stack(rows[0]).mean() + torch.stack(rows[1]).mean()) / 2


def theirs(model, kind, batch, t, types, tasks):
    """The same losses by transformers' own class: a padded batch; of spans, whose padding it counts in, sequences one by one."""
    if kind == "span":
        both = [model(**inputs(batch, types, tasks, i), start_positions=t["span"][i, :1], end_positions=t["span"][i, 1:]).loss
                for i in range(len(LENGTHS)) if t["span"][i, 0] >= 0]
        return {"span": torch.stack(both).mean()}
    pad = lambda rows, value=0: torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)
    filler = model.config.pad_token_id or 0  # RoBERTa finds positions by it
    more = {"token_type_ids": pad(batch["types"])} if types else {}
    if tasks:
        more["task_type_ids"] = pad(batch["tasks"])
    more.update(input_ids=pad(batch["ids"], filler), attention_mask=pad([torch.ones_like(x) for x in batch["ids"]]))
    if kind == "tokens":
        return {"tokens": model(**more, labels=pad([x.where(x >= 0, torch.tensor(-100)) for x in t["tokens"].split(LENGTHS)], -100)).loss}
    got = {}
    for task, problem in (("sequence", "single_label_classification"), ("regression", "regression"), ("multilabel", "multi_label_classification")):
        model.config.problem_type = problem
        labels = t[task].where(t[task] >= 0, torch.tensor(-100)) if task == "sequence" else t[task]
        got[task] = model(**more, labels=labels).loss
    return got


def make(name, kind):
    prefix, config, types, tasks = FAMILIES[name]
    more = {} if kind == "span" else {"id2label": dict(enumerate(NAMES)), "label2id": {n: i for i, n in enumerate(NAMES)}}
    model = getattr(hf, prefix + CLASSES[kind])(config(**more))
    shake(model)
    batch = {"ids": torch.randint(5, VOCAB, (sum(LENGTHS),)), "types": torch.randint(max(types, 1), (sum(LENGTHS),)),
             "tasks": torch.randint(max(tasks, 1), (sum(LENGTHS),))}
    n, b = sum(LENGTHS), len(LENGTHS)
    targets = {"sequence": torch.randint(LABELS, (b,)), "regression": torch.randn(b, LABELS).double(),
               "multilabel": torch.randint(2, (b, LABELS)).double(), "tokens": torch.randint(LABELS, (n,)),
               "span": torch.tensor([[2, 7], [0, 0], [-1, -1], [0, 0]])}
    targets["sequence"][1] = -1
    targets["tokens"][torch.arange(n) % 3 == 0] = -1
    return model.eval(), batch, targets, types, tasks


def ready(golden, batch):
    for k in ("ids", "types", "tasks"):
        golden[k] = torch.cat(list(batch[k]))[None].int()
    golden["starts"] = torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0)]).int()
    return {k: v.detach().clone().contiguous() for k, v in golden.items()}


def put_gradients(golden, task, model, head_only):
    base = model.base_model_prefix + "."
    for name, p in model.named_parameters():
        if p.grad is not None and not (head_only and name.startswith(base)):
            golden[f"{task}.grad.{name}"] = p.grad.float()


def model_with_head(folder, name, kind):
    model, batch, targets, types, tasks = make(name, kind)
    model.save_pretrained(folder)
    model.double()
    batch = {k: v.split(LENGTHS) for k, v in batch.items()}
    golden = {"logits": logits_of(model, kind, batch, types, tasks).float()}
    own = theirs(model, kind, batch, targets, types, tasks)
    for task, target, loss in list(losses(kind, logits_of(model, kind, batch, types, tasks), targets)):
        assert abs(loss - own[task]) < 1e-9, f"{name} {task}: {loss} here, {own[task]} by transformers"
        model.zero_grad()
        loss.backward(retain_graph=True)
        golden[task + ".targets"] = target.float() if target.is_floating_point() else target.int()
        golden[task + ".loss"] = loss[None]
        put_gradients(golden, task, model, task in ("regression", "multilabel"))
    if kind == "sequence":
        weight, t, x = torch.tensor([0.5, 1.0, 3.0]).double(), targets["sequence"], logits_of(model, kind, batch, types, tasks)
        golden["sequence.weights"] = torch.where(t >= 0, weight[t], torch.tensor(1.0).double()).float()
        golden["sequence.weighted_loss"] = F.cross_entropy(x, t, weight, ignore_index=-1)[None]
        golden["sequence.smooth_loss"] = F.cross_entropy(x, t, ignore_index=-1, label_smoothing=0.1)[None]
    save_file(ready(golden, batch), folder / "golden.safetensors")
    print(f"{folder.name}: {', '.join('%s %.6f' % (t, golden[t + '.loss'].item()) for t in own)}")


def paths_loss(x, y, chain):
    """-log of the share that path y has among all, every one of them written out."""
    next_, first, last = chain
    score = lambda p: first[p[0]] + sum(x[i, k] for i, k in enumerate(p)) + sum(next_[a, b] for a, b in zip(p, p[1:])) + last[p[-1]]
    return torch.logsumexp(torch.stack([score(p) for p in itertools.product(range(LABELS), repeat=len(y))]), 0) - score(y.tolist())


def model_with_chain(folder):
    model, batch, targets, types, tasks = make("bert", "tokens")
    model.save_pretrained(folder)
    chain = [torch.randn(LABELS, LABELS), torch.randn(LABELS), torch.randn(LABELS)]
    names = ["crf.transitions", "crf.start_transitions", "crf.end_transitions"]
    save_file({**load_file(folder / "model.safetensors"), **dict(zip(names, chain))}, folder / "model.safetensors", metadata={"format": "pt"})
    chain = [c.double().requires_grad_() for c in chain]
    model.double()
    batch = {k: v.split(LENGTHS) for k, v in batch.items()}
    x = logits_of(model, "tokens", batch, types, tasks)
    rows = [(p[t >= 0], t[t >= 0]) for p, t in zip(x.split(LENGTHS), targets["tokens"].split(LENGTHS))]
    loss = sum(paths_loss(p, t, chain) for p, t in rows if len(t)) / (targets["tokens"] >= 0).sum()
    loss.backward()
    golden = {"logits": x.float(), "tokens.targets": targets["tokens"].int(), "tokens.loss": loss[None]}
    put_gradients(golden, "tokens", model, False)
    for name, c in zip(names, chain):
        golden["tokens.grad." + name] = c.grad.float()
    save_file(ready(golden, batch), folder / "golden.safetensors")
    print(f"{folder.name}: {loss.item():.6f}")


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent / "tests" / "golden" / "heads")
    for number, (name, kind) in enumerate(itertools.product(FAMILIES, CLASSES)):
        torch.manual_seed(20250314 + number)
        model_with_head(folder / f"{name}-{kind}", name, kind)
    torch.manual_seed(20250413)
    model_with_chain(folder / "bert-crf")
    for d in sorted(folder.iterdir()):
        assert json.loads((d / "config.json").read_text())["architectures"]
        (d / "generation_config.json").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
