/* Rows in bfloat16. */
#ifndef LAWM_ROUNDING_H
#define LAWM_ROUNDING_H
#include "product.h"

#if LAWM_BF16
#include "turn.h"

/* to (room) = a (k), rounded to the nearest, and zeros: at most as many as make k even. */
static inline void round_row(int64_t k, const float *a, int64_t room, uint16_t *to) {
  int64_t i = 0;
  for (; i + WIDTH <= k; i += WIDTH)
    _mm256_storeu_si256((__m256i *)(to + i), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(a + i)));
  if (i < k) {
    const __m512 last = _mm512_maskz_loadu_ps(first_lanes(k - i), a + i);
    _mm256_mask_storeu_epi16(to + i, first_lanes(room - i), (__m256i)_mm512_cvtneps_pbh(last));
  }
}

/* to (k) = a (k) */
static inline void widen_row(int64_t k, const uint16_t *a, float *to) {
  for (int64_t i = 0; i < k; i += WIDTH) {
    const __mmask16 lanes = first_lanes(k - i);
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, a + i));
    _mm512_mask_storeu_epi32(to + i, lanes, _mm512_slli_epi32(wide, 16));
  }
}
#endif
#endif
