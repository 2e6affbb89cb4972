"""Started as root with `user`: binds, makes its places, and is nobody from then on."""

import os
import pwd
import shutil
import tempfile
import unittest

from harness import Case, Weir, blue_green, get


class DroppedPrivileges(Case):

    def test_root_becomes_the_user_and_keeps_no_capability(self):
        self.assertEqual(os.getuid(), 0, "this test wants to be run as root")
        place = tempfile.mkdtemp(prefix="weir-flow-")
        self.addCleanup(shutil.rmtree, place, True)
        os.chmod(place, 0o755)
        up = self.upstream()
        socket = os.path.join(place, "run", "admin.sock")
        config = blue_green(up.address, up.address, user="nobody", admin={"listen": ["unix:" + socket]}, logs={})
        weir = self.enter(Weir(config, directory=place, wait=False))
        weir.admin_path = socket
        weir.wait_ready()
        with open("/proc/%d/status" % weir.process.pid) as status:
            facts = dict(line.split(":\t", 1) for line in status if ":\t" in line)
        nobody = pwd.getpwnam("nobody").pw_uid
        self.assertEqual(set(facts["Uid"].split()), {str(nobody)})
        self.assertEqual((int(facts["CapEff"], 16), facts["NoNewPrivs"].strip()), (0, "1"))
        self.assertEqual(os.stat(os.path.join(place, "state")).st_uid, nobody)
        self.assertEqual(weir.ask(get("/")).status, 200)
        self.assertEqual(weir.set_weights(blue=50, green=50).status, 200)
        weir.reload()
        self.assertEqual(weir.weights()["green"], 50)


if __name__ == "__main__":
    unittest.main()
