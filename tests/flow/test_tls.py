"""TLS on both sides, with OpenSSL's own tools and Python's client."""

import hashlib
import os
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
import unittest

from harness import Case, SLOW, Shared, Weir, client_context, get, one_pool, until, upstream as fake, websocket


def make_cert(directory, name, hosts, days=365, issuer=None, ca=False):
    """A key and a certificate by OpenSSL; returns their paths."""
    key, cert = os.path.join(directory, name + ".key"), os.path.join(directory, name + ".crt")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert,
               "-days", str(days), "-subj", "/CN=" + hosts[0], "-addext", "subjectAltName=" + ",".join("IP:" + h if h[0].isdigit() else "DNS:" + h for h in hosts)]
    command += ["-addext", "basicConstraints=critical,CA:" + ("TRUE" if ca else "FALSE")]
    if issuer:
        command += ["-CA", issuer[0], "-CAkey", issuer[1]]
    subprocess.run(command, check=True, capture_output=True)
    os.chmod(key, 0o600)
    return cert, key


def tls_listener(*certs, **more):
    return {"http": {"tls": dict({"certificates": [{"cert": c, "key": {"file": k}} for c, k in certs]}, **more)}}


class TlsListener(Shared):
    """Certificates for shop.example and *.wild.example, the first is the default."""

    limits = {}

    @classmethod
    def setUpClass(cls):
        cls.certs = cls.folder()
        cls.shop = make_cert(cls.certs, "shop", ["shop.example", "www.shop.example"])
        cls.wild = make_cert(cls.certs, "wild", ["*.wild.example"])
        cls.exact = make_cert(cls.certs, "exact", ["exact.wild.example"])
        super().setUpClass()

    @classmethod
    def config(cls):
        return one_pool(cls.up.address, listeners=tls_listener(cls.shop, cls.wild, cls.exact))

    def connect(self, server_name="shop.example", session=None, **options):
        context = options.pop("context", None) or client_context(**options)
        client = self.weir.client()
        client.sock = context.wrap_socket(client.sock, server_hostname=server_name, session=session)
        return client

    def names(self, server_name):
        """The names in the certificate that answers for this SNI."""
        with self.connect(server_name) as client:
            der = client.sock.getpeercert(True)
        text = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-ext", "subjectAltName"], input=der, capture_output=True).stdout.decode()
        return text


