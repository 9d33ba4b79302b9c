/* Tests of examples/kv_server.c with plain sockets and threads; no Redis tools are needed.

       kv_client PATH-OF-THE-SERVER [--no-crash] [options for the server …]

   Starts the server, checks what it answers, and ends with a line "N passed, N failed". */

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 20 /* seconds after which a missing answer is a failure */

static int passed, failed;

static bool check(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool check(bool good, const char *format, ...)
{
    char name[400];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    for (char *p = name; *p != '\0'; p++)
        if (*p < ' ' || *p > '~') *p = '.';
    if (good) passed++;
    else failed++;
    printf("%s %s\n", good ? "ok  " : "FAIL", name);
    return good;
}

static void fatal(const char *what)
{
    printf("FAIL %s: %s\n%d passed, %d failed\n", what, strerror(errno), passed, failed + 1);
    exit(1);
}

/* -- servers --------------------------------------------------------------------------------------------- */

typedef struct server {
    pid_t pid;
    int port;
    FILE *out;
} server;

static const char *server_path;
static char *more_options[16];
static bool may_crash = true;

/* Starts a server with some options, and waits for the line that tells its port. */
static server start_server(const char *const *options)
{
    int ends[2];
    const char *argv[32] = { server_path, "--port", "0" };
    size_t n = 3;
    for (char **p = more_options; *p != NULL; p++) argv[n++] = *p;
    for (; options != NULL && *options != NULL && n + 1 < sizeof argv / sizeof argv[0]; options++) argv[n++] = *options;
    fflush(stdout);
    if (pipe(ends) != 0) fatal("pipe");
    server s = { .pid = fork() };
    if (s.pid < 0) fatal("fork");
    if (s.pid == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execv(server_path, (char **)(uintptr_t)argv);
        _exit(127);
    }
    close(ends[1]);
    s.out = fdopen(ends[0], "r");
    if (s.out == NULL) fatal("fdopen");
    char line[300];
    while (s.port == 0 && fgets(line, sizeof line, s.out) != NULL) {
        const char *p = strstr(line, " -p ");
        if (p != NULL) s.port = atoi(p + 4);
    }
    if (s.port == 0) fatal("the server does not tell its port");
    return s;
}

/* The exit code of a server that should end by itself; kills it when it does not. */
static int await_server(server *s)
{
    int status = 0;
    for (int i = 0; i < PATIENCE * 100; i++) {
        pid_t got = waitpid(s->pid, &status, WNOHANG);
        if (got == s->pid) {
            fclose(s->out);
            return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
        }
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    }
    kill(s->pid, SIGKILL);
    waitpid(s->pid, &status, 0);
    fclose(s->out);
    return -1;
}

static int connect_to(const server *s)
{
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons((uint16_t)s->port) };
    struct timeval patience = { .tv_sec = PATIENCE };
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr) != 0) fatal("connect");
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0) fatal("SO_RCVTIMEO");
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0) fatal("SO_SNDTIMEO");
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) fatal("TCP_NODELAY");
    return fd;
}

/* -- talking to them --------------------------------------------------------------------------------------- */

static bool send_all(int fd, const void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = send(fd, (const char *)data + done, size - done, MSG_NOSIGNAL);
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

static bool send_text(int fd, const char *data) { return send_all(fd, data, strlen(data)); }

/* Returns how many bytes came before the end, or before patience was over. */
static size_t receive(int fd, char *out, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = recv(fd, out + done, size - done, 0);
        if (n <= 0) break;
        done += (size_t)n;
    }
    return done;
}

/* Whether the server has closed the connection: by an end, or by a reset when it had not read everything. */
static bool at_end(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, 0);
    return n == 0 || (n < 0 && errno == ECONNRESET);
}

static bool expect_bytes(int fd, const void *wanted, size_t size)
{
    char *got = malloc(size + 1);
    if (got == NULL) fatal("malloc");
    size_t n = receive(fd, got, size);
    bool good = n == size && memcmp(got, wanted, size) == 0;
    if (!good && size < 200)
        printf("     wanted: %.*s\n     got:    %.*s\n", (int)size, (const char *)wanted, (int)n, got);
    free(got);
    return good;
}

static bool expect(int fd, const char *wanted) { return expect_bytes(fd, wanted, strlen(wanted)); }

typedef struct text {
    char *data;
    size_t size, cap;
} text;

static void add(text *t, const void *data, size_t size)
{
    if (t->size + size > t->cap) {
        t->cap = (t->size + size) * 2;
        t->data = realloc(t->data, t->cap);
        if (t->data == NULL) fatal("realloc");
    }
    memcpy(t->data + t->size, data, size);
    t->size += size;
}

static void addf(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void addf(text *t, const char *format, ...)
{
    char line[500];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n > 0) add(t, line, (size_t)n);
}

/* A command as an array of bulks, from words separated by single spaces. */
static void add_command(text *t, const char *words)
{
    int count = 1;
    for (const char *p = words; *p != '\0'; p++) count += *p == ' ';
    addf(t, "*%d\r\n", count);
    for (const char *p = words; count > 0; count--) {
        size_t n = strcspn(p, " ");
        addf(t, "$%zu\r\n", n);
        add(t, p, n);
        add(t, "\r\n", 2);
        p += n + 1;
    }
}

static bool send_command(int fd, const char *words)
{
    text t = { 0 };
    add_command(&t, words);
    bool sent = send_all(fd, t.data, t.size);
    free(t.data);
    return sent;
}

static bool quietly(int fd, const char *words, const char *reply)
{
    return send_command(fd, words) && expect(fd, reply);
}

/* One command, one exact reply, one check. */
static void ask(int fd, const char *words, const char *reply)
{
    check(quietly(fd, words, reply), "%s", words);
}

/* The number in a ":n" reply; -1000 when there is none. */
static long ask_number(int fd, const char *words)
{
    char line[40];
    size_t n = 0;
    if (!send_command(fd, words)) return -1000;
    while (n + 1 < sizeof line && receive(fd, line + n, 1) == 1 && line[n] != '\n') n++;
    line[n] = '\0';
    return line[0] == ':' ? atol(line + 1) : -1000;
}

