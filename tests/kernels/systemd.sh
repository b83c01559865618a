#!/bin/bash
# In a guest whose process 1 is systemd (vm.sh -s): what `make install` puts there, and the vault's key as a systemd
# credential, bound to this machine. Three minutes of processor time, so no part of `make check`. A line "PART ok|FAILED
# name: ..." for each part.
# shellcheck disable=SC2317,SC2086 # parts are called by their names; no path here has blanks
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
unit=agentsecretsd.service
state=/var/lib/agentsecrets
store=/etc/credstore.encrypted/agentsecrets.vault
drop_in=/etc/systemd/system/$unit.d
failed=0

# Each part is a shell of its own that ends at the first command that fails, and says which.
part() { # NAME
	local begin=$SECONDS log=/run/part.log
	(
		set -eE
		trap 'echo "line $LINENO: $BASH_COMMAND: status $?"' ERR
		"part_$1"
	) > $log 2>&1
	# shellcheck disable=SC2181 # a condition would take set -e away
	if (($? == 0)); then
		echo "PART ok $1: $((SECONDS - begin)) s"
	else
		cat $log
		journalctl -q -o cat -u $unit | tail -30
		echo "PART FAILED $1: $(tail -1 $log)"
		failed=1
	fi
}

until_() { # SECONDS COMMAND...
	local end=$((SECONDS + $1))
	shift
	until "$@" > /dev/null 2>&1; do
		((SECONDS < end)) || { echo "not in time: $*"; return 1; }
		sleep 0.1
	done
}

fails() {
	if "$@"; then
		echo "did not fail: $*"
		return 1
	fi
}

guarded() { # PID COMMAND...: in the cgroup of that process
	local cgroup
	cgroup=/sys/fs/cgroup$(cut -d: -f3 "/proc/$1/cgroup")
	shift
	# shellcheck disable=SC2016
	bash -c 'echo $$ > "$0/cgroup.procs" && exec "$@"' "$cgroup" "$@"
}

# What the journal says of the unit since forget().
mark=0
forget() { mark=$(said '' | wc -l); }
said() { journalctl -q -o cat -u $unit | tail -n "+$((mark + 1))" | grep -F -- "$1"; }
serves() { agentsecrets vault status; }
started() { systemctl reset-failed $unit; systemctl start $unit; until_ 30 serves; }
restarted() { systemctl reset-failed $unit; systemctl restart $unit; until_ 30 serves; }
# The host answers 204 to the one key that is right.
asks() {
	local code
	code=$(agentsecrets run --workspace demo -- curl -s -o /dev/null -w '%{http_code}' https://api.stripe.com/ \
		-H 'Authorization: Bearer agentsecrets://STRIPE_KEY')
	echo "the host answers $code"
	[[ $code == 204 ]]
}
holders() { pgrep -f '^[^ ]*agentsecretsd holder' | wc -l; }
vault() { sha256sum < $state/vault/vault.bin; }

# nginx as api.stripe.com; takes: which key is the right one.
upstream() {
	local d=/run/upstream
	mkdir -p $d /etc/agentsecrets
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $d/key.pem -out $d/cert.pem -days 2 \
		-subj /CN=lab -addext subjectAltName=DNS:api.stripe.com 2> /dev/null
	ip addr add 198.51.100.7/32 dev lo
	echo '198.51.100.7 api.stripe.com' > /etc/hosts
	printf '{"network": {"treat_as_public": ["198.51.100.0/24"]}, "upstream": {"extra_ca_file": "%s/cert.pem"}}\n' $d \
		> /etc/agentsecrets/config.json
	takes one
	nginx -c $d/nginx.conf
}

takes() {
	local d=/run/upstream
	cat > $d/nginx.conf << NGINX
pid $d/pid; error_log $d/log; worker_processes 1; events {}
http { access_log off; server { listen 198.51.100.7:443 ssl; ssl_certificate $d/cert.pem; ssl_certificate_key $d/key.pem;
	location / { if (\$http_authorization = "Bearer sk_of_$1") { return 204; } return 401; } } }
NGINX
	[[ ! -e $d/pid ]] || nginx -c $d/nginx.conf -s reload
}

