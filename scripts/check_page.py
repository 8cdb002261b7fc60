#!/usr/bin/env python3
# The page that halfstep serve has at /, in a headless browser: what it shows of the models, a request of each kind by hand, one that is stopped, a
# server that wants a token. Nothing may reach the browser's console (its policy, errors of scripts), and nothing be asked of another host.
#   python3 scripts/check_page.py --halfstep build/halfstep --encoder DIR --decoder DIR [--browser /usr/bin/chromium] [--pictures DIR]
# Needs the package playwright and a browser of the Chromium family.
import argparse
import json
import os
import subprocess
import tempfile
import time

from playwright.sync_api import sync_playwright

TOKEN = "a-token-of-this-check"


def check(ok, what):
    print(("ok    " if ok else "WRONG ") + what, flush=True)
    if not ok:
        raise SystemExit(1)


class Server:
    def __init__(self, args, *more):
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([args.halfstep, "serve", "encoder=" + args.encoder, "decoder=" + args.decoder, "--port", "0", "--json", *more],
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        said = self.process.stdout.readline()
        if not said:
            self.log.seek(0)
            raise SystemExit("the server does not start: " + self.log.read())
        self.url = "http://127.0.0.1:%d/" % json.loads(said)["port"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Page:
    def __init__(self, browser, url):
        self.page, self.said, self.refused = browser.new_page(viewport={"width": 1280, "height": 1000}), [], []
        # the browser says it of each answer that is an error: which ones, the checks say
        self.page.on("console", lambda m: "Failed to load resource" in m.text or self.said.append(m.text))
        self.page.on("response", lambda r: r.ok or self.refused.append("%d %s" % (r.status, r.url[len(url) - 1:])))
        self.page.on("pageerror", lambda e: self.said.append(str(e)))
        self.page.on("request", lambda r: r.url.startswith(url) or self.said.append("asks for " + r.url))
        self.page.goto(url)

    def wait(self, what, expression):  # by looking again and again: the page's policy allows no predicate in it
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if self.page.evaluate("() => " + expression):
                return check(True, what)
            time.sleep(0.05)
        print(self.page.inner_text("body"))
        check(False, what)

    def send(self, model, kind):
        self.page.select_option("#model", model)
        self.page.select_option("#kind", kind)
        self.page.click("#send")

    def text(self, of):
        return self.page.inner_text(of)

    def close(self, what, refused):
        check(refused(self.refused), what + ": refused was what should be: " + ", ".join(sorted(set(self.refused))))
        check(not self.said, what + ": nothing on the console, nothing from elsewhere" + "".join("\n      " + s for s in self.said))
        self.page.close()


def shows(page):
    page.wait("both models are ready", "document.querySelectorAll('#models .good').length === 2")
    names = page.page.eval_on_selector_all("#models tr", "rows => rows.map(r => r.cells[0].textContent.split(',')[0])")
    check(sorted(names) == ["decoder", "encoder"], "they are named")
    check(page.text("#ready") == "ready" and page.text("#version"), "so is the server, with its version")
    page.wait("both are offered", "document.querySelectorAll('#model option').length === 2")


def sends(page):
    for kind in "embed", "embeddings":
        page.send("encoder", kind)
        page.wait(kind + ": is answered", "document.getElementById('said').textContent.startsWith('200')")
        check("more]" in page.text("#answer"), kind + ": a vector")
    page.send("encoder", "completions")
    page.wait("an encoder continues nothing", "/^4../.test(document.getElementById('said').textContent)")
    check("error" in page.text("#answer"), "and says so")
    page.send("decoder", "completions")
    page.wait("a completion comes in pieces", "/^first after .* pieces, /.test(document.getElementById('said').textContent) && document.getElementById('stop').disabled")
    check(page.text("#answer").strip(), "and has text")
    page.page.fill("#body", json.dumps({"model": "decoder", "prompt": "Once", "max_tokens": 900, "temperature": 0.8, "stream": True}))
    page.page.click("#send")
    page.wait("a long one begins", "document.getElementById('answer').textContent.length > 20")
    page.page.click("#stop")
    page.wait("and is stopped", "document.getElementById('said').textContent === 'stopped'")
    page.page.fill("#body", "{")
    page.page.click("#send")
    page.wait("a body that is none is refused", "document.getElementById('said').textContent.startsWith('400')")
    page.wait("what was answered is counted", "[...document.querySelectorAll('#models tr')].every(r => Number(r.cells[2].textContent) >= 1)")
    page.wait("and drawn", "document.querySelectorAll('#rate polyline, #latency polyline').length === 3")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--halfstep", default="build/halfstep")
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--decoder", required=True)
    parser.add_argument("--browser", default="/usr/bin/chromium")
    parser.add_argument("--pictures")
    args = parser.parse_args()
    with sync_playwright() as p, tempfile.TemporaryDirectory() as tmp:
        browser = p.chromium.launch(executable_path=args.browser, args=["--no-sandbox"])
        with Server(args) as server:
            page = Page(browser, server.url)
            shows(page)
            sends(page)
            if args.pictures:
                page.page.screenshot(path=os.path.join(args.pictures, "page.png"), full_page=True)
            page.close("the page", lambda r: len(r) == 2 and all(x.endswith(" /v1/completions") for x in r))
        tokens = os.path.join(tmp, "tokens")
        with open(tokens, "w") as f:
            f.write(TOKEN + "\n")
        os.chmod(tokens, 0o600)
        with Server(args, "--token-file", tokens) as server:
            page = Page(browser, server.url)
            page.wait("a server with tokens asks for one", "!document.getElementById('door').hidden && document.getElementById('ready').textContent === 'locked'")
            page.page.fill("#token", TOKEN)
            page.page.click("#door button")
            shows(page)
            page.close("behind a token", lambda r: r and all(x.startswith("401 ") for x in r))
        browser.close()


if __name__ == "__main__":
    main()
