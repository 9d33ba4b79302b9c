/* Guests, and the runtime inside an existing program: foreign threads, starting and stopping, otp_poll, fork.
   A failed CHECK would end the program here, since a guest cannot be ended: these tests use SHOULD. */
#include "test.h"

#include <dirent.h>
#include <poll.h>
#include <sys/wait.h>

enum { PING = 1, PONG, BYE, NOTE };

#define SHOULD(x) should((x), __LINE__, #x)
static void should(bool ok, int line, const char *what)
{
    if (ok) return;
    test_line("# test_guest.c:%d: %s: failed: %s", line, test_name, what);
    atomic_store(&test_failed, true);
}

/* Starts the runtime as the command line says. */
static void start_runtime(void)
{
    otp_opts o = { .schedulers = test_opt_schedulers, .log = test_log };
    int r = otp_start(&o);
    if (r != 0) test_line("# otp_start: %s", otp_strerror(r));
    SHOULD(r == 0);
}

static void stop_runtime(void)
{
    SHOULD(otp_stop(5000) == 0);
    SHOULD(otp_processes(NULL, 0) == 0);
}

static void ponger(void *arg)
{
    (void)arg;
    const otp_msg *m;
    while ((m = otp_recv(OTP_INFINITY)) != NULL && m->tag != BYE) {
        if (m->ref.id != 0) CHECK_EQ(otp_reply(otp_from_of(m), m->data, m->size), 0);
        else CHECK_EQ(otp_send(m->from, PONG, m->data, m->size), 0);
    }
}

static void nothing(void *arg) { (void)arg; }

static int entries(const char *directory)
{
    int n = 0;
    DIR *d = opendir(directory);
    if (d == NULL) return -1;
    while (readdir(d) != NULL) n++;
    if (closedir(d) != 0) return -1;
    return n;
}

/* -- what a foreign thread can do ------------------------------------------------------------------------------ */

static void talk(int rounds)
{
    otp_ref ref = { 0 };
    otp_pid p = otp_spawn_monitor(ponger, NULL, &ref);
    SHOULD(p.id != 0 && ref.id != 0);
    for (int i = 0; i < rounds; i++) {
        SHOULD(OTP_SEND(p, PING, i) == 0);
        const otp_msg *m = otp_recv_tag(PONG, TEST_WAIT);
        SHOULD(m != NULL && m->size == sizeof(int) && *(const int *)m->data == i && otp_same(m->from, p));
        int reply = -1;
        SHOULD(otp_try_call(p, PING, &i, sizeof i, &reply, sizeof reply, TEST_WAIT) == (int64_t)sizeof reply && reply == i);
    }
    SHOULD(otp_is_alive(p));
    otp_info info;
    SHOULD(otp_process_info(p, &info) == 0 && info.monitored_by == 1);
    SHOULD(otp_send(p, BYE, NULL, 0) == 0);
    const otp_msg *m = otp_recv_ref(ref, TEST_WAIT);
    SHOULD(m != NULL && m->tag == OTP_DOWN && otp_reason_of(m)->kind == OTP_REASON_NORMAL);
    SHOULD(otp_recv(0) == NULL);
}

TEST_PLAIN(the_starting_thread_is_a_guest)
{
    start_runtime();
    talk(100);
    SHOULD(otp_self().id != 0);
    stop_runtime();
}

static void *talks(void *arg)
{
    talk(*(int *)arg);
    return NULL;
}

static void threads(int n, void *(*fn)(void *), void *arg)
{
    pthread_t t[32];
    for (int i = 0; i < n; i++) SHOULD(pthread_create(&t[i], NULL, fn, arg) == 0);
    for (int i = 0; i < n; i++) SHOULD(pthread_join(t[i], NULL) == 0);
}

TEST_PLAIN(many_threads_at_once)
{
    int rounds = test_many(100, 10);
    start_runtime();
    for (int i = 0; i < 3; i++) threads(16, talks, &rounds);
    stop_runtime();
}

static void exits_with(void *arg)
{
    int code = *(int *)arg;
    otp_sleep(code % 3);
    otp_exit(OTP_USER(code, "a constant text"));
}

