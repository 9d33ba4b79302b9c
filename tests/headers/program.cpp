// A C++ program on the C implementation, in C++17 and C++20: classes behind processes, lambdas as their functions, a
// handler, calls, links, monitors, timers, shared blocks.
// Prints one line: "sum 4950 pong 42 count 3 down 7 timer 5 shared abc".
#include "otp.h"

#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace {

enum Tag { PING = 1, PONG, ADD, GET, PART, TICK, TEXT };

struct Part { int from, to; long sum; };

template <class T> const T &payload(const otp_msg *m) { return *OTP_PAYLOAD(m, T); }

// Objects with destructors live in functions that return before the process is ended from outside.
std::string join(const std::vector<std::string> &parts)
{
    std::string all;
    for (const auto &part : parts) all += (all.empty() ? "" : " ") + part;
    return all;
}

class Counter {
public:
    static otp_next message(void *state, const otp_msg *m)
    {
        auto *self = static_cast<Counter *>(state);
        switch (m->tag) {
        case ADD: self->count += payload<int>(m); return OTP_OK;
        case GET: return OTP_REPLY(otp_from_of(m), self->count) == 0 ? OTP_OK : otp_stop_with(OTP_ERROR(OTP_ENOMEM));
        default: return OTP_OK;
        }
    }
private:
    int count;              // zeroed by the runtime
};

void worker(void *arg)
{
    auto part = std::make_unique<Part>(*static_cast<Part *>(arg));
    for (int i = part->from; i < part->to; i++) part->sum += i;
    const otp_msg *m;
    otp_receive (m, 5000) {
        case PING: OTP_SEND(m->from, PART, *part); break;
        case OTP_AFTER: std::printf("nobody asked "); break;
    }
}

long parallel_sum()
{
    std::vector<otp_pid> workers;
    for (int i = 0; i < 10; i++) {
        Part part{ i * 10, i * 10 + 10, 0 };
        otp_spawn_opts opts{};
        opts.fn = worker;
        opts.arg = &part;
        opts.arg_size = sizeof part;    // copied
        otp_pid pid;
        if (otp_spawn_opt(&opts, &pid) == 0) workers.push_back(pid);
    }
    long sum = 0;
    for (auto pid : workers) otp_send(pid, PING, nullptr, 0);
    for (std::size_t i = 0; i < workers.size(); i++) {
        const otp_msg *m = otp_recv_tag(PART, 5000);
        if (m != nullptr) sum += payload<Part>(m).sum;
    }
    return sum;
}

int pong()
{
    otp_pid p = otp_spawn_link([](void *) {
        const otp_msg *m;
        for (;;)
            otp_receive (m, OTP_INFINITY) {
                case PING: OTP_SEND(m->from, PONG, payload<int>(m) + 1); break;
            }
    }, nullptr);
    int answer = -1;
    const otp_msg *m;
    OTP_SEND(p, PING, 41);
    otp_receive (m, 5000) {
        case PONG: answer = payload<int>(m); break;
        case OTP_AFTER: break;
    }
    otp_unlink(p);
    otp_exit_signal(p, OTP_KILL);
    return answer;
}

int count()
{
    otp_handler handler{};
    handler.name = "counter";
    handler.state_size = sizeof(Counter);
    handler.message = Counter::message;
    static const otp_handler kept = handler;
    otp_spawn_opts opts{};
    opts.handler = &kept;
    opts.name = "counter";
    otp_pid c;
    if (otp_spawn_opt(&opts, &c) != 0) return -1;
    for (int i = 0; i < 3; i++) OTP_SEND(c, ADD, 1);
    int n = 0;
    otp_call(c, GET, nullptr, 0, &n, sizeof n, 5000);
    otp_exit_signal(otp_whereis("counter"), OTP_KILL);
    return n;
}

int down()
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor([](void *) { otp_exit(OTP_USER(7, "seven")); }, nullptr, &ref);
    const otp_msg *m = otp_recv_ref(ref, 5000);
    return m != nullptr && otp_same(m->from, p) ? otp_reason_of(m)->code : -1;
}

int timer()
{
    int five = 5;
    otp_send_after(1, otp_self(), TICK, &five, sizeof five);
    const otp_msg *m = otp_recv_tag(TICK, 5000);
    return m != nullptr ? payload<int>(m) : -1;
}

std::string shared()
{
    otp_shared *s = otp_shared_new("abc", 4);
    if (s == nullptr || otp_send_shared(otp_self(), TEXT, s) != 0) return "none";
    otp_shared_drop(s);
    const otp_msg *m = otp_recv_tag(TEXT, 5000);
    return m != nullptr ? static_cast<const char *>(m->data) : "none";
}

void app(void *arg)
{
    auto *line = static_cast<std::string *>(arg);
    *line = join({ "sum", std::to_string(parallel_sum()), "pong", std::to_string(pong()), "count", std::to_string(count()),
                   "down", std::to_string(down()), "timer", std::to_string(timer()), "shared", shared() });
}

} // namespace

int main()
{
#if __cplusplus >= 202002L
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"   // g++ -Wextra asks for all of them; all zero is the default
    otp_opts opts{ .schedulers = 2 };
#pragma GCC diagnostic pop
#else
    otp_opts opts{};
    opts.schedulers = 2;
#endif
    std::string line;
    int rc = otp_run(app, &line, &opts);
    std::printf("%s\n", line.c_str());
    return rc;
}
