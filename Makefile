# Beck: build, test and install. `make help` lists the targets.
BUILD   ?= build
CC      ?= cc
CFLAGS  ?= -O2 -g
PREFIX  ?= /usr/local
PYTHON  ?= /usr/bin/python3
VERSION := 0.1.0
SO      := libbeck.so.1

WARN       := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes
ALL_CFLAGS  = -std=gnu11 $(CFLAGS) $(WARN) $(SANITIZE) -I. -D_GNU_SOURCE -pthread -fno-omit-frame-pointer
LINK        = $(CC) $(CFLAGS) $(SANITIZE) $(LDFLAGS) -pthread -Wl,--as-needed
LIBS       := -levent_core -lzstd -llz4 -lxxhash
TEST_LIBS  := $(LIBS) -lcmocka -ljansson

CORE_SRC    := $(wildcard log/*.c groups/*.c) $(filter-out broker/main.c,$(wildcard broker/*.c broker/*/*.c))
CLIENT_SRC  := $(wildcard client/*.c)
CLI_SRC     := $(wildcard cli/*.c)
TESTLIB_SRC := $(wildcard tests/lib/*.c)
obj          = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
programs     = $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/$(1)_*.c))
TESTS       := $(call programs,test)
BENCHES     := $(call programs,bench)
PRELOADS    := $(addsuffix .so,$(call programs,preload))
FUZZERS     := $(call programs,fuzz)
CORPORA     := $(patsubst tests/corpus/%,$(BUILD)/tests/corpus_%,$(wildcard tests/corpus/*))

# What tests read besides what is set on the command line (T, SEED, SCALE, FLIGHTS, ...): docs/hacking.md.
export BECKD := $(abspath $(BUILD)/beckd)
export BECK  := $(abspath $(BUILD)/beck)
export PYTHON BUILD

## all           build/beckd, build/beck, build/libbeck.a and libbeck.so
all: $(BUILD)/beckd $(BUILD)/beck $(BUILD)/libbeck.a $(BUILD)/libbeck.so

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(if $(filter client/%,$<),-fPIC -fvisibility=hidden) -MMD -MP -c -o $@ $<

$(BUILD)/libcore.a: $(call obj,$(CORE_SRC))
$(BUILD)/libbeck.a: $(call obj,$(CLIENT_SRC))
$(BUILD)/libtest.a: $(call obj,$(TESTLIB_SRC))
%.a:
	@rm -f $@
	ar rcs $@ $^
$(BUILD)/$(SO): client/libbeck.map $(call obj,$(CLIENT_SRC))
	$(LINK) -shared -Wl,-soname,$(SO) -Wl,--version-script,$< -o $@ $(filter %.o,$^)
$(BUILD)/libbeck.so: $(BUILD)/$(SO)
	ln -sf $(SO) $@
$(BUILD)/beckd: $(call obj,broker/main.c) $(BUILD)/libcore.a
	$(LINK) -o $@ $^ $(LIBS)
$(BUILD)/beck: $(call obj,$(CLI_SRC)) $(BUILD)/libbeck.a $(BUILD)/libcore.a
	$(LINK) -o $@ $^ $(LIBS)
$(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(BUILD)/libtest.a $(BUILD)/libcore.a $(BUILD)/libbeck.a
	@mkdir -p $(@D)
	$(LINK) $(if $(filter fuzz_%,$*),$(FUZZ_LINK)) -o $@ $^ $(TEST_LIBS)
# a fuzzer's function over the inputs that are kept
$(BUILD)/tests/corpus_%: $(BUILD)/obj/tests/corpus.o $(BUILD)/obj/tests/fuzz_%.o $(BUILD)/libtest.a \
    $(BUILD)/libcore.a $(BUILD)/libbeck.a
	@mkdir -p $(@D)
	$(LINK) -o $@ $^ $(TEST_LIBS)
# log/ and its host once more, with the bugs of log/bug.h, for the test that plants them
$(BUILD)/obj/bugs/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -DBECK_PLANTED_BUGS -MMD -MP -c -o $@ $<
$(BUILD)/tests/test_planted_bugs: $(patsubst %.c,$(BUILD)/obj/bugs/%.o,tests/test_planted_bugs.c tests/lib/host.c $(wildcard log/*.c)) \
    $(BUILD)/libtest.a
	@mkdir -p $(@D)
	$(LINK) -o $@ $^ $(TEST_LIBS)
$(BUILD)/tests/%.so: tests/%.c
	@mkdir -p $(@D)
	$(CC) $(filter-out $(SANITIZE),$(ALL_CFLAGS)) -shared -fPIC -o $@ $<

## deps          install what the build misses (Debian, Ubuntu); says what
## test-deps     what the tests need besides
## bench-deps    the servers to compare with
deps test-deps bench-deps:
	@tests/lib/deps.sh $(patsubst %deps,%,$@)

## demo          a broker in a temporary directory, 20,000 flights in and out again
demo: deps
	@tests/lib/deps.sh demo-
	@$(MAKE) --no-print-directory -q all || echo building
	@$(MAKE) --no-print-directory -s all
	@tests/demo.sh

## test          everything; T=wal runs one suite, SEED=7 replays a random one
test: deps test-deps
	@$(MAKE) --no-print-directory -s all
	@$(MAKE) --no-print-directory -s test-run
test-run: all $(TESTS) $(CORPORA) $(PRELOADS)
	@$(PYTHON) tests/lib/run.py $(RUN)

## asan, tsan    the tests under the address and undefined-behaviour, or the thread checker
ASAN := BUILD=build/asan CFLAGS='-O1 -g' SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=all'
TSAN := BUILD=build/tsan CFLAGS='-O1 -g' SANITIZE='-fsanitize=thread'
asan: deps test-deps
	@$(MAKE) --no-print-directory -s test-run $(ASAN)
tsan: deps test-deps
	@$(MAKE) --no-print-directory -s test-run $(TSAN) RUN='--threads $(TSAN_WRAP)'

## test-clients  npm's ioredis and redis, and what is built on them, against beckd
test-clients: deps test-deps
	@tests/lib/deps.sh npm-
	@$(MAKE) --no-print-directory -s all
	@tests/clients/run.sh

## crash         the long ones: 50 kill -9 in each class, full crash suites, long models
crash: deps test-deps
	@$(MAKE) --no-print-directory -s test-run RUN=--crash CRASH=full SCALE=$(or $(SCALE),10) KILL9_ROUNDS=$(or $(KILL9_ROUNDS),50)

## fuzz          TIME=60 seconds for each fuzzer; F=resp picks one
TIME ?= 60
fuzz: deps
	@tests/lib/deps.sh fuzz-
	@$(MAKE) --no-print-directory -s fuzz-run BUILD=build/fuzz CC=clang CFLAGS='-O1 -g' \
	    SANITIZE='-fsanitize=fuzzer-no-link,address,undefined' FUZZ_LINK=-fsanitize=fuzzer
fuzz-run: $(if $(F),$(BUILD)/tests/fuzz_$(F),$(FUZZERS))
	@for f in $(^F); do mkdir -p $(BUILD)/corpus/$$f; echo "$$f: $(TIME) s"; \
	    $(BUILD)/tests/$$f -max_total_time=$(TIME) -print_final_stats=1 $(BUILD)/corpus/$$f \
	    $$(ls -d tests/corpus/$${f#fuzz_} 2>/dev/null) || exit 1; done

## bench         every benchmark; bench-append is XADD and XRANGE beside Redis (BENCH_ARGS=--help),
##               bench-log what is larger than memory: size, memory, restart, replay, latency
##               bench-groups consumer groups beside Redis
##               bench-cache keys with TTLs beside Redis and memcached
bench: bench-append bench-log bench-groups bench-cache
	@for b in $(filter-out %/bench_append %/bench_store %/bench_groups %/bench_cache,$(BENCHES)); do echo "$${b##*/}:"; $$b || exit 1; done
