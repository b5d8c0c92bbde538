/* Makes a small valid picture, as a painting model would give it. There is no compression in it,
 * so no library is needed. */
#include <string.h>

#include "glb.h"

#define SIDE 16 /* pixels */

static void add_be32(Buf *b, uint32_t v) {
    unsigned char bytes[4] = { v >> 24, v >> 16 & 255, v >> 8 & 255, v & 255 };

    buf_add(b, bytes, sizeof bytes);
}

/* A chunk has its CRC-32 over type and content. */
static void add_chunk(Buf *png, const char type[static 4], const Buf *content) {
    size_t first;
    uint32_t crc = UINT32_MAX;

    add_be32(png, (uint32_t) content->size);
    first = png->size;
    buf_add(png, type, 4);
    buf_add(png, content->text, content->size);
    if (png->failed)
        return;
    for (size_t i = first; i < png->size; i++) {
        crc ^= (unsigned char) png->text[i];
        for (int k = 0; k < 8; k++)
            crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
    }
    add_be32(png, ~crc);
}

/* One colour fading to black, not compressed: a zlib stream may hold plain blocks. */
void png_make(uint64_t seed, Buf *ret) {
    _cleanup_(buf_done) Buf rows = { 0 }, head = { 0 }, data = { 0 }, none = { 0 };
    uint64_t colour = text_mix(seed);
    uint32_t a = 1, b = 0; /* Adler-32 */
    unsigned char length[5];

    for (unsigned y = 0; y < SIDE; y++) {
        buf_add(&rows, "\0", 1); /* no filter */
        for (unsigned x = 0; x < SIDE; x++)
            for (unsigned c = 0; c < 3; c++) {
                unsigned char v = (unsigned char) ((colour >> 8 * c & 255) * (SIDE - y) / SIDE);

                buf_add(&rows, &v, 1);
            }
    }
    for (size_t i = 0; i < rows.size; i++) {
        a = (a + (unsigned char) rows.text[i]) % 65521;
        b = (b + a) % 65521;
    }

    add_be32(&head, SIDE);
    add_be32(&head, SIDE);
    buf_add(&head, "\x08\x02\0\0\0", 5); /* 8 bits, RGB */

    length[0] = 1; /* the last block, stored */
    length[1] = rows.size & 255;
    length[2] = (unsigned char) (rows.size >> 8);
    length[3] = (unsigned char) ~length[1];
    length[4] = (unsigned char) ~length[2];
    buf_add(&data, "\x78\x01", 2);
    buf_add(&data, length, sizeof length);
    buf_add(&data, rows.text, rows.size);
    add_be32(&data, b << 16 | a);

    buf_add(ret, "\x89PNG\r\n\x1a\n", 8);
    add_chunk(ret, "IHDR", &head);
    add_chunk(ret, "IDAT", &data);
    add_chunk(ret, "IEND", &none);
    if (rows.failed || head.failed || data.failed)
        ret->failed = true;
}
