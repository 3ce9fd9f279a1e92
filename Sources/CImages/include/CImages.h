// Decodes PNG and JPEG from memory with libpng and libjpeg, whose errors (longjmp) stay in C. Image in ImageFolders.swift calls it.
#ifndef CIMAGES_H
#define CIMAGES_H

#include <stddef.h>
#include <stdint.h>

enum { CIMAGES_NONE = 0, CIMAGES_PNG = 1, CIMAGES_JPEG = 2 };
enum { CIMAGES_MESSAGE_BYTES = 256 };

// What the header of an image says.
typedef struct {
  int kind;  // CIMAGES_PNG or CIMAGES_JPEG
  uint32_t width;
  uint32_t height;
  int channels;  // 1 for grey, 3 for colour; transparency does not count
} cimages_header;

// Reads the header alone; allocates nothing that grows with the image. Returns 1, or 0 with a message.
int cimages_read_header(const uint8_t *bytes, size_t count, cimages_header *header, char message[CIMAGES_MESSAGE_BYTES]);

// Decodes to width * height * channels bytes, row by row, channels (1 or 3) interleaved. Transparent parts lie on white.
// `header` is what cimages_read_header found in the same bytes. Returns 1, or 0 with a message.
int cimages_decode(
    const uint8_t *bytes, size_t count, const cimages_header *header, int channels, uint8_t *pixels,
    char message[CIMAGES_MESSAGE_BYTES]);

#endif
