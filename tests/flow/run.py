#!/usr/bin/python3
"""Runs the flow tests side by side: a process per class, a few at a time.

Prints each failed test with all it had to say, then one line of totals.
Exit 1 when anything failed, and when nothing was run.

Side by side is for speed, and it takes from a test the time that it counts on.
So a few tests that failed are asked once more when all is through, each by
itself on the idle machine, and that answer holds; both are printed. A crash, a
sanitizer's report and a process that does not end have no second answer.

    WEIR=build/proxy/weir python3 tests/flow/run.py [-j N] [-k WORD] [--short] [--list]
"""

import argparse
import collections
import glob
import importlib
import json
import os
import queue
import re
import resource
import signal
import subprocess
import sys
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

# What compares two versions' latencies needs a machine that starves neither: these come last, one class at a time.
ALONE = {"test_rollback", "test_commands.Demo"}
CLASS_LIMIT = 300       # seconds for all tests of a class, stretched by WEIR_SLOW
AGAIN = 8               # tests that may be asked once more; when more failed, it is not the machine
FINAL = ("a sanitizer spoke", "weir ended with", "weir did not end")
SHORT = {"test_forwarding", "test_weights", "test_reload", "test_upgrade", "test_endpoints", "test_h2", "test_retry", "test_hedge", "test_queues",
         "test_races", "test_mirror", "test_drain", "test_rollouts", "test_health"}


class Lines(unittest.TestResult):
    """One JSON line per test, written when it is known."""

    def say(self, test, outcome, text=""):
        print(json.dumps({"test": test.id() if hasattr(test, "id") else str(test), "outcome": outcome, "text": text}), flush=True)

    def startTest(self, test):
        super().startTest(test)
        self.failed_sub = None

    def addSubTest(self, test, sub, err):
        super().addSubTest(test, sub, err)
        if err:
            self.failed_sub = (self.failed_sub or "") + self._exc_info_to_string(err, sub)

    def addSuccess(self, test):
        self.say(test, "passed")

    def addError(self, test, err):
        self.say(test, "failed", self._exc_info_to_string(err, test))

    addFailure = addError

    def addSkip(self, test, reason):
        self.say(test, "skipped", reason)

    def stopTest(self, test):
        if self.failed_sub:
            self.say(test, "failed", self.failed_sub)
        super().stopTest(test)


def classes():
    """(module, class, test methods) of all test files."""
    for path in sorted(glob.glob(os.path.join(HERE, "test_*.py"))):
        name = os.path.basename(path)[:-3]
        module = importlib.import_module(name)
        for word, thing in sorted(vars(module).items()):
            if isinstance(thing, type) and issubclass(thing, unittest.TestCase) and thing.__module__ == name:
                methods = unittest.TestLoader().getTestCaseNames(thing)
                if methods:
                    yield name, word, methods


def run_class(name, methods):
    """In a child: the tests of one class."""
    module, word = name.split(".")
    case = getattr(importlib.import_module(module), word)
    unittest.TestSuite(case(m) for m in methods).run(Lines())
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps({"cpu": [u.ru_utime + u.ru_stime for u in used]}), flush=True)


def in_short(text):
    """Of a traceback: the test's own line and what it said."""
    places = re.findall(r'File "[^"]*/(test_\w+\.py)", line (\d+)', text)
    said = [line for line in text.splitlines() if re.match(r"\w+(\.\w+)*(Error|Exception|Out|Gone)\b", line)]
    return "%s: %s" % (":".join(places[-1]) if places else "?", (said or text.strip().splitlines() or [""])[-1][:300])


