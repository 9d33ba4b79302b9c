/* Crash isolation: every kind of fault in every kind of place, what others see of it, what is released, and what is
   not contained. What must end a whole program is shown in children: this program again, with TEST_CHILD set. */
#include "test.h"

#undef NDEBUG
#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define ISOLATED(id) TEST_WITH(id, .real = true, .opts.force_isolation = true)
/* Faults that the sanitizers would report themselves. */
#define ISOLATED_PLAIN(id) TEST_WITH(id, .real = true, .not_sanitized = true, .opts.force_isolation = true)
/* force_isolation: not where faults are not contained. */
#define CHILDREN(id) \
    TEST_WITH(id, .real = true, .plain = true, .not_sanitized = true, .opts.force_isolation = true)

#if defined(__clang__)
#define UNCHECKED __attribute__((noinline, no_sanitize("address", "undefined", "thread")))
#else
#define UNCHECKED __attribute__((noinline, no_sanitize("address"), no_sanitize("undefined"), no_sanitize("thread")))
#endif

enum { A = 1, B, GO, NOTE };

/* -- the faults ------------------------------------------------------------------------------------------- */

static volatile uintptr_t null_address = 0, low_address = 24, wild_address = 0x7000deadb000;
static volatile uintptr_t bad_call = 0;
static volatile int zero = 0, sink;
static volatile bool never = false;

UNCHECKED static void write_at(uintptr_t at) { *(volatile int *)at = 1; }
UNCHECKED static void read_at(uintptr_t at) { sink = *(volatile int *)at; }

static void null_write(void) { write_at(null_address); }
static void null_read(void) { read_at(null_address); }
static void low_write(void) { write_at(low_address); }
static void wild_write(void) { write_at(wild_address); }
#if UINTPTR_MAX > 0xffffffff
static void non_canonical_read(void) { read_at((uintptr_t)0x4141414141414141); }
static void high_write(void) { write_at((uintptr_t)-4096); }
#endif
static const char constant[] = "these bytes cannot be written";
static void constant_write(void) { write_at((uintptr_t)constant & ~(uintptr_t)3); }
static void null_call(void) { ((void (*)(void))bad_call)(); }
static void wild_call(void) { ((void (*)(void))wild_address)(); }
static void strlen_bad(void) { sink = (int)strlen((const char *)low_address); }
static void memset_bad(void) { memset((void *)wild_address, 1, 100000); }
static void aborts(void) { abort(); }
static void asserts(void) { assert(never); }

#if defined(__x86_64__)
UNCHECKED static void divides(void) { sink = 7 / zero; }
static void illegal(void) { __asm__ volatile("ud2"); }
#elif defined(__aarch64__)
static void illegal(void) { __asm__ volatile(".inst 0"); }
#endif

static uintptr_t bus_address;
static void bus_error(void) { read_at(bus_address); }
static void make_bus_address(void)
{
    /* A mapping of a file beyond its end. */
    FILE *f = tmpfile();
    CHECK(f != NULL);
    void *p = mmap(NULL, 65536, PROT_READ, MAP_SHARED, fileno(f), 0);
    CHECK(p != MAP_FAILED);
    CHECK_EQ(fclose(f), 0);
    bus_address = (uintptr_t)p + 64;
}

struct fault {
    const char *name;
    void (*fn)(void);
    int sig;
    volatile uintptr_t *address;        /* what the reason must tell; NULL: any */
};

static const struct fault faults[] = {
    { "null write", null_write, SIGSEGV, &null_address },
    { "null read", null_read, SIGSEGV, &null_address },
    { "low write", low_write, SIGSEGV, &low_address },
    { "wild write", wild_write, SIGSEGV, &wild_address },
#if UINTPTR_MAX > 0xffffffff
    { "non-canonical read", non_canonical_read, SIGSEGV, NULL },
    { "high write", high_write, SIGSEGV, NULL },
#endif
    { "write to a constant", constant_write, SIGSEGV, NULL },
    { "null call", null_call, SIGSEGV, &null_address },
    { "wild call", wild_call, SIGSEGV, &wild_address },
    { "strlen of a bad pointer", strlen_bad, SIGSEGV, NULL },
    { "memset of a bad pointer", memset_bad, SIGSEGV, NULL },
    { "abort", aborts, SIGABRT, NULL },
    { "assert", asserts, SIGABRT, NULL },
#if defined(__x86_64__)
    { "division by zero", divides, SIGFPE, NULL },
#endif
#if defined(__x86_64__) || defined(__aarch64__)
    { "illegal instruction", illegal, SIGILL, NULL },
#endif
    { "bus error", bus_error, SIGBUS, &bus_address },
};
enum { FAULTS = sizeof faults / sizeof faults[0] };