class Clients(TlsListener):

    def curl(self, *args):
        done = subprocess.run(["curl", "-sk", "--max-time", "10", "-o", "/dev/null", "-w", "%{http_code} %{http_version} %{ssl_verify_result}",
                               *args, "https://127.0.0.1:%d/x" % self.weir.port], capture_output=True, text=True)
        return done.returncode, done.stdout

    def test_curl(self):
        code, said = self.curl()
        self.assertEqual((code, said[:3]), (0, "200"))

    def test_curl_over_tls_1_2_and_1_3(self):
        for args in (["--tls-max", "1.2", "--tlsv1.2"], ["--tlsv1.3"]):
            self.assertEqual(self.curl("--http1.1", *args)[0], 0, args)

    def test_the_certificate_verifies(self):
        done = subprocess.run(["curl", "-s", "--max-time", "10", "--cacert", self.shop[0], "--resolve", "shop.example:%d:127.0.0.1" % self.weir.port,
                               "https://shop.example:%d/x" % self.weir.port], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_both_versions_are_spoken(self):
        for version, word in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            with self.connect(maximum_version=version, minimum_version=version) as client:
                self.assertEqual(client.sock.version(), word)
                self.assertEqual(client.ask(get()).status, 200)
        self.assertEqual(self.up.seen[0].one("x-forwarded-proto"), b"https")

    def test_tls_1_1_is_refused(self):
        done = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % self.weir.port, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
                              input=b"", capture_output=True, timeout=20 * SLOW)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(self.up.seen, [])

    def test_the_certificate_is_chosen_by_name(self):
        for sni, expected in (("shop.example", "DNS:shop.example"), ("www.shop.example", "DNS:shop.example"), ("a.wild.example", "DNS:*.wild.example"),
                              ("exact.wild.example", "DNS:exact.wild.example"), ("unknown.example", "DNS:shop.example"), (None, "DNS:shop.example"), ("SHOP.example", "DNS:shop.example")):
            with self.subTest(sni=sni):
                self.assertIn(expected, self.names(sni))

    def test_alpn_agrees_on_http_1_1(self):
        context = client_context()
        context.set_alpn_protocols(["http/1.1"])
        with self.connect(context=context) as client:
            self.assertEqual(client.sock.selected_alpn_protocol(), "http/1.1")
            self.assertEqual(client.ask(get()).status, 200)

    def test_alpn_of_strangers_is_refused_or_nothing(self):
        context = client_context()
        context.set_alpn_protocols(["spdy/3"])
        try:
            with self.connect(context=context) as client:
                self.assertIsNone(client.sock.selected_alpn_protocol())
        except (ssl.SSLError, OSError):
            pass

    def test_large_bodies_both_ways(self):
        body = fake.pattern(3 << 20)
        with self.connect() as client:
            answer = client.ask(b"POST /m/checksum HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            self.assertEqual(answer.json(), {"length": len(body), "sha256": hashlib.sha256(body).hexdigest()})
            answer = client.ask(get("/m/big/20000000"))
            self.assertEqual(hashlib.sha256(answer.body).hexdigest(), fake.big_sum(20000000))

    def test_pipelining_and_bytes_in_one_record(self):
        with self.connect() as client:
            client.send(b"".join(get("/%d" % i) for i in range(50)))
            for i in range(50):
                self.assertEqual(client.answer().json()["target"], "/%d" % i)

    def test_a_tunnel(self):
        with self.connect() as client:
            client.send(websocket())
            self.assertEqual(client.answer(upgrade=True).status, 101)
            for size in (1, 100, 16384, 100000):
                client.send(b"x" * size)
                self.assertEqual(client.exactly(size), b"x" * size)

    def test_the_end_is_said(self):
        """Connection: close ends with close_notify, so that truncation can be told."""
        context = client_context()
        context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
        with self.connect(context=context) as client:
            self.assertEqual(client.ask(get("/", connection="close")).status, 200)
            self.assertEqual(client.sock.recv(100), b"")


class Attacks(TlsListener):

    def raw(self, data, limit=12):
        """Clear bytes to the TLS port; returns what came back until the end."""
        with self.weir.client(timeout=limit) as client:
            client.send(data)
            try:
                while client.fill():
                    pass
            except socket.timeout:
                self.fail("the connection was kept")
            return client.buf

    def test_plain_http_is_not_answered_from_the_upstream(self):
        said = self.raw(get("/secret"))
        self.assertNotIn(b"200", said.split(b"\r\n")[0])
        self.assertEqual(self.up.seen, [])

    def test_garbage_ends_the_connection(self):
        for data in (b"\x00" * 100, b"\x16\x03\x01\xff\xff" + b"\x00" * 100, b"SSH-2.0-x\r\n", b"\x80\x2e\x01\x03\x01" + b"\x00" * 50):
            self.raw(data)
        with self.connect() as client:
            self.assertEqual(client.ask(get()).status, 200)

    def failures(self, reason):
        return self.weir.metric("weir_tls_handshake_errors_total", reason=reason)

    def test_what_failed_is_counted_by_its_reason(self):
        def distrusts():
            try:
                self.connect(context=ssl.create_default_context(cafile=None))
            except ssl.SSLError:
                pass

        def offers_nothing_we_speak():
            context = client_context()
            context.set_alpn_protocols(["smtp"])
            try:
                self.connect(context=context)
            except (ssl.SSLError, OSError):
                pass

        for reason, attempt in (("unknown_ca", distrusts), ("no_application_protocol", offers_nothing_we_speak),
                                ("plaintext", lambda: self.raw(get("/plain")))):
            before = self.failures(reason)
            attempt()
            until(lambda: self.failures(reason) == before + 1, 5, "one more " + reason)

    def test_who_leaves_within_the_handshake_is_counted_however_it_leaves(self):
        def leave(by_reset):
            with self.weir.client() as client:
                client.send(b"\x16\x03\x01\x01\x00\x01")      # the beginning of a hello
                if by_reset:
                    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        for by_reset in (True, False):
            before = self.failures("client_gone")
            leave(by_reset)
            until(lambda: self.failures("client_gone") == before + 1, 10, "one more, by_reset %s" % by_reset)

    def test_renegotiation_is_refused(self):
        done = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % self.weir.port, "-tls1_2", "-quiet", "-no_ign_eof"],
                              input=b"R\n", capture_output=True, timeout=20 * SLOW)
        self.assertNotIn(b"HTTP/1.1 200", done.stdout)
        with self.connect() as client:
            self.assertEqual(client.ask(get()).status, 200)

    def test_a_handshake_byte_by_byte(self):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client_context().wrap_bio(incoming, outgoing, server_hostname="shop.example")
        with self.weir.client() as client:
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    for byte in outgoing.read():
                        client.send(bytes([byte]))
                    self.assertTrue(client.fill())
                    incoming.write(client.buf)
                    client.buf = b""
            client.send(outgoing.read())
            tls.write(get("/slow"))
            for byte in outgoing.read():
                client.send(bytes([byte]))
            self.assertTrue(self.up.wait(lambda: self.up.complete()))


