/* test.h: the test harness of this project.                                SPDX-License-Identifier: MIT

   TEST(name) { … }            runs as the first process of a fresh runtime
   TEST_REAL(name) { … }       the same; not for the deterministic mode: uses real threads, fds or CPU time
   TEST_PLAIN(name) { … }      runs without a runtime: starts its own
   TEST_WITH(name, .real = true, .opts.max_processes = 50) { … }    with the fields of test_case

   CHECK(x), CHECK_EQ(int, int), CHECK_STR(s, s), FAIL(text): a failed one reports its place, marks the test failed,
   and ends the process in which it stands and the first process. The log goes to a buffer (test_log_has,
   test_log_wait), which is printed when the test fails. A test has to end every process that it starts: what is left
   is waited for, and is a failure when it does not end.

   One test program is one .c file that includes this header first. With TEST_LINKED defined, the implementation
   of otp.h comes from another object file. */

#ifndef TEST_H_INCLUDED
#define TEST_H_INCLUDED

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#ifndef TEST_LINKED
#define OTP_IMPLEMENTATION
#endif
#include "otp.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TEST_TSAN 1
#endif
#if __has_feature(address_sanitizer)
#define TEST_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__) && !defined(TEST_TSAN)
#define TEST_TSAN 1
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(TEST_ASAN)
#define TEST_ASAN 1
#endif
#if defined(TEST_TSAN) || defined(TEST_ASAN)
#define TEST_SANITIZED 1
#else
#define TEST_SANITIZED 0
#endif

/* How many times slower than a machine everything is: an emulator. The watchdog and TEST_WAIT wait longer. */
#ifndef TEST_SLOW
#define TEST_SLOW 1
#endif

/* Where faults are not contained, tests with .opts.force_isolation are skipped. */
#if defined(__linux__) && !defined(OTP_NO_ASM) && (defined(__x86_64__) || defined(__aarch64__) || defined(__riscv))
#define TEST_FAULTS 1
#else
#define TEST_FAULTS 0
#endif

typedef struct test_case {
    const char *name;
    void (*body)(void);
    bool real;                  /* not for the deterministic mode */
    bool plain;                 /* not inside a runtime */
    bool not_sanitized;         /* not under sanitizers */
    unsigned seconds;           /* of the watchdog; 0: 20 */
    otp_opts opts;              /* what it sets goes before the options of the command line */
    struct test_case *next;
} test_case;

static test_case *test_first, **test_last = &test_first;

static inline void test_add(test_case *t)
{
    *test_last = t;
    test_last = &t->next;
}

#define TEST_WITH(id, ...)                                                                                  \
    static void test_body_##id(void);                                                                       \
    static test_case test_case_##id = { .name = #id, .body = test_body_##id, __VA_ARGS__ };                 \
    __attribute__((constructor)) static void test_add_##id(void) { test_add(&test_case_##id); }             \
    static void test_body_##id(void)
#define TEST(id) TEST_WITH(id, .real = false)
#define TEST_REAL(id) TEST_WITH(id, .real = true)
#define TEST_PLAIN(id) TEST_WITH(id, .real = true, .plain = true)

/* -- state of the running test ------------------------------------------------------------------------- */

static otp_pid test_app;                    /* the first process; written before the body runs */
static pthread_t test_main_thread;          /* the thread in main() */
static atomic_bool test_failed;
static const char *volatile test_name = "";
static volatile uint64_t test_seed;         /* 0: not deterministic */
static int test_opt_schedulers = 2;
static bool test_opt_deterministic, test_opt_verbose;

/* Writes a line at once: no stdio, since a test may end its process anywhere. */
static inline void test_line(const char *format, ...) OTP_PRINTF(1, 2);
static inline void test_line(const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    if (n < 0) return;
    size_t size = (size_t)n < sizeof line - 1 ? (size_t)n : sizeof line - 2;
    line[size++] = '\n';
    for (size_t at = 0; at < size;) {
        ssize_t w = write(STDOUT_FILENO, line + at, size - at);
        if (w <= 0) return;
        at += (size_t)w;
    }
}

