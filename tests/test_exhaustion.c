/* Exhaustion: no memory, no fds, no threads, no process slots, a mailbox that fills. Each is told by a clear code, those
   that live go on, and when there is room again everything works. Limits of the system bind a whole program, so the
   tests that set one do so in a child: this program again, with TEST_CHILD set. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { ECHO = 1, VALUE, NUMBER };

static void echo(void *arg)
{
    (void)arg;
    for (const otp_msg *m; (m = otp_recv(OTP_INFINITY)) != NULL && m->tag != TEST_STOP;)
        if (m->tag == ECHO && otp_reply(otp_from_of(m), m->data, m->size) != 0) return;
}

static bool answers(otp_pid p)
{
    int v = 42, got = 0;
    return otp_try_call(p, ECHO, &v, sizeof v, &got, sizeof got, TEST_WAIT) == (int64_t)sizeof got && got == 42;
}

/* -- process slots ------------------------------------------------------------------------------------------ */

static const otp_reason_kind ends[] = { OTP_REASON_NORMAL, OTP_REASON_KILLED };

TEST_WITH(the_process_limit, .opts.max_processes = 64)
{
    otp_pid survivor = otp_spawn(echo, NULL), all[64];
    CHECK(survivor.id != 0);
    for (int round = 0; round < 5; round++) {
        int n = 0;
        otp_pid p;
        otp_spawn_opts o = { .fn = test_idle };
        int rc;
        while ((rc = otp_spawn_opt(&o, &p)) == 0) {
            CHECK(n < 64);
            if (n < 64) all[n++] = p;
        }
        CHECK_EQ(rc, OTP_ESYSLIMIT);
        CHECK(n + 2 <= 64 && n > 0);
        CHECK_EQ(otp_spawn(test_idle, NULL).id, 0);
        otp_ref ref;
        CHECK_EQ(otp_spawn_monitor(test_idle, NULL, &ref).id, 0);
        CHECK_EQ(otp_spawn_link(test_idle, NULL).id, 0);
        otp_spawn_opts named = { .fn = test_idle, .name = "too many", .monitor = &ref, .link = true };
        CHECK_EQ(otp_spawn_opt(&named, &p), OTP_ESYSLIMIT);
        CHECK_EQ(otp_whereis("too many").id, 0);
        CHECK(answers(survivor));
        for (int i = 0; i < n; i++) {
            ref = otp_monitor(all[i]);
            if (round % 2) CHECK_EQ(otp_exit_signal(all[i], OTP_KILL), 0);
            else CHECK_EQ(otp_send(all[i], TEST_STOP, NULL, 0), 0);
            CHECK_EQ(test_down(ref)->kind, ends[round % 2]);
        }
        test_quiet();
    }
    CHECK(answers(survivor));
    CHECK_EQ(otp_send(survivor, TEST_STOP, NULL, 0), 0);
}

/* -- a mailbox that fills ----------------------------------------------------------------------------------- */

static void flood(void *arg)
{
    otp_pid to = *(otp_pid *)arg;
    int refused = 0, sent = 0;
    for (int i = 0; i < 2000; i++) {
        int rc = OTP_SEND(to, NUMBER, i);
        if (rc == 0) sent++;
        else if (rc == OTP_EFULL) refused++;
        else FAIL(otp_strerror(rc));
    }
    CHECK(refused > 0);
    CHECK_EQ(OTP_SEND(test_app, VALUE, sent), 0);
}

static void holds(void *arg)
{
    (void)arg;
    CHECK_EQ(otp_send(test_app, TEST_READY, NULL, 0), 0);
    (void)otp_recv_ref(otp_monitor(test_app), OTP_INFINITY);
}

