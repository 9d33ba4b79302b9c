/* The explorer of schedules: each kind of failure is found, told, shrunk and replayed; faults are injected at each n;
   what is right passes. */
#define OTP_IMPLEMENTATION      /* its own: the header under test brings otp.h along */
#include "test.h"

#include "otp_explore.h"

#include <sys/socket.h>
#include <time.h>

enum { PING = 1, PONG, STOP, TICK };

static otp_explore_result r;        /* of the exploration under test */

#define EXPLORE(...) EXPLORE_WITH(__VA_ARGS__, .quiet = true)
#define EXPLORE_WITH(scenario, ...) otp_explore(scenario, NULL, (&(otp_explore_opts){ __VA_ARGS__ }), &r)

static void await(otp_pid pid) { otp_explore_check(otp_await_exit(pid, OTP_INFINITY, NULL) == 0); }

static void kill_it(otp_pid pid)
{
    otp_explore_check(otp_exit_signal(pid, OTP_KILL) == 0);
    await(pid);
}

static void nothing(void *arg) { (void)arg; }

/* -- kinds of failure ---------------------------------------------------------------------------------------------- */

static int balance;

static void deposit(void *arg)
{
    int now = balance;
    otp_explore_point();
    balance = now + *(const int *)arg;
}

static const int ten = 10, five = 5;

static void bank(void *arg)
{
    (void)arg;
    balance = 0;
    otp_pid a = otp_spawn(deposit, (void *)(uintptr_t)&ten), b = otp_spawn(deposit, (void *)(uintptr_t)&five);
    await(a);
    await(b);
    otp_explore_check(balance == 15);
}

TEST_PLAIN(a_failed_check_is_found)
{
    CHECK_EQ(EXPLORE(bank, .seeds = 100), 1);
    CHECK_EQ(r.failure, OTP_EXPLORE_CHECK);
    CHECK(strstr(r.text, "balance == 15 (test_explore.c:") != NULL);
    CHECK(strstr(r.schedule, "deposit#2") != NULL);
    CHECK(strstr(r.schedule, "-- is preempted here") != NULL);
    CHECK_EQ(r.preemptions, 1);
    CHECK(r.seed >= 1 && r.seed <= 100);
    CHECK(r.exact);
}

static void crashes_late(void *arg)
{
    (void)arg;
    if (balance == 2) test_crash(NULL);
    balance++;
    otp_explore_point();
    balance--;
}

static void crash(void *arg)
{
    (void)arg;
    otp_pid p[3];
    balance = 0;
    for (int i = 0; i < 3; i++) p[i] = otp_spawn(crashes_late, NULL);
    for (int i = 0; i < 3; i++) await(p[i]);
}

static const otp_opts contain = { .force_isolation = true };

TEST_WITH(a_crash_is_found, .real = true, .plain = true, .opts.force_isolation = true, .not_sanitized = true)
{
    CHECK_EQ(EXPLORE(crash, .seeds = 500, .runtime = &contain), 1);
    CHECK_EQ(r.failure, OTP_EXPLORE_CRASH);
    CHECK(strstr(r.text, "ended: crash: SIGSEGV at 0x10") != NULL);
    CHECK_EQ(r.preemptions, 2);         /* two of them have to stand between ++ and -- */
    CHECK(r.exact);
}

static bool crash_is_expected(otp_pid pid, const otp_reason *why, void *arg)
{
    (void)pid;
    (void)arg;
    return why->kind == OTP_REASON_CRASH;
}

TEST_WITH(an_expected_crash_is_none, .real = true, .plain = true, .opts.force_isolation = true, .not_sanitized = true)
{
    CHECK_EQ(EXPLORE(crash, .seeds = 500, .runtime = &contain, .expected = crash_is_expected), 0);
    CHECK_EQ(r.failure, OTP_EXPLORE_OK);
    CHECK_EQ(r.runs, 501);
}

static void sleeps_badly(void *arg)
{
    (void)arg;
    otp_sleep(-7);
}

static void misuse(void *arg)
{
    (void)arg;
    await(otp_spawn(sleeps_badly, NULL));
}

