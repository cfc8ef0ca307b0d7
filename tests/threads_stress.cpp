// Many short calls on changing numbers of threads: each item runs once, with what its own call was given.
// `.ci/sanitize` builds it with ThreadSanitizer, which sees what the order of stores on x86-64 hides.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "threads.h"

namespace {

constexpr int64_t kMostItems = 6;

struct Call {
    int64_t number;
    int64_t sums[kMostItems];
};

void add_number(void *context, int64_t begin, int64_t end) {
    Call *call = static_cast<Call *>(context);
    for (int64_t at = begin; at < end; ++at) call->sums[at] += call->number;
}

}  // namespace

int main(int count, char **words) {
    const int64_t calls = count > 1 ? std::atoll(words[1]) : 100000;
    for (int64_t number = 1; number <= calls; ++number) {
        Call call{number, {}};
        const int64_t items = 2 + number % (kMostItems - 1);
        atrous::parallel(items, 2 + number % 3, add_number, &call);
        for (int64_t at = 0; at < kMostItems; ++at) {
            if (call.sums[at] != (at < items ? number : 0)) {
                std::printf("call %lld: item %lld was not done once\n", (long long)number, (long long)at);
                return 1;
            }
        }
    }
    std::printf("%lld calls did each item once\n", (long long)calls);
    return 0;
}
