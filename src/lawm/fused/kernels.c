/* Layer norm + SiLU, the gates of a layer-normed GRU, and a Gaussian sample: forward and backward.
 *
 * Eager PyTorch makes a pass over memory for every operator and takes an exact exp; these loops make
 * one pass in all, with a polynomial exp (relative error below 3e-7). All arrays are float32 and
 * row-major, contiguous unless a stride between rows is given; a NaN in a row stays a NaN. Sums over
 * rows are ADDED to what the caller passes. Plain C: any compiler builds it within a second.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PARALLEL_ELEMENTS 16384 /* fewer are not worth waking a thread for */

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

#define LANES 64 /* sums run in this many lanes, so that additions need not wait for each other */

/* Mean and reciprocal standard deviation of a row. */
static inline void moments(const float *restrict y, int64_t cols, float eps, float *stats) {
  float lanes[LANES] = {0}, sum = 0.0f, square = 0.0f;
  const int64_t whole = cols - cols % LANES;
  for (int64_t j = 0; j < whole; j += LANES)
    for (int64_t k = 0; k < LANES; k++) lanes[k] += y[j + k];
  for (int64_t j = whole; j < cols; j++) lanes[j - whole] += y[j];
#pragma omp simd reduction(+ : sum)
  for (int64_t k = 0; k < LANES; k++) sum += lanes[k];
  const float mean = sum / (float)cols;
  memset(lanes, 0, sizeof(lanes));
  for (int64_t j = 0; j < whole; j += LANES)
    for (int64_t k = 0; k < LANES; k++) lanes[k] += (y[j + k] - mean) * (y[j + k] - mean);
  for (int64_t j = whole; j < cols; j++) lanes[j - whole] += (y[j] - mean) * (y[j] - mean);
#pragma omp simd reduction(+ : square)
  for (int64_t k = 0; k < LANES; k++) square += lanes[k];
  stats[0] = mean;
  stats[1] = 1.0f / sqrtf(square / (float)cols + eps);
}

/* From d = gradient of the normed, scaled and shifted row: gradient of the row, written over d;
 * sums (3, cols) gain this row's part of the gradients of scale, shift and the row's bias. */
static inline void norm_backward(const float *restrict y, const float *restrict gamma, int64_t cols,
                                 const float *stats, float *restrict d, float *restrict sums) {
  const float mean = stats[0], rstd = stats[1];
  float sum = 0.0f, dot = 0.0f;
#pragma omp simd reduction(+ : sum, dot)
  for (int64_t j = 0; j < cols; j++) {
    const float g = d[j] * gamma[j];
    sum += g;
    dot += g * ((y[j] - mean) * rstd);
  }
  sum /= (float)cols;
  dot /= (float)cols;
  if (sums) {
    float *restrict scale = sums, *restrict shift = sums + cols, *restrict bias = sums + 2 * cols;
#pragma omp simd
    for (int64_t j = 0; j < cols; j++) {
      const float normed = (y[j] - mean) * rstd;
      scale[j] += d[j] * normed;
      shift[j] += d[j];
      d[j] = rstd * (d[j] * gamma[j] - sum - normed * dot);
      bias[j] += d[j];
    }
  } else {
#pragma omp simd
    for (int64_t j = 0; j < cols; j++)
      d[j] = rstd * (d[j] * gamma[j] - sum - (y[j] - mean) * rstd * dot);
  }
}

/* Rows are cut into one block a thread; blocks sum into arrays of their own, which are added in the
 * order of the blocks: the result depends on the number of threads alone. */
static int64_t num_blocks(int64_t rows, int64_t cols, int64_t threads) {
  if (rows * cols < PARALLEL_ELEMENTS) return 1;
  return threads < rows ? threads : rows;
}

static void add_blocks(const float *partial, int64_t blocks, int64_t size, float *total) {
  for (int64_t b = 0; b < blocks; b++)
    for (int64_t j = 0; j < size; j++) total[j] += partial[b * size + j];
}

/* y gains offset, one row for each of its own or, with a stride of 0, one for all; then
 * out = SiLU(a), a = (y - mean) rstd gamma + beta; stats (rows, 2) is kept for the backward. */
