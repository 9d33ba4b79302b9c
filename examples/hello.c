/* hello.c: a program becomes a process, starts another one and waits for its end.
   cc -O2 -pthread -I.. hello.c -o hello */

#define OTP_IMPLEMENTATION
#include "otp.h"
#include <stdio.h>

static void greeter(void *arg)
{
    const char *whom = arg;
    printf("hello, %s\n", whom);
}                                           /* a process ends when its function returns */

static void app(void *arg)
{
    (void)arg;
    static char whom[] = "world";
    otp_pid p = otp_spawn(greeter, whom);
    if (otp_await_exit(p, OTP_INFINITY, NULL) == 0) printf("the greeter has ended\n");
}

int main(void) { return otp_run(app, NULL, NULL); }

/* Output:
hello, world
the greeter has ended
*/
