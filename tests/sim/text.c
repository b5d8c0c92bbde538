/* Texts for answers: a buffer that remembers a failed allocation, JSON, base64, URLs, times.
 * Written apart from the daemon's own helpers, which the simulator is to test and not to share. */
#include <ctype.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "text.h"

void buf_done(Buf *b) {
    free(b->text);
    *b = (Buf){ 0 };
}

/* After a failure the buffer takes no more, and whoever sends it looks once. */
static bool buf_grow(Buf *b, size_t more) {
    size_t room = b->room ? b->room : 256;
    char *text;

    if (b->failed || more > SIZE_MAX / 4)
        return !(b->failed = true);
    while (room < b->size + more + 1)
        room *= 2;
    if (room == b->room)
        return true;
    if (!(text = realloc(b->text, room)))
        return !(b->failed = true);
    b->text = text;
    b->room = room;
    return true;
}

void buf_add(Buf *b, const void *bytes, size_t size) {
    if (!buf_grow(b, size))
        return;
    if (size)
        memcpy(b->text + b->size, bytes, size);
    b->size += size;
    b->text[b->size] = '\0';
}

void buf_add_text(Buf *b, const char *text) {
    buf_add(b, text, strlen(text));
}

void buf_printf(Buf *b, const char *format, ...) {
    va_list ap;
    int n;

    if (!buf_grow(b, 200))
        return;
    va_start(ap, format);
    n = vsnprintf(b->text + b->size, b->room - b->size, format, ap);
    va_end(ap);
    if (n < 0) {
        b->failed = true;
    } else if ((size_t) n >= b->room - b->size) {
        if (!buf_grow(b, (size_t) n))
            return;
        va_start(ap, format);
        n = vsnprintf(b->text + b->size, b->room - b->size, format, ap);
        va_end(ap);
    }
    if (n > 0)
        b->size += (size_t) n;
}

void buf_add_json(Buf *b, const char *text) {
    if (!text) {
        buf_add_text(b, "null");
        return;
    }
    buf_add(b, "\"", 1);
    for (const char *p = text; *p;) {
        size_t plain =
            strcspn(p, "\"\\\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x10\x11"
                       "\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f");

        buf_add(b, p, plain);
        p += plain;
        if (!*p)
            break;
        if (*p == '\n')
            buf_add_text(b, "\\n");
        else if (*p == '\r')
            buf_add_text(b, "\\r");
        else if (*p == '"' || *p == '\\')
            buf_printf(b, "\\%c", *p);
        else
            buf_printf(b, "\\u%04x", (unsigned char) *p);
        p++;
    }
    buf_add(b, "\"", 1);
}

/* Replicate's API writes < > & in JSON as escapes while a prediction runs, and as they are
 * later. */
void buf_escape_html(Buf *b) {
    Buf out = { 0 };

    if (b->failed || !b->text || !strpbrk(b->text, "<>&"))
        return;
    for (const char *p = b->text; *p;) {
        size_t plain = strcspn(p, "<>&");

        buf_add(&out, p, plain);
        p += plain;
        if (*p)
            buf_printf(&out, "\\u%04x", (unsigned char) *p++);
    }
    free(b->text);
    *b = out;
}

char *buf_take(Buf *b) {
    if (!b->text)
        buf_add(b, "", 0);
    if (b->failed) {
        buf_done(b);
        return NULL;
    }
    b->size = b->room = 0;
    return TAKE(b->text);
}

static int hex(char c) {
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : -1;
}

static bool is_utf8(const unsigned char *p) {
    while (*p) {
        unsigned more = *p < 0x80                 ? 0
                        : *p >= 0xc2 && *p < 0xe0 ? 1
                        : (*p & 0xf0) == 0xe0     ? 2
                        : *p >= 0xf0 && *p < 0xf5 ? 3
                                                  : 9;

        if (more == 9)
            return false;
        for (p++; more; more--, p++)
            if ((*p & 0xc0) != 0x80)
                return false;
    }
    return true;
}

char *text_decode_url(const char *text, size_t size, bool *ret_bad) {
    _cleanup_free_ char *out = malloc(size + 1);
    size_t n = 0;

    *ret_bad = false;
    if (!out)
        return NULL;
    for (size_t i = 0; i < size; i++) {
        int high, low;

        if (text[i] != '%') {
            out[n++] = text[i];
            continue;
        }
        if (i + 2 >= size || (high = hex(text[i + 1])) < 0 || (low = hex(text[i + 2])) < 0 ||
            (high == 0 && low == 0)) {
            *ret_bad = true;
            return NULL;
        }
        out[n++] = (char) (high * 16 + low);
        i += 2;
    }
    out[n] = '\0';
    if (!is_utf8((const unsigned char *) out)) {
        *ret_bad = true;
        return NULL;
    }
    return TAKE(out);
}

void text_encode_url(Buf *b, const char *text) {
    for (; *text; text++)
        if (isalnum((unsigned char) *text) || strchr("-._~", *text))
            buf_add(b, text, 1);
        else
            buf_printf(b, "%%%02X", (unsigned char) *text);
}

