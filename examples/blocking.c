/* blocking.c: a call that blocks its thread, while other processes go on, even on a single scheduler.
   cc -O2 -pthread -I.. blocking.c -o blocking */

#define OTP_IMPLEMENTATION
#include "otp.h"
#include <stdio.h>
#include <unistd.h>

enum { WORK = 1, DONE };

static int pipe_fds[2];

/* Stands for any slow call of a library: here the answer does not come before the others have done their work. */
static void slow_call(void *arg)
{
    char *answer = arg;
    if (read(pipe_fds[0], answer, 1) != 1) *answer = '?';
}

static void caller(void *arg)
{
    const otp_pid *app_pid = arg;
    char answer = 0;
    if (otp_blocking(slow_call, &answer) != 0) otp_exit(OTP_USER(1, "no thread"));
    OTP_SEND(*app_pid, DONE, answer);
}

static void worker(void *arg)
{
    (void)arg;
    const otp_msg *m;
    for (;;)
        otp_receive (m, OTP_INFINITY) {
            case WORK: OTP_SEND(m->from, WORK, *OTP_PAYLOAD(m, int) * 2); break;
        }
}

static void app(void *arg)
{
    (void)arg;
    const otp_msg *m;
    otp_pid me = otp_self();
    if (pipe(pipe_fds) != 0) otp_exit(OTP_USER(1, "no pipe"));
    otp_spawn_link(caller, &me);

    otp_pid w = otp_spawn_link(worker, NULL);
    int n = 1;
    for (int i = 0; i < 10; i++) {
        OTP_SEND(w, WORK, n);
        n = *OTP_PAYLOAD(otp_recv_tag(WORK, OTP_INFINITY), int);
    }
    printf("meanwhile: %d\n", n);
    if (write(pipe_fds[1], "!", 1) != 1) otp_exit(OTP_USER(1, "no write"));

    otp_receive (m, OTP_INFINITY) {
        case DONE: printf("the slow call has returned: %c\n", *OTP_PAYLOAD(m, char)); break;
    }
}

int main(void) { return otp_run(app, NULL, &(otp_opts){ .schedulers = 1 }); }

/* Output:
meanwhile: 1024
the slow call has returned: !
*/
