#!/usr/bin/env python3
"""BERT-base encoding on the CPU beside OpenVINO and ONNX Runtime: latency of token ids to last hidden states and pooled first token.

    . ENV; scripts/bench_encode.py --dir SCRATCH [--halfstep PROGRAM] [--rows NAME,..] [--batch 1,8] [--seq 128] [--rounds 5] [--calls 20] [--isa TIER]

ENV: an environment with openvino, nncf, onnxruntime, torch and transformers. A randomly initialised BertModel is converted once into SCRATCH; the
peers stay loaded and take turns with `halfstep bench infer`, in one run on the same cores. Rows:

    fp32, bf16, int8, int8-static            ours: --dtype NAME; int8: a scale for each token, int8-static: scales of whole tensors
    openvino-fp32, openvino-bf16, openvino-int8    its precision hints; int8 is NNCF's, transformer preset, on 64 random batches
    ort-fp32, ort-int8, ort-int8-static      fused by its transformer optimizer; quantize_dynamic, per channel; quantize_static as QDQ

Prints a table of milliseconds, medians over rounds of medians over calls, and for each of ours the best peer of its type and by how much ours is
faster. A peer held to fewer instructions (ONEDNN_MAX_CPU_ISA=AVX2: OpenVINO alone has such a switch) is the caller's to set.
"""
import argparse, json, os, statistics, subprocess, sys, time
os.environ["CI"] = "true"  # openvino-telemetry stays silent

NAMES = ("input_ids", "attention_mask", "token_type_ids")
OURS = {"fp32": ["--dtype", "fp32"], "bf16": ["--dtype", "bf16"], "int8": ["--dtype", "int8"], "int8-static": ["--dtype", "int8", "--static"]}
PEERS = ("openvino-fp32", "openvino-bf16", "openvino-int8", "ort-fp32", "ort-int8", "ort-int8-static")
CPUS = os.cpu_count()


def columns(batch, seq, seed):
    import numpy as np
    rng = np.random.default_rng(seed)
    return {"input_ids": rng.integers(1000, 30000, (batch, seq)), "attention_mask": np.ones((batch, seq), np.int64),
            "token_type_ids": np.zeros((batch, seq), np.int64)}


def export(raw, fused):
    import torch
    from transformers import BertConfig, BertModel
    torch.manual_seed(0)
    model = BertModel(BertConfig(attn_implementation="eager")).eval()

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.m = model

        def forward(self, input_ids, attention_mask, token_type_ids):
            out = self.m(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
            return out.last_hidden_state, out.pooler_output

    x = torch.ones(2, 16, dtype=torch.long)
    torch.onnx.export(Encoder(), (x, x, torch.zeros_like(x)), raw, input_names=list(NAMES), output_names=["hidden", "pooled"], opset_version=17,
                      dynamo=False, dynamic_axes={k: {0: "b", 1: "s"} for k in NAMES})
    from onnxruntime.transformers import optimizer
    optimizer.optimize_model(raw, model_type="bert", num_heads=12, hidden_size=768).save_model_to_file(fused)


def prepare(d, rows):
    """Files of all rows in folder d; those that stand are kept."""
    raw, fused = (os.path.join(d, n + ".onnx") for n in ("raw", "fused"))
    if not os.path.exists(fused):
        export(raw, fused)
    ov, dynamic, static = (os.path.join(d, n) for n in ("openvino-int8.xml", "ort-int8.onnx", "ort-int8-static.onnx"))
    if "ort-int8" in rows and not os.path.exists(dynamic):
        from onnxruntime.quantization import QuantType, quantize_dynamic
        quantize_dynamic(fused, dynamic, weight_type=QuantType.QInt8, per_channel=True, extra_options={"DefaultTensorType": 1})
    if "ort-int8-static" in rows and not os.path.exists(static):
        from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

        class Reader(CalibrationDataReader):
            batches = iter([columns(1, 128, k) for k in range(8)])

            def get_next(self):
                return next(self.batches, None)

        quantize_static(raw, static, Reader(), activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, per_channel=True,
                        op_types_to_quantize=["MatMul", "Gemm"])
    if "openvino-int8" in rows and not os.path.exists(ov):
        import nncf, openvino
        batches = nncf.Dataset([columns(1, 128, k) for k in range(64)])
        openvino.save_model(nncf.quantize(openvino.Core().read_model(raw), batches, model_type=nncf.ModelType.TRANSFORMER, subset_size=64), ov,
                            compress_to_fp16=False)


def openvino_peer(d, row, batch, seq):
    import openvino
    core = openvino.Core()
    dtype = row.split("-")[1]
    if dtype == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise SystemExit("openvino has no bf16 on this CPU: leave the row out")
    m = core.read_model(os.path.join(d, "openvino-int8.xml" if dtype == "int8" else "raw.onnx"))
    m.reshape({n: [batch, seq] for n in NAMES})
    request = core.compile_model(m, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": CPUS,
                                            "INFERENCE_PRECISION_HINT": "bf16" if dtype == "bf16" else "f32"}).create_infer_request()
    feed = columns(batch, seq, 0)
    return lambda: request.infer(feed, share_inputs=True, share_outputs=True)


