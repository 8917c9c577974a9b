# SPDX-License-Identifier: MIT
# The only makefile. Everything it makes goes under build/. `make help` lists what there is.

VERSION      ?= 0.1.0
PREFIX       ?= /usr/local
FUZZ_SECONDS ?= 20
FUZZ_CC      ?= clang
BPF_CC       ?= clang
BPFTOOL      ?= $(or $(shell command -v bpftool),/usr/sbin/bpftool)
CFLAGS       ?= -O2 -g

comma := ,
B     := build$(if $(SAN),/san-$(subst $(comma),-,$(SAN)))
Q     := $(if $(filter 1,$(V)),,@)
say    = $(if $(filter 1,$(V)),,@printf '  %-5s %s\n' $(1) $@)

# pkg-config may be missing on a new machine: the rule of $(B)/flags tells, not the reading of this.
# The XDP filter is left out, and says so, where one of the three that make it is missing.
xdp_lacks := $(strip $(shell command -v $(BPF_CC) >/dev/null || echo $(BPF_CC)) \
	     $(shell $(BPFTOOL) version >/dev/null 2>&1 || echo bpftool) \
	     $(shell pkg-config --exists 'libbpf >= 1.1' || echo libbpf))
libs      := 'liburing >= 2.3' jansson libxxhash $(if $(xdp_lacks),,libbpf)
libs_cc   := $(shell pkg-config --cflags $(libs) 2>/dev/null)
libs_ld   := $(shell pkg-config --libs $(libs) 2>/dev/null)
crit_cc   := $(shell pkg-config --cflags criterion 2>/dev/null)
crit_ld   := $(shell pkg-config --libs criterion 2>/dev/null)

warn      := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wpointer-arith \
	     $(if $(filter 1,$(WERROR)),-Werror)
fortify   := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong
san       := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
cpp_all   := -D_GNU_SOURCE -DSLUICE_VERSION=\"$(VERSION)\" -iquote . -iquote $(B) $(libs_cc) \
	     $(if $(xdp_lacks),-DSLUICE_XDP_LACKS='"$(xdp_lacks)"') $(CPPFLAGS)
bpf_cc    := -O2 -g -std=gnu11 -Wall -Wextra -Wno-unused-parameter -target bpf -mcpu=v3 -iquote . \
	     $(if $(filter 1,$(WERROR)),-Werror) -idirafter /usr/include/$(shell $(CC) -dumpmachine)
cc_all    := -std=gnu11 $(CFLAGS) $(warn) -pthread -fPIE $(if $(SAN),$(san),$(fortify))
ld_all    := -pthread -pie $(san) -Wl,-z,relro,-z,now -Wl,--as-needed $(LDFLAGS)
flags      = $(CC) $(cpp_all) $(cc_all) $(ld_all) $(BPF_CC) $(bpf_cc) $(BPFTOOL)
depgen     = -MMD -MP
parallel   = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))
submake    = $(MAKE) --no-print-directory $(parallel)

