/* json.h: a small strict parser of JSON (RFC 8259), for the tools and tests of this project.  SPDX-License-Identifier: MIT

   json *j = json_parse(text, size, &error);     NULL and a text that says what is wrong where
   json_get(j, "key"), json_text(j, "key"), json_number(j, "key"), and j->first … ->next for the members.

   Nothing is freed: these programs read one file and end, or read small ones. */

#ifndef JSON_H_INCLUDED
#define JSON_H_INCLUDED

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum json_kind { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT } json_kind;

typedef struct json {
    json_kind kind;
    const char *key;            /* of a member of an object */
    const char *text;           /* of a string, in UTF-8 */
    double number;
    struct json *first, *next;
} json;

typedef struct json_reader { const char *at, *end, *begin; const char *error; int depth; } json_reader;

static inline json *json_fail(json_reader *r, const char *error)
{
    if (!r->error) r->error = error;
    return NULL;
}

static inline void *json_memory(size_t size)
{
    void *p = calloc(1, size);
    if (!p) abort();
    return p;
}

static inline void json_space(json_reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\t' || *r->at == '\r')) r->at++;
}

static inline bool json_char(json_reader *r, char c)
{
    if (r->at < r->end && *r->at == c) return r->at++, true;
    return false;
}

static inline int json_hex(json_reader *r)
{
    int v = 0;
    for (int i = 0; i < 4; i++, r->at++) {
        if (r->at >= r->end) return -1;
        char c = *r->at;
        int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0) return -1;
        v = v * 16 + d;
    }
    return v;
}

/* A whole character of UTF-8 at r->at: its bytes; 0: it is none. */
static inline size_t json_utf8(const json_reader *r)
{
    const unsigned char *c = (const unsigned char *)r->at;
    size_t left = (size_t)(r->end - r->at), n = c[0] < 0x80 ? 1 : c[0] < 0xc2 ? 0 : c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : c[0] < 0xf5 ? 4 : 0;
    if (n > left) return 0;
    for (size_t i = 1; i < n; i++)
        if ((c[i] & 0xc0) != 0x80) return 0;
    if (n == 3 && ((c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] > 0x9f))) return 0;
    if (n == 4 && ((c[0] == 0xf0 && c[1] < 0x90) || (c[0] == 0xf4 && c[1] > 0x8f))) return 0;
    return n;
}

static inline char *json_put_utf8(char *to, unsigned c)
{
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xc0 | c >> 6);
        *to++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *to++ = (char)(0xe0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    } else {
        *to++ = (char)(0xf0 | c >> 18);
        *to++ = (char)(0x80 | (c >> 12 & 0x3f));
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    }
    return to;
}

static inline const char *json_string(json_reader *r)
{
    const char *close = r->at;
    while (close < r->end && *close != '"') close += *close == '\\' ? 2 : 1;
    if (close >= r->end) return json_fail(r, "a string without an end"), NULL;
    char *text = json_memory((size_t)(close - r->at) + 1), *to = text;      /* no escape is shorter than what it means */
    while (*r->at != '"') {
        size_t n = json_utf8(r);
        if (n == 0) return json_fail(r, "not UTF-8"), NULL;
        if ((unsigned char)*r->at < 0x20) return json_fail(r, "a control character in a string"), NULL;
        if (*r->at != '\\') {
            memcpy(to, r->at, n);
            to += n;
            r->at += n;
            continue;
        }
        static const char from[] = "\"\\/bfnrt", what[] = "\"\\/\b\f\n\r\t";
        const char *simple = r->at[1] ? strchr(from, r->at[1]) : NULL;
        r->at += 2;
        if (simple) {
            *to++ = what[simple - from];
        } else if (r->at[-1] == 'u') {
            int c = json_hex(r), low = 0;
            if (c >= 0xd800 && c < 0xdc00) {
                if (!json_char(r, '\\') || !json_char(r, 'u')) return json_fail(r, "half a character"), NULL;
                low = json_hex(r);
                c = low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00) : -1;
            } else if (c >= 0xdc00 && c < 0xe000) {
                c = -1;
            }
            if (c < 0) return json_fail(r, "a bad \\u"), NULL;
            to = json_put_utf8(to, (unsigned)c);
        } else {
            return json_fail(r, "a bad escape"), NULL;
        }
    }
    r->at++;
    return text;
}

static inline bool json_digits(json_reader *r)
{
    const char *from = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9') r->at++;
    return r->at > from;
}

static inline json *json_value(json_reader *r);