static void crash_with(void *arg) { (*(const struct fault **)arg)->fn(); }

/* Starts a process with a copy of the pointer to the fault. */
static otp_pid start(otp_fn *fn, const struct fault *f, otp_ref *ref)
{
    otp_pid p = { 0 };
    otp_spawn_opts o = { .fn = fn, .arg = &f, .arg_size = sizeof f, .monitor = ref };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    return p;
}

static void check_crash(const otp_reason *why, const struct fault *f)
{
    CHECK_EQ(why->kind, OTP_REASON_CRASH);
    CHECK_EQ(why->code, f->sig);
    if (f->address != NULL) CHECK(why->address == *f->address);
}

/* -- what others see -------------------------------------------------------------------------------------------- */

ISOLATED_PLAIN(every_fault_ends_its_process_alone)
{
    make_bus_address();
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < FAULTS; i++) {
            otp_ref ref;
            (void)start(crash_with, &faults[i], &ref);
            check_crash(test_down(ref), &faults[i]);
        }
    CHECK_EQ(otp_processes(NULL, 0), 1);
}

ISOLATED(simple_faults_with_sanitizers_too)
{
    for (int i = 0; i < 4; i++) {
        otp_ref ref;
        (void)start(crash_with, &faults[i], &ref);
        check_crash(test_down(ref), &faults[i]);
    }
}

UNCHECKED static int deep(int n, const struct fault *f)
{
    volatile char frame[100];
    frame[n % 100] = 1;
    if (n == 0) {
        f->fn();
        return 0;
    }
    return deep(n - 1, f) + frame[n % 100];
}

static void crash_deep(void *arg)
{
    CHECK_EQ(deep(200, *(const struct fault **)arg), 0);
}

ISOLATED_PLAIN(faults_in_nested_calls)
{
    make_bus_address();
    for (int i = 0; i < FAULTS; i++) {
        otp_ref ref;
        (void)start(crash_deep, &faults[i], &ref);
        check_crash(test_down(ref), &faults[i]);
    }
}

static void crash_later(void *arg)
{
    /* After it has been switched out and in again, perhaps on another thread. */
    CHECK_EQ(otp_send(test_app, GO, NULL, 0), 0);
    for (int i = 0; i < 5; i++) otp_yield();
    otp_sleep(1);
    crash_deep(arg);
}

ISOLATED_PLAIN(faults_after_suspensions)
{
    make_bus_address();
    for (int i = 0; i < FAULTS; i++) {
        otp_ref ref;
        (void)start(crash_later, &faults[i], &ref);
        CHECK(otp_recv_tag(GO, TEST_WAIT) != NULL);
        check_crash(test_down(ref), &faults[i]);
    }
}

ISOLATED(a_linked_process_that_traps_sees_the_crash)
{
    otp_trap_exit(true);
    const struct fault *f = &faults[2];
    otp_pid p = { 0 };
    otp_spawn_opts o = { .fn = crash_with, .arg = &f, .arg_size = sizeof f, .link = true };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    check_crash(test_exit_from(p), f);
}

static void links_to_crash(void *arg)
{
    otp_pid p;
    otp_spawn_opts o = { .fn = crash_with, .arg = arg, .arg_size = sizeof(void *), .link = true };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    (void)otp_recv(OTP_INFINITY);
}

ISOLATED(a_linked_process_that_does_not_trap_dies_of_the_crash)
{
    otp_ref ref;
    (void)start(links_to_crash, &faults[2], &ref);
    check_crash(test_down(ref), &faults[2]);
}

static void named_crash(void *arg)
{
    (void)arg;
    (void)otp_recv_tag(GO, OTP_INFINITY);
    low_write();
}

