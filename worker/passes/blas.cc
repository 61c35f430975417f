#include "worker/passes/blas.h"

#include <cblas.h>
#include <f77blas.h>

#include <utility>

namespace hone {
namespace {

blasint ToInt(size_t value) { return static_cast<blasint>(value); }
CBLAS_TRANSPOSE ToTurn(Turn turn) { return turn == Turn::yes ? CblasTrans : CblasNoTrans; }

// LAPACK takes its options by pointer and does not write them.
char kLower[] = "L";
char kUpper[] = "U";
char kNotUnit[] = "N";

}  // namespace

void Multiply(size_t m, size_t n, size_t k, float alpha, MatrixRef a, MatrixRef b, float beta, float* c,
              size_t stride) {
  cblas_sgemm(CblasRowMajor, ToTurn(a.turn), ToTurn(b.turn), ToInt(m), ToInt(n), ToInt(k), alpha, a.data,
              ToInt(a.stride), b.data, ToInt(b.stride), beta, c, ToInt(stride));
}

void AddOuter(size_t m, size_t n, float alpha, const float* x, const float* y, float* a, size_t stride) {
  cblas_sger(CblasRowMajor, ToInt(m), ToInt(n), alpha, x, 1, y, 1, a, ToInt(stride));
}

bool InverseFactor(std::vector<double>& h, size_t n) {
  // Reversing rows and columns of a symmetric matrix reverses its elements.
  for (size_t i = 0, j = n * n - 1; i < j; ++i, --j) std::swap(h[i], h[j]);
  blasint size = ToInt(n);
  blasint info = 0;
  // Columns there are rows here: the library's lower triangle is our upper one.
  dpotrf_(kLower, &size, h.data(), &size, &info);
  if (info != 0) return false;
  dtrtri_(kLower, kNotUnit, &size, h.data(), &size, &info);
  if (info != 0) return false;
  // h holds the inverse of L by columns; element (row, column) of U is its element (n-1-row, n-1-column).
  std::vector<double> factor(n * n, 0.0);
  for (size_t row = 0; row < n; ++row) {
    for (size_t column = row; column < n; ++column)
      factor[row * n + column] = h[(n - 1 - column) * n + (n - 1 - row)];
  }
  h = std::move(factor);
  return true;
}

bool Cholesky(std::vector<double>& h, size_t n) {
  blasint size = ToInt(n);
  blasint info = 0;
  dpotrf_(kUpper, &size, h.data(), &size, &info);
  if (info != 0) return false;
  // Columns there are rows here: the library's upper triangle is our lower one.
  for (size_t row = 0; row < n; ++row) {
    for (size_t column = row + 1; column < n; ++column) h[row * n + column] = 0;
  }
  return true;
}

}  // namespace hone
