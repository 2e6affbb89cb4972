"""What every flow test stands on: a running weir, raw clients, the admin API.

A test says what is true, never how long it takes: `until` polls a condition
up to a deadline. WEIR names the binary, WEIR_SLOW stretches all deadlines (a
sanitizer build), WEIR_PEER runs the data-path corpora against another proxy
(peers.py), which shows that a case can fail.
"""

import contextlib
import email.utils
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "fake"))

import ports
import upstream
from upstream import Upstream

WEIR = os.environ.get("WEIR", os.path.join(ROOT, "build", "proxy", "weir"))
SLOW = float(os.environ.get("WEIR_SLOW", "1"))
PEER = os.environ.get("WEIR_PEER", "")
SANITIZED = re.compile(r"(AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|Assertion .* failed)")
free_port = ports.take


def until(condition, limit=10, what=None):
    """Polls until condition() is true and returns its value; an AssertionError after the limit."""
    end = time.monotonic() + limit * SLOW
    pause = 0.002
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("never came true within %gs: %s" % (limit * SLOW, what or condition))
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


# ---- answers and raw clients ----

class Answer:
    """One response. `broken` says why the body is not whole, None when it is."""

    def __init__(self, line, fields):
        self.line = line
        self.version, self.status, self.reason = split_status(line)
        self.fields = fields
        self.body = b""
        self.trailers = []
        self.broken = None
        self.interims = []      # the 1xx before it

    def all(self, name):
        return [v for n, v in self.fields if n.lower() == name.lower()]

    def one(self, name):
        values = self.all(name)
        assert len(values) < 2, "%s stands %d times" % (name, len(values))
        return values[0] if values else None

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return "<%s %r %r%s>" % (self.line, self.fields, self.body[:200], self.broken and " broken: " + self.broken or "")


def split_status(line):
    match = re.match(r"(HTTP/1\.[01]) ([1-5][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)\Z", line)
    if not match:
        raise Malformed("status line %r" % line)
    return match[1], int(match[2]), match[3]


class Malformed(AssertionError):
    """The proxy said something that is not HTTP/1."""


class Closed(Exception):
    """The connection ended where an answer should have begun."""


