/* The gradient of a weight, dy' x summed over the rows of all time steps, in bfloat16.
 *
 * For a block of rows both factors are rounded, in pairs of rows, which stay in the cache, then each
 * thread adds to some rows of the result. An element is summed in the same order whatever the number
 * of threads.
 */
#include "product.h"

#if LAWM_BF16
#include <stdlib.h>

#include "tile_bf16.h"

#define BLOCK 192       /* pairs that are summed in registers before the result is written */
#define OUTPUTS_EACH 16 /* rows of the result that a thread takes at a time */

/* to (cols) = pairs of two rows; `high` may be NULL, for zeros. */
static inline void pair_rows(int64_t cols, const float *low, const float *high, pair *to) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  for (int64_t j = 0; j < cols; j += WIDTH) {
    const __mmask16 lanes = first_lanes(cols - j);
    const __m512 l = _mm512_maskz_loadu_ps(lanes, low + j);
    const __m512 h = high ? _mm512_maskz_loadu_ps(lanes, high + j) : _mm512_setzero_ps();
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(h, l);
    _mm512_mask_storeu_epi32(to + j, lanes, _mm512_permutexvar_epi16(order, both));
  }
}

#define OUTPUTS_OF_TILE(R)                                                                        \
  for (; o + R <= last; o += R) {                                                                 \
    const float *init = first ? NULL : out + o * ldo + j;                                    \
    if (width == 3 * WIDTH)                                                                       \
      tile(R, 3, n, a + o, 1, outputs, b, init, ldo, out + o * ldo + j, ldo, cols);               \
    else if (width == 2 * WIDTH)                                                                  \
      tile(R, 2, n, a + o, 1, outputs, b, init, ldo, out + o * ldo + j, ldo, cols);               \
    else                                                                                          \
      tile(R, 1, n, a + o, 1, outputs, b, init, ldo, out + o * ldo + j, ldo, cols);               \
  }

/* Rows `from` to `last` of the result gain `n` pairs, or start with them where `first`. The columns
 * of x are in panels, each (n, width). */
static void some_outputs(int64_t from, int64_t last, int64_t n, int64_t outputs, int64_t inputs,
                         const pair *a, const pair *x, int first, float *out, int64_t ldo) {
  const pair *b = x;
  for (int64_t j = 0; j < inputs; j += PANEL) {
    const int64_t cols = inputs - j < PANEL ? inputs - j : PANEL, width = panel_width(inputs - j);
    int64_t o = from;
    OUTPUTS_OF_TILE(TILE_ROWS)
    OUTPUTS_OF_TILE(4)
    OUTPUTS_OF_TILE(2)
    OUTPUTS_OF_TILE(1)
    b += n * width;
  }
}

int lawm_weight_gradient_bf16(int64_t threads, int64_t rows, int64_t outputs, int64_t inputs,
                              const float *dy, int64_t ldy, const float *x, int64_t ldx, float *out,
                              int64_t ldo) {
  const int64_t pairs = (rows + 1) / 2, most = pairs < BLOCK ? pairs : BLOCK;
  pair *of_dy = malloc((size_t)(most * outputs) * sizeof(pair));
  pair *of_x = malloc((size_t)lawm_packed_size(most, inputs) * sizeof(pair));
  const int failed = !of_dy || !of_x;
#pragma omp parallel num_threads((int)threads) if (!failed)
  for (int64_t first = 0; first < (failed ? 0 : pairs); first += BLOCK) {
    const int64_t n = pairs - first < BLOCK ? pairs - first : BLOCK;
#pragma omp for schedule(static)
    for (int64_t p = 0; p < n; p++) {
      const int64_t row = 2 * (first + p);
      const int whole = row + 1 < rows;
      const float *low = dy + row * ldy;
      pair_rows(outputs, low, whole ? low + ldy : NULL, of_dy + p * outputs);
      low = x + row * ldx;
      pair *panel = of_x;
      for (int64_t j = 0; j < inputs; j += PANEL) {
        const int64_t width = panel_width(inputs - j);
        pair_rows(inputs - j < PANEL ? inputs - j : PANEL, low + j, whole ? low + ldx + j : NULL,
                  panel + p * width);
        panel += n * width;
      }
    }
#pragma omp for schedule(static)
    for (int64_t from = 0; from < outputs; from += OUTPUTS_EACH) {
      const int64_t end = from + OUTPUTS_EACH, last = end < outputs ? end : outputs;
      some_outputs(from, last, n, outputs, inputs, of_dy, of_x, first == 0, out, ldo);
    }
  }
  free(of_dy);
  free(of_x);
  return failed;
}
#endif
