"""What upstreams do wrong and what the client sees: security.md sections 5 and 9."""

import select
import socket
import time
import unittest

from harness import Case, Closed, Shared, free_port, get, one_pool, post, until, upstream as fake

FAST = {"timeouts": {"connect": "500ms", "first_byte": "700ms", "idle": "700ms"}}


class Responses(Shared):
    settings = FAST

    def get(self, mood, **options):
        return self.ask(get("/m/" + mood), **options)

    def next_is_clean(self):
        """Whatever happened, the next request gets its own answer."""
        answer = self.ask(get("/next"))
        self.assertEqual((answer.status, answer.json()["target"]), (200, "/next"))


class BadHeadsBecome502(Responses):

    def refuse(self, mood, method="GET"):
        answer = self.ask(get("/m/" + mood, method=method), method)
        self.assertEqual((answer.status, answer.broken), (502, None))
        self.assertNotIn(b"evil", answer.body)
        self.assertNotIn(b"hello", answer.body)
        self.next_is_clean()


def build_bad_heads():
    names = ["garbage", "http09", "status-line-word", "status-2-digits", "status-4-digits", "status-negative", "status-too-low", "version-2", "version-junk",
             "other-protocol", "leading-space", "cl-and-te", "two-cl", "cl-list", "cl-negative", "cl-plus", "cl-word", "cl-empty", "cl-overflow", "te-unknown",
             "te-twice", "te-obscured", "te-in-http10", "space-before-colon", "no-colon", "empty-name", "name-not-token", "unsolicited-101",
             "close-before-head", "reset-before-head", "close-in-head", "reset-in-head", "close-in-status-line", "many-fields/5000", "big-head/70000"]
    for name in names:
        def test(self, name=name):
            self.refuse(name)
        word = name.replace("-", "_").replace("/", "_")
        setattr(BadHeadsBecome502, "test_%s" % word, test)
    for name in ("close-before-head", "reset-before-head", "garbage", "close-in-head"):
        def test_post(self, name=name):
            answer = self.ask(post("/m/" + name, b"once"))
            self.assertEqual(answer.status, 502)
            self.assertEqual(len([s for s in self.up.seen if s.method == b"POST"]), 1, "POST was sent again")
            self.next_is_clean()
        setattr(BadHeadsBecome502, "test_post_is_sent_once__%s" % name.replace("-", "_"), test_post)


build_bad_heads()


class BytesThatSplitResponsesDoNotPass(Responses):

    def harmless(self, mood):
        answer = self.get(mood)
        self.assertIn(answer.status, (200, 502))
        self.assertEqual(answer.all("set-cookie"), [])
        self.next_is_clean()


for name in ("value-cr", "value-lf", "value-nul", "value-fold", "value-del", "value-cr-cr-lf"):
    setattr(BytesThatSplitResponsesDoNotPass, "test_" + name.replace("-", "_"), lambda self, name=name: self.harmless(name))


class ATruncatedBodyLooksTruncated(Responses):

    def broken(self, mood, request=None):
        with self.weir.client() as client:
            answer = client.ask(request or get("/m/" + mood))
            self.assertIn(answer.status, (200, 502))
            if answer.status == 200:
                self.assertIsNotNone(answer.broken, "a cut answer ended in order")
                self.assertTrue(client.is_closed())
        self.next_is_clean()

    def broken_for_http10(self, mood):
        """HTTP/1.0 has no chunks: where no length was said, only a reset can tell."""
        with self.weir.client() as client:
            answer = client.ask(b"GET /m/%s HTTP/1.0\r\n\r\n" % mood.encode())
            if answer.status == 200:
                self.assertTrue(answer.broken or client.was_reset, "a cut answer ended in order")


for name in fake.TRUNCATED:
    setattr(ATruncatedBodyLooksTruncated, "test_" + name.replace("-", "_"), lambda self, name=name: self.broken(name))
