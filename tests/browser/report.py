#!/usr/bin/env python3
"""Looks at the report of a model in a real browser.

    python3 tests/browser/report.py target/release/incept [FOLDER]

Makes the report of GoogLeNet, profiled and benched, and opens it, offline, in Chromium at widths of 1400 and 600 pixels.
Fails where

- the page is larger than 3 MB, asks for anything but itself, or writes an error to the console,
- it is wider than the window, two nodes overlap, or a label is wider than its box,
- the chart of the arena, the roofline or the times of the bench are missing, or a label sticks out of its picture,
- clicking a node does not show its details, or does not mark what belongs to it on the other side,
- searching finds nothing.

The pictures go to FOLDER (default: a new one, which is named). Needs `chromium` and `chromedriver` (Debian: chromium,
chromium-driver) and nothing else: they are driven through WebDriver with the standard library.
"""

import base64
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

MODEL = "googlenet"
MAX_BYTES = 3_000_000
WIDTHS = (1400, 600)
SELECTED = "rgb(255, 228, 92)"

# Boxes of one pane that overlap, and labels that stick out of their boxes.
GEOMETRY = """
const wrong = [];
for (const pane of document.querySelectorAll('.pane')) {
  const boxes = [...pane.querySelectorAll('.node')].map((node) => {
    const box = node.querySelector('rect').getBoundingClientRect();
    for (const text of node.querySelectorAll('text')) {
      const label = text.getBoundingClientRect();
      if (label.left < box.left - 0.5 || label.right > box.right + 0.5)
        wrong.push(`"${text.textContent}" is wider than its box`);
    }
    return [box, node];
  });
  boxes.sort((a, b) => a[0].top - b[0].top);
  boxes.forEach(([a, one], index) => {
    for (let next = index + 1; next < boxes.length && boxes[next][0].top < a.bottom - 0.5; next++) {
      const [b, other] = boxes[next];
      if (b.left < a.right - 0.5 && a.left < b.right - 0.5) wrong.push(`${one.id} and ${other.id} overlap`);
    }
  });
  if (boxes.length < 10) wrong.push(`a pane has ${boxes.length} nodes only`);
}
return wrong;
"""

# The pictures beside the graphs: their headings, and labels that stick out of them.
PLOTS = """
const wrong = [];
for (const [id, kind, least] of [['memory', 'arena', 40], ['profile', 'plot', 40], ['bench', 'plot', 2]]) {
  let picture = document.getElementById(id);
  while (picture && !picture.querySelector(`svg.${kind}`)) picture = picture.nextElementSibling;
  picture = picture && picture.querySelector(`svg.${kind}`);
  if (!picture) { wrong.push(`no picture in "${id}"`); continue; }
  const frame = picture.getBoundingClientRect();
  const shapes = picture.querySelectorAll('rect, circle, path, polyline, line').length;
  if (shapes < least) wrong.push(`the picture in "${id}" has ${shapes} shapes only`);
  for (const text of picture.querySelectorAll('text')) {
    const label = text.getBoundingClientRect();
    if (label.left < frame.left - 1 || label.right > frame.right + 1 || label.top < frame.top - 1
        || label.bottom > frame.bottom + 1)
      wrong.push(`"${text.textContent}" sticks out of the picture in "${id}"`);
  }
}
return wrong;
"""

# Clicks a node as a user would, and tells what came of it.
CLICK = """
const node = [...document.querySelectorAll('.pane .node[id^=before-]')]
  .find((node) => node.querySelector('title').textContent.includes('(batch_norm)'));
node.dispatchEvent(new MouseEvent('click', {bubbles: true}));
const marked = (side) => document.querySelectorAll(`.node.selected[id^=${side}-]`).length;
return {
  name: node.querySelector('title').textContent.split('\\n')[0],
  details: document.getElementById('details').textContent,
  before: marked('before'),
  after: marked('after'),
  fill: getComputedStyle(node.querySelector('rect')).fill,
};
"""

SEARCH = """
const search = document.getElementById('search');
search.value = arguments[0];
search.dispatchEvent(new Event('input'));
return document.querySelectorAll('#details button').length;
"""

failures = []


def check(holds, message):
    if not holds:
        failures.append(message)
        print(f"FAILED: {message}")


