"""One test for each script of vtc/: HTTP spoken line by line by varnishtest's clients and servers."""

import glob
import os
import subprocess
import unittest

from harness import SLOW, WEIR, Case, free_port

PLACE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "vtc")


class Scripts(Case):

    def play(self, script):
        done = subprocess.run(["varnishtest", "-k", "-t", str(30 * SLOW), "-D", "weir=" + os.path.abspath(WEIR),
                               "-D", "weir_port=%d" % free_port(), script], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout[-6000:] + done.stderr[-2000:])


for path in sorted(glob.glob(os.path.join(PLACE, "*.vtc"))):
    def one(self, path=path):
        self.play(path)
    setattr(Scripts, "test_" + os.path.basename(path)[:-4].lower(), one)


if __name__ == "__main__":
    unittest.main()
