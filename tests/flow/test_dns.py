"""Names are followed while weir runs: against a real name server (dnsmasq), and one that misbehaves."""

import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import unittest

from harness import SLOW, Case, Load, free_port, get, one_pool, post, until

import nameserver

DNSMASQ = shutil.which("dnsmasq") or "/usr/sbin/dnsmasq"


class Dnsmasq:
    """Knows what it is told, and nothing else."""

    def __init__(self, *options):
        self.port = free_port()
        self.process = None
        self.begin(*options)

    def begin(self, *options):
        if not os.path.exists(DNSMASQ):
            raise AssertionError("there is no dnsmasq: apt-get install dnsmasq-base")
        self.end()
        self.process = subprocess.Popen([DNSMASQ, "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--bind-interfaces",
                                         "--user=" + ("root" if os.getuid() == 0 else ""), "--pid-file=", "--listen-address=127.0.0.1",
                                         "--port=%d" % self.port, "--local-ttl=1", "--local=/test/", *options], stderr=subprocess.DEVNULL)
        until(self.answers, 10, "dnsmasq answers")

    def answers(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(0.2)
            try:
                s.sendto(query("ask.test"), ("127.0.0.1", self.port))
                return len(s.recv(512)) >= 12
            except OSError:
                return False

    def end(self):
        if self.process:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.end()


def query(name):
    return struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + b"".join(bytes([len(p)]) + p.encode() for p in name.split(".")) + b"\0\0\1\0\1"


class Moody(nameserver.Server):
    """A server of few lines whose mood a test sets: silent, servfail, refused, garbage, stranger, or ok."""

    def __init__(self, *addresses):
        self.addresses, self.mood = addresses, "ok"
        super().__init__()

    def answer(self, asked):
        end = asked.index(b"\0", 12) + 5
        kind = struct.unpack(">H", asked[end - 4:end - 2])[0]
        if self.mood == "silent":
            return []
        if self.mood in ("servfail", "refused"):
            return [asked[:2] + struct.pack(">5H", 0x8180 | (2 if self.mood == "servfail" else 5), 1, 0, 0, 0) + asked[12:end]]
        if self.mood == "garbage":
            return [asked[:2] + struct.pack(">5H", 0x8180, 1, 500, 0, 0) + asked[12:end] + b"\xc0\xff" * 20]
        found = self.addresses if kind == 1 else ()
        body = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton(a) for a in found)
        whole = asked[:2] + struct.pack(">5H", 0x8180, 1, len(found), 0, 0) + asked[12:end] + body
        if self.mood == "stranger":      # right question, wrong number
            return [bytes([asked[0] ^ 0xff]) + whole[1:]]
        return [whole]



