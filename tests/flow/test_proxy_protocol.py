"""The PROXY protocol, both ways: who a balancer says the client is, and whom weir says it speaks for.

Headers are written and read here by hand. HAProxy and nginx stand in front and behind as they would at work.
"""

import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
import unittest

from harness import Case, Client, SLOW, Shared, client_context, free_port, get, one_pool, run, until, websocket
from test_tls import make_cert, tls_listener

import h2
import ports

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
TCP4, TCP6, UNIX, UNSPEC = 0x11, 0x21, 0x31, 0x00


def v1(text="TCP4 203.0.113.7 192.0.2.1 4321 443"):
    return b"PROXY %s\r\n" % text.encode()


def v2(client="203.0.113.7", port=4321, command=PROXY, family=None, tlvs=b"", checksum=False, spoil=0):
    if family is None:
        family = TCP6 if ":" in client else TCP4
    if family >> 4 == 1:
        body = socket.inet_aton(client) + socket.inet_aton("192.0.2.1") + struct.pack(">HH", port, 443)
    elif family >> 4 == 2:
        body = socket.inet_pton(socket.AF_INET6, client) + socket.inet_pton(socket.AF_INET6, "2001:db8::1") + struct.pack(">HH", port, 443)
    elif family >> 4 == 3:
        body = b"/run/client".ljust(108, b"\0") + b"/run/server".ljust(108, b"\0")
    else:
        body = b""
    body += tlvs
    if checksum:
        body += tlv(3, b"\0\0\0\0")
    head = SIGNATURE + bytes([command, family]) + struct.pack(">H", len(body)) + body
    if checksum:
        head = head[:-4] + struct.pack(">I", crc32c(head) ^ spoil)
    return head


def tlv(kind, value):
    return bytes([kind]) + struct.pack(">H", len(value)) + value


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


TRUST = {"trusted_proxies": ["127.0.0.1/32"]}


