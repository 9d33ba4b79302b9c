/* worker_pool.c: two workers, and one more when there is a rush, for six clients; one crashes its worker, one dies
   while it has one, one does not wait long enough. The pool itself is pool.h.
   cc -O2 -pthread -I.. worker_pool.c -o worker_pool */

#define OTP_IMPLEMENTATION
#include "pool.h"
#include <stdio.h>

enum { SQUARE = 1 };

static otp_next work(void *state, otp_from from, const otp_msg *m)
{
    (void)state;
    int n = *OTP_PAYLOAD(m, int);
    otp_sleep(100);
    if (n == 3) otp_exit(OTP_USER(3, "I do not like threes"));
    return OTP_SERVER_REPLY(from, n * n);
}

static const otp_server worker = { .name = "worker", .call = work };

static otp_pid start_worker(void) { return otp_server_start_link(&worker, NULL); }

struct client { otp_pid pool; int n; };

static void client(void *arg)
{
    const struct client *c = arg;
    otp_ref ticket;
    int square;
    otp_sleep(c->n);                    /* so that they ask in this order */
    otp_pid w = pool_take(c->pool, c->n == 6 ? 50 : 5000, &ticket);
    if (!w.id) {
        printf("%d: no worker in time\n", c->n);
        return;
    }
    if (c->n == 2) otp_exit(OTP_NORMAL);        /* and forgets to give it back */
    int64_t rc = otp_try_call(w, SQUARE, &c->n, sizeof c->n, &square, sizeof square, 5000);
    if (rc < 0) printf("%d: %s\n", c->n, otp_strerror((int)rc));
    else printf("%d: %d\n", c->n, square);
    pool_give(c->pool, ticket);
}

static void show(otp_pid pool)
{
    struct pool_status s = pool_status(pool);
    printf("%d idle, %d lent, %d waiting\n", s.idle, s.lent, s.waiting);
}

static void app(void *arg)
{
    (void)arg;
    otp_pid pool = pool_start_link(&(struct pool_setup){ .start = start_worker, .size = 2, .overflow = 1, .pause = 10 });
    show(pool);
    for (int n = 1; n <= 6; n++) {
        struct client c = { pool, n };
        otp_pid p;
        int rc = otp_spawn_opt(&(otp_spawn_opts){ .fn = client, .arg = &c, .arg_size = sizeof c }, &p);
        if (rc != 0) printf("client: %s\n", otp_strerror(rc));
    }
    otp_sleep(30);
    show(pool);
    otp_sleep(1000);
    show(pool);
}

int main(void) { return otp_run(app, NULL, &(otp_opts){ .deterministic = true }); }     /* virtual time */

/* Output:
2 idle, 0 lent, 0 waiting
0 idle, 3 lent, 2 waiting
6: no worker in time
1: 1
3: the process died before it answered
4: 16
5: 25
2 idle, 0 lent, 0 waiting
*/
