#!/usr/bin/env python3
"""halfstep serve under Triton's own client (pip install 'tritonclient[http]'), as it comes: each call of it that the server says it has.

    python3 scripts/check_serve_triton.py --halfstep build/halfstep ENCODER CLASSIFIER

ENCODER is a folder of an encoder without a task, CLASSIFIER one of BertForSequenceClassification, both with a tokenizer. With transformers
and torch beside it, numbers are held against theirs.
"""
import argparse, json, os, subprocess, sys, tempfile, threading, time

import numpy as np
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

TEXTS = ["a short text", "the film is a mess of clichés .", "good", "one of the best , and one of the longest , films of the year"]


def refused(status, part, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except InferenceServerException as e:
        assert e.status() == str(status), (e.status(), str(e))
        assert part in str(e), str(e)
        return
    raise AssertionError(f"not refused: {part}")


def tensor(name, value, binary=True, datatype=None):
    t = http.InferInput(name, list(value.shape), datatype or {"i": "INT64", "O": "BYTES", "b": "BOOL", "f": "FP32"}[value.dtype.kind])
    t.set_data_from_numpy(value, binary_data=binary)
    return t


def tokens_of(folder, texts):
    try:
        from transformers import AutoTokenizer
    except ImportError:
        return None
    batch = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="np")
    return {k: batch[k].astype(np.int64) for k in ("input_ids", "attention_mask", "token_type_ids") if k in batch}


def check_server(c, name):
    assert c.is_server_live() and c.is_server_ready() and c.is_model_ready(name) and c.is_model_ready(name, "1")
    assert not c.is_model_ready("nothing")
    about = c.get_server_metadata()
    assert about["name"] == "halfstep" and "binary_tensor_data" in about["extensions"]
    meta, config = c.get_model_metadata(name), c.get_model_config(name)
    assert [t["name"] for t in meta["inputs"]] == [t["name"] for t in config["input"]]
    refused(404, "nothing", c.get_model_metadata, "nothing")
    refused(404, "version 9", c.get_model_metadata, name, "9")


def check_forms(c, name, batch, output):
    """The same request in every form gives the same bits."""
    want = None
    for binary_in in (True, False):
        for binary_out in (True, False):
            inputs = [tensor(k, v, binary_in) for k, v in batch.items()]
            r = c.infer(name, inputs, outputs=[http.InferRequestedOutput(output, binary_data=binary_out)], request_id="seven", priority=1,
                        timeout=60_000_000, parameters={"mine": "x", "number": 7})
            assert r.get_response()["id"] == "seven" and r.get_response()["model_version"] == "1"
            got = r.as_numpy(output)
            want = got if want is None else want
            assert got.dtype == np.float32 and np.array_equal(got, want)
    got = c.infer(name, [tensor(k, v) for k, v in batch.items()]).as_numpy(output)  # all outputs, raw
    assert np.array_equal(got, want)
    # rows alone, and without padding
    for i in range(len(want)):
        n = int(batch["attention_mask"][i].sum())
        alone = c.infer(name, [tensor(k, np.ascontiguousarray(v[i : i + 1, :n])) for k, v in batch.items()]).as_numpy(output)
        assert np.array_equal(alone[0], want[i, :n] if want.ndim == 3 else want[i]), i
    return want


def check_encoder(c, name, folder):
    texts = np.array(TEXTS, dtype=object).reshape(-1, 1)
    by_text = c.infer(name, [tensor("text", texts)]).as_numpy("sentence_embedding")
    assert np.array_equal(by_text, c.infer(name, [tensor("text", texts, False)]).as_numpy("sentence_embedding"))
    batch = tokens_of(folder, TEXTS)
    if batch is None:
        return "no transformers: numbers are not compared"
    hidden = check_forms(c, name, batch, "last_hidden_state")
    assert np.array_equal(check_forms(c, name, batch, "sentence_embedding"), by_text)
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder).eval().float()
    with torch.no_grad():
        want = model(**{k: torch.from_numpy(v) for k, v in batch.items()}).last_hidden_state.numpy()
    mask = batch["attention_mask"][:, :, None]
    return f"last_hidden_state within {np.abs((want - hidden) * mask).max():.2g} of transformers', largest {np.abs(want * mask).max():.3g}"


