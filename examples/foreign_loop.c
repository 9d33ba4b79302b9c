/* foreign_loop.c: a program with a poll() loop of its own gives turns to processes that need its main thread
   (as those that call a user interface library do).
   cc -O2 -pthread -I.. foreign_loop.c -o foreign_loop */

#define OTP_IMPLEMENTATION
#include "otp.h"
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

enum { DRAW = 1, BYE };

static pthread_t main_thread;
static int quit_pipe[2];                    /* stands for the fds that such a loop has anyway */

static void screen(void *arg)
{
    (void)arg;
    const otp_msg *m;
    for (;;)
        otp_receive (m, OTP_INFINITY) {
            case DRAW:
                printf("draw %d on %s thread\n", *OTP_PAYLOAD(m, int),
                       pthread_equal(pthread_self(), main_thread) ? "the main" : "another");
                break;
            case BYE:
                if (write(quit_pipe[1], "q", 1) != 1) otp_exit(OTP_USER(1, "no write"));
                return;
        }
}

static void painter(void *arg)              /* runs anywhere */
{
    const otp_pid *screen_pid = arg;
    for (int i = 1; i <= 3; i++) {
        OTP_SEND(*screen_pid, DRAW, i);
        otp_sleep(1);
    }
    otp_send(*screen_pid, BYE, NULL, 0);
}

int main(void)
{
    otp_pid screen_pid;
    main_thread = pthread_self();
    if (pipe(quit_pipe) != 0) return 1;
    int rc = otp_start(NULL);
    if (rc == 0) rc = otp_spawn_opt(&(otp_spawn_opts){ .fn = screen, .main_thread = true }, &screen_pid);
    if (rc != 0) { fprintf(stderr, "start: %s\n", otp_strerror(rc)); return 1; }
    otp_spawn(painter, &screen_pid);

    struct pollfd fds[2] = { { .fd = otp_poll_fd(), .events = POLLIN }, { .fd = quit_pipe[0], .events = POLLIN } };
    for (;;) {
        if (poll(fds, 2, -1) < 0) return 1;
        if (fds[0].revents != 0 && otp_poll(0) < 0) return 1;
        if (fds[1].revents != 0) break;
    }
    printf("the loop ends\n");
    if (otp_stop(1000) != 0) return 1;
    return 0;
}

/* Output:
draw 1 on the main thread
draw 2 on the main thread
draw 3 on the main thread
the loop ends
*/