class Spoken(Shared):
    """The listener "any" takes both versions from 127.0.0.1, and so on."""

    @classmethod
    def config(cls):
        cls.ports = {name: free_port() for name in ("any", "v1", "v2", "far")}
        config = one_pool(cls.up.address)
        config["listeners"] = {
            name: {"bind": ["127.0.0.1:%d" % port], "proxy_protocol": name if name != "far" else "any",
                   "client_ip": TRUST if name != "far" else {"trusted_proxies": ["10.0.0.0/8"]}, "limits": {"header_timeout": "1s"}}
            for name, port in cls.ports.items()}
        config["listeners"]["unix"] = {"bind": ["unix:/tmp/weir-pp-%d.sock" % os.getpid()], "proxy_protocol": "any"}
        config["routes"].insert(0, {"name": "inside", "match": {"path_prefix": "/inside"}, "access": {"allow": ["203.0.113.0/24"]},
                                    "respond": {"status": 200, "body": "in\n"}})
        config["routes"].insert(0, {"name": "rare", "match": {"path_prefix": "/rare"}, "rate_limit": {"rate": "1/h", "burst": 1},
                                    "respond": {"status": 200, "body": "rare\n"}})
        return config

    def talk(self, header, listener="any", request=None):
        with Client(("127.0.0.1", self.ports[listener])) as client:
            return client.ask(header + (request or get()))

    def peer(self, header, listener="any"):
        """Whom the upstream was told of."""
        self.up.forget()
        answer = self.talk(header, listener)
        self.assertEqual((answer.status, self.up.faults), (200, []))
        return self.up.seen[0].one("x-forwarded-for").decode()

    def refused(self, reason, listener="any", name="weir_connections_refused_total", label="reason"):
        return self.weir.metric(name, listener=listener, **{label: reason}) or 0

    def check_refused(self, header, listener="any", reason="proxy_header"):
        before = self.refused(reason, listener)
        with Client(("127.0.0.1", self.ports[listener])) as client:
            client.send(header + get())
            self.assertTrue(client.is_closed(), header)
        self.assertEqual(self.refused(reason, listener), before + 1, header)

    # -- who the client is --

    def test_version_1_names_the_client(self):
        self.assertEqual(self.peer(v1()), "203.0.113.7")
        self.assertEqual(self.peer(v1("TCP6 2001:db8::7 2001:db8::1 4321 443")), "2001:db8::7")
        self.assertEqual(self.peer(v1("TCP6 ::ffff:203.0.113.8 2001:db8::1 0 65535")), "203.0.113.8")

    def test_version_2_names_the_client(self):
        self.assertEqual(self.peer(v2()), "203.0.113.7")
        self.assertEqual(self.peer(v2("2001:db8::7")), "2001:db8::7")
        self.assertEqual(self.peer(v2(tlvs=tlv(1, b"h2") + tlv(2, b"shop.example") + tlv(4, b"\0" * 40) + tlv(0xee, b""))), "203.0.113.7")

    def test_who_speaks_for_itself_is_the_balancer(self):
        for header in (v1("UNKNOWN"), v1("UNKNOWN ffff::1 ffff::2 1 2"), v2(command=LOCAL), v2(command=LOCAL, family=UNSPEC),
                       v2(family=UNSPEC), v2(family=0x12), v2(command=LOCAL, tlvs=b"\1\2")):
            with self.subTest(header=header):
                self.assertEqual(self.peer(header), "127.0.0.1")

    def test_a_client_of_a_unix_socket_has_no_address(self):
        self.up.forget()
        self.assertEqual(self.talk(v2(family=UNIX)).status, 200)
        self.assertEqual(self.up.seen[0].all("x-forwarded-for"), [])

    def test_a_balancer_may_come_over_a_unix_socket(self):
        with Client("/tmp/weir-pp-%d.sock" % os.getpid()) as client:
            client.ask(v2() + get())
        self.assertEqual(self.up.seen[0].one("x-forwarded-for"), b"203.0.113.7")

    def test_what_the_client_itself_says_is_not_believed(self):
        """127.0.0.1 is trusted, but it only carries the bytes of 203.0.113.7."""
        self.talk(v2(), request=get(x_forwarded_for="198.51.100.1"))
        self.assertEqual(self.up.seen[0].one("x-forwarded-for"), b"203.0.113.7")

    def test_a_trusted_client_behind_the_balancer_is_believed(self):
        self.talk(v2("127.0.0.1"), request=get("/believed", x_forwarded_for="198.51.100.1"))
        self.assertEqual(self.up.seen[0].one("x-forwarded-for"), b"198.51.100.1, 127.0.0.1")

    def test_access_and_limits_go_by_it(self):
        self.assertEqual(self.talk(v2("203.0.113.9"), request=get("/inside")).status, 200)
        self.assertEqual(self.talk(v2("198.51.100.9"), request=get("/inside")).status, 403)
        self.assertEqual([self.talk(v2(a), request=get("/rare")).status for a in ("203.0.113.1", "203.0.113.1", "203.0.113.2")], [200, 429, 200])

    def test_the_access_log_names_both(self):
        self.talk(v1("TCP4 203.0.113.66 192.0.2.1 1 2"))
        row = until(lambda: next((r for r in self.weir.access() if r["client.address"] == "203.0.113.66"), None))
        self.assertEqual(row["network.peer.address"], "127.0.0.1")

    def test_the_header_is_said_once_a_connection(self):
        with Client(("127.0.0.1", self.ports["any"])) as client:
            self.assertEqual(client.ask(v1() + get()).status, 200)
            self.assertEqual(client.ask(get()).status, 200)
            self.assertEqual([s.one("x-forwarded-for") for s in self.up.seen], [b"203.0.113.7"] * 2)
            self.assertEqual(client.ask(v1() + get()).status, 400)

    # -- how it comes --

    def test_it_may_come_in_pieces(self):
        for header in (v1(), v2(tlvs=tlv(4, b"x" * 30), checksum=True)):
            with self.subTest(header=header), Client(("127.0.0.1", self.ports["any"])) as client:
                client.send_bytewise(header + get())
                self.assertEqual(client.answer().status, 200)

    def test_a_long_one_may_come_over_several_reads(self):
        header = v2(tlvs=tlv(4, b"x" * 3900), checksum=True)
        with Client(("127.0.0.1", self.ports["any"])) as client:
            for at in range(0, len(header), 700):
                client.send(header[at:at + 700])
                time.sleep(0.01)
            self.assertEqual(client.ask(get()).status, 200)

    def test_http_2_may_follow(self):
        for header in (v1(), v2()):
            sock = socket.create_connection(("127.0.0.1", self.ports["any"]))
            self.addCleanup(sock.close)
            wire = h2.Wire(sock)
            wire.send(header + h2.PREFACE, h2.frame(h2.SETTINGS))
            self.up.forget()
            wire.headers(1, h2.request("/over-h2"))
            self.assertEqual(wire.answer(1).status, 200)
            self.assertEqual(self.up.seen[0].one("x-forwarded-for"), b"203.0.113.7")

    def test_a_tunnel_may_follow(self):
        with Client(("127.0.0.1", self.ports["any"])) as client:
            client.send(v2() + websocket())
            self.assertEqual(client.answer(upgrade=True).status, 101)
            client.send(b"ping")
            self.assertEqual(client.exactly(4), b"ping")

    # -- what is refused --

    def test_who_says_nothing_is_not_waited_for(self):
        before = self.refused("proxy_header", name="weir_clients_too_slow_total", label="at")
        for part in (b"", v1()[:20], v2()[:20]):
            with self.subTest(part=part), Client(("127.0.0.1", self.ports["any"])) as client:
                client.send(part)
                began = time.monotonic()
                self.assertTrue(client.is_closed())
                self.assertLess(time.monotonic() - began, 3 * SLOW)
        self.assertEqual(self.refused("proxy_header", name="weir_clients_too_slow_total", label="at"), before + 3)

    def test_a_balancer_that_only_connects_is_no_fault(self):
        before = self.refused("proxy_header")
        Client(("127.0.0.1", self.ports["any"])).close()
        self.assertEqual(self.talk(v1()).status, 200)
        self.assertEqual(self.refused("proxy_header"), before)

    def test_a_header_that_breaks_off_is(self):
        before = self.refused("proxy_header")
        with Client(("127.0.0.1", self.ports["any"])) as client:
            client.send(v2()[:20])
            time.sleep(0.05)
        until(lambda: self.refused("proxy_header") == before + 1)

    def test_strangers_are_sent_away(self):
        time.sleep(1.1)         # the log has at most one line a second
        self.check_refused(v2(), "far", "proxy_sender")
        self.assertIn("trusted_proxies", self.weir.err())

    def test_without_a_header_nothing_is_served(self):
        self.check_refused(b"")
        self.check_refused(h2.PREFACE)

    def test_each_version_alone(self):
        self.assertEqual(self.peer(v1(), "v1"), "203.0.113.7")
        self.assertEqual(self.peer(v2(), "v2"), "203.0.113.7")
        self.check_refused(v2(), "v1")
        self.check_refused(v1(), "v2")

    def test_malformed_lines(self):
        for text in ("TCP4 203.0.113.7 192.0.2.1 4321", "TCP4 203.0.113.7 192.0.2.1 4321 443 1", "TCP4  203.0.113.7 192.0.2.1 4321 443",
                     "TCP4 203.0.113.7 192.0.2.1 4321 443 ", "TCP4 2001:db8::7 2001:db8::1 4321 443", "TCP6 203.0.113.7 192.0.2.1 4321 443",
                     "TCP4 203.0.113.07 192.0.2.1 4321 443", "TCP4 203.0.113.7 192.0.2.1 04321 443", "TCP4 203.0.113.7 192.0.2.1 65536 443",
                     "TCP4 203.0.113.7 192.0.2.1 -1 443", "TCP4 203.0.113.256 192.0.2.1 1 443", "tcp4 203.0.113.7 192.0.2.1 1 443", "UDP4 203.0.113.7 192.0.2.1 1 443",
                     "", "TCP4", "UNKNOWNX", "TCP4 203.0.113.7\0 192.0.2.1 1 443", "TCP4 203.0.113.7 192.0.2.1 1 443\n", "UNKNOWN " + "x" * 100,
                     "TCP6 2001:db8::7 2001:db8::1 4321 443" + " " * 80):
            with self.subTest(text=text):
                self.check_refused(v1(text))
        self.check_refused(v1().replace(b"\r\n", b"\n"))
        self.check_refused(v1().lower())

    def test_malformed_blocks(self):
        short = SIGNATURE + bytes([PROXY, TCP4]) + struct.pack(">H", 11) + b"x" * 11
        for header in (v2(command=0x11), v2(command=0x22), v2(family=0x41), v2(family=0x13), short, v2(tlvs=b"\1"), v2(tlvs=b"\1\0"),
                       v2(tlvs=b"\1\0\5abcd"), v2(checksum=True, spoil=1), v2(tlvs=tlv(3, b"abc")), v2(checksum=True, tlvs=tlv(3, b"\0" * 4)),
                       v2(tlvs=tlv(4, b"x" * 4096)), SIGNATURE[:-1] + b"\r" + v2()[12:]):
            with self.subTest(header=header):
                self.check_refused(header)

    def test_a_right_checksum_is_right(self):
        self.assertEqual(self.peer(v2(checksum=True)), "203.0.113.7")
        self.assertEqual(self.peer(v2("2001:db8::9", tlvs=tlv(2, b"a.example"), checksum=True)), "2001:db8::9")

    def test_the_log_says_what_was_wrong(self):
        time.sleep(1.1)         # at most one line a second
        self.check_refused(v2(checksum=True, spoil=1))
        line = until(lambda: next((l for l in self.weir.err().splitlines() if "checksum" in l), None))
        self.assertIn("proxy_header", line)
        self.assertIn("127.0.0.1", line)


