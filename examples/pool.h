/* pool.h: a pool of processes that are lent to one client at a time; used by worker_pool.c and connection_pool.c.

   Clients are served in the order in which they ask. A member that ends is replaced; when it cannot be started, again
   and again, with a pause that doubles. A member whose client died is stopped, since nobody knows what it was doing.
   Where too many are asked for, `overflow` further ones are started, which end when they are given back. */
#ifndef POOL_H
#define POOL_H

#include "otp_server.h"

enum { POOL_TAKE = 1, POOL_STATUS, POOL_GIVE, POOL_START };

struct pool_setup {
    otp_pid (*start)(void);     /* starts a member, linked; zero when it cannot */
    int size, overflow;
    int64_t max_age;            /* ms after which a member is replaced when it is given back; 0: never */
    int64_t pause;              /* ms before the second try to start one */
};
struct pool_status { int idle, lent, waiting; };

/* A loan is named by a reference that its client made, so that it can also be given up before it began. */
struct pool_loan { otp_ref ticket, monitor; otp_from from; };
struct pool_member { struct pool_member *next; otp_pid pid; bool lent; struct pool_loan loan; int64_t born; };
struct pool_waiting { struct pool_waiting *next; struct pool_loan loan; };
struct pool {
    struct pool_setup setup;
    struct pool_member *first;
    struct pool_waiting *queue;
    int members;
    int64_t pause;
    bool retrying;
};

/* Starts one more; when that fails, tries again later. */
static struct pool_member *pool_add(struct pool *p)
{
    struct pool_member *m = otp_calloc(1, sizeof *m);
    if (m) m->pid = p->setup.start();
    if (m && m->pid.id) {
        m->born = otp_now();
        m->next = p->first;
        p->first = m;
        p->members++;
        p->pause = p->setup.pause;
        return m;
    }
    otp_free(m);
    if (!p->retrying) p->retrying = otp_send_after(p->pause, otp_self(), POOL_START, NULL, 0).id != 0;
    if (p->pause < 64 * p->setup.pause) p->pause *= 2;
    return NULL;
}

/* Members for those who wait, and a new one for each that is missing. */
static otp_next pool_serve(struct pool *p)
{
    while (!p->retrying && p->members < p->setup.size && pool_add(p)) continue;
    while (p->queue) {
        struct pool_member *m = p->first;
        while (m && m->lent) m = m->next;
        if (!m && !p->retrying && p->members < p->setup.size + p->setup.overflow) m = pool_add(p);
        if (!m) break;
        struct pool_waiting *w = p->queue;
        m->lent = true;
        m->loan = w->loan;
        p->queue = w->next;
        otp_free(w);
        if (OTP_REPLY(m->loan.from, m->pid) != 0) return otp_stop_with(OTP_ERROR(OTP_ENOMEM));
    }
    return OTP_OK;
}

static void pool_remove(struct pool *p, struct pool_member **link, bool stop)
{
    struct pool_member *m = *link;
    *link = m->next;
    p->members--;
    if (m->lent) (void)otp_demonitor(m->loan.monitor, OTP_FLUSH);
    if (stop) (void)otp_exit_signal(m->pid, OTP_SHUTDOWN);
    otp_free(m);
}

/* The loan with this ticket or monitor is over; `dirty`: its client died in the middle. */
static void pool_end(struct pool *p, otp_ref ref, bool dirty)
{
    for (struct pool_waiting **link = &p->queue, *w; (w = *link) != NULL; link = &w->next)
        if (w->loan.ticket.id == ref.id || w->loan.monitor.id == ref.id) {
            (void)otp_demonitor(w->loan.monitor, OTP_FLUSH);
            *link = w->next;
            otp_free(w);
            return;
        }
    for (struct pool_member **link = &p->first, *m; (m = *link) != NULL; link = &m->next) {
        if (!m->lent || (m->loan.ticket.id != ref.id && m->loan.monitor.id != ref.id)) continue;
        bool old = p->setup.max_age && otp_now() - m->born >= p->setup.max_age;
        (void)otp_demonitor(m->loan.monitor, OTP_FLUSH);
        m->lent = false;
        if (dirty || old || p->members > p->setup.size) pool_remove(p, link, true);
        return;
    }
}

static otp_next pool_init(void *state, const void *arg, size_t size)
{
    struct pool *p = state;
    if (size != sizeof p->setup) return otp_stop_with(OTP_ERROR(OTP_EBADARG));
    p->setup = *(const struct pool_setup *)arg;
    p->pause = p->setup.pause;
    otp_trap_exit(true);
    return pool_serve(p);
}

static otp_next pool_call(void *state, otp_from from, const otp_msg *m)
{
    struct pool *p = state;
    if (m->tag == POOL_STATUS) {
        struct pool_status s = { 0, 0, 0 };
        for (struct pool_member *k = p->first; k; k = k->next) *(k->lent ? &s.lent : &s.idle) += 1;
        for (struct pool_waiting *w = p->queue; w; w = w->next) s.waiting++;
        return OTP_SERVER_REPLY(from, s);
    }
    struct pool_waiting **end = &p->queue, *w = otp_alloc(sizeof *w);
    if (!w) return otp_stop_with(OTP_ERROR(OTP_ENOMEM));
    *w = (struct pool_waiting){ NULL, { *OTP_PAYLOAD(m, otp_ref), otp_monitor(from.pid), from } };
    while (*end) end = &(*end)->next;
    *end = w;
    return pool_serve(p);
}

static otp_next pool_cast(void *state, const otp_msg *m)
{
    pool_end(state, *OTP_PAYLOAD(m, otp_ref), false);
    return pool_serve(state);
}

static otp_next pool_info(void *state, const otp_msg *m)
{
    struct pool *p = state;
    if (m->tag == POOL_START) p->retrying = false;
    if (m->tag == OTP_DOWN) pool_end(p, m->ref, true);
    if (m->tag == OTP_EXIT)
        for (struct pool_member **link = &p->first; *link; link = &(*link)->next)
            if (otp_same((*link)->pid, m->from)) {
                pool_remove(p, link, false);
                break;
            }
    return pool_serve(p);
}

static const otp_server pool_server = {
    .name = "pool", .state_size = sizeof(struct pool), .init = pool_init, .call = pool_call, .cast = pool_cast,
    .info = pool_info,
};

/* -- what clients use -- */

static otp_pid pool_start_link(const struct pool_setup *setup)
{
    return otp_server_start_link(&pool_server, &(otp_server_opts){ .arg = setup, .arg_size = sizeof *setup });
}

/* A member for *ticket, or zero when none is free within `ms`. */
static otp_pid pool_take(otp_pid pool, int64_t ms, otp_ref *ticket)
{
    otp_pid member = { 0 };
    *ticket = otp_make_ref();
    if (otp_try_call(pool, POOL_TAKE, ticket, sizeof *ticket, &member, sizeof member, ms) < 0) {
        member.id = 0;          /* it may be on its way to us */
        (void)otp_cast(pool, POOL_GIVE, ticket, sizeof *ticket);
    }
    return member;
}

static void pool_give(otp_pid pool, otp_ref ticket) { (void)otp_cast(pool, POOL_GIVE, &ticket, sizeof ticket); }

static struct pool_status pool_status(otp_pid pool)
{
    struct pool_status s = { 0, 0, 0 };
    otp_call(pool, POOL_STATUS, NULL, 0, &s, sizeof s, 5000);
    return s;
}

#endif
