/* rate_limiter.c: at most n requests for each key: a token bucket, and a sliding window without bursts at its edges.
   The limiter itself is limiter.h.
   cc -O2 -pthread -I.. rate_limiter.c -o rate_limiter */

#define OTP_IMPLEMENTATION
#include "limiter.h"
#include <stdio.h>

static void app(void *arg)
{
    (void)arg;
    for (enum kind kind = BUCKET; kind <= WINDOW; kind++) {
        int keys, allowed = 0;
        otp_pid l = otp_server_start_link(&limiter, &(otp_server_opts){ .arg = &kind, .arg_size = sizeof kind });
        for (int ms = 0; ms < 3000; ms += 50) {     /* every 50 ms for 3 s */
            if (limiter_ask(l, "ann") == 0) allowed++;
            otp_sleep(50);
        }
        int64_t wait = limiter_ask(l, "bob");
        otp_call(l, COUNT, NULL, 0, &keys, sizeof keys, 5000);
        printf("%s: %d of 60 allowed, another key waits %d ms, %d keys", kind == BUCKET ? "bucket" : "window", allowed,
               (int)wait, keys);
        otp_sleep(3 * INTERVAL);
        otp_call(l, COUNT, NULL, 0, &keys, sizeof keys, 5000);
        printf(", %d when idle\n", keys);
    }
}

int main(void) { return otp_run(app, NULL, &(otp_opts){ .deterministic = true }); }     /* virtual time */

/* Output:
bucket: 11 of 60 allowed, another key waits 0 ms, 2 keys, 0 when idle
window: 9 of 60 allowed, another key waits 0 ms, 2 keys, 0 when idle
*/
