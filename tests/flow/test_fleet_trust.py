"""What is not believed of what stands in the memory that instances share, and how one's own change comes through all the same."""

import contextlib
import json
import os
import re
import socket
import tempfile
import time

from harness import SLOW, until
import ports
from test_fleet import Fleet, plan
from test_proxy_protocol import crc32c

POISON = "f" * 16
EVIL = "\x1b]0;pwned\x07\x1b[31mRED"


class Trust(Fleet):

    def setUp(self):
        super().setUp()
        self.plans = {"plan": plan()}

    def ask(self, *words):
        return self.server.ask(*words)

    def key(self, kind="state:split:shop"):
        return until(lambda: next(iter(k for k in self.ask("keys", "*") if ":fleet:%s" % kind in k), None), 10, "a key of " + kind)

    def state(self):
        """The accord and the document as they stand there."""
        key = self.key()
        return self.ask("hget", key, "a")[0], json.loads(self.ask("hget", key, "doc")[0])

    def write(self, accord, document, by="evil-1"):
        text = document if isinstance(document, str) else json.dumps(document)
        self.ask("hset", self.key(), "a", accord, "doc", text, "by", by)
        self.ask("incr", "t:fleet:news")
        self.ask("publish", "t:fleet:news", "%d evil" % time.monotonic_ns())

    def evil(self, document, green=99, reason="evil"):
        """The same document, another split in it."""
        split = json.loads(document["split"])
        split.update(weights={"blue": (100 - green) * 100, "green": green * 100}, reason=reason)
        return dict(document, split=json.dumps(split))

    def stays(self, green, weirs=None, seconds=0.6):
        end = time.monotonic() + seconds * SLOW
        while time.monotonic() < end:
            for weir in weirs or self.weirs:
                self.assertEqual(self.green_of(weir), green)
            time.sleep(0.02)

    def comes_through(self, weir, green):
        self.set(weir, green)
        self.all_at(green)
        self.stays(green)
        self.agree()


class Numbers(Trust):

    def test_an_epoch_that_nobody_can_have_come_to_is_refused_and_overwritten(self):
        first, second = self.fleet(2)
        self.set(first, 20)
        self.all_at(20)
        self.agree()
        accord, document = self.state()
        for number in (POISON, "7" + "f" * 15, "%016x" % (int(time.time() * 1000) + 3600000)):
            with self.subTest(number):
                self.write(number + accord[16:], self.evil(document))
                until(lambda: self.state()[0] == accord, 10, "it is overwritten")
                self.stays(20)
        self.agree()
        self.assertGreaterEqual(max(w.metric("weir_fleet_refused_total") for w in self.weirs), 1)
        said = "".join(w.err() for w in self.weirs)
        self.assertIn("evil-1", said)
        self.assertLessEqual(said.count("none that an instance can have come to"), 2, "once an instance")
        self.comes_through(second, 30)

    def test_texts_that_are_no_accords_do_not_stand_in_the_way(self):
        first, second = self.fleet(2)
        self.set(first, 20)
        self.all_at(20)
        self.agree()
        accord, document = self.state()
        for text in ("z" * 69, "z" * 100000, "f", accord[:20] + "\n" + accord[21:], accord[:17] + "ffff" + accord[21:],
                     accord[:37] + "f" * 16 + accord[53:]):
            with self.subTest(text[:70]):
                self.write(text, self.evil(document))
                until(lambda: self.state()[0] == accord, 10, "it is overwritten")
        self.comes_through(second, 30)

    def test_the_greatest_epoch_that_is_allowed_is_overtaken(self):
        first, second = self.fleet(2)
        self.set(first, 20)
        self.all_at(20)
        accord, document = self.state()
        self.write("%016x" % int(time.time() * 1000) + accord[16:], self.evil(document))
        self.all_at(99)
        for green in (30, 40, 50):
            self.comes_through(second, green)

    def test_deeds_and_steps_that_are_used_up(self):
        first, second = self.fleet(2)
        id = self.begin(first)
        self.all_in(id, state="running")
        self.agree()
        accord, document = self.state()
        self.write(accord[:37] + "%08x%08x" % (1 << 20, 1 << 30) + "f" * 16, document)
        until(lambda: self.look(second)["splits"][1]["deeds"] == 1 << 20, 10, "it is adopted")
        self.verb(second, id, "pause")
        self.all_in(id, state="held")
        time.sleep(0.5)
        self.all_in(id, state="held")
        self.agree()

    def test_a_poisoned_state_on_disk_heals_at_the_start(self):
        first, second = self.fleet(2)
        self.set(first, 20)
        self.all_at(20)
        self.agree()
        accord, document = self.state()
        first.kill()
        second.kill()
        for weir in (first, second):
            renumber(weir, accord[:16], POISON)
        self.ask("hset", self.key(), "a", POISON + accord[16:])
        for weir in (first, second):
            weir.start()
        self.agree()
        self.assertIn("numbered anew", first.err())
        self.comes_through(second, 30)

    def test_a_state_that_cannot_be_adopted_does_not_stop_a_change(self):
        first, second = self.fleet(2)
        self.set(first, 20)
        self.all_at(20)
        accord, document = self.state()
        for n, text in enumerate(("{", json.dumps({"by": "evil", "split": "{}"}), self.evil(document, 1000000))):
            self.write("%016x" % (int(accord[:16], 16) + 5 * (n + 1)) + accord[16:], text)
            until(lambda: any("trouble" in s for s in self.look(second)["splits"]))
            self.comes_through(second, 30 + n)


