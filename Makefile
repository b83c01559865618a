# agentsecrets. One file, no recursion, no configure; everything lands in build/$(MODE): MODE=release (default),
# asan or fuzz. V=1 shows the commands. `make help` lists the targets.

MODE    ?= release
PREFIX  ?= /usr/local
VERSION := 0.1.0
B       := build/$(MODE)
CC      ?= gcc
CLANG   ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
STRIP   := $(firstword $(wildcard /usr/bin/llvm-strip /usr/bin/llvm-strip-14) llvm-strip)
PY      := /usr/bin/python3
Q       := $(if $(V),,@)
ARCH    := $(shell uname -m | sed 's/x86_64/x86/;s/aarch64/arm64/')
comma   := ,

ifeq ($(MODE),fuzz)
CC      := $(CLANG)
endif

WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wundef -Wformat=2 \
	   -Wimplicit-fallthrough -Wno-missing-field-initializers -Wvla -Werror
CPPF    := -D_GNU_SOURCE -DAGENTSECRETS_VERSION='"$(VERSION)"' -I$(B)
HARD    := -fstack-protector-strong -fPIE -fno-strict-aliasing
SAN     := -fsanitize=address$(comma)undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
OPT_release := -O2 -g -D_FORTIFY_SOURCE=2 -ftrivial-auto-var-init=zero
OPT_asan := -O1 -g $(SAN)
OPT_fuzz := -O1 -g $(SAN) -fsanitize=fuzzer-no-link
CFLAGS_ALL = -std=gnu11 $(WARN) $(HARD) $(OPT_$(MODE)) $(CPPF) $(CFLAGS)
LDFLAGS_ALL := -pie -Wl,-z,relro,-z,now $(if $(filter-out release,$(MODE)),$(SAN)) $(LDFLAGS)
LIBS_DAEMON := -lbpf -lelf -lz -lsodium -ljansson -lssl -lcrypto -lcares -lseccomp -lbrotlidec -lzstd -lnghttp2
LIBS_CLI := -ljansson -lsodium -lseccomp