TEST_PLAIN(a_misuse_is_a_crash)
{
    CHECK_EQ(EXPLORE(misuse), 1);
    CHECK_EQ(r.failure, OTP_EXPLORE_CRASH);
    CHECK(strstr(r.text, "badarg: otp_sleep") != NULL);
}

static void ends_badly(void *arg)
{
    (void)arg;
    otp_exit(OTP_USER(7, "no luck"));
}

TEST_PLAIN(an_abnormal_end_of_the_first_process_is_a_failure)
{
    CHECK_EQ(EXPLORE(ends_badly), 1);
    CHECK_EQ(r.failure, OTP_EXPLORE_CHECK);
    CHECK(strstr(r.text, "ends_badly, the first process, ended: user 7: no luck") != NULL);
}

static void waits_for_pong(void *arg)
{
    const otp_msg *m = otp_recv_tag(PONG, OTP_INFINITY);
    (void)arg;
    otp_explore_check(m != NULL);
}

static otp_next silent_message(void *state, const otp_msg *m)
{
    (void)state;
    return m->tag == STOP ? otp_stop_with(OTP_NORMAL) : OTP_OK;
}
static const otp_handler silent = { .name = "silent", .message = silent_message };

static void deadlock(void *arg)
{
    (void)arg;
    otp_pid p, q = otp_spawn(waits_for_pong, NULL);
    int reply;
    otp_explore_check(otp_send(q, PING, NULL, 0) == 0);
    otp_explore_check(otp_spawn_opt(&(otp_spawn_opts){ .handler = &silent, .name = "silence" }, &p) == 0);
    (void)otp_call(p, PING, NULL, 0, &reply, sizeof reply, OTP_INFINITY);
}

TEST_PLAIN(a_deadlock_tells_who_waits_for_what)
{
    CHECK_EQ(EXPLORE(deadlock), 1);
    CHECK_EQ(r.failure, OTP_EXPLORE_DEADLOCK);
    CHECK(strstr(r.text, "all wait for ever: deadlock (") != NULL);
    CHECK(strstr(r.text, ") waits for a call to silence") != NULL);
    CHECK(strstr(r.text, "waits_for_pong (test_explore.c:") != NULL);
    CHECK(strstr(r.text, ") waits for a message, 1 message in its mailbox") != NULL);
    CHECK(strstr(r.text, "silence (test_explore.c:") != NULL);
}

static void leaves_one(void *arg)
{
    (void)arg;
    otp_explore_check(otp_spawn(waits_for_pong, NULL).id != 0);
}

static void ticks(void *arg)
{
    (void)arg;
    for (;;) otp_sleep(10);
}

static void leaves_a_clock(void *arg)
{
    (void)arg;
    otp_explore_check(otp_spawn(ticks, NULL).id != 0);
}

static void ends_a_bit_later(void *arg)
{
    (void)arg;
    otp_sleep(500);
}

static void leaves_one_for_a_while(void *arg)
{
    (void)arg;
    otp_explore_check(otp_spawn(ends_a_bit_later, NULL).id != 0);
}

TEST_PLAIN(a_process_that_is_left_is_a_leak)
{
    CHECK_EQ(EXPLORE(leaves_one), 1);
    CHECK_EQ(r.failure, OTP_EXPLORE_LEAK);
    CHECK(strstr(r.text, "waits_for_pong (test_explore.c:") != NULL);
    CHECK_EQ(EXPLORE(leaves_one, .allow_leaks = true), 0);
    CHECK_EQ(EXPLORE(leaves_a_clock), 1);
    CHECK_EQ(r.failure, OTP_EXPLORE_LEAK);
    CHECK(strstr(r.text, "ticks (test_explore.c:") != NULL);
    CHECK(strstr(r.text, "still runs 1000 ms after") != NULL);
    CHECK_EQ(EXPLORE(leaves_a_clock, .allow_leaks = true, .seeds = 50), 0);
    CHECK_EQ(EXPLORE(leaves_one_for_a_while), 0);
    CHECK_EQ(EXPLORE(leaves_one_for_a_while, .grace = 100), 1);
}

static void *volatile slot;

static void fills_slot(void *arg)
{
    (void)arg;
    if (slot) return;
    otp_explore_point();
    slot = otp_explore_malloc(24);
}

