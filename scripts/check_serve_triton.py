#!/usr/bin/env python3
"""halfstep serve under Triton's own client (pip install 'tritonclient[http]'), as it comes: each call of it that the server says it has.

    python3 scripts/check_serve_triton.py --halfstep build/halfstep ENCODER CLASSIFIER GPT

ENCODER is a folder of an encoder without a task, CLASSIFIER one of BertForSequenceClassification, GPT one of a model that continues texts,
all with a tokenizer. With transformers and torch beside it, numbers are held against theirs.
"""
import argparse, glob, json, os, subprocess, sys, tempfile, threading, time

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
    assert len(c.get_inference_statistics()["model_stats"]) == 4


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


def said(c, name, text, tokens, **kwargs):
    r = c.infer(name, [tensor("text_input", np.array([text], dtype=object))],
                parameters={"max_tokens": tokens, "temperature": 0, "ignore_eos": True}, **kwargs)
    return r.as_numpy("text_output")[0].decode()


def check_sequences(c, name):
    """A text that goes on in a second request, and in a third, says what one request says."""
    held = 0
    for i, text in enumerate(TEXTS):
        at_once = said(c, name, text, 12)
        for sequence in (i + 1, f"mine {i}"):
            parts = [said(c, name, text, 4, sequence_id=sequence, sequence_start=True), said(c, name, "", 4, sequence_id=sequence),
                     said(c, name, "", 4, sequence_id=sequence, sequence_end=True)]
            whole = "\ufffd" not in at_once + "".join(parts)  # no character was cut between two requests
            held += whole
            assert not whole or "".join(parts) == at_once, (parts, at_once)
            refused(400, "START", said, c, name, "", 4, sequence_id=sequence)
    assert held > 0, "every answer is cut within a character"
    refused(400, "START", said, c, name, "a", 4, sequence_id=99)
    said(c, name, "a", 4, sequence_id=99, sequence_start=True)
    said(c, name, "b", 4, sequence_id=99, sequence_start=True)  # begins anew
    said(c, name, "", 4, sequence_id=99, sequence_end=True)
    return f"{held} sequences of three requests say what one says"


def check_ensemble(c):
    """Two models over one text give what they give alone, and a model over what another said."""
    config = c.get_model_config("both")
    assert config["platform"] == "ensemble" and [s["model_name"] for s in config["ensemble_scheduling"]["step"]] == ["classifier", "encoder"]
    meta = c.get_model_metadata("both")
    assert [t["name"] for t in meta["inputs"]] == ["TEXT"] and {t["name"] for t in meta["outputs"]} == {"TOPIC", "VECTOR"}
    texts = np.array(TEXTS, dtype=object)
    r = c.infer("both", [tensor("TEXT", texts)], request_id="nine")
    assert r.get_response()["id"] == "nine"
    assert np.array_equal(r.as_numpy("TOPIC"), c.infer("classifier", [tensor("text", texts)]).as_numpy("logits"))
    assert np.array_equal(r.as_numpy("VECTOR"), c.infer("encoder", [tensor("text", texts)]).as_numpy("sentence_embedding"))
    one = c.infer("both", [tensor("TEXT", texts, False)], outputs=[http.InferRequestedOutput("TOPIC", class_count=1)])
    assert one.as_numpy("TOPIC").size == len(TEXTS) and one.as_numpy("VECTOR") is None
    refused(400, "no input", c.infer, "both", [tensor("text", texts)])
    refused(501, "sequence", c.infer, "both", [tensor("TEXT", texts)], sequence_id=3, sequence_start=True)


def traces_of(path, files):
    """What stands in so many numbered files: they are written by a thread that nobody waits for."""
    for _ in range(100):
        found = sorted(glob.glob(path + ".*"))
        if len(found) >= files:
            break
        time.sleep(0.05)
    assert len(found) == files, found
    time.sleep(0.2)
    return [json.load(open(f)) for f in found]


