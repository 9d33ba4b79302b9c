/* echo_server.c: TCP echo, one process per connection, and two clients in the same program.
   cc -O2 -pthread -I.. echo_server.c -o echo_server */

#define OTP_IMPLEMENTATION
#include "otp.h"
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static void check(int64_t rc, const char *what)
{
    if (rc < 0) otp_exit(OTP_USER((int)rc, what));
}

static void close_fd(void *arg)
{
    if (otp_close(*(int *)arg) != 0) otp_log(OTP_LOG_WARNING, "close failed");
}

static void connection(void *arg)
{
    int *fd = arg;                              /* a copy of its own: see arg_size below */
    char buf[1024];
    check(otp_defer(close_fd, fd), "defer");
    for (;;) {
        int64_t n = otp_read(*fd, buf, sizeof buf, OTP_INFINITY);
        if (n <= 0) return;                     /* the client has closed */
        check(otp_write(*fd, buf, (size_t)n, 5000), "write");
    }
}

static void listener(void *arg)
{
    const int *listen_fd = arg;
    for (;;) {
        int fd = otp_accept(*listen_fd, OTP_INFINITY);
        if (fd == OTP_ECLOSED) { printf("listener: closed\n"); return; }
        check(fd, "accept");
        otp_pid pid;
        check(otp_spawn_opt(&(otp_spawn_opts){ .fn = connection, .arg = &fd, .arg_size = sizeof fd }, &pid), "spawn");
    }
}

static void client(void *arg)
{
    const struct sockaddr_in *addr = arg;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) otp_exit(OTP_USER(1, "no socket"));
    check(otp_defer(close_fd, &fd), "defer");
    check(otp_connect(fd, (const struct sockaddr *)addr, sizeof *addr, 5000), "connect");
    char line[32], back[32];
    for (int i = 1; i <= 3; i++) {
        size_t have = 0, want = (size_t)snprintf(line, sizeof line, "line %d", i);
        check(otp_write(fd, line, want, 5000), "write");
        while (have < want) {                   /* TCP may deliver it in pieces */
            int64_t n = otp_read(fd, back + have, want - have, 5000);
            check(n == 0 ? OTP_ECLOSED : n, "read");
            have += (size_t)n;
        }
        printf("echo: %.*s\n", (int)have, back);
    }
}

static void app(void *arg)
{
    (void)arg;
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof addr;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, size) != 0 || listen(fd, 16) != 0
        || getsockname(fd, (struct sockaddr *)&addr, &size) != 0) otp_exit(OTP_USER(1, "no listener"));
    otp_pid server = otp_spawn_link(listener, &fd);
    for (int i = 0; i < 2; i++) check(otp_await_exit(otp_spawn_link(client, &addr), OTP_INFINITY, NULL), "client");
    check(otp_close(fd), "close");              /* whoever waits on it is told */
    check(otp_await_exit(server, OTP_INFINITY, NULL), "server");
}

int main(void) { return otp_run(app, NULL, NULL); }

/* Output:
echo: line 1
echo: line 2
echo: line 3
echo: line 1
echo: line 2
echo: line 3
listener: closed
*/
