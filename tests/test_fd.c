/* Files, pipes and sockets: waiting, reading, writing, accepting, connecting, closing. */
#include "test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { A = 1, B, GO, DONE, NOTE };

static void note(int64_t n) { CHECK_EQ(OTP_SEND(test_app, NOTE, n), 0); }

static int64_t noted(void)
{
    const otp_msg *m = otp_recv_tag(NOTE, TEST_WAIT);
    CHECK(m != NULL);
    return *OTP_PAYLOAD(m, int64_t);
}

static otp_pid start(otp_fn *fn, void *arg, size_t size, otp_ref *ref)
{
    otp_pid p = { 0 };
    otp_spawn_opts o = { .fn = fn, .arg = arg, .arg_size = size, .monitor = ref };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    return p;
}

static void pair(int out[2])
{
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, out), 0);
}

static void close_both(const int fds[2])
{
    CHECK_EQ(otp_close(fds[0]), 0);
    CHECK_EQ(otp_close(fds[1]), 0);
}

/* -- reading and writing ------------------------------------------------------------------------------------- */

TEST_REAL(a_pipe)
{
    int fds[2];
    char text[100];
    CHECK_EQ(pipe(fds), 0);
    CHECK_EQ(otp_read(fds[0], text, sizeof text, 0), OTP_ETIMEOUT);
    CHECK_EQ(otp_read(fds[0], text, sizeof text, 5), OTP_ETIMEOUT);
    CHECK_EQ(otp_write(fds[1], "hello", 6, TEST_WAIT), 6);
    CHECK_EQ(otp_read(fds[0], text, sizeof text, TEST_WAIT), 6);
    CHECK_STR(text, "hello");
    CHECK_EQ(otp_write(fds[1], "", 0, TEST_WAIT), 0);
    CHECK_EQ(otp_write(fds[1], "abcdef", 6, TEST_WAIT), 6);
    CHECK_EQ(otp_read(fds[0], text, 2, TEST_WAIT), 2);      /* no more than asked for */
    CHECK_EQ(otp_read(fds[0], text, sizeof text, TEST_WAIT), 4);
    CHECK(memcmp(text, "cdef", 4) == 0);
    CHECK_EQ(otp_close(fds[1]), 0);
    CHECK_EQ(otp_read(fds[0], text, sizeof text, TEST_WAIT), 0);    /* the end, again and again */
    CHECK_EQ(otp_read(fds[0], text, sizeof text, TEST_WAIT), 0);
    CHECK_EQ(otp_close(fds[0]), 0);
}

static void reads_one(void *arg)
{
    char c = 0;
    int64_t r = otp_read(*(int *)arg, &c, 1, OTP_INFINITY);
    note(r == 1 ? c : r);
}

TEST_REAL(a_reader_waits_for_bytes)
{
    int fds[2];
    otp_ref ref;
    pair(fds);
    for (int i = 0; i < 20; i++) {
        otp_pid p = start(reads_one, &fds[0], sizeof fds[0], &ref);
        if (i % 2 == 0) test_until_waiting(p, OTP_WAITS_FD);
        char c = (char)('a' + i);
        CHECK_EQ(otp_write(fds[1], &c, 1, TEST_WAIT), 1);
        CHECK_EQ(noted(), c);
        (void)test_down(ref);
    }
    close_both(fds);
}

struct stream { int fd; size_t size; };

static uint8_t byte_at(size_t i) { return (uint8_t)(i * 7 + (i >> 8) * 13); }

static void writes_all(void *arg)
{
    struct stream s = *(struct stream *)arg;
    uint8_t *data = otp_alloc(s.size);
    CHECK(data != NULL);
    for (size_t i = 0; i < s.size; i++) data[i] = byte_at(i);
    CHECK_EQ(otp_write(s.fd, data, s.size, TEST_WAIT), s.size);
    CHECK_EQ(otp_close(s.fd), 0);
}

static void reads_all(void *arg)
{
    struct stream s = *(struct stream *)arg;
    uint8_t buffer[5000];
    size_t at = 0;
    int64_t r;
    while ((r = otp_read(s.fd, buffer, sizeof buffer, TEST_WAIT)) > 0)
        for (int64_t i = 0; i < r; i++) {
            CHECK_EQ(buffer[i], byte_at(at));
            at++;
        }
    CHECK_EQ(r, 0);
    CHECK_EQ(at, s.size);
    CHECK_EQ(otp_close(s.fd), 0);
    note((int64_t)at);
}

TEST_REAL(large_writes_are_complete)
{
    const size_t sizes[] = { 1, 65536, 70000, 1000000, 8000000 };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int kind = 0; kind < 2; kind++) {
            int fds[2];
            if (kind == 0) CHECK_EQ(pipe(fds), 0);
            else pair(fds);
            struct stream w = { fds[1], sizes[i] }, r = { fds[0], sizes[i] };
            otp_ref ref[2];
            (void)start(writes_all, &w, sizeof w, &ref[0]);
            (void)start(reads_all, &r, sizeof r, &ref[1]);
            CHECK_EQ(noted(), sizes[i]);
            CHECK_EQ(test_down(ref[0])->kind, OTP_REASON_NORMAL);
            CHECK_EQ(test_down(ref[1])->kind, OTP_REASON_NORMAL);
        }
}

TEST_REAL(a_write_that_nobody_reads_times_out)
{
    int fds[2];
    pair(fds);
    static char data[4000000];
    int64_t begin = otp_now();
    CHECK_EQ(otp_write(fds[0], data, sizeof data, 20), OTP_ETIMEOUT);
    CHECK(otp_now() - begin >= 20);
    CHECK_EQ(otp_wait_fd(fds[0], OTP_WRITE, 0), OTP_ETIMEOUT);
    CHECK_EQ(otp_wait_fd(fds[1], OTP_READ, TEST_WAIT) & OTP_READ, OTP_READ);
    close_both(fds);
}

TEST_REAL(writing_to_a_closed_peer)
{
    int fds[2];
    pair(fds);
    CHECK_EQ(otp_close(fds[1]), 0);
    CHECK_EQ(otp_write(fds[0], "x", 1, TEST_WAIT), OTP_ECLOSED);    /* and no SIGPIPE */
    CHECK_EQ(otp_close(fds[0]), 0);
    CHECK_EQ(pipe(fds), 0);
    CHECK_EQ(otp_close(fds[0]), 0);
    CHECK_EQ(otp_write(fds[1], "x", 1, TEST_WAIT), OTP_ECLOSED);
    CHECK_EQ(otp_close(fds[1]), 0);
}

TEST_REAL(waiting_for_readiness)
{
    int fds[2];
    char c;
    pair(fds);
    CHECK_EQ(otp_wait_fd(fds[0], OTP_READ, 3), OTP_ETIMEOUT);
    CHECK_EQ(otp_wait_fd(fds[0], OTP_WRITE, TEST_WAIT), OTP_WRITE);
    CHECK_EQ(otp_wait_fd(fds[0], OTP_READ | OTP_WRITE, TEST_WAIT), OTP_WRITE);
    CHECK_EQ(write(fds[1], "x", 1), 1);
    CHECK_EQ(otp_wait_fd(fds[0], OTP_READ, TEST_WAIT), OTP_READ);
    CHECK_EQ(otp_wait_fd(fds[0], OTP_READ, 0), OTP_READ);           /* still: nobody has read it */
    CHECK_EQ(otp_wait_fd(fds[0], OTP_READ, TEST_WAIT), OTP_READ);
    CHECK_EQ(read(fds[0], &c, 1), 1);
    CHECK_EQ(otp_wait_fd(fds[0], OTP_READ, 3), OTP_ETIMEOUT);
    CHECK_EQ(shutdown(fds[1], SHUT_WR), 0);
    CHECK(otp_wait_fd(fds[0], OTP_READ, TEST_WAIT) > 0);            /* the end is readable */
    CHECK_EQ(otp_read(fds[0], &c, 1, TEST_WAIT), 0);
    close_both(fds);
}

TEST_REAL(a_hangup_is_told)
{
    int fds[2];
    pair(fds);
    CHECK_EQ(close(fds[1]), 0);
    int r = otp_wait_fd(fds[0], OTP_READ, TEST_WAIT);
    CHECK(r > 0 && (r & (OTP_READ | OTP_HANGUP)) != 0);
    CHECK_EQ(otp_close(fds[0]), 0);
}