class BeforeTls(Shared):
    @classmethod
    def setUpClass(cls):
        cls.certs = cls.folder()
        cls.pair = make_cert(cls.certs, "shop", ["shop.example"])
        super().setUpClass()

    @classmethod
    def config(cls):
        listeners = tls_listener(cls.pair)
        listeners["http"].update(proxy_protocol="any", client_ip=TRUST, limits={"per_client": 2})
        return one_pool(cls.up.address, listeners=listeners)

    def connect(self, header, alpn=None, together=False):
        """`together`: the header leaves in one segment with the client's hello."""
        context = client_context()
        if alpn:
            context.set_alpn_protocols([alpn])
        sock = socket.create_connection(self.weir.address, 10)
        self.addCleanup(sock.close)
        if not together:
            sock.sendall(header)
            sock = context.wrap_socket(sock, server_hostname="shop.example")
            self.addCleanup(sock.close)
            return sock
        inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(inward, outward, server_hostname="shop.example")
        first = header
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(first + outward.read())
                first = b""
                inward.write(sock.recv(65536))
        tls.write(get())
        sock.sendall(outward.read())
        while True:
            try:
                return tls.read(65536)
            except ssl.SSLWantReadError:
                inward.write(sock.recv(65536))

    def ask(self, sock):
        sock.sendall(get())
        return sock.recv(65536)

    def test_the_header_stands_before_the_handshake(self):
        for header in (v1(), v2(checksum=True)):
            self.up.forget()
            self.assertIn(b"200 OK", self.ask(self.connect(header)))
            self.assertEqual(self.up.seen[0].one("x-forwarded-for"), b"203.0.113.7")
            self.assertEqual(self.up.seen[0].one("x-forwarded-proto"), b"https")

    def test_the_hello_may_come_with_it(self):
        self.assertIn(b"200 OK", self.connect(v2("203.0.113.20"), together=True))
        self.assertEqual(self.up.seen[0].one("x-forwarded-for"), b"203.0.113.20")

    def test_http_2_is_agreed_behind_it(self):
        sock = self.connect(v2("203.0.113.21"), "h2")
        self.assertEqual(sock.selected_alpn_protocol(), "h2")
        wire = h2.Wire(sock)
        wire.send(h2.PREFACE, h2.frame(h2.SETTINGS))
        wire.headers(1, h2.request("/", scheme="https"))
        self.assertEqual(wire.answer(1).status, 200)
        self.assertEqual(self.up.seen[0].one("x-forwarded-for"), b"203.0.113.21")

    def test_a_hello_without_header_is_closed(self):
        with self.assertRaises(OSError):
            self.connect(b"")

    def test_connections_are_counted_by_the_client_that_is_named(self):
        kept = [self.connect(v2("203.0.113.30")) for _ in range(2)]
        with self.assertRaises(OSError):
            self.connect(v2("203.0.113.30"))
        self.assertIn(b"200 OK", self.ask(self.connect(v2("203.0.113.31"))))
        for sock in kept:
            self.assertIn(b"200 OK", self.ask(sock))
            sock.close()
        self.assertEqual(self.weir.metric("weir_connections_refused_total", listener="http", reason="per_client"), 1)

        def again():
            try:
                return self.connect(v2("203.0.113.30"))
            except OSError:
                return None
        until(again)


