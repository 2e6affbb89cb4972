"""weirctl's verbs for rollouts: what they print, and the exit codes that pipelines rely on."""

import json
import re
import threading
import time
import unittest

from harness import Case, Load, blue_green, until

GUARDS = [{"name": "errors", "metric": "errors", "max_increase": "2pp"},
          {"name": "complaints", "metric": "signal:complaint", "max": 3, "window": "30m"}]
CANARY = {"name": "canary", "weight": 20, "hold": "60s", "until": "held"}
ALL = {"name": "all", "weight": 100, "until": "held"}


class Pipeline(Case):

    limit = 60

    def pair(self, phases=(CANARY,), gates=None, **more):
        plan = dict({"phases": list(phases), "guards": GUARDS, "gates": gates or {}, "keep_warm": "10m"}, **more)
        self.blue, self.green = self.upstream("hello", name="blue"), self.upstream("hello", name="green")
        self.weir = self.start(blue_green(self.blue.address, self.green.address, plans={"standard": plan}))

    def ctl(self, *args, code=0, **options):
        done = self.weir.ctl(*args, **options)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def json(self, *args, **options):
        return json.loads(self.ctl(*args, "-o", "json", **options).stdout)

    def begin(self, *args):
        return self.json("rollout", "start", "shop", "--to", "green", *args)["id"]

    def state(self):
        return self.json("rollout", "status", "shop")["state"]

    def fail_green(self):
        """Until the guard has seen it."""
        until(lambda: self.json("rollout", "status", "shop")["requests"]["canary"] > 20)
        self.green.mood = "boom"


