// Workers that live as long as the process, and memory that each of them keeps between calls.
#ifndef ATROUS_THREADS_H
#define ATROUS_THREADS_H

#include <stddef.h>
#include <stdint.h>

namespace atrous {

// Calls body(context, begin, end) until all of [0, items) is covered, on at most `threads` threads,
// the caller among them. Which thread gets which items is left open, so a body must not depend on it.
void parallel(int64_t items, int32_t threads, void (*body)(void *context, int64_t begin, int64_t end),
              void *context);

// From here on `parallel` borrows the threads of an OpenMP runtime, whose `GOMP_parallel` this is; null goes
// back to its own. Where a framework computes with the same threads, two pools would fight for the cores.
void use_team(void *parallel_function);

// At least `bytes` of this thread's own memory, aligned to 64 bytes and valid until this thread's next
// call with the same slot (0 to 4); null when there is no memory left.
void *scratch(int slot, size_t bytes);

}  // namespace atrous
#endif
