// The theta files that this build ships, as bytes of the program. `#embed` costs no compile time, unlike an array
// literal in Swift. scripts/campaigns has the campaigns that made them.
#include "ctheta.h"

#pragma clang diagnostic ignored "-Wc23-extensions"

static const unsigned char celo_1[] = {
#embed "celo-1.safetensors"
};
static const unsigned char celo_2[] = {
#embed "celo-2.safetensors"
};

const ct_file ct_files[] = {
  // Kept for the jobs that name it or began with it.
  {"celo", 1, celo_1, sizeof celo_1},
  {"celo", 2, celo_2, sizeof celo_2},
};
const long ct_files_count = sizeof ct_files / sizeof ct_files[0];
