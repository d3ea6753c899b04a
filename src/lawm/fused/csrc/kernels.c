/* Entry points for single operators. */
#include "layers.h"

/* Pack a weight (outputs, inputs) with rows `stride` apart, for both directions. */
void lawm_pack_weight(int64_t inputs, int64_t outputs, int64_t stride, const float *weight,
                      float *forward, float *backward) {
  lawm_pack(inputs, outputs, weight, 1, stride, forward);
  lawm_pack(outputs, inputs, weight, stride, 1, backward);
}

/* Whether products in bfloat16 were built: the processor has instructions for them. */
int lawm_has_bf16(void) { return LAWM_BF16; }

/* out = log(1 + e^x) of n numbers. */
void lawm_softplus_forward(int64_t threads, int64_t n, const float *x, float *out) {
#pragma omp parallel for simd schedule(static) num_threads(threads_for(n, threads))
  for (int64_t j = 0; j < n; j++) out[j] = softplus(x[j]);
}

/* dx = dout / (1 + e^-x) of n numbers. */
void lawm_softplus_backward(int64_t threads, int64_t n, const float *x, const float *dout,
                            float *dx) {
#pragma omp parallel for simd schedule(static) num_threads(threads_for(n, threads))
  for (int64_t j = 0; j < n; j++) dx[j] = dout[j] * sigmoid(x[j]);
}

/* Dropout of rows that are read with strides, (steps, rows, cols), and written without. */
typedef struct {
  int64_t threads, steps, rows, cols, step_stride, row_stride;
  Dropout dropout;
  const float *x;
  float *out;
} Dropped;

int64_t lawm_dropout_size(void) { return sizeof(Dropped); }

int lawm_dropout(const Dropped *o) {
  const int64_t rows = o->steps * o->rows;
#pragma omp parallel for schedule(static) num_threads(threads_for(rows * o->cols, o->threads))
  for (int64_t i = 0; i < rows; i++)
    drop(&o->dropout, i * o->cols, o->cols,
         o->x + i / o->rows * o->step_stride + i % o->rows * o->row_stride, o->out + i * o->cols);
  return 0;
}

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
#pragma omp parallel for schedule(static) num_threads(threads_for(o->rows * o->size, o->threads))
  for (int64_t i = 0; i < o->rows; i++) {
    const float *restrict p = o->p + i * o->p_stride, *restrict q = o->q + i * o->q_stride;
    const float least = (float)o->least;
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < o->size; j++) {
      const float std_p = softplus(p[o->size + j]) + least, std_q = softplus(q[o->size + j]) + least;
      const float ratio = std_p / std_q, shift = (p[j] - q[j]) / std_q;
      sum += 0.5f * (ratio * ratio + shift * shift - 1.0f) - log_of(ratio);
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
