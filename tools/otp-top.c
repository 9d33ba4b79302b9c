/* otp-top: the processes of a running program, sorted, in a terminal.                      SPDX-License-Identifier: MIT
   The program serves them: OTP_TOP=/tmp/top.sock ./program, or otp_top_listen("/tmp/top.sock"), see otp_trace.h.
   cc -O2 -o otp-top tools/otp-top.c

   otp-top [options] SOCKET
     -s, --sort KEY    r: reductions since the last look (the default), m: memory, q: queue, n: name
     -l, --limit N     at most N processes; in a terminal as many as there is room for
     -d, --delay S     seconds between two looks, 2 by default; 0.1 is possible
     -b, --batch       plain text, one table after the other
     -n, --count N     as many looks, then it ends; with -b 1 by default
     -t, --trace       writes the timeline that the program records (OTP_TRACE) to standard output, and ends

   Keys: r, m, q, n sort; + and - change the delay; space looks at once; x ends. It ends when the program does: status
   0 after at least one table, 1 when there was none, 2 for bad options. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { FIELDS = 10, DEFAULT_LIMIT = 40 };

static struct options {
    char sort;
    long limit, count, delay;   /* delay: ms */
    bool batch, trace;
    const char *path;
} opt = { .sort = 'r', .delay = 2000 };

static struct termios cooked;
static bool raw;
static volatile sig_atomic_t ended, resized;

/* -- the terminal --------------------------------------------------------------------------------------------- */

static void say(const char *text, size_t n)
{
    while (n > 0) {
        ssize_t w = write(STDOUT_FILENO, text, n);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) exit(1);
        text += w;
        n -= (size_t)w;
    }
}

static void restore(void)
{
    if (!raw) return;
    raw = false;
    /* the first screen again, with its cursor */
    static const char back[] = "\033[?25h\033[?1049l";
    if (write(STDOUT_FILENO, back, sizeof back - 1) < 0) return;
    if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &cooked) != 0) return;
}

static void on_signal(int sig)
{
    if (sig == SIGWINCH) resized = 1;
    else ended = sig;
}

static void take_terminal(void)
{
    struct sigaction sa;
    memset(&sa, 0, sizeof sa);
    sa.sa_handler = on_signal;
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGWINCH };
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        if (sigaction(signals[i], &sa, NULL) != 0) exit(1);
    if (opt.batch || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        opt.batch = true;
        return;
    }
    if (tcgetattr(STDIN_FILENO, &cooked) != 0 || atexit(restore) != 0) exit(1);
    struct termios t = cooked;
    t.c_lflag &= (tcflag_t)~(ICANON | ECHO);
    t.c_cc[VMIN] = 0;
    t.c_cc[VTIME] = 0;
    if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &t) != 0) exit(1);
    raw = true;
    say("\033[?1049h\033[?25l", 14);
}

static void size_of_terminal(int *rows, int *columns)
{
    struct winsize w;
    *rows = 24;
    *columns = 80;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) != 0 || w.ws_row == 0 || w.ws_col == 0) return;
    *rows = w.ws_row;
    *columns = w.ws_col;
}

/* -- the socket ----------------------------------------------------------------------------------------------- */

static int connect_to(const char *path)
{
    struct sockaddr_un at;
    memset(&at, 0, sizeof at);
    at.sun_family = AF_UNIX;
    if (strlen(path) >= sizeof at.sun_path) {
        fprintf(stderr, "otp-top: %s: too long for a socket\n", path);
        exit(2);
    }
    memcpy(at.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at) != 0) {
        fprintf(stderr, "otp-top: %s: %s\n", path, strerror(errno));
        exit(1);
    }
    return fd;
}

static bool ask(int fd, const char *request)
{
    size_t n = strlen(request);
    while (n > 0) {
        ssize_t w = send(fd, request, n, MSG_NOSIGNAL);
        if (w < 0 && errno == EINTR && !ended) continue;
        if (w <= 0) return false;
        request += w;
        n -= (size_t)w;
    }
    return true;
}

/* Reads on; false at the end, and when a signal says that we are to end. */
static bool more(int fd, char **text, size_t *n, size_t *room)
{
    if (*n + 1 >= *room) {
        *room = *room ? *room * 2 : 65536;
        char *larger = realloc(*text, *room);
        if (!larger) exit(1);
        *text = larger;
    }
    for (;;) {
        ssize_t got = recv(fd, *text + *n, *room - *n - 1, 0);
        if (got < 0 && errno == EINTR && !ended) continue;
        if (got <= 0) return false;
        *n += (size_t)got;
        (*text)[*n] = 0;
        return true;
    }
}

/* A whole table; NULL: the program has ended. */
static char *table(int fd, long limit)
{
    static char *text;
    static size_t room;
    char request[64];
    size_t n = 0;
    if (snprintf(request, sizeof request, "top %c %ld\n", opt.sort, limit) < 0 || !ask(fd, request)) return NULL;
    do {
        if (!more(fd, &text, &n, &room)) return NULL;
        if (strncmp(text, "error\t", 6) == 0 && text[n - 1] == '\n') {
            restore();
            fprintf(stderr, "otp-top: %s", text + 6);
            exit(1);
        }
    } while (n < 4 || strcmp(text + n - 4, "end\n") != 0);
    return text;
}

static int copy_trace(int fd)
{
    char *text = NULL;
    size_t n = 0, room = 0, all = 0, head = 0;
    if (!ask(fd, "trace\n")) return 1;
    while (head == 0 || n < head + all) {
        if (!more(fd, &text, &n, &room)) {
            fprintf(stderr, "otp-top: the program has ended\n");
            return 1;
        }
        char *end = head ? NULL : strchr(text, '\n');
        if (!end) continue;
        if (sscanf(text, "trace\t%zu", &all) != 1) {
            fprintf(stderr, "otp-top: %s", strncmp(text, "error\t", 6) == 0 ? text + 6 : text);
            return 1;
        }
        head = (size_t)(end - text) + 1;
    }
    say(text + head, all);
    free(text);
    return 0;
}

/* -- the picture ------------------------------------------------------------------------------------------------ */

static const char *bytes(const char *number, char *out, size_t size)
{
    double v = strtod(number, NULL);
    const char *unit = " KMGTP";
    while (v >= 9999.5 && unit[1]) {
        v /= 1024;
        unit++;
    }
    if (snprintf(out, size, "%.0f%.1s", v, *unit == ' ' ? "" : unit) < 0) return "?";
    return out;
}

/* Splits a line at its tabs; what is missing is empty. */
static void split(char *line, char *field[FIELDS + 1])
{
    static char empty[] = "";
    for (int i = 0; i <= FIELDS; i++) {
        field[i] = line ? line : empty;
        char *tab = line ? strchr(line, '\t') : NULL;
        if (tab) *tab++ = 0;
        line = tab;
    }
}

/* One line, cut at the edge of the terminal; a character of UTF-8 counts as one. */
static void put_line(FILE *f, const char *line, int columns)
{
    int used = 0;
    for (const char *c = line; *c && *c != '\n'; c++) {
        if (((unsigned char)*c & 0xc0) != 0x80 && ++used > columns && !opt.batch) break;
        fputc(*c, f);
    }
    fputs(opt.batch ? "\n" : "\033[K\r\n", f);
}

static void show(char *text, int rows, int columns)
{
    static long long last_ms;
    static uint64_t looks;
    char *out = NULL, line[512], a[32], b[32], *field[FIELDS + 1];
    size_t n = 0;
    FILE *f = open_memstream(&out, &n);
    if (!f) exit(1);
    if (!opt.batch) fputs("\033[H", f);
    int used = 0;
    for (char *next; text && *text; text = next) {
        next = strchr(text, '\n');
        if (next) *next++ = 0;
        split(text, field);
        if (strcmp(field[0], "head") == 0) {
            long long ms = strtoll(field[7], NULL, 10), passed = looks++ ? ms - last_ms : 0;
            double rate = passed > 0 ? strtod(field[6], NULL) * 1000.0 / (double)passed : 0;
            last_ms = ms;
            (void)snprintf(line, sizeof line, "%s schedulers, %s processes (%s run), %s messages wait, %s bytes, %.0f reductions/s",
                           field[1], field[2], field[3], field[4], bytes(field[5], a, sizeof a), rate);
            put_line(f, line, columns);
            if (!opt.batch) fputs("\033[7m", f);
            (void)snprintf(line, sizeof line, "%-12s %-20s %-9s %-9s %8s %10s %12s %7s %7s  %s", "PID", "NAME", "STATE", "WAITS",
                           opt.sort == 'q' ? "*QUEUE" : "QUEUE", opt.sort == 'r' ? "*NEW REDS" : "NEW REDS", "REDUCTIONS",
                           opt.sort == 'm' ? "*MEM" : "MEM", "HEAP", "SPAWNED");
            put_line(f, line, columns);
            if (!opt.batch) fputs("\033[0m", f);
            used += 2;
        } else if (strcmp(field[0], "row") == 0 && (opt.batch || used < rows - 1)) {
            (void)snprintf(line, sizeof line, "%-12s %-20s %-9s %-9s %8s %10s %12s %7s %7s  %s", field[1], field[2], field[3],
                           field[4], field[5], field[6], field[7], bytes(field[8], a, sizeof a), bytes(field[9], b, sizeof b),
                           field[10]);
            put_line(f, line, columns);
            used++;
        }
    }
    if (!opt.batch) fprintf(f, "\033[J\033[%d;1Hsort: r m q n   delay: + - (%.1f s)   space: now   x: end", rows, (double)opt.delay / 1000);
    else fputc('\n', f);
    if (fclose(f) != 0) exit(1);
    say(out, n);
    free(out);
}

