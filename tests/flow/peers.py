"""Other proxies under the same corpora: WEIR_PEER=nginx or haproxy.

Nothing here says anything about weir. It shows that the cases can fail: the
ones that security.md says these two fail are red, the rest is green.
"""

import os
import shutil
import signal
import subprocess
import tempfile

import harness

NGINX = """
daemon off; worker_processes 1; pid @DIR@/pid; error_log @DIR@/error.log;
events { worker_connections 512; }
http {
  access_log off; client_body_temp_path @DIR@/b; proxy_temp_path @DIR@/p; client_max_body_size 0;
  fastcgi_temp_path @DIR@/f; uwsgi_temp_path @DIR@/u; scgi_temp_path @DIR@/s;
  upstream app { server @UP@; keepalive 16; }
  server {
    listen 127.0.0.1:@PORT@;
    location = /fixed { return 200 "fixed\\n"; }
    location /admin { return 403; }
    location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
                 proxy_set_header Host $http_host; proxy_request_buffering off; proxy_buffering off; }
  }
}
"""
HAPROXY = """
defaults
  mode http
  timeout connect 1s
  timeout client 10s
  timeout server 3s
frontend f
  bind 127.0.0.1:@PORT@
  http-request return status 200 content-type text/plain string fixed if { path /fixed }
  http-request deny if { path_beg /admin }
  default_backend b
backend b
  http-reuse always
  server a @UP@
"""


class Peer:
    def __init__(self, kind, config):
        self.dir = tempfile.mkdtemp(prefix="peer-")
        self.port = harness.free_port()
        self.address = ("127.0.0.1", self.port)
        pool = next(iter(config["pools"].values()))
        text = {"nginx": NGINX, "haproxy": HAPROXY}[kind]
        text = text.replace("@DIR@", self.dir).replace("@PORT@", str(self.port)).replace("@UP@", pool["endpoints"][0])
        path = os.path.join(self.dir, "conf")
        with open(path, "w") as out:
            out.write(text)
        command = {"nginx": ["nginx", "-p", self.dir, "-e", self.dir + "/err", "-c", path], "haproxy": ["haproxy", "-db", "-f", path]}[kind]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        harness.until(self.answers)

    def answers(self):
        try:
            harness.Client(self.address).close()
            return True
        except OSError:
            return False

    def client(self, **options):
        return harness.Client(self.address, **options)

    def ask(self, request=None, method="GET", **options):
        with self.client(**options) as client:
            return client.ask(request or harness.get(), method)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def err(self):
        return ""


def start(kind, config):
    return Peer(kind, config)
