"""Bounds: what is too slow, too large or too many is refused, and the rest is served."""

import resource
import socket
import time
import unittest

from harness import Case, Client, Closed, SLOW, get, one_pool, post, until


class Limited(Case):

    def limited(self, mood="echo", preexec=None, **limits):
        self.up = self.upstream(mood)
        self.weir = self.start(one_pool(self.up.address, listeners={"http": {"limits": limits}}), preexec=preexec)
        return self.weir

    def seconds_until_closed(self, client, drip=None, gap=0.1):
        """Drips one byte each gap until the other side ends it; returns the seconds and the answer, if any."""
        began = time.monotonic()
        while time.monotonic() - began < 15 * SLOW:
            client.sock.settimeout(gap)
            try:
                if not client.fill():
                    break
                continue
            except socket.timeout:
                pass
            except OSError:
                break
            if drip:
                try:
                    client.send(drip)
                except OSError:
                    break
        else:
            self.fail("never ended")
        took = time.monotonic() - began
        try:
            return took, client.answer()
        except Closed:
            return took, None


class Time(Limited):

    def test_a_slow_head_ends_however_lively_it_drips(self):
        weir = self.limited(header_timeout="1s", idle_timeout="30s")
        with weir.client() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: t\r\nX: ")
            took, answer = self.seconds_until_closed(client, b"x")
        self.assertTrue(answer is None or answer.status == 408, answer)
        self.assertGreater(took, 0.8)
        self.assertLess(took, 3 * SLOW)
        self.assertEqual(weir.metric("weir_clients_too_slow_total", at="head"), 1)
        self.assertEqual(weir.ask().status, 200)
        self.assertEqual(len(self.up.seen), 1)

    def test_a_connection_that_says_nothing_ends(self):
        weir = self.limited(header_timeout="1s", idle_timeout="1s")
        with weir.client() as client:
            took, answer = self.seconds_until_closed(client)
        self.assertLess(took, 4 * SLOW)

    def test_a_kept_connection_that_says_nothing_ends_without_a_word(self):
        weir = self.limited(header_timeout="5s", idle_timeout="700ms")
        with weir.client() as client:
            self.assertEqual(client.ask(get()).status, 200)
            took, answer = self.seconds_until_closed(client)
        self.assertIsNone(answer)
        self.assertGreater(took, 0.4)
        self.assertLess(took, 4 * SLOW)

    def test_the_second_head_has_its_time_too(self):
        weir = self.limited(header_timeout="1s", idle_timeout="30s")
        with weir.client() as client:
            self.assertEqual(client.ask(get()).status, 200)
            client.send(b"GET / HTTP/1.1\r\nHos")
            took, answer = self.seconds_until_closed(client, b"x")
        self.assertLess(took, 3 * SLOW)

    def test_a_body_that_stops_ends_and_completes_nothing(self):
        weir = self.limited(header_timeout="5s", idle_timeout="1s")
        with weir.client() as client:
            client.send(b"POST /m/checksum HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\nstart")
            took, answer = self.seconds_until_closed(client)
        self.assertTrue(answer is None or answer.status == 408, answer)
        self.assertLess(took, 5 * SLOW)
        self.assertEqual(weir.metric("weir_clients_too_slow_total", at="body"), 1)
        self.assertEqual(self.up.complete(), [])
        self.assertEqual(weir.ask().status, 200)

    def test_a_reader_that_stops_is_let_go_and_so_is_the_upstream(self):
        weir = self.limited(idle_timeout="1s")
        with weir.client() as client:
            client.send(get("/m/big/%d" % (64 << 20)))
            until(lambda: weir.metric("weir_clients_too_slow_total", at="read") == 1, 10, "one that reads too slowly")
            row = until(lambda: next(iter(weir.access()), None), 5, "its line")
            self.assertEqual(row["error.type"], "client_stalled")
        self.assertEqual(weir.metric("weir_http_requests_in_flight"), 0)

    def test_it_is_not_the_pools_fault(self):
        weir = self.limited(header_timeout="5s", idle_timeout="500ms")
        with weir.client() as client:
            client.send(b"POST /m/checksum HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\nstart")
            self.seconds_until_closed(client)
        self.assertIn(weir.metric("weir_upstream_errors_total"), (0, None))

    def test_others_do_not_wait_for_the_slow_ones(self):
        weir = self.limited(header_timeout="20s")
        clients = [weir.client() for _ in range(300)]
        try:
            for client in clients:
                client.send(b"GET / HTTP/1.1\r\nHost: t\r\nX:")
            for _ in range(20):
                began = time.monotonic()
                self.assertEqual(weir.ask().status, 200)
                self.assertLess(time.monotonic() - began, 1 * SLOW)
        finally:
            for client in clients:
                client.close()


