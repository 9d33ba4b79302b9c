/* testing_a_server.c: a server and its tests. The program is nothing but the server, the cases and one include: each case runs
   as a process of its own, and has to leave nothing behind.
   cc -O2 -pthread -I.. testing_a_server.c -o testing_a_server
   args: --order 0 */

#define OTP_IMPLEMENTATION
#include "otp_test.h"
#include "otp_server.h"

/* An account: money comes in by a cast, and goes out by a call, if there is enough. */
enum { DEPOSIT = 1, WITHDRAW, BALANCE };
struct account { long cents; };

static otp_next account_init(void *state, const void *arg, size_t size)
{
    struct account *a = state;
    (void)size;
    a->cents = *(const long *)arg;
    return a->cents < 0 ? otp_fail_with(OTP_USER(1, "in debt")) : OTP_OK;
}

static otp_next account_call(void *state, otp_from from, const otp_msg *m)
{
    struct account *a = state;
    int rc = 0;
    if (m->tag == BALANCE) rc = OTP_REPLY(from, a->cents);
    else if (m->tag != WITHDRAW || a->cents < *OTP_PAYLOAD(m, long)) rc = otp_reply_error(from, OTP_EBADARG);
    else {
        a->cents -= *OTP_PAYLOAD(m, long);
        rc = OTP_REPLY(from, a->cents);
    }
    return rc < 0 ? otp_stop_with(OTP_ERROR(rc)) : OTP_OK;
}

static otp_next account_cast(void *state, const otp_msg *m)
{
    struct account *a = state;
    if (m->tag != DEPOSIT) return otp_stop_with(OTP_ERROR(OTP_EBADCALL));
    a->cents += *OTP_PAYLOAD(m, long);
    return OTP_OK;
}

static const otp_server account = {
    .name = "account", .state_size = sizeof(struct account),
    .init = account_init, .call = account_call, .cast = account_cast,
};

static otp_pid account_start_link(void *cents)
{
    return otp_server_start_link(&account, &(otp_server_opts){ .arg = cents, .arg_size = sizeof(long), .name = "account" });
}

static long balance(otp_pid pid)
{
    long cents = 0;
    otp_check_eq(otp_try_call(pid, BALANCE, NULL, 0, &cents, sizeof cents, 1000), sizeof cents);
    return cents;
}

/* -- the tests */

static long none = 0, some = 500, debt = -1;

OTP_TEST(money_comes_in)
{
    otp_pid a = otp_start_supervised(account_start_link, &none);    /* stopped when the case has ended */
    otp_check_eq(otp_cast(a, DEPOSIT, &some, sizeof some), 0);
    otp_check_eq(balance(a), 500);
}

OTP_TEST(nobody_takes_more_than_there_is)
{
    otp_pid a = otp_start_supervised(account_start_link, &some);
    long left, much = 501;
    otp_check_eq(otp_try_call(a, WITHDRAW, &much, sizeof much, &left, sizeof left, 1000), OTP_EBADARG);
    otp_check_eq(balance(a), 500);
}

OTP_TEST(an_account_in_debt_does_not_start)
{
    int code;
    otp_check_eq(otp_try_start_supervised(account_start_link, &debt, &code).id, 0);
    otp_check_eq(code, OTP_EDIED);
}

OTP_TEST(an_unknown_cast_ends_it_and_is_reported)
{
    otp_pid a = otp_start_supervised(account_start_link, &some);
    otp_ref ref = otp_monitor(a);
    otp_check_eq(otp_cast(a, 99, NULL, 0), 0);
    const otp_msg *m = otp_assert_receive_ref(ref, 1000);
    otp_check_eq(otp_reason_of(m)->code, OTP_EBADCALL);
    otp_check(otp_eventually(otp_log_has("account"), 1000));
}

/* Output:
4 cases, order 0
ok   money_comes_in
ok   nobody_takes_more_than_there_is
ok   an_account_in_debt_does_not_start
ok   an_unknown_cast_ends_it_and_is_reported
4 passed, 0 failed
*/