static void loses_a_block(void *arg)
{
    (void)arg;
    slot = NULL;
    otp_pid a = otp_spawn(fills_slot, NULL), b = otp_spawn(fills_slot, NULL);
    await(a);
    await(b);
    otp_explore_free(slot);
}

TEST_PLAIN(a_block_that_is_never_freed_is_a_leak)
{
    CHECK_EQ(EXPLORE(loses_a_block), 1);
    CHECK_EQ(r.failure, OTP_EXPLORE_LEAK);
    CHECK(strstr(r.text, "a block of 24 bytes from test_explore.c:") != NULL);
    CHECK(r.preemptions >= 1);
    void *outside = otp_explore_malloc(100);
    CHECK(outside != NULL);
    otp_explore_free(outside);
}

/* A block of the runtime's own: what a bug in otp.h would do. */
static void loses_a_node(void *arg)
{
    (void)arg;
    otp__thread *t = otp__in();
    otp__node *n = otp__node_new(t->p, 0, 0, 1, OTP__K_MSG, 0);
    otp__out(t);
    otp_explore_check(n != NULL);
}

TEST_WITH(a_block_of_the_runtime_is_counted, .real = true, .plain = true, .not_sanitized = true)
{
    CHECK_EQ(EXPLORE(loses_a_node), 1);
    CHECK_EQ(r.failure, OTP_EXPLORE_LEAK);
    CHECK(strstr(r.text, "1 blocks of the runtime's memory") != NULL);
}

static const char *never_two(void *arg)
{
    (void)arg;
    return balance > 1 ? "two are inside" : NULL;
}

static void enters(void *arg)
{
    (void)arg;
    balance++;
    otp_explore_point();
    balance--;
}

static void two_enter(void *arg)
{
    (void)arg;
    balance = 0;
    otp_pid a = otp_spawn(enters, NULL), b = otp_spawn(enters, NULL);
    await(a);
    await(b);
}

TEST_PLAIN(a_broken_invariant_is_found)
{
    CHECK_EQ(EXPLORE(two_enter, .invariant = never_two), 1);
    CHECK_EQ(r.failure, OTP_EXPLORE_INVARIANT);
    CHECK_STR(r.text, "two are inside");
    CHECK_EQ(r.preemptions, 1);
    CHECK_EQ(EXPLORE(two_enter), 0);
}

static void sends_to_itself(void *arg)
{
    (void)arg;
    for (;;) {
        otp_explore_check(otp_send(otp_self(), PING, NULL, 0) == 0);
        otp_explore_check(otp_recv(0) != NULL);
    }
}

static void never_ends(void *arg)
{
    (void)arg;
    await(otp_spawn(sends_to_itself, NULL));
}

TEST_PLAIN(an_endless_run_is_ended)
{
    CHECK_EQ(EXPLORE(never_ends, .max_steps = 2000), 1);
    CHECK_EQ(r.failure, OTP_EXPLORE_ENDLESS);
    CHECK_STR(r.text, "more than 2000 points");
}

static volatile bool never;
static void computes(void *arg)
{
    (void)arg;
    while (!never) { }
}

static void one_computes(void *arg)
{
    (void)arg;
    otp_pid p;
    otp_explore_check(otp_spawn_opt(&(otp_spawn_opts){ .fn = computes, .name = "thinker" }, &p) == 0);
    await(p);
}

TEST_WITH(a_process_that_makes_no_call_is_named, .real = true, .plain = true, .opts.force_isolation = true, .not_sanitized = true)
{
    CHECK_EQ(EXPLORE(one_computes, .watchdog = 50, .runtime = &contain), 1);
    CHECK_EQ(r.failure, OTP_EXPLORE_STUCK);
    CHECK(strstr(r.text, "thinker (test_explore.c:") != NULL);
    CHECK(strstr(r.text, "has computed for 50 ms without a call") != NULL);
    CHECK_EQ(EXPLORE(bank, .seeds = 100), 1);           /* and the next exploration works */
}

/* -- replay and shrinking ------------------------------------------------------------------------------------------ */

/* Two processes that fail in one order of many, among others that have nothing to do with it. */
static void bystander(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5; i++) otp_yield();
    if (otp_recv_tag(PING, 50) != NULL) otp_explore_point();
}

