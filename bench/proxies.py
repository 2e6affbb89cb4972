"""The proxies under test: their configurations, their lives, what they cost.

Every proxy gets the same work: one worker thread on one CPU, a clear and a TLS
listener, two origins 95/5 over kept connections, X-Forwarded-For added, no
access log, long idle timeouts. Each is tuned where its defaults would spoil
the comparison (connections closed after 1,000 requests, bodies in temporary
files), and a comment says so.

A proxy is started and ended by its process id; everything it writes stands in
one temporary directory.
"""
import http.client
import mmap
import os
import re
import resource
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
HOST = "shop.example.com"
PORTS = os.path.join(HERE, "origin_ports.c")
SOURCES = {"origin": [PORTS], "origin2": [PORTS, "-lnghttp2"], "floor": [], "client": [], "steady": [], "newconn": ["-lssl", "-lcrypto"]}
PATIENCE = 20  # seconds that a start or an end may take


class Failed(Exception):
    """Something that the person at the keyboard can put right."""


def weir_path():
    return os.environ.get("WEIR", os.path.join(ROOT, "build/proxy/weir"))


def find(name):
    path = weir_path() if name == "weir" else shutil.which(
        name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    return path if path and os.access(path, os.X_OK) else None


class Bench:
    """Temporary directory, tools, ports and the CPUs' roles."""

    def __init__(self, port_base=22000, proxy_cpu=None, load_cpu=None):
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2:
            raise Failed("the bench needs two CPUs: one for the proxy, one for the load")
        self.proxy_cpu = cpus[0] if proxy_cpu is None else proxy_cpu
        self.load_cpu = cpus[1] if load_cpu is None else load_cpu
        self.port_base = port_base
        self.dir = tempfile.mkdtemp(prefix="weir-bench-")
        os.chmod(self.dir, 0o755)
        self.running = []
        self.is_clear_h2 = False  # nginx speaks either HTTP/1 or HTTP/2 on a clear port
        # The driver itself stays away from the proxy.
        os.sched_setaffinity(0, {self.load_cpu})
        self.files = raise_files()

    def port(self, n):
        return self.port_base + n

    def tool(self, name):
        """Path of a program of this folder: meson's when it is fresh, else built here."""
        source = os.path.join(HERE, name + ".c")
        changed = max(os.path.getmtime(s) for s in [source] + [s for s in SOURCES[name] if s.endswith(".c")])
        built = os.path.join(os.environ.get("BUILD", os.path.join(ROOT, "build")), "bench", name)
        if os.path.exists(built) and os.path.getmtime(built) >= changed:
            return built
        path = os.path.join(self.dir, name)
        if not os.path.exists(path):
            subprocess.run([os.environ.get("CC", "cc"), "-std=gnu17", "-D_GNU_SOURCE", "-O2",
                            "-o", path, source] + SOURCES[name], check=True)
        return path

    def certificate(self):
        """P-256, self-signed; chain and key in one PEM file (HAProxy's way) and apart."""
        pem = os.path.join(self.dir, "all.pem")
        if not os.path.exists(pem):
            key, crt = self.dir + "/key.pem", self.dir + "/crt.pem"
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                            "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=" + HOST,
                            "-addext", "subjectAltName=DNS:" + HOST, "-keyout", key, "-out", crt],
                           check=True, capture_output=True)
            os.chmod(key, 0o600)
            with open(pem, "w") as out:
                for part in (crt, key):
                    out.write(open(part).read())
            os.chmod(pem, 0o600)
        return pem

    def close(self):
        for one in list(self.running):
            one.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return self

    def __exit__(self, *_):
        self.close()


