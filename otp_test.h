/* otp_test.h: test cases for programs with processes.                     SPDX-License-Identifier: MIT

   A test program is one file: the define, the include, and cases. Each case runs as a process of its own, in a runtime that
   is checked for what it left behind; with .seeds it runs under many schedules in virtual time.

       #define OTP_IMPLEMENTATION
       #include "otp_test.h"

       enum { ASK = 1, ANSWER };

       static void oracle(void *arg)
       {
           (void)arg;
           for (;;) {
               const otp_msg *m = otp_recv_tag(ASK, OTP_INFINITY);
               OTP_SEND(m->from, ANSWER, 42);
           }
       }

       OTP_TEST(the_oracle_answers, .seeds = 100)
       {
           OTP_SEND(otp_spawn_link(oracle, NULL), ASK, 0);
           const otp_msg *m = otp_assert_receive(ANSWER);
           otp_check_eq(*OTP_PAYLOAD(m, int), 42);
           otp_refute_receive(ANSWER);
       }

   Build: cc -pthread program.c, then ./a.out --help. It ends with a line `N passed, N failed` and exit status 0 or 1.

   CONTENTS (search for the marks)
     1 config          >> test config
     2 types           >> test types
     3 functions       >> cases, >> checks, >> test messages, >> life of a case, >> the program
     4 implementation  >> test implementation

   NEEDS    otp.h beside it; C11 with GNU extensions (gcc, clang) for the cases. The modules that are tested come by
            includes of their own: otp_server.h and the like.
   NOT HERE mocks, properties, benchmarks. Every interleaving instead of many: otp_explore.h.
   LIMITS   - Memory is checked with glibc 2.33 or newer, without sanitizers, and not in cases that run side by side.
            - A case that computes for ever without an otp_ call cannot be ended: the program reports it and stops.
            - Under sanitizers a crash ends the program, unless the case has .opts.force_isolation.
   NAMES    otp_ and OTP_ are public, otp__ and OTP__ are private. Checks are called as in ExUnit where it has one. */

#include "otp.h"

#ifndef OTP_TEST_H_INCLUDED
#define OTP_TEST_H_INCLUDED