void text_encode_base64(Buf *b, const void *bytes, size_t size, bool url) {
    const char *digits = url ? "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
                             : "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = bytes;

    for (size_t i = 0; i < size; i += 3) {
        unsigned left = size - i < 3 ? (unsigned) (size - i) : 3;
        uint32_t v = (uint32_t) p[i] << 16 | (left > 1 ? (uint32_t) p[i + 1] << 8 : 0) |
                     (left > 2 ? p[i + 2] : 0);
        char out[4] = { digits[v >> 18], digits[v >> 12 & 63], digits[v >> 6 & 63],
                        digits[v & 63] };

        buf_add(b, out, left + 1);
        if (!url)
            buf_add(b, "==", 3 - left);
    }
}

char *text_decode_base64(const char *text, size_t size, size_t *ret_size) {
    _cleanup_free_ char *out = malloc(size + 1);
    uint32_t v = 0;
    unsigned bits = 0;
    size_t n = 0;

    if (!out)
        return NULL;
    for (size_t i = 0; i < size && text[i] != '='; i++) {
        char c = text[i];
        unsigned digit = c >= 'A' && c <= 'Z'   ? (unsigned) (c - 'A')
                         : c >= 'a' && c <= 'z' ? (unsigned) (c - 'a' + 26)
                         : c >= '0' && c <= '9' ? (unsigned) (c - '0' + 52)
                         : c == '+' || c == '-' ? 62
                         : c == '/' || c == '_' ? 63
                                                : 64;

        if (digit == 64)
            return NULL;
        v = v << 6 | digit;
        if ((bits += 6) >= 8)
            out[n++] = (char) (v >> (bits -= 8));
    }
    out[n] = '\0';
    *ret_size = n;
    return TAKE(out);
}

/* `digits` of the second's fraction; `noise` fills those below a microsecond. */
void text_add_time(Buf *b, int64_t time_usec, unsigned digits, unsigned noise) {
    time_t seconds = (time_t) (time_usec / 1000000);
    struct tm tm;
    char fraction[16];

    gmtime_r(&seconds, &tm);
    snprintf(fraction, sizeof fraction, "%06u%03u", (unsigned) (time_usec % 1000000), noise % 1000);
    buf_printf(b, "%04d-%02d-%02dT%02d:%02d:%02d%s%.*sZ", tm.tm_year + 1900, tm.tm_mon + 1,
               tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, digits ? "." : "", (int) digits,
               fraction);
}

void text_add_http_time(Buf *b, int64_t time_usec) {
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t seconds = (time_t) (time_usec / 1000000);
    struct tm tm;

    gmtime_r(&seconds, &tm);
    buf_printf(b, "%.3s, %02d %.3s %d %02d:%02d:%02d GMT", days + (ptrdiff_t) 3 * tm.tm_wday,
               tm.tm_mday, months + (ptrdiff_t) 3 * tm.tm_mon, tm.tm_year + 1900, tm.tm_hour,
               tm.tm_min, tm.tm_sec);
}

/* ISO 8601 with a date alone, any fraction and any offset, as created_after takes it. */
bool text_parse_time(const char *text, int64_t *ret_usec) {
    struct tm tm = { 0 };
    const char *p = strptime(text, "%Y-%m-%d", &tm);
    int64_t fraction = 0, offset = 0;

    if (!p)
        return false;
    if (*p == 'T' || *p == ' ') {
        if (!(p = strptime(p + 1, "%H:%M:%S", &tm)))
            return false;
        if (*p == '.') {
            int64_t unit = 100000;

            for (p++; isdigit((unsigned char) *p); p++, unit /= 10)
                fraction += (*p - '0') * unit;
        }
        if (*p == 'Z' || *p == 'z') {
            p++;
        } else if (*p == '+' || *p == '-') {
            int sign = *p == '+' ? 1 : -1;
            int hours, minutes, n = 0;

            if (sscanf(p + 1, "%2d:%2d%n", &hours, &minutes, &n) != 2)
                return false;
            offset = sign * (hours * 3600 + minutes * 60);
            p += 1 + n;
        }
    }
    if (*p)
        return false;
    *ret_usec = ((int64_t) timegm(&tm) - offset) * 1000000 + fraction;
    return true;
}

/* "90", "90s", "1h30m": units from the largest to the smallest, each at most once. */
bool text_parse_lifetime(const char *text, int64_t *ret_usec) {
    int64_t seconds = 0;
    static const char all[] = "hms";
    const char *units = all, *unit;

    do {
        int64_t n = 0;
        int digits = 0;

        for (; isdigit((unsigned char) *text); text++, digits++)
            n = n * 10 + (*text - '0');
        if (!digits || digits > 9)
            return false;
        if (!*text && units == all) { /* a bare number: seconds */
            seconds += n;
            break;
        }
        if (!*text || !(unit = strchr(units, *text)))
            return false;
        seconds += n * (*unit == 'h' ? 3600 : *unit == 'm' ? 60 : 1);
        units = unit + 1;
        text++;
    } while (*text);

    *ret_usec = seconds * 1000000;
    return true;
}

/* SplitMix64's last step: neighbouring seeds give unlike numbers. */
uint64_t text_mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

/* FNV-1a. */
uint64_t text_seed(const char *text) {
    uint64_t h = 0xcbf29ce484222325;

    for (; *text; text++)
        h = (h ^ (unsigned char) *text) * 0x100000001b3;
    return text_mix(h);
}

int64_t text_now_usec(void) {
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}
