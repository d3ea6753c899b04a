/* A product by tiles of rows and vectors of columns that stay in registers. */
#include "product.h"

#include <string.h>

#include "turn.h"

typedef float vec __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));

/* c (rows, cols) = init + a (rows, k) b, for one panel b (k, vectors WIDTH). */
static inline __attribute__((always_inline)) void tile(const int rows, const int vectors, int64_t k,
                                                       const float *a, int64_t lda,
                                                       const float *restrict b, const float *init,
                                                       int64_t init_stride, float *c, int64_t ldc,
                                                       int64_t cols) {
  const int whole = cols == vectors * WIDTH;
  vec sum[TILE_ROWS][TILE_VECTORS];
  for (int r = 0; r < rows; r++) {
    for (int v = 0; v < vectors; v++) sum[r][v] = (vec){0};
    if (init && whole)
      for (int v = 0; v < vectors; v++) sum[r][v] = *(const vec *)(init + r * init_stride + v * WIDTH);
    else if (init)
      memcpy(sum[r], init + r * init_stride, (size_t)cols * sizeof(float));
  }
  for (int64_t i = 0; i < k; i++) {
    vec column[TILE_VECTORS];
    for (int v = 0; v < vectors; v++) column[v] = *(const vec *)(b + (i * vectors + v) * WIDTH);
    for (int r = 0; r < rows; r++) {
      const float factor = a[r * lda + i];
      for (int v = 0; v < vectors; v++) sum[r][v] += factor * column[v];
    }
  }
  for (int r = 0; r < rows; r++) {
    if (whole)
      for (int v = 0; v < vectors; v++) *(vec *)(c + r * ldc + v * WIDTH) = sum[r][v];
    else
      memcpy(c + r * ldc, sum[r], (size_t)cols * sizeof(float));
  }
}

PANELS(tile, float)

void lawm_product(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
                  const float *init, int64_t init_stride, float *c, int64_t ldc) {
  for (int64_t j = 0; j < n; j += PANEL) {
    const int64_t cols = n - j < PANEL ? n - j : PANEL, width = panel_width(n - j);
    panel(width, m, k, a, lda, b, init ? init + j : NULL, init_stride, c + j, ldc, cols);
    b += k * width;
  }
}

void lawm_pack(int64_t k, int64_t n, const float *b, int64_t row, int64_t col, float *to) {
  for (int64_t j = 0; j < n; j += PANEL) {
    const int64_t cols = min_of(n - j, PANEL), width = panel_width(n - j);
    if (col == 1) {
      for (int64_t i = 0; i < k; i++) {
        memcpy(to + i * width, b + i * row + j, (size_t)cols * sizeof(float));
        for (int64_t c = cols; c < width; c++) to[i * width + c] = 0.0f;
      }
    } else {
      for (int64_t c = 0; c < width; c += WIDTH)
        for (int64_t i = 0; i < k; i += WIDTH)
          turn(min_of(cols - c, WIDTH), min_of(k - i, WIDTH), (const number *)b + (j + c) * col + i,
               col, (number *)to + i * width + c, width);
    }
    to += k * width;
  }
}

int64_t lawm_packed_size(int64_t k, int64_t n) {
  return k * (n / PANEL * PANEL + panel_width(n % PANEL));
}
