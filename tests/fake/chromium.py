"""A browser: Debian's Chromium without a window, spoken to by its DevTools protocol over a pipe."""

import json
import os
import select
import shutil
import subprocess
import tempfile
import time

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--ignore-certificate-errors", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-default-apps",
         "--no-proxy-server",
         "--disable-features=BackForwardCache",         # a page that is left is over, its requests too
         "--remote-debugging-pipe"]


class Browser:
    """One page. `at` is a program; a page's errors are raised here."""

    def __init__(self, at, limit=20):
        self.limit = limit
        self.dir = tempfile.mkdtemp(prefix="weir-browser-")
        to_read, self.to = os.pipe()
        self.come, to_write = os.pipe()

        def arrange():
            # The browser reads from 3 and writes to 4; either may be the other's number now.
            first, second = os.dup(to_read), os.dup(to_write)
            os.dup2(first, 3)
            os.dup2(second, 4)
        with open(os.path.join(self.dir, "stderr"), "wb") as err:
            self.process = subprocess.Popen([at, *FLAGS, "--user-data-dir=" + self.dir, "about:blank"], stdin=subprocess.DEVNULL, stdout=err, stderr=err,
                                            close_fds=False, preexec_fn=arrange, start_new_session=True)
        os.close(to_read)
        os.close(to_write)
        self.buf, self.number, self.session = b"", 0, None
        try:
            page = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
            self.session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
            self.call("Page.enable")
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.close()

    def close(self):
        os.close(self.to)       # which ends it
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, 9)
            self.process.wait()
        os.close(self.come)
        shutil.rmtree(self.dir, ignore_errors=True)

    def err(self):
        with open(os.path.join(self.dir, "stderr"), "rb") as err:
            return err.read().decode("utf-8", "replace")

    def read(self, end):
        while b"\0" not in self.buf:
            if not select.select([self.come], [], [], max(0, end - time.monotonic()))[0]:
                raise AssertionError("the browser does not answer:\n" + self.err()[-3000:])
            more = os.read(self.come, 1 << 16)
            if not more:
                raise AssertionError("the browser is gone:\n" + self.err()[-3000:])
            self.buf += more
        message, self.buf = self.buf.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + self.limit
        while True:
            got = self.read(end)
            if got.get("id") == self.number:
                if "error" in got:
                    raise AssertionError("%s: %s" % (method, got["error"]))
                return got["result"]

    def open(self, url):
        """The page at `url`, loaded."""
        failed = self.call("Page.navigate", url=url).get("errorText")
        if failed:
            raise AssertionError("%s: %s" % (url, failed))
        self.run("new Promise(done => document.readyState == 'complete' ? done() : addEventListener('load', done))")

    def run(self, script):
        """The value of an expression in the page, of its promise if it is one."""
        got = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in got:
            details = got["exceptionDetails"]
            raise AssertionError("in the page: " + details.get("exception", {}).get("description", details["text"]))
        return got["result"].get("value")
