/* A key-value server that speaks the Redis protocol (RESP2), on otp.h.              SPDX-License-Identifier: MIT

   cc -O2 -pthread -I. examples/kv_server.c -o kv_server
   not run by the tests: it serves until it is stopped; tests/kv.sh tests it

       ./kv_server &
       redis-cli -p 6380 set greeting hello

   Who is who:
       app          starts the others, and ends the program when they have ended
       shard        a handler process that owns a part of the keys, and a timer for the next one that expires;
                    one per scheduler, the hash of a key tells which                       (kv_server/shard.h)
       connection   a process per client: reads commands, asks shards, writes replies  (kv_server/connection.h)
       clients      a handler process that starts connections, watches them, and closes their sockets when they
                    have ended, whether they returned or crashed
       acceptor     accepts, and hands the socket to clients
       signals      a thread that turns SIGTERM and SIGINT into a message to clients

   Stopping: no new clients; every connection's input ends where it is now, so that it answers what it has read and
   returns; when the last is gone, clients ends, and with it the program. */

#define _GNU_SOURCE                     /* nothing special, but -std=c11 hides POSIX */
#define OTP_IMPLEMENTATION
#include "otp.h"

#include "kv_server/connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define GRACE 5000                      /* ms that connections have to finish when the server stops */

static int listener = -1;

/* -- clients: who is connected ------------------------------------------------------------------------------ */

/* The monitor of a connection reports with this tag plus its fd: so the message tells which client has gone. */
#define CLIENT_GONE 1000000

typedef struct client {
    bool used;
    uint64_t id;
    otp_pid pid;
    int64_t since;
    char addr[32], name[64];
} client;

typedef struct clients {
    client *at;                         /* by fd */
    size_t cap;
    uint32_t count;
    uint64_t last_id;
    otp_pid acceptor;
    bool accepting;
} clients;

static void acceptor_run(void *arg)
{
    (void)arg;
    for (;;) {
        int fd = otp_accept(listener, OTP_INFINITY);
        if (fd >= 0) {
            if (otp_send_name(CLIENTS, CLIENTS_NEW, &fd, sizeof fd) != 0) otp_close(fd);
        } else if (fd == OTP_ESYSLIMIT) {
            otp_log(OTP_LOG_WARNING, "no file descriptor is left for another client");
            otp_sleep(100);
        } else if (fd == OTP_ECLOSED || fd == OTP_EBADARG) {
            return;
        }
    }
}

static otp_next clients_init(void *state, const void *arg, size_t size)
{
    clients *cs = state;
    (void)arg;
    (void)size;
    otp_spawn_opts opts = { .fn = acceptor_run, .label = "acceptor" };
    int error = otp_spawn_opt(&opts, &cs->acceptor);
    if (error != 0) return otp_stop_with(OTP_ERROR(error));
    otp_monitor(cs->acceptor);
    cs->accepting = true;
    return OTP_OK;
}

/* Tells a client why it is not served; what does not fit into the socket at once is lost. */
static void refuse(int fd, const char *why)
{
    ssize_t n = write(fd, why, strlen(why));
    (void)n;
    otp_close(fd);
}

static void clients_new(clients *cs, int fd)
{
    int on = 1;
    if (atomic_load(&stopping)) {
        otp_close(fd);
        return;
    }
    if (cs->count >= config.max_clients) {
        refuse(fd, "-ERR max number of clients reached\r\n");
        return;
    }
    while ((size_t)fd >= cs->cap) {
        size_t old = cs->cap;
        cs->at = grow(cs->at, &cs->cap, 64, sizeof(client));
        memset(cs->at + old, 0, (cs->cap - old) * sizeof(client));
    }
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
        otp_log(OTP_LOG_INFO, "TCP_NODELAY cannot be set: replies may be slower");
    client *c = &cs->at[fd];
    *c = (client){ .used = true, .id = ++cs->last_id, .since = otp_now() };
    struct sockaddr_in peer = { 0 };
    socklen_t size = sizeof peer;
    char ip[INET_ADDRSTRLEN] = "?";
    if (getpeername(fd, (struct sockaddr *)&peer, &size) == 0) inet_ntop(AF_INET, &peer.sin_addr, ip, sizeof ip);
    snprintf(c->addr, sizeof c->addr, "%s:%d", ip, ntohs(peer.sin_port));
    connection_args args = { fd, c->id };
    otp_spawn_opts opts = { .fn = connection_run, .arg = &args, .arg_size = sizeof args, .label = "connection" };
    if (otp_spawn_opt(&opts, &c->pid) != 0) {
        c->used = false;
        refuse(fd, "-ERR no process for another client\r\n");
        return;
    }
    otp_monitor_opt(c->pid, &(otp_monitor_opts){ .tag = CLIENT_GONE + fd });
    cs->count++;
    atomic_fetch_add(&connected, 1);
    atomic_fetch_add(&connected_ever, 1);
}

