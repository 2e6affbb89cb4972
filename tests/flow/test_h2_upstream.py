"""HTTP/2 to upstreams, from clients of both versions: one connection for many requests, and nothing lost when it goes."""

import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
import unittest

from harness import Case, get, one_pool, post, until, upstream as fake

import h2


class Pair(Case):
    """weir between: clients of either version, an upstream that speaks HTTP/2."""

    def h2_upstream(self, serve=None, **options):
        up = h2.Upstream(serve, **options)
        self.addCleanup(up.close)
        self.addCleanup(lambda: self.assertEqual(up.errors, []))
        return up

    def weir_to(self, *ups, pool=None, **more):
        return self.start(one_pool(*[u.address for u in ups], pool=dict({"protocol": "h2"}, **(pool or {})), workers=1, **more))

    def client(self, weir, **options):
        return self.enter(h2.client(("127.0.0.1", weir.port), **options))

    def tls(self, protocols):
        with tempfile.TemporaryDirectory() as directory:
            cert, key = directory + "/c.pem", directory + "/k.pem"
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                            "-keyout", key, "-out", cert], check=True, capture_output=True)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert, key)
            context.set_alpn_protocols(protocols)
            return context

    def ask(self, wire, stream, fields, body=None):
        wire.headers(stream, fields, end=body is None)
        if body is not None:
            h2.send_body(wire, stream, body)
        return wire.answer(stream)


