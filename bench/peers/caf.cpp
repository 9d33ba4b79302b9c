/* Workloads of `make bench` with CAF, the C++ Actor Framework, for comparison.      SPDX-License-Identifier: MIT
   c++ -std=c++17 -O2 caf.cpp -lcaf_core && ./a.out WORKLOAD SCHEDULERS [N]

   Written for CAF 0.17. Event-based actors as classes: their spawn is cheaper than that of function-based ones. The
   scheduler is CAF's default, work stealing. A scoped_actor stands for the main thread, which awaits one message. */

#include <atomic>
#include <caf/all.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

using done_atom = caf::atom_constant<caf::atom("done")>;

static const char *workload;
static long amount;

static long count(long standard) { return amount > 0 ? amount : standard; }
static std::chrono::steady_clock::time_point now() { return std::chrono::steady_clock::now(); }

static void fail(const char *what)
{
    std::fprintf(stderr, "caf %s: %s\n", workload, what);
    std::_Exit(1);      /* on a scheduler thread, while others run */
}

static void report(std::chrono::steady_clock::duration took, long operations, const char *extra)
{
    const std::chrono::duration<double, std::nano> ns = took;
    std::printf("%s\tcaf\t%.2f\t%s\n", workload, ns.count() / double(operations), extra);
}

/* Awaits many actors at the price of one counter; the last one tells the waiter. */
class latch {
    std::atomic<long> left;
    caf::actor waiter;

public:
    latch(long n, const caf::scoped_actor &who) : left(n), waiter(caf::actor_cast<caf::actor>(who)) {}
    void down(caf::event_based_actor *self)
    {
        if (left.fetch_sub(1) != 1) return;
        const caf::actor last = waiter;     /* the latch may be gone before send() returns */
        self->send(last, done_atom::value);
    }
};

static void await(caf::scoped_actor &self)
{
    self->receive([](done_atom) {}, [](const caf::error &) { fail("a wrong message"); });
}

class ponger : public caf::event_based_actor {
public:
    using caf::event_based_actor::event_based_actor;
    caf::behavior make_behavior() override
    {
        return {[](int64_t n) { return n + 1; }};
    }
};

class pinger : public caf::event_based_actor {
    const caf::actor other;
    const int64_t rounds;
    latch *const all;
    int64_t i = 0;

public:
    pinger(caf::actor_config &config, long rounds_, latch *all_)
        : caf::event_based_actor(config), other(spawn<ponger, caf::linked>()), rounds(rounds_), all(all_) {}
    caf::behavior make_behavior() override
    {
        send(other, i);
        return {[this](int64_t answer) {
            if (answer != i + 1) fail("wrong answer");
            if (++i < rounds) {
                send(other, i);
                return;
            }
            all->down(this);
            quit(caf::exit_reason::user_shutdown);      /* the link takes the other one along */
        }};
    }
};

static void ping(caf::actor_system &system, long pairs, long rounds)
{
    caf::scoped_actor self{system};
    latch all(pairs, self);
    for (long i = 0; i < pairs; i++) system.spawn<pinger>(rounds, &all);
    await(self);
}

static void pingpong(caf::actor_system &system)
{
    const long rounds = count(1000000);
    ping(system, 1, rounds / 100 + 1);
    const auto start = now();
    ping(system, 1, rounds);
    report(now() - start, rounds, "per round trip");
}

static void pingpong_pairs(caf::actor_system &system)
{
    const long pairs = 64, rounds = count(1280000) / pairs;
    const auto start = now();
    ping(system, pairs, rounds);
    report(now() - start, pairs * rounds, "per round trip, 64 pairs");
}

class skynet_node : public caf::event_based_actor {
    const caf::actor parent;
    const int64_t number, size;
    int64_t sum = 0;
    int left = 10;

public:
    skynet_node(caf::actor_config &config, caf::actor parent_, int64_t number_, int64_t size_)
        : caf::event_based_actor(config), parent(std::move(parent_)), number(number_), size(size_) {}
    caf::behavior make_behavior() override
    {
        if (size == 1) {
            send(parent, number);
            return {};                                  /* nothing to wait for: the actor ends */
        }
        const int64_t part = size / 10;
        const caf::actor self{this};
        for (int i = 0; i < 10; i++) spawn<skynet_node>(self, number + i * part, part);
        return {[this](int64_t n) {
            sum += n;
            if (--left > 0) return;
            send(parent, sum);
            quit();
        }};
    }
};

static void skynet(caf::actor_system &system)
{
    int64_t leaves = 1000000;
    while (amount > 0 && leaves > amount && leaves > 10) leaves /= 10;      /* a power of ten */
    caf::scoped_actor self{system};
    const auto start = now();
    system.spawn<skynet_node>(caf::actor_cast<caf::actor>(self), int64_t{0}, leaves);
    self->receive([&](int64_t sum) { if (sum != leaves * (leaves - 1) / 2) fail("wrong sum"); },
                  [](const caf::error &) { fail("a wrong message"); });
    report(now() - start, long(leaves), "per leaf");
}

class producer : public caf::event_based_actor {
    const caf::actor consumer;
    const int64_t n;

public:
    producer(caf::actor_config &config, caf::actor consumer_, long n_)
        : caf::event_based_actor(config), consumer(std::move(consumer_)), n(n_) {}
    caf::behavior make_behavior() override
    {
        for (int64_t i = 1; i <= n; i++) send(consumer, i);
        return {};
    }
};

class consumer : public caf::event_based_actor {
    const long producers, n;
    latch *const done;
    int64_t sum = 0;
    long left;

public:
    consumer(caf::actor_config &config, long producers_, long n_, latch *done_)
        : caf::event_based_actor(config), producers(producers_), n(n_), done(done_), left(producers_ * n_) {}
    caf::behavior make_behavior() override
    {
        const caf::actor self{this};
        for (long i = 0; i < producers; i++) spawn<producer>(self, n);
        return {[this](int64_t item) {
            sum += item;
            if (--left > 0) return;
            if (sum != producers * (n * (n + 1) / 2)) fail("wrong sum");
            done->down(this);
            quit();
        }};
    }
};

static void fanin(caf::actor_system &system)
{
    const long producers = 8, n = count(2000000) / producers;
    caf::scoped_actor self{system};
    latch done(1, self);
    const auto start = now();
    system.spawn<consumer>(producers, n, &done);
    await(self);
    report(now() - start, producers * n, "per message, 8 producers");
}

int main(int argc, char **argv)
{
    static const struct { const char *name; void (*run)(caf::actor_system &); } workloads[] = {
        { "pingpong", pingpong }, { "pingpong_2", pingpong }, { "pingpong_pairs", pingpong_pairs },
        { "skynet", skynet }, { "fanin", fanin }, { "fanin_1", fanin },
    };
    workload = argc > 1 ? argv[1] : "";
    const int schedulers = argc > 2 ? std::atoi(argv[2]) : 0;
    amount = argc > 3 ? std::atol(argv[3]) : 0;
    for (const auto &w : workloads)
        if (std::strcmp(workload, w.name) == 0 && schedulers > 0) {
            caf::actor_system_config config;
            config.set("scheduler.max-threads", std::size_t(schedulers));
            caf::actor_system system{config};
            w.run(system);
            return 0;
        }
    std::fprintf(stderr, "usage: caf WORKLOAD SCHEDULERS [N]; unknown workload %s\n", workload);
    return 2;
}
