"""Signals that a habit of other servers sends: weir goes on, and says what to do instead."""

import json
import signal
import unittest

from harness import Case, one_pool, until

FOREIGN = ("SIGUSR2", "SIGWINCH", "SIGTTOU", "SIGTTIN", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR")
SILENT = ("SIGPIPE", "SIGXFSZ", "SIGURG", "SIGCHLD")


class Foreign(Case):
    def told(self, weir):
        rows = [json.loads(line) for line in weir.err().splitlines() if line.startswith("{") and line.endswith("}")]
        return [row for row in rows if "signal" in row]

    def test_none_ends_weir_and_each_is_told_once(self):
        weir = self.start(one_pool(self.upstream().address))
        for name in FOREIGN + SILENT + FOREIGN:
            weir.tell(getattr(signal, name))
            self.assertEqual(weir.ask().status, 200, name)
            if name in FOREIGN:
                until(lambda: [row for row in self.told(weir) if row["signal"] == name], 5, name)
        told = self.told(weir)
        self.assertEqual(sorted(row["signal"] for row in told), sorted(FOREIGN))
        for row in told:
            self.assertTrue(row["instead"], row)
        self.assertIn("restart", [row for row in told if row["signal"] == "SIGUSR2"][0]["instead"])

    def test_those_that_weir_knows_still_work(self):
        weir = self.start(one_pool(self.upstream().address))
        weir.tell(signal.SIGUSR1)
        until(lambda: "logs reopened" in weir.err(), 5)
        weir.hup()
        until(lambda: weir.reloads() == 1, 5)


if __name__ == "__main__":
    unittest.main()
