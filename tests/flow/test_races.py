"""Misfortunes at an awkward instant: the peer that leaves, stops reading or
resets exactly while the proxy is between two states."""

import contextlib
import fcntl
import os
import select
import signal
import socket
import ssl
import struct
import termios
import threading
import unittest

from harness import Case, Closed, Shared, get, one_pool, post, until, websocket
from test_upgrade import open_tunnel, say
import h2
from upstream import pattern


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Script:
    """An upstream that does what the test says: each accepted connection is handed over."""

    def __init__(self, sndbuf=None):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(10)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.listener.close()

    def accept(self):
        sock, _ = self.listener.accept()
        sock.settimeout(10)
        return sock


def read_head(sock):
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            raise Closed(repr(data))
        data += piece
    return data


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def empty(sock):
    """The other side has read all of it (unix sockets)."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0" * 4))[0] == 0


def small_window(address):
    """A client whose socket takes next to nothing."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.settimeout(10)
    sock.connect(address)
    return sock


class DeafClients(Case):
    """Who does not read is let go of, whatever the answer was."""

    limit = 60

    def left_alone(self, weir, fds):
        until(lambda: weir.fds() <= fds, 20, "the connection is let go of")

    def test_a_large_last_answer_that_nobody_reads_ends(self):
        config = {"routes": [{"name": "fixed", "match": {"path_prefix": "/"}, "respond": {"status": 200, "body": "x" * 50000}}],
                  "listeners": {"http": {"limits": {"idle_timeout": "2s"}}}}
        weir = self.start(config)
        weir.ask()
        fds = weir.fds()
        # As many answers as fit into the buffers between us, whatever their size, and a last one.
        socks = []
        for n in range(100):
            sock = small_window(weir.address)
            sock.sendall(get() * n + get(connection="close"))
            socks.append(sock)
        until(lambda: weir.metric("weir_connections_accepted_total") > 100 and weir.fds() > fds)
        self.left_alone(weir, fds)

    def test_a_tunnel_whose_upstream_resets_while_the_client_does_not_read_ends(self):
        up = self.enter(Script())
        weir = self.start(one_pool(up.address, routes=[{"name": "all", "match": {"path_prefix": "/"}, "pool": "app",
                                                       "upgrade": ["websocket"]}],
                                   listeners={"http": {"limits": {"idle_timeout": "2s"}}}))
        fds = weir.fds()
        client = small_window(weir.address)
        client.sendall(websocket("/"))
        peer = up.accept()
        read_head(peer)
        peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                     b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
        peer.settimeout(0.5)
        try:
            while True:
                peer.sendall(bytes(65536))
        except socket.timeout:
            pass
        reset(peer)
        self.left_alone(weir, fds)
        self.assertEqual(weir.metric("weir_connections", state="tunnel"), 0)


class Tunnels(Case):

    def test_a_reset_by_the_client_is_counted_and_carried(self):
        up = self.upstream()
        weir = self.start(one_pool(up.address, routes=[{"name": "all", "match": {"path_prefix": "/"}, "pool": "app",
                                                       "upgrade": ["websocket"]}]))
        client = weir.client()
        open_tunnel(client)
        say(client, b"hello")
        until(lambda: weir.metric("weir_connections", state="tunnel") == 1)
        reset(client.sock)
        until(lambda: not weir.metric("weir_connections", state="tunnel"), 5, "no tunnel is left")

    def test_a_reset_after_a_half_close_ends_both_sides(self):
        up = self.enter(Script())
        weir = self.start(one_pool(up.address, routes=[{"name": "all", "match": {"path_prefix": "/"}, "pool": "app",
                                                       "upgrade": ["websocket"]}]))
        client = weir.client()
        client.send(websocket("/"))
        peer = up.accept()
        read_head(peer)
        peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                     b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
        self.assertEqual(client.answer(upgrade=True).status, 101)
        client.half_close()
        self.assertEqual(peer.recv(10), b"")
        reset(client.sock)
        until(lambda: not weir.metric("weir_connections", state="tunnel"), 5, "no tunnel is left")