static void *waits_for_exits(void *arg)
{
    (void)arg;
    for (int i = 1; i < 30; i++) {
        otp_pid p;
        otp_reason why = OTP_NORMAL;
        otp_spawn_opts o = { .fn = exits_with, .arg = &i, .arg_size = sizeof i };
        SHOULD(otp_spawn_opt(&o, &p) == 0);
        SHOULD(otp_await_exit(p, TEST_WAIT, &why) == 0);
        SHOULD((why.kind == OTP_REASON_USER && why.code == i) || why.kind == OTP_REASON_NOPROC);
        SHOULD(otp_await_exit(p, TEST_WAIT, NULL) == 0);
    }
    return NULL;
}

TEST_PLAIN(waiting_for_an_exit)
{
    start_runtime();
    threads(8, waits_for_exits, NULL);
    otp_pid p = otp_spawn(ponger, NULL);
    int64_t begin = otp_now();
    SHOULD(otp_await_exit(p, 20, NULL) == OTP_ETIMEOUT);
    SHOULD(otp_now() - begin >= 20);
    SHOULD(otp_await_exit(p, 0, NULL) == OTP_ETIMEOUT);
    SHOULD(otp_send(p, BYE, NULL, 0) == 0);
    SHOULD(otp_await_exit(p, OTP_INFINITY, NULL) == 0);
    otp_reason why = OTP_NORMAL;
    SHOULD(otp_await_exit((otp_pid){ 0 }, TEST_WAIT, &why) == 0 && why.kind == OTP_REASON_NOPROC);
    stop_runtime();
}

TEST_PLAIN(a_guest_receives_with_timeouts_and_timers)
{
    start_runtime();
    int64_t begin = otp_now();
    SHOULD(otp_recv(15) == NULL);
    SHOULD(otp_now() - begin >= 15);
    begin = otp_now();
    otp_sleep(10);
    SHOULD(otp_now() - begin >= 10);
    SHOULD(otp_send_after(5, otp_self(), NOTE, "timer", 6).id != 0);
    const otp_msg *m;
    int got = 0;
    otp_receive (m, TEST_WAIT) {
        case NOTE:      got = 1; break;
        case OTP_AFTER: got = 2; break;
    }
    SHOULD(got == 1);
    SHOULD(OTP_SEND(otp_self(), PING, 1) == 0);
    SHOULD(OTP_SEND(otp_self(), PONG, 2) == 0);
    m = otp_recv_tag(PONG, 0);
    SHOULD(m != NULL);
    m = otp_recv(0);
    SHOULD(m != NULL && m->tag == PING);
    stop_runtime();
}

TEST_PLAIN(a_guest_links_and_traps)
{
    start_runtime();
    SHOULD(!otp_trap_exit(true));
    int code = 7;
    otp_pid p;
    otp_spawn_opts o = { .fn = exits_with, .arg = &code, .arg_size = sizeof code, .link = true };
    SHOULD(otp_spawn_opt(&o, &p) == 0);
    const otp_msg *m = otp_recv_tag(OTP_EXIT, TEST_WAIT);
    SHOULD(m != NULL && otp_same(m->from, p) && otp_reason_of(m)->code == 7);
    SHOULD(otp_trap_exit(false));
    SHOULD(otp_register("the guest", otp_self()) == 0);
    SHOULD(otp_same(otp_whereis("the guest"), otp_self()));
    SHOULD(otp_send_name("the guest", NOTE, NULL, 0) == 0);
    SHOULD(otp_recv_tag(NOTE, TEST_WAIT) != NULL);
    SHOULD(otp_unregister("the guest") == 0);
    stop_runtime();
}

static atomic_int released;
static void release(void *arg)
{
    (void)arg;
    atomic_fetch_add(&released, 1);
}

static void *short_guest(void *arg)
{
    otp_pid *out = arg;
    char *block = otp_alloc(1000);
    SHOULD(block != NULL);
    memset(block, 1, 1000);
    SHOULD(otp_defer(release, NULL) == 0);
    SHOULD(OTP_SEND(otp_self(), NOTE, 1) == 0);
    *out = otp_self();
    return NULL;
}

