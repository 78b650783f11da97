// Runs work on several threads: those that the calling process lends, otherwise new ones for each call.
//
// Two pools on the same cores would wait for each other: PyTorch's threads keep spinning for a while after their work.
#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

// Runs a function on a number of threads and waits for all: the signature of OpenMP's GOMP_parallel.
using Parallel = void (*)(void (*)(void*), void*, unsigned, unsigned);
inline Parallel lent = nullptr;

// Runs work(0) … work(n − 1), each on the next free thread. Rethrows an exception of one of them.
template <class Work>
void parallel(long n, long threads, const Work& work) {
    struct Job {
        const Work& work;
        const long n;
        std::atomic<long> next{0};
        std::mutex failed{};
        std::exception_ptr error{};
        static void take(void* p) {
            Job& job = *static_cast<Job*>(p);
            for (long k; (k = job.next.fetch_add(1)) < job.n;) try {
                    job.work(k);
                } catch (...) {
                    const std::lock_guard<std::mutex> lock(job.failed);
                    job.error = std::current_exception();
                }
        }
    } job{work, n};
    threads = std::min(n, threads);
    if (threads <= 1)
        Job::take(&job);
    else if (lent)
        lent(Job::take, &job, static_cast<unsigned>(threads), 0);
    else {
        std::vector<std::thread> helpers;
        try {
            while (static_cast<long>(helpers.size()) < threads - 1) helpers.emplace_back(Job::take, &job);
        } catch (const std::system_error&) {  // no more threads available: continue with fewer
        }
        Job::take(&job);
        for (std::thread& helper : helpers) helper.join();
    }
    if (job.error) std::rethrow_exception(job.error);
}
