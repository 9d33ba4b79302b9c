/* await.c: a thread waits for the end of processes, and learns which of them does not want to end.
   cc -O2 -pthread -I.. await.c -o await */

#define OTP_IMPLEMENTATION
#include "otp.h"
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static atomic_bool named;

static void log_line(otp_level level, const char *text, void *arg)     /* on any thread */
{
    (void)level, (void)arg;
    fprintf(stderr, "%s\n", text);
    if (strstr(text, "stubborn") != NULL) atomic_store(&named, true);
}

static void worker(void *arg)
{
    (void)arg;
    otp_recv(OTP_INFINITY);                 /* its work comes as a message */
    otp_exit(OTP_SHUTDOWN);
}

static void patient(void *arg)
{
    (void)arg;
    otp_sleep(OTP_INFINITY);                /* ends when it is asked to */
}

static void stubborn(void *arg)
{
    (void)arg;
    otp_trap_exit(true);
    for (;;) otp_recv(OTP_INFINITY);        /* turns every wish that it ends into a message that it ignores */
}

int main(void)
{
    otp_pid pid;
    int rc = otp_start(&(otp_opts){ .log = log_line });
    if (rc == 0) rc = otp_spawn_opt(&(otp_spawn_opts){ .fn = stubborn, .name = "stubborn" }, &pid);
    if (rc != 0) { fprintf(stderr, "start: %s\n", otp_strerror(rc)); return 1; }
    otp_spawn(patient, NULL);

    otp_pid busy = otp_spawn(worker, NULL);
    printf("worker: %s\n", otp_strerror(otp_await_exit(busy, 20, NULL)));
    otp_send(busy, 1, NULL, 0);
    if (otp_await_exit(busy, OTP_INFINITY, NULL) == 0) printf("worker: has ended\n");
    printf("stubborn: %s\n", otp_strerror(otp_await_exit(pid, 20, NULL)));

    rc = otp_stop(100);                     /* asks all, kills after 100 ms who is left, and names them in the log */
    printf("had to be killed: %d, named in the log: %s\n", rc, atomic_load(&named) ? "yes" : "no");
    return 0;
}

/* Output:
worker: timeout
worker: has ended
stubborn: timeout
had to be killed: 1, named in the log: yes
*/