/* A bulk reply, to be freed; NULL when there is none. */
static char *ask_bulk(int fd, const char *words)
{
    char line[40];
    size_t n = 0;
    if (!send_command(fd, words)) return NULL;
    while (n + 1 < sizeof line && receive(fd, line + n, 1) == 1 && line[n] != '\n') n++;
    line[n] = '\0';
    if (line[0] != '$' || atol(line + 1) < 0) return NULL;
    size_t size = (size_t)atol(line + 1);
    char *data = malloc(size + 3);
    if (data == NULL) fatal("malloc");
    if (receive(fd, data, size + 2) != size + 2) size = 0;
    data[size] = '\0';
    return data;
}

/* Asks again until the reply is this number, as long as patience lasts. */
static bool becomes(int fd, const char *words, long wanted)
{
    time_t end = time(NULL) + PATIENCE;
    while (ask_number(fd, words) != wanted)
        if (time(NULL) > end) return false;
    return true;
}

/* -- the checks ------------------------------------------------------------------------------------------ */

static const char not_int[] = "-ERR value is not an integer or out of range\r\n";
static const char syntax[] = "-ERR syntax error\r\n";

static void test_commands(int fd)
{
    ask(fd, "PING", "+PONG\r\n");
    ask(fd, "ping hello", "$5\r\nhello\r\n");
    ask(fd, "PING a b", "-ERR wrong number of arguments for 'ping' command\r\n");
    ask(fd, "ECHO hello", "$5\r\nhello\r\n");
    ask(fd, "ECHO", "-ERR wrong number of arguments for 'echo' command\r\n");
    ask(fd, "FLUSHALL", "+OK\r\n");
    ask(fd, "GET nothing", "$-1\r\n");
    ask(fd, "SET a 1", "+OK\r\n");
    ask(fd, "GET a", "$1\r\n1\r\n");
    ask(fd, "gEt a", "$1\r\n1\r\n");
    ask(fd, "GET", "-ERR wrong number of arguments for 'get' command\r\n");
    ask(fd, "GET a b", "-ERR wrong number of arguments for 'get' command\r\n");
    ask(fd, "NOSUCH a b", "-ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' \r\n");
    ask(fd, "AVERYLONGCOMMANDNAME", "-ERR unknown command 'AVERYLONGCOMMANDNAME', with args beginning with: \r\n");
    ask(fd, "SET a 2 NX", "$-1\r\n");
    ask(fd, "GET a", "$1\r\n1\r\n");
    ask(fd, "SET a 2 XX", "+OK\r\n");
    ask(fd, "SET b 2 XX", "$-1\r\n");
    ask(fd, "SET b 3 NX", "+OK\r\n");
    ask(fd, "SET b 4 NX XX", syntax);
    ask(fd, "SET b 4 WHAT", syntax);
    ask(fd, "SET b 4 EX", syntax);
    ask(fd, "SET b 4 EX 5 PX 5", syntax);
    ask(fd, "SET b 4 EX 5 KEEPTTL", syntax);
    ask(fd, "SET b 4 EX x", not_int);
    ask(fd, "SET b 4 EX 0", "-ERR invalid expire time in 'set' command\r\n");
    ask(fd, "SET b 4 PX -1", "-ERR invalid expire time in 'set' command\r\n");
    ask(fd, "SET b 4 EX 9223372036854775807", "-ERR invalid expire time in 'set' command\r\n");
    ask(fd, "SET b 5 GET", "$1\r\n3\r\n");
    ask(fd, "SET new 1 GET", "$-1\r\n");
    ask(fd, "SET new 2 NX GET", "$1\r\n1\r\n");
    ask(fd, "GETSET b 6", "$1\r\n5\r\n");
    ask(fd, "GETDEL b", "$1\r\n6\r\n");
    ask(fd, "GETDEL b", "$-1\r\n");
    ask(fd, "SETNX b 7", ":1\r\n");
    ask(fd, "SETNX b 8", ":0\r\n");
    ask(fd, "GET b", "$1\r\n7\r\n");
    ask(fd, "DEL a b new nothing a", ":3\r\n");
    ask(fd, "DEL", "-ERR wrong number of arguments for 'del' command\r\n");
    ask(fd, "MSET a 1 b 2 c 3", "+OK\r\n");
    ask(fd, "MSET a 1 b", "-ERR wrong number of arguments for 'mset' command\r\n");
    ask(fd, "MGET a nothing c b a", "*5\r\n$1\r\n1\r\n$-1\r\n$1\r\n3\r\n$1\r\n2\r\n$1\r\n1\r\n");
    ask(fd, "EXISTS a b c nothing a", ":4\r\n");
    ask(fd, "DBSIZE", ":3\r\n");
    ask(fd, "TYPE a", "+string\r\n");
    ask(fd, "TYPE nothing", "+none\r\n");
    ask(fd, "FLUSHDB", "+OK\r\n");
    ask(fd, "DBSIZE", ":0\r\n");
    ask(fd, "FLUSHALL ASYNC", "+OK\r\n");
    ask(fd, "FLUSHALL SOMETIMES", syntax);
}

static void test_numbers(int fd)
{
    ask(fd, "INCR n", ":1\r\n");
    ask(fd, "INCRBY n 41", ":42\r\n");
    ask(fd, "DECR n", ":41\r\n");
    ask(fd, "DECRBY n 50", ":-9\r\n");
    ask(fd, "GET n", "$2\r\n-9\r\n");
    ask(fd, "INCRBY n x", not_int);
    ask(fd, "INCRBY n 1.5", not_int);
    ask(fd, "INCRBY n 9223372036854775808", not_int);
    ask(fd, "INCRBY n 01", not_int);
    ask(fd, "INCRBY n +1", not_int);
    ask(fd, "SET n 9223372036854775807", "+OK\r\n");
    ask(fd, "INCR n", "-ERR increment or decrement would overflow\r\n");
    ask(fd, "GET n", "$19\r\n9223372036854775807\r\n");
    ask(fd, "SET n -9223372036854775808", "+OK\r\n");
    ask(fd, "DECR n", "-ERR increment or decrement would overflow\r\n");
    ask(fd, "DECRBY n -9223372036854775808", "-ERR decrement would overflow\r\n");
    ask(fd, "INCRBY n 0", ":-9223372036854775808\r\n");
    ask(fd, "SET n words", "+OK\r\n");
    ask(fd, "INCR n", not_int);
    ask(fd, "SET n -0", "+OK\r\n");
    ask(fd, "INCR n", not_int);
    ask(fd, "APPEND s Hello", ":5\r\n");
    ask(fd, "APPEND s World", ":10\r\n");
    ask(fd, "GET s", "$10\r\nHelloWorld\r\n");
    ask(fd, "STRLEN s", ":10\r\n");
    ask(fd, "STRLEN nothing", ":0\r\n");
    ask(fd, "SET s short", "+OK\r\n");
    ask(fd, "GET s", "$5\r\nshort\r\n");
}

