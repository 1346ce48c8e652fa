"""Open every built page in headless Chromium: `browse.py FOLDER [--pictures FOLDER] [PAGE ...]`.

At the width of a phone, a laptop and a wide screen, in light and dark: nothing on the console, no failed or foreign request, no page
that scrolls sideways, no formula left as text. `--pictures` keeps a screenshot of each. Without a Chromium it says so and tests nothing.
"""
import argparse
import asyncio
import base64
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import check
from tornado.websocket import websocket_connect

WIDTHS = {390: 844, 1280: 800, 1920: 1080}
THEMES = ("light", "dark")
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# what a page must satisfy once it is drawn; the script returns a list of faults
LOOK = """(async () => {
  const faults = [];
  if (window.MathJax?.startup?.promise) await MathJax.startup.promise;
  const wide = document.scrollingElement.scrollWidth - document.documentElement.clientWidth;
  if (wide > 0) {
    const out = [...document.querySelectorAll('article *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1
      && !e.parentElement.closest('.table-wrapper, pre, .output, mjx-container')).slice(0, 3);
    faults.push(`scrolls sideways by ${wide} px` + out.map(e => ` <${e.tagName} class="${e.className}">`).join(''));
  }
  for (const e of document.querySelectorAll('.math')) if (!e.querySelector('mjx-container')) faults.push('a formula left as text: ' + e.textContent.slice(0, 60));
  for (const e of document.querySelectorAll('mjx-merror')) faults.push('a formula that is none: ' + e.textContent.slice(0, 60));
  for (const e of document.images) if (e.complete && !e.naturalWidth) faults.push('an image that is not there: ' + e.src);
  return faults;
})()"""


class Browser:
    """One tab of a Chromium that runs without a screen, driven by its debugging protocol."""

    def __init__(self, program, profile):
        flags = ["--headless=new", "--remote-debugging-port=0", f"--user-data-dir={profile}", "--no-first-run", "--disable-gpu", "--hide-scrollbars",
                 "--disable-background-networking", "--disable-component-update"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")    # Chromium refuses to start as root otherwise, e.g. in a container
        self.process = subprocess.Popen([program, *flags, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.port_file, self.count, self.waiting, self.events = Path(profile, "DevToolsActivePort"), 0, {}, []
        self.loaded = asyncio.Event()

    async def connect(self):
        for _ in range(300):
            if self.port_file.exists() and self.port_file.read_text().count("\n"):
                break
            if self.process.poll() is not None:
                raise SystemExit(f"Chromium ended with status {self.process.returncode} before it could be used")
            await asyncio.sleep(0.1)
        else:
            raise SystemExit("Chromium did not start within 30 seconds")
        port, path = self.port_file.read_text().splitlines()[:2]
        self.socket = await websocket_connect(f"ws://127.0.0.1:{port}{path}", max_message_size=1 << 28)
        self.reader = asyncio.create_task(self.read())
        self.session = None
        target = await self.call("Target.createTarget", url="about:blank")
        self.session = (await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True))["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable")

    async def read(self):
        while (text := await self.socket.read_message()) is not None:
            message = json.loads(text)
            if "id" in message:
                self.waiting.pop(message["id"]).set_result(message)
            elif message["method"] == "Page.loadEventFired":
                self.loaded.set()
            else:
                self.events.append(message)

    async def call(self, method, **params):
        self.count += 1
        future = self.waiting[self.count] = asyncio.get_running_loop().create_future()
        message = {"id": self.count, "method": method, "params": params}
        await self.socket.write_message(json.dumps(message | ({"sessionId": self.session} if self.session else {})))
        answer = await asyncio.wait_for(future, 60)
        if "error" in answer:
            raise SystemExit(f"Chromium refuses {method}: {answer['error']['message']}")
        return answer["result"]

    async def open(self, address):
        self.loaded.clear()
        self.events.clear()
        await self.call("Page.navigate", url=address)
        await asyncio.wait_for(self.loaded.wait(), 60)

    async def look(self):
        answer = await self.call("Runtime.evaluate", expression=LOOK, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            return [str(answer["exceptionDetails"])[:300]]
        return answer["result"]["value"]

    def said(self, own):
        """What the console and the network had to say since the page was opened."""
        for event in self.events:
            params = event["params"]
            match event["method"]:
                case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                    yield "console: " + " ".join(str(a.get("value", a.get("description"))) for a in params["args"])[:200]
                case "Runtime.exceptionThrown":
                    yield "exception: " + str(params["exceptionDetails"].get("exception", params["exceptionDetails"]))[:200]
                case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                    yield f"log: {params['entry']['text']} {params['entry'].get('url', '')}"[:200]
                case "Network.requestWillBeSent":
                    url = params["request"]["url"]
                    if not url.startswith((own, "data:", "blob:")):
                        yield f"a request to a foreign host: {url}"


async def browse(browser, own, pages, pictures):
    await browser.connect()
    found = []
    for page in pages:
        for theme in THEMES:
            await browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
            await browser.open(own + page)
            for width, height in WIDTHS.items():
                await browser.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
                found += [f"{page} ({width} px, {theme}): {what}" for what in await browser.look()]
                if pictures:
                    shot = await browser.call("Page.captureScreenshot", format="png")
                    name = re.sub(r"\W+", "-", page.removesuffix(".html"))
                    (pictures / f"{name}-{width}-{theme}.png").write_bytes(base64.b64decode(shot["data"]))
            found += [f"{page} ({theme}): {what}" for what in browser.said(own)]
    return found


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def program():
    """The Chromium of this machine, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def faults(folder, pages, pictures=None):
    """All that is wrong with `pages` of `folder`, served to a browser of our own on this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(program(), profile)
        try:
            return asyncio.run(browse(browser, f"http://127.0.0.1:{server.server_port}/", pages, pictures))
        finally:
            browser.process.terminate()
            browser.process.wait(30)
            server.shutdown()
            server.server_close()


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--pictures", type=Path)
    arguments.add_argument("pages", nargs="*")
    given = arguments.parse_args()
    if not program():
        print(f"SKIPPED: none of {', '.join(NAMES)} is installed, NO PAGE WAS OPENED IN A BROWSER")
        return
    pages = given.pages or [p.relative_to(given.folder).as_posix() for p in check.written(given.folder)]
    if given.pictures:
        given.pictures.mkdir(parents=True, exist_ok=True)
    found = faults(given.folder, pages, given.pictures)
    if found:
        raise SystemExit("\n".join([*found, f"{len(found)} faults in {len(pages)} pages"]))
    print(f"{len(pages)} pages in headless Chromium, {len(WIDTHS)} widths, light and dark: in order")


if __name__ == "__main__":
    main()
