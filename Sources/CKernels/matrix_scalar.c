// The matrix functions at the scalar level.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "matrix.h"

#define CK_LEVEL scalar
#define W 4
#include "matrix_table.inc.h"