void lawm_norm_silu_forward(int64_t threads, int64_t rows, int64_t cols, int64_t offset_stride,
                            float eps, float *y, const float *offset, const float *gamma,
                            const float *beta, float *out, float *stats) {
  const int64_t blocks = num_blocks(rows, cols, threads);
#pragma omp parallel for schedule(static) num_threads((int)blocks) if (blocks > 1)
  for (int64_t i = 0; i < rows; i++) {
    float *restrict row = y + i * cols;
    const float *restrict more = offset + i * offset_stride;
    float *restrict to = out + i * cols;
    for (int64_t j = 0; j < cols; j++) row[j] += more[j];
    moments(row, cols, eps, stats + 2 * i);
    const float mean = stats[2 * i], rstd = stats[2 * i + 1];
#pragma omp simd
    for (int64_t j = 0; j < cols; j++) {
      const float a = (row[j] - mean) * rstd * gamma[j] + beta[j];
      to[j] = a * sigmoid(a);
    }
  }
}

/* dy (rows, cols); sums (3, cols) of gamma, beta and the bias of y, or NULL. Returns 0, or 1 if
 * memory ran out. */
int lawm_norm_silu_backward(int64_t threads, int64_t rows, int64_t cols, const float *y,
                            const float *gamma, const float *beta, const float *stats,
                            const float *dout, float *dy, float *sums) {
  const int64_t blocks = num_blocks(rows, cols, threads);
  float *partial = sums ? calloc((size_t)(blocks * 3 * cols), sizeof(float)) : NULL;
  if (sums && !partial) return 1;
#pragma omp parallel for schedule(static, 1) num_threads((int)blocks) if (blocks > 1)
  for (int64_t b = 0; b < blocks; b++) {
    for (int64_t i = b * rows / blocks; i < (b + 1) * rows / blocks; i++) {
      const float *restrict row = y + i * cols, *restrict from = dout + i * cols;
      float *restrict d = dy + i * cols;
      const float mean = stats[2 * i], rstd = stats[2 * i + 1];
#pragma omp simd
      for (int64_t j = 0; j < cols; j++) {
        const float a = (row[j] - mean) * rstd * gamma[j] + beta[j];
        const float s = sigmoid(a);
        d[j] = from[j] * s * (1.0f + a * (1.0f - s));
      }
      norm_backward(row, gamma, cols, stats + 2 * i, d, partial ? partial + b * 3 * cols : NULL);
    }
  }
  if (sums) add_blocks(partial, blocks, 3 * cols, sums);
  free(partial);
  return 0;
}

/* y (rows, 3 size), normed: reset, update, candidate. out = h + u (tanh(r c) - h). */
void lawm_gru_forward(int64_t threads, int64_t rows, int64_t size, int64_t h_stride,
                      int64_t out_stride, float eps, const float *y, const float *h,
                      const float *gamma, const float *beta, float *out, float *stats) {
  const int64_t cols = 3 * size, blocks = num_blocks(rows, cols, threads);
#pragma omp parallel for schedule(static) num_threads((int)blocks) if (blocks > 1)
  for (int64_t i = 0; i < rows; i++) {
    const float *restrict row = y + i * cols, *restrict old = h + i * h_stride;
    float *restrict to = out + i * out_stride;
    moments(row, cols, eps, stats + 2 * i);
    const float mean = stats[2 * i], rstd = stats[2 * i + 1];
#pragma omp simd
    for (int64_t j = 0; j < size; j++) {
      const int64_t k = j + size, l = j + 2 * size;
      const float r = sigmoid((row[j] - mean) * rstd * gamma[j] + beta[j]);
      const float u = sigmoid((row[k] - mean) * rstd * gamma[k] + beta[k]);
      const float c = tanh_of(r * ((row[l] - mean) * rstd * gamma[l] + beta[l]));
      to[j] = old[j] + u * (c - old[j]);
    }
  }
}

