"""HTTP/2 from clients, HTTP/1.1 to upstreams: conversion of messages, one stream's fate kept from another's."""

import hashlib
import os
import shutil
import subprocess
import unittest

from harness import Shared, client_context, one_pool, until, upstream as fake

import h2


class H2(Shared):
    more = {"listeners": {"http": {}}}

    def client(self, **options):
        return self.enter(h2.client(("127.0.0.1", self.weir.port), **options))

    def ask_h2(self, fields, body=None, trailers=None, wire=None):
        wire = wire or self.client()
        stream = max(wire.messages, default=-1) + 2
        wire.message(stream)
        wire.headers(stream, fields, end=body is None)
        if body is not None:
            wire.data(stream, body, end=trailers is None)
            if trailers:
                wire.headers(stream, trailers)
        return wire.answer(stream)


class Requests(H2):
    def test_a_request_arrives_as_canonical_http_1(self):
        answer = self.ask_h2(h2.request("/a?b=c", "GET", "shop.test", "http", ("user-agent", "t"), ("x-one", "1")))
        self.assertEqual(answer.status, 200)
        seen = until(lambda: self.up.seen)[0]
        self.assertEqual((seen.method, seen.target), (b"GET", b"/a?b=c"))
        self.assertEqual(seen.all("host"), [b"shop.test"])
        self.assertEqual(seen.all("x-one"), [b"1"])
        self.assertEqual(self.up.faults, [])

    def test_cookie_crumbs_are_joined(self):
        self.ask_h2(h2.request("/", "GET", "a", "http", ("cookie", "a=1"), ("x-between", "y"), ("cookie", "b=2"), ("cookie", "c=3")))
        self.assertEqual(until(lambda: self.up.seen)[0].all("cookie"), [b"a=1; b=2; c=3"])

    def test_host_alone_is_enough_and_must_agree_with_authority(self):
        with_host = [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "only.test")]
        self.assertEqual(self.ask_h2(with_host).status, 200)
        self.assertEqual(until(lambda: self.up.seen)[0].all("host"), [b"only.test"])
        self.assertEqual(self.ask_h2(h2.request("/", "GET", "a.test", "http", ("host", "A.test"))).status, 200)
        self.assertEqual(self.ask_h2(h2.request("/", "GET", "a.test", "http", ("host", "b.test"))).reset, h2.PROTOCOL_ERROR)
        self.assertEqual(self.ask_h2(h2.request("/", "GET", "a.test", "http", ("host", "a.test"), ("host", "a.test"))).reset, h2.PROTOCOL_ERROR)

    def test_a_body_of_known_length_keeps_it(self):
        answer = self.ask_h2(h2.request("/", "POST", "a", "http", ("content-length", "5")), b"hello")
        self.assertEqual(answer.status, 200)
        seen = until(lambda: self.up.seen)[0]
        self.assertEqual((seen.all("content-length"), seen.all("transfer-encoding"), seen.body), ([b"5"], [], b"hello"))

    def test_a_body_of_unknown_length_is_chunked(self):
        self.ask_h2(h2.request("/", "POST"), b"hello")
        seen = until(lambda: self.up.seen)[0]
        self.assertEqual((seen.all("content-length"), seen.all("transfer-encoding"), seen.body), ([], [b"chunked"], b"hello"))
        self.assertEqual(self.up.faults, [])

    def test_an_empty_body_whose_end_comes_late(self):
        wire = self.client()
        wire.headers(1, h2.request("/", "POST"), end=False)
        wire.sync()
        wire.data(1, b"", end=True)
        self.assertEqual(wire.answer(1).status, 200)
        self.assertEqual(until(lambda: self.up.seen)[0].body, b"")
        self.assertEqual(self.up.faults, [])

    def test_request_trailers_pass(self):
        answer = self.ask_h2(h2.request("/", "POST"), b"hello", [("x-checksum", "abc"), ("age", "9"), ("x-forwarded-for", "1.2.3.4")])
        self.assertEqual(answer.status, 200)
        self.assertEqual(until(lambda: self.up.seen)[0].trailers, [(b"x-checksum", b"abc")])

    def test_uploads_of_all_sizes_arrive_whole(self):
        for size in (0, 1, 16384, 65535, 65536, 300000, 2 << 20):
            with self.subTest(size=size):
                body = fake.pattern(size)
                wire = self.client()
                wire.headers(1, h2.request("/m/checksum", "POST"), end=False)
                h2.send_body(wire, 1, body)
                answer = wire.answer(1)
                self.assertIn(hashlib.sha256(body).hexdigest().encode(), answer.body)

    def test_expect_100_continue_is_passed_on(self):
        wire = self.client()
        wire.headers(1, h2.request("/m/continue-then-200", "POST", "a", "http", ("expect", "100-continue"), ("content-length", "5")), end=False)
        wire.until(lambda: wire.message(1).fields)
        self.assertEqual(wire.message(1).status, 100)
        wire.data(1, b"hello", end=True)
        answer = wire.answer(1)
        self.assertEqual((answer.status, len(answer.interims)), (200, 1))

    def test_many_streams_share_a_connection(self):
        wire = self.client()
        for stream in range(1, 200, 2):
            wire.headers(stream, h2.request("/m/delay/50" if stream % 4 == 1 else "/%d" % stream))
        for stream in range(1, 200, 2):
            self.assertEqual(wire.answer(stream).status, 200)
        self.assertIsNone(wire.goaway)

    def test_the_client_is_named_to_the_upstream(self):
        self.ask_h2(h2.request("/", "GET", "a.test"))
        seen = until(lambda: self.up.seen)[0]
        self.assertEqual((seen.all("x-forwarded-for"), seen.all("x-forwarded-proto"), seen.all("x-forwarded-host")), ([b"127.0.0.1"], [b"http"], [b"a.test"]))

    def test_early_data_of_an_answered_request_is_thrown_away(self):
        wire = self.client()
        wire.headers(1, h2.request("/m/early-status/413", "POST"), end=False)
        wire.data(1, b"x" * 1000)
        answer = wire.answer(1)
        self.assertEqual(answer.status, 413)
        wire.until(lambda: wire.message(1).reset is not None)
        self.assertEqual(wire.message(1).reset, h2.NO_ERROR)
        wire.headers(3, h2.request("/"))
        self.assertEqual(wire.answer(3).status, 200)