class Config(Case):
    def test_who_may_send_headers_must_be_said(self):
        text = "version: 1\nlisteners: {http: {bind: \"127.0.0.1:1\", proxy_protocol: v2}}\npools: {app: {endpoints: \"127.0.0.1:2\"}}\nroutes: [{pool: app}]\n"
        done = run("check", "-", stdin=text)
        self.assertEqual(done.returncode, 2)
        self.assertIn("who may send PROXY headers is not said", done.stdout + done.stderr)
        done = run("check", "-", stdin=text.replace("proxy_protocol: v2", "proxy_protocol: v2, client_ip: {trusted_proxies: [\"10.0.0.0/8\"]}"))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        done = run("check", "-", stdin=text.replace("127.0.0.1:1", "unix:/tmp/x.sock"))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_a_reload_turns_it_on_and_off(self):
        up = self.upstream()
        weir = self.start(one_pool(up.address))
        self.assertEqual(weir.ask().status, 200)
        on = one_pool(up.address, listeners={"http": {"proxy_protocol": "any", "client_ip": TRUST}})
        weir.reload(on)
        self.assertEqual(weir.ask(v1() + get()).status, 200)
        with weir.client() as client:
            client.send(get())
            self.assertTrue(client.is_closed())
        weir.reload(one_pool(up.address))
        self.assertEqual(weir.ask().status, 200)


