/* The workloads of `make bench`, written on otp.h.                     SPDX-License-Identifier: MIT

   cc -std=c11 -O2 -pthread -I.. -Wl,-z,now -o bench bench.c
   ./bench WORKLOAD SCHEDULERS [N]

   Prints one line for each figure: workload<TAB>program<TAB>value<TAB>extra. The value is nanoseconds for each
   operation unless extra says unit=bytes. The clock runs around the work, inside the started runtime. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define OTP_IMPLEMENTATION
#include "otp_server.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PING = 1, PONG, STOP, DONE, TOKEN, SUM, ITEM, WAKE, AWAKE, TICK, GO, ADD };

static const char *workload;
static int schedulers;
static long amount;             /* how many operations; from the command line or the workload's default */

static OTP_NORETURN void fail(const char *what)
{
    fprintf(stderr, "bench %s: %s\n", workload, what);
    exit(1);
}

static int64_t clock_ns(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t) != 0) fail("clock_gettime");
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void report(const char *suffix, double value, const char *extra)
{
    printf("%s%s\totp.h\t%.2f\t%s\n", workload, suffix, value, extra);
    if (fflush(stdout) != 0) fail("stdout");
}

static double per(int64_t ns, long operations) { return (double)ns / (double)operations; }

static int64_t resident_bytes(void)
{
    long total, resident;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL) fail("/proc/self/statm");
    if (fscanf(f, "%ld %ld", &total, &resident) != 2) fail("/proc/self/statm");
    if (fclose(f) != 0) fail("/proc/self/statm");
    return (int64_t)resident * sysconf(_SC_PAGESIZE);
}

static inline void send_number(otp_pid to, int tag, int64_t number)
{
    if (OTP_SEND(to, tag, number) < 0) fail("send");
}

static void send_empty(otp_pid to, int tag)
{
    if (otp_send(to, tag, NULL, 0) < 0) fail("send");
}

static void spawn(otp_fn *fn, void *arg)
{
    if (otp_spawn(fn, arg).id == 0) fail("spawn");
}

/* Awaits many processes at the price of one counter: each counts down, and the last one sends a message. This is
   what Go's sync.WaitGroup does; the peers do the same, so that no program pays for a message from each. */
typedef struct latch { atomic_long left; otp_pid waiter; } latch;

static latch all_done;

static void latch_set(latch *l, long n)
{
    l->waiter = otp_self();
    atomic_store(&l->left, n);
}

static void latch_down(latch *l)
{
    if (atomic_fetch_sub(&l->left, 1) == 1) send_empty(l->waiter, DONE);
}

static void latch_wait(void)
{
    if (otp_recv_tag(DONE, OTP_INFINITY) == NULL) fail("wait");
}

/* -- ctxswitch: from one stack to another, nothing else -- */

static otp__ctx ctx_main, ctx_other;

static void ctx_body(void *arg)
{
    (void)arg;
    for (;;) otp__ctx_swap(&ctx_other, &ctx_main);
}

static void ctxswitch(void)
{
    enum { STACK = 64 * 1024 };
    const long rounds = amount ? amount / 2 : 20000000;
    char *stack = aligned_alloc(4096, STACK);
    if (stack == NULL) fail("memory");
    otp__ctx_fresh(&ctx_main, stack + STACK, ctx_body, NULL);
    const int64_t start = clock_ns();
    for (long i = 0; i < rounds; i++) otp__ctx_swap(&ctx_main, &ctx_other);
    report("", per(clock_ns() - start, 2 * rounds), "per switch");
    free(stack);
}

/* -- pingpong, pingpong_2, pingpong_pairs -- */

static void ponger(void *arg)
{
    (void)arg;
    const otp_msg *m;
    for (;;)
        otp_receive (m, OTP_INFINITY) {
            case PING: send_number(m->from, PONG, *OTP_PAYLOAD(m, int64_t) + 1); break;
            case STOP: return;
        }
}

static void ping(long rounds)
{
    const otp_pid other = otp_spawn_link(ponger, NULL);
    const otp_msg *m;
    for (long i = 0; i < rounds; i++) {
        send_number(other, PING, i);
        otp_receive (m, OTP_INFINITY) {
            case PONG: if (*OTP_PAYLOAD(m, int64_t) != i + 1) fail("wrong answer"); break;
        }
    }
    send_empty(other, STOP);
}

static void pingpong(void *arg)
{
    (void)arg;
    const long rounds = amount ? amount : 3000000;
    ping(rounds / 100);
    const int64_t start = clock_ns();
    ping(rounds);
    report("", per(clock_ns() - start, rounds), "per round trip");
}

static void pinger(void *arg)
{
    ping(*(const long *)arg);
    latch_down(&all_done);
}

static void pingpong_pairs(void *arg)
{
    (void)arg;
    enum { PAIRS = 64 };
    static long rounds;
    rounds = (amount ? amount : 6400000) / PAIRS;
    latch_set(&all_done, PAIRS);
    const int64_t start = clock_ns();
    for (int i = 0; i < PAIRS; i++) spawn(pinger, &rounds);
    latch_wait();
    report("", per(clock_ns() - start, PAIRS * rounds), "per round trip, 64 pairs");
}

/* -- ring: a token goes round -- */

enum { RING = 503 };
static otp_pid ring_pids[RING + 1];

static void ring_node(void *arg)
{
    const otp_pid *next = arg;
    const otp_msg *m;
    for (;;)
        otp_receive (m, OTP_INFINITY) {
            case TOKEN: {
                const int64_t left = *OTP_PAYLOAD(m, int64_t);
                if (left == 0) latch_down(&all_done);
                else send_number(*next, TOKEN, left - 1);
                break;
            }
            case STOP: return;
        }
}

static void ring(void *arg)
{
    (void)arg;
    const long hops = amount ? amount : 5000000;
    latch_set(&all_done, 1);
    for (int i = 0; i < RING; i++) {
        ring_pids[i] = otp_spawn_link(ring_node, &ring_pids[i + 1]);
        if (ring_pids[i].id == 0) fail("spawn");
    }
    ring_pids[RING] = ring_pids[0];
    send_number(ring_pids[0], TOKEN, RING);         /* once round, so that all have started */
    latch_wait();
    latch_set(&all_done, 1);
    const int64_t start = clock_ns();
    send_number(ring_pids[0], TOKEN, hops);
    latch_wait();
    report("", per(clock_ns() - start, hops), "per hop, 503 processes");
    for (int i = 0; i < RING; i++) send_empty(ring_pids[i], STOP);
}

/* -- spawn: spawn, run, exit -- */

static void count_down(void *arg) { latch_down(arg); }

static void spawn_exit(void *arg)
{
    (void)arg;
    const long n = amount ? amount : 3000000;
    latch_set(&all_done, n);
    const int64_t start = clock_ns();
    for (long i = 0; i < n; i++) spawn(count_down, &all_done);
    latch_wait();
    report("", per(clock_ns() - start, n), "per process");
}

/* -- skynet: 1 M leaves below 10-way nodes; each sends its sum to its parent -- */

/* Lies on the parent's stack, which stays until all ten children have answered. */
typedef struct skynet_arg { otp_pid parent; int64_t number, size; } skynet_arg;

static void skynet_node(void *arg)
{
    const skynet_arg a = *(const skynet_arg *)arg;
    if (a.size == 1) {
        send_number(a.parent, SUM, a.number);
        return;
    }
    skynet_arg child[10];
    int64_t sum = 0;
    for (int i = 0; i < 10; i++) {
        child[i].parent = otp_self();
        child[i].size = a.size / 10;
        child[i].number = a.number + i * child[i].size;
        spawn(skynet_node, &child[i]);
    }
    for (int i = 0; i < 10; i++) {
        const otp_msg *m = otp_recv_tag(SUM, OTP_INFINITY);
        if (m == NULL) fail("receive");
        sum += *OTP_PAYLOAD(m, int64_t);
    }
    send_number(a.parent, SUM, sum);
}

static void skynet(void *arg)
{
    (void)arg;
    int64_t leaves = 1000000;
    while (amount > 0 && leaves > amount && leaves > 10) leaves /= 10;      /* a power of ten */
    skynet_arg root = { otp_self(), 0, leaves };
    const int64_t start = clock_ns();
    spawn(skynet_node, &root);
    const otp_msg *m = otp_recv_tag(SUM, OTP_INFINITY);
    if (m == NULL || *OTP_PAYLOAD(m, int64_t) != leaves * (leaves - 1) / 2) fail("wrong sum");
    report("", per(clock_ns() - start, (long)leaves), "per leaf");
}

/* -- fanin, fanin_1: 8 producers, one consumer -- */

enum { PRODUCERS = 8 };
typedef struct producer_arg { otp_pid consumer; long n; } producer_arg;

static void producer(void *arg)
{
    const producer_arg a = *(const producer_arg *)arg;
    for (long i = 1; i <= a.n; i++) send_number(a.consumer, ITEM, i);
}

static void fanin(void *arg)
{
    (void)arg;
    const long n = (amount ? amount : 4000000) / PRODUCERS;
    producer_arg a = { otp_self(), n };
    int64_t sum = 0;
    const otp_msg *m;
    const int64_t start = clock_ns();
    for (int i = 0; i < PRODUCERS; i++) spawn(producer, &a);
    for (long i = 0; i < n * PRODUCERS; i++)
        otp_receive (m, OTP_INFINITY) {
            case ITEM: sum += *OTP_PAYLOAD(m, int64_t); break;
        }
    const int64_t end = clock_ns();
    if (sum != (int64_t)PRODUCERS * n * (n + 1) / 2) fail("wrong sum");
    report("", per(end - start, n * PRODUCERS), "per message, 8 producers");
}

/* -- idle_handler, idle_server, idle_function, idle_hibernated: many waiting processes -- */

typedef struct idle_state { uint64_t words[8]; } idle_state;

static otp_next idle_message(void *state, const otp_msg *m)
{
    idle_state *s = state;
    s->words[0]++;
    if (m->tag == WAKE) send_number(m->from, AWAKE, 1);
    return OTP_OK;
}

static otp_next idle_init(void *state, const void *arg, size_t size)
{
    idle_state *s = state;
    (void)arg;
    (void)size;
    s->words[7] = 1;
    latch_down(&all_done);
    return OTP_OK;
}

static const otp_handler idle = {
    .name = "idle", .state_size = sizeof(idle_state), .init = idle_init, .message = idle_message,
};

/* otp_server_start returns when init has run. */
static const otp_server idle_as_server = {
    .name = "idle", .state_size = sizeof(idle_state), .init = idle_init, .info = idle_message,
};

static void idle_process(void *arg)
{
    const otp_msg *m;
    (void)arg;
    latch_down(&all_done);
    for (;;)
        otp_receive (m, OTP_INFINITY) {
            case WAKE: send_number(m->from, AWAKE, 1); break;
        }
}

static void hibernated(void *arg)
{
    const otp_msg *m;
    (void)arg;
    otp_receive (m, 0) {
        case WAKE: send_number(m->from, AWAKE, 1); break;
    }
    otp_hibernate(hibernated, NULL);
}

static void hibernate_first(void *arg)
{
    (void)arg;
    latch_down(&all_done);
    otp_hibernate(hibernated, NULL);
}

static otp_pid idle_spawn(otp_fn *fn, const otp_server *server)
{
    otp_pid pid;
    if (server != NULL) {
        pid = otp_server_start(server, NULL);
        if (pid.id == 0) fail("start");
    } else if (fn != NULL) {
        pid = otp_spawn(fn, NULL);
        if (pid.id == 0) fail("spawn");
    } else if (otp_spawn_opt((&(otp_spawn_opts){ .handler = &idle }), &pid) < 0) {
        fail("spawn");
    }
    return pid;
}

static void idle_measure(otp_fn *fn, const otp_server *server, long n)
{
    char extra[64];
    otp_pid *pids = malloc((size_t)n * sizeof *pids);
    if (pids == NULL) fail("memory");
    memset(pids, 1, (size_t)n * sizeof *pids);      /* touched now, so that it does not count below */
    snprintf(extra, sizeof extra, "per process, %ld processes", n);

    const int64_t before = resident_bytes();
    int64_t start = clock_ns();
    latch_set(&all_done, n);
    for (long i = 0; i < n; i++) pids[i] = idle_spawn(fn, server);
    latch_wait();
    const int64_t created = clock_ns() - start;
    otp_sleep(100);                                 /* the last ones may be on their way into the receive */
    const int64_t bytes = resident_bytes() - before;

    start = clock_ns();
    for (long i = 0; i < n; i++) send_empty(pids[i], WAKE);
    for (long i = 0; i < n; i++)
        if (otp_recv_tag(AWAKE, OTP_INFINITY) == NULL) fail("receive");
    report("", per(clock_ns() - start, n), extra);
    report("_create", per(created, n), extra);
    report("_bytes", per(bytes, n), "unit=bytes");
    free(pids);
}

static void idle_handler(void *arg)
{
    (void)arg;
    idle_measure(NULL, NULL, amount ? amount : 1000000);
}

static void idle_server(void *arg)
{
    (void)arg;
    idle_measure(NULL, &idle_as_server, amount ? amount : 1000000);
}

static void idle_function(void *arg)
{
    (void)arg;
    idle_measure(idle_process, NULL, amount ? amount : 200000);
}

static void idle_hibernated(void *arg)
{
    (void)arg;
    idle_measure(hibernate_first, NULL, amount ? amount : 200000);
}

/* -- timers -- */

static void timers_cancel(void *arg)
{
    (void)arg;
    const long n = amount ? amount : 3000000;
    const int64_t start = clock_ns();
    for (long i = 0; i < n; i++) {
        const otp_ref timer = otp_send_after(5000, otp_self(), TICK, NULL, 0);
        if (otp_cancel_timer(timer) < 0) fail("cancel");
    }
    report("", per(clock_ns() - start, n), "per start and cancel");
}

static void timers_fire(void *arg)
{
    (void)arg;
    const long n = amount ? amount : 1000000;
    const otp_ref none = { 0 };
    const int64_t start = clock_ns();
    for (long i = 0; i < n; i++) {
        const otp_ref timer = otp_send_after(10, otp_self(), TICK, NULL, 0);
        if (memcmp(&timer, &none, sizeof none) == 0) fail("send_after");
    }
    for (long i = 0; i < n; i++)
        if (otp_recv_tag(TICK, OTP_INFINITY) == NULL) fail("receive");
    report("", per(clock_ns() - start, n), "per timer of 10 ms, 1 M timers");
}

/* -- echo: 50 connections on the loopback, a process at each end -- */

enum { CONNECTIONS = 50, MESSAGE = 64 };
static latch connected;
static long echo_rounds;
static struct sockaddr_in echo_address;

static int tcp_socket(void)
{
    const int on = 1;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) fail("socket");
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) fail("TCP_NODELAY");
    return fd;
}

static void echo_connection(void *arg)
{
    char buffer[1024];
    const int fd = (int)(intptr_t)arg;
    for (;;) {
        const int64_t got = otp_read(fd, buffer, sizeof buffer, OTP_INFINITY);
        if (got <= 0) break;
        if (otp_write(fd, buffer, (size_t)got, OTP_INFINITY) != got) break;
    }
    if (otp_close(fd) < 0) fail("close");
}

static void echo_server(void *arg)
{
    const int listener = (int)(intptr_t)arg;
    const int on = 1;
    for (int i = 0; i < CONNECTIONS; i++) {
        const int fd = otp_accept(listener, OTP_INFINITY);
        if (fd < 0) fail("accept");
        if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) fail("TCP_NODELAY");
        spawn(echo_connection, (void *)(intptr_t)fd);
    }
    if (otp_close(listener) < 0) fail("close");
}

static void echo_trip(int fd)
{
    char buffer[MESSAGE] = "0123456789";
    if (otp_write(fd, buffer, MESSAGE, OTP_INFINITY) != MESSAGE) fail("write");
    for (int64_t got = 0; got < MESSAGE;) {
        const int64_t n = otp_read(fd, buffer + got, (size_t)(MESSAGE - got), OTP_INFINITY);
        if (n <= 0) fail("read");
        got += n;
    }
}

static void echo_client(void *arg)
{
    (void)arg;
    const int fd = tcp_socket();
    if (otp_connect(fd, (const struct sockaddr *)&echo_address, sizeof echo_address, 5000) < 0) fail("connect");
    echo_trip(fd);
    latch_down(&connected);
    if (otp_recv_tag(GO, OTP_INFINITY) == NULL) fail("receive");
    for (long i = 0; i < echo_rounds; i++) echo_trip(fd);
    latch_down(&all_done);
    if (otp_close(fd) < 0) fail("close");
}

static void echo(void *arg)
{
    (void)arg;
    otp_pid clients[CONNECTIONS];
    socklen_t length = sizeof echo_address;
    const int listener = tcp_socket();
    echo_rounds = (amount ? amount : 200000) / CONNECTIONS;
    echo_address.sin_family = AF_INET;
    echo_address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (const struct sockaddr *)&echo_address, length) != 0) fail("bind");
    if (listen(listener, CONNECTIONS) != 0) fail("listen");
    if (getsockname(listener, (struct sockaddr *)&echo_address, &length) != 0) fail("getsockname");
    latch_set(&connected, CONNECTIONS);
    spawn(echo_server, (void *)(intptr_t)listener);
    for (int i = 0; i < CONNECTIONS; i++) {
        clients[i] = otp_spawn(echo_client, NULL);
        if (clients[i].id == 0) fail("spawn");
    }
    latch_wait();
    latch_set(&all_done, CONNECTIONS);
    const int64_t start = clock_ns();
    for (int i = 0; i < CONNECTIONS; i++) send_empty(clients[i], GO);
    latch_wait();
    report("", per(clock_ns() - start, echo_rounds * CONNECTIONS), "per message there and back, 50 connections");
}

/* -- preempt_delay: how late a 1 ms timer comes while another process computes -- */

static atomic_bool computing, compute_stop;

static void compute(void *arg)
{
    volatile uint64_t x = 1;
    (void)arg;
    atomic_store(&computing, true);
    while (!atomic_load_explicit(&compute_stop, memory_order_relaxed)) x = x * 6364136223846793005u + 1;
    latch_down(&all_done);
}

static int by_value(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void preempt_delay(void *arg)
{
    enum { SAMPLES = 200 };
    static int64_t late[SAMPLES];
    char extra[128];
    (void)arg;
    latch_set(&all_done, 1);
    spawn(compute, NULL);
    while (!atomic_load(&computing)) otp_yield();
    for (int i = 0; i < SAMPLES; i++) {
        const int64_t start = clock_ns();
        const otp_ref timer = otp_send_after(1, otp_self(), TICK, NULL, 0);
        (void)timer;
        if (otp_recv_tag(TICK, OTP_INFINITY) == NULL) fail("receive");
        late[i] = clock_ns() - start - 1000000;
    }
    atomic_store(&compute_stop, true);
    latch_wait();
    qsort(late, SAMPLES, sizeof late[0], by_value);
    snprintf(extra, sizeof extra, "p99 of %d; p50_us=%" PRId64 " max_us=%" PRId64, SAMPLES,
             late[SAMPLES / 2] / 1000, late[SAMPLES - 1] / 1000);
    report("", (double)late[SAMPLES * 99 / 100 - 1], extra);
}

/* -- call, call_2, call_clients, selective, cast: a server that adds -- */

enum { CALL_TIMEOUT = 5000, CLIENTS = 64, WAITING = 10000 };
typedef struct adder_state { int64_t sum; } adder_state;

static otp_next adder_call(void *state, otp_from from, const otp_msg *m)
{
    adder_state *s = state;
    s->sum += *OTP_PAYLOAD(m, int64_t);
    return OTP_SERVER_REPLY(from, s->sum);
}

static otp_next adder_cast(void *state, const otp_msg *m)
{
    adder_state *s = state;
    s->sum += *OTP_PAYLOAD(m, int64_t);
    return OTP_OK;
}

static const otp_server adder = {
    .name = "adder", .state_size = sizeof(adder_state), .call = adder_call, .cast = adder_cast,
};

static otp_pid adder_start(void)
{
    const otp_pid pid = otp_server_start_link(&adder, NULL);
    if (pid.id == 0) fail("start");
    return pid;
}

static int64_t add(otp_pid server, int64_t number)
{
    int64_t sum = 0;
    otp_call(server, ADD, &number, sizeof number, &sum, sizeof sum, CALL_TIMEOUT);
    return sum;
}

static void call_many(long n, const char *extra)
{
    const otp_pid server = adder_start();
    for (long i = 1; i <= n / 100; i++) add(server, 0);
    const int64_t start = clock_ns();
    for (long i = 1; i <= n; i++)
        if (add(server, 1) != i) fail("wrong sum");
    report("", per(clock_ns() - start, n), extra);
}

static void call(void *arg)
{
    (void)arg;
    call_many(amount ? amount : 3000000, "per call with its answer, timeout 5 s");
}

static void selective(void *arg)
{
    (void)arg;
    for (int i = 0; i < WAITING; i++) send_number(otp_self(), ITEM, i);
    call_many(amount ? amount : 3000000, "per call, 10,000 other messages waiting");
}

typedef struct caller_arg { otp_pid server; long n; } caller_arg;

static void caller(void *arg)
{
    const caller_arg a = *(const caller_arg *)arg;
    for (long i = 0; i < a.n; i++) add(a.server, 1);
    latch_down(&all_done);
}

static void call_clients(void *arg)
{
    (void)arg;
    const long n = (amount ? amount : 3200000) / CLIENTS;
    caller_arg a = { adder_start(), n };
    latch_set(&all_done, CLIENTS);
    const int64_t start = clock_ns();
    for (int i = 0; i < CLIENTS; i++) spawn(caller, &a);
    latch_wait();
    const int64_t end = clock_ns();
    if (add(a.server, 0) != n * CLIENTS) fail("wrong sum");
    report("", per(end - start, n * CLIENTS), "per call, 64 clients of one server");
}

static void cast(void *arg)
{
    (void)arg;
    const long n = amount ? amount : 5000000;
    const otp_pid server = adder_start();
    const int64_t one = 1;
    const int64_t start = clock_ns();
    for (long i = 0; i < n; i++)
        if (otp_cast(server, ADD, &one, sizeof one) < 0) fail("cast");
    const int64_t sum = add(server, 0);
    report("", per(clock_ns() - start, n), "per cast, handled");
    if (sum != n) fail("wrong sum");
}

static const struct { const char *name; otp_fn *app; } workloads[] = {
    { "pingpong", pingpong },               { "pingpong_2", pingpong },
    { "pingpong_pairs", pingpong_pairs },   { "ring", ring },
    { "spawn", spawn_exit },                { "skynet", skynet },
    { "fanin", fanin },                     { "fanin_1", fanin },
    { "idle_handler", idle_handler },       { "idle_function", idle_function },
    { "idle_hibernated", idle_hibernated }, { "timers_cancel", timers_cancel },
    { "timers_fire", timers_fire },         { "echo", echo },
    { "preempt_delay", preempt_delay },     { "call", call },
    { "call_2", call },                     { "call_clients", call_clients },
    { "cast", cast },                       { "selective", selective },
    { "idle_server", idle_server },
};

int main(int argc, char **argv)
{
    workload = argc > 1 ? argv[1] : "";
    schedulers = argc > 2 ? atoi(argv[2]) : 0;
    amount = argc > 3 ? atol(argv[3]) : 0;
    if (strcmp(workload, "ctxswitch") == 0) {       /* needs no runtime */
        ctxswitch();
        return 0;
    }
    for (size_t i = 0; i < sizeof workloads / sizeof workloads[0]; i++) {
        if (strcmp(workload, workloads[i].name) != 0) continue;
        const otp_opts opts = { .schedulers = schedulers, .report_stuck = OTP_INFINITY };
        return otp_run(workloads[i].app, NULL, &opts) == 0 ? 0 : 1;
    }
    fprintf(stderr, "usage: bench WORKLOAD [SCHEDULERS [N]]\nworkloads: ctxswitch");
    for (size_t i = 0; i < sizeof workloads / sizeof workloads[0]; i++) fprintf(stderr, " %s", workloads[i].name);
    fprintf(stderr, "\n");
    return 2;
}
