#!/bin/sh
# The system tests: the real daemon and CLI from build/, unmodified clients, a small internet in network
# namespaces (lab.py). Needs root. Arguments go to pytest, which runs in this folder: run.sh test_dns.py,
# run.sh -k transcript. Results also in build/system.xml.
set -eu
cd "$(dirname "$0")"
mkdir -p ../../build
exec /usr/bin/python3 -m pytest -q -p no:cacheprovider --tb=short --rootdir=. --junitxml=../../build/system.xml "$@"
