"""Headless Chromium, driven over a pipe with the DevTools protocol: the standard library is enough.

Messages are JSON that ends with a zero byte, on file descriptors 3 (to the browser) and 4 (from
it).
"""

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import time

BINARY = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
PATIENCE = 60
"""Seconds after which a test that waits fails; nothing is judged by how long it takes."""


class Browser:
    """One page of a browser; keeps what it logged and what it asked the network for."""

    def __init__(self, profile):
        to_browser, ours_out = os.pipe()
        ours_in, from_browser = os.pipe()
        flags = ["--headless=new", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        flags += ["--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        flags += ["--disable-background-networking", "--disable-component-update"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")
        # The browser wants exactly 3 and 4; the shell puts them there.
        wiring = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", wiring, BINARY, *flags, "about:blank"],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self.out, self.back, self.buffer = ours_out, ours_in, b""
        self.ids, self.answers, self.session = itertools.count(1), {}, None
        self.errors, self.requests = [], []
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(t for t in targets if t["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method, **params):
        """Send a command and return its result."""
        number = next(self.ids)
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        self._until(lambda: number in self.answers)
        answer = self.answers.pop(number)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def _until(self, done):
        end = time.monotonic() + PATIENCE
        while not done():
            ready, _, _ = select.select([self.back], [], [], max(0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            data = os.read(self.back, 1 << 20)
            assert data, "the browser has gone"
            *messages, self.buffer = (self.buffer + data).split(b"\0")
            for message in messages:
                self._take(json.loads(message))

    def _take(self, message):
        params = message.get("params", {})
        match message.get("method"):
            case None:
                self.answers[message["id"]] = message
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.errors.append(json.dumps(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.errors.append(json.dumps(params["entry"]))
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Page.loadEventFired":
                self.loaded = True

    def open(self, url):
        """Go to an address and wait until it is loaded."""
        self.loaded = False
        self.send("Page.navigate", url=url)
        self._until(lambda: self.loaded)

    def reload(self):
        """Load the page once more."""
        self.loaded = False
        self.send("Page.reload")
        self._until(lambda: self.loaded)

    def js(self, expression):
        """Return the value of an expression; of a promise, what it comes to."""
        found = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True,
            userGesture=True,
        )  # fmt: skip
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression):
        """Wait until an expression is true and return its value."""
        end = time.monotonic() + PATIENCE
        while not (found := self.js(expression)):
            assert time.monotonic() < end, f"still not: {expression}; errors: {self.errors}"
            time.sleep(0.05)
        return found

    def click(self, selector):
        """Click the middle of an element with the mouse."""
        box = self.js(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const r = e.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send(
                "Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left",
                clickCount=1,
            )  # fmt: skip

    def key(self, key):
        """Press a key where the focus is."""
        text = {"text": key} if len(key) == 1 else {}
        code = {"Enter": 13, "ArrowRight": 39, "Tab": 9}.get(key, ord(key[0].upper()))
        extra = {"windowsVirtualKeyCode": code}
        if key == "Enter":
            text = {"text": "\r"}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, **text, **extra)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, **extra)

    def type(self, selector, text):
        """Put the focus on a field, empty it, and type."""
        self.js(
            f"(e => {{ e.focus(); e.select(); }})(document.querySelector({json.dumps(selector)}))"
        )
        self.send("Input.insertText", text=text)

    def choose(self, selector, value):
        """Choose an option of a list, as a person does."""
        self.js(
            f"(e => {{ e.value = {json.dumps(value)};"
            "e.dispatchEvent(new Event('input', {bubbles: true}));"
            f"}})(document.querySelector({json.dumps(selector)}))"
        )

    def look(self, path, *, width, dark=False, height=900):
        """Save what the whole page looks like at a width of so many pixels."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
            mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        time.sleep(0.3)
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self):
        """End the browser."""
        with contextlib.suppress(AssertionError, OSError):
            self.session = None
            self.send("Browser.close")
        for pipe in (self.out, self.back):
            os.close(pipe)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