static void crowded_bank(void *arg)
{
    (void)arg;
    balance = 0;
    otp_pid p[6];
    for (int i = 0; i < 4; i++) p[i] = otp_spawn(bystander, NULL);
    p[4] = otp_spawn(deposit, (void *)(uintptr_t)&ten);
    p[5] = otp_spawn(deposit, (void *)(uintptr_t)&five);
    for (int i = 0; i < 2; i++) otp_explore_check(otp_send(p[i], PING, NULL, 0) == 0);
    for (int i = 0; i < 6; i++) await(p[i]);
    otp_explore_check(balance == 15);
}

TEST_PLAIN(shrinking_leaves_the_preemption_that_matters)
{
    CHECK_EQ(EXPLORE(crowded_bank, .strategy = OTP_EXPLORE_UNIFORM, .no_shrink = true), 1);
    uint64_t found = r.preemptions_found;
    CHECK(found > 5);
    CHECK_EQ(r.preemptions, found);
    size_t long_replay = strlen(r.replay);
    CHECK_EQ(EXPLORE(crowded_bank, .strategy = OTP_EXPLORE_UNIFORM), 1);
    CHECK_EQ(r.preemptions_found, found);               /* the same seed, the same run */
    CHECK_EQ(r.preemptions, 1);
    CHECK(strlen(r.replay) < long_replay / 3);
    CHECK(r.shrink_runs > 0);
    CHECK(r.exact);
}

TEST_PLAIN(a_replay_is_exact)
{
    static otp_explore_result first;
    CHECK_EQ(EXPLORE(crowded_bank), 1);
    first = r;
    CHECK_EQ(EXPLORE(crowded_bank, .replay = first.replay), 1);
    CHECK_EQ(r.runs, 1);
    CHECK_STR(r.text, first.text);
    CHECK_STR(r.schedule, first.schedule);
    CHECK_STR(r.replay, first.replay);
    CHECK(r.exact);
    char seed[32];
    (void)snprintf(seed, sizeof seed, "%llu", (unsigned long long)first.seed);
    CHECK_EQ(EXPLORE(crowded_bank, .replay = seed), 1);
    CHECK_EQ(r.runs, 2);                                /* the plain run, and this seed */
    CHECK_EQ(r.seed, first.seed);
    CHECK_EQ(r.preemptions_found, first.preemptions_found);
    CHECK_STR(r.schedule, first.schedule);
    CHECK_EQ(EXPLORE(crowded_bank, .replay = "0"), 0);
    CHECK_EQ(r.runs, 1);
    CHECK_EQ(EXPLORE(crowded_bank, .replay = "-"), 0);  /* a schedule without a deviation */
}

TEST_PLAIN(a_replay_comes_from_the_environment)
{
    static otp_explore_result first;
    char text[5000];
    CHECK_EQ(EXPLORE(bank), 1);
    first = r;
    CHECK_EQ(setenv("OTP_EXPLORE_REPLAY", first.replay, 1), 0);
    CHECK_EQ(EXPLORE(bank), 1);
    CHECK_EQ(r.runs, 1);
    CHECK_STR(r.schedule, first.schedule);
    (void)snprintf(text, sizeof text, "another:%s", first.replay);
    CHECK_EQ(setenv("OTP_EXPLORE_REPLAY", text, 1), 0);
    CHECK_EQ(EXPLORE(bank), 1);
    CHECK_EQ(r.runs, first.runs);                       /* it was not for this one */
    (void)snprintf(text, sizeof text, "bank:%s", first.replay);
    CHECK_EQ(setenv("OTP_EXPLORE_REPLAY", text, 1), 0);
    CHECK_EQ(EXPLORE(bank), 1);
    CHECK_EQ(r.runs, 1);
    CHECK_EQ(unsetenv("OTP_EXPLORE_REPLAY"), 0);
    CHECK_EQ(setenv("OTP_EXPLORE_SEEDS", "7", 1), 0);
    CHECK_EQ(EXPLORE(nothing), 0);
    CHECK_EQ(r.runs, 8);
    CHECK_EQ(unsetenv("OTP_EXPLORE_SEEDS"), 0);
}

