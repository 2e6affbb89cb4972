"""Active checks: what makes an endpoint well or not, in words; once for all workers; over reloads."""

import os
import tempfile
import time
import unittest

from harness import Case, Load, SLOW, blue_green, get, one_pool, until
import h2
from test_tls import make_cert
import ssl

FAST = {"path": "/health", "interval": "100ms", "timeout": "500ms", "rise": 2, "fall": 3}


def checked(*addresses, health=None, pool=None, **more):
    return one_pool(*addresses, pool=dict({"health": dict(FAST, **(health or {}))}, **(pool or {})), **more)


class Checked(Case):
    limit = 60

    def endpoint(self, weir, address, pool="app"):
        rows = weir.admin("GET", "/v1/pools/" + pool).json["endpoints"]
        return next(row for row in rows if row["address"] == address)

    def await_state(self, weir, up, state, pool="app"):
        """Until it is up or down; the words for it."""
        def reached():
            health = self.endpoint(weir, up.address, pool)["health"]
            return health if "check" in health and health["state"] == state else None
        return until(reached, 10, "%s is %s" % (up.address, state))["text"]

    def checks(self, up):
        return [s for s in up.seen if s.target == b"/health"]


class Verdicts(Checked):

    def test_a_status_takes_it_out_and_brings_it_back(self):
        a, b = self.upstream("hello", name="a"), self.upstream("hello", name="b")
        weir = self.start(checked(a.address, b.address))
        self.assertIn("status 200", self.await_state(weir, a, "up"))
        with Load(weir.address, clients=2) as load:
            a.mood = "status/503"
            self.assertIn("status 503", self.await_state(weir, a, "down"))
            self.assertEqual(weir.metric("weir_endpoint_up", endpoint=a.address), 0)
            requests = len(a.seen) - len(self.checks(a))
            before = load.done
            until(lambda: load.done > before + 50)
            self.assertLessEqual(len(a.seen) - len(self.checks(a)), requests + 2)
            a.mood = "hello"
            self.await_state(weir, a, "up")
            self.assertEqual(weir.metric("weir_endpoint_up", endpoint=a.address), 1)
            until(lambda: len(a.seen) - len(self.checks(a)) > requests + 10, 10, "it gets requests again")
        said = weir.err()
        self.assertIn("status 503", said)
        self.assertIn("endpoint is up", said)

    def test_an_upstream_of_http2_is_asked_in_http2(self):
        status = {"/health": "200"}

        def serve(wire, stream, message):
            wire.headers(stream, [(":status", status.get(dict(message.fields)[":path"], "200"))], end=False)
            wire.data(stream, b"all is well", end=True)

        for tls in (None, make_cert(self.enter(tempfile.TemporaryDirectory()), "up.test", ("up.test",))):
            with self.subTest(tls=bool(tls)):
                status["/health"] = "200"
                context = None
                if tls:
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                    context.load_cert_chain(*tls)
                    context.set_alpn_protocols(["h2"])
                up = h2.Upstream(serve, tls=context)
                self.addCleanup(up.close)
                pool = {"protocol": "h2", "tls": {"verify": "off"}} if tls else {"protocol": "h2"}
                weir = self.start(checked(up.address, health={"body": "is well", "headers": {"host": "health.test"}}, pool=pool))
                self.assertIn("status 200", self.await_state(weir, up, "up"))
                asked = next(m for m in up.requests if dict(m.fields)[":path"] == "/health")
                self.assertEqual(dict(asked.fields)[":authority"], "health.test")
                self.assertEqual(dict(asked.fields)[":scheme"], "https" if tls else "http")
                status["/health"] = "503"
                self.assertIn("status 503", self.await_state(weir, up, "down"))
                status["/health"] = "200"
                self.await_state(weir, up, "up")

    def test_the_words_for_every_way_to_fail(self):
        for mood, words in (("status/500", "status 500"), ("status/404", "status 404"), ("never", "timeout after 500ms"),
                            ("garbage", "not HTTP"), ("close", "closed without an answer")):
            with self.subTest(mood=mood):
                up = self.upstream("hello")
                health = {"timeout": "200ms"} if mood == "never" else {}
                up.mood = {"never": "stall-before-head", "garbage": "garbage", "close": "close-before-head"}.get(mood, mood)
                weir = self.start(checked(up.address, health=health))
                text = self.await_state(weir, up, "down")
                self.assertIn(words.replace("500ms", "200ms"), text)

    def test_a_refused_connection_is_told_as_that(self):
        up = self.upstream("hello")
        up.refuse()
        weir = self.start(checked(up.address))
        self.assertIn("connect refused", self.await_state(weir, up, "down"))
        up.listen_again()
        self.await_state(weir, up, "up")

    def test_expected_statuses_are_the_operators(self):
        up = self.upstream("status/503")
        weir = self.start(checked(up.address, health={"expect": [200, "500-504"]}))
        self.assertIn("status 503", self.await_state(weir, up, "up"))
        until(lambda: len(up.seen) >= 3)
        self.assertEqual(self.endpoint(weir, up.address)["health"]["state"], "up")

    def test_the_answer_must_contain_a_text(self):
        for mood, body, state in (("hello", "hell", "up"), ("hello", "heaven", "down"), ("chunked", "one,two,three", "up"),
                                  ("chunked", "one,two,four", "down"), ("close-delimited", "the end", "up")):
            with self.subTest(mood=mood, body=body):
                up = self.upstream(mood)
                weir = self.start(checked(up.address, health={"body": body}))
                until(lambda: "check" in self.endpoint(weir, up.address)["health"])
                until(lambda: self.endpoint(weir, up.address)["health"]["in_row"] >= 2)
                self.assertEqual(self.endpoint(weir, up.address)["health"]["state"], state)

    def test_the_request_is_what_the_operator_wrote(self):
        up = self.upstream("hello")
        weir = self.start(checked(up.address, health={"path": "/h?deep=1", "method": "HEAD", "headers": {"host": "shop.test", "X-Probe": "weir"}}))
        self.await_state(weir, up, "up")
        until(lambda: up.seen)
        seen = up.seen[0]
        self.assertEqual((seen.method, seen.target), (b"HEAD", b"/h?deep=1"))
        self.assertEqual(seen.one("host"), b"shop.test")
        self.assertEqual(seen.one("x-probe"), b"weir")
        self.assertEqual(up.faults, [])

    def test_without_a_path_a_connection_is_enough(self):
        up = self.upstream("status/500")
        weir = self.start(one_pool(up.address, pool={"health": {"interval": "100ms"}}))
        self.assertIn("connected", self.await_state(weir, up, "up"))
        up.refuse()
        self.await_state(weir, up, "down")
        self.assertEqual(up.seen, [])
        up.listen_again()
        self.await_state(weir, up, "up")

    def test_another_port_is_asked(self):
        up, side = self.upstream("hello"), self.upstream("hello")
        weir = self.start(checked(up.address, health={"port": side.port}))
        until(lambda: len(side.seen) >= 2)
        self.assertEqual(up.seen, [])
        side.mood = "status/503"
        self.await_state(weir, up, "down")

    def test_over_tls_as_the_pool_has_it(self):
        folder = self.enter(tempfile.TemporaryDirectory())
        cert, key = make_cert(folder, "up", ["127.0.0.1"])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        up = self.upstream("hello", tls=context)
        weir = self.start(checked(up.address, pool={"tls": {"ca": cert, "verify": "file"}}))
        self.assertIn("status 200", self.await_state(weir, up, "up"))
        self.assertEqual(weir.ask().status, 200)
        up.mood = "status/503"
        self.assertIn("status 503", self.await_state(weir, up, "down"))

    def test_a_certificate_that_nobody_believes_is_told(self):
        folder = self.enter(tempfile.TemporaryDirectory())
        cert, key = make_cert(folder, "up", ["127.0.0.1"])
        other, _ = make_cert(folder, "other", ["127.0.0.1"])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        up = self.upstream("hello", tls=context)
        weir = self.start(checked(up.address, pool={"tls": {"ca": other, "verify": "file"}}))
        self.assertIn("TLS: ", self.await_state(weir, up, "down"))

    def test_a_unix_socket_is_checked(self):
        path = os.path.join(self.enter(tempfile.TemporaryDirectory()), "up.sock")
        up = self.upstream("hello", path=path)
        weir = self.start(checked(up.address))
        self.assertIn("status 200", self.await_state(weir, up, "up"))