TEST_REAL(bad_fds_and_arguments)
{
    char c;
    int fds[2];
    pair(fds);
    CHECK_EQ(otp_read(-1, &c, 1, 0), OTP_EBADARG);
    CHECK_EQ(otp_read(1000000, &c, 1, 0), OTP_EBADARG);
    CHECK_EQ(otp_write(-1, &c, 1, 0), OTP_EBADARG);
    CHECK_EQ(otp_wait_fd(-1, OTP_READ, 0), OTP_EBADARG);
    CHECK_EQ(otp_wait_fd(1000000, OTP_READ, 5), OTP_EBADARG);
    CHECK_EQ(otp_wait_fd(fds[0], 0, 0), OTP_EBADARG);
    CHECK_EQ(otp_wait_fd(fds[0], 128, 0), OTP_EBADARG);
    CHECK_EQ(otp_accept(-1, 0), OTP_EBADARG);
    CHECK_EQ(otp_close(-1), OTP_EBADARG);
    CHECK_EQ(otp_close(1000000), OTP_EBADARG);
    int r = otp_accept(fds[0], 0);                          /* a socket that does not listen */
    CHECK(r == OTP_EBADARG || r == OTP_EIO);
    close_both(fds);
    CHECK_EQ(otp_close(fds[0]), OTP_EBADARG);               /* closed already */
}

static void negative_read(void *arg)
{
    char c;
    note(otp_read(*(int *)arg, &c, 1, -2));
}

TEST_REAL(a_negative_time_is_a_bad_argument)
{
    int fds[2];
    otp_ref ref;
    pair(fds);
    (void)start(negative_read, &fds[0], sizeof fds[0], &ref);
    otp_reason_kind kind = test_down(ref)->kind;            /* a code, or the end of the process */
    if (kind == OTP_REASON_NORMAL) CHECK_EQ(noted(), OTP_EBADARG);
    else CHECK_EQ(kind, OTP_REASON_BADARG);
    close_both(fds);
}

TEST_REAL(a_regular_file)
{
    char name[] = "/tmp/test_fd_XXXXXX", text[20] = { 0 };
    int fd = mkstemp(name);
    CHECK(fd >= 0);
    CHECK_EQ(unlink(name), 0);
    CHECK_EQ(otp_write(fd, "contents", 8, TEST_WAIT), 8);   /* reading and writing never have to wait there */
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    CHECK_EQ(otp_read(fd, text, sizeof text, TEST_WAIT), 8);
    CHECK_STR(text, "contents");
    CHECK_EQ(otp_read(fd, text, sizeof text, TEST_WAIT), 0);
    CHECK_EQ(otp_wait_fd(fd, OTP_READ, 0), OTP_EBADARG);    /* but it cannot be waited for */
    CHECK_EQ(otp_close(fd), 0);
}

/* -- closing, two waiters, numbers used again ------------------------------------------------------------------- */

TEST_REAL(closing_tells_the_waiter)
{
    for (int i = 0; i < 20; i++) {
        int fds[2];
        otp_ref ref;
        pair(fds);
        otp_pid p = start(reads_one, &fds[0], sizeof fds[0], &ref);
        test_until_waiting(p, OTP_WAITS_FD);
        CHECK_EQ(otp_close(fds[0]), 0);
        CHECK_EQ(noted(), OTP_ECLOSED);
        (void)test_down(ref);
        CHECK_EQ(otp_close(fds[1]), 0);
    }
}

static void *closes_on_thread(void *arg) { return otp_close(*(int *)arg) == 0 ? NULL : arg; }

TEST_REAL(closing_from_a_foreign_thread)
{
    int fds[2];
    otp_ref ref;
    pthread_t t;
    void *result;
    pair(fds);
    otp_pid p = start(reads_one, &fds[0], sizeof fds[0], &ref);
    test_until_waiting(p, OTP_WAITS_FD);
    CHECK_EQ(pthread_create(&t, NULL, closes_on_thread, &fds[0]), 0);
    CHECK_EQ(noted(), OTP_ECLOSED);
    CHECK_EQ(pthread_join(t, &result), 0);
    CHECK(result == NULL);
    (void)test_down(ref);
    CHECK_EQ(otp_close(fds[1]), 0);
}

TEST_REAL(only_one_process_waits_for_one_direction)
{
    int fds[2];
    otp_ref ref;
    char c;
    pair(fds);
    otp_pid p = start(reads_one, &fds[0], sizeof fds[0], &ref);
    test_until_waiting(p, OTP_WAITS_FD);
    CHECK_EQ(otp_read(fds[0], &c, 1, 5), OTP_EBUSY);
    CHECK_EQ(otp_wait_fd(fds[0], OTP_READ, 5), OTP_EBUSY);
    CHECK_EQ(otp_write(fds[1], "x", 1, TEST_WAIT), 1);
    CHECK_EQ(noted(), 'x');
    (void)test_down(ref);
    CHECK_EQ(otp_read(fds[0], &c, 1, 2), OTP_ETIMEOUT);     /* free again */
    close_both(fds);
}

