"""gRPC's health checking protocol: asked of npm's @grpc/grpc-js, and of servers that answer badly; what is well and the words for what is not."""

import tempfile

from harness import one_pool
import h2
from npm import Node
from test_health import Checked, FAST
from test_tls import make_cert

PATH = "/grpc.health.v1.Health/Check"


class Health(Checked):
    limit = 90

    def pool(self, service="", **health):
        timing = {name: value for name, value in FAST.items() if name != "path"}
        return {"protocol": "h2", "health": dict(timing, grpc=service, **health)}

    def serve(self, *args, health="1"):
        node = self.enter(Node("grpc.mjs", "server", *args, env={"GRPC_HEALTH": health} if health else {}))
        node.address = "127.0.0.1:%d" % node.hear()["port"]
        return node


class ByGrpcJs(Health):
    def test_the_server_says_how_it_is(self):
        server = self.serve()
        server.order("health", healths={"": "SERVING"})
        weir = self.start(one_pool(server.address, pool=self.pool()))
        self.assertRegex(self.await_state(weir, server, "up"), r"serving in \d+ms")
        for status, words in (("NOT_SERVING", "not serving"), ("UNKNOWN", "unknown to the server"), ("SERVICE_UNKNOWN", "does not know the service"),
                              (77, "what no health service does"), ({"code": 14}, "grpc status 14 (unavailable)"), ({"never": True}, "timeout after 500ms"),
                              (None, "grpc status 5 (the server does not know the service)")):
            with self.subTest(status=status):
                server.order("health", healths={} if status is None else {"": status})
                self.assertIn(words, self.await_state(weir, server, "down"))
                server.order("health", healths={"": "SERVING"})
                self.await_state(weir, server, "up")
        self.assertIn("not serving", weir.err())

    def test_a_service_is_asked_for_by_name_with_the_operators_fields(self):
        for name in ("cart.Cart", "s" * 127, "s" * 128, "s" * 256):
            with self.subTest(length=len(name)):
                server = self.serve()
                server.order("health", healths={name: "SERVING"})
                weir = self.start(one_pool(server.address, pool=self.pool(name, headers={"host": "health.test", "x-who": "weir"})))
                self.await_state(weir, server, "up")
                asked = server.order("health", healths={"": "SERVING"})["asked"][0]
                self.assertEqual((asked["service"], asked["path"], asked["authority"]), (name, PATH, "health.test"))
                self.assertEqual((asked["fields"]["x-who"], asked["fields"]["user-agent"]), ("weir", "weir-health"))
                self.assertIn("grpc status 5", self.await_state(weir, server, "down"))

    def test_a_server_without_a_health_service_is_told_as_that(self):
        server = self.serve(health=None)
        weir = self.start(one_pool(server.address, pool=self.pool()))
        self.assertIn("grpc status 12 (the server has no health service)", self.await_state(weir, server, "down"))

    def test_over_tls(self):
        tls = make_cert(self.enter(tempfile.TemporaryDirectory()), "up.test", ("up.test",))
        server = self.serve(*tls)
        server.order("health", healths={"": "SERVING"})
        weir = self.start(one_pool(server.address, pool=dict(self.pool(), tls={"verify": "file", "ca": tls[0], "server_name": "up.test"})))
        self.assertIn("serving", self.await_state(weir, server, "up"))
        server.order("health", healths={"": "NOT_SERVING"})
        self.assertIn("not serving", self.await_state(weir, server, "down"))

    def test_another_service_is_asked_for_after_a_reload(self):
        server = self.serve()
        server.order("health", healths={"": "SERVING"})
        weir = self.start(one_pool(server.address, pool=self.pool()))
        self.await_state(weir, server, "up")
        weir.reload(one_pool(server.address, pool=self.pool("gone")))
        self.assertIn("grpc status 5", self.await_state(weir, server, "down"))


class ByBytes(Health):
    """What no library would send."""

    def answered(self, *steps):
        """An endpoint that answers with these: a list of fields, or bytes; the last one ends the stream unless it is None."""
        def serve(wire, stream, message):
            for n, step in enumerate(steps):
                end = n + 1 == len(steps)
                if step is None:
                    return
                (wire.data if isinstance(step, bytes) else wire.headers)(stream, step, end=end)
        up = h2.Upstream(serve)
        self.addCleanup(up.close)
        return up, self.start(one_pool(up.address, pool=self.pool()))

    HEAD = [(":status", "200"), ("content-type", "application/grpc+proto")]
    WELL = [("grpc-status", "0")]

    def test_the_request_is_grpcs(self):
        up, weir = self.answered(self.HEAD, b"\0\0\0\0\2\x08\1", self.WELL)
        self.await_state(weir, up, "up")
        asked = dict(up.requests[0].fields)
        self.assertEqual((asked[":method"], asked[":path"], asked[":scheme"]), ("POST", PATH, "http"))
        self.assertEqual((asked["content-type"], asked["te"]), ("application/grpc", "trailers"))
        self.assertEqual(up.requests[0].body, b"\0\0\0\0\0")

    def test_what_is_well_however_it_is_written(self):
        for body in (b"\0\0\0\0\2\x08\1", b"\0\0\0\0\x0b\x08\x81\x80\x80\x80\x80\x80\x80\x80\x80\0", b"\0\0\0\0\x06\x12\2hi\x08\1",
                     b"\0\0\0\0\4\x08\2\x08\1", b"\0\0\0\0\x07\x08\1\x1d1234"):
            with self.subTest(body=body):
                up, weir = self.answered(self.HEAD, body, self.WELL)
                self.assertIn("serving in", self.await_state(weir, up, "up"))

    def test_the_words_for_what_is_no_answer(self):
        well = b"\0\0\0\0\2\x08\1"
        for words, steps in (("status 503 instead of gRPC's", ([(":status", "503")],)),
                             ("status 415 instead", ([(":status", "415"), ("content-type", "application/grpc")], b"x")),
                             ("is not gRPC", ([(":status", "200"), ("content-type", "text/html")], b"<html>")),
                             ("has no grpc-status", (self.HEAD, well)),
                             ("is not a health service's", (self.HEAD, b"\1" + well[1:], self.WELL)),
                             ("is not a health service's", (self.HEAD, well[:6], self.WELL)),
                             ("is not a health service's", (self.HEAD, well + b"\0", self.WELL)),
                             ("is not a health service's", (self.HEAD, self.WELL)),
                             ("is not a health service's", (self.HEAD, b"\0\0\0\0\3\x12\xff\1", self.WELL)),
                             ("is not a health service's", (self.HEAD, b"\0\0\0\0\x0b\x08" + b"\xff" * 10, self.WELL)),
                             ("is not a health service's", (self.HEAD, b"\0" * 10000, None)),
                             ("unknown to the server", (self.HEAD, b"\0\0\0\0\0", self.WELL)),
                             ("grpc status 2 (unknown)", (self.HEAD, [("grpc-status", "x")])),
                             ("grpc status 99 (no such status)", (self.HEAD + [("grpc-status", "99")],))):
            with self.subTest(words=words, steps=steps[-1]):
                up, weir = self.answered(*steps)
                self.assertIn(words, self.await_state(weir, up, "down"))