# ---- out ----

class Announced:
    """Reads the header of each connection, strictly, and carries the rest to another upstream."""

    def __init__(self, target):
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", free_port()))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.headers, self.faults, self.socks = [], [], []
        ports.serve_each(self.listener, self.serve)

    def serve(self, sock):
        self.socks.append(sock)
        data = b""
        while not self.whole(data):
            more = sock.recv(1)
            if not more:
                if data:
                    self.faults.append(data)
                return sock.close()
            data += more
        self.headers.append(self.read(data))
        host, port = self.target.rsplit(":", 1)
        other = socket.create_connection((host, int(port)))
        self.socks.append(other)
        threading.Thread(target=self.pump, args=(other, sock), daemon=True).start()
        self.pump(sock, other)

    @staticmethod
    def whole(data):
        if data.startswith(b"PROXY "):
            return data.endswith(b"\r\n")
        return len(data) >= 16 and len(data) == 16 + struct.unpack(">H", data[14:16])[0]

    def read(self, data):
        if data.startswith(b"PROXY "):
            return tuple(data[6:-2].decode().split(" "))
        assert data[:12] == SIGNATURE, data
        if data[12:14] == bytes([PROXY, TCP4]):
            return ("TCP4", socket.inet_ntoa(data[16:20]), socket.inet_ntoa(data[20:24])) + tuple(str(p) for p in struct.unpack(">HH", data[24:28]))
        if data[12:14] == bytes([PROXY, TCP6]):
            return ("TCP6", socket.inet_ntop(socket.AF_INET6, data[16:32]), socket.inet_ntop(socket.AF_INET6, data[32:48])) + tuple(
                str(p) for p in struct.unpack(">HH", data[48:52]))
        return ("LOCAL" if data[12] == LOCAL else "UNSPEC",)

    def pump(self, a, b):
        try:
            while True:
                data = a.recv(65536)
                if not data:
                    break
                b.sendall(data)
        except OSError:
            pass
        for sock in (a, b):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()
        for sock in self.socks:
            sock.close()


