#!/usr/bin/python3
"""What the product costs beside haproxy and nginx doing half of it: a line `name ratio target` for each figure.

    tests/bench/bench.py [ROW...] [--rounds N] [--scale F]      needs root; rows: see ROWS
    tests/bench/bench.py --profile [ROW...]                     where our CPU time goes in these rows, by perf

Two network namespaces: upstream (nginx, an event server) and box (the daemon with one worker, or a peer, and the client:
h2load). Proxies on CPU 0, client and upstream on CPU 1. Each round runs ours and the peer turn about; a ratio is taken per round,
the median of the rounds is printed. CPU is user + system time of all of a proxy's processes, the keeper's, the resolver's and
the parent's included; every check, the audit log, the credential and redaction are on: the client is in a guard and dials the real
name, the upstream answers 401 to a request without the real key. A ratio below 1 means that ours is cheaper. What the figures are
in their own units goes to stderr. On a busy machine, repeat: single ratios vary by a tenth.
"""
import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BENCH = TOP / "tests" / "bench"
sys.dont_write_bytecode = True
sys.path[:0] = [str(TOP / "tests" / "system"), str(BENCH)]

import lab as L  # noqa: E402
import cost as C  # noqa: E402

L.HOSTS = {name: (f"203.0.113.{n}", f"2001:db8:1:2::{n}") for name, n in
           (("up.lab-host.com", 20), ("full.lab-host.com", 21), ("pass.lab-host.com", 22), ("sse.lab-host.com", 23))}
L.NGINX = tuple(a for pair in L.HOSTS.values() for a in pair)
UP, FULL, PASS, SSE = L.HOSTS
TICK = os.sysconf("SC_CLK_TCK")


def cpu(pids):
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15]))
    return total / TICK


def pss(pids):
    """KiB"""
    return sum(int(re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1]) for pid in pids)


def say(*what):
    print(*what, file=sys.stderr, flush=True)


class Net(L.Lab):
    def up(self):
        L.sweep()
        self.is_up = True
        self.up_network()
        self.up_certificates()
        self.up_nginx()
        self.up_dns()
        self.captures = {}
        sse = self.spawn("net", ["taskset", "-c", "1", str(BENCH / "sse.py"), "serve", L.HOSTS[SSE][0], "443",
                                 f"{self.private}/good.pem", f"{self.private}/good.key"], stdout=subprocess.PIPE)
        if sse.stdout.readline() != b"ready\n":
            raise L.LabError("the event server did not start")

    def names(self):
        return {name: (v4,) for name, (v4, _) in L.HOSTS.items()}  # the peers are dialled, and dial, over IPv4 too

    def up_nginx(self):
        p = self.private
        for name in ("tmp", "www"):
            (p / name).mkdir()
        with open(p / "www" / "big", "wb") as f:
            for _ in range(100):
                f.write(os.urandom(1 << 20))
        body = '{"id":"msg_0123456789","object":"chat.completion","model":"m-1","choices":[{"text":"'
        body += "x" * (200 - len(body) - 4) + '"}]}'

        def server(name, more):
            return f"""server {{ listen {L.HOSTS[name][0]}:443 ssl http2 backlog=4096; server_name {name};
ssl_certificate {p}/good.pem; ssl_certificate_key {p}/good.key; root {p}/www; {more}
location = /json {{ if ($ok = 0) {{ return 401; }} default_type application/json; return 200 '{body}'; }}
location = /free {{ default_type application/json; return 200 '{body}'; }} }}
"""
        (p / "nginx.conf").write_text(f"""
user root; worker_processes 1; pid {p}/nginx.pid; error_log {p}/nginx.err error; worker_rlimit_nofile 19000;
events {{ worker_connections 9000; multi_accept on; }}
http {{ access_log off; sendfile on; tcp_nopush on; keepalive_timeout 600s; keepalive_requests 100000000;
map_hash_bucket_size 256; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:S:10m; default_type application/octet-stream;
client_body_temp_path {p}/tmp/b; fastcgi_temp_path {p}/tmp/f; proxy_temp_path {p}/tmp/p; uwsgi_temp_path {p}/tmp/u; scgi_temp_path {p}/tmp/s;
map $http_authorization $ok {{ default 0; "Bearer {self.keys['STRIPE_KEY']}" 1; }}
{server(UP, "")}{server(PASS, "")}{server(FULL, "keepalive_timeout 0; ssl_session_cache off; ssl_session_tickets off;")}}}
""")
        L.run(*self.nsenter("net"), "taskset", "-c", "1", "nginx", "-e", f"{p}/nginx.err", "-p", str(p), "-c", f"{p}/nginx.conf", env=self.env())

    def upstream_pids(self):
        master = int((self.private / "nginx.pid").read_text())
        return [master, *map(int, Path(f"/proc/{master}/task/{master}/children").read_text().split())]