# main.c stays out of what the tests link against.
xdp_bpf   := $(patsubst %,xdp/%.c,attach host load load_fill open probe read replace session watch)
xdp_src   := $(filter-out %.bpf.c $(if $(xdp_lacks),$(xdp_bpf),xdp/absent.c),$(wildcard xdp/*.c))
lib_src   := $(filter-out core/main.c,$(wildcard core/*.c io_uring/*.c)) $(xdp_src)
floor_src := $(wildcard bench/floor_*.c)
client_src := $(wildcard bench/client/*.c bench/report/*.c)
flood_src := $(if $(xdp_lacks),,$(filter-out %.bpf.c,$(wildcard bench/flood*.c bench/xdp_*.c)))
unit_src  := $(wildcard tests/test_*.c)
cont_src  := $(wildcard tests/contract*.c)
fuzz_src  := $(wildcard tests/fuzz_*.c)
help_src  := $(filter-out $(unit_src) $(cont_src) $(fuzz_src),$(wildcard tests/*.c))

obj        = $(patsubst %.c,$(B)/obj/%.o,$(1))
fuzz_obj   = $(patsubst %.c,build/fuzz/obj/%.o,$(1))
main_bin  := $(if $(wildcard core/main.c),$(B)/sluice)
bench_bin := $(patsubst bench/%.c,$(B)/%,$(floor_src)) \
	     $(if $(flood_src),$(B)/flood) $(if $(client_src),$(B)/sluice-bench)
peer_bin  := $(if $(wildcard tests/system/*.c),$(B)/peer)
test_bin  := $(if $(unit_src),$(B)/unit) $(if $(cont_src),$(B)/contract) $(peer_bin)
fuzz_bin  := $(patsubst tests/%.c,build/fuzz/%,$(fuzz_src))

.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:
.PHONY: all run test check-units test-long fuzz bench bench-quick bench-xdp install uninstall \
	clean help layers deps test-deps bench-deps format-check need-criterion need-clang FORCE

all: $(main_bin) $(bench_bin) ## build the server and the benchmark programs (default)
	@$(if $(xdp_lacks),echo 'note: no XDP filter in this build; it lacks: $(xdp_lacks)')

run: ## install what is missing, build, and start an echo server on 127.0.0.1:7007
	@tools/deps build
	+@$(submake) all
	@printf 'To try it: nc 127.0.0.1 7007\n'
	@tools/run $(B)/sluice echo -l tcp:127.0.0.1:7007 -l udp:127.0.0.1:7007

test: ## install what the tests need, build, and run every test (STRICT=1: a skip is a failure)
	@tools/deps test
	+@$(submake) all $(test_bin)
	@BUILD=$(B) STRICT=$(STRICT) tests/run units layers system

check-units: $(test_bin) ## run the unit and contract suites only (with SAN=... under sanitizers)
	@BUILD=$(B) STRICT=$(STRICT) tests/run units

test-long: all $(peer_bin) ## run the tests that take longer than make test may
	@BUILD=$(B) STRICT=$(STRICT) tests/run long

fuzz: $(fuzz_bin) ## run each fuzzer for FUZZ_SECONDS (20)
	@FUZZ_SECONDS=$(FUZZ_SECONDS) tests/run fuzz

bench: all ## measure everything against everything that is installed, in under 10 minutes
	@BIN=$(B) bench/sweep

bench-xdp: all ## measure the XDP program, filter and fast path: as root, in 12 minutes
	@BIN=$(B) bench/xdp

bench-quick: all ## the same with a few cells, in a minute
	@BIN=$(B) bench/sweep --quick

install: $(B)/sluice $(B)/sluice-bench ## install below PREFIX (/usr/local), inside DESTDIR
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(B)/sluice $(DESTDIR)$(PREFIX)/bin/sluice
	install -m 755 $(B)/sluice-bench $(DESTDIR)$(PREFIX)/bin/sluice-bench

uninstall: ## remove what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/sluice $(DESTDIR)$(PREFIX)/bin/sluice-bench

clean: ## remove build/
	rm -rf build

layers: ## check the include order and the size limits of the code
	@tools/layers

deps: ## install what building needs
	@tools/deps build

test-deps: ## install what the tests need
	@tools/deps test

bench-deps: ## install what the benchmark measures against, and what draws its plots
	@tools/deps bench

format-check: ## compare the code with .clang-format
	clang-format --dry-run -Werror $(wildcard */*.c */*.h)

help: ## list the targets
	@printf 'make TARGET [SETTING=VALUE ...]\n\nTargets:\n'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1 \2/p' Makefile | \
		while read -r name text; do printf '  %-15s %s\n' "$$name" "$$text"; done
	@printf '\nSettings:\n'
	@printf '  %-15s %s\n' \
		'V=1' 'show the commands' \
		'WERROR=1' 'warnings are errors' \
		'SAN=LIST' 'sanitizers, with a folder of their own: address,undefined or thread' \
		'STRICT=1' 'a skipped test is a failed test' \
		'FUZZ_SECONDS=N' 'how long each fuzzer runs'

# Holds the compiler and its flags, and is rewritten when they change: all objects depend on it.
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@pkg-config --exists $(libs) || \
		{ echo "error: pkg-config or one of $(libs) missing: run 'make deps'" >&2; exit 1; }
	@printf '%s\n' '$(flags)' | cmp -s - $@ || printf '%s\n' '$(flags)' >$@

need-criterion:
	@pkg-config --exists criterion || \
		{ echo "error: Criterion is missing; run 'make test-deps'"; exit 1; } >&2

need-clang:
	@command -v $(FUZZ_CC) >/dev/null || \
		{ echo "error: $(FUZZ_CC) is missing; run 'make test-deps'"; exit 1; } >&2

# What runs in the kernel, and the header that embeds it.
$(B)/%.bpf.o: %.bpf.c $(B)/flags
	@mkdir -p $(@D)
	$(call say,BPF)
	$(Q)$(BPF_CC) $(bpf_cc) $(depgen) -MT $@ -MF $(@:.o=.d) -c -o $@ $<

$(B)/%.skel.h: $(B)/%.bpf.o
	$(call say,SKEL)
	$(Q)$(BPFTOOL) gen skeleton $< name $(*F)_bpf >$@

ifeq ($(xdp_lacks),)
$(call obj,xdp/load.c) build/fuzz/obj/xdp/load.o: $(B)/xdp/filter.skel.h
$(call obj,xdp/watch.c) build/fuzz/obj/xdp/watch.o: $(B)/xdp/watch.skel.h
$(call obj,$(flood_src)): $(B)/bench/flood.skel.h
endif

$(B)/obj/tests/%.o: tests/%.c $(B)/flags | need-criterion
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(cpp_all) $(crit_cc) $(cc_all) $(depgen) -c -o $@ $<

$(B)/obj/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(cpp_all) $(cc_all) $(depgen) -c -o $@ $<

$(B)/sluice: $(call obj,$(lib_src) core/main.c)
$(B)/flood: $(call obj,$(flood_src))
$(B)/sluice-bench: $(call obj,$(client_src))
$(B)/floor_%: $(B)/obj/bench/floor_%.o
	$(call say,LD)
	$(Q)$(CC) $(ld_all) -o $@ $^ $(libs_ld) -lm
$(B)/sluice $(B)/flood $(B)/sluice-bench:
	$(call say,LD)
	$(Q)$(CC) $(ld_all) -o $@ $^ $(libs_ld) -lm

$(B)/peer: $(call obj,$(wildcard tests/system/*.c))
	$(call say,LD)
	$(Q)$(CC) $(ld_all) -o $@ $^

$(B)/unit: $(call obj,$(unit_src) $(help_src) $(lib_src) \
	$(filter-out bench/client/main.c,$(client_src)))
$(B)/contract: $(call obj,$(cont_src) $(help_src) $(lib_src))
$(B)/unit $(B)/contract:
	$(call say,LD)
	$(Q)$(CC) $(ld_all) -o $@ $^ $(libs_ld) $(crit_ld) -lm

build/fuzz/obj/%.o: %.c $(B)/flags | need-clang
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(FUZZ_CC) $(cpp_all) -std=gnu11 -O1 -g $(warn) -pthread -fno-omit-frame-pointer \
		-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all \
		$(depgen) -c -o $@ $<

build/fuzz/fuzz_report: $(call fuzz_obj,$(wildcard bench/report/*.c))
build/fuzz/fuzz_%: build/fuzz/obj/tests/fuzz_%.o $(call fuzz_obj,$(lib_src))
	$(call say,LD)
	$(Q)$(FUZZ_CC) -pthread -fsanitize=fuzzer,address,undefined -o $@ $^ $(libs_ld) -lm

-include $(shell find build -name '*.d' 2>/dev/null)
