#!/bin/bash
# What is run in each guest (vm.sh); no test of its own has to know that it is one.
#
#	guest.sh tests		the BPF programs' own tests, then every way out; results in $VM_FILES
#	guest.sh refused	the daemon must not start here, and say so in a sentence
set -uo pipefail
build=${AGENTSECRETS_BUILD:-build}
cd "$(dirname "$0")/../.." || exit 1

# One part of it, beside the others; "PART ok|FAILED name: its last line", and all it said when it failed.
part() { # NAME SECONDS COMMAND...
	local name=$1 seconds=$2 begin=$SECONDS verdict=ok log
	shift 2
	log=$TMPDIR/$name.log
	timeout -k 5 "$seconds" "$@" > "$log" 2>&1 || verdict="FAILED (status $?)"
	[[ $verdict == ok ]] || grep -v '  \(ok\|skip\)  ' "$log"
	echo "PART $verdict $name: $(tail -1 "$log" | tr -d '\r'), $((SECONDS - begin)) s"
	[[ $verdict == ok ]]
}

tests() {
	local failed=0 job
	# The host's /tmp is not ours: what its own labs have there comes and goes while we look.
	mount -t tmpfs -o mode=1777 tests /tmp || return 1
	export TMPDIR=/tmp ESCAPE_SLOW=6 STORM=300
	# Debian's kernels do not load these by themselves; the ways through them are to be tried all the same.
	modprobe -qa sctp vsock tun tipc rds rds_tcp dccp_ipv4 dccp_ipv6 l2tp_ip l2tp_ip6 pppoe llc2 can kcm smc nfsv3 cifs 2> /dev/null
	echo "== Linux $(uname -r), LSMs $(cat /sys/kernel/security/lsm)"
	part escape 700 /usr/bin/python3 tests/escape/suite.py --json "$VM_FILES" &
	part levels 400 "$build"/release/tests/bpf/test_levels || failed=1
	part enforce 400 "$build"/release/tests/bpf/test_enforce || failed=1
	for job in $(jobs -p); do
		wait "$job" || failed=1
	done
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
		echo "PART FAILED refusal: the daemon did not refuse"
	elif [[ $(wc -l <<< "$said") -gt 2 || ! $said =~ (5\.15|kernel|Linux) ]]; then
		echo "PART FAILED refusal: this is no sentence that says why"
	else
		echo "PART ok refusal: the daemon says why"
		return 0
	fi
	return 1
}

case ${1-} in
tests | refused) "$1" ;;
*) echo "guest.sh tests|refused" >&2; exit 2 ;;
esac