for name in ("truncated-cl", "truncated-chunked", "bad-chunk-size"):
    setattr(ATruncatedBodyLooksTruncated, "test_%s__http_1_0" % name.replace("-", "_"), lambda self, name=name: self.broken_for_http10(name))
setattr(ATruncatedBodyLooksTruncated, "test_stall_in_body", lambda self: self.broken("stall-in-body"))


class StallsEndInTime(Responses):

    def test_a_stall_before_the_head_is_504(self):
        began = time.monotonic()
        answer = self.get("stall-before-head")
        took = time.monotonic() - began
        self.assertEqual(answer.status, 504)
        self.assertGreater(took, 0.5)
        self.assertTrue(self.up.wait(lambda: self.up.waited), "the upstream's connection was kept")
        self.assertLess(took, 5)

    def test_a_stall_inside_the_head_is_504(self):
        self.assertIn(self.get("stall-in-head").status, (502, 504))
        self.assertTrue(self.up.wait(lambda: self.up.waited), "the upstream's connection was kept")

    def test_a_post_that_stalls_is_504_and_sent_once(self):
        self.assertEqual(self.ask(post("/m/stall-before-head", b"x")).status, 504)
        self.assertEqual(len(self.up.seen), 1)

    def test_a_slow_but_living_body_is_never_cut(self):
        answer = self.get("slow-body/12/200")       # 2.4 s, longer than any timeout of this pool
        self.assertEqual((answer.status, answer.broken, answer.body.count(b"piece")), (200, None, 12))

    def test_endless_interim_answers_end(self):
        with self.weir.client(timeout=20) as client:
            client.send(get("/m/endless-interims"))
            began = time.monotonic()
            try:
                answer = client.answer()
                self.assertIn(answer.status, (502, 504))
            except Closed:
                pass
            self.assertLess(time.monotonic() - began, 15)


class OneAnswerForOneRequest(Responses):

    def test_extra_bytes_after_an_answer_are_nobodys(self):
        for mood in ("extra-bytes", "second-response", "extra-after-chunked"):
            with self.subTest(mood=mood), self.weir.client() as client:
                answer = client.ask(get("/m/" + mood))
                self.assertEqual((answer.status, answer.body), (200, b"hello"))
                try:
                    answer = client.ask(get("/mine"))
                    self.assertEqual(answer.json()["target"], "/mine")
                except Closed:
                    pass
                self.next_is_clean()

    def test_late_bytes_on_an_idle_connection_are_nobodys(self):
        self.assertEqual(self.get("late-bytes").body, b"hello\n")
        self.up.go.set()
        self.assertTrue(self.up.went.wait(5))
        for _ in range(5):
            self.next_is_clean()

    def test_a_body_after_304_is_nobodys(self):
        answer = self.get("body-after-304")
        self.assertEqual((answer.status, answer.body), (304, b""))
        self.next_is_clean()

    def test_a_body_with_204_is_nobodys(self):
        answer = self.get("no-content-with-body")
        self.assertIn(answer.status, (204, 502))
        if answer.status == 204:
            self.assertEqual((answer.all("content-length"), answer.all("transfer-encoding")), ([], []))
        self.next_is_clean()

    def test_a_body_on_head_is_nobodys(self):
        with self.weir.client() as client:
            answer = client.ask(get("/m/body-on-head", method="HEAD"), "HEAD")
            self.assertIn(answer.status, (200, 502))
            self.assertNotIn(b"evil", client.buf)
        self.next_is_clean()

    def test_an_upgrade_nobody_asked_for_with_a_body_is_502(self):
        self.assertEqual(self.get("switching-with-body").status, 502)
        self.next_is_clean()