TEST_PLAIN(bad_arguments_are_refused)
{
    CHECK_EQ(EXPLORE(bank, .replay = "12>"), OTP_EBADARG);
    CHECK_EQ(EXPLORE(bank, .replay = "x"), OTP_EBADARG);
    CHECK_EQ(EXPLORE(bank, .depth = -1), OTP_EBADARG);
    CHECK_EQ(EXPLORE(bank, .strategy = (otp_explore_strategy)9), OTP_EBADARG);
    CHECK_EQ(EXPLORE(NULL), OTP_EBADARG);
    CHECK_EQ(otp_start(NULL), 0);
    CHECK_EQ(EXPLORE(bank), OTP_EEXIST);
    CHECK_EQ(otp_stop(1000), 0);
    CHECK_EQ(otp_explore(bank, NULL, (&(otp_explore_opts){ .seeds = 50, .quiet = true }), NULL), 1);
    CHECK_EQ(otp_explore(nothing, NULL, NULL, NULL), 0);
}

/* A scenario that depends on what is not the schedule's. */
static int calls;
static void fickle(void *arg)
{
    (void)arg;
    balance = 0;
    otp_pid a = otp_spawn(enters, NULL);
    otp_explore_point();
    await(a);
    otp_explore_check(++calls != 5);
}

TEST_PLAIN(a_run_that_does_not_repeat_is_told)
{
    calls = 0;
    CHECK_EQ(EXPLORE(fickle, .seeds = 20), 1);
    CHECK(!r.exact);
    CHECK_EQ(r.failure, OTP_EXPLORE_CHECK);
}

/* -- strategies ---------------------------------------------------------------------------------------------------- */

/* Fails only when the other one does all of its work between two neighbouring points of this one: a matter of two
   orderings, but of 24 lucky draws in a row for who draws at each point. */
static void long_work(void *arg)
{
    (void)arg;
    for (int i = 0; i < 24; i++) otp_explore_point();
    balance++;
}

static void short_look(void *arg)
{
    (void)arg;
    for (int i = 0; i < 8; i++) otp_explore_point();
    int before = balance;
    otp_explore_point();
    otp_explore_check(before == balance);
    for (int i = 0; i < 8; i++) otp_explore_point();
}

static void narrow(void *arg)
{
    (void)arg;
    balance = 0;
    otp_pid a = otp_spawn(short_look, NULL), b = otp_spawn(long_work, NULL);
    await(a);
    await(b);
}

/* How many seeds of 2,000 find it. */
static int finds(otp_explore_strategy strategy, int depth)
{
    int n = 0;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        int rc = EXPLORE(narrow, .strategy = strategy, .depth = depth, .first_seed = seed, .seeds = 2001 - seed, .no_shrink = true);
        CHECK(rc >= 0);
        if (rc == 0) break;
        n++;
        seed = r.seed;
    }
    return n;
}

TEST_WITH(pct_finds_what_uniform_rarely_finds, .real = true, .plain = true, .seconds = 60)
{
    int uniform = finds(OTP_EXPLORE_UNIFORM, 0), pct = finds(OTP_EXPLORE_PCT, 2), first = finds(OTP_EXPLORE_PCT, 1);
    test_line("# of 2,000 seeds, uniform finds it with %d, PCT of depth 2 with %d, of depth 1 with %d", uniform, pct, first);
    CHECK_EQ(first, 0);                 /* priorities alone make no preemption in the middle */
    CHECK(pct >= 10);                   /* about 1 in 2 k for k points: 2,000 / 90 */
    CHECK(uniform * 4 < pct);
}

static void three_yield(void *arg)
{
    (void)arg;
    otp_pid p[3];
    for (int i = 0; i < 3; i++) p[i] = otp_spawn(bystander, NULL);
    for (int i = 0; i < 3; i++) await(p[i]);
}

TEST_PLAIN(schedules_differ)
{
    CHECK_EQ(EXPLORE(three_yield, .seeds = 500, .strategy = OTP_EXPLORE_UNIFORM), 0);
    CHECK_EQ(r.runs, 501);
    CHECK(r.distinct > 450 && r.distinct <= r.runs);
    uint64_t uniform = r.distinct;
    CHECK_EQ(EXPLORE(three_yield, .seeds = 500, .strategy = OTP_EXPLORE_UNIFORM), 0);
    CHECK_EQ(r.distinct, uniform);
    CHECK_EQ(EXPLORE(nothing, .seeds = 500), 0);
    CHECK_EQ(r.distinct, 1);
}