ISOLATED(the_report_tells_who_why_and_where_from)
{
    otp_ref ref;
    otp_pid p;
    otp_spawn_opts o = { .fn = named_crash, .name = "the unlucky one", .monitor = &ref };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    for (int i = 0; i < 3; i++) CHECK_EQ(OTP_SEND(p, A, i), 0);
    CHECK_EQ(otp_send(p, GO, NULL, 0), 0);
    check_crash(test_down(ref), &faults[2]);
    CHECK(test_log_wait("the unlucky one"));
    CHECK(test_log_has("error:"));
    CHECK(test_log_has("SIGSEGV"));
    CHECK(test_log_has("0x18"));
    CHECK(test_log_has("test_isolation.c:"));
    CHECK_EQ(otp_whereis("the unlucky one").id, 0);
}

ISOLATED(a_process_that_exits_by_itself_is_not_reported_as_a_crash)
{
    otp_ref ref;
    otp_pid p = test_start(test_idle_ready, NULL, &ref);
    CHECK_EQ(otp_send(p, TEST_STOP, NULL, 0), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
    CHECK(!test_log_has("crash"));
}

TEST_WITH(crashes_in_every_mode, .opts.force_isolation = true)
{
    for (int i = 0; i < 3; i++) {
        otp_ref ref;
        (void)start(i == 1 ? crash_later : crash_deep, &faults[2], &ref);
        if (i == 1) CHECK(otp_recv_tag(GO, TEST_WAIT) != NULL);
        check_crash(test_down(ref), &faults[2]);
    }
}

/* -- stack overflow ------------------------------------------------------------------------------------------------ */

UNCHECKED static int recurses(int n)
{
    volatile char frame[500];
    frame[0] = (char)n;
    if (never) return 0;
    return recurses(n + 1) + frame[0];
}

static void overflows(void *arg)
{
    (void)arg;
    sink = recurses(0);
}

ISOLATED(a_stack_overflow_is_told_apart)
{
    int rounds = test_many(20, 3);
    for (int i = 0; i < rounds; i++) {
        otp_ref ref;
        otp_pid p;
        otp_spawn_opts o = { .fn = overflows, .name = "deep one", .monitor = &ref, .stack_size = i % 2 ? 65536 : 0 };
        CHECK_EQ(otp_spawn_opt(&o, &p), 0);
        CHECK_EQ(test_down(ref)->kind, OTP_REASON_STACK_OVERFLOW);
    }
    CHECK(test_log_wait("deep one"));
    CHECK(test_log_has("stack"));
}

UNCHECKED static void one_large_frame(void *arg)
{
    (void)arg;
    volatile char frame[300000];
    __asm__ volatile("" : : "r"(frame) : "memory");         /* so that all of it exists */
    frame[0] = 1;
    __asm__ volatile("" : : "r"(frame) : "memory");
    sink = frame[sizeof frame / 2];
}

ISOLATED_PLAIN(a_frame_larger_than_the_stack)
{
    otp_ref ref;
    otp_pid p;
    otp_spawn_opts o = { .fn = one_large_frame, .monitor = &ref };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_STACK_OVERFLOW);
}

/* -- where it happens -------------------------------------------------------------------------------------------------- */

static otp_next handler_message(void *state, const otp_msg *m)
{
    (void)state;
    switch (m->tag) {
    case A: crash_with((void *)(uintptr_t)m->data); break;
    case B: otp_sleep(1); crash_with((void *)(uintptr_t)m->data); break;
    default: break;
    }
    return OTP_OK;
}
static void handler_terminate(void *state, const otp_reason *why)
{
    (void)state; (void)why;
    CHECK_EQ(otp_send(test_app, NOTE, NULL, 0), 0);
}
static otp_next crashing_init(void *state, const void *arg, size_t size)
{
    (void)state; (void)arg; (void)size;
    low_write();
    return OTP_OK;
}
static const otp_handler handler = { .name = "fragile", .state_size = 8, .message = handler_message, .terminate = handler_terminate };
static const otp_handler bad_init = { .name = "bad init", .init = crashing_init, .message = handler_message };

ISOLATED(a_fault_in_a_handler)
{
    const struct fault *f = &faults[2];
    for (int i = 0; i < 20; i++) {
        otp_ref ref;
        otp_pid p;
        otp_spawn_opts o = { .handler = &handler, .monitor = &ref };
        CHECK_EQ(otp_spawn_opt(&o, &p), 0);
        CHECK_EQ(OTP_SEND(p, NOTE, 1), 0);
        CHECK_EQ(OTP_SEND(p, i % 2 == 0 ? A : B, f), 0);
        CHECK_EQ(OTP_SEND(p, NOTE, 1), 0);
        check_crash(test_down(ref), f);
    }
    CHECK(otp_recv_tag(NOTE, 0) == NULL);                   /* terminate does not run after a crash */
    CHECK(test_log_wait("fragile"));
    otp_ref ref;
    otp_pid p;
    otp_spawn_opts o = { .handler = &bad_init, .monitor = &ref };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    check_crash(test_down(ref), f);
}

