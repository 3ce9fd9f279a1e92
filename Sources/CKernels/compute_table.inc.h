// Assembles one level of the compute kernels; included last by compute_<level>.c.
#include "vector.inc.h"
#include "compute_vector.inc.h"
#include "compute_math.inc.h"
#include "compute_gemm.inc.h"
#include "compute_product.inc.h"
#include "compute_map.inc.h"
#include "compute_reduce.inc.h"
#include "compute_softmax.inc.h"
#include "compute_random.inc.h"

const ck_compute CK(ck_compute_kernels) = {
    .product = CK(product),
    .product_blas = CK(product_blas),
    .map = CK(map),
    .sum_all = CK(sum_all),
    .sum_last = CK(sum_last),
    .sum_leading = CK(sum_leading),
    .softmax = CK(softmax),
    .log_softmax = CK(log_softmax),
    .softmax_backward = CK(softmax_backward),
    .log_softmax_backward = CK(log_softmax_backward),
    .cross_entropy = CK(cross_entropy),
    .dropout = CK(dropout),
    .copy = CK(copy),
    .zero = CK(zero),
    .words = CK(words),
    .normals = CK(normals),
};
