"""Who may use a route, by address and by place."""

import bisect
import ipaddress
import itertools
import os
import random
import shutil
import tempfile

from harness import SLOW, Case, get, one_pool, post, run, until
from test_geo import write

ALL = {"name": "all", "match": {"path_prefix": "/"}, "pool": "app"}


class Access(Case):

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="weir-access-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.up = self.upstream("echo")

    def list_file(self, *lines, name="list"):
        path = os.path.join(self.dir, name)
        with open(path, "w") as out:
            out.write("\n".join(lines) + "\n")
        return path

    def config(self, access, **more):
        return one_pool(self.up.address, routes=[dict(ALL, access=access)],
                        listeners={"http": {"client_ip": {"trusted_proxies": ["127.0.0.0/8"]}}}, **more)

    def start_with(self, **access):
        self.weir = self.start(self.config(access))
        return self.weir

    def status(self, address, **fields):
        return self.weir.ask(get(x_forwarded_for=address, **fields)).status

    def statuses(self, *addresses):
        return [self.status(a) for a in addresses]


class Lists(Access):

    def test_who_is_denied_is_told_so_and_touches_nothing(self):
        self.start_with(deny=["192.0.2.0/24", "2001:db8::/32"])
        self.assertEqual(self.statuses("192.0.2.7", "2001:db8::7", "192.0.3.0", "2001:db9::1"), [403, 403, 200, 200])
        self.assertEqual(len(self.up.seen), 2)
        with self.weir.client() as client:
            answer = client.ask(get(x_forwarded_for="192.0.2.7"))
            self.assertEqual((answer.status, answer.json()["error"]), (403, "forbidden"))
            self.assertEqual(client.ask(get(x_forwarded_for="192.0.2.8")).status, 403)
        self.assertEqual(self.weir.metric("weir_access_denied_total", route="all", rule="deny"), 4)
        until(lambda: len(self.weir.access()) == 6)
        self.assertEqual(self.weir.access()[0]["error.type"], "forbidden")

    def test_who_is_refused_stands_in_the_log_as_others_do(self):
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        self.weir = self.start(one_pool(self.up.address, routes=[
            {"name": "shut", "match": {"path_prefix": "/shut"}, "access": {"allow": ["192.0.2.0/24"]}, "pool": "app"},
            {"name": "slow", "match": {"path_prefix": "/slow"}, "rate_limit": {"key": "route", "rate": "1/h", "burst": 1}, "pool": "app"},
            {"name": "own", "match": {"path_prefix": "/own"}, "respond": {"status": 200, "body": "ok"}},
            dict(ALL)], listeners={"http": {"limits": {"max_body": 10}}}))
        fields = {"user_agent": "probe/1 (a \"browser\")", "traceparent": "00-%s-00f067aa0ba902b7-01" % trace}
        with self.weir.client() as client:
            for path, status in (("/open", 200), ("/own", 200), ("/shut", 403), ("/slow", 200), ("/slow", 429), ("/slow", 429)):
                self.assertEqual(client.ask(get(path, **fields)).status, status)
        self.assertEqual(self.weir.ask(get("/shut", user_agent="u" * 3000)).status, 403)
        self.assertEqual(self.weir.ask(get("/shut" + "/x" * 2000)).status, 403)
        self.assertEqual(self.weir.ask(post("/open", b"x" * 11, **fields)).status, 413)
        lines = until(lambda: len(self.weir.access()) == 9 and self.weir.access())
        for line in lines[:6] + lines[8:]:
            self.assertEqual((line["trace_id"], line["user_agent.original"]), (trace, fields["user_agent"]), line)
        for line in lines:
            self.assertRegex(line["trace_id"], "^[0-9a-f]{32}$", line)
            self.assertRegex(line["span_id"], "^[0-9a-f]{16}$", line)
            self.assertRegex(line["weir.request_id"], "^[0-9a-f]{32}$", line)
        self.assertRegex(lines[6]["user_agent.original"], "^u{400}")
        for key in ("span_id", "weir.request_id"):
            self.assertEqual(len({line[key] for line in lines}), 9)

    def test_only_who_is_allowed_comes_in(self):
        self.start_with(allow=["192.0.2.0/24"])
        self.assertEqual(self.statuses("192.0.2.7", "192.0.3.7", "2001:db8::1"), [200, 403, 403])
        self.assertEqual(self.weir.metric("weir_access_denied_total", rule="allow"), 2)

    def test_deny_goes_before_allow(self):
        self.start_with(allow=["192.0.2.0/24"], deny=["192.0.2.128/25"])
        self.assertEqual(self.statuses("192.0.2.1", "192.0.2.129"), [200, 403])

    def test_nobody_is_allowed_by_an_empty_list(self):
        self.start_with(allow=[])
        self.assertEqual(self.statuses("192.0.2.1"), [403])

    def test_a_denied_client_spends_nothing_of_a_limit(self):
        config = self.config({"deny": ["192.0.2.0/24"]})
        config["routes"][0]["rate_limit"] = {"key": "route", "rate": "1/h", "burst": 2}
        self.weir = self.start(config)
        self.assertEqual(self.statuses("192.0.2.1", "192.0.2.1", "10.0.0.1", "10.0.0.1", "10.0.0.1"), [403, 403, 200, 200, 429])

    def test_the_next_route_is_not_tried(self):
        config = self.config({"deny": ["192.0.2.0/24"]})
        config["routes"].append(dict(ALL, name="open", match={}))
        self.weir = self.start(config)
        self.assertEqual(self.statuses("192.0.2.1"), [403])

    def test_a_place_may_be_asked_for(self):
        path = write(os.path.join(self.dir, "geo.mmdb"))
        self.weir = self.start(self.config({"geo": {"country": ["FR"]}, "deny": ["192.0.2.9"]}, geo={"database": path}))
        self.assertEqual(self.statuses("192.0.2.1", "192.0.2.9", "192.0.2.200", "10.0.0.1"), [200, 403, 403, 403])
        self.assertEqual(self.weir.metric("weir_access_denied_total", rule="geo"), 2)
        until(lambda: len(self.weir.access()) == 4)
        self.assertEqual(self.weir.access()[2].get("weir.decision"), "geo")


