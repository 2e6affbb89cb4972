"""Several weirs as one: what is changed on one holds on all, and what happens while they cannot hear each other."""

import contextlib
import json
import os
import resource
import signal
import socket
import threading
import time

from harness import SLOW, Case, Load, blue_green, get, run, until

from redis import Redis

PHASES = [{"name": "canary", "weight": 10, "hold": "60s", "until": "held"},
          {"name": "half", "weight": 50, "hold": "60s", "until": "held"}]


def plan(phases=PHASES, guards=(), **more):
    return dict({"phases": phases, "guards": list(guards), "keep_warm": "10m"}, **more)


class Relay:
    """A TCP relay in front of a server that can be cut and mended: one instance's own network."""

    def __init__(self, address):
        host, port = address.split(":")
        self.target = (host, int(port))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.pairs, self.is_cut, self.lock = set(), False, threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.cut()
        self.listener.close()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                try:
                    far = socket.create_connection(self.target, 2)
                except OSError:
                    near.close()
                    continue
                with self.lock:
                    if self.is_cut:
                        near.close()
                        far.close()
                        continue
                    self.pairs |= {near, far}
                for a, b in ((near, far), (far, near)):
                    threading.Thread(target=self.pump, args=(a, b), daemon=True).start()

    def pump(self, a, b):
        with contextlib.suppress(OSError):
            while True:
                data = a.recv(65536)
                if not data:
                    break
                b.sendall(data)
        for s in (a, b):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def cut(self):
        with self.lock:
            self.is_cut = True
            for s in self.pairs:
                with contextlib.suppress(OSError):
                    s.shutdown(socket.SHUT_RDWR)
            self.pairs.clear()

    def mend(self):
        self.is_cut = False


class Fleet(Case):

    limit = 90

    def setUp(self):
        self.blue, self.green = self.upstream("hello", name="blue"), self.upstream("hello", name="green")
        self.plans = {"plan": plan()}
        self.weirs, self.relays = [], []

    def redis(self):
        self.server = self.enter(Redis())
        return self.server

    def config(self, address=None, prefix="t", **more):
        return blue_green(self.blue.address, self.green.address, plans=self.plans,
                          redis={"url": "redis://" + (address or self.server.address), "prefix": prefix}, **more)

    def join(self, **more):
        """One more instance, behind a relay of its own."""
        relay = self.enter(Relay(self.server.address))
        weir = self.start(self.config(relay.address, **more))
        self.relays.append(relay)
        self.weirs.append(weir)
        return weir

    def fleet(self, n, **more):
        if not hasattr(self, "server"):
            self.redis()
        for _ in range(n):
            self.join(**more)
        self.agree()
        return self.weirs

    def look(self, weir):
        return weir.admin("GET", "/v1/fleet").json

    def in_one_moment(self, *threads):
        """Redis holds all answers meanwhile, so that no instance knows of another's change; then they agree."""
        self.server.ask("client", "pause", "150", "all")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.agree()

    def agree(self, weirs=None, limit=10):
        weirs = weirs or self.weirs

        def agreed():
            for weir in weirs:
                fleet = self.look(weir)
                there = [i for i in fleet["instances"] if i["state"] != "away"]
                if not fleet["up"] or len(there) != len(weirs) or any(i["state"] != "agrees" for i in there) or not all(
                        s["agreed"] for s in fleet["splits"]):
                    return False
            return True
        try:
            until(agreed, limit)
        except AssertionError:
            raise AssertionError("no agreement: %s" % json.dumps([self.look(w) for w in weirs], indent=1)) from None

    def set(self, weir, green, split="shop", expect=200):
        reply = weir.admin("PUT", "/v1/splits/%s/weights" % split, {"weights": {"blue": 100 - green, "green": green}, "reason": "test"})
        self.assertEqual(reply.status, expect, reply)
        return time.monotonic()

    def green_of(self, weir, split="shop"):
        return weir.weights(split)["green"]

    def all_at(self, green, weirs=None, limit=5):
        weirs = weirs or self.weirs
        try:
            until(lambda: all(self.green_of(w) == green for w in weirs), limit)
        except AssertionError:
            raise AssertionError("not all at %s: %s" % (green, [self.green_of(w) for w in weirs])) from None

    def begin(self, weir, **more):
        reply = weir.admin("POST", "/v1/rollouts", dict({"split": "shop", "to": "green", "plan": "plan"}, **more))
        self.assertEqual(reply.status, 201, reply)
        return reply.json["id"]

    def rollout(self, weir, id):
        reply = weir.admin("GET", "/v1/rollouts/" + id)
        return reply.json if reply.status == 200 else {"state": None, "phase": None}

    def verb(self, weir, id, verb, expect=200):
        reply = weir.admin("POST", "/v1/rollouts/%s/%s" % (id, verb), {})
        self.assertEqual(reply.status, expect, reply)

    def all_in(self, id, weirs=None, limit=15, **want):
        weirs = weirs or self.weirs

        def there():
            return all(all(r.get(k) == v for k, v in want.items()) for r in (self.rollout(w, id) for w in weirs))
        try:
            until(there, limit)
        except AssertionError:
            raise AssertionError("not all in %s: %s" % (want, json.dumps([self.rollout(w, id) for w in weirs], indent=1))) from None

    def holder(self):
        """The instance that moves the split's rollout."""
        return until(lambda: next((w for w in self.weirs if w.process.poll() is None and
                                   w.metric("weir_fleet_lease", split="shop") == 1), None), 10, "a holder")

    def cut_off(self, weir):
        self.relays[self.weirs.index(weir)].cut()
        until(lambda: not self.look(weir)["up"], 10, "the partition is noticed")

    def mend(self, weir):
        self.relays[self.weirs.index(weir)].mend()
        until(lambda: self.look(weir)["up"], 10, "the fleet is reached again")

    def audit(self, weir, action):
        rows = weir.admin("GET", "/v1/audit?limit=1000").json["entries"]
        return [r for r in rows if r["action"] == action]


