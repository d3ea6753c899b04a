/* Tiles of a product of pairs of bfloat16, summed in float32. */
#ifndef LAWM_TILE_BF16_H
#define LAWM_TILE_BF16_H
#include "turn.h"

typedef number pair; /* of two bfloat16 that are summed over */

/* c (rows, cols) = init + a (rows, pairs) b, for one panel b (pairs, vectors WIDTH); a's pair i of row r
 * stands at a[r * row + i * step]. */
static inline __attribute__((always_inline)) void tile(const int rows, const int vectors,
                                                       int64_t pairs, const pair *a,
                                                       const int64_t row, const int64_t step,
                                                       const pair *restrict b, const float *init,
                                                       int64_t init_stride, float *c, int64_t ldc,
                                                       int64_t cols) {
  __m512 sum[TILE_ROWS][TILE_VECTORS];
  __mmask16 lanes[TILE_VECTORS];
  for (int v = 0; v < vectors; v++) lanes[v] = first_lanes(cols - v * WIDTH);
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < vectors; v++)
      sum[r][v] = init ? _mm512_maskz_loadu_ps(lanes[v], init + r * init_stride + v * WIDTH)
                       : _mm512_setzero_ps();
  for (int64_t i = 0; i < pairs; i++) {
    __m512bh column[TILE_VECTORS];
    for (int v = 0; v < vectors; v++)
      column[v] = (__m512bh)_mm512_loadu_si512(b + (i * vectors + v) * WIDTH);
    for (int r = 0; r < rows; r++) {
      const __m512bh factor = (__m512bh)_mm512_set1_epi32((int)a[r * row + i * step]);
      for (int v = 0; v < vectors; v++) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], factor, column[v]);
    }
  }
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < vectors; v++)
      _mm512_mask_storeu_ps(c + r * ldc + v * WIDTH, lanes[v], sum[r][v]);
}
#endif
