/* SiLU(LayerNorm(x)) of many short rows, such as the channels of all pixels, in float32 or bfloat16.
 * The arithmetic is float32 in both; the backward pass takes a row's moments again. */
#include <stdlib.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

#include "arithmetic.h"
#include "rounding.h"

typedef struct {
  int64_t threads, blocks, rows, cols, bf16;
  double eps;
  const float *gamma, *beta;
  const void *x; /* (rows, cols), as all of these: bfloat16 or float32 */
  void *out;
  const void *d_out;
  void *d_x;
  float *sums; /* (blocks, 3, cols), zero; a backward leaves the gradients of scale and shift in the
                  first two rows of the first; NULL where they are not wanted */
} NormSilu;

int64_t lawm_norm_silu_size(void) { return sizeof(NormSilu); }

#define INLINE static inline __attribute__((always_inline))

/* A row in float32: itself, or widened into `copy`. */
INLINE const float *read_row(const void *x, int64_t at, int64_t cols, int64_t bf16, float *copy) {
  if (!bf16) return (const float *)x + at;
  widen_row(cols, (const uint16_t *)x + at, copy);
  return copy;
}

INLINE void write_row(const float *row, void *x, int64_t at, int64_t cols) {
  round_row(cols, row, cols, (uint16_t *)x + at);
}

INLINE void forward_rows(const NormSilu *o, int64_t first, int64_t last, const int64_t cols,
                         float *work) {
  for (int64_t i = first; i < last; i++) {
    const float *x = read_row(o->x, i * cols, cols, o->bf16, work);
    float *out = o->bf16 ? work : (float *)o->out + i * cols;
    normalise(x, cols, (float)o->eps, out);
    scaled_silu(out, o->gamma, o->beta, cols, out);
    if (o->bf16) write_row(out, o->out, i * cols, cols);
  }
}

INLINE void backward_rows(const NormSilu *o, int64_t first, int64_t last, const int64_t cols,
                          float *sums, float *work) {
  for (int64_t i = first; i < last; i++) {
    const float rstd =
        normalise(read_row(o->x, i * cols, cols, o->bf16, work), cols, (float)o->eps, work);
    const float *d_out = read_row(o->d_out, i * cols, cols, o->bf16, work + cols);
    float *d_x = o->bf16 ? work + 2 * cols : (float *)o->d_x + i * cols;
    norm_silu_backward(work, rstd, o->gamma, o->beta, cols, d_out, d_x, sums);
    if (o->bf16) write_row(d_x, o->d_x, i * cols, cols);
  }
}

#define ROWS 16 /* that are taken together where they are short, each a lane of a vector */

/* to (cols, rows) = from (rows, cols), by blocks of four; compilers gather single numbers instead. */
INLINE void turn_rows(const float *from, const int64_t rows, const int64_t cols, float *to) {
#ifdef __SSE__
  for (int64_t r = 0; r < rows; r += 4)
    for (int64_t j = 0; j < cols; j += 4) {
      __m128 a = _mm_loadu_ps(from + r * cols + j), b = _mm_loadu_ps(from + (r + 1) * cols + j);
      __m128 c = _mm_loadu_ps(from + (r + 2) * cols + j), d = _mm_loadu_ps(from + (r + 3) * cols + j);
      _MM_TRANSPOSE4_PS(a, b, c, d);
      _mm_storeu_ps(to + j * rows + r, a);
      _mm_storeu_ps(to + (j + 1) * rows + r, b);
      _mm_storeu_ps(to + (j + 2) * rows + r, c);
      _mm_storeu_ps(to + (j + 3) * rows + r, d);
    }
#else
  for (int64_t r = 0; r < rows; r++)
    for (int64_t j = 0; j < cols; j++) to[j * rows + r] = from[r * cols + j];
#endif
}

/* to (cols, ROWS) = ROWS rows, turned; `copy` holds as many numbers. */
INLINE void read_turned(const void *x, int64_t at, const int64_t cols, int64_t bf16, float *copy,
                        float *to) {
  turn_rows(read_row(x, at, ROWS * cols, bf16, copy), ROWS, cols, to);
}

INLINE void write_turned(const float *from, void *x, int64_t at, const int64_t cols, int64_t bf16,
                         float *copy) {
  turn_rows(from, cols, ROWS, bf16 ? copy : (float *)x + at);
  if (bf16) write_row(copy, x, at, ROWS * cols);
}

/* Mean and reciprocal standard deviation of each of the rows. */
INLINE void moments_turned(const float *x, const int64_t cols, float eps, float *mean, float *rstd) {
  float sum[ROWS] = {0}, square[ROWS] = {0};
  for (int64_t j = 0; j < cols; j++)
#pragma omp simd
    for (int64_t r = 0; r < ROWS; r++) sum[r] += x[j * ROWS + r];
#pragma omp simd
  for (int64_t r = 0; r < ROWS; r++) mean[r] = sum[r] / (float)cols;
  for (int64_t j = 0; j < cols; j++)
#pragma omp simd
    for (int64_t r = 0; r < ROWS; r++)
      square[r] += (x[j * ROWS + r] - mean[r]) * (x[j * ROWS + r] - mean[r]);
#pragma omp simd
  for (int64_t r = 0; r < ROWS; r++) rstd[r] = 1.0f / sqrtf(square[r] / (float)cols + eps);
}

