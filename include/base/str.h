/* Text: bounded, escaped, growing. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STR_CLEAN_MAX 4096

/* Copies text from outside for a log line: at most `room - 1` bytes and never more than STR_CLEAN_MAX,
 * line breaks and tabs as blanks, what else a terminal obeys and broken UTF-8 as '?', cut on a character's border; secrets and the queries of URLs
 * are left out (redact_text()). `from` is all that is known, not a piece: a secret that is cut before it
 * comes here is known by its first twelve bytes only. Returns `to`. NULL reads as "". */
const char *str_clean(char *to, size_t room, const char *from);

/* `host` (a name, an address, a socket's path or abstract name) if it looks like one, else "…": what was taken
 * for a host may be a piece of a password. NULL reads as "". */
const char *str_host(const char *host);

/* Length in bytes of the character at `text` if a terminal obeys it (C0, DEL, C1, and those that turn the
 * direction of text or break a line); else 0. `*ret_code` is the character. */
size_t str_obeyed(const char *text, size_t size, unsigned *ret_code);

/* Cuts `s` to at most `limit` bytes on a UTF-8 character's border. */
size_t str_cut(const char *s, size_t limit);

/* True when `s` has the form of a UUID, in lower or upper case. */
bool str_is_uuid(const char *s);

#define STR_UUID_SIZE 37

/* A UUID of version 7: ordered by the time it was made at, and else random, so that it can't be given twice. */
void str_uuid7(uint64_t unix_msec, const uint8_t random[static 10], char ret[static STR_UUID_SIZE]);

/* True when the `size` bytes are UTF-8 without NUL. */
bool str_is_utf8(const char *s, size_t size);

/* No blank and no control character: text that may stand in a URL or a header. */
bool str_is_graphic(const char *s);

/* True when the text begins and ends with the same quotation mark, as a shell would take it away. */
bool str_is_quoted(const char *s);

/* True when nothing of `s` would be seen: it is empty, or has nothing but blanks of any kind (Unicode's
 * White_Space), controls and characters without width (Default_Ignorable_Code_Point). UTF-8. */
bool str_is_blank(const char *s);

/* A growing buffer of bytes, always terminated once something was added. */
typedef struct StrBuf {
    char *text;
    size_t size, room;
} StrBuf;

int strbuf_add(StrBuf *b, const char *bytes, size_t size);
int strbuf_printf(StrBuf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void strbuf_done(StrBuf *b);

/* printf() into new memory; NULL when there is none. */
char *str_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* True when `host` at `port` is meant by one of the space-separated `patterns`: a name or "*.domain", with a
 * port, or without one, which means `standard_port`. Case does not matter. */
bool str_host_matches(const char *patterns, const char *host, unsigned port,
                      unsigned standard_port);

#define STR_HOST_SIZE 256

/* Splits HOST:PORT or [V6]:PORT, the port being a number up to 65535. False: it is neither. */
bool str_split_address(const char *text, char ret_host[static STR_HOST_SIZE], unsigned *ret_port);
