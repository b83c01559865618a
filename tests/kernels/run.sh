#!/bin/bash
# make kernels: the BPF tests and every way out of a guard, on Debian's other kernels in QEMU.
#
#	run.sh [SERIES[/nolsm]...]	default: 6.1, 6.1/nolsm, 6.12, and 5.10, which is too old and must be refused
#
# /nolsm: without BPF among the active LSMs, as Ubuntu 22.04 and others start; so without level L3.
# The results go into tests/escape/results.md. Last line: "N kernels passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
(($#)) || set -- 6.1 6.1/nolsm 6.12 5.10
limit=${LIMIT:-400} # seconds for each guest; one takes 80 to 200 on two cores
build=$(realpath "${AGENTSECRETS_BUILD:-build}")
passed=0 failed=0
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

for series; do
	what=tests arguments=''
	[[ $series == 5.10 ]] && what=refused
	[[ $series == */nolsm ]] && arguments=lsm=lockdown,capability,landlock,yama
	begin=$SECONDS
	if tests/kernels/vm.sh -k "${series%/nolsm}" -a "$arguments" -t "$limit" -o "$results" -- env "AGENTSECRETS_BUILD=$build" tests/kernels/guest.sh $what; then
		passed=$((passed + 1))
		verdict=passed
	else
		verdict="FAILED (status $?)"
		failed=$((failed + 1))
	fi
	echo "== $series: $verdict, $((SECONDS - begin)) s"
done
if compgen -G "$results/*.json" > /dev/null; then
	cp "$results"/*.json tests/escape/results/
	/usr/bin/python3 tests/escape/suite.py table
fi
echo "$passed kernels passed, $failed failed"
((failed == 0))
