"""How traffic is split, who may change it, and what survives what."""

import collections
import json
import signal
import threading
import unittest

from harness import Case, Load, blue_green, get, read_weights, until



class TwoPools(Case):
    """blue and green behind the split "shop"."""

    def pair(self, **options):
        self.blue, self.green = self.upstream("hello", name="blue"), self.upstream("hello", name="green")
        self.weir = self.start(self.config(**options))
        return self.weir

    def config(self, **options):
        return blue_green(self.blue.address, self.green.address, **options)

    def shares(self, count, request=None, client=None):
        """Requests by the upstream that answered."""
        shares = collections.Counter()
        with client or self.weir.client() as client:
            for _ in range(count):
                answer = client.ask(request or get("/"))
                self.assertEqual(answer.status, 200)
                shares[answer.one("x-upstream")] += 1
        return shares


class Shares(TwoPools):

    def test_of_100_requests_at_5_percent_exactly_5(self):
        self.pair(weights=(95, 5))
        for _ in range(5):
            self.assertEqual(self.shares(100)["green"], 5)

    def test_every_weight_is_exact_over_its_block(self):
        self.pair()
        for percent, count, expected in ((1, 100, 1), (10, 100, 10), (25, 100, 25), (50, 100, 50), (75, 100, 75), (99, 100, 99), (12.5, 400, 50), (0.5, 400, 2), (100, 50, 50), (0, 50, 0)):
            with self.subTest(percent=percent):
                self.assertEqual(self.weir.set_weights(blue=100 - percent, green=percent).status, 200)
                self.assertEqual(self.shares(count)["green"], expected)

    def test_the_slots_are_shuffled(self):
        """Not every 20th request: a client must not know which one is the canary's."""
        self.pair(weights=(95, 5))
        places = []
        with self.weir.client() as client:
            for i in range(400):
                if client.ask(get("/")).one("x-upstream") == "green":
                    places.append(i % 20)
        self.assertEqual(len(places), 20)
        self.assertGreater(len(set(places)), 3, places)

    def test_a_change_is_in_effect_on_the_next_request(self):
        self.pair()
        with self.weir.client() as client:
            for i in range(40):
                to = "green" if i % 2 else "blue"
                self.assertEqual(self.weir.set_weights(**{"blue": 100 if to == "blue" else 0, "green": 100 if to == "green" else 0}).status, 200)
                for _ in range(3):
                    self.assertEqual(client.ask(get("/")).one("x-upstream"), to)

    def test_with_four_workers_too(self):
        self.pair(workers=4)
        for to in ("green", "blue") * 5:
            self.weir.set_weights(**{"blue": 100 if to == "blue" else 0, "green": 100 if to == "green" else 0})
            for _ in range(12):     # connections of their own, so that they land on all workers
                self.assertEqual(self.weir.ask(get("/")).one("x-upstream"), to)

    def test_three_pools(self):
        red = self.upstream("hello", name="red")
        self.blue, self.green = self.upstream("hello", name="blue"), self.upstream("hello", name="green")
        config = self.config()
        config["pools"]["red"] = {"endpoints": [red.address]}
        config["splits"]["shop"]["weights"] = {"blue": 70, "green": 20, "red": 10}
        self.weir = self.start(config)
        self.assertEqual(self.shares(100), {"blue": 70, "green": 20, "red": 10})


