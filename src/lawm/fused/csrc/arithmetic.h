/* Row-wise arithmetic: exp and its kin, layer norm forward and backward.
 *
 * Eager PyTorch makes a pass over memory for every operator and takes an exact exp; these loops make
 * one pass in all, with a polynomial exp (relative error below 3e-7). All arrays are float32 and
 * row-major; a NaN in a row stays a NaN. Sums over rows are ADDED to what the caller passes.
 */
#ifndef LAWM_ARITHMETIC_H
#define LAWM_ARITHMETIC_H
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "panels.h"

#define PARALLEL_ELEMENTS 16384 /* fewer are not worth waking a thread for */

static inline int threads_for(int64_t elements, int64_t threads) {
  return elements < PARALLEL_ELEMENTS ? 1 : (int)threads;
}

/* e^x. 2^n 2^f with |f| <= 1/2, the second a polynomial; for |x| < 1e6. */
static inline float exp_of(float x) {
  const float t = x * 1.44269504f;
  union {
    float f;
    int32_t i;
  } bits, scale;
  bits.f = t + 12582912.0f; /* + 1.5 * 2^23: rounds, and n stands in the low bits */
  const float f = t - (bits.f - 12582912.0f);
  int32_t n = bits.i - 0x4B400000;
  n = n < -126 ? -126 : n;
  n = n > 126 ? 126 : n;
  float p = 1.5403530394e-4f;
  p = p * f + 1.3333558146e-3f;
  p = p * f + 9.6181291076e-3f;
  p = p * f + 5.5504108665e-2f;
  p = p * f + 2.4022650696e-1f;
  p = p * f + 6.9314718056e-1f;
  p = p * f + 1.0f;
  scale.i = (n + 127) * 8388608; /* the exponent's lowest bit */
  return p * scale.f;
}

static inline float sigmoid(float x) { return 1.0f / (1.0f + exp_of(-x)); }

static inline float tanh_of(float x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }

static inline float softplus(float x) {
  /* max(x, 0) + log(1 + e) with e = e^-|x|; the logarithm is 2 artanh(s), s = e / (2 + e) <= 1/3 */
  const float e = exp_of(x < 0.0f ? x : -x);
  const float s = e / (2.0f + e), q = s * s;
  float p = 1.0f / 13.0f;
  p = p * q + 1.0f / 11.0f;
  p = p * q + 1.0f / 9.0f;
  p = p * q + 1.0f / 7.0f;
  p = p * q + 1.0f / 5.0f;
  p = p * q + 1.0f / 3.0f;
  p = p * q + 1.0f;
  return (x > 0.0f ? x : 0.0f) + 2.0f * s * p;
}

/* log(x) of a normal number above 0: exponent, and 2 artanh(s) of a mantissa within sqrt(2) of 1. */
static inline float log_of(float x) {
  union {
    float f;
    int32_t i;
  } bits = {x};
  const int32_t n = (bits.i - 0x3F3504F3) >> 23;
  bits.i -= n * 8388608;
  const float s = (bits.f - 1.0f) / (bits.f + 1.0f), q = s * s;
  float p = 1.0f / 9.0f;
  p = p * q + 1.0f / 7.0f;
  p = p * q + 1.0f / 5.0f;
  p = p * q + 1.0f / 3.0f;
  p = p * q + 1.0f;
  return (float)n * 0.69314718f + 2.0f * s * p;
}

#define LANES 64 /* sums run in this many lanes, so that additions need not wait for each other */

typedef float Lanes __attribute__((vector_size(4 * WIDTH))); /* in a register */
typedef Lanes AnyLanes __attribute__((aligned(4), may_alias)); /* in memory */

static inline Lanes lanes_at(const float *x) { return *(const AnyLanes *)x; }

