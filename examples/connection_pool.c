/* connection_pool.c: two connections to a database that goes away and comes back. Idle ones look after themselves,
   broken ones are never lent again, old ones are replaced. The pool itself is pool.h.
   cc -O2 -pthread -I.. connection_pool.c -o connection_pool */

#define OTP_IMPLEMENTATION
#include "pool.h"
#include <stdio.h>

enum { QUERY = 1 };
enum { CHECK_MS = 1000, MAX_AGE = 60000 };

static bool database_up = true;         /* stands for the other end of a socket */
static int opened;

static otp_next open_init(void *state, const void *arg, size_t size)
{
    (void)arg, (void)size;
    if (!database_up) return otp_fail_with(OTP_ERROR(OTP_ECLOSED));
    *(int *)state = ++opened;
    return otp_idle(CHECK_MS);
}

static otp_next query(void *state, otp_from from, const otp_msg *m)
{
    (void)m;
    if (!database_up) return otp_stop_with(OTP_SHUTDOWN);       /* broken: the client learns it, the pool as well */
    return otp_reply(from, state, sizeof(int)) == 0 ? otp_idle(CHECK_MS) : otp_stop_with(OTP_ERROR(OTP_ENOMEM));
}

static otp_next check(void *state, const otp_msg *m)    /* OTP_IDLE: nothing was asked for a second */
{
    (void)state, (void)m;
    return database_up ? otp_idle(CHECK_MS) : otp_stop_with(OTP_SHUTDOWN);
}

static const otp_server connection = { "connection", sizeof(int), .init = open_init, .call = query, .info = check };

static otp_pid open_one(void) { return otp_server_start_link(&connection, NULL); }

static void ask(otp_pid pool, const char *when)
{
    otp_ref ticket;
    int number = 0;
    otp_pid c = pool_take(pool, 100, &ticket);
    int64_t rc = c.id ? otp_try_call(c, QUERY, NULL, 0, &number, sizeof number, 5000) : OTP_ETIMEOUT;
    if (c.id) pool_give(pool, ticket);
    struct pool_status s = pool_status(pool);
    printf("%s: %s, connection %d; %d idle, %d opened so far\n", when, rc < 0 ? otp_strerror((int)rc) : "answered",
           number, s.idle, opened);
}

static void app(void *arg)
{
    (void)arg;
    struct pool_setup setup = { .start = open_one, .size = 2, .max_age = MAX_AGE, .pause = 100 };
    otp_pid pool = pool_start_link(&setup);
    ask(pool, "at first");
    database_up = false;
    ask(pool, "the database goes away");
    otp_sleep(2 * CHECK_MS);
    ask(pool, "a moment later");
    database_up = true;
    otp_sleep(10000);
    ask(pool, "it is back");
    otp_sleep(MAX_AGE);
    ask(pool, "a minute later");
    ask(pool, "replaced");
}

int main(void) { return otp_run(app, NULL, &(otp_opts){ .deterministic = true }); }     /* virtual time */

/* Output:
at first: answered, connection 2; 2 idle, 2 opened so far
the database goes away: the process died before it answered, connection 0; 1 idle, 2 opened so far
a moment later: timeout, connection 0; 0 idle, 2 opened so far
it is back: answered, connection 4; 2 idle, 4 opened so far
a minute later: answered, connection 4; 2 idle, 5 opened so far
replaced: answered, connection 5; 2 idle, 5 opened so far
*/
