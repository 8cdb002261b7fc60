#!/usr/bin/env python3
"""Encoders' model directories, and those of every model with a task, against Hugging Face transformers, both ways.

    scripts/check_hf_encoders.py [--build build] [--helper PROGRAM] [--only-given] [CHECKPOINT ...]

1. transformers writes a tiny model of each family and class (one file, shards, bf16, f16, the names of before 2019, with the tied decoder and
   with the buffers of old versions); check_hf.c reads each and writes it again; transformers must open that as the class its config.json
   names, with nothing missing, unexpected or of another shape, and find the same tensors, labels and problem_type. Its last hidden state
   and pooled tokens must be the helper's within 1e-5.
2. The same of every CHECKPOINT: a step folder that `halfstep pretrain` wrote, or a published one (sentence-transformers folders too). Of those
   also: normalised means of hidden states, which is what `halfstep embed` gives. Of one with a generator/ in it, which ELECTRA's pretraining
   wrote, transformers opens both networks, and what each says of every token is compared.

Needs torch, transformers and safetensors. The helper is compiled against the library in --build unless --helper names it.
"""
import argparse
import json
import pathlib
import subprocess
import tempfile

import torch
import transformers as hf
from check_hf import build_helper
from safetensors.torch import load_file, save_file

hf.logging.set_verbosity_error()
hf.logging.disable_progress_bar()
ROOT = pathlib.Path(__file__).resolve().parent.parent
LENGTHS = (15, 9, 1)
COMMON = dict(vocab_size=61, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, max_position_embeddings=20,
              initializer_range=0.2)


PROBLEMS = "single_label_classification", "regression", "multi_label_classification"


def classes():
    bert, ernie = hf.BertConfig(**COMMON), hf.ErnieConfig(**COMMON, type_vocab_size=4, use_task_id=True, task_type_vocab_size=5)
    roberta = hf.RobertaConfig(**{**COMMON, "max_position_embeddings": 22}, type_vocab_size=1)
    prelayer = hf.RobertaPreLayerNormConfig(**{**COMMON, "max_position_embeddings": 22}, type_vocab_size=1)
    distil = hf.DistilBertConfig(vocab_size=61, dim=32, n_layers=2, n_heads=2, hidden_dim=48, max_position_embeddings=20, initializer_range=0.2)
    albert = hf.AlbertConfig(**{**COMMON, "num_hidden_layers": 4}, embedding_size=16, num_hidden_groups=2)
    electra = hf.ElectraConfig(**COMMON, embedding_size=16)
    plain = hf.ErnieConfig(**COMMON)
    for config, names in ((bert, "BertForPreTraining BertForMaskedLM BertForNextSentencePrediction BertModel"),
                          (ernie, "ErnieForPreTraining ErnieForMaskedLM ErnieForNextSentencePrediction ErnieModel"),
                          (plain, "ErnieForMaskedLM"),
                          (roberta, "RobertaForMaskedLM RobertaModel"),
                          (prelayer, "RobertaPreLayerNormForMaskedLM RobertaPreLayerNormModel"),
                          (distil, "DistilBertForMaskedLM DistilBertModel"),
                          (albert, "AlbertForPreTraining AlbertForMaskedLM AlbertModel"),
                          (electra, "ElectraForMaskedLM ElectraModel"),
                          (hf.ElectraConfig(**COMMON, embedding_size=32), "ElectraModel")):
        for name in names.split():
            yield name, config
    labels = {"id2label": dict(enumerate(("B-LOC", "O", "a \"b\""))), "label2id": {"B-LOC": 0, "O": 1, "a \"b\"": 2}}
    gpt = hf.GPT2Config(vocab_size=61, n_embd=32, n_layer=2, n_head=2, n_positions=20, bos_token_id=None, eos_token_id=None)
    for config, prefix in ((bert, "Bert"), (ernie, "Ernie"), (roberta, "Roberta"), (prelayer, "RobertaPreLayerNorm"), (distil, "DistilBert"),
                           (albert, "Albert"), (electra, "Electra"), (gpt, "GPT2")):
        for problem in PROBLEMS:
            yield prefix + "ForSequenceClassification", type(config)(**{**config.to_dict(), **labels, "problem_type": problem})
        yield prefix + "ForTokenClassification", type(config)(**{**config.to_dict(), **labels})
        yield prefix + "ForQuestionAnswering", config


