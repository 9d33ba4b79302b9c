/* alloc_more.c: tests for alloc.c alone: they come to the places of allocation that the other test programs leave out. */
#include "test.h"

enum { ECHO = 1, BIG, VALUE };

static char large[20000];

static void echo(void *arg)
{
    (void)arg;
    for (const otp_msg *m; (m = otp_recv(OTP_INFINITY)) != NULL && m->tag != TEST_STOP;)
        if (m->tag == ECHO) CHECK_EQ(otp_reply(otp_from_of(m), m->data, m->size), 0);
}

TEST(large_payloads_on_every_way)
{
    otp_pid p = otp_spawn(echo, NULL);
    CHECK(p.id != 0);
    otp_ref r = otp_send_request(p, ECHO, large, sizeof large);
    CHECK(r.id != 0);
    const otp_msg *m = otp_wait_any(&r, 1, TEST_WAIT, &(size_t){ 0 });
    CHECK(m != NULL);
    CHECK_EQ(m->size, sizeof large);
    otp_alias a = otp_alias_new(OTP_ALIAS_EXPLICIT);
    CHECK(a.ref.id != 0);
    CHECK_EQ(otp_send_alias(a, BIG, large, sizeof large), 0);
    CHECK(otp_recv_tag(BIG, 0) != NULL);
    CHECK(otp_send_after(1, otp_self(), BIG, large, sizeof large).id != 0);
    CHECK(otp_recv_tag(BIG, TEST_WAIT) != NULL);
    CHECK(otp_start_timer(1, otp_self(), large, sizeof large).id != 0);
    CHECK(otp_recv_tag(OTP_TIMEOUT_TAG, TEST_WAIT) != NULL);
    otp_timer_opts o = { .time = 1, .interval = 1, .to = otp_self(), .tag = BIG, .data = large, .size = sizeof large };
    r = otp_timer(&o);
    CHECK(r.id != 0);
    for (int i = 0; i < 3; i++) CHECK(otp_recv_tag(BIG, TEST_WAIT) != NULL);
    CHECK(otp_cancel_timer(r) >= 0);
    CHECK_EQ(otp_send(p, TEST_STOP, NULL, 0), 0);
}

static void dies_talking(void *arg)
{
    (void)arg;
    char *text = otp_alloc(6000);
    CHECK(text != NULL);
    memset(text, 'x', 5999);
    text[5999] = 0;
    (void)otp_recv_tag(VALUE, TEST_WAIT);
    otp_exit(OTP_USER(1, text));
}

TEST(a_reason_with_a_long_text)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(dies_talking, NULL, &ref);
    CHECK(p.id != 0);
    CHECK(!otp_trap_exit(true));
    CHECK_EQ(otp_link(p), 0);
    CHECK_EQ(otp_send(p, VALUE, NULL, 0), 0);
    const otp_reason *why = test_down(ref);
    CHECK_EQ(why->kind, OTP_REASON_USER);
    CHECK(strlen(why->text) >= 90);                         /* cut when memory is out */
    CHECK_EQ(test_exit_from(p)->code, 1);
}

TEST(many_relations_are_listed)
{
    enum { N = 700 };
    static otp_pid all[N];
    otp_pid p = otp_spawn(test_idle, NULL);
    CHECK(p.id != 0);
    otp_ref refs[N];
    for (int i = 0; i < N; i++) {
        refs[i] = otp_monitor(p);
        CHECK(refs[i].id != 0);
    }
    CHECK_EQ(otp_process_relations(p, OTP_MONITORED_BY, all, N), N);
    for (int i = 0; i < N; i++) CHECK(otp_demonitor(refs[i], OTP_FLUSH));
    CHECK_EQ(otp_send(p, TEST_STOP, NULL, 0), 0);
    CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
}

static void asks_twice(void *arg)
{
    int64_t rc = otp_try_call(*(otp_pid *)arg, ECHO, "x", 1, NULL, 0, OTP_INFINITY);
    CHECK(rc == OTP_EDIED || rc == OTP_ENOMEM);
}

static void takes_and_dies(void *arg)
{
    int n = *(int *)arg;
    for (int i = 0; i < n; i++) CHECK(otp_recv_tag(ECHO, 1000) != NULL);
}

TEST(a_server_that_dies_with_many_open_requests)
{
    int n = 20;
    otp_ref ref[20];
    otp_pid server = { 0 };
    SPAWN(&server, .fn = takes_and_dies, .arg = &n, .arg_size = sizeof n);
    for (int i = 0; i < n; i++) {
        otp_pid p;
        SPAWN(&p, .fn = asks_twice, .arg = &server, .arg_size = sizeof server, .monitor = &ref[i]);
    }
    for (int i = 0; i < n; i++) CHECK_EQ(test_down(ref[i])->kind, OTP_REASON_NORMAL);   /* none waits for ever */
}

static void waits_for_resume(void *arg)
{
    (void)arg;
    CHECK_EQ(otp_send(test_app, TEST_READY, NULL, 0), 0);
    CHECK(otp_recv_tag(VALUE, 5000) != NULL);
}

TEST(suspending_without_memory_leaves_nobody_suspended)
{
    otp_ref ref;
    otp_pid p = test_start(waits_for_resume, NULL, &ref);
    int rc = otp_suspend_process(p);
    CHECK_EQ(otp_send(p, VALUE, NULL, 0), 0);
    if (rc == 0) CHECK_EQ(otp_resume_process(p), 0);
    else CHECK_EQ(rc, OTP_ENOMEM);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
}

static void adds_one(void *arg) { ++*(int *)arg; }

TEST_REAL(a_blocking_job_and_an_fd)
{
    int n = 0, fds[2];
    CHECK_EQ(otp_blocking(adds_one, &n), 0);
    CHECK_EQ(n, 1);
    CHECK_EQ(pipe(fds), 0);
    char c = 0;
    CHECK_EQ(otp_write(fds[1], "x", 1, TEST_WAIT), 1);
    CHECK_EQ(otp_read(fds[0], &c, 1, TEST_WAIT), 1);
    CHECK_EQ(otp_read(fds[0], &c, 1, 1), OTP_ETIMEOUT);
    CHECK_EQ(otp_close(fds[0]), 0);
    CHECK_EQ(otp_close(fds[1]), 0);
}

static void deep(void *arg) { CHECK_EQ(*(int *)arg, 5); }

TEST(a_stack_of_its_own_size)
{
    int five = 5;
    otp_ref ref;
    otp_pid p;
    SPAWN(&p, .fn = deep, .arg = &five, .arg_size = sizeof five, .stack_size = 1 << 20, .monitor = &ref);
    const otp_reason *why = test_down(ref);
    CHECK(why->kind == OTP_REASON_NORMAL || why->kind == OTP_REASON_SYSTEM_LIMIT);
}