class BodilessAnswers(Responses):

    def test_head_keeps_the_length_and_has_no_body(self):
        with self.weir.client() as client:
            answer = client.ask(get("/m/head-cl", method="HEAD"), "HEAD")
            self.assertEqual((answer.status, answer.one("content-length")), (200, "1234"))
            self.assertEqual(client.ask(get("/after")).json()["target"], "/after")

    def test_304_may_keep_the_length_and_has_no_body(self):
        with self.weir.client() as client:
            answer = client.ask(get("/m/not-modified"))
            self.assertEqual((answer.status, answer.one("etag")), (304, '"x"'))
            self.assertEqual(client.ask(get("/after")).json()["target"], "/after")

    def test_204_has_no_framing(self):
        with self.weir.client() as client:
            answer = client.ask(get("/m/status/204"))
            self.assertEqual((answer.status, answer.all("content-length"), answer.all("transfer-encoding")), (204, [], []))
            self.assertEqual(client.ask(get("/after")).json()["target"], "/after")

    def test_head_of_a_chunked_answer(self):
        with self.weir.client() as client:
            self.assertEqual(client.ask(get("/m/hello", method="HEAD"), "HEAD").status, 200)
            self.assertEqual(client.ask(get("/after")).json()["target"], "/after")


class InterimAnswers(Responses):

    def test_103_is_forwarded_and_200_follows(self):
        with self.weir.client() as client:
            answer = client.ask(get("/m/early-hints"))
            self.assertEqual([a.status for a in answer.interims], [103])
            self.assertEqual(answer.interims[0].one("link"), "</a.css>; rel=preload")
            self.assertEqual((answer.status, answer.broken), (200, None))
            self.assertEqual(client.ask(get("/after")).json()["target"], "/after")

    def test_several_are_forwarded_in_order(self):
        self.assertEqual([a.status for a in self.get("two-interims").interims], [102, 103])

    def test_http_1_0_gets_none(self):
        answer = self.ask(b"GET /m/early-hints HTTP/1.0\r\n\r\n")
        self.assertEqual((answer.status, answer.interims), (200, []))

    def test_100_then_200(self):
        answer = self.ask(post("/m/continue-then-200", b"hello"))
        self.assertEqual((answer.status, answer.json()["body"]), (200, "hello"))


class AnswersOfOtherShapes(Responses):

    def test_chunked(self):
        answer = self.get("chunked")
        self.assertEqual((answer.body, answer.broken), (b"one,two,three", None))

    def test_chunk_extensions_are_not_passed_on(self):
        answer = self.get("chunked-extensions")
        self.assertIn((answer.status, answer.body), ((200, b"onetwo"), (502, answer.body)))

    def test_delimited_by_close(self):
        with self.weir.client() as client:
            answer = client.ask(get("/m/close-delimited"))
            self.assertEqual((answer.body, answer.broken), (b"until the end", None))

    def test_http_1_0_upstream(self):
        self.assertEqual(self.get("http10").body, b"old but fine")

    def test_http_1_0_upstream_with_keep_alive(self):
        for _ in range(3):
            self.assertEqual(self.get("http10-keep-alive").body, b"old")

    def test_a_status_line_without_a_reason(self):
        self.assertEqual(self.get("no-reason").body, b"hello")

    def test_the_same_length_twice(self):
        answer = self.get("same-cl-twice")
        self.assertIn(answer.status, (200, 502))
        self.next_is_clean()

    def test_a_head_of_16_kib_passes(self):
        answer = self.get("big-head/16000")
        self.assertEqual((answer.status, len([n for n, _ in answer.fields if n.startswith("x-0")])), (200, 16))

    def test_hop_by_hop_fields_are_removed(self):
        answer = self.get("hop-by-hop")
        self.assertEqual((answer.status, answer.one("x-public")), (200, "1"))
        for name in ("x-private", "keep-alive", "proxy-connection", "upgrade"):
            self.assertEqual(answer.all(name), [], name)

    def test_two_cookies_stay_two(self):
        self.assertEqual(self.get("cookies").all("set-cookie"), ["a=1", "b=2"])

    def test_every_status_passes(self):
        for status in (200, 201, 202, 206, 301, 302, 307, 308, 400, 401, 403, 404, 405, 409, 410, 418, 422, 429, 451, 500, 501, 599):
            with self.subTest(status=status):
                self.assertEqual(self.get("status/%d" % status).status, status)


