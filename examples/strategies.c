/* strategies.c: who is started again when the second of three children crashes, by strategy.
   cc -O2 -pthread -I.. strategies.c -o strategies */

#define OTP_IMPLEMENTATION
#include "otp_server.h"
#include "otp_supervisor.h"
#include <stdio.h>

static otp_next worker_init(void *state, const void *arg, size_t size)
{
    const char **name = state;
    (void)size;
    *name = arg;
    otp_trap_exit(true);                                    /* so that terminate runs */
    printf(" +%s", *name);
    return OTP_OK;
}

static otp_next worker_cast(void *state, const otp_msg *m)
{
    (void)state;
    (void)m;
    return otp_stop_with(OTP_USER(1, "boom"));
}

static void worker_terminate(void *state, const otp_reason *why)
{
    const char **name = state;
    (void)why;
    printf(" -%s", *name);
}

static const otp_server worker = {
    .name = "worker", .state_size = sizeof(char *), .init = worker_init, .cast = worker_cast, .terminate = worker_terminate,
};

static otp_pid worker_start_link(void *name)
{
    return otp_server_start_link(&worker, &(otp_server_opts){ .arg = name });
}

static const otp_child children[] = {
    { .id = "a", .start = worker_start_link, .arg = "a" },
    { .id = "b", .start = worker_start_link, .arg = "b" },
    { .id = "c", .start = worker_start_link, .arg = "c" },
};

static void show(const char *what, otp_strategy strategy)
{
    printf("%s:\n  start:  ", what);
    otp_pid top = otp_supervisor_start_link(&(otp_supervisor_opts){
        .strategy = strategy, .children = children, .child_count = 3 });
    printf("\n  crash b:");
    otp_pid b = otp_supervisor_child(top, "b");
    otp_cast(b, 1, NULL, 0);
    for (otp_pid now = b; now.id == 0 || otp_same(now, b); now = otp_supervisor_child(top, "b")) otp_sleep(1);
    printf("\n  stop:   ");
    if (otp_supervisor_stop(top, OTP_NORMAL, 5000) == 0) printf("\n");
}

static void app(void *arg)
{
    (void)arg;
    show("one_for_one", OTP_ONE_FOR_ONE);
    show("one_for_all", OTP_ONE_FOR_ALL);
    show("rest_for_one", OTP_REST_FOR_ONE);
}

int main(void) { return otp_run(app, NULL, NULL); }

/* Output:
one_for_one:
  start:   +a +b +c
  crash b: -b +b
  stop:    -c -b -a
one_for_all:
  start:   +a +b +c
  crash b: -b -c -a +a +b +c
  stop:    -c -b -a
rest_for_one:
  start:   +a +b +c
  crash b: -b -c +b +c
  stop:    -c -b -a
*/
