/* The commands: each puts operations into requests to shards and steps into the plan of the reply. Included by
   connection.h, for kv_server.c.                                                      SPDX-License-Identifier: MIT */

#ifndef KV_COMMANDS_H
#define KV_COMMANDS_H

typedef struct command {
    const char *name;                   /* at most 8 letters */
    int arity;                          /* with the name itself; < 0: at least so many */
    void (*run)(connection *c, const struct command *cmd);
    op_code op;
    int flags;
    char kind;                          /* 'w'rites, 'r'eads, or has no keys: ' ' */
    int last_key, key_step;
} command;

/* Whether an argument is this word, which is given in lower case. */
static bool is_word(const argument *a, const char *word)
{
    if (a->len != strlen(word)) return false;
    for (size_t i = 0; i < a->len; i++) {
        char ch = a->p[i];
        if (ch >= 'A' && ch <= 'Z') ch = (char)(ch + ('a' - 'A'));
        if (ch != word[i]) return false;
    }
    return true;
}

static bool int_argument(connection *c, size_t i, int64_t *value)
{
    if (text_to_int(c->argv[i].p, c->argv[i].len, value)) return true;
    say(c, REPLY_NOT_INT);
    return false;
}

static void wrong_arity(connection *c, const char *name)
{
    say_error(c, "ERR wrong number of arguments for '%s' command", name);
}

/* For "%.*s": what a client sent, cut to a length that fits an error line. */
static int shown(const argument *a) { return a->len < 128 ? (int)a->len : 128; }

static void unknown_subcommand(connection *c, const char *name)
{
    say_error(c, "ERR unknown subcommand '%.*s'. Try %s HELP.", shown(&c->argv[1]), c->argv[1].p, name);
}

/* A time to live in units of so many ms, as ms. */
static bool ttl_argument(connection *c, size_t i, int64_t unit, const char *name, int64_t *ms)
{
    int64_t n;
    if (!int_argument(c, i, &n)) return false;
    if (n > INT64_MAX / 2 / unit || n < INT64_MIN / 2 / unit) {
        say_error(c, "ERR invalid expire time in '%s' command", name);
        return false;
    }
    *ms = n * unit;
    return true;
}

static bool positive_ttl_argument(connection *c, size_t i, int64_t unit, const char *name, int64_t *ms)
{
    if (!ttl_argument(c, i, unit, name, ms)) return false;
    if (*ms > 0) return true;
    say_error(c, "ERR invalid expire time in '%s' command", name);
    return false;
}

/* -- strings ------------------------------------------------------------------------------------------- */

/* GET STRLEN TYPE TTL …: one key, one operation, and its result is the reply. */
static void command_key(connection *c, const command *cmd)
{
    ask_key(c, STEP_COPY, cmd->op, cmd->flags, &c->argv[1], &no_argument, 0);
}

/* APPEND SETNX GETSET: a key and a value. */
static void command_key_value(connection *c, const command *cmd)
{
    ask_key(c, STEP_COPY, cmd->op, cmd->flags, &c->argv[1], &c->argv[2], 0);
}

static void command_set(connection *c, const command *cmd)
{
    int flags = 0;
    int64_t ttl = 0;
    bool timed = false;
    for (size_t i = 3; i < c->argc; i++) {
        const argument *a = &c->argv[i];
        bool seconds = is_word(a, "ex");
        if (is_word(a, "nx")) flags |= SET_NX;
        else if (is_word(a, "xx")) flags |= SET_XX;
        else if (is_word(a, "get")) flags |= SET_GET;
        else if (is_word(a, "keepttl")) flags |= SET_KEEPTTL;
        else if ((seconds || is_word(a, "px")) && i + 1 < c->argc && !timed) {
            if (!positive_ttl_argument(c, ++i, seconds ? 1000 : 1, cmd->name, &ttl)) return;
            timed = true;
        } else {
            say(c, REPLY_SYNTAX);
            return;
        }
    }
    if ((flags & (SET_NX | SET_XX)) == (SET_NX | SET_XX) || (timed && (flags & SET_KEEPTTL) != 0)) {
        say(c, REPLY_SYNTAX);
        return;
    }
    ask_key(c, STEP_COPY, OP_SET, flags, &c->argv[1], &c->argv[2], ttl);
}

