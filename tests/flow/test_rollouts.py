"""Rollouts against the running binary: phases, guards, people, files and gates. What survives what: test_rollout_survival.py."""

import json
import os
import threading
import time
import unittest

from harness import Case, Load, UnixConnection, blue_green, get, until

PHASES = [{"name": "canary", "weight": 5, "hold": "60s", "until": "held"},
          {"name": "half", "weight": 50, "hold": "60s", "until": "held"}]
GUARDS = [{"name": "errors", "metric": "errors", "max_increase": "2pp"},
          {"name": "fuse", "metric": "excess_failures", "max": 500},
          {"name": "complaints", "metric": "signal:complaint", "max": 3, "window": "30m"}]


def plan(phases=PHASES, guards=GUARDS, **more):
    return dict({"phases": phases, "guards": guards, "keep_warm": "10m"}, **more)


class Rollouts(Case):
    """blue is stable, green the candidate."""

    limit = 60

    def pair(self, plans=None, split=None, preexec=None, **more):
        self.blue, self.green = self.upstream("hello", name="blue"), self.upstream("hello", name="green")
        self.plans = plans or {"plan": plan()}
        self.weir = self.start(self.config(split=split, **more), preexec=preexec)

    def config(self, split=None, **more):
        return blue_green(self.blue.address, self.green.address, split=split, plans=self.plans, **more)

    def begin(self, expect=201, **more):
        body = dict({"split": "shop", "to": "green", "plan": "plan"}, **more)
        reply = self.weir.admin("POST", "/v1/rollouts", body)
        self.assertEqual(reply.status, expect, reply)
        return reply.json.get("id") if expect == 201 else reply

    def look(self, id):
        return self.weir.admin("GET", "/v1/rollouts/" + id).json

    def etag(self, id):
        return self.weir.admin("GET", "/v1/rollouts/" + id).etag

    def verb(self, id, verb, body=None, expect=200, headers=None):
        reply = self.weir.admin("POST", "/v1/rollouts/%s/%s" % (id, verb), body, headers)
        self.assertEqual(reply.status, expect, reply)
        return reply.json

    def await_state(self, id, state, limit=15):
        try:
            return until(lambda: (lambda r: r if r["state"] == state else None)(self.look(id)), limit)
        except AssertionError:
            raise AssertionError("never %s: %s" % (state, self.look(id))) from None

    def events(self, **match):
        rows = self.weir.admin("GET", "/v1/events?follow=0").json["events"]
        rows = [r["data"] for r in rows if r["event"] == "rollout"]
        return [r for r in rows if all(r.get(k) == v for k, v in match.items())]


