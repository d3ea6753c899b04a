/* The product of product.c with both factors in bfloat16 and sums in float32.
 *
 * One instruction multiplies pairs along k: twice the arithmetic of float32. A packed matrix holds,
 * for each panel of columns, 32-bit pairs of rows 2 i and 2 i + 1; the left factor is rounded here.
 */
#include "product.h"

#if LAWM_BF16
#include <alloca.h>

#include "rounding.h"
#include "tile_bf16.h"

#define MOST_PAIRS 2048 /* of a tile's rows: 64 KiB of rounded numbers at a time, on the stack */

#define ROW_TILE(R, V, k, a, lda, ...) tile(R, V, k, a, lda, 1, __VA_ARGS__)
PANELS(ROW_TILE, pair)

/* For the pairs of k that start with `skipped`; all of k at a time where rows are not very long. */
static void some_pairs(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const pair *b,
                       int64_t all_pairs, int64_t skipped, const float *init, int64_t init_stride,
                       float *c, int64_t ldc) {
  const int64_t pairs = (k + 1) / 2, most = MOST_PAIRS * TILE_ROWS / (pairs + !pairs);
  const int64_t group = m < most ? m : most / TILE_ROWS * TILE_ROWS;
  pair *rounded = alloca((size_t)(group * pairs) * sizeof(pair));
  for (int64_t first = 0; first < m; first += group) {
    const int64_t rows = m - first < group ? m - first : group;
    for (int64_t r = 0; r < rows; r++)
      round_row(k, a + (first + r) * lda, 2 * pairs, (uint16_t *)(rounded + r * pairs));
    const pair *columns = b;
    for (int64_t j = 0; j < n; j += PANEL) {
      const int64_t cols = n - j < PANEL ? n - j : PANEL, width = panel_width(n - j);
      panel(width, rows, pairs, rounded, pairs, columns + skipped * width,
            init ? init + first * init_stride + j : NULL, init_stride, c + first * ldc + j, ldc, cols);
      columns += all_pairs * width;
    }
  }
}

void lawm_product_bf16(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                       const float *packed, const float *init, int64_t init_stride, float *c,
                       int64_t ldc) {
  int64_t done = 0;
  do { /* once also for k = 0: the result is the start then */
    const int64_t some = k - done < 2 * MOST_PAIRS ? k - done : 2 * MOST_PAIRS;
    some_pairs(m, n, some, a + done, lda, (const pair *)packed, (k + 1) / 2, done / 2, init,
               init_stride, c, ldc);
    done += some;
    init = c;
    init_stride = ldc;
  } while (done < k);
}

void lawm_pack_weight_bf16(int64_t inputs, int64_t outputs, int64_t stride, const float *weight,
                           uint16_t *rounded, float *forward, float *backward) {
  const int64_t pairs = (inputs + 1) / 2, even = 2 * pairs;
  for (int64_t i = 0; i < outputs; i++) round_row(inputs, weight + i * stride, even, rounded + i * even);
  const pair *from = (const pair *)rounded;
  pair *to = (pair *)forward;
  for (int64_t j = 0; j < outputs; j += PANEL) {
    const int64_t cols = outputs - j < PANEL ? outputs - j : PANEL, width = panel_width(outputs - j);
    for (int64_t c = 0; c < width; c += WIDTH)
      for (int64_t i = 0; i < pairs; i += WIDTH)
        turn(min_of(cols - c, WIDTH), min_of(pairs - i, WIDTH), from + (j + c) * pairs + i, pairs,
             to + i * width + c, width);
    to += pairs * width;
  }
  to = (pair *)backward;
  for (int64_t j = 0; j < inputs; j += PANEL) {
    const int64_t cols = inputs - j < PANEL ? inputs - j : PANEL, width = panel_width(inputs - j);
    for (int64_t i = 0; i < outputs; i += 2) {
      const uint16_t *low = rounded + i * even + j, *high = i + 1 < outputs ? low + even : NULL;
      for (int64_t c = 0; c < cols; c++)
        to[c] = low[c] | (high ? (uint32_t)high[c] << 16 : 0);
      for (int64_t c = cols; c < width; c++) to[c] = 0;
      to += width;
    }
  }
}
#endif