/* SETEX PSETEX: key, time, value */
static void command_setex(connection *c, const command *cmd)
{
    int64_t ttl;
    if (positive_ttl_argument(c, 2, cmd->flags, cmd->name, &ttl))
        ask_key(c, STEP_COPY, OP_SET, 0, &c->argv[1], &c->argv[3], ttl);
}

/* INCR DECR INCRBY DECRBY */
static void command_add(connection *c, const command *cmd)
{
    int64_t by = 1;
    if (c->argc == 3 && !int_argument(c, 2, &by)) return;
    if (cmd->flags < 0 && by == INT64_MIN) {
        say(c, "-ERR decrement would overflow\r\n");
        return;
    }
    ask_key(c, STEP_COPY, OP_ADD, 0, &c->argv[1], &no_argument, by * cmd->flags);
}

static void command_expire(connection *c, const command *cmd)
{
    int64_t ttl;
    if (ttl_argument(c, 2, cmd->flags, cmd->name, &ttl))
        ask_key(c, STEP_COPY, OP_EXPIRE, 0, &c->argv[1], &no_argument, ttl);
}

/* -- several keys ---------------------------------------------------------------------------------------- */

static void command_mget(connection *c, const command *cmd)
{
    (void)cmd;
    say_number(c, '*', (int64_t)c->argc - 1);
    for (size_t i = 1; i < c->argc; i++) ask_key(c, STEP_COPY, OP_GET, 0, &c->argv[i], &no_argument, 0);
}

static void command_mset(connection *c, const command *cmd)
{
    if (c->argc % 2 == 0) {
        wrong_arity(c, cmd->name);
        return;
    }
    for (size_t i = 1; i < c->argc; i += 2) ask_key(c, STEP_DROP, OP_SET, 0, &c->argv[i], &c->argv[i + 1], 0);
    plan(c, STEP_OK, 0, 0);
}

/* DEL EXISTS: how many of the keys. */
static void command_count(connection *c, const command *cmd)
{
    for (size_t i = 1; i < c->argc; i++) ask_key(c, STEP_ADD, cmd->op, 0, &c->argv[i], &no_argument, 0);
    plan(c, STEP_SUM, 0, 0);
}

/* -- the whole store ------------------------------------------------------------------------------------- */

static void command_dbsize(connection *c, const command *cmd)
{
    (void)cmd;
    ask_all(c, STEP_ADD, OP_COUNT, &no_argument);
    plan(c, STEP_SUM, 0, 0);
}

static void command_flush(connection *c, const command *cmd)
{
    (void)cmd;
    if (c->argc > 2 || (c->argc == 2 && !is_word(&c->argv[1], "async") && !is_word(&c->argv[1], "sync"))) {
        say(c, REPLY_SYNTAX);
        return;
    }
    ask_all(c, STEP_DROP, OP_FLUSH, &no_argument);
    plan(c, STEP_OK, 0, 0);
}

static void command_keys(connection *c, const command *cmd)
{
    (void)cmd;
    ask_all(c, STEP_KEYS, OP_KEYS, &c->argv[1]);
}

static void command_scan(connection *c, const command *cmd)
{
    (void)cmd;
    int64_t cursor, count = 10;
    const argument *pattern = &no_argument;
    bool none = false;
    if (!text_to_int(c->argv[1].p, c->argv[1].len, &cursor) || cursor < 0) {
        say(c, "-ERR invalid cursor\r\n");
        return;
    }
    for (size_t i = 2; i < c->argc; i += 2) {
        const argument *a = &c->argv[i];
        if (i + 1 < c->argc && is_word(a, "match")) {
            pattern = a + 1;
        } else if (i + 1 < c->argc && is_word(a, "type")) {
            none = !is_word(a + 1, "string");
        } else if (i + 1 < c->argc && is_word(a, "count")) {
            if (!int_argument(c, i + 1, &count)) return;
        } else {
            count = 0;
        }
        if (count < 1) {
            say(c, REPLY_SYNTAX);
            return;
        }
    }
    if (none) {
        say(c, "*2\r\n$1\r\n0\r\n*0\r\n");
        return;
    }
    uint32_t owner = (uint32_t)(cursor % config.shards);
    op o = { .code = OP_SCAN, .value_len = (uint32_t)pattern->len, .number = cursor / config.shards };
    o.count = count > 1000000 ? 1000000 : (uint32_t)count;
    add_op(c, owner, &o, "", pattern->p);
    plan(c, STEP_COPY, owner, 0);
}

