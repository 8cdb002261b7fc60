#!/usr/bin/env python3
"""BERT-base in OpenVINO on the CPU: the latency of last hidden states and pooled first token, as `halfstep bench infer` measures it.

    scripts/openvino_encode.py --dir SCRATCH --dtype fp32|bf16 [--batch 1] [--seq 128] [--calls 50] [--threads 2]

Converts a randomly initialised BertModel of transformers once (SCRATCH/bert-base.xml), fixes its shape and compiles it with the hint for latency.
bf16 is OpenVINO's own precision hint. Prints one JSON line with the median and the 99th percentile of its calls.
"""
import argparse, json, os, time
os.environ["CI"] = "true"  # openvino-telemetry stays silent
import numpy as np
import openvino as ov

NAMES = ("input_ids", "attention_mask", "token_type_ids")


def convert(path):
    import torch
    from transformers import BertConfig, BertModel
    torch.manual_seed(0)
    x = torch.ones(2, 16, dtype=torch.long)
    model = BertModel(BertConfig()).eval()
    model.config.return_dict = False
    with torch.no_grad():
        m = ov.convert_model(model, example_input={n: x if n != "token_type_ids" else x * 0 for n in NAMES})
    ov.save_model(m, path, compress_to_fp16=False)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--dir", required=True)
    a.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    a.add_argument("--batch", type=int, default=1)
    a.add_argument("--seq", type=int, default=128)
    a.add_argument("--calls", type=int, default=50)
    a.add_argument("--threads", type=int, default=os.cpu_count())
    a = a.parse_args()
    path = os.path.join(a.dir, "bert-base.xml")
    if not os.path.exists(path):
        convert(path)
    core = ov.Core()
    m = core.read_model(path)
    m.reshape({i: [a.batch, a.seq] for i in m.inputs})
    if a.dtype == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise SystemExit("this CPU has no bf16")
    run = core.compile_model(m, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": a.threads,
                                        "INFERENCE_PRECISION_HINT": "f32" if a.dtype == "fp32" else "bf16"})
    rng = np.random.default_rng(0)
    values = {"input_ids": rng.integers(1000, 30000, (a.batch, a.seq)), "attention_mask": np.ones((a.batch, a.seq), np.int64),
              "token_type_ids": np.zeros((a.batch, a.seq), np.int64)}
    feed = {i.get_any_name(): values[next(n for n in NAMES if n in i.get_names())] for i in m.inputs}
    request, times = run.create_infer_request(), []
    for i in range(5 + a.calls):
        start = time.perf_counter()
        request.infer(feed, share_inputs=True, share_outputs=True)
        if i >= 5:
            times.append(time.perf_counter() - start)
    times.sort()
    print(json.dumps({"peer": "openvino " + ov.__version__.split("-")[0], "dtype": a.dtype, "milliseconds": 1e3 * float(np.median(times)),
                      "p99_milliseconds": 1e3 * times[min(a.calls - 1, int(a.calls * .99))], "threads": run.get_property("INFERENCE_NUM_THREADS")}))


if __name__ == "__main__":
    main()
