#!/bin/bash
# What is run in each guest (vm.sh); no test of its own has to know that it is one.
#
#	guest.sh tests		the BPF programs' own tests, then every way out; results in $VM_FILES
#	guest.sh refused	the daemon must not start here, and say so in a sentence
set -uo pipefail
build=${AGENTSECRETS_BUILD:-build}
cd "$(dirname "$0")/../.." || exit 1

tests() {
	local failed=0
	# The host's /tmp is not ours: what its own labs have there comes and goes while we look.
	TMPDIR=$(mktemp -d /run/tests.XXXXXX) || return 1
	chmod 1777 "$TMPDIR"
	export TMPDIR
	# Debian's kernels do not load these by themselves; the ways through them are to be tried all the same.
	modprobe -qa tun tipc rds rds_tcp dccp_ipv4 dccp_ipv6 l2tp_ip l2tp_ip6 pppoe llc2 can kcm smc nfsv3 cifs 2> /dev/null
	echo "== Linux $(uname -r), LSMs $(cat /sys/kernel/security/lsm)"
	ESCAPE_SLOW=6 timeout 200 /usr/bin/python3 tests/escape/suite.py --json "$VM_FILES" || failed=1
	CMOCKA_MESSAGE_OUTPUT=TAP timeout 150 "$build"/release/tests/bpf/test_enforce || failed=1
	return $failed
}

refused() {
	local dir said status
	dir=$(mktemp -d)
	printf '{"state_dir": "%s/state", "run_dir": "%s/run", "users": {"keeper": 64901, "proxy": 64902, "resolver": 64903, "holder": 64904}}\n' \
		"$dir" "$dir" > "$dir/config.json"
	said=$(timeout 20 "$build"/agentsecretsd --config "$dir/config.json" 2>&1)
	status=$?
	echo "Linux $(uname -r): exit $status: $said"
	if ((status == 0 || status == 124)); then
		echo "FAILED the daemon did not refuse"
	elif [[ $(wc -l <<< "$said") -gt 2 || ! $said =~ (5\.15|kernel|Linux) ]]; then
		echo "FAILED this is no sentence that says why"
	else
		return 0
	fi
	return 1
}

case ${1-} in
tests | refused) "$1" ;;
*) echo "guest.sh tests|refused" >&2; exit 2 ;;
esac