def rewrite(d, change):
    state = load_file(d / "model.safetensors")
    change(state)
    save_file({k: v.clone().contiguous() for k, v in state.items()}, d / "model.safetensors", metadata={"format": "pt"})


def older(state):
    for k in [k for k in state if "LayerNorm." in k]:
        state[k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")] = state.pop(k)


TIED = {"cls.predictions.bias": "cls.predictions.decoder", "lm_head.bias": "lm_head.decoder", "predictions.bias": "predictions.decoder",
        "vocab_projector.bias": "vocab_projector", "generator_lm_head.bias": "generator_lm_head"}


def with_decoder(state):
    words = next((k for k in state if k.endswith("word_embeddings.weight")), None)
    for bias, decoder in TIED.items():
        if bias in state:
            state[decoder + ".weight"] = state[words]
            state[decoder + ".bias"] = state[bias]


def bias_elsewhere(state):
    for bias, decoder in TIED.items():
        if bias in state:
            state[decoder + ".bias"] = state.pop(bias)


def with_buffers(state):
    words = next((k for k in state if k.endswith("word_embeddings.weight")), "word_embeddings.weight")
    if words not in state:
        state["transformer.h.0.attn.bias"] = torch.ones(1, 1, 20, 20)  # GPT-2's
        return
    state[words.replace("word_embeddings.weight", "position_ids")] = torch.arange(20)[None]


def variants(name, model, work):
    def save(label, **more):
        d = work / f"{name}-{label}"
        model.save_pretrained(d, **more)
        return d
    yield "one file", save("one")
    yield "shards", save("shards", max_shard_size="20KB")
    for label, change in (("names of before 2019", older), ("decoder", with_decoder),
                          ("bias of the decoder alone", bias_elsewhere), ("buffers", with_buffers)):
        d = save(label.split()[0])
        rewrite(d, change)
        yield label, d
    for dtype in (torch.bfloat16, torch.float16):
        d = work / f"{name}-{dtype}"
        model.to(dtype).save_pretrained(d)
        model.float()
        yield str(dtype), d


def load_clean(path, cls=None):
    names = json.loads((path / "config.json").read_text())["architectures"]
    model, info = getattr(hf, cls or names[0]).from_pretrained(path, output_loading_info=True, dtype=torch.float32)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        assert not info.get(kind), f"{path}: {kind}: {info[kind]}"
    return model.eval()


def same_models(a, b):
    sa, sb = a.state_dict(), b.state_dict()
    assert set(sa) == set(sb), sorted(set(sa) ^ set(sb))
    for k in sa:
        assert torch.equal(sa[k], sb[k]), f"{k} differs"


def body_of(model):
    return getattr(model, model.base_model_prefix) if hasattr(model, model.base_model_prefix) else model


@torch.no_grad()
def same_hidden(helper, model, path, out, lengths=LENGTHS):
    c, n = model.config, sum(lengths)
    ids = torch.randint(5, c.vocab_size, (n,))
    types = torch.randint(max(getattr(c, "type_vocab_size", 1), 1), (n,))
    where = torch.tensor([[b, i] for b, k in enumerate(lengths) for i in range(k)])
    starts = torch.tensor([0, *torch.tensor(lengths).cumsum(0)])
    out.mkdir()
    save_file({k: v.int() for k, v in dict(ids=ids, token_types=types, where=where, starts=starts).items()}, out / "batch.safetensors")
    subprocess.run([helper, path, out], check=True)
    got, hidden, pooled = load_file(out / "hidden.safetensors"), [], []
    for i, t in zip(ids.split(lengths), types.split(lengths)):
        y = body_of(model)(input_ids=i[None], **({"token_type_ids": t[None]} if hasattr(c, "type_vocab_size") else {}))
        hidden.append(y.last_hidden_state[0])
        pooled.append(getattr(y, "pooler_output", None))
    want = {"hidden": torch.cat(hidden)}
    if pooled[0] is not None:
        want["pooled"] = torch.cat(pooled)
    assert set(want) == set(got), f"{path}: {set(want)} and {set(got)}"
    worst = max(((got[k] - want[k]).abs().max() / want[k].abs().max()).item() for k in want)
    assert worst <= 1e-5, f"{path}: off by {worst:g}"
    means = [torch.nn.functional.normalize(torch.stack([x.mean(0) for x in y.split(lengths)])) for y in (got["hidden"], want["hidden"])]
    return worst, (means[0] - means[1]).abs().max().item()


@torch.no_grad()
def same_networks(helper, path, out, lengths):
    """ELECTRA's: what the generator expects at every token, and what the discriminator says of it."""
    judge, generator = (load_clean(p, n) for p, n in ((path, "ElectraForPreTraining"), (path / "generator", "ElectraForMaskedLM")))
    n = sum(lengths)
    ids, types = torch.randint(5, judge.config.vocab_size, (n,)), torch.randint(2, (n,))
    where = torch.tensor([[b, i] for b, k in enumerate(lengths) for i in range(k)])
    batch = dict(ids=ids, token_types=types, where=where, starts=torch.tensor([0, *torch.tensor(lengths).cumsum(0)]),
                 picks=torch.arange(n), pick_targets=-torch.ones(n))
    out.mkdir()
    save_file({k: v.int() for k, v in batch.items()}, out / "batch.safetensors")
    subprocess.run([helper, path, out], check=True)
    got, worst = load_file(out / "hidden.safetensors"), []
    for name, model in (("generator", generator), ("discriminator", judge)):
        want = torch.cat([model(input_ids=i[None], token_type_ids=t[None]).logits[0].view(len(i), -1)
                          for i, t in zip(ids.split(lengths), types.split(lengths))])
        off = ((got[name][:, :want.shape[1]] - want).abs().max() / want.abs().max()).item()
        assert off <= 1e-5, f"{path}: {name} is off by {off:g}"
        worst.append(f"{name} {off:.1e}")
    return ", ".join(worst)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    args.add_argument("--helper", type=pathlib.Path)
    args.add_argument("--only-given", action="store_true")
    args.add_argument("checkpoint", type=pathlib.Path, nargs="*")
    a = args.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        work = pathlib.Path(tmp)
        helper = a.helper or build_helper(a.build, work / "check_hf")
        torch.manual_seed(3)
        for number, (name, config) in enumerate(classes() if not a.only_given else ()):
            model = getattr(hf, name)(config).eval()
            for p in model.parameters():
                if p.dim() == 1:
                    torch.nn.init.normal_(p, std=0.3)
            model.tie_weights()
            (work / str(number)).mkdir()
            worst = 0
            for label, d in variants(name, model, work / str(number)):
                out = d.with_name(d.name + "-ours")
                out.mkdir()
                subprocess.run([helper, d, out], check=True)
                read = getattr(hf, name).from_pretrained(d, dtype=torch.float32).eval()
                for ours in (out / "model", out / "checkpoints/step-00000001"):
                    config_json = json.loads((ours / "config.json").read_text())
                    assert config_json["architectures"] == [name], f"{label}: {config_json['architectures']}, not {name}"
                    if name.endswith(("Classification", "QuestionAnswering")):
                        opened = load_clean(ours).config
                        for key in ("id2label", "label2id", "num_labels", "problem_type"):
                            got, want = getattr(opened, key), getattr(read.config, key)
                            assert got == want, f"{label}: {key} is {got}, not {want}"
                    same_models(read, load_clean(ours))
                worst = max(worst, same_hidden(helper, read, d, d.with_name(d.name + "-hidden"))[0])
            print(f"ok  {name}: read in 8 forms, written twice, opened by transformers: equal; hidden states off by {worst:.1e} of the largest")
        for number, path in enumerate(a.checkpoint):
            if (path / "generator").is_dir():
                lengths = (64, 17, 3)
                print(f"ok  {path}: both networks of ELECTRA's pretraining, off by {same_networks(helper, path, work / f'two{number}', lengths)} "
                      "of the largest logit")
                continue
            out = work / f"given{number}"
            out.mkdir()
            subprocess.run([helper, path, out], check=True)
            written = load_clean(out / "model")
            same_models(load_clean(path, type(written).__name__), written)
            lengths = tuple(k for k in (128, 64, 17, 3) if k < written.config.max_position_embeddings - 2)
            worst, means = same_hidden(helper, written, path, work / f"hidden{number}", lengths)
            print(f"ok  {path}: {type(written).__name__}, hidden states off by {worst:.1e} of the largest, normalised means by {means:.1e}")


if __name__ == "__main__":
    main()
