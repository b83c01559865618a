#!/bin/bash
# make kernels: the BPF tests and every way out of a guard, on Debian's other kernels in QEMU.
#
#	run.sh [SERIES[/nolsm|/systemd]...]	default: 6.1, 6.1/nolsm, 6.1/systemd, 6.12, and 5.10, which is too old and
#						must be refused
#
# /nolsm: without BPF among the active LSMs, as Ubuntu 22.04 and others start; so without level L3. /systemd: the installed
# unit, and the vault's key as a systemd credential, where systemd is process 1 (systemd.sh).
# Two guests at a time. The results go into tests/escape/results.md, unless KERNELS_KEEP_RESULTS says that only the
# verdicts are wanted. For each part of a guest a line "ok SERIES part: ..." or "not ok SERIES part: ..."; last line: "N
# kernels passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
(($#)) || set -- 6.1 6.1/nolsm 6.1/systemd 6.12 5.10
limit=${LIMIT:-800} # seconds for each guest; two together take about three minutes on two idle cores
build=$(realpath "${AGENTSECRETS_BUILD:-build}")
passed=0 failed=0
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

guest() { # SERIES
	local arguments='' out=$results/${1/\//-} begin=$SECONDS status=0 vm=() command=(tests/kernels/guest.sh tests)
	[[ $1 == 5.10 ]] && command=(tests/kernels/guest.sh refused)
	[[ $1 == */systemd ]] && vm=(-s) command=(tests/kernels/systemd.sh)
	[[ $1 == */nolsm ]] && arguments=lsm=lockdown,capability,landlock,yama
	mkdir "$out"
	tests/kernels/vm.sh -k "${1%/*}" -a "$arguments" -t "$limit" -o "$out" "${vm[@]}" -- env "AGENTSECRETS_BUILD=$build" \
		"${command[@]}" > "$out/log" 2>&1 || status=$?
	echo "$status $((SECONDS - begin))" > "$out/status"
}

told() { # SERIES
	local out=$results/${1/\//-} status seconds line parts=0
	read -r status seconds < "$out/status"
	((status)) && cat "$out/log"
	while read -r line; do
		parts=$((parts + 1))
		case $line in
		"PART ok "*) echo "ok $1 ${line#PART ok }" ;;
		*) echo "not ok $1 ${line#PART FAILED }" ;;
		esac
	done < <(grep '^PART ' "$out/log")
	# A guest that could not be had, or died, is a failure of its own: its sentence is the log's last line.
	if ((status && status != 1)) || ((parts == 0)); then
		echo "not ok $1 guest: $(tail -1 "$out/log")"
	fi
	echo "== $1: status $status, $seconds s"
	if ((status == 0)); then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

for series; do
	while (($(jobs -rp | wc -l) >= 2)); do wait -n; done
	guest "$series" &
done
wait
for series; do told "$series"; done
if [[ -z ${KERNELS_KEEP_RESULTS-} ]] && compgen -G "$results/*/*.json" > /dev/null; then
	cp "$results"/*/*.json tests/escape/results/
	/usr/bin/python3 tests/escape/suite.py table
fi
echo "$passed kernels passed, $failed failed"
((failed == 0))
