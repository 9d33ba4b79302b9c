/* The ctxswitch workload of `make bench` with Boost.Context, for comparison.        SPDX-License-Identifier: MIT
   c++ -O2 boost_context.cpp -lboost_context */

#include <boost/context/fiber.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace context = boost::context;

int main(int argc, char **argv)
{
    const long rounds = argc > 1 && std::atol(argv[1]) > 0 ? std::atol(argv[1]) / 2 : 20000000;
    context::fiber other([](context::fiber &&back) {
        for (;;) back = std::move(back).resume();
        return std::move(back);
    });
    other = std::move(other).resume();
    const auto start = std::chrono::steady_clock::now();
    for (long i = 0; i < rounds; i++) other = std::move(other).resume();
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
    std::printf("ctxswitch\tboost_context\t%.2f\tper switch\n", took.count() / double(2 * rounds));
    return 0;
}
