/* memory.h - how much memory there is for this process: what the machine has, or its control group allows. */
#ifndef BROKER_CACHE_MEMORY_H
#define BROKER_CACHE_MEMORY_H
#include <stdint.h>

/* The limit of the process's control group and of those around it (version 2 or 1, as /proc and /sys under `root` say, "" for the
 * machine's own), but not more than `physical`. What cannot be read limits nothing. Blocks for a few small files. */
uint64_t memory_limit(const char *root, uint64_t physical);

/* The same of this machine: memory_limit of what is built into it. */
uint64_t memory_available(void);

#endif