static atomic_int connected;            /* for INFO: clients now, and all there ever were */
static atomic_long connected_ever;

static void command_info(connection *c, const command *cmd)
{
    (void)cmd;
    ask_all(c, STEP_STATS, OP_STATS, &no_argument);
    plan(c, STEP_INFO, 0, 0);
}

static void add_stats(shard_stats *sum, const char *result)
{
    shard_stats one;
    memcpy(&one, result, sizeof one);
    sum->keys += one.keys;
    sum->expires += one.expires;
    sum->ops += one.ops;
    sum->bytes += one.bytes;
    sum->expired += one.expired;
    sum->hits += one.hits;
    sum->misses += one.misses;
}

static void put_info(buf *out, const shard_stats *s)
{
    char text[1024];
    int n = snprintf(text, sizeof text,
                     "# Server\r\nredis_version:" REDIS_VERSION "\r\nserver_name:kv_server on otp.h " OTP_VERSION "\r\n"
                     "redis_mode:standalone\r\nprocess_id:%ld\r\ntcp_port:%d\r\nuptime_in_seconds:%lld\r\n"
                     "schedulers:%d\r\nshards:%u\r\n\r\n"
                     "# Clients\r\nconnected_clients:%d\r\nmaxclients:%u\r\n\r\n"
                     "# Memory\r\nused_memory_dataset:%lld\r\n\r\n"
                     "# Stats\r\ntotal_connections_received:%ld\r\ntotal_commands_processed:%lld\r\n"
                     "expired_keys:%lld\r\nkeyspace_hits:%lld\r\nkeyspace_misses:%lld\r\n\r\n"
                     "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n# Keyspace\r\n",
                     (long)getpid(), config.port, (long long)((otp_now() - config.started) / 1000), otp_schedulers(),
                     config.shards, atomic_load(&connected), config.max_clients, (long long)s->bytes,
                     atomic_load(&connected_ever), (long long)s->ops, (long long)s->expired, (long long)s->hits,
                     (long long)s->misses);
    if (n > 0 && n < (int)sizeof text && s->keys > 0) {
        n += snprintf(text + n, sizeof text - (size_t)n, "db0:keys=%lld,expires=%lld,avg_ttl=0\r\n", (long long)s->keys,
                      (long long)s->expires);
    }
    if (n < 0 || n >= (int)sizeof text) n = 0;
    put_bulk(out, text, (size_t)n);
}

/* -- the connection and the server ------------------------------------------------------------------------ */

static void command_ping(connection *c, const command *cmd)
{
    if (c->argc > 2) wrong_arity(c, cmd->name);
    else if (c->argc == 2) say_bulk(c, c->argv[1].p, c->argv[1].len);
    else say(c, "+PONG\r\n");
}

static void command_echo(connection *c, const command *cmd)
{
    (void)cmd;
    say_bulk(c, c->argv[1].p, c->argv[1].len);
}

static void command_select(connection *c, const command *cmd)
{
    (void)cmd;
    int64_t db;
    if (!int_argument(c, 1, &db)) return;
    say(c, db == 0 ? REPLY_OK : "-ERR DB index is out of range\r\n");
}

static void command_quit(connection *c, const command *cmd)
{
    (void)cmd;
    say(c, REPLY_OK);
    c->closing = true;
}

/* RESP2 only. Clients that ask for RESP3 are told as servers of old told them, and go on with RESP2. */
static void command_hello(connection *c, const command *cmd)
{
    (void)cmd;
    int64_t version = 2;
    if (c->argc > 1 && !text_to_int(c->argv[1].p, c->argv[1].len, &version)) {
        say(c, "-ERR Protocol version is not an integer or out of range\r\n");
        return;
    }
    if (version != 2) {
        say(c, "-NOPROTO unsupported protocol version\r\n");
        return;
    }
    if (c->argc > 2) {
        say_error(c, "ERR syntax error in HELLO option '%.*s'", shown(&c->argv[2]), c->argv[2].p);
        return;
    }
    size_t before = c->text.size;
    static const char *const pairs[][2] = {
        { "server", "redis" }, { "version", REDIS_VERSION }, { "mode", "standalone" }, { "role", "master" },
    };
    put_text(&c->text, "*14\r\n");
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        put_bulk_text(&c->text, pairs[i][0]);
        put_bulk_text(&c->text, pairs[i][1]);
    }
    put_bulk_text(&c->text, "proto");
    put_number(&c->text, ':', 2);
    put_bulk_text(&c->text, "id");
    put_number(&c->text, ':', (int64_t)c->id);
    put_bulk_text(&c->text, "modules");
    put_text(&c->text, "*0\r\n");
    plan_text(c, before);
}