class HandshakesInTime(TlsListener):

    @classmethod
    def config(cls):
        config = super().config()
        config["listeners"]["http"]["limits"] = {"header_timeout": "1s"}
        return config

    def test_a_handshake_that_does_not_go_on_ends(self):
        for start in (b"", b"\x16\x03\x01"):
            with self.weir.client() as client:
                if start:
                    client.send(start)
                self.assertTrue(client.is_closed(5))
        self.assertEqual(self.weir.metric("weir_tls_handshake_errors_total", reason="timeout"), 2)


class Resumption(TlsListener):

    def resume(self, context, session):
        with self.connect(context=context, session=session) as client:
            self.assertEqual(client.ask(get()).status, 200)
            return client.sock.session_reused, client.sock.session

    def test_sessions_are_resumed_before_and_after_sighup(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with self.subTest(version=version):
                context = client_context(maximum_version=version)
                reused, session = self.resume(context, None)
                self.assertFalse(reused)
                reused, session = self.resume(context, session)
                self.assertTrue(reused, "not resumed")
                self.weir.reload()
                reused, session = self.resume(context, session)
                self.assertTrue(reused, "not resumed after SIGHUP")

    def test_the_metrics_tell_resumed_from_full(self):
        context = client_context()
        session = self.resume(context, None)[1]
        self.resume(context, session)
        self.assertGreater(until(lambda: self.weir.metric("weir_tls_handshakes_total", resumed="true") or self.weir.metric("weir_tls_handshakes_total", resumed="1")
                                 or self.weir.metric("weir_tls_handshakes_total", resumed="yes"), 3), 0)


class Swaps(TlsListener):

    def test_a_new_certificate_is_shown_after_sighup_and_live_connections_go_on(self):
        with self.connect() as old:
            before = old.sock.getpeercert(True)
            self.assertEqual(old.ask(get()).status, 200)
            renewed = make_cert(self.certs, "renewed", ["shop.example"])
            shutil.copy(renewed[0], self.shop[0])
            shutil.copy(renewed[1], self.shop[1])
            self.weir.reload()
            with self.connect() as new:
                self.assertNotEqual(new.sock.getpeercert(True), before)
                self.assertEqual(new.ask(get()).status, 200)
            self.assertEqual(old.ask(get()).status, 200)

    def test_a_key_that_does_not_match_changes_nothing(self):
        with self.connect("a.wild.example") as client:
            before = client.sock.getpeercert(True)
        key = open(self.wild[1]).read()
        try:
            shutil.copy(self.exact[1], self.wild[1])
            self.weir.reload(ok=False)
            self.assertRegex(self.weir.err(), r"wild\.(key|crt)")
            with self.connect("a.wild.example") as client:
                self.assertEqual(client.sock.getpeercert(True), before)
                self.assertEqual(client.ask(get()).status, 200)
        finally:
            with open(self.wild[1], "w") as out:
                out.write(key)
        self.weir.reload()

    def test_the_metrics_name_the_end_of_each_certificate(self):
        self.assertGreater(self.weir.metric("weir_tls_certificate_not_after_timestamp_seconds"), 1e9)


class ToUpstreams(Case):

    def setUp(self):
        self.certs = tempfile.mkdtemp(prefix="weir-certs-")
        self.addCleanup(shutil.rmtree, self.certs, True)
        self.cert = make_cert(self.certs, "up", ["up.example", "127.0.0.1"])

    def secure(self, mood="echo"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.cert)
        return self.upstream(mood, tls=context)

    def test_a_self_signed_upstream_is_refused_by_default(self):
        up = self.secure()
        weir = self.start(one_pool(up.address, pool={"tls": {"verify": "system"}}))
        self.assertEqual(weir.ask().status, 502)
        self.assertEqual(up.seen, [])
        self.assertGreater(weir.metric("weir_upstream_errors_total"), 0)

    def test_a_known_authority_is_believed(self):
        up = self.secure()
        weir = self.start(one_pool(up.address, pool={"tls": {"verify": "file", "ca": self.cert[0], "server_name": "up.example"}}))
        for _ in range(5):
            self.assertEqual(weir.ask().status, 200)
        self.assertEqual(up.connections, 1)

    def test_another_name_is_refused(self):
        up = self.secure()
        weir = self.start(one_pool(up.address, pool={"tls": {"verify": "file", "ca": self.cert[0], "server_name": "other.example"}}))
        self.assertEqual(weir.ask().status, 502)
        self.assertEqual(up.seen, [])

    def test_the_address_itself_is_verified_without_a_name(self):
        up = self.secure()
        weir = self.start(one_pool(up.address, pool={"tls": {"verify": "file", "ca": self.cert[0]}}))
        self.assertEqual(weir.ask().status, 200)

    def test_no_verification_when_told_so(self):
        up = self.secure()
        weir = self.start(one_pool(up.address, pool={"tls": {"verify": "off"}}))
        self.assertEqual(weir.ask().status, 200)

    def test_an_upstream_that_speaks_clear_is_502_with_none_of_its_bytes(self):
        up = self.upstream("hello")
        weir = self.start(one_pool(up.address, pool={"tls": {"verify": "off"}}))
        answer = weir.ask()
        self.assertEqual(answer.status, 502)
        self.assertNotIn(b"hello", answer.body)

    def test_bodies_both_ways(self):
        up = self.secure()
        weir = self.start(one_pool(up.address, pool={"tls": {"verify": "off"}}))
        body = fake.pattern(2 << 20)
        with weir.client() as client:
            answer = client.ask(b"POST /m/checksum HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            self.assertEqual(answer.json()["sha256"], hashlib.sha256(body).hexdigest())
            answer = client.ask(get("/m/big/5000000"))
            self.assertEqual(hashlib.sha256(answer.body).hexdigest(), fake.big_sum(5000000))

    def test_a_truncated_answer_looks_truncated(self):
        up = self.secure()
        weir = self.start(one_pool(up.address, pool={"tls": {"verify": "off"}}))
        for mood in ("truncated-cl", "truncated-chunked"):
            answer = weir.ask(get("/m/" + mood))
            self.assertTrue(answer.status == 502 or answer.broken, answer)


class Misfortunes(Case):

    def test_a_missing_certificate_is_named(self):
        up = self.upstream("hello")
        weir = Weir(one_pool(up.address, listeners=tls_listener(("/nonexistent/a.crt", "/nonexistent/a.key"))), wait=False)
        try:
            self.assertEqual(weir.process.wait(10 * SLOW), 2)
            self.assertIn("/nonexistent/a.", weir.err())
        finally:
            weir.kill()
            weir.clean()


del TlsListener

if __name__ == "__main__":
    unittest.main()
