// Work on several threads, that is never slower than one thread alone where others keep the cores busy: whoever calls
// takes piece after piece itself, helpers take what they get to, and only pieces that were begun are waited for.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

class Helpers {
public:
    // Those of this process. After a fork the child has none, and begins with new ones.
    static Helpers& get() {
        static std::atomic<Helpers*> own = [] {
#if defined(__unix__) || defined(__APPLE__)
            pthread_atfork(nullptr, nullptr, [] { forked() = true; });
#endif
            return new Helpers;
        }();
        if (forked().exchange(false)) own = new Helpers;
        return *own;  // never deleted: its threads end with the process
    }

    // work(0) … work(n − 1), on so many threads at most. Rethrows what a piece has thrown.
    template <class Work>
    void run(long n, long threads, const Work& work) {
        std::unique_lock<std::mutex> alone(busy, std::try_to_lock);
        if (n <= 1 || threads <= 1 || !alone) {  // another thread that computes has the helpers
            for (long k = 0; k < n; ++k) work(k);
            return;
        }
        Job job{[](const void* work, long k) { (*static_cast<const Work*>(work))(k); }, &work, n};
        try {
            for (; started < std::min(n, threads) - 1; ++started) std::thread([this] { help(); }).detach();
        } catch (const std::system_error&) {  // no more threads are to be had: those there are will do
        }
        {
            const std::lock_guard<std::mutex> lock(mutex);
            job.wanted = std::min(n, threads) - 1;
            current = &job, ++generation;
        }
        announced.store(generation, std::memory_order_release);
        wake.notify_all();
        job.take();
        std::unique_lock<std::mutex> lock(mutex);
        current = nullptr;
        lock.unlock();
        for (int k = 0; k < SPINS && job.helping.load(std::memory_order_acquire); ++k) pause();
        lock.lock();
        done.wait(lock, [&] { return job.helping == 0; });
        if (job.error) std::rethrow_exception(job.error);
    }

private:
    struct Job {
        void (*call)(const void*, long);
        const void* work;
        long n;
        std::atomic<long> next{0};
        std::atomic<long> helping{0};
        long wanted = 0;
        std::exception_ptr error{};
        std::mutex failed{};
        void take() {
            for (long k; (k = next.fetch_add(1)) < n;) try {
                    call(work, k);
                } catch (...) {
                    const std::lock_guard<std::mutex> lock(failed);
                    error = std::current_exception();
                }
        }
    };

    static constexpr int SPINS = 2000;  // some 50 µs, in which the next piece of a network often comes

    std::mutex busy, mutex;
    std::condition_variable wake, done;
    Job* current = nullptr;
    unsigned long generation = 0;
    std::atomic<unsigned long> announced{0};
    long started = 0;

    static std::atomic<bool>& forked() {
        static std::atomic<bool> value{false};
        return value;
    }
    static void pause() {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#else
        std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
    }
    void help() {
        for (unsigned long seen = 0;;) {
            for (int k = 0; k < SPINS && announced.load(std::memory_order_acquire) == seen; ++k) pause();
            std::unique_lock<std::mutex> lock(mutex);
            wake.wait(lock, [&] { return generation != seen; });
            seen = generation;
            Job* const job = current;
            if (!job || job->wanted == 0) continue;
            --job->wanted, ++job->helping;
            lock.unlock();
            job->take();
            lock.lock();
            if (--job->helping == 0) done.notify_one();
        }
    }
};

template <class Work>
void parallel(long n, long threads, const Work& work) {
    Helpers::get().run(n, threads, work);
}