static void test_expiry(int fd)
{
    ask(fd, "FLUSHALL", "+OK\r\n");
    ask(fd, "TTL nothing", ":-2\r\n");
    ask(fd, "PTTL nothing", ":-2\r\n");
    ask(fd, "SET a 1", "+OK\r\n");
    ask(fd, "TTL a", ":-1\r\n");
    ask(fd, "EXPIRE a 100", ":1\r\n");
    ask(fd, "TTL a", ":100\r\n");
    ask(fd, "EXPIRE nothing 100", ":0\r\n");
    ask(fd, "EXPIRE a x", not_int);
    ask(fd, "EXPIRE a 9223372036854775807", "-ERR invalid expire time in 'expire' command\r\n");
    ask(fd, "PERSIST a", ":1\r\n");
    ask(fd, "PERSIST a", ":0\r\n");
    ask(fd, "PTTL a", ":-1\r\n");
    ask(fd, "PEXPIRE a 50000", ":1\r\n");
    ask(fd, "TTL a", ":50\r\n");
    long left = ask_number(fd, "PTTL a");
    check(left > 40000 && left <= 50000, "PTTL tells milliseconds: %ld", left);
    ask(fd, "INCR a", ":2\r\n");
    ask(fd, "APPEND a 2", ":2\r\n");
    ask(fd, "TTL a", ":50\r\n");
    ask(fd, "SET a 3 KEEPTTL", "+OK\r\n");
    ask(fd, "TTL a", ":50\r\n");
    ask(fd, "SET a 3", "+OK\r\n");
    ask(fd, "TTL a", ":-1\r\n");
    ask(fd, "SETEX a 60 1", "+OK\r\n");
    ask(fd, "TTL a", ":60\r\n");
    ask(fd, "PSETEX a 70000 1", "+OK\r\n");
    ask(fd, "TTL a", ":70\r\n");
    ask(fd, "SETEX a 0 1", "-ERR invalid expire time in 'setex' command\r\n");
    ask(fd, "EXPIRE a -1", ":1\r\n");
    ask(fd, "EXISTS a", ":0\r\n");

    /* Keys vanish at their time: when somebody looks, … */
    ask(fd, "SET stays 1", "+OK\r\n");
    ask(fd, "SET goes 1 PX 30", "+OK\r\n");
    check(becomes(fd, "EXISTS goes", 0), "a key with PX 30 is gone after a while");
    ask(fd, "GET goes", "$-1\r\n");
    ask(fd, "TTL goes", ":-2\r\n");
    /* … and when nobody does: DBSIZE does not look at keys. Later deadlines first, so that timers must be moved. */
    text t = { 0 };
    for (int i = 100; i > 0; i--) {
        char command[60];
        snprintf(command, sizeof command, "SET timed:%d x PX %d", i, i * 2);
        add_command(&t, command);
    }
    check(send_all(fd, t.data, t.size), "100 keys with deadlines");
    t.size = 0;
    for (int i = 0; i < 100; i++) addf(&t, "+OK\r\n");
    check(expect_bytes(fd, t.data, t.size), "100 keys with deadlines are set");
    free(t.data);
    check(becomes(fd, "DBSIZE", 1), "timers delete what nobody looks at");
    ask(fd, "GET stays", "$1\r\n1\r\n");
    ask(fd, "KEYS *", "*1\r\n$5\r\nstays\r\n");
    /* A deadline that is taken back does not strike. */
    ask(fd, "SET kept 1 PX 20", "+OK\r\n");
    ask(fd, "PERSIST kept", ":1\r\n");
    ask(fd, "SET goes 1 PX 40", "+OK\r\n");
    check(becomes(fd, "EXISTS goes", 0), "a later key is gone");
    ask(fd, "GET kept", "$1\r\n1\r\n");
}

