"""gRPC as others speak it: npm's @grpc/grpc-js at both ends, weir between; in clear and over TLS."""

import base64
import os
import subprocess
import tempfile
import unittest

from harness import Case, one_pool, until

import npm
from npm import Node

(OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION,
 ABORTED, OUT_OF_RANGE, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS, UNAUTHENTICATED) = range(17)
FAILURES = (UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS)


class Grpc(Case):
    """One server, one weir, one client for each test; the subclasses say over what."""

    limit = 60
    tls = False
    config = {}

    @classmethod
    def setUpClass(cls):
        npm.install()
        cls.dir = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.dir.cleanup)
        cls.cert, cls.key = os.path.join(cls.dir.name, "c.pem"), os.path.join(cls.dir.name, "k.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost", "-keyout", cls.key, "-out", cls.cert], check=True, capture_output=True)

    def setUp(self):
        self.server = self.enter(Node("grpc.mjs", "server", *([self.cert, self.key] if self.tls else [])))
        port = self.server.hear()["port"]
        pool, listener = {"protocol": "h2"}, {}
        if self.tls:
            pool["tls"] = {"verify": "file", "ca": self.cert, "server_name": "localhost"}
            listener["tls"] = {"certificates": [{"cert": self.cert, "key": {"file": self.key}}]}
        self.weir = self.start(one_pool("127.0.0.1:%d" % port, pool=pool, listeners={"http": listener}, **self.config))
        self.client = self.enter(self.new_client())

    def new_client(self, **env):
        return Node("grpc.mjs", "client", "127.0.0.1:%d" % self.weir.port, *([self.cert] if self.tls else []), env=env)

    def call(self, method="One", ask=None, **how):
        return self.client.order("call", method=method, ask=ask or {}, **how)

    def begin(self, ask):
        """A call of Down that its server has."""
        self.client.tell("call", method="Down", ask=dict(ask, tells=True))
        self.assertEqual(self.server.hear(), {"begun": "Down"})

    def errors(self):
        return self.weir.metric("weir_upstream_errors_total", reason="status") or 0

    def in_flight(self):
        return self.weir.metric("weir_http_requests_in_flight")