static inline json *json_number_value(json_reader *r, json *j)
{
    const char *from = r->at;
    (void)json_char(r, '-');
    if (!json_char(r, '0') && !json_digits(r)) return json_fail(r, "not a value");
    if (json_char(r, '.') && !json_digits(r)) return json_fail(r, "no digit behind the point");
    if (json_char(r, 'e') || json_char(r, 'E')) {
        if (!json_char(r, '+')) (void)json_char(r, '-');
        if (!json_digits(r)) return json_fail(r, "no digit in the exponent");
    }
    char text[64];
    size_t n = (size_t)(r->at - from);
    if (n >= sizeof text) return json_fail(r, "a very long number");
    memcpy(text, from, n);
    text[n] = 0;
    j->kind = JSON_NUMBER;
    j->number = strtod(text, NULL);
    return j;
}

static inline json *json_members(json_reader *r, json *j, char close)
{
    json **last = &j->first;
    if (++r->depth > 100) return json_fail(r, "too deep");
    json_space(r);
    if (json_char(r, close)) return r->depth--, j;
    for (;;) {
        const char *key = NULL;
        json_space(r);
        if (close == '}') {
            if (!json_char(r, '"')) return json_fail(r, "a member without a name");
            if ((key = json_string(r)) == NULL) return NULL;
            for (json *m = j->first; m; m = m->next)
                if (strcmp(m->key, key) == 0) return json_fail(r, "a name that is there twice");
            json_space(r);
            if (!json_char(r, ':')) return json_fail(r, "no colon");
        }
        json *m = json_value(r);
        if (!m) return NULL;
        m->key = key;
        *last = m;
        last = &m->next;
        if (json_char(r, close)) return r->depth--, j;
        if (!json_char(r, ',')) return json_fail(r, "no comma");
    }
}

static inline json *json_value(json_reader *r)
{
    static const struct { const char *word; json_kind kind; } words[] = {
        { "null", JSON_NULL }, { "false", JSON_FALSE }, { "true", JSON_TRUE },
    };
    json *j = json_memory(sizeof *j);
    json_space(r);
    if (json_char(r, '"')) {
        j->kind = JSON_STRING;
        if ((j->text = json_string(r)) == NULL) return NULL;
    } else if (json_char(r, '[') || json_char(r, '{')) {
        j->kind = r->at[-1] == '[' ? JSON_ARRAY : JSON_OBJECT;
        if (!json_members(r, j, j->kind == JSON_ARRAY ? ']' : '}')) return NULL;
    } else {
        size_t i = 0, n = 0;
        for (; i < 3; i++) {
            n = strlen(words[i].word);
            if ((size_t)(r->end - r->at) >= n && memcmp(r->at, words[i].word, n) == 0) break;
        }
        if (i < 3) {
            j->kind = words[i].kind;
            r->at += n;
        } else if (!json_number_value(r, j)) {
            return NULL;
        }
    }
    json_space(r);
    return j;
}

static inline json *json_parse(const char *text, size_t size, const char **error)
{
    json_reader r = { text, text + size, text, NULL, 0 };
    json *j = json_value(&r);
    if (j && r.at != r.end) j = json_fail(&r, "more behind the value");
    if (!j && error) {
        static char what[160];
        int line = 1;
        for (const char *c = text; c < r.at && c < r.end; c++) line += *c == '\n';
        if (snprintf(what, sizeof what, "line %d: %s", line, r.error) < 0) abort();
        *error = what;
    }
    return j;
}

static inline json *json_get(const json *j, const char *key)
{
    for (json *m = j && j->kind == JSON_OBJECT ? j->first : NULL; m; m = m->next)
        if (strcmp(m->key, key) == 0) return m;
    return NULL;
}

/* The string of a member; "" when there is none. */
static inline const char *json_text(const json *j, const char *key)
{
    json *m = json_get(j, key);
    return m && m->kind == JSON_STRING ? m->text : "";
}

/* The number of a member; -1 when there is none. */
static inline double json_number(const json *j, const char *key)
{
    json *m = json_get(j, key);
    return m && m->kind == JSON_NUMBER ? m->number : -1;
}

/* A whole file; NULL: it cannot be read. */
static inline char *json_file(const char *path, size_t *size)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    if (!f) return NULL;
    size_t room = 65536, n = 0, got;
    char *text = malloc(room);
    while (text && (got = fread(text + n, 1, room - n, f)) > 0) {
        n += got;
        if (n < room) continue;
        room *= 2;
        char *more = realloc(text, room);
        if (!more) free(text);
        text = more;
    }
    bool bad = ferror(f) != 0;
    if (f != stdin && fclose(f) != 0) bad = true;
    if (bad) free(text);
    *size = n;
    return bad ? NULL : text;
}

#endif /* JSON_H_INCLUDED */