def raise_files():
    """As many descriptors as we may have; the children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def port_must_be_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError as why:
            raise Failed(f"port {port}: {why.strerror}; choose another with --port-base") from why


class Program:
    """A child pinned to one CPU, with its output kept for the case that it fails."""

    def __init__(self, bench, name, argv, cpu, env=None):
        self.bench, self.name = bench, name
        self.is_traced = argv[0] == "strace"
        self.log = os.path.join(bench.dir, name + ".log")
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd=bench.dir,
                preexec_fn=lambda: os.sched_setaffinity(0, {cpu}))
        bench.running.append(self)

    def pids(self):
        """The child and all below it (a master's workers)."""
        found, todo = [], [self.child.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/children") as f:
                        todo += [int(word) for word in f.read().split()]
            except FileNotFoundError:
                pass
        return found

    def cpu_ns(self):
        """Time on a CPU of all threads, from the scheduler, in nanoseconds."""
        total = 0
        for pid in self.pids():
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                    total += int(f.read().split()[0])
        return total

    def memory_kib(self, field):
        """A sum over the processes of a line of smaps_rollup: Pss, Anonymous, ..."""
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/smaps_rollup") as f:
                total += sum(int(line.split()[1]) for line in f if line.startswith(field + ":"))
        return total

    def main_pid(self):
        """Whom to tell to end: strace keeps such signals to itself, so its child."""
        pids = self.pids()
        return pids[1] if self.is_traced and len(pids) > 1 else pids[0]

    def why(self):
        with open(self.log, errors="replace") as f:
            return f.read()[-2000:]

    def stop(self, how=signal.SIGTERM):
        if self in self.bench.running:
            self.bench.running.remove(self)
        for sig in (how, signal.SIGKILL):
            if self.child.poll() is not None:
                return
            pids = self.pids() if sig == signal.SIGKILL else [self.main_pid()]
            for pid in pids:
                try:
                    os.kill(pid, sig)
                except ProcessLookupError:
                    pass
            try:
                self.child.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                print(f"{self.name}: still there after {PATIENCE} s, killed", file=sys.stderr)


class Origin(Program):
    """The two origins, blue and green, in one process; counts read from shared memory."""

    COUNTER = struct.Struct("=QQQ")  # struct counter in origin_ports.h

    def __init__(self, bench, names=("blue", "green"), cpu=None, address="127.0.0.1", is_h2=False):
        self.names = names
        self.ports = [bench.port(1 + i) for i in range(len(names))]
        for port in self.ports:
            port_must_be_free(port)
        path = os.path.join(bench.dir, "counters")
        argv = [bench.tool("origin2" if is_h2 else "origin"), "-c", path, "-a", address]
        argv += [f"{port}={name}" for port, name in zip(self.ports, names)]
        super().__init__(bench, "origin", argv, bench.load_cpu if cpu is None else cpu)
        if is_h2:
            wait_port(self, self.ports[-1])
        else:
            wait_answer(self, self.ports[0])
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 0)

    def counter(self, i):
        """(requests, first_ns, last_ns) of the i-th origin."""
        return self.COUNTER.unpack_from(self.map, i * self.COUNTER.size)

    def requests(self):
        return [self.counter(i)[0] for i in range(len(self.names))]

    def forget_first(self, i):
        struct.pack_into("=Q", self.map, i * self.COUNTER.size + 8, 0)


def cut(child):
    """Nobody waits for it any more, should it still run."""
    if child.poll() is None:
        child.kill()
        child.wait()


def get(port, path="/128", tls=False, host=HOST, timeout=5):
    """One request on a connection of its own; the status."""
    if tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        conn = http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout, context=context)
    else:
        conn = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        conn.request("GET", path, headers={"Host": host, "Connection": "close"})
        answer = conn.getresponse()
        answer.read()
        return answer.status
    finally:
        conn.close()


def wait_answer(program, port, patience=PATIENCE, host=HOST):
    """Until it answers 200: readiness is an answer, not a delay."""
    until = time.monotonic() + patience
    last = "no answer"
    while time.monotonic() < until:
        if program.child.poll() is not None:
            raise Failed(f"{program.name} ended at once (status {program.child.returncode}):\n{program.why()}")
        try:
            status = get(port, host=host)
            if status == 200:
                return
            last = f"status {status}"
        except (OSError, http.client.HTTPException) as why:
            last = str(why)
        time.sleep(0.02)
    raise Failed(f"{program.name}: not ready after {patience} s ({last}):\n{program.why()}")


def wait_port(program, port, patience=PATIENCE):
    """Until it accepts: for those who would not understand a request of HTTP/1."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if program.child.poll() is not None:
            raise Failed(f"{program.name} ended at once (status {program.child.returncode}):\n{program.why()}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError:
            time.sleep(0.02)
    raise Failed(f"{program.name}: not ready after {patience} s:\n{program.why()}")


# ---- configurations ----

def nginx_conf(bench, port, tls_port, blue, green, more=""):
    user = "user root;" if os.geteuid() == 0 else ""
    temp = "".join(f"    {kind}_temp_path {bench.dir}/nginx-{kind};\n"
                   for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    cpu_mask = bin(1 << bench.proxy_cpu)[2:]
    return f"""{user}