bench-programs: all $(BENCHES) $(PRELOADS)
bench-append: deps bench-deps
	@$(MAKE) --no-print-directory -s bench-programs
	@$(BUILD)/tests/bench_append $(BENCH_ARGS)
bench-log: deps bench-deps
	@$(MAKE) --no-print-directory -s bench-programs
	@$(BUILD)/tests/bench_store $(BENCH_ARGS)
bench-cache: deps bench-deps
	@$(MAKE) --no-print-directory -s bench-programs
	@$(BUILD)/tests/bench_cache $(BENCH_ARGS)
bench-groups: deps bench-deps
	@$(MAKE) --no-print-directory -s bench-programs
	@$(BUILD)/tests/bench_groups $(BENCH_ARGS)

## fmt, lint     format in place; formatting, analysis, banned calls, headers, documents
fmt:
	clang-format -i $$(find $(wildcard broker log groups client cli tests) -name '*.[ch]')
lint:
	@tests/lib/deps.sh lint-
	@$(MAKE) --no-print-directory -s all
	@tests/lib/lint.sh

## install       programs, library, beck.h, beck.pc and man pages under PREFIX, in DESTDIR
install: all
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin lib/pkgconfig include share/man)
	install -m 755 $(BUILD)/beckd $(BUILD)/beck $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(BUILD)/libbeck.a $(BUILD)/$(SO) $(DESTDIR)$(PREFIX)/lib
	ln -sf $(SO) $(DESTDIR)$(PREFIX)/lib/libbeck.so
	install -m 644 client/beck.h $(DESTDIR)$(PREFIX)/include
	for f in $(wildcard docs/man/*.[1-9]); do \
	    install -D -m 644 $$f $(DESTDIR)$(PREFIX)/share/man/man$${f##*.}/$${f##*/} || exit 1; done
	printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$${prefix}/lib' 'includedir=$${prefix}/include' '' 'Name: beck' \
	    'Description: client library of the Beck event streaming server' 'Version: $(VERSION)' \
	    'Libs: -L$${libdir} -lbeck' 'Libs.private: -pthread' 'Cflags: -I$${includedir}' \
	    >$(DESTDIR)$(PREFIX)/lib/pkgconfig/beck.pc

## clean         remove build/
clean:
	rm -rf build

## help          this list
help:
	@sed -n 's/^## //p' Makefile

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
.PHONY: all deps test-deps bench-deps demo test test-run asan tsan test-clients crash fuzz fuzz-run bench \
	bench-append bench-log bench-groups bench-cache bench-programs fmt lint install clean help
.SECONDARY:
.DELETE_ON_ERROR:
