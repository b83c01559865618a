#!/bin/bash
# Runs a command under another kernel: QEMU without KVM, this machine's own files, nothing of it changed.
#
#	vm.sh [-k SERIES] [-t SECONDS] [-m MIB] [-a KERNEL_ARGUMENTS] [-o DIR] [-s] -- COMMAND...
#
#	-k 6.1	which kernel: the newest linux-image-SERIES.*-cloud-amd64 that apt knows, fetched and unpacked
#		once into build/kernels/SERIES, never installed
#	-t 300	the whole guest may take that long
#	-m 2048	its memory; everything it writes lies there
#	-o DIR	what the command leaves in $VM_FILES is copied there
#	-s	systemd is process 1, and the command a service of it
#
# The guest sees our root directory read-only (virtiofs), with a layer of memory over it for what it writes. It has
# cgroup v2 at /sys/fs/cgroup, bpffs, loopback, and no other network. The command runs as root in the directory
# that vm.sh was started in. Its output is ours, and so is its status; 124: out of time; 125: no guest, or it died.
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
cache=$top/build/kernels
series=6.1 seconds=300 memory=2048 arguments='' files='' init=''
virtiofsd=/usr/lib/qemu/virtiofsd
# To reach the root; the rest is loaded when it is asked for.
first_modules=(virtio_pci virtiofs overlay)

die() {
	echo "vm.sh: $*" >&2
	exit 125
}

while getopts k:t:m:a:o:s option; do
	case $option in
	k) series=$OPTARG ;;
	t) seconds=$OPTARG ;;
	m) memory=$OPTARG ;;
	a) arguments=$OPTARG ;;
	o) files=$OPTARG ;;
	s) init=systemd ;;
	*) sed -n '2,18s/^# \{0,1\}//p' "$0" >&2; exit 125 ;;
	esac