class Pairings(Pair):
    def test_requests_of_both_versions_arrive_as_http_2(self):
        up = self.h2_upstream()
        weir = self.weir_to(up)
        answer = weir.ask(b"GET /one?a=b HTTP/1.1\r\nHost: shop.test\r\nX-Upper: V\r\nConnection: x-hop\r\nX-Hop: 1\r\nCookie: a=1; b=2\r\n\r\n")
        self.assertEqual((answer.status, answer.body, answer.one("x-path")), (200, b"hello", "/one?a=b"))
        answer = self.ask(self.client(weir), 1, h2.request("/two", "GET", "shop.test", "http", ("x-upper", "V"), ("cookie", "a=1"), ("cookie", "b=2")))
        self.assertEqual((answer.status, answer.body, answer.one("x-path")), (200, b"hello", "/two"))
        for message, path in zip(up.requests, ("/one?a=b", "/two")):
            names = [n for n, v in message.fields]
            fields = dict(message.fields)
            self.assertEqual((fields[":method"], fields[":path"], fields[":authority"], fields[":scheme"]), ("GET", path, "shop.test", "http"))
            self.assertEqual((fields["x-upper"], fields["cookie"]), ("V", "a=1; b=2"))
            self.assertEqual([n for n in names if n in ("host", "connection", "x-hop", "transfer-encoding") or n != n.lower()], [])
            self.assertEqual(len(names), len(set(names)))

    def test_bodies_of_all_sizes_come_back(self):
        up = self.h2_upstream()
        weir = self.weir_to(up)
        wire = self.client(weir)
        stream = 1
        for size in (1, 100, 16384, 65535, 65536, 300000, 2 << 20):
            body = fake.pattern(size)
            with self.subTest(size=size):
                answer = weir.ask(post("/x", body))
                self.assertEqual((answer.status, answer.body == body), (200, True))
                chunked = b"POST /x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
                self.assertEqual(weir.ask(chunked).body == body, True)
                answer = self.ask(wire, stream, h2.request("/x", "POST"), body)
                self.assertEqual((answer.status, answer.body == body), (200, True))
                stream += 2

    def test_the_longest_head_that_a_listener_lets_pass_arrives(self):
        up = self.h2_upstream()
        weir = self.weir_to(up, listeners={"http": {"limits": {"max_header": "128KiB"}}})
        for size in (72000, 131072):     # in some fields: nghttp2 reads no longer ones
            request = get("/", x_0="", **{"x_%d" % i: "v" * 9900 for i in range(1, 8)})
            value = "v" * (size - len(request))
            self.assertEqual(weir.ask(request.replace(b"x-0: ", b"x-0: " + value.encode())).status, 200, size)
            self.assertEqual(dict(up.requests[-1].fields)["x-0"], value)

    def test_trailers_both_ways(self):
        up = self.h2_upstream()
        weir = self.weir_to(up)
        wire = self.client(weir)
        wire.headers(1, h2.request("/trailers", "POST"), end=False)
        wire.data(1, b"body")
        wire.headers(1, [("x-sum", "1"), ("x-forwarded-for", "9.9.9.9")])
        answer = wire.answer(1)
        self.assertEqual(answer.trailers, [("x-checksum", "abc"), ("grpc-status", "0")])
        self.assertEqual(up.requests[0].trailers, [("x-sum", "1")])
        answer = weir.ask(b"POST /trailers HTTP/1.1\r\nHost: t\r\nConnection: te\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-sum: 2\r\n\r\n")
        self.assertEqual(answer.trailers, [("x-checksum", "abc"), ("grpc-status", "0")])
        self.assertEqual(up.requests[1].trailers, [("x-sum", "2")])
        answer = weir.ask(get("/trailers"))
        self.assertEqual((answer.body, answer.trailers), (b"body", []))

    def test_HEAD_204_and_interim_answers(self):
        def serve(wire, stream, message):
            if dict(message.fields)[":path"] == "/hints":
                wire.headers(stream, [(":status", "103"), ("link", "</a>")], end=False)
            h2.echo(wire, stream, message)
        weir = self.weir_to(self.h2_upstream(serve))
        for answer in (weir.ask(b"HEAD / HTTP/1.1\r\nHost: t\r\n\r\n", "HEAD"), self.ask(self.client(weir), 1, h2.request("/", "HEAD"))):
            self.assertEqual((answer.status, answer.body, answer.one("content-length")), (200, b"", "5"))
        for answer in (weir.ask(get("/empty")), self.ask(self.client(weir), 1, h2.request("/empty"))):
            self.assertEqual((answer.status, answer.body), (204, b""))
        for answer in (weir.ask(get("/hints")), self.ask(self.client(weir), 1, h2.request("/hints"))):
            self.assertEqual((answer.status, len(answer.interims)), (200, 1))

    def test_tls_to_the_upstream_is_agreed_by_alpn(self):
        for protocols, status in ((["h2", "http/1.1"], 200), (["http/1.1"], 502)):
            up = h2.Upstream(tls=self.tls(protocols))
            self.addCleanup(up.close)
            weir = self.weir_to(up, pool={"tls": {"verify": "off"}})
            self.assertEqual(weir.ask(get("/x")).status, status)
            if status == 200:
                self.assertEqual(up.wires[0].alpn, "h2")
                self.assertEqual(dict(up.requests[0].fields)[":scheme"], "https")

    def test_heads_of_all_sizes_arrive_whole(self):
        up = self.h2_upstream()
        weir = self.weir_to(up, listeners={"http": {"limits": {"max_header": "128KiB"}}})
        for size in (1000, 16384, 60000, 65536, 90000, 125000):
            with self.subTest(size=size), weir.client() as client:
                fields = {"x_pad_%d" % at: "p" * min(30000, size - at) for at in range(0, size, 30000)}
                self.assertEqual(client.ask(get("/%d" % size, **fields)).status, 200)
                seen = dict(up.requests[-1].fields)
                self.assertEqual(sum(len(v) for n, v in seen.items() if n.startswith("x-pad-")), size)


