/* word_count.c: wc: lines, words and bytes of text files, one process per file, results as messages.
   (Words end at ASCII white space; wc knows some Unicode spaces besides.)
   cc -O2 -pthread -I.. word_count.c -o word_count
   args: data/fable.txt data/list.txt data/empty.txt data/no_newline.txt */

#define OTP_IMPLEMENTATION
#include "otp.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RESULT = 1 };
enum { BUFFER = 65536 };

struct job { int index; const char *path; otp_pid to; };
struct result { int index, error; bool opened, regular; uint64_t lines, words, bytes, size; };
struct args { int count; char **paths; int status; };

static bool is_space(unsigned char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static void count_fd(int fd, unsigned char *buf, struct result *r)
{
    struct stat st;
    bool in_word = false;
    ssize_t n;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) { r->regular = true; r->size = (uint64_t)st.st_size; }
    while ((n = read(fd, buf, BUFFER)) > 0) {
        r->bytes += (uint64_t)n;
        for (ssize_t i = 0; i < n; i++) {
            r->lines += buf[i] == '\n';
            r->words += !in_word && !is_space(buf[i]);
            in_word = !is_space(buf[i]);
        }
    }
    if (n < 0) r->error = errno;            /* read at once: another thread's errno may be here after an otp_ call */
}

static void counter(void *arg)
{
    const struct job *job = arg;
    struct result r = { .index = job->index };
    unsigned char *buf = otp_alloc(BUFFER);
    if (buf == NULL) otp_exit(OTP_ERROR(OTP_ENOMEM));
    int fd = open(job->path, O_RDONLY | O_CLOEXEC);
    r.opened = fd >= 0;
    if (fd < 0) r.error = errno;
    else count_fd(fd, buf, &r);
    if (fd >= 0 && close(fd) != 0 && r.error == 0) r.error = errno;
    OTP_SEND(job->to, RESULT, r);
}

static void print_line(int width, const struct result *r, const char *name)
{
    printf("%*llu %*llu %*llu %s\n", width, (unsigned long long)r->lines, width, (unsigned long long)r->words,
           width, (unsigned long long)r->bytes, name);
}

static void app(void *arg)
{
    struct args *args = arg;
    struct result total = { 0 }, *results = otp_calloc((size_t)args->count, sizeof *results);
    if (results == NULL) otp_exit(OTP_ERROR(OTP_ENOMEM));
    otp_pid pid;
    for (int i = 0; i < args->count; i++) {
        struct job job = { i, args->paths[i], otp_self() };     /* each process gets a copy */
        otp_spawn_opts opts = { .fn = counter, .arg = &job, .arg_size = sizeof job, .link = true };
        int rc = otp_spawn_opt(&opts, &pid);
        if (rc != 0) otp_exit(OTP_ERROR(rc));
    }
    int width = 1;
    for (int i = 0; i < args->count; i++) {             /* in the order in which they are ready */
        const struct result *r = OTP_PAYLOAD(otp_recv_tag(RESULT, OTP_INFINITY), struct result);
        results[r->index] = *r;
        total.lines += r->lines, total.words += r->words, total.bytes += r->bytes, total.size += r->size;
        if (r->opened && !r->regular) width = 7;        /* wc's columns: as wide as the sum of sizes, or 7 */
    }
    int digits = snprintf(NULL, 0, "%llu", (unsigned long long)total.size);
    if (digits > width) width = digits;
    for (int i = 0; i < args->count; i++) {             /* in the order of the arguments */
        if (results[i].error != 0) {
            fprintf(stderr, "word_count: %s: %s\n", args->paths[i], strerror(results[i].error));
            args->status = 1;
        }
        if (results[i].opened) print_line(width, &results[i], args->paths[i]);
    }
    if (args->count > 1) print_line(width, &total, "total");
}

int main(int argc, char **argv)
{
    struct args args = { argc - 1, argv + 1, 0 };
    if (argc < 2) { fprintf(stderr, "usage: word_count file...\n"); return 2; }
    return otp_run(app, &args, NULL) != 0 || args.status != 0;
}

/* Output:
 17 137 721 data/fable.txt
  5   8  43 data/list.txt
  0   0   0 data/empty.txt
  1   9  37 data/no_newline.txt
 23 154 801 total
*/