/* Waiting by asking again must not starve whoever is waited for, whatever the priorities. */
static void registers_late(void *arg)
{
    (void)arg;
    otp_yield();
    otp_explore_check(otp_register("late", otp_self()) == 0);
    otp_yield();
    otp_explore_check(otp_unregister("late") == 0 && otp_register("later", otp_self()) == 0);
    otp_explore_check(otp_recv_tag(STOP, OTP_INFINITY) != NULL);
}

static void polling_for_later(void *arg)
{
    (void)arg;
    otp_pid b = otp_spawn(registers_late, NULL);
    while (otp_whereis("later").id == 0) { }
    otp_explore_check(otp_send(b, STOP, NULL, 0) == 0);
    await(b);
}

TEST_PLAIN(polling_comes_to_an_end)
{
    CHECK_EQ(EXPLORE(polling_for_later, .seeds = 300, .max_steps = 100000), 0);
}

/* -- faults -------------------------------------------------------------------------------------------------------- */

static unsigned failed_at[16];      /* which of the allocations below failed, by run */

static void allocates(void *arg)
{
    (void)arg;
    void *a = otp_alloc(10), *b = otp_explore_malloc(20);
    if (!a) failed_at[0]++;
    if (!b) failed_at[1]++;
    int rc = otp_send(otp_self(), PING, NULL, 0);
    otp_explore_check(rc == 0 || rc == OTP_ENOMEM);
    if (rc != 0) failed_at[2]++;
    otp_pid p = otp_spawn(nothing, NULL);
    if (p.id == 0) failed_at[3]++;
    otp_ref t = otp_send_after(10, otp_self(), TICK, NULL, 0);
    if (t.id == 0) failed_at[4]++;
    otp_explore_free(b);
    if (p.id) await(p);
}

TEST_PLAIN(each_allocation_fails_once)
{
    memset(failed_at, 0, sizeof failed_at);
    CHECK_EQ(EXPLORE(allocates, .seeds = 1), 0);
    for (int i = 0; i < 5; i++) CHECK_EQ(failed_at[i], 0);
    CHECK_EQ(EXPLORE(allocates, .fault = OTP_EXPLORE_FAIL_ALLOC, .seeds = 1), 0);
    uint64_t sites = r.fault_sites;
    CHECK(sites >= 6);                  /* the timer is a message and a timer */
    memset(failed_at, 0, sizeof failed_at);
    CHECK_EQ(EXPLORE(allocates, .fault = OTP_EXPLORE_FAIL_ALLOC, .seeds = sites), 0);
    for (int i = 0; i < 4; i++) CHECK_EQ(failed_at[i], 1);
    CHECK_EQ(failed_at[4], 2);
    memset(failed_at, 0, sizeof failed_at);
    CHECK_EQ(EXPLORE(allocates, .fault = OTP_EXPLORE_FAIL_ALLOC, .fault_at = 2, .seeds = 10), 0);
    CHECK_EQ(failed_at[1], 10);
}

static void forgets_that_memory_ends(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) otp_explore_check(otp_alloc(10) != NULL);
}

TEST_PLAIN(a_fault_is_part_of_the_schedule)
{
    CHECK_EQ(EXPLORE(forgets_that_memory_ends, .fault = OTP_EXPLORE_FAIL_ALLOC, .fault_at = 2), 1);
    CHECK_STR(r.replay, "2f");
    CHECK(strstr(r.schedule, "gets no memory for a heap") != NULL);
    CHECK_EQ(EXPLORE(forgets_that_memory_ends, .replay = "2f"), 1);
    CHECK_EQ(r.failure, OTP_EXPLORE_CHECK);
    CHECK_EQ(EXPLORE(forgets_that_memory_ends, .replay = "4f"), 0);
}

static int stage;
static unsigned died_at[8];

static void five_stages(void *arg)
{
    (void)arg;
    for (stage = 0; stage < 5; stage++) otp_yield();
}