def cut(text, most=6000):
    """The beginning says where, the end says what."""
    return text if len(text) <= most else "%s\n[...]\n%s" % (text[:most // 3], text[-most * 2 // 3:])


class Totals:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.reasons = {}
        self.lock = threading.Lock()
        self.times = []
        self.verdicts = {}      # why a test failed, in a line
        self.again = []         # (class, method) of tests whose failure a busy machine may explain

    def add(self, name, methods, limit):
        began = time.monotonic()
        child = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--one", name, *methods], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True)
        try:
            out, err = child.communicate(timeout=limit)
            late = None
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            out, err = child.communicate()
            late = "%s: not through after %gs" % (name, limit)
        with self.lock:
            self.times.append((time.monotonic() - began, name, self.cpu(out)))
            self.read(name, len(methods), out, err, late or (child.returncode and "%s: the test process ended with %d" % (name, child.returncode)))

    @staticmethod
    def cpu(out):
        """Seconds of the test process, and of those that it started."""
        return next((json.loads(line)["cpu"] for line in out.splitlines() if line.startswith('{"cpu"')), [0, 0])

    def read(self, name, expected, out, err, trouble):
        count = failed = 0
        for line in out.splitlines():
            row = json.loads(line) if line.startswith("{") else None
            if not row or "test" not in row:
                continue
            is_of_class = row["test"].startswith(("setUpClass", "tearDownClass"))
            count += not is_of_class
            self.passed += row["outcome"] == "passed"
            if row["outcome"] == "skipped":
                # A class that is skipped says it once for all of its tests.
                skipped = expected if row["test"].startswith("setUpClass") else 1
                count += skipped if skipped > 1 else row["test"].startswith("setUpClass")
                self.skipped += skipped
                self.reasons[row["text"]] = self.reasons.get(row["text"], 0) + skipped
            if row["outcome"] == "failed":
                failed += 1
                self.verdicts[row["test"]] = in_short(row["text"])
                print("FAILED %s\n%s" % (row["test"], cut(row["text"])))
                if not is_of_class and not any(word in row["text"] for word in FINAL):
                    self.again.append((name, row["test"].rsplit(".", 1)[1]))
        if count < expected and not failed:
            trouble = trouble or "%s: %d of %d tests spoke" % (name, count, expected)
        if trouble:
            failed += 1
            self.verdicts[name] = trouble
            print("FAILED %s" % trouble)
        if failed and err:
            print(err[-8000:])
        self.failed += failed
        sys.stdout.flush()

    def ask_again(self, limit):
        """What failed beside others, each alone."""
        tests, self.again = collections.Counter(self.again), []
        if len(tests) > AGAIN or self.failed > tests.total():
            return
        for (name, method), times in sorted(tests.items()):
            self.failed -= times
            before = self.failed
            print("once more, alone: %s.%s" % (name, method))
            self.add(name, [method], limit)
            if self.failed == before:
                print("unsteady: %s.%s passed alone, beside others it said %s" % (name, method, self.verdicts.pop("%s.%s" % (name, method), "")))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-j", type=int, default=3 * (os.cpu_count() or 1), help="classes at a time")
    parser.add_argument("-k", default="", help="only tests whose name holds this")
    parser.add_argument("--short", action="store_true", help="only the selection for slow builds")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--slowest", type=int, metavar="N", help="say which N classes took longest")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        run_class(args.one[0], args.one[1:])
        return 0

    import harness
    if not args.list and not harness.PEER and not os.access(harness.WEIR, os.X_OK):
        print("there is no weir at %s: build it, or name it in WEIR" % harness.WEIR)
        print("flow: 0 passed, 1 failed in 0s")
        return 1
    work, alone = queue.Queue(), queue.Queue()
    for module, word, methods in classes():
        if args.short and module not in SHORT:
            continue
        chosen = [m for m in methods if args.k in "%s.%s.%s" % (module, word, m)]
        if args.list:
            print("\n".join("%s.%s.%s" % (module, word, m) for m in chosen))
        elif chosen:
            name = "%s.%s" % (module, word)
            (alone if {module, name} & ALONE else work).put((name, chosen))
    if args.list:
        return 0

    totals = Totals()
    limit = CLASS_LIMIT * float(os.environ.get("WEIR_SLOW", "1"))

    def drain(work):
        while True:
            try:
                name, methods = work.get_nowait()
            except queue.Empty:
                return
            totals.add(name, methods, limit)

    began = time.monotonic()
    threads = [threading.Thread(target=drain, args=(work,)) for _ in range(max(1, args.j))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    drain(alone)
    totals.ask_again(limit)
    if args.slowest:
        print("  passed      cpu, what it started")
        for seconds, name, (own, others) in sorted(totals.times)[-args.slowest:]:
            print("%7.1fs %7.1fs %7.1fs  %s" % (seconds, own, others, name))
    for reason, count in totals.reasons.items():
        print("%d skipped: %s" % (count, reason))
    for name, verdict in sorted(totals.verdicts.items()):
        print("failed: %s: %s" % (name, verdict))
    print("flow: %d passed, %d failed in %ds" % (totals.passed, totals.failed, time.monotonic() - began))
    return 1 if totals.failed or not totals.passed else 0


if __name__ == "__main__":
    sys.exit(main())