worker_processes 1;
worker_cpu_affinity {cpu_mask};
worker_rlimit_nofile {bench.files};
pid {bench.dir}/nginx.pid;
error_log stderr error;
events {{ worker_connections {min(16384, bench.files)}; multi_accept on; }}
http {{
    access_log off;
{temp}    tcp_nodelay on;
    keepalive_timeout 600s;
    # by default a connection is closed after 1,000 requests
    keepalive_requests 1000000000;
    client_header_timeout 600s;
    # bodies of 64 KiB and more would go through temporary files
    proxy_buffer_size 16k;
    proxy_buffers 16 16k;
    proxy_busy_buffers_size 64k;
    proxy_max_temp_file_size 0;
    # the same record size as HAProxy's and OpenSSL's default
    ssl_buffer_size 16k;
    # by default half a record
    http2_chunk_size 16k;
    upstream shop {{
        # smooth weighted round robin, 95 to 5
        server 127.0.0.1:{blue} weight=19;
        server 127.0.0.1:{green} weight=1;
        keepalive 256;
        keepalive_requests 1000000000;
        keepalive_timeout 600s;
    }}
    server {{
        listen 127.0.0.1:{port}{" http2" if bench.is_clear_h2 else ""} backlog=4096;
        listen 127.0.0.1:{tls_port} ssl http2 backlog=4096;
        server_name {HOST};
        ssl_certificate {bench.dir}/crt.pem;
        ssl_certificate_key {bench.dir}/key.pem;
        ssl_protocols TLSv1.2 TLSv1.3;
        location / {{
            proxy_pass http://shop;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
{more}}}
"""


def haproxy_conf(bench, port, tls_port, blue, green, rules="", backends=""):
    return f"""global
    nbthread 1
    cpu-map auto:1/1 {bench.proxy_cpu}
    maxconn {min(8000, bench.files // 2 - 100)}
    tune.ssl.default-dh-param 2048
    stats socket {bench.dir}/haproxy.sock mode 600 level admin
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout http-keep-alive 600s
    timeout http-request 600s
    option forwardfor
    http-reuse always
frontend shop
    bind 127.0.0.1:{port} backlog 4096
    bind 127.0.0.1:{tls_port} backlog 4096 ssl crt {bench.dir}/all.pem alpn h2,http/1.1 ssl-min-ver TLSv1.2
{rules}    default_backend shop
backend shop
    balance roundrobin
    server blue 127.0.0.1:{blue} weight 95
    server green 127.0.0.1:{green} weight 5
{backends}"""


def weir_conf(bench, port, tls_port, blue, green, pools="", routes=""):
    return f"""version: 1
workers: 1
state_dir: {bench.dir}/weir-state
admin:
  listen: ["unix:{bench.dir}/weir.sock"]
listeners:
  clear:
    bind: ["127.0.0.1:{port}"]
    limits: {{connections: 16000, per_client: 0, header_timeout: 600s, idle_timeout: 600s}}
  secure:
    bind: ["127.0.0.1:{tls_port}"]
    limits: {{connections: 16000, per_client: 0, header_timeout: 600s, idle_timeout: 600s}}
    tls:
      min_version: "1.2"
      certificates: [{{cert: {bench.dir}/crt.pem, key: {{file: {bench.dir}/key.pem}}}}]
pools:
  shop-blue: {{endpoints: ["127.0.0.1:{blue}"], timeouts: {{connect: 30s, first_byte: 600s, idle: 600s}}}}
  shop-green: {{endpoints: ["127.0.0.1:{green}"], timeouts: {{connect: 30s, first_byte: 600s, idle: 600s}}}}
{pools}splits:
  shop:
    stable: shop-blue
    weights: {{shop-blue: 95, shop-green: 5}}
routes:
{routes}  - {{name: shop, match: {{path_prefix: /}}, split: shop}}
"""


def nghttpx_conf(bench, port, tls_port, blue, green, proto="http/1.1"):
    return f"""frontend=127.0.0.1,{port};no-tls
frontend=127.0.0.1,{tls_port}
backend=127.0.0.1,{blue};;proto={proto};weight=19
backend=127.0.0.1,{green};;proto={proto};weight=1
private-key-file={bench.dir}/key.pem
certificate-file={bench.dir}/crt.pem
workers=1
backlog=4096
add-x-forwarded-for=yes
# it stands in front of servers that know who they are
no-server-rewrite=yes
no-via=yes
no-ocsp=yes
accesslog-file=
errorlog-file=/dev/stderr
log-level=ERROR
pid-file={bench.dir}/nghttpx.pid
frontend-http2-read-timeout=600s
frontend-read-timeout=600s
frontend-keep-alive-timeout=600s
backend-keep-alive-timeout=600s
"""


def h2o_conf(bench, port, tls_port, blue, _green):
    """h2o 2.2 knows one upstream of a path: all goes to blue."""
    return f"""{"user: root" if os.geteuid() == 0 else ""}
num-threads: 1
max-connections: {min(16384, bench.files)}
pid-file: {bench.dir}/h2o.pid
error-log: /dev/stderr
listen: {{host: 127.0.0.1, port: {port}}}
listen:
  host: 127.0.0.1
  port: {tls_port}
  ssl:
    certificate-file: {bench.dir}/crt.pem
    key-file: {bench.dir}/key.pem
    minimum-version: TLSv1.2
http1-request-timeout: 600
http2-idle-timeout: 600
proxy.preserve-host: ON
proxy.timeout.keepalive: 600000
proxy.timeout.io: 600000
hosts:
  default:
    paths:
      "/":
        proxy.reverse.url: "http://127.0.0.1:{blue}"
"""


def weir_h2_conf(*args):
    """weir.conf with upstreams of HTTP/2."""
    return weir_conf(*args).replace("{endpoints:", "{protocol: h2, endpoints:")


def haproxy_h2_conf(*args):
    return re.sub(r"( weight \d+)", r" proto h2\1", haproxy_conf(*args))


def nghttpx_h2_conf(*args):
    return nghttpx_conf(*args, proto="h2")


CONFS = {"nginx": nginx_conf, "haproxy": haproxy_conf, "nghttpx": nghttpx_conf, "h2o": h2o_conf, "weir": weir_conf}
H2_CONFS = {"weir": weir_h2_conf, "haproxy": haproxy_h2_conf, "nghttpx": nghttpx_h2_conf}
PROXIES = ("weir", "nginx", "haproxy")
H2_PROXIES = PROXIES + ("nghttpx", "h2o")


def version(name):
    path = find(name)
    if name == "floor":
        return "limit"
    if path is None:
        return name + " (absent)"
    out = subprocess.run([path, {"weir": "version"}.get(name, "-v")], capture_output=True, text=True)
    words = (out.stdout + out.stderr).split()
    number = next((w for w in words if re.search(r"\d\.\d", w)), "?").split("/")[-1]
    return f"{name} {number.split('-')[0].split('+')[0]}"


class Proxy(Program):
    """nginx, haproxy, nghttpx, h2o, weir or floor in front of an Origin, answering when __init__ is done."""

    def __init__(self, bench, name, origin, wrapper=(), conf=None, host=HOST, patience=PATIENCE):
        self.port, self.tls_port = bench.port(20), bench.port(21)
        for port in (self.port, self.tls_port):
            port_must_be_free(port)
        blue, green = origin.ports[0], origin.ports[-1]
        argv = list(wrapper)
        if name == "floor":
            argv += [bench.tool("floor"), str(self.port), str(blue)]
        else:
            bench.certificate()
            path = find(name)
            if path is None:
                raise Failed(f"{name}: not found" + (f" at {weir_path()}" if name == "weir" else ""))
            file = os.path.join(bench.dir, {"weir": "weir.yaml"}.get(name, name + ".conf"))
            with open(file, "w") as out:
                out.write((conf or CONFS[name])(bench, self.port, self.tls_port, blue, green))
            argv.append(os.path.realpath(path))
            argv += {"nginx": ["-e", "stderr", "-p", bench.dir, "-c", file, "-g",
                               "daemon off;" + (" master_process off;" if wrapper else "")],
                     "haproxy": ["-db", "-f", file],
                     "nghttpx": ["--conf=" + file],
                     "h2o": ["-c", file],
                     "weir": ["run", "-c", file]}[name]
        super().__init__(bench, name, argv, bench.proxy_cpu)
        try:
            if name == "nginx" and bench.is_clear_h2:
                wait_port(self, self.port, patience)
            else:
                wait_answer(self, self.port, patience, host)
        except Failed:
            self.stop()
            raise
