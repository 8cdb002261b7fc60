"""Part onnx of check_export.py: ONNX files beside transformers, in ONNX Runtime."""
import numpy as np
import onnx
import torch
import transformers as hf
from check_export_tools import TOLERANCE, halfstep, kinds, session, tiny
from onnxruntime.transformers import optimizer


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