class Malformed(H2):
    def check(self, fields, codes=(h2.PROTOCOL_ERROR,), statuses=(400,), end=True):
        wire = self.client()
        wire.headers(1, fields, end=end)
        answer = wire.answer(1)
        self.assertTrue(answer.reset in codes or answer.status in statuses, answer)
        wire.headers(3, h2.request("/next"))
        self.assertEqual(wire.answer(3).status, 200)
        self.assertEqual([s.target for s in self.up.seen if s.target != b"/x"], [b"/next"])

    def refused(self, name, fields, **options):
        def test(self):
            self.check(fields, **options)
        test.__name__ = "test_" + name
        return test

    def test_a_length_that_the_data_does_not_keep(self):
        for length, data in (("5", b"hell"), ("5", b"helloo"), ("0", b"x")):
            wire = self.client()
            head = h2.block(h2.request("/x", "POST", "a", "http", ("content-length", length)))
            wire.send(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, head) + h2.frame(h2.DATA, h2.END_STREAM, 1, data))     # none is answered before the other
            answer = wire.answer(1)
            self.assertEqual(answer.reset, h2.PROTOCOL_ERROR, (length, data))
        self.assertEqual(self.up.faults, [])

    def test_trailers_that_lie(self):
        for trailers in ([(":path", "/")], [("X-Upper", "1")], [("connection", "close")], [("x", "a\rb")]):
            wire = self.client()
            wire.headers(1, h2.request("/x", "POST"), end=False)
            wire.data(1, b"hello")
            wire.headers(1, trailers)
            self.assertEqual(wire.answer(1).reset, h2.PROTOCOL_ERROR, trailers)

    def test_CONNECT_is_refused(self):
        self.check([(":method", "CONNECT"), (":authority", "a.test:80")], statuses=(405, 400, 501))