class Multiplexing(Pair):
    def test_many_requests_share_a_connection(self):
        hold = threading.Event()
        seen = []

        def serve(wire, stream, message):
            seen.append(stream)
            if len(seen) == 50:         # all are there before the first is answered
                for other in seen:
                    h2.echo(wire, other, message)
        up = self.h2_upstream(serve)
        weir = self.weir_to(up)
        wire = self.client(weir)
        for stream in range(1, 100, 2):
            wire.headers(stream, h2.request("/%d" % stream))
        for stream in range(1, 100, 2):
            self.assertEqual(wire.answer(stream).status, 200)
        self.assertEqual(len(up.wires), 1)
        hold.set()

    def test_who_waits_for_the_same_connection_waits_since_it_came(self):
        """The second one comes while it is made: each says how long that took for it, and waited in no queue."""
        up = self.h2_upstream()
        gate = self.enter(socket.create_server(("127.0.0.1", fake.ports.take("127.0.0.1")), backlog=0))
        address = gate.getsockname()
        self.enter(socket.create_connection(address))   # the queue is full: the next one's first segment is lost, and sent again
        weir = self.start(one_pool("%s:%d" % address, pool={"protocol": "h2", "timeouts": {"connect": "20s"}}, workers=1))
        wire = self.client(weir)
        for stream in (1, 3):
            wire.headers(stream, h2.request("/x"))
        until(lambda: weir.metric("weir_http_requests_in_flight") == 2)
        fake.ports.serve_each(gate, up.run)
        for stream in (1, 3):
            self.assertEqual(wire.answer(stream).status, 200)
        for row in until(lambda: len(weir.access()) == 2 and weir.access()):
            self.assertGreater(row["weir.ms.connect"], 0)
            self.assertLess(row["weir.ms.queue"] + row["weir.ms.connect"], row["weir.ms.total"])
        self.assertLess(weir.metric("weir_upstream_connect_seconds_sum"), 60)

    def test_the_peers_stream_limit_is_kept(self):
        most = [0]

        def serve(wire, stream, message):
            open_now = sum(1 for m in wire.messages.values() if m.is_ended and not hasattr(m, "done"))
            most[0] = max(most[0], open_now)
            time.sleep(0.01)
            message.done = True
            h2.echo(wire, stream, message)
        up = self.h2_upstream(serve, max_streams=4)
        weir = self.weir_to(up)
        wire = self.client(weir)
        self.assertEqual(self.ask(wire, 1, h2.request("/first")).status, 200)
        for stream in range(3, 83, 2):
            wire.headers(stream, h2.request("/%d" % stream))
        for stream in range(3, 83, 2):
            self.assertEqual(wire.answer(stream).status, 200)
        self.assertGreater(len(up.wires), 1)

    def shut_upstream(self, connect):
        """Allows no streams, by SETTINGS that come before its first answer."""
        up = self.h2_upstream(max_streams=0)
        weir = self.weir_to(up, pool={"timeouts": {"connect": connect}, "retry": {"max": 0}})
        wire = self.client(weir)
        self.assertEqual(self.ask(wire, 1, h2.request("/first")).status, 200)
        return up, wire

    def test_an_upstream_that_takes_no_streams_gets_no_connection_for_each_request(self):
        up, wire = self.shut_upstream("500ms")
        for stream in range(3, 43, 2):
            wire.headers(stream, h2.request("/%d" % stream))
        for stream in range(3, 43, 2):
            self.assertEqual(wire.answer(stream).status, 504)
        self.assertEqual((len(up.wires), len(up.requests)), (1, 1))

    def test_requests_wait_for_an_upstream_that_takes_no_streams_for_now(self):
        up, wire = self.shut_upstream("20s")
        for stream in range(3, 43, 2):
            wire.headers(stream, h2.request("/%d" % stream))
        wire.headers(43, h2.request("/gone"))
        wire.reset(43)
        wire.sync()
        up.wires[0].send_settings(max_streams=0)        # nothing new
        up.wires[0].send_settings(max_streams=4)
        for stream in range(3, 43, 2):
            self.assertEqual(wire.answer(stream).status, 200)
        self.assertEqual((len(up.wires), len(up.requests)), (1, 21))

    def test_a_slow_client_stops_only_its_own_stream(self):
        up = self.h2_upstream(lambda wire, stream, message: threading.Thread(
            target=lambda: h2.echo(wire, stream, message) if dict(message.fields)[":path"] != "/big" else
            (wire.headers(stream, [(":status", "200")], end=False), h2.send_body(wire, stream, b"x" * (4 << 20))), daemon=True).start())
        weir = self.weir_to(up)
        slow = self.client(weir, window=1000)
        slow.gives_window = False
        slow.headers(1, h2.request("/big"))
        slow.until(lambda: len(slow.message(1).body) == 1000)
        quick = self.client(weir)
        for stream in range(1, 41, 2):
            self.assertEqual(self.ask(quick, stream, h2.request("/%d" % stream)).status, 200)
        self.assertEqual(len(up.wires), 1)
        self.assertEqual(len(slow.message(1).body), 1000)

    def test_a_client_that_resets_cancels_upstream(self):
        def serve(wire, stream, message):
            if dict(message.fields)[":path"] != "/wait":
                h2.echo(wire, stream, message)
        up = self.h2_upstream(serve)
        weir = self.weir_to(up)
        wire = self.client(weir)
        wire.headers(1, h2.request("/wait"))
        until(lambda: up.requests)
        wire.reset(1)
        until(lambda: up.wires[0].messages[1].reset == h2.CANCEL)
        self.assertEqual(self.ask(wire, 3, h2.request("/next")).status, 200)
        self.assertEqual(len(up.wires), 1)

    def test_an_early_answer_ends_the_upload(self):
        def serve(wire, stream, message):
            wire.headers(stream, [(":status", "413")])
        up = self.h2_upstream(serve, early=True)
        weir = self.weir_to(up)
        wire = self.client(weir)
        wire.headers(1, h2.request("/x", "POST"), end=False)
        wire.data(1, b"x" * 10000)
        self.assertEqual(wire.answer(1).status, 413)
        self.assertEqual(weir.ask(get("/x")).status, 413)

    def test_trailers_after_the_answer_end_the_upload_like_any_end(self):
        """Its request is gone, its client still takes the answer: there is nothing left to be reset."""
        def serve(wire, stream, message):
            wire.headers(stream, [(":status", "413")], end=False)
            wire.data(stream, b"x" * 10000, end=True)
        weir = self.weir_to(self.h2_upstream(serve, early=True))
        wire = self.client(weir, window=1000)
        wire.gives_window = False
        wire.headers(1, h2.request("/x", "POST"), end=False)
        wire.data(1, b"x" * 100)
        wire.until(lambda: len(wire.message(1).body) == 1000)
        until(lambda: weir.metric("weir_http_requests_in_flight") == 0)
        wire.headers(1, [("x-sum", "1")])
        wire.window(1, 9000)
        self.assertEqual(len(wire.answer(1).body), 10000)
        wire.headers(3, h2.request("/y"))
        wire.until(lambda: wire.message(3).fields)
        self.assertEqual([f for f in wire.frames if f.kind == h2.RST_STREAM], [])