class Waiting(Pipeline):

    def test_a_promotion_is_0(self):
        self.pair([ALL])
        with Load(self.weir.address):
            done = self.ctl("rollout", "start", "shop", "--to", "green", "--plan", "standard", "--wait", "--timeout", "30s")
        self.assertIn("promoted", done.stdout)
        self.assertEqual(self.weir.weights(), {"blue": 0, "green": 100})

    def test_a_rollback_is_10_and_explain_says_why(self):
        self.pair()
        with Load(self.weir.address):
            id = self.begin("--release", "2.1")
            self.fail_green()
            done = self.ctl("rollout", "wait", id, "--timeout", "30s", code=10)
        self.assertIn("rollout explain " + id, done.stdout)
        told = self.ctl("rollout", "explain", "shop").stdout
        for words in ('Guard "errors" fired in phase canary, at 20% of the traffic', "was rolled back",
                      "an increase of 2pp is too much", " needed", "e-value", "Next: nothing by itself",
                      "weirctl rollout retry " + id):
            self.assertIn(words, told)
        self.assertRegex(told, r"canary +[\d.]+% failed: \d+ of \d+ requests")
        self.assertRegex(told, r"baseline +0% failed: 0 of \d+ requests")
        evidence = self.json("rollout", "explain", "shop")
        self.assertEqual((evidence["schema"], evidence["guard"], evidence["verdict"]), ("weir.evidence/v1", "errors", "fail"))
        self.assertIn("%d of %d" % (evidence["bad"]["canary"], evidence["n"]["canary"]), told)

    def test_an_abort_by_hand_is_11(self):
        self.pair()
        id = self.begin()
        waiting = threading.Thread(target=lambda: codes.append(self.weir.ctl("rollout", "wait", id).returncode))
        codes = []
        waiting.start()
        self.ctl("rollout", "abort", "shop", "--reason", "wrong build")
        waiting.join(20)
        self.assertEqual(codes, [11])
        self.assertEqual(self.state(), "aborted")
        self.ctl("rollout", "abort", "shop", code=6)

    def test_a_timeout_is_12_and_the_rollout_goes_on(self):
        self.pair()
        self.begin()
        began = time.monotonic()
        done = self.ctl("rollout", "wait", "shop", "--timeout", "1s", code=12)
        self.assertGreaterEqual(time.monotonic() - began, 1)
        self.assertIn("it goes on", done.stderr)
        self.assertEqual(self.state(), "running")

    def test_a_pause_can_be_waited_for(self):
        self.pair()
        self.begin()
        self.ctl("rollout", "wait", "shop", "--for", "paused", "--timeout", "500ms", code=12)
        self.ctl("rollout", "pause", "shop", "--reason", "looking")
        self.ctl("rollout", "wait", "shop", "--for", "paused", "--timeout", "10s")
        self.ctl("rollout", "wait", "shop", "--timeout", "500ms", code=12)
        self.assertIn("held (paused)", self.ctl("rollout", "status").stdout)
        self.ctl("rollout", "resume", "shop")
        self.assertEqual(self.state(), "running")

    def test_an_approval_is_14_until_it_is_given(self):
        self.pair([dict(ALL, gate=["go"])], gates={"go": {"approval": {"role": "approver"}}})
        self.begin()
        done = self.ctl("rollout", "wait", "shop", "--timeout", "20s", code=14)
        self.assertIn("rollout approve", done.stdout)
        self.ctl("rollout", "wait", "shop", "--for", "approval", "--timeout", "10s")
        self.ctl("rollout", "wait", "shop", "--for", "terminal", "--timeout", "500ms", code=12)
        self.assertIn("go (approval): closed, 0 of 1 by approver", self.ctl("rollout", "status").stdout)
        self.assertIn("rollout approve", self.ctl("rollout", "explain").stdout)
        self.ctl("rollout", "approve", "shop", "--gate", "nogate", code=3)
        self.ctl("rollout", "approve", "shop", "--gate", "go", "--reason", "CAB 7")
        self.ctl("rollout", "wait", "shop", "--timeout", "20s")

    def test_a_rejection_goes_back(self):
        self.pair([dict(CANARY, gate=["go"])], gates={"go": {"approval": {"role": "approver"}}})
        self.begin()
        self.ctl("rollout", "reject", "shop", "--reason", "not this week")
        self.ctl("rollout", "wait", "shop", "--timeout", "20s", code=11)

    def test_an_undecided_phase_is_13_and_says_how_far_it_is(self):
        self.pair([{"name": "canary", "weight": 20, "until": "proven", "timeout": "1s"}])
        self.begin()
        self.weir.ask()
        self.ctl("rollout", "wait", "shop", "--timeout", "20s", code=13)
        self.assertIn("held (undecided)", self.ctl("rollout", "status").stdout)
        told = self.ctl("rollout", "explain").stdout
        self.assertIn("the guards are still undecided", told)
        self.assertRegex(told, r"errors +undecided: \d+ of \d+ requests|errors +undecided: \d+ requests")
        self.assertEqual(self.weir.weights(), {"blue": 80, "green": 20})

    def test_without_traffic_it_is_held_undecided_and_waited_for(self):
        self.pair([dict(CANARY, hold="100ms", until="proven", min_requests=50)])
        self.begin()
        self.ctl("rollout", "wait", "shop", "--for", "paused", "--timeout", "20s")
        rollout = self.json("rollout", "status", "shop")
        self.assertEqual((rollout["state"], rollout["held_reason"], rollout["timed_out"]), ("held", "undecided", False))
        told = r"0 of (\d+) requests"
        needed = self.one_number(rollout["next"], told)
        evidence = self.json("rollout", "explain", "shop")
        self.assertEqual((evidence["verdict"], evidence["so_far"], evidence["of_about"]), ("undecided", 0, needed), evidence)
        self.assertEqual(self.one_number(evidence["text"], told), needed)
        self.ctl("rollout", "wait", "shop", "--timeout", "500ms", code=12)

    def one_number(self, text, pattern):
        found = re.findall(pattern, text)
        self.assertEqual(len(found), 1, text)
        return int(found[0])

    def test_phase_and_weight_can_be_waited_for(self):
        self.pair([dict(CANARY, hold="500ms"), {"name": "half", "weight": 50, "hold": "60s", "until": "held"}])
        self.begin()
        self.ctl("rollout", "wait", "shop", "--for", "weight=20%", "--timeout", "20s")
        self.ctl("rollout", "wait", "shop", "--for", "phase=half", "--timeout", "20s")
        self.assertEqual(self.json("rollout", "wait", "shop", "--for", "phase=canary")["phase"], "half")
        done = self.ctl("rollout", "wait", "shop", "--for", "phase=hlf", code=3)
        self.assertIn('did you mean "half"?', done.stderr)

    def test_a_weir_that_is_gone_is_5_and_one_that_restarts_is_waited_for(self):
        self.pair([dict(CANARY, hold="2s")])
        self.begin()
        codes = []
        waiting = threading.Thread(target=lambda: codes.append(self.weir.ctl("rollout", "wait", "shop", timeout=60).returncode))
        waiting.start()
        time.sleep(0.3)
        self.weir.kill()
        self.weir.start()
        waiting.join(30)
        self.assertEqual(codes, [0])
        self.weir.kill()
        self.ctl("rollout", "wait", "shop", code=5)
        self.weir.start()