TEST_PLAIN(a_guest_ends_with_its_thread)
{
    start_runtime();
    atomic_store(&released, 0);
    for (int i = 0; i < 10; i++) {
        pthread_t t;
        otp_pid p = { 0 };
        SHOULD(pthread_create(&t, NULL, short_guest, &p) == 0);
        SHOULD(pthread_join(t, NULL) == 0);
        otp_ref r = otp_monitor(p);
        const otp_msg *m = otp_recv_ref(r, TEST_WAIT);
        SHOULD(m != NULL && m->tag == OTP_DOWN);
        SHOULD(!otp_is_alive(p));
    }
    SHOULD(atomic_load(&released) == 10);
    stop_runtime();
}

static void reports_down(void *arg)
{
    struct { otp_pid guest, to; } *a = arg;
    otp_ref r = otp_monitor(a->guest);
    CHECK_EQ(otp_send(a->guest, PING, NULL, 0), 0);
    const otp_msg *m = otp_recv_ref(r, TEST_WAIT);
    CHECK(m != NULL);
    int kind = (int)otp_reason_of(m)->kind;
    CHECK_EQ(OTP_SEND(a->to, NOTE, kind), 0);
}

static void *watched_guest(void *arg)
{
    struct { otp_pid guest, to; } a = { otp_self(), *(otp_pid *)arg };
    (void)otp_recv(0);                                      /* becomes a guest now */
    a.guest = otp_self();
    otp_pid p;
    otp_spawn_opts o = { .fn = reports_down, .arg = &a, .arg_size = sizeof a };
    SHOULD(otp_spawn_opt(&o, &p) == 0);
    SHOULD(otp_recv_tag(PING, TEST_WAIT) != NULL);
    return NULL;
}

TEST_PLAIN(a_guest_can_be_watched)
{
    start_runtime();
    (void)otp_recv(0);
    otp_pid self = otp_self();
    threads(1, watched_guest, &self);
    const otp_msg *m = otp_recv_tag(NOTE, TEST_WAIT);
    SHOULD(m != NULL && *OTP_PAYLOAD(m, int) == OTP_REASON_NORMAL);
    stop_runtime();
}

static void *only_sends(void *arg)
{
    otp_pid p = *(otp_pid *)arg;
    for (int i = 0; i < 1000; i++) SHOULD(OTP_SEND(p, NOTE, i) == 0);
    return NULL;
}

static void sums(void *arg)
{
    otp_pid to = *(otp_pid *)arg;
    long sum = 0;
    for (int i = 0; i < 8000; i++) {
        const otp_msg *m = otp_recv_tag(NOTE, TEST_WAIT);
        CHECK(m != NULL);
        sum += *OTP_PAYLOAD(m, int);
    }
    CHECK_EQ(OTP_SEND(to, NOTE, sum), 0);
}

TEST_PLAIN(threads_that_only_send)
{
    start_runtime();
    (void)otp_recv(0);
    otp_pid self = otp_self(), p;
    otp_spawn_opts o = { .fn = sums, .arg = &self, .arg_size = sizeof self };
    SHOULD(otp_spawn_opt(&o, &p) == 0);
    threads(8, only_sends, &p);
    const otp_msg *m = otp_recv_tag(NOTE, TEST_WAIT);
    SHOULD(m != NULL && *OTP_PAYLOAD(m, long) == 8L * 999 * 1000 / 2);
    stop_runtime();
}

/* -- starting and stopping ----------------------------------------------------------------------------------------- */

static void spreads(void *arg)
{
    int depth = *(int *)arg - 1;
    otp_pid p;
    otp_spawn_opts o = { .fn = spreads, .arg = &depth, .arg_size = sizeof depth };
    for (int i = 0; i < 2 && depth > 0; i++) CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    (void)otp_recv(OTP_INFINITY);
}