def client_context(**options):
    """TLS that believes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name, value in options.items():
        setattr(context, name, value)
    return context


class Client:
    """A raw connection to the proxy. Reads as strictly as it can."""

    def __init__(self, address, timeout=10, tls=None, server_name=None, source=None):
        self.timeout = timeout * SLOW
        if isinstance(address, str):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(address)
        else:
            self.sock = socket.create_connection(address, self.timeout, source_address=source)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname=server_name)
        self.buf = b""
        self.was_reset = False

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def send_bytewise(self, data):
        """One byte a segment, until the other side has something to say."""
        import select
        for at in range(len(data)):
            if select.select([self.sock], [], [], 0)[0]:
                return
            try:
                self.sock.sendall(data[at:at + 1])
            except OSError:
                return

    def fill(self):
        try:
            data = self.sock.recv(1 << 17)
        except ConnectionResetError:
            self.was_reset = True
            return False
        except ssl.SSLEOFError:
            return False
        self.buf += data
        return bool(data)

    def line(self):
        while b"\n" not in self.buf:
            if not self.fill():
                raise Closed("closed after %r" % self.buf[:200])
        at = self.buf.index(b"\n") + 1
        line, self.buf = self.buf[:at], self.buf[at:]
        if not line.endswith(b"\r\n"):
            raise Malformed("a line ends in a bare LF: %r" % line)
        if re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", line[:-2]):
            raise Malformed("control byte in %r" % line)
        return line[:-2].decode("latin-1")

    def read_fields(self):
        fields = []
        while True:
            line = self.line()
            if not line:
                return fields
            name, colon, value = line.partition(":")
            if not colon or not re.match(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z", name):
                raise Malformed("field line %r" % line)
            fields.append((name, value.strip(" \t")))

    def head(self):
        answer = Answer(self.line(), self.read_fields())
        lengths, codings = answer.all("content-length"), answer.all("transfer-encoding")
        if len(lengths) > 1 or len(codings) > 1 or (lengths and codings):
            raise Malformed("framing %r" % answer)
        return answer

    def answer(self, method="GET", upgrade=False):
        """The next final response with its body. Closed when the connection ends before it."""
        interims = []
        while True:
            answer = self.head()
            if answer.status >= 200 or (answer.status == 101 and upgrade):
                break
            interims.append(answer)
        answer.interims = interims
        try:
            self.body(answer, method)
        except (Closed, Malformed) as why:
            answer.broken = str(why) or "closed"
        return answer

    def body(self, answer, method):
        if method == "HEAD" or answer.status in (101, 204, 304):
            return
        if answer.all("transfer-encoding"):
            if answer.version == "HTTP/1.0":
                raise Malformed("chunked in HTTP/1.0")
            if answer.all("transfer-encoding") != ["chunked"]:
                raise Malformed("coding %r" % answer.all("transfer-encoding"))
            self.chunks(answer)
        elif answer.all("content-length"):
            answer.body = self.exactly(int(answer.one("content-length")), answer)
        else:
            while self.fill():
                pass
            answer.body, self.buf = self.buf, b""
            if self.was_reset:
                raise Closed("reset in the body")

    def chunks(self, answer):
        parts = []
        try:
            while True:
                size = self.line()
                if not re.match(r"[0-9a-fA-F]+\Z", size):
                    raise Malformed("chunk size %r" % size)
                if int(size, 16) == 0:
                    answer.trailers = self.read_fields()
                    return
                parts.append(self.exactly(int(size, 16)))
                if self.exactly(2) != b"\r\n":
                    raise Malformed("chunk end")
        finally:
            answer.body = b"".join(parts)

    def exactly(self, size, answer=None):
        parts = []
        while size:
            if not self.buf and not self.fill():
                if answer:
                    answer.body = b"".join(parts)
                raise Closed("closed %d bytes early" % size)
            piece, self.buf = self.buf[:size], self.buf[size:]
            parts.append(piece)
            size -= len(piece)
        return b"".join(parts)

    def ask(self, request, method="GET"):
        """Sends bytes and reads one answer."""
        self.send(request)
        return self.answer(method)

    def is_closed(self, limit=5):
        """True when the other side ends the connection (in order or by reset) within the limit, saying nothing more."""
        self.sock.settimeout(limit * SLOW)
        try:
            while not self.buf:
                if not self.fill():
                    return True
            return False
        except (socket.timeout, ssl.SSLError):
            return False
        except OSError:
            return True
        finally:
            with contextlib.suppress(OSError):
                self.sock.settimeout(self.timeout)

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)


def get(path="/", host="t", method="GET", **fields):
    """A plain request's bytes; x_y="..." becomes the field x-y."""
    text = "%s %s HTTP/1.1\r\nHost: %s\r\n" % (method, path, host)
    for name, value in fields.items():
        text += "%s: %s\r\n" % (name.replace("_", "-"), value)
    return (text + "\r\n").encode("latin-1")


def websocket(path="/m/tunnel", **fields):
    """The request of a WebSocket's opening."""
    return get(path, connection="Upgrade", upgrade="websocket", sec_websocket_version="13",
               sec_websocket_key="dGhlIHNhbXBsZSBub25jZQ==", **fields)


def post(path="/", body=b"", host="t", method="POST", **fields):
    return get(path, host, method, content_length=str(len(body)), **fields) + body


# ---- the proxy under test ----

class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path) # a backlog that is full is waited for, not an error
        self.sock.settimeout(self.timeout)


class Reply:
    """An answer of the admin API."""

    def __init__(self, response):
        self.status = response.status
        self.reason = response.reason
        self.headers = response.headers
        self.text = response.read().decode()
        self.etag = response.headers.get("ETag")

    @property
    def json(self):
        return json.loads(self.text)

    def __repr__(self):
        return "<%d %s>" % (self.status, self.text[:400])


