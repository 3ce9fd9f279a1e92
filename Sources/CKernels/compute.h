// The levels' tables, for compute.c alone.
#pragma once

#include "ck_compute.h"

extern const ck_compute ck_compute_kernels_scalar, ck_compute_kernels_avx2, ck_compute_kernels_avx512;
