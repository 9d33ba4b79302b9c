/* states.c: a program that comes to a known place with a process in each state. For tests/gdb.sh.
   usage: states SCHEDULERS [abort | idle | crash]
   abort: ends there with a core; idle: comes there without a runtime; crash: a process faults, with isolation off. */

#define OTP_IMPLEMENTATION
#include "otp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

enum { NEVER = 1, QUESTION, NOTE, LEFT, BIG };

static atomic_bool spins, blocks;
static volatile int zero;
static int pipes[2];

/* Not a tail call: the caller's frame stays. */
#define STAY() __asm__ volatile("" : : : "memory")

NOINLINE void stop_here(void);
void stop_here(void) { STAY(); }

static NOINLINE void waits_deeper(int depth)
{
    if (depth > 0) waits_deeper(depth - 1);
    else otp_drop(otp_recv_tag(NEVER, OTP_INFINITY));
    STAY();
}

static void waiter(void *arg)
{
    (void)arg;
    waits_deeper(2);
    STAY();
}

static NOINLINE void asks(otp_pid server)
{
    char question[] = "how?";
    otp_call(server, QUESTION, question, sizeof question, NULL, 0, OTP_INFINITY);
    STAY();
}

static void caller(void *arg)
{
    asks(otp_whereis(arg));
    STAY();
}

static void sleeper(void *arg)
{
    (void)arg;
    otp_sleep(3600 * 1000);
    STAY();
}

static void reader(void *arg)
{
    const int *fd = arg;
    char byte;
    if (otp_read(*fd, &byte, 1, OTP_INFINITY) != 1) STAY();
    STAY();
}

static NOINLINE void spin(void)
{
    atomic_store(&spins, true);
    while (!zero) { }
}

static void spinner(void *arg)
{
    (void)arg;
    spin();
    STAY();
}

static NOINLINE void job(void *arg)
{
    (void)arg;
    atomic_store(&blocks, true);
    for (;;) (void)pause();
}

static void blocker(void *arg)
{
    if (otp_blocking(job, arg) != 0) STAY();
    STAY();
}

static void wakes_up(void *arg) { waiter(arg); }
static void hibernated(void *arg) { otp_hibernate(wakes_up, arg); }

static void kid(void *arg)
{
    (void)arg;
    waits_deeper(0);
    STAY();
}

static void boss(void *arg)
{
    (void)arg;
    otp_pid pid;
    otp_ref ref;
    otp_trap_exit(true);
    if (otp_spawn_opt(&(otp_spawn_opts){ .fn = kid, .name = "kid", .link = true, .monitor = &ref }, &pid) != 0) return;
    (void)otp_monitor_name("idle");
    (void)otp_put("colour", &pipes);
    if (otp_defer(job, NULL) != 0) return;
    waiter(NULL);
    STAY();
}

static otp_next leaves(void *state, const otp_msg *m)
{
    (void)state;
    return m->tag == LEFT ? OTP_LEAVE : OTP_OK;
}

static const otp_handler leaver = { .name = "leaver", .state_size = 16, .message = leaves };

static void crasher(void *arg)
{
    (void)arg;
    volatile int *nowhere = (volatile int *)(uintptr_t)atomic_load(&spins);
    *nowhere = 1;
}

static otp_pid start(otp_spawn_opts o)
{
    otp_pid pid;
    if (otp_spawn_opt(&o, &pid) == 0) return pid;
    fprintf(stderr, "cannot start %s\n", o.name);
    exit(2);
}

/* Waits until a process has come to rest. */
static void settle(otp_pid pid, otp_waits what)
{
    otp_info info;
    while (otp_process_info(pid, &info) == 0 && info.waits != what) usleep(1000);
}

int main(int argc, char **argv)
{
    const char *how = argc > 2 ? argv[2] : "";
    (void)alarm(120);
    if (strcmp(how, "idle") == 0) {
        stop_here();
        return 0;
    }
    otp_opts opts = { .schedulers = argc > 1 ? atoi(argv[1]) : 1, .no_isolation = true, .report_stuck = OTP_INFINITY };
    if (otp_start(&opts) != 0 || pipe(pipes) != 0) return 2;
    if (strcmp(how, "crash") == 0) {
        (void)start((otp_spawn_opts){ .fn = crasher, .name = "crasher" });
        for (;;) (void)pause();
    }
    if (otp_recv(0) != NULL) return 2;      /* this thread becomes a guest, with the first pid */
    otp_pid wait = start((otp_spawn_opts){ .fn = waiter, .name = "waiter" });
    otp_pid call = start((otp_spawn_opts){ .fn = caller, .arg = "waiter", .name = "caller" });
    otp_pid sleep = start((otp_spawn_opts){ .fn = sleeper, .name = "sleeper" });
    otp_pid read = start((otp_spawn_opts){ .fn = reader, .arg = &pipes[0], .name = "reader" });
    otp_pid halt = start((otp_spawn_opts){ .fn = waiter, .name = "halted" });
    otp_pid idle = start((otp_spawn_opts){ .handler = &leaver, .name = "idle" });
    otp_pid left = start((otp_spawn_opts){ .handler = &leaver, .name = "left" });
    otp_pid dozes = start((otp_spawn_opts){ .fn = hibernated, .name = "dozes" });
    otp_pid block = start((otp_spawn_opts){ .fn = blocker, .name = "blocker" });
    (void)start((otp_spawn_opts){ .fn = waiter, .name = "pinned", .main_thread = true });   /* never runs: no otp_poll */
    otp_pid high = start((otp_spawn_opts){ .fn = boss, .label = "a label", .priority = OTP_PRIO_HIGH });

    settle(wait, OTP_WAITS_MESSAGE);
    settle(call, OTP_WAITS_CALL);
    settle(sleep, OTP_WAITS_SLEEP);
    settle(read, OTP_WAITS_FD);
    settle(halt, OTP_WAITS_MESSAGE);
    settle(dozes, OTP_WAITS_MESSAGE);
    settle(block, OTP_WAITS_BLOCKING);
    settle(high, OTP_WAITS_MESSAGE);
    settle(otp_whereis("kid"), OTP_WAITS_MESSAGE);
    while (!atomic_load(&blocks)) usleep(1000);
    if (otp_suspend_process(halt) != 0) return 2;

    static char big[5000] = "a large message";
    static const char note[] = "a note\n";
    for (int i = 1; i <= 3; i++)
        if (otp_send(sleep, NOTE, &i, sizeof i) != 0) return 2;
    if (otp_send(sleep, BIG, big, sizeof big) != 0 || otp_send(left, LEFT, note, sizeof note) != 0) return 2;
    settle(left, OTP_WAITS_MESSAGE);
    settle(idle, OTP_WAITS_MESSAGE);
    otp_ref t1 = otp_send_after(5400 * 1000, wait, NEVER, note, sizeof note);
    otp_ref t2 = otp_timer(&(otp_timer_opts){ .time = 7200 * 1000, .interval = 1000, .name = "idle", .tag = NOTE });
    if (t1.id == 0 || t2.id == 0) return 2;

    otp_pid spinning = start((otp_spawn_opts){ .fn = spinner, .name = "spinner" });
    while (!atomic_load(&spins)) usleep(1000);
    settle(wait, OTP_WAITS_MESSAGE);    /* with one scheduler: a proof that it was taken from the spinner */
    usleep(50000);                      /* the threads go to sleep */
    if (strcmp(how, "abort") == 0) abort();
    stop_here();
    return spinning.id ? 0 : 1;
}
