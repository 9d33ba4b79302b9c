# otp.h needs no build: this file runs its examples, its tests and its measurements. GNU make.
#
#   CC=clang make test      CFLAGS='-O3 -march=native' make examples      make run PORT=7000
#   make bench WORKLOAD=ring                                                make install PREFIX=$HOME/.local

CC ?= cc
CFLAGS ?= -O2 -g
PORT = 6380
WORKLOAD =
SECONDS = 10
WHAT =
PREFIX = /usr/local
TARGET =
DESTDIR =

# What the scripts read. CFLAGS reaches them only when it was named: each has flags of its own.
export CC WORKLOAD
ifneq ($(origin CFLAGS),file)
export CFLAGS
endif
MAKEFLAGS += --no-print-directory

HEADERS = $(wildcard otp*.h)
VERSION = $(shell sed -n 's/^\#define OTP_VERSION "\(.*\)"/\1/p' otp.h)
EXAMPLES = $(patsubst examples/%.c,build/examples/%,$(wildcard examples/*.c))

.PHONY: help all tools run test check check-long tests headers models portable asan tsan ubsan valgrind stress hardening \
	conformance conformity rules bench examples docs snippets check-docs check-format format install uninstall deps clean

help: ## this list
	@echo 'make TARGET [CC=…] [CFLAGS=…] [PORT=…] [WORKLOAD=…] [PREFIX=…]'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' Makefile

all: $(EXAMPLES) ## build every example into build/examples/

build/examples/%: examples/%.c $(HEADERS) $(wildcard examples/*.h examples/*/*.h)
	@mkdir -p build/examples
	$(CC) $(CFLAGS) -pthread -I. -o $@ $<

tools: build/otp-top build/trace_svg ## build build/otp-top (the live table) and build/trace_svg (pictures of timelines)

build/otp-top build/trace_svg: build/%: tools/%.c tools/json.h
	@mkdir -p build
	$(CC) -O2 -o $@ $< -lm

run: build/kv_server ## build the key-value server with -O2 and start it in the foreground on PORT (6380)
	@exec ./build/kv_server --port $(PORT)

build/kv_server: examples/kv_server.c $(HEADERS) $(wildcard examples/*/*.h)
	@mkdir -p build
	$(CC) -O2 -g -pthread -I. -Wl,-z,now -o $@ $<

test: ## the quick tier: tests, examples, header compile tests, documentation; about three minutes
	@sh tools/tier.sh quick

check: ## the wide tier: gcc and clang, all flags, sanitizers, valgrind, 1,000 seeds, other machines; about 35 minutes
	@sh tools/tier.sh wide

check-long: ## what takes longer: all tests in all sanitizers, refused allocations, other machines, preemption, valgrind
	@sh tools/tier.sh long

tests: ## the test programs only; ONLY=name runs one test, MODES='2 1..50' chooses schedulers and seeds
	@sh tests/run.sh

headers: ## the header compile tests: C11 and C++17, two translation units, no leaked macro
	@sh tests/headers.sh

portable: ## other machines (qemu), C libraries, compilers, systems; TARGET='aarch64 musl' chooses, about half an hour
	@sh tests/portable.sh $(TARGET)

asan: ## the test programs under AddressSanitizer and UndefinedBehaviorSanitizer
	@sh tests/sanitize.sh asan

tsan: ## the test programs under ThreadSanitizer
	@sh tests/sanitize.sh tsan

ubsan: ## the test programs under UndefinedBehaviorSanitizer alone
	@sh tests/sanitize.sh ubsan

valgrind: ## some examples and tests under Valgrind's memcheck
	@sh tests/sanitize.sh valgrind

models: ## the interleavings of the lock-free parts, all of them on small instances: tests/models/README.md
	@sh tests/models/run.sh

conformance: ## random programs on Erlang and on otp.h, compared; SEED=7 N=1000 FROM=1 chooses them
	@SEED='$(SEED)' N='$(N)' FROM='$(FROM)' sh tests/conformance/run.sh

stress: ## load, refused allocations, a day of virtual time; SECONDS=60 for each build of the web (10), WHAT='web day alloc'
	@SECONDS_EACH=$(SECONDS) sh tests/stress.sh $(WHAT)

hardening: ## the tests of switching and faults in a hardened build, and readelf on it
	@sh tests/hardening.sh

conformity: ## the table of Erlang's rules in docs/differences.md against the tests
	@sh tools/rules.sh

rules: ## write the test names into the table of docs/differences.md
	@sh tools/rules.sh --update

bench: ## measure, beside Erlang and Go where installed; WORKLOAD=ring measures one
	@sh bench/run.sh $(WORKLOAD)

examples: ## build and run the examples and compare their output
	@sh tools/run_example.sh

docs: ## write the reference manual from the headers to build/docs/
	@sh tools/reference.sh

snippets: ## compile and run the snippets of README.md, docs/ and the headers
	@sh tools/snippets.sh

check-docs: ## docstrings of the headers: each says what it returns and who may call it
	@sh tools/check_docs.sh

check-format: ## columns, tabs, and clang-format
	@sh tools/check_format.sh

install: ## copy the headers and otp.pc to PREFIX (/usr/local)
	@mkdir -p '$(DESTDIR)$(PREFIX)/include' '$(DESTDIR)$(PREFIX)/lib/pkgconfig'
	cp $(HEADERS) '$(DESTDIR)$(PREFIX)/include/'
	@printf '%s\n' 'prefix=$(PREFIX)' 'includedir=$${prefix}/include' '' 'Name: otp' \
		"Description: Erlang/OTP's processes for C programs" 'Version: $(VERSION)' \
		'Cflags: -I$${includedir} -pthread' 'Libs: -pthread' > '$(DESTDIR)$(PREFIX)/lib/pkgconfig/otp.pc'
	@echo 'installed to $(DESTDIR)$(PREFIX); use: cc program.c $$(pkg-config --cflags --libs otp)'

uninstall: ## take them away again
	cd '$(DESTDIR)$(PREFIX)' && rm -f $(HEADERS:%=include/%) lib/pkgconfig/otp.pc

deps: ## install by apt-get what check and bench need, or say what that is
	@sh tools/deps.sh

clean: ## remove what was built
	rm -rf build