static void fills_until_closed(void *arg)
{
    static char data[4000000];
    note(otp_write(*(int *)arg, data, sizeof data, OTP_INFINITY));
}

TEST_REAL(one_reads_while_another_writes)
{
    int fds[2];
    otp_ref ref[2];
    pair(fds);
    otp_pid w = start(fills_until_closed, &fds[0], sizeof fds[0], &ref[0]);
    test_until_waiting(w, OTP_WAITS_FD);
    otp_pid r = start(reads_one, &fds[0], sizeof fds[0], &ref[1]);
    test_until_waiting(r, OTP_WAITS_FD);
    CHECK_EQ(otp_write(fds[1], "y", 1, TEST_WAIT), 1);
    CHECK_EQ(noted(), 'y');
    (void)test_down(ref[1]);
    CHECK_EQ(otp_close(fds[0]), 0);
    CHECK_EQ(noted(), OTP_ECLOSED);
    (void)test_down(ref[0]);
    CHECK_EQ(otp_close(fds[1]), 0);
}

TEST_REAL(a_waiter_that_is_killed_frees_the_fd)
{
    int fds[2];
    char c = 0;
    pair(fds);
    for (int i = 0; i < 20; i++) {
        otp_ref ref;
        otp_pid p = start(reads_one, &fds[0], sizeof fds[0], &ref);
        test_until_waiting(p, OTP_WAITS_FD);
        CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
        CHECK_EQ(test_down(ref)->kind, OTP_REASON_KILLED);
    }
    CHECK_EQ(otp_write(fds[1], "z", 1, TEST_WAIT), 1);
    CHECK_EQ(otp_read(fds[0], &c, 1, TEST_WAIT), 1);
    CHECK_EQ(c, 'z');
    close_both(fds);
}

TEST_REAL(a_waiter_that_is_killed_is_not_waited_for)
{
    /* A deadlock is found again once nobody waits for an fd. */
    int fds[2];
    otp_ref ref, idle;
    pair(fds);
    otp_pid q = test_start(test_idle_ready, NULL, &idle);
    for (int i = 0; i < 3; i++) {
        otp_pid p = start(reads_one, &fds[0], sizeof fds[0], &ref);
        test_until_waiting(p, OTP_WAITS_FD);
        CHECK_EQ(otp_check_deadlock(), 0);
        CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
        (void)test_down(ref);
    }
    int n = 0;
    for (int i = 0; i < 3000 && n != 1; i++) {
        n = otp_check_deadlock();
        if (n != 1) otp_yield();
    }
    CHECK_EQ(n, 1);
    CHECK_EQ(otp_send(q, TEST_STOP, NULL, 0), 0);
    (void)test_down(idle);
    close_both(fds);
}

TEST_REAL(messages_do_not_end_an_fd_wait)
{
    int fds[2];
    otp_ref ref;
    pair(fds);
    otp_pid p = start(reads_one, &fds[0], sizeof fds[0], &ref);
    test_until_waiting(p, OTP_WAITS_FD);
    for (int i = 0; i < 50; i++) CHECK_EQ(OTP_SEND(p, A, i), 0);
    otp_info info;
    CHECK_EQ(otp_process_info(p, &info), 0);
    CHECK_EQ(info.message_queue_len, 50);
    CHECK_EQ(otp_write(fds[1], "m", 1, TEST_WAIT), 1);
    CHECK_EQ(noted(), 'm');
    (void)test_down(ref);
    close_both(fds);
}

TEST_REAL(an_fd_number_is_used_again)
{
    /* Each round gets the numbers of the round before; what the old ones were must not matter. */
    int first = -1;
    for (int i = 0; i < 200; i++) {
        int fds[2];
        char c = 0;
        otp_ref ref;
        if (i % 2 == 0) CHECK_EQ(pipe(fds), 0);
        else pair(fds);
        if (first < 0) first = fds[0];
        CHECK_EQ(fds[0], first);
        CHECK_EQ(otp_read(fds[0], &c, 1, 0), OTP_ETIMEOUT); /* nothing is left of the old readiness */
        otp_pid p = start(reads_one, &fds[0], sizeof fds[0], &ref);
        if (i % 10 == 0) test_until_waiting(p, OTP_WAITS_FD);
        c = (char)('a' + i % 26);
        CHECK_EQ(otp_write(fds[1], &c, 1, TEST_WAIT), 1);
        CHECK_EQ(noted(), c);
        (void)test_down(ref);
        if (i % 3 == 0) CHECK_EQ(otp_write(fds[1], "left", 4, TEST_WAIT), 4);
        close_both(fds);
    }
}