TEST_PLAIN(start_and_stop_fifty_times)
{
    int tasks = 0, fds = 0;
    for (int i = 0; i < 50; i++) {
        start_runtime();
        SHOULD(otp_start(NULL) == OTP_EEXIST);
        SHOULD(otp_schedulers() == test_opt_schedulers);
        if (i % 2 == 0) talk(3);
        int depth = 5;
        otp_pid p;
        otp_spawn_opts o = { .fn = spreads, .arg = &depth, .arg_size = sizeof depth };
        if (i % 3 == 0) SHOULD(otp_spawn_opt(&o, &p) == 0);
        stop_runtime();
        SHOULD(otp_schedulers() == 0);
        SHOULD(otp_stop(100) == OTP_ENOTUP);
        if (i == 5) {
            tasks = entries("/proc/self/task");
            fds = entries("/proc/self/fd");
        }
    }
    SHOULD(entries("/proc/self/task") == tasks);
    SHOULD(entries("/proc/self/fd") == fds);
}

static int app_runs;
static void app_counts(void *arg)
{
    app_runs += *(int *)arg;
    CHECK(otp_spawn(ponger, NULL).id != 0);                 /* what is left is shut down */
}

TEST_PLAIN(run_fifty_times)
{
    int one = 1;
    app_runs = 0;
    for (int i = 0; i < 50; i++) {
        otp_opts o = { .schedulers = test_opt_schedulers, .log = test_log };
        SHOULD(otp_run(app_counts, &one, &o) == 0);
        SHOULD(otp_schedulers() == 0);
    }
    SHOULD(app_runs == 50);
}

static void app_exits(void *arg) { otp_exit(*(otp_reason *)arg); }

static void app_runs_again(void *arg)
{
    *(int *)arg = otp_run(nothing, NULL, NULL);
}

static void app_stops(void *arg) { *(int *)arg = otp_stop(100); }

TEST_PLAIN(what_run_returns)
{
    otp_opts o = { .log = test_log };
    otp_reason why = OTP_NORMAL;
    int result = 0;
    SHOULD(otp_run(nothing, NULL, &o) == 0);
    SHOULD(otp_run(app_exits, &why, &o) == 0);
    why = OTP_SHUTDOWN;
    SHOULD(otp_run(app_exits, &why, &o) == 0);
    why = OTP_USER(1, "not well");
    SHOULD(otp_run(app_exits, &why, &o) == 1);
    SHOULD(otp_run(app_runs_again, &result, &o) == 0);
    SHOULD(result == OTP_EEXIST);
    SHOULD(otp_run(app_stops, &result, &o) == 0);
    SHOULD(result == OTP_EBADARG);
    SHOULD(otp_run(NULL, NULL, &o) == OTP_EBADARG);
}

TEST_PLAIN(bad_options)
{
    otp_opts bad[] = {
        { .schedulers = -1 }, { .shutdown = -5 }, { .stuck = -5 }, { .blocking_threads = -1 }, { .stack_size = 100 },
        { .stack_size = SIZE_MAX },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        bad[i].log = test_log;
        int r = otp_start(&bad[i]);
        if (r != OTP_EBADARG) test_line("# bad options %zu: %d", i, r);
        SHOULD(r == OTP_EBADARG);
        if (r == 0) SHOULD(otp_stop(100) == 0);
    }
    start_runtime();
    stop_runtime();
}

static void *without_a_runtime(void *arg)
{
    (void)arg;
    otp_pid p = { 12345 };
    SHOULD(otp_spawn(nothing, NULL).id == 0);
    SHOULD(otp_send(p, PING, NULL, 0) < 0);
    SHOULD(otp_send_name("nobody", PING, NULL, 0) < 0);
    SHOULD(otp_whereis("nobody").id == 0);
    SHOULD(otp_processes(NULL, 0) == 0);
    SHOULD(otp_poll(0) == OTP_ENOTUP);
    SHOULD(otp_poll_fd() == OTP_ENOTUP);
    SHOULD(otp_self().id == 0);
    SHOULD(otp_send_after(5, p, PING, NULL, 0).id == 0);
    SHOULD(otp_now() >= 0);
    SHOULD(otp_check_deadlock() == 0);
    return NULL;
}

