/* crash_isolation.c: a process uses a null pointer. It ends, its file is closed, others learn why and go on.
   cc -O2 -pthread -I.. crash_isolation.c -o crash_isolation */

#define OTP_IMPLEMENTATION
#include "otp.h"
#include <signal.h>
#include <stdio.h>

enum { ADD = 1 };

struct account { char owner[16]; long balance; };

static struct account *volatile found;      /* what a search has found: nothing */

static void close_file(void *arg)
{
    FILE *file = arg;
    if (fclose(file) == 0) printf("file closed\n");
}

__attribute__((no_sanitize("undefined")))   /* which would tell of it before it happens */
static void careless(void *arg)
{
    (void)arg;
    FILE *file = tmpfile();
    if (file == NULL || otp_defer(close_file, file) != 0) otp_exit(OTP_USER(1, "no file"));
    struct account *a = found;
    a->balance++;                           /* the fault: address 0 + 16 */
    printf("not reached\n");
}

static void adder(void *arg)
{
    (void)arg;
    const otp_msg *m;
    long sum = 0;
    for (;;)
        otp_receive (m, OTP_INFINITY) {
            case ADD:
                sum += *OTP_PAYLOAD(m, int);
                OTP_REPLY(otp_from_of(m), sum);
                break;
        }
}

static void app(void *arg)
{
    (void)arg;
    const otp_msg *m;
    otp_ref ref;
    long sum = 0;
    otp_pid other = otp_spawn_link(adder, NULL);
    otp_call(other, ADD, &(int){ 40 }, sizeof(int), &sum, sizeof sum, 5000);

    otp_spawn_monitor(careless, NULL, &ref);
    otp_receive (m, OTP_INFINITY) {
        case OTP_DOWN: {
            const otp_reason *why = otp_reason_of(m);
            if (why->kind == OTP_REASON_CRASH)
                printf("it crashed: %s at address %#lx\n", why->code == SIGSEGV ? "SIGSEGV" : "another signal",
                       (unsigned long)why->address);
            break;
        }
    }
    otp_call(other, ADD, &(int){ 2 }, sizeof(int), &sum, sizeof sum, 5000);
    printf("the adder goes on: %ld\n", sum);
}

/* .force_isolation: even under sanitizers and Valgrind, which else get the fault themselves. */
int main(void) { return otp_run(app, NULL, &(otp_opts){ .force_isolation = true }); }

/* Output:
file closed
it crashed: SIGSEGV at address 0x10
the adder goes on: 42
*/