static void client_setname(connection *c)
{
    const argument *a = &c->argv[2];
    client_name named = { .fd = c->fd };
    bool good = a->len < sizeof named.name;
    for (size_t i = 0; i < a->len && good; i++) good = a->p[i] > ' ' && a->p[i] <= '~';
    if (!good) {
        say(c, "-ERR Client names cannot contain spaces, newlines or special characters.\r\n");
        return;
    }
    memcpy(named.name, a->p, a->len);
    memcpy(c->name, named.name, sizeof c->name);
    if (otp_send_name(CLIENTS, CLIENTS_NAME, &named, sizeof named) == 0) say(c, REPLY_OK);
    else say(c, "-ERR the server is stopping\r\n");
}

static void client_list(connection *c, const void *which, size_t size)
{
    int error = 0;
    const otp_msg *m = otp_call_msg(otp_whereis(CLIENTS), CLIENTS_LIST, which, size, 5000, &error);
    if (m == NULL) say_error(c, "ERR %s", otp_strerror(error));
    else say_bulk(c, m->data, m->size);
}

static void command_client(connection *c, const command *cmd)
{
    (void)cmd;
    const argument *sub = &c->argv[1];
    if (is_word(sub, "id") && c->argc == 2) {
        say_number(c, ':', (int64_t)c->id);
    } else if (is_word(sub, "getname") && c->argc == 2) {
        if (c->name[0] == '\0') say(c, REPLY_NULL);
        else say_bulk(c, c->name, strlen(c->name));
    } else if (is_word(sub, "setname") && c->argc == 3) {
        client_setname(c);
    } else if (is_word(sub, "setinfo") && c->argc == 4) {
        say(c, REPLY_OK);
    } else if (is_word(sub, "list")) {
        client_list(c, NULL, 0);
    } else if (is_word(sub, "info") && c->argc == 2) {
        client_list(c, &c->fd, sizeof c->fd);
    } else {
        unknown_subcommand(c, "CLIENT");
    }
}

/* What redis-benchmark and others ask; the values tell the truth about this server. */
static void command_config(connection *c, const command *cmd)
{
    (void)cmd;
    char port[16], clients[16], value[16];
    const char *const settings[][2] = {
        { "appendonly", "no" }, { "bind", config.bind }, { "databases", "1" }, { "maxclients", clients },
        { "port", port }, { "proto-max-bulk-len", value }, { "save", "" }, { "timeout", "0" },
    };
    if (!is_word(&c->argv[1], "get")) {
        unknown_subcommand(c, "CONFIG");
        return;
    }
    if (c->argc < 3) {
        wrong_arity(c, "config|get");
        return;
    }
    snprintf(port, sizeof port, "%d", config.port);
    snprintf(clients, sizeof clients, "%u", config.max_clients);
    snprintf(value, sizeof value, "%u", config.max_value);
    int64_t found = 0;
    bool hit[sizeof settings / sizeof settings[0]];
    for (size_t i = 0; i < sizeof hit; i++) {
        hit[i] = false;
        for (size_t a = 2; a < c->argc && !hit[i]; a++)
            hit[i] = glob_match(c->argv[a].p, c->argv[a].len, settings[i][0], strlen(settings[i][0]));
        found += hit[i];
    }
    size_t before = c->text.size;
    put_number(&c->text, '*', found * 2);
    for (size_t i = 0; i < sizeof hit; i++) {
        if (!hit[i]) continue;
        put_bulk_text(&c->text, settings[i][0]);
        put_bulk_text(&c->text, settings[i][1]);
    }
    plan_text(c, before);
}

