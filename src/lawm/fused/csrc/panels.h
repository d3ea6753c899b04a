/* Tiles of rows and vectors of columns that stay in registers, and panels of such columns. */
#ifndef LAWM_PANELS_H
#define LAWM_PANELS_H
#include <stddef.h>
#include <stdint.h>

#if defined(__AVX512F__)
#define WIDTH 16
#elif defined(__AVX__)
#define WIDTH 8
#else
#define WIDTH 4
#endif
#if defined(__AVX512F__) || defined(__aarch64__)
#define TILE_ROWS 8 /* with 3 vectors a row: 24 of 32 registers */
#else
#define TILE_ROWS 4
#endif
#define TILE_VECTORS 3
#define PANEL (TILE_VECTORS * WIDTH)

/* Columns of a panel that starts with `left` columns to go: whole vectors, at most PANEL. */
static inline int64_t panel_width(int64_t left) {
  return left >= PANEL ? PANEL : (left + WIDTH - 1) / WIDTH * WIDTH;
}

/* PANELS defines panel(): c (m, cols) = init + a (m, k) b for a panel b of `width` columns, in tiles
 * by TILE, which takes what panel() takes behind its numbers of rows and of vectors. */
#define ROWS_OF_PANEL(TILE, R, V)                                                                 \
  for (; i + R <= m; i += R)                                                                      \
    TILE(R, V, k, a + i * lda, lda, b, init ? init + i * init_stride : NULL, init_stride,         \
         c + i * ldc, ldc, cols);
#define PANEL_OF(TILE, ELEMENT, V)                                                                \
  static void panel_##V(int64_t m, int64_t k, const ELEMENT *a, int64_t lda, const ELEMENT *b,    \
                        const float *init, int64_t init_stride, float *c, int64_t ldc,            \
                        int64_t cols) {                                                           \
    int64_t i = 0;                                                                                \
    ROWS_OF_PANEL(TILE, TILE_ROWS, V)                                                             \
    ROWS_OF_PANEL(TILE, 4, V) ROWS_OF_PANEL(TILE, 2, V) ROWS_OF_PANEL(TILE, 1, V)                 \
  }
#define PANELS(TILE, ELEMENT)                                                                     \
  PANEL_OF(TILE, ELEMENT, 1)                                                                      \
  PANEL_OF(TILE, ELEMENT, 2)                                                                      \
  PANEL_OF(TILE, ELEMENT, 3)                                                                      \
  static inline void panel(int64_t width, int64_t m, int64_t k, const ELEMENT *a, int64_t lda,    \
                           const ELEMENT *b, const float *init, int64_t init_stride, float *c,    \
                           int64_t ldc, int64_t cols) {                                           \
    if (width == 3 * WIDTH)                                                                       \
      panel_3(m, k, a, lda, b, init, init_stride, c, ldc, cols);                                  \
    else if (width == 2 * WIDTH)                                                                  \
      panel_2(m, k, a, lda, b, init, init_stride, c, ldc, cols);                                  \
    else                                                                                          \
      panel_1(m, k, a, lda, b, init, init_stride, c, ldc, cols);                                  \
  }
#endif