class PooledConnectionsThatDie(Responses):
    """A kept connection that ends under a request: GET goes out again, POST never twice."""

    def test_get_is_repeated_when_the_kept_connection_was_closed(self):
        self.assertEqual(self.get("close-on-second").status, 200)
        self.assertEqual(self.get("close-on-second").status, 200)

    def test_get_is_repeated_when_the_kept_connection_was_reset(self):
        self.assertEqual(self.get("reset-on-second").status, 200)
        self.assertEqual(self.get("reset-on-second").status, 200)

    def test_post_is_sent_once_and_fails_visibly(self):
        self.assertEqual(self.get("close-on-second").status, 200)
        answer = self.ask(post("/m/close-on-second", b"once"))
        posts = [s for s in self.up.seen if s.method == b"POST"]
        self.assertEqual(len(posts), 1)
        self.assertIn(answer.status, (200, 502))

    def test_a_connection_that_ended_while_idle_is_noticed(self):
        """POST on it never fails: the end was there before the request."""
        for _ in range(10):
            self.up.go.clear()
            self.up.went.clear()
            self.assertEqual(self.get("close-when-idle").status, 200)
            count = len(self.up.peers)
            self.up.go.set()
            self.assertTrue(self.up.went.wait(5))
            self.assertTrue(self.up.wait(lambda: len(self.up.peers) < count or not self.up.peers))
            self.assertEqual(self.ask(post("/m/hello", b"x")).status, 200)

    def test_an_upstream_that_closes_after_each_third_never_shows(self):
        for i in range(30):
            self.assertEqual(self.get("close-after/3").status, 200, "request %d" % i)

    def test_connection_close_is_heeded(self):
        for _ in range(3):
            self.assertEqual(self.get("connection-close").body, b"hello")

    def test_connections_are_reused(self):
        self.next_is_clean()
        before = self.up.connections
        for _ in range(50):
            self.next_is_clean()
        self.assertEqual(self.up.connections, before)


