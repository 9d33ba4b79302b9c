/* The lock-free parts under load: what tests/models/ checks on small instances, here with many threads, natively, under
   ThreadSanitizer and on emulated machines. Every count is exact: nothing lost, nothing twice.

     OTP_STRESS=20 build/tests/test_stress_lockfree        does twenty times as much                 */
#include "test.h"

static int stress(int normal, int reduced)
{
    const char *text = getenv("OTP_STRESS");
    int factor = text ? atoi(text) : 1;
    return test_many(normal, reduced) * (factor > 0 ? factor : 1);
}

enum { NUMBERED = 1, DONE, TOKEN, BLOCK, TIMER, WORK };

/* -- mailboxes: threads of the program push, receivers park all the time ------------------------------------ */

enum { RECEIVERS = 4, SENDERS = 3 };
typedef struct numbered { int sender, number; uint64_t to; } numbered;

static otp_pid receivers[RECEIVERS];
static int per_sender;

static void receive_numbered(void *arg)
{
    (void)arg;
    int next[SENDERS] = { 0 };
    for (int left = SENDERS * per_sender; left > 0; left--) {
        const otp_msg *m = otp_recv_tag(NUMBERED, TEST_WAIT);
        CHECK(m != NULL);
        const numbered *n = m->data;
        CHECK_EQ(n->number, next[n->sender]);       /* in the order of its sender */
        CHECK(n->to == otp_self().id);
        next[n->sender]++;
    }
    CHECK_EQ(otp_send(test_app, DONE, NULL, 0), 0);
}

static void *send_numbered(void *arg)
{
    test_foreign = true;
    int sender = *(int *)arg;
    for (int i = 0; i < per_sender; i++)
        for (int r = 0; r < RECEIVERS; r++) {
            numbered n = { sender, i, receivers[r].id };
            CHECK_EQ(otp_send(receivers[r], NUMBERED, &n, sizeof n), 0);
            if (i % 64 == sender) (void)sched_yield();      /* let them park */
        }
    return NULL;
}

