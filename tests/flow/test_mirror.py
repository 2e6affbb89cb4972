"""Copies of requests: what they are like, what is counted, and that nobody waits for them."""

import time
import unittest

from harness import Case, blue_green, get, post, until

import h2


def mirrored(blue, green, mirror=None, **more):
    return blue_green(blue, green, split={"mirror": dict({"to": "green", "percent": 100}, **(mirror or {}))}, **more)


class Copies(Case):
    limit = 60

    def results(self, weir, **labels):
        return weir.metric("weir_mirror_requests_total", **labels)

    def both(self, blue="hello", green="hello", **more):
        blue, green = self.upstream(blue, name="blue"), self.upstream(green, name="green")
        return blue, green, self.start(mirrored(blue.address, green.address, **more))

    def test_a_get_is_copied_and_the_answers_are_compared(self):
        blue, green, weir = self.both()
        answer = weir.ask(get("/a?b=c", x_thing="1"))
        self.assertEqual(answer.one("x-upstream"), "blue")
        until(lambda: self.results(weir, result="same") == 1)
        self.assertEqual([s.raw for s in green.seen], [s.raw for s in blue.seen])
        self.assertEqual(blue.faults + green.faults, [])
        self.assertEqual(weir.metric("weir_mirror_in_flight"), 0)
        # it is in no other statistics of requests, and in no log
        self.assertEqual(weir.metric("weir_http_requests_total"), 1)
        until(lambda: len(weir.access()) == 1)
        self.assertEqual(weir.metric("weir_upstream_requests_total", pool="green"), 1)

    def test_a_large_answer_is_thrown_away_as_it_comes(self):
        blue, green, weir = self.both(green="big/40000000")
        before = weir.rss()
        weir.ask()
        until(lambda: self.results(weir, result="other_size") == 1, 30)
        self.assertLess(weir.rss() - before, 8 << 20)

    def test_differences_are_counted(self):
        blue, green, weir = self.both(green="status/500")
        weir.ask()
        until(lambda: self.results(weir, result="other_status") == 1)
        green.mood = "echo"
        weir.ask()
        until(lambda: self.results(weir, result="other_size") == 1)
        green.mood = "reset-before-head"
        weir.ask()
        until(lambda: self.results(weir, result="failed") == 1)
        self.assertEqual(weir.metric("weir_http_requests_total", code="200"), 3)

    def test_only_its_methods_its_percent_and_not_what_goes_there_anyway(self):
        blue, green, weir = self.both(mirror={"percent": 30})
        weir.ask(post("/", b"x"))
        with weir.client() as client:
            for _ in range(300):
                self.assertEqual(client.ask(get()).status, 200)
        until(lambda: self.results(weir, result="same") == len(green.seen) and len(green.seen) > 0)
        self.assertTrue(50 < len(green.seen) < 130, len(green.seen))
        self.assertEqual({s.method for s in green.seen}, {b"GET"})
        weir.set_weights(blue=0, green=100)
        green.forget()
        with weir.client() as client:
            for _ in range(50):
                client.ask(get())
        self.assertEqual(len(green.seen), 50)

    def test_bodies_of_every_framing_are_copied(self):
        blue, green, weir = self.both("echo", "echo", mirror={"methods": ["POST"]})
        chunked = (b"POST /c HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
                   b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
        for request, body in ((post("/s", b"small"), b"small"), (chunked, b"hello world"),
                              (post("/l", b"x" * 60000), b"x" * 60000)):
            with self.subTest(size=len(body)):
                green.forget()
                self.assertEqual(weir.ask(request, "POST").status, 200)
                until(lambda: len(green.seen) == 1 and green.seen[0].is_complete)
                self.assertEqual(green.seen[0].body, body)
                self.assertEqual(green.seen[0].one("content-length"), b"%d" % len(body))
        for framing, body in (({"content_length": "4"}, b"body"), ({"transfer_encoding": "chunked"}, b"4\r\nbody\r\n0\r\n\r\n")):
            with self.subTest(framing=framing):
                green.forget()
                with weir.client() as client:
                    client.send(get("/e", method="POST", expect="100-continue", **framing))
                    self.assertEqual(client.line(), "HTTP/1.1 100 Continue")
                    client.line()
                    client.send(body)
                    self.assertEqual(client.answer("POST").status, 200)
                until(lambda: len(green.seen) == 1 and green.seen[0].is_complete)
                self.assertEqual((green.seen[0].body, green.seen[0].one("expect")), (b"body", None))
                self.assertEqual(green.seen[0].one("content-length"), b"4")
        self.assertEqual(green.faults, [])

    def test_long_and_unfinished_bodies_are_not(self):
        blue, green, weir = self.both("echo", "echo", mirror={"methods": ["POST"], "max_body": "1KiB"})
        self.assertEqual(weir.ask(post("/", b"x" * 1025), "POST").status, 200)
        chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
        self.assertEqual(weir.ask(b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk + chunk +
                                  b"0\r\n\r\n", "POST").status, 200)
        self.assertEqual(weir.metric("weir_mirror_skipped_total", reason="body"), 2)
        with weir.client() as client:
            client.send(get("/", method="POST", content_length="10") + b"half")
            until(lambda: weir.metric("weir_mirror_in_flight") == 1)
        until(lambda: weir.metric("weir_mirror_skipped_total", reason="cut") == 1)
        self.assertEqual(weir.metric("weir_mirror_in_flight"), 0)
        self.assertEqual(green.seen, [])

    def test_a_slow_or_dead_pool_sheds_copies_and_holds_nobody(self):
        blue, green, weir = self.both(green="stall-before-head")
        with weir.client() as client:
            began = time.monotonic()
            for _ in range(100):
                self.assertEqual(client.ask(get()).status, 200)
            self.assertLess(time.monotonic() - began, 5)
        self.assertEqual(weir.metric("weir_mirror_in_flight"), 64)
        self.assertEqual(weir.metric("weir_mirror_skipped_total", reason="busy"), 36)
        green.stop()
        until(lambda: weir.metric("weir_mirror_in_flight") == 0, 20)
        failed = self.results(weir, result="failed")
        self.assertEqual(weir.ask().status, 200)
        until(lambda: self.results(weir, result="failed") == failed + 1)

    def test_a_full_pool_takes_no_copies(self):
        blue, green = self.upstream("hello"), self.upstream("stall-before-head")
        config = mirrored(blue.address, green.address)
        config["pools"]["green"]["limits"] = {"in_flight": 2, "queue": 10}
        weir = self.start(config)
        for _ in range(5):
            self.assertEqual(weir.ask().status, 200)
        until(lambda: weir.metric("weir_mirror_skipped_total", reason="busy") == 3)
        self.assertEqual(weir.metric("weir_pool_shed_total", pool="green"), 0)
        self.assertEqual(weir.metric("weir_pool_queue", pool="green"), 0)

    def test_copies_eject_nobody(self):
        blue, green = self.upstream("hello"), self.upstream("status/500")
        config = mirrored(blue.address, green.address)
        config["pools"]["green"]["outliers"] = {"consecutive": 1, "eject": "60s", "max_ejected": "100%"}
        weir = self.start(config)
        for _ in range(10):
            weir.ask()
        until(lambda: self.results(weir, result="other_status") == 10)
        self.assertEqual(weir.metric("weir_endpoint_up", pool="green"), 1)
        self.assertEqual(weir.metric("weir_mirror_skipped_total"), 0)

    def test_it_ends_with_copies_in_flight(self):
        blue, green, weir = self.both(green="stall-before-head")
        for _ in range(5):
            weir.ask()
        until(lambda: weir.metric("weir_mirror_in_flight") == 5)
        weir.stop()

    def test_a_reload_takes_the_mirror_away(self):
        blue, green, weir = self.both(green="stall-before-head")
        weir.ask()
        until(lambda: len(green.seen) == 1)
        weir.reload(blue_green(blue.address, green.address))
        weir.ask()
        green.go.set()
        self.assertIsNone(weir.metric("weir_mirror_requests_total"))
        self.assertEqual(len(green.seen), 1)

    def test_http2_on_either_side(self):
        blue = self.upstream("hello", name="blue")
        green = h2.Upstream()
        self.addCleanup(green.close)
        config = mirrored(blue.address, green.address, mirror={"methods": ["GET", "POST"]})
        config["pools"]["green"]["protocol"] = "h2"
        weir = self.start(config)
        self.assertEqual(weir.ask().status, 200)
        until(lambda: self.results(weir, result="other_size") == 1)
        client = self.enter(h2.client(weir.address))
        client.headers(1, h2.request("/up", "POST", "shop.test", "http"), end=False)
        client.data(1, b"of a ")
        client.data(1, b"stream", end=True)
        self.assertEqual(client.answer(1).status, 200)
        until(lambda: self.results(weir, result="other_size") == 2)
        copy = green.requests[1]
        self.assertEqual((copy.body, dict(copy.fields)["content-length"]), (b"of a stream", "11"))
        self.assertEqual(self.results(weir, result="failed"), 0)
        self.assertEqual(green.errors + blue.faults, [])


if __name__ == "__main__":
    unittest.main()