class Told(Case):
    def to(self, target, version="v2", pool=None, **more):
        door = Announced(target)
        self.addCleanup(door.close)
        self.addCleanup(lambda: self.assertEqual(door.faults, []))
        return door, self.start(one_pool(door.address, pool=dict({"send_proxy": version}, **(pool or {})), **more))

    def named(self, client, weir):
        return ("TCP4", "127.0.0.1", "127.0.0.1", str(client.sock.getsockname()[1]), str(weir.port))

    def test_the_upstream_is_told_who_the_client_is(self):
        up = self.upstream()
        for version in ("v1", "v2"):
            door, weir = self.to(up.address, version)
            with weir.client() as client:
                self.assertEqual(client.ask(get()).status, 200)
                self.assertEqual(door.headers, [self.named(client, weir)])

    def test_a_client_keeps_its_connection_and_shares_it_with_nobody(self):
        up = self.upstream()
        door, weir = self.to(up.address)
        with weir.client() as one, weir.client() as two:
            for client in (one, two, one, two, one):
                self.assertEqual(client.ask(get()).status, 200)
            self.assertEqual(door.headers, [self.named(one, weir), self.named(two, weir)])
        with weir.client() as three:
            self.assertEqual(three.ask(get()).status, 200)
            self.assertEqual(door.headers[2:], [self.named(three, weir)])

    def test_what_a_client_had_ends_with_it(self):
        up = self.upstream()
        door, weir = self.to(up.address)
        before = weir.fds()
        with weir.client() as client:
            self.assertEqual(client.ask(get()).status, 200)
            until(lambda: weir.fds() == before + 2)
        until(lambda: weir.fds() == before)

    def test_streams_of_one_client_share_streams_of_two_do_not(self):
        for protocol in ("http/1.1", "h2"):
            with self.subTest(protocol=protocol):
                if protocol == "h2":
                    up = h2.Upstream()
                    self.addCleanup(up.close)
                else:
                    up = self.upstream()
                door, weir = self.to(up.address, pool={"protocol": protocol})
                wires = [self.enter(h2.client(("127.0.0.1", weir.port))) for _ in range(2)]
                for stream in (1, 3, 5):
                    for wire in wires:
                        wire.headers(stream, h2.request("/m/hello" if protocol == "http/1.1" else "/"))
                        self.assertEqual(wire.answer(stream).status, 200)
                self.assertEqual([h[3] for h in door.headers], [str(w.sock.getsockname()[1]) for w in wires])

    def test_at_once_over_http_2_to_http_2(self):
        up = h2.Upstream()
        self.addCleanup(up.close)
        door, weir = self.to(up.address, pool={"protocol": "h2"})
        before = weir.fds()
        wire = self.enter(h2.client(("127.0.0.1", weir.port)))
        for stream in range(1, 41, 2):
            wire.headers(stream, h2.request("/%d" % stream))
        self.assertEqual({wire.answer(s).status for s in range(1, 41, 2)}, {200})
        self.assertEqual(len(door.headers), 1)
        wire.close()
        until(lambda: weir.fds() == before)

    def test_who_was_told_of_is_told_on(self):
        up = self.upstream()
        listeners = {"http": {"proxy_protocol": "any", "client_ip": TRUST}}
        for version in ("v1", "v2"):
            door, weir = self.to(up.address, version, listeners=listeners)
            for header, named in ((v2(), ("TCP4", "203.0.113.7", "192.0.2.1", "4321", "443")),
                                  (v2("2001:db8::7"), ("TCP6", "2001:db8::7", "2001:db8::1", "4321", "443")),
                                  (v1("TCP6 2001:db8::7 ::ffff:192.0.2.1 1 2"), ("TCP6", "2001:db8::7", "::ffff:192.0.2.1", "1", "2"))):
                del door.headers[:]
                self.assertEqual(weir.ask(header + get()).status, 200)
                self.assertEqual(door.headers, [named])
            del door.headers[:]
            with weir.client() as client:
                self.assertEqual(client.ask(v2(command=LOCAL) + get()).status, 200)
                self.assertEqual(door.headers, [self.named(client, weir)])

    def test_a_client_without_address_is_unknown(self):
        up = self.upstream()
        with tempfile.TemporaryDirectory() as directory:
            path = directory + "/s"
            for version, named in (("v1", ("UNKNOWN",)), ("v2", ("UNSPEC",))):
                door, weir = self.to(up.address, version, listeners={"http": {}, "unix": {"bind": ["unix:" + path]}})
                with Client(path) as client:
                    self.assertEqual(client.ask(get()).status, 200)
                self.assertEqual(door.headers, [named])
                weir.stop()

    def test_it_stands_before_tls(self):
        with tempfile.TemporaryDirectory() as certs:
            cert, key = make_cert(certs, "up", ["up.example"])
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert, key)
            up = self.upstream(tls=context)
            door, weir = self.to(up.address, pool={"tls": {"verify": "off"}})
            with weir.client() as client:
                self.assertEqual(client.ask(get()).status, 200)
                self.assertEqual(door.headers, [self.named(client, weir)])

    def test_checks_speak_for_themselves(self):
        up = self.upstream()
        for version, named in (("v1", ("UNKNOWN",)), ("v2", ("LOCAL",))):
            door, weir = self.to(up.address, version, pool={"health": {"path": "/m/hello", "interval": "50ms"}})
            until(lambda: len(door.headers) > 2)
            self.assertEqual(set(door.headers), {named})
            until(lambda: '"up"' in weir.admin("GET", "/v1/pools/app").text)

    def test_a_tunnel_is_told_of_too(self):
        up = self.upstream()
        door, weir = self.to(up.address)
        with weir.client() as client:
            client.send(websocket())
            self.assertEqual(client.answer(upgrade=True).status, 101)
            client.send(b"ping")
            self.assertEqual(client.exactly(4), b"ping")
            self.assertEqual(door.headers, [self.named(client, weir)])

    def test_a_reload_turns_it_on_and_off(self):
        """The endpoint stays the same; no connection of before may carry what came after."""
        up = self.upstream()
        door = Announced(up.address)
        self.addCleanup(door.close)
        with self.start(one_pool(door.address, pool={"send_proxy": "v1"})) as weir, weir.client() as client:
            self.assertEqual(client.ask(get()).status, 200)
            self.assertEqual(len(door.headers), 1)
            weir.reload(one_pool(door.address, pool={"send_proxy": "v2"}))
            self.assertEqual(client.ask(get()).status, 200)
            self.assertEqual(door.headers, [self.named(client, weir)] * 2)
            weir.reload(one_pool(door.address))
            client.send(get())      # nothing announces it any more
            until(lambda: len(door.socks) == 5)
            self.assertEqual(len(door.headers), 2)
            for sock in door.socks[4:]:
                sock.shutdown(socket.SHUT_RDWR)
            door.faults.clear()

    def test_load_leaves_nothing_behind(self):
        up = self.upstream()
        door, weir = self.to(up.address)
        before = weir.fds()

        def one():
            for _ in range(20):
                with weir.client() as client:
                    for _ in range(3):
                        assert client.ask(get()).status == 200
        threads = [threading.Thread(target=one) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(door.headers), 160)
        self.assertEqual(len(set(door.headers)), 160)
        until(lambda: weir.fds() == before)