# ---- who is measured ----

def pin(pid, cpus):
    subprocess.run(["taskset", "-a", "-p", "-c", cpus, str(pid)], stdout=subprocess.DEVNULL, check=True)


class Ours:
    name = "agentsecrets"

    def __init__(self, net, lease=0, workers=1, pinned=True):
        self.net, self.name, self.pinned = net, "agentsecrets" + (f" (lease {lease} s)" if lease else ""), pinned
        apart = lease + 10 * workers + 50 * (not pinned)
        self.daemon = L.Daemon(net, name=f"d{apart}", proxy={"workers": workers, "max_connections": 9000, "per_guard_connections": 9000,
                                                            "port": 15000 + apart, "explicit_port": 8760 + apart},
                               keeper={"credential_lease": lease}).start()
        kw = {"daemon": self.daemon}
        net.must("init", **kw)
        net.must("workspace", "create", "demo", **kw)
        net.must("secrets", "set", "--workspace", "demo", "STRIPE_KEY", "--host", UP, "--host", FULL, "--host", SSE,
                 input=net.keys["STRIPE_KEY"], **kw)
        net.must("workspace", "allowlist", "add", "--workspace", "demo", UP, FULL, SSE, **kw)
        net.must("workspace", "allowlist", "add", "--workspace", "demo", PASS, "--mode", "tunnel", **kw)
        self.idle_kib = pss(self.pids())
        for pid in self.pids() if pinned else []:
            pin(pid, "0")
        self.ca = None

    def pids(self):
        return [pid for _, pid in self.daemon.processes()]

    auth = ["-H", "authorization: Bearer agentsecrets://STRIPE_KEY"]

    def argv(self, argv):
        argv = [*(["taskset", "-c", "1"] if self.pinned else []), *argv]
        return self.net.argv(["run", "--workspace", "demo", "--", *argv]), self.net.cli_env(self.daemon, None)

    def h2load(self, host, path, *args):
        return self.argv(["h2load", *args, f"https://{host}{path}"])

    def script(self, *args):
        """A script of ours; the last argument is left out: it dials the name."""
        return self.argv(["/usr/bin/python3", *args[:-1]])

    def trusted(self):
        return ""  # `run` says so in SSL_CERT_FILE


class Peer:
    auth = []

    def __init__(self, net, name, port, argv):
        self.net, self.name, self.port = net, name, port
        self.proc = net.spawn("box", ["taskset", "-c", "0", *argv], stderr=subprocess.PIPE)
        L.wait_for(f"{name} listening", self.listening, 10)

    def listening(self):
        if self.proc.poll() is not None:
            raise L.LabError(f"{self.name}: {self.proc.stderr.read().decode()}")
        return subprocess.run(self.net.nsenter("box") + ["bash", "-c", f": < /dev/tcp/127.0.0.1/{self.port}"], check=False,
                              stderr=subprocess.DEVNULL).returncode == 0

    def pids(self):
        return [self.proc.pid]

    def argv(self, argv):
        return self.net.nsenter("box") + ["taskset", "-c", "1", *argv], self.net.env()

    def h2load(self, host, path, *args):
        return self.argv(["h2load", f"--connect-to=127.0.0.1:{self.port}", *args, f"https://{host}:{self.port}{path}"])

    def script(self, *args):
        """The name's port becomes ours: scripts take NAME PORT first."""
        args = list(args)
        args[args.index("443")] = str(self.port)
        return self.argv(["/usr/bin/python3", *args])

    def trusted(self):
        return str(self.net.dir / "ca.pem")