# README's "Install" and "First steps"; a guarded command lives on over a restart, and the wall holds while it is stopped.
part_unit() {
	local agent pid
	upstream
	make -s -o all install
	systemd-sysusers
	systemctl daemon-reload
	systemctl enable --now $unit
	until_ 60 serves
	systemctl is-enabled $unit
	systemctl status --no-pager $unit
	agentsecrets init
	agentsecrets workspace create demo
	printf sk_of_one | agentsecrets secrets set STRIPE_KEY --host api.stripe.com
	agentsecrets workspace allowlist add api.stripe.com
	asks
	agentsecrets run --workspace demo -- sh -c 'echo $$ > /tmp/agent; exec sleep 600' &
	until_ 20 test -s /tmp/agent
	agent=$(< /tmp/agent)
	pid=$(systemctl show -P MainPID $unit)
	restarted
	[[ $(systemctl show -P MainPID $unit) != "$pid" ]]
	systemctl daemon-reload
	asks
	[[ -d /proc/$agent && $(agentsecrets cgroup list | grep -c demo) == 1 ]]
	systemctl stop $unit
	[[ $(systemctl show -P ActiveState $unit) == inactive && $(systemctl show -P Result $unit) == success ]]
	[[ $(holders) == 1 && -d /proc/$agent ]]
	# Nobody serves it, and nothing opens: 198.51.100.7 would answer, to anybody else.
	curl -ksS -m 5 -o /dev/null https://api.stripe.com/
	guarded "$agent" true
	fails guarded "$agent" curl -ksS -m 5 -o /dev/null https://api.stripe.com/
	started
	[[ $(holders) == 1 ]]
	asks
	kill $agent
}

# The commands of `agentsecrets vault rewrap --help`; then the credential is all that opens it.
part_credential() {
	mkdir -p ${store%/*} $drop_in
	chmod 700 ${store%/*}
	head -c 32 /dev/urandom | systemd-creds encrypt --with-key=host --name=agentsecrets.vault - $store
	printf '[Service]\nLoadCredentialEncrypted=agentsecrets.vault\n' > $drop_in/override.conf
	systemctl daemon-reload
	restarted
	agentsecrets vault rewrap --credential
	agentsecrets vault status | grep -qx 'locked by  a systemd credential'
	[[ ! -e $state/vault.key && ! -e $state/vault.key.next ]]
	takes two
	printf sk_of_two | agentsecrets secrets rotate STRIPE_KEY
	restarted
	asks
	# An agent of root's sees neither the key nor what it is made of.
	[[ $(stat -c %a /run/credentials/$unit/agentsecrets.vault) == 400 ]]
	[[ $(agentsecrets run --workspace demo -- ls -A /etc/credstore.encrypted /run/credentials) == \
		$'/etc/credstore.encrypted:\n\n/run/credentials:' ]]
}

# Started with a credential that is wrong: a sentence, and no start.
without() { # SENTENCE
	systemctl reset-failed $unit
	systemctl restart $unit || true
	until_ 40 said "$1"
	fails serves
	systemctl stop $unit
	[[ $(vault) == "$before" ]]
}

# Each way in which the credential is not what it was: nothing is touched, and put right, all is there.
part_not_the_credential() {
	local before
	before=$(vault)
	cp $store /run/kept
	echo "missing"
	forget
	rm $store
	without "systemd has given the daemon no credential agentsecrets.vault"
	echo "tampered with"
	base64 -d /run/kept > /run/raw
	printf '\377' | dd of=/run/raw bs=1 seek=100 conv=notrunc status=none
	base64 /run/raw > $store
	fails cmp -s $store /run/kept
	without "Failed at step CREDENTIALS"
	echo "another key"
	head -c 32 /dev/urandom | systemd-creds encrypt --with-key=host --name=agentsecrets.vault - $store
	without "this credential is not the one the vault was locked with"
	cp /run/kept $store
	echo "this machine's files on another machine"
	mv /var/lib/systemd/credential.secret /run/secret
	systemd-creds setup
	forget
	without "Failed at step CREDENTIALS"
	mv /run/secret /var/lib/systemd/credential.secret
	started
	asks
}

[[ $(< /proc/1/comm) == systemd ]] || { echo "PART FAILED systemd: process 1 is $(< /proc/1/comm)"; exit 1; }
echo "== Linux $(uname -r), $(systemctl --version | head -1), $(cut -d' ' -f1 /proc/uptime) s after the start"
export PATH=/usr/local/bin:/usr/local/sbin:$PATH
for name in unit credential not_the_credential; do
	((failed)) || part $name
done
systemctl stop $unit
exit $failed
