"""SIGHUP: read, validate, build beside, swap; nothing in flight notices."""

import contextlib
import errno
import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import unittest

from harness import SLOW, Case, Client, Load, free_port, get, one_pool, until, upstream as fake, websocket

import h2

BROKEN = """version: 1
listeners:
  http:
    bind: ["@HTTP@"]
pools:
  app:
    endpoints: ["127.0.0.1:1"]
    balanse: p2c
routes:
  - {name: all, match: {path_prefix: /}, pool: app}
"""


class Reloads(Case):
    limit = 60

    def setUp(self):
        self.up = self.upstream("echo")
        self.config = self.app()
        # AddressSanitizer would keep what is freed, which looks like growth.
        self.weir = self.start(self.config, env={"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=2"})

    def app(self, up=None, **more):
        return one_pool((up or self.up).address, workers=2, **more)

    def test_a_broken_file_under_load_changes_nothing_and_says_why(self):
        with Load(self.weir.address) as load:
            for _ in range(5):
                self.weir.reload(BROKEN, ok=False)
                self.assertRegex(self.weir.err(), r"weir\.yaml:8:5\b")
                self.assertIn("balance", self.weir.err())
            self.assertEqual(self.weir.metric("weir_config_last_reload_successful"), 0)
            self.weir.reload(self.config)
            self.assertEqual(self.weir.metric("weir_config_last_reload_successful"), 1)
            before = load.done
            until(lambda: load.done > before + 50)
        self.assertEqual(load.failures, [])

    def test_what_is_wrong_with_the_file_is_events_like_all_others(self):
        self.weir.reload(BROKEN, ok=False)
        events = [json.loads(line) for line in self.weir.err().splitlines()]
        found = next(e for e in events if "line" in e)
        self.assertEqual((found["level"], found["line"], found["column"]), ("error", "8", "5"))
        self.assertRegex(found["code"], r"\AE\d{3}\Z")
        last = until(lambda: [e for e in self.weir.admin("GET", "/v1/audit").json["entries"] if e["action"] == "reload-failed"])[-1]
        self.assertEqual((last["result"], last["actor"]), ("failed", "SIGHUP"))
        self.assertIn("weir.yaml:8:5", last["after"]["error"])

    def test_a_missing_file_changes_nothing(self):
        import os
        os.unlink(self.weir.file)
        self.weir.reload(ok=False)
        self.assertEqual(self.weir.ask().status, 200)

    def test_the_api_tells_what_is_wrong_with_the_file(self):
        self.weir.write(BROKEN)
        reply = self.weir.admin("POST", "/v1/config/reload")
        self.assertEqual(reply.status, 422)
        error = reply.json["errors"][0]
        self.assertEqual((error["line"], error["column"]), (8, 5))
        self.assertIn("balance", error["hint"])
        self.assertEqual(self.weir.ask().status, 200)
        self.weir.write(self.config)
        self.assertEqual(self.weir.admin("POST", "/v1/config/reload").status, 200)

    def test_100_reloads_under_load_with_a_tunnel_and_a_long_download(self):
        size = 40 << 20
        got = {}
        begun, finish = threading.Event(), threading.Event()

        def download():
            """Reads slowly enough to last through all reloads, then to the end."""
            with self.weir.client(timeout=50) as client:
                client.send(get("/m/big/%d" % size))
                answer = client.head()
                digest, left = hashlib.sha256(client.buf), size - len(client.buf)
                begun.set()
                while left:
                    if not finish.is_set():
                        finish.wait(0.02)
                    data = client.sock.recv(1 << 16 if not finish.is_set() else 1 << 20)
                    if not data:
                        break
                    digest.update(data)
                    left -= len(data)
                got.update(status=answer.status, left=left, sum=digest.hexdigest())

        thread = threading.Thread(target=download, daemon=True)
        thread.start()
        self.assertTrue(begun.wait(10))
        with self.weir.client() as tunnel, Load(self.weir.address) as load:
            tunnel.send(websocket())
            self.assertEqual(tunnel.answer(upgrade=True).status, 101)
            for i in range(10):
                self.weir.reload(self.variant(i))
            fds, rss = self.weir.fds(), self.weir.rss()
            for i in range(90):
                self.weir.reload(self.variant(i))
                if i % 10 == 0:
                    tunnel.send(b"still here")
                    self.assertEqual(tunnel.exactly(10), b"still here")
            self.assertEqual(load.failures, [])
            finish.set()
            thread.join(30)
            self.assertEqual(got, {"status": 200, "left": 0, "sum": fake.big_sum(size)})
            self.assertLess(self.weir.rss(), rss * 1.25 + (4 << 20))
            self.assertLess(abs(self.weir.fds() - fds), 16)
        self.assertEqual(load.failures, [])
        self.assertGreater(load.done, 300)

    def variant(self, i):
        """The same service, a little different each time."""
        config = self.app(pool={"timeouts": {"first_byte": "%ds" % (10 + i % 7)}})
        config["routes"].insert(0, {"name": "r%d" % (i % 5), "match": {"path": "/r%d" % i}, "respond": {"status": 200, "body": "x" * i}})
        return config

    def test_new_routes_answer_and_removed_ones_go(self):
        config = self.app()
        config["routes"].insert(0, {"name": "fixed", "match": {"path": "/fixed"}, "respond": {"status": 299, "body": "x"}})
        with self.weir.client() as client:      # the same connection sees the new routes
            self.assertEqual(client.ask(get("/fixed")).status, 200)
            self.weir.reload(config)
            self.assertEqual(client.ask(get("/fixed")).status, 299)
            self.weir.reload(self.config)
            self.assertEqual(client.ask(get("/fixed")).status, 200)

    def test_new_listeners_appear_and_removed_ones_go(self):
        extra = free_port()
        self.weir.reload(dict(self.config, listeners={"http": {}, "extra": {"bind": ["127.0.0.1:%d" % extra]}}))
        with Client(("127.0.0.1", extra)) as client:
            self.assertEqual(client.ask(get()).status, 200)
            self.weir.reload(self.config)

            def refused():
                try:
                    Client(("127.0.0.1", extra)).close()
                except ConnectionRefusedError:
                    return True
            until(refused, 5, "the removed listener refuses")
            self.assertEqual(self.weir.ask().status, 200)

    def test_clients_of_a_removed_listener_are_told(self):
        """Idle ones at once, over HTTP/2 by GOAWAY; who is in a request has its answer first."""
        extra = free_port()
        self.weir.reload(dict(self.config, listeners={"http": {}, "extra": {"bind": ["127.0.0.1:%d" % extra]}}))
        h2_idle, h2_busy = (self.enter(h2.client(("127.0.0.1", extra))) for _ in range(2))
        h2_idle.headers(1, h2.request("/m/hello"))
        self.assertEqual(h2_idle.answer(1).status, 200)
        h2_busy.headers(1, h2.request("/m/delay/700"))
        h2_busy.sync()
        h1_idle, h1_busy = (self.enter(Client(("127.0.0.1", extra))) for _ in range(2))
        self.assertEqual(h1_idle.ask(get()).status, 200)
        h1_busy.send(get("/m/delay/700"))
        stays = self.enter(self.weir.client())
        self.assertEqual(stays.ask(get()).status, 200)
        until(lambda: self.weir.metric("weir_http_requests_in_flight") == 2)
        self.weir.reload(self.config)
        goaway = h2_idle.until_gone()
        self.assertEqual(goaway and goaway.code, h2.NO_ERROR)
        self.assertTrue(h1_idle.is_closed())
        self.assertEqual(h2_busy.answer(1).status, 200)
        h2_busy.until_gone()
        self.assertEqual(h2_busy.goaway.code, h2.NO_ERROR)
        self.assertEqual(h1_busy.answer().status, 200)
        self.assertTrue(h1_busy.is_closed())
        self.assertEqual(stays.ask(get()).status, 200)

    def test_a_listener_that_cannot_be_bound_changes_nothing(self):
        with socket.socket() as busy:
            port = free_port()
            busy.bind(("127.0.0.1", port))
            busy.listen()
            self.weir.reload(dict(self.config, listeners={"http": {}, "extra": {"bind": ["127.0.0.1:%d" % port]}}), ok=False)
            self.assertIn(str(port), self.weir.err())
            self.assertEqual(self.weir.ask().status, 200)

    def test_an_admin_address_that_cannot_be_bound_changes_nothing(self):
        port, other, metrics = free_port(), free_port(), free_port()
        unix = "unix:" + self.weir.admin_path
        busy = self.enterContext(socket.socket())
        busy.bind(("127.0.0.1", other))
        busy.listen()

        def with_admin(up, *listen):
            return self.app(up, admin={"listen": [unix, *listen], "metrics": {"listen": "127.0.0.1:%d" % metrics}})

        def answers(at):
            link = http.client.HTTPConnection("127.0.0.1", at, timeout=10 * SLOW)
            self.addCleanup(link.close)
            link.request("GET", "/healthz")
            return link.getresponse().status
        self.weir.reload(with_admin(self.up, "127.0.0.1:%d" % port))
        late, name = free_port(), self.weir.dir + "/late.sock"
        # what came before it in the file: an old port in another shape, a new one, a new name
        for more in ("127.0.0.2:%d" % port, "127.0.0.1:%d" % late, "unix:" + name):
            self.weir.reload(with_admin(self.upstream("echo", name="new"), more, "127.0.0.1:%d" % other), ok=False)
            self.assertIn("admin listener 127.0.0.1:%d" % other, self.weir.err())
            self.assertNotEqual(self.weir.ask().one("x-upstream"), "new")
            self.assertEqual((answers(port), answers(metrics)), (200, 200))
        self.assertFalse(os.path.exists(name))
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", late), 10 * SLOW)
        self.weir.reload(with_admin(self.upstream("echo", name="newer"), "127.0.0.1:%d" % late, "unix:" + name))
        self.assertEqual((answers(late), answers(metrics), self.weir.ask().one("x-upstream")), (200, 200, "newer"))
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 10 * SLOW)

    def test_admin_and_metrics_change_places(self):
        ports = free_port(), free_port()
        for api, metrics in (ports, ports[::-1], ports):
            self.weir.reload(self.app(admin={"listen": ["unix:" + self.weir.admin_path, "127.0.0.1:%d" % api],
                                             "metrics": {"listen": "127.0.0.1:%d" % metrics}}))
            for port, status in ((api, 401), (metrics, 404)):
                link = http.client.HTTPConnection("127.0.0.1", port, timeout=10 * SLOW)
                self.addCleanup(link.close)
                link.request("GET", "/v1/splits")
                self.assertEqual(link.getresponse().status, status)

    def test_an_address_of_weir_itself_is_told_as_such(self):
        port = free_port()
        self.weir.reload(dict(self.config, listeners={"http": {}, "a": {"bind": ["127.0.0.1:%d" % port]}}))
        self.weir.reload(dict(self.config, listeners={"http": {}, "b": {"bind": ["0.0.0.0:%d" % port]}}), ok=False)
        self.assertIn("listener 'b': address in use 0.0.0.0:%d: weir itself has it, as 127.0.0.1:%d of listener 'a', and only a restart moves it"
                      % (port, port), self.weir.err())

    def test_an_address_moves_between_listeners_and_refuses_nobody(self):
        """Two of TCP change places, one of a unix socket gets another owner, while clients come. "a" and "c" redirect, the others answer."""
        path = self.enter(tempfile.TemporaryDirectory()) + "/s"
        ports = [free_port(), free_port()]
        binds = ["127.0.0.1:%d" % ports[0], "127.0.0.1:%d" % ports[1], "unix:" + path]
        places = [("127.0.0.1", ports[0]), ("127.0.0.1", ports[1]), path]

        def status(place):
            with Client(place) as client:
                return client.ask(get()).status

        def be(*names):
            listeners = {name: dict({"bind": [bind]}, **({"redirect_to": "http"} if name in "ac" else {})) for name, bind in zip(names, binds)}
            self.weir.reload(dict(self.config, listeners=dict(listeners, http={})))
            until(lambda: [status(place) for place in places] == [308 if name in "ac" else 200 for name in names])
        be("a", "b", "c")
        idle = self.enter(Client(places[0]))
        self.assertEqual(idle.ask(get()).status, 308)
        over, answers = threading.Event(), []

        def come():
            while not over.is_set():
                answers.append(status(places[0]))
            answers.append("over")
        visitor = threading.Thread(target=come)
        visitor.start()
        self.addCleanup(visitor.join)
        self.addCleanup(over.set)
        for names in (("b", "a", "c"), ("a", "b", "d"), ("b", "a", "c"), ("b", "c", "a")):
            be(*names)
        self.assertEqual(idle.ask(get()).status, 308)        # it came to "a"
        over.set()
        visitor.join()
        self.assertEqual(set(answers), {200, 308, "over"})
        be("x", "b", "c")
        self.assertTrue(idle.is_closed())

    def test_a_unix_socket_whose_owner_accepts_nobody_is_in_use(self):
        with contextlib.ExitStack() as stack:
            path = stack.enter_context(tempfile.TemporaryDirectory()) + "/busy.sock"
            busy = stack.enter_context(socket.socket(socket.AF_UNIX))
            busy.bind(path)
            busy.listen(0)
            full = None
            while full != errno.EAGAIN:
                guest = stack.enter_context(socket.socket(socket.AF_UNIX))
                guest.setblocking(False)
                full = guest.connect_ex(path)
            self.weir.reload(dict(self.config, listeners={"http": {}, "extra": {"bind": ["unix:" + path]}}), ok=False)
            self.assertIn("address in use unix:" + path, self.weir.err())
            self.assertEqual(self.weir.ask().status, 200)

    def test_a_new_endpoint_is_used_and_the_old_one_let_go(self):
        other = self.upstream("echo", name="other")
        self.weir.ask()
        self.weir.reload(self.app(other))
        for _ in range(5):
            self.assertEqual(self.weir.ask().one("x-upstream"), "other")
        self.assertTrue(self.up.wait(lambda: not self.up.peers, 5), "connections to the old endpoint were kept")

    def test_a_request_in_flight_finishes_on_what_it_began_with(self):
        with self.weir.client() as client:
            client.send(get("/m/wait"))
            self.assertTrue(self.up.wait(lambda: self.up.seen))
            other = self.upstream("echo", name="other")
            self.weir.reload(self.app(other))
            self.up.go.set()
            self.assertEqual(client.answer().body, b"went\n")
            self.assertEqual(client.ask(get()).one("x-upstream"), "other")

    def test_counters_survive(self):
        self.weir.ask()
        before = until(lambda: self.weir.metric("weir_http_requests_total"))
        self.weir.reload()
        self.assertGreaterEqual(self.weir.metric("weir_http_requests_total"), before)

    def test_kept_connections_survive_for_unchanged_pools(self):
        for _ in range(20):
            self.weir.reload()
            self.weir.ask()
        self.assertLessEqual(self.up.connections, 2, "more than one a worker")

    def test_what_needs_a_restart_is_said(self):
        self.weir.reload(dict(self.config, workers=3))
        self.assertRegex(self.weir.err(), r"(?i)restart")
        self.assertEqual(self.weir.ask().status, 200)

    def test_many_hups_at_once_end_in_the_last_file(self):
        config = self.app()
        config["routes"].insert(0, {"name": "last", "match": {"path": "/last"}, "respond": {"status": 299, "body": "x"}})
        self.weir.write(config)
        for _ in range(200):
            self.weir.hup()
        until(lambda: self.weir.ask(get("/last")).status == 299)

    def test_wrk_sees_no_error_over_reloads(self):
        wrk = shutil.which("wrk")
        self.assertTrue(wrk, "wrk is not installed")
        load = subprocess.Popen([wrk, "-t1", "-c16", "-d3s", "http://127.0.0.1:%d/m/hello" % self.weir.port], stdout=subprocess.PIPE, text=True)
        count = 0
        while load.poll() is None:
            self.weir.reload(self.variant(count))
            count += 1
        said = load.stdout.read()
        load.stdout.close()
        self.assertNotIn("Socket errors", said)
        self.assertNotIn("Non-2xx", said)
        self.assertRegex(said, r"[1-9][0-9]* requests in")
        self.assertGreater(count, 5)


if __name__ == "__main__":
    unittest.main()
