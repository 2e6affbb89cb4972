"""Who the client is and what belongs to one hop: security.md section 3.

An untrusted client says nothing about itself that reaches the upstream; a
trusted proxy's word is carried on. The path that is judged is the path that
is forwarded.
"""

import re
import unittest
import urllib.parse

from harness import Client, Shared, free_port, one_pool, until

import h2

# No value may occur by chance in what weir makes itself (hexadecimal ids).
SPOOFS = {
    "x-forwarded-for": "6.6.6.6", "x-real-ip": "6.6.6.6", "forwarded": "for=6.6.6.6", "x-forwarded-host": "evil.example",
    "x-forwarded-proto": "evil", "x-forwarded-port": "666z", "x-request-id": "bad id with spaces",
}


class UntrustedClientsSayNothingAboutThemselves(Shared):

    def forwarded(self, fields):
        answer = self.ask(b"GET / HTTP/1.1\r\nHost: t\r\n" + fields + b"\r\n")
        self.assertEqual(self.up.faults, [])
        if answer.status == 400:
            return None
        self.assertEqual(answer.status, 200)
        return self.up.seen[0]

    def test_what_the_upstream_learns_of_a_plain_request(self):
        seen = self.forwarded(b"")
        self.assertEqual(seen.one("host"), b"t")
        self.assertEqual(seen.one("x-forwarded-for"), b"127.0.0.1")
        self.assertEqual(seen.one("x-forwarded-proto"), b"http")
        self.assertEqual(seen.one("x-forwarded-host"), b"t")
        self.assertRegex(seen.one("x-request-id").decode(), r"\A[A-Za-z0-9._-]{8,64}\Z")

    def test_each_spoofed_field_is_replaced(self):
        for name, value in SPOOFS.items():
            for spelling in (name, name.title(), name.upper()):
                with self.subTest(field=spelling):
                    self.up.forget()
                    seen = self.forwarded(b"%s: %s\r\n" % (spelling.encode(), value.encode()))
                    self.assertIsNotNone(seen, "refused")
                    self.assertNotIn(value.encode(), b"\n".join(seen.all(name)))

    def test_spoofs_by_alias_do_not_pass(self):
        for name, value in SPOOFS.items():
            for alias in (name.replace("-", "_"), name.title().replace("-", "_"), name.replace("-", "_", 1)):
                if alias == name:
                    continue
                with self.subTest(alias=alias):
                    self.up.forget()
                    seen = self.forwarded(b"%s: %s\r\n" % (alias.encode(), value.encode()))
                    if seen:
                        self.assertNotIn(value.encode(), seen.raw)

    def test_many_lines_of_one_field_are_all_replaced(self):
        seen = self.forwarded(b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nx-forwarded-for: 8.8.8.8\r\n")
        self.assertEqual(seen.all("x-forwarded-for"), [b"127.0.0.1"])

    def test_a_request_id_of_an_untrusted_client_is_made_anew(self):
        seen = self.forwarded(b"X-Request-Id: looks-fine-1234\r\n")
        self.assertNotEqual(seen.one("x-request-id"), b"looks-fine-1234")

    def test_two_requests_have_two_ids(self):
        first = self.forwarded(b"").one("x-request-id")
        self.up.forget()
        self.assertNotEqual(self.forwarded(b"").one("x-request-id"), first)


class WhatARouteSetsIsNotForged(Shared):
    """CGI and its heirs read X_Client_DN and X-Client-DN as one: HTTP_X_CLIENT_DN."""

    @classmethod
    def config(cls):
        config = one_pool(cls.up.address)
        config["listeners"] = {"http": {}}
        config["routes"] = [
            {"name": "edit", "match": {"path_prefix": "/edit"}, "pool": "app",
             "headers": {"set": {"x-client-dn": "${request.id}", "x_plain": "set"}, "remove": ["x-is-admin"]}},
            {"name": "rest", "match": {}, "pool": "app"}]
        return config

    FORGED = ("X-Client_DN", "x_client_dn", "X_IS_ADMIN", "x-is_admin", "X-Plain")

    def test_by_no_spelling(self):
        for spelling in self.FORGED:
            with self.subTest(field=spelling):
                self.up.forget()
                self.assertEqual(self.ask(b"GET /edit HTTP/1.1\r\nHost: t\r\n%s: FORGED\r\nX_Own_Field: kept\r\n\r\n" % spelling.encode()).status, 200)
                self.assertNotIn(b"FORGED", self.up.seen[0].raw)
                self.assertEqual(self.up.seen[0].all("x_own_field"), [b"kept"])

    def test_nor_by_http_2(self):
        for spelling in self.FORGED:
            with self.subTest(field=spelling):
                self.up.forget()
                wire = self.enter(h2.client(("127.0.0.1", self.weir.port)))
                wire.message(1)
                wire.headers(1, h2.request("/edit", "GET", "t", "http", (spelling.lower(), "FORGED"), ("x_own_field", "kept")))
                self.assertEqual(wire.answer(1).status, 200)
                self.assertNotIn(b"FORGED", self.up.seen[0].raw)
                self.assertEqual(self.up.seen[0].all("x_own_field"), [b"kept"])

    def test_other_routes_pass_them_on(self):
        for spelling in self.FORGED:
            with self.subTest(field=spelling):
                self.up.forget()
                self.assertEqual(self.ask(b"GET /other HTTP/1.1\r\nHost: t\r\n%s: kept\r\n\r\n" % spelling.encode()).status, 200)
                self.assertEqual(self.up.seen[0].all(spelling.lower()), [b"kept"])


class HopByHopFieldsStayOnTheirHop(Shared):

    def forwarded(self, fields):
        answer = self.ask(b"GET / HTTP/1.1\r\nHost: t\r\n" + fields + b"\r\n")
        self.assertEqual((answer.status, self.up.faults), (200, []))
        return self.up.seen[0]

    def test_fields_that_connection_names_are_removed(self):
        seen = self.forwarded(b"Connection: x-private, X-Other\r\nX-Private: 1\r\nx-other: 2\r\nX-Public: 3\r\n")
        self.assertEqual((seen.all("x-private"), seen.all("x-other"), seen.all("x-public")), ([], [], [b"3"]))

    def test_two_connection_lines_count_both(self):
        seen = self.forwarded(b"Connection: x-a\r\nX-A: 1\r\nConnection: x-b\r\nX-B: 2\r\n")
        self.assertEqual((seen.all("x-a"), seen.all("x-b")), ([], []))

    def test_the_hop_by_hop_fields_are_removed_unnamed(self):
        seen = self.forwarded(b"Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nTrailer: x\r\n"
                              b"Upgrade: foo\r\nProxy-Authorization: Basic eA==\r\n")
        for name in ("keep-alive", "proxy-connection", "trailer", "upgrade", "proxy-authorization"):
            self.assertEqual(seen.all(name), [], name)
        self.assertNotIn(b"gzip", b"".join(seen.all("te")))

    def test_connection_cannot_remove_what_weir_sets(self):
        seen = self.forwarded(b"Connection: host, x-forwarded-for, x-forwarded-proto, x-request-id, content-length, transfer-encoding, traceparent\r\n")
        self.assertEqual(seen.one("host"), b"t")
        self.assertEqual(seen.one("x-forwarded-for"), b"127.0.0.1")
        self.assertIsNotNone(seen.one("x-request-id"))
        self.assertIsNotNone(seen.one("x-forwarded-proto"))

    def test_connection_cannot_hide_a_body(self):
        answer = self.ask(b"POST / HTTP/1.1\r\nHost: t\r\nConnection: content-length\r\nContent-Length: 5\r\n\r\nhello")
        self.assertIn(answer.status, (200, 400))
        if answer.status == 200:
            self.assertEqual(self.up.seen[0].body, b"hello")
        self.assertEqual(self.up.faults, [])

    def test_the_clients_connection_field_is_not_passed_on(self):
        seen = self.forwarded(b"Connection: close, x-a\r\n")
        self.assertNotIn(b"x-a", b",".join(seen.all("connection")))


class TrustedProxiesAreBelieved(Shared):
    """The listener "far" trusts 127.0.0.1, "near" nobody."""

    @classmethod
    def config(cls):
        cls.far, cls.near = free_port(), free_port()
        config = one_pool(cls.up.address)
        config["listeners"] = {
            "far": {"bind": ["127.0.0.1:%d" % cls.far], "client_ip": {"trusted_proxies": ["127.0.0.0/8"], "header": "x-forwarded-for"}},
            "near": {"bind": ["127.0.0.1:%d" % cls.near]},
        }
        return config

    def forwarded(self, fields, port=None):
        with Client(("127.0.0.1", port or self.far)) as client:
            answer = client.ask(b"GET / HTTP/1.1\r\nHost: t\r\n" + fields + b"\r\n")
        self.assertEqual((answer.status, self.up.faults), (200, []))
        return self.up.seen[0]

    def chain(self, seen):
        return [w.strip() for w in b",".join(seen.all("x-forwarded-for")).split(b",")]

    def test_the_chain_is_appended_to(self):
        self.assertEqual(self.chain(self.forwarded(b"X-Forwarded-For: 203.0.113.9\r\n")), [b"203.0.113.9", b"127.0.0.1"])

    def test_a_long_chain_is_kept_in_order(self):
        self.assertEqual(self.chain(self.forwarded(b"X-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nX-Forwarded-For: 3.3.3.3\r\n")),
                         [b"1.1.1.1", b"2.2.2.2", b"3.3.3.3", b"127.0.0.1"])

    def test_scheme_host_and_id_are_carried_on(self):
        seen = self.forwarded(b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\nX-Request-Id: from-the-edge-1\r\n")
        self.assertEqual(seen.one("x-forwarded-proto"), b"https")
        self.assertEqual(seen.one("x-forwarded-host"), b"shop.example")
        self.assertEqual(seen.one("x-request-id"), b"from-the-edge-1")

    def test_an_id_that_is_no_id_is_replaced_even_then(self):
        for bad in (b"a b", b"x" * 65, b"<script>", b"a\"b", b"\xe9"):
            with self.subTest(id=bad):
                self.up.forget()
                seen = self.forwarded(b"X-Request-Id: " + bad + b"\r\n")
                self.assertNotEqual(seen.one("x-request-id"), bad)

    def test_the_other_listener_believes_nobody(self):
        seen = self.forwarded(b"X-Forwarded-For: 203.0.113.9\r\nX-Request-Id: from-the-edge-1\r\n", self.near)
        self.assertEqual(self.chain(seen), [b"127.0.0.1"])
        self.assertNotEqual(seen.one("x-request-id"), b"from-the-edge-1")

    def test_the_access_log_names_the_client_and_the_peer(self):
        self.forwarded(b"X-Forwarded-For: 203.0.113.77\r\n")
        row = until_row(self.weir, lambda r: r["client.address"] == "203.0.113.77")
        self.assertEqual(row["network.peer.address"], "127.0.0.1")

    def test_the_rightmost_untrusted_address_is_the_client(self):
        self.forwarded(b"X-Forwarded-For: 6.6.6.6, 203.0.113.78, 127.0.0.9\r\n")
        until_row(self.weir, lambda r: r["client.address"] == "203.0.113.78")

    def test_garbage_in_the_chain_is_nobody(self):
        for bad in (b"not an address", b"1.2.3.4.5", b"'; drop", b"", b",,,"):
            with self.subTest(chain=bad):
                self.up.forget()
                with Client(("127.0.0.1", self.far)) as client:
                    answer = client.ask(b"GET /garbage HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: " + bad + b"\r\n\r\n")
                self.assertIn(answer.status, (200, 400))
        for row in self.weir.access():
            self.assertRegex(row.get("client.address", "127.0.0.1"), r"\A[0-9a-f.:]+\Z")


def until_row(weir, wanted):
    return until(lambda: next((r for r in weir.access() if wanted(r)), None), 5, "that row of the access log")


PATHS = [
    "/admin", "/admin/", "/admin/x", "/x/../admin", "/./admin", "/x/./../admin", "/%2e/admin", "/x/%2e%2e/admin", "/x/%2E%2E/admin", "/x/.%2e/admin",
    "/x/..%2fadmin", "/x/..%2Fadmin", "/x%2f..%2fadmin", "/x/..;/admin", "/x/..;x=y/admin", "/x/..;x=y/../admin", "/;/admin", "/%61dmin", "/%61%64%6d%69%6e",
    "/adm%69n/x", "/admin%2f", "/admin%2fx", "/admin%00", "/admin%00.html", "/x/..%5cadmin", "/x%5c..%5cadmin", "/x/..\\admin", "/x\\..\\admin", "/%c0%ae%c0%ae/admin",
    "/x/%c0%ae%c0%ae/admin", "/x/%e0%80%ae%e0%80%ae/admin", "/x/%252e%252e/admin", "/admin?x", "/admin?/../y", "/admin;x=y", "/../admin", "/../../admin", "/x/../../admin",
    "/x/y/../../admin", "/.%2e/admin", "/admin/..;/admin", "/%zz", "/%", "/%2", "/%u002e", "/x/%2e%2e%2fadmin", "/admin/.", "/admin/./x", "/x/../admin/../admin",
    "//admin", "///admin//x", "/x/..//admin", "//admin;x", "/;x=1/admin", "/;/;/admin/x", "/.;x/admin", "/x/../;y/admin;z/q",
]
ABSOLUTE = ["http://t/admin", "http://t/x/../admin", "http://t:80/admin", "http://T/admin"]


def resolved(target):
    """The path that a lenient server would take it for: decoded to the end, slashes turned, dots resolved."""
    path = target.split("?")[0]
    if "://" in path:
        path = "/" + path.split("://", 1)[1].partition("/")[2]
    path = urllib.parse.unquote(path, "latin-1").replace("\\", "/")
    out = []
    for part in path.split("/"):
        if part.startswith("..;"):
            part = ".."
        part = part.split(";")[0]       # Tomcat and its like do not see parameters
        if part == "..":
            out[-1:] = []
        elif part not in ("", "."):
            out.append(part)
    return "/" + "/".join(out)


class OnePathForJudgementAndForwarding(Shared):
    """/admin is answered 403 by weir: no spelling of it may reach the upstream."""

    @classmethod
    def config(cls):
        config = one_pool(cls.up.address)
        config["routes"].insert(0, {"name": "admin", "match": {"path_prefix": "/admin"}, "respond": {"status": 403, "body": "no\n"}})
        config["routes"].insert(0, {"name": "canary", "match": {"path": "/route", "header": {"x-canary": "yes"}}, "respond": {"status": 299, "body": "canary\n"}})
        return config

    def judge(self, target):
        self.up.forget()
        answer = self.ask(b"GET %s HTTP/1.1\r\nHost: t\r\n\r\n" % target.encode("latin-1"))
        self.assertIn(answer.status, (200, 400, 403, 404))
        self.assertEqual(self.up.faults, [])
        for seen in self.up.seen:
            path = resolved(seen.target.decode("latin-1"))
            self.assertFalse(re.match(r"/admin(/|\Z)", path), "%r reached the upstream as %r" % (target, seen.target))
            self.assertNotRegex(seen.target.split(b"?")[0], rb"/\.\.?(/|\Z)", "dots went upstream")
        return answer

    def test_the_plain_one_is_forbidden(self):
        self.assertEqual(self.judge("/admin").status, 403)
        self.assertEqual(self.judge("/admin/x?y").status, 403)

    def test_a_longer_word_is_another_path(self):
        self.assertEqual(self.judge("/administrator").status, 200)

    def test_what_is_forwarded_is_what_was_asked(self):
        for target in ("/a/b?c=d&e=%20", "/a%20b", "/a//b", "/?", "/x;y=z", "/~user", "/a+b", "/?a/../b"):
            with self.subTest(target=target):
                self.judge(target)
                self.assertEqual(self.up.seen[0].target, target.encode())

    def test_unreserved_escapes_are_the_letters(self):
        self.assertEqual(self.judge("/%61dmin").status, 403)
        self.judge("/%62ook")
        self.assertEqual(self.up.seen[0].target, b"/book")

    def test_two_values_of_a_routing_header_are_none(self):
        def ask(*values):
            return self.ask(b"GET /route HTTP/1.1\r\nHost: t\r\n" + b"".join(b"X-Canary: %s\r\n" % v for v in values) + b"\r\n").status
        self.assertEqual(ask(b"yes"), 299)
        self.assertEqual(ask(b"no"), 200)
        self.assertIn(ask(b"yes", b"no"), (200, 400))
        self.assertIn(ask(b"no", b"yes"), (200, 400))
        self.assertIn(ask(b"yes", b"yes"), (200, 400))


def build():
    for number, target in enumerate(PATHS + ABSOLUTE):
        def test(self, target=target):
            self.judge(target)
        test.__doc__ = None
        word = re.sub(r"[^a-z0-9]+", "_", target.lower().replace("%", " pct ").replace("..", " up ")).strip("_")
        setattr(OnePathForJudgementAndForwarding, "test_path_%02d_%s" % (number, word), test)


build()

if __name__ == "__main__":
    unittest.main()
