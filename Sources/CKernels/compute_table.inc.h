// Assembles one level of the compute kernels; included last by compute_<level>.c.
#include "vector.inc.h"
#include "compute_vector.inc.h"
#include "compute_math.inc.h"
#include "compute_gemm.inc.h"
#include "compute_gemm_narrow.inc.h"
#include "compute_product.inc.h"
#include "compute_map.inc.h"
#include "compute_reduce.inc.h"
#include "compute_layout.inc.h"
#include "compute_softmax.inc.h"
#include "compute_cross_entropy.inc.h"
#include "compute_random.inc.h"
#include "compute_batched.inc.h"
#include "compute_attention.inc.h"
#include "compute_norm.inc.h"
#include "compute_norm_group.inc.h"
#include "compute_embedding.inc.h"
#include "compute_recurrence.inc.h"
#include "compute_recurrence_gru.inc.h"
#include "compute_convolution.inc.h"
#include "compute_convolution_depthwise.inc.h"
#include "compute_pooling.inc.h"
#include "compute_batch_norm.inc.h"

const ck_compute CK(ck_compute_kernels) = {
    .product = CK(product),
    .product_blas = CK(product_blas),
    .map = CK(map),
    .sum_all = CK(sum_all),
    .sum_last = CK(sum_last),
    .sum_axis = CK(sum_axis),
    .maximum_axis = CK(maximum_axis),
    .minimum_axis = CK(minimum_axis),
    .extreme_backward = CK(extreme_backward),
    .strided_copy = CK(strided_copy),
    .pad = CK(pad),
    .concatenate = CK(concatenate),
    .gather = CK(gather),
    .scatter_add = CK(scatter_add),
    .softmax = CK(softmax),
    .log_softmax = CK(log_softmax),
    .softmax_backward = CK(softmax_backward),
    .log_softmax_backward = CK(log_softmax_backward),
    .cross_entropy = CK(cross_entropy),
    .soft_cross_entropy = CK(soft_cross_entropy),
    .dropout = CK(dropout),
    .normal = CK(normal),
    .convolution = CK(convolution),
    .convolution_input_gradient = CK(convolution_input_gradient),
    .convolution_kernel_gradient = CK(convolution_kernel_gradient),
    .depthwise = CK(depthwise),
    .depthwise_input_gradient = CK(depthwise_input_gradient),
    .depthwise_kernel_gradient = CK(depthwise_kernel_gradient),
    .max_pool = CK(max_pool),
    .max_pool_backward = CK(max_pool_backward),
    .average_pool = CK(average_pool),
    .average_pool_backward = CK(average_pool_backward),
    .batch_statistics = CK(batch_statistics),
    .batch_norm = CK(batch_norm),
    .batch_norm_sums = CK(batch_norm_sums),
    .batch_norm_backward = CK(batch_norm_backward),
    .copy = CK(copy),
    .zero = CK(zero),
    .batched_product = CK(batched_product),
    .column_product = CK(column_product),
    .attention = CK(attention),
    .attention_packed = CK(attention_packed),
    .attention_backward = CK(attention_backward),
    .attention_packed_backward = CK(attention_packed_backward),
    .layer_norm = CK(layer_norm),
    .rms_norm = CK(rms_norm),
    .layer_norm_backward = CK(layer_norm_backward),
    .rms_norm_backward = CK(rms_norm_backward),
    .group_norm = CK(group_norm),
    .group_norm_backward = CK(group_norm_backward),
    .embedding = CK(embedding),
    .embedding_backward = CK(embedding_backward),
    .lstm = CK(lstm),
    .lstm_backward = CK(lstm_backward),
    .gru = CK(gru),
    .gru_backward = CK(gru_backward),
    .vanilla_rnn = CK(vanilla_rnn),
    .vanilla_rnn_backward = CK(vanilla_rnn_backward),
    .words = CK(words),
    .normals = CK(normals),
};
