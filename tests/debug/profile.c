/* profile.c: where do samples go? Two processes compute, each in a function of its own, and talk in between.
   usage: profile            runs for a while: to be sampled by perf
          profile walk       samples itself by SIGPROF and follows the chain of frame pointers
   Compiled with -fno-omit-frame-pointer. For tests/perf.sh. */

#define OTP_IMPLEMENTATION
#include "otp.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <ucontext.h>

#define NOINLINE __attribute__((noinline))
enum { PING = 1 };

static atomic_int samples, ended, broken, of_first, of_second, wrong;
static atomic_bool sampling;
static volatile unsigned sink;

/* The chain from the interrupted place: ends in zero, and holds the function of the process. */
static NOINLINE int burn(int n)
{
    unsigned x = 1;
    for (int i = 0; i < n; i++) x = x * 1664525u + 1013904223u;
    sink = x;
    return 0;
}

static void first_process(void *arg);
static void second_process(void *arg);

/* Whether an address is in this one of the two functions: they are short. */
static bool inside(const char *at, void (*fn)(void *))
{
    uintptr_t to = (uintptr_t)at, here = (uintptr_t)fn;
    uintptr_t other = (uintptr_t)(fn == first_process ? second_process : first_process);
    return to - here < 1024 && !(other > here && other <= to);
}

static NOINLINE int first_work(void)
{
    int rc = burn(200000);
    __asm__ volatile("" : : : "memory");        /* no tail call */
    return rc;
}

static NOINLINE int second_work(void)
{
    int rc = burn(200000);
    __asm__ volatile("" : : : "memory");        /* no tail call */
    return rc;
}

static void on_sample(int sig, siginfo_t *si, void *context)
{
    (void)sig;
    (void)si;
    const ucontext_t *u = context;
    otp__thread *t = otp__self_thread();
    otp__proc *p = t ? t->cur : NULL;
    if (!atomic_load(&sampling) || !p || !p->stack || otp__get(&t->in_rt)) return;
#if defined(__x86_64__)
    const char *const *fp = (const char *const *)u->uc_mcontext.gregs[REG_RBP];
    const char *sp = (const char *)u->uc_mcontext.gregs[REG_RSP];
#elif defined(__aarch64__)
    const char *const *fp = (const char *const *)u->uc_mcontext.regs[29];
    const char *sp = (const char *)u->uc_mcontext.sp;
#else
#error "not known here"
#endif
    if (sp < p->stack->base || sp > (const char *)p->stack) return;
    bool first = false, second = false;
    int depth = 0;
    atomic_fetch_add(&samples, 1);
    for (; fp; fp = (const char *const *)(const void *)fp[0]) {
        if ((const char *)fp < p->stack->base || (const char *)fp > (const char *)p->stack || ++depth > 64) {
            atomic_fetch_add(&broken, 1);
            return;
        }
        first |= inside(fp[1], first_process);
        second |= inside(fp[1], second_process);
    }
    atomic_fetch_add(&ended, 1);
    if (first && second) atomic_fetch_add(&wrong, 1);
    if (first && p->run.fn != first_process) atomic_fetch_add(&wrong, 1);
    if (second && p->run.fn != second_process) atomic_fetch_add(&wrong, 1);
    if (first) atomic_fetch_add(&of_first, 1);
    if (second) atomic_fetch_add(&of_second, 1);
}

static bool enough(int round)
{
    if (atomic_load(&sampling)) return (atomic_load(&of_first) >= 20 && atomic_load(&of_second) >= 20) || round > 100000;
    return round > 4000;
}

static void first_process(void *arg)
{
    const otp_pid *other = arg;
    for (int i = 0; !enough(i); i++) {
        if (first_work() != 0 || otp_send(*other, PING, NULL, 0) != 0) break;
        otp_yield();
    }
}

static void second_process(void *arg)
{
    (void)arg;
    for (int i = 0; !enough(i); i++) {
        if (second_work() != 0) break;
        otp_drop(otp_recv(0));
    }
}

static void app(void *arg)
{
    (void)arg;
    static otp_pid second;
    otp_ref a, b;
    second = otp_spawn_monitor(second_process, NULL, &a);
    (void)otp_spawn_monitor(first_process, &second, &b);
    (void)otp_recv_ref(a, OTP_INFINITY);
    (void)otp_recv_ref(b, OTP_INFINITY);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "walk") == 0) {
        struct sigaction sa;
        memset(&sa, 0, sizeof sa);
        sa.sa_sigaction = on_sample;
        sa.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
        struct itimerval tick = { { 0, 1000 }, { 0, 1000 } };
        if (sigaction(SIGPROF, &sa, NULL) != 0) return 2;
        atomic_store(&sampling, true);
        if (setitimer(ITIMER_PROF, &tick, NULL) != 0) return 2;
    }
    if (otp_run(app, NULL, NULL) != 0) return 2;
    if (!atomic_load(&sampling)) return 0;
    printf("%d samples of processes, %d chains end in zero, %d do not; %d in the first, %d in the second, %d in a wrong one\n",
           samples, ended, broken, of_first, of_second, wrong);
    return of_first < 20 || of_second < 20 || broken || wrong || ended != samples;
}