#ifdef __cplusplus
extern "C" {
#endif

/* -- 1 config -------------------------------------------------------------------------------------------
   >> test config   Define before the include with OTP_IMPLEMENTATION:

   OTP_TEST_NO_MAIN     when defined: no main(); the program has one of its own, which calls otp_test_main() */

/* -- 2 types --------------------------------------------------------------------------------------------
   >> test types */

/* A case. Those fields that have a comment with (*) may be given to OTP_TEST. All zero means the defaults. */
typedef struct otp_test_case {
    const char *name, *file;
    int line;
    void (*body)(void);
    int seeds;                  /* (*) runs under the deterministic schedules 1 to this, in virtual time; 0: as it comes */
    bool async;                 /* (*) may run side by side with other such cases, in one runtime; not with .seeds or .opts */
    int64_t timeout;            /* (*) ms for the case, without its clean-up; 0: 60,000, or what --timeout says */
    const char *tags;           /* (*) for --tag and --no-tag: "slow, net" */
    const char *skip;           /* (*) why it does not run: it is listed as skipped */
    bool keeps_memory;          /* (*) no check for memory: what it allocates is meant to stay */
    otp_opts opts;              /* (*) of its runtime; .log is the test's own unless given */
    struct otp_test_case *next;
} otp_test_case;

/* A value of otp_check_eq and its like, private. */
typedef struct otp__test_value {
    char kind;                  /* 'i', 'u', 'd', 'p', 'P' for a pid, 'R' for a reference */
    long long i;
    unsigned long long u;
    double d;
    const volatile void *p;
} otp__test_value;

/* -- 3 functions ----------------------------------------------------------------------------------------
   >> cases */

/* OTP_TEST(name, .seeds = 1000, .tags = "slow") { … }   A case; the fields of otp_test_case may follow its name. The body runs as a
   process of its own. When it comes to its end it exits with shutdown: processes linked to it end with it. The case fails with
   a failed check in any of its processes, when its process ends in another way, at its time limit, and when it leaves
   something behind: a process that does not end by itself within a second, a name, a timer, memory. */
#define OTP_TEST(...) OTP__TEST(__VA_ARGS__, .next = NULL)
#define OTP__TEST(id, ...)                                                                                  \
    static void otp__case_body_##id(void);                                                                  \
    static otp_test_case otp__case_of_##id = {                                                            \
        .name = #id, .file = __FILE__, .line = __LINE__, .body = otp__case_body_##id, __VA_ARGS__ };        \
    __attribute__((constructor)) static void otp__case_add_##id(void) { otp_test_add(&otp__case_of_##id); } \
    static void otp__case_body_##id(void)

/* Adds a case to the program's list; OTP_TEST does it.
   owns: the case must outlive the program's run
   returns: nothing
   caller: before start */
void otp_test_add(otp_test_case *c);

/* >> checks   A failed check is reported with its place and its values, and ends the process in which it stands and the
   case. On a thread that is not a process it comes back. Each argument is evaluated once. */

/* The condition holds. */
#define otp_check(cond) otp__test_check((cond), #cond, __FILE__, __LINE__)
/* Two values of any arithmetic type compare so; signs may differ. Also pointers, pids and references (eq and ne). */
#define otp_check_eq(a, b) OTP__TEST_CMP("eq", a, b, #a ", " #b)
#define otp_check_ne(a, b) OTP__TEST_CMP("ne", a, b, #a ", " #b)
#define otp_check_lt(a, b) OTP__TEST_CMP("lt", a, b, #a ", " #b)
#define otp_check_le(a, b) OTP__TEST_CMP("le", a, b, #a ", " #b)
#define otp_check_gt(a, b) OTP__TEST_CMP("gt", a, b, #a ", " #b)
#define otp_check_ge(a, b) OTP__TEST_CMP("ge", a, b, #a ", " #b)
/* Two numbers differ by `delta` at most. */
#define otp_check_near(a, b, delta)                                                                         \
    otp__test_near((double)(a), (double)(b), (double)(delta), #a ", " #b ", " #delta, __FILE__, __LINE__)
/* Two strings are equal; text has part in it; two pieces of memory of `size` bytes are equal. */
#define otp_check_str(a, b) otp__test_str((a), (b), #a ", " #b, __FILE__, __LINE__)
#define otp_check_str_has(text, part) otp__test_has((text), (part), #text ", " #part, __FILE__, __LINE__)
#define otp_check_mem(a, b, size) otp__test_mem((a), (b), (size), #a ", " #b ", " #size, __FILE__, __LINE__)
/* Fails the case with a text in the form of printf. */
#define otp_fail(...) otp__test_fail(__FILE__, __LINE__, __VA_ARGS__)

/* Whether a condition comes to hold within `ms`: it is evaluated again and again. For otp_check: otp_check(otp_eventually(x, 1000)). */
#define otp_eventually(cond, ms)                                                                            \
    __extension__({                                                                                         \
        int64_t otp__until = otp_now() + (ms);                                                              \
        unsigned otp__turn = 0;                                                                             \
        bool otp__held;                                                                                     \
        while (!(otp__held = (cond)) && otp__test_again(otp__until, &otp__turn)) { }                        \
        otp__held;                                                                                          \
    })

/* The texts of arguments are made in the outermost macro, where those are not expanded yet. */
#define OTP__TEST_CMP(op, a, b, what) otp__test_cmp(op, OTP__TEST_VALUE(a), OTP__TEST_VALUE(b), what, __FILE__, __LINE__)
#define OTP__TEST_VALUE(x)                                                                                  \
    _Generic((x), _Bool: otp__test_i, char: otp__test_i, signed char: otp__test_i, short: otp__test_i, int: otp__test_i, \
        long: otp__test_i, long long: otp__test_i, unsigned char: otp__test_u, unsigned short: otp__test_u,  \
        unsigned: otp__test_u, unsigned long: otp__test_u, unsigned long long: otp__test_u, float: otp__test_d, \
        double: otp__test_d, otp_pid: otp__test_pid, otp_ref: otp__test_ref, default: otp__test_p)(x)
otp__test_value otp__test_i(long long i);
otp__test_value otp__test_u(unsigned long long u);
otp__test_value otp__test_d(double d);
otp__test_value otp__test_p(const volatile void *p);
otp__test_value otp__test_pid(otp_pid pid);
otp__test_value otp__test_ref(otp_ref ref);
void otp__test_check(bool ok, const char *what, const char *file, int line);
void otp__test_cmp(const char *op, otp__test_value a, otp__test_value b, const char *what, const char *file, int line);
void otp__test_near(double a, double b, double delta, const char *what, const char *file, int line);
void otp__test_str(const char *a, const char *b, const char *what, const char *file, int line);
void otp__test_has(const char *text, const char *part, const char *what, const char *file, int line);
void otp__test_mem(const void *a, const void *b, size_t size, const char *what, const char *file, int line);
void otp__test_fail(const char *file, int line, const char *format, ...) OTP_PRINTF(3, 4);
bool otp__test_again(int64_t until, unsigned *turn);

/* >> test messages   The time is in ms and may be left out: 100. A failed one shows what is in the mailbox. */

/* Takes the oldest message with this tag (this reference; from this process), waiting for it; others stay. The message is valid
   until the next receive: const otp_msg *m = otp_assert_receive(ANSWER, 500). */
#define otp_assert_receive(...) OTP__TEST_RECEIVE(#__VA_ARGS__, __VA_ARGS__, 100, 0)
#define otp_assert_receive_ref(...) OTP__TEST_RECEIVE_REF(#__VA_ARGS__, __VA_ARGS__, 100, 0)
#define otp_assert_receive_from(...) OTP__TEST_RECEIVE_FROM(#__VA_ARGS__, __VA_ARGS__, 100, 0)
/* The same, of a message that is in the mailbox already. */
#define otp_assert_received(tag) OTP__TEST_RECEIVE(#tag, tag, 0, 0)
/* Takes the oldest message for which a condition on m holds (`const otp_msg *m`, declared before):
   otp_assert_match(m, m->tag == ANSWER && *OTP_PAYLOAD(m, int) > 40). */
#define otp_assert_match(...) OTP__TEST_MATCH(#__VA_ARGS__, __VA_ARGS__, 100, 0)
/* No message with this tag (for which the condition holds) comes within the time, or is there already. */
#define otp_refute_receive(...) OTP__TEST_REFUTE(#__VA_ARGS__, __VA_ARGS__, 100, 0)
#define otp_refute_received(tag) OTP__TEST_REFUTE(#tag, tag, 0, 0)
#define otp_refute_match(...) OTP__TEST_REFUTE_MATCH(#__VA_ARGS__, __VA_ARGS__, 100, 0)

#define OTP__TEST_RECEIVE(what, tag, ms, ...) otp__test_receive((tag), (ms), (what), __FILE__, __LINE__)
#define OTP__TEST_RECEIVE_REF(what, ref, ms, ...) otp__test_receive_ref((ref), (ms), (what), __FILE__, __LINE__)
#define OTP__TEST_RECEIVE_FROM(what, pid, ms, ...) otp__test_receive_from((pid), (ms), (what), __FILE__, __LINE__)
#define OTP__TEST_REFUTE(what, tag, ms, ...) otp__test_refute((tag), (ms), (what), __FILE__, __LINE__)
#define OTP__TEST_SCAN(m, cond, ms, s, found, after)                                                        \
    do {                                                                                                    \
        bool found = false;                                                                                 \
        for (otp__scan s = otp__scan_begin(ms); !found && otp__scan_next(&s, &(m));) {                      \
            if ((m)->tag == OTP_AFTER) break;                                                               \
            if (cond) found = true;                                                                         \
            else otp_leave(m);                                                                              \
        }                                                                                                   \
        after;                                                                                              \
    } while (0)
#define OTP__TEST_MATCH(what, m, cond, ms, ...)                                                                      \
    OTP__TEST_SCAN(m, cond, ms, OTP__CAT(otp__s, __LINE__), OTP__CAT(otp__f, __LINE__),                     \
                   otp__test_matched(OTP__CAT(otp__f, __LINE__), (ms), (what), __FILE__, __LINE__))
#define OTP__TEST_REFUTE_MATCH(what, m, cond, ms, ...)                                                            \
    OTP__TEST_SCAN(m, cond, ms, OTP__CAT(otp__s, __LINE__), OTP__CAT(otp__f, __LINE__),                     \
                   otp__test_refuted(OTP__CAT(otp__f, __LINE__) ? (m) : NULL, (what), __FILE__, __LINE__))
const otp_msg *otp__test_receive(int tag, int64_t ms, const char *what, const char *file, int line);
const otp_msg *otp__test_receive_ref(otp_ref ref, int64_t ms, const char *what, const char *file, int line);
const otp_msg *otp__test_receive_from(otp_pid pid, int64_t ms, const char *what, const char *file, int line);
void otp__test_refute(int tag, int64_t ms, const char *what, const char *file, int line);
void otp__test_matched(bool found, int64_t ms, const char *what, const char *file, int line);
void otp__test_refuted(const otp_msg *m, const char *what, const char *file, int line);

/* >> life of a case */

/* otp_pid p = otp_start_supervised(start, arg)   Runs start(arg), which returns a linked pid, in a process that stands in for the
   supervisor: a crash of the child fails nothing by itself. arg may be left out: NULL. The child is stopped when the case
   has ended, the last started first: with shutdown, and after 5 s with kill. When start returns a zero pid, the case fails and
   tells what otp_start_result() says. */
#define otp_start_supervised(...) OTP__TEST_SUPERVISED(#__VA_ARGS__, __VA_ARGS__, NULL, 0)
#define OTP__TEST_SUPERVISED(what, start, arg, ...) otp__test_supervised((start), (arg), (what), __FILE__, __LINE__)
otp_pid otp__test_supervised(otp_pid (*start)(void *arg), void *arg, const char *what, const char *file, int line);

/* The same for a start that may fail; *code (may be NULL) is then what otp_start_result() returned, or OTP_EDIED when start itself
   crashed.
   returns: the pid; a zero pid when it did not start
   caller: a process of a case; may suspend */
otp_pid otp_try_start_supervised(otp_pid (*start)(void *arg), void *arg, int *code);

/* Stops such a child now, and waits for its end.
   returns: 0; OTP_ENOENT when it is not one, or has ended by itself; OTP_ENOPROC
   caller: a process of a case; may suspend
   like: ExUnit's stop_supervised */
int otp_stop_supervised(otp_pid pid);

/* Has fn(arg) called when the case has ended, however it ended, and its supervised processes are gone: in a process of its own,
   the last one first. arg must live until then: it cannot be on the stack or in the heap of the case. The second form copies
   `size` bytes.
   returns: 0; OTP_ENOMEM; OTP_ENOTPROC outside of a case
   caller: a process of a case
   like: ExUnit's on_exit */
int otp_on_exit(otp_fn *fn, void *arg);
int otp_on_exit_copy(otp_fn *fn, const void *data, size_t size);

/* Ends the case as skipped.
   returns: never, in a process
   caller: a process of a case */
void otp_skip(const char *why);

/* Runs fn(arg) and returns what the processes of the case log meanwhile: lines as "[error] text". The log of a case goes nowhere else; it is
   shown when the case fails, and with --verbose. A report may come a moment after the end of its process.
   returns: the text, in the heap of the calling process
   caller: a process of a case; may suspend when fn does
   like: ExUnit's capture_log */
char *otp_capture_log(otp_fn *fn, void *arg);

/* Whether text stands in the log of the case: otp_check(otp_eventually(otp_log_has("no such file"), 1000)).
   returns: true or false
   caller: a process of a case */
bool otp_log_has(const char *text);

/* The case that runs, and its schedule: the seed, 0 without .seeds.
   returns: the name, NULL outside of a case; the seed
   caller: a process of a case */
const char *otp_test_name(void);
uint64_t otp_test_seed(void);

/* >> the program */

/* Runs the cases as the command line says (--help). The main() that comes with this header is nothing else.
   returns: the exit status: 0 when all passed, 1 when some failed, 2 for a wrong command line or when nothing was chosen
   caller: before start, on the main thread */
int otp_test_main(int argc, char **argv);

#ifdef __cplusplus
}
#endif

#endif /* OTP_TEST_H_INCLUDED */

/* -- 4 implementation -----------------------------------------------------------------------------------
   >> test implementation

   run      one execution of a case: under one seed, or as it comes. Its texts are in buffers of a fixed size, so that they
            do not disturb the measurement of memory.
   host     the process of a run that starts the case, waits for its end, cleans up and looks for what is left. A run that is
            alone has a runtime of its own, and the host is its first process.
   keeper   the process to which supervised children are linked.
   pool     the first process of the runtime in which async cases run side by side; there the trace hook notes which process
            belongs to which run.
   watch    a thread that ends the program when a run goes on in real time long after its limit. */
#if defined(OTP_IMPLEMENTATION) && !defined(OTP_TEST_IMPLEMENTATION_DONE)
#define OTP_TEST_IMPLEMENTATION_DONE

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define OTP__TEST_SANITIZED 1
#endif
#endif
#if !defined(OTP__TEST_SANITIZED) && (defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__))
#define OTP__TEST_SANITIZED 1
#endif
#ifndef OTP__TEST_SANITIZED
#define OTP__TEST_SANITIZED 0
#endif
#if defined(__GLIBC__) && !OTP__TEST_SANITIZED
#if __GLIBC_PREREQ(2, 33)
#include <malloc.h>
#define OTP__TEST_MEMORY 1
#endif
#endif
#ifndef OTP__TEST_MEMORY
#define OTP__TEST_MEMORY 0
#endif

#define OTP__TEST_LIMIT 60000       /* ms for a case */
#define OTP__TEST_GRACE 1000        /* ms for processes that are about to end anyway */
#define OTP__TEST_SHUTDOWN 5000     /* ms for a supervised child after its shutdown */
#define OTP__TEST_GIVE_UP 3000      /* ms, real ones, after which a killed case is taken to compute for ever */
enum { OTP__TEST_START = OTP_TAG_MIN - 60, OTP__TEST_STOP, OTP__TEST_STOP_ALL };    /* the keeper's requests */

enum { OTP__TEST_PENDING, OTP__TEST_PASSED, OTP__TEST_FAILED, OTP__TEST_SKIPPED };

typedef struct otp__test_hook { struct otp__test_hook *next; otp_fn *fn; void *arg; } otp__test_hook;

typedef struct otp__test_run {
    const otp_test_case *c;
    uint64_t seed;
    bool alone;                     /* in a runtime of its own */
    pthread_mutex_t lock;           /* guards the texts, the hooks, the last check */
    char text[16384], log[65536];
    size_t text_used, log_used;
    otp__test_hook *hooks;
    const char *last_file;
    int last_line;
    const char *skip;
    char place[192];                /* where the case was spawned, for reports */
    otp_pid host, keeper;           /* written before the case runs */
    _Atomic(uint64_t) test;         /* the process of the case */
    atomic_bool failed, complete;   /* complete: the body came to its end, or was skipped */
    atomic_bool over;               /* the host is through */
    int64_t began, took;            /* real ms */
} otp__test_run;

typedef struct otp__test_result { const otp_test_case *c; int verdict; int64_t took; char *text; } otp__test_result;

/* What the command line says, and the state of the program. */
static struct otp__test_program {
    otp_test_case *first, **last;
    const char *name;
    const char *only[16], *without[16], *tag[16], *no_tag[16];
    int n_only, n_without, n_tag, n_no_tag;
    bool list, tap, verbose, color, has_order, has_seed, has_seeds;
    const char *junit;
    unsigned long long order, seed, seeds_from, seeds_to;
    int64_t timeout;
    int repeat, schedulers, jobs;
    otp__test_result *results;
    int done, chosen, passed, failed, skipped;
    pthread_mutex_t out_lock;       /* guards the results and the output, between the main thread and the watch */
} otp__test = { .out_lock = PTHREAD_MUTEX_INITIALIZER };

static _Atomic(otp__test_run *) otp__test_single;       /* the run that has a runtime of its own */
static _Atomic(int64_t) otp__test_watch_until;          /* real ms; 0: nothing to watch */

static void otp__test_lock(pthread_mutex_t *l)
{
    if (pthread_mutex_lock(l) != 0) abort();
}

static void otp__test_unlock(pthread_mutex_t *l)
{
    if (pthread_mutex_unlock(l) != 0) abort();
}

static int64_t otp__test_clock(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t) != 0) return 0;
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* One write for each piece: no stdio, whose lock a crash may have left locked. */
static void otp__test_write(int fd, const char *text, size_t size)
{
    for (size_t at = 0; at < size;) {
        ssize_t w = write(fd, text + at, size - at);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) return;
        at += (size_t)w;
    }
}

