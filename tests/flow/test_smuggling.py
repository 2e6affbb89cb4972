"""One request in is one request out, or none: security.md section 1 as a table.

Each case runs twice: in one segment, and one byte a segment.
"""

import re
import socket
import unittest

import smuggling
from harness import Closed, Shared, get, one_pool


class Smuggling(Shared):
    """The rules that hold for every attempt; the groups are made below."""

    @classmethod
    def config(cls):
        config = one_pool(cls.up.address, pool={"timeouts": {"first_byte": "3s", "idle": "3s"}},
                          listeners={"http": {"protocols": ["http/1.1"]}})     # its preface is one of the cases
        config["routes"] = [
            {"name": "fixed", "match": {"path": "/fixed"}, "respond": {"status": 200, "body": "fixed\n"}},
            {"name": "admin", "match": {"path_prefix": "/admin"}, "respond": {"status": 403, "body": "no\n"}},
        ] + config["routes"]
        return config

    def attempt(self, case, bytewise):
        answers, closed = self.play(case, bytewise)
        self.sentinel()
        seen = [s for s in self.up.seen if s.target != b"/sentinel"]
        complete = [s for s in seen if s.is_complete]
        told = "%s: answers %r, closed %s, upstream %r" % (case.name, answers, closed, seen)

        self.assertEqual(self.up.faults, [], told)
        if case.data.count(smuggling.NEXT) and not self.may_pass_next(case, complete):
            self.assertNotIn(b"/smuggled", [s.target for s in seen], told)
        if not answers and bytewise:
            # The refusal may be lost to a reset when bytes were still on their way.
            self.assertTrue(closed, told)
            self.assertEqual(complete, [], told)
            return
        self.assertTrue(answers, "no answer; " + told)
        if case.plain is not None and answers[0].status == 200:
            self.assertIn(len(complete), {1, case.plain}, told)
            self.assertFalse([s for s in complete[1:] if s.target != b"/smuggled"], told)
        else:
            self.assertIn(answers[0].status, case.status, told)
            self.assertIn(len(complete), case.complete, told)
            if case.closed and answers[0].status != 404:
                self.assertTrue(closed, told)
                self.assertEqual(len(answers), 1, told)
        if complete and case.check:
            case.check(complete)

    def may_pass_next(self, case, complete):
        """A case that may be understood whole may also have its follower served, as a request of its own."""
        return case.plain == 2 and len(complete) == 2

    def play(self, case, bytewise):
        """Sends the bytes; returns the answers and whether the proxy ended the connection."""
        method = case.data.lstrip().split(b" ")[0].decode("latin-1")
        answers = []
        with self.weir.client(timeout=4) as client:
            if bytewise:
                client.send_bytewise(case.data)
            else:
                try:
                    client.send(case.data)
                except ConnectionError:
                    pass
            try:
                answers.append(client.answer("HEAD" if method == "HEAD" else "GET"))
                if not case.closed or answers[0].status in (200, 404):
                    # What else it says when nothing more comes from us.
                    client.half_close()
                while True:
                    answers.append(client.answer())
            except Closed:
                return answers, True
            except (socket.timeout, OSError):
                return answers, client.was_reset

    def sentinel(self):
        """A good request on a fresh connection gets its own answer, whatever went before."""
        answer = self.weir.ask(get("/sentinel"))
        self.assertEqual((answer.status, answer.broken), (200, None), repr(answer))
        self.assertEqual(answer.json()["target"], "/sentinel")


def word(text):
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def build():
    """A class per group, so that groups run side by side; two tests per case."""
    classes = {}
    for number, case in enumerate(smuggling.CASES):
        name = "Smuggling" + "".join(w.capitalize() for w in word(case.group).split("_"))
        body = classes.setdefault(name, {})
        for suffix, bytewise in (("", False), ("__byte_by_byte", True)):
            if bytewise and len(case.data) > 3000:
                continue
            def test(self, case=case, bytewise=bytewise):
                self.attempt(case, bytewise)
            test.__doc__ = None
            key = "test_%s%s" % (word(case.name), suffix)
            while key in body:
                key += "_%d" % number
            body[key] = test
    for name, body in classes.items():
        globals()[name] = type(name, (Smuggling,), dict(body, __module__=__name__))


build()
del Smuggling

if __name__ == "__main__":
    unittest.main()
