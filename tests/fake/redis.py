"""A real redis-server of one's own, ended by its pid."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import ports


class Redis:

    def __init__(self, *options, tls=None):
        """`tls` is (certificate, key, authority): then only TLS is spoken."""
        if not shutil.which("redis-server"):
            raise AssertionError("there is no redis-server: apt-get install redis-server")
        self.dir = tempfile.mkdtemp(prefix="weir-redis-")
        self.port = ports.take()
        self.address = "127.0.0.1:%d" % self.port
        self.options, self.tls = options, tls
        self.process = None
        self.start()

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    def start(self):
        port = ["--port", str(self.port)]
        if self.tls:
            port = ["--port", "0", "--tls-port", str(self.port), "--tls-cert-file", self.tls[0], "--tls-key-file", self.tls[1],
                    "--tls-ca-cert-file", self.tls[2], "--tls-auth-clients", "no"]
        with open(os.path.join(self.dir, "log"), "ab") as log:
            self.process = subprocess.Popen(["redis-server", "--bind", "127.0.0.1", "--dir", self.dir, "--save", "", "--appendonly",
                                             "no", *port, *self.options], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    with open(os.path.join(self.dir, "log")) as log:
                        raise AssertionError("redis-server did not start:\n" + log.read()) from None
                time.sleep(0.02)

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def ask(self, *words, auth=()):
        """The server's answer as redis-cli prints it, in lines."""
        done = subprocess.run(["redis-cli", "-p", str(self.port), "--no-auth-warning", *auth, *words], capture_output=True,
                              text=True, timeout=10)
        return done.stdout.splitlines()
