"""Services by their SRV records: against a real name server (dnsmasq), and one of few lines."""

import shutil
import socket
import ssl
import struct
import tempfile
import unittest

from harness import Case, Load, one_pool, until

import nameserver
from test_dns import Dnsmasq
from test_tls import make_cert

SERVICE = "_http._tcp.shop.test"


def srv(target="", port=0, priority=0, weight=0):
    return "--srv-host=" + ",".join([SERVICE] + ([target, str(port), str(priority), str(weight)] if target else []))


class Silent(nameserver.Server):
    """A name server that knows one name, and keeps it to itself until `answers` is an address."""

    def __init__(self, name):
        self.answers = None
        super().__init__()

    def answer(self, asked):
        if not self.answers:
            return []
        end = asked.index(b"\0", 12) + 5
        is_a = asked[end - 4:end - 2] == b"\0\1"
        body = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton(self.answers) if is_a else b""
        return [asked[:2] + struct.pack(">5H", 0x8180, 1, int(is_a), 0, 0) + asked[12:end] + body]


class Service(Case):
    limit = 90

    def setUp(self):
        self.one, self.two, self.three = (self.upstream("hello", name=name, host=host)
                                          for name, host in (("one", "127.0.0.1"), ("two", "127.0.0.2"), ("three", "127.0.0.3")))
        self.hosts = ["--host-record=%s.test,%s" % (name, up.address.split(":")[0])
                      for name, up in (("one", self.one), ("two", self.two), ("three", self.three))]

    def config(self, server, pool=None, **more):
        return one_pool({"srv": SERVICE}, pool=pool, dns={"servers": ["127.0.0.1:%d" % server.port], "timeout": "300ms"}, **more)

    def endpoints(self, weir):
        return weir.admin("GET", "/v1/pools/app").json["endpoints"]

    def shown(self, weir):
        return {e["address"]: e for e in self.endpoints(weir)}

    def follows(self, weir, *upstreams, limit=20):
        wanted = sorted(up.address for up in upstreams)
        until(lambda: sorted(self.shown(weir)) == wanted, limit, "endpoints are %s, not %s" % (sorted(self.shown(weir)), wanted))

    def who(self, weir, n=12):
        return {weir.ask().one("x-upstream") for _ in range(n)}

    def begin(self, *records, hosts=None, **more):
        dns = self.enter(Dnsmasq(*(self.hosts if hosts is None else hosts), *records))
        return dns, self.start(self.config(dns, **more))

    def again(self, dns, *records, hosts=None):
        dns.begin(*(self.hosts if hosts is None else hosts), *records)


