/* selective_receive.c: a receive takes what it lists and leaves the rest where it is.
   cc -O2 -pthread -I.. selective_receive.c -o selective_receive */

#define OTP_IMPLEMENTATION
#include "otp.h"
#include <stdio.h>

enum { NORMAL = 1, URGENT, NUMBER };

/* Urgent ones first, however many others came before them. */
static bool one_by_priority(void)
{
    const otp_msg *m;
    otp_receive (m, 0) {                    /* 0: look once, do not wait */
        case URGENT:
            printf("urgent %d\n", *OTP_PAYLOAD(m, int));
            return true;
    }
    otp_receive (m, 0) {
        case NORMAL:
            printf("normal %d\n", *OTP_PAYLOAD(m, int));
            return true;
        case OTP_AFTER:
            return false;
    }
    return false;
}

static void app(void *arg)
{
    (void)arg;
    const otp_msg *m;

    OTP_SEND(otp_self(), NORMAL, 1);
    OTP_SEND(otp_self(), NORMAL, 2);
    OTP_SEND(otp_self(), URGENT, 3);
    OTP_SEND(otp_self(), URGENT, 4);
    while (one_by_priority())
        continue;

    /* A case that looks closer, and does not want the message after all, leaves it. */
    for (int i = 1; i <= 4; i++) OTP_SEND(otp_self(), NUMBER, i);
    for (int i = 0; i < 2; i++)
        otp_receive (m, OTP_INFINITY) {
            case NUMBER: {
                int n = *OTP_PAYLOAD(m, int);
                if (n % 2 != 0) { otp_leave(m); break; }
                printf("even %d\n", n);
                break;
            }
        }
    while ((m = otp_recv(0)) != NULL)       /* the rest is still in order */
        printf("left %d\n", *OTP_PAYLOAD(m, int));

    int64_t before = otp_now();
    otp_receive (m, 20) {
        case URGENT:    printf("who sent this?\n"); break;
        case OTP_AFTER: printf("nothing came%s\n", otp_now() - before >= 20 ? "" : " (too early)"); break;
    }
}

int main(void) { return otp_run(app, NULL, NULL); }

/* Output:
urgent 3
urgent 4
normal 1
normal 2
even 2
even 4
left 1
left 3
nothing came
*/