static void watches_stages(void *arg)
{
    (void)arg;
    otp_ref ref;
    otp_explore_check(otp_spawn_monitor(five_stages, NULL, &ref).id != 0);
    const otp_msg *m = otp_recv_ref(ref, OTP_INFINITY);
    otp_explore_check(m != NULL && m->tag == OTP_DOWN);
    bool killed = otp_reason_of(m)->kind == OTP_REASON_KILLED;
    otp_explore_check(killed || stage == 5);
    died_at[killed ? stage : 5]++;
}

TEST_PLAIN(a_process_is_killed_at_each_step)
{
    memset(died_at, 0, sizeof died_at);
    CHECK_EQ(EXPLORE(watches_stages, .fault = OTP_EXPLORE_KILL, .seeds = 100), 0);
    CHECK_EQ(r.fault_sites, 5);
    for (int i = 0; i < 5; i++) CHECK(died_at[i] == 20);
    CHECK_EQ(died_at[5], 1);            /* the plain run */
}

static unsigned io_seen[4];

static void reader(void *arg)
{
    int fd = *(int *)arg;
    char c[4];
    int64_t n = otp_read(fd, c, sizeof c, OTP_INFINITY);
    otp_explore_check(n == 2 || n == 0 || n == OTP_ECLOSED);
    io_seen[n == 2 ? 0 : n == 0 ? 1 : 2]++;
}