TEST_REAL(a_duplicate_keeps_working_after_the_close)
{
    int fds[2];
    char c = 0;
    pair(fds);
    CHECK_EQ(otp_read(fds[0], &c, 1, 1), OTP_ETIMEOUT);
    int copy = dup(fds[0]);
    CHECK(copy >= 0);
    CHECK_EQ(otp_close(fds[0]), 0);
    CHECK_EQ(otp_write(fds[1], "d", 1, TEST_WAIT), 1);
    CHECK_EQ(otp_read(copy, &c, 1, TEST_WAIT), 1);
    CHECK_EQ(c, 'd');
    CHECK_EQ(otp_close(copy), 0);
    CHECK_EQ(otp_close(fds[1]), 0);
}

/* -- many ----------------------------------------------------------------------------------------------------------- */

static void echo_fd(void *arg)
{
    int fd = *(int *)arg;
    char buffer[256];
    int64_t r;
    while ((r = otp_read(fd, buffer, sizeof buffer, OTP_INFINITY)) > 0)
        CHECK_EQ(otp_write(fd, buffer, (size_t)r, TEST_WAIT), r);
    CHECK_EQ(otp_close(fd), 0);
}

TEST_REAL(many_fds_at_once)
{
    enum { MOST = 400 };
    int n = test_many(MOST, 50);
    int near[MOST], fds[2];
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < 2 * MOST + 50) n = ((int)limit.rlim_cur - 50) / 2;
    for (int i = 0; i < n; i++) {
        pair(fds);
        near[i] = fds[0];
        (void)start(echo_fd, &fds[1], sizeof fds[1], NULL);
    }
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < n; i++) CHECK_EQ(otp_write(near[i], &i, sizeof i, TEST_WAIT), sizeof i);
        for (int i = n - 1; i >= 0; i--) {
            int back = -1;
            CHECK_EQ(otp_read(near[i], &back, sizeof back, TEST_WAIT), sizeof back);
            CHECK_EQ(back, i);
        }
    }
    for (int i = 0; i < n; i++) CHECK_EQ(otp_close(near[i]), 0);
}

/* -- TCP ------------------------------------------------------------------------------------------------------------- */

static int listen_on(struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t size = sizeof *address;
    CHECK(fd >= 0);
    memset(address, 0, sizeof *address);
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_EQ(bind(fd, (struct sockaddr *)address, sizeof *address), 0);
    CHECK_EQ(listen(fd, 128), 0);
    CHECK_EQ(getsockname(fd, (struct sockaddr *)address, &size), 0);
    return fd;
}

static void serve(void *arg)
{
    int fd = *(int *)arg;
    for (;;) {
        int c = otp_accept(fd, OTP_INFINITY);
        if (c == OTP_ECLOSED) break;
        CHECK(c >= 0);
        CHECK((fcntl(c, F_GETFL) & O_NONBLOCK) != 0);
        CHECK((fcntl(c, F_GETFD) & FD_CLOEXEC) != 0);
        (void)start(echo_fd, &c, sizeof c, NULL);
    }
    note(1);
}

struct client { struct sockaddr_in address; int n; };

static void client(void *arg)
{
    struct client *c = arg;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    CHECK_EQ(otp_connect(fd, (struct sockaddr *)&c->address, sizeof c->address, TEST_WAIT), 0);
    for (int i = 0; i < 20; i++) {
        int v = c->n * 1000 + i, back = -1;
        CHECK_EQ(otp_write(fd, &v, sizeof v, TEST_WAIT), sizeof v);
        CHECK_EQ(otp_read(fd, &back, sizeof back, TEST_WAIT), sizeof back);
        CHECK_EQ(back, v);
    }
    CHECK_EQ(otp_close(fd), 0);
    note(2);
}

TEST_REAL(a_tcp_server_and_many_clients)
{
    struct sockaddr_in address;
    int fd = listen_on(&address), n = test_many(100, 10);
    otp_ref ref;
    CHECK_EQ(otp_accept(fd, 0), OTP_ETIMEOUT);
    CHECK_EQ(otp_accept(fd, 5), OTP_ETIMEOUT);
    (void)start(serve, &fd, sizeof fd, &ref);
    for (int i = 0; i < n; i++) {
        struct client c = { address, i };
        (void)start(client, &c, sizeof c, NULL);
    }
    for (int i = 0; i < n; i++) CHECK_EQ(noted(), 2);
    CHECK_EQ(otp_close(fd), 0);                             /* ends the server */
    CHECK_EQ(noted(), 1);
    (void)test_down(ref);
}

