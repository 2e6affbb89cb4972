"""The admin API over TLS: who gets in by a certificate, what a reload changes, and how many may wait at the door."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import unittest

from harness import Case, SLOW, WEIR, blue_green, free_port, run, until

CHANGE = {"weights": {"blue": 90, "green": 10}, "reason": "by certificate"}
PATH = "/v1/splits/shop/weights"


def make_pair(directory, name, subject, issuer=None, names="IP:127.0.0.1,DNS:localhost", days=365):
    """A key and a certificate of that subject; issued by a pair, or an authority of its own."""
    cert, key = os.path.join(directory, name + ".crt"), os.path.join(directory, name + ".key")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert,
               "-days", str(days), "-subj", subject, "-addext", "basicConstraints=critical,CA:" + ("FALSE" if issuer else "TRUE")]
    if issuer:
        command += ["-CA", issuer[0], "-CAkey", issuer[1], "-addext", "subjectAltName=" + names]
    subprocess.run(command, check=True, capture_output=True)
    os.chmod(key, 0o600)
    return cert, key


class AdminTls(Case):

    @classmethod
    def setUpClass(cls):
        cls.certs = cls.folder()
        cls.ca = make_pair(cls.certs, "ca", "/CN=ops")
        cls.server = make_pair(cls.certs, "server", "/CN=weir", cls.ca)
        cls.later = make_pair(cls.certs, "later", "/CN=weir-later", cls.ca)
        cls.lead = make_pair(cls.certs, "lead", "/O=shop/OU=release-leads/CN=alice", cls.ca)
        cls.other = make_pair(cls.certs, "other", "/O=shop/OU=guests/CN=bob", cls.ca)
        cls.rogue_ca = make_pair(cls.certs, "rogue", "/CN=ops")
        cls.rogue = make_pair(cls.certs, "mallory", "/O=shop/OU=release-leads/CN=alice", cls.rogue_ca)

    def setUp(self):
        self.up = self.upstream("hello")
        self.dir = tempfile.mkdtemp(prefix="weir-admin-tls-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.token = os.path.join(self.dir, "token")
        with open(self.token, "w") as out:
            out.write("token-of-ci-0123456789\n")
        os.chmod(self.token, 0o600)
        self.port = free_port()
        self.config = self.with_tls(self.server)
        self.weir = self.start(self.config)
        self.weir.admin_path = os.path.join(self.dir, "a.sock")

    def with_tls(self, pair, bind="127.0.0.1", **more):
        config = blue_green(self.up.address, self.up.address)
        config["state_dir"] = os.path.join(self.dir, "state")
        tls = {"cert": pair[0], "key": {"file": pair[1]}, "client_ca": self.ca[0]}
        config["admin"] = dict({"listen": ["unix:" + os.path.join(self.dir, "a.sock"), "%s:%d" % (bind, self.port)], "tls": tls, "access": [
            {"who": "uid:%d" % os.getuid(), "role": "admin"},
            {"who": "token:ci", "secret": {"file": self.token}, "role": "operator"},
            {"who": "cert:OU=release-leads", "role": "operator", "splits": ["shop"]}]}, **more)
        return config

    def context(self, pair=None, ca=None):
        context = ssl.create_default_context(cafile=(ca or self.ca)[0])
        if pair:
            context.load_cert_chain(*pair)
        return context

    @contextlib.contextmanager
    def link(self, pair=None, port=None, **options):
        link = http.client.HTTPSConnection("127.0.0.1", port or self.port, timeout=10 * SLOW, context=self.context(pair, **options))
        try:
            yield link
        finally:
            link.close()

    def http(self, method, path, pair=None, token=None, body=None, link=None, **headers):
        fields = {k.replace("_", "-"): v for k, v in headers.items()}
        if token:
            fields["Authorization"] = "Bearer " + token
        if body is not None:
            fields["Content-Type"] = "application/json"
        with contextlib.ExitStack() as stack:
            link = link or stack.enter_context(self.link(pair))
            link.request(method, path, json.dumps(body) if body is not None else None, fields)
            answer = link.getresponse()
            return answer.status, json.loads(answer.read() or b"null")

    def ctl(self, *words, env=None, **more):
        ctl = os.path.join(self.dir, "weirctl")
        if not os.path.exists(ctl):
            os.symlink(os.path.abspath(WEIR), ctl)
        clean = {k: v for k, v in os.environ.items() if not k.startswith("WEIR_")}
        return subprocess.run([ctl, *words], capture_output=True, text=True, timeout=30 * SLOW, env=dict(clean, **(env or {})), **more)


class ByCertificate(AdminTls):

    def test_the_subject_of_a_certificate_is_somebody(self):
        status, split = self.http("PUT", PATH, self.lead, body=CHANGE)
        self.assertEqual(status, 200)
        self.assertEqual(split["changed_by"], "cert:CN=alice")
        self.assertEqual(self.weir.weights(), {"blue": 90, "green": 10})
        entry = self.weir.admin("GET", "/v1/audit").json["entries"][-1]
        self.assertEqual((entry["actor"], entry["reason"]), ("cert:CN=alice", "by certificate"))
        self.assertEqual(self.http("POST", "/v1/config/reload", self.lead, body={})[0], 403, "the rule is for one split")

    def test_another_subject_is_nobody_and_a_token_still_is_somebody(self):
        status, problem = self.http("GET", "/v1/splits", self.other)
        self.assertEqual((status, problem["code"]), (401, "unauthorized"))
        self.assertIn("cert:CN=bob", problem["detail"])
        self.assertEqual(self.http("GET", "/v1/splits")[0], 401)
        self.assertEqual(self.http("GET", "/v1/splits", token="token-of-ci-0123456789")[0], 200)
        self.assertEqual(self.http("PUT", PATH, self.other, token="token-of-ci-0123456789", body=CHANGE)[0], 200)
        self.assertEqual(self.http("PUT", PATH, self.lead, token="wrong", body=CHANGE)[0], 401, "who shows a token is judged by it")

    def test_a_certificate_of_another_authority_ends_the_handshake(self):
        with self.assertRaises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            self.http("PUT", PATH, self.rogue, body=CHANGE)
        self.assertEqual(self.weir.weights(), {"blue": 100, "green": 0})

    def test_clear_text_is_not_answered(self):
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10 * SLOW)
        with self.assertRaises((http.client.HTTPException, ConnectionError)):
            link.request("GET", "/healthz")
            link.getresponse().read()
        link.close()

    def test_http_1_1_is_agreed_on_and_tls_1_1_is_refused(self):
        context = self.context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        with socket.create_connection(("127.0.0.1", self.port), 10 * SLOW) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as sock:
            self.assertEqual(sock.selected_alpn_protocol(), "http/1.1")
            self.assertIn(sock.version(), ("TLSv1.2", "TLSv1.3"))
        done = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % self.port, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20 * SLOW)
        self.assertNotEqual(done.returncode, 0)

    def test_pages_of_other_sites_are_refused_with_a_certificate_too(self):
        self.assertEqual(self.http("PUT", PATH, self.lead, body=CHANGE, Origin="https://evil.example")[0], 403)
        self.assertEqual(self.http("PUT", PATH, self.lead, body=CHANGE, Sec_Fetch_Site="cross-site")[0], 403)
        self.assertEqual(self.http("PUT", PATH, self.lead, body=CHANGE, Origin="https://127.0.0.1:%d" % self.port)[0], 200)

    def test_a_large_answer_and_a_stream_of_events(self):
        with self.link(self.lead) as link:
            for _ in range(20):
                link.request("GET", "/v1/openapi.json")
                self.assertGreater(len(link.getresponse().read()), 8000)
        with self.link(self.lead) as link:
            link.request("GET", "/v1/events", headers={"Accept": "text/event-stream"})
            stream = link.getresponse()
            self.assertEqual(stream.status, 200)
            self.http("PUT", PATH, self.lead, body=CHANGE)
            said = b""
            while b"cert:CN=alice" not in said:
                said += stream.read1(4096)

    def test_the_certificate_is_listed_and_measured(self):
        listed = self.http("GET", "/v1/certificates", token="token-of-ci-0123456789")[1]["certificates"]
        self.assertIn(self.server[0], [c["path"] for c in listed])
        metrics = self.weir.admin("GET", "/metrics").text
        self.assertRegex(metrics, r'weir_tls_certificate_not_after_timestamp_seconds\{[^}]*%s' % os.path.basename(self.server[0]))


class TwoHosts(AdminTls):

    def test_two_host_fields_are_refused_everywhere(self):
        request = b"GET /healthz HTTP/1.1\r\nHost: localhost:%d\r\nHost: evil.example\r\nConnection: close\r\n\r\n" % self.port
        with socket.create_connection(("127.0.0.1", self.port), 10 * SLOW) as plain, self.context().wrap_socket(plain, server_hostname="127.0.0.1") as sock:
            sock.sendall(request)
            self.assertRegex(sock.recv(65536), rb"HTTP/1.1 400 ")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10 * SLOW)
            sock.connect(self.weir.admin_path)
            sock.sendall(request)
            self.assertRegex(sock.recv(65536), rb"HTTP/1.1 400 ")


class Reload(AdminTls):

    def shown(self):
        with socket.create_connection(("127.0.0.1", self.port), 10 * SLOW) as plain, self.context().wrap_socket(plain, server_hostname="127.0.0.1") as sock:
            return dict(pair[0] for pair in sock.getpeercert()["subject"])["commonName"]

    def test_a_new_certificate_is_shown_and_open_connections_go_on(self):
        with self.link(self.lead) as link:
            self.assertEqual(self.http("GET", "/v1/splits", link=link)[0], 200)
            self.assertEqual(self.shown(), "weir")
            self.weir.reload(self.with_tls(self.later))
            self.assertEqual(self.shown(), "weir-later")
            self.assertEqual(self.http("GET", "/v1/splits", link=link)[0], 200)

    def test_the_same_paths_with_new_contents(self):
        shutil.copy(self.later[0], os.path.join(self.dir, "s.crt"))
        shutil.copy(self.later[1], os.path.join(self.dir, "s.key"))
        pair = (os.path.join(self.dir, "s.crt"), os.path.join(self.dir, "s.key"))
        self.weir.reload(self.with_tls(pair))
        self.assertEqual(self.shown(), "weir-later")
        shutil.copy(self.server[0], pair[0])
        shutil.copy(self.server[1], pair[1])
        self.weir.reload()
        self.assertEqual(self.shown(), "weir")

    def test_a_key_of_another_certificate_changes_nothing_at_all(self):
        wrong = self.with_tls((self.server[0], self.later[1]))
        wrong["splits"]["shop"]["weights"] = {"blue": 50, "green": 50}
        self.weir.reload(wrong, ok=False)
        self.assertRegex(self.weir.err(), "admin.tls.*do not belong together")
        self.assertEqual(self.weir.weights(), {"blue": 100, "green": 0})
        self.assertEqual(self.shown(), "weir")
        self.assertEqual(self.http("GET", "/v1/splits", self.lead)[0], 200)

    def test_check_finds_it_before(self):
        done = run("check", self.weir.write(self.with_tls((self.server[0], self.later[1]))) or self.weir.file)
        self.assertEqual(done.returncode, 2)
        self.assertIn("do not belong together", done.stderr)

    def test_tls_comes_and_goes_on_loopback(self):
        clear = self.with_tls(self.server)
        del clear["admin"]["tls"]
        clear["admin"]["access"].pop()
        self.weir.reload(clear)
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10 * SLOW)
        self.addCleanup(link.close)
        self.assertEqual(self.http("GET", "/v1/splits", link=link, token="token-of-ci-0123456789")[0], 200)
        self.weir.reload(self.config)
        status, problem = self.http("GET", "/v1/splits", link=link, token="token-of-ci-0123456789")
        self.assertEqual((status, problem["code"]), (403, "clear"), "a connection from before speaks no TLS")
        self.assertEqual(self.shown(), "weir")

    def test_an_address_that_others_reach_needs_tls(self):
        config = self.with_tls(self.server, bind="0.0.0.0")
        self.weir.reload(config)    # the port was the narrower address's until now
        self.assertEqual(self.http("GET", "/v1/splits", self.lead)[0], 200)
        del config["admin"]["tls"]
        config["admin"]["access"].pop()
        self.weir.reload(config, ok=False)
        self.assertEqual(self.http("GET", "/v1/splits", self.lead)[0], 200)


class Weirctl(AdminTls):

    def test_with_a_certificate(self):
        where = "https://127.0.0.1:%d" % self.port
        env = {"WEIR_ADMIN": where, "WEIR_CACERT": self.ca[0], "WEIR_CERT": self.lead[0], "WEIR_KEY": self.lead[1]}
        done = self.ctl("weights", "shop", "blue=80", "green=20", env=env)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("cert:CN=alice", done.stdout)
        done = self.ctl("--admin", where, "--cacert", self.ca[0], "--cert", self.lead[0], "--key", self.lead[1], "status", "-o", "json")
        self.assertEqual((done.returncode, json.loads(done.stdout)["ready"]), (0, True))
        done = self.ctl("status", env={"WEIR_ADMIN": where, "WEIR_CACERT": self.ca[0], "WEIR_TOKEN_FILE": self.token})
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_what_goes_wrong_is_said(self):
        where = "https://127.0.0.1:%d" % self.port
        for words, code, hint in ((("--admin", where), 5, "--cacert FILE"),
                                  (("--admin", where, "--cacert", self.rogue_ca[0]), 5, "--cacert FILE"),
                                  (("--admin", "https://localhost.localdomain:%d" % self.port, "--cacert", self.ca[0]), 5, "weirctl: "),
                                  (("--admin", "127.0.0.1:%d" % self.port), 5, "https://HOST:PORT"),
                                  (("--admin", where, "--cacert", self.ca[0], "--cert", self.lead[0], "--key", self.other[1]), 5, "belong together"),
                                  (("--admin", where, "--cacert", self.ca[0], "--cert", self.rogue[0], "--key", self.rogue[1]), 5, "client_ca"),
                                  (("--admin", where, "--cacert", self.ca[0], "--cert", self.other[0], "--key", self.other[1]), 4, "cert:CN=bob")):
            with self.subTest(words=words):
                done = self.ctl("status", *words)
                self.assertEqual((done.returncode, done.stdout), (code, ""))
                self.assertIn(hint, done.stderr)

    def test_health_over_tls(self):
        self.assertEqual(run("health", "--admin", "https://127.0.0.1:%d" % self.port).returncode, 0)


class Crowds(AdminTls):

    def crowd(self, address, n):
        socks = []
        self.addCleanup(lambda: [sock.close() for sock in socks])
        for _ in range(n):
            sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
            socks.append(sock)
            sock.connect(address)       # waits where the backlog is full
        return socks

    def test_connections_that_say_nothing_make_room(self):
        before = self.weir.fds()
        for address in (("127.0.0.1", self.port), self.weir.admin_path):
            self.crowd(address, 600)
            self.assertEqual(self.http("GET", "/v1/splits", self.lead)[0], 200)
            self.assertEqual(self.weir.admin("GET", "/v1/splits").status, 200)
        self.assertLess(self.weir.fds(), before + 2 * 256 + 40)
        self.assertGreater(self.weir.metric("weir_admin_connections_refused_total"), 500)

    def test_a_stream_that_is_served_is_not_put_out(self):
        with self.link(self.lead) as link:
            link.request("GET", "/v1/events", headers={"Accept": "text/event-stream"})
            stream = link.getresponse()
            self.crowd(("127.0.0.1", self.port), 600)
            self.assertEqual(self.http("PUT", PATH, self.lead, body=CHANGE)[0], 200)
            said = b""
            while b"cert:CN=alice" not in said:
                more = stream.read1(4096)
                self.assertTrue(more, "the stream was ended")
                said += more

    def test_what_is_open_is_closed_in_the_end(self):
        before = self.weir.fds()
        for sock in self.crowd(("127.0.0.1", self.port), 100):
            sock.close()
        for _ in range(50):
            self.http("GET", "/v1/splits", self.lead)
        until(lambda: self.weir.fds() <= before + 2)


class OneAddress(AdminTls):
    """On an address that others reach each of them has a share."""

    def test_one_address_cannot_take_all(self):
        metrics = free_port()
        self.weir.reload(self.with_tls(self.server, bind="0.0.0.0", metrics={"listen": "0.0.0.0:%d" % metrics}))
        before = self.weir.fds()
        crowds = [socket.create_connection(("127.0.0.1", port), 10 * SLOW) for port in (self.port, metrics) for _ in range(100)]
        self.addCleanup(lambda: [sock.close() for sock in crowds])
        until(lambda: self.weir.metric("weir_admin_connections_refused_total") >= 136)
        until(lambda: self.weir.fds() <= before + 2 * 32 + 4)
        link = http.client.HTTPConnection("127.0.0.1", metrics, timeout=10 * SLOW, source_address=("127.0.0.2", 0))
        self.addCleanup(link.close)
        link.request("GET", "/metrics")
        self.assertEqual(link.getresponse().status, 200)


if __name__ == "__main__":
    unittest.main()