class CutAnswers(Case):

    def test_a_cut_answer_that_ends_with_the_connection_is_reset_even_with_more_requests_behind(self):
        up = self.enter(Script())
        weir = self.start(one_pool(up.address))
        for size in range(20000, 4000000, 60000):   # one of them leaves some of the answer unsent when it is cut
            client = small_window(weir.address)
            done = len(weir.access())
            client.sendall(b"GET / HTTP/1.0\r\nhost: t\r\n\r\n" + get() * 3)
            peer = up.accept()
            read_head(peer)
            peer.settimeout(0.3)
            try:
                peer.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n400000\r\n" + bytes(size))
                stuck = False
            except socket.timeout:
                stuck = True
            peer.close()
            if stuck:
                client.close()
                return
            try:
                until(lambda: len(weir.access()) > done, 1)
            except AssertionError:
                return      # from here on it is paused before it sees the end
            with self.assertRaises(ConnectionResetError, msg="cut after %d bytes" % size):
                while client.recv(65536):
                    pass
            client.close()


class OneTurn(Case):
    def in_one_turn(self, weir, *deeds):
        """Lets all deeds reach the proxy before it looks at the first."""
        weir.tell(signal.SIGSTOP)
        until(lambda: open("/proc/%d/stat" % weir.process.pid).read().rsplit(")", 1)[1].split()[0] == "T")
        for deed in deeds:
            deed()
        weir.tell(signal.SIGCONT)


class HalfClosedClients(OneTurn):

    def test_what_was_asked_before_the_end_is_answered(self):
        """The FIN is seen in the turn in which the first answer makes room for the second request."""
        up = self.enter(Script())
        weir = self.start(one_pool(up.address))
        with weir.client() as client:
            client.send(get("/0"))
            peer = up.accept()
            read_head(peer)
            peer.sendall(OK)
            self.assertEqual(client.answer().body, b"ok")
            client.send(get("/1") + get("/2"))
            read_head(peer)
            # A round of a connection's whole life: by its end the bytes that came before it were seen.
            self.assertEqual(self.ask_elsewhere(weir, up), 200)
            self.in_one_turn(weir, lambda: peer.sendall(OK), client.half_close)
            self.assertEqual(client.answer().body, b"ok")
            self.assertIn(b"GET /2 ", read_head(peer))
            peer.sendall(OK)
            self.assertEqual(client.answer().body, b"ok")

    def ask_elsewhere(self, weir, up):
        with weir.client() as client:
            client.send(get("/else"))
            with up.accept() as peer:
                read_head(peer)
                peer.sendall(OK.replace(b"content-length", b"connection: close\r\ncontent-length"))
                return client.answer().status


class UnixScript(Script):
    """... at a unix socket, which holds what is sent until the other side takes it."""

    def __init__(self, directory):
        path = os.path.join(directory, "app.sock")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.listener.settimeout(10)
        self.address = "unix:" + path

    def accept(self):
        sock = super().accept()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        return sock


class SlowClients(OneTurn):

    def test_learn_of_a_reset_that_came_with_the_bytes_before_it(self):
        """One event for both, and then the client takes no more: when it does, nothing else tells of the reset."""
        directory = self.folder()
        up = self.enter(UnixScript(directory))
        path = os.path.join(directory, "http.sock")
        weir = self.start(one_pool(up.address, listeners={"http": {"bind": ["unix:" + path]}}))
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(path)
            client.sendall(get())
            peer = up.accept()
            self.assertTrue(peer.recv(10))      # what is left unread makes the close a reset
            peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n" + pattern(150000))
            until(lambda: empty(peer))
            self.in_one_turn(weir, lambda: peer.sendall(pattern(250000)), peer.close)
            got = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := client.recv(65536):
                    got += piece
            self.assertEqual(len(got.partition(b"\r\n\r\n")[2]), 400000)