OTP_PRINTF(1, 2)
static void otp__test_out(const char *format, ...)
{
    char text[2048];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    if (n > 0) otp__test_write(STDOUT_FILENO, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

/* -- which run a process belongs to */

static struct otp__test_map {
    pthread_mutex_t lock;
    struct otp__test_entry { uint64_t pid; otp__test_run *run; } *e;
    size_t count, size;             /* a power of two */
} otp__test_map = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct otp__test_entry *otp__test_slot(uint64_t pid)
{
    size_t i = (size_t)((pid * 0x9e3779b97f4a7c15u) >> 20) & (otp__test_map.size - 1);
    while (otp__test_map.e[i].pid && otp__test_map.e[i].pid != pid) i = (i + 1) & (otp__test_map.size - 1);
    return &otp__test_map.e[i];
}

static otp__test_run *otp__test_map_get(uint64_t pid)
{
    otp__test_lock(&otp__test_map.lock);
    otp__test_run *run = otp__test_map.size && pid ? otp__test_slot(pid)->run : NULL;
    otp__test_unlock(&otp__test_map.lock);
    return run;
}

static void otp__test_map_put(uint64_t pid, otp__test_run *run)
{
    otp__test_lock(&otp__test_map.lock);
    if (otp__test_map.count * 2 >= otp__test_map.size) {
        struct otp__test_entry *old = otp__test_map.e;
        size_t n = otp__test_map.size;
        otp__test_map.size = n ? n * 2 : 1024;
        otp__test_map.e = calloc(otp__test_map.size, sizeof *old);
        if (!otp__test_map.e) abort();
        for (size_t i = 0; i < n; i++)
            if (old[i].pid) *otp__test_slot(old[i].pid) = old[i];
        free(old);
    }
    struct otp__test_entry *e = otp__test_slot(pid);
    if (!e->pid) otp__test_map.count++;
    e->pid = pid;
    e->run = run;
    otp__test_unlock(&otp__test_map.lock);
}

static void otp__test_map_clear(void)
{
    otp__test_lock(&otp__test_map.lock);
    free(otp__test_map.e);
    otp__test_map.e = NULL;
    otp__test_map.count = otp__test_map.size = 0;
    otp__test_unlock(&otp__test_map.lock);
}

/* The trace hook: it runs before the child can. */
static void otp__test_spawned(otp_pid parent, otp_pid child, const char *place, void *arg)
{
    (void)place;
    (void)arg;
    otp__test_run *run = otp__test_map_get(parent.id);
    if (run) otp__test_map_put(child.id, run);
}

static otp__test_run *otp__test_run_of(otp_pid pid)
{
    otp__test_run *run = atomic_load(&otp__test_single);
    return run ? run : otp__test_map_get(pid.id);
}

static otp__test_run *otp__test_current(void) { return otp__test_run_of(otp_self()); }

/* -- texts of a run */

OTP_PRINTF(2, 0)
static void otp__test_vnote(otp__test_run *run, const char *format, va_list ap)
{
    size_t room = sizeof run->text - run->text_used;
    int n = vsnprintf(run->text + run->text_used, room, format, ap);
    if (n > 0) run->text_used += (size_t)n < room ? (size_t)n : room - 1;
}

/* Adds lines to the report of a run, and marks it as failed. */
OTP_PRINTF(2, 3)
static void otp__test_note(otp__test_run *run, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    otp__test_lock(&run->lock);
    otp__test_vnote(run, format, ap);
    otp__test_unlock(&run->lock);
    va_end(ap);
    atomic_store(&run->failed, true);
}

/* The log hook: any thread. */
static void otp__test_logged(otp_level level, const char *text, void *arg)
{
    static const char *const names[] = { "", "error", "warning", "notice", "info", "debug", "" };
    (void)arg;
    char line[2200];
    int n = snprintf(line, sizeof line, "[%s] %s\n", (unsigned)level <= OTP_LOG_NONE ? names[level] : "", text);
    if (n <= 0) return;
    size_t size = (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
    otp__test_run *run = otp__test_current();
    if (!run) {
        otp__test_write(STDERR_FILENO, line, size);
        return;
    }
    otp__test_lock(&run->lock);
    if (size < sizeof run->log - run->log_used) {
        memcpy(run->log + run->log_used, line, size + 1);
        run->log_used += size;
        run->log[run->log_used] = 0;
    }
    otp__test_unlock(&run->lock);
}

/* -- checks */

static bool otp__test_in_process(void)
{
    otp_pid me = otp_self();
    otp_info info;
    if (me.id == 0 || otp_process_info(me, &info) != 0) return false;
    return strcmp(info.spawned, "a thread of the program") != 0;
}

/* Ends the case, and the process that is here. */
static void otp__test_end_here(otp__test_run *run)
{
    otp_pid test = { atomic_load(&run->test) }, me = otp_self();
    if (test.id && !otp_same(me, test) && otp_exit_signal(test, OTP_KILL) != 0) abort();
    if (otp__test_in_process()) otp_exit(OTP_USER(1, "a check failed"));
}

static void otp__test_vfail(const char *file, int line, const char *format, va_list ap)
{
    otp__test_run *run = otp__test_current();
    if (!run) {                     /* of no case: nobody else would tell */
        char text[1024];
        (void)vsnprintf(text, sizeof text, format, ap);
        fprintf(stderr, "%s:%d: a check outside of any case failed: %s\n", file, line, text);
        _Exit(1);
    }
    otp__test_lock(&run->lock);
    size_t room = sizeof run->text - run->text_used;
    int n = snprintf(run->text + run->text_used, room, "%s:%d: ", file, line);
    if (n > 0) run->text_used += (size_t)n < room ? (size_t)n : room - 1;
    otp__test_vnote(run, format, ap);
    otp__test_unlock(&run->lock);
    otp__test_note(run, "\n");
    otp__test_end_here(run);
}

void otp__test_fail(const char *file, int line, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    otp__test_vfail(file, line, format, ap);
    va_end(ap);
}

/* Remembers the last check that held: a crash is somewhere behind it. */
static void otp__test_held(const char *file, int line)
{
    otp__test_run *run = otp__test_current();
    if (!run || otp_self().id != atomic_load(&run->test)) return;
    otp__test_lock(&run->lock);
    run->last_file = file;
    run->last_line = line;
    otp__test_unlock(&run->lock);
}

void otp__test_check(bool ok, const char *what, const char *file, int line)
{
    if (ok) otp__test_held(file, line);
    else otp__test_fail(file, line, "otp_check(%s)", what);
}

otp__test_value otp__test_i(long long i) { return (otp__test_value){ .kind = 'i', .i = i, .d = (double)i }; }
otp__test_value otp__test_u(unsigned long long u) { return (otp__test_value){ .kind = 'u', .u = u, .d = (double)u }; }
otp__test_value otp__test_d(double d) { return (otp__test_value){ .kind = 'd', .d = d }; }
otp__test_value otp__test_p(const volatile void *p) { return (otp__test_value){ .kind = 'p', .p = p }; }
otp__test_value otp__test_pid(otp_pid pid) { return (otp__test_value){ .kind = 'P', .u = pid.id }; }
otp__test_value otp__test_ref(otp_ref ref) { return (otp__test_value){ .kind = 'R', .u = ref.id }; }

#define OTP__TEST_ORDER(a, b) ((a) < (b) ? -1 : (a) > (b) ? 1 : (a) == (b) ? 0 : 2)

/* -1, 0, 1; 2: neither (a NaN, or things of two kinds). */
static int otp__test_order(otp__test_value a, otp__test_value b)
{
    bool a_number = a.kind == 'i' || a.kind == 'u' || a.kind == 'd', b_number = b.kind == 'i' || b.kind == 'u' || b.kind == 'd';
    if (a_number && b_number) {
        if (a.kind == 'd' || b.kind == 'd') return OTP__TEST_ORDER(a.d, b.d);
        if (a.kind == 'i' && b.kind == 'i') return OTP__TEST_ORDER(a.i, b.i);
        if (a.kind == 'i' && a.i < 0) return -1;
        if (b.kind == 'i' && b.i < 0) return 1;
        unsigned long long x = a.kind == 'i' ? (unsigned long long)a.i : a.u, y = b.kind == 'i' ? (unsigned long long)b.i : b.u;
        return OTP__TEST_ORDER(x, y);
    }
    if (a.kind == 'p' && b_number && b.d == 0) return a.p ? 1 : 0;      /* NULL may be a plain 0 */
    if (b.kind == 'p' && a_number && a.d == 0) return b.p ? -1 : 0;
    if (a.kind != b.kind) return 2;
    if (a.kind == 'p') return OTP__TEST_ORDER((uintptr_t)a.p, (uintptr_t)b.p);
    return OTP__TEST_ORDER(a.u, b.u);
}

static const char *otp__test_show(otp__test_value v, char *out, size_t size)
{
    int n = 0;
    switch (v.kind) {
    case 'i': n = snprintf(out, size, "%lld", v.i); break;
    case 'u': n = snprintf(out, size, "%llu", v.u); break;
    case 'd': n = snprintf(out, size, "%.17g", v.d); break;
    case 'P': n = otp_format_pid((otp_pid){ v.u }, out, size); break;
    case 'R': n = snprintf(out, size, "reference %llx", v.u); break;
    default:  n = v.p ? snprintf(out, size, "0x%llx", (unsigned long long)(uintptr_t)v.p) : snprintf(out, size, "NULL"); break;
    }
    return n < 0 ? "?" : out;
}

void otp__test_cmp(const char *op, otp__test_value a, otp__test_value b, const char *what, const char *file, int line)
{
    int order = otp__test_order(a, b);
    bool ok = strcmp(op, "eq") == 0   ? order == 0
              : strcmp(op, "ne") == 0 ? order != 0
              : strcmp(op, "lt") == 0 ? order == -1
              : strcmp(op, "le") == 0 ? order == -1 || order == 0
              : strcmp(op, "gt") == 0 ? order == 1
                                      : order == 1 || order == 0;
    char left[64], right[64];
    if (ok) otp__test_held(file, line);
    else
        otp__test_fail(file, line, "otp_check_%s(%s)\n    left:  %s\n    right: %s", op, what,
                       otp__test_show(a, left, sizeof left), otp__test_show(b, right, sizeof right));
}

void otp__test_near(double a, double b, double delta, const char *what, const char *file, int line)
{
    double distance = a < b ? b - a : a - b;
    if (distance <= delta) otp__test_held(file, line);
    else
        otp__test_fail(file, line, "otp_check_near(%s)\n    left:  %.17g\n    right: %.17g\n    apart: %.17g", what, a, b, distance);
}

void otp__test_str(const char *a, const char *b, const char *what, const char *file, int line)
{
    if (a == b || (a && b && strcmp(a, b) == 0)) {
        otp__test_held(file, line);
        return;
    }
    otp__test_fail(file, line, "otp_check_str(%s)\n    left:  %s%s%s\n    right: %s%s%s", what, a ? "\"" : "", a ? a : "NULL",
                   a ? "\"" : "", b ? "\"" : "", b ? b : "NULL", b ? "\"" : "");
}

void otp__test_has(const char *text, const char *part, const char *what, const char *file, int line)
{
    if (text && part && strstr(text, part)) otp__test_held(file, line);
    else
        otp__test_fail(file, line, "otp_check_str_has(%s)\n    text: \"%s\"\n    part: \"%s\"", what, text ? text : "NULL",
                       part ? part : "NULL");
}

static const char *otp__test_hex(const void *data, size_t size, char *out, size_t room)
{
    const unsigned char *p = data;
    size_t at = 0;
    out[0] = 0;
    for (size_t i = 0; i < size && at + 8 < room; i++) {
        int n = i < 16 ? snprintf(out + at, room - at, i ? " %02x" : "%02x", p[i]) : snprintf(out + at, room - at, " ...");
        if (n > 0) at += (size_t)n;
        if (i == 16) break;
    }
    return out;
}

void otp__test_mem(const void *a, const void *b, size_t size, const char *what, const char *file, int line)
{
    const unsigned char *x = a, *y = b;
    size_t at = 0;
    while (at < size && x[at] == y[at]) at++;
    if (at == size) {
        otp__test_held(file, line);
        return;
    }
    char left[64], right[64];
    otp__test_fail(file, line, "otp_check_mem(%s)\n    left:  %s\n    right: %s\n    they differ from byte %zu on, where these begin", what,
                   otp__test_hex(x + at, size - at, left, sizeof left), otp__test_hex(y + at, size - at, right, sizeof right), at);
}

bool otp__test_again(int64_t until, unsigned *turn)
{
    if (otp_now() >= until) return false;
    if ((*turn)++ < 32) otp_yield();
    else otp_sleep(1);
    return true;
}

/* -- messages */

typedef struct otp__test_view { char *out; size_t room, used; int shown, total; } otp__test_view;

static const char *otp__test_tag(int tag, char *out, size_t size)
{
    const char *known = tag == OTP_EXIT ? "OTP_EXIT" : tag == OTP_DOWN ? "OTP_DOWN" : tag == OTP_REPLY_TAG ? "OTP_REPLY_TAG"
                        : tag == OTP_TIMEOUT_TAG ? "OTP_TIMEOUT_TAG" : NULL;
    int n = known ? snprintf(out, size, "%s", known) : snprintf(out, size, "tag %d", tag);
    return n < 0 ? "?" : out;
}

static void otp__test_show_message(const otp_msg *m, char *out, size_t size)
{
    char tag[32], from[32], data[128];
    (void)otp_format_pid(m->from, from, sizeof from);
    if (m->tag == OTP_EXIT || m->tag == OTP_DOWN) {
        (void)otp_format_reason(otp_reason_of(m), data, sizeof data);
        (void)snprintf(out, size, "%s from %s: %s", otp__test_tag(m->tag, tag, sizeof tag), m->from.id ? from : "nobody", data);
        return;
    }
    (void)otp__test_hex(m->data, m->size, data, sizeof data);
    (void)snprintf(out, size, "%s, %zu bytes, from %s%s%s", otp__test_tag(m->tag, tag, sizeof tag), m->size,
                   m->from.id ? from : "nobody", data[0] ? ": " : "", data);
}

/* A predicate that wants nothing: it sees the whole mailbox and leaves it as it is. */
static bool otp__test_look(const otp_msg *m, void *arg)
{
    otp__test_view *v = arg;
    char line[256];
    if (v->total++ >= 20) return false;
    otp__test_show_message(m, line, sizeof line);
    int n = snprintf(v->out + v->used, v->room - v->used, "\n        %s", line);
    if (n > 0 && (size_t)n < v->room - v->used) v->used += (size_t)n;
    v->shown = v->total;
    return false;
}

static void otp__test_missing(const char *what, int64_t ms, const char *file, int line)
{
    char text[4096];
    otp__test_view v = { .out = text, .room = sizeof text };
    text[0] = 0;
    if (otp_recv_match(otp__test_look, &v, 0)) return;
    otp__test_fail(file, line, "%s: no such message within %lld ms\n    in the mailbox: %d message%s%s%s%s", what, (long long)ms, v.total,
                   v.total == 1 ? "" : "s", v.total > 1 ? ", the oldest first:" : v.total ? ":" : "", text,
                   v.total > v.shown ? "\n        ..." : "");
}

static const otp_msg *otp__test_taken(const otp_msg *m, const char *op, const char *what, int64_t ms, const char *file, int line)
{
    if (m) {
        otp__test_held(file, line);
        return m;
    }
    char text[256];
    (void)snprintf(text, sizeof text, "%s(%s)", op, what);
    otp__test_missing(text, ms, file, line);
    return NULL;
}

const otp_msg *otp__test_receive(int tag, int64_t ms, const char *what, const char *file, int line)
{
    return otp__test_taken(otp_recv_tag(tag, ms), "otp_assert_receive", what, ms, file, line);
}

const otp_msg *otp__test_receive_ref(otp_ref ref, int64_t ms, const char *what, const char *file, int line)
{
    return otp__test_taken(otp_recv_ref(ref, ms), "otp_assert_receive_ref", what, ms, file, line);
}

static bool otp__test_is_from(const otp_msg *m, void *arg) { return otp_same(m->from, *(const otp_pid *)arg); }

const otp_msg *otp__test_receive_from(otp_pid pid, int64_t ms, const char *what, const char *file, int line)
{
    return otp__test_taken(otp_recv_match(otp__test_is_from, &pid, ms), "otp_assert_receive_from", what, ms, file, line);
}

static void otp__test_unwanted(const otp_msg *m, const char *op, const char *what, const char *file, int line)
{
    if (!m) {
        otp__test_held(file, line);
        return;
    }
    char text[256];
    otp__test_show_message(m, text, sizeof text);
    otp__test_fail(file, line, "%s(%s): it came\n        %s", op, what, text);
}

void otp__test_refute(int tag, int64_t ms, const char *what, const char *file, int line)
{
    otp__test_unwanted(otp_recv_tag(tag, ms), "otp_refute_receive", what, file, line);
}

void otp__test_matched(bool found, int64_t ms, const char *what, const char *file, int line)
{
    char text[256];
    (void)snprintf(text, sizeof text, "otp_assert_match(%s)", what);
    if (found) otp__test_held(file, line);
    else otp__test_missing(text, ms, file, line);
}

void otp__test_refuted(const otp_msg *m, const char *what, const char *file, int line)
{
    otp__test_unwanted(m, "otp_refute_match", what, file, line);
}

/* -- the keeper */

typedef struct otp__test_start { otp_pid (*start)(void *arg); void *arg; } otp__test_start;
typedef struct otp__test_started { otp_pid pid; int code; char why[192]; } otp__test_started;
typedef struct otp__test_child { struct otp__test_child *next; otp_pid pid; } otp__test_child;

static bool otp__test_exit_of(const otp_msg *m, void *arg) { return m->tag == OTP_EXIT && otp_same(m->from, *(const otp_pid *)arg); }

static void otp__test_stop_child(otp_pid pid)
{
    if (otp_exit_signal(pid, OTP_SHUTDOWN) != 0) return;
    if (otp_recv_match(otp__test_exit_of, &pid, OTP__TEST_SHUTDOWN)) return;
    otp_log(OTP_LOG_WARNING, "a supervised process did not end within %d ms of its shutdown: it is killed", OTP__TEST_SHUTDOWN);
    if (otp_exit_signal(pid, OTP_KILL) == 0) (void)otp_recv_match(otp__test_exit_of, &pid, OTP__TEST_GIVE_UP);
}

static void otp__test_forget(otp__test_child **children, otp_pid pid)
{
    for (otp__test_child **link = children; *link; link = &(*link)->next) {
        otp__test_child *c = *link;
        if (!otp_same(c->pid, pid)) continue;
        *link = c->next;
        otp_free(c);
        return;
    }
}

static otp__test_started otp__test_do_start(otp__test_child **children, const otp__test_start *s)
{
    otp__test_started r;
    memset(&r, 0, sizeof r);
    r.pid = s->start(s->arg);
    if (r.pid.id == 0) {
        otp_reason why = OTP_NORMAL;
        r.code = otp_start_result(&why);
        if (r.code == OTP_EDIED) (void)otp_format_reason(&why, r.why, sizeof r.why);
        return r;
    }
    otp__test_child *c = otp_alloc(sizeof *c);
    if (!c) otp_exit(OTP_ERROR(OTP_ENOMEM));
    c->pid = r.pid;
    c->next = *children;
    *children = c;
    return r;
}

static void otp__test_keeper(void *arg)
{
    otp__test_child *children = NULL;
    (void)arg;
    (void)otp_trap_exit(true);
    for (bool go = true; go;) {
        const otp_msg *m = otp_keep(otp_recv(OTP_INFINITY));
        otp_from from = otp_from_of(m);
        switch (m->tag) {
        case OTP__TEST_START: {
            otp__test_start s = *OTP_PAYLOAD(m, otp__test_start);
            otp__test_started r = otp__test_do_start(&children, &s);
            if (OTP_REPLY(from, r) < 0) otp_exit(OTP_ERROR(OTP_ENOMEM));
            break;
        }
        case OTP__TEST_STOP: {
            otp_pid pid = *OTP_PAYLOAD(m, otp_pid);
            otp__test_child *c = children;
            while (c && !otp_same(c->pid, pid)) c = c->next;
            if (c) {
                otp__test_stop_child(pid);
                otp__test_forget(&children, pid);
            }
            int rc = c ? otp_reply(from, NULL, 0) : otp_reply_error(from, OTP_ENOENT);
            if (rc < 0) otp_exit(OTP_ERROR(OTP_ENOMEM));
            break;
        }
        case OTP__TEST_STOP_ALL: go = false; break;
        case OTP_EXIT: otp__test_forget(&children, m->from); break;
        default: break;
        }
        otp_drop(m);
    }
    while (children) {
        otp_pid pid = children->pid;
        otp__test_stop_child(pid);
        otp__test_forget(&children, pid);
    }
}

static otp_pid otp__test_ask_start(otp_pid (*start)(void *arg), void *arg, otp__test_started *r)
{
    otp__test_run *run = otp__test_current();
    otp__test_start s = { start, arg };
    memset(r, 0, sizeof *r);
    int64_t rc = run ? otp_try_call(run->keeper, OTP__TEST_START, &s, sizeof s, r, sizeof *r, OTP_INFINITY) : OTP_ENOTPROC;
    if (rc < 0) {
        r->pid.id = 0;
        r->code = (int)rc;
        (void)snprintf(r->why, sizeof r->why, "%s", rc == OTP_ENOTPROC ? "this is no case" : "start itself ended its process");
    }
    return r->pid;
}

otp_pid otp__test_supervised(otp_pid (*start)(void *arg), void *arg, const char *what, const char *file, int line)
{
    otp__test_started r;
    if (otp__test_ask_start(start, arg, &r).id) otp__test_held(file, line);
    else
        otp__test_fail(file, line, "otp_start_supervised(%s): it did not start\n    %s%s%s", what,
                       r.code ? otp_strerror(r.code) : "a zero pid without a result", r.why[0] ? ": " : "", r.why);
    return r.pid;
}

otp_pid otp_try_start_supervised(otp_pid (*start)(void *arg), void *arg, int *code)
{
    otp__test_started r;
    (void)otp__test_ask_start(start, arg, &r);
    if (code) *code = r.code;
    return r.pid;
}

int otp_stop_supervised(otp_pid pid)
{
    otp__test_run *run = otp__test_current();
    if (!run) return OTP_ENOENT;
    return (int)otp_try_call(run->keeper, OTP__TEST_STOP, &pid, sizeof pid, NULL, 0, OTP_INFINITY);
}

/* -- on_exit, log, name */

static int otp__test_add_hook(otp_fn *fn, void *arg, const void *data, size_t size)
{
    otp__test_run *run = otp__test_current();
    if (!run) return OTP_ENOTPROC;
    size_t head = (sizeof(otp__test_hook) + 15) & ~(size_t)15;
    otp__test_hook *h = malloc(head + size);
    if (!h) return OTP_ENOMEM;
    h->fn = fn;
    h->arg = data ? (char *)h + head : arg;
    if (size) memcpy((char *)h + head, data, size);
    otp__test_lock(&run->lock);
    h->next = run->hooks;
    run->hooks = h;
    otp__test_unlock(&run->lock);
    return 0;
}

int otp_on_exit(otp_fn *fn, void *arg) { return otp__test_add_hook(fn, arg, NULL, 0); }
int otp_on_exit_copy(otp_fn *fn, const void *data, size_t size) { return otp__test_add_hook(fn, NULL, data, size); }

void otp_skip(const char *why)
{
    otp__test_run *run = otp__test_current();
    if (!run) return;
    otp__test_lock(&run->lock);
    run->skip = why;
    otp__test_unlock(&run->lock);
    atomic_store(&run->complete, true);
    otp_pid test = { atomic_load(&run->test) };
    if (!otp_same(test, otp_self()) && otp_exit_signal(test, OTP_KILL) != 0) return;
    if (otp__test_in_process()) otp_exit(OTP_SHUTDOWN);
}

char *otp_capture_log(otp_fn *fn, void *arg)
{
    otp__test_run *run = otp__test_current();
    if (!run) {
        fn(arg);
        return otp_strdup("");
    }
    otp__test_lock(&run->lock);
    size_t from = run->log_used;
    otp__test_unlock(&run->lock);
    fn(arg);
    otp__test_lock(&run->lock);
    size_t size = run->log_used - from;
    otp__test_unlock(&run->lock);
    char *text = otp_alloc(size + 1);   /* not under the lock: it may end the process */
    if (!text) otp_exit(OTP_ERROR(OTP_ENOMEM));
    otp__test_lock(&run->lock);
    memcpy(text, run->log + from, size);
    otp__test_unlock(&run->lock);
    text[size] = 0;
    return text;
}

bool otp_log_has(const char *text)
{
    otp__test_run *run = otp__test_current();
    if (!run) return false;
    otp__test_lock(&run->lock);
    bool has = strstr(run->log, text) != NULL;
    otp__test_unlock(&run->lock);
    return has;
}

const char *otp_test_name(void)
{
    const otp__test_run *run = otp__test_current();
    return run ? run->c->name : NULL;
}

uint64_t otp_test_seed(void)
{
    const otp__test_run *run = otp__test_current();
    return run ? run->seed : 0;
}

/* -- the host */

static void otp__test_body(void *arg)
{
    otp__test_run *run = arg;
    atomic_store(&run->test, otp_self().id);
    run->c->body();
    atomic_store(&run->complete, true);
    otp_exit(OTP_SHUTDOWN);         /* what is linked to it ends with it */
}

/* Prints the case that cannot be ended, and leaves the program. Any thread; for the host and the watch. */
static void otp__test_bail(otp__test_run *run);

static void otp__test_describe(otp_pid pid, char *out, size_t size)
{
    char text[32];
    otp_info info;
    (void)otp_format_pid(pid, text, sizeof text);
    if (otp_process_info(pid, &info) != 0) (void)snprintf(out, size, "%s", text);
    else
        (void)snprintf(out, size, "%s%s%s%s %s", text, info.name[0] ? " \"" : "", info.name, info.name[0] ? "\"" : "",
                       info.spawned);
}

/* A process that computes does not answer otp_process_info for seconds: a helper asks. */
enum { OTP__TEST_INFO = OTP_TAG_MIN - 57 };
typedef struct otp__test_question { otp_pid host, pid; } otp__test_question;

static void otp__test_ask_info(void *arg)
{
    const otp__test_question *q = arg;
    otp_info info;
    if (otp_process_info(q->pid, &info) == 0 && OTP_SEND(q->host, OTP__TEST_INFO, info) < 0) otp_exit(OTP_ERROR(OTP_ENOMEM));
}

static bool otp__test_info(otp_pid pid, otp_info *info)
{
    otp__test_question q = { otp_self(), pid };
    otp_spawn_opts spawn = { .fn = otp__test_ask_info, .arg = &q, .arg_size = sizeof q };
    otp_pid helper;
    if (otp_spawn_opt_at(&spawn, &helper, "a helper of the case") < 0) return false;
    const otp_msg *m = otp_recv_tag(OTP__TEST_INFO, 500);
    if (m) *info = *OTP_PAYLOAD(m, otp_info);
    return m != NULL;
}

static void otp__test_note_timeout(otp__test_run *run, int64_t limit)
{
    static const char *const waits[] = { "nothing", "a message", "the answer to a call", "a file descriptor", "the end of a sleep",
                                         "blocking work", "being resumed" };
    otp_info info;
    otp_pid test = { atomic_load(&run->test) };
    char last[256] = "";
    otp__test_lock(&run->lock);
    if (run->last_file) (void)snprintf(last, sizeof last, "\n    the last check that held: %s:%d", run->last_file, run->last_line);
    otp__test_unlock(&run->lock);
    if (!otp__test_info(test, &info)) {
        otp__test_note(run, "%s:%d: did not end within %lld ms: it computes%s\n", run->c->file, run->c->line, (long long)limit, last);
        return;
    }
    otp__test_note(run, "%s:%d: did not end within %lld ms: it %s%s, %zu message%s in its mailbox%s\n", run->c->file, run->c->line,
                   (long long)limit, info.state == OTP_STATE_WAITING ? "waits for " : "computes",
                   info.state == OTP_STATE_WAITING ? waits[info.waits % 7] : "", info.message_queue_len,
                   info.message_queue_len == 1 ? "" : "s", last);
}

/* `what` ended as it should not; of the case itself also how far it came. */
static void otp__test_note_end(otp__test_run *run, const otp_reason *why, const char *what, bool is_case)
{
    char text[256], last[256] = "";
    (void)otp_format_reason(why, text, sizeof text);
    otp__test_lock(&run->lock);
    if (run->last_file && is_case)
        (void)snprintf(last, sizeof last, "\n    the last check that held: %s:%d", run->last_file, run->last_line);
    otp__test_unlock(&run->lock);
    otp__test_note(run, "%s:%d: %s ended with %s%s\n", run->c->file, run->c->line, what, text, last);
}

/* Waits for the end of a process that was told to end; false when it computes on. */
static bool otp__test_gone(otp_ref ref)
{
    if (otp_recv_ref(ref, OTP__TEST_GIVE_UP)) return true;
    return false;
}

static int64_t otp__test_limit(const otp_test_case *c)
{
    return c->timeout > 0 ? c->timeout : otp__test.timeout > 0 ? otp__test.timeout : OTP__TEST_LIMIT;
}

/* The case itself, until it has ended by itself or not. */
static void otp__test_live(otp__test_run *run)
{
    otp_ref ref;
    otp_pid pid;
    int64_t limit = otp__test_limit(run->c);
    (void)snprintf(run->place, sizeof run->place, "case %s at %s:%d", run->c->name, run->c->file, run->c->line);
    otp_spawn_opts spawn = { .fn = otp__test_body, .arg = run, .label = run->c->name, .monitor = &ref };
    int rc = otp_spawn_opt_at(&spawn, &pid, run->place);
    if (rc < 0) {
        otp__test_note(run, "%s:%d: could not start: %s\n", run->c->file, run->c->line, otp_strerror(rc));
        return;
    }
    const otp_msg *m = otp_recv_ref(ref, limit);
    if (!m) {
        otp__test_note_timeout(run, limit);
        if (otp_exit_signal(pid, OTP_KILL) != 0 || !otp__test_gone(ref)) otp__test_bail(run);
    } else if (!atomic_load(&run->complete) && !atomic_load(&run->failed)) {
        otp__test_note_end(run, otp_reason_of(m), "the case", true);
    }
}

static void otp__test_run_hooks(otp__test_run *run)
{
    for (;;) {
        otp__test_lock(&run->lock);
        otp__test_hook *h = run->hooks;
        if (h) run->hooks = h->next;
        otp__test_unlock(&run->lock);
        if (!h) return;
        otp_ref ref;
        bool failed = atomic_load(&run->failed);
        otp_spawn_opts spawn = { .fn = h->fn, .arg = h->arg, .label = "on_exit", .monitor = &ref };
        otp_pid pid;
        int rc = otp_spawn_opt_at(&spawn, &pid, "on_exit");
        const otp_msg *m = rc < 0 ? NULL : otp_recv_ref(ref, otp__test_limit(run->c));
        if (rc < 0) {
            otp__test_note(run, "%s:%d: on_exit could not start: %s\n", run->c->file, run->c->line, otp_strerror(rc));
        } else if (!m) {
            otp__test_note(run, "%s:%d: on_exit did not end\n", run->c->file, run->c->line);
            if (otp_exit_signal(pid, OTP_KILL) != 0 || !otp__test_gone(ref)) otp__test_bail(run);
        } else if (otp_reason_of(m)->kind != OTP_REASON_NORMAL && otp_reason_of(m)->kind != OTP_REASON_SHUTDOWN &&
                   atomic_load(&run->failed) == failed) {
            otp__test_note_end(run, otp_reason_of(m), "on_exit", false);
        }
        free(h);
    }
}

/* Whether a process is this run's, and not its host. */
static bool otp__test_mine(otp__test_run *run, otp_pid pid)
{
    return pid.id != 0 && !otp_same(pid, run->host) && otp__test_run_of(pid) == run;
}

/* The processes of the run, in the heap of the host. */
static otp_pid *otp__test_processes(otp__test_run *run, size_t *count)
{
    for (size_t max = 64;;) {
        otp_pid *pids = otp_alloc(max * sizeof *pids);
        if (!pids) otp_exit(OTP_ERROR(OTP_ENOMEM));
        size_t n = otp_processes(pids, max);
        if (n > max) {
            otp_free(pids);
            max = n * 2;
            continue;
        }
        *count = 0;
        for (size_t i = 0; i < n; i++)
            if (otp__test_mine(run, pids[i])) pids[(*count)++] = pids[i];
        return pids;
    }
}

static void otp__test_note_processes(otp__test_run *run)
{
    int64_t until = otp_now() + OTP__TEST_GRACE;
    size_t n = 0;
    otp_pid *pids = otp__test_processes(run, &n);
    while (n > 0 && otp_now() < until) {    /* an end may start another process, which ends, too */
        for (size_t i = 0; i < n; i++) {
            int64_t left = until - otp_now();
            if (otp_await_exit(pids[i], left > 0 ? left : 0, NULL) != 0) break;
        }
        otp_free(pids);
        pids = otp__test_processes(run, &n);
    }
    for (size_t i = 0; i < n; i++) {
        char text[256];
        otp__test_describe(pids[i], text, sizeof text);
        if (otp_is_alive(pids[i])) otp__test_note(run, "left behind: the process %s\n", text);
    }
    otp_free(pids);
}

static void otp__test_note_names(otp__test_run *run)
{
    size_t max = otp_registered(NULL, 0) + 16;
    char(*names)[64] = otp_alloc(max * sizeof *names);
    if (!names) otp_exit(OTP_ERROR(OTP_ENOMEM));
    size_t n = otp_registered(names, max);
    for (size_t i = 0; i < n && i < max; i++) {
        otp_pid owner = otp_whereis(names[i]);
        if (owner.id == 0 || otp__test_run_of(owner) != run) continue;
        otp__test_note(run, "left behind: the name \"%s\"\n", names[i]);
        if (otp_same(owner, run->host) && otp_unregister(names[i]) != 0) continue;
    }
    otp_free(names);
}

static void otp__test_note_timers(otp__test_run *run)
{
    size_t max = otp_timers(NULL, 0) + 64, named = 0, others = 0;
    otp_pid *to = otp_alloc(max * sizeof *to);
    if (!to) otp_exit(OTP_ERROR(OTP_ENOMEM));
    size_t n = otp_timers(to, max);
    for (size_t i = 0; i < n && i < max; i++) {
        if (to[i].id == 0) named += run->alone;     /* among other runs nobody knows whose it is */
        else if (otp__test_run_of(to[i]) == run) others++;
    }
    otp_free(to);
    if (named) otp__test_note(run, "left behind: %zu timer%s to a name\n", named, named == 1 ? "" : "s");
    if (others) otp__test_note(run, "left behind: %zu timer%s to a process that lives\n", others, others == 1 ? "" : "s");
}

/* Ends what is left, so that the next case finds nothing of it. */
static void otp__test_sweep(otp__test_run *run)
{
    size_t n = 0;
    for (int turn = 0; turn < 100; turn++) {
        otp_pid *pids = otp__test_processes(run, &n);
        for (size_t i = 0; i < n; i++)
            if (otp_exit_signal(pids[i], OTP_KILL) != 0) break;
        for (size_t i = 0; i < n; i++)
            if (otp_await_exit(pids[i], OTP__TEST_GIVE_UP, NULL) != 0) {
                otp_info info;
                char text[256];
                otp__test_describe(pids[i], text, sizeof text);
                otp__test_note(run, "it cannot be ended: %s\n", text);
                if (otp_process_info(pids[i], &info) == 0 && strcmp(info.spawned, "a thread of the program") == 0) return;
                otp__test_bail(run);
            }
        otp_free(pids);
        if (n == 0) return;
    }
}

static void otp__test_host(void *arg)
{
    otp__test_run *run = arg;
    otp_ref ref;
    (void)otp_trap_exit(true);
    run->host = otp_self();
    if (!run->alone) otp__test_map_put(run->host.id, run);
    otp_spawn_opts spawn = { .fn = otp__test_keeper, .label = "supervisor of the case", .monitor = &ref };
    int rc = otp_spawn_opt_at(&spawn, &run->keeper, "the supervisor of a case");
    if (rc < 0) {
        otp__test_note(run, "%s:%d: could not start: %s\n", run->c->file, run->c->line, otp_strerror(rc));
        atomic_store(&run->over, true);
        return;
    }
    otp__test_live(run);
    if (otp_send(run->keeper, OTP__TEST_STOP_ALL, NULL, 0) == 0 && !otp_recv_ref(ref, otp__test_limit(run->c))) {
        otp__test_note(run, "%s:%d: a supervised process could not be stopped, or its start does not return\n", run->c->file, run->c->line);
        if (otp_exit_signal(run->keeper, OTP_KILL) != 0 || !otp__test_gone(ref)) otp__test_bail(run);
    }
    otp__test_run_hooks(run);
    if (!atomic_load(&run->failed)) {       /* a case that failed is not expected to have cleaned up */
        otp__test_note_processes(run);
        otp__test_note_names(run);
        otp__test_note_timers(run);
    }
    otp__test_sweep(run);
    run->took = otp__test_clock() - run->began;
    atomic_store(&run->over, true);
}

/* -- running */

static otp__test_run *otp__test_new_run(const otp_test_case *c, uint64_t seed, bool alone)
{
    otp__test_run *run = calloc(1, sizeof *run);
    if (!run || pthread_mutex_init(&run->lock, NULL) != 0) abort();
    run->c = c;
    run->seed = seed;
    run->alone = alone;
    run->began = otp__test_clock();
    return run;
}

static void otp__test_free_run(otp__test_run *run)
{
    if (pthread_mutex_destroy(&run->lock) != 0) abort();
    free(run);
}

/* What malloc has given away. It counts the free blocks in this thread's cache as given away, too: so the cache is filled
   first, seven blocks in each of its 64 sizes, whatever it held before. */
static size_t otp__test_memory(void)
{
#if OTP__TEST_MEMORY
    for (size_t size = 24; size <= 1032; size += 16) {
        void *volatile p[7];
        for (int i = 0; i < 7; i++) p[i] = malloc(size);
        for (int i = 0; i < 7; i++) free(p[i]);
    }
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
#else
    return 0;
#endif
}

/* Runs a case in a runtime of its own. *grown: by how much memory grew. The texts stay in the run. */
static otp__test_run *otp__test_run_alone(const otp_test_case *c, uint64_t seed, size_t *grown)
{
    otp__test_run *run = otp__test_new_run(c, seed, true);
    otp_opts o = c->opts;
    if (o.schedulers == 0) o.schedulers = otp__test.schedulers;
    if (seed) {
        o.schedulers = 1;
        o.deterministic = true;
        o.seed = seed;
    }
    if (!o.log) o.log = otp__test_logged;
    size_t before = otp__test_memory();
    atomic_store(&otp__test_single, run);
    /* In virtual time the limit takes no time: what goes on so long in real time does not come to an end. Else it is the host that
       watches, and this is the last resort: the case, its supervised processes and its hooks have the limit each. */
    atomic_store(&otp__test_watch_until, otp__test_clock() + (seed ? 1 : 3) * otp__test_limit(c) + OTP__TEST_GIVE_UP * (seed ? 1 : 4));
    int rc = otp_run(otp__test_host, run, &o);
    atomic_store(&otp__test_watch_until, 0);
    atomic_store(&otp__test_single, NULL);
    size_t after = otp__test_memory();
    *grown = after > before ? after - before : 0;
    run->took = otp__test_clock() - run->began;
    if (rc < 0) otp__test_note(run, "%s:%d: the runtime did not start: %s\n", c->file, c->line, otp_strerror(rc));
    else if (!atomic_load(&run->over)) otp__test_note(run, "%s:%d: the runtime ended under the case\n", c->file, c->line);
    if (fflush(stdout) != 0) otp__test_note(run, "stdout cannot be written\n");
    return run;
}

/* What a case allocates at its first run may be meant to stay. What it leaves every time is a leak. */
static otp__test_run *otp__test_run_real(const otp_test_case *c)
{
    size_t grown = 0, least = SIZE_MAX;
    otp__test_run *run = otp__test_run_alone(c, 0, &grown);
    for (int i = 0; i < 5 && grown > 0 && !c->keeps_memory && !run->skip && !atomic_load(&run->failed); i++) {
        otp__test_run *again = otp__test_run_alone(c, 0, &grown);
        if (grown < least) least = grown;
        again->began = run->began;
        again->took = otp__test_clock() - run->began;
        otp__test_free_run(run);
        run = again;
        if (i == 4 && grown > 0) otp__test_note(run, "left behind: %zu bytes of memory, each time it runs\n", least);
    }
    return run;
}

static otp__test_run *otp__test_run_seeds(const otp_test_case *c)
{
    unsigned long long from = 1, to = (unsigned long long)c->seeds;
    if (otp__test.has_seeds) from = otp__test.seeds_from, to = otp__test.seeds_to;
    if (otp__test.has_seed) from = to = otp__test.seed;
    int64_t began = otp__test_clock();
    size_t least = SIZE_MAX;
    otp__test_run *run = NULL;
    for (unsigned long long seed = from; seed <= to; seed++) {
        size_t grown = 0;
        if (run) otp__test_free_run(run);
        run = otp__test_run_alone(c, seed, &grown);
        if (seed > from && grown < least) least = grown;
        if (atomic_load(&run->failed)) {
            otp__test_note(run, "seed %llu of %llu to %llu; replay: %s --seed %llu --only %s\n", seed, from, to, otp__test.name, seed, c->name);
            break;
        }
        if (run->skip) break;
    }
    if (to - from >= 3 && least > 0 && least != SIZE_MAX && !c->keeps_memory && !run->skip && !atomic_load(&run->failed))
        otp__test_note(run, "left behind: %zu bytes of memory, with each seed\n", least);
    run->began = began;
    run->took = otp__test_clock() - began;
    return run;
}

/* -- reports */

static const char *otp__test_paint(const char *code) { return otp__test.color ? code : ""; }

static void otp__test_lines(const char *text, const char *indent, char *out, size_t room, size_t *used)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        int w = snprintf(out + *used, room - *used, "%s%.*s\n", indent, (int)n, text);
        if (w > 0) *used += (size_t)w < room - *used ? (size_t)w : room - *used - 1;
        text += n;
        if (*text) text++;
    }
}

/* Prints one result and keeps it for the closing line and for JUnit. */
static void otp__test_report(otp__test_run *run)
{
    static char text[2 * (sizeof run->text + sizeof run->log)];
    size_t used = 0;
    int verdict = atomic_load(&run->failed) ? OTP__TEST_FAILED : run->skip ? OTP__TEST_SKIPPED : OTP__TEST_PASSED;
    otp__test_lock(&otp__test.out_lock);
    int number = otp__test.done + 1;
    const char *indent = otp__test.tap ? "# " : "     ", *bar = otp__test.tap ? "#   log: " : "     | ";
    text[0] = 0;
    otp__test_lock(&run->lock);
    if (verdict == OTP__TEST_FAILED) otp__test_lines(run->text, indent, text, sizeof text, &used);
    if (verdict == OTP__TEST_FAILED || otp__test.verbose) otp__test_lines(run->log, bar, text, sizeof text, &used);
    const char *name = run->c->name, *why = run->skip;
    if (otp__test.tap) {
        otp__test_out("%s %d - %s%s%s\n", verdict == OTP__TEST_FAILED ? "not ok" : "ok", number, name,
                      verdict == OTP__TEST_SKIPPED ? " # SKIP " : "", verdict == OTP__TEST_SKIPPED ? why : "");
    } else {
        static const char *const words[] = { "", "ok  ", "FAIL", "skip" }, *const colors[] = { "", "\033[32m", "\033[31m", "\033[33m" };
        otp__test_out("%s%s%s %s", otp__test_paint(colors[verdict]), words[verdict], otp__test_paint("\033[0m"), name);
        if (verdict == OTP__TEST_SKIPPED) otp__test_out(": %s", why);
        if (verdict == OTP__TEST_FAILED) otp__test_out(" (%s:%d)", run->c->file, run->c->line);
        if (otp__test.verbose) otp__test_out(" %lld ms", (long long)run->took);
        otp__test_out("\n");
    }
    otp__test_write(STDOUT_FILENO, text, used);
    otp__test_result *r = &otp__test.results[otp__test.done++];
    r->c = run->c;
    r->verdict = verdict;
    r->took = run->took;
    r->text = NULL;
    if (otp__test.junit) {
        const char *keep = verdict == OTP__TEST_SKIPPED ? why : text;
        r->text = malloc(strlen(keep) + 1);
        if (r->text) memcpy(r->text, keep, strlen(keep) + 1);
    }
    otp__test_unlock(&run->lock);
    if (verdict == OTP__TEST_PASSED) otp__test.passed++;
    else if (verdict == OTP__TEST_FAILED) otp__test.failed++;
    else otp__test.skipped++;
    otp__test_unlock(&otp__test.out_lock);
}

static void otp__test_xml(FILE *f, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        const char *as = c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : c == '"' ? "&quot;" : c < 32 && c != '\n' && c != '\t' ? "?" : NULL;
        if (as) (void)fputs(as, f);
        else (void)fputc(c, f);
    }
}

