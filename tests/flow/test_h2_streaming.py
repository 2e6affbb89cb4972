"""gRPC and WebSocket over HTTP/2: calls, deadlines, statuses that are failures, tunnels in all four pairings."""

import base64
import hashlib
import socket
import struct
import threading
import time
import unittest

from harness import Case, free_port, get, one_pool, until

import h2
from test_h2_upstream import Pair


def call(path="/shop.Cart/Add", *more):
    return h2.request(path, "POST", "a", "http", ("content-type", "application/grpc"), ("te", "trailers"), *more)


def grpc_frame(text):
    return b"\0" + struct.pack(">I", len(text)) + text


def echo(wire, stream, message, say_end):
    """Sends a body back while it comes, in a thread of its own."""
    def talk():
        seen = 0
        while not message.is_over:
            body = message.body         # it grows in another thread
            if len(body) > seen:
                wire.data(stream, body[seen:])
                seen = len(body)
            threading.Event().wait(0.002)
        say_end()
    threading.Thread(target=talk, daemon=True).start()


class Grpc(Pair):
    def serve(self, wire, stream, message):
        path = dict(message.fields)[":path"]
        head = [(":status", "200"), ("content-type", "application/grpc")]
        if path.startswith("/status/"):
            wire.headers(stream, head + [("grpc-status", path[8:])])
        elif path.startswith("/late/"):
            wire.headers(stream, head, end=False)
            wire.data(stream, grpc_frame(b"x"))
            wire.headers(stream, [("grpc-status", path[6:]), ("grpc-message", "told")])
        elif path != "/never":
            wire.headers(stream, head, end=False)
            wire.data(stream, message.body or grpc_frame(b"hello"))
            wire.headers(stream, [("grpc-status", "0")])

    def test_a_call_and_its_trailers(self):
        weir = self.weir_to(self.h2_upstream(self.serve))
        answer = self.ask(self.client(weir), 1, call(), grpc_frame(b"question"))
        self.assertEqual((answer.status, answer.body, answer.trailers), (200, grpc_frame(b"question"), [("grpc-status", "0")]))

    def test_a_status_alone(self):
        weir = self.weir_to(self.h2_upstream(self.serve))
        answer = self.ask(self.client(weir), 1, call("/status/5"), b"")
        self.assertEqual((answer.one("grpc-status"), answer.is_ended, answer.body), ("5", True, b""))

    def test_both_sides_stream_at_once(self):
        def serve(wire, stream, message):
            wire.headers(stream, [(":status", "200"), ("content-type", "application/grpc")], end=False)
            echo(wire, stream, message, lambda: wire.headers(stream, [("grpc-status", "0")]))
        weir = self.weir_to(self.h2_upstream(serve, early=True))
        wire = self.client(weir)
        wire.headers(1, call(), end=False)
        said = b""
        for n in range(20):
            said += grpc_frame(b"message %d" % n)
            wire.data(1, grpc_frame(b"message %d" % n))
            wire.until(lambda: wire.message(1).body == said)
        wire.data(1, b"", end=True)
        self.assertEqual(wire.answer(1).trailers, [("grpc-status", "0")])

    def test_once_it_is_answered_a_call_may_be_silent(self):
        """No rate is asked of a request that both sides talk in; three windows of one pass."""
        def serve(wire, stream, message):
            wire.headers(stream, [(":status", "200"), ("content-type", "application/grpc")], end=False)
            echo(wire, stream, message, lambda: wire.headers(stream, [("grpc-status", "0")]))
        weir = self.weir_to(self.h2_upstream(serve, early=True), listeners={"http": {"limits": {"idle_timeout": "500ms"}}})
        wire = self.client(weir)
        wire.headers(1, call(), end=False)
        said = b""
        for pause in (0, 1.6, 0):
            time.sleep(pause)
            said += grpc_frame(b"message")
            wire.data(1, grpc_frame(b"message"))
            wire.until(lambda: wire.message(1).body == said)
        wire.data(1, b"", end=True)
        self.assertEqual(wire.answer(1).trailers, [("grpc-status", "0")])

    def test_statuses_that_are_failures_of_the_pool(self):
        weir = self.weir_to(self.h2_upstream(self.serve))
        wire = self.client(weir)
        stream = 1

        def failures():
            return weir.metric("weir_upstream_errors_total", reason="status") or 0
        for way in ("/status/%d", "/late/%d"):
            for status in range(17):
                before = failures()
                self.assertEqual(self.ask(wire, stream, call(way % status), b"").status, 200)
                stream += 2
                self.assertEqual(failures() - before, 1 if status in (2, 4, 13, 14, 15) else 0, (way, status))

    def test_a_deadline_ends_the_call_on_both_sides(self):
        up = self.h2_upstream(self.serve)
        weir = self.weir_to(up)
        answer = self.ask(self.client(weir), 1, call("/never", ("grpc-timeout", "300m")), b"")
        self.assertEqual((answer.status, answer.one("grpc-status"), answer.is_ended), (200, "4", True))
        until(lambda: up.requests[0].reset == h2.CANCEL)
        self.assertEqual(dict(up.requests[0].fields)["grpc-timeout"], "300m")

    def test_a_deadline_ends_a_call_that_has_no_connection_yet(self):
        for protocol in ("h2", "http/1.1"):
            gate = self.enter(socket.create_server(("127.0.0.1", free_port()), backlog=0))
            self.enter(socket.create_connection(gate.getsockname()))    # the queue is full: no other connection is made
            weir = self.start(one_pool("%s:%d" % gate.getsockname(), pool={"protocol": protocol, "timeouts": {"connect": "60s"}}, workers=1))
            answer = self.ask(self.client(weir), 1, call("/x", ("grpc-timeout", "300m")), b"")
            self.assertEqual((answer.status, answer.one("grpc-status"), answer.is_ended), (200, "4", True), protocol)
            self.assertEqual(weir.metric("weir_upstream_errors_total", reason="connect_timeout") or 0, 0)

    def test_a_deadline_ends_a_call_that_waits_in_line(self):
        up = self.h2_upstream(self.serve)
        weir = self.weir_to(up, pool={"limits": {"in_flight": 1, "queue": 5, "queue_timeout": "60s"}})
        wire = self.client(weir)
        wire.headers(1, call("/never"))
        until(lambda: up.requests)
        answer = self.ask(wire, 3, call("/late", ("grpc-timeout", "300m")), b"")
        self.assertEqual((answer.status, answer.one("grpc-status"), answer.is_ended), (200, "14", True))
        self.assertEqual(weir.metric("weir_pool_shed_total", reason="late"), 1)
        self.assertEqual(len(up.requests), 1)

    def test_a_failure_of_weirs_own_is_told_as_a_status(self):
        held = self.enter(socket.socket())          # nobody listens there, and nobody else will
        held.bind(("127.0.0.1", free_port()))
        weir = self.start(one_pool("127.0.0.1:%d" % held.getsockname()[1], pool={"protocol": "h2"}, workers=1))
        answer = self.ask(self.client(weir), 1, call(), b"")
        self.assertEqual((answer.status, answer.one("grpc-status"), answer.one("content-type")), (200, "14", "application/grpc"))


KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = ("GET /m/tunnel HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n" % KEY).encode()


def connect(path="/m/tunnel", *more):
    return [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", path), (":authority", "a"), ("sec-websocket-version", "13")] + list(more)


class WebSocket(Pair):
    def tunnel_upstream(self):
        def serve(wire, stream, message):
            fields = dict(message.fields)
            if fields.get(":protocol") != "websocket":
                wire.headers(stream, [(":status", "400")])
                return
            wire.headers(stream, [(":status", "200")], end=False)
            echo(wire, stream, message, lambda: wire.data(stream, b"bye", end=True))
        return self.h2_upstream(serve, early=True, connect=1)

    def check_h2_client(self, weir):
        wire = self.client(weir)
        wire.sync()
        self.assertEqual(wire.settings.get(h2.CONNECT_PROTOCOL), 1)
        wire.headers(1, connect(), end=False)
        wire.until(lambda: wire.message(1).fields)
        self.assertEqual(wire.message(1).status, 200, wire.message(1))
        self.assertEqual([n for n, v in wire.message(1).fields if n in ("upgrade", "connection", "sec-websocket-accept")], [])
        said = b""
        for n in range(10):
            said += b"ping %d" % n
            wire.data(1, b"ping %d" % n)
            wire.until(lambda: wire.message(1).body == said)
        wire.data(1, b"", end=True)
        answer = wire.answer(1)
        self.assertTrue(answer.is_ended, answer)
        wire.headers(3, connect("/other"), end=False)
        return wire

    def check_h1_client(self, weir):
        with weir.client() as client:
            client.send(UPGRADE)
            answer = client.answer(upgrade=True)
            self.assertEqual(answer.status, 101)
            expected = base64.b64encode(hashlib.sha1((KEY + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
            self.assertEqual(answer.one("sec-websocket-accept"), expected)
            self.assertEqual(answer.one("upgrade").lower(), "websocket")
            for n in range(10):
                client.send(b"ping %d" % n)
                self.assertEqual(client.exactly(6), b"ping %d" % n)

    def test_from_http_2_to_http_1(self):
        up = self.upstream()
        self.check_h2_client(self.start(one_pool(up.address, workers=1)))
        seen = up.seen[0]
        self.assertEqual((seen.method, seen.one("upgrade").lower(), len(base64.b64decode(seen.one("sec-websocket-key")))), (b"GET", b"websocket", 16))
        self.assertEqual(up.faults, [])

    def test_from_http_2_to_http_2(self):
        up = self.tunnel_upstream()
        self.check_h2_client(self.weir_to(up))
        self.assertNotIn("sec-websocket-key", dict(up.requests[0].fields))

    def test_from_http_1_to_http_2(self):
        self.check_h1_client(self.weir_to(self.tunnel_upstream()))

    def test_an_upstream_of_http_2_names_a_subprotocol_that_was_offered(self):
        def serve(wire, stream, message):
            wire.headers(stream, [(":status", "200"), ("sec-websocket-protocol", "chat"), ("sec-websocket-accept", "none")], end=False)
            echo(wire, stream, message, lambda: wire.data(stream, b"", end=True))
        weir = self.weir_to(self.h2_upstream(serve, early=True, connect=1))
        with weir.client() as client:
            client.send(UPGRADE)
            self.assertEqual(client.answer(upgrade=True).status, 502)
        with weir.client() as client:
            client.send(UPGRADE.replace(b"\r\n\r\n", b"\r\nsec-websocket-protocol: chat\r\n\r\n"))
            answer = client.answer(upgrade=True)
            self.assertEqual((answer.status, answer.one("sec-websocket-protocol")), (101, "chat"))

    def test_an_upstream_of_http_2_is_asked_for_no_other_protocol(self):
        seen = []
        def serve(wire, stream, message):
            seen.append(dict(message.fields).get(":protocol"))
            wire.headers(stream, [(":status", "204")])
        up = self.h2_upstream(serve, early=True, connect=1)
        config = one_pool(up.address, workers=1, pool={"protocol": "h2"})
        config["routes"][0]["upgrade"] = ["websocket", "other"]
        with self.start(config).client() as client:
            client.send(b"GET /x HTTP/1.1\r\nhost: t\r\nconnection: upgrade\r\nupgrade: my-protocol\r\n\r\n")
            self.assertEqual(client.answer(upgrade=True).status, 204)
        self.assertEqual(seen, [None])

    def test_an_upstream_of_http_2_that_opens_no_tunnels_is_not_asked(self):
        """RFC 8441 section 3: nothing is said to it, so that it has nothing to reset, and is not blamed."""
        for settings in ({}, {"connect": 0}):
            with self.subTest(settings=settings):
                up = self.h2_upstream(early=True, **settings)
                weir = self.weir_to(up, pool={"outliers": {"consecutive": 1}})
                wire = self.client(weir)
                for stream in (1, 3, 5):
                    wire.headers(stream, connect("/x"), end=False)
                    answer = wire.answer(stream)
                    self.assertEqual(answer.status, 502)
                    self.assertIn(b"no_websocket", answer.body)
                with weir.client() as client:
                    client.send(UPGRADE)
                    self.assertEqual(client.answer(upgrade=True).status, 502)
                self.assertEqual(up.requests, [])
                self.assertEqual(weir.metric("weir_upstream_errors_total") or 0, 0)
                self.assertEqual(weir.ask(get("/y")).status, 200)
                self.assertEqual(len(up.wires), 1)

    def test_a_tunnel_to_http_2_waits_for_the_upstreams_leave_and_no_other_request_does(self):
        def serve(wire, stream, message):
            if dict(message.fields)[":method"] == "CONNECT":
                wire.headers(stream, [(":status", "200")], end=False)
                echo(wire, stream, message, lambda: wire.data(stream, b"", end=True))
            elif dict(message.fields)[":path"] == "/last":
                wire.send_settings(connect=1)
                h2.echo(wire, stream, message)
        up = self.h2_upstream(serve, early=True, says_hello=False)
        wire = self.client(self.weir_to(up))
        wire.headers(1, h2.request("/first"))
        until(lambda: up.requests)
        wire.headers(3, connect("/tunnel"), end=False)
        wire.headers(5, h2.request("/last"))
        self.assertEqual(wire.answer(5).status, 200)
        wire.until(lambda: wire.message(3).fields)
        self.assertEqual([dict(m.fields)[":path"] for m in up.requests], ["/first", "/last", "/tunnel"])
        self.assertEqual(wire.message(3).status, 200)
        wire.data(3, b"ping")
        wire.until(lambda: wire.message(3).body == b"ping")
        self.assertEqual(len(up.wires), 1)

    def test_a_tunnel_to_http_2_waits_for_no_longer_than_it_may_take_to_connect(self):
        up = self.h2_upstream(says_hello=False)
        wire = self.client(self.weir_to(up, pool={"timeouts": {"connect": "300ms"}, "retry": {"max": 0}}))
        wire.headers(1, connect("/x"), end=False)
        self.assertEqual(wire.answer(1).status, 504)
        self.assertEqual(up.requests, [])

    def test_a_route_without_upgrades_refuses(self):
        up = self.upstream()
        config = one_pool(up.address, workers=1)
        config["routes"][0]["upgrade"] = []
        wire = self.client(self.start(config))
        wire.headers(1, connect("/x"), end=False)
        self.assertEqual(wire.answer(1).status, 501)
        self.assertEqual((up.tunnels, up.seen), (0, []))

    def test_other_protocols_are_not_implemented(self):
        """Never forwarded as something else, whatever the route allows to HTTP/1."""
        up = self.upstream()
        config = one_pool(up.address, workers=1)
        config["routes"][0]["upgrade"] = ["websocket", "other"]
        weir = self.start(config)
        wire = self.client(weir)
        for n, name in enumerate(("connect-udp", "h2c", "HTTP/1.1", "websocketx", "websocket,foo")):
            fields = [(k, name if k == ":protocol" else v) for k, v in connect("/x")]
            wire.headers(2 * n + 1, fields, end=False)
            self.assertEqual(wire.answer(2 * n + 1).status, 501, name)
        self.assertEqual(up.seen, [])
        until(lambda: [r for r in weir.access() if r.get("error.type") == "no_tunnel" and r["http.response.status_code"] == 501])
        wire.headers(21, connect(), end=False)
        wire.until(lambda: wire.message(21).fields)
        self.assertEqual(wire.message(21).status, 200)

    def test_an_answer_is_not_taken_for_a_tunnel(self):
        """The upstream ignores the Upgrade and answers: 2xx would tell the client that a tunnel is open. Nobody's fault but its own."""
        up = self.upstream()
        weir = self.start(one_pool(up.address, workers=1))
        wire = self.client(weir)
        for n, (path, status) in enumerate((("/m/hello", 502), ("/m/no-content", 502), ("/m/status/206", 502), ("/m/status/404", 404), ("/m/status/302", 302))):
            wire.headers(2 * n + 1, connect(path), end=False)
            answer = wire.answer(2 * n + 1)
            self.assertEqual(answer.status, status, path)
            if status == 502:
                self.assertIn(b"no_switch", answer.body)
        self.assertEqual(weir.metric("weir_upstream_errors_total") or 0, 0)

    def test_weirs_own_answer_is_not_either(self):
        up = self.upstream()
        config = one_pool(up.address, workers=1)
        config["routes"].insert(0, {"name": "own", "match": {"path": "/own"}, "respond": {"status": 200, "body": "ok"}})
        wire = self.client(self.start(config))
        wire.headers(1, connect("/own"), end=False)
        self.assertEqual(wire.answer(1).status, 501)

    def test_the_key_is_weirs_own(self):
        up = self.upstream()
        wire = self.client(self.start(one_pool(up.address, workers=1)))
        wire.headers(1, connect("/m/tunnel", ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==")), end=False)
        wire.until(lambda: wire.message(1).fields)
        self.assertEqual(wire.message(1).status, 200)
        self.assertNotEqual(up.seen[0].one("sec-websocket-key"), b"AAAAAAAAAAAAAAAAAAAAAA==")

    def test_a_reset_ends_the_tunnel_on_both_sides(self):
        up = self.upstream()
        weir = self.start(one_pool(up.address, workers=1))
        wire = self.client(weir)
        wire.headers(1, connect(), end=False)
        wire.until(lambda: wire.message(1).fields)
        wire.reset(1)
        until(lambda: weir.metric("weir_http_requests_in_flight") == 0)


if __name__ == "__main__":
    unittest.main()
