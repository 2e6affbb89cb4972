"""The packages of npm that some tests speak with: their versions stand in tests/fake/npm, they are installed once, below build/.

Where the registry cannot be reached, WEIR_NPM names a directory that has a node_modules with them. The tests that need them fail without and
say so; WEIR_NO_NPM=REASON, which tests/run.sh sets when node could not be installed, makes them skipped for that reason instead.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import unittest

from harness import ROOT, SLOW

CACHE = os.environ.get("WEIR_NPM", os.path.join(ROOT, "build", "npm"))
PINNED = os.path.join(ROOT, "tests", "fake", "npm")


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def install():
    """The directory in which node finds the packages; AssertionError says what is missing."""
    if os.environ.get("WEIR_NO_NPM"):
        raise unittest.SkipTest(os.environ["WEIR_NO_NPM"])
    for tool in ("node", "npm"):
        if not shutil.which(tool):
            raise AssertionError("there is no %s: apt-get install nodejs npm" % tool)
    if "WEIR_NPM" in os.environ:
        return CACHE
    os.makedirs(CACHE, exist_ok=True)
    wanted = hashlib.sha256(read(os.path.join(PINNED, "package-lock.json"))).hexdigest().encode()
    stamp = os.path.join(CACHE, ".installed")
    with open(os.path.join(CACHE, ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if read(stamp) == wanted:
            return CACHE
        for name in ("package.json", "package-lock.json"):
            shutil.copy(os.path.join(PINNED, name), CACHE)
        done = subprocess.run(["npm", "ci", "--prefix", CACHE, "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries", "1",
                               "--fetch-timeout", "20000"], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, cwd=CACHE)
        if done.returncode != 0:
            raise AssertionError("npm could not install what tests/fake/npm names, without which nothing is shown here (a registry is needed, or "
                                 "WEIR_NPM=DIR with node_modules):\n" + done.stdout + done.stderr)
        with open(stamp, "wb") as out:
            out.write(wanted)
    return CACHE


class Node:
    """A program of tests/fake in node, which answers each line of JSON with one, and may speak by itself."""

    def __init__(self, script, *args, env=None):
        self.process = subprocess.Popen(["node", os.path.join(ROOT, "tests", "fake", script), install(), *args], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1, env=dict(os.environ, **(env or {})))

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.process.stdin.close()
        try:
            self.process.wait(10 * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def hear(self):
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError("the node at this end is gone")
        return json.loads(line)

    def tell(self, what, **how):
        self.process.stdin.write(json.dumps(dict(how, do=what)) + "\n")

    def order(self, what, **how):
        self.tell(what, **how)
        return self.hear()
