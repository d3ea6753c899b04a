/* The gradient of a weight, dy' x summed over the rows of all time steps, in bfloat16.
 *
 * Both factors are rounded, in pairs of rows. Each thread then makes some rows of the result; an
 * element is summed in the same order whatever the number of threads.
 */
#include "product.h"

#if LAWM_BF16
#include <stdlib.h>
#include <string.h>

#include "tile_bf16.h"

#define BLOCK 192 /* pairs that are summed in registers before the result is written */

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

void lawm_pair_outputs(int64_t first, int64_t m, int64_t cols, const float *dy, int64_t ldy,
                       float *pairs) {
  for (int64_t i = 0; i < m; i += 2)
    pair_rows(cols, dy + i * ldy, i + 1 < m ? dy + (i + 1) * ldy : NULL,
              (pair *)pairs + (first + i) / 2 * cols);
}

void lawm_pair_inputs(int64_t rows, int64_t first, int64_t m, int64_t cols, const float *x,
                      int64_t ldx, float *pairs) {
  const int64_t all = (rows + 1) / 2;
  for (int64_t i = 0; i < m; i += 2) {
    const int64_t at = (first + i) / 2, block = at / BLOCK * BLOCK, n = min_of(all - block, BLOCK);
    const float *low = x + i * ldx, *high = i + 1 < m ? low + ldx : NULL;
    pair *panel = (pair *)pairs + lawm_packed_size(block, cols);
    for (int64_t j = 0; j < cols; j += PANEL) {
      const int64_t width = panel_width(cols - j);
      pair_rows(min_of(cols - j, PANEL), low + j, high ? high + j : NULL,
                panel + (at - block) * width);
      panel += n * width;
    }
  }
}

#define OUTPUTS_OF_TILE(R)                                                                        \
  for (; o + R <= last; o += R) {                                                                 \
    const float *init = first ? NULL : out + o * ldo + j;                                         \
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

void lawm_gradient_of_pairs(int64_t part, int64_t parts, int64_t rows, int64_t outputs,
                            int64_t inputs, const float *dy, const float *x, float *out,
                            int64_t ldo) {
  const int64_t tiles = (outputs + TILE_ROWS - 1) / TILE_ROWS, pairs = (rows + 1) / 2;
  const int64_t from = tiles * part / parts * TILE_ROWS;
  const int64_t last = min_of(tiles * (part + 1) / parts * TILE_ROWS, outputs);
  for (int64_t o = from; pairs == 0 && o < last; o++)
    memset(out + o * ldo, 0, (size_t)inputs * sizeof(float));
  for (int64_t first = 0; first < pairs; first += BLOCK)
    some_outputs(from, last, min_of(pairs - first, BLOCK), outputs, inputs,
                 (const pair *)dy + first * outputs,
                 (const pair *)x + lawm_packed_size(first, inputs), first == 0, out, ldo);
}

int lawm_weight_gradient_bf16(int64_t threads, int64_t rows, int64_t outputs, int64_t inputs,
                              const float *dy, int64_t ldy, const float *x, int64_t ldx, float *out,
                              int64_t ldo) {
  const int64_t pairs = (rows + 1) / 2;
  float *of_dy = malloc((size_t)max_of(pairs * outputs, 1) * sizeof(pair));
  float *of_x = malloc((size_t)max_of(lawm_packed_size(pairs, inputs), 1) * sizeof(pair));
  const int failed = !of_dy || !of_x;
#pragma omp parallel num_threads((int)threads) if (!failed)
  if (!failed) {
#pragma omp for schedule(static)
    for (int64_t p = 0; p < pairs; p++) {
      const int64_t m = min_of(rows - 2 * p, 2);
      lawm_pair_outputs(2 * p, m, outputs, dy + 2 * p * ldy, ldy, of_dy);
      lawm_pair_inputs(rows, 2 * p, m, inputs, x + 2 * p * ldx, ldx, of_x);
    }
#pragma omp for schedule(static)
    for (int64_t part = 0; part < threads; part++)
      lawm_gradient_of_pairs(part, threads, rows, outputs, inputs, of_dy, of_x, out, ldo);
  }
  free(of_dy);
  free(of_x);
  return failed;
}
#endif