class Phases(Rollouts):

    def test_weight_moves_phase_by_phase_to_the_end(self):
        self.pair({"plan": plan([{"name": "preview", "weight": 0},
                                 {"name": "canary", "weight": 5, "hold": "300ms", "until": "held"},
                                 {"name": "half", "weight": 50, "ramp": "1s", "hold": "200ms", "until": "held"}],
                                keep_warm="500ms", holdback=1)})
        id = self.begin(release="2.0", reason="spring")
        rollout = self.await_state(id, "done")
        self.assertEqual(rollout["release"], "2.0")
        self.assertEqual(self.weir.weights(), {"blue": 0, "green": 100})
        split = self.weir.admin("GET", "/v1/splits/shop").json
        self.assertEqual((split["stable"], split["rollout"]), ("green", None))
        seen = [float(e["weight"]) for e in self.events(rollout=id) if e["event"] in ("phase", "weight", "promoted", "done")]
        self.assertEqual(seen, sorted(seen))
        self.assertEqual([e["phase"] for e in self.events(event="phase")], ["preview", "canary", "half"])
        self.assertEqual(self.events(event="promoted")[0]["weight"], 99)
        self.assertEqual(seen[-1], 100)

    def test_a_start_is_answered_by_created_and_where(self):
        self.pair()
        reply = self.weir.admin("POST", "/v1/rollouts", {"split": "shop", "to": "green", "plan": "plan"})
        self.assertEqual((reply.status, reply.reason), (201, "Created"))
        self.assertEqual(reply.headers["Location"], "/v1/rollouts/" + reply.json["id"])

    def test_a_long_release_of_the_pool_is_cut_at_a_character(self):
        self.blue, self.green = self.upstream("hello", name="blue"), self.upstream("hello", name="green")
        self.plans = {"plan": plan()}
        config = self.config()
        config["pools"]["green"]["meta"] = {"release": "\u00e9" * 100}
        self.weir = self.start(config)
        self.assertEqual(self.look(self.begin())["release"], "\u00e9" * 63)

    def test_min_requests_are_waited_for(self):
        self.pair({"plan": plan([{"name": "canary", "weight": 50, "min_requests": 20, "until": "held"}])})
        id = self.begin()
        with self.weir.client() as client:
            for _ in range(28):     # 10 of them in the first block of 20, at most 8 in the second
                client.ask(get("/"))
            rollout = until(lambda: (lambda r: r if r["phase_requests"] >= 10 else None)(self.look(id)))
            self.assertEqual(rollout["state"], "running")
            self.assertIn("of 20 requests", rollout["next"])
            for _ in range(20):
                client.ask(get("/"))
        self.await_state(id, "promoted")

    def test_an_old_rollout_that_is_kept_warm_gives_way_to_a_new_one(self):
        self.pair({"plan": plan([{"name": "all", "weight": 100, "until": "held"}])})
        first = self.begin()
        self.await_state(first, "promoted")
        second = self.begin(to="blue")
        self.await_state(second, "promoted")
        self.assertEqual(self.look(first)["state"], "done")
        self.assertEqual(self.weir.weights(), {"blue": 100, "green": 0})

    def test_a_group_moves_and_goes_back_together(self):
        self.blue, self.green = self.upstream("hello", name="blue"), self.upstream("hello", name="green")
        self.plans = {"plan": plan([{"name": "a", "weight": 50, "min_requests": 5, "until": "held"},
                                    {"name": "b", "weight": 40, "hold": "60s", "until": "held"}])}
        config = self.config(routes=[{"name": "api", "match": {"path_prefix": "/api"}, "split": "api"},
                                     {"name": "shop", "split": "shop"}])
        config["splits"]["api"] = dict(config["splits"]["shop"])
        self.weir = self.start(config)
        reply = self.weir.admin("POST", "/v1/rollouts", {"split": "shop", "to": "green", "plan": "plan", "group": [{"split": "api", "to": "green"}]})
        self.assertEqual(reply.status, 201, reply)
        members = reply.json["group"]["members"]
        self.assertEqual([m["split"] for m in members], ["shop", "api"])
        shop, api = (m["id"] for m in members)
        for _ in range(20): # a whole block: half of them are the candidate's
            self.weir.ask(get("/"))
        until(lambda: "the others of its group" in (self.look(shop)["next"] or ""))
        self.assertEqual(self.look(shop)["phase"], "a")
        for _ in range(20):
            self.weir.ask(get("/api"))
        until(lambda: self.look(shop)["phase"] == self.look(api)["phase"] == "b")
        self.verb(api, "abort")
        self.assertEqual(self.await_state(shop, "rolled_back")["cause"]["kind"], "group")
        self.assertEqual(self.weir.weights("api"), {"blue": 100, "green": 0})
        self.assertEqual(self.weir.weights("shop"), {"blue": 100, "green": 0})