static void test_server_commands(int fd, const server *s)
{
    char line[100];
    ask(fd, "SELECT 0", "+OK\r\n");
    ask(fd, "SELECT 1", "-ERR DB index is out of range\r\n");
    ask(fd, "SELECT x", not_int);
    ask(fd, "CONFIG GET save", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n");
    ask(fd, "CONFIG GET appendonly", "*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n");
    ask(fd, "CONFIG GET nothing", "*0\r\n");
    snprintf(line, sizeof line, "*2\r\n$4\r\nport\r\n$%d\r\n%d\r\n", s->port > 9999 ? 5 : 4, s->port);
    ask(fd, "CONFIG GET p?rt", line);
    ask(fd, "CONFIG SET save x", "-ERR unknown subcommand 'SET'. Try CONFIG HELP.\r\n");
    ask(fd, "HELLO 3", "-NOPROTO unsupported protocol version\r\n");
    ask(fd, "CLIENT GETNAME", "$-1\r\n");
    ask(fd, "CLIENT SETNAME tester", "+OK\r\n");
    ask(fd, "CLIENT GETNAME", "$6\r\ntester\r\n");
    ask(fd, "CLIENT SETINFO LIB-NAME x", "+OK\r\n");
    check(ask_number(fd, "CLIENT ID") > 0, "CLIENT ID");
    char *list = ask_bulk(fd, "CLIENT LIST");
    bool good = list != NULL && strstr(list, "name=tester") != NULL && strstr(list, "addr=127.0.0.1:") != NULL;
    check(good, "CLIENT LIST");
    free(list);
    char *info = ask_bulk(fd, "INFO");
    check(info != NULL && strstr(info, "redis_version:") != NULL && strstr(info, "connected_clients:") != NULL, "INFO");
    check(info != NULL && strstr(info, "db0:keys=2,expires=0") != NULL, "INFO tells the keys");
    free(info);
    check(ask_number(fd, "COMMAND COUNT") > 30, "COMMAND COUNT");
    ask(fd, "COMMAND DOCS", "*0\r\n");
    ask(fd, "COMMAND INFO get nosuch", "*2\r\n*6\r\n$3\r\nget\r\n:2\r\n*1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n*-1\r\n");
    ask(fd, "DEBUG NOTHING", "-ERR unknown subcommand 'NOTHING'. Try DEBUG HELP.\r\n");
    ask(fd, "DEBUG SLEEP 0.01", "+OK\r\n");
}

/* Bytes in, bytes out, on a connection of its own. */
#define RAW(s, name, in, out) raw((s), (name), "" in, sizeof(in) - 1, "" out, sizeof(out) - 1)
static void raw(const server *s, const char *name, const char *in, size_t in_size, const char *out, size_t out_size)
{
    int fd = connect_to(s);
    check(send_all(fd, in, in_size) && expect_bytes(fd, out, out_size) && quietly(fd, "PING", "+PONG\r\n"), "%s", name);
    close(fd);
}

static void test_inline(const server *s)
{
    RAW(s, "inline PING", "PING\r\n", "+PONG\r\n");
    RAW(s, "inline with a bare line feed", "PING\n", "+PONG\r\n");
    RAW(s, "inline SET and GET", "SET inl word\r\nGET inl\r\n", "+OK\r\n$4\r\nword\r\n");
    RAW(s, "inline with spaces", "   ECHO \t  x   \r\n", "$1\r\nx\r\n");
    RAW(s, "empty lines are nothing", "\r\n\r\n\nPING\r\n", "+PONG\r\n");
    RAW(s, "double quotes", "ECHO \"a b\\n\\x41\\\"\"\r\n", "$6\r\na b\nA\"\r\n");
    RAW(s, "single quotes", "ECHO 'a \\' \"b'\r\n", "$6\r\na ' \"b\r\n");
    RAW(s, "an empty word", "ECHO \"\"\r\n", "$0\r\n\r\n");
    RAW(s, "inline and arrays mixed", "PING\r\n*1\r\n$4\r\nPING\r\nECHO z\r\n", "+PONG\r\n+PONG\r\n$1\r\nz\r\n");
    RAW(s, "an array of nothing is nothing", "*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n", "+PONG\r\n");
    RAW(s, "an empty bulk", "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", "$0\r\n\r\n");
}

#define BAD(s, in, out) bad((s), "" in, sizeof(in) - 1, (out))
static void bad(const server *s, const char *in, size_t size, const char *out)
{
    int fd = connect_to(s);
    check(send_all(fd, in, size) && expect(fd, out) && at_end(fd), "malformed: %.60s", in);
    close(fd);
}

static void test_malformed(const server *s, int witness)
{
    BAD(s, "*x\r\n", "-ERR Protocol error: invalid multibulk length\r\n");
    BAD(s, "*\r\n", "-ERR Protocol error: invalid multibulk length\r\n");
    BAD(s, "*1048577\r\n", "-ERR Protocol error: invalid multibulk length\r\n");
    BAD(s, "*99999999999999999999\r\n", "-ERR Protocol error: invalid multibulk length\r\n");
    BAD(s, "*1\n", "-ERR Protocol error: invalid multibulk length\r\n");
    BAD(s, "*1\r\n:4\r\n", "-ERR Protocol error: expected '$', got ':'\r\n");
    BAD(s, "*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length\r\n");
    BAD(s, "*1\r\n$x\r\n", "-ERR Protocol error: invalid bulk length\r\n");
    BAD(s, "*1\r\n$536870913\r\n", "-ERR Protocol error: invalid bulk length\r\n");
    BAD(s, "*1\r\n$99999999999999999999999999999999999999\r\n", "-ERR Protocol error: invalid bulk length\r\n");
    BAD(s, "*1\r\n$4\r\nPINGxx\r\n", "-ERR Protocol error: expected a line break behind the bulk\r\n");
    BAD(s, "PING \"x\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n");
    BAD(s, "PING 'x'y\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n");
    BAD(s, "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n*?\r\nPING\r\n",
        "+PONG\r\n+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n");
    int fd = connect_to(s);
    text t = { 0 };
    for (int i = 0; i < 7000; i++) addf(&t, "0123456789");
    check(send_all(fd, t.data, t.size) && expect(fd, "-ERR Protocol error: too big inline request\r\n") && at_end(fd),
        "malformed: a line without an end");
    close(fd);
    /* Bytes without sense: any answer will do, but the server goes on. The same bytes in each run. */
    uint32_t x = 12345;
    for (int round = 0; round < 50; round++) {
        t.size = 0;
        if (round % 2 == 0) addf(&t, "*3\r\n$3\r\nSET\r\n$1\r\n");
        for (int i = 0; i < 300; i++) {
            x = x * 1103515245 + 12345;
            char byte = (char)(x >> 16);
            add(&t, &byte, 1);
        }
        fd = connect_to(s);
        if (!send_all(fd, t.data, t.size)) printf("     closed early, which is fine\n");
        if (shutdown(fd, SHUT_WR) != 0 && errno != ENOTCONN) fatal("shutdown");
        char sink[4096];
        while (recv(fd, sink, sizeof sink, 0) > 0) continue;
        close(fd);
    }
    free(t.data);
    check(quietly(witness, "PING", "+PONG\r\n"), "after all that, others are served");
}

static void test_promises(const server *s, int witness)
{
    /* Large promises that are not kept cost nothing. */
    int fds[20];
    for (int i = 0; i < 20; i++) {
        fds[i] = connect_to(s);
        if (!send_text(fds[i], "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$536870912\r\nabc")) fatal("send");
    }
    check(quietly(witness, "PING", "+PONG\r\n"), "20 clients promise 512 MB each");
    for (int i = 0; i < 20; i++) close(fds[i]);
    int fd = connect_to(s);
    check(send_text(fd, "*1000000\r\n$4\r\nMGET\r\n") && quietly(witness, "PING", "+PONG\r\n"),
        "a promise of 1,000,000 keys");
    close(fd);
    ask(witness, "EXISTS key", ":0\r\n");
}

static void test_pipelines(const server *s)
{
    int fd = connect_to(s);
    text in = { 0 }, out = { 0 };
    for (int i = 1; i <= 3000; i++) {
        char command[60];
        snprintf(command, sizeof command, "SET p:%d v%d", i % 97, i);
        add_command(&in, command);
        snprintf(command, sizeof command, "GET p:%d", i % 97);
        add_command(&in, command);
        add_command(&in, "INCR pipelined");
        add_command(&in, i % 10 == 0 ? "NOSUCH" : "PING");
        char value[20];
        snprintf(value, sizeof value, "v%d", i);
        addf(&out, "+OK\r\n$%zu\r\n%s\r\n:%d\r\n", strlen(value), value, i);
        addf(&out, i % 10 == 0 ? "-ERR unknown command 'NOSUCH', with args beginning with: \r\n" : "+PONG\r\n");
    }
    bool in_order = send_all(fd, in.data, in.size) && expect_bytes(fd, out.data, out.size);
    check(in_order, "12,000 commands at once, replies in order");
    in.size = out.size = 0;
    add_command(&in, "MSET x 1 y 2 z 3");
    add_command(&in, "MGET x y z");
    add_command(&in, "DEL x z");
    add_command(&in, "EXISTS x y z");
    add_command(&in, "MGET x y z");
    add_command(&in, "FLUSHALL");
    add_command(&in, "DBSIZE");
    add_command(&in, "SET x 9");
    add_command(&in, "DBSIZE");
    add_command(&in, "KEYS *");
    check(send_all(fd, in.data, in.size) &&
              expect(fd, "+OK\r\n*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n:2\r\n:1\r\n*3\r\n$-1\r\n$1\r\n2\r\n$-1\r\n"
                         "+OK\r\n:0\r\n+OK\r\n:1\r\n*1\r\n$1\r\nx\r\n"),
        "commands on many keys in a pipeline take effect in order");
    /* One write after the other byte by byte, and in pieces of every size. */
    in.size = out.size = 0;
    add_command(&in, "SET slow 12345");
    add(&in, "ECHO inline\r\n", 13);
    add_command(&in, "GET slow");
    const char *wanted = "+OK\r\n$6\r\ninline\r\n$5\r\n12345\r\n";
    for (size_t piece = 1; piece < in.size; piece += piece < 4 ? 1 : 7) {
        bool good = true;
        for (size_t at = 0; at < in.size && good; at += piece)
            good = send_all(fd, in.data + at, in.size - at < piece ? in.size - at : piece);
        check(good && expect(fd, wanted), "in pieces of %zu bytes", piece);
    }
    /* The second part of a command when the server has seen the first one: others are served meanwhile. */
    int other = connect_to(s);
    check(send_text(fd, "*2\r\n$4\r\nEC") && quietly(other, "PING", "+PONG\r\n") && send_text(fd, "HO\r\n$1\r\nx\r") &&
              quietly(other, "PING", "+PONG\r\n") && send_text(fd, "\n") && expect(fd, "$1\r\nx\r\n"),
        "a command in three parts");
    close(other);
    close(fd);
    free(in.data);
    free(out.data);
}

static void test_binary(int fd)
{
    char all[256];
    text in = { 0 }, out = { 0 };
    for (int i = 0; i < 256; i++) all[i] = (char)i;
    addf(&in, "*3\r\n$3\r\nSET\r\n$256\r\n");
    add(&in, all, 256);
    addf(&in, "\r\n$256\r\n");
    add(&in, all, 256);
    addf(&in, "\r\n*2\r\n$3\r\nGET\r\n$256\r\n");
    add(&in, all, 256);
    addf(&in, "\r\n*2\r\n$4\r\nECHO\r\n$256\r\n");
    add(&in, all, 256);
    addf(&in, "\r\n");
    addf(&out, "+OK\r\n");
    for (int i = 0; i < 2; i++) {
        addf(&out, "$256\r\n");
        add(&out, all, 256);
        addf(&out, "\r\n");
    }
    check(send_all(fd, in.data, in.size) && expect_bytes(fd, out.data, out.size), "all bytes in keys and values");
    check(send_text(fd, "*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n") && expect(fd, "$-1\r\n"), "a line break in a key");
    check(send_text(fd, "*3\r\n$3\r\nSET\r\n$0\r\n\r\n$0\r\n\r\n") && expect(fd, "+OK\r\n"), "an empty key and value");
    check(send_text(fd, "*2\r\n$3\r\nGET\r\n$0\r\n\r\n") && expect(fd, "$0\r\n\r\n"), "an empty key is found");
    check(send_text(fd, "*2\r\n$2\r\nx\n\r\n$1\r\ny\r\n") &&
              expect(fd, "-ERR unknown command 'x ', with args beginning with: 'y' \r\n"),
        "an error is one line, whatever was sent");
    free(in.data);
    free(out.data);
}

/* A thread that sends while the other side reads. */
typedef struct sender {
    int fd;
    const text *t;
    bool sent;
} sender;

static void *send_in_thread(void *arg)
{
    sender *s = arg;
    s->sent = send_all(s->fd, s->t->data, s->t->size);
    return NULL;
}

static void test_large(const server *s)
{
    int fd = connect_to(s);
    text value = { 0 }, in = { 0 }, out = { 0 };
    for (size_t size = 10000; size <= 10000000; size *= 10) {
        value.size = in.size = out.size = 0;
        while (value.size < size) addf(&value, "%zu,", value.size * 7919);
        value.size = size;
        addf(&in, "*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n$%zu\r\n", size);
        add(&in, value.data, size);
        addf(&in, "\r\n");
        add_command(&in, "GET large");
        addf(&out, "+OK\r\n$%zu\r\n", size);
        add(&out, value.data, size);
        addf(&out, "\r\n");
        check(send_all(fd, in.data, in.size) && expect_bytes(fd, out.data, out.size), "a value of %zu bytes", size);
    }
    ask(fd, "STRLEN large", ":10000000\r\n");
    ask(fd, "APPEND large x", ":10000001\r\n");
    ask(fd, "DEL large", ":1\r\n");
    /* A client that sends 300 requests for 100,000 bytes each before it reads. */
    in.size = out.size = 0;
    addf(&in, "*3\r\n$3\r\nSET\r\n$1\r\nm\r\n$100000\r\n");
    add(&in, value.data, 100000);
    addf(&in, "\r\n");
    addf(&out, "+OK\r\n");
    for (int i = 0; i < 300; i++) {
        add_command(&in, "GET m");
        addf(&out, "$100000\r\n");
        add(&out, value.data, 100000);
        addf(&out, "\r\n");
    }
    bool late = send_all(fd, in.data, in.size) && expect_bytes(fd, out.data, out.size);
    check(late, "30 MB of replies to a client that reads late");
    /* Many keys in one command, more than fit into any first buffer. */
    in.size = out.size = 0;
    addf(&in, "*40001\r\n$4\r\nMSET\r\n");
    for (int i = 0; i < 20000; i++) addf(&in, "$9\r\nmk:%06d\r\n$6\r\n%06d\r\n", i, i);
    addf(&in, "*20001\r\n$4\r\nMGET\r\n");
    for (int i = 0; i < 20000; i++) addf(&in, "$9\r\nmk:%06d\r\n", i);
    addf(&in, "*20001\r\n$3\r\nDEL\r\n");
    for (int i = 0; i < 20000; i++) addf(&in, "$9\r\nmk:%06d\r\n", i);
    addf(&out, "+OK\r\n*20000\r\n");
    for (int i = 0; i < 20000; i++) addf(&out, "$6\r\n%06d\r\n", i);
    addf(&out, ":20000\r\n");
    sender job = { fd, &in, false };
    pthread_t thread;
    if (pthread_create(&thread, NULL, send_in_thread, &job) != 0) fatal("pthread_create");
    bool good = expect_bytes(fd, out.data, out.size);
    pthread_join(thread, NULL);
    check(good && job.sent, "MSET, MGET and DEL of 20,000 keys");
    close(fd);
    free(value.data);
    free(in.data);
    free(out.data);
}

/* Walks with SCAN; counts how often each of scan:0 … scan:999 is seen. Returns how many keys came; -1: failure. */
static int scan(int fd, const char *options, int *seen)
{
    char cursor[32] = "0", command[100], line[200];
    int keys = 0, rounds = 0;
    do {
        snprintf(command, sizeof command, "SCAN %s%s", cursor, options);
        if (!send_command(fd, command) || ++rounds > 5000) return -1;
        /* *2, $n, the cursor, *count, then pairs of lines */
        int left = 4;
        for (int i = 0; i < left; i++) {
            size_t n = 0;
            while (n + 1 < sizeof line && receive(fd, line + n, 1) == 1 && line[n] != '\n') n++;
            if (n == 0 || line[n - 1] != '\r') return -1;
            line[n - 1] = '\0';
            if (i == 0 && strcmp(line, "*2") != 0) return -1;
            if (i == 2) snprintf(cursor, sizeof cursor, "%.31s", line);
            if (i == 3) left += 2 * atoi(line + 1);
            if (i < 4 || i % 2 == 0) continue;
            keys++;
            int number = strncmp(line, "scan:", 5) == 0 ? atoi(line + 5) : -1;
            if (number >= 0 && number < 1000) seen[number]++;
        }
    } while (strcmp(cursor, "0") != 0);
    return keys;
}

static void test_scan(int fd)
{
    int seen[1000];
    text in = { 0 };
    ask(fd, "FLUSHALL", "+OK\r\n");
    memset(seen, 0, sizeof seen);
    check(scan(fd, "", seen) == 0, "SCAN of nothing");
    for (int i = 0; i < 1000; i++) {
        char command[60];
        snprintf(command, sizeof command, "SET scan:%d %d", i, i);
        add_command(&in, command);
    }
    bool good = send_all(fd, in.data, in.size);
    for (int i = 0; i < 1000 && good; i++) good = expect(fd, "+OK\r\n");
    check(good && ask_number(fd, "DBSIZE") == 1000, "1,000 keys");
    static const char *const options[] = {
        "",
        " COUNT 1",
        " COUNT 100",
        " COUNT 100000",
        " MATCH scan:*",
        " TYPE string",
    };
    for (size_t o = 0; o < sizeof options / sizeof options[0]; o++) {
        memset(seen, 0, sizeof seen);
        int keys = scan(fd, options[o], seen), missing = 0;
        for (int i = 0; i < 1000; i++) missing += seen[i] != 1;
        check(keys == 1000 && missing == 0, "SCAN%s sees each of 1,000 keys once", options[o]);
    }
    memset(seen, 0, sizeof seen);
    check(scan(fd, " MATCH scan:99?", seen) == 10 && seen[990] == 1 && seen[999] == 1, "SCAN MATCH scan:99?");
    check(scan(fd, " MATCH nothing*", seen) == 0, "SCAN MATCH of nothing");
    check(scan(fd, " TYPE list", seen) == 0, "SCAN TYPE of nothing");
    ask(fd, "SCAN x", "-ERR invalid cursor\r\n");
    ask(fd, "SCAN -1", "-ERR invalid cursor\r\n");
    ask(fd, "SCAN 0 COUNT 0", syntax);
    ask(fd, "SCAN 0 COUNT", syntax);
    ask(fd, "SCAN 0 COUNT x", not_int);
    check(send_command(fd, "SCAN 9223372036854775807") && expect(fd, "*2\r\n"), "a cursor from nowhere");
    char sink[4096];
    for (size_t n = 0; n < 3 || memcmp(sink + n - 3, "E\r\n", 3) != 0; n++) {    /* up to the end of the next reply */
        if (n == 0 && !send_command(fd, "ECHO E")) break;
        if (n == sizeof sink || receive(fd, sink + n, 1) != 1) break;
    }
    /* Keys that are there from the begin to the end are seen, though the table grows and shrinks between. */
    memset(seen, 0, sizeof seen);
    char cursor[32] = "0", command[100], line[200];
    int rounds = 0;
    do {
        snprintf(command, sizeof command, "SCAN %s COUNT 20", cursor);
        good = send_command(fd, command);
        int left = 4;
        for (int i = 0; i < left && good; i++) {
            size_t n = 0;
            while (n + 1 < sizeof line && receive(fd, line + n, 1) == 1 && line[n] != '\n') n++;
            good = n > 0;
            line[n == 0 ? 0 : n - 1] = '\0';
            if (i == 2) snprintf(cursor, sizeof cursor, "%.31s", line);
            if (i == 3) left += 2 * atoi(line + 1);
            if (i < 4 || i % 2 == 0 || strncmp(line, "scan:", 5) != 0) continue;
            seen[atoi(line + 5)]++;
        }
        in.size = 0;
        for (int i = 0; i < 300; i++) {
            snprintf(command, sizeof command, rounds < 20 ? "SET other:%d x" : "DEL other:%d", rounds % 20 * 300 + i);
            add_command(&in, command);
        }
        good = good && send_all(fd, in.data, in.size);
        const char *wanted = ":0\r\n";
        if (rounds < 40) wanted = ":1\r\n";
        if (rounds < 20) wanted = "+OK\r\n";
        for (int i = 0; i < 300 && good; i++) good = expect(fd, wanted);
    } while (good && strcmp(cursor, "0") != 0 && ++rounds < 2000);
    int missing = 0;
    for (int i = 0; i < 1000; i++) missing += seen[i] == 0;
    check(good && missing == 0, "SCAN misses none of 1,000 keys while others come and go (%d missing)", missing);
    ask(fd, "FLUSHALL", "+OK\r\n");
    ask(fd, "MSET h[a]llo 1 hello 2 hallo 3 hxllo 4 hllo 5", "+OK\r\n");
    ask(fd, "KEYS h\\[a]llo", "*1\r\n$7\r\nh[a]llo\r\n");
    ask(fd, "KEYS h[e]llo", "*1\r\n$5\r\nhello\r\n");
    ask(fd, "KEYS h[b-f]llo", "*1\r\n$5\r\nhello\r\n");
    ask(fd, "KEYS h[^ae]llo", "*1\r\n$5\r\nhxllo\r\n");
    ask(fd, "KEYS *xl*o", "*1\r\n$5\r\nhxllo\r\n");
    ask(fd, "KEYS h???o", "*3\r\n");
    char rest[40];
    check(receive(fd, rest, 33) == 33, "KEYS h???o finds three");
    ask(fd, "KEYS **a**a**a**a**a**a**a**a**a**b", "*0\r\n");
    free(in.data);
}

/* -- many at once ---------------------------------------------------------------------------------------- */

typedef struct worker {
    pthread_t thread;
    const server *s;
    int number;
    bool good;
} worker;

static void *worker_run(void *arg)
{
    worker *w = arg;
    int fd = connect_to(w->s);
    char command[100], reply[100], value[40];
    w->good = true;
    for (int i = 0; i < 200 && w->good; i++) {
        snprintf(value, sizeof value, "%d-%d", w->number, i);
        snprintf(command, sizeof command, "SET worker:%d %s", w->number, value);
        snprintf(reply, sizeof reply, "$%zu\r\n%s\r\n", strlen(value), value);
        w->good = quietly(fd, command, "+OK\r\n");
        snprintf(command, sizeof command, "GET worker:%d", w->number);
        w->good = w->good && quietly(fd, command, reply);
        w->good = w->good && ask_number(fd, "INCR all-workers") > 0;
    }
    close(fd);
    return NULL;
}

static void test_parallel(const server *s, int fd)
{
    static worker workers[50];
    bool good = true;
    ask(fd, "DEL all-workers", ":0\r\n");
    for (int i = 0; i < 50; i++) {
        workers[i] = (worker){ .s = s, .number = i };
        if (pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]) != 0) fatal("pthread_create");
    }
    for (int i = 0; i < 50; i++) {
        pthread_join(workers[i].thread, NULL);
        good = good && workers[i].good;
    }
    check(good, "50 connections at a time, each reads what it wrote");
    ask(fd, "GET all-workers", "$5\r\n10000\r\n");
}

