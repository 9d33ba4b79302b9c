/* embedding.c: processes inside an existing program. Its threads spawn, send, call and wait for an exit.
   cc -O2 -pthread -I.. embedding.c -o embedding */

#define OTP_IMPLEMENTATION
#include "otp.h"
#include <pthread.h>
#include <stdio.h>

enum { ADD = 1, SUM, STOP };
enum { THREADS = 4, ADDS = 1000 };

static otp_pid adder_pid;                   /* written before the threads start */

static void adder(void *arg)
{
    (void)arg;
    const otp_msg *m;
    long sum = 0;
    for (;;)
        otp_receive (m, OTP_INFINITY) {
            case ADD: sum += *OTP_PAYLOAD(m, int); break;
            case SUM: OTP_REPLY(otp_from_of(m), sum); break;
            case STOP: return;
        }
}

static void *thread(void *arg)
{
    int64_t *result = arg;
    long sum = 0;
    for (int i = 0; i < ADDS; i++) OTP_SEND(adder_pid, ADD, 1);
    *result = otp_try_call(adder_pid, SUM, NULL, 0, &sum, sizeof sum, 5000);   /* this thread blocks, no other */
    if (*result >= 0 && sum < ADDS) *result = OTP_EBADCALL;                    /* its own were sent before */
    return NULL;
}

int main(void)
{
    for (int round = 1; round <= 2; round++) {              /* it can be started again */
        pthread_t threads[THREADS];
        int64_t results[THREADS];
        int rc = otp_start(NULL);
        if (rc != 0) { fprintf(stderr, "otp_start: %s\n", otp_strerror(rc)); return 1; }
        adder_pid = otp_spawn(adder, NULL);
        for (int i = 0; i < THREADS; i++)
            if (pthread_create(&threads[i], NULL, thread, &results[i]) != 0) return 1;
        for (int i = 0; i < THREADS; i++) {
            if (pthread_join(threads[i], NULL) != 0) return 1;
            if (results[i] < 0) { fprintf(stderr, "call: %s\n", otp_strerror((int)results[i])); return 1; }
        }
        long sum = 0;
        if (otp_try_call(adder_pid, SUM, NULL, 0, &sum, sizeof sum, 5000) < 0) return 1;
        printf("round %d: %ld\n", round, sum);

        otp_send(adder_pid, STOP, NULL, 0);
        if (otp_await_exit(adder_pid, 5000, NULL) != 0) return 1;
        if (otp_stop(1000) != 0) return 1;
    }
    printf("stopped twice\n");
    return 0;
}

/* Output:
round 1: 4000
round 2: 4000
stopped twice
*/