class Verbs(Pipeline):

    def test_what_is_not_there_gets_suggestions(self):
        self.pair()
        self.ctl("rollout", "status", code=3)
        self.ctl("rollout", "status", "shop", code=3)
        for args, code, words in [
                (("rollout", "promot", "shop"), 2, 'did you mean "promote"?'),
                (("rollout",), 2, "which verb?"),
                (("rollout", "status", "shp"), 3, 'did you mean "shop"?'),
                (("rollout", "start", "shp", "--to", "green"), 3, 'did you mean "shop"?'),
                (("rollout", "start", "shop", "--to", "gren"), 3, 'did you mean "green"?'),
                (("rollout", "start", "shop", "--to", "green", "--plan", "standrd"), 3, 'did you mean "standard"?'),
                (("rollout", "start", "shop"), 2, "--to POOL is missing"),
                (("rollout", "start"), 2, "which split?"),
                (("rollout", "start", "shop", "more", "--to", "green"), 2, "SPLIT=POOL"),
                (("rollout", "wait", "shop", "--for", "termnal"), 2, 'did you mean "terminal"?'),
                (("rollout", "wait", "shop", "--for", "weight=lots"), 2, "not a percentage"),
                (("freeze", "om"), 2, 'did you mean "on"?'),
                (("signal", "shop"), 2, "a SPLIT and a KIND"),
                (("signal", "shop", "complaint", "--count", "many"), 2, "--count is a number")]:
            done = self.ctl(*args, code=code)
            self.assertIn(words, done.stderr, args)

    def test_a_pool_outside_the_split_is_told_as_that(self):
        blue, green = self.upstream("hello"), self.upstream("hello")
        config = blue_green(blue.address, green.address, plans={"standard": {"phases": [ALL], "guards": GUARDS}})
        config["pools"]["red"] = {"endpoints": [green.address]}
        config["routes"].insert(0, {"name": "red", "match": {"path_prefix": "/red"}, "pool": "red"})
        self.weir = self.start(config)
        done = self.ctl("rollout", "start", "shop", "--to", "red", "--plan", "standard", code=3)
        self.assertIn("pool \"red\" is not in split 'shop', which has blue, green", done.stderr)
        done = self.ctl("rollout", "start", "shop", "--to", "pink", "--plan", "standard", code=3)
        self.assertIn("there is no pool \"pink\" in split 'shop', which has blue, green", done.stderr)

    def test_every_verb_has_help_with_an_example(self):
        self.pair()
        listed = self.ctl("rollout", "--help").stdout
        for verb in ("start", "plan", "list", "status", "wait", "explain", "pause", "resume", "promote", "abort", "retry",
                     "approve", "reject"):
            self.assertIn("\n  %s" % verb, listed)
            told = self.ctl("rollout", verb, "--help").stdout
            self.assertIn("usage: weirctl rollout %s" % verb, told)
            self.assertIn("example:\n  weirctl rollout %s" % verb, told)

    def test_a_second_rollout_is_a_conflict(self):
        self.pair()
        id = self.begin()
        done = self.ctl("rollout", "start", "shop", "--to", "green", code=6)
        self.assertIn(id, done.stderr)

    def test_promote_full_goes_to_the_end(self):
        self.pair([CANARY, {"name": "half", "weight": 50, "hold": "60s", "until": "held"}])
        self.begin()
        self.ctl("rollout", "wait", "--for", "phase=canary")
        self.ctl("rollout", "promote", "shop")
        self.ctl("rollout", "wait", "--for", "phase=half", "--timeout", "10s")
        self.ctl("rollout", "promote", "shop", "--full")
        self.ctl("rollout", "wait", "--timeout", "10s")
        self.assertIn("green", self.ctl("rollout", "list").stdout)
        self.ctl("undo", "shop")
        self.assertEqual(self.weir.weights(), {"blue": 100, "green": 0})

    def test_retry_begins_anew(self):
        self.pair()
        first = self.begin()
        self.ctl("rollout", "abort", first)
        second = self.json("rollout", "retry", first)
        self.assertEqual((second["retry_of"], second["state"]), (first, "running"))
        rows = self.json("rollout", "list", "shop")["rollouts"]
        self.assertEqual([r["id"] for r in rows], [second["id"], first])

    def test_signals_count_once_by_id_and_roll_back(self):
        self.pair()
        self.begin()
        self.assertIn("counted against", self.ctl("signal", "shop", "complaint", "--id", "ZD-1").stdout)
        self.assertIn("already", self.ctl("signal", "shop", "complaint", "--id", "ZD-1").stdout)
        self.assertIn("not counted", self.ctl("signal", "shop", "refund").stdout)
        told = self.ctl("signal", "shop", "complain").stdout
        self.assertIn('did you mean "complaint"?', told)
        self.assertIn("it counts complaint", told)
        self.ctl("signal", "shop", "complaint", "--count", "3")
        self.ctl("rollout", "wait", "--timeout", "10s", code=10)
        told = self.ctl("rollout", "explain").stdout
        self.assertIn('Guard "complaints" fired', told)
        self.assertIn("counted    4", told)
        self.assertIn("threshold  at most 3 within 30m", told)

    def test_a_freeze_holds_and_status_tells(self):
        self.pair([dict(CANARY, hold="100ms"), {"name": "half", "weight": 50, "hold": "60s", "until": "held"}])
        self.ctl("freeze", "on", "--reason", "black friday")
        self.begin()
        self.assertIn("FROZEN", self.ctl("status").stdout)
        self.assertIn("black friday", self.ctl("freeze").stdout)
        self.assertEqual(self.weir.weights()["green"], 0)
        self.ctl("freeze", "off")
        self.ctl("rollout", "wait", "shop", "--for", "phase=half", "--timeout", "10s")
        self.assertIn("running", self.ctl("status").stdout)

    def test_a_plan_says_what_its_phases_can_see(self):
        self.pair([{"name": "tiny", "weight": 1, "hold": "1s"}, {"name": "half", "weight": 50, "hold": "30m"},
                   {"name": "bake", "weight": 99, "hold": "1s"}, {"name": "all", "weight": 100, "hold": "1s"}])
        told = self.ctl("rollout", "plan", "shop", "--to", "green").stdout
        self.assertIn("no traffic at present", told)
        with Load(self.weir.address):
            time.sleep(2)
            told = self.ctl("rollout", "plan", "shop", "--to", "green").stdout
            forecast = self.json("rollout", "plan", "shop", "--to", "green")
        self.assertRegex(told, r"at the present [\d.e+]+ requests a second")
        self.assertIn("phase half: 50% for 30m", told)
        for phase, way in (("tiny", "make the phase longer, its weight larger"), ("bake", "few requests are left to compare with: "
                           "make the weight smaller"), ("all", "nothing is left to compare with")):
            self.assertIn("warning: guard errors cannot be expected to fire in phase %s at the present traffic: %s" % (phase, way), told)
        self.assertIn("nothing was begun", told)
        self.assertEqual(forecast["schema"], "weir.forecast/v1")
        tiny, half = (p["guards"][0] for p in forecast["phases"][:2])
        self.assertEqual((tiny["can_fire"], half["can_fire"], half["limit"]), (False, True, "2pp"))
        self.assertGreater(half["seconds_to_detect"], 0)
        self.ctl("rollout", "status", "shop", code=3)

    def test_dry_runs_change_nothing(self):
        self.pair()
        self.ctl("rollout", "start", "shop", "--to", "green", "--dry-run")
        self.ctl("rollout", "status", code=3)
        self.begin()
        self.assertIn("dry run", self.ctl("rollout", "abort", "--dry-run").stdout)
        self.assertEqual(self.state(), "running")


if __name__ == "__main__":
    unittest.main()