class Guards(Rollouts):

    def test_a_broken_candidate_goes_back_by_itself(self):
        self.pair()
        id = self.begin()
        with Load(self.weir.address) as load:
            until(lambda: self.look(id)["requests"]["canary"] > 20)
            self.green.mood = "boom"
            rollout = self.await_state(id, "rolled_back")
            done = load.done
            until(lambda: load.done > done + 50)    # what was in flight is through
            load.failures.clear()
            until(lambda: load.done > done + 250)
        self.assertEqual(load.failures, [])
        self.assertEqual(self.weir.weights(), {"blue": 100, "green": 0})
        self.assertEqual((rollout["cause"]["kind"], rollout["cause"]["guard"]), ("guard", "errors"))
        evidence = self.weir.admin("GET", "/v1/rollouts/%s/evidence" % id).json
        errors = [g for g in evidence["guards"] if g["guard"] == "errors"][0]
        self.assertEqual(errors["verdict"], "fail")
        self.assertGreaterEqual(errors["log_e"], errors["log_needed"])
        self.assertLess(errors["bad"]["canary"], 60)
        self.assertTrue(evidence["decided_at"] and evidence["effective_at"])

    def test_guards_look_on_while_it_is_paused_and_while_it_is_kept_warm(self):
        self.pair({"plan": plan([{"name": "most", "weight": 50, "until": "held"}], holdback=50)})
        id = self.begin()
        self.await_state(id, "promoted")
        with Load(self.weir.address):
            self.green.mood = "boom"
            self.await_state(id, "rolled_back")
        split = self.weir.admin("GET", "/v1/splits/shop").json
        self.assertEqual((split["stable"], split["weights"]), ("blue", {"blue": 100, "green": 0}))
        self.green.mood = "hello"
        again = self.verb(id, "retry", expect=201)
        self.assertEqual((again["retry_of"], again["state"]), (id, "running"))
        self.verb(again["id"], "pause")
        with Load(self.weir.address):
            self.green.mood = "boom"
            self.await_state(again["id"], "rolled_back")

    def test_signals_are_counted_once_and_fire(self):
        self.pair()
        id = self.begin()
        say = lambda n, **more: self.weir.admin("POST", "/v1/signals", dict({"split": "shop", "kind": "complaint", "id": "ZD-%d" % n}, **more)).json["result"]
        self.assertEqual(say(1), "counted")
        self.assertEqual(say(1), "duplicate")
        self.assertEqual(say(2, kind="praise"), "not-counted")
        self.assertEqual(say(3, count=2), "counted")
        self.weir.kill()
        self.weir.start()
        self.assertEqual(say(3), "duplicate")
        self.assertEqual(self.look(id)["state"], "running")
        self.assertEqual(say(4), "counted")
        rollout = self.await_state(id, "rolled_back")
        self.assertEqual(rollout["cause"]["guard"], "complaints")
        self.assertEqual(self.weir.admin("POST", "/v1/signals", {"split": "shap", "kind": "x"}).status, 404)
        self.assertEqual(self.weir.admin("POST", "/v1/signals", {"split": "shop", "kind": "x", "count": 0}).status, 422)


