#!/bin/sh
# Writes vmlinux.h: of the running kernel's types, those that egress.bpf.c names and what they contain
# (the kernel's own structures, of which unixsock.bpf.c and lsm.bpf.c read a field or two, are in kernel.h).
# Only for when a new type is needed; the result is checked in, so a build needs neither BTF nor python3.
# Usage: bpf/vmlinux.sh > vmlinux.h
set -eu
here=$(dirname "$0")
bpftool=$(command -v bpftool || echo /usr/sbin/bpftool)
dump=$(mktemp)
trap 'rm -f "$dump"' EXIT
"$bpftool" btf dump file /sys/kernel/btf/vmlinux format c > "$dump"
python3 - "$dump" "$here/egress.bpf.c" "$here/egress.h" "$here/policy.h" "$here/report.h" <<'PY'
import re
import sys

# What libbpf's own headers name, and what C lacks.
TYPEDEFS = "__u8 __u16 __u32 __u64 __s32 __s64 __be16 __be32 __wsum bool".split()
TAG = r"(?:struct|union|enum) (\w+)"


def blocks(path):
    """Top-level declarations of the dump, in its order, which is one that compiles."""
    out = []
    for line in open(path):
        if line.startswith(("#", "\n")):
            continue
        if line[0] in "\t}" and out:
            out[-1] += line
        else:
            out.append(line)
    return out


def defines(block):
    """Names that a block brings: its tag, its enumerators, its typedef."""
    m = re.match(r"typedef [\w ]+ (\w+);", block)
    if m:
        return {m.group(1)}
    m = re.match(TAG + r" \{", block)
    names = {m.group(1)} if m else set()
    if block.startswith("enum"):
        names |= set(re.findall(r"^\t(\w+)", block, re.M))
    return names


def needs(block):
    """Names that a block's members need complete; what is only pointed to is not among them."""
    body = re.sub(r"(?:struct|union) \w+ \*", "", block)
    return set(re.findall(TAG, body)) | set(re.findall(r"^\s*(?:typedef )?(\w+) ", body, re.M))


def source(path):
    """Tags and enumerators that our code names."""
    text = re.sub(r"/\*.*?\*/", "", open(path).read(), flags=re.S)
    enumerators = set(re.findall(r"\b(?:BPF_[A-Z0-9_]+|true|false)\b", text))
    return enumerators | set(re.findall(TAG, text))


dump = blocks(sys.argv[1])
owner = {}
for i, block in enumerate(dump):
    for name in defines(block):
        owner.setdefault(name, i)
todo = set(TYPEDEFS).union(*(source(p) for p in sys.argv[2:]))
picked = set()
while todo:
    i = owner.get(todo.pop())
    if i is not None and i not in picked:
        picked.add(i)
        todo |= needs(dump[i])
print("/* Kernel types for egress.bpf.c, by bpf/vmlinux.sh from BTF. Do not edit. */")
print("#ifndef __VMLINUX_H__\n#define __VMLINUX_H__\n")
print("#ifndef BPF_NO_PRESERVE_ACCESS_INDEX")
print("#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)")
print("#endif\n")
print("\n".join(dump[i] for i in sorted(picked)))
print("#ifndef BPF_NO_PRESERVE_ACCESS_INDEX\n#pragma clang attribute pop\n#endif\n\n#endif")
PY