/* dy (rows, 3 size); the direct part of dh (rows, size) is ADDED to dh; sums (3, 3 size) or NULL. */
int lawm_gru_backward(int64_t threads, int64_t rows, int64_t size, int64_t h_stride,
                      int64_t dout_stride, int64_t dh_stride, const float *y, const float *h,
                      const float *gamma, const float *beta, const float *stats, const float *dout,
                      float *dy, float *dh, float *sums) {
  const int64_t cols = 3 * size, blocks = num_blocks(rows, cols, threads);
  float *partial = sums ? calloc((size_t)(blocks * 3 * cols), sizeof(float)) : NULL;
  if (sums && !partial) return 1;
#pragma omp parallel for schedule(static, 1) num_threads((int)blocks) if (blocks > 1)
  for (int64_t b = 0; b < blocks; b++) {
    for (int64_t i = b * rows / blocks; i < (b + 1) * rows / blocks; i++) {
      const float *restrict row = y + i * cols, *restrict old = h + i * h_stride;
      const float *restrict from = dout + i * dout_stride;
      float *restrict d = dy + i * cols, *restrict direct = dh + i * dh_stride;
      const float mean = stats[2 * i], rstd = stats[2 * i + 1];
#pragma omp simd
      for (int64_t j = 0; j < size; j++) {
        const int64_t k = j + size, l = j + 2 * size;
        const float r = sigmoid((row[j] - mean) * rstd * gamma[j] + beta[j]);
        const float u = sigmoid((row[k] - mean) * rstd * gamma[k] + beta[k]);
        const float a = (row[l] - mean) * rstd * gamma[l] + beta[l];
        const float c = tanh_of(r * a);
        const float product = from[j] * u * (1.0f - c * c);
        d[j] = product * a * r * (1.0f - r);
        d[k] = from[j] * (c - old[j]) * u * (1.0f - u);
        d[l] = product * r;
        direct[j] += from[j] * (1.0f - u);
      }
      norm_backward(row, gamma, cols, stats + 2 * i, d, partial ? partial + b * 3 * cols : NULL);
    }
  }
  if (sums) add_blocks(partial, blocks, 3 * cols, sums);
  free(partial);
  return 0;
}

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

/* params (rows, 2 size): mean and raw deviation. out = mean + (softplus(raw) + least) noise. */
void lawm_gaussian_forward(int64_t rows, int64_t size, int64_t out_stride, float least,
                           const float *params, const float *noise, float *out) {
  for (int64_t i = 0; i < rows; i++) {
    const float *restrict mean = params + 2 * i * size, *restrict raw = mean + size;
    const float *restrict from = noise + i * size;
    float *restrict to = out + i * out_stride;
#pragma omp simd
    for (int64_t j = 0; j < size; j++)
      to[j] = mean[j] + (softplus(raw[j]) + least) * from[j];
  }
}

/* Adds the sample's gradient to dparams (rows, 2 size). */
void lawm_gaussian_backward(int64_t rows, int64_t size, int64_t dout_stride, const float *params,
                            const float *noise, const float *dout, float *dparams) {
  for (int64_t i = 0; i < rows; i++) {
    const float *restrict raw = params + (2 * i + 1) * size, *restrict from = noise + i * size;
    const float *restrict d = dout + i * dout_stride;
    float *restrict dmean = dparams + 2 * i * size, *restrict draw = dmean + size;
#pragma omp simd
    for (int64_t j = 0; j < size; j++) {
      dmean[j] += d[j];
      draw[j] += d[j] * from[j] * sigmoid(raw[j]);
    }
  }
}

/* out = log(1 + e^x) of n numbers. */
void lawm_softplus_forward(int64_t threads, int64_t n, const float *x, float *out) {
  const int blocks = (int)num_blocks(n, 1, threads);
#pragma omp parallel for simd schedule(static) num_threads(blocks) if (blocks > 1)
  for (int64_t j = 0; j < n; j++) out[j] = softplus(x[j]);
}

/* dx = dout / (1 + e^-x) of n numbers. */
void lawm_softplus_backward(int64_t threads, int64_t n, const float *x, const float *dout,
                            float *dx) {
  const int blocks = (int)num_blocks(n, 1, threads);
#pragma omp parallel for simd schedule(static) num_threads(blocks) if (blocks > 1)
  for (int64_t j = 0; j < n; j++) dx[j] = dout[j] * sigmoid(x[j]);
}
