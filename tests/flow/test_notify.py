"""Notifications, gates that ask, and the evidence that all of them carry."""

import json
import os
import signal
import subprocess
import unittest

from harness import Case, Load, blue_green, until
import ports
from receiver import Receiver

KEY = b"a key of the hook"
GUARDS = [{"name": "errors", "metric": "errors", "max_increase": "2pp"}]


class Notified(Case):

    limit = 60

    def setUp(self):
        super().setUp()
        self.blue, self.green = self.upstream("hello", name="blue"), self.upstream("hello", name="green")
        self.receiver = self.enter(Receiver())

    def begin(self, phases, gates=None, notify=None, **more):
        plan = dict({"phases": phases, "guards": GUARDS, "keep_warm": "10m", "gates": gates or {},
                     "notify": [self.hook()] if notify is None else notify}, **more)
        self.weir = self.start(blue_green(self.blue.address, self.green.address, plans={"plan": plan}),
                               env={"WEIR_HOOK_KEY": KEY.decode()})
        reply = self.weir.admin("POST", "/v1/rollouts", {"split": "shop", "to": "green", "plan": "plan"})
        self.assertEqual(reply.status, 201, reply)
        return reply.json["id"]

    def hook(self, **more):
        return dict({"url": self.receiver.url(), "hmac": {"env": "WEIR_HOOK_KEY"}, "timeout": "2s"}, **more)

    def look(self, id):
        return self.weir.admin("GET", "/v1/rollouts/" + id).json

    def await_state(self, id, state, limit=15):
        return until(lambda: self.look(id)["state"] == state, limit, "state " + state)

    def told(self, word):
        return until(lambda: self.receiver.events(word), 10, word)

    def receivers(self):
        return {r["receiver"]: r for r in self.weir.admin("GET", "/v1/receivers").json["receivers"]}


class Events(Notified):

    def test_receivers_hear_of_a_rollback_with_its_evidence_signed(self):
        id = self.begin([{"name": "canary", "weight": 20, "hold": "60s", "until": "held"}])
        with Load(self.weir.address):
            until(lambda: self.look(id)["requests"]["canary"] > 20)
            self.green.mood = "boom"
            self.await_state(id, "rolled_back")
        self.told("rollout.rolled_back")
        calls = self.receiver.events()
        self.assertEqual([c.event for c in calls],
                         ["rollout.started", "rollout.phase", "rollout.rolling_back", "rollout.rolled_back"])
        self.assertTrue(all(c.is_signed_by(KEY) for c in calls))
        self.assertFalse(calls[0].is_signed_by(b"another key"))
        self.assertEqual(len({c.id for c in calls}), 4)
        for call in calls:
            self.assertEqual(call.json["schema"], "weir.event/v1")
            self.assertEqual(call.json["id"], call.id)
            self.assertEqual((call.json["rollout"], call.json["split"]), (id, "shop"))
        evidence = calls[2].json["evidence"]
        self.assertEqual((evidence["schema"], evidence["guard"], evidence["verdict"], evidence["phase"]),
                         ("weir.evidence/v1", "errors", "fail", "canary"))
        self.assertGreaterEqual(evidence["e_value"], evidence["needed"])
        self.assertEqual(evidence["limit"]["max_increase"], "2pp")
        self.assertNotIn("trail", evidence)
        self.assertIsNotNone(evidence["effective_at"])
        document = self.weir.admin("GET", "/v1/rollouts/%s/evidence" % id).json
        for key in ("schema", "guard", "verdict", "e_value", "needed", "n", "bad", "rate", "increase", "text"):
            self.assertEqual(document[key], evidence[key], key)
        self.assertEqual(self.weir.metric("weir_notify_deliveries_total", result="delivered"), 4)

    def test_only_the_events_that_were_asked_for(self):
        id = self.begin([{"name": "all", "weight": 100, "until": "held"}], notify=[self.hook(events=["promoted"])])
        with Load(self.weir.address):
            self.await_state(id, "promoted")
        self.told("rollout.promoted")
        self.assertEqual([c.event for c in self.receiver.events()], ["rollout.promoted"])

    def test_a_dead_receiver_is_seen_and_harmless(self):
        dead = "http://127.0.0.1:%d/hook" % ports.take()
        id = self.begin([{"name": "all", "weight": 100, "until": "held"}],
                        notify=[self.hook(url=dead, retries=0), self.hook()])
        with Load(self.weir.address):
            self.await_state(id, "promoted")
        self.told("rollout.promoted")
        name = dead[:-len("/hook")]
        row = until(lambda: (lambda r: r if r["failed"] >= 3 else None)(self.receivers()[name]))
        self.assertFalse(row["well"])
        self.assertIn("connect", row["error"].lower())
        self.assertEqual(self.weir.metric("weir_notify_receiver_up", receiver=name), 0)
        self.assertEqual(self.weir.metric("weir_notify_receiver_up", receiver=self.receiver.url("")), 1)
        self.assertIn("a receiver did not take a call", self.weir.err())

    def test_a_hanging_receiver_holds_nothing_up(self):
        hanging = self.enter(Receiver())
        hanging.hang = True
        id = self.begin([{"name": "all", "weight": 100, "until": "held"}],
                        notify=[self.hook(url=hanging.url()), self.hook()])
        with Load(self.weir.address):
            self.await_state(id, "promoted")
        self.told("rollout.promoted")
        self.assertEqual(len(hanging.events()), 1)
        self.assertGreaterEqual(self.receivers()[hanging.url("")]["waiting"], 1)

    def test_metrics_of_receivers_please_promtool(self):
        id = self.begin([{"name": "all", "weight": 100, "until": "held"}])
        with Load(self.weir.address):
            self.await_state(id, "promoted")
        self.told("rollout.promoted")
        text = self.weir.metrics()
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))