class Size(Limited):

    def refused(self, request, statuses):
        with self.weir.client() as client:
            try:
                client.send(request)
            except OSError:
                pass
            answer = client.answer()
            self.assertIn(answer.status, statuses)
            self.assertTrue(client.is_closed())

    def test_a_head_over_the_limit_is_431(self):
        weir = self.limited(max_header="2KiB")
        self.assertEqual(weir.ask(get("/", x="v" * 1500)).status, 200)
        self.refused(get("/", x="v" * 2500), (431,))
        self.refused(b"GET / HTTP/1.1\r\nHost: t\r\n" + b"x: y\r\n" * 500 + b"\r\n", (431,))
        self.refused(get("/" + "a" * 3000), (414, 431))
        self.assertEqual(len(self.up.seen), 1)

    def test_a_head_without_an_end_is_431_before_it_is_kept(self):
        weir = self.limited()
        before = weir.rss()
        self.refused(b"GET / HTTP/1.1\r\nHost: t\r\nX: " + b"v" * (1 << 20), (431,))
        self.assertLess(weir.rss() - before, 4 << 20)

    def test_paths_as_long_as_a_head_may_be(self):
        """Those that are read in two ways are refused where there is no room for the second one."""
        weir = self.limited(max_header="256KiB")
        for size, status in ((30000, 200), (100000, 400), (200000, 400)):
            self.assertEqual(weir.ask(get("/" + "a" * size)).status, 200, size)
            for path in ("/" + "a" * size + ";x", "/a;x/" + "a" * size, "/%61" + "a" * size, "/a;x" + "/." * (size // 2)):
                self.assertEqual(weir.ask(get(path)).status, status, path[:9])

    def test_a_head_longer_than_any_buffer_is_431_whatever_the_file_allows(self):
        weir = self.limited(max_header="1MiB")
        self.assertEqual(weir.ask(get("/", x="v" * 200000)).status, 200)
        self.refused(get("/", x="v" * 300000), (431,))
        self.refused(get("/", x="v" * 900000), (431,))

    def test_a_limit_that_a_reload_lowers_within_a_head_holds(self):
        weir = self.limited(max_header="32KiB")
        with weir.client() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: t\r\nX: " + b"v" * 20000)
            # Every one of those bytes was looked at before the second request, which came after them, was answered.
            self.assertEqual(weir.ask().status, 200)
            weir.reload(one_pool(self.up.address, listeners={"http": {"limits": {"max_header": "8KiB"}}}))
            until(lambda: weir.ask(get("/", x="v" * 9000)).status == 431, 10, "the lower limit")
            client.send(b"v" * 100)
            self.assertEqual(client.answer().status, 431)
        self.assertEqual(weir.ask().status, 200)

    def test_a_body_over_the_limit_is_413_and_never_sent(self):
        weir = self.limited(max_body="1000")
        self.assertEqual(weir.ask(post("/", b"x" * 1000)).status, 200)
        self.refused(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001, (413,))
        self.refused(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999\r\n\r\n", (413,))
        self.assertEqual(len(self.up.seen), 1)

    def test_a_chunked_body_over_the_limit_is_413_and_never_complete(self):
        self.limited(max_body="1000")
        self.refused(b"POST /big HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"1f4\r\n" + b"x" * 500 + b"\r\n") * 3 + b"0\r\n\r\n", (413,))
        self.assertEqual(self.weir.ask(post("/", b"x")).status, 200)
        self.assertEqual([s.target for s in self.up.complete()], [b"/"])

    def test_a_body_over_the_limit_is_not_invited(self):
        self.limited(max_body="1000")
        self.refused(b"POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5000\r\n\r\n", (413,))


def works(weir, address=None, source=None):
    """Whether a new connection is served just now."""
    try:
        with Client(address or weir.address, timeout=3, source=source) as client:
            return client.ask(get()).status == 200
    except (Closed, OSError):
        return False


class Number(Limited):

    def occupy(self, count, source=None):
        clients = []
        for _ in range(count):
            client = self.weir.client(source=source)
            self.addCleanup(client.close)
            self.assertEqual(client.ask(get()).status, 200)
            clients.append(client)
        return clients

    def test_connections_over_the_listeners_limit_are_refused_and_come_back(self):
        self.limited(connections=10)
        clients = self.occupy(10)
        self.assertFalse(works(self.weir))
        for client in clients:
            self.assertEqual(client.ask(get()).status, 200)
        for client in clients[:5]:
            client.close()
        until(lambda: works(self.weir), 5)

    def test_a_clients_connections_over_its_limit_are_refused_others_are_served(self):
        self.limited(per_client=5)
        clients = self.occupy(5, source=("127.0.0.1", 0))
        self.assertFalse(works(self.weir, source=("127.0.0.1", 0)))
        self.assertTrue(works(self.weir, source=("127.0.0.2", 0)))
        self.assertGreaterEqual(self.weir.metric("weir_connections_refused_total", reason="per_client"), 1)
        self.assertEqual(self.weir.metric("weir_connections_refused_total", reason="connections"), 0)
        clients[0].close()
        until(lambda: works(self.weir, source=("127.0.0.1", 0)), 5)

    def test_refusals_are_counted(self):
        self.limited(connections=5)
        self.occupy(5)
        self.assertFalse(works(self.weir))
        text = self.weir.metrics()
        self.assertRegex(text, r'(?m)^weir_connections[a-z_]*\{[^}]*refused[^}]*\} [1-9]|^weir_connections_refused[a-z_]*(\{[^}]*\})? [1-9]')


class Descriptors(Limited):
    limit = 60

    def cpu(self):
        with open("/proc/%d/stat" % self.weir.process.pid) as stat:
            words = stat.read().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / 100

    def test_few_descriptors_shed_and_recover(self):
        self.limited(preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160)))
        first = self.weir.client()
        self.addCleanup(first.close)
        self.assertEqual(first.ask(get()).status, 200)
        crowd = []
        for _ in range(400):
            client = Client.__new__(Client)
            client.sock = socket.socket()
            client.sock.setblocking(False)
            client.sock.connect_ex(self.weir.address)
            crowd.append(client)
        try:
            # A connection that was there before goes on working: its upstream connection is kept.
            for _ in range(20):
                self.assertIn(first.ask(get()).status, (200, 502, 503))
            before, began = self.cpu(), time.monotonic()
            while time.monotonic() - began < 1:
                time.sleep(0.05)
            self.assertLess(self.cpu() - before, 0.6, "a busy loop over accept")
            self.assertIsNone(self.weir.process.poll())
        finally:
            for client in crowd:
                client.sock.close()
        until(lambda: works(self.weir), 10)
        for _ in range(20):
            self.assertTrue(works(self.weir))

    def test_control_goes_on_while_clients_take_all_descriptors(self):
        """The admin API answers, a reload works, and the log says why connections are refused: at most a line a second."""
        self.limited("wait", preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96)))
        self.assertIn("few descriptors for the admin API", self.weir.err())
        began, crowd = time.monotonic(), []
        try:
            for _ in range(200):
                sock = socket.create_connection(self.weir.address)
                crowd.append(sock)
                sock.sendall(get())
            until(lambda: "out of descriptors" in self.weir.err(), 5)
            for _ in range(20):
                self.assertEqual(self.weir.admin("GET", "/v1/version").status, 200)
            before = self.weir.metric("weir_config_last_reload_success_timestamp_seconds")
            time.sleep(1.1)     # its unit is a second
            self.weir.reload(one_pool(self.up.address, listeners={"http": {"limits": {"connections": 1000}}}))
            self.assertGreater(self.weir.metric("weir_config_last_reload_success_timestamp_seconds"), before)
            self.assertEqual(self.weir.metric("weir_config_last_reload_successful"), 1)
            lines = self.weir.err().count("out of descriptors")
            self.assertLessEqual(lines, time.monotonic() - began + 1)
        finally:
            for sock in crowd:
                sock.close()

    def test_the_admin_listener_leaves_the_descriptors_to_others(self):
        self.limited(preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160)))
        crowd = []
        try:
            for _ in range(200):
                sock = socket.socket(socket.AF_UNIX)
                crowd.append(sock)
                sock.connect(self.weir.admin_path)
            self.assertEqual(self.weir.admin("GET", "/metrics").status, 200)
            until(lambda: self.weir.fds() < 100)
            self.assertTrue(works(self.weir))
            before, began = self.cpu(), time.monotonic()
            until(lambda: time.monotonic() - began > 1)
            self.assertLess(self.cpu() - before, 0.6, "a busy loop")
            self.assertLess(len(self.weir.err()), 20000)
        finally:
            for sock in crowd:
                sock.close()


if __name__ == "__main__":
    unittest.main()