static bool otp__test_junit(void)
{
    FILE *f = fopen(otp__test.junit, "w");
    if (!f) return false;
    int64_t total = 0;
    for (int i = 0; i < otp__test.done; i++) total += otp__test.results[i].took;
    const char *suite = strrchr(otp__test.name, '/') ? strrchr(otp__test.name, '/') + 1 : otp__test.name;
    fprintf(f, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"");
    otp__test_xml(f, suite);
    fprintf(f, "\" tests=\"%d\" failures=\"%d\" skipped=\"%d\" errors=\"0\" time=\"%lld.%03lld\">\n", otp__test.done, otp__test.failed,
            otp__test.skipped, (long long)total / 1000, (long long)total % 1000);
    for (int i = 0; i < otp__test.done; i++) {
        const otp__test_result *r = &otp__test.results[i];
        fprintf(f, "<testcase classname=\"");
        otp__test_xml(f, suite);
        fprintf(f, "\" name=\"%s\" file=\"", r->c->name);
        otp__test_xml(f, r->c->file);
        fprintf(f, "\" line=\"%d\" time=\"%lld.%03lld\">", r->c->line, (long long)r->took / 1000, (long long)r->took % 1000);
        if (r->verdict == OTP__TEST_SKIPPED) fprintf(f, "<skipped message=\"");
        if (r->verdict == OTP__TEST_FAILED) fprintf(f, "<failure message=\"failed\">");
        if (r->verdict != OTP__TEST_PASSED && r->text) otp__test_xml(f, r->text);
        if (r->verdict == OTP__TEST_SKIPPED) fprintf(f, "\"/>");
        if (r->verdict == OTP__TEST_FAILED) fprintf(f, "</failure>");
        fprintf(f, "</testcase>\n");
    }
    fprintf(f, "</testsuite>\n</testsuites>\n");
    bool ok = !ferror(f);
    return fclose(f) == 0 && ok;
}

