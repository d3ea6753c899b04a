/* Entry points for single operators. */
#include "layers.h"

#define PARALLEL_ELEMENTS 16384 /* fewer are not worth waking a thread for */

static int threads_for(int64_t elements, int64_t threads) {
  return elements < PARALLEL_ELEMENTS ? 1 : (int)threads;
}

/* Pack a weight (outputs, inputs) with rows `stride` apart, for both directions. */
void lawm_pack_weight(int64_t inputs, int64_t outputs, int64_t stride, const float *weight, float *forward,
               float *backward) {
  lawm_pack(inputs, outputs, weight, 1, stride, forward);
  lawm_pack(outputs, inputs, weight, stride, 1, backward);
}

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