REQUEST = h2.request
MALFORMED = {
    "no_method": [(":scheme", "http"), (":authority", "a"), (":path", "/")],
    "no_path": [(":method", "GET"), (":scheme", "http"), (":authority", "a")],
    "no_scheme": [(":method", "GET"), (":authority", "a"), (":path", "/")],
    "no_authority": [(":method", "GET"), (":scheme", "http"), (":path", "/")],
    "empty_path": REQUEST(""),
    "two_paths": REQUEST("/") + [(":path", "/b")],
    "unknown_pseudo": [(":foo", "x")] + REQUEST("/"),
    "status_in_a_request": REQUEST("/") + [(":status", "200")],
    "pseudo_after_field": [(":method", "GET"), ("x", "y"), (":scheme", "http"), (":authority", "a"), (":path", "/")],
    "upper_case_name": REQUEST("/", "GET", "a", "http", ("X-Upper", "1")),
    "empty_name": REQUEST("/", "GET", "a", "http", ("", "1")),
    "space_in_name": REQUEST("/", "GET", "a", "http", ("x y", "1")),
    "colon_in_name": REQUEST("/", "GET", "a", "http", ("x:y", "1")),
    "crlf_in_name": REQUEST("/", "GET", "a", "http", ("x\r\ny", "1")),
    "crlf_in_value": REQUEST("/", "GET", "a", "http", ("x", "1\r\ny: 2")),
    "cr_in_value": REQUEST("/", "GET", "a", "http", ("x", "1\ry")),
    "lf_in_value": REQUEST("/", "GET", "a", "http", ("x", "1\ny")),
    "nul_in_value": REQUEST("/", "GET", "a", "http", ("x", "1\0y")),
    "blank_before_value": REQUEST("/", "GET", "a", "http", ("x", " 1")),
    "blank_behind_value": REQUEST("/", "GET", "a", "http", ("x", "1\t")),
    "crlf_in_path": REQUEST("/ HTTP/1.1\r\nx: y"),
    "space_in_path": REQUEST("/a b"),
    "fragment_in_path": REQUEST("/a#b"),
    "path_without_slash": REQUEST("a"),
    "absolute_path": REQUEST("http://b/"),
    "star_for_GET": REQUEST("*"),
    "crlf_in_method": REQUEST("/", "GET / HTTP/1.1\r\nx: y\r\n\r\n"),
    "space_in_method": REQUEST("/", "GE T"),
    "crlf_in_authority": REQUEST("/", "GET", "a\r\nx: y"),
    "userinfo_in_authority": REQUEST("/", "GET", "user@a"),
    "comma_in_authority": REQUEST("/", "GET", "a,b"),
    "scheme_ftp": REQUEST("/", "GET", "a", "ftp"),
    "connection": REQUEST("/", "GET", "a", "http", ("connection", "close")),
    "keep_alive": REQUEST("/", "GET", "a", "http", ("keep-alive", "1")),
    "proxy_connection": REQUEST("/", "GET", "a", "http", ("proxy-connection", "x")),
    "transfer_encoding": REQUEST("/", "POST", "a", "http", ("transfer-encoding", "chunked")),
    "upgrade": REQUEST("/", "GET", "a", "http", ("upgrade", "h2c")),
    "te_gzip": REQUEST("/", "GET", "a", "http", ("te", "gzip")),
    "length_without_body": REQUEST("/", "POST", "a", "http", ("content-length", "50")),
    "two_lengths": REQUEST("/", "POST", "a", "http", ("content-length", "5"), ("content-length", "5")),
    "length_plus": REQUEST("/", "POST", "a", "http", ("content-length", "+5")),
    "protocol_without_connect": REQUEST("/") + [(":protocol", "websocket")],
}
for name, fields in MALFORMED.items():
    def case(self, fields=fields):
        self.check(fields)
    setattr(Malformed, "test_%s_is_refused" % name, case)