class EarlyAnswersDuringUploads(Responses):
    limit = 60

    def test_413_before_the_body_is_delivered(self):
        with self.weir.client() as client:
            client.send(b"POST /m/early-status/413 HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
            answer = client.answer()
            self.assertEqual((answer.status, answer.body), (413, b"early\n"))
        self.next_is_clean()

    def test_an_answer_and_close_before_the_body_is_delivered(self):
        with self.weir.client() as client:
            client.send(b"POST /m/early-close/403 HTTP/1.1\r\nHost: t\r\nContent-Length: 10000000\r\n\r\n")
            sent = 0
            try:
                while sent < 10_000_000 and not self.readable(client):
                    client.send(b"x" * 10000)
                    sent += 10000
            except OSError:
                pass
            answer = client.answer()
            self.assertEqual((answer.status, answer.body), (403, b"early\n"))
        self.next_is_clean()

    def readable(self, client):
        return bool(select.select([client.sock], [], [], 0)[0])

    def test_late_bytes_after_an_early_answer_are_body_or_the_end(self):
        hidden = get("/smuggled")
        with self.weir.client() as client:
            client.send(b"POST /m/early-status/200 HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % len(hidden))
            self.assertEqual(client.answer().status, 200)
            try:
                client.send(hidden)
                answer = client.ask(get("/after"))
                self.assertEqual(answer.json()["target"], "/after")
            except (Closed, OSError):
                pass
        self.next_is_clean()
        self.assertNotIn(b"/smuggled", [s.target for s in self.up.seen])


class ClientsThatGoAway(Responses):

    def test_the_upstream_is_released_when_the_client_leaves(self):
        with self.weir.client() as client:
            client.send(get("/m/wait"))
            self.assertTrue(self.up.wait(lambda: self.up.complete()))
            open_before = len(self.up.peers)
        # The peer's thread waits for go(); its socket is seen dead when it then writes.
        began = time.monotonic()
        until(lambda: self.weir.metric("weir_http_requests_in_flight") in (0, None), 3, "no request in flight")
        self.assertLess(time.monotonic() - began, 3)
        self.assertGreaterEqual(open_before, 1)

    def test_leaving_inside_an_upload_ends_the_upstreams_request(self):
        with self.weir.client() as client:
            client.send(b"POST /m/checksum HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\nonly this")
            self.assertTrue(self.up.wait(lambda: self.up.seen))
        number = self.up.seen[0].connection
        self.assertTrue(self.up.wait(lambda: number not in [p.number for p in self.up.peers], 5), "the upstream's connection was kept")
        self.assertEqual(self.up.complete(), [])
        self.next_is_clean()

    def test_leaving_inside_a_chunked_upload_completes_nothing(self):
        with self.weir.client() as client:
            client.send(b"POST /m/checksum HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            self.assertTrue(self.up.wait(lambda: self.up.seen))
        self.next_is_clean()
        self.assertEqual([s.target for s in self.up.complete()], [b"/next"])

    def test_it_is_counted_as_the_clients_doing(self):
        before = self.weir.metric("weir_upstream_errors_total") or 0
        for _ in range(5):
            with self.weir.client() as client:
                client.send(get("/m/wait"))
                self.assertTrue(self.up.wait(lambda: self.up.complete()))
            self.up.forget()
        until(lambda: self.weir.metric("weir_http_requests_in_flight") in (0, None), 5)
        self.assertEqual(self.weir.metric("weir_upstream_errors_total") or 0, before)


class ServerSentEvents(Responses):

    def test_each_event_arrives_at_once(self):
        with self.weir.client() as client:
            client.send(get("/m/sse/5"))
            self.assertEqual(client.head().status, 200)
            for i in range(5):
                began = time.monotonic()
                self.up.advance()
                size = int(client.line(), 16)
                self.assertEqual(client.exactly(size), b"data: %d\n\n" % i)
                client.exactly(2)
                self.assertLess(time.monotonic() - began, 0.15 * 4)


class UpstreamsThatAreNotThere(Case):

    def test_a_refused_connection_is_502_or_503_at_once(self):
        weir = self.start(one_pool("127.0.0.1:%d" % free_port(), pool=FAST))
        for request in (get("/"), post("/", b"x")):
            began = time.monotonic()
            self.assertIn(weir.ask(request).status, (502, 503))
            self.assertLess(time.monotonic() - began, 2)

    def test_a_connection_that_is_never_accepted_is_504_in_time(self):
        port = free_port()
        with socket.socket() as full:
            full.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            full.bind(("127.0.0.1", port))
            full.listen(0)
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            weir = self.start(one_pool("127.0.0.1:%d" % port, pool={"timeouts": {"connect": "300ms"}, "retry": {"max": 0}}))
            began = time.monotonic()
            self.assertIn(weir.ask(get("/")).status, (502, 503, 504))
            self.assertLess(time.monotonic() - began, 5)
            for filler in fillers:
                filler.close()


class OurOwnFields(Case):

    def test_a_head_that_our_fields_make_too_long_is_not_the_pools_failure(self):
        up = self.upstream("hello")
        weir = self.start(one_pool(up.address, routes=[{"pool": "app", "headers": {"response": {"set": {"x-was": "${request.path}" * 5}}}}]))
        self.assertEqual(weir.ask(get("/" + "a" * 5000)).status, 200)
        answer = weir.ask(get("/" + "a" * 20000))
        self.assertEqual((answer.status, answer.json()["error"]), (500, "internal"))
        self.assertEqual(until(lambda: weir.access()[1:])[0]["weir.ended_by"], "weir")
        self.assertEqual(weir.metric("weir_upstream_errors_total") or 0, 0)


del Responses

if __name__ == "__main__":
    unittest.main()