/* A smaller number where everything is slow or repeated with many seeds. */
static inline int test_many(int normal, int reduced)
{
    /* 32 bits have no room for the stacks of many */
    return TEST_SANITIZED || TEST_SLOW > 1 || test_opt_deterministic || sizeof(void *) < 8 ? reduced : normal;
}

/* -- checks --------------------------------------------------------------------------------------------- */

#ifndef TEST_WAIT
#define TEST_WAIT (10000 * TEST_SLOW)       /* ms after which something that must come is missing */
#endif

/* Set by threads that are not the runtime's: a failed check there must not end the thread, which may be a guest. */
static _Thread_local bool test_foreign;

#ifdef TEST_ENDS_ALL
/* Where checks fail on purpose (tests/stress/alloc.c): the others, which may use the stacks of their starters, end
   before those do. */
static inline void test_end_others(otp_pid me)
{
    otp_pid all[512];
    size_t n = otp_processes(all, 512);
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < n && i < 512; i++) {
            if (otp_same(all[i], me) || otp_same(all[i], test_app)) continue;
            if (round == 0 ? otp_exit_signal(all[i], OTP_KILL) != 0 : otp_await_exit(all[i], 5000, NULL) != 0) abort();
        }
}
#endif

/* Ends the test from wherever it is called; comes back on a thread that is not a process. */
static inline void test_stop_here(void)
{
    atomic_store(&test_failed, true);
    otp_pid me = otp_self();
#ifdef TEST_ENDS_ALL
    if (me.id != 0 && !test_foreign) test_end_others(me);
#endif
    if (test_app.id != 0 && !otp_same(me, test_app)) {
        if (otp_exit_signal(test_app, OTP_KILL) != 0) abort();
    }
    if (me.id != 0 && !test_foreign) otp_exit(OTP_USER(1, "check failed"));
}

static inline void test_check(bool ok, const char *file, int line, const char *what)
{
    if (ok) return;
    test_line("# %s:%d: %s: failed: %s", file, line, test_name, what);
    test_stop_here();
}

static inline void test_eq(long long a, long long b, const char *file, int line, const char *what)
{
    if (a == b) return;
    test_line("# %s:%d: %s: failed: %s: %lld and %lld", file, line, test_name, what, a, b);
    test_stop_here();
}

static inline void test_str(const char *a, const char *b, const char *file, int line, const char *what)
{
    if (a && b && strcmp(a, b) == 0) return;
    test_line("# %s:%d: %s: failed: %s: \"%s\" and \"%s\"", file, line, test_name, what, a ? a : "(null)",
              b ? b : "(null)");
    test_stop_here();
}

#define FAIL(text) test_check(false, __FILE__, __LINE__, text)
#define CHECK(x) test_check((x), __FILE__, __LINE__, #x)
#define CHECK_EQ(a, b) test_eq((long long)(a), (long long)(b), __FILE__, __LINE__, #a " == " #b)
#define CHECK_STR(a, b) test_str((a), (b), __FILE__, __LINE__, #a " is " #b)

/* -- the log ------------------------------------------------------------------------------------------- */

static pthread_mutex_t test_log_lock = PTHREAD_MUTEX_INITIALIZER;
static char test_log_text[65536];
static size_t test_log_used;

static inline void test_lock(pthread_mutex_t *lock)
{
    if (pthread_mutex_lock(lock) != 0) abort();
}

static inline void test_unlock(pthread_mutex_t *lock)
{
    if (pthread_mutex_unlock(lock) != 0) abort();
}

static const char *const test_level_names[] = { "default", "error", "warning", "notice", "info", "debug", "none" };

/* The log hook: any thread. Lines are kept as "level: text". */
static inline void test_log(otp_level level, const char *text, void *arg)
{
    (void)arg;
    const char *name = (unsigned)level <= OTP_LOG_NONE ? test_level_names[level] : "?";
    if (test_opt_verbose) test_line("# log: %s: %s", name, text);
    test_lock(&test_log_lock);
    size_t room = sizeof test_log_text - test_log_used;
    int n = snprintf(test_log_text + test_log_used, room, "%s: %s\n", name, text);
    if (n > 0) test_log_used += (size_t)n < room ? (size_t)n : room - 1;
    test_unlock(&test_log_lock);
}