class Answers(H2):
    def test_downloads_of_all_sizes_arrive_whole(self):
        for path in ("/m/big/%d", "/m/big-chunked/%d"):
            wire = self.client()
            for n, size in enumerate((0, 1, 16384, 65536, 1 << 20, (8 << 20) + 1)):
                with self.subTest(size=size, path=path):
                    wire.headers(2 * n + 1, h2.request(path % size))
                    answer = wire.answer(2 * n + 1)
                    self.assertEqual((answer.reset, hashlib.sha256(answer.body).hexdigest()), (None, fake.big_sum(size)))

    def test_no_field_of_a_connection_comes_back(self):
        answer = self.ask_h2(h2.request("/m/hop-by-hop"))
        names = {n for n, v in answer.fields}
        self.assertEqual(names & {"connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection", "x-private"}, set())
        self.assertEqual([n for n in names if n != n.lower()], [])

    def test_a_head_that_a_template_makes_long_comes_back(self):
        weir = self.start(one_pool(self.up.address, routes=[{"pool": "app", "headers": {"response": {"set": {"x-path": "${request.path}" * 8}}}}]))
        for length in (8000, 8300, 8600):
            with self.subTest(length=length):
                path = "/" + "a" * (length - 1)
                answer = self.ask_h2(h2.request(path), wire=self.enter(h2.client(("127.0.0.1", weir.port))))
                self.assertEqual((answer.status, answer.one("x-path") == path * 8), (200, True))

    def test_trailers_come_back(self):
        answer = self.ask_h2(h2.request("/m/trailers"))
        self.assertTrue(answer.trailers, answer)
        self.assertEqual(answer.reset, None)

    def test_HEAD_204_and_304_have_no_body(self):
        head = self.ask_h2(h2.request("/m/head-cl", "HEAD"))
        self.assertEqual((head.is_ended, head.body), (True, b""))
        self.assertTrue(head.one("content-length"))
        for status, path in ((304, "/m/not-modified"), (204, "/m/status/204")):
            answer = self.ask_h2(h2.request(path))
            self.assertEqual((answer.status, answer.body, answer.is_ended), (status, b"", True))

    def test_103_comes_before_its_200(self):
        answer = self.ask_h2(h2.request("/m/early-hints"))
        self.assertEqual([dict(i)[":status"] for i in answer.interims], ["103"])
        self.assertEqual(answer.status, 200)

    def test_set_cookies_stay_apart(self):
        self.assertEqual(self.ask_h2(h2.request("/m/cookies")).all("set-cookie"), ["a=1", "b=2"])

    def test_a_broken_answer_looks_broken(self):
        for mood in fake.TRUNCATED:
            with self.subTest(mood=mood):
                answer = self.ask_h2(h2.request("/m/" + mood))
                self.assertTrue(answer.reset is not None and not answer.is_ended or answer.status == 502, answer)

    def test_a_failure_before_the_head_is_told(self):
        for mood in ("close-before-head", "reset-before-head", "close-in-head"):
            with self.subTest(mood=mood):
                self.assertEqual(self.ask_h2(h2.request("/m/" + mood, "POST")).status, 502)

    def test_events_come_as_they_are_sent(self):
        wire = self.client()
        wire.headers(1, h2.request("/m/sse/10"))
        self.up.ticks = 0
        for n in (1, 2, 3):
            self.up.advance()
            wire.until(lambda: wire.message(1).body.count(b"\n\n") == n)
        self.assertFalse(wire.message(1).is_over)