static atomic_int released;
static void release(void *arg)
{
    (void)arg;
    atomic_fetch_add(&released, 1);
}
static void release_and_crash(void *arg)
{
    release(arg);
    low_write();
    atomic_fetch_add(&released, 1000);
}

static void crash_in_defer(void *arg)
{
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(otp_defer(release, NULL), 0);
        CHECK_EQ(otp_defer(release_and_crash, NULL), 0);
    }
    if (*(void **)arg != NULL) crash_with(arg);
}

ISOLATED(a_fault_in_a_deferred_function_skips_the_rest_of_it)
{
    for (int i = 0; i < 10; i++) {
        otp_ref ref;
        atomic_store(&released, 0);
        (void)start(crash_in_defer, i % 2 == 0 ? NULL : &faults[2], &ref);
        const otp_reason *why = test_down(ref);
        if (i % 2 != 0) check_crash(why, &faults[2]);
        CHECK_EQ(atomic_load(&released), 6);
    }
}

static bool crashing_match(const otp_msg *m, void *arg)
{
    (void)m; (void)arg;
    low_write();
    return true;
}

static void crash_in_match(void *arg)
{
    (void)arg;
    CHECK_EQ(OTP_SEND(otp_self(), A, 1), 0);
    (void)otp_recv_match(crashing_match, NULL, OTP_INFINITY);
}

ISOLATED(a_fault_in_a_predicate)
{
    otp_ref ref;
    (void)start(crash_in_match, NULL, &ref);
    check_crash(test_down(ref), &faults[2]);
}

/* -- bad pointers handed to functions of the header --------------------------------------------------------------------- */

static otp_pid target;
static void sends_bad(void *arg) { (void)arg; (void)otp_send(target, A, (void *)wild_address, 100); }
static void sends_large_bad(void *arg) { (void)arg; (void)otp_send(target, A, (void *)wild_address, 300000); }
static void shares_bad(void *arg) { (void)arg; (void)otp_shared_new((void *)wild_address, 5000); }
static void calls_bad(void *arg) { (void)arg; (void)otp_try_call(target, A, (void *)wild_address, 64, NULL, 0, TEST_WAIT); }
static void replies_into_bad(void *arg)
{
    (void)arg;
    (void)otp_try_call(target, B, NULL, 0, (void *)wild_address, 100, TEST_WAIT);
}
static void registers_bad(void *arg) { (void)arg; (void)otp_register((const char *)wild_address, otp_self()); }
static void dups_bad(void *arg) { (void)arg; (void)otp_strdup((const char *)wild_address); }
static void puts_bad(void *arg) { (void)arg; (void)otp_put((const char *)wild_address, NULL); }
static void times_bad(void *arg) { (void)arg; (void)otp_send_after(1, target, A, (void *)wild_address, 50); }
static void spawns_bad(void *arg)
{
    (void)arg;
    otp_spawn_opts o = { .fn = crash_with, .arg = (void *)wild_address, .arg_size = 100 };
    otp_pid p;
    (void)otp_spawn_opt(&o, &p);
}
static void infos_bad(void *arg) { (void)arg; (void)otp_process_info(otp_self(), (otp_info *)wild_address); }
static void lists_bad(void *arg) { (void)arg; (void)otp_processes((otp_pid *)wild_address, 100); }

static void spawns_worse(void *arg)
{
    (void)arg;
    otp_pid p;
    (void)otp_spawn_opt((const otp_spawn_opts *)wild_address, &p);
}
static void infos_other_bad(void *arg) { (void)arg; (void)otp_process_info(target, (otp_info *)wild_address); }
static otp_pid watched;
static void relations_bad(void *arg)
{
    (void)arg;
    (void)otp_process_relations(watched, OTP_MONITORED_BY, (otp_pid *)wild_address, 10);
}
static void monitors_bad(void *arg) { (void)arg; (void)otp_monitor_name((const char *)wild_address); }
static void names_bad(void *arg) { (void)arg; (void)otp_send_name((const char *)wild_address, A, NULL, 0); }
static void awaits_bad(void *arg) { (void)arg; (void)otp_await_exit(watched, 0, (otp_reason *)wild_address); }
static void waits_bad(void *arg) { (void)arg; (void)otp_wait_any((const otp_ref *)wild_address, 5, 0, NULL); }
static void reasons_bad(void *arg) { (void)arg; otp_exit(OTP_USER(1, (const char *)wild_address)); }
static void tags_bad(void *arg)
{
    (void)arg;
    CHECK_EQ(OTP_SEND(otp_self(), A, 1), 0);
    (void)otp_recv_tags((const int *)wild_address, 3, 0);
}
static void frees_bad(void *arg) { (void)arg; otp_free((void *)wild_address); }