def haproxy(net, name, port, mode="rev", pool="safe", gen=False, h2up=False, full=False):
    p, token = net.private, net.keys["STRIPE_KEY"]
    (p / "front.pem").write_text((p / "good.pem").read_text() + (p / "good.key").read_text())
    (p / "sign.pem").write_text((net.dir / "ca.pem").read_text() + (p / "ca.key").read_text())
    verify = f"ssl verify required ca-file {net.dir}/ca.pem sni ssl_fc_sni" + (" alpn h2,http/1.1" if h2up else "") + (" no-ssl-reuse" if full else "")
    bind = f"ssl crt {p}/front.pem alpn h2,http/1.1" + (f" generate-certificates ca-sign-file {p}/sign.pem" if gen else "")
    hosts = "".join(f"  use_backend b{i} if {{ ssl_fc_sni {h} }}\n" for i, h in enumerate(L.HOSTS))
    backs = "".join(f"backend b{i}\n  server s {L.HOSTS[h][0]}:443 {verify} pool-max-conn -1\n" for i, h in enumerate(L.HOSTS))
    if mode == "tcp":
        text = f"defaults\n  mode tcp\n  option splice-auto\nfrontend f\n  bind 127.0.0.1:{port}\n  default_backend b\nbackend b\n  server s {L.HOSTS[PASS][0]}:443\n"
    else:
        text = (f"defaults\n  mode http\n  timeout http-request 600s\n  timeout http-keep-alive 600s\n  http-reuse {pool}\nfrontend f\n"
                f"  bind 127.0.0.1:{port} {bind}\n  http-request set-header Authorization \"Bearer {token}\"\n{hosts}{backs}")
    head = "global\n  nbthread 1\n  maxconn 4500\n  tune.ssl.ssl-ctx-cache-size 4000\n"
    text = head + text.replace("defaults\n", "defaults\n  timeout connect 5s\n  timeout client 600s\n  timeout server 600s\n")
    (p / f"{name}.cfg").write_text(text)
    return Peer(net, name, port, ["haproxy", "-db", "-f", str(p / f"{name}.cfg")])


def nginx(net, name, port):
    p = net.private / name
    p.mkdir()
    (p / "n.conf").write_text(f"""daemon off; master_process off; user root; pid {p}/n.pid; error_log {p}/err.log error; worker_rlimit_nofile 19000;
events {{ worker_connections 18000; multi_accept on; }}
http {{ access_log off; sendfile on; tcp_nopush on; keepalive_timeout 600s; keepalive_requests 100000000;
client_body_temp_path {p}/b; proxy_temp_path {p}/p; fastcgi_temp_path {p}/f; uwsgi_temp_path {p}/u; scgi_temp_path {p}/s;
upstream u {{ server {L.HOSTS[UP][0]}:443; keepalive 1024; keepalive_requests 100000000; keepalive_timeout 600s; }}
server {{ listen 127.0.0.1:{port} ssl http2 backlog=4096; server_name {UP}; ssl_certificate {net.private}/good.pem; ssl_certificate_key {net.private}/good.key;
location / {{ proxy_pass https://u; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host {UP};
proxy_set_header Authorization "Bearer {net.keys['STRIPE_KEY']}"; proxy_ssl_verify on; proxy_ssl_trusted_certificate {net.dir}/ca.pem;
proxy_ssl_name {UP}; proxy_ssl_server_name on; proxy_ssl_session_reuse on; proxy_read_timeout 600s; proxy_max_temp_file_size 0; }} }} }}
""")
    return Peer(net, name, port, ["nginx", "-p", str(p), "-e", f"{p}/err.log", "-c", str(p / "n.conf")])


def floor(net, name, port):
    peer = Peer(net, name, port, [str(L.BUILD / "release" / "tests" / "bench" / "floor"), str(port), f"{net.private}/good.pem",
                                  f"{net.private}/good.key", f"{net.dir}/ca.pem", L.HOSTS[UP][0], UP])
    peer.auth = ["-H", f"authorization: Bearer {net.keys['STRIPE_KEY']}"]
    return peer


# ---- how ----

def h2load(who, host, path, count, *args):
    """CPU seconds of the proxy, and what h2load printed; every answer must be good."""
    argv, env = who.h2load(host, path, "-n", str(count), *args)
    before = cpu(who.pids())
    p = subprocess.run(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=300, cwd=who.net.home)
    spent = cpu(who.pids()) - before
    if f"status codes: {count} 2xx" not in p.stdout:
        raise L.LabError(f"{who.name}: {p.stdout[-1500:]}")
    return spent, p.stdout


def requests(conns, *proto, path="/json", count=20000):
    def measure(who, scale):
        n = int(count * scale)
        spent, _ = h2load(who, UP, path, n, "-c", str(conns), *(proto or ["--h1"]), *who.auth)
        return {"cpu us/request": spent / n * 1e6}
    return measure


def connections(host, count=1200):
    def measure(who, scale):
        n = int(count * scale)
        spent, _ = h2load(who, host, "/json", n, "--h1", "-c", str(n), "-r", "100", "--rate-period=500ms", *who.auth)
        return {"cpu us/connection": spent / n * 1e6}
    return measure