TEST(a_mailbox_that_fills_from_many)
{
    otp_pid p, floods[5];
    otp_ref down;
    otp_spawn_opts o = { .fn = holds, .mailbox_limit = 100, .monitor = &down };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    test_ready(p);
    for (int i = 0; i < 5; i++) floods[i] = otp_spawn(flood, &p);
    int sent = 0;
    for (int i = 0; i < 5; i++) {
        const otp_msg *m = otp_recv_tag(VALUE, TEST_WAIT);
        CHECK(m != NULL);
        sent += *OTP_PAYLOAD(m, int);
        CHECK_EQ(otp_await_exit(floods[i], TEST_WAIT, NULL), 0);
    }
    CHECK_EQ(sent, 100);                                    /* exactly */
    otp_info info;
    CHECK_EQ(otp_process_info(p, &info), 0);                /* signals come through */
    CHECK_EQ(info.message_queue_len, 100);
    int v = 1;
    CHECK_EQ(otp_try_call(p, ECHO, &v, sizeof v, NULL, 0, 10), OTP_EFULL);
    CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
    CHECK_EQ(test_down(down)->kind, OTP_REASON_KILLED);
}

/* -- in children -------------------------------------------------------------------------------------------- */

#define DIE(code) do { if (dprintf(2, "line %d: errno %d\n", __LINE__, errno) > 0) _exit(code); _exit(code); } while (0)
#define MUST(x) do { if (!(x)) DIE(40); } while (0)

/* The type of the first argument differs between systems: a macro. RLIM_INFINITY: as much as may be. */
#define limit(what, value)                                                                                  \
    do {                                                                                                    \
        struct rlimit limit_;                                                                               \
        rlim_t value_ = (value);                                                                            \
        if (getrlimit((what), &limit_) != 0) DIE(41);                                                       \
        limit_.rlim_cur = value_ == RLIM_INFINITY ? limit_.rlim_max : value_;                               \
        if (setrlimit((what), &limit_) != 0) DIE(41);                                                       \
    } while (0)
#define unlimit(what) limit(what, RLIM_INFINITY)

