// Theta files of the learned optimizers that come with the program.
#pragma once

// One file: the optimizer's name and version, and its safetensors bytes.
typedef struct ct_file {
  const char *name;
  long version;
  const unsigned char *bytes;
  long count;
} ct_file;

extern const ct_file ct_files[];
extern const long ct_files_count;

static inline const ct_file *ct_file_at(long index) { return &ct_files[index]; }