class Weir:
    """A running proxy with a config of its own in a directory of its own.

    `config` is a dict (written as JSON, which weir's front end reads) or the
    YAML text itself, in which @DIR@, @HTTP@ (host:port) and @ADMIN@ stand for
    this run's values.
    """

    def __init__(self, config, wait=True, env=None, preexec=None, args=(), directory=None):
        self.dir = directory or tempfile.mkdtemp(prefix="weir-flow-")
        self.owns_dir = directory is None
        self.file = os.path.join(self.dir, "weir.yaml")
        self.admin_path = os.path.join(self.dir, "admin.sock")
        self.access_path = os.path.join(self.dir, "access.log")
        self.err_path = os.path.join(self.dir, "stderr")
        self.port = free_port()
        self.address = ("127.0.0.1", self.port)
        self.env, self.preexec, self.args = env, preexec, args
        self.process = None
        self.ended = None
        self.write(config)
        self.start(wait)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind:
            sys.stderr.write(self.story())
            with contextlib.suppress(Exception):
                self.stop()
        else:
            self.stop()

    def fill_in(self, config):
        config = dict(config)
        config.setdefault("version", 1)
        config.setdefault("workers", 1)
        config.setdefault("state_dir", os.path.join(self.dir, "state"))
        config.setdefault("admin", {"listen": ["unix:" + self.admin_path]})
        config.setdefault("logs", {"access": {"path": self.access_path, "sample": {"ok": "100%", "error": "100%"}}})
        listeners = {n: dict(l) for n, l in config.get("listeners", {"http": {}}).items()}
        for name, listener in listeners.items():
            listener.setdefault("bind", ["127.0.0.1:%d" % self.port])
        config["listeners"] = listeners
        return config

    def write(self, config):
        """Replaces the file; the running proxy learns of it by reload()."""
        self.config = config
        if isinstance(config, dict):
            text = json.dumps(self.fill_in(config), indent=2)
        else:
            text = (config.replace("@DIR@", self.dir).replace("@HTTP@", "127.0.0.1:%d" % self.port)
                    .replace("@ADMIN@", "unix:" + self.admin_path))
        beside = self.file + ".new"
        with open(beside, "w") as out:
            out.write(text)
        os.rename(beside, self.file)

    def start(self, wait=True):
        env = dict(os.environ, **(self.env or {}))
        env.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:quarantine_size_mb=8")
        env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1")
        env.setdefault("TSAN_OPTIONS", "halt_on_error=0:second_deadlock_stack=1")
        self.err_from = os.path.getsize(self.err_path) if os.path.exists(self.err_path) else 0
        with open(self.err_path, "ab") as err:
            self.process = subprocess.Popen([WEIR, "run", "-c", self.file, *self.args], stdin=subprocess.DEVNULL,
                                            stdout=err, stderr=err, env=env, cwd=self.dir, preexec_fn=self.preexec)
        self.ended = None
        if wait:
            self.wait_ready()

    def wait_ready(self, limit=10):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError("weir ended with %d before it was ready:\n%s" % (self.process.returncode, self.err()))
            return re.search(r'^ready\b|"ready"|\bready\b.*listen', self.err(), re.M)
        try:
            until(ready, limit, "the line 'ready' on standard error")
        except AssertionError:
            self.kill()
            raise AssertionError("weir was not ready:\n" + self.err()) from None

    def err(self):
        """Standard error since the last start."""
        with open(self.err_path, "rb") as err:
            err.seek(self.err_from)
            return err.read().decode("utf-8", "replace")

    def story(self):
        return "---- weir said ----\n%s\n-------------------\n" % self.err()[-6000:]

    def access(self):
        """The access log's lines, as objects."""
        if not os.path.exists(self.access_path):
            return []
        with open(self.access_path, "rb") as log:
            return [json.loads(line.decode()) for line in log.read().split(b"\n")[:-1]]

    # -- signals --

    def tell(self, number):
        self.process.send_signal(number)

    def hup(self):
        self.tell(signal.SIGHUP)

    def reload(self, config=None, ok=True):
        """Writes the file (when given), sends SIGHUP and waits until the outcome is known."""
        before = self.reloads()
        if config is not None:
            self.write(config)
        self.hup()
        until(lambda: self.reloads() != before, 10, "a reload's outcome in the log")
        until(lambda: self.metric("weir_config_last_reload_successful") == (1 if ok else 0), 10,
              "weir_config_last_reload_successful %d" % ok)

    def reloads(self):
        """How many reloads have been spoken of, good and bad."""
        return len(re.findall(r"reloaded|reload refused", self.err()))

    def stop(self, code=0, number=signal.SIGTERM, limit=20):
        """Ends it in order, once; fails on another exit code and on a sanitizer's report."""
        if not os.path.exists(self.err_path):
            return self.ended
        if self.ended is None:
            if self.process.poll() is None:
                self.tell(number)
            try:
                self.ended = self.process.wait(limit * SLOW)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError("weir did not end within %gs of a signal\n%s" % (limit * SLOW, self.story()))
        said = self.err()
        report = SANITIZED.search(said)
        story = self.story()
        self.clean()
        if report:
            raise AssertionError("a sanitizer spoke:\n" + said[max(0, report.start() - 500):report.start() + 5000])
        if code is not None and self.ended != code:
            raise AssertionError("weir ended with %d, not %d\n%s" % (self.ended, code, story))
        return self.ended

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.ended = self.process.wait()

    def clean(self):
        if self.owns_dir:
            shutil.rmtree(self.dir, ignore_errors=True)

    # -- clients --

    def client(self, **options):
        return Client(self.address, **options)

    def ask(self, request=None, method="GET", **options):
        """One request on a connection of its own."""
        with self.client(**options) as client:
            return client.ask(request or get(), method)

    # -- the control plane --

    def admin(self, method, path, body=None, headers=None, timeout=10):
        connection = UnixConnection(self.admin_path, timeout * SLOW)
        headers = dict(headers or {})
        data = None
        if body is not None:
            data = body if isinstance(body, (str, bytes)) else json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, data, headers)
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def ctl(self, *args, env=None, timeout=30):
        """Runs weirctl against this weir; returns the finished process with text in stdout and stderr."""
        name = os.path.join(self.dir, "weirctl")
        if not os.path.exists(name):
            os.symlink(os.path.abspath(WEIR), name)
        return subprocess.run([name, *args], env=dict(os.environ, WEIR_ADMIN="unix:" + self.admin_path, **(env or {})),
                              capture_output=True, text=True, timeout=timeout * SLOW)

    def metrics(self):
        return self.admin("GET", "/metrics").text

    def metric(self, name, **labels):
        """The sum of a family's samples that bear these labels; None when there is none."""
        total = None
        for line in self.metrics().splitlines():
            match = re.match(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)", line)
            if not match or match[1] != name:
                continue
            have = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
            if all(have.get(k) == v for k, v in labels.items()):
                total = (total or 0) + float(match[3])
        return total

    def weights(self, split="shop"):
        """Percent by pool, as numbers."""
        return read_weights(self.admin("GET", "/v1/splits/" + split).json)

    def set_weights(self, split="shop", reason="test", headers=None, query="", **weights):
        body = {"weights": {n.replace("_", "-"): w for n, w in weights.items()}, "reason": reason}
        return self.admin("PUT", "/v1/splits/%s/weights%s" % (split, query), body, headers)

    # -- what it costs --

    def rss(self):
        """Resident bytes."""
        with open("/proc/%d/status" % self.process.pid) as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) * 1024

    def fds(self):
        return len(os.listdir("/proc/%d/fd" % self.process.pid))