class Followed(Case):
    limit = 90

    def setUp(self):
        self.one = self.upstream("hello", name="one")
        self.port = int(self.one.address.rpartition(":")[2])
        self.two = self.upstream("hello", name="two", host="127.0.0.2", port=self.port)
        self.three = self.upstream("hello", name="three", host="127.0.0.3", port=self.port)

    def config(self, server, *names, pool=None, **more):
        return one_pool(*[{"dns": name, "port": self.port} for name in names or ("app.test",)], pool=pool,
                        dns=dict({"servers": ["127.0.0.1:%d" % server.port], "timeout": "300ms"}, **more))

    def addresses(self, weir):
        return sorted(e["address"].rpartition(":")[0] for e in weir.admin("GET", "/v1/pools/app").json["endpoints"])

    def follows(self, weir, *addresses, limit=15):
        until(lambda: self.addresses(weir) == sorted(addresses), limit, "endpoints are %s" % (addresses,))

    def serves(self, weir, *names, n=12):
        """Each worker turns to what was published in its own time."""
        until(lambda: self.who(weir, n) == set(names), 10, "%s serve" % (names,))

    def who(self, weir, n=12):
        return {weir.ask().one("x-upstream") for _ in range(n)}

    def test_records_that_change_are_followed_and_those_that_stay_keep_what_they_are(self):
        dns = self.enter(Dnsmasq("--host-record=app.test,127.0.0.1"))
        weir = self.start(self.config(dns))
        self.assertEqual(self.who(weir), {"one"})
        weir.admin("PUT", "/v1/pools/app/endpoints/127.0.0.1:%d/state" % self.port, {"state": "active"})
        count = weir.admin("GET", "/v1/pools/app").json["endpoints"][0]["requests"]
        with Load(weir.address, clients=2) as load:
            dns.begin("--host-record=app.test,127.0.0.1", "--host-record=app.test,127.0.0.2")
            self.follows(weir, "127.0.0.1", "127.0.0.2")
            self.assertGreaterEqual(weir.admin("GET", "/v1/pools/app").json["endpoints"][0]["requests"], count)
            until(lambda: self.two.seen, 10)
            dns.begin("--host-record=app.test,127.0.0.3")
            self.follows(weir, "127.0.0.3")
            until(lambda: self.three.seen, 10)
        self.assertEqual(load.failures, [])
        self.serves(weir, "three")

    def test_servers_of_a_config_that_was_refused_are_never_asked_again(self):
        dns, other = self.enter(Dnsmasq("--host-record=app.test,127.0.0.1")), self.enter(Dnsmasq("--host-record=app.test,127.0.0.1"))
        weir = self.start(self.config(dns))
        folder = self.folder()
        with open(folder + "/bad.mmdb", "w") as out:
            out.write("nothing")
        weir.reload(dict(self.config(other), geo={"database": folder + "/bad.mmdb"}), ok=False)
        dns.begin("--host-record=app.test,127.0.0.2")
        self.follows(weir, "127.0.0.2")

    def test_one_that_left_the_answer_finishes_until_the_deadline(self):
        slow = self.upstream("wait", name="slow", host="127.0.0.9", port=self.port)
        dns = self.enter(Dnsmasq("--host-record=app.test,127.0.0.9"))
        weir = self.start(self.config(dns, pool={"drain": "500ms"}))
        client = self.enter(weir.client(timeout=30))
        client.send(post("/", b"x"))
        self.assertTrue(slow.wait(lambda: len(slow.complete()) == 1))
        dns.begin("--host-record=app.test,127.0.0.1")
        self.assertEqual(client.answer().status, 503)
        self.assertEqual(self.who(weir), {"one"})

    def test_the_last_good_answer_outlives_the_server_and_its_lies(self):
        dns = self.enter(Dnsmasq("--host-record=app.test,127.0.0.1"))
        weir = self.start(self.config(dns))
        for what in ("gone", "nxdomain"):
            with self.subTest(what=what):
                told = weir.err().count("name not resolved")
                dns.end() if what == "gone" else dns.begin()
                until(lambda: weir.metric("weir_dns_names", state="failing") == 1, 15)
                until(lambda: weir.err().count("name not resolved") == told + 1, 5)
                self.assertEqual(self.who(weir), {"one"})
                failed = weir.metric("weir_dns_lookups_total", result="failed")
                until(lambda: weir.metric("weir_dns_lookups_total", result="failed") > failed, 40)
                self.assertEqual(weir.err().count("name not resolved"), told + 1, "told more than once")
                dns.begin("--host-record=app.test,127.0.0.1")
                until(lambda: weir.metric("weir_dns_names", state="ok") == 1, 40)
                until(lambda: weir.err().count("name resolved again") == told + 1, 5)

    def test_every_mood_of_a_server_keeps_what_was_known(self):
        dns = self.enter(Moody("127.0.0.1"))
        weir = self.start(self.config(dns))
        for mood in ("silent", "servfail", "garbage", "stranger"):
            with self.subTest(mood=mood):
                dns.mood = mood
                until(lambda: weir.metric("weir_dns_names", state="failing") == 1, 15, mood)
                self.assertEqual(self.who(weir, 4), {"one"})
                dns.mood = "ok"
                until(lambda: weir.metric("weir_dns_names", state="ok") == 1, 40)
        dns.addresses = ("127.0.0.2",)
        self.follows(weir, "127.0.0.2")

    def test_each_way_to_fail_has_its_own_words(self):
        class Dead:
            port = free_port()

        def why(server):
            weir = self.start(self.config(server))
            lines = [json.loads(line) for line in weir.err().splitlines() if "name not resolved" in line]
            self.assertEqual(len(lines), 1, weir.err())
            return lines[0]["why"]
        dns = self.enter(Moody("127.0.0.1"))
        told = {}
        for mood in ("refused", "servfail", "silent"):
            dns.mood = mood
            told[mood] = why(dns)
        told["dead"] = why(Dead)
        told["unknown"] = why(self.enter(Dnsmasq()))
        for mood, word in (("refused", "REFUSED"), ("servfail", "SERVFAIL"), ("silent", "no answer in time"), ("dead", "connection refused"), ("unknown", "not found")):
            self.assertIn(word, told[mood])
        self.assertEqual(len(set(told.values())), len(told), told)

    def test_a_ttl_of_nothing_does_not_hammer_the_server(self):
        dns = self.enter(Moody("127.0.0.1"))
        self.start(self.config(dns))
        began, asked = time.monotonic(), dns.asked
        until(lambda: dns.asked >= asked + 6, 20)        # A and AAAA, three times
        self.assertGreater(time.monotonic() - began, 1.5)

    def test_a_name_that_resolves_later_comes_in_by_itself(self):
        dns = self.enter(Dnsmasq())
        began = time.monotonic()
        weir = self.start(self.config(dns))
        self.assertLess(time.monotonic() - began, 3 + 2 * SLOW)
        self.assertEqual(weir.ask().status, 503)
        warning = [line for line in weir.err().splitlines() if "name not resolved" in line][0]
        self.assertRegex(warning, r'"where":"[^"]*:[0-9]+"')
        dns.begin("--host-record=app.test,127.0.0.2")
        self.follows(weir, "127.0.0.2", limit=40)
        self.serves(weir, "two")

    def test_a_silent_server_holds_no_start_up(self):
        dns = self.enter(Moody())
        dns.mood = "silent"
        began = time.monotonic()
        weir = self.start(self.config(dns, *("n%d.test" % i for i in range(50)), "127.0.0.1"))
        self.assertLess(time.monotonic() - began, 3 + 2 * SLOW)
        dns.mood, dns.addresses = "ok", ("127.0.0.1",)
        until(lambda: weir.ask().status == 200, 60)

    def test_a_long_answer_comes_by_tcp_and_is_bounded_in_one_order(self):
        many = ["--host-record=app.test,127.0.1.%d" % i for i in range(1, 101)]
        dns = self.enter(Dnsmasq(*many))
        weir = self.start(self.config(dns))
        first = self.addresses(weir)
        self.assertEqual(len(first), 64)
        good = weir.metric("weir_dns_lookups_total", result="ok")
        until(lambda: weir.metric("weir_dns_lookups_total", result="ok") > good + 2, 20)
        self.assertEqual(self.addresses(weir), first)
        self.assertNotIn("addresses of names have changed", weir.err())

    def test_a_name_can_be_put_over_the_api_and_drained_as_a_whole(self):
        dns = self.enter(Dnsmasq("--host-record=app.test,127.0.0.1", "--host-record=new.test,127.0.0.2", "--host-record=new.test,127.0.0.3"))
        weir = self.start(self.config(dns))
        new = "new.test:%d" % self.port
        reply = weir.admin("PUT", "/v1/pools/app/endpoints", {"endpoints": ["127.0.0.1:%d" % self.port, new]})
        self.assertEqual(reply.status, 200, reply)
        self.follows(weir, "127.0.0.1", "127.0.0.2", "127.0.0.3")
        self.serves(weir, "one", "two", "three", n=40)
        self.assertEqual(weir.admin("PUT", "/v1/pools/app/endpoints/%s/state" % new, {"state": "drain"}).status, 200)
        self.assertEqual(self.who(weir), {"one"})
        weir.kill()
        weir.start()
        self.follows(weir, "127.0.0.1", "127.0.0.2", "127.0.0.3")
        self.assertEqual(self.who(weir), {"one"})

    def test_of_a_name_and_its_address_the_last_word_holds(self):
        dns = self.enter(Dnsmasq("--host-record=app.test,127.0.0.1", "--host-record=app.test,127.0.0.2"))
        weir = self.start(self.config(dns))
        name, one = "app.test:%d" % self.port, "127.0.0.1:%d" % self.port

        def say(*words):
            for what, state in words:
                self.assertEqual(weir.admin("PUT", "/v1/pools/app/endpoints/%s/state" % what, {"state": state}).status, 200)

        def states():
            return {e["address"].partition(":")[0]: e["state"] for e in weir.admin("GET", "/v1/pools/app").json["endpoints"]}

        def holds(one, two):
            self.assertEqual(states(), {"127.0.0.1": one, "127.0.0.2": two})
            weir.reload()
            self.assertEqual(states(), {"127.0.0.1": one, "127.0.0.2": two})
            weir.kill()
            weir.start()
            self.follows(weir, "127.0.0.1", "127.0.0.2")
            self.assertEqual(states(), {"127.0.0.1": one, "127.0.0.2": two})
        say((one, "drain"), (name, "active"))
        holds("active", "active")
        say((name, "maint"), (one, "active"))
        holds("active", "maint")
        say((name, "drain"))
        holds("drain", "drain")

    def test_servers_are_addresses(self):
        weir = self.start(one_pool("127.0.0.1:%d" % self.port))
        weir.reload(one_pool("127.0.0.1:1", dns={"servers": ["ns.test:53"]}), ok=False)
        self.assertIn("is not an IP address", weir.err())


if __name__ == "__main__":
    unittest.main()