class People(Rollouts):

    def snapshot(self):
        with open(os.path.join(self.weir.dir, "state", "journal"), "rb") as journal:
            return journal.read(), self.weir.weights()

    def test_what_is_refused_changes_nothing(self):
        self.pair({"plan": plan(), "other": plan()})
        id = self.begin()
        before = self.snapshot()
        cases = (("POST", "/v1/rollouts", {"split": "shop", "to": "green", "plan": "plan"}, 409, "rollout-active"),
                 ("POST", "/v1/rollouts", {"split": "shap", "to": "green", "plan": "plan"}, 404, "unknown-split"),
                 ("POST", "/v1/rollouts", {"split": "shop", "to": "gren", "plan": "plan"}, 404, "unknown-pool"),
                 ("POST", "/v1/rollouts", {"split": "shop", "to": "green", "plan": "plam"}, 404, "unknown-plan"),
                 ("POST", "/v1/rollouts", {"split": "shop", "to": "green"}, 422, "missing-field"),
                 ("POST", "/v1/rollouts", {"split": "shop", "plan": "plan"}, 422, "missing-field"),
                 ("POST", "/v1/rollouts", {"split": "shop", "to": "green", "plan": "plan", "spilt": 1}, 400, "unknown-field"),
                 ("POST", "/v1/rollouts", {"split": "shop", "to": "green", "plan": "plan", "group": 1}, 422, "bad-group"),
                 ("POST", "/v1/rollouts/%s/resume" % id, None, 409, "illegal-verb"),
                 ("POST", "/v1/rollouts/%s/retry" % id, None, 409, "illegal-verb"),
                 ("POST", "/v1/rollouts/%s/approvals" % id, {}, 409, "illegal-verb"),
                 ("POST", "/v1/rollouts/%s/promote" % id, {"scope": "world"}, 422, "bad-scope"),
                 ("POST", "/v1/rollouts/r-20260101-1/abort", None, 404, "unknown-rollout"),
                 ("PUT", "/v1/splits/shop/weights", {"weights": {"blue": 50, "green": 50}}, 409, "rollout-active"))
        for method, path, body, status, code in cases:
            with self.subTest(path=path, body=body):
                reply = self.weir.admin(method, path, body)
                self.assertEqual((reply.status, reply.json["code"]), (status, code), reply)
                self.assertEqual(self.snapshot(), before)
        reply = self.weir.admin("POST", "/v1/rollouts/%s/resume" % id)
        self.assertEqual(reply.json["verbs"], ["pause", "promote", "abort"])
        reply = self.weir.admin("POST", "/v1/rollouts/%s/retry" % id)
        self.assertIn("(pause, promote, abort)", reply.json["detail"])
        self.assertEqual(self.weir.admin("POST", "/v1/rollouts", {"split": "shop", "to": "green", "plan": "plan"}).json["rollout"]["id"], id)
        reply = self.weir.admin("POST", "/v1/rollouts", {"split": "shop", "to": "green", "plan": "plam"})
        self.assertIn("plan", reply.json["hint"])
        reply = self.weir.admin("POST", "/v1/rollouts", {"split": "shop", "to": "green", "plan": "something-else"})
        self.assertEqual((reply.json["code"], reply.json["hint"]), ("unknown-plan", "GET /v1/config shows them"))
        reply = self.weir.admin("POST", "/v1/rollouts/%s/pause" % id, None, {"If-Match": '"1"'})
        self.assertEqual(reply.status, 200)     # a safety verb asks for no version
        reply = self.weir.admin("POST", "/v1/rollouts/%s/resume" % id, None, {"If-Match": '"1"'})
        self.assertEqual((reply.status, reply.json["code"]), (412, "stale-version"))
        self.verb(id, "abort")
        reply = self.weir.admin("POST", "/v1/rollouts/%s/retry" % id, None, {"If-Match": '"1"'})
        self.assertEqual((reply.status, reply.json["code"]), (412, "stale-version"))
        self.assertEqual(self.weir.admin("POST", "/v1/rollouts/%s/retry" % id, None, {"If-Match": self.etag(id)}).status, 201)

    def test_pause_resume_promote_abort(self):
        self.pair()
        id = self.begin()
        self.assertEqual(self.verb(id, "pause")["held_reason"], "paused")
        self.assertEqual(self.verb(id, "resume")["state"], "running")
        self.assertEqual(self.verb(id, "promote")["phase"], "half")
        self.assertEqual(self.weir.weights()["green"], 50)
        self.assertEqual(self.verb(id, "abort")["state"], "aborted")
        self.assertEqual(self.weir.weights()["green"], 0)
        id = self.verb(id, "retry", expect=201)["id"]
        self.assertEqual(self.verb(id, "promote", {"scope": "full"})["state"], "promoted")
        self.assertEqual(self.weir.weights()["green"], 100)

    def test_undo_goes_back_while_warm_and_is_gone_after(self):
        self.pair({"plan": plan([{"name": "all", "weight": 100, "until": "held"}])})
        id = self.begin()
        self.await_state(id, "promoted")
        reply = self.weir.admin("POST", "/v1/splits/shop/undo")
        self.assertEqual((reply.status, reply.json["weights"], reply.json["stable"]), (200, {"blue": 100, "green": 0}, "blue"))
        self.assertEqual(self.look(id)["cause"]["kind"], "undo")
        reply = self.weir.admin("POST", "/v1/splits/shop/undo")
        self.assertEqual((reply.status, reply.json["code"]), (409, "nothing-to-undo"))
        id = self.begin()
        self.await_state(id, "promoted")
        self.verb(id, "promote")
        self.await_state(id, "done")
        reply = self.weir.admin("POST", "/v1/splits/shop/undo")
        self.assertEqual((reply.status, reply.json["code"]), (410, "no-longer-warm"))
        self.assertEqual(self.weir.weights()["green"], 100)

    def test_promote_full_asks_the_gates_of_each_phase(self):
        gates = {n: {"approval": {"role": "approver"}} for n in ("first", "second")}
        self.pair({"plan": plan([dict(PHASES[0], gate=["first"]), dict(PHASES[1], gate=["second"]),
                                 {"name": "bake", "weight": 99, "hold": "60s", "gate": ["first"]}], gates=gates)})
        id = self.begin()
        held = self.verb(id, "promote", {"scope": "full"})
        self.assertEqual((held["held_reason"], held["weight"]), ("gate:first", 5))
        held = self.verb(id, "approvals", {"gate": "first"})
        self.assertEqual((held["state"], held["weight"]), ("held", 5))
        held = self.verb(id, "approvals", {"gate": "second"})
        # The first gate stands at the last phase too, and nobody has been asked about that one.
        self.assertEqual((held["held_reason"], held["weight"]), ("gate:first", 5))
        reply = self.weir.admin("POST", "/v1/rollouts/%s/approvals" % id, {"gate": "first"})
        self.assertEqual((reply.status, reply.json["state"], self.weir.weights()["green"]), (200, "promoted", 100), reply)

    def test_a_scoped_token_may_touch_pools_of_its_splits_alone(self):
        secret = "0123456789abcdef-ci"
        addresses = {n: self.upstream("hello", name=n).address for n in ("own", "shared", "routed", "other")}
        split = lambda *pools: {"stable": pools[0], "weights": dict({n: 0 for n in pools}, **{pools[0]: 100})}
        config = {"pools": {n: {"endpoints": [a]} for n, a in addresses.items()},
                  "splits": {"shop": split("own", "shared", "routed"), "pay": split("other", "shared")},
                  "routes": [{"match": {"path_prefix": "/pay"}, "split": "pay"},
                             {"match": {"path_prefix": "/r"}, "pool": "routed"}, {"match": {}, "split": "shop"}]}
        self.weir = self.start(config)
        config = self.weir.fill_in(config)
        config["admin"] = dict(config["admin"], access=[
            {"who": "uid:%d" % os.getuid(), "role": "admin"},
            {"who": "token:ci", "secret": {"env": "WEIR_CI"}, "role": "operator", "splits": ["shop"]}])
        self.weir.kill()
        self.weir.write(config)
        self.weir.env = {"WEIR_CI": secret}
        self.weir.start()
        for pool, status in (("own", 200), ("shared", 403), ("routed", 403), ("other", 403)):
            with self.subTest(pool=pool):
                reply = self.weir.admin("PUT", "/v1/pools/%s/endpoints/%s/state" % (pool, addresses[pool]), {"state": "drain"},
                                        {"Authorization": "Bearer " + secret})
                self.assertEqual(reply.status, status, reply)
                state = self.weir.admin("GET", "/v1/pools/" + pool).json["endpoints"][0]
                self.assertEqual(state["state"] == "drain" or state.get("admin") == "drain", status == 200, state)

    def test_approvals_by_others_with_the_role(self):
        secrets = {"WEIR_CI": "0123456789abcdef-ci", "WEIR_ANN": "0123456789abcdef-ann"}
        self.blue, self.green = self.upstream("hello", name="blue"), self.upstream("hello", name="green")
        self.plans = {"plan": plan([{"name": "canary", "weight": 5, "until": "held", "gate": ["leads"]}],
                                   gates={"leads": {"approval": {"role": "approver", "not_requester": True}}})}
        config = self.config()
        self.weir = self.start(config)
        config = self.weir.fill_in(config)
        config["admin"] = dict(config["admin"], access=[
            {"who": "uid:%d" % os.getuid(), "role": "admin"},
            {"who": "token:ci", "secret": {"env": "WEIR_CI"}, "role": "operator", "splits": ["shop"]},
            {"who": "token:ann", "secret": {"env": "WEIR_ANN"}, "role": "approver"}])
        self.weir.kill()
        self.weir.write(config)
        self.weir.env = secrets
        self.weir.start()
        ci, ann = ({"Authorization": "Bearer " + secrets[n]} for n in ("WEIR_CI", "WEIR_ANN"))
        ask = lambda who, method, path, body=None: self.weir.admin(method, path, body, who)
        self.assertEqual(ask(ann, "POST", "/v1/rollouts", {"split": "shop", "to": "green"}).status, 403)
        id = ask(ci, "POST", "/v1/rollouts", {"split": "shop", "to": "green"}).json["id"]
        rollout = self.await_state(id, "held")
        self.assertEqual(rollout["held_reason"], "gate:leads")
        self.assertEqual(ask(ci, "POST", "/v1/rollouts/%s/promote" % id).json["state"], "held")     # opens no gate
        self.assertEqual(ask(ci, "POST", "/v1/rollouts/%s/approvals" % id, {"gate": "leads"}).status, 403)
        self.assertEqual(ask(ann, "POST", "/v1/rollouts/%s/approvals" % id, {"gate": "lead"}).json["code"], "unknown-gate")
        reply = ask(dict(ann, **{"If-Match": '"1"'}), "POST", "/v1/rollouts/%s/approvals" % id, {"gate": "leads"})
        self.assertEqual((reply.status, reply.json["code"]), (412, "stale-version"))     # of what she did not see
        self.weir.kill()
        self.weir.start()
        reply = ask(ann, "POST", "/v1/rollouts/%s/approvals" % id, {"gate": "leads", "reason": "looks good"})
        self.assertEqual((reply.status, reply.json["state"]), (200, "promoted"), reply)
        self.assertEqual(reply.json["gates"][0]["approvals"][0]["who"], "token:ann")

    def test_a_dry_run_begins_nothing(self):
        self.pair()
        reply = self.weir.admin("POST", "/v1/rollouts?dry_run=1", {"split": "shop", "to": "green", "plan": "plan"})
        self.assertEqual((reply.status, reply.json["schema"]), (200, "weir.forecast/v1"))
        self.assertEqual([p["phase"] for p in reply.json["phases"]], ["canary", "half"])
        self.assertTrue(reply.json["warnings"])     # nothing can fire without traffic
        self.assertEqual(self.weir.admin("GET", "/v1/rollouts").json["rollouts"], [])
        id = self.begin()
        reply = self.weir.admin("POST", "/v1/rollouts/%s/abort?dry_run=1" % id)
        self.assertEqual((reply.status, reply.json["state"]), (200, "aborted"))
        self.assertEqual(self.look(id)["state"], "running")

    def test_an_idempotency_key_begins_one_rollout(self):
        self.pair()
        body, key = {"split": "shop", "to": "green", "plan": "plan"}, {"Idempotency-Key": "build-17"}
        first = self.weir.admin("POST", "/v1/rollouts", body, key)
        second = self.weir.admin("POST", "/v1/rollouts", body, key)
        self.assertEqual((first.status, second.status), (201, 201))
        self.assertEqual(first.json["id"], second.json["id"])

    def test_a_long_poll_answers_when_something_happens(self):
        self.pair()
        id = self.begin()
        answers = []
        poll = threading.Thread(target=lambda: answers.append(self.weir.admin("GET", "/v1/rollouts/" + id, None, {"Prefer": "wait=30"}, timeout=40)))
        poll.start()
        time.sleep(0.3)
        self.assertEqual(answers, [])
        self.verb(id, "pause")
        poll.join(10)
        self.assertEqual(answers[0].json["held_reason"], "paused")
        self.assertEqual(answers[0].headers["Preference-Applied"], "wait")
        reply = self.weir.admin("GET", "/v1/rollouts/" + id, None, {"Prefer": "wait=1"})
        self.assertEqual(reply.json["held_reason"], "paused")

    def test_a_poll_for_the_head_alone_is_answered_without_a_body(self):
        self.pair()
        path = "/v1/rollouts/" + self.begin()
        connection = UnixConnection(self.weir.admin_path, 20)
        self.addCleanup(connection.close)
        connection.request("HEAD", path, headers={"Prefer": "wait=1"})
        head = connection.getresponse()
        head.read()
        self.assertEqual((head.status, head.headers["Preference-Applied"]), (200, "wait"))
        connection.request("GET", path)
        answer = connection.getresponse()
        self.assertEqual(answer.status, 200)
        self.assertGreater(int(head.headers["Content-Length"]), 0)
        self.assertEqual(json.loads(answer.read())["id"], os.path.basename(path))

    def test_a_poller_that_goes_away_harms_nothing(self):
        self.pair()
        id = self.begin()
        for _ in range(20):
            with self.assertRaises(TimeoutError):
                self.weir.admin("GET", "/v1/rollouts/" + id, None, {"Prefer": "wait=30"}, timeout=0.02)
        self.verb(id, "pause")
        self.assertEqual(self.look(id)["held_reason"], "paused")

    def test_a_freeze_stops_all_that_grows_and_nothing_that_goes_back(self):
        self.pair()
        first = self.begin()
        reply = self.weir.admin("PUT", "/v1/freeze", {"reason": "black friday"})
        self.assertEqual((reply.status, reply.json["frozen"]), (200, True))
        self.assertEqual(self.weir.admin("POST", "/v1/rollouts/%s/promote" % first).json["code"], "frozen")
        self.assertEqual(self.verb(first, "abort")["state"], "aborted")
        self.assertEqual(self.weir.set_weights(blue=90, green=10).json["code"], "frozen")
        second = self.begin()
        self.assertEqual(self.look(second)["state"], "pending")
        self.weir.kill()
        self.weir.start()
        self.assertEqual(self.weir.admin("GET", "/v1/freeze").json["reason"], "black friday")
        self.assertEqual(self.look(second)["state"], "pending")
        self.assertEqual(self.weir.admin("DELETE", "/v1/freeze").json["frozen"], False)
        self.await_state(second, "running")

    def test_an_undo_in_a_freeze_goes_back_and_never_forward(self):
        self.pair()
        self.weir.set_weights(blue=80, green=20)
        self.weir.set_weights(blue=100, green=0)
        self.weir.admin("PUT", "/v1/freeze", {"reason": "black friday"})
        for query in ("", "?dry_run=1"):
            reply = self.weir.admin("POST", "/v1/splits/shop/undo" + query)
            self.assertEqual((reply.status, reply.json["code"]), (409, "frozen"))
        self.assertEqual(self.weir.weights(), {"blue": 100, "green": 0})
        self.weir.admin("DELETE", "/v1/freeze")
        self.assertEqual(self.weir.admin("POST", "/v1/splits/shop/undo").status, 200)
        self.assertEqual(self.weir.weights(), {"blue": 80, "green": 20})
        self.weir.admin("PUT", "/v1/freeze", {"reason": "black friday"})
        self.assertEqual(self.weir.admin("POST", "/v1/splits/shop/undo").status, 200)
        self.assertEqual(self.weir.weights(), {"blue": 100, "green": 0})

    def test_no_weight_for_a_pool_that_is_down(self):
        self.pair()
        state = lambda word: self.weir.admin("PUT", "/v1/pools/green/endpoints/%s/state" % self.green.address, {"state": word})
        self.assertEqual(state("maint").status, 200)
        reply = self.begin(expect=409)
        self.assertEqual(reply.json["code"], "pool-unhealthy")
        state("active")
        id = self.begin()
        state("maint")
        self.assertEqual(self.await_state(id, "held")["held_reason"], "unhealthy")
        reply = self.weir.admin("POST", "/v1/rollouts/%s/promote" % id)
        self.assertEqual((reply.status, reply.json["code"]), (409, "pool-unhealthy"))