/* The closing line. */
static int otp__test_total(void)
{
    bool written = true;
    if (otp__test.junit) written = otp__test_junit();
    if (!written) fprintf(stderr, "%s: cannot write %s\n", otp__test.name, otp__test.junit);
    if (otp__test.tap) otp__test_out("1..%d\n", otp__test.done);
    const char *color = otp__test.failed ? "\033[31m" : "\033[32m";
    otp__test_out("%s%d passed, %d failed", otp__test_paint(color), otp__test.passed, otp__test.failed);
    if (otp__test.skipped) otp__test_out(", %d skipped", otp__test.skipped);
    if (otp__test.done < otp__test.chosen) otp__test_out(", %d not run", otp__test.chosen - otp__test.done);
    otp__test_out("%s\n", otp__test_paint("\033[0m"));
    return otp__test.failed || !written ? 1 : 0;
}

static void otp__test_bail(otp__test_run *run)
{
    static atomic_flag once = ATOMIC_FLAG_INIT;
    if (atomic_flag_test_and_set(&once)) {
        for (;;) (void)sleep(1);    /* the other one ends the program */
    }
    if (run) {
        otp__test_note(run, "it computes on after a kill: the program cannot go on\n");
        if (run->seed)
            otp__test_note(run, "seed %llu; replay: %s --seed %llu --only %s\n", (unsigned long long)run->seed, otp__test.name,
                           (unsigned long long)run->seed, run->c->name);
        run->took = otp__test_clock() - run->began;
        otp__test_report(run);
    } else {
        otp__test_out("a case among those that run side by side computes for ever: the program cannot go on\n");
        otp__test.failed++;
    }
    otp_dump(STDERR_FILENO);
    int status = otp__test_total();
    _Exit(status ? status : 1);
}