def check_classifier(c, name, folder):
    batch = tokens_of(folder, TEXTS)
    texts = np.array(TEXTS, dtype=object)
    logits = c.infer(name, [tensor("text", texts)]).as_numpy("logits")
    r = c.infer(name, [tensor("text", texts)], outputs=[http.InferRequestedOutput("logits", class_count=1)])
    for i, line in enumerate(r.as_numpy("logits").reshape(-1)):
        value, index = line.decode().split(":")[:2]
        assert int(index) == logits[i].argmax() and abs(float(value) - logits[i].max()) < 1e-5
    if batch is None:
        return "no transformers: numbers are not compared"
    assert np.array_equal(check_forms(c, name, batch, "logits"), logits)
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval().float()
    with torch.no_grad():
        want = model(**{k: torch.from_numpy(v) for k, v in batch.items()}).logits.numpy()
    return f"logits within {np.abs(want - logits).max():.2g} of transformers'"


def check_async(c, name, n=64):
    texts = [np.array([TEXTS[i % len(TEXTS)]], dtype=object) for i in range(n)]
    want = [c.infer(name, [tensor("text", t)]).as_numpy("sentence_embedding") for t in texts[: len(TEXTS)]]
    many = [c.async_infer(name, [tensor("text", t)]) for t in texts]
    for i, m in enumerate(many):
        assert np.array_equal(m.get_result().as_numpy("sentence_embedding"), want[i % len(TEXTS)])


def check_statistics(c, name):
    time.sleep(0.2)
    before = c.get_inference_statistics(name)["model_stats"][0]
    c.infer(name, [tensor("text", np.array(TEXTS, dtype=object))])
    refused(400, "no input", c.infer, name, [tensor("pixels", np.zeros((1, 2), np.int64))])
    time.sleep(0.2)
    after = c.get_inference_statistics(name)["model_stats"][0]
    assert after["inference_count"] - before["inference_count"] == len(TEXTS)
    assert after["execution_count"] - before["execution_count"] >= 1
    for k, more in (("success", 1), ("fail", 1), ("queue", 1), ("compute_input", 1), ("compute_infer", 1), ("compute_output", 1)):
        a, b = after["inference_stats"][k], before["inference_stats"][k]
        assert a["count"] - b["count"] == more and a["ns"] > b["ns"], k
    assert len(c.get_inference_statistics()["model_stats"]) == 2


def check_refusals(c, name):
    ids = np.array([[1, 2, 3]], dtype=np.int64)
    refused(400, "allowed are", c.infer, name, [tensor("input_ids", ids + 10_000_000)])
    refused(400, "there twice", c.infer, name, [tensor("input_ids", ids), tensor("input_ids", ids)])
    refused(400, "no output", c.infer, name, [tensor("input_ids", ids)], outputs=[http.InferRequestedOutput("x")])
    refused(404, "version 2", c.infer, name, [tensor("input_ids", ids)], model_version="2")
    refused(504, "longer", c.infer, name, [tensor("input_ids", ids)], timeout=1)
    refused(501, "sequence", c.infer, name, [tensor("input_ids", ids)], sequence_id=3, sequence_start=True)


def check_repository(c, name):
    assert {m["name"]: m["state"] for m in c.get_model_repository_index()}[name] == "READY"
    c.load_model(name)
    assert c.get_model_metadata(name)["versions"] == ["2"]
    c.unload_model(name)
    assert not c.is_model_ready(name)
    refused(404, name, c.infer, name, [tensor("text", np.array(["a"], dtype=object))])
    c.load_model(name)
    assert c.is_model_ready(name, "3")
    refused(404, "nothing", c.load_model, "nothing")
    refused(501, "config", c.load_model, name, config="{}")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--halfstep", default="build/halfstep")
    p.add_argument("encoder")
    p.add_argument("classifier")
    a = p.parse_args()
    server = subprocess.Popen([a.halfstep, "serve", f"encoder={a.encoder}", f"classifier={a.classifier}", "--port", "0", "--json",
                               "--control", "--dtype", "fp32"], stdout=subprocess.PIPE, text=True)
    try:
        port = json.loads(server.stdout.readline())["port"]
        c = http.InferenceServerClient(f"127.0.0.1:{port}", concurrency=16)
        check_server(c, "encoder")
        print("encoder:", check_encoder(c, "encoder", a.encoder))
        print("classifier:", check_classifier(c, "classifier", a.classifier))
        check_async(c, "encoder")
        check_statistics(c, "encoder")
        check_refusals(c, "encoder")
        check_repository(c, "classifier")
        c.close()
        print("all of it: right")
    finally:
        server.terminate()
        server.wait(60)


if __name__ == "__main__":
    main()