class Streams(H2):
    def test_a_reset_stream_lets_its_upstream_go(self):
        wire = self.client()
        wire.headers(1, h2.request("/m/wait/reset"))
        until(lambda: self.asked_for("/m/wait/reset"))
        wire.reset(1)
        wire.headers(3, h2.request("/other"))
        self.assertEqual(wire.answer(3).status, 200)
        until(lambda: self.weir.metric("weir_http_requests_in_flight") == 0)

    def test_a_client_that_leaves_lets_all_its_upstreams_go(self):
        wire = self.client()
        for stream in (1, 3, 5):
            wire.headers(stream, h2.request("/m/wait/all"))
        until(lambda: len(self.asked_for("/m/wait/all")) == 3)
        wire.close()
        until(lambda: self.weir.metric("weir_http_requests_in_flight") == 0)
        self.assertEqual(self.ask_h2(h2.request("/")).status, 200)

    def test_a_slow_stream_stops_no_other(self):
        wire = self.client(window=65535)
        wire.gives_window = False
        wire.headers(1, h2.request("/m/big/4000000"))
        wire.until(lambda: len(wire.message(1).body) == 65535)
        wire.window(0, 1 << 20)
        for stream in range(3, 13, 2):
            wire.headers(stream, h2.request("/%d" % stream))
            self.assertEqual(wire.answer(stream).status, 200)
        self.assertEqual(len(wire.message(1).body), 65535)
        wire.gives_window = True
        wire.window(0, 65535)
        wire.window(1, 65535)
        answer = wire.answer(1)
        self.assertEqual(hashlib.sha256(answer.body).hexdigest(), fake.big_sum(4000000))

    def test_a_slow_upstream_stops_its_upload_alone(self):
        wire = self.client()
        wire.headers(1, h2.request("/m/deaf", "POST"), end=False)
        sent = 0
        while sent < 65535:
            wire.data(1, b"x" * 13107)
            sent += 13107
        wire.headers(3, h2.request("/other"))
        self.assertEqual(wire.answer(3).status, 200)
        until(lambda: self.asked_for("/m/deaf"))

    def test_more_streams_than_allowed_are_refused(self):
        weir = self.start(one_pool(self.up.address, listeners={"http": {"limits": {"max_streams": 4}}}))
        wire = self.enter(h2.client(("127.0.0.1", weir.port)))
        for stream in range(1, 11, 2):
            wire.headers(stream, h2.request("/m/wait/four"))
        self.assertEqual(wire.answer(9).reset, h2.REFUSED_STREAM)
        self.assertEqual(wire.settings[h2.MAX_STREAMS], 4)
        until(lambda: len(self.asked_for("/m/wait/four")) == 4)

    def test_a_stream_too_many_ends_no_other(self):
        """Also after the client has acknowledged the limit, where nghttp2 would end the connection."""
        weir = self.start(one_pool(self.up.address, listeners={"http": {"limits": {"max_streams": 4}}}))
        wire = self.enter(h2.client(("127.0.0.1", weir.port)))
        wire.sync()
        for stream in (1, 3, 5, 7):
            wire.headers(stream, h2.request("/m/delay/500"))
        for stream in (9, 11):
            wire.headers(stream, h2.request("/too-many", "POST"), end=False)
            wire.data(stream, b"x" * 1000, end=True)
            self.assertEqual(wire.answer(stream).reset, h2.REFUSED_STREAM)
        for stream in (1, 3, 5, 7):
            self.assertEqual(wire.answer(stream).status, 200)
        self.assertIsNone(wire.goaway)
        wire.headers(13, h2.request("/room-again"))
        self.assertEqual(wire.answer(13).status, 200)
        self.assertEqual(wire.settings[h2.MAX_STREAMS], 4)
        self.assertEqual(self.asked_for("/too-many"), [])
        self.assertEqual(weir.metric("weir_h2_glitches_total", reason="excess_streams"), 2)