class Records(Service):

    def test_ports_and_weights_are_the_records(self):
        dns, weir = self.begin(srv("one.test", self.one.port, 0, 10), srv("two.test", self.two.port, 0, 30), pool={"balance": "random"})
        shown = self.shown(weir)
        self.assertEqual({a: e["weight"] for a, e in shown.items()}, {self.one.address: 10, self.two.address: 30})
        self.assertTrue(all(e["from"] == SERVICE and not e["standby"] for e in shown.values()))
        self.assertEqual(self.who(weir, 60), {"one", "two"})
        out = weir.ctl("pool", "app").stdout
        self.assertIn("FROM", out)
        self.assertIn(SERVICE, out)

    def test_a_weight_that_changes_cuts_no_connection(self):
        dns, weir = self.begin(srv("one.test", self.one.port, 0, 1), srv("two.test", self.two.port, 0, 1), pool={"balance": "round_robin"})
        with Load(weir.address, clients=2) as load:
            until(lambda: self.one.seen and self.two.seen)
            connects = {a: e["connects"] for a, e in self.shown(weir).items()}
            self.again(dns, srv("one.test", self.one.port, 0, 500), srv("two.test", self.two.port, 0, 1))
            until(lambda: self.shown(weir)[self.one.address]["weight"] == 500, 20)
            self.assertFalse(self.shown(weir)[self.two.address]["leaving"])
        self.assertEqual(load.failures, [])
        self.assertEqual(weir.admin("GET", "/v1/pools/app").json.get("retired", []), [])
        self.assertTrue(all(e["connects"] >= connects[a] for a, e in self.shown(weir).items()))
        seen = len(self.two.seen)
        self.who(weir, 50)
        self.assertLessEqual(len(self.two.seen) - seen, 2)

    def test_targets_that_come_and_go_are_followed(self):
        dns, weir = self.begin(srv("one.test", self.one.port))
        self.assertEqual(self.who(weir), {"one"})
        with Load(weir.address, clients=2) as load:
            self.again(dns, srv("two.test", self.two.port), srv("three.test", self.three.port))
            self.follows(weir, self.two, self.three)
            until(lambda: self.two.seen and self.three.seen)
        self.assertEqual(load.failures, [])
        self.assertEqual(self.who(weir, 40), {"two", "three"})

    def test_a_target_with_other_addresses_is_followed(self):
        dns, weir = self.begin(srv("app.test", self.one.port), hosts=["--host-record=app.test,127.0.0.1"])
        other = self.upstream("hello", name="other", host="127.0.0.4", port=self.one.port)
        self.again(dns, srv("app.test", self.one.port), hosts=["--host-record=app.test,127.0.0.4"])
        self.follows(weir, other)
        self.assertEqual(self.who(weir), {"other"})

    def test_one_target_at_two_ports_is_two_endpoints(self):
        second = self.upstream("hello", name="second", host="127.0.0.1")
        dns, weir = self.begin(srv("one.test", self.one.port), srv("one.test", second.port))
        self.follows(weir, self.one, second)
        self.assertEqual(self.who(weir, 40), {"one", "second"})

    def test_a_thousand_records_are_bounded_and_told_once(self):
        dns, weir = self.begin(*(srv("one.test", 20000 + i, i) for i in range(1000)))
        self.assertEqual(len(self.endpoints(weir)), 128)
        self.assertIn("127.0.0.1:20000", self.shown(weir))
        good = weir.metric("weir_dns_lookups_total", result="ok")
        until(lambda: weir.metric("weir_dns_lookups_total", result="ok") > good + 4, 30)
        self.assertEqual(weir.err().count("more records than are used"), 1)
        self.assertNotIn("addresses of names have changed", weir.err())

    def test_a_service_can_be_put_over_the_api_and_drained_as_a_whole(self):
        dns = self.enter(Dnsmasq(*self.hosts, srv("two.test", self.two.port), srv("three.test", self.three.port)))
        weir = self.start(one_pool(self.one.address, dns={"servers": ["127.0.0.1:%d" % dns.port]}))
        reply = weir.admin("PUT", "/v1/pools/app/endpoints", {"endpoints": [self.one.address, {"srv": SERVICE}]})
        self.assertEqual(reply.status, 200, reply)
        self.follows(weir, self.one, self.two, self.three)
        self.assertEqual(self.who(weir, 40), {"one", "two", "three"})
        drained = weir.ctl("endpoint", SERVICE, "drain")
        self.assertEqual(drained.returncode, 0, drained)
        self.assertEqual(self.who(weir), {"one"})
        weir.kill()
        weir.start()
        self.follows(weir, self.one, self.two, self.three)
        self.assertEqual(self.who(weir), {"one"})


class Priorities(Service):

    def test_a_higher_priority_stands_by_until_the_lower_is_out(self):
        dns, weir = self.begin(srv("one.test", self.one.port, 10), srv("two.test", self.two.port, 20),
                               pool={"health": {"path": "/", "interval": "200ms", "fall": 1, "rise": 1}})
        self.follows(weir, self.one, self.two)
        self.assertEqual(self.who(weir), {"one"})
        self.assertIn("standby", weir.ctl("pool", "app").stdout)
        weir.admin("PUT", "/v1/pools/app/endpoints/%s/state" % self.one.address, {"state": "drain"})
        self.assertEqual(self.who(weir), {"two"})
        weir.admin("PUT", "/v1/pools/app/endpoints/%s/state" % self.one.address, {"state": "active"})
        self.assertEqual(self.who(weir), {"one"})
        self.one.stop()
        until(lambda: self.shown(weir)[self.one.address]["up"] is False, 20)
        self.assertEqual(self.who(weir), {"two"})

    def test_who_refuses_is_retried_at_the_standby(self):
        dns, weir = self.begin(srv("one.test", self.one.port, 10), srv("two.test", self.two.port, 20))
        self.one.stop()
        self.assertEqual(weir.ask().one("x-upstream"), "two")

    def test_a_target_without_an_address_is_no_target(self):
        dns, weir = self.begin(srv("nobody.test", self.one.port, 10), srv("two.test", self.two.port, 20))
        self.follows(weir, self.two)
        self.assertFalse(self.endpoints(weir)[0]["standby"])
        self.assertEqual(self.who(weir), {"two"})
        self.again(dns, srv("nobody.test", self.one.port, 10), srv("two.test", self.two.port, 20),
                   hosts=self.hosts + ["--host-record=nobody.test,127.0.0.1"])
        self.follows(weir, self.one, self.two, limit=40)
        self.assertEqual(self.who(weir), {"one"})

    def test_a_target_whose_name_goes_leaves(self):
        records = srv("one.test", self.one.port, 10), srv("two.test", self.two.port, 20)
        dns, weir = self.begin(*records)
        self.assertEqual(self.who(weir), {"one"})
        self.again(dns, *records, hosts=self.hosts[1:])
        self.follows(weir, self.two)
        self.assertEqual(self.who(weir), {"two"})