static void clients_gone(clients *cs, int fd)
{
    cs->at[fd].used = false;
    cs->count--;
    atomic_fetch_sub(&connected, 1);
    otp_close(fd);
}

/* CLIENT LIST, or CLIENT INFO when the request names one fd. */
static void clients_list(clients *cs, const otp_msg *m)
{
    buf out = { 0 };
    int only = m->size == sizeof only ? *OTP_PAYLOAD(m, int) : -1;
    for (size_t fd = 0; fd < cs->cap; fd++) {
        const client *c = &cs->at[fd];
        char line[256];
        if (!c->used || (only >= 0 && fd != (size_t)only)) continue;
        int n = snprintf(line, sizeof line, "id=%llu addr=%s fd=%d name=%s age=%lld db=0 resp=2\n",
            (unsigned long long)c->id, c->addr, (int)fd, c->name, (long long)((otp_now() - c->since) / 1000));
        if (n > 0 && n < (int)sizeof line) buf_put(&out, line, (size_t)n);
    }
    int error = otp_reply(otp_from_of(m), out.data, out.size);
    if (error != 0) otp_reply_error(otp_from_of(m), error);
    buf_release(&out);
}

/* The input of every connection ends here: SHUT_RD leaves what was received, and lets replies go out. */
static void clients_stop(clients *cs)
{
    if (atomic_exchange(&stopping, true)) return;
    otp_close(listener);                /* ends the acceptor */
    for (size_t fd = 0; fd < cs->cap; fd++)
        if (cs->at[fd].used && shutdown((int)fd, SHUT_RD) != 0 && errno != ENOTCONN)
            otp_exit_signal(cs->at[fd].pid, OTP_SHUTDOWN);
    otp_send_after(GRACE, otp_self(), CLIENTS_KILL, NULL, 0);
}

static otp_next clients_message(void *state, const otp_msg *m)
{
    clients *cs = state;
    switch (m->tag) {
    case CLIENTS_NEW: clients_new(cs, *OTP_PAYLOAD(m, int)); break;
    case CLIENTS_NAME: {
        const client_name *named = OTP_PAYLOAD(m, client_name);
        memcpy(cs->at[named->fd].name, named->name, sizeof named->name);
        break;
    }
    case CLIENTS_LIST: clients_list(cs, m); break;
    case CLIENTS_STOP: clients_stop(cs); break;
    case CLIENTS_KILL:                  /* these do not read their replies */
        for (size_t fd = 0; fd < cs->cap; fd++)
            if (cs->at[fd].used) otp_exit_signal(cs->at[fd].pid, OTP_KILL);
        break;
    case OTP_DOWN: cs->accepting = false; break;
    default:
        if (m->tag >= CLIENT_GONE) clients_gone(cs, m->tag - CLIENT_GONE);
        break;
    }
    if (!cs->accepting && !atomic_load(&stopping)) return otp_stop_with(OTP_USER(1, "the acceptor has ended"));
    if (!cs->accepting && cs->count == 0) return otp_stop_with(OTP_NORMAL);
    return OTP_OK;
}

static const otp_handler clients_handler = {
    .name = "clients",
    .state_size = sizeof(clients),
    .init = clients_init,
    .message = clients_message,
};