static void answers_b(void *arg)
{
    (void)arg;
    const otp_msg *m;
    while ((m = otp_recv(OTP_INFINITY)) != NULL && m->tag != TEST_STOP) {
        CHECK(m->tag != A);
        CHECK_EQ(otp_reply(otp_from_of(m), "answer", 7), 0);
    }
}

static void contained(otp_fn *fn)
{
    otp_ref ref, other;
    target = otp_spawn_monitor(answers_b, NULL, &other);
    watched = target;
    CHECK_EQ(otp_register("answers", target), 0);           /* so that names are compared */
    for (int i = 0; i < 10; i++) {
        CHECK(otp_spawn_monitor(fn, NULL, &ref).id != 0);
        const otp_reason *why = test_down(ref);
        CHECK_EQ(why->kind, OTP_REASON_CRASH);
        CHECK_EQ(why->code, SIGSEGV);
        char reply[16];
        CHECK_EQ(otp_call(target, B, NULL, 0, reply, sizeof reply, TEST_WAIT), 7);      /* everything works on */
    }
    CHECK_EQ(otp_send(target, TEST_STOP, NULL, 0), 0);
    CHECK_EQ(test_down(other)->kind, OTP_REASON_NORMAL);
    CHECK_EQ(otp_processes(NULL, 0), 1);
}

ISOLATED_PLAIN(a_bad_pointer_to_send) { contained(sends_bad); }
ISOLATED_PLAIN(a_bad_pointer_to_send_of_much) { contained(sends_large_bad); }
ISOLATED_PLAIN(a_bad_pointer_to_shared_new) { contained(shares_bad); }
ISOLATED_PLAIN(a_bad_pointer_to_call) { contained(calls_bad); }
ISOLATED_PLAIN(a_bad_pointer_for_the_reply) { contained(replies_into_bad); }
ISOLATED_PLAIN(a_bad_pointer_to_register) { contained(registers_bad); }
ISOLATED_PLAIN(a_bad_pointer_to_strdup) { contained(dups_bad); }
ISOLATED_PLAIN(a_bad_pointer_to_put) { contained(puts_bad); }
ISOLATED_PLAIN(a_bad_pointer_to_send_after) { contained(times_bad); }
ISOLATED_PLAIN(a_bad_pointer_to_spawn_opt) { contained(spawns_bad); }
ISOLATED_PLAIN(bad_options_to_spawn_opt) { contained(spawns_worse); }
ISOLATED_PLAIN(a_bad_pointer_to_process_info) { contained(infos_bad); }
ISOLATED_PLAIN(a_bad_pointer_to_info_of_another) { contained(infos_other_bad); }
ISOLATED_PLAIN(a_bad_pointer_to_processes) { contained(lists_bad); }
ISOLATED_PLAIN(a_bad_pointer_in_a_reason) { contained(reasons_bad); }
ISOLATED_PLAIN(a_bad_pointer_to_monitor_name) { contained(monitors_bad); }
ISOLATED_PLAIN(a_bad_pointer_to_send_name) { contained(names_bad); }
ISOLATED_PLAIN(a_bad_pointer_to_await_exit) { contained(awaits_bad); }
ISOLATED_PLAIN(a_bad_pointer_to_wait_any) { contained(waits_bad); }
ISOLATED_PLAIN(a_bad_pointer_to_relations) { contained(relations_bad); }
ISOLATED_PLAIN(a_bad_pointer_to_recv_tags) { contained(tags_bad); }
ISOLATED_PLAIN(a_bad_pointer_to_free) { contained(frees_bad); }

/* -- what is released ---------------------------------------------------------------------------------------------------------- */