class Misfortune(Pair):
    def test_goaway_loses_no_request(self):
        """Each connection serves 25 requests, says GOAWAY and refuses by it what came later."""
        def serve(wire, stream, message):
            wire.count = getattr(wire, "count", 0) + 1
            if wire.count > 25:
                return
            h2.echo(wire, stream, message)
            if wire.count == 25:
                wire.send(h2.frame(h2.GOAWAY, 0, 0, struct.pack(">II", stream, 0)))
        up = self.h2_upstream(serve)
        weir = self.weir_to(up)
        wire = self.client(weir)
        for round in range(8):
            streams = range(1 + 40 * round, 41 + 40 * round, 2)
            for stream in streams:
                wire.headers(stream, h2.request("/%d" % stream, "POST" if stream % 4 == 1 else "GET"))
            for stream in streams:
                answer = wire.answer(stream)
                self.assertEqual(answer.status, 200, answer)
        self.assertEqual(weir.metric("weir_upstream_errors_total", reason="reset") or 0, 0)

    def test_a_refused_stream_is_tried_again(self):
        def serve(wire, stream, message):
            if stream == 3:
                wire.reset(stream, h2.REFUSED_STREAM)
            else:
                h2.echo(wire, stream, message)
        up = self.h2_upstream(serve)
        weir = self.weir_to(up)
        wire = self.client(weir)
        for stream in (1, 3, 5):
            self.assertEqual(self.ask(wire, stream, h2.request("/%d" % stream, "POST")).status, 200)

    def test_who_always_refuses_is_not_asked_for_ever(self):
        up = self.h2_upstream(lambda wire, stream, message: wire.reset(stream, h2.REFUSED_STREAM))
        weir = self.weir_to(up)
        self.assertEqual(weir.ask(get("/x")).status, 502)
        self.assertLess(len(up.requests), 6)

    def counted(self, weir, reason="reset"):
        return weir.metric("weir_upstream_errors_total", reason=reason) or 0

    def retries(self, weir):
        return weir.metric("weir_upstream_retries_total") or 0

    def test_a_stream_reset_on_a_session_that_served_is_a_failure(self):
        """Not a kept connection that closed while it was idle: counted, ejected for it, and not repeated where retry.max is 0."""
        for code in (h2.INTERNAL_ERROR, h2.CANCEL, h2.NO_ERROR):
            with self.subTest(code=code):
                up = self.h2_upstream(lambda wire, stream, message: wire.headers(stream, [(":status", "200")]) if stream == 1 else wire.reset(stream, code))
                weir = self.weir_to(up, pool={"retry": {"max": 0}})
                with weir.client() as client:
                    self.assertEqual([client.ask(get("/x")).status for _ in range(10)], [200] + [502] * 9)
                self.assertEqual((self.counted(weir), len(up.requests), self.retries(weir)), (9, 10, 0))
                self.assertEqual(len(up.wires), 1)

    def test_resets_of_streams_eject_their_endpoint(self):
        bad = self.h2_upstream(lambda wire, stream, message: wire.headers(stream, [(":status", "200")]) if stream == 1 else wire.reset(stream, h2.INTERNAL_ERROR))
        good = self.h2_upstream()
        weir = self.weir_to(bad, good, pool={"retry": {"max": 0}, "outliers": {"consecutive": 3}})
        with weir.client() as client:
            answers = [client.ask(get("/x")).status for _ in range(40)]
        self.assertEqual((answers.count(502), answers[-20:]), (3, [200] * 20))

    def goaway(self, wire, stream, message):
        wire.send(h2.frame(h2.GOAWAY, 0, 0, bytes(8)))

    def refuse(self, wire, stream, message):
        wire.reset(stream, h2.REFUSED_STREAM)

    def test_who_sends_all_back_unread_is_bounded_by_max(self):
        """A session that has served, or says goodbye, may do it once, for nothing; after that it is the endpoint's failure, by its word."""
        for send_back in (self.goaway, self.refuse):
            for most in (0, 2):
                with self.subTest(send_back=send_back.__name__, max=most):
                    def serve(wire, stream, message):
                        if dict(message.fields)[":path"] == "/first":
                            h2.echo(wire, stream, message)
                        else:
                            send_back(wire, stream, message)
                    up = self.h2_upstream(serve)
                    weir = self.weir_to(up, pool={"retry": {"max": most}})
                    self.assertEqual(weir.ask(get("/first")).status, 200)
                    answer = weir.ask(get("/x"))
                    self.assertEqual(answer.status, 502)
                    self.assertIn(b"upstream_refused", answer.body)
                    self.assertEqual(len(up.requests) - 1, 2 + most)
                    self.assertEqual((self.counted(weir), self.retries(weir)), (1 + most, 1 + most))

    def test_who_sends_all_back_unread_is_bounded_by_the_budget(self):
        for send_back in (self.goaway, self.refuse):
            with self.subTest(send_back=send_back.__name__):
                up = self.h2_upstream(send_back)
                weir = self.weir_to(up, pool={"retry": {"max": 3, "budget": "0%"}})
                began = time.monotonic()
                with weir.client() as client:
                    self.assertEqual({client.ask(get("/x")).status for _ in range(100)}, {502})
                # The reserve: 10, and 10 a second.
                free = 100 if send_back == self.goaway else 0       # a goodbye, once a request
                self.assertLessEqual(len(up.requests), 100 + free + 10 + 10 * (time.monotonic() - began) + 1)
                self.assertEqual(self.counted(weir), len(up.requests) - free)
                self.assertEqual(self.retries(weir), len(up.requests) - 100)

    def test_who_sends_all_back_unread_is_ejected(self):
        for send_back in (self.goaway, self.refuse):
            with self.subTest(send_back=send_back.__name__):
                bad, good = self.h2_upstream(send_back), self.h2_upstream()
                weir = self.weir_to(bad, good, pool={"outliers": {"consecutive": 3}})
                with weir.client() as client:
                    self.assertEqual({client.ask(get("/x")).status for _ in range(40)}, {200})
                self.assertEqual(len(bad.requests), 6 if send_back == self.goaway else 3)

    def test_silence_on_a_session_that_served_is_a_failure(self):
        def serve(wire, stream, message):
            if stream == 1:
                h2.echo(wire, stream, message)
        weir = self.weir_to(self.h2_upstream(serve), pool={"retry": {"max": 0}, "timeouts": {"first_byte": "300ms"}})
        self.assertEqual(weir.ask(get("/x")).status, 200)
        self.assertEqual(weir.ask(get("/x")).status, 504)
        self.assertEqual(self.counted(weir, "first_byte_timeout"), 1)

    def test_a_session_that_closes_while_it_is_quiet_is_nobodys_fault(self):
        def serve(wire, stream, message):
            if stream == 1:
                h2.echo(wire, stream, message)
            else:
                wire.sock.shutdown(socket.SHUT_RDWR)
        up = self.h2_upstream(serve)
        weir = self.weir_to(up, pool={"retry": {"max": 0}})
        for _ in range(3):
            self.assertEqual(weir.ask(get("/x")).status, 200)
        self.assertEqual(sum(self.counted(weir, r) for r in ("reset", "closed_early")), 0)
        self.assertEqual((len(up.requests), self.retries(weir)), (5, 2))

    def test_calls_of_grpc_count_as_their_clients_see_them(self):
        """The trailers say it, or the head where it is all there is; none and several are UNKNOWN, whatever they say."""
        def status(*values):
            return [("grpc-status", v) for v in values]
        cases = [   # the head's, the trailers' (None: the head ends it; "": DATA does), is it a failure?
            ([], status("0"), 0), ([], status("5"), 0), ([], status("13"), 1), (status("0"), None, 0), (status("14"), None, 1),
            (status("0"), status("13"), 1), (status("13"), status("0"), 0), ([], status("0", "14"), 1), ([], status("0", "0"), 1), (status("0", "0"), None, 1),
            ([], [("x-other", "1")], 1), ([], "", 1), ([], None, 1), (status("0"), "", 1)]
        now = []
        def serve(wire, stream, message):
            head, trailers, _ = now[0]
            wire.headers(stream, [(":status", "200"), ("content-type", "application/grpc")] + head, end=trailers is None)
            if trailers == "":
                wire.data(stream, bytes(5), end=True)
            elif trailers is not None:
                wire.headers(stream, trailers)
        weir = self.weir_to(self.h2_upstream(serve))
        wire = self.client(weir)
        for n, case in enumerate(cases):
            with self.subTest(case=case):
                now[:] = [case]
                before = self.counted(weir, "status")
                answer = self.ask(wire, 2 * n + 1, h2.request("/s.S/M", "POST", "t", "http", ("content-type", "application/grpc"), ("te", "trailers")), bytes(5))
                self.assertEqual(answer.status, 200)
                self.assertEqual(self.counted(weir, "status") - before, case[2])

    def test_resets_are_told_by_the_failure_table(self):
        def serve(wire, stream, message):
            path = dict(message.fields)[":path"]
            if path == "/reset":
                wire.reset(stream, h2.INTERNAL_ERROR)
            elif path == "/cut":
                wire.headers(stream, [(":status", "200")], end=False)
                wire.data(stream, b"some")
                wire.reset(stream, h2.INTERNAL_ERROR)
            elif path == "/short":
                wire.headers(stream, [(":status", "200"), ("content-length", "10")], end=False)
                wire.data(stream, b"some", end=True)
            elif path == "/close":
                wire.sock.close()
            elif path == "/close-in-body":
                wire.headers(stream, [(":status", "200"), ("content-length", "10")], end=False)
                wire.data(stream, b"some")
                wire.sock.close()
            elif path == "/malformed":
                wire.headers(stream, [(":status", "200"), ("Upper", "x")])
            elif path == "/switch":
                wire.headers(stream, [(":status", "101")])
            elif path == "/no-status":
                wire.headers(stream, [("x", "y")])
            else:
                h2.echo(wire, stream, message)
        up = self.h2_upstream(serve)
        up.errors = []
        weir = self.weir_to(up, pool={"retry": {"max": 0}})
        for path in ("/reset", "/close", "/malformed", "/switch", "/no-status"):
            with self.subTest(path=path):
                self.assertEqual(weir.ask(post(path, b"x")).status, 502)
                self.assertEqual(self.ask(self.client(weir), 1, h2.request(path, "POST"), b"x").status, 502)
        for path in ("/cut", "/short", "/close-in-body"):
            with self.subTest(path=path):
                self.assertTrue(weir.ask(get(path)).broken)
                answer = self.ask(self.client(weir), 1, h2.request(path))
                self.assertTrue(answer.reset is not None and not answer.is_ended, answer)
        self.assertEqual(weir.ask(get("/fine")).status, 200)

    def test_a_refused_connection_is_a_502_and_another_endpoint_is_tried(self):
        up = self.h2_upstream()
        gone = h2.Upstream()
        gone.close()
        weir = self.weir_to(up, gone)
        for _ in range(10):
            self.assertEqual(weir.ask(get("/x")).status, 200)
        weir = self.weir_to(gone)
        self.assertEqual(weir.ask(get("/x")).status, 502)

    def test_an_upstream_of_http_1_is_a_502(self):
        up = self.upstream()
        weir = self.start(one_pool(up.address, pool={"protocol": "h2", "timeouts": {"first_byte": "2s"}}))
        self.assertIn(weir.ask(get("/x")).status, (502, 504))

    def test_a_silent_upstream_is_a_504(self):
        up = self.h2_upstream(lambda wire, stream, message: None)
        weir = self.weir_to(up, pool={"timeouts": {"first_byte": "300ms"}})
        self.assertEqual(weir.ask(get("/x")).status, 504)
        self.assertEqual(self.ask(self.client(weir), 1, h2.request("/x")).status, 504)
        until(lambda: [m.reset for m in up.requests] == [h2.CANCEL] * 2)

    def test_an_idle_session_is_closed(self):
        up = self.h2_upstream()
        weir = self.weir_to(up, pool={"timeouts": {"idle": "200ms"}})
        self.assertEqual(weir.ask(get("/x")).status, 200)
        until(lambda: up.wires[0].goaway)
        self.assertEqual(weir.ask(get("/x")).status, 200)
        self.assertEqual(len(up.wires), 2)

    def test_a_reload_that_drops_the_endpoint_finishes_what_is_in_flight(self):
        go = threading.Event()

        def serve(wire, stream, message):
            if dict(message.fields)[":path"] == "/wait":
                go.wait(10)
            h2.echo(wire, stream, message)
        old, new = self.h2_upstream(serve), self.h2_upstream()
        weir = self.weir_to(old)
        wire = self.client(weir)
        wire.headers(1, h2.request("/wait"))
        until(lambda: old.requests)
        weir.reload(one_pool(new.address, pool={"protocol": "h2"}, workers=1))
        self.assertEqual(self.ask(self.client(weir), 1, h2.request("/x")).status, 200)
        self.assertEqual(len(new.requests), 1)
        go.set()
        self.assertEqual(wire.answer(1).status, 200)
        until(lambda: old.wires[0].goaway)

    def test_a_reload_that_asks_for_other_tls_keeps_no_connection(self):
        """Neither those that are idle nor those in use: whoever was let pass as he came is verified now."""
        go = threading.Event()

        def serve(wire, stream, message):
            if dict(message.fields)[":path"] == "/wait":
                go.wait(20)
            h2.echo(wire, stream, message)
        up = h2.Upstream(serve, tls=self.tls(["h2"]))
        self.addCleanup(up.close)
        for protocol, address, wait in (("h2", up.address, "/wait"), ("http/1.1", self.upstream(tls=self.tls(["http/1.1"])).address, "/m/slow-body/10/100")):
            with self.subTest(protocol=protocol):
                config = {"protocol": protocol, "tls": {"verify": "off"}}
                weir = self.start(one_pool(address, pool=config, workers=1))
                self.assertEqual(weir.ask(get("/x")).status, 200)
                with weir.client() as client:
                    client.send(get(wait))
                    until(lambda: weir.metric("weir_http_requests_in_flight") == 1)
                    weir.reload(one_pool(address, pool=dict(config, tls={"verify": "system"}), workers=1))
                    self.assertEqual(weir.ask(get("/x")).status, 502)
                    go.set()
                    self.assertEqual(client.answer().status, 200)
                    self.assertEqual(weir.ask(get("/x")).status, 502)

    def test_an_endpoint_that_leaves_while_it_is_connected_to_over_tls_still_answers(self):
        old, new = h2.Upstream(tls=self.tls(["h2"])), self.h2_upstream()
        self.addCleanup(old.close)
        gate = self.enter(socket.create_server(("127.0.0.1", fake.ports.take("127.0.0.1")), backlog=0))
        address = gate.getsockname()
        self.enter(socket.create_connection(address))   # the queue is full: the next one's first segment is lost, and sent again
        weir = self.start(one_pool("%s:%d" % address, pool={"protocol": "h2", "tls": {"verify": "off"}, "timeouts": {"connect": "20s"}}, workers=1))
        wire = self.client(weir)
        wire.headers(1, h2.request("/x"))
        until(lambda: " 0100007F:%04X 02 " % address[1] in open("/proc/net/tcp").read(), what="a connection that waits")
        weir.reload(one_pool(new.address, pool={"protocol": "h2"}, workers=1))
        fake.ports.serve_each(gate, old.run)
        self.assertEqual(wire.answer(1).status, 200)
        self.assertEqual(self.ask(self.client(weir), 1, h2.request("/y")).status, 200)
        self.assertEqual((len(old.requests), len(new.requests)), (1, 1))

    def test_an_endpoint_that_leaves_and_whose_clients_leave_before_tls_stands_is_not_kept(self):
        up = h2.Upstream(tls=self.tls(["h2"]))
        self.addCleanup(up.close)
        gate = self.enter(socket.create_server(("127.0.0.1", fake.ports.take("127.0.0.1"))))
        pool = {"protocol": "h2", "tls": {"verify": "off"}, "timeouts": {"connect": "60s", "idle": "60s"}}
        weir = self.start(one_pool("%s:%d" % gate.getsockname(), pool=pool, workers=1))
        wire = self.client(weir)
        wire.headers(1, h2.request("/x"))
        sock = self.enter(gate.accept()[0])
        until(lambda: len(sock.recv(5, socket.MSG_PEEK)) == 5)      # its hello: the handshake has begun
        weir.reload(one_pool(up.address, pool=pool, workers=1))
        wire.reset(1)
        until(lambda: weir.metric("weir_http_requests_in_flight") == 0)
        up.run(sock)        # until weir closes it
        self.assertEqual([w.alpn for w in up.wires], ["h2"])
        self.assertEqual(up.requests, [])


if __name__ == "__main__":
    unittest.main()
