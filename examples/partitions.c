/* partitions.c: counters of words in four processes. Each word belongs to one of them, so that nothing is locked and nothing
   counted twice; a partition that crashes loses its own words only.
   cc -O2 -pthread -I.. partitions.c -o partitions */

#define OTP_IMPLEMENTATION
#include "otp_server.h"
#include "otp_supervisor.h"
#include <stdio.h>

enum { ADD = 1, COUNT };
enum { MAX = 32 };

struct counter { char words[MAX][16]; int counts[MAX]; };

static int *count_of(struct counter *c, const char *word)
{
    int i = 0;
    while (i < MAX - 1 && c->words[i][0] && strcmp(c->words[i], word) != 0) i++;
    (void)snprintf(c->words[i], sizeof c->words[i], "%s", word);
    return &c->counts[i];
}

static otp_next counter_call(void *state, otp_from from, const otp_msg *m)
{
    OTP_REPLY(from, *count_of(state, m->data));
    return OTP_OK;
}

static otp_next counter_cast(void *state, const otp_msg *m)
{
    ++*count_of(state, m->data);
    return OTP_OK;
}

static const otp_server counter = {
    .name = "counter", .state_size = sizeof(struct counter), .call = counter_call, .cast = counter_cast,
};

static otp_pid counter_start_link(void *arg)
{
    (void)arg;
    return otp_server_start_link(&counter, NULL);
}

/* What its users call. */
static otp_pid counter_for(const char *word) { return otp_partition_of("counters", word, strlen(word)); }
static void add(const char *word) { otp_cast(counter_for(word), ADD, word, strlen(word) + 1); }

static int count(const char *word)
{
    int n = 0;
    otp_call(counter_for(word), COUNT, word, strlen(word) + 1, &n, sizeof n, 5000);
    return n;
}

static void app(void *arg)
{
    (void)arg;
    otp_pid top = otp_partition_supervisor_start_link(&(otp_partition_supervisor_opts){
        .name = "counters", .partitions = 4, .child = { .start = counter_start_link } });
    static const char *const text[] = { "a", "rose", "is", "a", "rose", "is", "a", "rose" };
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) add(text[i]);
    printf("%d partitions: a %d, rose %d, is %d\n", otp_partitions("counters"), count("a"), count("rose"), count("is"));

    otp_pid old = otp_partition("counters", 1);             /* a number is a key, too */
    otp_exit_signal(old, OTP_KILL);
    while (otp_partition("counters", 1).id == 0 || otp_same(otp_partition("counters", 1), old)) otp_sleep(1);
    printf("another process for 1, 5 and -5: %s\n",
           otp_same(otp_partition("counters", 5), otp_partition("counters", -5)) ? "the same for all" : "no");
    printf("stopped: %d\n", otp_supervisor_stop(top, OTP_NORMAL, 5000));
}

int main(void) { return otp_run(app, NULL, NULL); }

/* Output:
4 partitions: a 3, rose 3, is 2
another process for 1, 5 and -5: the same for all
stopped: 0
*/