class Files(Rollouts):

    def test_a_reload_keeps_a_live_rollout_and_must_not_move_its_weights(self):
        self.pair()
        id = self.begin()
        config = self.config()
        config["pools"]["red"] = {"endpoints": [self.blue.address]}
        config["splits"]["shop"]["weights"]["red"] = 0
        self.weir.write(dict(config, splits={"shop": dict(config["splits"]["shop"], weights={"blue": 90, "green": 10})}))
        for reply in (self.weir.admin("POST", "/v1/config/reload"), self.weir.admin("POST", "/v1/config/reload?dry_run=1")):
            self.assertEqual((reply.status, reply.json["code"]), (409, "rollout-active"), reply)
        self.weir.write(dict(self.config(), plans={}))
        self.assertEqual(self.weir.admin("POST", "/v1/config/reload").status, 200)
        rollout = self.look(id)     # the plan that it began with
        self.assertEqual((rollout["state"], rollout["weight"], rollout["plan"]), ("running", 5, "plan"))
        with Load(self.weir.address):
            until(lambda: self.look(id)["requests"]["canary"] > 20)
            self.green.mood = "boom"
            self.await_state(id, "rolled_back")

    def test_a_reload_keeps_the_evidence(self):
        self.pair()
        id = self.begin()
        with Load(self.weir.address) as load:
            until(lambda: self.look(id)["requests"]["canary"] > 20)
            for _ in range(5):
                before = self.look(id)["requests"]["canary"]
                self.weir.reload(self.config())
                until(lambda: self.look(id)["requests"]["canary"] > before)
        self.assertEqual(load.failures, [])