static void *otp__test_watch(void *arg)
{
    (void)arg;
    for (;;) {
        (void)nanosleep(&(struct timespec){ .tv_nsec = 50 * 1000 * 1000 }, NULL);
        int64_t until = atomic_load(&otp__test_watch_until);
        if (until == 0 || otp__test_clock() < until) continue;
        otp__test_run *run = atomic_load(&otp__test_single);
        if (run)
            otp__test_note(run, "%s:%d: did not end within %lld ms\n", run->c->file, run->c->line, (long long)otp__test_limit(run->c));
        otp__test_bail(run);
    }
    return NULL;
}

/* -- side by side */

typedef struct otp__test_pool { otp__test_run **runs; int n, jobs; } otp__test_pool;

static void otp__test_pool_main(void *arg)
{
    const otp__test_pool *pool = arg;
    int next = 0, running = 0;
    while (next < pool->n || running > 0) {
        while (next < pool->n && running < pool->jobs) {
            otp_ref ref;
            pool->runs[next]->began = otp__test_clock();
            if (otp_spawn_monitor(otp__test_host, pool->runs[next], &ref).id == 0) break;
            next++;
            running++;
        }
        if (running == 0) return;
        if (!otp_recv_tag(OTP_DOWN, OTP_INFINITY)) return;
        running--;
    }
}