TEST_PLAIN(calls_without_a_runtime)
{
    threads(1, without_a_runtime, NULL);
    start_runtime();
    stop_runtime();
    threads(2, without_a_runtime, NULL);
}

/* -- stopping those that do not end ------------------------------------------------------------------------------------- */

static void ends_in_time(void *arg)
{
    (void)arg;
    otp_trap_exit(true);
    CHECK_EQ(otp_send(*(otp_pid *)arg, NOTE, NULL, 0), 0);
    const otp_msg *m = otp_recv_tag(OTP_EXIT, OTP_INFINITY);
    CHECK(m != NULL && otp_reason_of(m)->kind == OTP_REASON_SHUTDOWN);
    otp_sleep(5);
    atomic_fetch_add(&released, 1);
}

static void does_not_end(void *arg)
{
    otp_trap_exit(true);
    CHECK_EQ(otp_send(*(otp_pid *)arg, NOTE, NULL, 0), 0);
    for (;;) (void)otp_recv(OTP_INFINITY);
}

static void spawn_noted(otp_fn *fn, const char *name)
{
    (void)otp_recv(0);
    otp_pid self = otp_self(), p;
    otp_spawn_opts o = { .fn = fn, .arg = &self, .arg_size = sizeof self, .name = name };
    SHOULD(otp_spawn_opt(&o, &p) == 0);
    SHOULD(otp_recv_tag(NOTE, TEST_WAIT) != NULL);
}

TEST_PLAIN(stop_lets_processes_end)
{
    start_runtime();
    atomic_store(&released, 0);
    for (int i = 0; i < 5; i++) spawn_noted(ends_in_time, NULL);
    SHOULD(otp_stop(5000) == 0);
    SHOULD(atomic_load(&released) == 5);
}

TEST_PLAIN(stop_names_who_does_not_end)
{
    start_runtime();
    spawn_noted(does_not_end, "stubborn one");
    spawn_noted(does_not_end, NULL);
    int64_t begin = otp_now();
    SHOULD(otp_stop(50) == 2);
    SHOULD(otp_now() - begin < 5000);
    SHOULD(test_log_has("stubborn one"));
    SHOULD(test_log_has("test_guest.c:"));
    start_runtime();
    talk(3);
    stop_runtime();
}

static void app_leaves_stubborn(void *arg)
{
    (void)arg;
    otp_pid self = otp_self(), p;
    otp_spawn_opts o = { .fn = does_not_end, .arg = &self, .arg_size = sizeof self, .name = "left by the app" };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    CHECK(otp_recv_tag(NOTE, TEST_WAIT) != NULL);
}

TEST_PLAIN(run_does_not_wait_for_ever)
{
    otp_opts o = { .schedulers = test_opt_schedulers, .log = test_log, .shutdown = 50 };
    SHOULD(otp_run(app_leaves_stubborn, NULL, &o) == 0);
    SHOULD(test_log_has("left by the app"));
}

static void spins(void *arg)
{
    CHECK_EQ(otp_send(*(otp_pid *)arg, NOTE, NULL, 0), 0);
    while (atomic_load(&released) == 0) { }
}

TEST_PLAIN(stop_leaves_behind_what_computes_for_ever)
{
    start_runtime();
    atomic_store(&released, 0);
    spawn_noted(spins, "endless one");
    SHOULD(otp_stop(50) == OTP_ESYSLIMIT);
    SHOULD(test_log_has("endless one"));
    atomic_store(&released, 1);                             /* its thread may come back at any time now */
    if (otp_schedulers() != 0) SHOULD(otp_stop(5000) >= 0); /* the runtime is still up: it can be stopped again */
    start_runtime();
    talk(20);
    stop_runtime();
}

/* -- another event loop --------------------------------------------------------------------------------------------------- */

static pthread_t polling;
static atomic_int turns;
static void pinned(void *arg)
{
    int rounds = *(int *)arg;
    for (int i = 0; i < rounds; i++) {
        CHECK(pthread_equal(pthread_self(), polling));
        atomic_fetch_add(&turns, 1);
        if (i % 2 == 0) otp_yield();
        else otp_sleep(1);
    }
}

