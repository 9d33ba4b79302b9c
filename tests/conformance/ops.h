/* The commands of the conformance test: name, arguments, weight in the generator, in percent of a usual one.
   The arguments: w a worker, W a worker that is not yet there, r a reason, v a reference that is made here, m t a y:
   one that was made before by a monitor, a timer, an alias, any; n a name, g a tag, G any tag of a message, u the tag
   of a monitor, x a value, i milliseconds of a receive, j of a timer, and digits: a number below that. */
#ifndef CONFORMANCE_OPS_H
#define CONFORMANCE_OPS_H

#define OPS(X)                                                                                              \
    X(spawn, "W4v", 60)           X(brief, "W4vr", 50)        X(link, "w", 160)          X(unlink, "w", 80)  \
    X(unlink_flush, "w", 50)      X(monitor, "wv", 130)       X(monitor_name, "nv", 80)                     \
    X(monitor_opt, "wv4u", 100)   X(demonitor, "m4", 130)     X(alias, "vA", 60)         X(unalias, "a", 60) \
    X(send_alias, "agx", 100)     X(signal, "wr", 140)        X(exit, "r", 25)           X(return, "", 10)   \
    X(crash, "", 6)               X(trap, "2", 150)           X(register, "nw", 110)                        \
    X(unregister, "n", 50)        X(whereis, "n", 50)         X(registered, "", 30)      X(send, "wgx", 150) \
    X(send_name, "ngx", 90)       X(timer, "4wjgxv", 80)      X(timers, "wx", 10)        X(cancel, "t", 60)  \
    X(read, "t", 40)              X(recv, "i", 60)            X(recv_tag, "Gi", 80)      X(recv_tags, "GG", 40) \
    X(recv_ref, "yi", 80)         X(recv_from, "w", 40)       X(recv_val, "gx", 30)      X(flush, "", 30)    \
    X(await, "g", 40)             X(alive, "w", 30)           X(relations, "w3", 120)    X(queue, "w", 50)   \
    X(trapping, "w", 20)          X(put, "34", 30)            X(get, "3", 20)            X(erase, "3", 20)   \
    X(priority, "3", 20)          X(suspend, "w", 40)         X(resume, "w", 40)         X(hibernate, "", 30) \
    X(yield, "", 10)

enum { WORKERS = 8, VARS = 64, ARGS = 6, NAMES = 4, LINES = 64 };

typedef enum op_code {
#define X(name, args, weight) OP_##name,
    OPS(X)
#undef X
    OP_COUNT
} op_code;

#endif /* CONFORMANCE_OPS_H */