/* How often `text` stands in the log so far. */
static inline int test_log_count(const char *text)
{
    int n = 0;
    test_lock(&test_log_lock);
    for (const char *p = test_log_text; (p = strstr(p, text)) != NULL; p += strlen(text)) n++;
    test_unlock(&test_log_lock);
    return n;
}

static inline bool test_log_has(const char *text) { return test_log_count(text) > 0; }

static inline void test_log_clear(void)
{
    test_lock(&test_log_lock);
    test_log_used = 0;
    test_log_text[0] = 0;
    test_unlock(&test_log_lock);
}

/* Waits until `text` stands in the log: a report may be written after the end of its process is known. */
static inline bool test_log_wait(const char *text)
{
    for (int i = 0; i < 5000; i++) {
        if (test_log_has(text)) return true;
        otp_sleep(1);
    }
    return false;
}

static inline void test_log_print(void)
{
    test_lock(&test_log_lock);
    for (char *p = test_log_text; *p;) {
        size_t n = strcspn(p, "\n");
        test_line("#   log: %.*s", n < 900 ? (int)n : 900, p);
        p += n;
        if (*p) p++;
    }
    test_unlock(&test_log_lock);
}

/* -- helpers for tests of processes ------------------------------------------------------------------------
   The tags from 900 belong to them. */

enum { TEST_STOP = 900, TEST_READY };

/* A process that does nothing until it gets TEST_STOP or a signal. */
static inline void test_idle(void *arg)
{
    (void)arg;
    if (otp_recv_tag(TEST_STOP, OTP_INFINITY) == NULL) FAIL("an endless receive came back");
}

/* The same, which tells the first process when it runs. */
static inline void test_idle_ready(void *arg)
{
    CHECK_EQ(otp_send(test_app, TEST_READY, NULL, 0), 0);
    test_idle(arg);
}

static inline bool test__is_ready(const otp_msg *m, void *arg)
{
    return m->tag == TEST_READY && otp_same(m->from, *(otp_pid *)arg);
}

/* Waits for TEST_READY from pid. */
static inline void test_ready(otp_pid pid) { CHECK(otp_recv_match(test__is_ready, &pid, TEST_WAIT) != NULL); }

/* Starts a process with options, which must work: SPAWN(&pid, .fn = f, .name = "x"). */
#define SPAWN(pid, ...) CHECK_EQ(otp_spawn_opt_at(&(otp_spawn_opts){ __VA_ARGS__ }, (pid), OTP_HERE("process")), 0)

/* Starts fn(arg), monitored, and waits for its TEST_READY. */
static inline otp_pid test_start(otp_fn *fn, void *arg, otp_ref *ref)
{
    otp_pid p = otp_spawn_monitor(fn, arg, ref);
    CHECK(p.id != 0);
    test_ready(p);
    return p;
}

/* Waits for the OTP_DOWN of this monitor. The reason is valid until the next receive. */
static inline const otp_reason *test_down(otp_ref ref)
{
    const otp_msg *m = otp_recv_ref(ref, TEST_WAIT);
    CHECK(m != NULL);
    CHECK_EQ(m->tag, OTP_DOWN);
    CHECK(m->ref.id == ref.id);
    return otp_reason_of(m);
}

static inline bool test__is_exit(const otp_msg *m, void *arg)
{
    return m->tag == OTP_EXIT && otp_same(m->from, *(otp_pid *)arg);
}

/* Waits for the OTP_EXIT from pid. The reason is valid until the next receive. */
static inline const otp_reason *test_exit_from(otp_pid pid)
{
    const otp_msg *m = otp_recv_match(test__is_exit, &pid, TEST_WAIT);
    CHECK(m != NULL);
    return otp_reason_of(m);
}

/* Takes an OTP_EXIT from pid that is there already. */
static inline bool test_exit_flush(otp_pid pid) { return otp_recv_match(test__is_exit, &pid, 0) != NULL; }

/* Nothing is in the mailbox or on its way. Exact in the deterministic mode, where time passes only when no process
   can run; a good chance to catch it elsewhere. */
