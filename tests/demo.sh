#!/bin/bash
# make demo: builds the product and shows its main job on a small internet made of network namespaces.
# Needs root; installs what is missing (tests/deps.sh); leaves nothing running and nothing attached.
set -euo pipefail
cd "$(dirname "$0")/.."
tests/deps.sh build demo
if ((EUID != 0)); then
	echo "demo.sh: this makes network namespaces and loads BPF programs, so it needs root; run: sudo make demo" >&2
	exit 1
fi
make --no-print-directory all
exec /usr/bin/python3 -B tests/system/demo.py