class Browser:
    """A session of Chromium, driven through chromedriver."""

    def __init__(self):
        driver = shutil.which("chromedriver")
        chromium = shutil.which("chromium")
        if not driver or not chromium:
            sys.exit("chromium and chromedriver are needed (Debian: apt-get install chromium chromium-driver)")
        self.process = subprocess.Popen(
            [driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        port = None
        for line in self.process.stdout:
            if "successfully on port " in line:
                port = int(line.split("successfully on port ")[1].split(".")[0])
                break
        if port is None:
            sys.exit("chromedriver does not start")
        self.base = f"http://127.0.0.1:{port}"
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
        arguments += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        arguments += ["--hide-scrollbars"]
        options = {"binary": chromium, "args": arguments}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        self.session = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            sys.exit(f"{path}: {error.read().decode()[:500]}")

    def on(self, method, path, body=None):
        return self.call(method, f"/session/{self.session}{path}", body)

    def script(self, text, *arguments):
        return self.on("POST", "/execute/sync", {"script": text, "args": list(arguments)})

    def devtools(self, command, **parameters):
        return self.on("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def size(self, width, height):
        parameters = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.devtools("Emulation.setDeviceMetricsOverride", **parameters)

    def open(self, page):
        """Opens a file, and gives what the console said in anger and what was asked for beside the file."""
        self.logs()
        self.on("POST", "/url", {"url": page.as_uri()})
        time.sleep(0.5)
        return self.logs(page.as_uri())

    def logs(self, page=""):
        console = self.on("POST", "/se/log", {"type": "browser"})
        errors = [entry["message"] for entry in console if entry["level"] == "SEVERE"]
        requests = []
        for entry in self.on("POST", "/se/log", {"type": "performance"}):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
                if url != page and not url.startswith("data:"):
                    requests.append(url)
        return errors, requests

    def picture(self, path, whole=False):
        parameters = {"format": "png", "captureBeyondViewport": whole}
        if whole:
            box = self.devtools("Page.getLayoutMetrics")["cssContentSize"]
            parameters["clip"] = {"x": 0, "y": 0, "width": box["width"], "height": box["height"], "scale": 1}
        path.write_bytes(base64.b64decode(self.devtools("Page.captureScreenshot", **parameters)["data"]))

    def close(self):
        self.on("DELETE", "")
        self.process.terminate()
        self.process.wait(10)


def the_checks_can_fail(browser, folder):
    """A page with everything wrong must be found out, or the rest proves nothing."""
    page = folder / "wrong.html"
    page.write_text("<img src='http://127.0.0.1:9/none.png'><script>throw new Error('planted')</script>")
    errors, requests = browser.open(page)
    check(any("planted" in error for error in errors), "a planted error is not seen")
    check(any("none.png" in request for request in requests), "a planted request is not seen")
    check(len(browser.script(PLOTS)) == 3, "missing pictures are not missed")
    page.unlink()


def look(browser, page, folder, width):
    browser.size(width, 900)
    errors, requests = browser.open(page)
    check(not errors, f"{width}: the console says {errors}")
    check(not requests, f"{width}: the page asks for {requests}")
    overflow = browser.script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    check(overflow <= 0, f"{width}: the page is {overflow} pixels wider than the window")
    for wrong in browser.script(GEOMETRY) + browser.script(PLOTS):
        check(False, f"{width}: {wrong}")
    found = browser.script(CLICK)
    check(found["name"] in found["details"], f"{width}: no details of {found['name']}: {found['details'][:200]}")
    check(found["before"] > 1 and found["after"] == 1, f"{width}: {found['before']} and {found['after']} are marked")
    check(found["fill"] == SELECTED, f"{width}: the selected node is {found['fill']}")
    check("fold_batch_norm" in found["details"], f"{width}: the details do not say what became of {found['name']}")
    browser.picture(folder / f"report-{width}.png")
    browser.picture(folder / f"report-{width}-whole.png", whole=True)
    check(browser.script(SEARCH, "conv") > 10, f"{width}: searching finds nothing")
    check(browser.script(SEARCH, "no such node") == 0, f"{width}: searching finds what is not there")
    errors, requests = browser.logs(page.as_uri())
    check(not errors and not requests, f"{width}: after use, the console says {errors}, the page asks for {requests}")


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    binary = sys.argv[1]
    folder = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp(prefix="incept-report-")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{MODEL}.html"
    measured = []
    for verb, *options in (["profile"], ["bench", "--duration", "2s"]):
        document = folder / f"{verb}.json"
        with document.open("wb") as out:
            subprocess.run([binary, verb, MODEL, "--json", *options], check=True, stdout=out)
        measured += [f"--{verb}", str(document)]
    subprocess.run([binary, "report", MODEL, "-o", str(page), *measured], check=True)
    size = page.stat().st_size
    check(size <= MAX_BYTES, f"the page has {size} bytes")
    browser = Browser()
    try:
        the_checks_can_fail(browser, folder)
        for width in WIDTHS:
            look(browser, page, folder, width)
    finally:
        browser.close()
    print(f"{page}: {size} bytes; pictures in {folder}")
    if failures:
        sys.exit(f"{len(failures)} checks failed")


if __name__ == "__main__":
    main()
