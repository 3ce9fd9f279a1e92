// The dashboard's files that are built into the program; dashboard.c embeds them, Server/Dashboard.swift serves them.
#ifndef CDASHBOARD_H
#define CDASHBOARD_H

typedef struct {
  /// Name under `/assets/`, and in `pages`.
  const char *name;
  const unsigned char *bytes;
  long count;
} cd_file;

extern const cd_file cd_files[];
extern const long cd_files_count;

/// The file at a place from 0; Swift cannot index an array of unknown length.
static inline const cd_file *cd_file_at(long index) { return &cd_files[index]; }

#endif