class Calls(Grpc):
    def test_one_question_one_answer(self):
        end = self.call(ask={"text": "hello"}, size=1000)
        self.assertEqual((end["code"], end["text"], end["whole"]), (OK, "hello", True), end)

    def test_messages_of_0_bytes_to_16_mib_come_back_whole(self):
        for size in (0, 1, 16379, 16384, 65535, 1 << 20, 16 << 20):
            with self.subTest(size=size):
                end = self.call(size=size)
                self.assertEqual((end["code"], end["size"], end["whole"]), (OK, size, True), end)

    def test_metadata_pass_both_ways_at_the_head_and_behind(self):
        blob = base64.b64encode(bytes(range(256))).decode()
        for method in ("One", "Down"):
            end = self.call(method, {"count": 1}, metadata={"x-text": "a value", "x-blob-bin": blob})
            self.assertEqual((end["head"].get("x-text"), end["head"].get("x-blob-bin")), ("a value", blob), end)
            if method == "One":
                self.assertEqual((end["tail"].get("tail-text"), end["tail"].get("tail-blob-bin")), ("a value", blob), end)

    def test_many_questions(self):
        end = self.client.order("up", count=200, size=20000)
        self.assertEqual((end["code"], end["number"], end["whole"]), (OK, 200, True), end)

    def test_many_answers_in_order(self):
        end = self.call("Down", {"count": 100}, size=30000)
        self.assertEqual((end["code"], end["count"], end["numbers"]), (OK, 100, list(range(1, 101))))

    def test_question_and_answer_in_turn_on_one_stream(self):
        end = self.client.order("both", count=100, size=5000)
        self.assertEqual((end["code"], end["whole"]), (OK, 100), end)

    def test_many_calls_at_once_share_connections(self):
        for _ in range(3):
            self.assertEqual(self.client.order("many", method="One", count=100, ask={}), {"good": 100, "bad": []})
        self.assertLessEqual(self.weir.metric("weir_upstream_connects_total") or 0, 4)

    def test_every_status_comes_back_with_its_words_and_counts_as_what_it_is(self):
        why = "n\u00f6t now: 100% \u2603\nand a line"
        for code in range(1, 17):
            for method, ask in (("One", {}), ("Down", {"count": 3, "after": 2})):
                with self.subTest(code=code, method=method):
                    before = self.errors()
                    end = self.call(method, dict(ask, status=code, why=why))
                    self.assertEqual((end["code"], end["details"]), (code, why), end)
                    self.assertEqual(end["count"], 2 if method == "Down" else 0)
                    self.assertEqual(self.errors() - before, 1 if code in FAILURES else 0)

    def test_the_log_has_the_status(self):
        for method, code in (("One", 0), ("One", 5), ("Down", 14)):
            self.assertEqual(self.call(method, {"count": 2, "after": 1, "status": code, "why": "x"})["code"], code)
        lines = until(lambda: len(self.weir.access()) == 3 and self.weir.access())
        self.assertEqual([(line["rpc.grpc.status_code"], line["http.response.status_code"]) for line in lines], [(0, 200), (5, 200), (14, 200)])

    def test_what_weir_refuses_has_a_status_of_grpc(self):
        limited = {"rate_limit": {"key": "route", "rate": "1/h", "burst": 1}, "pool": "app"}
        for route, codes, told in (({"access": {"deny": ["127.0.0.0/8"]}, "pool": "app"}, [PERMISSION_DENIED], (7, 403)),
                                   (limited, [OK, RESOURCE_EXHAUSTED], (8, 429)), ({"match": {"path": "/x"}, "pool": "app"}, [UNIMPLEMENTED], (12, 404))):
            with self.subTest(told=told):
                self.weir.reload(dict(self.weir.config, routes=[dict(route, name="r%d" % told[1])]))
                self.assertEqual([self.call()["code"] for _ in codes], codes)
                line = until(lambda: [line for line in self.weir.access() if line["http.response.status_code"] == told[1]])[0]
                self.assertEqual((line["rpc.grpc.status_code"], len(line["trace_id"]), len(line["weir.request_id"])), (told[0], 32, 32), line)
        self.server.process.kill()
        self.weir.reload(dict(self.weir.config, routes=[{"pool": "app"}]))
        self.assertEqual(self.call()["code"], UNAVAILABLE)
        until(lambda: self.weir.access()[-1].get("rpc.grpc.status_code") == 14)

    def test_an_error_before_the_client_is_through(self):
        end = self.client.order("up", count=500, size=20000, fails=3)
        self.assertEqual((end["code"], end["details"]), (FAILED_PRECONDITION, "enough"), end)
        until(lambda: self.in_flight() == 0)
        self.assertEqual(self.call()["code"], OK)

    def test_a_method_that_is_not_there(self):
        end = self.client.order("call", method="One", ask={"status": UNIMPLEMENTED})
        self.assertEqual(end["code"], UNIMPLEMENTED)

    def test_a_deadline_ends_a_call_at_both_ends(self):
        for method in ("One", "Down"):
            end = self.call(method, {"never": True, "count": 1, "text": "late"}, within=400)
            self.assertEqual(end["code"], DEADLINE_EXCEEDED, end)
            self.assertEqual(self.server.hear(), {"cancelled": method, "text": "late"})
        until(lambda: self.in_flight() == 0)

    def test_a_cancel_reaches_the_server(self):
        for method in ("One", "Down", "Both", "Up"):
            end = self.client.order("cancel", method=method, ask={"never": True, "head": True, "count": 1, "text": method})
            self.assertEqual(end["code"], CANCELLED, end)
            self.assertEqual(self.server.hear()["cancelled"], method)
        until(lambda: self.in_flight() == 0)
        self.assertEqual(self.errors(), 0)

    def test_a_client_that_is_killed_cancels_its_calls(self):
        self.begin({"count": 1, "never": True})
        self.client.process.kill()
        self.assertEqual(self.server.hear()["cancelled"], "Down")
        until(lambda: self.in_flight() == 0)

    def test_compressed_messages(self):
        with self.new_client(GRPC_COMPRESSION="2") as client:
            end = client.order("call", method="One", ask={"text": "a" * 100000}, size=10)
            self.assertEqual((end["code"], len(end["text"]), end["whole"]), (OK, 100000, True))

    def test_a_server_that_is_killed_is_UNAVAILABLE(self):
        self.assertEqual(self.call()["code"], OK)
        self.begin({"count": 1, "never": True})
        self.server.process.kill()
        self.assertIn(self.client.hear()["code"], (UNAVAILABLE, INTERNAL, UNKNOWN, CANCELLED))
        self.assertEqual(self.call()["code"], UNAVAILABLE)

    def test_a_server_that_leaves_in_order_loses_no_call(self):
        """Its GOAWAY comes while a stream is open: that one ends well, what begins goes elsewhere."""
        other = self.enter(Node("grpc.mjs", "server", *([self.cert, self.key] if self.tls else [])))
        self.begin({"count": 10, "gap": 100})
        pool = dict(self.weir.config["pools"]["app"], endpoints=self.weir.config["pools"]["app"]["endpoints"] + ["127.0.0.1:%d" % other.hear()["port"]],
                    retry={"budget": "100%"})           # all calls of a moment may meet the closed port
        self.weir.reload(dict(self.weir.config, pools={"app": pool}))
        self.server.tell("leave")
        with self.new_client() as second:
            for _ in range(5):
                self.assertEqual(second.order("many", method="One", count=20, ask={}), {"good": 20, "bad": []})
        end = self.client.hear()
        self.assertEqual((end["code"], end["count"]), (OK, 10), end)
        self.assertEqual(self.server.hear(), {"left": True})

    def test_a_stream_outlives_reloads(self):
        self.begin({"count": 12, "gap": 100})
        for n in range(3):
            self.weir.reload(dict(self.weir.config, pools={"app": dict(self.weir.config["pools"]["app"], timeouts={"first_byte": "%ds" % (n + 20)})}))
        end = self.client.hear()
        self.assertEqual((end["code"], end["count"]), (OK, 12))

    def test_a_drain_lets_an_open_stream_end(self):
        self.begin({"count": 15, "gap": 100})
        self.weir.process.terminate()
        end = self.client.hear()
        self.assertEqual((end["code"], end["count"]), (OK, 15), end)
        self.assertEqual(self.weir.process.wait(20), 0)


class CallsOverTls(Calls):
    """All of it again, with TLS on both sides."""

    tls = True


if __name__ == "__main__":
    unittest.main()