def latency(who, scale):
    log = who.net.home / "latency.log"
    log.unlink(missing_ok=True)
    n = int(1600 * scale)
    h2load(who, UP, "/json", n, "--h1", "-c", "8", "--rps=50", f"--log-file={log}", *who.auth)
    took = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines())
    return {"p50 us": took[len(took) // 2], "p99 us": took[len(took) * 99 // 100]}


def bulk(host):
    def measure(who, scale):
        n = max(2, int(6 * scale))
        spent, _ = h2load(who, host, "/big", n, "--h1", "-c", "1", *(who.auth if host != PASS else []))
        return {"cpu s/GiB": spent / (n * 100 / 1024)}
    return measure


def events(who, scale):
    argv, env = who.script(str(BENCH / "sse.py"), "read", SSE, "443", who.trusted(), str(int(50 * scale)), "20", "127.0.0.1")
    p = subprocess.run(argv, env=env, stdout=subprocess.PIPE, text=True, check=True, timeout=60, cwd=who.net.home)
    got = json.loads(p.stdout)
    return {"first byte ms": got["first"], "event ms": got["delay"]}


def memory(who, scale):
    """Over what it had before the first connection: a heap that has grown stays."""
    n, before = int(1500 * scale), who.__dict__.setdefault("rest_kib", pss(who.pids()))
    argv, env = who.script(str(BENCH / "idle.py"), UP, "443", who.trusted(), str(n), "127.0.0.1")
    p = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=who.net.home)
    try:
        if p.stdout.readline() != b"ready\n":
            raise L.LabError(f"{who.name}: {p.stderr.read().decode()}")
        return {"KiB/connection": (pss(who.pids()) - before) / n}
    finally:
        p.communicate(timeout=60)


WORKERS = {
    "h1": ("/json", 20000, ["--h1", "-c", "64"]),
    "h2": ("/json", 40000, ["-c", "16", "-m", "16"]),
    "bulk": ("/big", 16, ["--h1", "-c", "8"]),
}


def idle():
    return int(Path("/proc/stat").read_text().split("\n", 1)[0].split()[4]) / os.sysconf("SC_CLK_TCK")


def workers(net, rounds, scale):
    """One worker and two, everything free to use both cores: the time that two take beside one, and the busier one's share of
    the CPU of both (0.5: even). Two cannot take half: client and upstream, which one worker leaves a core of their own, want
    theirs too; how busy both cores were goes to stderr."""
    upstream = net.upstream_pids()
    for pid in upstream:
        pin(pid, "0,1")
    one, two = (Ours(net, workers=n, pinned=False) for n in (1, 2))
    proxies = [pid for role, pid in two.daemon.processes() if role.startswith("proxy")]
    for name, (path, count, args) in WORKERS.items():
        n, times, shares, busy = int(count * scale), [], [], {one: [], two: []}
        for r in range(rounds):
            took = {}
            for who in (one, two) if r % 2 else (two, one):
                before, rest, begin = [cpu([pid]) for pid in proxies], idle(), time.monotonic()
                _, text = h2load(who, UP, path, n, *args, *who.auth)
                passed = time.monotonic() - begin
                took[who] = float(re.search(r"finished in ([\d.]+)(m?)s", text)[1]) / (1000 if "ms, " in text else 1)
                if who is two:
                    spent = sorted(cpu([pid]) - b for pid, b in zip(proxies, before))
                    shares.append(spent[-1] / sum(spent))
                busy[who].append(1 - (idle() - rest) / passed / os.cpu_count())
            times.append(took[two] / took[one])
        say(f"# workers {name}: times {' '.join(f'{x:.2f}' for x in sorted(times))}, shares {' '.join(f'{x:.2f}' for x in sorted(shares))}, "
            f"all cores busy: one {statistics.median(busy[one]):.2f}, two {statistics.median(busy[two]):.2f}")
        print(f"workers_two_beside_one_{name} {statistics.median(times):.2f} 1.00", flush=True)
        print(f"workers_busiest_of_two_{name} {statistics.median(shares):.2f} 0.60", flush=True)
    for who in (one, two):
        who.daemon.remove()
    for pid in upstream:
        pin(pid, "1")


class Row:
    def __init__(self, peer, target, measure, lease=0):
        self.peer, self.target, self.measure, self.lease = peer, target, measure, lease


ROWS = {
    "memory_nginx": Row("nginx-rev", 1.2, memory),  # first: later the heaps have room
    "h1_16_nginx": Row("nginx-rev", 1.0, requests(16)),
    "h1_64_nginx": Row("nginx-rev", 1.0, requests(64)),
    "h1_64_nginx_lease": Row("nginx-rev", 1.0, requests(64), lease=2),
    "h1_16_floor": Row("floor", 1.25, requests(16)),
    "h1_64_floor": Row("floor", 1.25, requests(64)),
    "h2_4x16_haproxy": Row("haproxy-h2up", 1.2, requests(4, "-m", "16")),
    "connection_full_haproxy": Row("haproxy-mint", 1.0, connections(FULL)),
    "connection_pooled_haproxy": Row("haproxy-pool", 1.1, connections(UP)),
    "latency_nginx": Row("nginx-rev", 1.0, latency),
    "bulk_haproxy": Row("haproxy-rev", 1.1, bulk(UP)),
    "bulk_tunnel_haproxy": Row("haproxy-tcp", 1.0, bulk(PASS)),
    "sse_haproxy": Row("haproxy-rev", 1.0, events),
}
ALONE = ("idle_mib", "workers")
PEERS = {
    "nginx-rev": lambda net: nginx(net, "nginx-rev", 7001),
    "floor": lambda net: floor(net, "floor", 7002),
    "haproxy-h2up": lambda net: haproxy(net, "haproxy-h2up", 7003, h2up=True),
    "haproxy-mint": lambda net: haproxy(net, "haproxy-mint", 7004, pool="never", gen=True, full=True),
    "haproxy-pool": lambda net: haproxy(net, "haproxy-pool", 7005, pool="always"),
    "haproxy-rev": lambda net: haproxy(net, "haproxy-rev", 7006),
    "haproxy-tcp": lambda net: haproxy(net, "haproxy-tcp", 7007, mode="tcp"),
}


def alternate(name, row, ours, peer, rounds, scale):
    got = []
    for r in range(rounds):
        pair = {}
        for who in (ours, peer) if r % 2 else (peer, ours):
            pair[who] = row.measure(who, scale)
        got.append(pair)
    for figure in got[0][ours]:
        ratios = [pair[ours][figure] / pair[peer][figure] for pair in got if pair[peer][figure]]
        label = name if len(got[0][ours]) == 1 else f"{name}_{figure.split()[0]}"
        say(f"# {label}: {figure}: {ours.name} {statistics.median(p[ours][figure] for p in got):.2f}, {peer.name} "
            f"{statistics.median(p[peer][figure] for p in got):.2f}; ratios {' '.join(f'{x:.2f}' for x in sorted(ratios))}")
        print(f"{label} {statistics.median(ratios):.2f} {row.target:.2f}", flush=True)


def profile(name, row, who, scale):
    row.measure(who, 0.1)
    with C.Recorded(who.pids()) as perf:
        row.measure(who, scale)
    for heap, share in perf.heaps():
        print(f"{name} {100 * share:5.1f} % {heap}", flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("rows", nargs="*", help=", ".join([*ROWS, *ALONE]))
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--scale", type=float, default=1.0, help="of the work in each run")
    ap.add_argument("--profile", action="store_true")
    o = ap.parse_args()
    names = o.rows or [*ROWS, *ALONE]
    for name in names:
        if name not in ROWS and name not in ALONE:
            ap.error(f"no row {name}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Net() as net:
        ours = {lease: Ours(net, lease) for lease in sorted({0} | {ROWS[n].lease for n in names if n in ROWS})}
        if o.profile:
            for name in names:
                if name in ROWS:
                    profile(name, ROWS[name], ours[ROWS[name].lease], o.scale)
            return
        peers = {p: PEERS[p](net) for p in dict.fromkeys(ROWS[n].peer for n in names if n in ROWS)}
        if "idle_mib" in names:  # not a ratio: the whole idle product in MiB, against its target
            print(f"idle_mib {ours[0].idle_kib / 1024:.1f} 20.00", flush=True)
        for name in names:
            if name in ROWS:
                row = ROWS[name]
                try:
                    alternate(name, row, ours[row.lease], peers[row.peer], o.rounds, o.scale)
                except (L.LabError, subprocess.SubprocessError) as e:
                    say(f"# {name}: {e}")
                    print(f"{name} failed {row.target:.2f}", flush=True)
        if "workers" in names:
            workers(net, o.rounds, o.scale)


main()
