/* Growing byte buffers, RESP2 replies, numbers and glob patterns, for kv_server.c.   SPDX-License-Identifier: MIT */

#ifndef KV_BUFFER_H
#define KV_BUFFER_H

#include <limits.h>
#include <string.h>

#define BUF_SMALL ((size_t)65536)       /* a buffer up to this size is kept for good */

/* Bytes in the heap of the process that uses it: they go when the process goes. */
typedef struct buf {
    char *data;
    size_t size, cap;
    unsigned quiet;                     /* how often in a row it was far too large */
} buf;

/* Makes room for n more bytes. Without memory the process ends: only its own client notices. */
static void buf_reserve(buf *b, size_t n)
{
    size_t cap = b->cap < 512 ? 512 : b->cap;
    if (n > SIZE_MAX / 4 || b->size > SIZE_MAX / 4) otp_exit(OTP_ERROR(OTP_ENOMEM));
    while (cap - b->size < n) cap *= 2;
    char *data = otp_realloc(b->data, cap);
    if (data == NULL) otp_exit(OTP_ERROR(OTP_ENOMEM));
    b->data = data;
    b->cap = cap;
}

static inline char *buf_room(buf *b, size_t n)
{
    if (b->cap - b->size < n) buf_reserve(b, n);
    return b->data + b->size;
}

static inline void buf_put(buf *b, const void *data, size_t n)
{
    char *to = buf_room(b, n);
    if (n > 0) memcpy(to, data, n);
    b->size += n;
}

static void buf_release(buf *b)
{
    otp_free(b->data);
    *b = (buf){ 0 };
}

/* Empties a buffer, and gives its memory back when it was far too large 16 times in a row. */
static inline void buf_clear(buf *b)
{
    bool wasteful = b->cap > BUF_SMALL && b->size < b->cap / 8;
    b->size = 0;
    b->quiet = wasteful ? b->quiet + 1 : 0;
    if (b->quiet > 16) buf_release(b);
}

/* -- numbers ------------------------------------------------------------------------------------------- */

#define INT_DIGITS 20                   /* of the longest 64-bit integer, with its sign */

static size_t int_to_text(int64_t value, char out[INT_DIGITS])
{
    char digits[INT_DIGITS];
    size_t n = 0, length = 0;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do digits[n++] = (char)('0' + rest % 10); while ((rest /= 10) != 0);
    if (value < 0) out[length++] = '-';
    while (n > 0) out[length++] = digits[--n];
    return length;
}

/* Only what int_to_text would write: no spaces, no '+', no leading zeros. */
static bool text_to_int(const char *text, size_t length, int64_t *value)
{
    bool negative = length > 0 && text[0] == '-';
    size_t i = negative ? 1 : 0;
    uint64_t n = 0;
    if (length == i || length > INT_DIGITS || (text[i] == '0' && length > 1)) return false;
    for (; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (n > (UINT64_MAX - digit) / 10) return false;
        n = n * 10 + digit;
    }
    if (n > (uint64_t)INT64_MAX + (negative ? 1 : 0)) return false;
    *value = negative ? (int64_t)(0 - n) : (int64_t)n;
    return true;
}

/* -- replies ------------------------------------------------------------------------------------------- */

static inline void put_text(buf *b, const char *text) { buf_put(b, text, strlen(text)); }

/* A line of a sign and a number: ":5", "*2", "$-1". */
static void put_number(buf *b, char sign, int64_t value)
{
    char *line = buf_room(b, INT_DIGITS + 3);
    line[0] = sign;
    size_t n = 1 + int_to_text(value, line + 1);
    line[n++] = '\r';
    line[n++] = '\n';
    b->size += n;
}

static void put_bulk(buf *b, const void *data, size_t n)
{
    char *to = buf_room(b, n + INT_DIGITS + 5);
    put_number(b, '$', (int64_t)n);
    to = b->data + b->size;
    if (n > 0) memcpy(to, data, n);
    memcpy(to + n, "\r\n", 2);
    b->size += n + 2;
}

static void put_bulk_text(buf *b, const char *text) { put_bulk(b, text, strlen(text)); }

#define REPLY_OK "+OK\r\n"
#define REPLY_NULL "$-1\r\n"
#define REPLY_NOT_INT "-ERR value is not an integer or out of range\r\n"
#define REPLY_SYNTAX "-ERR syntax error\r\n"

/* -- patterns ------------------------------------------------------------------------------------------ */

/* One character against one element of a pattern: '?', "[a-z]", "[^a]", "\c" or a literal. Returns what follows
   the element, or NULL when the character does not match. */
static const char *glob_one(const char *p, const char *end, char c)
{
    if (*p == '?') return p + 1;
    if (*p == '\\' && p + 1 < end) return p[1] == c ? p + 2 : NULL;
    if (*p != '[') return *p == c ? p + 1 : NULL;
    bool negated = ++p < end && *p == '^', hit = false;
    if (negated) p++;
    for (; p < end && *p != ']'; p++) {
        if (*p == '\\' && p + 1 < end) p++;
        char low = *p, high = *p;
        if (p + 2 < end && p[1] == '-') {
            high = p[2];
            p += 2;
        }
        if (low > high) {
            char swap = low;
            low = high;
            high = swap;
        }
        if (c >= low && c <= high) hit = true;
    }
    if (p < end) p++;
    return hit != negated ? p : NULL;
}

/* Only the last '*' is ever tried again, so that no pattern takes more than length times length steps. */
static bool glob_match(const char *p, size_t pattern_length, const char *text, size_t length)
{
    const char *end = p + pattern_length, *stop = text + length;
    const char *star = NULL, *retry = NULL;
    while (text < stop || (p < end && *p == '*')) {
        const char *next = NULL;
        if (p < end && *p == '*') {
            star = ++p;
            retry = text;
            continue;
        }
        if (p < end) next = glob_one(p, end, *text);
        if (next != NULL) {
            p = next;
            text++;
        } else if (star != NULL) {
            p = star;
            text = ++retry;
        } else {
            return false;
        }
    }
    return p == end;
}

#endif
