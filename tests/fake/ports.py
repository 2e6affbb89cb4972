"""Free ports below the ephemeral range, never handed out twice at a time.

Port 0 would do for one bind, but a proxy that shares its ports (SO_REUSEPORT)
and an endpoint that goes away and comes back need a number that nobody else
takes meanwhile. A number is ours while we hold the abstract unix socket of
that name, which the kernel lets go when the process ends.
"""

import os
import random
import socket
import threading

FIRST, LAST = 11000, 32000
held = {}


def take(host="127.0.0.1"):
    dice = random.Random(os.urandom(8))
    while True:
        port = dice.randrange(FIRST, LAST)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind("\0weir-test-port-%d" % port)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        except OSError:
            claim.close()
            continue
        held[port] = claim
        return port


def serve_each(listener, serve):
    """Calls serve(socket) for each connection, in a thread of its own, until the listener is closed."""
    def accept():
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(sock,), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
