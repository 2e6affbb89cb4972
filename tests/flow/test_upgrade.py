"""Tunnels: only after the upstream's 101, only where the request asked."""

import socket
import struct
import time
import unittest

from harness import Case, Closed, Shared, get, one_pool, until, websocket

import h2


def open_tunnel(client, request=None):
    client.send(request or websocket())
    answer = client.answer(upgrade=True)
    assert answer.status == 101, answer
    return answer


def say(client, data):
    client.send(data)
    return client.exactly(len(data))


class Tunnels(Shared):

    def test_a_websocket_is_carried_both_ways(self):
        with self.weir.client() as client:
            answer = open_tunnel(client)
            self.assertEqual(answer.one("upgrade").lower(), "websocket")
            self.assertEqual(answer.one("connection").lower(), "upgrade")
            self.assertEqual(answer.one("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
            for i in range(100):
                data = b"frame %d " % i * (i + 1)
                self.assertEqual(say(client, data), data)
        seen = self.up.seen[0]
        self.assertEqual((seen.one("upgrade").lower(), seen.one("connection").lower()), (b"websocket", b"upgrade"))

    def test_bytes_behind_the_request_arrive_after_the_101(self):
        with self.weir.client() as client:
            client.send(websocket() + b"early")
            self.assertEqual(client.answer(upgrade=True).status, 101)
            self.assertEqual(client.exactly(5), b"early")

    def test_a_megabyte_each_way(self):
        with self.weir.client() as client:
            open_tunnel(client)
            block = bytes(range(256)) * 256
            for _ in range(16):
                self.assertEqual(say(client, block), block)

    def test_a_half_close_is_carried_and_the_rest_still_arrives(self):
        with self.weir.client() as client:
            open_tunnel(client)
            self.assertEqual(say(client, b"hello"), b"hello")
            client.half_close()
            self.assertEqual(client.exactly(3), b"bye")
            self.assertTrue(client.is_closed())

    def test_the_upstreams_end_ends_the_client(self):
        with self.weir.client() as client:
            open_tunnel(client)
            began = time.monotonic()
            self.up.drop_connections()
            client.sock.settimeout(3)
            while client.fill():
                pass
            self.assertLess(time.monotonic() - began, 2)

    def test_the_clients_end_ends_the_upstream(self):
        with self.weir.client() as client:
            open_tunnel(client)
            self.assertTrue(self.up.wait(lambda: self.up.peers))
        self.assertTrue(self.up.wait(lambda: not self.up.peers, 3), "the upstream's end was kept")

    def test_a_refused_upgrade_leaves_clean_http(self):
        with self.weir.client() as client:
            answer = client.ask(websocket("/m/refuse-upgrade"))
            self.assertEqual((answer.status, answer.body), (426, b"no\n"))
            try:
                self.assertEqual(client.ask(get("/after")).json()["target"], "/after")
            except Closed:
                pass
        self.assertEqual(self.weir.ask(get("/other")).json()["target"], "/other")

    def test_a_request_behind_a_refused_upgrade_is_http(self):
        """Not raw bytes for the upstream: two requests, two answers, in order."""
        with self.weir.client() as client:
            client.send(websocket("/m/hello") + get("/second"))
            self.assertEqual(client.answer().body, b"hello\n")
            try:
                self.assertEqual(client.answer().json()["target"], "/second")
            except Closed:
                pass
        self.assertEqual(self.up.faults, [])

    def test_a_tunnel_counts_as_one(self):
        with self.weir.client() as client:
            open_tunnel(client)
            until(lambda: self.weir.metric("weir_connections", state="tunnel") == 1 or self.weir.metric("weir_connections", state="tunnels") == 1, 3,
                  "one tunnel in weir_connections")

    def test_tunnels_that_end_in_any_way_count_no_more(self):
        def tunnels():
            return (self.weir.metric("weir_connections", state="tunnel") or 0) + (self.weir.metric("weir_connections", state="tunnels") or 0)
        for by_reset in (False, True):
            client = self.weir.client()
            open_tunnel(client)
            until(lambda: tunnels() == 1, 3, "one tunnel")
            if by_reset:
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            until(lambda: tunnels() == 0, 3, "no tunnel")

    def test_a_tunnels_connection_is_not_used_again(self):
        with self.weir.client() as client:
            open_tunnel(client)
        self.assertTrue(self.up.wait(lambda: not self.up.peers, 3))
        for _ in range(5):
            self.assertEqual(self.weir.ask(get("/x")).json()["target"], "/x")
        self.assertEqual(self.up.faults, [])


class Permission(Shared):
    """upgrade: [] switches it off for a route."""

    @classmethod
    def config(cls):
        config = one_pool(cls.up.address)
        config["routes"].insert(0, {"name": "none", "match": {"host": "none"}, "upgrade": [], "pool": "app"})
        config["routes"].insert(0, {"name": "other", "match": {"host": "other"}, "upgrade": ["websocket", "other"], "pool": "app"})
        return config

    def test_a_route_without_upgrades_forwards_plain_http_or_refuses(self):
        answer = self.ask(websocket("/x", host="none"))
        if answer.status == 200:
            self.assertEqual(self.up.seen[0].all("upgrade"), [])
        else:
            self.assertIn(answer.status, (400, 403, 426, 501))

    def test_another_protocol_needs_its_word(self):
        def ask(host):
            return get("/m/tunnel", host=host, connection="Upgrade", upgrade="my-protocol")
        with self.weir.client() as client:
            client.send(ask("t"))
            try:
                self.assertNotEqual(client.answer(upgrade=True).status, 101)
            except Closed:
                pass
        with self.weir.client() as client:
            client.send(ask("other"))
            self.assertEqual(client.answer(upgrade=True).status, 101)
            self.assertEqual(say(client, b"x"), b"x")


class Answers(Shared):
    """A 101 answers what was asked, or it is no answer: 502, the pool's fault, and no byte behind it passes."""

    GOOD = "connection: upgrade|upgrade: websocket|sec-websocket-accept: %A|"

    @classmethod
    def config(cls):
        config = one_pool(cls.up.address)
        config["routes"].insert(0, {"name": "other", "match": {"host": "other"}, "upgrade": ["websocket", "other"], "pool": "app"})
        return config

    def target(self, lines):
        return "/m/switch/" + lines.replace("|", "\r\n").encode().hex()

    def refused(self, request):
        before = self.weir.metric("weir_upstream_errors_total", reason="protocol") or 0
        with self.weir.client() as client:
            client.send(request)
            answer = client.answer(upgrade=True)
            self.assertEqual(answer.status, 502, answer)
            self.assertIn(b"bad_switch", answer.body)
        until(lambda: self.weir.metric("weir_upstream_errors_total", reason="protocol") == before + 1, 5, "an error of the endpoint's")
        self.assertTrue(self.up.wait(lambda: not self.up.peers, 3), "the upstream's connection was kept")

    def switched(self, request):
        with self.weir.client() as client:
            client.send(request)
            answer = client.answer(upgrade=True)
            self.assertEqual(answer.status, 101, answer)
            self.assertEqual(say(client, b"x"), b"x")
            return answer

    def test_what_does_not_answer_a_websocket(self):
        for lines in ("connection: upgrade|upgrade: h2c|sec-websocket-accept: %A|", "connection: upgrade|sec-websocket-accept: %A|",
                      "upgrade: websocket|sec-websocket-accept: %A|", "connection: upgrade|upgrade: websocket|",
                      "connection: upgrade|upgrade: websocket|sec-websocket-accept: x|", self.GOOD + "sec-websocket-accept: %A|",
                      self.GOOD + "sec-websocket-protocol: chat|", self.GOOD + "upgrade: h2c|", "connection: upgrade|upgrade: websocket, h2c|sec-websocket-accept: %A|",
                      "connection: upgrade|upgrade:|sec-websocket-accept: %A|", "connection: close|upgrade: websocket|sec-websocket-accept: %A|", ""):
            with self.subTest(lines=lines):
                self.refused(websocket(self.target(lines)))
        until(lambda: [r for r in self.weir.access() if r.get("error.type") == "bad_switch"])

    def test_a_subprotocol_is_one_of_those_offered(self):
        offered = {"sec_websocket_protocol": "soap, chat"}
        answer = self.switched(websocket(self.target(self.GOOD + "sec-websocket-protocol: chat|"), **offered))
        self.assertEqual(answer.one("sec-websocket-protocol"), "chat")
        self.switched(websocket(self.target(self.GOOD), **offered))
        for lines in ("sec-websocket-protocol: Chat|", "sec-websocket-protocol: soap, chat|", "sec-websocket-protocol: other|",
                      "sec-websocket-protocol: soap|sec-websocket-protocol: chat|"):
            with self.subTest(lines=lines):
                self.refused(websocket(self.target(self.GOOD + lines), **offered))

    def test_a_request_with_two_keys_is_no_websocket(self):
        """The upstream could answer either, and would be blamed for the other one."""
        bad = lambda: self.weir.metric("weir_upstream_errors_total", reason="protocol")
        before = bad()
        request = websocket("/hello").replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
        answer = self.weir.ask(request)
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.asked_for("/hello")[0].all("upgrade"), [])
        self.assertEqual(bad(), before)

    def test_case_does_not_matter(self):
        self.switched(websocket(self.target("Connection: keep-alive, UPGRADE|Upgrade: WebSocket|Sec-WebSocket-Accept: %A|")))

    def test_only_what_the_route_allows_is_offered(self):
        def ask(host, offer, lines):
            return get(self.target(lines), host=host, connection="Upgrade", upgrade=offer, sec_websocket_key="dGhlIHNhbXBsZSBub25jZQ==")
        other = "connection: upgrade|upgrade: my-protocol|"
        self.refused(ask("t", "websocket, my-protocol", other))
        self.assertEqual(self.up.seen[-1].one("upgrade"), b"websocket")
        self.switched(ask("other", "websocket, h2c, my-protocol", other))
        self.assertEqual(self.up.seen[-1].one("upgrade"), b"websocket, my-protocol")
        self.refused(ask("other", "my-protocol, h2c", "connection: upgrade|upgrade: h2c|"))
        self.refused(ask("other", "my-protocol", self.GOOD))

    def test_an_extended_connect_hears_the_same(self):
        wire = self.enter(h2.client(("127.0.0.1", self.weir.port)))
        for n, (lines, status) in enumerate((("connection: upgrade|upgrade: h2c|sec-websocket-accept: x|", 502), ("connection: upgrade|upgrade: websocket|sec-websocket-accept: x|", 502),
                                             (self.GOOD + "sec-websocket-protocol: chat|", 502), (self.GOOD, 200))):
            wire.headers(2 * n + 1, [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "t"), (":path", self.target(lines)),
                                     ("sec-websocket-version", "13")], end=False)
            wire.until(lambda: wire.message(2 * n + 1).fields)
            self.assertEqual(wire.message(2 * n + 1).status, status, lines)


class Survival(Case):

    def test_a_tunnel_survives_20_reloads(self):
        up = self.upstream("echo")
        weir = self.start(one_pool(up.address))
        with weir.client() as client:
            open_tunnel(client)
            for i in range(20):
                weir.reload(one_pool(up.address, pool={"timeouts": {"first_byte": "%ds" % (i + 1)}}))
                self.assertEqual(say(client, b"still %d" % i), b"still %d" % i)
        self.assertTrue(up.wait(lambda: not up.peers or all(p.nth for p in up.peers)))


if __name__ == "__main__":
    unittest.main()
