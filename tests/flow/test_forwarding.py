"""Good requests and good answers, carried whole."""

import hashlib
import json
import os
import re
import socket
import tempfile
import time
import unittest

from harness import Case, Client, Closed, Shared, free_port, get, one_pool, post, until, upstream as fake

SIZES = (0, 1, 100, 4095, 4096, 16383, 16384, 16385, 65535, 65536, 65537, 1 << 20, (8 << 20) + 1)


class Bodies(Shared):
    limit = 60

    def test_uploads_with_a_length_arrive_whole(self):
        with self.weir.client() as client:
            for size in SIZES:
                with self.subTest(size=size):
                    body = fake.pattern(size)
                    answer = client.ask(post("/m/checksum", body))
                    self.assertEqual(answer.json(), {"length": size, "sha256": hashlib.sha256(body).hexdigest()})
        self.assertEqual(self.up.faults, [])

    def test_chunked_uploads_arrive_whole(self):
        with self.weir.client() as client:
            for size in SIZES:
                for step in (1000, 4096, 70000):
                    if size > 1 << 20 and step == 1000:
                        continue
                    with self.subTest(size=size, chunk=step):
                        body = fake.pattern(size)
                        chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + step]), body[i:i + step]) for i in range(0, size, step))
                        answer = client.ask(b"POST /m/checksum HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
                        self.assertEqual(answer.json(), {"length": size, "sha256": hashlib.sha256(body).hexdigest()})
        self.assertEqual(self.up.faults, [])

    def test_downloads_with_a_length_arrive_whole(self):
        with self.weir.client() as client:
            for size in SIZES + (64 << 20,):
                with self.subTest(size=size):
                    answer = client.ask(get("/m/big/%d" % size))
                    self.assertEqual((answer.broken, len(answer.body)), (None, size))
                    self.assertEqual(hashlib.sha256(answer.body).hexdigest(), fake.big_sum(size))

    def test_chunked_downloads_arrive_whole(self):
        with self.weir.client() as client:
            for size in SIZES + (32 << 20,):
                with self.subTest(size=size):
                    answer = client.ask(get("/m/big-chunked/%d" % size))
                    self.assertEqual((answer.broken, hashlib.sha256(answer.body).hexdigest()), (None, fake.big_sum(size)))

    def test_a_chunked_answer_for_http_1_0_is_delimited_by_close(self):
        answer = self.ask(b"GET /m/big-chunked/300000 HTTP/1.0\r\n\r\n")
        self.assertEqual((answer.all("transfer-encoding"), hashlib.sha256(answer.body).hexdigest()), ([], fake.big_sum(300000)))

    def test_an_upload_byte_by_byte(self):
        body = fake.pattern(200)
        with self.weir.client() as client:
            client.send_bytewise(post("/m/checksum", body))
            self.assertEqual(client.answer().json()["sha256"], hashlib.sha256(body).hexdigest())

    def test_both_ways_at_once(self):
        """The answer begins before the upload ends, and both arrive whole."""
        with self.weir.client() as client:
            client.send(b"POST /m/early-status/200 HTTP/1.1\r\nHost: t\r\nContent-Length: 300000\r\n\r\n" + b"x" * 1000)
            self.assertEqual(client.answer().status, 200)
            try:
                client.send(b"x" * 299000)
                self.assertEqual(client.ask(get("/after")).json()["target"], "/after")
            except (Closed, OSError):
                pass

    def test_an_upload_to_an_answer_of_weirs_own_is_drained_or_ended(self):
        with self.weir.client() as client:
            client.send(post("/m/status/404", b"x" * 100000))
            self.assertEqual(client.answer().status, 404)


class SlowReaders(Shared):
    """What one side does not read is not heaped up in weir."""
    limit = 60
    HEAP = 24 << 20

    def stuck(self, count, begin):
        """Opens clients that do not read; returns by how much weir grew once nothing moves any more."""
        before = self.weir.rss()
        clients = [self.weir.client() for _ in range(count)]
        try:
            for client in clients:
                begin(client)
            self.assertTrue(self.up.wait(lambda: len(self.up.seen) >= count))
            last = -1
            for _ in range(100):
                now = self.weir.rss()
                if now == last:
                    break
                last = now
                time.sleep(0.05)
            return self.weir.rss() - before
        finally:
            for client in clients:
                client.close()

    def test_ten_downloads_that_nobody_reads(self):
        self.assertLess(self.stuck(10, lambda client: client.send(get("/m/big/100000000"))), self.HEAP)

    def test_ten_chunked_downloads_that_nobody_reads(self):
        self.assertLess(self.stuck(10, lambda client: client.send(get("/m/big-chunked/100000000"))), self.HEAP)

    def test_ten_uploads_that_the_upstream_does_not_read(self):
        def begin(client):
            client.send(b"POST /m/deaf HTTP/1.1\r\nHost: t\r\nContent-Length: 100000000\r\n\r\n")
            client.sock.setblocking(False)
            quiet = 0
            while quiet < 20:
                try:
                    client.sock.send(b"x" * 65536)
                    quiet = 0
                except BlockingIOError:
                    quiet += 1
                    time.sleep(0.005)
        self.assertLess(self.stuck(10, begin), self.HEAP)
        self.up.go.set()

    def test_a_reader_that_wakes_up_gets_it_all(self):
        with self.weir.client() as client:
            client.send(get("/m/big/20000000"))
            self.assertTrue(self.up.wait(lambda: self.up.seen))
            time.sleep(0.2)     # long enough for all buffers on the way to fill; nothing depends on it
            answer = client.answer()
            self.assertEqual((answer.broken, hashlib.sha256(answer.body).hexdigest()), (None, fake.big_sum(20000000)))


class Connections(Shared):

    def test_pipelined_requests_are_answered_in_order(self):
        with self.weir.client() as client:
            client.send(b"".join(get("/m/delay/%d" % (50 if i == 3 else 0)) if i % 5 == 3 else get("/n%d" % i) for i in range(40)))
            for i in range(40):
                answer = client.answer()
                self.assertEqual(answer.status, 200)
                if i % 5 != 3:
                    self.assertEqual(answer.json()["target"], "/n%d" % i)
        self.assertEqual(self.up.faults, [])

    def test_pipelined_uploads_are_answered_in_order(self):
        with self.weir.client() as client:
            client.send(b"".join(post("/p%d" % i, b"%d" % i * 100) for i in range(20)))
            for i in range(20):
                document = client.answer().json()
                self.assertEqual((document["target"], document["body"]), ("/p%d" % i, str(i) * 100))

    def test_http_1_1_is_kept_open(self):
        with self.weir.client() as client:
            for i in range(50):
                answer = client.ask(get("/%d" % i))
                self.assertNotEqual((answer.one("connection") or "").lower(), "close")
                self.assertEqual(answer.json()["target"], "/%d" % i)

    def test_connection_close_is_heeded_and_said(self):
        with self.weir.client() as client:
            answer = client.ask(get("/", connection="close"))
            self.assertEqual((answer.status, answer.one("connection").lower()), (200, "close"))
            self.assertTrue(client.is_closed())

    def test_http_1_0_is_closed(self):
        with self.weir.client() as client:
            answer = client.ask(b"GET / HTTP/1.0\r\nHost: t\r\n\r\n")
            self.assertEqual(answer.status, 200)
            self.assertTrue(client.is_closed())

    def test_http_1_0_with_keep_alive(self):
        with self.weir.client() as client:
            for _ in range(3):
                answer = client.ask(b"GET / HTTP/1.0\r\nHost: t\r\nConnection: keep-alive\r\n\r\n")
                self.assertEqual(answer.status, 200)
                if (answer.one("connection") or "").lower() != "keep-alive":
                    self.assertTrue(client.is_closed())
                    break

    def test_http_1_0_without_host_is_1_1_with_one_host_upstream(self):
        self.assertEqual(self.ask(b"GET / HTTP/1.0\r\n\r\n").status, 200)
        self.assertEqual(self.up.faults, [])
        self.assertEqual(self.up.seen[0].minor, 1)

    def test_a_half_closed_client_gets_its_answer(self):
        with self.weir.client() as client:
            client.send(get("/m/delay/100"))
            client.half_close()
            answer = client.answer()
            self.assertEqual((answer.status, answer.body), (200, b"late\n"))
            self.assertTrue(client.is_closed())

    def test_a_half_close_inside_a_request_completes_nothing(self):
        with self.weir.client() as client:
            client.send(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhello")
            client.half_close()
            try:
                self.assertIn(client.answer().status, (400, 408))
            except Closed:
                pass
        self.assertEqual(self.ask(get("/after")).status, 200)
        self.assertEqual([s.target for s in self.up.complete()], [b"/after"])

    def test_connections_that_say_nothing_harm_nobody(self):
        clients = [self.weir.client() for _ in range(200)]
        try:
            began = time.monotonic()
            self.assertEqual(self.ask().status, 200)
            self.assertLess(time.monotonic() - began, 1)
        finally:
            for client in clients:
                client.close()

    def test_one_request_in_many_segments(self):
        with self.weir.client() as client:
            client.send_bytewise(get("/m/hello", x_long="v" * 500))
            self.assertEqual(client.answer().body, b"hello\n")


class Expectations(Shared):

    def test_100_continue_invites_the_body(self):
        with self.weir.client() as client:
            client.send(b"POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            self.assertEqual(client.head().status, 100)
            client.send(b"hello")
            self.assertEqual(client.answer().json()["body"], "hello")
            self.assertEqual(client.ask(get("/after")).json()["target"], "/after")

    def test_a_client_is_invited_even_when_the_upstream_never_says_100(self):
        self.up.invites = False
        self.addCleanup(setattr, self.up, "invites", True)
        with self.weir.client() as client:
            client.send(b"POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            self.assertEqual(client.head().status, 100)
            client.send(b"hello")
            self.assertEqual(client.answer().json()["body"], "hello")

    def test_exactly_one_100_even_when_the_upstream_says_it_too(self):
        with self.weir.client() as client:
            client.send(b"POST /m/continue-then-200 HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            self.assertEqual(client.head().status, 100)
            client.send(b"hello")
            answer = client.answer()
            self.assertEqual((answer.status, answer.json()["body"], answer.interims), (200, "hello", []))

    def test_no_100_for_a_body_that_is_already_there(self):
        answer = self.ask(post("/", b"hello", expect="100-continue"))
        self.assertEqual((answer.status, answer.json()["body"]), (200, "hello"))


class Trailers(Shared):

    def test_reach_a_client_that_asks_for_them(self):
        with self.weir.client() as client:
            answer = client.ask(get("/m/trailers", te="trailers", connection="te"))
            self.assertEqual(answer.body, b"body")
            self.assertIn(("x-sum", "42"), [(n.lower(), v) for n, v in answer.trailers])
            self.assertFalse({n.lower() for n, _ in answer.trailers} & {"content-length", "transfer-encoding", "host", "connection"})

    def test_are_dropped_for_one_that_does_not(self):
        answer = self.ask(get("/m/trailers"))
        self.assertEqual((answer.body, answer.trailers), (b"body", []))

    def test_never_become_headers(self):
        answer = self.ask(get("/m/trailers"))
        self.assertEqual(answer.all("x-sum"), [])
        self.assertEqual(answer.all("set-cookie"), [])


TRACE = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}\Z")


class Fields(Shared):

    def seen(self, **fields):
        self.assertEqual(self.ask(get("/", **fields)).status, 200)
        self.assertEqual(self.up.faults, [])
        return self.up.seen[0]

    def test_host_is_preserved(self):
        self.ask(get("/", host="Shop.Example:8080"))
        self.assertEqual(self.up.seen[0].one("host").lower(), b"shop.example:8080")

    def test_unknown_fields_pass_untouched_and_in_order(self):
        request = b"GET / HTTP/1.1\r\nHost: t\r\nX-One: a  b\r\nx-TWO: \"c\"\r\nX-One: d\r\nAccept: */*\r\nX-Empty:\r\nX-Latin: \xe9\r\n\r\n"
        answer = self.ask(request)
        if answer.status == 400:    # obs-text may be refused, the rest may not
            self.ask(request.replace(b"X-Latin: \xe9\r\n", b""))
        seen = self.up.seen[0]
        mine = [(n, v) for n, v in seen.fields if n.lower() in (b"x-one", b"x-two", b"accept", b"x-empty")]
        self.assertEqual(mine, [(b"X-One", b"a  b"), (b"x-TWO", b"\"c\""), (b"X-One", b"d"), (b"Accept", b"*/*"), (b"X-Empty", b"")])

    def test_a_trace_is_begun(self):
        self.assertRegex(self.seen().one("traceparent"), TRACE)

    def test_a_trace_is_continued(self):
        trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
        seen = self.seen(traceparent="00-%s-%s-01" % (trace, span), tracestate="a=1")
        match = TRACE.match(seen.one("traceparent"))
        self.assertEqual(match[1].decode(), trace)
        self.assertEqual(seen.one("tracestate"), b"a=1")

    def test_a_broken_trace_is_replaced(self):
        for bad in ("00-zz-yy-01", "x", "00-" + "0" * 32 + "-" + "1" * 16 + "-01", "ff-" + "1" * 32 + "-" + "1" * 16 + "-01", "00-" + "1" * 32 + "-" + "0" * 16 + "-01"):
            with self.subTest(traceparent=bad):
                self.up.forget()
                seen = self.seen(traceparent=bad)
                self.assertRegex(seen.one("traceparent"), TRACE)
                self.assertNotEqual(seen.one("traceparent").decode(), bad)

    def test_every_answer_has_a_date(self):
        for path in ("/", "/m/garbage"):
            self.assertIsNotNone(self.ask(get(path)).one("date"), path)

    def test_the_version_of_weir_is_not_told(self):
        for path in ("/", "/m/garbage"):
            answer = self.ask(get(path))
            self.assertNotRegex(answer.one("server") or "", r"[0-9]")
            self.assertEqual(answer.all("x-powered-by"), [])

    def test_methods_pass(self):
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "QUERY"):
            with self.subTest(method=method):
                self.up.forget()
                self.assertEqual(self.ask(get("/", method=method, content_length="0")).status, 200)
                self.assertEqual(self.up.seen[0].method, method.encode())


class Routes(Shared):
    """The first that matches, in file order."""

    @classmethod
    def config(cls):
        config = one_pool(cls.up.address)
        cls.plain_port = free_port()
        config["listeners"] = {"http": {}, "plain": {"bind": ["127.0.0.1:%d" % cls.plain_port], "redirect_to": "http"}}
        config["routes"] = [
            {"name": "health", "match": {"path": "/healthz"}, "respond": {"status": 200, "body": "ok\n"}},
            {"name": "long", "match": {"path": "/long"}, "respond": {"status": 200, "body": "x" * 65536}},
            {"name": "legacy", "match": {"path_prefix": "/old"}, "redirect": {"to": "/new", "status": 308}},
            {"name": "away", "match": {"path_prefix": "/away"}, "redirect": {"to": "https://else.example/x", "status": 302}},
            {"name": "method", "match": {"path": "/by", "method": ["POST"]}, "respond": {"status": 201, "body": "posted\n"}},
            {"name": "header", "match": {"path": "/by", "header": {"x-api": "2"}}, "respond": {"status": 202, "body": "two\n"}},
            {"name": "host", "match": {"host": "only.example", "path": "/by"}, "respond": {"status": 203, "body": "host\n"}},
            {"name": "wild", "match": {"host": "*.wild.example"}, "respond": {"status": 200, "body": "wild\n"}},
            {"name": "client", "match": {"path": "/by", "client": ["192.0.2.0/24"]}, "respond": {"status": 418, "body": "never\n"}},
            {"name": "edit", "match": {"path_prefix": "/edit"}, "pool": "app",
             "headers": {"set": {"x-who": "${client.address}", "x-what": "${request.method} ${request.path}", "x-where": "${route}/${pool}", "x-fixed": "v", "x-id": "${request.id}"},
                         "remove": ["x-debug"], "response": {"set": {"x-served": "${pool}"}, "remove": ["x-upstream"]}}},
            {"name": "api", "match": {"path_prefix": "/api"}, "pool": "app"},
            {"name": "m", "match": {"path_prefix": "/m"}, "pool": "app", "headers": {"response": {"set": {"x-was": "${request.host}${request.path}"}}}},
        ]
        return config

    def test_exact_path(self):
        answer = self.ask(get("/healthz"))
        self.assertEqual((answer.status, answer.body), (200, b"ok\n"))
        self.assertEqual(self.ask(get("/healthz/x")).status, 404)

    def test_an_answer_as_long_as_the_file_may_say(self):
        with self.weir.client() as client:
            for _ in range(2):
                answer = client.ask(get("/long"))
                self.assertEqual((answer.status, len(answer.body)), (200, 65536))

    def test_prefix_by_whole_segments(self):
        self.assertEqual(self.ask(get("/api")).status, 200)
        self.assertEqual(self.ask(get("/api/x")).status, 200)
        self.assertEqual(self.ask(get("/apix")).status, 404)

    def test_nothing_matches_is_404_and_says_nothing_internal(self):
        answer = self.ask(get("/nowhere"))
        self.assertEqual(answer.status, 404)
        self.assertIsNotNone(answer.one("content-type"))
        self.assertTrue(answer.body)
        for word in (b"weir", b"app", b"127.0.0.1"):
            self.assertNotIn(word, answer.body.lower())

    def test_by_method_header_and_host(self):
        self.assertEqual(self.ask(post("/by", b"x")).status, 201)
        self.assertEqual(self.ask(get("/by", x_api="2")).status, 202)
        self.assertEqual(self.ask(get("/by", host="only.example")).status, 203)
        self.assertEqual(self.ask(get("/by", host="ONLY.example:8080")).status, 203)
        self.assertEqual(self.ask(get("/by")).status, 404)

    def test_wildcard_hosts(self):
        self.assertEqual(self.ask(get("/", host="a.wild.example")).body, b"wild\n")
        self.assertEqual(self.ask(get("/", host="a.b.wild.example")).body, b"wild\n")
        self.assertEqual(self.ask(get("/", host="wild.example")).status, 404)
        self.assertEqual(self.ask(get("/", host="xwild.example")).status, 404)

    def test_redirects_keep_the_query(self):
        answer = self.ask(get("/old/thing?a=b"))
        self.assertEqual(answer.status, 308)
        self.assertRegex(answer.one("location"), r"/new.*\?a=b\Z")
        answer = self.ask(get("/away"))
        self.assertEqual((answer.status, answer.one("location")), (302, "https://else.example/x"))

    def test_a_redirect_never_leads_where_the_client_says(self):
        for path in ("/old//evil.example", "/old/..//evil.example", "/old\\evil.example"):
            answer = self.ask(get(path))
            for location in answer.all("location"):
                self.assertTrue(location.startswith("/new"), location)

    def test_a_listener_that_only_redirects(self):
        with Client(("127.0.0.1", self.plain_port)) as client:
            answer = client.ask(get("/x?y", host="t:%d" % self.plain_port))
        self.assertEqual(answer.status, 308)
        self.assertEqual(answer.one("location"), "http://t:%d/x?y" % self.weir.port)

    def test_request_fields_are_set_and_removed(self):
        answer = self.ask(get("/edit/a?b", x_debug="1", x_fixed="mine", X_Fixed="too"))
        seen = self.up.seen[0]
        self.assertEqual(seen.one("x-who"), b"127.0.0.1")
        self.assertEqual(seen.one("x-what"), b"GET /edit/a")
        self.assertEqual(seen.one("x-where"), b"edit/app")
        self.assertEqual(seen.one("x-fixed"), b"v")
        self.assertEqual(seen.one("x-id"), seen.one("x-request-id"))
        self.assertEqual(seen.all("x-debug"), [])
        self.assertEqual(answer.one("x-served"), "app")
        self.assertEqual(answer.all("x-upstream"), [])

    def test_a_field_of_an_answer_is_of_its_own_request(self):
        """Whatever the worker reads between a request and its answer."""
        with self.weir.client() as client:
            client.send(get("/m/wait/for-it?q"))
            until(lambda: self.asked_for("/m/wait/for-it?q"))
            for path in ("/healthz", "/" + "other" * 50):
                self.ask(get(path))
            self.up.go.set()
            self.assertEqual(client.answer().one("x-was"), "t/m/wait/for-it")

    def test_fields_have_room_for_what_the_request_is(self):
        for size in (*range(1, 4000, 97), 10000, 20000, 30000):
            path = "/edit/" + "a" * size
            self.assertEqual(self.ask(get(path)).status, 200, size)
            self.assertEqual(self.up.seen[-1].one("x-what"), b"GET " + path.encode())

    def test_a_response_to_head_of_weirs_own(self):
        with self.weir.client() as client:
            answer = client.ask(get("/healthz", method="HEAD"), "HEAD")
            self.assertEqual((answer.status, answer.one("content-length")), (200, "3"))
            row = until(lambda: next((r for r in self.weir.access() if r["http.request.method"] == "HEAD"), None), 5, "its line")
            self.assertEqual(row["weir.bytes_out"], 0)
            self.assertEqual(client.ask(get("/healthz")).body, b"ok\n")


class OtherUpstreams(Case):

    def test_a_unix_socket(self):
        with tempfile.TemporaryDirectory() as directory:
            up = self.upstream("echo", path=os.path.join(directory, "app.sock"))
            weir = self.start(one_pool(up.address))
            for _ in range(5):
                self.assertEqual(weir.ask(get("/x")).json()["target"], "/x")
            self.assertEqual((up.connections, up.faults), (1, []))

    def test_several_endpoints_share_the_requests(self):
        ups = [self.upstream("hello", name="up%d" % i) for i in range(3)]
        weir = self.start(one_pool(*[up.address for up in ups], pool={"balance": "round_robin"}))
        for _ in range(90):
            self.assertEqual(weir.ask(get("/")).status, 200)
        for up in ups:
            self.assertEqual(len(up.seen), 30)

    def test_an_ipv6_listener(self):
        up = self.upstream("echo")
        port = free_port()
        try:
            socket.create_server(("::1", port), family=socket.AF_INET6).close()
        except OSError:
            self.skipTest("no IPv6 on this machine")
        config = one_pool(up.address)
        config["listeners"] = {"http": {"bind": ["[::1]:%d" % port]}}
        self.start(config)
        with Client(("::1", port)) as client:
            self.assertEqual(client.ask(get("/x")).status, 200)
        self.assertEqual(up.seen[0].one("x-forwarded-for"), b"::1")

    def test_several_workers_serve_all(self):
        up = self.upstream("hello")
        weir = self.start(one_pool(up.address, workers=2))
        for _ in range(60):
            self.assertEqual(weir.ask(get("/")).status, 200)


class Shutdowns(Case):

    def test_a_plain_stop_is_quick_and_in_order(self):
        up = self.upstream("hello")
        weir = self.start(one_pool(up.address))
        self.assertEqual(weir.ask(get("/")).status, 200)
        began = time.monotonic()
        weir.stop()
        self.assertLess(time.monotonic() - began, 3)


if __name__ == "__main__":
    unittest.main()