/* Waits for the next look. False: that is the end. */
static bool wait_for_next(int fd)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    int64_t until = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000 + opt.delay;
    for (;;) {
        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        int64_t left = until - ((int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000);
        if (left <= 0 || resized) break;
        struct pollfd p[2] = { { .fd = fd, .events = POLLIN }, { .fd = raw ? STDIN_FILENO : -1, .events = POLLIN } };
        if (poll(p, 2, (int)left) < 0 && errno != EINTR) return false;
        if (ended || p[0].revents) return false;    /* between two requests it has nothing to say but that it ends */
        if (!p[1].revents) continue;
        char key;
        ssize_t got = read(STDIN_FILENO, &key, 1);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0 || key == 'x') return false;
        if (key == '+') opt.delay = opt.delay < 30000 ? opt.delay * 2 : opt.delay;
        if (key == '-') opt.delay = opt.delay > 200 ? opt.delay / 2 : 100;
        if (strchr("rmqn", key)) opt.sort = key;
        if (strchr("rmqn+- \n", key)) break;
    }
    resized = 0;
    return !ended;
}

static int look(int fd)
{
    long looks = 0, count = opt.count ? opt.count : opt.batch ? 1 : 0;
    for (;;) {
        int rows, columns;
        size_of_terminal(&rows, &columns);
        long limit = opt.limit;
        if (!limit || (!opt.batch && limit > rows)) limit = opt.batch ? DEFAULT_LIMIT : rows;
        char *text = table(fd, limit);
        if (!text) break;
        show(text, rows, columns);
        looks++;
        if ((count && looks >= count) || !wait_for_next(fd)) break;
    }
    restore();
    if (looks == 0) fprintf(stderr, "otp-top: the program does not answer\n");
    return looks == 0;
}

/* -- options ---------------------------------------------------------------------------------------------------- */

static void usage(void)
{
    fprintf(stderr, "usage: otp-top [-s r|m|q|n] [-l LIMIT] [-d SECONDS] [-b] [-n COUNT] [-t] SOCKET\n");
    exit(2);
}

static long whole(const char *text, long max)
{
    char *end;
    long n = text ? strtol(text, &end, 10) : 0;
    if (!text || *end || n < 1 || n > max) usage();
    return n;
}

static bool option(const char *arg, const char *brief, const char *full) { return strcmp(arg, brief) == 0 || strcmp(arg, full) == 0; }

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (option(argv[i], "-s", "--sort")) {
            if (!value || value[0] == 0 || !strchr("rmqn", value[0])) usage();
            opt.sort = value[0];    /* a whole word is fine, too */
            i++;
        } else if (option(argv[i], "-l", "--limit")) {
            opt.limit = whole(value, 100000);
            i++;
        } else if (option(argv[i], "-n", "--count")) {
            opt.count = whole(value, 1000000000);
            i++;
        } else if (option(argv[i], "-d", "--delay")) {
            char *end;
            double s = value ? strtod(value, &end) : 0;
            if (!value || *end || !(s >= 0.1 && s <= 3600)) usage();
            opt.delay = (long)(s * 1000);
            i++;
        } else if (option(argv[i], "-b", "--batch")) {
            opt.batch = true;
        } else if (option(argv[i], "-t", "--trace")) {
            opt.trace = true;
        } else if (argv[i][0] == '-' || opt.path) {
            usage();
        } else {
            opt.path = argv[i];
        }
    }
    if (!opt.path) usage();
    int fd = connect_to(opt.path);
    if (opt.trace) return copy_trace(fd);
    take_terminal();
    return look(fd);
}
