/* Tiles of rows and vectors of columns that stay in registers, and panels of such columns. */
#ifndef LAWM_PANELS_H
#define LAWM_PANELS_H
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
#endif
