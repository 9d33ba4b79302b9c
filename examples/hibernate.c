/* hibernate.c: a process that will wait for long gives its stack back, and keeps its heap, name and pid.
   cc -O2 -pthread -I.. hibernate.c -o hibernate */

#define OTP_IMPLEMENTATION
#include "otp.h"
#include <stdio.h>
#include <string.h>

enum { DEPOSIT = 1, BALANCE };

struct account { long balance; int sleeps; };

/* Where it goes on after each sleep: on a fresh stack, with its state on its heap. */
static void awake(void *arg)
{
    struct account *a = arg;
    const otp_msg *m;
    otp_receive (m, OTP_INFINITY) {
        case DEPOSIT: a->balance += *OTP_PAYLOAD(m, long); break;
        case BALANCE: OTP_REPLY(otp_from_of(m), *a); break;
    }
    a->sleeps++;
    otp_hibernate(awake, a);
}

static void account(void *arg)
{
    (void)arg;
    char deep[100000];                      /* a stack that was deep once */
    memset(deep, 1, sizeof deep);
    struct account *a = otp_calloc(1, sizeof *a);
    if (a == NULL) otp_exit(OTP_ERROR(OTP_ENOMEM));
    a->balance = deep[99999];
    otp_hibernate(awake, a);
}

static void app(void *arg)
{
    (void)arg;
    otp_pid pid = otp_spawn_link(account, NULL);
    otp_info info;
    do {                                    /* until it sleeps */
        if (otp_process_info(pid, &info) != 0) otp_exit(OTP_USER(1, "it has ended"));
        otp_yield();
    } while (info.stack_bytes != 0);
    printf("asleep: no stack, %s\n", info.heap_bytes > 0 ? "but a heap" : "no heap");

    struct account a;
    OTP_SEND(pid, DEPOSIT, 40L);
    OTP_SEND(pid, DEPOSIT, 1L);
    otp_call(pid, BALANCE, NULL, 0, &a, sizeof a, 5000);
    printf("balance %ld after %d sleeps\n", a.balance, a.sleeps);
}

int main(void) { return otp_run(app, NULL, NULL); }

/* Output:
asleep: no stack, but a heap
balance 42 after 2 sleeps
*/