static inline void test_quiet(void)
{
    const otp_msg *m = otp_recv(test_opt_deterministic ? 1000 : 3);
    if (m) CHECK_EQ(m->tag, OTP_AFTER);
}

/* Kills a process and waits for its end. */
static inline void test_kill(otp_pid pid)
{
    CHECK_EQ(otp_exit_signal(pid, OTP_KILL), 0);
    CHECK_EQ(otp_await_exit(pid, TEST_WAIT, NULL), 0);
}

/* Waits until a process waits as `waits` says. */
static inline void test_until_waiting(otp_pid pid, otp_waits waits)
{
    for (int i = 0; i < 20000; i++) {
        otp_info info;
        CHECK_EQ(otp_process_info(pid, &info), 0);
        if (info.state == OTP_STATE_WAITING && info.waits == waits) return;
        if (i < 100) otp_yield();
        else otp_sleep(1);
    }
    FAIL("the process never waits");
}

/* A bad memory access; for tests with .opts.force_isolation. */
static volatile uintptr_t test_bad_address = 16;
static inline void test_crash(void *arg)
{
    (void)arg;
    *(volatile int *)test_bad_address = 1;
}

/* -- running ------------------------------------------------------------------------------------------- */

static inline void test_leftovers(void)
{
    otp_pid pids[64];
    for (;;) {
        size_t n = otp_processes(pids, 64);
        if (n <= 1) break;
        for (size_t i = 0; i < n && i < 64; i++) {
            if (otp_same(pids[i], otp_self())) continue;
            if (otp_await_exit(pids[i], 3000, NULL) == 0) continue;
            otp_info info;
            if (otp_process_info(pids[i], &info) != 0) continue;
            test_line("# %s: failed: left behind: %s (%s)", test_name, info.spawned, info.name);
            test_stop_here();
        }
    }
    char name[1][64];
    if (otp_registered(name, 1) == 0) return;
    test_line("# %s: failed: left behind: the name %s", test_name, name[0]);
    test_stop_here();
}

static inline void test_app_main(void *arg)
{
    const test_case *t = arg;
    test_app = otp_self();
    t->body();
    test_leftovers();
}

/* The watchdog and the last words of a program that is about to die; async-signal-safe but for the dump. */
static inline void test_on_signal(int sig)
{
    static volatile sig_atomic_t again;
    char text[512];
    int n = snprintf(text, sizeof text, "not ok - %s: %s (signal %d, seed %llu)\nBail out!\n", test_name,
                     sig == SIGALRM ? "the watchdog's time is over" : "the program crashed", sig,
                     (unsigned long long)test_seed);
    if (n > 0 && write(STDOUT_FILENO, text, (size_t)n) < 0) _exit(2);
    if (sig == SIGALRM && !again) {
        again = 1;
        (void)alarm(2);
        otp_dump(STDOUT_FILENO);
    }
    if (sig == SIGALRM) _exit(2);
    (void)signal(sig, SIG_DFL);
    (void)raise(sig);
}

static inline void test_signals(void)
{
    struct sigaction sa;
    memset(&sa, 0, sizeof sa);
    sa.sa_handler = test_on_signal;
    sa.sa_flags = SA_ONSTACK | SA_NODEFER;
    static const int fatal[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };
    if (sigaction(SIGALRM, &sa, NULL) != 0) abort();
    for (size_t i = 0; i < sizeof fatal / sizeof fatal[0] && !TEST_SANITIZED; i++)
        if (sigaction(fatal[i], &sa, NULL) != 0) abort();
}

