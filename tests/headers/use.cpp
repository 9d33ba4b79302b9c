// The declarations in C++17, linked with the implementation compiled as C. Prints "42 7 9".
#include "otp.h"
#include "otp.h"
#include "otp_server.h"

#include <cstdio>

namespace {

enum { PING = 1, PONG, ASK };

void ponger(void *)
{
    const otp_msg *m;
    for (;;)
        otp_receive (m, OTP_INFINITY) {
            case PING: OTP_SEND(m->from, PONG, *OTP_PAYLOAD(m, int) + 1); break;
            case ASK:
                if (OTP_REPLY(otp_from_of(m), 7) != 0)
                    return;
                break;
        }
}

otp_next nine(void *, otp_from from, const otp_msg *m) { return m->tag == ASK ? OTP_SERVER_REPLY(from, 9) : OTP_OK; }

void app(void *)
{
    otp_pid p = otp_spawn_link(ponger, nullptr);
    const otp_msg *m;
    int reply = 0;
    OTP_SEND(p, PING, 41);
    otp_receive (m, 5000) {
        case PONG:      std::printf("%d ", *OTP_PAYLOAD(m, int)); break;
        case OTP_AFTER: std::printf("no answer "); break;
    }
    if (otp_try_call(p, ASK, nullptr, 0, &reply, sizeof reply, 5000) < 0)
        std::printf("no reply ");
    std::printf("%d ", reply);
    otp_server server = {};
    server.name = "nine";
    server.call = nine;
    otp_pid s = otp_server_start_link(&server, nullptr);
    if (otp_try_call(s, ASK, nullptr, 0, &reply, sizeof reply, 5000) < 0)
        std::printf("no reply ");
    std::printf("%d\n", reply);
    if (otp_server_stop(s, OTP_NORMAL, 5000) != 0)
        std::printf("not stopped\n");
    otp_unlink(p);
    otp_exit_signal(p, OTP_KILL);
}

} // namespace

int main() { return otp_run(app, nullptr, nullptr); }
