"""The scripts of vtc/, told by varnishtest: a test per script, named after its file.

Only varnishtest's clients and servers are used, no varnishd. A script gets
${weir}, the binary, and ${port}, a free one, and starts its own weir.
"""

import glob
import os
import subprocess
import unittest

from harness import HERE, SANITIZED, SLOW, WEIR, Case, free_port

SCRIPTS = sorted(glob.glob(os.path.join(HERE, "vtc", "*.vtc")))


class Scripts(Case):
    limit = 60

    def play(self, script):
        env = dict(os.environ, WEIR_SLOW="%d" % max(1, SLOW))
        done = subprocess.run(["varnishtest", "-v", "-t", "%d" % (50 * SLOW), "-D", "weir=" + os.path.abspath(WEIR),
                               "-D", "port=%d" % free_port(), script], env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        if done.returncode != 0:        # 77: it would skip, which nothing here may
            self.fail("%s ended with %d\n%s" % (os.path.basename(script), done.returncode, done.stdout[-8000:]))
        self.assertNotRegex(done.stdout, SANITIZED)

    def test_there_are_scripts(self):
        self.assertGreaterEqual(len(SCRIPTS), 12)


def add(script):
    name = "test_" + os.path.basename(script)[:-len(".vtc")]
    setattr(Scripts, name, lambda self: self.play(script))


for path in SCRIPTS:
    add(path)

if __name__ == "__main__":
    unittest.main()
