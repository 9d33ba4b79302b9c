/* continue.c: a server that starts at once and loads its data before it serves the first request.
   cc -O2 -pthread -I.. continue.c -o continue */

#define OTP_IMPLEMENTATION
#include "otp_server.h"
#include <stdio.h>

enum { LOOK_UP = 1 };
enum { LOAD };
enum { CHUNKS = 3, CHUNK = 4 };

struct squares { int chunks; int table[CHUNKS * CHUNK]; };

static otp_next init(void *state, const void *arg, size_t size)
{
    (void)state, (void)arg, (void)size;
    printf("init: the starter does not wait for the data\n");
    return otp_continue(LOAD);
}

/* Runs before every message that waits already, and asks for itself until all is there. */
static otp_next continued(void *state, int what)
{
    struct squares *s = state;
    if (what != LOAD) return OTP_OK;
    for (int i = s->chunks * CHUNK; i < (s->chunks + 1) * CHUNK; i++) s->table[i] = i * i;
    otp_sleep(2);                       /* a slow disk */
    printf("chunk %d of %d\n", ++s->chunks, CHUNKS);
    return s->chunks < CHUNKS ? otp_continue(LOAD) : OTP_OK;
}

static otp_next call(void *state, otp_from from, const otp_msg *m)
{
    const struct squares *s = state;
    int i = *OTP_PAYLOAD(m, int);
    if (i < 0 || i >= s->chunks * CHUNK)
        return otp_reply_error(from, OTP_ENOENT) == 0 ? OTP_OK : otp_stop_with(OTP_ERROR(OTP_ENOMEM));
    return OTP_SERVER_REPLY(from, s->table[i]);
}

static const otp_server squares = {
    .name = "squares", .state_size = sizeof(struct squares), .init = init, .call = call, .continued = continued,
};

static void app(void *arg)
{
    (void)arg;
    otp_pid s = otp_server_start_link(&squares, NULL);
    int i = 11, square = 0;
    otp_call(s, LOOK_UP, &i, sizeof i, &square, sizeof square, 5000);       /* it never sees half a table */
    printf("%d squared is %d\n", i, square);
    i = 12;
    printf("%d: %s\n", i, otp_strerror((int)otp_try_call(s, LOOK_UP, &i, sizeof i, &square, sizeof square, 5000)));
}

int main(void) { return otp_run(app, NULL, NULL); }

/* Output:
init: the starter does not wait for the data
chunk 1 of 3
chunk 2 of 3
chunk 3 of 3
11 squared is 121
12: not there
*/