/* -- signals --------------------------------------------------------------------------------------------- */

/* A thread that is no process: it may send like any other. A second signal ends the program at once. */
static void *signals_main(void *arg)
{
    const sigset_t *stop = arg;
    int number = 0;
    if (sigwait(stop, &number) != 0) return NULL;
    printf("kv_server: stopping\n");
    if (fflush(stdout) != 0) otp_log(OTP_LOG_INFO, "nobody reads standard output");
    int error = otp_send_name(CLIENTS, CLIENTS_STOP, NULL, 0);
    if (error != 0) otp_log(OTP_LOG_ERROR, "cannot stop: %s", otp_strerror(error));
    (void)pthread_sigmask(SIG_UNBLOCK, stop, NULL);
    return NULL;
}

/* -- the program ----------------------------------------------------------------------------------------- */

static bool failed;

static void spawn_watched(const otp_spawn_opts *opts, otp_pid *pid)
{
    int error = otp_spawn_opt(opts, pid);
    if (error != 0) otp_exit(OTP_ERROR(error));
}

static void app(void *arg)
{
    (void)arg;
    config.started = otp_now();
    config.hash_seed = otp_random();
    if (config.shards == 0) config.shards = (uint32_t)otp_schedulers();
    config.shard = calloc(config.shards, sizeof *config.shard);
    if (config.shard == NULL) otp_exit(OTP_ERROR(OTP_ENOMEM));
    otp_ref ref;
    for (uint32_t i = 0; i < config.shards; i++) {
        shard_args args = { i, config.shards, config.max_value };
        otp_spawn_opts opts = { .handler = &shard_handler, .arg = &args, .arg_size = sizeof args, .label = "shard" };
        opts.monitor = &ref;
        spawn_watched(&opts, &config.shard[i]);
    }
    otp_pid all;
    spawn_watched(&(otp_spawn_opts){ .handler = &clients_handler, .name = CLIENTS, .monitor = &ref }, &all);

    bool local = strcmp(config.bind, "127.0.0.1") == 0 || strcmp(config.bind, "0.0.0.0") == 0;
    printf("kv_server: %d schedulers, %u shards, listening on %s:%d; stop with ctrl-C\n",
        otp_schedulers(), config.shards, config.bind, config.port);
    printf("kv_server: connect with  redis-cli%s%s -p %d\n",
        local ? "" : " -h ", local ? "" : config.bind, config.port);
    if (fflush(stdout) != 0) otp_log(OTP_LOG_INFO, "nobody reads standard output");

    for (;;) {
        const otp_msg *m;
        otp_receive (m, OTP_INFINITY) {
        case OTP_DOWN:
            if (otp_same(m->from, all)) {
                failed = failed || otp_reason_of(m)->kind != OTP_REASON_NORMAL;
                return;
            }
            /* A part of the data is lost: better no server than one that says it was never there. */
            otp_log(OTP_LOG_ERROR, "a shard has ended, the server stops");
            failed = true;
            otp_send(all, CLIENTS_STOP, NULL, 0);
            break;
        }
    }
}

static const char usage[] =
    "usage: kv_server [options]      a key-value server that Redis clients can use\n"
    "  --port N            TCP port, 0 takes a free one and prints it (default 6380)\n"
    "  --bind ADDRESS      IPv4 address to listen on (default 127.0.0.1)\n"
    "  --schedulers N      threads (default: one per core)\n"
    "  --shards N          parts of the store (default: one per scheduler)\n"
    "  --max-clients N     connections at a time (default 10000)\n"
    "  --max-value BYTES   largest key, value or argument (default and most 536870912)\n"
    "  --debug-commands    allow DEBUG SEGFAULT, which crashes its own connection, and DEBUG SLEEP\n"
    "  --help              this text\n";