/* The sum of a row, or of its squares, with `less` taken off each number; in four registers. */
#define SUM_OF_ROW(NAME, TERM)                                               \
  static inline float NAME(const float *y, int64_t cols, const float less) { \
    Lanes a = {0}, b = {0}, c = {0}, d = {0};                                \
    int64_t j = 0;                                                           \
    for (; j + 4 * WIDTH <= cols; j += 4 * WIDTH) {                          \
      a += TERM(lanes_at(y + j) - less);                                     \
      b += TERM(lanes_at(y + j + WIDTH) - less);                             \
      c += TERM(lanes_at(y + j + 2 * WIDTH) - less);                         \
      d += TERM(lanes_at(y + j + 3 * WIDTH) - less);                         \
    }                                                                        \
    for (; j + WIDTH <= cols; j += WIDTH) a += TERM(lanes_at(y + j) - less); \
    a = (a + b) + (c + d);                                                   \
    float sum = 0.0f;                                                        \
    for (int k = 0; k < WIDTH; k++) sum += a[k];                             \
    for (; j < cols; j++) sum += TERM(y[j] - less);                          \
    return sum;                                                              \
  }
#define ITSELF(x) (x)
#define SQUARE(x) ((x) * (x))
SUM_OF_ROW(sum_of_row, ITSELF)
SUM_OF_ROW(squares_of_row, SQUARE)

/* normed = (y - mean) rstd, which may be y; returns the reciprocal standard deviation rstd. */
static inline float normalise(const float *y, int64_t cols, float eps, float *normed) {
  const float mean = sum_of_row(y, cols, 0.0f) / (float)cols;
  const float rstd = 1.0f / sqrtf(squares_of_row(y, cols, mean) / (float)cols + eps);
#pragma omp simd
  for (int64_t j = 0; j < cols; j++) normed[j] = (y[j] - mean) * rstd;
  return rstd;
}

/* From d = gradient of the normed, scaled and shifted row: gradient of the row, written over d;
 * sums (3, cols) gain this row's part of the gradients of scale, shift and the row's bias. */
static inline void norm_backward(const float *restrict normed, float rstd,
                                 const float *restrict gamma, int64_t cols, float *restrict d,
                                 float *restrict sums) {
  float sum = 0.0f, dot = 0.0f;
#pragma omp simd reduction(+ : sum, dot)
  for (int64_t j = 0; j < cols; j++) {
    const float g = d[j] * gamma[j];
    sum += g;
    dot += g * normed[j];
  }
  sum /= (float)cols;
  dot /= (float)cols;
  if (sums) {
    float *restrict scale = sums, *restrict shift = sums + cols, *restrict bias = sums + 2 * cols;
#pragma omp simd
    for (int64_t j = 0; j < cols; j++) {
      scale[j] += d[j] * normed[j];
      shift[j] += d[j];
      d[j] = rstd * (d[j] * gamma[j] - sum - normed[j] * dot);
      bias[j] += d[j];
    }
  } else {
#pragma omp simd
    for (int64_t j = 0; j < cols; j++) d[j] = rstd * (d[j] * gamma[j] - sum - normed[j] * dot);
  }
}

/* out = SiLU(normed gamma + beta); out may be normed. */
static inline void scaled_silu(const float *normed, const float *restrict gamma,
                               const float *restrict beta, int64_t cols, float *out) {
#pragma omp simd
  for (int64_t j = 0; j < cols; j++) {
    const float a = normed[j] * gamma[j] + beta[j];
    out[j] = a * sigmoid(a);
  }
}

/* dout may be dy. */
static inline void norm_silu_backward(const float *restrict normed, float rstd,
                                      const float *restrict gamma, const float *restrict beta,
                                      int64_t cols, const float *dout, float *dy,
                                      float *restrict sums) {
#pragma omp simd
  for (int64_t j = 0; j < cols; j++) {
    const float a = normed[j] * gamma[j] + beta[j];
    const float s = sigmoid(a);
    dy[j] = dout[j] * s * (1.0f + a * (1.0f - s));
  }
  norm_backward(normed, rstd, gamma, cols, dy, sums);
}

