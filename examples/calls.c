/* calls.c: requests and replies: one call, a call that may fail, and many at once.
   cc -O2 -pthread -I.. calls.c -o calls */

#define OTP_IMPLEMENTATION
#include "otp.h"
#include <stdio.h>

enum { SQUARE = 1, STOP };
enum { SERVERS = 5 };

static void server(void *arg)
{
    (void)arg;
    const otp_msg *m;
    for (;;)
        otp_receive (m, OTP_INFINITY) {
            case SQUARE: {
                int n = *OTP_PAYLOAD(m, int);
                if (n < 0) otp_reply_error(otp_from_of(m), OTP_EBADARG);
                else OTP_REPLY(otp_from_of(m), n * n);
                break;
            }
            case STOP: return;
        }
}

/* The code of a call that may fail, as text. */
static const char *try_square(otp_pid server_pid, int n)
{
    int reply;
    int64_t rc = otp_try_call(server_pid, SQUARE, &n, sizeof n, &reply, sizeof reply, 5000);
    return rc < 0 ? otp_strerror((int)rc) : "an answer";
}

static void app(void *arg)
{
    (void)arg;
    otp_pid servers[SERVERS];
    for (int i = 0; i < SERVERS; i++) servers[i] = otp_spawn(server, NULL);

    int n = 7, reply;
    otp_call(servers[0], SQUARE, &n, sizeof n, &reply, sizeof reply, 5000);    /* or the caller exits */
    printf("otp_call: %d\n", reply);
    printf("refused: %s\n", try_square(servers[0], -1));

    otp_send(servers[0], STOP, NULL, 0);
    if (otp_await_exit(servers[0], OTP_INFINITY, NULL) != 0) return;
    printf("dead: %s\n", try_square(servers[0], 7));
    printf("self: %s\n", try_square(otp_self(), 7));

    /* Ask all of them, the dead one too, and take the answers as they come. */
    otp_ref refs[SERVERS];
    for (int i = 0; i < SERVERS; i++) refs[i] = otp_send_request(servers[i], SQUARE, &i, sizeof i);
    int sum = 0, failed = 0;
    size_t which;
    const otp_msg *m;
    while ((m = otp_wait_any(refs, SERVERS, 5000, &which)) != NULL) {
        if (otp_reply_code(m) == 0) sum += *OTP_PAYLOAD(m, int);
        else failed++;
        refs[which].id = 0;
    }
    printf("many: 1 + 4 + 9 + 16 = %d, %d failed\n", sum, failed);
}

int main(void) { return otp_run(app, NULL, NULL); }

/* Output:
otp_call: 49
refused: bad argument
dead: no such process
self: a process cannot call itself
many: 1 + 4 + 9 + 16 = 30, 1 failed
*/
