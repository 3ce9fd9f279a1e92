// The compute kernels at the scalar level.
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "ck_blas.h"
#include "compute.h"

#define CK_LEVEL scalar
#define W 4
#include "compute_table.inc.h"