/* A number that is one of the options; returns false when it is none, or out of range. */
static bool number_option(const char *name, const char *text)
{
    static const struct {
        const char *name;
        int64_t min, max;
    } numbers[] = {
        { "--port", 0, 65535 },
        { "--schedulers", 1, 1024 },
        { "--shards", 1, 1024 },
        { "--max-clients", 1, 1000000 },
        { "--max-value", 1, 536870912 },
    };
    int64_t n = 0;
    size_t i = 0, count = sizeof numbers / sizeof numbers[0];
    while (i < count && strcmp(name, numbers[i].name) != 0) i++;
    if (i == count || !text_to_int(text, strlen(text), &n) || n < numbers[i].min || n > numbers[i].max) return false;
    switch (i) {
    case 0: config.port = (int)n; break;
    case 1: config.schedulers = (int)n; break;
    case 2: config.shards = (uint32_t)n; break;
    case 3: config.max_clients = (uint32_t)n; break;
    default: config.max_value = (uint32_t)n; break;
    }
    return true;
}

/* Returns -1 to go on, else the exit code. "--name value" and "--name=value" are the same. */
static int read_options(int argc, char **argv)
{
    config = (struct config){ .port = 6380, .bind = "127.0.0.1", .max_clients = 10000, .max_value = 536870912 };
    for (int i = 1; i < argc; i++) {
        char name[24];
        struct in_addr address;
        size_t length = strcspn(argv[i], "=");
        const char *value = argv[i][length] == '=' ? argv[i] + length + 1 : NULL;
        snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), argv[i]);
        if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
            fputs(usage, stdout);
            return 0;
        }
        if (strcmp(name, "--debug-commands") == 0) {
            config.debug = true;
            continue;
        }
        if (value == NULL && i + 1 < argc) value = argv[++i];
        if (value != NULL && strcmp(name, "--bind") == 0 && inet_pton(AF_INET, value, &address) == 1) {
            config.bind = value;
        } else if (value == NULL || !number_option(name, value)) {
            fprintf(stderr, "kv_server: bad option or value: %s\n%s", argv[i], usage);
            return 2;
        }
    }
    return -1;
}

static int open_listener(void)
{
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons((uint16_t)config.port) };
    socklen_t size = sizeof addr;
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    bool good = fd >= 0 && inet_pton(AF_INET, config.bind, &addr.sin_addr) == 1;
    good = good && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
    good = good && bind(fd, (struct sockaddr *)&addr, sizeof addr) == 0 && listen(fd, 511) == 0;
    if (!good || getsockname(fd, (struct sockaddr *)&addr, &size) != 0) {
        fprintf(stderr, "kv_server: cannot listen on %s:%d: %s\n", config.bind, config.port, strerror(errno));
        return -1;
    }
    config.port = ntohs(addr.sin_port);
    return fd;
}

/* A client needs an fd: asks for as many as are allowed. */
static void raise_fd_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    rlim_t wanted = (rlim_t)config.max_clients + 64;
    if (limit.rlim_cur >= wanted) return;
    limit.rlim_cur = limit.rlim_max == RLIM_INFINITY || limit.rlim_max >= wanted ? wanted : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        fprintf(stderr, "kv_server: the limit of open files stays as it is: %s\n", strerror(errno));
}

int main(int argc, char **argv)
{
    int code = read_options(argc, argv);
    if (code >= 0) return code;
    raise_fd_limit();
    index_commands();
    listener = open_listener();
    if (listener < 0) return 1;
    static sigset_t stop;               /* blocked here, and so in all threads, for the one that waits for them */
    pthread_t signals;
    (void)sigemptyset(&stop);
    (void)sigaddset(&stop, SIGTERM);
    (void)sigaddset(&stop, SIGINT);
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || pthread_sigmask(SIG_BLOCK, &stop, NULL) != 0 ||
        pthread_create(&signals, NULL, signals_main, &stop) != 0 || pthread_detach(signals) != 0) {
        fprintf(stderr, "kv_server: cannot wait for signals\n");
        return 1;
    }
    otp_opts opts = { .schedulers = config.schedulers, .force_isolation = config.debug };
    int result = otp_run(app, NULL, &opts);
    if (result < 0) fprintf(stderr, "kv_server: %s\n", otp_strerror(result));
    free(config.shard);
    return result != 0 || failed ? 1 : 0;
}
