"""Checked endpoints that speak without end, as fast as they can: the control thread has other things to do meanwhile."""

import contextlib
import socket
import ssl
import tempfile
import threading
import time

from harness import Case, SLOW, until
import h2
import ports
from test_tls import make_cert


class Flood:
    """An endpoint that reads a little, says `first` and then `again` until the other side has gone."""

    def __init__(self, first, again, tls=None):
        self.first, self.again, self.tls = first, again, tls
        self.asked = 0
        self.listener = socket.create_server(("127.0.0.1", ports.take()))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=ports.serve_each, args=(self.listener, self.serve), daemon=True).start()

    def serve(self, sock):
        with contextlib.suppress(OSError, ssl.SSLError), sock:
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            self.asked += bool(sock.recv(4096))
            sock.sendall(self.first)
            while True:
                sock.sendall(self.again)

    def close(self):
        self.listener.close()


HEALTH = {"path": "/health", "interval": "100ms", "timeout": "1s", "fall": 1, "body": "never said"}
FRAMES = {
    "window updates": (b"", h2.frame(8, 0, 1, b"\0\0\0\1") * 1000),
    "priorities": (b"", h2.frame(2, 0, 3, b"\0\0\0\0\1") * 1000),
    "empty data": (h2.frame(1, 4, 1, b"\x88"), h2.frame(0, 0, 1) * 1000),
    "interim heads": (b"", h2.frame(1, 4, 1, h2.block([(":status", "103")])) * 1000),
    "unknown frames": (b"", h2.frame(0xee, 0, 0, b"x" * 50) * 500),
}


class Floods(Case):
    limit = 60

    def endures(self, flood, pool, words):
        """The admin API answers, others are checked, and the flood is down for a reason; then it is told to go."""
        self.addCleanup(flood.close)
        well = self.upstream("hello")
        weir = self.start({
            "pools": {"good": {"endpoints": [well.address], "health": dict(HEALTH, body="hello")},
                      "bad": dict({"endpoints": [flood.address], "health": HEALTH}, **pool)},
            "routes": [{"match": {"path_prefix": "/b"}, "pool": "bad"}, {"pool": "good"}]})
        until(lambda: flood.asked > 0, 10, "it is asked")
        checked, worst, asked = len(well.seen), 0, flood.asked
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            began = time.monotonic()
            health = weir.admin("GET", "/v1/pools/bad").json["endpoints"][0]["health"]
            worst = max(worst, time.monotonic() - began)
            time.sleep(0.02)
        self.assertLess(worst, 0.5 * SLOW, "an answer of the admin API")
        self.assertGreaterEqual(len(well.seen) - checked, 8 / SLOW, "checks of the other pool")
        self.assertGreater(flood.asked, asked, "it is asked again")
        self.assertEqual(health["state"], "down", health)
        self.assertRegex(health["text"], words)
        weir.stop()

    def test_interim_answers(self):
        self.endures(Flood(b"", b"HTTP/1.1 100 C\r\n\r\n" * 4000), {}, "interim answers without end")

    def test_over_tls(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*make_cert(self.enter(tempfile.TemporaryDirectory()), "up.test", ("up.test",)))
        self.endures(Flood(b"", b"HTTP/1.1 100 C\r\n\r\n" * 4000, context), {"tls": {"verify": "off"}}, "interim answers without end")

    def test_one_interim_answer_without_end(self):
        self.endures(Flood(b"HTTP/1.1 100 C\r\n", b"a: " + b"x" * 4000 + b"\r\n"), {}, "too long")

    def test_frames_that_say_nothing(self):
        for name, (first, again) in FRAMES.items():
            with self.subTest(name):
                self.endures(Flood(h2.frame(4) + first, again), {"protocol": "h2"}, "without end")

    def test_some_interim_answers_are_no_sign(self):
        hints = b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n" * 10
        well = self.upstream("hello")
        flood = Flood(hints + b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nnever said", b"x")
        self.addCleanup(flood.close)
        weir = self.start({"pools": {"app": {"endpoints": [flood.address, well.address], "health": dict(HEALTH, body="never said")}},
                           "routes": [{"pool": "app"}]})
        until(lambda: weir.metric("weir_endpoint_up", endpoint=flood.address) == 1, 10)
        until(lambda: weir.metric("weir_endpoint_up", endpoint=well.address) == 0, 10)
