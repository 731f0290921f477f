// The thread pool: a short spin, then sleep; see pool.h.
#include "pool.h"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <system_error>
#include <thread>

#include <pthread.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace amgsrn {
namespace {

// About ten microseconds: as long as the gap between the two calls of a training step.
constexpr int kSpins = 300;

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// Denormal numbers are a hundred times slower and mean nothing here; the caller's mode comes back.
class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040u); }
  ~FlushDenormals() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#elif defined(__aarch64__)
  FlushDenormals() {
    __asm__ volatile("mrs %0, fpcr" : "=r"(before_));
    __asm__ volatile("msr fpcr, %0" : : "r"(before_ | (uint64_t{1} << 24)));
  }
  ~FlushDenormals() { __asm__ volatile("msr fpcr, %0" : : "r"(before_)); }

 private:
  uint64_t before_;
#endif
};

class Pool {
 public:
  // False when another call is using the pool.
  bool run(int parts, Work work, void* context) {
    std::unique_lock<std::mutex> only_call(call_, std::try_to_lock);
    if (!only_call) return false;
    grow(parts - 1);
    const int helpers = workers_ < parts - 1 ? workers_ : parts - 1;
    work_ = work;
    context_ = context;
    helpers_ = helpers;
    pending_.store(helpers, std::memory_order_relaxed);
    {
      std::lock_guard<std::mutex> lock(state_);
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    work(context, 0);
    for (int part = helpers + 1; part < parts; ++part) work(context, part);
    for (int spin = 0; spin < kSpins && pending_.load(std::memory_order_acquire); ++spin) relax();
    std::unique_lock<std::mutex> lock(state_);
    done_.wait(lock, [this] { return pending_.load(std::memory_order_acquire) == 0; });
    return true;
  }

 private:
  void grow(int wanted) {
    while (workers_ < wanted) {
      const uint64_t seen = generation_.load(std::memory_order_relaxed);
      try {
        std::thread([this, number = workers_ + 1, seen] { serve(number, seen); }).detach();
      } catch (const std::system_error&) {
        return;  // The caller does the parts that have no thread.
      }
      ++workers_;
    }
  }

  void serve(int number, uint64_t seen) {
    FlushDenormals flush;
    for (;;) {
      for (int spin = 0; spin < kSpins; ++spin) {
        if (generation_.load(std::memory_order_acquire) != seen) break;
        relax();
      }
      Work work;
      void* context;
      {
        std::unique_lock<std::mutex> lock(state_);
        wake_.wait(lock, [&] { return generation_.load(std::memory_order_acquire) != seen; });
        seen = generation_.load(std::memory_order_relaxed);
        if (number > helpers_) continue;
        work = work_;
        context = context_;
      }
      work(context, number);
      if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        std::lock_guard<std::mutex> lock(state_);
        done_.notify_one();
      }
    }
  }

  std::mutex call_, state_;
  std::condition_variable wake_, done_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> pending_{0};
  Work work_ = nullptr;
  void* context_ = nullptr;
  int helpers_ = 0;
  int workers_ = 0;
};

std::atomic<Pool*> shared_pool{nullptr};

// The threads do not exist in a forked child, and their locks may be held: it gets a new pool.
void forget_pool() { shared_pool.store(nullptr); }

// Never destroyed: its threads may outlive every destructor of the process.
Pool& pool() {
  static const int registered = pthread_atfork(nullptr, nullptr, forget_pool);
  (void)registered;
  Pool* current = shared_pool.load();
  if (!current) {
    Pool* fresh = new Pool;
    if (shared_pool.compare_exchange_strong(current, fresh)) return *fresh;
    delete fresh;
  }
  return *current;
}

}  // namespace

void run_parts(int parts, Work work, void* context) {
  FlushDenormals flush;
  if (parts > 1 && pool().run(parts, work, context)) return;
  for (int part = 0; part < parts; ++part) work(context, part);
}

}  // namespace amgsrn