# ---- real peers ----

class Daemon:
    def __init__(self, name, text, command):
        self.dir = tempfile.mkdtemp(prefix="weir-peer-")
        path = os.path.join(self.dir, name + ".conf")
        with open(path, "w") as out:
            out.write(text.replace("@DIR@", self.dir))
        self.process = subprocess.Popen([w.replace("@CONF@", path).replace("@DIR@", self.dir) for w in command], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def haproxy(text):
    return Daemon("haproxy", "defaults\n  mode http\n  timeout connect 1s\n  timeout client 10s\n  timeout server 10s\n" + text,
                  ["haproxy", "-db", "-f", "@CONF@"])


def nginx(server):
    return Daemon("nginx", "daemon off; worker_processes 1; pid @DIR@/pid; error_log @DIR@/error.log; events {}\n"
                  "http { access_log off; client_body_temp_path @DIR@/b; proxy_temp_path @DIR@/p; fastcgi_temp_path @DIR@/f; uwsgi_temp_path @DIR@/u;\n"
                  " scgi_temp_path @DIR@/s; server { " + server + " } }\n", ["nginx", "-p", "@DIR@", "-e", "@DIR@/err", "-c", "@CONF@"])


def answers(port, request=None):
    def ask():
        try:
            with Client(("127.0.0.1", port)) as client:
                return client.ask(request or get()).status == 200
        except Exception:
            return False
    return ask


@unittest.skipUnless(shutil.which("haproxy") and shutil.which("nginx"), "no haproxy or nginx here")
class RealPeers(Case):
    def test_haproxy_in_front(self):
        up = self.upstream()
        for option in ("send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority"):
            with self.subTest(option=option):
                weir = self.start(one_pool(up.address, listeners={"http": {"proxy_protocol": "any", "client_ip": TRUST}}))
                port = free_port()
                self.enter(haproxy("frontend f\n  bind 127.0.0.2:%d\n  unique-id-format %%ID\n  default_backend b\nbackend b\n"
                                   "  server a 127.0.0.1:%d %s check inter 100ms\n" % (port, weir.port, option)))
                until(lambda: self.through(port))
                up.forget()
                with Client(("127.0.0.2", port), source=("127.0.0.5", 0)) as client:
                    self.assertEqual(client.ask(get("/haproxy")).status, 200)
                self.assertEqual([s.one("x-forwarded-for") for s in up.seen if s.target == b"/haproxy"], [b"127.0.0.5"])
                self.assertEqual(weir.metric("weir_connections_refused_total", reason="proxy_header"), 0)

    def through(self, port):
        try:
            with Client(("127.0.0.2", port)) as client:
                return client.ask(get()).status == 200
        except Exception:
            return False

    def test_haproxy_in_front_of_tls_and_http_2(self):
        up = self.upstream()
        with tempfile.TemporaryDirectory() as certs:
            listeners = tls_listener(make_cert(certs, "shop", ["shop.example"]))
            listeners["http"].update(proxy_protocol="v2", client_ip=TRUST)
            weir = self.start(one_pool(up.address, listeners=listeners))
            port = free_port()
            self.enter(haproxy("listen f\n  mode tcp\n  bind 127.0.0.2:%d\n  server a 127.0.0.1:%d send-proxy-v2\n" % (port, weir.port)))

            def curl():
                return subprocess.run(["curl", "-sk", "--http2", "--interface", "127.0.0.5", "-w", "%{http_version} %{http_code}", "-o", "/dev/null",
                                       "https://127.0.0.2:%d/tls" % port], capture_output=True, text=True).stdout
            until(lambda: curl() == "2 200")
            self.assertEqual(up.seen[-1].one("x-forwarded-for"), b"127.0.0.5")

    def test_nginx_in_front(self):
        up = self.upstream()
        weir = self.start(one_pool(up.address, listeners={"http": {"proxy_protocol": "v1", "client_ip": TRUST}}))
        port = free_port()
        if not os.path.exists("/usr/lib/nginx/modules/ngx_stream_module.so"):
            self.skipTest("nginx without its stream module")
        self.enter(Daemon("nginx", "load_module /usr/lib/nginx/modules/ngx_stream_module.so; daemon off; worker_processes 1; pid @DIR@/pid;\n"
                          "error_log @DIR@/error.log; events {} stream { server { listen 127.0.0.2:%d; proxy_pass 127.0.0.1:%d; proxy_protocol on; } }\n"
                          % (port, weir.port), ["nginx", "-p", "@DIR@", "-e", "@DIR@/err", "-c", "@CONF@"]))
        until(lambda: self.through(port))
        with Client(("127.0.0.2", port), source=("127.0.0.5", 0)) as client:
            self.assertEqual(client.ask(get("/nginx")).status, 200)
        self.assertEqual(up.seen[-1].one("x-forwarded-for"), b"127.0.0.5")

    def test_behind_nginx_and_haproxy_accept_what_weir_sends(self):
        ports = {name: free_port() for name in ("nginx", "haproxy")}
        self.enter(nginx("listen 127.0.0.1:%d proxy_protocol; location / { return 200 \"$proxy_protocol_addr $proxy_protocol_port\"; }" % ports["nginx"]))
        self.enter(haproxy("frontend f\n  bind 127.0.0.1:%d accept-proxy\n  http-request return status 200 content-type text/plain "
                           "lf-string \"%%[src] %%[src_port]\"\n" % ports["haproxy"]))
        for name, port in ports.items():
            until(answers(port, v1() + get()))
            for version in ("v1", "v2"):
                with self.subTest(peer=name, version=version):
                    weir = self.start(one_pool("127.0.0.1:%d" % port, pool={"send_proxy": version, "health": {"path": "/", "interval": "50ms"}}))
                    with weir.client(source=("127.0.0.5", 0)) as client:
                        said = ("127.0.0.5 %d" % client.sock.getsockname()[1]).encode()
                        self.assertEqual([client.ask(get()).body for _ in range(3)], [said] * 3)
                    time.sleep(0.2)     # checks go on well
                    self.assertEqual(weir.ask().status, 200)
                    self.assertNotIn("endpoint is down", weir.err())


if __name__ == "__main__":
    unittest.main()
