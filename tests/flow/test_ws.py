"""WebSockets as others speak them: npm's ws at both ends, weir between.

See npm.py for how the package comes here.
"""

import subprocess
import tempfile
import unittest

from harness import Case, one_pool, until

import npm
from npm import Node

SIZES = (1, 125, 126, 4096, 65535, 65536, 300000, 1 << 20)


class OverHttp1(Case):
    """The versions of both sides, and whether there is TLS on them: the subclasses have the other pairings."""

    limit = 120
    version, upstream_version, tls, upstream_tls = "h1", "h1", False, False

    @classmethod
    def setUpClass(cls):
        npm.install()
        cls.dir = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.dir.cleanup)
        cls.files = [cls.dir.name + "/c.pem", cls.dir.name + "/k.pem"]
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-out", cls.files[0], "-keyout", cls.files[1]], check=True, capture_output=True)

    def setUp(self):
        self.server = self.enter(Node("ws.mjs", "server", self.upstream_version, *(self.files if self.upstream_tls else [])))
        pool = {"protocol": "h2"} if self.upstream_version == "h2" else {}
        if self.upstream_tls:
            pool["tls"] = {"verify": "off"}
        self.config = one_pool("127.0.0.1:%d" % self.server.hear()["port"], workers=2, pool=pool,
                               listeners={"http": {"tls": {"self_signed": True}} if self.tls else {}})
        self.weir = self.start(self.config)

    def open(self, **env):
        client = self.enter(Node("ws.mjs", "client", "%s://127.0.0.1:%d/chat" % ("wss" if self.tls else "ws", self.weir.port), self.version, env=env))
        hello = client.hear()
        self.assertEqual((hello.get("open"), hello.get("protocol")), (True, "chat"), hello)
        return client, hello

    def assertEchoes(self, client, size, binary, **how):
        self.assertEqual(client.order("echo", size=size, binary=binary, **how), {"size": size, "binary": binary, "whole": True})

    def test_text_and_binary_of_1_byte_to_1_mib_come_back(self):
        client, _ = self.open()
        for binary in (False, True):
            for size in SIZES:
                with self.subTest(size=size, binary=binary):
                    self.assertEchoes(client, size, binary)

    def test_fragments_and_pings_between_them(self):
        client, _ = self.open()
        for fragments in (2, 7, 100):
            self.assertEchoes(client, 100000, True, fragments=fragments)
            self.assertEqual(client.order("ping", payload="p%d" % fragments), {"pong": "p%d" % fragments})

    def test_compression_is_negotiated_end_to_end(self):
        client, hello = self.open(WS_DEFLATE="1")
        self.assertIn("permessage-deflate", hello["extensions"])
        for size in SIZES:
            self.assertEchoes(client, size, False)

    def test_close_codes_pass_from_the_client(self):
        for code, reason in ((1000, ""), (1001, "going"), (3000, "registered"), (4999, "r" * 123)):
            with self.subTest(code=code):
                client, _ = self.open()
                self.assertEqual(client.order("close", code=code, reason=reason)["code"], code)
                self.assertEqual(self.server.hear(), {"closed": code, "reason": reason})

    def test_close_codes_pass_from_the_server(self):
        for code, reason in ((1000, "bye"), (1011, "broken"), (4001, "why")):
            with self.subTest(code=code):
                client, _ = self.open()
                self.assertEqual(client.order("told", code=code, reason=reason), {"code": code, "reason": reason})
                self.assertEqual(self.server.hear()["closed"], code)

    def test_a_client_that_is_killed_is_told_to_the_server(self):
        client, _ = self.open()
        client.process.kill()
        self.assertEqual(self.server.hear()["closed"], 1006)

    def test_five_reloads_are_not_noticed(self):
        client, _ = self.open()
        for i in range(5):
            self.weir.reload(dict(self.config, pools={"app": dict(self.config["pools"]["app"], timeouts={"first_byte": "%ds" % (i + 5)})}))
            self.assertEchoes(client, 70000, bool(i % 2))
            self.assertEqual(client.order("ping", payload="after %d" % i), {"pong": "after %d" % i})
        self.assertEqual(client.order("close", code=1000, reason="done")["code"], 1000)

    def test_a_second_on_the_same_weir_is_its_own(self):
        first, _ = self.open()
        second, _ = self.open()
        self.assertEchoes(first, 1000, True)
        self.assertEqual(second.order("close", code=1000, reason="")["code"], 1000)
        self.assertEchoes(first, 1000, True)
        until(lambda: self.weir.metric("weir_connections", state="tunnel") == 1)


class OverHttp2(OverHttp1):
    version = "h2"


class OverTlsAndHttp2ToHttp1(OverHttp1):
    version, tls = "h2", True


class OverTlsAndHttp2AtBothEnds(OverHttp1):
    version, upstream_version, tls, upstream_tls = "h2", "h2", True, True


class OverTlsAndHttp1ToHttp2(OverHttp1):
    version, upstream_version, tls = "h1", "h2", True


if __name__ == "__main__":
    unittest.main()