TEST_REAL(stress_mailbox_many_threads_push_while_the_owners_park)
{
    per_sender = stress(40000, 1500);
    for (int i = 0; i < RECEIVERS; i++) SPAWN(&receivers[i], .fn = receive_numbered);
    pthread_t threads[SENDERS];
    int numbers[SENDERS];
    for (int i = 0; i < SENDERS; i++) {
        numbers[i] = i;
        CHECK_EQ(pthread_create(&threads[i], NULL, send_numbered, &numbers[i]), 0);
    }
    for (int i = 0; i < RECEIVERS; i++) CHECK(otp_recv_tag(DONE, TEST_WAIT) != NULL);
    for (int i = 0; i < SENDERS; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

/* -- slots: processes end and their records are used again, while others send, monitor and ask ---------------- */

static _Atomic(uint64_t) last_pid[8];
static atomic_int strays;

/* Lives for a moment; whatever it gets must have been meant for it. */
static void short_life(void *arg)
{
    int i = (int)(intptr_t)arg;
    uint64_t self = otp_self().id;
    atomic_store(&last_pid[i % 8], self);
    for (int n = i % 3; n > 0; n--) {
        const otp_msg *m = otp_recv(0);
        if (m && m->tag == NUMBERED && ((const numbered *)m->data)->to != self) atomic_fetch_add(&strays, 1);
        if (n > 1) otp_yield();
    }
}

static void bear(void *arg)
{
    int n = *(int *)arg;
    for (int i = 0; i < n; i++) {
        otp_ref ref;
        otp_pid p = otp_spawn_monitor(short_life, (void *)(intptr_t)i, &ref);
        CHECK(p.id != 0);
        numbered to = { 0, 0, p.id };
        int rc = otp_send(p, NUMBERED, &to, sizeof to);
        CHECK(rc == 0 || rc == OTP_ENOPROC);
        CHECK(otp_recv_ref(ref, TEST_WAIT) != NULL);
    }
    CHECK_EQ(otp_send(test_app, DONE, NULL, 0), 0);
}

/* Monitors and sends to whoever was there last: every monitor is answered once. */
static void pry(void *arg)
{
    int n = *(int *)arg;
    for (int i = 0; i < n; i++) {
        otp_pid p = { atomic_load(&last_pid[i % 8]) };
        if (p.id == 0) {
            otp_yield();
            continue;
        }
        numbered to = { 1, 0, p.id };
        int rc = otp_send(p, NUMBERED, &to, sizeof to);
        CHECK(rc == 0 || rc == OTP_ENOPROC);
        otp_ref ref = otp_monitor(p);
        CHECK(ref.id != 0);
        const otp_msg *m = otp_recv_ref(ref, TEST_WAIT);
        CHECK(m != NULL && m->tag == OTP_DOWN && otp_same(m->from, p));
        CHECK(otp_recv_ref(ref, 0) == NULL);
    }
    CHECK_EQ(otp_send(test_app, DONE, NULL, 0), 0);
}

TEST(stress_slots_are_used_again_while_others_send_and_monitor)
{
    int n = stress(30000, 400);
    atomic_store(&strays, 0);
    for (int i = 0; i < 8; i++) atomic_store(&last_pid[i], 0);
    for (int i = 0; i < 3; i++) {
        SPAWN(NULL, .fn = bear, .arg = &n);
        SPAWN(NULL, .fn = pry, .arg = &n);
    }
    for (int i = 0; i < 6; i++) CHECK(otp_recv_tag(DONE, TEST_WAIT) != NULL);
    CHECK_EQ(atomic_load(&strays), 0);
}

/* -- stealing and replacing: tokens go round while processes compute ------------------------------------------ */

enum { RING = 24, TOKENS = 6 };
static otp_pid ring[RING];
static atomic_int owners;

static void compute(long n)
{
    static _Atomic long sink;
    long x = 0;
    for (long i = 0; i < n; i++) x += i ^ (x << 1);
    atomic_store_explicit(&sink, x, memory_order_relaxed);
}

static void pass_tokens(void *arg)
{
    int me = (int)(intptr_t)arg;
    for (;;) {
        const otp_msg *m = otp_recv(TEST_WAIT);
        CHECK(m != NULL);
        if (m->tag == TEST_STOP) return;
        int left = *(const int *)m->data;
        if (me % 6 == 0) compute(me % 12 == 0 ? 200 : 20000);      /* user code: its scheduler can be taken meanwhile */
        if (left == 0) {
            CHECK_EQ(otp_send(test_app, DONE, NULL, 0), 0);
            continue;
        }
        left--;
        CHECK_EQ(otp_send(ring[(me + 1) % RING], TOKEN, &left, sizeof left), 0);
    }
}

/* Holds its scheduler for longer than it may. */
static void hold(void *arg)
{
    int n = *(int *)arg;
    for (int i = 0; i < n; i++) {
        struct timespec ts = { 0, 3000000 };
        if (nanosleep(&ts, NULL) != 0) { }
        atomic_fetch_add(&owners, 1);
        otp_yield();
    }
    CHECK_EQ(otp_send(test_app, DONE, NULL, 0), 0);
}

TEST_WITH(stress_steal_and_replace_storm, .real = true, .opts.stuck = 1, .opts.report_stuck = -1)
{
    int hops = stress(12000, 800), holds = stress(100, 15), holders = 3;
    atomic_store(&owners, 0);
    for (int i = 0; i < RING; i++) SPAWN(&ring[i], .fn = pass_tokens, .arg = (void *)(intptr_t)i);
    for (int i = 0; i < holders; i++) SPAWN(NULL, .fn = hold, .arg = &holds);
    for (int i = 0; i < TOKENS; i++) CHECK_EQ(otp_send(ring[i * (RING / TOKENS)], TOKEN, &hops, sizeof hops), 0);
    for (int i = 0; i < TOKENS + holders; i++) CHECK(otp_recv_tag(DONE, TEST_WAIT) != NULL);
    CHECK_EQ(atomic_load(&owners), holds * holders);
    for (int i = 0; i < RING; i++) {
        CHECK_EQ(otp_send(ring[i], TEST_STOP, NULL, 0), 0);
        CHECK_EQ(otp_await_exit(ring[i], TEST_WAIT, NULL), 0);
    }
    test_quiet();       /* no token came twice */
}

/* One process that is in and out of the runtime all the time, and whose queue many others want to borrow from. */
static atomic_int born, lived;

static void live(void *arg)
{
    (void)arg;
    atomic_fetch_add_explicit(&lived, 1, memory_order_relaxed);
}

static void bring_forth(void *arg)
{
    int n = *(int *)arg;
    for (int i = 0; i < n; i++) {
        compute(i % 7 * 100);           /* outside: the queue may be borrowed */
        otp_pid p = otp_spawn(live, NULL);
        if (p.id != 0) atomic_fetch_add_explicit(&born, 1, memory_order_relaxed);
        if (i % 1000 == 999) otp_yield();
    }
    CHECK_EQ(otp_send(test_app, DONE, NULL, 0), 0);
}

TEST(stress_many_thieves_borrow_from_one_who_comes_and_goes)
{
    int n = stress(60000, 2000);
    atomic_store(&born, 0);
    atomic_store(&lived, 0);
    SPAWN(NULL, .fn = bring_forth, .arg = &n);
    CHECK(otp_recv_tag(DONE, TEST_WAIT) != NULL);
    for (int i = 0; i < 10000 && atomic_load(&lived) < atomic_load(&born); i++) otp_sleep(1);
    CHECK_EQ(atomic_load(&born), n);
    CHECK_EQ(atomic_load(&lived), n);
}

/* -- timers: cancelled by others while they fire ---------------------------------------------------------------- */

enum { CANCELLERS = 3 };
static atomic_int fired, cancelled;
static otp_pid timer_target;

static void count_fired(void *arg)
{
    (void)arg;
    for (const otp_msg *m; (m = otp_recv(TEST_WAIT)) != NULL && m->tag != TEST_STOP;)
        if (m->tag == TIMER) atomic_fetch_add(&fired, 1);
}

/* Gets references of timers and cancels them, some at once and some about when they fire. */
static void cancel_timers(void *arg)
{
    (void)arg;
    for (const otp_msg *m; (m = otp_recv(TEST_WAIT)) != NULL && m->tag != TEST_STOP;) {
        otp_ref ref = *(const otp_ref *)m->data;
        if (ref.id % 3 == 0) otp_yield();
        if (otp_cancel_timer(ref) >= 0) atomic_fetch_add(&cancelled, 1);
    }
}

TEST(stress_timers_fire_or_are_cancelled_but_never_both)
{
    int n = stress(12000, 300);
    atomic_store(&fired, 0);
    atomic_store(&cancelled, 0);
    otp_pid cancellers[CANCELLERS];
    SPAWN(&timer_target, .fn = count_fired);
    for (int i = 0; i < CANCELLERS; i++) SPAWN(&cancellers[i], .fn = cancel_timers);
    for (int i = 0; i < n; i++) {
        otp_ref ref = otp_send_after(i % 3, timer_target, TIMER, &i, sizeof i);
        CHECK(ref.id != 0);
        if (i % 16 == 15) otp_sleep(1);
        /* two of them want the same timer */
        CHECK_EQ(otp_send(cancellers[i % CANCELLERS], WORK, &ref, sizeof ref), 0);
        CHECK_EQ(otp_send(cancellers[(i + 1) % CANCELLERS], WORK, &ref, sizeof ref), 0);
    }
    for (int i = 0; i < CANCELLERS; i++) {
        CHECK_EQ(otp_send(cancellers[i], TEST_STOP, NULL, 0), 0);
        CHECK_EQ(otp_await_exit(cancellers[i], TEST_WAIT, NULL), 0);
    }
    for (int i = 0; i < 10000 && atomic_load(&fired) + atomic_load(&cancelled) < n; i++) otp_sleep(1);
    otp_sleep(5);       /* time for one too many */
    CHECK_EQ(atomic_load(&fired) + atomic_load(&cancelled), n);
    CHECK_EQ(otp_send(timer_target, TEST_STOP, NULL, 0), 0);
    CHECK_EQ(otp_await_exit(timer_target, TEST_WAIT, NULL), 0);
}

/* -- memory: blocks are taken on one scheduler and given back on another ---------------------------------------- */

static otp_pid sinks[4];

static void sink(void *arg)
{
    (void)arg;
    for (const otp_msg *m; (m = otp_recv(TEST_WAIT)) != NULL && m->tag != TEST_STOP;) {
        const unsigned char *data = m->data;
        for (size_t i = 0; i < m->size; i += 7) CHECK_EQ(data[i], (unsigned char)(m->size + i));
    }
    CHECK_EQ(otp_send(test_app, DONE, NULL, 0), 0);
}

static void source(void *arg)
{
    int n = *(int *)arg;
    static const size_t sizes[] = { 8, 24, 100, 200, 700, 3000 };
    unsigned char data[3000];
    for (int i = 0; i < n; i++) {
        size_t size = sizes[i % 6];
        for (size_t k = 0; k < size; k++) data[k] = (unsigned char)(size + k);
        CHECK_EQ(otp_send(sinks[i % 4], BLOCK, data, size), 0);
        if (i % 100 == 99) otp_yield();
    }
    CHECK_EQ(otp_send(test_app, DONE, NULL, 0), 0);
}

TEST(stress_blocks_travel_between_schedulers)
{
    int n = stress(40000, 600);
    for (int i = 0; i < 4; i++) SPAWN(&sinks[i], .fn = sink);
    for (int i = 0; i < 4; i++) SPAWN(NULL, .fn = source, .arg = &n);
    for (int i = 0; i < 4; i++) CHECK(otp_recv_tag(DONE, TEST_WAIT) != NULL);
    for (int i = 0; i < 4; i++) CHECK_EQ(otp_send(sinks[i], TEST_STOP, NULL, 0), 0);
    for (int i = 0; i < 4; i++) CHECK(otp_recv_tag(DONE, TEST_WAIT) != NULL);
}

/* -- sleeping: a thread of the program is answered by schedulers that have just gone to sleep, and they are stopped
      in that moment ------------------------------------------------------------------------------------------- */

static void answer(void *arg)
{
    (void)arg;
    for (const otp_msg *m; (m = otp_recv(OTP_INFINITY)) != NULL && m->tag != TEST_STOP;)
        if (otp_send(m->from, DONE, NULL, 0) != 0) FAIL("no answer");
}

TEST_WITH(stress_sleepers_are_woken_and_stopped, .plain = true, .real = true)
{
    int starts = stress(100, 10), calls = stress(300, 40);
    for (int i = 0; i < starts; i++) {
        CHECK_EQ(otp_start(&(otp_opts){ .schedulers = test_opt_schedulers, .log = test_log }), 0);
        otp_pid p = otp_spawn(answer, NULL);
        CHECK(p.id != 0);
        CHECK(otp_recv(0) == NULL);     /* from here on this thread is a guest: it has a pid to be answered at */
        for (int k = 0; k < calls; k++) {
            CHECK_EQ(otp_send(p, WORK, NULL, 0), 0);
            CHECK(otp_recv_tag(DONE, TEST_WAIT) != NULL);
        }
        CHECK_EQ(otp_send(p, TEST_STOP, NULL, 0), 0);
        CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
        CHECK_EQ(otp_stop(TEST_WAIT), 0);
    }
}