static int count_clients(int fd)
{
    char *list = ask_bulk(fd, "CLIENT LIST");
    int n = 0;
    for (const char *p = list; p != NULL && *p != '\0'; p++) n += *p == '\n';
    free(list);
    return n;
}

static bool clients_become(int fd, int wanted)
{
    time_t end = time(NULL) + PATIENCE;
    while (count_clients(fd) != wanted)
        if (time(NULL) > end) return false;
    return true;
}

static void test_ends(const server *s, int witness)
{
    check(clients_become(witness, 1), "the server notices that clients have gone");
    int fd = connect_to(s);
    check(quietly(fd, "QUIT", "+OK\r\n") && at_end(fd), "QUIT");
    close(fd);
    fd = connect_to(s);
    check(send_text(fd, "PING\r\nQUIT\r\nSET after quit\r\n") && expect(fd, "+PONG\r\n+OK\r\n") && at_end(fd),
        "nothing is done after QUIT");
    close(fd);
    ask(witness, "EXISTS after", ":0\r\n");
    fd = connect_to(s);
    check(send_text(fd, "SET half 1\r\n*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$1") && shutdown(fd, SHUT_WR) == 0 &&
              expect(fd, "+OK\r\n") && at_end(fd),
        "an end in the middle of a command");
    close(fd);
    ask(witness, "GET half", "$1\r\n1\r\n");
    for (int i = 0; i < 50; i++) {              /* gone before the answers are written */
        fd = connect_to(s);
        text t = { 0 };
        for (int k = 0; k < 200; k++) add_command(&t, "GET half");
        if (!send_all(fd, t.data, t.size)) fatal("send");
        struct linger reset = { .l_onoff = 1 };
        if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) != 0) fatal("SO_LINGER");
        close(fd);
        free(t.data);
    }
    check(clients_become(witness, 1) && quietly(witness, "PING", "+PONG\r\n"), "50 connections reset by their clients");
}

