"""Where CPU time goes: stacks of all of a product's processes, sampled by perf while something runs, sorted into few heaps."""

import collections
import os
import re
import signal
import subprocess
import tempfile
import time

# A sample belongs to the first heap that any function of its stack names.
HEAPS = [
    ("keeper", r"keeper_main"),
    ("parent, resolver", r"parent_main|resolver_main|holder_main"),
    ("audit log", r"proxy_audit|audit_\w+|exchange_record_\w+"),
    ("asking the keeper", r"rpc_send|fdio_recv|rpc_recv|ask_\w+|channel_push"),
    ("TLS: handshakes", r"tls_handshake|tls_accept|leaf_\w+"),
    ("TLS: write, and the kernel's TCP below", r"tls_write|tls_finish"),
    ("TLS: read, and the kernel's TCP below", r"tls_read|tls_pending"),
    ("redaction", r"redact_\w+|skim_\w+|sieve_\w+|recode_\w+|messages_\w+"),
    ("judging: rules, references, foreign values", r"judge_\w+|route_\w+|ref_\w+|inject_\w+|prints_\w+|foreign_\w+|literal_\w+"),
    ("HTTP/2: frames and streams", r"nghttp2_\w+|h2_\w+|h2text_\w+"),
    ("HTTP/1: parsing and writing", r"http1_\w+|exchange_write_head|relay_\w*head\w*|body_\w+"),
    ("waiting in epoll", r"epoll_wait|loop_wait"),
    ("splice", r"splice|tunnel_\w+"),
]
FRAME = re.compile(r"^\s*[0-9a-f]+ (.*?)(?:\+0x[0-9a-f]+)? \((.*)\)$")


class Recorded:
    """perf runs while the block does."""

    def __init__(self, pids):
        self.file = tempfile.NamedTemporaryFile(prefix="as-perf-", suffix=".data")
        self.perf = subprocess.Popen(["perf", "record", "-q", "-F", "997", "-e", "cpu-clock", "-m", "64M", "--call-graph", "dwarf,16384", "-o", self.file.name,
                                      "-p", ",".join(map(str, pids))], stderr=subprocess.DEVNULL)

    def __enter__(self):
        while os.path.getsize(self.file.name) == 0 and self.perf.poll() is None:  # it has begun when it has written its head
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.perf.send_signal(signal.SIGINT)
        self.perf.wait()

    def heaps(self):
        """[(heap, share)], largest first; "the rest" is what no heap names."""
        text = subprocess.run(["perf", "script", "-i", self.file.name, "-F", "ip,sym,dso"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True, errors="replace", check=True).stdout
        count = collections.Counter()
        for stack in text.split("\n\n"):
            names = [m[1].removesuffix(" (inlined)") for m in map(FRAME.match, stack.splitlines()) if m]
            if names:
                count[next((heap for heap, what in HEAPS if any(re.fullmatch(what, n) for n in names)), "the rest")] += 1
        return [(heap, n / count.total()) for heap, n in count.most_common()]
