#include "threads.h"

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#if !defined(_WIN32)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace atrous {
namespace {

// A worker looks for its next call this many times before it sleeps: the layers of a network follow one
// another within microseconds, and waking a thread takes tens of them.
constexpr int kLooks = 2000;
constexpr size_t kHuge = size_t(2) << 20;  // bytes of a large page

inline void breathe() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

struct Job {
    void (*body)(void *, int64_t, int64_t) = nullptr;
    void *context = nullptr;
    int64_t items = 0;
    int64_t chunk = 1;   // items of a piece, at most
    int64_t shares = 1;  // in which what is left is cut
    std::atomic<int64_t> next{0};
    std::atomic<int> wanted{0};   // workers that may still join
    std::atomic<int> working{0};  // workers that have not finished

    // Pieces of a quarter of a fair share, and towards the end of half of what is left of one: whoever is held up leaves
    // the rest to others, and all come to an end together.
    void prepare(int64_t all, int threads, void (*what)(void *, int64_t, int64_t), void *with) {
        body = what;
        context = with;
        items = all;
        shares = static_cast<int64_t>(threads) * 2;
        chunk = items / (2 * shares);
        next.store(0, std::memory_order_relaxed);
    }

    int64_t piece(int64_t begin) const {
        const int64_t rest = (items - begin) / shares, most = rest < chunk ? rest : chunk;
        return most > 1 ? most : 1;
    }

    void run() {
        int64_t begin = next.load(std::memory_order_relaxed);
        while (begin < items) {
            const int64_t count = piece(begin);
            if (!next.compare_exchange_weak(begin, begin + count, std::memory_order_relaxed)) continue;
            body(context, begin, begin + count);
            begin = next.load(std::memory_order_relaxed);
        }
    }
};

class Pool {
  public:
    // Never destroyed: at exit, other threads may still be inside.
    static Pool &instance() {
        static std::mutex guard;
        static Pool *pool = nullptr;
        std::lock_guard<std::mutex> lock(guard);
#if !defined(_WIN32)
        // A child of fork() has this memory and none of the threads.
        if (pool != nullptr && pool->process_ != getpid()) pool = nullptr;
#endif
        if (pool == nullptr) pool = new Pool();
        return *pool;
    }

    void run(int64_t items, int threads, void (*body)(void *, int64_t, int64_t), void *context) {
        std::unique_lock<std::mutex> one(busy_, std::try_to_lock);
        if (!one.owns_lock()) {  // another Python thread is inside: both make progress
            body(context, 0, items);
            return;
        }
        const int helpers = grow(threads - 1);
        job_.prepare(items, helpers + 1, body, context);
        job_.working.store(helpers, std::memory_order_relaxed);
        // Released: a worker late from the call before may join here without having seen the turn.
        job_.wanted.store(helpers, std::memory_order_release);
        {
            std::lock_guard<std::mutex> lock(sleep_);
            turn_.fetch_add(1, std::memory_order_release);
        }
        if (sleepers_.load(std::memory_order_acquire) > 0) wake_.notify_all();
        job_.run();
        // Workers that have not begun need not: their share is done.
        const int late = job_.wanted.exchange(0, std::memory_order_acq_rel);
        if (late > 0) job_.working.fetch_sub(late, std::memory_order_acq_rel);
        for (int look = 0; job_.working.load(std::memory_order_acquire) > 0; ++look) {
            if (look < kLooks) {
                breathe();
            } else {
                std::this_thread::yield();
            }
        }
    }

  private:
#if defined(_WIN32)
    Pool() = default;
#else
    Pool() : process_(getpid()) {}
    pid_t process_;
#endif

    int grow(int wanted) {
        while (static_cast<int>(workers_) < wanted) {
            try {
                std::thread([this] { work(); }).detach();
            } catch (...) {
                break;  // the system gives no more threads: those there are share the work
            }
            ++workers_;
        }
        return workers_ < wanted ? workers_ : wanted;
    }

    void work() {
        uint64_t seen = 0;
        for (;;) {
            int look = 0;
            while (turn_.load(std::memory_order_acquire) == seen) {
                if (++look < kLooks) {
                    breathe();
                    continue;
                }
                std::unique_lock<std::mutex> lock(sleep_);
                sleepers_.fetch_add(1, std::memory_order_acq_rel);
                wake_.wait(lock, [&] { return turn_.load(std::memory_order_acquire) != seen; });
                sleepers_.fetch_sub(1, std::memory_order_acq_rel);
            }
            seen = turn_.load(std::memory_order_acquire);
            int places = job_.wanted.load(std::memory_order_acquire);
            while (places > 0 &&
                   !job_.wanted.compare_exchange_weak(places, places - 1, std::memory_order_acq_rel)) {
            }
            if (places <= 0) continue;
            job_.run();
            job_.working.fetch_sub(1, std::memory_order_acq_rel);
        }
    }

    std::mutex busy_, sleep_;
    std::condition_variable wake_;
    std::atomic<uint64_t> turn_{0};
    std::atomic<int> sleepers_{0};
    int workers_ = 0;
    Job job_;
};

struct Slot {
    void *memory = nullptr;
    size_t bytes = 0;
    ~Slot() { std::free(memory); }
};

thread_local Slot slots[5];

// The team of an OpenMP runtime that the process has already, and the process it belongs to.
typedef void (*Team)(void (*body)(void *), void *data, unsigned threads, unsigned flags);
std::atomic<Team> team{nullptr};
#if !defined(_WIN32)
std::atomic<pid_t> team_process{0};
#endif

bool has_team() {
    if (team.load(std::memory_order_acquire) == nullptr) return false;
#if defined(_WIN32)
    return true;
#else
    // After fork() an OpenMP runtime waits for threads that are not there.
    return team_process.load(std::memory_order_relaxed) == getpid();
#endif
}

}  // namespace

void use_team(void *parallel_function) {
#if !defined(_WIN32)
    team_process.store(getpid(), std::memory_order_relaxed);
#endif
    team.store(reinterpret_cast<Team>(parallel_function), std::memory_order_release);
}

void parallel(int64_t items, int32_t threads, void (*body)(void *, int64_t, int64_t), void *context) {
    if (items <= 0) return;
    if (threads <= 1 || items == 1) {
        body(context, 0, items);
        return;
    }
    const int most = static_cast<int>(items < threads ? items : threads);
    if (has_team()) {
        Job job;
        job.prepare(items, most, body, context);
        // Always all of the team: one that changes its size starts new threads.
        team.load(std::memory_order_acquire)([](void *one) { static_cast<Job *>(one)->run(); }, &job,
                                             static_cast<unsigned>(threads), 0);
        return;
    }
    Pool::instance().run(items, most, body, context);
}

void *scratch(int slot, size_t bytes) {
    Slot &own = slots[slot];
    if (own.bytes < bytes) {
        std::free(own.memory);
        own.bytes = (bytes + 4095) / 4096 * 4096;
#if defined(_WIN32)
        own.memory = std::malloc(own.bytes);
#else
        const bool large = own.bytes >= kHuge;
        if (large) own.bytes = (own.bytes + kHuge - 1) / kHuge * kHuge;
        if (posix_memalign(&own.memory, large ? kHuge : 64, own.bytes) != 0) own.memory = nullptr;
#if defined(MADV_HUGEPAGE)
        // Dozens of planes are walked at once: in pages of 4 KiB their addresses would not all be remembered.
        if (large && own.memory != nullptr) madvise(own.memory, own.bytes, MADV_HUGEPAGE);
#endif
#endif
        if (own.memory == nullptr) own.bytes = 0;
    }
    return own.memory;
}

}  // namespace atrous
