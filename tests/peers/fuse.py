#!/usr/bin/python3
"""A file system in user space whose only directory this process holds open, and serves itself: for tests of `cgroup attach`.

usage: fuse.py MOUNTPOINT       needs root; prints "ready", then stays until standard input ends

Attributes are good for no time at all, so whoever asks for them asks this process. The wire format is that of linux/fuse.h.
"""

import ctypes
import os
import struct
import sys
import threading
import time

INIT, GETATTR, OPENDIR, DESTROY = 26, 3, 27, 38
CLONE_NEWNS, MS_REC_PRIVATE = 0x20000, 0x44000
libc = ctypes.CDLL(None, use_errno=True)


def must(rc):
    if rc:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def attributes():
    """struct fuse_attr_out of a directory."""
    now = int(time.time())
    return struct.pack("=QII", 0, 0, 0) + struct.pack("=6Q10I", 1, 0, 0, now, now, now, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)


def serve(dev):
    answers = {
        INIT: struct.pack("=4I2H2I2H8I", 7, 31, 4096, 0, 8, 8, 4096, 1, 0, 0, *[0] * 8),
        GETATTR: attributes(),
        OPENDIR: struct.pack("=QII", 1, 0, 0),
    }
    while True:
        request = os.read(dev, 1 << 17)
        _, op, unique = struct.unpack_from("=IIQ", request)
        if op == DESTROY:
            return
        body = answers.get(op)
        error = 0 if body is not None else -38
        os.write(dev, struct.pack("=IiQ", 16 + len(body or b""), error, unique) + (body or b""))


where = sys.argv[1]
must(libc.unshare(CLONE_NEWNS))
must(libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None))
dev = os.open("/dev/fuse", os.O_RDWR)
must(libc.mount(b"as-test", where.encode(), b"fuse", 0, f"fd={dev},rootmode=40000,user_id=0,group_id=0".encode()))
threading.Thread(target=serve, args=(dev,), daemon=True).start()
held = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
print("ready", flush=True)
sys.stdin.read()
os.close(held)