TEST_PLAIN(polling_runs_what_is_pinned)
{
    start_runtime();
    polling = pthread_self();
    atomic_store(&turns, 0);
    SHOULD(otp_poll(0) == 0);
    int64_t begin = otp_now();
    SHOULD(otp_poll(15) == 0);
    SHOULD(otp_now() - begin >= 15);
    int rounds = 20;
    otp_pid p;
    otp_spawn_opts o = { .fn = pinned, .arg = &rounds, .arg_size = sizeof rounds, .main_thread = true };
    SHOULD(otp_spawn_opt(&o, &p) == 0);
    SHOULD(otp_await_exit(p, 30, NULL) == OTP_ETIMEOUT);    /* nobody polls: it does not run */
    SHOULD(atomic_load(&turns) == 0);
    for (int i = 0; i < 5000 && atomic_load(&turns) < rounds; i++) SHOULD(otp_poll(100) >= 0);
    SHOULD(atomic_load(&turns) == rounds);
    for (int i = 0; i < 1000 && otp_await_exit(p, 0, NULL) != 0; i++) (void)otp_poll(1);
    SHOULD(otp_await_exit(p, 0, NULL) == 0);
    stop_runtime();
}

TEST_PLAIN(polling_with_an_fd)
{
    start_runtime();
    polling = pthread_self();
    atomic_store(&turns, 0);
    struct pollfd fd = { .fd = otp_poll_fd(), .events = POLLIN };
    SHOULD(fd.fd >= 0);
    SHOULD(otp_poll_fd() == fd.fd);
    (void)otp_poll(0);
    SHOULD(poll(&fd, 1, 0) == 0);
    int rounds = 20;
    otp_pid p;
    otp_spawn_opts o = { .fn = pinned, .arg = &rounds, .arg_size = sizeof rounds, .main_thread = true };
    SHOULD(otp_spawn_opt(&o, &p) == 0);
    for (int i = 0; i < 1000 && atomic_load(&turns) < rounds; i++) {
        SHOULD(poll(&fd, 1, TEST_WAIT) == 1);
        SHOULD(otp_poll(0) >= 0);
    }
    SHOULD(atomic_load(&turns) == rounds);
    SHOULD(otp_await_exit(p, 0, NULL) == 0 || otp_poll(10) >= 0);
    stop_runtime();
}

static void app_polls(void *arg)
{
    int *r = arg;
    r[0] = otp_poll(0);
}

TEST_PLAIN(polling_inside_run_is_refused)
{
    otp_opts o = { .schedulers = test_opt_schedulers, .log = test_log };
    int r[1] = { 0 };
    SHOULD(otp_run(app_polls, r, &o) == 0);
    SHOULD(r[0] == OTP_EBUSY);
}

/* -- fork ------------------------------------------------------------------------------------------------------------------------ */

TEST_PLAIN(fork_leaves_the_runtime_behind)
{
    start_runtime();
    otp_pid p = otp_spawn(ponger, NULL);
    for (int i = 0; i < 5; i++) {
        pid_t child = fork();
        if (child == 0) {
            int bad = 0;
            if (otp_send(p, PING, NULL, 0) >= 0) bad |= 1;
            if (otp_spawn(nothing, NULL).id != 0) bad |= 2;
            if (otp_stop(10) >= 0) bad |= 4;
            if (otp_poll(0) >= 0) bad |= 8;
            _exit(bad);
        }
        int status = -1;
        SHOULD(child > 0 && waitpid(child, &status, 0) == child);
        if (status != 0) test_line("# the child says %x", (unsigned)status);
        SHOULD(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        int reply = -1;                                     /* the parent is as before */
        SHOULD(otp_try_call(p, PING, &i, sizeof i, &reply, sizeof reply, TEST_WAIT) == (int64_t)sizeof reply && reply == i);
    }
    pid_t child = fork();
    if (child == 0) {
        (void)execl("/bin/true", "true", (char *)NULL);
        _exit(9);
    }
    int status = -1;
    SHOULD(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    stop_runtime();
}