static void command_debug(connection *c, const command *cmd)
{
    (void)cmd;
    static volatile uintptr_t nowhere = 8;      /* volatile: else the compiler sees through it */
    if (!config.debug) {
        say(c, "-ERR DEBUG command not allowed. Start the server with --debug-commands to have it.\r\n");
    } else if (is_word(&c->argv[1], "segfault")) {
        *(volatile int *)nowhere = 1;           /* the end of this connection, and of nothing else */
    } else if (is_word(&c->argv[1], "sleep") && c->argc == 3) {
        char text[16] = "";
        memcpy(text, c->argv[2].p, c->argv[2].len < sizeof text ? c->argv[2].len : sizeof text - 1);
        double seconds = strtod(text, NULL);
        otp_sleep(seconds > 0 && seconds < 1e6 ? (int64_t)(seconds * 1000) : 0);    /* others do not notice */
        say(c, REPLY_OK);
    } else {
        unknown_subcommand(c, "DEBUG");
    }
}

static void command_command(connection *c, const command *cmd);

/* -- the table ----------------------------------------------------------------------------------------- */

static const command commands[] = {
    { "get", 2, command_key, OP_GET, 0, 'r', 1, 1 },
    { "set", -3, command_set, OP_SET, 0, 'w', 1, 1 },
    { "setnx", 3, command_key_value, OP_SET, SET_NX | SET_INT, 'w', 1, 1 },
    { "setex", 4, command_setex, OP_SET, 1000, 'w', 1, 1 },
    { "psetex", 4, command_setex, OP_SET, 1, 'w', 1, 1 },
    { "getset", 3, command_key_value, OP_SET, SET_GET, 'w', 1, 1 },
    { "getdel", 2, command_key, OP_GET, GET_DELETE, 'w', 1, 1 },
    { "append", 3, command_key_value, OP_APPEND, 0, 'w', 1, 1 },
    { "strlen", 2, command_key, OP_STRLEN, 0, 'r', 1, 1 },
    { "incr", 2, command_add, OP_ADD, 1, 'w', 1, 1 },
    { "decr", 2, command_add, OP_ADD, -1, 'w', 1, 1 },
    { "incrby", 3, command_add, OP_ADD, 1, 'w', 1, 1 },
    { "decrby", 3, command_add, OP_ADD, -1, 'w', 1, 1 },
    { "mget", -2, command_mget, OP_GET, 0, 'r', -1, 1 },
    { "mset", -3, command_mset, OP_SET, 0, 'w', -1, 2 },
    { "del", -2, command_count, OP_DEL, 0, 'w', -1, 1 },
    { "unlink", -2, command_count, OP_DEL, 0, 'w', -1, 1 },
    { "exists", -2, command_count, OP_EXISTS, 0, 'r', -1, 1 },
    { "touch", -2, command_count, OP_EXISTS, 0, 'r', -1, 1 },
    { "expire", 3, command_expire, OP_EXPIRE, 1000, 'w', 1, 1 },
    { "pexpire", 3, command_expire, OP_EXPIRE, 1, 'w', 1, 1 },
    { "ttl", 2, command_key, OP_TTL, 0, 'r', 1, 1 },
    { "pttl", 2, command_key, OP_TTL, TTL_MS, 'r', 1, 1 },
    { "persist", 2, command_key, OP_PERSIST, 0, 'w', 1, 1 },
    { "type", 2, command_key, OP_TYPE, 0, 'r', 1, 1 },
    { "keys", 2, command_keys, OP_KEYS, 0, ' ', 0, 0 },
    { "scan", -2, command_scan, OP_SCAN, 0, ' ', 0, 0 },
    { "dbsize", 1, command_dbsize, OP_COUNT, 0, ' ', 0, 0 },
    { "flushall", -1, command_flush, OP_FLUSH, 0, ' ', 0, 0 },
    { "flushdb", -1, command_flush, OP_FLUSH, 0, ' ', 0, 0 },
    { "ping", -1, command_ping, OP_GET, 0, ' ', 0, 0 },
    { "echo", 2, command_echo, OP_GET, 0, ' ', 0, 0 },
    { "select", 2, command_select, OP_GET, 0, ' ', 0, 0 },
    { "info", -1, command_info, OP_STATS, 0, ' ', 0, 0 },
    { "command", -1, command_command, OP_GET, 0, ' ', 0, 0 },
    { "client", -2, command_client, OP_GET, 0, ' ', 0, 0 },
    { "config", -2, command_config, OP_GET, 0, ' ', 0, 0 },
    { "hello", -1, command_hello, OP_GET, 0, ' ', 0, 0 },
    { "debug", -2, command_debug, OP_GET, 0, ' ', 0, 0 },
    { "quit", -1, command_quit, OP_GET, 0, ' ', 0, 0 },
};
#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