static void over_a_socket(void *arg)
{
    (void)arg;
    int fds[2];
    otp_explore_check(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    otp_pid p = otp_spawn(reader, &fds[1]);
    int64_t t0 = otp_now(), n = otp_write(fds[0], "hi", 2, OTP_INFINITY);
    otp_explore_check(n == 2 || n == OTP_ECLOSED);
    if (n != 2) io_seen[3]++;
    await(p);
    if (otp_now() - t0 >= 700) died_at[0]++;
    otp_explore_check(otp_close(fds[0]) == 0 && otp_close(fds[1]) == 0);
}

TEST_PLAIN(connections_are_reset_and_delayed)
{
    memset(io_seen, 0, sizeof io_seen);
    memset(died_at, 0, sizeof died_at);
    CHECK_EQ(EXPLORE(over_a_socket, .seeds = 50), 0);
    CHECK_EQ(io_seen[0], 51);
    CHECK_EQ(EXPLORE(over_a_socket, .seeds = 100, .fault = OTP_EXPLORE_IO_RESET), 0);
    CHECK_EQ(r.fault_sites, 2);
    CHECK(io_seen[3] > 20);             /* the writer was told … */
    CHECK(io_seen[1] > 10);             /* … and the reader saw the end */
    CHECK(io_seen[2] > 20);             /* the reader was told */
    CHECK_EQ(died_at[0], 0);
    CHECK_EQ(EXPLORE(over_a_socket, .seeds = 100, .fault = OTP_EXPLORE_IO_DELAY, .fault_ms = 700), 0);
    CHECK_EQ(died_at[0], 100);
}

static void answers(void *arg)
{
    (void)arg;
    const otp_msg *m = otp_recv_tag(PING, OTP_INFINITY);
    otp_explore_check(m != NULL && otp_reply(otp_from_of(m), NULL, 0) == 0);
}

static void asks_in_time(void *arg)
{
    (void)arg;
    otp_pid p = otp_spawn(answers, NULL);
    int64_t rc = otp_try_call(p, PING, NULL, 0, NULL, 0, 100);
    await(p);
    otp_explore_check(rc == 0);
}

TEST_PLAIN(time_goes_on_though_somebody_could_run)
{
    CHECK_EQ(EXPLORE(asks_in_time, .seeds = 200), 0);
    CHECK_EQ(EXPLORE(asks_in_time, .seeds = 200, .fault = OTP_EXPLORE_LATE), 1);
    CHECK_EQ(r.failure, OTP_EXPLORE_CHECK);
    CHECK(strstr(r.schedule, "time goes on, though") != NULL);
    CHECK(strstr(r.schedule, "-- 100 ms later") != NULL);
    CHECK_EQ(r.preemptions, 0);
}

/* -- what is right passes --------------------------------------------------------------------------------------------- */

static otp_next counter_message(void *state, const otp_msg *m)
{
    int *n = state;
    if (m->tag == STOP) return otp_stop_with(OTP_NORMAL);
    ++*n;
    return OTP_REPLY(otp_from_of(m), *n) == 0 ? OTP_OK : otp_stop_with(OTP_ERROR(OTP_ENOMEM));
}
static const otp_handler counter = { .name = "counter", .state_size = sizeof(int), .message = counter_message };

static void counts(void *arg)
{
    (void)arg;
    int n = 0;
    for (int i = 0; i < 2; i++) otp_call(otp_whereis("counter"), PING, NULL, 0, &n, sizeof n, 1000);
}

static void clean(void *arg)
{
    (void)arg;
    otp_pid c, p[3];
    int n = 0;
    otp_explore_check(otp_spawn_opt(&(otp_spawn_opts){ .handler = &counter, .name = "counter" }, &c) == 0);
    for (int i = 0; i < 3; i++) p[i] = otp_spawn_link(counts, NULL);
    for (int i = 0; i < 3; i++) await(p[i]);
    otp_call(c, PING, NULL, 0, &n, sizeof n, 1000);
    otp_explore_check(n == 7);
    otp_explore_check(otp_send(c, STOP, NULL, 0) == 0);
    await(c);
}

TEST_WITH(a_clean_scenario_passes_10000_schedules, .real = true, .plain = true, .seconds = 60)
{
    CHECK_EQ(EXPLORE(clean, .seeds = 10000), 0);
    CHECK_EQ(r.runs, 10001);
    CHECK(r.distinct > 3000);
    CHECK_EQ(r.failure, OTP_EXPLORE_OK);
    CHECK_EQ(r.text[0], 0);
}

static void with_timers(void *arg)
{
    (void)arg;
    int64_t t0 = otp_now();
    otp_explore_check(t0 == 1000);                      /* each run begins in the same world */
    uint64_t random = otp_random();
    static uint64_t first;
    if (first == 0) first = random;
    otp_explore_check(random == first);
    otp_ref t = otp_send_after(3600000, otp_self(), TICK, NULL, 0), far = otp_send_after(7200000, otp_self(), TICK, NULL, 0);
    otp_explore_check(t.id != 0 && far.id != 0);
    otp_pid p = otp_spawn(waits_for_pong, NULL);
    otp_explore_check(otp_recv_tag(TICK, OTP_INFINITY) != NULL);
    otp_explore_check(otp_now() - t0 == 3600000);
    kill_it(p);
}

TEST_PLAIN(every_run_begins_in_the_same_world)
{
    CHECK_EQ(EXPLORE(with_timers, .seeds = 300), 0);
}

/* The deterministic mode by seeds is as it was, before and after an exploration. */
static uint64_t drawn;
static void draws(void *arg)
{
    (void)arg;
    drawn = otp_random();
}

TEST_PLAIN(the_runtime_is_as_before_afterwards)
{
    CHECK_EQ(otp_run(draws, NULL, &(otp_opts){ .deterministic = true, .seed = 9 }), 0);
    uint64_t before = drawn;
    CHECK_EQ(EXPLORE(bank), 1);
    CHECK_EQ(otp_run(draws, NULL, &(otp_opts){ .deterministic = true, .seed = 9 }), 0);
    CHECK(drawn == before);
    CHECK_EQ(otp_run(nothing, NULL, &(otp_opts){ .schedulers = 2 }), 0);
}

TEST_PLAIN(a_report_says_how_to_replay)
{
    int fds[2];
    char text[8192];
    CHECK_EQ(EXPLORE(bank), 1);
    CHECK_EQ(pipe(fds), 0);
    otp_explore_report(&r, fds[1]);
    CHECK_EQ(close(fds[1]), 0);
    ssize_t n = read(fds[0], text, sizeof text - 1);
    CHECK(n > 0);
    text[n] = 0;
    CHECK_EQ(close(fds[0]), 0);
    CHECK(strstr(text, "check: balance == 15") != NULL);
    CHECK(strstr(text, "shrunk to 1") != NULL);
    CHECK(strstr(text, "OTP_EXPLORE_REPLAY='") != NULL);
    CHECK_STR(otp_explore_failure_name(OTP_EXPLORE_DEADLOCK), "deadlock");
}
