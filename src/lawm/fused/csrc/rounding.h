/* Rows in bfloat16. */
#ifndef LAWM_ROUNDING_H
#define LAWM_ROUNDING_H
#include "product.h"
#if LAWM_BF16
#include "turn.h"
#endif

/* to (k) = a (k) */
static inline void widen_row(int64_t k, const uint16_t *a, float *to) {
#pragma omp simd
  for (int64_t j = 0; j < k; j++) {
    const union {
      uint32_t i;
      float f;
    } bits = {(uint32_t)a[j] << 16};
    to[j] = bits.f;
  }
}

/* to (room) = a (k), rounded to the nearest, and zeros: at most as many as make k even. */
static inline void round_row(int64_t k, const float *a, int64_t room, uint16_t *to) {
#if LAWM_BF16
  int64_t i = 0;
  for (; i + WIDTH <= k; i += WIDTH)
    _mm256_storeu_si256((__m256i *)(to + i), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(a + i)));
  if (i < k) {
    const __m512 last = _mm512_maskz_loadu_ps(first_lanes(k - i), a + i);
    _mm256_mask_storeu_epi16(to + i, first_lanes(room - i), (__m256i)_mm512_cvtneps_pbh(last));
  }
#else
#pragma omp simd
  for (int64_t j = 0; j < k; j++) {
    const union {
      float f;
      uint32_t i;
    } bits = {a[j]};
    const uint32_t rounded = (bits.i + 0x7FFF + (bits.i >> 16 & 1)) >> 16;
    to[j] = (uint16_t)(a[j] == a[j] ? rounded : 0x7FC0); /* a NaN stays one */
  }
  for (int64_t j = k; j < room; j++) to[j] = 0;
#endif
}
#endif
