/* rooms.c: chat rooms under a dynamic supervisor: one process for each, started on demand and found by name. One that
   crashes comes back empty under its name; one that is closed is forgotten; there are at most three.
   cc -O2 -pthread -I.. rooms.c -o rooms */

#define OTP_IMPLEMENTATION
#include "otp_server.h"
#include "otp_supervisor.h"
#include <stdio.h>

enum { SAY = 1, COUNT, CLOSE, CRASH };

struct room { int said; };

static otp_next room_call(void *state, otp_from from, const otp_msg *m)
{
    struct room *r = state;
    if (m->tag == SAY) r->said++;
    OTP_REPLY(from, r->said);
    return OTP_OK;
}

static otp_next room_cast(void *state, const otp_msg *m)
{
    (void)state;
    return otp_stop_with(m->tag == CLOSE ? OTP_NORMAL : OTP_USER(1, "boom"));
}

static const otp_server room = { .name = "room", .state_size = sizeof(struct room), .call = room_call, .cast = room_cast };

static otp_pid room_start_link(void *name) { return otp_server_start_link(&room, &(otp_server_opts){ .name = name }); }

static const char *open_room(otp_pid rooms, const char *name)
{
    otp_child child = { .start = room_start_link, .arg = (void *)name, .arg_size = strlen(name) + 1, .restart = OTP_TRANSIENT };
    if (otp_dynamic_supervisor_start_child(rooms, &child).id) return "opened";
    return otp_start_result(NULL) == OTP_EFULL ? "no more rooms" : otp_strerror(otp_start_result(NULL));
}

static int ask(const char *name, int tag)
{
    int said = -1;
    return otp_try_call(otp_whereis(name), tag, NULL, 0, &said, sizeof said, 5000) < 0 ? -1 : said;
}

/* Ends a room, and waits until its supervisor has dealt with that. */
static void end(const char *name, int tag)
{
    otp_pid old = otp_whereis(name);
    otp_cast(old, tag, NULL, 0);
    while (otp_same(otp_whereis(name), old) || (tag == CRASH && otp_whereis(name).id == 0)) otp_sleep(1);
}

static void app(void *arg)
{
    (void)arg;
    otp_pid rooms = otp_dynamic_supervisor_start_link(&(otp_dynamic_supervisor_opts){ .name = "rooms", .max_children = 3 });
    printf("erlang: %s\n", open_room(rooms, "erlang"));
    printf("c: %s\n", open_room(rooms, "c"));
    printf("c: %s\n", open_room(rooms, "c"));
    ask("c", SAY);
    printf("said in c: %d\n", ask("c", SAY));
    end("c", CRASH);
    printf("said in c after a crash: %d\n", ask("c", COUNT));
    end("erlang", CLOSE);
    printf("erlang is closed: %s\n", ask("erlang", COUNT) < 0 ? "yes" : "no");
    printf("go: %s, zig: %s, ", open_room(rooms, "go"), open_room(rooms, "zig"));
    printf("ada: %s\n", open_room(rooms, "ada"));
    printf("stopped: %d\n", otp_supervisor_stop(rooms, OTP_NORMAL, 5000));
}

int main(void) { return otp_run(app, NULL, NULL); }

/* Output:
erlang: opened
c: opened
c: already there
said in c: 2
said in c after a crash: 0
erlang is closed: yes
go: opened, zig: opened, ada: no more rooms
stopped: 0
*/
