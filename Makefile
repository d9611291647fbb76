# Beck: build, test and install. `make help` lists the targets.
CC      ?= cc
BUILD   ?= build
CFLAGS  ?= -O2 -g
WARN    := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes
ALL_CFLAGS = -std=gnu11 $(CFLAGS) $(WARN) $(SANITIZE) -I. -D_GNU_SOURCE -pthread -fno-omit-frame-pointer -MMD -MP
LIBS    := -levent_core -levent_pthreads -lzstd -llz4 -lxxhash -pthread
CORE_SRC   := $(wildcard log/*.c groups/*.c)
BROKER_SRC := $(filter-out broker/main.c,$(wildcard broker/*.c broker/*/*.c))
CLIENT_SRC := $(wildcard client/*.c)
CLI_SRC    := $(wildcard cli/*.c)
TESTLIB_SRC := $(wildcard tests/lib/*.c)
TESTS   := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/test_*.c))
obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

all: $(BUILD)/beckd $(BUILD)/beck $(BUILD)/libbeck.a

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/libcore.a: $(call obj,$(CORE_SRC) $(BROKER_SRC))
	@rm -f $@
	ar rcs $@ $^
$(BUILD)/libbeck.a: $(call obj,$(CLIENT_SRC))
	@rm -f $@
	ar rcs $@ $^
$(BUILD)/beckd: $(call obj,broker/main.c) $(BUILD)/libcore.a
	$(CC) $(ALL_CFLAGS) -o $@ $^ $(LIBS)
$(BUILD)/beck: $(call obj,$(CLI_SRC)) $(BUILD)/libbeck.a
	$(CC) $(ALL_CFLAGS) -o $@ $^ -ljansson
$(BUILD)/tests/%: tests/%.c $(call obj,$(TESTLIB_SRC)) $(BUILD)/libcore.a $(BUILD)/libbeck.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -o $@ $(filter %.c %.o,$^) $(BUILD)/libcore.a $(BUILD)/libbeck.a $(LIBS) -lcmocka -ljansson

test: $(TESTS)
	@for t in $(TESTS); do $$t || exit 1; done

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.PHONY: all test
.SECONDARY:
