/* test_stack.c: stacks and context switches. */
#include "test.h"

enum { GO = 1, DONE, VALUE };

/* Uses at least `bytes` of the stack, of which it is told the top. */
__attribute__((noinline)) static unsigned burrow_from(uintptr_t top, size_t bytes)
{
    volatile unsigned char here[512];
    for (size_t i = 0; i < sizeof here; i += 64) here[i] = (unsigned char)i;
    if (top - (uintptr_t)__builtin_frame_address(0) >= bytes) return here[64];
    return burrow_from(top, bytes) + here[128];
}

__attribute__((noinline)) static void burrow(size_t bytes)
{
    CHECK(burrow_from((uintptr_t)__builtin_frame_address(0), bytes) > 0);
}

static void deep(void *arg) { burrow(*(size_t *)arg); }

static void run_with_stack(size_t stack_size, size_t bytes)
{
    otp_ref ref;
    otp_pid p;
    SPAWN(&p, .fn = deep, .arg = &bytes, .stack_size = stack_size, .monitor = &ref);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
}

TEST(stack_size_per_process)
{
    run_with_stack(0, 200 << 10);
    run_with_stack(64 << 10, 32 << 10);
    run_with_stack(1 << 20, 900 << 10);
    run_with_stack(8 << 20, 7 << 20);
    run_with_stack(300001, 200 << 10);          /* no multiple of the page */
    run_with_stack(0, 200 << 10);
}

TEST_WITH(stack_size_of_the_runtime, .opts.stack_size = 2 << 20)
{
    run_with_stack(0, 1800 << 10);
    run_with_stack(64 << 10, 32 << 10);
    burrow(1800 << 10);                         /* the first process has it too */
}

TEST(stack_size_too_small_is_refused)
{
    otp_pid p = { 0 };
    CHECK_EQ(otp_spawn_opt((&(otp_spawn_opts){ .fn = deep, .stack_size = 100 }), &p), OTP_EBADARG);
    CHECK_EQ(otp_processes(NULL, 0), 1);
}

static void deep_and_wait(void *arg)
{
    burrow(*(size_t *)arg);
    test_idle_ready(NULL);
    burrow(*(size_t *)arg);
}

TEST(stack_deep_recursion_in_many_processes)
{
    enum { N = 50 };
    otp_ref ref[N];
    otp_pid p[N];
    size_t bytes = 150 << 10;
    int n = test_many(N, 8);
    for (int i = 0; i < n; i++) p[i] = test_start(deep_and_wait, &bytes, &ref[i]);
    for (int i = 0; i < n; i++) CHECK_EQ(otp_send(p[i], TEST_STOP, NULL, 0), 0);
    for (int i = 0; i < n; i++) CHECK_EQ(test_down(ref[i])->kind, OTP_REASON_NORMAL);
}

/* -- overflow -------------------------------------------------------------------------------------------- */

static void overflow(void *arg)
{
    (void)arg;
    burrow(SIZE_MAX);
}

static atomic_int cleaned;
static void clean(void *arg)
{
    (void)arg;
    atomic_fetch_add(&cleaned, 1);
}

static void overflow_with_defer(void *arg)
{
    CHECK_EQ(otp_defer(clean, NULL), 0);
    CHECK(otp_alloc(1000) != NULL);
    overflow(arg);
}

TEST_WITH(stack_overflow_is_told_as_such_and_contained, .real = true, .opts.force_isolation = true)
{
    otp_ref other_down, ref;
    otp_pid other = test_start(test_idle_ready, NULL, &other_down), p;
    atomic_store(&cleaned, 0);
    static const size_t sizes[] = { 0, 64 << 10, 1 << 20, 0, 0 };
    for (int i = 0; i < 5; i++) {
        SPAWN(&p, .fn = overflow_with_defer, .stack_size = sizes[i], .name = "the deep one", .monitor = &ref);
        CHECK_EQ(test_down(ref)->kind, OTP_REASON_STACK_OVERFLOW);
        CHECK(otp_is_alive(other));
        CHECK_EQ(atomic_load(&cleaned), i + 1);
        run_with_stack(sizes[i], 30 << 10);         /* the next one on this stack is fine */
    }
    CHECK(test_log_wait("the deep one"));
    CHECK(test_log_wait("overflow"));
    CHECK_EQ(otp_send(other, TEST_STOP, NULL, 0), 0);
    CHECK_EQ(test_down(other_down)->kind, OTP_REASON_NORMAL);
}

static void overflow_on_go(void *arg)
{
    CHECK_EQ(otp_send(test_app, TEST_READY, NULL, 0), 0);
    CHECK(otp_recv_tag(GO, OTP_INFINITY) != NULL);
    overflow(arg);
}

TEST_WITH(stack_overflow_of_many_at_once, .real = true, .opts.force_isolation = true)
{
    enum { N = 30 };
    otp_ref ref[N];
    otp_pid p[N];
    for (int i = 0; i < N; i++) p[i] = test_start(overflow_on_go, NULL, &ref[i]);
    for (int i = 0; i < N; i++) CHECK_EQ(otp_send(p[i], GO, NULL, 0), 0);
    for (int i = 0; i < N; i++) CHECK_EQ(test_down(ref[i])->kind, OTP_REASON_STACK_OVERFLOW);
}

/* A fault that is no overflow is not taken for one. */
TEST_WITH(stack_a_bad_access_is_no_overflow, .opts.force_isolation = true)
{
    otp_ref ref;
    CHECK(otp_spawn_monitor(test_crash, NULL, &ref).id != 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_CRASH);
}

/* -- high water, and what a stack costs ------------------------------------------------------------------- */

static void measure(void *arg)
{
    (void)arg;
    size_t before = otp_stack_high_water();
    burrow(100 << 10);
    size_t after = otp_stack_high_water();
    CHECK(before > 0);
    CHECK(before <= after);
    CHECK(after >= 100 << 10);
    CHECK(after <= 256 << 10);
    otp_yield();
    CHECK(otp_stack_high_water() >= 100 << 10);
    burrow(150 << 10);
    CHECK(otp_stack_high_water() >= 150 << 10);
}

TEST(stack_high_water_mark)
{
    otp_ref ref;
    CHECK(otp_spawn_monitor(measure, NULL, &ref).id != 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
}

static void hibernate(void *arg) { otp_hibernate(test_idle, arg); }

static otp_next ignore(void *state, const otp_msg *m)
{
    (void)state;
    return m->tag == TEST_STOP ? otp_stop_with(OTP_NORMAL) : OTP_OK;
}

static const otp_handler ignorer = { .name = "ignorer", .state_size = 16, .message = ignore };

TEST(stack_none_is_held_by_idle_handlers_and_hibernated_processes)
{
    otp_info info;
    otp_pid waiting = otp_spawn(test_idle, NULL), asleep = otp_spawn(hibernate, NULL), handler;
    SPAWN(&handler, .handler = &ignorer);
    test_until_waiting(waiting, OTP_WAITS_MESSAGE);
    test_until_waiting(asleep, OTP_WAITS_MESSAGE);
    test_until_waiting(handler, OTP_WAITS_MESSAGE);
    CHECK_EQ(otp_process_info(waiting, &info), 0);
    CHECK(info.stack_bytes > 0);
    CHECK_EQ(otp_process_info(asleep, &info), 0);
    CHECK_EQ(info.stack_bytes, 0);
    CHECK_EQ(otp_process_info(handler, &info), 0);
    CHECK_EQ(info.stack_bytes, 0);
    CHECK(info.handler);
    CHECK_EQ(otp_send(waiting, TEST_STOP, NULL, 0), 0);
    CHECK_EQ(otp_send(asleep, TEST_STOP, NULL, 0), 0);
    CHECK_EQ(otp_send(handler, TEST_STOP, NULL, 0), 0);
}

static long resident_kib(void)
{
    long total = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f) return -1;
    if (fscanf(f, "%ld %ld", &total, &resident) != 2) resident = -1;
    if (fclose(f) != 0) resident = -1;
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void end_at_once(void *arg) { (void)arg; }

TEST_WITH(stack_reuse_does_not_grow, .real = true, .not_sanitized = true)
{
    for (int i = 0; i < 1000; i++) CHECK(otp_spawn(end_at_once, NULL).id != 0);
    test_leftovers();
    long before = resident_kib();
    if (before < 0) return;                         /* not this system */
    for (int i = 0; i < 200000; i++) {
        otp_pid p = otp_spawn(end_at_once, NULL);
        CHECK(p.id != 0);
        if (i % 1000 == 0) CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
    }
    test_leftovers();
    CHECK(resident_kib() - before < 16 << 10);
}

/* Two schedulers: each may keep a few in its cache as they are. */
TEST_WITH(stack_deep_ones_are_trimmed, .real = true, .not_sanitized = true, .opts.schedulers = 2)
{
    enum { N = 300 };
    static otp_pid p[N];
    static otp_ref ref[N];
    size_t bytes = 200 << 10;
    long before = resident_kib();
    if (before < 0) return;
    for (int i = 0; i < N; i++) p[i] = test_start(deep_and_wait, &bytes, &ref[i]);
    CHECK(resident_kib() - before >= N * 200);
    for (int i = 0; i < N; i++) CHECK_EQ(otp_send(p[i], TEST_STOP, NULL, 0), 0);
    for (int i = 0; i < N; i++) CHECK_EQ(test_down(ref[i])->kind, OTP_REASON_NORMAL);
    for (int i = 0; i < 1000 && resident_kib() - before >= N * 100; i++) otp_sleep(1);     /* it may be done later */
    CHECK(resident_kib() - before < N * 100);
}

static void answer(void *arg)
{
    int n = (int)(intptr_t)arg;
    const otp_msg *m = otp_recv_tag(GO, OTP_INFINITY);
    CHECK(m != NULL);
    CHECK_EQ(OTP_SEND(m->from, VALUE, n), 0);
}

TEST(stack_many_processes)
{
    enum { MOST = 20000 };
    static otp_pid p[MOST];
    int n = test_many(MOST, 300);
    for (int round = 0; round < 2; round++) {
        long long sum = 0;
        for (int i = 0; i < n; i++) {
            p[i] = otp_spawn(answer, (void *)(intptr_t)i);
            CHECK(p[i].id != 0);
        }
        CHECK_EQ(otp_processes(NULL, 0), n + 1);
        for (int i = 0; i < n; i++) CHECK_EQ(otp_send(p[i], GO, NULL, 0), 0);
        for (int i = 0; i < n; i++) {
            const otp_msg *m = otp_recv_tag(VALUE, TEST_WAIT);
            CHECK(m != NULL);
            sum += *OTP_PAYLOAD(m, int);
        }
        CHECK_EQ(sum, (long long)n * (n - 1) / 2);
        test_leftovers();
    }
}

/* -- registers survive switches --------------------------------------------------------------------------- */

struct numbers { double d[8]; float f[4]; long double l[2]; uint64_t u[12]; };

/* Everything is kept in registers as far as the compiler can, over each call of `between`. */
#define CALCULATE(out, seed, rounds, between)                                                               \
    do {                                                                                                    \
        double a = (seed), b = a + 1, c = a + 2, d = a + 3, e = a + 4, g = a + 5, h = a + 6, k = a + 7;     \
        float fa = (float)(seed), fb = fa + 1, fc = fa + 2, fd = fa + 3;                                    \
        long double la = (seed), lb = la + 1;                                                               \
        uint64_t u = (uint64_t)(seed), v = u + 1, w = u + 2, x = u + 3, y = u + 4, z = u + 5;               \
        uint64_t o = u + 6, p = u + 7, q = u + 8, r = u + 9, s = u + 10, t = u + 11;                        \
        for (int round_ = 0; round_ < (rounds); round_++) {                                                 \
            a = a * 1.0000001 + b; b = b * 0.9999999 + c; c = c * 1.0000003 - d; d = d * 0.9999998 + e;     \
            e = e * 0.5 + g; g = g * 0.75 - h; h = h * 0.875 + k; k = k * 0.5 + a * 1e-9;                   \
            fa = fa * 0.5f + fb; fb = fb * 0.25f + fc; fc = fc * 0.5f + fd; fd = fd * 0.5f + 1;             \
            la = la * 0.5L + lb; lb = lb * 0.5L + 1;                                                        \
            u += v * 3; v ^= w << 7; w += x >> 3; x ^= y * 5; y += z ^ 77; z = z * 9 + u;                   \
            o += p * 3; p ^= q << 7; q += r >> 3; r ^= s * 5; s += t ^ 77; t = t * 9 + o;                   \
            between;                                                                                        \
        }                                                                                                   \
        *(out) = (struct numbers){ { a, b, c, d, e, g, h, k }, { fa, fb, fc, fd }, { la, lb },              \
                                   { u, v, w, x, y, z, o, p, q, r, s, t } };                                \
    } while (0)

static bool equal(const struct numbers *x, const struct numbers *y)
{
    bool same = true;
    for (int i = 0; i < 8; i++) same = same && memcmp(&x->d[i], &y->d[i], sizeof x->d[i]) == 0;
    for (int i = 0; i < 4; i++) same = same && memcmp(&x->f[i], &y->f[i], sizeof x->f[i]) == 0;
    for (int i = 0; i < 2; i++) same = same && !(x->l[i] < y->l[i]) && !(x->l[i] > y->l[i]);
    for (int i = 0; i < 12; i++) same = same && x->u[i] == y->u[i];
    return same;
}

static void calculate(void *arg)
{
    int seed = *(int *)arg;
    struct numbers with, without;
    CALCULATE(&without, seed, 200, (void)0);
    CALCULATE(&with, seed, 200, otp_yield());
    CHECK(equal(&with, &without));
    CALCULATE(&with, seed, 200, {
        CHECK_EQ(OTP_SEND(otp_self(), VALUE, seed), 0);
        CHECK(otp_recv_tag(VALUE, 1000) != NULL);
    });
    CHECK(equal(&with, &without));
}

TEST(stack_registers_survive_switches)
{
    enum { N = 16 };
    int seed[N];
    otp_ref ref[N];
    for (int i = 0; i < N; i++) {
        seed[i] = i * 1000 + 1;
        CHECK(otp_spawn_monitor(calculate, &seed[i], &ref[i]).id != 0);
    }
    for (int i = 0; i < N; i++) CHECK_EQ(test_down(ref[i])->kind, OTP_REASON_NORMAL);
}

struct volley { otp_pid to; double start; };

static void play(void *arg)
{
    struct volley *v = arg;
    double mine = v->start, expected = v->start;
    for (int i = 0; i < 500; i++) {
        const otp_msg *m = otp_recv_tag(VALUE, TEST_WAIT);
        CHECK(m != NULL);
        mine = mine * 1.001 + 0.5;
        double got = *OTP_PAYLOAD(m, double) + 1;
        CHECK_EQ(OTP_SEND(m->from, VALUE, got), 0);
    }
    for (int i = 0; i < 500; i++) expected = expected * 1.001 + 0.5;
    CHECK(memcmp(&mine, &expected, sizeof mine) == 0);
}

TEST(stack_floating_point_over_ping_pong)
{
    struct volley v = { otp_self(), 3.25 };
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(play, &v, &ref);
    double ball = 0;
    for (int i = 0; i < 500; i++) {
        CHECK_EQ(OTP_SEND(p, VALUE, ball), 0);
        const otp_msg *m = otp_recv_tag(VALUE, TEST_WAIT);
        CHECK(m != NULL);
        ball = *OTP_PAYLOAD(m, double);
    }
    CHECK_EQ(ball, 500);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
}

__attribute__((noinline)) static bool aligned(const volatile void *p)
{
    uintptr_t volatile at = (uintptr_t)p;
    return at % 16 == 0;
}

static void format_numbers(void *arg)
{
    _Alignas(16) volatile char here[16] = { 0 };
    char text[200];
    (void)arg;
    CHECK(aligned(here));
    /* a variadic call with floating-point arguments saves them with aligned stores */
    CHECK(snprintf(text, sizeof text, "%.3f %.3Lf %d", 1.5, 2.25L, here[0]) > 0);
    CHECK_STR(text, "1.500 2.250 0");
    otp_yield();
    CHECK(snprintf(text, sizeof text, "%.1f", 0.5) > 0);
}

TEST(stack_alignment)
{
    otp_ref ref;
    for (int i = 0; i < 20; i++) {
        CHECK(otp_spawn_monitor(format_numbers, NULL, &ref).id != 0);
        CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
    }
    format_numbers(NULL);
}

static int exit_deep(int depth)
{
    volatile char here[1024];
    here[0] = 1;
    if (depth < 0) return 0;
    if (depth == 0) otp_exit(OTP_USER(7, NULL));
    return exit_deep(depth - 1) + here[0];
}

static void exit_from_the_depth(void *arg)
{
    (void)arg;
    CHECK(exit_deep(100) > 0);
}

TEST(stack_exit_from_the_depth)
{
    for (int i = 0; i < test_many(500, 20); i++) {
        otp_ref ref;
        CHECK(otp_spawn_monitor(exit_from_the_depth, NULL, &ref).id != 0);
        CHECK_EQ(test_down(ref)->code, 7);
    }
}

/* Hibernating again and again must not use up the stack. */
static void hibernate_loop(void *arg)
{
    int *n = arg;
    const otp_msg *m = otp_recv_tag(GO, TEST_WAIT);
    CHECK(m != NULL);
    CHECK_EQ(OTP_SEND(m->from, DONE, *n), 0);
    if (++*n < 100) otp_hibernate(hibernate_loop, n);
}

TEST(stack_hibernating_many_times)
{
    int n = 0;
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(hibernate_loop, &n, &ref);
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(otp_send(p, GO, NULL, 0), 0);
        const otp_msg *m = otp_recv_tag(DONE, TEST_WAIT);
        CHECK(m != NULL);
        CHECK_EQ(*OTP_PAYLOAD(m, int), i);
    }
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
}