class Course(Checked):

    def test_checks_come_once_for_all_workers_and_at_their_pace(self):
        up = self.upstream("hello")
        weir = self.start(checked(up.address, health={"interval": "200ms"}, workers=4))
        until(lambda: len(up.seen) >= 3)
        began, count = time.monotonic(), len(up.seen)
        until(lambda: len(up.seen) >= count + 10)
        took = time.monotonic() - began
        self.assertGreater(took, 10 * 0.18 * 0.8, "more often than once for all")
        self.assertIsNotNone(weir)

    def test_one_failure_is_no_fall(self):
        up = self.upstream("hello")
        weir = self.start(checked(up.address, health={"interval": "100ms", "fall": 50}))
        self.await_state(weir, up, "up")
        until(lambda: self.endpoint(weir, up.address)["health"].get("in_row", 0) >= 2)
        up.mood = "status/503"
        until(lambda: self.endpoint(weir, up.address)["health"]["check"] == "status 503")
        self.assertEqual(self.endpoint(weir, up.address)["health"]["state"], "up")
        self.assertEqual(weir.metric("weir_endpoint_up", endpoint=up.address), 1)

    def test_the_first_check_decides_alone(self):
        bad, good = self.upstream("status/503"), self.upstream("hello")
        weir = self.start(checked(bad.address, good.address, health={"fall": 100, "interval": "1s"}))
        self.await_state(weir, bad, "down")
        for _ in range(10):
            self.assertEqual(weir.ask().status, 200)

    def test_workers_take_out_at_once_and_checks_bring_back(self):
        a, b = self.upstream("hello", name="a"), self.upstream("hello", name="b")
        weir = self.start(checked(a.address, b.address, health={"interval": "1s", "fall": 100}))
        self.await_state(weir, a, "up")
        a.refuse()
        for _ in range(20):
            self.assertEqual(weir.ask().status, 200)
        self.await_state(weir, a, "down")
        a.listen_again()
        self.await_state(weir, a, "up")

    def test_when_all_are_out_they_are_tried_all_the_same_and_it_is_said(self):
        up = self.upstream("status/503")
        weir = self.start(checked(up.address))
        self.await_state(weir, up, "down")
        up.mood = "hello"
        self.assertEqual(weir.ask().status, 200)

    def test_a_pool_without_a_healthy_endpoint_gets_no_weight(self):
        blue, green = self.upstream("hello"), self.upstream("status/503")
        config = blue_green(blue.address, green.address)
        config["pools"]["green"]["health"] = FAST
        weir = self.start(config)
        self.await_state(weir, green, "down", "green")
        self.assertEqual(weir.set_weights(blue=50, green=50).status, 409)