class Texts(Trust):

    def test_what_the_api_would_refuse_is_refused_from_a_peer(self):
        first, = self.fleet(1)
        self.set(first, 20)
        for reason in (EVIL, "two\nlines", "\x7f", "\u009b31m", "r" * 513):
            reply = first.admin("PUT", "/v1/splits/shop/weights", {"weights": {"blue": 50, "green": 50}, "reason": reason})
            self.assertEqual((reply.status, reply.json["code"]), (400, "bad-reason"))
        self.agree()
        accord, document = self.state()
        for n, reason in enumerate((EVIL, "\x7f", "\u009b31m", "r" * 513)):
            with self.subTest(reason[:20]):
                self.write("%016x" % (int(accord[:16], 16) + n + 1) + accord[16:], self.evil(document, reason=reason))
                until(lambda: "not printable" in json.dumps(self.look(first)["splits"]), 10, "it is refused")
                self.stays(20, seconds=0.2)
        self.assertGreaterEqual(first.metric("weir_fleet_refused_total"), 4)
        self.comes_through(first, 30)

    def test_a_rollout_whose_id_is_no_name(self):
        first, = self.fleet(1)
        id = self.begin(first)
        self.all_in(id, state="running")
        self.agree()
        accord, document = self.state()
        for n, other in enumerate(("../../x", "a b", "", "a\nb")):
            run = dict(json.loads(document["rollout"]), id=other)
            self.write("%016x" % (int(accord[:16], 16) + n + 1) + accord[16:], dict(document, rollout=json.dumps(run)))
            until(lambda: "not printable" in json.dumps(self.look(first)["splits"]), 10, "it is refused")
        self.verb(first, id, "abort")
        self.all_in(id, state="aborted")
        first.kill()
        first.start()
        self.all_in(id, state="aborted")

    def test_weirctl_prints_no_control_character(self):
        """Whatever it is told: a weir of another version, or something else, says it."""
        first, = self.fleet(1)
        evil = json.dumps(EVIL + "\u009b31m\x7f\r\n")[1:-1].replace("\x7f", "\\u007f")
        mark = "E" * len(evil)
        reply = first.admin("PUT", "/v1/splits/shop/weights", {"weights": {"blue": 80, "green": 20}, "reason": mark})
        self.assertEqual(reply.status, 200, reply)
        address = liar(self, first.admin_path, mark.encode(), evil.encode())
        told = 0
        for command in (["status"], ["split"], ["weights", "shop"], ["weights", "shop", "-o", "json"], ["config", "diff"], ["audit"]):
            done = first.ctl("--admin", address, *command)
            said = done.stdout + done.stderr
            self.assertIn(done.returncode, (0, 6), said)      # they differ from the file
            told += "pwned" in said
            self.assertFalse(re.search("[\x00-\x08\x0b-\x1f\x7f\u0080-\u009f]", said), (command, said))
        self.assertGreater(told, 2)


