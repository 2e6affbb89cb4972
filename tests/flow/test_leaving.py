"""weir drain, and the two times of drain: what is told at once, what goes on, and when the rest is cut."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from harness import SLOW, WEIR, Case, Client, Closed, get, one_pool, run, until, websocket

import h2


class Leaving(Case):
    limit = 60

    def begin(self, mood="wait", **drain):
        self.up = self.upstream(mood)
        self.weir = self.start(one_pool(self.up.address, drain=drain))
        self.where = "unix:" + self.weir.admin_path

    def client(self):
        return self.enter(self.weir.client(timeout=30))

    def drain(self, *words, timeout=30):
        return run("drain", "--admin", self.where, *words, timeout=timeout)

    def in_background(self, *words):
        process = subprocess.Popen([WEIR, "drain", "--admin", self.where, *words], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (process.kill(), process.communicate()) if process.poll() is None else None)
        return process

    def asked(self, count=1):
        """Requests on connections of their own that the upstream has and has not answered."""
        clients = []
        for _ in range(count):
            client = self.client()
            client.send(get("/m/wait"))
            clients.append(client)
        until(lambda: len(self.up.complete()) >= count)
        return clients

    def ready(self):
        return self.weir.admin("GET", "/readyz").status

    def audit(self):
        with open(os.path.join(self.weir.dir, "state", "audit.jsonl")) as log:
            return [json.loads(line) for line in log]


class Command(Leaving):

    def test_it_begins_and_returns_and_is_audited(self):
        self.begin(limit="20s")
        clients = self.asked(3)
        done = self.drain("--reason", "kernel update: \"now\" & 100%")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "draining\n", ""))
        self.assertEqual(self.ready(), 503)
        self.assertEqual(self.weir.admin("GET", "/healthz").status, 200)
        self.assertIsNone(self.weir.process.poll())
        entry = self.audit()[-1]
        self.assertEqual((entry["action"], entry["target"], entry["actor"], entry["reason"], entry["result"]),
                         ("drain", "process", "uid:%d" % os.getuid(), "kernel update: \"now\" & 100%", "ok"))
        self.assertEqual((entry["before"]["draining"], entry["after"]["draining"], entry["after"]["by"]),
                         (False, True, "uid:%d" % os.getuid()))
        self.up.go.set()
        for client in clients:
            answer = client.answer()
            self.assertEqual((answer.status, answer.body, answer.one("connection")), (200, b"went\n", "close"))
        self.assertEqual(self.weir.process.wait(10 * SLOW), 0)

    def test_with_wait_it_tells_the_end(self):
        self.begin(limit="20s")
        clients = self.asked(2)
        waiting = self.in_background("--wait", "20s")
        until(lambda: self.ready() == 503)
        self.assertIsNone(waiting.poll())
        self.up.go.set()
        for client in clients:
            self.assertEqual(client.answer().status, 200)
        out, err = waiting.communicate(timeout=15 * SLOW)
        self.assertEqual((waiting.returncode, err), (0, ""))
        self.assertRegex(out, r"\Adraining\nended after [0-9.]+s\n\Z")
        # Gone is gone: the next one may begin at once.
        self.assertIsNotNone(self.weir.process.poll())

    def test_with_nothing_to_wait_for_the_answer_still_comes(self):
        for _ in range(5):
            self.begin()
            done = self.drain("--wait", "10s")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(self.weir.process.wait(5 * SLOW), 0)

    def test_not_in_time_is_exit_12_and_it_goes_on(self):
        self.begin(limit="20s")
        clients = self.asked()
        began = time.monotonic()
        done = self.drain("--wait", "300ms")
        self.assertEqual((done.returncode, done.stdout), (12, "draining\n"))
        self.assertIn("not ended", done.stderr)
        self.assertGreater(time.monotonic() - began, 0.29)
        self.assertIsNone(self.weir.process.poll())
        # Asked again, and by a signal: it goes on as it is.
        self.assertEqual(self.drain().returncode, 0)
        self.weir.tell(signal.SIGTERM)
        self.assertEqual(self.drain("--wait", "300ms").returncode, 12)
        self.up.go.set()
        self.assertEqual(clients[0].answer().status, 200)
        self.assertEqual(self.weir.process.wait(10 * SLOW), 0)

    def test_a_second_signal_stops_now_also_after_the_command(self):
        self.begin(limit="60s")
        self.asked()
        self.assertEqual(self.drain().returncode, 0)
        self.weir.tell(signal.SIGTERM)
        time.sleep(0.3)
        self.assertIsNone(self.weir.process.poll())
        self.weir.tell(signal.SIGTERM)
        self.weir.process.wait(5 * SLOW)
        self.weir.stop(code=None)

    def test_it_finds_the_process_by_its_file(self):
        self.begin()
        self.assertEqual(run("drain", "-c", self.weir.file, "--wait", "10s", env={"WEIR_ADMIN": "unix:/nonexistent"}).returncode, 0)
        self.assertEqual(self.weir.process.wait(5 * SLOW), 0)

    def test_nobody_there_is_exit_5(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "s")
            self.assertEqual(run("drain", "--admin", "unix:" + path).returncode, 5)
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(path)
                done = run("drain", "--admin", "unix:" + path, "--wait", "5s")
                self.assertEqual((done.returncode, done.stdout), (5, ""))
                self.assertIn(path, done.stderr)
                self.assertIn("is it running?", done.stderr)
        self.assertEqual(run("drain", env={"WEIR_ADMIN": "127.0.0.1:24999"}).returncode, 5)

    def test_somebody_else_there_is_told(self):
        up = self.upstream("hello")
        done = run("drain", "--admin", up.address)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(len(up.seen), 1)

    def test_wrong_words_are_exit_2(self):
        for words in (["now"], ["--wait", "5"], ["--wait", "0s"], ["--admin", "nonsense"], ["--reason", "x" * 513],
                      ["-c", "/nonexistent.yaml"], ["--wiat", "5s"]):
            with self.subTest(words=words):
                self.assertEqual(run("drain", *words).returncode, 2)

    def test_who_may_not_is_exit_4(self):
        up = self.upstream("hello")
        tokens = {}
        config = one_pool(up.address)
        for name in ("admin", "operator"):
            with tempfile.NamedTemporaryFile("w", delete=False) as out:
                out.write(name + "-0123456789abcdef0123456789abcdef\n")
            os.chmod(out.name, 0o600)
            self.addCleanup(os.unlink, out.name)
            tokens[name] = out.name
        weir = self.start(dict(config, admin={"listen": ["127.0.0.1:24101"], "access": [
            {"who": "token:" + name, "secret": {"file": path}, "role": name} for name, path in tokens.items()]}))
        where = "127.0.0.1:24101"
        self.assertEqual(run("drain", "--admin", where).returncode, 4)
        done = run("drain", "--admin", where, env={"WEIR_TOKEN_FILE": tokens["operator"]})
        self.assertEqual(done.returncode, 4)
        self.assertIn("role admin", done.stderr)
        self.assertEqual(run("drain", "--admin", where, env={"WEIR_TOKEN_FILE": "/nonexistent"}).returncode, 2)
        self.assertIsNone(weir.process.poll())
        done = run("drain", "--admin", where, "--wait", "10s", env={"WEIR_TOKEN_FILE": tokens["admin"]})
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(weir.process.wait(5 * SLOW), 0)

    def test_a_dry_run_changes_nothing(self):
        self.begin()
        before = len(self.audit())
        self.assertFalse(self.weir.admin("POST", "/v1/system/drain?dry_run=1").json["draining"])
        self.assertEqual(self.weir.admin("POST", "/v1/system/drain", {"raeson": "x"}).status, 400)
        self.assertEqual(self.ready(), 200)
        state = self.weir.admin("GET", "/v1/system/drain").json
        self.assertEqual((state["draining"], state["state"], state["pid"], state["limit_seconds"]),
                         (False, "serving", self.weir.process.pid, 30))
        self.assertEqual(len([e for e in self.audit()[before:] if e["result"] == "ok"]), 0)


class Times(Leaving):

    def test_the_delay_changes_nothing_but_readyz(self):
        self.begin(delay="2s", limit="20s")
        kept, wire = self.client(), self.enter(h2.client(("127.0.0.1", self.weir.port), timeout=30 * SLOW))
        self.assertEqual(kept.ask(get("/m/hello")).status, 200)
        began = time.monotonic()
        self.weir.tell(signal.SIGTERM)
        until(lambda: self.ready() == 503, 1.5)
        told = 0
        while time.monotonic() - began < 1.2:
            told += 1
            answer = kept.ask(get("/m/hello"))
            self.assertEqual((answer.status, answer.one("connection")), (200, None))
            self.assertEqual(self.weir.ask(get("/m/hello")).status, 200, "new connections are taken")
            wire.headers(2 * told - 1, h2.request("/m/hello"))
            self.assertEqual(wire.answer(2 * told - 1).status, 200)
            time.sleep(0.1)
        self.assertIsNone(wire.goaway)
        state = self.weir.admin("GET", "/v1/system/drain").json
        self.assertEqual((state["state"], state["by"]), ("delay", "SIGTERM"))
        self.assertLess(state["closes_in_seconds"], 1)
        self.assertTrue(kept.is_closed(10))
        self.assertEqual(wire.until_gone().code, h2.NO_ERROR)
        self.assertGreater(time.monotonic() - began, 1.9)
        self.assertEqual(self.weir.process.wait(10 * SLOW), 0)

    def test_the_limit_cuts_what_is_left(self):
        self.begin(mood="tunnel", limit="2s")
        tunnel = self.client()
        tunnel.send(websocket())
        self.assertEqual(tunnel.answer(upgrade=True).status, 101)
        wire = self.enter(h2.client(("127.0.0.1", self.weir.port), timeout=30 * SLOW))
        wire.headers(1, h2.request("/m/wait"))
        until(lambda: len(self.up.seen) == 2)
        idle = self.client()
        self.assertEqual(idle.ask(get("/m/hello")).status, 200)
        began = time.monotonic()
        self.assertEqual(self.drain().returncode, 0)
        self.assertTrue(idle.is_closed(1.5))
        wire.until(lambda: wire.goaway)
        with self.assertRaises((Closed, OSError)):
            Client(self.weir.address, timeout=2).ask(get("/m/hello"))
        state = self.weir.admin("GET", "/v1/system/drain").json
        self.assertEqual((state["state"], state["closes_in_seconds"]), ("closing", 0))
        self.assertLessEqual(state["cut_in_seconds"], 2)
        tunnel.send(b"ping")
        self.assertEqual(tunnel.exactly(4), b"ping")
        self.assertEqual(self.weir.process.wait(15 * SLOW), 0)
        self.assertGreater(time.monotonic() - began, 1.9)
        self.assertIn("the rest is cut", self.weir.err())
        self.assertTrue(tunnel.is_closed())
        wire.until_gone()
        self.assertFalse(wire.message(1).is_ended)

    def test_a_limit_of_none_waits_for_nobody(self):
        self.begin(limit="0s")
        self.asked()
        began = time.monotonic()
        self.weir.tell(signal.SIGTERM)
        self.assertEqual(self.weir.process.wait(5 * SLOW), 0)
        self.assertLess(time.monotonic() - began, 3 * SLOW)

    def test_a_reload_brings_new_times(self):
        self.begin(limit="60s")
        self.weir.reload(one_pool(self.up.address, drain={"limit": "700ms"}))
        self.asked()
        self.weir.tell(signal.SIGTERM)
        self.assertEqual(self.weir.process.wait(5 * SLOW), 0)

    def test_the_service_manager_hears_how_long_it_may_take(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(folder + "/n")
            manager.settimeout(10 * SLOW)
            up = self.upstream("hello")
            weir = self.start(one_pool(up.address, drain={"delay": "300ms", "limit": "50s"}), env={"NOTIFY_SOCKET": folder + "/n"})
            weir.tell(signal.SIGTERM)
            said = b""
            while b"STOPPING" not in said:
                said = manager.recv(4096)
            self.assertEqual(said, b"STOPPING=1\nEXTEND_TIMEOUT_USEC=55300000")
            self.assertEqual(weir.process.wait(10 * SLOW), 0)


if __name__ == "__main__":
    unittest.main()
