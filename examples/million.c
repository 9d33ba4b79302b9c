/* million.c: a million processes at once, each of which gets a message and answers it.
   cc -O2 -pthread -I.. million.c -o million
   An argument gives another number of processes. */

#define OTP_IMPLEMENTATION
#include "otp.h"
#include <stdio.h>
#include <stdlib.h>

enum { HELLO = 1, HERE };

struct one { uint32_t messages; };

static otp_next message(void *state, const otp_msg *m)
{
    struct one *one = state;
    if (m->tag != HELLO) return otp_stop_with(OTP_ERROR(OTP_EBADCALL));
    one->messages++;
    OTP_SEND(m->from, HERE, one->messages);
    return OTP_OK;
}

static const otp_handler handler = { .name = "one of many", .state_size = sizeof(struct one), .message = message };

static void app(void *arg)
{
    const size_t *count = arg;
    otp_pid *pids = otp_alloc(*count * sizeof *pids);
    if (pids == NULL) otp_exit(OTP_ERROR(OTP_ENOMEM));
    for (size_t i = 0; i < *count; i++) {
        int rc = otp_spawn_opt(&(otp_spawn_opts){ .handler = &handler }, &pids[i]);
        if (rc != 0) otp_exit(OTP_ERROR(rc));
    }
    printf("processes alive: %zu\n", otp_processes(NULL, 0) - 1);       /* all but this one */

    for (size_t i = 0; i < *count; i++) {
        int rc = otp_send(pids[i], HELLO, NULL, 0);
        if (rc != 0) otp_exit(OTP_ERROR(rc));
    }
    uint64_t answers = 0;
    for (size_t i = 0; i < *count; i++) answers += *OTP_PAYLOAD(otp_recv_tag(HERE, OTP_INFINITY), uint32_t);
    printf("answers: %llu\n", (unsigned long long)answers);
}

int main(int argc, char **argv)
{
    size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000000;
    return otp_run(app, &count, NULL);
}

/* Output:
processes alive: 1000000
answers: 1000000
*/
