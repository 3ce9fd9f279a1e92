// Counts the allocations of the calling thread, for tests that a loop allocates nothing.
#pragma once

#include <stdint.h>

// How often this thread has called malloc, calloc, realloc or an aligned variant so far; -1 under a sanitizer, which
// brings its own allocator.
int64_t allocation_count(void);
