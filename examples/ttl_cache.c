/* ttl_cache.c: a cache whose entries expire: never given out when too old, and cleaned away every 60 s.
   cc -O2 -pthread -I.. ttl_cache.c -o ttl_cache */

#define OTP_IMPLEMENTATION
#include "otp_server.h"
#include <stdio.h>
#include <string.h>

enum { PUT = 1, GET, CLEAN };
enum { MINUTE = 60 * 1000, TTL = 5 * MINUTE };

struct item { char key[16]; long value; };
struct entry { struct entry *next; struct item item; int64_t until; };
struct cache { struct entry *first; int entries; };

static otp_next init(void *state, const void *arg, size_t size)
{
    (void)state, (void)arg, (void)size;
    otp_ref t = otp_timer(&(otp_timer_opts){ .time = MINUTE, .interval = MINUTE, .to = otp_self(), .tag = CLEAN });
    return t.id ? OTP_OK : otp_stop_with(OTP_ERROR(OTP_ENOMEM));
}

static struct entry *find(struct cache *c, const char *key)
{
    struct entry *e = c->first;
    while (e && strcmp(e->item.key, key) != 0) e = e->next;
    return e;
}

static otp_next call(void *state, otp_from from, const otp_msg *m)
{
    struct cache *c = state;
    struct entry *e = find(c, OTP_PAYLOAD(m, struct item)->key);
    if (e && otp_now() < e->until) return OTP_SERVER_REPLY(from, e->item.value);
    return otp_reply_error(from, OTP_ENOENT) == 0 ? OTP_OK : otp_stop_with(OTP_ERROR(OTP_ENOMEM));
}

static otp_next cast(void *state, const otp_msg *m)
{
    struct cache *c = state;
    const struct item *item = OTP_PAYLOAD(m, struct item);
    struct entry *e = find(c, item->key);
    if (!e) {
        if (!(e = otp_alloc(sizeof *e))) return OTP_OK;     /* a cache may forget */
        e->next = c->first, c->first = e, c->entries++;
    }
    e->item = *item, e->until = otp_now() + TTL;
    return OTP_OK;
}

static otp_next info(void *state, const otp_msg *m)
{
    struct cache *c = state;
    for (struct entry **link = &c->first, *e; m->tag == CLEAN && (e = *link) != NULL;) {
        if (otp_now() < e->until) link = &e->next;
        else *link = e->next, otp_free(e), c->entries--;
    }
    return OTP_OK;
}

static const otp_server cache = { "cache", sizeof(struct cache), .init = init, .call = call, .cast = cast, .info = info };

static void look(otp_pid c, const char *when)
{
    long v = 0;
    struct cache s;
    int64_t rc = otp_try_call(c, GET, &(struct item){ .key = "answer" }, sizeof(struct item), &v, sizeof v, 5000);
    otp_call(c, OTP_SYS_GET_STATE, NULL, 0, &s, sizeof s, 5000);
    printf("%s: %s %ld, %d entries\n", when, rc < 0 ? "miss" : "hit", v, s.entries);
}

static void app(void *arg)
{
    (void)arg;
    otp_pid c = otp_server_start_link(&cache, NULL);
    otp_cast(c, PUT, &(struct item){ "answer", 42 }, sizeof(struct item));
    look(c, "at once"), otp_sleep(4 * MINUTE + MINUTE / 2);
    otp_cast(c, PUT, &(struct item){ "answer", 43 }, sizeof(struct item));      /* which renews it */
    otp_sleep(4 * MINUTE + 1000), look(c, "4 minutes after the second put");
    otp_sleep(MINUTE), look(c, "5 minutes after, not cleaned yet"), otp_sleep(MINUTE), look(c, "a minute later");
}

int main(void) { return otp_run(app, NULL, &(otp_opts){ .deterministic = true }); }     /* virtual time */

/* Output:
at once: hit 42, 1 entries
4 minutes after the second put: hit 43, 1 entries
5 minutes after, not cleaned yet: miss 0, 1 entries
a minute later: miss 0, 0 entries
*/
