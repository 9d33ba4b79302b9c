/* trace_svg: draws a timeline that otp_trace.h has written as SVG.                         SPDX-License-Identifier: MIT
   cc -O2 -o trace_svg tools/trace_svg.c -lm

   trace_svg [--from MS] [--to MS] [--width PX] [--no-arrows] FILE.json > picture.svg     (FILE may be -)

   One row for each track, one box for each slice, a line for each message (grey) and spawn (green), a tick for each exit
   (red), steal (orange) and wake (blue). What is too small to be seen is left out, so that the picture stays small:
   zoom in with --from and --to. For all details open the file in chrome://tracing or ui.perfetto.dev. */

#include "json.h"

#include <math.h>
#include <stdint.h>

enum { LABEL = 118, ROW = 30, BOX = 20, TOP = 26, MAX_TRACKS = 400, LETTER = 6 };

typedef struct track { int tid; const char *name; double drawn; bool used; } track;

static track tracks[MAX_TRACKS];
static int n_tracks;
static double from = -1, to = -1, width = 960;
static bool arrows = true;

static int by_tid(const void *x, const void *y)
{
    const track *a = x, *b = y;
    return a->tid < b->tid ? -1 : a->tid > b->tid;
}

static track *track_of(const json *e)
{
    int tid = (int)json_number(e, "tid");
    for (int i = 0; i < n_tracks; i++)
        if (tracks[i].tid == tid) return &tracks[i];
    return NULL;
}

static double row_of(const track *t) { return TOP + (double)(t - tracks) * ROW; }
static double x_of(double us) { return LABEL + (us - from) / (to - from) * (width - LABEL - 10); }

static void escaped(const char *text, size_t most)
{
    size_t n = 0;
    for (const char *c = text; *c; c++) {
        if (((unsigned char)*c & 0xc0) != 0x80 && n++ == most) break;    /* the bytes that follow belong to a letter */
        if (*c == '<') fputs("&lt;", stdout);
        else if (*c == '>') fputs("&gt;", stdout);
        else if (*c == '&') fputs("&amp;", stdout);
        else if (*c == '"') fputs("&quot;", stdout);
        else if ((unsigned char)*c < 0x20) putchar('?');
        else putchar(*c);
    }
}

/* The same name has the same colour, everywhere. */
static void colour(const json *e)
{
    const char *cat = json_text(e, "cat");
    uint32_t h = 2166136261u;
    for (const char *c = json_text(e, "name"); *c; c++) h = (h ^ (unsigned char)*c) * 16777619u;
    if (strcmp(json_text(e, "name"), "asleep") == 0) printf("#e8e8e8");
    else if (strcmp(cat, "other") == 0) printf("#b0b0b0");
    else printf("hsl(%u,%u%%,%u%%)", (h >> 8) % 360, strcmp(cat, "process") == 0 ? 55u : 25u, 72u);
}