class Files(Access):

    def test_lists_stand_in_files_too(self):
        path = self.list_file("# a list", "192.0.2.0/25   # with words", "", "\t2001:db8::/48\r", "198.51.100.1")
        self.start_with(deny=[{"file": path}, "203.0.113.0/24"])
        self.assertEqual(self.statuses("192.0.2.1", "192.0.2.200", "2001:db8::1", "198.51.100.1", "198.51.100.2", "203.0.113.5"),
                         [403, 200, 403, 403, 200, 403])
        self.list_file("192.0.2.128/25")
        self.weir.reload()
        self.assertEqual(self.statuses("192.0.2.1", "192.0.2.200"), [200, 403])

    def test_a_mistake_in_a_file_names_its_line_and_changes_nothing(self):
        path = self.list_file("192.0.2.0/25")
        self.start_with(deny={"file": path})
        self.list_file("192.0.2.0/25", "", "192.0.2.1/25", "nonsense")
        self.weir.reload(ok=False)
        self.assertIn("%s:3: " % path, self.weir.err())
        self.assertEqual(self.statuses("192.0.2.1"), [403])
        os.unlink(path)
        self.weir.reload(ok=False)
        self.assertEqual(self.statuses("192.0.2.1"), [403])

    def test_a_hundred_thousand_ranges_answer_as_they_should(self):
        chance = random.Random(7)
        networks = set()
        while len(networks) < 100000:
            bits = chance.choice((20, 22, 24, 24, 28, 32))
            networks.add(ipaddress.ip_network((chance.getrandbits(32) >> (32 - bits) << (32 - bits), bits)))
        path = self.list_file(*map(str, networks))
        self.start_with(deny=[{"file": path}])
        known = sorted((int(n.network_address), int(n.broadcast_address)) for n in networks)
        starts = [first for first, _ in known]
        reach = list(itertools.accumulate((last for _, last in known), max))    # of all that begin no later
        asked = []
        for network in chance.sample(sorted(networks), 60):
            asked += [int(network.network_address), int(network.broadcast_address), int(network.broadcast_address) + 1]
        asked += [chance.getrandbits(32) for _ in range(60)]
        with self.weir.client() as client:
            for address in asked:
                if not 1 << 24 <= address < 224 << 24 or address >> 24 == 127:
                    continue
                before = bisect.bisect_right(starts, address)
                denied = before > 0 and reach[before - 1] >= address
                got = client.ask(get(x_forwarded_for=str(ipaddress.ip_address(address)))).status
                self.assertEqual(got, 403 if denied else 200, ipaddress.ip_address(address))