class Affinity(TwoPools):
    STEPS = (0, 5, 25, 50, 75, 100)

    def monotone(self, ask, users):
        """While green grows no user of green moves back; the shares come near the weights."""
        before = set()
        for percent in self.STEPS:
            self.assertEqual(self.weir.set_weights(blue=100 - percent, green=percent).status, 200)
            on_green = {user for user in users if ask(user) == "green"}
            self.assertEqual({user for user in users if ask(user) == "green"}, on_green, "a user moved without a change")
            self.assertLessEqual(before, on_green, "a user moved back")
            # Six standard deviations of a fair draw: the salt is another one in every run.
            share, spread = percent / 100, (percent / 100 * (1 - percent / 100) / len(users)) ** 0.5
            self.assertAlmostEqual(len(on_green) / len(users), share, delta=6 * spread)
            before = on_green
        self.weir.set_weights(blue=100, green=0)
        self.assertEqual({user for user in users if ask(user) == "green"}, set(), "a rollback recalls everyone")

    def test_by_header(self):
        self.pair(split={"affinity": {"by": "header", "name": "x-user"}})
        with self.weir.client() as client:
            self.monotone(lambda user: client.ask(get("/", x_user=user)).one("x-upstream"), ["user-%d" % i for i in range(400)])

    def test_by_cookie(self):
        self.pair(split={"affinity": {"by": "cookie", "name": "weir_uid", "ttl": "30d"}})
        with self.weir.client() as client:
            self.monotone(lambda user: client.ask(get("/", cookie="a=b; weir_uid=%s; c=d" % user)).one("x-upstream"), ["%032x" % i for i in range(400)])

    def test_by_client_address(self):
        self.pair(split={"affinity": {"by": "client_ip"}})

        def ask(user):
            with self.weir.client(source=(user, 0)) as client:
                return client.ask(get("/")).one("x-upstream")
        self.monotone(ask, ["127.0.%d.%d" % (i // 200, i % 200 + 1) for i in range(120)])

    def test_a_client_without_the_cookie_gets_one(self):
        self.pair(weights=(50, 50), split={"affinity": {"by": "cookie", "name": "weir_uid", "ttl": "30d"}})
        with self.weir.client() as client:
            for _ in range(20):
                answer = client.ask(get("/"))
                cookie = answer.one("set-cookie")
                self.assertRegex(cookie, r"\Aweir_uid=[0-9a-f]{32};")
                for word in ("Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=2592000"):
                    self.assertIn(word.lower(), cookie.lower())
                value = cookie.split(";")[0]
                for _ in range(3):
                    again = client.ask(get("/", cookie=value))
                    self.assertEqual(again.one("x-upstream"), answer.one("x-upstream"))
                    self.assertEqual(again.all("set-cookie"), [])

    def test_a_request_without_the_header_is_dealt_like_any(self):
        self.pair(weights=(50, 50), split={"affinity": {"by": "header", "name": "x-user"}})
        self.assertEqual(sum(self.shares(100).values()), 100)

    def test_reload_and_restart_move_nobody(self):
        self.pair(weights=(50, 50), split={"affinity": {"by": "header", "name": "x-user"}})

        def look():
            with self.weir.client() as client:
                return [client.ask(get("/", x_user="u%d" % i)).one("x-upstream") for i in range(60)]
        before = look()
        self.weir.reload()
        self.assertEqual(look(), before)
        self.weir.kill()
        self.weir.start()
        self.assertEqual(look(), before)


class Pins(TwoPools):

    def test_a_pin_goes_where_it_says_whatever_the_weights(self):
        self.pair(split={"pins": [{"header": {"x-canary": "always"}, "pool": "green"}, {"cookie": {"lane": "green"}, "pool": "green"}]})
        self.assertEqual(self.shares(20, get("/", x_canary="always")), {"green": 20})
        self.assertEqual(self.shares(20, get("/", cookie="lane=green")), {"green": 20})
        self.assertEqual(self.shares(20, get("/", x_canary="never")), {"blue": 20})
        self.assertEqual(self.shares(20), {"blue": 20})

    def test_a_pin_from_elsewhere_is_not_for_us(self):
        self.pair(split={"pins": [{"header": {"x-canary": "always"}, "from": ["192.0.2.0/24"], "pool": "green"}]})
        self.assertEqual(self.shares(20, get("/", x_canary="always")), {"blue": 20})

    def test_two_values_are_ambiguous_and_pin_nobody(self):
        self.pair(split={"pins": [{"header": {"x-canary": "always"}, "pool": "green"}]})
        request = b"GET / HTTP/1.1\r\nHost: t\r\nX-Canary: always\r\nX-Canary: always\r\n\r\n"
        with self.weir.client() as client:
            answer = client.ask(request)
            self.assertTrue(answer.status == 400 or answer.one("x-upstream") == "blue")


class TheApi(TwoPools):

    def test_what_a_change_answers(self):
        self.pair()
        reply = self.weir.set_weights(blue=75, green=25, reason="because")
        self.assertEqual(reply.status, 200, reply)
        self.assertEqual(read_weights(reply.json), {"blue": 75, "green": 25})
        self.assertEqual(self.weir.weights(), {"blue": 75, "green": 25})

    def test_a_change_has_a_new_etag(self):
        self.pair()
        before = self.weir.admin("GET", "/v1/splits/shop").etag
        self.assertTrue(before)
        self.weir.set_weights(blue=75, green=25)
        self.assertNotEqual(self.weir.admin("GET", "/v1/splits/shop").etag, before)

    def test_if_match_lets_one_of_two_writers_win(self):
        self.pair()
        for round in range(10):
            etag = self.weir.admin("GET", "/v1/splits/shop").etag
            replies = []
            threads = [threading.Thread(target=lambda p=p: replies.append(self.weir.set_weights(blue=100 - p, green=p, headers={"If-Match": etag})))
                       for p in (10 + round, 60 + round)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(sorted(r.status for r in replies), [200, 412])

    def test_a_dry_run_changes_nothing(self):
        self.pair()
        before = self.weir.admin("GET", "/v1/splits/shop").etag
        self.assertEqual(self.weir.set_weights(blue=50, green=50, query="?dry_run=1").status, 200)
        self.assertEqual(self.weir.weights(), {"blue": 100, "green": 0})
        self.assertEqual(self.weir.admin("GET", "/v1/splits/shop").etag, before)
        self.assertEqual(self.weir.set_weights(blue=50, green=51, query="?dry_run=1").status, 422)

    def refused(self, body, statuses):
        before = self.weir.admin("GET", "/v1/splits/shop").etag
        reply = self.weir.admin("PUT", "/v1/splits/shop/weights", body)
        self.assertIn(reply.status, statuses, reply)
        self.assertIn("problem+json", reply.headers["Content-Type"])
        self.assertTrue(reply.json["code"])
        self.assertEqual(self.weir.admin("GET", "/v1/splits/shop").etag, before)
        return reply

    def test_what_is_refused(self):
        self.pair()
        self.refused({"weights": {"blue": 75, "green": 26}}, (422,))
        self.refused({"weights": {"blue": 75, "green": 24}}, (422,))
        self.refused({"weights": {"blue": 110, "green": -10}}, (400, 422))
        self.refused({"weights": {"blue": 100.001, "green": 0}}, (400, 422))
        self.refused({"weights": {"blue": "many", "green": 0}}, (400, 422))
        self.refused({"weights": [100, 0]}, (400, 422))
        self.refused({"weights": {"blue": 90, "gren": 10}}, (400, 404, 422))
        self.refused('{"weights": {"blue": NaN, "green": 0}}', (400, 422))
        self.refused('{"weights": {"blue": 100, "blue": 0, "green": 0}}', (400, 422))
        self.refused("not json", (400, 422))
        self.refused("", (400, 422))
        self.refused({"weights": {"blue": 100, "green": 0}, "surprise": 1}, (400, 422))
        self.refused({"weights": {"blue": 1e308, "green": 0}}, (400, 422))

    def test_an_unknown_pool_gets_a_hint(self):
        self.pair()
        self.assertIn("green", json.dumps(self.refused({"weights": {"blue": 90, "gren": 10}}, (400, 404, 422)).json))

    def test_an_unknown_split_is_404_with_a_hint(self):
        self.pair()
        reply = self.weir.admin("PUT", "/v1/splits/shopp/weights", {"weights": {"blue": 50, "green": 50}})
        self.assertEqual(reply.status, 404)
        self.assertIn("shop", reply.json.get("hint", ""))

    def test_undo_goes_back(self):
        self.pair()
        self.weir.set_weights(blue=75, green=25)
        reply = self.weir.admin("POST", "/v1/splits/shop/undo", {"reason": "oops"})
        self.assertEqual(reply.status, 200, reply)
        self.assertEqual(self.weir.weights(), {"blue": 100, "green": 0})
        self.assertEqual(self.shares(20), {"blue": 20})

    def test_a_pool_without_a_healthy_endpoint_gets_nothing(self):
        self.pair(weights=(50, 50))
        self.green.refuse()

        def down():
            self.weir.ask(get("/"))
            return self.weir.metric("weir_endpoint_up", pool="green") == 0
        until(down, 10, "green's endpoint taken out")
        self.assertEqual(self.weir.set_weights(blue=100, green=0).status, 200)
        reply = self.weir.set_weights(blue=90, green=10)
        self.assertEqual((reply.status, reply.json["code"]), (409, "pool-unhealthy"))
        self.assertEqual(self.weir.weights(), {"blue": 100, "green": 0})

    def test_changes_are_in_the_audit_log_with_actor_and_reason(self):
        self.pair()
        self.weir.set_weights(blue=75, green=25, reason="because of the test")
        self.weir.admin("PUT", "/v1/splits/shop/weights", {"weights": {"blue": 1, "green": 1}, "reason": "wrong on purpose"})
        rows = [json.loads(line) for line in open(self.weir.dir + "/state/audit.jsonl")]
        mine = [r for r in rows if "because of the test" in json.dumps(r)]
        self.assertEqual(len(mine), 1, rows)
        self.assertIn("uid:", json.dumps(mine[0]))
        self.assertTrue([r for r in rows if "wrong on purpose" in json.dumps(r)], "refused attempts are recorded too")


class WhatSurvives(TwoPools):
    limit = 60

    def test_kill_9_right_after_the_answer_loses_nothing(self):
        self.pair()
        for i in range(20):
            percent = (i * 37) % 100 + 0.25
            self.assertEqual(self.weir.set_weights(blue=100 - percent, green=percent, reason="round %d" % i).status, 200)
            self.weir.kill()
            self.weir.start()
            self.assertEqual(self.weir.weights(), {"blue": 100 - percent, "green": percent}, "round %d" % i)

    def test_kill_9_while_weights_change_leaves_the_old_or_the_new(self):
        self.pair()
        for i in range(8):
            sent, answered = [], []

            def write():
                for percent in range(1, 100):
                    sent.append(percent)
                    try:
                        if self.weir.set_weights(blue=100 - percent, green=percent).status != 200:
                            return
                    except Exception:
                        return
                    answered.append(percent)
            writer = threading.Thread(target=write)
            writer.start()
            until(lambda: len(answered) > 3 + i)
            self.weir.kill()
            writer.join()
            self.weir.start()
            self.assertIn(self.weir.weights()["green"], (answered[-1], sent[-1]))

    def test_restart_in_order_keeps_the_weights_and_says_so(self):
        self.pair()
        self.weir.set_weights(blue=60, green=40)
        self.weir.tell(signal.SIGTERM)
        self.weir.process.wait(10)
        self.weir.start()
        self.assertEqual(self.weir.weights(), {"blue": 60, "green": 40})
        self.assertRegex(self.weir.err(), r"(?i)resum")

    def test_a_reload_of_the_unchanged_file_keeps_them(self):
        self.pair()
        self.weir.set_weights(blue=60, green=40)
        for _ in range(3):
            self.weir.reload()
            self.assertEqual(self.weir.weights(), {"blue": 60, "green": 40})

    def test_a_reload_that_changes_something_else_keeps_them(self):
        self.pair()
        self.weir.set_weights(blue=60, green=40)
        config = self.config()
        config["routes"].insert(0, {"name": "new", "match": {"path": "/new"}, "respond": {"status": 200, "body": "new"}})
        self.weir.reload(config)
        self.assertEqual(self.weir.ask(get("/new")).body, b"new")
        self.assertEqual(self.weir.weights(), {"blue": 60, "green": 40})

    def test_changed_weights_in_the_file_win(self):
        self.pair()
        self.weir.set_weights(blue=60, green=40)
        self.weir.reload(self.config(weights=(90, 10)))
        self.assertEqual(self.weir.weights(), {"blue": 90, "green": 10})
        self.assertEqual(self.shares(100)["green"], 10)

    def test_a_file_that_changed_while_weir_was_down_wins_too(self):
        self.pair()
        self.weir.set_weights(blue=60, green=40)
        self.weir.kill()
        self.weir.write(self.config(weights=(90, 10)))
        self.weir.start()
        self.assertEqual(self.weir.weights(), {"blue": 90, "green": 10})

    def test_config_diff_names_the_change_and_its_author(self):
        self.pair()
        self.weir.set_weights(blue=60, green=40, reason="for the diff")
        reply = self.weir.admin("GET", "/v1/config/diff")
        self.assertEqual(reply.status, 200)
        for word in ("shop", "for the diff", "uid:"):
            self.assertIn(word, reply.text)
        told = self.weir.ctl("config", "diff").stdout
        for words in ("- loaded file blue=100% green=0%", "+ runtime     blue=60% green=40%", "weir.yaml on disk is what is loaded"):
            self.assertIn(words, told)
        self.weir.write(self.config(weights=(90, 10)))
        self.assertIn("weir.yaml on disk is not what is loaded; a reload would change:", self.weir.ctl("config", "diff").stdout)

    def test_weights_change_under_load_without_a_failure(self):
        self.pair()
        with Load(self.weir.address) as load:
            for i in range(100):
                percent = i % 101
                self.assertEqual(self.weir.set_weights(blue=100 - percent, green=percent).status, 200)
        self.assertEqual(load.failures, [])
        self.assertGreater(load.done, 100)


if __name__ == "__main__":
    unittest.main()
