// Umbrella of the C kernels: what `import CKernels` shows to Swift.
#pragma once

#include "ck_cpu.h"