def ort_peer(d, row, batch, seq):
    import numpy as np, onnxruntime
    o = onnxruntime.SessionOptions()
    o.intra_op_num_threads = CPUS
    s = onnxruntime.InferenceSession(os.path.join(d, "fused.onnx" if row == "ort-fp32" else row + ".onnx"), o, providers=["CPUExecutionProvider"])
    feed = {i.name: columns(batch, seq, 0)[i.name].astype(np.int64 if i.type == "tensor(int64)" else np.int32) for i in s.get_inputs()}
    return lambda: s.run(None, feed)


def peer_ms(call, calls):
    times = []
    for i in range(3 + calls):
        start = time.perf_counter()
        call()
        if i >= 3:
            times.append(time.perf_counter() - start)
    time.sleep(0.1)  # its threads stop waiting for more
    return 1e3 * statistics.median(times)


def our_ms(a, row, batch):
    command = [a.halfstep, "bench", "infer", "--model", "bert-base", "--batch", str(batch), "--seq", str(a.seq), "--warmup", "3", "--steps",
               str(a.calls), "--isa", a.isa, "--json"] + OURS[row]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0])["milliseconds"]


def table(ms, rows, batch, seq):
    best = {}
    for row in rows:
        if row in PEERS:
            kind = row.split("-")[1]
            best[kind] = min(best.get(kind, (float("inf"), "")), (statistics.median(ms[row]), row))
    print(f"\n| batch {batch}, {seq} tokens | ms | of rounds | best peer | faster by |\n|---|---|---|---|---|")
    for row in rows:
        at, kind = statistics.median(ms[row]), row.split("-")[0]
        peer = f"{best[kind][1]} {best[kind][0]:.1f} | {best[kind][0] / at:.2f}" if row in OURS and kind in best else "|"
        print(f"| {row} | {at:.1f} | {min(ms[row]):.1f} to {max(ms[row]):.1f} | {peer} |", flush=True)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--dir", required=True)
    a.add_argument("--halfstep", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "build", "halfstep"))
    a.add_argument("--rows", default=",".join(list(OURS) + list(PEERS)))
    a.add_argument("--batch", default="1,8")
    a.add_argument("--seq", type=int, default=128)
    a.add_argument("--rounds", type=int, default=5)
    a.add_argument("--calls", type=int, default=20)
    a.add_argument("--isa", default="auto")
    a.add_argument("--prepare", action="store_true", help="convert what the rows need, and stop")
    a = a.parse_args()
    rows = a.rows.split(",")
    unknown = [r for r in rows if r not in OURS and r not in PEERS]
    if unknown:
        raise SystemExit(f"no row {unknown[0]}: there are {', '.join(list(OURS) + list(PEERS))}")
    os.makedirs(a.dir, exist_ok=True)
    if a.prepare:
        return prepare(a.dir, rows)
    subprocess.run([sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--prepare"], check=True, stdout=subprocess.DEVNULL)
    for batch in map(int, a.batch.split(",")):
        peers = {r: (openvino_peer if r.startswith("openvino") else ort_peer)(a.dir, r, batch, a.seq) for r in rows if r in PEERS}
        ms = {r: [] for r in rows}
        for k in range(a.rounds):
            for r in rows:
                ms[r].append(peer_ms(peers[r], a.calls) if r in peers else our_ms(a, r, batch))
            print(f"batch {batch}, round {k + 1}: " + ", ".join(f"{r} {ms[r][-1]:.1f}" for r in rows), file=sys.stderr, flush=True)
        table(ms, rows, batch, a.seq)


if __name__ == "__main__":
    main()
