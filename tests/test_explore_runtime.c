/* otp.h under its own explorer: small scenarios on links, monitors, names, timers, calls, aliases and exits, under
   thousands of schedules each, which may switch before every lock-free step as well (OTP_STEPS). What Erlang promises
   must hold in all of them, and every block and process must come back. */
#define OTP_STEPS
#define OTP_IMPLEMENTATION
#include "test.h"

#include "otp_explore.h"

enum { PING = 1, PONG, STOP, GO, LATE };

static otp_explore_result r;

/* Every property is explored by chance, by priorities, with each of its allocations failing if it can stand that, and with
   processes killed at each point. A failure prints its schedule. */
static void holds(otp_fn *scenario, const char *name, uint64_t seeds, otp_explore_fault fault)
{
    seeds = TEST_SANITIZED ? seeds / 10 + 1 : seeds;
    int rc = otp_explore(scenario, NULL, (&(otp_explore_opts){ .seeds = seeds, .name = name, .depth = 5, .fault = fault }), &r);
    CHECK_EQ(rc, 0);
    CHECK_EQ(r.runs, seeds + 1);
    CHECK(r.distinct > 1);
}

#define HOLDS(scenario, seeds)                                                                              \
    TEST_WITH(scenario##_in_all_schedules, .real = true, .plain = true, .seconds = 60)                      \
    {                                                                                                       \
        holds(scenario, #scenario, seeds, OTP_EXPLORE_NO_FAULT);                                            \
    }

#define HOLDS_WITH_KILLS(scenario, seeds)                                                                   \
    HOLDS(scenario, seeds)                                                                                  \
    TEST_WITH(scenario##_whoever_is_killed, .real = true, .plain = true, .seconds = 60)                     \
    {                                                                                                       \
        holds(scenario, #scenario, seeds, OTP_EXPLORE_KILL);                                                \
    }

/* With time that goes on at any point, as on a slow machine. */
#define HOLDS_LATE(scenario, seeds)                                                                         \
    HOLDS(scenario, seeds)                                                                                  \
    TEST_WITH(scenario##_however_late, .real = true, .plain = true, .seconds = 60)                          \
    {                                                                                                       \
        holds(scenario, #scenario, seeds, OTP_EXPLORE_LATE);                                                \
    }

#define check otp_explore_check

static void await(otp_pid pid) { check(otp_await_exit(pid, OTP_INFINITY, NULL) == 0); }

static void kill_it(otp_pid pid)
{
    check(otp_exit_signal(pid, OTP_KILL) == 0);
    await(pid);
}

static void nothing(void *arg) { (void)arg; }

static void until_stopped(void *arg)
{
    (void)arg;
    check(otp_recv_tag(STOP, OTP_INFINITY) != NULL);
}

static void exits(void *arg)
{
    (void)arg;
    otp_exit(OTP_USER(3, "done"));
}

static bool of_monitor(const otp_msg *m, void *arg) { return m->tag == OTP_DOWN && m->ref.id == ((otp_ref *)arg)->id; }

/* -- monitors: exactly one DOWN, with the reason or noproc, whatever comes first --------------------------------- */

static void watch_one(void *arg)
{
    otp_pid p = *(otp_pid *)arg;
    otp_ref ref = otp_monitor(p);
    const otp_msg *m = otp_recv_match(of_monitor, &ref, 10000);
    check(m != NULL);
    const otp_reason *why = otp_reason_of(m);
    check(why->kind == OTP_REASON_USER || why->kind == OTP_REASON_NOPROC || why->kind == OTP_REASON_KILLED);
    check(otp_same(m->from, p));
    check(otp_recv_match(of_monitor, &ref, 0) == NULL);     /* once */
}

static void monitors_fire_once(void *arg)
{
    (void)arg;
    otp_pid p = otp_spawn(exits, NULL), w[3];
    for (int i = 0; i < 3; i++)
        check(otp_spawn_opt(&(otp_spawn_opts){ .fn = watch_one, .arg = &p, .arg_size = sizeof p }, &w[i]) == 0);
    for (int i = 0; i < 3; i++) await(w[i]);
    await(p);
}
HOLDS_WITH_KILLS(monitors_fire_once, 6000)

/* Slots are reused at once: a monitor of the old process must not see the new one in its place. */
static void stale_watch(void *arg)
{
    otp_pid p = *(otp_pid *)arg;
    otp_ref ref = otp_monitor(p);
    const otp_msg *m = otp_recv_match(of_monitor, &ref, 10000);
    check(m != NULL && otp_same(m->from, p));
    check(!otp_is_alive(p));
    int rc = otp_send(p, PING, NULL, 0);
    check(rc == OTP_ENOPROC || rc == 0);    /* 0: another one had just moved in, and drops it */
    (void)otp_exit_signal(p, OTP_KILL);
}

static void moves_in(void *arg)
{
    (void)arg;
    check(otp_recv(3) == NULL);
}

static void reuses(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        otp_ref ref;
        check(otp_spawn_monitor(moves_in, NULL, &ref).id != 0);
        const otp_msg *m = otp_recv_match(of_monitor, &ref, OTP_INFINITY);
        check(m != NULL && otp_reason_of(m)->kind == OTP_REASON_NORMAL);
    }
}

static void old_pids_stay_dead(void *arg)
{
    (void)arg;
    otp_pid p = otp_spawn(nothing, NULL), w, q = otp_spawn(reuses, NULL);
    check(otp_spawn_opt(&(otp_spawn_opts){ .fn = stale_watch, .arg = &p, .arg_size = sizeof p }, &w) == 0);
    await(w);
    await(q);
}
HOLDS(old_pids_stay_dead, 6000)

static void demonitor_flushes(void *arg)
{
    (void)arg;
    otp_pid p = otp_spawn(exits, NULL);
    otp_ref ref = otp_monitor(p);
    otp_explore_point();
    check(otp_demonitor(ref, OTP_FLUSH));
    await(p);
    otp_yield();
    check(otp_recv_match(of_monitor, &ref, 0) == NULL);
}
HOLDS(demonitor_flushes, 3000)

/* -- links: both or none ----------------------------------------------------------------------------------------- */

static void links_to(void *arg)
{
    otp_pid p = *(otp_pid *)arg;
    check(otp_link(p) == 0);
    check(otp_recv_tag(STOP, OTP_INFINITY) == NULL);        /* the link ends it before */
}

static void links_kill_both(void *arg)
{
    (void)arg;
    otp_ref ra, rb;
    otp_pid a = otp_spawn_monitor(until_stopped, NULL, &ra), b;
    check(otp_spawn_opt(&(otp_spawn_opts){ .fn = links_to, .arg = &a, .arg_size = sizeof a, .monitor = &rb }, &b) == 0);
    check(otp_exit_signal(a, OTP_USER(1, "x")) == 0);
    const otp_msg *m = otp_recv_match(of_monitor, &ra, 10000);
    check(m != NULL && (otp_reason_of(m)->kind == OTP_REASON_USER || otp_reason_of(m)->kind == OTP_REASON_KILLED));
    m = otp_recv_match(of_monitor, &rb, 10000);
    check(m != NULL);
    otp_reason_kind k = otp_reason_of(m)->kind;
    check(k == OTP_REASON_USER || k == OTP_REASON_NOPROC || k == OTP_REASON_KILLED);
}
HOLDS_WITH_KILLS(links_kill_both, 6000)

/* Whoever links and unlinks has no link, whatever the other side does at the same time. */
static void links_and_unlinks(void *arg)
{
    otp_pid other = *(otp_pid *)arg;
    for (int i = 0; i < 2; i++) {
        check(otp_link(other) == 0);
        check(otp_unlink(other) == 0);
    }
    const otp_msg *m = otp_recv_tag(STOP, OTP_INFINITY);
    check(m != NULL);
}

static void waits_for_partner(void *arg)
{
    (void)arg;
    const otp_msg *m = otp_recv_tag(GO, OTP_INFINITY);
    check(m != NULL);
    otp_pid other = *OTP_PAYLOAD(m, otp_pid);
    check(otp_link(other) == 0);
    check(otp_unlink(other) == 0);
    check(otp_recv_tag(STOP, OTP_INFINITY) != NULL);
}

static void unlinked_in_the_end(void *arg)
{
    (void)arg;
    otp_pid a = otp_spawn(waits_for_partner, NULL), b, links[4];
    check(otp_spawn_opt(&(otp_spawn_opts){ .fn = links_and_unlinks, .arg = &a, .arg_size = sizeof a }, &b) == 0);
    check(OTP_SEND(a, GO, b) == 0);
    otp_sleep(10);      /* virtual: all have done what they can */
    check(otp_process_relations(a, OTP_LINKS, links, 4) == 0);
    check(otp_process_relations(b, OTP_LINKS, links, 4) == 0);
    check(otp_exit_signal(a, OTP_KILL) == 0);
    await(a);
    check(otp_send(b, STOP, NULL, 0) == 0);
    await(b);
}
HOLDS(unlinked_in_the_end, 6000)

/* Trapped: an EXIT for each link that broke, and none after unlink but one that was there before. */
static void trapped(void *arg)
{
    (void)arg;
    check(!otp_trap_exit(true));
    otp_pid p = otp_spawn_link(exits, NULL), q = otp_spawn_link(exits, NULL);
    check(otp_unlink(q) == 0);
    const otp_msg *m = otp_recv_tag(OTP_EXIT, 1000);
    int from_p = 0, from_q = 0;
    for (; m != NULL; m = otp_recv_tag(OTP_EXIT, 1000)) {
        from_p += otp_same(m->from, p);
        from_q += otp_same(m->from, q);
        check(otp_reason_of(m)->kind == OTP_REASON_USER || otp_reason_of(m)->kind == OTP_REASON_KILLED);
    }
    check(from_p == 1 && from_q <= 1);
}
HOLDS_WITH_KILLS(trapped, 4000)

/* -- names: one holder, and none when it is dead ------------------------------------------------------------------- */

static int holders;
static const char *one_holder(void *arg)
{
    (void)arg;
    return holders > 1 ? "two hold the name" : NULL;
}

static void takes_the_name(void *arg)
{
    (void)arg;
    int rc = otp_register("the one", otp_self());
    check(rc == 0 || rc == OTP_EEXIST);
    if (rc != 0) return;
    holders++;
    otp_explore_point();
    check(otp_same(otp_whereis("the one"), otp_self()));
    holders--;
    if (otp_unregister("the one") != 0) check(false);
}

static void names_have_one_holder(void *arg)
{
    (void)arg;
    otp_pid p[3];
    holders = 0;
    for (int i = 0; i < 3; i++) p[i] = otp_spawn(takes_the_name, NULL);
    for (int i = 0; i < 3; i++) await(p[i]);
    check(otp_whereis("the one").id == 0 && otp_registered(NULL, 0) == 0);
}

TEST_WITH(names_have_one_holder_in_all_schedules, .real = true, .plain = true, .seconds = 60)
{
    uint64_t seeds = TEST_SANITIZED ? 500 : 6000;
    CHECK_EQ(otp_explore(names_have_one_holder, NULL, (&(otp_explore_opts){ .seeds = seeds, .invariant = one_holder }), &r), 0);
}

/* Somebody else registers a process that may be dying. */
static void names_it(void *arg)
{
    otp_pid p = *(otp_pid *)arg;
    int rc = otp_register("late", p);
    check(rc == 0 || rc == OTP_ENOPROC || rc == OTP_EEXIST);
}

static void no_name_outlives_its_process(void *arg)
{
    (void)arg;
    otp_pid p = otp_spawn(exits, NULL), a, b;
    check(otp_spawn_opt(&(otp_spawn_opts){ .fn = names_it, .arg = &p, .arg_size = sizeof p }, &a) == 0);
    check(otp_spawn_opt(&(otp_spawn_opts){ .fn = names_it, .arg = &p, .arg_size = sizeof p }, &b) == 0);
    await(p);
    check(otp_whereis("late").id == 0);     /* free before anybody learns of the death */
    await(a);
    await(b);
    check(otp_registered(NULL, 0) == 0);
    check(otp_register("late", otp_self()) == 0 && otp_unregister("late") == 0);
}
HOLDS_WITH_KILLS(no_name_outlives_its_process, 6000)

/* -- timers ------------------------------------------------------------------------------------------------------- */

static void cancels(void *arg)
{
    otp_ref t = *(otp_ref *)arg;
    otp_sleep(4);
    int64_t left = otp_cancel_timer(t);
    check(left == OTP_ENOENT || left >= 0);
    check(otp_send(otp_whereis("boss"), left >= 0 ? PONG : LATE, NULL, 0) == 0);
}

/* It fires or it is cancelled: one of the two, also when several try at the very moment. */
static void timer_fires_or_is_cancelled(void *arg)
{
    (void)arg;
    check(otp_register("boss", otp_self()) == 0);
    otp_ref t = otp_send_after(5, otp_self(), PING, NULL, 0);
    otp_pid a, b;
    check(otp_spawn_opt(&(otp_spawn_opts){ .fn = cancels, .arg = &t, .arg_size = sizeof t }, &a) == 0);
    check(otp_spawn_opt(&(otp_spawn_opts){ .fn = cancels, .arg = &t, .arg_size = sizeof t }, &b) == 0);
    await(a);
    await(b);
    int fired = 0, cancelled = 0;
    for (const otp_msg *m; (m = otp_recv(100)) != NULL;) {
        fired += m->tag == PING;
        cancelled += m->tag == PONG;
    }
    check(fired + cancelled == 1);
}
HOLDS_LATE(timer_fires_or_is_cancelled, 6000)

/* A timeout and a message at the same millisecond: the message is there, then or later. */
static void sends_at_5(void *arg)
{
    otp_sleep(5);
    check(otp_send(*(otp_pid *)arg, PING, NULL, 0) == 0);
}

static void timeout_loses_nothing(void *arg)
{
    (void)arg;
    otp_pid me = otp_self(), p;
    check(otp_spawn_opt(&(otp_spawn_opts){ .fn = sends_at_5, .arg = &me, .arg_size = sizeof me }, &p) == 0);
    const otp_msg *m = otp_recv_tag(PING, 5);
    if (m == NULL) check(otp_now() >= 1005 && otp_recv_tag(PING, OTP_INFINITY) != NULL);
    check(otp_recv_tag(PING, 0) == NULL);
    await(p);
}
HOLDS_LATE(timeout_loses_nothing, 4000)

/* -- calls: one answer, none late, the death of the server is learned -------------------------------------------- */

static void flaky_server(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2; i++) {
        const otp_msg *m = otp_recv_tag(PING, OTP_INFINITY);
        check(m != NULL);
        otp_from from = otp_from_of(m);
        int n = *OTP_PAYLOAD(m, int);
        if (i == 1) otp_sleep(10);
        check(OTP_REPLY(from, n) == 0);
        check(OTP_REPLY(from, n) == 0);     /* only the first answer counts */
    }
}

static void asks(void *arg)
{
    otp_pid server = *(otp_pid *)arg;
    for (int i = 0; i < 2; i++) {
        int n = 40 + i, reply = 0;
        int64_t rc = otp_try_call(server, PING, &n, sizeof n, &reply, sizeof reply, 10);
        check(rc == (int64_t)sizeof reply || rc == OTP_ETIMEOUT || rc == OTP_EDIED || rc == OTP_ENOPROC);
        if (rc > 0) check(reply == n);
    }
    check(otp_recv(50) == NULL);            /* no late reply, no DOWN of a call */
}

static void calls_have_one_answer(void *arg)
{
    (void)arg;
    otp_pid s = otp_spawn(flaky_server, NULL), a, b;
    check(otp_spawn_opt(&(otp_spawn_opts){ .fn = asks, .arg = &s, .arg_size = sizeof s }, &a) == 0);
    check(otp_spawn_opt(&(otp_spawn_opts){ .fn = asks, .arg = &s, .arg_size = sizeof s }, &b) == 0);
    await(a);
    await(b);
    kill_it(s);
}
HOLDS_WITH_KILLS(calls_have_one_answer, 6000)

static void requests_are_answered_or_down(void *arg)
{
    (void)arg;
    otp_pid s = otp_spawn(flaky_server, NULL);
    otp_ref refs[3];
    for (int i = 0; i < 3; i++) refs[i] = otp_send_request(s, PING, &i, sizeof i);
    int answered = 0, down = 0;
    size_t which;
    for (int i = 0; i < 3; i++) {
        const otp_msg *m = otp_wait_any(refs, 3, 10000, &which);
        check(m != NULL);
        if (m->tag == OTP_DOWN) down++;
        else if (*OTP_PAYLOAD(m, int) == (int)which) answered++;
        refs[which].id = 0;
    }
    check(answered + down == 3 && answered <= 2);
    check(otp_recv(50) == NULL);
    await(s);
}
HOLDS_WITH_KILLS(requests_are_answered_or_down, 6000)

/* -- aliases ------------------------------------------------------------------------------------------------------ */

static int sent;
static void sends_to_alias(void *arg)
{
    otp_alias a = *(otp_alias *)arg;
    for (int i = 0; i < 3; i++, sent++) check(otp_send_alias(a, PING, &i, sizeof i) == 0);
}

static void nothing_comes_through_a_closed_alias(void *arg)
{
    (void)arg;
    otp_alias a = otp_alias_new(OTP_ALIAS_EXPLICIT);
    otp_pid p;
    sent = 0;
    check(otp_spawn_opt(&(otp_spawn_opts){ .fn = sends_to_alias, .arg = &a, .arg_size = sizeof a }, &p) == 0);
    otp_yield();
    otp_explore_point();                    /* what comes here is not taken in before otp_unalias looks */
    int before = sent, next = 0;
    check(otp_unalias(a));
    check(!otp_unalias(a));
    for (const otp_msg *m; (m = otp_recv(0)) != NULL;) check(*OTP_PAYLOAD(m, int) == next++);   /* before: in order */
    check(next >= before);
    await(p);
    check(otp_recv(50) == NULL);            /* after: none */
}
HOLDS(nothing_comes_through_a_closed_alias, 6000)

static void a_reply_alias_takes_one(void *arg)
{
    (void)arg;
    otp_alias a = otp_alias_new(OTP_ALIAS_REPLY);
    otp_pid p, q;
    check(otp_spawn_opt(&(otp_spawn_opts){ .fn = sends_to_alias, .arg = &a, .arg_size = sizeof a }, &p) == 0);
    check(otp_spawn_opt(&(otp_spawn_opts){ .fn = sends_to_alias, .arg = &a, .arg_size = sizeof a }, &q) == 0);
    await(p);
    await(q);
    check(otp_recv(0) != NULL);
    check(otp_recv(50) == NULL);
}
HOLDS(a_reply_alias_takes_one, 4000)

/* -- order, suspending, exits -------------------------------------------------------------------------------------- */

static void sends_five(void *arg)
{
    otp_pid to = *(otp_pid *)arg;
    for (int i = 0; i < 5; i++) check(otp_send(to, PING, &i, sizeof i) == 0);
    otp_exit(OTP_USER(1, "after the fifth"));
}

/* Messages and the DOWN behind them keep the order of their sender. */
static void order_is_kept(void *arg)
{
    (void)arg;
    otp_pid me = otp_self(), p[2];
    otp_ref ref[2];
    for (int i = 0; i < 2; i++)
        check(otp_spawn_opt(&(otp_spawn_opts){ .fn = sends_five, .arg = &me, .arg_size = sizeof me, .monitor = &ref[i] }, &p[i]) == 0);
    int next[2] = { 0, 0 }, downs = 0;
    while (downs < 2) {
        const otp_msg *m = otp_recv(10000);
        check(m != NULL);
        int who = otp_same(m->from, p[1]);
        if (m->tag == PING) check(*OTP_PAYLOAD(m, int) == next[who]++);
        else {
            check(m->tag == OTP_DOWN && (next[who] == 5 || otp_reason_of(m)->kind == OTP_REASON_KILLED));
            downs++;
        }
    }
    check(otp_recv(0) == NULL);
}
HOLDS_WITH_KILLS(order_is_kept, 6000)

static int progress;
static void advances(void *arg)
{
    (void)arg;
    for (;;) {
        progress++;
        otp_sleep(1);
    }
}

static void suspended_stands_still(void *arg)
{
    (void)arg;
    otp_pid p = otp_spawn(advances, NULL);
    progress = 0;
    otp_explore_point();
    check(otp_suspend_process(p) == 0);
    int before = progress;
    otp_sleep(20);
    check(progress == before);
    check(otp_resume_process(p) == 0);
    otp_sleep(20);
    check(progress > before);
    check(otp_suspend_process(p) == 0);
    kill_it(p);                             /* also one that is suspended */
}
HOLDS(suspended_stands_still, 3000)

static int deferred;
static void count_defer(void *arg)
{
    (void)arg;
    deferred++;
}

static void defers(void *arg)
{
    (void)arg;
    if (otp_defer(count_defer, NULL) != 0) return;
    void *block = otp_alloc(5000);          /* and a small one, and a kept message: all come back */
    check(block != NULL && otp_alloc(16) != NULL);
    const otp_msg *m = otp_recv_tag(PING, OTP_INFINITY);
    check(m != NULL && otp_keep(m) == m);
    check(otp_recv_tag(STOP, OTP_INFINITY) == NULL);
}

/* Killed, told to exit, and linked to somebody who dies: it ends once, its defers run once. */
static void ends_once(void *arg)
{
    (void)arg;
    deferred = 0;
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(defers, NULL, &ref), q;
    otp_pid killer = otp_spawn(exits, NULL);
    check(otp_spawn_opt(&(otp_spawn_opts){ .fn = links_to, .arg = &p, .arg_size = sizeof p }, &q) == 0);
    check(otp_send(p, PING, NULL, 0) == 0);
    check(otp_send(p, PONG, "12345678901234567", 17) == 0);
    check(otp_exit_signal(q, OTP_USER(2, "q")) == 0);
    check(otp_exit_signal(p, OTP_SHUTDOWN) == 0);
    check(otp_exit_signal(p, OTP_KILL) == 0);
    const otp_msg *m = otp_recv_match(of_monitor, &ref, 10000);
    check(m != NULL);
    await(q);
    await(killer);
    check(deferred <= 1);
    check(otp_recv_match(of_monitor, &ref, 0) == NULL);
}
HOLDS_WITH_KILLS(ends_once, 6000)

/* A shared block and a moved one find their way back, whoever dies with them. */
static void holds_blocks(void *arg)
{
    (void)arg;
    const otp_msg *m = otp_recv_tag(PING, 100);
    if (m != NULL) check(otp_keep(m) == m);
    m = otp_recv_tag(PONG, 100);
    if (m != NULL) check(m->size == 300);
}

static void blocks_come_back(void *arg)
{
    (void)arg;
    otp_pid p = otp_spawn(holds_blocks, NULL);
    otp_shared *s = otp_shared_new("shared", 7);
    void *moved = otp_alloc(300);
    check(s != NULL && moved != NULL);
    memset(moved, 1, 300);
    int rc = otp_send_shared(p, PING, s);
    check(rc == 0 || rc == OTP_ENOPROC);
    rc = otp_send_move(p, PONG, moved, 300);
    check(rc == 0 || rc == OTP_ENOPROC);
    otp_shared_drop(s);
    await(p);
}
HOLDS_WITH_KILLS(blocks_come_back, 4000)

/* -- memory that ends: each of its allocations fails once, and nothing is lost, corrupted or left waiting -------- */

static void survivor(void *arg)
{
    (void)arg;
    bool named = otp_register("me", otp_self()) == 0;
    otp_ref t = otp_timer(&(otp_timer_opts){ .time = 5, .name = "me", .tag = LATE });
    otp_ref u = otp_timer(&(otp_timer_opts){ .time = 5, .interval = 5, .to = otp_self(), .tag = PING });
    otp_sleep(16);
    if (u.id != 0) check(otp_cancel_timer(u) >= 0);
    if (t.id != 0 && named) check(otp_recv_tag(LATE, 0) != NULL);
    for (int i = 0; u.id != 0 && i < 3; i++) check(otp_recv_tag(PING, 0) != NULL);
    check(otp_recv(0) == NULL);
    otp_pid p = { 0 };
    int rc = otp_spawn_opt(&(otp_spawn_opts){ .fn = until_stopped, .name = "n", .label = "l", .arg = &t, .arg_size = sizeof t }, &p);
    check(rc == 0 || rc == OTP_ENOMEM || rc == OTP_ESYSLIMIT);
    if (rc != 0) return;
    otp_ref ref = otp_monitor(p);
    otp_ref request = otp_send_request(p, GO, NULL, 0);
    (void)otp_try_call(p, GO, NULL, 0, NULL, 0, 5);
    if (request.id != 0) (void)otp_cancel_request(request);
    otp_alias a = otp_alias_new(OTP_ALIAS_EXPLICIT);
    if (a.ref.id != 0) check(otp_unalias(a));
    (void)otp_defer(count_defer, NULL);
    while (otp_send(p, STOP, NULL, 0) == OTP_ENOMEM) { }
    await(p);
    if (ref.id != 0) check(otp_recv_match(of_monitor, &ref, 1000) != NULL);
}

static void out_of_memory(void *arg)
{
    (void)arg;
    otp_pid p = otp_spawn(survivor, NULL);
    if (p.id != 0) await(p);
}

TEST_WITH(each_allocation_may_fail, .real = true, .plain = true, .seconds = 60)
{
    CHECK_EQ(otp_explore(out_of_memory, NULL, (&(otp_explore_opts){ .seeds = 1, .fault = OTP_EXPLORE_FAIL_ALLOC }), &r), 0);
    uint64_t sites = r.fault_sites;
    CHECK(sites > 10);
    holds(out_of_memory, "out_of_memory", sites * 20, OTP_EXPLORE_FAIL_ALLOC);
}

/* The explorer sees what is wrong in the runtime: the same scenario with a rule that does not hold. */
static void wrong_rule(void *arg)
{
    (void)arg;
    otp_pid p = otp_spawn(exits, NULL);
    otp_ref ref = otp_monitor(p);
    const otp_msg *m = otp_recv_match(of_monitor, &ref, 10000);
    check(m != NULL && otp_reason_of(m)->kind == OTP_REASON_USER);      /* it may be noproc */
    await(p);
}

TEST_PLAIN(a_rule_that_does_not_hold_is_found)
{
    CHECK_EQ(otp_explore(wrong_rule, NULL, (&(otp_explore_opts){ .quiet = true }), &r), 1);
    CHECK_EQ(r.failure, OTP_EXPLORE_CHECK);
    CHECK_EQ(r.preemptions, 1);
}