def read_weights(document):
    """{"pool": percent} of a split's document, whether weights stand plainly or as desired and actual."""
    weights = document["weights"]
    if isinstance(weights, list):
        weights = {row["pool"]: row for row in weights}
    return {pool: float(str(w["desired"] if isinstance(w, dict) else w).rstrip("%")) for pool, w in weights.items()}


def one_pool(*addresses, pool=None, **more):
    """The smallest config: everything to one pool."""
    config = {"pools": {"app": dict({"endpoints": list(addresses)}, **(pool or {}))},
              "routes": [{"name": "all", "match": {"path_prefix": "/"}, "pool": "app"}]}
    config.update(more)
    return config


def blue_green(blue, green, weights=(100, 0), routes=None, split=None, **more):
    """Two pools under the split "shop"."""
    config = {"pools": {"blue": {"endpoints": [blue]}, "green": {"endpoints": [green]}},
              "splits": {"shop": dict({"stable": "blue", "weights": {"blue": weights[0], "green": weights[1]}}, **(split or {}))},
              "routes": routes or [{"name": "shop", "match": {"path_prefix": "/"}, "split": "shop"}]}
    config.update(more)
    return config


def proxy(config, **options):
    """The proxy under test: weir, or the peer that WEIR_PEER names."""
    if PEER:
        import peers
        return peers.start(PEER, config)
    return Weir(config, **options)


