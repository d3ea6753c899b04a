/* Entry points for single operators. */
#include "layers.h"

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