INLINE void forward_turned(const NormSilu *o, int64_t first, int64_t last, const int64_t cols,
                           float *work) {
  float mean[ROWS], rstd[ROWS], x[cols * ROWS], copy[cols * ROWS];
  int64_t i = first;
  for (; i + ROWS <= last; i += ROWS) {
    read_turned(o->x, i * cols, cols, o->bf16, copy, x);
    moments_turned(x, cols, (float)o->eps, mean, rstd);
    for (int64_t j = 0; j < cols; j++)
#pragma omp simd
      for (int64_t r = 0; r < ROWS; r++) {
        const float a = (x[j * ROWS + r] - mean[r]) * rstd[r] * o->gamma[j] + o->beta[j];
        x[j * ROWS + r] = a * sigmoid(a);
      }
    write_turned(x, o->out, i * cols, cols, o->bf16, copy);
  }
  forward_rows(o, i, last, cols, work);
}

INLINE void backward_turned(const NormSilu *o, int64_t first, int64_t last, const int64_t cols,
                            float *sums, float *work) {
  float mean[ROWS], rstd[ROWS], x[cols * ROWS], d[cols * ROWS], copy[cols * ROWS];
  float scale[cols * ROWS], shift[cols * ROWS];
  memset(scale, 0, sizeof(scale));
  memset(shift, 0, sizeof(shift));
  int64_t i = first;
  for (; i + ROWS <= last; i += ROWS) {
    float sum[ROWS] = {0}, dot[ROWS] = {0};
    read_turned(o->x, i * cols, cols, o->bf16, copy, x);
    read_turned(o->d_out, i * cols, cols, o->bf16, copy, d);
    moments_turned(x, cols, (float)o->eps, mean, rstd);
    for (int64_t j = 0; j < cols; j++)
#pragma omp simd
      for (int64_t r = 0; r < ROWS; r++) {
        const int64_t k = j * ROWS + r;
        const float normed = (x[k] - mean[r]) * rstd[r], a = normed * o->gamma[j] + o->beta[j];
        const float s = sigmoid(a), d_a = d[k] * s * (1.0f + a * (1.0f - s));
        scale[k] += d_a * normed;
        shift[k] += d_a;
        sum[r] += d_a * o->gamma[j];
        dot[r] += d_a * o->gamma[j] * normed;
        x[k] = normed;
        d[k] = d_a * o->gamma[j];
      }
    for (int64_t j = 0; j < cols; j++)
#pragma omp simd
      for (int64_t r = 0; r < ROWS; r++) {
        const int64_t k = j * ROWS + r;
        d[k] = rstd[r] * (d[k] - (sum[r] + x[k] * dot[r]) / (float)cols);
      }
    write_turned(d, o->d_x, i * cols, cols, o->bf16, copy);
  }
  for (int64_t j = 0; sums && j < cols; j++)
    for (int64_t r = 0; r < ROWS; r++) {
      sums[j] += scale[j * ROWS + r];
      sums[cols + j] += shift[j * ROWS + r];
    }
  backward_rows(o, i, last, cols, sums, work);
}

/* Short rows are turned, for others the sums within a row are cheap. */
#define WITH_COLS(TURNED, RUN, ...)                            \
  switch (o->cols) {                                           \
    case 16: TURNED(o, first, last, 16, __VA_ARGS__); break;   \
    case 32: TURNED(o, first, last, 32, __VA_ARGS__); break;   \
    case 64: RUN(o, first, last, 64, __VA_ARGS__); break;      \
    default: RUN(o, first, last, o->cols, __VA_ARGS__); break; \
  }

__attribute__((flatten)) static void forward_block(const NormSilu *o, int64_t first, int64_t last,
                                                   float *sums, float *work) {
  (void)sums;
  WITH_COLS(forward_turned, forward_rows, work)
}

__attribute__((flatten)) static void backward_block(const NormSilu *o, int64_t first, int64_t last,
                                                    float *sums, float *work) {
  WITH_COLS(backward_turned, backward_rows, sums, work)
}

typedef void BlockFunction(const NormSilu *, int64_t first, int64_t last, float *sums, float *work);

static int over_blocks(const NormSilu *o, BlockFunction *run) {
  const int64_t each = (o->rows + o->blocks - 1) / o->blocks;
  int failed = 0;
#pragma omp parallel for schedule(static) num_threads(threads_for(o->rows * o->cols, o->threads)) \
    reduction(| : failed)
  for (int64_t b = 0; b < o->blocks; b++) {
    const int64_t first = b * each, end = first + each, last = end < o->rows ? end : o->rows;
    float *work = malloc((size_t)(3 * o->cols) * sizeof(float));
    if (work) run(o, first, last, o->sums ? o->sums + b * 3 * o->cols : NULL, work);
    failed |= !work;
    free(work);
  }
  return failed;
}

/* Both return 0, or 1 if memory ran out. */
int lawm_norm_silu_forward(const NormSilu *o) { return over_blocks(o, forward_block); }
int lawm_norm_silu_backward(const NormSilu *o) {
  const int failed = over_blocks(o, backward_block);
  for (int64_t j = 3 * o->cols; o->sums && j < o->blocks * 3 * o->cols; j++)
    o->sums[j % (3 * o->cols)] += o->sums[j];
  return failed;
}
