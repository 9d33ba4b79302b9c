/* delayed_reply.c: a server keeps requests and answers them later, and lets a helper answer the slow ones.
   cc -O2 -pthread -I.. delayed_reply.c -o delayed_reply */

#define OTP_IMPLEMENTATION
#include "otp_server.h"
#include <stdio.h>

enum { ENTER = 1, OPEN, FACTOR };
enum { ROOM = 8 };

struct gate { otp_from waiting[ROOM]; int n; };
struct job { otp_from from; long number; };

/* Runs as a process of its own; the client does not notice that somebody else answers. */
static void factor(void *arg)
{
    const struct job *job = arg;
    long f = 2;
    while (f * f <= job->number && job->number % f != 0) f++;
    if (job->number % f != 0) f = job->number;
    if (OTP_REPLY(job->from, f) != 0) otp_exit(OTP_ERROR(OTP_ENOMEM));
}

static otp_next call(void *state, otp_from from, const otp_msg *m)
{
    struct gate *g = state;
    if (m->tag == FACTOR) {
        struct job job = { from, *OTP_PAYLOAD(m, long) };
        otp_pid helper;         /* linked: if it dies of a mistake so does the server, and the client learns it */
        int rc = otp_spawn_opt(&(otp_spawn_opts){ .fn = factor, .arg = &job, .arg_size = sizeof job, .link = true }, &helper);
        return rc == 0 ? OTP_OK : otp_stop_with(OTP_ERROR(rc));
    }
    if (g->n == ROOM) return otp_reply_error(from, OTP_EFULL) == 0 ? OTP_OK : otp_stop_with(OTP_ERROR(OTP_ENOMEM));
    g->waiting[g->n++] = from;  /* no answer now: the client waits, the server does not */
    return OTP_OK;
}

static otp_next cast(void *state, const otp_msg *m)
{
    struct gate *g = state;
    for (int i = 0; m->tag == OPEN && i < g->n; i++)
        if (OTP_REPLY(g->waiting[i], i + 1) != 0) return otp_stop_with(OTP_ERROR(OTP_ENOMEM));
    g->n = 0;
    return OTP_OK;
}

static const otp_server gate = { .name = "gate", .state_size = sizeof(struct gate), .call = call, .cast = cast };

static void app(void *arg)
{
    (void)arg;
    otp_pid g = otp_server_start_link(&gate, NULL);
    otp_ref refs[3];
    for (int i = 0; i < 3; i++) refs[i] = otp_send_request(g, ENTER, NULL, 0);      /* three clients in one */

    long n = 1000003L * 999983L, f = 0;
    otp_call(g, FACTOR, &n, sizeof n, &f, sizeof f, 5000);      /* served although three others wait */
    printf("a factor of %ld: %ld\n", n, f);

    otp_cast(g, OPEN, NULL, 0);
    size_t which;
    const otp_msg *m;
    while ((m = otp_wait_any(refs, 3, 5000, &which)) != NULL) {
        printf("request %zu went through as number %d\n", which, *OTP_PAYLOAD(m, int));
        refs[which].id = 0;
    }
    printf("gate: %s\n", otp_server_stop(g, OTP_NORMAL, 5000) == 0 ? "stopped" : "still there");
}

int main(void) { return otp_run(app, NULL, NULL); }

/* Output:
a factor of 999985999949: 999983
request 0 went through as number 1
request 1 went through as number 2
request 2 went through as number 3
gate: stopped
*/
