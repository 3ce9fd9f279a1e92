// Matrix algebra of the optimizers: products, Gram matrices and the Newton-Schulz orthogonalisation, one table of
// functions for each CPU level; then factorisations in double, by the LAPACK inside OpenBLAS.
// Learning/Optimizers/MatrixAlgebra.swift is the only caller outside this target. Nothing here allocates.
#pragma once
#include <stdbool.h>
#include <stdint.h>

// Matrices are row-major; `x_row` is the distance of two rows of x in floats.
typedef struct ck_matrix {
  // c[m,n] = a b, plus c's old value where `accumulate`. Element (i, j) of a lies at a[i * a_row + j * a_column], so
  // that a transposed operand is one with its strides exchanged.
  void (*product)(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row, int64_t a_column, const float *b,
                  int64_t b_row, float *c, int64_t c_row, bool accumulate);
  // out[n,m] = in[m,n] transposed.
  void (*transpose)(int64_t m, int64_t n, const float *in, int64_t in_row, float *out, int64_t out_row);
  // out[n,n] = x^T x of the contiguous x[m,n], plus out's old value where `accumulate`. Half the work of a product.
  void (*gram)(int64_t m, int64_t n, const float *x, float *out, bool accumulate);
  // x[rows, columns] becomes a polynomial of itself that moves its singular values towards 1 (Jordan et al. 2024, Muon):
  // X = x / (|x| + epsilon), then `iterations` times X = a X + (b A + c A A) X with A = X X^T.
  void (*newton_schulz)(int64_t rows, int64_t columns, float *x, const float coefficients[3], int32_t iterations,
                        float epsilon, float *scratch);
} ck_matrix;

// The functions of `level`, or NULL where this build has none for that level.
const ck_matrix *ck_matrix_table(int level);

// Floats of scratch memory that newton_schulz needs.
int64_t ck_newton_schulz_scratch(int64_t rows, int64_t columns);

// The functions below need ck_lapack_load before. `statistic` is symmetric, n x n, positive up to rounding; they compute
// in double and return false, writing nothing, where it is not finite or LAPACK gives up.

// out = (statistic + ridge * max(its largest eigenvalue, floor) * I)^(-1/root).
bool ck_inverse_root(const ck_matrix *functions, int32_t n, const float *statistic, double root, double ridge,
                     double floor, float *out, float *scratch);
// The rows of out are the eigenvectors, by descending eigenvalue. Where the statistic is zero up to rounding, any basis
// would do; there it is the one nearest to the unit vectors, so that rounding does not choose it.
bool ck_eigenbasis(int32_t n, const float *statistic, float *out, float *scratch);
// Floats of scratch memory of both.
int64_t ck_eigen_scratch(int32_t n);

// Makes the rows of x[n,n] orthonormal, one after another (what QR does to columns). False, x lost, if not finite.
bool ck_orthonormalize(int32_t n, float *x, float *scratch);
int64_t ck_orthonormalize_scratch(int32_t n);

// Solves (gram + damping * I) y = unit vector `unit`; gram is symmetric, n x n. False if that is not positive definite.
bool ck_damped_solve(int32_t n, const float *gram, int64_t gram_row, double damping, int32_t unit, float *y,
                     float *scratch);
int64_t ck_damped_solve_scratch(int32_t n);
