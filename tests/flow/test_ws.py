"""WebSockets as others speak them: npm's ws at both ends, weir between.

See npm.py for how the package comes here.
"""

import unittest

from harness import Case, one_pool

import npm
from npm import Node

SIZES = (1, 125, 126, 4096, 65535, 65536, 300000, 1 << 20)


class RealWebSockets(Case):
    limit = 120

    @classmethod
    def setUpClass(cls):
        npm.install()

    def setUp(self):
        self.server = self.enter(Node("ws.mjs", "server"))
        self.config = one_pool("127.0.0.1:%d" % self.server.hear()["port"], workers=2)
        self.weir = self.start(self.config)

    def open(self, **env):
        client = self.enter(Node("ws.mjs", "client", "ws://127.0.0.1:%d/chat" % self.weir.port, env=env))
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


if __name__ == "__main__":
    unittest.main()