static void otp__test_run_pool(otp__test_run **runs, int n)
{
    static const otp_trace_hooks hooks = { .spawn = otp__test_spawned };
    otp__test_pool pool = { runs, n, otp__test.jobs };
    otp_opts o = { .log = otp__test_logged, .schedulers = otp__test.schedulers };
    int64_t limit = 0;
    for (int i = 0; i < n; i++) limit += otp__test_limit(runs[i]->c);
    otp_trace(&hooks);
    atomic_store(&otp__test_watch_until, otp__test_clock() + 3 * limit + 2 * OTP__TEST_GIVE_UP);
    int rc = otp_run(otp__test_pool_main, &pool, &o);
    atomic_store(&otp__test_watch_until, 0);
    otp_trace(NULL);
    otp__test_map_clear();
    for (int i = 0; i < n; i++)
        if (!atomic_load(&runs[i]->over))
            otp__test_note(runs[i], "%s:%d: did not run to its end: %s\n", runs[i]->c->file, runs[i]->c->line,
                           rc < 0 ? otp_strerror(rc) : "its host ended");
    if (fflush(stdout) != 0) otp__test_note(runs[0], "stdout cannot be written\n");
}

static bool otp__test_is_async(const otp_test_case *c)
{
    static const otp_opts none;
    return c->async && c->seeds == 0 && !c->skip && memcmp(&c->opts, &none, sizeof none) == 0;
}

/* -- the command line */

/* Whether `tag` is one of the words of `tags`. */
static bool otp__test_has_tag(const char *tags, const char *tag)
{
    size_t n = strlen(tag);
    for (const char *p = tags; p && (p = strstr(p, tag)) != NULL; p += n)
        if ((p == tags || strchr(" ,", p[-1])) && strchr(" ,", p[n])) return true;      /* the end is one, too */
    return false;
}

static bool otp__test_chosen(const otp_test_case *c)
{
    bool yes = otp__test.n_only == 0, exact = false;
    for (const otp_test_case *o = otp__test.first; o; o = o->next)
        for (int i = 0; i < otp__test.n_only; i++) exact |= strcmp(o->name, otp__test.only[i]) == 0;
    for (int i = 0; i < otp__test.n_only; i++)
        yes |= exact ? strcmp(c->name, otp__test.only[i]) == 0 : strstr(c->name, otp__test.only[i]) != NULL;
    for (int i = 0; i < otp__test.n_without; i++) yes &= strstr(c->name, otp__test.without[i]) == NULL;
    bool tagged = otp__test.n_tag == 0;
    for (int i = 0; i < otp__test.n_tag; i++) tagged |= otp__test_has_tag(c->tags, otp__test.tag[i]);
    for (int i = 0; i < otp__test.n_no_tag; i++) tagged &= !otp__test_has_tag(c->tags, otp__test.no_tag[i]);
    return yes && tagged;
}

static int otp__test_help(FILE *f)
{
    fprintf(f,
            "usage: %s [option ...]\n"
            "  --only NAME        only cases with this name, or when there is none, with NAME in theirs; may be repeated\n"
            "  --not NAME         without cases with NAME in theirs\n"
            "  --tag TAG          only cases with this tag; --no-tag TAG: without them\n"
            "  --list             lists the cases and runs none\n"
            "  --seed N           runs cases with .seeds under this schedule only: the replay of a failure\n"
            "  --seeds N          … under the schedules 1 to N, or A..B, whatever their .seeds say\n"
            "  --order N          the order in which they run, as printed by an earlier run; 0: as they stand in the file\n"
            "  --timeout MS       for cases without a .timeout of their own (%d)\n"
            "  --repeat N         runs all N times, until some fail\n"
            "  --schedulers N     of each runtime (one per core)\n"
            "  --jobs N           cases with .async that run at the same time (twice the cores)\n"
            "  --tap              output in the Test Anything Protocol\n"
            "  --junit FILE       writes a report in JUnit's form, too\n"
            "  --verbose          shows times, and the log of each case\n"
            "  --color WHEN       always, never, or auto: on a terminal, unless NO_COLOR is set\n",
            otp__test.name, OTP__TEST_LIMIT);
    return f == stdout ? 0 : 2;
}