static int open_fds(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    if (d == NULL) return -1;
    while (readdir(d) != NULL) n++;
    if (closedir(d) != 0) return -1;
    return n;
}

static void close_fd(void *arg)
{
    if (otp_close(*(int *)arg) != 0) abort();
    atomic_fetch_add(&released, 1);
}

static void holds_much(void *arg)
{
    int *fds = otp_alloc(2 * sizeof(int));
    CHECK(fds != NULL);
    CHECK_EQ(pipe(fds), 0);
    CHECK_EQ(otp_defer(close_fd, &fds[0]), 0);
    CHECK_EQ(otp_defer(close_fd, &fds[1]), 0);
    for (int i = 0; i < 20; i++) {
        char *block = otp_alloc((size_t)1 << i % 15);
        CHECK(block != NULL);
        memset(block, i, (size_t)1 << i % 15);
    }
    char *large = otp_alloc(200000);
    CHECK(large != NULL);
    memset(large, 1, 200000);
    CHECK(otp_shared_new("shared", 7) != NULL);
    CHECK(otp_put("key", large) == NULL);
    CHECK(otp_send_after(100000, otp_self(), A, NULL, 0).id != 0);
    CHECK(otp_monitor(test_app).id != 0);
    for (int i = 0; i < 5; i++) CHECK_EQ(OTP_SEND(otp_self(), A, i), 0);
    const otp_msg *m = otp_recv(0);
    CHECK(m != NULL);
    (void)otp_keep(m);
    crash_with(arg);
}

static long resident_kib(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL) return 0;
    if (fscanf(f, "%*d %ld", &pages) != 1) pages = 0;
    if (fclose(f) != 0) return 0;
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

TEST_WITH(a_thousand_crashes_leave_nothing, .real = true, .seconds = 60, .opts.force_isolation = true)
{
    int n = test_many(1000, 50), fds = 0;
    long memory = 0;
    atomic_store(&released, 0);
    for (int i = 0; i < n; i++) {
        otp_ref ref;
        const struct fault *f = &faults[i % 4];
        (void)start(holds_much, f, &ref);
        check_crash(test_down(ref), f);
        CHECK_EQ(atomic_load(&released), 2 * i + 2);        /* before anybody knew of its end */
        if (i == n / 10) {
            fds = open_fds();
            memory = resident_kib();
        }
    }
    CHECK_EQ(open_fds(), fds);
    CHECK(TEST_SANITIZED || resident_kib() - memory < 20000);       /* 900 times 230 KB would be 200 MB */
    CHECK_EQ(otp_processes(NULL, 0), 1);
    otp_info info;
    CHECK_EQ(otp_process_info(otp_self(), &info), 0);
    CHECK_EQ(info.monitored_by, 0);
}

static void crashes_many(void *arg)
{
    int n = *(int *)arg;
    for (int i = 0; i < n; i++) {
        otp_ref ref;
        const struct fault *f = &faults[i % 4];
        (void)start(crash_deep, f, &ref);
        check_crash(test_down(ref), f);
    }
}

TEST_WITH(crashes_on_every_scheduler_at_once, .real = true, .seconds = 60, .opts.force_isolation = true)
{
    enum { N = 8 };
    otp_ref ref[N];
    int rounds = test_many(100, 5);
    for (int i = 0; i < N; i++) {
        otp_pid p;
        otp_spawn_opts o = { .fn = crashes_many, .arg = &rounds, .arg_size = sizeof rounds, .monitor = &ref[i] };
        CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    }
    for (int i = 0; i < N; i++) CHECK_EQ(test_down(ref[i])->kind, OTP_REASON_NORMAL);
}

ISOLATED(a_process_on_the_main_thread_may_crash)
{
    for (int i = 0; i < 5; i++) {
        otp_ref ref;
        otp_pid p;
        const struct fault *f = &faults[2];
        otp_spawn_opts o = { .fn = crash_with, .arg = &f, .arg_size = sizeof f, .monitor = &ref, .main_thread = true };
        CHECK_EQ(otp_spawn_opt(&o, &p), 0);
        check_crash(test_down(ref), f);
    }
}

static void dies_in_call(void *arg)
{
    const otp_msg *m = otp_recv(OTP_INFINITY);
    if (m != NULL) crash_with(arg);
}

