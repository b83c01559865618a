"""Connect load from inside a guard, by several processes, until the file named first exists.

    storm.py STOP PROCESSES HOST:PORT...

Each HOST:PORT is one that the kernel refuses. Every process tries TCP and UDP to all of them, and a TCP connection to
an address that the proxy gets. Last line: a JSON object of how often what happened; "EPERM" alone is right for the
refused ones.
"""
import collections
import errno
import json
import os
import socket
import sys


def outcome(f):
    try:
        f()
        return "passed"
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e))


def tcp(to, send):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        s.settimeout(1)
        s.connect(to)
        if send:
            s.sendall(b"leak\r\n")


def udp(to):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(b"leak", to)


def work(stop, refused):
    seen = collections.Counter()
    while not os.path.exists(stop):
        for _ in range(20):
            for to in refused:
                seen["tcp " + outcome(lambda: tcp(to, True))] += 1
                seen["udp " + outcome(lambda: udp(to))] += 1
        seen["redirected " + outcome(lambda: tcp(("203.0.113.66", 9999), True))] += 1
    return seen


def main():
    stop, count, refused = sys.argv[1], int(sys.argv[2]), [(a.rpartition(":")[0], int(a.rpartition(":")[2])) for a in sys.argv[3:]]
    pipes = []
    for _ in range(count):
        r, w = os.pipe()
        if os.fork() == 0:
            os.write(w, json.dumps(work(stop, refused)).encode())
            os._exit(0)
        os.close(w)
        pipes.append(r)
    print("storming", flush=True)
    total = collections.Counter()
    for r in pipes:
        with os.fdopen(r) as f:
            total.update(json.loads(f.read()))
    print(json.dumps(total), flush=True)


main()