class Lifetime(H2):
    def test_a_drain_says_goaway_and_waits(self):
        weir = self.start(one_pool(self.up.address))
        wire = self.enter(h2.client(("127.0.0.1", weir.port)))
        wire.headers(1, h2.request("/m/delay/1500"))
        until(lambda: self.asked_for("/m/delay/1500"))
        weir.process.terminate()
        answer = wire.answer(1)
        self.assertEqual((answer.status, answer.is_ended), (200, True))
        wire.until_gone()
        self.assertEqual(wire.goaway.code, h2.NO_ERROR)
        self.assertEqual(weir.process.wait(20), 0)

    def test_an_idle_connection_is_told_to_go(self):
        weir = self.start(one_pool(self.up.address, listeners={"http": {"limits": {"idle_timeout": "300ms"}}}))
        wire = self.enter(h2.client(("127.0.0.1", weir.port)))
        wire.headers(1, h2.request("/"))
        self.assertEqual(wire.answer(1).status, 200)
        self.assertEqual(wire.until_gone().code, h2.NO_ERROR)

    def test_a_listener_may_speak_one_version_only(self):
        for protocols, h2_works, h1_works in ((["h2"], True, False), (["http/1.1"], False, True)):
            weir = self.start(one_pool(self.up.address, listeners={"http": {"protocols": protocols}}))
            with h2.client(("127.0.0.1", weir.port)) as wire:
                wire.headers(1, h2.request("/"))
                try:
                    works = wire.answer(1).status == 200
                except (h2.Gone, AssertionError, OSError, ValueError):
                    works = False
                self.assertEqual(works, h2_works)
            with weir.client() as client:
                client.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
                try:
                    works = client.answer().status == 200
                except Exception:
                    works = False
                self.assertEqual(works, h1_works)

    def test_alpn_agrees_on_h2_first(self):
        weir = self.start(one_pool(self.up.address, listeners={"http": {"tls": {"self_signed": True}}}))
        for offer, agreed in ((["h2", "http/1.1"], "h2"), (["http/1.1", "h2"], "h2"), (["http/1.1"], "http/1.1")):
            context = client_context()
            context.set_alpn_protocols(offer)
            import socket
            with context.wrap_socket(socket.create_connection(("127.0.0.1", weir.port))) as sock:
                self.assertEqual(sock.selected_alpn_protocol(), agreed)
        with h2.client(("127.0.0.1", weir.port), tls=client_context()) as wire:
            wire.headers(1, h2.request("/m/big/300000"))
            answer = wire.answer(1)
            self.assertEqual(hashlib.sha256(answer.body).hexdigest(), fake.big_sum(300000))


    def test_a_preface_in_pieces_may_be_followed_by_a_body_at_once(self):
        def is_read(sock):
            ends = tuple(":%04X" % port for port in (self.weir.port, sock.getsockname()[1]))
            with open("/proc/net/tcp") as sockets:
                rows = [row.split() for row in sockets]
            return any(row[1].endswith(ends[0]) and row[2].endswith(ends[1]) and row[4].endswith(":00000000") for row in rows)

        for at in (1, 3, 4):
            with self.subTest(at=at):
                self.assertEqual(self.weir.ask().status, 200)   # a kept connection takes the body without a pause
                wire = self.client(preface=False)
                wire.sock.sendall(h2.PREFACE[:at])
                until(lambda: is_read(wire.sock))
                wire.send(h2.PREFACE[at:], h2.frame(h2.SETTINGS), h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.block(h2.request("/m/checksum", "POST"))),
                          h2.frame(h2.DATA, h2.END_STREAM, 1, b"hello"))
                answer = wire.answer(1)
                self.assertEqual(answer.status, 200)
                self.assertIn(hashlib.sha256(b"hello").hexdigest().encode(), answer.body)


class RealClients(H2):
    def need(self, program):
        if not shutil.which(program):
            self.skipTest("no " + program)

    def test_curl(self):
        self.need("curl")
        url = "http://127.0.0.1:%d/m/checksum" % self.weir.port
        body = os.urandom(200000)
        done = subprocess.run(["curl", "-sS", "--http2-prior-knowledge", "--data-binary", "@-", "-w", "%{http_version}", url], input=body, capture_output=True, timeout=20)
        self.assertIn(hashlib.sha256(body).hexdigest().encode(), done.stdout)
        self.assertTrue(done.stdout.endswith(b"2"), done)

    def test_nghttp(self):
        self.need("nghttp")
        done = subprocess.run(["nghttp", "-m", "50", "http://127.0.0.1:%d/m/big/100000" % self.weir.port], capture_output=True, timeout=20)
        self.assertEqual((done.returncode, len(done.stdout)), (0, 5000000), done.stderr)

    def test_h2load(self):
        self.need("h2load")
        done = subprocess.run(["h2load", "-n", "2000", "-c", "4", "-m", "16", "http://127.0.0.1:%d/m/hello" % self.weir.port], capture_output=True, text=True, timeout=30)
        self.assertIn("2000 succeeded, 0 failed, 0 errored", done.stdout)


if __name__ == "__main__":
    unittest.main()