ISOLATED(a_caller_learns_that_the_server_crashed)
{
    otp_ref ref;
    otp_pid p = start(dies_in_call, &faults[2], &ref);
    CHECK_EQ(otp_try_call(p, A, NULL, 0, NULL, 0, TEST_WAIT), OTP_EDIED);
    check_crash(test_down(ref), &faults[2]);
}

/* -- programs that must end ---------------------------------------------------------------------------------------------------------- */

static void *fault_on_thread(void *arg)
{
    (void)arg;
    low_write();
    return NULL;
}

static void *guest_fault(void *arg)
{
    /* A guest is a process in name, but its thread is not one of ours. */
    (void)arg;
    if (otp_send(otp_self(), A, NULL, 0) == 0 || otp_recv(0) != NULL) low_write();
    low_write();
    return NULL;
}

static void crash_low(void *arg)
{
    (void)arg;
    low_write();
}

static void run_thread(void *(*fn)(void *))
{
    pthread_t t;
    if (pthread_create(&t, NULL, fn, NULL) != 0 || pthread_join(t, NULL) != 0) _exit(50);
}

static void user_handler(int sig, siginfo_t *info, void *context)
{
    (void)context;
    _exit(sig == SIGSEGV && (uintptr_t)info->si_addr == low_address ? 33 : 34);
}

static void crash_contained(void)
{
    otp_reason why = OTP_NORMAL;
    otp_pid p = otp_spawn(crash_low, NULL);
    if (otp_await_exit(p, TEST_WAIT, &why) != 0) _exit(51);
    if (why.kind != OTP_REASON_CRASH && why.kind != OTP_REASON_NOPROC) _exit(52);
}

static void free_of_nothing(void *arg)
{
    /* The allocator notices, in the middle of its own work. */
    char block[128];
    char *volatile p = block + 16;
    memset(block, 0x41, sizeof block);
    (void)arg;
    free(p);
}

static void prints_bad(void *arg)
{
    (void)arg;
    (void)fputs((const char *)wild_address, stderr);
}

static void app_of_crash(void *arg)
{
    otp_pid p;
    otp_ref ref;
    otp_spawn_opts o = { .fn = (otp_fn *)0, .name = "culprit", .monitor = &ref };
    o.fn = *(otp_fn **)arg;
    if (otp_spawn_opt(&o, &p) != 0) _exit(53);
    const otp_msg *m = otp_recv_ref(ref, TEST_WAIT);
    if (m == NULL || otp_reason_of(m)->kind != OTP_REASON_CRASH) _exit(54);
}

static void aborts_process(void *arg)
{
    (void)arg;
    abort();
}

static void child_run(otp_fn *fn, const otp_opts *o) { _exit(otp_run(app_of_crash, &fn, o)); }

/* Before main(): in a child, does what TEST_CHILD says and never comes back. */
__attribute__((constructor)) static void child(void)
{
    const char *mode = getenv("TEST_CHILD");
    if (mode == NULL) return;
    (void)alarm(20);
    if (strcmp(mode, "contained") == 0) child_run(crash_low, NULL);
    if (strcmp(mode, "abort") == 0) child_run(aborts_process, NULL);
    if (strcmp(mode, "no_isolation") == 0) child_run(crash_low, &(otp_opts){ .no_isolation = true });
    if (strcmp(mode, "malloc") == 0) child_run(free_of_nothing, NULL);
    if (strcmp(mode, "stdio") == 0) child_run(prints_bad, NULL);
    if (strcmp(mode, "user_handler") == 0) {
        struct sigaction sa;
        memset(&sa, 0, sizeof sa);
        sa.sa_sigaction = user_handler;
        sa.sa_flags = SA_SIGINFO;
        if (sigaction(SIGSEGV, &sa, NULL) != 0) _exit(55);
    }
    if (otp_start(NULL) != 0) _exit(56);
    crash_contained();
    if (strcmp(mode, "foreign") == 0 || strcmp(mode, "user_handler") == 0) run_thread(fault_on_thread);
    if (strcmp(mode, "guest") == 0) run_thread(guest_fault);
    if (strcmp(mode, "main") == 0) low_write();
    if (strcmp(mode, "external") == 0 && kill(getpid(), SIGSEGV) == 0) (void)pause();
    if (strcmp(mode, "after_stop") == 0) {
        if (otp_stop(5000) != 0) _exit(57);
        low_write();
    }
    _exit(58);
}

static char child_stderr[65536], child_stdout[4096];

