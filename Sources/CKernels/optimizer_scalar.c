// The optimizer kernels at the scalar level.
#include <math.h>
#include <string.h>

#include "optimizer.h"

#define CK_LEVEL scalar
#define CK_OPT_LEVEL 0
#define W 4
#include "optimizer_table.inc.h"