static size_t letters(const char *text)
{
    size_t n = 0;
    for (; *text; text++) n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void draw_slice(const json *e)
{
    track *t = track_of(e);
    double at = json_number(e, "ts"), end = at + json_number(e, "dur");
    if (!t || end < from || at > to) return;
    double x = x_of(at < from ? from : at), w = x_of(end > to ? to : end) - x;
    if (x + w < t->drawn + 0.4) return;         /* nobody would see it */
    if (w < 0.6) w = 0.6;
    t->drawn = x + w;
    const char *name = json_text(e, "name"), *pid = json_text(json_get(e, "args"), "pid");
    printf("<rect x=\"%.1f\" y=\"%.0f\" width=\"%.1f\" height=\"%d\" fill=\"", x, row_of(t), w, BOX);
    colour(e);
    if (w > 3) {
        printf("\"><title>");
        escaped(name, 80);
        if (*pid) putchar(' ');
        escaped(pid, 80);
        printf(", %.1f us at %.1f us</title></rect>\n", end - at, at);
    } else {
        printf("\"/>\n");
    }
    if (w < 3 * LETTER || w < (double)letters(name) * LETTER * 0.6) return;
    printf("<text x=\"%.1f\" y=\"%.0f\">", x + 3, row_of(t) + 14);
    escaped(name, (size_t)((w - 4) / LETTER));
    printf("</text>\n");
}

static void draw_instant(const json *e)
{
    track *t = track_of(e);
    double at = json_number(e, "ts");
    const char *name = json_text(e, "name");
    if (!t || at < from || at > to || strcmp(name, "spawn") == 0) return;
    printf("<path d=\"M%.1f %.0fv%d\" stroke=\"%s\"/>\n", x_of(at), row_of(t) + BOX - 1, 5,
           strncmp(name, "exit", 4) == 0 ? "#d02020" : strcmp(name, "steal") == 0 ? "#e08000" : "#4080e0");
}

/* From the lower edge of the box of the sender to the box of the receiver. Two ends in the same box are left out. */
static void draw_arrow(const json *s, const json *f)
{
    track *a = track_of(s), *b = f ? track_of(f) : NULL;
    double at = json_number(s, "ts"), end = json_number(f, "ts");
    if (!a || !b || at < from || end > to) return;
    double x1 = x_of(at), x2 = x_of(end), y1 = row_of(a), y2 = row_of(b);
    bool spawn = strcmp(json_text(s, "cat"), "spawn") == 0;
    if (a == b && x2 - x1 < 4) return;
    if (y2 > y1) y1 += BOX;
    else if (y1 > y2) y2 += BOX;
    double bend = a == b ? -7 : (y2 - y1) / 2;      /* on one track: an arc above it */
    printf("<path d=\"M%.1f %.0fC%.1f %.0f %.1f %.0f %.1f %.0f\" stroke=\"%s\" marker-end=\"url(#%c)\"/>\n", x1, y1, x1,
           y1 + bend, x2, a == b ? y2 + bend : y2 - bend, x2, y2, spawn ? "#30a050" : "#707070", spawn ? 'g' : 'k');
}

static void draw_axis(double height)
{
    double span = to - from, step = pow(10, floor(log10(span > 0 ? span : 1))) / 2;
    while (span / step > 8) step *= 2;
    for (double v = ceil(from / step) * step; v <= to; v += step) {
        printf("<path d=\"M%.1f %dV%.0f\" stroke=\"#d8d8d8\"/>\n", x_of(v), TOP - 6, height - 4);
        printf("<text x=\"%.1f\" y=\"%d\" fill=\"#606060\">%g ms</text>\n", x_of(v) + 2, TOP - 8, v / 1000);
    }
}

static void draw(const json *j, size_t n)
{
    double height = TOP + n_tracks * ROW + 4;
    printf("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
           "font-family=\"monospace\" font-size=\"10\" fill=\"none\">\n",
           width, height, width, height);
    printf("<defs>");
    for (int i = 0; i < 2; i++)
        printf("<marker id=\"%c\" markerWidth=\"5\" markerHeight=\"5\" refX=\"4\" refY=\"2\" orient=\"auto\">"
               "<path d=\"M0 0L5 2L0 4z\" fill=\"%s\"/></marker>", i ? 'g' : 'k', i ? "#30a050" : "#707070");
    printf("</defs>\n<rect width=\"%.0f\" height=\"%.0f\" fill=\"#ffffff\"/>\n<g fill=\"#202020\">\n", width, height);
    draw_axis(height);
    for (int i = 0; i < n_tracks; i++) {
        printf("<text x=\"4\" y=\"%.0f\">", row_of(&tracks[i]) + 14);
        escaped(tracks[i].name, (LABEL - 6) / LETTER);
        printf("</text>\n");
    }
    for (json *e = json_get(j, "traceEvents")->first; e; e = e->next)
        if (strcmp(json_text(e, "ph"), "X") == 0) draw_slice(e);
    printf("</g>\n<g stroke-width=\"0.8\">\n");
    const json **start = json_memory((n + 2) * sizeof(json *));
    for (json *e = json_get(j, "traceEvents")->first; e && arrows; e = e->next) {
        const char *ph = json_text(e, "ph");
        double id = json_number(e, "id");
        if (id < 0 || id > (double)n) continue;
        if (strcmp(ph, "s") == 0) start[(size_t)id] = e;
        else if (strcmp(ph, "f") == 0 && start[(size_t)id]) draw_arrow(start[(size_t)id], e);
    }
    for (json *e = json_get(j, "traceEvents")->first; e; e = e->next)
        if (strcmp(json_text(e, "ph"), "i") == 0) draw_instant(e);
    printf("</g>\n</svg>\n");
}

/* The tracks that have something to show, in the order of their numbers, and the whole stretch of time. */
static size_t survey(const json *j)
{
    size_t n = 0;
    double first = 0, last = 0;
    for (json *e = json_get(j, "traceEvents")->first; e; e = e->next, n++) {
        if (strcmp(json_text(e, "name"), "thread_name") == 0 && n_tracks < MAX_TRACKS) {
            tracks[n_tracks].tid = (int)json_number(e, "tid");
            tracks[n_tracks++].name = json_text(json_get(e, "args"), "name");
        }
        double end = json_number(e, "ts") + (json_get(e, "dur") ? json_number(e, "dur") : 0);
        if (end > last) last = end;
    }
    if (from < 0) from = first;
    if (to < 0) to = last;
    for (json *e = json_get(j, "traceEvents")->first; e; e = e->next) {
        track *t = strcmp(json_text(e, "ph"), "X") == 0 && strcmp(json_text(e, "name"), "asleep") != 0 ? track_of(e) : NULL;
        if (t && json_number(e, "ts") <= to && json_number(e, "ts") + json_number(e, "dur") >= from) t->used = true;
    }
    int kept = 0;
    for (int i = 0; i < n_tracks; i++)
        if (tracks[i].used) tracks[kept++] = tracks[i];
    n_tracks = kept;
    qsort(tracks, (size_t)n_tracks, sizeof tracks[0], by_tid);
    return n;
}

int main(int argc, char **argv)
{
    const char *path = NULL, *error = NULL;
    for (int i = 1; i < argc; i++) {
        double v = i + 1 < argc ? strtod(argv[i + 1], NULL) : -1;
        if (strcmp(argv[i], "--no-arrows") == 0) arrows = false;
        else if (strcmp(argv[i], "--from") == 0 && v >= 0) from = v * 1000, i++;
        else if (strcmp(argv[i], "--to") == 0 && v > 0) to = v * 1000, i++;
        else if (strcmp(argv[i], "--width") == 0 && v >= 300) width = v, i++;
        else if (argv[i][0] != '-' || argv[i][1] == 0) path = argv[i];
        else path = NULL, argc = 0;
    }
    if (!path) {
        fprintf(stderr, "usage: trace_svg [--from MS] [--to MS] [--width PX] [--no-arrows] FILE.json\n");
        return 2;
    }
    size_t size = 0;
    char *text = json_file(path, &size);
    if (!text) {
        fprintf(stderr, "trace_svg: %s cannot be read\n", path);
        return 1;
    }
    json *j = json_parse(text, size, &error);
    if (!j || !json_get(j, "traceEvents")) {
        fprintf(stderr, "trace_svg: %s: %s\n", path, j ? "no traceEvents" : error);
        return 1;
    }
    size_t n = survey(j);
    if (n_tracks == 0 || to <= from) {
        fprintf(stderr, "trace_svg: %s: nothing to draw between %g and %g ms\n", path, from / 1000, to / 1000);
        return 1;
    }
    draw(j, n);
    return ferror(stdout) || fflush(stdout) != 0;
}
