/* Gradient norm, clipping and AdamW over all parameters in one call each. */
#include <stdlib.h>

#include "layers.h"

#define CHUNK 8192 /* elements that a thread takes at a time */

typedef struct { /* of one parameter */
  float *value, *gradient, *mean, *square, *step; /* the last three are AdamW's state */
  int64_t count;
} Parameter;

static int64_t chunks_of(const Parameter *p) { return (p->count + CHUNK - 1) / CHUNK; }

static int64_t all_chunks(int64_t parameters, const Parameter *p, int64_t *elements) {
  int64_t chunks = 0;
  *elements = 0;
  for (int64_t n = 0; n < parameters; n++) {
    chunks += chunks_of(p + n);
    *elements += p[n].count;
  }
  return chunks;
}

/* Runs a block for each chunk, [`from`, `to`) of parameter `q`, the `chunk`th of all, on some thread. */
#define OVER_CHUNKS(...)                                                                          \
  int64_t elements;                                                                               \
  const int64_t chunks = all_chunks(parameters, p, &elements);                                    \
  const int team = (int)min_of(threads_for(elements, threads), max_of(chunks, 1));                \
  _Pragma("omp parallel for schedule(static, 1) num_threads(team)")                               \
  for (int64_t thread = 0; thread < team; thread++) {                                             \
    int64_t chunk = 0;                                                                            \
    for (const Parameter *q = p; q < p + parameters; q++)                                         \
      for (int64_t from = 0; from < q->count; from += CHUNK, chunk++)                             \
        if (chunk % team == thread) {                                                             \
          const int64_t to = min_of(q->count, from + CHUNK);                                      \
          __VA_ARGS__                                                                                    \
        }                                                                                         \
  }

static double sum_of_squares(const float *restrict x, int64_t count) {
  float lanes[LANES] = {0};
  const int64_t whole = count - count % LANES;
  for (int64_t j = 0; j < whole; j += LANES)
    for (int64_t k = 0; k < LANES; k++) lanes[k] += x[j + k] * x[j + k];
  double sum = 0.0;
  for (int64_t k = 0; k < LANES; k++) sum += lanes[k];
  for (int64_t j = whole; j < count; j++) sum += (double)x[j] * x[j];
  return sum;
}

/* The norm over all gradients, which are then scaled so that it is at most `limit`. It is summed in
 * the same order whatever the number of threads. Returns 0, or 1 if memory ran out. */
int lawm_clip_gradients(int64_t threads, int64_t parameters, const Parameter *p, double limit,
                        double *norm) {
  int64_t count;
  double *sums = malloc((size_t)max_of(all_chunks(parameters, p, &count), 1) * sizeof(double));
  if (!sums) return 1;
  double sum = 0.0;
  {
    OVER_CHUNKS(sums[chunk] = sum_of_squares(q->gradient + from, to - from);)
    for (int64_t c = 0; c < chunks; c++) sum += sums[c];
  }
  free(sums);
  *norm = sqrt(sum);
  if (*norm + 1e-6 <= limit) return 0;
  const float factor = (float)(limit / (*norm + 1e-6)); /* a NaN as well */
  {
    OVER_CHUNKS(for (int64_t j = from; j < to; j++) q->gradient[j] *= factor;)
  }
  return 0;
}

/* AdamW (arXiv 1711.05101) as torch's fused one does it. */
void lawm_adamw(int64_t threads, int64_t parameters, const Parameter *p, double rate, double beta1,
                double beta2, double eps, double decay) {
  OVER_CHUNKS({
    const double step = (double)*q->step + 1.0;
    const float size = (float)(rate / (1.0 - pow(beta1, step))), least = (float)eps;
    const float by_root = (float)(1.0 / sqrt(1.0 - pow(beta2, step)));
    const float new_mean = (float)(1.0 - beta1), new_square = (float)(1.0 - beta2);
    const float old_square = (float)beta2, kept = (float)(1.0 - rate * decay);
    float *restrict value = q->value, *restrict mean = q->mean, *restrict square = q->square;
    const float *restrict g = q->gradient;
    for (int64_t j = from; j < to; j++) {
      mean[j] += (g[j] - mean[j]) * new_mean;
      square[j] = old_square * square[j] + new_square * g[j] * g[j];
      value[j] = kept * value[j] - size * mean[j] / (sqrtf(square[j]) * by_root + least);
    }
  })
  for (int64_t n = 0; n < parameters; n++) *p[n].step += 1.0f;
}