static rlim_t address_space(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%lu", &pages) != 1 || fclose(f) != 0) DIE(42);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

static otp_pid listener;

static void waits_for_good(void *arg)
{
    (void)arg;
    (void)otp_recv_tag(TEST_STOP, OTP_INFINITY);
}

/* No memory: processes with stacks until there is no room for another, then messages, blocks, timers, names. */
static void no_memory(void *arg)
{
    (void)arg;
    otp_pid survivor = otp_spawn(echo, NULL), worker[4];
    MUST(survivor.id != 0 && answers(survivor));
    for (int i = 0; i < 4; i++) MUST((worker[i] = otp_spawn(echo, NULL)).id != 0 && answers(worker[i]));
    otp_pid sink = otp_spawn(waits_for_good, NULL);
    MUST(sink.id != 0);
    otp_ref early = otp_monitor(worker[0]);
    MUST(early.id != 0);
    limit(RLIMIT_AS, address_space() + (40u << 20));
    static char big[1 << 20];
    int rc, sent = 0, small = 0, tiny = 0;
    while ((rc = otp_send(sink, NUMBER, big, sizeof big)) == 0 && sent < 1000) sent++;
    MUST(rc == OTP_ENOMEM && sent > 0);
    while ((rc = otp_send(sink, NUMBER, big, 3000)) == 0 && small < 1000000) small++;
    MUST(rc == OTP_ENOMEM);
    MUST(otp_alloc(8u << 20) == NULL);
    MUST(otp_shared_new(big, sizeof big) == NULL);
    otp_spawn_opts large = { .fn = echo, .stack_size = 64u << 20 };
    otp_pid p = { 0 };
    if (otp_spawn_opt(&large, &p) == 0) {                   /* its stack is made when it runs */
        otp_reason why = OTP_NORMAL;
        MUST(otp_await_exit(p, TEST_WAIT, &why) == 0);
        MUST(why.kind == OTP_REASON_SYSTEM_LIMIT || why.kind == OTP_REASON_NOPROC);
    }
    /* Now the smallest blocks, too. */
    while ((rc = otp_send(sink, NUMBER, NULL, 0)) == 0 && tiny < 10000000) tiny++;
    MUST(rc == OTP_ENOMEM);
    MUST(otp_monitor(survivor).id == 0 && otp_send_after(1, survivor, NUMBER, NULL, 0).id == 0);
    MUST(otp_try_call(survivor, ECHO, NULL, 0, NULL, 0, TEST_WAIT) == OTP_ENOMEM);
    for (int i = 0; i < 4; i++) MUST(otp_is_alive(worker[i]));
    /* An end is told to who asked for it before; and once the one with the full mailbox has ended, there is room again. */
    MUST(otp_exit_signal(worker[0], OTP_KILL) == 0);
    const otp_msg *m = otp_recv_ref(early, TEST_WAIT);
    MUST(m != NULL && m->tag == OTP_DOWN && otp_reason_of(m)->kind == OTP_REASON_KILLED);
    MUST(otp_exit_signal(sink, OTP_KILL) == 0);
    MUST(otp_await_exit(sink, TEST_WAIT, NULL) == 0);
    MUST(otp_send(survivor, NUMBER, big, sizeof big) == 0);
    MUST(otp_alloc(8u << 20) != NULL);
    MUST(answers(survivor));
    for (int i = 1; i < 4; i++) MUST(answers(worker[i]));
    if (dprintf(1, "%d large, %d small and %d tiny messages\n", sent, small, tiny) < 0) DIE(43);
    _exit(0);
}

static atomic_int sleeping;
static void sleeps_on_a_stack(void *arg)
{
    (void)arg;
    (void)atomic_fetch_add(&sleeping, 1);
    (void)otp_recv_tag(TEST_STOP, OTP_INFINITY);
}

/* No room for stacks: those that find none end with system_limit. */
static void no_stacks(void *arg)
{
    (void)arg;
    (void)otp_trap_exit(true);
    otp_pid survivor = otp_spawn(echo, NULL);
    MUST(survivor.id != 0 && answers(survivor));
    limit(RLIMIT_AS, address_space() + (30u << 20));
    enum { MOST = 2000 };
    static otp_pid all[MOST];
    static otp_ref refs[MOST];
    int n = 0, ended = 0;
    while (n < MOST && ended == 0) {
        all[n] = otp_spawn_monitor(sleeps_on_a_stack, NULL, &refs[n]);
        if (all[n].id == 0) break;
        n++;
        for (const otp_msg *m; (m = otp_recv_tag(OTP_DOWN, 0)) != NULL;) {
            MUST(otp_reason_of(m)->kind == OTP_REASON_SYSTEM_LIMIT);
            ended++;
        }
    }
    MUST(n > 10 && n < MOST);
    limit(RLIMIT_AS, address_space() + (256u << 20));
    MUST(answers(survivor));
    int stopped = 0;
    for (int i = 0; i < n; i++) MUST(otp_send(all[i], TEST_STOP, NULL, 0) == 0 || !otp_is_alive(all[i]));
    while (ended + stopped < n) {
        const otp_msg *m = otp_recv_tag(OTP_DOWN, TEST_WAIT);
        MUST(m != NULL);
        if (otp_reason_of(m)->kind == OTP_REASON_NORMAL) stopped++;
        else if (otp_reason_of(m)->kind == OTP_REASON_SYSTEM_LIMIT) ended++;
        else DIE(44);
    }
    unlimit(RLIMIT_AS);
    if (dprintf(1, "%d of %d had no stack\n", ended, n) < 0) DIE(43);
    _exit(0);
}

static void reads_byte(void *arg)
{
    int fd = *(int *)arg;
    char c;
    (void)otp_send(listener, (int)(otp_read(fd, &c, 1, TEST_WAIT) == 1 && c == 'x' ? VALUE : NUMBER), NULL, 0);
}

/* No fds: what is open works on, and accept says so. */
static void no_fds(void *arg)
{
    (void)arg;
    listener = otp_self();
    int pair[2], extra[2000], n = 0;
    MUST(pipe(pair) == 0);
    limit(RLIMIT_NOFILE, 64);
    while (n < 2000 && (extra[n] = dup(0)) >= 0) n++;
    MUST(n < 64 && errno == EMFILE);
    otp_spawn_opts o = { .fn = reads_byte, .arg = &pair[0], .arg_size = sizeof pair[0] };
    otp_pid p;
    MUST(otp_spawn_opt(&o, &p) == 0);
    otp_sleep(5);
    MUST(otp_write(pair[1], "x", 1, TEST_WAIT) == 1);
    const otp_msg *m = otp_recv(TEST_WAIT);
    MUST(m != NULL && m->tag == VALUE);
    while (n < 2000 && (extra[n] = dup(0)) >= 0) n++;       /* the C library may have held one for a moment */
    MUST(n < 64);
    MUST(close(extra[--n]) == 0);
    MUST(close(extra[--n]) == 0);
    int sv[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0);
    MUST(otp_write(sv[0], "y", 1, TEST_WAIT) == 1);
    char c = 0;
    MUST(otp_read(sv[1], &c, 1, TEST_WAIT) == 1 && c == 'y');
    _exit(0);
}

static void start_without_fds(void)
{
    limit(RLIMIT_NOFILE, 3);
    int rc = otp_start(NULL);
    if (rc != OTP_ESYSLIMIT) DIE(45);
    unlimit(RLIMIT_NOFILE);
    if (otp_start(NULL) != 0 || otp_stop(1000) != 0) DIE(46);
    _exit(0);
}

static void returns_at_once(void *arg) { (void)arg; }

static void start_without_memory(void)
{
    rlim_t now = address_space();
    int worked = 0, told = 0;
    for (rlim_t more = 0; more < (rlim_t)48 << 20; more += 256u << 10) {
        limit(RLIMIT_AS, now + more);
        int rc = otp_run(returns_at_once, NULL, &(otp_opts){ .schedulers = 2, .log_level = OTP_LOG_NONE });
        if (rc == OTP_ENOMEM || rc == OTP_ESYSLIMIT) told++;
        else if (rc == 0) worked++;
        else if (rc == 1) told++;           /* it started, and its first process found no stack */
        else DIE(47);
        now = address_space();
        if (worked > 3) break;
    }
    if (worked == 0 || told == 0) DIE(48);
    _exit(0);
}

static void *never_runs(void *arg) { return arg; }
static void blocked(void *arg) { (void)atomic_fetch_add((atomic_int *)arg, 1); }

/* No threads: as an ordinary user, for whom the limit of processes counts. */
static void no_threads(void *arg)
{
    (void)arg;
    atomic_int count = 0;
    MUST(otp_blocking(blocked, &count) == 0 && atomic_load(&count) == 1);      /* one thread is there */
    limit(RLIMIT_NPROC, 1);
    pthread_t t;
    MUST(pthread_create(&t, NULL, never_runs, NULL) == EAGAIN);
    otp_pid survivor = otp_spawn(echo, NULL);
    MUST(survivor.id != 0 && answers(survivor));
    for (int i = 0; i < 20; i++) MUST(otp_blocking(blocked, &count) == 0);      /* they share it */
    MUST(atomic_load(&count) == 21);
    MUST(answers(survivor));
    _exit(0);
}

static void no_threads_at_all(void *arg)
{
    (void)arg;
    atomic_int count = 0;
    limit(RLIMIT_NPROC, 1);
    MUST(otp_blocking(blocked, &count) == OTP_ESYSLIMIT && atomic_load(&count) == 0);
    otp_pid survivor = otp_spawn(echo, NULL);
    MUST(survivor.id != 0 && answers(survivor));
    /* A process that computes keeps its scheduler when there is no thread to replace it; then all goes on. */
    for (volatile int i = 0; i < 30000000; i++) { }
    MUST(answers(survivor));
    unlimit(RLIMIT_NPROC);
    MUST(otp_blocking(blocked, &count) == 0 && atomic_load(&count) == 1);
    _exit(0);
}

static void start_without_threads(void)
{
    limit(RLIMIT_NPROC, 1);
    if (otp_start(NULL) != OTP_ESYSLIMIT) DIE(45);
    unlimit(RLIMIT_NPROC);
    if (otp_start(NULL) != 0 || otp_stop(1000) != 0) DIE(46);
    _exit(0);
}

static void run_app(otp_fn *app)
{
    int rc = otp_run(app, NULL, &(otp_opts){ .schedulers = 2, .log_level = OTP_LOG_NONE });
    if (dprintf(2, "otp_run returned %d\n", rc) < 0) _exit(49);
    _exit(49);
}

/* Before main(): in a child, does what TEST_CHILD says and never comes back. */
__attribute__((constructor)) static void in_child(void)
{
    const char *mode = getenv("TEST_CHILD");
    if (mode == NULL) return;
    (void)alarm(30);
    if (strncmp(mode, "threads", 7) == 0 && getuid() == 0 && (setgid(65534) != 0 || setuid(54321) != 0)) _exit(77);
    if (strcmp(mode, "memory") == 0) run_app(no_memory);
    if (strcmp(mode, "stacks") == 0) run_app(no_stacks);
    if (strcmp(mode, "fds") == 0) run_app(no_fds);
    if (strcmp(mode, "start fds") == 0) start_without_fds();
    if (strcmp(mode, "start memory") == 0) start_without_memory();
    if (strcmp(mode, "threads") == 0) run_app(no_threads);
    if (strcmp(mode, "threads none") == 0) run_app(no_threads_at_all);
    if (strcmp(mode, "threads start") == 0) start_without_threads();
    _exit(50);
}

static char child_text[4096];

static void expect_success(const char *mode)
{
    int out[2], status = -1;
    CHECK_EQ(pipe(out), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (setenv("TEST_CHILD", mode, 1) != 0 || dup2(out[1], 2) < 0 || dup2(out[1], 1) < 0) _exit(90);
        for (int fd = 3; fd < 100; fd++) (void)close(fd);
        (void)execl("/proc/self/exe", "child", (char *)NULL);
        _exit(91);
    }
    CHECK(pid > 0);
    CHECK_EQ(close(out[1]), 0);
    size_t n = 0;
    ssize_t r;
    while (n < sizeof child_text - 1 && (r = read(out[0], child_text + n, sizeof child_text - 1 - n)) > 0) n += (size_t)r;
    child_text[n] = 0;
    CHECK_EQ(close(out[0]), 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        test_line("# %s: skipped, no other user can be had", mode);
        return;
    }
    if (status != 0) test_line("# %s: status %x: %.900s", mode, (unsigned)status, child_text);
    CHECK_EQ(status, 0);
}

/* Sanitizers reserve more than any limit of address space allows. */
#define LIMITED(id) TEST_WITH(id, .real = true, .plain = true, .not_sanitized = true, .seconds = 40)
LIMITED(no_memory_is_told_and_survivors_live) { expect_success("memory"); }
LIMITED(no_room_for_stacks_ends_those_that_need_one) { expect_success("stacks"); }
LIMITED(a_start_without_memory_is_refused) { expect_success("start memory"); }
TEST_PLAIN(no_fds_are_told_and_survivors_live) { expect_success("fds"); }
TEST_PLAIN(a_start_without_fds_is_refused) { expect_success("start fds"); }
TEST_PLAIN(without_more_threads_jobs_share_one) { expect_success("threads"); }
TEST_PLAIN(without_threads_blocking_is_refused) { expect_success("threads none"); }
TEST_PLAIN(a_start_without_threads_is_refused) { expect_success("threads start"); }
