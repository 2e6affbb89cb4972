"""Clients that show certificates: who is let in, what upstreams are told of them, and that a session opens no other door."""

import hashlib
import json
import shutil
import socket
import ssl
import tempfile
import time
import unittest

from harness import Case, Shared, client_context, free_port, get, one_pool, run, until
from test_tls import make_cert

import h2

SUBJECT = b"${client.certificate.subject}"


def context(pair=None, version=None):
    made = client_context()
    if pair:
        made.load_cert_chain(*pair)
    if version:
        made.minimum_version = made.maximum_version = version
    return made


class Certificates(Shared):
    """Listeners with the same certificate: "must" requires a client's, "may" asks for it, "other" has other authorities, "open" asks nobody."""

    @classmethod
    def setUpClass(cls):
        cls.dir = cls.folder()
        cls.server = make_cert(cls.dir, "server", ["shop.example"])
        cls.ca = make_cert(cls.dir, "ca", ["ca.example"], ca=True)
        cls.other_ca = make_cert(cls.dir, "other-ca", ["other-ca.example"], ca=True)
        cls.alice = make_cert(cls.dir, "alice", ["alice"], issuer=cls.ca)
        cls.mallory = make_cert(cls.dir, "mallory", ["alice"], issuer=cls.other_ca)
        super().setUpClass()

    @classmethod
    def config(cls):
        cls.ports = {name: free_port() for name in ("must", "may", "other", "open")}
        settings = {"must": {"client_ca": cls.ca[0]}, "may": {"client_ca": cls.ca[0], "require": False}, "other": {"client_ca": cls.other_ca[0]}, "open": {}}
        config = one_pool(cls.up.address)
        config["listeners"] = {
            name: {"bind": ["127.0.0.1:%d" % port],
                   "tls": dict({"certificates": [{"cert": cls.server[0], "key": {"file": cls.server[1]}}]}, **settings[name])}
            for name, port in cls.ports.items()}
        config["routes"][0]["headers"] = {"set": {"x-client": SUBJECT.decode(), "x-print": "${client.certificate.sha256}"}}
        return config

    def connect(self, listener, pair=None, version=None, session=None, made=None):
        sock = socket.create_connection(("127.0.0.1", self.ports[listener]), 10)
        self.addCleanup(sock.close)
        sock = (made or context(pair, version)).wrap_socket(sock, server_hostname="shop.example", session=session)
        self.addCleanup(sock.close)
        return sock

    def asked(self, sock):
        sock.sendall(get())
        return sock.recv(65536)

    def check_refused(self, listener, pair=None, **options):
        """With TLS 1.3 the client is told after its own handshake."""
        before = self.weir.metric("weir_tls_handshake_errors_total")
        self.up.forget()
        with self.assertRaises(OSError):
            if not self.asked(self.connect(listener, pair, **options)):
                raise ConnectionResetError
        self.assertEqual(self.up.seen, [])
        until(lambda: self.weir.metric("weir_tls_handshake_errors_total") == before + 1)

    def test_a_certificate_of_the_authorities_comes_in(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for listener in ("must", "may"):
                self.up.forget()
                self.assertIn(b"200 OK", self.asked(self.connect(listener, self.alice, version)))
                self.assertEqual(self.up.seen[0].one("x-client"), b"CN=alice")
                with open(self.alice[0]) as pem:
                    print_ = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.read())).hexdigest().encode()
                self.assertEqual(self.up.seen[0].one("x-print"), print_)

    def test_without_one_only_where_it_may_be(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            self.check_refused("must", version=version)
            self.up.forget()
            self.assertIn(b"200 OK", self.asked(self.connect("may", version=version)))
            self.assertEqual(self.up.seen[0].one("x-client"), b"")

    def test_one_of_others_comes_in_nowhere(self):
        for listener in ("must", "may"):
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                self.check_refused(listener, self.mallory, version=version)
        self.check_refused("other", self.alice)

    def failures(self, reason):
        return self.weir.metric("weir_tls_handshake_errors_total", reason=reason)

    def test_the_reason_says_who_refused_whom(self):
        ours, theirs = self.failures("client_certificate_unknown_ca"), self.failures("unknown_ca")
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            self.check_refused("must", self.mallory, version=version)
        self.assertEqual((self.failures("client_certificate_unknown_ca"), self.failures("unknown_ca")), (ours + 2, theirs))
        missing = self.failures("client_certificate_missing")
        self.check_refused("must")
        self.assertEqual(self.failures("client_certificate_missing"), missing + 1)
        with self.assertRaises(ssl.SSLError):
            self.connect("may", made=ssl.create_default_context())
        until(lambda: self.failures("unknown_ca") == theirs + 1, 5)

    def test_a_refused_one_leaves_a_line_and_a_flood_not_one_each(self):
        def lines():
            said = self.weir.err()[self.said:].splitlines()
            return [json.loads(line) for line in said if "certificate was refused" in line]

        def told():
            self.check_refused("may", self.mallory)
            return lines()
        row = until(told, 10)[-1]
        self.assertEqual({key: row.get(key) for key in ("level", "listener", "client.address", "subject", "reason")},
                         {"level": "info", "listener": "may", "client.address": "127.0.0.1", "subject": "CN=alice", "reason": "unknown_ca"})
        begun, before = time.monotonic(), len(lines())
        for _ in range(30):
            self.check_refused("may", self.mallory)
        self.assertLessEqual(len(lines()) - before, int(time.monotonic() - begun) + 1)

    def test_what_a_client_says_of_itself_is_replaced(self):
        sock = self.connect("may")
        sock.sendall(get(x_client="CN=root", x_print="00"))
        sock.recv(65536)
        self.assertEqual((self.up.seen[0].one("x-client"), self.up.seen[0].one("x-print")), (b"", b""))

    def test_over_http_2_too(self):
        made = context(self.alice)
        made.set_alpn_protocols(["h2"])
        wire = h2.Wire(self.connect("must", made=made))
        wire.send(h2.PREFACE, h2.frame(h2.SETTINGS))
        wire.headers(1, h2.request("/", scheme="https"))
        self.assertEqual(wire.answer(1).status, 200)
        self.assertEqual(self.up.seen[0].one("x-client"), b"CN=alice")

    def resumed(self, first, second, pair, version):
        """A session of one listener, offered to another: (was it taken, the new connection)."""
        made = context(pair, version)
        sock = self.connect(first, made=made)
        self.asked(sock)
        session = sock.session
        sock.close()
        again = self.connect(second, session=session, made=made)
        return again.session_reused, again

    def test_a_session_goes_on_where_it_began(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            self.up.forget()
            was_reused, sock = self.resumed("must", "must", self.alice, version)
            self.assertTrue(was_reused)
            self.assertIn(b"200 OK", self.asked(sock))
            self.assertEqual([s.one("x-client") for s in self.up.seen], [b"CN=alice"] * 2)

    def test_a_session_opens_no_other_door(self):
        """All listeners have the same certificate and the same ring of ticket keys."""
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for first, second in (("open", "must"), ("may", "must"), ("open", "may"), ("must", "may")):
                with self.subTest(first=first, second=second, version=version):
                    was_reused, sock = self.resumed(first, second, self.alice, version)
                    self.assertFalse(was_reused)
            for first in ("open", "may"):       # nor without any certificate
                self.up.forget()
                with self.assertRaises(OSError):
                    if not self.asked(self.resumed(first, "must", None, version)[1]):
                        raise ConnectionResetError
                self.assertEqual(len(self.up.seen), 1)


class Reloads(Case):
    def test_authorities_are_exchanged_by_a_reload(self):
        with tempfile.TemporaryDirectory() as certs:
            server = make_cert(certs, "server", ["shop.example"])
            ca, other = (make_cert(certs, name, [name], ca=True) for name in ("ca", "other"))
            alice, bob = make_cert(certs, "alice", ["alice"], issuer=ca), make_cert(certs, "bob", ["bob"], issuer=other)
            up = self.upstream()
            tls = {"certificates": [{"cert": server[0], "key": {"file": server[1]}}], "client_ca": certs + "/clients.pem"}
            shutil.copy(ca[0], certs + "/clients.pem")
            weir = self.start(one_pool(up.address, listeners={"http": {"tls": tls}}))

            def comes_in(pair):
                try:
                    with weir.client(tls=context(pair), server_name="shop.example") as client:
                        return client.ask(get()).status == 200
                except Exception:
                    return False
            self.assertEqual((comes_in(alice), comes_in(bob)), (True, False))
            shutil.copy(other[0], certs + "/clients.pem")
            weir.reload()
            self.assertEqual((comes_in(alice), comes_in(bob)), (False, True))
            with open(certs + "/clients.pem", "a") as both, open(ca[0]) as first:
                both.write(first.read())
            weir.reload()
            self.assertEqual((comes_in(alice), comes_in(bob)), (True, True))
            for bad in ("", "nothing\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
                with open(certs + "/clients.pem", "w") as out:
                    out.write(bad)
                weir.reload(ok=False)
                self.assertIn("client_ca", weir.err())
                self.assertTrue(comes_in(alice))

    def test_what_check_says(self):
        with tempfile.TemporaryDirectory() as certs:
            server = make_cert(certs, "server", ["shop.example"])
            text = ("version: 1\nlisteners: {http: {bind: \"127.0.0.1:1\", tls: {certificates: [{cert: %s, key: {file: %s}}], %%s}}}\n"
                    "pools: {app: {endpoints: \"127.0.0.1:2\"}}\nroutes: [{pool: app}]\n" % server)
            done = run("check", "-", stdin=text % "require: true")
            self.assertEqual(done.returncode, 2)
            self.assertIn("\"client_ca\" is missing", done.stdout + done.stderr)
            done = run("check", "-", stdin=text % ("client_ca: %s/none.pem" % certs))
            self.assertEqual(done.returncode, 2)
            self.assertIn("none.pem", done.stdout + done.stderr)
            done = run("check", "-", stdin=text % ("client_ca: %s" % server[0]))
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
