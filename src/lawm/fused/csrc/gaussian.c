/* Divergence and likelihood of diagonal Gaussians. */
#include "layers.h"

/* KL(p || q) of diagonal Gaussians, summed over their dimensions; params as for `gaussian`. */
typedef struct {
  int64_t threads, rows, size, p_stride, q_stride;
  double least;
  const float *p, *q;
  float *out;
  const float *d_out;
  float *d_p, *d_q; /* contiguous, or NULL where they are not wanted */
} GaussianKl;

int64_t lawm_gaussian_kl_size(void) { return sizeof(GaussianKl); }

int lawm_gaussian_kl_forward(const GaussianKl *o) {
  const int64_t size = o->size;
#pragma omp parallel for schedule(static) num_threads(threads_for(o->rows * size, o->threads))
  for (int64_t i = 0; i < o->rows; i++) {
    const float *restrict p = o->p + i * o->p_stride, *restrict q = o->q + i * o->q_stride;
    const float least = (float)o->least;
    float terms[LANES], sum = 0.0f;
    for (int64_t start = 0; start < size; start += LANES) {
      const int64_t count = min_of(size - start, LANES);
      /* apart from their sum: with a reduction, all beyond whole vectors is computed one by one */
#pragma omp simd
      for (int64_t k = 0; k < count; k++) {
        const int64_t j = start + k;
        const float std_p = softplus(p[size + j]) + least, std_q = softplus(q[size + j]) + least;
        const float ratio = std_p / std_q, shift = (p[j] - q[j]) / std_q;
        terms[k] = 0.5f * (ratio * ratio + shift * shift - 1.0f) - log_of(ratio);
      }
      for (int64_t k = 0; k < count; k++) sum += terms[k];
    }
    o->out[i] = sum;
  }
  return 0;
}

int lawm_gaussian_kl_backward(const GaussianKl *o) {
#pragma omp parallel for schedule(static) num_threads(threads_for(o->rows * o->size, o->threads))
  for (int64_t i = 0; i < o->rows; i++) {
    const int64_t size = o->size;
    const float *restrict p = o->p + i * o->p_stride, *restrict q = o->q + i * o->q_stride;
    const float least = (float)o->least, d = o->d_out[i];
#pragma omp simd
    for (int64_t j = 0; j < size; j++) {
      const float std_p = softplus(p[size + j]) + least, std_q = softplus(q[size + j]) + least;
      const float by = 1.0f / std_q, ratio = std_p * by, shift = (p[j] - q[j]) * by;
      if (o->d_p) {
        o->d_p[i * 2 * size + j] = d * shift * by;
        o->d_p[i * 2 * size + size + j] =
            d * (ratio * by - 1.0f / std_p) * sigmoid(p[size + j]);
      }
      if (o->d_q) {
        o->d_q[i * 2 * size + j] = -d * shift * by;
        o->d_q[i * 2 * size + size + j] =
            d * by * (1.0f - ratio * ratio - shift * shift) * sigmoid(q[size + j]);
      }
    }
  }
  return 0;
}

/* -log N(target; mean, std), summed over the dimensions. The mean (steps, rows, size) is contiguous,
 * the target's rows are. */
typedef struct {
  int64_t threads, steps, rows, size, step_stride, row_stride;
  int64_t squashed; /* tanh(mean) in place of the mean */
  const float *mean, *target, *std;
  float *out;
  const float *d_out;
  float *d_mean, *d_std; /* NULL where they are not wanted */
} GaussianNll;

int64_t lawm_gaussian_nll_size(void) { return sizeof(GaussianNll); }

static inline const float *target_of(const GaussianNll *o, int64_t i) {
  return o->target + i / o->rows * o->step_stride + i % o->rows * o->row_stride;
}

int lawm_gaussian_nll_forward(const GaussianNll *o) {
  const int64_t rows = o->steps * o->rows;
  double constant = 0.0;
  for (int64_t j = 0; j < o->size; j++) constant += logf(o->std[j]) + 0.91893853320467274;
#pragma omp parallel for schedule(static) num_threads(threads_for(rows * o->size, o->threads))
  for (int64_t i = 0; i < rows; i++) {
    const float *mean = o->mean + i * o->size, *target = target_of(o, i);
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < o->size; j++) {
      const float m = o->squashed ? tanh_of(mean[j]) : mean[j], e = (m - target[j]) / o->std[j];
      sum += e * e;
    }
    o->out[i] = 0.5f * sum + (float)constant;
  }
  return 0;
}

/* Returns 0, or 1 if memory ran out. */
int lawm_gaussian_nll_backward(const GaussianNll *o) {
  const int64_t rows = o->steps * o->rows, blocks = (rows + LANES - 1) / LANES;
  float *sums = calloc((size_t)max_of(blocks * o->size, 1), sizeof(float)); /* of each block */
  if (!sums) return 1;
#pragma omp parallel for schedule(static) num_threads(threads_for(rows * o->size, o->threads))
  for (int64_t b = 0; b < blocks; b++)
    for (int64_t i = b * LANES; i < min_of((b + 1) * LANES, rows); i++) {
      const float *mean = o->mean + i * o->size, *target = target_of(o, i), d = o->d_out[i];
      float *sum = sums + b * o->size, *d_mean = o->d_mean ? o->d_mean + i * o->size : NULL;
#pragma omp simd
      for (int64_t j = 0; j < o->size; j++) {
        const float m = o->squashed ? tanh_of(mean[j]) : mean[j], e = (m - target[j]) / o->std[j];
        sum[j] += d * (1.0f - e * e) / o->std[j];
        if (d_mean) d_mean[j] = d * e / o->std[j] * (o->squashed ? 1.0f - m * m : 1.0f);
      }
    }
  for (int64_t j = 0; o->d_std && j < o->size; j++) {
    o->d_std[j] = 0.0f;
    for (int64_t b = 0; b < blocks; b++) o->d_std[j] += sums[b * o->size + j];
  }
  free(sums);
  return 0;
}