static size_t read_all(int fd, char *out, size_t size)
{
    size_t n = 0;
    ssize_t r;
    while (n < size - 1 && (r = read(fd, out + n, size - 1 - n)) > 0) n += (size_t)r;
    out[n] = 0;
    return n;
}

/* Starts this program again. Under an emulator, which RUNNER names, the kernel cannot do it by itself. */
static void exec_self(void)
{
    char exe[1024];
    char *words[8] = { NULL };
    const char *runner = getenv("RUNNER");
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0) return;
    exe[n] = 0;
    if (!runner || !*runner) {
        (void)execl(exe, "child", (char *)NULL);
        return;
    }
    static char copy[1024];
    size_t count = 0;
    (void)snprintf(copy, sizeof copy, "%s", runner);
    for (char *word = strtok(copy, " "); word && count < 6; word = strtok(NULL, " ")) words[count++] = word;
    words[count] = exe;
    (void)execvp(words[0], words);
}

/* Runs this program as a child; its wait status. */
static int run_child(const char *mode)
{
    int err[2], out[2], status = -1;
    if (pipe(err) != 0 || pipe(out) != 0) return -1;
    pid_t pid = fork();
    if (pid == 0) {
        if (setenv("TEST_CHILD", mode, 1) != 0 || dup2(err[1], 2) < 0 || dup2(out[1], 1) < 0) _exit(90);
        for (int fd = 3; fd < 100; fd++) (void)close(fd);
        exec_self();
        _exit(91);
    }
    if (pid < 0 || close(err[1]) != 0 || close(out[1]) != 0) return -1;
    (void)read_all(err[0], child_stderr, sizeof child_stderr);
    (void)read_all(out[0], child_stdout, sizeof child_stdout);
    if (close(err[0]) != 0 || close(out[0]) != 0 || waitpid(pid, &status, 0) != pid) return -1;
    return status;
}

static void expect_signal(const char *mode, int sig)
{
    int status = run_child(mode);
    if (!WIFSIGNALED(status)) test_line("# %s: status %x, stderr: %.600s", mode, (unsigned)status, child_stderr);
    CHECK(WIFSIGNALED(status));
    if (WIFSIGNALED(status)) CHECK_EQ(WTERMSIG(status), sig);
}

static void expect_status(const char *mode, int code)
{
    int status = run_child(mode);
    if (!WIFEXITED(status)) test_line("# %s: status %x, stderr: %.600s", mode, (unsigned)status, child_stderr);
    CHECK(WIFEXITED(status));
    if (WIFEXITED(status)) CHECK_EQ(WEXITSTATUS(status), code);
}

CHILDREN(isolation_is_on_by_default_and_reports_on_stderr)
{
    expect_status("contained", 0);
    CHECK(strstr(child_stderr, "culprit") != NULL);
    CHECK(strstr(child_stderr, "SIGSEGV") != NULL);
    CHECK(strstr(child_stderr, "0x18") != NULL);
    CHECK(strstr(child_stderr, "test_isolation.c:") != NULL);
    CHECK_STR(child_stdout, "");
    expect_status("abort", 0);
    CHECK(strstr(child_stderr, "SIGABRT") != NULL);
}

CHILDREN(isolation_can_be_switched_off) { expect_signal("no_isolation", SIGSEGV); }
CHILDREN(a_fault_on_a_foreign_thread_ends_the_program) { expect_signal("foreign", SIGSEGV); }
CHILDREN(a_fault_on_a_guest_thread_ends_the_program) { expect_signal("guest", SIGSEGV); }
CHILDREN(a_fault_on_the_starting_thread_ends_the_program) { expect_signal("main", SIGSEGV); }
CHILDREN(a_signal_from_outside_ends_the_program) { expect_signal("external", SIGSEGV); }
CHILDREN(after_the_stop_nothing_is_contained) { expect_signal("after_stop", SIGSEGV); }
CHILDREN(the_handler_of_the_program_gets_foreign_faults) { expect_status("user_handler", 33); }

CHILDREN(a_fault_inside_malloc_ends_the_program_after_a_report)
{
    int status = run_child("malloc");
    CHECK(WIFSIGNALED(status));
    CHECK(strstr(child_stderr, "culprit") != NULL);
}

CHILDREN(a_fault_inside_stdio_ends_the_program_after_a_report)
{
    int status = run_child("stdio");
    CHECK(WIFSIGNALED(status));
    CHECK(strstr(child_stderr, "culprit") != NULL);
}