TEST_REAL(connecting_to_nobody)
{
    struct sockaddr_in address;
    int listener = listen_on(&address);
    CHECK_EQ(close(listener), 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    CHECK_EQ(otp_connect(fd, (struct sockaddr *)&address, sizeof address, TEST_WAIT), OTP_ECLOSED);
    CHECK_EQ(otp_close(fd), 0);
    CHECK_EQ(otp_connect(-1, (struct sockaddr *)&address, sizeof address, 0), OTP_EBADARG);
}

TEST_REAL(a_connection_that_is_reset)
{
    struct sockaddr_in address;
    int listener = listen_on(&address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    CHECK_EQ(otp_connect(fd, (struct sockaddr *)&address, sizeof address, TEST_WAIT), 0);
    int c = otp_accept(listener, TEST_WAIT);
    CHECK(c >= 0);
    struct linger now = { 1, 0 };
    CHECK_EQ(setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    CHECK_EQ(otp_close(c), 0);                              /* sends a reset */
    char byte;
    int64_t r = otp_read(fd, &byte, 1, TEST_WAIT);
    CHECK(r == OTP_ECLOSED || r == OTP_EIO);
    CHECK_EQ(otp_close(fd), 0);
    CHECK_EQ(otp_close(listener), 0);
}

static void connects_to_unix(void *arg)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    CHECK_EQ(otp_connect(fd, arg, sizeof(struct sockaddr_un), TEST_WAIT), 0);
    CHECK_EQ(otp_write(fd, "unix", 5, TEST_WAIT), 5);
    CHECK_EQ(otp_close(fd), 0);
}

TEST_REAL(unix_sockets)
{
    struct sockaddr_un address;
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    (void)snprintf(address.sun_path, sizeof address.sun_path, "/tmp/test_fd_%d", (int)getpid());
    (void)unlink(address.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    CHECK_EQ(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    CHECK_EQ(listen(fd, 5), 0);
    otp_ref ref;
    (void)start(connects_to_unix, &address, sizeof address, &ref);
    int c = otp_accept(fd, TEST_WAIT);
    CHECK(c >= 0);
    char text[20];
    CHECK_EQ(otp_read(c, text, sizeof text, TEST_WAIT), 5);
    CHECK_STR(text, "unix");
    CHECK_EQ(otp_read(c, text, sizeof text, TEST_WAIT), 0);
    CHECK_EQ(otp_close(c), 0);
    CHECK_EQ(otp_close(fd), 0);
    CHECK_EQ(unlink(address.sun_path), 0);
    (void)test_down(ref);
}

TEST_REAL(no_fds_left)
{
    struct sockaddr_in address;
    struct rlimit old, few;
    int listener = listen_on(&address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    CHECK_EQ(otp_connect(fd, (struct sockaddr *)&address, sizeof address, TEST_WAIT), 0);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
    few = old;
    few.rlim_cur = (rlim_t)fd + 1;                          /* all lower numbers are in use */
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    int c = otp_accept(listener, TEST_WAIT);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
    CHECK_EQ(c, OTP_ESYSLIMIT);
    c = otp_accept(listener, TEST_WAIT);                    /* the connection was not lost */
    CHECK(c >= 0);
    CHECK_EQ(otp_close(c), 0);
    CHECK_EQ(otp_close(fd), 0);
    CHECK_EQ(otp_close(listener), 0);
}

/* -- guests ----------------------------------------------------------------------------------------------------------------- */

static void *guest_reads(void *arg)
{
    char c = 0;
    return otp_read(*(int *)arg, &c, 1, TEST_WAIT) == 1 && c == 'g' ? NULL : arg;
}

TEST_REAL(a_guest_may_wait_for_an_fd)
{
    int fds[2];
    pthread_t t;
    void *result;
    pair(fds);
    CHECK_EQ(pthread_create(&t, NULL, guest_reads, &fds[0]), 0);
    otp_sleep(2);
    CHECK_EQ(otp_write(fds[1], "g", 1, TEST_WAIT), 1);
    CHECK_EQ(pthread_join(t, &result), 0);
    CHECK(result == NULL);
    close_both(fds);
}