# A folder of daemon/ for each process, and one for what several of them or the CLI use. What is compiled for a process sees the headers of
# its own folder and of shared/, and no others: the proxy could not ask the vault for a thing if it wanted to.
PROCESSES := parent keeper resolver proxy
DAEMON_OBJS := $(patsubst %.c,$(B)/%.o,$(wildcard daemon/*/*.c))
CLI_USES := http1 http1_chunked http1_meaning http1_url hello kind template err log fdio rules rulesform rulesedit rulesdoc reason audit_verify origin sign
CLI_OBJS := $(patsubst %.c,$(B)/%.o,$(wildcard cli/*.c)) $(patsubst %,$(B)/daemon/shared/%.o,$(CLI_USES))
UNITS    := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/test_*.c))
BPFTESTS := $(patsubst tests/bpf/%.c,$(B)/tests/bpf/%,$(wildcard tests/bpf/test_*.c))
ESCAPE   := $(B)/tests/escape/escape
BENCH    := $(B)/tests/bench/connect
FUZZERS  := $(patsubst tests/fuzz/%.c,build/fuzz/tests/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all help demo check unit bpf-check system escape kernels stress bench bench-connect fuzz install uninstall format tidy clean units bpftests fuzzers vmlinux

#: all         build build/agentsecrets and build/agentsecretsd (what is needed: tests/deps.sh build)
all: $(B)/agentsecretsd $(B)/agentsecrets $(B)/agentsecrets-secret-service \
	$(if $(filter release,$(MODE)),build/agentsecretsd build/agentsecrets build/agentsecrets-secret-service)

#: help        this list
help:
	@sed -n 's/^#: //p' Makefile

build/agentsecretsd build/agentsecrets build/agentsecrets-secret-service: build/%: $(B)/%
	$(Q)ln -sf $(MODE)/$* $@

$(B)/agentsecretsd: $(DAEMON_OBJS)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_DAEMON)

$(B)/agentsecrets: $(CLI_OBJS)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_CLI)

# The keyring's helper: of its own .c alone, so that neither GLib nor D-Bus comes near the daemon.
$(B)/agentsecrets-secret-service: $(B)/keyring/secret_service.o
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ -ljansson $(shell pkg-config --libs libsecret-1)

# What tests link from: every module but the two main.c.
$(B)/libdaemon.a: $(filter-out %/main.o,$(DAEMON_OBJS))
	$(Q)rm -f $@ && ar rcs $@ $^

$(B)/libcli.a: $(filter-out %/main.o,$(filter $(B)/cli/%,$(CLI_OBJS)))
	$(Q)rm -f $@ && ar rcs $@ $^

$(B)/cli/%.o: CPPF += -Icli -Idaemon/shared
$(B)/daemon/%.o: CPPF += -Idaemon/shared
$(foreach p,$(PROCESSES),$(eval $(B)/daemon/$p/%.o: CPPF += -Idaemon/$p))
$(B)/tests/%.o: CPPF += -Idaemon/shared $(addprefix -Idaemon/,$(PROCESSES)) -Icli -Ibpf -Wno-missing-prototypes
$(B)/keyring/%.o: CPPF += -Idaemon/shared $(subst -I,-isystem ,$(shell pkg-config --cflags libsecret-1))
$(B)/%.o: %.c
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

# ---- the kernel side ----

BPFCC = $(CLANG) -O2 -g -target bpf -mcpu=v3 -D__TARGET_ARCH_$(ARCH) -Wall -Werror -I. -Ibpf -c
SKELS := egress unixsock lsm
$(patsubst %,$(B)/daemon/parent/%.o,enforce enforce_open enforce_maps enforce_restore enforce_path enforce_trial levels) $(patsubst %,%.o,$(BPFTESTS)): $(patsubst %,$(B)/%.skel.h,$(SKELS))

$(B)/daemon/parent/adopt.o: $(B)/adopted.skel.h $(B)/fds.skel.h
$(B)/daemon/parent/adopt_look.o: $(B)/fds.skel.h
$(B)/adopted.bpf.o: bpf/egress.bpf.c

$(B)/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h) vmlinux.h
	$(Q)mkdir -p $(@D)
	$(Q)$(BPFCC) -o $@ $<
	$(Q)$(STRIP) -g $@

$(B)/%.skel.h: $(B)/%.bpf.o
	$(Q)$(BPFTOOL) gen skeleton $< name $* > $@

# Every object for one ARCH, compiled only: that the other architecture still builds.
bpf-objects: $(patsubst bpf/%.bpf.c,build/bpf-$(ARCH)/%.bpf.o,$(wildcard bpf/*.bpf.c))

build/bpf-$(ARCH)/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h) vmlinux.h
	$(Q)mkdir -p $(@D)
	$(Q)$(BPFCC) -o $@ $<

#: vmlinux     regenerate vmlinux.h, the kernel types that bpf/ uses, from the running kernel's BTF
vmlinux:
	$(Q)bpf/vmlinux.sh > build/vmlinux.h.new && mv build/vmlinux.h.new vmlinux.h

# ---- the two commands of the README ----

#: demo        install what is missing, build, and show the main job in a small internet of network namespaces (root)
demo:
	$(Q)tests/deps.sh demo
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tests/demo.sh

#: check       install what is missing, build, run all tests (root); last line: N passed, N failed, N skipped
check:
	$(Q)tests/deps.sh check
	$(Q)$(MAKE) --no-print-directory all units bpftests $(ESCAPE)
	$(Q)$(MAKE) --no-print-directory ARCH=arm64 bpf-objects
	$(Q)$(MAKE) --no-print-directory MODE=asan units
	$(Q)$(MAKE) --no-print-directory MODE=fuzz fuzzers
	$(Q)$(PY) tests/check.py unit bpf fuzz system kernels

#: unit        unit tests, under the sanitizers and as shipped
unit: units
	$(Q)$(MAKE) --no-print-directory MODE=asan units
	$(Q)$(PY) tests/check.py unit

#: bpf-check   the BPF programs in cgroups and namespaces of their own (root)
bpf-check: bpftests
	$(Q)$(PY) tests/check.py bpf

#: system      the real daemon and unmodified clients in a small internet (root); T=name: some of them
system: all $(ESCAPE)
	$(Q)$(PY) tests/check.py system $(T)

#: escape      every known way out of a guard, tried; the table, and in tests/escape/results.md (root)
escape:
	$(Q)tests/deps.sh escape
	$(Q)$(MAKE) --no-print-directory all $(ESCAPE)
	$(Q)$(PY) tests/escape/suite.py

#: kernels     escape and bpf-check under other kernels, in QEMU; K="6.1 6.1/nolsm 6.1/systemd 6.12 5.10" (default; root)
kernels:
	$(Q)tests/deps.sh kernels
	$(Q)$(MAKE) --no-print-directory all $(B)/tests/bpf/test_enforce $(ESCAPE)
	$(Q)tests/kernels/run.sh $(K)

#: stress      the full numbers: 300,000 connections, 10,000 program swaps, 200 restarts under load (root, ten minutes)
stress: all bpftests
	$(Q)STRESS=1 $(B)/tests/bpf/test_stress
	$(Q)STRESS=1 tests/system/run.sh -s test_wall_restarts.py test_load_many.py

#: bench       what it costs beside haproxy and nginx: lines of `name ratio target` (root; a quiet machine; a quarter of an hour); ROWS="…"
bench:
	$(Q)tests/deps.sh bench
	$(Q)$(MAKE) --no-print-directory all $(B)/tests/bench/floor $(BENCH)
	$(Q)$(PY) tests/bench/bench.py $(ROWS)
	$(Q)$(if $(ROWS),,$(BENCH))

#: bench-connect   connect() in a guard against connect() outside one
bench-connect: $(BENCH)
	$(Q)$(BENCH)

#: fuzz        every fuzzer over its corpus and on from there; SECONDS_EACH=600: as long as that, with new seeds
fuzz:
	$(Q)$(MAKE) --no-print-directory MODE=fuzz fuzzers
	$(Q)$(PY) tests/check.py fuzz

units: $(UNITS)
bpftests: $(BPFTESTS)
fuzzers: $(FUZZERS)

$(B)/tests/unit/%: $(B)/tests/unit/%.o $(B)/libdaemon.a $(B)/libcli.a
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $< -Wl,--start-group $(B)/libcli.a $(B)/libdaemon.a -Wl,--end-group -lcmocka -lbrotlienc $(LIBS_DAEMON)

$(B)/tests/bpf/%: $(B)/tests/bpf/%.o $(B)/libdaemon.a
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $< $(B)/libdaemon.a -lcmocka $(LIBS_DAEMON)

$(B)/tests/bench/%: $(B)/tests/bench/%.o $(B)/libdaemon.a
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $< $(B)/libdaemon.a $(LIBS_DAEMON)

$(ESCAPE): $(patsubst %.c,$(B)/%.o,$(wildcard tests/escape/*.c))
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^

build/fuzz/tests/fuzz/%: build/fuzz/tests/fuzz/%.o build/fuzz/libdaemon.a
	$(Q)$(CLANG) $(LDFLAGS_ALL) -fsanitize=fuzzer -o $@ $< build/fuzz/libdaemon.a $(LIBS_DAEMON)

# ---- the rest ----

#: install     into DESTDIR and PREFIX (default /usr/local), with the systemd unit and its users
install: all
	install -D -m 755 $(B)/agentsecrets $(DESTDIR)$(PREFIX)/bin/agentsecrets
	install -D -m 755 $(B)/agentsecrets-secret-service $(DESTDIR)$(PREFIX)/bin/agentsecrets-secret-service
	install -D -m 755 $(B)/agentsecretsd $(DESTDIR)$(PREFIX)/sbin/agentsecretsd
	install -D -m 644 deploy/sysusers.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/agentsecrets.conf
	install -D -m 644 deploy/agentsecrets.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/agentsecrets
	install -d -m 755 $(DESTDIR)$(PREFIX)/lib/systemd/system
	install -d -m 755 $(DESTDIR)$(PREFIX)/lib/systemd/user
	sed 's|@BINDIR@|$(PREFIX)/bin|' deploy/agentsecrets-secret-service@.service > $(DESTDIR)$(PREFIX)/lib/systemd/user/agentsecrets-secret-service@.service
	sed 's|@SBINDIR@|$(PREFIX)/sbin|' deploy/agentsecretsd.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/agentsecretsd.service

#: uninstall   what install put there
uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/agentsecrets $(DESTDIR)$(PREFIX)/bin/agentsecrets-secret-service $(DESTDIR)$(PREFIX)/sbin/agentsecretsd \
		$(DESTDIR)$(PREFIX)/lib/sysusers.d/agentsecrets.conf \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/agentsecrets \
		$(DESTDIR)$(PREFIX)/lib/systemd/system/agentsecretsd.service \
		$(DESTDIR)$(PREFIX)/lib/systemd/user/agentsecrets-secret-service@.service

SOURCES := $(wildcard bpf/*.[ch] daemon/*/*.[ch] cli/*.[ch] keyring/*.c tests/*/*.[ch])

#: format      clang-format over our sources
format:
	clang-format -i $(SOURCES)

#: tidy        clang-tidy over daemon/ and cli/
tidy: $(B)/egress.skel.h
	clang-tidy --quiet $(wildcard daemon/*/*.c cli/*.c) -- -std=gnu11 $(CPPF) -Idaemon/shared $(addprefix -Idaemon/,$(PROCESSES)) -Icli

#: clean       remove build/
clean:
	rm -rf build

-include $(wildcard $(B)/keyring/*.d $(B)/daemon/*/*.d $(B)/cli/*.d $(B)/tests/*/*.d)