def check_trace(c, path):
    about = {"trace_file": path, "trace_level": ["OFF"], "trace_rate": "1000", "trace_count": "-1", "log_frequency": "0", "trace_mode": "triton"}
    assert c.get_trace_settings() == about and c.get_trace_settings("encoder") == about
    assert "trace" in c.get_server_metadata()["extensions"]
    got = c.update_trace_settings(settings={"trace_level": ["TIMESTAMPS", "TENSORS"], "trace_rate": "2", "log_frequency": "1"})
    assert got == {**about, "trace_level": ["TIMESTAMPS", "TENSORS"], "trace_rate": "2", "log_frequency": "1"}
    mine = c.update_trace_settings("encoder", {"trace_rate": "1", "trace_count": "1"})
    assert mine == {**got, "trace_rate": "1", "trace_count": "1"} and c.get_trace_settings() == got
    text = np.array(TEXTS[:1], dtype=object)
    want = [c.infer("encoder", [tensor("text", text)], request_id=f"t{i}").as_numpy("sentence_embedding") for i in range(3)][0]
    assert c.get_trace_settings("encoder")["trace_count"] == "0"
    for i in range(2):
        c.infer("both", [tensor("TEXT", text)], request_id=f"b{i}")
    first, second = traces_of(path, 2)
    assert [t["request_id"] for t in first if "model_name" in t] == ["t0"]
    points = {p["name"]: p["ns"] for t in first for p in t.get("timestamps", [])}
    order = ["HTTP_RECV_START", "HTTP_RECV_END", "REQUEST_START", "QUEUE_START", "COMPUTE_START", "COMPUTE_INPUT_END", "COMPUTE_OUTPUT_START",
             "COMPUTE_END", "REQUEST_END", "HTTP_SEND_START", "HTTP_SEND_END"]
    assert list(points) == order and list(points.values()) == sorted(points.values())
    tensors = {t["tensor"]["name"]: t["tensor"] for t in first if "tensor" in t}
    assert tensors["text"]["data"] == f'"{TEXTS[0]}"' and tensors["text"]["dtype"] == "BYTES"
    vector = np.array(tensors["sentence_embedding"]["data"].split(","), np.float32).reshape([int(n) for n in tensors["sentence_embedding"]["shape"].split(",")])
    assert np.array_equal(vector, want)
    models = {t["model_name"]: t for t in second if "model_name" in t}
    assert models["both"]["request_id"] == "b1" and set(models) == {"both", "classifier", "encoder"}
    assert models["classifier"]["parent_id"] == models["encoder"]["parent_id"] == models["both"]["id"]
    refused(400, "trace_file", c.update_trace_settings, settings={"trace_file": "/tmp/mine"})
    refused(400, "1 to 4294967295", c.update_trace_settings, "encoder", {"trace_rate": "0"})
    refused(404, "nothing", c.get_trace_settings, "nothing")
    assert c.update_trace_settings("encoder", {"trace_rate": None, "trace_count": None}) == got
    assert c.update_trace_settings(settings={"trace_level": None, "trace_rate": None, "log_frequency": None}) == about
    assert c.get_trace_settings("encoder") == about


ENSEMBLE = """ensembles:
  - { name: both, model: classifier, input_map: [text=TEXT], output_map: [logits=TOPIC] }
  - { name: both, model: encoder, input_map: [text=TEXT], output_map: [sentence_embedding=VECTOR] }
"""


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--halfstep", default="build/halfstep")
    p.add_argument("encoder")
    p.add_argument("classifier")
    p.add_argument("gpt")
    a = p.parse_args()
    folder = tempfile.TemporaryDirectory()
    config, trace = os.path.join(folder.name, "serve.yaml"), os.path.join(folder.name, "trace.json")
    with open(config, "w") as f:
        f.write(ENSEMBLE)
    server = subprocess.Popen([a.halfstep, "serve", f"encoder={a.encoder}", f"classifier={a.classifier}", f"gpt={a.gpt}", "--port", "0",
                               "--json", "--control", "--dtype", "fp32", "--config", config, "--trace-file", trace],
                              stdout=subprocess.PIPE, text=True)
    try:
        port = json.loads(server.stdout.readline())["port"]
        c = http.InferenceServerClient(f"127.0.0.1:{port}", concurrency=16)
        check_server(c, "encoder")
        print("encoder:", check_encoder(c, "encoder", a.encoder))
        print("classifier:", check_classifier(c, "classifier", a.classifier))
        check_async(c, "encoder")
        check_statistics(c, "encoder")
        check_refusals(c, "encoder")
        print("sequences:", check_sequences(c, "gpt"))
        check_ensemble(c)
        check_trace(c, trace)
        check_repository(c, "classifier")
        c.close()
        print("all of it: right")
    finally:
        server.terminate()
        server.wait(60)
        folder.cleanup()


if __name__ == "__main__":
    main()