class Metrics(Notified):

    def samples(self, family):
        return dict(line.rsplit(" ", 1) for line in self.weir.metrics().splitlines() if line.startswith(family + "{"))

    def test_a_rollout_is_seen_in_metrics_from_its_phase_to_its_end(self):
        id = self.begin([{"name": "preview", "weight": 0}, {"name": "canary", "weight": 20, "hold": "60s", "until": "held"}])
        with Load(self.weir.address):
            until(lambda: self.look(id)["requests"]["canary"] > 20)
            self.assertEqual(self.weir.metric("weir_rollout_phase", split="shop"), 2)
            self.assertEqual(self.weir.metric("weir_rollout_state", split="shop", state="running"), 1)
            self.assertIn(self.weir.metric("weir_rollout_verdict", split="shop", guard="errors"), (0, 1))
            self.green.mood = "boom"
            self.await_state(id, "rolled_back")
        self.assertEqual(self.weir.metric("weir_rollout_phase", split="shop"), 0)
        states = self.samples("weir_rollout_state")
        self.assertEqual({k: v for k, v in states.items() if v != "0"}, {'weir_rollout_state{split="shop",state="rolled_back"}': "1"})
        self.assertEqual(len(states), 8)
        self.assertEqual(self.weir.metric("weir_rollout_rollbacks_total", split="shop", cause="guard"), 1)
        self.assertEqual(self.weir.metric("weir_rollout_rollbacks_total", split="shop", cause="abort"), 0)
        self.assertEqual(self.weir.metric("weir_rollout_reaction_seconds_count"), 1)
        self.assertLess(self.weir.metric("weir_rollout_reaction_seconds_sum"), 1)
        self.assertEqual(self.weir.metric("weir_rollout_frozen"), 0)