class Webhooks(Rollouts):

    def test_a_gate_asks_and_a_notification_tells(self):
        hook = self.upstream("boom", name="hook")
        url = "http://%s/gate" % hook.address
        self.pair({"plan": plan([{"name": "canary", "weight": 5, "until": "held", "gate": ["smoke"]}],
                                gates={"smoke": {"webhook": {"url": url, "retries": 0}}},
                                notify=[{"url": "http://%s/told" % hook.address, "retries": 0}])})
        id = self.begin()
        rollout = self.await_state(id, "held")
        self.assertEqual(rollout["held_reason"], "gate:smoke")
        told = lambda: [json.loads(r.body)["event"] for r in hook.complete() if r.target == b"/told"]
        until(lambda: self.look(id)["gates"][0]["state"] == "no answer" and "held" in told())
        hook.mood = "hello"
        self.weir.kill()
        self.weir.start()       # asks again at once, and not after the usual pause
        self.await_state(id, "promoted", 10)
        until(lambda: "promoted" in told())
        self.assertEqual([w for w in told() if w in ("started", "phase", "held", "promoted")][:3], ["started", "phase", "held"])
        asked = [json.loads(r.body) for r in hook.seen if r.target == b"/gate"]
        self.assertEqual((asked[0]["gate"], asked[0]["rollout"]["id"]), ("smoke", id))


if __name__ == "__main__":
    unittest.main()