/* Which units a dropout keeps: those whose hash, of their number and a seed, is not below another. */
typedef struct {
  int64_t drops, seed, below;
  double kept; /* by what a unit that is kept is multiplied */
} Dropout;

/* Two rounds of a mixer by multiplication ("lowbias32", C. Wellons), each with half of the seed. */
static inline int32_t hash_of(uint32_t x, uint64_t seed) {
  x += (uint32_t)seed;
  x ^= x >> 16;
  x *= 0x7FEB352Du;
  x ^= x >> 15;
  x += (uint32_t)(seed >> 32);
  x *= 0x846CA68Bu;
  x ^= x >> 16;
  return (int32_t)x;
}

/* out = x where kept, else 0, of the units from `at`; a NaN stays one. out may be x. */
static inline void drop(const Dropout *d, int64_t at, int64_t cols, const float *x, float *out) {
  const uint64_t seed = (uint64_t)d->seed;
  const uint32_t first = (uint32_t)at;
  const int32_t below = (int32_t)d->below;
  const float kept = (float)d->kept;
#pragma omp simd
  for (int32_t j = 0; j < (int32_t)cols; j++)
    out[j] = x[j] * (hash_of(first + (uint32_t)j, seed) >= below ? kept : 0.0f);
}

/* normed (3 size): reset, update, candidate. out = h + u (tanh(r c) - h). */
static inline void gru(const float *restrict normed, const float *restrict h,
                       const float *restrict gamma, const float *restrict beta, int64_t size,
                       float *restrict out) {
#pragma omp simd
  for (int64_t j = 0; j < size; j++) {
    const int64_t k = j + size, l = j + 2 * size;
    const float r = sigmoid(normed[j] * gamma[j] + beta[j]);
    const float u = sigmoid(normed[k] * gamma[k] + beta[k]);
    const float c = tanh_of(r * (normed[l] * gamma[l] + beta[l]));
    out[j] = h[j] + u * (c - h[j]);
  }
}

/* dy (3 size); the direct part of dh (size) is ADDED to dh; sums (3, 3 size) or NULL. */
static inline void gru_backward(const float *restrict normed, float rstd, const float *restrict h,
                                const float *restrict gamma, const float *restrict beta,
                                int64_t size, const float *restrict dout, float *restrict dy,
                                float *restrict dh, float *restrict sums) {
#pragma omp simd
  for (int64_t j = 0; j < size; j++) {
    const int64_t k = j + size, l = j + 2 * size;
    const float r = sigmoid(normed[j] * gamma[j] + beta[j]);
    const float u = sigmoid(normed[k] * gamma[k] + beta[k]);
    const float a = normed[l] * gamma[l] + beta[l];
    const float c = tanh_of(r * a);
    const float product = dout[j] * u * (1.0f - c * c);
    dy[j] = product * a * r * (1.0f - r);
    dy[k] = dout[j] * (c - h[j]) * u * (1.0f - u);
    dy[l] = product * r;
    dh[j] += dout[j] * (1.0f - u);
  }
  norm_backward(normed, rstd, gamma, 3 * size, dy, sums);
}

/* params (2 size): mean and raw deviation. out = mean + (softplus(raw) + least) noise. */
static inline void gaussian(const float *restrict params, const float *restrict noise, int64_t size,
                            float least, float *restrict out) {
#pragma omp simd
  for (int64_t j = 0; j < size; j++)
    out[j] = params[j] + (softplus(params[size + j]) + least) * noise[j];
}

/* ADDS the sample's gradient to dparams (2 size). */
static inline void gaussian_backward(const float *restrict params, const float *restrict noise,
                                     int64_t size, const float *restrict dout,
                                     float *restrict dparams) {
#pragma omp simd
  for (int64_t j = 0; j < size; j++) {
    dparams[j] += dout[j];
    dparams[size + j] += dout[j] * noise[j] * sigmoid(params[size + j]);
  }
}
#endif
