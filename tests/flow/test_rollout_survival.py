"""What of a rollout survives a crash, a full disk, a damaged file."""

import ctypes
import errno
import os
import resource
import signal
import subprocess
import tempfile
import time
import unittest

from harness import Load, until
from test_rollouts import Rollouts, plan


def small_disk(case):
    """A directory of one MiB that can be filled, seen by this test's processes alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_namespace, recursive_private = 0x20000, 1 << 14 | 1 << 18
    if os.getuid() != 0 or libc.unshare(new_namespace) != 0:
        case.skipTest("a file system of its own needs root")
    path = tempfile.mkdtemp(prefix="weir-disk-")
    case.addCleanup(os.rmdir, path)
    case.assertEqual(libc.mount(b"none", b"/", None, recursive_private, None), 0)
    case.assertEqual(libc.mount(b"tmpfs", path.encode(), b"tmpfs", 0, b"size=1m"), 0)
    case.addCleanup(libc.umount2, path.encode(), 2)
    return path


class Crashes(Rollouts):

    limit = 240

    def test_a_kill_in_any_phase_resumes_it(self):
        self.pair({"plan": plan([{"name": "canary", "weight": 5, "hold": "2s", "until": "held"},
                                 {"name": "half", "weight": 50, "ramp": "2s", "hold": "1s", "until": "held"}], keep_warm="2s")})
        id = self.begin()
        last, phases = 0, set()
        while True:
            before = self.look(id)
            self.weir.kill()
            self.weir.start()
            after = self.look(id)
            phases.add((after["state"], after["phase"]))
            self.assertGreaterEqual(after["weight"], before["weight"])
            self.assertGreaterEqual(self.weir.weights()["green"], after["weight"])      # a ramp goes on meanwhile
            self.assertLessEqual(self.weir.weights()["green"], self.look(id)["weight"])
            self.assertGreaterEqual(after["weight"], last)
            last = after["weight"]
            if after["state"] == "done":
                break
            time.sleep(0.15)
        self.assertTrue({("running", "canary"), ("running", "half"), ("promoted", "half")} <= phases, phases)

    def test_the_evidence_survives_but_for_a_second(self):
        self.pair()
        id = self.begin()
        with Load(self.weir.address):
            until(lambda: self.look(id)["requests"]["canary"] > 100)
        time.sleep(1.2)
        before = self.look(id)
        self.weir.kill()
        self.weir.start()
        after = self.look(id)
        self.assertEqual(after["requests"], before["requests"])
        self.assertGreaterEqual(after["held_for"], before["held_for"] - 1.2)
        evidence = self.weir.admin("GET", "/v1/rollouts/%s/evidence" % id).json["guards"][0]
        self.assertEqual(evidence["n"]["canary"], before["requests"]["canary"])

    def test_a_damaged_evidence_file_is_never_believed(self):
        self.pair()
        id = self.begin()
        paths = [os.path.join(self.weir.dir, "state", "evidence-%s.%s" % (id, c)) for c in "ab"]
        with Load(self.weir.address):
            until(lambda: all(map(os.path.exists, paths)))
            until(lambda: self.look(id)["requests"]["canary"] > 30)
        time.sleep(1.2)
        for damage in (b"", b"junk", None):
            for both in (False, True):      # of one the other is taken, of both none
                self.weir.kill()
                before = [open(p, "rb").read() for p in paths]
                for path, data in list(zip(paths, before))[:1 + both]:
                    with open(path, "wb") as file:
                        file.write(data[:200] + b"1234567" + data[207:] if damage is None else damage)
                self.weir.start()
                self.assertEqual("begins anew" in self.weir.err(), both)
                self.assertEqual("what was saved is damaged" in self.weir.err(), both)
                self.assertEqual(self.look(id)["state"], "running")
                self.assertEqual(self.weir.weights()["green"], 5)
                self.weir.kill()
                for path, data in zip(paths, before):
                    with open(path, "wb") as file:
                        file.write(data)
                self.weir.start()

    def test_a_split_that_left_the_file_comes_back_without_the_candidate(self):
        self.pair()
        config = self.config()
        without = {"pools": config["pools"], "routes": [{"name": "shop", "match": {"path_prefix": "/"}, "pool": "blue"}],
                   "plans": self.plans}
        for comes_back_by in ("reload", "restart"):
            with self.subTest(comes_back_by=comes_back_by):
                id = self.begin()
                self.assertEqual(self.weir.weights()["green"], 5)
                # A reload may not take the split from under a live rollout; a restart finds it gone.
                self.weir.write(without)
                self.assertEqual(self.weir.admin("POST", "/v1/config/reload").status, 409)
                self.weir.kill()
                self.weir.start()
                rollout = self.look(id)
                self.assertEqual((rollout["state"], rollout["cause"]["kind"]), ("aborted", "config"), rollout)
                self.weir.write(config)
                if comes_back_by == "restart":
                    self.weir.kill()
                    self.weir.start()
                else:
                    self.assertEqual(self.weir.admin("POST", "/v1/config/reload").status, 200)
                # What the split had when it left is not what it comes back with.
                self.assertEqual(self.weir.weights(), {"blue": 100, "green": 0})
                self.assertEqual(self.look(id)["state"], "aborted")

    def test_a_rollback_on_a_full_disk_outlives_kill_9(self):
        disk = small_disk(self)
        self.pair(state_dir=disk)
        id = self.begin()
        full = os.path.join(disk, "full")
        with open(full, "wb", buffering=0) as file, self.assertRaises(OSError) as raised:
            while True:
                file.write(bytes(1024))
        self.assertEqual(raised.exception.errno, errno.ENOSPC)
        reply = self.weir.admin("POST", "/v1/rollouts/%s/promote" % id)
        self.assertEqual((reply.status, reply.json["code"]), (507, "state-unwritable"))
        reply = self.verb(id, "abort")
        self.assertEqual((reply["state"], reply["recorded"]), ("aborted", True))
        self.assertNotIn("although it cannot be recorded", self.weir.err())
        for _ in range(2):      # and what was taken over is kept
            self.weir.kill()
            self.weir.start()
            self.assertEqual((self.look(id)["state"], self.weir.weights()["green"]), ("aborted", 0))
        os.unlink(full)
        id = self.begin()
        self.weir.kill()
        self.weir.start()
        self.assertEqual((self.look(id)["state"], self.weir.weights()["green"]), ("running", 5))

    def test_a_full_disk_stops_promotions_and_no_rollback(self):
        self.pair(preexec=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
        self.weir.kill()
        reserve = os.path.join(self.weir.dir, "state", "reserve")
        os.unlink(reserve)
        os.mkdir(reserve)   # the disk was full at the start already: nothing could be set aside
        self.weir.start()
        self.assertIn("no room was set aside", self.weir.err())
        id = self.begin()
        limit = os.path.getsize(os.path.join(self.weir.dir, "state", "journal"))
        # A snapshot, which may be smaller than the journal, must not fit either.
        os.mkdir(os.path.join(self.weir.dir, "state", "snapshot.new"))
        resource.prlimit(self.weir.process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        reply = self.weir.admin("POST", "/v1/rollouts/%s/promote" % id)
        self.assertEqual((reply.status, reply.json["code"]), (507, "state-unwritable"))
        self.assertEqual((self.look(id)["phase"], self.weir.weights()["green"]), ("canary", 5))
        reply = self.verb(id, "abort")
        self.assertEqual((reply["state"], reply["recorded"]), ("aborted", False))
        self.assertEqual(self.weir.weights()["green"], 0)
        self.assertIn("although it cannot be recorded", self.weir.err())
        resource.prlimit(self.weir.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        os.rmdir(os.path.join(self.weir.dir, "state", "snapshot.new"))
        until(lambda: self.look(id)["recorded"])
        self.weir.kill()
        self.weir.start()
        self.assertEqual((self.look(id)["state"], self.weir.weights()["green"]), ("aborted", 0))


FAULT = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

/* Ends the process at the N-th fdatasync, before or after it. */
int
fdatasync(int fd)
{
	static int count;
	int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
	const char *at = getenv("FAULT_AT"), *when = getenv("FAULT_WHEN");
	int is_it = at && ++count == atoi(at);

	if (is_it && when && *when == 'b')
		_exit(9);
	if (is_it && real(fd) == 0)
		_exit(9);
	return real(fd);
}
"""