class SlowStart(Checked):

    def test_an_endpoint_that_comes_back_gets_little_at_first(self):
        a, b = self.upstream("hello", name="a"), self.upstream("hello", name="b")
        weir = self.start(checked(a.address, b.address, pool={"slow_start": "4s", "balance": "random"}))
        self.await_state(weir, a, "up")
        self.assertEqual(self.endpoint(weir, a.address)["health"]["warmth"], 100, "all are cold at the start: none is")
        a.mood = "status/503"
        self.await_state(weir, a, "down")
        a.mood = "hello"
        self.await_state(weir, a, "up")
        count = len(a.seen) - len(self.checks(a))
        warmth = self.endpoint(weir, a.address)["health"]["warmth"]
        for _ in range(200):
            weir.ask()
        self.assertLess(warmth, 40)
        self.assertLess(len(a.seen) - len(self.checks(a)) - count, 75)
        until(lambda: self.endpoint(weir, a.address)["health"]["warmth"] == 100, 10)

    def test_a_new_endpoint_of_a_running_pool_warms_up(self):
        a, b = self.upstream("hello", name="a"), self.upstream("hello", name="b")
        weir = self.start(one_pool(a.address, pool={"slow_start": "3s"}))
        weir.reload(one_pool(a.address, b.address, pool={"slow_start": "3s"}))
        self.assertLess(self.endpoint(weir, b.address)["health"]["warmth"], 60)
        self.assertEqual(self.endpoint(weir, a.address)["health"]["warmth"], 100)
        until(lambda: self.endpoint(weir, b.address)["health"]["warmth"] == 100, 10)


class Reload(Checked):

    def test_what_is_known_survives_a_reload(self):
        a, b = self.upstream("status/503"), self.upstream("hello")
        weir = self.start(checked(a.address, b.address))
        self.await_state(weir, a, "down")
        weir.reload(checked(a.address, b.address, health={"interval": "10m", "path": "/health"}))
        for _ in range(5):
            self.assertEqual(self.endpoint(weir, a.address)["health"]["state"], "down")
            self.assertEqual(weir.ask().status, 200)

    def test_a_changed_check_is_in_force_after_a_reload(self):
        up = self.upstream("hello")
        weir = self.start(checked(up.address))
        self.await_state(weir, up, "up")
        weir.reload(checked(up.address, health={"path": "/m/status/500"}))
        self.assertIn("status 500", self.await_state(weir, up, "down"))
        weir.reload(checked(up.address))
        self.await_state(weir, up, "up")

    def test_checks_can_be_taken_away_and_given(self):
        up = self.upstream("hello")
        weir = self.start(one_pool(up.address))
        self.assertEqual(self.endpoint(weir, up.address)["health"]["text"], "no checks")
        weir.reload(checked(up.address))
        until(lambda: len(self.checks(up)) > 2)
        weir.reload(one_pool(up.address))
        self.assertEqual(self.endpoint(weir, up.address)["health"]["text"], "no checks")
        count = len(up.seen)
        time.sleep(0.4)
        self.assertLessEqual(len(up.seen), count + 1)

    def test_endpoints_that_leave_are_not_asked_any_more(self):
        a, b = self.upstream("hello"), self.upstream("hello")
        weir = self.start(checked(a.address, b.address))
        until(lambda: len(a.seen) > 1 and len(b.seen) > 1)
        weir.reload(checked(b.address))
        count = len(a.seen)
        until(lambda: len(b.seen) > 8)
        self.assertLessEqual(len(a.seen), count + 1)

    def test_many_reloads_while_checks_run(self):
        ups = [self.upstream("stall-before-head" if i % 2 else "hello") for i in range(6)]
        weir = self.start(checked(*[u.address for u in ups], health={"interval": "20ms", "timeout": "30ms"}))
        for i in range(25):
            weir.reload(checked(*[u.address for u in ups[:2 + i % 5]], health={"interval": "20ms", "timeout": "30ms"}))
        self.assertEqual(weir.ask(get("/m/hello")).status, 200)


if __name__ == "__main__":
    unittest.main()
