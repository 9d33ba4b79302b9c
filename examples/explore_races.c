/* explore_races.c: three classic races, each found by trying schedules, told, and gone when it is fixed.
   cc -O2 -pthread -I.. explore_races.c -o explore_races */

#define OTP_IMPLEMENTATION
#include "otp_explore.h"
#include <stdio.h>
#include <unistd.h>

enum { WAKE = 1, READ, WRITE, ADD };
static const char *const tags[] = { "", "WAKE", "READ", "WRITE", "ADD" };
static const char *tag_name(int tag) { return tag >= WAKE && tag <= ADD ? tags[tag] : NULL; }
static bool fixed;                              /* the scenarios run with the mistake first, then without */

static void await(otp_pid pid) { otp_explore_check(otp_await_exit(pid, OTP_INFINITY, NULL) == 0); }

/* -- 1 a lost wake-up: to look and to wait are two steps, and the waker comes in between */
static bool ready, waiting;

static void sleeper(void *arg)
{
    (void)arg;
    if (fixed) waiting = true;                  /* first say so, then look */
    otp_explore_point();
    if (ready) return;
    otp_explore_note("has seen that nothing is ready");
    otp_explore_point();
    waiting = true;
    otp_explore_check(otp_recv_tag(WAKE, OTP_INFINITY) != NULL);
}

static void wake_up(void *arg)
{
    (void)arg;
    ready = waiting = false;
    otp_pid p = otp_spawn(sleeper, NULL);
    ready = true;
    otp_explore_point();
    if (waiting && otp_send(p, WAKE, NULL, 0) != 0) return;
    await(p);
}

/* -- 2 a name that is looked up, and then taken */
static void server(void *arg) { await(*(otp_pid *)arg); }

static void client(void *arg)
{
    otp_spawn_opts opts = { .fn = server, .arg = arg, .arg_size = sizeof(otp_pid), .name = "server" };
    if (!fixed && otp_whereis("server").id != 0) return;
    int rc = otp_spawn_opt(&opts, NULL);        /* to try it is the only way to know */
    otp_explore_check(rc == 0 || (fixed && rc == OTP_EEXIST));
}

static void double_start(void *arg)
{
    (void)arg;
    otp_pid me = otp_self(), a = otp_spawn(client, &me), b = otp_spawn(client, &me);
    await(a);
    await(b);
}

/* -- 3 a balance that is read, and written later */
static void bank(void *arg)
{
    (void)arg;
    const otp_msg *m;
    for (int balance = 0;;)
        otp_receive (m, OTP_INFINITY) {
            case READ: if (OTP_REPLY(otp_from_of(m), balance) != 0) return; break;
            case WRITE: balance = *OTP_PAYLOAD(m, int); if (OTP_REPLY(otp_from_of(m), balance) != 0) return; break;
            case ADD: balance += *OTP_PAYLOAD(m, int); if (OTP_REPLY(otp_from_of(m), balance) != 0) return; break;
        }
}

static void transfer(void *arg)
{
    otp_pid to = *(otp_pid *)arg;
    int n = 10;
    if (!fixed) {
        otp_call(to, READ, NULL, 0, &n, sizeof n, OTP_INFINITY);
        n += 10;
    }
    otp_call(to, fixed ? ADD : WRITE, &n, sizeof n, &n, sizeof n, OTP_INFINITY);
}

static void two_transfers(void *arg)
{
    (void)arg;
    int n = 0;
    otp_pid to = otp_spawn(bank, NULL), a = otp_spawn(transfer, &to), b = otp_spawn(transfer, &to);
    await(a);
    await(b);
    otp_call(to, READ, NULL, 0, &n, sizeof n, OTP_INFINITY);
    otp_explore_check(n == 20);
    if (otp_exit_signal(to, OTP_KILL) != 0) return;
}

static int try_it(const char *title, otp_fn *scenario)
{
    static otp_explore_result r;
    otp_explore_opts opts = { .seeds = 1000, .tag_name = tag_name, .quiet = true };
    fixed = false;
    int rc = otp_explore(scenario, NULL, &opts, &r);
    printf("%s: %s: %s\n%s", title, otp_explore_failure_name(r.failure), r.text, r.schedule);
    fixed = true;
    if (rc != 1 || otp_explore(scenario, NULL, &opts, &r) != 0) return 1;
    printf("fixed: %d runs, all pass\n\n", (int)r.runs);
    return 0;
}

int main(void)
{
    return try_it("lost wake-up", wake_up) + try_it("double start", double_start) + try_it("bank", two_transfers);
}

/* Output:
lost wake-up: deadlock: all wait for ever: scenario (explore_races.c:102) waits for a call to sleeper; sleeper (explore_races.c:35) waits for a message
  scenario       starts sleeper (explore_races.c:35)
  scenario       -- is preempted here
  sleeper        has seen that nothing is ready
  sleeper        -- is preempted here
  scenario       waits for a call to sleeper
  sleeper        waits for a message
fixed: 1001 runs, all pass

double start: check: rc == 0 || (fixed && rc == OTP_EEXIST) (explore_races.c:50)
  scenario       starts client (explore_races.c:56)
  scenario       starts client#2 (explore_races.c:56)
  scenario       waits for a call to client
  client#2       looks up server: nobody
  client#2       -- is preempted here
  client         looks up server: nobody
  client         starts server (explore_races.c:49)
  client         ends: normal
  client         sends the signal down to scenario
  client#2       finds: rc == 0 || (fixed && rc == OTP_EEXIST) does not hold (explore_races.c:50)
  client#2       ends: user 1: check failed
fixed: 1001 runs, all pass

bank: check: n == 20 (explore_races.c:93)
  scenario       starts bank (explore_races.c:89)
  scenario       starts transfer (explore_races.c:89)
  scenario       starts transfer#2 (explore_races.c:89)
  scenario       waits for a call to transfer
  bank           waits for a message
  transfer       sends READ to bank
  transfer       waits for a call to bank
  transfer#2     sends READ to bank
  transfer#2     waits for a call to bank
  bank           receives READ from transfer
  bank           sends a reply to transfer
  bank           receives READ from transfer#2
  bank           sends a reply to transfer#2
  bank           waits for a message
  transfer       receives a reply from bank
  transfer       sends WRITE to bank
  transfer       waits for a call to bank
  transfer#2     receives a reply from bank
  transfer#2     sends WRITE to bank
  transfer#2     waits for a call to bank
  bank           receives WRITE from transfer
  bank           sends a reply to transfer
  bank           receives WRITE from transfer#2
  bank           sends a reply to transfer#2
  bank           waits for a message
  transfer       receives a reply from bank
  transfer       ends: normal
  transfer       sends the signal down to scenario
  transfer#2     receives a reply from bank
  transfer#2     ends: normal
  scenario       receives DOWN from transfer
  transfer#2     sends the signal down to scenario
  scenario       receives DOWN from transfer#2
  scenario       sends READ to bank
  scenario       waits for a call to bank
  bank           receives READ from scenario
  bank           sends a reply to scenario
  bank           waits for a message
  scenario       receives a reply from bank
  scenario       finds: n == 20 does not hold (explore_races.c:93)
  scenario       ends: user 1: check failed
fixed: 1001 runs, all pass

*/