static void test_crash(const server *s, int witness)
{
    int others[10];
    for (int i = 0; i < 10; i++) {
        others[i] = connect_to(s);
        if (!quietly(others[i], "SET alive yes", "+OK\r\n")) fatal("SET");
    }
    for (int round = 0; round < 5; round++) {
        int fd = connect_to(s);
        check(quietly(fd, "PING", "+PONG\r\n") && send_command(fd, "DEBUG SEGFAULT") && at_end(fd),
            "a connection that crashes is closed, crash %d", round + 1);
        close(fd);
    }
    bool good = true;
    for (int i = 0; i < 10; i++) good = quietly(others[i], "GET alive", "$3\r\nyes\r\n") && good;
    check(good, "10 other connections did not notice");
    for (int i = 0; i < 10; i++) close(others[i]);
    check(clients_become(witness, 1), "the crashed ones are gone from CLIENT LIST");
    int fd = connect_to(s);
    check(quietly(fd, "GET alive", "$3\r\nyes\r\n"), "new connections are served after crashes");
    close(fd);
}

/* -- starting and stopping --------------------------------------------------------------------------------- */

static void test_stop(server *s, int witness, int number, const char *name)
{
    int idle[10], busy = connect_to(s), half = connect_to(s);
    for (int i = 0; i < 10; i++) {
        idle[i] = connect_to(s);
        if (!quietly(idle[i], "PING", "+PONG\r\n")) fatal("PING");
    }
    bool good = quietly(half, "PING", "+PONG\r\n") && send_text(half, "*2\r\n$3\r\nGE");
    good = good && quietly(busy, "PING", "+PONG\r\n");
    good = good && send_text(busy, "DEBUG SLEEP 0.3\r\nSET last 1\r\nGET last\r\n");
    good = good && quietly(witness, "PING", "+PONG\r\n");
    check(good && kill(s->pid, number) == 0, "%s with 13 open connections", name);
    check(expect(busy, "+OK\r\n+OK\r\n$1\r\n1\r\n"), "what was sent before %s is answered", name);
    check(at_end(busy) && at_end(half) && at_end(witness), "then the connections end");
    good = true;
    for (int i = 0; i < 10; i++) good = at_end(idle[i]) && good;
    check(good, "idle connections end");
    int code = await_server(s);
    check(code == 0, "exit code 0 after %s (%d)", name, code);
    for (int i = 0; i < 10; i++) close(idle[i]);
    close(busy);
    close(half);
}

