/* The declarations alone, in a second translation unit: the public macros and inline functions compile without a
   warning, and the program that is linked with implementation.c works: a switch keeps what the compiler holds in
   registers, a call is answered, an exit from depth reaches its monitor. Prints one line, "42 6.25 7 9 done". */
#include "otp.h"
#include "otp.h" /* the guard */
#include "otp_server.h"
#include "otp_server.h"

#include <stdio.h>

enum { PING = 1, PONG, ASK, GO };

struct pair { int a; double b; };

static void ponger(void *arg)
{
    const int *add = arg;
    const otp_msg *m;
    for (;;)
        otp_receive (m, OTP_INFINITY) {
            case PING: OTP_SEND(m->from, PONG, *OTP_PAYLOAD(m, int) + *add); break;
            case ASK: {
                struct pair p = *OTP_PAYLOAD(m, struct pair);
                p.b *= (double)p.a;
                if (OTP_REPLY(otp_from_of(m), p) != 0)
                    return;
                break;
            }
        }
}

static volatile int bottom = 0;

static int deep(int n)
{
    if (n == bottom)
        otp_exit(OTP_USER(7, "from the depth"));
    if (n < bottom)
        return 0;
    return deep(n - 1) + 1;
}

static void diver(void *arg)
{
    (void)arg;
    printf("%d\n", deep(10));
}

static otp_next nine(void *state, otp_from from, const otp_msg *m)
{
    (void)state;
    return m->tag == ASK ? OTP_SERVER_REPLY(from, 9) : OTP_OK;
}

static const otp_server server = { .name = "nine", .call = nine };

static void app(void *arg)
{
    int add = 1;
    otp_pid p = otp_spawn_link(ponger, &add);
    const otp_msg *m;
    double kept = 2.5;
    int answer = 0;

    (void)arg;
    OTP_SEND(p, PING, 41);
    otp_receive (m, 5000) {
        case PONG:      answer = *OTP_PAYLOAD(m, int); break;
        case OTP_AFTER: printf("no answer\n"); break;
    }
    struct pair question = { 2, 0.625 }, reply = { 0, 0.0 };
    if (otp_call(p, ASK, &question, sizeof question, &reply, sizeof reply, 5000) != (int64_t)sizeof reply)
        printf("a reply of another size\n");
    kept *= reply.b * 2.0;

    otp_ref ref;
    if (otp_spawn_monitor(diver, NULL, &ref).id == 0)
        printf("no process\n");
    m = otp_recv_ref(ref, 5000);
    printf("%d %.2f %d ", answer, kept, m != NULL && m->tag == OTP_DOWN ? otp_reason_of(m)->code : -1);
    otp_pid s = otp_server_start_link(&server, NULL);
    if (otp_call(s, ASK, NULL, 0, &answer, sizeof answer, 5000) == (int64_t)sizeof answer)
        printf("%d ", answer);
    if (otp_server_stop(s, OTP_NORMAL, 5000) != 0)
        printf("not stopped ");
    if (otp_unlink(p) == 0 && otp_exit_signal(p, OTP_KILL) == 0 && !otp_is_alive(p))
        printf("done\n");
}

int main(void)
{
    otp_opts opts = { .schedulers = 2 };
    return otp_run(app, NULL, &opts);
}