class Weights(Fleet):

    def test_weights_set_on_one_instance_hold_on_all_within_a_second(self):
        weirs = self.fleet(3)
        took = []
        for n, weir in enumerate(weirs * 3):
            began = self.set(weir, n + 1)
            self.all_at(n + 1)
            took.append(time.monotonic() - began)
        self.assertLess(sorted(took)[len(took) // 2], 1 * SLOW, took)
        self.agree()
        self.assertTrue(all(self.audit(w, "fleet_adopt") for w in weirs))
        split = weirs[0].admin("GET", "/v1/splits/shop").json
        self.assertEqual(split["reason"], "test")

    def test_changes_at_the_same_moment_end_in_one_of_them(self):
        weirs = self.fleet(3)
        for n in range(5):
            answers = self.at_once(*((w, 10 * (i + 1) + n) for i, w in enumerate(weirs)))
            until(lambda: len({self.green_of(w) for w in weirs}) == 1)
            self.agree()
            self.assertIn(self.green_of(weirs[0]), [green for green, answer in answers.items() if answer.status == 200])

    def at_once(self, *changes):
        """Weights at several instances in the same moment; the answers by weight."""
        answers = {}

        def put(weir, green):
            answers[green] = weir.admin("PUT", "/v1/splits/shop/weights", {"weights": {"blue": 100 - green, "green": green}, "reason": "test"})
        threads = [threading.Thread(target=put, args=change) for change in changes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    def test_of_two_in_the_same_moment_one_holds_and_the_other_is_told(self):
        first, second, third = self.fleet(3)
        lost = 0
        for a, b in ((30, 10), (11, 40), (20, 50), (31, 12), (13, 41), (21, 51)):   # the safer one here and there
            self.server.ask("client", "pause", "150", "all")            # both are on their way before one has come
            answers = self.at_once((first, a), (second, b))
            held = [green for green, answer in answers.items() if answer.status == 200]
            self.assertTrue(held, answers)
            until(lambda: self.green_of(third) in held and len({self.green_of(w) for w in self.weirs}) == 1, 5)
            self.agree()
            self.assertIn(self.green_of(third), held)
            for green, answer in answers.items():
                if answer.status != 200:
                    self.assertEqual((answer.status, answer.json["code"], answer.etag), (409, "another-was-first", None))
                    self.assertTrue(self.audit(first if green == a else second, "fleet_adopt"))
                    lost += 1
            if lost > 1:
                break
        self.assertTrue(lost, "never at the same moment")

    def test_all_weight_to_the_stable_pool_is_never_held_off(self):
        first, second = self.fleet(2)
        for n in range(3):
            self.set(first, 20 + n)
            self.all_at(20 + n)
            self.agree()
            self.server.ask("client", "pause", "150", "all")
            answers = self.at_once((first, 50 + n), (second, 0))
            self.assertEqual(answers[0].status, 200)
            self.agree()
            # later than the other, or the other's person was told
            self.assertTrue(self.green_of(first) == 0 or answers[50 + n].status == 200)
            self.all_at(self.green_of(first))

    def test_a_way_back_is_never_held_off(self):
        first, second = self.fleet(2)
        id = self.begin(first)
        self.all_in(id, phase="canary")
        self.agree()

        def verbs(*pairs):
            statuses = {}       # of those that were asked in the same moment

            def ask(weir, verb):
                statuses[verb] = weir.admin("POST", "/v1/rollouts/%s/%s" % (id, verb), {}).status
            self.in_one_moment(*(threading.Thread(target=ask, args=pair) for pair in pairs))
            return statuses
        statuses = verbs((first, "pause"), (second, "abort"))
        self.assertEqual(statuses["abort"], 200)
        self.assertIn(statuses["pause"], (200, 409))
        self.all_at(0)
        self.all_in(id, state="aborted")

    def test_of_two_rollouts_begun_at_once_one_lives_and_a_repetition_says_the_same(self):
        first, second = self.fleet(2)
        body = {"split": "shop", "to": "green", "plan": "plan"}
        for n in range(6):
            answers = {}

            def begin(weir):
                answers[weir] = weir.admin("POST", "/v1/rollouts", body, {"Idempotency-Key": "begin-%d" % n})
            self.in_one_moment(*(threading.Thread(target=begin, args=(w,)) for w in (first, second)))
            begun = [a for a in answers.values() if a.status == 201]
            lost = [w for w, a in answers.items() if a.status == 409 and a.json["code"] == "another-was-first"]
            self.assertTrue(begun, answers)
            if lost:
                break
            self.verb(first, begun[-1].json["id"], "abort")
            self.all_at(0)
            self.agree()
        self.assertEqual((len(begun), len(lost)), (1, 1), "never at the same moment")
        self.all_in(begun[0].json["id"], phase="canary")
        again = lost[0].admin("POST", "/v1/rollouts", body, {"Idempotency-Key": "begin-%d" % n})
        self.assertEqual((again.status, again.json["code"], again.headers["Idempotency-Replayed"]), (409, "another-was-first", "true"))

    def test_a_redis_that_does_not_answer_holds_no_answer_for_long(self):
        first, second = self.fleet(2)
        self.server.freeze()
        try:
            began = time.monotonic()
            self.set(first, 20)
            self.assertLess(time.monotonic() - began, 0.25 + 1 * SLOW)
            self.assertEqual(self.green_of(first), 20)
        finally:
            self.server.thaw()
        self.all_at(20, limit=10)

    def test_who_may_not_listen_looks(self):
        self.redis()
        self.server.ask("acl", "setuser", "default", "resetchannels")
        first, second = self.fleet(2)
        until(lambda: "cannot be heard" in first.err())
        self.set(first, 20)
        self.all_at(20)
        self.server.ask("acl", "setuser", "default", "allchannels")

    def test_a_change_is_heard_and_not_looked_for(self):
        first, second = self.fleet(2)
        looks = self.calls("get")
        began = time.monotonic()
        for n in range(5):
            self.set(first, 20 + n)
            self.all_at(20 + n)
        self.assertLess(self.calls("get") - looks, 2 * (4 + 5) * (time.monotonic() - began) + 20)

    def calls(self, command):
        line = next((x for x in self.server.ask("info", "commandstats") if x.startswith("cmdstat_%s:" % command)), "calls=0,")
        return int(line.partition("calls=")[2].partition(",")[0])

    def test_who_joins_late_adopts_and_who_restarts_remembers(self):
        first, second = self.fleet(2)
        self.set(first, 30)
        self.all_at(30)
        third = self.join()
        self.agree()
        self.assertEqual(self.green_of(third), 30)
        second.kill()
        self.set(third, 40)
        second.start()
        self.agree()
        self.all_at(40)

    def test_undo_goes_to_the_same_weights_everywhere(self):
        first, second = self.fleet(2)
        self.set(first, 30)
        self.set(first, 20)
        self.all_at(20)
        self.assertEqual(second.admin("POST", "/v1/splits/shop/undo", {}).status, 200)
        self.all_at(30)

    def test_a_freeze_holds_everywhere(self):
        first, second = self.fleet(2)
        first.admin("PUT", "/v1/freeze", {"reason": "holidays"})
        until(lambda: second.admin("GET", "/v1/freeze").json["frozen"])
        self.set(second, 10, expect=409)
        second.admin("DELETE", "/v1/freeze")
        until(lambda: not first.admin("GET", "/v1/freeze").json["frozen"])
        self.set(first, 10)
        self.all_at(10)

    def test_prefixes_keep_fleets_apart(self):
        first, = self.fleet(1)
        other = self.start(self.config(prefix="other"))
        self.set(first, 10)
        self.agree([first])
        self.agree([other])
        self.assertEqual(self.green_of(other), 0)

    def test_other_pools_are_told_and_not_guessed(self):
        first, = self.fleet(1)
        config = self.config()
        config["pools"]["red"] = dict(config["pools"]["blue"])
        config["splits"]["shop"]["weights"]["red"] = 0
        config["splits"]["extra"] = {"stable": "blue", "weights": {"blue": 100, "green": 0}}
        config["routes"].append({"name": "extra", "match": {"path_prefix": "/extra"}, "split": "extra"})
        other = self.start(config)
        self.set(first, 10)

        def told():
            them = [i for i in self.look(first)["instances"] if not i["self"]]
            return them and them[0]["state"] == "differs" and {(p["split"], p["why"]) for p in them[0]["problems"]}
        self.assertEqual(until(told), {("shop", "its pools are others"), ("extra", "this instance does not have this split")})
        self.assertEqual(other.weights("shop"), {"blue": 100, "green": 0, "red": 0})
        status = first.ctl("status")
        self.assertIn("its pools are others", status.stdout)
        # with the same file they agree
        first.reload(config)
        self.agree([first, other])
        self.assertEqual(other.weights("shop"), {"blue": 90, "green": 10, "red": 0})


class Rollouts(Fleet):

    def two_splits(self):
        return {"splits": {n: {"stable": "blue", "weights": {"blue": 100, "green": 0}} for n in ("shop", "api")}}

    def test_a_rollout_moves_on_all_and_one_advances_it(self):
        self.plans = {"plan": plan([{"name": "canary", "weight": 10, "hold": "400ms", "until": "held"},
                                    {"name": "half", "weight": 50, "ramp": "1s", "hold": "400ms", "until": "held"}], keep_warm="1s")}
        weirs = self.fleet(3)
        id = self.begin(weirs[1])
        self.all_in(id, state="running", phase="canary")
        self.all_in(id, state="done")
        self.all_at(100)
        self.agree()
        for weir in weirs:
            self.assertEqual(weir.admin("GET", "/v1/splits/shop").json["stable"], "green")

    def test_people_may_speak_to_any_instance(self):
        weirs = self.fleet(3)
        id = self.begin(weirs[0])
        self.all_in(id, state="running", phase="canary")
        holder = self.holder()
        others = [w for w in weirs if w is not holder]
        self.verb(others[0], id, "pause")
        self.all_in(id, state="held", held_reason="paused")
        self.verb(others[1], id, "resume")
        self.all_in(id, state="running", phase="canary")
        self.verb(others[0], id, "promote")
        self.all_in(id, state="running", phase="half")
        self.all_at(50)
        self.verb(others[1], id, "abort")
        self.all_in(id, state="aborted")
        self.all_at(0)
        self.agree()

    def test_a_rollback_on_one_instance_travels_to_all(self):
        self.plans = {"plan": plan([{"name": "half", "weight": 50, "hold": "60s", "until": "held"}],
                                   [{"name": "fuse", "metric": "excess_failures", "max": 5}])}
        weirs = self.fleet(3)
        id = self.begin(weirs[0])
        self.all_in(id, state="running", phase="half")
        follower = next(w for w in weirs if w is not self.holder())
        self.green.mood = "boom"
        with follower.client() as client:
            for _ in range(40):
                client.ask(get("/"))
        began = time.monotonic()
        self.all_in(id, state="rolled_back")
        self.all_at(0)
        self.assertLess(time.monotonic() - began, 2 * SLOW)
        self.agree()
        for weir in weirs:
            self.assertEqual(self.rollout(weir, id)["cause"]["guard"], "fuse")
            shown = weir.admin("GET", "/v1/rollouts/%s/evidence" % id).json
            self.assertTrue(shown["guards"])
        adopted = [w for w in weirs if any("went back" in (r.get("reason") or "") for r in self.audit(w, "fleet_adopt"))]
        self.assertGreaterEqual(len(adopted), 1)

    def test_all_go_down_the_ramp_of_a_rollback(self):
        self.plans = {"plan": plan([{"name": "most", "weight": 80, "hold": "60s", "until": "held"}],
                                   rollback={"mode": "ramp", "ramp": "2s"})}
        weirs = self.fleet(3)
        id = self.begin(weirs[0])
        self.all_at(80)
        self.verb(weirs[2], id, "abort")
        self.all_in(id, state="rolling_back")
        seen = []
        while any(self.rollout(w, id)["state"] != "aborted" for w in weirs):
            seen.append([self.green_of(w) for w in weirs])
        for one in zip(*seen):
            self.assertEqual(list(one), sorted(one, reverse=True))
        self.all_at(0)
        self.agree()

    def test_a_group_moves_and_goes_back_together_on_all(self):
        self.plans = {"plan": plan([{"name": "a", "weight": 10, "hold": "500ms", "until": "held"},
                                    {"name": "b", "weight": 40, "hold": "60s", "until": "held"}])}
        routes = [{"name": "api", "match": {"path_prefix": "/api"}, "split": "api"}, {"name": "shop", "split": "shop"}]
        splits = {n: {"stable": "blue", "weights": {"blue": 100, "green": 0}} for n in ("shop", "api")}
        weirs = self.fleet(2, routes=routes, splits=splits)
        reply = weirs[0].admin("POST", "/v1/rollouts", {"split": "shop", "to": "green", "plan": "plan", "group": [{"split": "api", "to": "green"}]})
        self.assertEqual(reply.status, 201, reply)
        shop, api = (m["id"] for m in reply.json["group"]["members"])
        for id in (shop, api):
            self.all_in(id, state="running", phase="b")
        self.verb(weirs[1], api, "abort")
        self.all_in(api, state="aborted")
        self.all_in(shop, state="rolled_back")
        self.agree()

    def test_who_begins_a_group_is_told_of_a_rival_at_any_of_its_splits(self):
        routes = [{"name": "api", "match": {"path_prefix": "/api"}, "split": "api"}, {"name": "shop", "split": "shop"}]
        splits = {n: {"stable": "blue", "weights": {"blue": 100, "green": 0}} for n in ("shop", "api")}
        first, second = self.fleet(2, routes=routes, splits=splits)
        told = None

        def begin():
            nonlocal told
            answer = first.admin("POST", "/v1/rollouts", {"split": "shop", "to": "green", "plan": "plan", "group": [{"split": "api", "to": "green"}]})
            if answer.status == 409 and answer.json["code"] == "another-was-first":
                told = answer.json["detail"]

        def rival(green):
            second.admin("PUT", "/v1/splits/api/weights", {"weights": {"blue": 100 - green, "green": green}, "reason": "test"})
        for n in range(10):
            self.in_one_moment(threading.Thread(target=begin), threading.Thread(target=rival, args=(20 + n,)))
            if told:
                break
            for split in ("shop", "api"):
                live = first.admin("GET", "/v1/splits/" + split).json["rollout"]
                if live:
                    first.admin("POST", "/v1/rollouts/%s/abort" % live["id"], {})
            until(lambda: not any(w.admin("GET", "/v1/splits/" + s).json["rollout"] for w in (first, second) for s in ("shop", "api")))
            self.agree()
        self.assertTrue(told, "never at the same moment")
        self.assertIn("has changed api", told)

    def test_a_way_back_is_not_refused_for_a_step_of_the_holder(self):
        """Asked of the one that does not move the rollout, while the other one moves it all the time."""
        self.plans = {"plan": plan([{"name": "p%d" % n, "weight": n, "hold": "100ms", "until": "held"} for n in range(1, 17)])}
        weirs = self.fleet(2)
        for _ in range(6):
            id = self.begin(weirs[0])
            until(lambda: self.rollout(weirs[1], id)["state"] == "running")
            self.verb(weirs[1], id, "abort")
            self.all_in(id, state="aborted")

    def test_complaints_add_up_over_instances(self):
        self.plans = {"plan": plan(guards=[{"name": "complaints", "metric": "signal:complaint", "max": 3, "window": "30m"}])}
        weirs = self.fleet(2)
        id = self.begin(weirs[0])
        self.all_in(id, state="running")
        for weir in weirs:
            reply = weir.admin("POST", "/v1/signals", {"split": "shop", "kind": "complaint", "count": 2})
            self.assertEqual(reply.json["result"], "counted")
        self.all_in(id, state="rolled_back")
        self.all_at(0)

    def test_evidence_adds_up_over_instances(self):
        self.plans = {"plan": plan([{"name": "half", "weight": 50, "min_requests": 40, "hold": "0s", "until": "held"},
                                    {"name": "more", "weight": 60, "hold": "60s", "until": "held"}],
                                   [{"name": "fuse", "metric": "excess_failures", "max": 30}])}
        weirs = self.fleet(2)
        id = self.begin(weirs[0])
        self.all_in(id, state="running", phase="half")
        for weir in weirs:      # a block of 20 has 10 of the candidate's: 30 each, too few alone
            with weir.client() as client:
                for _ in range(60):
                    client.ask(get("/"))
        self.all_in(id, state="running", phase="more")
        self.agree()
        self.green.mood = "boom"
        for weir in weirs:      # about 24 each
            with weir.client() as client:
                for _ in range(40):
                    client.ask(get("/"))
        self.all_in(id, state="rolled_back")

    def test_the_lease_passes_on_when_its_holder_dies(self):
        self.plans = {"plan": plan([{"name": "canary", "weight": 10, "hold": "3s", "until": "held"},
                                    {"name": "half", "weight": 50, "hold": "60s", "until": "held"}])}
        weirs = self.fleet(3)
        id = self.begin(weirs[0])
        self.all_in(id, state="running", phase="canary")
        holder = self.holder()
        holder.kill()
        rest = [w for w in weirs if w is not holder]
        self.all_in(id, rest, state="running", phase="half")
        self.all_at(50, rest)
        self.assertIn(self.holder(), rest)
        holder.start()
        self.agree()
        self.all_in(id, state="running", phase="half")

    def test_a_holder_that_leaves_in_order_leaves_at_once(self):
        self.plans = {"plan": plan([{"name": "canary", "weight": 10, "hold": "60s", "until": "held"}])}
        weirs = self.fleet(2)
        id = self.begin(weirs[0])
        self.all_in(id, state="running")
        holder = self.holder()
        name = self.look(holder)["id"]
        self.assertEqual(self.server.ask("get", "t:fleet:lease:shop"), [name])
        holder.stop()
        until(lambda: self.server.ask("get", "t:fleet:lease:shop") != [name], what="the lease given back")
        rest = next(w for w in weirs if w is not holder)
        until(lambda: [i["id"] for i in self.look(rest)["instances"]] == [self.look(rest)["id"]])

    def test_what_is_adopted_makes_the_oldest_go_but_a_splits_last(self):
        self.redis()
        first = self.join(**self.two_splits())
        alone = self.config(**self.two_splits())
        del alone["redis"]
        second = self.start(alone)

        def ended(weir, **more):
            id = self.begin(weir, **more)
            self.verb(weir, id, "abort")
            return id
        ids = [ended(second, split="api")] + [ended(second) for _ in range(99)]
        second.reload(self.config(self.server.address, **self.two_splits()))
        self.weirs.append(second)
        self.agree()
        for _ in range(3):
            ids.append(ended(first))
            self.all_in(ids[-1], state="aborted")
        known = {r["id"] for r in second.admin("GET", "/v1/rollouts").json["rollouts"]}
        self.assertEqual(known, {ids[0]} | set(ids[4:]))
        self.agree()

    def test_who_cannot_record_a_rollout_does_not_take_part_until_he_can(self):
        first = self.fleet(1)[0]
        second = self.start(self.config(), preexec=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
        self.weirs.append(second)
        self.agree()
        state = os.path.join(second.dir, "state")
        os.mkdir(os.path.join(state, "snapshot.new"))
        resource.prlimit(second.process.pid, resource.RLIMIT_FSIZE, (os.path.getsize(os.path.join(state, "journal")), resource.RLIM_INFINITY))
        id = self.begin(first)
        self.all_in(id, weirs=[first], state="running")
        until(lambda: any("trouble" in s for s in self.look(second)["splits"]), 10, "it says that it cannot")
        for _ in range(20):
            self.assertEqual((self.rollout(second, id)["state"], self.green_of(second)), (None, 0))
            time.sleep(0.02)
        resource.prlimit(second.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        os.rmdir(os.path.join(state, "snapshot.new"))
        self.all_in(id, state="running")
        self.all_at(10)
        self.agree()

    def test_who_joins_during_a_rollout_takes_part(self):
        weirs = self.fleet(1)
        id = self.begin(weirs[0])
        self.all_in(id, state="running", phase="canary")
        third = self.join()
        self.agree()
        self.all_in(id, state="running", phase="canary")
        self.assertEqual(self.green_of(third), 10)
        self.verb(third, id, "abort")
        self.all_in(id, state="aborted")


class Next(Fleet):
    """What is known of a rollout that is over is not held against the next one."""

    def goes_on(self, id):
        """On all, and still so when every instance has synced again."""
        self.all_in(id, state="running", phase="canary")
        self.agree()
        time.sleep(0.6)     # two syncs of a live rollout: nothing may happen in them
        for weir in self.weirs:
            rollout = self.rollout(weir, id)
            self.assertEqual((rollout["state"], self.green_of(weir)), ("running", 10), json.dumps(rollout, indent=1))

    def test_after_an_abort_a_rollout_begins_anywhere_many_times(self):
        weirs = self.fleet(3)
        for n in range(5):
            id = self.begin(weirs[n % 3])
            self.goes_on(id)
            self.verb(weirs[(n + n // 2) % 3], id, "abort")
            if n % 2:           # else at once, perhaps before the others have heard
                self.all_in(id, state="aborted")
                self.agree()
            else:
                self.all_in(id, [weirs[(n + 1) % 3]], state="aborted")

    def test_after_an_automatic_rollback_the_mended_one_goes_through(self):
        self.plans = {"plan": plan([{"name": "canary", "weight": 10, "hold": "60s", "until": "held"}],
                                   [{"name": "fuse", "metric": "excess_failures", "max": 5}])}
        weirs = self.fleet(2)
        for n in range(2):
            id = self.begin(weirs[0])
            self.goes_on(id)
            self.green.mood = "boom"
            with weirs[n].client() as client:
                for _ in range(150):
                    client.ask(get("/"))
            self.all_in(id, state="rolled_back")
            self.agree()
            self.green.mood = "good"
        self.goes_on(self.begin(weirs[1]))

    def test_a_retry_and_a_start_of_an_instance_that_followed(self):
        weirs = self.fleet(2)
        id = self.begin(weirs[0])
        self.goes_on(id)
        self.verb(weirs[1], id, "abort")
        self.all_in(id, state="aborted")
        reply = weirs[0].admin("POST", "/v1/rollouts/%s/retry" % id, {})
        self.assertEqual(reply.status, 201, reply)
        self.goes_on(reply.json["id"])
        self.verb(weirs[0], reply.json["id"], "abort")
        self.all_in(reply.json["id"], state="aborted")
        self.goes_on(self.begin(weirs[1]))

    def test_who_was_away_during_the_abort_takes_the_next_one(self):
        weirs = self.fleet(2)
        old = self.begin(weirs[0])
        self.goes_on(old)
        self.cut_off(weirs[1])
        self.verb(weirs[0], old, "abort")
        new = self.begin(weirs[0])
        self.all_in(new, [weirs[0]], state="running", phase="canary")
        self.mend(weirs[1])
        self.goes_on(new)
        # and when it went back itself meanwhile
        self.cut_off(weirs[1])
        for weir in weirs:
            self.verb(weir, new, "abort")
        newer = self.begin(weirs[0])
        self.all_in(newer, [weirs[0]], state="running", phase="canary")
        self.mend(weirs[1])
        self.goes_on(newer)

    def test_an_abort_and_the_next_start_without_redis(self):
        weirs = self.fleet(2)
        id = self.begin(weirs[0])
        self.goes_on(id)
        for n in range(2):
            for weir in weirs:
                self.cut_off(weir)
            for weir in weirs[:n + 1]:      # alone, and by both
                self.verb(weir, id, "abort")
            id = self.begin(weirs[0])
            for weir in weirs:
                self.mend(weir)
            self.goes_on(id)

    def test_an_abort_that_redis_takes_late_does_not_undo_the_next_start(self):
        weirs = self.fleet(2)
        id = self.begin(weirs[0])
        self.goes_on(id)
        for _ in range(2):
            self.server.freeze()
            try:
                self.verb(weirs[0], id, "abort")    # is sent, and gets no answer
                id = self.begin(weirs[0])
                until(lambda: not self.look(weirs[0])["up"], 10)
            finally:
                self.server.thaw()
            until(lambda: self.look(weirs[0])["up"] and self.look(weirs[1])["up"], 10)
            self.goes_on(id)

    def test_both_start_at_the_same_moment_after_an_abort(self):
        weirs = self.fleet(2)
        for _ in range(3):
            old = self.begin(weirs[0])
            self.goes_on(old)
            self.verb(weirs[1], old, "abort")
            self.all_in(old, state="aborted")
            answers = []
            body = {"split": "shop", "to": "green", "plan": "plan"}
            threads = [threading.Thread(target=lambda w=w: answers.append(w.admin("POST", "/v1/rollouts", body))) for w in weirs]
            self.server.ask("client", "pause", "100", "all")
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            begun = [a.json["id"] for a in answers if a.status == 201]
            self.assertTrue(begun, answers)
            live = until(lambda: next((id for id in begun if all(self.rollout(w, id)["state"] == "running" for w in weirs)), None))
            self.goes_on(live)
            self.verb(weirs[0], live, "abort")
            self.all_in(live, state="aborted")
            self.agree()


class Reads(Fleet):
    """Who asks an instance right after something was done at another one hears of it."""

    def newest(self, weir):
        reply = weir.admin("GET", "/v1/rollouts?split=shop")
        self.assertEqual(reply.status, 200, reply)
        return reply.json["rollouts"][0]["id"], reply.json.get("others_asked")

    def test_the_rollout_of_a_split_is_the_one_just_begun_elsewhere(self):
        weirs = self.fleet(3)
        for n in range(6):
            id = self.begin(weirs[n % 3])
            for weir in weirs:
                self.assertEqual(self.newest(weir), (id, True))
            self.verb(weirs[(n + 1) % 3], id, "abort")
            for weir in weirs:
                rollout = weir.admin("GET", "/v1/rollouts?split=shop").json["rollouts"][0]
                self.assertEqual((rollout["id"], rollout["state"]), (id, "aborted"))

    def test_a_rollout_begun_elsewhere_is_found_by_its_id(self):
        first, second = self.fleet(2)
        id = self.begin(first)
        self.assertEqual(second.admin("GET", "/v1/rollouts/" + id).status, 200)
        self.assertEqual(second.admin("GET", "/v1/rollouts/nosuch").status, 404)

    def test_wait_right_after_a_start_elsewhere_waits_for_that_one(self):
        self.plans = {"quick": plan([{"name": "canary", "weight": 10, "hold": "100ms", "until": "held"}], keep_warm="1s"), "plan": plan()}
        first, second = self.fleet(2)
        self.assertEqual(first.ctl("rollout", "start", "shop", "--to", "green", "--plan", "quick", "--wait").returncode, 0)
        self.agree()
        id = self.begin(first, to="blue")       # green is the stable one now
        waited = second.ctl("rollout", "wait", "shop", "--timeout", "1s")
        self.assertNotEqual(waited.returncode, 0, waited.stdout)
        self.assertIn(id, waited.stdout + waited.stderr)

    def test_without_redis_it_says_that_it_asked_nobody(self):
        first, second = self.fleet(2)
        id = self.begin(first)
        self.all_in(id, phase="canary")
        self.server.freeze()
        began = time.monotonic()
        self.assertEqual(self.newest(second), (id, False))
        self.assertLess(time.monotonic() - began, 0.2 + 1 * SLOW)
        for weir in self.weirs:
            until(lambda: not self.look(weir)["up"])
        self.assertEqual(self.newest(second), (id, False))
        said = second.ctl("rollout", "status", "shop")
        self.assertIn("Redis is away", said.stderr)
        self.server.thaw()

    def test_one_alone_asks_nobody(self):
        weir = self.start(blue_green(self.blue.address, self.green.address, plans=self.plans))
        id = self.begin(weir)
        self.assertEqual(self.newest(weir), (id, None))


class Partitions(Fleet):

    def test_who_is_cut_off_never_promotes_and_goes_on_with_the_others_afterwards(self):
        self.plans = {"plan": plan([{"name": "canary", "weight": 10, "hold": "2s", "until": "held"},
                                    {"name": "half", "weight": 50, "hold": "60s", "until": "held"}])}
        weirs = self.fleet(3)
        id = self.begin(weirs[0])
        self.all_in(id, state="running", phase="canary")
        lone = self.holder()
        rest = [w for w in weirs if w is not lone]
        self.cut_off(lone)
        self.all_in(id, rest, state="running", phase="half")
        # Its own clocks are over by now, and would be for a long time.
        until(lambda: "Redis is away" in (self.rollout(lone, id)["next"] or ""))
        self.assertEqual((self.rollout(lone, id)["phase"], self.green_of(lone)), ("canary", 10))
        self.mend(lone)
        self.all_in(id, state="running", phase="half")
        self.all_at(50)
        self.agree()

    def test_everybody_cut_off_promotes_nothing(self):
        self.plans = {"plan": plan([{"name": "canary", "weight": 10, "hold": "1s", "until": "held"},
                                    {"name": "half", "weight": 50, "hold": "60s", "until": "held"}])}
        weirs = self.fleet(2)
        id = self.begin(weirs[0])
        self.all_in(id, state="running", phase="canary")
        self.server.freeze()
        for weir in weirs:
            until(lambda: not self.look(weir)["up"])
        time.sleep(2)   # longer than the phase: nothing may happen in it
        self.assertEqual([self.green_of(w) for w in weirs], [10, 10])
        self.server.thaw()
        self.all_in(id, state="running", phase="half")

    def test_a_rollback_made_alone_wins_over_what_the_others_did(self):
        self.plans = {"plan": plan([{"name": "canary", "weight": 20, "hold": "1500ms", "until": "held"},
                                    {"name": "half", "weight": 50, "hold": "60s", "until": "held"}],
                                   [{"name": "fuse", "metric": "excess_failures", "max": 5}])}
        weirs = self.fleet(3)
        id = self.begin(weirs[0])
        self.all_in(id, state="running", phase="canary")
        lone = next(w for w in weirs if w is not self.holder())
        rest = [w for w in weirs if w is not lone]
        self.cut_off(lone)
        self.all_in(id, rest, state="running", phase="half")
        self.green.mood = "boom"
        with lone.client() as client:
            for _ in range(80):
                client.ask(get("/"))
        self.all_in(id, [lone], state="rolled_back")
        self.assertEqual(self.green_of(lone), 0)
        self.assertEqual([self.green_of(w) for w in rest], [50, 50])
        self.mend(lone)
        self.all_in(id, state="rolled_back")
        self.all_at(0)
        self.agree()
        for weir in rest:
            rows = [r for r in self.audit(weir, "fleet_adopt") if r["reason"] == "it went back on another instance"]
            self.assertEqual(len(rows), 1)
            self.assertEqual(rows[0]["before"]["weights"]["green"], 50)
            self.assertEqual(rows[0]["after"]["weights"]["green"], 0)
            self.assertTrue(rows[0]["actor"].startswith("fleet:"))

    def test_of_two_changes_made_apart_the_safer_wins(self):
        weirs = self.fleet(2)
        self.set(weirs[0], 50)
        self.all_at(50)
        self.cut_off(weirs[1])
        for green in (10, 20, 30):      # often, which does not make it newer
            self.set(weirs[1], green)
        self.set(weirs[0], 5)
        self.mend(weirs[1])
        self.all_at(5)
        self.agree()
        self.cut_off(weirs[1])
        self.set(weirs[1], 1)
        self.set(weirs[0], 60)
        self.mend(weirs[1])
        self.all_at(1)
        self.agree()

    def test_a_change_made_alone_holds_when_nobody_else_changed_anything(self):
        weirs = self.fleet(2)
        self.cut_off(weirs[1])
        self.set(weirs[1], 40)
        self.mend(weirs[1])
        self.all_at(40)

    def test_a_rollback_reaches_those_with_other_pools(self):
        first, = self.fleet(1)
        config = self.config()
        id = self.begin(first)
        self.all_in(id, state="running", phase="canary")
        second = self.join()
        self.all_in(id, state="running", phase="canary")
        config = self.config(self.relays[1].address)
        config["pools"]["red"] = dict(config["pools"]["blue"])
        config["splits"]["shop"]["weights"]["red"] = 0
        second.kill()       # a reload that changes its pools is refused while it is live
        second.write(config)
        second.start()
        until(lambda: self.look(second)["up"] and second.metric("weir_fleet_agreed", split="shop") == 1)
        self.assertEqual(second.weights("shop")["green"], 10)
        self.verb(first, id, "abort")
        self.all_in(id, state="aborted")
        self.assertEqual(second.weights("shop"), {"blue": 100, "green": 0, "red": 0})


class Redises(Fleet):

    def test_without_redis_it_starts_says_so_and_serves(self):
        self.redis()
        self.server.kill()
        weir = self.start(self.config())
        until(lambda: "the fleet cannot be reached" in weir.err())
        self.assertEqual(weir.ask(get("/")).status, 200)
        self.set(weir, 20)
        self.assertEqual(self.green_of(weir), 20)
        self.assertFalse(self.look(weir)["up"])
        self.assertEqual(weir.metric("weir_fleet_up"), 0)
        self.server.start()
        self.agree([weir])
        self.assertEqual(self.green_of(weir), 20)

    def test_a_redis_that_lost_its_data_gets_it_back(self):
        weirs = self.fleet(2)
        self.set(weirs[0], 30)
        self.all_at(30)
        id = self.begin(weirs[0])
        self.all_in(id, state="running", phase="canary")
        self.server.kill()
        self.server.start()
        self.agree()
        self.all_in(id, state="running", phase="canary")
        self.verb(weirs[1], id, "abort")
        self.all_in(id, state="aborted")

    def test_a_redis_that_stands_still_delays_no_rollback_and_no_request(self):
        self.plans = {"plan": plan([{"name": "half", "weight": 50, "hold": "60s", "until": "held"}],
                                   [{"name": "fuse", "metric": "excess_failures", "max": 5}])}
        weirs = self.fleet(2)
        id = self.begin(weirs[0])
        self.all_in(id, state="running", phase="half")
        self.server.freeze()
        self.green.mood = "boom"
        slowest = 0
        with weirs[1].client() as client:
            for _ in range(60):
                began = time.monotonic()
                client.ask(get("/"))
                slowest = max(slowest, time.monotonic() - began)
        self.all_in(id, weirs[1:], state="rolled_back", limit=2)
        self.assertLess(slowest, 1 * SLOW)
        self.assertEqual(self.green_of(weirs[0]), 50)
        self.server.thaw()
        self.all_in(id, state="rolled_back")
        self.agree()

    def test_leaving_the_fleet_by_a_reload_goes_on_alone(self):
        weirs = self.fleet(2)
        config = self.config()
        del config["redis"]
        weirs[1].reload(config)
        self.assertFalse(self.look(weirs[1])["shared"])
        self.set(weirs[0], 10)
        self.agree(weirs[:1])
        self.assertEqual(self.green_of(weirs[1]), 0)
        weirs[1].reload(self.config())
        self.agree()
        self.all_at(10)


    def test_a_redis_that_cannot_write_is_as_one_that_is_away(self):
        weirs = self.fleet(2)
        self.server.ask("replicaof", "127.0.0.1", "1")     # read-only from now on
        for weir in weirs:
            until(lambda: not self.look(weir)["up"])
        self.set(weirs[0], 10)
        time.sleep(2)
        self.assertLess(weirs[0].err().count("the fleet is reached"), 12)
        self.assertEqual(self.green_of(weirs[1]), 0)
        self.server.ask("replicaof", "no", "one")
        self.all_at(10, limit=10)
        self.agree()


class Shown(Fleet):

    def test_status_lists_the_instances_and_their_agreement(self):
        weirs = self.fleet(2)
        for weir in weirs:
            done = weir.ctl("status")
            self.assertEqual(done.returncode, 0, done.stderr)
            ids = [i["id"] for i in self.look(weir)["instances"]]
            self.assertEqual(len(set(ids)), 2)
            for id in ids:
                self.assertRegex(done.stdout, r"(?m)^\s*%s\b.*agrees" % id)
            whole = json.loads(weir.ctl("status", "-o", "json").stdout)
            self.assertEqual([i["state"] for i in whole["fleet"]["instances"]], ["agrees", "agrees"])
            until(lambda: weir.metric("weir_fleet_instances") == 2)
            until(lambda: weir.metric("weir_fleet_instances_agreeing") == 2)
            self.assertEqual(weir.metric("weir_fleet_agreed", split="shop"), 1)
        weirs[1].kill()
        until(lambda: any(i["state"] == "away" for i in self.look(weirs[0])["instances"]), 10)
        self.assertEqual(weirs[0].metric("weir_fleet_instances"), 1)
        done = weirs[0].ctl("status")
        self.assertRegex(done.stdout, r"away, last seen \d+ s ago")
        weirs[1].start()


if __name__ == "__main__":
    import unittest
    unittest.main()