class Keys(Trust):
    """Values of other types, and numbers that nobody has written honestly."""

    def test_a_key_of_another_type_goes(self):
        first, second = self.fleet(2)
        green = 20
        for words in (("set", self.key(), "x"), ("set", "t:fleet:news", "junk"), ("rpush", "t:fleet:news", "x"),
                      ("set", "t:fleet:news", str((1 << 63) - 1)), ("set", "t:fleet:seen", "x"), ("set", "t:fleet:about", "x")):
            with self.subTest(words):
                self.ask("del", words[1])
                self.ask(*words)
                self.comes_through(first, green)
                green += 1
        self.assertEqual(first.metric("weir_fleet_lost_total"), 0, "the connection has held")

    def test_a_lease_without_an_end_is_none(self):
        first, second = self.fleet(2)
        self.ask("set", "t:fleet:lease:shop", "evil")
        id = self.begin(first)
        self.assertIn(self.holder(), (first, second))
        self.verb(first, id, "promote")
        self.all_in(id, phase="half")

    def test_evidence_that_nobody_can_have_seen(self):
        first, second = self.fleet(2)
        id = self.begin(first)
        self.all_in(id, state="running")
        key = self.key("evidence:")
        cell = self.ask("hget", key, self.look(first)["id"])[0].split(" ")
        for at, value in ((1, "9223372036854775807"), (2, "9223372036854775807"), (4, "18446744073709551615"), (None, "0:18446744073709551615")):
            evil = cell + [value] if at is None else cell[:at] + [value] + cell[at + 1:]
            refused = first.metric("weir_fleet_refused_total")
            self.ask("hset", key, "evil-2", " ".join(evil))
            until(lambda: first.metric("weir_fleet_refused_total") > refused, 10, "it is refused")
        self.ask("hset", key, *sum([["i%d" % i, "x" * 1000] for i in range(2000)], []))
        time.sleep(0.6)
        self.assertEqual(self.rollout(first, id)["state"], "running")
        self.assertEqual(first.metric("weir_fleet_lost_total"), 0, "the connection has held")
        self.assertIn("evil-2", first.err())

    def test_many_that_say_they_are_there(self):
        first, second = self.fleet(2)
        now = int(time.time() * 1000)
        for score in ("inf", "1e300", str(now + 10 ** 12)):
            self.ask("zadd", "t:fleet:seen", score, "evil" + score)
        until(lambda: not [m for m in self.ask("zrange", "t:fleet:seen", "0", "-1") if m.startswith("evil")])
        self.ask("zadd", "t:fleet:seen", *sum([[str(now - 30000), "i%d" % i] for i in range(5000)], []))
        time.sleep(1)
        self.assertTrue(self.look(first)["up"])
        self.assertEqual(first.metric("weir_fleet_lost_total"), 0, "the connection has held")

    def test_names_that_are_none_are_nobodys(self):
        first, second = self.fleet(2)
        for name in (b"\xff\xfe-1", EVIL.encode(), b"real-1"):
            self.ask("hset", "t:fleet:about", name, "{}")
            self.ask("zadd", "t:fleet:seen", str(int(time.time() * 1000)), name)
        until(lambda: "real-1" in [i["id"] for i in self.look(first)["instances"]], 10, "the new one is heard of")
        self.assertEqual(len(self.look(first)["instances"]), 3)
        self.assertEqual(first.metric("weir_fleet_instances"), 3)
        self.assertEqual(first.metric("weir_fleet_instances_agreeing"), 2)


def liar(case, path, mark, evil):
    """An admin API that says `evil` where the real one says `mark`."""
    def answer(sock):
        with contextlib.suppress(OSError), sock, socket.socket(socket.AF_UNIX) as to:
            to.connect(path)
            asked = sock.recv(65536)
            to.sendall(asked.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
            said = b""
            while more := to.recv(65536):
                said += more
            sock.sendall(said.replace(mark, evil))
    folder = case.enter(tempfile.TemporaryDirectory())
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.join(folder, "admin.sock"))
    listener.listen(8)
    case.addCleanup(listener.close)
    ports.serve_each(listener, answer)
    return "unix:" + os.path.join(folder, "admin.sock")


def renumber(weir, old, new):
    """Puts another epoch into what is recorded, with the right checksums."""
    for name in ("journal", "snapshot"):
        path = os.path.join(weir.dir, "state", name)
        if os.path.exists(path):
            with open(path, "rb") as file:
                lines = file.read().split(b"\n")
            with open(path, "wb") as file:
                file.write(b"\n".join(renumbered(line, old.encode(), new.encode()) for line in lines))


def renumbered(line, old, new):
    if b"fleet/split/shop" not in line:
        return line
    rest = line[9:].replace(b'"accord":"' + old, b'"accord":"' + new)
    return b"%08x %s" % (crc32c(rest), rest)
