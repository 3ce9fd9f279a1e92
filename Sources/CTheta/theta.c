// The theta files that this build ships, as bytes of the program. `#embed` costs no compile time, unlike an array
// literal in Swift. scripts/campaigns has the campaigns that made them.
#include "ctheta.h"

#pragma clang diagnostic ignored "-Wc23-extensions"

static const unsigned char celo_1[] = {
#embed "celo-1.safetensors"
};

const ct_file ct_files[] = {
  {"celo", 1, celo_1, sizeof celo_1},
};
const long ct_files_count = sizeof ct_files / sizeof ct_files[0];
