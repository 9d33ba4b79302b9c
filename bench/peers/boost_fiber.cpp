/* Workloads of `make bench` with Boost.Fiber on one thread, for comparison.         SPDX-License-Identifier: MIT
   c++ -O2 boost_fiber.cpp -lboost_fiber -lboost_context && ./a.out WORKLOAD [N]

   One thread, Boost's default round-robin scheduler. Each fiber's mailbox is a queue without a lock, whose reader
   is suspended and scheduled directly: two to three times as fast as the library's buffered_channel. */

#include <boost/fiber/all.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

namespace fibers = boost::fibers;

class mailbox {
    std::deque<long> items;
    fibers::context *waiting = nullptr;
    bool closed = false;

    void wake()
    {
        if (waiting == nullptr) return;
        fibers::context *reader = waiting;
        waiting = nullptr;
        fibers::context::active()->schedule(reader);
    }

public:
    void push(long value)
    {
        items.push_back(value);
        wake();
    }
    long take()         /* -1: closed */
    {
        while (items.empty()) {
            if (closed) return -1;
            waiting = fibers::context::active();
            waiting->suspend();
        }
        const long value = items.front();
        items.pop_front();
        return value;
    }
    void close()
    {
        closed = true;
        wake();
    }
};

static const char *workload;
static long amount;

static long count(long standard) { return amount > 0 ? amount : standard; }
static std::chrono::steady_clock::time_point now() { return std::chrono::steady_clock::now(); }

static void report(std::chrono::steady_clock::time_point start, long operations, const char *extra)
{
    const std::chrono::duration<double, std::nano> took = now() - start;
    std::printf("%s\tboost_fiber\t%.2f\t%s\n", workload, took.count() / double(operations), extra);
}

static void ping(long rounds)
{
    mailbox there, back;
    fibers::fiber other([&] {
        for (long n; (n = there.take()) >= 0;) back.push(n + 1);
    });
    for (long i = 0; i < rounds; i++) {
        there.push(i);
        if (back.take() != i + 1) std::abort();
    }
    there.close();
    other.join();
}

static void pingpong()
{
    const long rounds = count(1000000);
    const auto start = now();
    ping(rounds);
    report(start, rounds, "per round trip");
}

static void pingpong_pairs()
{
    const long pairs = 64, rounds = count(1920000) / pairs;
    std::vector<fibers::fiber> all;
    const auto start = now();
    for (long i = 0; i < pairs; i++) all.emplace_back(ping, rounds);
    for (auto &f : all) f.join();
    report(start, pairs * rounds, "per round trip, 64 pairs, one thread");
}

static void ring()
{
    const long size = 503, hops = count(2000000);
    std::vector<std::unique_ptr<mailbox>> in;
    std::vector<fibers::fiber> all;
    mailbox done;
    for (long i = 0; i < size; i++) in.emplace_back(new mailbox);
    for (long i = 0; i < size; i++)
        all.emplace_back([&, i] {
            for (long left; (left = in[i]->take()) >= 0;) {
                if (left == 0) done.push(1);
                else in[(i + 1) % size]->push(left - 1);
            }
        });
    in[0]->push(size);
    done.take();
    const auto start = now();
    in[0]->push(hops);
    done.take();
    report(start, hops, "per hop, 503 fibers, one thread");
    for (auto &m : in) m->close();
    for (auto &f : all) f.join();
}

static void spawn()
{
    const long n = count(500000);
    mailbox zero;
    long left = n;
    const auto start = now();
    for (long i = 0; i < n; i++)        /* dispatch: the fiber runs at once, which reuses the stack just freed */
        fibers::fiber(fibers::launch::dispatch, [&] { if (--left == 0) zero.push(0); }).detach();
    zero.take();
    report(start, n, "per fiber, one thread");
}

static void fanin()
{
    const long producers = 8, n = count(2000000) / producers;
    mailbox items;
    std::vector<fibers::fiber> all;
    const auto start = now();
    for (long i = 0; i < producers; i++)
        all.emplace_back([&] { for (long k = 1; k <= n; k++) items.push(k); });
    long sum = 0;
    for (long i = 0; i < n * producers; i++) sum += items.take();
    if (sum != producers * (n * (n + 1) / 2)) std::abort();
    report(start, n * producers, "per message, 8 producers, one thread");
    for (auto &f : all) f.join();
}

int main(int argc, char **argv)
{
    static const struct { const char *name; void (*run)(); } workloads[] = {
        { "pingpong", pingpong }, { "pingpong_pairs", pingpong_pairs }, { "ring", ring }, { "spawn", spawn },
        { "fanin_1", fanin },
    };
    workload = argc > 1 ? argv[1] : "";
    amount = argc > 2 ? std::atol(argv[2]) : 0;
    for (const auto &w : workloads)
        if (std::strcmp(workload, w.name) == 0) {
            w.run();
            return 0;
        }
    std::fprintf(stderr, "boost_fiber: unknown workload %s\n", workload);
    return 2;
}