def run(*args, env=None, stdin=None, timeout=30):
    """Runs weir's command line; returns the finished process with text in stdout and stderr."""
    return subprocess.run([WEIR, *args], env=dict(os.environ, **(env or {})), input=stdin, capture_output=True,
                          text=True, timeout=timeout * SLOW)


# ---- test cases ----

class TimedOut(Exception):
    pass


class Case(unittest.TestCase):
    """A test that never hangs: `limit` seconds, then it fails where it stands."""

    limit = 30

    def run(self, result=None):
        def ring(number, frame):
            raise TimedOut("over %gs" % (self.limit * SLOW))
        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, self.limit * SLOW)
        try:
            return super().run(result)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    @classmethod
    def folder(cls):
        """One for all tests of the class."""
        path = tempfile.mkdtemp(prefix="weir-flow-")
        cls.addClassCleanup(shutil.rmtree, path, True)
        return path

    def start(self, config, **options):
        """A weir for this test alone."""
        return self.enter(Weir(config, **options))

    def upstream(self, *args, **options):
        return self.enter(Upstream(*args, **options))

    def enter(self, thing):
        """Enters a context for the test's length; it learns whether the test failed."""
        value = thing.__enter__()
        self.addCleanup(lambda: thing.__exit__(None if self._outcome.success else AssertionError, None, None))
        return value


class Shared(Case):
    """One upstream "app" and one weir for all tests of the class."""

    mood = "echo"
    settings = {}       # of the pool
    more = {}           # of the config

    @classmethod
    def config(cls):
        return one_pool(cls.up.address, pool=cls.settings, **cls.more)

    @classmethod
    def setUpClass(cls):
        cls.up = Upstream(cls.mood)
        try:
            cls.weir = proxy(cls.config())
        except BaseException:
            cls.up.stop()
            raise

    @classmethod
    def tearDownClass(cls):
        try:
            cls.weir.stop()
        finally:
            cls.up.stop()

    def setUp(self):
        self.up.forget()
        self.up.go.clear()
        self.up.went.clear()
        self.said = len(self.weir.err())

    def tearDown(self):
        if not self._outcome.success and self.weir.err()[self.said:]:
            sys.stderr.write("---- weir said ----\n%s\n" % self.weir.err()[self.said:][-4000:])

    def ask(self, request=None, method="GET", **options):
        return self.weir.ask(request, method, **options)

    def asked_for(self, target):
        """What the upstream has seen of it. Who counts asks for a path of its own: another test's request may come late."""
        return [seen for seen in self.up.seen if seen.target == target.encode()]


# ---- load ----

class Load:
    """Keep-alive clients that ask without pause and count every answer that is not 200 and whole."""

    def __init__(self, address, clients=4, request=None, fresh_every=20):
        self.address, self.request, self.fresh_every = address, request or get("/load"), fresh_every
        self.done = 0
        self.failures = []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.drive, daemon=True) for _ in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        until(lambda: self.done > len(self.threads) or self.failures, 10, "the load's first answers")
        return self

    def __exit__(self, *why):
        self.finish()

    def finish(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(20 * SLOW)

    def drive(self):
        while not self.stopping.is_set():
            try:
                with Client(self.address) as client:
                    for _ in range(self.fresh_every):
                        answer = client.ask(self.request)
                        if answer.status != 200 or answer.broken:
                            self.failures.append(repr(answer))
                        self.done += 1
                        if self.stopping.is_set():
                            return
                        if answer.one("connection") == "close":
                            break
            except Exception as error:
                self.failures.append("%s: %s" % (type(error).__name__, error))


def now_http():
    return email.utils.formatdate(usegmt=True)