/* Runs it once; seed 0: not in the deterministic mode. */
static inline bool test_once(test_case *t, uint64_t seed)
{
    otp_opts o = t->opts;
    if (o.schedulers == 0) o.schedulers = test_opt_schedulers;
    if (seed != 0) {
        o.schedulers = 1;
        o.deterministic = true;
        o.seed = seed;
    }
    if (!o.log) o.log = test_log;
    test_name = t->name;
    test_seed = seed;
    test_app.id = 0;
    atomic_store(&test_failed, false);
    test_log_clear();
    (void)alarm((t->seconds ? t->seconds : 20) * (TEST_SANITIZED ? 4 : 1) * TEST_SLOW);
    if (t->plain) {
        test_foreign = true;
        t->body();
        test_foreign = false;
    } else {
        int r = otp_run(test_app_main, t, &o);
        if (r != 0) {
            test_line("# %s: failed: otp_run returned %d%s%s", t->name, r, r < 0 ? ": " : "", r < 0 ? otp_strerror(r) : "");
            atomic_store(&test_failed, true);
        }
        if (otp_processes(NULL, 0) != 0) {
            test_line("# %s: failed: processes are left after otp_run", t->name);
            atomic_store(&test_failed, true);
        }
    }
    (void)alarm(0);
    if (atomic_load(&test_failed)) test_log_print();
    return !atomic_load(&test_failed);
}

/* Whether a name stands in a list with commas. */
static inline bool test_listed(const char *name, const char *list)
{
    size_t n = strlen(name);
    for (const char *at = list; (at = strstr(at, name)) != NULL; at += n)
        if ((at == list || at[-1] == ',') && (at[n] == 0 || at[n] == ',')) return true;
    return false;
}

static inline int test_usage(const char *program)
{
    fprintf(stderr,
            "usage: %s [--schedulers N] [--deterministic [--seeds A..B]] [--only SUBSTRING] [--skip NAME,…] [--list] [--verbose]\n",
            program);
    return 2;
}

int main(int argc, char **argv)
{
    unsigned long long from = 1, to = 100;
    const char *only = NULL, *skip = "";
    bool list = false;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--deterministic") == 0) {
            test_opt_deterministic = true;
        } else if (strcmp(argv[i], "--list") == 0) {
            list = true;
        } else if (strcmp(argv[i], "--verbose") == 0) {
            test_opt_verbose = true;
        } else if (strcmp(argv[i], "--only") == 0 && value) {
            only = value;
            i++;
        } else if (strcmp(argv[i], "--skip") == 0 && value) {
            skip = value;
            i++;
        } else if (strcmp(argv[i], "--schedulers") == 0 && value) {
            char *end;
            long n = strtol(value, &end, 10);
            if (*end || n < 1 || n > 1024) return test_usage(argv[0]);
            test_opt_schedulers = (int)n;
            i++;
        } else if (strcmp(argv[i], "--seeds") == 0 && value) {
            if (sscanf(value, "%llu..%llu", &from, &to) != 2 || from == 0 || to < from) return test_usage(argv[0]);
            i++;
        } else {
            return test_usage(argv[0]);
        }
    }
    test_main_thread = pthread_self();
    if (!list) test_signals();
    int number = 0, passed = 0, failed = 0, skipped = 0;
    for (test_case *t = test_first; t; t = t->next) {
        if (only && !strstr(t->name, only)) continue;
        number++;
        if (list) {
            test_line("%s%s", t->name, t->real ? " (real)" : "");
            continue;
        }
        if ((t->real && test_opt_deterministic) || (t->not_sanitized && TEST_SANITIZED) ||
            (t->opts.force_isolation && !TEST_FAULTS) || test_listed(t->name, skip)) {
            test_line("ok %d - %s # SKIP", number, t->name);
            skipped++;
            continue;
        }
        bool ok = true;
        unsigned long long seed = from;
        if (!test_opt_deterministic) ok = test_once(t, 0);
        else
            for (; seed <= to && ok; seed++) ok = test_once(t, seed);
        if (ok) {
            test_line("ok %d - %s", number, t->name);
            passed++;
            continue;
        }
        failed++;
        if (test_opt_deterministic)
            test_line("not ok %d - %s: seed %llu; replay: %s --deterministic --seeds %llu..%llu --only %s", number,
                      t->name, seed - 1, argv[0], seed - 1, seed - 1, t->name);
        else test_line("not ok %d - %s", number, t->name);
    }
    if (!list) test_line("%d passed, %d failed, %d skipped", passed, failed, skipped);
    return failed ? 1 : 0;
}

#endif /* TEST_H_INCLUDED */