@unittest.skipIf(os.environ.get("WEIR_SLOW", "1") != "1", "a preloaded library and a sanitizer do not go together")
class Faults(Rollouts):
    """kill -9 at every write of the journal, then resume."""

    limit = 280

    def library(self):
        where = self.enter(tempfile.TemporaryDirectory())
        source, library = os.path.join(where, "fault.c"), os.path.join(where, "fault.so")
        with open(source, "w") as file:
            file.write(FAULT)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        return library

    def test_at_every_write(self):
        self.plans = {"plan": plan([{"name": "canary", "weight": 5, "hold": "100ms", "until": "held"},
                                    {"name": "half", "weight": 50, "hold": "100ms", "until": "held"}], keep_warm="200ms")}
        self.blue, self.green = self.upstream("hello", name="blue"), self.upstream("hello", name="green")
        library, survived = self.library(), 0
        for when in "ba":
            for at in range(1, 40):
                if not self.one(library, when, at):
                    survived += 1
                    break
        self.assertEqual(survived, 2)   # there is an end to the writes, and it was reached

    def one(self, library, when, at):
        """False: the whole rollout has fewer writes than that."""
        from harness import Weir
        weir = self.weir = Weir(self.config(), wait=False, env={"LD_PRELOAD": library, "FAULT_AT": str(at), "FAULT_WHEN": when})
        try:
            until(lambda: weir.process.poll() is not None or "ready" in weir.err(), 10)
            began = None
            try:
                if weir.process.poll() is None:
                    began = weir.admin("POST", "/v1/rollouts", {"split": "shop", "to": "green", "plan": "plan"})
                    until(lambda: weir.process.poll() is not None or self.look(began.json["id"])["state"] == "done", 15)
            except (OSError, Exception) as error:
                if weir.process.wait(5) != 9:
                    raise
            if weir.process.poll() is None:
                return False
            self.assertEqual(weir.process.wait(), 9)
            weir.env = None
            weir.start()
            rollouts = weir.admin("GET", "/v1/rollouts").json["rollouts"]
            if began:
                self.assertEqual(len(rollouts), 1)   # what was acknowledged is there
            for rollout in rollouts:
                self.assertEqual(weir.weights()["green"], rollout["weight"], (when, at, rollout))
                self.await_state(rollout["id"], "done")
                self.assertEqual(weir.weights()["green"], 100)
            return True
        finally:
            weir.kill()
            weir.clean()


if __name__ == "__main__":
    unittest.main()
