// The matrix products and factorizations that fitting weights needs, from OpenBLAS. Callers run several at once under
// one OneBlasThread (worker/calibration/gram.h), so the same product gives the same bytes whatever the number of
// callers.
#pragma once

#include <cstddef>
#include <vector>

namespace hone {

enum class Turn { no, yes };  // Whether a factor is transposed.

// A row-major matrix, `stride` elements from row to row.
struct MatrixRef {
  const float* data = nullptr;
  size_t stride = 0;
  Turn turn = Turn::no;
};

// c[m, n] = alpha * a[m, k] * b[k, n] + beta * c, sizes after turning.
void Multiply(size_t m, size_t n, size_t k, float alpha, MatrixRef a, MatrixRef b, float beta, float* c, size_t stride);

// a[m, n] += alpha * x * y^T.
void AddOuter(size_t m, size_t n, float alpha, const float* x, const float* y, float* a, size_t stride);

// Replaces the symmetric h[n, n] by the upper triangular U with U^T U = h^-1 (zeros below). False, with h spoilt, where
// h is not positive definite.
//
// With the order of rows and columns reversed, h = L L^T; read backwards L is upper triangular, M, and h = M M^T. So U
// is M^-1: one factorization and one triangular inverse, and the inverse of h itself is never formed.
bool InverseFactor(std::vector<double>& h, size_t n);

// Replaces the symmetric h[n, n] by the lower triangular L with L L^T = h (zeros above). False as above.
bool Cholesky(std::vector<double>& h, size_t n);

}  // namespace hone
