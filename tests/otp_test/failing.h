/* failing.h: cases that fail, each in a way of its own. tests/test_otp_test.c includes them, runs them in a program of their
   own, and compares what that prints with failing.expected. */

enum { PING = 1, PONG };

static volatile int one = 1;            /* what the compiler does not know */
static volatile uintptr_t nowhere = 16;

OTP_TEST(check, .tags = "fixture")
{
    otp_check(one == 1);
    otp_check(one == 2);
}

OTP_TEST(check_eq, .tags = "fixture") { otp_check_eq(one + 40, 42u); }
OTP_TEST(check_signs, .tags = "fixture") { otp_check_gt(-1, 1u); }
OTP_TEST(check_ge, .tags = "fixture") { otp_check_ge(0.5, one); }
OTP_TEST(check_str, .tags = "fixture") { otp_check_str("apple", one ? "pear" : ""); }
OTP_TEST(check_str_null, .tags = "fixture") { otp_check_str(one ? NULL : "", "pear"); }
OTP_TEST(check_str_has, .tags = "fixture") { otp_check_str_has("apple pie", "pear"); }
OTP_TEST(check_mem, .tags = "fixture") { otp_check_mem("abcd", "abXd", 4); }
OTP_TEST(check_near, .tags = "fixture") { otp_check_near(1.5, 2, 0.25); }
OTP_TEST(check_pid, .tags = "fixture") { otp_check_eq(otp_self(), (otp_pid){ 0 }); }
OTP_TEST(check_pointer, .tags = "fixture") { otp_check_ne((void *)NULL, NULL); }
OTP_TEST(fail, .tags = "fixture") { otp_fail("%d apples", one + 6); }
OTP_TEST(eventually, .tags = "fixture", .seeds = 1) { otp_check(otp_eventually(one == 2, 100)); }

OTP_TEST(assert_receive, .tags = "fixture")
{
    otp_check_eq(otp_send(otp_self(), 7, "ab", 2), 0);
    otp_check_eq(otp_send(otp_self(), 8, "0123456789abcdefgh", 18), 0);
    otp_monitor((otp_pid){ 0 });
    otp_assert_receive(PONG);
}

OTP_TEST(assert_receive_nothing, .tags = "fixture") { otp_assert_receive(PONG, 10); }

OTP_TEST(assert_match, .tags = "fixture")
{
    const otp_msg *m;
    OTP_SEND(otp_self(), PONG, 41);
    otp_assert_match(m, m->tag == PONG && *OTP_PAYLOAD(m, int) == 42, 20);
}

OTP_TEST(refute_receive, .tags = "fixture")
{
    OTP_SEND(otp_self(), PONG, 41);
    otp_refute_receive(PING, 10);
    otp_refute_receive(PONG);
}

OTP_TEST(refute_match, .tags = "fixture")
{
    const otp_msg *m;
    OTP_SEND(otp_self(), PONG, 41);
    otp_refute_match(m, *OTP_PAYLOAD(m, int) == 41);
}

static void wrong(void *arg)
{
    (void)arg;
    otp_check_eq(one, 2);
}

OTP_TEST(check_in_another_process, .tags = "fixture")
{
    otp_spawn(wrong, NULL);
    otp_sleep(20000);
}

static void crash(void *arg)
{
    (void)arg;
    *(volatile int *)nowhere = 1;
}

OTP_TEST(crashes, .tags = "fixture, crash", .opts.force_isolation = true)
{
    otp_check_eq(one, 1);
    crash(NULL);
}

OTP_TEST(linked_crash, .tags = "fixture, crash", .opts.force_isolation = true)
{
    otp_spawn_link(crash, NULL);
    otp_sleep(20000);
}

OTP_TEST(exits, .tags = "fixture") { otp_exit(OTP_USER(7, "no luck")); }
OTP_TEST(calls_the_dead, .tags = "fixture") { otp_call((otp_pid){ 0 }, PING, NULL, 0, NULL, 0, 100); }
OTP_TEST(logs, .tags = "fixture")
{
    otp_log(OTP_LOG_ERROR, "a line of the log");
    otp_fail("it logged");
}

OTP_TEST(waits_too_long, .tags = "fixture", .timeout = 50)
{
    otp_check_eq(otp_send(otp_self(), PING, NULL, 0), 0);
    otp_recv_tag(PONG, OTP_INFINITY);
}

OTP_TEST(waits_too_long_in_virtual_time, .tags = "fixture", .seeds = 1) { otp_recv_tag(PONG, OTP_INFINITY); }

static void idle(void *arg)
{
    (void)arg;
    otp_recv_tag(PONG, OTP_INFINITY);
}

OTP_TEST(leaves_a_process, .tags = "fixture") { otp_check_ne(otp_spawn(idle, NULL).id, 0); }
OTP_TEST(leaves_a_process_with_a_name, .tags = "fixture")
{
    otp_pid pid = otp_spawn(idle, NULL);
    otp_check_eq(otp_register("lazy", pid), 0);
    otp_check(otp_send_after(60000, pid, PONG, NULL, 0).id != 0);
}