done
shift $((OPTIND - 1))
(($#)) || die "no command; see the top of $0"
((EUID == 0)) || die "the guest reads all of our files, so this needs root"
[[ $(uname -m) == x86_64 ]] || die "only x86-64 machines are known here"
for program in qemu-system-x86_64 $virtiofsd busybox depmod xz dpkg-deb; do
	command -v "$program" > /dev/null || PATH=$PATH:/usr/sbin command -v "$program" > /dev/null ||
		die "$program is missing; run: tests/deps.sh kernels"
done
PATH=$PATH:/usr/sbin

work='' half='' daemon='' guest=''
# shellcheck disable=SC2317 # the trap calls it
clean_up() {
	local pid
	for pid in $guest $daemon; do
		kill "$pid" 2> /dev/null || true # timeout passes it on to QEMU
		wait "$pid" 2> /dev/null || true
	done
	rm -rf ${work:+"$work"} ${half:+"$half"}
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# ---- the kernel ----

apt_options=()

newest() { # SERIES
	apt-cache "${apt_options[@]}" search --names-only "^linux-image-${1//./[.]}[.][0-9][^ ]*-cloud-amd64$" |
		cut -d' ' -f1 | sort -V | tail -1
}

# Kernels of an older release: its lists in a folder of ours, from wherever this machine has its security updates.
older_release() { # RELEASE
	local site folder=$cache/apt-$1
	# shellcheck disable=SC2016 # apt's own variables
	site=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 2> /dev/null | awk '/-security$/ { print $1; exit }')
	[[ -n $site ]] || die "apt has no list of security updates here, so there is nowhere to ask for $1's kernels"
	mkdir -p "$folder/parts" "$folder/lists/partial"
	printf 'Types: deb\nURIs: %s\nSuites: %s-security\nComponents: main\nSigned-By: %s\n' "$site" "$1" \
		/usr/share/keyrings/debian-archive-keyring.gpg > "$folder/parts/$1.sources"
	apt_options=(-o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$folder/parts" -o "Dir::State::Lists=$folder/lists"
		-o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache=" -o APT::Sandbox::User=root)
	[[ -n $(newest "$series") ]] || apt-get "${apt_options[@]}" -qq update >&2 || die "apt-get update for $1 failed"
}

find_package() {
	local name
	name=$(newest "$series")
	if [[ -z $name ]]; then
		case $series in
		5.10) older_release bullseye ;;
		*) apt-get -qq update >&2 || die "apt-get update failed" ;;
		esac
		name=$(newest "$series")
	fi
	[[ -n $name ]] || die "apt knows no kernel $series here"
	package=$name
}

# insmod's order: what a module needs comes before it.
files_of() { # DIR RELEASE MODULE...
	local dir=$1 release=$2 module
	shift 2
	for module; do
		modprobe -d "$dir" -S "$release" --show-depends "$module" 2> /dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p' || true
	done | awk '!($0 in seen) { seen[$0]; print }'
}

make_initrd() { # DIR RELEASE
	local root=$1/initrd.d module file
	mkdir -p "$root"/{bin,proc,sys,dev,modules,lower,upper,all}
	cp "$(command -v busybox)" "$root/bin/busybox"
	for file in $(ldd "$root/bin/busybox" 2> /dev/null | grep -o '/[^ ]*' || true); do # unless it is static
		cp --parents "$(realpath "$file")" "$root/"
		[[ -e $root$file ]] || cp --parents "$file" "$root/"
	done
	while read -r module; do
		cp "$module" "$root/modules/"
		echo "insmod /modules/${module##*/}"
	done < <(files_of "$1" "$2" "${first_modules[@]}") > "$root/load"
	cat > "$root/init" << 'INIT'
#!/bin/busybox sh
give_up() { echo "vm: $*"; poweroff -f; }
/bin/busybox --install /bin
mount -t proc - /proc && mount -t sysfs - /sys && mount -t devtmpfs - /dev || give_up mounts
. /load
mount -t virtiofs -o ro host /lower || give_up "the host's files"
mount -t tmpfs - /upper && mkdir /upper/data /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work - /all || give_up overlay
for d in proc sys dev; do mount --move /$d /all/$d || give_up $d; done
mount -t tmpfs -o mode=755 - /all/run && mkdir /all/run/vm
mount -t virtiofs exchange /all/run/vm || give_up "the exchange"
exec switch_root /all /bin/bash /run/vm/guest
INIT
	chmod 755 "$root/init"
	(cd "$root" && find . | busybox cpio -o -H newc 2> /dev/null) | gzip -1 > "$1/initrd"
	rm -rf "$root"
}

# Complete or not there: built beside its place and renamed.
fetch() {
	local package release
	[[ -e $cache/$series/initrd ]] && return
	mkdir -p "$cache"
	find_package
	half=$(mktemp -d "$cache/new.XXXXXX")
	echo "vm.sh: fetching $package" >&2
	(cd "$half" && apt-get "${apt_options[@]}" -o APT::Sandbox::User=root -qq download "$package" >&2) || die "apt-get download $package failed"
	dpkg-deb -x "$half"/*.deb "$half/x"
	release=$(basename "$half"/x/boot/vmlinuz-*)
	release=${release#vmlinuz-}
	mv "$half/x/boot/vmlinuz-$release" "$half/vmlinuz"
	mkdir "$half/lib"
	mv "$half/x/lib/modules" "$half/lib/modules"
	rm -rf "$half"/x "$half"/*.deb
	find "$half/lib" -name '*.ko.xz' -exec xz -d {} +
	depmod -b "$half" "$release"
	echo "$release" > "$half/release"
	make_initrd "$half" "$release"
	rm -rf "${cache:?}/$series"
	mv "$half" "$cache/$series"
	half=''
}

mkdir -p "$cache"
exec 9> "$cache/lock" # two runs must not fetch the same
flock 9
fetch
flock -u 9
kernel=$cache/$series
release=$(< "$kernel/release")

# ---- the guest ----

work=$(mktemp -d "${TMPDIR:-/tmp}/vm.XXXXXX")
mkdir -p "$work/exchange/files"
{
	printf 'release=%q modules=%q init=%q\n' "$release" "$kernel/lib/modules" "$init"
	cat << 'GUEST'
mkdir -p /dev/pts /dev/shm "/lib/modules/$release" /run/lock
mount -t devpts - /dev/pts
mount -t tmpfs - /dev/shm
mount -t cgroup2 - /sys/fs/cgroup
mount -t bpf - /sys/fs/bpf
mount -t securityfs - /sys/kernel/security
mount --bind "$modules/$release" "/lib/modules/$release"
[[ -e /dev/fd ]] || ln -s /proc/self/fd /dev/fd
ip link set lo up
echo vm > /proc/sys/kernel/hostname
[[ $init ]] || exec /bin/bash /run/vm/command
# systemd, its journal, and the command: this machine's own services are not the guest's, and nothing here waits for
# hardware.
rm -f /.dockerenv /run/.containerenv
mkdir -p /run/systemd/system
for unit in {/lib,/etc}/systemd/system/{sysinit,sockets,basic}.target.wants/*; do
	[[ $unit == */systemd-journald[.-]* ]] || ln -sf /dev/null "/run/systemd/system/${unit##*/}"