/* Command names have at most 8 letters, so a name is a number: found with one look in most cases. */
#define INDEX_SIZE 128u
static struct { uint64_t word; const command *command; } command_index[INDEX_SIZE];

static inline uint64_t name_word(const char *name, size_t len)
{
    uint64_t word = 0;
    for (size_t i = 0; i < len; i++) word = word << 8 | (uint64_t)((unsigned char)name[i] | 0x20);
    return word;                        /* '| 0x20' makes a letter lower case, and a letter of nothing else */
}

static inline uint32_t index_of(uint64_t word) { return (uint32_t)((word * 0x9E3779B97F4A7C15u) >> 57); }

static void index_commands(void)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        uint64_t word = name_word(commands[i].name, strlen(commands[i].name));
        uint32_t at = index_of(word);
        while (command_index[at].command != NULL) at = (at + 1) % INDEX_SIZE;
        command_index[at].word = word;
        command_index[at].command = &commands[i];
    }
}

static const command *find_command(const argument *name)
{
    if (name->len > 8) return NULL;
    uint64_t word = name_word(name->p, name->len);
    for (uint32_t at = index_of(word); command_index[at].command != NULL; at = (at + 1) % INDEX_SIZE)
        if (command_index[at].word == word) return command_index[at].command;
    return NULL;
}

static void unknown_command(connection *c)
{
    char args[200] = "";
    size_t n = 0;
    for (size_t i = 1; i < c->argc && n < 128; i++) {
        size_t length = c->argv[i].len < 128 - n ? c->argv[i].len : 128 - n;
        int added = snprintf(args + n, sizeof args - n, "'%.*s' ", (int)length, c->argv[i].p);
        if (added < 0 || (size_t)added >= sizeof args - n) break;
        n += (size_t)added;
    }
    say_error(c, "ERR unknown command '%.*s', with args beginning with: %s", shown(&c->argv[0]), c->argv[0].p, args);
}

static void run_command(connection *c)
{
    const command *cmd = find_command(&c->argv[0]);
    int64_t argc = (int64_t)c->argc;
    if (cmd == NULL) unknown_command(c);
    else if (cmd->arity >= 0 ? argc != cmd->arity : argc < -cmd->arity) wrong_arity(c, cmd->name);
    else cmd->run(c, cmd);
}

static void put_command(buf *out, const command *cmd)
{
    if (cmd == NULL) {
        put_text(out, "*-1\r\n");
        return;
    }
    put_text(out, "*6\r\n");
    put_bulk_text(out, cmd->name);
    put_number(out, ':', cmd->arity);
    put_text(out, cmd->kind == 'w' ? "*1\r\n+write\r\n" : cmd->kind == 'r' ? "*1\r\n+readonly\r\n" : "*0\r\n");
    put_number(out, ':', cmd->last_key != 0 ? 1 : 0);
    put_number(out, ':', cmd->last_key);
    put_number(out, ':', cmd->key_step);
}

/* COMMAND, COMMAND COUNT, COMMAND INFO name …, COMMAND LIST, COMMAND DOCS (of which there are none) */
static void command_command(connection *c, const command *cmd)
{
    (void)cmd;
    const argument *sub = c->argc > 1 ? &c->argv[1] : NULL;
    size_t before = c->text.size;
    if (sub == NULL) {
        put_number(&c->text, '*', (int64_t)COMMAND_COUNT);
        for (size_t i = 0; i < COMMAND_COUNT; i++) put_command(&c->text, &commands[i]);
    } else if (is_word(sub, "count")) {
        put_number(&c->text, ':', (int64_t)COMMAND_COUNT);
    } else if (is_word(sub, "docs")) {
        put_text(&c->text, "*0\r\n");
    } else if (is_word(sub, "list")) {
        put_number(&c->text, '*', (int64_t)COMMAND_COUNT);
        for (size_t i = 0; i < COMMAND_COUNT; i++) put_bulk_text(&c->text, commands[i].name);
    } else if (is_word(sub, "info")) {
        put_number(&c->text, '*', (int64_t)c->argc - 2);
        for (size_t i = 2; i < c->argc; i++) put_command(&c->text, find_command(&c->argv[i]));
    } else {
        unknown_subcommand(c, "COMMAND");
        return;
    }
    plan_text(c, before);
}

#endif