static bool otp__test_number(const char *text, unsigned long long *out, unsigned long long max)
{
    char *end;
    if (!text || !isdigit((unsigned char)*text)) return false;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return *end == 0 && errno == 0 && *out <= max;
}

static bool otp__test_push(const char **list, int *n, const char *value)
{
    if (*n >= 16) return false;
    list[(*n)++] = value;
    return true;
}

/* One option with a value; false when it is none, or a wrong one. */
static bool otp__test_option(const char *option, const char *value)
{
    struct otp__test_program *p = &otp__test;
    unsigned long long n = 0;
    if (strcmp(option, "--only") == 0) return otp__test_push(p->only, &p->n_only, value);
    if (strcmp(option, "--not") == 0) return otp__test_push(p->without, &p->n_without, value);
    if (strcmp(option, "--tag") == 0) return otp__test_push(p->tag, &p->n_tag, value);
    if (strcmp(option, "--no-tag") == 0) return otp__test_push(p->no_tag, &p->n_no_tag, value);
    if (strcmp(option, "--junit") == 0) {
        p->junit = value;
        return true;
    }
    if (strcmp(option, "--color") == 0) {
        if (strcmp(value, "auto") == 0) return true;
        p->color = strcmp(value, "always") == 0;
        return p->color || strcmp(value, "never") == 0;
    }
    if (strcmp(option, "--seeds") == 0) {
        const char *dots = strstr(value, "..");
        char from[32] = "1";
        if (dots && (size_t)(dots - value) < sizeof from) {
            memcpy(from, value, (size_t)(dots - value));
            from[dots - value] = 0;
        }
        p->has_seeds = true;
        return otp__test_number(from, &p->seeds_from, UINT64_MAX - 1) && otp__test_number(dots ? dots + 2 : value, &p->seeds_to, UINT64_MAX - 1) &&
               p->seeds_from > 0 && p->seeds_from <= p->seeds_to;
    }
    if (!otp__test_number(value, &n, UINT64_MAX)) return false;
    if (strcmp(option, "--seed") == 0) {
        p->has_seed = true;
        p->seed = n;
        return n > 0 && n < UINT64_MAX;
    }
    if (strcmp(option, "--order") == 0) {
        p->has_order = true;
        p->order = n;
        return true;
    }
    if (n == 0 || n > 1000000000) return false;
    if (strcmp(option, "--timeout") == 0) p->timeout = (int64_t)n;
    else if (strcmp(option, "--repeat") == 0) p->repeat = (int)n;
    else if (strcmp(option, "--schedulers") == 0) p->schedulers = (int)n;
    else if (strcmp(option, "--jobs") == 0) p->jobs = (int)n;
    else return false;
    return true;
}

static unsigned long long otp__test_next_random(unsigned long long *state)
{
    unsigned long long z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void otp__test_shuffle(const otp_test_case **cases, int n, unsigned long long order)
{
    if (order == 0) return;
    for (int i = n - 1; i > 0; i--) {
        int j = (int)(otp__test_next_random(&order) % (unsigned)(i + 1));
        const otp_test_case *c = cases[i];
        cases[i] = cases[j];
        cases[j] = c;
    }
}

void otp_test_add(otp_test_case *c)
{
    if (!otp__test.last) otp__test.last = &otp__test.first;
    *otp__test.last = c;
    otp__test.last = &c->next;
}

static void otp__test_list(const otp_test_case *const *cases, int n)
{
    for (int i = 0; i < n; i++) {
        const otp_test_case *c = cases[i];
        otp__test_out("%s (%s:%d)", c->name, c->file, c->line);
        if (c->seeds) otp__test_out(", %d seeds", c->seeds);
        if (otp__test_is_async(c)) otp__test_out(", async");
        if (c->tags) otp__test_out(", tags: %s", c->tags);
        if (c->skip) otp__test_out(", skipped: %s", c->skip);
        otp__test_out("\n");
    }
}

/* Runs the cases once: first those that may run side by side, then the others. */
static void otp__test_round(const otp_test_case *const *cases, int n)
{
    otp__test_run **runs = calloc((size_t)n, sizeof(otp__test_run *));
    if (!runs) abort();
    int parallel = 0;
    for (int i = 0; i < n; i++)
        if (otp__test_is_async(cases[i])) runs[parallel++] = otp__test_new_run(cases[i], 0, false);
    if (parallel) otp__test_run_pool(runs, parallel);
    for (int i = 0; i < parallel; i++) {
        otp__test_report(runs[i]);
        otp__test_free_run(runs[i]);
    }
    free(runs);
    for (int i = 0; i < n; i++) {
        otp__test_run *run;
        if (otp__test_is_async(cases[i])) continue;
        if (cases[i]->skip) {
            run = otp__test_new_run(cases[i], 0, true);
            run->skip = cases[i]->skip;
        } else {
            run = cases[i]->seeds > 0 ? otp__test_run_seeds(cases[i]) : otp__test_run_real(cases[i]);
        }
        otp__test_report(run);
        otp__test_free_run(run);
    }
}

static bool otp__test_arguments(int argc, char **argv)
{
    otp__test.color = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0) otp__test.list = true;
        else if (strcmp(argv[i], "--tap") == 0) otp__test.tap = true;
        else if (strcmp(argv[i], "--verbose") == 0) otp__test.verbose = true;
        else if (i + 1 < argc && otp__test_option(argv[i], argv[i + 1])) i++;
        else {
            fprintf(stderr, "%s: not understood: %s%s%s\n", otp__test.name, argv[i], i + 1 < argc ? " " : "", i + 1 < argc ? argv[i + 1] : "");
            return false;
        }
    }
    if (otp__test.repeat == 0) otp__test.repeat = 1;
    if (otp__test.jobs == 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        otp__test.jobs = cores > 0 ? 2 * (int)cores : 2;
    }
    if (!otp__test.has_order) {
        unsigned long long state = (unsigned long long)otp__test_clock() * 1000003u + (unsigned long long)getpid();
        otp__test.order = 1 + otp__test_next_random(&state) % 1000000;
    }
    return true;
}

#if OTP__TEST_MEMORY
static void otp__test_nothing_more(void *arg) { (void)arg; }
static otp_pid otp__test_nothing_start(void *arg) { return otp_spawn_link(otp__test_nothing_more, arg); }

/* What the first start of a runtime, and the first use of its parts, allocate for good. */
static void otp__test_nothing(void)
{
    (void)otp_start_supervised(otp__test_nothing_start);
    if (otp_on_exit(otp__test_nothing_more, NULL) != 0) otp_fail("no memory");
}

static void *otp__test_thread(void *together)
{
    (void)pthread_barrier_wait(together);
    return NULL;
}

static void otp__test_warm_up(void)
{
    static const otp_test_case nothing = { .name = "nothing", .file = __FILE__, .line = __LINE__, .body = otp__test_nothing };
    size_t grown;
    pthread_t threads[4];
    pthread_barrier_t together;
    (void)mallopt(M_ARENA_MAX, 1);      /* the head of each arena would count as memory that somebody has */
    /* libc keeps the stacks of threads that ended, each with a piece of memory, for the next ones. */
    if (pthread_barrier_init(&together, NULL, 4) != 0) abort();
    for (int i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, otp__test_thread, &together) != 0) abort();
    for (int i = 0; i < 4; i++)
        if (pthread_join(threads[i], NULL) != 0) abort();
    if (pthread_barrier_destroy(&together) != 0) abort();
    for (int i = 0; i < 2; i++) otp__test_free_run(otp__test_run_alone(&nothing, 0, &grown));
}
#else
static void otp__test_warm_up(void) { }
#endif

int otp_test_main(int argc, char **argv)
{
    static char buffer[BUFSIZ];     /* what stdio would allocate in the first case that prints */
    otp__test.name = argc > 0 ? argv[0] : "test";
    if (setvbuf(stdout, buffer, _IOLBF, sizeof buffer) != 0) fprintf(stderr, "%s: stdout keeps its buffer\n", otp__test.name);
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0) return otp__test_help(stdout);
    if (!otp__test_arguments(argc, argv)) return otp__test_help(stderr);
    int all = 0, n = 0;
    for (const otp_test_case *c = otp__test.first; c; c = c->next) all++;
    const otp_test_case **cases = calloc((size_t)all + 1, sizeof *cases);
    if (!cases) abort();
    for (const otp_test_case *c = otp__test.first; c; c = c->next)
        if (otp__test_chosen(c)) cases[n++] = c;
    if (otp__test.list || n == 0) {
        otp__test_list(cases, n);
        free(cases);
        if (n == 0) fprintf(stderr, "%s: no case is chosen\n", otp__test.name);
        return n == 0 ? 2 : 0;
    }
    otp__test_warm_up();
    otp__test.results = calloc((size_t)n * (size_t)otp__test.repeat, sizeof *otp__test.results);
    if (!otp__test.results) abort();
    pthread_t watch;
    if (pthread_create(&watch, NULL, otp__test_watch, NULL) != 0 || pthread_detach(watch) != 0) abort();
    otp__test_out("%s%d case%s, order %llu\n", otp__test.tap ? "TAP version 13\n# " : "", n, n == 1 ? "" : "s", otp__test.order);
    for (int i = 0; i < otp__test.repeat && otp__test.failed == 0; i++) {
        otp__test.chosen += n;
        if (i > 0) otp__test_out("%sround %d, order %llu\n", otp__test.tap ? "# " : "", i + 1, otp__test.order + (unsigned)i);
        const otp_test_case **order = malloc((size_t)n * sizeof *order);
        if (!order) abort();
        memcpy(order, cases, (size_t)n * sizeof *order);
        otp__test_shuffle(order, n, otp__test.order ? otp__test.order + (unsigned)i : 0);
        otp__test_round(order, n);
        free(order);
    }
    int status = otp__test_total();
    for (int i = 0; i < otp__test.done; i++) free(otp__test.results[i].text);
    free(otp__test.results);
    free(cases);
    return status;
}

#ifndef OTP_TEST_NO_MAIN
int main(int argc, char **argv) { return otp_test_main(argc, argv); }
#endif

#endif /* OTP_IMPLEMENTATION */