done
ln -s /dev/null /run/systemd/system/timers.target
printf '%s\n' '[Unit]' 'After=basic.target' '[Service]' Type=oneshot TimeoutSec=infinity \
	'ExecStart=/bin/bash /run/vm/command' > /run/systemd/system/vm.service
printf '%s\n' '[Unit]' 'Requires=basic.target vm.service' AllowIsolate=yes > /run/systemd/system/vm.target
exec /lib/systemd/systemd --unit=vm.target --show-status=no
GUEST
} > "$work/exchange/guest"
{
	printf 'cd %q\n' "$PWD"
	printf 'export PATH=%q HOME=%q VM_FILES=/run/vm/files LANG=C.UTF-8\n' "$PATH" "$HOME"
	printf '%q ' "$@"
	cat << 'GUEST'
< /dev/null > /run/vm/output 2>&1
echo $? > /run/vm/status.new
mv /run/vm/status.new /run/vm/status
sync
echo o > /proc/sysrq-trigger
sleep 60
GUEST
} > "$work/exchange/command"
: > "$work/exchange/output"

serve() { # TAG DIR CACHE
	local i
	"$virtiofsd" -f --socket-path="$work/$1.sock" -o source="$2" -o "cache=$3" -o sandbox=chroot > "$work/$1.log" 2>&1 9>&- &
	daemon+=" $!"
	for ((i = 0; i < 200; i++)); do
		[[ -S $work/$1.sock ]] && return
		sleep 0.05
	done
	cat "$work/$1.log" >&2
	die "virtiofsd did not start"
}
serve host / always
serve exchange "$work/exchange" none

device() { # TAG
	printf '%s\n' -chardev "socket,id=$1,path=$work/$1.sock" -device "vhost-user-fs-pci,chardev=$1,tag=$1"
}
mapfile -t devices < <(device host; device exchange)
timeout -k 5 "$seconds" qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
	-machine q35,accel=tcg,memory-backend=ram -object "memory-backend-memfd,id=ram,size=${memory}M,share=on" \
	-m "$memory" -smp 2 -cpu "${VM_CPU:-qemu64}" -kernel "$kernel/vmlinuz" -initrd "$kernel/initrd" \
	-append "console=ttyS0 quiet panic=-1 mitigations=off nokaslr random.trust_cpu=on $arguments" \
	-serial "file:$work/console" "${devices[@]}" < /dev/null > "$work/qemu.log" 2>&1 9>&- &
guest=$!
tail -q -f -n +1 --pid="$guest" -s 0.2 "$work/exchange/output" 2> /dev/null &
follow=$!
ended=0
wait "$guest" || ended=$?
guest=''
wait "$follow" || true
if [[ -n $files && -n $(ls -A "$work/exchange/files") ]]; then
	cp -r "$work/exchange/files/." "$files/"
fi
if [[ -e $work/exchange/status ]]; then
	exit "$(< "$work/exchange/status")"
fi
if ((ended == 124)); then
	echo "vm.sh: Linux $release: ended after $seconds seconds" >&2
	exit 124
fi
tail -30 "$work/console" "$work/qemu.log" >&2 || true
die "Linux $release ended before the command did"
