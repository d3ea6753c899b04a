/* Blocks of a matrix of 32-bit numbers, turned. */
#ifndef LAWM_TURN_H
#define LAWM_TURN_H
#include "panels.h"

typedef uint32_t number __attribute__((may_alias));

#if defined(__AVX512F__)
#include <immintrin.h>

static inline __mmask16 first_lanes(int64_t count) {
  return count >= WIDTH ? 0xFFFF : (__mmask16)((1u << count) - 1);
}

/* to (cols, WIDTH) = from (rows, cols) turned, zeros behind its rows. */
static inline void turn(int64_t rows, int64_t cols, const number *from, int64_t stride, number *to,
                        int64_t to_stride) {
  __m512i r[WIDTH], t[WIDTH];
  for (int n = 0; n < WIDTH; n++)
    r[n] = n < rows ? _mm512_maskz_loadu_epi32(first_lanes(cols), from + n * stride)
                    : _mm512_setzero_si512();
  for (int n = 0; n < WIDTH; n += 2) { /* turned in squares of 2, then of 4 numbers */
    t[n] = _mm512_unpacklo_epi32(r[n], r[n + 1]);
    t[n + 1] = _mm512_unpackhi_epi32(r[n], r[n + 1]);
  }
  for (int n = 0; n < WIDTH; n += 4)
    for (int half = 0; half < 2; half++) {
      r[n + 2 * half] = _mm512_unpacklo_epi64(t[n + half], t[n + 2 + half]);
      r[n + 2 * half + 1] = _mm512_unpackhi_epi64(t[n + half], t[n + 2 + half]);
    }
  for (int n = 0; n < 4; n++) { /* r[4 i + n]: column 4 q + n of rows 4 i ... in quarter q */
    const __m512i a = _mm512_shuffle_i32x4(r[n], r[4 + n], 0x44);
    const __m512i b = _mm512_shuffle_i32x4(r[8 + n], r[12 + n], 0x44);
    const __m512i c = _mm512_shuffle_i32x4(r[n], r[4 + n], 0xEE);
    const __m512i d = _mm512_shuffle_i32x4(r[8 + n], r[12 + n], 0xEE);
    t[n] = _mm512_shuffle_i32x4(a, b, 0x88);
    t[4 + n] = _mm512_shuffle_i32x4(a, b, 0xDD);
    t[8 + n] = _mm512_shuffle_i32x4(c, d, 0x88);
    t[12 + n] = _mm512_shuffle_i32x4(c, d, 0xDD);
  }
  for (int64_t n = 0; n < cols; n++) _mm512_storeu_si512(to + n * to_stride, t[n]);
}
#else
static inline void turn(int64_t rows, int64_t cols, const number *from, int64_t stride, number *to,
                        int64_t to_stride) {
  for (int64_t n = 0; n < cols; n++)
    for (int64_t i = 0; i < WIDTH; i++)
      to[n * to_stride + i] = i < rows ? from[i * stride + n] : 0;
}
#endif
#endif