class EarlyAnswers(Case):
    limit = 60

    def test_to_a_slow_reader_do_not_end_the_watch_over_its_body(self):
        up = self.enter(Script())
        weir = self.start(one_pool(up.address, listeners={"http": {"limits": {"idle_timeout": "5s"}}}))
        with weir.client() as client:
            client.send(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
            with up.accept() as peer:
                read_head(peer)
                peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (1 << 30))
                sent = 0
                while select.select([], [peer], [], 0.5)[1]:   # until all room between it and the client is taken
                    sent += peer.send(bytes(65536))
                client.head()
                client.exactly(sent)
                until(lambda: weir.metric("weir_clients_too_slow_total", at="body") == 1, 30, "one whose body is too slow")
                self.assertIn(weir.metric("weir_upstream_errors_total"), (0, None))

    def test_of_an_upstream_that_reads_no_more_all_arrives_at_a_slow_client(self):
        up = self.enter(UnixScript(self.folder()))
        weir = self.start(one_pool(up.address))
        wire = self.enter(h2.client(weir.address))
        wire.gives_window = False
        wire.headers(1, h2.request("/", "POST"), end=False)
        wire.data(1, b"x" * 1000)
        peer = up.accept()
        read_head(peer)
        body = pattern(300000)
        peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        wire.until(lambda: len(wire.message(1).body) == 65535)
        self.assertFalse(empty(peer), "the answer waits for the client")
        peer.shutdown(socket.SHUT_RD)
        wire.data(1, b"x" * 1000)
        wire.sync()
        self.assertIsNone(wire.message(1).reset)
        wire.gives_window = True
        wire.window(0, len(body))
        wire.window(1, len(body))
        self.assertEqual(wire.answer(1).body, body)


class KeptConnections(OneTurn):
    """The kept connection dies in the same instant in which it is taken."""

    def kept(self, **more):
        up = self.enter(Script())
        weir = self.start(one_pool(up.address, **more))
        client = weir.client()
        client.send(get())
        peer = up.accept()
        read_head(peer)
        peer.sendall(OK)
        self.assertEqual(client.answer().status, 200)
        return up, weir, client, peer

    def test_a_put_that_is_repeated_is_repeated_whole(self):
        up, weir, client, peer = self.kept()
        body = pattern(40000)
        wire = get(method="PUT", content_length=str(2 * len(body))) + body
        self.in_one_turn(weir, lambda: client.send(wire), lambda: reset(peer))
        until(lambda: select.select([up.listener, client.sock], [], [], 0)[0])
        if select.select([client.sock], [], [], 0)[0]:
            self.assertEqual(client.answer().status, 502)   # not repeated: as good
            return
        peer = up.accept()
        got = read_head(peer).partition(b"\r\n\r\n")[2]
        client.send(body)
        while len(got) < 2 * len(body):
            piece = peer.recv(65536)
            self.assertTrue(piece, "the body ended after %d bytes" % len(got))
            got += piece
        self.assertEqual(got, body + body)
        peer.sendall(OK)
        self.assertEqual(client.answer().status, 200)

    def test_an_answer_that_came_before_the_request_is_nobodys(self):
        up, weir, client, peer = self.kept()
        self.in_one_turn(weir, lambda: client.send(get("/second")),
                         lambda: peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nEVIL"))
        until(lambda: select.select([up.listener, client.sock], [], [], 0)[0])
        if select.select([up.listener], [], [], 0)[0]:
            peer = up.accept()
            read_head(peer)
            peer.sendall(OK)
        self.assertNotEqual(client.answer().body, b"EVIL")

    def test_what_follows_an_answer_that_filled_the_last_read_is_nobodys(self):
        """The connection is not empty, and nobody has noticed yet when the next request looks for one."""
        up = self.enter(UnixScript(self.folder()))
        weir = self.start(one_pool(up.address))
        with weir.client() as client:
            both = b"GET /%d HTTP/1.0\r\nHost: t\r\nConnection: keep-alive\r\n\r\n"
            client.send(both % 1 + both % 2)
            peer = up.accept()
            read_head(peer)
            # Heads in pieces are read 64 KiB at a time, and four times in one go: the answer ends with the last of these.
            interim = b"HTTP/1.1 103 Early Hints\r\nlink: " + b"x" * 17000 + b"\r\n\r\n"
            first, reads = interim[:10], 4 * 65536
            stream = interim * 15
            head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"
            size = 10 + reads - len(stream) - len(head % 1000)
            self.assertTrue(1000 <= size <= 9999)
            stream += head % size + b"y" * size
            peer.sendall(first)
            until(lambda: empty(peer), 10, "the first piece was read")
            self.in_one_turn(weir, lambda: peer.sendall(stream[10:] + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nEVIL"))
            self.assertEqual(client.answer().body, b"y" * size)
            until(lambda: client.buf or select.select([up.listener, client.sock], [], [], 0)[0])
            if select.select([up.listener], [], [], 0)[0]:
                again = up.accept()
                self.assertIn(b"GET /2 ", read_head(again))
                again.sendall(OK)
            self.assertEqual(client.answer().body, b"ok")


if __name__ == "__main__":
    unittest.main()