static void test_limits(void)
{
    server s = start_server((const char *const[]){ "--max-clients=2", "--max-value", "100", NULL });
    int a = connect_to(&s), b = connect_to(&s);
    check(quietly(a, "PING", "+PONG\r\n") && quietly(b, "PING", "+PONG\r\n"), "two clients of two");
    int c = connect_to(&s);
    check(expect(c, "-ERR max number of clients reached\r\n") && at_end(c), "--max-clients");
    close(c);
    close(b);
    check(clients_become(a, 1), "a place is free again");
    b = connect_to(&s);
    ask(b, "PING", "+PONG\r\n");
    bool refused = send_text(b, "*2\r\n$4\r\nECHO\r\n$101\r\n");
    check(refused && expect(b, "-ERR Protocol error: invalid bulk length\r\n") && at_end(b), "--max-value");
    close(b);
    char command[200] = "APPEND long ";
    memset(command + 12, 'x', 60);
    ask(a, command, ":60\r\n");
    ask(a, command, "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n");
    ask(a, "STRLEN long", ":60\r\n");
    ask(a, "CONFIG GET maxclients", "*2\r\n$10\r\nmaxclients\r\n$1\r\n2\r\n");
    ask(a, "DEBUG SEGFAULT", "-ERR DEBUG command not allowed. Start the server with --debug-commands to have it.\r\n");
    /* The port is taken: a second server says so. */
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        char port[16];
        snprintf(port, sizeof port, "%d", s.port);
        if (freopen("/dev/null", "w", stderr) == NULL) _exit(99);
        execl(server_path, server_path, "--port", port, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    check(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 1, "a port that is taken");
    check(kill(s.pid, SIGINT) == 0 && at_end(a), "SIGINT");
    close(a);
    int code = await_server(&s);
    check(code == 0, "exit code 0 after SIGINT (%d)", code);
}

static void test_options(void)
{
    static const char *const lines[][3] = {
        { "--port", "x", NULL },
        { "--port", "65536", NULL },
        { "--nothing", NULL, NULL },
        { "--shards=0", NULL, NULL },
        { "--bind", "nowhere", NULL },
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            if (freopen("/dev/null", "w", stderr) == NULL) _exit(99);
            execl(server_path, server_path, lines[i][0], lines[i][1], (char *)NULL);
            _exit(127);
        }
        int status = 0;
        check(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 2,
            "refused: %s %s", lines[i][0], lines[i][1] == NULL ? "" : lines[i][1]);
    }
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: kv_client PATH-OF-THE-SERVER [--no-crash] [options for the server ...]\n");
        return 2;
    }
    server_path = argv[1];
    size_t more = 0;
    for (int i = 2; i < argc && more < 15; i++) {
        if (strcmp(argv[i], "--no-crash") == 0) may_crash = false;
        else more_options[more++] = argv[i];
    }
    server s = start_server((const char *const[]){ "--debug-commands", NULL });
    int fd = connect_to(&s);
    test_commands(fd);
    test_numbers(fd);
    test_expiry(fd);
    test_server_commands(fd, &s);
    test_inline(&s);
    test_malformed(&s, fd);
    test_promises(&s, fd);
    test_pipelines(&s);
    test_binary(fd);
    test_large(&s);
    test_scan(fd);
    test_parallel(&s, fd);
    test_ends(&s, fd);
    if (may_crash) test_crash(&s, fd);
    test_stop(&s, fd, SIGTERM, "SIGTERM");
    close(fd);
    test_limits();
    test_options();
    printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