class Misfortunes(Service):

    def test_a_new_target_that_is_slow_to_answer_sends_nobody_to_the_standby(self):
        """What was known stays until every new target was heard of."""
        silent = self.enter(Silent("slow.test"))
        beyond = "--server=/slow.test/127.0.0.1#%d" % silent.port
        dns = self.enter(Dnsmasq(*self.hosts, srv("one.test", self.one.port, 10), srv("two.test", self.two.port, 20), beyond))
        weir = self.start(self.config(dns))
        self.assertEqual(self.who(weir), {"one"})
        self.again(dns, srv("slow.test", self.three.port, 10), srv("two.test", self.two.port, 20), beyond)
        until(lambda: silent.asked, 20)
        seen = len(self.two.seen)
        self.assertEqual(self.who(weir), {"one"})
        self.assertEqual(len(self.two.seen), seen)
        until(lambda: self.who(weir, 3) == {"two"}, 20)     # nothing comes of it
        silent.answers = "127.0.0.3"
        until(lambda: self.who(weir, 3) == {"three"}, 40)

    def test_the_last_good_answer_outlives_the_server_and_no_records(self):
        dns, weir = self.begin(srv("one.test", self.one.port))
        for what in ("gone", "nxdomain"):
            with self.subTest(what=what):
                told = weir.err().count('name not resolved')
                dns.end() if what == "gone" else self.again(dns, hosts=[])
                until(lambda: weir.metric("weir_dns_names", state="failing") == 2, 30)     # the service and its target
                until(lambda: weir.err().count("name not resolved") == told + 2, 5)
                self.assertEqual(self.who(weir), {"one"})
                self.again(dns, srv("one.test", self.one.port))
                until(lambda: weir.metric("weir_dns_names", state="ok") == 2, 40)
                self.assertEqual(self.who(weir), {"one"})

    def test_a_service_that_is_decidedly_not_available_has_no_endpoints(self):
        dns, weir = self.begin(srv("one.test", self.one.port))
        self.assertEqual(self.who(weir), {"one"})
        self.again(dns, srv())
        self.follows(weir)
        self.assertEqual(weir.ask().status, 503)
        until(lambda: weir.err().count("decidedly not available") == 1, 5)
        self.again(dns, srv("two.test", self.two.port))
        self.follows(weir, self.two)
        self.assertEqual(self.who(weir), {"two"})

    def test_a_service_that_resolves_later_comes_in_by_itself(self):
        dns, weir = self.begin(hosts=[])
        self.assertEqual(weir.ask().status, 503)
        warning = [line for line in weir.err().splitlines() if "name not resolved" in line][0]
        self.assertRegex(warning, r'"where":"[^"]*:[0-9]+"')
        self.again(dns, srv("one.test", self.one.port))
        self.follows(weir, self.one, limit=40)

    def test_what_is_no_service_is_refused(self):
        weir = self.start(one_pool(self.one.address))
        for endpoint, word in (({"srv": "_http._tcp"}, "SRV records have a name"), ({"srv": SERVICE, "port": 80}, "srv and port"),
                               ({"srv": SERVICE, "weight": 2}, "srv and weight"), ({"srv": SERVICE, "dns": "a.test"}, "srv and dns")):
            with self.subTest(endpoint=endpoint):
                reply = weir.admin("PUT", "/v1/pools/app/endpoints", {"endpoints": [endpoint]})
                self.assertEqual(reply.status, 422)
                self.assertIn(word, reply.json["detail"])


class Tls(Service):

    def secure(self, name):
        """An upstream with a certificate for `name`; the files."""
        certs = tempfile.mkdtemp(prefix="weir-certs-")
        self.addCleanup(shutil.rmtree, certs, True)
        files = make_cert(certs, "up", [name])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        return self.upstream("hello", name="secure", tls=context, host="127.0.0.1"), files[0]

    def test_the_name_to_prove_is_the_services_and_not_what_a_record_says(self):
        for name, status in (("shop.test", 200), ("one.test", 502)):
            with self.subTest(name=name):
                up, cert = self.secure(name)
                dns, weir = self.begin(srv("one.test", up.port), pool={"tls": {"verify": "file", "ca": cert}})
                self.assertEqual(weir.ask().status, status)

    def test_another_name_may_be_given(self):
        up, cert = self.secure("one.test")
        dns, weir = self.begin(srv("one.test", up.port), pool={"tls": {"verify": "file", "ca": cert, "server_name": "one.test"}})
        self.assertEqual(weir.ask().status, 200)


if __name__ == "__main__":
    unittest.main()