OTP_TEST(leaves_a_name, .tags = "fixture")
{
    otp_info info;
    otp_check_eq(otp_process_info(otp_self(), &info), 0);
    otp_check_eq(otp_register("owned_by_who_started_it", info.parent), 0);
}

OTP_TEST(leaves_a_timer, .tags = "fixture")
{
    otp_check(otp_timer(&(otp_timer_opts){ .time = 60000, .name = "nobody", .tag = PING }).id != 0);
    otp_check(otp_send_after(60000, otp_self(), PING, NULL, 0).id != 0);       /* dies with its receiver */
}

static void *volatile kept;
OTP_TEST(leaves_memory, .tags = "fixture, memory")
{
    kept = malloc(1000);
    otp_check(kept != NULL);
}

OTP_TEST(leaves_memory_with_seeds, .tags = "fixture, memory", .seeds = 10)
{
    kept = malloc(1000);
    otp_check(kept != NULL);
}

static otp_pid does_not_start(void *arg)
{
    (void)arg;
    return (otp_pid){ 0 };
}

static otp_next ill_init(void *state, const void *arg, size_t size)
{
    (void)state;
    (void)arg;
    (void)size;
    return otp_fail_with(OTP_USER(5, "no disk"));
}

static otp_next ill_message(void *state, const otp_msg *m)
{
    (void)state;
    (void)m;
    return OTP_OK;
}

static otp_pid ill_start(void *arg)
{
    static const otp_handler ill = { .name = "ill", .init = ill_init, .message = ill_message };
    otp_pid pid;
    (void)arg;
    if (otp_start_handler(&(otp_spawn_opts){ .handler = &ill, .link = true }, 1000, &pid, NULL) < 0) return (otp_pid){ 0 };
    return pid;
}

static otp_pid exits_in_start(void *arg)
{
    (void)arg;
    otp_exit(OTP_USER(1, "in start"));
}

OTP_TEST(supervised_without_result, .tags = "fixture") { otp_start_supervised(does_not_start); }
OTP_TEST(supervised_that_fails, .tags = "fixture") { otp_start_supervised(ill_start); }
OTP_TEST(supervised_that_ends_its_starter, .tags = "fixture") { otp_start_supervised(exits_in_start); }

static void hook(void *arg) { printf("on_exit %s\n", (const char *)arg); }
static void bad_hook(void *arg)
{
    (void)arg;
    otp_exit(OTP_USER(3, "bad hook"));
}

OTP_TEST(crashes_with_hooks, .tags = "fixture, crash", .opts.force_isolation = true)
{
    char text[] = "first, a copy";
    otp_check_eq(otp_on_exit_copy(hook, text, sizeof text), 0);
    otp_check_eq(otp_on_exit(hook, "second"), 0);
    crash(NULL);
}

OTP_TEST(hook_that_fails, .tags = "fixture")
{
    otp_check_eq(otp_on_exit(hook, "runs all the same"), 0);
    otp_check_eq(otp_on_exit(bad_hook, NULL), 0);
}

static void *check_thread(void *arg)
{
    (void)arg;
    otp_fail("on a thread");
    return NULL;
}

OTP_TEST(check_on_a_thread, .tags = "fixture")
{
    pthread_t t;
    otp_check_eq(pthread_create(&t, NULL, check_thread, NULL), 0);
    otp_check_eq(pthread_detach(t), 0);
    otp_sleep(20000);
}

/* Two processes ask who is first; both are, when one looks between the look and the step of the other. */
static int owner;
static void claim(void *arg)
{
    bool was_free = owner == 0;
    if (otp_random() % 8 == 0) otp_yield();
    if (was_free) owner = *(int *)arg;
    otp_check(!was_free || owner == *(int *)arg);
    otp_yield();
    otp_check(!was_free || owner == *(int *)arg);
}

OTP_TEST(races_under_some_seeds, .tags = "race", .seeds = 1000)
{
    static int names[2] = { 1, 2 };
    owner = 0;
    for (int i = 0; i < 2; i++) otp_spawn_link(claim, &names[i]);
    otp_sleep(1);
}

static void spin(void)
{
    for (volatile int i = 0; one; i++) { }
}

/* Not among the others: these end the program. */
OTP_TEST(computes_for_ever, .tags = "spin", .timeout = 50) { spin(); }
OTP_TEST(computes_for_ever_in_virtual_time, .tags = "spin", .timeout = 50, .seeds = 1) { spin(); }

OTP_TEST(async_1, .tags = "async", .async = true) { otp_sleep(10); }
OTP_TEST(async_2, .tags = "async", .async = true) { otp_check_eq(one, 3); }
OTP_TEST(async_3, .tags = "async", .async = true) { otp_check_ne(otp_spawn(idle, NULL).id, 0); }
OTP_TEST(async_4, .tags = "async", .async = true)
{
    otp_log(OTP_LOG_ERROR, "of the fourth");
    otp_check_eq(otp_register("fourth", otp_spawn_link(idle, NULL)), 0);
    otp_sleep(10);
    otp_fail("it has a log");
}
OTP_TEST(async_5, .tags = "async", .async = true) { otp_skip("no network"); }
OTP_TEST(skipped, .tags = "async", .skip = "not today") { otp_fail("it ran"); }