class Questions(Notified):

    phases = [{"name": "preview", "weight": 0, "gate": ["smoke"]}, {"name": "canary", "weight": 5, "hold": "60s", "until": "held"}]

    def ask(self, **more):
        return self.begin(self.phases, gates={"smoke": {"webhook": self.hook(retries=2, **more)}}, notify=[])

    def test_a_gate_that_fails_twice_and_then_says_yes_opens(self):
        self.receiver.answers = [500, 500]
        id = self.ask()
        until(lambda: self.look(id)["phase"] == "canary")
        calls = self.receiver.events("gate")
        self.assertEqual(len(calls), 3)
        self.assertEqual(len({c.id for c in calls}), 1)
        self.assertTrue(all(c.is_signed_by(KEY) for c in calls))
        self.assertEqual(calls[0].json["gate"], "smoke")
        self.assertEqual(calls[0].json["rollout"]["id"], id)

    def test_a_gate_that_says_no_holds_and_its_words_are_shown(self):
        self.receiver.status, self.receiver.says = 409, b'{"message": "login is broken"}'
        id = self.ask()
        rollout = until(lambda: (lambda r: r if r["gates"][0].get("said") else None)(self.look(id)))
        self.assertEqual((rollout["state"], rollout["held_reason"]), ("held", "gate:smoke"))
        self.assertIn("login is broken", rollout["gates"][0]["said"])
        self.assertEqual(len(self.receiver.events()), 1)
        self.assertEqual(self.weir.weights(), {"blue": 100, "green": 0})

    def test_an_answer_without_end_opens_nothing(self):
        self.receiver.says = b"yes\n" * 5000
        id = self.ask()
        rollout = until(lambda: (lambda r: r if r["gates"][0].get("said") else None)(self.look(id)))
        self.assertEqual((rollout["held_reason"], rollout["gates"][0]["state"]), ("gate:smoke", "closed"))
        self.assertIn("longer than 16 KiB", rollout["gates"][0]["said"])

    def test_an_answer_after_the_end_changes_nothing(self):
        self.receiver.hang = True
        id = self.ask(timeout="20s")
        self.told("gate")
        self.assertEqual(self.weir.admin("POST", "/v1/rollouts/%s/abort" % id).status, 200)
        self.await_state(id, "aborted")
        until(lambda: self.receivers()[self.receiver.url("")]["waiting"] == 0)
        self.assertEqual(self.look(id)["state"], "aborted")


class Proof(Notified):

    def audit(self, *args):
        path = self.weir.admin("GET", "/v1/audit?limit=0").json["path"]
        return path, self.weir.ctl("audit", "verify", *args)

    def test_the_audit_log_proves_every_verdict(self):
        id = self.begin([{"name": "one", "weight": 20, "min_requests": 20, "until": "held"},
                         {"name": "two", "weight": 50, "hold": "60s", "until": "held"}])
        with Load(self.weir.address):
            until(lambda: self.look(id)["phase"] == "two")
            self.green.mood = "boom"
            self.await_state(id, "rolled_back")
        path, done = self.audit()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("verdicts of rollouts follow from their counters", done.stdout)
        with open(path) as log:
            rows = [json.loads(line) for line in log]
        evidence = [r["after"]["evidence"] for r in rows if r["action"] == "rollout_rolling_back"][0]
        self.assertGreater(len(evidence["trail"]["numbers"]), 5)
        passed = [r["after"]["guards"] for r in rows if r["action"] == "rollout_phase" and "guards" in r["after"]]
        self.assertEqual((len(passed), passed[0][0]["phase"]), (1, "one"))

    def test_a_changed_number_is_found_when_all_hashes_are_made_anew(self):
        id = self.begin([{"name": "canary", "weight": 20, "hold": "60s", "until": "held"}])
        with Load(self.weir.address):
            until(lambda: self.look(id)["requests"]["canary"] > 20)
            self.green.mood = "boom"
            self.await_state(id, "rolled_back")
        path, done = self.audit()
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(path) as log:
            lines = log.read().splitlines()
        at = next(i for i, line in enumerate(lines) if '"action":"rollout_rolling_back"' in line)
        bad = json.loads(lines[at])["after"]["evidence"]["bad"]["canary"]
        lines[at] = lines[at].replace('"bad":{"canary":%d,' % bad, '"bad":{"canary":%d,' % (bad + 1), 1)
        forged = os.path.join(self.weir.dir, "forged.jsonl")
        reseal(lines, forged)
        path, done = self.audit(forged)
        self.assertEqual(done.returncode, 1)
        self.assertIn("forged.jsonl:%d: evidence of guard 'errors' in phase 'canary'" % (at + 1), done.stderr)
        self.assertIn("bad says %d" % (bad + 1), done.stderr)


