// What the steps of streams share: the program that runs, and how work is shared out.
#ifndef ATROUS_STREAM_RUN_H
#define ATROUS_STREAM_RUN_H

#include "abi.h"
#include "threads.h"
#include "vector.h"

namespace {

constexpr int64_t kAloneTerms = int64_t(3) << 17;  // products that are not worth a second thread
constexpr int64_t kAloneFloats = int64_t(1) << 14;

struct StreamRun {
    const atrous_stream_program *program;
    int32_t threads;
};

// Calls body(begin, end) on pieces of [0, items): on several threads where `work` is worth it.
template <class F> void in_pieces(const StreamRun &run, int64_t items, bool is_large, F body) {
    if (!is_large || run.threads <= 1) return body(0, items);
    atrous::parallel(items, run.threads,
                     [](void *context, int64_t begin, int64_t end) { (*static_cast<F *>(context))(begin, end); }, &body);
}

}  // namespace
#endif
