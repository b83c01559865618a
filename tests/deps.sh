#!/bin/bash
# Installs the Debian packages that a target needs and that are missing.
#
#	tests/deps.sh build|demo|check|escape|kernels|bench...
#
# Nothing missing: no network is touched and no privilege needed. Services that come with a package (nginx,
# fcgiwrap) are not started. `check` also puts the npm clients of tests/peers/package.json in build/node.
set -euo pipefail
cd "$(dirname "$0")/.."

# A package, or package:command where the command may come from elsewhere too.
build=(gcc:gcc make:make clang:clang llvm:llvm-strip bpftool:bpftool libc6-dev linux-libc-dev libbpf-dev libelf-dev zlib1g-dev
	libsodium-dev libjansson-dev libssl-dev libc-ares-dev libseccomp-dev libbrotli-dev libzstd-dev libnghttp2-dev
	libsecret-1-dev pkg-config:pkg-config)
# shellcheck disable=SC2034 # used by name
demo=("${build[@]}" iproute2:ip util-linux nginx:nginx dnsmasq-base:dnsmasq tcpdump:tcpdump openssl:openssl ca-certificates curl:curl
	git:git python3)
# shellcheck disable=SC2034
check=("${demo[@]}" libcmocka-dev python3-pytest python3-requests python3-websockets python3-httpx python3-h2 python3-aiohttp wget:wget openjdk-17-jdk-headless:java cargo:cargo rustc:rustc librust-ureq-dev golang-go:go golang-google-grpc-dev nodejs:node npm:npm fcgiwrap:fcgiwrap procps
	postgresql-15 postgresql-client-15 redis-server:redis-server redis-tools:redis-cli openssh-server openssh-client:ssh
	gnome-keyring:gnome-keyring-daemon libsecret-tools:secret-tool dbus-daemon:dbus-run-session gdb:gcore
	chromium-headless-shell:chromium-headless-shell libnss3-tools:certutil
	clang-format:clang-format clang-tidy:clang-tidy libclang-rt-dev
	# containers to attach to, and other kernels
	runc:runc podman:podman qemu-system-x86:qemu-system-x86_64 busybox-static:busybox kmod:depmod xz-utils:xz)
# shellcheck disable=SC2034
escape=("${build[@]}" iproute2:ip util-linux openssl:openssl python3)
# shellcheck disable=SC2034 # virtiofsd comes with qemu
kernels=("${escape[@]}" libcmocka-dev systemd nginx:nginx curl:curl procps qemu-system-x86:qemu-system-x86_64 busybox-static:busybox kmod:depmod xz-utils:xz)

# shellcheck disable=SC2034
bench=("${demo[@]}" haproxy:haproxy nghttp2-client:h2load linux-perf:perf)

die() { echo "deps.sh: $*" >&2; exit 1; }

PATH=$PATH:/usr/sbin:/sbin # where an ordinary user's PATH does not look
missing=()
for list in "$@"; do
	case $list in build | demo | check | escape | kernels | bench) ;; *) die "unknown list $list; say build, demo, check, escape, kernels or bench" ;; esac
	declare -n entries=$list
	for entry in "${entries[@]}"; do
		package=${entry%%:*} command=${entry#*:}
		[[ $entry == *:* ]] && command -v "$command" > /dev/null && continue
		[[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null || true) == installed ]] || missing+=("$package")
	done
done

install() {
	local policy=/usr/sbin/policy-rc.d
	command -v apt-get > /dev/null || die "this is not a Debian system; install these yourself: $*"
	((EUID == 0)) || die "packages are missing and only root can install them; run: sudo apt-get install --no-install-recommends $*"
	echo "deps.sh: installing $*" >&2
	if [[ ! -e $policy ]]; then # what we install must not start services on the user's machine
		printf '#!/bin/sh\nexit 101\n' > $policy
		chmod 755 $policy
		trap 'rm -f /usr/sbin/policy-rc.d' EXIT
	fi
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq >&2 || die "apt-get update failed; see above"
	apt-get -o DPkg::Lock::Timeout=120 install -y -qq --no-install-recommends "$@" > build/deps.log 2>&1 || { tail -20 build/deps.log >&2; die "apt-get install failed; see above"; }
}

mkdir -p build
if ((${#missing[@]})); then
	mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
	install "${missing[@]}"
fi

# The npm clients: exactly those of the lock file, from whatever registry npm is set up for.
if [[ " $* " == *" check "* ]] && ! cmp -s tests/peers/package-lock.json build/node/.installed; then
	mkdir -p build/node
	cp tests/peers/package.json tests/peers/package-lock.json build/node/
	(cd build/node && npm ci --ignore-scripts --no-audit --no-fund > ../npm.log 2>&1) || { tail -20 build/npm.log >&2; die "npm ci failed; see above"; }
	cp tests/peers/package-lock.json build/node/.installed
fi
