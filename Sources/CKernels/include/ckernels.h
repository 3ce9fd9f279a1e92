// Umbrella of the C kernels: what `import CKernels` shows to Swift.
#pragma once

#include "ck_cpu.h"
#include "ck_blas.h"
#include "ck_compute.h"
#include "ck_matrix.h"
#include "ck_optimizer.h"