class TheEnd(Notified):
    """What a chain of hashes cannot show by itself."""

    def path(self):
        return self.weir.admin("GET", "/v1/audit?limit=0").json["path"]

    def verify(self, code, *words):
        done = self.weir.ctl("audit", "verify")
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        for word in words:
            self.assertIn(word, done.stdout + done.stderr)

    def pair(self):
        self.weir = self.start(blue_green(self.blue.address, self.green.address))
        for percent in (5, 6, 7):
            self.weir.set_weights(blue=100 - percent, green=percent)

    def cut(self, lines):
        path = self.path()
        with open(path) as file:
            kept = file.read().splitlines(True)[:-lines]
        with open(path, "w") as file:
            file.writelines(kept)

    def test_a_cut_off_end_is_found_while_it_runs(self):
        self.pair()
        self.verify(0, "the chain holds")
        done = self.weir.ctl("audit", "verify", self.path())
        self.assertIn("only a running weir can say", done.stdout)
        self.cut(2)
        self.verify(1, "its end is missing", "weir has written")

    def test_a_cut_off_end_is_found_by_the_next_start(self):
        self.pair()
        path = self.path()
        self.weir.kill()
        with open(path) as file:
            kept = file.read().splitlines(True)[:-2]
        with open(path, "w") as file:
            file.writelines(kept)
        self.weir.start()
        self.assertIn("the end of the audit log is missing", self.weir.err())
        entries = self.weir.admin("GET", "/v1/audit").json["entries"]
        self.assertEqual([e["after"] for e in entries if e["action"] == "audit_end_missing"], [{"entries": 2}])
        self.verify(0)      # of what is there now
        self.weir.kill()
        self.weir.start()
        self.assertNotIn("is missing", self.weir.err())

    def test_a_rotated_file_lacks_nothing_and_goes_on_over_a_restart(self):
        self.pair()
        sequence = self.weir.admin("GET", "/v1/audit?limit=0").json["sequence"]
        os.rename(self.path(), self.path() + ".1")
        self.weir.tell(signal.SIGUSR1)
        until(lambda: os.path.exists(self.path()))
        self.verify(0, "0 entries")
        self.weir.kill()
        self.weir.start()
        self.assertNotIn("is missing", self.weir.err())
        self.weir.set_weights(blue=60, green=40)
        self.assertGreater(self.weir.admin("GET", "/v1/audit?limit=0").json["sequence"], sequence)
        self.verify(0, "it continues an earlier file")

    def test_a_ramp_has_a_line_where_it_begins_and_where_it_has_arrived(self):
        id = self.begin([{"name": "half", "weight": 50, "ramp": "1s", "hold": "60s", "until": "held"}], notify=[])
        until(lambda: self.look(id)["weight"] == 50)
        entries = [e for e in self.weir.admin("GET", "/v1/audit").json["entries"] if e["action"].startswith("rollout_")]
        self.assertEqual([e["action"] for e in entries], ["rollout_started", "rollout_phase", "rollout_start", "rollout_weight"])
        self.assertEqual(entries[-1]["after"]["weight"], 50)
        events = self.weir.admin("GET", "/v1/events?follow=0").json["events"]
        self.assertGreater(len([e for e in events if e["data"].get("event") == "weight"]), 5)


def reseal(lines, path):
    """The file with a chain that holds again."""
    import hashlib
    prev = "0" * 64
    with open(path, "w") as out:
        for line in lines:
            body = line[:line.rindex(',"prev":"')] + ',"prev":"%s"' % prev
            prev = hashlib.sha256(body.encode()).hexdigest()
            out.write('%s,"hash":"%s"}\n' % (body, prev))


if __name__ == "__main__":
    unittest.main()
