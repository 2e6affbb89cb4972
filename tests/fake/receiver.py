"""A receiver of webhooks that keeps what it was told and answers as it is told.

`answers` is a list of statuses for the next calls, then `status` for all
others; `hang` leaves calls without an answer until the receiver ends. `calls`
are the calls in their order, each with its path, headers, raw body and JSON.
"""

import hashlib
import hmac
import http.server
import json
import threading

import ports


class Call:
    def __init__(self, path, headers, body):
        self.path, self.headers, self.body = path, {k.lower(): v for k, v in headers.items()}, body
        self.json = json.loads(body)

    @property
    def id(self):
        return self.headers["weir-delivery"]

    @property
    def event(self):
        return self.headers["weir-event"]

    def is_signed_by(self, key):
        """As the README tells receivers to check it."""
        parts = dict(p.split("=", 1) for p in self.headers["weir-signature"].split(","))
        text = parts["t"].encode() + b"." + self.body
        return hmac.compare_digest(parts["v1"], hmac.new(key, text, hashlib.sha256).hexdigest())


class Receiver:
    def __init__(self):
        self.calls, self.answers, self.status, self.says = [], [], 200, b"ok\n"
        self.hang, self.over = False, threading.Event()
        self.lock = threading.Lock()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                call = Call(self.path, self.headers, self.rfile.read(int(self.headers["content-length"])))
                with receiver.lock:
                    receiver.calls.append(call)
                    status = receiver.answers.pop(0) if receiver.answers else receiver.status
                if receiver.hang:
                    receiver.over.wait(60)
                    return
                self.send_response(status)
                self.send_header("content-length", str(len(receiver.says)))
                self.end_headers()
                self.wfile.write(receiver.says)

            def log_message(self, *args):
                pass

        self.port = ports.take()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    def url(self, path="/hook"):
        return "http://127.0.0.1:%d%s" % (self.port, path)

    def events(self, word=None):
        with self.lock:
            return [c for c in self.calls if word in (None, c.event)]

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *why):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()
