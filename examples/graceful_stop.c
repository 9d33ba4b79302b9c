/* graceful_stop.c: a tree stops from its leaves to its root, what was started last first: the listener is gone before the
   sessions, and the store, which they all use, is the last. Who takes too long is killed.
   cc -O2 -pthread -I.. graceful_stop.c -o graceful_stop */

#define OTP_IMPLEMENTATION
#include "otp_server.h"
#include "otp_supervisor.h"
#include <stdio.h>

static otp_next part_init(void *state, const void *arg, size_t size)
{
    const char **name = state;
    (void)size;
    *name = arg;
    otp_trap_exit(true);                                    /* so that terminate runs */
    return OTP_OK;
}

static void part_terminate(void *state, const otp_reason *why)
{
    const char **name = state;
    char text[64];
    otp_format_reason(why, text, sizeof text);
    printf("%s: %s\n", *name, text);
    if (**name == 'j') otp_sleep(OTP_INFINITY);              /* the journal never comes to an end */
    printf("%s: saved\n", *name);
}

static const otp_server part = { .name = "part", .state_size = sizeof(char *), .init = part_init, .terminate = part_terminate };

static otp_pid part_start_link(void *name) { return otp_server_start_link(&part, &(otp_server_opts){ .arg = name }); }

static otp_pid sessions_start_link(void *arg)
{
    (void)arg;
    static const otp_child children[] = {
        { .id = "joe", .start = part_start_link, .arg = "session of Joe" },
        { .id = "ann", .start = part_start_link, .arg = "session of Ann" },
    };
    return otp_supervisor_start_link(&(otp_supervisor_opts){ .children = children, .child_count = 2 });
}

static const otp_child children[] = {
    { .id = "store",    .start = part_start_link, .arg = "store" },
    { .id = "journal",  .start = part_start_link, .arg = "journal", .shutdown = 50 },
    { .id = "sessions", .start = sessions_start_link, .type = OTP_SUPERVISOR },
    { .id = "listener", .start = part_start_link, .arg = "listener" },
};

static void app(void *arg)
{
    (void)arg;
    otp_pid top = otp_supervisor_start_link(&(otp_supervisor_opts){
        .name = "app", .strategy = OTP_REST_FOR_ONE, .children = children, .child_count = 4 });
    otp_child_counts n;
    if (otp_supervisor_count_children(top, &n) == 0) printf("%zu run\n", n.active);
    int rc = otp_supervisor_stop(top, OTP_NORMAL, 5000);
    printf("stopped: %d, processes left: %zu\n", rc, otp_processes(NULL, 0));
}

int main(void) { return otp_run(app, NULL, NULL); }

/* Output:
4 run
listener: shutdown
listener: saved
session of Ann: shutdown
session of Ann: saved
session of Joe: shutdown
session of Joe: saved
journal: shutdown
store: shutdown
store: saved
stopped: 0, processes left: 1
*/
