// PNG by libpng's simplified interface, JPEG by libjpeg with an error manager of our own. See CImages.h.
#include "CImages.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

// A progressive JPEG is decoded once a scan; a file of empty scans would take time without end.
enum { scans_max = 64 };

static int fail(char *message, const char *reason) {
  snprintf(message, CIMAGES_MESSAGE_BYTES, "%s", reason);
  return 0;
}

static uint32_t big_endian(const uint8_t *bytes) {
  return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

// MARK: PNG

static int read_png_header(const uint8_t *bytes, size_t count, cimages_header *header, char *message) {
  if (count < 33 || memcmp(bytes + 12, "IHDR", 4) != 0) return fail(message, "the PNG has no header");
  header->kind = CIMAGES_PNG;
  header->width = big_endian(bytes + 16);
  header->height = big_endian(bytes + 20);
  // Colour types 0 and 4 are grey; 2, 3 (a palette) and 6 are colour.
  switch (bytes[25]) {
    case 0:
    case 4: header->channels = 1; break;
    case 2:
    case 3:
    case 6: header->channels = 3; break;
    default: return fail(message, "the PNG has an unknown colour type");
  }
  if (header->width == 0 || header->height == 0) return fail(message, "the PNG has no pixels");
  return 1;
}

static int decode_png(
    const uint8_t *bytes, size_t count, const cimages_header *header, int channels, uint8_t *pixels, char *message) {
  png_image image;
  memset(&image, 0, sizeof image);
  image.version = PNG_IMAGE_VERSION;
  if (!png_image_begin_read_from_memory(&image, bytes, count)) return fail(message, image.message);
  if (image.width != header->width || image.height != header->height) {
    png_image_free(&image);
    return fail(message, "the PNG has two sizes");
  }
  image.format = channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  // Sixteen-bit files hold the same curve as others unless they say so.
  image.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;
  png_color white = {255, 255, 255};
  int done = png_image_finish_read(&image, &white, pixels, 0, NULL);
  if (!done || PNG_IMAGE_FAILED(image)) {
    fail(message, image.message);
    png_image_free(&image);
    return 0;
  }
  return 1;
}

// MARK: JPEG

typedef struct {
  struct jpeg_error_mgr manager;
  jmp_buf jump;
  char *message;
  struct jpeg_progress_mgr progress;
} jpeg_trouble;

static void stop(j_common_ptr codec) {
  jpeg_trouble *trouble = (jpeg_trouble *)codec->err;
  char text[JMSG_LENGTH_MAX];
  codec->err->format_message(codec, text);
  snprintf(trouble->message, CIMAGES_MESSAGE_BYTES, "%s", text);
  longjmp(trouble->jump, 1);
}

static void heed(j_common_ptr codec, int level) {
  // Levels of 0 and more are traces. Stray bytes between segments do no harm; every other warning means lost pixels.
  if (level >= 0 || codec->err->msg_code == JWRN_EXTRANEOUS_DATA) return;
  stop(codec);
}

static void keep_quiet(j_common_ptr codec) { (void)codec; }

static void watch(j_common_ptr codec) {
  jpeg_trouble *trouble = (jpeg_trouble *)codec->err;
  if (codec->is_decompressor && ((j_decompress_ptr)codec)->input_scan_number > scans_max) {
    fail(trouble->message, "the JPEG has more scans than any picture needs");
    longjmp(trouble->jump, 1);
  }
}

static void begin_jpeg(struct jpeg_decompress_struct *codec, jpeg_trouble *trouble, char *message) {
  memset(codec, 0, sizeof *codec);
  codec->err = jpeg_std_error(&trouble->manager);
  trouble->manager.error_exit = stop;
  trouble->manager.emit_message = heed;
  trouble->manager.output_message = keep_quiet;
  trouble->message = message;
  memset(&trouble->progress, 0, sizeof trouble->progress);
  trouble->progress.progress_monitor = watch;
}

static int read_jpeg_header(const uint8_t *bytes, size_t count, cimages_header *header, char *message) {
  struct jpeg_decompress_struct codec;
  jpeg_trouble trouble;
  begin_jpeg(&codec, &trouble, message);
  if (setjmp(trouble.jump)) {
    jpeg_destroy_decompress(&codec);
    return 0;
  }
  jpeg_create_decompress(&codec);
  codec.progress = &trouble.progress;
  jpeg_mem_src(&codec, bytes, count);
  jpeg_read_header(&codec, TRUE);
  header->kind = CIMAGES_JPEG;
  header->width = codec.image_width;
  header->height = codec.image_height;
  header->channels = codec.jpeg_color_space == JCS_GRAYSCALE ? 1 : 3;
  int is_printing = codec.jpeg_color_space == JCS_CMYK || codec.jpeg_color_space == JCS_YCCK;
  jpeg_destroy_decompress(&codec);
  if (is_printing) return fail(message, "the JPEG has the four colours of print (CMYK); convert it to RGB");
  return 1;
}

static int decode_jpeg(
    const uint8_t *bytes, size_t count, const cimages_header *header, int channels, uint8_t *pixels, char *message) {
  struct jpeg_decompress_struct codec;
  jpeg_trouble trouble;
  begin_jpeg(&codec, &trouble, message);
  if (setjmp(trouble.jump)) {
    jpeg_destroy_decompress(&codec);
    return 0;
  }
  jpeg_create_decompress(&codec);
  codec.progress = &trouble.progress;
  jpeg_mem_src(&codec, bytes, count);
  jpeg_read_header(&codec, TRUE);
  codec.out_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_start_decompress(&codec);
  if (codec.output_width != header->width || codec.output_height != header->height ||
      codec.output_components != channels) {
    jpeg_destroy_decompress(&codec);
    return fail(message, "the JPEG has two sizes");
  }
  size_t row_bytes = (size_t)header->width * (size_t)channels;
  while (codec.output_scanline < codec.output_height) {
    JSAMPROW row = pixels + (size_t)codec.output_scanline * row_bytes;
    jpeg_read_scanlines(&codec, &row, 1);
  }
  jpeg_finish_decompress(&codec);
  jpeg_destroy_decompress(&codec);
  return 1;
}

// MARK: Either

int cimages_read_header(
    const uint8_t *bytes, size_t count, cimages_header *header, char message[CIMAGES_MESSAGE_BYTES]) {
  static const uint8_t png_signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
  memset(header, 0, sizeof *header);
  if (count >= 8 && memcmp(bytes, png_signature, 8) == 0) return read_png_header(bytes, count, header, message);
  if (count >= 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 && bytes[2] == 0xFF) {
    return read_jpeg_header(bytes, count, header, message);
  }
  return fail(message, "it is neither PNG nor JPEG by its first bytes");
}

int cimages_decode(
    const uint8_t *bytes, size_t count, const cimages_header *header, int channels, uint8_t *pixels,
    char message[CIMAGES_MESSAGE_BYTES]) {
  if (channels != 1 && channels != 3) return fail(message, "images have 1 or 3 channels");
  return header->kind == CIMAGES_PNG ? decode_png(bytes, count, header, channels, pixels, message)
                                     : decode_jpeg(bytes, count, header, channels, pixels, message);
}
